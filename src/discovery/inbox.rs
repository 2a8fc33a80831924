//! CORE: whether an incoming message is accepted, and what it changes.

use std::{error::Error, num::NonZeroUsize};

use libp2p_identity::PeerId;

use super::{
    Counters, MessageAcceptance,
    filter::{Filter, Offered},
    message::{self, Announcement, DecodeError},
    peers::{Heard, Lifetimes, Peers, Source},
    rate::Rate,
};
use crate::deadline::Instant;

mod mutes;

use mutes::Mutes;
pub(crate) use mutes::Muting;

/// The limits on accepted messages.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Maximum size of a message that is read, in bytes.
    pub(crate) max_message_size: usize,
    /// Selects the addresses of an announcement that are kept.
    pub(crate) filter: Filter,
    /// Maximum number of kept addresses, the most useful first.
    pub(crate) max_addresses: usize,
    /// Maximum number of known peers.
    pub(crate) capacity: NonZeroUsize,
    /// The time to live of a peer after its last announcement.
    pub(crate) lifetimes: Lifetimes,
    /// The rate at which one known author may send.
    pub(crate) author_rate: Rate,
    /// The rate at which one neighbour may deliver messages of unknown authors.
    pub(crate) newcomer_rate: Rate,
}

/// One message of the topic, as the pubsub delivered it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Incoming<'a> {
    /// The propagation source.
    pub(crate) neighbour: PeerId,
    /// The verified author; `None` if the pubsub has not verified a signature.
    pub(crate) author: Option<PeerId>,
    pub(crate) payload: &'a [u8],
}

/// The outcome of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The verdict for the pubsub.
    pub(crate) acceptance: MessageAcceptance,
    /// The change of the table. Accepted messages may change nothing.
    pub(crate) change: Option<Change>,
    /// Set if the message is accepted and not a duplicate.
    pub(crate) news: Option<News>,
}

/// A change of the table, whose row has the details.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// The peer was not known before.
    Discovered(PeerId),
    /// The peer was known with other addresses.
    Updated(PeerId),
}

/// The author of a message has announced itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct News {
    /// Whether it was not known before, and is now.
    pub(crate) is_newcomer: bool,
    /// See [`Announcement::is_solicitation`](message::Announcement::is_solicitation).
    pub(crate) is_solicitation: bool,
}

/// The reason for which a message is refused.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("the pubsub has not verified the author")]
    Unauthenticated,
    #[error("it is our own")]
    Own,
    #[error("the author exceeds its rate")]
    AuthorRate,
    #[error("the neighbour exceeds its rate for unknown authors")]
    NewcomerRate,
    #[error(transparent)]
    Oversized(DecodeError),
    #[error("a later one is known")]
    Outdated,
    #[error(transparent)]
    Malformed(DecodeError),
    #[error("it is about another peer than its author")]
    ForeignKey,
}

impl Refused {
    fn counter<'a>(&self, counters: &'a mut Counters) -> &'a mut u64 {
        match self {
            Self::Unauthenticated => &mut counters.ignored_unauthenticated,
            Self::Own => &mut counters.ignored_own,
            Self::AuthorRate => &mut counters.ignored_author_rate,
            Self::NewcomerRate => &mut counters.ignored_newcomer_rate,
            Self::Oversized(_) => &mut counters.ignored_oversized,
            Self::Outdated => &mut counters.ignored_outdated,
            Self::Malformed(_) => &mut counters.ignored_malformed,
            Self::ForeignKey => &mut counters.ignored_foreign_key,
        }
    }
}

/// Judges incoming messages and keeps the table of known peers.
///
/// Accepts what an author says about itself, within two rates: that of the author if it is known, otherwise that of the
/// neighbour that delivers it. Invented identities therefore use up only the allowance for newcomers. Rates are checked
/// before decoding, so that a flood costs a look-up or two per message.
///
/// A due announcement of a known peer passes without charge, so that no flood makes a peer expire. These are at most two an
/// interval for each row. If the announcement turns out to be old or a duplicate, it is charged after all, because any peer
/// can replay announcements of others. If it is malformed, or about another peer, its author is to blame: until the author's
/// next good one, all of its messages are charged before they are read. The neighbour that delivers such a message is
/// charged as for a newcomer.
///
/// A neighbour that delivers more newcomers than allowed is muted for a while if there are enough others, see [`Muting`],
/// and may fill at most a quarter of the table.
///
/// The inputs are [`Inbox::on_message`], [`Inbox::on_own_reach`], and the changes of neighbours and their subscriptions.
/// The outputs are [`Inbox::pop_expired`], that of [`Peers`], and [`Inbox::pop_muting`], which is called until it returns
/// `None`, after each input and whenever the time of [`Inbox::next_timeout`] has come.
#[derive(Debug)]
pub(crate) struct Inbox {
    local: PeerId,
    /// Whether this node has a public address.
    is_public: bool,
    settings: Settings,
    peers: Peers,
    mutes: Mutes,
    counters: Counters,
}

