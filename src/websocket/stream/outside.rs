//! What a fuzzer does to streams: bytes that may be frames, beside what soketto makes of them, which is what
//! libp2p-websocket has; and what one of both writes, read by the other.

use std::{
    cell::RefCell,
    collections::VecDeque,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use futures::{AsyncRead, AsyncWrite, FutureExt as _};
use soketto::{
    Incoming,
    connection::{self, Mode},
};

use super::{DIRECT, ProtocolError, Role, Stream, mask::Mask};

/// More than a stream may write for what it was sent: a pong for each ping, and a close.
const ANSWERS: usize = 131;

/// Has all that is to be read, in pieces, and takes all that is written. It never waits.
#[derive(Default)]
struct Tape {
    incoming: VecDeque<u8>,
    piece: usize,
    outgoing: Rc<RefCell<Vec<u8>>>,
    reads: usize,
}

impl AsyncRead for Tape {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let count = buf.len().min(self.piece).min(self.incoming.len());
        self.reads += 1;
        for (to, byte) in buf.iter_mut().zip(self.incoming.drain(..count)) {
            *to = byte;
        }
        Poll::Ready(Ok(count))
    }
}

impl AsyncWrite for Tape {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.outgoing.borrow_mut().extend(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The first byte says who reads, in which pieces and into what; the rest is what is sent, either as it is or as the
/// payloads of frames.
pub(crate) fn run(data: &[u8]) {
    let Some((&first, rest)) = data.split_first() else {
        return;
    };
    let role = if first & 1 == 0 {
        Role::Client
    } else {
        Role::Server
    };
    let piece = [1, 3, 100, usize::MAX][usize::from(first >> 1 & 3)];
    let size = [1, 7, 2000, DIRECT][usize::from(first >> 3 & 3)];
    let bytes = match first & 0x20 {
        0 => rest.to_vec(),
        _ => frames(role, rest),
    };
    let ours = ours(role, &bytes, piece, size);
    let theirs = theirs(role, &bytes, true);
    let common = ours.payload.len().min(theirs.payload.len());
    assert_eq!(ours.payload[..common], theirs.payload[..common]);
    let theirs_has_more = theirs.payload.len() > common;
    match (ours.end, theirs.end) {
        // Only this crate refuses: text, frames with a wrong masking, lengths that are not encoded in the fewest bytes, and
        // invalid codes and reasons of closes.
        (
            End::Broken(
                ProtocolError::Text
                | ProtocolError::Masked
                | ProtocolError::NotMasked
                | ProtocolError::LengthNotMinimal { .. }
                | ProtocolError::ClosePayload,
            ),
            _,
        ) => {}
        // Otherwise it has less, since it delivers whole messages only.
        _ if theirs_has_more => panic!("only soketto read it: {bytes:x?}"),
        (End::Broken(broken), TheirEnd::Closed) => {
            panic!("only this crate refuses it: {broken} {bytes:x?}")
        }
        (End::Good, TheirEnd::Broken(error)) => panic!("only soketto refuses it: {error}"),
        // It does not tell an end between messages from one within.
        _ => {}
    }
    written(role, rest);
}

/// Frames of which most follow the rules, with payloads out of `data`.
fn frames(role: Role, mut data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let [kind, length, rest @ ..] = data {
        let length = usize::from(*length).min(rest.len());
        let (payload, later) = rest.split_at(length);
        data = later;
        let opcode = [0_u8, 2, 2, 2, 0, 8, 9, 10][usize::from(kind & 7)];
        let fin = kind & 8;
        bytes.push(opcode | if fin == 0 { 0x80 } else { 0 } | (kind & 0x80) >> 3);
        let mask = if role == Role::Server { 0x80 } else { 0 };
        match u8::try_from(length) {
            Ok(short @ ..126) => bytes.push(short | mask),
            _ => {
                bytes.push(126 | mask);
                bytes.extend((length as u16).to_be_bytes());
            }
        }
        let begin = bytes.len();
        if role == Role::Server {
            let key = [*kind, 2, 3, 4];
            bytes.extend(key);
            bytes.extend(payload);
            Mask::new(key).apply(&mut bytes[begin + 4..]);
        } else {
            bytes.extend(payload);
        }
    }
    bytes
}

struct Read {
    payload: Vec<u8>,
    end: End,
}

enum End {
    Good,
    CutShort,
    Broken(ProtocolError),
}

fn ours(role: Role, bytes: &[u8], piece: usize, size: usize) -> Read {
    let tape = Tape {
        incoming: bytes.iter().copied().collect(),
        piece,
        ..Tape::default()
    };
    let mut stream = Stream::new(tape, role, Vec::new());
    let mut cx = Context::from_waker(Waker::noop());
    let mut buf = vec![0; size];
    let mut payload = Vec::new();
    // Every poll reads, delivers or ends.
    let mut polls = 3 + 2 * bytes.len();
    let end = loop {
        polls = polls.checked_sub(1).expect("it makes progress");
        match Pin::new(&mut stream).poll_read(&mut cx, &mut buf) {
            // It has read for long enough, and goes on in the next.
            Poll::Pending => {}
            Poll::Ready(Ok(0)) => break End::Good,
            Poll::Ready(Ok(count)) => payload.extend(&buf[..count]),
            Poll::Ready(Err(error)) => match error.get_ref().and_then(|e| e.downcast_ref()) {
                Some(broken) => break End::Broken(ProtocolError::clone(broken)),
                None => {
                    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
                    break End::CutShort;
                }
            },
        }
        // Payload is never more than what came, and answers are bounded by the pings, of two bytes at least.
        assert!(payload.len() <= bytes.len());
    };
    assert!(stream.io.outgoing.borrow().len() <= ANSWERS * (2 + bytes.len() / 2));
    assert!(stream.io.reads <= 2 + bytes.len());
    Read { payload, end }
}

struct Theirs {
    /// Of the messages that were whole.
    payload: Vec<u8>,
    end: TheirEnd,
}

enum TheirEnd {
    /// By a close frame.
    Closed,
    /// By a text message, or by the end of the bytes, wherever that is.
    Over,
    Broken(connection::Error),
}

fn mode(role: Role) -> Mode {
    match role {
        Role::Client => Mode::Client,
        Role::Server => Mode::Server,
    }
}

fn theirs(role: Role, bytes: &[u8], has_fragments: bool) -> Theirs {
    let tape = Tape {
        incoming: bytes.iter().copied().collect(),
        piece: usize::MAX,
        ..Tape::default()
    };
    let (_sender, mut receiver) = connection::Builder::new(tape, mode(role)).finish();
    let mut payload = Vec::new();
    let end = loop {
        let mut message = Vec::new();
        let received = receiver.receive(&mut message).now_or_never();
        match received.expect("nothing waits") {
            Ok(Incoming::Data(data)) if data.is_binary() => payload.extend(message),
            Ok(Incoming::Data(_)) => break TheirEnd::Over,
            // With it soketto forgets that a message has begun, though section 5.4 of the RFC lets it come in between.
            Ok(Incoming::Pong(_)) if has_fragments => break TheirEnd::Over,
            Ok(Incoming::Pong(_)) => {}
            Ok(Incoming::Closed(_)) => break TheirEnd::Closed,
            // So it calls the end of the bytes too.
            Err(connection::Error::Closed) => break TheirEnd::Over,
            Err(error) => break TheirEnd::Broken(error),
        }
    };
    Theirs { payload, end }
}

/// What is written by a stream is read by soketto, whatever the pieces, and the other way round.
fn written(role: Role, data: &[u8]) {
    let mut cx = Context::from_waker(Waker::noop());
    let mut stream = Stream::new(Tape::default(), role, Vec::new());
    let mut rest = data;
    while let [length, later @ ..] = rest {
        let (piece, later) = later.split_at(usize::from(*length).min(later.len()));
        rest = later;
        if !piece.is_empty() {
            let written = Pin::new(&mut stream).poll_write(&mut cx, piece);
            assert!(matches!(written, Poll::Ready(Ok(count)) if count == piece.len()));
        }
        if length % 3 == 0 {
            assert!(Pin::new(&mut stream).poll_flush(&mut cx).is_ready());
        }
        if length % 5 == 0 {
            stream.writer.on_ping(piece);
        }
        if length % 7 == 0 {
            stream.writer.ping();
        }
    }
    assert!(Pin::new(&mut stream).poll_close(&mut cx).is_ready());
    let sent = stream.io.outgoing.take();
    let other = match role {
        Role::Client => Role::Server,
        Role::Server => Role::Client,
    };
    let theirs = theirs(other, &sent, false);
    assert!(matches!(theirs.end, TheirEnd::Closed));
    let ours = ours(other, &sent, usize::MAX, DIRECT);
    assert!(matches!(ours.end, End::Good));
    assert!(ours.payload == theirs.payload);

    let tape = Tape::default();
    let sent = Rc::clone(&tape.outgoing);
    let (mut sender, _receiver) = connection::Builder::new(tape, mode(role)).finish();
    let sending = async {
        sender.send_binary(data).await?;
        sender.close().await
    };
    let sending = sending.now_or_never().expect("nothing waits");
    sending.expect("it is written");
    let ours = self::ours(other, &sent.take(), usize::MAX, DIRECT);
    assert!(matches!(ours.end, End::Good));
    assert!(ours.payload == data);
}
