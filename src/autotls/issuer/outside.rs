//! What is outside of a node, for tests: a broker, an ACME server and a name server, each as good as it is told to be.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, atomic::AtomicUsize, atomic::Ordering},
    thread,
    time::{Duration, SystemTime},
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    HeaderMap, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{AUTHORIZATION, COOKIE, HOST},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use libp2p_identity::Keypair;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256,
    PublicKeyData, SignatureAlgorithm,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use x509_parser::{certification_request::X509CertificationRequest, prelude::FromDer as _};

use crate::autotls::{
    auth::server::{Reply, Server},
    config::Config,
};

/// A folder of the test's own, which ends with it.
pub(in crate::autotls) struct Folder(pub(in crate::autotls) PathBuf);

impl Folder {
    pub(in crate::autotls) fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("lazy-websocket-autotls-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// All files in it, by their names.
    pub(in crate::autotls) fn files(&self) -> HashMap<String, PathBuf> {
        let mut files = HashMap::new();
        let mut folders = vec![self.0.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
                match entry.file_type().unwrap().is_dir() {
                    true => folders.push(entry.path()),
                    false => {
                        let name = entry.file_name().into_string().unwrap();
                        files.insert(name, entry.path());
                    }
                }
            }
        }
        files
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(in crate::autotls) struct Outside {
    pub(super) address: SocketAddr,
    names: SocketAddr,
    state: Arc<Mutex<State>>,
}

/// What the ACME server issues.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Issues {
    Asked,
    OtherName,
    OtherKey,
    Expired,
    /// As a clock sees it that is two hours behind, two hours ago.
    Early,
    Garbage,
}

/// An answer: status, headers, body.
pub(in crate::autotls) type Answer = (u16, Vec<(&'static str, String)>, String);

pub(in crate::autotls) struct State {
    base: String,
    /// Of each request.
    pub(in crate::autotls) log: Vec<String>,
    /// The headers and the body of each request to the broker, but for its health.
    pub(super) posts: Vec<(HeaderMap, String)>,
    /// What the ACME server was sent, by path.
    pub(super) orders: Vec<Value>,
    pub(super) contacts: Vec<Value>,
    /// The keys of the accounts.
    pub(super) accounts: Vec<Value>,
    /// Answers in place of the usual ones, by the beginning of the path.
    pub(in crate::autotls) instead: HashMap<&'static str, Answer>,
    /// Of the broker, each with a key of its own. A client without a cookie gets the next at each request.
    pub(super) instances: Vec<Server>,
    next_instance: usize,
    /// The value of the TXT record.
    pub(super) record: String,
    /// Whether the broker's values get into it.
    pub(super) publishes: bool,
    pub(super) validates: bool,
    pub(super) issues: Issues,
    /// How long certificates are valid from now on. They have been for 90 days.
    pub(in crate::autotls) remaining: Duration,
    pub(super) offers_renewal_info: bool,
    pub(super) takes_replaces: bool,
    /// How many of the next nonces are refused.
    pub(super) bad_nonces: usize,
    status: &'static str,
    name: String,
    replaces: Value,
    chain: String,
}

impl Outside {
    pub(in crate::autotls) async fn new() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State {
            base: format!("http://{address}/acme"),
            log: Vec::new(),
            posts: Vec::new(),
            orders: Vec::new(),
            contacts: Vec::new(),
            accounts: Vec::new(),
            instead: HashMap::new(),
            instances: vec![Server::new(Keypair::generate_ed25519())],
            next_instance: 0,
            record: "not set yet".to_owned(),
            publishes: true,
            validates: true,
            issues: Issues::Asked,
            remaining: Duration::from_secs(90 * 24 * 60 * 60),
            offers_renewal_info: true,
            takes_replaces: true,
            bad_nonces: 0,
            status: "pending",
            name: String::new(),
            replaces: Value::Null,
            chain: String::new(),
        }));
        let served = Arc::clone(&state);
        tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let state = Arc::clone(&served);
                let service = service_fn(move |request| answer(Arc::clone(&state), request));
                let connection = http1::Builder::new().serve_connection(TokioIo::new(tcp), service);
                tokio::spawn(connection);
            }
        });
        Self {
            address,
            names: name_server(Arc::clone(&state)),
            state,
        }
    }

    pub(in crate::autotls) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(in crate::autotls) fn config(&self) -> Config {
        Config::default()
            .with_domain("example.com")
            .with_broker(format!("http://{}", self.address))
            .with_acme_directory(format!("http://{}/acme/directory", self.address))
            .with_name_server(self.names)
            .with_time_scale(0.001)
    }
}

