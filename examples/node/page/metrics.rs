//! What Prometheus asks for, with the feature `metrics`.

pub(crate) const TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[cfg(feature = "metrics")]
mod registered {
    use std::sync::{Mutex, MutexGuard, PoisonError};

    use libp2p::Swarm;
    use libp2p_lazy_websocket::{lazy, websocket};
    use prometheus_client::{encoding::text, registry::Registry};

    use crate::Behaviour;

    #[derive(Debug, Default)]
    pub(crate) struct Metrics(Mutex<Registry>);

    impl Metrics {
        pub(crate) fn of_transport(&self, transport: &mut lazy::Transport<websocket::Transport>) {
            transport.register_metrics(&mut self.registry());
        }

        pub(crate) fn of_swarm(&self, swarm: &mut Swarm<Behaviour>) {
            let behaviour = swarm.behaviour_mut();
            behaviour.discovery.register_metrics(&mut self.registry());
            #[cfg(feature = "autotls")]
            if let Some(autotls) = behaviour.autotls.as_mut() {
                autotls.register_metrics(&mut self.registry());
            }
        }

        pub(crate) fn text(&self) -> Option<String> {
            let mut text = String::new();
            text::encode(&mut text, &self.registry()).ok()?;
            Some(text)
        }

        fn registry(&self) -> MutexGuard<'_, Registry> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }
}

#[cfg(not(feature = "metrics"))]
mod registered {
    use libp2p::Swarm;
    use libp2p_lazy_websocket::{lazy, websocket};

    use crate::Behaviour;

    #[derive(Debug, Default)]
    pub(crate) struct Metrics;

    impl Metrics {
        pub(crate) fn of_transport(&self, _: &mut lazy::Transport<websocket::Transport>) {}

        pub(crate) fn of_swarm(&self, _: &mut Swarm<Behaviour>) {}

        pub(crate) fn text(&self) -> Option<String> {
            None
        }
    }
}

pub(crate) use registered::Metrics;
