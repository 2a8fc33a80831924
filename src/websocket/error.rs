use std::{fmt, io, time::Duration};

use multiaddr::Multiaddr;

use crate::{
    lazy,
    websocket::{HandshakeError, ProxyError, TlsError},
};

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// The error of a [`websocket::Transport`](crate::websocket::Transport).
///
/// Its text does not repeat that of its [`source`](std::error::Error::source).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The TCP transport failed. On the runtimes of this crate, the source is an `io::Error`.
    #[error("TCP failed")]
    Transport(#[source] Cause),
    /// The TLS handshake failed, for instance because the certificate of the peer is not trusted. The source has the reason
    /// and the remedy.
    #[error("TLS failed")]
    Tls(#[source] TlsError),
    /// The other side does not speak WebSocket, or refused the request. With
    /// [`Engine::Stream`](crate::websocket::Engine::Stream) the source is a [`HandshakeError`].
    #[error("the WebSocket handshake failed")]
    Handshake(#[source] Cause),
    /// Noise could not authenticate the peer. Only on an [`upgraded`](crate::lazy::Transport::upgraded) transport.
    #[cfg(feature = "upgrade")]
    #[error("Noise failed")]
    Noise(#[source] Cause),
    /// The peer does not speak Yamux. Only on an [`upgraded`](crate::lazy::Transport::upgraded) transport.
    #[cfg(feature = "upgrade")]
    #[error("Yamux failed")]
    Yamux(#[source] Cause),
    /// The other side violated the WebSocket protocol. Only with `Engine::Libp2p`.
    #[cfg(feature = "libp2p-websocket")]
    #[error("the WebSocket protocol failed")]
    Protocol(#[source] Cause),
    /// The handshake was not complete at its [deadline](crate::websocket::Config::with_handshake_timeout).
    #[error("the handshake was not complete within {after:?}")]
    #[non_exhaustive]
    HandshakeTimedOut {
        /// The time that it had.
        after: Duration,
    },
    /// The pending handshake was closed in favour of a newer one, because its port or remote address was at its
    /// [limit](crate::websocket::Config::with_max_pending_handshakes).
    #[error("a newer connection took the place of this pending handshake")]
    Evicted,
    /// The other side sent, or began to send, a WebSocket message above the
    /// [maximum size](crate::websocket::Config::with_max_frame_size). Found in the `io::Error` of a read of the
    /// [`Connection`](crate::websocket::Connection).
    #[cfg(feature = "libp2p-websocket")]
    #[error("a WebSocket message of {size} bytes or more exceeds the maximum of this node")]
    #[non_exhaustive]
    MessageTooLarge {
        /// The known part of its size, in bytes.
        size: u64,
    },
    /// More redirects than [`Config::with_max_redirects`](crate::websocket::Config::with_max_redirects) allows.
    #[error("redirected more often than `Config::with_max_redirects` allows")]
    TooManyRedirects,
    /// The other side redirected to something that is not a WebSocket address.
    #[error("redirected to something that is not a WebSocket address")]
    InvalidRedirect,
    /// The other side redirected from TLS to a URL without TLS. Only with
    /// [`Engine::Stream`](crate::websocket::Engine::Stream): libp2p-websocket follows such a redirect.
    #[error("redirected from TLS to an address without it")]
    RedirectWithoutTls,
    /// The address cannot be dialled: its port is 0, or its IP address is `0.0.0.0` or `::`.
    #[error("cannot dial {address}: {reason}")]
    #[non_exhaustive]
    Undialable {
        /// The dialled address, or one that it led to.
        address: Multiaddr,
        /// The reason, in a few words.
        reason: &'static str,
    },
    /// The TCP transport does not support the part of this address before `/ws`.
    #[error("unsupported address {0}")]
    UnsupportedAddress(Multiaddr),
    /// The transport was dropped before it could dial. A dial that already has its TCP connection goes on, unless it
    /// is redirected.
    #[error("the transport was dropped before it could dial")]
    TransportDropped,
    /// The lookup of a dialled name failed, for the reason in the source. Its kind is `NotFound` if the name does not exist
    /// or has no address that can be dialled, `InvalidInput` if it is not a name, and `TimedOut` if no answer came.
    #[error("cannot look up {name:?}")]
    #[non_exhaustive]
    Lookup {
        /// The name. For a `/dnsaddr` it begins with `_dnsaddr.`.
        name: String,
        /// The reason.
        source: io::Error,
    },
    /// The address did not answer before the [deadline of the dial](crate::websocket::Config::with_dial_timeout). A
    /// connected address has half of the remaining time while others are still to be tried.
    #[error("no connection within {after:.1?}")]
    #[non_exhaustive]
    DialTimedOut {
        /// The time that it had.
        after: Duration,
    },
    /// The [outgoing proxy](crate::websocket::Config::with_outgoing_proxy) gave no connection.
    #[error("cannot dial through the {proxy}")]
    #[non_exhaustive]
    Proxy {
        /// The proxy without its credentials, such as `SOCKS5 proxy 127.0.0.1:1080`.
        proxy: String,
        /// The reason.
        source: ProxyError,
    },
    /// All addresses of a name or a `/dnsaddr` failed. If only one address of a name was tried, its error is returned in
    /// place of this one.
    #[error("cannot connect to {}", Listed(attempts))]
    #[non_exhaustive]
    Dial {
        /// The attempts, in the order in which they failed.
        attempts: Vec<Attempt>,
    },
}

impl Error {
    /// Finds the error in an error of a swarm: in `TransportError::Other` of a `DialError::Transport`, or of the
    /// `ListenError::Transport` of an `IncomingConnectionError`.
    ///
    /// A swarm turns the errors of its transport into [`io::Error`]s, and the layers between wrap them further. `None` if
    /// the error is of another kind, such as a [`ListenError`](crate::lazy::ListenError), which has its own
    /// [`find`](crate::lazy::ListenError::find).
    pub fn find(error: &io::Error) -> Option<&Self> {
        lazy::find(error)
    }

    /// From an invalid name.
    pub(super) fn lookup(name: String, why: &'static str) -> Self {
        let source = io::Error::new(io::ErrorKind::InvalidInput, why);
        Self::Lookup { name, source }
    }

    /// From the transport below.
    pub(super) fn below(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Transport(Box::new(error))
    }

    /// From a dial through this proxy.
    pub(super) fn proxy(proxy: &impl fmt::Display, source: ProxyError) -> Self {
        Self::Proxy {
            proxy: proxy.to_string(),
            source,
        }
    }

    /// A copy for another caller: the error of the operating system, or one of the same kind with the same text. Of some, such
    /// as running out of descriptors, only the code tells which they are.
    pub(super) fn again(&self) -> Self {
        let io = self.io();
        Self::below(match io.and_then(io::Error::raw_os_error) {
            Some(code) => io::Error::from_raw_os_error(code),
            None => io::Error::new(
                io.map_or(io::ErrorKind::Other, io::Error::kind),
                reason(self),
            ),
        })
    }

    /// From the failed attempts of a dial.
    pub(super) fn of_attempts(attempts: Vec<(Multiaddr, Self)>) -> Self {
        let mut flat = Vec::new();
        for (address, error) in attempts {
            match error {
                Self::Dial { attempts } => flat.extend(attempts),
                error => flat.push(Attempt {
                    address,
                    error: Box::new(error),
                }),
            }
        }
        Self::Dial { attempts: flat }
    }

    /// The error of the operating system in its chain, if there is one.
    pub(super) fn io(&self) -> Option<&io::Error> {
        let mut link = std::error::Error::source(self);
        while let Some(error) = link {
            if let Some(found) = error.downcast_ref() {
                return Some(found);
            }
            link = error.source();
        }
        None
    }
}

/// A failed attempt of a dial.
#[derive(Debug)]
#[non_exhaustive]
pub struct Attempt {
    /// The address, with an IP; the dialled address if the lookup failed.
    pub address: Multiaddr,
    /// The [`Error`], which is never an [`Error::Dial`].
    pub error: Cause,
}

/// The text of an error with its sources, without the address, which is printed beside it.
fn reason(mut error: &(dyn std::error::Error + 'static)) -> String {
    match error.downcast_ref() {
        Some(Error::Transport(cause)) => error = &**cause,
        Some(Error::Undialable { reason, .. }) => return (*reason).to_owned(),
        Some(Error::UnsupportedAddress(_)) => return "unsupported address".to_owned(),
        _ => {}
    }
    let mut reason = error.to_string();
    while let Some(source) = error.source() {
        reason = format!("{reason}: {source}");
        error = source;
    }
    reason
}

/// Each attempt with its sources, because none alone can be the source of the error. Each reason is printed once.
struct Listed<'a>(&'a [Attempt]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left: Vec<_> = self
            .0
            .iter()
            .map(|a| (&a.address, reason(&*a.error)))
            .collect();
        let mut separator = "";
        while let Some((_, reason)) = left.first().cloned() {
            for (address, _) in left.extract_if(.., |(_, other)| *other == reason) {
                write!(f, "{separator}{address}")?;
                separator = ", ";
            }
            write!(f, " ({reason})")?;
        }
        Ok(())
    }
}

impl From<HandshakeError> for Error {
    fn from(error: HandshakeError) -> Self {
        Self::Handshake(Box::new(error))
    }
}
