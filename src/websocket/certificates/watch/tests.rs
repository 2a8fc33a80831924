use std::{io::Write, sync::Mutex, time::Instant};

use super::*;
use crate::websocket::{
    Certificate,
    certificates::{
        Certificates, Offered,
        tests::{certificate, pem},
    },
};

mod secrets;

/// A directory of this test alone, gone with the value.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let name = format!("libp2p-lazy-websocket-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Collects what is logged.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is logged meanwhile, of this level and above.
fn logged(level: tracing::Level, run: impl FnOnce()) -> String {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, run);
    let logged = lines.0.lock().unwrap();
    String::from_utf8_lossy(&logged).into_owned()
}

#[test]
fn a_path_that_stays_wrong_is_a_warning_unless_a_certificate_is_in_use() {
    let directory = Directory::new("wrong");
    let files = Files::new(directory.file("chian.pem"), directory.file("key.pem"));
    let start = deadline::now();
    let mut watched = Watched::default();
    let certificates = Certificates::new();
    let mut read = |second| {
        let now = start + Duration::from_secs(second);
        let step = watched.on_read(files.read(), now, deadline::wall_clock());
        logged(tracing::Level::WARN, || {
            if let Some(outcome) = step.outcome {
                carry_out(outcome, &files, &certificates.0);
            }
        })
    };
    for second in 0..10 {
        assert_eq!(read(second), "");
    }
    let refused = certificates.last_error().unwrap().to_string();
    assert!(refused.ends_with("chian.pem does not exist"), "{refused}");
    let warning = read(11);
    assert!(
        warning.contains("WARN") && warning.contains(&refused),
        "{warning}"
    );
    assert_eq!(read(12), "");
    assert_eq!(read(1000), "");
}

#[test]
fn what_becomes_of_the_files_is_logged_and_is_a_warning_where_it_hinders() {
    let files = Files::new("chain.pem".into(), "key.pem".into());
    let certificates = Certificates::new();
    let good = certificate(0);
    let valid_until = date(good.not_after());
    let in_use = format!("a new certificate is in use chain=chain.pem valid_until={valid_until}");
    let missing = || CertificateError::File {
        path: "chain.pem".into(),
        error: io::ErrorKind::NotFound.into(),
    };
    let malformed = || Certificate::from_pem(b"", b"").unwrap_err();
    for (outcome, expected_level, expected) in [
        (
            Outcome::Refuse(missing()),
            "INFO",
            "waiting for the files of a certificate",
        ),
        (
            Outcome::StillMissing(missing()),
            "WARN",
            "still waiting for the files of a certificate",
        ),
        (
            Outcome::Refuse(malformed()),
            "WARN",
            "refused a certificate; there is none in use",
        ),
        (Outcome::Accept(good), "INFO", &in_use),
        (
            Outcome::Refuse(malformed()),
            "WARN",
            "refused a certificate; the one in use stays",
        ),
        (
            Outcome::Refuse(missing()),
            "WARN",
            "refused a certificate; the one in use stays",
        ),
        (Outcome::StillMissing(missing()), "", ""),
    ] {
        let log = logged(tracing::Level::INFO, || {
            carry_out(outcome, &files, &certificates.0);
        });
        // Without the time and the name of the module.
        let (before, said) = log.split_once("::watch: ").unwrap_or_default();
        let level = before.split_whitespace().nth(1).unwrap_or_default();
        assert_eq!(level, expected_level, "{log}");
        assert!(said.starts_with(expected), "{log}");
        assert_eq!(said.is_empty(), expected.is_empty(), "{log}");
        assert!(log.lines().count() <= 1, "{log}");
    }
}

#[test]
fn what_is_no_file_or_too_large_is_not_read() {
    let directory = Directory::new("read");
    let path = directory.file("chain.pem");
    let kind = |path: &Path| read(path).unwrap_err().kind();
    assert_eq!(kind(&path), io::ErrorKind::NotFound);
    assert_eq!(kind(&directory.0), io::ErrorKind::IsADirectory);
    let size = usize::try_from(MAX_FILE_SIZE).unwrap();
    fs::write(&path, vec![b'\n'; size]).unwrap();
    assert_eq!(read(&path).unwrap().len(), size);
    fs::write(&path, vec![b'\n'; size + 1]).unwrap();
    assert_eq!(kind(&path), io::ErrorKind::FileTooLarge);
}

/// Waits until it is so.
fn until(mut condition: impl FnMut() -> bool) {
    let limit = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < limit, "it happens within 30 s");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_files_are_followed_as_long_as_a_transport_uses_them() {
    let directory = Directory::new("follow");
    let (chain, key) = (directory.file("chain.pem"), directory.file("key.pem"));
    let certificates = Certificates::new();
    let files = Files::new(chain.clone(), key.clone());
    let thread = start(&certificates.0, files, MIN_INTERVAL).unwrap();
    until(|| certificates.last_error().is_some());
    assert!(matches!(
        *certificates.last_error().unwrap(),
        CertificateError::File { ref path, .. } if *path == chain
    ));

    let mut subscription = certificates.subscribe();
    drop(certificates);
    let written = pem(0);
    fs::write(chain, written.0).unwrap();
    fs::write(key, written.1).unwrap();
    until(|| matches!(subscription.take(), Some(Offered::Accepted(_))));
    assert!(subscription.shared.state().refused.is_none());
    drop(subscription);
    until(|| thread.is_finished());
    thread.join().unwrap();
}

#[test]
fn the_thread_does_not_sleep_over_the_end() {
    let directory = Directory::new("end");
    let (chain, key) = (directory.file("chain.pem"), directory.file("key.pem"));
    let written = pem(0);
    fs::write(&chain, written.0).unwrap();
    fs::write(&key, written.1).unwrap();
    let certificates = Certificates::new();
    let day = Duration::from_secs(24 * 60 * 60);
    let thread = start(&certificates.0, Files::new(chain, key), day).unwrap();
    until(|| certificates.current().is_some());
    assert!(!thread.is_finished());
    drop(certificates);
    until(|| thread.is_finished());
    thread.join().unwrap();
}
