//! Recognises the kind of a DER structure, for errors. Served certificates are read by rustls.

use std::fmt;

use rustls::pki_types::PrivateKeyDer;
use x509_parser::{
    asn1_rs::{Any, FromDer as _, Tag},
    certification_request::X509CertificationRequest,
    prelude::X509Certificate,
};

use super::pem::PemKind;

/// The kind of a private key with which TLS connections cannot be accepted. ECDSA on P-256 and P-384, Ed25519, and RSA of
/// 2048 to 4096 bits are supported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum UnsupportedKey {
    /// RSA of another size.
    #[non_exhaustive]
    Rsa {
        /// Of its modulus.
        bits: usize,
    },
    /// RSA that is restricted to RSASSA-PSS.
    RsaPss,
    /// ECDSA on P-521.
    P521,
    /// ECDSA on secp256k1.
    Secp256k1,
    /// ECDSA on another curve.
    OtherCurve,
    /// ECDSA on a curve whose parameters are written out in place of its name.
    ExplicitCurve,
    /// Ed448.
    Ed448,
    /// Anything else.
    Other,
}

impl fmt::Display for UnsupportedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rsa { bits } => return write!(f, "RSA of {bits} bits"),
            Self::RsaPss => "RSA restricted to PSS",
            Self::P521 => "ECDSA on P-521",
            Self::Secp256k1 => "ECDSA on secp256k1",
            Self::OtherCurve => "ECDSA on a rare curve",
            Self::ExplicitCurve => "ECDSA on a curve that has no name in it",
            Self::Ed448 => "Ed448",
            Self::Other => "of an unknown kind",
        })
    }
}

/// The kind of this structure; `None` if it is not recognised.
pub(super) fn kind(der: &[u8]) -> Option<PemKind> {
    // With an indefinite length, as BER allows and some archives have.
    if der.starts_with(&[0x30, 0x80, 2, 1, 3]) {
        return Some(PemKind::Pkcs12);
    }
    let elements = elements(der)?;
    Some(match elements.as_slice() {
        [version, contents, ..]
            if is_integer(version) && version.data == [3] && oid_in(contents) == PKCS7_DATA =>
        {
            PemKind::Pkcs12
        }
        [first, ..] if oid(first) == PKCS7_SIGNED => PemKind::Pkcs7,
        [algorithm, key] if algorithm.tag() == Tag::Sequence && key.tag() == Tag::OctetString => {
            PemKind::EncryptedPrivateKey
        }
        [algorithm, key] if algorithm.tag() == Tag::Sequence && key.tag() == Tag::BitString => {
            PemKind::PublicKey
        }
        _ if PrivateKeyDer::try_from(der).is_ok() => PemKind::PrivateKey,
        _ if X509Certificate::from_der(der).is_ok() => PemKind::Certificate,
        _ if X509CertificationRequest::from_der(der).is_ok() => PemKind::CertificateRequest,
        _ => return None,
    })
}

/// The unsupported kind of this private key; `None` if the kind is supported, or it is no private key.
pub(super) fn unsupported_key(der: &[u8]) -> Option<UnsupportedKey> {
    match elements(der)?.as_slice() {
        // PKCS#8.
        [version, algorithm, key, ..]
            if is_integer(version) && algorithm.tag() == Tag::Sequence =>
        {
            let parameters = children(algorithm.data);
            match oid_in(algorithm).as_str() {
                "1.2.840.113549.1.1.1" => unsupported_size(elements(key.data)?.get(1)?),
                "1.2.840.113549.1.1.10" => Some(UnsupportedKey::RsaPss),
                "1.2.840.10045.2.1" => unsupported_curve(parameters.get(1)?),
                "1.3.101.112" => None,
                "1.3.101.113" => Some(UnsupportedKey::Ed448),
                _ => Some(UnsupportedKey::Other),
            }
        }
        // SEC1, with the curve as an explicitly tagged element.
        [version, key, curve, ..] if is_integer(version) && key.tag() == Tag::OctetString => {
            unsupported_curve(children(curve.data).first()?)
        }
        // PKCS#1.
        [version, modulus, ..] if is_integer(version) => unsupported_size(modulus),
        _ => None,
    }
}

const PKCS7_DATA: &str = "1.2.840.113549.1.7.1";
const PKCS7_SIGNED: &str = "1.2.840.113549.1.7.2";

fn unsupported_curve(curve: &Any<'_>) -> Option<UnsupportedKey> {
    match oid(curve).as_str() {
        "1.2.840.10045.3.1.7" | "1.3.132.0.34" => None,
        "1.3.132.0.35" => Some(UnsupportedKey::P521),
        "1.3.132.0.10" => Some(UnsupportedKey::Secp256k1),
        "" => Some(UnsupportedKey::ExplicitCurve),
        _ => Some(UnsupportedKey::OtherCurve),
    }
}

fn unsupported_size(modulus: &Any<'_>) -> Option<UnsupportedKey> {
    let zeros = modulus.data.iter().take_while(|&&byte| byte == 0).count();
    let digits = modulus.data.get(zeros..)?;
    let bits = digits.len() * 8 - digits.first()?.leading_zeros() as usize;
    (!(2048..=4096).contains(&bits)).then_some(UnsupportedKey::Rsa { bits })
}

