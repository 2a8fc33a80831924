//! What a test with real sockets runs on, so that each is written once.

use std::future::Future;

use futures::{FutureExt as _, future::RemoteHandle};
use libp2p::swarm;
use libp2p_lazy_websocket::{
    lazy,
    websocket::{self, Engine},
};

/// On what a test runs. It is all that knows, so another thing to vary has its place here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    pub(crate) runtime: Runtime,
    pub(crate) engine: Engine,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Runtime {
    #[cfg(feature = "tokio")]
    Tokio,
    #[cfg(feature = "async-std")]
    AsyncStd,
    #[cfg(feature = "smol")]
    Smol,
}

/// Makes one test of each case out of an `async fn` of this name, which takes the [`Case`], or with `libp2p:` in
/// front, of each that has that engine. The attributes in front of the name are those of each.
#[allow(unused_macros, reason = "each test uses its part")]
macro_rules! on_each {
    (libp2p: $(#[$attribute:meta])* $name:ident) => {
        #[cfg(feature = "libp2p-websocket")]
        mod $name {
            $crate::common::on_each!(@ Libp2p, $(#[$attribute])* $name);
        }
    };
    (@ $engine:ident, $(#[$attribute:meta])* $name:ident) => {
        #[cfg(feature = "tokio")]
        #[test]
        $(#[$attribute])*
        fn tokio() {
            $crate::common::Runtime::Tokio.with($crate::common::Engine::$engine).run(super::$name);
        }

        #[cfg(feature = "async-std")]
        #[test]
        $(#[$attribute])*
        fn async_std() {
            $crate::common::Runtime::AsyncStd.with($crate::common::Engine::$engine).run(super::$name);
        }

        #[cfg(feature = "smol")]
        #[test]
        $(#[$attribute])*
        fn smol() {
            $crate::common::Runtime::Smol.with($crate::common::Engine::$engine).run(super::$name);
        }
    };
    ($(#[$attribute:meta])* $name:ident) => {
        mod $name {
            use super::$name;

            #[cfg(feature = "libp2p-websocket")]
            mod libp2p {
                $crate::common::on_each!(@ Libp2p, $(#[$attribute])* $name);
            }

            mod stream {
                $crate::common::on_each!(@ Stream, $(#[$attribute])* $name);
            }
        }
    };
}
pub(crate) use on_each;

impl Runtime {
    pub(crate) fn with(self, engine: Engine) -> Case {
        Case {
            runtime: self,
            engine,
        }
    }
}

impl Case {
    #[cfg(feature = "tokio")]
    pub(crate) const TOKIO: Self = Self {
        runtime: Runtime::Tokio,
        engine: Engine::Stream,
    };

    /// The test of this one that [`on_each`] makes of an `async fn`, which has both engines.
    pub(crate) fn test(self, name: &str) -> String {
        let engine = match self.engine {
            Engine::Stream => "stream",
            _ => "libp2p",
        };
        let runtime = match self.runtime {
            #[cfg(feature = "tokio")]
            Runtime::Tokio => "tokio",
            #[cfg(feature = "async-std")]
            Runtime::AsyncStd => "async_std",
            #[cfg(feature = "smol")]
            Runtime::Smol => "smol",
        };
        format!("{name}::{engine}::{runtime}")
    }

    /// Runs a test on the runtime's own executor, with no other runtime around it.
    pub(crate) fn run<F: Future<Output = ()>>(self, test: impl FnOnce(Self) -> F) {
        let test = test(self);
        match self.runtime {
            #[cfg(feature = "async-std")]
            Runtime::AsyncStd => async_std::task::block_on(test),
            #[cfg(feature = "smol")]
            Runtime::Smol => smol::block_on(test),
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
        websocket::Config::default().with_engine(self.engine)
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
            #[cfg(feature = "async-std")]
            Runtime::AsyncStd => drop(async_std::task::spawn(task)),
            #[cfg(feature = "smol")]
            Runtime::Smol => smol::spawn(task).detach(),
        }
        handle
    }

    /// What `lazy` wraps.
    pub(crate) fn inner(self, config: websocket::Config) -> websocket::Transport {
        match self.runtime {
            #[cfg(feature = "tokio")]
            Runtime::Tokio => websocket::tokio::eager(config),
            #[cfg(feature = "async-std")]
            Runtime::AsyncStd => websocket::async_std::eager(config),
            #[cfg(feature = "smol")]
            Runtime::Smol => websocket::smol::eager(config),
        }
    }

    pub(crate) fn transport(self, config: websocket::Config) -> super::Transport {
        lazy::Transport::new(self.inner(config), lazy::Config::default())
    }

    pub(crate) fn swarm_config(self) -> swarm::Config {
        match self.runtime {
            #[cfg(feature = "tokio")]
            Runtime::Tokio => swarm::Config::with_tokio_executor(),
            #[cfg(feature = "async-std")]
            Runtime::AsyncStd => websocket::async_std::swarm_config(),
            #[cfg(feature = "smol")]
            Runtime::Smol => websocket::smol::swarm_config(),
        }
    }
}
