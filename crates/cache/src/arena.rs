//! The memory of a shard's items: one region of the shard's size, cut into blocks.
//!
//! An item is a block: its fields, its key, its value, packed. Free blocks are kept in bins by size, a good fit is taken
//! and the rest of it given back, and a block that becomes free is joined with free neighbours at once. So memory never
//! grows beyond the region, whatever sizes come in whatever order; what varies is how much of it can be filled. When no
//! free block is large enough though there is room in sum, the shard clears a stretch of blocks: see
//! [`Arena::hold`] and [`Arena::absorb`].
//!
//! A block is named by its place, in words of 8 bytes: [`Id`]. Its first word begins with its tag: its size in words,
//! and whether it is in use, whether the block before it is free, and whether it is held. A free block also has links to
//! others of its bin, and its size in its last word, where the block behind it finds it. One at the region's end needs
//! no such word, so that memory that was never used is not touched.

use std::ops::{Index, IndexMut};

use crate::item::Item;
use crate::rules::{Current, Expiry};
use crate::sys::{ITEM, Memory, WORD};

/// Names a block, and the item in it, within its shard.
pub(crate) type Id = u32;

/// No block.
pub(crate) const NONE: Id = Id::MAX;

/// Bits of a tag; the size is above them.
const USED: u32 = 1;
const AFTER_FREE: u32 = 2;
/// In use, but by no item.
const HELD: u32 = 4;
const SIZE: u32 = 3;

/// The smallest block in words: what a free one needs for its links.
const SMALLEST: u32 = 2;
/// The largest region in words: 2 GiB.
const LARGEST: usize = 1 << 28;
/// Sizes below this have a bin each.
const EXACT: u32 = 16;
/// So many bins from one power of two to the next.
const STEPS_BITS: u32 = 3;
const BINS: usize = EXACT as usize + (29 - 4) * (1 << STEPS_BITS);
/// Blocks of the wanted size's own bin that are looked at.
const LOOKS: usize = 8;

/// Words of an item with so many bytes of key and value.
pub(crate) const fn words(data: usize) -> u32 {
    (ITEM + data.div_ceil(WORD)) as u32
}

/// Blocks in regions. Ids of a region begin at a multiple of `1 << shift`.
pub(crate) struct Arena {
    regions: Vec<Memory>,
    shift: u32,
    bins: [Id; BINS],
    /// One bit per bin that is not empty.
    occupied: [u64; BINS.div_ceil(64)],
    /// Words of blocks that are not free.
    used: usize,
}

impl Arena {
    /// An arena of so many bytes, at least some hundred.
    pub(crate) fn new(bytes: usize) -> Self {
        let words = (bytes / WORD).clamp(64, LARGEST * 8);
        let shift = words.min(LARGEST).next_power_of_two().ilog2().max(16);
        let mut arena = Self {
            regions: Vec::new(),
            shift,
            bins: [NONE; BINS],
            occupied: [0; _],
            used: 0,
        };
        arena.grow(bytes);
        arena
    }

    /// Adds so many bytes, as far as ids reach.
    pub(crate) fn grow(&mut self, bytes: usize) {
        let mut left = bytes / WORD;
        while left >= 64 && self.regions.len() < 1 << (31 - self.shift) {
            let size = left.min(1 << self.shift).min(LARGEST);
            left -= size;
            let first = (self.regions.len() as Id) << self.shift;
            self.regions.push(Memory::new(size));
            self.set_tag(first, (size as u32) << SIZE);
            self.link(first);
        }
    }

    /// Bytes of all regions.
    pub(crate) fn capacity(&self) -> usize {
        self.regions.iter().map(Memory::len).sum::<usize>() * WORD
    }

    /// Bytes of blocks that are not free.
    pub(crate) const fn used(&self) -> usize {
        self.used * WORD
    }

    fn place(&self, id: Id) -> (usize, usize) {
        let at = id & ((1 << self.shift) - 1);
        ((id >> self.shift) as usize, at as usize)
    }

    fn tag(&self, id: Id) -> u32 {
        let (region, at) = self.place(id);
        self.regions[region].halves(at)[0]
    }

