//! The records of a TLS connection in both directions, without I/O.

use std::{io, mem, ops::DerefMut};

use rustls::{
    Error,
    client::{ClientConnectionData, UnbufferedClientConnection},
    server::{ServerConnectionData, UnbufferedServerConnection},
    unbuffered::{
        ConnectionState, EncodeTlsData, EncryptError, InsufficientSizeError,
        UnbufferedConnectionCommon, UnbufferedStatus, WriteTraffic,
    },
};

use crate::websocket::pool::{Buffer, Pool};

/// Maximum number of bytes that are encrypted and not sent. A WebSocket frame has 64 KiB and a header.
pub(super) const MAX_UNSENT: usize = 80 * 1024;

/// With space for the overhead of these records.
static POOL: Pool = Pool::new(MAX_UNSENT + 4096, 256, 16);

/// The largest record: 16 KiB, the overhead of a cipher, and the header.
const MAX_RECORD: usize = 16 * 1024 + 2048 + 5;

/// An unbuffered connection of rustls, in either role.
pub(in crate::websocket) trait Session:
    DerefMut<Target = UnbufferedConnectionCommon<Self::Data>>
{
    type Data;

    fn process<'c, 'i>(
        &'c mut self,
        incoming: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data>;
}

impl Session for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn process<'c, 'i>(
        &'c mut self,
        incoming: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }
}

impl Session for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn process<'c, 'i>(
        &'c mut self,
        incoming: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }
}

/// How reading has ended.
pub(super) enum End {
    /// Whether the peer has sent a `close_notify`.
    Closed,
    Failed(Error),
}

pub(super) struct Records<C> {
    session: C,
    /// Decrypted bytes for which the reader had no space.
    decrypted: Vec<u8>,
    outgoing: Outgoing,
    end: Option<End>,
    is_closing: bool,
}

impl<C> Records<C> {
    pub(super) fn new(session: C) -> Self {
        Self {
            session,
            decrypted: Vec::new(),
            outgoing: Outgoing::default(),
            end: None,
            is_closing: false,
        }
    }

    /// How reading has ended, once everything is delivered.
    pub(super) fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    pub(super) fn deliver(&mut self, buf: &mut [u8]) -> usize {
        let count = buf.len().min(self.decrypted.len());
        buf[..count].copy_from_slice(&self.decrypted[..count]);
        self.decrypted.drain(..count);
        if self.decrypted.is_empty() {
            self.decrypted = Vec::new();
        }
        count
    }

    pub(super) fn unsent(&self) -> &[u8] {
        let Outgoing { buffer, start, end } = &self.outgoing;
        buffer.as_ref().map_or(&[], |buffer| &buffer[*start..*end])
    }

    pub(super) fn on_sent(&mut self, count: usize) {
        self.outgoing.start += count;
        if self.unsent().is_empty() {
            (self.outgoing.start, self.outgoing.end) = (0, 0);
        }
    }

    /// Returns the buffer of outgoing records to the pool, if all are sent.
    pub(super) fn release(&mut self) {
        if self.unsent().is_empty() {
            self.outgoing = Outgoing::default();
        }
    }
}

impl<C: Session> Records<C> {
    pub(super) fn is_handshaking(&self) -> bool {
        self.session.is_handshaking()
    }

    /// Processes all complete records of `bytes`, which are all that are received and not discarded. Returns the number of
    /// bytes to discard, and the number of bytes decrypted into `buf`.
    pub(super) fn on_bytes(&mut self, bytes: &mut [u8], buf: &mut [u8]) -> (usize, usize) {
        let (wanted, mut left) = (buf.len(), buf);
        let result = self.process(bytes, &mut left, |_, _| Ok(0));
        let decrypted = wanted - left.len();
        match result {
            Ok(used) if self.end.is_none() => return (used, decrypted),
            Ok(_) => {}
            Err(error) => {
                self.end = Some(End::Failed(error));
                // The alert. Nothing that is received may be processed any more.
                while self.session.wants_write()
                    && let Ok(ConnectionState::EncodeTlsData(mut data)) =
                        self.session.process(&mut []).state
                {
                    self.outgoing.encode(&mut data);
                }
            }
        }
        (bytes.len(), decrypted)
    }

