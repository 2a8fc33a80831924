use std::{
    fmt, io,
    pin::pin,
    sync::{Arc, OnceLock},
    time::Duration,
};

use async_lock::Semaphore;
use futures::future::{self, BoxFuture, Either};
use hickory_resolver::{
    TokioResolver,
    config::{ResolverConfig, ResolverOpts},
    net::{NetError, runtime::TokioRuntimeProvider},
    proto::rr::RData,
};

use crate::deadline;

/// How many names are looked up at a time. A resolver has as many on their way to one name server, and refuses those
/// beyond.
const MAX_RESOLVING: usize = 32;

/// How long a dial waits for the records of one name, its turn included. The resolver of most systems gives up after
/// two attempts of 5 seconds with one server.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Looks up the TXT records of a name, each as one text.
pub(in crate::websocket) type LookUp =
    Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<Vec<u8>>>> + Send + Sync>;

/// Looks names up, a bounded number at a time.
#[derive(Clone)]
pub(in crate::websocket) struct Resolver {
    look_up: LookUp,
    places: Arc<Semaphore>,
    timeout: Duration,
}

impl Resolver {
    pub(in crate::websocket) fn new(look_up: LookUp) -> Self {
        Self {
            look_up,
            places: Arc::new(Semaphore::new(MAX_RESOLVING)),
            timeout: TIMEOUT,
        }
    }

    pub(super) async fn look_up(&self, name: String) -> io::Result<Vec<Vec<u8>>> {
        let lookup = pin!(async {
            let _place = self.places.acquire().await;
            (self.look_up)(name).await
        });
        match future::select(lookup, pin!(deadline::passed(self.timeout))).await {
            Either::Left((found, _)) => found,
            Either::Right(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

/// Asks these name servers, over a resolver that is made for the first name.
pub(in crate::websocket) fn of_name_servers(
    servers: ResolverConfig,
    options: ResolverOpts,
) -> LookUp {
    let made = Arc::new(OnceLock::new());
    Arc::new(move |name| {
        let made = Arc::clone(&made);
        let (servers, options) = (servers.clone(), options.clone());
        Box::pin(async move {
            let resolver = match made.get() {
                Some(resolver) => resolver,
                None => {
                    let resolver = TokioResolver::builder_with_config(
                        servers,
                        TokioRuntimeProvider::default(),
                    )
                    .with_options(options)
                    .build()
                    .map_err(into_io)?;
                    made.get_or_init(|| resolver)
                }
            };
            let found = resolver.txt_lookup(name).await.map_err(into_io)?;
            let texts = found
                .answers()
                .iter()
                .filter_map(|record| match &record.data {
                    // A text longer than 255 bytes is in several pieces.
                    RData::TXT(txt) => Some(txt.txt_data.concat()),
                    _ => None,
                });
            Ok(texts.collect())
        })
    })
}

/// As its text, which has that of its source in it.
pub(in crate::websocket) fn into_io(error: NetError) -> io::Error {
    let kind = match &error {
        NetError::Timeout => io::ErrorKind::TimedOut,
        NetError::Io(error) => error.kind(),
        error if error.is_no_records_found() => io::ErrorKind::NotFound,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error.to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::{FutureExt as _, executor::block_on};
    use tokio_test::task;

    use super::*;

    #[test]
    fn a_lookup_that_takes_too_long_is_given_up() {
        let mut resolver = Resolver::new(Arc::new(|_| future::pending().boxed()));
        resolver.timeout = Duration::from_millis(10);
        let error = block_on(resolver.look_up("a.example".to_owned())).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn those_beyond_a_number_wait_for_a_place() {
        let under_way = Arc::new(AtomicUsize::new(0));
        let begun = Arc::clone(&under_way);
        let resolver = Resolver::new(Arc::new(move |_| {
            begun.fetch_add(1, Ordering::Relaxed);
            future::pending().boxed()
        }));
        let lookup = || {
            let resolver = resolver.clone();
            task::spawn(async move { resolver.look_up("a.example".to_owned()).await })
        };
        let mut lookups: Vec<_> = (0..MAX_RESOLVING + 1).map(|_| lookup()).collect();
        for lookup in &mut lookups {
            assert!(lookup.poll().is_pending());
        }
        assert_eq!(under_way.load(Ordering::Relaxed), MAX_RESOLVING);
        // One that nobody waits for leaves its place.
        drop(lookups.swap_remove(0));
        let waiting = &mut lookups[0];
        assert!(waiting.is_woken());
        assert!(waiting.poll().is_pending());
        assert_eq!(under_way.load(Ordering::Relaxed), MAX_RESOLVING + 1);
    }

    #[test]
    fn what_went_wrong_can_be_told_by_its_kind() {
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        for (error, kind) in [
            (NetError::Timeout, io::ErrorKind::TimedOut),
            (refused.into(), io::ErrorKind::ConnectionRefused),
            (NetError::Busy, io::ErrorKind::Other),
        ] {
            assert_eq!(into_io(error).kind(), kind);
        }
    }
}
