//! A Rust node driven by a line protocol on stdin and stdout; see ../README.md. With this crate, or without anything of it.

#[path = "../../../examples/node/echo.rs"]
mod echo;
mod open;
#[path = "../../../examples/node/ping.rs"]
mod ping;
/// What pings need of the one of the example.
mod runtime {
    use std::{io, time::Duration};

    pub(crate) async fn within(
        limit: Duration,
        done: impl Future<Output = io::Result<()>>,
    ) -> io::Result<()> {
        tokio::time::timeout(limit, done).await?
    }
}

use std::{
    collections::HashMap,
    error::Error,
    fmt::Display,
    fs,
    io::{self, BufRead as _, Write as _},
    path::PathBuf,
    time::Duration,
};

use clap::Parser;
use futures::{
    AsyncReadExt as _, AsyncWriteExt as _, StreamExt as _,
    future::{self, Either},
};
use libp2p::{
    Multiaddr, PeerId, Stream, StreamProtocol, Swarm, Transport as _,
    core::{ConnectedPoint, muxing::StreamMuxerBox, transport::Boxed, upgrade::Version},
    gossipsub::{self, IdentTopic, MessageAuthenticity, PublishError},
    identify,
    identity::Keypair,
    noise,
    swarm::{
        self, ConnectionId, NetworkBehaviour, SwarmEvent, behaviour::toggle::Toggle,
        dial_opts::DialOpts,
    },
    tcp, yamux,
};
use libp2p_lazy_websocket::{
    discovery::{self, DEFAULT_TOPIC},
    websocket,
};
use libp2p_websocket::tls;
use open::Opener;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tokio::sync::mpsc;

const ECHO: StreamProtocol = StreamProtocol::new("/echo/1.0.0");
const PING: StreamProtocol = StreamProtocol::new("/ipfs/ping/1.0.0");

/// Far more than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

type Failure = Box<dyn Error + Send + Sync>;

#[derive(Debug, Parser)]
struct Arguments {
    /// Listen on this address. May be repeated.
    #[arg(long)]
    listen: Vec<Multiaddr>,
    /// The certificate chain of wss listeners, in PEM.
    #[arg(long, requires = "key")]
    cert: Option<PathBuf>,
    /// Its private key.
    #[arg(long, requires = "cert")]
    key: Option<PathBuf>,
    /// A certificate to trust when dialling, in PEM.
    #[arg(long)]
    trust: PathBuf,
    /// libp2p-websocket and the behaviours of rust-libp2p, in place of what this crate has.
    #[arg(long)]
    stock: bool,
}

#[derive(NetworkBehaviour)]
struct Behaviour {
    identify: identify::Behaviour,
    echo: echo::Behaviour,
    opener: Opener,
    discovery: Toggle<discovery::Behaviour<discovery::Gossipsub>>,
    ping: Toggle<ping::Behaviour>,
    stock_gossipsub: Toggle<gossipsub::Behaviour>,
    stock_ping: Toggle<libp2p::ping::Behaviour>,
}

impl Behaviour {
    fn new(arguments: &Arguments, keypair: &Keypair) -> Result<Self, Failure> {
        let identify = identify::Config::new("/peer/1.0.0".to_owned(), keypair.public());
        let (ours, stock) = match arguments.stock {
            true => {
                let author = MessageAuthenticity::Signed(keypair.clone());
                let gossipsub = gossipsub::Behaviour::new(author, gossipsub::Config::default())?;
                (None, Some(gossipsub))
            }
            false => {
                let gossipsub = discovery::gossipsub::config().build()?;
                let config = discovery::Config::default().with_interval(Duration::from_secs(1));
                let discovery = discovery::Behaviour::gossipsub(keypair, gossipsub, config)?;
                (Some(discovery), None)
            }
        };
        let mut behaviour = Self {
            identify: identify::Behaviour::new(identify),
            echo: echo::Behaviour,
            opener: Opener::default(),
            ping: ours.as_ref().map(|_| ping::Behaviour).into(),
            discovery: ours.into(),
            stock_ping: stock.as_ref().map(|_| Default::default()).into(),
            stock_gossipsub: stock.into(),
        };
        if arguments.stock {
            behaviour
                .gossipsub()
                .subscribe(&IdentTopic::new(DEFAULT_TOPIC))?;
        }
        Ok(behaviour)
    }

    fn gossipsub(&mut self) -> &mut gossipsub::Behaviour {
        match (self.discovery.as_mut(), self.stock_gossipsub.as_mut()) {
            (Some(discovery), _) => discovery.gossipsub_mut(),
            (None, Some(gossipsub)) => gossipsub,
            (None, None) => unreachable!("it has one of them"),
        }
    }
}

type Upgraded = Boxed<(PeerId, StreamMuxerBox)>;

fn ours(arguments: &Arguments, keypair: &Keypair) -> Result<Upgraded, Failure> {
    let anchor = websocket::TrustAnchor::from_pem(&fs::read(&arguments.trust)?)?;
    let mut config = websocket::Config::default()
        .with_tcp(true)
        .with_trust_anchor(anchor);
    if let (Some(cert), Some(key)) = (&arguments.cert, &arguments.key) {
        config = config.with_certificates(websocket::Certificates::watch(cert, key)?);
    }
    websocket::tokio::transport(config).upgraded(keypair)
}

