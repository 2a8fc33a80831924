//! A pipe and an executor for tests and fuzz functions: bytes determine the effect of each call, and a task is polled only
//! when it was woken.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

use futures::{
    AsyncRead, AsyncWrite,
    task::{ArcWake, waker_ref},
};

/// Number of calls after which a direction moves large pieces, so that tests end.
const PATIENCE: usize = 1000;
const LARGE: usize = 1 << 20;

/// The script, which is repeated without end.
#[derive(Debug, Clone, Default)]
pub(super) struct Script {
    bytes: Vec<u8>,
    next: usize,
}

impl Script {
    pub(super) fn new(bytes: &[u8]) -> Self {
        Self {
            bytes: bytes.to_vec(),
            next: 0,
        }
    }

    pub(super) fn next(&mut self) -> u8 {
        let Some(byte) = self.bytes.get(self.next) else {
            self.next = 1;
            // It also has to continue if it is empty, or has only zeros.
            return self.bytes.first().map_or(0xff, |byte| byte | 0x80);
        };
        self.next += 1;
        *byte
    }
}

/// One direction. It keeps one waker for each end, as a socket of tokio does.
#[derive(Debug, Default)]
pub(super) struct Direction {
    /// What can be read.
    pub(super) bytes: VecDeque<u8>,
    /// Written bytes that wait for a flush, as in TLS.
    staged: VecDeque<u8>,
    /// Whether bytes wait for a flush.
    pub(super) needs_flush: bool,
    /// The number of bytes that have not been read.
    pub(super) capacity: usize,
    pub(super) is_closed: bool,
    script: Script,
    calls: usize,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// Are woken when there is nothing else to do.
    idle: Vec<Waker>,
}

impl Direction {
    pub(super) fn shared(script: &[u8], capacity: usize, needs_flush: bool) -> Shared {
        Shared(Arc::new(Mutex::new(Self {
            capacity,
            needs_flush,
            script: Script::new(script),
            ..Self::default()
        })))
    }

    /// The number of bytes that one call moves; `None` for `Pending`, followed by a wake-up.
    fn portion(&mut self) -> Option<usize> {
        self.calls += 1;
        if self.calls > PATIENCE {
            self.capacity = self.capacity.max(LARGE);
            return Some(LARGE);
        }
        match self.script.next() {
            0..48 => None,
            few @ 48..128 => Some(usize::from(few - 47)),
            some @ 128..192 => Some(usize::from(some - 127) * 61),
            _ => Some(LARGE),
        }
    }

    pub(super) fn wake_all(&mut self) {
        let wakers = self.reader.take().into_iter().chain(self.writer.take());
        wakers.for_each(Waker::wake);
        self.wake_idle();
    }

    fn wake_idle(&mut self) -> bool {
        let is_any = !self.idle.is_empty();
        self.idle.drain(..).for_each(Waker::wake);
        is_any
    }

    fn pass_on(&mut self) {
        let room = self.capacity.saturating_sub(self.bytes.len());
        let count = self.staged.len().min(room);
        self.bytes.extend(self.staged.drain(..count));
        if count > 0
            && let Some(reader) = self.reader.take()
        {
            reader.wake();
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Shared(Arc<Mutex<Direction>>);

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, Direction> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poll_read(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self.lock();
        let Some(portion) = this.portion() else {
            this.idle.push(cx.waker().clone());
            return Poll::Pending;
        };
        if this.bytes.is_empty() {
            if this.is_closed && this.staged.is_empty() {
                return Poll::Ready(Ok(0));
            }
            this.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = portion.min(buf.len()).min(this.bytes.len());
        for (to, byte) in buf.iter_mut().zip(this.bytes.drain(..count)) {
            *to = byte;
        }
        if let Some(writer) = this.writer.take() {
            writer.wake();
        }
        Poll::Ready(Ok(count))
    }

    fn poll_write(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self.lock();
        if this.is_closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let Some(portion) = this.portion() else {
            this.idle.push(cx.waker().clone());
            return Poll::Pending;
        };
        if this.staged.len() >= this.capacity {
            this.pass_on();
        }
        let held = if this.needs_flush {
            this.staged.len()
        } else {
            this.bytes.len()
        };
        let count = portion
            .min(buf.len())
            .min(this.capacity.saturating_sub(held));
        if count == 0 {
            this.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        this.staged.extend(&buf[..count]);
        if !this.needs_flush {
            this.pass_on();
        }
        Poll::Ready(Ok(count))
    }

    fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self.lock();
        if this.staged.is_empty() {
            return Poll::Ready(Ok(()));
        }
        if this.portion().is_none() {
            this.idle.push(cx.waker().clone());
            return Poll::Pending;
        }
        this.pass_on();
        if this.staged.is_empty() {
            return Poll::Ready(Ok(()));
        }
        this.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    fn close(&self) {
        let this = &mut *self.lock();
        this.is_closed = true;
        this.wake_all();
    }
}

/// One end of both directions.
#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) incoming: Shared,
    pub(super) outgoing: Shared,
}

impl AsyncRead for Pipe {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.incoming.poll_read(cx, buf)
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.outgoing.poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outgoing.poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::task::ready!(self.outgoing.poll_flush(cx))?;
        self.outgoing.close();
        Poll::Ready(Ok(()))
    }
}

/// Whether a task was woken.
#[derive(Debug)]
pub(super) struct Flag(AtomicBool);

impl ArcWake for Flag {
    fn wake_by_ref(flag: &Arc<Self>) {
        flag.0.store(true, Ordering::SeqCst);
    }
}

impl Flag {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(AtomicBool::new(true)))
    }

    /// Whether it was set, which it is no more.
    pub(super) fn take(&self) -> bool {
        self.0.swap(false, Ordering::SeqCst)
    }
}

type Task<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// Runs the tasks to their ends. Of those that were woken, the script says which is next.
///
/// # Panics
///
/// If none was woken and not all have ended, or if they go on without end.
pub(super) fn run(tasks: Vec<Task<'_>>, directions: &[&Shared], script: &mut Script) {
    let mut tasks: Vec<_> = tasks
        .into_iter()
        .map(|task| (Flag::new(), Some(task)))
        .collect();
    for _ in 0..1_000_000 {
        if tasks.iter().all(|(_, task)| task.is_none()) {
            return;
        }
        let first = usize::from(script.next()) % tasks.len();
        let mut order = (first..tasks.len()).chain(0..first);
        let woken = order.find(|at| tasks[*at].1.is_some() && tasks[*at].0.take());
        let Some(woken) = woken else {
            let mut is_any = false;
            for direction in directions {
                is_any |= direction.lock().wake_idle();
            }
            let left: Vec<_> = tasks.iter().map(|(_, task)| task.is_some()).collect();
            assert!(is_any, "nobody wakes those that are left: {left:?}");
            continue;
        };
        let (flag, task) = &mut tasks[woken];
        let waker = waker_ref(flag);
        if let Some(running) = task
            && running
                .as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_ready()
        {
            *task = None;
        }
    }
    panic!("it goes on without end");
}
