//! The WebSocket of this crate, and TCP without WebSocket.

use std::{io, sync::Arc, time::Duration};

use futures::{AsyncRead, AsyncWrite, FutureExt as _, TryFutureExt as _, future::Either};
use libp2p_core::transport::{DialOpts, TransportError};
use multiaddr::Multiaddr;
use rustls::{ClientConfig, ServerConfig};

use crate::websocket::{
    Config, Connection, Error, HandshakeError,
    address::Kind,
    below::{Io, Pending},
    dial::{Contest, Dial, Outbound, Parse, Target, connect_through},
    hearing::Incoming,
    listeners,
    stream::Stream,
    target::Request,
    tls::{Tls, TlsStream},
    upgrade::{self, Accepted, Answer, Requests},
    visitors::{Place, Visitors},
};

pub(in crate::websocket) struct Streams {
    server: Option<Arc<ServerConfig>>,
    client: Arc<ClientConfig>,
    outbound: Outbound,
    speaks_tcp: bool,
    max_redirects: u8,
    keep_alive: Option<Duration>,
    visitors: Option<Visitors>,
}

impl Streams {
    pub(super) fn new(
        outbound: Outbound,
        config: &Config,
        tls: &Tls,
        visitors: Option<Visitors>,
    ) -> Self {
        Self {
            server: tls.server(),
            client: tls.client(),
            outbound,
            speaks_tcp: config.speaks_tcp(),
            max_redirects: config.max_redirects(),
            keep_alive: config.keep_alive(),
            visitors,
        }
    }

    pub(super) fn has_certificate(&self) -> bool {
        self.server.is_some()
    }

    pub(super) fn speaks_tcp(&self) -> bool {
        self.speaks_tcp
    }

    /// Does nothing before it is polled. `None` if TLS is needed and there is no certificate.
    pub(super) fn accept(
        &self,
        incoming: Incoming,
        accepted: &listeners::Accepted,
    ) -> Option<Pending<Connection>> {
        let door = || Door {
            requests: Requests {
                only: accepted.only.clone(),
                visitors: self.visitors.is_some(),
            },
            keep_alive: self.keep_alive,
            visitors: self.visitors.clone(),
            from: accepted.remote.clone(),
        };
        Some(match accepted.kind {
            Kind::Tcp => incoming
                .io()
                .map_ok(|io| Connection::of(io.into_io()))
                .boxed(),
            Kind::Ws => accept(incoming, door()).boxed(),
            Kind::Wss => accept_tls(incoming, self.server.clone()?, door()).boxed(),
        })
    }

    /// Nothing is done before it is polled.
    pub(super) fn dial(
        &self,
        address: &Multiaddr,
        opts: DialOpts,
    ) -> Result<Pending<Connection>, TransportError<Error>> {
        let outbound = self.outbound.clone();
        let connect = connect_through(&outbound, opts);
        let (records, names) = (outbound.resolver.as_ref(), outbound.for_names());
        let tcp = self.speaks_tcp;
        let target: Parse<_> = match tcp {
            true => with_tcp,
            false => without_tcp,
        };
        let contest = match Contest::of_dnsaddr(address, tcp, target, records, names, &connect) {
            Some(contest) => contest,
            None => Contest::of(target(address)?, names, &connect),
        };
        let client = Arc::clone(&self.client);
        let (max_redirects, keep_alive) = (usize::from(self.max_redirects), self.keep_alive);
        Ok(async move {
            let mut dial = Dial::begin(contest, outbound.timeout).through(outbound.proxy.clone());
            loop {
                let (to, io) = dial.connected().await?;
                let redirects = dial.redirects();
                let spoken = async {
                    let location = match speak(io, &client, &to.data, keep_alive).await? {
                        Spoken::Connected(connection) => return Ok(Either::Left(connection)),
                        Spoken::Redirected(location) => location,
                    };
                    if redirects == max_redirects {
                        return Err(Error::TooManyRedirects);
                    }
                    to.data.redirected(&location).map(Either::Right)
                };
                match dial.handshake(&to.address, spoken).await {
                    Some(Either::Left(connection)) => return Ok(connection),
                    Some(Either::Right(request)) => {
                        tracing::debug!(to = %request.address, "redirected");
                        dial.redirect(Contest::of(request.into(), outbound.for_names(), &connect));
                    }
                    None => {}
                }
            }
        }
        .boxed())
    }

