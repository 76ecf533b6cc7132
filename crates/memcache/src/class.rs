//! Sizes in classes as memcached has them, for statistics alone: what tools read is per class.

/// The smallest item of memcached in bytes, without what `-n` adds.
const HEADER: usize = 48;
/// Classes at most.
const MOST: usize = 63;
/// A page of memcached in bytes.
const PAGE: usize = 1024 * 1024;

/// Sizes up to this many bytes have their class in a table: it is looked up with every operation.
const SMALL: usize = 4096;

/// Upper bounds of the classes in bytes. Class numbers begin at 1.
#[derive(Clone, Debug)]
pub struct Classes {
    sizes: Box<[u32]>,
    /// By size in steps of 8 bytes, rounded up.
    small: Box<[u8]>,
}

impl Classes {
    /// Classes that grow by `factor` (memcached's `-f`) from the one of items of `least` bytes of key, value and flags
    /// (`-n`) on; the last is for all that is larger than half of `max_item`.
    pub fn new(factor: f64, least: usize, max_item: usize) -> Self {
        // A multiple of 8, as all of them are.
        let largest = (max_item / 2).clamp(HEADER, PAGE / 2) & !7;
        let mut sizes = Vec::new();
        let mut size = HEADER + least;
        while sizes.len() + 1 < MOST && (size as f64) <= largest as f64 / factor {
            size = size.next_multiple_of(8);
            sizes.push(size as u32);
            size = (size as f64 * factor) as usize;
        }
        sizes.push(largest as u32);
        let mut classes = Self {
            sizes: sizes.into(),
            small: Box::default(),
        };
        let steps = 0..=SMALL / 8;
        classes.small = steps.map(|step| classes.find(step * 8) as u8).collect();
        classes
    }

    /// The class of an item of so many bytes: see [`crate::item_size`].
    #[inline]
    pub fn of(&self, size: usize) -> usize {
        match self.small.get(size.div_ceil(8)) {
            Some(&class) => class.into(),
            None => self.find(size),
        }
    }

    fn find(&self, size: usize) -> usize {
        let below = self.sizes.partition_point(|&most| (most as usize) < size);
        below.min(self.sizes.len() - 1) + 1
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.sizes.len()
    }

    /// Bytes of an item of this class at most; 0 if there is no such class.
    pub fn size(&self, class: usize) -> usize {
        class
            .checked_sub(1)
            .and_then(|at| self.sizes.get(at))
            .map_or(0, |&size| size as usize)
    }

    /// How many items memcached has on a page.
    pub fn per_page(&self, class: usize) -> usize {
        PAGE / self.size(class).max(1)
    }

    /// Reads `all`, `hash`, or numbers with commas between them; bit 0 is set for all.
    pub(crate) fn chosen(&self, list: &[u8]) -> Option<u64> {
        if matches!(list, b"all" | b"hash") {
            return Some(u64::MAX);
        }
        let mut chosen = 0;
        for word in list.split(|&b| b == b',') {
            let class = crate::text::unsigned(word)
                .filter(|class| (1..=self.count() as u64).contains(class))?;
            chosen |= 1 << class;
        }
        Some(chosen)
    }
}

impl Default for Classes {
    fn default() -> Self {
        Self::new(1.25, 48, crate::MAX_VALUE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_memcacheds() {
        // As `stats slabs` of memcached 1.6.18 shows them.
        let classes = Classes::default();
        assert_eq!(classes.count(), 39);
        assert_eq!((classes.size(1), classes.per_page(1)), (96, 10_922));
        assert_eq!((classes.size(15), classes.per_page(15)), (2_320, 451));
        assert_eq!((classes.of(67), classes.of(96), classes.of(97)), (1, 1, 2));
        assert_eq!(classes.of(2_063), 15);
        assert_eq!(classes.of(1_000_000), 39);
        assert_eq!((classes.size(0), classes.size(40)), (0, 0));
        for other in [
            Classes::default(),
            Classes::new(1.07, 5, 3_001),
            Classes::new(2.0, 1, 1 << 27),
        ] {
            for size in 0..10_000 {
                assert_eq!(other.of(size), other.find(size), "{size}");
            }
        }
    }

    #[test]
    fn lists_of_classes_are_read() {
        let classes = Classes::default();
        assert_eq!(classes.chosen(b"all"), Some(u64::MAX));
        assert_eq!(classes.chosen(b"1,3"), Some(0b1010));
        for bad in ["0", "40", "x", "", "1,,2", "-1"] {
            assert_eq!(classes.chosen(bad.as_bytes()), None, "{bad}");
        }
    }
}
