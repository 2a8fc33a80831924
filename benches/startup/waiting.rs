//! A transport that could listen anywhere, if only it had a certificate.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use libp2p::{
    Multiaddr,
    core::transport::{
        DialOpts, ListenerId, Transport, TransportError, TransportEvent, dummy::DummyTransport,
    },
};
use libp2p_lazy_websocket::lazy::{ListenSupport, Missing, Support};

type Nothing = DummyTransport<()>;

#[derive(Default)]
pub(crate) struct Waiting(Nothing);

impl ListenSupport for Waiting {
    fn support(&self, _: &Multiaddr) -> Support {
        Support::Waiting(Missing::Certificate { last_error: None })
    }
}

impl Transport for Waiting {
    type Output = ();
    type Error = io::Error;
    type ListenerUpgrade = <Nothing as Transport>::ListenerUpgrade;
    type Dial = <Nothing as Transport>::Dial;

    fn listen_on(
        &mut self,
        id: ListenerId,
        addr: Multiaddr,
    ) -> Result<(), TransportError<io::Error>> {
        self.0.listen_on(id, addr)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.0.remove_listener(id)
    }

    fn dial(
        &mut self,
        addr: Multiaddr,
        opts: DialOpts,
    ) -> Result<Self::Dial, TransportError<io::Error>> {
        self.0.dial(addr, opts)
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        Pin::new(&mut self.0).poll(cx)
    }
}
