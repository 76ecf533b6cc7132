//! Frames: a length, the number of the request, what kind of frame it is, a body.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The largest body in bytes. Senders split what is larger; a receiver hangs up on it.
pub const MAX_FRAME: usize = 64 * 1024 * 1024;

/// Bytes before the body, the length field included.
const HEAD: usize = 4 + 8 + 1;

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// From the side that connected.
    Request,
    /// The answer to the request of the same number.
    Answer,
    /// "Are you there?", when an answer is slow to come.
    Ping,
    /// "I am": the process runs, whatever its handlers wait for.
    Pong,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Request, Self::Answer, Self::Ping, Self::Pong];
}

/// One frame as it was received.
#[derive(Debug)]
pub(super) struct Frame {
    pub id: u64,
    pub kind: Kind,
    pub body: Bytes,
}

/// Appends a frame to `out`. The body is at most [`MAX_FRAME`] bytes.
pub(super) fn put(out: &mut BytesMut, id: u64, kind: Kind, body: &[u8]) {
    out.reserve(HEAD + body.len());
    out.put_u32((8 + 1 + body.len()) as u32);
    out.put_u64(id);
    out.put_u8(kind as u8);
    out.put_slice(body);
}

/// Bytes read at a time, at least.
const READ: usize = 16 * 1024;

/// Takes the first frame off `input` when it is complete; otherwise makes room for more of it.
pub(super) fn take(input: &mut BytesMut) -> io::Result<Option<Frame>> {
    let Some(length) = input.first_chunk::<4>().map(|b| u32::from_be_bytes(*b)) else {
        input.reserve(READ);
        return Ok(None);
    };
    let length = length as usize;
    if !(8 + 1..=MAX_FRAME + 8 + 1).contains(&length) {
        return Err(invalid("a frame of an impossible length"));
    }
    if input.len() < 4 + length {
        // The room is taken as the bytes come, so that a lying length costs its sender as much as us.
        let missing = 4 + length - input.len();
        input.reserve(missing.clamp(READ, 256 * 1024));
        return Ok(None);
    }
    let mut frame = input.split_to(4 + length);
    frame.advance(4);
    let id = frame.get_u64();
    let Some(kind) = Kind::ALL.get(usize::from(frame.get_u8())).copied() else {
        return Err(invalid("a frame of an unknown kind"));
    };
    let body = frame.freeze();
    Ok(Some(Frame { id, kind, body }))
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_comes_out_as_it_went_in_however_it_is_cut() {
        let mut whole = BytesMut::new();
        put(&mut whole, 7, Kind::Request, b"question");
        put(&mut whole, 7, Kind::Answer, b"");
        let mut input = BytesMut::new();
        let mut frames = Vec::new();
        for byte in whole {
            input.put_u8(byte);
            while let Some(frame) = take(&mut input).unwrap() {
                frames.push((frame.id, frame.kind, frame.body.to_vec()));
            }
        }
        let expected = [
            (7, Kind::Request, b"question".to_vec()),
            (7, Kind::Answer, vec![]),
        ];
        assert_eq!(frames, expected);
    }

    #[test]
    fn an_impossible_frame_is_an_error_and_not_an_allocation() {
        let mut huge = BytesMut::from(&u32::MAX.to_be_bytes()[..]);
        assert!(take(&mut huge).is_err());
        let mut short = BytesMut::from(&3u32.to_be_bytes()[..]);
        assert!(take(&mut short).is_err());
        let mut kind = BytesMut::new();
        put(&mut kind, 1, Kind::Pong, b"");
        kind[12] = 9;
        assert!(take(&mut kind).is_err());
    }
}
