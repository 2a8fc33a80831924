//! What becomes of a listener that fails.

use std::{error, mem};

use libp2p_core::transport::{ListenerId, TransportEvent};

use super::{
    Listeners, State,
    errors::{APART, Verdict},
};
use crate::{
    deadline,
    lazy::{Error, Exhausted, Failure, ListenError, accept::Cause, retry::io_error},
};

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
        let State::Listening { inner, errors, .. } = &mut listener.state else {
            return;
        };
        let inner = *inner;
        let address = &listener.address;
        let io = io_error(&error);
        let cause = io.map_or(Cause::Listener, Cause::of);
        let what = io.map_or_else(|| error.to_string(), ToString::to_string);
        let errors = errors.get_or_insert_default();
        let error = match errors.on_error(cause, &what, self.now) {
            Verdict::Tell => {
                match cause {
                    // Strangers can cause these as often as they like.
                    Cause::Connection => {
                        tracing::debug!(parent: span, %address, error = %what, "lost a connection before it was accepted");
                    }
                    _ => {
                        tracing::warn!(parent: span, %address, error = %what, "goes on after an error");
                    }
                }
                Error::Inner(error)
            }
            Verdict::Known => {
                tracing::trace!(parent: span, %address, error = %what, "the same error");
                return;
            }
            Verdict::Exhausted => {
                let exhausted = Exhausted::new(address.clone(), Box::new(error));
                tracing::warn!(parent: span, reason = %what, "{exhausted}");
                let over = deadline::after(self.now, APART);
                errors.on_told(exhausted.clone(), self.exhausted.push(over, id));
                self.changes.note(id, listener);
                Error::Exhausted(exhausted)
            }
            Verdict::Stuck { since } => {
                self.forget_errors(id);
                self.expire_addresses(id);
                if let Some(listener) = self.listeners.get_mut(&id) {
                    listener.on_worked(since, self.retry.forgets_after());
                    let error = Box::new(error);
                    listener.state = State::Leaving { inner, error };
                    self.changes.note(id, listener);
                    self.leaving.push_back(id);
                }
                return;
            }
        };
        self.events.push_back(TransportEvent::ListenerError {
            listener_id: id,
            error,
        });
    }

    /// A listener has accepted a connection, or has not said for long that it is exhausted.
    pub(super) fn on_recovered(&mut self, id: ListenerId) {
        let Some(listener) = self.listeners.get_mut(&id) else {
            return;
        };
        let span = listener.span();
        let State::Listening {
            errors: Some(errors),
            ..
        } = &mut listener.state
        else {
            return;
        };
        let Some((since, place)) = errors.on_accepted() else {
            return;
        };
        self.exhausted.remove(place);
        self.changes.note(id, listener);
        let error = Error::Recovered {
            address: listener.address.clone(),
            after: self.now.saturating_duration_since(since),
        };
        tracing::warn!(parent: span, "{error}");
        self.events.push_back(TransportEvent::ListenerError {
            listener_id: id,
            error,
        });
    }

    /// Ends what was said to be exhausted and has been quiet since.
    pub(super) fn end_exhaustions(&mut self) {
        while let Some((id, _)) = self.exhausted.pop(self.now) {
            let Some(State::Listening {
                errors: Some(errors),
                ..
            }) = self
                .listeners
                .get_mut(&id)
                .map(|listener| &mut listener.state)
            else {
                continue;
            };
            let Some(last) = errors.last_exhausted() else {
                continue;
            };
            let over = deadline::after(last, APART);
            if over > self.now {
                errors.on_moved(self.exhausted.push(over, id));
            } else {
                self.on_recovered(id);
            }
        }
    }

    /// What is bound is given up, and what it reported no longer matters.
    pub(super) fn forget_errors(&mut self, id: ListenerId) {
        let listener = self.listeners.get(&id);
        if let Some((_, place)) = listener.and_then(|listener| listener.exhausted()) {
            self.exhausted.remove(*place);
        }
    }

    /// What was bound is gone, by itself or since it was stuck.
    pub(super) fn on_gone(&mut self, id: ListenerId, reason: Option<E>) {
        self.forget_errors(id);
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
