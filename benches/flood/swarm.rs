//! The swarm of a node, and of the flooder.

use std::{error::Error, time::Duration};

use libp2p::{
    Swarm, SwarmBuilder, Transport as _, core::upgrade::Version, identity::Keypair, noise,
    swarm::NetworkBehaviour, yamux,
};
use libp2p_lazy_websocket::websocket;

/// After how long a run that hangs is ended.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);

pub(crate) fn swarm<B: NetworkBehaviour>(
    keypair: Keypair,
    behaviour: B,
) -> Result<Swarm<B>, Box<dyn Error>> {
    let swarm = SwarmBuilder::with_existing_identity(keypair)
        .with_tokio()
        .with_other_transport(|keypair| -> Result<_, Box<dyn Error + Send + Sync>> {
            Ok(websocket::tokio::transport(websocket::Config::default())
                .upgrade(Version::V1Lazy)
                .authenticate(noise::Config::new(keypair)?)
                .multiplex(yamux::Config::default()))
        })?
        .with_behaviour(|_| behaviour)?
        .with_swarm_config(|config| config.with_idle_connection_timeout(PATIENCE))
        .build();
    Ok(swarm)
}
