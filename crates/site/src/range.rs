//! Step 8: parts of a file (RFC 9110 section 14).

/// Parts sent in one answer; more are answered with the whole file.
const MOST_PARTS: usize = 16;
/// What several parts may come to together, in bytes: they are put together in memory.
const LARGEST_PARTS: u64 = 1 << 20;

/// What a Range field asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Range {
    /// Everything: there is none, or none that is understood.
    Whole,
    /// So many bytes from here; never empty, never beyond the end.
    Part {
        /// The first byte.
        offset: u64,
        /// How many.
        length: u64,
    },
    /// Two or more such parts, first byte and length, that do not overlap.
    Parts(Vec<(u64, u64)>),
    /// Nothing that exists: 416.
    Nowhere,
}

/// Reads a Range field against a file of `size` bytes. What cannot be read is answered with the whole file, and so
/// are parts that overlap, are many, or come to more than they spare: they cost us more than the client gains
/// (RFC 9110 section 14.2).
pub(crate) fn select(field: &[u8], size: u64) -> Range {
    let Some(at) = field.iter().position(|&b| b == b'=') else {
        return Range::Whole;
    };
    let (unit, set) = (&field[..at], &field[at + 1..]);
    if !unit.eq_ignore_ascii_case(b"bytes") {
        return Range::Whole;
    }
    // Empty elements of a list do not count (RFC 9110 section 5.6.1.2).
    let specs = set
        .split(|&b| b == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|s| !s.is_empty());
    let mut parts = Vec::new();
    let mut asked = 0;
    for spec in specs {
        asked += 1;
        match one(spec, size) {
            Some(Range::Part { offset, length }) if asked <= MOST_PARTS => {
                parts.push((offset, length));
            }
            Some(Range::Nowhere) if asked <= MOST_PARTS => {}
            _ => return Range::Whole,
        }
    }
    match parts[..] {
        [] if asked == 0 => Range::Whole,
        [] => Range::Nowhere,
        [(offset, length)] => Range::Part { offset, length },
        _ if is_worth_it(&parts, size) => Range::Parts(parts),
        _ => Range::Whole,
    }
}

fn is_worth_it(parts: &[(u64, u64)], size: u64) -> bool {
    let mut sorted = parts.to_vec();
    sorted.sort_unstable();
    let apart = sorted.windows(2).all(|two| two[0].0 + two[0].1 <= two[1].0);
    // Apart, they add up to no more than the size.
    apart && sorted.iter().map(|part| part.1).sum::<u64>() <= LARGEST_PARTS.min(size)
}

/// `first-`, `first-last` or `-length`; `None` is not a range.
fn one(spec: &[u8], size: u64) -> Option<Range> {
    let dash = spec.iter().position(|&b| b == b'-')?;
    let (first, last) = (&spec[..dash], &spec[dash + 1..]);
    if first.is_empty() {
        return Some(match number(last)? {
            0 => Range::Nowhere,
            _ if size == 0 => Range::Whole,
            length => Range::Part {
                offset: size.saturating_sub(length),
                length: length.min(size),
            },
        });
    }
    let first = number(first)?;
    let last = if last.is_empty() {
        u64::MAX
    } else {
        number(last)?
    };
    if last < first {
        return None;
    }
    if first >= size {
        return Some(Range::Nowhere);
    }
    let last = last.min(size - 1);
    Some(Range::Part {
        offset: first,
        length: last - first + 1,
    })
}

/// Digits alone; what is too large for 64 bits is beyond every end.
fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(text.iter().fold(0u64, |sum, digit| {
        sum.saturating_mul(10)
            .saturating_add(u64::from(digit - b'0'))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn part(offset: u64, length: u64) -> Range {
        Range::Part { offset, length }
    }

    #[test]
    fn a_single_range_selects_what_it_says() {
        for (field, expected) in [
            ("bytes=0-0", part(0, 1)),
            ("bytes=0-", part(0, 100)),
            ("bytes=0-99", part(0, 100)),
            ("bytes=0-1000", part(0, 100)),
            ("bytes=99-", part(99, 1)),
            ("bytes=10-19", part(10, 10)),
            ("bytes=-1", part(99, 1)),
            ("bytes=-100", part(0, 100)),
            ("bytes=-1000", part(0, 100)),
            ("BYTES= 5-6 ", part(5, 2)),
            ("bytes=, 5-6,", part(5, 2)),
            ("bytes=5-99999999999999999999999", part(5, 95)),
            ("bytes=100-", Range::Nowhere),
            ("bytes=100-200", Range::Nowhere),
            ("bytes=99999999999999999999999-", Range::Nowhere),
            ("bytes=-0", Range::Nowhere),
        ] {
            assert_eq!(select(field.as_bytes(), 100), expected, "{field}");
        }
    }

    #[test]
    fn what_is_not_understood_is_ignored() {
        for field in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=a-b",
            "bytes=5-4",
            "bytes=1-2-3",
            "bytes=+1-2",
            "items=0-1",
            "bytes=0-1,1-6",
            "bytes=0-1,x",
            "bytes=0-0,2-2,4-4,6-6,8-8,10-10,12-12,14-14,16-16,18-18,20-20,22-22,24-24,26-26,28-28,30-30,32-32",
            "bytes=--1",
            "0-1",
            "bytes 0-1",
            "bytes=0-1;2-3",
        ] {
            assert_eq!(select(field.as_bytes(), 100), Range::Whole, "{field}");
        }
    }

    #[test]
    fn several_ranges_are_parts_in_the_order_asked_for() {
        let parts = |field: &str| select(field.as_bytes(), 100);
        assert_eq!(
            parts("bytes=50-59, 0-9,-1"),
            Range::Parts(vec![(50, 10), (0, 10), (99, 1)])
        );
        assert_eq!(parts("bytes=0-9,100-"), part(0, 10), "one is left");
        assert_eq!(parts("bytes=100-,200-"), Range::Nowhere);
        assert_eq!(
            select(b"bytes=0-999999,1000000-3000000", 1 << 30),
            Range::Whole,
            "too much to put together"
        );
    }

    #[test]
    fn an_empty_file_has_no_parts() {
        assert_eq!(select(b"bytes=0-", 0), Range::Nowhere);
        assert_eq!(select(b"bytes=-5", 0), Range::Whole);
    }

    proptest! {
        #[test]
        fn a_part_is_never_empty_or_beyond_the_end(
            field in "(bytes=)?[0-9,\\- ]{0,30}",
            size in prop_oneof![0u64..50, any::<u64>()],
        ) {
            let parts = match select(field.as_bytes(), size) {
                Range::Part { offset, length } => vec![(offset, length)],
                Range::Parts(parts) => parts,
                Range::Whole | Range::Nowhere => Vec::new(),
            };
            for (offset, length) in parts {
                prop_assert!(length > 0 && offset.checked_add(length).unwrap() <= size);
            }
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(field in proptest::collection::vec(any::<u8>(), 0..40)) {
            select(&field, 100);
        }
    }
}
