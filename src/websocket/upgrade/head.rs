//! CORE: finds the end of a request or a response that arrives in pieces.

use super::error::HandshakeError;

/// Maximum size of a request or a response up to the end of its headers. Browsers send less than one KiB
/// beside their cookies.
pub(in crate::websocket) const MAX_SIZE: usize = 16 * 1024;

/// Maximum number of empty lines before it. RFC 9112, section 2.2, asks to ignore one.
const MAX_EMPTY_LINES: usize = 2;

/// Number of bytes of a line of text that are awaited before it is refused, for the error to repeat. Such a peer may never
/// send more if it waits for an answer.
const MAX_TEXT: usize = 64;

/// The same for bytes that are not text: enough to recognise the protocol.
const MAX_BINARY: usize = 4;

/// How a role reads the parts of a head.
pub(super) trait Parser {
    /// The result of a complete head.
    type Message;

    /// The beginning of every first line.
    const PREFIX: &'static [u8];

    /// Checks the first line once it is complete, so that a peer that does not speak HTTP is refused at once.
    fn check_first_line(&self, line: &[u8]) -> Result<(), HandshakeError>;

    /// Reads a first line with all its headers. `None` if another head follows.
    fn parse(&self, head: &[u8]) -> Result<Option<Self::Message>, HandshakeError>;
}

/// Received bytes. Each is examined once to find the end of the head, which is then parsed, so the cost does not depend on
/// the pieces.
#[derive(Debug, Default)]
#[cfg_attr(any(test, fuzzing), derive(Clone))]
pub(super) struct Head {
    bytes: Vec<u8>,
    /// The start of the message, after interim ones.
    begin: usize,
    /// The start of the last line.
    line: usize,
    /// The number of bytes examined.
    scanned: usize,
    has_first_line: bool,
    empty_lines: usize,
    /// The number of bytes examined by all calls.
    #[cfg(test)]
    pub(super) cost: usize,
}

impl Head {
    /// Takes received bytes; `None` while the head is incomplete.
    ///
    /// The bytes after the head are left for [`Head::into_rest`].
    pub(super) fn on_bytes<P: Parser>(
        &mut self,
        bytes: &[u8],
        parser: &P,
    ) -> Result<Option<P::Message>, HandshakeError> {
        self.bytes.extend_from_slice(bytes);
        loop {
            let seen = self.scanned - self.line;
            let has_line = self.find_line_end();
            if !self.has_first_line && seen < MAX_TEXT {
                self.check_start::<P>(has_line)?;
            }
            if !has_line {
                return if self.scanned < MAX_SIZE {
                    Ok(None)
                } else {
                    Err(HandshakeError::TooLarge { max: MAX_SIZE })
                };
            }
            let is_empty = matches!(self.part(self.line), b"\n" | b"\r\n");
            self.line = self.scanned;
            match (self.has_first_line, is_empty) {
                (false, true) => {
                    self.empty_lines += 1;
                    if self.empty_lines > MAX_EMPTY_LINES {
                        return Err(HandshakeError::not_http(self.part(self.begin)));
                    }
                }
                (false, false) => {
                    parser.check_first_line(self.part(self.begin))?;
                    self.has_first_line = true;
                }
                (true, false) => {}
                (true, true) => {
                    let message = parser.parse(self.part(self.begin))?;
                    self.begin = self.scanned;
                    self.has_first_line = false;
                    self.empty_lines = 0;
                    if message.is_some() {
                        return Ok(message);
                    }
                }
            }
        }
    }

    /// The error at the end of the connection, before the head was complete.
    pub(super) fn on_end<P: Parser>(&self) -> HandshakeError {
        let checked = match self.has_first_line {
            true => Ok(()),
            false => self.check_start::<P>(true),
        };
        checked.err().unwrap_or(HandshakeError::Closed {
            has_begun: !self.bytes.is_empty(),
        })
    }

    /// The number of bytes that still fit.
    pub(super) fn room(&self) -> usize {
        MAX_SIZE.saturating_sub(self.bytes.len())
    }

    /// Whether the method of the request is HEAD, so that the answer may have no body.
    pub(super) fn is_of_head(&self) -> bool {
        self.bytes.trim_ascii_start().starts_with(b"HEAD ")
    }

    /// All received bytes.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// The bytes after the head, in an allocation of their size.
    pub(super) fn into_rest(mut self) -> Vec<u8> {
        self.bytes.drain(..self.begin);
        self.bytes.shrink_to_fit();
        self.bytes
    }

    /// Advances to the next end of a line, if it was received.
    fn find_line_end(&mut self) -> bool {
        let end = self.bytes.len().min(MAX_SIZE);
        let new = self.bytes.get(self.scanned..end).unwrap_or_default();
        let found = new.iter().position(|byte| *byte == b'\n');
        let count = found.map_or(new.len(), |at| at + 1);
        self.scanned += count;
        #[cfg(test)]
        {
            self.cost += count;
        }
        found.is_some()
    }

    /// Refuses bytes that cannot become a first line, as soon as that is certain and an error can name the protocol.
    fn check_start<P: Parser>(&self, is_over: bool) -> Result<(), HandshakeError> {
        let line = self.part(self.line);
        let is_text = matches!(line.first(), None | Some(b' '..=b'~'));
        if matches!(line, b"\r" | b"\n" | b"\r\n")
            || is_text && (line.starts_with(P::PREFIX) || P::PREFIX.starts_with(line))
        {
            return Ok(());
        }
        let awaited = if is_text { MAX_TEXT } else { MAX_BINARY };
        if line.len() < awaited && !is_over {
            return Ok(());
        }
        let end = self.scanned.min(self.line + awaited);
        let start = self.bytes.get(self.begin..end).unwrap_or_default();
        Err(HandshakeError::not_http(start))
    }

    /// The bytes from there to the last examined one.
    fn part(&self, from: usize) -> &[u8] {
        self.bytes.get(from..self.scanned).unwrap_or_default()
    }
}
