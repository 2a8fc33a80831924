//! What becomes of what is read from the files.

use std::{fmt, io, path::PathBuf, time::Duration};

use crate::{
    deadline::{Instant, SystemTime},
    websocket::{Certificate, CertificateError},
};

/// How long a file may be missing before that is worth a warning: whoever starts first waits for the other.
const MISSING_FOR_LONG: Duration = Duration::from_secs(10);

/// What the two files hold.
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

    fn is_missing(&self) -> bool {
        matches!(self, Self::Failed { error, .. } if error.kind() == io::ErrorKind::NotFound)
    }

    fn certificate(&self) -> Result<Certificate, CertificateError> {
        match self {
            Self::Pem { chain, key } => Certificate::from_pem(chain, key),
            Self::Failed { path, error } => Err(CertificateError::File {
                path: path.clone(),
                error: match error.raw_os_error() {
                    Some(code) => io::Error::from_raw_os_error(code),
                    None => io::Error::new(error.kind(), error.to_string()),
                },
            }),
        }
    }
}

// What is read may be a private key.
impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pem { .. } => f.debug_struct("Pem").finish_non_exhaustive(),
            Self::Failed { path, error } => f
                .debug_struct("Failed")
                .field("path", path)
                .field("error", error)
                .finish(),
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
    /// It was read twice, first at that time, and is to be refused unless it is the middle of an exchange.
    Doubtful(CertificateError, Instant),
    /// It is good but for its dates, and was refused for them.
    Untimely(Certificate),
    /// A file was missing then, which was told.
    Missing { since: Instant },
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
    /// What was refused for this has been missing for long.
    StillMissing(CertificateError),
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
    /// This was read now, at this time of day.
    pub(super) fn on_read(&mut self, reading: Reading, now: Instant, date: SystemTime) -> Step {
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
                Ok(certificate) => match certificate.check_dates(date) {
                    Ok(()) => (Stage::Settled, Some(Outcome::Accept(certificate))),
                    Err(error) => (Stage::Untimely(certificate), Some(Outcome::Refuse(error))),
                },
                Err(error) => (Stage::Doubtful(error, now), None),
            },
            Stage::Doubtful(error, since) if last.is_missing() => {
                (Stage::Missing { since }, Some(Outcome::Refuse(error)))
            }
            Stage::Doubtful(error, _) => (Stage::Settled, Some(Outcome::Refuse(error))),
            Stage::Missing { since }
                if now.saturating_duration_since(since) >= MISSING_FOR_LONG =>
            {
                let error = last.certificate().err();
                (Stage::Settled, error.map(Outcome::StillMissing))
            }
            Stage::Missing { since } => (Stage::Missing { since }, None),
            Stage::Untimely(certificate) => match certificate.check_dates(date) {
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
