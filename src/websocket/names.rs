//! Listeners that the transport below knows by other addresses, or as two: those on names, and those with the name
//! of a TLS server in their address.

use std::{
    collections::{HashMap, VecDeque},
    convert::Infallible,
    io,
};

use libp2p_core::transport::{ListenerId, TransportError, TransportEvent};
use multiaddr::Multiaddr;

use crate::websocket::{
    Error,
    address::{Shown, Translation, port, with_port},
};

/// Decides for each of these listeners what to listen on below, and what to make of what is heard from there.
///
/// What it binds below it calls *parts*; each has an id of its own. Of all other listeners it hears only in
/// [`on_event`](Self::on_event), which gives their events back untouched. After every input, the shell carries out
/// what [`poll_action`](Self::poll_action) says until that is nothing.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// One for each `listen_on` of such an address whose `ListenerClosed` has not been reported.
    listeners: HashMap<ListenerId, Listener>,
    /// Whose part it is; until it has closed. At most two for each listener, and one for each that failed to bind
    /// the second.
    parts: HashMap<ListenerId, ListenerId>,
    /// At most two for each listener, and none once the shell has carried them out.
    actions: VecDeque<Action>,
    /// At most one address and the close for each listener.
    reports: VecDeque<TransportEvent<Infallible, Error>>,
}

#[derive(Debug)]
struct Listener {
    shown: Shown,
    /// Those that are bound or being bound below and have not closed: at most two.
    parts: Vec<ListenerId>,
    /// What is still to be listened on beside the first part.
    second: Option<Multiaddr>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// `listen_on` has not returned.
    Binding,
    /// `listen_on` is about to return this.
    Failed(TransportError<Error>),
    Listening {
        /// How many addresses its parts have on the interfaces of this host.
        found: usize,
        /// The one of a name, reported as long as any are found.
        announced: Option<Multiaddr>,
    },
    /// Its parts are being closed; when the last one has, it is closed for this reason.
    Closing { reason: Result<(), Error> },
}

/// What the shell is to do below.
#[derive(Debug)]
pub(super) enum Action {
    /// Listen, and say how that went: [`Names::on_bound`].
    Bind {
        part: ListenerId,
        address: Multiaddr,
    },
    /// Remove the listener, and say whether it was there: [`Names::on_removed`].
    Remove { part: ListenerId },
}

impl Names {
    /// The application wants to listen; when the actions that follow from it are done, [`on_listened`] says what
    /// became of it.
    ///
    /// [`on_listened`]: Self::on_listened
    pub(super) fn on_listen(&mut self, id: ListenerId, translation: Translation) {
        let mut listener = Listener {
            shown: translation.shown,
            parts: Vec::with_capacity(1),
            second: translation.second,
            state: State::Binding,
        };
        let bind = listener.bind(translation.first);
        self.schedule_bind(id, bind);
        self.listeners.insert(id, listener);
    }

    /// What `listen_on` returns. The address in an error is not the one it was given.
    pub(super) fn on_listened(&mut self, id: ListenerId) -> Result<(), TransportError<Error>> {
        if let Some(State::Failed(_)) = self.listeners.get(&id).map(|l| &l.state)
            && let Some(State::Failed(error)) = self.listeners.remove(&id).map(|l| l.state)
        {
            return Err(error);
        }
        if let Some(listener) = self.listeners.get_mut(&id)
            && let State::Binding = listener.state
        {
            listener.state = State::Listening {
                found: 0,
                announced: None,
            };
        }
        Ok(())
    }

    /// The application wants a listener to end. Returns whether it is one of these.
    pub(super) fn on_remove(&mut self, id: ListenerId) -> bool {
        let Some(listener) = self.listeners.get_mut(&id) else {
            return false;
        };
        let reason = Ok(());
        if let State::Closing { .. } = listener.state {
            listener.state = State::Closing { reason };
        } else {
            self.begin_to_close(id, State::Closing { reason });
        }
        true
    }

