//! The page of the node, for browsers on its port, and what load balancers and Prometheus ask for.

#[path = "page/events.rs"]
mod events;
#[path = "page/html.rs"]
mod html;
#[path = "page/metrics.rs"]
mod metrics;
#[path = "page/overlay.rs"]
mod overlay;
#[path = "page/state.rs"]
mod state;

use std::{
    future, io,
    num::NonZeroUsize,
    sync::{Arc, OnceLock},
    time::{Duration, Instant, SystemTime},
};

use futures::{AsyncWriteExt as _, FutureExt as _};
use futures_timer::Delay;
use libp2p::{Multiaddr, Swarm, multiaddr::Protocol, swarm::SwarmEvent};
use libp2p_lazy_websocket::{
    lazy::Readiness,
    websocket::{self, Certificates, Visitor},
};
use tokio::sync::{Semaphore, watch};

use self::state::{Board, Seen, State};
pub(crate) use self::{metrics::Metrics, overlay::Union};
use crate::{Behaviour, BehaviourEvent, chain, runtime::Runtime, say};

/// How many browsers are told of changes at once. The others ask every two seconds.
const MAX_STREAMS: usize = 16;

/// How many may be answered at once, of which one remote address has a quarter: all the streams, and others beside them.
const MAX_VISITORS: usize = 8 * MAX_STREAMS;

/// How long after a change there is another state: not one for each of a burst.
const SOON: Duration = Duration::from_millis(200);

const TEXT: &str = "text/plain; charset=utf-8";

/// A state, and its text for scripts.
struct Snapshot {
    state: State,
    json: Arc<str>,
}

impl Default for Snapshot {
    fn default() -> Self {
        Self::new(State::default())
    }
}

impl Snapshot {
    fn new(state: State) -> Self {
        let json = serde_json::to_string(&state).unwrap_or_default().into();
        Self { state, json }
    }
}

/// Makes the states, in the task of the swarm.
pub(crate) struct Page {
    board: Board,
    due: Delay,
    /// Whether it is due soon.
    is_changed: bool,
    states: watch::Sender<Arc<Snapshot>>,
    readiness: Arc<OnceLock<Readiness>>,
    pub(crate) metrics: Arc<Metrics>,
    /// Those of files, with their names.
    pub(crate) certificates: Vec<(String, Certificates)>,
    pub(crate) union: Option<Union>,
}

impl Page {
    /// And the configuration of a transport whose port serves it.
    pub(crate) fn new(runtime: Runtime, websocket: websocket::Config) -> (Self, websocket::Config) {
        let (states, watched) = watch::channel(Arc::default());
        let page = Self {
            board: Board::new(Instant::now()),
            due: Delay::new(Duration::ZERO),
            is_changed: true,
            states,
            readiness: Arc::default(),
            metrics: Arc::default(),
            certificates: vec![],
            union: None,
        };
        let desk = Arc::new(Desk {
            states: watched,
            readiness: Arc::clone(&page.readiness),
            metrics: Arc::clone(&page.metrics),
            streams: Semaphore::new(MAX_STREAMS),
        });
        let max = NonZeroUsize::new(MAX_VISITORS).unwrap_or(NonZeroUsize::MAX);
        let websocket = websocket
            .with_max_visitors(max)
            .with_visitors(move |visitor| {
                let desk = Arc::clone(&desk);
                // Whoever leaves early is no matter.
                let answered = async move { drop(desk.answer(visitor).await) };
                runtime.spawn(answered).forget();
            });
        (page, websocket)
    }

    /// Shows this node, whose transport has the configuration.
    pub(crate) fn begin(&mut self, swarm: &mut Swarm<Behaviour>, readiness: Readiness) {
        let _ = self.readiness.set(readiness);
        self.metrics.of_swarm(swarm);
    }

    pub(crate) fn on_event(&mut self, event: &SwarmEvent<BehaviourEvent>) {
        if let SwarmEvent::NewListenAddr { address, .. } = event
            && let Some(url) = url(address)
        {
            say(format_args!("page {url}"));
        }
        let now = Instant::now();
        if self.board.on_event(event, now) && !self.is_changed {
            self.is_changed = true;
            self.due.reset(SOON.min(self.board.rest_of_second(now)));
        }
    }

    /// The page, once it has to show another state. Never, without one.
    pub(crate) async fn due(page: &mut Option<Self>) -> &mut Self {
        match page {
            Some(page) => {
                (&mut page.due).await;
                page
            }
            None => future::pending().await,
        }
    }

    /// Shows another state.
    pub(crate) fn show(&mut self, swarm: &Swarm<Behaviour>) {
        let now = Instant::now();
        self.is_changed = false;
        self.due.reset(self.board.rest_of_second(now));
        let Some(readiness) = self.readiness.get() else {
            return;
        };
        let seen = Seen {
            swarm,
            readiness,
            certificates: &self.certificates,
            union: self.union.as_ref(),
        };
        let state = self.board.state(now, &seen);
        self.states.send_replace(Arc::new(Snapshot::new(state)));
    }
}

/// How an answer begins.
fn head(kind: &str) -> String {
    let date = httpdate::fmt_http_date(SystemTime::now());
    format!("HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Type: {kind}\r\n")
}

