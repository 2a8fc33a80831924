//! The grammar of the addresses that can be listened on.

use multiaddr::{Multiaddr, Protocol};

/// What protects the connections of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Security {
    /// `/ws`
    Plain,
    /// `/wss` or `/tls/ws`
    Tls,
}

/// Reads `/ip4|ip6/<ip>/tcp/<port>` followed by `/ws`, `/wss` or `/tls/ws`, each with or without a path, and
/// nothing before or after it.
///
/// This is a little stricter than what is below, on purpose: libp2p-tcp ignores what comes before the IP address
/// and a `/p2p` in the middle, and would then report an address that is not the one it was given.
pub(super) fn parse_listen(address: &Multiaddr) -> Option<Security> {
    let mut protocols = address.iter();
    let Some(Protocol::Ip4(_) | Protocol::Ip6(_)) = protocols.next() else {
        return None;
    };
    let Some(Protocol::Tcp(_)) = protocols.next() else {
        return None;
    };
    let security = match (protocols.next(), protocols.next()) {
        (Some(Protocol::Ws(_)), None) => Security::Plain,
        (Some(Protocol::Wss(_)), None) => Security::Tls,
        (Some(Protocol::Tls), Some(Protocol::Ws(_))) => Security::Tls,
        _ => return None,
    };
    protocols.next().is_none().then_some(security)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(address: &str) -> Option<Security> {
        parse_listen(&address.parse().unwrap())
    }

    #[test]
    fn websocket_over_an_ip_can_be_listened_on() {
        for ip in [
            "/ip4/127.0.0.1",
            "/ip4/0.0.0.0",
            "/ip6/::",
            "/ip6/2001:db8::1",
        ] {
            for (suffix, security) in [
                ("/tcp/0/ws", Security::Plain),
                ("/tcp/65535/ws", Security::Plain),
                ("/tcp/1/x-parity-ws/%2Fpath", Security::Plain),
                ("/tcp/1/wss", Security::Tls),
                ("/tcp/1/x-parity-wss/%2Fpath", Security::Tls),
                ("/tcp/1/tls/ws", Security::Tls),
                ("/tcp/1/tls/x-parity-ws/%2Fpath", Security::Tls),
            ] {
                let address = format!("{ip}{suffix}");
                assert_eq!(parse(&address), Some(security), "{address}");
            }
        }
    }

    #[test]
    fn everything_else_cannot() {
        let peer = "12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5";
        for address in [
            String::new(),
            "/ws".into(),
            "/ip4/127.0.0.1".into(),
            "/ip4/127.0.0.1/ws".into(),
            "/ip4/127.0.0.1/tcp/1".into(),
            "/ip4/127.0.0.1/tcp/1/tls".into(),
            "/ip4/127.0.0.1/tcp/1/http".into(),
            "/ip4/127.0.0.1/udp/1/ws".into(),
            "/ip4/127.0.0.1/udp/1/quic-v1".into(),
            "/ip4/127.0.0.1/tcp/1/ws/ws".into(),
            "/ip4/127.0.0.1/tcp/1/tls/wss".into(),
            "/ip4/127.0.0.1/tcp/1/tls/tls/ws".into(),
            "/ip4/127.0.0.1/tcp/1/tls/sni/example.com/ws".into(),
            "/ip4/127.0.0.1/tcp/1/tcp/1/ws".into(),
            "/ip4/127.0.0.1/ip4/127.0.0.1/tcp/1/ws".into(),
            "/ip6zone/eth0/ip6/fe80::1/tcp/1/ws".into(),
            "/dns/localhost/tcp/1/ws".into(),
            "/dns4/localhost/tcp/1/tls/ws".into(),
            "/dns6/localhost/tcp/1/wss".into(),
            "/dnsaddr/localhost/tcp/1/ws".into(),
            "/memory/1".into(),
            "/unix/a".into(),
            format!("/ip4/127.0.0.1/tcp/1/ws/p2p/{peer}"),
            format!("/ip4/127.0.0.1/tcp/1/p2p/{peer}/ws"),
            format!("/ip4/127.0.0.1/tcp/1/ws/p2p/{peer}/p2p-circuit"),
        ] {
            assert_eq!(parse(&address), None, "{address}");
        }
    }
}
