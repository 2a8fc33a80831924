use std::{collections::HashMap, iter};

use super::*;

const PEER: &str = "12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5";
const OTHER: &str = "12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X";

fn walk(address: &str) -> Walk {
    Walk::new(&address.parse().unwrap(), false).unwrap()
}

fn records<'a>(addresses: &[&'a str]) -> Vec<String> {
    let record = |address: &&'a str| format!("dnsaddr={address}");
    addresses.iter().map(record).collect()
}

/// The steps of the walk if no connection succeeds: each name that it looks up, and each address that it finds.
/// Names that have no entry have no records.
fn run(walk: &mut Walk, zone: &HashMap<String, Vec<String>>) -> Vec<String> {
    let mut done = Vec::new();
    loop {
        done.extend(iter::from_fn(|| walk.next_address()).map(|address| address.to_string()));
        let Some(name) = walk.next_name() else {
            return done;
        };
        if let Some(records) = zone.get(&name) {
            walk.on_records(records);
        }
        done.push(name);
    }
}

/// Why a walk has come to nothing.
fn why(walk: &Walk) -> (String, io::ErrorKind) {
    match walk.error() {
        Error::Lookup { name, source } => (name, source.kind()),
        other => panic!("{other:?}"),
    }
}

fn zone(names: &[(&str, &[&str])]) -> HashMap<String, Vec<String>> {
    let entry = |(name, found): &(&str, &[&str])| (format!("_dnsaddr.{name}"), records(found));
    names.iter().map(entry).collect()
}

#[test]
fn tcp_alone_is_found_if_that_is_wanted() {
    let peer = format!("/p2p/{PEER}");
    let found = [
        "/ip4/192.0.2.1/tcp/1".to_owned(),
        format!("/dns4/b.example/tcp/2{peer}"),
        "/ip4/192.0.2.1/tcp/3/ws".to_owned(),
        "/ip4/192.0.2.1/udp/1/quic-v1".to_owned(),
        format!("/ip4/192.0.2.1/tcp/4{peer}/p2p-circuit"),
        "/dnsaddr/c.example/tcp/5".to_owned(),
    ];
    for (tcp, expected) in [(true, vec![0, 1, 2]), (false, vec![2])] {
        let mut walk = Walk::new(&"/dnsaddr/a.example".parse().unwrap(), tcp).unwrap();
        assert_eq!(walk.next_name().unwrap(), "_dnsaddr.a.example");
        walk.on_records(found.iter().map(|address| format!("dnsaddr={address}")));
        let addresses = iter::from_fn(|| walk.next_address());
        let expected = expected.into_iter().map(|at: usize| found[at].clone());
        assert_eq!(
            addresses
                .map(|address| address.to_string())
                .collect::<Vec<_>>(),
            expected.collect::<Vec<_>>()
        );
        assert_eq!(walk.next_name().is_some(), tcp);
    }
    for suffix in ["/tcp/1", &format!("/tcp/1{peer}"), &peer] {
        let address = format!("/dnsaddr/a.example{suffix}").parse().unwrap();
        assert!(Walk::new(&address, true).is_some(), "{address}");
    }
}

#[test]
fn only_what_can_end_in_websocket_and_begins_with_dnsaddr_is_walked() {
    for rest in [
        "",
        "/ws",
        "/tcp/1/wss",
        "/tcp/1/tls/ws",
        "/tls/sni/b.example/ws",
    ] {
        for peer in ["", &format!("/p2p/{PEER}")] {
            let address = format!("/dnsaddr/a.example{rest}{peer}").parse().unwrap();
            assert!(Walk::new(&address, false).is_some(), "{address}");
        }
    }
    for address in [
        "",
        "/ip4/192.0.2.1/tcp/1/ws",
        "/dns/a.example/tcp/1/ws",
        "/ip4/192.0.2.1/dnsaddr/a.example",
        "/dnsaddr/a.example/tcp/1",
        "/dnsaddr/a.example/udp/1/quic-v1",
        "/dnsaddr/a.example/dnsaddr/b.example",
        "/dnsaddr/a.example/dnsaddr/b.example/tcp/1/ws",
        &format!("/dnsaddr/a.example/tcp/1/p2p/{PEER}"),
        &format!("/dnsaddr/a.example/p2p/{PEER}/p2p-circuit"),
        &format!("/dnsaddr/a.example/p2p/{PEER}/p2p-circuit/p2p/{OTHER}"),
    ] {
        assert!(
            Walk::new(&address.parse().unwrap(), false).is_none(),
            "{address}"
        );
    }
}

