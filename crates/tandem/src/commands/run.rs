//! `tandem run`

use lexopt::Arg::{Long, Value};
use tandem_model::Cluster;

use super::{environment, load, needs_file, node_names, one_file};
use crate::cli::Command;
use crate::exit::{Failure, Result};
use crate::node::{self, Options};

/// The command.
pub const COMMAND: Command = Command {
    name: "run",
    summary: "play one node of a cluster file: the one this machine is",
    help: "\
usage: tandem run cluster.toml [--node NAME]

Plays the node whose address this machine has, in the foreground, until SIGTERM or Ctrl-C. The same file is on every
machine.

  --node NAME   play this node, when the machine has the addresses of several or of none

A mistake in the file, a taken address or a missing directory ends it at once with one clear sentence and exit code 2.
The log goes to standard error, or where [cluster] log says.
",
    main,
};

fn main(mut args: lexopt::Parser) -> Result {
    let (mut file, mut node, mut tethered) = (None, None, false);
    while let Some(arg) = args.next()? {
        match arg {
            Long("node") => node = Some(args.value()?.to_string_lossy().into_owned()),
            // Used by rehearsals: end when standard input does.
            Long("tethered") => tethered = true,
            Value(value) => one_file(&mut file, value)?,
            _ => return Err(arg.unexpected().into()),
        }
    }
    let file = needs_file(file, "run")?;
    let mut loaded = load(&file, &environment)?;
    loaded.cluster.start_in(&loaded.base);
    let cluster = &loaded.cluster;
    let node = match node {
        Some(node) => node,
        None => this_machine(cluster)?,
    };
    let Some(plan) = cluster.for_node(&node) else {
        return Err(Failure::usage(format!(
            "there is no node `{node}`; there are {}",
            node_names(cluster)
        )));
    };
    node::run(
        &plan,
        Options {
            roles: cluster.roles(&node),
            base: loaded.base,
            tethered,
        },
    )
}

/// The node whose address this machine has.
fn this_machine(cluster: &Cluster) -> Result<String> {
    if let [only] = &cluster.nodes[..] {
        return Ok(only.name.clone());
    }
    let here = tandem_config::nodes_here(cluster);
    match &here[..] {
        [node] => Ok(node.name.clone()),
        [] => Err(Failure::usage(format!(
            "this machine has the address of no node of the file; say which it is: --node NAME, of {}",
            node_names(cluster)
        ))),
        several => {
            let names = several
                .iter()
                .map(|node| node.name.as_str())
                .collect::<Vec<_>>()
                .join(", ");
            Err(Failure::usage(format!(
                "this machine has the addresses of {names}; say which to play: --node NAME"
            )))
        }
    }
}
