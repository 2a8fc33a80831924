use std::{
    collections::VecDeque,
    fmt,
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures::{FutureExt as _, future::BoxFuture};
use libp2p_core::{
    Endpoint,
    transport::{ListenerId, PortUse},
};
use libp2p_identity::{Keypair, PeerId};
use libp2p_swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, ListenOpts, NetworkBehaviour, THandler,
    THandlerInEvent, THandlerOutEvent, ToSwarm, dummy,
};
use multiaddr::{Multiaddr, Protocol};
use rand::{SeedableRng as _, rngs::SmallRng};

use super::{
    Config, Event, ListenError, State, Status,
    acme::Window,
    addresses::{Addresses, Change},
    error::{Error, Failure, Step},
    event::Counters,
    issuer::{Issued, Issuer},
    plan::{Action, Plan, Validity},
};
use crate::{
    deadline::{self, Deadline, Instant, SystemTime},
    websocket::Certificates,
};

/// Obtains and renews a certificate for the name of this node, and makes its names external addresses. See the
/// [module](crate::autotls).
///
/// It has to be polled on a tokio runtime with time and I/O enabled. Dropping it ends a running attempt; the certificate
/// stays in use.
pub struct Behaviour {
    issuer: Issuer,
    certificates: Certificates,
    plan: Plan,
    addresses: Addresses,
    /// The addresses that the broker was given, or would have been.
    reachable: Vec<Multiaddr>,
    in_use: Option<Issued>,
    attempt: Option<BoxFuture<'static, Result<Issued, Failure>>>,
    asking: Option<BoxFuture<'static, Result<Option<Window>, Failure>>>,
    last_failure: Option<(Failure, Duration)>,
    counters: Counters,
    #[cfg(feature = "metrics")]
    metrics: Option<super::metrics::Metrics>,
    /// The wildcard listeners whose outcome is not known yet.
    starting: Vec<(ListenerId, Multiaddr)>,
    outputs: VecDeque<ToSwarm<Event, THandlerInEvent<Self>>>,
    deadline: Deadline,
    waker: Option<Waker>,
}

impl Behaviour {
    /// For the node with this key. `certificates` is a handle of its own, which goes to
    /// [`Config::with_certificates`](crate::websocket::Config::with_certificates) too.
    ///
    /// Reads the storage: a valid certificate is in use at once. What the storage has and cannot be used is an
    /// [`Event::Failed`] with [`Step::Storage`].
    pub fn new(keypair: &Keypair, certificates: Certificates, config: Config) -> Self {
        let issuer = Issuer::new(keypair, &config);
        let now = deadline::now();
        let plan = Plan::new(&config, SmallRng::from_rng(&mut rand::rng()), now);
        let addresses = Addresses::new(issuer.name().clone(), config.private_addresses);
        let mut this = Self {
            issuer,
            certificates,
            plan,
            addresses,
            reachable: Vec::new(),
            in_use: None,
            attempt: None,
            asking: None,
            last_failure: None,
            counters: Counters::default(),
            #[cfg(feature = "metrics")]
            metrics: None,
            starting: Vec::new(),
            outputs: VecDeque::new(),
            deadline: Deadline::default(),
            waker: None,
        };
        if config.storage.is_none() {
            tracing::warn!(
                "AutoTLS without `Config::with_storage` orders a certificate at each start, and an authority may issue five a week"
            );
        }
        this.load(now);
        this
    }

    /// Uses what the storage has.
    fn load(&mut self, now: Instant) {
        let (stored, errors) = self.issuer.load();
        for error in errors {
            self.on_storage(error);
        }
        let Some(issued) = stored else { return };
        let wall = deadline::wall_clock();
        if issued.not_after <= wall || self.certificates.set(issued.certificate.clone()).is_err() {
            tracing::warn!(
                "AutoTLS: the stored certificate is not valid now, by the clock of this host"
            );
            return;
        }
        let validity = Validity {
            from: issued.not_before,
            until: issued.not_after,
        };
        self.plan.on_stored(validity, now);
        let not_after = issued.not_after;
        self.in_use = Some(issued);
        self.tell(Event::Obtained { not_after });
    }

