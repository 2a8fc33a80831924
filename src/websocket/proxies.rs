//! Proxies in front of a node, and how they pass on the address of the client.

use std::{fmt, net::IpAddr, str::FromStr};

use ipnet::IpNet;

/// Maximum number of networks of proxies.
const MAX_NETWORKS: usize = 1024;

/// Proxies in front of this node, which connect for their clients and pass on the address of each: see
/// [`Config::with_proxies`](crate::websocket::Config::with_proxies).
///
/// A proxy is recognised by its source address. No other client may be able to connect from there, because it could claim
/// any address. In Kubernetes, unless `externalTrafficPolicy` is `Local`, all connections come from addresses of the
/// cluster's own network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxies {
    networks: Vec<Network>,
    tells: Tells,
}

/// How a proxy passes on the address of the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Tells {
    /// By a header of the PROXY protocol.
    Proxy,
    /// By an HTTP header of this name.
    Http(String),
}

impl Proxies {
    /// HTTP proxies in these networks, which append the address of their client to the header `X-Forwarded-For`: nginx with
    /// `proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for`, HAProxy with `option forwardfor`, Caddy, and most
    /// others.
    ///
    /// The client is the last address in the header that is not in these networks. A client can therefore not claim another
    /// address by sending the header itself.
    ///
    /// Only for WebSocket without TLS: the header within TLS is not read. A proxy that connects by TLS can use the PROXY
    /// protocol.
    pub fn http(networks: impl IntoIterator<Item = Network>) -> Self {
        Self::http_header(networks, "X-Forwarded-For")
    }

    /// HTTP proxies that use a header of another name, such as `CF-Connecting-IP`. Other headers are ignored.
    pub fn http_header(
        networks: impl IntoIterator<Item = Network>,
        name: impl Into<String>,
    ) -> Self {
        Self::new(networks, Tells::Http(name.into()))
    }

    /// TCP proxies in these networks, which begin each connection with a header of the [PROXY protocol], version 1 or 2:
    /// nginx with `proxy_protocol on` in a `stream` server, HAProxy with `send-proxy-v2`.
    ///
    /// The header is required from these networks, and not supported from others. A node that trusts `127.0.0.1` therefore
    /// refuses local clients without a proxy. This applies to all listeners: TCP, WebSocket and secure WebSocket.
    ///
    /// [PROXY protocol]: https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt
    pub fn tcp(networks: impl IntoIterator<Item = Network>) -> Self {
        Self::new(networks, Tells::Proxy)
    }

    fn new(networks: impl IntoIterator<Item = Network>, tells: Tells) -> Self {
        Self {
            networks: networks.into_iter().take(MAX_NETWORKS).collect(),
            tells,
        }
    }

    pub(super) fn are_at(&self, ip: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(ip))
    }

    pub(super) fn tells(&self) -> &Tells {
        &self.tells
    }
}

/// A network of IP addresses.
///
/// Parsed from an address with the length of its prefix, or from an address alone:
///
/// ```
/// use libp2p_lazy_websocket::websocket::Network;
///
/// let network: Network = "10.0.0.0/8".parse()?;
/// assert!(network.contains("10.1.2.3".parse()?));
/// let address: Network = "2001:db8::1".parse()?;
/// assert_eq!(address.to_string(), "2001:db8::1/128");
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network(IpNet);

impl Network {
    /// Whether an address is in the network. An IPv4-mapped IPv6 address counts as the IPv4 address.
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.0.contains(&ip.to_canonical())
    }
}

impl From<IpAddr> for Network {
    /// The network of this address alone.
    fn from(ip: IpAddr) -> Self {
        Self(ip.to_canonical().into())
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The reason for which a text is not a [`Network`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// It is neither an IP address nor an IP address with the length of a prefix.
    #[error("not a network, such as 10.0.0.0/8 or 2001:db8::/32, and not an IP address")]
    Invalid,
    /// The address has bits beyond the prefix, which may be a mistake.
    #[error("the address has bits beyond its prefix: {network} is the network")]
    #[non_exhaustive]
    HostBits {
        /// The network without these bits.
        network: Network,
    },
}

impl FromStr for Network {
    type Err = NetworkError;

    /// # Errors
    ///
    /// If the text is not a network, or has bits beyond the prefix.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(ip.into());
        }
        let network = text.parse::<IpNet>().map_err(|_| NetworkError::Invalid)?;
        let truncated = Self(network.trunc());
        match truncated.0 == network {
            true => Ok(truncated),
            false => Err(NetworkError::HostBits { network: truncated }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_read_with_the_length_of_their_prefix_or_as_one_address() {
        for (text, shown, inside, outside) in [
            ("10.0.0.0/8", "10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("192.0.2.1", "192.0.2.1/32", "192.0.2.1", "192.0.2.2"),
            (
                "::ffff:192.0.2.1",
                "192.0.2.1/32",
                "::ffff:192.0.2.1",
                "::1",
            ),
            (
                "2001:db8::/32",
                "2001:db8::/32",
                "2001:db8:1::",
                "2001:db9::",
            ),
            ("0.0.0.0/0", "0.0.0.0/0", "::ffff:1.2.3.4", "2001:db8::"),
        ] {
            let network: Network = text.parse().unwrap();
            assert_eq!(network.to_string(), shown);
            assert!(network.contains(inside.parse().unwrap()), "{text}");
            assert!(!network.contains(outside.parse().unwrap()), "{text}");
        }
        for text in ["", "10.0.0.0/33", "10.0.0/8", "a", "10.0.0.0/", "::/129"] {
            assert_eq!(
                text.parse::<Network>(),
                Err(NetworkError::Invalid),
                "{text}"
            );
        }
        let error = "10.0.0.1/8".parse::<Network>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "the address has bits beyond its prefix: 10.0.0.0/8 is the network"
        );
    }
}
