use std::io;

use super::{error::date, *};
#[cfg(feature = "libp2p-websocket")]
use crate::websocket::libp2p;

fn self_signed() -> (Vec<u8>, Vec<u8>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    (made.cert.der().to_vec(), made.signing_key.serialize_der())
}

#[test]
fn three_names_are_listed_and_the_others_counted() {
    let names = |ips: &[&str], dns: &[&str]| Names {
        ips: ips.iter().map(|ip| ip.parse().unwrap()).collect(),
        dns: dns.iter().map(|dns| (*dns).to_owned()).collect(),
    };
    for (names, expected) in [
        (names(&[], &[]), ""),
        (names(&["192.0.2.1"], &[]), "192.0.2.1"),
        (
            names(&["192.0.2.1"], &["a", "*.b.c"]),
            "a, *.b.c, 192.0.2.1",
        ),
        (
            names(&["192.0.2.1", "::1"], &["a", "b", "c"]),
            "a, b, c and 2 more",
        ),
    ] {
        assert_eq!(names.list(), expected);
    }
}

#[test]
fn a_chain_and_its_key_are_accepted_and_the_key_is_not_shown() {
    let (certificate, key) = self_signed();
    let made = Certificate::from_der(vec![certificate.clone()], key).unwrap();
    assert_eq!(format!("{made:?}"), "Certificate { .. }");
    let anchor = TrustAnchor::from_der(certificate).unwrap();
    assert_eq!(format!("{anchor:?}"), "TrustAnchor { .. }");
    #[cfg(feature = "libp2p-websocket")]
    {
        let mut builder = libp2p_websocket::tls::Config::builder();
        libp2p::add_certificate(&mut builder, &made);
        libp2p::add_trust_anchor(&mut builder, &anchor);
    }
}

#[test]
fn a_certificate_has_the_names_that_rustls_verifies() {
    use rustls::{client::verify_server_name, pki_types::ServerName, server::ParsedCertificate};

    let claimed = [
        "a.example",
        "*.b.example",
        "*.c",
        "192.0.2.1",
        "2001:db8::1",
        "D.example",
    ];
    let made = rcgen::generate_simple_self_signed(claimed.map(str::to_owned)).unwrap();
    let chain = vec![made.cert.der().to_vec()];
    let certificate = Certificate::from_der(chain, made.signing_key.serialize_der()).unwrap();
    assert_eq!(certificate.names().first(), Some("a.example"));
    let parsed = ParsedCertificate::try_from(made.cert.der()).unwrap();
    let mut verified = 0;
    for name in [
        "a.example",
        "A.example",
        "a.example.",
        "x.a.example",
        "example",
        "b.example",
        "x.b.example",
        "X.B.EXAMPLE.",
        "y.x.b.example",
        "x.c",
        "c",
        "d.example",
        "192.0.2.1",
        "192.0.2.2",
        "2001:db8::1",
        "2001:db8:0::1",
        "2001:db8::2",
    ] {
        let server = ServerName::try_from(name).unwrap();
        let is_verified = verify_server_name(&parsed, &server).is_ok();
        assert_eq!(certificate.names().has(name), is_verified, "{name}");
        verified += usize::from(is_verified);
    }
    assert_eq!(verified, 9);
}

#[test]
fn a_trust_anchor_is_the_first_certificate_of_its_pem() {
    let [first, second] = ["first", "second"]
        .map(|name| rcgen::generate_simple_self_signed([name.to_owned()]).unwrap());
    let pem = [
        first.signing_key.serialize_pem(),
        first.cert.pem(),
        second.cert.pem(),
    ]
    .concat();
    let anchor = TrustAnchor::from_pem(pem.as_bytes()).unwrap();
    assert_eq!(anchor.0, *first.cert.der());
    assert_eq!(format!("{anchor:?}"), "TrustAnchor { .. }");
    // Many authorities are of version 1.
    TrustAnchor::from_pem(include_bytes!("../../../tests/fixtures/pem/version1.pem")).unwrap();
}

