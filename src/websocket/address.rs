//! The grammar of the addresses that can be listened on, and what of them is told to the transport below.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use multiaddr::{Multiaddr, Protocol};

/// What protects the connections of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Security {
    /// `/ws`
    Plain,
    /// `/wss`, `/tls/ws` or `/tls/sni/<host>/ws`
    Tls,
}

/// What an address to listen on says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Listen {
    pub(super) security: Security,
    host: Host,
    port: u16,
    has_sni: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Host {
    /// `/ip4` or `/ip6`
    Ip(IpAddr),
    /// `/dns`
    Dns,
    /// `/dns4`
    Dns4,
    /// `/dns6`
    Dns6,
}

/// How a listener is made of those that the transport below can have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Translation {
    /// What is listened on below.
    pub(super) first: Multiaddr,
    /// What is listened on beside it, on the same port.
    pub(super) second: Option<Multiaddr>,
    pub(super) shown: Shown,
}

/// What is to be seen of the addresses that the transport below reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shown {
    /// This one for all of them, with the port that they have.
    Name(Multiaddr),
    /// Each of them, ending in this in place of what follows its port.
    Suffix(Multiaddr),
}

impl Listen {
    /// Reads `/ip4|ip6/<ip>/tcp/<port>` or `/dns|dns4|dns6/<host>/tcp/<port>`, followed by `/ws`, `/wss`, `/tls/ws`
    /// or `/tls/sni/<host>/ws`, each with or without a path, and nothing before or after it.
    ///
    /// This is a little stricter than what is below, on purpose: libp2p-tcp ignores what comes before the IP address
    /// and a `/p2p` in the middle, and would then report an address that is not the one it was given.
    pub(super) fn parse(address: &Multiaddr) -> Option<Self> {
        Self::parse_bytes(address.as_ref()).or_else(|| Self::parse_protocols(address))
    }

    /// Reads an address on an IP that has neither a path nor a name, in a tenth of the time that it takes to go
    /// through its protocols: every bind reads it twice, and this is what nearly all look like.
    fn parse_bytes(bytes: &[u8]) -> Option<Self> {
        // The codes of the protocols, as variable-length integers:
        // https://github.com/multiformats/multiaddr/blob/master/protocols.csv
        const IP4: u8 = 4;
        const IP6: u8 = 41;
        const TCP: u8 = 6;
        const WS: [u8; 2] = [0xdd, 0x03];
        const WSS: [u8; 2] = [0xde, 0x03];
        const TLS_WS: [u8; 4] = [0xc0, 0x03, WS[0], WS[1]];

        let (ip, rest) = match bytes.split_first()? {
            (&IP4, rest) => {
                let (ip, rest) = rest.split_first_chunk::<4>()?;
                (IpAddr::from(*ip), rest)
            }
            (&IP6, rest) => {
                let (ip, rest) = rest.split_first_chunk::<16>()?;
                (IpAddr::from(*ip), rest)
            }
            _ => return None,
        };
        let ([TCP, port @ ..], rest) = rest.split_first_chunk::<3>()? else {
            return None;
        };
        let security = match rest {
            rest if rest == WS => Security::Plain,
            rest if rest == WSS || rest == TLS_WS => Security::Tls,
            _ => return None,
        };
        Some(Self {
            security,
            host: Host::Ip(ip),
            port: u16::from_be_bytes(*port),
            has_sni: false,
        })
    }

    fn parse_protocols(address: &Multiaddr) -> Option<Self> {
        let mut protocols = address.iter();
        let host = match protocols.next()? {
            Protocol::Ip4(ip) => Host::Ip(IpAddr::V4(ip)),
            Protocol::Ip6(ip) => Host::Ip(IpAddr::V6(ip)),
            Protocol::Dns(name) if is_host(&name) => Host::Dns,
            Protocol::Dns4(name) if is_host(&name) => Host::Dns4,
            Protocol::Dns6(name) if is_host(&name) => Host::Dns6,
            _ => return None,
        };
        let Protocol::Tcp(port) = protocols.next()? else {
            return None;
        };
        let mut has_sni = false;
        let security = match protocols.next()? {
            Protocol::Ws(_) => Security::Plain,
            Protocol::Wss(_) => Security::Tls,
            Protocol::Tls => {
                let mut last = protocols.next()?;
                if let Protocol::Sni(name) = &last {
                    if !is_host(name) {
                        return None;
                    }
                    has_sni = true;
                    last = protocols.next()?;
                }
                let Protocol::Ws(_) = last else { return None };
                Security::Tls
            }
            _ => return None,
        };
        protocols.next().is_none().then_some(Self {
            security,
            host,
            port,
            has_sni,
        })
    }

