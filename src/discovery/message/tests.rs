use libp2p_identity::{Keypair, ecdsa, secp256k1};
use proptest::prelude::*;

use super::{super::Config, *};

/// The messages of js-libp2p: file, key type, peer id and addresses of each.
fn fixtures() -> impl Iterator<Item = (Vec<u8>, String, PeerId, Vec<Multiaddr>)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/");
    let list = std::fs::read_to_string(format!("{folder}payloads.txt")).unwrap();
    let rows = list.lines().map(|line| {
        let [file, key, peer, addresses] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        let payload = std::fs::read(format!("{folder}{file}")).unwrap();
        let addresses = addresses.split(',').filter(|address| *address != "-");
        let addresses = addresses.map(|address| address.parse().unwrap()).collect();
        (payload, key.to_owned(), peer.parse().unwrap(), addresses)
    });
    rows.collect::<Vec<_>>().into_iter()
}

/// Keeps all addresses, without duplicates.
fn decode(payload: &[u8], max_size: usize) -> Result<Announcement, DecodeError> {
    super::decode(payload, max_size, |offered| {
        let mut seen = std::collections::HashSet::new();
        offered
            .filter(|address| seen.insert(address.clone()))
            .collect()
    })
}

#[test]
fn reads_what_js_writes_whatever_the_key() {
    let mut keys = std::collections::BTreeSet::new();
    for (payload, key, peer, addresses) in fixtures() {
        let announcement = decode(&payload, Config::default().inbox().max_message_size).unwrap();
        let with_peer = |address: Multiaddr| address.with_p2p(peer).unwrap();
        assert_eq!(announcement.peer, peer, "{key}");
        assert_eq!(
            announcement.addresses,
            addresses.into_iter().map(with_peer).collect::<Vec<_>>()
        );
        assert_eq!(announcement.dropped, 0);
        keys.insert(key);
    }
    assert_eq!(
        keys.into_iter().collect::<Vec<_>>(),
        ["ecdsa", "ed25519", "rsa", "secp256k1"]
    );
}

#[test]
fn writes_what_js_writes_byte_for_byte() {
    for (payload, key, peer, addresses) in fixtures() {
        // js writes an address as it is given; ours always end in the peer id.
        let ends_in_peer = |address: &Multiaddr| address.iter().last() == Some(Protocol::P2p(peer));
        if !addresses.iter().all(ends_in_peer) {
            continue;
        }
        let mut public_key: &[u8] = &[];
        for field in Fields(&payload) {
            if let Field::PublicKey(bytes) = field.unwrap() {
                public_key = bytes;
            }
        }
        let public_key = PublicKey::try_decode_protobuf(public_key).unwrap();
        assert_eq!(plain(&public_key, addresses), payload, "{key}");
    }
}

/// As js-libp2p writes it.
fn plain(public_key: &PublicKey, addresses: impl IntoIterator<Item = Multiaddr>) -> Vec<u8> {
    encode(public_key, addresses, Stamp::default())
}

const ROOMY: usize = 1 << 20;

fn ed25519(seed: u8) -> PublicKey {
    Keypair::ed25519_from_bytes([seed; 32]).unwrap().public()
}

fn other() -> PeerId {
    ed25519(99).to_peer_id()
}

fn address(text: &str) -> Multiaddr {
    text.parse().unwrap()
}

/// The message with these very bytes in it.
fn raw(public_key: &PublicKey, addrs: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    Peer {
        public_key: public_key.encode_protobuf(),
        addrs: addrs.into_iter().collect(),
        ..Peer::default()
    }
    .encode_to_vec()
}

/// What one address becomes on the way through a message.
fn through(bytes: Vec<u8>) -> Option<Multiaddr> {
    let key = ed25519(1);
    let announcement = decode(&raw(&key, [bytes]), ROOMY).unwrap();
    assert_eq!(announcement.peer, key.to_peer_id());
    assert_eq!(announcement.addresses.len() + announcement.dropped, 1);
    announcement.addresses.into_iter().next()
}

