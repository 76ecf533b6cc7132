//! The chunked transfer coding (RFC 9112 section 7.1), decoded in place.
//!
//! Stricter than the RFC's grammar where other parsers are known to differ: no bare LF, no white space around the size,
//! no control bytes in extensions. Extensions are checked and dropped, trailers are checked and kept.

use crate::lines::is_token;

/// The longest line of framing: a size with its extensions, in bytes.
const MAX_LINE: usize = 4096;
/// All trailers together, in bytes.
const MAX_TRAILERS: usize = 8192;
/// Digits of a size: more would not fit.
const MAX_DIGITS: u32 = 15;

/// A body that breaks the coding's rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkError;

/// What was found in a piece of input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// The piece now begins with so many bytes of data.
    pub data: usize,
    /// So many bytes of the input were read; all, unless the body ended.
    pub consumed: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size { digits: u32 },
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
    Done,
}

/// A decoder of one body.
#[derive(Clone, Debug)]
pub struct Chunked {
    state: State,
    left: u64,
    line: usize,
    /// The lines of the fields behind the data.
    trailers: Vec<u8>,
}

impl Default for Chunked {
    fn default() -> Self {
        Self {
            state: State::Size { digits: 0 },
            left: 0,
            line: 0,
            trailers: Vec::new(),
        }
    }
}

impl Chunked {
    /// Whether the body's end was read.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// The lines of the fields behind the data; complete when it is done.
    pub fn take_trailers(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.trailers)
    }

    /// Reads `piece`, the next bytes of the body in any cut, and moves the data in it to its beginning.
    ///
    /// # Errors
    /// When the coding is broken; the decoder is of no use then.
    pub fn decode(&mut self, piece: &mut [u8]) -> Result<Decoded, ChunkError> {
        let (mut read, mut data) = (0, 0);
        while read < piece.len() && self.state != State::Done {
            if self.state == State::Data {
                let here = usize::try_from(self.left)
                    .unwrap_or(usize::MAX)
                    .min(piece.len() - read);
                if data != read {
                    piece.copy_within(read..read + here, data);
                }
                (read, data, self.left) = (read + here, data + here, self.left - here as u64);
                if self.left == 0 {
                    self.state = State::DataCr;
                }
            } else {
                self.state = self.framing(piece[read])?;
                read += 1;
            }
        }
        Ok(Decoded {
            data,
            consumed: read,
        })
    }

    /// One byte that is not data.
    fn framing(&mut self, b: u8) -> Result<State, ChunkError> {
        Ok(match (self.state, b) {
            (State::Size { digits }, _)
                if b.is_ascii_hexdigit() && digits < MAX_DIGITS && self.line < MAX_LINE =>
            {
                let digit = char::from(b).to_digit(16).unwrap_or_default();
                self.left = self.left << 4 | u64::from(digit);
                self.line += 1;
                // Zeros before a number make it no larger.
                let digits = if self.left == 0 { 1 } else { digits + 1 };
                State::Size { digits }
            }
            (State::Size { digits: 1.. }, b';') => {
                self.line = 0;
                State::Extension
            }
            (State::Size { digits: 1.. } | State::Extension, b'\r') => State::SizeLf,
            (State::Extension, b'\t' | b' '..=b'~' | 0x80..) if self.line < MAX_LINE => {
                self.line += 1;
                State::Extension
            }
            (State::SizeLf, b'\n') if self.left == 0 => State::TrailerStart,
            (State::SizeLf, b'\n') => State::Data,
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => {
                self.line = 0;
                State::Size { digits: 0 }
            }
            (State::TrailerStart, b'\r') => State::EndLf,
            (State::TrailerStart | State::TrailerName, _) if is_token(b) => {
                self.trailer(b)?;
                State::TrailerName
            }
            (State::TrailerName, b':') => {
                self.trailer(b)?;
                State::TrailerValue
            }
            (State::TrailerValue, b'\r') => State::TrailerLf,
            (State::TrailerValue, b'\t' | b' '..=b'~' | 0x80..) => {
                self.trailer(b)?;
                State::TrailerValue
            }
            (State::TrailerLf, b'\n') => {
                self.trailers.extend_from_slice(b"\r\n");
                State::TrailerStart
            }
            (State::EndLf, b'\n') => State::Done,
            _ => return Err(ChunkError),
        })
    }

    fn trailer(&mut self, b: u8) -> Result<(), ChunkError> {
        if self.trailers.len() >= MAX_TRAILERS {
            return Err(ChunkError);
        }
        self.trailers.push(b);
        Ok(())
    }
}

