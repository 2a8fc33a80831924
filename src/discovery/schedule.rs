//! CORE: when to announce.
//!
//! [`Schedule`] knows nothing of addresses, topics or messages. It is told what happens (`on_*`), and says whether
//! a round is due ([`Schedule::is_due`]) and when to ask again ([`Schedule::next_timeout`]). The shell
//! carries out the round and reports its [`Outcome`], on which the next round depends. Spurious calls do
//! nothing.
//!
//! All nodes together announce at about the target rate, however many they are. Each announces once in the time in which
//! as many announcements may come as it knows peers: the interval. A round that is due by a shorter interval is put off when
//! more peers are known by then, so that a crowd that starts at once does not announce at once. (The timer
//! reconsideration of RTCP, RFC 3550 section 6.3.) The second announcement of a node comes after a random part of the
//! interval, so that nodes started together do not go on together.
//!
//! Each announcement promises the time until the next one: the interval, or twice that while the number of peers grows. The
//! promise is kept however many there are by then. Where promises grow from one to the next, the one after comes early enough
//! for those who have missed the longer one, which would forget us by the shorter.

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

/// After how long a publication that failed on all topics is tried again, unless the minimum gap is longer.
const RETRY: Duration = Duration::from_secs(1);

/// A newcomer that has been answered by this many others knows enough peers to ask for the rest.
const ENOUGH: u32 = 20;

/// For how many intervals a node counts as a newcomer. By then it has heard all others, even if an announcement was lost.
const NEWCOMER: u32 = 3;

/// The durations that a [`Schedule`] goes by, and the rate that all nodes together aim at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    /// The shortest interval.
    pub(crate) interval: Duration,
    /// The longest one, at least as long.
    pub(crate) max_interval: Duration,
    pub(crate) minimum_gap: Duration,
    pub(crate) coalescing: Duration,
    /// How many announcements a second all nodes together may make.
    pub(crate) target_rate: NonZeroU32,
}

/// What became of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// At least one topic took the announcement.
    Published,
    /// The same, and it lists no addresses; see [`Schedule::may_solicit`].
    Solicited,
    /// There was nothing to say or nobody to say it to. What ends the reason causes a round of its own.
    Skipped(SkipReason),
    /// There was somebody to say it to, and no topic took it.
    Failed,
}

impl Outcome {
    /// The outcome of a round that has been offered to all topics: how many took it, how many failed for another
    /// reason than that nobody is subscribed, and how many addresses it lists.
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
    /// What the announcements of others leave of twice the target rate.
    heard: Bucket,
    /// How many peers are known.
    others: usize,
    /// The time between two rounds that nothing else causes.
    interval: Duration,
    history: History,
    /// Since when anybody else has been known, or since the start.
    since: Instant,
    round: Round,
    /// When an announcement is due because there is news: addresses, or a subscriber that has never heard of us.
    wanted: Option<Instant>,
    reply: Option<Reply>,
    solicitation: Solicitation,
    /// What became of the last round.
    last: Option<Outcome>,
    /// What the announcement promises that is being made.
    promised: Option<Duration>,
    /// What the last one promised that was published.
    promised_before: Option<Duration>,
    /// When the minimum gap after the last round that was handed to the pubsub ends, whether or not that took it.
    gap_ends: Option<Instant>,
}

