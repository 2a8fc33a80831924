use std::{io, time::Duration};

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// The reason for which an [outgoing proxy](crate::websocket::OutgoingProxy) gave no connection, which is the
/// [`source`](std::error::Error::source) of [`Error::Proxy`](crate::websocket::Error::Proxy).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// There is no connection to the proxy. The source is an [`Error`](crate::websocket::Error).
    #[error("cannot connect to the proxy")]
    Connect(#[source] Cause),
    /// The connection to the proxy ended within the handshake.
    #[error("the connection to the proxy broke")]
    Io(#[source] io::Error),
    /// The proxy did not connect to the target before the
    /// [deadline of the dial](crate::websocket::Config::with_dial_timeout).
    #[error("the proxy did not connect within {after:.1?}")]
    #[non_exhaustive]
    TimedOut {
        /// The time that it had.
        after: Duration,
    },
    /// The proxy requires credentials, or others.
    #[error("the proxy {}", if *.given { "refused the user name or the password" } else { "requires a user name and a password" })]
    #[non_exhaustive]
    Credentials {
        /// Whether it has [credentials](crate::websocket::OutgoingProxy::with_credentials).
        given: bool,
    },
    /// The proxy could not connect to the target: its name is unknown, its host or port does not answer, or it refused the
    /// connection.
    #[error("the proxy could not connect to the target: {answer}")]
    #[non_exhaustive]
    Unreachable {
        /// The answer of the proxy, such as `host unreachable` or `502 Bad Gateway`.
        answer: String,
    },
    /// The proxy does not connect to this host, this port, or at all.
    #[error("the proxy refused to connect to the target: {answer}")]
    #[non_exhaustive]
    Refused {
        /// The answer of the proxy, such as `not allowed by its rules` or `403 Forbidden`.
        answer: String,
    },
    /// The host of the target is neither an IP address nor a DNS name. It was not sent to the proxy: it could add to the
    /// request.
    #[error("the name of the target is not a DNS name, and was not sent to the proxy")]
    InvalidName,
    /// The answer is not that of a proxy of this kind.
    #[error("the other side is not a proxy of this kind")]
    NotAProxy(#[source] Cause),
    /// The dial is in the role of a listener, as in hole punching, where both sides connect at once. The proxy cannot do that,
    /// and a direct connection would bypass it.
    #[error("a proxy cannot dial in the role of a listener, as for hole punching")]
    ListenerRole,
}

/// The reason for which a text does not describe an [`OutgoingProxy`](crate::websocket::OutgoingProxy). It does not repeat the
/// text, which may contain a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidProxy {
    /// The address is not a host and a port.
    #[error(
        "the address of the proxy is not a host and a port, such as 127.0.0.1:1080, [::1]:1080 or proxy.example.com:3128"
    )]
    Address,
    /// The user name is empty, longer than 255 bytes, or has a colon or a control character.
    #[error(
        "the user name has to be of 1 to 255 bytes, without a colon and without control characters"
    )]
    User,
    /// The password is empty, longer than 255 bytes, or has a control character.
    #[error("the password has to be of 1 to 255 bytes, without control characters")]
    Password,
}
