//! Heads that come again.
//!
//! A client that asks twice over one connection mostly sends the same fields twice, and a server's small answers often
//! have the same head within a second. What a head says depends on its bytes alone, so that of one that is the same byte
//! for byte as the last one nothing has to be read anew: to compare a few hundred bytes is a tenth of the work of reading
//! them.

/// Longer heads are not remembered, in bytes: every connection that is busy remembers one each way.
const MOST: usize = 4 * 1024;

/// The last head that was read, as long as what was read of it is at hand.
#[derive(Default)]
pub(crate) struct Last {
    /// Empty where there is none.
    bytes: Vec<u8>,
    /// Where its fields begin.
    fields: usize,
}

impl Last {
    /// The length of the last head, if `bytes` begin with the same one.
    pub fn begins(&self, bytes: &[u8]) -> Option<usize> {
        let begins = !self.bytes.is_empty() && bytes.starts_with(&self.bytes);
        begins.then_some(self.bytes.len())
    }

    /// Where the fields of the last head began, if `bytes` begin with the same ones and the empty line behind them; and
    /// the length of these.
    pub fn fields(&self, bytes: &[u8]) -> Option<(usize, usize)> {
        let fields = &self.bytes[self.fields..];
        (!fields.is_empty() && bytes.starts_with(fields)).then_some((self.fields, fields.len()))
    }

    /// What was read of the last head is no longer at hand.
    pub fn forget(&mut self) {
        self.bytes.clear();
        self.fields = 0;
    }

    /// Remembers a head, whose fields begin at `fields`.
    pub fn remember(&mut self, head: &[u8], fields: usize) {
        self.forget();
        if head.len() <= MOST {
            self.bytes.extend_from_slice(head);
            self.fields = fields;
        }
    }
}

/// What a copy is made of goes its own ways.
impl Clone for Last {
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// It is no part of what was read.
impl std::fmt::Debug for Last {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("..")
    }
}
