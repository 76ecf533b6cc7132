//! `tandem sessions`

use std::fmt::Write as _;

use lexopt::Arg::{Long, Value as Word};
use serde_json::Value;
use tandem_admin::api::MOST_KEYS;
use tandem_telemetry::event::harmless;

use super::server::aligned;
use crate::cli::{self, Command, Opt};
use crate::exit::{Failure, Result};
use crate::operator::find::{ADMIN, NODE, Wanted};
use crate::operator::{Client, different_files, each, refusal};

/// The command.
pub const COMMAND: Command = Command {
    name: "sessions",
    summary: "how the session tier is; count, find, show or end sessions",
    usage: &[
        "sessions [--json]",
        "sessions count [PREFIX] [--json]",
        "sessions find PREFIX [--most COUNT] [--after KEY] [--json]",
        "sessions show KEY [--json]",
        "sessions kill KEY",
    ],
    about: "\
Without a word: who leads, the voters with what they lack, memory and the age of their snapshots, how long changes were
not on all voters, and for each agent how often it had to ask again, failed, or could not say whether it was done.
Sessions are asked of the leader, through a node that has part in the session tier. Keys are those that the application
uses: `memc.sess.key.ID` of PHP's handler, for instance.
",
    options: &[
        Opt {
            form: "count [PREFIX]",
            text: "how many keys there are that begin so, and the bytes they take",
        },
        Opt {
            form: "find PREFIX",
            text: "the first of them in order, with the size of their values and the time they have left",
        },
        Opt {
            form: "show KEY",
            text: "one session: its value, version and time left",
        },
        Opt {
            form: "kill KEY",
            text: "delete it, as a logout does: its user is out, and stays out under `guard`",
        },
        Opt {
            form: "--most COUNT",
            text: "name so many keys (100; at most 10000)",
        },
        Opt {
            form: "--after KEY",
            text: "go on behind this one",
        },
        Opt {
            form: "--json",
            text: "for scripts: the node's answer as it is",
        },
        NODE,
        ADMIN,
    ],
    notes: "\
A key is as good as a password as long as its session lives. A kill is an audit event.
",
    main,
};

#[derive(Default)]
struct Asked {
    words: Vec<String>,
    json: bool,
    most: Option<String>,
    after: Option<String>,
}

fn main(mut args: lexopt::Parser) -> Result {
    let (mut asked, mut wanted) = (Asked::default(), Wanted::default());
    while let Some(arg) = args.next()? {
        match arg {
            Word(word) => asked.words.push(word.to_string_lossy().into_owned()),
            Long("json") => asked.json = true,
            Long("most") => {
                let text = args.value()?.to_string_lossy().into_owned();
                if !text
                    .parse()
                    .is_ok_and(|most| (1..=MOST_KEYS).contains(&most))
                {
                    let why = format!("--most takes a number from 1 to {MOST_KEYS}, not `{text}`");
                    return Err(Failure::usage(why));
                }
                asked.most = Some(text);
            }
            Long("after") => asked.after = Some(args.value()?.to_string_lossy().into_owned()),
            Long(name) => {
                let name = name.to_owned();
                wanted.take(&name, &mut args)?;
            }
            arg @ lexopt::Arg::Short(_) => return Err(arg.unexpected().into()),
        }
    }
    let words: Vec<&str> = asked.words.iter().map(String::as_str).collect();
    match words[..] {
        [] => status(&wanted.client()?, asked.json),
        ["count"] => count(&wanted.client()?, "", asked.json),
        ["count", prefix] => count(&wanted.client()?, prefix, asked.json),
        ["find", prefix] => find(&wanted.client()?, prefix, &asked),
        ["show", key] => show(&wanted.client()?, key, asked.json),
        ["kill", key] => {
            let body = ask(
                &wanted.client()?,
                KEY,
                &[("key", key), ("kill", "true")],
                true,
            )?;
            let done = body["done"].as_str().unwrap_or("done");
            cli::say(&harmless(format!("{done}\n")))
        }
        _ => Err(Failure::usage(
            "`tandem sessions`, or count, find PREFIX, show KEY or kill KEY",
        )),
    }
}

