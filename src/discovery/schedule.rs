//! CORE: when to announce.
//!
//! [`Schedule`] knows nothing of addresses, topics or messages. Its inputs are events (`on_*`). Its outputs are whether a
//! round is due ([`Schedule::is_due`]), and the time of the next call ([`Schedule::next_timeout`]). The shell carries out
//! the round and reports its [`Outcome`], on which the next round depends. Spurious calls do nothing.
//!
//! All nodes together announce at about the target rate, for any number of nodes. Each announces once per interval, the time
//! that all known peers need at that rate. A round that was due by a shorter interval is postponed if more peers are known
//! by then, so that nodes started together do not all announce at once (the timer reconsideration of RTCP, RFC 3550 section
//! 6.3). The second announcement of a node comes after a random part of the interval, so that nodes started together do not
//! stay synchronised.
//!
//! Each announcement promises the time until the next one: the interval, or twice that while the number of peers grows. The
//! promise is kept, however many peers there are by then. After a promise that is longer than the previous one, the next
//! announcement comes early enough for peers that missed the longer promise and expire this node by the shorter one.

use std::{num::NonZeroU32, time::Duration};

use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};

use super::{
    AnnounceOutcome, SkipReason,
    rate::{Bucket, Rate},
};
use crate::deadline::{Instant, after};

mod history;
mod round;
mod solicitation;

use history::History;
use round::{Part, Round, part};
use solicitation::Solicitation;

pub(crate) use round::longest;
pub(crate) use solicitation::Listening;

/// The delay before a publication that failed on all topics is repeated, unless the minimum gap is longer.
const RETRY: Duration = Duration::from_secs(1);

/// Number of answers after which a newcomer knows enough peers to learn of the rest.
const ENOUGH: u32 = 20;

/// Number of intervals for which a node counts as a newcomer. By then it has heard all others, even if an announcement was
/// lost.
const NEWCOMER: u32 = 3;

/// The durations of a [`Schedule`], and the target rate of all nodes together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    /// The shortest interval.
    pub(crate) interval: Duration,
    /// The longest interval, at least as long.
    pub(crate) max_interval: Duration,
    pub(crate) minimum_gap: Duration,
    pub(crate) coalescing: Duration,
    /// The number of announcements a second of all nodes together.
    pub(crate) target_rate: NonZeroU32,
}

/// The outcome of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// At least one topic took the announcement.
    Published,
    /// The same, for an announcement without addresses; see [`Schedule::may_solicit`].
    Solicited,
    /// There was nothing to announce, or no subscriber. The end of the reason causes a round.
    Skipped(SkipReason),
    /// There was a subscriber, and no topic took the announcement.
    Failed,
}

