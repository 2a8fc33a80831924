//! The grammar of the addresses that can be dialled with [`Engine::Stream`](crate::websocket::Engine::Stream), and
//! what is requested there.

use std::net::IpAddr;

use libp2p_core::transport::TransportError;
use libp2p_websocket::tls;
use multiaddr::{Multiaddr, Protocol};
use rustls::pki_types::{self, ServerName};
use url::{Host, Url};

use crate::websocket::{Error, path::Path};

/// What is to be done to dial an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dial {
    /// What the transport below is to dial.
    pub(super) below: Multiaddr,
    /// Whom the certificate of the other side has to name, if it needs one.
    pub(super) tls: Option<ServerName<'static>>,
    /// The `Host` header.
    pub(super) host: String,
    pub(super) path: Path,
}

impl Dial {
    /// Reads an address as libp2p-websocket does: `/ip4|ip6/<ip>/tcp/<port>` or `/dns|dns4|dns6/<host>/tcp/<port>`,
    /// followed by `/ws`, `/wss`, `/tls/ws` or `/tls/sni/<host>/ws`, each with or without a path, and at the end
    /// perhaps `/p2p/<id>`, which goes to the transport below. So does whatever else is before `/ws`.
    pub(super) fn parse(address: &Multiaddr) -> Result<Self, TransportError<Error>> {
        let Some(parsed) = Parsed::of(address) else {
            return Err(TransportError::MultiaddrNotSupported(address.clone()));
        };
        let name = parsed
            .name
            .map_err(|cause| TransportError::Other(Error::Tls(cause.into())))?;
        Ok(Self {
            host: host_header(&name, parsed.port, parsed.is_tls),
            tls: parsed.is_tls.then_some(name),
            path: parsed.path,
            below: parsed.below,
        })
    }

    /// Where to go from here, if the other side says so.
    ///
    /// As in libp2p-websocket it has to be a whole URL, and without TLS from TLS is an error here: who has asked for
    /// a certificate does not want to be led to whoever answers.
    pub(super) fn redirected(&self, location: &str) -> Result<Self, Error> {
        let url = Url::parse(location).map_err(|_| Error::InvalidRedirect)?;
        let is_tls = match url.scheme() {
            "https" | "wss" => true,
            "http" | "ws" if self.tls.is_some() => return Err(Error::RedirectWithoutTls),
            "http" | "ws" => false,
            _ => return Err(Error::InvalidRedirect),
        };
        let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else {
            return Err(Error::InvalidRedirect);
        };
        let mut address = Multiaddr::empty();
        address.push(match host {
            Host::Domain(name) => Protocol::Dns(name.into()),
            Host::Ipv4(ip) => Protocol::Ip4(ip),
            Host::Ipv6(ip) => Protocol::Ip6(ip),
        });
        address.push(Protocol::Tcp(port));
        if is_tls {
            address.push(Protocol::Tls);
        }
        let path = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        address.push(Protocol::Ws(path.into()));
        Self::parse(&address).map_err(|_| Error::InvalidRedirect)
    }
}

/// What an address says.
struct Parsed {
    below: Multiaddr,
    name: Result<ServerName<'static>, tls::Error>,
    port: u16,
    is_tls: bool,
    path: Path,
}

impl Parsed {
    fn of(address: &Multiaddr) -> Option<Self> {
        let mut below = address.clone();
        let mut last = below.pop()?;
        let mut peer = None;
        while let Protocol::P2p(_) = last {
            peer = Some(last);
            last = below.pop()?;
        }
        let (is_tls, path, sni) = match last {
            Protocol::Wss(path) => (true, path, None),
            Protocol::Ws(path) => match below.pop()? {
                Protocol::Tls => (true, path, None),
                Protocol::Sni(name) => match below.pop()? {
                    Protocol::Tls => (true, path, Some(name)),
                    _ => return None,
                },
                other => {
                    below.push(other);
                    (false, path, None)
                }
            },
            _ => return None,
        };
        let path = Path::new(&path);
        let (host, port) = host_and_port(&below)?;
        let name = match sni.map(Protocol::Sni).unwrap_or(host) {
            Protocol::Ip4(ip) => Ok(ServerName::IpAddress(IpAddr::V4(ip).into())),
            Protocol::Ip6(ip) => Ok(ServerName::IpAddress(IpAddr::V6(ip).into())),
            Protocol::Dns(name)
            | Protocol::Dns4(name)
            | Protocol::Dns6(name)
            | Protocol::Sni(name) => ServerName::try_from(name.clone().into_owned())
                .map_err(|_| tls::Error::InvalidDnsName(name.into_owned())),
            _ => return None,
        };
        if let Some(peer) = peer {
            below.push(peer);
        }
        Some(Self {
            below,
            name,
            port,
            is_tls,
            path,
        })
    }
}

/// The first host with a port.
fn host_and_port(address: &Multiaddr) -> Option<(Protocol<'_>, u16)> {
    let followers = address.iter().skip(1);
    address.iter().zip(followers).find_map(|pair| match pair {
        (
            host @ (Protocol::Ip4(_)
            | Protocol::Ip6(_)
            | Protocol::Dns(_)
            | Protocol::Dns4(_)
            | Protocol::Dns6(_)),
            Protocol::Tcp(port),
        ) => Some((host, port)),
        _ => None,
    })
}

/// As browsers write it: the port only where another would be taken without it.
fn host_header(name: &ServerName<'_>, port: u16, is_tls: bool) -> String {
    let host = match name {
        ServerName::IpAddress(pki_types::IpAddr::V6(_)) => format!("[{}]", name.to_str()),
        _ => name.to_str().into_owned(),
    };
    match (is_tls, port) {
        (false, 80) | (true, 443) => host,
        _ => format!("{host}:{port}"),
    }
}

#[cfg(test)]
mod tests;