const KEY: &str = "/api/v1/sessions/key";
const KEYS: &str = "/api/v1/sessions/keys";

/// Asks the node, or when it has no part in the session tier, one that has.
fn ask(client: &Client, path: &str, parameters: &[(&str, &str)], changes: bool) -> Result<Value> {
    let call = |parameters: &[(&str, &str)]| {
        if changes {
            client.post(path, parameters)
        } else {
            client.get(path, parameters)
        }
    };
    let reply = call(parameters)?;
    if reply.status != 421 {
        return reply.good();
    }
    let all = client.get("/api/v1/sessions", &[("nodes", "all")])?;
    let mut nodes = each(&all.body).into_iter();
    let part = nodes.find(|(_, status, sessions)| *status == 200 && sessions.is_object());
    let Some((node, ..)) = part else {
        return Err(Failure::failed(
            "no node that answers has part in a session tier",
        ));
    };
    let mut parameters = parameters.to_vec();
    parameters.push(("nodes", &node));
    let reply = call(&parameters)?;
    match each(&reply.body).pop() {
        Some((_, 200, body)) => Ok(body),
        Some((node, _, body)) => Err(Failure::failed(format!("{node}: {}", refusal(&body)))),
        None => Err(Failure::failed(refusal(&reply.body))),
    }
}

fn json(body: &Value) -> Result {
    let text = serde_json::to_string_pretty(body);
    let text = text.map_err(|error| Failure::failed(error.to_string()))?;
    cli::say(&(text + "\n"))
}

fn count(client: &Client, prefix: &str, as_json: bool) -> Result {
    let body = ask(client, KEYS, &[("prefix", prefix), ("most", "0")], false)?;
    if as_json {
        return json(&body);
    }
    let (count, bytes) = (number(&body["count"]), number(&body["bytes"]));
    cli::say(&format!("{count} sessions, {}\n", size(bytes)))
}

fn find(client: &Client, prefix: &str, asked: &Asked) -> Result {
    let mut parameters = vec![("prefix", prefix)];
    parameters.extend(asked.most.as_deref().map(|most| ("most", most)));
    parameters.extend(asked.after.as_deref().map(|after| ("after", after)));
    let body = ask(client, KEYS, &parameters, false)?;
    if asked.json {
        return json(&body);
    }
    let keys = body["keys"].as_array().cloned().unwrap_or_default();
    let mut rows = vec![["key", "value", "time left"].map(str::to_owned)];
    rows.extend(keys.iter().map(|key| {
        [
            harmless(key["key"].as_str().unwrap_or_default().to_owned()),
            size(number(&key["size"])),
            left(&key["remaining_ms"]),
        ]
    }));
    let mut text = aligned(&rows);
    let count = number(&body["count"]);
    if count > keys.len() as u64 {
        let _ = writeln!(text, "{} of {count}", keys.len());
    }
    cli::say(&text)
}

