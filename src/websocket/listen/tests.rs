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
