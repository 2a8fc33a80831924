//! What is simulated.

use std::time::Duration;

/// Who is connected with whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Everybody with a few at random.
    Mesh,
    /// Everybody with the first node.
    Star,
    /// The first ones as in a mesh, and each of the others with three of them.
    Hubs,
}

/// What the honest nodes pass on of what they receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Forwarding {
    Everything,
    /// Only what they accept themselves.
    Accepted,
}

/// A network to simulate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) nodes: usize,
    pub(crate) seed: u64,
    pub(crate) shape: Shape,
    /// The probability that a delivery is lost.
    pub(crate) loss: f64,
    /// The time in which all nodes start, at random.
    pub(crate) boot: Duration,
    /// How many of them, if not all, start then; the others in as long a time when the measured time begins.
    pub(crate) first: Option<usize>,
    /// How long a node is up, on average; `None` for ever.
    pub(crate) session: Option<Duration>,
    /// From the first start until figures are taken.
    pub(crate) warm_up: Duration,
    /// For how long they are taken.
    pub(crate) measured: Duration,
    /// How many nodes run the table too.
    pub(crate) tables: usize,
    /// What begins with the measured time.
    pub(crate) attack: Option<Forwarding>,
}
