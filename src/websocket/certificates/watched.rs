//! What becomes of what is read from the files.

use std::{io, path::PathBuf};

use crate::{
    deadline::SystemTime,
    websocket::{Certificate, CertificateError},
};

/// What the two files hold.
#[derive(Debug)]
pub(super) enum Reading {
    Pem { chain: Vec<u8>, key: Vec<u8> },
    Failed { path: PathBuf, error: io::Error },
}

impl Reading {
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Pem { chain, key },
                Self::Pem {
                    chain: other_chain,
                    key: other_key,
                },
            ) => chain == other_chain && key == other_key,
            (
                Self::Failed { path, error },
                Self::Failed {
                    path: other_path,
                    error: other_error,
                },
            ) => path == other_path && error.kind() == other_error.kind(),
            _ => false,
        }
    }

    fn certificate(&self) -> Result<Certificate, CertificateError> {
        match self {
            Self::Pem { chain, key } => Certificate::from_pem(chain, key),
            Self::Failed { path, error } => Err(CertificateError::File {
                path: path.clone(),
                source: match error.raw_os_error() {
                    Some(code) => io::Error::from_raw_os_error(code),
                    None => io::Error::new(error.kind(), error.to_string()),
                },
            }),
        }
    }
}

/// Follows what is read, and decides what is used and what is refused, once for each that is read.
#[derive(Debug, Default)]
pub(super) struct Watched {
    last: Option<Reading>,
    stage: Stage,
}

/// How far it has come with what was read last.
#[derive(Debug, Default)]
enum Stage {
    /// It was read once, and may be half-written.
    #[default]
    Fresh,
    /// It was read twice, and is to be refused unless it is the middle of an exchange.
    Doubtful(CertificateError),
    /// It is good but for its dates, and was refused for them.
    Untimely(Certificate),
    /// It was accepted or refused.
    Settled,
}

/// What to do after a reading.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) outcome: Option<Outcome>,
    pub(super) again: Again,
}

#[derive(Debug)]
pub(super) enum Outcome {
    Accept(Certificate),
    Refuse(CertificateError),
}

/// When to read the next time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// After a moment in which somebody who is writing would go on.
    Soon,
    /// After the interval.
    Later,
}

impl Watched {
    /// This was read, at this time of day.
    pub(super) fn on_read(&mut self, reading: Reading, now: SystemTime) -> Step {
        let last = match &self.last {
            Some(last) if last.is_same(&reading) => last,
            _ => {
                self.last = Some(reading);
                self.stage = Stage::Fresh;
                return Step {
                    outcome: None,
                    again: Again::Soon,
                };
            }
        };
        let (stage, outcome) = match std::mem::replace(&mut self.stage, Stage::Settled) {
            Stage::Fresh => match last.certificate() {
                Ok(certificate) => match certificate.check_dates(now) {
                    Ok(()) => (Stage::Settled, Some(Outcome::Accept(certificate))),
                    Err(error) => (Stage::Untimely(certificate), Some(Outcome::Refuse(error))),
                },
                Err(error) => (Stage::Doubtful(error), None),
            },
            Stage::Doubtful(error) => (Stage::Settled, Some(Outcome::Refuse(error))),
            Stage::Untimely(certificate) => match certificate.check_dates(now) {
                Ok(()) => (Stage::Settled, Some(Outcome::Accept(certificate))),
                Err(_) => (Stage::Untimely(certificate), None),
            },
            Stage::Settled => (Stage::Settled, None),
        };
        self.stage = stage;
        Step {
            outcome,
            again: Again::Later,
        }
    }
}

#[cfg(test)]
mod tests;