#[test]
fn addresses_come_out_in_the_order_in_which_they_are_found() {
    let zone = zone(&[
        (
            "a.example",
            &[
                "/dnsaddr/b.example",
                "/ip4/192.0.2.1/tcp/1/ws",
                "/dnsaddr/c.example",
                "/dns4/d.example/tcp/1/tls/ws",
            ],
        ),
        ("b.example", &["/ip6/2001:db8::1/tcp/1/wss"]),
        ("c.example", &["/ip4/192.0.2.2/tcp/1/x-parity-ws/%2Fpath"]),
    ]);
    let done = run(&mut walk("/dnsaddr/a.example"), &zone);
    assert_eq!(
        done,
        [
            "_dnsaddr.a.example",
            "/ip4/192.0.2.1/tcp/1/ws",
            "/dns4/d.example/tcp/1/tls/ws",
            "_dnsaddr.b.example",
            "/ip6/2001:db8::1/tcp/1/wss",
            "_dnsaddr.c.example",
            "/ip4/192.0.2.2/tcp/1/x-parity-ws/%2Fpath",
        ]
    );
}

#[test]
fn only_records_that_end_as_the_address_are_followed() {
    let of = |rest: &str| format!("/ip4/192.0.2.1/tcp/1/ws{rest}");
    let (peer, other) = (format!("/p2p/{PEER}"), format!("/p2p/{OTHER}"));
    let to_peer = format!("/dnsaddr/b.example{peer}");
    let to_other = format!("/dnsaddr/c.example{other}");
    let zone = zone(&[
        (
            "a.example",
            &[
                &of(&other),
                &of(""),
                &to_other,
                "/dnsaddr/d.example",
                &to_peer,
                &of(&peer),
            ],
        ),
        (
            "b.example",
            &[
                "/ip4/192.0.2.2/tcp/1/ws",
                &format!("/ip4/192.0.2.3/tcp/1/ws{peer}"),
            ],
        ),
        ("c.example", &[&of(&other)]),
        ("d.example", &[&of("")]),
    ]);
    let done = run(&mut walk(&format!("/dnsaddr/a.example{peer}")), &zone);
    assert_eq!(
        done,
        [
            "_dnsaddr.a.example",
            &of(&peer),
            "_dnsaddr.b.example",
            &format!("/ip4/192.0.2.3/tcp/1/ws{peer}"),
        ]
    );
}

#[test]
fn an_end_is_one_of_protocols_and_not_of_bytes() {
    // The bytes of `/tcp/1/ws` are the last of both.
    let zone = zone(&[(
        "a.example",
        &["/ip4/192.6.0.1/ws", "/ip4/192.0.2.1/tcp/1/ws"],
    )]);
    let found: Multiaddr = "/ip4/192.6.0.1/ws".parse().unwrap();
    assert!(found.ends_with(&"/tcp/1/ws".parse().unwrap()));
    let done = run(&mut walk("/dnsaddr/a.example/tcp/1/ws"), &zone);
    assert_eq!(done, ["_dnsaddr.a.example", "/ip4/192.0.2.1/tcp/1/ws"]);
}

#[test]
fn what_cannot_be_read_or_dialled_here_is_passed_over() {
    let mut walk = walk("/dnsaddr/a.example");
    assert!(walk.next_name().is_some());
    let good = "dnsaddr=/ip4/192.0.2.1/tcp/1/ws";
    let mut answer = vec![
        "",
        "dnsaddr=",
        "v=spf1 -all",
        "DNSADDR=/ip4/192.0.2.2/tcp/1/ws",
        " dnsaddr=/ip4/192.0.2.2/tcp/1/ws",
        "dnsaddr=ip4/192.0.2.2/tcp/1/ws",
        "dnsaddr=/ip4/192.0.2.2/tcp/66000/ws",
        "dnsaddr=/dns4/a\nb/tcp/1/ws",
        "dnsaddr=/dns4/a\x1b[2J/tcp/1/ws",
        "dnsaddr=/ip4/192.0.2.2/tcp/1",
        "dnsaddr=/ip4/192.0.2.2/udp/1/quic-v1",
        "dnsaddr=/dnsaddr/b.example/tcp/1",
        "dnsaddr=/ip4/192.0.2.2/tcp/1/dnsaddr/b.example/ws",
    ];
    // None of them takes the place of one that can be dialled.
    answer.extend(["dnsaddr=/ip4/192.0.2.2/tcp/1"; MAX_RECORDS]);
    answer.push(good);
    walk.on_records(answer);
    let found = walk.next_address().unwrap();
    assert!(good.ends_with(&found.to_string()));
    assert_eq!((walk.next_address(), walk.next_name()), (None, None));
    // As if the transport below had not known it.
    let nothing = ("_dnsaddr.a.example".to_owned(), io::ErrorKind::NotFound);
    assert_eq!(why(&walk), nothing);
}

