use std::sync::Mutex;

use futures::executor::block_on;

use super::*;

/// Knows these addresses for every name, or fails so, or does not answer.
struct Known(Mutex<Option<io::Result<Vec<IpAddr>>>>);

impl Resolve for Known {
    fn ips(&self, name: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        assert!(name.contains("example.com"), "{name}");
        match self.0.lock().unwrap().take() {
            Some(known) => Box::pin(future::ready(known)),
            None => Box::pin(future::pending()),
        }
    }

    fn txt(&self, _: &str) -> BoxFuture<'static, io::Result<Vec<String>>> {
        Box::pin(future::pending())
    }
}

fn resolver(known: Option<io::Result<Vec<IpAddr>>>) -> Resolver {
    Resolver {
        timeout: Duration::from_millis(10),
        ..Resolver::new(Arc::new(Known(Mutex::new(known))), true)
    }
}

fn ips<'a>(texts: impl IntoIterator<Item = &'a str>) -> Vec<IpAddr> {
    texts.into_iter().map(|ip| ip.parse().unwrap()).collect()
}

#[test]
fn each_address_of_the_family_is_found_once_and_in_order() {
    for (family, expected) in [
        (Family::Any, &["2001:db8::1", "192.0.2.2", "192.0.2.1"][..]),
        (Family::V4, &["192.0.2.2", "192.0.2.1"]),
        (Family::V6, &["2001:db8::1"]),
    ] {
        let known = ips(["2001:db8::1", "192.0.2.2", "192.0.2.1", "192.0.2.2"]);
        let found = block_on(resolver(Some(Ok(known))).ips("example.com".to_owned(), family));
        assert_eq!(found.unwrap(), ips(expected.iter().copied()));
    }
}

#[test]
fn localhost_is_this_host_and_nobody_is_asked() {
    let found = |name: &str, family| {
        let asked = resolver(None).ips(name.to_owned(), family);
        block_on(asked).unwrap()
    };
    for name in ["localhost", "LocalHost.", "a.b.localhost"] {
        assert_eq!(found(name, Family::Any), ips(["127.0.0.1", "::1"]));
        assert_eq!(found(name, Family::V4), ips(["127.0.0.1"]));
        assert_eq!(found(name, Family::V6), ips(["::1"]));
    }
    for name in ["localhost.example.com", "notlocalhost", "."] {
        assert!(!is_localhost(name), "{name}");
    }
}

#[test]
fn what_is_not_found_is_told_with_its_name_and_kind() {
    use io::ErrorKind::{NotFound, PermissionDenied, TimedOut};

    let [ip4, ip6] = ["192.0.2.1", "2001:db8::1"].map(|ip| Some(Ok(ips([ip]))));
    let none = || Some(Ok(Vec::new()));
    for (known, family, expected, text) in [
        (ip4, Family::V6, NotFound, "it has no IPv6 address"),
        (ip6, Family::V4, NotFound, "it has no IPv4 address"),
        (none(), Family::V6, NotFound, "it has no address"),
        (none(), Family::Any, NotFound, "it has no address"),
        (
            Some(Err(PermissionDenied.into())),
            Family::V6,
            PermissionDenied,
            "permission denied",
        ),
        (None, Family::V6, TimedOut, "timed out"),
    ] {
        let asked = resolver(known).ips("example.com".to_owned(), family);
        match block_on(asked).unwrap_err() {
            Error::Lookup { name, source } => {
                assert_eq!((&*name, source.kind()), ("example.com", expected));
                assert_eq!(source.to_string(), text);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_lookup_of_records_that_takes_too_long_is_given_up() {
    let asked = resolver(None).txt("_dnsaddr.example.com".to_owned());
    match block_on(asked).unwrap_err() {
        Error::Lookup { name, source } => {
            assert_eq!(name, "_dnsaddr.example.com");
            assert_eq!(source.kind(), io::ErrorKind::TimedOut);
        }
        other => panic!("{other:?}"),
    }
}
