//! The grammar of WebSocket addresses, and what of those that are listened on is bound and shown.

use std::{
    borrow::Cow,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use multiaddr::{Multiaddr, Protocol};

use crate::{
    label,
    websocket::certificate::{NAMELESS, Names},
};

/// What is spoken on the connections of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// TCP without WebSocket: nothing after the port.
    Tcp,
    /// `/ws`
    Ws,
    /// `/wss`, `/tls/ws` or `/tls/sni/<host>/ws`
    Wss,
}

/// What the end of an address says, be it of WebSocket or of TCP alone. It is the same for those that are listened on and
/// for those that are dialled, which differ in what may be before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    /// A host with a port, and whatever else.
    pub(super) before: Multiaddr,
    pub(super) kind: Kind,
    /// The name that a TLS server is to be asked for.
    pub(super) sni: Option<Cow<'static, str>>,
    pub(super) path: Cow<'static, str>,
    /// `/p2p` behind it.
    pub(super) peer: Option<Protocol<'static>>,
}

impl Address {
    /// Reads `/ws`, `/wss`, `/tls/ws` or `/tls/sni/<host>/ws`, each with or without a path, at the end of an address, and
    /// perhaps `/p2p/<peer id>` after that; or a host with a port and nothing else.
    pub(super) fn parse(address: &Multiaddr) -> Option<Self> {
        let mut before = address.clone();
        let mut last = before.pop()?;
        let mut peer = None;
        while let Protocol::P2p(_) = last {
            peer = Some(last);
            last = before.pop()?;
        }
        let (kind, path, sni) = match last {
            Protocol::Wss(path) => (Kind::Wss, path, None),
            Protocol::Ws(path) => match before.pop()? {
                Protocol::Tls => (Kind::Wss, path, None),
                Protocol::Sni(name) => match before.pop()? {
                    Protocol::Tls => (Kind::Wss, path, Some(name)),
                    _ => return None,
                },
                other => {
                    before.push(other);
                    (Kind::Ws, path, None)
                }
            },
            Protocol::Tcp(_) if before.iter().count() == 1 => {
                before.push(last);
                (Kind::Tcp, Cow::Borrowed(""), None)
            }
            _ => return None,
        };
        // WebSocket or TLS once more, in which no transport here is.
        let is_nested = before.iter().any(|protocol| {
            matches!(
                protocol,
                Protocol::Ws(_) | Protocol::Wss(_) | Protocol::Tls | Protocol::Sni(_)
            )
        });
        if is_nested {
            return None;
        }
        Some(Self {
            before,
            kind,
            sni,
            path,
            peer,
        })
    }
}

/// The first host with a port, and where it is.
fn find_host(address: &Multiaddr) -> Option<(usize, Protocol<'_>, u16)> {
    let followers = address.iter().skip(1);
    let mut pairs = address.iter().zip(followers).enumerate();
    pairs.find_map(|(at, pair)| match pair {
        (
            host @ (Protocol::Ip4(_)
            | Protocol::Ip6(_)
            | Protocol::Dns(_)
            | Protocol::Dns4(_)
            | Protocol::Dns6(_)),
            Protocol::Tcp(port),
        ) => Some((at, host, port)),
        _ => None,
    })
}

/// Why nothing can be reached at an address, if that is known without trying.
pub(super) fn undialable(address: &Multiaddr) -> Option<&'static str> {
    let is_unspecified = match find_host(address)? {
        (.., 0) => return Some("its port is 0"),
        (_, Protocol::Ip4(ip), _) => ip.is_unspecified(),
        (_, Protocol::Ip6(ip), _) => ip.is_unspecified(),
        _ => false,
    };
    is_unspecified.then_some("its IP address is unspecified")
}

/// The host that an address leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Host {
    Ip(IpAddr),
    Name(String, Family),
}

/// Which of the addresses of a name are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// `/dns`
    Any,
    /// `/dns4`
    V4,
    /// `/dns6`
    V6,
}

