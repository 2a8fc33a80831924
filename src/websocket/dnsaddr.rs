//! Dials `/dnsaddr/<name>`: looks up where the name leads, and dials that, one address after the other.
//!
//! What to look up and what to dial is decided in [`walk`]. The future of a dial carries it out, except that only the
//! transport can dial: for each address it sends a [`Request`], which the transport answers when it is polled.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use futures::{
    SinkExt as _, StreamExt as _,
    channel::{
        mpsc::{self, Receiver, Sender},
        oneshot,
    },
    future::BoxFuture,
};
use libp2p_core::transport::{DialOpts, ListenerId, TransportError, TransportEvent};
use multiaddr::{Multiaddr, Protocol};

use crate::{
    lazy::{Changed, Inner, Support},
    websocket::{Connection, Error},
};

mod error;
mod records;
mod walk;

pub use error::DnsaddrError;
pub(super) use records::{LookUp, into_io, of_name_servers};

use records::Resolver;
use walk::{Step, Walk};

/// How many requests one `poll` answers before it asks to be polled again. A dial has one at a time, and may send the
/// next as soon as it is answered.
const MAX_REQUESTS_PER_POLL: usize = 64;

type Dial = BoxFuture<'static, Result<Connection, Error>>;

/// Dials `/dnsaddr`, and leaves all else to `T`.
pub(super) struct Transport<T> {
    inner: T,
    /// `None` leaves `/dnsaddr` to `T` as well.
    resolver: Option<Resolver>,
    requests: Requests,
}

/// How the dials reach the transport.
enum Requests {
    /// Not at all yet, so that one that never dials a `/dnsaddr` has nothing to look after but whom to wake if one does.
    None(Option<Waker>),
    /// Holds one request of each dial.
    Channel(Sender<Request>, Receiver<Request>),
}

/// What a dial wants to be dialled.
struct Request {
    address: Multiaddr,
    opts: DialOpts,
    reply: oneshot::Sender<Result<Dial, TransportError<Error>>>,
}

impl<T> Transport<T> {
    pub(super) fn new(inner: T, look_up: Option<LookUp>) -> Self {
        Self {
            inner,
            resolver: look_up.map(Resolver::new),
            requests: Requests::None(None),
        }
    }

    /// For a new dial.
    fn sender(&mut self) -> Sender<Request> {
        match &mut self.requests {
            Requests::Channel(sender, _) => sender.clone(),
            Requests::None(waker) => {
                // Nobody has been woken by the channel so far: the next `poll` is the first that listens to it.
                if let Some(waker) = waker.take() {
                    waker.wake();
                }
                let (sender, receiver) = mpsc::channel(0);
                self.requests = Requests::Channel(sender.clone(), receiver);
                sender
            }
        }
    }
}

impl<T> Transport<T>
where
    T: Inner<Dial = Dial, Error = Error>,
{
    #[cold]
    fn answer(inner: &mut T, requests: &mut Receiver<Request>, cx: &mut Context<'_>) {
        for _ in 0..MAX_REQUESTS_PER_POLL {
            let Poll::Ready(Some(request)) = requests.poll_next_unpin(cx) else {
                return;
            };
            if !request.reply.is_canceled() {
                // Whoever has lost interest meanwhile drops it.
                let _ = request
                    .reply
                    .send(inner.dial(request.address, request.opts));
            }
        }
        cx.waker().wake_by_ref();
    }
}

impl<T: fmt::Debug> fmt::Debug for Transport<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("inner", &self.inner)
            .field("resolver", &self.resolver)
            .finish_non_exhaustive()
    }
}

impl<T> Inner for Transport<T>
where
    T: Inner<Output = Connection, Dial = Dial, Error = Error> + Unpin,
{
    fn support(&self, address: &Multiaddr) -> Support {
        self.inner.support(address)
    }

    fn poll_changed(&mut self, cx: &mut Context<'_>) -> Poll<Changed> {
        self.inner.poll_changed(cx)
    }
}

impl<T> libp2p_core::Transport for Transport<T>
where
    T: Inner<Output = Connection, Dial = Dial, Error = Error> + Unpin,
{
    type Output = Connection;
    type Error = Error;
    type ListenerUpgrade = T::ListenerUpgrade;
    type Dial = Dial;

    fn listen_on(
        &mut self,
        id: ListenerId,
        addr: Multiaddr,
    ) -> Result<(), TransportError<Self::Error>> {
        self.inner.listen_on(id, addr)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.inner.remove_listener(id)
    }

    fn dial(
        &mut self,
        addr: Multiaddr,
        opts: DialOpts,
    ) -> Result<Self::Dial, TransportError<Self::Error>> {
        if !matches!(addr.iter().next(), Some(Protocol::Dnsaddr(_))) {
            return self.inner.dial(addr, opts);
        }
        let Some(resolver) = self.resolver.clone() else {
            return self.inner.dial(addr, opts);
        };
        let Some(walk) = Walk::new(&addr) else {
            return Err(TransportError::MultiaddrNotSupported(addr));
        };
        Ok(Box::pin(dial(addr, walk, resolver, self.sender(), opts)))
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, Self::Error>> {
        let this = &mut *self;
        if let Requests::Channel(_, requests) = &mut this.requests {
            Self::answer(&mut this.inner, requests, cx);
        }
        let event = Pin::new(&mut this.inner).poll(cx);
        if event.is_pending()
            && let Requests::None(waker) = &mut this.requests
        {
            match waker {
                Some(waker) => waker.clone_from(cx.waker()),
                None => *waker = Some(cx.waker().clone()),
            }
        }
        event
    }
}

async fn dial(
    dialled: Multiaddr,
    mut walk: Walk,
    resolver: Resolver,
    mut requests: Sender<Request>,
    opts: DialOpts,
) -> Result<Connection, Error> {
    let dropped = || Error::Dnsaddr {
        address: dialled.clone(),
        source: DnsaddrError::TransportDropped,
    };
    loop {
        let address = match walk.next() {
            Step::Fail(error) => return Err(error),
            Step::LookUp(name) => {
                match resolver.look_up(name).await {
                    Ok(records) => walk.on_records(records),
                    Err(error) => walk.on_lookup_failed(error),
                }
                continue;
            }
            Step::Dial(address) => address,
        };
        let (reply, answer) = oneshot::channel();
        let request = Request {
            address: address.clone(),
            opts,
            reply,
        };
        requests.feed(request).await.map_err(|_| dropped())?;
        let error = match answer.await.map_err(|_| dropped())? {
            Ok(dialling) => match dialling.await {
                Ok(connection) => return Ok(connection),
                Err(error) => error,
            },
            Err(TransportError::Other(error)) => error,
            Err(TransportError::MultiaddrNotSupported(_)) => {
                tracing::debug!(%address, "passed over an address that a name led to");
                continue;
            }
        };
        walk.on_dial_failed(address, error);
    }
}

#[cfg(test)]
mod tests;
