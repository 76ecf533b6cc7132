//! What those who watch, and the statistics of prefixes, are told of operations.
//!
//! Nothing of this is on the way of an operation unless somebody has asked for it.

use std::fmt::Write as _;

use crate::context::ServerContext;
use crate::extended::{Action, Details, Extended, call};
use crate::keyspace::{Answer, Hit, Keyspace, Sink};
use crate::op::{Lifetime, Mode, Op, Reply};
use crate::watch::{self, encode};

/// Who asks what, and who is told.
#[derive(Clone, Copy)]
pub(super) struct Observed<'c, K: ?Sized> {
    pub(super) keyspace: &'c K,
    pub(super) cx: &'c ServerContext,
    /// The connection.
    pub(super) number: u64,
}

/// Passes hits on and keeps what of them is told.
struct Noting<'s> {
    inner: &'s mut dyn Sink,
    seen: Vec<Seen>,
}

/// An item that was found.
struct Seen {
    key: Vec<u8>,
    flags: u32,
    value: usize,
}

impl Noting<'_> {
    fn note(&mut self, hit: &Hit<'_>) {
        self.seen.push(Seen {
            key: hit.key.to_vec(),
            flags: hit.flags,
            value: hit.value.len(),
        });
    }
}

impl Sink for Noting<'_> {
    fn hit(&mut self, hit: Hit<'_>) {
        self.note(&hit);
        self.inner.hit(hit);
    }

    fn detailed(&mut self, hit: Hit<'_>, details: Details) {
        self.note(&hit);
        self.inner.detailed(hit, details);
    }
}