    /// Listens on secure WebSocket with a name for each IP of this node, on the port of `/tcp/<port>` or `/tcp/<port>/ws`.
    ///
    /// `address` is `/ip4|ip6/<ip>/tcp/<port>`, as of the listener that has the port already. The listener waits for the
    /// certificate. With `0.0.0.0` or `::` it has an address for each IP of this host but loopback and link-local ones; with
    /// another IP it is that IP. Behind a router these are names for the own network, and the names for the internet are
    /// external addresses.
    ///
    /// The swarm starts the listener when it polls the behaviour. If its transport refuses the address, there is an
    /// [`Event::ListenFailed`]. `Swarm::remove_listener` ends it.
    ///
    /// # Errors
    ///
    /// If the address is of another form, or its port is 0: nothing could share that port, which the broker has to reach
    /// before there is a certificate.
    pub fn listen_on(&mut self, address: Multiaddr) -> Result<ListenerId, ListenError> {
        let protocols: Vec<_> = address.iter().collect();
        let (ip, port) = match protocols[..] {
            [Protocol::Ip4(_) | Protocol::Ip6(_), Protocol::Tcp(0)] => {
                return Err(ListenError::NoPort { address });
            }
            [Protocol::Ip4(ip), Protocol::Tcp(port)] => (ip.into(), port),
            [Protocol::Ip6(ip), Protocol::Tcp(port)] => (ip.into(), port),
            _ => return Err(ListenError::Unsupported { address }),
        };
        let address = address
            .with(Protocol::Tls)
            .with(Protocol::Sni(self.issuer.name().wildcard().into()))
            .with(Protocol::Ws("/".into()));
        let opts = ListenOpts::new(address.clone());
        let id = opts.listener_id();
        self.starting.push((id, address));
        self.addresses.on_wildcard(id, ip, port);
        self.outputs.push_back(ToSwarm::ListenOn { opts });
        self.on_change();
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
        Ok(id)
    }

    /// The name of this node: `<label>.<name>` resolves to the IP in the label, and the certificate is for `*.<name>`.
    pub fn name(&self) -> &str {
        self.issuer.name().base()
    }

    /// The present state.
    pub fn status(&self) -> Status {
        let (now, wall) = (deadline::now(), deadline::wall_clock());
        let state = if self.plan.is_running() {
            State::Ordering
        } else if let Some(waiting) = self.plan.waiting(now, wall) {
            State::Waiting(waiting)
        } else {
            match &self.last_failure {
                Some((failure, retry_in)) if self.plan.has_failed() => State::Retrying {
                    step: failure.step,
                    error: failure.error.clone(),
                    retry_in: *retry_in,
                },
                _ if self.in_use.is_some() => State::Ready,
                _ => State::Ordering,
            }
        };
        Status {
            state,
            not_after: self.in_use.as_ref().map(|issued| issued.not_after),
            obtained: self.counters.obtained,
            failed: Step::ALL
                .iter()
                .filter(|step| !matches!(step, Step::Storage | Step::RenewalInfo))
                .map(|step| self.counters.failed[*step as usize])
                .sum(),
        }
    }

    /// Registers metrics:
    ///
    /// | `libp2p_autotls_…` | |
    /// | --- | --- |
    /// | `state` | 1 for the present [`State`], by `state`: `waiting`, `ordering`, `retrying` or `ready` |
    /// | `certificate_remaining_seconds` | a gauge: the remaining time of the certificate in use, 0 if there is none |
    /// | `obtained_total` | certificates obtained from the ACME server |
    /// | `failed_total` | failed attempts, by `step`; `renewal_info` and `storage` end none |
    ///
    /// A scrape shows the values of the last poll of the behaviour, except for the remaining time.
    #[cfg(feature = "metrics")]
    pub fn register_metrics(&mut self, registry: &mut prometheus_client::registry::Registry) {
        let metrics = self.metrics.get_or_insert_default();
        metrics.register(registry);
        self.show();
    }

    #[cfg(feature = "metrics")]
    fn show(&self) {
        if let Some(metrics) = &self.metrics {
            metrics.show(self.status(), self.counters);
        }
    }

    fn tell(&mut self, event: Event) {
        self.outputs.push_back(ToSwarm::GenerateEvent(event));
    }

    /// The addresses, the listeners or the certificate have changed.
    fn on_change(&mut self) {
        let now = deadline::now();
        let reachable = self.addresses.reachable();
        if reachable != self.reachable {
            self.reachable = reachable;
            self.plan.on_addresses(now);
        }
        self.plan.on_obstacle(self.addresses.obstacle(), now);
        for change in self.addresses.changes(self.in_use.is_some()) {
            self.outputs.push_back(match change {
                Change::Confirm(address) => ToSwarm::ExternalAddrConfirmed(address),
                Change::Expire(address) => ToSwarm::ExternalAddrExpired(address),
            });
        }
    }