fn stock(arguments: &Arguments, keypair: &Keypair) -> Result<Upgraded, Failure> {
    let certificate = |der: CertificateDer<'_>| tls::Certificate::new(der.to_vec());
    let mut tls = tls::Config::builder();
    tls.add_trust(&certificate(CertificateDer::from_pem_file(
        &arguments.trust,
    )?))?;
    if let (Some(cert), Some(key)) = (&arguments.cert, &arguments.key) {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(cert)?.collect();
        let key = PrivateKeyDer::from_pem_file(key)?;
        let key = tls::PrivateKey::new(key.secret_der().to_vec());
        tls.server(key, chain?.into_iter().map(certificate))?;
    }
    let tcp = || tcp::tokio::Transport::new(tcp::Config::default());
    let mut websocket = libp2p_websocket::Config::new(tcp());
    websocket.set_tls_config(tls.finish());
    let noise = || noise::Config::new(keypair);
    let websocket = websocket
        .upgrade(Version::V1Lazy)
        .authenticate(noise()?)
        .multiplex(yamux::Config::default());
    let tcp = tcp()
        .upgrade(Version::V1Lazy)
        .authenticate(noise()?)
        .multiplex(yamux::Config::default());
    Ok(websocket
        .or_transport(tcp)
        .map(|either, _| match either {
            Either::Left((peer, muxer)) => (peer, StreamMuxerBox::new(muxer)),
            Either::Right((peer, muxer)) => (peer, StreamMuxerBox::new(muxer)),
        })
        .boxed())
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    let keypair = Keypair::generate_ed25519();
    let transport = match arguments.stock {
        true => stock(&arguments, &keypair)?,
        false => ours(&arguments, &keypair)?,
    };
    let config = swarm::Config::with_tokio_executor()
        .with_idle_connection_timeout(PATIENCE)
        // Streams that come in a burst are not dropped.
        .with_max_negotiating_inbound_streams(4093);
    let behaviour = Behaviour::new(&arguments, &keypair)?;
    let local = keypair.public().to_peer_id();
    let mut node = Node {
        swarm: Swarm::new(transport, behaviour, local, config),
        dials: HashMap::new(),
        unpublished: Vec::new(),
    };
    say(format_args!("started {local}"));
    for address in arguments.listen {
        node.swarm.listen_on(address)?;
    }
    let mut lines = lines();
    loop {
        tokio::select! {
            event = node.swarm.select_next_some() => {
                node.tell(event);
                node.publish();
            }
            line = lines.recv() => match line {
                Some(line) => {
                    if let Err(error) = node.command(&line) {
                        say(format_args!("error {line}: {}", chain(&*error)));
                    }
                    node.publish();
                }
                None => return Ok(()),
            },
        }
    }
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

struct Node {
    swarm: Swarm<Behaviour>,
    dials: HashMap<ConnectionId, String>,
    /// What waits for a subscriber.
    unpublished: Vec<(String, Vec<u8>)>,
}

impl Node {
    fn command(&mut self, line: &str) -> Result<(), Failure> {
        let words: Vec<_> = line.split_whitespace().collect();
        match words[..] {
            ["dial", address] => {
                let options = DialOpts::from(address.parse::<Multiaddr>()?);
                self.dials.insert(options.connection_id(), line.to_owned());
                self.swarm.dial(options)?;
            }
            ["close", peer] => {
                let _ = self.swarm.disconnect_peer_id(peer.parse()?);
            }
            ["subscribe", topic] => {
                let behaviour = self.swarm.behaviour_mut();
                behaviour.gossipsub().subscribe(&IdentTopic::new(topic))?;
                say(format_args!("subscribed {topic}"));
            }
            ["publish", topic, payload] => {
                let payload = (0..payload.len())
                    .step_by(2)
                    .map(|at| u8::from_str_radix(&payload[at..at + 2], 16))
                    .collect::<Result<_, _>>()?;
                self.unpublished.push((topic.to_owned(), payload));
            }
            ["ping", peer] => {
                let opened = self.open(peer, PING, 1)?;
                let peer = peer.to_owned();
                answer(line, async move {
                    for mut stream in future::try_join_all(opened).await? {
                        let sent: [u8; 32] = rand::random();
                        stream.write_all(&sent).await?;
                        stream.flush().await?;
                        let mut back = [0; 32];
                        stream.read_exact(&mut back).await?;
                        if back != sent {
                            return Err("other bytes came back".into());
                        }
                    }
                    Ok(format!("pong {peer}"))
                });
            }
            ["echo", peer, length] => {
                let opened = self.open(peer, ECHO, 1)?;
                let length = length.parse()?;
                answer(line, async move {
                    for stream in future::try_join_all(opened).await? {
                        exchange(stream, length).await?;
                    }
                    Ok(format!("echo ok {length}"))
                });
            }
            ["streams", peer, count] => {
                let count = count.parse()?;
                let opened = self.open(peer, ECHO, count)?;
                answer(line, async move {
                    let streams = future::try_join_all(opened).await?;
                    future::try_join_all(streams.into_iter().map(|stream| exchange(stream, 1000)))
                        .await?;
                    Ok(format!("streams ok {count}"))
                });
            }
            _ => return Err("there is no such command".into()),
        }
        Ok(())
    }

    fn open(
        &mut self,
        peer: &str,
        protocol: StreamProtocol,
        count: usize,
    ) -> Result<Vec<impl Future<Output = Result<Stream, Failure>> + use<>>, Failure> {
        let peer: PeerId = peer.parse()?;
        if !self.swarm.is_connected(&peer) {
            return Err("not connected".into());
        }
        let opener = &mut self.swarm.behaviour_mut().opener;
        let opened = (0..count).map(|_| {
            let opened = opener.open(peer, protocol.clone());
            async move { Ok(opened.await??) }
        });
        Ok(opened.collect())
    }

    /// What somebody has subscribed to by now.
    fn publish(&mut self) {
        let gossipsub = self.swarm.behaviour_mut().gossipsub();
        self.unpublished.retain(|(topic, payload)| {
            match gossipsub.publish(IdentTopic::new(topic), payload.clone()) {
                Err(PublishError::NoPeersSubscribedToTopic) => return true,
                Err(error) => say(format_args!("error publish {topic}: {}", chain(&error))),
                Ok(_) => say(format_args!("published {topic}")),
            }
            false
        });
    }

    fn tell(&mut self, event: SwarmEvent<BehaviourEvent>) {
        let local = *self.swarm.local_peer_id();
        match event {
            SwarmEvent::NewListenAddr { address, .. } => {
                say(format_args!("listening {address}/p2p/{local}"));
            }
            SwarmEvent::ListenerClosed {
                reason: Err(error), ..
            }
            | SwarmEvent::ListenerError { error, .. } => {
                say(format_args!("error listener: {}", chain(&error)));
            }
            SwarmEvent::ConnectionEstablished {
                peer_id, endpoint, ..
            } => {
                if let ConnectedPoint::Listener { send_back_addr, .. } = endpoint {
                    say(format_args!("incoming {peer_id} {send_back_addr}"));
                }
                say(format_args!("connected {peer_id}"));
            }
            SwarmEvent::ConnectionClosed { peer_id, cause, .. } => {
                let cause = cause.map(|cause| chain(&cause));
                say(format_args!(
                    "disconnected {peer_id} {}",
                    cause.unwrap_or_default()
                ));
            }
            SwarmEvent::OutgoingConnectionError {
                connection_id,
                error,
                ..
            } => {
                let dial = self.dials.remove(&connection_id).unwrap_or_default();
                say(format_args!("error {dial}: {}", chain(&error)));
            }
            SwarmEvent::IncomingConnectionError { error, .. } => {
                say(format_args!("error incoming: {}", chain(&error)));
            }
            SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received {
                peer_id,
                info,
                ..
            })) => {
                let agent = info.agent_version.replace(' ', "_");
                let protocols: Vec<_> = info.protocols.iter().map(ToString::to_string).collect();
                say(format_args!(
                    "identified {peer_id} {agent} {}",
                    protocols.join(",")
                ));
            }
            SwarmEvent::Behaviour(BehaviourEvent::Discovery(discovery::Event::Discovered {
                peer_id,
                addresses,
                ..
            })) => {
                let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
                say(format_args!("discovered {peer_id} {}", addresses.join(",")));
            }
            SwarmEvent::Behaviour(
                BehaviourEvent::StockGossipsub(gossipsub::Event::Message { message, .. })
                | BehaviourEvent::Discovery(discovery::Event::PubSub(gossipsub::Event::Message {
                    message,
                    ..
                })),
            ) => {
                let author = message.source.map(|author| author.to_string());
                let payload: String = message.data.iter().map(|b| format!("{b:02x}")).collect();
                say(format_args!(
                    "message {} {} {payload} {local}",
                    author.unwrap_or_default(),
                    message.topic
                ));
            }
            _ => {}
        }
    }
}

/// Says what comes of a command, in time.
fn answer(line: &str, work: impl Future<Output = Result<String, Failure>> + Send + 'static) {
    let line = line.to_owned();
    tokio::spawn(async move {
        match tokio::time::timeout(PATIENCE, work).await {
            Ok(Ok(answer)) => say(answer),
            Ok(Err(error)) => say(format_args!("error {line}: {}", chain(&*error))),
            Err(_) => say(format_args!("error {line}: not in time")),
        }
    });
}

/// Sends random bytes, the same after each prime number of them, and wants them back.
async fn exchange(stream: Stream, length: usize) -> Result<(), Failure> {
    let block: [u8; 251] = rand::random();
    let mut sent = block.repeat(length.div_ceil(block.len()));
    sent.truncate(length);
    let (mut read, mut write) = stream.split();
    let send = async {
        write.write_all(&sent).await?;
        write.close().await
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

fn say(line: impl Display) {
    let line = line.to_string().replace(char::is_control, " ");
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
