//! How far the interval may grow.

use super::*;

const SOON: Duration = Duration::from_millis(10);

impl Schedule {
    /// So many authors announce themselves who are never heard again, one after the other. Returns when it ends.
    fn hear_invented(&mut self, mut now: Instant, authors: u32, pause: Duration) -> Instant {
        for number in 0..authors {
            now += pause;
            self.on_announcement(now, &author(1_000 + number), true);
        }
        now
    }

    /// `neighbours` announce themselves. The first of them have been there for long, with a baseline of thirty seconds.
    fn meet(&mut self, now: Instant, neighbours: u32, with_baseline: u32) {
        for number in 0..neighbours {
            let baseline = (number < with_baseline).then_some(3 * INTERVAL);
            self.on_neighbour(now, &author(number), baseline);
            self.on_announcement(now, &author(number), false);
        }
    }
}

#[test]
fn invented_authors_double_the_interval_of_a_settled_node_and_no_more() {
    let now = Instant::now();
    let mut schedule = announced(now);
    let now = schedule.hear(now, 300, 10, 2 * HOUR);
    schedule.count(now);
    let before = schedule.interval();
    let mut now = now;
    for number in 0..360_000 {
        now += Duration::from_millis(10);
        schedule.on_announcement(now, &author(1_000 + number), true);
        assert!(schedule.interval() <= before.mul_f64(2.2));
    }
    assert!(schedule.interval() > before.mul_f64(1.8));
    // Once it is over, it is over.
    let now = schedule.hear(now, 300, 10, HOUR);
    schedule.count(now);
    assert!(schedule.interval() <= before.mul_f64(1.1));
}

#[test]
fn who_has_heard_everybody_for_long_is_settled_before_the_upper_limit() {
    let start = Instant::now();
    let mut schedule = announced(start);
    let mut now = start;
    // Ten of its intervals.
    while now < start + 5 * Duration::from_secs(60) {
        now = schedule.hear(now, 300, 10, Duration::from_secs(30));
        schedule.promise(now);
    }
    let before = schedule.interval();
    schedule.hear_invented(now, 60_000, SOON);
    let ratio = schedule.interval().as_secs_f64() / before.as_secs_f64();
    assert!((1.8..2.2).contains(&ratio), "{ratio}");
}

#[test]
fn who_hears_but_a_part_of_many_is_not_bound_by_how_few_they_seem() {
    let start = Instant::now();
    let mut schedule = announced(start);
    let mut now = start;
    for authors in 0..10 {
        for number in 0..30 {
            now += INTERVAL / 30;
            schedule.on_announcement(now, &author(30 * authors + number), true);
        }
        schedule.promise(now);
    }
    assert_eq!(schedule.interval(), INTERVAL);
    let now = schedule.hear(now, 5_000, 10, 500 * Duration::from_secs(1));
    schedule.count(now);
    assert!(schedule.interval() > 40 * INTERVAL);
}

#[test]
fn who_starts_in_a_network_that_grows_is_not_bound_by_what_it_was() {
    let start = Instant::now();
    let mut schedule = announced(start);
    let mut now = start;
    // A fifth more each minute: not a quarter more in the time in which all are heard, but soon many times as many.
    let (mut authors, mut at) = (200.0_f64, 0);
    while now < start + MAX_INTERVAL - SHORT {
        for _ in 0..100 {
            now += Duration::from_millis(100);
            authors *= 1.0003;
            at = (at + 1) % authors as u32;
            schedule.on_announcement(now, &author(at), false);
        }
        schedule.promise(now);
    }
    assert!(authors > 5_000.0);
    let ratio = schedule.interval().as_secs_f64() / (authors / 10.0);
    // Not all of the last ones have been heard.
    assert!((0.7..1.1).contains(&ratio), "{ratio}");
}

#[test]
fn who_has_been_alone_starts_over() {
    let start = Instant::now();
    // Its rounds come meanwhile, or it sleeps.
    for rounds in [100, 0] {
        let mut schedule = announced(start);
        let mut now = schedule.hear(start, 300, 10, 2 * HOUR);
        assert!(schedule.promise(now).is_some());
        for _ in 0..rounds {
            now += INTERVAL;
            if schedule.is_due(now) {
                schedule.on_outcome(now, Outcome::Published);
            }
        }
        now += HOUR;

        let soon = schedule.hear(now, 5_000, 10, 2 * INTERVAL);
        assert_eq!(schedule.promise(soon), None, "few are heard yet");
        let later = schedule.hear(soon, 5_000, 10, 500 * Duration::from_secs(1));
        schedule.count(later);
        let interval = schedule.interval();
        assert!(interval > 40 * INTERVAL, "{interval:?}");
    }
}

#[test]
fn invented_authors_silence_no_newcomer_whose_neighbours_have_been_there_for_long() {
    let start = Instant::now();
    // It has just started, or been alone until now.
    for alone in [Duration::ZERO, HOUR] {
        let mut schedule = announced(start);
        if !alone.is_zero() {
            schedule.hear(start, 300, 10, 2 * HOUR);
        }
        let start = start + 3 * alone;
        let mut now = schedule.hear_invented(start, 20_000, SOON);
        assert!(schedule.interval() > 20 * INTERVAL);
        // What holds it back does so at once, and for as long as it has no hour of its own.
        schedule.meet(now, 9, 3);
        assert_eq!(schedule.interval(), 6 * INTERVAL);
        assert!(schedule.next_timeout() <= Some(now + 6 * INTERVAL));
        while now < start + HOUR {
            now = schedule.hear_invented(now, 3_000, SOON);
            schedule.promise(now);
            assert_eq!(schedule.interval(), 6 * INTERVAL);
        }
    }
}

