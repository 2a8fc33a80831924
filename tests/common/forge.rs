//! All that AutoTLS needs of the world, on one machine: p2p-forge, the broker of names, and pebble, an authority that speaks
//! ACME.

#![allow(dead_code, reason = "each test file uses its part")]

use std::{
    fs,
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto::ring};
use tokio::{process::Command, task, time::timeout};

use crate::{
    authority::{Authority, Leaf},
    gate::{Gates, Places},
    go,
    ports::free_port,
    process::{PATIENCE, Process, SCRATCH, Scene},
};

/// The packages of `tests/interop/autotls`.
const PACKAGES: &[&str] = &[
    "github.com/ipshipyard/p2p-forge",
    "github.com/letsencrypt/pebble/v2/cmd/pebble",
];

/// A broker and an authority for one test, which end when this is dropped.
pub(crate) struct Forge {
    /// Of pebble, over TLS by [`trust`](Self::trust).
    pub(crate) directory_url: String,
    /// Over plain HTTP.
    pub(crate) broker_url: String,
    /// The one below which each peer has its name.
    pub(crate) domain: &'static str,
    /// Where the names are looked up, over UDP and TCP.
    pub(crate) dns: SocketAddr,
    /// Whom to trust to speak with pebble: a file in PEM. It signs no certificate of a node.
    pub(crate) trust: PathBuf,
    /// In front of the parts, if the test has asked for them.
    pub(crate) gates: Option<Gates>,
    /// The parts themselves.
    places: Places,
    /// Where pebble tells of itself.
    management: SocketAddr,
    trusted: Vec<u8>,
    directory: PathBuf,
    programs: PathBuf,
    broker: Option<Process>,
    pebble: Option<Process>,
}

impl Forge {
    /// Starts both, of which each answers when this returns. What pebble signs is valid for so long, in whole seconds.
    ///
    /// Returns nothing where there is no Go to build them. The test has nothing to try then, and has been reported as
    /// skipped.
    pub(crate) async fn start(scene: &Scene, validity: Duration) -> Option<Self> {
        Self::begin(scene, validity, None).await
    }

    /// The same, each part behind a gate.
    pub(crate) async fn behind_gates(scene: &Scene, validity: Duration) -> Option<Self> {
        let gates = Gates::new().await.expect("there are ports");
        Self::begin(scene, validity, Some(gates)).await
    }

    async fn begin(scene: &Scene, validity: Duration, mut gates: Option<Gates>) -> Option<Self> {
        static PROGRAMS: OnceLock<Option<PathBuf>> = OnceLock::new();
        static COUNT: AtomicUsize = AtomicUsize::new(0);

        let programs = PROGRAMS
            .get_or_init(|| go::build("autotls", PACKAGES))
            .clone()?;
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = Path::new(SCRATCH).join(format!("forge-{}-{count}", std::process::id()));
        fs::create_dir_all(directory.join("zones")).expect("Cargo made the directory above");
        let local = || SocketAddr::from((Ipv4Addr::LOCALHOST, free_port(Ipv4Addr::LOCALHOST)));
        let [dns, broker, acme, management] = [local(), local(), local(), local()];
        let authority = Authority::new();
        let places = Places {
            broker,
            acme,
            dns: [dns; 2],
        };
        if let Some(gates) = &mut gates {
            gates.lead_to(&places, &authority);
        }
        let shown = gates.as_ref().map_or(places, |gates| gates.places);
        let mut forge = Self {
            directory_url: format!("https://{}/dir", shown.acme),
            broker_url: format!("http://{}", shown.broker),
            domain: "libp2p.test",
            dns: shown.dns[0],
            gates,
            places,
            trust: directory.join("trust.pem"),
            management,
            trusted: authority.der(),
            directory,
            programs,
            broker: None,
            pebble: None,
        };
        forge.configure(&authority, validity);
        forge.start_broker(scene).await;
        forge.start_pebble(scene).await;
        Some(forge)
    }

