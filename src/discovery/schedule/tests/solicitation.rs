//! The announcement of a node that cannot be dialled.

use super::{super::solicitation::UNREADY, *};

const SOLICITED: Outcome = Outcome::Solicited;

/// One whose first rounds have been skipped since it has no address.
fn without_address(now: Instant, listening: Listening) -> Schedule {
    let mut schedule = Schedule::new(TIMING, false, 7, now);
    schedule.on_listening(now, listening);
    schedule.on_outcome(now, NOTHING);
    schedule
}

impl Schedule {
    /// When it may solicit first, up to `until`. Rounds that come before have no address, and are skipped.
    fn solicits(&mut self, mut now: Instant, until: Instant) -> Option<Instant> {
        loop {
            if self.is_due(now) {
                if self.may_solicit(now) {
                    return Some(now);
                }
                self.on_outcome(now, NOTHING);
            }
            now = now.max(self.next_timeout()?);
            if now > until {
                return None;
            }
        }
    }
}

#[test]
fn a_node_without_listeners_solicits_within_a_quarter_of_the_gap_for_each_new_subscriber() {
    let now = Instant::now();
    let mut schedule = without_address(now, Listening::Nothing);
    assert_eq!(schedule.solicits(now, now + HOUR), None);

    let mut now = now + HOUR;
    for _ in 0..3 {
        schedule.on_subscriber(now);
        let at = schedule.solicits(now, now + GAP / 4).unwrap();
        schedule.on_outcome(at, SOLICITED);
        schedule.on_announcement(at, true);
        assert_eq!(schedule.solicits(at, at + HOUR), None);
        now = at + HOUR;
    }
    schedule.on_first_subscriber(now);
    assert!(schedule.solicits(now, now + GAP / 4).is_some());
}

#[test]
fn a_topic_more_is_solicited_on_too() {
    let now = Instant::now();
    let mut schedule = without_address(now, Listening::Nothing);
    schedule.on_topic_added(now);
    assert_eq!(schedule.solicits(now, now + GAP), Some(now + SHORT));
}

#[test]
fn listeners_have_five_seconds_to_get_an_address() {
    let now = Instant::now();
    for subscribed_after in [0, 1_000, 4_999] {
        let mut schedule = without_address(now, Listening::Waiting);
        let subscribed = now + Duration::from_millis(subscribed_after);
        schedule.on_subscriber(subscribed);
        let at = schedule.solicits(subscribed, now + INTERVAL).unwrap();
        assert!(at >= now + UNREADY && at <= now + UNREADY + GAP / 2);
    }
    // Another listener has no more.
    let mut schedule = without_address(now, Listening::Waiting);
    schedule.on_subscriber(now);
    assert!(!schedule.on_listening(now + UNREADY / 2, Listening::Waiting));
    assert_eq!(schedule.solicits(now, now + UNREADY), Some(now + UNREADY));
}

#[test]
fn listeners_that_lose_their_addresses_have_five_seconds_again_and_those_that_close_have_none() {
    let now = Instant::now() + HOUR;
    let mut schedule = announced(now - HOUR);
    assert!(schedule.on_listening(now, Listening::Waiting));
    schedule.on_outcome(now, NOTHING);
    schedule.on_subscriber(now);
    assert_eq!(schedule.solicits(now, now + HOUR), Some(now + UNREADY));

    let now = now + UNREADY / 2;
    schedule.on_listening(now, Listening::Nothing);
    assert!(schedule.solicits(now, now + GAP / 2).is_some());
    schedule.on_listening(now, Listening::Waiting);
    assert_eq!(schedule.solicits(now, now + HOUR), Some(now + UNREADY));
}

#[test]
fn a_subscriber_that_hears_of_an_address_is_not_solicited() {
    let now = Instant::now();
    let mut schedule = without_address(now, Listening::Waiting);
    schedule.on_subscriber(now);
    schedule.on_listening(now + GAP, Listening::Ready);
    schedule.on_addresses_changed(now + GAP);
    let at = schedule.next_timeout().unwrap();
    assert!(at <= now + GAP + SHORT && !schedule.may_solicit(at));
    schedule.on_outcome(at, Outcome::Published);
    schedule.on_listening(at, Listening::Nothing);
    assert_eq!(schedule.solicits(at, at + HOUR), None);

    // The address has gone before it was announced.
    schedule.on_listening(at, Listening::Ready);
    schedule.on_subscriber(at);
    schedule.on_listening(at, Listening::Waiting);
    assert_eq!(schedule.solicits(at, at + HOUR), Some(at + UNREADY));
}

