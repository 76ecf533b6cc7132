//! `tandem check`

use std::fmt::Write as _;
use std::process::ExitCode;

use lexopt::Arg::{Long, Short, Value};
use tandem_config::nodes_here;

use super::{certificates, environment, load, needs_file, one_file};
use crate::cli::{self, Command, Opt};
use crate::exit::{Failure, Result, USAGE};

/// The command.
pub const COMMAND: Command = Command {
    name: "check",
    summary: "say everything that is wrong with a cluster file",
    usage: &["check cluster.toml [--here [NODE]]"],
    about: "\
Reads the file and reports every mistake at once, each with its line and what was probably meant. Then says what the
file amounts to: where copies of the sessions are and what a machine's death means.
",
    options: &[
        Opt { form: "--here [NODE]", text: "also look at this machine: paths, programs, addresses, certificates. NODE is needed when the machine's address is not in the file." },
    ],
    notes: "\
Exit code 0 when the file is good, 2 when it is not. Nothing is started and nothing is written.
",
    main,
};

fn main(mut args: lexopt::Parser) -> Result {
    let (mut file, mut here, mut node) = (None, false, None);
    while let Some(arg) = args.next()? {
        match arg {
            Long("here") => {
                here = true;
                node = args
                    .optional_value()
                    .map(|value| value.to_string_lossy().into_owned());
            }
            Value(value) if here && file.is_some() && node.is_none() => {
                node = Some(value.to_string_lossy().into_owned());
            }
            Value(value) => one_file(&mut file, value)?,
            Short(_) | Long(_) => return Err(arg.unexpected().into()),
        }
    }
    let file = needs_file(file, "check")?;
    let mut loaded = load(&file, &environment)?;
    loaded.cluster.start_in(&loaded.base);
    let mut text = format!("{}: good\n", file.display());
    for note in &loaded.notes {
        let _ = writeln!(text, "  {note}");
    }
    let mut wrong = 0;
    if here {
        if let Some(name) = &node
            && loaded.cluster.node(name).is_none()
        {
            let names = super::node_names(&loaded.cluster);
            return Err(Failure::usage(format!(
                "there is no node `{name}`; there are {names}"
            )));
        }
        let found = crate::process::check_here(&loaded.cluster, node.as_deref());
        let nodes: Vec<&str> = match &node {
            Some(name) => vec![name],
            None => {
                let near = nodes_here(&loaded.cluster).into_iter();
                near.map(|node| &*node.name).collect()
            }
        };
        let tls = certificates::wrong(&loaded.cluster, &nodes);
        for finding in found.into_iter().chain(tls) {
            wrong += 1;
            let _ = writeln!(text, "  here: {finding}");
        }
    }
    cli::say(&text)?;
    Ok(if wrong == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(USAGE)
    })
}
