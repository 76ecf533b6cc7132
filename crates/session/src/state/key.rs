//! Keys, and the group each belongs to.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tandem_memcache::MAX_KEY;

/// One replicated log and the keys it holds. There is one, numbered 0; every message names it all the same, so that
/// more can come without a change of format.
pub type GroupId = u32;

/// How many groups there are.
pub const GROUPS: GroupId = 1;

/// The group, of so many, that holds `key`: by a hash that is the same in every version and on every machine.
pub fn group_of(key: &[u8], groups: GroupId) -> GroupId {
    let hash = u64::from(crc32fast::hash(key));
    ((hash * u64::from(groups)) >> 32) as GroupId
}

/// A key: shared, not copied, between the log, the items and the queue of what ends when.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<[u8]>);

/// A key that no client can have sent: empty, longer than [`MAX_KEY`], or with a space or control byte in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidKey;

impl fmt::Display for InvalidKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a key has 1 to {MAX_KEY} bytes, no spaces and no control bytes"
        )
    }
}

impl std::error::Error for InvalidKey {}

impl TryFrom<&[u8]> for Key {
    type Error = InvalidKey;

    fn try_from(bytes: &[u8]) -> Result<Self, InvalidKey> {
        let fits = (1..=MAX_KEY).contains(&bytes.len());
        if fits && bytes.iter().all(|b| *b > b' ' && *b != 0x7f) {
            Ok(Self(bytes.into()))
        } else {
            Err(InvalidKey)
        }
    }
}

impl Deref for Key {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Key;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Key, E> {
                Key::try_from(bytes).map_err(E::custom)
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}
