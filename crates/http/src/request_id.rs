//! What tells one request from all others.

use std::cell::Cell;

use crate::field::Kind;
use crate::{Cx, Request};

/// The longest stated id that is taken, in bytes.
const LONGEST: usize = 128;
/// The digits of every byte.
const HEX: [[u8; 2]; 256] = {
    let digits = b"0123456789abcdef";
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [digits[byte >> 4], digits[byte & 0xf]];
        byte += 1;
    }
    pairs
};
/// Digits of an id that is made here.
pub(crate) const DIGITS: usize = 32;

thread_local! {
    /// Half of the ids of this worker, and the other half of its next one.
    static NEXT: Cell<Option<(u64, u64)>> = const { Cell::new(None) };
}

/// An id that is made here: of the worker, and a number that only grows. It is cheap to make, and written only where
/// somebody wants to see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Made(u64, u64);

impl Made {
    pub fn next() -> Self {
        let (worker, number) = NEXT.get().unwrap_or_else(|| (random(), random()));
        NEXT.set(Some((worker, number.wrapping_add(1))));
        Self(worker, number)
    }
}

/// The id of a request: stated by a peer whose word is taken, or made here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestId<'a> {
    Stated(&'a [u8]),
    Made(Made),
}

impl<'a> RequestId<'a> {
    pub fn of(request: &Request<'a>, cx: &Cx) -> Self {
        let (head, bytes) = (request.head, request.bytes);
        let mut stated = head.fields.values(bytes, Kind::RequestId);
        let stated = stated.next().filter(|id| {
            request.trusted
                && !id.is_empty()
                && id.len() <= LONGEST
                && id.iter().all(u8::is_ascii_graphic)
        });
        stated.map_or(Self::Made(cx.made), Self::Stated)
    }

    /// As text; `digits` is where one that was made here is written.
    pub fn text<'b>(self, digits: &'b mut [u8; DIGITS]) -> &'b [u8]
    where
        'a: 'b,
    {
        match self {
            Self::Stated(id) => id,
            Self::Made(Made(worker, number)) => {
                let all = (u128::from(worker) << 64) | u128::from(number);
                let (pairs, _) = digits.as_chunks_mut::<2>();
                for (pair, byte) in pairs.iter_mut().zip(all.to_be_bytes()) {
                    *pair = HEX[usize::from(byte)];
                }
                digits
            }
        }
    }
}

/// Random enough to be nobody else's: of the seed of a hash map.
fn random() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::time::SystemTime::now())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{cx, with_request, with_trusted_request};

    fn id(request: &Request<'_>) -> String {
        let mut digits = [0; DIGITS];
        let id = RequestId::of(request, &cx());
        String::from_utf8(id.text(&mut digits).to_vec()).unwrap()
    }

    #[test]
    fn an_id_is_new_unless_a_trusted_peer_states_it() {
        let head = "GET / HTTP/1.1\r\nHost: a\r\nX-Request-ID: abc\r\n\r\n";
        assert_eq!(with_trusted_request(head, id), "abc");
        let (first, second) = (with_request(head, id), with_request(head, id));
        assert_ne!(first, second);
        assert!(first.len() == 32 && first.bytes().all(|b| b.is_ascii_hexdigit()));
        assert_eq!(first[..16], second[..16], "of one worker");
        let long = format!(
            "GET / HTTP/1.1\r\nHost: a\r\nX-Request-ID: {}\r\n\r\n",
            "a".repeat(129)
        );
        assert_eq!(with_trusted_request(&long, id).len(), 32);
    }

    #[test]
    fn all_that_ask_for_the_id_of_a_request_get_the_same() {
        with_request("GET / HTTP/1.1\r\nHost: a\r\n\r\n", |request| {
            let cx = cx();
            assert_eq!(RequestId::of(request, &cx), RequestId::of(request, &cx));
        });
    }
}