    fn set_tag(&mut self, id: Id, tag: u32) {
        let (region, at) = self.place(id);
        self.regions[region].set_half(at, 0, tag);
    }

    /// Words of a block.
    pub(crate) fn size(&self, id: Id) -> u32 {
        self.tag(id) >> SIZE
    }

    /// The block behind, if the region does not end there.
    pub(crate) fn behind(&self, id: Id) -> Option<Id> {
        let (region, at) = self.place(id);
        let size = self.size(id);
        (at + (size as usize) < self.regions[region].len()).then(|| id + size)
    }

    pub(crate) fn is_free(&self, id: Id) -> bool {
        self.tag(id) & USED == 0
    }

    pub(crate) fn is_held(&self, id: Id) -> bool {
        self.tag(id) & HELD != 0
    }

    /// Takes a block of so many words, or a word more; its contents are whatever they were.
    pub(crate) fn take(&mut self, words: u32) -> Option<Id> {
        let id = self.find(words)?;
        self.unlink(id);
        let size = self.size(id);
        self.set_tag(id, size << SIZE | USED);
        self.used += size as usize;
        if let Some(behind) = self.behind(id) {
            self.set_tag(behind, self.tag(behind) & !AFTER_FREE);
        }
        self.trim(id, words);
        Some(id)
    }

    /// A free block of at least so many words, and not many more if there is one.
    fn find(&self, words: u32) -> Option<Id> {
        let own = bin(words);
        let mut id = self.bins[own];
        for _ in 0..LOOKS {
            if id == NONE {
                break;
            }
            if self.size(id) >= words {
                return Some(id);
            }
            id = self.links(id)[0];
        }
        // Whatever is in a higher bin is large enough.
        let (mut word, mut bits) = (own / 64, self.occupied[own / 64] & (!1 << (own % 64)));
        while bits == 0 {
            word += 1;
            bits = *self.occupied.get(word)?;
        }
        Some(self.bins[word * 64 + bits.trailing_zeros() as usize])
    }

    /// One of the largest free blocks.
    pub(crate) fn largest(&self) -> Option<Id> {
        let word = self.occupied.iter().rposition(|&bits| bits != 0)?;
        let bin = word * 64 + self.occupied[word].ilog2() as usize;
        Some(self.bins[bin])
    }

    /// Gives back what a block in use has over `words`.
    pub(crate) fn trim(&mut self, id: Id, words: u32) {
        let (tag, rest) = (self.tag(id), self.size(id) - words);
        if rest < SMALLEST {
            return;
        }
        self.set_tag(id, words << SIZE | tag & ((1 << SIZE) - 1));
        self.used -= rest as usize;
        self.set_free(id + words, rest);
    }

    /// Frees a block.
    pub(crate) fn give(&mut self, id: Id) {
        let (tag, size) = (self.tag(id), self.size(id));
        debug_assert!(tag & USED != 0, "freed twice");
        self.used -= size as usize;
        if tag & AFTER_FREE == 0 {
            return self.set_free(id, size);
        }
        let (region, at) = self.place(id);
        let before = self.regions[region].halves(at - 1)[1];
        self.unlink(id - before);
        self.set_free(id - before, before + size);
    }

    /// Makes a free block of words that belong to none, joined with the one behind if that is free.
    fn set_free(&mut self, id: Id, mut size: u32) {
        self.set_tag(id, size << SIZE);
        if let Some(behind) = self.behind(id).filter(|&behind| self.is_free(behind)) {
            self.unlink(behind);
            size += self.size(behind);
            self.set_tag(id, size << SIZE);
        }
        self.link(id);
        if let Some(behind) = self.behind(id) {
            self.set_tag(behind, self.tag(behind) | AFTER_FREE);
            let (region, at) = self.place(behind);
            self.regions[region].set_half(at - 1, 1, size);
        }
    }

    /// The next and the one before, in the bin of a free block.
    fn links(&self, id: Id) -> [Id; 2] {
        let (region, at) = self.place(id);
        let memory = &self.regions[region];
        [memory.halves(at)[1], memory.halves(at + 1)[0]]
    }

