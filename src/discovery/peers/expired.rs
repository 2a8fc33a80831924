//! The peers that have expired lately, with the time of their last announcement.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use libp2p_identity::PeerId;

use crate::deadline::Instant;

/// Maximum number of expired authors that are remembered, the latest ones.
pub(super) const MAX_EXPIRED: usize = 4096;

/// The time for which each is remembered.
pub(super) const MEMORY: Duration = Duration::from_secs(60 * 60);

/// The past of an author that has returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Past {
    pub(super) expired_at: Instant,
    /// The time since its last announcement.
    pub(super) gap: Duration,
}

/// The authors that have expired within [`MEMORY`], at most [`MAX_EXPIRED`] of them, each with the time of its last
/// announcement.
#[derive(Debug, Default)]
pub(super) struct ExpiredAuthors {
    last_heard: HashMap<PeerId, (Instant, Instant)>,
    /// The authors by the time at which they expired.
    order: BTreeSet<(Instant, PeerId)>,
}

impl ExpiredAuthors {
    /// A peer has expired. It must not be an entry already.
    pub(super) fn insert(&mut self, now: Instant, peer: PeerId, last_heard: Instant) {
        while let Some(&(expired_at, oldest)) = self.order.first()
            && (self.order.len() >= MAX_EXPIRED || is_over(now, expired_at))
        {
            self.order.pop_first();
            self.last_heard.remove(&oldest);
        }
        self.order.insert((now, peer));
        self.last_heard.insert(peer, (now, last_heard));
    }

    /// A peer is back.
    pub(super) fn remove(&mut self, now: Instant, peer: &PeerId) -> Option<Past> {
        let (expired_at, last_heard) = self.last_heard.remove(peer)?;
        self.order.remove(&(expired_at, *peer));
        if is_over(now, expired_at) {
            return None;
        }
        let gap = now.checked_duration_since(last_heard)?;
        Some(Past { expired_at, gap })
    }
}

fn is_over(now: Instant, expired_at: Instant) -> bool {
    now.saturating_duration_since(expired_at) >= MEMORY
}

#[cfg(test)]
mod tests {
    use multiaddr::multihash::Multihash;

    use super::*;
    use crate::deadline;

    fn peer(seed: u32) -> PeerId {
        PeerId::from_multihash(Multihash::wrap(0, &seed.to_be_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn the_latest_are_remembered_for_an_hour() {
        let now = deadline::now();
        let mut expired = ExpiredAuthors::default();
        let count = u32::try_from(MAX_EXPIRED).unwrap();
        let at = |seed: u32| now + Duration::from_millis(seed.into());
        for seed in 0..count + 10 {
            expired.insert(at(seed), peer(seed), now);
            assert!(expired.order.len() <= MAX_EXPIRED);
            assert_eq!(expired.order.len(), expired.last_heard.len());
        }
        assert_eq!(
            expired.remove(at(count), &peer(9)),
            None,
            "the oldest are gone"
        );
        let later = at(count + 10);
        let past = |seed, later| Past {
            expired_at: at(seed),
            gap: later - now,
        };
        assert_eq!(expired.remove(later, &peer(10)), Some(past(10, later)));
        assert_eq!(expired.remove(later, &peer(10)), None, "it has come back");
        assert_eq!(expired.order.len(), MAX_EXPIRED - 1);

        let almost = at(11) + MEMORY - Duration::from_nanos(1);
        assert_eq!(expired.remove(almost, &peer(11)), Some(past(11, almost)));
        assert_eq!(expired.remove(at(12) + MEMORY, &peer(12)), None);
        // Entries older than an hour are removed.
        expired.insert(at(count + 10) + MEMORY, peer(0), now);
        assert_eq!(expired.order.len(), 1);
        assert_eq!(expired.last_heard.len(), 1);
    }

    #[test]
    fn a_clock_that_jumps_back_does_not_panic() {
        let now = deadline::now() + MEMORY;
        let mut expired = ExpiredAuthors::default();
        expired.insert(now, peer(1), now);
        expired.insert(now - MEMORY, peer(2), now);
        assert_eq!(expired.remove(now - MEMORY, &peer(1)), None);
    }
}
