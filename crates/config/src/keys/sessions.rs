//! `[sessions]`: where sessions are kept.

use std::time::Duration;

use tandem_model::{Address, Guard, Pattern, Sessions, Size};

use crate::kinds::{ADDRESS, BOOL, DURATION, NAME, NAMES, NODES, SIZE};
use crate::span::{At, values};
use crate::table::Need::{Default as Is, Else, Required, WithNodes};
use crate::table::{Kind, Table, key, not_yet};

pub(crate) struct Draft {
    pub sessions: Sessions,
    pub on: Option<Vec<At<String>>>,
    pub agents: Option<Vec<At<String>>>,
    pub third: Option<At<String>>,
}

impl Default for Draft {
    fn default() -> Self {
        Self {
            sessions: Sessions {
                on: Vec::new(),
                memory: Size::mib(64),
                agents: Vec::new(),
                agent: Address::tcp("127.0.0.1", 11211),
                third: None,
                durable: false,
                guard: None,
            },
            on: None,
            agents: None,
            third: None,
        }
    }
}

/// The least that a session node may hold: the largest value.
const LEAST: Size = Size::mib(1);

const MEMORY: Kind<Size> = Kind {
    text: SIZE.text,
    read: |reader, item| {
        let size = (SIZE.read)(reader, item)?;
        if size < LEAST {
            let message = "sessions take 1 MiB at least, which one of them may be large";
            reader.wrong_hint(
                &item.span(),
                message,
                Some("memory = \"64 MiB\", say".into()),
            );
            return None;
        }
        Some(size)
    },
};

pub(crate) static KEYS: Table<Draft> = Table {
    heading: "[sessions]",
    label: "",
    doc: "Where sessions are kept: every change is on a majority of the session nodes before it is answered.",
    keys: &[
        &key(
            "on",
            NODES,
            WithNodes,
            "The session nodes: two or three, mostly.",
            |d: &mut Draft, v| {
                d.on = Some(v.value);
            },
        ),
        &key(
            "memory",
            MEMORY,
            Is("\"64 MiB\""),
            "What each may hold.",
            |d: &mut Draft, v| {
                d.sessions.memory = v.value;
            },
        ),
        &key(
            "agents",
            NAMES,
            Else("the nodes of all apps"),
            "The nodes with an agent.",
            |d: &mut Draft, v| {
                d.agents = Some(v.value);
            },
        ),
        &key(
            "agent",
            ADDRESS,
            Is("\"127.0.0.1:11211\""),
            "Where agents listen for applications, on each of them.",
            |d: &mut Draft, v| d.sessions.agent = v.value,
        ),
        &key(
            "third",
            NAME,
            Else("a listener's node, or another"),
            "The node of the third copy when `on` names two.",
            |d: &mut Draft, v| d.third = Some(v),
        ),
        &key(
            "durable",
            BOOL,
            Is("false"),
            "Whether a write is on disk, not only in memory, before it is answered.",
            |d: &mut Draft, v| d.sessions.durable = v.value,
        ),
        &key(
            "guard",
            Kind {
                text: "table of a guard",
                read: |reader, item| {
                    let draft = GUARD.read_item(reader, item)?.draft;
                    let hold = draft.hold?;
                    Some(Guard {
                        keys: draft.keys,
                        hold,
                    })
                },
            },
            Else("a `set` after a delete is a new item, as in memcached"),
            "Deletes that a plain `set` cannot undo.",
            |d: &mut Draft, v| d.sessions.guard = Some(v.value),
        ),
        &not_yet(
            "memcached",
            "list of addresses",
            "Keep sessions in memcached servers.",
        ),
    ],
};

#[derive(Default)]
pub(crate) struct GuardDraft {
    keys: Vec<Pattern>,
    hold: Option<Duration>,
}

pub(crate) static GUARD: Table<GuardDraft> = Table {
    heading: "guard = { ... }",
    label: "`guard`",
    doc: "Keys whose deletes hold against a plain `set` for a time.",
    keys: &[
        &key(
            "keys",
            Kind {
                text: "list of patterns",
                read: |reader, item| {
                    let keys = reader.some(item, |reader, item| {
                        // All replicas must judge alike, for ever: no regular expressions here.
                        reader.parsed(item, "a pattern like \"memc.sess.*\"", |text| {
                            match Pattern::parse(text)? {
                                Pattern::Regex(_) => Err("a guard takes no regular expressions"),
                                pattern => Ok(pattern),
                            }
                        })
                    });
                    Some(values(&keys))
                },
            },
            Required,
            "Which keys, with at most one `*` each.",
            |g: &mut GuardDraft, v| g.keys = v.value,
        ),
        &key(
            "for",
            DURATION,
            Required,
            "For how long.",
            |g: &mut GuardDraft, v| g.hold = Some(v.value),
        ),
    ],
};
