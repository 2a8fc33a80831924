use std::{
    borrow::Cow,
    error, fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use libp2p_core::transport::{DialOpts, ListenerId, Transport, TransportError, TransportEvent};
use multiaddr::Multiaddr;

/// A transport that can tell whether it could listen on an address, as [`lazy::Transport`](crate::lazy::Transport) needs
/// it.
///
/// `Transport` itself has only `listen_on`, which binds. [`Filtered`] implements this trait for any transport.
pub trait ListenSupport: Transport {
    /// Whether the transport could listen on `address`, judged by the address and by the transport's configuration,
    /// without a system call.
    ///
    /// Called in `listen_on`, and again for waiting listeners after [`ListenSupport::poll_changed`]. The bind may fail
    /// even after [`Support::Now`].
    fn support(&self, address: &Multiaddr) -> Support;

    /// Takes up an external change, such as a new certificate, and returns its kind.
    ///
    /// Called before every `Transport::poll`, so that connections accepted there already use the new certificate. It
    /// must be cheap, and return `Pending` after each change has been reported once.
    ///
    /// The default is for a transport without such changes.
    fn poll_changed(&mut self, cx: &mut Context<'_>) -> Poll<Changed> {
        let _ = cx;
        Poll::Pending
    }
}

/// An answer of [`ListenSupport::support`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Support {
    /// The transport can never listen on the address. `listen_on` returns it for the next transport.
    Never,
    /// The transport can listen on the address now.
    Now,
    /// The transport can listen on the address later. The listener waits.
    Waiting(Missing),
}

/// A change that [`ListenSupport::poll_changed`] reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Changed {
    /// [`ListenSupport::support`] may answer differently. It is called again for each waiting listener.
    Support,
    /// A bind that failed may succeed now, for instance because an address is back on its interface. Listeners that wait
    /// for their next attempt make it now.
    Network,
}

/// What a listener waits for. Displays with the reason, such as "certificate: chain.pem does not exist".
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Missing {
    /// A TLS certificate.
    Certificate {
        /// Why the last certificate was refused; `None` if there was none.
        last_error: Option<Arc<dyn error::Error + Send + Sync>>,
    },
    /// Anything else, in a few words.
    Other(Cow<'static, str>),
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

/// Errors are compared by address.
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

/// Any transport, with a closure that decides on which addresses it could listen.
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
    /// `accepts` returns whether `transport` could ever listen on an address.
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

// Only `transport` is ever pinned, and it is `Unpin`.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lazy::scripted::Scripted;

    #[test]
    fn a_filter_hands_all_but_the_question_on() {
        let inner = Scripted::default();
        inner.script().announces = true;
        let is_first = |address: &Multiaddr| *address == Multiaddr::empty();
        let mut filtered = Filtered::new(inner.clone(), is_first);
        let other: Multiaddr = "/memory/1".parse().unwrap();
        let supports = [&Multiaddr::empty(), &other].map(|address| filtered.support(address));
        assert_eq!(supports, [Support::Now, Support::Never]);

        let id = ListenerId::next();
        filtered.listen_on(id, other.clone()).unwrap();
        assert_eq!(inner.script().bound, [(id, other.clone())]);
        let mut cx = Context::from_waker(futures::task::noop_waker_ref());
        let polled = Pin::new(&mut filtered).poll(&mut cx);
        assert!(matches!(
            polled,
            Poll::Ready(TransportEvent::NewAddress { listener_id, listen_addr })
                if listener_id == id && listen_addr == other
        ));
        for is_known in [true, false] {
            inner.script().forgetful = !is_known;
            assert_eq!(filtered.remove_listener(id), is_known);
        }
        assert_eq!(inner.script().removed, [id, id]);
    }

    #[test]
    fn what_is_missing_is_the_same_for_the_same_reason_alone() {
        let certificate = |last_error| Missing::Certificate { last_error };
        let failure = || Some(Arc::new(fmt::Error) as Arc<dyn error::Error + Send + Sync>);
        let first = failure();
        let all = [
            certificate(None),
            certificate(first.clone()),
            certificate(failure()),
            Missing::Other("a".into()),
            Missing::Other("b".into()),
        ];
        for (at, one) in all.iter().enumerate() {
            for (other_at, other) in all.iter().enumerate() {
                assert_eq!(one == other, at == other_at, "{one:?}, {other:?}");
            }
        }
        assert_eq!(certificate(first.clone()), certificate(first));
        assert_eq!(Missing::Other("a".into()), Missing::Other("a".into()));
    }
}
