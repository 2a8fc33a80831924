//! Somebody who speaks gossipsub's protocol, and sends announcements of peers that do not exist.

#![allow(dead_code, reason = "each user takes its part")]

use std::{
    collections::VecDeque,
    convert::Infallible,
    io,
    task::{Context, Poll},
    time::Duration,
};

use futures::{AsyncReadExt as _, AsyncWriteExt as _, StreamExt as _, channel::oneshot};
use libp2p::{
    Multiaddr, PeerId, Stream, StreamProtocol, Swarm,
    core::{Endpoint, transport::PortUse, upgrade::ReadyUpgrade},
    identity::{Keypair, PublicKey},
    multiaddr::Protocol,
    swarm::{
        ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm,
        NetworkBehaviour, SubstreamProtocol, SwarmEvent, THandler, THandlerInEvent,
        THandlerOutEvent, ToSwarm,
        handler::{ConnectionEvent, FullyNegotiatedInbound, FullyNegotiatedOutbound},
    },
};
use prost::Message as _;
use tokio::task::JoinSet;

/// Without messages of its own for what is not wanted, which later versions have.
const PROTOCOL: StreamProtocol = StreamProtocol::new("/meshsub/1.1.0");

/// By default gossipsub reads no more than 64 KiB at once, among which it counts what has come of the next batch.
const BATCH_LEN: usize = 32 * 1024;

/// After how long a node that does not answer is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Of gossipsub's protocol, what is needed here.
#[derive(Clone, PartialEq, prost::Message)]
struct Rpc {
    #[prost(message, repeated, tag = "1")]
    subscriptions: Vec<Subscription>,
    #[prost(message, repeated, tag = "2")]
    publish: Vec<Message>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Subscription {
    #[prost(bool, tag = "1")]
    subscribe: bool,
    #[prost(string, tag = "2")]
    topic: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Message {
    #[prost(bytes = "vec", optional, tag = "1")]
    from: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "2")]
    data: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "3")]
    seqno: Option<Vec<u8>>,
    #[prost(string, required, tag = "4")]
    topic: String,
    #[prost(bytes = "vec", optional, tag = "5")]
    signature: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Peer {
    #[prost(bytes = "vec", tag = "1")]
    public_key: Vec<u8>,
    #[prost(bytes = "vec", repeated, tag = "2")]
    addrs: Vec<Vec<u8>>,
}

/// One announcement of a peer that does not exist.
#[derive(Debug, Clone)]
pub(crate) struct Invented {
    pub(crate) author: PublicKey,
    /// The announcement itself, as discovery reads it.
    pub(crate) payload: Vec<u8>,
    /// What is signed, and by what.
    pub(crate) signed: Vec<u8>,
    pub(crate) signature: Vec<u8>,
    topic: String,
    number: u64,
}

/// Announcements of so many peers, each with this number in the pubsub. The same number of a peer is the same peer.
pub(crate) fn invent(
    topic: &str,
    peers: std::ops::Range<u32>,
    number: u64,
) -> impl Iterator<Item = Invented> {
    peers.map(move |peer| {
        let mut secret = [0xf1; 32];
        secret[..4].copy_from_slice(&peer.to_be_bytes());
        let keypair = Keypair::ed25519_from_bytes(secret).expect("32 bytes");
        let author = keypair.public();
        // Public addresses, so that no filter keeps them out.
        let [_, a, b, c] = peer.to_be_bytes();
        let address = Multiaddr::from(std::net::Ipv4Addr::new(45, a, b, c))
            .with(Protocol::Tcp(443))
            .with(Protocol::Tls)
            .with(Protocol::Ws("/".into()));
        let payload = Peer {
            public_key: author.encode_protobuf(),
            addrs: vec![address.to_vec()],
        };
        let mut invented = Invented {
            payload: payload.encode_to_vec(),
            signed: b"libp2p-pubsub:".to_vec(),
            signature: Vec::new(),
            topic: topic.to_owned(),
            author,
            number,
        };
        let unsigned = invented.message(None);
        unsigned
            .encode(&mut invented.signed)
            .expect("a vector grows");
        invented.signature = keypair.sign(&invented.signed).expect("Ed25519 signs");
        invented
    })
}

impl Invented {
    fn message(&self, signature: Option<Vec<u8>>) -> Message {
        Message {
            from: Some(self.author.to_peer_id().to_bytes()),
            data: Some(self.payload.clone()),
            seqno: Some(self.number.to_be_bytes().to_vec()),
            topic: self.topic.clone(),
            signature,
        }
    }
}

/// The bytes that bring these announcements, as many in one piece as gossipsub reads.
pub(crate) fn batches(invented: impl IntoIterator<Item = Invented>) -> Vec<Vec<u8>> {
    let (mut batches, mut rpc, mut length) = (Vec::new(), Rpc::default(), 0);
    for invented in invented {
        let message = invented.message(Some(invented.signature.clone()));
        length += message.encoded_len();
        if length > BATCH_LEN {
            batches.push(std::mem::take(&mut rpc).encode_length_delimited_to_vec());
            length = message.encoded_len();
        }
        rpc.publish.push(message);
    }
    batches.push(rpc.encode_length_delimited_to_vec());
    batches
}

