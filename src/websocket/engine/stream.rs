//! WebSocket of this crate.

use std::time::Duration;

use futures::{AsyncRead, AsyncWrite, FutureExt as _};
use futures_rustls::{TlsAcceptor, TlsConnector};
use libp2p_core::transport::{DialOpts, TransportError};
use multiaddr::Multiaddr;

use crate::websocket::{
    Config, Connection, Error, Stream,
    address::Security,
    below::{self, Io, Pending},
    path::Path,
    target::Dial,
    tls::Tls,
    upgrade::{self, Answer},
};

pub(super) struct Streams {
    acceptor: Option<TlsAcceptor>,
    dialer: Dialer,
    keep_alive: Option<Duration>,
}

impl Streams {
    pub(super) fn new(below: below::Dialer, config: &Config, tls: &Tls) -> Self {
        Self {
            acceptor: tls.acceptor(),
            dialer: Dialer {
                below,
                connector: tls.connector(),
                max_redirects: config.max_redirects(),
                keep_alive: config.keep_alive(),
            },
            keep_alive: config.keep_alive(),
        }
    }

    pub(super) fn has_certificate(&self) -> bool {
        self.acceptor.is_some()
    }

    /// Nothing is done before it is polled. `None` if there is no certificate for what needs one.
    pub(super) fn accept(
        &self,
        upgrade: Pending<Io>,
        security: Security,
        only: Option<Path>,
    ) -> Option<Pending<Connection>> {
        Some(match security {
            Security::Plain => accept(upgrade, only, self.keep_alive).boxed(),
            Security::Tls => {
                accept_tls(upgrade, self.acceptor.clone()?, only, self.keep_alive).boxed()
            }
        })
    }

    pub(super) fn dialer(&self) -> Dialer {
        self.dialer.clone()
    }

    /// What is dialled stays as it is, and with it the sessions that can be resumed.
    pub(super) fn set_tls(&mut self, tls: &Tls) {
        self.acceptor = tls.acceptor();
    }
}

async fn accept(
    upgrade: Pending<Io>,
    only: Option<Path>,
    keep_alive: Option<Duration>,
) -> Result<Connection, Error> {
    let mut io = upgrade.await?;
    // Lent, not given: a future keeps a copy of what it is given, and of TLS that is large.
    let received = upgrade::accept(&mut io, only).await?;
    let stream = Stream::server(io, received).with_keep_alive(keep_alive);
    Ok(Connection::new(stream))
}

async fn accept_tls(
    upgrade: Pending<Io>,
    acceptor: TlsAcceptor,
    only: Option<Path>,
    keep_alive: Option<Duration>,
) -> Result<Connection, Error> {
    let accepting = upgrade.await.map(|io| acceptor.accept(io))?;
    let mut io = accepting.await.map_err(|error| Error::Tls(error.into()))?;
    let received = upgrade::accept(&mut io, only).await?;
    let stream = Stream::server(io, received).with_keep_alive(keep_alive);
    Ok(Connection::new(stream))
}

#[derive(Clone)]
pub(in crate::websocket) struct Dialer {
    below: below::Dialer,
    connector: TlsConnector,
    max_redirects: u8,
    keep_alive: Option<Duration>,
}

impl Dialer {
    /// Nothing is done before it is polled.
    pub(super) fn dial(
        &self,
        address: &Multiaddr,
        opts: DialOpts,
    ) -> Result<Pending<Connection>, TransportError<Error>> {
        let mut dial = Dial::parse(address)?;
        let this = self.clone();
        let mut redirects = self.max_redirects;
        Ok(async move {
            loop {
                let dialled = this.dial_once(&dial, opts).await?;
                let location = match dialled {
                    Dialled::Connected(connection) => return Ok(connection),
                    Dialled::Redirected(location) => location,
                };
                redirects = redirects.checked_sub(1).ok_or(Error::TooManyRedirects)?;
                dial = dial.redirected(&location)?;
                tracing::debug!(to = %dial.below, "redirected");
            }
        }
        .boxed())
    }

    async fn dial_once(&self, dial: &Dial, opts: DialOpts) -> Result<Dialled, Error> {
        let io = match self.below.dial(dial.below.clone(), opts) {
            Ok(dialling) => dialling.await?,
            Err(TransportError::MultiaddrNotSupported(address)) => {
                return Err(Error::UnsupportedAddress(address));
            }
            Err(TransportError::Other(error)) => return Err(error),
        };
        match &dial.tls {
            None => request(io, dial, self.keep_alive).await,
            Some(name) => {
                let io = self
                    .connector
                    .connect(name.clone(), io)
                    .await
                    .map_err(|error| Error::Tls(error.into()))?;
                request(io, dial, self.keep_alive).await
            }
        }
    }
}

/// What became of one attempt.
enum Dialled {
    Connected(Connection),
    Redirected(String),
}

async fn request<S>(mut io: S, dial: &Dial, keep_alive: Option<Duration>) -> Result<Dialled, Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let answer = upgrade::request(&mut io, &dial.host, &dial.path).await?;
    Ok(match answer {
        Answer::Upgraded(received) => {
            let stream = Stream::client(io, received).with_keep_alive(keep_alive);
            Dialled::Connected(Connection::new(stream))
        }
        Answer::Redirected(location) => Dialled::Redirected(location),
    })
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use futures_rustls::server::TlsStream;

    use super::*;
    use crate::websocket::{Certificate, Certificates};

    fn tcp() -> Pending<Io> {
        pending().boxed()
    }

    #[test]
    fn who_is_waited_for_is_held_once() {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let chain = vec![made.cert.der().to_vec()];
        let certificate = Certificate::from_der(chain, made.key_pair.serialize_der()).unwrap();
        let certificates = Certificates::new();
        certificates.set(certificate).unwrap();
        let tls = Tls::new(&Config::default().with_certificates(certificates));

        let plain = size_of_val(&accept(tcp(), None, None));
        assert!(plain < 512, "{plain}");
        let secured = size_of_val(&accept_tls(tcp(), tls.acceptor().unwrap(), None, None));
        assert!(secured < 512 + size_of::<TlsStream<Io>>(), "{secured}");
    }
}
