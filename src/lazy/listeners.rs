//! What every listener is doing, and what is to be done next.

use std::{collections::VecDeque, sync::Arc};

use crate::lazy::ids::IdMap;
use libp2p_core::transport::{ListenerId, TransportError, TransportEvent};
use multiaddr::{Multiaddr, Protocol};

use crate::lazy::{Changed, Config, Error, Missing, Support};

mod pace;
mod queue;

use pace::Pace;
use queue::{Queue, Turn};

/// How many connections one listener may be holding back because it has no address yet. Further ones are
/// dropped, as a full backlog of the kernel would.
const MAX_HELD_PER_LISTENER: usize = 16;

/// How many waiting listeners one `poll` asks about. Asking is cheap, and goes on in the next.
const MAX_ASKS_PER_POLL: usize = 64;

/// How often one `poll` goes on to the next event of the inner transport after one that led to nothing.
const MAX_FRUITLESS_PER_POLL: usize = 64;

/// The state of every listener, and the decisions about them: to bind, to report, to close.
///
/// It does no work of its own. `U` and `E` are the upgrades and errors of the inner transport; it keeps them and
/// never looks into them. Its methods are of three kinds:
///
/// - *commands* of the application: [`on_listen`](Self::on_listen) and [`on_remove`](Self::on_remove);
/// - *inputs*, all called `on_*`: what happened to the inner transport, or what it answered;
/// - one *output*, [`poll_action`](Self::poll_action): what to do now.
///
/// A poll of the shell begins with [`on_poll`](Self::on_poll) and carries out one action after the other, with
/// the input that each asks for, until one of them ends it: [`Action::Report`] or [`Action::Rest`].
///
/// Inside, every listener that binds gets a fresh id of the inner transport, since that may still know the one
/// it had before. What the inner transport says about an id that nobody has any more is dropped.
#[derive(Debug)]
pub(crate) struct Listeners<U, E> {
    max_binds_per_poll: usize,
    /// One for each `listen_on` of the application whose `ListenerClosed` has not been reported.
    listeners: IdMap<Listener<U>>,
    /// From the ids of the inner transport to the application's; for those that bind, are bound or are closing.
    by_inner: IdMap<ListenerId>,
    /// Those in [`State::Registered`].
    to_bind: Queue,
    /// Those in [`State::Waiting`].
    waiting: Queue,
    /// Who is waiting since before this turn is to be asked about again.
    ask_before: Turn,
    /// Decided and not yet reported: per listener at most one address with the connections held back for it, or
    /// one error and the close.
    events: VecDeque<TransportEvent<U, Error<E>>>,
    pace: Pace,
    budget: Budget,
}

/// What one `poll` may still do.
#[derive(Debug)]
struct Budget {
    binds: usize,
    asks: usize,
    fruitless: usize,
}

#[derive(Debug)]
struct Listener<U> {
    /// As the application gave it.
    address: Multiaddr,
    state: State<U>,
}

#[derive(Debug)]
enum State<U> {
    /// Waits for a poll that binds it.
    Registered { turn: Turn },
    /// Waits for something that the inner transport does not have yet.
    Waiting { turn: Turn, missing: Missing },
    /// The inner transport is being told to listen.
    Binding { inner: ListenerId },
    /// Bound. It is ready when it has addresses.
    Listening {
        inner: ListenerId,
        /// Those that were reported and have not expired: at most the addresses of this host's interfaces.
        addresses: Vec<Multiaddr>,
        /// At most [`MAX_HELD_PER_LISTENER`], and none when there are addresses.
        held: VecDeque<TransportEvent<U, Never>>,
    },
    /// The application has removed it; the inner transport has not closed it yet.
    Closing { inner: ListenerId },
    /// Its `ListenerClosed` is among the events.
    Closed {
        /// By the application, who then hears nothing but the close.
        removed: bool,
    },
}

/// The error of events that carry none.
#[derive(Debug)]
enum Never {}

/// What the shell is to do now.
#[derive(Debug)]
pub(crate) enum Action<U, E> {
    /// Return this from `poll`.
    Report(TransportEvent<U, Error<E>>),
    /// Let the inner transport listen, and say how that went: [`Listeners::on_bound`] or
    /// [`Listeners::on_bind_failed`].
    Bind {
        listener: ListenerId,
        inner: ListenerId,
        address: Multiaddr,
    },
    /// Ask the inner transport what it says now, for [`Listeners::on_answer`].
    Ask {
        listener: ListenerId,
        address: Multiaddr,
    },
    /// Hear from the inner transport whether something has changed, for [`Listeners::on_changed`], and if not,
    /// poll it, for [`Listeners::on_inner_event`] or [`Listeners::on_inner_pending`].
    PollInner,
    /// Return `Pending`; `again` says that there is more to do, so that the task must wake itself.
    Rest { again: bool },
}