/// Takes the first RPC off what has come, once all of it is there.
fn next_rpc(pending: &mut Vec<u8>) -> Option<Rpc> {
    let mut rest = &pending[..];
    let rpc = Rpc::decode_length_delimited(&mut rest).ok()?;
    let taken = pending.len() - rest.len();
    pending.drain(..taken);
    Some(rpc)
}

/// A connection to a node, subscribed to the topic.
///
/// Its swarm runs until it is dropped.
pub(crate) struct Flooder {
    id: PeerId,
    stream: Stream,
    greeting: oneshot::Receiver<()>,
    _tasks: JoinSet<()>,
}

impl Flooder {
    /// Of a swarm that is not connected yet, to whoever listens at `address`.
    pub(crate) async fn connect(
        mut swarm: Swarm<Speaker>,
        address: Multiaddr,
        topic: &str,
    ) -> io::Result<Self> {
        let id = *swarm.local_peer_id();
        swarm.dial(address).map_err(io::Error::other)?;
        let mut tasks = JoinSet::new();
        let (mut outbound, mut inbound) = (None, None);
        let opened = async {
            while outbound.is_none() || inbound.is_none() {
                match swarm.select_next_some().await {
                    SwarmEvent::Behaviour(Opened::Outbound(stream)) => outbound = Some(stream),
                    SwarmEvent::Behaviour(Opened::Inbound(stream)) => inbound = Some(stream),
                    SwarmEvent::OutgoingConnectionError { error, .. } => {
                        return Err(io::Error::other(error));
                    }
                    _ => {}
                }
            }
            Ok(())
        };
        tokio::time::timeout(PATIENCE, opened).await??;
        let (Some(stream), Some(mut inbound)) = (outbound, inbound) else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        tasks.spawn(async move {
            loop {
                swarm.select_next_some().await;
            }
        });
        let (greeted, greeting) = oneshot::channel();
        let mut greeted = Some(greeted);
        // What the node says is taken, so that it does not wait, and forgotten.
        tasks.spawn(async move {
            let (mut heard, mut pending) = (vec![0; 64 * 1024], Vec::new());
            while let Ok(count @ 1..) = inbound.read(&mut heard).await {
                if greeted.is_some() {
                    pending.extend(&heard[..count]);
                }
                while let Some(rpc) = next_rpc(&mut pending) {
                    if rpc.subscriptions.iter().any(|one| one.subscribe) {
                        greeted.take().map(|greeted| greeted.send(()));
                    }
                }
            }
        });
        let mut flooder = Self {
            id,
            stream,
            greeting,
            _tasks: tasks,
        };
        flooder.subscribe(topic).await?;
        Ok(flooder)
    }

    /// Subscribes to a topic. Once the node knows of it, it has seen all that was sent before.
    pub(crate) async fn subscribe(&mut self, topic: &str) -> io::Result<()> {
        let subscription = Subscription {
            subscribe: true,
            topic: topic.to_owned(),
        };
        let rpc = Rpc {
            subscriptions: vec![subscription],
            publish: Vec::new(),
        };
        self.stream
            .write_all(&rpc.encode_length_delimited_to_vec())
            .await?;
        self.stream.flush().await
    }

    /// Waits until the node has said what it is subscribed to.
    pub(crate) async fn greeted(&mut self) -> io::Result<()> {
        let greeting = tokio::time::timeout(PATIENCE, &mut self.greeting).await;
        greeting?.map_err(io::Error::other)
    }

    pub(crate) fn id(&self) -> PeerId {
        self.id
    }

    /// Sends as fast as the link takes it.
    pub(crate) async fn send(&mut self, batches: &[Vec<u8>]) -> io::Result<()> {
        for batch in batches {
            self.stream.write_all(batch).await?;
        }
        self.stream.flush().await
    }
}

/// Opens a stream of gossipsub's on each connection, accepts that of the other side, and leaves both to its user.
#[derive(Default)]
pub(crate) struct Speaker {
    opened: VecDeque<Opened>,
}

#[derive(Debug)]
pub(crate) enum Opened {
    Inbound(Stream),
    Outbound(Stream),
}

impl NetworkBehaviour for Speaker {
    type ConnectionHandler = Handler;
    type ToSwarm = Opened;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::default())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::default())
    }

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

    fn on_connection_handler_event(
        &mut self,
        _: PeerId,
        _: ConnectionId,
        opened: THandlerOutEvent<Self>,
    ) {
        self.opened.push_back(opened);
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Opened, THandlerInEvent<Self>>> {
        // The swarm polls again after whatever could have added to it.
        match self.opened.pop_front() {
            Some(opened) => Poll::Ready(ToSwarm::GenerateEvent(opened)),
            None => Poll::Pending,
        }
    }
}

#[derive(Default)]
pub(crate) struct Handler {
    asked: bool,
    opened: VecDeque<Opened>,
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Infallible;
    type ToBehaviour = Opened;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), ())
    }

    fn on_behaviour_event(&mut self, event: Infallible) {
        match event {}
    }

    fn poll(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, (), Opened>> {
        if let Some(opened) = self.opened.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(opened));
        }
        if !self.asked {
            self.asked = true;
            let protocol = SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), ());
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        Poll::Pending
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, Self::InboundProtocol, Self::OutboundProtocol>,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol, ..
            }) => self.opened.push_back(Opened::Inbound(protocol)),
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol, ..
            }) => self.opened.push_back(Opened::Outbound(protocol)),
            _ => {}
        }
    }
}
