//! The flooder, in a process of its own: this very program, told so by its arguments.

use std::{
    env,
    error::Error,
    io::{self, BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, Command, Stdio},
    thread,
};

use libp2p::{Multiaddr, identity::Keypair};
use libp2p_lazy_websocket::discovery::DEFAULT_TOPIC;
use tokio::sync::{mpsc, oneshot};

use super::swarm::swarm;
use flooder::{Flooder, Speaker, batches, invent};

#[path = "../../tests/common/flooder.rs"]
pub(crate) mod flooder;

/// How often each peer is announced.
pub(crate) const PASSES: usize = 2;

const ARGUMENT: &str = "--flooder";

/// What it prints when all that it will send is signed.
const READY: &str = "ready";

/// What it is told to begin with a pass; anything else is an address to connect to.
const GO: &str = "go";

/// The process, as who started it sees it.
pub(crate) struct Client {
    child: Child,
    orders: ChildStdin,
    ready: Option<oneshot::Receiver<io::Result<()>>>,
}

impl Client {
    pub(crate) fn start(peers: u32) -> io::Result<Self> {
        let mut child = Command::new(env::current_exe()?)
            .args([ARGUMENT, &peers.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let orders = child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let stdout = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let (sender, ready) = oneshot::channel();
        thread::spawn(move || {
            let mut line = String::new();
            let read = BufReader::new(stdout).read_line(&mut line);
            let ready = read.and_then(|_| match line.trim_end() {
                READY => Ok(()),
                _ => Err(io::Error::other("the flooder has ended")),
            });
            // Whoever has given up waiting has said so.
            let _ = sender.send(ready);
        });
        Ok(Self {
            child,
            orders,
            ready: Some(ready),
        })
    }

    /// Until it has prepared itself.
    pub(crate) async fn ready(&mut self) -> io::Result<()> {
        match self.ready.take() {
            Some(ready) => ready.await.map_err(io::Error::other)?,
            None => Ok(()),
        }
    }

    /// Lets it connect to somebody, and leave whom it was connected to.
    pub(crate) fn connect(&mut self, address: &Multiaddr) -> io::Result<()> {
        writeln!(self.orders, "{address}")
    }

    /// Lets it announce each peer once more.
    pub(crate) fn go(&mut self) -> io::Result<()> {
        writeln!(self.orders, "{GO}")
    }

    pub(crate) fn end(mut self) -> io::Result<()> {
        drop(self.orders);
        self.child.wait().map(drop)
    }
}

/// Does what [`Client::start`] has told this process, if it has.
pub(crate) async fn run_if_told_to() -> Option<Result<(), Box<dyn Error>>> {
    let mut arguments = env::args().skip_while(|argument| argument != ARGUMENT);
    arguments.next()?;
    Some(run(arguments).await)
}

async fn run(mut arguments: impl Iterator<Item = String>) -> Result<(), Box<dyn Error>> {
    let peers = arguments.next().ok_or("too few arguments")?.parse()?;
    let passes = (0..PASSES as u64)
        .map(|number| batches(invent(DEFAULT_TOPIC, 0..peers, number)))
        .collect::<Vec<_>>();
    println!("{READY}");

    let (sender, mut orders) = mpsc::channel(1);
    thread::spawn(move || {
        for order in io::stdin().lines().map_while(Result::ok) {
            if sender.blocking_send(order).is_err() {
                return;
            }
        }
    });
    let mut connected: Option<(Flooder, usize)> = None;
    while let Some(order) = orders.recv().await {
        if order == GO {
            let (flooder, pass) = connected.as_mut().ok_or("not connected")?;
            flooder.send(&passes[*pass % PASSES]).await?;
            *pass += 1;
            continue;
        }
        let speaker = swarm(Keypair::generate_ed25519(), Speaker::default())?;
        let flooder = Flooder::connect(speaker, order.parse()?, DEFAULT_TOPIC).await?;
        connected = Some((flooder, 0));
    }
    Ok(())
}
