//! CORE: which peers other than hubs to dial, so that there are enough connections to subscribers.
//!
//! Candidates are the rows of the table of known peers, and when none of these is left, the saved ones. Like
//! [`Dialer`](super::Dialer), which owns them and knows who is connected, [`Candidates`] are told what happens and say whom
//! to dial.

use std::{collections::HashMap, time::Duration};

use libp2p_identity::PeerId;
use libp2p_swarm::{ConnectionId, DialError};
use multiaddr::Multiaddr;
use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};

use super::{
    dial::{Dial, STEADY},
    failure::Failure,
    saved::Saved,
};
use crate::{
    deadline::{Instant, after},
    discovery::{
        SavedPeer,
        peers::Peers,
        rate::{Bucket, Rate},
    },
};

/// Maximum number of pending attempts. Each may hold as many sockets as the swarm dials addresses of one peer at a time,
/// by default eight.
pub(super) const MAX_ATTEMPTS: usize = 8;

/// The rate of searches through the table for a candidate, and so of dials. It bounds the cost of a table full of
/// unreachable addresses, in dials and in time: a search visits all rows.
const LOOKS: Rate = Rate::new(MAX_ATTEMPTS as u32, Duration::from_millis(500));

/// The first dial after a connection is missing is delayed by a random part of this. Meanwhile more candidates arrive,
/// so that nodes that lack a connection at the same moment do not all dial the peer that they heard first.
pub(super) const SPREAD: Duration = Duration::from_secs(1);

/// The time that a dialled peer may take to subscribe before another one is dialled as well.
pub(super) const GRACE: Duration = Duration::from_secs(10);

pub(super) const FIRST_DELAY: Duration = Duration::from_secs(10);
pub(super) const MAX_DELAY: Duration = Duration::from_secs(600);

/// The random part of a delay.
pub(super) const JITTER: f64 = 0.25;

/// Decides which candidates to dial, and how many connections are missing.
#[derive(Debug)]
pub(super) struct Candidates {
    /// The wanted number of connections to subscribers; 0 to dial no candidate.
    pub(super) target: usize,
    /// Whether there is a topic. Without one, no peer can be subscribed.
    has_topics: bool,
    /// The number of connected peers that are subscribed to a topic.
    pub(super) subscribers: usize,
    /// At most [`MAX_ATTEMPTS`].
    pub(super) attempts: HashMap<PeerId, Attempt>,
    /// Only for peers in the table and saved ones, which bounds the number.
    pub(super) backoffs: HashMap<PeerId, Backoff>,
    rng: SmallRng,
    looks: Bucket,
    /// The time of the next search. `None` while no connection is missing, or there is no candidate.
    look_at: Option<Instant>,
    /// The saved peers that have not been heard since the restart.
    saved: Saved,
}

#[derive(Debug)]
pub(super) enum Attempt {
    Dialling(ConnectionId),
    /// Connected, and not subscribed yet.
    Connected {
        until: Instant,
    },
}

/// The backoff of a peer after failed dials.
#[derive(Debug)]
pub(super) struct Backoff {
    pub(super) failures: u32,
    until: Instant,
    /// Whether this node supports none of its addresses: no attempt is made until they change.
    is_futile: bool,
}

impl Candidates {
    pub(super) fn new(target: usize, saved: Saved, seed: u64, now: Instant) -> Self {
        let mut candidates = Self {
            target,
            has_topics: true,
            subscribers: 0,
            attempts: HashMap::new(),
            backoffs: HashMap::new(),
            rng: SmallRng::seed_from_u64(seed),
            looks: Bucket::default(),
            look_at: None,
            saved,
        };
        if !candidates.saved.is_empty() {
            candidates.look_soon(now);
        }
        candidates
    }

    /// The saved peers that have not been heard yet.
    pub(super) fn saved(&self, now: Instant) -> impl Iterator<Item = SavedPeer> {
        self.saved.iter(now)
    }

    /// Whether `id` is the pending attempt to `peer`.
    pub(super) fn is_dialled(&self, peer: &PeerId, id: ConnectionId) -> bool {
        matches!(self.attempts.get(peer), Some(Attempt::Dialling(under_way)) if *under_way == id)
    }

    /// The pending attempt to `peer` has led to a connection.
    pub(super) fn on_connected(&mut self, now: Instant, peer: PeerId, is_subscribed: bool) {
        if is_subscribed {
            // It has dialled this node meanwhile and subscribed, so it was counted twice.
            self.attempts.remove(&peer);
            self.look_soon(now);
        } else {
            let until = after(now, GRACE);
            self.attempts.insert(peer, Attempt::Connected { until });
        }
    }

