use std::collections::VecDeque;

use libp2p_core::transport::ListenerId;
use tracing::{Level, level_filters::LevelFilter};

use super::listener::Listener;
use crate::lazy::status::Note;

/// What is to be told to those who watch; nothing if nobody does.
#[derive(Debug, Default)]
pub(super) struct Changes(Option<VecDeque<Note>>);

impl Changes {
    /// Somebody watches from now on. They are to be told first how things are.
    pub(super) fn watch(&mut self) {
        self.0.get_or_insert_default();
    }

    /// A listener is in a new state, or has other addresses.
    ///
    /// Three times for each listener of a start, which mostly nobody looks at.
    #[inline]
    pub(super) fn note<U>(&mut self, id: ListenerId, listener: &Listener<U>) {
        if self.0.is_some() || LevelFilter::current() >= Level::DEBUG {
            self.tell(id, listener);
        }
    }

    fn tell<U>(&mut self, id: ListenerId, listener: &Listener<U>) {
        tracing::debug!(
            parent: listener.span(), addresses = ?listener.addresses(),
            "{}", listener.readiness()
        );
        if let Some(changes) = &mut self.0 {
            changes.push_back(Note {
                listener: id,
                address: listener.address.clone(),
                state: listener.readiness(),
                addresses: listener.addresses().to_vec(),
                exhausted: listener.exhausted().map(|(exhausted, _)| exhausted.clone()),
            });
        }
    }

    pub(super) fn pop(&mut self) -> Option<Note> {
        self.0.as_mut()?.pop_front()
    }
}
