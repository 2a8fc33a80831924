use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::*;

const LABELS: [(&str, PemKind); 5] = [
    ("CERTIFICATE", PemKind::Certificate),
    ("EC PRIVATE KEY", PemKind::PrivateKey),
    ("ENCRYPTED PRIVATE KEY", PemKind::EncryptedPrivateKey),
    ("X509 CRL", PemKind::Other),
    ("PUBLIC KEY", PemKind::PublicKey),
];

fn write(
    sections: &[(usize, Vec<u8>)],
    width: usize,
    line_end: &str,
    between: &str,
    has_padding: bool,
) -> String {
    let mut text = between.to_owned();
    for (label, bytes) in sections {
        let label = LABELS[*label].0;
        let base64 = STANDARD.encode(bytes);
        let base64 = match has_padding {
            true => &*base64,
            false => base64.trim_end_matches('='),
        };
        text.push_str(&format!("-----BEGIN {label}-----{line_end}"));
        for line in base64.as_bytes().chunks(width) {
            text.push_str(std::str::from_utf8(line).unwrap());
            text.push_str(line_end);
        }
        text.push_str(&format!("-----END {label}-----{between}"));
    }
    text
}

fn utf16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    let units = text.encode_utf16();
    std::iter::once(0xfeff)
        .chain(units)
        .flat_map(bytes)
        .collect()
}

proptest! {
    #[test]
    fn what_is_written_is_read_however_it_is_laid_out(
        sections in prop::collection::vec((0..LABELS.len(), prop::collection::vec(any::<u8>(), 0..200)), 0..5),
        width in prop::sample::select(vec![1, 64, 76, 1000]),
        line_end in prop::sample::select(vec![
            "\n", "\r\n", "\r", "\n\n", " \t\r\n  ", "\n\x0c", " ", "", "\\n", "\\r\\n", "\\n\n",
        ]),
        between in prop::sample::select(vec![
            "", "\n", "\r", " ", "\u{feff}", "\n\n", "\nSubject: CN = a--b\n    00:ff:\\n\n", "\"\n- |\n  ☺ -----\n", "\\n",
        ]),
        has_padding in any::<bool>(),
    ) {
        let text = write(&sections, width, line_end, between, has_padding);
        for bytes in [
            text.clone().into_bytes(),
            format!("\u{feff}{text}").into_bytes(),
            utf16(&text, u16::to_le_bytes),
            utf16(&text, u16::to_be_bytes),
        ] {
            let read = super::sections(&bytes).unwrap();
            prop_assert_eq!(read.len(), sections.len());
            for (read, (label, expected)) in read.iter().zip(&sections) {
                prop_assert_eq!(read.kind, LABELS[*label].1);
                prop_assert_eq!(read.der.as_ref(), Ok(expected));
            }
        }
    }
}

#[test]
fn what_has_no_meaning_or_two_is_refused_with_its_line() {
    let good = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    let boundary = |line| PemError::Boundary { line };
    for (bad, error) in [
        ("-----BEGIN CERTIFICATE----\n", boundary(4)),
        ("-----BEGINCERTIFICATE-----\n", boundary(4)),
        ("\n-----BEGIN CERTIFICATE\n-----", boundary(5)),
        ("\r\n\r-----BEGIM CERTIFICATE-----\n", boundary(6)),
        ("-----BEGIN CERTIFIC\u{c4}TE-----\n", boundary(4)),
        ("-----END ", boundary(4)),
        (
            "-----BEGIN CERTIFICATE-----\nMAA=\n",
            PemError::NoEnd { line: 4 },
        ),
        (
            "-----BEGIN CERTIFICATE-----\nMAA=\n-----BEGIN CERTIFICATE-----\n",
            PemError::NoEnd { line: 4 },
        ),
        (
            "----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----",
            PemError::NoBegin { line: 6 },
        ),
        (
            "-----BEGIN CERTIFICATE-----\nMAA=\n-----END PRIVATE KEY-----",
            PemError::OtherEnd { line: 4 },
        ),
    ] {
        let refused = sections(format!("{good}{bad}").as_bytes()).unwrap_err();
        assert_eq!(refused, error, "{bad}");
    }
    let longest = good.replace("CERTIFICATE", &"A".repeat(MAX_LABEL));
    assert_eq!(sections(longest.as_bytes()).unwrap().len(), 1);
    let long = format!("-----BEGIN {}-----", "A".repeat(MAX_LABEL + 1));
    assert_eq!(sections(long.as_bytes()).unwrap_err(), boundary(1));

    // These are of one section alone, and the others can be used.
    for (body, error) in [
        ("M?A=", PemError::Base64 { line: 4 }),
        ("MAAA=", PemError::Base64 { line: 4 }),
        ("MA\\\nA=", PemError::Base64 { line: 4 }),
        ("M-A=", PemError::Base64 { line: 4 }),
        ("Comment: mine\n\nMAA=", PemError::Headers { line: 4 }),
    ] {
        let text = format!("{good}{}{good}", good.replace("MAA=", body));
        let [first, bad, last] = &sections(text.as_bytes()).unwrap()[..] else {
            panic!("three sections");
        };
        assert_eq!(bad.der, Err(error), "{body}");
        assert!(first.der.is_ok() && last.der.is_ok());
    }
    assert!(sections(b"").unwrap().is_empty());
    assert!(
        sections("---- BEGIN SSH2 PUBLIC KEY ----".as_bytes())
            .unwrap()
            .is_empty()
    );
}

#[test]
fn headers_that_say_so_make_a_key_an_encrypted_one() {
    let key = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nMAA=\n\
               -----END RSA PRIVATE KEY-----";
    let kinds = |text: &str| -> Vec<_> {
        let sections = sections(text.as_bytes()).unwrap();
        sections.iter().map(|section| section.kind).collect()
    };
    for text in [
        key.to_owned(),
        key.replace('\n', " "),
        key.replace('\n', ""),
    ] {
        assert_eq!(kinds(&text), [PemKind::EncryptedPrivateKey]);
    }
    assert_eq!(
        kinds(&key.replace("ENCRYPTED", "MIC-CLEAR")),
        [PemKind::PrivateKey]
    );
    assert_eq!(
        kinds(&key.replace("RSA PRIVATE KEY", "CERTIFICATE")),
        [PemKind::Certificate]
    );
}

#[test]
fn a_section_does_not_show_what_is_in_it() {
    let text = "-----BEGIN PRIVATE KEY-----\nAQIDBAUGBwgJ\n-----END PRIVATE KEY-----";
    assert_eq!(
        format!("{:?}", sections(text.as_bytes()).unwrap()),
        "[Section { kind: PrivateKey, line: 1, size: Ok(9) }]"
    );
}
