use std::io;

use rustls::{
    ClientConnection, ConnectionCommon, HandshakeKind, ServerConnection, SideData,
    SupportedProtocolVersion, pki_types::CertificateDer, version,
};

use super::*;
use crate::websocket::Certificates;

/// Serves a certificate of its own.
struct Served {
    tls: Tls,
    certificates: Certificates,
}

impl Served {
    fn new() -> (Self, CertificateDer<'static>) {
        let (certificate, der) = certificate();
        let certificates = Certificates::new();
        certificates.set(certificate).unwrap();
        let tls = Tls::new(&Config::default().with_certificates(certificates.clone()));
        (Self { tls, certificates }, der)
    }

    /// Another certificate takes the place of the one that is served.
    fn replace(&mut self) {
        self.certificates.set(certificate().0).unwrap();
        let mut task = tokio_test::task::spawn(());
        let changed = task.enter(|cx, _| self.tls.poll_changed(cx));
        assert_eq!(changed, Poll::Ready(true));
    }

    /// How a connection of this client comes about.
    fn connect(&self, client: &Arc<ClientConfig>) -> HandshakeKind {
        let name = "localhost".try_into().unwrap();
        let mut client = ClientConnection::new(Arc::clone(client), name).unwrap();
        let mut server = ServerConnection::new(self.tls.server().unwrap()).unwrap();
        while client.wants_write() || server.wants_write() {
            pass(&mut client, &mut server);
            pass(&mut server, &mut client);
        }
        assert!(!client.is_handshaking() && !server.is_handshaking());
        client.handshake_kind().unwrap()
    }
}

fn pass<A: SideData, B: SideData>(from: &mut ConnectionCommon<A>, to: &mut ConnectionCommon<B>) {
    let mut bytes = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut bytes).unwrap();
    }
    let mut bytes = io::Cursor::new(bytes);
    while (bytes.position() as usize) < bytes.get_ref().len() {
        to.read_tls(&mut bytes).unwrap();
        to.process_new_packets().unwrap();
    }
}

fn certificate() -> (Certificate, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let der = made.cert.der().clone();
    let key = made.signing_key.serialize_der();
    (Certificate::from_der(vec![der.to_vec()], key).unwrap(), der)
}

fn client(
    trusted: &CertificateDer<'static>,
    version: &'static SupportedProtocolVersion,
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(ring::default_provider().into())
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

/// What a server and a client need for a handshake of this version.
pub(super) fn configs(
    version: &'static SupportedProtocolVersion,
) -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let (served, der) = Served::new();
    (served.tls.server().unwrap(), client(&der, version))
}

#[test]
fn a_client_that_returns_resumes_its_session_however_many_others_came() {
    for version in [&version::TLS12, &version::TLS13] {
        let (mut served, der) = Served::new();
        let returning = client(&der, version);
        assert_eq!(served.connect(&returning), HandshakeKind::Full);
        for _ in 0..300 {
            let other = client(&der, version);
            assert_eq!(served.connect(&other), HandshakeKind::Full);
        }
        assert_eq!(served.connect(&returning), HandshakeKind::Resumed);
        assert_eq!(served.connect(&returning), HandshakeKind::Resumed);
        served.replace();
        assert_eq!(served.connect(&returning), HandshakeKind::Resumed);
    }
}

#[test]
fn a_session_is_resumed_only_with_the_server_that_it_was_with() {
    let (served, der) = Served::new();
    let returning = client(&der, &version::TLS13);
    served.connect(&returning);
    let mut other = Served::new().0;
    other.tls.sources[0]
        .certificate
        .clone_from(&served.tls.sources[0].certificate);
    assert_eq!(other.connect(&returning), HandshakeKind::Full);
}
