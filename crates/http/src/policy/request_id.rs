//! What tells one request from all others.

use std::cell::Cell;
use std::fmt::Write as _;

use crate::Request;

/// An id: 32 hexadecimal digits, or what a peer whose word is taken has stated.
pub(super) type RequestId = String;

/// The field in which nodes and trusted peers state an id.
const FIELD: &str = "x-request-id";
/// The longest stated id that is taken, in bytes.
const LONGEST: usize = 128;

thread_local! {
    /// Half of the ids of this worker, and the other half of its next one.
    static NEXT: Cell<Option<(u64, u64)>> = const { Cell::new(None) };
}

/// The id of a request: stated by a peer whose word is taken, or a new one.
pub(super) fn of(request: &Request<'_>) -> RequestId {
    let stated = request.field(FIELD).filter(|id| {
        request.trusted
            && !id.is_empty()
            && id.len() <= LONGEST
            && id.iter().all(|&b| b.is_ascii_graphic())
    });
    if let Some(id) = stated.and_then(|id| std::str::from_utf8(id).ok()) {
        return id.into();
    }
    let (worker, number) = NEXT.get().unwrap_or_else(|| (random(), random()));
    NEXT.set(Some((worker, number.wrapping_add(1))));
    let mut id = String::with_capacity(32);
    let _ = write!(id, "{worker:016x}{number:016x}");
    id
}

/// Random enough to be nobody else's: of the seed of a hash map.
fn random() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::time::SystemTime::now())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{with_request, with_trusted_request};

    #[test]
    fn an_id_is_new_unless_a_trusted_peer_states_it() {
        let head = "GET / HTTP/1.1\r\nHost: a\r\nX-Request-ID: abc\r\n\r\n";
        assert_eq!(with_trusted_request(head, of), "abc");
        let (first, second) = (with_request(head, of), with_request(head, of));
        assert_ne!(first, second);
        assert_eq!(first.len(), 32);
        let long = format!(
            "GET / HTTP/1.1\r\nHost: a\r\nX-Request-ID: {}\r\n\r\n",
            "a".repeat(129)
        );
        assert_eq!(with_trusted_request(&long, of).len(), 32);
    }
}
