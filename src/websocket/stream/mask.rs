//! The masking of frames from clients, [RFC 6455 section 5.3](https://www.rfc-editor.org/rfc/rfc6455#section-5.3): the
//! payload XOR four bytes, repeated.

/// Number of bytes moved and unmasked at once: what fits into a few registers.
const BLOCK: usize = 128;

/// Alignment of the fastest stores, of which none spans two cache lines. Others take a third longer.
const ALIGNED: usize = 32;

/// The key of one frame, rotated to the next byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mask([u8; 4]);

impl Mask {
    pub(super) fn new(key: [u8; 4]) -> Self {
        Self(key)
    }

    /// The form in the header of its frame, if it has not been applied yet.
    pub(super) fn key(self) -> [u8; 4] {
        self.0
    }

    fn wide(self) -> u64 {
        let [a, b, c, d] = self.0;
        u64::from_ne_bytes([a, b, c, d, a, b, c, d])
    }

    fn turn(&mut self, count: usize) {
        self.0.rotate_left(count % 4);
    }

    /// Masks or unmasks `bytes`, the next ones of the frame.
    pub(super) fn apply(&mut self, bytes: &mut [u8]) {
        let (first, rest) = bytes.split_at_mut(to_aligned(bytes));
        self.apply_from_here(first);
        self.apply_from_here(rest);
    }

    fn apply_from_here(&mut self, bytes: &mut [u8]) {
        let wide = self.wide();
        let count = bytes.len();
        let (words, rest) = bytes.as_chunks_mut::<8>();
        for word in words {
            *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
        }
        for (byte, key) in rest.iter_mut().zip(wide.to_ne_bytes()) {
            *byte ^= key;
        }
        self.turn(count);
    }

    /// The same from one place to another of the same length.
    pub(super) fn copy(&mut self, from: &[u8], to: &mut [u8]) {
        debug_assert_eq!(from.len(), to.len());
        let unaligned = to_aligned(to);
        let (first, rest) = to.split_at_mut(unaligned);
        self.copy_from_here(&from[..unaligned], first);
        self.copy_from_here(&from[unaligned..], rest);
    }

    fn copy_from_here(&mut self, from: &[u8], to: &mut [u8]) {
        let wide = self.wide();
        let (words, rest) = from.as_chunks::<8>();
        let (to_words, to_rest) = to.as_chunks_mut::<8>();
        for (to, word) in to_words.iter_mut().zip(words) {
            *to = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
        }
        for ((to, byte), key) in to_rest.iter_mut().zip(rest).zip(wide.to_ne_bytes()) {
            *to = byte ^ key;
        }
        self.turn(from.len());
    }

    /// The same within one slice: the `count` bytes at `from` are moved down to `to`.
    pub(super) fn shift(&mut self, bytes: &mut [u8], from: usize, to: usize, count: usize) {
        if from == to {
            return self.apply(&mut bytes[to..to + count]);
        }
        let bytes = &mut bytes[to..from + count];
        let gap = from - to;
        let wide = self.wide();
        let mut done = 0;
        // Each block is read before it is overwritten, by itself or by a previous one.
        while let Some(block) = bytes[gap + done..].first_chunk::<BLOCK>() {
            let mut block = *block;
            for word in block.as_chunks_mut::<8>().0 {
                *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
            }
            bytes[done..done + BLOCK].copy_from_slice(&block);
            done += BLOCK;
        }
        // A block is a whole number of keys, so the rotation is that of the beginning.
        bytes.copy_within(gap + done.., done);
        self.apply(&mut bytes[done..count]);
        self.turn(done);
    }
}

/// The number of bytes before the first [`ALIGNED`] one.
fn to_aligned(bytes: &[u8]) -> usize {
    bytes.as_ptr().align_offset(ALIGNED).min(bytes.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As the RFC writes it: `transformed-octet-i = original-octet-i XOR masking-key-octet-j`, `j = i MOD 4`.
    fn by_the_rfc(key: [u8; 4], bytes: &[u8]) -> Vec<u8> {
        let masked = bytes.iter().enumerate();
        masked.map(|(i, byte)| byte ^ key[i % 4]).collect()
    }

    proptest! {
        #[test]
        fn in_any_pieces_and_any_way_it_is_what_the_rfc_says(
            key: [u8; 4],
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            cuts in prop::collection::vec(0..300_usize, 0..5),
            gap in 0..20_usize,
        ) {
            let expected = by_the_rfc(key, &bytes);
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
            cuts.push(0);
            cuts.push(bytes.len());
            cuts.sort_unstable();

            let mut applied = bytes.clone();
            let mut copied = vec![0; bytes.len()];
            let mut shifted = vec![0; gap];
            shifted.extend(&bytes);
            let [mut apply, mut copy, mut shift] = [Mask::new(key); 3];
            for cut in cuts.windows(2) {
                let range = cut[0]..cut[1];
                apply.apply(&mut applied[range.clone()]);
                copy.copy(&bytes[range.clone()], &mut copied[range.clone()]);
                shift.shift(&mut shifted, gap + range.start, range.start, range.len());
            }
            prop_assert_eq!(&applied, &expected);
            prop_assert_eq!(&copied, &expected);
            prop_assert_eq!(&shifted[..bytes.len()], &expected[..]);
        }
    }

    #[test]
    fn more_than_a_block_is_moved_whole() {
        let bytes: Vec<u8> = (0..3 * BLOCK + 5).map(|i| (i % 251) as u8).collect();
        let mut shifted = vec![0; 7];
        shifted.extend(&bytes);
        Mask::new([1, 2, 3, 4]).shift(&mut shifted, 7, 0, bytes.len());
        assert!(shifted[..bytes.len()] == by_the_rfc([1, 2, 3, 4], &bytes));
    }
}
