//! WebSocket of this crate: a listener is one of the transport below, whose address has a part less.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use futures::{AsyncRead, AsyncWrite, FutureExt as _, future::BoxFuture};
use futures_rustls::{TlsAcceptor, TlsConnector};
use libp2p_core::transport::{
    DialOpts, ListenerId, Transport as Below, TransportError, TransportEvent,
};
use multiaddr::Multiaddr;

use crate::{
    lazy::ids::IdMap,
    websocket::{
        Config, Connection, Error, Stream,
        address::{Listen, Security},
        dial::Dial,
        path::Path,
        tls::Tls,
        upgrade::{self, Answer},
    },
};

/// How many events one `poll` drops before it asks to be polled again.
const MAX_DROPPED_PER_POLL: usize = 64;

pub(in crate::websocket) struct Streams<T> {
    below: Arc<Mutex<T>>,
    /// One for each `listen_on` that succeeded and whose `ListenerClosed` has not been reported.
    listeners: IdMap<Listener>,
    acceptor: Option<TlsAcceptor>,
    connector: TlsConnector,
    max_redirects: u8,
    has_exact_paths: bool,
}

struct Listener {
    security: Security,
    /// What its addresses have that the transport below does not know of.
    suffix: Multiaddr,
    /// The only path that may be requested.
    only: Option<Path>,
}