impl<K: Keyspace + ?Sized> Observed<'_, K> {
    /// One operation, awaited if it has to be.
    pub(super) async fn call(&self, op: Op<'_>, sink: &mut dyn Sink) -> Reply {
        if self.cx.stats.observed() == 0 {
            return call(self.keyspace, op, sink).await;
        }
        let mut noting = Noting {
            inner: sink,
            seen: Vec::new(),
        };
        let reply = call(self.keyspace, op.clone(), &mut noting).await;
        let seen = noting.seen;
        match op {
            Op::Get { keys } | Op::GetAndTouch { keys, .. } => self.retrieved(keys, &seen, &reply),
            Op::Store {
                mode,
                key,
                flags,
                life,
                value,
            } => self.stored(key, mode, flags, life, value.len(), &reply),
            Op::Delete { key } => self.deleted(key, &reply),
            Op::Touch { key, .. } | Op::Arithmetic { key, .. } => {
                // What is there is not known here, only whether something is.
                let found = (reply != Reply::NotFound).then_some(Seen {
                    key: Vec::new(),
                    flags: 0,
                    value: 0,
                });
                self.fetched(key, found.as_ref());
            }
            _ => {}
        }
        reply
    }

    /// A retrieval of what has no more than `bytes`.
    pub(super) async fn get_within(
        &self,
        keys: &[&[u8]],
        bytes: usize,
        sink: &mut dyn Sink,
    ) -> Reply {
        let mut noting = Noting {
            inner: sink,
            seen: Vec::new(),
        };
        let reply = match self.keyspace.get_within(keys, bytes, &mut noting) {
            Answer::Now(reply) => reply,
            Answer::Later(reply) => reply.await,
        };
        if self.cx.stats.observed() > 0 {
            self.retrieved(keys, &noting.seen, &reply);
        }
        reply
    }

    /// What was found of keys, in their order.
    fn retrieved(&self, keys: &[&[u8]], seen: &[Seen], reply: &Reply) {
        let answered = match reply {
            Reply::End => keys.len(),
            Reply::Partly(count) => *count,
            _ => 0,
        };
        let mut found = seen.iter().peekable();
        for key in keys.iter().take(answered) {
            self.got(key, found.next_if(|seen| seen.key == *key));
        }
    }

    /// One operation of the meta or binary protocol.
    pub(super) async fn extended(&self, op: Extended<'_>, sink: &mut dyn Sink) -> Reply {
        if self.cx.stats.observed() == 0 {
            return self.await_extended(op, sink).await;
        }
        let mut noting = Noting {
            inner: sink,
            seen: Vec::new(),
        };
        let reply = self.await_extended(op, &mut noting).await;
        let seen = noting.seen.pop();
        match op.action {
            Action::Get { .. } => self.got(op.key, seen.as_ref()),
            Action::Store {
                mode,
                flags,
                life,
                value,
                ..
            } => {
                let mode = op.compare.map_or(mode, Mode::Cas);
                self.stored(op.key, mode, flags, life, value.len(), &reply);
            }
            Action::Delete { .. } => self.deleted(op.key, &reply),
            Action::Arithmetic { .. } => self.fetched(op.key, seen.as_ref()),
        }
        reply
    }

    async fn await_extended(&self, op: Extended<'_>, sink: &mut dyn Sink) -> Reply {
        match self.keyspace.extended(op, sink) {
            Answer::Now(reply) => reply,
            Answer::Later(reply) => reply.await,
        }
    }

    fn counts_prefixes(&self) -> bool {
        self.cx.stats.watch().wants(watch::PREFIXES)
    }

    fn class(&self, key: usize, flags: u32, value: usize) -> usize {
        self.cx
            .stats
            .classes()
            .of(crate::item_size(key, flags, value))
    }

    fn got(&self, key: &[u8], found: Option<&Seen>) {
        if self.counts_prefixes() {
            self.cx.stats.prefixes.got(key, found.is_some());
        }
        self.fetched(key, found);
    }

    fn fetched(&self, key: &[u8], found: Option<&Seen>) {
        self.cx.stats.watch().tell(watch::FETCHERS, |line| {
            line.push_str("type=item_get key=");
            encode(line, key);
            let (status, class, size) = match found {
                Some(seen) => (
                    "found",
                    self.class(key.len(), seen.flags, seen.value),
                    seen.value,
                ),
                None => ("not_found", 0, 0),
            };
            let number = self.number;
            let _ = write!(
                line,
                " status={status} clsid={class} cfd={number} size={size}"
            );
        });
    }

    fn stored(
        &self,
        key: &[u8],
        mode: Mode,
        flags: u32,
        life: Lifetime,
        size: usize,
        reply: &Reply,
    ) {
        let status = match reply {
            Reply::Stored => "stored",
            Reply::Exists => "exists",
            Reply::NotFound => "not_found",
            Reply::ServerError(words) if words.contains("too large") => "too_large",
            Reply::ServerError(words) if words.contains("out of memory") => "no_memory",
            _ => "not_stored",
        };
        if self.counts_prefixes() {
            self.cx.stats.prefixes.set(key);
        }
        self.told_store(key, mode, flags, life, size, status);
    }

    /// A `set` whose value is over the limit, or found no room, never becomes an operation.
    pub(super) fn refused(&self, key: &[u8], status: &str) {
        self.told_store(key, Mode::Set, 0, Lifetime::Forever, 0, status);
    }

    fn told_store(
        &self,
        key: &[u8],
        mode: Mode,
        flags: u32,
        life: Lifetime,
        size: usize,
        status: &str,
    ) {
        self.cx.stats.watch().tell(watch::MUTATIONS, |line| {
            let command = match mode {
                Mode::Set => "set",
                Mode::Add => "add",
                Mode::Replace => "replace",
                Mode::Append => "append",
                Mode::Prepend => "prepend",
                Mode::Cas(_) => "cas",
            };
            let ttl = match life {
                Lifetime::Forever => 0,
                Lifetime::Millis(0) => -1,
                Lifetime::Millis(life) => (life / 1000) as i64,
            };
            line.push_str("type=item_store key=");
            encode(line, key);
            let (class, number) = (self.class(key.len(), flags, size), self.number);
            let _ = write!(
                line,
                " status={status} cmd={command} ttl={ttl} clsid={class} cfd={number} size={size}"
            );
        });
    }

    fn deleted(&self, key: &[u8], reply: &Reply) {
        if self.counts_prefixes() {
            self.cx.stats.prefixes.deleted(key);
        }
        if *reply != Reply::Deleted {
            return;
        }
        self.cx.stats.watch().tell(watch::DELETIONS, |line| {
            line.push_str("type=deleted key=");
            encode(line, key);
            let _ = write!(line, " cmd=delete clsid=0 cfd={} size=0", self.number);
        });
    }
}
