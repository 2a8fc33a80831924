//! Requests that are not for libp2p, and the application that gets them.

use std::{
    collections::{HashMap, hash_map::Entry},
    fmt, io,
    num::NonZeroUsize,
    panic::{self, AssertUnwindSafe},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use futures::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use multiaddr::Multiaddr;

use crate::{
    deadline::{self, Deadline, Instant},
    websocket::{
        Counters, HandshakeError, Proxies,
        address::ip,
        below::Io,
        handshake::Remote,
        hearing::Prefixed,
        upgrade::{self, Linger, Visit},
    },
};

/// The closure of the application.
#[derive(Clone)]
pub(super) struct Receive(Arc<dyn Fn(Visitor) + Send + Sync>);

impl Receive {
    pub(super) fn new(receive: impl Fn(Visitor) + Send + Sync + 'static) -> Self {
        Self(Arc::new(receive))
    }
}

impl fmt::Debug for Receive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receive")
    }
}

/// The visitors of one transport.
#[derive(Debug, Clone)]
pub(super) struct Visitors(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    receive: Receive,
    limits: Limits,
    present: Mutex<Present>,
    counters: Counters,
}

#[derive(Debug)]
pub(super) struct Limits {
    /// A quarter of it, and at least one, is that of one remote address.
    pub(super) max: NonZeroUsize,
    pub(super) timeout: Duration,
    /// Their own addresses have all places.
    pub(super) proxies: Option<Proxies>,
}

#[derive(Debug, Default)]
struct Present {
    all: usize,
    /// None is zero.
    by_remote: HashMap<Remote, usize>,
}

impl Visitors {
    pub(super) fn new(receive: Receive, limits: Limits, counters: Counters) -> Self {
        Self(Arc::new(Shared {
            receive,
            limits,
            present: Mutex::default(),
            counters,
        }))
    }

    /// A place for a visitor with this address.
    pub(super) fn admit(&self, from: &Multiaddr) -> Result<Place, HandshakeError> {
        let Limits { max, proxies, .. } = &self.0.limits;
        let max = max.get();
        let max_own = (max / 4).max(1);
        let ip = ip(from).filter(|ip| !proxies.as_ref().is_some_and(|all| all.are_at(*ip)));
        let remote = ip.and_then(Remote::of);
        let mut present = self.0.present();
        let own = remote.and_then(|remote| present.by_remote.get(&remote));
        let reached = match present.all >= max {
            true => Some(max),
            false => own.is_some_and(|own| *own >= max_own).then_some(max_own),
        };
        if let Some(max) = reached {
            self.0.counters.on_refused_visitor();
            return Err(HandshakeError::TooManyVisitors { max });
        }
        present.all += 1;
        if let Some(remote) = remote {
            *present.by_remote.entry(remote).or_default() += 1;
        }
        drop(present);
        Ok(Place {
            from: from.clone(),
            remote,
            shared: Arc::clone(&self.0),
        })
    }
}

impl Shared {
    fn present(&self) -> MutexGuard<'_, Present> {
        // No panic leaves it half changed.
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of the places of visitors, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    from: Multiaddr,
    remote: Option<Remote>,
    shared: Arc<Shared>,
}

impl Place {
    /// Hands a connection to the application. Returns the end of its handshake.
    pub(super) fn receive(self, visit: Visit, io: Io, is_secured: bool) -> HandshakeError {
        let shared = Arc::clone(&self.shared);
        shared.counters.on_visitor();
        let visitor = Visitor {
            method: visit.method,
            path: visit.path,
            is_secured,
            io: Prefixed::new(visit.received, io),
            end: Some(deadline::after(deadline::now(), shared.limits.timeout)),
            reading: Deadline::default(),
            writing: Deadline::default(),
            linger: None,
            reader: None,
            writer: None,
            place: self,
        };
        // It would end the task of the connection, of which a swarm never forgets the pending connection then. And a stranger
        // may be able to cause it.
        let receive = AssertUnwindSafe(|| (shared.receive.0)(visitor));
        if panic::catch_unwind(receive).is_err() {
            tracing::error!("the closure of `Config::with_visitors` panicked");
        }
        HandshakeError::Visitor
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut present = self.shared.present();
        present.all -= 1;
        if let Some(remote) = self.remote
            && let Entry::Occupied(mut own) = present.by_remote.entry(remote)
        {
            *own.get_mut() -= 1;
            if *own.get() == 0 {
                own.remove();
            }
        }
    }
}