#[test]
fn an_address_that_is_found_twice_is_dialled_once() {
    let zone = zone(&[
        (
            "a.example",
            &[
                "/ip4/192.0.2.1/tcp/1/ws",
                "/dnsaddr/b.example",
                "/ip4/192.0.2.1/tcp/1/ws",
            ],
        ),
        ("b.example", &["/ip4/192.0.2.1/tcp/1/ws"]),
    ]);
    let done = run(&mut walk("/dnsaddr/a.example"), &zone);
    assert_eq!(
        done,
        [
            "_dnsaddr.a.example",
            "/ip4/192.0.2.1/tcp/1/ws",
            "_dnsaddr.b.example"
        ]
    );
}

#[test]
fn a_circle_of_names_ends() {
    let zone = zone(&[
        ("a.example", &["/dnsaddr/a.example", "/dnsaddr/b.example"]),
        ("b.example", &["/dnsaddr/c.example"]),
        ("c.example", &["/dnsaddr/a.example", "/dnsaddr/b.example"]),
    ]);
    let mut walk = walk("/dnsaddr/a.example");
    let done = run(&mut walk, &zone);
    assert_eq!(
        done,
        ["a", "b", "c"].map(|name| format!("_dnsaddr.{name}.example"))
    );
    assert_eq!(why(&walk).1, io::ErrorKind::NotFound);
}

#[test]
fn names_that_lead_on_for_ever_are_looked_up_a_bounded_number_of_times() {
    let mut walk = walk("/dnsaddr/0.example");
    let mut lookups = 0;
    while walk.next_name().is_some() {
        lookups += 1;
        let many = (0..1000).map(|n| format!("dnsaddr=/dnsaddr/{n}.{lookups}.example"));
        walk.on_records(many);
        assert_eq!(walk.next_address(), None);
        assert!(walk.names.len() <= lookups * MAX_RECORDS);
        assert!(walk.found.len() <= 1 + lookups * MAX_RECORDS);
    }
    assert_eq!(lookups, MAX_LOOKUPS);
    assert_eq!(
        why(&walk),
        ("_dnsaddr.0.example".to_owned(), io::ErrorKind::Other)
    );
}

#[test]
fn as_many_names_as_are_allowed_may_lead_to_an_address() {
    let last = format!("{}.example", MAX_LOOKUPS - 1);
    let names: Vec<_> = (0..MAX_LOOKUPS).map(|n| format!("{n}.example")).collect();
    let mut zone: HashMap<_, _> = names
        .windows(2)
        .map(|pair| {
            let next = format!("/dnsaddr/{}", pair[1]);
            (format!("_dnsaddr.{}", pair[0]), records(&[&next]))
        })
        .collect();
    let address = "/ip4/192.0.2.1/tcp/1/ws";
    zone.insert(format!("_dnsaddr.{last}"), records(&[address]));
    let done = run(&mut walk("/dnsaddr/0.example"), &zone);
    assert_eq!(done.len(), MAX_LOOKUPS + 1);
    assert_eq!(done.last().unwrap(), address);
}

#[test]
fn a_bounded_number_of_records_is_followed() {
    let many = |net: u8| -> Vec<String> {
        let address = |n| format!("dnsaddr=/ip4/192.0.{net}.{n}/tcp/1/ws");
        (0..MAX_RECORDS + 1).map(address).collect()
    };
    let zone = HashMap::from([("_dnsaddr.a.example".to_owned(), many(1))]);
    let done = run(&mut walk("/dnsaddr/a.example"), &zone);
    assert_eq!(done.len(), 1 + MAX_RECORDS);
}

#[test]
fn a_name_without_records_keeps_no_other_from_its_turn() {
    let zone = zone(&[
        ("a.example", &["/dnsaddr/b.example", "/dnsaddr/c.example"]),
        ("c.example", &["/ip4/192.0.2.1/tcp/1/ws"]),
    ]);
    let done = run(&mut walk("/dnsaddr/a.example"), &zone);
    assert_eq!(done.last().unwrap(), "/ip4/192.0.2.1/tcp/1/ws");
}
