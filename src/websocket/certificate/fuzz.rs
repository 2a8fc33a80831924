//! Bytes as PEM and as DER, checked against invariants.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};

use super::{
    Certificate, CertificateError, TrustAnchor,
    pem::{PemKind, sections},
};

pub(crate) fn run(data: &[u8]) {
    for error in [
        Certificate::from_pem(data, data).err(),
        Certificate::from_der(vec![data.to_vec()], data.to_vec()).err(),
        TrustAnchor::from_pem(data).err(),
        TrustAnchor::from_der(data.to_vec()).err(),
    ] {
        check(error.as_ref());
    }
    let Ok(read) = sections(data) else {
        return;
    };
    let lines = data.len() + 1;
    let mut before = 0;
    for section in &read {
        assert!((before..=lines).contains(&section.line) && section.line > 0);
        before = section.line;
        let Ok(der) = &section.der else {
            continue;
        };
        check(
            Certificate::from_der(vec![der.clone()], der.clone())
                .err()
                .as_ref(),
        );
        check(TrustAnchor::from_der(der.clone()).err().as_ref());
        if section.kind == PemKind::Certificate {
            let again = format!(
                "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----",
                STANDARD.encode(der)
            );
            let [again] = &sections(again.as_bytes()).expect("PEM")[..] else {
                panic!("one section");
            };
            assert_eq!(again.der.as_ref(), Ok(der));
        }
    }
    // Another reader finds fewer sections, and nothing else in those that can be read here: it does not mind what is in
    // the last bits.
    for der in CertificateDer::pem_slice_iter(data).flatten() {
        assert!(read.iter().any(|section| {
            section.kind == PemKind::Certificate
                && section.der.as_ref().map_or(true, |read| *read == *der)
        }));
    }
}

/// Errors are one sentence, for input of any size.
fn check(error: Option<&CertificateError>) {
    if let Some(error) = error {
        let text = error.to_string();
        assert!(text.len() < 300 && !text.contains('\n'), "{text}");
    }
}
