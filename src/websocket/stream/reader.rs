//! What comes in: frames become the bytes that they carry, in the place where they are.

use crate::websocket::stream::{
    ProtocolError,
    close::{self, Code},
    frame::{Header, MAX_CONTROL, MAX_HEADER, Opcode, Role, header_length},
    mask::Mask,
};

/// Decides what the bytes that come in mean.
///
/// They are given to [`on_bytes`](Self::on_bytes) as they arrive, cut anywhere. Nothing is kept of them but a header
/// that is not whole and the payload of a control frame, so a frame may be of any length. What they ask of the other
/// direction is taken from [`take_ping`](Self::take_ping) and [`close`](Self::close).
#[derive(Debug)]
pub(super) struct Reader {
    role: Role,
    state: State,
    /// Whether a message has begun and its last frame has not.
    in_message: bool,
    /// There from the first control frame on that carries anything: most connections have none.
    payloads: Option<Box<Payloads>>,
    /// How many bytes of the last ping's payload count. Only the last has to be answered (section 5.5.3).
    ping_length: Option<usize>,
    close: Option<Closed>,
}

/// What control frames carry.
#[derive(Debug)]
struct Payloads {
    /// Of the one that is coming in.
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

/// The other side has said that it will send nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Closed {
    /// Why, if it said so.
    pub(super) code: Option<Code>,
}

#[derive(Debug)]
enum State {
    /// In a header, of which there are so many bytes.
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
    /// Behind a close frame.
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

    /// The next bytes have come. What they carry is moved to the front of `bytes`, as far as it goes; returns how many
    /// that are, and the rule that was broken behind them, if one was. After that it is not to be called again.
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
                    // Not larger than `left`, which is one.
                    *left -= count as u64;
                    if *left == 0 {
                        self.state = State::START;
                    }
                }
                State::Header {
                    bytes: header,
                    count,
                } => {
                    // Byte by byte only as far as it takes to know how long it is.
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

    /// Takes up a control frame that is whole.
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
            // One that nobody asked for is nothing (section 5.5.3).
            _ => {}
        }
        Ok(())
    }

    /// The payload of the last ping, once.
    pub(super) fn take_ping(&mut self) -> Option<&[u8]> {
        let length = self.ping_length.take()?;
        Some(payload(&self.payloads, length, |it| &it.ping))
    }

    /// The close frame, once it has come.
    pub(super) fn close(&self) -> Option<Closed> {
        self.close
    }

    /// Whether nothing is missing: neither the rest of a frame nor the rest of a message.
    pub(super) fn is_between_messages(&self) -> bool {
        match self.state {
            State::Header { count, .. } => count == 0 && !self.in_message,
            State::Payload { .. } | State::Control { .. } => false,
            State::Closed => true,
        }
    }
}

/// The first `length` bytes of one of the payloads, of which there are none if nothing was ever carried.
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