    /// The configuration for dialling stays, with its resumable sessions.
    pub(super) fn set_tls(&mut self, tls: &Tls) {
        self.server = tls.server();
    }
}

/// What becomes of the request of a client.
struct Door {
    requests: Requests,
    keep_alive: Option<Duration>,
    visitors: Option<Visitors>,
    from: Multiaddr,
}

// `upgrade` borrows the streams, because a future keeps a copy of its arguments, and that of TLS is large.

#[expect(
    clippy::manual_async_fn,
    reason = "its future would keep a copy of its arguments"
)]
fn accept(incoming: Incoming, door: Door) -> impl Future<Output = Result<Connection, Error>> {
    async move {
        let mut io = incoming.io().await?;
        match upgrade::accept(&mut io, &door.requests).await? {
            Accepted::Upgraded(mut received) => {
                let (unread, io) = io.into_parts();
                received.extend(unread);
                Ok(door.connection(io, received))
            }
            Accepted::Visit(mut visit) => match door.admit() {
                Ok(place) => {
                    let (unread, io) = io.into_parts();
                    visit.received.extend(unread);
                    Err(place.receive(visit, io, false).into())
                }
                Err(error) => Err(upgrade::refuse(&mut io, error, visit.is_head())
                    .await
                    .into()),
            },
        }
    }
}

#[expect(
    clippy::manual_async_fn,
    reason = "its future would keep a copy of its arguments"
)]
fn accept_tls(
    incoming: Incoming,
    config: Arc<ServerConfig>,
    door: Door,
) -> impl Future<Output = Result<Connection, Error>> {
    async move {
        let mut io = TlsStream::server(incoming.io().await?, config).map_err(failed)?;
        io.handshake().await.map_err(failed)?;
        match upgrade::accept(&mut io, &door.requests).await? {
            Accepted::Upgraded(received) => Ok(door.connection(io, received)),
            Accepted::Visit(visit) => match door.admit() {
                Ok(place) => Err(place.receive(visit, Box::pin(io), true).into()),
                Err(error) => Err(upgrade::refuse(&mut io, error, visit.is_head())
                    .await
                    .into()),
            },
        }
    }
}

impl Door {
    fn connection<S>(&self, io: S, received: Vec<u8>) -> Connection
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let stream = Stream::server(io, received).with_keep_alive(self.keep_alive);
        Connection::new(stream)
    }

    /// The place of a visitor.
    fn admit(&self) -> Result<Place, HandshakeError> {
        match &self.visitors {
            Some(visitors) => visitors.admit(&self.from),
            None => Err(HandshakeError::TooManyVisitors { max: 0 }),
        }
    }
}

fn failed(error: io::Error) -> Error {
    Error::Tls(error.into())
}

fn without_tcp(address: &Multiaddr) -> Result<Target<Arc<Request>>, TransportError<Error>> {
    Request::parse(address, false).map(Target::from)
}

fn with_tcp(address: &Multiaddr) -> Result<Target<Arc<Request>>, TransportError<Error>> {
    Request::parse(address, true).map(Target::from)
}

impl From<Request> for Target<Arc<Request>> {
    fn from(request: Request) -> Self {
        Self {
            address: request.address.clone(),
            below: request.below.clone(),
            data: Arc::new(request),
        }
    }
}

/// The result of one attempt.
enum Spoken {
    Connected(Connection),
    Redirected(String),
}

async fn speak(
    io: Io,
    client: &Arc<ClientConfig>,
    to: &Request,
    keep_alive: Option<Duration>,
) -> Result<Spoken, Error> {
    if to.kind == Kind::Tcp {
        return Ok(Spoken::Connected(Connection::of(io)));
    }
    let Some(name) = &to.tls else {
        return request(io, to, keep_alive).await;
    };
    let mut io = TlsStream::client(io, Arc::clone(client), name.clone()).map_err(failed)?;
    io.handshake().await.map_err(failed)?;
    request(io, to, keep_alive).await
}

