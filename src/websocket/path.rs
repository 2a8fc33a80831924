use std::sync::Arc;

use multiaddr::{Multiaddr, Protocol};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

/// The path of an address, in the form of a request. It may have a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Path(Arc<str>);

impl Path {
    /// From any text in an address. The address may be a stranger's, so characters that a request cannot contain are
    /// encoded: a line end would begin a header.
    pub(super) fn new(path: &str) -> Self {
        // RFC 9110 allows no space, no fragment and nothing beyond ASCII in a request.
        const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'#');

        let root = if path.starts_with('/') { "" } else { "/" };
        let path = utf8_percent_encode(path, ENCODED);
        Self(format!("{root}{path}").into())
    }

    /// The path of an address, if it has one.
    pub(super) fn of(address: &Multiaddr) -> Self {
        let path = address.iter().find_map(|protocol| match protocol {
            Protocol::Ws(path) | Protocol::Wss(path) => Some(Self::new(&path)),
            _ => None,
        });
        path.unwrap_or_else(|| Self::new("/"))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a request is for this path, with or without a query.
    pub(super) fn is_requested_by(&self, target: &str) -> bool {
        // A resource may also be requested by its URL: RFC 6455, section 4.1.
        let path = match target.split_once("://") {
            Some((scheme, rest)) if scheme.bytes().all(|byte| byte.is_ascii_alphabetic()) => rest
                .find(['/', '?'])
                .map_or("", |authority| &rest[authority..]),
            _ => target,
        };
        let without_query = path.split('?').next().unwrap_or_default();
        [path, without_query]
            .into_iter()
            .any(|path| *self.0 == *path || (*self.0 == *"/" && path.is_empty()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_stand_in_a_request_is_encoded() {
        for (path, written) in [
            ("/", "/"),
            ("", "/"),
            ("/a/b?c=d&e", "/a/b?c=d&e"),
            ("a", "/a"),
            ("/a b", "/a%20b"),
            ("/a%20b", "/a%20b"),
            ("/a#b", "/a%23b"),
            ("/\u{e4}", "/%C3%A4"),
            (
                "/ HTTP/1.1\r\nHost: b\r\n\r\n",
                "/%20HTTP/1.1%0D%0AHost:%20b%0D%0A%0D%0A",
            ),
            ("/\0\u{7f}", "/%00%7F"),
        ] {
            assert_eq!(Path::new(path).as_str(), written);
        }
    }

    #[test]
    fn the_path_of_an_address_is_that_of_its_websocket() {
        for (address, path) in [
            ("/ip4/127.0.0.1/tcp/1/x-parity-ws/%2fa%3fb", "/a?b"),
            ("/ip4/127.0.0.1/tcp/1/x-parity-wss/%2fa", "/a"),
            ("/ip4/127.0.0.1/tcp/1/ws", "/"),
            ("/ip4/127.0.0.1/tcp/1", "/"),
        ] {
            assert_eq!(Path::of(&address.parse().unwrap()).as_str(), path);
        }
    }

    #[test]
    fn a_path_is_requested_with_a_query_or_without_and_by_a_url() {
        for (path, target, is_requested) in [
            ("/", "/", true),
            ("/", "/?a", true),
            ("/", "/a", false),
            ("/", "", true),
            ("/", "http://a.example", true),
            ("/", "ws://a.example?b", true),
            ("/a", "/a", true),
            ("/a", "/a?b=c", true),
            ("/a", "/a/", false),
            ("/a", "/ab", false),
            ("/a", "/", false),
            ("/a", "/b?/a", false),
            ("/a", "http://b.example/a?c", true),
            ("/a", "http://b.example/c", false),
            ("/a", "/b://c/a", false),
            ("/a?b", "/a?b", true),
            ("/a?b", "/a", false),
            ("/a b", "/a%20b", true),
        ] {
            assert_eq!(
                Path::new(path).is_requested_by(target),
                is_requested,
                "{path} by {target}"
            );
        }
    }
}