/// The URL of the page on a listener, unless browsers cannot open it.
fn url(address: &Multiaddr) -> Option<String> {
    let mut protocols = address.iter();
    let host = match protocols.next()? {
        Protocol::Ip4(ip) => ip.to_string(),
        Protocol::Ip6(ip) => format!("[{ip}]"),
        Protocol::Dns(name) | Protocol::Dns4(name) | Protocol::Dns6(name) => name.into_owned(),
        _ => return None,
    };
    let Protocol::Tcp(port) = protocols.next()? else {
        return None;
    };
    let rest: Vec<_> = protocols.collect();
    let (scheme, host) = match &rest[..] {
        [Protocol::Ws(_)] => ("http", host),
        [Protocol::Wss(_)] | [Protocol::Tls, Protocol::Ws(_)] => ("https", host),
        [Protocol::Tls, Protocol::Sni(name), Protocol::Ws(_)] => ("https", name.to_string()),
        _ => return None,
    };
    Some(format!("{scheme}://{host}:{port}/"))
}

/// Answers visitors, each in a task of its own.
struct Desk {
    states: watch::Receiver<Arc<Snapshot>>,
    readiness: Arc<OnceLock<Readiness>>,
    metrics: Arc<Metrics>,
    streams: Semaphore,
}

impl Desk {
    async fn answer(&self, visitor: Visitor) -> io::Result<()> {
        let path = visitor.path().split('?').next().unwrap_or_default();
        let answered = match (visitor.method(), path) {
            // What HAProxy asks for, unless it is told what to ask for.
            ("GET" | "HEAD", "/healthz") | ("OPTIONS", _) => {
                let (status, text) = self.health();
                visitor.answer(status, TEXT, text).await
            }
            ("GET" | "HEAD", "/") => return self.page(visitor).await,
            ("GET", "/events") => match self.streams.try_acquire() {
                Ok(_place) => {
                    let mut visitor = visitor;
                    visitor.keep_open();
                    return events::tell(visitor, self.states.clone(), events::PACE).await;
                }
                Err(_) => {
                    let text =
                        format!("{MAX_STREAMS} others are told already: ask for /status.json\n");
                    visitor.answer(503, TEXT, text).await
                }
            },
            ("HEAD", "/events") => visitor.answer(200, events::TYPE, "").await,
            ("GET" | "HEAD", "/status.json") => {
                let json = Arc::clone(&self.states.borrow().json);
                visitor.answer(200, "application/json", &*json).await
            }
            ("GET" | "HEAD", "/metrics") => match self.metrics.text() {
                Some(text) => visitor.answer(200, metrics::TYPE, text).await,
                None => {
                    let text = "this node was built without the feature `metrics`\n";
                    visitor.answer(404, TEXT, text).await
                }
            },
            ("GET" | "HEAD", _) => visitor.answer(404, TEXT, "there is no such page\n").await,
            _ => {
                visitor
                    .answer(405, TEXT, "there is nothing but GET\n")
                    .await
            }
        };
        answered.map_err(io::Error::other)
    }

    async fn page(&self, mut visitor: Visitor) -> io::Result<()> {
        let snapshot = Arc::clone(&self.states.borrow());
        let nonce = format!("{:032x}", rand::random::<u128>());
        let html = html::page(&snapshot.state, &nonce);
        let mut answer = format!(
            "{}Content-Length: {}\r\n\
             Content-Security-Policy: {}\r\n\
             X-Content-Type-Options: nosniff\r\n\
             Referrer-Policy: no-referrer\r\n\
             Cache-Control: no-store\r\n\
             Connection: close\r\n\r\n",
            head("text/html; charset=utf-8"),
            html.len(),
            html::policy(&nonce),
        );
        if visitor.method() != "HEAD" {
            answer.push_str(&html);
        }
        visitor.write_all(answer.as_bytes()).await?;
        visitor.close().await
    }

    /// 200 if all listeners are ready, or 503 and the reasons.
    fn health(&self) -> (u16, String) {
        let Some(readiness) = self.readiness.get() else {
            return (503, "the node is starting\n".to_owned());
        };
        match readiness.all_ready().now_or_never() {
            Some(Ok(())) => (200, "ok\n".to_owned()),
            Some(Err(error)) => (503, format!("{}\n", chain(&error))),
            None => {
                let mut statuses = readiness.statuses();
                statuses.retain(|(_, status)| status.addresses.is_empty());
                let lines = statuses.iter().map(|(_, status)| format!("{status}\n"));
                (503, lines.collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_is_that_of_a_browser() {
        for (address, expected) in [
            ("/ip4/127.0.0.1/tcp/80/ws", Some("http://127.0.0.1:80/")),
            ("/ip6/::1/tcp/80/tls/ws", Some("https://[::1]:80/")),
            ("/dns4/a.b/tcp/80/wss", Some("https://a.b:80/")),
            (
                "/ip4/127.0.0.1/tcp/80/tls/sni/a.b/ws",
                Some("https://a.b:80/"),
            ),
            ("/ip4/127.0.0.1/tcp/80", None),
            ("/ip4/127.0.0.1/udp/80/quic-v1", None),
            ("/dns4/a.b/tcp/80/ws/p2p-circuit", None),
        ] {
            let url = url(&address.parse().unwrap());
            assert_eq!(url.as_deref(), expected);
        }
    }
}
