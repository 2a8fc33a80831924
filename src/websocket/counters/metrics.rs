use std::fmt;

use prometheus_client::{collector::Collector, encoding::DescriptorEncoder, registry::Registry};

use super::Counters;
use crate::metrics::{self, Page};

impl Counters {
    /// As `register_metrics` of the transport tells.
    pub(crate) fn register_metrics(&self, registry: &mut Registry) {
        metrics::register(registry, "websocket", Connections(self.clone()));
    }
}

#[derive(Debug)]
struct Connections(Counters);

impl Collector for Connections {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Self(counters) = self;
        let mut page = Page(encoder);
        page.gauge(
            "pending_handshakes",
            "Number of accepted connections in their handshake.",
            counters.pending_handshakes() as u64,
        )?;
        page.counter(
            "evicted",
            "Number of connections that gave way to a newer one during their handshake.",
            counters.evicted(),
        )?;
        page.counter(
            "timed_out",
            "Number of connections that did not finish their handshake in time.",
            counters.timed_out(),
        )?;
        page.counter(
            "upgraded",
            "Number of connections that have finished their handshake.",
            counters.upgraded(),
        )?;
        page.counter(
            "unknown",
            "Number of connections that spoke what nobody listens for on their port.",
            counters.unknown(),
        )?;
        page.counter(
            "visitors",
            "Number of connections that were handed to the application.",
            counters.visitors(),
        )?;
        page.counter(
            "refused_visitors",
            "Number of connections that were refused because the application had too many.",
            counters.refused_visitors(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_has_its_series() {
        let counters = Counters::default();
        let mut registry = Registry::default();
        counters.register_metrics(&mut registry);
        for _ in 0..6 {
            counters.on_admitted();
        }
        counters.on_left();
        counters.on_evicted();
        counters.on_evicted();
        counters.on_timed_out();
        (0..5).for_each(|_| counters.on_upgraded());
        (0..4).for_each(|_| counters.on_unknown());
        (0..3).for_each(|_| counters.on_visitor());
        (0..7).for_each(|_| counters.on_refused_visitor());
        assert_eq!(
            metrics::shown(&registry),
            [
                "libp2p_websocket_pending_handshakes 3",
                "libp2p_websocket_evicted_total 2",
                "libp2p_websocket_timed_out_total 1",
                "libp2p_websocket_upgraded_total 5",
                "libp2p_websocket_unknown_total 4",
                "libp2p_websocket_visitors_total 3",
                "libp2p_websocket_refused_visitors_total 7",
            ]
        );
    }
}
