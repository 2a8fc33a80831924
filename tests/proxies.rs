//! The node behind proxies, with the configurations of `docs/production.md`. Needs nginx with its stream module, HAProxy and
//! Caddy.
#![cfg(all(feature = "interop", feature = "tokio"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "common/authority.rs"]
mod authority;
#[path = "common/http.rs"]
mod http;
#[path = "common/ports.rs"]
mod ports;
#[path = "common/process.rs"]
mod process;
#[path = "proxies/staying.rs"]
mod staying;

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    sync::Arc,
};

use authority::{Authority, Leaf, Signed};
use http::Server;
use ports::free_port;
use process::{Process, SCRATCH, Scene, build};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto::ring};
use tokio::process::Command;

/// Where the clients connect from, and to: nobody trusts them, as proxies connect over IPv4.
const CLIENT: &str = "::1";

fn scratch(name: &str) -> PathBuf {
    Path::new(SCRATCH).join(name)
}

/// The blocks of this language in the chapter on proxies.
fn configurations(language: &str) -> Vec<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/production.md");
    let text = fs::read_to_string(file).unwrap();
    let begin = format!("```{language}\n");
    let blocks = text.split(&begin).skip(1);
    let end = |block: &str| block.split("```").next().unwrap().to_owned();
    blocks.map(end).collect()
}

/// A certificate for localhost, in the files of this name.
struct Files {
    authority: Authority,
    signed: Signed,
    name: &'static str,
}

impl Files {
    fn new(name: &'static str) -> Self {
        let authority = Authority::new();
        let signed = authority.sign(&Leaf::default());
        let files = Self {
            authority,
            signed,
            name,
        };
        fs::write(files.path("ca"), files.authority.pem()).unwrap();
        fs::write(files.path("chain"), files.signed.chain_pem()).unwrap();
        fs::write(files.path("key"), files.signed.key_pem()).unwrap();
        let both = files.signed.chain_pem() + &files.signed.key_pem();
        fs::write(files.path("both"), both).unwrap();
        files
    }

    fn path(&self, what: &str) -> String {
        let path = scratch(&format!("{}-{what}.pem", self.name));
        path.to_str().unwrap().to_owned()
    }
}

fn node(scene: &Scene, name: &'static str, arguments: &str) -> Process {
    let program = build().unwrap_or_else(|error| panic!("{error}"));
    let mut command = Command::new(program);
    command.args(arguments.split_whitespace());
    scene.spawn(name, command)
}

/// The port on which the node listens, and the node.
async fn behind_a_proxy(scene: &Scene, arguments: &str) -> (u16, Process) {
    let port = free_port(Ipv4Addr::LOCALHOST);
    let arguments = arguments.replace("9000", &port.to_string());
    let node = node(scene, "node", &arguments);
    node.listening(&arguments).await;
    (port, node)
}

async fn accepts(port: u16) {
    let connects = async {
        while tokio::net::TcpStream::connect((CLIENT, port))
            .await
            .is_err()
        {
            tokio::task::yield_now().await;
        }
    };
    let connected = tokio::time::timeout(process::PATIENCE, connects).await;
    connected.unwrap_or_else(|_| panic!("the proxy listens"));
}

/// Starts a proxy with this configuration in a file.
async fn proxy(
    scene: &Scene,
    program: &'static str,
    configuration: String,
    listens: u16,
) -> Process {
    let file = scratch(&format!("{program}-{listens}.conf"));
    fs::write(&file, configuration).unwrap();
    let mut command = Command::new(program);
    match program {
        "nginx" => command.arg("-c").arg(&file).args(["-e", "stderr"]),
        "haproxy" => command.arg("-db").arg("-f").arg(&file),
        _ => command
            .args(["run", "--adapter", "caddyfile", "--config"])
            .arg(&file),
    };
    let process = scene.spawn(program, command);
    accepts(listens).await;
    process
}

/// What an installation has around the blocks of the documentation.
fn nginx(files: &Files, block: &str, kind: &str) -> String {
    let pid = files.path("pid");
    let modules = "/usr/lib/nginx/modules/ngx_stream_module.so";
    let load = match kind {
        "stream" => format!("load_module {modules};\n"),
        _ => String::new(),
    };
    let block = match kind {
        "http" => format!("http {{\naccess_log off;\n{block}}}\n"),
        _ => block.to_owned(),
    };
    format!("{load}daemon off;\nmaster_process off;\npid {pid};\nevents {{}}\n{block}")
}

/// A peer that dials this arrives with its own address.
async fn assert_arrives(scene: &Scene, node: &Process, files: &Files, address: &str, kind: &str) {
    let ca = files.path("ca");
    let listen = "--listen /ip4/127.0.0.1/tcp/0/ws";
    let arguments = format!("{listen} --tcp --trust {ca} --dial {address} --until-stdin-closes");
    let client = self::node(scene, "client", &arguments);
    let own = client.listening(listen).await.pop_first().unwrap();
    let id = own.rsplit('/').next().unwrap().to_owned();
    client
        .wait("connected", |line| {
            line.starts_with("connected ").then_some(())
        })
        .await;
    let start = format!("incoming {id} ");
    let from = node
        .wait("who has come", |line| {
            line.starts_with(&start).then(|| line.to_owned())
        })
        .await;
    let address = format!(" /ip6/{CLIENT}/tcp/");
    let rest = from
        .split(&address)
        .nth(1)
        .unwrap_or_else(|| panic!("{from}"));
    let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    assert_eq!(rest, kind, "{from}");
    client.finish().await;
}