    /// The last connection to `peer`, which was connected since that time, has ended. If the peer was subscribed,
    /// [`Candidates::on_unsubscribed`] is called before.
    pub(super) fn on_disconnected(
        &mut self,
        now: Instant,
        peer: &PeerId,
        since: Instant,
        is_dialled: bool,
        peers: &Peers,
    ) {
        self.end_grace(peer);
        if now.saturating_duration_since(since) >= STEADY {
            self.backoffs.remove(peer);
        } else if is_dialled {
            self.back_off(now, peer, peers, 1);
        }
        self.look_soon(now);
    }

    /// A connected peer has subscribed to a topic. `first` if it is its first one.
    pub(super) fn on_subscribed(&mut self, peer: &PeerId, first: bool) {
        self.subscribers += usize::from(first);
        self.end_grace(peer);
        self.rest();
    }

    /// A connected peer has left its last topic.
    pub(super) fn on_unsubscribed(&mut self, now: Instant) {
        self.subscribers -= 1;
        self.look_soon(now);
    }

    pub(super) fn on_topics_changed(&mut self, now: Instant, has_topics: bool) {
        self.has_topics = has_topics;
        self.rest();
        self.look_soon(now);
    }

    /// `peer` is new in the table, or its addresses have changed.
    pub(super) fn on_candidate(&mut self, now: Instant, peer: &PeerId) {
        if let Some(backoff) = self.backoffs.get_mut(peer) {
            backoff.is_futile = false;
        }
        self.saved.forget(peer);
        self.look_soon(now);
    }

    /// A peer has left the table.
    pub(super) fn on_expired(&mut self, peer: &PeerId) {
        self.backoffs.remove(peer);
    }

    /// A dial of `peer` has been started, as `id`.
    pub(super) fn on_dialling(&mut self, peer: PeerId, id: ConnectionId) {
        self.attempts.insert(peer, Attempt::Dialling(id));
        self.rest();
    }

    /// A dial of `peer` has failed, for any caller. Returns whether all its known addresses have failed.
    pub(super) fn on_dial_failed(
        &mut self,
        now: Instant,
        peer: &PeerId,
        id: ConnectionId,
        error: &DialError,
        peers: &mut Peers,
    ) -> bool {
        let is_own = self.is_dialled(peer, id);
        if is_own {
            self.attempts.remove(peer);
        }
        let failure = Failure::of(error);
        match failure {
            Failure::Local if !is_own => {}
            _ => self.back_off(now, peer, peers, u32::from(failure != Failure::Local)),
        }
        let mut is_unreachable = false;
        match failure {
            Failure::WrongPeer(address) => {
                peers.on_wrong_peer(peer, &address);
                self.saved.on_wrong_peer(peer, &address);
            }
            Failure::Unsupported(addresses) => {
                // The application may have dialled other addresses than those in the table.
                let known = peers.get(peer).map(|known| known.addresses());
                let known = known.or_else(|| self.saved.addresses(peer));
                if known.is_some_and(|known| known.iter().all(|at| addresses.contains(at))) {
                    self.give_up(peer);
                }
            }
            Failure::NoAddresses if is_own => self.give_up(peer),
            Failure::Unreachable(addresses) => is_unreachable = peers.on_failed(peer, &addresses),
            Failure::NoAddresses | Failure::Local => {}
        }
        if is_own {
            self.look_soon(now);
        }
        is_unreachable
    }

    /// The next peer to dial, with all its addresses. Never one that is `taken`: connected, or dialled as a hub.
    ///
    /// Searches the whole table if a connection is missing and [`LOOKS`] allows it, which takes about a millisecond for
    /// 16,384 rows. Otherwise it searches nothing.
    pub(super) fn next_dial(
        &mut self,
        now: Instant,
        peers: &Peers,
        is_taken: impl Fn(&PeerId) -> bool,
    ) -> Option<Dial> {
        let before = self.attempts.len();
        let is_under_way = |attempt: &mut Attempt| match attempt {
            Attempt::Dialling(_) => true,
            Attempt::Connected { until } => *until > now,
        };
        self.attempts.retain(|_, attempt| is_under_way(attempt));
        if self.attempts.len() < before {
            self.look_soon(now);
        }
        if self.next_look()? > now || !self.looks.try_take(now, LOOKS) {
            return None;
        }
        let readiness = |peer: &PeerId| match self.backoffs.get(peer) {
            _ if is_taken(peer) || self.attempts.contains_key(peer) => Readiness::Never,
            Some(backoff) if backoff.is_futile => Readiness::Never,
            Some(backoff) if backoff.until > now => Readiness::Later(backoff.until),
            Some(_) | None => Readiness::Ready,
        };
        let known = peers
            .iter()
            .map(|known| (known.peer_id(), known.addresses()));
        let (mut chosen, mut next) = choose(&mut self.rng, known, readiness);
        // Peers that announced themselves lately are more likely to be up.
        if chosen.is_none() {
            let (saved, later) = choose(&mut self.rng, self.saved.candidates(), readiness);
            chosen = saved;
            next = next.into_iter().chain(later).min();
        }
        self.look_at = match chosen {
            Some(_) => Some(now),
            None => next,
        };
        let (peer, addresses) = chosen?;
        Some(Dial {
            peer: Some(peer),
            addresses: addresses.to_vec(),
        })
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let graces = self.attempts.values().filter_map(|attempt| match attempt {
            Attempt::Dialling(_) => None,
            Attempt::Connected { until } => Some(*until),
        });
        graces.chain(self.next_look()).min()
    }

