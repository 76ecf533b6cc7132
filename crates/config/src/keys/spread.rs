//! Keys of applications and backends that say how requests are spread over servers.

use tandem_model::{Backups, Balance, Cut, Spread};

use crate::keys::retry::{QUEUE, RETRY};
use crate::keys::stick::STICK;
use crate::kinds::DURATION;
use crate::reader::Reader;
use crate::span::Item;
use crate::suggest::did_you_mean;
use crate::table::Need::{Default as Is, Else};
use crate::table::{Kind, Table, key};

/// The keys that `[app.NAME]` and `[backend.NAME]` share.
pub(crate) static KEYS: Table<Spread> = Table {
    heading: "[app.NAME] and [backend.NAME]",
    label: "",
    doc: "How requests are spread over the servers of an application or a backend.",
    keys: &[
        &key(
            "balance",
            BALANCE,
            Is("\"round-robin\""),
            "Which server is next: `round-robin`, `least-connections`, `first`, `random`, `source`, `uri`, `header:NAME` or `cookie:NAME`.",
            |s: &mut Spread, v| s.balance = v.value,
        ),
        &key(
            "slow-start",
            DURATION,
            Else("its full share at once"),
            "How long a server that has just come up takes to get its full share.",
            |s: &mut Spread, v| s.slow_start = v.value,
        ),
        &key(
            "backups",
            Kind {
                text: "\"first\" or \"all\"",
                read: backups,
            },
            Is("\"first\""),
            "Which backup servers are used when no other is up: the first of the file that is, or all that are.",
            |s: &mut Spread, v| s.backups = v.value,
        ),
        &key(
            "cut",
            Kind {
                text: "list of \"down\" and \"backups\"",
                read: |reader, item| {
                    let found = reader.some(item, cut);
                    let one = |wanted: &str| found.iter().any(|found| found.value == wanted);
                    Some(Cut {
                        down: one("down"),
                        backups: one("backups"),
                    })
                },
            },
            Else("they stay until one of the two sides ends them"),
            "Which connections of TCP mode, and tunnels of HTTP (WebSocket), are cut off: with `down` those to a server that goes down or into maintenance, with `backups` those to backup servers when a server that is none comes up. Requests may finish.",
            |s: &mut Spread, v| s.cut = v.value,
        ),
        &key(
            "retry",
            RETRY,
            Is("3"),
            "Tries after the first for one request, and more about them.",
            |s: &mut Spread, v| s.retry = v.value,
        ),
        &key(
            "stick",
            STICK,
            Else("each request goes where `balance` says"),
            "What keeps a client with its server.",
            |s: &mut Spread, v| s.stick = Some(v.value),
        ),
        &key(
            "queue",
            QUEUE,
            Else("all defaults"),
            "Where requests wait while all servers have as many as their `max-connections`.",
            |s: &mut Spread, v| s.queue = v.value,
        ),
    ],
};

/// Those without a name.
const PLAIN: [(&str, Balance); 6] = [
    ("round-robin", Balance::RoundRobin),
    ("least-connections", Balance::LeastConnections),
    ("first", Balance::First),
    ("random", Balance::Random),
    ("source", Balance::Source),
    ("uri", Balance::Uri),
];

/// What the algorithms are called in HAProxy and nginx, where that is too far off for a guess.
const ELSEWHERE: [(&str, &str); 9] = [
    ("static-rr", "round-robin"),
    ("least_time", "least-connections"),
    ("leastconn", "least-connections"),
    ("least_conn", "least-connections"),
    ("ip_hash", "source"),
    ("ip-hash", "source"),
    ("rr", "round-robin"),
    ("hdr", "header:NAME"),
    ("hash", "header:NAME"),
];

const BALANCE: Kind<Balance> = Kind {
    text: "text",
    read: |reader, item| {
        let text = reader.filled(item, "a text like \"round-robin\"")?;
        if let Some(balance) = parse(&text) {
            return Some(balance);
        }
        let word = text.split(['(', ':', ' ']).next().unwrap_or_default();
        let known = ELSEWHERE.iter().find(|(name, _)| *name == word);
        let hint = match known {
            Some((_, here)) => Some(format!("write \"{here}\"")),
            None => did_you_mean(&text, PLAIN.iter().map(|(name, _)| *name)),
        };
        reader.wrong_hint(
            &item.span(),
            "`balance` is \"round-robin\", \"least-connections\", \"first\", \"random\", \"source\", \"uri\", \"header:NAME\" or \"cookie:NAME\"",
            hint,
        );
        None
    },
};

fn backups(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<Backups> {
    match &*reader.filled(item, "\"first\" or \"all\"")? {
        "first" => Some(Backups::First),
        "all" => Some(Backups::All),
        other => {
            let hint = did_you_mean(other, ["first", "all"]);
            reader.wrong_hint(&item.span(), "`backups` is \"first\" or \"all\"", hint);
            None
        }
    }
}

fn cut(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<String> {
    let text = reader.filled(item, "\"down\" or \"backups\"")?;
    if matches!(&*text, "down" | "backups") {
        return Some(text);
    }
    let hint = did_you_mean(&text, ["down", "backups"]);
    reader.wrong_hint(&item.span(), "`cut` has \"down\" and \"backups\"", hint);
    None
}

fn parse(text: &str) -> Option<Balance> {
    if let Some((_, balance)) = PLAIN.iter().find(|(name, _)| *name == text) {
        return Some(balance.clone());
    }
    let (kind, name) = text.split_once(':')?;
    let name = token(name)?;
    match kind {
        "header" => Some(Balance::Header(name)),
        "cookie" => Some(Balance::Cookie(name)),
        _ => None,
    }
}

/// The name of a field or cookie (RFC 9110 section 5.6.2).
pub(crate) fn token(name: &str) -> Option<String> {
    let good = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    (!name.is_empty() && name.bytes().all(good)).then(|| name.to_owned())
}

/// As it is written in a file.
pub(crate) fn show(balance: &Balance) -> String {
    match balance {
        Balance::Header(name) => format!("header:{name}"),
        Balance::Cookie(name) => format!("cookie:{name}"),
        plain => PLAIN
            .iter()
            .find(|(_, balance)| balance == plain)
            .map_or_else(String::new, |(name, _)| (*name).to_owned()),
    }
}
