//! What is measured of a network.

use std::time::Duration;

/// The figures of one network. A node's table is looked at once the node has been up for two of its
/// intervals, or the time before the measured one.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    /// Announcements that a node receives in a second of the measured time.
    pub(crate) received: f64,
    /// The most that one received in a second of the whole time.
    pub(crate) peak: f64,
    /// What was received in each second of the whole time.
    pub(crate) per_second: Vec<f64>,
    /// The intervals that were in force at the end.
    pub(crate) intervals: Durations,
    /// How long nodes that started in the measured time took to know twenty peers.
    pub(crate) twenty: Durations,
    /// Those which still did not after a minute.
    pub(crate) without_twenty: usize,
    /// The share of the live network that a table lacks.
    pub(crate) missing: Shares,
    /// The share of a table's rows whose peer has gone.
    pub(crate) dead: Shares,
    /// How long peers that had gone were known, in the intervals of [`Identity::known_for`](crate::identity::Identity).
    pub(crate) forgotten: Vec<f64>,
    /// From the start of the last node until everybody knew everybody.
    pub(crate) complete: Option<Duration>,
    pub(crate) attack: Option<Attacked>,
}

/// What an attack did.
#[derive(Debug, Default)]
pub(crate) struct Attacked {
    /// The share of the honest peers known before, and still there, that a table knew at the worst moment.
    pub(crate) stayed: f64,
    /// How many times longer the interval has become of a node that had been up for ten minutes, at the most.
    pub(crate) longest_interval: f64,
    /// How long any node was silent, at the most.
    pub(crate) longest_silence: Duration,
    /// Neighbours that a table lost without their having fallen silent.
    pub(crate) evicted: usize,
    /// The rows of the largest table at the end.
    pub(crate) rows: usize,
    /// Invented announcements that a node accepts in a second.
    pub(crate) accepted: f64,
}

/// Shares of something at several moments.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    part: usize,
    whole: usize,
    worst: f64,
    last: f64,
}

impl Shares {
    /// `part` of `whole` at one moment.
    pub(crate) fn add(&mut self, part: usize, whole: usize) {
        self.part += part;
        self.whole += whole;
        if whole > 0 {
            self.last = part as f64 / whole as f64;
            self.worst = self.worst.max(self.last);
        }
    }

    /// Over all moments; `None` if there was nothing of which to take a share.
    pub(crate) fn mean(&self) -> Option<f64> {
        (self.whole > 0).then(|| self.part as f64 / self.whole as f64)
    }

    /// At the last moment.
    pub(crate) fn last(&self) -> f64 {
        self.last
    }

    /// At the moment with the highest.
    pub(crate) fn worst(&self) -> f64 {
        self.worst
    }
}

/// Durations in no order.
#[derive(Debug, Default)]
pub(crate) struct Durations(Vec<Duration>);

impl Durations {
    pub(crate) fn add(&mut self, duration: Duration) {
        self.0.push(duration);
    }

    pub(crate) fn median(&self) -> Option<Duration> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied()
    }

    pub(crate) fn longest(&self) -> Option<Duration> {
        self.0.iter().max().copied()
    }
}
