use std::net::IpAddr;

use multiaddr::{Multiaddr, Protocol};

/// The longest name there is: <https://www.rfc-editor.org/rfc/rfc1035#section-2.3.4>, written without its last dot.
const MAX_NAME_LENGTH: usize = 253;

/// What an address of TCP says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) host: Host,
    pub(super) port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Host {
    Ip(IpAddr),
    Name(String, Family),
}

/// Which of the addresses of a name are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// `/dns`
    Any,
    /// `/dns4`
    V4,
    /// `/dns6`
    V6,
}

impl Target {
    /// Reads `<host>/tcp/<port>`, with or without a `/p2p/<peer id>` after it. `/dnsaddr` is none: what it leads to is
    /// in TXT records, which no resolver of a runtime reads.
    pub(super) fn parse(address: &Multiaddr) -> Option<Self> {
        let mut protocols = address.iter();
        let name = |name: &str, family| {
            let is_name = !name.is_empty() && name.len() <= MAX_NAME_LENGTH;
            is_name.then(|| Host::Name(name.to_owned(), family))
        };
        let host = match protocols.next()? {
            Protocol::Ip4(ip) => Host::Ip(ip.into()),
            Protocol::Ip6(ip) => Host::Ip(ip.into()),
            Protocol::Dns(text) => name(&text, Family::Any)?,
            Protocol::Dns4(text) => name(&text, Family::V4)?,
            Protocol::Dns6(text) => name(&text, Family::V6)?,
            _ => return None,
        };
        let Protocol::Tcp(port) = protocols.next()? else {
            return None;
        };
        match (protocols.next(), protocols.next()) {
            (None | Some(Protocol::P2p(_)), None) => Some(Self { host, port }),
            _ => None,
        }
    }

    pub(super) fn can_be_dialled(&self) -> bool {
        self.port != 0 && !matches!(self.host, Host::Ip(ip) if ip.is_unspecified())
    }
}

impl Family {
    pub(super) fn has(self, ip: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::V4 => ip.is_ipv4(),
            Self::V6 => ip.is_ipv6(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<Target> {
        Target::parse(&text.parse().unwrap())
    }

    #[test]
    fn a_host_and_a_port_are_read_and_nothing_else() {
        let ip = |ip: &str| Host::Ip(ip.parse().unwrap());
        let name = |family| Host::Name("example.com".to_owned(), family);
        let peer = "/p2p/12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5";
        for (start, host) in [
            ("/ip4/192.0.2.1", ip("192.0.2.1")),
            ("/ip6/2001:db8::1", ip("2001:db8::1")),
            ("/dns/example.com", name(Family::Any)),
            ("/dns4/example.com", name(Family::V4)),
            ("/dns6/example.com", name(Family::V6)),
        ] {
            for end in ["", peer] {
                let target = parse(&format!("{start}/tcp/4711{end}")).unwrap();
                assert_eq!((&target.host, target.port), (&host, 4711));
                assert!(target.can_be_dialled());
            }
            for end in ["", "/udp/4711", "/tcp/4711/ws", "/tcp/4711/tcp/4711"] {
                assert_eq!(parse(&format!("{start}{end}")), None, "{start}{end}");
            }
        }
        for other in [
            "/dnsaddr/example.com/tcp/4711",
            "/memory/1",
            "/tcp/4711",
            &format!("{peer}/ip4/192.0.2.1/tcp/4711"),
            &format!("/ip4/192.0.2.1/tcp/4711{peer}{peer}"),
            &format!("/dns/{}/tcp/4711", "a".repeat(254)),
        ] {
            assert_eq!(parse(other), None, "{other}");
        }
        assert_eq!(Target::parse(&Multiaddr::empty()), None);
    }

    #[test]
    fn no_port_and_all_addresses_are_for_listening_only() {
        for text in [
            "/ip4/0.0.0.0/tcp/1",
            "/ip6/::/tcp/1",
            "/ip4/127.0.0.1/tcp/0",
        ] {
            assert!(!parse(text).unwrap().can_be_dialled(), "{text}");
        }
    }
}
