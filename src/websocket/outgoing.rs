//! A proxy through which this node dials, and the handshake with it.

use std::{
    fmt, io,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures::{AsyncRead, AsyncWrite};
use multiaddr::{Multiaddr, Protocol};
use rustls::pki_types::DnsName;
use tokio_socks::{TargetAddr, io::AsyncSocket, tcp::Socks5Stream};

use crate::websocket::{
    HandshakeError, Network,
    address::{Host, host_and_port, undialable},
    upgrade,
};

mod error;

pub use error::{InvalidProxy, ProxyError};

/// Maximum number of networks that are dialled without the proxy.
const MAX_NETWORKS: usize = 1024;

/// A proxy through which this node dials: see
/// [`Config::with_outgoing_proxy`](crate::websocket::Config::with_outgoing_proxy).
///
/// Its `Debug` and `Display` have no credentials.
#[derive(Clone)]
pub struct OutgoingProxy {
    speaks: Speaks,
    address: Multiaddr,
    credentials: Option<Arc<Credentials>>,
    direct: Vec<Network>,
}

#[derive(Debug, Clone, Copy)]
enum Speaks {
    Socks5,
    Http,
}

struct Credentials {
    user: String,
    password: String,
}

impl OutgoingProxy {
    /// A SOCKS5 proxy ([RFC 1928]) at this host and port, such as `127.0.0.1:9050`, `[::1]:1080` or
    /// `proxy.example.com:1080`: Tor, `ssh -D`, dante.
    ///
    /// # Errors
    ///
    /// If the address is not a host and a port.
    ///
    /// [RFC 1928]: https://www.rfc-editor.org/rfc/rfc1928
    pub fn socks5(address: &str) -> Result<Self, InvalidProxy> {
        Self::new(Speaks::Socks5, address)
    }

    /// An HTTP proxy at this host and port that supports CONNECT ([RFC 9110, section 9.3.6]), such as Squid. Many allow only
    /// port 443. The connection to the proxy is not encrypted, so others on the way can read its credentials.
    ///
    /// # Errors
    ///
    /// If the address is not a host and a port.
    ///
    /// [RFC 9110, section 9.3.6]: https://www.rfc-editor.org/rfc/rfc9110#section-9.3.6
    pub fn http(address: &str) -> Result<Self, InvalidProxy> {
        Self::new(Speaks::Http, address)
    }

    fn new(speaks: Speaks, address: &str) -> Result<Self, InvalidProxy> {
        Ok(Self {
            speaks,
            address: parse(address).ok_or(InvalidProxy::Address)?,
            credentials: None,
            direct: Vec::new(),
        })
    }

    /// The user name and password for the proxy: for SOCKS5 as in RFC 1929, for HTTP as `Basic`. They are sent unencrypted.
    ///
    /// Defaults to none.
    ///
    /// # Errors
    ///
    /// If one of them is empty, longer than 255 bytes or has a control character, or the user name has a colon.
    pub fn with_credentials(
        mut self,
        user: impl Into<String>,
        password: impl Into<String>,
    ) -> Result<Self, InvalidProxy> {
        let (user, password) = (user.into(), password.into());
        let is_valid =
            |text: &str| (1..=255).contains(&text.len()) && !text.chars().any(char::is_control);
        if !is_valid(&user) || user.contains(':') {
            return Err(InvalidProxy::User);
        }
        if !is_valid(&password) {
            return Err(InvalidProxy::Password);
        }
        self.credentials = Some(Arc::new(Credentials { user, password }));
        Ok(self)
    }

    /// Networks that are dialled without the proxy: those of IP addresses in dialled addresses, in the records of a
    /// `/dnsaddr` and in redirects. Names always go to the proxy, `localhost` too. Beyond 1024 networks, further ones are
    /// ignored. A second call replaces the first.
    ///
    /// Defaults to none, not even this host.
    pub fn with_direct(mut self, networks: impl IntoIterator<Item = Network>) -> Self {
        self.direct = networks.into_iter().take(MAX_NETWORKS).collect();
        self
    }

    pub(super) fn address(&self) -> &Multiaddr {
        &self.address
    }

    /// Whether an address is dialled through it.
    pub(super) fn is_for(&self, address: &Multiaddr) -> bool {
        match Host::of(address) {
            Some(Host::Ip(ip)) => !self.direct.iter().any(|network| network.contains(ip)),
            _ => true,
        }
    }

    /// Has the proxy, at the other end of `io`, connect to the host and port of an address. Returns the bytes that came from
    /// there already.
    pub(super) async fn tunnel<S>(&self, io: &mut S, to: &Multiaddr) -> Result<Vec<u8>, ProxyError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let host = Host::of(to).and_then(|host| match host {
            Host::Ip(_) => Some(host),
            Host::Name(name, family) => match name.parse() {
                Ok(ip) => Some(Host::Ip(ip)),
                // A name that is none could end the line of a request.
                Err(_) => DnsName::try_from(name.as_str())
                    .is_ok()
                    .then_some(Host::Name(name, family)),
            },
        });
        let Some((host, (_, port))) = host.zip(host_and_port(to)) else {
            return Err(ProxyError::InvalidName);
        };
        match self.speaks {
            Speaks::Socks5 => self
                .socks5_tunnel(io, host, port)
                .await
                .map_err(|error| self.socks5_error(error)),
            Speaks::Http => self
                .http_tunnel(io, &host, port)
                .await
                .map_err(|error| self.http_error(error)),
        }
    }

    async fn socks5_tunnel<S>(
        &self,
        io: &mut S,
        host: Host,
        port: u16,
    ) -> Result<Vec<u8>, tokio_socks::Error>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let target = match host {
            Host::Ip(ip) => TargetAddr::Ip((ip, port).into()),
            Host::Name(name, _) => TargetAddr::Domain(name.into(), port),
        };
        let socket = Socket(io);
        match self.credentials.as_deref() {
            None => Socks5Stream::connect_with_socket(socket, target).await?,
            Some(Credentials { user, password }) => {
                Socks5Stream::connect_with_password_and_socket(socket, target, user, password)
                    .await?
            }
        };
        // No byte beyond the reply is read.
        Ok(Vec::new())
    }

    fn socks5_error(&self, error: tokio_socks::Error) -> ProxyError {
        use tokio_socks::Error;

        let unreachable = |answer: &str| ProxyError::Unreachable {
            answer: answer.to_owned(),
        };
        let refused = |answer: &str| ProxyError::Refused {
            answer: answer.to_owned(),
        };
        match error {
            Error::Io(error) => ProxyError::Io(error),
            Error::NoAcceptableAuthMethods
            | Error::PasswordAuthFailure(_)
            | Error::AuthorizationRequired => self.credentials_error(),
            Error::GeneralSocksServerFailure => {
                unreachable("general failure, possibly an unknown name")
            }
            Error::NetworkUnreachable => unreachable("network unreachable"),
            Error::HostUnreachable => unreachable("host unreachable"),
            Error::ConnectionRefused => unreachable("connection refused"),
            Error::TtlExpired => unreachable("no answer in time (TTL expired)"),
            Error::ConnectionNotAllowedByRuleset => refused("not allowed by its rules"),
            Error::CommandNotSupported => refused("it does not support CONNECT"),
            Error::AddressTypeNotSupported => refused("it does not support this type of address"),
            other => ProxyError::NotAProxy(Box::new(other)),
        }
    }

    async fn http_tunnel<S>(
        &self,
        io: &mut S,
        host: &Host,
        port: u16,
    ) -> Result<Vec<u8>, HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let authority = match host {
            Host::Ip(IpAddr::V6(ip)) => format!("[{ip}]:{port}"),
            Host::Ip(ip) => format!("{ip}:{port}"),
            Host::Name(name, _) => format!("{name}:{port}"),
        };
        let credentials = self.credentials.as_deref();
        let credentials = credentials.map(|Credentials { user, password }| (&**user, &**password));
        upgrade::tunnel(io, &authority, credentials).await
    }

    fn http_error(&self, error: HandshakeError) -> ProxyError {
        match error {
            HandshakeError::Io(error) => ProxyError::Io(error),
            HandshakeError::Closed { has_begun: false } => {
                ProxyError::Io(io::ErrorKind::UnexpectedEof.into())
            }
            // tinyproxy answers wrong credentials with 401.
            HandshakeError::Refused {
                status: 401 | 407, ..
            } => self.credentials_error(),
            HandshakeError::Refused { status, reason, .. } => {
                let answer = format!("{status} {reason}").trim_end().to_owned();
                match status {
                    404 | 500 | 502.. => ProxyError::Unreachable { answer },
                    // Also 501 of one that does not know CONNECT.
                    _ => ProxyError::Refused { answer },
                }
            }
            other => ProxyError::NotAProxy(Box::new(other)),
        }
    }

    fn credentials_error(&self) -> ProxyError {
        ProxyError::Credentials {
            given: self.credentials.is_some(),
        }
    }
}

