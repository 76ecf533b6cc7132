//! `tandem check`

use std::fmt::Write as _;
use std::process::ExitCode;

use lexopt::Arg::{Long, Short, Value};
use tandem_config::nodes_here;
use tandem_model::{Cluster, Service};
use tandem_net::{ClientTls, ServerTls};

use super::{environment, load, needs_file, one_file};
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
        let tls = certificates(&loaded.cluster, node.as_deref());
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

/// What keeps the nodes that are looked at from speaking TLS.
fn certificates(cluster: &Cluster, node: Option<&str>) -> Vec<String> {
    let here = nodes_here(cluster).into_iter().map(|node| &*node.name);
    let nodes: Vec<&str> = node.map_or_else(|| here.collect(), |name| vec![name]);
    let is_on = |on: &[String]| on.iter().any(|name| nodes.contains(&name.as_str()));
    let listeners = cluster.listeners.iter().filter(|one| is_on(&one.on));
    let listeners = listeners.filter_map(|listener| {
        let why = ServerTls::load(listener.tls.as_ref()?).err()?;
        Some(format!("listener {}: {why}", listener.name))
    });
    let backends = cluster.services.iter().filter_map(|service| match service {
        Service::Backend(backend) => {
            let why = ClientTls::load(backend.tls.as_ref()?).err()?;
            Some(format!("backend {}: {why}", backend.name))
        }
        Service::Site(_) | Service::App(_) => None,
    });
    listeners.chain(backends).collect()
}
