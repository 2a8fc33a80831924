use std::{
    error, fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use libp2p_core::transport::{DialOpts, ListenerId, Transport, TransportError, TransportEvent};
use multiaddr::Multiaddr;

/// What [`lazy::Transport`](crate::lazy::Transport) must know of a transport that it wraps.
///
/// `Transport` has no way to ask whether an address could be listened on: asking means binding.
pub trait ListenSupport: Transport {
    /// Whether the transport could listen on `address`, told from the address and from its own configuration,
    /// without a system call.
    ///
    /// Asked in `listen_on`, and again for waiting listeners after [`ListenSupport::poll_changed`]. [`Support::Now`] is
    /// no promise: the bind may still fail.
    fn support(&self, address: &Multiaddr) -> Support;

    /// Where the transport takes up what comes to it from outside its listeners and connections, such as a new
    /// certificate, and says what that may change for listeners that wait.
    ///
    /// Called before every `Transport::poll`: what is accepted there already has the new certificate.
    /// So it must be cheap, and return `Pending` once it has said so. A transport that nothing comes to has
    /// nothing to do here.
    fn poll_changed(&mut self, cx: &mut Context<'_>) -> Poll<Changed> {
        let _ = cx;
        Poll::Pending
    }
}

/// An answer of [`ListenSupport::support`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Support {
    /// It could never listen there, whatever happens. Given back in `listen_on`; the next transport may.
    Never,
    /// It would try.
    Now,
    /// It could, once something is there. The listener waits.
    Waiting(Missing),
}

/// What [`ListenSupport::poll_changed`] tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Changed {
    /// An answer of [`ListenSupport::support`] may be another now, or have another reason to wait. Listeners that were told to
    /// wait are asked about again.
    Support,
    /// A bind that failed may succeed now, for instance since an address is back on its interface. Listeners
    /// that wait for their next attempt make it now.
    Network,
}

/// What a listener waits for. Shows itself with the reason, such as "certificate: chain.pem does not exist".
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Missing {
    /// A TLS certificate.
    Certificate {
        /// Why the one that was offered last was refused; `None` if none was.
        last_error: Option<Arc<dyn error::Error + Send + Sync>>,
    },
    /// Something else, in a word or two.
    Other(&'static str),
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate { last_error: None } => f.write_str("certificate"),
            Self::Certificate {
                last_error: Some(error),
            } => write!(f, "certificate: {error}"),
            Self::Other(what) => f.write_str(what),
        }
    }
}

/// Two errors are the same if they are one value.
impl PartialEq for Missing {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Certificate { last_error },
                Self::Certificate {
                    last_error: other_error,
                },
            ) => match (last_error, other_error) {
                (Some(error), Some(other)) => Arc::ptr_eq(error, other),
                (None, None) => true,
                _ => false,
            },
            (Self::Other(what), Self::Other(other)) => what == other,
            _ => false,
        }
    }
}

impl Eq for Missing {}

/// Any transport, with a closure that tells on which addresses it could listen.
///
/// An address that the closure accepts and the transport refuses later closes its listener with
/// [`Failure::Unsupported`](crate::lazy::Failure::Unsupported), and is not offered to the next transport.
///
/// Stock `libp2p-websocket` over TCP, made lazy:
///
/// ```
/// use std::pin::Pin;
///
/// use futures::future::poll_fn;
/// use libp2p_core::{Transport as _, transport::ListenerId};
/// use libp2p_lazy_websocket::lazy;
/// use multiaddr::{Multiaddr, Protocol};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let tcp = libp2p_tcp::tokio::Transport::new(libp2p_tcp::Config::default());
/// let stock = libp2p_websocket::Config::new(tcp);
/// let websocket = lazy::Filtered::new(stock, |address: &Multiaddr| {
///     let protocols: Vec<_> = address.iter().skip(1).collect();
///     matches!(protocols[..], [Protocol::Tcp(_), Protocol::Ws(_)])
/// });
/// let mut transport = lazy::Transport::new(websocket, lazy::Config::default());
///
/// transport.listen_on(ListenerId::next(), "/ip4/127.0.0.1/tcp/0/ws".parse()?)?;
/// let event = poll_fn(|cx| Pin::new(&mut transport).poll(cx)).await;
/// println!("{}", event.into_new_address().expect("port 0 is always free"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Filtered<T, F> {
    transport: T,
    accepts: F,
}

impl<T, F> Filtered<T, F>
where
    F: Fn(&Multiaddr) -> bool,
{
    /// `accepts` says whether `transport` could ever listen on an address.
    pub fn new(transport: T, accepts: F) -> Self {
        Self { transport, accepts }
    }
}

impl<T: fmt::Debug, F> fmt::Debug for Filtered<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filtered")
            .field("transport", &self.transport)
            .finish_non_exhaustive()
    }
}

// Nothing in it is ever pinned but `transport`, which is `Unpin` wherever it is.
impl<T: Unpin, F> Unpin for Filtered<T, F> {}

impl<T, F> ListenSupport for Filtered<T, F>
where
    T: Transport + Unpin,
    F: Fn(&Multiaddr) -> bool,
{
    fn support(&self, address: &Multiaddr) -> Support {
        if (self.accepts)(address) {
            Support::Now
        } else {
            Support::Never
        }
    }
}

impl<T, F> Transport for Filtered<T, F>
where
    T: Transport + Unpin,
{
    type Output = T::Output;
    type Error = T::Error;
    type ListenerUpgrade = T::ListenerUpgrade;
    type Dial = T::Dial;

    fn listen_on(
        &mut self,
        id: ListenerId,
        addr: Multiaddr,
    ) -> Result<(), TransportError<Self::Error>> {
        self.transport.listen_on(id, addr)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.transport.remove_listener(id)
    }

    fn dial(
        &mut self,
        addr: Multiaddr,
        opts: DialOpts,
    ) -> Result<Self::Dial, TransportError<Self::Error>> {
        self.transport.dial(addr, opts)
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, Self::Error>> {
        Pin::new(&mut self.transport).poll(cx)
    }
}
