//! AutoTLS with p2p-forge, pebble, go-libp2p and js-libp2p, the latter in Node.js and in Chromium. Needs Go and npm.
#![cfg(all(
    feature = "autotls",
    feature = "gossipsub",
    feature = "interop",
    feature = "upgrade"
))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "common/authority.rs"]
mod authority;
#[path = "common/chromium.rs"]
mod chromium;
#[path = "common/forge.rs"]
mod forge;
#[path = "common/gate.rs"]
mod gate;
#[path = "common/go.rs"]
mod go;
#[path = "common/js.rs"]
mod js;
#[path = "common/ports.rs"]
mod ports;
#[path = "common/process.rs"]
mod process;

use std::{
    collections::HashSet,
    fs,
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use forge::Forge;
use futures::StreamExt as _;
use gate::Closed;
use libp2p::{
    Multiaddr, PeerId, Swarm,
    identity::Keypair,
    multiaddr::Protocol,
    ping,
    swarm::{self, NetworkBehaviour, SwarmEvent},
};
use libp2p_lazy_websocket::{autotls, discovery::DEFAULT_TOPIC as TOPIC, websocket};
use ports::free_port;
use process::{PATIENCE, Process, SCRATCH, Scene, announcement, build};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::{process::Command, time::timeout};

const DAYS: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// The example `node`, on a port and with a store of its own.
struct Node {
    port: u16,
    arguments: Vec<String>,
    store: PathBuf,
}

impl Node {
    fn new(forge: &Forge, name: &str) -> Self {
        let port = free_port(Ipv4Addr::LOCALHOST);
        let folder = Path::new(SCRATCH).join(format!("autotls-{}-{port}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let store = folder.join(name);
        let tcp = format!("/ip4/127.0.0.1/tcp/{port}");
        let arguments = [
            "--tcp",
            "--until-stdin-closes",
            "--interval=1",
            "--autotls-private",
            "--autotls-time-scale=0.02",
            &format!("--listen={tcp}"),
            &format!("--listen={tcp}/ws"),
            &format!("--key={}", folder.join("key").display()),
            &format!("--autotls={}", store.display()),
            &format!("--autotls-acme={}", forge.directory_url),
            &format!("--autotls-broker={}", forge.broker_url),
            &format!("--autotls-domain={}", forge.domain),
            &format!("--autotls-trust={}", forge.trust.display()),
            &format!("--autotls-dns={}", forge.dns),
        ];
        Self {
            port,
            arguments: arguments.map(ToOwned::to_owned).into(),
            store,
        }
    }

    /// One that waits for two seconds where others wait for an hour.
    fn hasty(forge: &Forge) -> Self {
        let mut node = Self::new(forge, "store");
        for argument in &mut node.arguments {
            if argument.starts_with("--autotls-time-scale") {
                *argument = "--autotls-time-scale=0.0005".to_owned();
            }
        }
        node
    }

    fn start(&self, scene: &Scene, name: &'static str) -> Process {
        let mut command = Command::new(node());
        command.args(&self.arguments);
        scene.spawn(name, command)
    }

    /// The address with the name of the node, once it is printed.
    async fn named(&self, process: &Process) -> String {
        let start = format!(
            "listening /ip4/127.0.0.1/tcp/{}/tls/sni/127-0-0-1.",
            self.port
        );
        process
            .wait("the address with its name", |line| {
                let address = line.strip_prefix("listening ")?;
                line.starts_with(&start).then(|| address.to_owned())
            })
            .await
    }
}

fn node() -> &'static Path {
    static NODE: OnceLock<PathBuf> = OnceLock::new();
    NODE.get_or_init(|| build().unwrap())
}

fn node_js() -> &'static Path {
    static NODE_JS: OnceLock<PathBuf> = OnceLock::new();
    NODE_JS.get_or_init(|| js::install().unwrap())
}

/// Another node, which trusts this root and dials that address.
async fn dialler(scene: &Scene, name: &'static str, root: &Path, address: &str) -> Process {
    let mut command = match name {
        "go" => {
            static PROGRAMS: OnceLock<PathBuf> = OnceLock::new();
            let programs = PROGRAMS.get_or_init(|| go::build("go", &["."]).unwrap());
            Command::new(programs.join("go"))
        }
        _ => {
            let mut command = Command::new(node());
            command.args(["--until-stdin-closes", "--interval=1"]);
            command
        }
    };
    command.args(["--trust".as_ref(), root.as_os_str()]);
    command.args(["--dial", address]);
    scene.spawn(name, command)
}

async fn state(process: &Process, state: &str) {
    let wanted = format!("autotls {state}");
    process
        .wait(&wanted, |line| line.starts_with(&wanted).then_some(()))
        .await;
}

/// The failure of an attempt, and that of the next one.
async fn told_twice(hub: &Process, said: &str) {
    told(hub, said, 2).await;
}

async fn told(hub: &Process, said: &str, times: usize) {
    let mut count = 0;
    hub.wait(&format!("{times} times: {said}"), |line| {
        let retrying = line.strip_prefix("autotls retrying in ")?;
        count += usize::from(retrying.contains(said));
        (count == times).then_some(())
    })
    .await;
}

fn peer(address: &str) -> &str {
    address.rsplit('/').next().unwrap()
}

#[tokio::test]
async fn a_node_gets_its_certificate_is_dialled_by_it_and_keeps_it_over_a_restart() {
    let scene = Scene::default();
    let Some(mut forge) = Forge::start(&scene, DAYS).await else {
        return;
    };
    let node = Node::new(&forge, "store");
    let hub = node.start(&scene, "hub");
    let plain = format!("/ip4/127.0.0.1/tcp/{}/ws", node.port);
    let listening = format!("listening {plain}/");
    hub.wait(&listening, |line| {
        line.starts_with(&listening).then_some(())
    })
    .await;
    // So that there is somebody to whom addresses are announced.
    let witness = dialler(&scene, "witness", &forge.trust, &plain).await;
    let address = node.named(&hub).await;
    let is_announced = |line: &str| line.starts_with("announced ") && line.contains("/tls/sni/");
    hub.wait("its announcement", |line| is_announced(line).then_some(()))
        .await;
    state(&hub, "ready").await;
    let lines = hub.lines();
    let at = |what: &dyn Fn(&str) -> bool| lines.iter().position(|line| what(line)).unwrap();
    let listens = at(&|line| line == format!("listening {address}"));
    assert!(at(&|line| line == "autotls ordering") < listens);
    assert!(listens < at(&is_announced));
    witness.finish().await;

    let root = node.store.with_extension("root");
    fs::write(&root, forge.issuing_root().await).unwrap();
    for name in ["rust", "go"] {
        let other = dialler(&scene, name, &root, &address).await;
        let connected = format!("connected {}", peer(&address));
        other
            .wait(&connected, |line| (line == connected).then_some(()))
            .await;
        let incoming = |line: &str| line.starts_with("incoming ") && line.ends_with("/tls/ws");
        hub.wait("a connection over TLS", |line| incoming(line).then_some(()))
            .await;
        if name == "go" {
            let mut go = other;
            // It is subscribed to the topic of discovery, and hears of the hub there.
            let message = format!("message {} ", peer(&address));
            go.wait(&message, |line| line.starts_with(&message).then_some(()))
                .await;
            // And the hub hears of go.
            let id = go
                .wait("its peer id", |line| {
                    line.strip_prefix("started ").map(ToOwned::to_owned)
                })
                .await;
            go.say(&format!("publish {TOPIC} {}", announcement(&id)))
                .await;
            let discovered = format!("discovered {id} ");
            hub.wait(&discovered, |line| (line == discovered).then_some(()))
                .await;
            go.say(&format!("echo {} 100000", peer(&address))).await;
            go.wait("the echo", |line| (line == "echo ok 100000").then_some(()))
                .await;
            go.finish().await;
        } else {
            other.finish().await;
        }
    }
    hub.finish().await;

    // Nobody is asked, and nobody is there.
    forge.stop_broker().await;
    forge.stop_pebble().await;
    let hub = node.start(&scene, "restarted");
    assert_eq!(node.named(&hub).await, address);
    assert!(!hub.printed("autotls ordering") && !hub.printed("error "));
    hub.finish().await;
}

/// The node with its certificate, the address with its name, and a file with the root to trust.
async fn named_hub(scene: &Scene, forge: &Forge) -> (Node, Process, String, PathBuf) {
    let node = Node::new(forge, "store");
    let hub = node.start(scene, "hub");
    let address = node.named(&hub).await;
    let root = node.store.with_extension("root");
    fs::write(&root, forge.issuing_root().await).unwrap();
    (node, hub, address, root)
}

/// Waits until both have found each other by a node of js that has dialled that address. Returns the peer id of the latter.
async fn discover_each_other(hub: &Process, js: &Process, address: &str) -> String {
    let id = js
        .wait("its peer id", |line| {
            line.strip_prefix("started ").map(ToOwned::to_owned)
        })
        .await;
    let transport = match address.contains("/tls/") {
        true => "/tls/ws",
        false => "/ws",
    };
    let incoming = format!("incoming {id} ");
    hub.wait("its connection", |line| {
        let from = line.strip_prefix(&incoming)?;
        let plain = from.strip_suffix(transport)?;
        (!plain.ends_with("/tls")).then_some(())
    })
    .await;
    let found = format!("discovered {id} ");
    hub.wait(&found, |line| line.starts_with(&found).then_some(()))
        .await;
    let found = format!("discovered {} ", peer(address));
    js.wait(&found, |line| {
        let mut addresses = line.strip_prefix(&found)?.split(',');
        addresses
            .any(|announced| announced == address)
            .then_some(())
    })
    .await;
    id
}

#[tokio::test]
async fn js_libp2p_in_node_dials_the_name() {
    let scene = Scene::default();
    let Some(forge) = Forge::start(&scene, DAYS).await else {
        return;
    };
    let (_, hub, address, root) = named_hub(&scene, &forge).await;
    let mut command = Command::new(node_js());
    command
        .arg("--import")
        .arg(js::directory().join("names.mjs"))
        .arg(js::directory().join("node.mjs"))
        .args(["--interval", "1000", "--dial", &address])
        .env("NODE_EXTRA_CA_CERTS", root);
    let mut js = scene.spawn("js", command);
    let id = discover_each_other(&hub, &js, &address).await;
    js.say(&format!("echo {} 100000", peer(&address))).await;
    js.wait("the echo", |line| (line == "echo ok 100000").then_some(()))
        .await;
    assert!(!hub.printed(&format!("disconnected {id}")));
    assert!(!js.printed("disconnected ") && !js.printed("error "));
    js.finish().await;
    hub.finish().await;
}

/// By its name, as a page on `https` has to, and without TLS. For longer than the timers of both sides: pings every 10 s, keep-alives
/// and handshakes of 10 to 30 s.
#[tokio::test]
async fn js_libp2p_in_chromium_dials_the_name_and_stays() {
    const STAYS: u64 = 45;

    let Some(chromium) = chromium::find_with_certutil() else {
        return;
    };
    let scene = Scene::default();
    let Some(forge) = Forge::start(&scene, DAYS).await else {
        return;
    };
    let (node, hub, address, root) = named_hub(&scene, &forge).await;
    let plain = format!("/ip4/127.0.0.1/tcp/{}/ws/p2p/{}", node.port, peer(&address));
    let pages = [("named page", &address), ("plain page", &plain)].map(|(name, address)| {
        let mut command = js::browser(node_js(), &chromium);
        command.arg("--trust").arg(&root).args(["--dial", address]);
        (scene.spawn(name, command), address)
    });
    let mut ids = Vec::new();
    for (page, address) in &pages {
        ids.push(discover_each_other(&hub, page, address).await);
    }
    for (page, address) in &pages {
        let open = format!("open {} ", peer(address));
        page.wait_for(2 * PATIENCE, "an old connection", |line| {
            let seconds: u64 = line.strip_prefix(&open)?.parse().ok()?;
            (seconds >= STAYS).then_some(())
        })
        .await;
        assert!(!page.printed("disconnected ") && !page.printed("error "));
    }
    for id in ids {
        assert!(!hub.printed(&format!("disconnected {id}")));
    }
    assert!(!hub.printed("error "));
    for (page, _) in pages {
        page.finish().await;
    }
    hub.finish().await;
}

/// What a listener says while a part is away, and that it is well once it is back. Other listeners never notice.
#[tokio::test]
async fn each_part_may_be_away_and_comes_back() {
    let scene = Scene::default();
    let Some(mut forge) = Forge::start(&scene, DAYS).await else {
        return;
    };
    for (broker, pebble, said) in [
        (false, true, "health of the broker: no connection to "),
        (true, false, "ACME account: no connection to "),
        (false, false, "health of the broker: no connection to "),
    ] {
        if !broker {
            forge.stop_broker().await;
        }
        if !pebble {
            forge.stop_pebble().await;
        }
        let node = Node::hasty(&forge);
        let hub = node.start(&scene, "hub");
        told_twice(&hub, said).await;
        let plain = format!("/ip4/127.0.0.1/tcp/{}/ws", node.port);
        let other = dialler(&scene, "other", &forge.trust, &plain).await;
        other
            .wait("a connection", |line| {
                line.starts_with("connected ").then_some(())
            })
            .await;
        if !broker {
            forge.start_broker(&scene).await;
        }
        if !pebble {
            forge.start_pebble(&scene).await;
        }
        node.named(&hub).await;
        // Of the hub, only the broker has gone.
        assert!(!hub.printed("no longer ") && !other.printed("disconnected "));
        other.finish().await;
        hub.finish().await;
    }
}

/// The same at each step, which is the only one that fails, with the parts themselves behind it. Then all of them are away.
#[tokio::test]
async fn each_step_may_fail_and_is_told() {
    let scene = Scene::default();
    let Some(forge) = Forge::behind_gates(&scene, DAYS).await else {
        return;
    };
    let gates = forge.gates.as_ref().unwrap();
    for (closed, said) in [
        (
            Closed::Broker("/v1/health"),
            "health of the broker: no connection to ",
        ),
        (Closed::Acme("/dir"), "ACME account: no connection to "),
        (
            Closed::Acme("/sign-me-up"),
            "ACME account: no connection to ",
        ),
        (Closed::Acme("/order-plz"), "ACME order: no connection to "),
        (
            Closed::Broker("/v1/_acme-challenge"),
            "request to the broker: no connection to ",
        ),
        (
            Closed::Node,
            "answered with status 400: error testing addresses: ",
        ),
        (Closed::Names, "TXT record: "),
        (Closed::NamesOfAuthority, "validation: "),
        (
            Closed::Acme("/finalize-order/"),
            "finalization of the order: no connection to ",
        ),
        (
            Closed::Acme("/certZ/"),
            "download of the certificate: no connection to ",
        ),
    ] {
        let node = Node::hasty(&forge);
        gates.close(closed);
        let hub = node.start(&scene, "hub");
        told_twice(&hub, said).await;
        gates.close(Closed::All);
        let all = "health of the broker: no connection to ";
        told(&hub, all, if said == all { 3 } else { 1 }).await;
        gates.open();
        node.named(&hub).await;
        assert!(!hub.printed("no longer ") && !hub.printed("error "));
        hub.finish().await;
    }
}

/// Who is connected stays so; nobody is told of an address at which nobody can be reached.
#[tokio::test]
async fn a_certificate_that_runs_out_takes_its_address_with_it() {
    let scene = Scene::default();
    let Some(mut forge) = Forge::start(&scene, Duration::from_secs(15)).await else {
        return;
    };
    let (node, hub, address, root) = named_hub(&scene, &forge).await;
    let other = dialler(&scene, "other", &root, &address).await;
    other
        .wait("a connection", |line| {
            line.starts_with("connected ").then_some(())
        })
        .await;
    // The next ones will be of another root.
    forge.stop_pebble().await;
    for gone in [format!("no longer {address}"), "autotls expired".to_owned()] {
        hub.wait(&gone, |line| (line == gone).then_some(())).await;
    }
    assert!(!other.printed("disconnected "));
    let plain = format!("/ip4/127.0.0.1/tcp/{}/ws", node.port);
    let late = dialler(&scene, "late", &root, &plain).await;
    late.wait("the other one", |line| {
        line.starts_with("discovered ").then_some(())
    })
    .await;
    forge.start_pebble(&scene).await;
    let mut count = 0;
    let again = format!("listening {address}");
    hub.wait("the address again", |line| {
        count += usize::from(line == again);
        (count == 2).then_some(())
    })
    .await;
    assert!(!other.printed("disconnected "));
    for node in [other, late, hub] {
        node.finish().await;
    }
}

#[derive(NetworkBehaviour)]
struct Server {
    autotls: autotls::Behaviour,
    ping: ping::Behaviour,
}

fn pings() -> ping::Behaviour {
    ping::Behaviour::new(ping::Config::new().with_interval(Duration::from_millis(500)))
}

fn swarm<B: NetworkBehaviour>(key: &Keypair, config: websocket::Config, behaviour: B) -> Swarm<B> {
    let transport = websocket::tokio::transport(config).upgraded(key).unwrap();
    let config =
        swarm::Config::with_tokio_executor().with_idle_connection_timeout(Duration::from_secs(600));
    Swarm::new(transport, behaviour, key.public().into(), config)
}

/// When the certificate expires that a new handshake is shown.
async fn served(address: &Multiaddr, root: &str) -> SystemTime {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(root.as_bytes()).unwrap())
        .unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let protocols: Vec<_> = address.iter().collect();
    let [
        Protocol::Ip4(ip),
        Protocol::Tcp(port),
        _,
        Protocol::Sni(name),
        ..,
    ] = &protocols[..]
    else {
        panic!("{address}");
    };
    let (socket, name) = (
        (*ip, *port),
        ServerName::try_from(name.to_string()).unwrap(),
    );
    let served = tokio::task::spawn_blocking(move || {
        let mut tcp = TcpStream::connect(socket).unwrap();
        let mut tls = ClientConnection::new(Arc::new(config), name).unwrap();
        while tls.is_handshaking() {
            tls.complete_io(&mut tcp).unwrap();
        }
        let leaf = tls.peer_certificates().unwrap()[0].to_vec();
        let (_, leaf) = x509_parser::parse_x509_certificate(&leaf).unwrap();
        leaf.validity().not_after.timestamp().unsigned_abs()
    });
    SystemTime::UNIX_EPOCH + Duration::from_secs(served.await.unwrap())
}

