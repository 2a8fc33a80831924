//! What the neighbours show of how many there are.

use std::{collections::HashMap, time::Duration};

use libp2p_identity::PeerId;

use crate::deadline::{Instant, after};

/// Bounds the memory to about half a MiB.
pub(super) const MAX_NEIGHBOURS: usize = 4096;

/// Which part of the neighbours has to have been there for long. In a network that stays about as large, whose nodes stay
/// for four hours on average, three quarters have; in one that has become ten times as large, a tenth.
const PART: usize = 3;

/// The peers that are connected and announce themselves by our rules.
///
/// Authors can be invented, neighbours cannot: each is a connection. So whoever does not know yet how many there are may
/// go by those who do, and whoever has many neighbours knows that at least those are there.
#[derive(Debug, Default)]
pub(super) struct Neighbours(HashMap<PeerId, Neighbour>);

#[derive(Debug)]
struct Neighbour {
    /// The longest of durations if it has not been there for long.
    baseline: Duration,
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
        let neighbour = Neighbour {
            baseline: baseline.unwrap_or(Duration::MAX),
            until: after(now, time),
        };
        self.0.insert(*peer, neighbour);
    }

    pub(super) fn on_gone(&mut self, peer: &PeerId) {
        self.0.remove(peer);
    }

    /// How many there are.
    pub(super) fn count(&self, now: Instant) -> usize {
        self.baselines(now).count()
    }

    /// The least baseline that at least a third of them keep to, if so many have been there for long enough to have one.
    pub(super) fn baseline(&self, now: Instant) -> Option<Duration> {
        let mut baselines: Vec<_> = self.baselines(now).collect();
        let at = baselines.len().div_ceil(PART).checked_sub(1)?;
        let (_, baseline, _) = baselines.select_nth_unstable(at);
        (*baseline < Duration::MAX).then_some(*baseline)
    }

    fn baselines(&self, now: Instant) -> impl Iterator<Item = Duration> {
        let neighbours = self.0.values();
        neighbours
            .filter(move |neighbour| neighbour.until > now)
            .map(|neighbour| neighbour.baseline)
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
    fn a_third_of_the_neighbours_says_how_often_one_announces_oneself() {
        let now = deadline::now();
        for (baselines, expected) in [
            (&[][..], None),
            (&[0], None),
            (&[7], Some(7)),
            (&[0, 9, 0], Some(9)),
            (&[0, 9, 0, 0], None),
            (&[9, 0, 0, 7], Some(9)),
            (&[3, 50, 40, 60, 2_000, 0], Some(40)),
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