    /// Whether all listeners are others.
    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// What is to be done below.
    pub(super) fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// What is to be returned from `poll`, once there are no more actions.
    pub(super) fn poll_report(&mut self) -> Option<TransportEvent<Infallible, Error>> {
        while let Some(report) = self.reports.pop_front() {
            let is_stale = match &report {
                TransportEvent::NewAddress { listener_id, .. } => !matches!(
                    self.listeners.get(listener_id).map(|l| &l.state),
                    Some(State::Listening { .. })
                ),
                _ => false,
            };
            if !is_stale {
                return Some(report);
            }
        }
        None
    }

    /// How an [`Action::Bind`] went.
    pub(super) fn on_bound(&mut self, part: ListenerId, result: Result<(), TransportError<Error>>) {
        let Some((id, listener)) = self.owner(part) else {
            return;
        };
        let error = match result {
            Ok(()) => {
                let port = listener.second.as_ref().and_then(port);
                if let Some(port) = port.filter(|port| *port != 0) {
                    self.bind_second(id, port);
                }
                return;
            }
            Err(error) => error,
        };
        listener.parts.retain(|other| *other != part);
        let is_second = !listener.parts.is_empty();
        self.parts.remove(&part);
        if is_second && lacks_ipv6(&error) {
            tracing::debug!(listener = %id, "no IPv6 here, listening on IPv4 alone");
            return;
        }
        self.fail(id, error);
    }

    /// How an [`Action::Remove`] went. If the listener was there, its close is still to come.
    pub(super) fn on_removed(&mut self, part: ListenerId, was_there: bool) {
        if !was_there {
            self.on_part_closed(part, Ok(()));
        }
    }

    /// Something happened below. Returns what is to be reported of it; it may lead to actions and reports too.
    pub(super) fn on_event<U>(
        &mut self,
        event: TransportEvent<U, Error>,
    ) -> Option<TransportEvent<U, Error>> {
        if self.parts.is_empty() {
            return Some(event);
        }
        let part = match &event {
            TransportEvent::NewAddress { listener_id, .. }
            | TransportEvent::AddressExpired { listener_id, .. }
            | TransportEvent::Incoming { listener_id, .. }
            | TransportEvent::ListenerClosed { listener_id, .. }
            | TransportEvent::ListenerError { listener_id, .. } => *listener_id,
        };
        if !self.parts.contains_key(&part) {
            return Some(event);
        }
        if let TransportEvent::ListenerClosed { reason, .. } = event {
            self.on_part_closed(part, reason);
            return None;
        }
        let (listener_id, listener) = self.owner(part)?;
        let Listener {
            shown,
            second,
            state: State::Listening { found, announced },
            ..
        } = listener
        else {
            return None;
        };
        match event {
            TransportEvent::NewAddress { listen_addr, .. } => {
                let address = shown.of(&listen_addr);
                if let Shown::Name(_) = shown {
                    *found += 1;
                    if announced.is_some() {
                        return None;
                    }
                    *announced = Some(address.clone());
                    if second.is_some() {
                        // Reported if the second part can be bound too.
                        self.reports.push_back(TransportEvent::NewAddress {
                            listener_id,
                            listen_addr: address,
                        });
                        self.bind_second(listener_id, port(&listen_addr).unwrap_or_default());
                        return None;
                    }
                }
                Some(TransportEvent::NewAddress {
                    listener_id,
                    listen_addr: address,
                })
            }
            TransportEvent::AddressExpired { listen_addr, .. } => {
                let listen_addr = match shown {
                    Shown::Suffix(_) => shown.of(&listen_addr),
                    Shown::Name(_) => {
                        *found = found.saturating_sub(1);
                        if *found > 0 {
                            return None;
                        }
                        announced.take()?
                    }
                };
                Some(TransportEvent::AddressExpired {
                    listener_id,
                    listen_addr,
                })
            }
            TransportEvent::Incoming {
                upgrade,
                local_addr,
                send_back_addr,
                ..
            } => Some(TransportEvent::Incoming {
                listener_id,
                upgrade,
                // Before it is announced too: this is what it will be.
                local_addr: shown.of(&local_addr),
                send_back_addr,
            }),
            TransportEvent::ListenerError { error, .. } => {
                Some(TransportEvent::ListenerError { listener_id, error })
            }
            TransportEvent::ListenerClosed { .. } => None,
        }
    }

