//! CORE: which of several connections to one peer to close.
//!
//! Two nodes that dial each other at the same moment end up with two connections, which is more than some peers support:
//! gossipsub of go-libp2p accepts five substreams of a peer, over all its connections. Only connections that discovery has
//! dialled are closed, never a relayed one, and never the last direct one.

use std::time::Duration;

use libp2p_swarm::ConnectionId;

use crate::deadline::{Instant, after};

/// How long two connections are kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Graces {
    /// What is sent while one of them is closed may be lost, so by then the subscriptions that follow a connection have been
    /// exchanged.
    usual: Duration,
    /// After this time, the side that waited for the other one closes its own dial: the other connection may have been
    /// dialled by the application, or the peer may run another implementation.
    late: Duration,
}

impl Graces {
    /// Two heartbeats of the pubsub and five seconds, and for the other side 23 seconds more: by default that is 7 and 30.
    pub(super) fn new(heartbeat: Duration) -> Self {
        let usual = heartbeat
            .saturating_mul(2)
            .saturating_add(Duration::from_secs(5));
        let late = usual.saturating_add(Duration::from_secs(23));
        Self { usual, late }
    }
}

/// The origin of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// Dialled by discovery.
    Discovery,
    /// Dialled by this node for another reason.
    Application,
    Remote,
    /// Through a relay, dialled by either side.
    Relay,
}

/// The connections to one peer, bounded by the application's limit on connections.
#[derive(Debug, Default)]
pub(super) struct Connections(Vec<Connection>);

#[derive(Debug)]
struct Connection {
    id: ConnectionId,
    origin: Origin,
    since: Instant,
    is_closing: bool,
}

impl Connections {
    pub(super) fn on_established(&mut self, now: Instant, id: ConnectionId, origin: Origin) {
        self.0.push(Connection {
            id,
            origin,
            since: now,
            is_closing: false,
        });
    }

    pub(super) fn on_closed(&mut self, id: ConnectionId) {
        self.0.retain(|connection| connection.id != id);
    }

    /// The connection is being closed by this node.
    pub(super) fn on_closing(&mut self, id: ConnectionId) {
        for connection in &mut self.0 {
            connection.is_closing |= connection.id == id;
        }
    }

