use std::collections::HashMap;

use super::*;

const PEER: &str = "12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5";
const OTHER: &str = "12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X";

fn walk(address: &str) -> Walk {
    Walk::new(&address.parse().unwrap()).unwrap()
}

fn records<'a>(addresses: &[&'a str]) -> Vec<String> {
    let record = |address: &&'a str| format!("dnsaddr={address}");
    addresses.iter().map(record).collect()
}

fn refused() -> Error {
    Error::Transport(Box::new(io::Error::from(io::ErrorKind::ConnectionRefused)))
}

/// What the walk does, where nothing can be connected to: each name that it looks up, and each address that it dials.
/// Names that have no entry have no records.
fn run(walk: &mut Walk, zone: &HashMap<String, Vec<String>>) -> (Vec<String>, DnsaddrError) {
    let mut done = Vec::new();
    loop {
        match walk.next() {
            Step::LookUp(name) => {
                match zone.get(&name) {
                    Some(records) => walk.on_records(records),
                    None => walk.on_lookup_failed(io::ErrorKind::NotFound.into()),
                }
                done.push(name);
            }
            Step::Dial(address) => {
                done.push(address.to_string());
                walk.on_dial_failed(address, refused());
            }
            Step::Fail(Error::Dnsaddr { source, .. }) => return (done, source),
            Step::Fail(other) => panic!("{other:?}"),
        }
    }
}

fn zone(names: &[(&str, &[&str])]) -> HashMap<String, Vec<String>> {
    let entry = |(name, found): &(&str, &[&str])| (format!("_dnsaddr.{name}"), records(found));
    names.iter().map(entry).collect()
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
            assert!(Walk::new(&address).is_some(), "{address}");
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
        assert!(Walk::new(&address.parse().unwrap()).is_none(), "{address}");
    }
}

#[test]
fn addresses_are_dialled_in_the_order_in_which_they_are_found_and_before_the_next_name() {
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
    let (done, error) = run(&mut walk("/dnsaddr/a.example"), &zone);
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
    let DnsaddrError::Unreachable {
        earlier, address, ..
    } = error
    else {
        panic!("{error:?}");
    };
    assert_eq!(earlier.len(), 3);
    assert_eq!(address.to_string(), done[6]);
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
    let (done, _) = run(&mut walk(&format!("/dnsaddr/a.example{peer}")), &zone);
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
    let (done, _) = run(&mut walk("/dnsaddr/a.example/tcp/1/ws"), &zone);
    assert_eq!(done, ["_dnsaddr.a.example", "/ip4/192.0.2.1/tcp/1/ws"]);
}

#[test]
fn what_cannot_be_read_or_dialled_here_is_passed_over() {
    let mut walk = walk("/dnsaddr/a.example");
    assert!(matches!(walk.next(), Step::LookUp(_)));
    let good = "dnsaddr=/ip4/192.0.2.1/tcp/1/ws";
    let mut answer: Vec<&[u8]> = vec![
        b"",
        b"dnsaddr=",
        b"\xff\xfe",
        b"dnsaddr=/ip4/192.0.2.1/tcp/1/ws\xff",
        b"v=spf1 -all",
        b"DNSADDR=/ip4/192.0.2.2/tcp/1/ws",
        b" dnsaddr=/ip4/192.0.2.2/tcp/1/ws",
        b"dnsaddr=ip4/192.0.2.2/tcp/1/ws",
        b"dnsaddr=/ip4/192.0.2.2/tcp/66000/ws",
        b"dnsaddr=/dns4/a\nb/tcp/1/ws",
        b"dnsaddr=/dns4/a\x1b[2J/tcp/1/ws",
        b"dnsaddr=/ip4/192.0.2.2/tcp/1",
        b"dnsaddr=/ip4/192.0.2.2/udp/1/quic-v1",
        b"dnsaddr=/dnsaddr/b.example/tcp/1",
        b"dnsaddr=/ip4/192.0.2.2/tcp/1/dnsaddr/b.example/ws",
    ];
    // None of them takes the place of one that can be dialled.
    answer.extend([b"dnsaddr=/ip4/192.0.2.2/tcp/1".as_slice(); MAX_RECORDS]);
    answer.push(good.as_bytes());
    walk.on_records(answer);
    match walk.next() {
        Step::Dial(address) => assert!(good.ends_with(&address.to_string())),
        other => panic!("{other:?}"),
    }
    // As if the transport below had not known it.
    match walk.next() {
        Step::Fail(Error::Dnsaddr {
            source: DnsaddrError::NoWebSocket { name },
            ..
        }) => assert_eq!(name, "_dnsaddr.a.example"),
        other => panic!("{other:?}"),
    }
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
    let (done, _) = run(&mut walk("/dnsaddr/a.example"), &zone);
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
    let (done, error) = run(&mut walk("/dnsaddr/a.example"), &zone);
    assert_eq!(
        done,
        ["a", "b", "c"].map(|name| format!("_dnsaddr.{name}.example"))
    );
    assert!(
        matches!(error, DnsaddrError::NoWebSocket { .. }),
        "{error:?}"
    );
}

