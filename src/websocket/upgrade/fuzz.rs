//! Bytes as a request and as a response, held against what always holds.

use futures::{executor::block_on, io::Cursor};

use super::{
    client::{self, Response},
    error::HandshakeError,
    http::{Head, MAX_SIZE},
    server::{Request, refused},
};
use crate::websocket::path::Path;

/// What becomes of bytes that come in portions.
struct Outcome<R> {
    /// `None` if there is more to come.
    parsed: Option<Result<R, HandshakeError>>,
    /// Those behind it.
    rest: Vec<u8>,
}

/// The size of the portions is in the bytes.
fn read<R>(
    data: &[u8],
    portion: usize,
    parse: impl Fn(&[u8]) -> Result<Option<(R, usize)>, HandshakeError>,
) -> Outcome<R> {
    let mut head = Head::default();
    let mut portions = data.chunks(portion.max(1));
    while let Some(bytes) = portions.next() {
        let parsed = match head.read(bytes, &parse) {
            Ok(None) => continue,
            Ok(Some(parsed)) => Ok(parsed),
            Err(error) => Err(error),
        };
        let mut rest = head.into_rest();
        rest.extend(portions.flatten());
        return Outcome {
            parsed: Some(parsed),
            rest,
        };
    }
    let rest = head.into_rest();
    assert!(rest.len() < MAX_SIZE, "an end to what is kept");
    Outcome { parsed: None, rest }
}

/// The first byte says in which portions the others come, and the second which path the listener has.
pub(crate) fn run_request(data: &[u8]) {
    let [portion, path, data @ ..] = data else {
        return;
    };
    let paths = ["/", "/chat", "/a b?c", ""];
    let path = paths.get(usize::from(*path)).map(|path| Path::new(path));
    let parse = |bytes: &[u8]| Request::parse(bytes, path.as_ref());
    let whole = read(data, data.len(), parse);
    let parts = read(data, usize::from(*portion), parse);
    assert_eq!(format!("{:?}", whole.parsed), format!("{:?}", parts.parsed));
    compare_with_soketto(data, whole.parsed.as_ref());
    let answer = match &whole.parsed {
        Some(Ok(request)) => {
            assert_eq!(whole.rest, parts.rest);
            assert!(data.ends_with(&whole.rest));
            request.accepted()
        }
        Some(Err(error)) => {
            assert!(error.to_string().len() < 500, "{error}");
            refused(error)
        }
        None => return,
    };
    let mut headers = super::http::NO_HEADERS;
    let mut response = httparse::Response::new(&mut headers);
    let size = match response.parse(answer.as_bytes()) {
        Ok(httparse::Status::Complete(size)) => size,
        other => panic!("{other:?} of {answer}"),
    };
    let status = response.code.unwrap_or_default();
    let length = response
        .headers
        .iter()
        .find(|header| header.name == "Content-Length")
        .map(|header| header.value);
    match whole.parsed {
        Some(Ok(_)) => assert_eq!((status, length, size), (101, None, answer.len())),
        _ => {
            assert!((400..600).contains(&status));
            let body = (answer.len() - size).to_string();
            assert_eq!(length, Some(body.as_bytes()));
        }
    }
}

/// What libp2p-websocket makes of the same, and how that may differ.
fn compare_with_soketto(data: &[u8], parsed: Option<&Result<Request, HandshakeError>>) {
    let io = Cursor::new(data.to_vec());
    let mut server = soketto::handshake::Server::new(io);
    let accepted = block_on(server.receive_request());
    match (parsed, accepted) {
        (Some(Ok(_)), Err(error)) => {
            // It knows fewer headers, no lines without a carriage return, and reads only UTF-8.
            let head = data.get(..MAX_SIZE).unwrap_or(data);
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

/// The first byte says in which portions the others come.
pub(crate) fn run_response(data: &[u8]) {
    let Some((portion, data)) = data.split_first() else {
        return;
    };
    let request = client::Request::new(*b"the sample nonce");
    let parse = |bytes: &[u8]| request.parse_response(bytes);
    let whole = read(data, data.len(), parse);
    let parts = read(data, usize::from(*portion), parse);
    assert_eq!(format!("{:?}", whole.parsed), format!("{:?}", parts.parsed));
    match whole.parsed {
        Some(Ok(response)) => {
            assert_eq!(whole.rest, parts.rest);
            assert!(data.ends_with(&whole.rest));
            if let Response::Redirected(location) = response {
                // Whatever it says, it is an address or an error.
                for from in ["/ip4/192.0.2.1/tcp/1/ws", "/dns/a.example/tcp/1/wss"] {
                    redirect(from, &location);
                }
            }
        }
        Some(Err(error)) => assert!(error.to_string().len() < 500, "{error}"),
        None => {}
    }
}

fn redirect(from: &str, location: &str) {
    use crate::websocket::dial::Dial;

    let from = from.parse().expect("an address");
    let Ok(from) = Dial::parse(&from) else {
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