#[test]
fn encodes_as_js_does() {
    let key = ed25519(1);
    let payload = plain(&key, [address("/ip4/127.0.0.1/tcp/4001/ws")]);

    let mut expected = vec![0x0a, 36, 0x08, 0x01, 0x12, 32];
    expected.extend(key.clone().try_into_ed25519().unwrap().to_bytes());
    expected.extend([0x12, 10 + 41]);
    expected.extend([0x04, 127, 0, 0, 1, 0x06, 0x0f, 0xa1, 0xdd, 0x03]);
    expected.extend([0xa5, 0x03, 38, 0x00, 36]);
    expected.extend(key.encode_protobuf());
    assert_eq!(payload, expected);
}

#[test]
fn a_promise_is_rounded_up_and_endless_ones_are_possible() {
    let promised = |promise| {
        let stamp = Stamp {
            promise: Some(promise),
            ..Stamp::default()
        };
        let payload = encode(&ed25519(1), [], stamp);
        decode(&payload, ROOMY).unwrap().stamp.promise.unwrap()
    };
    let nanos = Duration::from_nanos;
    assert_eq!(promised(nanos(1_000_001)), nanos(2_000_000));
    assert_eq!(promised(nanos(2_000_000)), nanos(2_000_000));
    assert_eq!(promised(Duration::MAX), Duration::from_millis(u64::MAX));
}

#[test]
fn sequence_numbers_grow_whatever_the_clock_does() {
    let second = Duration::from_secs(1);
    let mut sequence = Sequence::default();
    let now = SystemTime::UNIX_EPOCH + 1_000 * second;
    assert_eq!(sequence.next(now), 1_000_000);
    assert_eq!(sequence.next(now), 1_000_001);
    assert_eq!(sequence.next(now - second), 1_000_002);
    assert_eq!(sequence.next(now + second), 1_001_000);
    assert_eq!(sequence.next(now - 2_000 * second), 1_001_001);
}

#[test]
fn an_empty_list_is_an_announcement_too() {
    let key = ed25519(1);
    let payload = plain(&key, []);
    assert_eq!(payload, raw(&key, []));
    let announcement = decode(&payload, Config::default().inbox().max_message_size).unwrap();
    assert_eq!(announcement.peer, key.to_peer_id());
    assert_eq!(announcement.addresses, []);
    assert_eq!(announcement.dropped, 0);
}

#[test]
fn does_not_announce_addresses_of_others() {
    let key = ed25519(1);
    let own = address("/ip4/1.2.3.4/tcp/1/ws");
    let foreign = own.clone().with(Protocol::P2p(other()));
    let announcement = decode(&plain(&key, [foreign, own.clone()]), ROOMY).unwrap();
    assert_eq!(
        announcement.addresses,
        [own.with_p2p(key.to_peer_id()).unwrap()]
    );
    assert_eq!(announcement.dropped, 0);
}

#[test]
fn reads_addresses_with_and_without_the_suffix() {
    let own = ed25519(1).to_peer_id();
    let relay = other();
    for text in [
        "/ip4/127.0.0.1/tcp/4001/ws".to_owned(),
        "/ip6/::1/tcp/4001/tls/ws".to_owned(),
        "/ip6zone/eth0/ip6/fe80::1/tcp/1/ws".to_owned(),
        "/dns4/node-1.example_x.org/tcp/443/tls/sni/example.org/ws".to_owned(),
        "/dns/bücher.example/tcp/443/wss".to_owned(),
        "/dns6/example.org/tcp/443/x-parity-ws/a%2Fb".to_owned(),
        "/ip4/1.2.3.4/udp/1/webrtc-direct/certhash/uEiDDq4_xNyDorZBH3TlGazyJdOWSwvo4PUo5YHFMrvDE8g"
            .to_owned(),
        "/memory/1".to_owned(),
        "/unix/a%20b".to_owned(),
        "/p2p-circuit".to_owned(),
        format!("/ip4/1.2.3.4/tcp/1/p2p/{relay}/p2p-circuit"),
        format!("/p2p/{relay}/p2p-circuit"),
        format!("/ip4/1.2.3.4/tcp/1/p2p/{relay}/p2p-circuit/webrtc"),
    ] {
        let bare = address(&text);
        let full = bare.clone().with(Protocol::P2p(own));
        assert_eq!(through(bare.to_vec()), Some(full.clone()), "{text}");
        assert_eq!(through(full.to_vec()), Some(full), "{text}");
    }
}

