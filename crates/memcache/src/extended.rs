//! What the meta and the binary protocol can ask beyond an [`Op`], and how a store that knows only [`Op`]s answers.

use crate::keyspace::{Answer, Keyspace, Sink};
use crate::op::{Lifetime, Mode, Op, Reply};

/// One operation on one key. The key has 1 to [`crate::MAX_KEY`] bytes of any value: these protocols carry keys that
/// the text protocol cannot name, and a store that does not want them refuses them.
#[derive(Clone, Copy, Debug)]
pub struct Extended<'a> {
    /// Which item.
    pub key: &'a [u8],
    /// What to do with it.
    pub action: Action<'a>,
    /// Do it only if the item has this version (meta flag `C`, the header's `cas` of the binary protocol).
    pub compare: Option<u64>,
    /// The version that the item shall have afterwards, instead of one that the store chooses (`E`).
    pub new_version: Option<u64>,
    /// The answer needs what only [`Sink::detailed`] tells (`h`, `l`, and `t` of a change).
    pub details: bool,
}

impl Extended<'_> {
    /// Whether an [`Op::Get`] of the key does the same: nothing is changed, and nothing more is told.
    pub(crate) const fn is_plain_get(&self) -> bool {
        matches!(
            self,
            Self {
                action: Action::Get {
                    life: None,
                    vivify: None,
                    recache: None,
                    unnoticed: false,
                },
                compare: None,
                new_version: None,
                details: false,
                ..
            }
        )
    }
}

/// What an [`Extended`] operation does.
#[derive(Clone, Copy, Debug)]
pub enum Action<'a> {
    /// `mg`: the item goes to the sink.
    Get {
        /// The new lifetime (`T`).
        life: Option<Lifetime>,
        /// On a miss, leave an empty item that lives so long, and say that the client has won it (`N`).
        vivify: Option<Lifetime>,
        /// Say that the client has won the item if it has fewer milliseconds left (`R`).
        recache: Option<u64>,
        /// Leave no trace of having been asked for (`u`).
        unnoticed: bool,
    },
    /// `ms`: if it is stored the item goes to the sink, where the store can show it.
    Store {
        /// Any mode but [`Mode::Cas`], which [`Extended::compare`] stands for.
        mode: Mode,
        /// The client's own 32 bits.
        flags: u32,
        /// How long.
        life: Lifetime,
        /// What.
        value: &'a [u8],
        /// Take a lower version than the item's too, and mark what is stored as stale (`I`).
        invalidate: bool,
        /// Append or prepend to nothing stores, for so long (`N`).
        vivify: Option<Lifetime>,
    },
    /// `md`.
    Delete {
        /// Mark it as stale and give it a new version instead (`I`).
        invalidate: bool,
        /// Remove its value and flags only (`x`).
        clear: bool,
        /// With `invalidate`: its new lifetime (`T`).
        life: Option<Lifetime>,
    },
    /// `ma`: the item goes to the sink, where the store can show it; the reply is the number.
    Arithmetic {
        /// By how much.
        delta: u64,
        /// Down instead of up.
        down: bool,
        /// The new lifetime (`T`).
        life: Option<Lifetime>,
        /// On a miss, store this number for so long (`J`, `N`).
        create: Option<(Lifetime, u64)>,
    },
}

/// What a store may know of an item besides a [`crate::Hit`]: as it was before the operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// It had been asked for before (`h`).
    pub fetched: bool,
    /// Seconds since it was last asked for (`l`).
    pub idle: u64,
    /// The client has won the right to renew it (`W`).
    pub won: bool,
    /// It is stale (`X`).
    pub stale: bool,
    /// Another client has won (`Z`).
    pub taken: bool,
}

/// A number that is created while it is counted up elsewhere: so often is it tried again.
const TRIES: usize = 16;

/// Carries out an extended operation by plain ones, so that every store serves the meta and binary protocols as far
/// as its operations go; whatever they cannot express is refused before anything is done.
pub async fn by_ops<K: Keyspace + ?Sized>(
    keyspace: &K,
    op: Extended<'_>,
    sink: &mut dyn Sink,
) -> Reply {
    let Extended {
        key,
        action,
        compare,
        new_version: None,
        details: false,
    } = op
    else {
        return refused();
    };
    match (action, compare) {
        (
            Action::Get {
                life,
                vivify: None,
                recache: None,
                ..
            },
            _,
        ) => {
            let keys = &[key][..];
            let op = match life {
                Some(life) => Op::GetAndTouch { keys, life },
                None => Op::Get { keys },
            };
            call(keyspace, op, sink).await
        }
        (
            Action::Store {
                mode,
                flags,
                life,
                value,
                invalidate: false,
                vivify: None,
            },
            _,
        ) => {
            let mode = match (mode, compare) {
                (mode, None) => mode,
                (Mode::Append | Mode::Prepend, Some(_)) => return refused(),
                (_, Some(version)) => Mode::Cas(version),
            };
            let op = Op::Store {
                mode,
                key,
                flags,
                life,
                value,
            };
            call(keyspace, op, sink).await
        }
        (
            Action::Delete {
                invalidate: false,
                clear: false,
                ..
            },
            None,
        ) => call(keyspace, Op::Delete { key }, sink).await,
        (
            Action::Arithmetic {
                delta,
                down,
                life: None,
                create,
            },
            None,
        ) => count(keyspace, key, delta, down, create).await,
        _ => refused(),
    }
}

async fn count<K: Keyspace + ?Sized>(
    keyspace: &K,
    key: &[u8],
    delta: u64,
    down: bool,
    create: Option<(Lifetime, u64)>,
) -> Reply {
    for _ in 0..TRIES {
        let op = Op::Arithmetic { key, delta, down };
        let reply = call(keyspace, op, &mut Nothing).await;
        let (Reply::NotFound, Some((life, initial))) = (&reply, create) else {
            return reply;
        };
        let digits = initial.to_string();
        let op = Op::Store {
            mode: Mode::Add,
            key,
            flags: 0,
            life,
            value: digits.as_bytes(),
        };
        match call(keyspace, op, &mut Nothing).await {
            Reply::Stored => return Reply::Number(initial),
            // Somebody else was first: count up theirs.
            Reply::NotStored => {}
            other => return other,
        }
    }
    Reply::ServerError("the number comes and goes".into())
}

fn refused() -> Reply {
    Reply::ServerError("not supported by this store".into())
}

/// One operation, awaited if it has to be.
pub(crate) async fn call<'a, K: Keyspace + ?Sized>(
    keyspace: &'a K,
    op: Op<'a>,
    sink: &'a mut dyn Sink,
) -> Reply {
    match keyspace.call(op, sink) {
        Answer::Now(reply) => reply,
        Answer::Later(reply) => reply.await,
    }
}

/// The sink of operations that have no hits.
pub(crate) struct Nothing;

impl Sink for Nothing {
    fn hit(&mut self, _: crate::keyspace::Hit<'_>) {}
}
