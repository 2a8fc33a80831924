//! Those that connect to a hub, together in a process of their own, each with an identity and a transport of its own.

use std::{error::Error, future::poll_fn, io, task::Poll, time::Instant};

use futures::{TryFutureExt as _, TryStreamExt as _, stream};
use libp2p::{
    Multiaddr, PeerId, Transport as _,
    core::{
        Endpoint,
        muxing::{StreamMuxerBox, StreamMuxerExt as _},
        transport::{Boxed, DialOpts, PortUse},
    },
    identity::Keypair,
    multiaddr::Protocol,
};
use libp2p_lazy_websocket::websocket::{self, Engine, TrustAnchor};
use tokio::task::JoinSet;

use super::{
    hub::upgraded,
    process::{Arguments, Process, orders, play},
};

const ROLE: &str = "--peers";

/// How many dial at a time.
const AT_ONCE: usize = 64;

const DIAL: &str = "dial";
const LEAVE: &str = "leave";

/// The process, as the one that measures sees it.
pub(crate) struct Peers(Process);

impl Peers {
    /// So many of them, for a hub at such a place.
    pub(crate) fn start(place: &str, count: usize) -> io::Result<Self> {
        let count = count.to_string();
        let arguments = place.split(' ').chain([count.as_str()]);
        let mut process = Process::start(ROLE, arguments)?;
        // They are made before anything is measured.
        process.answer()?;
        Ok(Self(process))
    }

    /// Lets all of them connect, and says how many seconds it took.
    pub(crate) fn dial(&mut self) -> Result<f64, Box<dyn Error>> {
        Ok(self.0.ask(DIAL)?.parse()?)
    }

    pub(crate) fn leave(&mut self) -> io::Result<()> {
        self.0.ask(LEAVE).map(drop)
    }

    pub(crate) fn end(self) -> io::Result<()> {
        self.0.end()
    }
}

/// Does what [`Peers::start`] has told this process, if it has.
pub(crate) fn run_if_told_to() -> Option<Result<(), Box<dyn Error>>> {
    play(ROLE, run)
}

async fn run(mut arguments: Arguments) -> Result<(), Box<dyn Error>> {
    let mut argument = || arguments.next().ok_or("too few arguments");
    let address = argument()?.parse::<Multiaddr>()?;
    let anchor = of_hex(&argument()?)?;
    let count = argument()?.parse::<usize>()?;
    let peers = (0..count).map(|_| transport(&address, &anchor));
    let mut peers = peers.collect::<Result<Vec<_>, _>>()?;
    println!("ready");

    let mut connections = JoinSet::new();
    let mut orders = orders();
    while let Some(order) = orders.next_line().await? {
        match order.as_str() {
            DIAL => {
                let start = Instant::now();
                let opts = DialOpts {
                    role: Endpoint::Dialer,
                    port_use: PortUse::New,
                };
                let dials = peers
                    .iter_mut()
                    .map(|peer| peer.dial(address.clone(), opts));
                let mut dials = stream::iter(dials)
                    .map_err(Box::<dyn Error>::from)
                    .map_ok(|dial| dial.map_err(Into::into))
                    .try_buffer_unordered(AT_ONCE);
                while let Some((_, connection)) = dials.try_next().await? {
                    connections.spawn(drive(connection));
                }
                println!("{}", start.elapsed().as_secs_f64());
            }
            LEAVE => {
                connections.shutdown().await;
                println!("left");
            }
            order => return Err(format!("no such order: {order}").into()),
        }
    }
    Ok(())
}

/// One of its own for each, or the first that is connected would spare the next a TLS handshake.
fn transport(
    address: &Multiaddr,
    anchor: &[u8],
) -> Result<Boxed<(PeerId, StreamMuxerBox)>, Box<dyn Error>> {
    let key = Keypair::generate_ed25519();
    let tcp = libp2p_tcp::tokio::Transport::new(libp2p_tcp::Config::default());
    if !address
        .iter()
        .any(|protocol| matches!(protocol, Protocol::Ws(_)))
    {
        return Ok(upgraded(tcp, &key)?);
    }
    let config = websocket::Config::default()
        .with_engine(Engine::Stream)
        .with_trust_anchor(TrustAnchor::from_der(anchor.to_vec())?);
    Ok(upgraded(websocket::Transport::new(tcp, config), &key)?)
}

/// Until the connection ends. Refuses all streams.
async fn drive(mut connection: StreamMuxerBox) {
    let _ = poll_fn(|cx| {
        while let Poll::Ready(Ok(_)) = connection.poll_inbound_unpin(cx) {}
        connection.poll_unpin(cx)
    })
    .await;
}

pub(crate) fn of_hex(hex: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    let bytes = hex.as_bytes().chunks(2).map(|pair| {
        let byte = u8::from_str_radix(std::str::from_utf8(pair)?, 16)?;
        Ok(byte)
    });
    bytes.collect()
}
