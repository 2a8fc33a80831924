//! Connections of which it is not known yet what they speak, as several listen on their socket.
//!
//! The first byte tells: all that dial in libp2p speak first. What is read with it is given back in front of the connection.
//! This happens in the task of the transport, before anything above hears of the connection, since an event of a transport
//! says with it to which listener it belongs. So nothing here may be expensive.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::{FutureExt as _, Stream as _, stream::FuturesUnordered};
use libp2p_core::transport::ListenerId;
use multiaddr::Multiaddr;

use crate::websocket::{
    Error,
    address::Kind,
    below::{Io, Pending},
    handshake::{Bounds, Handshake},
};

mod prefixed;

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
    /// `None` if that is nothing that is known here.
    pub(super) kind: Option<Kind>,
    /// Those of its handshake, which goes on.
    pub(super) bounds: Bounds,
}

/// Those who have not spoken yet: at most as many as there are places for pending handshakes.
#[derive(Default)]
pub(super) struct Hearing(FuturesUnordered<Silent>);

impl Hearing {
    pub(super) fn push(&mut self, arrived: Arrived<Pending<Io>>, bounds: Bounds) {
        let mut hearing = None;
        let arrived = arrived.map(|upgrade| hearing = Some(hear(upgrade).boxed()));
        let Some(hearing) = hearing else { return };
        self.0.push(Silent {
            arrived: Some(arrived),
            handshake: Handshake::new(hearing, bounds),
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
    handshake: Handshake<Pending<(u8, Prefixed<Io>)>>,
}

impl Future for Silent {
    type Output = Result<Heard, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let ((first, io), bounds) = ready!(self.handshake.poll_unpin(cx))?;
        let Some(arrived) = self.arrived.take() else {
            return Poll::Pending;
        };
        Poll::Ready(Ok(Heard {
            arrived: arrived.map(|()| Incoming::Heard(io)),
            kind: kind(first),
            bounds,
        }))
    }
}

/// The first byte, and the connection with it.
async fn hear(upgrade: Pending<Io>) -> Result<(u8, Prefixed<Io>), Error> {
    let mut io = upgrade.await?;
    // Nothing is kept of a buffer while nothing comes.
    let read = poll_fn(|cx| {
        let mut bytes = [0; MAX_READ];
        let count = ready!(io.as_mut().poll_read(cx, &mut bytes))?;
        Poll::Ready(Ok(bytes.get(..count).unwrap_or_default().to_vec()))
    });
    let read: io::Result<_> = read.await;
    let read = read.map_err(Error::below)?;
    match read.first() {
        Some(&first) => Ok((first, Prefixed::new(read, io))),
        None => Err(Error::below(io::Error::from(io::ErrorKind::UnexpectedEof))),
    }
}

/// What those speak whose first byte this is.
fn kind(first: u8) -> Option<Kind> {
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
