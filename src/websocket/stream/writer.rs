//! CORE: written bytes are turned into frames, assembled in one buffer.

use crate::websocket::{
    pool::{Buffer, Pool},
    stream::{
        close::Code,
        frame::{Header, MAX_CONTROL, MAX_SHORT, Opcode, Role},
        mask::Mask,
    },
};

/// The longest payload of one frame. At most [`MAX_SHORT`], so that the size of the header is known before the payload.
/// Several fit into a buffer, so that a peer that waits for whole messages gets the first one early.
const MAX_PAYLOAD: usize = MAX_SHORT;

/// The usual offset of the payload of the first frame in a buffer.
const FIRST_PAYLOAD: usize = 64;

/// glibc copies ten times more slowly if the offset of the destination within a page is this little above that of the
/// source.
const SLOW: std::ops::Range<usize> = 1..256;
const PAGE: usize = 4096;

/// Space at the end of a buffer for a ping without payload, a pong and a close frame, all masked.
const CONTROL_ROOM: usize = (2 + 4) + 2 * (2 + 4 + MAX_CONTROL);

/// Decides which frames are sent, and in which order.
///
/// [`append`](Self::append) adds bytes to the open frame. [`seal`](Self::seal) ends it, and sealed frames can be sent:
/// [`sealed`](Self::sealed) and [`on_sent`](Self::on_sent). A control frame seals the open one, because it cannot be inside
/// another frame.
#[derive(Debug)]
pub(super) struct Writer {
    role: Role,
    pool: &'static Pool,
    /// Lent while it is not empty.
    buffer: Option<Buffer>,
    /// Sent up to here,
    sent: usize,
    /// sendable up to here,
    sealed: usize,
    /// and filled up to here, by the open frame if there is one.
    end: usize,
    open: Option<Open>,
    /// Whether a ping is due that is not in the buffer yet.
    ping: bool,
    /// The pong that is not in the buffer yet: its payload, and the length of it.
    pong: Option<([u8; MAX_CONTROL], u8)>,
    /// Whether the buffer has an unsent ping, and an unsent pong. The next one waits, so that they cannot fill the buffer.
    has_ping: bool,
    has_pong: bool,
    close: Close,
}

#[derive(Debug)]
struct Open {
    payload: usize,
    /// The original key, and the one rotated to the next byte.
    masks: Option<(Mask, Mask)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Close {
    No,
    Due(Option<Code>),
    Sealed,
}

impl Writer {
    pub(super) fn new(role: Role, pool: &'static Pool) -> Self {
        Self {
            role,
            pool,
            buffer: None,
            sent: 0,
            sealed: 0,
            end: 0,
            open: None,
            ping: false,
            pong: None,
            has_ping: false,
            has_pong: false,
            close: Close::No,
        }
    }

    /// Whether a close frame follows, after which no bytes are taken.
    pub(super) fn is_closing(&self) -> bool {
        self.close != Close::No
    }

    /// Whether bytes are to be sent without a flush: the rest of a sealed frame, or a control frame.
    pub(super) fn has_to_send(&self) -> bool {
        self.sent < self.sealed
            || self.ping
            || self.pong.is_some()
            || matches!(self.close, Close::Due(_))
    }

    /// Adds as many of `bytes` as fit, and returns the number. `key` creates the mask of a new frame.
    pub(super) fn append(&mut self, mut bytes: &[u8], key: impl Fn() -> [u8; 4]) -> usize {
        debug_assert!(!self.is_closing(), "nothing follows a close frame");
        let mut taken = 0;
        while !bytes.is_empty() {
            let room = self.room_in_frame(bytes, &key);
            if room == 0 {
                break;
            }
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            let (Some(buffer), Some(open)) = (&mut self.buffer, &mut self.open) else {
                break;
            };
            let to = &mut buffer[self.end..self.end + now.len()];
            match &mut open.masks {
                Some((_, mask)) => mask.copy(now, to),
                None => to.copy_from_slice(now),
            }
            self.end += now.len();
            taken += now.len();
            bytes = later;
        }
        taken
    }

    /// The space left in the open frame, which is begun if there is none.
    fn room_in_frame(&mut self, bytes: &[u8], key: impl Fn() -> [u8; 4]) -> usize {
        if let Some(open) = &self.open
            && self.end - open.payload == MAX_PAYLOAD
        {
            self.seal();
        }
        let buffer = self.buffer.get_or_insert_with(|| self.pool.lend());
        let limit = buffer.len() - CONTROL_ROOM;
        let payload = match &self.open {
            Some(open) => open.payload,
            None => {
                let payload = if self.end == 0 {
                    first_payload(buffer, bytes)
                } else {
                    self.end + header_room(self.role)
                };
                // At least a little of it.
                if payload + MAX_CONTROL > limit {
                    return 0;
                }
                if self.end == 0 {
                    self.sent = payload - header_room(self.role);
                    self.sealed = self.sent;
                }
                self.end = payload;
                let mask = (self.role == Role::Client).then(|| Mask::new(key()));
                self.open = Some(Open {
                    payload,
                    masks: mask.map(|mask| (mask, mask)),
                });
                payload
            }
        };
        limit.min(payload + MAX_PAYLOAD) - self.end
    }