    /// Where that is, unless it is on a name.
    pub(super) fn socket_address(self) -> Option<SocketAddr> {
        match self.host {
            Host::Ip(ip) => Some(SocketAddr::new(ip, self.port)),
            _ => None,
        }
    }

    /// The TCP part of `address`, which this was parsed from; `None` if it is on a name.
    ///
    /// By bytes: to go through the protocols takes as long as a good part of the bind.
    pub(super) fn tcp(self, address: &Multiaddr) -> Option<Multiaddr> {
        // A byte for each code, the IP and the port.
        let length = match self.host {
            Host::Ip(IpAddr::V4(_)) => 1 + 4 + 1 + 2,
            Host::Ip(IpAddr::V6(_)) => 1 + 16 + 1 + 2,
            _ => return None,
        };
        let tcp = address.as_ref().get(..length)?;
        Multiaddr::try_from(tcp.to_vec()).ok()
    }

    /// What is to be listened on for `address`, which this was parsed from; `None` if it is that address itself.
    pub(super) fn translate(self, address: &Multiaddr) -> Option<Translation> {
        let (first, second): (Protocol<'_>, _) = match self.host {
            Host::Ip(_) if !self.has_sni => return None,
            Host::Ip(ip) => (ip.into(), None),
            Host::Dns => (ANY_IP4, Some(ANY_IP6)),
            Host::Dns4 => (ANY_IP4, None),
            Host::Dns6 => (ANY_IP6, None),
        };
        let below = |ip: Protocol<'_>| {
            address
                .iter()
                .skip(1)
                // Below, it is known only in addresses that are dialled.
                .filter(|protocol| !matches!(protocol, Protocol::Sni(_)))
                .fold(Multiaddr::empty().with(ip.acquire()), Multiaddr::with)
        };
        Some(Translation {
            first: below(first),
            second: second.map(below),
            shown: match self.host {
                Host::Ip(_) => Shown::Suffix(address.iter().skip(2).collect()),
                Host::Dns | Host::Dns4 | Host::Dns6 => Shown::Name(address.clone()),
            },
        })
    }
}

/// Whether a host can lose this address: it is neither all of them nor its own.
pub(super) fn is_specific(ip: IpAddr) -> bool {
    !ip.is_unspecified() && !ip.is_loopback()
}

impl Shown {
    /// What is to be seen of this address of the transport below.
    pub(super) fn of(&self, found: &Multiaddr) -> Multiaddr {
        match self {
            Self::Name(name) => with_port(name, port(found).unwrap_or_default()),
            Self::Suffix(suffix) => found.iter().take(2).chain(suffix.iter()).collect(),
        }
    }
}

