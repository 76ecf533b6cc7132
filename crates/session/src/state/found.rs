//! Keys looked for by how they begin, for operators.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tandem_cache::rules::Expiry;

use super::{Key, View};

/// Which keys are looked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// How they begin; empty is all.
    pub prefix: Vec<u8>,
    /// Only those behind this one, in the order of bytes; empty is from the beginning.
    pub after: Vec<u8>,
    /// At most so many are named; all are counted.
    pub most: u32,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// How many keys begin so, those before `after` included.
    pub count: u64,
    /// Bytes that their items take.
    pub bytes: u64,
    /// The first of them, in the order of bytes.
    pub keys: Vec<Brief>,
}

/// An item without its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Brief {
    /// Its key.
    pub key: Key,
    /// The bytes of its value.
    pub size: u64,
    /// Milliseconds it has left; `None` is for ever.
    pub remaining: Option<u64>,
}

impl View {
    /// Looks through all items. `now` is the keyspace's clock: what is over by it is not there.
    pub fn find(self, wanted: &Wanted, now: u64) -> Found {
        let mut found = Found::default();
        let mut first: BTreeMap<Key, Brief> = BTreeMap::new();
        for partition in self.into_partitions() {
            for (key, item) in &partition.items {
                let expiry = Expiry::at(item.expiry);
                if !key.starts_with(&wanted.prefix) || expiry.is_over(now) {
                    continue;
                }
                found.count += 1;
                found.bytes += item.cost(key);
                let is_full = first.len() >= wanted.most as usize;
                let is_first = first.last_key_value().is_some_and(|(last, _)| key < last);
                if key[..] <= wanted.after[..] || wanted.most == 0 || (is_full && !is_first) {
                    continue;
                }
                let brief = Brief {
                    key: key.clone(),
                    size: item.value.len() as u64,
                    remaining: expiry.remaining(now),
                };
                first.insert(key.clone(), brief);
                if first.len() > wanted.most as usize {
                    first.pop_last();
                }
            }
        }
        found.keys = first.into_values().collect();
        found
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::{Item, State};
    use super::*;

    fn state() -> State {
        let mut state = State::default();
        for (key, expiry) in [("a1", 50), ("a2", u64::MAX), ("a3", 500), ("b1", u64::MAX)] {
            let item = Item {
                flags: 0,
                version: 1,
                expiry,
                value: Bytes::from_static(b"12345"),
            };
            state.put(Key::try_from(key.as_bytes()).unwrap(), item);
        }
        state
    }

    fn find(prefix: &str, after: &str, most: u32, now: u64) -> (u64, Vec<String>) {
        let wanted = Wanted {
            prefix: prefix.into(),
            after: after.into(),
            most,
        };
        let found = state().view().find(&wanted, now);
        let keys = found
            .keys
            .iter()
            .map(|brief| brief.key.escape_ascii().to_string());
        (found.count, keys.collect())
    }

    #[test]
    fn keys_are_found_in_order_page_by_page_and_all_are_counted() {
        let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        assert_eq!(find("a", "", 2, 0), (3, names(&["a1", "a2"])));
        assert_eq!(find("a", "a2", 2, 0), (3, names(&["a3"])));
        assert_eq!(find("", "", 0, 0), (4, vec![]));
        assert_eq!(find("", "", 10, 0), (4, names(&["a1", "a2", "a3", "b1"])));
    }

    #[test]
    fn what_is_over_is_not_found() {
        assert_eq!(find("a1", "", 10, 50), (0, vec![]));
        assert_eq!(find("a", "", 10, 50).0, 2);
    }

    #[test]
    fn the_rest_of_a_life_is_told_and_no_value() {
        let wanted = Wanted {
            prefix: b"a3".to_vec(),
            after: Vec::new(),
            most: 1,
        };
        let found = state().view().find(&wanted, 100);
        assert_eq!(found.keys[0].remaining, Some(400));
        assert_eq!(found.keys[0].size, 5);
    }
}
