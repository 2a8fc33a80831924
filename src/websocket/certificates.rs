//! How certificates reach the transports that serve them, late or as replacements.

use std::{
    fmt, io,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
    time::Duration,
};

use futures::task::AtomicWaker;

use crate::{
    deadline::{self, Deadline, Instant, SystemTime},
    websocket::{Certificate, CertificateError},
};

mod expiry;
#[cfg(feature = "metrics")]
mod metrics;
mod shared;
mod watch;
mod watched;

#[cfg(feature = "metrics")]
pub(super) use metrics::register;

use shared::Shared;
use watch::Files;

/// The certificate of TLS listeners, which may come late and be replaced while they listen.
///
/// Clones are the same handle. One clone goes to each
/// [`Config::with_certificates`](crate::websocket::Config::with_certificates). The certificate comes from the application by
/// [`set`](Self::set), or from [watched](Self::watch) files.
///
/// TLS listeners wait for the first certificate and then bind; other listeners do not wait. While they wait, their
/// [state](crate::lazy::State::Waiting) has the reason why the last certificate was refused. After a replacement, new
/// connections are served the new certificate from the next poll of the swarm. A pending handshake may still use the old
/// one. Established connections stay, and so do sockets and addresses, if the new certificate has their names. With
/// `Engine::Libp2p`, a TLS session of an earlier dial is not resumed after a replacement.
///
/// A certificate stays in use until the next one is accepted or it is [cleared](Self::clear), even after it has expired.
/// [`time_left`](Self::time_left) returns its remaining time. Warnings are logged 7 days and 1 day before the end, and at
/// the end, once for each certificate and handle. A certificate whose whole lifetime is at most 7 days, or 1 day, gets no
/// warning that early. The clock of this host counts, and a transport with the handle has to be polled.
///
/// A certificate marked as that of an authority (`CA:TRUE`), as `openssl req -x509` marks them, is accepted, with one
/// warning per handle: browsers refuse it, and so do other nodes unless it is [their trust
/// anchor](crate::websocket::Config::with_trust_anchor).
#[derive(Clone, Default)]
pub struct Certificates(Arc<Shared>);

impl Certificates {
    /// A handle without a certificate.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the certificate from two PEM files and watches them. The files may be missing at first and be replaced at any
    /// time, by certbot for example. Both may be the same file.
    ///
    /// A thread reads the files every second and compares the bytes. This works on every file system and through renames and
    /// symbolic links, such as those of certbot's `live` directory and of Kubernetes. The thread ends soon after the last
    /// clone of the handle and the last transport that uses it are dropped.
    ///
    /// New content is used if it is still the same a tenth of a second later, because it could be half-written. If the
    /// content is refused, one warning is logged, and [`last_error`](Self::last_error) and the
    /// [state](crate::lazy::State::Waiting) of waiting listeners have the reason. This happens only after a second without a
    /// change, because a key does not belong to the certificate while the two files are being replaced. A missing file
    /// causes a warning only if a certificate is in use, or after 10 seconds. A certificate that is refused for its dates is
    /// tried again, because it may become valid or the clock may be set.
    ///
    /// # Errors
    ///
    /// If the thread cannot be started. Errors of the files are in [`last_error`](Self::last_error).
    pub fn watch(chain: impl Into<PathBuf>, key: impl Into<PathBuf>) -> io::Result<Self> {
        Self::watch_every(chain, key, Duration::from_secs(1))
    }

    /// What takes a tenth of a second or a second there takes no longer than the interval here.
    fn watch_every(
        chain: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
        interval: Duration,
    ) -> io::Result<Self> {
        let files = Files::new(chain.into(), key.into());
        let certificates = Self::new();
        watch::start(&certificates.0, files, interval)?;
        Ok(certificates)
    }

    /// Replaces the certificate in use.
    ///
    /// # Errors
    ///
    /// If the certificate has expired or is not valid yet, by the clock of this host. The one in use then stays.
    pub fn set(&self, certificate: Certificate) -> Result<(), CertificateError> {
        self.set_at(certificate, deadline::wall_clock())
    }

