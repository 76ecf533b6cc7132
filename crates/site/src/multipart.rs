//! Step 9b: several parts of a file in one answer (RFC 9110 section 14.6).

use std::io::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use tandem_http::Reply;

use crate::entry::{Content, Entry};

/// Several parts of a file, to be put together. [`range`](crate::range) bounds how many and how large.
pub(crate) struct Multipart {
    entry: Arc<Entry>,
    /// First byte and length of each.
    parts: Vec<(u64, u64)>,
    service: Arc<str>,
}

impl Multipart {
    pub(crate) fn new(entry: Arc<Entry>, parts: Vec<(u64, u64)>, service: Arc<str>) -> Self {
        Self {
            entry,
            parts,
            service,
        }
    }

    /// Whether [`read`](Self::read) needs the disk.
    pub(crate) fn is_on_disk(&self) -> bool {
        matches!(self.entry.content, Content::File(_))
    }

    /// Reads the parts, and writes the answer. `None`: they cannot be read.
    pub(crate) fn read(self) -> Option<Reply> {
        let entry = &*self.entry;
        // The parts have the type of the whole, and the whole says that it is parts.
        let fields = String::from_utf8_lossy(&entry.fields);
        let (kind, rest) = fields.split_once("\r\n").unwrap_or_default();
        let mut content = Vec::new();
        for (offset, length) in &self.parts {
            let mut bytes = vec![0; *length as usize];
            if !entry.read(&mut bytes, *offset) {
                return None;
            }
            content.push(bytes);
        }
        let boundary = boundary(&content);
        let mut body = Vec::new();
        for ((offset, length), bytes) in self.parts.iter().zip(content) {
            let (last, size) = (offset + length - 1, entry.size);
            // Writing to a vector does not fail.
            let _ = write!(
                body,
                "\r\n--{boundary}\r\n{kind}\r\nContent-Range: bytes {offset}-{last}/{size}\r\n\r\n"
            );
            body.extend_from_slice(&bytes);
        }
        let _ = write!(body, "\r\n--{boundary}--\r\n");
        let fields = format!("Content-Type: multipart/byteranges; boundary={boundary}\r\n{rest}");
        Some(Reply {
            status: 206,
            fields: Bytes::from(fields),
            body: Bytes::from(body),
            service: self.service,
            close: false,
        })
    }
}

/// A line that none of the parts has in it (RFC 2046 section 5.1.1).
fn boundary(parts: &[Vec<u8>]) -> String {
    let mut number = 0u64;
    loop {
        let boundary = format!("tandem-{number:016x}");
        let line = format!("--{boundary}");
        let taken = |part: &Vec<u8>| part.windows(line.len()).any(|at| at == line.as_bytes());
        if !parts.iter().any(taken) {
            return boundary;
        }
        // The parts are bounded, so they hold so many of these only.
        number += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::boundary;

    #[test]
    fn a_boundary_is_in_none_of_the_parts() {
        let first = boundary(&[]);
        let second = boundary(&[b"x".to_vec(), format!("\r\n--{first}").into_bytes()]);
        assert_ne!(first, second);
        assert_eq!(boundary(&[first.clone().into_bytes()]), first);
    }
}
