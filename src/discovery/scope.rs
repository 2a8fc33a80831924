//! CORE: from how far away an address can be dialled.
//!
//! The ranges are those of IANA's special-purpose address registries
//! (<https://www.iana.org/assignments/iana-ipv4-special-registry>,
//! <https://www.iana.org/assignments/iana-ipv6-special-registry>); `is_global` of the standard library is unstable.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use multiaddr::{Multiaddr, Protocol};

/// Who can dial an address. The lesser, the more useful to a node on the internet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Reach {
    /// How far away from it somebody may be: for a relayed address from its relay, which is all that is dialled.
    pub(crate) scope: Scope,
    /// Whether the way leads through another peer.
    pub(crate) is_relayed: bool,
    /// Whether something has to be looked up before it can be dialled.
    is_named: bool,
}

/// How far away from an address somebody may be who dials it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scope {
    /// Anywhere on the internet.
    Internet,
    /// On the same network: private ranges, and all else that is not routed on the internet.
    Network,
    /// On the same host.
    Host,
}

impl Reach {
    /// `None` if no transport can dial the address: it is unspecified, of a group, of a link, on port 0, names no host,
    /// or has none of the forms that [`is_relayed`] knows.
    pub(crate) fn of(address: &Multiaddr) -> Option<Self> {
        let is_relayed = is_relayed(address)?;
        let (scope, is_named) = match address.iter().next()? {
            Protocol::Ip4(ip) => (of_ipv4(ip)?, false),
            Protocol::Ip6(ip) => (of_ipv6(ip)?, false),
            Protocol::Dns(name)
            | Protocol::Dns4(name)
            | Protocol::Dns6(name)
            | Protocol::Dnsaddr(name) => (of_name(&name)?, true),
            Protocol::Onion(..)
            | Protocol::Onion3(_)
            | Protocol::Garlic32(_)
            | Protocol::Garlic64(_) => (Scope::Internet, true),
            // Where the relay is, whoever dials it knows, or asks.
            Protocol::P2p(_) | Protocol::P2pCircuit if is_relayed => (Scope::Internet, true),
            Protocol::Memory(_) | Protocol::Unix(_) => (Scope::Host, false),
            _ => return None,
        };
        Some(Self {
            scope,
            is_relayed,
            is_named,
        })
    }

    /// Whether it can be dialled from anywhere, and needs nobody else for it.
    pub(crate) fn is_public(self) -> bool {
        self.scope == Scope::Internet && !self.is_relayed
    }
}

/// Whether an address leads through a relay; `None` if its form is one that no transport of any libp2p can dial.
///
/// A form that some transport knows passes, also if the own swarm has no such transport: which ones it has, nobody
/// here can know.
fn is_relayed(address: &Multiaddr) -> Option<bool> {
    /// What has to follow.
    enum Expected {
        Anything,
        /// An IP address or a name says nothing without a port.
        Port,
        /// WebSocket is the last layer, but for whom to find there.
        Peer,
    }

    let mut is_relayed = false;
    let mut expected = Expected::Anything;
    for protocol in address.iter() {
        match &protocol {
            Protocol::Tcp(0) | Protocol::Udp(0) => return None,
            // A zone is the name of an interface of one host.
            Protocol::Ip6zone(_) => return None,
            // Of requests, which no connection is made with.
            Protocol::HttpPath(_) => return None,
            Protocol::Dns(name)
            | Protocol::Dns4(name)
            | Protocol::Dns6(name)
            | Protocol::Dnsaddr(name)
            | Protocol::Sni(name)
                if name.contains('*') =>
            {
                return None;
            }
            _ => {}
        }
        if is_relayed {
            continue;
        }
        expected = match (expected, protocol) {
            (
                Expected::Port,
                Protocol::Tcp(_) | Protocol::Udp(_) | Protocol::Sctp(_) | Protocol::Dccp(_),
            ) => Expected::Anything,
            (Expected::Port, _) => return None,
            (Expected::Peer | Expected::Anything, Protocol::P2pCircuit) => {
                is_relayed = true;
                Expected::Anything
            }
            (
                Expected::Peer,
                Protocol::P2p(_) | Protocol::P2pWebRtcStar | Protocol::P2pWebSocketStar,
            ) => Expected::Peer,
            (Expected::Peer, _) => return None,
            (
                Expected::Anything,
                Protocol::Ip4(_)
                | Protocol::Ip6(_)
                | Protocol::Dns(_)
                | Protocol::Dns4(_)
                | Protocol::Dns6(_),
            ) => Expected::Port,
            (Expected::Anything, Protocol::Ws(_) | Protocol::Wss(_)) => Expected::Peer,
            (Expected::Anything, _) => Expected::Anything,
        };
    }
    match expected {
        Expected::Port => None,
        Expected::Peer | Expected::Anything => Some(is_relayed),
    }
}

