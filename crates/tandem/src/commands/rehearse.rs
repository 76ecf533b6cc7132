//! `tandem rehearse`

use std::path::Path;

use lexopt::Arg::{Long, Value};
use tandem_model::Cluster;

use super::{load, needs_file, one_file, rehearsed_environment};
use crate::cli::{self, Command, Opt};
use crate::exit::{Failure, Result};
use crate::rehearsal::play::{Piece, play, set};
use crate::rehearsal::state::Kind;

/// The command.
pub const COMMAND: Command = Command {
    name: "rehearse",
    summary: "run every node of a cluster file on this machine",
    usage: &["rehearse cluster.toml [--show] [--port PORT] [--admin PORT]"],
    about: "\
Runs every node of the file here, each as a process of its own, on loopback addresses: the same file that runs on the
machines. An application that only has `proxy` is played by a stand-in unless its `rehearse` names a program.
",
    options: &[
        Opt { form: "--show", text: "print the rehearsed cluster as a file and do nothing" },
        Opt { form: "--port PORT", text: "the first listener's port (80 becomes 8080); an error when it is taken" },
        Opt { form: "--admin PORT", text: "the status page's port, instead of 8404 or the next free one" },
    ],
    notes: "\
Ctrl-C, SIGTERM and SIGHUP stop everything. `tandem node` lists, kills and starts nodes meanwhile.
",
    main,
};

fn main(mut args: lexopt::Parser) -> Result {
    let (mut file, mut show, mut port, mut admin) = (None, false, None, None);
    while let Some(arg) = args.next()? {
        match arg {
            Long("show") => show = true,
            Long("port") => port = Some(port_number(&mut args)?),
            Long("admin") => admin = Some(port_number(&mut args)?),
            Value(value) => one_file(&mut file, value)?,
            _ => return Err(arg.unexpected().into()),
        }
    }
    let file = needs_file(file, "rehearse")?;
    let loaded = load(&file, &rehearsed_environment)?;
    let (cluster, base) = (loaded.cluster, Some(loaded.base));
    let piece = Piece {
        kind: Kind::Rehearsal,
        cluster,
        base,
        prepare: as_it_is,
        port,
        admin,
    };
    if show {
        let set = set(&piece)?;
        let _ = std::fs::remove_dir_all(&set.place.dir);
        return cli::say(&tandem_config::emit(&set.rehearsed.cluster));
    }
    play(&piece)
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "it is one of several ways to prepare"
)]
fn as_it_is(_: &mut Cluster, _: &Path) -> Result<()> {
    Ok(())
}

/// The value of an option that is a port.
pub fn port_number(args: &mut lexopt::Parser) -> Result<u16> {
    let value = args.value()?;
    let text = value.to_string_lossy();
    match text.parse() {
        Ok(0) | Err(_) => Err(Failure::usage(format!(
            "`{text}` is no port: a number from 1 to 65535"
        ))),
        Ok(port) => Ok(port),
    }
}
