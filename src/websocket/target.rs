//! The parts of a dialled address for [`Engine::Stream`](crate::websocket::Engine::Stream): protocol, request and TLS name.

use std::net::IpAddr;

use libp2p_core::transport::TransportError;
use multiaddr::{Multiaddr, Protocol};
use rustls::pki_types::{self, ServerName};
use url::Url;

use crate::websocket::{
    Error, TlsError,
    address::{Address, Kind, host_and_port, undialable},
    path::Path,
};

/// The parts of an address that is dialled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) address: Multiaddr,
    /// The protocol of the port.
    pub(super) kind: Kind,
    /// The address for the transport below.
    pub(super) below: Multiaddr,
    /// The name that the certificate of the peer has to verify, with TLS.
    pub(super) tls: Option<ServerName<'static>>,
    /// The `Host` header.
    pub(super) host: String,
    pub(super) path: Path,
}

impl Request {
    /// Reads an address as libp2p-websocket does: `/ip4|ip6/<ip>/tcp/<port>` or `/dns|dns4|dns6/<host>/tcp/<port>`,
    /// followed by `/ws`, `/wss`, `/tls/ws` or `/tls/sni/<host>/ws`, each with or without a path, and with or without
    /// `/p2p/<id>` at the end, which is passed to the transport below. So is anything else before `/ws`. With `tcp`, also
    /// such a host and port alone.
    pub(super) fn parse(address: &Multiaddr, tcp: bool) -> Result<Self, TransportError<Error>> {
        let unsupported = || TransportError::MultiaddrNotSupported(address.clone());
        let parsed = Address::parse(address).filter(|parsed| tcp || parsed.kind != Kind::Tcp);
        let parsed = parsed.ok_or_else(unsupported)?;
        let (host, port) = host_and_port(&parsed.before).ok_or_else(unsupported)?;
        if let Some(reason) = undialable(&parsed.before) {
            let address = address.clone();
            return Err(TransportError::Other(Error::Undialable { address, reason }));
        }
        let is_tls = parsed.kind == Kind::Wss;
        let name = match parsed.sni.map(Protocol::Sni).unwrap_or(host) {
            Protocol::Ip4(ip) => ServerName::IpAddress(IpAddr::V4(ip).into()),
            Protocol::Ip6(ip) => ServerName::IpAddress(IpAddr::V6(ip).into()),
            Protocol::Dns(name)
            | Protocol::Dns4(name)
            | Protocol::Dns6(name)
            | Protocol::Sni(name) => {
                let name = name.into_owned();
                ServerName::try_from(name.clone()).map_err(|_| {
                    TransportError::Other(match is_tls {
                        true => Error::Tls(TlsError::InvalidName { name }),
                        false => Error::lookup(name, "it is not a DNS name"),
                    })
                })?
            }
            _ => return Err(unsupported()),
        };
        Ok(Self {
            address: address.clone(),
            kind: parsed.kind,
            host: host_header(&name, port, is_tls),
            tls: is_tls.then_some(name),
            path: Path::new(&parsed.path),
            below: parsed.before.iter().chain(parsed.peer).collect(),
        })
    }

    /// The target of a redirect.
    ///
    /// As in libp2p-websocket, it has to be a whole URL. Unlike there, a redirect from TLS to a URL without TLS is an error:
    /// it would end at an unauthenticated server.
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
        Self::parse(&address, false).map_err(|_| Error::InvalidRedirect)
    }
}

/// The host in a request, as browsers send it: with the port only if it is not the default one.
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
