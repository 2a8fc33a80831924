//! Where a request or a response ends that comes in bit by bit.

use super::error::HandshakeError;

/// How many bytes a request or a response may have up to the end of its headers. Browsers send less than one KiB
/// beside their cookies.
pub(in crate::websocket) const MAX_SIZE: usize = 16 * 1024;

/// How many empty lines may come first. RFC 9112 asks in section 2.2 that one be passed over.
const MAX_EMPTY_LINES: usize = 2;

/// How many bytes of a line of text are awaited before it is refused, for the error to repeat. They are all that such a
/// peer may ever send, if it waits for an answer.
const MAX_TEXT: usize = 64;

/// The same where it is not text: enough to tell what it is.
const MAX_BINARY: usize = 4;

/// What a role makes of the parts of a head.
pub(super) trait Parser {
    /// What a whole head is read as.
    type Message;

    /// What every first line begins with.
    const PREFIX: &'static [u8];

    /// Checks the first line once it is whole, so that whoever does not speak HTTP is not waited for.
    fn check_first_line(&self, line: &[u8]) -> Result<(), HandshakeError>;

    /// Reads a first line with all its headers. `None` if another head follows.
    fn parse(&self, head: &[u8]) -> Result<Option<Self::Message>, HandshakeError>;
}

/// Bytes that come in, of which each is looked at once to find the end of the head. It is parsed when that is there:
/// however they are cut, they cost the same.
#[derive(Debug, Default)]
pub(super) struct Head {
    bytes: Vec<u8>,
    /// Where the message begins: in front of it are those that were only followed by another one.
    begin: usize,
    /// Where the last line begins.
    line: usize,
    /// How many bytes have been looked at.
    scanned: usize,
    has_first_line: bool,
    empty_lines: usize,
    /// How many bytes all calls have looked at.
    #[cfg(test)]
    pub(super) cost: usize,
}

impl Head {
    /// Takes what has come; `None` while the head is not whole.
    ///
    /// What follows the head is left for [`Head::into_rest`].
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

    /// Why that was not all: nothing more will come.
    pub(super) fn on_end<P: Parser>(&self) -> HandshakeError {
        let checked = match self.has_first_line {
            true => Ok(()),
            false => self.check_start::<P>(true),
        };
        checked.err().unwrap_or(HandshakeError::Closed {
            has_begun: !self.bytes.is_empty(),
        })
    }

    /// How many more bytes it takes.
    pub(super) fn room(&self) -> usize {
        MAX_SIZE.saturating_sub(self.bytes.len())
    }

    /// Whether the method of the request is HEAD, so that the answer may have no body.
    pub(super) fn is_of_head(&self) -> bool {
        self.part(self.begin).starts_with(b"HEAD ")
    }

    /// What came behind the head, in no more memory than that takes.
    pub(super) fn into_rest(mut self) -> Vec<u8> {
        self.bytes.drain(..self.begin);
        self.bytes.shrink_to_fit();
        self.bytes
    }

    /// Goes on to the next end of a line, if it has come.
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

    /// Refuses what cannot become a first line, as soon as it is certain and an error has something to tell.
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

    /// From there up to what has been looked at.
    fn part(&self, from: usize) -> &[u8] {
        self.bytes.get(from..self.scanned).unwrap_or_default()
    }
}
