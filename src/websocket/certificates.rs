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

use shared::Shared;
use watch::Files;

/// The certificate of TLS listeners, which may come late and be replaced while they listen.
///
/// A clone is the same handle. It goes to [`Config::with_certificates`](crate::websocket::Config::with_certificates),
/// also to several of them, and another is kept to [`set`](Self::set) the certificate when it is there; or it
/// [watches](Self::watch) the files that somebody else writes.
///
/// Until the first certificate, TLS listeners wait, and hold up nobody; their [state](crate::lazy::State::Waiting) says why
/// the last one was refused. Then they bind. After a replacement new
/// connections are served the new certificate from the next poll of the swarm on; one whose handshake had begun
/// may still see the old. No socket is closed, no address expires, and connections that exist live on. With
/// `Engine::Libp2p`, a TLS session of an earlier dial is not resumed over a
/// replacement.
///
/// What is in use stays in use until the next is accepted, even when it expires:
/// [`time_left`](Self::time_left) tells how long that is. A warning is logged 7 days and 1 day before it expires, and
/// when it does: once for each certificate, however many transports have the handle. A certificate that is valid for
/// no longer than 7 days, or 1 day, as a whole gets no warning that early. All of this goes by the clock of this host,
/// and needs a transport that is polled.
///
/// One that is marked as that of an authority (`CA:TRUE`), as `openssl req -x509` makes them, is accepted, and a
/// warning logged, once for each handle: browsers refuse it, and other nodes unless
/// [they have it as a trust anchor](crate::websocket::Config::with_trust_anchor).
#[derive(Clone, Default)]
pub struct Certificates(Arc<Shared>);

impl Certificates {
    /// A handle without a certificate.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the certificate from two PEM files, and follows them: they may be missing at first, and be replaced
    /// at any time by `certbot` or whoever renews certificates. Both may be the same file.
    ///
    /// A thread of its own reads them every second and compares the bytes, so this works on every file system and
    /// through renames and symbolic links, such as those of certbot's `live` directory and of Kubernetes. It
    /// ends soon after the last clone of this handle and the last transport that uses it are gone.
    ///
    /// What is read is used once it has been the same a tenth of a second later, since it could be half-written.
    /// If it is to be refused, that is logged as a warning, once, and told by [`last_error`](Self::last_error) and by the
    /// [state](crate::lazy::State::Waiting) of listeners that wait, unless it changes within a second: a key that does not
    /// belong to the certificate is what an exchange of the two files looks like in between. A file that does not exist is
    /// a warning only if there is a certificate in use, or when it is still missing after 10 seconds. What is refused for
    /// its dates is tried again, since it may become valid and the clock may be set.
    ///
    /// # Errors
    ///
    /// If the thread cannot be started. Whatever is wrong with the files is told by [`last_error`](Self::last_error).
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

    /// Puts a certificate to use, in place of the one that is.
    ///
    /// # Errors
    ///
    /// If it has expired or is not valid yet, by the clock of this host. Then the one in use stays.
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

    /// The certificate in use.
    pub fn current(&self) -> Option<Certificate> {
        self.0.state().current.clone()
    }

    /// How long the certificate in use is still valid, by the clock of this host; zero when it has expired.
    pub fn time_left(&self) -> Option<Duration> {
        let now = deadline::wall_clock();
        Some(self.current()?.time_left(now))
    }

    /// Why the certificate that was offered last, by [`set`](Self::set) or in the watched files, was refused.
    /// `None` once one is accepted.
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
            Some(certificate) if state.accepted > before => Offered::Accepted(certificate.clone()),
            _ => Offered::Refused,
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
