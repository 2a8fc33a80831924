use std::fmt;

use prometheus_client::{collector::Collector, encoding::DescriptorEncoder, registry::Registry};

use super::Certificates;
use crate::{
    deadline::{self, SystemTime},
    metrics::{self, Page},
    websocket::Certificate,
};

impl Certificates {
    /// As `register_metrics` of the transport tells.
    pub(crate) fn register_metrics(&self, registry: &mut Registry) {
        metrics::register(registry, "websocket", InUse(self.clone()));
    }

    fn encode_at(&self, encoder: DescriptorEncoder<'_>, now: SystemTime) -> fmt::Result {
        let (current, refusals) = {
            let state = self.0.state();
            (state.current.clone(), state.refusals)
        };
        let mut page = Page(encoder);
        page.gauge(
            "certificate_remaining_seconds",
            "How long the certificate in use is still valid, negative once it has expired, 0 if there is none.",
            current.map_or(0, |certificate| remaining_seconds(&certificate, now)),
        )?;
        page.counter(
            "certificates_refused",
            "Number of certificates that were refused.",
            refusals,
        )
    }
}

#[derive(Debug)]
struct InUse(Certificates);

impl Collector for InUse {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.0.encode_at(encoder, deadline::wall_clock())
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
    struct At(Certificates, SystemTime);

    impl Collector for At {
        fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
            self.0.encode_at(encoder, self.1)
        }
    }

    fn shown(certificates: &Certificates, now: SystemTime) -> Vec<String> {
        let mut registry = Registry::default();
        metrics::register(&mut registry, "websocket", At(certificates.clone(), now));
        metrics::shown(&registry)
    }

    #[test]
    fn the_end_of_what_is_in_use_and_what_was_refused_are_shown() {
        let certificates = Certificates::new();
        let mut registry = Registry::default();
        certificates.register_metrics(&mut registry);
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
            shown(&certificates, end - now),
            [
                "libp2p_websocket_certificate_remaining_seconds 100",
                "libp2p_websocket_certificates_refused_total 2",
            ]
        );
        assert_eq!(
            shown(&certificates, end + later)[0],
            "libp2p_websocket_certificate_remaining_seconds -7"
        );
    }
}
