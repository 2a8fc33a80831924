//! Looks at the TXT record until it has its value: a record with another value is always there.

use std::time::Duration;

use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts},
    net::{NetError, runtime::TokioRuntimeProvider},
    proto::rr::RData,
    system_conf,
};

use crate::{
    autotls::{
        config::Config,
        error::{Error, Failure, Step, printable},
        http::in_time,
    },
    deadline,
};

/// Before each look. The record has a TTL of 10 s before its first value, and of an hour at most after.
const WAITS: [u64; 7] = [1, 2, 4, 8, 16, 32, 60];

/// For one look.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Ends as soon as one of the records of this name is the value.
pub(super) async fn seen(config: &Config, name: &str, value: &str) -> Result<(), Failure> {
    let mut found = String::new();
    for wait in WAITS {
        deadline::passed(config.scaled(Duration::from_secs(wait))).await;
        found = match in_time(TIMEOUT, look(config, name)).await {
            Some(Ok(texts)) if texts.iter().any(|text| text == value) => return Ok(()),
            Some(Ok(texts)) if texts.is_empty() => "there is none".to_owned(),
            Some(Ok(texts)) => printable(&format!("found {texts:?}")),
            Some(Err(error)) => printable(&error.to_string()),
            None => "no name server answered".to_owned(),
        };
        tracing::debug!(%name, %found, "the TXT record does not have the value yet");
    }
    let name = name.to_owned();
    Err(Failure::new(Step::Record, Error::Record { name, found }))
}

/// With a resolver of its own, so that no answer is from before.
async fn look(config: &Config, name: &str) -> Result<Vec<String>, NetError> {
    let (servers, mut options) = match config.name_server {
        Some(address) => {
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
            let connections = connections.map(|mut connection| {
                connection.port = address.port();
                connection
            });
            let server = NameServerConfig::new(address.ip(), true, connections.into());
            let servers = ResolverConfig::from_name_servers(vec![server]);
            (servers, ResolverOpts::default())
        }
        None => system_conf::read_system_conf()?,
    };
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    let resolver = TokioResolver::builder_with_config(servers, TokioRuntimeProvider::default())
        .with_options(options)
        .build()?;
    // Without the domains that the system appends to names.
    let found = match resolver.txt_lookup(format!("{name}.")).await {
        Ok(found) => found,
        Err(error) if error.is_no_records_found() => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let texts = found
        .answers()
        .iter()
        .filter_map(|record| match &record.data {
            RData::TXT(txt) => String::from_utf8(txt.txt_data.concat()).ok(),
            _ => None,
        });
    Ok(texts.collect())
}