impl fmt::Display for OutgoingProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.speaks {
            Speaks::Socks5 => "SOCKS5 proxy ",
            Speaks::Http => "HTTP proxy ",
        })?;
        match host_and_port(&self.address) {
            Some((Protocol::Ip4(ip), port)) => write!(f, "{ip}:{port}"),
            Some((Protocol::Ip6(ip), port)) => write!(f, "[{ip}]:{port}"),
            Some((Protocol::Dns(name), port)) => write!(f, "{name}:{port}"),
            _ => self.address.fmt(f),
        }
    }
}

impl fmt::Debug for OutgoingProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutgoingProxy")
            .field("speaks", &self.speaks)
            .field("address", &self.address)
            .field("has_credentials", &self.credentials.is_some())
            .field("direct", &self.direct)
            .finish_non_exhaustive()
    }
}

/// A host and a port, with an IPv6 address in brackets.
fn parse(address: &str) -> Option<Multiaddr> {
    let (host, port) = address.rsplit_once(':')?;
    let port = port.parse().ok()?;
    let in_brackets = host.strip_prefix('[').and_then(|ip| ip.strip_suffix(']'));
    let host = match (in_brackets, host.parse()) {
        (Some(ip), _) => Protocol::Ip6(ip.parse().ok()?),
        (None, Ok(ip)) => Protocol::Ip4(ip),
        (None, Err(_)) => {
            DnsName::try_from(host).ok()?;
            Protocol::Dns(host.into())
        }
    };
    let address = Multiaddr::empty().with(host).with(Protocol::Tcp(port));
    undialable(&address).is_none().then_some(address)
}

/// What is written is flushed before the answer is read, because a transport may buffer it.
struct Socket<'a, S>(&'a mut S);

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncSocket for Socket<'_, S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        ready!(Pin::new(&mut *self.0).poll_flush(cx))?;
        Pin::new(&mut *self.0).poll_read(cx, buf)
    }

    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0).poll_write(cx, buf)
    }
}

#[cfg(test)]
mod tests;