    fn on_storage(&mut self, error: Error) {
        tracing::warn!("AutoTLS: {error}");
        self.counters.failed[Step::Storage as usize] += 1;
        self.tell(Event::Failed {
            step: Step::Storage,
            error,
            retry_in: None,
        });
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Obtain { is_renewal } => {
                tracing::info!(is_renewal, "AutoTLS: ordering a certificate");
                let renews = self.in_use.clone().filter(|_| is_renewal);
                let addresses = self.reachable.clone();
                self.attempt = Some(self.issuer.obtain(addresses, renews));
                self.tell(Event::Ordering);
            }
            Action::AskWindow => {
                let issued = self.in_use.as_ref();
                self.asking = issued.map(|issued| self.issuer.renewal_window(issued));
            }
            Action::Expire => {
                tracing::warn!("AutoTLS: the certificate has expired before it could be renewed");
                self.in_use = None;
                self.asking = None;
                self.certificates.clear();
                self.on_change();
                self.tell(Event::Expired);
            }
        }
    }

    fn on_attempted(&mut self, result: Result<Issued, Failure>, now: Instant, wall: SystemTime) {
        let (issued, set) = match result {
            Ok(issued) => {
                let set = self.certificates.set(issued.certificate.clone());
                (issued, set)
            }
            Err(failure) => return self.on_failed(failure, now),
        };
        if let Err(error) = set {
            let reason = error.to_string();
            let error = Error::Certificate { reason };
            return self.on_failed(Failure::new(Step::Download, error), now);
        }
        let validity = Validity {
            from: issued.not_before,
            until: issued.not_after,
        };
        // What is known of the last one says nothing of this.
        self.asking = None;
        self.plan.on_obtained(validity, now, wall);
        self.counters.obtained += 1;
        self.last_failure = None;
        let not_after = issued.not_after;
        let storage = issued.storage.clone();
        let is_renewal = self.in_use.replace(issued).is_some();
        self.on_change();
        tracing::info!(
            name = self.name(),
            is_renewal,
            "AutoTLS: there is a certificate"
        );
        self.tell(match is_renewal {
            true => Event::Renewed { not_after },
            false => Event::Obtained { not_after },
        });
        if let Some(error) = storage {
            self.on_storage(error);
        }
    }

    fn on_failed(&mut self, failure: Failure, now: Instant) {
        let retry_in = self.plan.on_failed(&failure, now);
        let (step, error) = (failure.step, failure.error.clone());
        tracing::warn!(%step, ?retry_in, "AutoTLS: {error}");
        self.counters.failed[step as usize] += 1;
        self.last_failure = Some((failure, retry_in));
        self.tell(Event::Failed {
            step,
            error,
            retry_in: Some(retry_in),
        });
    }
}

impl fmt::Debug for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Behaviour")
            .field("name", &self.name())
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Event;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::NewListenAddr(new) => self.addresses.on_listened(new.listener_id, new.addr),
            FromSwarm::ExpiredListenAddr(expired) => {
                self.addresses.on_expired(expired.listener_id, expired.addr);
            }
            FromSwarm::NewListener(started) => {
                self.starting.retain(|(id, _)| *id != started.listener_id);
                return;
            }
            FromSwarm::ListenerError(error) => {
                let started = self
                    .starting
                    .iter()
                    .position(|(id, _)| *id == error.listener_id);
                let Some(index) = started else { return };
                let (id, address) = self.starting.swap_remove(index);
                self.addresses.on_closed(id);
                let reason = error.err.to_string();
                self.tell(Event::ListenFailed { address, reason });
            }
            FromSwarm::ListenerClosed(closed) => self.addresses.on_closed(closed.listener_id),
            FromSwarm::ExternalAddrConfirmed(confirmed) => {
                self.addresses.on_external(confirmed.addr);
            }
            FromSwarm::ExternalAddrExpired(expired) => {
                self.addresses.on_external_expired(expired.addr);
            }
            _ => return,
        }
        self.on_change();
    }

    fn on_connection_handler_event(
        &mut self,
        _: PeerId,
        _: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        match event {}
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        loop {
            if let Some(output) = self.outputs.pop_front() {
                return Poll::Ready(output);
            }
            let (now, wall) = (deadline::now(), deadline::wall_clock());
            if let Some(attempt) = &mut self.attempt
                && let Poll::Ready(result) = attempt.poll_unpin(cx)
            {
                self.attempt = None;
                self.on_attempted(result, now, wall);
                continue;
            }
            if let Some(asking) = &mut self.asking
                && let Poll::Ready(answer) = asking.poll_unpin(cx)
            {
                self.asking = None;
                if let Err(failure) = &answer {
                    self.counters.failed[failure.step as usize] += 1;
                    tracing::debug!("AutoTLS: {}: {}", failure.step, failure.error);
                }
                self.plan.on_window(answer, now, wall);
                continue;
            }
            if let Some(action) = self.plan.poll(now, wall) {
                self.carry_out(action);
                continue;
            }
            if let Some(waiting) = self.plan.poll_waiting(now, wall) {
                tracing::info!("AutoTLS: waiting for {waiting}");
                self.tell(Event::Waiting(waiting));
                continue;
            }
            let next = self.plan.next_timeout(now, wall);
            if self.deadline.poll(now, next, cx).is_ready() {
                continue;
            }
            #[cfg(feature = "metrics")]
            self.show();
            self.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
    }
}

#[cfg(test)]
mod tests;
