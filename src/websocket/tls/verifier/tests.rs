use std::{io, time::Duration};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair,
};
use rustls::crypto::ring;

use super::*;
use crate::websocket::TlsError;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// As `openssl req -x509 -newkey rsa:2048 -nodes -days 36500 -subj /CN=localhost
/// -addext subjectAltName=DNS:localhost,IP:127.0.0.1` makes it.
const BY_OPENSSL: &str = "\
-----BEGIN CERTIFICATE-----
MIIDJzCCAg+gAwIBAgIUadZMaHyyIisvKdh8vgiHdi1oWjEwDQYJKoZIhvcNAQEL
BQAwFDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyOTIyMjI1NFoYDzIxMjYx
MTA1MjIyMjU0WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwggEiMA0GCSqGSIb3DQEB
AQUAA4IBDwAwggEKAoIBAQCRc3s6j120VuujVoH39oaRfne0alPWe4n0eYtr4V09
lQhccS6AhcP6oR9zp5A8nhyckH5sVpbRUutsg7xIwqY8FA4BAjxf7L6bsdy4xykd
/rUssWUtkdWK4YM6cvp+2CmN3Aou6Zlry94RHtE0mOv9/g8HvLPpJy59RFxfhKP/
dRZTdyyHVlVv77BwfaXvmhGbBpfuGFZGv9QJuP5+hhQn2rclz9EL40t/G/4bk7uX
B8CZ/l8zRtBMlJ118eH9dbD9fRXV7Rtkim0vCYS3cVPKaD+QoWVI8NHp1vkl97Gd
51pOU+Y563/MSXoCkd8HoHc4wiIq73GBx5SPJ/m2rLPZAgMBAAGjbzBtMB0GA1Ud
DgQWBBSRY63NcVrj1A0yZxcOZqRXuHh5ZjAfBgNVHSMEGDAWgBSRY63NcVrj1A0y
ZxcOZqRXuHh5ZjAPBgNVHRMBAf8EBTADAQH/MBoGA1UdEQQTMBGCCWxvY2FsaG9z
dIcEfwAAATANBgkqhkiG9w0BAQsFAAOCAQEAMUnlLRPQJSJ6WElp7B2lhWl3JT31
PA8ld6u4OAa7/Lvp+fgsZK+xknNYkyD1HE4HGvWxhuWpfsrLlaDjUaQsLyojEbJ9
AnjCYDxRl3+sQJpJv3HGHKo+LHJHkK2FnQPqCoeZrouk6ntIrVGxDFn4ax8Bd8Uz
WToFSSqUIfPiJhPgKYp/O/W8dlTPoyBVDTGXZDg6la+MQ07KYmnz7md9FiJecLXi
jMQGuE/f81o76/o+LKcIxq8MrvRg8Y0Ob7T1N/fzMAlg3FSLGeP/A+/rTv/08BFU
FVgttWWm31nxnplYsowkMvCzxzfQcSYPZK8bfGY6PlYPK2XfTUtFABuaLA==
-----END CERTIFICATE-----
";

/// When that one is valid, in seconds since 1970.
const DATES_BY_OPENSSL: [u64; 2] = [1_795_990_974, 4_949_590_974];

/// As `openssl x509 -req` makes it without extensions.
const VERSION_1: &str = "\
-----BEGIN CERTIFICATE-----
MIIBJTCBywIUHIJIOf7l9iHu3QeiD3IG7XjjSLowCgYIKoZIzj0EAwIwFDESMBAG
A1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyOTIyMjI1NFoYDzIxMjYxMTA1MjIyMjU0
WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC
AAQEmuVW88hW1qi51L1YO/UyLVf3DhCOgWzItpUhM8atllvNv+UnkrVXQw4nSxvL
pGRuQ37hFYjJemdFOPc7ce1jMAoGCCqGSM49BAMCA0kAMEYCIQD9HPHTwiESYp0m
3isEz6vPH+jRl0sCSEEGro7JI1kcvwIhAMunMOIKX+4JNKDnBKcDzQ86nHfyQhK+
1FwdG6QivkeF
-----END CERTIFICATE-----
";

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(DATES_BY_OPENSSL[0]) + 100 * DAY
}

/// One that has signed itself, as an authority, for a day before and after [`now`].
fn parameters() -> CertificateParams {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let mut parameters = CertificateParams::new(names).unwrap();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.not_before = (now() - DAY).into();
    parameters.not_after = (now() + DAY).into();
    parameters
}

