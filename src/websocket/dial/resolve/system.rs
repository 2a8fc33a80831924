//! The resolver of the operating system.

use std::{
    io,
    net::{IpAddr, SocketAddr, ToSocketAddrs as _},
    sync::Arc,
};

use async_lock::Semaphore;
use futures::{channel::oneshot, future::BoxFuture};

#[cfg(feature = "tokio")]
use super::NameServers;
use super::Resolve;

/// Maximum number of concurrent lookups. Each occupies a thread until the system answers, possibly after the dial has ended.
/// Hickory has the same limit for each name server, and refuses further ones.
const MAX_RESOLVING: usize = 32;

/// A blocking call.
pub(in crate::websocket) type Job = Box<dyn FnOnce() + Send>;

pub(in crate::websocket) struct System {
    places: Arc<Semaphore>,
    /// Runs it on a thread of the runtime.
    unblock: fn(Job),
    /// The system has no call for TXT records.
    #[cfg(feature = "tokio")]
    name_servers: Option<NameServers>,
}

impl System {
    pub(in crate::websocket) fn new(unblock: fn(Job)) -> Self {
        Self {
            places: Arc::new(Semaphore::new(MAX_RESOLVING)),
            unblock,
            #[cfg(feature = "tokio")]
            name_servers: None,
        }
    }

    /// Looks up TXT records too.
    #[cfg(feature = "tokio")]
    pub(in crate::websocket) fn with_name_servers(mut self, name_servers: NameServers) -> Self {
        self.name_servers = Some(name_servers);
        self
    }
}

impl Resolve for System {
    fn ips(&self, name: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let (places, unblock) = (Arc::clone(&self.places), self.unblock);
        let name = name.to_owned();
        Box::pin(async move {
            let place = places.acquire_arc().await;
            let (sender, receiver) = oneshot::channel();
            unblock(Box::new(move || {
                let found = (name.as_str(), 0).to_socket_addrs();
                // Not with the end of the dial: the thread is occupied until here.
                drop(place);
                let _ =
                    sender.send(found.map(|found| found.map(|at: SocketAddr| at.ip()).collect()));
            }));
            let ended = |_| Err(io::Error::other("the runtime has ended"));
            receiver.await.unwrap_or_else(ended)
        })
    }

    fn txt(&self, name: &str) -> BoxFuture<'static, io::Result<Vec<String>>> {
        #[cfg(feature = "tokio")]
        if let Some(name_servers) = &self.name_servers {
            let (places, name_servers) = (Arc::clone(&self.places), name_servers.clone());
            let name = name.to_owned();
            return Box::pin(async move {
                let _place = places.acquire().await;
                name_servers.txt(name).await
            });
        }
        let _ = name;
        Box::pin(std::future::ready(Err(io::ErrorKind::Unsupported.into())))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures::{FutureExt as _, executor::block_on};
    use tokio_test::task;

    use super::*;

    #[test]
    fn one_that_nobody_waits_for_keeps_its_place_until_it_ends() {
        static JOBS: Mutex<Vec<Job>> = Mutex::new(Vec::new());
        let system = System::new(|job| JOBS.lock().unwrap().push(job));
        let under_way = || JOBS.lock().unwrap().len();
        let lookup = || task::spawn(system.ips("192.0.2.1"));
        for _ in 0..MAX_RESOLVING {
            assert!(lookup().poll().is_pending());
        }
        let mut waiting = lookup();
        assert!(waiting.poll().is_pending());
        assert_eq!(under_way(), MAX_RESOLVING);

        let job = JOBS.lock().unwrap().pop().unwrap();
        job();
        assert!(waiting.is_woken() && waiting.poll().is_pending());
        assert_eq!(under_way(), MAX_RESOLVING);
        for job in JOBS.lock().unwrap().drain(..) {
            job();
        }
        let found = block_on(waiting).unwrap();
        assert_eq!(found, ["192.0.2.1".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn a_runtime_that_has_ended_is_told() {
        let system = System::new(drop);
        let error = system.ips("192.0.2.1").now_or_never().unwrap().unwrap_err();
        assert!(
            error.to_string().contains("the runtime has ended"),
            "{error}"
        );
    }
}
