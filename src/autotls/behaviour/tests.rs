use std::{future::poll_fn, io};

use libp2p_core::transport::TransportError;
use libp2p_swarm::behaviour;
use tokio::time::timeout;

use super::*;
use crate::autotls::issuer::outside::{Folder, Outside};

/// A behaviour whose swarm is the test.
struct Subject {
    behaviour: Behaviour,
    certificates: Certificates,
}

fn address(text: &str) -> Multiaddr {
    text.parse().unwrap()
}

impl Subject {
    fn new(key: &Keypair, config: Config) -> Self {
        let certificates = Certificates::new();
        Self {
            behaviour: Behaviour::new(key, certificates.clone(), config),
            certificates,
        }
    }

    /// On a port that the broker can connect to.
    async fn listening(key: &Keypair, config: Config) -> Self {
        let mut subject = Self::new(key, config);
        let tcp = address("/ip4/1.2.3.4/tcp/4001");
        subject.behaviour.listen_on(tcp.clone()).unwrap();
        subject.swarm(FromSwarm::NewListenAddr(behaviour::NewListenAddr {
            listener_id: ListenerId::next(),
            addr: &tcp,
        }));
        subject
    }

    fn swarm(&mut self, event: FromSwarm<'_>) {
        self.behaviour.on_swarm_event(event);
    }

    fn confirmed(&mut self, addr: &Multiaddr) {
        self.swarm(FromSwarm::ExternalAddrConfirmed(
            behaviour::ExternalAddrConfirmed { addr },
        ));
    }

    async fn output(&mut self) -> ToSwarm<Event, THandlerInEvent<Behaviour>> {
        let output = poll_fn(|cx| self.behaviour.poll(cx));
        timeout(Duration::from_secs(60), output).await.unwrap()
    }

    /// As its name and what is most telling in it.
    async fn next(&mut self) -> String {
        match self.output().await {
            ToSwarm::GenerateEvent(Event::Failed {
                step,
                error,
                retry_in,
            }) => format!("failed {step:?} {} {error}", retry_in.is_some()),
            ToSwarm::GenerateEvent(Event::ListenFailed { reason, .. }) => {
                format!("listen failed {reason}")
            }
            ToSwarm::GenerateEvent(event) => {
                let text = format!("{event:?}");
                text.split(" {").next().unwrap().to_owned()
            }
            ToSwarm::ListenOn { opts } => format!("listen {}", opts.address()),
            ToSwarm::ExternalAddrConfirmed(address) => format!("confirm {address}"),
            ToSwarm::ExternalAddrExpired(address) => format!("expire {address}"),
            other => panic!("{other:?}"),
        }
    }

    /// Up to and with this one.
    async fn until(&mut self, start: &str) -> String {
        loop {
            let next = self.next().await;
            if next.starts_with(start) {
                return next;
            }
        }
    }

    fn state(&self) -> String {
        self.behaviour.status().state.to_string()
    }
}