#[test]
fn drops_addresses_that_cannot_be_of_use() {
    let own = ed25519(1).to_peer_id();
    let long_host = format!("/dns/{}/tcp/1/ws", "a".repeat(MAX_ADDRESS_LEN));
    for (what, bytes) in [
        ("empty", vec![]),
        ("garbage", vec![0xff; 20]),
        ("unknown protocol", vec![0xff, 0x7f, 1, 2, 3]),
        (
            "cut short",
            address("/ip4/1.2.3.4/tcp/1").to_vec()[..6].to_vec(),
        ),
        (
            "a length that is not there",
            vec![0x35, 0xff, 0xff, 0x03, b'a'],
        ),
        ("too long", address(&long_host).to_vec()),
        ("own id alone", Multiaddr::from(Protocol::P2p(own)).to_vec()),
        (
            "foreign suffix",
            address("/ip4/1.2.3.4/tcp/1/ws")
                .with(Protocol::P2p(other()))
                .to_vec(),
        ),
        (
            "relayed to somebody else",
            address("/ip4/1.2.3.4/tcp/1")
                .with(Protocol::P2p(own))
                .with(Protocol::P2pCircuit)
                .with(Protocol::P2p(other()))
                .to_vec(),
        ),
    ] {
        assert_eq!(through(bytes), None, "{what}");
    }
    for name in ["", "a\nerror", "a/tcp/1", "a b", "a,b", "a\u{202e}b"] {
        for protocol in [
            Protocol::Dns(name.into()),
            Protocol::Dns4(name.into()),
            Protocol::Dns6(name.into()),
            Protocol::Dnsaddr(name.into()),
            Protocol::Ip6zone(name.into()),
            Protocol::Sni(name.into()),
        ] {
            let address = Multiaddr::from(protocol).with(Protocol::Tcp(1));
            assert_eq!(through(address.to_vec()), None, "{name:?}");
        }
    }
    assert_eq!(
        through(Multiaddr::from(Protocol::Unix("a\n".into())).to_vec()),
        None
    );
}

#[test]
fn keeps_an_address_of_the_longest_size() {
    // Eight bytes are not of the name.
    let name = "a".repeat(MAX_ADDRESS_LEN - 8);
    let longest = address(&format!("/dns/{name}/tcp/1/ws"));
    assert_eq!(longest.len(), MAX_ADDRESS_LEN);
    assert!(through(longest.to_vec()).is_some());
}

#[test]
fn one_bad_address_does_not_condemn_the_others() {
    let key = ed25519(1);
    let first = address("/ip4/1.2.3.4/tcp/1/ws")
        .with_p2p(key.to_peer_id())
        .unwrap();
    let second = address("/ip4/1.2.3.4/tcp/2/ws")
        .with_p2p(key.to_peer_id())
        .unwrap();
    let entries = [
        vec![0xff],
        first.to_vec(),
        vec![],
        second.to_vec(),
        first.to_vec(),
    ];
    let announcement = decode(&raw(&key, entries), ROOMY).unwrap();
    assert_eq!(announcement.addresses, [first, second]);
    assert_eq!(announcement.dropped, 3);
}

#[test]
fn keeps_what_is_selected_of_all_that_can_be_read() {
    let key = ed25519(1);
    let addresses = (1..=256).map(|port| Multiaddr::empty().with(Protocol::Tcp(port)));
    let last = |offered: &mut dyn Iterator<Item = Multiaddr>| offered.last().into_iter().collect();
    let announcement = super::decode(&plain(&key, addresses), ROOMY, last).unwrap();
    let expected = address("/tcp/256").with_p2p(key.to_peer_id()).unwrap();
    assert_eq!(announcement.addresses, [expected]);
    assert_eq!(announcement.dropped, 255);
}

#[test]
fn a_thousand_addresses_are_too_many() {
    let key = ed25519(1);
    let payload = plain(
        &key,
        (0..1_000).map(|port| Multiaddr::empty().with(Protocol::Tcp(port))),
    );
    assert!(matches!(
        decode(&payload, ROOMY),
        Err(DecodeError::TooManyAddresses { max: 256 })
    ));
    assert!(matches!(
        decode(&payload, Config::default().inbox().max_message_size),
        Err(DecodeError::TooLarge { .. })
    ));
    // So are that many empty ones, which cost their sender two bytes each.
    let empty = raw(&key, vec![vec![]; MAX_ENTRIES + 1]);
    assert!(matches!(
        decode(&empty, Config::default().inbox().max_message_size),
        Err(DecodeError::TooManyAddresses { .. })
    ));
    let most = raw(&key, vec![vec![]; MAX_ENTRIES]);
    assert_eq!(
        decode(&most, Config::default().inbox().max_message_size)
            .unwrap()
            .dropped,
        MAX_ENTRIES
    );
}