/// The elements of the SEQUENCE that spans the whole input.
fn elements(der: &[u8]) -> Option<Vec<Any<'_>>> {
    let (rest, sequence) = Any::from_der(der).ok()?;
    (sequence.tag() == Tag::Sequence && rest.is_empty()).then(|| children(sequence.data))
}

/// The readable elements, at most as many as the longest of these structures has.
fn children(mut der: &[u8]) -> Vec<Any<'_>> {
    let next = || {
        let (rest, element) = Any::from_der(der).ok()?;
        der = rest;
        Some(element)
    };
    std::iter::from_fn(next).take(10).collect()
}

fn is_integer(element: &Any<'_>) -> bool {
    element.tag() == Tag::Integer
}

/// An object identifier in dotted form; empty if it is none.
fn oid(element: &Any<'_>) -> String {
    match element.as_oid() {
        Ok(oid) if element.tag() == Tag::Oid => oid.to_id_string(),
        _ => String::new(),
    }
}

/// The object identifier at the beginning of a SEQUENCE.
fn oid_in(sequence: &Any<'_>) -> String {
    children(sequence.data).first().map(oid).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTEGER: u8 = 0x02;
    const BITS: u8 = 0x03;
    const OCTETS: u8 = 0x04;
    const OID: u8 = 0x06;
    const SEQUENCE: u8 = 0x30;
    const SET: u8 = 0x31;
    const TAGGED: u8 = 0xa0;

    const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
    const P521: &[u8] = &[0x2b, 0x81, 4, 0, 0x23];
    const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
    const ED448: &[u8] = &[0x2b, 0x65, 0x71];

    fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&[tag, 0x82], &length[..], &content].concat()
    }

    #[test]
    fn what_is_no_key_and_no_certificate_is_recognised_by_its_beginning() {
        let pkcs7 = |last| element(OID, &[&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, last]]);
        let (data, signed) = (pkcs7(1), pkcs7(2));
        let number = |tag, number| element(tag, &[&[number]]);
        let in_sequence = |parts: &[&[u8]]| element(SEQUENCE, parts);
        let archive = |version: &[u8], oid: &[u8]| in_sequence(&[version, &in_sequence(&[oid])]);
        let algorithm = in_sequence(&[&element(OID, &[RSA])]);
        let pair = |first: &[u8], tag| in_sequence(&[first, &element(tag, &[&[0; 8]])]);
        for (der, expected) in [
            (archive(&number(INTEGER, 3), &data), Some(PemKind::Pkcs12)),
            (archive(&number(INTEGER, 2), &data), None),
            (archive(&number(OCTETS, 3), &data), None),
            (archive(&number(INTEGER, 3), &signed), None),
            (in_sequence(&[&signed]), Some(PemKind::Pkcs7)),
            (in_sequence(&[&data]), None),
            (element(SET, &[&signed]), None),
            ([in_sequence(&[&signed]), vec![0]].concat(), None),
            (pair(&algorithm, OCTETS), Some(PemKind::EncryptedPrivateKey)),
            (pair(&algorithm, BITS), Some(PemKind::PublicKey)),
            (pair(&algorithm, INTEGER), None),
            (pair(&data, OCTETS), None),
            (pair(&data, BITS), None),
        ] {
            assert_eq!(kind(&der), expected, "{der:x?}");
        }
    }

    #[test]
    fn a_key_is_unsupported_by_its_size_or_its_curve_in_each_of_its_forms() {
        let number = |tag, number| element(tag, &[&[number]]);
        let in_sequence = |parts: &[&[u8]]| element(SEQUENCE, parts);
        // The version of a form that is none has another tag.
        let pkcs1 = |version, bits: usize| {
            let mut modulus = vec![0xff; bits.div_ceil(8)];
            modulus[0] >>= modulus.len() * 8 - bits;
            let modulus = element(INTEGER, &[&[0], &modulus]);
            in_sequence(&[&number(version, 0), &modulus])
        };
        let pkcs8 = |version, oid: &[u8], key: &[u8]| {
            let algorithm = in_sequence(&[&element(OID, &[oid])]);
            in_sequence(&[&number(version, 0), &algorithm, &element(OCTETS, &[key])])
        };
        let sec1 = |version, oid: &[u8]| {
            let curve = element(TAGGED, &[&element(OID, &[oid])]);
            in_sequence(&[&number(version, 1), &number(OCTETS, 7), &curve])
        };
        for (bits, is_supported) in [(2047, false), (2048, true), (4096, true), (4097, false)] {
            let expected = (!is_supported).then_some(UnsupportedKey::Rsa { bits });
            let key = pkcs1(INTEGER, bits);
            assert_eq!(unsupported_key(&pkcs8(INTEGER, RSA, &key)), expected);
            assert_eq!(unsupported_key(&key), expected);
            assert_eq!(unsupported_key(&pkcs1(OCTETS, bits)), None);
        }
        let p521 = Some(UnsupportedKey::P521);
        assert_eq!(unsupported_key(&sec1(INTEGER, P521)), p521);
        assert_eq!(unsupported_key(&sec1(OCTETS, P521)), None);
        for (oid, expected) in [
            (ED25519, None),
            (ED448, Some(UnsupportedKey::Ed448)),
            (P521, Some(UnsupportedKey::Other)),
        ] {
            assert_eq!(unsupported_key(&pkcs8(INTEGER, oid, &[])), expected);
            assert_eq!(unsupported_key(&pkcs8(OCTETS, oid, &[])), None);
        }
    }
}
