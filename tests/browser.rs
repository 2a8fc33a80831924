//! A browser as the other side of a WebSocket, if there is one on this machine.
#![cfg(feature = "tokio")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "common/authority.rs"]
mod authority;
#[path = "common/chromium.rs"]
mod chromium;
mod common;

use std::{
    fs,
    io::{self, BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    pin::Pin,
    process::Stdio,
    sync::{Arc, Condvar, Mutex},
    thread,
    time::Duration,
};

use authority::{Authority, Leaf};
use common::{Case, Engine, Runtime, within};
use futures::{AsyncReadExt as _, AsyncWriteExt as _, future::poll_fn};
use libp2p::{
    Transport as _,
    core::transport::{ListenerId, TransportEvent},
};
use libp2p_lazy_websocket::websocket::{self, Connection};
use tokio::{process::Command, time::timeout};

const CASE: Case = Case {
    runtime: Runtime::Tokio,
    engine: Engine::Stream,
};

const PAGE: &str = include_str!("browser/page.html");

/// How long a browser may take to start and do all of it; far more than it needs.
const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::test]
async fn chromium_sends_receives_and_closes() {
    let Some(browser) = chromium::find() else {
        return;
    };
    let certificates = Authority::new().sign(&Leaf::default()).in_use();
    let config = CASE.config().with_certificates(certificates);
    let plain = listen(config.clone(), "/ip4/127.0.0.1/tcp/0/ws").await;
    let tls = listen(config, "/ip4/127.0.0.1/tcp/0/tls/ws").await;
    let page = serve_page();
    let url =
        format!("http://127.0.0.1:{page}/?url=ws://127.0.0.1:{plain}/&url=wss://127.0.0.1:{tls}/");

    let profile = Profile::new();
    let run = Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            // It knows nothing of the authority of this test.
            "--ignore-certificate-errors",
            "--dump-dom",
        ])
        .arg(format!("--user-data-dir={}", profile.0.display()))
        .arg(url)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(PATIENCE, run).await.unwrap().unwrap();
    let dom = String::from_utf8_lossy(&output.stdout);
    // By itself a browser closes with 1000, is answered the same, and calls that clean. It is told 1003 of text.
    let ends = ["clean 1000, clean 1000, 1003"; 2].join(", ");
    assert!(
        dom.contains(&format!(">passed: {ends}<")),
        "{dom}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Where the browser keeps its things, for as long as it runs.
struct Profile(PathBuf);

impl Profile {
    fn new() -> Self {
        let name = format!("browser-{}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        // Something of the browser may still be writing there.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Sends everything back, in tasks of its own. Returns the port.
async fn listen(config: websocket::Config, address: &str) -> u16 {
    let mut transport = CASE.transport(config);
    transport
        .listen_on(ListenerId::next(), address.parse().unwrap())
        .unwrap();
    let event = within(poll_fn(|cx| Pin::new(&mut transport).poll(cx))).await;
    let TransportEvent::NewAddress { listen_addr, .. } = event else {
        panic!("a new address, not {event:?}");
    };
    tokio::spawn(async move {
        loop {
            let event = poll_fn(|cx| Pin::new(&mut transport).poll(cx)).await;
            let TransportEvent::Incoming { upgrade, .. } = event else {
                panic!("only connections, not {event:?}");
            };
            tokio::spawn(async move {
                match upgrade.await {
                    // It ends as the page wants it to, and that sees how.
                    Ok(connection) => drop(send_back(connection).await),
                    Err(error) => panic!("{error:?}"),
                }
            });
        }
    });
    common::socket_address(&listen_addr).port()
}

async fn send_back(connection: Connection) -> io::Result<()> {
    let (mut read, mut write) = connection.split();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match read.read(&mut buffer).await? {
            0 => return write.close().await,
            count if &buffer[..count] == b"close, please" => return write.close().await,
            count => {
                write.write_all(&buffer[..count]).await?;
                write.flush().await?;
            }
        }
    }
}

/// Serves the page, and that it is loaded only once it has a verdict. Returns the port.
fn serve_page() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let verdict = Arc::new((Mutex::new(false), Condvar::new()));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let verdict = Arc::clone(&verdict);
            // Browsers open connections ahead of their needs, and are gone before the answer.
            thread::spawn(move || answer(stream?, &verdict));
        }
    });
    port
}

fn answer(mut stream: TcpStream, verdict: &(Mutex<bool>, Condvar)) -> io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    while lines
        .next()
        .transpose()?
        .is_some_and(|line| !line.is_empty())
    {}
    let (is_there, changed) = verdict;
    let body = match request.split(' ').nth(1).unwrap_or_default() {
        "/loaded" => {
            let mut is_there = is_there.lock().unwrap();
            while !*is_there {
                is_there = changed.wait(is_there).unwrap();
            }
            ""
        }
        "/verdict" => {
            *is_there.lock().unwrap() = true;
            changed.notify_all();
            ""
        }
        path if path.starts_with("/?") => PAGE,
        _ => "",
    };
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}
