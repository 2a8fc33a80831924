//! The page of the example `node`, as browsers, load balancers and Prometheus get it.

#![cfg(all(feature = "gossipsub", feature = "tokio", feature = "upgrade"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "common/authority.rs"]
mod authority;
#[cfg(feature = "interop")]
#[path = "common/chromium.rs"]
mod chromium;
#[path = "common/http.rs"]
mod http;
#[path = "common/process.rs"]
mod process;

#[cfg(feature = "interop")]
use std::time::{Duration, Instant, SystemTime};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use authority::{Authority, Leaf};
use futures::StreamExt as _;
use http::{Answer, Server};
use libp2p::{Multiaddr, SwarmBuilder, identify, swarm::SwarmEvent};
use libp2p_lazy_websocket::websocket;
use process::{Process, RUNTIMES, SCRATCH, Scene, build};
use tokio::process::Command;

const IP: &str = "127.0.0.1";

const WS: &str = "/ip4/127.0.0.1/tcp/0/ws";

const WSS: &str = "/ip4/127.0.0.1/tcp/0/tls/ws";

/// What a peer calls itself to be run as a script.
const FOUL: &str = "</script><script>alert('1')</script><img src=x onerror=\"alert(2)\">";

fn program() -> &'static Path {
    static PROGRAM: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let program = PROGRAM.get_or_init(build).as_ref();
    program.unwrap_or_else(|error| panic!("{error}"))
}

fn node(scene: &Scene, name: &'static str, arguments: &[&str]) -> Process {
    let mut command = Command::new(program());
    command.args(arguments);
    scene.spawn(name, command)
}

/// The port of the first page with this scheme.
async fn port(node: &Process, scheme: &str) -> u16 {
    let start = format!("page {scheme}://{IP}:");
    let port = |line: &str| line.strip_prefix(&start)?.strip_suffix('/')?.parse().ok();
    node.wait("the URL of a page", port).await
}

async fn address(node: &Process) -> String {
    let listening = |line: &str| line.strip_prefix("listening ").map(ToOwned::to_owned);
    node.wait("an address to listen on", listening).await
}

/// A certificate for localhost, and the names of the files that it is in, or will be.
struct Files {
    authority: Authority,
    chain: String,
    key: String,
}

impl Files {
    fn new(name: &str) -> Self {
        let path = |what| Path::new(SCRATCH).join(format!("page-{name}-{what}.pem"));
        let [chain, key] = ["chain", "key"].map(|what| {
            let _ = fs::remove_file(path(what));
            path(what).to_str().unwrap().to_owned()
        });
        let authority = Authority::new();
        Self {
            authority,
            chain,
            key,
        }
    }

    fn write(&self) {
        let signed = self.authority.sign(&Leaf::default());
        fs::write(&self.key, signed.key_pem()).unwrap();
        fs::write(&self.chain, signed.chain_pem()).unwrap();
    }

    fn arguments(&self) -> [&str; 4] {
        ["--tls-cert", &self.chain, "--tls-key", &self.key]
    }
}

