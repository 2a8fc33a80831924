//! Buffers that are lent only while they hold bytes, so that an idle connection owns none.

use std::{
    ops::{Deref, DerefMut},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Size of the buffer that is lent when all large ones are in use.
const SMALL: usize = 4096;

/// Buffers of one size.
///
/// The number of lent buffers is bounded, which bounds the memory held by peers that stop reading, or that are not read
/// from. Beyond the bound, a connection gets a buffer of 4 KiB of its own and continues more slowly.
#[derive(Debug)]
pub(super) struct Pool {
    size: usize,
    max_lent: usize,
    max_kept: usize,
    lent: AtomicUsize,
    kept: Mutex<Vec<Box<[u8]>>>,
}

/// For sending: 128 buffers of 256 KiB. Each further buffer wakes the other side once more.
pub(super) static OUTGOING: Pool = Pool::new(256 * 1024, 128, 16);

/// For received bytes that have not been read: 256 buffers of 64 KiB.
pub(super) static INCOMING: Pool = Pool::new(64 * 1024, 256, 32);

impl Pool {
    /// Lends at most `max_lent`, and keeps at most `max_kept` unused ones.
    pub(super) const fn new(size: usize, max_lent: usize, max_kept: usize) -> Self {
        Self {
            size,
            max_lent,
            max_kept,
            lent: AtomicUsize::new(0),
            kept: Mutex::new(Vec::new()),
        }
    }

    pub(super) fn lend(&'static self) -> Buffer {
        if self.lent.fetch_add(1, Ordering::Relaxed) >= self.max_lent {
            self.lent.fetch_sub(1, Ordering::Relaxed);
            return Buffer {
                bytes: vec![0; SMALL].into_boxed_slice(),
                pool: None,
            };
        }
        let kept = self
            .kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        Buffer {
            bytes: kept.unwrap_or_else(|| vec![0; self.size].into_boxed_slice()),
            pool: Some(self),
        }
    }

    fn take_back(&self, bytes: Box<[u8]>) {
        self.lent.fetch_sub(1, Ordering::Relaxed);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < self.max_kept {
            // Its space is allocated once, and kept.
            kept.push(bytes);
        }
    }
}

/// It contains bytes of its previous user.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Box<[u8]>,
    pool: Option<&'static Pool>,
}

impl From<Vec<u8>> for Buffer {
    fn from(bytes: Vec<u8>) -> Self {
        Self {
            bytes: bytes.into_boxed_slice(),
            pool: None,
        }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(pool) = self.pool {
            pool.take_back(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_large_and_the_others_small_until_one_comes_back() {
        static POOL: Pool = Pool::new(10_000, 2, 1);
        let (one, two, three) = (POOL.lend(), POOL.lend(), POOL.lend());
        assert_eq!([one.len(), two.len(), three.len()], [10_000, 10_000, SMALL]);
        drop(three);
        assert_eq!(POOL.lend().len(), SMALL, "its end frees no large one");
        drop(two);
        let mut again = POOL.lend();
        assert_eq!(again.len(), 10_000);
        again[0] = 42;
        drop(again);
        assert_eq!(POOL.lend()[0], 42, "it is the one that was kept");
        drop(one);
        assert_eq!(POOL.kept.lock().unwrap().len(), 1);
        assert_eq!(POOL.lent.load(Ordering::Relaxed), 0);
    }
}
