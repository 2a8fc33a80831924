use super::{AnnounceOutcome, SkipReason};

/// How many announcements were made and came in, by what became of them, and what they have changed. All but `known`,
/// `hubs` and `hubs_connected` only ever grow.
///
/// Each announcement that is due, or that the application asks for, counts once: as announced, as delayed or as skipped.
/// Each message that comes in on a topic of discovery counts once: as accepted or as ignored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Made: at least one topic took it. Those of a node that only dials, which list no addresses, are among them.
    pub announced: u64,
    /// Put off, since the application asked for it within the minimum gap, or since no topic took it. It follows by
    /// itself, and counts again then.
    pub delayed: u64,
    /// Skipped since no listener has an address, and no external address is confirmed.
    pub skipped_no_listeners: u64,
    /// Skipped since no address passes the filter.
    pub skipped_nothing_left: u64,
    /// Skipped since nobody is subscribed. A few are normal before the first connection; later they mean that this node
    /// is connected to nobody who takes part.
    pub skipped_no_subscribers: u64,
    /// Asked for by the application, and skipped since this node keeps silent by `Config::with_listen_only`.
    pub skipped_listen_only: u64,
    /// How often a topic did not take an announcement although somebody is subscribed to it.
    pub publish_failures: u64,
    /// Believed, whether or not they changed anything.
    pub accepted: u64,
    /// Of those that are accepted: they came again, on another topic or late.
    pub repeated: u64,
    /// Of those that are accepted: their author was unknown and there was no room for another peer.
    pub not_kept: u64,
    /// Ignored since the pubsub does not vouch for their author.
    pub ignored_unauthenticated: u64,
    /// Ignored since they are our own.
    pub ignored_own: u64,
    /// Ignored since their author, who is known, sends too many.
    pub ignored_author_rate: u64,
    /// Ignored since the neighbour delivers too many of unknown authors. A few are normal while joining a large
    /// network; a steady flow means that somebody invents identities.
    pub ignored_newcomer_rate: u64,
    /// Ignored since they are longer than 16 KiB, or list more than 256 addresses.
    pub ignored_oversized: u64,
    /// Ignored since the author is known by a later announcement.
    pub ignored_outdated: u64,
    /// Ignored because they are no announcements.
    pub ignored_malformed: u64,
    /// Ignored because they are about another peer than their author.
    pub ignored_foreign_key: u64,
    /// Addresses of accepted announcements that were left out: unreadable, repeated, somebody else's, of no use by
    /// `Config::with_received_filter`, or more than `Config::with_max_addresses` allows. Those that an author repeats with
    /// each announcement count each time.
    pub dropped_addresses: u64,
    /// Peers that were not known before.
    pub discovered: u64,
    /// Known peers that have announced other addresses.
    pub updated: u64,
    /// Peers that were known and have fallen silent, or have had to make room.
    pub expired: u64,
    /// How often a neighbour was muted for ten seconds, see [`PubSub::set_muted`](super::PubSub::set_muted).
    pub muted: u64,
    /// How many peers are known now.
    pub known: u64,
    /// How many hubs are named now; several addresses of one peer id count once.
    pub hubs: u64,
    /// How many of them are connected now.
    pub hubs_connected: u64,
    /// How often a hub was not reached, or not for two minutes.
    pub hub_failures: u64,
}

impl Counters {
    /// All that were skipped, for whichever reason.
    pub fn skipped(&self) -> u64 {
        self.skipped_no_listeners
            + self.skipped_nothing_left
            + self.skipped_no_subscribers
            + self.skipped_listen_only
    }

    /// All that were ignored, for whichever reason.
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

    /// With what became of the own announcements.
    pub(super) fn with_rounds(self, rounds: Rounds) -> Self {
        let Rounds {
            announced,
            delayed,
            skipped_no_listeners,
            skipped_nothing_left,
            skipped_no_subscribers,
            skipped_listen_only,
            publish_failures,
        } = rounds;
        Self {
            announced,
            delayed,
            skipped_no_listeners,
            skipped_nothing_left,
            skipped_no_subscribers,
            skipped_listen_only,
            publish_failures,
            ..self
        }
    }
}

/// The part of [`Counters`] that is about the own announcements.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rounds {
    announced: u64,
    delayed: u64,
    skipped_no_listeners: u64,
    skipped_nothing_left: u64,
    skipped_no_subscribers: u64,
    skipped_listen_only: u64,
    publish_failures: u64,
}

impl Rounds {
    /// An announcement was due, or asked for.
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

    /// A topic did not take it.
    pub(super) fn on_publish_failed(&mut self) {
        self.publish_failures += 1;
    }
}
