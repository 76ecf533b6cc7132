//! The last small answer from memory, whole, as it was sent.
//!
//! Most small files are asked for again and again, by one client after another: what goes out is then the same, byte for
//! byte, until the second is over. It is neither put together nor copied again.

use bytes::Bytes;

use crate::Reply;
use crate::rewrite::Keep;

/// An answer and what it was made of.
#[derive(Default)]
pub(super) struct Whole {
    pub bytes: Vec<u8>,
    /// How long its head is.
    pub head: usize,
    of: Option<Of>,
}

struct Of {
    /// Held, so that no other bytes can lie where these do.
    fields: Bytes,
    body: Bytes,
    keep: Keep,
    /// The second of its date.
    second: u64,
}

impl Whole {
    /// Whether it is what this reply, of status 200 and changed by nobody, makes.
    pub fn is(&self, reply: &Reply, keep: Keep, second: u64) -> bool {
        self.of.as_ref().is_some_and(|of| {
            of.second == second
                && of.keep == keep
                && is_there(&of.fields, &reply.fields)
                && is_there(&of.body, &reply.body)
        })
    }

    /// It is what these make, from now on.
    pub fn made_of(&mut self, fields: Bytes, body: Bytes, keep: Keep, second: u64) {
        self.of = Some(Of {
            fields,
            body,
            keep,
            second,
        });
    }

    /// It is nothing, until it is made anew.
    pub fn forget(&mut self) {
        self.of = None;
    }
}

/// Whether both are the same bytes of memory.
fn is_there(a: &Bytes, b: &Bytes) -> bool {
    (a.as_ptr(), a.len()) == (b.as_ptr(), b.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_same_answer_only_if_nothing_it_was_made_of_differs() {
        let fields = Bytes::from("X: 1\r\n".to_owned());
        let reply = Reply {
            status: 200,
            fields: fields.clone(),
            body: Bytes::from("body".to_owned()),
            service: "site".into(),
            close: false,
        };
        let mut whole = Whole::default();
        assert!(!whole.is(&reply, Keep::Implied, 7));
        whole.made_of(fields, reply.body.clone(), Keep::Implied, 7);
        assert!(whole.is(&reply, Keep::Implied, 7));
        assert!(!whole.is(&reply, Keep::Implied, 8));
        assert!(!whole.is(&reply, Keep::Close, 7));
        for other in [
            Reply {
                body: Bytes::from("body".to_owned()),
                ..reply.clone()
            },
            Reply {
                body: reply.body.slice(..3),
                ..reply.clone()
            },
            Reply {
                fields: Bytes::new(),
                ..reply.clone()
            },
        ] {
            assert!(!whole.is(&other, Keep::Implied, 7));
        }
        whole.forget();
        assert!(!whole.is(&reply, Keep::Implied, 7));
    }
}
