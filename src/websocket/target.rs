//! The grammar of the addresses that can be dialled with [`Engine::Stream`](crate::websocket::Engine::Stream), and
//! what is requested there.

use std::net::IpAddr;

use libp2p_core::transport::TransportError;
use multiaddr::{Multiaddr, Protocol};
use rustls::pki_types::{self, ServerName};
use url::Url;

use crate::websocket::{Error, TlsError, path::Path};

/// What is to be done to dial an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) address: Multiaddr,
    /// What the transport below is to dial.
    pub(super) below: Multiaddr,
    /// Whom the certificate of the other side has to name, if it needs one.
    pub(super) tls: Option<ServerName<'static>>,
    /// The `Host` header.
    pub(super) host: String,
    pub(super) path: Path,
}

impl Request {
    /// Reads an address as libp2p-websocket does: `/ip4|ip6/<ip>/tcp/<port>` or `/dns|dns4|dns6/<host>/tcp/<port>`,
    /// followed by `/ws`, `/wss`, `/tls/ws` or `/tls/sni/<host>/ws`, each with or without a path, and at the end
    /// perhaps `/p2p/<id>`, which goes to the transport below. So does whatever else is before `/ws`.
    pub(super) fn parse(address: &Multiaddr) -> Result<Self, TransportError<Error>> {
        let Some(parsed) = Parsed::of(address) else {
            return Err(TransportError::MultiaddrNotSupported(address.clone()));
        };
        let name = parsed
            .name
            .map_err(|cause| TransportError::Other(Error::Tls(cause)))?;
        Ok(Self {
            address: address.clone(),
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
            url::Host::Domain(name) => Protocol::Dns(name.into()),
            url::Host::Ipv4(ip) => Protocol::Ip4(ip),
            url::Host::Ipv6(ip) => Protocol::Ip6(ip),
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
    name: Result<ServerName<'static>, TlsError>,
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
            | Protocol::Sni(name) => {
                ServerName::try_from(name.clone().into_owned()).map_err(|_| TlsError::InvalidName {
                    name: name.into_owned(),
                })
            }
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
    find_host(address).map(|(_, host, port)| (host, port))
}

fn find_host(address: &Multiaddr) -> Option<(usize, Protocol<'_>, u16)> {
    let followers = address.iter().skip(1);
    let mut pairs = address.iter().zip(followers).enumerate();
    pairs.find_map(|(at, pair)| match pair {
        (
            host @ (Protocol::Ip4(_)
            | Protocol::Ip6(_)
            | Protocol::Dns(_)
            | Protocol::Dns4(_)
            | Protocol::Dns6(_)),
            Protocol::Tcp(port),
        ) => Some((at, host, port)),
        _ => None,
    })
}

/// The host that an address leads to.
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

impl Family {
    pub(super) fn has(self, ip: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::V4 => ip.is_ipv4(),
            Self::V6 => ip.is_ipv6(),
        }
    }
}

impl Host {
    /// The first with a port.
    pub(super) fn of(address: &Multiaddr) -> Option<Self> {
        Some(match find_host(address)?.1 {
            Protocol::Ip4(ip) => Self::Ip(ip.into()),
            Protocol::Ip6(ip) => Self::Ip(ip.into()),
            Protocol::Dns(name) => Self::Name(name.into_owned(), Family::Any),
            Protocol::Dns4(name) => Self::Name(name.into_owned(), Family::V4),
            Protocol::Dns6(name) => Self::Name(name.into_owned(), Family::V6),
            _ => return None,
        })
    }

    /// The same address with this IP as its host.
    pub(super) fn replace(address: &Multiaddr, ip: IpAddr) -> Multiaddr {
        let found = find_host(address);
        let replaced = found.and_then(|(at, ..)| address.replace(at, |_| Some(ip.into())));
        replaced.unwrap_or_else(|| address.clone())
    }
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