#[test]
fn bad_bytes_are_refused_wherever_they_are() {
    let (certificate, key) = self_signed();
    for garbage in [
        vec![],
        vec![0],
        vec![0x30, 0x80],
        b"-----BEGIN CERTIFICATE-----".to_vec(),
        certificate[..certificate.len() - 1].to_vec(),
        [&*certificate, &[0]].concat(),
        key.clone(),
    ] {
        for chain in [
            vec![garbage.clone()],
            vec![certificate.clone(), garbage.clone()],
        ] {
            let refused = Certificate::from_der(chain, key.clone()).unwrap_err();
            assert!(
                matches!(refused, CertificateError::Chain { .. }),
                "{refused:?}"
            );
        }
        TrustAnchor::from_der(garbage.clone()).unwrap_err();
        if garbage != key {
            let refused = Certificate::from_der(vec![certificate.clone()], garbage).unwrap_err();
            assert!(
                matches!(refused, CertificateError::Key { .. }),
                "{refused:?}"
            );
        }
    }
    let index = |chain| match Certificate::from_der(chain, key.clone()).unwrap_err() {
        CertificateError::Chain {
            defect: CertificateDefect::NotX509 { index },
            ..
        } => index,
        other => panic!("{other:?}"),
    };
    assert_eq!(index(vec![vec![0], certificate.clone()]), 0);
    assert_eq!(index(vec![certificate.clone(), vec![0]]), 1);
}

#[test]
fn a_key_of_another_certificate_is_refused_and_one_of_the_wrong_order_is_told_apart() {
    let (own, key) = self_signed();
    let (other, other_key) = self_signed();
    for (key, expected) in [(self_signed().1, None), (other_key, Some(1))] {
        let chain = vec![own.clone(), other.clone()];
        match Certificate::from_der(chain, key).unwrap_err() {
            CertificateError::KeyMismatch { belongs_to, .. } => assert_eq!(belongs_to, expected),
            other => panic!("{other:?}"),
        }
    }
    Certificate::from_der(vec![own, other], key).unwrap();
}

#[test]
fn a_key_with_a_good_wrapper_and_a_bad_inside_is_refused() {
    let (certificate, mut key) = self_signed();
    let last = key.len() - 1;
    key[last] ^= 0xff;
    let refused = Certificate::from_der(vec![certificate], key).unwrap_err();
    assert!(
        matches!(
            refused,
            CertificateError::Key { .. } | CertificateError::KeyMismatch { .. }
        ),
        "{refused:?}"
    );
}

/// What openssl writes: the key in SEC1, with the curve in a block of its own before it.
const BY_OPENSSL: &str = "\
-----BEGIN EC PARAMETERS-----
BggqhkjOPQMBBw==
-----END EC PARAMETERS-----
-----BEGIN EC PRIVATE KEY-----
MHcCAQEEINy7jGFTf8J6eyy8S3AnUNm1ImIvdUwBe1eAXZp2MgHtoAoGCCqGSM49
AwEHoUQDQgAEvYw21wSR1u0v4kJe/S0bdrtSYiOKNFfzLcX5Dh1/fuAb8hAdMqhy
vgNSXPxNUe2DuS/rc5GqgkxzeQl5A/Oe4g==
-----END EC PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBfjCCASWgAwIBAgIUaQN7M5+Ne9UEsEaUGzbT8k5m/bEwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMzA5NDcwMVoYDzIwNzYwMzA1
MDk0NzAxWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAS9jDbXBJHW7S/iQl79LRt2u1JiI4o0V/MtxfkOHX9+4BvyEB0yqHK+
A1Jc/E1R7YO5L+tzkaqCTHN5CXkD857io1MwUTAdBgNVHQ4EFgQUvcw4yZKVkIZA
jlwUhYskoyMu2z8wHwYDVR0jBBgwFoAUvcw4yZKVkIZAjlwUhYskoyMu2z8wDwYD
VR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNHADBEAiAwGl25kH0pmBM9Ix2pE5jn
a0iKYLsxGRjvJ8+Ld2xFEQIgFFp2X8bWX5aKmJmzR04ghG/wQceqP7CPWp9hTns4
qjM=
-----END CERTIFICATE-----
";

/// In seconds since 1970; the first is written as UTCTime, the second as GeneralizedTime.
const DATES_BY_OPENSSL: [u64; 2] = [1_795_427_221, 3_350_627_221];

