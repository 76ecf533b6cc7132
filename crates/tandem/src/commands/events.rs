//! `tandem events`

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use lexopt::Arg::{Long, Short};
use serde_json::Value;

use super::log_level::known_level;
use crate::cli::{Command, Opt};
use crate::exit::{Failure, Result};
use crate::operator::find::{ADMIN, NODE, Wanted};
use crate::operator::{Client, each};

/// Between two looks for news.
const PAUSE: Duration = Duration::from_millis(500);

/// The command.
pub const COMMAND: Command = Command {
    name: "events",
    summary: "what happened on all nodes, and with -f what happens",
    usage: &["events [-f] [-n COUNT] [--level LEVEL] [--subject TEXT] [--json]"],
    about: "\
Every change of a server's health, of the sessions' leader, of the configuration, and every order of an operator
(subject `audit`), with its reason; of all nodes, in the order of their clocks.
",
    options: &[
        Opt {
            form: "-f, --follow",
            text: "go on with what happens, until Ctrl-C",
        },
        Opt {
            form: "-n, --lines COUNT",
            text: "so many of the last ones (20)",
        },
        Opt {
            form: "--level LEVEL",
            text: "info, warning or error: these and worse",
        },
        Opt {
            form: "--subject TEXT",
            text: "only those whose subject has this text in it",
        },
        Opt {
            form: "--json",
            text: "a JSON object a line",
        },
        NODE,
        ADMIN,
    ],
    notes: "",
    main,
};

fn main(mut args: lexopt::Parser) -> Result {
    let (mut follow, mut count, mut json) = (false, 20usize, false);
    let (mut level, mut subject, mut wanted) = ("", String::new(), Wanted::default());
    while let Some(arg) = args.next()? {
        match arg {
            Short('f') | Long("follow") => follow = true,
            Short('n') | Long("lines") => {
                let text = args.value()?.to_string_lossy().into_owned();
                count = text
                    .parse()
                    .map_err(|_| Failure::usage(format!("-n takes a number, not `{text}`")))?;
            }
            Long("level") => {
                let name = args.value()?.to_string_lossy().into_owned();
                level = known_level(&name)?.name();
            }
            Long("subject") => subject = args.value()?.to_string_lossy().into_owned(),
            Long("json") => json = true,
            Long(name) => {
                let name = name.to_owned();
                wanted.take(&name, &mut args)?;
            }
            arg => return Err(arg.unexpected().into()),
        }
    }
    let client = wanted.client()?;
    let mut filter = Vec::new();
    if !level.is_empty() {
        filter.push(("level", level));
    }
    if !subject.is_empty() {
        filter.push(("subject", subject.as_str()));
    }
    let body = ask(&client, &filter, "all", 0)?;
    let mut seen = BTreeMap::new();
    let first = news(&body, &mut seen);
    print(&first[first.len().saturating_sub(count)..], json);
    if !follow {
        return Ok(ExitCode::SUCCESS);
    }
    loop {
        std::thread::sleep(PAUSE);
        let mut found = Vec::new();
        for (node, last) in seen.clone() {
            // Each numbers its events by itself; one that cannot be asked now is asked again.
            found.extend(news(&ask(&client, &filter, &node, last)?, &mut seen));
        }
        found.sort_by(in_time);
        print(&found, json);
    }
}

fn ask(client: &Client, filter: &[(&str, &str)], nodes: &str, after: u64) -> Result<Value> {
    let after = after.to_string();
    let mut parameters = filter.to_vec();
    parameters.extend([("nodes", nodes), ("after", after.as_str())]);
    let reply = client.get("/api/v1/events", &parameters)?;
    let refused = each(&reply.body)
        .into_iter()
        .find(|(_, status, _)| *status == 400);
    match refused {
        Some((_, _, why)) => Err(Failure::usage(crate::operator::refusal(&why))),
        None => Ok(reply.body),
    }
}

/// The events of an answer, in the order of time; `seen` gets each node's last number.
fn news(body: &Value, seen: &mut BTreeMap<String, u64>) -> Vec<Value> {
    let mut found = Vec::new();
    for (node, _, told) in each(body) {
        let last = seen.entry(node).or_insert(0);
        *last = told["last"].as_u64().unwrap_or(*last);
        found.extend(told["events"].as_array().into_iter().flatten().cloned());
    }
    found.sort_by(in_time);
    found
}

fn in_time(a: &Value, b: &Value) -> std::cmp::Ordering {
    a["at"].as_str().cmp(&b["at"].as_str())
}

fn print(events: &[Value], json: bool) {
    let mut out = std::io::stdout().lock();
    for event in events {
        let text = |key: &str| event[key].as_str().unwrap_or("-").to_owned();
        let line = if json {
            event.to_string()
        } else {
            format!(
                "{} {} {:7} {}: {}",
                text("at"),
                text("node"),
                text("severity"),
                text("subject"),
                text("what")
            )
        };
        if writeln!(out, "{line}").is_err() {
            std::process::exit(0);
        }
    }
    let _ = out.flush();
}
