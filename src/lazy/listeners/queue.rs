use std::collections::BTreeMap;

use libp2p_core::transport::ListenerId;

/// Listeners in the order they came, each of which can leave from the middle.
///
/// It holds at most one entry per listener that the application has registered, also when thousands are
/// registered and removed between two polls.
#[derive(Debug, Default)]
pub(super) struct Queue {
    by_turn: BTreeMap<Turn, ListenerId>,
    next: Turn,
}

/// A place in a [`Queue`]. Later ones are greater; none is given twice.
pub(super) type Turn = u64;

impl Queue {
    pub(super) fn push(&mut self, listener: ListenerId) -> Turn {
        let turn = self.next;
        self.next += 1;
        self.by_turn.insert(turn, listener);
        turn
    }

    pub(super) fn remove(&mut self, turn: Turn) {
        self.by_turn.remove(&turn);
    }

    pub(super) fn pop(&mut self) -> Option<ListenerId> {
        self.by_turn.pop_first().map(|(_, listener)| listener)
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
        self.by_turn
            .first_key_value()
            .is_some_and(|(first, _)| *first < turn)
    }

    /// The turn that the next one to come will get: everybody in the queue is before it.
    pub(super) fn next_turn(&self) -> Turn {
        self.next
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_turn.is_empty()
    }
}