#[test]
fn names_that_lead_on_for_ever_are_looked_up_a_bounded_number_of_times() {
    let mut walk = walk("/dnsaddr/0.example");
    let mut lookups = 0;
    let error = loop {
        match walk.next() {
            Step::LookUp(_) => {
                lookups += 1;
                let many = (0..1000).map(|n| format!("dnsaddr=/dnsaddr/{n}.{lookups}.example"));
                walk.on_records(many);
                assert!(walk.names.len() <= lookups * MAX_RECORDS);
                assert!(walk.found.len() <= 1 + lookups * MAX_RECORDS);
            }
            Step::Dial(address) => panic!("{address}"),
            Step::Fail(error) => break error,
        }
    };
    assert_eq!(lookups, MAX_LOOKUPS);
    match error {
        Error::Dnsaddr {
            source: DnsaddrError::TooManyLookups { name },
            ..
        } => assert_eq!(name, "_dnsaddr.0.example"),
        other => panic!("{other:?}"),
    }
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
    let (done, _) = run(&mut walk("/dnsaddr/0.example"), &zone);
    assert_eq!(done.len(), MAX_LOOKUPS + 1);
    assert_eq!(done.last().unwrap(), address);
}

#[test]
fn a_bounded_number_of_records_is_followed_and_of_addresses_tried() {
    let many = |net: u8| -> Vec<String> {
        let address = |n| format!("dnsaddr=/ip4/192.0.{net}.{n}/tcp/1/ws");
        (0..MAX_RECORDS + 1).map(address).collect()
    };
    let mut zone = HashMap::from([("_dnsaddr.a.example".to_owned(), many(1))]);
    let (done, _) = run(&mut walk("/dnsaddr/a.example"), &zone);
    assert_eq!(done.len(), 1 + MAX_RECORDS);

    // Those that are tried are the first of all names together.
    let mut first = many(1);
    first.truncate(MAX_ATTEMPTS - 1);
    first.insert(0, "dnsaddr=/dnsaddr/b.example".to_owned());
    zone.insert("_dnsaddr.a.example".to_owned(), first);
    zone.insert("_dnsaddr.b.example".to_owned(), many(2));
    let (done, error) = run(&mut walk("/dnsaddr/a.example"), &zone);
    assert_eq!(done.len(), 2 + MAX_ATTEMPTS);
    assert_eq!(done.last().unwrap(), "/ip4/192.0.2.0/tcp/1/ws");
    match error {
        DnsaddrError::Unreachable { earlier, .. } => assert_eq!(earlier.len(), MAX_ATTEMPTS - 1),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_name_without_records_keeps_no_other_from_its_turn() {
    let zone = zone(&[
        ("a.example", &["/dnsaddr/b.example", "/dnsaddr/c.example"]),
        ("c.example", &["/ip4/192.0.2.1/tcp/1/ws"]),
    ]);
    let (done, error) = run(&mut walk("/dnsaddr/a.example"), &zone);
    assert_eq!(done.last().unwrap(), "/ip4/192.0.2.1/tcp/1/ws");
    assert!(
        matches!(error, DnsaddrError::Unreachable { .. }),
        "{error:?}"
    );

    match run(&mut walk("/dnsaddr/d.example"), &zone).1 {
        DnsaddrError::Lookup { name, source } => {
            assert_eq!(name, "_dnsaddr.d.example");
            assert_eq!(source.kind(), io::ErrorKind::NotFound);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_error_tells_of_every_attempt_and_repeats_nothing() {
    let zone = zone(&[(
        "a.example",
        &["/ip4/192.0.2.1/tcp/1/ws", "/ip4/192.0.2.2/tcp/1/ws"],
    )]);
    let address = format!("/dnsaddr/a.example/p2p/{PEER}");
    let fail = |address: &str| {
        let mut walk = walk(address);
        let (_, source) = run(&mut walk, &zone);
        let address = address.parse().unwrap();
        let mut chain = Vec::new();
        let error = Error::Dnsaddr { address, source };
        let mut link: Option<&dyn std::error::Error> = Some(&error);
        while let Some(error) = link {
            chain.push(error.to_string());
            link = error.source();
        }
        chain
    };
    let refused = io::Error::from(io::ErrorKind::ConnectionRefused).to_string();
    let below = "the transport below WebSocket failed";
    assert_eq!(
        fail("/dnsaddr/a.example"),
        [
            "cannot dial /dnsaddr/a.example".to_owned(),
            format!(
                "dialled in vain /ip4/192.0.2.1/tcp/1/ws ({below}: {refused}), and at last /ip4/192.0.2.2/tcp/1/ws"
            ),
            below.to_owned(),
            refused,
        ]
    );
    let nothing = fail(&address);
    assert_eq!(nothing[0], format!("cannot dial {address}"));
    assert!(nothing[1].contains("\"_dnsaddr.a.example\""), "{nothing:?}");
    let unknown = fail("/dnsaddr/b.example");
    assert_eq!(
        unknown[1],
        "cannot look up the TXT records of \"_dnsaddr.b.example\""
    );
    assert_eq!(unknown.len(), 3);
}
