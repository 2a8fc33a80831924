//! Connections of which it is not known yet what they speak, as several listen on their socket, or for whom, as they come
//! from a proxy.
//!
//! The first byte tells what they speak: all that dial in libp2p speak first. A proxy tells for whom it connects, in front
//! of that or in the request. What is read is given back in front of the connection, without what is the proxy's own. This
//! happens in the task of the transport, before anything above hears of the connection, since an event of a transport says
//! with it to which listener it belongs. So nothing here may be expensive.

use std::{
    future::poll_fn,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use futures::{FutureExt as _, Stream as _, stream::FuturesUnordered};
use libp2p_core::transport::ListenerId;
use multiaddr::Multiaddr;

use crate::websocket::{
    Error, Proxies,
    address::Kind,
    below::{Io, Pending},
    handshake::{Bounds, Handshake},
    proxies::Tells,
    upgrade::{MAX_HEAD, NO_HEADERS},
};

mod forwarded;
#[cfg(any(test, fuzzing))]
pub(super) mod fuzz;
mod prefixed;
mod proxy;

pub(super) use prefixed::Prefixed;

/// How much is read at once. A whole request fits, and a whole `ClientHello`.
const MAX_READ: usize = 2048;

/// Whom a connection has reached.
#[derive(Debug)]
pub(super) struct Arrived<U> {
    pub(super) socket: ListenerId,
    pub(super) upgrade: U,
    pub(super) local: Multiaddr,
    pub(super) remote: Multiaddr,
}

impl<U> Arrived<U> {
    pub(super) fn map<V>(self, map: impl FnOnce(U) -> V) -> Arrived<V> {
        Arrived {
            socket: self.socket,
            upgrade: map(self.upgrade),
            local: self.local,
            remote: self.remote,
        }
    }
}

/// A connection below, with what has been read of it already.
pub(super) enum Incoming {
    Unheard(Pending<Io>),
    Heard(Prefixed<Io>),
}

impl Incoming {
    pub(super) async fn io(self) -> Result<Prefixed<Io>, Error> {
        match self {
            Self::Unheard(upgrade) => upgrade.await.map(Prefixed::from),
            Self::Heard(io) => Ok(io),
        }
    }
}

/// A connection that has begun to speak.
pub(super) struct Heard {
    pub(super) arrived: Arrived<Incoming>,
    /// `None` if that is nothing that is known here, or if the header of the proxy is missing.
    pub(super) kind: Option<Kind>,
    /// For whom it comes, if a proxy has told.
    pub(super) client: Option<SocketAddr>,
    /// Those of its handshake, which goes on.
    pub(super) bounds: Bounds,
}

/// Those who have not spoken yet: at most as many as there are places for pending handshakes.
#[derive(Default)]
pub(super) struct Hearing(FuturesUnordered<Silent>);

impl Hearing {
    pub(super) fn push(&mut self, arrived: Arrived<Pending<Io>>, wanted: Wanted, bounds: Bounds) {
        let Arrived {
            socket,
            upgrade,
            local,
            remote,
        } = arrived;
        self.0.push(Silent {
            arrived: Some(Arrived {
                socket,
                upgrade: (),
                local,
                remote,
            }),
            handshake: Handshake::new(hear(upgrade, wanted).boxed(), bounds),
        });
    }

    /// The next one that speaks. Those who end before are of no interest to anybody.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Heard> {
        loop {
            match ready!(Pin::new(&mut self.0).poll_next(cx)) {
                Some(Ok(heard)) => return Poll::Ready(heard),
                Some(Err(error)) => tracing::debug!(?error, "nothing was heard of a connection"),
                None => return Poll::Pending,
            }
        }
    }
}

struct Silent {
    /// `None` once it has spoken.
    arrived: Option<Arrived<()>>,
    handshake: Handshake<Pending<Beginning>>,
}

impl Future for Silent {
    type Output = Result<Heard, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (beginning, bounds) = ready!(self.handshake.poll_unpin(cx))?;
        let Some(arrived) = self.arrived.take() else {
            return Poll::Pending;
        };
        Poll::Ready(Ok(Heard {
            arrived: arrived.map(|()| Incoming::Heard(beginning.io)),
            kind: beginning.kind,
            client: beginning.client,
            bounds,
        }))
    }
}

/// What is to be found out about a connection.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    /// What it speaks, if that is known already.
    pub(super) kind: Option<Kind>,
    /// Those that it comes from, if it comes from one.
    pub(super) proxies: Option<Arc<Proxies>>,
}

/// How a connection begins.
struct Beginning {
    kind: Option<Kind>,
    client: Option<SocketAddr>,
    io: Prefixed<Io>,
}

