//! One dial: from its target, over lookups and a race of TCP connections, to a WebSocket connection.
//!
//! It is a future that needs no poll of the transport. [`dnsaddr`] decides how a `/dnsaddr` is followed. [`race`] decides
//! which addresses are connected to, and when.

use std::{
    future::poll_fn,
    mem,
    net::IpAddr,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures::{
    FutureExt as _, StreamExt as _,
    future::{self, BoxFuture, Either},
    stream::FuturesUnordered,
};
use libp2p_core::transport::TransportError;
use multiaddr::{Multiaddr, Protocol};

use self::{
    dnsaddr::Walk,
    race::{MAX_ATTEMPTS, Race},
};
use crate::{
    deadline::{self, Deadline, Instant},
    websocket::{
        Error, OutgoingProxy, ProxyError,
        address::{Host, undialable},
        below::{Dialer, Pending},
    },
};

mod dnsaddr;
mod proxied;
mod race;
mod resolve;

pub(super) use proxied::connect_through;
#[cfg(feature = "tokio")]
pub(super) use resolve::NameServers;
pub use resolve::Resolve;
pub(super) use resolve::Resolver;
#[cfg(any(feature = "async-std", feature = "smol", feature = "tokio"))]
pub(super) use resolve::{Job, System};

/// The shared parts of all dials of a transport.
#[derive(Clone)]
pub(super) struct Outbound {
    pub(super) below: Dialer,
    /// Without one, names are passed to the transport below.
    pub(super) resolver: Option<Resolver>,
    /// The time limit of a dial.
    pub(super) timeout: Duration,
    pub(super) proxy: Option<Arc<OutgoingProxy>>,
}

impl Outbound {
    /// The resolver for the hosts of dialled addresses. Not with a proxy, which looks up the names itself.
    pub(super) fn for_names(&self) -> Option<&Resolver> {
        self.resolver.as_ref().filter(|_| self.proxy.is_none())
    }
}

/// Begins to connect to an address.
pub(super) type Connect<C> = Arc<dyn Fn(Multiaddr) -> Pending<C> + Send + Sync>;

/// Connects by this closure. Its errors become those of the attempt.
pub(super) fn connect<C: Send + 'static>(
    dial: impl Fn(Multiaddr) -> Result<Pending<C>, TransportError<Error>> + Send + Sync + 'static,
) -> Connect<C> {
    Arc::new(move |address| {
        dial(address).unwrap_or_else(|error| {
            let error = match error {
                TransportError::MultiaddrNotSupported(address) => {
                    Error::UnsupportedAddress(address)
                }
                TransportError::Other(error) => error,
            };
            future::ready(Err(error)).boxed()
        })
    })
}

/// Parses an address.
pub(super) type Parse<D> = fn(&Multiaddr) -> Result<Target<D>, TransportError<Error>>;

type Attempts = Vec<(Multiaddr, Error)>;

/// A possible target of a connection.
#[derive(Debug, Clone)]
pub(super) struct Target<D> {
    /// The address in errors.
    pub(super) address: Multiaddr,
    /// The address for [`Connect`].
    pub(super) below: Multiaddr,
    /// The part that the handshake needs.
    pub(super) data: D,
}

/// One race, and the lookups of its participants.
pub(super) struct Contest<C, D> {
    dialled: Multiaddr,
    /// Without one, names are passed on unresolved.
    resolver: Option<Resolver>,
    connect: Connect<C>,
    walk: Option<(Walk, Parse<D>, Resolver)>,
    /// The number of addresses from the walk in the race, at most [`MAX_ATTEMPTS`].
    taken: usize,
    lookups: FuturesUnordered<BoxFuture<'static, Answer<D>>>,
    /// The addresses of `lookups`.
    looked_up: Vec<Multiaddr>,
    race: Race<Target<D>>,
    connecting: FuturesUnordered<BoxFuture<'static, (usize, Result<C, Error>)>>,
    head_start: Deadline,
}

/// A lookup and its result.
type Answer<D> = (Multiaddr, Result<Found<D>, Error>);

enum Found<D> {
    Ips(Target<D>, Vec<IpAddr>),
    Records(Vec<String>),
}