fn show(client: &Client, key: &str, as_json: bool) -> Result {
    let body = ask(client, KEY, &[("key", key)], false)?;
    if as_json {
        return json(&body);
    }
    let value = body["value"].as_str().unwrap_or_default();
    // Those whose session it is had a part in it: none of them is to move the operator's terminal.
    let shown = harmless(value.to_owned());
    let escaped = if body["escaped"] == true || shown != value {
        ", escaped"
    } else {
        ""
    };
    let key = harmless(key.to_owned());
    cli::say(&format!(
        "key        {key}\nversion    {}\nflags      {}\ntime left  {}\nvalue      {}{escaped}\n\n{}\n",
        number(&body["version"]),
        number(&body["flags"]),
        left(&body["remaining_ms"]),
        size(number(&body["size"])),
        shown
    ))
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

/// What an item has left, of its milliseconds.
fn left(remaining: &Value) -> String {
    remaining.as_u64().map_or_else(|| "for ever".into(), span)
}

/// Milliseconds for people.
fn span(ms: u64) -> String {
    match ms / 1000 {
        0 => format!("{ms} ms"),
        seconds @ 1..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}

/// Bytes for people.
fn size(bytes: u64) -> String {
    match bytes {
        0..10_240 => format!("{bytes} B"),
        10_240..10_485_760 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    }
}

fn status(client: &Client, as_json: bool) -> Result {
    // At once: what is slow is a node that does not answer.
    let (body, rows) = std::thread::scope(|threads| {
        let rows = threads.spawn(|| client.get("/api/v1/nodes", &[("nodes", "all")]));
        let body = client.get("/api/v1/sessions", &[("nodes", "all")]);
        (body, rows.join())
    });
    let body = body?.good()?;
    if as_json {
        return json(&body);
    }
    let nodes = each(&body);
    let parts = nodes.iter().filter(|(_, status, _)| *status == 200);
    let parts: Vec<(&str, &Value)> = parts
        .filter(|(_, _, sessions)| sessions.is_object())
        .map(|(node, _, sessions)| (node.as_str(), sessions))
        .collect();
    if parts.is_empty() {
        return Err(Failure::failed(
            "no node that answers has part in a session tier",
        ));
    }
    let silent = nodes.iter().filter(|(_, status, _)| *status != 200);
    let mut text = tier(&parts);
    for (node, _, why) in silent {
        let _ = writeln!(text, "{node} does not answer: {}", refusal(why));
    }
    if let Ok(Ok(rows)) = rows {
        let rows = each(&rows.body);
        let files = rows
            .iter()
            .filter_map(|(node, _, row)| Some((node.as_str(), row[0]["status"]["file"].as_str()?)));
        text += &different_files(files);
    }
    cli::say(&text)
}

/// A voter that has not answered its leader for so long, which is a few heartbeats, may be gone: what is written now may not
/// be on it. That it is down is an event only later, when it cannot have been a pause.
const SILENT_MS: u64 = 250;

/// Whether a voter, as its leader knows it, has answered just now.
fn answers(voter: &Value) -> bool {
    // A node of an older version does not say.
    let heard = voter.get("heard_ms");
    heard.is_none_or(|heard| heard.as_u64().is_some_and(|ms| ms <= SILENT_MS))
}

/// On how many voters changes are, as far as the leader knows now.
fn redundancy(leader: &Value, degraded_ms: u64) -> String {
    if leader["is_degraded"] == true {
        return format!(
            "degraded, for {} since the nodes started",
            span(degraded_ms)
        );
    }
    let voters = leader["voters"].as_array().map_or(&[][..], Vec::as_slice);
    let answering = voters.iter().filter(|voter| answers(voter)).count();
    let mut text = if answering == voters.len() {
        "full redundancy".to_owned()
    } else {
        format!("{answering} of {} voters answer now", voters.len())
    };
    if degraded_ms > 0 {
        let _ = write!(
            text,
            "; degraded for {} since the nodes started",
            span(degraded_ms)
        );
    }
    text
}

/// How a voter is, as its leader knows it.
fn state(voter: &Value) -> String {
    let health = voter["health"].as_str().unwrap_or("?");
    match voter["heard_ms"].as_u64() {
        Some(ms) if health == "up" && !answers(voter) => format!("silent for {}", span(ms)),
        _ => health.to_owned(),
    }
}

/// The tier by what its nodes say.
fn tier(parts: &[(&str, &Value)]) -> String {
    let mut text = String::new();
    // Who led before and was cut off may still say it leads, in an older term.
    let leaders = parts.iter().filter(|(_, part)| part["role"] == "leader");
    let leader = leaders.max_by_key(|(_, part)| number(&part["term"]));
    match leader {
        Some((name, part)) => {
            // Each counted while it led.
            let degraded = parts.iter().map(|(_, part)| number(&part["degraded_ms"]));
            let degraded = degraded.sum();
            let _ = writeln!(
                text,
                "{name} leads (term {}); {}",
                number(&part["term"]),
                redundancy(part, degraded)
            );
            if let Some(waits) = part["waits"].as_str() {
                let _ = writeln!(text, "{waits}");
            }
        }
        None => {
            // An agent knows who led when it asked last.
            let mut replicas = parts.iter().filter(|(_, part)| part["role"] != "agent");
            let heard = replicas.find_map(|(by, part)| Some((by, part["leader"].as_str()?)));
            let _ = match heard {
                Some((by, leader)) => {
                    writeln!(text, "{leader} leads, says {by}, but does not answer")
                }
                None => writeln!(text, "nobody leads, as far as the nodes that answer know"),
            };
        }
    }
    let known = leader.map_or(&parts[0].1["voters"], |(_, part)| &part["voters"]);
    let ahead = leader.map_or(0, |(_, part)| number(&part["applied"]));
    let columns = ["voter", "state", "behind by", "items", "memory", "snapshot"];
    let mut rows = vec![columns.map(str::to_owned)];
    for voter in known.as_array().into_iter().flatten() {
        let name = voter["node"].as_str().unwrap_or_default();
        let own = parts.iter().find(|(node, _)| *node == name);
        let own = own.map_or(&Value::Null, |(_, part)| part);
        let leads = leader.is_some_and(|(node, _)| *node == name);
        let matched = voter["matched"].as_u64().filter(|_| leader.is_some());
        let unknown = || "?".to_owned();
        rows.push([
            name.to_owned(),
            match leader {
                Some(_) if leads => "leads".to_owned(),
                Some(_) => state(voter),
                // What one of them thinks of another is old.
                None if own.is_object() => "answers".to_owned(),
                None => unknown(),
            },
            matched.map_or_else(unknown, |at| ahead.saturating_sub(at).to_string()),
            own["items"]
                .as_u64()
                .map_or_else(unknown, |items| items.to_string()),
            own["bytes"].as_u64().map_or_else(unknown, |bytes| {
                let limit = number(&own["limit"]);
                let percent = bytes * 100 / limit.max(1);
                format!("{} of {} ({percent} %)", size(bytes), size(limit))
            }),
            own["snapshot_age_ms"]
                .as_u64()
                .map_or_else(|| "none".into(), |age| format!("{} old", span(age))),
        ]);
    }
    text += &aligned(&rows);
    let columns = [
        "agent",
        "operations",
        "asked again",
        "failed",
        "outcome unknown",
    ];
    let mut rows = vec![columns.map(str::to_owned)];
    for (node, part) in parts {
        let agent = &part["agent"];
        if agent.is_object() {
            let count = |name: &str| number(&agent[name]).to_string();
            rows.push([
                (*node).to_owned(),
                count("operations"),
                count("retries"),
                count("failed"),
                count("unknown"),
            ]);
        }
    }
    if rows.len() > 1 {
        text += &aligned(&rows);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_voter_that_has_not_answered_for_some_heartbeats_does_not_count_as_full() {
        let leader = |heard: &Value| {
            serde_json::json!({
                "role": "leader", "term": 4, "is_degraded": false,
                "voters": [
                    { "node": "a", "health": "up", "heard_ms": 0 },
                    { "node": "b", "health": "up", "heard_ms": 40 },
                    { "node": "c", "health": "up", "heard_ms": heard },
                ],
            })
        };
        let said = |heard: Value| tier(&[("a", &leader(&heard))]);
        assert!(said(100.into()).contains("full redundancy"));
        let silent = said(400.into());
        assert!(
            silent.contains("leads (term 4); 2 of 3 voters answer now"),
            "{silent}"
        );
        assert!(silent.contains("silent for 400 ms"), "{silent}");
        assert!(said(Value::Null).contains("2 of 3 voters answer now"));
    }

    #[test]
    fn without_a_leader_nothing_is_said_of_voters_that_do_not_answer() {
        let a = serde_json::json!({
            "role": "follower", "term": 4, "items": 7,
            "voters": [
                { "node": "a", "health": "up", "matched": 9 },
                { "node": "b", "health": "up", "matched": 9 },
            ],
        });
        let said = tier(&[("a", &a)]);
        let lines: Vec<Vec<&str>> = said
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(lines[0][..2], ["nobody", "leads,"]);
        assert_eq!(lines[2][..4], ["a", "answers", "?", "7"]);
        assert_eq!(lines[3][..4], ["b", "?", "?", "?"]);
        let mut a = a;
        a["leader"] = "b".into();
        assert!(tier(&[("a", &a)]).starts_with("b leads, says a, but does not answer\n"));
    }
}
