//! A transport whose listeners die when a test wants them to.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use libp2p::{
    Multiaddr, Transport,
    core::transport::{DialOpts, ListenerId, TransportError, TransportEvent},
};
use libp2p_lazy_websocket::{
    lazy::{Changed, ListenSupport, Support},
    websocket::{Connection, Error},
};

pub(crate) struct Mortal {
    inner: libp2p_lazy_websocket::websocket::Transport,
    listeners: Vec<ListenerId>,
    death: Death,
}

#[derive(Clone, Default)]
pub(crate) struct Death(Arc<AtomicBool>);

impl Death {
    /// All listeners die in the next poll.
    pub(crate) fn strike(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Mortal {
    pub(crate) fn new(inner: libp2p_lazy_websocket::websocket::Transport) -> (Self, Death) {
        let death = Death::default();
        let mortal = Self {
            inner,
            listeners: Vec::new(),
            death: death.clone(),
        };
        (mortal, death)
    }
}

impl ListenSupport for Mortal {
    fn support(&self, address: &Multiaddr) -> Support {
        self.inner.support(address)
    }

    fn poll_changed(&mut self, cx: &mut Context<'_>) -> Poll<Changed> {
        self.inner.poll_changed(cx)
    }
}

impl Transport for Mortal {
    type Output = Connection;
    type Error = Error;
    type ListenerUpgrade =
        <libp2p_lazy_websocket::websocket::Transport as Transport>::ListenerUpgrade;
    type Dial = <libp2p_lazy_websocket::websocket::Transport as Transport>::Dial;

    fn listen_on(&mut self, id: ListenerId, addr: Multiaddr) -> Result<(), TransportError<Error>> {
        self.inner.listen_on(id, addr)?;
        self.listeners.push(id);
        Ok(())
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.inner.remove_listener(id)
    }

    fn dial(
        &mut self,
        addr: Multiaddr,
        opts: DialOpts,
    ) -> Result<Self::Dial, TransportError<Error>> {
        self.inner.dial(addr, opts)
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, Error>> {
        let this = &mut *self;
        if this.death.0.swap(false, Ordering::Relaxed) {
            for id in this.listeners.drain(..) {
                this.inner.remove_listener(id);
            }
        }
        Pin::new(&mut this.inner).poll(cx)
    }
}
