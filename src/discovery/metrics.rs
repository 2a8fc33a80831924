use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use prometheus_client::{collector::Collector, encoding::DescriptorEncoder, registry::Registry};

use super::Counters;
use crate::metrics::{self, Page};

/// The last counters of a behaviour. The behaviour belongs to its swarm, and the registry to another task.
#[derive(Debug, Clone, Default)]
pub(super) struct Metrics(Arc<Mutex<Counters>>);

impl Metrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        metrics::register(registry, "discovery", self.clone());
    }

    pub(super) fn show(&self, counters: Counters) {
        *self.shown() = counters;
    }

    /// Locked only for a copy.
    fn shown(&self) -> MutexGuard<'_, Counters> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector for Metrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // Destructured, so that none is forgotten here.
        let Counters {
            announced,
            delayed,
            skipped_no_listeners,
            skipped_nothing_left,
            skipped_no_subscribers,
            skipped_listen_only,
            publish_failures,
            accepted,
            repeated,
            not_kept,
            ignored_unauthenticated,
            ignored_own,
            ignored_author_rate,
            ignored_newcomer_rate,
            ignored_oversized,
            ignored_outdated,
            ignored_malformed,
            ignored_foreign_key,
            dropped_addresses,
            discovered,
            updated,
            expired,
            muted,
            known,
            hubs,
            hubs_connected,
            hub_failures,
        } = *self.shown();
        let mut page = Page(encoder);
        page.counter(
            "announced",
            "Number of announcements made on at least one topic.",
            announced,
        )?;
        page.counter(
            "delayed",
            "Number of announcements put off, which follow by themselves.",
            delayed,
        )?;
        page.counters(
            "skipped",
            "Number of announcements not made, by the reason.",
            "reason",
            [
                ("no_listeners", skipped_no_listeners),
                ("nothing_left", skipped_nothing_left),
                ("no_subscribers", skipped_no_subscribers),
                ("listen_only", skipped_listen_only),
            ],
        )?;
        page.counter(
            "publish_failures",
            "Number of times that a topic with subscribers did not take an announcement.",
            publish_failures,
        )?;
        page.counter("accepted", "Number of announcements believed.", accepted)?;
        page.counter(
            "repeated",
            "Number of announcements believed that came again.",
            repeated,
        )?;
        page.counter(
            "not_kept",
            "Number of announcements believed of unknown peers that there was no room for.",
            not_kept,
        )?;
        page.counters(
            "ignored",
            "Number of announcements ignored, by the reason.",
            "reason",
            [
                ("unauthenticated", ignored_unauthenticated),
                ("own", ignored_own),
                ("author_rate", ignored_author_rate),
                ("newcomer_rate", ignored_newcomer_rate),
                ("oversized", ignored_oversized),
                ("outdated", ignored_outdated),
                ("malformed", ignored_malformed),
                ("foreign_key", ignored_foreign_key),
            ],
        )?;
        page.counter(
            "dropped_addresses",
            "Number of addresses left out of accepted announcements.",
            dropped_addresses,
        )?;
        page.counter(
            "discovered",
            "Number of peers discovered, each time anew.",
            discovered,
        )?;
        page.counter(
            "updated",
            "Number of times that a known peer has changed its addresses.",
            updated,
        )?;
        page.counter(
            "expired",
            "Number of known peers that have fallen silent or had to make room.",
            expired,
        )?;
        page.counter(
            "muted",
            "Number of times that a neighbour was muted.",
            muted,
        )?;
        page.counter(
            "hub_failures",
            "Number of times that a hub was not reached, or not for two minutes.",
            hub_failures,
        )?;
        page.gauge("known_peers", "Number of peers known now.", known)?;
        page.gauge("hubs", "Number of hubs named now.", hubs)?;
        page.gauge(
            "hubs_connected",
            "Number of hubs connected now.",
            hubs_connected,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_has_its_series() {
        let mut registry = Registry::default();
        let metrics = Metrics::default();
        metrics.register(&mut registry);
        metrics.show(Counters {
            announced: 1,
            delayed: 2,
            skipped_no_listeners: 3,
            skipped_nothing_left: 4,
            skipped_no_subscribers: 5,
            skipped_listen_only: 6,
            publish_failures: 7,
            accepted: 8,
            repeated: 101,
            not_kept: 102,
            ignored_unauthenticated: 9,
            ignored_own: 10,
            ignored_author_rate: 11,
            ignored_newcomer_rate: 13,
            ignored_oversized: 15,
            ignored_outdated: 16,
            ignored_malformed: 17,
            ignored_foreign_key: 18,
            dropped_addresses: 19,
            discovered: 20,
            updated: 21,
            expired: 22,
            muted: 23,
            known: u64::MAX,
            hubs: 24,
            hubs_connected: 25,
            hub_failures: 26,
        });
        assert_eq!(
            metrics::shown(&registry),
            [
                "libp2p_discovery_announced_total 1",
                "libp2p_discovery_delayed_total 2",
                r#"libp2p_discovery_skipped_total{reason="no_listeners"} 3"#,
                r#"libp2p_discovery_skipped_total{reason="nothing_left"} 4"#,
                r#"libp2p_discovery_skipped_total{reason="no_subscribers"} 5"#,
                r#"libp2p_discovery_skipped_total{reason="listen_only"} 6"#,
                "libp2p_discovery_publish_failures_total 7",
                "libp2p_discovery_accepted_total 8",
                "libp2p_discovery_repeated_total 101",
                "libp2p_discovery_not_kept_total 102",
                r#"libp2p_discovery_ignored_total{reason="unauthenticated"} 9"#,
                r#"libp2p_discovery_ignored_total{reason="own"} 10"#,
                r#"libp2p_discovery_ignored_total{reason="author_rate"} 11"#,
                r#"libp2p_discovery_ignored_total{reason="newcomer_rate"} 13"#,
                r#"libp2p_discovery_ignored_total{reason="oversized"} 15"#,
                r#"libp2p_discovery_ignored_total{reason="outdated"} 16"#,
                r#"libp2p_discovery_ignored_total{reason="malformed"} 17"#,
                r#"libp2p_discovery_ignored_total{reason="foreign_key"} 18"#,
                "libp2p_discovery_dropped_addresses_total 19",
                "libp2p_discovery_discovered_total 20",
                "libp2p_discovery_updated_total 21",
                "libp2p_discovery_expired_total 22",
                "libp2p_discovery_muted_total 23",
                "libp2p_discovery_hub_failures_total 26",
                "libp2p_discovery_known_peers 18446744073709551615",
                "libp2p_discovery_hubs 24",
                "libp2p_discovery_hubs_connected 25",
            ]
        );
    }
}
