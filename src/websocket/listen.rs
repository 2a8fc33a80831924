//! What an address to listen on says: what is bound for it, and what of that is shown.

use std::{
    borrow::Cow,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use multiaddr::{Multiaddr, Protocol};

use crate::{
    label,
    websocket::{
        address::{Address, Family, Kind, find_host, ip, port, with_port},
        certificate::{NAMELESS, Names},
    },
};

/// What an address to listen on says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listen {
    pub(super) kind: Kind,
    host: BoundTo,
    port: u16,
    verified: Verified,
}

/// What of an address those who dial it find in the certificate, or refuse it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verified {
    /// There is no TLS.
    Nothing,
    /// The IP of each address that is shown; or a name, with which it is shown then.
    Ip(IpAddr),
    Name(String),
    /// The [label] of the IP of each address that is shown, before this name. `any` IP, if the application has named it,
    /// and otherwise those that other hosts can dial.
    Label {
        before: String,
        any: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BoundTo {
    Ip(IpAddr),
    /// All addresses of this host, for a name.
    All(Family),
}

/// The TCP addresses that a listener is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sockets {
    pub(super) first: Multiaddr,
    /// Bound beside the first, on the same port.
    pub(super) second: Option<Multiaddr>,
}

/// What is to be seen of the TCP addresses of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shown {
    form: Form,
    verified: Verified,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    /// This one for all of them, with the port that they have.
    Name(Multiaddr),
    /// Each of them, with this behind it.
    Suffix(Multiaddr),
}

impl Listen {
    /// Reads `/ip4|ip6/<ip>/tcp/<port>` or `/dns|dns4|dns6/<host>/tcp/<port>`, followed by `/ws`, `/wss`, `/tls/ws`
    /// or `/tls/sni/<host>/ws`, each with or without a path, or by nothing, and nothing before or after it. After an IP
    /// address the first label of the `<host>` may be `*`.
    ///
    /// This is a little stricter than what is below, on purpose: libp2p-tcp ignores what comes before the IP address
    /// and a `/p2p` in the middle, and would then report an address that is not the one it was given.
    pub(super) fn parse(address: &Multiaddr) -> Option<Self> {
        let parsed = Address::parse(address)?;
        let (2, (0, host, port), None) = (
            parsed.before.iter().count(),
            find_host(&parsed.before)?,
            &parsed.peer,
        ) else {
            return None;
        };
        let by_ip = |ip| (BoundTo::Ip(ip), Verified::Ip(ip));
        let by_name = |family, name: &str| (BoundTo::All(family), Verified::Name(name.to_owned()));
        let (host, verified) = match host {
            Protocol::Ip4(ip) => by_ip(ip.into()),
            Protocol::Ip6(ip) => by_ip(ip.into()),
            Protocol::Dns(name) if is_host(&name) => by_name(Family::Any, &name),
            Protocol::Dns4(name) if is_host(&name) => by_name(Family::V4, &name),
            Protocol::Dns6(name) if is_host(&name) => by_name(Family::V6, &name),
            _ => return None,
        };
        let verified = match (parsed.kind, parsed.sni) {
            (Kind::Tcp | Kind::Ws, _) => Verified::Nothing,
            (Kind::Wss, None) => verified,
            (Kind::Wss, Some(name)) if is_host(&name) => Verified::Name(name.into_owned()),
            (Kind::Wss, Some(name)) => match (host, name.strip_prefix("*.")) {
                (BoundTo::Ip(ip), Some(before)) if is_host(before) => Verified::Label {
                    before: before.to_owned(),
                    any: !ip.is_unspecified(),
                },
                _ => return None,
            },
        };
        Some(Self {
            kind: parsed.kind,
            host,
            port,
            verified,
        })
    }

    /// What is to be bound for it.
    pub(super) fn sockets(&self) -> Sockets {
        let tcp = |ip: IpAddr| Multiaddr::from(ip).with(Protocol::Tcp(self.port));
        let (first, second) = match self.host {
            BoundTo::Ip(ip) => (tcp(ip), None),
            BoundTo::All(Family::Any) => (tcp(ANY_IP4), Some(tcp(ANY_IP6))),
            BoundTo::All(Family::V4) => (tcp(ANY_IP4), None),
            BoundTo::All(Family::V6) => (tcp(ANY_IP6), None),
        };
        Sockets { first, second }
    }

    /// What is to be seen of that for `address`, which this was parsed from.
    pub(super) fn shown(&self, address: &Multiaddr) -> Shown {
        Shown {
            form: match self.host {
                BoundTo::All(_) => Form::Name(address.clone()),
                BoundTo::Ip(_) => Form::Suffix(address.iter().skip(2).collect()),
            },
            verified: self.verified.clone(),
        }
    }