#[test]
fn the_dates_are_those_of_the_first_certificate() {
    let (other, _) = pem();
    let chain = format!("{BY_OPENSSL}{other}");
    let both = Certificate::from_pem(chain.as_bytes(), BY_OPENSSL.as_bytes()).unwrap();
    let [not_before, not_after] =
        DATES_BY_OPENSSL.map(|s| SystemTime::UNIX_EPOCH + Duration::from_secs(s));
    assert_eq!(
        (both.not_before(), both.not_after()),
        (not_before, not_after)
    );

    let second = Duration::from_secs(1);
    for good in [not_before, not_before + second, not_after] {
        both.check_dates(good).unwrap();
    }
    let refused = both.check_dates(not_before - second).unwrap_err();
    assert!(
        matches!(refused, CertificateError::NotYetValid { not_before: n, .. } if n == not_before)
    );
    assert_eq!(
        refused.to_string(),
        "the first certificate of the certificate chain is not valid before Nov 23 09:47:01 2026 +00:00; check the clock \
         of this host"
    );
    let refused = both.check_dates(not_after + second).unwrap_err();
    assert!(matches!(refused, CertificateError::Expired { not_after: n, .. } if n == not_after));
    assert_eq!(
        refused.to_string(),
        "the first certificate of the certificate chain expired on Mar  5 09:47:01 2076 +00:00; renew it"
    );
    assert_eq!(both.time_left(not_after - second), second);
    assert_eq!(both.time_left(not_after + second), Duration::ZERO);
}

#[test]
fn dates_that_no_clock_shows_can_be_written_down() {
    for time in [
        SystemTime::UNIX_EPOCH - Duration::from_secs(1 << 40),
        SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 60),
    ] {
        assert_eq!(date(time), "a day far away");
    }
    let before = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
    assert_eq!(date(before), "Dec 31 23:59:59 1969 +00:00");
    assert_eq!(
        system_time(ASN1Time::from_timestamp(-1).unwrap()),
        Some(before)
    );
}

fn pem() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!("../../../tests/fixtures/pem/", $name)).as_slice()
    };
}

const LEAF: &[u8] = fixture!("leaf.pem");
const KEY: &[u8] = fixture!("ec-params.key");

#[test]
fn what_tools_write_is_read() {
    let (other, other_key) = pem();
    let other = other.as_bytes();
    let blank: &[u8] = b"\n";
    for (chain, key) in [
        // `openssl ecparam -genkey`, with the curve in a section of its own, and `openssl req`.
        (LEAF.to_vec(), KEY.to_vec()),
        // certbot, step and mkcert join certificates as they are, lego with an empty line between them.
        ([LEAF, other].concat(), KEY.to_vec()),
        ([LEAF, blank, other].concat(), KEY.to_vec()),
        // `cat` of files that lack the last line end.
        ([LEAF.trim_ascii_end(), other].concat(), KEY.to_vec()),
        // `openssl x509 -text`, and `openssl pkcs12`, which says what is in its bags.
        (fixture!("text.pem").to_vec(), KEY.to_vec()),
        (fixture!("bag.pem").to_vec(), fixture!("bag.pem").to_vec()),
        // Bundles in both orders. Of several keys, the first counts.
        (LEAF.to_vec(), [KEY, LEAF].concat()),
        ([LEAF, KEY].concat(), [LEAF, KEY].concat()),
        (LEAF.to_vec(), [KEY, other_key.as_bytes()].concat()),
        (fixture!("rsa.pem").to_vec(), fixture!("rsa.key").to_vec()),
        (
            fixture!("ed25519.pem").to_vec(),
            fixture!("ed25519.key").to_vec(),
        ),
    ] {
        let read = Certificate::from_pem(&chain, &key).unwrap();
        let expected = String::from_utf8_lossy(&chain)
            .matches("BEGIN CERTIFICATE-")
            .count();
        assert_eq!(read.0.certified.cert.len(), expected);
        #[cfg(feature = "libp2p-websocket")]
        libp2p::add_certificate(&mut libp2p_websocket::tls::Config::builder(), &read);
    }
}

