//! CORE: when to announce.
//!
//! [`Schedule`] knows nothing of addresses, topics or messages. It is told what happens (`on_*`) and says whether
//! a round is due ([`Schedule::is_due`]) and when to ask again ([`Schedule::next_timeout`]). Whoever holds it
//! carries out the round and reports its [`Outcome`], which is what the next round depends on. Spurious calls do
//! nothing.
//!
//! What everybody announces together stays near a target rate, however many they are. Each counts the authors that it
//! hears and announces once in the time in which that many announcements may come: the interval. When its time has
//! come it counts again, and waits on if there are more by now, so that a crowd that starts at once does not announce
//! at once. (The timer reconsideration of RTCP, RFC 3550 section 6.3.) And the second announcement of each comes after a
//! random part of the interval, so that those who have started in step do not go on in step.

use std::time::Duration;

use libp2p_identity::PeerId;
use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};

use super::{
    Announced, SkipReason,
    census::Census,
    rate::{Bucket, Rate},
};
use crate::deadline::{Instant, after};

mod history;
mod neighbours;
mod round;
mod solicitation;
mod timing;

use history::{History, Shown};
use neighbours::Neighbours;
use round::{Part, Round, part};
use solicitation::Solicitation;
use timing::is_much_longer;

pub(crate) use round::longest;
pub(crate) use solicitation::Listening;
pub(crate) use timing::Timing;

/// After how long a publication that failed on all topics is tried again, unless the minimum gap is longer.
const RETRY: Duration = Duration::from_secs(1);

/// When this many others have been heard since a newcomer came, it knows enough peers to ask them for the rest.
const ENOUGH: u32 = 20;

/// How often an interval the authors are counted again while announcements come in.
const COUNTS: u32 = 16;

/// For how many times the time over which authors are counted the interval has not grown when a node is settled. In a
/// network that grows, what it was is no measure for what it may become.
const SETTLED: u32 = 3;