/// What a range of addresses, given by its first one and the length of its prefix, is good for.
type Range<Ip> = (Ip, u32, Option<Scope>);

const INTERNET: Option<Scope> = Some(Scope::Internet);
const NETWORK: Option<Scope> = Some(Scope::Network);
const HOST: Option<Scope> = Some(Scope::Host);
const NOBODY: Option<Scope> = None;

/// Where IPv4 is not the internet's. The first range that holds an address decides.
///
/// Ranges for documentation and benchmarks, and those reserved for the future, count as private: nobody routes them on
/// the internet, and who uses them all the same does so on a network of his own.
const IPV4: [Range<Ipv4Addr>; 19] = [
    // This network, RFC 791: good as a source only.
    (Ipv4Addr::new(0, 0, 0, 0), 8, NOBODY),
    // Private use, RFC 1918.
    (Ipv4Addr::new(10, 0, 0, 0), 8, NETWORK),
    // Shared with the customers of a provider (CGNAT), RFC 6598.
    (Ipv4Addr::new(100, 64, 0, 0), 10, NETWORK),
    // Loopback, RFC 1122.
    (Ipv4Addr::new(127, 0, 0, 0), 8, HOST),
    // Link-local, RFC 3927. Unlike those of IPv6 they need no zone.
    (Ipv4Addr::new(169, 254, 0, 0), 16, NETWORK),
    // Private use, RFC 1918.
    (Ipv4Addr::new(172, 16, 0, 0), 12, NETWORK),
    // Anycast for port control (RFC 7723) and TURN (RFC 8155).
    (Ipv4Addr::new(192, 0, 0, 9), 32, INTERNET),
    (Ipv4Addr::new(192, 0, 0, 10), 32, INTERNET),
    // Protocol assignments, RFC 6890.
    (Ipv4Addr::new(192, 0, 0, 0), 24, NETWORK),
    // Documentation, RFC 5737.
    (Ipv4Addr::new(192, 0, 2, 0), 24, NETWORK),
    // Relays from IPv6 to IPv4, deprecated by RFC 7526.
    (Ipv4Addr::new(192, 88, 99, 0), 24, NETWORK),
    // Private use, RFC 1918.
    (Ipv4Addr::new(192, 168, 0, 0), 16, NETWORK),
    // Benchmarks, RFC 2544.
    (Ipv4Addr::new(198, 18, 0, 0), 15, NETWORK),
    // Documentation, RFC 5737.
    (Ipv4Addr::new(198, 51, 100, 0), 24, NETWORK),
    (Ipv4Addr::new(203, 0, 113, 0), 24, NETWORK),
    // Multicast, RFC 5771.
    (Ipv4Addr::new(224, 0, 0, 0), 4, NOBODY),
    // Broadcast, RFC 919.
    (Ipv4Addr::new(255, 255, 255, 255), 32, NOBODY),
    // Reserved, RFC 1112.
    (Ipv4Addr::new(240, 0, 0, 0), 4, NETWORK),
    // All others, also AS112 and AMT, which have ranges of their own there.
    (Ipv4Addr::UNSPECIFIED, 0, INTERNET),
];

