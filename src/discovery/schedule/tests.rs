use std::num::NonZeroU32;

use proptest::prelude::*;

use super::{round::JITTER, *};

mod bound;
mod solicitation;

const INTERVAL: Duration = Duration::from_secs(10);
const GAP: Duration = Duration::from_secs(1);
const NOTHING: Outcome = Outcome::Skipped(SkipReason::NoListeners);
const SHORT: Duration = Duration::from_millis(50);

const MAX_INTERVAL: Duration = Duration::from_secs(20 * 60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const TIMING: Timing = Timing {
    interval: INTERVAL,
    max_interval: MAX_INTERVAL,
    minimum_gap: GAP,
    coalescing: SHORT,
    target_rate: NonZeroU32::new(10).unwrap(),
};

/// One that has an address.
fn schedule(now: Instant) -> Schedule {
    let mut schedule = Schedule::new(TIMING, false, 7, now);
    schedule.on_listening(now, Listening::Ready);
    schedule
}

/// One that has announced itself at `now`, and not for the first time.
fn announced(now: Instant) -> Schedule {
    let mut schedule = schedule(now);
    schedule.on_outcome(now, Outcome::Published);
    schedule.on_outcome(now, Outcome::Published);
    schedule
}

impl Schedule {
    /// Hears `authors`, one after the other, `rate` a second, each again when all have been heard, for `time`. Returns when
    /// it ends. Those that were known before are forgotten after as long as they can be known.
    fn hear(&mut self, now: Instant, authors: u32, rate: u32, time: Duration) -> Instant {
        let pause = Duration::from_secs(1) / rate;
        let (before, forgotten) = (self.others, now + 6 * longest(self.interval));
        let mut at = now;
        for number in 1.. {
            if at >= now + time {
                break;
            }
            self.on_announcement(at, false);
            let before = if at < forgotten { before } else { 0 };
            self.on_known_peers(at, before.max(authors.min(number) as usize));
            at += pause;
        }
        at
    }
}

#[test]
fn the_first_round_is_due_at_once_the_second_within_the_interval_and_the_next_ones_after_it() {
    let now = Instant::now();
    let mut schedule = schedule(now);
    assert!(schedule.is_due(now));
    schedule.on_outcome(now, Outcome::Published);
    assert!(!schedule.is_due(now + GAP - Duration::from_nanos(1)));
    assert!(schedule.is_due(now + INTERVAL));
    for _ in 0..10 {
        schedule.on_outcome(now, Outcome::Published);
        assert!(!schedule.is_due(now + INTERVAL - Duration::from_nanos(1)));
        assert!(schedule.is_due(now + INTERVAL + INTERVAL / JITTER));
    }
}

#[test]
fn those_who_are_heard_for_the_first_time_together_do_not_go_on_together() {
    let now = Instant::now();
    for before in [
        None,
        Some(Outcome::Failed),
        Some(Outcome::Solicited),
        Some(Outcome::Skipped(SkipReason::NoSubscribers)),
    ] {
        let mut rounds = [0; 9];
        for seed in 0..900 {
            let mut schedule = Schedule::new(TIMING, false, seed, now);
            if let Some(before) = before {
                schedule.on_outcome(now, Outcome::Published);
                schedule.on_outcome(now, before);
            }
            schedule.on_outcome(now, Outcome::Published);
            let second = (schedule.next_timeout().unwrap() - now).as_secs();
            rounds[usize::try_from(second).unwrap() - 1] += 1;
        }
        assert!(
            rounds.iter().all(|rounds| (60..140).contains(rounds)),
            "{rounds:?}"
        );
    }
}

#[test]
fn a_newcomer_hears_of_everybody_within_an_interval_whoever_answers() {
    let start = Instant::now();
    for seed in 0..100 {
        for since in [Duration::ZERO, GAP, INTERVAL / 2, INTERVAL] {
            let mut schedule = Schedule::new(TIMING, false, seed, start);
            schedule.on_outcome(start, Outcome::Published);
            schedule.on_outcome(start, Outcome::Published);
            let now = start + since;
            schedule.on_announcement(now, true);
            for _ in 0..ENOUGH {
                schedule.on_announcement(now, false);
            }
            let soon = now + INTERVAL - 2 * GAP;
            let after = schedule.next_timeout().unwrap();
            assert!(after <= soon, "{:?} later", after - soon);
        }
    }
}

#[test]
fn who_hurries_and_then_hears_that_there_are_many_takes_a_place_in_the_whole_interval() {
    let now = Instant::now();
    let mut rounds = [0; 24];
    for seed in 0..1_000 {
        let mut schedule = Schedule::new(TIMING, false, seed, now);
        schedule.on_outcome(now, Outcome::Published);
        for number in 0..200 {
            let at = now + number * GAP / 200;
            schedule.on_announcement(at, true);
            schedule.on_known_peers(at, number as usize + 1);
        }
        let second = (schedule.next_timeout().unwrap() - now).as_secs();
        rounds[usize::try_from(second).unwrap()] += 1;
    }
    // After the gap, and up to the twenty seconds that two hundred take.
    let mut places = rounds[2..19].iter();
    assert!(places.all(|rounds| (20..90).contains(rounds)), "{rounds:?}");
}

#[test]
fn a_skipped_round_does_not_delay_the_announcement_of_the_first_address() {
    let now = Instant::now();
    let mut schedule = schedule(now);
    schedule.on_outcome(now, NOTHING);
    schedule.on_addresses_changed(now);
    assert_eq!(schedule.next_timeout(), Some(now + SHORT));
}

#[test]
fn changes_are_coalesced_from_the_first_on() {
    let now = Instant::now();
    let mut schedule = schedule(now);
    schedule.on_outcome(now, NOTHING);
    for i in 0..10 {
        schedule.on_addresses_changed(now + Duration::from_millis(i));
        schedule.on_subscriber(now + Duration::from_millis(i));
    }
    assert_eq!(schedule.next_timeout(), Some(now + SHORT));
    schedule.on_outcome(now + SHORT, Outcome::Published);
    assert!(!schedule.is_due(now + SHORT + GAP));
}

#[test]
fn a_change_within_the_gap_waits_for_its_end() {
    let now = Instant::now();
    let mut schedule = schedule(now);
    schedule.on_outcome(now, Outcome::Published);
    schedule.on_addresses_changed(now);
    assert_eq!(schedule.next_timeout(), Some(now + GAP));
}

#[test]
fn a_request_within_the_gap_is_put_off_and_not_forgotten() {
    let now = Instant::now();
    let mut schedule = schedule(now);
    assert_eq!(schedule.on_request(now), Ok(()));
    schedule.on_outcome(now, Outcome::Published);
    let until = now + GAP;
    assert_eq!(
        schedule.on_request(now),
        Err(AnnounceOutcome::Delayed { until })
    );
    assert_eq!(schedule.next_timeout(), Some(until));
    assert_eq!(schedule.on_request(until), Ok(()));
}

#[test]
fn a_failure_is_tried_again_soon() {
    let now = Instant::now();
    let mut schedule = schedule(now);
    let until = now + RETRY;
    assert_eq!(
        schedule.on_outcome(now, Outcome::Failed),
        AnnounceOutcome::Delayed { until }
    );
    assert_eq!(schedule.next_timeout(), Some(until));
}

#[test]
fn the_gap_counts_from_the_last_round_that_the_pubsub_got_and_from_no_other() {
    let now = Instant::now();
    for outcome in [Outcome::Published, Outcome::Solicited, Outcome::Failed] {
        let mut schedule = schedule(now);
        schedule.on_outcome(now, outcome);
        schedule.on_addresses_changed(now);
        schedule.on_first_subscriber(now);
        assert_eq!(schedule.next_timeout(), Some(now + GAP), "{outcome:?}");
        let until = now + GAP;
        assert_eq!(
            schedule.on_request(now),
            Err(AnnounceOutcome::Delayed { until })
        );
    }
    for reason in [SkipReason::NoListeners, SkipReason::NoSubscribers] {
        let mut schedule = schedule(now);
        schedule.on_outcome(now, Outcome::Skipped(reason));
        schedule.on_addresses_changed(now);
        assert_eq!(schedule.next_timeout(), Some(now + SHORT), "{reason:?}");
        assert_eq!(schedule.on_request(now), Ok(()));
    }
}

#[test]
fn subscriptions_cause_no_more_rounds_than_the_gap_allows_while_publishing_fails() {
    let start = Instant::now();
    let subscribe: [fn(&mut Schedule, Instant); 2] =
        [Schedule::on_subscriber, Schedule::on_first_subscriber];
    for subscribe in subscribe {
        let (mut schedule, mut rounds) = (schedule(start), 0);
        for millis in 0..60_000 {
            let now = start + Duration::from_millis(millis);
            subscribe(&mut schedule, now);
            if schedule.is_due(now) {
                schedule.on_outcome(now, Outcome::Failed);
                rounds += 1;
            }
        }
        assert!((30..=60).contains(&rounds), "{rounds} in a minute");
    }
}

#[test]
fn one_topic_is_enough_and_no_subscribers_are_no_failure() {
    assert_eq!(Outcome::of_topics(1, 5, 1), Outcome::Published);
    assert_eq!(Outcome::of_topics(1, 5, 0), Outcome::Solicited);
    for addresses in [0, 1] {
        assert_eq!(Outcome::of_topics(0, 1, addresses), Outcome::Failed);
        assert_eq!(
            Outcome::of_topics(0, 0, addresses),
            Outcome::Skipped(SkipReason::NoSubscribers)
        );
    }
}

#[test]
fn silence_is_never_broken() {
    let now = Instant::now();
    let mut schedule = Schedule::new(TIMING, true, 7, now);
    schedule.on_addresses_changed(now);
    schedule.on_subscriber(now);
    assert_eq!(schedule.next_timeout(), None);
    assert_eq!(
        schedule.on_request(now),
        Err(AnnounceOutcome::Skipped(SkipReason::ListenOnly))
    );
    assert!(!schedule.is_due(now + INTERVAL * 2));
}

#[test]
fn durations_without_end_do_not_overflow() {
    let now = Instant::now();
    let timing = Timing {
        interval: Duration::MAX,
        max_interval: Duration::MAX,
        minimum_gap: Duration::MAX,
        coalescing: Duration::MAX,
        target_rate: NonZeroU32::MAX,
    };
    let mut schedule = Schedule::new(timing, false, 7, now);
    for outcome in [Outcome::Failed, Outcome::Published] {
        schedule.on_addresses_changed(now);
        schedule.on_subscriber(now);
        schedule.on_announcement(now, true);
        schedule.on_known_peers(now, usize::MAX);
        schedule.queue_up(now);
        schedule.on_outcome(now, outcome);
        assert!(!schedule.is_due(now + INTERVAL));
        schedule.promise(now + HOUR);
    }
}

#[test]
fn up_to_a_hundred_announce_at_the_configured_interval_and_more_share_the_rate() {
    let now = Instant::now();
    for (authors, seconds) in [(1, 10), (50, 10), (98, 10), (400, 40), (5_000, 500)] {
        let mut schedule = announced(now);
        schedule.hear(now, authors, 10, 2 * MAX_INTERVAL);
        let ratio = schedule.interval().as_secs_f64() / f64::from(seconds);
        assert!((0.93..1.07).contains(&ratio), "{authors}: {ratio}");
    }
}

#[test]
fn the_node_itself_has_its_share_of_the_rate() {
    let now = Instant::now();
    for (others, seconds) in [(0, 10), (99, 10), (109, 11), (199, 20)] {
        let mut schedule = announced(now);
        schedule.on_known_peers(now, others);
        assert_eq!(schedule.interval(), Duration::from_secs(seconds));
    }
}

#[test]
fn traffic_is_above_the_target_after_more_than_a_hundred_at_once() {
    let now = Instant::now();
    let mut schedule = announced(now);
    for _ in 0..100 {
        schedule.on_announcement(now, false);
    }
    assert!(!schedule.is_busy(now));
    schedule.on_announcement(now, false);
    assert!(schedule.is_busy(now));
}

#[test]
fn the_interval_has_an_upper_limit_and_shrinks_again() {
    let now = Instant::now();
    let mut schedule = announced(now);
    let now = schedule.hear(now, 100_000, 100, MAX_INTERVAL / 2);
    assert_eq!(schedule.interval(), MAX_INTERVAL);
    schedule.hear(now, 10, 1, 7 * MAX_INTERVAL);
    assert_eq!(schedule.interval(), INTERVAL);
}

#[test]
fn a_round_is_put_off_while_more_and_more_are_heard() {
    let now = Instant::now();
    let mut schedule = announced(now);
    let (mut at, mut rounds) = (now, 0);
    for number in 0..1_000 {
        at += Duration::from_millis(100);
        schedule.on_announcement(at, false);
        schedule.on_known_peers(at, number + 1);
        if schedule.is_due(at) {
            schedule.on_outcome(at, Outcome::Published);
            rounds += 1;
        }
    }
    assert!(rounds == 0, "{rounds} rounds in ten intervals");
    assert!(schedule.next_timeout().unwrap() >= at - INTERVAL);
}

#[test]
fn a_newcomer_is_answered_within_the_gap() {
    let now = Instant::now() + HOUR;
    for is_subscriber in [false, true] {
        let mut schedule = announced(now - GAP);
        match is_subscriber {
            true => schedule.on_subscriber(now),
            false => schedule.on_announcement(now, true),
        }
        assert!(schedule.is_due(now + GAP));
    }
    let mut schedule = announced(now - GAP);
    schedule.on_announcement(now, false);
    assert!(!schedule.is_due(now + GAP));
}

#[test]
fn those_who_answer_a_newcomer_do_so_at_different_times() {
    let now = Instant::now() + HOUR;
    let answer: [fn(&mut Schedule, Instant); 3] = [
        Schedule::on_subscriber,
        Schedule::on_first_subscriber,
        |schedule, now| schedule.on_announcement(now, true),
    ];
    for answer in answer {
        let mut answers = [0; 10];
        for seed in 0..1_000 {
            let mut schedule = Schedule::new(TIMING, false, seed, now - 2 * GAP);
            schedule.on_outcome(now - 2 * GAP, Outcome::Published);
            schedule.on_outcome(now - 2 * GAP, Outcome::Published);
            answer(&mut schedule, now);
            let at = [schedule.wanted, schedule.reply.map(|reply| reply.at)];
            let after = at.into_iter().flatten().min().unwrap() - now;
            answers[(after.as_millis() * 10 / GAP.as_millis()) as usize] += 1;
        }
        assert!(
            answers.iter().all(|answers| (60..140).contains(answers)),
            "{answers:?}"
        );
    }
}

#[test]
fn nobody_is_answered_where_the_interval_is_longer_by_more_than_a_quarter() {
    let now = Instant::now() + HOUR;
    for (others, is_answered) in [(124, true), (125, false)] {
        for is_subscriber in [false, true] {
            let mut schedule = announced(now - 2 * GAP);
            schedule.on_known_peers(now - HOUR, others);
            match is_subscriber {
                true => schedule.on_subscriber(now),
                false => schedule.on_announcement(now, true),
            }
            assert_eq!(schedule.reply.is_some(), is_answered, "{others}");
        }
    }
}

#[test]
fn who_knows_enough_answers_from_the_end_of_the_third_interval() {
    let now = Instant::now();
    let end = now + NEWCOMER * INTERVAL;
    let enough = ENOUGH as usize;
    for (others, at, is_answered) in [
        (enough - 1, now, true),
        (enough, now, false),
        (enough, end - Duration::from_nanos(1), false),
        (enough, end, true),
    ] {
        let mut schedule = announced(now);
        schedule.on_known_peers(now, others);
        schedule.on_announcement(at, true);
        assert_eq!(schedule.reply.is_some(), is_answered, "{others}");
    }
}

#[test]
fn who_has_just_started_answers_nobody_once_there_are_enough() {
    let answers = |others: u32| {
        let now = Instant::now();
        let mut schedule = announced(now);
        let later = schedule.hear(now, others, others, 2 * GAP);
        schedule.on_announcement(later, true);
        schedule.next_timeout() < Some(later + GAP)
    };
    assert!(answers(5));
    assert!(!answers(ENOUGH + 5));

    let now = Instant::now();
    let mut schedule = announced(now);
    let later = schedule.hear(now, ENOUGH + 5, 5, 3 * INTERVAL);
    schedule.on_outcome(later, Outcome::Published);
    let later = schedule.hear(later, ENOUGH + 5, 5, 2 * GAP);
    schedule.on_announcement(later, true);
    assert!(schedule.next_timeout() < Some(later + GAP));
}

#[test]
fn nobody_answers_when_enough_others_have() {
    let now = Instant::now() + HOUR;
    let mut schedule = announced(now - 2 * GAP);
    schedule.on_announcement(now, true);
    for _ in 1..ENOUGH {
        schedule.on_announcement(now, false);
    }
    assert!(schedule.next_timeout() <= Some(now + GAP));
    schedule.on_announcement(now, false);
    assert!(!schedule.is_due(now + GAP));
}

#[test]
fn newcomers_are_answered_where_some_count_a_few_more_than_a_hundred() {
    let now = Instant::now();
    let mut schedule = announced(now);
    let now = schedule.hear(now, 110, 10, 4 * INTERVAL);
    schedule.on_outcome(now, Outcome::Published);
    assert!(schedule.interval() > INTERVAL);
    let now = now + 2 * GAP;
    schedule.on_announcement(now, true);
    assert!(schedule.is_due(now + GAP));
}

#[test]
fn where_newcomers_keep_coming_they_are_not_answered_beyond_twice_the_target() {
    let start = Instant::now();
    let mut schedule = announced(start);
    let mut now = schedule.hear(start, 50, 5, 3 * INTERVAL);
    schedule.on_outcome(now, Outcome::Published);
    let mut answers = 0;
    // Each hears thirty answers of others, in the second after its own.
    for _ in 0..600 {
        schedule.on_announcement(now, true);
        answers += usize::from(schedule.reply.is_some());
        for _ in 0..30 {
            now += GAP / 30;
            schedule.on_announcement(now, false);
        }
        assert_eq!(schedule.interval(), INTERVAL);
    }
    assert!((5..30).contains(&answers), "{answers}");
}

#[test]
fn a_network_that_is_busy_enough_answers_nobody() {
    let now = Instant::now();
    let mut schedule = announced(now);
    let now = schedule.hear(now, 200, 10, 3 * INTERVAL);
    schedule.on_outcome(now, Outcome::Published);
    schedule.on_announcement(now, true);
    schedule.on_subscriber(now);
    assert!(!schedule.is_due(now + GAP));
}

#[test]
fn who_was_never_heard_does_not_let_others_answer() {
    let now = Instant::now();
    for outcome in [Outcome::Skipped(SkipReason::NoSubscribers), Outcome::Failed] {
        let mut schedule = schedule(now);
        schedule.on_outcome(now, outcome);
        schedule.on_subscriber(now);
        for _ in 0..2 * ENOUGH {
            schedule.on_announcement(now, true);
        }
        assert!(schedule.is_due(now + RETRY));
    }
    let mut schedule = schedule(now);
    schedule.on_outcome(now, NOTHING);
    schedule.on_subscriber(now);
    assert!(!schedule.is_due(now + GAP), "there is nothing to say");
}

#[test]
fn news_waits_in_line_while_everybody_speaks() {
    let now = Instant::now();
    let mut places = Vec::new();
    for seed in 0..50 {
        let mut schedule = Schedule::new(TIMING, false, seed, now);
        schedule.on_outcome(now, NOTHING);
        for number in 1..=1_000 {
            schedule.on_announcement(now, true);
            schedule.on_known_peers(now, number);
        }
        schedule.on_addresses_changed(now);
        assert!(!schedule.is_due(now + SHORT));
        places.push((schedule.next_timeout().unwrap() - now).as_secs());
    }
    // A thousand authors take a hundred seconds.
    assert!(places.iter().all(|&place| place < 110));
    assert!(places.iter().any(|&place| place < 25));
    assert!(places.iter().any(|&place| place > 75));
}

#[test]
fn promises_twice_the_interval_while_the_number_of_peers_grows_and_then_the_interval() {
    let now = Instant::now();
    let mut schedule = announced(now);
    assert_eq!(schedule.promise(now), longest(2 * INTERVAL));
    let soon = schedule.hear(now, 1_000, 10, 5 * INTERVAL);
    assert_eq!(schedule.promise(soon), longest(2 * schedule.interval()));
    let late = schedule.hear(soon, 1_000, 10, 100 * INTERVAL);
    let promise = schedule.promise(late);
    assert_eq!(promise, longest(schedule.interval()));
    schedule.on_outcome(late, Outcome::Published);
    assert!(schedule.next_timeout() <= Some(late + promise));
    // It may not become longer than the longest.
    schedule.on_known_peers(late, 0);
    schedule.on_known_peers(late, usize::MAX);
    assert_eq!(schedule.promise(late), longest(MAX_INTERVAL));
}

#[test]
fn who_knows_nobody_for_eight_intervals_promises_the_interval() {
    let now = Instant::now();
    let mut schedule = announced(now);
    for number in 0..=8 {
        schedule.on_known_peers(now + number * INTERVAL, 0);
    }
    assert_eq!(schedule.promise(now + 8 * INTERVAL), longest(INTERVAL));
}

#[test]
fn a_promise_is_kept_however_many_come_after_it() {
    let now = Instant::now();
    for (before, promised) in [(2, 2 * INTERVAL), (10, INTERVAL)] {
        let mut schedule = announced(now);
        let late = schedule.hear(now, 10, 1, before * INTERVAL);
        let promise = schedule.promise(late);
        assert_eq!(promise, longest(promised));
        schedule.on_outcome(late, Outcome::Published);

        let later = schedule.hear(late, 5_000, 500, INTERVAL);
        assert!(schedule.interval() >= 2 * INTERVAL);
        assert!(schedule.next_timeout() <= Some(late + promise));
        assert!(schedule.is_due(late + promise));
        let interval = schedule.interval();
        assert_eq!(schedule.promise(later), longest(2 * interval));
        schedule.on_outcome(later, Outcome::Published);
        // For peers that have missed it.
        let soon = later + promise.mul_f64(1.9);
        assert!(schedule.is_due(soon));
        schedule.promise(soon);
        schedule.on_outcome(soon, Outcome::Published);
        assert!(!schedule.is_due(soon + interval - GAP));
    }
}

/// A node that starts hears of ever more peers, and its promises grow with them.
#[test]
fn one_lost_announcement_makes_nobody_forget_a_node_whose_promises_grow() {
    let start = Instant::now();
    for seed in 0..20 {
        for rate in [1, 8, 100, 5_000] {
            let mut schedule = Schedule::new(TIMING, false, seed, start);
            let mut announcements = vec![];
            for tick in 0..20_000 {
                let now = start + tick * 3 * SHORT;
                let known = (rate * 3 * tick as usize / 20).min(20_000);
                schedule.on_known_peers(now, known);
                if schedule.is_due(now) {
                    announcements.push((now, schedule.promise(now)));
                    schedule.on_outcome(now, Outcome::Published);
                }
            }
            for three in announcements.windows(3) {
                let [(heard, promised), _, (next, _)] = three else {
                    unreachable!("windows of three");
                };
                // By three of what was promised it is known, of which a little is for the way.
                assert!(
                    *next - *heard < promised.mul_f64(2.95),
                    "{rate} a second: {announcements:?}"
                );
            }
        }
    }
}

#[test]
fn silence_can_be_broken_and_kept_again() {
    let now = Instant::now();
    let mut schedule = Schedule::new(TIMING, true, 7, now);
    schedule.set_silent(now, false);
    assert!(schedule.is_due(now + SHORT));
    schedule.set_silent(now, true);
    assert!(!schedule.is_due(now + HOUR));
    assert_eq!(schedule.next_timeout(), None);

    // Its end is news, and what does not end is none.
    let now = now + HOUR;
    let mut schedule = announced(now - GAP);
    let next = schedule.next_timeout();
    schedule.set_silent(now, false);
    assert_eq!(schedule.next_timeout(), next);
    schedule.set_silent(now, true);
    schedule.set_silent(now, false);
    assert_eq!(schedule.next_timeout(), Some(now + SHORT));
}

#[test]
fn a_topic_more_is_news() {
    let now = Instant::now() + HOUR;
    let mut schedule = announced(now - GAP);
    schedule.on_topic_added(now);
    assert_eq!(schedule.next_timeout(), Some(now + SHORT));
}

#[derive(Debug, Clone)]
enum Operation {
    Wait(u64),
    AddressesChanged,
    Subscriber,
    Announcement(bool),
    Known(usize),
    Request,
    Silent(bool),
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        4 => (0..15_000u64).prop_map(Operation::Wait),
        4 => (0..100u64).prop_map(Operation::Wait),
        1 => Just(Operation::AddressesChanged),
        1 => Just(Operation::Subscriber),
        1 => Just(Operation::Request),
        1 => any::<bool>().prop_map(Operation::Silent),
        6 => any::<bool>().prop_map(Operation::Announcement),
        3 => (0..1_000_usize).prop_map(Operation::Known),
        1 => Just(Operation::Known(usize::MAX)),
    ]
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        Just(Outcome::Published),
        Just(NOTHING),
        Just(Outcome::Failed)
    ]
}

