//! `tandem node`

use lexopt::Arg::{Long, Value};
use tandem_admin::Row;

use crate::cli::{self, Command, Opt};
use crate::exit::{Failure, Result};
use crate::operator::different_files;
use crate::rehearsal::control::{Order, give};
use crate::rehearsal::state::{State, running};
use crate::rehearsal::table;

/// The command.
pub const COMMAND: Command = Command {
    name: "node",
    summary: "list, kill and start the nodes of a running rehearsal",
    usage: &[
        "node list [--json]",
        "node kill NAME [--app]",
        "node start NAME",
    ],
    about: "\
Acts on the rehearsal (or demo) that runs; nothing else need be said when there is one.
",
    options: &[
        Opt {
            form: "list",
            text: "the nodes: roles, address, process, application process, state",
        },
        Opt {
            form: "list --json",
            text: "the same for scripts, with all that the nodes say of themselves",
        },
        Opt {
            form: "kill NAME",
            text: "SIGKILL to the node's process; its applications die with it",
        },
        Opt {
            form: "kill NAME --app",
            text: "SIGKILL to the node's applications only; Tandem starts them again",
        },
        Opt {
            form: "start NAME",
            text: "start a node that was killed",
        },
        Opt {
            form: "--rehearsal K",
            text: "which rehearsal, by its network 127.84.K, when several run",
        },
    ],
    notes: "",
    main,
};

fn main(mut args: lexopt::Parser) -> Result {
    let (mut words, mut app, mut json, mut network) = (Vec::new(), false, false, None);
    while let Some(arg) = args.next()? {
        match arg {
            Long("app") => app = true,
            Long("json") => json = true,
            Long("rehearsal") => network = Some(args.value()?.to_string_lossy().into_owned()),
            Value(word) => words.push(word.to_string_lossy().into_owned()),
            _ => return Err(arg.unexpected().into()),
        }
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let order = match words[..] {
        ["list"] => Order::List,
        ["kill", node] => Order::Kill {
            node: node.into(),
            app,
        },
        ["start", node] => Order::Start { node: node.into() },
        ["kill" | "start"] => {
            return Err(Failure::usage(format!(
                "{} which node? `tandem node list`",
                words[0]
            )));
        }
        _ => {
            return Err(Failure::usage(
                "`tandem node list`, `kill NAME [--app]` or `start NAME`",
            ));
        }
    };
    let answer = give(&find(network.as_deref())?, &order)?;
    if !answer.ok {
        return Err(Failure::failed(answer.said));
    }
    match order {
        Order::List if json => cli::say(&listed(&answer.rows)?),
        Order::List => {
            let table = table::render(&answer.rows, crate::rehearsal::play::is_terminal());
            let files = answer
                .rows
                .iter()
                .filter_map(|row| Some((row.node.as_str(), row.status.file.as_deref()?)));
            cli::say(&(table + &different_files(files)))
        }
        _ => cli::say(&format!("{}\n", answer.said)),
    }
}

fn listed(rows: &[Row]) -> Result<String> {
    let text =
        serde_json::to_string_pretty(rows).map_err(|error| Failure::failed(error.to_string()))?;
    Ok(text + "\n")
}

/// The rehearsal that is meant.
fn find(network: Option<&str>) -> Result<State> {
    let mut states = running();
    if let Some(network) = network {
        states.retain(|state| state.network.to_string() == network);
    }
    match states.len() {
        0 => Err(Failure::failed(
            "no rehearsal runs here; `tandem demo` starts one",
        )),
        1 => Ok(states.remove(0)),
        _ => {
            let list: Vec<String> = states
                .iter()
                .map(|state| {
                    format!(
                        "--rehearsal {} is {} (pid {})",
                        state.network, state.cluster, state.pid
                    )
                })
                .collect();
            Err(Failure::usage(format!(
                "several rehearsals run; say which: {}",
                list.join("; ")
            )))
        }
    }
}
