//! What outlives the process: the key of the account, the key of the certificate that is being ordered, and the certificate
//! with its key.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::{
    autotls::{
        config::Config,
        error::{Error, printable},
        name::Name,
    },
    deadline,
};

/// The private key of the account at the ACME server, in PEM.
pub(super) const ACCOUNT_KEY: &str = "account-key.pem";
/// The private key of the next certificate, in PEM. It is stored before the order, as its certificate may be issued after a
/// crash.
pub(super) const NEXT_KEY: &str = "next-key.pem";
/// The private key of the certificate and its chain, in PEM. In one file, so that they always belong together.
pub(super) const CERTIFICATE: &str = "certificate.pem";

const MAX_FILE: u64 = 1024 * 1024;

/// The end of the name of a file that is being written, and how long that never takes.
const NEW: &str = ".new";
const LEFT: Duration = Duration::from_secs(60 * 60);

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
        // Another process of this node may write the same.
        let new = folder.join(format!("{file}.{:08x}{NEW}", rand::random::<u32>()));
        let written = replace(&new, &path, content);
        written.map_err(|error| {
            // It may not even be there.
            let _ = fs::remove_file(&new);
            failed(path, &error)
        })
    }

    /// Fails if nothing could be stored, which is better known before a certificate is ordered than after. Removes what crashes
    /// have left.
    pub(super) fn check(&self) -> Result<(), Error> {
        const PROBE: &str = "probe";

        self.write(PROBE, "")?;
        self.remove(PROBE);
        let folder = self
            .folder
            .iter()
            .flat_map(fs::read_dir)
            .flatten()
            .flatten();
        for file in folder.filter(|file| is_left(file).unwrap_or(false)) {
            let _ = fs::remove_file(file.path());
        }
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

/// Whether nobody writes to it any more.
fn is_left(file: &fs::DirEntry) -> io::Result<bool> {
    let is_new = file.file_name().to_string_lossy().ends_with(NEW);
    let age = deadline::wall_clock().duration_since(file.metadata()?.modified()?);
    Ok(is_new && age.is_ok_and(|age| age > LEFT))
}

fn replace(new: &Path, path: &Path, content: &str) -> io::Result<()> {
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