/// Where IPv6 is the internet's, and where it is not. The first range that holds an address decides.
const IPV6: [Range<Ipv6Addr>; 17] = [
    (Ipv6Addr::UNSPECIFIED, 128, NOBODY),
    (Ipv6Addr::LOCALHOST, 128, HOST),
    // Link-local, RFC 4291: the same address exists on each link, so without a zone it leads nowhere.
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, NOBODY),
    // Multicast, RFC 4291.
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, NOBODY),
    // Anycast for port control (RFC 7723), TURN (RFC 8155) and service registration (RFC 9665).
    (Ipv6Addr::new(0x2001, 1, 0, 0, 0, 0, 0, 1), 128, INTERNET),
    (Ipv6Addr::new(0x2001, 1, 0, 0, 0, 0, 0, 2), 128, INTERNET),
    (Ipv6Addr::new(0x2001, 1, 0, 0, 0, 0, 0, 3), 128, INTERNET),
    // AMT, RFC 7450.
    (Ipv6Addr::new(0x2001, 3, 0, 0, 0, 0, 0, 0), 32, INTERNET),
    // AS112, RFC 7535.
    (Ipv6Addr::new(0x2001, 4, 0x112, 0, 0, 0, 0, 0), 48, INTERNET),
    // ORCHIDv2, RFC 7343, and identifiers of aircraft, RFC 9374.
    (Ipv6Addr::new(0x2001, 0x20, 0, 0, 0, 0, 0, 0), 28, INTERNET),
    (Ipv6Addr::new(0x2001, 0x30, 0, 0, 0, 0, 0, 0), 28, INTERNET),
    // Protocol assignments, RFC 2928: Teredo, benchmarks, ORCHID.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, NETWORK),
    // Documentation, RFC 3849 and RFC 9637.
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, NETWORK),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, NETWORK),
    // 6to4, RFC 3056, whose relays RFC 7526 has switched off.
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, NETWORK),
    // All that is assigned to the internet, RFC 4291.
    (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3, INTERNET),
    // All others: unique local (RFC 4193), local translation (RFC 8215), discard (RFC 6666, RFC 9780), segment
    // routing (RFC 9602), and what is not assigned.
    (Ipv6Addr::UNSPECIFIED, 0, NETWORK),
];

fn of_ip(ip: IpAddr) -> Option<Scope> {
    match ip {
        IpAddr::V4(ip) => of_ipv4(ip),
        IpAddr::V6(ip) => of_ipv6(ip),
    }
}

fn of_ipv4(ip: Ipv4Addr) -> Option<Scope> {
    let holds = |&(first, prefix, _): &Range<Ipv4Addr>| {
        (ip.to_bits() ^ first.to_bits()).leading_zeros() >= prefix
    };
    IPV4.iter().find(|range| holds(range))?.2
}

fn of_ipv6(ip: Ipv6Addr) -> Option<Scope> {
    if let Some(ip) = embedded(ip) {
        return of_ipv4(ip);
    }
    let holds = |&(first, prefix, _): &Range<Ipv6Addr>| {
        (ip.to_bits() ^ first.to_bits()).leading_zeros() >= prefix
    };
    IPV6.iter().find(|range| holds(range))?.2
}

/// The IPv4 address that is dialled through this one: mapped (RFC 4291) or translated (RFC 6052).
fn embedded(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    match ip.octets() {
        [0x00, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d] => {
            Some(Ipv4Addr::new(a, b, c, d))
        }
        _ => ip.to_ipv4_mapped(),
    }
}

/// Endings of names that the DNS of the internet does not know: reserved by RFC 6761, RFC 6762 and RFC 9476 or by
/// ICANN, or never to be delegated since private networks are full of them.
const LOCAL_ENDINGS: [&str; 10] = [
    "alt",
    "corp",
    "example",
    "home",
    "internal",
    "lan",
    "local",
    "localdomain",
    "onion",
    "test",
];

