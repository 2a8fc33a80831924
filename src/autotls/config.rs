use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

use crate::websocket::TrustAnchor;

/// Options of a [`Behaviour`](crate::autotls::Behaviour).
#[derive(Clone)]
pub struct Config {
    pub(super) domain: String,
    pub(super) broker: String,
    pub(super) acme_directory: String,
    pub(super) contact: Option<String>,
    pub(super) storage: Option<PathBuf>,
    pub(super) token: Option<String>,
    pub(super) private_addresses: bool,
    pub(super) registration_delay: Duration,
    pub(super) trust_anchors: Vec<TrustAnchor>,
    pub(super) name_server: Option<SocketAddr>,
    pub(super) time_scale: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            domain: "libp2p.direct".to_owned(),
            broker: "https://registration.libp2p.direct".to_owned(),
            acme_directory: "https://acme-v02.api.letsencrypt.org/directory".to_owned(),
            contact: None,
            storage: None,
            token: None,
            private_addresses: false,
            registration_delay: Duration::ZERO,
            trust_anchors: Vec::new(),
            name_server: None,
            time_scale: 1.0,
        }
    }
}

impl Config {
    /// The domain of the broker. The name of a node is `<ip>.<peer id>.<domain>`.
    ///
    /// Defaults to `libp2p.direct`.
    pub fn with_domain(mut self, domain: impl Into<String>) -> Self {
        self.domain = domain.into();
        self
    }

    /// The URL of the broker, which sets the DNS record that proves the name of this node to the ACME server. With `http`
    /// in place of `https` the connection is not encrypted: only for a broker on the same host or in one's own network.
    ///
    /// Defaults to `https://registration.libp2p.direct`.
    pub fn with_broker(mut self, url: impl Into<String>) -> Self {
        self.broker = url.into();
        self
    }

    /// The URL of the directory of the ACME server, which issues the certificate. Using it accepts its terms of service.
    ///
    /// Defaults to that of Let's Encrypt, `https://acme-v02.api.letsencrypt.org/directory`.
    pub fn with_acme_directory(mut self, url: impl Into<String>) -> Self {
        self.acme_directory = url.into();
        self
    }

    /// The staging server of Let's Encrypt: higher limits, and certificates that no browser trusts. Its accounts and
    /// certificates are stored apart from those of other directories.
    pub fn staging(self) -> Self {
        self.with_acme_directory("https://acme-staging-v02.api.letsencrypt.org/directory")
    }

    /// An email address for the account at the ACME server.
    ///
    /// Defaults to none, which Let's Encrypt allows.
    pub fn with_contact(mut self, email: impl Into<String>) -> Self {
        self.contact = Some(email.into());
        self
    }

    /// The folder for the account, the certificate and its private key. It is created if it is missing, and read and written
    /// by this user only. Several nodes may share it.
    ///
    /// Defaults to none: each start orders another certificate. Let's Encrypt issues five a week for one name, so that the
    /// sixth start of a week gets none.
    pub fn with_storage(mut self, folder: impl Into<PathBuf>) -> Self {
        self.storage = Some(folder.into());
        self
    }

    /// The value of the header `Forge-Authorization`, for a broker that is not open to all. It is sent to the broker only,
    /// after the broker has proven its peer id.
    ///
    /// Defaults to none.
    pub fn with_token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Whether private addresses are enough to ask for a certificate, and get names of their own. For tests and for networks
    /// with a broker of their own: a public broker cannot connect to them.
    ///
    /// Defaults to false.
    pub fn with_private_addresses(mut self, private: bool) -> Self {
        self.private_addresses = private;
        self
    }

    /// The longest wait, at random, before the first certificate is ordered, so that many nodes that start at once do not
    /// ask at once.
    ///
    /// Defaults to zero.
    pub fn with_registration_delay(mut self, delay: Duration) -> Self {
        self.registration_delay = delay;
        self
    }

    /// Adds a certificate that is trusted as that of the broker and of the ACME server, or of an authority that has signed
    /// theirs, in addition to the roots that browsers trust.
    pub fn with_trust_anchor(mut self, anchor: TrustAnchor) -> Self {
        self.trust_anchors.push(anchor);
        self
    }

    /// The name server that is asked for the TXT record before the ACME server is told to look, by UDP and TCP. For a
    /// network with a domain of its own.
    ///
    /// Defaults to those of the system.
    pub fn with_name_server(mut self, address: SocketAddr) -> Self {
        self.name_server = Some(address);
        self
    }

    /// A factor for all delays, so that tests do not wait for hours. Zero, negative and infinite ones count as 1.
    #[doc(hidden)]
    pub fn with_time_scale(mut self, factor: f64) -> Self {
        let is_usable = factor.is_normal() && factor.is_sign_positive();
        self.time_scale = if is_usable { factor } else { 1.0 };
        self
    }

    /// A delay as it is to be waited for.
    pub(super) fn scaled(&self, delay: Duration) -> Duration {
        Duration::try_from_secs_f64(delay.as_secs_f64() * self.time_scale).unwrap_or(Duration::MAX)
    }
}

impl fmt::Debug for Config {
    /// Without the token, and without URLs, which may have a password in them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("domain", &self.domain)
            .field("storage", &self.storage)
            .field("private_addresses", &self.private_addresses)
            .field("registration_delay", &self.registration_delay)
            .field("name_server", &self.name_server)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_printed() {
        let config = Config::default()
            .with_token("sesame")
            .with_broker("https://user:sesame@example.com")
            .with_acme_directory("https://user:sesame@example.com");
        assert!(!format!("{config:?}").contains("sesame"));
    }

    #[test]
    fn delays_are_scaled_whatever_the_factor() {
        let delay = Duration::from_secs(10);
        let scaled = |factor| Config::default().with_time_scale(factor).scaled(delay);
        assert_eq!(Config::default().scaled(delay), delay);
        assert_eq!(scaled(0.1), Duration::from_secs(1));
        for odd in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(scaled(odd), delay, "{odd}");
        }
        let huge = Config::default().with_time_scale(1e300);
        assert_eq!(huge.scaled(Duration::MAX), Duration::MAX);
        assert_eq!(Config::default().scaled(Duration::MAX), Duration::MAX);
    }
}