/// An announcement for a newcomer, unless enough others make theirs before.
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

    /// So many peers are known now, or more than can be: then the interval is as long as it may be. To be told before
    /// [`Schedule::is_due`].
    pub(crate) fn on_known_peers(&mut self, now: Instant, others: usize) {
        if self.others == 0 && others > 0 {
            // How few there were while nobody could be heard is no measure for how many there may be.
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

    /// What this node listens on is now this. Returns whether that is another thing than before.
    pub(crate) fn on_listening(&mut self, now: Instant, listening: Listening) -> bool {
        self.solicitation.on_listening(now, listening)
    }

    /// There is a topic more, whose subscribers may never have heard of us.
    pub(crate) fn on_topic_added(&mut self, now: Instant) {
        let at = after(now, self.timing.coalescing);
        self.want(at);
        self.solicitation.want(at);
    }

    /// Whether to keep silent from now on. What has been waiting for the end of silence is due at once.
    pub(crate) fn set_silent(&mut self, now: Instant, silent: bool) {
        if self.silent && !silent {
            self.want(after(now, self.timing.coalescing));
        }
        self.silent = silent;
    }

    /// Somebody new listens to one of the topics.
    pub(crate) fn on_subscriber(&mut self, now: Instant) {
        match self.last {
            Some(Outcome::Published) if !self.is_stretched() => self.reply(now),
            Some(Outcome::Published) => {}
            // The first address is announced by itself.
            Some(
                Outcome::Solicited
                | Outcome::Skipped(SkipReason::NoListeners | SkipReason::NothingLeft),
            ) => {}
            // Nobody could hear us before, so that others cannot answer in our place.
            Some(Outcome::Skipped(_) | Outcome::Failed) | None => self.want_soon(now),
        }
        self.solicit_soon(now);
    }

    /// The same, and nobody listened to that topic when the last announcement went out to others.
    pub(crate) fn on_first_subscriber(&mut self, now: Instant) {
        self.want_soon(now);
        self.solicit_soon(now);
    }

    /// An announcement of another author has been accepted. `is_newcomer`: the author was not known before.
    pub(crate) fn on_announcement(&mut self, now: Instant, is_newcomer: bool) {
        if let Some(reply) = &mut self.reply {
            reply.heard += 1;
            if reply.heard >= ENOUGH {
                self.reply = None;
            }
        }
        self.on_heard(now, is_newcomer);
    }

    /// The same of an announcement without addresses that its author does not repeat at any interval. It is answered, but
    /// tells a newcomer of nobody that it could dial.
    pub(crate) fn on_solicitation(&mut self, now: Instant, is_newcomer: bool) {
        self.on_heard(now, is_newcomer);
    }

    /// The application asks for an announcement. `Ok`: it may go out now. `Err`: it will be due later, or never.
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

    /// A round that was due, or that the application asked for, has been carried out. Returns what it has led to.
    pub(crate) fn on_outcome(&mut self, now: Instant, outcome: Outcome) -> AnnounceOutcome {
        self.wanted = None;
        self.reply = None;
        let before = self.last.replace(outcome);
        let (part, random) = match (before, outcome) {
            // Nobody could be told before. Whoever has been in the same place is now heard at the same moment.
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
        // A failure has cost a signature too. A skipped round has cost nothing, and the first address does not wait.
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
            // Nobody would answer, and whoever hears so much hears of enough.
            if self.may_solicit(now) {
                self.solicitation.put_off(after(now, self.interval));
            }
        }
        is_due(self.next_timeout())
    }

    /// Whether the round that is due may be published with an empty list, should there be no address, in place of being
    /// skipped: for a subscriber that has not heard of this node, and once more if nobody has been heard an interval later.
    /// Without a promise, as nothing follows.
    pub(crate) fn may_solicit(&self, now: Instant) -> bool {
        self.solicitation.due().is_some_and(|at| at <= now)
    }

    /// When the next round is due, as far as is known.
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

    /// The time between two rounds that nothing else causes, without what is added at random.
    pub(crate) fn interval(&self) -> Duration {
        self.interval
    }

    /// The longest time until the next announcement, to be told by the one that is published next. While the number of
    /// peers grows, the interval may double until then.
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

    /// In what time the next announcement follows on one that has made this promise: as promised, unless that would be
    /// too late for those who have missed it. They go by the one before, and forget us after three times what that promised;
    /// one of these had passed at most, and a little is for the way.
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

    /// For a new subscriber, whether or not there is an address: that may go before it is announced. Within a quarter of the
    /// gap, since the answers take up to a whole one.
    fn solicit_soon(&mut self, now: Instant) {
        let at = after(now, self.part_of_gap() / 4);
        self.solicitation.want(at);
    }

    /// Announces for a newcomer, unless the others do it anyway or more is heard than there should be.
    ///
    /// To a node that has just started everybody is new. It leaves the answers to the others once there are enough.
    fn reply(&mut self, now: Instant) {
        let newcomer_until = after(self.since, self.interval.saturating_mul(NEWCOMER));
        let is_new_itself = now < newcomer_until && self.others >= ENOUGH as usize;
        if is_new_itself || self.is_busy(now) || self.reply.is_some() {
            return;
        }
        let at = after(now, self.part_of_gap());
        self.reply = Some(Reply { at, heard: 0 });
    }

    /// Whether there are so many that newcomers need cause no announcements: they hear enough as it is. Not as soon as there
    /// is one too many for the shortest interval, since not all count the same.
    fn is_stretched(&self) -> bool {
        is_much_longer(self.interval, self.timing.interval)
    }

    /// Sees to it that a newcomer hears of us within an interval of its coming, whether it is answered or not. It came
    /// at most a gap before it was heard, and the way there and back takes less than another one.
    fn hurry(&mut self, now: Instant) {
        let gaps = self.timing.minimum_gap.saturating_mul(2);
        let soon = self.timing.interval.saturating_sub(gaps);
        if self.round_due() > after(now, soon) {
            self.round.soon = Some(after(now, self.random_time(soon)));
        }
    }

    /// When the round is due. Where there turn out to be many, newcomers need not hear of everybody soon, and those who
    /// started together would go on within a part of the interval, with silence in the rest.
    fn round_due(&self) -> Instant {
        let due = self.round.due(self.interval);
        let soon = self.round.soon.filter(|_| !self.is_stretched());
        soon.map_or(due, |soon| soon.min(due))
    }

    /// Takes a random place among those who wait, unless the own round comes before.
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

    /// In what time so many others and we may announce ourselves.
    #[expect(
        clippy::cast_precision_loss,
        reason = "more than 2^52 are too many anyway"
    )]
    fn interval_of(&self, others: usize) -> Duration {
        let all = (others as f64 + 1.0) / f64::from(self.timing.target_rate.get());
        let all = Duration::try_from_secs_f64(all).unwrap_or(Duration::MAX);
        all.clamp(self.timing.interval, self.timing.max_interval)
    }

    /// Whether more is heard than there should be: in a moment as much as from all authors that there may be before the
    /// interval is stretched, or twice the target rate for longer.
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

/// Whether it makes a difference, and is not a count that is a little off.
fn is_much_longer(interval: Duration, than: Duration) -> bool {
    interval > than.saturating_add(than / 4)
}

#[cfg(test)]
mod tests;
