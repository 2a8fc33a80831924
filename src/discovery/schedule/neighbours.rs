//! What the neighbours show of how many there are.

use std::{collections::HashMap, time::Duration};

use libp2p_identity::PeerId;

use crate::deadline::{Instant, after};

/// Bounds the memory to about a MiB.
pub(super) const MAX_NEIGHBOURS: usize = 4096;

/// Which part of the neighbours has to have been there for long. In a network that stays about as large, whose nodes stay
/// for four hours on average, three quarters have; in one that has become ten times as large, a tenth.
const PART: usize = 3;

/// The peers that are connected and announce themselves by our rules.
///
/// An author costs nobody anything, a neighbour costs a connection. So whoever does not know yet how many there are may go
/// by those who do, and whoever has many neighbours knows that at least those are there.
#[derive(Debug, Default)]
pub(super) struct Neighbours(HashMap<PeerId, Neighbour>);

#[derive(Debug)]
struct Neighbour {
    baseline: Option<Duration>,
    since: Instant,
    until: Instant,
}

impl Neighbours {
    /// A neighbour has announced itself. It is counted for `time`, unless it goes before or announces itself again.
    pub(super) fn on_announcement(
        &mut self,
        now: Instant,
        peer: &PeerId,
        baseline: Option<Duration>,
        time: Duration,
    ) {
        if self.0.len() >= MAX_NEIGHBOURS && !self.0.contains_key(peer) {
            self.0.retain(|_, neighbour| neighbour.until > now);
            if self.0.len() >= MAX_NEIGHBOURS {
                return;
            }
        }
        let until = after(now, time);
        let neighbour = self.0.entry(*peer).or_insert(Neighbour {
            baseline,
            since: now,
            until,
        });
        neighbour.baseline = baseline;
        neighbour.until = until;
    }

    pub(super) fn on_gone(&mut self, peer: &PeerId) {
        self.0.remove(peer);
    }

    /// How many there are.
    pub(super) fn count(&self, now: Instant) -> usize {
        self.there(now).count()
    }

    /// The baseline in the middle of those that they give, if so many have one; the lesser of two.
    pub(super) fn baseline(&self, now: Instant) -> Option<Duration> {
        let there = self.there(now);
        let mut baselines: Vec<_> = there.filter_map(|neighbour| neighbour.baseline).collect();
        if !self.are_enough(now, baselines.len()) {
            return None;
        }
        let middle = baselines.len().checked_sub(1)? / 2;
        let (_, baseline, _) = baselines.select_nth_unstable(middle);
        Some(*baseline)
    }

    /// Whether they are for the most part others than `time` ago.
    pub(super) fn are_new(&self, now: Instant, time: Duration) -> bool {
        let is_old =
            |neighbour: &&Neighbour| now.saturating_duration_since(neighbour.since) >= time;
        !self.are_enough(now, self.there(now).filter(is_old).count())
    }

    fn are_enough(&self, now: Instant, part: usize) -> bool {
        part * PART >= self.count(now)
    }

    fn there(&self, now: Instant) -> impl Iterator<Item = &Neighbour> {
        let neighbours = self.0.values();
        neighbours.filter(move |neighbour| neighbour.until > now)
    }
}

#[cfg(test)]
mod tests {
    use multiaddr::multihash::Multihash;

    use super::*;
    use crate::deadline;

    const SECOND: Duration = Duration::from_secs(1);

    fn peer(number: usize) -> PeerId {
        PeerId::from_multihash(Multihash::wrap(0, &number.to_be_bytes()).unwrap()).unwrap()
    }

    /// One with each of these baselines in seconds, 0 for none.
    fn neighbours(now: Instant, baselines: &[u32]) -> Neighbours {
        let mut neighbours = Neighbours::default();
        for (number, &seconds) in baselines.iter().enumerate() {
            let baseline = (seconds > 0).then_some(seconds * SECOND);
            neighbours.on_announcement(now, &peer(number), baseline, SECOND);
        }
        neighbours
    }

    #[test]
    fn if_a_third_of_the_neighbours_has_a_baseline_the_one_in_the_middle_counts() {
        let now = deadline::now();
        for (baselines, expected) in [
            (&[][..], None),
            (&[0], None),
            (&[7], Some(7)),
            (&[9, 7], Some(7)),
            (&[0, 9, 0], Some(9)),
            (&[0, 9, 0, 0], None),
            (&[9, 0, 0, 7], Some(7)),
            // One that lies decides nothing, in whichever direction.
            (&[1, 50, 40], Some(40)),
            (&[2_000, 50, 40], Some(50)),
            (&[0; 9], None),
        ] {
            let baseline = neighbours(now, baselines).baseline(now);
            assert_eq!(baseline, expected.map(|seconds| seconds * SECOND));
        }
    }

    #[test]
    fn the_last_announcement_of_a_neighbour_counts_until_it_goes_or_falls_silent() {
        let now = deadline::now();
        let mut neighbours = neighbours(now, &[5, 7]);
        neighbours.on_announcement(now, &peer(0), Some(6 * SECOND), 2 * SECOND);
        neighbours.on_gone(&peer(9));
        assert_eq!(
            (neighbours.count(now), neighbours.baseline(now)),
            (2, Some(6 * SECOND))
        );
        neighbours.on_gone(&peer(0));
        assert_eq!(
            (neighbours.count(now), neighbours.baseline(now)),
            (1, Some(7 * SECOND))
        );
        assert_eq!(neighbours.count(now + SECOND), 0);
        assert_eq!(neighbours.baseline(now + SECOND), None);
    }

    #[test]
    fn who_stays_is_old_and_who_comes_back_is_new() {
        let now = deadline::now();
        let later = now + SECOND / 2;
        let mut neighbours = neighbours(now, &[0; 4]);
        assert!(neighbours.are_new(now, SECOND / 2));
        assert!(!neighbours.are_new(later, SECOND / 2));
        for number in 0..3 {
            if number != 1 {
                neighbours.on_gone(&peer(number));
            }
            neighbours.on_announcement(later, &peer(number), None, SECOND);
        }
        assert!(!neighbours.are_new(later, SECOND / 2));
        neighbours.on_announcement(later, &peer(4), None, SECOND);
        neighbours.on_announcement(later, &peer(5), None, SECOND);
        assert!(!neighbours.are_new(later, SECOND / 2));
        neighbours.on_announcement(later, &peer(6), None, SECOND);
        assert!(neighbours.are_new(later, SECOND / 2));
    }

    #[test]
    fn there_are_no_more_than_can_be_counted() {
        let now = deadline::now();
        let mut neighbours = neighbours(now, &[1; MAX_NEIGHBOURS]);
        let one_more = peer(MAX_NEIGHBOURS);
        neighbours.on_announcement(now, &one_more, None, SECOND);
        assert_eq!(neighbours.count(now), MAX_NEIGHBOURS);
        assert!(!neighbours.0.contains_key(&one_more));
        // One of them may still say something else, and who has fallen silent makes room.
        neighbours.on_announcement(now, &peer(0), None, 2 * SECOND);
        neighbours.on_announcement(now + SECOND, &one_more, None, SECOND);
        assert_eq!(neighbours.0.len(), 2);
    }
}
