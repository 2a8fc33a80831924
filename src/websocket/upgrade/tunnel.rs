//! CORE: the request for a tunnel through an HTTP proxy, and its response: RFC 9110, section 9.3.6.

use base64::{Engine as _, prelude::BASE64_STANDARD};

use super::{
    client::check_status_line,
    error::{HandshakeError, quoted},
    head::Parser,
    http::{NO_HEADERS, expect_whole},
};

/// The bytes to send. The authority has only characters that are valid in a request.
pub(super) fn request(authority: &str, credentials: Option<(&str, &str)>) -> String {
    let mut text = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n");
    if let Some((user, password)) = credentials {
        text.push_str("Proxy-Authorization: Basic ");
        BASE64_STANDARD.encode_string(format!("{user}:{password}"), &mut text);
        text.push_str("\r\n");
    }
    text + "\r\n"
}

/// The responses to it.
pub(super) struct Responses;

impl Parser for Responses {
    type Message = ();

    const PREFIX: &'static [u8] = b"HTTP/";

    fn check_first_line(&self, line: &[u8]) -> Result<(), HandshakeError> {
        check_status_line(line)
    }

    /// Interim responses are skipped. After any other of 2xx the tunnel begins, whatever its headers say of a body.
    fn parse(&self, head: &[u8]) -> Result<Option<()>, HandshakeError> {
        let mut headers = NO_HEADERS;
        let mut response = httparse::Response::new(&mut headers);
        expect_whole(response.parse(head), head)?;
        match response.code.unwrap_or_default() {
            100 | 102..200 => Ok(None),
            200..300 => Ok(Some(())),
            status => Err(HandshakeError::Refused {
                status,
                reason: quoted(response.reason.unwrap_or_default().as_bytes()),
                body: String::new(),
            }),
        }
    }
}