impl Inbox {
    /// Without known peers. `local` is this node.
    pub(crate) fn new(local: PeerId, settings: Settings) -> Self {
        Self {
            local,
            is_public: false,
            peers: Peers::new(settings.capacity, settings.lifetimes),
            settings,
            mutes: Mutes::default(),
            counters: Counters::default(),
        }
    }

    /// Sets the rate of one known author.
    pub(crate) fn set_author_rate(&mut self, rate: Rate) {
        self.settings.author_rate = rate;
    }

    /// A message has arrived.
    pub(crate) fn on_message(&mut self, now: Instant, incoming: Incoming<'_>) -> Outcome {
        match self.hear(now, incoming) {
            Ok(outcome) => {
                self.counters.accepted += 1;
                match outcome.change {
                    Some(Change::Discovered(_)) => self.counters.discovered += 1,
                    Some(Change::Updated(_)) => self.counters.updated += 1,
                    None => {}
                }
                outcome
            }
            Err(refused) => {
                *refused.counter(&mut self.counters) += 1;
                let Incoming {
                    neighbour, author, ..
                } = incoming;
                tracing::debug!(
                    %neighbour,
                    ?author,
                    error = &refused as &dyn Error,
                    "announcement refused"
                );
                Outcome {
                    // The neighbour that delivers it need not have validated it: js-libp2p forwards without validation,
                    // and so does gossipsub by default.
                    acceptance: MessageAcceptance::Ignore,
                    change: None,
                    news: None,
                }
            }
        }
    }

    /// The own addresses have changed. Known peers stay unchanged until their next announcement.
    pub(crate) fn on_own_reach(&mut self, is_public: bool) {
        self.is_public = is_public;
    }

    /// A peer has connected.
    pub(crate) fn on_neighbour(&mut self, neighbour: PeerId) {
        self.mutes.on_connected(neighbour);
    }

    /// A peer has subscribed to a topic of discovery. Ignored unless it is connected.
    pub(crate) fn on_subscribed(&mut self, neighbour: &PeerId, topic: &str) {
        self.mutes.on_subscribed(neighbour, topic);
    }

    /// A peer has unsubscribed from a topic of discovery.
    pub(crate) fn on_unsubscribed(&mut self, neighbour: &PeerId, topic: &str) {
        self.mutes.on_unsubscribed(neighbour, topic);
    }

    /// A topic of discovery was removed.
    pub(crate) fn on_topic_removed(&mut self, topic: &str) {
        self.mutes.on_topic_removed(topic);
    }

    /// A neighbour has disconnected.
    ///
    /// If it returns, its rates start again. A fresh identity would have the same effect, so only the application's limit on
    /// connections bounds that.
    pub(crate) fn on_neighbour_gone(&mut self, neighbour: &PeerId) {
        self.mutes.on_disconnected(neighbour);
    }

    /// A neighbour has lost one of several connections.
    pub(crate) fn on_connection_lost(&mut self, neighbour: &PeerId) {
        self.mutes.on_connection_lost(neighbour);
    }

