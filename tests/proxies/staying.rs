//! Connections that stay open through proxies: silent ones, and those that a reload finds.

use std::time::Duration;

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{process::Command, time::timeout};

use crate::{
    CLIENT, Files, accepts, behind_a_proxy, configurations, free_port, nginx, node,
    process::{PATIENCE, Process, Scene},
    proxy, scratch,
};

/// Longer than each time that the proxies have by default, and than each of this crate's.
const STAYS: Duration = Duration::from_secs(180);

/// Without what it says of times.
fn untimed(configuration: &str) -> String {
    let lines = configuration.lines();
    let lines = lines.filter(|line| !line.contains("timeout"));
    lines.map(|line| format!("{line}\n")).collect()
}

/// With the times of Debian's package.
fn timed(configuration: &str) -> String {
    let times = "    timeout connect 5s\n    timeout client 50s\n    timeout server 50s\n";
    let mode = ["    mode http\n", "    mode tcp\n"];
    let found = mode.into_iter().find(|mode| configuration.contains(mode));
    let mode = found.unwrap();
    untimed(configuration).replacen(mode, &format!("{mode}{times}"), 1)
}

/// The configuration of the documentation for these ports.
pub(crate) fn http(program: &str, files: &Files, port: u16, listens: u16) -> String {
    let here = format!("127.0.0.1:{port}");
    match program {
        "nginx" => {
            let paths = "/etc/letsencrypt/live/node.example.com";
            let block = configurations("nginx")[0]
                .replace("443", &format!("[{CLIENT}]:{listens}"))
                .replace("127.0.0.1:9000", &here)
                .replace(&format!("{paths}/fullchain.pem"), &files.path("chain"))
                .replace(&format!("{paths}/privkey.pem"), &files.path("key"));
            nginx(files, &block, "http")
        }
        "haproxy" => configurations("haproxy")[0]
            .replace(":443", &format!("[{CLIENT}]:{listens}"))
            .replace("127.0.0.1:9000", &here)
            .replace("/etc/haproxy/node.pem", &files.path("both")),
        _ => {
            let tls = format!("tls {} {}\n", files.path("chain"), files.path("key"));
            let block = configurations("caddyfile")[0]
                .replace("127.0.0.1:9000", &here)
                .replace(
                    "node.example.com {\n",
                    &format!("https://localhost:{listens} {{\n{tls}"),
                );
            format!("{{\nadmin off\nauto_https off\n}}\n{block}")
        }
    }
}

/// The same for TCP proxies.
pub(crate) fn tcp(program: &str, files: &Files, port: u16, listens: u16) -> String {
    let block = configurations(program)[1]
        .replace("127.0.0.1:9000", &format!("127.0.0.1:{port}"))
        .replace(":4001", "4001")
        .replace("4001", &format!("[{CLIENT}]:{listens}"));
    match program {
        "nginx" => nginx(files, &block, "stream"),
        _ => block,
    }
}

/// A peer that has said all that it has to say.
async fn connected(scene: &Scene, arguments: &str) -> Process {
    let arguments = format!("{arguments} --interval 3600 --until-stdin-closes");
    let client = node(scene, "client", &arguments);
    client
        .wait("its connection", |line| {
            line.starts_with("connected ").then_some(())
        })
        .await;
    client
}

