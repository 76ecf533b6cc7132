//! `tandem doctor`: looks at what is around Tandem, and says what is wrong with it and what to do.

mod agent;
mod cluster;
mod finding;
mod tomcat;
mod xml;
mod zip;

use std::path::PathBuf;
use std::process::ExitCode;

use lexopt::Arg::{Long, Value};

use crate::cli::{self, Command, Opt};
use crate::exit::{FAILED, Failure, Result};
use finding::Findings;

/// The command.
pub const COMMAND: Command = Command {
    name: "doctor",
    summary: "say what is wrong with this machine and its cluster, and what to do about it",
    usage: &[
        "doctor [cluster.toml] [--node NAME] [--json]",
        "doctor tomcat DIR [--home DIR] [--agent HOST:PORT] [--json]",
    ],
    about: "\
Looks at this machine as the cluster file wants it (/etc/tandem/cluster.toml unless one is named), whether its node
runs or not: what the file names here, descriptors, ports, the state directory and its disk, certificates and how long
they are valid, names; and from it at the other nodes: whether they answer, by which file and version, and what time
they have.

`doctor tomcat DIR` looks at a Tomcat (DIR is its CATALINA_BASE): its version, the session manager's jar and whether it
is the one for this Tomcat, what context.xml says, and whether the agent answers and keeps what it is given.

Each finding is a sentence, with the remedy if something is wrong.
",
    options: &[
        Opt { form: "--node NAME", text: "the node that this machine plays, instead of TANDEM_NODE or the one whose address it has" },
        Opt { form: "--json", text: "a JSON array of findings: `grade` (good, note, wrong), `about`, `text`" },
        Opt { form: "--home DIR", text: "CATALINA_HOME, if it is another directory and neither the environment nor DIR/bin says so" },
        Opt { form: "--agent HOST:PORT", text: "where the agent is, instead of what context.xml or TANDEM_SESSIONS say" },
    ],
    notes: "\
Nothing is changed; `doctor tomcat` stores one item in the session tier for a moment. Exit code 0 when nothing is
wrong, 1 when something is, 2 when the command line or the file is.
",
    main,
};

fn main(mut args: lexopt::Parser) -> Result {
    let (mut file, mut node, mut json) = (None, None, false);
    while let Some(arg) = args.next()? {
        match arg {
            Long("json") => json = true,
            Long("node") => node = Some(args.value()?.to_string_lossy().into_owned()),
            Value(what) if what == "tomcat" && file.is_none() && node.is_none() => {
                let findings = tomcat::main(args, &mut json)?;
                return report(&findings, json);
            }
            Value(value) if file.is_none() => file = Some(PathBuf::from(value)),
            Value(_) => return Err(Failure::usage("one cluster file, please")),
            arg => return Err(arg.unexpected().into()),
        }
    }
    report(&cluster::look(file, node)?, json)
}

fn report(findings: &Findings, json: bool) -> Result {
    if json {
        let text = serde_json::to_string_pretty(findings.all());
        let text = text.map_err(|error| Failure::failed(error.to_string()))?;
        cli::say(&format!("{text}\n"))?;
    } else {
        cli::say(&findings.to_string())?;
    }
    Ok(if findings.all_is_well() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FAILED)
    })
}
