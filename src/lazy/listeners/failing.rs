//! What becomes of a listener that fails.

use std::{error, mem, time::Duration};

use libp2p_core::transport::{ListenerId, TransportEvent};

use super::{Listeners, State, Trouble};
use crate::{
    deadline,
    lazy::{Error, Failure, ListenError, retry::io_error},
};

/// For how long a listener may report the same error without accepting anything, until it is bound anew. Errors
/// of accepting pass by themselves, mostly within seconds; what does not may be the socket's own.
pub(super) const STUCK_AFTER: Duration = Duration::from_secs(30);

/// Errors further apart than this are not one that lasts: that comes back as soon as accepting is tried again, within a
/// tenth of a second with libp2p-tcp.
pub(super) const APART: Duration = Duration::from_secs(10);

impl<U, E> Listeners<U, E>
where
    E: error::Error + Send + Sync + 'static,
{
    /// A bound listener reports an error, and goes on unless it has reported nothing else for long.
    pub(super) fn on_inner_error(&mut self, id: ListenerId, error: E) {
        let Some(listener) = self.listeners.get_mut(&id) else {
            return;
        };
        let span = listener.span();
        let State::Listening { inner, trouble, .. } = &mut listener.state else {
            return;
        };
        let inner = *inner;
        let what = io_error(&error).map_or_else(|| error.to_string(), ToString::to_string);
        let now = self.now;
        let goes_on = |trouble: &Trouble| {
            trouble.what == what && now.saturating_duration_since(trouble.last) <= APART
        };
        let before = trouble.take().filter(|trouble| goes_on(trouble));
        let trouble = trouble.insert(before.unwrap_or_else(|| {
            let (since, last) = (now, now);
            Box::new(Trouble { what, since, last })
        }));
        trouble.last = now;
        let since = trouble.since;
        if self.now.saturating_duration_since(trouble.since) < STUCK_AFTER {
            tracing::warn!(parent: span, address = %listener.address, error = %trouble.what, "goes on after an error");
            let error = Error::Inner(error);
            self.events.push_back(TransportEvent::ListenerError {
                listener_id: id,
                error,
            });
            return;
        }
        self.expire_addresses(id);
        if let Some(listener) = self.listeners.get_mut(&id) {
            listener.on_worked(since, self.retry.forgets_after());
            let error = Box::new(error);
            listener.state = State::Leaving { inner, error };
            self.changes.note(id, listener);
            self.leaving.push_back(id);
        }
    }

    /// What was bound is gone, by itself or since it was stuck.
    pub(super) fn on_gone(&mut self, id: ListenerId, reason: Option<E>) {
        self.expire_addresses(id);
        let Some(listener) = self.listeners.get_mut(&id) else {
            return;
        };
        let closed = State::Closed {
            removed: false,
            error: None,
        };
        let reason = reason.map(|reason| Box::new(reason) as _);
        let state = mem::replace(&mut listener.state, closed);
        let is_announced = matches!(
            state,
            State::Listening {
                is_announced: true,
                ..
            }
        );
        let (failure, reason) = match state {
            State::Leaving { error, .. } => (Failure::Stuck, Some(error)),
            _ => (Failure::Closed, reason),
        };
        if is_announced || failure == Failure::Stuck {
            listener.on_succeeded();
        }
        self.fail(id, failure, reason);
    }

    /// Reports a failure, and decides how it goes on.
    pub(super) fn fail(
        &mut self,
        id: ListenerId,
        failure: Failure,
        source: Option<Box<dyn error::Error + Send + Sync>>,
    ) {
        let Some(listener) = self.listeners.get_mut(&id) else {
            return;
        };
        let (failures, due) = listener.on_failed(self.now, self.retry.forgets_after());
        let cause = source
            .as_deref()
            .map(|source| source as &(dyn error::Error + 'static));
        let can_heal = failure != Failure::Unsupported && self.retry.heals(cause);
        let delay = match due {
            _ if !can_heal => None,
            Some(due) => Some(due.saturating_duration_since(self.now)),
            None => self.retry.delay(&failures, self.now, &mut self.rng),
        };
        let address = listener.address.clone();
        let error = ListenError::new(address, failure, failures.count, delay, source);
        tracing::warn!(parent: listener.span(), reason = %error.reason(), "{error}");
        self.events.push_back(TransportEvent::ListenerError {
            listener_id: id,
            error: Error::Listen(error.clone()),
        });
        let Some(delay) = delay else {
            return self.close(id, false, Err(Error::Listen(error)));
        };
        let is_rebind = matches!(failure, Failure::Closed | Failure::Stuck);
        let queue = match is_rebind {
            true => &mut self.rebinds,
            false => &mut self.retries,
        };
        listener.state = State::Retrying {
            place: queue.push(deadline::after(self.now, delay), id),
            is_rebind,
            error,
        };
        self.changes.note(id, listener);
    }

    /// The addresses of a listener are no longer good.
    pub(super) fn expire_addresses(&mut self, id: ListenerId) {
        let Some(listener) = self.listeners.get_mut(&id) else {
            return;
        };
        let State::Listening { reach, .. } = &mut listener.state else {
            return;
        };
        let addresses = reach.take();
        if let Some(address) = addresses.first() {
            listener.remember_port(address);
        }
        let expired = |listen_addr| TransportEvent::AddressExpired {
            listener_id: id,
            listen_addr,
        };
        self.events.extend(addresses.into_iter().map(expired));
    }
}
