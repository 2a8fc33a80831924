//! The state of every listener, and the next action.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    error, mem,
};

use libp2p_core::transport::{ListenerId, TransportError, TransportEvent};
use multiaddr::Multiaddr;
use rand::{SeedableRng as _, rngs::SmallRng};

use crate::{
    deadline::{self, Instant},
    lazy::{
        Changed, Config, Error, Exhausted, Failure, ListenError, Missing, Retry, Support,
        accept::Cause, retry::io_error, status::Note,
    },
};

mod due;
mod errors;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod listener;
mod pace;

use due::{Due, Hurry};
use errors::{APART, Verdict};
use listener::{Bound, Listener, MAX_HELD, Next, State, is_undialable};
use pace::Pace;

/// Maximum number of sockets that one `poll` binds or closes. Each takes a handful of system calls, so a poll stays well
/// below a millisecond.
const MAX_SOCKETS_PER_POLL: usize = 16;

/// Maximum number of waiting listeners that one `poll` asks the inner transport about. The next poll asks about the rest.
const MAX_ASKS_PER_POLL: usize = 64;

/// Maximum number of inner events without an effect that one `poll` skips.
const MAX_FRUITLESS_PER_POLL: usize = 64;

/// The state of every listener, and the decisions about them: to bind, to report, to retry, to close.
///
/// It performs no I/O. `U` and `E` are the upgrades and errors of the inner transport, which it stores and never
/// inspects. Its methods are of three kinds:
///
/// - *commands* of the application: [`on_listen`](Self::on_listen) and [`on_remove`](Self::on_remove);
/// - *inputs*, all called `on_*`: events and answers of the inner transport;
/// - *outputs*: [`poll_action`](Self::poll_action), the next action; [`next_timeout`](Self::next_timeout), the time of
///   the next poll; and [`poll_note`](Self::poll_note), the changes for the readiness handles.
///
/// A poll of the shell begins with [`on_poll`](Self::on_poll). It then carries out one action after the other, and
/// returns the input that each asks for, until [`Action::Report`] or [`Action::Rest`].
///
/// Each bind gets a fresh inner id, because the inner transport may still know the last one. Events for an inner id
/// without a listener are dropped.
#[derive(Debug)]
pub(crate) struct Listeners<U, E> {
    retry: Retry,
    rng: SmallRng,
    /// The time of the last poll.
    now: Instant,
    /// One for each `listen_on` of the application whose `ListenerClosed` has not been reported.
    listeners: HashMap<ListenerId, Listener<U, E>>,
    /// Maps inner ids to the ids of the application, for listeners that the inner transport may report on.
    by_inner: HashMap<ListenerId, ListenerId>,
    /// Listeners in [`State::Registered`] and in [`State::Waiting`], in order of arrival.
    registered: BTreeMap<u64, ListenerId>,
    /// Registered listeners whose last socket may still be open, because they have waited in between.
    registered_again: BTreeMap<u64, ListenerId>,
    waiting: BTreeMap<u64, ListenerId>,
    next_turn: u64,
    /// The inner transport is asked again about listeners that have been waiting since before this turn.
    ask_before: u64,
    /// The inner transport is asked again about these in [`State::Listening`], as what they need may be gone.
    ask_bound: VecDeque<ListenerId>,
    /// Listeners in [`State::Retrying`]. `rebinds` has those whose last socket may still be open.
    retries: Due,
    rebinds: Due,
    hurry: Hurry,
    /// Exhausted listeners, by the time at which they count as recovered if they report nothing.
    exhausted: Due,
    /// Listeners in [`State::Closing`] that the inner transport has not been told to close.
    closing: VecDeque<ListenerId>,
    /// Decided and not yet reported.
    events: VecDeque<TransportEvent<U, Error<E>>>,
    /// `None` while there is no readiness handle.
    notes: Option<VecDeque<Note>>,
    pace: Pace,
    budget: Budget,
}