#[test]
fn neighbours_that_are_newcomers_themselves_hold_nobody_back() {
    let start = Instant::now();
    let mut schedule = announced(start);
    schedule.meet(start, 9, 2);
    let now = schedule.hear_invented(start, 20_000, SOON);
    assert!(schedule.interval() > 20 * INTERVAL);
    // Nor does one that goes.
    schedule.meet(now, 9, 3);
    assert_eq!(schedule.interval(), 6 * INTERVAL);
    schedule.on_neighbour_gone(&author(0));
    schedule.count(now);
    assert!(schedule.interval() > 20 * INTERVAL);
}

#[test]
fn who_has_many_neighbours_knows_that_those_are_not_invented() {
    let start = Instant::now();
    let mut schedule = announced(start);
    let now = schedule.hear(start, 300, 10, 2 * HOUR);
    assert!(schedule.baseline(now).unwrap() < 4 * INTERVAL);
    schedule.meet(now, 1_000, 0);
    let now = schedule.hear(now, 1_000, 10, 30 * INTERVAL);
    schedule.count(now);
    let ratio = schedule.interval().as_secs_f64() / 100.0;
    assert!((0.9..1.1).contains(&ratio), "{ratio}");
    // It tells others so when they have been there for an hour.
    assert_eq!(schedule.baseline(now), None);
    let now = schedule.hear(now, 1_000, 10, HOUR);
    assert_eq!(schedule.baseline(now), Some(Duration::from_millis(100_050)));
    schedule.meet(now, 3_001, 0);
    assert_eq!(schedule.baseline(now), None, "most of them are new");
}

#[test]
fn an_interval_that_may_not_become_longer_is_no_measure_for_others() {
    let start = Instant::now();
    for (max_interval, is_told) in [(Duration::ZERO, false), (2 * INTERVAL, false), (HOUR, true)] {
        let timing = Timing {
            max_interval,
            ..TIMING
        };
        let mut schedule = Schedule::new(timing, false, 7, start);
        let now = schedule.hear(start, 300, 10, 3 * HOUR);
        assert_eq!(
            schedule.baseline(now).is_some(),
            is_told,
            "{max_interval:?}"
        );
    }
}

#[test]
fn those_whose_rounds_are_overdue_when_they_are_held_back_do_not_come_together() {
    let start = Instant::now();
    let mut rounds = [0; 5];
    for seed in 0..500 {
        let mut schedule = Schedule::new(TIMING, false, seed, start);
        schedule.on_outcome(start, Outcome::Published);
        schedule.on_outcome(start, Outcome::Published);
        let now = schedule.hear_invented(start, 9_000, SOON);
        assert!(schedule.next_timeout() > Some(now + INTERVAL));
        schedule.meet(now, 1, 1);
        let second = (schedule.next_timeout().unwrap() - now).as_secs();
        rounds[usize::try_from(second).unwrap()] += 1;
    }
    let [0, places @ ..] = rounds else {
        panic!("within the gap: {rounds:?}");
    };
    assert!(
        places.iter().all(|rounds| (75..175).contains(rounds)),
        "{rounds:?}"
    );
}

#[test]
fn a_baseline_is_half_of_what_the_interval_may_become_and_told_after_an_hour() {
    let start = Instant::now();
    let mut schedule = announced(start);
    let late = schedule.hear(start, 300, 10, HOUR);
    assert_eq!(schedule.baseline(late), None);
    let now = schedule.hear(late, 300, 10, HOUR / 2);
    let baseline = schedule.baseline(now).unwrap();
    assert_eq!(2 * baseline, schedule.longest_to_come(now));
    let now = schedule.hear(now, 600, 10, HOUR / 4);
    schedule.count(now);
    assert_eq!(schedule.baseline(now), Some(baseline), "for an hour");
    assert!(schedule.interval() > baseline.mul_f64(1.8));
    // Whoever hears nobody knows nothing.
    schedule.count(now + HOUR);
    assert_eq!(schedule.baseline(now + HOUR), None);
}

#[test]
fn what_a_settled_node_expects_of_others_is_not_bound_by_its_own_history() {
    let now = Instant::now();
    let mut schedule = announced(now);
    let now = schedule.hear(now, 300, 10, 2 * HOUR);
    schedule.count(now);
    assert_eq!(schedule.longest_expected(), longest(schedule.interval()));
    // As many as take 500 seconds, at the rate that all aim at.
    let now = schedule.hear(now, 5_000, 10, MAX_INTERVAL);
    assert!(schedule.interval() < Duration::from_secs(70));
    let expected = schedule.longest_expected().as_secs_f64();
    assert!((500.0..600.0).contains(&expected), "{expected}");
    let now = schedule.hear(now, 300, 10, HOUR);
    schedule.count(now);
    assert_eq!(schedule.longest_expected(), longest(schedule.interval()));
}

#[test]
fn authors_that_are_invented_while_a_node_settles_do_no_more() {
    let start = Instant::now();
    let mut schedule = announced(start);
    let mut now = schedule.hear(start, 300, 10, MAX_INTERVAL - SHORT);
    let before = schedule.interval();
    schedule.counted_at = now;
    // So many that the next count comes when the node has just settled, and finds all of them.
    now = schedule.hear_invented(now, 36_000, SOON / 10);
    assert!(now > start + MAX_INTERVAL);
    assert!(schedule.interval() <= before.mul_f64(2.2));
}
