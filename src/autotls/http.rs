//! A client of HTTP/1.1, with or without TLS: one connection for each request, driven by the future of the request.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures::{
    StreamExt as _,
    future::{self, Either},
    stream::FuturesUnordered,
};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    HeaderMap, Request, Response, Uri,
    body::Bytes,
    client::conn::http1,
    header::{COOKIE, HOST, HeaderValue, RETRY_AFTER, SET_COOKIE},
    rt::{Read, Write},
};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, pki_types::ServerName},
};

use crate::{
    autotls::error::{Error, chain, printable},
    deadline,
    websocket::{self, TlsError, TrustAnchor},
};

/// The name of this node at servers.
pub(super) const USER_AGENT: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));

/// The time for most requests.
pub(super) const TIMEOUT: Duration = Duration::from_secs(30);

/// The time for a connection to a server, with all its addresses.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(8);

/// The time that an address has before the next one is tried too: the "Connection Attempt Delay" of RFC 8305, section 8.
const HEAD_START: Duration = Duration::from_millis(250);

const MAX_ADDRESSES: usize = 8;
const MAX_BODY: usize = 1024 * 1024;
const MAX_HEAD: usize = 64 * 1024;
const MAX_COOKIES: usize = 16;
const MAX_COOKIE: usize = 4096;

/// The longest wait that a server can ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Clone)]
pub(super) struct Client {
    tls: Arc<ClientConfig>,
}

impl Client {
    /// Trusts whom browsers trust, and the anchors.
    pub(super) fn new(anchors: &[TrustAnchor]) -> Self {
        let mut tls = websocket::https_client(anchors);
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self { tls: Arc::new(tls) }
    }

    /// The response, whatever its status, to a request with an absolute URL. Redirects are not followed.
    pub(super) async fn send(
        &self,
        request: Request<Bytes>,
        timeout: Duration,
    ) -> Result<Response<Bytes>, Error> {
        let server = host(request.uri());
        let exchange = pin!(self.exchange(request));
        match within(timeout, exchange).await {
            Some(Ok(response)) => Ok(response),
            Some(Err(Refused::Url(reason))) => Err(Error::Answer { server, reason }),
            Some(Err(Refused::Io(error))) => Err(Error::Connection {
                server,
                reason: chain(&*error),
            }),
            None => Err(Error::TimedOut {
                server,
                after: timeout,
            }),
        }
    }

    async fn exchange(&self, mut request: Request<Bytes>) -> Result<Response<Bytes>, Refused> {
        let uri = request.uri().clone();
        let url = || {
            Refused::Url(format!(
                "{} is no URL of a server",
                printable(&uri.to_string())
            ))
        };
        check("", &uri).map_err(|_| url())?;
        let name = uri.host().ok_or_else(url)?;
        let name = name.trim_start_matches('[').trim_end_matches(']');
        let is_tls = is_tls(&uri);
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let host = HeaderValue::try_from(host(&uri)).map_err(|_| url())?;
        request.headers_mut().insert(HOST, host);
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        *request.uri_mut() = path.parse().map_err(|_| url())?;

        let tcp = connect(name, port).await?;
        if !is_tls {
            return speak(TokioIo::new(tcp), request).await;
        }
        let name = ServerName::try_from(name.to_owned()).map_err(|_| url())?;
        let tls = TlsConnector::from(Arc::clone(&self.tls));
        let tls = tls.connect(name, tcp).await.map_err(tls_failed)?;
        speak(TokioIo::new(tls), request).await
    }
}

enum Refused {
    Url(String),
    Io(Box<dyn std::error::Error + Send + Sync>),
}

impl<E: Into<Box<dyn std::error::Error + Send + Sync>>> From<E> for Refused {
    fn from(error: E) -> Self {
        Self::Io(error.into())
    }
}

/// The reason, without the remedies that are those of a dial.
fn tls_failed(error: io::Error) -> Refused {
    Refused::from(match TlsError::from(error) {
        TlsError::NotTls => "it does not speak TLS on this port".into(),
        TlsError::NotValidForName { expected, .. } => {
            format!("its certificate is not valid for {expected}").into()
        }
        error => Box::<dyn std::error::Error + Send + Sync>::from(error),
    })
}

async fn connect(name: &str, port: u16) -> io::Result<TcpStream> {
    let addresses = alternating(lookup_host((name, port)).await?.collect());
    let connected = within(CONNECT_TIMEOUT, pin!(race(addresses))).await;
    connected.unwrap_or_else(|| Err(io::Error::new(io::ErrorKind::TimedOut, "TCP timed out")))
}

/// IPv6 and IPv4 in turns, from the first on: one of them may lead nowhere.
fn alternating(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first = addresses.first().map(SocketAddr::is_ipv4);
    let is_first = |address: &SocketAddr| Some(address.is_ipv4()) == first;
    let (firsts, others): (Vec<_>, Vec<_>) = addresses.into_iter().partition(is_first);
    let mut alternating = Vec::new();
    let (mut firsts, mut others) = (firsts.into_iter(), others.into_iter());
    while alternating.len() < MAX_ADDRESSES {
        let before = alternating.len();
        alternating.extend(firsts.next().into_iter().chain(others.next()));
        if alternating.len() == before {
            break;
        }
    }
    alternating
}