/// RFC 1035: every question has the record for its answer.
fn name_server(state: Arc<Mutex<State>>) -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut query = [0; 512];
        loop {
            let (length, from) = socket.recv_from(&mut query).unwrap();
            let name_end = 12
                + query[12..length]
                    .iter()
                    .position(|byte| *byte == 0)
                    .unwrap();
            let question = &query[12..name_end + 5];
            let text = state.lock().unwrap().record.clone().into_bytes();
            let count = u8::from(!text.is_empty());
            let mut answer = query[..2].to_vec();
            answer.extend([0x81, 0x80, 0, 1, 0, count, 0, 0, 0, 0]);
            answer.extend(question);
            if !text.is_empty() {
                let length = u8::try_from(text.len()).unwrap();
                answer.extend([0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 60, 0, length + 1, length]);
                answer.extend(text);
            }
            socket.send_to(&answer, from).unwrap();
        }
    });
    address
}

async fn answer(
    state: Arc<Mutex<State>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let body = String::from_utf8(body.to_vec()).unwrap();
    let mut state = state.lock().unwrap();
    let path = head.uri.path();
    state.log.push(format!("{} {path}", head.method));
    if path == "/v1/_acme-challenge" {
        state.posts.push((head.headers.clone(), body.clone()));
    }
    let instead = state.instead.iter();
    let instead = instead.filter(|(prefix, _)| path.starts_with(**prefix));
    let (status, headers, body) = match instead.map(|(_, answer)| answer.clone()).next() {
        Some(answer) => answer,
        None if path == "/v1/health" => (204, Vec::new(), String::new()),
        None if path == "/v1/_acme-challenge" => state.broker(&head.headers, &body),
        None => state.acme(path, &body),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    let nonce = ("replay-nonce", format!("nonce{}", state.log.len()));
    for (name, value) in headers.into_iter().chain([nonce]) {
        response.headers_mut().append(name, value.parse().unwrap());
    }
    Ok(response)
}

impl State {
    fn broker(&mut self, headers: &HeaderMap, body: &str) -> Answer {
        let text = |name| headers.get(name).map(|value| value.to_str().unwrap());
        let cookie = text(COOKIE).and_then(|cookie| cookie.split_once("instance=")?.1.parse().ok());
        let index = cookie.unwrap_or_else(|| {
            self.next_instance += 1;
            (self.next_instance - 1) % self.instances.len()
        });
        let host = text(HOST).unwrap();
        let mut headers = vec![("set-cookie", format!("instance={index}; Path=/; HttpOnly"))];
        match self.instances[index].answer(host, text(AUTHORIZATION)) {
            Reply::Unauthorized(challenge) => {
                headers.push(("www-authenticate", challenge));
                (401, headers, String::new())
            }
            Reply::Welcome(_, info) => {
                headers.push(("authentication-info", info));
                let Ok(body) = serde_json::from_str::<Value>(body) else {
                    return (400, headers, "error decoding body: EOF".to_owned());
                };
                if self.publishes {
                    self.record = body["value"].as_str().unwrap().to_owned();
                }
                (200, headers, String::new())
            }
            Reply::Bad(_) => (400, headers, String::new()),
        }
    }

    fn acme(&mut self, path: &str, body: &str) -> Answer {
        let base = self.base.clone();
        let part = |name: &str| {
            let body: Value = serde_json::from_str(body).unwrap_or_default();
            let bytes = BASE64_URL_SAFE_NO_PAD.decode(body[name].as_str().unwrap_or_default());
            serde_json::from_slice::<Value>(&bytes.unwrap()).unwrap_or_default()
        };
        let payload = part("payload");
        if !body.is_empty() && self.bad_nonces > 0 {
            self.bad_nonces -= 1;
            return problem(400, "badNonce", "this nonce is bad");
        }
        let mut headers = Vec::new();
        let answer = match path.strip_prefix("/acme/").unwrap_or_default() {
            "directory" => {
                let mut directory = json!({
                    "newNonce": format!("{base}/nonce"),
                    "newAccount": format!("{base}/account"),
                    "newOrder": format!("{base}/new-order"),
                });
                if self.offers_renewal_info {
                    directory["renewalInfo"] = format!("{base}/renewal").into();
                }
                directory
            }
            "nonce" => Value::Null,
            "account" => {
                let key = part("protected")["jwk"].clone();
                if !self.accounts.contains(&key) {
                    self.accounts.push(key);
                }
                headers.push(("location", format!("{base}/account/1")));
                json!({ "status": "valid" })
            }
            "account/1" => {
                self.contacts.push(payload["contact"].clone());
                json!({ "status": "valid" })
            }
            "new-order" => {
                self.orders.push(payload.clone());
                if !payload["replaces"].is_null() && !self.takes_replaces {
                    return problem(409, "alreadyReplaced", "another order replaces it");
                }
                self.status = "pending";
                self.replaces = payload["replaces"].clone();
                let name = payload["identifiers"][0]["value"].as_str().unwrap();
                self.name = name.to_owned();
                headers.push(("location", format!("{base}/order")));
                self.order()
            }
            "order" => self.order(),
            "authorization" => json!({
                "identifier": { "type": "dns", "value": self.name.trim_start_matches("*.") },
                "status": if self.status == "invalid" { "invalid" } else { "pending" },
                "wildcard": true,
                "challenges": [self.challenge()],
            }),
            "challenge" => {
                let is_set = self.record.len() == 43 && self.validates;
                let challenge = self.challenge();
                self.status = if is_set { "ready" } else { "invalid" };
                challenge
            }
            "finalize" => {
                let csr = payload["csr"].as_str().unwrap();
                self.issue(&BASE64_URL_SAFE_NO_PAD.decode(csr).unwrap());
                self.status = "valid";
                self.order()
            }
            "certificate" => return (200, headers, self.chain.clone()),
            renewal if renewal.starts_with("renewal/") => json!({
                "suggestedWindow": { "start": "2031-01-01T00:00:00Z", "end": "2031-01-02T00:00:00Z" },
            }),
            other => return problem(404, "malformed", other),
        };
        (200, headers, answer.to_string())
    }

    fn order(&self) -> Value {
        let base = &self.base;
        let mut order = json!({
            "status": self.status,
            "authorizations": [format!("{base}/authorization")],
            "finalize": format!("{base}/finalize"),
            "certificate": format!("{base}/certificate"),
        });
        if !self.replaces.is_null() {
            order["replaces"] = self.replaces.clone();
        }
        order
    }

    fn challenge(&self) -> Value {
        let mut challenge = json!({
            "type": "dns-01",
            "url": format!("{}/challenge", self.base),
            "token": "token",
            "status": "pending",
        });
        if self.status == "invalid" {
            challenge["status"] = "invalid".into();
            challenge["error"] = json!({
                "type": "urn:ietf:params:acme:error:unauthorized",
                "detail": "No TXT record found\nat _acme-challenge",
            });
        }
        challenge
    }

    fn issue(&mut self, csr: &[u8]) {
        let (_, request) = X509CertificationRequest::from_der(csr).unwrap();
        let info = &request.certification_request_info;
        assert_eq!(
            info.subject.iter().count(),
            0,
            "nothing is said but the name"
        );
        let key = PublicKey(info.subject_pki.subject_public_key.data.to_vec());
        let name = match self.issues {
            Issues::OtherName => "*.other.example.com",
            _ => &self.name,
        };
        let mut leaf = CertificateParams::new([name.to_owned()]).unwrap();
        let day = Duration::from_secs(24 * 60 * 60);
        let now = SystemTime::now();
        leaf.use_authority_key_identifier_extension = true;
        leaf.not_before = match self.issues {
            Issues::Early => now + day / 12,
            _ => now - 90 * day,
        }
        .into();
        leaf.not_after = match self.issues {
            Issues::Expired => now - day,
            _ => now + self.remaining,
        }
        .into();
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_key = KeyPair::generate().unwrap();
        let authority = CertifiedIssuer::self_signed(authority, authority_key).unwrap();
        let leaf = match self.issues {
            Issues::OtherKey => leaf.signed_by(&KeyPair::generate().unwrap(), &authority),
            _ => leaf.signed_by(&key, &authority),
        };
        self.chain = match self.issues {
            Issues::Garbage => "-----BEGIN NOTHING-----".to_owned(),
            _ => format!("{}{}", leaf.unwrap().pem(), authority.pem()),
        };
    }
}

struct PublicKey(Vec<u8>);

impl PublicKeyData for PublicKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

pub(super) fn problem(status: u16, kind: &str, detail: &str) -> Answer {
    let kind = format!("urn:ietf:params:acme:error:{kind}");
    let problem = json!({ "type": kind, "detail": detail, "status": status });
    (status, Vec::new(), problem.to_string())
}
