//! CORE: the scope from which an address can be dialled.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use multiaddr::{Multiaddr, Protocol};

/// The reach of an address. A smaller value is more useful to a node on the internet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Reach {
    /// The scope of the address. For a relayed address, that of its relay, which is what is dialled.
    pub(crate) scope: Scope,
    /// Whether it leads through another peer.
    pub(crate) is_relayed: bool,
    /// Whether a name has to be looked up before it can be dialled.
    is_named: bool,
}

/// The scope from which an address can be dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scope {
    /// Anywhere on the internet.
    Internet,
    /// On the same network: private ranges, and those that are not routed on the internet.
    Network,
    /// On the same host.
    Host,
}

impl Reach {
    /// `None` if no transport can dial the address: it is unspecified, multicast, link-local, on port 0, without a host, or
    /// of a form that [`is_dialable`] does not know.
    pub(crate) fn of(address: &Multiaddr) -> Option<Self> {
        let is_relayed = address.iter().any(|part| part == Protocol::P2pCircuit);
        let (scope, is_named) = match address.iter().next()? {
            Protocol::Ip4(ip) => (of_ip(ip.into())?, false),
            Protocol::Ip6(ip) => (of_ip(ip.into())?, false),
            Protocol::Dns(name)
            | Protocol::Dns4(name)
            | Protocol::Dns6(name)
            | Protocol::Dnsaddr(name) => (of_name(&name)?, true),
            Protocol::Onion(..)
            | Protocol::Onion3(_)
            | Protocol::Garlic32(_)
            | Protocol::Garlic64(_) => (Scope::Internet, true),
            // The dialler knows the address of the relay, or looks it up.
            Protocol::P2p(_) | Protocol::P2pCircuit if is_relayed => (Scope::Internet, true),
            Protocol::Memory(_) | Protocol::Unix(_) => (Scope::Host, false),
            _ => return None,
        };
        is_dialable(address).then_some(Self {
            scope,
            is_relayed,
            is_named,
        })
    }

    /// Whether it can be dialled from anywhere, without a relay.
    pub(crate) fn is_public(self) -> bool {
        self.scope == Scope::Internet && !self.is_relayed
    }
}

/// Whether an address has a form that a transport of any libp2p implementation can dial.
fn is_dialable(address: &Multiaddr) -> bool {
    let can_be_dialled = |part| match part {
        Protocol::Tcp(port) | Protocol::Udp(port) => port != 0,
        // A zone names an interface of one host, and paths belong to requests.
        Protocol::Ip6zone(_) | Protocol::HttpPath(_) => false,
        Protocol::Dns(name)
        | Protocol::Dns4(name)
        | Protocol::Dns6(name)
        | Protocol::Dnsaddr(name)
        | Protocol::Sni(name) => !name.contains('*'),
        _ => true,
    };
    // The part after the relay is not dialled from here.
    let direct = || {
        address
            .iter()
            .take_while(|part| *part != Protocol::P2pCircuit)
    };
    let nexts = direct().skip(1).map(Some).chain([None]);
    address.iter().all(can_be_dialled)
        && direct().zip(nexts).all(|(part, next)| match part {
            Protocol::Ip4(_)
            | Protocol::Ip6(_)
            | Protocol::Dns(_)
            | Protocol::Dns4(_)
            | Protocol::Dns6(_) => matches!(
                next,
                Some(Protocol::Tcp(_) | Protocol::Udp(_) | Protocol::Sctp(_) | Protocol::Dccp(_))
            ),
            Protocol::Ws(_) | Protocol::Wss(_) => matches!(
                next,
                None | Some(
                    Protocol::P2p(_) | Protocol::P2pWebRtcStar | Protocol::P2pWebSocketStar
                )
            ),
            Protocol::P2p(_) => next.is_none(),
            _ => true,
        })
}

/// Whether an address is one of the internet, and stands for no other.
#[cfg(feature = "autotls")]
pub(crate) fn is_global(ip: IpAddr) -> bool {
    let stands_for_another = matches!(ip, IpAddr::V6(ip) if embedded(ip).is_some());
    of_ip(ip) == Some(Scope::Internet) && !stands_for_another
}