/// By the pings of WebSocket, which come after 30 s of silence.
#[tokio::test]
async fn nobody_is_cut_off_who_is_silent_for_three_minutes() {
    let scene = Scene::default();
    let at = "--listen /ip4/127.0.0.1/tcp/9000";
    let said = "--interval 3600 --until-stdin-closes";
    let arguments = format!("{at}/ws --proxy-header 127.0.0.1 {said}");
    let (plain, behind_http) = behind_a_proxy(&scene, &arguments).await;
    let arguments = format!("{at} {at}/ws --tcp --proxy-protocol 127.0.0.1 {said}");
    let (shared, behind_tcp) = behind_a_proxy(&scene, &arguments).await;
    let (mut proxies, mut clients) = (Vec::new(), Vec::new());
    for (name, program, is_http) in [
        ("nginx-silent", "nginx", true),
        ("haproxy-silent", "haproxy", true),
        ("caddy-silent", "caddy", true),
        ("nginx-silent-tcp", "nginx", false),
        ("haproxy-silent-tcp", "haproxy", false),
    ] {
        let files = Files::new(name);
        let listens = free_port(std::net::Ipv4Addr::LOCALHOST);
        let configuration = match is_http {
            true => http(program, &files, plain, listens),
            false => tcp(program, &files, shared, listens),
        };
        let configuration = match program {
            "haproxy" => timed(&configuration),
            _ => untimed(&configuration),
        };
        proxies.push(proxy(&scene, program, configuration, listens).await);
        let at = format!("--dial /ip6/{CLIENT}/tcp/{listens}");
        let trust = files.path("ca");
        let kinds: &[&str] = if is_http {
            &["/tls/sni/localhost/ws"]
        } else {
            &["/ws", ""]
        };
        for kind in kinds {
            let arguments = format!("--tcp --trust {trust} {at}{kind}");
            clients.push((name, *kind, connected(&scene, &arguments).await));
        }
    }
    // Raw TCP has no pings. What a proxy does to it is the proxy's business.
    let stay = clients.iter().filter(|(_, kind, _)| !kind.is_empty());
    let lost = stay.map(|(name, kind, client)| {
        let what = format!("the loss of {name} {kind}");
        Box::pin(async move {
            let lost = |line: &str| line.starts_with("disconnected ").then(|| line.to_owned());
            (client.wait_for(2 * STAYS, &what, lost).await, what.clone())
        })
    });
    if let Ok((lost, _, _)) = timeout(STAYS, futures::future::select_all(lost)).await {
        panic!("{lost:?}");
    }
    for node in [behind_http, behind_tcp] {
        assert!(!node.printed("error "), "{:?}", node.lines());
    }
}

fn signal(process: &Process, signal: Signal) {
    let id = process.child.id().expect("it runs");
    kill(Pid::from_raw(id.try_into().unwrap()), signal).unwrap();
}

/// A reload lets connections stay, and takes new ones.
async fn assert_stays_over_reloads(program: &'static str, reload: Signal) {
    let scene = Scene::default();
    let files = Files::new(if program == "nginx" {
        "nginx-reload"
    } else {
        "haproxy-reload"
    });
    let arguments = "--listen /ip4/127.0.0.1/tcp/9000/ws --proxy-header 127.0.0.1 --interval 1";
    let (port, hub) = behind_a_proxy(&scene, arguments).await;
    let listens = free_port(std::net::Ipv4Addr::LOCALHOST);
    let configuration = http(program, &files, port, listens);
    let proxy = match program {
        "nginx" => {
            let configuration = configuration.replace("master_process off;\n", "");
            proxy(&scene, program, configuration, listens).await
        }
        // With a master that hands the sockets on.
        _ => {
            let file = scratch(&format!("haproxy-{listens}.conf"));
            std::fs::write(&file, configuration).unwrap();
            let mut command = Command::new("haproxy");
            command.arg("-W").arg("-f").arg(file);
            let proxy = scene.spawn("haproxy", command);
            accepts(listens).await;
            proxy
        }
    };
    let at = format!("/ip6/{CLIENT}/tcp/{listens}/tls/sni/localhost/ws");
    let trust = files.path("ca");
    let arguments = format!("--listen /ip4/127.0.0.1/tcp/0/ws --trust {trust} --interval 1");
    let first = node(&scene, "first", &format!("{arguments} --dial {at}"));
    let mut others = Vec::new();
    for count in 1..=3 {
        let other = node(&scene, "other", &format!("{arguments} --dial {at}"));
        let id = other.listening("--listen ").await.pop_first().unwrap();
        let found = format!("discovered {} ", id.rsplit('/').next().unwrap());
        // Over both connections, the old one and the new one.
        first
            .wait(&found, |line| line.starts_with(&found).then_some(()))
            .await;
        others.push(other);
        if count < 3 {
            signal(&proxy, reload);
            timeout(PATIENCE, accepts(listens)).await.unwrap();
        }
    }
    for process in others.iter().chain([&first, &hub]) {
        assert!(!process.printed("disconnected "), "{:?}", process.lines());
    }
}

#[tokio::test]
async fn peers_stay_over_reloads_of_nginx() {
    assert_stays_over_reloads("nginx", Signal::SIGHUP).await;
}

#[tokio::test]
async fn peers_stay_over_reloads_of_haproxy() {
    assert_stays_over_reloads("haproxy", Signal::SIGUSR2).await;
}
