//! The requests to the broker, which sets the TXT record of a node that it can connect to.

use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::Bytes,
    header::{
        AUTHORIZATION, AsHeaderName, CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT,
        WWW_AUTHENTICATE,
    },
};
use libp2p_identity::Keypair;
use multiaddr::{Multiaddr, Protocol};
use std::time::Duration;

use crate::{
    autotls::{
        auth::{self, Handshake},
        config::Config,
        error::{Error, Failure, Step},
        http::{self, Client, Cookies},
    },
    deadline,
};

const HEALTH_TIMEOUT: Duration = Duration::from_secs(15);

/// For the request during which the broker connects to this node.
const POST_TIMEOUT: Duration = Duration::from_secs(90);

/// More are not sent: the broker tries all of them.
const MAX_ADDRESSES: usize = 16;

const OF: &str = "broker";
const AUTHENTICATION_INFO: HeaderName = HeaderName::from_static("authentication-info");
const FORGE_AUTHORIZATION: HeaderName = HeaderName::from_static("forge-authorization");

/// Whether the broker is up.
pub(super) async fn health(config: &Config, client: &Client) -> Result<(), Failure> {
    let fail = |error| Failure::new(Step::Health, error);
    let request = request(config, Method::GET, "/v1/health").map_err(fail)?;
    let server = http::host(request.uri());
    let response = client.send(request, HEALTH_TIMEOUT).await.map_err(fail)?;
    match response.status() {
        StatusCode::NO_CONTENT => Ok(()),
        _ => Err(refused(Step::Health, server, &response)),
    }
}

/// Makes the broker set the TXT record of this node to `value`, after it has connected to one of the addresses.
pub(super) async fn publish(
    config: &Config,
    client: &Client,
    keypair: &Keypair,
    value: &str,
    addresses: &[Multiaddr],
) -> Result<(), Failure> {
    let fail = |error| Failure::new(Step::Broker, error);
    let addresses = reachable(addresses);
    if addresses.is_empty() {
        return Err(fail(Error::NoAddress));
    }
    let body = serde_json::json!({ "value": value, "addresses": addresses }).to_string();
    let empty = request(config, Method::POST, "/v1/_acme-challenge").map_err(fail)?;
    let server = http::host(empty.uri());
    let mut cookies = Cookies::default();
    let (mut handshake, mut next) = Handshake::start(keypair, &server, rand::random());
    // The handshake ends after at most five: its states only go forward.
    loop {
        let mut request = empty.clone();
        let headers = request.headers_mut();
        cookies.write(headers);
        // It consists of base64.
        if let Ok(authorization) = HeaderValue::try_from(next.authorization) {
            headers.insert(AUTHORIZATION, authorization);
        }
        if next.has_body {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            if let Some(token) = &config.token {
                let token = HeaderValue::try_from(token).map_err(|_| {
                    fail(Error::Authentication {
                        server: server.clone(),
                        reason: "the token is no value of an HTTP header",
                    })
                })?;
                headers.insert(FORGE_AUTHORIZATION, token);
            }
            *request.body_mut() = body.clone().into();
        }
        let time = match next.has_body {
            true => POST_TIMEOUT,
            false => http::TIMEOUT,
        };
        let response = client.send(request, time).await.map_err(fail)?;
        cookies.read(response.headers());
        let status = response.status();
        let of_handshake = auth::Response {
            is_unauthorized: status == StatusCode::UNAUTHORIZED,
            www_authenticate: texts(response.headers(), WWW_AUTHENTICATE),
            authentication_info: texts(response.headers(), AUTHENTICATION_INFO),
        };
        match handshake.on_response(&of_handshake) {
            Ok(Some(following)) => next = following,
            Ok(None) if status == StatusCode::OK => return Ok(()),
            Err(reason)
                if status.is_success()
                    || of_handshake.is_unauthorized
                    || !of_handshake.authentication_info.is_empty() =>
            {
                return Err(fail(Error::Authentication { server, reason }));
            }
            // go-libp2p says no more than that to a `Host` that is not the broker's.
            Err(_) if status == StatusCode::BAD_REQUEST && response.body().is_empty() => {
                let reason = "it refuses the request; the host in its URL has to be the one by which it knows itself";
                return Err(fail(Error::Authentication { server, reason }));
            }
            Ok(None) | Err(_) => return Err(refused(Step::Broker, server, &response)),
        }
    }
}

/// Those that the broker can read and connect to, each once: one that it cannot read would make it refuse all.
pub(super) fn reachable(addresses: &[Multiaddr]) -> Vec<String> {
    let mut reachable = Vec::new();
    for address in addresses {
        let mut parts = address.iter();
        let is_ip = matches!(parts.next(), Some(Protocol::Ip4(_) | Protocol::Ip6(_)));
        let is_tcp = matches!(parts.next(), Some(Protocol::Tcp(port)) if port != 0);
        let is_plain = match parts.next() {
            None => true,
            Some(Protocol::Ws(path)) => path == "/" && parts.next().is_none(),
            Some(_) => false,
        };
        let text = address.to_string();
        if is_ip && is_tcp && is_plain && !reachable.contains(&text) {
            reachable.push(text);
        }
    }
    reachable.truncate(MAX_ADDRESSES);
    reachable
}

fn request(config: &Config, method: Method, path: &str) -> Result<Request<Bytes>, Error> {
    let base = config.broker.trim_end_matches('/');
    let mut request = Request::new(Bytes::new());
    *request.method_mut() = method;
    *request.uri_mut() = http::url(OF, &format!("{base}{path}"))?;
    let agent = HeaderValue::from_static(http::USER_AGENT);
    request.headers_mut().insert(USER_AGENT, agent);
    Ok(request)
}

fn texts(headers: &HeaderMap, name: impl AsHeaderName) -> Vec<&str> {
    let values = headers.get_all(name).into_iter();
    values.filter_map(|value| value.to_str().ok()).collect()
}

fn refused(step: Step, server: String, response: &Response<Bytes>) -> Failure {
    Failure {
        retry_after: http::retry_after(response.headers(), deadline::wall_clock()),
        ..Failure::new(step, http::unexpected(server, response))
    }
}

#[cfg(test)]
mod tests;