impl<T> Streams<T>
where
    T: Below + Unpin + Send + 'static,
    T::Output: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T::Error: Send + Sync + 'static,
    T::ListenerUpgrade: Send + 'static,
    T::Dial: Send + 'static,
{
    pub(super) fn new(tcp: T, config: &Config, tls: &Tls) -> Self {
        Self {
            below: Arc::new(Mutex::new(tcp)),
            listeners: IdMap::default(),
            acceptor: tls.acceptor(),
            connector: tls.connector(),
            max_redirects: config.max_redirects(),
            has_exact_paths: config.has_exact_paths(),
        }
    }

    pub(super) fn listen_on(
        &mut self,
        id: ListenerId,
        address: Multiaddr,
    ) -> Result<(), TransportError<Error>> {
        let listen = Listen::parse(&address);
        let parts = listen.and_then(|listen| Some((listen.security, listen.split(&address)?)));
        let Some((security, (tcp, suffix))) = parts else {
            return Err(TransportError::MultiaddrNotSupported(address));
        };
        if security == Security::Tls && self.acceptor.is_none() {
            return Err(TransportError::MultiaddrNotSupported(address));
        }
        lock(&self.below).listen_on(id, tcp).map_err(below)?;
        let listener = Listener {
            security,
            only: self.has_exact_paths.then(|| Path::of(&suffix)),
            suffix,
        };
        self.listeners.insert(id, listener);
        Ok(())
    }

    pub(super) fn remove_listener(&mut self, id: ListenerId) -> bool {
        lock(&self.below).remove_listener(id)
    }

    /// Nothing is done before it is polled.
    pub(super) fn dial(
        &mut self,
        address: &Multiaddr,
        opts: DialOpts,
    ) -> Result<BoxFuture<'static, Result<Connection, Error>>, TransportError<Error>> {
        let mut dial = Dial::parse(address)?;
        let below = Arc::clone(&self.below);
        let connector = self.connector.clone();
        let mut redirects = self.max_redirects;
        Ok(async move {
            loop {
                let location = match dial_once(&below, &connector, &dial, opts).await? {
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

    /// What is dialled stays as it is, and with it the sessions that can be resumed.
    pub(super) fn set_tls(&mut self, tls: &Tls) {
        self.acceptor = tls.acceptor();
    }

    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<BoxFuture<'static, Result<Connection, Error>>, Error>> {
        for _ in 0..MAX_DROPPED_PER_POLL {
            let event = ready!(Pin::new(&mut *lock(&self.below)).poll(cx));
            if let Some(event) = self.translate(event) {
                return Poll::Ready(event);
            }
            tracing::debug!("dropped an event of a listener that is not there");
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// An event from below as this transport reports it; `None` if nobody knows the listener. libp2p-tcp has such
    /// events: of one whose `listen_on` failed in its last step.
    fn translate(
        &mut self,
        event: TransportEvent<T::ListenerUpgrade, T::Error>,
    ) -> Option<TransportEvent<BoxFuture<'static, Result<Connection, Error>>, Error>> {
        Some(match event {
            TransportEvent::NewAddress {
                listener_id,
                listen_addr,
            } => TransportEvent::NewAddress {
                listener_id,
                listen_addr: self.listeners.get(&listener_id)?.shown(listen_addr),
            },
            TransportEvent::AddressExpired {
                listener_id,
                listen_addr,
            } => TransportEvent::AddressExpired {
                listener_id,
                listen_addr: self.listeners.get(&listener_id)?.shown(listen_addr),
            },
            TransportEvent::Incoming {
                listener_id,
                upgrade,
                local_addr,
                send_back_addr,
            } => {
                let listener = self.listeners.get(&listener_id)?;
                let only = listener.only.clone();
                let upgrade = match (listener.security, &self.acceptor) {
                    (Security::Plain, _) => accept(upgrade, only).boxed(),
                    (Security::Tls, Some(acceptor)) => {
                        accept_tls(upgrade, acceptor.clone(), only).boxed()
                    }
                    // There is one, or `listen_on` would have failed.
                    (Security::Tls, None) => return None,
                };
                TransportEvent::Incoming {
                    listener_id,
                    upgrade,
                    local_addr: listener.shown(local_addr),
                    send_back_addr: listener.shown(send_back_addr),
                }
            }
            TransportEvent::ListenerClosed {
                listener_id,
                reason,
            } => {
                self.listeners.remove(&listener_id)?;
                TransportEvent::ListenerClosed {
                    listener_id,
                    reason: reason.map_err(|error| Error::Transport(Box::new(error))),
                }
            }
            TransportEvent::ListenerError { listener_id, error } => {
                self.listeners.get(&listener_id)?;
                TransportEvent::ListenerError {
                    listener_id,
                    error: Error::Transport(Box::new(error)),
                }
            }
        })
    }
}

impl<T> fmt::Debug for Streams<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams").finish_non_exhaustive()
    }
}

impl Listener {
    /// An address of the transport below as that of this listener.
    fn shown(&self, below: Multiaddr) -> Multiaddr {
        self.suffix.iter().fold(below, Multiaddr::with)
    }
}

/// Nothing panics half-way through a change of what is below, or its task is at an end with it.
fn lock<T>(below: &Mutex<T>) -> MutexGuard<'_, T> {
    below.lock().unwrap_or_else(PoisonError::into_inner)
}

fn below<E>(error: TransportError<E>) -> TransportError<Error>
where
    E: std::error::Error + Send + Sync + 'static,
{
    error.map(|error| Error::Transport(Box::new(error)))
}

async fn accept<S, E>(
    upgrade: impl Future<Output = Result<S, E>>,
    only: Option<Path>,
) -> Result<Connection, Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    E: std::error::Error + Send + Sync + 'static,
{
    let mut io = upgrade
        .await
        .map_err(|error| Error::Transport(Box::new(error)))?;
    // Lent, not given: a future keeps a copy of what it is given, and of TLS that is large.
    let received = upgrade::accept(&mut io, only).await?;
    Ok(Connection::new(Stream::server(io, received)))
}

async fn accept_tls<S, E>(
    upgrade: impl Future<Output = Result<S, E>>,
    acceptor: TlsAcceptor,
    only: Option<Path>,
) -> Result<Connection, Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    E: std::error::Error + Send + Sync + 'static,
{
    let accepting = upgrade
        .await
        .map(|io| acceptor.accept(io))
        .map_err(|error| Error::Transport(Box::new(error)))?;
    let mut io = accepting
        .await
        .map_err(|error| Error::Tls(Box::new(error)))?;
    let received = upgrade::accept(&mut io, only).await?;
    Ok(Connection::new(Stream::server(io, received)))
}

/// What became of one attempt.
enum Dialled {
    Connected(Connection),
    Redirected(String),
}

async fn dial_once<T>(
    tcp: &Mutex<T>,
    connector: &TlsConnector,
    dial: &Dial,
    opts: DialOpts,
) -> Result<Dialled, Error>
where
    T: Below,
    T::Output: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T::Error: Send + Sync + 'static,
{
    let dialling = lock(tcp).dial(dial.below.clone(), opts);
    let io = match dialling.map_err(below) {
        Ok(dialling) => dialling
            .await
            .map_err(|error| Error::Transport(Box::new(error)))?,
        Err(TransportError::MultiaddrNotSupported(address)) => {
            return Err(Error::UnsupportedAddress(address));
        }
        Err(TransportError::Other(error)) => return Err(error),
    };
    match &dial.tls {
        None => request(io, dial).await,
        Some(name) => {
            let io = connector
                .connect(name.clone(), io)
                .await
                .map_err(|error| Error::Tls(Box::new(error)))?;
            request(io, dial).await
        }
    }
}

async fn request<S>(mut io: S, dial: &Dial) -> Result<Dialled, Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let answer = upgrade::request(&mut io, &dial.host, &dial.path).await?;
    Ok(match answer {
        Answer::Upgraded(received) => {
            Dialled::Connected(Connection::new(Stream::client(io, received)))
        }
        Answer::Redirected(location) => Dialled::Redirected(location),
    })
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use futures::io::Cursor;
    use futures_rustls::server::TlsStream;

    use super::*;
    use crate::websocket::{Certificate, Certificates};

    type Tcp = Cursor<Vec<u8>>;

    fn tcp() -> impl Future<Output = Result<Tcp, std::io::Error>> {
        pending()
    }

    #[test]
    fn who_is_waited_for_is_held_once() {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let chain = vec![made.cert.der().to_vec()];
        let certificate = Certificate::from_der(chain, made.key_pair.serialize_der()).unwrap();
        let certificates = Certificates::new();
        certificates.set(certificate).unwrap();
        let tls = Tls::new(&Config::default().with_certificates(certificates));

        let plain = size_of_val(&accept(tcp(), None));
        assert!(plain < 512, "{plain}");
        let secured = size_of_val(&accept_tls(tcp(), tls.acceptor().unwrap(), None));
        assert!(secured < 512 + size_of::<TlsStream<Tcp>>(), "{secured}");
    }
}
