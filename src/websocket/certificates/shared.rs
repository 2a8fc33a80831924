//! What all clones of [`Certificates`](super::Certificates) share.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread::Thread,
    time::Duration,
};

use futures::task::AtomicWaker;

use super::expiry::{Expiry, Warning};
use crate::{
    deadline::SystemTime,
    websocket::{
        Certificate, CertificateError,
        certificate::{OPENSSL, date},
    },
};

#[derive(Default)]
pub(super) struct Shared {
    /// How many certificates there have been, and refusals while there was none. Changes only under the lock; beside it,
    /// so that a transport that is polled a thousand times a second does not take the lock.
    pub(super) generation: AtomicUsize,
    pub(super) state: Mutex<State>,
    /// Who reads the files, and has to hear of the end.
    pub(super) watcher: OnceLock<Thread>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) current: Option<Certificate>,
    /// The generation from which there has been none.
    pub(super) cleared: usize,
    pub(super) refused: Option<Arc<CertificateError>>,
    pub(super) expiry: Expiry,
    /// Whether the warning of a certificate that is an authority's was logged.
    has_warned_of_ca: bool,
    #[cfg(feature = "metrics")]
    pub(super) refusals: u64,
    /// One for each transport that has not been dropped.
    pub(super) subscribers: Vec<Arc<AtomicWaker>>,
}

impl Shared {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn accept(&self, certificate: Certificate) {
        let mut state = self.state();
        let warns_of_ca = certificate.is_ca() && !state.has_warned_of_ca;
        state.has_warned_of_ca |= warns_of_ca;
        state.expiry.on_accepted(&certificate);
        state.current = Some(certificate);
        state.refused = None;
        self.next_generation();
        wake(state);
        if warns_of_ca {
            tracing::warn!(
                "the certificate is marked as that of an authority (CA:TRUE): browsers refuse it, and other nodes \
                 unless they have it as a trust anchor; a better one is made by: {OPENSSL}"
            );
        }
    }

    pub(super) fn clear(&self) {
        let mut state = self.state();
        if state.current.take().is_some() {
            state.cleared = self.next_generation();
            wake(state);
        }
    }

    pub(super) fn refuse(&self, error: CertificateError) {
        let mut state = self.state();
        #[cfg(feature = "metrics")]
        if state.current.is_some() || !error.is_not_found() {
            state.refusals += 1;
        }
        state.refused = Some(Arc::new(error));
        // Otherwise no listener waits, and the one in use stays.
        if state.current.is_none() {
            self.next_generation();
            wake(state);
        }
    }

    /// Warns of the end of the certificate in use if it is time to. Returns how long until it has to be asked again,
    /// or `None` if there is no certificate.
    pub(super) fn warn_of_expiry(&self, now: SystemTime) -> Option<Duration> {
        let (step, not_after) = {
            let mut state = self.state();
            let not_after = state.current.as_ref()?.not_after();
            (state.expiry.on_time(now)?, not_after)
        };
        let not_after = date(not_after);
        match step.warning {
            Some(Warning::Week) => {
                tracing::warn!(%not_after, "the certificate in use expires within 7 days");
            }
            Some(Warning::Day) => {
                tracing::warn!(%not_after, "the certificate in use expires within a day");
            }
            Some(Warning::Expired) => {
                tracing::warn!(%not_after, "the certificate in use has expired, and no peer accepts it any more");
            }
            None => {}
        }
        Some(step.again)
    }

    /// To be called under the lock.
    fn next_generation(&self) -> usize {
        self.generation.fetch_add(1, Ordering::Release) + 1
    }
}

/// Wakes all subscribers, without the lock: a waker may run what drops a transport.
fn wake(state: MutexGuard<'_, State>) {
    let subscribers = state.subscribers.clone();
    drop(state);
    for waker in subscribers {
        waker.wake();
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(watcher) = self.watcher.get() {
            watcher.unpark();
        }
    }
}