impl Family {
    pub(super) fn has(self, ip: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::V4 => ip.is_ipv4(),
            Self::V6 => ip.is_ipv6(),
        }
    }
}

impl Host {
    /// The first with a port.
    pub(super) fn of(address: &Multiaddr) -> Option<Self> {
        Some(match find_host(address)?.1 {
            Protocol::Ip4(ip) => Self::Ip(ip.into()),
            Protocol::Ip6(ip) => Self::Ip(ip.into()),
            Protocol::Dns(name) => Self::Name(name.into_owned(), Family::Any),
            Protocol::Dns4(name) => Self::Name(name.into_owned(), Family::V4),
            Protocol::Dns6(name) => Self::Name(name.into_owned(), Family::V6),
            _ => return None,
        })
    }

    /// The same address with this IP as its host.
    pub(super) fn replace(address: &Multiaddr, ip: IpAddr) -> Multiaddr {
        let found = find_host(address);
        let replaced = found.and_then(|(at, ..)| address.replace(at, |_| Some(ip.into())));
        replaced.unwrap_or_else(|| address.clone())
    }
}

/// The first host with a port.
pub(super) fn host_and_port(address: &Multiaddr) -> Option<(Protocol<'_>, u16)> {
    find_host(address).map(|(_, host, port)| (host, port))
}

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

/// Says what may be wrong with an address that is not supported, as an error has no room for it.
pub(super) fn log_unsupported(address: &Multiaddr) {
    if is_bare_tcp(address) {
        tracing::debug!(%address, "not a WebSocket address: add `/ws` after the port, or see `Config::with_tcp`");
    }
}

/// Whether an address ends with a TCP port, with or without a peer id after it.
fn is_bare_tcp(address: &Multiaddr) -> bool {
    let mut protocols: Vec<_> = address.iter().collect();
    protocols.pop_if(|last| matches!(last, Protocol::P2p(_)));
    matches!(protocols.last(), Some(Protocol::Tcp(_)))
}

/// The first IP address.
pub(super) fn ip(address: &Multiaddr) -> Option<IpAddr> {
    address.iter().find_map(|protocol| match protocol {
        Protocol::Ip4(ip) => Some(ip.into()),
        Protocol::Ip6(ip) => Some(ip.into()),
        _ => None,
    })
}

/// Reads `/ip4|ip6/<ip>/tcp/<port>`, with or without a `/p2p/<peer id>` after it.
pub(super) fn socket_address(tcp: &Multiaddr) -> Option<SocketAddr> {
    let mut protocols = tcp.iter();
    let ip: IpAddr = match protocols.next()? {
        Protocol::Ip4(ip) => ip.into(),
        Protocol::Ip6(ip) => ip.into(),
        _ => return None,
    };
    let Protocol::Tcp(port) = protocols.next()? else {
        return None;
    };
    match (protocols.next(), protocols.next()) {
        (None | Some(Protocol::P2p(_)), None) => Some(SocketAddr::new(ip, port)),
        _ => None,
    }
}