/// The remaining work that one `poll` may do.
#[derive(Debug)]
struct Budget {
    sockets: usize,
    asks: usize,
    fruitless: usize,
}

impl Budget {
    const FULL: Self = Self {
        sockets: MAX_SOCKETS_PER_POLL,
        asks: MAX_ASKS_PER_POLL,
        fruitless: MAX_FRUITLESS_PER_POLL,
    };
}

/// An action of the shell, and the input that answers it.
#[derive(Debug)]
pub(crate) enum Action<U, E> {
    /// Return this from `poll`.
    Report(TransportEvent<U, Error<E>>),
    /// Call `listen_on` of the inner transport, then [`Listeners::on_bound`] or [`Listeners::on_bind_failed`]. If what the
    /// listener needs is gone, [`Listeners::on_missing`] in place of all that.
    Bind {
        listener: ListenerId,
        inner: ListenerId,
        address: Multiaddr,
    },
    /// Ask the inner transport again for its support, then [`Listeners::on_answer`].
    Ask {
        listener: ListenerId,
        address: Multiaddr,
    },
    /// Call `remove_listener` of the inner transport, then [`Listeners::on_removed`].
    Remove {
        listener: ListenerId,
        inner: ListenerId,
    },
    /// Poll the inner transport for changes ([`Listeners::on_changed`]), and if there is none, for events
    /// ([`Listeners::on_inner_event`] or [`Listeners::on_inner_pending`]).
    PollInner,
    /// Return `Pending`. With `again`, work is left, so the task must wake itself.
    Rest { again: bool },
}