fn self_signed(parameters: CertificateParams) -> TrustAnchor {
    let key = KeyPair::generate().unwrap();
    let certificate = parameters.self_signed(&key).unwrap();
    TrustAnchor::from_der(certificate.der().to_vec()).unwrap()
}

fn from_pem(pem: &str) -> TrustAnchor {
    TrustAnchor::from_pem(pem.as_bytes()).unwrap()
}

/// The result of a dial to a peer that presents `chain`.
fn verify(
    anchors: &[TrustAnchor],
    chain: &[CertificateDer<'_>],
    name: &str,
    time: SystemTime,
) -> Result<(), TlsError> {
    let browsers = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    let verifier = Verifier::new(anchors, browsers, ring::default_provider().into());
    let name = ServerName::try_from(name).unwrap();
    verifier
        .verify_server_cert(&chain[0], &chain[1..], &name, &[], unix_time(time))
        .map(|_| ())
        .map_err(|error| io::Error::other(error).into())
}

fn verify_own(anchor: &TrustAnchor, name: &str, time: SystemTime) -> Result<(), TlsError> {
    verify(
        std::slice::from_ref(anchor),
        &[anchor.der().clone()],
        name,
        time,
    )
}

#[test]
fn an_anchor_is_accepted_as_the_certificate_of_a_peer() {
    let mut no_authority = parameters();
    no_authority.is_ca = IsCa::NoCa;
    let mut for_servers = parameters();
    for_servers.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    for anchor in [
        from_pem(BY_OPENSSL),
        self_signed(parameters()),
        self_signed(no_authority),
        self_signed(for_servers),
    ] {
        for name in ["localhost", "127.0.0.1"] {
            verify_own(&anchor, name, now()).unwrap();
        }
        // The others change nothing.
        let others = [self_signed(parameters()), anchor.clone()];
        verify(&others, &[anchor.der().clone()], "localhost", now()).unwrap();
    }
}

#[test]
fn an_anchor_that_somebody_else_has_signed_is_accepted_too() {
    let (authority_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let authority = Issuer::new(CertificateParams::default(), authority_key);
    let signed = parameters().signed_by(&key, &authority).unwrap();
    let anchor = TrustAnchor::from_der(signed.der().to_vec()).unwrap();
    verify_own(&anchor, "localhost", now()).unwrap();
}

#[test]
fn the_names_of_an_anchor_are_checked() {
    for anchor in [from_pem(BY_OPENSSL), self_signed(parameters())] {
        for name in ["example.com", "127.0.0.2", "sub.localhost", "::1"] {
            let refused = verify_own(&anchor, name, now()).unwrap_err();
            let TlsError::NotValidForName {
                expected,
                presented,
            } = &refused
            else {
                panic!("{name}: {refused:?}");
            };
            assert_eq!(expected, name);
            assert_eq!(presented.len(), 2);
            assert!(refused.to_string().contains("localhost"), "{refused}");
        }
    }
    let mut nameless = parameters();
    nameless.subject_alt_names.clear();
    let refused = verify_own(&self_signed(nameless), "localhost", now()).unwrap_err();
    assert!(matches!(refused, TlsError::NoSubjectAltName), "{refused:?}");
}

#[test]
fn the_dates_of_an_anchor_are_checked() {
    let anchor = from_pem(BY_OPENSSL);
    let second = Duration::from_secs(1);
    let [not_before, not_after] =
        DATES_BY_OPENSSL.map(|s| SystemTime::UNIX_EPOCH + Duration::from_secs(s));
    for good in [not_before, not_after] {
        verify_own(&anchor, "localhost", good).unwrap();
    }
    let early = verify_own(&anchor, "localhost", not_before - second).unwrap_err();
    assert!(matches!(early, TlsError::NotYetValid { not_before: n } if n == not_before));
    let late = verify_own(&anchor, "localhost", not_after + second).unwrap_err();
    assert!(matches!(late, TlsError::Expired { not_after: n } if n == not_after));
    assert_eq!(
        late.to_string(),
        "the peer's certificate expired on Nov  5 22:22:54 2126 +00:00, by the clock of this host"
    );
}

#[test]
fn one_of_version_1_is_refused_even_as_an_anchor() {
    let refused = verify_own(&from_pem(VERSION_1), "localhost", now()).unwrap_err();
    assert!(
        matches!(refused, TlsError::UnsupportedCertVersion),
        "{refused:?}"
    );
}

#[test]
fn an_anchor_that_is_not_for_servers_is_none() {
    for is_ca in [IsCa::Ca(BasicConstraints::Unconstrained), IsCa::NoCa] {
        let mut parameters = parameters();
        parameters.is_ca = is_ca;
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        verify_own(&self_signed(parameters), "localhost", now()).unwrap_err();
    }
}

#[test]
fn nobody_else_gains_by_an_anchor() {
    let anchor = from_pem(BY_OPENSSL);
    let anchors = std::slice::from_ref(&anchor);
    // The same names and dates, another key.
    let other = self_signed(parameters());
    let refused = verify(anchors, &[other.der().clone()], "localhost", now()).unwrap_err();
    assert!(
        matches!(refused, TlsError::CaUsedAsEndEntity),
        "{refused:?}"
    );
    let mut no_authority = parameters();
    no_authority.is_ca = IsCa::NoCa;
    let other = self_signed(no_authority);
    let refused = verify(anchors, &[other.der().clone()], "localhost", now()).unwrap_err();
    assert!(matches!(refused, TlsError::UnknownIssuer), "{refused:?}");
    // The anchor behind it.
    let chain = [other.der().clone(), anchor.der().clone()];
    let refused = verify(anchors, &chain, "localhost", now()).unwrap_err();
    assert!(matches!(refused, TlsError::UnknownIssuer), "{refused:?}");
    // One bit of it is another one.
    for index in [0, anchor.der().len() / 2, anchor.der().len() - 1] {
        let mut bytes = anchor.der().to_vec();
        bytes[index] ^= 1;
        verify(anchors, &[bytes.into()], "localhost", now()).unwrap_err();
    }
}

#[test]
fn a_trust_anchor_of_an_older_key_is_named_as_the_likely_reason() {
    let renewed = || {
        let mut parameters = parameters();
        parameters.is_ca = IsCa::NoCa;
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        self_signed(parameters)
    };
    let (old, new) = (renewed(), renewed());
    let refused = verify(&[old], &[new.der().clone()], "localhost", now()).unwrap_err();
    assert!(matches!(refused, TlsError::BadSignature), "{refused:?}");
    let text = refused.to_string();
    assert!(text.contains("the peer has a new key"), "{text}");
}

#[test]
fn what_an_anchor_has_signed_is_left_to_webpki() {
    let key = KeyPair::generate().unwrap();
    let authority = CertifiedIssuer::self_signed(parameters(), key).unwrap();
    let anchor = TrustAnchor::from_der(authority.der().to_vec()).unwrap();
    let anchors = std::slice::from_ref(&anchor);
    let sign = |is_ca: IsCa| {
        let mut leaf = parameters();
        leaf.is_ca = is_ca;
        leaf.distinguished_name = rcgen::DistinguishedName::new();
        let signed = leaf.signed_by(&KeyPair::generate().unwrap(), &authority);
        signed.unwrap().der().clone()
    };
    let leaf = sign(IsCa::NoCa);
    verify(anchors, std::slice::from_ref(&leaf), "localhost", now()).unwrap();
    let chain = [leaf.clone(), anchor.der().clone()];
    verify(anchors, &chain, "localhost", now()).unwrap();
    let refused = verify(&[], &chain, "localhost", now()).unwrap_err();
    assert!(matches!(refused, TlsError::UnknownIssuer), "{refused:?}");
    let refused = verify(anchors, &[leaf], "example.com", now()).unwrap_err();
    assert!(
        matches!(refused, TlsError::NotValidForName { .. }),
        "{refused:?}"
    );

    let below = sign(IsCa::Ca(BasicConstraints::Unconstrained));
    let refused = verify(anchors, &[below], "localhost", now()).unwrap_err();
    assert!(
        matches!(refused, TlsError::CaUsedAsEndEntity),
        "{refused:?}"
    );
}

#[test]
fn what_is_no_certificate_is_refused() {
    let anchor = from_pem(BY_OPENSSL);
    for garbage in [&[][..], &[0x30, 0x80], b"-----BEGIN CERTIFICATE-----"] {
        verify(
            std::slice::from_ref(&anchor),
            &[garbage.into()],
            "localhost",
            now(),
        )
        .unwrap_err();
    }
}
