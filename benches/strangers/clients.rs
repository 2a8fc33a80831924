//! Strangers, in a process of their own: this very program, told so by its arguments.

use std::{
    env,
    error::Error,
    fmt,
    io::{self, BufRead as _, BufReader, Read as _},
    net::TcpStream,
    process::{Child, Command, Stdio},
    thread,
};

use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use libp2p::{
    Multiaddr, Transport as _,
    core::{
        Endpoint,
        transport::{DialOpts, PortUse},
    },
    multiaddr::Protocol,
};
use libp2p_lazy_websocket::websocket::{self, Connection, TrustAnchor};
use tokio::sync::oneshot;

const ARGUMENT: &str = "--strangers";

/// What it prints when each of its strangers is where it is to be.
const READY: &str = "ready";

/// How far a stranger goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Connected by TCP.
    Connected,
    /// Has the response that ends the WebSocket handshake.
    Upgraded,
    /// Has the answer to its first message of Noise's handshake, and owes the last.
    HalfWayIntoNoise,
}

impl Phase {
    pub(crate) const ALL: [Self; 3] = [Self::Connected, Self::Upgraded, Self::HalfWayIntoNoise];
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connected => "connected and silent",
            Self::Upgraded => "upgraded and silent",
            Self::HalfWayIntoNoise => "half-way into Noise",
        })
    }
}

/// The process, as who started it sees it.
pub(crate) struct Clients {
    child: Child,
    ready: oneshot::Receiver<io::Result<()>>,
}

impl Clients {
    pub(crate) fn start(
        phase: Phase,
        address: &Multiaddr,
        anchor: &[u8],
        count: usize,
    ) -> io::Result<Self> {
        let anchor = anchor.iter().map(|byte| format!("{byte:02x}")).collect();
        let phase = Phase::ALL.iter().position(|other| *other == phase);
        let mut child = Command::new(env::current_exe()?)
            .arg(ARGUMENT)
            .arg(phase.unwrap_or_default().to_string())
            .args([address.to_string(), count.to_string(), anchor])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take();
        let (sender, ready) = oneshot::channel();
        thread::spawn(move || {
            let mut line = String::new();
            let read = stdout.map_or(Ok(0), |stdout| BufReader::new(stdout).read_line(&mut line));
            let ready = read.and_then(|_| match line.trim_end() {
                READY => Ok(()),
                _ => Err(io::Error::other(
                    "the strangers did not get where they were to",
                )),
            });
            // Whoever has given up waiting has said so.
            let _ = sender.send(ready);
        });
        Ok(Self { child, ready })
    }

    /// Until each of them is where it is to be. To be waited for once, in several goes if need be.
    pub(crate) async fn ready(&mut self) -> io::Result<()> {
        (&mut self.ready).await.map_err(io::Error::other)?
    }

    /// Lets go of all connections.
    pub(crate) fn end(mut self) -> io::Result<()> {
        drop(self.child.stdin.take());
        self.child.wait().map(drop)
    }
}

/// Does what [`Clients::start`] has told this process, if it has.
pub(crate) async fn run_if_told_to() -> Option<Result<(), Box<dyn Error>>> {
    let mut arguments = env::args().skip_while(|argument| argument != ARGUMENT);
    arguments.next()?;
    Some(run(arguments).await)
}

async fn run(mut arguments: impl Iterator<Item = String>) -> Result<(), Box<dyn Error>> {
    let mut argument = || arguments.next().ok_or("too few arguments");
    let phase = *Phase::ALL
        .get(argument()?.parse::<usize>()?)
        .ok_or("no such phase")?;
    let address = argument()?.parse()?;
    let count = argument()?.parse()?;
    let anchor = TrustAnchor::from_der(of_hex(&argument()?)?)?;
    rlimit::increase_nofile_limit(u64::MAX)?;

    let (mut silent, mut connections) = (Vec::new(), Vec::new());
    let config = websocket::Config::default().with_trust_anchor(anchor);
    let mut transport = websocket::tokio::transport(config);
    for _ in 0..count {
        if phase == Phase::Connected {
            silent.push(TcpStream::connect(("127.0.0.1", port(&address)?))?);
            continue;
        }
        let opts = DialOpts {
            role: Endpoint::Dialer,
            port_use: PortUse::New,
        };
        let mut connection = transport.dial(address.clone(), opts)?.await?;
        if phase == Phase::HalfWayIntoNoise {
            begin_noise(&mut connection).await?;
        }
        connections.push(connection);
    }
    println!("{READY}");
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

fn of_hex(hex: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    let bytes = hex.as_bytes().chunks(2).map(|pair| {
        let byte = u8::from_str_radix(std::str::from_utf8(pair)?, 16)?;
        Ok(byte)
    });
    bytes.collect()
}

fn port(address: &Multiaddr) -> Result<u16, &'static str> {
    let port = address.iter().find_map(|protocol| match protocol {
        Protocol::Tcp(port) => Some(port),
        _ => None,
    });
    port.ok_or("an address without a port")
}

/// Agrees on Noise, sends the first of the three messages of its handshake, and reads the second.
async fn begin_noise(connection: &mut Connection) -> io::Result<()> {
    const AGREEMENT: &[u8] = b"\x13/multistream/1.0.0\n\x07/noise\n";

    connection.write_all(AGREEMENT).await?;
    connection.flush().await?;
    let mut answer = [0; AGREEMENT.len()];
    connection.read_exact(&mut answer).await?;
    if answer != AGREEMENT {
        return Err(io::Error::other("the node does not speak Noise"));
    }

    // An ephemeral public key, and of X25519 any bytes are one.
    let mut hello = [9; 34];
    hello[..2].copy_from_slice(&32u16.to_be_bytes());
    connection.write_all(&hello).await?;
    connection.flush().await?;
    let mut length = [0; 2];
    connection.read_exact(&mut length).await?;
    let mut second = vec![0; usize::from(u16::from_be_bytes(length))];
    connection.read_exact(&mut second).await
}
