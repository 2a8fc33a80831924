use proptest::prelude::*;

use super::{
    server::{Reply, Server},
    *,
};

const HOST: &str = "example.com";

/// The key that the specification makes of this byte.
fn key(byte: u8) -> Keypair {
    Keypair::ed25519_from_bytes([byte; 32]).unwrap()
}

/// The keys of the specification: 1 is the server's, 2 the client's.
fn start(client: &Keypair) -> (Handshake<'_>, Next) {
    let challenge = "MzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMz".to_owned();
    Handshake::with_challenges(client, HOST, [challenge.clone(), challenge])
}

fn unauthorized(header: &str) -> Response<'_> {
    Response {
        is_unauthorized: true,
        www_authenticate: vec![header],
        authentication_info: Vec::new(),
    }
}

fn welcome(header: &str) -> Response<'_> {
    Response {
        is_unauthorized: false,
        www_authenticate: Vec::new(),
        authentication_info: vec![header],
    }
}

#[test]
fn what_is_signed_is_as_the_specification_has_it() {
    let challenge = "ERERERERERERERERERERERERERERERERERERERERERE=";
    let client = key(2).public();
    let expected = "6c69627032702d5065657249443d6368616c6c656e67652d7365727665723d455245524552455245524552455245524552455245524552455245524552455245524552455245524552453d36636c69656e742d7075626c69632d6b65793d080112208139770ea87d175f56a35466c34c7ecccb8d8a91b4ee37a25df60f5b8fc9b39414686f73746e616d653d6578616d706c652e636f6d";
    let signed = signed_bytes(&[
        ("challenge-server", challenge.as_bytes()),
        ("client-public-key", &client.encode_protobuf()),
        ("hostname", HOST.as_bytes()),
    ]);
    let hex: String = signed.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, expected);
    assert_eq!(
        BASE64.encode(key(1).sign(&signed).unwrap()),
        "UA88qZbLUzmAxrD9KECbDCgSKAUBAvBHrOCF2X0uPLR1uUCF7qGfLPc7dw3Olo-LaFCDpk5sXN7TkLWPVvuXAA=="
    );
}

