//! The choice between several certificates for a client.

use std::sync::Arc;

use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use crate::websocket::{Certificate, certificate::Names};

/// Serves the first certificate that verifies the name that the client asks for. For an unknown name, or without one, as in
/// dials by IP, it serves the first of all.
#[derive(Debug)]
pub(super) struct ByName(Vec<(Names, Arc<CertifiedKey>)>);

impl ByName {
    pub(super) fn new<'a>(certificates: impl Iterator<Item = &'a Certificate>) -> Self {
        let served = certificates.map(|one| (one.names().clone(), one.certified()));
        Self(served.collect())
    }

    fn of(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let named = name.and_then(|name| self.0.iter().find(|(names, _)| names.has(name)));
        let (_, certified) = named.or_else(|| self.0.first())?;
        Some(Arc::clone(certified))
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.of(client_hello.server_name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(names: &[&str]) -> Certificate {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let chain = vec![made.cert.der().to_vec()];
        Certificate::from_der(chain, made.signing_key.serialize_der()).unwrap()
    }

    #[test]
    fn the_first_that_has_the_name_is_served_and_else_the_first_of_all() {
        let certificates = [
            certificate(&["a.example", "192.0.2.1"]),
            certificate(&["*.b.example", "c.example"]),
            certificate(&["a.example", "d.b.example"]),
        ];
        let served = ByName::new(certificates.iter());
        for (name, expected) in [
            (Some("a.example"), 0),
            (Some("A.EXAMPLE"), 0),
            (Some("d.b.example"), 1),
            (Some("c.example"), 1),
            (Some("b.example"), 0),
            (Some("e.example"), 0),
            (None, 0),
        ] {
            let found = served.of(name).unwrap();
            assert!(
                Arc::ptr_eq(&found, &certificates[expected].certified()),
                "{name:?}"
            );
        }
        assert!(ByName::new([].iter()).of(None).is_none());
    }
}
