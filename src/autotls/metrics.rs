use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use prometheus_client::{collector::Collector, encoding::DescriptorEncoder, registry::Registry};

use super::{State, Status, Step, event::Counters};
use crate::{
    deadline,
    metrics::{self, Page},
};

/// The last status of a behaviour. The behaviour belongs to its swarm, and the registry to another task.
#[derive(Debug, Clone, Default)]
pub(super) struct Metrics(Arc<Mutex<Option<(Status, Counters)>>>);

impl Metrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        metrics::register(registry, "autotls", self.clone());
    }

    pub(super) fn show(&self, status: Status, counters: Counters) {
        let mut shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *shown = Some((status, counters));
    }
}

impl Collector for Metrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((status, counters)) = &*shown else {
            return Ok(());
        };
        let is = |state: &str| {
            u64::from(match &status.state {
                State::Waiting(_) => state == "waiting",
                State::Ordering => state == "ordering",
                State::Retrying { .. } => state == "retrying",
                State::Ready => state == "ready",
            })
        };
        let mut page = Page(encoder);
        page.gauges(
            "state",
            "1 for the present activity.",
            "state",
            ["waiting", "ordering", "retrying", "ready"].map(|state| (state, is(state))),
        )?;
        let left = status.not_after.map(|not_after| {
            let left = not_after.duration_since(deadline::wall_clock());
            left.unwrap_or_default().as_secs()
        });
        page.gauge(
            "certificate_remaining_seconds",
            "Remaining time of the certificate in use.",
            left.unwrap_or_default(),
        )?;
        page.counter(
            "obtained",
            "Number of certificates obtained from the ACME server.",
            counters.obtained,
        )?;
        page.counters(
            "failed",
            "Number of failed attempts, by the step.",
            "step",
            Step::ALL.map(|step| (step.label(), counters.failed[step as usize])),
        )
    }
}
