//! Memory that is words, items and bytes at once: the one place of this crate with `unsafe` code.
//!
//! A block of the arena begins with an item's fields and goes on with its key and value. Safe Rust has no view of the
//! same memory in such different shapes; these are four, and they are all that there is.

#![allow(unsafe_code)]

use crate::item::Item;

/// Bytes of a word.
pub(crate) const WORD: usize = 8;
/// Words of an item's fields.
pub(crate) const ITEM: usize = size_of::<Item>() / WORD;

const _: () = assert!(
    size_of::<Item>() == ITEM * WORD && align_of::<Item>() <= align_of::<u64>(),
    "an item's fields are whole words, aligned as words are"
);

/// A part of memory of a fixed number of words, all 0 at first. The kernel gives it page by page as it is written.
pub(crate) struct Memory(Vec<u64>);

impl Memory {
    pub(crate) fn new(words: usize) -> Self {
        Self(vec![0; words])
    }

    /// Words.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Gives the end back to the system.
    pub(crate) fn cut(&mut self, words: usize) {
        self.0.truncate(words);
        self.0.shrink_to_fit();
    }

    /// The two halves of a word, in the order of their addresses.
    pub(crate) fn halves(&self, at: usize) -> [u32; 2] {
        let bytes = self.0[at].to_ne_bytes();
        [0, 4].map(|half| {
            u32::from_ne_bytes([
                bytes[half],
                bytes[half + 1],
                bytes[half + 2],
                bytes[half + 3],
            ])
        })
    }

    pub(crate) fn set_half(&mut self, at: usize, half: usize, value: u32) {
        let mut bytes = self.0[at].to_ne_bytes();
        bytes[half * 4..half * 4 + 4].copy_from_slice(&value.to_ne_bytes());
        self.0[at] = u64::from_ne_bytes(bytes);
    }

    /// Copies words to another place.
    pub(crate) fn copy(&mut self, from: usize, to: usize, words: usize) {
        self.0.copy_within(from..from + words, to);
    }

    /// The words at `at` as the fields of an item.
    pub(crate) fn item(&self, at: usize) -> &Item {
        let words: &[u64; ITEM] = self.0[at..]
            .first_chunk()
            .expect("a block is within its region");
        // SAFETY: `Item` is `repr(C)`, made of integers and of `repr(C)` or transparent structs of integers, without
        // padding (its size is the sum of its fields', asserted beside it): every pattern of bits is one. It is as
        // large as the array and no stricter aligned, both asserted above. The reference borrows what the array's does.
        unsafe { &*std::ptr::from_ref(words).cast::<Item>() }
    }

    /// The words at `at` as the fields of an item.
    pub(crate) fn item_mut(&mut self, at: usize) -> &mut Item {
        let words: &mut [u64; ITEM] = self.0[at..]
            .first_chunk_mut()
            .expect("a block is within its region");
        // SAFETY: as in `item`; whatever is written through it is a pattern of bits that a `u64` may have, as there is
        // no padding. The reference is as exclusive as the array's.
        unsafe { &mut *std::ptr::from_mut(words).cast::<Item>() }
    }

    /// `len` bytes from the word at `at`.
    pub(crate) fn bytes(&self, at: usize, len: usize) -> &[u8] {
        let words = &self.0[at..at + len.div_ceil(WORD)];
        // SAFETY: the words are initialised, hold at least `len` bytes, and bytes are aligned anywhere; the slice borrows
        // what the words' does.
        unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), len) }
    }

    /// `len` bytes from the word at `at`.
    pub(crate) fn bytes_mut(&mut self, at: usize, len: usize) -> &mut [u8] {
        let words = &mut self.0[at..at + len.div_ceil(WORD)];
        // SAFETY: as in `bytes`; any bytes make words. The slice is as exclusive as the words' is.
        unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_words_are_items_bytes_and_halves() {
        let mut memory = Memory::new(20);
        assert_eq!(memory.len(), 20);
        memory.bytes_mut(ITEM, 13).copy_from_slice(b"key and value");
        assert_eq!(memory.bytes(ITEM, 3), b"key");
        memory.item_mut(0).flags = 0x0102_0304;
        memory.item_mut(0).hash = 7;
        assert_eq!(
            (memory.item(0).flags, memory.item(0).hash),
            (0x0102_0304, 7)
        );
        memory.set_half(0, 1, 9);
        memory.set_half(0, 0, u32::MAX);
        assert_eq!(memory.halves(0), [u32::MAX, 9]);
        assert_eq!(
            memory.item(0).tag,
            u32::MAX,
            "a block's tag is the item's first field"
        );
        memory.copy(0, 10, 10);
        assert_eq!(memory.bytes(10 + ITEM, 13), b"key and value");
        assert_eq!(memory.item(10).hash, 7);
        memory.cut(10);
        assert_eq!((memory.len(), memory.item(0).flags), (10, 0x0102_0304));
    }

    #[test]
    #[should_panic(expected = "a block is within its region")]
    fn an_item_beyond_the_end_is_a_panic_and_no_read() {
        let memory = Memory::new(ITEM - 1);
        let _ = memory.item(0);
    }

    #[test]
    #[should_panic(expected = "out of range")]
    fn bytes_beyond_the_end_are_a_panic_and_no_read() {
        let memory = Memory::new(2);
        let _ = memory.bytes(1, 9);
    }
}
