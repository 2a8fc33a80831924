//! The known peers in a file, one a line, so that a node that is restarted finds them without a hub.

use std::{
    error::Error,
    ffi::OsString,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use libp2p_lazy_websocket::discovery::SavedPeer;

use crate::{chain, say};

/// Reads the file, which may not exist yet. If a line cannot be read, the file is set aside and the other lines are used.
pub(crate) fn read(file: &Path) -> Result<Vec<SavedPeer>, Box<dyn Error + Send + Sync>> {
    let bytes = match fs::read(file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        Err(error) => return Err(error.into()),
    };
    let (mut peers, mut fault) = (vec![], None);
    for (number, line) in String::from_utf8_lossy(&bytes).lines().enumerate() {
        match line.parse() {
            Ok(peer) => peers.push(peer),
            Err(error) => fault = fault.or(Some((number + 1, error))),
        }
    }
    if let Some((number, error)) = fault {
        let aside = beside(file, ".corrupt");
        fs::rename(file, &aside)?;
        say(format_args!(
            "error {}: line {number}: {}; the file is kept as {}",
            file.display(),
            chain(&error),
            aside.display()
        ));
    }
    Ok(peers)
}

/// Replaces the file as a whole, or leaves it. An empty list is not written, so that the older one is kept.
pub(crate) fn write(file: &Path, peers: &[SavedPeer]) -> io::Result<()> {
    if peers.is_empty() {
        return Ok(());
    }
    let temporary = beside(file, ".tmp");
    let mut lines = String::new();
    for peer in peers {
        lines.push_str(&format!("{peer}\n"));
    }
    let mut new = File::create(&temporary)?;
    new.write_all(lines.as_bytes())?;
    new.sync_all()?;
    fs::rename(&temporary, file)
}

/// The file of the same name with more at its end.
fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(file);
    name.push(suffix);
    name.into()
}
