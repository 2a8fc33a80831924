//! What every listener is doing, and what is to be done next.

use std::{
    collections::{HashMap, VecDeque},
    error,
};

use libp2p_core::transport::{ListenerId, TransportError, TransportEvent};
use multiaddr::Multiaddr;
use rand::{SeedableRng as _, rngs::SmallRng};

use crate::{
    deadline::Instant,
    lazy::{Changed, Config, Error, Failure, Missing, Retry, Support, status::Note},
};

mod action;
mod changes;
mod due;
mod errors;
mod event;
mod failing;
mod listener;
#[cfg(any(test, fuzzing))]
pub(crate) mod outside;
mod pace;
mod queue;
mod reach;

pub(crate) use action::{Action, Removal};
use changes::Changes;
use due::{Due, Hurry};
use listener::{Listener, State, is_undialable};
use pace::Pace;
use queue::{Queue, Turn};
use reach::Reach;

/// How many connections one listener may be holding back because it has no address yet. Further ones are
/// dropped, as a full backlog of the kernel would.
const MAX_HELD_PER_LISTENER: usize = 16;

/// How many waiting listeners one `poll` asks about. Asking is cheap, and goes on in the next.
const MAX_ASKS_PER_POLL: usize = 64;

/// How often one `poll` goes on to the next event of the inner transport after one that led to nothing.
const MAX_FRUITLESS_PER_POLL: usize = 64;