#[test]
fn the_size_is_checked_first_and_inclusively() {
    let payload = plain(&ed25519(1), []);
    let exact = payload.len();
    assert!(decode(&payload, exact).is_ok());
    assert!(matches!(
        decode(&[payload, vec![0]].concat(), exact),
        Err(DecodeError::TooLarge { size: 39, max: 38 })
    ));
}

#[test]
fn refuses_what_is_not_an_announcement() {
    let key = ed25519(1).encode_protobuf();
    let field = |key: &[u8], rest: &[u8]| {
        let mut bytes = vec![0x0a, u8::try_from(key.len()).unwrap()];
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(rest);
        bytes
    };
    for (what, rest) in [
        ("key as a varint", &[0x08, 1][..]),
        ("addresses as a varint", &[0x10, 1]),
        ("addresses as a fixed32", &[0x15, 1, 2, 3, 4]),
        ("tag 0", &[0x02, 0]),
        ("wire type 6", &[0x1e, 0]),
        ("wire type 7", &[0x1f, 0]),
        ("endless varint", &[0xff; 11]),
        ("an address longer than the message", &[0x12, 0x7f, 1]),
        (
            "an address of 2^64 - 1 bytes",
            &[
                0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,
            ],
        ),
        ("an unknown field longer than the message", &[0x1a, 0x7f, 1]),
        ("a group without an end", &[0x1b, 0x08, 1]),
        ("the end of no group", &[0x1c]),
        ("the end of another group", &[0x1b, 0x24]),
    ] {
        assert!(
            matches!(
                decode(&field(&key, rest), ROOMY),
                Err(DecodeError::Malformed(_))
            ),
            "{what}"
        );
    }
    // A thousand groups within each other must not use up the stack.
    assert!(matches!(
        decode(&[0x1b; 1_000], ROOMY),
        Err(DecodeError::Malformed(_))
    ));

    for payload in [&[][..], &[0x0a, 0], &[0x12, 0], &[0x18, 1]] {
        assert!(
            matches!(decode(payload, ROOMY), Err(DecodeError::MissingPublicKey)),
            "{payload:?}"
        );
    }
    for bytes in [
        &key[1..],
        &key[..35],
        &[0x08, 0x09, 0x12, 0x00],
        &[0x08, 0x01, 0x12, 0x00],
        &[0x08, 0x00, 0x12, 0x01, 0x30],
        &[0x08, 0x03, 0x12, 0x02, 0x30, 0x00],
    ] {
        assert!(
            matches!(
                decode(&field(bytes, &[]), ROOMY),
                Err(DecodeError::InvalidPublicKey(_))
            ),
            "{bytes:?}"
        );
    }
    let long = Peer {
        public_key: vec![0; MAX_PUBLIC_KEY_LEN + 1],
        addrs: vec![],
        ..Peer::default()
    };
    assert!(matches!(
        decode(&long.encode_to_vec(), ROOMY),
        Err(DecodeError::PublicKeyTooLong { size: 2049, .. })
    ));
    let longest = Peer {
        public_key: vec![0; MAX_PUBLIC_KEY_LEN],
        ..long
    };
    assert!(matches!(
        decode(&longest.encode_to_vec(), ROOMY),
        Err(DecodeError::InvalidPublicKey(_))
    ));
}

#[test]
fn ignores_unknown_fields_of_every_wire_type() {
    let key = ed25519(1);
    let known = plain(&key, [address("/ip4/1.2.3.4/tcp/1/ws")]);
    let expected = decode(&known, ROOMY).unwrap();
    for unknown in [
        &[0x18, 0x96, 0x01][..],
        &[0x19, 1, 2, 3, 4, 5, 6, 7, 8],
        &[0x1a, 3, 1, 2, 3],
        &[0x1b, 0x08, 1, 0x12, 1, 0, 0x1c],
        &[0x1d, 1, 2, 3, 4],
        &[0xf8, 0xff, 0xff, 0xff, 0x0f, 1],
    ] {
        let before = [unknown, &known].concat();
        let after = [&known, unknown].concat();
        assert_eq!(decode(&before, ROOMY).unwrap(), expected);
        assert_eq!(decode(&after, ROOMY).unwrap(), expected);
    }
}

