//! What a program prints becomes lines of the node's log.

use std::io::{self, Read};

/// A longer line is cut, in bytes.
const LONGEST: usize = 8 * 1024;
/// What takes the place of what was cut off.
const CUT: &[u8] = b" [cut]";

/// Calls `line` for every line of `from` until it ends. Memory is one line and one buffer, however much is printed: a
/// program that prints faster than lines are taken waits.
pub(crate) fn forward(mut from: impl Read, mut line: impl FnMut(&[u8])) {
    let mut buffer = [0; 4 * 1024];
    let mut held: Vec<u8> = Vec::new();
    let mut cut = false;
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        for piece in buffer[..read].split_inclusive(|&b| b == b'\n') {
            let (text, ends) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            let room = LONGEST - held.len();
            held.extend_from_slice(&text[..text.len().min(room)]);
            cut |= text.len() > room;
            if ends {
                emit(&mut held, &mut cut, &mut line);
            }
        }
    }
    if !held.is_empty() {
        emit(&mut held, &mut cut, &mut line);
    }
}

fn emit(held: &mut Vec<u8>, cut: &mut bool, line: &mut impl FnMut(&[u8])) {
    if std::mem::take(cut) {
        held.extend_from_slice(CUT);
    }
    line(held.strip_suffix(b"\r").unwrap_or(held));
    held.clear();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(from: impl Read) -> Vec<String> {
        let mut lines = Vec::new();
        forward(from, |line| {
            lines.push(String::from_utf8_lossy(line).into_owned());
        });
        lines
    }

    /// Gives a few bytes at a time.
    struct Slowly<'a>(&'a [u8]);

    impl Read for Slowly<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let n = self.0.len().min(3).min(into.len());
            into[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }

    #[test]
    fn lines_are_whole_however_they_arrive() {
        let text = b"one\ntwo\r\n\nfour without end";
        let expected = ["one", "two", "", "four without end"];
        assert_eq!(lines(&text[..]), expected);
        assert_eq!(lines(Slowly(text)), expected);
    }

    #[test]
    fn a_flood_without_a_line_end_takes_one_line_of_memory() {
        let flood = io::repeat(b'x').take(64 << 20);
        let lines = lines(flood.chain(&b"\nnext\n"[..]));
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0].len(), LONGEST + CUT.len());
        assert!(lines[0].ends_with("x [cut]"));
        assert_eq!(lines[1], "next");
    }
}
