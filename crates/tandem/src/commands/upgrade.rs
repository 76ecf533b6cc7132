//! `tandem upgrade`

use std::path::PathBuf;

use lexopt::Arg::Long;

use crate::cli::{self, Command, Opt};
use crate::exit::{Failure, Result};
use crate::operator::find::{NODE, Wanted};

/// The command.
pub const COMMAND: Command = Command {
    name: "upgrade",
    summary: "let a new binary take the running node's place, without a gap",
    usage: &["upgrade [--binary PATH] [--drain TIME]"],
    about: "\
Starts the new binary beside the node that runs, hands it listening sockets, applications and sessions, and lets the old
process drain. No connection is refused, no request fails, applications are not started anew, sessions stay. The command
returns when the new process serves; the pid file and systemd know it by then. The file is read anew, too: what is
different in it is in effect afterwards.

What does not come about changes nothing: a file that is wrong, a binary that does not start. The command says why, with
exit code 1, and the node goes on.
",
    options: &[
        Opt {
            form: "--binary PATH",
            text: "the new binary; otherwise the one that this command is",
        },
        Opt {
            form: "--drain TIME",
            text: "how long the old process may last for open WebSockets, tunnels and downloads (5m)",
        },
        NODE,
    ],
    notes: "\
The node's state directory must stay, and so must its user; the environment stays what the node was started with. Nodes
of a rehearsal, and a node that is the first process of its container, cannot be upgraded so.
Only the node's user and root may order it: it goes by the socket admin.sock in the state directory.
",
    main,
};

fn main(mut args: lexopt::Parser) -> Result {
    let (mut binary, mut drain, mut wanted) = (None, None, Wanted::default());
    while let Some(arg) = args.next()? {
        match arg {
            Long("binary") => binary = Some(PathBuf::from(args.value()?)),
            Long("drain") => drain = Some(seconds(&args.value()?.to_string_lossy())?),
            Long(name) => {
                let name = name.to_owned();
                wanted.take(&name, &mut args)?;
            }
            arg => return Err(arg.unexpected().into()),
        }
    }
    let cannot = |what: &str, error: std::io::Error| Failure::usage(format!("{what}: {error}"));
    let binary = match binary {
        Some(path) => std::fs::canonicalize(&path)
            .map_err(|error| cannot(&path.display().to_string(), error))?,
        None => std::env::current_exe()
            .map_err(|error| cannot("cannot find this program's own file", error))?,
    };
    let binary = binary.to_string_lossy();
    let drain = drain.map(|seconds| seconds.to_string());
    let mut parameters = vec![("binary", &*binary)];
    parameters.extend(drain.as_deref().map(|seconds| ("drain", seconds)));
    let reply = wanted.client()?.post("/api/v1/node/upgrade", &parameters)?;
    let body = reply.good()?;
    cli::say(&format!("{}\n", body["done"].as_str().unwrap_or_default()))
}

/// A duration as in the file, in seconds.
fn seconds(text: &str) -> Result<u64> {
    tandem_config::duration(text)
        .map(|duration| duration.as_secs().max(1))
        .map_err(|why| Failure::usage(format!("--drain {text}: {why}")))
}
