//! The received bytes of an incomplete record.

use std::io;

use crate::websocket::pool::{Buffer, Pool};

/// The largest handshake message that rustls accepts, 64 KiB, with the headers of its records. A record has at most 18 KiB.
pub(super) const MAX_SIZE: usize = 72 * 1024;

/// Minimum size of a read.
const MIN_READ: usize = 4096;

static POOL: Pool = Pool::new(MAX_SIZE, 256, 16);

/// A buffer that exists only while there are bytes in it. All connections share a pool of 18 MiB. If it is empty, a
/// connection has a buffer of its own, which grows with the received bytes.
#[derive(Default)]
pub(super) struct Input {
    buffer: Option<Buffer>,
    filled: usize,
}

impl Input {
    /// Space for a read by a caller with space for `wanted` decrypted bytes. No more than that if possible, because further
    /// bytes would have to be stored.
    ///
    /// # Errors
    ///
    /// If there are [`MAX_SIZE`] bytes of one handshake message.
    pub(super) fn room(&mut self, wanted: usize) -> io::Result<&mut [u8]> {
        let buffer = self.buffer.get_or_insert_with(|| POOL.lend());
        if buffer.len() == self.filled {
            if self.filled >= MAX_SIZE {
                // The error of rustls' buffered API.
                let kind = io::ErrorKind::InvalidData;
                return Err(io::Error::new(kind, "message buffer full"));
            }
            let mut larger = buffer.to_vec();
            larger.resize(MAX_SIZE.min(2 * self.filled), 0);
            *buffer = larger.into();
        }
        let end = wanted.max(self.filled + MIN_READ).min(buffer.len());
        Ok(&mut buffer[self.filled..end])
    }

    /// `count` bytes have been read into the space.
    pub(super) fn on_received(&mut self, count: usize) {
        self.filled += count;
        self.release();
    }

    pub(super) fn bytes(&mut self) -> &mut [u8] {
        match &mut self.buffer {
            Some(buffer) => &mut buffer[..self.filled],
            None => &mut [],
        }
    }

    /// Removes `count` bytes from the front.
    pub(super) fn discard(&mut self, count: usize) {
        if count > 0 {
            self.bytes().copy_within(count.., 0);
            self.filled -= count;
            self.release();
        }
    }

    fn release(&mut self) {
        if self.filled == 0 {
            self.buffer = None;
        }
    }
}

#[cfg(test)]
impl Input {
    pub(super) fn capacity(&self) -> usize {
        self.buffer.as_ref().map_or(0, |buffer| buffer.len())
    }
}

#[cfg(test)]
impl From<Vec<u8>> for Input {
    fn from(bytes: Vec<u8>) -> Self {
        Self {
            buffer: Some(bytes.into()),
            filled: 0,
        }
    }
}