fn is_html(answer: &Answer) -> bool {
    answer.header("content-type") == Some("text/html; charset=utf-8")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_path_is_answered_on_ws_and_wss() {
    for runtime in RUNTIMES {
        let scene = Scene::default();
        let files = Files::new(runtime);
        files.write();
        let mut arguments = vec![
            "--page",
            "--runtime",
            runtime,
            "--listen",
            WS,
            "--listen",
            WSS,
        ];
        arguments.extend(files.arguments());
        let node = node(&scene, "node", &arguments);
        let id = address(&node).await.rsplit('/').next().unwrap().to_owned();
        let ws = Server::plain(IP, port(&node, "http").await);
        let wss = Server::tls(IP, port(&node, "https").await, &files.authority);
        for server in [ws, wss] {
            answers(&server, &id);
        }
        assert!(!node.printed("error "), "visitors are no errors");
    }
}

fn answers(server: &Server, id: &str) {
    let mut events = server.events().unwrap();
    // In alphabetical order: wss comes first.
    let state = events.until(|state| (0..2).all(|of| state["listeners"][of]["is_ready"] == true));
    assert_eq!(state["id"], id);
    assert_eq!(state["listeners"][0]["certificates"][0]["days_left"], 0);
    assert_eq!(state["listeners"][1]["certificates"], serde_json::json!([]));
    for header in ["Cache-Control: no-store", "X-Accel-Buffering: no"] {
        assert!(events.head.contains(header), "{}", events.head);
    }

    for path in ["/", "/?a=b"] {
        let page = server.get(path);
        assert!(page.status == 200 && is_html(&page), "{}", page.head);
        assert!(page.body.contains(&format!(r#"<h1 id="id">{id}</h1>"#)));
        let policy = page.header("content-security-policy").unwrap();
        let nonce = policy.split("script-src 'nonce-").nth(1).unwrap();
        let nonce = &nonce[..nonce.find('\'').unwrap()];
        assert_eq!(page.body.matches(&format!(r#"nonce="{nonce}""#)).count(), 2);
        assert_ne!(
            server.get(path).header("content-security-policy"),
            Some(policy)
        );
    }
    let health = server.get("/healthz");
    assert_eq!((health.status, &*health.body), (200, "ok\n"));
    assert_eq!(server.status()["id"], id);
    let metrics = server.get("/metrics");
    match cfg!(feature = "metrics") {
        true => {
            assert_eq!(metrics.status, 200);
            for line in [
                "libp2p_lazy_ready_listeners 2\n",
                "libp2p_discovery_known_peers 0\n",
            ] {
                assert!(metrics.body.contains(line), "{}", metrics.body);
            }
        }
        false => assert!(metrics.status == 404 && metrics.body.contains("`metrics`")),
    }
    for (path, status) in [
        ("/", 200),
        ("/healthz", 200),
        ("/status.json", 200),
        ("/events", 200),
        ("/metrics", metrics.status),
        ("/nothing", 404),
    ] {
        let head = server.request("HEAD", path);
        assert_eq!((head.status, &*head.body), (status, ""), "{path}");
        let kind = head.header("content-type");
        assert!(path == "/events" || kind == server.get(path).header("content-type"));
    }
    assert_eq!(server.get("/nothing").status, 404);
    assert_eq!(
        server
            .ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
            .status,
        405
    );
    // As HAProxy looks whether a server is healthy.
    assert_eq!(server.ask("OPTIONS / HTTP/1.0\r\n\r\n").status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_are_told_and_one_more_has_to_ask() {
    let scene = Scene::default();
    let node = node(&scene, "node", &["--page", "--listen", WS]);
    let server = Server::plain(IP, port(&node, "http").await);
    let mut streams: Vec<_> = (0..16).map(|_| server.events().unwrap()).collect();
    for stream in &mut streams {
        stream.state();
    }
    assert_eq!(server.events().err(), Some(503));
    assert_eq!(server.request("HEAD", "/events").status, 200);
    for path in ["/", "/healthz", "/status.json"] {
        assert_eq!(server.get(path).status, 200);
    }
    for stream in &mut streams {
        let seconds = |state: serde_json::Value| state["up_seconds"].as_u64().unwrap();
        let first = seconds(stream.state());
        stream.until(|state| state["up_seconds"].as_u64() > Some(first));
    }
    // The place of one that has gone is free, as soon as that is noticed.
    drop(streams.pop());
    while server.events().is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_that_of_all_listeners() {
    let scene = Scene::default();
    let files = Files::new("health");
    let mut arguments = vec!["--page", "--listen", WS, "--listen", WSS];
    arguments.extend(files.arguments());
    let node = node(&scene, "node", &arguments);
    let server = Server::plain(IP, port(&node, "http").await);
    let waiting = server.get("/healthz");
    assert_eq!(waiting.status, 503);
    let reason = format!("{WSS}: waiting for certificate");
    assert!(waiting.body.starts_with(&reason), "{}", waiting.body);
    assert_eq!(server.ask("OPTIONS / HTTP/1.0\r\n\r\n").status, 503);
    let mut events = server.events().unwrap();
    events.until(|state| {
        state["listeners"][0]["state"]
            .as_str()
            .unwrap()
            .contains("waiting")
    });
    files.write();
    events.until(|state| state["listeners"][0]["is_ready"] == true);
    assert_eq!(server.get("/healthz").status, 200);
}

/// A peer with a name that would be a script. Discovery drops addresses like those that this node itself is given.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_others_say_is_html() {
    let scene = Scene::default();
    let address = "/dns4/<img src=x onerror='alert(3)'><script>/tcp/443/tls/ws";
    let mut arguments = vec!["--page", "--listen", WS];
    arguments.extend(["--hub", address, "--external", address]);
    let node = node(&scene, "node", &arguments);
    let server = Server::plain(IP, port(&node, "http").await);
    let transport = websocket::tokio::transport(websocket::Config::default());
    let mut named = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_other_transport(|key| transport.upgraded(key))
        .unwrap()
        .with_behaviour(|key| {
            let config = identify::Config::new("/page/1.0.0".to_owned(), key.public());
            identify::Behaviour::new(config.with_agent_version(FOUL.to_owned()))
        })
        .unwrap()
        .with_swarm_config(|config| config.with_idle_connection_timeout(process::PATIENCE))
        .build();
    let at: Multiaddr = self::address(&node).await.parse().unwrap();
    named.dial(at).unwrap();
    let _running = tokio::spawn(async move {
        loop {
            if let SwarmEvent::OutgoingConnectionError { error, .. } =
                named.select_next_some().await
            {
                panic!("{error:?}");
            }
        }
    });

    let state = server.events().unwrap().until(|state| {
        let hub = state["hubs"][0]["state"].as_str().unwrap();
        state["connections"][0]["agent"] == FOUL && hub.contains("unreachable")
    });
    assert_eq!(state["hubs"][0]["address"], address);
    let page = server.get("/").body;
    assert_eq!(page.matches("<script").count(), 1);
    assert_eq!(page.matches("</script").count(), 1);
    assert_eq!(page.matches("<img").count(), 0);
    for shown in [
        "<span>&lt;/script&gt;&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&lt;img src=x onerror=&quot;alert(2)&quot;&gt;</span>",
        "<span>/dns4/&lt;img src=x onerror=&#39;alert(3)&#39;&gt;&lt;script&gt;/tcp/443/tls/ws</span>",
    ] {
        assert!(page.contains(shown), "{page}");
    }
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn the_demonstration_stays_and_shows_all_its_nodes() {
    let scene = Scene::default();
    let mut node = node(&scene, "node", &["--peers", "3", "--stay"]);
    let server = Server::plain(IP, port(&node, "http").await);
    node.wait("the table", |line| line.starts_with("node ").then_some(()))
        .await;
    let state = server.events().unwrap().until(|state| {
        let overlay = &state["overlay"];
        state["known"] == 3 && overlay["edges"].as_array().unwrap().len() == 3
    });
    let nodes = state["overlay"]["nodes"].as_array().unwrap();
    let labels: Vec<_> = nodes
        .iter()
        .map(|node| node["label"].as_str().unwrap())
        .collect();
    assert_eq!(labels, ["hub", "peer 1", "peer 2", "peer 3"]);
    assert_eq!(server.get("/healthz").status, 200);
    for label in labels {
        assert!(server.get("/").body.contains(&format!(">{label}</text>")));
    }
    let id = nix::unistd::Pid::from_raw(node.child.id().unwrap().try_into().unwrap());
    nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGTERM).unwrap();
    node.ends("SIGTERM").await;
}

#[cfg(feature = "libp2p-websocket")]
#[tokio::test]
async fn the_other_engine_has_no_page() {
    let arguments = ["--page", "--engine", "libp2p", "--listen", WS];
    let output = Command::new(program())
        .args(arguments)
        .output()
        .await
        .unwrap();
    assert!(!output.status.success());
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("--page needs --engine stream"), "{error}");
}

/// A page in Chromium. Prints what its console has.
#[cfg(feature = "interop")]
async fn look(scene: &Scene, name: &'static str, url: &str) -> Option<Process> {
    let chromium = chromium::find()?;
    let mut command = Command::new("node");
    command
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/look.mjs"))
        .arg("--chromium")
        .arg(chromium)
        .arg("--home")
        .arg(Path::new(SCRATCH).join(format!("page-{name}-{}", std::process::id())))
        .args(["--url", url]);
    let page = scene.spawn(name, command);
    page.wait("the page", |line| (line == "loaded").then_some(()))
        .await;
    Some(page)
}

/// What an expression is in the page, in JSON, as soon as it is something.
#[cfg(feature = "interop")]
async fn value(page: &mut Process, expression: &str) -> String {
    let promise = format!(
        "value new Promise(resolve => {{ const look = () => ({expression}) ? resolve({expression}) : setTimeout(look, 20); look() }})"
    );
    let before = page.count(|line| line.starts_with("value "));
    page.say(&promise).await;
    let mut seen = 0;
    page.wait(expression, |line| {
        let value = line.strip_prefix("value ")?;
        seen += 1;
        (seen > before).then(|| value.to_owned())
    })
    .await
}

#[cfg(feature = "interop")]
async fn becomes(page: &mut Process, expression: &str, expected: &str) {
    assert_eq!(value(page, expression).await, expected, "{expression}");
}

/// Neither of the page nor of the network.
#[cfg(feature = "interop")]
fn assert_console_is_empty(page: &Process) {
    let of_console = ["console ", "exception ", "log "];
    let lines = page.lines();
    let of_console = lines
        .iter()
        .filter(|line| of_console.iter().any(|start| line.starts_with(start)));
    assert_eq!(of_console.collect::<Vec<_>>(), [""; 0]);
}

#[cfg(feature = "interop")]
const IS_LIVE: &str = "document.getElementById('link').textContent === 'live'";

/// When each peer was shown for the first time, by the clock of the machine.
#[cfg(feature = "interop")]
const SHOWN: &str = "globalThis.shown ??= (new MutationObserver(records => records.forEach(record => \
    record.addedNodes.forEach(row => shown[row.dataset.key] ??= Date.now()))).observe($('peers'), { childList: true }), {})";

/// Over ws and wss: three minutes without a word on the console, and peers that come and go.
#[cfg(feature = "interop")]
#[tokio::test(flavor = "multi_thread")]
async fn chromium_stays_for_three_minutes_and_shows_a_new_peer_within_two_seconds() {
    const STAYS: Duration = Duration::from_secs(180);
    const AT_ONCE: Duration = Duration::from_secs(2);

    let scene = Scene::default();
    let files = Files::new("chromium");
    files.write();
    let mut arguments = vec!["--page", "--listen", WS, "--listen", WSS, "--interval", "1"];
    arguments.extend(files.arguments());
    let hub = node(&scene, "hub", &arguments);
    let at = address(&hub).await;
    let mut pages = Vec::new();
    for (name, scheme) in [("ws", "http"), ("wss", "https")] {
        let url = format!("{scheme}://{IP}:{}/", port(&hub, scheme).await);
        let Some(mut page) = look(&scene, name, &url).await else {
            return;
        };
        becomes(&mut page, IS_LIVE, "true").await;
        becomes(&mut page, SHOWN, "{}").await;
        pages.push(page);
    }
    let mut delays = Vec::new();
    let looked = Instant::now();
    while looked.elapsed() < STAYS {
        let peer = node(
            &scene,
            "peer",
            &[
                "--listen",
                WS,
                "--hub",
                &at,
                "--interval",
                "1",
                "--until-stdin-closes",
            ],
        );
        let id = address(&peer).await.rsplit('/').next().unwrap().to_owned();
        let start = format!("discovered {id} ");
        hub.wait("a new peer", |line| line.starts_with(&start).then_some(()))
            .await;
        let discovered = SystemTime::now();
        for page in &mut pages {
            let shown: u64 = value(page, &format!("shown['{id}']"))
                .await
                .parse()
                .unwrap();
            let shown = SystemTime::UNIX_EPOCH + Duration::from_millis(shown);
            delays.push(shown.duration_since(discovered).unwrap_or_default());
            becomes(page, &format!("drawn.has('{id}')"), "true").await;
        }
        peer.finish().await;
        for page in &mut pages {
            becomes(
                page,
                "document.querySelectorAll('#connections tr').length === 0",
                "true",
            )
            .await;
        }
    }
    // Other tests may have the processor for a while.
    delays.sort_unstable();
    assert!(
        delays[delays.len() / 2] < AT_ONCE,
        "shown {delays:?} after a discovery"
    );
    for mut page in pages {
        becomes(&mut page, IS_LIVE, "true").await;
        assert_console_is_empty(&page);
        page.finish().await;
    }
}

/// As soon as there are sixteen others, and again as soon as there are not.
#[cfg(feature = "interop")]
#[tokio::test(flavor = "multi_thread")]
async fn chromium_asks_every_two_seconds_if_it_is_not_told() {
    let scene = Scene::default();
    let node = node(&scene, "node", &["--page", "--listen", WS]);
    let port = port(&node, "http").await;
    let server = Server::plain(IP, port);
    let url = format!("http://{IP}:{port}/");
    let others: Vec<_> = (0..16).map(|_| server.events().unwrap()).collect();
    let Some(mut page) = look(&scene, "asking", &url).await else {
        return;
    };
    becomes(
        &mut page,
        "document.getElementById('link').textContent === 'every 2 s'",
        "true",
    )
    .await;
    let later = "document.getElementById('up').textContent";
    becomes(
        &mut page,
        &format!("(globalThis.first ??= {later}) !== {later}"),
        "true",
    )
    .await;
    drop(others);
    becomes(&mut page, IS_LIVE, "true").await;
    page.finish().await;
}

/// The agent of a peer, an address and a reason stay text.
#[cfg(feature = "interop")]
#[tokio::test(flavor = "multi_thread")]
async fn chromium_runs_nothing_that_others_say() {
    let scene = Scene::default();
    let foul = "/dns4/<img src=x onerror='document.title=1'><script>/tcp/443/tls/ws";
    let arguments = ["--page", "--listen", WS, "--hub", foul, "--external", foul];
    let node = node(&scene, "node", &arguments);
    let url = format!("http://{IP}:{}/", port(&node, "http").await);
    let Some(mut page) = look(&scene, "foul", &url).await else {
        return;
    };
    becomes(&mut page, IS_LIVE, "true").await;
    becomes(
        &mut page,
        "document.querySelector('#hubs td').textContent",
        &serde_json::json!(foul).to_string(),
    )
    .await;
    becomes(
        &mut page,
        "document.querySelectorAll('img').length + document.scripts.length",
        "1",
    )
    .await;
    // The policy forbids it even if it were there.
    let injected = "document.body.insertAdjacentHTML('beforeend', `<img src=x onerror='document.title=1'>`) ?? document.title !== '1'";
    becomes(&mut page, injected, "true").await;
    page.wait("what the policy forbids", |line| {
        (line.starts_with("log error ") && line.contains("Content Security Policy")).then_some(())
    })
    .await;
    becomes(&mut page, "document.title.startsWith('0 peers')", "true").await;
    page.finish().await;
}