impl Outcome {
    /// The outcome of a round on all topics: the number of topics that took it, the number that failed for another reason
    /// than a lack of subscribers, and the number of listed addresses.
    pub(crate) fn of_topics(published: usize, failed: usize, addresses: usize) -> Self {
        match (published, failed, addresses) {
            (1.., _, 1..) => Self::Published,
            (1.., _, 0) => Self::Solicited,
            (0, 1.., _) => Self::Failed,
            (0, 0, _) => Self::Skipped(SkipReason::NoSubscribers),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Schedule {
    timing: Timing,
    silent: bool,
    rng: SmallRng,
    /// Twice the target rate, less the announcements of others.
    heard: Bucket,
    /// The number of known peers.
    others: usize,
    /// The time between two regular rounds.
    interval: Duration,
    history: History,
    /// The time since which another peer has been known, or the start.
    since: Instant,
    round: Round,
    /// The time of an announcement of news: new addresses, or a subscriber that has not heard of this node.
    wanted: Option<Instant>,
    reply: Option<Reply>,
    solicitation: Solicitation,
    /// The outcome of the last round.
    last: Option<Outcome>,
    /// The promise of the announcement that is being made.
    promised: Option<Duration>,
    /// The promise of the last published announcement.
    promised_before: Option<Duration>,
    /// The end of the minimum gap after the last round that was handed to the pubsub, whether or not the pubsub took it.
    gap_ends: Option<Instant>,
}

/// An announcement for a newcomer, unless enough others answer first.
#[derive(Debug, Clone, Copy)]
struct Reply {
    at: Instant,
    heard: u32,
}

impl Schedule {
    /// The first round is due at once, as in js-libp2p. A `silent` schedule never has one. The seed is to be kept
    /// secret.
    pub(crate) fn new(timing: Timing, silent: bool, seed: u64, now: Instant) -> Self {
        Self {
            timing,
            silent,
            rng: SmallRng::seed_from_u64(seed),
            heard: Bucket::default(),
            others: 0,
            interval: timing.interval,
            history: History::new(now),
            since: now,
            round: Round {
                from: now,
                part: Part::None,
                random: 0.0,
                latest: None,
                soon: None,
            },
            wanted: None,
            reply: None,
            solicitation: Solicitation::new(now),
            last: None,
            promised: None,
            promised_before: None,
            gap_ends: None,
        }
    }

    /// The number of known peers; the largest number for a full table, which makes the interval as long as allowed. Called
    /// before [`Schedule::is_due`].
    pub(crate) fn on_known_peers(&mut self, now: Instant, others: usize) {
        if self.others == 0 && others > 0 {
            // A low number from a time without connections says nothing about the size of the network.
            self.history = History::new(now);
            self.since = now;
        }
        self.others = others;
        let wanted = self.interval_of(others);
        self.interval = self.history.limit(now, self.interval, others, wanted);
    }

    /// The own addresses have changed.
    pub(crate) fn on_addresses_changed(&mut self, now: Instant) {
        self.want(after(now, self.timing.coalescing));
    }

    /// Sets whether this node listens. Returns whether that has changed.
    pub(crate) fn on_listening(&mut self, now: Instant, listening: Listening) -> bool {
        self.solicitation.on_listening(now, listening)
    }

    /// A topic was added, whose subscribers may not have heard of this node.
    pub(crate) fn on_topic_added(&mut self, now: Instant) {
        let at = after(now, self.timing.coalescing);
        self.want(at);
        self.solicitation.want(at);
    }

    /// Sets whether to stay silent. At the end of the silence, pending announcements are due at once.
    pub(crate) fn set_silent(&mut self, now: Instant, silent: bool) {
        if self.silent && !silent {
            self.want(after(now, self.timing.coalescing));
        }
        self.silent = silent;
    }

    /// A new subscriber of one of the topics.
    pub(crate) fn on_subscriber(&mut self, now: Instant) {
        match self.last {
            Some(Outcome::Published) if !self.is_stretched() => self.reply(now),
            Some(Outcome::Published) => {}
            // The first address causes an announcement anyway.
            Some(
                Outcome::Solicited
                | Outcome::Skipped(SkipReason::NoListeners | SkipReason::NothingLeft),
            ) => {}
            // No peer could hear this node before, so others cannot answer in its place.
            Some(Outcome::Skipped(_) | Outcome::Failed) | None => self.want_soon(now),
        }
        self.solicit_soon(now);
    }

    /// The same, on a topic that had no subscriber at the last announcement.
    pub(crate) fn on_first_subscriber(&mut self, now: Instant) {
        self.want_soon(now);
        self.solicit_soon(now);
    }

    /// An announcement of another author was accepted. `is_newcomer`: the author was not known before.
    pub(crate) fn on_announcement(&mut self, now: Instant, is_newcomer: bool) {
        if let Some(reply) = &mut self.reply {
            reply.heard += 1;
            if reply.heard >= ENOUGH {
                self.reply = None;
            }
        }
        self.on_heard(now, is_newcomer);
    }

    /// The same for an announcement without addresses, which its author does not repeat. It is answered, but gives a
    /// newcomer no peer to dial.
    pub(crate) fn on_solicitation(&mut self, now: Instant, is_newcomer: bool) {
        self.on_heard(now, is_newcomer);
    }

    /// The application requests an announcement. `Ok`: it may be made now. `Err`: it is due later, or never.
    pub(crate) fn on_request(&mut self, now: Instant) -> Result<(), AnnounceOutcome> {
        if self.silent {
            return Err(AnnounceOutcome::Skipped(SkipReason::ListenOnly));
        }
        match self.gap_ends {
            Some(until) if until > now => {
                self.want(until);
                Err(AnnounceOutcome::Delayed { until })
            }
            _ => Ok(()),
        }
    }

    /// A round that was due, or that the application requested, has been carried out. Returns its result.
    pub(crate) fn on_outcome(&mut self, now: Instant, outcome: Outcome) -> AnnounceOutcome {
        self.wanted = None;
        self.reply = None;
        let before = self.last.replace(outcome);
        let (part, random) = match (before, outcome) {
            // There was no subscriber before. Nodes in the same position announce at the same moment.
            (before, Outcome::Published) if before != Some(Outcome::Published) => {
                let at = self.random_time(self.interval);
                (Part::Some, at.as_secs_f64() / self.interval.as_secs_f64())
            }
            _ => (Part::All, self.random()),
        };
        self.round = Round {
            from: now,
            part,
            random,
            latest: match (outcome, self.promised.take()) {
                (Outcome::Published, Some(promised)) => Some(after(now, self.keep(promised))),
                _ => None,
            },
            soon: None,
        };
        // A failure cost a signature too. A skipped round cost nothing, and the first address is not delayed.
        if !matches!(outcome, Outcome::Skipped(_)) {
            self.gap_ends = Some(after(now, self.timing.minimum_gap));
        }
        match outcome {
            Outcome::Published => {
                self.solicitation.on_published();
                AnnounceOutcome::Published
            }
            Outcome::Solicited => {
                self.solicitation.on_made(after(now, self.interval));
                AnnounceOutcome::Published
            }
            Outcome::Skipped(reason) => {
                self.solicitation.on_skipped(now);
                AnnounceOutcome::Skipped(reason)
            }
            Outcome::Failed => {
                let until = after(now, RETRY.max(self.timing.minimum_gap));
                self.want(until);
                self.solicitation.put_off(until);
                AnnounceOutcome::Delayed { until }
            }
        }
    }

    /// Whether a round is due.
    pub(crate) fn is_due(&mut self, now: Instant) -> bool {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if !is_due(self.next_timeout()) {
            return false;
        }
        if self.is_busy(now) {
            if is_due(self.wanted) {
                self.wanted = None;
                self.queue_up(now);
            }
            // Under this load no peer answers, and this node hears enough of them as it is.
            if self.may_solicit(now) {
                self.solicitation.put_off(after(now, self.interval));
            }
        }
        is_due(self.next_timeout())
    }

    /// Whether the due round may be published with an empty list if there is no address, in place of being skipped: for a
    /// subscriber that has not heard of this node, and once more if no peer has been heard an interval later. It carries no
    /// promise, because no announcement follows.
    pub(crate) fn may_solicit(&self, now: Instant) -> bool {
        self.solicitation.due().is_some_and(|at| at <= now)
    }

    /// The time at which the next round is due, as far as is known.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        if self.silent {
            return None;
        }
        let round = Some(self.round_due());
        let reply = self.reply.map(|reply| reply.at);
        let causes = [round, self.wanted, reply, self.solicitation.due()];
        let due = causes.into_iter().flatten().min()?;
        Some(self.gap_ends.map_or(due, |end| end.max(due)))
    }

    /// The time between two regular rounds, without the random part.
    pub(crate) fn interval(&self) -> Duration {
        self.interval
    }

    /// The promise of the next published announcement: the longest time until the one after it. While the number of peers
    /// grows, the interval may double until then.
    pub(crate) fn promise(&mut self, now: Instant) -> Duration {
        let longest_to_come = match self.history.is_steady(now, self.interval) {
            true => self.interval,
            false => self
                .interval
                .saturating_mul(2)
                .min(self.timing.max_interval),
        };
        let promise = longest(longest_to_come);
        self.promised = Some(promise);
        promise
    }

    /// The time from an announcement with this promise to the next one: as promised, unless that is too late for peers that
    /// missed the promise. They expire this node after three times the previous promise, at most one third of which has
    /// passed, and a little is left for propagation.
    fn keep(&mut self, promised: Duration) -> Duration {
        match self.promised_before.replace(promised) {
            Some(before) => promised.min(before.saturating_mul(19) / 10),
            None => promised,
        }
    }

    fn want(&mut self, at: Instant) {
        self.wanted = Some(self.wanted.map_or(at, |wanted| wanted.min(at)));
    }

    fn want_soon(&mut self, now: Instant) {
        let at = after(now, self.part_of_gap());
        self.want(at);
    }

    fn on_heard(&mut self, now: Instant, is_newcomer: bool) {
        self.heard.try_take(now, self.twice_the_target());
        self.solicitation.on_heard();
        if is_newcomer && self.last == Some(Outcome::Published) && !self.is_stretched() {
            self.reply(now);
            self.hurry(now);
        }
    }

    /// For a new subscriber, with or without an address, which may expire before it is announced. Within a quarter of the
    /// gap, because the answers take up to a whole one.
    fn solicit_soon(&mut self, now: Instant) {
        let at = after(now, self.part_of_gap() / 4);
        self.solicitation.want(at);
    }

    /// Announces for a newcomer, unless others do, or traffic is above the target.
    ///
    /// To a node that has just started, every peer is new. It leaves the answers to others once there are enough.
    fn reply(&mut self, now: Instant) {
        let newcomer_until = after(self.since, self.interval.saturating_mul(NEWCOMER));
        let is_new_itself = now < newcomer_until && self.others >= ENOUGH as usize;
        if is_new_itself || self.is_busy(now) || self.reply.is_some() {
            return;
        }
        let at = after(now, self.part_of_gap());
        self.reply = Some(Reply { at, heard: 0 });
    }

    /// Whether there are so many peers that newcomers need no answers, because they hear enough. With a margin above the
    /// shortest interval, because nodes count differently.
    fn is_stretched(&self) -> bool {
        is_much_longer(self.interval, self.timing.interval)
    }

    /// Makes a newcomer hear of this node within an interval of its arrival, whether it is answered or not. It arrived at
    /// most a gap before it was heard, and the round trip takes less than another one.
    fn hurry(&mut self, now: Instant) {
        let gaps = self.timing.minimum_gap.saturating_mul(2);
        let soon = self.timing.interval.saturating_sub(gaps);
        if self.round_due() > after(now, soon) {
            self.round.soon = Some(after(now, self.random_time(soon)));
        }
    }

    /// The time at which the round is due. In a large network, newcomers need not hear all peers soon: otherwise nodes that
    /// started together would keep announcing within a part of the interval, with silence in the rest.
    fn round_due(&self) -> Instant {
        let due = self.round.due(self.interval);
        let soon = self.round.soon.filter(|_| !self.is_stretched());
        soon.map_or(due, |soon| soon.min(due))
    }

    /// Picks a random time among the waiting nodes, unless the own round comes first.
    fn queue_up(&mut self, now: Instant) {
        let round = Round {
            from: now,
            part: Part::Some,
            random: self.random(),
            latest: self.round.latest,
            soon: None,
        };
        if round.due(self.interval) < self.round_due() {
            self.round = round;
        }
    }

    /// The interval for this number of other peers: the time that all need at the target rate.
    #[expect(
        clippy::cast_precision_loss,
        reason = "more than 2^52 are too many anyway"
    )]
    fn interval_of(&self, others: usize) -> Duration {
        let all = (others as f64 + 1.0) / f64::from(self.timing.target_rate.get());
        let all = Duration::try_from_secs_f64(all).unwrap_or(Duration::MAX);
        all.clamp(self.timing.interval, self.timing.max_interval)
    }

    /// Whether traffic is above the target: a burst as large as from all authors before the interval is stretched, or twice
    /// the target rate for longer.
    fn is_busy(&self, now: Instant) -> bool {
        self.heard.is_half_empty(now, self.twice_the_target())
    }

    fn twice_the_target(&self) -> Rate {
        let rate = self.timing.target_rate;
        let authors = 2.0 * self.timing.interval.as_secs_f64() * f64::from(rate.get());
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive, and a cast of floats saturates"
        )]
        let burst = authors as u32;
        Rate::new(burst, Duration::from_secs(1) / rate.get() / 2)
    }

    fn part_of_gap(&mut self) -> Duration {
        let random = self.random();
        part(self.timing.minimum_gap, random)
    }

    /// After the minimum gap, and before `end`.
    fn random_time(&mut self, end: Duration) -> Duration {
        let gap = self.timing.minimum_gap.min(end);
        gap.saturating_add(part(end - gap, self.random()))
    }

    fn random(&mut self) -> f64 {
        self.rng.random_range(0.0..1.0)
    }
}

/// Whether the difference is more than a slightly different count.
fn is_much_longer(interval: Duration, than: Duration) -> bool {
    interval > than.saturating_add(than / 4)
}

#[cfg(test)]
mod tests;
