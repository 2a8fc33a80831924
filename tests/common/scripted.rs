//! A transport without a network: it says what the test tells it to say.

#![allow(dead_code, reason = "each test file uses its part")]

use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use futures::future::Pending;
use libp2p::{
    Multiaddr, PeerId, Transport,
    core::{
        muxing::StreamMuxerBox,
        transport::{DialOpts, ListenerId, TransportError, TransportEvent},
    },
};

/// Why a listener complains.
#[derive(Debug)]
pub(crate) struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("broken, as the test wants it")
    }
}

impl std::error::Error for Broken {}

type Upgrade = Pending<Result<(PeerId, StreamMuxerBox), Broken>>;
pub(crate) type Event = TransportEvent<Upgrade, Broken>;

/// Says what is pushed, and lets a listener have the address it asked for as soon as it is bound.
#[derive(Clone, Default)]
pub(crate) struct Scripted(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    events: VecDeque<Event>,
    waker: Option<Waker>,
    /// Whether `listen_on` and `remove_listener` are answered with events; off, only the test speaks.
    silent: bool,
}

impl Scripted {
    /// One that says nothing by itself.
    pub(crate) fn silent() -> Self {
        Self(Arc::new(Mutex::new(State {
            silent: true,
            ..State::default()
        })))
    }

    pub(crate) fn push(&self, event: Event) {
        let mut state = self.0.lock().unwrap();
        state.events.push_back(event);
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }

    fn answer(&self, event: Event) {
        if !self.0.lock().unwrap().silent {
            self.push(event);
        }
    }
}

impl Transport for Scripted {
    type Output = (PeerId, StreamMuxerBox);
    type Error = Broken;
    type ListenerUpgrade = Upgrade;
    type Dial = Upgrade;

    fn listen_on(&mut self, id: ListenerId, addr: Multiaddr) -> Result<(), TransportError<Broken>> {
        self.answer(TransportEvent::NewAddress {
            listener_id: id,
            listen_addr: addr,
        });
        Ok(())
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.answer(TransportEvent::ListenerClosed {
            listener_id: id,
            reason: Ok(()),
        });
        true
    }

    fn dial(&mut self, addr: Multiaddr, _: DialOpts) -> Result<Upgrade, TransportError<Broken>> {
        Err(TransportError::MultiaddrNotSupported(addr))
    }

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Event> {
        let mut state = self.0.lock().unwrap();
        match state.events.pop_front() {
            Some(event) => Poll::Ready(event),
            None => {
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}
