//! CORE: received frames are turned into their payload, in place.

use crate::websocket::stream::{
    ProtocolError,
    close::{self, Code},
    frame::{Header, MAX_CONTROL, MAX_HEADER, Opcode, Role, header_length},
    mask::Mask,
};

/// Decodes received bytes.
///
/// [`on_bytes`](Self::on_bytes) takes them as they arrive, in pieces of any size. Only an incomplete header and the payload
/// of a control frame are kept, so a frame may have any length. The answers for the other direction come from
/// [`take_ping`](Self::take_ping) and [`close`](Self::close).
#[derive(Debug)]
pub(super) struct Reader {
    role: Role,
    state: State,
    /// Whether a message is open: its last frame has not begun.
    in_message: bool,
    /// Allocated with the first control frame that has a payload: most connections have none.
    payloads: Option<Box<Payloads>>,
    /// The length of the last ping's payload. Only the last ping has to be answered (section 5.5.3).
    ping_length: Option<usize>,
    close: Option<Closed>,
}

/// The payloads of control frames.
#[derive(Debug)]
struct Payloads {
    /// That of the frame being received.
    control: [u8; MAX_CONTROL],
    /// Of the last ping.
    ping: [u8; MAX_CONTROL],
}

impl Payloads {
    fn new() -> Box<Self> {
        Box::new(Self {
            control: [0; MAX_CONTROL],
            ping: [0; MAX_CONTROL],
        })
    }
}

/// A received close frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Closed {
    /// Why, if it said so.
    pub(super) code: Option<Code>,
}

#[derive(Debug)]
enum State {
    /// In a header, of which this many bytes were received.
    Header {
        bytes: [u8; MAX_HEADER],
        count: usize,
    },
    Payload {
        left: u64,
        mask: Option<Mask>,
    },
    Control {
        opcode: Opcode,
        length: usize,
        count: usize,
        mask: Option<Mask>,
    },
    /// After a close frame.
    Closed,
}

impl State {
    const START: Self = Self::Header {
        bytes: [0; MAX_HEADER],
        count: 0,
    };
}

impl Reader {
    pub(super) fn new(role: Role) -> Self {
        Self {
            role,
            state: State::START,
            in_message: false,
            payloads: None,
            ping_length: None,
            close: None,
        }
    }

    /// Decodes the next bytes. Their payload is moved to the front of `bytes`. Returns its length, and the rule that was
    /// broken behind it, if any, after which this must not be called again.
    pub(super) fn on_bytes(&mut self, bytes: &mut [u8]) -> (usize, Result<(), ProtocolError>) {
        let (mut from, mut to) = (0, 0);
        while from < bytes.len() {
            match &mut self.state {
                State::Payload { left, mask } => {
                    let there = bytes.len() - from;
                    let count = usize::try_from(*left).map_or(there, |left| left.min(there));
                    match mask {
                        Some(mask) => mask.shift(bytes, from, to, count),
                        None if from == to => {}
                        None => bytes.copy_within(from..from + count, to),
                    }
                    from += count;
                    to += count;
                    // `count` is at most `left`, which is a `u64`.
                    *left -= count as u64;
                    if *left == 0 {
                        self.state = State::START;
                    }
                }
                State::Header {
                    bytes: header,
                    count,
                } => {
                    // Byte by byte, but only until its length is known.
                    let needed = header_length(&header[..*count]);
                    let there = (needed - *count).min(bytes.len() - from);
                    header[*count..*count + there].copy_from_slice(&bytes[from..from + there]);
                    *count += there;
                    from += there;
                    match Header::parse(&header[..*count]) {
                        Ok(None) => {}
                        Ok(Some(header)) => {
                            if let Err(broken) = self.on_header(header) {
                                return (to, Err(broken));
                            }
                        }
                        Err(broken) => return (to, Err(broken)),
                    }
                }
                State::Control {
                    length,
                    count,
                    mask,
                    ..
                } => {
                    let there = (*length - *count).min(bytes.len() - from);
                    let payloads = self.payloads.get_or_insert_with(Payloads::new);
                    let payload = &mut payloads.control[*count..*count + there];
                    payload.copy_from_slice(&bytes[from..from + there]);
                    if let Some(mask) = mask {
                        mask.apply(payload);
                    }
                    *count += there;
                    from += there;
                    if let Err(broken) = self.end_control() {
                        return (to, Err(broken));
                    }
                }
                // "If an endpoint receives a Close frame .. it must not process further data."
                State::Closed => break,
            }
        }
        (to, Ok(()))
    }

    fn on_header(&mut self, header: Header) -> Result<(), ProtocolError> {
        match (self.role, header.mask) {
            (Role::Server, None) => return Err(ProtocolError::NotMasked),
            (Role::Client, Some(_)) => return Err(ProtocolError::Masked),
            _ => {}
        }
        let mask = header.mask.map(Mask::new);
        match header.opcode {
            Opcode::Continuation if !self.in_message => {
                return Err(ProtocolError::NothingToContinue);
            }
            Opcode::Binary if self.in_message => return Err(ProtocolError::Unfinished),
            Opcode::Continuation | Opcode::Binary => {
                self.in_message = !header.is_final;
                self.state = match header.length {
                    0 => State::START,
                    left => State::Payload { left, mask },
                };
            }
            opcode @ (Opcode::Close | Opcode::Ping | Opcode::Pong) => {
                let length = usize::try_from(header.length).unwrap_or(usize::MAX);
                self.state = State::Control {
                    opcode,
                    length: length.min(MAX_CONTROL),
                    count: 0,
                    mask,
                };
                self.end_control()?;
            }
        }
        Ok(())
    }

    /// Processes a complete control frame.
    fn end_control(&mut self) -> Result<(), ProtocolError> {
        let State::Control {
            opcode,
            length,
            count,
            ..
        } = self.state
        else {
            return Ok(());
        };
        if count < length {
            return Ok(());
        }
        self.state = State::START;
        match opcode {
            Opcode::Ping => {
                if let Some(payloads) = &mut self.payloads {
                    payloads.ping = payloads.control;
                }
                self.ping_length = Some(length);
            }
            Opcode::Close => {
                let code = close::parse(payload(&self.payloads, length, |it| &it.control))?;
                self.close = Some(Closed { code });
                self.state = State::Closed;
            }
            // Pongs need no answer (section 5.5.3).
            _ => {}
        }
        Ok(())
    }

    /// Takes the payload of the last ping.
    pub(super) fn take_ping(&mut self) -> Option<&[u8]> {
        let length = self.ping_length.take()?;
        Some(payload(&self.payloads, length, |it| &it.ping))
    }

    /// The close frame, once it was received.
    pub(super) fn close(&self) -> Option<Closed> {
        self.close
    }

    /// Whether neither a frame nor a message is incomplete.
    pub(super) fn is_between_messages(&self) -> bool {
        match self.state {
            State::Header { count, .. } => count == 0 && !self.in_message,
            State::Payload { .. } | State::Control { .. } => false,
            State::Closed => true,
        }
    }
}

/// The first `length` bytes of one of the payloads; empty if they were never allocated.
fn payload(
    payloads: &Option<Box<Payloads>>,
    length: usize,
    which: impl Fn(&Payloads) -> &[u8; MAX_CONTROL],
) -> &[u8] {
    match payloads {
        Some(payloads) => &which(payloads)[..length],
        None => &[],
    }
}

#[cfg(test)]
pub(super) mod tests;
