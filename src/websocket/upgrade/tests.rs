use std::{cell::Cell, collections::VecDeque, io, rc::Rc, task::Context};

use futures::{
    executor::block_on,
    future::{self, Either},
};
use futures_timer::Delay;
use tokio_test::{assert_pending, assert_ready, task};

use super::*;

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// A request as a browser sends it.
fn browser() -> String {
    format!(
        "GET /chat HTTP/1.1\r\nHost: server.example.com\r\nConnection: keep-alive, Upgrade\r\n\
         Pragma: no-cache\r\nCache-Control: no-cache\r\nUser-Agent: Mozilla/5.0\r\n\
         Upgrade: websocket\r\nOrigin: http://example.com\r\nSec-WebSocket-Version: 13\r\n\
         Accept-Encoding: gzip\r\nSec-WebSocket-Key: {KEY}\r\n\
         Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\
         Sec-WebSocket-Protocol: chat, superchat\r\n\r\n"
    )
}

/// The request of a browser with one thing replaced.
fn with(from: &str, to: &str) -> Vec<u8> {
    let request = browser();
    assert_eq!(request.matches(from).count(), 1, "{from}");
    request.replace(from, to).into_bytes()
}

const ACCEPTED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                        Connection: Upgrade\r\n\
                        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// The nonce of [`KEY`].
const NONCE: [u8; 16] = *b"the sample nonce";

/// A peer that says one thing after another, each once it is asked again, and remembers what it is told.
#[derive(Debug, Default)]
struct Peer {
    says: VecDeque<Vec<u8>>,
    /// Whether it stays there when it has said all.
    stays: Rc<Cell<bool>>,
    heard: Vec<u8>,
    is_closed: bool,
}

impl Peer {
    fn new<'a>(says: impl IntoIterator<Item = &'a [u8]>) -> Self {
        Self {
            says: says.into_iter().map(<[u8]>::to_vec).collect(),
            ..Self::default()
        }
    }

    fn heard(&self) -> &str {
        std::str::from_utf8(&self.heard).unwrap()
    }
}

impl AsyncRead for Peer {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let Some(next) = self.says.front_mut() else {
            return match self.stays.get() {
                true => Poll::Pending,
                false => Poll::Ready(Ok(0)),
            };
        };
        let count = next.len().min(buf.len());
        buf[..count].copy_from_slice(&next[..count]);
        next.drain(..count);
        if next.is_empty() {
            self.says.pop_front();
        }
        Poll::Ready(Ok(count))
    }
}

