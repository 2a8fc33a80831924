//! From WebSocket to authenticated and multiplexed connections: Noise and Yamux, within the bounds of the handshake that
//! began at the TCP accept.
//!
//! The upgrade builder of libp2p-core passes on only the negotiated stream, but a [`Connection`] has to free its place once
//! the peer is known.

use std::error::Error as StdError;

use futures::{AsyncRead, AsyncWrite, FutureExt as _, TryFutureExt as _};
use libp2p_core::{
    ConnectedPoint, Endpoint, Negotiated, Transport as _,
    muxing::StreamMuxerBox,
    transport::Boxed,
    upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade},
};
use libp2p_identity::{Keypair, PeerId};
use libp2p_noise as noise;
use libp2p_yamux as yamux;
use multistream_select::Version;

use crate::{
    deadline, lazy,
    websocket::{
        Connection, Error, Transport,
        handshake::{Bounds, Handshake},
    },
};

type Cause = Box<dyn StdError + Send + Sync>;

impl lazy::Transport<Transport> {
    /// Authenticated by Noise and multiplexed by Yamux, ready for a swarm.
    ///
    /// ```no_run
    /// use libp2p::{SwarmBuilder, identity::Keypair, ping};
    /// use libp2p_lazy_websocket::websocket;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # tokio::runtime::Runtime::new()?.block_on(async {
    /// let mut transport = websocket::tokio::transport(websocket::Config::default());
    /// let readiness = transport.readiness();
    /// let mut swarm = SwarmBuilder::with_existing_identity(Keypair::generate_ed25519())
    ///     .with_tokio()
    ///     .with_other_transport(|key| transport.upgraded(key))?
    ///     .with_behaviour(|_| ping::Behaviour::default())?
    ///     .build();
    /// swarm.listen_on("/ip4/0.0.0.0/tcp/8080/ws".parse()?)?;
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    ///
    /// An accepted connection is a pending handshake until its peer is authenticated and Yamux is negotiated: one place of
    /// its [port](crate::websocket::Config::with_max_pending_handshakes) and one
    /// [deadline](crate::websocket::Config::with_handshake_timeout) for all of it. With `Transport::upgrade` of libp2p
    /// instead, both end with the WebSocket upgrade, and strangers that stop there keep honest peers out.
    ///
    /// The window of a Yamux stream is at most 1 MiB: js-libp2p sends a whole window as one frame, and the Yamux of Rust
    /// closes the connection after a larger frame.
    ///
    /// Do not add `SwarmBuilder::with_dns`: it wraps every transport before it, and replaces the name in an address before
    /// TLS can verify it.
    ///
    /// # Errors
    ///
    /// If Noise cannot sign with the key.
    pub fn upgraded(
        mut self,
        keypair: &Keypair,
    ) -> Result<Boxed<(PeerId, StreamMuxerBox)>, Box<dyn StdError + Send + Sync>> {
        let timeout = self.inner().config().handshake_timeout();
        let noise = noise::Config::new(keypair)?;
        let mut yamux = yamux::Config::default();
        // Yamux reserves 256 KiB of the 1 GiB of a connection for each stream. The 768 KiB that are left are how far a
        // window may grow.
        yamux.set_max_num_streams(4093);
        self.inner_mut().hold_places();
        let transport = self.and_then(move |mut connection: Connection, point: ConnectedPoint| {
            let bounds = connection
                .take_bounds()
                .unwrap_or_else(|| Bounds::new(None, deadline::now(), timeout));
            let step = authenticate(connection, role(&point), noise, yamux).boxed();
            Handshake::new(step, bounds)
                .map(|ended| {
                    let (authenticated, bounds) = ended?;
                    bounds.finish()?;
                    Ok(authenticated)
                })
                .map_err(lazy::Error::<Error>::Inner)
        });
        Ok(transport.boxed())
    }
}

/// The side that speaks first may be the one that was dialled, as in hole punching.
fn role(point: &ConnectedPoint) -> Endpoint {
    match point {
        ConnectedPoint::Dialer { role_override, .. } => *role_override,
        ConnectedPoint::Listener { .. } => Endpoint::Listener,
    }
}

async fn authenticate(
    connection: Connection,
    role: Endpoint,
    noise: noise::Config,
    yamux: yamux::Config,
) -> Result<(PeerId, StreamMuxerBox), Error> {
    let (peer, io) = negotiate(connection, role, noise)
        .await
        .map_err(Error::Noise)?;
    let muxer = negotiate(io, role, yamux).await.map_err(Error::Yamux)?;
    Ok((peer, StreamMuxerBox::new(muxer)))
}

/// Negotiates a protocol of `upgrade` and applies it.
async fn negotiate<S, U, O, E>(io: S, role: Endpoint, upgrade: U) -> Result<O, Cause>
where
    S: AsyncRead + AsyncWrite + Unpin,
    U: InboundConnectionUpgrade<Negotiated<S>, Output = O, Error = E>
        + OutboundConnectionUpgrade<Negotiated<S>, Output = O, Error = E>,
    E: StdError + Send + Sync + 'static,
{
    let protocols = upgrade.protocol_info();
    Ok(match role {
        Endpoint::Dialer => {
            let (protocol, io) =
                multistream_select::dialer_select_proto(io, protocols, Version::V1Lazy).await?;
            upgrade.upgrade_outbound(io, protocol).await?
        }
        Endpoint::Listener => {
            let (protocol, io) = multistream_select::listener_select_proto(io, protocols).await?;
            upgrade.upgrade_inbound(io, protocol).await?
        }
    })
}