/// As `watch` shows it.
fn refusal(chain: &[u8], key: &[u8]) -> String {
    let error = Certificate::from_pem(chain, key).unwrap_err();
    error.in_files("chain".as_ref(), "key".as_ref()).to_string()
}

#[test]
fn what_is_wrong_with_a_key_is_said_in_one_sentence() {
    let p256 = "`openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem` makes one that is, for a \
                new certificate";
    let encrypted = "key is protected by a passphrase; one without is expected, as `openssl pkey -in key -out key.pem` \
                     makes it";
    let in_der = |found: &str, command: &str| {
        format!(
            "key is {found} in DER; a private key in PEM is expected, as `{command} -in key -out key.pem` makes it"
        )
    };
    for (key, expected) in [
        (fixture!("encrypted.key"), encrypted.to_owned()),
        (fixture!("encrypted-sec1.key"), encrypted.to_owned()),
        (LEAF, "key has a certificate in place of a private key; perhaps chain and key are swapped".to_owned()),
        (fixture!("public.pem"), "key has a public key in place of a private key".to_owned()),
        (fixture!("request.pem"), "key has a certificate request in place of a private key".to_owned()),
        (
            fixture!("openssh.key"),
            "key has a private key of OpenSSH in place of a private key; `ssh-keygen -p -N '' -m PKCS8 -f key` makes one \
             of it, in place".to_owned(),
        ),
        (fixture!("key.der"), in_der("a private key", "openssl pkey -inform der")),
        (fixture!("encrypted.der"), in_der("an encrypted private key", "openssl pkey -inform der")),
        (fixture!("archive.p12"), in_der("a PKCS#12 archive", "openssl pkcs12 -nocerts -nodes")),
        (fixture!("leaf.der"), "key is a certificate in DER; a private key in PEM is expected".to_owned()),
        (fixture!("p521.key"), format!("key is ECDSA on P-521, which is not supported; {p256}")),
        (fixture!("p521-sec1.key"), format!("key is ECDSA on P-521, which is not supported; {p256}")),
        (fixture!("secp256k1.key"), format!("key is ECDSA on secp256k1, which is not supported; {p256}")),
        (fixture!("brainpool.key"), format!("key is ECDSA on a rare curve, which is not supported; {p256}")),
        (fixture!("explicit.key"), format!("key is ECDSA on a curve that has no name in it, which is not supported; {p256}")),
        (fixture!("ed448.key"), format!("key is Ed448, which is not supported; {p256}")),
        (fixture!("x25519.key"), format!("key is of an unknown kind, which is not supported; {p256}")),
        (fixture!("rsa1024.key"), format!("key is RSA of 1024 bits, which is not supported; {p256}")),
        (fixture!("rsa1024-pkcs1.key"), format!("key is RSA of 1024 bits, which is not supported; {p256}")),
        (fixture!("rsa-pss.key"), format!("key is RSA restricted to PSS, which is not supported; {p256}")),
        (
            fixture!("no-public.key"),
            "key is damaged, or lacks its public part; `openssl pkey -in key -noout -check` shows more".to_owned(),
        ),
        (
            fixture!("rsa.key"),
            "key does not belong to the first certificate of chain; `openssl x509 -noout -pubkey` of the one and \
             `openssl pkey -pubout` of the other have to be the same".to_owned(),
        ),
        (b"", "key is empty; a private key in PEM is expected".to_owned()),
        (b" \r\n", "key is empty; a private key in PEM is expected".to_owned()),
        (b"secret", "key has no line with -----BEGIN; a private key in PEM is expected".to_owned()),
        (
            b"LS0tLS1CRUdJTiBQUklWQVRFIEtFWS0tLS0t",
            "key is PEM that is encoded in base64 once more; decode it, as by `base64 -d key > key.pem`".to_owned(),
        ),
        (
            &KEY[..KEY.len() - 5],
            "key cannot be read as PEM: the BEGIN or END in line 8 is damaged; copy it again from where it was made"
                .to_owned(),
        ),
        (
            &KEY[..KEY.len() - 50],
            "key cannot be read as PEM: the section that begins in line 4 has no END; copy it again from where it was made"
                .to_owned(),
        ),
    ] {
        assert_eq!(refusal(LEAF, key), expected);
    }
}