    fn configure(&self, authority: &Authority, validity: Duration) {
        let Self {
            domain, management, ..
        } = self;
        let Places { broker, acme, .. } = self.places;
        let shown = self.shown().broker;
        let write = |name: &str, text: String| {
            let file = self.directory.join(name);
            fs::write(&file, text).expect("the directory is there");
            file.to_str().expect("a path in UTF-8").to_owned()
        };
        // The broker looks for it under this name.
        let zone = format!("zones/{domain}");
        write(
            &zone,
            format!(
                "$TTL 60\n$ORIGIN {domain}.\n@ SOA ns1 admin 1 60 60 60 60\n@ NS ns1\nns1 A 127.0.0.1\n"
            ),
        );
        // The name of the registration is that of a socket, so that nobody has to resolve it.
        write(
            "Corefile",
            format!(
                "{domain} {{\n\
                     bind 127.0.0.1\n\
                     errors\n\
                     any\n\
                     ipparser {domain}\n\
                     file {zone}\n\
                     acme {domain} {{\n\
                         registration-domain {shown} listen-address={broker} external-tls=true\n\
                         database-type badger challenges\n\
                     }}\n\
                 }}\n"
            ),
        );
        let signed = authority.sign(&Leaf::default());
        write("trust.pem", authority.pem());
        let (chain, key) = (
            write("pebble-chain.pem", signed.chain_pem()),
            write("pebble-key.pem", signed.key_pem()),
        );
        let validity = validity.as_secs();
        write(
            "pebble.json",
            format!(
                r#"{{"pebble": {{
                    "listenAddress": "{acme}",
                    "managementListenAddress": "{management}",
                    "certificate": "{chain}",
                    "privateKey": "{key}",
                    "httpPort": 5002,
                    "tlsPort": 5001,
                    "retryAfter": {{"authz": 1, "order": 1}},
                    "keyAlgorithm": "ecdsa",
                    "profiles": {{"default": {{"description": "default", "validityPeriod": {validity}}}}}
                }}}}"#
            ),
        );
    }

    /// What others see of the parts.
    fn shown(&self) -> Places {
        self.gates
            .as_ref()
            .map_or(self.places, |gates| gates.places)
    }

    /// What it has stored of names before is there again.
    pub(crate) async fn start_broker(&mut self, scene: &Scene) {
        let mut command = Command::new(self.programs.join("p2p-forge"));
        command
            .args(["-dns.port", &self.places.dns[0].port().to_string()])
            .current_dir(&self.directory);
        let broker = scene.spawn("broker", command);
        // It says so once it listens to questions.
        broker
            .wait("it has started", |line| {
                line.starts_with("CoreDNS-").then_some(())
            })
            .await;
        self.answers(204, &format!("{}/v1/health", self.broker_url))
            .await;
        self.broker = Some(broker);
    }

    pub(crate) async fn stop_broker(&mut self) {
        stop(&mut self.broker).await;
    }

    /// With another issuing root than before, and without the accounts and orders that it had.
    pub(crate) async fn start_pebble(&mut self, scene: &Scene) {
        let mut command = Command::new(self.programs.join("pebble"));
        command
            .args(["-config", "pebble.json", "-dnsserver"])
            .arg(self.shown().dns[1].to_string())
            .current_dir(&self.directory)
            // It would wait for up to 15 s before it looks for a name.
            .env("PEBBLE_VA_NOSLEEP", "1");
        let pebble = scene.spawn("pebble", command);
        // It says so a moment before it listens to requests.
        pebble
            .wait("it has started", |line| {
                line.contains("ACME directory available").then_some(())
            })
            .await;
        self.answers(200, &self.directory_url).await;
        self.answers(200, &self.root_url()).await;
        self.pebble = Some(pebble);
    }

    pub(crate) async fn stop_pebble(&mut self) {
        stop(&mut self.pebble).await;
    }

    /// The root of the certificates of nodes, in PEM.
    pub(crate) async fn issuing_root(&self) -> String {
        let (status, root) = self.get(&self.root_url()).await.expect("pebble answers");
        assert_eq!(status, 200, "{root}");
        root
    }

    fn root_url(&self) -> String {
        format!("https://{}/roots/0", self.management)
    }

    /// The status and the body of an answer of one of them.
    pub(crate) async fn get(&self, url: &str) -> io::Result<(u16, String)> {
        let (url, trusted) = (url.to_owned(), self.trusted.clone());
        let answer = task::spawn_blocking(move || get(&url, trusted));
        answer.await.expect("it does not panic")
    }

    async fn answers(&self, status: u16, url: &str) {
        let mut last = None;
        let answer = async {
            while !matches!(last.insert(self.get(url).await), Ok((found, _)) if *found == status) {
                task::yield_now().await;
            }
        };
        if timeout(PATIENCE, answer).await.is_err() {
            panic!("{url} answers {status}, not {last:?}");
        }
    }
}

impl Drop for Forge {
    fn drop(&mut self) {
        drop((self.broker.take(), self.pebble.take()));
        let _ = fs::remove_dir_all(&self.directory);
    }
}

async fn stop(process: &mut Option<Process>) {
    let mut process = process.take().expect("it runs");
    // By no signal that it could refuse, as a machine would that loses its power.
    process.child.kill().await.expect("it is ours");
}

fn get(url: &str, trusted: Vec<u8>) -> io::Result<(u16, String)> {
    let (scheme, rest) = url.split_once("://").expect("a URL");
    let (host, path) = rest.split_once('/').expect("a path");
    let socket = TcpStream::connect(host)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let answer = match scheme {
        "http" => ask(socket, path)?,
        _ => {
            let mut roots = RootCertStore::empty();
            roots.add(trusted.into()).expect("a certificate");
            let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
                .with_safe_default_protocol_versions()
                .expect("the provider has them")
                .with_root_certificates(roots)
                .with_no_client_auth();
            let name = "localhost".try_into().expect("a name");
            let session =
                ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
            ask(StreamOwned::new(session, socket), path)?
        }
    };
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    Ok((status.ok_or(io::ErrorKind::InvalidData)?, body.to_owned()))
}

/// In the version of HTTP in which the end of the connection ends the body.
fn ask(mut stream: impl Read + Write, path: &str) -> io::Result<String> {
    // The one that speaks ACME wants to know who asks.
    let request = format!("GET /{path} HTTP/1.0\r\nUser-Agent: test\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