#[test]
fn the_last_key_counts_wherever_it_stands() {
    let (first, last) = (ed25519(1), ed25519(2));
    let own = address("/ip4/1.2.3.4/tcp/1/ws")
        .with_p2p(last.to_peer_id())
        .unwrap();
    let payload = [raw(&first, [own.to_vec()]), raw(&last, [])].concat();
    let announcement = decode(&payload, ROOMY).unwrap();
    assert_eq!(announcement.peer, last.to_peer_id());
    assert_eq!(announcement.addresses, [own]);
}

#[test]
fn a_message_cut_short_anywhere_never_panics() {
    let key = ed25519(1);
    let payload = plain(
        &key,
        ["/ip4/1.2.3.4/tcp/1/ws", "/dns4/example.org/tcp/443/tls/ws"].map(address),
    );
    let all = decode(&payload, ROOMY).unwrap();
    for end in 0..payload.len() {
        match decode(&payload[..end], ROOMY) {
            // Between two fields it reads as a shorter message.
            Ok(part) => {
                assert!(all.addresses.starts_with(&part.addresses) && part.dropped == 0)
            }
            Err(DecodeError::MissingPublicKey) => assert_eq!(end, 0),
            Err(error) => assert!(matches!(error, DecodeError::Malformed(_)), "{end}: {error}"),
        }
    }
}

/// A key as X.509 wraps it. The reader takes the wrapping apart, not the numbers in it.
fn rsa(numbers: &[u8; 270]) -> PublicKey {
    let mut key = vec![0x08, 0x00, 0x12, 0xa6, 0x02];
    key.extend([
        0x30, 0x82, 0x01, 0x22, 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86,
    ]);
    key.extend([
        0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00, 0x03, 0x82, 0x01, 0x0f, 0x00,
    ]);
    key.extend(numbers);
    PublicKey::try_decode_protobuf(&key).unwrap()
}

fn public_key() -> impl Strategy<Value = PublicKey> {
    let secret = any::<[u8; 32]>().prop_map(|mut bytes| {
        // Below the order of each curve, and not zero.
        bytes[0] = 0;
        bytes[31] |= 1;
        bytes
    });
    prop_oneof![
        any::<[u8; 32]>().prop_map(|bytes| Keypair::ed25519_from_bytes(bytes).unwrap().public()),
        secret.clone().prop_map(|bytes| {
            let secret = secp256k1::SecretKey::try_from_bytes(bytes).unwrap();
            Keypair::from(secp256k1::Keypair::from(secret)).public()
        }),
        secret.prop_map(|bytes| {
            let secret = ecdsa::SecretKey::try_from_bytes(bytes).unwrap();
            Keypair::from(ecdsa::Keypair::from(secret)).public()
        }),
        prop::collection::vec(any::<u8>(), 270)
            .prop_map(|numbers| rsa(&numbers.try_into().unwrap())),
    ]
}

fn some_address() -> impl Strategy<Value = Multiaddr> {
    let host = prop_oneof![
        any::<[u8; 4]>().prop_map(|ip| Multiaddr::from(Protocol::Ip4(ip.into()))),
        any::<[u8; 16]>().prop_map(|ip| Multiaddr::from(Protocol::Ip6(ip.into()))),
        "[a-z0-9.-]{1,40}".prop_map(|name| Multiaddr::from(Protocol::Dns(name.into()))),
    ];
    (host, any::<u16>(), 0..4_u8).prop_map(|(host, port, kind)| {
        let address = host.with(Protocol::Tcp(port));
        match kind {
            0 => address,
            1 => address.with(Protocol::Ws("/".into())),
            2 => address.with(Protocol::Tls).with(Protocol::Ws("/".into())),
            _ => address
                .with(Protocol::P2p(other()))
                .with(Protocol::P2pCircuit),
        }
    })
}

