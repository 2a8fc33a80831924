use std::fmt;

use libp2p_core::transport::ListenerId;
use prometheus_client::{collector::Collector, encoding::DescriptorEncoder};

use crate::{
    lazy::status::{Failure, State, Status},
    metrics::Page,
};

/// Encodes the listeners and totals that the function returns.
pub(super) struct Listeners<F>(pub(super) F);

/// Failures and closes since the first handle.
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
    /// A listener is in a new state, as it is after each failure.
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

impl<F> Collector for Listeners<F>
where
    F: Fn() -> (Vec<(ListenerId, Status)>, Totals) + Send + Sync + 'static,
{
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (statuses, totals) = (self.0)();
        let (mut registered, mut waiting, mut binding) = (0, 0, 0);
        let (mut retrying, mut listening, mut closing) = (0, 0, 0);
        let mut ready = 0;
        for (_, status) in statuses {
            match status.state {
                State::Registered => registered += 1,
                State::Waiting(_) => waiting += 1,
                State::Binding => binding += 1,
                State::Retrying(_) => retrying += 1,
                State::Listening => listening += 1,
                State::Closing => closing += 1,
                // Not listed.
                State::Closed(_) => {}
            }
            ready += u64::from(!status.addresses.is_empty());
        }
        let mut page = Page(encoder);
        page.gauges(
            "listeners",
            "Number of listeners, by state.",
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
            "Number of listeners with an address.",
            ready,
        )?;
        page.counters(
            "failures",
            "Number of failures of listeners, by kind.",
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
            "Number of closed listeners, by reason.",
            "reason",
            [
                ("failed", totals.closed_failed),
                ("removed", totals.closed_removed),
            ],
        )
    }
}

impl<F> fmt::Debug for Listeners<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listeners")
    }
}
