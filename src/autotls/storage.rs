//! What outlives the process: the key of the account, the key of the certificate that is being ordered, and the certificate
//! with its key.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::autotls::{
    config::Config,
    error::{Error, printable},
    name::Name,
};

/// The private key of the account at the ACME server, in PEM.
pub(super) const ACCOUNT_KEY: &str = "account-key.pem";
/// The private key of the next certificate, in PEM. It is stored before the order, so that a crash leaves no certificate
/// without it.
pub(super) const NEXT_KEY: &str = "next-key.pem";
/// The private key of the certificate and its chain, in PEM. In one file, so that they always belong together.
pub(super) const CERTIFICATE: &str = "certificate.pem";

const MAX_FILE: u64 = 1024 * 1024;

/// What is not allowed in the name of a file somewhere, or would make two names of one.
const RESERVED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'%')
    .add(b'*')
    .add(b'/')
    .add(b':')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'\\')
    .add(b'|');

/// The folder of one node, one domain and one ACME server. Without one, nothing is found and nothing is kept.
pub(super) struct Storage {
    folder: Option<PathBuf>,
}

impl Storage {
    pub(super) fn new(config: &Config, name: &Name) -> Self {
        let encoded = |text: &str| utf8_percent_encode(text, RESERVED).to_string();
        let domain = name.base().split_once('.').map_or("", |(_, domain)| domain);
        let folder = config.storage.as_ref().map(|folder| {
            folder
                .join(encoded(&config.acme_directory))
                .join(encoded(domain))
                .join(name.label())
        });
        Self { folder }
    }

    /// The file, if there is one.
    ///
    /// # Errors
    ///
    /// If it is there and cannot be read. Such a file stays where it is.
    pub(super) fn read(&self, file: &str) -> Result<Option<Vec<u8>>, Error> {
        let Some(path) = self.path(file) else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        let read = File::open(&path).and_then(|file| file.take(MAX_FILE).read_to_end(&mut bytes));
        match read {
            Ok(_) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(path, &error)),
        }
    }

    /// Replaces the file, which is there as a whole or not at all.
    pub(super) fn write(&self, file: &str, content: &str) -> Result<(), Error> {
        let (Some(folder), Some(path)) = (&self.folder, self.path(file)) else {
            return Ok(());
        };
        create(folder).map_err(|error| failed(folder.clone(), &error))?;
        let new = folder.join(format!("{file}.new"));
        let written = replace(&new, &path, content);
        written.map_err(|error| {
            // It may not even be there.
            let _ = fs::remove_file(&new);
            failed(path, &error)
        })
    }

    /// Fails if nothing could be stored, which is better known before a certificate is ordered than after.
    pub(super) fn check(&self) -> Result<(), Error> {
        const PROBE: &str = "probe";

        self.write(PROBE, "")?;
        self.remove(PROBE);
        Ok(())
    }

    /// Forgets the file, if it can.
    pub(super) fn remove(&self, file: &str) {
        if let Some(path) = self.path(file) {
            let _ = fs::remove_file(path);
        }
    }

    /// Takes a file that cannot be used out of the way, and says so.
    pub(super) fn set_aside(&self, file: &str, reason: &str) -> Error {
        let path = self.path(file).unwrap_or_default();
        let mut to = path.clone().into_os_string();
        to.push(".refused");
        let to = PathBuf::from(to);
        match fs::rename(&path, &to) {
            Ok(()) => Error::SetAside {
                path,
                to,
                reason: printable(reason),
            },
            Err(error) => {
                let reason = format!("{reason}, and it cannot be renamed: {error}");
                let reason = printable(&reason);
                Error::Storage { path, reason }
            }
        }
    }

    fn path(&self, file: &str) -> Option<PathBuf> {
        Some(self.folder.as_ref()?.join(file))
    }
}

fn failed(path: PathBuf, error: &io::Error) -> Error {
    let reason = printable(&error.to_string());
    Error::Storage { path, reason }
}

fn create(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(folder)
}

fn replace(new: &Path, path: &Path, content: &str) -> io::Result<()> {
    // One that a crash has left may be readable by others.
    match fs::remove_file(new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.write(true).create_new(true).open(new)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()?;
    fs::rename(new, path)
}

#[cfg(test)]
mod tests;
