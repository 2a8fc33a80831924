use super::*;

fn address(address: &str) -> Multiaddr {
    address.parse().unwrap()
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
