//! What the node runs on.

use std::{error::Error, future::Future, io, pin::pin, time::Duration};

use futures::{
    FutureExt as _,
    future::{self, Either, RemoteHandle},
};
use futures_timer::Delay;
use libp2p::{
    PeerId,
    core::{muxing::StreamMuxerBox, transport::Boxed},
    identity::Keypair,
    swarm,
};
use libp2p_lazy_websocket::{lazy::Readiness, websocket};

use crate::page::Metrics;

#[cfg(not(any(feature = "async-std", feature = "smol", feature = "tokio")))]
compile_error!("the node needs one of the features `async-std`, `smol` and `tokio`");

/// Those that are compiled in.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum Runtime {
    #[cfg(feature = "tokio")]
    Tokio,
    #[cfg(feature = "async-std")]
    AsyncStd,
    #[cfg(feature = "smol")]
    Smol,
}

impl Default for Runtime {
    fn default() -> Self {
        <Self as clap::ValueEnum>::value_variants()[0]
    }
}

/// Finished with everything that comes before a connection can be used.
type Upgraded = Boxed<(PeerId, StreamMuxerBox)>;

impl Runtime {
    pub(crate) fn block_on<T>(self, future: impl Future<Output = T>) -> T {
        match self {
            #[cfg(feature = "tokio")]
            Self::Tokio => {
                let runtime = tokio::runtime::Runtime::new();
                let runtime = runtime.expect("the system has what a runtime needs");
                let done = runtime.block_on(future);
                // Not dropped, which would wait for tasks that block.
                runtime.shutdown_background();
                done
            }
            #[cfg(feature = "async-std")]
            Self::AsyncStd => async_std::task::block_on(future),
            #[cfg(feature = "smol")]
            Self::Smol => smol::block_on(future),
        }
    }

    /// Begins a task that ends when the handle is dropped.
    pub(crate) fn spawn<T: Send + 'static>(
        self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> RemoteHandle<T> {
        let (task, handle) = task.remote_handle();
        match self {
            #[cfg(feature = "tokio")]
            Self::Tokio => drop(tokio::spawn(task)),
            #[cfg(feature = "async-std")]
            Self::AsyncStd => drop(async_std::task::spawn(task)),
            #[cfg(feature = "smol")]
            Self::Smol => smol::spawn(task).detach(),
        }
        handle
    }

    pub(crate) fn swarm_config(self) -> swarm::Config {
        match self {
            #[cfg(feature = "tokio")]
            Self::Tokio => swarm::Config::with_tokio_executor(),
            #[cfg(feature = "async-std")]
            Self::AsyncStd => websocket::async_std::swarm_config(),
            #[cfg(feature = "smol")]
            Self::Smol => websocket::smol::swarm_config(),
        }
    }

    /// The transport, and a handle that tells how its listeners are doing.
    pub(crate) fn transport(
        self,
        config: websocket::Config,
        keypair: &Keypair,
        metrics: Option<&Metrics>,
    ) -> Result<(Upgraded, Readiness), Box<dyn Error + Send + Sync>> {
        let mut transport = match self {
            #[cfg(feature = "tokio")]
            Self::Tokio => websocket::tokio::transport(config),
            #[cfg(feature = "async-std")]
            Self::AsyncStd => websocket::async_std::transport(config),
            #[cfg(feature = "smol")]
            Self::Smol => websocket::smol::transport(config),
        };
        let readiness = transport.readiness();
        if let Some(metrics) = metrics {
            metrics.of_transport(&mut transport);
        }
        Ok((transport.upgraded(keypair)?, readiness))
    }
}

/// Fails after the limit.
pub(crate) async fn within(
    limit: Duration,
    done: impl Future<Output = io::Result<()>>,
) -> io::Result<()> {
    match future::select(pin!(done), Delay::new(limit)).await {
        Either::Left((done, _)) => done,
        Either::Right(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}
