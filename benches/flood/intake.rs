//! What discovery alone makes of a flood: the messages come from a pubsub without a network.

use std::{
    ops::Range,
    task::Context,
    time::{Duration, Instant},
};

use futures::task::noop_waker;
use libp2p::{PeerId, identity::Keypair, swarm::NetworkBehaviour};
use libp2p_lazy_websocket::discovery::{self, Behaviour, DEFAULT_TOPIC};

use super::{
    client::{PASSES, flooder::Invented},
    measure::{heap, median},
};
use bus::{Bus, Event, Node};

#[path = "../../tests/common/bus.rs"]
mod bus;

/// As many as come at once from a real one, about.
const BATCH: usize = 150;

/// Each takes part of a second.
const ROUNDS: usize = 5;

pub(crate) struct Intake {
    /// What a message takes.
    pub(crate) each: Duration,
    /// What one of the last tenth takes, beside one of the first.
    pub(crate) last_to_first: f64,
}

pub(crate) fn measure(invented: &[Invented]) -> Intake {
    let neighbour = PeerId::random();
    let rounds = (0..ROUNDS).map(|_| {
        let (bus, key) = (Bus::default(), Keypair::generate_ed25519());
        let without = hand_over(&bus, &mut bus.node(&key), &key, neighbour, invented);
        let (bus, key) = (Bus::default(), Keypair::generate_ed25519());
        let with = hand_over(&bus, &mut discovery(&bus, &key), &key, neighbour, invented);
        let own = |range: Range<usize>| {
            let sum = |parts: &[Duration]| parts.iter().sum::<Duration>();
            sum(&with[range.clone()]).saturating_sub(sum(&without[range]))
        };
        let (count, tenth) = (with.len(), with.len() / 10);
        let (first, last) = (own(0..tenth), own(count - tenth..count));
        (
            own(0..count).div_f64((invented.len() * PASSES) as f64),
            last.as_secs_f64() / first.as_secs_f64(),
        )
    });
    let rounds = rounds.collect::<Vec<_>>();
    Intake {
        each: median(rounds.iter().map(|(each, _)| *each)),
        last_to_first: median(rounds.iter().map(|(_, ratio)| *ratio)),
    }
}

/// The bytes that it holds after a tenth of the messages, and after all of them.
pub(crate) fn held(invented: &[Invented]) -> (i64, i64) {
    let (bus, key) = (Bus::default(), Keypair::generate_ed25519());
    let neighbour = PeerId::random();
    let before = heap();
    let mut behaviour = discovery(&bus, &key);
    let tenth = &invented[..invented.len() / 10];
    hand_over(&bus, &mut behaviour, &key, neighbour, tenth);
    let first = heap() - before;
    hand_over(&bus, &mut behaviour, &key, neighbour, invented);
    (first, heap() - before)
}

fn discovery(bus: &Bus, key: &Keypair) -> Behaviour<Node> {
    let config = discovery::Config::default();
    Behaviour::new(bus.node(key), config).expect("the default is valid")
}

/// Hands all messages over in batches, and returns what each batch took.
fn hand_over(
    bus: &Bus,
    behaviour: &mut impl NetworkBehaviour,
    key: &Keypair,
    neighbour: PeerId,
    invented: &[Invented],
) -> Vec<Duration> {
    let local = key.public().to_peer_id();
    let mut took = Vec::new();
    for _ in 0..PASSES {
        for batch in invented.chunks(BATCH) {
            for invented in batch {
                let event = Event::Message {
                    topic: DEFAULT_TOPIC.to_owned(),
                    neighbour,
                    author: Some(invented.author.to_peer_id()),
                    payload: invented.payload.clone(),
                };
                bus.deliver(local, event);
            }
            let start = Instant::now();
            while behaviour
                .poll(&mut Context::from_waker(&noop_waker()))
                .is_ready()
            {}
            took.push(start.elapsed());
        }
    }
    took
}