async fn request<S>(mut io: S, to: &Request, keep_alive: Option<Duration>) -> Result<Spoken, Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let answer = upgrade::request(&mut io, &to.host, &to.path).await?;
    Ok(match answer {
        Answer::Upgraded(received) => {
            let stream = Stream::client(io, received).with_keep_alive(keep_alive);
            Spoken::Connected(Connection::new(stream))
        }
        Answer::Redirected(location) => Spoken::Redirected(location),
    })
}

#[cfg(test)]
mod tests {
    use std::{
        collections::VecDeque,
        future::pending,
        pin::Pin,
        sync::Mutex,
        task::{Context, Poll},
    };

    use futures::{AsyncReadExt as _, executor::block_on};
    use proptest::{collection::vec, prelude::*};
    use rustls::server::UnbufferedServerConnection;

    use super::*;
    use crate::websocket::{Certificate, Certificates, Counters, Visitor, hearing::Prefixed};

    fn tcp() -> Incoming {
        Incoming::Unheard(pending().boxed())
    }

    #[test]
    fn who_is_waited_for_is_held_once() {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let chain = vec![made.cert.der().to_vec()];
        let certificate = Certificate::from_der(chain, made.signing_key.serialize_der()).unwrap();
        let certificates = Certificates::new();
        certificates.set(certificate).unwrap();
        let tls = Tls::new(&Config::default().with_certificates(certificates));

        let door = || Door {
            requests: Requests {
                only: None,
                visitors: false,
            },
            keep_alive: None,
            visitors: None,
            from: Multiaddr::empty(),
        };
        let plain = size_of_val(&accept(tcp(), door()));
        assert!(plain < 512, "{plain}");
        let secured = size_of_val(&accept_tls(tcp(), tls.server().unwrap(), door()));
        assert!(
            secured < 512 + size_of::<TlsStream<Prefixed<Io>, UnbufferedServerConnection>>(),
            "{secured}"
        );
    }

    /// Has all that is read, in pieces.
    struct Pieces(VecDeque<Vec<u8>>);

    impl AsyncRead for Pieces {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut [u8],
        ) -> Poll<io::Result<usize>> {
            let Some(piece) = self.0.front_mut() else {
                return Poll::Ready(Ok(0));
            };
            let count = buf.len().min(piece.len());
            buf[..count].copy_from_slice(&piece[..count]);
            piece.drain(..count);
            if piece.is_empty() {
                self.0.pop_front();
            }
            Poll::Ready(Ok(count))
        }
    }

    impl AsyncWrite for Pieces {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &[u8],
        ) -> Poll<io::Result<usize>> {
            panic!("the application answers");
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    proptest! {
        #[test]
        fn a_visitor_reads_each_byte_once(
            path in "/[a-z]{0,3000}",
            behind in vec(any::<u8>(), 0..6000),
            heard in 0_usize..6000,
            piece in 1_usize..5000,
            buf in 1_usize..3000,
        ) {
            let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
            let all = [head.as_bytes(), &behind].concat();
            let (heard, unheard) = all.split_at(heard.min(all.len()));
            let pieces = Pieces(unheard.chunks(piece).map(<[u8]>::to_vec).collect());
            let io = Prefixed::new(heard.to_vec(), Box::pin(pieces) as Io);

            let visitor = Arc::<Mutex<Option<Visitor>>>::default();
            let place = Arc::clone(&visitor);
            let config = Config::default()
                .with_visitors(move |visitor| *place.lock().unwrap() = Some(visitor));
            let door = Door {
                requests: Requests {
                    only: None,
                    visitors: true,
                },
                keep_alive: None,
                visitors: config.visitors(&Counters::default()),
                from: Multiaddr::empty(),
            };
            block_on(accept(Incoming::Heard(io), door)).unwrap_err();
            let mut visitor = visitor.lock().unwrap().take().unwrap();
            prop_assert_eq!(visitor.path(), path);
            let (mut read, mut buf) = (Vec::new(), vec![0; buf]);
            while let count @ 1.. = block_on(visitor.read(&mut buf)).unwrap() {
                read.extend_from_slice(&buf[..count]);
            }
            prop_assert!(read == all);
        }
    }
}