#[tokio::test]
async fn from_nothing_to_an_external_address_with_a_name() {
    let (outside, folder) = (Outside::new().await, Folder::new());
    let config = outside.config().with_storage(&folder.0);
    let mut subject = Subject::new(&Keypair::generate_ed25519(), config);
    assert_eq!(subject.next().await, "Waiting(NoListener)");
    let tcp = address("/ip4/0.0.0.0/tcp/4001");
    let id = subject.behaviour.listen_on(tcp).unwrap();
    let name = subject.behaviour.name().to_owned();
    let wildcard = format!("/ip4/0.0.0.0/tcp/4001/tls/sni/*.{name}/ws");
    assert_eq!(subject.next().await, format!("listen {wildcard}"));
    subject.swarm(FromSwarm::NewListener(behaviour::NewListener {
        listener_id: id,
    }));
    assert_eq!(subject.next().await, "Waiting(NothingToDialBack)");
    let plain = address("/ip4/192.168.1.5/tcp/4001/ws");
    let listener_id = ListenerId::next();
    subject.swarm(FromSwarm::NewListenAddr(behaviour::NewListenAddr {
        listener_id,
        addr: &plain,
    }));
    assert_eq!(subject.next().await, "Waiting(NoPublicAddress)");
    assert!(subject.state().contains("Swarm::add_external_address"));
    assert!(outside.state().log.is_empty(), "nobody is asked before");
    let external = address("/ip4/1.2.3.4/tcp/4001/ws");
    subject.confirmed(&external);
    assert_eq!(subject.next().await, "Ordering");
    assert_eq!(subject.state(), "ordering");
    assert!(subject.certificates.current().is_none());
    let named = format!("/ip4/1.2.3.4/tcp/4001/tls/sni/1-2-3-4.{name}/ws");
    assert_eq!(subject.next().await, format!("confirm {named}"));
    assert_eq!(subject.next().await, "Obtained");
    assert_eq!(subject.state(), "ready");
    let status = subject.behaviour.status();
    assert_eq!((status.obtained, status.failed), (1, 0));
    let current = subject.certificates.current().unwrap();
    assert_eq!(Some(current.not_after()), status.not_after);

    // What it stands for is over.
    subject.swarm(FromSwarm::ExternalAddrExpired(
        behaviour::ExternalAddrExpired { addr: &external },
    ));
    assert_eq!(subject.next().await, format!("expire {named}"));
    assert_eq!(subject.state(), "ready");
}

#[tokio::test]
async fn a_stored_certificate_is_in_use_at_once() {
    let (outside, folder) = (Outside::new().await, Folder::new());
    let config = outside.config().with_storage(&folder.0);
    let key = Keypair::generate_ed25519();
    let mut first = Subject::listening(&key, config.clone()).await;
    first.until("Obtained").await;
    outside.state().log.clear();
    let mut second = Subject::new(&key, config);
    assert!(second.certificates.current().is_some());
    assert_eq!(second.next().await, "Obtained");
    assert_eq!(second.state(), "ready");
    assert!(outside.state().log.is_empty());
}

#[tokio::test]
async fn a_failure_is_told_and_the_next_attempt_comes_by_itself() {
    let (outside, folder) = (Outside::new().await, Folder::new());
    let config = outside.config().with_storage(&folder.0);
    let refusal = (403, Vec::new(), "not you".to_owned());
    outside.state().instead.insert("/v1/_acme", refusal);
    let mut subject = Subject::listening(&Keypair::generate_ed25519(), config).await;
    for attempt in 1..4 {
        let failed = subject.until("failed").await;
        assert!(failed.starts_with("failed Broker true"), "{failed}");
        assert!(failed.ends_with("status 403: not you"), "{failed}");
        let state = subject.state();
        assert!(
            state.starts_with("retrying in ") && state.ends_with("not you"),
            "{state}"
        );
        assert_eq!(subject.behaviour.status().failed, attempt);
        assert_eq!(subject.next().await, "Ordering");
    }
    outside.state().instead.clear();
    subject.until("Obtained").await;
    assert_eq!(subject.state(), "ready");
}

#[tokio::test]
async fn it_is_renewed_when_two_thirds_are_over_and_goes_when_it_cannot_be() {
    let (outside, folder) = (Outside::new().await, Folder::new());
    let config = outside.config().with_storage(&folder.0);
    outside.state().remaining = Duration::from_secs(4);
    let mut subject = Subject::listening(&Keypair::generate_ed25519(), config).await;
    let external = address("/ip4/5.6.7.8/tcp/4001");
    subject.confirmed(&external);
    subject.until("confirm").await;
    assert_eq!(subject.next().await, "Obtained");
    assert_eq!(subject.next().await, "Ordering");
    assert_eq!(subject.next().await, "Renewed");
    let refusal = (500, Vec::new(), String::new());
    outside.state().instead.insert("/v1/_acme", refusal);
    assert_eq!(subject.next().await, "Ordering");
    subject.until("failed Broker").await;
    assert!(subject.certificates.current().is_some());
    subject.until("expire /ip4/5.6.7.8/").await;
    assert!(subject.certificates.current().is_none());
    subject.until("Expired").await;
    assert_eq!(subject.behaviour.status().not_after, None);
    outside.state().instead.clear();
    subject.until("confirm /ip4/5.6.7.8/").await;
    assert_eq!(subject.next().await, "Obtained");
}

