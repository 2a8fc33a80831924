use std::{
    fmt, io,
    net::{SocketAddr, TcpListener},
    pin::Pin,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use async_io::Async;
use futures::{
    StreamExt as _,
    future::{self, Ready},
};
use libp2p_core::transport::{ListenerId, TransportEvent};
use multiaddr::{Multiaddr, Protocol};

use super::{
    addresses::{AddressEvent, Addresses},
    stream::Stream,
};
use crate::{
    deadline::{self, Deadline, Instant},
    lazy::accept::Cause,
    websocket::interfaces::{Changes, Watch},
};

pub(super) type Event = TransportEvent<Ready<io::Result<Stream>>, io::Error>;

/// The pause of a listener after an error of its own, as in libp2p-tcp: the same error would follow at once.
const PAUSE: Duration = Duration::from_millis(100);

/// Maximum number of interface changes, or ended connections, that one poll processes.
const MAX_FRUITLESS_PER_POLL: usize = 64;

/// A bound socket and its events.
pub(super) struct Listener {
    id: ListenerId,
    /// `None` once it is closed.
    socket: Option<Async<TcpListener>>,
    addresses: Addresses,
    watch: Watch,
    changes: Option<Changes>,
    accepts: Pause,
    watches: Pause,
    waker: Option<Waker>,
}

impl Listener {
    pub(super) fn new(
        id: ListenerId,
        socket: Async<TcpListener>,
        addresses: Addresses,
        watch: Watch,
    ) -> io::Result<Self> {
        let changes = match addresses.is_wildcard() {
            true => Some(watch()?),
            false => None,
        };
        Ok(Self {
            id,
            socket: Some(socket),
            addresses,
            watch,
            changes,
            accepts: Pause::default(),
            watches: Pause::default(),
            waker: None,
        })
    }

    /// Whether it has this id and is open.
    pub(super) fn is(&self, id: ListenerId) -> bool {
        self.id == id && self.socket.is_some()
    }

    pub(super) fn bound(&self) -> SocketAddr {
        self.addresses.bound()
    }

    /// Lets the socket go.
    pub(super) fn close(&mut self) {
        self.socket = None;
        self.changes = None;
        // Polled once more, to end.
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn error(&self, error: io::Error) -> Event {
        TransportEvent::ListenerError {
            listener_id: self.id,
            error,
        }
    }

    /// Takes up the changes of the interfaces. Ready with an error of the watcher.
    fn poll_interfaces(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if !self.addresses.is_wildcard() {
            return Poll::Pending;
        }
        ready!(self.watches.poll(cx));
        for _ in 0..MAX_FRUITLESS_PER_POLL {
            let changes = match &mut self.changes {
                Some(changes) => changes,
                none => match (self.watch)() {
                    Ok(changes) => none.insert(changes),
                    Err(error) => {
                        self.watches.begin();
                        return Poll::Ready(error);
                    }
                },
            };
            let error = match ready!(changes.poll_next_unpin(cx)) {
                Some(Ok(change)) => {
                    self.addresses.on_change(change);
                    continue;
                }
                Some(Err(error)) => error,
                None => io::ErrorKind::BrokenPipe.into(),
            };
            self.changes = None;
            self.addresses.on_unwatched();
            self.watches.begin();
            return Poll::Ready(error);
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        ready!(self.accepts.poll(cx));
        for _ in 0..MAX_FRUITLESS_PER_POLL {
            let Some(socket) = &self.socket else {
                return Poll::Pending;
            };
            let error = match socket.get_ref().accept().and_then(accepted) {
                Ok((stream, local, remote)) => {
                    return Poll::Ready(TransportEvent::Incoming {
                        listener_id: self.id,
                        upgrade: future::ok(stream),
                        local_addr: multiaddr(local),
                        send_back_addr: multiaddr(remote),
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    match ready!(socket.poll_readable(cx)) {
                        Ok(()) => continue,
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            if Cause::of(&error) == Cause::Connection {
                tracing::debug!(listener = %self.id, %error, "a connection ended before it was accepted");
                continue;
            }
            self.accepts.begin();
            return Poll::Ready(self.error(error));
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

fn accepted(
    (socket, remote): (std::net::TcpStream, SocketAddr),
) -> io::Result<(Stream, SocketAddr, SocketAddr)> {
    let local = socket.local_addr()?;
    Ok((Stream::new(socket)?, local, remote))
}

fn multiaddr(at: SocketAddr) -> Multiaddr {
    Multiaddr::from(at.ip()).with(Protocol::Tcp(at.port()))
}

impl futures::Stream for Listener {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        let this = &mut *self;
        if this.socket.is_none() {
            return Poll::Ready(None);
        }
        match &mut this.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        // An address is reported before its connections.
        let failed = this.poll_interfaces(cx);
        if let Some(event) = this.addresses.poll_event() {
            if let Poll::Ready(error) = failed {
                tracing::warn!(listener = %this.id, %error, "cannot watch the interfaces");
            }
            let listener_id = this.id;
            return Poll::Ready(Some(match event {
                AddressEvent::New(at) => TransportEvent::NewAddress {
                    listener_id,
                    listen_addr: multiaddr(at),
                },
                AddressEvent::Expired(at) => TransportEvent::AddressExpired {
                    listener_id,
                    listen_addr: multiaddr(at),
                },
            }));
        }
        if let Poll::Ready(error) = failed {
            return Poll::Ready(Some(this.error(error)));
        }
        this.poll_accept(cx).map(Some)
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("id", &self.id)
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

/// After an error.
#[derive(Debug, Default)]
struct Pause {
    until: Option<Instant>,
    deadline: Deadline,
}

impl Pause {
    fn begin(&mut self) {
        self.until = Some(deadline::after(deadline::now(), PAUSE));
    }

    /// Ready when there is no pause.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.until.is_some() {
            ready!(self.deadline.poll(deadline::now(), self.until, cx));
            self.until = None;
        }
        Poll::Ready(())
    }
}
