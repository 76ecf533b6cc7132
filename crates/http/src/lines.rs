//! The lines of a head, taken apart in one pass: what stands where, and that nothing stands there that may not (RFC 9112
//! sections 2 to 5).
//!
//! Every line ends with CR and LF, and the bytes of it are looked at once: to find the end of a field's value is to find
//! the first control byte behind its name, which has to be that CR. General parsers look at a head three times, for its
//! end, for its parts and for what they mean, and that is a fifth of what a small request costs.

/// Why a head cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It goes on where the bytes end.
    Short,
    /// A line ends with LF alone.
    LineEnd,
    /// A line is no field, or its name is no token.
    Name,
    /// A value has a control byte.
    Value,
    /// There are more fields than may be.
    TooMany,
}

/// Letters, digits and these marks, by their bytes.
pub(crate) const fn alphanumeric_or(marks: &[u8]) -> [bool; 256] {
    let mut is_in = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        is_in[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut at = 0;
    while at < marks.len() {
        is_in[marks[at] as usize] = true;
        at += 1;
    }
    is_in
}

/// The bytes of names and methods (RFC 9110 section 5.6.2).
const TOKEN: [bool; 256] = alphanumeric_or(b"!#$%&'*+-.^_`|~");

/// Whether a byte may stand in a name or a method.
pub(crate) fn is_token(byte: u8) -> bool {
    TOKEN[usize::from(byte)]
}

/// Where the token at `at` ends, and the byte behind it.
pub(crate) fn token(bytes: &[u8], at: usize) -> Result<(usize, u8), Fault> {
    let rest = &bytes[at..];
    let length = rest.iter().position(|&byte| !is_token(byte));
    let length = length.ok_or(Fault::Short)?;
    Ok((at + length, rest[length]))
}

/// The first byte from `at` on that ends a text: a control byte or, with `SPACES`, also a space.
pub(crate) fn text<const SPACES: bool>(bytes: &[u8], at: usize) -> Result<(usize, u8), Fault> {
    const ONES: u64 = u64::MAX / 0xff;
    const HIGH: u64 = ONES * 0x80;
    let below = if SPACES { 0x21 } else { 0x20 };
    let rest = &bytes[at..];
    let (words, tail) = rest.as_chunks::<8>();
    for (number, word) in words.iter().enumerate() {
        // The high bit of the lowest byte that is meant is set, and of none below it; of those above it need not be true.
        let word = u64::from_le_bytes(*word);
        let low = word.wrapping_sub(ONES * below) & !word;
        let delete = word ^ (ONES * 0x7f);
        let delete = delete.wrapping_sub(ONES) & !delete;
        let found = (low | delete) & HIGH;
        if found != 0 {
            let length = number * 8 + found.trailing_zeros() as usize / 8;
            return Ok((at + length, rest[length]));
        }
    }
    let ends = |&byte: &u8| byte < below as u8 || byte == 0x7f;
    let length = tail.iter().position(ends).ok_or(Fault::Short)? + words.len() * 8;
    Ok((at + length, rest[length]))
}

/// As [`text`], of a field's value or a reason, where tabs may stand.
pub(crate) fn value(bytes: &[u8], at: usize) -> Result<(usize, u8), Fault> {
    let (mut end, mut byte) = text::<false>(bytes, at)?;
    while byte == b'\t' {
        (end, byte) = text::<false>(bytes, end + 1)?;
    }
    Ok((end, byte))
}

/// Passes a line's end at `at`, which begins with `byte`. `wrong` is what it is when the line does not end here.
pub(crate) fn line_end(bytes: &[u8], at: usize, byte: u8, wrong: Fault) -> Result<usize, Fault> {
    match (byte, bytes.get(at + 1)) {
        (b'\r', Some(b'\n')) => Ok(at + 2),
        (b'\r', None) => Err(Fault::Short),
        (b'\n', _) => Err(Fault::LineEnd),
        _ => Err(wrong),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tokens_are_of_the_bytes_that_the_rfc_names() {
        let token: String = (0..=u8::MAX)
            .filter(|&byte| is_token(byte))
            .map(char::from)
            .collect();
        assert_eq!(
            token,
            "!#$%&'*+-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ^_`abcdefghijklmnopqrstuvwxyz|~"
        );
    }

    proptest! {
        #[test]
        fn a_text_ends_at_its_first_control_byte(
            bytes in proptest::collection::vec(prop_oneof![9 => 0x1eu8..=0xff, 1 => any::<u8>()], 0..64),
            at in 0usize..64,
        ) {
            let at = at.min(bytes.len());
            let first = |ends: fn(u8) -> bool| {
                let length = bytes[at..].iter().position(|&byte| ends(byte));
                length.map(|length| (at + length, bytes[at + length])).ok_or(Fault::Short)
            };
            prop_assert_eq!(text::<false>(&bytes, at), first(|byte| byte.is_ascii_control()));
            prop_assert_eq!(text::<true>(&bytes, at), first(|byte| byte.is_ascii_control() || byte == b' '));
        }
    }
}