    /// Whether each address has a name of its own, with the label of its IP.
    pub(super) fn has_labels(&self) -> bool {
        matches!(self.verified, Verified::Label { .. })
    }

    /// What is missing if a certificate with these names can verify no address of it.
    pub(super) fn missing(&self, names: &Names) -> Option<Cow<'static, str>> {
        let (is_verified, missing) = match &self.verified {
            Verified::Nothing => return None,
            Verified::Name(name) => (names.has(name), "a certificate for its name"),
            Verified::Label { before, .. } => (
                names.has(&format!("*.{before}")),
                "a certificate for its name",
            ),
            Verified::Ip(ip) => (
                names.first().is_some()
                    || names.ips.contains(ip)
                    || ip.is_unspecified() && !names.ips.is_empty(),
                "a certificate for its IP address, or for a name that is no wildcard",
            ),
        };
        if is_verified {
            return None;
        }
        Some(match names.is_empty() {
            true => NAMELESS.into(),
            false => format!("{missing}; the present one is for {}", names.list()).into(),
        })
    }
}

impl Shown {
    /// What is to be seen of this TCP address; `None` if the certificate has no name for it.
    pub(super) fn of(&self, found: &Multiaddr, names: &Names) -> Option<Multiaddr> {
        let shown = self.form.of(found);
        match &self.verified {
            Verified::Nothing => Some(shown),
            Verified::Name(name) => names.has(name).then_some(shown),
            Verified::Label { before, any } => {
                let ip = ip(found).filter(|ip| *any || !is_local(*ip))?;
                let name = format!("{}.{before}", label::of(ip)?);
                names.has(&name).then(|| with_sni(&shown, &name))
            }
            Verified::Ip(_) if names.ips.iter().any(|ip| is_at(found, *ip)) => Some(shown),
            Verified::Ip(_) => {
                let by_name = [Protocol::Tls, Protocol::Sni(names.first()?.into())];
                let path = shown.iter().filter_map(|protocol| match protocol {
                    Protocol::Ws(path) | Protocol::Wss(path) => Some(Protocol::Ws(path)),
                    _ => None,
                });
                Some(found.iter().chain(by_name).chain(path).collect())
            }
        }
    }

    pub(super) fn has_labels(&self) -> bool {
        matches!(self.verified, Verified::Label { .. })
    }

    /// Whether those who dial the one look for the same in the certificate as those who dial the other.
    pub(super) fn is_verified_as(&self, other: &Self) -> bool {
        self.verified == other.verified
    }

    /// The local address of a connection, which may come before its address is announced.
    pub(super) fn local(&self, local: &Multiaddr, names: &Names) -> Multiaddr {
        if let Verified::Label { before, .. } = &self.verified
            && let Some(label) = ip(local).and_then(label::of)
        {
            return with_sni(&self.form.of(local), &format!("{label}.{before}"));
        }
        let shown = self.of(local, names);
        shown.unwrap_or_else(|| self.form.of(local))
    }

    /// The address of the other side of a connection, without the name of a server, which it is none.
    pub(super) fn remote(&self, remote: &Multiaddr) -> Multiaddr {
        let (address, host_and_port) = match &self.form {
            Form::Name(name) => (name, 2),
            Form::Suffix(suffix) => (suffix, 0),
        };
        let suffix = address.iter().skip(host_and_port);
        let suffix = suffix.filter(|protocol| !matches!(protocol, Protocol::Sni(_)));
        remote.iter().chain(suffix).collect()
    }
}

impl Form {
    fn of(&self, found: &Multiaddr) -> Multiaddr {
        match self {
            Self::Name(name) => with_port(name, port(found).unwrap_or_default()),
            Self::Suffix(suffix) => found.iter().chain(suffix.iter()).collect(),
        }
    }
}

/// Whether an address leads to this host, or to another on each link.
fn is_local(ip: IpAddr) -> bool {
    let is_link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    is_link_local || ip.is_loopback()
}

/// The same with another name after `/sni`.
fn with_sni(address: &Multiaddr, name: &str) -> Multiaddr {
    let replaced = address.iter().map(|protocol| match protocol {
        Protocol::Sni(_) => Protocol::Sni(name.into()),
        other => other,
    });
    replaced.collect()
}

fn is_at(address: &Multiaddr, ip: IpAddr) -> bool {
    address.iter().next() == Some(ip.into())
}

const ANY_IP4: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
const ANY_IP6: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// Whether somebody can look it up, and whether it stays what it is when it is written as text and read again.
fn is_host(name: &str) -> bool {
    !name.is_empty() && !name.contains(['/', '*'])
}

#[cfg(test)]
mod tests;