impl AsyncWrite for Peer {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        assert!(!self.is_closed);
        // In portions.
        let count = buf.len().min(100);
        self.heard.extend_from_slice(&buf[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.is_closed = true;
        Poll::Ready(Ok(()))
    }
}

/// Where nobody is a visitor.
async fn accept(peer: &mut Peer, only: Option<Path>) -> Result<Vec<u8>, HandshakeError> {
    let visitors = false;
    match super::accept(peer, &Requests { only, visitors }).await? {
        Accepted::Upgraded(received) => Ok(received),
        Accepted::Visit(visit) => panic!("{visit:?}"),
    }
}

fn accepted(peer: &mut Peer, only: Option<&str>) -> Result<Vec<u8>, HandshakeError> {
    let only = only.map(Path::new);
    block_on(accept(peer, only))
}

#[test]
fn a_request_is_answered_wherever_it_is_cut_and_what_follows_is_kept() {
    let request = browser().into_bytes();
    for behind in [&b""[..], b"\x82\x81", b"\n\n\r\n\r\n"] {
        let all = [&request[..], behind].concat();
        for cut in 1..all.len() {
            let (first, second) = all.split_at(cut);
            let mut peer = Peer::new([first, second]);
            let mut received = accepted(&mut peer, None).unwrap();
            assert_eq!(peer.heard(), ACCEPTED);
            assert!(!peer.is_closed);
            received.extend(peer.says.into_iter().flatten());
            assert_eq!(received, behind, "cut at {cut}");
        }
        let mut peer = Peer::new(all.chunks(1));
        let mut received = accepted(&mut peer, None).unwrap();
        received.extend(peer.says.into_iter().flatten());
        assert_eq!(received, behind);
    }
}

#[test]
fn a_request_that_will_do_is_accepted() {
    for request in [
        with("Connection: keep-alive, Upgrade", "connection: UPGRADE"),
        with("Upgrade: websocket", "upgrade: h2c ,WebSocket"),
        with(
            "Upgrade: websocket",
            "Upgrade: h2c\r\nUpgrade: websocket\r\nContent-Length: 0",
        ),
        with("GET /chat ", "GET http://server.example.com/chat?a=b "),
        with("server.example.com", ""),
        with("GET", "\r\nGET"),
        browser().replace("\r\n", "\n").into_bytes(),
    ] {
        let mut peer = Peer::new([&request[..]]);
        let accepted = accepted(&mut peer, Some("/chat"));
        let text = String::from_utf8_lossy(&request);
        assert!(accepted.is_ok(), "{accepted:?} of {text}");
        assert_eq!(peer.heard(), ACCEPTED);
    }
}

#[test]
fn a_request_that_will_not_do_is_told_why_wherever_it_is_cut() {
    let long = format!("GET /{}", "a".repeat(head::MAX_SIZE));
    let many = "a: b\r\n".repeat(http::MAX_HEADERS + 1);
    let blank = "\r\n".repeat(head::MAX_SIZE);
    for (request, status, error) in [
        (with("GET", "POST"), 405, r#"Method { method: "POST" }"#),
        (
            with("HTTP/1.1", "HTTP/1.0"),
            505,
            r#"HttpVersion { version: "HTTP/1.0" }"#,
        ),
        (
            with("HTTP/1.1", "HTTP/2"),
            505,
            r#"HttpVersion { version: "HTTP/2" }"#,
        ),
        (
            with("GET /chat", "\x16\x03\x01"),
            400,
            r#"NotHttp { protocol: Some(Tls), start: "\\u{16}\\u{3}\\u{1} " }"#,
        ),
        (
            b"\x13/multistream/1.0.0\n\x07/noise\n".to_vec(),
            400,
            r#"NotHttp { protocol: Some(Multistream), start: "\\u{13}/mu" }"#,
        ),
        (
            with("GET", "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET"),
            400,
            r#"NotHttp { protocol: Some(ProxyProtocol), start: "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\\r\\n" }"#,
        ),
        (
            with("GET", "\r\n\r\n\0\r\nQUIT\nGET"),
            400,
            r#"NotHttp { protocol: Some(ProxyProtocol), start: "\\r\\n\\r\\n\\0\\r\\n" }"#,
        ),
        (
            with("GET", "\r\n\r\n\nGET"),
            400,
            r#"NotHttp { protocol: None, start: "\\r\\n\\r\\n\\n" }"#,
        ),
        (
            blank.into_bytes(),
            400,
            r#"NotHttp { protocol: None, start: "\\r\\n\\r\\n\\r\\n" }"#,
        ),
        (
            with("GET", "G(T"),
            400,
            r#"NotHttp { protocol: None, start: "G(T /chat HTTP/1.1\\r\\n" }"#,
        ),
        (with("Pragma", "Pra gma"), 400, "Malformed(HeaderName)"),
        (
            with("no-cache\r\nUser", "\0\r\nUser"),
            400,
            "Malformed(HeaderValue)",
        ),
        (long.into_bytes(), 431, "TooLarge { max: 16384 }"),
        (
            with("Pragma", &format!("{many}Pragma")),
            431,
            "TooManyHeaders { max: 100 }",
        ),
        (
            with("Host", "Hose"),
            400,
            r#"MissingHeader { name: "Host" }"#,
        ),
        (
            with("Pragma", "Host: a\r\nPragma"),
            400,
            r#"UnexpectedHeader { name: "Host", value: "a" }"#,
        ),
        (with("Pragma: no-cache", "Content-Length: 1"), 400, "Body"),
        (
            with("Pragma: no-cache", "Transfer-Encoding: chunked"),
            400,
            "Body",
        ),
        (
            with("Upgrade: websocket\r\n", ""),
            426,
            r#"MissingHeader { name: "Upgrade" }"#,
        ),
        (
            with("Upgrade: websocket", "Upgrade: h2c"),
            426,
            r#"UnexpectedHeader { name: "Upgrade", value: "h2c" }"#,
        ),
        (
            with("keep-alive, Upgrade", "keep-alive"),
            400,
            r#"UnexpectedHeader { name: "Connection", value: "keep-alive" }"#,
        ),
        (
            with("Version: 13", "Version: 8"),
            426,
            r#"WebSocketVersion { version: "8" }"#,
        ),
        (
            with("Sec-WebSocket-Version: 13\r\n", ""),
            426,
            r#"MissingHeader { name: "Sec-WebSocket-Version" }"#,
        ),
        (
            with(&format!("Sec-WebSocket-Key: {KEY}\r\n"), ""),
            400,
            r#"MissingHeader { name: "Sec-WebSocket-Key" }"#,
        ),
        (
            with(KEY, "c2hvcnQ="),
            400,
            r#"UnexpectedHeader { name: "Sec-WebSocket-Key", value: "c2hvcnQ=" }"#,
        ),
        (with("/chat", "/Chat"), 404, r#"NotFound { path: "/Chat" }"#),
    ] {
        let mut cuts = vec![1, 2, request.len() / 2, request.len() - 1, request.len()];
        if request.len() < 1000 {
            cuts = (1..=request.len()).collect();
        }
        for cut in cuts {
            let (first, second) = request.split_at(cut);
            let says = [first, second];
            let mut peer = Peer::new(says.into_iter().filter(|says| !says.is_empty()));
            let refused = accepted(&mut peer, Some("/chat")).unwrap_err();
            assert_eq!(format!("{refused:?}"), error, "cut at {cut}");
            assert!(peer.is_closed);
            assert!(peer.says.is_empty(), "what has come is read");
            let heard = peer.heard();
            assert!(heard.starts_with(&format!("HTTP/1.1 {status} ")), "{heard}");
            let has = |header| heard.contains(&format!("\r\n{header}\r\n"));
            assert_eq!(has("Connection: close"), status != 426);
            assert_eq!(has("Connection: Upgrade, close"), status == 426);
            assert_eq!(has("Upgrade: websocket"), status == 426);
            assert_eq!(has("Sec-WebSocket-Version: 13"), status == 426);
            assert_eq!(has("Allow: GET"), status == 405);
            assert!(heard.contains("\r\nDate: ") && heard.contains(" GMT\r\n"));
            let (_, body) = heard.split_once("\r\n\r\n").unwrap();
            assert!(has(&format!("Content-Length: {}", body.len())));
            assert!(body.contains("WebSocket port of a libp2p node"), "{body}");
        }
    }
}

#[test]
fn what_is_no_upgrade_or_one_at_another_path_is_of_a_visitor_where_there_may_be_some() {
    let elsewhere = with("/chat", "/a?b");
    let plain = with("Upgrade: websocket\r\n", "");
    let plain = String::from_utf8(plain).unwrap();
    let plain = plain.replace(&format!("Sec-WebSocket-Key: {KEY}\r\n"), "");
    let without_host = plain.replace("Host: server.example.com\r\n", "");
    let old = without_host.replace("HTTP/1.1", "HTTP/1.0");
    let post = plain.replace("GET", "POST");
    let head = plain.replace("GET", "HEAD");
    let old_elsewhere = String::from_utf8(elsewhere.clone()).unwrap();
    let old_elsewhere = old_elsewhere.replace("HTTP/1.1", "HTTP/1.0");
    for (request, only, expected) in [
        (browser().as_bytes(), None, "Ok(Upgraded)"),
        (browser().as_bytes(), Some("/chat"), "Ok(Upgraded)"),
        (&elsewhere, None, "Ok(Upgraded)"),
        (&elsewhere, Some("/chat"), "Ok(GET /a?b)"),
        (plain.as_bytes(), None, "Ok(GET /chat)"),
        (plain.as_bytes(), Some("/chat"), "Ok(GET /chat)"),
        (post.as_bytes(), None, "Ok(POST /chat)"),
        (head.as_bytes(), None, "Ok(HEAD /chat)"),
        (old.as_bytes(), None, "Ok(GET /chat)"),
        (
            without_host.as_bytes(),
            None,
            r#"Err(MissingHeader { name: "Host" })"#,
        ),
        // These want to be upgrades.
        (
            old_elsewhere.as_bytes(),
            Some("/chat"),
            r#"Err(HttpVersion { version: "HTTP/1.0" })"#,
        ),
        (
            &with("Upgrade: websocket\r\n", ""),
            None,
            r#"Err(MissingHeader { name: "Upgrade" })"#,
        ),
        (
            &with(&format!("Sec-WebSocket-Key: {KEY}\r\n"), ""),
            None,
            r#"Err(MissingHeader { name: "Sec-WebSocket-Key" })"#,
        ),
    ] {
        let only = only.map(Path::new);
        let visitors = true;
        let mut peer = Peer::new([request]);
        let outcome = block_on(super::accept(&mut peer, &Requests { only, visitors }));
        let outcome = match outcome {
            Ok(Accepted::Upgraded(_)) => "Ok(Upgraded)".to_owned(),
            Ok(Accepted::Visit(visit)) => {
                assert_eq!(visit.received, request);
                assert!(peer.heard.is_empty(), "it is not answered yet");
                assert_eq!(visit.is_head(), request == head.as_bytes());
                format!("Ok({} {})", visit.method, visit.path)
            }
            Err(error) => format!("Err({error:?})"),
        };
        assert_eq!(outcome, expected);
    }
}

#[test]
fn a_request_with_head_is_answered_without_a_body() {
    let large = filled(&browser().replace("GET", "HEAD"), 101, 0);
    for (request, status) in [
        (with("GET", "HEAD"), 405),
        (with("GET /chat HTTP/1.1", "HEAD / HTTP/1.0"), 405),
        (large, 431),
    ] {
        let mut peer = Peer::new([&request[..]]);
        accepted(&mut peer, None).unwrap_err();
        let heard = peer.heard();
        assert!(heard.starts_with(&format!("HTTP/1.1 {status} ")), "{heard}");
        assert!(heard.contains("\r\nContent-Length: 1"), "{heard}");
        assert!(heard.ends_with("\r\n\r\n"), "{heard}");
    }
}

/// A head with so many headers and of this size, or as few and small as it is.
fn filled(head: &str, headers: usize, size: usize) -> Vec<u8> {
    let head = head.strip_suffix("\r\n").unwrap();
    let mut head = head.to_owned();
    for _ in head.lines().count() - 1..headers {
        head.push_str("a:\r\n");
    }
    let end = head.len() - 2;
    let missing = size.saturating_sub(head.len() + 2);
    head.insert_str(end, &"b".repeat(missing));
    head.push_str("\r\n");
    head.into_bytes()
}

#[test]
fn a_head_may_have_so_many_headers_and_bytes_in_both_roles() {
    const MAX: usize = 16 * 1024;

    let is_accepted = |headers, size| {
        let request = filled(&browser(), headers, size);
        let request = accepted(&mut Peer::new([&request[..]]), None).map(drop);
        let response = answered(&filled(ACCEPTED, headers, size)).map(drop);
        [request, response]
    };
    for (headers, size) in [(100, 0), (100, MAX), (12, MAX)] {
        for result in is_accepted(headers, size) {
            result.unwrap();
        }
    }
    for (headers, size) in [(101, 0), (101, MAX)] {
        for result in is_accepted(headers, size) {
            let error = result.unwrap_err();
            assert!(matches!(error, HandshakeError::TooManyHeaders { max: 100 }));
        }
    }
    for (headers, size) in [(12, MAX + 1), (100, MAX + 1), (101, MAX + 1)] {
        for result in is_accepted(headers, size) {
            let error = result.unwrap_err();
            assert!(matches!(error, HandshakeError::TooLarge { max: MAX }));
        }
    }
}

#[test]
fn no_more_is_read_than_still_fits() {
    let mut head = Head::default();
    assert_eq!(head.room(), head::MAX_SIZE);
    let parser = client::Request::new(NONCE);
    assert!(matches!(head.on_bytes(b"HTTP", &parser), Ok(None)));
    assert_eq!(head.room(), head::MAX_SIZE - 4);
}

/// Counts what a parser is given.
struct Counting<'a, P> {
    parser: &'a P,
    count: Cell<usize>,
}

impl<P: Parser> Parser for Counting<'_, P> {
    type Message = P::Message;

    const PREFIX: &'static [u8] = P::PREFIX;

    fn check_first_line(&self, line: &[u8]) -> Result<(), HandshakeError> {
        self.count.update(|count| count + line.len());
        self.parser.check_first_line(line)
    }

    fn parse(&self, head: &[u8]) -> Result<Option<P::Message>, HandshakeError> {
        self.count.update(|count| count + head.len());
        self.parser.parse(head)
    }
}

/// How many bytes are looked at to find the end of the head, and how many of them are parsed.
fn looked_at<P: Parser>(parser: &P, bytes: &[u8], portion: usize) -> (usize, usize) {
    let parser = Counting {
        parser,
        count: Cell::new(0),
    };
    let mut head = Head::default();
    for bytes in bytes.chunks(portion) {
        if !matches!(head.on_bytes(bytes, &parser), Ok(None)) {
            break;
        }
    }
    (head.cost, parser.count.get())
}

#[test]
fn each_byte_of_a_head_is_looked_at_once_however_it_is_cut() {
    const MAX: usize = head::MAX_SIZE;

    let requests = Requests {
        only: None,
        visitors: true,
    };
    let line = [&b"GET /"[..], &[b'a'; MAX]].concat();
    let headers = [&b"GET / HTTP/1.1\r\n"[..], &b"a:b\r\n".repeat(MAX)].concat();
    let response = client::Request::new(NONCE);
    let hints = b"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(MAX);
    for portion in [1, 2, 7, 100, MAX] {
        for request in [&line, &headers, &filled(&browser(), 100, MAX)] {
            let (found, parsed) = looked_at(&requests, request, portion);
            assert_eq!(found, MAX);
            assert!(parsed <= 2 * MAX, "{parsed}");
        }
        for response_bytes in [&hints, &filled(ACCEPTED, 100, MAX)] {
            let (found, parsed) = looked_at(&response, response_bytes, portion);
            assert_eq!(found, MAX);
            assert!(parsed <= 2 * MAX, "{parsed}");
        }
    }
}

#[test]
fn what_an_endless_stranger_costs_is_bounded() {
    // Neither is ever whole.
    for line in [&b"a"[..], b"GET / HTTP/1.1\r\n", b"\n", b"a: b\r\n"] {
        let endless = line.repeat(1024 * 1024 / line.len());
        let mut peer = Peer::new([&endless[..]]);
        // It has time to read the answer.
        assert_pending!(task::spawn(accept(&mut peer, None)).poll());
        assert!(peer.is_closed);
        let read = endless.len() - peer.says.iter().map(Vec::len).sum::<usize>();
        assert!(read <= head::MAX_SIZE + linger::MAX_DISCARDED, "{read}");
    }
}

#[test]
fn who_goes_is_not_answered_and_who_stops_half_way_is() {
    let mut peer = Peer::new([]);
    let error = accepted(&mut peer, None).unwrap_err();
    assert!(matches!(error, HandshakeError::Closed { has_begun: false }));
    assert_eq!(peer.heard(), "");
    let mut peer = Peer::new([&b"GET / HTTP/1.1\r\n"[..]]);
    let error = accepted(&mut peer, None).unwrap_err();
    assert!(matches!(error, HandshakeError::Closed { has_begun: true }));
    assert!(peer.heard().starts_with("HTTP/1.1 400 "));
}

#[test]
fn a_refusal_waits_until_the_other_side_has_gone() {
    let mut peer = Peer::new([&b"\x16\x03\x01\n"[..]]);
    let stays = Rc::clone(&peer.stays);
    stays.set(true);
    let mut accepting = task::spawn(accept(&mut peer, None));
    assert_pending!(accepting.poll());
    stays.set(false);
    assert_ready!(accepting.poll()).unwrap_err();
}

/// The result of one that ends by itself, though the other side stays there and says nothing more.
fn ended<T>(ending: impl Future<Output = T>) -> T {
    let limit = Delay::new(Duration::from_secs(60));
    match block_on(future::select(std::pin::pin!(ending), limit)) {
        Either::Left((result, _)) => result,
        Either::Right(_) => panic!("it waits for the other side"),
    }
}

#[test]
fn nobody_can_hold_up_a_refusal() {
    let mut peer = Peer::new([&b"GET / HTTP/1.1\r\n\r\n"[..]]);
    peer.stays.set(true);
    ended(accept(&mut peer, None)).unwrap_err();
    assert!(peer.is_closed);

    let mut peer = Peer::new([&b"HTTP/1.1 503 No\r\n\r\nbusy"[..]]);
    peer.stays.set(true);
    let error = ended(request(&mut peer, "a", &Path::new("/"))).unwrap_err();
    assert!(error.to_string().ends_with(" answered 503 No: busy"));
}

#[test]
fn a_silent_stranger_holds_no_buffer() {
    let mut peer = Peer::new([]);
    peer.stays.set(true);
    let accepting = accept(&mut peer, None);
    let size = size_of_val(&accepting);
    assert!(size < 512, "{size}");
    let mut accepting = task::spawn(accepting);
    assert_pending!(accepting.poll());
}

/// What becomes of a request with the nonce of the RFC's example, and what follows the response.
fn answered(response: &[u8]) -> Result<(Response, Vec<u8>), HandshakeError> {
    let request = client::Request::new(NONCE);
    let mut head = Head::default();
    match head.on_bytes(response, &request)? {
        Some(response) => Ok((response, head.into_rest())),
        None => Err(head.on_end::<client::Request>()),
    }
}

fn response(from: &str, to: &str) -> Vec<u8> {
    assert_eq!(ACCEPTED.matches(from).count(), 1, "{from}");
    ACCEPTED.replace(from, to).into_bytes()
}

#[test]
fn a_request_is_what_libp2p_websocket_sends() {
    let request = client::Request::new(NONCE);
    assert_eq!(
        request.text("server.example.com:81", "/chat"),
        format!(
            "GET /chat HTTP/1.1\r\nHost: server.example.com:81\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
    );
}

#[test]
fn what_follows_the_response_belongs_to_the_stream_wherever_it_is_cut() {
    let hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n";
    for (before, behind) in [
        (&b""[..], &b""[..]),
        (b"", b"\x82\x03abc"),
        (b"", b"\r\n\r\n"),
        (hints, b"\x82\x03abc"),
    ] {
        let all = [before, ACCEPTED.as_bytes(), behind].concat();
        for cut in 1..=all.len() {
            let mut head = Head::default();
            let request = client::Request::new(NONCE);
            let (first, second) = all.split_at(cut);
            let mut after = second.to_vec();
            let mut answer = head.on_bytes(first, &request).unwrap();
            if answer.is_none() {
                answer = head.on_bytes(second, &request).unwrap();
                after.clear();
            }
            assert_eq!(answer, Some(Response::Accepted));
            assert_eq!([head.into_rest(), after].concat(), behind);
        }
    }
}

#[test]
fn a_response_is_accepted_or_followed() {
    for accepted in [
        response("Connection: Upgrade", "connection: keep-alive, upgrade"),
        response(
            "Upgrade: websocket",
            "upgrade: WebSocket\r\nServer: a\r\nSec-WebSocket-Protocol: ",
        ),
        response("Switching Protocols", ""),
    ] {
        let accepted = answered(&accepted).unwrap();
        assert_eq!(accepted, (Response::Accepted, Vec::new()));
    }
    for status in [301, 302, 303, 307, 308] {
        for version in ["1.0", "1.1"] {
            let redirect =
                format!("HTTP/{version} {status} Go\r\nLocation: ws://a.example/b\r\n\r\n");
            let location = Response::Redirected("ws://a.example/b".to_owned());
            let answered = answered(redirect.as_bytes()).unwrap();
            assert_eq!(answered, (location, Vec::new()));
        }
    }
}

#[test]
fn a_response_that_will_not_do_is_an_error() {
    for (response, error) in [
        (
            response("1.1", "1.0"),
            r#"HttpVersion { version: "HTTP/1.0" }"#,
        ),
        (
            response("1.1 101", "2 200"),
            r#"HttpVersion { version: "HTTP/2" }"#,
        ),
        (
            response("Upgrade: w", "Upgrade : w"),
            "Malformed(HeaderName)",
        ),
        (
            response("101 Switching Protocols", "301 Moved"),
            r#"MissingHeader { name: "Location" }"#,
        ),
        (
            response("Connection: Upgrade\r\n", ""),
            r#"MissingHeader { name: "Connection" }"#,
        ),
        (
            response("websocket", "h2c"),
            r#"UnexpectedHeader { name: "Upgrade", value: "h2c" }"#,
        ),
        (
            response("s3pP", "t3pP"),
            r#"UnexpectedHeader { name: "Sec-WebSocket-Accept", value: "t3pPLMBiTxaQ9kYGzzhZRbK+xOo=" }"#,
        ),
        (
            response(
                "Connection",
                "Sec-WebSocket-Extensions: permessage-deflate\r\nConnection",
            ),
            r#"UnexpectedHeader { name: "Sec-WebSocket-Extensions", value: "permessage-deflate" }"#,
        ),
        (
            response("Connection", "Sec-WebSocket-Protocol: chat\r\nConnection"),
            r#"UnexpectedHeader { name: "Sec-WebSocket-Protocol", value: "chat" }"#,
        ),
    ] {
        assert_eq!(format!("{:?}", answered(&response).unwrap_err()), error);
    }
}

#[test]
fn a_server_that_goes_away_is_an_error() {
    let mut peer = Peer::new([&b"HTTP/1.1 101"[..]]);
    let error = block_on(request(&mut peer, "a", &Path::new("/"))).unwrap_err();
    assert!(matches!(error, HandshakeError::Closed { has_begun: true }));
    assert!(peer.heard().starts_with("GET / HTTP/1.1\r\nHost: a\r\n"));
}

/// The result of a dial with this response.
fn dialled(answer: &[u8]) -> HandshakeError {
    let mut peer = Peer::new(answer.chunks(10));
    block_on(request(&mut peer, "a", &Path::new("/"))).unwrap_err()
}

#[test]
fn what_proxies_and_other_servers_answer_is_told() {
    let answered = |text| format!("the other side did not switch to WebSocket and answered {text}");
    for (answer, error) in [
        (
            &b"HTTP/1.0 503 Service Unavailable\r\nCache-Control: no-cache\r\n\r\n\
               <html><body><h1>503 Service Unavailable</h1>\n\
               No server is available to handle this request.\n</body></html>\n"[..],
            answered(
                "503 Service Unavailable: <html><body><h1>503 Service Unavailable</h1> No server \
                 is available to handle this request. </body></html>",
            ),
        ),
        (
            b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\
              Content-Length: 0\r\n\r\n",
            answered("407 Proxy Authentication Required"),
        ),
        (
            b"HTTP/1.1 503 Service Unavailable\r\ntransfer-encoding: chunked\r\n\r\n\
              13\r\nno healthy upstream\r\n0\r\n\r\n",
            answered("503 Service Unavailable: no healthy upstream"),
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok, and this is behind it",
            answered("200 OK: ok"),
        ),
        (
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 400\r\n\r\nno",
            answered("400: no"),
        ),
        (
            b"HTTP/1.0 400 Bad Request\r\n\r\n\
              Client sent an HTTP request to an HTTPS server.\n",
            answered("400 Bad Request: Client sent an HTTP request to an HTTPS server."),
        ),
        (
            b"HTTP/1.1 403 Forbidden\r\n\r\n\x1b]0;title\x07\r\nlevel=error\x00\xff\xe2\x80\xae",
            answered(r"403 Forbidden: \u{1b}]0;title\u{7} level=error\0\xff\u{202e}"),
        ),
        (
            b"HTTP/1.1 403 Forbidden\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b\x08",
            answered("403 Forbidden"),
        ),
        (
            b"HTTP/2 200\r\n\r\n",
            "the HTTP version is HTTP/2, not HTTP/1.1".to_owned(),
        ),
        (
            b"<html>\n<title>0.9</title>",
            "the other side does not speak HTTP/1.1: what came begins with \"<html>\\n\""
                .to_owned(),
        ),
        (
            b"220 mail.example.com ESMTP\r\n",
            "the other side does not speak HTTP/1.1: what came begins with \"220 mail.example.com \
             ESMTP\\r\\n\""
                .to_owned(),
        ),
        (
            b"gone",
            "the other side does not speak HTTP/1.1: what came begins with \"gone\"".to_owned(),
        ),
        (
            b"SSH-2.0-OpenSSH_9.2p1\r\n",
            "the other side speaks SSH, not HTTP/1.1".to_owned(),
        ),
        (
            b"\x15\x03\x03\0\x02\x02\x16",
            "the other side speaks TLS, not HTTP/1.1".to_owned(),
        ),
        (
            b"\0\0\x12\x04\0\0\0\0\0",
            "the other side speaks HTTP/2, not HTTP/1.1".to_owned(),
        ),
        (
            b"\0\0\x08\x07\0\0\0\0\0",
            "the other side speaks HTTP/2, not HTTP/1.1".to_owned(),
        ),
        (
            b"\x13/multistream/1.0.0\n",
            "the other side speaks libp2p without WebSocket, not HTTP/1.1".to_owned(),
        ),
    ] {
        assert_eq!(dialled(answer).to_string(), error);
    }
    let long = [&b"HTTP/1.1 500 No\r\n\r\n"[..], &[b'a'; 100_000]].concat();
    assert!(dialled(&long).to_string().ends_with(&"a".repeat(200)));
}

#[test]
fn what_does_not_speak_http_is_not_waited_for() {
    let mut text = vec![b'a'; 64];
    for start in [&b"SSH-2.0-a\r\n"[..], b"\x15\x03\x03\0", &text] {
        let mut peer = Peer::new([start]);
        peer.stays.set(true);
        let mut requesting = task::spawn(async { request(&mut peer, "a", &Path::new("/")).await });
        let error = assert_ready!(requesting.poll()).unwrap_err();
        assert!(matches!(error, HandshakeError::NotHttp { .. }), "{error:?}");
    }
    let mut peer = Peer::new([&b"HTTP/9 200 OK\r\n"[..]]);
    peer.stays.set(true);
    let mut tunnelling = task::spawn(async { tunnel(&mut peer, "a:1", None).await });
    assert_ready!(tunnelling.poll()).unwrap_err();

    // In pieces, behind empty lines.
    let (first, second) = text.split_at(60);
    let mut peer = Peer::new([&b"\r\n\r\n"[..], first, second]);
    peer.stays.set(true);
    let mut requesting = task::spawn(async { request(&mut peer, "a", &Path::new("/")).await });
    assert_ready!(requesting.poll()).unwrap_err();

    text.pop();
    for start in [&b"HTTP/1.1 "[..], b"HT", b"\x15\x03\x03", &text] {
        let mut peer = Peer::new([start]);
        peer.stays.set(true);
        let mut requesting = task::spawn(async { request(&mut peer, "a", &Path::new("/")).await });
        assert_pending!(requesting.poll());
    }
}
