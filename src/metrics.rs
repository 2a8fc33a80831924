//! Encodes counters of the modules at each scrape.
//!
//! Nothing is counted for metrics alone, and nothing happens between two scrapes: a [`Collector`] reads the counters of its
//! module. Each has all its series from the start, since an alert cannot tell one that is missing from one
//! that is quiet.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeGaugeValue, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};

/// Registers the metrics of one module. All names begin with `libp2p_<module>`, as in the crates of libp2p.
pub(crate) fn register(registry: &mut Registry, module: &str, collector: impl Collector) {
    registry
        .sub_registry_with_prefix("libp2p")
        .sub_registry_with_prefix(module)
        .register_collector(Box::new(collector));
}

/// The output of a [`Collector`].
pub(crate) struct Page<'a>(pub(crate) DescriptorEncoder<'a>);

impl Page<'_> {
    /// A counter. `_total` is appended to its name.
    pub(crate) fn counter(&mut self, name: &str, help: &str, count: u64) -> fmt::Result {
        let encoder = self
            .0
            .encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(count).encode(encoder)
    }

    /// A gauge.
    pub(crate) fn gauge(
        &mut self,
        name: &str,
        help: &str,
        value: impl EncodeGaugeValue,
    ) -> fmt::Result {
        let encoder = self
            .0
            .encode_descriptor(name, help, None, MetricType::Gauge)?;
        ConstGauge::new(value).encode(encoder)
    }

    /// A counter for each value of a label.
    pub(crate) fn counters<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        counts: [(&str, u64); N],
    ) -> fmt::Result {
        let mut family = self
            .0
            .encode_descriptor(name, help, None, MetricType::Counter)?;
        for (value, count) in counts {
            ConstCounter::new(count).encode(family.encode_family(&[(label, value)])?)?;
        }
        Ok(())
    }

    /// A gauge for each value of a label.
    pub(crate) fn gauges<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        counts: [(&str, u64); N],
    ) -> fmt::Result {
        let mut family = self
            .0
            .encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (value, count) in counts {
            ConstGauge::new(count).encode(family.encode_family(&[(label, value)])?)?;
        }
        Ok(())
    }
}

/// All values of a registry, without their descriptions.
#[cfg(test)]
pub(crate) fn shown(registry: &Registry) -> Vec<String> {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples.map(str::to_owned).collect()
}
