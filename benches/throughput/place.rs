//! Where the two ends of a connection run, and what that takes.

use std::{
    future,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use tokio::runtime::{Builder, Handle, Runtime};

/// On how many processors the two ends run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cores {
    /// Both in one thread, which stays on one.
    One,
    /// Each in a thread of its own.
    Two,
}

/// What a measurement took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) wall: Duration,
    /// Of all threads, in the kernel and outside.
    pub(crate) cpu: Duration,
}

/// The runtimes of the two ends.
pub(crate) struct Place {
    client: Runtime,
    server: Handle,
}

impl Place {
    /// The calling thread stays on one processor from then on. `None` if there are too few of them.
    pub(crate) fn new(cores: Cores, available: &[usize]) -> Option<Self> {
        let (&first, others) = available.split_first()?;
        keep_on(first);
        let client = runtime();
        let server = match cores {
            Cores::One => client.handle().clone(),
            Cores::Two => {
                let &second = others.first()?;
                let (tell, told) = mpsc::channel();
                thread::spawn(move || {
                    keep_on(second);
                    let server = runtime();
                    tell.send(server.handle().clone())
                        .expect("somebody waits for it");
                    server.block_on(future::pending::<()>());
                });
                told.recv().expect("the other thread tells it")
            }
        };
        Some(Self { client, server })
    }

    /// Where the tasks of the side that listens are spawned.
    pub(crate) fn server(&self) -> &Handle {
        &self.server
    }

    pub(crate) fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.client.block_on(work)
    }
}

fn runtime() -> Runtime {
    let mut builder = Builder::new_current_thread();
    builder.enable_all().build().expect("a runtime can be made")
}

/// Runs it, and says what it took.
pub(crate) async fn cost_of(work: impl Future<Output = ()>) -> Cost {
    let (start, before) = (Instant::now(), cpu());
    work.await;
    Cost {
        wall: start.elapsed(),
        cpu: cpu().saturating_sub(before),
    }
}

#[cfg(unix)]
fn cpu() -> Duration {
    use nix::sys::{
        resource::{UsageWho, getrusage},
        time::TimeValLike as _,
    };
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("a process may ask for its own");
    let micros = (usage.user_time() + usage.system_time()).num_microseconds();
    Duration::from_micros(micros.unsigned_abs())
}

/// What stands for it where it cannot be learnt.
#[cfg(not(unix))]
fn cpu() -> Duration {
    static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    START.elapsed()
}

/// The processors that this process may use.
#[cfg(target_os = "linux")]
pub(crate) fn available() -> Vec<usize> {
    use nix::{
        sched::{CpuSet, sched_getaffinity},
        unistd::Pid,
    };
    let set = sched_getaffinity(Pid::from_raw(0)).expect("a thread may ask for its own");
    (0..CpuSet::count())
        .filter(|&core| set.is_set(core).unwrap_or(false))
        .collect()
}

/// Elsewhere threads are not kept on one.
#[cfg(not(target_os = "linux"))]
pub(crate) fn available() -> Vec<usize> {
    (0..thread::available_parallelism().map_or(1, usize::from)).collect()
}

#[cfg(target_os = "linux")]
fn keep_on(core: usize) {
    use nix::{
        sched::{CpuSet, sched_setaffinity},
        unistd::Pid,
    };
    let mut set = CpuSet::new();
    set.set(core).expect("it is one of those available");
    sched_setaffinity(Pid::from_raw(0), &set).expect("it is one of those available");
}

#[cfg(not(target_os = "linux"))]
fn keep_on(_: usize) {}
