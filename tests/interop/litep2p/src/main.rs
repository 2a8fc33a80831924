//! A litep2p node driven by a line protocol on stdin and stdout; see ../../README.md.

use std::{
    collections::{HashMap, HashSet},
    error::Error,
    fmt::Display,
    io::{self, BufRead as _},
    str::FromStr as _,
    time::Duration,
};

use futures::{StreamExt as _, future};
use litep2p::{
    Litep2p, Litep2pEvent, PeerId,
    codec::ProtocolCodec,
    config::ConfigBuilder,
    protocol::{
        Direction, TransportEvent, TransportService, UserProtocol,
        libp2p::{
            identify::{self, IdentifyEvent},
            ping::{self, PingEvent},
        },
    },
    substream::Substream,
    transport::{tcp, websocket},
    types::{SubstreamId, multiaddr::Multiaddr, protocol::ProtocolName},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::{mpsc, oneshot},
};

/// Far more than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

type Failure = Box<dyn Error + Send + Sync>;

enum Order {
    Open(PeerId, oneshot::Sender<Result<Substream, String>>),
    Close(PeerId),
}

struct Echo(mpsc::UnboundedReceiver<Order>);

#[async_trait::async_trait]
impl UserProtocol for Echo {
    fn protocol(&self) -> ProtocolName {
        ProtocolName::from("/echo/1.0.0")
    }

    fn codec(&self) -> ProtocolCodec {
        ProtocolCodec::Unspecified
    }

    async fn run(mut self: Box<Self>, mut service: TransportService) -> litep2p::Result<()> {
        let mut opening = HashMap::<SubstreamId, oneshot::Sender<_>>::new();
        // Of connections that this protocol has not been told of yet.
        let mut closing = HashSet::new();
        loop {
            tokio::select! {
                order = self.0.recv() => match order {
                    Some(Order::Open(peer, opened)) => match service.open_substream(peer) {
                        Ok(id) => drop(opening.insert(id, opened)),
                        Err(error) => drop(opened.send(Err(error.to_string()))),
                    },
                    Some(Order::Close(peer)) => {
                        if service.force_close(peer).is_err() {
                            closing.insert(peer);
                        }
                    }
                    None => return Ok(()),
                },
                event = service.next() => match event {
                    Some(TransportEvent::ConnectionEstablished { peer, .. }) if closing.remove(&peer) => {
                        let _ = service.force_close(peer);
                    }
                    Some(TransportEvent::SubstreamOpened { substream, direction, .. }) => match direction {
                        Direction::Inbound => drop(tokio::spawn(echo(substream))),
                        Direction::Outbound(id) => {
                            let _ = opening.remove(&id).map(|opened| opened.send(Ok(substream)));
                        }
                    },
                    Some(TransportEvent::SubstreamOpenFailure { substream, error }) => {
                        let _ = opening.remove(&substream).map(|opened| opened.send(Err(error.to_string())));
                    }
                    Some(_) => {}
                    None => return Ok(()),
                },
            }
        }
    }
}

async fn echo(substream: Substream) -> io::Result<()> {
    let (mut read, mut write) = tokio::io::split(substream);
    tokio::io::copy(&mut read, &mut write).await?;
    write.shutdown().await
}

/// Sends random bytes, the same after each prime number of them, and wants them back.
async fn exchange(substream: Substream, length: usize) -> Result<(), Failure> {
    let block: [u8; 251] = rand::random();
    let mut sent = block.repeat(length.div_ceil(block.len()));
    sent.truncate(length);
    let (mut read, mut write) = tokio::io::split(substream);
    let send = async {
        write.write_all(&sent).await?;
        write.shutdown().await
    };
    let receive = async {
        let mut back = vec![0; length];
        read.read_exact(&mut back).await?;
        Ok((back, read.read(&mut [0]).await?))
    };
    let ((), (back, more)) = future::try_join(send, receive).await?;
    match back == sent && more == 0 {
        true => Ok(()),
        false => Err("other bytes came back".into()),
    }
}

