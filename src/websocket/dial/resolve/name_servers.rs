//! TXT records, by hickory: the operating system has no call for them.

use std::{
    fs, io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use hickory_resolver::{
    TokioResolver,
    config::{ResolverConfig, ResolverOpts},
    net::{NetError, runtime::TokioRuntimeProvider},
    proto::rr::RData,
    system_conf,
};

type Read = dyn Fn() -> Result<(ResolverConfig, ResolverOpts), NetError> + Send + Sync;

/// The maximum time for which an answer is kept, for any TTL.
const MAX_TTL: Duration = Duration::from_secs(60);

/// Asks the name servers of the system, whose configuration is read for the first name, and again once it has changed
/// or a lookup has failed.
#[derive(Clone)]
pub(in crate::websocket) struct NameServers(Arc<Shared>);

struct Shared {
    read: Box<Read>,
    made: Mutex<Option<Made>>,
}

struct Made {
    resolver: TokioResolver,
    of: Option<SystemTime>,
}

impl NameServers {
    pub(in crate::websocket) fn system() -> Self {
        Self::new(Box::new(system_conf::read_system_conf))
    }

    fn new(read: Box<Read>) -> Self {
        let made = Mutex::new(None);
        Self(Arc::new(Shared { read, made }))
    }

    /// Within a tokio runtime.
    pub(super) async fn txt(&self, name: String) -> io::Result<Vec<String>> {
        let resolver = self.resolver().map_err(into_io)?;
        let found = match resolver.txt_lookup(name).await {
            Ok(found) => found,
            Err(error) if error.is_no_records_found() => return Ok(Vec::new()),
            Err(error) => {
                *self.made() = None;
                return Err(into_io(error));
            }
        };
        let texts = found
            .answers()
            .iter()
            .filter_map(|record| match &record.data {
                // A text longer than 255 bytes is in several pieces. A record that is not text is ignored.
                RData::TXT(txt) => String::from_utf8(txt.txt_data.concat()).ok(),
                _ => None,
            });
        Ok(texts.collect())
    }

    fn resolver(&self) -> Result<TokioResolver, NetError> {
        let of = changed_at();
        let mut made = self.made();
        if let Some(made) = &*made
            && made.of == of
        {
            return Ok(made.resolver.clone());
        }
        let (servers, mut options) = (self.0.read)()?;
        // A new dial looks up again. Otherwise an answer, positive or negative, could be kept for a day.
        options.positive_max_ttl = Some(MAX_TTL);
        options.negative_max_ttl = Some(MAX_TTL);
        let provider = TokioRuntimeProvider::default();
        let resolver = TokioResolver::builder_with_config(servers, provider)
            .with_options(options)
            .build()?;
        *made = Some(Made {
            resolver: resolver.clone(),
            of,
        });
        Ok(resolver)
    }

    fn made(&self) -> MutexGuard<'_, Option<Made>> {
        self.0.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The time at which the configuration was last written, on systems where it is a file.
fn changed_at() -> Option<SystemTime> {
    fs::metadata("/etc/resolv.conf").ok()?.modified().ok()
}

/// As text, which includes that of its source.
fn into_io(error: NetError) -> io::Error {
    let kind = match &error {
        NetError::Timeout => io::ErrorKind::TimedOut,
        NetError::Io(error) => error.kind(),
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error.to_string())
}

#[cfg(test)]
mod tests;