/// `None` if no host can dial it. Ranges that are not routed on the internet count as [`Scope::Network`].
fn of_ip(ip: IpAddr) -> Option<Scope> {
    let ip = match ip {
        IpAddr::V6(ip) => embedded(ip).map_or(IpAddr::V6(ip), IpAddr::V4),
        IpAddr::V4(_) => ip,
    };
    let is_for_nobody = match ip {
        IpAddr::V4(ip) => ip.is_broadcast() || ip.octets()[0] == 0,
        // The same address exists on each link, so it cannot be dialled without a zone.
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    if is_for_nobody || ip.is_unspecified() || ip.is_multicast() {
        return None;
    }
    let is_routed = match ip {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            // Of providers (RFC 6598), for benchmarks (RFC 2544), and reserved (RFC 1112).
            let is_special = matches!((a, b), (100, 64..=127) | (198, 18..=19) | (240.., _));
            !(is_special || ip.is_private() || ip.is_link_local() || ip.is_documentation())
        }
        // All global unicast addresses (RFC 4291), except for documentation (RFC 3849, RFC 9637).
        IpAddr::V6(ip) => match ip.segments() {
            [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
            [first, ..] => first >> 13 == 1,
        },
    };
    Some(match (ip.is_loopback(), is_routed) {
        (true, _) => Scope::Host,
        (false, true) => Scope::Internet,
        (false, false) => Scope::Network,
    })
}

/// The embedded IPv4 address: mapped (RFC 4291) or translated (RFC 6052).
fn embedded(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    match ip.octets() {
        [0x00, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d] => {
            Some(Ipv4Addr::new(a, b, c, d))
        }
        _ => ip.to_ipv4_mapped(),
    }
}

/// The scope in which a name can be resolved.
fn of_name(name: &str) -> Option<Scope> {
    /// Endings that only private networks resolve (RFC 6761, RFC 6762, RFC 8375).
    const LOCAL: [&str; 7] = [
        "home",
        "home.arpa",
        "internal",
        "lan",
        "local",
        "localdomain",
        "test",
    ];

    if let Ok(ip) = name.parse() {
        return of_ip(ip);
    }
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let last = name.rsplit('.').next()?;
    // As in `127.1`, which is read as an IP address.
    if last.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let ends_in = |ending: &&str| {
        name.strip_suffix(*ending)
            .is_some_and(|rest| rest.ends_with('.'))
    };
    Some(if last == "localhost" {
        Scope::Host
    } else if last == name || LOCAL.iter().any(ends_in) {
        Scope::Network
    } else {
        Scope::Internet
    })
}

#[cfg(test)]
mod tests {
    use libp2p_identity::PeerId;
    use proptest::prelude::*;

    use super::*;

    const INTERNET: Option<Scope> = Some(Scope::Internet);
    const NETWORK: Option<Scope> = Some(Scope::Network);
    const HOST: Option<Scope> = Some(Scope::Host);
    const NOBODY: Option<Scope> = None;

    fn scope(address: &str) -> Option<Scope> {
        let reach = Reach::of(&address.parse().unwrap())?;
        assert!(!reach.is_relayed);
        assert_eq!(reach.is_public(), reach.scope == Scope::Internet);
        Some(reach.scope)
    }

    /// The first and the last address of each range, and those beside it.
    #[test]
    fn ipv4_ranges_begin_and_end_where_iana_says() {
        for (ips, expected) in [
            ("0.0.0.0 0.0.0.1 0.255.255.255", NOBODY),
            ("1.0.0.0 9.255.255.255", INTERNET),
            ("10.0.0.0 10.255.255.255", NETWORK),
            ("11.0.0.0 100.63.255.255", INTERNET),
            ("100.64.0.0 100.127.255.255", NETWORK),
            ("100.128.0.0 126.255.255.255", INTERNET),
            ("127.0.0.0 127.0.0.1 127.255.255.255", HOST),
            ("128.0.0.0 169.253.255.255", INTERNET),
            ("169.254.0.0 169.254.255.255", NETWORK),
            ("169.255.0.0 172.15.255.255", INTERNET),
            ("172.16.0.0 172.31.255.255", NETWORK),
            ("172.32.0.0 192.0.1.255", INTERNET),
            ("192.0.2.0 192.0.2.255", NETWORK),
            ("192.0.3.0 192.167.255.255", INTERNET),
            ("192.168.0.0 192.168.255.255", NETWORK),
            ("192.169.0.0 192.175.48.1 198.17.255.255", INTERNET),
            ("198.18.0.0 198.19.255.255", NETWORK),
            ("198.20.0.0 198.51.99.255", INTERNET),
            ("198.51.100.0 198.51.100.255", NETWORK),
            ("198.51.101.0 203.0.112.255", INTERNET),
            ("203.0.113.0 203.0.113.255", NETWORK),
            ("203.0.114.0 223.255.255.255", INTERNET),
            ("224.0.0.0 239.255.255.255", NOBODY),
            ("240.0.0.0 255.255.255.254", NETWORK),
            ("255.255.255.255", NOBODY),
        ] {
            for ip in ips.split(' ') {
                assert_eq!(scope(&format!("/ip4/{ip}/tcp/1/ws")), expected, "{ip}");
                let mapped = format!("/ip6/::ffff:{ip}/udp/1/quic-v1");
                assert_eq!(scope(&mapped), expected, "{mapped}");
                let translated = format!("/ip6/64:ff9b::{ip}/tcp/1");
                assert_eq!(scope(&translated), expected, "{translated}");
                assert_eq!(scope(&format!("/dns/{ip}/tcp/1")), expected, "{ip}");
            }
        }
    }

    #[test]
    fn ipv6_ranges_begin_and_end_where_iana_says() {
        for (ips, expected) in [
            ("::", NOBODY),
            ("::1", HOST),
            ("::2 ::127.0.0.1 64:ff9a::1 64:ff9b::1:0:0", NETWORK),
            ("64:ff9b:1:: 64:ff9b:1:ffff::1 100:: 100:0:0:1::", NETWORK),
            ("1fff:ffff::", NETWORK),
            ("2000:: 2001:db7:ffff::", INTERNET),
            ("2001:db8:: 2001:db8:ffff::", NETWORK),
            ("2001:db9:: 2001:ffff:ffff::", INTERNET),
            (
                "2003:: 2606:4700::1111 2620:4f:8000::1 3ffe:ffff::",
                INTERNET,
            ),
            ("3fff:: 3fff:fff:ffff::", NETWORK),
            ("3fff:1000:: 3fff:ffff::", INTERNET),
            ("4000:: 5f00:: 5f00:ffff:: fbff:ffff::", NETWORK),
            ("fc00:: fdff:ffff:: fe00:: fe7f:ffff::", NETWORK),
            ("fe80:: fe80::1 febf:ffff::", NOBODY),
            ("fec0:: feff:ffff::", NETWORK),
            ("ff00:: ff02::1 ffff:ffff::", NOBODY),
        ] {
            for ip in ips.split(' ') {
                assert_eq!(scope(&format!("/ip6/{ip}/tcp/1/ws")), expected, "{ip}");
                assert_eq!(scope(&format!("/dns6/{ip}/tcp/1")), expected, "{ip}");
                if ip.ends_with("ffff::") {
                    let last = ip.parse::<Ipv6Addr>().unwrap().to_bits() | u128::from(u64::MAX);
                    assert_eq!(
                        of_ip(Ipv6Addr::from(last).into()),
                        expected,
                        "the last one of {ip}/64"
                    );
                }
            }
        }
    }

    #[test]
    fn names_reach_as_far_as_they_are_known() {
        for (names, expected) in [
            ("example.org a.example.com node.xn--p1ai 1.2.org", INTERNET),
            (
                "bücher.example.net localhost.example.org local.org",
                INTERNET,
            ),
            (
                "home.arpa.org notlocal.net arpa.net 10.in-addr.arpa",
                INTERNET,
            ),
            (
                "localhost LocalHost localhost. a.localhost a.b.LOCALHOST.",
                HOST,
            ),
            (
                "node.local NODE.LOCAL. a.lan b.internal c.home.arpa",
                NETWORK,
            ),
            ("a.home.ARPA d.test g.localdomain node.home", NETWORK),
            ("hub notlocalhost 3f2a9b1c", NETWORK),
            (". 127.1 2130706433 1.2.3.4.", NOBODY),
        ] {
            for name in names.split(' ') {
                for kind in ["dns", "dns4", "dns6", "dnsaddr"] {
                    let address = format!("/{kind}/{name}/tcp/1/wss");
                    assert_eq!(scope(&address), expected, "{address}");
                }
            }
        }
        let empty = Multiaddr::from(Protocol::Dns("".into()));
        assert_eq!(Reach::of(&empty), None);
    }

    #[test]
    fn what_is_neither_an_ip_nor_a_name() {
        for (address, expected) in [
            ("/memory/1", HOST),
            ("/unix/a%20b", HOST),
            ("/onion/aaimaq4ygg2iegci:80", INTERNET),
            ("/tcp/1/ws", NOBODY),
            ("/ws", NOBODY),
            ("/ip4/1.2.3.4/tcp/0/ws", NOBODY),
            ("/ip4/1.2.3.4/udp/0/quic-v1", NOBODY),
        ] {
            assert_eq!(scope(address), expected, "{address}");
        }
        assert_eq!(Reach::of(&Multiaddr::empty()), None);
        assert_eq!(Reach::of(&Protocol::P2p(PeerId::random()).into()), None);
    }

    #[test]
    fn forms_that_no_transport_can_dial_reach_nobody() {
        let peer = PeerId::random();
        for address in [
            "/ip6zone/eth0/ip6/fe80::1/tcp/1/ws".to_owned(),
            "/ip6zone/eth0/ip6/2606:4700::1111/tcp/1".to_owned(),
            format!("/ip6zone/eth0/ip6/fe80::1/tcp/1/ws/p2p/{peer}/p2p-circuit"),
            "/ip6zone/eth0".to_owned(),
            "/ip4/1.2.3.4/tcp/1/tls/sni/*.example.com/ws".to_owned(),
            "/ip4/1.2.3.4/udp/1/quic-v1/sni/*.example.com".to_owned(),
            "/dns/*.example.com/tcp/1/wss".to_owned(),
            "/dnsaddr/*.example.com".to_owned(),
            format!("/dns4/*/tcp/1/wss/p2p/{peer}/p2p-circuit"),
            "/ip4/1.2.3.4".to_owned(),
            "/dns6/example.org".to_owned(),
            "/ip4/1.2.3.4/ws".to_owned(),
            "/dns/example.org/tls/ws".to_owned(),
            format!("/ip6/2606:4700::1111/wss/p2p/{peer}"),
            format!("/ip4/1.2.3.4/p2p/{peer}"),
            format!("/ip4/1.2.3.4/ws/p2p/{peer}/p2p-circuit"),
            "/ip4/1.2.3.4/tcp/443/tls/http/http-path/a".to_owned(),
            "/ip4/1.2.3.4/tcp/1/ws/http-path/a".to_owned(),
            format!("/ip4/1.2.3.4/tcp/1/ws/http-path/a/p2p/{peer}"),
            "/ip4/1.2.3.4/tcp/1/ws/ws".to_owned(),
            "/ip4/1.2.3.4/tcp/1/wss/tls".to_owned(),
            "/dns/example.org/tcp/1/wss/tcp/2".to_owned(),
            "/ip4/1.2.3.4/tcp/1/ws/webrtc".to_owned(),
            format!("/ip4/1.2.3.4/tcp/1/ws/p2p/{peer}/webrtc"),
            format!("/ip4/1.2.3.4/tcp/1/x-parity-ws/%2Fpath/p2p/{peer}/ws"),
        ] {
            assert_eq!(scope_of(&address), NOBODY, "{address}");
        }
    }

    #[test]
    fn forms_that_some_transport_can_dial_pass() {
        let peer = PeerId::random();
        let hash = "uEiDikp5KVUgkLta1EjUN-IKbHk-dUBg8VzKgf5nXxLK46w";
        for address in [
            "/ip4/1.2.3.4/tcp/1".to_owned(),
            "/dns/example.org/tcp/1/tls".to_owned(),
            "/ip4/1.2.3.4/tcp/1/noise".to_owned(),
            "/ip4/1.2.3.4/tcp/1/x-parity-wss/%2Fpath".to_owned(),
            format!("/dns4/example.org/tcp/443/tls/sni/example.org/ws/p2p/{peer}"),
            format!("/ip4/1.2.3.4/tcp/1/ws/p2p/{peer}/p2p-circuit"),
            format!("/ip4/1.2.3.4/tcp/1/ws/p2p/{peer}/p2p-circuit/webrtc/p2p/{peer}"),
            format!("/dns4/star.example.org/tcp/443/wss/p2p-webrtc-star/p2p/{peer}"),
            format!("/ip4/1.2.3.4/udp/1/quic-v1/p2p/{peer}"),
            "/ip4/1.2.3.4/udp/1/quic".to_owned(),
            format!("/ip4/1.2.3.4/udp/1/webrtc-direct/certhash/{hash}/p2p/{peer}"),
            format!("/ip6/2606:4700::1111/udp/1/quic-v1/webtransport/certhash/{hash}"),
            "/dnsaddr/example.org".to_owned(),
            format!("/dnsaddr/example.org/p2p/{peer}"),
            "/ip4/1.2.3.4/udp/1/utp".to_owned(),
            "/ip4/1.2.3.4/sctp/1".to_owned(),
        ] {
            assert_eq!(scope_of(&address), INTERNET, "{address}");
        }
    }

    fn scope_of(address: &str) -> Option<Scope> {
        Reach::of(&address.parse().unwrap()).map(|reach| reach.scope)
    }

    #[test]
    fn a_relayed_address_reaches_as_far_as_its_relay() {
        let relay = PeerId::random();
        for (of_relay, expected) in [
            (format!("/ip4/1.2.3.4/tcp/1/ws/p2p/{relay}"), INTERNET),
            (format!("/dns/example.org/tcp/1/wss/p2p/{relay}"), INTERNET),
            (format!("/p2p/{relay}"), INTERNET),
            (String::new(), INTERNET),
            (format!("/ip4/10.0.0.1/tcp/1/p2p/{relay}"), NETWORK),
            (format!("/ip4/127.0.0.1/tcp/1/p2p/{relay}"), HOST),
            (format!("/ip4/0.0.0.0/tcp/1/p2p/{relay}"), NOBODY),
        ] {
            let address = format!("{of_relay}/p2p-circuit/webrtc");
            let reach = Reach::of(&address.parse().unwrap());
            assert_eq!(reach.map(|reach| reach.scope), expected, "{address}");
            assert!(reach.is_none_or(|reach| reach.is_relayed && !reach.is_public()));
        }
    }

    #[test]
    fn the_useful_ones_come_first() {
        let relay = PeerId::random();
        let addresses = [
            "/ip4/1.2.3.4/tcp/1/ws".to_owned(),
            "/dns/example.org/tcp/1/wss".to_owned(),
            format!("/ip6/2606:4700::1111/tcp/1/p2p/{relay}/p2p-circuit"),
            format!("/p2p/{relay}/p2p-circuit"),
            "/ip4/192.168.1.1/tcp/1/ws".to_owned(),
            "/dns/node.local/tcp/1/ws".to_owned(),
            format!("/ip4/192.168.1.1/tcp/1/p2p/{relay}/p2p-circuit"),
            "/ip4/127.0.0.1/tcp/1/ws".to_owned(),
            "/dns/localhost/tcp/1/ws".to_owned(),
            format!("/ip4/127.0.0.1/tcp/1/p2p/{relay}/p2p-circuit"),
        ];
        let reaches = addresses.map(|address| Reach::of(&address.parse().unwrap()).unwrap());
        assert!(reaches.is_sorted_by(|a, b| a < b), "{reaches:?}");
    }

    proptest! {
        /// What is stable of the standard library's own judgement.
        #[test]
        fn agrees_with_the_standard_library(v4 in any::<[u8; 4]>(), v6 in any::<[u8; 16]>()) {
            let v4 = Ipv4Addr::from(v4);
            let scope = of_ip(v4.into());
            let is_local = v4.is_private() || v4.is_link_local() || v4.is_documentation();
            prop_assert_eq!(scope == HOST, v4.is_loopback());
            prop_assert!(!is_local || scope == NETWORK);
            prop_assert!(!v4.is_multicast() || scope == NOBODY);

            let v6 = Ipv6Addr::from(v6);
            let scope = of_ip(v6.into());
            prop_assert!(!v6.is_unique_local() || scope == NETWORK);
            prop_assert!(!v6.is_multicast() && !v6.is_unicast_link_local() || scope == NOBODY);
            prop_assert!(scope != INTERNET || v6.segments()[0] >> 13 == 1);
        }
    }
}