    /// Ends the open frame.
    pub(super) fn seal(&mut self) {
        let (Some(open), Some(buffer)) = (self.open.take(), &mut self.buffer) else {
            return;
        };
        let header = Header {
            is_final: true,
            opcode: Opcode::Binary,
            length: (self.end - open.payload) as u64,
            mask: open.masks.map(|(mask, _)| mask.key()),
        };
        let (header, length) = header.write();
        let unused = header_room(self.role) - length;
        let mut payload = open.payload;
        if unused > 0 {
            if self.sent == self.sealed {
                self.sent += unused;
            } else {
                // A short payload, which is moved to its predecessor.
                buffer.copy_within(payload..self.end, payload - unused);
                payload -= unused;
                self.end -= unused;
            }
        }
        buffer[payload - length..payload].copy_from_slice(&header[..length]);
        self.sealed = self.end;
    }

    /// Queues a ping, unless one is queued.
    pub(super) fn ping(&mut self) {
        self.ping = !self.is_closing();
    }

    /// Queues the answer to a ping. It replaces one that is not in the buffer yet.
    pub(super) fn on_ping(&mut self, payload: &[u8]) {
        if self.is_closing() {
            return;
        }
        let payload = &payload[..payload.len().min(MAX_CONTROL)];
        let (pong, length) = self.pong.get_or_insert(([0; MAX_CONTROL], 0));
        pong[..payload.len()].copy_from_slice(payload);
        *length = u8::try_from(payload.len()).unwrap_or(u8::MAX);
    }

    /// Queues a close frame behind all written bytes. Nothing follows it. Only the first call counts.
    pub(super) fn close(&mut self, code: Option<Code>) {
        if !self.is_closing() {
            (self.ping, self.pong) = (false, None);
            self.close = Close::Due(code);
        }
    }

    /// The bytes that can be sent now: sealed frames, and control frames behind them.
    pub(super) fn sealed(&mut self, key: impl Fn() -> [u8; 4]) -> &[u8] {
        if self.ping && !self.has_ping {
            (self.ping, self.has_ping) = (false, true);
            self.push_control(Opcode::Ping, &[], &key);
        }
        if !self.has_pong
            && let Some((payload, length)) = self.pong.take()
        {
            self.has_pong = true;
            self.push_control(Opcode::Pong, &payload[..usize::from(length)], &key);
        }
        if let Close::Due(code) = self.close {
            self.close = Close::Sealed;
            let code = code.map(Code::to_bytes);
            self.push_control(Opcode::Close, code.as_ref().map_or(&[], |code| code), &key);
        }
        match &self.buffer {
            Some(buffer) => &buffer[self.sent..self.sealed],
            None => &[],
        }
    }

    /// Its space is reserved: a buffer has at most one ping, one pong and one close frame.
    fn push_control(&mut self, opcode: Opcode, payload: &[u8], key: impl Fn() -> [u8; 4]) {
        self.seal();
        let mask = (self.role == Role::Client).then(&key);
        let header = Header {
            is_final: true,
            opcode,
            length: payload.len() as u64,
            mask,
        };
        let (header, length) = header.write();
        let buffer = self.buffer.get_or_insert_with(|| self.pool.lend());
        let begin = self.end + length;
        buffer[self.end..begin].copy_from_slice(&header[..length]);
        let to = &mut buffer[begin..begin + payload.len()];
        match mask.map(Mask::new) {
            Some(mut mask) => mask.copy(payload, to),
            None => to.copy_from_slice(payload),
        }
        self.end = begin + payload.len();
        self.sealed = self.end;
    }

    /// This many of the sealed bytes were sent.
    pub(super) fn on_sent(&mut self, count: usize) {
        self.sent = self.sealed.min(self.sent + count);
        if self.sent == self.sealed {
            (self.has_ping, self.has_pong) = (false, false);
            if self.open.is_none() {
                self.buffer = None;
                (self.sent, self.sealed, self.end) = (0, 0, 0);
            }
        }
    }
}

/// The size of the header of a frame that is not short, up to [`MAX_PAYLOAD`].
fn header_room(role: Role) -> usize {
    match role {
        Role::Client => 8,
        Role::Server => 4,
    }
}

/// The best offset in an empty buffer for a payload that begins with `bytes`.
fn first_payload(buffer: &[u8], bytes: &[u8]) -> usize {
    let place = |bytes: &[u8]| bytes.as_ptr().addr() % PAGE;
    let above = (PAGE + place(buffer) + FIRST_PAYLOAD - place(bytes)) % PAGE;
    if bytes.len() >= PAGE && SLOW.contains(&above) {
        FIRST_PAYLOAD + SLOW.end - above
    } else {
        FIRST_PAYLOAD
    }
}

#[cfg(test)]
mod tests;
