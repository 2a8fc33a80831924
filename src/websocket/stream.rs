//! WebSocket as a byte stream: [`Stream`].

use std::{
    fmt, io, mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures::{
    AsyncRead, AsyncWrite,
    task::{ArcWake, AtomicWaker, waker_ref},
};

use crate::{
    deadline::{self, Deadline, Instant},
    websocket::pool::{self, Buffer},
};

mod close;
mod error;
mod frame;
mod keep_alive;
mod mask;
#[cfg(any(test, fuzzing))]
mod outside;
mod reader;
#[cfg(test)]
mod schedules;
mod writer;

pub use error::ProtocolError;
#[cfg(any(test, fuzzing))]
pub(crate) use outside::run as fuzz;

use close::Code;
use frame::Role;
use keep_alive::{KeepAlive, Outcome};
use reader::Reader;
use writer::Writer;

/// Minimum length of a caller's buffer for direct reads. Smaller ones are filled from a buffer of the pool, which takes
/// fewer system calls.
const DIRECT: usize = 32 * 1024;

/// Maximum number of reads without payload in one `poll_read`: headers, control frames and empty frames.
const MAX_FRUITLESS_PER_POLL: usize = 32;

/// The time for which `poll_close` waits for a peer that does not read.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// A WebSocket connection after its HTTP upgrade, as a stream of bytes
/// ([RFC 6455](https://www.rfc-editor.org/rfc/rfc6455)).
///
/// libp2p needs no message boundaries: written bytes are sent in binary frames of any size, and the payload of received
/// binary frames is read as it arrives, before the frame is complete. Received frames may have any length, because no frame
/// is buffered as a whole.
///
/// It does no handshake. Bytes that were read beyond the handshake are passed to [`client`](Self::client) or
/// [`server`](Self::server). [`Connection`](crate::websocket::Connection) documents its use.
pub(super) struct Stream<S> {
    io: S,
    reader: Reader,
    writer: Writer,
    input: Option<Input>,
    end: Option<End>,
    /// Whether the stream below has not been flushed since it was written to.
    is_unflushed: bool,
    /// Whether an answer, or bytes before it, have not been flushed.
    is_answering: bool,
    wakers: Arc<Wakers>,
    watch: Option<Watch>,
    closing: Option<Box<Closing>>,
}

/// Payload that was read and not delivered.
#[derive(Debug)]
struct Input {
    buffer: Buffer,
    start: usize,
    end: usize,
}

/// How reading has ended.
#[derive(Debug)]
enum End {
    Closed,
    /// The error, until it has been returned.
    Failed(Option<io::Error>),
    /// The peer was silent for too long. Writing fails as well.
    TimedOut,
}

/// Detects a silent peer.
#[derive(Debug)]
struct Watch {
    keep_alive: KeepAlive,
    deadline: Deadline,
    /// The time at which the timer fires. Received bytes do not move it: that would cost more than the timer itself.
    at: Instant,
    /// Whether the stream below did not take the last write.
    is_write_held_up: bool,
}

impl Watch {
    /// Bytes were written.
    fn on_sent(&mut self) {
        if mem::take(&mut self.is_write_held_up) {
            self.keep_alive.on_write_resumed(deadline::now());
        }
    }
}

/// The wakers of the tasks that wait until the stream below can be written. A reader waits too, because it has to answer.
/// Both also wait for the timer of [`Watch`].
///
/// The stream below keeps one waker for writing, so it gets one that wakes both. Otherwise a reader that answers a ping
/// would replace the waker of a waiting writer.
#[derive(Debug, Default)]
struct Wakers {
    reader: AtomicWaker,
    writer: AtomicWaker,
}

impl ArcWake for Wakers {
    fn wake_by_ref(wakers: &Arc<Self>) {
        wakers.reader.wake();
        wakers.writer.wake();
    }
}

#[derive(Debug)]
struct Closing {
    at: Instant,
    deadline: Deadline,
    is_done: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream<S> {
    /// The dialling side. `received` are the bytes after the response.
    pub(super) fn client(io: S, received: Vec<u8>) -> Self {
        Self::new(io, Role::Client, received)
    }

    /// The accepting side. `received` are the bytes after the request.
    pub(super) fn server(io: S, received: Vec<u8>) -> Self {
        Self::new(io, Role::Server, received)
    }

    fn new(io: S, role: Role, received: Vec<u8>) -> Self {
        let mut stream = Self {
            io,
            reader: Reader::new(role),
            writer: Writer::new(role, &pool::OUTGOING),
            input: None,
            end: None,
            is_unflushed: false,
            is_answering: false,
            wakers: Arc::default(),
            watch: None,
            closing: None,
        };
        if !received.is_empty() {
            let end = received.len();
            let mut buffer = Buffer::from(received);
            let end = stream.on_bytes(&mut buffer[..end]);
            stream.keep(buffer, end);
        }
        stream
    }

    /// Sends a ping after this time without a byte from the peer.
    pub(super) fn with_keep_alive(mut self, interval: Option<Duration>) -> Self {
        self.watch = interval.map(|interval| {
            let keep_alive = KeepAlive::new(interval, deadline::now());
            Watch {
                at: keep_alive.next_timeout(),
                deadline: Deadline::default(),
                is_write_held_up: false,
                keep_alive,
            }
        });
        self
    }

    fn keep(&mut self, buffer: Buffer, end: usize) {
        if end > 0 {
            let start = 0;
            self.input = Some(Input { buffer, start, end });
        }
    }

    /// Bytes were received. Returns the number of payload bytes, which are moved to their front.
    fn on_bytes(&mut self, bytes: &mut [u8]) -> usize {
        let (count, result) = self.reader.on_bytes(bytes);
        if let Some(ping) = self.reader.take_ping() {
            self.writer.on_ping(ping);
        }
        if let Err(broken) = result {
            self.writer.close(Some(Code::of(&broken)));
            self.end = Some(End::Failed(Some(broken.into())));
        } else if let Some(closed) = self.reader.close() {
            // The answer has the same code (section 5.5.1).
            self.writer.close(closed.code);
            self.end = Some(End::Closed);
        }
        if self.end.is_some() {
            // It waits for space that it may no longer use.
            self.wakers.writer.wake();
        }
        count
    }

    fn on_end_of_file(&mut self) {
        self.end = Some(if self.reader.is_between_messages() {
            End::Closed
        } else {
            End::Failed(Some(io::ErrorKind::UnexpectedEof.into()))
        });
    }

    fn poll_read_below(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        match read {
            Poll::Ready(Ok(_)) => {
                if let Some(watch) = &mut self.watch {
                    watch.keep_alive.on_received(deadline::now());
                }
            }
            // The stream below may have tried to write for the reader: TLS sends an alert. Then the waker of the writer is
            // not registered.
            Poll::Ready(Err(_)) => self.wakers.writer.wake(),
            Poll::Pending => {}
        }
        read
    }

    /// Reads behind the undelivered payload, without delivering it. `Pending` if nothing has arrived.
    fn poll_hear(&mut self) -> Poll<()> {
        let (mut buffer, filled) = match self.input.take() {
            Some(Input {
                mut buffer,
                start,
                end,
            }) => {
                buffer.copy_within(start..end, 0);
                (buffer, end - start)
            }
            None => (pool::INCOMING.lend(), 0),
        };
        if filled == buffer.len() {
            // The buffer is full of received bytes, and the ones after it cannot be seen.
            if let Some(watch) = &mut self.watch {
                watch.keep_alive.on_received(deadline::now());
            }
            self.keep(buffer, filled);
            return Poll::Ready(());
        }
        let wakers = Arc::clone(&self.wakers);
        let waker = waker_ref(&wakers);
        let mut cx = Context::from_waker(&waker);
        let read = self.poll_read_below(&mut cx, &mut buffer[filled..]);
        let count = match read {
            Poll::Pending => {
                self.keep(buffer, filled);
                return Poll::Pending;
            }
            Poll::Ready(Ok(0)) => {
                self.on_end_of_file();
                0
            }
            Poll::Ready(Ok(count)) => self.on_bytes(&mut buffer[filled..filled + count]),
            Poll::Ready(Err(error)) => {
                self.end = Some(End::Failed(Some(error)));
                0
            }
        };
        self.keep(buffer, filled + count);
        self.wakers.reader.wake();
        Poll::Ready(())
    }

    /// Called when reading or writing is pending, so that the timer is polled in both cases: a reader that has to write an
    /// answer may read nothing before. Ready if the connection has ended by the timer.
    ///
    /// `has_read`: a read was tried, and nothing had arrived.
    fn poll_watch(&mut self, has_read: bool) -> Poll<()> {
        loop {
            let (None, Some(watch)) = (&self.end, &mut self.watch) else {
                return Poll::Pending;
            };
            let now = deadline::now();
            let waker = waker_ref(&self.wakers);
            let mut cx = Context::from_waker(&waker);
            ready!(watch.deadline.poll(now, Some(watch.at), &mut cx));
            if !has_read && self.poll_hear().is_ready() && self.end.is_some() {
                return Poll::Pending;
            }
            let Some(watch) = &mut self.watch else {
                return Poll::Pending;
            };
            let outcome = watch.keep_alive.on_timeout(now);
            watch.at = watch.keep_alive.next_timeout();
            match outcome {
                Outcome::Wait => {}
                Outcome::Ping => {
                    self.writer.ping();
                    // If it fails, so does the next write, and that tells it.
                    self.is_answering = self.poll_send_and_flush().is_pending();
                }
                Outcome::Dead => {
                    self.end = Some(End::TimedOut);
                    self.watch = None;
                    self.wakers.reader.wake();
                    self.wakers.writer.wake();
                    return Poll::Ready(());
                }
            }
        }
    }

    /// The error after too long a silence of the peer.
    fn check_heard(&self) -> io::Result<()> {
        match self.end {
            Some(End::TimedOut) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "nothing is heard from the other side, not even an answer to a ping",
            )),
            _ => Ok(()),
        }
    }

    /// Reads once from below. Returns the number of payload bytes in `buf`.
    fn poll_fill(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        if buf.len() >= DIRECT {
            let count = ready!(self.poll_read_below(cx, buf))?;
            if count == 0 {
                self.on_end_of_file();
                return Poll::Ready(Ok(0));
            }
            return Poll::Ready(Ok(self.on_bytes(&mut buf[..count])));
        }
        let mut buffer = pool::INCOMING.lend();
        let count = ready!(self.poll_read_below(cx, &mut buffer))?;
        if count == 0 {
            self.on_end_of_file();
            return Poll::Ready(Ok(0));
        }
        let end = self.on_bytes(&mut buffer[..count]);
        self.keep(buffer, end);
        Poll::Ready(Ok(self.deliver(buf)))
    }

    fn deliver(&mut self, buf: &mut [u8]) -> usize {
        let Some(input) = &mut self.input else {
            return 0;
        };
        let count = buf.len().min(input.end - input.start);
        buf[..count].copy_from_slice(&input.buffer[input.start..input.start + count]);
        input.start += count;
        if input.start == input.end {
            self.input = None;
        }
        count
    }

    /// Sends the sealed frames. The tasks in `wakers` are woken when this can continue.
    fn poll_send(&mut self) -> Poll<io::Result<()>> {
        let waker = waker_ref(&self.wakers);
        let mut cx = Context::from_waker(&waker);
        loop {
            let bytes = self.writer.sealed(random_key);
            if bytes.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let Poll::Ready(count) = Pin::new(&mut self.io).poll_write(&mut cx, bytes)? else {
                if let Some(watch) = &mut self.watch {
                    watch.is_write_held_up = true;
                }
                return Poll::Pending;
            };
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.writer.on_sent(count);
            self.is_unflushed = true;
            if let Some(watch) = &mut self.watch {
                watch.on_sent();
            }
        }
    }

    fn poll_send_and_flush(&mut self) -> Poll<io::Result<()>> {
        ready!(self.poll_send())?;
        if self.is_unflushed {
            let waker = waker_ref(&self.wakers);
            let mut cx = Context::from_waker(&waker);
            ready!(Pin::new(&mut self.io).poll_flush(&mut cx))?;
            self.is_unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Sends what no flush may ask for: answers, and the rest of a partly sent frame.
    fn answer(&mut self, cx: &mut Context<'_>) {
        self.is_answering |= self.writer.has_to_send();
        if self.is_answering {
            self.wakers.reader.register(cx.waker());
            // If it fails, so does the next write, and that tells it.
            self.is_answering = self.poll_send_and_flush().is_pending();
        }
    }

    fn poll_shut(&mut self) -> Poll<io::Result<()>> {
        ready!(self.poll_send_and_flush())?;
        let waker = waker_ref(&self.wakers);
        let mut cx = Context::from_waker(&waker);
        Pin::new(&mut self.io).poll_close(&mut cx)
    }
}

fn random_key() -> [u8; 4] {
    rand::random::<u32>().to_ne_bytes()
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        for _ in 0..MAX_FRUITLESS_PER_POLL {
            let delivered = this.deliver(buf);
            if delivered > 0 {
                return Poll::Ready(Ok(delivered));
            }
            this.answer(cx);
            match &mut this.end {
                Some(End::Closed) => return Poll::Ready(Ok(0)),
                Some(End::Failed(error)) => {
                    let told = || io::ErrorKind::NotConnected.into();
                    return Poll::Ready(Err(error.take().unwrap_or_else(told)));
                }
                Some(End::TimedOut) => this.check_heard()?,
                None => {}
            }
            let Poll::Ready(count) = this.poll_fill(cx, buf)? else {
                if this.watch.is_some() {
                    this.wakers.reader.register(cx.waker());
                }
                ready!(this.poll_watch(true));
                continue;
            };
            if count > 0 {
                this.answer(cx);
                return Poll::Ready(Ok(count));
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        loop {
            this.check_heard()?;
            if this.writer.is_closing() {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            let count = this.writer.append(buf, random_key);
            if count > 0 {
                return Poll::Ready(Ok(count));
            }
            this.writer.seal();
            this.wakers.writer.register(cx.waker());
            if this.poll_send()?.is_pending() {
                ready!(this.poll_watch(false));
            }
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut written = 0;
        for buf in bufs {
            let count = match written {
                0 => ready!(self.as_mut().poll_write(cx, buf))?,
                _ => self.writer.append(buf, random_key),
            };
            written += count;
            // The rest waits for the next call.
            if count < buf.len() {
                break;
            }
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.check_heard()?;
        this.writer.seal();
        this.wakers.writer.register(cx.waker());
        if this.poll_send_and_flush()?.is_ready() {
            return Poll::Ready(Ok(()));
        }
        ready!(this.poll_watch(false));
        Poll::Ready(this.check_heard())
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        // A silent peer takes no close frame either.
        this.check_heard()?;
        this.writer.close(Some(Code::NORMAL));
        let now = deadline::now();
        let closing = this.closing.get_or_insert_with(|| {
            Box::new(Closing {
                at: deadline::after(now, CLOSE_TIMEOUT),
                deadline: Deadline::default(),
                is_done: false,
            })
        });
        if closing.is_done {
            return Poll::Ready(Ok(()));
        }
        this.wakers.writer.register(cx.waker());
        let shut = this.poll_shut();
        let Some(closing) = &mut this.closing else {
            return shut;
        };
        if shut.is_ready() {
            closing.is_done = true;
            return shut;
        }
        ready!(closing.deadline.poll(now, Some(closing.at), cx));
        closing.is_done = true;
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the other side does not take the close frame",
        )))
    }
}

impl<S> fmt::Debug for Stream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
