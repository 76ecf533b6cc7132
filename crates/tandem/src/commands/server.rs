//! `tandem server`

use std::fmt::Write as _;

use lexopt::Arg::{Long, Value};

use crate::cli::{self, Command, Opt};
use crate::exit::{Failure, Result};
use crate::operator::find::{ADMIN, NODE, Wanted};
use crate::operator::{Client, change_everywhere, each};

/// The command.
pub const COMMAND: Command = Command {
    name: "server",
    summary: "list the servers of services; drain, weight or stop asking one",
    usage: &[
        "server list [SERVICE] [--json]",
        "server drain|maintenance|ready SERVICE/SERVER",
        "server weight SERVICE/SERVER WEIGHT",
        "server kill SERVICE/SERVER",
    ],
    about: "\
Asks a node of this machine, which passes it on to all nodes of the file: each that leads to the server obeys. What was
ordered holds until it is ordered otherwise; reloads keep it.
",
    options: &[
        Opt {
            form: "list [SERVICE]",
            text: "the servers as each node sees them: state and why, weight, requests",
        },
        Opt {
            form: "drain NAME",
            text: "no new requests; those in flight finish, clients that are bound to it still come",
        },
        Opt {
            form: "maintenance NAME",
            text: "no requests at all, and no checks",
        },
        Opt {
            form: "ready NAME",
            text: "back to work",
        },
        Opt {
            form: "weight NAME WEIGHT",
            text: "its share of new requests, 0 to 256",
        },
        Opt {
            form: "kill NAME",
            text: "SIGKILL to the program behind it, when Tandem runs it",
        },
        Opt {
            form: "--json",
            text: "the list for scripts: an object with each node's answer",
        },
        NODE,
        ADMIN,
    ],
    notes: "",
    main,
};

fn main(mut args: lexopt::Parser) -> Result {
    let (mut words, mut json, mut wanted) = (Vec::new(), false, Wanted::default());
    while let Some(arg) = args.next()? {
        match arg {
            Long("json") => json = true,
            Long(name) => {
                let name = name.to_owned();
                wanted.take(&name, &mut args)?;
            }
            Value(word) => words.push(word.to_string_lossy().into_owned()),
            arg @ lexopt::Arg::Short(_) => return Err(arg.unexpected().into()),
        }
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let parameters = match words[..] {
        ["list"] => return list(&wanted.client()?, None, json),
        ["list", service] => return list(&wanted.client()?, Some(service), json),
        [state @ ("drain" | "maintenance" | "ready"), _] => vec![("state", state)],
        ["weight", _, weight] => vec![("weight", weight)],
        ["kill", _] => vec![("kill", "true")],
        _ => {
            return Err(Failure::usage(
                "`tandem server list`, or drain, maintenance, ready, weight or kill with SERVICE/SERVER",
            ));
        }
    };
    if !words[1].contains('/') {
        return Err(Failure::usage(format!(
            "a server is named SERVICE/SERVER, not `{}`; `tandem server list` shows them",
            words[1]
        )));
    }
    let path = format!("/api/v1/servers/{}", words[1]);
    cli::say(&change_everywhere(&wanted.client()?, &path, &parameters)?)
}

fn list(client: &Client, service: Option<&str>, json: bool) -> Result {
    let body = client
        .get("/api/v1/services", &[("nodes", "all")])?
        .good()?;
    if json {
        let text = serde_json::to_string_pretty(&body);
        let text = text.map_err(|error| Failure::failed(error.to_string()))?;
        return cli::say(&(text + "\n"));
    }
    let mut rows = vec![
        [
            "seen from",
            "server",
            "address",
            "state",
            "weight",
            "in flight",
            "requests",
            "failures",
            "why",
        ]
        .map(str::to_owned),
    ];
    for (node, status, services) in each(&body) {
        if status != 200 {
            rows.push(
                [
                    &node,
                    "-",
                    "-",
                    "unknown",
                    "",
                    "",
                    "",
                    "",
                    services["error"].as_str().unwrap_or(""),
                ]
                .map(str::to_owned),
            );
            continue;
        }
        for found in services.as_array().into_iter().flatten() {
            let name = found["name"].as_str().unwrap_or_default();
            if service.is_some_and(|service| service != name) {
                continue;
            }
            for server in found["servers"].as_array().into_iter().flatten() {
                let text = |key: &str| match &server[key] {
                    serde_json::Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                rows.push([
                    node.clone(),
                    format!("{name}/{}", text("name")),
                    text("address"),
                    text("health"),
                    text("weight"),
                    text("in_flight"),
                    text("requests"),
                    text("failures"),
                    text("reason"),
                ]);
            }
        }
    }
    cli::say(&aligned(&rows))
}

/// Columns as wide as their widest cell.
pub fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    rows.iter().fold(String::new(), |mut out, row| {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        let _ = writeln!(out, "{}", line.trim_end());
        out
    })
}