#[test]
fn it_solicits_once_more_after_an_interval_if_nobody_is_heard() {
    let now = Instant::now();
    let solicited = || {
        let mut schedule = without_address(now, Listening::Nothing);
        schedule.on_subscriber(now);
        let at = schedule.solicits(now, now + GAP).unwrap();
        schedule.on_outcome(at, SOLICITED);
        (schedule, at)
    };
    let (mut schedule, at) = solicited();
    let again = at + INTERVAL;
    assert_eq!(schedule.solicits(at, again), Some(again));
    schedule.on_outcome(again, SOLICITED);
    assert_eq!(schedule.solicits(again, again + HOUR), None);

    let (mut schedule, at) = solicited();
    schedule.on_announcement(at + GAP, false);
    assert_eq!(schedule.solicits(at, at + HOUR), None);

    // Earlier announcements are no answer, and a new subscriber has to hear of this node in any case.
    let (mut schedule, at) = solicited();
    let later = at + 2 * GAP;
    schedule.on_subscriber(later);
    schedule.on_announcement(later, true);
    assert!(schedule.solicits(later, later + GAP).is_some());
}

#[test]
fn it_answers_nobody() {
    let now = Instant::now();
    let mut schedule = without_address(now, Listening::Nothing);
    schedule.on_subscriber(now);
    let at = schedule.solicits(now, now + GAP).unwrap();
    schedule.on_outcome(at, SOLICITED);
    for _ in 0..50 {
        schedule.on_announcement(at, true);
        schedule.on_solicitation(at, true);
    }
    assert!(!schedule.is_due(at + INTERVAL / 2));
}

#[test]
fn a_solicitation_that_fails_is_tried_again_as_any_announcement() {
    let now = Instant::now();
    let mut schedule = without_address(now, Listening::Nothing);
    schedule.on_subscriber(now);
    let at = schedule.solicits(now, now + GAP).unwrap();
    let until = at + RETRY;
    assert_eq!(
        schedule.on_outcome(at, Outcome::Failed),
        AnnounceOutcome::Delayed { until }
    );
    assert_eq!(schedule.solicits(at, at + HOUR), Some(until));
    // The subscriber has gone.
    schedule.on_outcome(until, Outcome::Skipped(SkipReason::NoSubscribers));
    assert_eq!(schedule.solicits(until, until + HOUR), None);
}

#[test]
fn subscriptions_cause_no_more_solicitations_than_the_gap_allows() {
    let start = Instant::now();
    let mut schedule = without_address(start, Listening::Nothing);
    let mut rounds = 0;
    for millis in 0..60_000 {
        let now = start + Duration::from_millis(millis);
        schedule.on_subscriber(now);
        if schedule.is_due(now) {
            schedule.on_outcome(now, SOLICITED);
            rounds += 1;
        }
    }
    assert!((50..=60).contains(&rounds), "{rounds} in a minute");
}

#[test]
fn a_busy_topic_is_not_solicited_on_until_it_is_quiet() {
    let now = Instant::now();
    let mut schedule = without_address(now, Listening::Nothing);
    schedule.on_subscriber(now);
    for _ in 0..1_000 {
        schedule.on_announcement(now, true);
    }
    let at = schedule.solicits(now, now + HOUR).unwrap();
    assert!(at >= now + INTERVAL);
    assert!(!schedule.is_busy(at));
}

#[test]
fn listen_only_solicits_nobody_until_it_ends() {
    let now = Instant::now();
    let mut schedule = Schedule::new(TIMING, true, 7, now);
    schedule.on_subscriber(now);
    assert_eq!(schedule.solicits(now, now + HOUR), None);
    schedule.set_silent(now, false);
    assert!(schedule.solicits(now, now + GAP).is_some());
}

#[test]
fn those_who_solicit_are_answered_and_are_no_answers() {
    let start = Instant::now() + HOUR;
    let mut schedule = announced(start - GAP);
    schedule.on_solicitation(start, true);
    // Others that solicit are no answers.
    for _ in 0..2 * ENOUGH {
        schedule.on_solicitation(start, true);
    }
    assert!(schedule.is_due(start + GAP));
    schedule.on_outcome(start + GAP, Outcome::Published);

    let mut flooded = announced(start);
    for _ in 0..1_000 {
        flooded.on_solicitation(start, true);
    }
    assert!(flooded.is_busy(start), "as much as anything that is heard");
}

