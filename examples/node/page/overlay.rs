//! The overlay as a picture: who is where, on rings around one node.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    f64::consts::TAU,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use libp2p::PeerId;
use serde::Serialize;

/// The edge of the picture is at 100 from its centre.
const EDGE: f64 = 78.0;

/// The distance of the first ring from the centre, and between neighbours, before all is scaled.
const FIRST: f64 = 42.0;
const APART: f64 = 15.0;

/// Up to so many nodes have labels, for which rings need another distance than `APART`.
pub(crate) const MAX_LABELS: usize = 25;
const APART_WITH_LABELS: f64 = 26.0;

/// The radius of a node at most, and in terms of the distance between neighbours.
const MAX_RADIUS: f64 = 5.0;
const RADIUS: f64 = 0.3;

/// What a node is to the one in the centre.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Own,
    Connected,
    Known,
}

/// Coordinates are in a square from -100 to 100.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Overlay {
    pub(crate) nodes: Vec<Node>,
    /// Pairs of indices of nodes.
    pub(crate) edges: Vec<[usize; 2]>,
    /// Of a node.
    pub(crate) radius: f64,
}

#[derive(Debug, Serialize)]
pub(crate) struct Node {
    pub(crate) id: String,
    pub(crate) label: String,
    pub(crate) kind: Kind,
    pub(crate) x: f64,
    pub(crate) y: f64,
}

impl Overlay {
    /// The first node is the centre. Those that are connected to it are nearer than the others, in the given order.
    pub(crate) fn new(nodes: Vec<(PeerId, String)>, edges: &[[PeerId; 2]]) -> Self {
        let Some(&(own, _)) = nodes.first() else {
            return Self::default();
        };
        let of_own = edges.iter().filter(|edge| edge.contains(&own));
        let connected: HashSet<_> = of_own.flatten().collect();
        let kind = |peer| match peer == own {
            true => Kind::Own,
            false if connected.contains(&peer) => Kind::Connected,
            false => Kind::Known,
        };
        let mut nodes: Vec<_> = nodes
            .into_iter()
            .map(|(peer, label)| (peer, label, kind(peer)))
            .collect();
        nodes.sort_by_key(|(_, _, kind)| *kind as u8);
        let inner = nodes.iter().filter(|node| node.2 == Kind::Connected);
        let (points, radius) = places(inner.count(), nodes.len() - 1);
        let index: HashMap<_, _> = nodes.iter().map(|node| node.0).zip(0..).collect();
        let edges = edges
            .iter()
            .filter_map(|[a, b]| Some([*index.get(a)?, *index.get(b)?]));
        Self {
            edges: edges.collect(),
            radius,
            nodes: nodes
                .into_iter()
                .zip([(0.0, 0.0)].into_iter().chain(points))
                .map(|((peer, label, kind), (x, y))| Node {
                    id: peer.to_string(),
                    label,
                    kind,
                    x,
                    y,
                })
                .collect(),
        }
    }
}

/// All nodes of a demonstration, and their connections.
#[derive(Debug, Clone, Default)]
pub(crate) struct Union(Arc<Mutex<Members>>);

#[derive(Debug, Default)]
struct Members {
    names: Vec<(PeerId, String)>,
    edges: BTreeSet<[PeerId; 2]>,
}

impl Union {
    pub(crate) fn add(&self, peer: PeerId, name: &str) {
        self.members().names.push((peer, name.to_owned()));
    }

    pub(crate) fn connect(&self, a: PeerId, b: PeerId) {
        self.members().edges.insert([a.min(b), a.max(b)]);
    }

    pub(crate) fn disconnect(&self, a: PeerId, b: PeerId) {
        self.members().edges.remove(&[a.min(b), a.max(b)]);
    }

    /// With the node that was added first in the centre.
    pub(super) fn overlay(&self) -> Overlay {
        let members = self.members();
        let edges: Vec<_> = members.edges.iter().copied().collect();
        Overlay::new(members.names.clone(), &edges)
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where these are around the centre: the first `inner` on rings of their own. And the radius of each.
fn places(inner: usize, all: usize) -> (Vec<(f64, f64)>, f64) {
    let mut rings = Vec::new();
    let mut distance = FIRST;
    let apart = match all < MAX_LABELS {
        true => APART_WITH_LABELS,
        false => APART,
    };
    for mut left in [inner, all - inner] {
        while left > 0 {
            let room = (TAU * distance / APART) as usize;
            let taken = left.min(room);
            rings.push((distance, taken));
            left -= taken;
            distance += apart;
        }
    }
    let scale = EDGE / rings.last().map_or(EDGE, |(distance, _)| *distance);
    let mut points = Vec::new();
    // The first is at the top. Each ring begins between two nodes of the one before.
    let mut turn = -0.25;
    for (distance, count) in rings {
        for number in 0..count {
            let angle = TAU * (turn + number as f64 / count as f64);
            let at = |part: f64| (part * distance * scale * 10.0).round() / 10.0;
            points.push((at(angle.cos()), at(angle.sin())));
        }
        turn += 0.5 / count as f64;
    }
    (points, (scale * APART * RADIUS).min(MAX_RADIUS))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn distance(a: &Node, b: &Node) -> f64 {
        (a.x - b.x).hypot(a.y - b.y)
    }

    #[test]
    fn everybody_is_in_the_picture_and_nobody_on_another() {
        for count in [1, 2, 3, 10, 25, 60, 257] {
            for connected in [0, 1, count / 2, count - 1] {
                let nodes: Vec<_> = (0..count)
                    .map(|_| (PeerId::random(), String::new()))
                    .collect();
                let own = nodes[0].0;
                let edges: Vec<_> = nodes[1..]
                    .iter()
                    .take(connected)
                    .map(|(peer, _)| [*peer, own])
                    .collect();
                let overlay = Overlay::new(nodes, &edges);
                let nodes = &overlay.nodes;
                assert_eq!(nodes.len(), count);
                assert_eq!(overlay.edges.len(), connected.min(count - 1));
                assert_eq!(
                    (nodes[0].kind, nodes[0].x, nodes[0].y),
                    (Kind::Own, 0.0, 0.0)
                );
                for (index, node) in nodes.iter().enumerate() {
                    assert!(node.x.hypot(node.y) + overlay.radius < 100.0);
                    for other in &nodes[..index] {
                        assert!(distance(node, other) > 2.0 * overlay.radius, "{count}");
                    }
                }
                let farthest = |kind| {
                    let those = nodes.iter().filter(move |node| node.kind == kind);
                    those.map(|node| distance(node, &nodes[0]))
                };
                let inner = farthest(Kind::Connected).fold(0.0, f64::max);
                assert!(farthest(Kind::Known).all(|outer| outer > inner));
            }
        }
    }

    #[test]
    fn an_edge_to_nobody_is_left_out() {
        let [own, other, stranger] = [(); 3].map(|()| PeerId::random());
        let nodes = vec![(own, "own".to_owned()), (other, "other".to_owned())];
        let overlay = Overlay::new(nodes, &[[other, stranger], [other, own]]);
        assert_eq!(overlay.edges, [[1, 0]]);
        assert!(Overlay::new(vec![], &[]).nodes.is_empty());
    }
}
