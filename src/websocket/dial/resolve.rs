use std::{
    collections::HashSet,
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use futures::future::{self, BoxFuture, Either};

use crate::{
    deadline,
    websocket::{Error, address::Family},
};

#[cfg(feature = "tokio")]
mod name_servers;
#[cfg(any(feature = "async-std", feature = "smol", feature = "tokio"))]
mod system;

#[cfg(feature = "tokio")]
pub(in crate::websocket) use name_servers::NameServers;
#[cfg(any(feature = "async-std", feature = "smol", feature = "tokio"))]
pub(in crate::websocket) use system::{Job, System};

/// The time limit for one answer, including the wait for a free thread. The resolver of most systems gives up after two
/// attempts of 5 seconds with one server.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A resolver for dialled names in place of that of the system: for Android, DNS over HTTPS, private zones, or tests. See
/// [`Config::with_resolver`](crate::websocket::Config::with_resolver).
///
/// A lookup ends after 10 seconds or with its dial, and its future is dropped. The resolver limits the number of concurrent
/// lookups itself.
pub trait Resolve: Send + Sync + 'static {
    /// The addresses of `name`, of both families, in order of preference. An empty list counts as an error.
    fn ips(&self, name: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;

    /// The TXT records of `name`, each as one text. `/dnsaddr/example.com` asks for those of `_dnsaddr.example.com`, and
    /// follows those that begin with `dnsaddr=`, such as `dnsaddr=/dns4/a.example.com/tcp/443/tls/ws`. An empty list counts
    /// as an error.
    fn txt(&self, name: &str) -> BoxFuture<'static, io::Result<Vec<String>>>;
}

/// Looks up names for the dials of a transport.
#[derive(Clone)]
pub(in crate::websocket) struct Resolver {
    resolve: Arc<dyn Resolve>,
    reads_txt: bool,
    timeout: Duration,
}

impl Resolver {
    /// `/dnsaddr` can be dialled only if it reads TXT records.
    pub(in crate::websocket) fn new(resolve: Arc<dyn Resolve>, reads_txt: bool) -> Self {
        Self {
            resolve,
            reads_txt,
            timeout: TIMEOUT,
        }
    }

    /// Reads no TXT records if `dnsaddr` is not wanted.
    pub(in crate::websocket) fn with_dnsaddr(mut self, dnsaddr: bool) -> Self {
        self.reads_txt &= dnsaddr;
        self
    }

    pub(super) fn reads_txt(&self) -> bool {
        self.reads_txt
    }

    /// The addresses of a name that belong to the family, each once, in the order in which the resolver prefers them.
    pub(super) async fn ips(self, name: String, family: Family) -> Result<Vec<IpAddr>, Error> {
        let found = match is_localhost(&name) {
            true => Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]),
            false => self.within_time(self.resolve.ips(&name)).await,
        };
        let mut seen = HashSet::new();
        let found = found.and_then(|mut ips| {
            let missing = match family {
                Family::V4 if !ips.is_empty() => "it has no IPv4 address",
                Family::V6 if !ips.is_empty() => "it has no IPv6 address",
                _ => "it has no address",
            };
            ips.retain(|ip| family.has(*ip) && seen.insert(*ip));
            some_of(ips, missing)
        });
        found.map_err(|source| Error::Lookup { name, source })
    }

    pub(super) async fn txt(self, name: String) -> Result<Vec<String>, Error> {
        let found = self.within_time(self.resolve.txt(&name)).await;
        let found = found.and_then(|records| some_of(records, "it has no TXT record"));
        found.map_err(|source| Error::Lookup { name, source })
    }

    async fn within_time<T>(&self, lookup: BoxFuture<'static, io::Result<T>>) -> io::Result<T> {
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

/// # Errors
///
/// If there are none.
fn some_of<T>(found: Vec<T>, missing: &'static str) -> io::Result<Vec<T>> {
    match found.is_empty() {
        true => Err(io::Error::new(io::ErrorKind::NotFound, missing)),
        false => Ok(found),
    }
}

/// Whether the name always means this host. Many resolvers know it in one family only:
/// <https://www.rfc-editor.org/rfc/rfc6761#section-6.3>.
fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let last = name.rsplit('.').next();
    last.is_some_and(|label| label.eq_ignore_ascii_case("localhost"))
}

#[cfg(test)]
mod tests;