/// Ten times in a row, with peers that talk all the time.
#[tokio::test]
async fn renewals_cost_no_connection() {
    const PEERS: usize = 50;
    const RENEWALS: usize = 10;

    // Alone, as a renewal has five seconds before the certificate expires.
    let scene = Scene::alone();
    let Some(forge) = Forge::start(&scene, Duration::from_secs(30)).await else {
        return;
    };
    let key = Keypair::generate_ed25519();
    let certificates = websocket::Certificates::new();
    let anchor = websocket::TrustAnchor::from_pem(&fs::read(&forge.trust).unwrap()).unwrap();
    let config = autotls::Config::default()
        .with_acme_directory(&forge.directory_url)
        .with_broker(&forge.broker_url)
        .with_domain(forge.domain)
        .with_name_server(forge.dns)
        .with_trust_anchor(anchor)
        .with_private_addresses(true)
        .with_time_scale(0.02);
    let behaviour = Server {
        autotls: autotls::Behaviour::new(&key, certificates.clone(), config),
        ping: pings(),
    };
    let websocket = websocket::Config::default().with_certificates(certificates);
    let mut hub = swarm(&key, websocket, behaviour);
    let tcp: Multiaddr = format!("/ip4/127.0.0.1/tcp/{}", free_port(Ipv4Addr::LOCALHOST))
        .parse()
        .unwrap();
    hub.listen_on(tcp.clone().with(Protocol::Ws("/".into())))
        .unwrap();
    let wildcard = hub.behaviour_mut().autotls.listen_on(tcp).unwrap();
    let named = async {
        loop {
            match hub.select_next_some().await {
                SwarmEvent::NewListenAddr {
                    listener_id,
                    address,
                } if listener_id == wildcard => return address,
                _ => {}
            }
        }
    };
    let address = timeout(PATIENCE, named).await.unwrap();
    let root = forge.issuing_root().await;
    let anchor = websocket::TrustAnchor::from_pem(root.as_bytes()).unwrap();

    let answered: Arc<Vec<AtomicUsize>> =
        Arc::new((0..PEERS).map(|_| AtomicUsize::new(0)).collect());
    let lost = Arc::new(AtomicUsize::new(0));
    let mut missing: HashSet<PeerId> = HashSet::new();
    for peer in 0..PEERS {
        let config = websocket::Config::default().with_trust_anchor(anchor.clone());
        let mut client = swarm(&Keypair::generate_ed25519(), config, pings());
        client.dial(address.clone()).unwrap();
        missing.insert(*client.local_peer_id());
        let (answered, lost) = (Arc::clone(&answered), Arc::clone(&lost));
        tokio::spawn(async move {
            loop {
                match client.select_next_some().await {
                    SwarmEvent::Behaviour(ping::Event { result: Ok(_), .. }) => {
                        answered[peer].fetch_add(1, Ordering::Relaxed);
                    }
                    SwarmEvent::ConnectionClosed { .. }
                    | SwarmEvent::OutgoingConnectionError { .. } => {
                        lost.fetch_add(1, Ordering::Relaxed);
                    }
                    _ => {}
                }
            }
        });
    }

    let (mut ordered, mut renewed) = (0, 0);
    let mut failures = Vec::new();
    let renewals = async {
        while renewed < RENEWALS || !missing.is_empty() {
            match hub.select_next_some().await {
                SwarmEvent::Behaviour(ServerEvent::Autotls(event)) => match event {
                    autotls::Event::Ordering => ordered += 1,
                    autotls::Event::Renewed { not_after, .. } => {
                        renewed += 1;
                        // It is served from the next poll of the hub on.
                        let served = served(&address, &root);
                        let served = drive(&mut hub, served).await;
                        assert_eq!(served, not_after);
                    }
                    autotls::Event::Failed { step, error, .. } => failures.push((step, error)),
                    other => panic!("{other:?}"),
                },
                SwarmEvent::ConnectionEstablished { peer_id, .. } => {
                    missing.remove(&peer_id);
                }
                SwarmEvent::ExpiredListenAddr { address, .. } => panic!("{address}"),
                _ => {}
            }
        }
    };
    timeout(6 * PATIENCE, renewals).await.unwrap();
    assert_eq!(lost.load(Ordering::Relaxed), 0);
    assert_eq!(failures, []);
    assert_eq!(ordered, renewed);
    // All are still there.
    let before: Vec<_> = answered.iter().map(|n| n.load(Ordering::Relaxed)).collect();
    let all_answer = async {
        while before
            .iter()
            .zip(answered.iter())
            .any(|(before, now)| now.load(Ordering::Relaxed) <= before + 1)
        {
            hub.select_next_some().await;
        }
    };
    timeout(PATIENCE, all_answer).await.unwrap();
    assert_eq!(lost.load(Ordering::Relaxed), 0);
}

/// Polls the hub until that is done. What happens meanwhile is of no interest here.
async fn drive<T>(hub: &mut Swarm<Server>, done: impl Future<Output = T>) -> T {
    tokio::pin!(done);
    loop {
        tokio::select! {
            done = &mut done => return done,
            _ = hub.select_next_some() => {}
        }
    }
}