    /// The next connection to close, and the time. The side that `yields` closes its own dial first.
    pub(super) fn surplus(&self, graces: Graces, yields: bool) -> Option<(Instant, ConnectionId)> {
        let is_from = |origin: Origin| {
            let here = self.0.iter().filter(|connection| !connection.is_closing);
            here.filter(move |connection| connection.origin == origin)
        };
        let own = is_from(Origin::Discovery).max_by_key(|connection| connection.since)?;
        let dialled = is_from(Origin::Discovery).chain(is_from(Origin::Application));
        let second_dial = match dialled.clone().count() {
            0 | 1 => None,
            _ => dialled.map(|connection| connection.since).max(),
        };
        let accepted = is_from(Origin::Remote)
            .map(|connection| connection.since)
            .min();
        let at = match (second_dial, accepted) {
            (Some(since), _) => after(since, graces.usual),
            (None, Some(since)) => {
                let grace = if yields { graces.usual } else { graces.late };
                after(since.max(own.since), grace)
            }
            (None, None) => return None,
        };
        Some((at, own.id))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::deadline;

    const SECOND: Duration = Duration::from_secs(1);
    const GRACE: Duration = Duration::from_secs(7);
    const LATE: Duration = Duration::from_secs(30);

    /// Those of a pubsub with the heartbeat that is usual.
    fn graces() -> Graces {
        Graces::new(SECOND)
    }

    fn id(number: usize) -> ConnectionId {
        ConnectionId::new_unchecked(number)
    }

    /// One of each origin, a second apart.
    fn connections(now: Instant, origins: &[Origin]) -> Connections {
        let mut connections = Connections::default();
        for (number, &origin) in origins.iter().enumerate() {
            let at = now + SECOND * u32::try_from(number).unwrap();
            connections.on_established(at, id(number), origin);
        }
        connections
    }

    #[test]
    fn only_what_discovery_has_dialled_is_closed_and_never_the_last_direct_one() {
        use Origin::{Application, Discovery, Relay, Remote};

        let now = deadline::now();
        let after = |seconds: u32, time, number| Some((now + SECOND * seconds + time, id(number)));
        for (origins, first, other) in [
            (&[][..], None, None),
            (&[Discovery], None, None),
            (&[Discovery, Relay], None, None),
            (&[Relay, Relay], None, None),
            (&[Remote, Remote], None, None),
            (&[Application, Remote], None, None),
            (&[Application, Application], None, None),
            (&[Discovery, Remote], after(1, GRACE, 0), after(1, LATE, 0)),
            (&[Remote, Discovery], after(1, GRACE, 1), after(1, LATE, 1)),
            (
                &[Relay, Remote, Discovery],
                after(2, GRACE, 2),
                after(2, LATE, 2),
            ),
            (
                &[Discovery, Discovery],
                after(1, GRACE, 1),
                after(1, GRACE, 1),
            ),
            (
                &[Application, Discovery],
                after(1, GRACE, 1),
                after(1, GRACE, 1),
            ),
            (
                &[Discovery, Application],
                after(1, GRACE, 0),
                after(1, GRACE, 0),
            ),
        ] {
            let connections = connections(now, origins);
            assert_eq!(connections.surplus(graces(), true), first, "{origins:?}");
            assert_eq!(connections.surplus(graces(), false), other, "{origins:?}");
        }
    }

    #[test]
    fn nothing_is_closed_before_two_heartbeats_have_passed() {
        let now = deadline::now();
        let connections = connections(now, &[Origin::Remote, Origin::Discovery]);
        let since = now + SECOND;
        for (heartbeat, usual, late) in [(3, 11, 34), (4, 13, 36), (15, 35, 58), (60, 125, 148)] {
            let graces = Graces::new(SECOND * heartbeat);
            let closed = |yields| connections.surplus(graces, yields).unwrap().0 - since;
            assert_eq!(closed(true), SECOND * usual, "{heartbeat}");
            assert_eq!(closed(false), SECOND * late, "{heartbeat}");
        }
        // Where there is no end of waiting, nothing overflows.
        let graces = Graces::new(Duration::MAX);
        assert!(connections.surplus(graces, true).unwrap().0 > since + SECOND * 100_000);
    }

    #[test]
    fn one_that_is_closing_counts_no_more() {
        let now = deadline::now();
        let mut connections = connections(now, &[Origin::Discovery, Origin::Remote]);
        let (_, surplus) = connections.surplus(graces(), true).unwrap();
        connections.on_closing(surplus);
        assert_eq!(connections.surplus(graces(), true), None);
        connections.on_closed(surplus);
        assert_eq!(connections.surplus(graces(), true), None);
    }

    #[test]
    fn several_may_be_closing_at_once() {
        let now = deadline::now();
        let origins = [Origin::Discovery, Origin::Discovery, Origin::Remote];
        let mut connections = connections(now, &origins);
        for number in [1, 0] {
            let (_, surplus) = connections.surplus(graces(), true).unwrap();
            assert_eq!(surplus, id(number));
            for _ in 0..2 {
                connections.on_closing(surplus);
            }
        }
        assert_eq!(connections.surplus(graces(), true), None);
    }

    proptest! {
        /// Both sides of a pair, which see each other's connections: in the end one is left if each side dialled through
        /// discovery alone, and never none.
        #[test]
        fn one_connection_is_left(dials in prop::collection::vec((any::<bool>(), any::<bool>(), 0..40_u32), 1..6)) {
            let now = deadline::now();
            // Of the first, which yields, and of the other.
            let mut sides = [Connections::default(), Connections::default()];
            let mut events = dials
                .iter()
                .enumerate()
                .map(|(number, &(by_first, by_discovery, second))| (second, number, by_first, by_discovery))
                .collect::<Vec<_>>();
            events.sort_unstable();
            let mut left = 0;
            for second in 0..400 {
                let at = now + SECOND * second;
                for &(_, number, by_first, by_discovery) in events.iter().filter(|event| event.0 == second) {
                    let dialled = if by_discovery { Origin::Discovery } else { Origin::Application };
                    let (here, there) = if by_first { (0, 1) } else { (1, 0) };
                    sides[here].on_established(at, id(number), dialled);
                    sides[there].on_established(at, id(number), Origin::Remote);
                    left += 1;
                }
                for side in [0, 1] {
                    while let Some((due, surplus)) = sides[side].surplus(graces(), side == 0) && due <= at {
                        sides[side].on_closing(surplus);
                        for side in &mut sides {
                            side.on_closed(surplus);
                        }
                        left -= 1;
                        prop_assert!(left > 0);
                    }
                }
            }
            let by_applications = dials.iter().filter(|dial| !dial.1).count();
            prop_assert_eq!(left, by_applications.max(1));
        }
    }
}