impl<C, D> Contest<C, D>
where
    C: Send + 'static,
    D: Clone + Send + 'static,
{
    /// For the addresses of a `/dnsaddr`, with `tcp` also those without WebSocket. `None` for another address, or without a
    /// resolver of its records.
    pub(super) fn of_dnsaddr(
        address: &Multiaddr,
        tcp: bool,
        parse: Parse<D>,
        records: Option<&Resolver>,
        resolver: Option<&Resolver>,
        connect: &Connect<C>,
    ) -> Option<Self> {
        let records = records.filter(|resolver| resolver.reads_txt())?;
        let mut contest = Self::new(address.clone(), resolver, connect);
        contest.walk = Some((Walk::new(address, tcp)?, parse, records.clone()));
        Some(contest)
    }

    /// For one address.
    pub(super) fn of(target: Target<D>, resolver: Option<&Resolver>, connect: &Connect<C>) -> Self {
        let mut contest = Self::new(target.address.clone(), resolver, connect);
        contest.add(target);
        contest
    }

    fn new(dialled: Multiaddr, resolver: Option<&Resolver>, connect: &Connect<C>) -> Self {
        Self {
            dialled,
            resolver: resolver.cloned(),
            connect: Arc::clone(connect),
            walk: None,
            taken: 0,
            lookups: FuturesUnordered::new(),
            looked_up: Vec::new(),
            race: Race::new(),
            connecting: FuturesUnordered::new(),
            head_start: Deadline::default(),
        }
    }

    fn add(&mut self, target: Target<D>) {
        match (Host::of(&target.below), &self.resolver) {
            (Some(Host::Name(name, family)), Some(resolver)) => {
                let ips = resolver.clone().ips(name, family);
                let address = target.address.clone();
                self.look_up(address, async { Ok(Found::Ips(target, ips.await?)) });
            }
            (Some(Host::Ip(ip)), _) => self.race.add(Some(ip), target),
            _ => self.race.add(None, target),
        }
    }

    fn look_up(
        &mut self,
        address: Multiaddr,
        lookup: impl Future<Output = Result<Found<D>, Error>> + Send + 'static,
    ) {
        self.looked_up.push(address.clone());
        self.lookups
            .push(lookup.map(|found| (address, found)).boxed());
    }

    /// The next TCP connection, `None` if all addresses have failed.
    fn poll(
        &mut self,
        attempts: &mut Attempts,
        cx: &mut Context<'_>,
    ) -> Poll<Option<(Target<D>, C)>> {
        loop {
            if let Poll::Ready(Some((address, found))) = self.lookups.poll_next_unpin(cx) {
                self.on_found(address, found, attempts);
                continue;
            }
            if self.walk_on(attempts) {
                continue;
            }
            let now = deadline::now();
            if let Some((id, target)) = self.race.poll_begin(now) {
                tracing::trace!(address = %target.address, "connecting");
                let connect = (self.connect)(target.below.clone());
                self.connecting
                    .push(connect.map(move |ended| (id, ended)).boxed());
                continue;
            }
            match self.connecting.poll_next_unpin(cx) {
                Poll::Ready(Some((id, Ok(connection)))) => {
                    self.connecting.clear();
                    let won = self.race.on_connected(id);
                    return Poll::Ready(won.map(|target| (target, connection)));
                }
                Poll::Ready(Some((id, Err(error)))) => {
                    let failed = self.race.on_failed(id);
                    attempts.extend(failed.map(|Target { address, .. }| match error {
                        // The attempts cover only a part of the addresses.
                        Error::UnsupportedAddress(_) => {
                            (address.clone(), Error::UnsupportedAddress(address))
                        }
                        error => (address, error),
                    }));
                    continue;
                }
                _ => {}
            }
            if self.is_over() {
                return Poll::Ready(None);
            }
            ready!(self.head_start.poll(now, self.race.next_timeout(), cx));
        }
    }

    fn on_found(
        &mut self,
        address: Multiaddr,
        found: Result<Found<D>, Error>,
        attempts: &mut Attempts,
    ) {
        if let Some(at) = self.looked_up.iter().position(|found| *found == address) {
            self.looked_up.remove(at);
        }
        match (found, &mut self.walk) {
            (Ok(Found::Ips(target, ips)), _) => {
                for ip in ips {
                    let target = Target {
                        address: Host::replace(&target.address, ip),
                        below: Host::replace(&target.below, ip),
                        data: target.data.clone(),
                    };
                    let Some(reason) = undialable(&target.below) else {
                        self.race.add(Some(ip), target);
                        continue;
                    };
                    let address = target.address.clone();
                    attempts.push((target.address, Error::Undialable { address, reason }));
                }
            }
            (Ok(Found::Records(records)), Some((walk, ..))) => walk.on_records(records),
            (Ok(Found::Records(_)), None) => {}
            (Err(error), _) => attempts.push((address, error)),
        }
    }

    /// Takes up the addresses from the walk. The next name is looked up once all found addresses are pending. Returns
    /// whether a new lookup has begun.
    fn walk_on(&mut self, attempts: &mut Attempts) -> bool {
        let before = self.lookups.len();
        while self.taken < MAX_ATTEMPTS
            && let Some((walk, parse, resolver)) = &mut self.walk
        {
            if let Some(address) = walk.next_address() {
                match parse(&address) {
                    Ok(target) => self.add(target),
                    Err(TransportError::Other(error)) => attempts.push((address, error)),
                    Err(TransportError::MultiaddrNotSupported(_)) => {
                        tracing::debug!(%address, "skipped an address of a name");
                        continue;
                    }
                }
                self.taken += 1;
                continue;
            }
            if !self.race.all_begun() || self.looked_up.contains(&self.dialled) {
                break;
            }
            match walk.next_name() {
                Some(name) => {
                    let records = resolver.clone().txt(name);
                    let lookup = async { Ok(Found::Records(records.await?)) };
                    self.look_up(self.dialled.clone(), lookup);
                }
                None => {
                    if self.taken == 0 && attempts.is_empty() {
                        attempts.push((self.dialled.clone(), walk.error()));
                    }
                    self.walk = None;
                }
            }
        }
        self.lookups.len() > before
    }

    fn is_over(&self) -> bool {
        self.lookups.is_empty() && self.race.all_begun() && self.race.running().next().is_none()
    }

    /// The pending part of the race.
    fn unfinished(&self) -> impl Iterator<Item = Multiaddr> {
        let running = self.race.running().map(|target| &target.address);
        self.looked_up.iter().chain(running).cloned()
    }
}