/// Whether a host can lose this address: it is neither all of them nor its own.
pub(super) fn is_specific(ip: IpAddr) -> bool {
    !ip.is_unspecified() && !ip.is_loopback()
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

/// The port of an address whose second protocol is TCP, as in all that can be listened on.
pub(super) fn port(address: &Multiaddr) -> Option<u16> {
    match address.iter().nth(1)? {
        Protocol::Tcp(port) => Some(port),
        _ => None,
    }
}

/// The same with another port.
pub(super) fn with_port(address: &Multiaddr, port: u16) -> Multiaddr {
    address
        .replace(1, |_| Some(Protocol::Tcp(port)))
        .unwrap_or_else(|| address.clone())
}

/// Whether somebody can look it up, and whether it stays what it is when it is written as text and read again.
fn is_host(name: &str) -> bool {
    !name.is_empty() && !name.contains(['/', '*'])
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    fn address(address: &str) -> Multiaddr {
        address.parse().unwrap()
    }

    fn parse(text: &str) -> Option<Kind> {
        Listen::parse(&address(text)).map(|listen| listen.kind)
    }

    fn read(text: &str) -> (Sockets, Shown) {
        let address = address(text);
        let listen = Listen::parse(&address).unwrap();
        (listen.sockets(), listen.shown(&address))
    }

    fn names(ips: &[&str], dns: &[&str]) -> Names {
        Names {
            ips: ips.iter().map(|ip| ip.parse().unwrap()).collect(),
            dns: dns.iter().map(|&dns| dns.to_owned()).collect(),
        }
    }

    #[test]
    fn websocket_over_an_ip_or_a_name_can_be_listened_on() {
        for host in [
            "/ip4/127.0.0.1",
            "/ip4/0.0.0.0",
            "/ip6/::",
            "/ip6/2001:db8::1",
            "/dns/example.com",
            "/dns4/localhost",
            "/dns6/a",
        ] {
            for (suffix, kind) in [
                ("/tcp/0/ws", Kind::Ws),
                ("/tcp/65535/ws", Kind::Ws),
                ("/tcp/1/x-parity-ws/%2Fpath", Kind::Ws),
                ("/tcp/1/wss", Kind::Wss),
                ("/tcp/1/x-parity-wss/%2Fpath", Kind::Wss),
                ("/tcp/1/tls/ws", Kind::Wss),
                ("/tcp/1/tls/x-parity-ws/%2Fpath", Kind::Wss),
                ("/tcp/1/tls/sni/example.com/ws", Kind::Wss),
                ("/tcp/1/tls/sni/example.com/x-parity-ws/%2Fpath", Kind::Wss),
            ] {
                let address = format!("{host}{suffix}");
                assert_eq!(parse(&address), Some(kind), "{address}");
            }
        }
    }

    #[test]
    fn everything_else_cannot() {
        let peer = "12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5";
        for address in [
            String::new(),
            "/ws".into(),
            "/ip4/127.0.0.1".into(),
            "/ip4/127.0.0.1/ws".into(),
            "/tcp/1".into(),
            "/ip4/127.0.0.1/tcp/1/tcp/1".into(),
            "/ip4/127.0.0.1/tcp/1/tls".into(),
            "/ip4/127.0.0.1/tcp/1/http".into(),
            "/ip4/127.0.0.1/udp/1/ws".into(),
            "/ip4/127.0.0.1/udp/1/quic-v1".into(),
            "/ip4/127.0.0.1/tcp/1/ws/ws".into(),
            "/ip4/127.0.0.1/tcp/1/sni/example.com/ws".into(),
            "/ip4/127.0.0.1/tcp/1/tls/wss".into(),
            "/ip4/127.0.0.1/tcp/1/tls/tls/ws".into(),
            "/ip4/127.0.0.1/tcp/1/tls/sni/example.com".into(),
            "/ip4/127.0.0.1/tcp/1/tls/sni/example.com/wss".into(),
            "/ip4/127.0.0.1/tcp/1/tls/sni/a/sni/b/ws".into(),
            "/ip4/127.0.0.1/tcp/1/tcp/1/ws".into(),
            "/ip4/127.0.0.1/ip4/127.0.0.1/tcp/1/ws".into(),
            "/ip6zone/eth0/ip6/fe80::1/tcp/1/ws".into(),
            "/ip4/0.0.0.0/tcp/0/tls/sni/*/ws".into(),
            "/ip4/0.0.0.0/tcp/0/tls/sni/*./ws".into(),
            "/ip4/0.0.0.0/tcp/0/tls/sni/*.*.com/ws".into(),
            "/ip4/0.0.0.0/tcp/0/tls/sni/a.*.com/ws".into(),
            "/ip4/0.0.0.0/tcp/0/tls/sni/a*.example.com/ws".into(),
            "/dns/example.com/tcp/0/tls/sni/*.example.com/ws".into(),
            "/dns/*.example.com/tcp/0/wss".into(),
            "/dns4/*.example.com/tcp/0/ws".into(),
            "/dns6/a.*.com/tcp/0/ws".into(),
            "/ip4/0.0.0.0/tcp/0/ws/http-path/a".into(),
            "/dns/localhost".into(),
            "/dns/localhost/ws".into(),
            "/dns/*.example.com/tcp/1".into(),
            "/dns/localhost/udp/1/ws".into(),
            "/dns4/localhost/ip4/127.0.0.1/tcp/1/ws".into(),
            "/dnsaddr/localhost/tcp/1/ws".into(),
            "/dnsaddr/localhost".into(),
            "/memory/1".into(),
            "/unix/a".into(),
            format!("/ip4/127.0.0.1/tcp/1/p2p/{peer}"),
            format!("/ip4/127.0.0.1/tcp/1/p2p/{peer}/p2p-circuit"),
            format!("/ip4/127.0.0.1/tcp/1/ws/p2p/{peer}"),
            format!("/dns4/localhost/tcp/1/ws/p2p/{peer}"),
            format!("/ip4/127.0.0.1/tcp/1/p2p/{peer}/ws"),
            format!("/ip4/127.0.0.1/tcp/1/ws/p2p/{peer}/p2p-circuit"),
        ] {
            assert_eq!(parse(&address), None, "{address}");
        }
    }

    #[test]
    fn a_host_and_a_port_alone_are_tcp_and_shown_as_they_are() {
        for (host, bound) in [
            ("/ip4/0.0.0.0", "/ip4/0.0.0.0"),
            ("/ip6/2001:db8::1", "/ip6/2001:db8::1"),
            ("/dns4/a.example", "/ip4/0.0.0.0"),
        ] {
            let text = format!("{host}/tcp/1");
            assert_eq!(parse(&text), Some(Kind::Tcp), "{text}");
            let (sockets, shown) = read(&text);
            assert_eq!(sockets.first, address(&format!("{bound}/tcp/1")));
            let found = address("/ip4/192.0.2.1/tcp/2");
            let expected = match host {
                "/dns4/a.example" => "/dns4/a.example/tcp/2",
                _ => "/ip4/192.0.2.1/tcp/2",
            };
            assert_eq!(shown.of(&found, &Names::default()), Some(address(expected)));
            let remote = address("/ip4/192.0.2.9/tcp/9");
            assert_eq!(shown.remote(&remote), remote);
        }
    }

    #[test]
    fn a_host_that_is_another_in_text_is_none() {
        for name in ["", "a/tcp/1/ws/dns4/b"] {
            for host in [
                Protocol::Dns(Cow::from(name)),
                Protocol::Dns4(Cow::from(name)),
                Protocol::Dns6(Cow::from(name)),
            ] {
                let address = Multiaddr::empty()
                    .with(host)
                    .with(Protocol::Tcp(1))
                    .with(Protocol::Ws("/".into()));
                assert_eq!(Listen::parse(&address), None, "{address:?}");
            }
            let address = address("/ip4/127.0.0.1/tcp/1/tls")
                .with(Protocol::Sni(Cow::from(name)))
                .with(Protocol::Ws("/".into()));
            assert_eq!(Listen::parse(&address), None, "{address:?}");
        }
    }

    #[test]
    fn a_name_is_bound_to_all_addresses_of_its_families_and_shown_with_its_port() {
        for (host, first, second) in [
            ("/dns4/a.example", "/ip4/0.0.0.0", None),
            ("/dns6/a.example", "/ip6/::", None),
            ("/dns/a.example", "/ip4/0.0.0.0", Some("/ip6/::")),
        ] {
            for (suffix, remote) in [
                ("/ws", "/ws"),
                ("/wss", "/wss"),
                ("/tls/ws", "/tls/ws"),
                ("/tls/sni/b.example/ws", "/tls/ws"),
                (
                    "/tls/sni/b.example/x-parity-ws/%2Fpath",
                    "/tls/x-parity-ws/%2Fpath",
                ),
            ] {
                let (sockets, shown) = read(&format!("{host}/tcp/0{suffix}"));
                let socket = |ip: &str| address(&format!("{ip}/tcp/0"));
                assert_eq!(sockets.first, socket(first));
                assert_eq!(sockets.second, second.map(socket));
                let found = address("/ip4/192.0.2.1/tcp/4711");
                let expected = address(&format!("{host}/tcp/4711{suffix}"));
                let name = match suffix.contains("/sni/") {
                    true => "B.example",
                    false => "a.example",
                };
                for (names, is_verified) in [
                    (names(&[], &[]), false),
                    (names(&["192.0.2.1"], &["c.example"]), false),
                    (names(&[], &["*.a.example", "*.b.example"]), false),
                    (names(&[], &["c.example", name]), true),
                    (names(&["192.0.2.2"], &["*.example.", "*.example"]), true),
                ] {
                    let is_shown = is_verified || suffix == "/ws";
                    let expected = is_shown.then(|| expected.clone());
                    assert_eq!(shown.of(&found, &names), expected, "{suffix} {names:?}");
                }
                assert_eq!(shown.local(&found, &names(&[], &[])), expected);
                let from = address(&format!("/ip4/192.0.2.1/tcp/4711{remote}"));
                assert_eq!(shown.remote(&found), from);
            }
        }
    }

    #[test]
    fn an_ip_is_bound_as_it_is_and_shown_with_what_follows_its_port() {
        for (suffix, needed) in [
            ("/ws", ""),
            ("/x-parity-ws/%2Fpath", ""),
            ("/tls/sni/a.example/ws", "a.example"),
        ] {
            let (sockets, shown) = read(&format!("/ip6/::/tcp/0{suffix}"));
            assert_eq!(sockets.first, address("/ip6/::/tcp/0"));
            assert_eq!(sockets.second, None);
            let found = address("/ip6/::1/tcp/7");
            let expected = address(&format!("/ip6/::1/tcp/7{suffix}"));
            for (names, is_verified) in [
                (names(&[], &[]), false),
                (names(&["::1"], &["c.example"]), false),
                (names(&[], &["c.example", needed]), true),
            ] {
                let is_shown = is_verified || needed.is_empty();
                assert_eq!(shown.of(&found, &names), is_shown.then(|| expected.clone()));
                assert_eq!(shown.local(&found, &names), expected);
            }
        }
        let (_, shown) = read("/ip6/::/tcp/0/tls/sni/a.example/ws");
        let remote = shown.remote(&address("/ip6/::1/tcp/7"));
        assert_eq!(remote, address("/ip6/::1/tcp/7/tls/ws"));
    }

    #[test]
    fn a_wildcard_is_shown_as_the_label_of_each_ip() {
        let covered = names(&[], &["a.example", "*.k1.example"]);
        let (sockets, shown) = read("/ip4/0.0.0.0/tcp/0/tls/sni/*.k1.example/ws");
        assert_eq!(sockets.first, address("/ip4/0.0.0.0/tcp/0"));
        let (_, shown_6) = read("/ip6/::/tcp/0/tls/sni/*.k1.example/x-parity-ws/%2Fpath");
        let end = "tls/sni/1-2-3-4.k1.example/ws";
        let end_6 = "tls/sni/2606-4700--1.k1.example/x-parity-ws/%2Fpath";
        for (shown, ip, end) in [
            (&shown, "ip4/1.2.3.4", Some(end)),
            (&shown_6, "ip6/2606:4700::1", Some(end_6)),
            (&shown, "ip4/127.0.0.1", None),
            (
                &shown,
                "ip4/10.0.0.5",
                Some("tls/sni/10-0-0-5.k1.example/ws"),
            ),
            (&shown, "ip4/169.254.0.1", None),
            (&shown_6, "ip6/::1", None),
            (&shown_6, "ip6/fe80::1", None),
            (&shown_6, "ip6/::ffff:1.2.3.4", None),
        ] {
            let found = address(&format!("/{ip}/tcp/7"));
            let expected = end.map(|end| address(&format!("/{ip}/tcp/7/{end}")));
            assert_eq!(shown.of(&found, &covered), expected, "{ip}");
            assert_eq!(shown.of(&found, &names(&[], &["a.example"])), None);
        }
        // Whoever is connected to is known by its IP, whatever that is.
        let local = shown.local(&address("/ip4/10.0.0.5/tcp/7"), &covered);
        let expected = address("/ip4/10.0.0.5/tcp/7/tls/sni/10-0-0-5.k1.example/ws");
        assert_eq!(local, expected);
        let remote = shown.remote(&address("/ip4/192.0.2.1/tcp/7"));
        assert_eq!(remote, address("/ip4/192.0.2.1/tcp/7/tls/ws"));
    }

    #[test]
    fn a_wildcard_at_an_ip_is_shown_for_that_ip_whatever_it_is() {
        for (ip, label) in [("ip4/127.0.0.1", "127-0-0-1"), ("ip6/fd00::1", "fd00--1")] {
            let (_, shown) = read(&format!("/{ip}/tcp/0/tls/sni/*.k1.example/ws"));
            let found = address(&format!("/{ip}/tcp/7"));
            let expected = format!("/{ip}/tcp/7/tls/sni/{label}.k1.example/ws");
            let names = names(&[], &["*.k1.example"]);
            assert_eq!(shown.of(&found, &names), Some(address(&expected)));
        }
    }

    #[test]
    fn an_ip_with_tls_is_shown_as_the_certificate_verifies_it() {
        let found = address("/ip4/192.0.2.1/tcp/7");
        let [by_name, with_path] = ["/ws", "/x-parity-ws/%2Fpath"]
            .map(|end| format!("/ip4/192.0.2.1/tcp/7/tls/sni/a.example{end}"));
        for (end, by_name) in [
            ("/wss", &by_name),
            ("/tls/ws", &by_name),
            ("/x-parity-wss/%2Fpath", &with_path),
            ("/tls/x-parity-ws/%2Fpath", &with_path),
        ] {
            let (_, shown) = read(&format!("/ip4/0.0.0.0/tcp/0{end}"));
            let bare = format!("/ip4/192.0.2.1/tcp/7{end}");
            for (names, expected) in [
                (names(&["192.0.2.1"], &[]), Some(&bare)),
                (names(&["192.0.2.1"], &["a.example"]), Some(&bare)),
                (names(&["192.0.2.2"], &["a.example"]), Some(by_name)),
                (names(&[], &["a.example"]), Some(by_name)),
                (names(&["192.0.2.2"], &[]), None),
                (names(&[], &[]), None),
            ] {
                let expected = expected.map(|text| address(text));
                assert_eq!(shown.of(&found, &names), expected, "{names:?}");
                let local = expected.unwrap_or_else(|| address(&bare));
                assert_eq!(shown.local(&found, &names), local);
            }
            assert_eq!(shown.remote(&found), address(&bare));
        }
    }

    #[test]
    fn what_a_certificate_can_never_verify_is_known_before_the_bind() {
        let missing = |text: &str, names: &Names| {
            let listen = Listen::parse(&address(text)).unwrap();
            listen.missing(names)
        };
        let [ip, name, any] = ["for its IP address", "for its name", "no subjectAltName"];
        for (listen, ips, dns, expected) in [
            (
                "/ip4/192.0.2.1/tcp/1/tls/ws",
                &["192.0.2.1"][..],
                &[][..],
                None,
            ),
            ("/ip4/192.0.2.1/tcp/1/wss", &["192.0.2.2"], &[], Some(ip)),
            ("/ip4/192.0.2.1/tcp/1/tls/ws", &[], &[], Some(any)),
            (
                "/ip4/192.0.2.1/tcp/1/tls/ws",
                &[],
                &["*.a.example"],
                Some(ip),
            ),
            ("/ip4/192.0.2.1/tcp/1/tls/ws", &[], &["a.example"], None),
            ("/ip4/0.0.0.0/tcp/1/tls/ws", &["192.0.2.2"], &[], None),
            ("/ip4/0.0.0.0/tcp/1/tls/ws", &[], &[], Some(any)),
            ("/ip4/192.0.2.1/tcp/1/ws", &[], &[], None),
            ("/dns4/a.example/tcp/1/ws", &[], &[], None),
            ("/dns4/a.example/tcp/1/tls/ws", &[], &[], Some(any)),
            ("/dns6/a.example/tcp/1/wss", &[], &["a.example"], None),
            (
                "/dns/a.example/tcp/1/wss",
                &["192.0.2.1"],
                &["b.example"],
                Some(name),
            ),
            (
                "/dns/a.example/tcp/1/tls/sni/b.example/ws",
                &[],
                &["a.example"],
                Some(name),
            ),
            (
                "/dns/a.example/tcp/1/tls/sni/b.example/ws",
                &[],
                &["b.example"],
                None,
            ),
            (
                "/ip4/192.0.2.1/tcp/1/tls/sni/b.example/ws",
                &["192.0.2.1"],
                &["a.example"],
                Some(name),
            ),
            (
                "/ip4/0.0.0.0/tcp/1/tls/sni/*.k1.example/ws",
                &[],
                &["a.k1.example", "*.example"],
                Some(name),
            ),
            (
                "/ip4/0.0.0.0/tcp/1/tls/sni/*.k1.example/ws",
                &[],
                &["*.K1.example"],
                None,
            ),
            (
                "/ip4/192.0.2.1/tcp/1/tls/sni/b.a.example/ws",
                &[],
                &["*.a.example"],
                None,
            ),
        ] {
            let found = missing(listen, &names(ips, dns));
            let fits = |found: &str| expected.is_some_and(|expected| found.contains(expected));
            assert!(
                found.as_deref().map_or_else(|| expected.is_none(), fits),
                "{listen}: {found:?}"
            );
        }
    }

    #[test]
    fn an_address_of_tcp_alone_is_told_from_others() {
        let peer = libp2p_identity::PeerId::random();
        for (text, is_bare) in [
            ("/ip4/192.0.2.1/tcp/1".to_owned(), true),
            (format!("/dns/a.example/tcp/1/p2p/{peer}"), true),
            ("/ip4/192.0.2.1/tcp/1/ws".to_owned(), false),
            (format!("/ip4/192.0.2.1/tcp/1/wss/p2p/{peer}"), false),
            ("/ip4/192.0.2.1/udp/1/quic-v1".to_owned(), false),
        ] {
            assert_eq!(is_bare_tcp(&address(&text)), is_bare, "{text}");
        }
        assert!(!is_bare_tcp(&Multiaddr::empty()));
    }

    #[test]
    fn only_an_ip_that_an_interface_has_and_may_lose_is_specific() {
        for (text, specific) in [
            ("/ip4/192.0.2.1/tcp/1", true),
            ("/ip6/2001:db8::1/tcp/1", true),
            ("/ip4/0.0.0.0/tcp/1", false),
            ("/ip6/::/tcp/1", false),
            ("/ip4/127.0.1.2/tcp/1", false),
            ("/ip6/::1/tcp/1", false),
        ] {
            let at = socket_address(&address(text)).unwrap();
            assert_eq!((is_specific(at.ip()), at.port()), (specific, 1), "{text}");
        }
    }

    #[test]
    fn a_port_is_read_and_replaced_where_it_is() {
        let from = address("/ip4/192.0.2.1/tcp/0/tls/ws");
        assert_eq!(port(&from), Some(0));
        let to = with_port(&from, 4711);
        assert_eq!(to, address("/ip4/192.0.2.1/tcp/4711/tls/ws"));
        assert_eq!(port(&to), Some(4711));
    }
}
