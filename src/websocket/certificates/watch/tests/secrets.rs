//! No byte of a private key is in anything that is shown, however the files are broken.

use std::{
    collections::HashSet,
    error::Error,
    fmt::{Debug, Display, Write as _},
};

use proptest::{prelude::*, sample::Index, test_runner::TestCaseResult};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject as _};

use super::*;
use crate::{
    lazy::{Missing, State},
    websocket::{Certificate, Config, TrustAnchor},
};

/// How many bytes in a row are too many.
const WINDOW: usize = 8;

/// The base64 and the DER of a private key, in all pieces of that length.
struct Secret(HashSet<[u8; WINDOW]>);

impl Secret {
    fn of(key: &str) -> Self {
        let der = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let body = key.rsplit("-----BEGIN ").next().unwrap();
        let body = body.split("-----").nth(1).unwrap();
        let flat: String = body.split_ascii_whitespace().collect();
        // The base64 in lines and in one.
        let texts = [body.as_bytes(), flat.as_bytes(), der.secret_der()];
        Self(texts.into_iter().flat_map(windows).collect())
    }

    fn is_in(&self, shown: &str) -> bool {
        let found = |bytes: &[u8]| windows(bytes).any(|window| self.0.contains(&window));
        found(shown.as_bytes())
            || found(&unescaped(shown))
            || decimals(shown).iter().any(|bytes| found(bytes))
            || hex(shown).iter().any(|bytes| found(bytes))
    }
}

fn windows(bytes: &[u8]) -> impl Iterator<Item = [u8; WINDOW]> {
    bytes
        .windows(WINDOW)
        .map(|window| window.try_into().unwrap())
}

/// What was written as in a literal.
fn unescaped(shown: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = shown.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let (byte, after) = match (byte, after) {
            (b'\\', [b'x', high, low, after @ ..]) => {
                let digits = [*high, *low];
                let digits = std::str::from_utf8(&digits).unwrap_or_default();
                (u8::from_str_radix(digits, 16).unwrap_or(b'?'), after)
            }
            (b'\\', [b'n', after @ ..]) => (b'\n', after),
            (b'\\', [b'r', after @ ..]) => (b'\r', after),
            (b'\\', [b't', after @ ..]) => (b'\t', after),
            (b'\\', [other, after @ ..]) => (*other, after),
            _ => (byte, after),
        };
        bytes.push(byte);
        rest = after;
    }
    bytes
}

/// The numbers that follow each other.
fn decimals(shown: &str) -> Vec<Vec<u8>> {
    let numbers = shown
        .split(|c: char| !c.is_ascii_digit())
        .filter(|number| !number.is_empty())
        .map(|number| number.parse::<u8>().ok())
        .collect::<Vec<_>>();
    let runs = numbers.split(Option::is_none);
    runs.map(|run| run.iter().copied().flatten().collect())
        .collect()
}

/// The digits, whatever is between them, taken in both ways.
fn hex(shown: &str) -> [Vec<u8>; 2] {
    let digits = shown
        .replace("0x", "")
        .replace("\\x", "")
        .chars()
        .filter_map(|c| c.to_digit(16))
        .map(|digit| u8::try_from(digit).unwrap())
        .collect::<Vec<_>>();
    [0, 1].map(|from| {
        let pairs = digits.get(from..).unwrap_or_default().chunks_exact(2);
        pairs.map(|pair| pair[0] << 4 | pair[1]).collect()
    })
}

#[test]
fn the_search_finds_a_key_in_every_form() {
    let (_, key) = pem(0);
    let secret = Secret::of(&key);
    let der = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let der = &der.secret_der()[20..30];
    let text = &key[60..70];
    let mut hex = String::new();
    for byte in der {
        write!(hex, "{byte:02X}").unwrap();
    }
    for shown in [
        text.to_owned(),
        format!("{text:?}"),
        format!("{:?}", text.as_bytes()),
        format!("{:02x?}", text.as_bytes()),
        format!("{:#04x?}", text.as_bytes()),
        format!("{der:?}"),
        format!("f{hex}"),
        format!("{der:#x?}")
            .replace('\n', " ")
            .replace("0x", "0x0")
            .replace("0x0", "0x"),
        der.escape_ascii().to_string(),
        hex,
    ] {
        let is_short = shown.contains("0x") && der.iter().any(|byte| *byte < 16);
        assert!(secret.is_in(&shown) || is_short, "{shown}");
    }
    assert!(!secret.is_in("waiting for certificate: chain.pem does not exist, 12 45 48"));
    // What this is all about.
    let flat = key.replace('\n', " ");
    let error = PrivateKeyDer::from_pem_slice(flat.as_bytes()).unwrap_err();
    assert!(secret.is_in(&error.to_string()) && secret.is_in(&format!("{error:?}")));
}