/// The first that is connected. Each begins a head start after the last, or at once after a failure.
async fn race(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut addresses = addresses.into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "its name has no address");
    loop {
        attempts.extend(addresses.next().map(TcpStream::connect));
        let time = match addresses.len() {
            0 => CONNECT_TIMEOUT,
            _ => HEAD_START,
        };
        match within(time, attempts.next()).await {
            Some(Some(Ok(tcp))) => return Ok(tcp),
            Some(Some(Err(error))) => last = error,
            Some(None) => return Err(last),
            None => {}
        }
    }
}

async fn speak<T>(io: T, request: Request<Bytes>) -> Result<Response<Bytes>, Refused>
where
    T: Read + Write + Unpin + Send,
{
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .handshake(io)
        .await?;
    let exchange = pin!(async move {
        let response = sender.send_request(request.map(Full::new)).await?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MAX_BODY).collect().await?;
        Ok(Response::from_parts(head, body.to_bytes()))
    });
    match future::select(exchange, pin!(connection)).await {
        Either::Left((exchanged, _)) => exchanged,
        // What the connection has left for the exchange is there by now, its own error included.
        Either::Right((_, exchange)) => exchange.await,
    }
}

/// `None` if the time is over.
async fn within<F: Future + Unpin>(time: Duration, future: F) -> Option<F::Output> {
    match future::select(future, pin!(deadline::passed(time))).await {
        Either::Left((output, _)) => Some(output),
        Either::Right(_) => None,
    }
}

/// As [`within`], for futures of other parts.
pub(super) async fn in_time<F: Future>(time: Duration, future: F) -> Option<F::Output> {
    within(time, pin!(future)).await
}

/// An URL of the configuration.
pub(super) fn url(of: &'static str, text: &str) -> Result<Uri, Error> {
    let uri = text.parse().map_err(|_| Error::Url {
        of,
        reason: "is none: it begins with https:// or http://",
    })?;
    check(of, &uri)?;
    Ok(uri)
}

fn check(of: &'static str, uri: &Uri) -> Result<(), Error> {
    let refuse = |reason| Err(Error::Url { of, reason });
    match (uri.scheme_str(), uri.authority()) {
        (Some("http" | "https"), Some(authority)) if authority.as_str().contains('@') => {
            refuse("has a user in it")
        }
        (Some("http" | "https"), Some(_)) => Ok(()),
        _ => refuse("does not begin with https:// or http:// and a host"),
    }
}

fn is_tls(uri: &Uri) -> bool {
    uri.scheme_str() == Some("https")
}

/// The value of the header `Host` for this URL. The port is left out if it is that of the scheme.
pub(super) fn host(uri: &Uri) -> String {
    let name = uri.host().unwrap_or_default().to_ascii_lowercase();
    let usual = if is_tls(uri) { 443 } else { 80 };
    match uri.port_u16() {
        Some(port) if port != usual => format!("{name}:{port}"),
        _ => name,
    }
}

/// The wait that the server asks for, at most a day.
pub(super) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match value.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(value)
            .ok()?
            .duration_since(now)
            .unwrap_or_default(),
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

/// The error of a response whose status is not the expected one.
pub(super) fn unexpected(server: String, response: &Response<Bytes>) -> Error {
    Error::Status {
        server,
        status: response.status().as_u16(),
        text: printable(&String::from_utf8_lossy(response.body())),
    }
}

/// The cookies of one server, for the requests of one exchange.
#[derive(Default)]
pub(super) struct Cookies(Vec<(String, String)>);

impl Cookies {
    /// Keeps what the response sets. It lives no longer than the exchange, whatever its attributes.
    pub(super) fn read(&mut self, headers: &HeaderMap) {
        for cookie in headers.get_all(SET_COOKIE) {
            let cookie = cookie.to_str().ok();
            let pair = cookie.and_then(|cookie| cookie.split(';').next()?.split_once('='));
            let Some((name, value)) = pair else {
                continue;
            };
            let (name, value) = (name.trim(), value.trim());
            self.0.retain(|(other, _)| other != name);
            if name.len() + value.len() <= MAX_COOKIE && self.0.len() < MAX_COOKIES {
                self.0.push((name.to_owned(), value.to_owned()));
            }
        }
    }

    pub(super) fn write(&self, headers: &mut HeaderMap) {
        let pairs = self.0.iter().map(|(name, value)| format!("{name}={value}"));
        let cookies = pairs.collect::<Vec<_>>().join("; ");
        if let Ok(cookies) = HeaderValue::try_from(cookies)
            && !cookies.is_empty()
        {
            headers.insert(COOKIE, cookies);
        }
    }
}

#[cfg(test)]
mod tests;