#[tokio::test]
async fn a_damaged_store_is_told_and_replaced() {
    let (outside, folder) = (Outside::new().await, Folder::new());
    let config = outside.config().with_storage(&folder.0);
    let key = Keypair::generate_ed25519();
    Subject::listening(&key, config.clone())
        .await
        .until("Obtained")
        .await;
    for (_, file) in folder.files() {
        let whole = std::fs::read(&file).unwrap();
        std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    }
    let mut subject = Subject::listening(&key, config).await;
    let failed = subject.next().await;
    assert!(failed.starts_with("failed Storage false"), "{failed}");
    assert!(!failed.contains("BEGIN"), "{failed}");
    assert!(subject.certificates.current().is_none());
    subject.until("Obtained").await;
}

#[tokio::test]
async fn an_address_that_cannot_be_listened_on_is_told() {
    let outside = Outside::new().await;
    let mut subject = Subject::new(&Keypair::generate_ed25519(), outside.config());
    for (text, error) in [
        ("/ip4/0.0.0.0/tcp/0", "port 0"),
        ("/ip4/0.0.0.0/tcp/1/ws", "/tcp and nothing else"),
        ("/dns4/localhost/tcp/1", "/tcp and nothing else"),
        ("/ip4/0.0.0.0/udp/1", "/tcp and nothing else"),
    ] {
        let refused = subject.behaviour.listen_on(address(text)).unwrap_err();
        let told = refused.to_string();
        assert!(told.starts_with(text) && told.contains(error), "{told}");
    }
    assert_eq!(subject.next().await, "Waiting(NoListener)");

    let tcp = address("/ip4/0.0.0.0/tcp/1");
    let listener_id = subject.behaviour.listen_on(tcp.clone()).unwrap();
    assert!(subject.next().await.starts_with("listen "));
    let err: TransportError<io::Error> = TransportError::MultiaddrNotSupported(tcp);
    subject.swarm(FromSwarm::ListenerError(behaviour::ListenerError {
        listener_id,
        err: &err,
    }));
    assert!(subject.next().await.starts_with("listen failed Multiaddr"));
    assert_eq!(
        subject.state(),
        "waiting for a listener with the name of this node: autotls::Behaviour::listen_on"
    );
}

#[cfg(feature = "metrics")]
#[tokio::test]
async fn the_metrics_are_there_from_the_start() {
    let outside = Outside::new().await;
    let mut registry = prometheus_client::registry::Registry::default();
    let key = Keypair::generate_ed25519();
    let mut subject = Subject::listening(&key, outside.config()).await;
    subject.behaviour.register_metrics(&mut registry);
    let shown = |registry: &_, sample: &str| {
        let samples = crate::metrics::shown(registry);
        let found = samples.iter().any(|line| line == sample);
        assert!(found, "{sample} is among {samples:#?}");
    };
    shown(&registry, "libp2p_autotls_obtained_total 0");
    shown(
        &registry,
        "libp2p_autotls_failed_total{step=\"renewal_info\"} 0",
    );
    shown(&registry, "libp2p_autotls_certificate_remaining_seconds 0");
    subject.until("Obtained").await;
    let polled = poll_fn(|cx| {
        while let Poll::Ready(output) = subject.behaviour.poll(cx) {
            assert!(matches!(output, ToSwarm::GenerateEvent(_)), "{output:?}");
        }
        Poll::Ready(())
    });
    polled.await;
    shown(&registry, "libp2p_autotls_obtained_total 1");
    shown(&registry, "libp2p_autotls_state{state=\"ready\"} 1");
}