/// All that is shown of it.
#[derive(Default)]
struct Shown(String);

impl Shown {
    fn debug(&mut self, value: &dyn Debug) {
        write!(self.0, "{value:?} {value:#?} ").unwrap();
    }

    fn both(&mut self, value: &(impl Debug + Display)) {
        self.debug(value);
        write!(self.0, "{value} ").unwrap();
    }

    fn error(&mut self, error: &CertificateError) {
        self.both(error);
        let mut link = error.source();
        while let Some(error) = link {
            self.both(&error);
            link = error.source();
        }
    }

    /// What becomes of two files.
    fn files(&mut self, chain: &[u8], key: &[u8]) {
        let logged = logged(tracing::Level::TRACE, || self.read(chain, key));
        assert!(!logged.is_empty());
        self.0.push_str(&logged);
    }

    fn read(&mut self, chain: &[u8], key: &[u8]) {
        let files = Files::new("chain.pem".into(), "key.pem".into());
        let certificates = Certificates::new();
        let mut subscription = certificates.subscribe();
        let mut watched = Watched::default();
        for _ in 0..4 {
            let reading = Reading::Pem {
                chain: chain.to_vec(),
                key: key.to_vec(),
            };
            self.debug(&reading);
            let step = watched.on_read(reading, deadline::now(), deadline::wall_clock());
            self.debug(&(&step, &watched));
            if let Some(outcome) = step.outcome {
                carry_out(outcome, &files, &certificates.0);
            }
        }
        self.debug(&(&files, &certificates, subscription.take()));
        let last_error = certificates.last_error();
        if let Some(error) = &last_error {
            self.error(error);
        }
        self.both(&State::Waiting(Missing::Certificate {
            last_error: last_error.map(|error| error as _),
        }));
    }

    /// What becomes of the same given in the program.
    fn values(&mut self, chain: &[u8], key: &[u8]) {
        for made in [
            Certificate::from_pem(chain, key),
            Certificate::from_der(vec![chain.to_vec()], key.to_vec()),
        ] {
            self.debug(&made);
            if let Err(error) = made {
                self.error(&error);
            }
        }
        for made in [
            TrustAnchor::from_pem(chain),
            TrustAnchor::from_pem(key),
            TrustAnchor::from_der(key.to_vec()),
        ] {
            match made {
                Ok(anchor) => self.debug(&Config::default().with_trust_anchor(anchor)),
                Err(error) => self.error(&error),
            }
        }
    }
}

/// What happens to a file on its way.
#[derive(Debug, Clone)]
enum Damage {
    LineEnds(&'static str),
    Replace(&'static str, &'static str),
    CutOff(Index),
    CutOut(Index, usize),
    PutIn(Index, Vec<u8>),
    Repeat(Index, Index),
    Utf16,
    Bom,
    Indent,
    Decode,
    Encode,
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        3 => prop::sample::select(vec![" ", "", "\\n", "\\\\n", "\r", "\r\n", "\n\n", "\\\n", "\t", "|"])
            .prop_map(Damage::LineEnds),
        3 => prop::sample::select(vec![
            ("-----BEGIN", "----BEGIN"),
            ("-----BEGIN", ""),
            ("-----END", "-----EDN"),
            ("-----END", ""),
            ("PRIVATE KEY", "CERTIFICATE"),
            ("PRIVATE KEY", "RSA PRIVATE KEY"),
            ("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"),
            ("PRIVATE KEY", "PRIVAT KEY"),
            ("PRIVATE KEY", "TRUSTED CERTIFICATE"),
            ("PRIVATE KEY-----\n", "PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\n"),
            (" PRIVATE KEY-----\n", " "),
            ("BEGIN PRIVATE KEY-----\n", "BEGIN PRIVATE KEY"),
            ("-", "="),
            (" ", ""),
            ("A", "-"),
        ])
        .prop_map(|(from, to)| Damage::Replace(from, to)),
        1 => any::<Index>().prop_map(Damage::CutOff),
        2 => (any::<Index>(), 1..60usize).prop_map(|(at, count)| Damage::CutOut(at, count)),
        2 => (any::<Index>(), prop::collection::vec(any::<u8>(), 1..4))
            .prop_map(|(at, bytes)| Damage::PutIn(at, bytes)),
        1 => any::<(Index, Index)>().prop_map(|(from, to)| Damage::Repeat(from, to)),
        1 => Just(Damage::Utf16),
        1 => Just(Damage::Bom),
        1 => Just(Damage::Indent),
        1 => Just(Damage::Decode),
        1 => Just(Damage::Encode),
    ]
}

