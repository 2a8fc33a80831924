//! One type for the transports of all runtimes.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use libp2p::{
    Multiaddr, Transport,
    core::transport::{DialOpts, ListenerId, TransportError, TransportEvent},
};
use libp2p_lazy_websocket::{
    lazy::{Changed, Inner, Support},
    websocket::{Connection, Error},
};

type Upgrade = BoxFuture<'static, Result<Connection, Error>>;
type Object = dyn Inner<Output = Connection, Error = Error, ListenerUpgrade = Upgrade, Dial = Upgrade>
    + Send
    + Unpin;

pub(crate) struct Any(Box<Object>);

impl Any {
    pub(crate) fn new<T>(transport: T) -> Self
    where
        T: Inner<Output = Connection, Error = Error, ListenerUpgrade = Upgrade, Dial = Upgrade>
            + Send
            + Unpin
            + 'static,
    {
        Self(Box::new(transport))
    }
}

impl Inner for Any {
    fn support(&self, address: &Multiaddr) -> Support {
        self.0.support(address)
    }

    fn poll_changed(&mut self, cx: &mut Context<'_>) -> Poll<Changed> {
        self.0.poll_changed(cx)
    }
}

impl Transport for Any {
    type Output = Connection;
    type Error = Error;
    type ListenerUpgrade = Upgrade;
    type Dial = Upgrade;

    fn listen_on(&mut self, id: ListenerId, addr: Multiaddr) -> Result<(), TransportError<Error>> {
        self.0.listen_on(id, addr)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.0.remove_listener(id)
    }

    fn dial(&mut self, addr: Multiaddr, opts: DialOpts) -> Result<Upgrade, TransportError<Error>> {
        self.0.dial(addr, opts)
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Upgrade, Error>> {
        Pin::new(&mut *self.0).poll(cx)
    }
}