    fn set_link(&mut self, id: Id, back: bool, to: Id) {
        let (region, at) = self.place(id);
        let (at, half) = if back { (at + 1, 0) } else { (at, 1) };
        self.regions[region].set_half(at, half, to);
    }

    fn link(&mut self, id: Id) {
        let bin = bin(self.size(id));
        let next = std::mem::replace(&mut self.bins[bin], id);
        self.set_link(id, false, next);
        self.set_link(id, true, NONE);
        if next != NONE {
            self.set_link(next, true, id);
        }
        self.occupied[bin / 64] |= 1 << (bin % 64);
    }

    fn unlink(&mut self, id: Id) {
        let [next, before] = self.links(id);
        if next != NONE {
            self.set_link(next, true, before);
        }
        if before != NONE {
            return self.set_link(before, false, next);
        }
        let bin = bin(self.size(id));
        self.bins[bin] = next;
        if next == NONE {
            self.occupied[bin / 64] &= !(1 << (bin % 64));
        }
    }

    /// Keeps a block, free or an item's that is gone, out of use until it is absorbed or given back.
    pub(crate) fn hold(&mut self, id: Id) {
        if self.is_free(id) {
            self.unlink(id);
            self.used += self.size(id) as usize;
            if let Some(behind) = self.behind(id) {
                self.set_tag(behind, self.tag(behind) & !AFTER_FREE);
            }
        }
        self.set_tag(id, self.tag(id) | USED | HELD);
    }

    /// Joins a held block with the held one behind it.
    pub(crate) fn absorb(&mut self, id: Id) {
        if let Some(behind) = self.behind(id) {
            debug_assert!(self.is_held(id) && self.is_held(behind));
            let size = self.size(id) + self.size(behind);
            self.set_tag(id, size << SIZE | self.tag(id) & ((1 << SIZE) - 1));
        }
    }

    /// A held block becomes one for an item of so many words.
    pub(crate) fn keep(&mut self, id: Id, words: u32) {
        self.set_tag(id, self.tag(id) & !HELD);
        self.trim(id, words);
    }

    /// The first block of a region that has so many words, the last such region.
    pub(crate) fn first(&self, words: u32) -> Option<Id> {
        let region = self
            .regions
            .iter()
            .rposition(|region| region.len() >= words as usize)?;
        Some((region as Id) << self.shift)
    }

    /// Words from a block to the end of its region.
    pub(crate) fn to_end(&self, id: Id) -> u32 {
        let (region, at) = self.place(id);
        (self.regions[region].len() - at) as u32
    }

    /// The last region's block that has the word so many words before its end, and how many words there are to the end.
    /// It is sought from the region's beginning.
    pub(crate) fn tail(&self, words: usize) -> Option<(Id, u32)> {
        let last = self.regions.len() - 1;
        let wanted = self.regions[last].len().saturating_sub(words.max(1));
        let mut id = (last as Id) << self.shift;
        while self.place(id).1 + (self.size(id) as usize) <= wanted {
            id = self.behind(id)?;
        }
        Some((id, self.to_end(id)))
    }

    /// Takes a held block at its region's end out of the arena, but for the words beyond `words` of it, which become
    /// free.
    pub(crate) fn cut(&mut self, id: Id, words: u32) {
        let (region, at) = self.place(id);
        let size = self.size(id);
        debug_assert!(
            self.is_held(id) && self.to_end(id) == size && region + 1 == self.regions.len()
        );
        self.used -= size as usize;
        let mut left = size.saturating_sub(words);
        if left < SMALLEST {
            left = if at == 0 && self.regions.len() > 1 {
                0
            } else {
                SMALLEST
            };
        }
        if at == 0 && left == 0 {
            self.regions.pop();
            return;
        }
        let after_free = self.tag(id) & AFTER_FREE;
        self.regions[region].cut(at + left as usize);
        self.set_tag(id, left << SIZE | USED | after_free);
        self.used += left as usize;
        self.give(id);
    }

