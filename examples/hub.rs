//! A hub, where peers that do not know each other meet, over `ws` and `wss`, with metrics for Prometheus.
//! Run: `cargo run --features metrics --example hub -- --metrics 127.0.0.1:9100`, with the addresses to listen on behind it
//!
//! The TLS listener waits until `chain.pem` and `key.pem` are in the current directory.

use std::{error::Error, io, sync::Arc, time::Duration};

use futures::StreamExt as _;
use libp2p::{
    SwarmBuilder,
    connection_limits::{Behaviour as Limits, ConnectionLimits},
    swarm::{NetworkBehaviour, SwarmEvent},
};
use libp2p_lazy_websocket::{
    discovery, lazy,
    websocket::{self, Certificates},
};
use prometheus_client::{encoding::text, registry::Registry};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    time,
};

#[derive(NetworkBehaviour)]
struct Behaviour {
    limits: Limits,
    discovery: discovery::Behaviour<discovery::Gossipsub>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let certificates = Certificates::watch("chain.pem", "key.pem")?;
    let config = websocket::Config::default().with_certificates(certificates);
    let mut transport = websocket::tokio::transport(config);
    let mut changes = transport.readiness().changes();
    let mut registry = Registry::default();
    transport.register_metrics(&mut registry);
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_other_transport(|key| transport.upgraded(key))?
        .with_behaviour(|key| -> Result<_, Box<dyn Error + Send + Sync>> {
            let limits = ConnectionLimits::default()
                .with_max_established_incoming(Some(4096))
                .with_max_established_per_peer(Some(8));
            // Room in the mesh for a thousand peers that are connected to nobody else.
            let gossipsub = discovery::gossipsub::hub_config(1_000).build()?;
            let config = discovery::Config::default();
            Ok(Behaviour {
                limits: Limits::new(limits),
                discovery: discovery::Behaviour::gossipsub(key, gossipsub, config)?,
            })
        })?
        .build();
    swarm
        .behaviour_mut()
        .discovery
        .register_metrics(&mut registry);

    let mut addresses: Vec<String> = std::env::args().skip(1).collect();
    if addresses
        .first()
        .is_some_and(|argument| argument == "--metrics")
    {
        let at = addresses
            .drain(..2)
            .nth(1)
            .ok_or("--metrics needs an address")?;
        let socket = TcpListener::bind(at).await?;
        println!("metrics at http://{}/metrics", socket.local_addr()?);
        tokio::spawn(serve(socket, Arc::new(registry)));
    }
    if addresses.is_empty() {
        addresses = ["9000/ws", "9001/tls/ws"]
            .map(|port| format!("/ip4/127.0.0.1/tcp/{port}"))
            .into();
    }
    for address in addresses {
        swarm.listen_on(address.parse()?)?;
    }
    loop {
        tokio::select! {
            Some(change) = changes.next() => {
                if let lazy::Change::Status { status, .. } = change {
                    println!("{status}");
                }
            }
            event = swarm.select_next_some() => match event {
                SwarmEvent::Behaviour(BehaviourEvent::Discovery(event)) => println!("{event:?}"),
                SwarmEvent::IncomingConnectionError { error, .. } => println!("{error}"),
                _ => {}
            },
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
    }
}

async fn serve(socket: TcpListener, registry: Arc<Registry>) -> io::Result<()> {
    loop {
        let (stream, _) = socket.accept().await?;
        let answer = answer(stream, Arc::clone(&registry));
        tokio::spawn(time::timeout(Duration::from_secs(5), answer));
    }
}

/// Reads one request and answers it.
async fn answer(mut stream: TcpStream, registry: Arc<Registry>) -> io::Result<()> {
    let mut lines = BufReader::new((&mut stream).take(8192)).lines();
    let request = lines.next_line().await?.unwrap_or_default();
    while lines
        .next_line()
        .await?
        .is_some_and(|line| !line.is_empty())
    {}
    let mut body = String::new();
    let status = match request.starts_with("GET /metrics ") {
        true => text::encode(&mut body, &registry)
            .map(|()| "200 OK")
            .map_err(io::Error::other)?,
        false => "404 Not Found",
    };
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).await
}
