//! What the server loop needs of a store.

use std::future::Future;
use std::pin::Pin;

use crate::extended::{self, Details, Extended};
use crate::op::{Op, Reply};

/// One item as a retrieval command shows it.
#[derive(Clone, Copy, Debug)]
pub struct Hit<'a> {
    /// The key it was asked by.
    pub key: &'a [u8],
    /// The client's own 32 bits.
    pub flags: u32,
    /// The `cas unique`: changes with every change of the item.
    pub version: u64,
    /// Milliseconds left to live; `None` is for ever.
    pub remaining: Option<u64>,
    /// The bytes.
    pub value: &'a [u8],
}

/// Takes hits as they are found, so that a value is copied once, into the connection's output.
pub trait Sink {
    /// One hit. Misses are not reported.
    fn hit(&mut self, hit: Hit<'_>);

    /// A hit, and what else the store knows of the item.
    fn detailed(&mut self, hit: Hit<'_>, details: Details) {
        let _ = details;
        self.hit(hit);
    }
}

/// The answer to an operation: at once, or when a replica has spoken.
pub enum Answer<'a> {
    /// Known without waiting.
    Now(Reply),
    /// Known later. The future ends by itself, within the keyspace's own deadline.
    Later(Pin<Box<dyn Future<Output = Reply> + 'a>>),
}

/// How many keys fit ([`Keyspace::fit`]).
pub type Fit<'a> = Pin<Box<dyn Future<Output = usize> + 'a>>;

/// A store that the server loop can serve. It is shared by the connections of one worker.
pub trait Keyspace {
    /// Does one operation. Hits of retrievals go to `sink`, before the reply.
    fn call<'a>(&'a self, op: Op<'a>, sink: &'a mut dyn Sink) -> Answer<'a>;

    /// Does one operation of the meta or the binary protocol. The default ([`extended::by_ops`]) does it by
    /// [`Keyspace::call`], and refuses what no [`Op`] expresses: versions chosen by the client, stale items, comparing
    /// before a delete.
    fn extended<'a>(&'a self, op: Extended<'a>, sink: &'a mut dyn Sink) -> Answer<'a> {
        Answer::Later(Box::pin(extended::by_ops(self, op, sink)))
    }

    /// How many keys of one retrieval go into one call. The hits of a call are gathered before any is written; a store
    /// whose call is a round over the network wants it large, and answers [`Reply::Partly`] when the values are.
    fn keys_per_call(&self) -> usize {
        64
    }

    /// How many bytes an operation takes at most while it is under way: the values that a retrieval finds, copies of what is
    /// to be stored. So much room is kept for it among what the connections of a worker may hold
    /// ([`crate::ServerOptions::room`]), before it begins.
    fn takes(&self, op: &Op<'_>) -> usize {
        let _ = op;
        0
    }

    /// Whether every answer is there at once ([`Answer::Now`]). Then it is enough to look whether there is room before an
    /// operation, and to take it for what was found: most find little and need none.
    fn is_immediate(&self) -> bool {
        false
    }

    /// A `Get` that finds no more than `bytes` of values: [`Reply::Partly`] of the keys before the value that would be
    /// more, which may be none of them. How keys are asked for while there is no room for more.
    fn get_within<'a>(
        &'a self,
        keys: &'a [&'a [u8]],
        bytes: usize,
        sink: &'a mut dyn Sink,
    ) -> Answer<'a> {
        let _ = (keys, bytes, sink);
        Answer::Now(Reply::Partly(0))
    }

    /// How many of the first keys have values of no more than `bytes` together, as far as can be told quickly: these are
    /// asked for while there is no room for more. 0: even the first has more, or it cannot be told.
    fn fit<'a>(&'a self, keys: &'a [&'a [u8]], bytes: usize) -> Fit<'a> {
        let _ = (keys, bytes);
        Box::pin(std::future::ready(0))
    }

    /// A `set` of this key came to nothing because its value is over the server's limit. A cache forgets the item
    /// that is there, as memcached does, so that nobody is served a value its owner meant to replace. A store that
    /// must not lose what it has acknowledged keeps it, which is what the default does.
    fn set_refused(&self, key: &[u8]) {
        let _ = key;
    }

    /// `cache_memlimit`: another bound of memory, in bytes. `None`: it cannot be changed here.
    fn set_memory(&self, bytes: usize) -> Option<Reply> {
        let _ = bytes;
        None
    }

    /// `cache_memlimit` and `lru_crawler crawl` ask for what is over to be freed now; a store that frees it anyway needs
    /// not.
    fn collect(&self) {}

    /// `lru_crawler metadump`: shows a part of the items and says where the next part begins; the first is 0.
    /// `None`: there is no next part. The hits' values are not looked at, but their lengths are.
    fn dump(&self, part: usize, sink: &mut dyn Sink) -> Option<usize> {
        let _ = (part, sink);
        None
    }
}
