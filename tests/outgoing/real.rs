//! Proxies of Debian: microsocks, dante and tinyproxy. Needs root, to give them files with a name and a user of their own.

use std::{
    fs,
    net::{Ipv4Addr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
};

use super::*;
use crate::ports::free_port;

const SCRATCH: &str = env!("CARGO_TARGET_TMPDIR");

struct Server {
    process: Child,
    kind: Kind,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What [`USER`] and [`PASSWORD`] are to dante, whose users are those of the system: by `openssl passwd -6`.
const SHADOW: &str = "aladdin:$6$visitors$tU9ZsZxXQxqUqg0VwzdnwsXV9dJ/3f2OuTCjp7bu.ra7xK8UVddvmPT8zqNmedIq/8DTPuorhfnhkCwQah0ZG.:20000::::::\n";

/// A program that knows a name and a user that nobody else on this host knows.
fn knowing(arguments: &[&str]) -> Command {
    let users = "root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n";
    let users = format!("{users}{USER}:x:4242:4242::/:/bin/false\n");
    let mut command = Command::new("unshare");
    let script = r#"for file in hosts passwd shadow
        do mount --bind "$0-$file" /etc/$file || exit 1
        done
        exec "$@""#;
    let scratch = Path::new(SCRATCH).join("outgoing");
    for (file, text) in [
        ("hosts", "127.0.0.1 localhost only-proxy.test\n"),
        ("passwd", &users),
        ("shadow", SHADOW),
    ] {
        fs::write(format!("{}-{file}", scratch.display()), text).unwrap();
    }
    command.args(["--mount", "sh", "-c", script]).arg(scratch);
    command.args(arguments);
    command
}

impl Server {
    fn outgoing(&self) -> OutgoingProxy {
        outgoing(self.kind, (Ipv4Addr::LOCALHOST, self.port).into())
    }

    /// With its configuration in a file, whose path follows the arguments.
    async fn new(kind: Kind, arguments: &[&str], configuration: impl Fn(u16) -> String) -> Self {
        let port = free_port(Ipv4Addr::LOCALHOST);
        let file = Path::new(SCRATCH).join(format!("outgoing-{port}.conf"));
        fs::write(&file, configuration(port)).unwrap();
        let mut command = knowing(arguments);
        command.arg(&file);
        Self::start(kind, port, command).await
    }

    async fn start(kind: Kind, port: u16, mut command: Command) -> Self {
        let process = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let server = Self {
            process,
            kind,
            port,
        };
        within(async {
            while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        server
    }

    async fn microsocks(arguments: &[&str]) -> Self {
        let port = free_port(Ipv4Addr::LOCALHOST);
        let mut command = knowing(&["microsocks", "-i", "127.0.0.1", "-p"]);
        command.arg(port.to_string());
        command.args(arguments);
        Self::start(Kind::Socks5, port, command).await
    }

    async fn dante(method: &str) -> Self {
        Self::new(Kind::Socks5, &["danted", "-f"], |port| {
            format!(
                "logoutput: stderr\n\
                 internal: 127.0.0.1 port = {port}\n\
                 external: 127.0.0.1\n\
                 clientmethod: none\n\
                 socksmethod: {method}\n\
                 user.unprivileged: nobody\n\
                 client pass {{ from: 127.0.0.0/8 to: 0.0.0.0/0 }}\n\
                 socks block {{ from: 127.0.0.0/8 to: 127.0.0.2/32 }}\n\
                 socks pass {{ from: 127.0.0.0/8 to: 0.0.0.0/0 }}\n"
            )
        })
        .await
    }

    async fn tinyproxy(more: &str) -> Self {
        Self::new(Kind::Http, &["tinyproxy", "-d", "-c"], |port| {
            format!("Port {port}\nListen 127.0.0.1\nTimeout 600\nAllow 127.0.0.1\n{more}\n")
        })
        .await
    }
}

fn closed_port() -> u16 {
    let closed = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    closed.local_addr().unwrap().port()
}

/// The node knows no name, and says what is wrong.
async fn serves(server: Server, unreachable: &str, refused_target: &str, refused_as: &str) {
    let case = Case::TOKIO;
    let outgoing = server.outgoing();
    let authority = Authority::new();
    let leaf = Leaf {
        names: &["only-proxy.test", "localhost", "127.0.0.1"],
        ..Leaf::default()
    };
    let listening = case
        .config()
        .with_certificates(authority.sign(&leaf).in_use())
        .with_tcp(true);
    let config = config(case, outgoing.clone())
        .with_trust_anchor(authority.anchor())
        .with_tcp(true);
    for end in ["/ws", "/tls/ws", ""] {
        let at = format!("/ip4/127.0.0.1/tcp/0{end}");
        let port = echo::port(&echo(case, listening.clone(), &[&at]).await[0]);
        for host in ["/dns4/only-proxy.test", "/dns/localhost", "/ip4/127.0.0.1"] {
            assert_dials(case, &config, &format!("{host}/tcp/{port}{end}")).await;
        }
    }
    let target = format!("/ip4/127.0.0.1/tcp/{}/ws", closed_port());
    let error = refused(case, config.clone(), &target).await;
    let told = format!("the proxy could not connect to the target: {unreachable}");
    assert_eq!(reason(&error, &outgoing), told);
    if !refused_target.is_empty() {
        let error = refused(case, config, refused_target).await;
        let told = format!("the proxy refused to connect to the target: {refused_as}");
        assert_eq!(reason(&error, &outgoing), told);
    }
}

async fn wants_credentials(server: Server) {
    let case = Case::TOKIO;
    let good = echo(case, case.config(), &["/ip4/127.0.0.1/tcp/0/ws"]).await[0].to_string();
    let without = server.outgoing();
    let with = |password| without.clone().with_credentials(USER, password).unwrap();
    assert_dials(case, &config(case, with(PASSWORD)), &good).await;
    for (proxy, told) in [
        (
            with("another"),
            "the proxy refused the user name or the password",
        ),
        (
            without.clone(),
            "the proxy requires a user name and a password",
        ),
    ] {
        let error = refused(case, config(case, proxy), &good).await;
        assert_eq!(reason(&error, &without), told);
    }
}

#[tokio::test]
async fn microsocks() {
    serves(Server::microsocks(&[]).await, "connection refused", "", "").await;
    wants_credentials(Server::microsocks(&["-u", USER, "-P", PASSWORD]).await).await;
}

#[tokio::test]
async fn dante() {
    serves(
        Server::dante("none").await,
        "connection refused",
        "/ip4/127.0.0.2/tcp/1/ws",
        "not allowed by its rules",
    )
    .await;
    wants_credentials(Server::dante("username").await).await;
}

#[tokio::test]
async fn tinyproxy() {
    serves(Server::tinyproxy("").await, "500 Unable to connect", "", "").await;
    let other = closed_port();
    let server = Server::tinyproxy(&format!("ConnectPort {other}")).await;
    let case = Case::TOKIO;
    let outgoing = server.outgoing();
    let config = config(case, outgoing.clone());
    let error = refused(case, config, "/ip4/127.0.0.1/tcp/1/ws").await;
    let told = "the proxy refused to connect to the target: 403 Access violation";
    assert_eq!(reason(&error, &outgoing), told);
    let more = format!("BasicAuth {USER} {PASSWORD}");
    wants_credentials(Server::tinyproxy(&more).await).await;
}
