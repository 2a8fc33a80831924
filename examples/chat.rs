//! A chat over two topics of its own, with peer scoring, among peers that discovery finds.
//!
//! `cargo run --example chat` prints its address; `cargo run --example chat -- <address>` joins there. A line that begins
//! with `!` goes to the topic `alerts`, any other to `talk`. Ctrl-C or Ctrl-D ends it.

use std::error::Error;

use futures::StreamExt as _;
use libp2p::{
    SwarmBuilder,
    gossipsub::{self, IdentTopic, PeerScoreParams, PeerScoreThresholds, TopicScoreParams},
    swarm::SwarmEvent,
};
use libp2p_lazy_websocket::{
    discovery::{self, Gossipsub},
    websocket,
};
use tokio::io::{AsyncBufReadExt as _, BufReader, stdin};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let [talk, alerts] = ["talk", "alerts"].map(IdentTopic::new);
    let transport = websocket::tokio::transport(websocket::Config::default());
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_other_transport(|key| transport.upgraded(key))?
        .with_behaviour(|key| -> Result<_, Box<dyn Error + Send + Sync>> {
            let mut gossipsub = Gossipsub::new(key, discovery::gossipsub::config().build()?)?;
            let mut scores = PeerScoreParams::default();
            for topic in [&talk, &alerts] {
                // A chat is quiet, so few messages are no reason for a penalty.
                let score = TopicScoreParams {
                    mesh_message_deliveries_weight: 0.0,
                    mesh_failure_penalty_weight: 0.0,
                    ..TopicScoreParams::default()
                };
                scores.topics.insert(topic.hash(), score);
                gossipsub.behaviour_mut().subscribe(topic)?;
            }
            let thresholds = PeerScoreThresholds::default();
            let behaviour = gossipsub.behaviour_mut();
            behaviour.with_peer_score(scores, thresholds)?;
            let config = discovery::Config::default().with_connections(4);
            Ok(discovery::Behaviour::with_gossipsub(gossipsub, config)?)
        })?
        .build();
    swarm.listen_on("/ip4/127.0.0.1/tcp/0/ws".parse()?)?;
    if let Some(hub) = std::env::args().nth(1) {
        swarm.behaviour_mut().add_hub(hub.parse()?)?;
    }

    let mut lines = BufReader::new(stdin()).lines();
    loop {
        tokio::select! {
            line = lines.next_line() => match line? {
                Some(line) => {
                    let topic = if line.starts_with('!') { &alerts } else { &talk };
                    let gossipsub = swarm.behaviour_mut().gossipsub_mut();
                    if let Err(error) = gossipsub.publish(topic.clone(), line) {
                        println!("not sent: {error}");
                    }
                }
                None => return Ok(()),
            },
            event = swarm.select_next_some() => match event {
                SwarmEvent::NewListenAddr { address, .. } => println!("listening on {address}"),
                SwarmEvent::Behaviour(discovery::Event::Discovered { peer_id, .. }) => {
                    println!("{peer_id} is there");
                }
                SwarmEvent::Behaviour(discovery::Event::PubSub(gossipsub::Event::Message { message, .. })) => {
                    println!("{}: {}", message.topic, String::from_utf8_lossy(&message.data));
                }
                _ => {}
            },
            // Without a return, which waits for the thread that reads the next line.
            _ = tokio::signal::ctrl_c() => std::process::exit(0),
        }
    }
}
