//! What a process has of the system, and how that grows.

use std::{fs, io, time::Duration};

use crate::rules::Time;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) at: Time,
    /// Of the connections of the proxy.
    pub(crate) connections: usize,
    pub(crate) descriptors: usize,
    pub(crate) threads: usize,
    /// In bytes.
    pub(crate) resident: f64,
}

impl Sample {
    /// Of a process on Linux.
    pub(crate) fn take(pid: u32, at: Time, connections: usize) -> io::Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let of = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let word = line.and_then(|line| line.split_whitespace().next());
            let number = word.and_then(|word| word.parse::<u32>().ok());
            number.ok_or_else(|| io::Error::other(format!("no {name} in the status")))
        };
        Ok(Self {
            at,
            connections,
            descriptors: fs::read_dir(format!("/proc/{pid}/fd"))?.count(),
            threads: of("Threads:")? as usize,
            resident: f64::from(of("VmRSS:")?) * 1024.0,
        })
    }

    /// Descriptors that are none of a connection's.
    pub(crate) fn others(&self) -> usize {
        self.descriptors.saturating_sub(self.connections)
    }
}

/// The smallest number of anything within the window before each of its ends: what only comes for a moment does not count, and
/// what is never given back does.
pub(crate) fn floor(samples: &[Sample], of: impl Fn(&Sample) -> usize, last: Duration) -> usize {
    let Some(end) = samples.last().map(|sample| sample.at) else {
        return 0;
    };
    let late = samples.iter().filter(|sample| sample.at + last >= end);
    late.map(of).min().unwrap_or(0)
}

/// How much it grows in an hour, as a part of what it is: the median of the slopes of all pairs, which a few samples at a busy
/// moment do not move.
pub(crate) fn growth(samples: &[(Time, f64)]) -> f64 {
    let slope = |&(from, before): &(Time, f64), &(to, after): &(Time, f64)| {
        (after - before) / (to.as_secs_f64() - from.as_secs_f64())
    };
    let pairs = samples
        .iter()
        .enumerate()
        .flat_map(|(at, from)| samples[at + 1..].iter().map(move |to| slope(from, to)));
    let per_second = median(pairs.collect());
    per_second * 3600.0 / median(samples.iter().map(|(_, value)| *value).collect())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.retain(|value| value.is_finite());
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at: u64, descriptors: usize) -> Sample {
        Sample {
            at: Duration::from_secs(at),
            connections: 10,
            descriptors,
            threads: 4,
            resident: 0.0,
        }
    }

    #[test]
    fn a_descriptor_that_is_kept_raises_the_floor_and_one_that_is_closed_does_not() {
        let last = Duration::from_secs(60);
        let closed = [
            sample(0, 20),
            sample(100, 31),
            sample(130, 20),
            sample(150, 25),
        ];
        assert_eq!(floor(&closed, Sample::others, last), 10);
        let kept = [
            sample(0, 20),
            sample(100, 31),
            sample(130, 21),
            sample(150, 25),
        ];
        assert_eq!(floor(&kept, Sample::others, last), 11);
    }

    #[test]
    fn growth_is_per_hour_and_blind_to_single_samples() {
        let every = |of: fn(u64) -> f64| {
            let samples = (0..60).map(|minute| (Duration::from_secs(60 * minute), of(minute)));
            growth(&samples.collect::<Vec<_>>())
        };
        assert_eq!(every(|_| 5e7), 0.0);
        assert_eq!(
            every(|minute| if minute % 10 == 9 { 9e7 } else { 5e7 }),
            0.0
        );
        let grows = every(|minute| 1e6 * (1.0 + minute as f64 / 60.0));
        assert!((0.6..0.7).contains(&grows), "{grows}");
    }
}
