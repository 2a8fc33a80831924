//! What a test with real sockets runs on, so that each is written once.

use std::future::Future;

use futures::{FutureExt as _, future::RemoteHandle};
use libp2p::swarm;
use libp2p_lazy_websocket::{lazy, websocket};

use super::any::Any;

/// On what a test runs. It is all that knows, so another thing to vary has its place here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    pub(crate) runtime: Runtime,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Runtime {
    #[cfg(feature = "tokio")]
    Tokio,
}

/// Makes one test of each case out of an `async fn` of this name, which takes the [`Case`].
#[allow(unused_macros, reason = "each test uses its part")]
macro_rules! on_each {
    ($name:ident) => {
        mod $name {
            #[cfg(feature = "tokio")]
            #[test]
            fn tokio() {
                use $crate::common::{Case, Runtime};
                let case = Case {
                    runtime: Runtime::Tokio,
                };
                case.run(super::$name(case));
            }
        }
    };
}
pub(crate) use on_each;

impl Case {
    /// Runs a test on the runtime's own executor, with no other runtime around it.
    pub(crate) fn run(self, test: impl Future<Output = ()>) {
        match self.runtime {
            #[cfg(feature = "tokio")]
            Runtime::Tokio => tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .expect("a runtime")
                .block_on(test),
        }
    }

    /// The options that a test starts from.
    pub(crate) fn config(self) -> websocket::Config {
        websocket::Config::default()
    }

    /// Begins a task. It ends when the handle is dropped, unless that is told to forget it.
    pub(crate) fn spawn<T: Send + 'static>(
        self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> RemoteHandle<T> {
        let (task, handle) = task.remote_handle();
        match self.runtime {
            #[cfg(feature = "tokio")]
            Runtime::Tokio => drop(tokio::spawn(task)),
        }
        handle
    }

    /// What `lazy` wraps.
    pub(crate) fn inner(self, config: &websocket::Config) -> Any {
        match self.runtime {
            #[cfg(feature = "tokio")]
            Runtime::Tokio => websocket::tokio::Transport::new(config).map(Any::new),
        }
        .expect("the resolver's configuration is readable")
    }

    pub(crate) fn transport(self, config: websocket::Config) -> super::Transport {
        lazy::Transport::new(self.inner(&config), lazy::Config::default())
    }

    pub(crate) fn swarm_config(self) -> swarm::Config {
        match self.runtime {
            #[cfg(feature = "tokio")]
            Runtime::Tokio => swarm::Config::with_tokio_executor(),
        }
    }
}