/// A pending dial. A redirect begins another race, and the previous one continues if that fails.
pub(super) struct Dial<C, D> {
    contests: Vec<Contest<C, D>>,
    is_dnsaddr: bool,
    attempts: Attempts,
    proxy: Option<Arc<OutgoingProxy>>,
    timeout: Duration,
    ends_at: Instant,
    deadline: Deadline,
}

impl<C, D> Dial<C, D>
where
    C: Send + 'static,
    D: Clone + Send + 'static,
{
    /// Starts its deadline.
    pub(super) fn begin(contest: Contest<C, D>, timeout: Duration) -> Self {
        Self {
            is_dnsaddr: is_dnsaddr(&contest.dialled),
            contests: vec![contest],
            attempts: Vec::new(),
            proxy: None,
            timeout,
            ends_at: deadline::after(deadline::now(), timeout),
            deadline: Deadline::default(),
        }
    }

    /// The addresses that it is for are connected to through this proxy, which errors name.
    pub(super) fn through(mut self, proxy: Option<Arc<OutgoingProxy>>) -> Self {
        self.proxy = proxy;
        self
    }

    /// The next TCP connection. Called again if its handshake fails.
    pub(super) async fn connected(&mut self) -> Result<(Target<D>, C), Error> {
        poll_fn(|cx| {
            let timed_out = self.deadline.poll(deadline::now(), Some(self.ends_at), cx);
            if timed_out.is_ready() {
                for address in self.contests.iter().flat_map(Contest::unfinished) {
                    let after = self.timeout;
                    // The records of a `/dnsaddr` are looked up by this node.
                    let proxy = self.proxy.as_ref();
                    let proxy = proxy.filter(|at| !is_dnsaddr(&address) && at.is_for(&address));
                    let error = match proxy {
                        Some(proxy) => Error::proxy(proxy, ProxyError::TimedOut { after }),
                        None => Error::DialTimedOut { after },
                    };
                    self.attempts.push((address, error));
                }
                self.contests.clear();
            }
            while let Some(contest) = self.contests.last_mut() {
                match ready!(contest.poll(&mut self.attempts, cx)) {
                    Some(connected) => return Poll::Ready(Ok(connected)),
                    None => drop(self.contests.pop()),
                }
            }
            Poll::Ready(Err(self.fail()))
        })
        .await
    }

    /// Completes the handshake with the connected address. `None` if it fails and the others are tried.
    pub(super) async fn handshake<T>(
        &mut self,
        address: &Multiaddr,
        handshake: impl Future<Output = Result<T, Error>>,
    ) -> Option<T> {
        let after = self.handshake_timeout();
        let error = match future::select(pin!(handshake), pin!(deadline::passed(after))).await {
            Either::Left((Ok(done), _)) => return Some(done),
            Either::Left((Err(error), _)) => error,
            Either::Right(_) => Error::DialTimedOut { after },
        };
        self.attempts.push((address.clone(), error));
        None
    }

    /// Half of the remaining time if there are other addresses: the process at this one may hang.
    fn handshake_timeout(&self) -> Duration {
        let left = self.ends_at.saturating_duration_since(deadline::now());
        match self.contests.iter().all(Contest::is_over) {
            true => left,
            false => left / 2,
        }
    }

    /// The handshake has ended in a redirect to this target.
    pub(super) fn redirect(&mut self, contest: Contest<C, D>) {
        self.contests.push(contest);
    }

    /// The number of redirects that have led here.
    pub(super) fn redirects(&self) -> usize {
        self.contests.len().saturating_sub(1)
    }

    /// A single attempt is its own error, except after a `/dnsaddr`, whose address the caller does not know.
    fn fail(&mut self) -> Error {
        let mut attempts = mem::take(&mut self.attempts);
        let mut errors = attempts.iter().map(|(_, error)| error);
        if errors.any(|error| matches!(error, Error::TransportDropped)) {
            return Error::TransportDropped;
        }
        match (attempts.pop(), attempts.is_empty()) {
            (None, _) => Error::DialTimedOut {
                after: self.timeout,
            },
            (Some((address, error)), true) if !self.is_dnsaddr || is_dnsaddr(&address) => error,
            (Some(last), _) => {
                attempts.push(last);
                Error::of_attempts(attempts)
            }
        }
    }
}

fn is_dnsaddr(address: &Multiaddr) -> bool {
    matches!(address.iter().next(), Some(Protocol::Dnsaddr(_)))
}

#[cfg(test)]
mod tests;