/// What became of a removal.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Removal {
    /// There is no such listener, or no longer.
    Unknown,
    /// It never reached the inner transport and is closed.
    Done,
    /// The inner transport is to remove this one, and its answer goes to [`Listeners::on_removal_answered`].
    AskInner(ListenerId),
}

impl<U, E> Listeners<U, E> {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            max_binds_per_poll: config.max_binds_per_poll().get(),
            listeners: IdMap::default(),
            by_inner: IdMap::default(),
            to_bind: Queue::default(),
            waiting: Queue::default(),
            ask_before: 0,
            events: VecDeque::new(),
            pace: Pace::new(),
            budget: Budget {
                binds: 0,
                asks: 0,
                fruitless: 0,
            },
        }
    }

    /// The application wants to listen, and the inner transport has answered `support` for that address.
    pub(crate) fn on_listen(
        &mut self,
        id: ListenerId,
        address: Multiaddr,
        support: Support,
    ) -> Result<(), TransportError<Error<E>>> {
        let missing = match support {
            Support::Never => {
                tracing::debug!(listener = %id, %address, "refused");
                return Err(TransportError::MultiaddrNotSupported(address));
            }
            Support::Now => None,
            Support::Waiting(missing) => Some(missing),
        };
        if self.listeners.contains_key(&id) {
            return Err(TransportError::Other(Error::IdInUse { id }));
        }
        match missing {
            None => tracing::debug!(listener = %id, %address, "registered"),
            Some(missing) => tracing::debug!(listener = %id, %address, %missing, "waiting"),
        }
        let state = self.enqueue(id, missing);
        self.listeners.insert(id, Listener { address, state });
        Ok(())
    }

    /// The application wants a listener to end.
    pub(crate) fn on_remove(&mut self, id: ListenerId) -> Removal {
        let Some(listener) = self.listeners.get_mut(&id) else {
            return Removal::Unknown;
        };
        match listener.state {
            State::Closing { .. } | State::Closed { .. } => Removal::Unknown,
            State::Registered { turn } => {
                self.to_bind.remove(turn);
                self.close(id, true, Ok(()));
                Removal::Done
            }
            State::Waiting { turn, .. } => {
                self.waiting.remove(turn);
                self.close(id, true, Ok(()));
                Removal::Done
            }
            State::Binding { inner } | State::Listening { inner, .. } => {
                tracing::debug!(listener = %id, "closing");
                self.pace.on_touched();
                listener.state = State::Closing { inner };
                Removal::AskInner(inner)
            }
        }
    }

    /// Whether the inner transport knew the listener that it was to remove. If it did, its close is still to
    /// come.
    pub(crate) fn on_removal_answered(&mut self, id: ListenerId, known: bool) {
        let Some(Listener {
            state: State::Closing { inner },
            ..
        }) = self.listeners.get(&id)
        else {
            return;
        };
        if !known {
            self.by_inner.remove(inner);
            self.close(id, true, Ok(()));
        }
    }

    /// A poll begins.
    pub(crate) fn on_poll(&mut self) {
        self.pace.on_poll();
        self.budget = Budget {
            binds: self.max_binds_per_poll,
            asks: MAX_ASKS_PER_POLL,
            fruitless: MAX_FRUITLESS_PER_POLL,
        };
    }

    /// What to do now. What is decided comes before what is to be found out.
    pub(crate) fn poll_action(&mut self) -> Action<U, E> {
        while let Some(event) = self.events.pop_front() {
            if self.on_reporting(&event) {
                return Action::Report(event);
            }
        }
        if let Some(bind) = self.next_bind() {
            return bind;
        }
        if let Some(ask) = self.next_ask() {
            return ask;
        }
        let is_settled = self.pace.is_inner_pending();
        if !is_settled && self.budget.fruitless > 0 {
            return Action::PollInner;
        }
        Action::Rest {
            again: !is_settled
                || !self.to_bind.is_empty()
                || self.waiting.has_before(self.ask_before),
        }
    }

    /// The inner transport is listening.
    pub(crate) fn on_bound(&mut self, id: ListenerId) {
        let Some(listener) = self.listeners.get_mut(&id) else {
            return;
        };
        let State::Binding { inner } = listener.state else {
            return;
        };
        tracing::debug!(listener = %id, address = %listener.address, "bound");
        listener.state = State::Listening {
            inner,
            // Most have just one.
            addresses: Vec::with_capacity(1),
            held: VecDeque::new(),
        };
    }

    /// The inner transport could not listen.
    pub(crate) fn on_bind_failed(&mut self, id: ListenerId, error: TransportError<E>) {
        let Some(listener) = self.listeners.get(&id) else {
            return;
        };
        let State::Binding { inner } = listener.state else {
            return;
        };
        let address = listener.address.clone();
        let (reported, reason) = match error {
            // The address in here is often what was left of ours on the way down.
            TransportError::MultiaddrNotSupported(_) => (
                Error::Unsupported {
                    address: address.clone(),
                },
                Error::Unsupported { address },
            ),
            TransportError::Other(error) => {
                let source = Arc::new(error);
                (
                    Error::Bind {
                        address: address.clone(),
                        source: Arc::clone(&source),
                    },
                    Error::Bind { address, source },
                )
            }
        };
        self.by_inner.remove(&inner);
        self.events.push_back(TransportEvent::ListenerError {
            listener_id: id,
            error: reported,
        });
        self.close(id, false, Err(reason));
    }

    /// What the inner transport says now about the address of a waiting listener.
    pub(crate) fn on_answer(&mut self, id: ListenerId, support: Support) {
        let Some(listener) = self.listeners.get(&id) else {
            return;
        };
        let State::Waiting { turn, missing } = listener.state else {
            return;
        };
        self.waiting.remove(turn);
        let still_missing = match support {
            Support::Never => {
                let address = listener.address.clone();
                self.close(id, false, Err(Error::Unsupported { address }));
                return;
            }
            Support::Now => None,
            Support::Waiting(missing) => Some(missing),
        };
        if still_missing != Some(missing) {
            tracing::debug!(listener = %id, was = %missing, now = ?still_missing, "what it waits for changed");
        }
        let state = self.enqueue(id, still_missing);
        if let Some(listener) = self.listeners.get_mut(&id) {
            listener.state = state;
        }
    }

    /// The inner transport says that something has changed.
    pub(crate) fn on_changed(&mut self, changed: Changed) {
        match changed {
            Changed::Support => self.ask_before = self.waiting.next_turn(),
            Changed::Network => {}
        }
        self.pace.on_touched();
        self.spend_fruitless();
    }

    /// The inner transport has nothing to say.
    pub(crate) fn on_inner_pending(&mut self) {
        self.pace.on_inner_pending();
    }

    /// The inner transport says something.
    pub(crate) fn on_inner_event(&mut self, event: TransportEvent<U, E>) {
        let announced = match &event {
            TransportEvent::NewAddress { listener_id, .. } => Some(*listener_id),
            _ => None,
        };
        self.pace
            .on_inner_event(announced, !self.to_bind.is_empty());
        let before = self.events.len();
        self.apply(event);
        if self.events.len() == before {
            self.spend_fruitless();
        }
    }

    fn apply(&mut self, event: TransportEvent<U, E>) {
        let inner = id_of(&event);
        let Some((&id, listener)) = self
            .by_inner
            .get(&inner)
            .and_then(|id| Some((id, self.listeners.get_mut(id)?)))
        else {
            tracing::debug!(%inner, "dropped an event of a listener that is gone");
            return;
        };
        if let TransportEvent::ListenerClosed { reason, .. } = event {
            self.by_inner.remove(&inner);
            let removed = matches!(listener.state, State::Closing { .. });
            self.close(id, removed, reason.map_err(Error::Inner));
            return;
        }
        let State::Listening {
            addresses, held, ..
        } = &mut listener.state
        else {
            return;
        };
        match event {
            TransportEvent::NewAddress { listen_addr, .. } => {
                if is_undialable(&listener.address, &listen_addr)
                    || addresses.contains(&listen_addr)
                {
                    return;
                }
                addresses.push(listen_addr.clone());
                tracing::debug!(listener = %id, address = %listen_addr, "listening");
                self.events.push_back(TransportEvent::NewAddress {
                    listener_id: id,
                    listen_addr,
                });
                self.events
                    .extend(held.drain(..).map(|event| event.map_err(|e| match e {})));
            }
            TransportEvent::AddressExpired { listen_addr, .. } => {
                if let Some(index) = addresses.iter().position(|a| *a == listen_addr) {
                    addresses.swap_remove(index);
                    tracing::debug!(listener = %id, address = %listen_addr, "expired");
                    self.events.push_back(TransportEvent::AddressExpired {
                        listener_id: id,
                        listen_addr,
                    });
                }
            }
            TransportEvent::Incoming {
                upgrade,
                local_addr,
                send_back_addr,
                ..
            } => {
                let event = TransportEvent::Incoming {
                    listener_id: id,
                    upgrade,
                    local_addr,
                    send_back_addr: send_back_addr.clone(),
                };
                if !addresses.is_empty() {
                    self.events
                        .push_back(event.map_err(|error: Never| match error {}));
                } else if held.len() < MAX_HELD_PER_LISTENER {
                    held.push_back(event);
                } else {
                    tracing::debug!(
                        listener = %id, from = %send_back_addr,
                        "dropped a connection to a listener without an address"
                    );
                }
            }
            TransportEvent::ListenerError { error, .. } => {
                self.events.push_back(TransportEvent::ListenerError {
                    listener_id: id,
                    error: Error::Inner(error),
                });
            }
            TransportEvent::ListenerClosed { .. } => {}
        }
    }

    /// Where a listener goes that could bind but for what is missing.
    fn enqueue(&mut self, id: ListenerId, missing: Option<Missing>) -> State<U> {
        match missing {
            Some(missing) => State::Waiting {
                turn: self.waiting.push(id),
                missing,
            },
            None => State::Registered {
                turn: self.to_bind.push(id),
            },
        }
    }

    fn next_bind(&mut self) -> Option<Action<U, E>> {
        if self.budget.binds == 0 || !self.pace.may_bind() {
            return None;
        }
        let id = self.to_bind.pop()?;
        let listener = self.listeners.get_mut(&id)?;
        let inner = ListenerId::next();
        tracing::debug!(listener = %id, address = %listener.address, "binding");
        listener.state = State::Binding { inner };
        self.by_inner.insert(inner, id);
        self.budget.binds -= 1;
        self.pace.on_bind(inner);
        Some(Action::Bind {
            listener: id,
            inner,
            address: listener.address.clone(),
        })
    }

    fn next_ask(&mut self) -> Option<Action<U, E>> {
        if self.budget.asks == 0 {
            return None;
        }
        let id = self.waiting.pop_before(self.ask_before)?;
        self.budget.asks -= 1;
        Some(Action::Ask {
            listener: id,
            address: self.listeners.get(&id)?.address.clone(),
        })
    }

    fn close(&mut self, id: ListenerId, removed: bool, reason: Result<(), Error<E>>) {
        tracing::debug!(listener = %id, removed, failed = reason.is_err(), "closed");
        if let Some(listener) = self.listeners.get_mut(&id) {
            listener.state = State::Closed { removed };
        }
        self.events.push_back(TransportEvent::ListenerClosed {
            listener_id: id,
            reason,
        });
    }

    /// Whether this event is still to be reported: after a removal, the application hears only the close. With
    /// that the listener is forgotten.
    fn on_reporting(&mut self, event: &TransportEvent<U, Error<E>>) -> bool {
        let id = id_of(event);
        if matches!(event, TransportEvent::ListenerClosed { .. }) {
            self.listeners.remove(&id);
            return true;
        }
        !matches!(
            self.listeners.get(&id).map(|listener| &listener.state),
            None | Some(State::Closing { .. } | State::Closed { removed: true })
        )
    }

    fn spend_fruitless(&mut self) {
        self.budget.fruitless = self.budget.fruitless.saturating_sub(1);
    }
}

fn id_of<U, E>(event: &TransportEvent<U, E>) -> ListenerId {
    match event {
        TransportEvent::NewAddress { listener_id, .. }
        | TransportEvent::AddressExpired { listener_id, .. }
        | TransportEvent::Incoming { listener_id, .. }
        | TransportEvent::ListenerClosed { listener_id, .. }
        | TransportEvent::ListenerError { listener_id, .. } => *listener_id,
    }
}

/// Whether nobody could dial `found`: it is a link-local IPv6 address, which means nothing without the zone that
/// it lacks, and the application did not ask for it but for all addresses.
fn is_undialable(registered: &Multiaddr, found: &Multiaddr) -> bool {
    let is_link_local =
        matches!(found.iter().next(), Some(Protocol::Ip6(ip)) if ip.is_unicast_link_local());
    is_link_local
        && matches!(registered.iter().next(), Some(Protocol::Ip6(ip)) if ip.is_unspecified())
}

#[cfg(test)]
mod tests;