    /// The items, in the order of their places.
    pub(crate) fn ids(&self) -> impl Iterator<Item = Id> {
        (0..self.regions.len()).flat_map(move |region| {
            let first = (region as Id) << self.shift;
            std::iter::successors(Some(first), |&id| self.behind(id))
                .filter(|&id| self.tag(id) & (USED | HELD) == USED)
        })
    }

    /// Writes a new item into its block.
    pub(crate) fn write(
        &mut self,
        id: Id,
        key: &[u8],
        hash: u32,
        flags: u32,
        expiry: Expiry,
        value: &[u8],
    ) {
        self[id].begin(key.len() as u8, value.len() as u32, hash, flags, expiry);
        let data = self.data_mut(id);
        data[..key.len()].copy_from_slice(key);
        data[key.len()..].copy_from_slice(value);
    }

    /// Another value for an item whose block has room for it.
    pub(crate) fn set_value(&mut self, id: Id, value: &[u8]) {
        let key_len = usize::from(self[id].key_len);
        debug_assert!(words(key_len + value.len()) <= self.size(id));
        self[id].value_len = value.len() as u32;
        self.data_mut(id)[key_len..].copy_from_slice(value);
    }

    /// Copies an item's fields and key, and its value if `whole`, into another block that has room.
    pub(crate) fn copy(&mut self, from: Id, to: Id, whole: bool) {
        let item = &self[from];
        let data = usize::from(item.key_len) + if whole { item.value_len as usize } else { 0 };
        let count = words(data) as usize;
        let tag = self.tag(to);
        let ((source, begin), (target, at)) = (self.place(from), self.place(to));
        if source == target {
            self.regions[source].copy(begin, at, count);
        } else if let Ok([source, target]) = self.regions.get_disjoint_mut([source, target]) {
            let bytes = count * WORD;
            target
                .bytes_mut(at, bytes)
                .copy_from_slice(source.bytes(begin, bytes));
        }
        self.set_tag(to, tag);
    }

    fn data_len(&self, id: Id) -> usize {
        let item = &self[id];
        usize::from(item.key_len) + item.value_len as usize
    }

    fn data(&self, id: Id) -> &[u8] {
        let (region, at) = self.place(id);
        self.regions[region].bytes(at + ITEM, self.data_len(id))
    }

    fn data_mut(&mut self, id: Id) -> &mut [u8] {
        let len = self.data_len(id);
        let (region, at) = self.place(id);
        self.regions[region].bytes_mut(at + ITEM, len)
    }

    pub(crate) fn key(&self, id: Id) -> &[u8] {
        &self.data(id)[..usize::from(self[id].key_len)]
    }

    pub(crate) fn value(&self, id: Id) -> &[u8] {
        &self.data(id)[usize::from(self[id].key_len)..]
    }

    /// What decides about an item.
    pub(crate) fn current(&self, id: Id) -> Current<'_> {
        let item = &self[id];
        Current {
            flags: item.flags,
            version: item.version,
            expiry: item.expiry,
            value: self.value(id),
        }
    }

    /// An item's size as memcached counts it.
    pub(crate) fn item_size(&self, id: Id) -> usize {
        let item = &self[id];
        tandem_memcache::item_size(item.key_len.into(), item.flags, item.value_len as usize)
    }

    /// Bytes that an item takes.
    pub(crate) fn charge(&self, id: Id) -> usize {
        self.size(id) as usize * WORD
    }
}

impl Index<Id> for Arena {
    type Output = Item;

    fn index(&self, id: Id) -> &Item {
        let (region, at) = self.place(id);
        self.regions[region].item(at)
    }
}

impl IndexMut<Id> for Arena {
    fn index_mut(&mut self, id: Id) -> &mut Item {
        let (region, at) = self.place(id);
        self.regions[region].item_mut(at)
    }
}

/// The bin of free blocks of so many words.
const fn bin(words: u32) -> usize {
    if words < EXACT {
        return words as usize;
    }
    let power = words.ilog2();
    let step = words >> (power - STEPS_BITS) & ((1 << STEPS_BITS) - 1);
    EXACT as usize + (((power - 4) << STEPS_BITS) + step) as usize
}

#[cfg(test)]
mod tests;
