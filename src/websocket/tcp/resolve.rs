use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use async_lock::Semaphore;
use futures::{
    channel::oneshot,
    future::{self, BoxFuture, Either},
};

use super::target::Family;
use crate::deadline;

/// How many names are looked up at a time. Each takes a thread for as long as the system needs, which may be longer
/// than anybody waits.
const MAX_RESOLVING: usize = 32;

/// How long a dial waits for the addresses of a name, its turn included. The resolver of most systems gives up after
/// two attempts of 5 seconds with one server.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How many addresses of one name are tried, as in libp2p-dns. Those beyond are as if it had none more.
const MAX_ADDRESSES: usize = 16;

/// What is used of a runtime.
#[derive(Debug, Clone, Copy)]
pub(in crate::websocket) struct Runtime {
    /// Looks the addresses of a host up; the port is passed through.
    pub(in crate::websocket) resolve: fn(String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>>,
    /// Runs a task to its end.
    pub(in crate::websocket) spawn: fn(BoxFuture<'static, ()>),
}

/// Looks names up, a bounded number at a time.
#[derive(Debug, Clone)]
pub(super) struct Resolver {
    runtime: Runtime,
    places: Arc<Semaphore>,
    timeout: Duration,
}

impl Resolver {
    pub(super) fn new(runtime: Runtime) -> Self {
        Self {
            runtime,
            places: Arc::new(Semaphore::new(MAX_RESOLVING)),
            timeout: TIMEOUT,
        }
    }

    /// The addresses of a name that belong to the family, each once, in the order in which the system prefers them.
    pub(super) async fn resolve(&self, name: &str, family: Family) -> io::Result<Vec<IpAddr>> {
        if is_localhost(name) {
            let loopback = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
            return Ok(loopback.into_iter().filter(|ip| family.has(*ip)).collect());
        }
        let lookup = Box::pin(self.look_up(name));
        let found = match future::select(lookup, pin!(deadline::passed(self.timeout))).await {
            Either::Left((found, _)) => found,
            Either::Right(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        let unresolved = |source: io::Error| {
            let name = name.to_owned();
            io::Error::new(source.kind(), Unresolved { name, source })
        };
        let mut ips = Vec::new();
        for ip in found.map_err(unresolved)?.iter().map(SocketAddr::ip) {
            if ips.len() == MAX_ADDRESSES {
                break;
            }
            if family.has(ip) && !ips.contains(&ip) {
                ips.push(ip);
            }
        }
        if ips.is_empty() {
            return Err(unresolved(io::Error::new(
                io::ErrorKind::NotFound,
                NoAddress,
            )));
        }
        Ok(ips)
    }

    async fn look_up(&self, name: &str) -> io::Result<Vec<SocketAddr>> {
        let place = self.places.acquire_arc().await;
        let (sender, receiver) = oneshot::channel();
        let lookup = (self.runtime.resolve)(name.to_owned());
        // In a task, so that the place is taken for as long as the thread is.
        (self.runtime.spawn)(Box::pin(async move {
            let found = lookup.await;
            drop(place);
            let _ = sender.send(found);
        }));
        match receiver.await {
            Ok(found) => found,
            Err(_) => Err(io::Error::other("the runtime has ended")),
        }
    }
}

/// Whether it is this host whatever a resolver says, and many know it in one family only:
/// <https://www.rfc-editor.org/rfc/rfc6761#section-6.3>.
fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let last = name.rsplit('.').next();
    last.is_some_and(|label| label.eq_ignore_ascii_case("localhost"))
}

#[derive(Debug, thiserror::Error)]
#[error("cannot find the address of {name:?}")]
struct Unresolved {
    name: String,
    source: io::Error,
}

#[derive(Debug, thiserror::Error)]
#[error("it has none of this family")]
struct NoAddress;

#[cfg(test)]
mod tests {
    use std::{sync::Mutex, thread};

    use futures::executor::block_on;
    use tokio_test::task;

    use super::*;

    fn spawn(task: BoxFuture<'static, ()>) {
        thread::spawn(|| block_on(task));
    }

    fn resolver(
        resolve: fn(String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>>,
    ) -> Resolver {
        Resolver::new(Runtime { resolve, spawn })
    }

    #[test]
    fn each_address_of_the_family_is_found_once_and_in_order() {
        let resolver = resolver(|name| {
            assert_eq!(name, "example.com");
            let found = [
                "[2001:db8::1]:0",
                "192.0.2.2:0",
                "192.0.2.1:0",
                "192.0.2.2:1",
            ];
            Box::pin(future::ok(found.map(|at| at.parse().unwrap()).into()))
        });
        for (family, expected) in [
            (Family::Any, &["2001:db8::1", "192.0.2.2", "192.0.2.1"][..]),
            (Family::V4, &["192.0.2.2", "192.0.2.1"]),
            (Family::V6, &["2001:db8::1"]),
        ] {
            let found = block_on(resolver.resolve("example.com", family)).unwrap();
            let found: Vec<_> = found.iter().map(ToString::to_string).collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_name_has_no_more_addresses_than_are_tried() {
        let resolver = resolver(|_| {
            let many = (0..1000).map(|n| (Ipv4Addr::from_bits(n), 0).into());
            Box::pin(future::ok(many.collect()))
        });
        let found = block_on(resolver.resolve("example.com", Family::Any)).unwrap();
        assert_eq!(found.len(), MAX_ADDRESSES);
    }

    #[test]
    fn localhost_is_this_host_and_nobody_is_asked() {
        let resolver = resolver(|_| Box::pin(future::err(io::ErrorKind::Other.into())));
        let found = |name, family| block_on(resolver.resolve(name, family)).ok();
        let (v4, v6) = (Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into());
        for name in ["localhost", "LocalHost.", "a.b.localhost"] {
            assert_eq!(found(name, Family::Any), Some(vec![v4, v6]), "{name}");
            assert_eq!(found(name, Family::V4), Some(vec![v4]));
            assert_eq!(found(name, Family::V6), Some(vec![v6]));
        }
        for name in ["localhost.example.com", "notlocalhost", "."] {
            assert_eq!(found(name, Family::Any), None, "{name}");
        }
    }

    #[test]
    fn what_is_not_found_is_told_with_its_name_and_kind() {
        let none = resolver(|_| Box::pin(future::ok(vec!["192.0.2.1:0".parse().unwrap()])));
        let fails = resolver(|_| Box::pin(future::err(io::ErrorKind::PermissionDenied.into())));
        let mut hangs = resolver(|_| Box::pin(future::pending()));
        hangs.timeout = Duration::from_millis(10);
        for (resolver, kind) in [
            (none, io::ErrorKind::NotFound),
            (fails, io::ErrorKind::PermissionDenied),
            (hangs, io::ErrorKind::TimedOut),
        ] {
            let error = block_on(resolver.resolve("example.com", Family::V6)).unwrap_err();
            assert_eq!(error.kind(), kind);
            assert!(error.to_string().contains("example.com"), "{error}");
            let inner = error.get_ref().unwrap();
            assert!(std::error::Error::source(inner).is_some());
        }
    }

    #[test]
    fn one_that_nobody_waits_for_keeps_its_place_until_it_ends() {
        static ENDS: Mutex<Vec<oneshot::Sender<()>>> = Mutex::new(Vec::new());
        let resolver = resolver(|_| {
            let (end, ended) = oneshot::channel();
            ENDS.lock().unwrap().push(end);
            Box::pin(async {
                let _ = ended.await;
                Ok(vec!["192.0.2.1:0".parse().unwrap()])
            })
        });
        let under_way = || ENDS.lock().unwrap().len();
        let lookup = || {
            let resolver = resolver.clone();
            task::spawn(async move { resolver.resolve("example.com", Family::Any).await })
        };
        for _ in 0..MAX_RESOLVING {
            assert!(lookup().poll().is_pending());
        }
        assert_eq!(under_way(), MAX_RESOLVING);
        let mut waiting = lookup();
        assert!(waiting.poll().is_pending());
        assert_eq!(under_way(), MAX_RESOLVING);

        ENDS.lock().unwrap().pop();
        while under_way() < MAX_RESOLVING {
            // Begun by itself, once there is a place.
            assert!(waiting.poll().is_pending());
            thread::yield_now();
        }
        ENDS.lock().unwrap().clear();
        assert!(block_on(waiting).is_ok());
    }
}