    fn next_look(&self) -> Option<Instant> {
        if self.missing() == 0 || self.attempts.len() >= MAX_ATTEMPTS {
            return None;
        }
        let look_at = self.look_at?;
        Some(
            self.looks
                .next_at(LOOKS)
                .map_or(look_at, |at| at.max(look_at)),
        )
    }

    /// The number of attempts needed in addition to the pending ones.
    fn missing(&self) -> usize {
        if !self.has_topics {
            return 0;
        }
        self.target
            .saturating_sub(self.subscribers)
            .saturating_sub(self.attempts.len())
    }

    /// A connection may be missing now, or a new candidate may be there.
    fn look_soon(&mut self, now: Instant) {
        if self.missing() == 0 {
            return;
        }
        let latest = after(now, SPREAD);
        if self.look_at.is_none_or(|at| at > latest) {
            let delay = SPREAD.mul_f64(self.rng.random_range(0.0..1.0));
            self.look_at = Some(after(now, delay));
        }
    }

    /// Possibly no connection is missing any more.
    fn rest(&mut self) {
        if self.missing() == 0 {
            self.look_at = None;
        }
    }

    /// Stops waiting for a connected peer to subscribe.
    fn end_grace(&mut self, peer: &PeerId) {
        if let Some(Attempt::Connected { .. }) = self.attempts.get(peer) {
            self.attempts.remove(peer);
        }
    }

    /// Stops dialling a peer until its addresses change. Its backoff, which has just begun, stays: otherwise a peer could
    /// cause a dial with each announcement of new addresses.
    fn give_up(&mut self, peer: &PeerId) {
        if let Some(backoff) = self.backoffs.get_mut(peer) {
            backoff.is_futile = true;
        }
    }

    /// Delays the next dial of a peer, longer with each of its `failures`; 0 if the peer is not to blame. Peers that are
    /// neither in the table nor saved are never dialled, so they get no entry.
    fn back_off(&mut self, now: Instant, peer: &PeerId, peers: &Peers, failures: u32) {
        if peers.get(peer).is_none() && self.saved.addresses(peer).is_none() {
            return;
        }
        let chance = self.rng.random_range(0.0..JITTER);
        let backoff = self.backoffs.entry(*peer).or_insert(Backoff {
            failures: 0,
            until: now,
            is_futile: false,
        });
        backoff.failures = backoff.failures.saturating_add(failures);
        let doublings = match failures {
            0 => 0,
            _ => backoff.failures.saturating_sub(1),
        };
        let delay = FIRST_DELAY
            .saturating_mul(2_u32.saturating_pow(doublings))
            .min(MAX_DELAY);
        let until = after(now, delay.mul_f64(1.0 - chance));
        backoff.until = backoff.until.max(until);
    }
}

/// Whether a candidate may be dialled now.
enum Readiness {
    Ready,
    Later(Instant),
    Never,
}

/// One of the candidates that may be dialled now, chosen uniformly, and the time from which the next one may.
fn choose<'a>(
    rng: &mut SmallRng,
    all: impl Iterator<Item = (PeerId, &'a [Multiaddr])>,
    readiness: impl Fn(&PeerId) -> Readiness,
) -> (Option<(PeerId, &'a [Multiaddr])>, Option<Instant>) {
    let (mut chosen, mut candidates, mut next) = (None, 0_usize, None::<Instant>);
    for (peer, addresses) in all {
        if addresses.is_empty() {
            continue;
        }
        match readiness(&peer) {
            Readiness::Never => {}
            Readiness::Later(at) => next = Some(next.map_or(at, |next| next.min(at))),
            // It replaces the previous one with the probability that makes all equally likely.
            Readiness::Ready => {
                candidates += 1;
                if rng.random_range(0..candidates) == 0 {
                    chosen = Some((peer, addresses));
                }
            }
        }
    }
    (chosen, next)
}