/// A client whose request is not for libp2p: see [`Config::with_visitors`](crate::websocket::Config::with_visitors).
///
/// It is the connection, as a stream of bytes that begins with the first byte of the request. Either [`answer`](Self::answer)
/// the request, or give the connection to an HTTP server, with or without TLS alike.
///
/// With hyper:
///
/// ```
/// use std::convert::Infallible;
///
/// use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
/// use hyper_util::rt::{TokioIo, TokioTimer};
/// use libp2p_lazy_websocket::websocket::Config;
/// use tokio_util::compat::FuturesAsyncReadCompatExt as _;
///
/// async fn page(request: Request<Incoming>) -> Result<Response<String>, Infallible> {
///     Ok(Response::new(format!("{} is not here yet\n", request.uri())))
/// }
///
/// let config = Config::default().with_visitors(|visitor| {
///     let io = TokioIo::new(visitor.compat());
///     let mut server = http1::Builder::new();
///     server.timer(TokioTimer::new()).keep_alive(false);
///     tokio::spawn(server.serve_connection(io, service_fn(page)));
/// });
/// # drop(config);
/// ```
///
/// With axum, or any other service of tower:
///
/// ```
/// use axum::{Router, routing::get};
/// use hyper::server::conn::http1;
/// use hyper_util::{rt::{TokioIo, TokioTimer}, service::TowerToHyperService};
/// use libp2p_lazy_websocket::websocket::Config;
/// use tokio_util::compat::FuturesAsyncReadCompatExt as _;
///
/// let app = Router::new().route("/", get(|| async { "Hello!\n" }));
/// let config = Config::default().with_visitors(move |visitor| {
///     let service = TowerToHyperService::new(app.clone());
///     let io = TokioIo::new(visitor.compat());
///     let mut server = http1::Builder::new();
///     server.timer(TokioTimer::new()).keep_alive(false);
///     tokio::spawn(server.serve_connection(io, service));
/// });
/// # drop(config);
/// ```
///
/// They need `hyper` with the features `http1` and `server`, `hyper-util` with `tokio` (and `service` for axum), and `tokio-util`
/// with `compat`.
///
/// # One request
///
/// Serve one request and close the connection, as `answer` does, and hyper with `keep_alive(false)`. A proxy in front of this
/// node may send the requests of several clients through one connection, among them the upgrades of libp2p peers. Only the
/// first request of a connection decides whether it is for libp2p: a later upgrade would reach the application, which would
/// answer it with 404.
///
/// # Time
///
/// Once the time of [`Config::with_visit_timeout`](crate::websocket::Config::with_visit_timeout) is over, reading, writing and
/// closing fail with the kind [`TimedOut`](io::ErrorKind::TimedOut), unless [`keep_open`](Self::keep_open) was called.
///
/// # Closing
///
/// [`poll_close`](AsyncWrite::poll_close) sends a `close_notify` if the connection is secured, closes the write side, and
/// discards what still comes until the client closes its side, for at most two seconds and 256 KiB. Without that, the system
/// would reset the connection if the client has sent more than was read, and the client might lose the answer. Once the
/// write side is closed, nothing can be read any more: reading returns 0 bytes, also in another task.
///
/// Dropping a visitor closes the connection at once, and frees its place among the
/// [visitors](crate::websocket::Config::with_max_visitors). Dropping the transport does not end its visitors.
pub struct Visitor {
    method: String,
    path: String,
    is_secured: bool,
    io: Prefixed<Io>,
    /// `None` if it may stay.
    end: Option<Instant>,
    // Both halves may be used, in two tasks.
    reading: Deadline,
    writing: Deadline,
    /// Once the write side is closed.
    linger: Option<Linger>,
    /// Whoever waits, until the connection has another waker instead.
    reader: Option<Waker>,
    writer: Option<Waker>,
    // Dropped after the connection.
    place: Place,
}

