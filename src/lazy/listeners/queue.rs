use std::collections::VecDeque;

use libp2p_core::transport::ListenerId;

/// Listeners in the order they came, each of which can leave from the middle.
///
/// It holds at most one entry per listener that the application has registered, also when thousands are
/// registered and removed between two polls.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// In the order of their turns, so that one is found by halving. Taking it out moves the entries on its
    /// shorter side, which only a removal by the application does.
    entries: VecDeque<(Turn, ListenerId)>,
    next: Turn,
}

/// A place in a [`Queue`]. Later ones are greater; none is given twice.
pub(super) type Turn = u64;

impl Queue {
    pub(super) fn push(&mut self, listener: ListenerId) -> Turn {
        let turn = self.next;
        self.next += 1;
        self.entries.push_back((turn, listener));
        turn
    }

    pub(super) fn remove(&mut self, turn: Turn) {
        if let Ok(index) = self.entries.binary_search_by_key(&turn, |entry| entry.0) {
            self.entries.remove(index);
        }
    }

    pub(super) fn pop(&mut self) -> Option<ListenerId> {
        self.entries.pop_front().map(|(_, listener)| listener)
    }

    /// Takes the first one if it came before `turn`.
    pub(super) fn pop_before(&mut self, turn: Turn) -> Option<ListenerId> {
        if self.has_before(turn) {
            self.pop()
        } else {
            None
        }
    }

    pub(super) fn has_before(&self, turn: Turn) -> bool {
        self.entries.front().is_some_and(|(first, _)| *first < turn)
    }

    /// The turn that the next one to come will get: everybody in the queue is before it.
    pub(super) fn next_turn(&self) -> Turn {
        self.next
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}