    fn set_at(&self, certificate: Certificate, now: SystemTime) -> Result<(), CertificateError> {
        if let Err(error) = certificate.check_dates(now) {
            // The error of dates is the certificate's alone, so the second is the same.
            self.0.refuse(error);
            return certificate.check_dates(now);
        }
        self.0.accept(certificate);
        Ok(())
    }

    /// Takes the certificate out of use, for instance because it has expired.
    ///
    /// TLS listeners for which no other certificate is in use wait again: their addresses expire, and their socket closes
    /// unless another listener shares it. Established connections stay. With [`watch`](Self::watch), the files are not used
    /// again until they change.
    pub fn clear(&self) {
        self.0.clear();
    }

    /// The certificate in use.
    pub fn current(&self) -> Option<Certificate> {
        self.0.state().current.clone()
    }

    /// The remaining time of the certificate in use, by the clock of this host; zero after it has expired.
    pub fn time_left(&self) -> Option<Duration> {
        let now = deadline::wall_clock();
        Some(self.current()?.time_left(now))
    }

    /// The reason why the last certificate, from [`set`](Self::set) or the watched files, was refused. `None` if it was
    /// accepted.
    pub fn last_error(&self) -> Option<Arc<CertificateError>> {
        self.0.state().refused.clone()
    }

    /// Another transport that wants to hear of every certificate, also of the one that is in use, and of each refusal
    /// until there is one.
    pub(super) fn subscribe(&self) -> Subscription {
        let waker = Arc::new(AtomicWaker::new());
        self.0.state().subscribers.push(Arc::clone(&waker));
        Subscription {
            shared: Arc::clone(&self.0),
            waker,
            seen: 0,
            expiry_check: None,
            deadline: Deadline::default(),
        }
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates")
            .field("current", &self.current())
            .finish_non_exhaustive()
    }
}

/// What one transport has of [`Certificates`]. It keeps the files watched, and is forgotten when dropped.
pub(super) struct Subscription {
    shared: Arc<Shared>,
    waker: Arc<AtomicWaker>,
    /// The generation that was told of last; 0 before the first.
    seen: usize,
    /// When to look whether the certificate in use expires.
    expiry_check: Option<Instant>,
    deadline: Deadline,
}

/// What a [`Subscription`] tells.
#[derive(Debug)]
pub(super) enum Offered {
    /// This certificate is in use from now on.
    Accepted(Certificate),
    /// There is none in use any more.
    Cleared,
    /// There is still none in use, and another reason for it.
    Refused,
}

impl Subscription {
    /// What was not told before; of several certificates the last.
    pub(super) fn take(&mut self) -> Option<Offered> {
        if self.shared.generation.load(Ordering::Acquire) == self.seen {
            return None;
        }
        let state = self.shared.state();
        let before = self.seen;
        self.seen = self.shared.generation.load(Ordering::Acquire);
        self.expiry_check = Some(deadline::now());
        Some(match &state.current {
            // A refusal of another does not count.
            Some(certificate) => Offered::Accepted(certificate.clone()),
            None if state.cleared > before => Offered::Cleared,
            None => Offered::Refused,
        })
    }

    /// Ready with what was not told before. Warns of the end of the certificate in use.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Offered> {
        // First, so that what comes in between is seen or wakes.
        self.waker.register(cx.waker());
        let taken = self.take();
        self.poll_expiry(cx);
        match taken {
            Some(offered) => Poll::Ready(offered),
            None => Poll::Pending,
        }
    }

    fn poll_expiry(&mut self, cx: &mut Context<'_>) {
        while self.expiry_check.is_some() {
            let check = self.deadline.poll(deadline::now(), self.expiry_check, cx);
            if check.is_pending() {
                return;
            }
            let again = self.shared.warn_of_expiry(deadline::wall_clock());
            self.expiry_check = again.map(|again| deadline::after(deadline::now(), again));
        }
    }

    /// As of [`Certificates::last_error`].
    pub(super) fn last_error(&self) -> Option<Arc<CertificateError>> {
        self.shared.state().refused.clone()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.shared
            .state()
            .subscribers
            .retain(|waker| !Arc::ptr_eq(waker, &self.waker));
    }
}

#[cfg(test)]
mod tests;
