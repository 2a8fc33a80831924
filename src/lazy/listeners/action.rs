use libp2p_core::transport::{ListenerId, TransportEvent};
use multiaddr::Multiaddr;

use crate::lazy::Error;

/// What the shell is to do now.
#[derive(Debug)]
pub(crate) enum Action<U, E> {
    /// Return this from `poll`.
    Report(TransportEvent<U, Error<E>>),
    /// Let the inner transport listen, and say how that went: [`Listeners::on_bound`](super::Listeners::on_bound) or
    /// [`Listeners::on_bind_failed`](super::Listeners::on_bind_failed).
    Bind {
        listener: ListenerId,
        inner: ListenerId,
        address: Multiaddr,
    },
    /// Ask the inner transport what it says now, for [`Listeners::on_answer`](super::Listeners::on_answer).
    Ask {
        listener: ListenerId,
        address: Multiaddr,
    },
    /// Hear from the inner transport whether something has changed, for [`Listeners::on_changed`](super::Listeners::on_changed), and if not,
    /// poll it, for [`Listeners::on_inner_event`](super::Listeners::on_inner_event) or [`Listeners::on_inner_pending`](super::Listeners::on_inner_pending).
    PollInner,
    /// The inner transport is to close this one, and its answer goes to [`Listeners::on_left_answered`](super::Listeners::on_left_answered).
    Leave {
        listener: ListenerId,
        inner: ListenerId,
    },
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
    /// The inner transport is to remove this one, and its answer goes to [`Listeners::on_removal_answered`](super::Listeners::on_removal_answered).
    AskInner(ListenerId),
}