async fn hear(upgrade: Pending<Io>, wanted: Wanted) -> Result<Beginning, Error> {
    let mut read = Vec::new();
    let mut io = upgrade.await?;
    let mut client = None;
    let tells = wanted.proxies.as_deref().map(Proxies::tells);
    if let Some(Tells::Proxy) = tells {
        let header = loop {
            match proxy::header(&read) {
                Ok(None) => more(&mut io, &mut read).await?,
                Ok(Some(header)) => break Ok(header),
                Err(error) => break Err(error),
            }
        };
        match header {
            Ok(header) => {
                read.drain(..header.len);
                client = header.client;
            }
            Err(error) => {
                tracing::debug!(?error, "refused a connection from a trusted proxy");
                let io = Prefixed::new(read, io);
                let (kind, client) = (None, None);
                return Ok(Beginning { kind, client, io });
            }
        }
    }
    // Also where it is known what comes: a proxy that only looks whether this node is up says nothing, and is no failure.
    if read.is_empty() {
        more(&mut io, &mut read).await?;
    }
    let first = read.first();
    let kind = wanted.kind.or_else(|| kind_of(*first?));
    if let (Some(Tells::Http(name)), Some(Kind::Ws)) = (tells, kind) {
        let is_trusted = |ip| wanted.proxies.as_ref().is_some_and(|all| all.are_at(ip));
        client = forwarded_for(&mut io, &mut read, name, is_trusted).await?;
        if client.is_none() {
            static HAS_WARNED: AtomicBool = AtomicBool::new(false);

            warn_of_no_client(name, &HAS_WARNED);
        }
    }
    let io = Prefixed::new(read, io);
    Ok(Beginning { kind, client, io })
}

/// Once in a process, as it is a mistake in a configuration, and each connection would say it.
fn warn_of_no_client(header: &str, has_warned: &AtomicBool) {
    if !has_warned.swap(true, Ordering::Relaxed) {
        tracing::warn!(
            header,
            "a trusted proxy does not tell its client by this header, so the client has the address of the proxy"
        );
    }
}

/// The client in the headers of this name. What is wrong with the request is left to those who answer it.
async fn forwarded_for(
    io: &mut Io,
    read: &mut Vec<u8>,
    name: &str,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> Result<Option<SocketAddr>, Error> {
    let mut scanned = 0;
    loop {
        // Empty lines in front of a request are none of its own: RFC 9112, section 2.2.
        let begin = read.iter().take_while(|byte| b"\r\n".contains(byte));
        let new = read.get(begin.count().max(scanned)..).unwrap_or_default();
        let is_whole =
            new.windows(2).any(|end| end == b"\n\n") || new.windows(3).any(|end| end == b"\n\r\n");
        if is_whole || read.len() >= MAX_HEAD {
            break;
        }
        scanned = read.len().saturating_sub(2);
        more(io, read).await?;
    }
    let mut headers = NO_HEADERS;
    let mut request = httparse::Request::new(&mut headers);
    // The headers of a part of a request are known as well.
    let Ok(httparse::Status::Complete(_)) = request.parse(read) else {
        return Ok(None);
    };
    let named = request
        .headers
        .iter()
        .filter(|header| header.name.eq_ignore_ascii_case(name));
    let values = named.map(|header| header.value);
    Ok(forwarded::client(values, is_trusted))
}

/// Adds what comes next to what has been read. Nothing is kept of a buffer while nothing comes.
async fn more(io: &mut Io, read: &mut Vec<u8>) -> Result<(), Error> {
    let count = poll_fn(|cx| {
        let mut bytes = [0; MAX_READ];
        let count = ready!(io.as_mut().poll_read(cx, &mut bytes))?;
        read.extend(bytes.get(..count).unwrap_or_default());
        Poll::Ready(Ok(count))
    });
    let count: io::Result<_> = count.await;
    match count.map_err(Error::below)? {
        0 => Err(Error::below(io::Error::from(io::ErrorKind::UnexpectedEof))),
        _ => Ok(()),
    }
}

/// What those speak whose first byte this is.
fn kind_of(first: u8) -> Option<Kind> {
    match first {
        // The length of `/multistream/1.0.0` and its line end, with which all begin that dial in libp2p:
        // <https://github.com/multiformats/multistream-select>.
        19 => Some(Kind::Tcp),
        // A record of a TLS handshake: RFC 8446, section 5.1.
        0x16 => Some(Kind::Wss),
        // A method of HTTP: RFC 9110, section 9.1.
        b'A'..=b'Z' => Some(Kind::Ws),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
