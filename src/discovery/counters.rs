/// How many announcements came in, by what became of them. They only ever grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
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
    /// Ignored since the neighbour delivers too many of known authors.
    pub ignored_neighbour_rate: u64,
    /// Ignored since the neighbour delivers too many of unknown authors. A few are normal while joining a large
    /// network; a steady flow means that somebody invents identities.
    pub ignored_newcomer_rate: u64,
    /// Ignored since too many neighbours deliver at once.
    pub ignored_neighbours_full: u64,
    /// Ignored since they are longer than `Config::max_message_size`, or list more than 256 addresses.
    pub ignored_oversized: u64,
    /// Ignored since the author is known by a later announcement.
    pub ignored_outdated: u64,
    /// Rejected since they are no announcements.
    pub rejected_malformed: u64,
    /// Rejected since they are about somebody else than their author.
    pub rejected_foreign_key: u64,
}

impl Counters {
    /// All that were ignored, for whichever reason.
    pub fn ignored(&self) -> u64 {
        self.ignored_unauthenticated
            + self.ignored_own
            + self.ignored_author_rate
            + self.ignored_neighbour_rate
            + self.ignored_newcomer_rate
            + self.ignored_neighbours_full
            + self.ignored_oversized
            + self.ignored_outdated
    }

    /// All that were rejected, for whichever reason.
    pub fn rejected(&self) -> u64 {
        self.rejected_malformed + self.rejected_foreign_key
    }
}