/// The end of this header, as it would be read from the left, is a lie.
fn lie(files: &Files, port: u16) {
    let socket = TcpStream::connect((CLIENT, port)).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(files.authority.der().into()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "localhost".try_into().unwrap();
    let session = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = StreamOwned::new(session, socket);
    stream
        .write_all(
            b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 203.0.113.7\r\nUpgrade: websocket\r\n\
              Connection: Upgrade\r\nSec-WebSocket-Version: 12\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        .unwrap();
    let _ = stream.read(&mut [0; 1024]);
}

/// Through the proxy, browsers get the page of the node, and each change as it happens.
fn assert_page_lives(files: &Files, listens: u16) {
    let server = Server::tls(CLIENT, listens, &files.authority);
    let page = server.ask("GET / HTTP/1.0\r\nHost: localhost\r\n\r\n");
    assert!(page.status == 200 && page.body.ends_with("</html>\n"));
    assert_eq!(server.request("HEAD", "/healthz").status, 200);
    let mut events = server.events().unwrap();
    let first = events.state()["up_seconds"].as_u64();
    events.until(|state| state["up_seconds"].as_u64() > first);
}

/// Peers arrive with their own address, and nobody with one that it has made up.
async fn assert_clients_of_http(
    program: &'static str,
    configuration: impl Fn(&str, &Files, u16, u16) -> String,
) {
    let scene = Scene::default();
    let files = Files::new(program);
    let arguments = "--page --listen /ip4/127.0.0.1/tcp/9000/ws --proxy-header 127.0.0.1";
    let (port, node) = behind_a_proxy(&scene, arguments).await;
    let listens = free_port(Ipv4Addr::LOCALHOST);
    let configuration = configuration(program, &files, port, listens);
    let _proxy = proxy(&scene, program, configuration, listens).await;
    let address = format!("/ip6/{CLIENT}/tcp/{listens}/tls/sni/localhost/ws");
    assert_arrives(&scene, &node, &files, &address, "/ws").await;
    assert_page_lives(&files, listens);
    lie(&files, listens);
    let refused = node
        .wait("a refusal", |line| {
            line.strip_prefix("error ").map(ToOwned::to_owned)
        })
        .await;
    assert!(
        refused.starts_with(&format!("/ip6/{CLIENT}/tcp/0/ws: ")),
        "{refused}"
    );
}

#[tokio::test]
async fn nginx_tells_the_clients_of_websocket() {
    assert_clients_of_http("nginx", staying::http).await;
}

#[tokio::test]
async fn haproxy_tells_the_clients_of_websocket() {
    assert_clients_of_http("haproxy", staying::http).await;
}

#[tokio::test]
async fn caddy_tells_the_clients_of_websocket() {
    assert_clients_of_http("caddy", staying::http).await;
}

/// All kinds of one port arrive with the client's own address, and a look whether the node is up is no error.
async fn assert_clients_of_tcp(
    program: &'static str,
    name: &'static str,
    configuration: impl Fn(&str, &Files, u16, u16) -> String,
) {
    let scene = Scene::default();
    let files = Files::new(name);
    let (chain, key) = (files.path("chain"), files.path("key"));
    let at = "--listen /ip4/127.0.0.1/tcp/9000";
    let arguments = format!(
        "--page {at} {at}/ws {at}/tls/ws --tcp --tls-cert {chain} --tls-key {key} --proxy-protocol 127.0.0.1"
    );
    let (port, node) = behind_a_proxy(&scene, &arguments).await;
    let listens = free_port(Ipv4Addr::LOCALHOST);
    let configuration = configuration(program, &files, port, listens);
    let _proxy = proxy(&scene, program, configuration, listens).await;
    for (dialled, kind) in [
        ("", ""),
        ("/ws", "/ws"),
        ("/tls/sni/localhost/ws", "/tls/ws"),
    ] {
        let address = format!("/ip6/{CLIENT}/tcp/{listens}{dialled}");
        assert_arrives(&scene, &node, &files, &address, kind).await;
    }
    assert_page_lives(&files, listens);
    assert!(!node.printed("error "), "nobody has failed");
}

#[tokio::test]
async fn nginx_tells_the_clients_of_one_port() {
    assert_clients_of_tcp("nginx", "nginx-stream", staying::tcp).await;
}

#[tokio::test]
async fn haproxy_tells_the_clients_of_one_port() {
    assert_clients_of_tcp("haproxy", "haproxy-tcp", staying::tcp).await;
}

/// With a look every 100 ms whether the node is up, in this way, and a line about it.
fn checked(configuration: &str, way: &str) -> String {
    let lines = configuration.lines().flat_map(|line| {
        let is_server = line.trim_start().starts_with("server ");
        let end = if is_server { " check inter 100ms" } else { "" };
        let options = [
            "option log-health-checks",
            "log stdout format raw local0",
            way,
        ];
        let options = options.map(|option| format!("    {option}")).into_iter();
        let options = options.take(if is_server { 3 } else { 0 });
        options.chain([format!("{line}{end}\n")])
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// HAProxy opens a connection for each look, and closes it with nothing but its own header in it.
#[tokio::test]
async fn health_checks_of_haproxy_are_no_error() {
    let ws = "--listen /ip4/127.0.0.1/tcp/9000/ws";
    let shared = format!("{ws} --listen /ip4/127.0.0.1/tcp/9000 --tcp");
    let with_page = format!("--page {ws} --proxy-header 127.0.0.1");
    let tls = "/tls/sni/localhost/ws";
    let opened = ("", "Layer4 check passed");
    let answered = "Layer7 check passed, code: 200";
    for (name, block, arguments, dialled, (way, outcome)) in [
        (
            "haproxy-check-http",
            0,
            format!("{ws} --proxy-header 127.0.0.1"),
            tls,
            opened,
        ),
        (
            "haproxy-check-options",
            0,
            with_page.clone(),
            tls,
            ("option httpchk", answered),
        ),
        (
            "haproxy-check-page",
            0,
            with_page,
            tls,
            ("option httpchk GET /healthz", answered),
        ),
        (
            "haproxy-check-tcp",
            1,
            format!("{ws} --proxy-protocol 127.0.0.1"),
            "/ws",
            opened,
        ),
        (
            "haproxy-check-shared",
            1,
            format!("{shared} --proxy-protocol 127.0.0.1"),
            "/ws",
            opened,
        ),
    ] {
        let scene = Scene::default();
        let files = Files::new(name);
        let (port, node) = behind_a_proxy(&scene, &arguments).await;
        let listens = free_port(Ipv4Addr::LOCALHOST);
        let configuration = configurations("haproxy")[block]
            .replace(":443", &format!("[{CLIENT}]:{listens}"))
            .replace(":4001", &format!("[{CLIENT}]:{listens}"))
            .replace("127.0.0.1:9000", &format!("127.0.0.1:{port}"))
            .replace("/etc/haproxy/node.pem", &files.path("both"));
        let proxy = proxy(&scene, "haproxy", checked(&configuration, way), listens).await;
        proxy
            .wait("a look at the node", |line| {
                let is_look = line.contains("Health check for server ");
                (is_look && line.contains(outcome)).then_some(())
            })
            .await;
        let address = format!("/ip6/{CLIENT}/tcp/{listens}{dialled}");
        assert_arrives(&scene, &node, &files, &address, "/ws").await;
        assert!(!node.printed("error "), "{:?}", node.lines());
    }
}

/// Caddy closes the connections of WebSocket when it reloads its configuration.
#[tokio::test]
async fn peers_are_back_after_a_reload_of_caddy() {
    let scene = Scene::default();
    let files = Files::new("caddy-reload");
    let arguments = "--listen /ip4/127.0.0.1/tcp/9000/ws --proxy-header 127.0.0.1";
    let (port, node) = behind_a_proxy(&scene, arguments).await;
    let [listens, admin] = [(); 2].map(|()| free_port(Ipv4Addr::LOCALHOST));
    let tls = format!("tls {} {}\n", files.path("chain"), files.path("key"));
    let block = configurations("caddyfile")[0]
        .replace("127.0.0.1:9000", &format!("127.0.0.1:{port}"))
        .replace(
            "node.example.com {\n",
            &format!("https://localhost:{listens} {{\n{tls}"),
        );
    let configuration = format!("{{\nadmin 127.0.0.1:{admin}\nauto_https off\n}}\n{block}");
    let _proxy = proxy(&scene, "caddy", configuration, listens).await;

    let ca = files.path("ca");
    let own = "--listen /ip4/127.0.0.1/tcp/0/ws";
    let hub = format!("/ip6/{CLIENT}/tcp/{listens}/tls/sni/localhost/ws");
    let client = self::node(&scene, "client", &format!("{own} --trust {ca} --hub {hub}"));
    let id = client.listening(own).await.pop_first().unwrap();
    let incoming = format!("incoming {} ", id.rsplit('/').next().unwrap());
    for count in 1..=3 {
        let mut seen = 0;
        node.wait(&format!("{count} connections of the client"), |line| {
            seen += usize::from(line.starts_with(&incoming));
            (seen == count).then_some(())
        })
        .await;
        let mut reload = Command::new("caddy");
        reload
            .args(["reload", "--force", "--adapter", "caddyfile", "--config"])
            .arg(scratch(&format!("caddy-{listens}.conf")))
            .args(["--address", &format!("127.0.0.1:{admin}")]);
        scene.spawn("reload", reload).ends("its work").await;
    }
    client
        .wait("the loss of its connection", |line| {
            line.starts_with("disconnected ").then_some(())
        })
        .await;
}