#[test]
fn what_is_wrong_with_a_chain_is_said_in_one_sentence() {
    let (second, _) = pem();
    let is = |chain: &[u8], expected: &str| assert_eq!(refusal(chain, KEY), expected);
    is(
        KEY,
        "chain has a private key in place of a certificate; perhaps chain and key are swapped",
    );
    is(
        fixture!("trusted.pem"),
        "chain has a TRUSTED CERTIFICATE of openssl in place of a certificate; `openssl x509 -in chain -out chain.pem` makes \
         one of it",
    );
    // Not passed over for another.
    is(
        &[fixture!("trusted.pem"), second.as_bytes()].concat(),
        "chain has a TRUSTED CERTIFICATE of openssl in place of a certificate; `openssl x509 -in chain -out chain.pem` makes \
         one of it",
    );
    is(
        fixture!("bundle.p7b"),
        "chain has PKCS#7 in place of a certificate; `openssl pkcs7 -print_certs -in chain -out chain.pem` takes them out",
    );
    is(
        fixture!("request.pem"),
        "chain has a certificate request in place of a certificate; an authority makes the certificate of it",
    );
    is(
        fixture!("public.pem"),
        "chain has a public key in place of a certificate",
    );
    is(
        fixture!("leaf.der"),
        "chain is a certificate in DER; a certificate in PEM is expected, as `openssl x509 -inform der -in chain -out \
         chain.pem` makes it",
    );
    is(
        fixture!("archive.p12"),
        "chain is a PKCS#12 archive in DER; a certificate in PEM is expected, as `openssl pkcs12 -nokeys -in chain -out \
         chain.pem` makes it",
    );
    is(
        fixture!("request.der"),
        "chain is a certificate request in DER; a certificate in PEM is expected",
    );
    is(
        fixture!("version1.pem"),
        "the first certificate of chain is of X.509 version 1, without names that could be verified; sign it again with \
         `openssl x509 -req … -extfile <(echo subjectAltName=DNS:<name>)`",
    );
    is(
        &[second.as_bytes(), LEAF].concat(),
        "key does not belong to the first certificate of chain but to number 2; put the certificate of this node first, and \
         each before the one that signed it",
    );
    is(
        &[
            LEAF,
            b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n",
        ]
        .concat(),
        "certificate number 2 of chain is not X.509; copy it again from where it was made",
    );
    is(b"", "chain is empty; a certificate in PEM is expected");

    let refused = |anchor| TrustAnchor::from_pem(anchor).unwrap_err().to_string();
    assert_eq!(
        refused(KEY),
        "the trust anchor has a private key in place of a certificate"
    );
    assert_eq!(
        refused(b""),
        "the trust anchor is empty; a certificate in PEM is expected"
    );
    let refused = |anchor: &[u8]| {
        TrustAnchor::from_der(anchor.to_vec())
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        refused(LEAF),
        "the trust anchor is PEM and not DER; `from_pem` reads it"
    );
    assert_eq!(
        refused(fixture!("key.der")),
        "the trust anchor has a private key in place of a certificate"
    );
    assert_eq!(
        Certificate::from_der(vec![LEAF.to_vec()], vec![])
            .unwrap_err()
            .to_string(),
        "the certificate chain is PEM and not DER; `from_pem` reads it"
    );
}

#[test]
fn what_is_wrong_with_a_file_is_said_in_one_sentence() {
    for (kind, expected) in [
        (io::ErrorKind::NotFound, "a/chain.pem does not exist"),
        (
            io::ErrorKind::PermissionDenied,
            "a/chain.pem cannot be read by the user that this process runs as; give it the permission",
        ),
        (
            io::ErrorKind::IsADirectory,
            "a/chain.pem is a directory; the path of a PEM file is expected",
        ),
        (
            io::ErrorKind::TimedOut,
            "a/chain.pem cannot be read: timed out",
        ),
    ] {
        let error = CertificateError::File {
            path: "a/chain.pem".into(),
            error: kind.into(),
        };
        assert_eq!(error.to_string(), expected);
    }
}