    /// The listener of a part, unless that could not be bound as a whole.
    fn owner(&mut self, part: ListenerId) -> Option<(ListenerId, &mut Listener)> {
        let id = *self.parts.get(&part)?;
        let listener = self.listeners.get_mut(&id)?;
        // Another one may have been given the id of one that failed.
        listener.parts.contains(&part).then_some((id, listener))
    }

    fn schedule_bind(&mut self, id: ListenerId, (part, address): (ListenerId, Multiaddr)) {
        self.parts.insert(part, id);
        self.actions.push_back(Action::Bind { part, address });
    }

    fn bind_second(&mut self, id: ListenerId, port: u16) {
        let Some(listener) = self.listeners.get_mut(&id) else {
            return;
        };
        if let Some(address) = listener.second.take() {
            let bind = listener.bind(with_port(&address, port));
            self.schedule_bind(id, bind);
        }
    }

    /// A part could not be bound, so the whole is not.
    fn fail(&mut self, id: ListenerId, error: TransportError<Error>) {
        let Some(listener) = self.listeners.get_mut(&id) else {
            return;
        };
        let reason = match (&listener.state, error) {
            (State::Binding, error) => {
                self.begin_to_close(id, State::Failed(error));
                return;
            }
            (_, TransportError::Other(error)) => error,
            (_, TransportError::MultiaddrNotSupported(part)) => Error::UnsupportedAddress(part),
        };
        let reason = Err(reason);
        self.begin_to_close(id, State::Closing { reason });
    }

    /// A part is no more, and neither will the whole be.
    fn on_part_closed(&mut self, part: ListenerId, reason: Result<(), Error>) {
        let owner = self.owner(part).map(|(id, listener)| {
            listener.parts.retain(|other| *other != part);
            let is_first = matches!(listener.state, State::Binding | State::Listening { .. });
            (id, is_first)
        });
        self.parts.remove(&part);
        match owner {
            Some((id, true)) => self.begin_to_close(id, State::Closing { reason }),
            Some((id, false)) => self.close_if_empty(id),
            None => {}
        }
    }

    fn begin_to_close(&mut self, id: ListenerId, state: State) {
        let Some(listener) = self.listeners.get_mut(&id) else {
            return;
        };
        listener.state = state;
        let parts = listener.parts.iter();
        self.actions
            .extend(parts.map(|part| Action::Remove { part: *part }));
        self.close_if_empty(id);
    }

    fn close_if_empty(&mut self, id: ListenerId) {
        let is_closed = |listener: &Listener| {
            listener.parts.is_empty() && matches!(listener.state, State::Closing { .. })
        };
        if !self.listeners.get(&id).is_some_and(is_closed) {
            return;
        }
        tracing::trace!(listener = %id, "all parts have closed");
        if let Some(Listener {
            state: State::Closing { reason },
            ..
        }) = self.listeners.remove(&id)
        {
            self.reports.push_back(TransportEvent::ListenerClosed {
                listener_id: id,
                reason,
            });
        }
    }
}

impl Listener {
    /// A new part, to be listened on there.
    fn bind(&mut self, address: Multiaddr) -> (ListenerId, Multiaddr) {
        let part = ListenerId::next();
        self.parts.push(part);
        (part, address)
    }
}

/// Whether that is what a host says that has no IPv6, or a transport that knows none.
fn lacks_ipv6(error: &TransportError<Error>) -> bool {
    #[cfg(unix)]
    const NO_SUCH_FAMILY: i32 = libc::EAFNOSUPPORT;
    // WSAEAFNOSUPPORT
    #[cfg(not(unix))]
    const NO_SUCH_FAMILY: i32 = 10047;

    match error {
        TransportError::MultiaddrNotSupported(_) => true,
        TransportError::Other(error) => error.io().is_some_and(|error| {
            error.kind() == io::ErrorKind::Unsupported
                || error.raw_os_error() == Some(NO_SUCH_FAMILY)
        }),
    }
}

#[cfg(test)]
mod tests;
