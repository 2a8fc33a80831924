//! The grammar of WebSocket addresses, and what of those that are listened on is bound and shown.

use std::{
    borrow::Cow,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use multiaddr::{Multiaddr, Protocol};

use crate::websocket::certificate::Names;

/// What protects the connections of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Security {
    /// `/ws`
    Plain,
    /// `/wss`, `/tls/ws` or `/tls/sni/<host>/ws`
    Tls,
}

/// What the end of a WebSocket address says. It is the same for those that are listened on and for those that are
/// dialled, which differ in what may be before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    /// A host with a port, and whatever else.
    pub(super) before: Multiaddr,
    pub(super) security: Security,
    /// The name that a TLS server is to be asked for.
    pub(super) sni: Option<Cow<'static, str>>,
    pub(super) path: Cow<'static, str>,
    /// `/p2p` behind it.
    pub(super) peer: Option<Protocol<'static>>,
}

impl Address {
    /// Reads `/ws`, `/wss`, `/tls/ws` or `/tls/sni/<host>/ws`, each with or without a path, at the end of an address, and
    /// perhaps `/p2p/<peer id>` after that.
    pub(super) fn parse(address: &Multiaddr) -> Option<Self> {
        let mut before = address.clone();
        let mut last = before.pop()?;
        let mut peer = None;
        while let Protocol::P2p(_) = last {
            peer = Some(last);
            last = before.pop()?;
        }
        let (security, path, sni) = match last {
            Protocol::Wss(path) => (Security::Tls, path, None),
            Protocol::Ws(path) => match before.pop()? {
                Protocol::Tls => (Security::Tls, path, None),
                Protocol::Sni(name) => match before.pop()? {
                    Protocol::Tls => (Security::Tls, path, Some(name)),
                    _ => return None,
                },
                other => {
                    before.push(other);
                    (Security::Plain, path, None)
                }
            },
            _ => return None,
        };
        Some(Self {
            before,
            security,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Listen {
    pub(super) security: Security,
    host: BoundTo,
    port: u16,
    has_sni: bool,
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
pub(super) enum Shown {
    /// This one for all of them, with the port that they have.
    Name(Multiaddr),
    /// Each of them, with this behind it.
    Suffix(Multiaddr),
    /// Each of them, with this behind it where the certificate verifies its IP, otherwise with a name that the
    /// certificate verifies.
    Verified(Multiaddr),
}

impl Listen {
    /// Reads `/ip4|ip6/<ip>/tcp/<port>` or `/dns|dns4|dns6/<host>/tcp/<port>`, followed by `/ws`, `/wss`, `/tls/ws`
    /// or `/tls/sni/<host>/ws`, each with or without a path, and nothing before or after it.
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
        let host = match host {
            Protocol::Ip4(ip) => BoundTo::Ip(IpAddr::V4(ip)),
            Protocol::Ip6(ip) => BoundTo::Ip(IpAddr::V6(ip)),
            Protocol::Dns(name) if is_host(&name) => BoundTo::All(Family::Any),
            Protocol::Dns4(name) if is_host(&name) => BoundTo::All(Family::V4),
            Protocol::Dns6(name) if is_host(&name) => BoundTo::All(Family::V6),
            _ => return None,
        };
        let has_sni = match &parsed.sni {
            Some(name) if !is_host(name) => return None,
            sni => sni.is_some(),
        };
        Some(Self {
            security: parsed.security,
            host,
            port,
            has_sni,
        })
    }

    /// What is to be bound for it.
    pub(super) fn sockets(self) -> Sockets {
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
    pub(super) fn shown(self, address: &Multiaddr) -> Shown {
        let suffix = || address.iter().skip(2).collect();
        match (self.host, self.security) {
            (BoundTo::All(_), _) => Shown::Name(address.clone()),
            (BoundTo::Ip(_), Security::Tls) if !self.has_sni => Shown::Verified(suffix()),
            (BoundTo::Ip(_), _) => Shown::Suffix(suffix()),
        }
    }

    /// Whether a certificate with these names may verify an address of it.
    pub(super) fn is_verified_by(self, names: &Names) -> bool {
        match (self.host, self.security) {
            (BoundTo::Ip(ip), Security::Tls) if !self.has_sni => {
                names.dns.is_some()
                    || names.ips.contains(&ip)
                    || ip.is_unspecified() && !names.ips.is_empty()
            }
            _ => true,
        }
    }
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
        let suffix = match self {
            Self::Name(name) => return Some(with_port(name, port(found).unwrap_or_default())),
            Self::Suffix(suffix) => suffix,
            Self::Verified(suffix) if names.ips.iter().any(|ip| is_at(found, *ip)) => suffix,
            Self::Verified(suffix) => {
                let name = names.dns.as_deref()?;
                let tls_by_name = [Protocol::Tls, Protocol::Sni(name.into())];
                let path = suffix.iter().filter_map(|protocol| match protocol {
                    Protocol::Ws(path) | Protocol::Wss(path) => Some(Protocol::Ws(path)),
                    _ => None,
                });
                return Some(found.iter().chain(tls_by_name).chain(path).collect());
            }
        };
        Some(found.iter().chain(suffix.iter()).collect())
    }

    /// The local address of a connection, which may come before its address is announced.
    pub(super) fn local(&self, local: &Multiaddr, names: &Names) -> Multiaddr {
        let shown = self.of(local, names);
        shown.unwrap_or_else(|| self.remote(local))
    }

    /// The address of the other side of a connection, without the name of a server, which it is none.
    pub(super) fn remote(&self, remote: &Multiaddr) -> Multiaddr {
        let suffix: Multiaddr = match self {
            Self::Name(name) => name.iter().skip(2).collect(),
            Self::Suffix(suffix) | Self::Verified(suffix) => suffix.clone(),
        };
        let suffix = suffix
            .iter()
            .filter(|protocol| !matches!(protocol, Protocol::Sni(_)));
        remote.iter().chain(suffix).collect()
    }
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

    fn parse(text: &str) -> Option<Security> {
        Listen::parse(&address(text)).map(|listen| listen.security)
    }

    fn read(text: &str) -> (Sockets, Shown) {
        let address = address(text);
        let listen = Listen::parse(&address).unwrap();
        (listen.sockets(), listen.shown(&address))
    }

    fn names(ips: &[&str], dns: Option<&str>) -> Names {
        Names {
            ips: ips.iter().map(|ip| ip.parse().unwrap()).collect(),
            dns: dns.map(str::to_owned),
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
            for (suffix, security) in [
                ("/tcp/0/ws", Security::Plain),
                ("/tcp/65535/ws", Security::Plain),
                ("/tcp/1/x-parity-ws/%2Fpath", Security::Plain),
                ("/tcp/1/wss", Security::Tls),
                ("/tcp/1/x-parity-wss/%2Fpath", Security::Tls),
                ("/tcp/1/tls/ws", Security::Tls),
                ("/tcp/1/tls/x-parity-ws/%2Fpath", Security::Tls),
                ("/tcp/1/tls/sni/example.com/ws", Security::Tls),
                (
                    "/tcp/1/tls/sni/example.com/x-parity-ws/%2Fpath",
                    Security::Tls,
                ),
            ] {
                let address = format!("{host}{suffix}");
                assert_eq!(parse(&address), Some(security), "{address}");
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
            "/ip4/127.0.0.1/tcp/1".into(),
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
            "/ip4/0.0.0.0/tcp/0/tls/sni/*.example.com/ws".into(),
            "/ip4/0.0.0.0/tcp/0/tls/sni/*/ws".into(),
            "/dns/example.com/tcp/0/tls/sni/*.example.com/ws".into(),
            "/dns/*.example.com/tcp/0/wss".into(),
            "/dns4/*.example.com/tcp/0/ws".into(),
            "/dns6/a.*.com/tcp/0/ws".into(),
            "/ip4/0.0.0.0/tcp/0/ws/http-path/a".into(),
            "/dns/localhost".into(),
            "/dns/localhost/ws".into(),
            "/dns/localhost/tcp/1".into(),
            "/dns/localhost/udp/1/ws".into(),
            "/dns4/localhost/ip4/127.0.0.1/tcp/1/ws".into(),
            "/dnsaddr/localhost/tcp/1/ws".into(),
            "/dnsaddr/localhost".into(),
            "/memory/1".into(),
            "/unix/a".into(),
            format!("/ip4/127.0.0.1/tcp/1/ws/p2p/{peer}"),
            format!("/dns4/localhost/tcp/1/ws/p2p/{peer}"),
            format!("/ip4/127.0.0.1/tcp/1/p2p/{peer}/ws"),
            format!("/ip4/127.0.0.1/tcp/1/ws/p2p/{peer}/p2p-circuit"),
        ] {
            assert_eq!(parse(&address), None, "{address}");
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
                for names in [names(&[], None), names(&["192.0.2.1"], Some("c.example"))] {
                    let expected = address(&format!("{host}/tcp/4711{suffix}"));
                    assert_eq!(shown.of(&found, &names), Some(expected));
                }
                let from = address(&format!("/ip4/192.0.2.1/tcp/4711{remote}"));
                assert_eq!(shown.remote(&found), from);
            }
        }
    }

    #[test]
    fn an_ip_is_bound_as_it_is_and_shown_with_what_follows_its_port() {
        for suffix in ["/ws", "/x-parity-ws/%2Fpath", "/tls/sni/a.example/ws"] {
            let (sockets, shown) = read(&format!("/ip6/::/tcp/0{suffix}"));
            assert_eq!(sockets.first, address("/ip6/::/tcp/0"));
            assert_eq!(sockets.second, None);
            for names in [names(&[], None), names(&["::2"], Some("c.example"))] {
                assert_eq!(
                    shown.of(&address("/ip6/::1/tcp/7"), &names),
                    Some(address(&format!("/ip6/::1/tcp/7{suffix}")))
                );
            }
        }
        let (_, shown) = read("/ip6/::/tcp/0/tls/sni/a.example/ws");
        let remote = shown.remote(&address("/ip6/::1/tcp/7"));
        assert_eq!(remote, address("/ip6/::1/tcp/7/tls/ws"));
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
                (names(&["192.0.2.1"], None), Some(&bare)),
                (names(&["192.0.2.1"], Some("a.example")), Some(&bare)),
                (names(&["192.0.2.2"], Some("a.example")), Some(by_name)),
                (names(&[], Some("a.example")), Some(by_name)),
                (names(&["192.0.2.2"], None), None),
                (names(&[], None), None),
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
        let is_verified = |text: &str, names: &Names| {
            Listen::parse(&address(text)).unwrap().is_verified_by(names)
        };
        for (listen, ips, dns, expected) in [
            (
                "/ip4/192.0.2.1/tcp/1/tls/ws",
                &["192.0.2.1"][..],
                None,
                true,
            ),
            ("/ip4/192.0.2.1/tcp/1/wss", &["192.0.2.2"], None, false),
            ("/ip4/192.0.2.1/tcp/1/tls/ws", &[], None, false),
            ("/ip4/192.0.2.1/tcp/1/tls/ws", &[], Some("a.example"), true),
            ("/ip4/0.0.0.0/tcp/1/tls/ws", &["192.0.2.2"], None, true),
            ("/ip4/0.0.0.0/tcp/1/tls/ws", &[], None, false),
            ("/ip4/192.0.2.1/tcp/1/ws", &[], None, true),
            ("/dns4/a.example/tcp/1/tls/ws", &[], None, true),
            ("/ip4/192.0.2.1/tcp/1/tls/sni/b.example/ws", &[], None, true),
        ] {
            assert_eq!(is_verified(listen, &names(ips, dns)), expected, "{listen}");
        }
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
