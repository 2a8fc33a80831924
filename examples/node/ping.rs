//! `/ipfs/ping/1.0.0`: answers pings and sends none.
//!
//! In place of `libp2p::ping::Behaviour`, whose handler (libp2p-ping 0.48) answers no pings any more once the other side
//! has refused its own. js-libp2p refuses pings unless it has the ping service, but its connection monitor pings every
//! connection after 10 s, and aborts it if no answer comes within another 5 s. A long `ping::Config::with_interval` does
//! not help, because the first ping is sent at once.

use std::{
    collections::VecDeque,
    convert::Infallible,
    io,
    task::{Context, Poll},
    time::Duration,
};

use futures::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, FutureExt as _, future::BoxFuture,
};
use libp2p::{
    Multiaddr, PeerId, StreamProtocol,
    core::{
        Endpoint,
        transport::PortUse,
        upgrade::{DeniedUpgrade, ReadyUpgrade},
    },
    swarm::{
        ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm,
        NetworkBehaviour, SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
        handler::{ConnectionEvent, FullyNegotiatedInbound},
    },
};

use crate::runtime::within;

const PROTOCOL: StreamProtocol = StreamProtocol::new("/ipfs/ping/1.0.0");

/// Of every ping.
const PAYLOAD: usize = 32;

/// How many streams of a connection are answered at once, as the specification has it. One more replaces the oldest.
const MAX_STREAMS: usize = 2;

/// How long a stream may take from one answered ping to the next. rust-libp2p pings every 15 s by default, on one stream.
const MAX_SILENCE: Duration = Duration::from_secs(60);

/// Answers pings on every connection.
#[derive(Debug)]
pub(crate) struct Behaviour;

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Infallible;

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
        event: THandlerOutEvent<Self>,
    ) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

#[derive(Default)]
pub(crate) struct Handler {
    /// The oldest first, at most [`MAX_STREAMS`].
    streams: VecDeque<BoxFuture<'static, io::Result<()>>>,
}

impl Handler {
    fn answer(&mut self, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
        if self.streams.len() == MAX_STREAMS {
            self.streams.pop_front();
        }
        self.streams.push_back(answer(stream, MAX_SILENCE).boxed());
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Infallible;
    type ToBehaviour = Infallible;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = DeniedUpgrade;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), ())
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, (), Self::ToBehaviour>> {
        // A stream that fails concerns only the peer that opened it.
        self.streams
            .retain_mut(|stream| stream.poll_unpin(cx).is_pending());
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, event: Self::FromBehaviour) {
        match event {}
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, Self::InboundProtocol, Self::OutboundProtocol>,
    ) {
        if let ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
            mut protocol,
            ..
        }) = event
        {
            // Pings alone are no use of a connection.
            protocol.ignore_for_keep_alive();
            self.answer(protocol);
        }
    }
}

/// Answers until the other side closes the stream, or `max_silence` has passed without a whole ping.
async fn answer(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    max_silence: Duration,
) -> io::Result<()> {
    loop {
        match within(max_silence, answer_one(&mut stream)).await {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return within(max_silence, stream.close()).await;
            }
            answered => answered?,
        }
    }
}

async fn answer_one(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
    let mut payload = [0; PAYLOAD];
    stream.read_exact(&mut payload).await?;
    stream.write_all(&payload).await?;
    stream.flush().await
}

#[cfg(test)]
mod tests {
    use std::{
        net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
        pin::pin,
    };

    use async_io::{Async, block_on};
    use futures::{
        StreamExt as _,
        future::{self, Either, poll_fn},
    };
    use libp2p::{
        Swarm, Transport as _,
        core::{transport::MemoryTransport, upgrade::Version},
        identity::Keypair,
        noise, ping, swarm,
        swarm::SwarmEvent,
        yamux,
    };

    use super::*;

    /// A test gives up after this; far more than it takes.
    const PATIENCE: Duration = Duration::from_secs(60);

    fn pair() -> [Async<TcpStream>; 2] {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (other, _) = listener.accept().unwrap();
        [one, other].map(|stream| Async::new(stream).unwrap())
    }

