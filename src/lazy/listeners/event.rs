//! What the inner transport says of a listener.

use std::error;

use libp2p_core::transport::TransportEvent;

use super::{Listeners, MAX_HELD_PER_LISTENER, Reach, State, id_of, is_undialable};
use crate::{deadline::Instant, lazy::Error};

impl<U, E> Listeners<U, E>
where
    E: error::Error + Send + Sync + 'static,
{
    /// The inner transport says something. Returns what is to be reported at once, before anything else.
    pub(crate) fn on_inner_event(
        &mut self,
        event: TransportEvent<U, E>,
        now: impl FnOnce() -> Instant,
    ) -> Option<TransportEvent<U, Error<E>>> {
        let announced = match &event {
            TransportEvent::NewAddress { listener_id, .. } => Some(*listener_id),
            TransportEvent::ListenerError { .. } | TransportEvent::ListenerClosed { .. } => {
                self.now = now();
                None
            }
            TransportEvent::Incoming { listener_id, .. } if !self.exhausted.is_empty() => {
                if let Some(&id) = self.by_inner.get(listener_id) {
                    self.now = now();
                    self.on_recovered(id);
                }
                None
            }
            _ => None,
        };
        self.pace.on_inner_event(announced, self.is_bind_due());
        let before = self.events.len();
        let report = self.apply(event);
        if report.is_none() && self.events.len() == before {
            self.spend_fruitless();
        }
        report
    }

    fn apply(&mut self, event: TransportEvent<U, E>) -> Option<TransportEvent<U, Error<E>>> {
        let inner = id_of(&event);
        let Some((&id, listener)) = self
            .by_inner
            .get(&inner)
            .and_then(|id| Some((id, self.listeners.get_mut(id)?)))
        else {
            tracing::debug!(%inner, "dropped an event of a listener that is gone");
            return None;
        };
        if let TransportEvent::ListenerClosed { reason, .. } = event {
            self.by_inner.remove(&inner);
            match listener.state {
                State::Closing { .. } => self.close(id, true, reason.map_err(Error::Inner)),
                _ => self.on_gone(id, reason.err()),
            }
            return None;
        }
        let span = listener.span();
        let State::Listening {
            reach,
            is_announced,
            errors,
            ..
        } = &mut listener.state
        else {
            return None;
        };
        match event {
            TransportEvent::NewAddress { listen_addr, .. } => {
                if is_undialable(&listener.address, &listen_addr)
                    || reach.addresses().contains(&listen_addr)
                {
                    return None;
                }
                let held = reach.take_held();
                if !held.is_empty() {
                    let held = held.into_iter();
                    self.events
                        .extend(held.map(|event| event.map_err(|e| match e {})));
                }
                reach.add(listen_addr.clone());
                *is_announced = true;
                self.changes.note(id, listener);
                return Some(TransportEvent::NewAddress {
                    listener_id: id,
                    listen_addr,
                });
            }
            TransportEvent::AddressExpired { listen_addr, .. } => {
                if reach.remove(&listen_addr) {
                    listener.remember_port(&listen_addr);
                    self.events.push_back(TransportEvent::AddressExpired {
                        listener_id: id,
                        listen_addr,
                    });
                    self.changes.note(id, listener);
                }
            }
            TransportEvent::Incoming {
                upgrade,
                local_addr,
                send_back_addr,
                ..
            } => {
                if let Some(errors) = errors {
                    errors.on_accepted();
                }
                let event = TransportEvent::Incoming {
                    listener_id: id,
                    upgrade,
                    local_addr,
                    send_back_addr: send_back_addr.clone(),
                };
                match reach {
                    Reach::One(_) | Reach::Several(_) => {
                        return Some(event.map_err(|error| match error {}));
                    }
                    Reach::Nowhere { held } if held.len() < MAX_HELD_PER_LISTENER => {
                        held.push(event);
                    }
                    Reach::Nowhere { .. } => tracing::debug!(
                        parent: span, from = %send_back_addr,
                        "dropped a connection to a listener without an address"
                    ),
                }
            }
            TransportEvent::ListenerError { error, .. } => self.on_inner_error(id, error),
            TransportEvent::ListenerClosed { .. } => {}
        }
        None
    }
}