/// What a name resolves to only its resolver knows; this is how far away somebody may be who can resolve it.
fn of_name(name: &str) -> Option<Scope> {
    if let Ok(ip) = name.parse() {
        return of_ip(ip);
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    let mut labels = name.rsplit('.');
    let (last, last_but_one) = (labels.next()?, labels.next());
    let is = |label: &str| last.eq_ignore_ascii_case(label);
    if last.is_empty() || is("invalid") || is_number(last) {
        return None;
    }
    if is("localhost") {
        return HOST;
    }
    // RFC 8375.
    let is_home =
        is("arpa") && last_but_one.is_some_and(|label| label.eq_ignore_ascii_case("home"));
    if is_home || last_but_one.is_none() || LOCAL_ENDINGS.into_iter().any(is) {
        return NETWORK;
    }
    INTERNET
}

/// Whether browsers take a name that ends in this label for an IPv4 address, as in `127.1` or `0x7f000001`.
fn is_number(label: &str) -> bool {
    match label
        .strip_prefix("0x")
        .or_else(|| label.strip_prefix("0X"))
    {
        Some(digits) => digits.bytes().all(|digit| digit.is_ascii_hexdigit()),
        None => label.bytes().all(|digit| digit.is_ascii_digit()),
    }
}

#[cfg(test)]
mod tests {
    use libp2p_identity::PeerId;
    use proptest::prelude::*;

    use super::*;

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
            ("172.32.0.0 191.255.255.255", INTERNET),
            ("192.0.0.0 192.0.0.8", NETWORK),
            ("192.0.0.9 192.0.0.10", INTERNET),
            ("192.0.0.11 192.0.0.170 192.0.0.255", NETWORK),
            ("192.0.1.0 192.0.1.255", INTERNET),
            ("192.0.2.0 192.0.2.255", NETWORK),
            ("192.0.3.0 192.88.98.255", INTERNET),
            ("192.31.196.1 192.52.193.1", INTERNET),
            ("192.88.99.0 192.88.99.255", NETWORK),
            ("192.88.100.0 192.167.255.255", INTERNET),
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
            ("2000:: 2000:ffff::", INTERNET),
            ("2001:: 2001:0:ffff:: 2001:1:: 2001:1::4", NETWORK),
            ("2001:1::1 2001:1::2 2001:1::3", INTERNET),
            ("2001:2:: 2001:2:0:ffff:: 2001:2:ffff::", NETWORK),
            ("2001:3:: 2001:3:ffff::", INTERNET),
            ("2001:4:: 2001:4:111:ffff::", NETWORK),
            ("2001:4:112:: 2001:4:112:ffff::", INTERNET),
            ("2001:4:113:: 2001:10:: 2001:1f:ffff::", NETWORK),
            (
                "2001:20:: 2001:2f:ffff:: 2001:30:: 2001:3f:ffff::",
                INTERNET,
            ),
            ("2001:40:: 2001:1ff:ffff::", NETWORK),
            ("2001:200:: 2001:db7:ffff::", INTERNET),
            ("2001:db8:: 2001:db8:ffff::", NETWORK),
            ("2001:db9:: 2001:ffff:ffff::", INTERNET),
            ("2002:: 2002:7f00:1:: 2002:ffff::", NETWORK),
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
                    assert_eq!(of_ipv6(last.into()), expected, "the last one of {ip}/64");
                }
            }
        }
    }

    #[test]
    fn each_range_stands_before_those_that_hold_it() {
        fn check<Ip: Copy + std::fmt::Debug>(ranges: &[Range<Ip>], bits: u32, of: fn(Ip) -> u128) {
            for (at, &(first, prefix, _)) in ranges.iter().enumerate() {
                let host = u128::MAX.checked_shr(128 - bits + prefix).unwrap_or(0);
                assert_eq!(
                    of(first) & host,
                    0,
                    "{first:?} is not the first of /{prefix}"
                );
                for &(before, shorter, _) in &ranges[..at] {
                    let differ = (of(before) ^ of(first)).leading_zeros() - (128 - bits);
                    assert!(
                        shorter >= prefix || differ < shorter,
                        "{before:?}/{shorter} hides {first:?}/{prefix}"
                    );
                }
            }
        }
        check(&IPV4, 32, |ip| ip.to_bits().into());
        check(&IPV6, 128, Ipv6Addr::to_bits);
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
            (
                "home.ARPA d.test e.example f.corp g.localdomain h.alt",
                NETWORK,
            ),
            ("hub notlocalhost 3f2a9b1c", NETWORK),
            (
                ". a.invalid 127.1 2130706433 0x7f000001 a.0X7F 1.2.3.4. 0x",
                NOBODY,
            ),
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
            let scope = of_ipv4(v4);
            let is_local = v4.is_private() || v4.is_link_local() || v4.is_documentation();
            prop_assert_eq!(scope == HOST, v4.is_loopback());
            prop_assert!(!is_local || scope == NETWORK);
            prop_assert!(!v4.is_multicast() || scope == NOBODY);

            let v6 = Ipv6Addr::from(v6);
            let scope = of_ipv6(v6);
            prop_assert!(!v6.is_unique_local() || scope == NETWORK);
            prop_assert!(!v6.is_multicast() && !v6.is_unicast_link_local() || scope == NOBODY);
            prop_assert!(scope != INTERNET || v6.segments()[0] >> 13 == 1);
        }
    }
}