    fn run(test: impl Future<Output = io::Result<()>>) {
        block_on(within(PATIENCE, test)).unwrap();
    }

    #[test]
    fn every_ping_of_a_stream_is_answered_until_it_is_closed() {
        let [mut stream, answering] = pair();
        run(async {
            let test = async {
                let payload = |number| [number; PAYLOAD];
                stream.write_all(&payload(1)[..5]).await?;
                stream.flush().await?;
                stream.write_all(&payload(1)[5..]).await?;
                let mut back = payload(0);
                stream.read_exact(&mut back).await?;
                assert_eq!(back, payload(1));

                stream.write_all(&[payload(2), payload(3)].concat()).await?;
                for number in [2, 3] {
                    stream.read_exact(&mut back).await?;
                    assert_eq!(back, payload(number));
                }
                stream.get_ref().shutdown(Shutdown::Write)?;
                assert_eq!(stream.read(&mut back).await?, 0);
                io::Result::Ok(())
            };
            future::try_join(test, answer(answering, PATIENCE)).await?;
            Ok(())
        });
    }

    #[test]
    fn a_stream_that_is_silent_or_stops_within_a_ping_is_given_up() {
        for sent in [0, PAYLOAD - 1] {
            let [mut stream, answering] = pair();
            run(async {
                stream.write_all(&vec![7; sent]).await?;
                let ended = answer(answering, Duration::from_millis(20)).await;
                assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
                assert_eq!(stream.read(&mut [0]).await?, 0);
                Ok(())
            });
        }
    }

    #[test]
    fn one_stream_more_replaces_the_oldest() {
        let mut handler = Handler::default();
        let mut streams = Vec::new();
        for _ in 0..=MAX_STREAMS {
            let [stream, answering] = pair();
            handler.answer(answering);
            streams.push(stream);
        }
        run(async {
            let test = async {
                assert_eq!(streams[0].read(&mut [0]).await?, 0);
                for stream in &mut streams[1..] {
                    let mut payload = [1; PAYLOAD];
                    stream.write_all(&payload).await?;
                    stream.read_exact(&mut payload).await?;
                }
                Ok(())
            };
            let polled = poll_fn(|cx| match handler.poll(cx) {
                Poll::Ready(event) => panic!("it asks for nothing, not {event:?}"),
                Poll::Pending => Poll::<Infallible>::Pending,
            });
            match future::select(pin!(test), polled).await {
                Either::Left((done, _)) => done,
                Either::Right((never, _)) => match never {},
            }
        });
        assert_eq!(handler.streams.len(), MAX_STREAMS);
    }

    fn node<B: NetworkBehaviour>(behaviour: B) -> Swarm<B> {
        let keypair = Keypair::generate_ed25519();
        let transport = MemoryTransport::new()
            .upgrade(Version::V1Lazy)
            .authenticate(noise::Config::new(&keypair).unwrap())
            .multiplex(yamux::Config::default())
            .boxed();
        let config = swarm::Config::without_executor().with_idle_connection_timeout(PATIENCE);
        Swarm::new(transport, behaviour, keypair.public().to_peer_id(), config)
    }

    #[test]
    fn what_libp2p_pings_with_is_answered() {
        let mut answering = node(Behaviour);
        let often = ping::Config::new().with_interval(Duration::from_millis(1));
        let mut pinging = node(ping::Behaviour::new(often));
        answering.listen_on("/memory/0".parse().unwrap()).unwrap();
        run(async {
            let mut pings = 0;
            while pings < 3 {
                futures::select! {
                    event = answering.select_next_some() => {
                        if let SwarmEvent::NewListenAddr { address, .. } = event {
                            pinging.dial(address).unwrap();
                        }
                    }
                    event = pinging.select_next_some() => {
                        if let SwarmEvent::Behaviour(ping::Event { result, .. }) = event {
                            result.unwrap();
                            pings += 1;
                        }
                    }
                }
            }
            Ok(())
        });
    }
}
