//! `tandem run`

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use lexopt::Arg::{Long, Value};
use tandem_model::{Cluster, NodePlan};

use super::{environment, load, needs_file, node_names, one_file};
use crate::cli::{Command, Opt};
use crate::exit::{Failure, Result};
use crate::node::{self, Options, Predecessor, Read};

/// The command.
pub const COMMAND: Command = Command {
    name: "run",
    summary: "play one node of a cluster file: the one this machine is",
    usage: &["run cluster.toml [--node NAME] [--pid-file FILE]"],
    about: "\
Plays the node whose address this machine has, in the foreground, until SIGTERM or Ctrl-C. The same file is on every
machine.
",
    options: &[
        Opt { form: "--node NAME", text: "play this node, when the machine has the addresses of several or of none" },
    ],
    notes: "\
A mistake in the file, a taken address or a missing directory ends it at once with one clear sentence and exit code 2.
SIGHUP reads the file again and does what is different in it: requests in flight, connections and applications that are
still in it are not touched; a file that is wrong changes nothing and the log says why.
systemd is told when the node serves, reloads and stops, and its watchdog hears from it as long as every worker answers.
The log goes to standard error, or where [cluster] log says.
",
    main,
};

fn main(mut args: lexopt::Parser) -> Result {
    let (mut file, mut wanted) = (None, Wanted::default());
    while let Some(arg) = args.next()? {
        match arg {
            Long("node") => wanted.node = Some(args.value()?.to_string_lossy().into_owned()),
            Long("pid-file") => wanted.pid_file = Some(PathBuf::from(args.value()?)),
            // Used by rehearsals: end when standard input does.
            Long("tethered") => wanted.tethered = true,
            // Used by `tandem upgrade`: standard input is the line to the process whose place is taken.
            Long("successor") => wanted.predecessor = Some(Predecessor::on_stdin()?),
            Value(value) => one_file(&mut file, value)?,
            _ => return Err(arg.unexpected().into()),
        }
    }
    let file = needs_file(file, "run")?;
    let line = wanted.predecessor.as_ref().map(Predecessor::line);
    let ended = play(file, wanted);
    if let (Some(line), Err(failure)) = (line, &ended) {
        line.refuse(failure);
    }
    ended
}

/// What the command line says besides the file.
#[derive(Default)]
struct Wanted {
    node: Option<String>,
    pid_file: Option<PathBuf>,
    tethered: bool,
    predecessor: Option<Predecessor>,
}

fn play(file: PathBuf, wanted: Wanted) -> Result {
    let loaded = load(&file, &environment)?;
    let node = match wanted.node {
        Some(node) => node,
        None => this_machine(&loaded.cluster)?,
    };
    let (roles, base) = (loaded.cluster.roles(&node), loaded.base.clone());
    let read = read(loaded, &node)?;
    let succession = if wanted.tethered {
        Err(
            "it is a node of a rehearsal, which holds its process: end the rehearsal and start it with the new binary",
        )
    } else {
        Ok(again(&file, &node, wanted.pid_file.as_deref()))
    };
    let reread = Box::new(move || read_again(&file, &node));
    node::run(
        read.plan,
        Options {
            roles,
            base,
            tethered: wanted.tethered,
            pid_file: wanted.pid_file,
            text: read.text,
            follows: false,
            origin: node::Origin::default(),
            signals: node::Signals::Tandem,
            on_ready: None,
            log: None,
            on_open: None,
            on_user: None,
            on_stop: None,
            predecessor: wanted.predecessor,
            succession,
            reread,
        },
    )
}

/// The arguments of a process that takes this one's place.
fn again(file: &Path, node: &str, pid_file: Option<&Path>) -> Vec<OsString> {
    let mut arguments = vec!["run".into(), file.into(), "--node".into(), node.into()];
    if let Some(path) = pid_file {
        arguments.extend(["--pid-file".into(), path.into()]);
    }
    arguments
}

/// What a node of the file does.
pub fn plan(mut loaded: tandem_config::Loaded, node: &str) -> Result<NodePlan> {
    loaded.cluster.start_in(&loaded.base);
    loaded.cluster.for_node(node).ok_or_else(|| {
        Failure::usage(format!(
            "there is no node `{node}`; there are {}",
            node_names(&loaded.cluster)
        ))
    })
}

/// What a node of the file does, and what the file says.
fn read(loaded: tandem_config::Loaded, node: &str) -> Result<Read> {
    let text = loaded.shown();
    Ok(Read {
        plan: plan(loaded, node)?,
        text,
        in_effect: None,
    })
}

/// Reads the file anew, for a reload.
fn read_again(file: &Path, node: &str) -> Result<Read> {
    read(load(file, &environment)?, node)
}

/// The node whose address this machine has.
pub fn this_machine(cluster: &Cluster) -> Result<String> {
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