proptest! {
    #[test]
    fn keeps_the_gap_the_interval_and_its_promises(
        operations in prop::collection::vec((operation(), outcome()), 0..300),
        seed: u64,
    ) {
        let mut now = Instant::now();
        let mut schedule = Schedule::new(TIMING, false, seed, now);
        schedule.on_listening(now, Listening::Ready);
        let (mut published, mut changed, mut silent) = (None, None, false);
        // When the interval began that is under way, and what was promised then.
        let (mut began, mut promised) = (now, None);
        // Whether nothing has caused a round since but time, after two announcements in a row.
        let (mut is_undisturbed, mut before) = (false, None);
        for (operation, outcome) in operations {
            let mut requested = false;
            is_undisturbed &= matches!(
                operation,
                Operation::Wait(_) | Operation::Announcement(false) | Operation::Known(_)
            );
            match operation {
                Operation::Wait(millis) => now += Duration::from_millis(millis),
                Operation::AddressesChanged => {
                    schedule.on_addresses_changed(now);
                    changed = changed.or(Some(now));
                }
                Operation::Subscriber => schedule.on_subscriber(now),
                Operation::Announcement(is_newcomer) => {
                    schedule.on_announcement(now, is_newcomer);
                }
                Operation::Known(others) => schedule.on_known_peers(now, others),
                Operation::Silent(value) => {
                    schedule.set_silent(now, value);
                    silent = value;
                }
                Operation::Request => {
                    let answer = schedule.on_request(now);
                    if let Err(AnnounceOutcome::Delayed { until }) = answer {
                        prop_assert!(until > now);
                        prop_assert!(schedule.next_timeout() <= Some(until));
                    }
                    requested = answer.is_ok();
                    prop_assert!(!(requested && silent));
                }
            };
            let is_due = schedule.is_due(now);
            prop_assert!(!(is_due && silent));
            if requested || is_due {
                if let Some(last) = published {
                    prop_assert!(now >= last + GAP);
                }
                let promise = schedule.promise(now);
                schedule.on_outcome(now, outcome);
                (began, changed) = (now, None);
                is_undisturbed = [before, Some(outcome)] == [Some(Outcome::Published); 2];
                before = Some(outcome);
                promised = (outcome == Outcome::Published).then_some(promise);
                if outcome != NOTHING {
                    published = Some(now);
                }
                prop_assert!(!schedule.is_due(now), "a round causes no round");
            }
            let interval = schedule.interval();
            prop_assert!((INTERVAL..=MAX_INTERVAL).contains(&interval));
            if silent {
                prop_assert_eq!(schedule.next_timeout(), None);
                continue;
            }
            let next = schedule.next_timeout().unwrap();
            prop_assert!(next <= began + longest(interval) || next <= now + GAP);
            prop_assert!(!is_undisturbed || next >= began + INTERVAL);
            if let Some(promised) = promised {
                prop_assert!(next <= began + promised || next <= now + GAP);
            }
            if let Some(changed) = changed
                && !schedule.is_busy(now)
            {
                let gap_ended = published.map_or(changed, |last| last + GAP);
                // A round that was queued under load stays queued.
                let in_queue = matches!(schedule.round.part, Part::Some);
                prop_assert!(in_queue || next <= changed.max(gap_ended) + SHORT);
            }
        }
    }
}