#[derive(Debug, Clone)]
enum Operation {
    Wait(u64),
    Listening(Listening),
    Subscriber(bool),
    Heard(bool),
    Silent(bool),
    Outcomes(bool),
}

fn operation() -> impl Strategy<Value = Operation> {
    let listening = prop_oneof![
        Just(Listening::Nothing),
        Just(Listening::Waiting),
        Just(Listening::Ready)
    ];
    prop_oneof![
        4 => (0..8_000u64).prop_map(Operation::Wait),
        4 => (0..400u64).prop_map(Operation::Wait),
        3 => listening.prop_map(Operation::Listening),
        3 => any::<bool>().prop_map(Operation::Subscriber),
        2 => any::<bool>().prop_map(Operation::Heard),
        1 => any::<bool>().prop_map(Operation::Silent),
        1 => any::<bool>().prop_map(Operation::Outcomes),
    ]
}

proptest! {
    #[test]
    fn each_subscriber_is_worth_two_solicitations_at_most_and_none_while_there_is_an_address(
        operations in prop::collection::vec(operation(), 0..200),
        seed: u64,
    ) {
        let mut now = Instant::now();
        let mut schedule = Schedule::new(TIMING, false, seed, now);
        let (mut listening, mut since, mut silent) = (Listening::Nothing, now, false);
        let (mut fails, mut handed_over) = (false, None::<Instant>);
        // The number of further ones, and whether the first was made since a peer was heard.
        let (mut left, mut is_first) = (0, true);
        for operation in operations {
            let end = match operation {
                Operation::Wait(millis) => now + Duration::from_millis(millis),
                _ => now,
            };
            match operation {
                Operation::Wait(_) => {}
                Operation::Listening(to) => {
                    prop_assert_eq!(schedule.on_listening(now, to), listening != to);
                    if listening != to {
                        since = now;
                    }
                    listening = to;
                    schedule.on_addresses_changed(now);
                }
                Operation::Subscriber(is_first_of_topic) => {
                    match is_first_of_topic {
                        true => schedule.on_first_subscriber(now),
                        false => schedule.on_subscriber(now),
                    }
                    (left, is_first) = (2, true);
                }
                Operation::Heard(is_solicitation) => {
                    match is_solicitation {
                        true => schedule.on_solicitation(now, true),
                        false => schedule.on_announcement(now, true),
                    }
                    if !is_first {
                        left = 0;
                    }
                }
                Operation::Silent(value) => {
                    silent = value;
                    schedule.set_silent(now, value);
                }
                Operation::Outcomes(value) => fails = value,
            }
            while let Some(at) = schedule.next_timeout().map(|at| at.max(now))
                && at <= end
            {
                now = at;
                prop_assert!(!silent);
                if !schedule.is_due(now) {
                    continue;
                }
                let may_solicit = schedule.may_solicit(now);
                let outcome = match listening {
                    _ if fails && (may_solicit || listening == Listening::Ready) => Outcome::Failed,
                    Listening::Ready => Outcome::Published,
                    _ if may_solicit => SOLICITED,
                    _ => NOTHING,
                };
                if may_solicit {
                    prop_assert!(left > 0);
                    match listening {
                        Listening::Nothing => {}
                        Listening::Waiting => prop_assert!(now >= since + UNREADY),
                        Listening::Ready => prop_assert!(false, "there is an address"),
                    }
                }
                if outcome != NOTHING {
                    prop_assert!(handed_over.is_none_or(|before| now >= before + GAP));
                    handed_over = Some(now);
                }
                match outcome {
                    Outcome::Published => left = 0,
                    Outcome::Solicited => {
                        left -= 1;
                        is_first = false;
                    }
                    _ => {}
                }
                schedule.on_outcome(now, outcome);
                prop_assert!(!schedule.is_due(now), "a round causes no round");
            }
            now = end;
            // A subscriber that has heard nothing hears of this node soon.
            let is_ready = match listening {
                Listening::Nothing => true,
                Listening::Waiting => now >= since + UNREADY,
                Listening::Ready => false,
            };
            if left == 2 && is_ready && !silent {
                prop_assert!(schedule.next_timeout() <= Some(now + GAP + RETRY));
            }
        }
    }
}