/// A token's byte (RFC 9110 section 5.6.2).
#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Decodes `body` cut into pieces of `step`; the data, and how many bytes were left over.
    fn decode(body: &[u8], step: usize) -> Result<(Vec<u8>, Option<usize>), ChunkError> {
        let (mut chunked, mut data, mut at) = (Chunked::default(), Vec::new(), 0);
        while at < body.len() {
            let mut piece = body[at..body.len().min(at + step)].to_vec();
            let decoded = chunked.decode(&mut piece)?;
            data.extend_from_slice(&piece[..decoded.data]);
            at += decoded.consumed;
            if chunked.is_done() {
                return Ok((data, Some(body.len() - at)));
            }
        }
        Ok((data, None))
    }

    #[test]
    fn bodies_are_read_to_their_end_and_not_further() {
        for (body, data, left) in [
            (&b"0\r\n\r\n"[..], &b""[..], 0),
            (b"5\r\nhello\r\n0\r\n\r\nGET /", b"hello", 5),
            (
                b"5;a=\"b\"\r\nhello\r\n0;x\r\nA: b\r\nC:\r\n\r\n",
                b"hello",
                0,
            ),
            (
                b"A\r\n0123456789\r\n1\r\n!\r\n000\r\n\r\n",
                b"0123456789!",
                0,
            ),
            (
                b"00000000000000000002\r\nab\r\n00000000000000000000\r\n\r\n",
                b"ab",
                0,
            ),
        ] {
            for step in 1..=body.len() {
                assert_eq!(
                    decode(body, step),
                    Ok((data.to_vec(), Some(left))),
                    "{} by {step}",
                    body.escape_ascii()
                );
            }
        }
    }

    #[test]
    fn what_two_parsers_could_read_differently_is_refused() {
        for body in [
            &b"\r\n"[..],
            b"g\r\n",
            b"-1\r\n",
            b"+1\r\n",
            b"0x1\r\n",
            b" 1\r\n",
            b"1 \r\n",
            b"1\n",
            b"1;a\n",
            b"1;a\0\r\n",
            b"1\rX",
            b"1\r\naX",
            b"1\r\na\n",
            b"1\r\na\rX",
            b"1000000000000000\r\n",
            b"0\r\n\n",
            b"0\r\nA b: c\r\n",
            b"0\r\n folded\r\n",
            b"0\r\nA: b\0\r\n",
            b"0\r\nA: b\n",
            b"0\r\n\rX",
        ] {
            for step in 1..=body.len() {
                assert_eq!(
                    decode(body, step),
                    Err(ChunkError),
                    "{}",
                    body.escape_ascii()
                );
            }
        }
        let zeros = "0".repeat(MAX_LINE + 1);
        assert_eq!(decode(zeros.as_bytes(), 7), Err(ChunkError));
        let long = [b"1;", "a".repeat(MAX_LINE + 1).as_bytes(), b"\r\n"].concat();
        assert_eq!(decode(&long, long.len()), Err(ChunkError));
        let trailers = [b"0\r\nA: ", "b".repeat(MAX_TRAILERS).as_bytes()].concat();
        assert_eq!(decode(&trailers, 100), Err(ChunkError));
    }

    proptest! {
        #[test]
        fn any_input_in_any_cut_gives_the_same(body in "[0-9a-f;\r\n]{0,60}", step in 1usize..20) {
            let whole = decode(body.as_bytes(), usize::MAX / 2);
            let cut = decode(body.as_bytes(), step);
            prop_assert_eq!(whole.is_err(), cut.is_err());
            if let (Ok(whole), Ok(cut)) = (whole, cut) {
                prop_assert_eq!(whole, cut);
            }
        }
    }
}