/// Bytes that are often nearly an announcement.
fn payload() -> impl Strategy<Value = Vec<u8>> {
    let own = ed25519(1);
    let entry = prop_oneof![
        some_address().prop_map(|address| address.to_vec()),
        some_address().prop_map(|address| address.with(Protocol::P2p(other())).to_vec()),
        prop::collection::vec(any::<u8>(), 0..20),
    ];
    let field = prop_oneof![
        1 => Just(raw(&own, [])),
        1 => public_key().prop_map(|key| raw(&key, [])),
        1 => prop::collection::vec(any::<u8>(), 0..50)
            .prop_map(|public_key| Peer { public_key, ..Peer::default() }.encode_to_vec()),
        6 => entry.prop_map(|addr| {
            Peer { addrs: vec![addr], ..Peer::default() }.encode_to_vec()
        }),
        1 => any::<u64>().prop_map(|number| {
            Peer { sequence: Some(number), ..Peer::default() }.encode_to_vec()
        }),
        1 => any::<u64>().prop_map(|number| {
            Peer { promise: Some(number), ..Peer::default() }.encode_to_vec()
        }),
        2 => (3..40_u32, any::<u64>()).prop_map(|(tag, value)| {
            let mut bytes = vec![];
            encoding::uint64::encode(tag, &value, &mut bytes);
            bytes
        }),
    ];
    let fields = prop::collection::vec(field, 0..20).prop_map(|fields| fields.concat());
    prop_oneof![
        4 => fields.clone(),
        1 => (fields, prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4))
            .prop_map(|(mut bytes, edits)| {
                for (index, value) in edits {
                    if !bytes.is_empty() {
                        let index = index.index(bytes.len());
                        bytes[index] = value;
                    }
                }
                bytes
            }),
        1 => prop::collection::vec(any::<u8>(), 0..200),
    ]
}

#[test]
fn the_reserved_number_is_skipped_as_any_unknown_one() {
    let key = ed25519(1);
    let stamp = Stamp {
        sequence: Some(7),
        promise: Some(Duration::from_millis(8)),
    };
    let payload = encode(&key, [], stamp);
    for number in [2003, 2004] {
        let mut more = payload.clone();
        encoding::uint64::encode(number, &9, &mut more);
        assert_eq!(
            decode(&more, ROOMY).unwrap(),
            decode(&payload, ROOMY).unwrap()
        );
    }
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(
        key in public_key(),
        addresses in prop::collection::hash_set(some_address(), 0..20),
        suffixed in any::<bool>(),
        sequence: Option<u64>,
        promise: Option<u64>,
    ) {
        let stamp = Stamp {
            sequence,
            promise: promise.map(Duration::from_millis),
        };
        let full: Vec<_> = addresses
            .iter()
            .map(|address| address.clone().with(Protocol::P2p(key.to_peer_id())))
            .collect();
        let payload = if suffixed {
            encode(&key, full.clone(), stamp)
        } else {
            encode(&key, addresses, stamp)
        };
        prop_assert_eq!(
            decode(&payload, ROOMY).unwrap(),
            Announcement { peer: key.to_peer_id(), addresses: full, dropped: 0, stamp }
        );
    }

    /// The scan over borrowed bytes must see what the derived code of prost sees.
    #[test]
    fn agrees_with_the_derived_decoder(payload in payload()) {
        let decoded = decode(&payload, ROOMY);
        let Ok(theirs) = Peer::decode(payload.as_slice()) else {
            prop_assert!(matches!(decoded, Err(DecodeError::Malformed(_))), "{decoded:?}");
            return Ok(());
        };
        if theirs.public_key.is_empty() {
            prop_assert!(matches!(decoded, Err(DecodeError::MissingPublicKey)), "{decoded:?}");
            return Ok(());
        }
        let Ok(key) = PublicKey::try_decode_protobuf(&theirs.public_key) else {
            prop_assert!(
                matches!(decoded, Err(DecodeError::InvalidPublicKey(_))),
                "{decoded:?}"
            );
            return Ok(());
        };
        let mut addresses = vec![];
        for bytes in &theirs.addrs {
            addresses.extend(decode_address(bytes, key.to_peer_id()));
        }
        let mut seen = std::collections::HashSet::new();
        addresses.retain(|address| seen.insert(address.clone()));
        prop_assert_eq!(
            decoded.unwrap(),
            Announcement {
                peer: key.to_peer_id(),
                dropped: theirs.addrs.len() - addresses.len(),
                addresses,
                stamp: Stamp {
                    sequence: theirs.sequence,
                    promise: theirs.promise.map(Duration::from_millis),
                },
            }
        );
    }
}
