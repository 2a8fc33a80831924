//! Listeners whose port or certificate comes late.

use std::{
    future::poll_fn,
    net::{Ipv4Addr, TcpListener},
    pin::Pin,
    time::{Duration, Instant},
};

use libp2p::{
    Multiaddr,
    core::transport::{ListenerId, Transport, TransportEvent},
};
use libp2p_lazy_websocket::websocket::{self, Certificate, Certificates};
use libp2p_websocket::tls;

use crate::nodes::{engine, lazy_transport, stock_transport};

/// At which interval somebody tries again by hand: the first delay of a lazy listener.
const INTERVAL: Duration = Duration::from_millis(100);

/// A port that is taken when the listener first tries, and free right afterwards.
pub(crate) async fn lazy_port() -> Duration {
    let (taken, address) = taken();
    let mut transport = lazy_transport();
    listen(&mut transport, &address);
    match next(&mut transport).await {
        TransportEvent::ListenerError { .. } => {}
        _ => panic!("the port is taken"),
    }
    drop(taken);
    let start = Instant::now();
    new_address(&mut transport).await;
    start.elapsed()
}

/// The same with a loop around `listen_on`.
pub(crate) async fn stock_port() -> Duration {
    let (taken, address) = taken();
    let mut transport = stock_transport();
    assert!(
        transport
            .listen_on(ListenerId::next(), address.clone())
            .is_err()
    );
    drop(taken);
    let start = Instant::now();
    loop {
        tokio::time::sleep(INTERVAL).await;
        if transport
            .listen_on(ListenerId::next(), address.clone())
            .is_ok()
        {
            break;
        }
    }
    new_address(&mut transport).await;
    start.elapsed()
}

/// A certificate for `localhost`.
pub(crate) struct Made {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Made {
    pub(crate) fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
        let made = made.expect("the name is one");
        Self {
            certificate: made.cert.der().to_vec(),
            key: made.key_pair.serialize_der(),
        }
    }
}

/// A certificate that comes when the listener waits for it.
pub(crate) async fn lazy_certificate(made: &Made) -> Duration {
    let certificates = Certificates::new();
    let config = websocket::Config::default()
        .with_engine(engine())
        .with_certificates(certificates.clone());
    let mut transport = websocket::tokio::transport(config);
    listen(&mut transport, &tls_address());
    settle(&mut transport);
    let certificate = Certificate::from_der(vec![made.certificate.clone()], made.key.clone());
    let certificate = certificate.expect("it was just made");
    let start = Instant::now();
    certificates.set(certificate).expect("it is valid");
    new_address(&mut transport).await;
    start.elapsed()
}

/// The same by hand.
pub(crate) async fn stock_certificate(made: &Made) -> Duration {
    let mut transport = stock_transport();
    settle(&mut transport);
    let key = tls::PrivateKey::new(made.key.clone());
    let certificate = tls::Certificate::new(made.certificate.clone());
    let start = Instant::now();
    let config = tls::Config::new(key, [certificate]);
    transport.set_tls_config(config.expect("it was just made"));
    listen(&mut transport, &tls_address());
    new_address(&mut transport).await;
    start.elapsed()
}

fn tls_address() -> Multiaddr {
    "/ip4/127.0.0.1/tcp/0/tls/ws".parse().expect("a multiaddr")
}

fn taken() -> (TcpListener, Multiaddr) {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback is there");
    let port = taken.local_addr().expect("it is bound").port();
    let address = format!("/ip4/127.0.0.1/tcp/{port}/ws");
    (taken, address.parse().expect("a multiaddr"))
}

fn listen<T: Transport>(transport: &mut T, address: &Multiaddr) {
    let accepted = transport.listen_on(ListenerId::next(), address.clone());
    assert!(accepted.is_ok(), "{address}");
}

/// Lets it do what it has to do without anything from outside.
fn settle<T: Transport + Unpin>(transport: &mut T) {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(Pin::new(transport).poll(&mut cx).is_pending());
}

async fn next<T: Transport + Unpin>(
    transport: &mut T,
) -> TransportEvent<T::ListenerUpgrade, T::Error> {
    poll_fn(|cx| Pin::new(&mut *transport).poll(cx)).await
}

async fn new_address<T: Transport + Unpin>(transport: &mut T) {
    match next(transport).await {
        TransportEvent::NewAddress { .. } => {}
        _ => panic!("a listener did not bind"),
    }
}
