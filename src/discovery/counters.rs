use super::{AnnounceOutcome, SkipReason};

/// Counters of sent and received announcements, of peers and of hubs. All except `known`, `hubs` and `hubs_connected` are
/// monotonic.
///
/// Each announcement that is due or requested by the application counts once, as announced, delayed or skipped. Each
/// message received on a topic of discovery counts once, as accepted or ignored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Announcements that at least one topic took, including empty ones of a node that only dials.
    pub announced: u64,
    /// Announcements that were postponed, because the application requested them within the minimum gap or because no
    /// topic took them. They count again when they are made.
    pub delayed: u64,
    /// Announcements skipped because no listener has an address and no external address is confirmed.
    pub skipped_no_listeners: u64,
    /// Announcements skipped because no address passes the filter.
    pub skipped_nothing_left: u64,
    /// Announcements skipped because no peer is subscribed. A few are normal before the first connection. Later ones mean
    /// that no connected peer takes part in discovery.
    pub skipped_no_subscribers: u64,
    /// Requested announcements skipped because of `Config::with_listen_only`.
    pub skipped_listen_only: u64,
    /// Announcements that a topic with subscribers did not take.
    pub publish_failures: u64,
    /// Received announcements that were accepted, whether or not they changed anything.
    pub accepted: u64,
    /// Accepted announcements that were duplicates, on another topic or late.
    pub repeated: u64,
    /// Accepted announcements of unknown peers for which the table had no room.
    pub not_kept: u64,
    /// Messages ignored because the pubsub has not authenticated their author.
    pub ignored_unauthenticated: u64,
    /// Messages ignored because this node is their author.
    pub ignored_own: u64,
    /// Announcements ignored because their author, a known peer, sends too many.
    pub ignored_author_rate: u64,
    /// Announcements ignored because the neighbour exceeds `Config::with_newcomer_rate`. A few are normal while joining a
    /// large network. A steady flow means invented identities.
    pub ignored_newcomer_rate: u64,
    /// Messages ignored because they are longer than 16 KiB or list more than 256 addresses.
    pub ignored_oversized: u64,
    /// Announcements ignored because a later one of the same author is known.
    pub ignored_outdated: u64,
    /// Messages ignored because they cannot be decoded.
    pub ignored_malformed: u64,
    /// Announcements ignored because they carry the key of another peer than their author.
    pub ignored_foreign_key: u64,
    /// Addresses of accepted announcements that were dropped: unreadable, repeated, of another peer, refused by
    /// `Config::with_received_filter`, or beyond `Config::with_max_addresses`. An address that is announced again counts
    /// again.
    pub dropped_addresses: u64,
    /// Peers that were discovered.
    pub discovered: u64,
    /// Known peers that have announced other addresses.
    pub updated: u64,
    /// Peers whose entry expired.
    pub expired: u64,
    /// The number of times that a neighbour was muted for ten seconds, see [`PubSub::set_muted`](super::PubSub::set_muted).
    pub muted: u64,
    /// The number of known peers.
    pub known: u64,
    /// The number of configured hubs. Several addresses of one peer id count once.
    pub hubs: u64,
    /// The number of connected hubs.
    pub hubs_connected: u64,
    /// Failed dials of hubs, including connections of less than two minutes.
    pub hub_failures: u64,
}

impl Counters {
    /// The number of skipped announcements, for any reason.
    pub fn skipped(&self) -> u64 {
        self.skipped_no_listeners
            + self.skipped_nothing_left
            + self.skipped_no_subscribers
            + self.skipped_listen_only
    }

    /// The number of ignored messages, for any reason.
    pub fn ignored(&self) -> u64 {
        self.ignored_unauthenticated
            + self.ignored_own
            + self.ignored_author_rate
            + self.ignored_newcomer_rate
            + self.ignored_oversized
            + self.ignored_outdated
            + self.ignored_malformed
            + self.ignored_foreign_key
    }

    /// Adds the counters of the own announcements from `rounds`.
    pub(super) fn with_rounds(self, rounds: Self) -> Self {
        Self {
            announced: rounds.announced,
            delayed: rounds.delayed,
            skipped_no_listeners: rounds.skipped_no_listeners,
            skipped_nothing_left: rounds.skipped_nothing_left,
            skipped_no_subscribers: rounds.skipped_no_subscribers,
            skipped_listen_only: rounds.skipped_listen_only,
            publish_failures: rounds.publish_failures,
            ..self
        }
    }

    /// An announcement was due or requested.
    pub(super) fn on_announced(&mut self, announced: AnnounceOutcome) {
        let counter = match announced {
            AnnounceOutcome::Published => &mut self.announced,
            AnnounceOutcome::Delayed { .. } => &mut self.delayed,
            AnnounceOutcome::Skipped(SkipReason::NoListeners) => &mut self.skipped_no_listeners,
            AnnounceOutcome::Skipped(SkipReason::NothingLeft) => &mut self.skipped_nothing_left,
            AnnounceOutcome::Skipped(SkipReason::NoSubscribers) => &mut self.skipped_no_subscribers,
            AnnounceOutcome::Skipped(SkipReason::ListenOnly) => &mut self.skipped_listen_only,
        };
        *counter += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rounds_are_added_to_what_was_heard() {
        let rounds = Counters {
            announced: 1,
            delayed: 2,
            skipped_no_listeners: 3,
            skipped_nothing_left: 4,
            skipped_no_subscribers: 5,
            skipped_listen_only: 6,
            publish_failures: 7,
            ..Counters::default()
        };
        let (known, accepted) = (8, 9);
        let heard = Counters {
            known,
            accepted,
            ..Counters::default()
        };
        let expected = Counters {
            known,
            accepted,
            ..rounds
        };
        assert_eq!(heard.with_rounds(rounds), expected);
    }
}
