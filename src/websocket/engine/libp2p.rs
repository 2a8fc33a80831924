//! libp2p-websocket, which only speaks: what is listened on, and what is heard of that, does not pass through it.

use std::{
    net::Ipv4Addr,
    num::NonZeroUsize,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker, ready},
};

use futures::{FutureExt as _, TryFutureExt as _, future::MapErr};
use libp2p_core::transport::{DialOpts, ListenerId, Transport, TransportError, TransportEvent};
use multiaddr::{Multiaddr, Protocol};

use super::bounded::Bounded;
use crate::{
    lazy::Support,
    websocket::{
        Config, Connection, Error,
        address::Security,
        below::{Dialer, Tcp},
        tls::Tls,
    },
};

type Stock<T> = libp2p_websocket::Config<Handed<T>>;
type Slot<T> = Arc<Mutex<Option<Accepted<<T as Transport>::ListenerUpgrade>>>>;

pub(super) struct Libp2p<T: Tcp> {
    stock: Stock<T>,
    accepted: Slot<T>,
    /// What stands in it for all listeners without TLS,
    plain: ListenerId,
    /// and for those with it, once there is a certificate.
    tls: Option<ListenerId>,
    max_frame_size: NonZeroUsize,
}

impl<T: Tcp> Libp2p<T> {
    pub(super) fn new(below: Dialer<T>, config: &Config, tls: &Tls) -> Self {
        let accepted = Slot::<T>::default();
        let mut stock = Stock::new(Handed {
            below,
            accepted: Arc::clone(&accepted),
        });
        stock
            .set_max_redirects(config.max_redirects())
            .set_max_data_size(config.max_frame_size().get());
        let plain = ListenerId::next();
        stand_in(&mut stock, plain, Protocol::Ws("/".into()));
        let mut libp2p = Self {
            stock,
            accepted,
            plain,
            tls: None,
            max_frame_size: config.max_frame_size(),
        };
        libp2p.set_tls(tls);
        libp2p
    }

    /// Nothing is done before it is polled. `None` if there is no certificate for what needs one. `from` is for what
    /// libp2p-websocket logs.
    pub(super) fn accept(
        &mut self,
        upgrade: T::ListenerUpgrade,
        security: Security,
        from: Multiaddr,
    ) -> Option<Upgrading<T>> {
        let listener = match security {
            Security::Plain => self.plain,
            Security::Tls => self.tls?,
        };
        *lock::<T>(&self.accepted) = Some(Accepted {
            listener,
            upgrade,
            from,
        });
        // What is handed to it comes back in the same call.
        let mut cx = Context::from_waker(Waker::noop());
        match Pin::new(&mut self.stock).poll(&mut cx) {
            Poll::Ready(TransportEvent::Incoming { upgrade, .. }) => Some(self.upgrading(upgrade)),
            _ => None,
        }
    }

    pub(super) fn dial(
        &mut self,
        address: Multiaddr,
        opts: DialOpts,
    ) -> Result<Upgrading<T>, TransportError<Error>> {
        let stock = self
            .stock
            .dial(address, opts)
            .map_err(|error| error.map(Error::from))?;
        Ok(self.upgrading(stock))
    }

    pub(super) fn has_certificate(&self) -> bool {
        self.tls.is_some()
    }

    /// Replaces both sides of TLS, and nothing else.
    pub(super) fn set_tls(&mut self, tls: &Tls) {
        self.stock.set_tls_config(tls.libp2p());
        if self.tls.is_none() && tls.support() == Support::Now {
            let id = ListenerId::next();
            stand_in(&mut self.stock, id, Protocol::Wss("/".into()));
            self.tls = Some(id);
        }
    }

    fn upgrading(&self, stock: <Stock<T> as Transport>::Dial) -> Upgrading<T> {
        Upgrading {
            stock,
            max_frame_size: self.max_frame_size,
        }
    }
}

/// Tells libp2p-websocket of a listener with this protocol, of which it will hear nothing but connections.
fn stand_in<T: Tcp>(stock: &mut Stock<T>, id: ListenerId, protocol: Protocol<'_>) {
    let address = Multiaddr::from(Ipv4Addr::LOCALHOST)
        .with(Protocol::Tcp(0))
        .with(protocol);
    let listening = stock.listen_on(id, address);
    debug_assert!(listening.is_ok(), "what it has below takes all of them");
}

fn lock<T: Tcp>(slot: &Slot<T>) -> MutexGuard<'_, Option<Accepted<T::ListenerUpgrade>>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What libp2p-websocket has below: it dials there, and hears of nothing but the connections that it is handed.
struct Handed<T: Tcp> {
    below: Dialer<T>,
    accepted: Slot<T>,
}

struct Accepted<U> {
    listener: ListenerId,
    upgrade: U,
    from: Multiaddr,
}

impl<T: Tcp> Handed<T> {
    fn error(error: T::Error) -> Error {
        Error::Transport(Box::new(error))
    }
}

impl<T: Tcp> Transport for Handed<T> {
    type Output = T::Output;
    type Error = Error;
    type ListenerUpgrade = MapErr<T::ListenerUpgrade, fn(T::Error) -> Error>;
    type Dial = MapErr<T::Dial, fn(T::Error) -> Error>;

    fn listen_on(&mut self, _: ListenerId, _: Multiaddr) -> Result<(), TransportError<Error>> {
        Ok(())
    }

    fn remove_listener(&mut self, _: ListenerId) -> bool {
        false
    }

    fn dial(
        &mut self,
        addr: Multiaddr,
        opts: DialOpts,
    ) -> Result<Self::Dial, TransportError<Error>> {
        match self.below.dial(addr, opts) {
            Ok(Ok(dial)) => Ok(dial.map_err(Self::error as fn(_) -> _)),
            Ok(Err(error)) => Err(error.map(Self::error)),
            Err(dropped) => Err(TransportError::Other(dropped.into())),
        }
    }

    fn poll(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, Error>> {
        let Some(accepted) = lock::<T>(&self.accepted).take() else {
            return Poll::Pending;
        };
        Poll::Ready(TransportEvent::Incoming {
            listener_id: accepted.listener,
            upgrade: accepted.upgrade.map_err(Self::error as fn(_) -> _),
            local_addr: Multiaddr::empty(),
            send_back_addr: accepted.from,
        })
    }
}

/// libp2p-websocket has one for both roles.
pub(in crate::websocket) struct Upgrading<T: Tcp> {
    stock: <Stock<T> as Transport>::Dial,
    max_frame_size: NonZeroUsize,
}

impl<T: Tcp> Future for Upgrading<T> {
    type Output = Result<Connection, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let max_frame_size = self.max_frame_size;
        let connection = ready!(self.stock.poll_unpin(cx)).map_err(Error::from)?;
        Poll::Ready(Ok(Connection::new(Bounded::new(
            connection,
            max_frame_size,
        ))))
    }
}