#[test]
fn the_form_that_the_client_starts_is_that_of_the_specification() {
    let client = key(2);
    let (mut handshake, first) = start(&client);
    let expected = Next {
        authorization: r#"libp2p-PeerID challenge-server="MzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMz", public-key="CAESIIE5dw6ofRdfVqNUZsNMfszLjYqRtO43ol32D1uPybOU""#.to_owned(),
        has_body: false,
    };
    assert_eq!(first, expected);
    let header = r#"libp2p-PeerID challenge-client="ERERERERERERERERERERERERERERERERERERERERERE=", public-key="CAESIIqI4910CfGV_VLbLTy6XXLKZwm_HZQSG_N0iAG0D29c", sig="HQ7BJRaSpRhNCORNiALNJENdwXUyq0eM2cxNoxe-XnQw6oEAMaeYnjMYaHHjgq0XNxZmy4W2ngKUcI1CgprLCQ==", opaque="1JrloFj6""#;
    let second = handshake.on_response(&unauthorized(header)).unwrap();
    let expected = Next {
        authorization: r#"libp2p-PeerID opaque="1JrloFj6", sig="OrwJPO4buHKJdKXP2av8PFwv3XF_-m5MqndskeVV5UzufYzBCTm7RBaFnBS1sEhuQHZSZPh9RJgN5NmLzrUrBQ==""#.to_owned(),
        has_body: true,
    };
    assert_eq!(second, Some(expected));
    let last = handshake.on_response(&welcome(r#"libp2p-PeerID bearer="YhlY""#));
    assert_eq!(last, Ok(None));
}

/// Its example there is older than its text: the key of the server is missing from the header, and from what the client
/// signs. The signatures are those of the other example, which signs the same. Padding may be left out.
#[test]
fn the_form_that_the_server_starts_is_that_of_the_specification() {
    let client = key(2);
    let (mut handshake, _) = start(&client);
    let header = r#"libp2p-PeerID challenge-client="ERERERERERERERERERERERERERERERERERERERERERE=", public-key="CAESIIqI4910CfGV_VLbLTy6XXLKZwm_HZQSG_N0iAG0D29c", opaque="0H1Y""#;
    let second = handshake.on_response(&unauthorized(header)).unwrap();
    let expected = Next {
        authorization: r#"libp2p-PeerID public-key="CAESIIE5dw6ofRdfVqNUZsNMfszLjYqRtO43ol32D1uPybOU", challenge-server="MzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMz", sig="OrwJPO4buHKJdKXP2av8PFwv3XF_-m5MqndskeVV5UzufYzBCTm7RBaFnBS1sEhuQHZSZPh9RJgN5NmLzrUrBQ==", opaque="0H1Y""#.to_owned(),
        has_body: false,
    };
    assert_eq!(second, Some(expected));
    let info = r#"libp2p-PeerID sig="HQ7BJRaSpRhNCORNiALNJENdwXUyq0eM2cxNoxe-XnQw6oEAMaeYnjMYaHHjgq0XNxZmy4W2ngKUcI1CgprLCQ" bearer="YhlY""#;
    let third = handshake.on_response(&welcome(info)).unwrap();
    let expected = Next {
        authorization: r#"libp2p-PeerID bearer="YhlY""#.to_owned(),
        has_body: true,
    };
    assert_eq!(third, Some(expected));
    assert_eq!(handshake.on_response(&welcome("")), Ok(None));
}

/// Plays both sides until the server has the body, or somebody gives up: the client, and how many requests there were.
fn play(client: &Keypair, servers: &mut [Server]) -> Result<(PublicKey, usize), &'static str> {
    let (mut handshake, mut next) = Handshake::start(client, HOST, [[3; 32], [4; 32]]);
    let last = servers.len() - 1;
    for count in 0.. {
        assert!(count < 5, "no handshake has more");
        let reply = servers[count.min(last)].answer(HOST, Some(&next.authorization));
        let had_body = next.has_body;
        let following = match &reply {
            Reply::Unauthorized(header) => handshake.on_response(&unauthorized(header)),
            Reply::Welcome(_, header) => handshake.on_response(&welcome(header)),
            Reply::Bad(_) => panic!("{reply:?} to {next:?}"),
        }?;
        match (following, reply) {
            (Some(following), _) => next = following,
            (None, Reply::Welcome(client, _)) if had_body => return Ok((client, count + 1)),
            (None, reply) => panic!("the body was not sent: {reply:?}"),
        }
    }
    unreachable!()
}

#[test]
fn each_kind_of_key_is_taken_in_both_forms() {
    let rsa = include_bytes!("../../../tests/fixtures/pem/rsa-pkcs8.key");
    let rsa = rcgen::KeyPair::from_pem(&String::from_utf8_lossy(rsa)).unwrap();
    let keys = [
        Keypair::generate_ed25519(),
        Keypair::generate_secp256k1(),
        Keypair::generate_ecdsa(),
        Keypair::rsa_from_pkcs8(&mut rsa.serialize_der()).unwrap(),
    ];
    for client in &keys {
        for server in &keys {
            for (takes_challenges, requests) in [(true, 2), (false, 3)] {
                let mut server = Server::new(server.clone());
                server.takes_challenges = takes_challenges;
                let played = play(client, &mut [server]);
                assert_eq!(played, Ok((client.public(), requests)));
            }
        }
    }
}

/// Each instance of a broker has a key of its own, and knows nothing of the challenges of the others.
#[test]
fn a_second_instance_of_the_server_may_answer() {
    let mut servers = [Server::new(key(1)), Server::new(key(5))];
    let played = play(&key(2), &mut servers);
    assert_eq!(played, Ok((key(2).public(), 4)));
    let mut servers = [(); 4].map(|()| Server::new(Keypair::generate_ed25519()));
    let played = play(&key(2), &mut servers);
    assert_eq!(played, Err("it does not accept the signature of this node"));
}

#[test]
fn a_server_that_does_not_prove_its_key_gets_no_body() {
    for takes_challenges in [true, false] {
        let mut server = Server::new(key(1));
        server.takes_challenges = takes_challenges;
        server.lies = true;
        let played = play(&key(2), &mut [server]);
        assert_eq!(played, Err("its signature is wrong"));
    }
}

#[test]
fn what_does_not_authenticate_is_refused_in_words() {
    let good = r#"libp2p-PeerID challenge-client="ERERERERERERERERERERERERERERERERERERERERERE=", public-key="CAESIIqI4910CfGV_VLbLTy6XXLKZwm_HZQSG_N0iAG0D29c""#;
    let long = format!("{good}, opaque=\"{}\"", "a".repeat(MAX_HEADER));
    let cases = [
        ("", "it does not speak libp2p-PeerID"),
        (r#"Basic realm="a""#, "it does not speak libp2p-PeerID"),
        (
            "libp2p-PeerID",
            "its public key is missing, or cannot be read",
        ),
        ("libp2p-PeerID sig=a", "its header cannot be read"),
        (r#"libp2p-PeerID sig="a"#, "its header cannot be read"),
        (&long, "its header is too long"),
        (
            r#"libp2p-PeerID challenge-client="short", public-key="CAESIIqI4910CfGV_VLbLTy6XXLKZwm_HZQSG_N0iAG0D29c""#,
            "its challenge is missing, or too short to be random",
        ),
        (&format!("{good}, sig=\"*\""), "its signature is not base64"),
        (&format!("{good}, sig=\"AAAA\""), "its signature is wrong"),
    ];
    let client = key(2);
    for (header, expected) in cases {
        let refused = start(&client).0.on_response(&unauthorized(header));
        assert_eq!(refused, Err(expected), "{header}");
    }
    let refused = start(&client).0.on_response(&welcome(""));
    assert_eq!(refused, Err("it did not ask who this node is"));

    // The form that the server starts, to its end.
    let signed = || {
        let (mut handshake, _) = start(&client);
        let other = format!(r#"Basic realm="a", {good}, Digest realm="b""#);
        handshake.on_response(&unauthorized(&other)).unwrap();
        handshake
    };
    let refused = signed().on_response(&welcome("libp2p-PeerID bearer=\"a\""));
    assert_eq!(refused, Err("it has not signed the challenge"));
    let sig =
        "HQ7BJRaSpRhNCORNiALNJENdwXUyq0eM2cxNoxe-XnQw6oEAMaeYnjMYaHHjgq0XNxZmy4W2ngKUcI1CgprLCQ==";
    let info = format!("libp2p-PeerID sig=\"{sig}\"");
    let refused = signed().on_response(&welcome(&info));
    assert_eq!(refused, Err("it has sent no token"));
}

proptest! {
    #[test]
    fn no_header_is_a_panic(any: String, quoted: String) {
        let client = key(2);
        for header in [&any, &format!("libp2p-PeerID {any}=\"{quoted}\"")] {
            let _ = start(&client).0.on_response(&unauthorized(header));
            let (mut handshake, _) = start(&client);
            handshake.state = State::Signed { server: key(1).public() };
            let _ = handshake.on_response(&welcome(header));
        }
    }
}