impl<U, E> Listeners<U, E>
where
    E: error::Error + Send + Sync + 'static,
{
    /// `seed` determines the random part of delays.
    pub(crate) fn new(config: &Config, seed: u64, now: Instant) -> Self {
        Self {
            retry: config.retry.clone(),
            rng: SmallRng::seed_from_u64(seed),
            now,
            listeners: HashMap::new(),
            by_inner: HashMap::new(),
            registered: BTreeMap::new(),
            registered_again: BTreeMap::new(),
            waiting: BTreeMap::new(),
            next_turn: 0,
            ask_before: 0,
            ask_bound: VecDeque::new(),
            retries: Due::default(),
            rebinds: Due::default(),
            hurry: Hurry::default(),
            exhausted: Due::default(),
            closing: VecDeque::new(),
            events: VecDeque::new(),
            notes: None,
            pace: Pace::default(),
            budget: Budget::FULL,
        }
    }

    /// Starts to report changes through [`poll_note`](Self::poll_note), beginning with the current statuses.
    pub(crate) fn watch(&mut self) {
        let notes = self.notes.get_or_insert_default();
        notes.extend(self.listeners.iter().map(|(id, row)| row.note(*id)));
    }

    /// The next change for the readiness handles. Drained before any other call.
    pub(crate) fn poll_note(&mut self) -> Option<Note> {
        self.notes.as_mut()?.pop_front()
    }

    /// The application calls `listen_on`, and the inner transport has answered `support` for that address.
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
        let span = tracing::debug_span!("listener", %id, %address);
        let listener = Listener::new(address, self.enqueue(id, missing), span);
        self.listeners.insert(id, listener);
        self.note(id);
        Ok(())
    }

    /// The application removes a listener. Returns whether there was one.
    pub(crate) fn on_remove(&mut self, id: ListenerId) -> bool {
        let Some(listener) = self.listeners.get_mut(&id) else {
            return false;
        };
        let inner = match &mut listener.state {
            State::Closing {
                next: Next::Close, ..
            }
            | State::Closed(_) => return false,
            State::Closing { next, .. } => {
                *next = Next::Close;
                return true;
            }
            State::Waiting { turn, .. } => {
                self.waiting.remove(turn);
                None
            }
            State::Registered { turn } => {
                self.registered.remove(turn);
                self.registered_again.remove(turn);
                None
            }
            State::Retrying {
                place, is_rebind, ..
            } => {
                match is_rebind {
                    true => self.rebinds.remove(*place),
                    false => self.retries.remove(*place),
                }
                None
            }
            State::Binding { inner, .. } => Some(*inner),
            State::Listening(bound) => {
                if let Some((_, place)) = bound.errors.told() {
                    self.exhausted.remove(*place);
                }
                Some(bound.inner)
            }
        };
        match inner {
            None => self.close(id, Ok(())),
            Some(inner) => {
                let next = Next::Close;
                listener.state = State::Closing { inner, next };
                self.closing.push_back(id);
                self.note(id);
            }
        }
        true
    }

    /// A poll begins.
    pub(crate) fn on_poll(&mut self, now: Instant) {
        self.now = now;
        if !self.is_retrying() {
            self.hurry.cancel();
        }
        self.hurry_up();
        self.end_exhaustions();
        self.pace.on_touched();
        self.budget = Budget::FULL;
    }

    /// The time of the next poll, if nothing happens before.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let hurry = self.hurry.next_time().filter(|_| self.is_retrying());
        let times = [
            self.retries.next_time(),
            self.rebinds.next_time(),
            hurry,
            self.exhausted.next_time(),
        ];
        times.into_iter().flatten().min()
    }

    /// The next action. Decisions that are already made come before new information.
    pub(crate) fn poll_action(&mut self) -> Action<U, E> {
        while let Some(event) = self.events.pop_front() {
            if self.on_reporting(&event) {
                return Action::Report(event);
            }
        }
        if let Some(remove) = self.next_removal() {
            return remove;
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
                || !self.closing.is_empty()
                || self.is_bind_due()
                || self.is_ask_due(),
        }
    }

    /// The inner transport is listening.
    pub(crate) fn on_bound(&mut self, id: ListenerId) {
        if let Some(listener) = self.listeners.get_mut(&id)
            && let State::Binding { inner, due } = listener.state
        {
            tracing::debug!(parent: &listener.span, "bound");
            listener.state = State::Listening(Bound::new(inner, self.now, due));
        }
    }

    /// The inner transport could not listen.
    pub(crate) fn on_bind_failed(&mut self, id: ListenerId, error: TransportError<E>) {
        let state = self.listeners.get(&id).map(|listener| &listener.state);
        let Some(State::Binding { inner, due }) = state else {
            return;
        };
        let due = *due;
        self.by_inner.remove(inner);
        let (failure, source) = match error {
            // Its address is often only the part that a lower transport was given.
            TransportError::MultiaddrNotSupported(_) => (Failure::Unsupported, None),
            TransportError::Other(error) => (Failure::Bind, Some(Box::new(error) as _)),
        };
        self.fail(id, failure, source, due);
    }

    /// The inner transport lacks what the listener needs, which was there when it was decided to bind it.
    pub(crate) fn on_missing(&mut self, id: ListenerId, missing: Missing) {
        let state = self.listeners.get(&id).map(|listener| &listener.state);
        if let Some(State::Binding { inner, .. }) = state {
            self.by_inner.remove(inner);
            self.wait(id, missing);
        }
    }

    /// The inner transport was told to close a listener. If the listener was `known` there, its `ListenerClosed` follows.
    pub(crate) fn on_removed(&mut self, id: ListenerId, known: bool) {
        let state = self.listeners.get(&id).map(|listener| &listener.state);
        if let Some(State::Closing { inner, .. }) = state
            && !known
        {
            self.by_inner.remove(inner);
            self.on_gone(id, Ok(()));
        }
    }

    /// The new answer of the inner transport for the address of a waiting or bound listener.
    pub(crate) fn on_answer(&mut self, id: ListenerId, support: Support) {
        let state = self.listeners.get(&id).map(|listener| &listener.state);
        if let Some(State::Listening(_)) = state {
            if let Support::Waiting(missing) = support {
                self.unbind(id, Next::Wait(missing), self.now);
            }
            return;
        }
        let Some(State::Waiting { turn, missing }) = state else {
            return;
        };
        self.waiting.remove(turn);
        let still_missing = match support {
            Support::Never => return self.fail(id, Failure::Unsupported, None, None),
            Support::Now => None,
            Support::Waiting(missing) => Some(missing),
        };
        let has_changed = still_missing.as_ref() != Some(missing);
        let state = self.enqueue(id, still_missing);
        if let Some(listener) = self.listeners.get_mut(&id) {
            listener.state = state;
        }
        if has_changed {
            self.note(id);
        }
    }

    /// The inner transport reports an external change.
    pub(crate) fn on_changed(&mut self, changed: Changed) {
        match changed {
            Changed::Support => {
                self.ask_before = self.next_turn;
                let rows = self.listeners.iter();
                let bound = rows.filter(|(_, row)| matches!(row.state, State::Listening(_)));
                self.ask_bound = bound.map(|(id, _)| *id).collect();
            }
            Changed::Network if self.is_retrying() => {
                self.hurry.on_reason(self.now);
                self.hurry_up();
            }
            Changed::Network => {}
        }
        self.pace.on_touched();
        self.spend_fruitless();
    }

    /// The inner transport returned `Pending`.
    pub(crate) fn on_inner_pending(&mut self) {
        self.pace.on_inner_pending();
    }

    /// The inner transport returned an event.
    pub(crate) fn on_inner_event(&mut self, event: TransportEvent<U, E>) {
        self.pace.on_inner_event(self.is_bind_due());
        let before = self.events.len();
        self.apply(event);
        if self.events.len() == before {
            self.spend_fruitless();
        }
    }

    fn apply(&mut self, event: TransportEvent<U, E>) {
        let inner = id_of(&event);
        let row = self.by_inner.get(&inner);
        let Some((&id, listener)) = row.and_then(|id| Some((id, self.listeners.get_mut(id)?)))
        else {
            tracing::debug!(%inner, "dropped an event of a closed listener");
            return;
        };
        match (&mut listener.state, event) {
            (_, TransportEvent::ListenerClosed { reason, .. }) => {
                self.by_inner.remove(&inner);
                self.on_gone(id, reason);
            }
            (State::Listening(bound), TransportEvent::NewAddress { listen_addr, .. }) => {
                if is_undialable(&listener.address, &listen_addr)
                    || bound.addresses.contains(&listen_addr)
                {
                    return;
                }
                bound.addresses.push(listen_addr.clone());
                bound.has_been_announced = true;
                bound.due = None;
                self.events.push_back(TransportEvent::NewAddress {
                    listener_id: id,
                    listen_addr,
                });
                self.events.extend(mem::take(&mut bound.held));
                self.note(id);
            }
            (State::Listening(bound), TransportEvent::AddressExpired { listen_addr, .. }) => {
                let Some(index) = bound.addresses.iter().position(|a| *a == listen_addr) else {
                    return;
                };
                bound.addresses.remove(index);
                listener.remember_port(&listen_addr);
                self.events.push_back(TransportEvent::AddressExpired {
                    listener_id: id,
                    listen_addr,
                });
                self.note(id);
            }
            (
                State::Listening(bound),
                TransportEvent::Incoming {
                    upgrade,
                    local_addr,
                    send_back_addr,
                    ..
                },
            ) => {
                let incoming = TransportEvent::Incoming {
                    listener_id: id,
                    upgrade,
                    local_addr,
                    send_back_addr,
                };
                if !bound.addresses.is_empty() {
                    self.events.push_back(incoming);
                } else if bound.held.len() < MAX_HELD {
                    bound.held.push(incoming);
                } else {
                    tracing::debug!(
                        parent: &listener.span,
                        "dropped a connection to a listener without an address"
                    );
                }
                self.on_recovered(id);
            }
            (State::Listening(_), TransportEvent::ListenerError { error, .. }) => {
                self.on_inner_error(id, error);
            }
            _ => {}
        }
    }

    /// A bound listener reports an error. It continues, unless it is stuck with this error.
    fn on_inner_error(&mut self, id: ListenerId, error: E) {
        let Some(listener) = self.listeners.get_mut(&id) else {
            return;
        };
        let State::Listening(bound) = &mut listener.state else {
            return;
        };
        let (address, span) = (&listener.address, &listener.span);
        let io = io_error(&error);
        let cause = io.map_or(Cause::Listener, Cause::of);
        let what = io.map_or_else(|| error.to_string(), ToString::to_string);
        let error = match bound.errors.on_error(cause, &what, self.now) {
            Verdict::Tell => {
                match cause {
                    // Strangers can cause these at any rate.
                    Cause::Connection => {
                        tracing::debug!(parent: span, %address, error = %what, "lost a connection before it was accepted");
                    }
                    _ => {
                        tracing::warn!(parent: span, %address, error = %what, "the listener continues after an error");
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
                let place = self.exhausted.push(over, id);
                bound.errors.on_told(exhausted.clone(), place);
                self.note(id);
                Error::Exhausted(exhausted)
            }
            Verdict::Stuck { since } => {
                self.unbind(id, Next::Rebind(Box::new(error)), since);
                return;
            }
        };
        self.events.push_back(TransportEvent::ListenerError {
            listener_id: id,
            error,
        });
    }

    /// A listener has accepted a connection, or has reported no exhaustion for [`APART`].
    fn on_recovered(&mut self, id: ListenerId) {
        let Some(listener) = self.listeners.get_mut(&id) else {
            return;
        };
        let State::Listening(bound) = &mut listener.state else {
            return;
        };
        let Some((since, place)) = bound.errors.on_accepted() else {
            return;
        };
        self.exhausted.remove(place);
        let error = Error::Recovered {
            address: listener.address.clone(),
            after: self.now.saturating_duration_since(since),
        };
        tracing::warn!(parent: &listener.span, "{error}");
        self.events.push_back(TransportEvent::ListenerError {
            listener_id: id,
            error,
        });
        self.note(id);
    }

    /// Ends the exhaustion of listeners that have reported none since.
    fn end_exhaustions(&mut self) {
        while let Some((id, _)) = self.exhausted.pop(self.now) {
            let state = self.listeners.get_mut(&id).map(|row| &mut row.state);
            let Some(State::Listening(bound)) = state else {
                continue;
            };
            let Some(last) = bound.errors.last_exhausted() else {
                continue;
            };
            let over = deadline::after(last, APART);
            if over > self.now {
                bound.errors.on_moved(self.exhausted.push(over, id));
            } else {
                self.on_recovered(id);
            }
        }
    }

    /// The inner transport has closed a listener.
    fn on_gone(&mut self, id: ListenerId, reason: Result<(), E>) {
        let Some(listener) = self.listeners.get_mut(&id) else {
            return;
        };
        match mem::replace(&mut listener.state, State::Closed(None)) {
            State::Listening(bound) => {
                let due = bound.due;
                self.on_unbound(id, bound, self.now);
                let reason = reason.err().map(|reason| Box::new(reason) as _);
                self.fail(id, Failure::Closed, reason, due);
            }
            State::Closing { next, .. } => match next {
                Next::Close => self.close(id, reason.map_err(Error::Inner)),
                Next::Rebind(error) => self.fail(id, Failure::Stuck, Some(error), None),
                Next::Wait(missing) => self.wait(id, missing),
            },
            state => listener.state = state,
        }
    }

    /// What a listener needs has gone. It may have come back while its socket was being closed, so it is asked about.
    fn wait(&mut self, id: ListenerId, missing: Missing) {
        let state = self.enqueue(id, Some(missing));
        self.ask_before = self.next_turn;
        if let Some(listener) = self.listeners.get_mut(&id) {
            listener.state = state;
        }
        self.note(id);
    }

    /// Closes what a bound listener has bound, which worked `until` then.
    fn unbind(&mut self, id: ListenerId, next: Next, until: Instant) {
        let Some(listener) = self.listeners.get_mut(&id) else {
            return;
        };
        let State::Listening(Bound { inner, .. }) = listener.state else {
            return;
        };
        let closing = State::Closing { inner, next };
        if let State::Listening(bound) = mem::replace(&mut listener.state, closing) {
            self.on_unbound(id, bound, until);
            self.closing.push_back(id);
            self.note(id);
        }
    }

    /// A bound listener has ended. It worked until `until`.
    fn on_unbound(&mut self, id: ListenerId, bound: Bound<U, E>, until: Instant) {
        if let Some((_, place)) = bound.errors.told() {
            self.exhausted.remove(*place);
        }
        if let Some(listener) = self.listeners.get_mut(&id) {
            listener.was_bound = true;
            if until.saturating_duration_since(bound.since) >= self.retry.forgets_after() {
                listener.failures = 0;
            }
            if let Some(address) = bound.addresses.first() {
                listener.remember_port(address);
            }
        }
        let expired = |listen_addr| TransportEvent::AddressExpired {
            listener_id: id,
            listen_addr,
        };
        self.events.extend(bound.addresses.into_iter().map(expired));
    }

    /// Reports a failure, and decides whether there is another attempt. An attempt that was made before it was `due` is
    /// not counted.
    fn fail(
        &mut self,
        id: ListenerId,
        failure: Failure,
        source: Option<Box<dyn error::Error + Send + Sync>>,
        due: Option<Instant>,
    ) {
        let Some(listener) = self.listeners.get_mut(&id) else {
            return;
        };
        let due = due.filter(|due| *due > self.now);
        if due.is_none() {
            listener.failures = listener.failures.saturating_add(1);
        }
        let cause = source.as_deref().map(|source| source as _);
        let can_heal = failure != Failure::Unsupported && self.retry.heals(cause);
        let delay = match due {
            _ if !can_heal => None,
            Some(due) => Some(due.saturating_duration_since(self.now)),
            None => self.retry.delay(listener.failures, &mut self.rng),
        };
        let address = listener.address.clone();
        let error = ListenError::new(address, failure, listener.failures, delay, source);
        tracing::warn!(parent: &listener.span, reason = %error.reason(), "{error}");
        self.events.push_back(TransportEvent::ListenerError {
            listener_id: id,
            error: Error::Listen(error.clone()),
        });
        let Some(delay) = delay else {
            return self.close(id, Err(Error::Listen(error)));
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
        self.note(id);
    }

    /// The application or a failure ends a listener.
    fn close(&mut self, id: ListenerId, reason: Result<(), Error<E>>) {
        let error = match &reason {
            Err(Error::Listen(error)) => Some(error.clone()),
            _ => None,
        };
        if let Some(listener) = self.listeners.get_mut(&id) {
            listener.state = State::Closed(error);
        }
        self.note(id);
        self.events.push_back(TransportEvent::ListenerClosed {
            listener_id: id,
            reason,
        });
    }

    /// Whether this event is still to be reported: after a removal, only the close is. Reporting the close forgets the
    /// listener.
    fn on_reporting(&mut self, event: &TransportEvent<U, Error<E>>) -> bool {
        let id = id_of(event);
        if matches!(event, TransportEvent::ListenerClosed { .. }) {
            self.listeners.remove(&id);
            return true;
        }
        !matches!(
            self.listeners.get(&id).map(|listener| &listener.state),
            None | Some(
                State::Closing {
                    next: Next::Close,
                    ..
                } | State::Closed(None)
            )
        )
    }

    /// A listener is in another state, or has other addresses.
    fn note(&mut self, id: ListenerId) {
        let Some(listener) = self.listeners.get(&id) else {
            return;
        };
        let note = listener.note(id);
        tracing::debug!(parent: &listener.span, addresses = ?note.addresses, "{}", note.state);
        if let Some(notes) = &mut self.notes {
            notes.push_back(note);
        }
    }

    /// The state of a listener that is to be bound as soon as nothing is `missing`.
    fn enqueue(&mut self, id: ListenerId, missing: Option<Missing>) -> State<U, E> {
        let turn = self.next_turn;
        self.next_turn += 1;
        match missing {
            Some(missing) => {
                self.waiting.insert(turn, id);
                State::Waiting { turn, missing }
            }
            None => {
                let was_bound = self.listeners.get(&id).is_some_and(|row| row.was_bound);
                let queue = match was_bound {
                    true => &mut self.registered_again,
                    false => &mut self.registered,
                };
                queue.insert(turn, id);
                State::Registered { turn }
            }
        }
    }

    fn next_removal(&mut self) -> Option<Action<U, E>> {
        if self.budget.sockets == 0 {
            return None;
        }
        while let Some(listener) = self.closing.pop_front() {
            // The inner transport may have closed it by itself.
            let state = self.listeners.get(&listener).map(|row| &row.state);
            if let Some(&State::Closing { inner, .. }) = state {
                self.budget.sockets -= 1;
                self.pace.on_touched();
                return Some(Action::Remove { listener, inner });
            }
        }
        None
    }

    fn next_bind(&mut self) -> Option<Action<U, E>> {
        if self.budget.sockets == 0 {
            return None;
        }
        let (id, due) = self.next_to_bind()?;
        let listener = self.listeners.get_mut(&id)?;
        let inner = ListenerId::next();
        listener.state = State::Binding { inner, due };
        listener.was_bound = false;
        let address = listener.bind_address();
        self.note(id);
        self.by_inner.insert(inner, id);
        self.budget.sockets -= 1;
        self.pace.on_bind();
        Some(Action::Bind {
            listener: id,
            inner,
            address,
        })
    }

    /// The next listener to bind, and the time at which that was due if it is not the first attempt.
    fn next_to_bind(&mut self) -> Option<(ListenerId, Option<Instant>)> {
        let mut next = None;
        if self.pace.may_bind() {
            if let Some((_, id)) = self.registered.pop_first() {
                return Some((id, None));
            }
            next = self.retries.pop(self.now);
        }
        if next.is_none() && self.pace.may_rebind() {
            if let Some((_, id)) = self.registered_again.pop_first() {
                return Some((id, None));
            }
            next = self.rebinds.pop(self.now);
        }
        next.map(|(id, due)| (id, Some(due)))
    }

    fn next_ask(&mut self) -> Option<Action<U, E>> {
        if self.budget.asks == 0 || !self.is_ask_due() {
            return None;
        }
        let id = match self.ask_bound.pop_front() {
            Some(id) => id,
            None => self.waiting.pop_first()?.1,
        };
        self.budget.asks -= 1;
        Some(Action::Ask {
            listener: id,
            address: self.listeners.get(&id)?.address.clone(),
        })
    }

    /// Whether a bind is due.
    fn is_bind_due(&self) -> bool {
        !self.registered.is_empty()
            || !self.registered_again.is_empty()
            || self.retries.has(self.now)
            || self.rebinds.has(self.now)
    }

    fn is_ask_due(&self) -> bool {
        let first = self.waiting.first_key_value();
        !self.ask_bound.is_empty() || first.is_some_and(|(turn, _)| *turn < self.ask_before)
    }

    /// Whether a listener waits for another attempt.
    fn is_retrying(&self) -> bool {
        !self.retries.is_empty() || !self.rebinds.is_empty()
    }

    /// Makes all next attempts due now, if an early attempt is due.
    fn hurry_up(&mut self) {
        if self.hurry.take(self.now) {
            self.retries.hurry();
            self.rebinds.hurry();
        }
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

#[cfg(test)]
mod tests;