async fn streams(
    orders: mpsc::UnboundedSender<Order>,
    peer: PeerId,
    count: usize,
    length: usize,
) -> Result<(), Failure> {
    let opened = (0..count).map(|_| {
        let (opened, receiver) = oneshot::channel();
        let _ = orders.send(Order::Open(peer, opened));
        async { Ok::<_, Failure>(receiver.await??) }
    });
    let opened = future::try_join_all(opened).await?;
    let exchanges = opened
        .into_iter()
        .map(|substream| exchange(substream, length));
    future::try_join_all(exchanges).await?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| "another provider")?;
    let (mut tcp_listen, mut ws_listen) = (Vec::new(), Vec::<Multiaddr>::new());
    let mut arguments = std::env::args().skip(1);
    while let (Some(option), Some(value)) = (arguments.next(), arguments.next()) {
        // It has no other: whom it trusts is the system's word.
        if option == "--listen" {
            match value.contains("/ws") {
                true => ws_listen.push(value.parse()?),
                false => tcp_listen.push(value.parse()?),
            }
        }
    }
    let wanted = tcp_listen.len() + ws_listen.len();
    let (orders, received) = mpsc::unbounded_channel();
    let (ping, mut pings) = ping::ConfigBuilder::new()
        .with_ping_interval(Duration::from_secs(1))
        .build();
    let (identify, mut identified) = identify::Config::new("/peer/1.0.0".to_owned(), None);
    let config = ConfigBuilder::new()
        .with_tcp(tcp::config::Config {
            listen_addresses: tcp_listen,
            ..Default::default()
        })
        .with_websocket(websocket::config::Config {
            listen_addresses: ws_listen,
            ..Default::default()
        })
        .with_libp2p_ping(ping)
        .with_libp2p_identify(identify)
        .with_user_protocol(Box::new(Echo(received)))
        .with_keep_alive_timeout(PATIENCE);
    let mut node = Litep2p::new(config.build())?;
    let local = *node.local_peer_id();
    let listening: Vec<_> = node.listen_addresses().cloned().collect();
    if listening.len() < wanted {
        say("error listen: it does not listen on what it was told");
    }
    say(format_args!("started {local}"));
    for address in listening {
        say(format_args!("listening {address}"));
    }

    let mut lines = lines();
    let mut to_ping = HashSet::new();
    loop {
        tokio::select! {
            line = lines.recv() => {
                let Some(line) = line else { return Ok(()) };
                if let Err(error) = command(&mut node, &orders, &mut to_ping, &line).await {
                    say(format_args!("error {line}: {error}"));
                }
            }
            event = node.next_event() => match event {
                Some(Litep2pEvent::ConnectionEstablished { peer, .. }) => say(format_args!("connected {peer}")),
                Some(Litep2pEvent::ConnectionClosed { peer, .. }) => say(format_args!("disconnected {peer}")),
                Some(Litep2pEvent::DialFailure { address, error }) => say(format_args!("error dial {address}: {error}")),
                Some(Litep2pEvent::ListDialFailures { errors }) => {
                    for (address, error) in errors {
                        say(format_args!("error dial {address}: {error}"));
                    }
                }
                None => return Ok(()),
            },
            Some(PingEvent::Ping { peer, .. }) = pings.next() => {
                if to_ping.remove(&peer) {
                    say(format_args!("pong {peer}"));
                }
            }
            Some(event) = identified.next() => {
                let IdentifyEvent::PeerIdentified { peer, user_agent, supported_protocols, .. } = event;
                let agent = user_agent.unwrap_or_default().replace(' ', "_");
                let protocols: Vec<_> = supported_protocols.iter().map(ToString::to_string).collect();
                say(format_args!("identified {peer} {agent} {}", protocols.join(",")));
            }
        }
    }
}

async fn command(
    node: &mut Litep2p,
    orders: &mpsc::UnboundedSender<Order>,
    to_ping: &mut HashSet<PeerId>,
    line: &str,
) -> Result<(), Failure> {
    let words: Vec<_> = line.split_whitespace().collect();
    let (count, length, answer) = match words[..] {
        ["dial", address] => return Ok(node.dial_address(address.parse()?).await?),
        // The next of those that it sends by itself.
        ["ping", peer] => {
            to_ping.insert(PeerId::from_str(peer)?);
            return Ok(());
        }
        ["close", peer] => {
            return Ok(orders
                .send(Order::Close(PeerId::from_str(peer)?))
                .map_err(|_| "ended")?);
        }
        ["echo", _, length] => (1, length.parse()?, format!("echo ok {length}")),
        ["streams", _, count] => (count.parse()?, 1000, format!("streams ok {count}")),
        _ => return Err("there is no such command".into()),
    };
    let streams = streams(orders.clone(), PeerId::from_str(words[1])?, count, length);
    let line = line.to_owned();
    tokio::spawn(async move {
        match tokio::time::timeout(PATIENCE, streams).await {
            Ok(Ok(())) => say(answer),
            Ok(Err(error)) => say(format_args!("error {line}: {error}")),
            Err(_) => say(format_args!("error {line}: not in time")),
        }
    });
    Ok(())
}

/// Those of standard input.
fn lines() -> mpsc::UnboundedReceiver<String> {
    let (lines, received) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            let _ = lines.send(line);
        }
    });
    received
}

fn say(line: impl Display) {
    println!("{}", line.to_string().replace(char::is_control, " "));
}