impl Visitor {
    /// The method of the request, such as `GET`.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The path of the request with its query, as it was requested: `/metrics?name=a`. Clients may also request a whole URL,
    /// `*` (`OPTIONS *`) or a host and port (`CONNECT`).
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The address of the client, as the `send_back_addr` of a connection: that of a proxy's client with
    /// [`Config::with_proxies`](crate::websocket::Config::with_proxies), and that of the proxy without.
    pub fn from(&self) -> &Multiaddr {
        &self.place.from
    }

    /// Whether the connection is over TLS.
    pub fn is_secured(&self) -> bool {
        self.is_secured
    }

    /// Lets the connection stay open beyond
    /// [`Config::with_visit_timeout`](crate::websocket::Config::with_visit_timeout), for instance for server-sent events or a
    /// WebSocket of the application. It keeps its place among the
    /// [visitors](crate::websocket::Config::with_max_visitors), and the application has to bound its time, and how many of
    /// these there are.
    pub fn keep_open(&mut self) {
        self.end = None;
    }

    /// Answers the request and closes the connection, as [above](#closing). The answer to a HEAD request is sent without the
    /// body, and so is one with the status 204, 205 or 304.
    ///
    /// The answer has the headers `Connection: close`, `Date`, `Content-Type` and `Content-Length`. Write other answers to
    /// the visitor itself, or use an HTTP server.
    ///
    /// # Errors
    ///
    /// If the connection fails or the client takes too long; and if the status is not one of 200 to 599, or the content type
    /// has characters that cannot be in a header, in which case nothing is sent, and the connection is closed.
    pub async fn answer(
        mut self,
        status: u16,
        content_type: &str,
        body: impl AsRef<[u8]>,
    ) -> Result<(), AnswerError> {
        if !(200..600).contains(&status) {
            return Err(AnswerError::Status { status });
        }
        let is_valid = |byte| matches!(byte, b'\t' | b' '..=b'~');
        if !content_type.bytes().all(is_valid) {
            let content_type = content_type.to_owned();
            return Err(AnswerError::ContentType { content_type });
        }
        let body = Some(body.as_ref()).filter(|_| !matches!(status, 204 | 205 | 304));
        let length = body.map(<[u8]>::len);
        let head = upgrade::answered(status, content_type, length, deadline::wall_clock());
        let mut bytes = head.into_bytes();
        bytes.extend(body.filter(|_| self.method != "HEAD").unwrap_or_default());
        self.write_all(&bytes).await?;
        self.close().await?;
        Ok(())
    }

    fn timed_out(&self) -> io::Error {
        io::Error::new(
            io::ErrorKind::TimedOut,
            format!(
                "the visit took longer than {:?}",
                self.place.shared.limits.timeout
            ),
        )
    }

    /// One poll of a call that writes. Fails once the time is over.
    fn poll_writing<T>(
        &mut self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(&mut Self, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if self.writing.poll(deadline::now(), self.end, cx).is_ready() {
            return Poll::Ready(Err(self.timed_out()));
        }
        let polled = poll(self, cx);
        self.writer = polled.is_pending().then(|| cx.waker().clone());
        polled
    }
}

impl fmt::Debug for Visitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Visitor")
            .field("method", &self.method)
            .field("path", &self.path)
            .field("from", &self.place.from)
            .field("is_secured", &self.is_secured)
            .finish_non_exhaustive()
    }
}

impl AsyncRead for Visitor {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.reading.poll(deadline::now(), this.end, cx).is_ready() {
            return Poll::Ready(Err(this.timed_out()));
        }
        if this.linger.is_some() {
            return Poll::Ready(Ok(0));
        }
        let read = Pin::new(&mut this.io).poll_read(cx, buf);
        this.reader = read.is_pending().then(|| cx.waker().clone());
        // TLS may have tried to send an alert, with the waker of the reader.
        if matches!(read, Poll::Ready(Err(_)))
            && let Some(writer) = this.writer.take()
        {
            writer.wake();
        }
        read
    }
}