const ANY_IP4: Protocol<'static> = Protocol::Ip4(Ipv4Addr::UNSPECIFIED);
const ANY_IP6: Protocol<'static> = Protocol::Ip6(Ipv6Addr::UNSPECIFIED);

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

    fn translate(text: &str) -> Option<Translation> {
        let address = address(text);
        Listen::parse(&address).unwrap().translate(&address)
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
    fn what_libp2p_websocket_understands_is_not_translated() {
        for address in [
            "/ip4/127.0.0.1/tcp/0/ws",
            "/ip6/::/tcp/1/wss",
            "/ip4/0.0.0.0/tcp/1/tls/x-parity-ws/%2Fpath",
        ] {
            assert_eq!(translate(address), None, "{address}");
        }
    }

    #[test]
    fn a_name_is_bound_to_all_addresses_of_its_families_and_shown_with_its_port() {
        for (host, first, second) in [
            ("/dns4/a.example", "/ip4/0.0.0.0", None),
            ("/dns6/a.example", "/ip6/::", None),
            ("/dns/a.example", "/ip4/0.0.0.0", Some("/ip6/::")),
        ] {
            for (suffix, below) in [
                ("/ws", "/ws"),
                ("/wss", "/wss"),
                ("/tls/ws", "/tls/ws"),
                ("/tls/sni/b.example/ws", "/tls/ws"),
                (
                    "/tls/sni/b.example/x-parity-ws/%2Fpath",
                    "/tls/x-parity-ws/%2Fpath",
                ),
            ] {
                let translation = translate(&format!("{host}/tcp/0{suffix}")).unwrap();
                let part = |ip: &str| address(&format!("{ip}/tcp/0{below}"));
                assert_eq!(translation.first, part(first));
                assert_eq!(translation.second, second.map(part));
                let found = address(&format!("/ip4/192.0.2.1/tcp/4711{below}"));
                assert_eq!(
                    translation.shown.of(&found),
                    address(&format!("{host}/tcp/4711{suffix}"))
                );
            }
        }
    }

    #[test]
    fn a_server_name_is_left_out_below_and_restored() {
        let translation = translate("/ip6/::/tcp/0/tls/sni/a.example/x-parity-ws/%2Fpath").unwrap();
        assert_eq!(
            translation.first,
            address("/ip6/::/tcp/0/tls/x-parity-ws/%2Fpath")
        );
        assert_eq!(translation.second, None);
        assert_eq!(
            translation
                .shown
                .of(&address("/ip6/::1/tcp/7/tls/x-parity-ws/%2Fpath")),
            address("/ip6/::1/tcp/7/tls/sni/a.example/x-parity-ws/%2Fpath")
        );
    }

    #[test]
    fn only_an_ip_that_an_interface_has_and_may_lose_is_specific() {
        for (text, specific) in [
            ("/ip4/192.0.2.1/tcp/1/ws", true),
            ("/ip6/2001:db8::1/tcp/1/ws", true),
            ("/ip4/0.0.0.0/tcp/1/ws", false),
            ("/ip6/::/tcp/1/ws", false),
            ("/ip4/127.0.1.2/tcp/1/ws", false),
            ("/ip6/::1/tcp/1/ws", false),
        ] {
            let at = Listen::parse(&address(text)).unwrap().socket_address();
            assert_eq!(is_specific(at.unwrap().ip()), specific, "{text}");
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

    #[test]
    fn an_address_on_an_ip_has_a_tcp_part() {
        for tcp in ["/ip4/192.0.2.1/tcp/4711", "/ip6/2001:db8::1/tcp/0"] {
            for rest in ["/ws", "/wss", "/tls/sni/a.example/ws", "/x-parity-ws/%2fa"] {
                let whole = address(&format!("{tcp}{rest}"));
                let part = Listen::parse(&whole).unwrap().tcp(&whole);
                assert_eq!(part, Some(address(tcp)));
            }
        }
        let named = address("/dns4/a.example/tcp/1/ws");
        assert_eq!(Listen::parse(&named).unwrap().tcp(&named), None);
    }

    #[test]
    fn both_ways_to_read_an_address_read_the_same() {
        for ip in [
            "/ip4/192.0.2.1",
            "/ip6/2001:db8::1",
            "/dns4/a.example",
            "/ip4/6.6.6.6",
        ] {
            for port in [0, 6, 1541, 65535] {
                for suffix in [
                    "/ws",
                    "/wss",
                    "/tls/ws",
                    "/tls",
                    "/tls/wss",
                    "/ws/ws",
                    "/x-parity-ws/%2Fpath",
                    "/tls/sni/a.example/ws",
                    "",
                ] {
                    let address = address(&format!("{ip}/tcp/{port}{suffix}"));
                    let slow = Listen::parse_protocols(&address);
                    if let Some(fast) = Listen::parse_bytes(address.as_ref()) {
                        assert_eq!(Some(fast), slow, "{address}");
                    }
                    assert_eq!(Listen::parse(&address), slow, "{address}");
                    let is_usual =
                        ip.starts_with("/ip") && ["/ws", "/wss", "/tls/ws"].contains(&suffix);
                    assert_eq!(Listen::parse_bytes(address.as_ref()).is_some(), is_usual);
                }
            }
        }
    }
}