impl Damage {
    fn apply(&self, file: Vec<u8>) -> Vec<u8> {
        use base64::{Engine as _, engine::general_purpose::STANDARD};

        let replace = |from: &str, to: &str| {
            // All that is here can be read as Latin-1.
            let text = file
                .iter()
                .map(|byte| char::from(*byte))
                .collect::<String>();
            let text = text.replace(from, to);
            text.chars().map(|c| u8::try_from(c).unwrap()).collect()
        };
        let place = |index: &Index| index.index(file.len() + 1);
        match self {
            Self::LineEnds(to) => replace("\n", to),
            Self::Replace(from, to) => replace(from, to),
            Self::CutOff(at) => file[..place(at)].to_vec(),
            Self::CutOut(at, count) => {
                let (before, after) = file.split_at(place(at));
                [before, &after[*count.min(&after.len())..]].concat()
            }
            Self::PutIn(at, bytes) => {
                let (before, after) = file.split_at(place(at));
                [before, bytes, after].concat()
            }
            Self::Repeat(from, to) => [&file[..place(from)], &file[place(to)..]].concat(),
            Self::Utf16 => {
                let units = file.iter().flat_map(|byte| [*byte, 0]);
                [0xff, 0xfe].into_iter().chain(units).collect()
            }
            Self::Bom => [&[0xef, 0xbb, 0xbf], &*file].concat(),
            Self::Indent => replace("\n", "\n    "),
            Self::Decode => match PrivateKeyDer::from_pem_slice(&file) {
                Ok(der) => der.secret_der().to_vec(),
                Err(_) => file,
            },
            Self::Encode => STANDARD.encode(&file).into_bytes(),
        }
    }
}

fn check(chain: &str, key: &str, damages: &[Damage], halves: [bool; 2]) -> TestCaseResult {
    let secret = Secret::of(key);
    let damaged = damages
        .iter()
        .fold(key.as_bytes().to_vec(), |file, damage| damage.apply(file));
    let chain = chain.as_bytes();
    let both = [chain, &damaged].concat();
    // The key where it belongs, where the chain belongs, and in one file with it.
    let (chain, key) = match halves {
        [false, false] => (chain, &damaged),
        [false, true] => (&*damaged, &damaged),
        [true, false] => (&*both, &both),
        [true, true] => (&*damaged, &both),
    };
    let mut shown = Shown::default();
    shown.files(chain, key);
    shown.values(chain, key);
    prop_assert!(!secret.is_in(&shown.0), "{}", shown.0);
    Ok(())
}

proptest! {
    #[test]
    fn no_part_of_a_private_key_is_shown_whatever_is_wrong_with_its_file(
        damages in prop::collection::vec(damage(), 0..4),
        halves in any::<[bool; 2]>(),
        which in 0..3usize,
    ) {
        let (chain, key) = pem(0);
        let key = match which {
            0 => &*key,
            1 => include_str!("../../../../../tests/fixtures/pem/rsa.key"),
            _ => include_str!("../../../../../tests/fixtures/pem/ec-params.key"),
        };
        check(&chain, key, &damages, halves)?;
    }
}