/// How many of those heard in twice an interval are believed to be there. Those who have gone meanwhile are fewer than the
/// rest, unless nobody stays for long.
const MOST: f64 = 0.8;

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
    census: Census,
    /// What the announcements of others leave of twice the target rate.
    heard: Bucket,
    /// The time between two rounds that nothing else causes, as of `counted_at`.
    interval: Duration,
    /// What it would be without the history.
    unbound: Duration,
    counted_at: Instant,
    /// How many others there were then.
    others: f64,
    history: History,
    neighbours: Neighbours,
    round: Round,
    /// When an announcement is due because there is news: addresses, or somebody who has never heard of us.
    wanted: Option<Instant>,
    reply: Option<Reply>,
    solicitation: Solicitation,
    /// What became of the last round.
    last: Option<Outcome>,
    /// What the announcement promises that is being made.
    promised: Option<Duration>,
    /// Whether there has been time to hear everybody since anybody has been heard.
    has_heard_all: bool,
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
        let history = History::new(&timing, now);
        Self {
            timing,
            silent,
            rng: SmallRng::seed_from_u64(seed),
            census: Census::new(window(timing.longest()), seed, now),
            heard: Bucket::default(),
            interval: timing.interval,
            unbound: timing.interval,
            counted_at: now,
            others: 0.0,
            history,
            neighbours: Neighbours::default(),
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
            has_heard_all: false,
            gap_ends: None,
        }
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
    pub(crate) fn on_announcement(&mut self, now: Instant, author: &PeerId, is_newcomer: bool) {
        if now.saturating_duration_since(self.counted_at) >= self.interval / COUNTS {
            self.count(now);
        }
        if self.is_alone() {
            self.on_company(now);
        }
        self.census.on_heard(now, author);
        if let Some(reply) = &mut self.reply {
            reply.heard += 1;
            if reply.heard >= ENOUGH {
                self.reply = None;
            }
        }
        self.on_heard(now, is_newcomer);
    }

    /// The same of an announcement without addresses that its author does not repeat at any interval. It is answered, but
    /// takes no share of the target rate, and tells a newcomer of nobody that it could dial.
    pub(crate) fn on_solicitation(&mut self, now: Instant, is_newcomer: bool) {
        self.on_heard(now, is_newcomer);
    }

    /// A peer that is connected and goes by our rules has announced itself, with this baseline. To be told before
    /// [`Schedule::on_announcement`], which goes by what the neighbours say when it counts the authors.
    pub(crate) fn on_neighbour(&mut self, now: Instant, peer: &PeerId, baseline: Option<Duration>) {
        let time = longest(self.timing.longest()).saturating_mul(3);
        self.neighbours.on_announcement(now, peer, baseline, time);
        let may_hold_back = baseline.is_some() && self.interval > self.timing.interval;
        if may_hold_back && self.interval > self.longest_to_come(now) {
            self.count(now);
            self.catch_up(now);
        }
    }

    /// A peer is not connected any more.
    pub(crate) fn on_neighbour_gone(&mut self, peer: &PeerId) {
        self.neighbours.on_gone(peer);
    }

    /// The application asks for an announcement. `Ok`: it may go out now. `Err`: it will be due later, or never.
    pub(crate) fn on_request(&mut self, now: Instant) -> Result<(), Announced> {
        if self.silent {
            return Err(Announced::Skipped(SkipReason::ListenOnly));
        }
        match self.gap_ends {
            Some(until) if until > now => {
                self.want(until);
                Err(Announced::Delayed { until })
            }
            _ => Ok(()),
        }
    }

    /// A round that was due, or that the application asked for, has been carried out. Returns what it has led to.
    pub(crate) fn on_outcome(&mut self, now: Instant, outcome: Outcome) -> Announced {
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
                (Outcome::Published, Some(promised)) => Some(after(now, promised)),
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
                Announced::Published
            }
            Outcome::Solicited => {
                self.solicitation.on_made(after(now, self.interval));
                Announced::Published
            }
            Outcome::Skipped(reason) => {
                self.solicitation.on_skipped(now);
                Announced::Skipped(reason)
            }
            Outcome::Failed => {
                let until = after(now, RETRY.max(self.timing.minimum_gap));
                self.want(until);
                self.solicitation.put_off(until);
                Announced::Delayed { until }
            }
        }
    }

    /// Whether a round is due. Counts again before it says so.
    pub(crate) fn is_due(&mut self, now: Instant) -> bool {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if !is_due(self.next_timeout()) {
            return false;
        }
        self.count(now);
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

    /// The longest time that is to be expected between two announcements of others by the same rules: they may be younger
    /// than we are, and have no history that keeps their interval short.
    pub(crate) fn longest_expected(&self) -> Duration {
        longest(self.unbound)
    }

    /// The longest time until the next announcement, as far as an announcement may promise that: not before there has
    /// been time to hear everybody, nor while nobody is heard, since then there may be more than we know. While the
    /// interval grows, as long as it may become. To be asked for what is published next: the round after that comes by
    /// then.
    pub(crate) fn promise(&mut self, now: Instant) -> Option<Duration> {
        self.count(now);
        let is_steady = self.history.is_steady(now, window(self.interval));
        self.has_heard_all |= is_steady;
        let long = window(self.interval).saturating_mul(SETTLED);
        if self.history.is_steady(now, long) && self.has_heard_no_others(now) {
            self.history.settle(now);
        }
        let longest_to_come = match is_steady {
            true => self.interval,
            false => self.longest_to_come(now).max(self.interval),
        };
        self.promised = (self.has_heard_all && !self.is_alone()).then(|| longest(longest_to_come));
        self.promised
    }

    /// The least interval of the last hour, or a longer one if that would be too short for the neighbours. `None` unless
    /// others have been heard for so long, and most of the neighbours are still the same: among newcomers the last hour is no
    /// measure. Nor is an interval that may not become longer.
    pub(crate) fn baseline(&self, now: Instant) -> Option<Duration> {
        if self.is_alone() || self.neighbours.are_new(now, history::FULL) {
            return None;
        }
        let baseline = self.history.baseline(now, self.shown(now));
        baseline.filter(|baseline| *baseline < self.timing.longest())
    }

    /// Whether hardly anybody else has been heard as far back as is known. Whoever hears but a part of what is said
    /// would count over ever less.
    fn has_heard_no_others(&mut self, now: Instant) -> bool {
        let [all] = self.census.count(now, [window(self.timing.longest())]);
        all <= 1.25 * self.others + 1.0
    }

    /// Whether nobody has been heard in twice an interval: a single one counts as [`MOST`] of itself by then.
    fn is_alone(&self) -> bool {
        self.others < MOST
    }

    /// The first one of all others is heard. What was while nobody could be heard says nothing about how many there are.
    fn on_company(&mut self, now: Instant) {
        self.has_heard_all = false;
        self.history = History::new(&self.timing, now);
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
        let is_new_itself = !self.has_heard_all && self.others >= f64::from(ENOUGH);
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

    /// The interval has become shorter, for many at once if they have the same neighbour. Where the round should have been by
    /// now, it comes soon, but not at once.
    fn catch_up(&mut self, now: Instant) {
        if self.round_due() <= now {
            let wait = self.random_time(self.timing.interval / 2);
            self.round = Round {
                from: after(now, wait),
                part: Part::None,
                random: 0.0,
                latest: self.round.latest,
                soon: None,
            };
        }
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

    /// Counts the authors.
    fn count(&mut self, now: Instant) {
        self.others = self.count_others(now, self.interval);
        let wanted = self.interval_of(self.others);
        let shown = self.shown(now);
        self.interval = self.history.limit(now, self.interval, wanted, shown);
        let unbound = self.unbound.max(wanted);
        if unbound > self.interval {
            // Those who announce themselves more rarely are heard in a longer time only.
            let others = self.count_others(now, unbound);
            self.unbound = self.interval_of(others).max(self.interval);
        } else {
            self.unbound = self.interval;
        }
        self.counted_at = now;
    }

    /// How many others announce themselves at this interval or a little more slowly, by whom has been heard in that
    /// time: those who have gone are not counted for long. But no less than most of those heard in twice the time.
    /// Whoever counted once only would take many that announce themselves rarely for few that do so often as soon as a
    /// little less is heard, and count over less and less.
    fn count_others(&mut self, now: Instant, interval: Duration) -> f64 {
        let window = window(interval);
        let [once, twice] = self.census.count(now, [window / 2, window]);
        once.max(MOST * twice)
    }

    fn shown(&self, now: Instant) -> Shown {
        let count = u32::try_from(self.neighbours.count(now)).unwrap_or(u32::MAX);
        Shown {
            baseline: self.neighbours.baseline(now).unwrap_or(Duration::MAX),
            needed: self.interval_of(2.0 * f64::from(count)),
        }
    }

    /// In what time so many others and we may announce ourselves.
    fn interval_of(&self, others: f64) -> Duration {
        let Timing {
            interval,
            target_rate,
            ..
        } = self.timing;
        let all = Duration::from_secs_f64((others + 1.0) / f64::from(target_rate.get()));
        all.clamp(interval, self.timing.longest())
    }

    /// As long as the interval may become, for now.
    fn longest_to_come(&self, now: Instant) -> Duration {
        let most = self.history.most(now, self.shown(now));
        most.min(self.timing.longest())
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

/// How far back authors are counted at this interval: all have announced themselves twice by then, even if they are a
/// little slower.
fn window(interval: Duration) -> Duration {
    interval.saturating_mul(2).saturating_add(interval / 2)
}

#[cfg(test)]
mod tests;
