//! The thread that reads the files. In a poll of the swarm, a slow file system would hold up everybody.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::{Arc, Weak},
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::{
    deadline,
    websocket::{
        CertificateError,
        certificate::date,
        certificates::{
            shared::Shared,
            watched::{Again, Outcome, Reading, Watched},
        },
    },
};

/// How large each of the files may be. A long chain has some ten thousand bytes.
pub(super) const MAX_FILE_SIZE: u64 = 1 << 20;

/// Below this, a thread would do nothing else than read.
const MIN_INTERVAL: Duration = Duration::from_millis(10);

/// How soon what was just read is read again, to see whether somebody is still writing.
const SETTLING: Duration = Duration::from_millis(100);

/// The two files of a certificate.
#[derive(Debug)]
pub(super) struct Files {
    chain: PathBuf,
    key: PathBuf,
}

impl Files {
    pub(super) fn new(chain: PathBuf, key: PathBuf) -> Self {
        Self { chain, key }
    }

    fn read(&self) -> Reading {
        let read = |path: &Path| {
            read(path).map_err(|error| Reading::Failed {
                path: path.to_owned(),
                error,
            })
        };
        match (read(&self.chain), read(&self.key)) {
            (Ok(chain), Ok(key)) => Reading::Pem { chain, key },
            (Err(failed), _) | (_, Err(failed)) => failed,
        }
    }
}

pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let metadata = fs::metadata(path)?;
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    // To open a pipe would wait for somebody who writes into it.
    if !metadata.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is not a regular file",
        ));
    }
    let mut bytes = Vec::new();
    File::open(path)?
        .take(MAX_FILE_SIZE + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_SIZE {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it has more than {MAX_FILE_SIZE} bytes"),
        ));
    }
    Ok(bytes)
}

/// Starts the thread. It ends when `shared` is gone.
pub(super) fn start(
    shared: &Arc<Shared>,
    files: Files,
    interval: Duration,
) -> io::Result<JoinHandle<()>> {
    let interval = interval.max(MIN_INTERVAL);
    let weak = Arc::downgrade(shared);
    let thread = thread::Builder::new()
        .name("certificates".to_owned())
        .spawn(move || run(&weak, &files, interval))?;
    // Each has but one.
    let _ = shared.watcher.set(thread.thread().clone());
    Ok(thread)
}

fn run(shared: &Weak<Shared>, files: &Files, interval: Duration) {
    let mut watched = Watched::default();
    loop {
        let reading = files.read();
        // Only now, and not for long: who else has it may be gone meanwhile.
        let Some(shared) = shared.upgrade() else {
            return;
        };
        let step = watched.on_read(reading, deadline::now(), deadline::wall_clock());
        if let Some(outcome) = step.outcome {
            carry_out(outcome, files, &shared);
        }
        drop(shared);
        thread::park_timeout(match step.again {
            Again::Soon => SETTLING.min(interval),
            Again::Later => interval,
        });
    }
}

fn carry_out(outcome: Outcome, files: &Files, shared: &Shared) {
    let is_served = shared.state().current.is_some();
    match outcome {
        Outcome::Accept(certificate) => {
            let valid_until = date(certificate.not_after());
            tracing::info!(chain = %files.chain.display(), %valid_until, "a new certificate is in use");
            shared.accept(certificate);
        }
        Outcome::Refuse(error) => {
            let error = error.in_files(&files.chain, &files.key);
            log(&error, is_served);
            shared.refuse(error);
        }
        Outcome::StillMissing(error) if !is_served => {
            tracing::warn!(%error, "still waiting for the files of a certificate");
        }
        Outcome::StillMissing(_) => {}
    }
}

/// `is_served` says that there is one in use, which stays.
fn log(error: &CertificateError, is_served: bool) {
    match is_served {
        false if error.is_not_found() => {
            tracing::info!(%error, "waiting for the files of a certificate");
        }
        true => tracing::warn!(%error, "refused a certificate; the one in use stays"),
        false => tracing::warn!(%error, "refused a certificate; there is none in use"),
    }
}

#[cfg(test)]
mod tests;
