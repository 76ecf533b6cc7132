//! What the meta and binary protocols add: comparing, versions of the client's choice, stale items and who renews them.

use tandem_memcache::{Action, Extended, Lifetime, Mode, Op, Reply, Sink};

use super::{Shard, details, hit};
use crate::arena::{Id, words};
use crate::item::Item;
use crate::rules::Expiry;

impl Shard {
    /// An operation of the meta or binary protocol.
    pub(crate) fn extended(
        &mut self,
        op: &Extended<'_>,
        hash: u32,
        now: u64,
        sink: &mut dyn Sink,
    ) -> Reply {
        self.housekeeping(now, super::STEPS);
        let asked = matches!(op.action, Action::Get { .. });
        let found = self.find_live(op.key, hash, now, asked);
        match op.action {
            Action::Get { .. } => self.fetch(op, hash, found, now, sink),
            Action::Store { .. } => self.store(op, hash, found, now, sink),
            Action::Delete { .. } => self.delete(op, hash, found, now),
            Action::Arithmetic { .. } => self.count_up(op, hash, found, now, sink),
        }
    }

    fn fetch(
        &mut self,
        op: &Extended<'_>,
        hash: u32,
        found: Option<Id>,
        now: u64,
        sink: &mut dyn Sink,
    ) -> Reply {
        let Action::Get {
            life,
            vivify,
            recache,
            unnoticed,
        } = op.action
        else {
            return Reply::End;
        };
        self.counters.cmd_get += 1;
        self.counters.cmd_touch += u64::from(life.is_some());
        let Some(id) = found else {
            self.counters.get_misses += 1;
            self.counters.touch_misses += u64::from(life.is_some());
            let Some(life) = vivify else {
                return Reply::End;
            };
            let (reply, id) = self.vivify(op, hash, life, now, sink);
            if let (Some(id), false) = (id, unnoticed) {
                self.arena[id].fetched(now);
            }
            return reply;
        };
        self.counters.get_hits += 1;
        let class = self.class_of(id);
        class.get_hits += 1;
        class.touch_hits += u64::from(life.is_some());
        if let Some(life) = life {
            self.set_expiry(id, Expiry::after(now, life));
            self.counters.touch_hits += 1;
        }
        // To be renewed, and nobody was told to yet: this client is.
        let left = self.arena[id].expiry.remaining(now);
        let short = recache
            .zip(left)
            .is_some_and(|(recache, left)| left < recache);
        let won = (short || self.arena[id].is_stale()) && !self.arena[id].is_taken();
        let item = &self.arena[id];
        let mut details = details(item, now);
        details.won = won;
        sink.detailed(hit(&self.arena, op.key, id, now), details);
        let item = &mut self.arena[id];
        if won {
            item.take();
        }
        if !unnoticed {
            item.fetched(now);
        }
        Reply::End
    }

    /// Leaves an empty item that this client is to fill.
    fn vivify(
        &mut self,
        op: &Extended<'_>,
        hash: u32,
        life: Lifetime,
        now: u64,
        sink: &mut dyn Sink,
    ) -> (Reply, Option<Id>) {
        let mut found = None;
        let store = plain(Mode::Set, op.key, life, b"");
        let reply = self.change_found(&store, op.key, hash, &mut found, now);
        let (Reply::Stored, Some(id)) = (&reply, found) else {
            return (reply, None);
        };
        self.choose_version(id, op.new_version);
        let mut details = details(&self.arena[id], now);
        details.won = true;
        let item = &mut self.arena[id];
        item.take();
        sink.detailed(hit(&self.arena, op.key, id, now), details);
        (Reply::End, Some(id))
    }