/// The state of every listener, and the decisions about them: to bind, to report, to try again, to close.
///
/// It does no work of its own. `U` and `E` are the upgrades and errors of the inner transport; it keeps them and
/// never looks into them. Its methods are of three kinds:
///
/// - *commands* of the application: [`on_listen`](Self::on_listen) and [`on_remove`](Self::on_remove);
/// - *inputs*, all called `on_*`: what happened to the inner transport, or what it answered;
/// - *outputs*: [`poll_action`](Self::poll_action), what to do now; [`next_timeout`](Self::next_timeout), when to
///   poll again; and [`poll_change`](Self::poll_change), what somebody who watches is to be told.
///
/// A poll of the shell begins with [`on_poll`](Self::on_poll) and carries out one action after the other, with
/// the input that each asks for, until one of them ends it: [`Action::Report`] or [`Action::Rest`], or an event of
/// the inner transport that is to be reported at once. Inputs that may have to do with time are told how to learn it,
/// and ask only if it matters: a start with many listeners has as many polls, and to read the clock is a good part
/// of what each of them adds.
///
/// Inside, every listener that binds gets a fresh id of the inner transport, since that may still know the one
/// it had before. What the inner transport says about an id that nobody has any more is dropped.
#[derive(Debug)]
pub(crate) struct Listeners<U, E> {
    max_binds_per_poll: usize,
    retry: Retry,
    rng: SmallRng,
    /// When it last mattered; in a poll that somebody's next attempt waits for, that is in this poll.
    now: Instant,
    /// One for each `listen_on` of the application whose `ListenerClosed` has not been reported.
    listeners: HashMap<ListenerId, Listener<U>>,
    /// From the ids of the inner transport to the application's; for those that bind, are bound or are closing.
    by_inner: HashMap<ListenerId, ListenerId>,
    /// Those in [`State::Registered`].
    to_bind: Queue,
    /// Those in [`State::Retrying`] that have nothing bound in the inner transport.
    retries: Due,
    /// The others of them: what they had bound may still be there until the inner transport has nothing to say.
    rebinds: Due,
    /// Of both.
    hurry: Hurry,
    /// Those that are exhausted, by when that is over if nothing is heard of it.
    exhausted: Due,
    /// Those in [`State::Waiting`].
    waiting: Queue,
    /// Who is waiting since before this turn is to be asked about again.
    ask_before: Turn,
    /// Those that came into [`State::Leaving`] and that the inner transport has not been told to close.
    leaving: VecDeque<ListenerId>,
    /// Decided and not yet reported: per listener at most one address with the connections held back for it, the end of
    /// its exhaustion, or its addresses expiring, one error and the close.
    events: VecDeque<TransportEvent<U, Error<E>>>,
    changes: Changes,
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

impl<U, E> Listeners<U, E>
where
    E: error::Error + Send + Sync + 'static,
{
    /// `seed` is for what is left to chance in delays.
    pub(crate) fn new(config: &Config, seed: u64, now: Instant) -> Self {
        Self {
            max_binds_per_poll: config.max_binds_per_poll().get(),
            retry: config.retry().clone(),
            rng: SmallRng::seed_from_u64(seed),
            now,
            listeners: HashMap::default(),
            by_inner: HashMap::default(),
            to_bind: Queue::default(),
            retries: Due::default(),
            rebinds: Due::default(),
            hurry: Hurry::default(),
            exhausted: Due::default(),
            waiting: Queue::default(),
            ask_before: 0,
            leaving: VecDeque::new(),
            events: VecDeque::new(),
            changes: Changes::default(),
            pace: Pace::new(),
            budget: Budget {
                binds: 0,
                asks: 0,
                fruitless: 0,
            },
        }
    }

    /// From now on, changes are told by [`poll_change`](Self::poll_change); first, how things are.
    pub(crate) fn watch(&mut self) {
        self.changes.watch();
        for (id, listener) in &self.listeners {
            self.changes.note(*id, listener);
        }
    }

    /// What somebody who watches is to be told next. To be drained before anything else happens.
    pub(crate) fn poll_change(&mut self) -> Option<Note> {
        self.changes.pop()
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
        let span = tracing::debug_span!("listener", %id, %address);
        let listener = Listener::new(address, self.enqueue(id, missing), span);
        self.changes.note(id, &listener);
        self.listeners.insert(id, listener);
        Ok(())
    }

    /// The application wants a listener to end.
    pub(crate) fn on_remove(&mut self, id: ListenerId) -> Removal {
        self.forget_errors(id);
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
            State::Retrying {
                place, is_rebind, ..
            } => {
                match is_rebind {
                    true => self.rebinds.remove(place),
                    false => self.retries.remove(place),
                }
                self.close(id, true, Ok(()));
                Removal::Done
            }
            State::Binding { inner }
            | State::Listening { inner, .. }
            | State::Leaving { inner, .. } => {
                self.pace.on_touched();
                listener.state = State::Closing { inner };
                self.changes.note(id, listener);
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
    pub(crate) fn on_poll(&mut self, now: impl FnOnce() -> Instant) {
        if !self.is_retrying() {
            self.hurry.cancel();
        }
        if self.is_retrying() || !self.exhausted.is_empty() {
            self.on_time(now());
        }
        self.pace.on_poll();
        self.budget = Budget {
            binds: self.max_binds_per_poll,
            asks: MAX_ASKS_PER_POLL,
            fruitless: MAX_FRUITLESS_PER_POLL,
        };
    }

    /// It is later now, still in the same poll.
    pub(crate) fn on_time(&mut self, now: Instant) {
        self.now = now;
        if self.hurry.take(now) {
            self.retries.hurry();
            self.rebinds.hurry();
        }
        self.end_exhaustions();
    }

    /// When to poll again, if nothing happens before.
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

    /// What to do now. What is decided comes before what is to be found out.
    pub(crate) fn poll_action(&mut self) -> Action<U, E> {
        while let Some(event) = self.events.pop_front() {
            if self.on_reporting(&event) {
                return Action::Report(event);
            }
        }
        if let Some(leave) = self.next_leave() {
            return leave;
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
            again: !is_settled || self.is_bind_due() || self.waiting.has_before(self.ask_before),
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
        tracing::debug!(parent: listener.span(), "bound");
        listener.on_bound(self.now);
        listener.state = State::Listening {
            inner,
            reach: Reach::nowhere(),
            is_announced: false,
            errors: None,
        };
    }

    /// The inner transport could not listen.
    pub(crate) fn on_bind_failed(
        &mut self,
        id: ListenerId,
        error: TransportError<E>,
        now: impl FnOnce() -> Instant,
    ) {
        let Some(listener) = self.listeners.get(&id) else {
            return;
        };
        let State::Binding { inner } = listener.state else {
            return;
        };
        self.now = now();
        self.by_inner.remove(&inner);
        match error {
            // The address in here is often what was left of ours on the way down.
            TransportError::MultiaddrNotSupported(_) => self.fail(id, Failure::Unsupported, None),
            TransportError::Other(error) => self.fail(id, Failure::Bind, Some(Box::new(error))),
        }
    }

    /// Whether the inner transport knew the listener that it was to close. If it did, its close is still to come.
    pub(crate) fn on_left_answered(
        &mut self,
        id: ListenerId,
        known: bool,
        now: impl FnOnce() -> Instant,
    ) {
        if let Some(Listener {
            state: State::Leaving { inner, .. },
            ..
        }) = self.listeners.get(&id)
            && !known
        {
            let inner = *inner;
            self.now = now();
            self.by_inner.remove(&inner);
            self.on_gone(id, None);
        }
    }

    /// What the inner transport says now about the address of a waiting listener.
    pub(crate) fn on_answer(
        &mut self,
        id: ListenerId,
        support: Support,
        now: impl FnOnce() -> Instant,
    ) {
        let Some(listener) = self.listeners.get(&id) else {
            return;
        };
        let State::Waiting { turn, missing } = &listener.state else {
            return;
        };
        self.waiting.remove(*turn);
        let still_missing = match support {
            Support::Never => {
                self.now = now();
                return self.fail(id, Failure::Unsupported, None);
            }
            Support::Now => None,
            Support::Waiting(missing) => Some(missing),
        };
        let has_changed = still_missing.as_ref() != Some(missing);
        let state = self.enqueue(id, still_missing);
        if let Some(listener) = self.listeners.get_mut(&id) {
            listener.state = state;
            if has_changed {
                self.changes.note(id, listener);
            }
        }
    }

    /// The inner transport says that something has changed.
    pub(crate) fn on_changed(&mut self, changed: Changed, now: impl FnOnce() -> Instant) {
        match changed {
            Changed::Support => self.ask_before = self.waiting.next_turn(),
            Changed::Network if !self.is_retrying() => {}
            Changed::Network => {
                let now = now();
                self.hurry.on_reason(now);
                self.on_time(now);
            }
        }
        self.pace.on_touched();
        self.spend_fruitless();
    }

    /// The inner transport has nothing to say.
    pub(crate) fn on_inner_pending(&mut self) {
        self.pace.on_inner_pending();
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

    fn next_leave(&mut self) -> Option<Action<U, E>> {
        while let Some(id) = self.leaving.pop_front() {
            if let Some(Listener {
                state: State::Leaving { inner, .. },
                ..
            }) = self.listeners.get(&id)
            {
                self.pace.on_touched();
                return Some(Action::Leave {
                    listener: id,
                    inner: *inner,
                });
            }
        }
        None
    }

    /// Whether somebody waits for another attempt.
    fn is_retrying(&self) -> bool {
        !self.retries.is_empty() || !self.rebinds.is_empty()
    }

    /// Whether somebody is to be bound now.
    fn is_bind_due(&self) -> bool {
        !self.to_bind.is_empty() || self.retries.has(self.now) || self.rebinds.has(self.now)
    }

    fn next_bind(&mut self) -> Option<Action<U, E>> {
        if self.budget.binds == 0 {
            return None;
        }
        let (id, due) = self.next_to_bind()?;
        let listener = self.listeners.get_mut(&id)?;
        if let Some(due) = due {
            listener.on_attempt(due);
        }
        let inner = ListenerId::next();
        listener.state = State::Binding { inner };
        let address = listener.bind_address();
        self.changes.note(id, listener);
        // All at once, for those that wait will be there too.
        self.by_inner.reserve(self.to_bind.len() + 1);
        self.by_inner.insert(inner, id);
        self.budget.binds -= 1;
        self.pace.on_bind(inner);
        Some(Action::Bind {
            listener: id,
            inner,
            address,
        })
    }

    /// Who is to be bound, and when that was due if it is not the first attempt.
    fn next_to_bind(&mut self) -> Option<(ListenerId, Option<Instant>)> {
        if self.pace.may_bind()
            && let Some(id) = self.to_bind.pop()
        {
            return Some((id, None));
        }
        let mut next = None;
        if self.pace.may_bind() {
            next = self.retries.pop(self.now);
        }
        if next.is_none() && self.pace.may_rebind() {
            next = self.rebinds.pop(self.now);
        }
        next.map(|(id, due)| (id, Some(due)))
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
        let error = match &reason {
            Err(Error::Listen(error)) => Some(error.clone()),
            _ => None,
        };
        if let Some(listener) = self.listeners.get_mut(&id) {
            listener.state = State::Closed { removed, error };
            self.changes.note(id, listener);
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
            None | Some(State::Closing { .. } | State::Closed { removed: true, .. })
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

#[cfg(test)]
mod tests;
