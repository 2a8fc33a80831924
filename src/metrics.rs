//! Writes down what is counted elsewhere, when somebody asks for it.
//!
//! Nothing is counted for the sake of metrics, and nothing happens between two scrapes: a [`Collector`] reads what its
//! module counts anyway. Each has all its series from the start, since an alert cannot tell one that is missing from one
//! that is quiet.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeGaugeValue, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};

/// Registers the metrics of one module, whose names all begin with `libp2p_<module>`, as do those of libp2p's crates.
pub(crate) fn register(registry: &mut Registry, module: &str, collector: impl Collector) {
    registry
        .sub_registry_with_prefix("libp2p")
        .sub_registry_with_prefix(module)
        .register_collector(Box::new(collector));
}

/// What a [`Collector`] writes on.
pub(crate) struct Page<'a>(pub(crate) DescriptorEncoder<'a>);

impl Page<'_> {
    /// What only ever grows. Its name gets `_total` behind it.
    pub(crate) fn counter(&mut self, name: &str, help: &str, count: u64) -> fmt::Result {
        let encoder = self
            .0
            .encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(count).encode(encoder)
    }

    /// What comes and goes.
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

/// All that a registry shows, without what it says of it.
#[cfg(test)]
pub(crate) fn shown(registry: &Registry) -> Vec<String> {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples.map(str::to_owned).collect()
}
