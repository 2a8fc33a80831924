//! Raw TCP, ws and wss on one port, with all who speak them.

use std::{fs, net::Ipv4Addr, path::PathBuf};

use crate::{
    LISTEN, Node,
    authority::Authority,
    ports::free_port,
    process::{RUNTIMES, SCRATCH, Scene},
};

/// What follows the port in an address.
const KINDS: [&str; 3] = ["", "/ws", "/tls/ws"];

/// Crosses every border of a frame and of a record.
const ECHO: usize = 300 * 1024;

/// A certificate for this host, in files with this name.
struct Files {
    ca: PathBuf,
    chain: PathBuf,
    key: PathBuf,
}

impl Files {
    fn new(name: &str) -> Self {
        let authority = Authority::new();
        let signed = authority.sign_number(1);
        let write = |what: &str, text: String| {
            let file = PathBuf::from(SCRATCH).join(format!("one-port-{name}-{what}.pem"));
            fs::write(&file, text).expect("Cargo made the directory");
            file
        };
        Self {
            ca: write("ca", authority.pem()),
            chain: write("chain", signed.chain_pem()),
            key: write("key", signed.key_pem()),
        }
    }

    /// The options of this name for the certificate, and of the other for its key.
    fn options(&self, chain: &str, key: &str) -> String {
        let files = (self.chain.display(), self.key.display());
        format!("{chain} {} {key} {}", files.0, files.1)
    }
}

/// The address of this kind. All are of one node.
fn of_kind<'a>(node: &'a Node, kind: &str) -> &'a str {
    let is_this = |address: &&String| {
        let (address, _) = address.split_once("/p2p/").expect("it ends with the peer");
        let after_port = address.splitn(6, '/').nth(5);
        // js and go have an older name for the same.
        let found = after_port.map_or(String::new(), |kind| format!("/{kind}"));
        found.replace("/wss", "/tls/ws") == kind
    };
    let found = node.addresses.iter().find(is_this);
    found.unwrap_or_else(|| panic!("{kind} is among {:?}", node.addresses))
}

/// The node has accepted a connection of this kind from that one.
async fn arrives(at: &Node, from: &Node, kind: &str) {
    let start = format!("incoming {} /ip4/127.0.0.1/tcp/", from.id);
    let rest = at
        .process
        .wait("who has come", |line| {
            line.strip_prefix(&start).map(ToOwned::to_owned)
        })
        .await;
    let found = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    assert_eq!(found.replace("/wss", "/tls/ws"), kind, "{rest}");
}

/// Everybody dials each kind on the one port of a Rust node, on every runtime.
#[tokio::test]
async fn everybody_reaches_each_kind_on_one_port_on_every_runtime() {
    for runtime in RUNTIMES {
        let scene = Scene::default();
        let files = Files::new(runtime);
        let at = format!(
            "--listen /ip4/127.0.0.1/tcp/{}",
            free_port(Ipv4Addr::LOCALHOST)
        );
        let certificate = files.options("--tls-cert", "--tls-key");
        let hub = scene
            .rust(&format!(
                "{at} {at}/ws {at}/tls/ws --tcp {certificate} --runtime {runtime} --interval 1"
            ))
            .await;
        for kind in KINDS {
            let address = of_kind(&hub, kind);
            let dial = format!("--dial {address}");
            let echo = (format!("echo {} {ECHO}", hub.id), format!("echo ok {ECHO}"));

            let mut js = scene.trusting_js("js", &files.ca, dial.clone()).await;
            js.does(&echo.0, &echo.1).await;
            arrives(&hub, &js, kind).await;
            js.process.finish().await;

            let trust = format!("--trust {}", files.ca.display());
            if let Some(mut go) = scene.go(&format!("{dial} {trust}")).await {
                go.connects(&hub).await;
                go.does(&echo.0, &echo.1).await;
                arrives(&hub, &go, kind).await;
                go.hears(&hub, 1).await;
                go.process.finish().await;
            }

            let arguments = format!("--listen {LISTEN} --tcp {dial} {trust}");
            let rust = scene.rust_named("rust", &arguments).await;
            rust.connects(&hub).await;
            arrives(&hub, &rust, kind).await;
            rust.process.finish().await;
        }
        // Those who have gone are no error.
        assert!(!hub.process.printed("error "));
    }
}
