use std::{collections::VecDeque, pin::Pin, task::Context};

use futures::executor::block_on;
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
    stays: bool,
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
            return match self.stays {
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
    let long = format!("GET /{}", "a".repeat(http::MAX_SIZE));
    let many = "a: b\r\n".repeat(http::MAX_HEADERS + 1);
    let blank = "\r\n".repeat(http::MAX_SIZE);
    for (request, status, error) in [
        (with("GET", "POST"), 405, r#"Method { method: "POST" }"#),
        (with("HTTP/1.1", "HTTP/1.0"), 505, "HttpVersion"),
        (with("HTTP/1.1", "HTTP/2"), 400, "Malformed(Version)"),
        (with("GET /chat", "\x16\x03\x01"), 400, "Malformed(Token)"),
        (with("GET", "\r\n\r\n\nGET"), 400, "Malformed(NewLine)"),
        (blank.into_bytes(), 400, "Malformed(NewLine)"),
        (with("Pragma", "Pra gma"), 400, "Malformed(HeaderName)"),
        (
            with("no-cache\r\nUser", "\0\r\nUser"),
            400,
            "Malformed(HeaderValue)",
        ),
        (long.into_bytes(), 431, "TooLarge"),
        (
            with("Pragma", &format!("{many}Pragma")),
            431,
            "TooManyHeaders",
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
            assert_eq!(
                heard.contains("Sec-WebSocket-Version: 13\r\n"),
                status == 426
            );
            assert_eq!(heard.contains("Allow: GET\r\n"), status == 405);
        }
    }
}

#[test]
fn what_an_endless_stranger_costs_is_bounded() {
    // Neither is ever whole.
    for line in [&b"a"[..], b"GET / HTTP/1.1\r\n", b"\n", b"a: b\r\n"] {
        let endless = line.repeat(1024 * 1024);
        let mut peer = Peer::new([&endless[..]]);
        accepted(&mut peer, None).unwrap_err();
        let read = endless.len() - peer.says.iter().map(Vec::len).sum::<usize>();
        assert!(read <= http::MAX_SIZE + MAX_READ + MAX_DISCARDED, "{read}");
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
fn a_refusal_does_not_wait_for_whoever_stays() {
    let mut peer = Peer::new([&b"\x16\x03\x01\n"[..]]);
    peer.stays = true;
    let mut accepting = task::spawn(accept(&mut peer, None));
    assert_ready!(accepting.poll()).unwrap_err();
}

#[test]
fn a_silent_stranger_holds_no_buffer() {
    let mut peer = Peer::new([]);
    peer.stays = true;
    let accepting = accept(&mut peer, None);
    let size = size_of_val(&accepting);
    assert!(size < 512, "{size}");
    let mut accepting = task::spawn(accepting);
    assert_pending!(accepting.poll());
}

/// What becomes of a request with the nonce of the RFC's example.
fn answered(response: &[u8]) -> Result<Option<(client::Response, usize)>, HandshakeError> {
    client::Request::new(NONCE).parse_response(response)
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
            let mut answer = head
                .read(first, |bytes| request.parse_response(bytes))
                .unwrap();
            if answer.is_none() {
                answer = head
                    .read(second, |bytes| request.parse_response(bytes))
                    .unwrap();
                after.clear();
            }
            assert_eq!(answer, Some(client::Response::Accepted));
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
        let size = accepted.len();
        assert_eq!(
            answered(&accepted).unwrap(),
            Some((client::Response::Accepted, size))
        );
    }
    for status in [301, 302, 303, 307, 308] {
        let redirect = format!("HTTP/1.1 {status} Go\r\nLocation: ws://a.example/b\r\n\r\n");
        let location = client::Response::Redirected("ws://a.example/b".to_owned());
        assert_eq!(
            answered(redirect.as_bytes()).unwrap(),
            Some((location, redirect.len()))
        );
    }
}

#[test]
fn a_response_that_will_not_do_is_an_error() {
    for (response, error) in [
        (b"SSH-2.0-OpenSSH\r\n".to_vec(), "Malformed(Version)"),
        (response("1.1", "1.0"), "HttpVersion"),
        (
            response("101 Switching Protocols", "200 OK"),
            "Refused { status: 200 }",
        ),
        (
            response("101 Switching Protocols", "300 Several"),
            "Refused { status: 300 }",
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
