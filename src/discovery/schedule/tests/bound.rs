//! How far the interval may grow.

use super::*;

const SOON: Duration = Duration::from_millis(10);

/// As many as a table of the default size holds.
const MOST: usize = 16_384;

impl Schedule {
    /// So many authors announce themselves that were not known before, one after the other. Returns when it ends.
    fn hear_invented(&mut self, mut now: Instant, authors: usize, pause: Duration) -> Instant {
        for _ in 0..authors {
            now += pause;
            self.on_announcement(now, true);
            self.on_known_peers(now, MOST.min(self.others + 1));
        }
        now
    }
}

#[test]
fn invented_authors_double_the_interval_of_a_settled_node_and_no_more() {
    let now = Instant::now();
    let mut schedule = announced(now);
    let mut now = schedule.hear(now, 300, 10, 2 * HOUR);
    let before = schedule.interval();
    for _ in 0..360 {
        now = schedule.hear_invented(now, 1_000, SOON);
        assert!(schedule.interval() <= 2 * before);
    }
    assert!(schedule.interval() > before.mul_f64(1.8));
    // Once it is over, it is over.
    schedule.hear(now, 300, 10, HOUR);
    assert!(schedule.interval() <= before.mul_f64(1.1));
}

#[test]
fn a_node_is_settled_when_the_number_of_peers_has_not_grown_for_eight_intervals() {
    let start = Instant::now();
    for (intervals, is_settled) in [(7, false), (9, true)] {
        let mut schedule = announced(start);
        let now = schedule.hear(start, 300, 100, Duration::from_secs(3));
        let interval = schedule.interval();
        let now = schedule.hear(now, 300, 10, intervals * interval);
        schedule.hear_invented(now, 60_000, SOON);
        let times = schedule.interval().as_secs_f64() / interval.as_secs_f64();
        match is_settled {
            true => assert!((1.8..2.2).contains(&times), "{times}"),
            false => assert_eq!(schedule.interval(), MAX_INTERVAL),
        }
    }
}

#[test]
fn who_starts_in_a_network_that_grows_is_not_bound_by_what_it_was() {
    let start = Instant::now();
    let mut schedule = announced(start);
    let mut now = start;
    // A fifth more each minute: not a quarter more within an interval, but soon many times as many.
    let mut authors = 200.0_f64;
    while now < start + MAX_INTERVAL - SHORT {
        for _ in 0..100 {
            now += Duration::from_millis(100);
            authors *= 1.0003;
            schedule.on_announcement(now, false);
            schedule.on_known_peers(now, authors as usize);
        }
        schedule.promise(now);
    }
    assert!(authors > 5_000.0);
    let ratio = schedule.interval().as_secs_f64() / (authors / 10.0);
    assert!((0.9..1.1).contains(&ratio), "{ratio}");
}

#[test]
fn who_has_been_alone_starts_over() {
    let start = Instant::now();
    // Its rounds come meanwhile, or it sleeps.
    for rounds in [100, 0] {
        let mut schedule = announced(start);
        let mut now = schedule.hear(start, 300, 10, 2 * HOUR);
        assert_eq!(schedule.promise(now), longest(schedule.interval()));
        schedule.on_known_peers(now, 0);
        for _ in 0..rounds {
            now += INTERVAL;
            if schedule.is_due(now) {
                schedule.on_outcome(now, Outcome::Published);
            }
        }
        now += HOUR;

        let soon = schedule.hear(now, 5_000, 10, 2 * INTERVAL);
        let interval = schedule.interval();
        assert_eq!(schedule.promise(soon), longest(2 * interval));
        schedule.hear(soon, 5_000, 10, 500 * Duration::from_secs(1));
        let interval = schedule.interval();
        assert!(interval > 40 * INTERVAL, "{interval:?}");
    }
}

#[test]
fn authors_that_are_invented_while_a_node_settles_do_no_more() {
    let start = Instant::now();
    let mut schedule = announced(start);
    let now = schedule.hear(start, 300, 100, Duration::from_secs(3));
    let before = schedule.interval();
    // It sleeps, and finds all of them at the moment when it has just settled.
    schedule.on_known_peers(now + 9 * before, MOST);
    assert_eq!(schedule.interval(), 2 * before);
}

#[test]
fn the_history_begins_with_what_the_interval_has_come_to() {
    let start = Instant::now();
    let mut schedule = announced(start);
    // Ten among whom a thousand come before the node has settled.
    let now = schedule.hear(start, 10, 10, 5 * INTERVAL);
    let now = schedule.hear(now, 1_000, 100, INTERVAL);
    let interval = schedule.interval();
    let now = schedule.hear(now, 1_000, 10, 9 * interval);
    schedule.on_known_peers(now, MOST);
    assert_eq!(schedule.interval(), 2 * interval);
}
