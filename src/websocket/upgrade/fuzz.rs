//! Bytes as a request and as a response, checked against invariants.

use std::ops::RangeInclusive;

use futures::{executor::block_on, io::Cursor};

use super::{
    client::{self, Response},
    error::HandshakeError,
    head::{Head, Parser},
    http::NO_HEADERS,
    server::{Request, Requests, refused},
    tunnel,
};
use crate::{deadline::SystemTime, websocket::path::Path};

/// The result of bytes that arrive in portions.
struct Outcome<M> {
    /// `None` if more bytes are needed.
    message: Option<Result<M, HandshakeError>>,
    /// Those behind it.
    rest: Vec<u8>,
}

fn read<P: Parser>(data: &[u8], portion: usize, parser: &P) -> Outcome<P::Message> {
    let mut head = Head::default();
    let mut portions = data.chunks(portion.max(1));
    while let Some(bytes) = portions.next() {
        let message = match head.on_bytes(bytes, parser) {
            Ok(None) => continue,
            Ok(Some(message)) => Ok(message),
            Err(error) => Err(error),
        };
        let unread: Vec<u8> = portions.flatten().copied().collect();
        let all = [head.clone().into_bytes(), unread.clone()].concat();
        assert_eq!(all, data, "each byte once");
        let rest = [head.into_rest(), unread].concat();
        return Outcome {
            message: Some(message),
            rest,
        };
    }
    assert!(head.room() > 0, "an end to what is kept");
    let message = match head.on_end::<P>() {
        HandshakeError::Closed { .. } => None,
        error => Some(Err(error)),
    };
    Outcome {
        message,
        rest: Vec::new(),
    }
}

/// The first byte determines the portions of the others, and the second the path of the listener.
pub(crate) fn run_request(data: &[u8]) {
    let [portion, path, data @ ..] = data else {
        return;
    };
    let paths = ["/", "/chat", "/a b?c", ""];
    let only = paths.get(usize::from(*path)).map(|path| Path::new(path));
    let portion = usize::from(*portion);
    let [(whole, parts), (with_visitors, its_parts)] = [false, true].map(|visitors| {
        let only = only.clone();
        let requests = Requests { only, visitors };
        (
            read(data, data.len(), &requests),
            read(data, portion, &requests),
        )
    });
    for (whole, parts) in [(&whole, &parts), (&with_visitors, &its_parts)] {
        assert_eq!(
            format!("{:?}", whole.message),
            format!("{:?}", parts.message)
        );
    }
    match (&with_visitors.message, &whole.message) {
        // What a peer gets does not depend on visitors.
        (Some(Ok(Request::Upgrade(one))), Some(Ok(Request::Upgrade(other)))) => {
            assert_eq!(one, other);
        }
        (Some(Ok(Request::Visit { method, path })), Some(Err(_))) => {
            let is_clean = |text: &str| !text.is_empty() && !text.contains(char::is_whitespace);
            assert!(is_clean(method) && is_clean(path), "{method:?} {path:?}");
        }
        (Some(Err(_)), Some(Err(_))) | (None, None) => {}
        (with, without) => panic!("{with:?} with visitors, and {without:?} without"),
    }
    compare_with_soketto(data, whole.message.as_ref());
    match &whole.message {
        Some(Ok(Request::Upgrade(request))) => {
            assert_eq!(whole.rest, parts.rest);
            assert!(data.ends_with(&whole.rest));
            answers(&request.accepted(), 101..=101, None);
        }
        Some(Err(error)) => {
            assert!(error.to_string().len() < 500, "{error}");
            for is_head in [false, true] {
                let answer = refused(error, is_head, SystemTime::UNIX_EPOCH);
                answers(&answer, 400..=599, Some(is_head));
            }
        }
        Some(Ok(Request::Visit { .. })) | None => {}
    }
}

/// An answer is complete, and its body has the declared length.
fn answers(answer: &str, expected: RangeInclusive<u16>, is_head: Option<bool>) {
    let mut headers = NO_HEADERS;
    let mut response = httparse::Response::new(&mut headers);
    let size = match response.parse(answer.as_bytes()) {
        Ok(httparse::Status::Complete(size)) => size,
        other => panic!("{other:?} of {answer}"),
    };
    assert!(expected.contains(&response.code.unwrap_or_default()));
    let body = answer.len() - size;
    let length = response
        .headers
        .iter()
        .find(|header| header.name == "Content-Length")
        .map(|header| String::from_utf8_lossy(header.value).into_owned());
    match is_head {
        None => assert_eq!((length, body), (None, 0)),
        Some(false) => assert_eq!(length, Some(body.to_string())),
        Some(true) => assert!(length.is_some() && body == 0),
    }
}

