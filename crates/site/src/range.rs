//! Step 7: a part of a file (RFC 9110 section 14).

/// What a Range field asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// Nothing that exists: 416.
    Nowhere,
}

/// Reads a Range field against a file of `size` bytes. Several ranges are answered with the whole file, which
/// RFC 9110 section 14.2 allows; so is what cannot be read.
pub(crate) fn select(field: &[u8], size: u64) -> Range {
    let Some(at) = field.iter().position(|&b| b == b'=') else {
        return Range::Whole;
    };
    let (unit, set) = (&field[..at], &field[at + 1..]);
    // Empty elements of a list do not count (RFC 9110 section 5.6.1.2).
    let mut specs = set
        .split(|&b| b == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|s| !s.is_empty());
    let (Some(spec), None) = (specs.next(), specs.next()) else {
        return Range::Whole;
    };
    if !unit.eq_ignore_ascii_case(b"bytes") {
        return Range::Whole;
    }
    one(spec, size).unwrap_or(Range::Whole)
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
            "bytes=0-1,5-6",
            "bytes=--1",
            "0-1",
            "bytes 0-1",
            "bytes=0-1;2-3",
        ] {
            assert_eq!(select(field.as_bytes(), 100), Range::Whole, "{field}");
        }
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
            if let Range::Part { offset, length } = select(field.as_bytes(), size) {
                prop_assert!(length > 0 && offset.checked_add(length).unwrap() <= size);
            }
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(field in proptest::collection::vec(any::<u8>(), 0..40)) {
            select(&field, 100);
        }
    }
}