impl AsyncWrite for Visitor {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_writing(cx, |this, cx| Pin::new(&mut this.io).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_writing(cx, |this, cx| {
            Pin::new(&mut this.io).poll_write_vectored(cx, bufs)
        })
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_writing(cx, |this, cx| Pin::new(&mut this.io).poll_flush(cx))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_writing(cx, |this, cx| {
            if this.linger.is_none() {
                ready!(Pin::new(&mut this.io).poll_close(cx))?;
            }
            // From now on, this task reads.
            if let Some(reader) = this.reader.take() {
                reader.wake();
            }
            let linger = this.linger.get_or_insert_with(Linger::new);
            linger.poll(&mut this.io, cx).map(Ok)
        })
    }
}

/// The reason for which [`Visitor::answer`] failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// The connection failed, or the time of the visit was over.
    #[error("the answer could not be sent")]
    Io(#[from] io::Error),
    /// The status is not one of an answer: 200 to 599.
    #[error("{status} is not the status of an answer, which is between 200 and 599")]
    #[non_exhaustive]
    Status {
        /// The status.
        status: u16,
    },
    /// The content type has a line end, or another character that cannot be in a header.
    #[error("the content type {content_type:?} has a character that cannot be in a header")]
    #[non_exhaustive]
    ContentType {
        /// The content type.
        content_type: String,
    },
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tokio_test::{assert_pending, assert_ready, task};

    use super::*;
    use crate::websocket::scripted::{Direction, Pipe, Shared};

    /// With a connection as a socket of tokio, which has one waker to read and one to write.
    fn visitor(capacity: usize) -> (Visitor, Shared, Shared) {
        let incoming = Direction::shared(&[], usize::MAX, false);
        let outgoing = Direction::shared(&[], capacity, false);
        let io = Box::pin(Pipe {
            incoming: incoming.clone(),
            outgoing: outgoing.clone(),
        });
        (visitor_on(io), incoming, outgoing)
    }

    fn visitor_on(io: Io) -> Visitor {
        let (tell, told) = mpsc::channel();
        let limits = Limits {
            max: NonZeroUsize::MIN,
            timeout: Duration::MAX,
            proxies: None,
        };
        let receive = Receive::new(move |visitor| tell.send(visitor).unwrap());
        let visitors = Visitors::new(receive, limits, Counters::default());
        let place = visitors.admit(&Multiaddr::empty()).unwrap();
        let visit = Visit {
            method: "GET".to_owned(),
            path: "/".to_owned(),
            received: Vec::new(),
        };
        place.receive(visit, io, false);
        told.recv().unwrap()
    }

    #[test]
    fn once_its_write_side_is_closed_only_the_closing_task_reads() {
        for is_reading in [true, false] {
            let (mut visitor, incoming, _) = visitor(1);
            let (mut reader, mut closer) = (task::spawn(()), task::spawn(()));
            let mut read = |visitor: &mut Visitor| {
                let is_woken = reader.is_woken();
                let poll = |cx: &mut Context<'_>, _: Pin<&mut ()>| {
                    Pin::new(visitor).poll_read(cx, &mut [0; 8])
                };
                (is_woken, reader.enter(poll).map(Result::unwrap))
            };
            if is_reading {
                assert_eq!(read(&mut visitor), (false, Poll::Pending));
            }
            assert_pending!(closer.enter(|cx, _| Pin::new(&mut visitor).poll_close(cx)));
            incoming.lock().bytes.extend(*b"more");
            assert_eq!(read(&mut visitor), (is_reading, Poll::Ready(0)));
            assert!(!closer.is_woken());
            incoming.lock().is_closed = true;
            incoming.lock().wake_all();
            assert!(closer.is_woken());
            assert_ready!(closer.enter(|cx, _| Pin::new(&mut visitor).poll_close(cx))).unwrap();
            assert_eq!(read(&mut visitor), (false, Poll::Ready(0)));
        }
    }

    /// As TLS whose alert cannot be sent yet: reading fails, and the reader waits to write instead of the writer.
    #[derive(Default)]
    struct Alerting {
        writer: Option<Waker>,
    }

    impl AsyncRead for Alerting {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            _: &mut [u8],
        ) -> Poll<io::Result<usize>> {
            self.writer = Some(cx.waker().clone());
            Poll::Ready(Err(io::ErrorKind::InvalidData.into()))
        }
    }

    impl AsyncWrite for Alerting {
        fn poll_write(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            _: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.writer = Some(cx.waker().clone());
            Poll::Pending
        }

        fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.poll_write(cx, &[]).map_ok(drop)
        }

        fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.poll_write(cx, &[]).map_ok(drop)
        }
    }

    #[test]
    fn a_reader_that_fails_wakes_the_writer_whose_place_it_may_have_taken() {
        type Write = fn(Pin<&mut Visitor>, &mut Context<'_>) -> Poll<io::Result<()>>;

        let write: Write = |visitor, cx| visitor.poll_write(cx, &[0]).map_ok(drop);
        let vectored: Write = |visitor, cx| {
            let bufs = [io::IoSlice::new(&[0])];
            visitor.poll_write_vectored(cx, &bufs).map_ok(drop)
        };
        for write in [write, vectored, Visitor::poll_flush, Visitor::poll_close] {
            let mut visitor = visitor_on(Box::pin(Alerting::default()));
            let (mut reader, mut writer) = (task::spawn(()), task::spawn(()));
            assert_pending!(writer.enter(|cx, _| write(Pin::new(&mut visitor), cx)));
            let read = |cx: &mut Context<'_>, _: Pin<&mut ()>| {
                Pin::new(&mut visitor).poll_read(cx, &mut [0; 8])
            };
            assert_ready!(reader.enter(read)).unwrap_err();
            assert!(writer.is_woken());
            assert_pending!(writer.enter(|cx, _| write(Pin::new(&mut visitor), cx)));
        }
    }

    #[test]
    fn a_remote_address_has_a_quarter_of_the_places_unless_it_is_of_this_host_or_of_a_proxy() {
        let visitors = |max| {
            let limits = Limits {
                max: NonZeroUsize::new(max).unwrap(),
                timeout: Duration::MAX,
                proxies: Some(Proxies::http(["192.0.2.0/24".parse().unwrap()])),
            };
            Visitors::new(Receive::new(drop), limits, Counters::default())
        };
        let admit = |visitors: &Visitors, ip: &str| {
            let from = format!("{ip}/tcp/1/ws").parse().unwrap();
            visitors.admit(&from).map_err(|error| match error {
                HandshakeError::TooManyVisitors { max } => max,
                error => panic!("{error:?}"),
            })
        };
        for (max, ip, other, places) in [
            (8, "/ip4/198.51.100.1", "/ip6/::ffff:198.51.100.1", 2),
            (8, "/ip6/2001:db8::1", "/ip6/2001:db8:0:ff::1", 2),
            (3, "/ip4/198.51.100.1", "/ip4/198.51.100.1", 1),
            (8, "/ip4/127.0.0.1", "/ip6/::1", 8),
            (8, "/ip4/192.0.2.1", "/ip4/192.0.2.1", 8),
        ] {
            let visitors = visitors(max);
            let mut held: Vec<_> = (0..places).map(|_| admit(&visitors, ip).unwrap()).collect();
            assert_eq!(admit(&visitors, other).err(), Some(places), "{other}");
            let is_full = places == max;
            assert_eq!(admit(&visitors, "/ip4/203.0.113.1").is_err(), is_full);
            held.pop();
            held.push(admit(&visitors, other).unwrap());
            assert!(admit(&visitors, ip).is_err(), "{ip}");
            drop(held);
            assert!(visitors.0.present().by_remote.is_empty());
            assert_eq!(visitors.0.present().all, 0);
        }
    }
}