/// The result of libp2p-websocket for the same bytes, and the permitted differences.
fn compare_with_soketto(data: &[u8], message: Option<&Result<Request, HandshakeError>>) {
    let io = Cursor::new(data.to_vec());
    let mut server = soketto::handshake::Server::new(io);
    let accepted = block_on(server.receive_request());
    match (message, accepted) {
        (Some(Ok(_)), Err(error)) => {
            // It accepts fewer headers in a shorter head, no lines without a carriage return, and only UTF-8.
            let head = data.get(..8 * 1024).unwrap_or(data);
            let has_end = head.windows(4).any(|bytes| bytes == b"\r\n\r\n");
            let lines = head.iter().filter(|byte| **byte == b'\n').count();
            assert!(!has_end || lines > 32 || !data.is_ascii(), "{error}");
        }
        (Some(Err(error)), Ok(_)) => assert!(
            matches!(
                error,
                HandshakeError::Body
                    | HandshakeError::NotFound { .. }
                    | HandshakeError::UnexpectedHeader { .. }
                    | HandshakeError::WebSocketVersion { .. }
            ) || data.starts_with(b"\r")
                || data.starts_with(b"\n"),
            "{error}"
        ),
        (None, Ok(_)) => panic!("soketto has enough"),
        _ => {}
    }
}

/// The first byte determines the portions of the others.
pub(crate) fn run_response(data: &[u8]) {
    let Some((portion, data)) = data.split_first() else {
        return;
    };
    let request = client::Request::new(*b"the sample nonce");
    let portion = usize::from(*portion);
    let whole = read(data, data.len(), &request);
    let parts = read(data, portion, &request);
    assert_eq!(
        format!("{:?}", whole.message),
        format!("{:?}", parts.message)
    );
    let message = match (whole.message, parts.message) {
        (Some(Ok(message)), Some(Ok(_))) => message,
        (Some(Err(error)), _) => {
            assert!(error.to_string().len() < 500, "{error}");
            return;
        }
        _ => return,
    };
    assert_eq!(whole.rest, parts.rest);
    assert!(data.ends_with(&whole.rest));
    match message {
        Response::Accepted => {}
        Response::Redirected(location) => {
            // Any redirect is an address or an error.
            for from in ["/ip4/192.0.2.1/tcp/1/ws", "/dns/a.example/tcp/1/wss"] {
                redirect(from, &location);
            }
        }
        Response::Refused(refusal) => {
            let refusals = [whole.rest.len(), portion].map(|portion| {
                let mut refusal = refusal.clone();
                let portions = whole.rest.chunks(portion.max(1));
                portions.for_each(|bytes| refusal.body.on_bytes(bytes));
                HandshakeError::from(refusal).to_string()
            });
            assert_eq!(refusals[0], refusals[1]);
            assert!(refusals[0].len() < 500 && !refusals[0].contains(char::is_control));
        }
    }
}

/// The first byte determines the portions of the others.
pub(crate) fn run_tunnel(data: &[u8]) {
    let Some((portion, data)) = data.split_first() else {
        return;
    };
    let whole = read(data, data.len(), &tunnel::Responses);
    let parts = read(data, usize::from(*portion), &tunnel::Responses);
    assert_eq!(
        format!("{:?}", whole.message),
        format!("{:?}", parts.message)
    );
    match whole.message {
        Some(Ok(())) => {
            assert_eq!(whole.rest, parts.rest);
            // Interim responses, and the one after which the tunnel begins.
            let mut left = data;
            loop {
                let mut headers = NO_HEADERS;
                let mut response = httparse::Response::new(&mut headers);
                let parsed = response.parse(left);
                let Ok(httparse::Status::Complete(size)) = parsed else {
                    panic!("{parsed:?}");
                };
                left = &left[size..];
                match response.code {
                    Some(200..300) => break,
                    code => assert!(matches!(code, Some(100 | 102..200)), "{code:?}"),
                }
            }
            assert_eq!(left, whole.rest);
        }
        Some(Err(error)) => {
            let text = error.to_string();
            assert!(
                text.len() < 500 && !text.contains(char::is_control),
                "{text}"
            );
        }
        None => {}
    }
}

fn redirect(from: &str, location: &str) {
    use crate::websocket::target::Request;

    let from = from.parse().expect("an address");
    let Ok(from) = Request::parse(&from, false) else {
        panic!("{from} can be dialled");
    };
    if let Ok(to) = from.redirected(location) {
        let line = [to.host.as_str(), to.path.as_str()];
        assert!(
            line.iter()
                .all(|part| part.bytes().all(|byte| byte.is_ascii_graphic()))
        );
        assert!(to.tls.is_some() || from.tls.is_none());
    }
}
