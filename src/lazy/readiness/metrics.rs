use std::fmt;

use prometheus_client::{collector::Collector, encoding::DescriptorEncoder, registry::Registry};

use super::{Readiness, State};
use crate::{
    lazy::Failure,
    metrics::{self, Page},
};

impl Readiness {
    /// Registers what is known of the listeners as metrics:
    ///
    /// - `libp2p_lazy_listeners`, how many there are, by `state`: `registered`, `waiting`, `binding`, `retrying`,
    ///   `listening` or `closing`; see [`State`];
    /// - `libp2p_lazy_ready_listeners`, how many of them can be reached;
    /// - `libp2p_lazy_failures_total`, by `failure`: `bind`, `closed`, `stuck` or `unsupported`; see [`Failure`];
    /// - `libp2p_lazy_closed_total`, by `reason`: `failed`, for good, or `removed`, as the application wanted.
    ///
    /// The totals begin with the first handle. The listeners are counted when the registry is scraped, and only then.
    ///
    /// For several transports in one registry, give each a sub-registry with a label that tells it from the others.
    pub fn register_metrics(&self, registry: &mut Registry) {
        metrics::register(registry, "lazy", Listeners(self.clone()));
    }
}

#[derive(Debug)]
struct Listeners(Readiness);

/// What has befallen the listeners.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Totals {
    bind: u64,
    closed: u64,
    stuck: u64,
    unsupported: u64,
    closed_failed: u64,
    closed_removed: u64,
}

impl Totals {
    /// A listener is in a new state. Each failure leads to one.
    pub(super) fn on_state(&mut self, state: &State) {
        let error = match state {
            State::Retrying(error) => error,
            State::Closed(Some(error)) => {
                self.closed_failed += 1;
                error
            }
            State::Closed(None) => {
                self.closed_removed += 1;
                return;
            }
            _ => return,
        };
        let counter = match error.failure() {
            Failure::Bind => &mut self.bind,
            Failure::Closed => &mut self.closed,
            Failure::Stuck => &mut self.stuck,
            Failure::Unsupported => &mut self.unsupported,
        };
        *counter += 1;
    }
}

impl Collector for Listeners {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (mut registered, mut waiting, mut binding) = (0, 0, 0);
        let (mut retrying, mut listening, mut closing) = (0, 0, 0);
        let mut ready = 0;
        let totals = {
            let board = self.0.shared.board();
            for row in board.rows.values() {
                let status = row.status();
                match status.state {
                    State::Registered => registered += 1,
                    State::Waiting(_) => waiting += 1,
                    State::Binding => binding += 1,
                    State::Retrying(_) => retrying += 1,
                    State::Listening => listening += 1,
                    State::Closing => closing += 1,
                    // It has left the board.
                    State::Closed(_) => {}
                }
                ready += u64::from(!status.addresses.is_empty());
            }
            board.totals
        };
        let mut page = Page(encoder);
        page.gauges(
            "listeners",
            "Number of listeners, by what they are doing.",
            "state",
            [
                ("registered", registered),
                ("waiting", waiting),
                ("binding", binding),
                ("retrying", retrying),
                ("listening", listening),
                ("closing", closing),
            ],
        )?;
        page.gauge(
            "ready_listeners",
            "Number of listeners that can be reached.",
            ready,
        )?;
        page.counters(
            "failures",
            "Number of failures of listeners, by what befell them.",
            "failure",
            [
                ("bind", totals.bind),
                ("closed", totals.closed),
                ("stuck", totals.stuck),
                ("unsupported", totals.unsupported),
            ],
        )?;
        page.counters(
            "closed",
            "Number of listeners that have closed, by the reason.",
            "reason",
            [
                ("failed", totals.closed_failed),
                ("removed", totals.closed_removed),
            ],
        )
    }
}