    fn store(
        &mut self,
        op: &Extended<'_>,
        hash: u32,
        mut found: Option<Id>,
        now: u64,
        sink: &mut dyn Sink,
    ) -> Reply {
        let Action::Store {
            mut mode,
            flags,
            mut life,
            value,
            invalidate,
            vivify,
        } = op.action
        else {
            return Reply::NotStored;
        };
        let joins = matches!(mode, Mode::Append | Mode::Prepend);
        let mut stale = None;
        match (op.compare, found.map(|id| &self.arena[id])) {
            (Some(version), Some(item)) if version == item.version => {
                // The item is the one that is meant: whether there is one is no question any more.
                mode = if joins { mode } else { Mode::Set };
            }
            (Some(version), Some(item)) if invalidate && version < item.version => {
                // Better than nothing, but somebody has stored a newer one meanwhile.
                mode = if joins { mode } else { Mode::Set };
                stale = Some((item.expiry, item.is_taken()));
            }
            (Some(_), Some(_)) => {
                self.counters.cmd_set += 1;
                self.counters.cas_badval += 1;
                return Reply::Exists;
            }
            (Some(_), None) if !joins => {
                self.counters.cmd_set += 1;
                self.counters.cas_misses += 1;
                return Reply::NotFound;
            }
            _ => {}
        }
        if let (true, None, Some(new)) = (joins, found, vivify) {
            (mode, life) = (Mode::Set, new);
        }
        let change = Op::Store {
            mode,
            key: op.key,
            flags,
            life,
            value,
        };
        let reply = self.change_found(&change, op.key, hash, &mut found, now);
        if let (Reply::Stored, Some(id)) = (&reply, found) {
            self.counters.cas_hits += u64::from(op.compare.is_some());
            if let Some((expiry, taken)) = stale {
                self.set_expiry(id, expiry);
                self.arena[id].spoil(taken);
            }
            self.choose_version(id, op.new_version);
            self.show(op.key, id, now, sink);
        }
        reply
    }

    fn delete(&mut self, op: &Extended<'_>, hash: u32, found: Option<Id>, now: u64) -> Reply {
        let Action::Delete {
            invalidate,
            clear,
            life,
        } = op.action
        else {
            return Reply::NotFound;
        };
        let differs = |item: &Item| op.compare.is_some_and(|version| version != item.version);
        if found.is_some_and(|id| differs(&self.arena[id])) {
            return Reply::Exists;
        }
        let (Some(id), true) = (found, invalidate || clear) else {
            let delete = Op::Delete { key: op.key };
            return self.change_found(&delete, op.key, hash, &mut found.clone(), now);
        };
        if clear {
            self.clear(id);
        }
        if invalidate {
            if let Some(life) = life {
                self.set_expiry(id, Expiry::after(now, life));
            }
            self.arena[id].spoil(false);
        }
        self.version += self.step;
        self.arena[id].version = self.version;
        self.choose_version(id, op.new_version);
        self.counters.delete_hits += 1;
        Reply::Deleted
    }

    fn count_up(
        &mut self,
        op: &Extended<'_>,
        hash: u32,
        mut found: Option<Id>,
        now: u64,
        sink: &mut dyn Sink,
    ) -> Reply {
        let Action::Arithmetic {
            delta,
            down,
            life,
            create,
        } = op.action
        else {
            return Reply::NotFound;
        };
        let key = op.key;
        let reply = match (found, create) {
            // An empty value is no number, whatever its version: memcached looks in this order.
            (Some(id), _)
                if self.arena[id].value_len > 0
                    && op.compare.is_some_and(|v| v != self.arena[id].version) =>
            {
                return Reply::Exists;
            }
            (None, Some((life, initial))) => {
                let digits = initial.to_string();
                let store = plain(Mode::Set, key, life, digits.as_bytes());
                match self.change_found(&store, key, hash, &mut found, now) {
                    Reply::Stored => Reply::Number(initial),
                    other => other,
                }
            }
            _ => {
                let count = Op::Arithmetic { key, delta, down };
                let reply = self.change_found(&count, key, hash, &mut found, now);
                if let (Reply::Number(_), Some(id), Some(life)) = (&reply, found, life) {
                    self.set_expiry(id, Expiry::after(now, life));
                }
                reply
            }
        };
        if let (Reply::Number(_), Some(id)) = (&reply, found) {
            self.choose_version(id, op.new_version);
            self.show(key, id, now, sink);
        }
        reply
    }

    fn show(&self, key: &[u8], id: Id, now: u64, sink: &mut dyn Sink) {
        let details = details(&self.arena[id], now);
        sink.detailed(hit(&self.arena, key, id, now), details);
    }

    /// Takes an item's value and flags away.
    fn clear(&mut self, id: Id) {
        self.count_out(id);
        let before = self.arena.charge(id);
        self.arena[id].flags = 0;
        self.arena.set_value(id, b"");
        let key = usize::from(self.arena[id].key_len);
        self.arena.trim(id, words(key));
        self.count_in(id);
        self.eviction.resized(&self.arena, id, before);
    }

    fn choose_version(&mut self, id: Id, version: Option<u64>) {
        if let Some(version) = version {
            self.arena[id].choose_version(version);
            self.chosen_versions = true;
        }
    }
}

/// A store without flags.
fn plain<'a>(mode: Mode, key: &'a [u8], life: Lifetime, value: &'a [u8]) -> Op<'a> {
    Op::Store {
        mode,
        key,
        flags: 0,
        life,
        value,
    }
}
