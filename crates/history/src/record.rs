//! What clients asked and were told.

use std::fmt;
use std::sync::Arc;

/// A value. Values that clients write should be unique within their key: that makes a history say more, and its check
/// cheap.
pub type Value = Arc<[u8]>;

/// What was asked of one key. Lives are microseconds from when it takes effect; `None` is for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words of memcached's protocol")]
pub enum Call {
    Get,
    Gets,
    Set {
        value: Value,
        life: Option<u64>,
    },
    Add {
        value: Value,
        life: Option<u64>,
    },
    Replace {
        value: Value,
        life: Option<u64>,
    },
    Cas {
        value: Value,
        life: Option<u64>,
        token: u64,
    },
    Append {
        tail: Value,
    },
    Prepend {
        head: Value,
    },
    Delete,
    Incr {
        delta: u64,
    },
    Decr {
        delta: u64,
    },
    /// `incr` of the meta and binary protocols: where there is nothing, the number begins as `initial`.
    Count {
        delta: u64,
        initial: Value,
        life: Option<u64>,
    },
    Touch {
        life: Option<u64>,
    },
    /// `gat`
    GetAndTouch {
        life: Option<u64>,
    },
    /// `delete`, `incr`, `decr`, `append`, `prepend` or `Count` of the meta and binary protocols, if the item has this token.
    At {
        token: u64,
        change: Box<Self>,
    },
    /// Of all keys ([`EVERY`]), in so many microseconds.
    FlushAll {
        delay: u64,
    },
}

impl Call {
    /// What it does, whatever it compares before it.
    pub(crate) fn change(&self) -> &Self {
        match self {
            Self::At { change, .. } => change,
            plain => plain,
        }
    }
}

/// The key of an operation that is about all keys.
pub const EVERY: &str = "";

/// What was told.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words of memcached's protocol")]
pub enum Outcome {
    /// A value, and its token for `gets`.
    Hit(Value, Option<u64>),
    Miss,
    Stored,
    NotStored,
    Exists,
    NotFound,
    Deleted,
    Touched,
    Number(u64),
    Ok,
    /// It may have been done, or may be done later.
    Unknown,
    /// It was not done and never will be.
    Failed,
}

/// One operation. Times are microseconds of one clock that all clients of the history share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Who asked.
    pub client: u32,
    /// Of which key.
    pub key: Arc<str>,
    /// When it was asked.
    pub invoked: u64,
    /// When the answer was there.
    pub returned: u64,
    /// What was asked.
    pub call: Call,
    /// What was told.
    pub outcome: Outcome,
}

impl Operation {
    /// The latest moment at which it can take effect.
    pub(crate) fn until(&self) -> u64 {
        if self.outcome == Outcome::Unknown {
            u64::MAX
        } else {
            self.returned
        }
    }

    /// The value it stores as it is, if it stores.
    pub(crate) fn stores(&self) -> Option<&Value> {
        match self.call.change() {
            Call::Set { value, .. }
            | Call::Add { value, .. }
            | Call::Replace { value, .. }
            | Call::Cas { value, .. }
            | Call::Count { initial: value, .. } => Some(value),
            _ => None,
        }
    }

    /// Whether it asks for no change.
    pub(crate) fn reads(&self) -> bool {
        matches!(self.call, Call::Get | Call::Gets)
    }

    /// Whether its answer is the same when it changes nothing and when it does: it may be needed where it does, or where
    /// it does not.
    pub(crate) fn may_be_idle(&self) -> bool {
        let kind = matches!(
            self.call,
            Call::FlushAll { .. } | Call::Touch { .. } | Call::GetAndTouch { .. }
        );
        kind && self.outcome != Outcome::Unknown && !self.only_looks()
    }

    /// Whether it is known to have changed nothing.
    pub(crate) fn only_looks(&self) -> bool {
        match (self.call.change(), &self.outcome) {
            (Call::GetAndTouch { .. }, Outcome::Hit(..)) => false,
            // It may have forbidden a `set`.
            (Call::Delete, Outcome::NotFound) => false,
            (_, outcome) => matches!(
                outcome,
                Outcome::Hit(..)
                    | Outcome::Miss
                    | Outcome::NotStored
                    | Outcome::Exists
                    | Outcome::NotFound
                    | Outcome::Failed
            ),
        }
    }
}

fn life(life: Option<u64>) -> String {
    life.map_or_else(String::new, |us| {
        format!(" for {}.{:03} s", us / 1_000_000, us / 1000 % 1000)
    })
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |value: &[u8]| value.escape_ascii().to_string();
        match self {
            Self::Get => write!(f, "get"),
            Self::Gets => write!(f, "gets"),
            Self::Set { value, life: l } => write!(f, "set {}{}", text(value), life(*l)),
            Self::Add { value, life: l } => write!(f, "add {}{}", text(value), life(*l)),
            Self::Replace { value, life: l } => write!(f, "replace {}{}", text(value), life(*l)),
            Self::Cas {
                value,
                life: l,
                token,
            } => write!(f, "cas {}{} at {token}", text(value), life(*l)),
            Self::Append { tail } => write!(f, "append {}", text(tail)),
            Self::Prepend { head } => write!(f, "prepend {}", text(head)),
            Self::Delete => write!(f, "delete"),
            Self::Incr { delta } => write!(f, "incr {delta}"),
            Self::Decr { delta } => write!(f, "decr {delta}"),
            Self::Count {
                delta,
                initial,
                life: l,
            } => write!(f, "incr {delta} from {}{}", text(initial), life(*l)),
            Self::Touch { life: l } => write!(f, "touch{}", life(*l)),
            Self::GetAndTouch { life: l } => write!(f, "gat{}", life(*l)),
            Self::At { token, change } => write!(f, "{change} if at {token}"),
            Self::FlushAll { delay: 0 } => write!(f, "flush_all"),
            Self::FlushAll { delay } => write!(f, "flush_all in{}", &life(Some(*delay))[4..]),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hit(value, None) => write!(f, "{}", value.escape_ascii()),
            Self::Hit(value, Some(token)) => write!(f, "{} at {token}", value.escape_ascii()),
            Self::Number(number) => write!(f, "{number}"),
            other => write!(f, "{other:?}"),
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |us: u64| format!("{}.{:06}", us / 1_000_000, us % 1_000_000);
        write!(
            f,
            "{:>12} .. {:>12}  client {:<3} {}: {} -> {}",
            seconds(self.invoked),
            seconds(self.returned),
            self.client,
            self.key,
            self.call,
            self.outcome
        )
    }
}
