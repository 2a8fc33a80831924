use std::fmt;

use prometheus_client::{collector::Collector, encoding::DescriptorEncoder, registry::Registry};

use super::Certificates;
use crate::{
    deadline::{self, SystemTime},
    metrics::{self, Page},
    websocket::Certificate,
};

impl Certificates {
    /// Registers what is known of them as metrics:
    ///
    /// - the gauge `libp2p_websocket_certificate_remaining_seconds`, how long the certificate in use is still valid by
    ///   the clock of this host: negative once it has expired, 0 as long as there is none;
    /// - `libp2p_websocket_certificates_refused_total`, how many were refused, by [`set`](Self::set) or in the watched
    ///   files. Files that are not there before the first certificate do not count.
    ///
    /// Two alerts find most of what goes wrong with a certificate that is renewed by something else: that the gauge is
    /// below 7 days for an hour, which includes a certificate that never came, and that the counter has increased
    /// within the last hour. The second names the cause long before the first, and the log has the reason.
    ///
    /// ```text
    /// libp2p_websocket_certificate_remaining_seconds < 7 * 86400
    /// increase(libp2p_websocket_certificates_refused_total[1h]) > 0
    /// ```
    ///
    /// For several handles in one registry, give each a sub-registry with a label that tells it from the others.
    /// A registry keeps the handle, and with it the files are watched as long as the registry lives.
    pub fn register_metrics(&self, registry: &mut Registry) {
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
