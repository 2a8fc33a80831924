//! What is measured of this process.

use std::{
    fs,
    sync::LazyLock,
    time::{Duration, Instant},
};

pub(crate) fn heap() -> i64 {
    i64::try_from(dhat::HeapStats::get().curr_bytes).unwrap_or(i64::MAX)
}

pub(crate) fn median<T: PartialOrd + Copy>(values: impl Iterator<Item = T>) -> T {
    let mut values = values.collect::<Vec<_>>();
    values.sort_by(|a, b| a.partial_cmp(b).expect("they are numbers"));
    values[values.len() / 2]
}

/// What this thread has used of a processor; where that cannot be told, the time.
pub(crate) fn now() -> Duration {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);

    thread_time().unwrap_or_else(|| START.elapsed())
}

pub(crate) fn thread_time() -> Option<Duration> {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanos = stat.split(' ').next()?.parse().ok()?;
    Some(Duration::from_nanos(nanos))
}