    /// `incoming` has the bytes that are received and not discarded, none of them in a complete record.
    pub(super) fn encrypt(&mut self, data: &[u8], incoming: &mut [u8]) -> Result<(), io::Error> {
        if self.is_closing || matches!(self.end, Some(End::Failed(_))) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.process(incoming, &mut &mut [][..], |traffic, room| {
            traffic.encrypt(data, room)
        })
        .map_err(io::Error::other)?;
        Ok(())
    }

    /// Adds a `close_notify`, unless there was one or a fatal alert.
    pub(super) fn close(&mut self, incoming: &mut [u8]) {
        if !mem::replace(&mut self.is_closing, true) && !matches!(self.end, Some(End::Failed(_))) {
            // Without it, the peer sees the end of the transport.
            let _ = self.process(incoming, &mut &mut [][..], |traffic, room| {
                traffic.queue_close_notify(room)
            });
        }
    }

    /// Continues until more bytes have to be received. `write` is called if application data may be sent by then.
    fn process(
        &mut self,
        incoming: &mut [u8],
        buf: &mut &mut [u8],
        mut write: impl FnMut(&mut WriteTraffic<'_, C::Data>, &mut [u8]) -> Result<usize, EncryptError>,
    ) -> Result<usize, Error> {
        let mut used = 0;
        loop {
            let UnbufferedStatus { discard, state } = self.session.process(&mut incoming[used..]);
            used += discard;
            match state? {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        used += record.discard;
                        let count = buf.len().min(record.payload.len());
                        let (now, later) = record.payload.split_at(count);
                        let (front, rest) = mem::take(buf).split_at_mut(count);
                        front.copy_from_slice(now);
                        *buf = rest;
                        self.decrypted.extend(later);
                    }
                }
                ConnectionState::EncodeTlsData(mut data) => self.outgoing.encode(&mut data),
                // The records are in `outgoing`, in their order.
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::PeerClosed => self.end = Some(End::Closed),
                ConnectionState::WriteTraffic(mut traffic) => {
                    self.outgoing.write(|room| write(&mut traffic, room))?;
                    return Ok(used);
                }
                ConnectionState::BlockedHandshake | ConnectionState::Closed => return Ok(used),
                _ => return Err(Error::General("early data, which was not offered".into())),
            }
        }
    }
}

/// Unsent records.
#[derive(Default)]
struct Outgoing {
    buffer: Option<Buffer>,
    start: usize,
    end: usize,
}

impl Outgoing {
    /// Space for at least `size` bytes.
    fn room(&mut self, size: usize) -> &mut [u8] {
        let buffer = self.buffer.get_or_insert_with(|| POOL.lend());
        if buffer.len() < self.end + size {
            let mut larger = buffer.to_vec();
            larger.resize(self.end + size, 0);
            *buffer = larger.into();
        }
        &mut buffer[self.end..]
    }

    fn encode<Data>(&mut self, data: &mut EncodeTlsData<'_, Data>) {
        // It fits, because it is one record.
        self.end += data.encode(self.room(MAX_RECORD)).unwrap_or_default();
    }

    fn write(
        &mut self,
        mut write: impl FnMut(&mut [u8]) -> Result<usize, EncryptError>,
    ) -> Result<(), Error> {
        let written = match write(&mut []) {
            Err(EncryptError::InsufficientSize(InsufficientSizeError { required_size })) => {
                write(self.room(required_size))
            }
            written => written,
        };
        self.end += written.map_err(|_| Error::EncryptError)?;
        Ok(())
    }
}

#[cfg(test)]
impl<C> Records<C> {
    pub(super) fn capacity(&self) -> usize {
        let outgoing = self.outgoing.buffer.as_ref();
        self.decrypted.capacity() + outgoing.map_or(0, |buffer| buffer.len())
    }
}
