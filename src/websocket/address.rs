//! The grammar of WebSocket addresses.

use std::{
    borrow::Cow,
    net::{IpAddr, SocketAddr},
};

use multiaddr::{Multiaddr, Protocol};

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
pub(super) fn find_host(address: &Multiaddr) -> Option<(usize, Protocol<'_>, u16)> {
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

#[cfg(test)]
mod tests;
