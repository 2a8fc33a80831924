use std::fmt;

use prometheus_client::{collector::Collector, encoding::DescriptorEncoder, registry::Registry};

use super::Certificates;
use crate::{
    deadline::{self, SystemTime},
    metrics::{self, Page},
    websocket::Certificate,
};

/// As `register_metrics` of the transport tells.
pub(in crate::websocket) fn register(registry: &mut Registry, certificates: &[Certificates]) {
    if !certificates.is_empty() {
        metrics::register(registry, "websocket", InUse(certificates.to_vec()));
    }
}

#[derive(Debug)]
struct InUse(Vec<Certificates>);

impl InUse {
    fn encode_at(&self, encoder: DescriptorEncoder<'_>, now: SystemTime) -> fmt::Result {
        let (mut least, mut refused) = (None::<i64>, 0);
        for certificates in &self.0 {
            let (current, refusals) = {
                let state = certificates.0.state();
                (state.current.clone(), state.refusals)
            };
            let left = current.map_or(0, |certificate| remaining_seconds(&certificate, now));
            least = Some(least.map_or(left, |least| least.min(left)));
            refused += refusals;
        }
        let mut page = Page(encoder);
        page.gauge(
            "certificate_remaining_seconds",
            "How long the certificate in use is still valid, negative once it has expired, 0 if there is none. Of several \
             the least.",
            least.unwrap_or_default(),
        )?;
        page.counter(
            "certificates_refused",
            "Number of certificates that were refused.",
            refused,
        )
    }
}

impl Collector for InUse {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.encode_at(encoder, deadline::wall_clock())
    }
}

fn remaining_seconds(certificate: &Certificate, now: SystemTime) -> i64 {
    let seconds = |duration: std::time::Duration| duration.as_secs().try_into().unwrap_or(i64::MAX);
    match certificate.not_after().duration_since(now) {
        Ok(left) => seconds(left),
        Err(passed) => -seconds(passed.duration()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::websocket::certificates::tests::certificate;

    #[derive(Debug)]
    struct At(InUse, SystemTime);

    impl Collector for At {
        fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
            self.0.encode_at(encoder, self.1)
        }
    }

    fn shown(certificates: &[&Certificates], now: SystemTime) -> Vec<String> {
        let mut registry = Registry::default();
        let certificates = certificates.iter().map(|&one| one.clone());
        metrics::register(
            &mut registry,
            "websocket",
            At(InUse(certificates.collect()), now),
        );
        metrics::shown(&registry)
    }

    #[test]
    fn the_end_of_what_is_in_use_and_what_was_refused_are_shown() {
        let certificates = Certificates::new();
        let mut registry = Registry::default();
        register(&mut registry, std::slice::from_ref(&certificates));
        assert_eq!(
            metrics::shown(&registry),
            [
                "libp2p_websocket_certificate_remaining_seconds 0",
                "libp2p_websocket_certificates_refused_total 0",
            ]
        );

        let in_use = certificate(0);
        let end = in_use.not_after();
        certificates.set(in_use).unwrap();
        certificates.set(certificate(2)).unwrap_err();
        certificates.set(certificate(-2)).unwrap_err();
        let (now, later) = (Duration::from_secs(100), Duration::from_secs(7));
        assert_eq!(
            shown(&[&certificates], end - now),
            [
                "libp2p_websocket_certificate_remaining_seconds 100",
                "libp2p_websocket_certificates_refused_total 2",
            ]
        );
        assert_eq!(
            shown(&[&certificates], end + later)[0],
            "libp2p_websocket_certificate_remaining_seconds -7"
        );
        // Of several the least, be it that one has not come.
        assert_eq!(
            shown(&[&certificates, &Certificates::new()], end - now),
            [
                "libp2p_websocket_certificate_remaining_seconds 0",
                "libp2p_websocket_certificates_refused_total 2",
            ]
        );
    }
}
