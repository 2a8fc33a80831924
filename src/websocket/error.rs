use std::{fmt, io, time::Duration};

use multiaddr::Multiaddr;

use crate::{
    lazy,
    websocket::{HandshakeError, TlsError},
};

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// What goes wrong in a [`websocket::Transport`](crate::websocket::Transport).
///
/// A message never repeats that of its [`source`](std::error::Error::source).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The transport below failed. On the runtimes of this crate, the source is an `io::Error`.
    #[error("TCP failed")]
    Transport(#[source] Cause),
    /// The TLS handshake failed, for instance because the certificate of the other side is not trusted. The source says
    /// why, and what to do.
    #[error("TLS failed")]
    Tls(#[source] TlsError),
    /// The other side does not speak WebSocket, or refused. With
    /// [`Engine::Stream`](crate::websocket::Engine::Stream) the source is a
    /// [`HandshakeError`].
    #[error("the WebSocket handshake failed")]
    Handshake(#[source] Cause),
    /// The peer could not be authenticated by Noise. Only if the transport is
    /// [`upgraded`](crate::lazy::Transport::upgraded).
    #[cfg(feature = "upgrade")]
    #[error("Noise failed")]
    Noise(#[source] Cause),
    /// The peer does not speak Yamux. Only if the transport is [`upgraded`](crate::lazy::Transport::upgraded).
    #[cfg(feature = "upgrade")]
    #[error("Yamux failed")]
    Yamux(#[source] Cause),
    /// The other side broke the WebSocket protocol. Only with `Engine::Libp2p`.
    #[cfg(feature = "libp2p-websocket")]
    #[error("the WebSocket protocol failed")]
    Protocol(#[source] Cause),
    /// The handshake was not done by its [deadline](crate::websocket::Config::with_handshake_timeout).
    #[error("the handshake was not done within {after:?}")]
    #[non_exhaustive]
    HandshakeTimedOut {
        /// How long it had.
        after: Duration,
    },
    /// A newer connection took the place of this handshake: its port or its remote address had as many pending
    /// handshakes as it [may have](crate::websocket::Config::with_max_pending_handshakes).
    #[error("a newer connection took the place of this pending handshake")]
    Evicted,
    /// The other side sent a WebSocket message larger than
    /// [this node takes](crate::websocket::Config::with_max_frame_size), or began to. It is in the `io::Error` that
    /// the [`Connection`](crate::websocket::Connection) is read with.
    #[cfg(feature = "libp2p-websocket")]
    #[error("a WebSocket message of {size} bytes or more is larger than this node takes")]
    #[non_exhaustive]
    MessageTooLarge {
        /// Its size as far as it is known, in bytes.
        size: u64,
    },
    /// More redirects than [`Config::with_max_redirects`](crate::websocket::Config::with_max_redirects) allows.
    #[error("redirected more often than `Config::with_max_redirects` allows")]
    TooManyRedirects,
    /// The other side redirected to something that is not a WebSocket address.
    #[error("redirected to something that is not a WebSocket address")]
    InvalidRedirect,
    /// The other side redirected from TLS to where there is none. Only with
    /// [`Engine::Stream`](crate::websocket::Engine::Stream): libp2p-websocket goes there.
    #[error("redirected from TLS to an address without it")]
    RedirectWithoutTls,
    /// Nothing can be reached at what was dialled: its port is 0, or its IP address is `0.0.0.0` or `::`.
    #[error("cannot dial {address}: {reason}")]
    #[non_exhaustive]
    Undialable {
        /// What was dialled, or what it led to.
        address: Multiaddr,
        /// Why, in a few words.
        reason: &'static str,
    },
    /// The transport below cannot dial what this address has before `/ws`.
    #[error("unsupported address {0}")]
    UnsupportedAddress(Multiaddr),
    /// The transport was dropped before it could dial. A dial that already has its TCP connection goes on, unless it
    /// is redirected.
    #[error("the transport was dropped before it could dial")]
    TransportDropped,
    /// A name that was dialled could not be looked up. The source says why. It is of the kind `NotFound` if there is no such
    /// name, or if it leads to no address that can be dialled, `InvalidInput` if it is no name at all, and `TimedOut` if no
    /// answer came.
    #[error("cannot look up {name:?}")]
    #[non_exhaustive]
    Lookup {
        /// What was looked up. For a `/dnsaddr` it begins with `_dnsaddr.`.
        name: String,
        /// With what that failed.
        source: io::Error,
    },
    /// What was dialled had not answered by the
    /// [deadline of the dial](crate::websocket::Config::with_dial_timeout), or in half of the time that was left if it had
    /// been connected and other addresses were still to be tried.
    #[error("no connection within {after:.1?}")]
    #[non_exhaustive]
    DialTimedOut {
        /// How long it had.
        after: Duration,
    },
    /// None of the addresses that a name has, or that a `/dnsaddr` leads to, could be connected to. Where only one was
    /// tried for a name, its error takes the place of this one.
    #[error("cannot connect to {}", Listed(attempts))]
    #[non_exhaustive]
    Dial {
        /// What was tried, in the order in which it failed.
        attempts: Vec<Attempt>,
    },
}

impl Error {
    /// Finds it in what a swarm reports of a transport: in `TransportError::Other` of a `DialError::Transport`, or of the
    /// `ListenError::Transport` of an `IncomingConnectionError`.
    ///
    /// A swarm turns the errors of its transport into [`io::Error`]s, and the layers between wrap them further. `None` if
    /// the error is of something else, such as a [`ListenError`](crate::lazy::ListenError), which has
    /// [`find`](crate::lazy::ListenError::find) itself.
    pub fn find(error: &io::Error) -> Option<&Self> {
        lazy::find(error)
    }

    /// Of what is no name.
    pub(super) fn lookup(name: String, why: &'static str) -> Self {
        let source = io::Error::new(io::ErrorKind::InvalidInput, why);
        Self::Lookup { name, source }
    }

    /// Of the transport below.
    pub(super) fn below(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Transport(Box::new(error))
    }

    /// For another who is to hear of it: of the same kind and in the same words.
    pub(super) fn again(&self) -> Self {
        let kind = self.io().map_or(io::ErrorKind::Other, io::Error::kind);
        Self::below(io::Error::new(kind, reason(self)))
    }

    /// Of a dial that tried these, each with its error.
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

    /// The error of the operating system behind it, if there is one.
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

/// An address that was tried for a dial, and why it came to nothing.
#[derive(Debug)]
#[non_exhaustive]
pub struct Attempt {
    /// On an IP, or what was dialled if it is the lookup that failed.
    pub address: Multiaddr,
    /// An [`Error`], and none that has attempts itself.
    pub error: Cause,
}

/// What an error says with all that is behind it, beside the address that it is about.
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

/// Each with all that is behind it, as none of them alone can be the source; and each reason once.
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
