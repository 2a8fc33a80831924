//! A certificate whose files come after the start and are replaced later, as certbot does; the listener stays.
//! Run: `cargo run --example certificate -- chain.pem key.pem`, and then write these files.

use std::{error::Error, time::Duration};

use futures::StreamExt as _;
use libp2p::{SwarmBuilder, swarm::dummy};
use libp2p_lazy_websocket::{
    lazy,
    websocket::{self, Certificates},
};
use tokio::time::{MissedTickBehavior, interval};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(chain), Some(key)) = (arguments.next(), arguments.next()) else {
        return Err("two files are expected: the chain and the private key".into());
    };
    let certificates = Certificates::watch(chain, key)?;
    let config = websocket::Config::default().with_certificates(certificates.clone());
    let mut transport = websocket::tokio::transport(config);
    let mut changes = transport.readiness().changes();
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_other_transport(|key| transport.upgraded(key))?
        .with_behaviour(|_| dummy::Behaviour)?
        .build();
    swarm.listen_on("/ip4/127.0.0.1/tcp/0/tls/ws".parse()?)?;

    let mut second = interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before = String::new();
    loop {
        tokio::select! {
            Some(lazy::Change::Status { status, .. }) = changes.next() => println!("{status}"),
            _ = second.tick() => {
                let now = state(&certificates);
                if now != before {
                    println!("{now}");
                    before = now;
                }
            }
            _ = swarm.select_next_some() => {}
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
    }
}

fn state(certificates: &Certificates) -> String {
    let used = match certificates.time_left() {
        Some(left) => format!("in use for another {} h", left.as_secs() / 3_600),
        None => "none in use".to_owned(),
    };
    match certificates.last_error() {
        Some(error) => format!("certificate: {used}; {error}"),
        None => format!("certificate: {used}"),
    }
}
