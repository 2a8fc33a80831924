//! What goes out: the bytes that are written become frames, put together in one buffer.

use crate::websocket::{
    pool::{Buffer, Pool},
    stream::{
        close::Code,
        frame::{Header, MAX_CONTROL, MAX_SHORT, Opcode, Role},
        mask::Mask,
    },
};

/// The longest payload of one frame. Below [`MAX_SHORT`], so that the room for a header is known before the payload;
/// and several fit into a buffer, so that somebody who waits for whole messages has the first one early.
const MAX_PAYLOAD: usize = MAX_SHORT;

/// Where the payload of the first frame in a buffer begins, unless it has to make way.
const FIRST_PAYLOAD: usize = 64;

/// glibc copies ten times more slowly if the destination lies this little above the source, by their place in a page.
const SLOW: std::ops::Range<usize> = 1..256;
const PAGE: usize = 4096;

/// Room at the end of a buffer for a ping without payload, a pong and a close frame, all of them masked.
const CONTROL_ROOM: usize = (2 + 4) + 2 * (2 + 4 + MAX_CONTROL);

/// Decides what is sent, and in which order.
///
/// Bytes are added with [`append`](Self::append) to the frame that is open. [`seal`](Self::seal) ends it, and what is
/// sealed can be sent: [`sealed`](Self::sealed) and [`on_sent`](Self::on_sent). A control frame seals the open one,
/// since nothing may stand inside a frame.
#[derive(Debug)]
pub(super) struct Writer {
    role: Role,
    pool: &'static Pool,
    /// There while there is something in it.
    buffer: Option<Buffer>,
    /// Up to here it has been sent,
    sent: usize,
    /// to here it can be,
    sealed: usize,
    /// and to here it is filled, by the open frame if there is one.
    end: usize,
    open: Option<Open>,
    ping: Ping,
    /// The pong that has not come into the buffer yet: its payload, and how many bytes of it count.
    pong: Option<([u8; MAX_CONTROL], u8)>,
    /// Whether the buffer has a ping, and a pong, in it that has not been sent. The next waits for it, so that they
    /// cannot fill it.
    has_ping: bool,
    has_pong: bool,
    close: Close,
}

#[derive(Debug)]
struct Open {
    payload: usize,
    /// The key as it was, and turned to the next byte.
    masks: Option<(Mask, Mask)>,
}

/// A ping of this side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ping {
    No,
    Due,
    /// It ends here in the buffer, and has not been sent that far.
    Sealed(usize),
    /// It has been sent, and that has not been taken notice of.
    Sent,
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
            ping: Ping::No,
            pong: None,
            has_ping: false,
            has_pong: false,
            close: Close::No,
        }
    }

    /// Whether no more bytes are taken, since a close frame follows.
    pub(super) fn is_closing(&self) -> bool {
        self.close != Close::No
    }

    /// Whether something is to be sent without anybody's asking: the rest of what was sealed, or a control frame.
    pub(super) fn has_to_send(&self) -> bool {
        self.sent < self.sealed
            || self.ping == Ping::Due
            || self.pong.is_some()
            || matches!(self.close, Close::Due(_))
    }

    /// Adds as many of `bytes` as there is room for, and returns how many. `key` makes the mask of a new frame.
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

    /// The room that is left in the open frame, which is begun if there is none.
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
                // A short payload, which moves up to what is before it.
                buffer.copy_within(payload..self.end, payload - unused);
                payload -= unused;
                self.end -= unused;
            }
        }
        buffer[payload - length..payload].copy_from_slice(&header[..length]);
        self.sealed = self.end;
    }

    /// The other side is asked for a sign of life, unless it is already.
    pub(super) fn ping(&mut self) {
        if !self.is_closing() && matches!(self.ping, Ping::No | Ping::Sent) {
            self.ping = Ping::Due;
        }
    }

    /// Whether a ping has been sent, once.
    pub(super) fn take_ping_sent(&mut self) -> bool {
        let is_sent = self.ping == Ping::Sent;
        if is_sent {
            self.ping = Ping::No;
        }
        is_sent
    }

    /// A ping has come, which is answered; if the last one is not yet, only this one is.
    pub(super) fn on_ping(&mut self, payload: &[u8]) {
        if self.is_closing() {
            return;
        }
        let payload = &payload[..payload.len().min(MAX_CONTROL)];
        let (pong, length) = self.pong.get_or_insert(([0; MAX_CONTROL], 0));
        pong[..payload.len()].copy_from_slice(payload);
        *length = u8::try_from(payload.len()).unwrap_or(u8::MAX);
    }

    /// A close frame is sent behind all that has been written, and nothing behind it. Only the first counts.
    pub(super) fn close(&mut self, code: Option<Code>) {
        if !self.is_closing() {
            self.pong = None;
            if self.ping == Ping::Due {
                self.ping = Ping::No;
            }
            self.close = Close::Due(code);
        }
    }

    /// What can be sent now: sealed frames, and control frames that are due behind them.
    pub(super) fn sealed(&mut self, key: impl Fn() -> [u8; 4]) -> &[u8] {
        if self.ping == Ping::Due && !self.has_ping {
            self.has_ping = true;
            self.push_control(Opcode::Ping, &[], &key);
            self.ping = Ping::Sealed(self.sealed);
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

    /// Room for it has been kept: there is at most one ping, one pong and one close frame in a buffer.
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

    /// So many of the sealed bytes are sent.
    pub(super) fn on_sent(&mut self, count: usize) {
        self.sent = self.sealed.min(self.sent + count);
        if let Ping::Sealed(end) = self.ping
            && self.sent >= end
        {
            self.ping = Ping::Sent;
        }
        if self.sent == self.sealed {
            (self.has_ping, self.has_pong) = (false, false);
            if self.open.is_none() {
                self.buffer = None;
                (self.sent, self.sealed, self.end) = (0, 0, 0);
            }
        }
    }
}

/// What the header of a frame takes that is neither short nor longer than [`MAX_PAYLOAD`].
fn header_room(role: Role) -> usize {
    match role {
        Role::Client => 8,
        Role::Server => 4,
    }
}

/// Where a payload that begins with `bytes` is best put in an empty buffer.
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