    /// The time at which the next known peer expires, or the next neighbour is unmuted.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let timeouts = [self.peers.next_timeout(), self.mutes.next_timeout()];
        timeouts.into_iter().flatten().min()
    }

    /// The next neighbour to mute or unmute.
    pub(crate) fn pop_muting(&mut self, now: Instant) -> Option<Muting> {
        let muting = self.mutes.pop(now)?;
        self.counters.muted += u64::from(matches!(muting, Muting::Mute(_)));
        tracing::debug!(?muting, "too many newcomers, or malformed announcements");
        Some(muting)
    }

    /// Removes one expired peer.
    pub(crate) fn pop_expired(&mut self, now: Instant) -> Option<PeerId> {
        let expired = self.peers.pop_expired(now)?;
        self.counters.expired += 1;
        Some(expired)
    }

    /// Who is known.
    pub(crate) fn peers(&self) -> &Peers {
        &self.peers
    }

    /// The table, for the results of dials.
    pub(crate) fn peers_mut(&mut self) -> &mut Peers {
        &mut self.peers
    }

    /// The counters of messages and peers.
    pub(crate) fn counters(&self) -> Counters {
        Counters {
            known: self.peers.iter().len() as u64,
            ..self.counters
        }
    }

    fn hear(&mut self, now: Instant, incoming: Incoming<'_>) -> Result<Outcome, Refused> {
        let Incoming {
            neighbour,
            author,
            payload,
        } = incoming;
        let author = author.ok_or(Refused::Unauthenticated)?;
        if author == self.local {
            return Err(Refused::Own);
        }
        let is_due = self.peers.is_due(now, &author);
        if is_due != Some(true) {
            self.charge(now, author, neighbour)?;
        }
        let announcement = match self.read(author, payload) {
            Ok(announcement) => announcement,
            Err(refused) => {
                self.peers.on_unreadable(&author);
                if !matches!(refused, Refused::Oversized(_)) {
                    let is_paid = is_due.is_none() && author != neighbour;
                    self.on_malformed(now, author, neighbour, is_paid);
                }
                return Err(refused);
            }
        };
        let source = match author == neighbour {
            true => Source::Author,
            false => Source::Forwarder {
                neighbour,
                is_limited: self.mutes.has_others(&neighbour),
            },
        };
        let is_solicitation = announcement.is_solicitation();
        let dropped = announcement.dropped as u64;
        let heard = self.peers.on_announcement(now, announcement, source);
        if matches!(heard, Heard::Repeated | Heard::Outdated) && is_due == Some(true) {
            self.charge(now, author, neighbour)?;
        }
        let change = match heard {
            Heard::Discovered => Some(Change::Discovered(author)),
            Heard::Updated => Some(Change::Updated(author)),
            Heard::Refreshed => None,
            // A node with more room may keep it.
            Heard::Full => {
                self.counters.not_kept += 1;
                None
            }
            Heard::Repeated => {
                self.counters.repeated += 1;
                None
            }
            Heard::Outdated => return Err(Refused::Outdated),
        };
        self.counters.dropped_addresses += dropped;
        Ok(Outcome {
            acceptance: MessageAcceptance::Accept,
            change,
            news: (heard != Heard::Repeated).then_some(News {
                is_newcomer: heard == Heard::Discovered,
                is_solicitation,
            }),
        })
    }

    /// Decodes what the author says about itself.
    fn read(&self, author: PeerId, payload: &[u8]) -> Result<Announcement, Refused> {
        let Settings {
            max_message_size,
            filter,
            max_addresses,
            ..
        } = &self.settings;
        let announcement = message::decode(payload, *max_message_size, |offered| {
            filter.select(self.is_public, *max_addresses, offered.map(Offered::from))
        })
        .map_err(|error| match error {
            DecodeError::TooLarge { .. } | DecodeError::TooManyAddresses { .. } => {
                Refused::Oversized(error)
            }
            _ => Refused::Malformed(error),
        })?;
        if announcement.peer != author {
            return Err(Refused::ForeignKey);
        }
        Ok(announcement)
    }

    /// Charges the message to its author, or to its neighbour if the author is not known.
    fn charge(&mut self, now: Instant, author: PeerId, neighbour: PeerId) -> Result<(), Refused> {
        let Settings {
            author_rate,
            newcomer_rate,
            ..
        } = self.settings;
        if let Some(is_within) = self.peers.try_take(now, &author, author_rate) {
            return is_within.then_some(()).ok_or(Refused::AuthorRate);
        }
        let is_connected = self.mutes.is_connected(&neighbour);
        let allowance = self.mutes.allowance(&neighbour);
        // A connected peer that delivers its own announcement is not invented.
        if author == neighbour && is_connected {
            let is_within = allowance.own.try_take(now, author_rate);
            return is_within.then_some(()).ok_or(Refused::AuthorRate);
        }
        if !allowance.newcomers.try_take(now, newcomer_rate) {
            self.mutes.on_greedy(now, &neighbour);
            return Err(Refused::NewcomerRate);
        }
        Ok(())
    }

    /// The author has sent something other than an announcement of its own. Its neighbour is charged as for a newcomer,
    /// unless it has been.
    fn on_malformed(&mut self, now: Instant, author: PeerId, neighbour: PeerId, is_paid: bool) {
        let rate = self.settings.newcomer_rate;
        let allowance = self.mutes.allowance(&neighbour);
        let is_within = is_paid || allowance.newcomers.try_take(now, rate);
        if !is_within || author == neighbour {
            self.mutes.on_greedy(now, &neighbour);
        }
    }
}

#[cfg(test)]
mod tests;
