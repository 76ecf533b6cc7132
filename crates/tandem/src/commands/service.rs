//! `tandem service`

use std::path::PathBuf;

use lexopt::Arg::{Long, Value};

use crate::cli::{self, Command, Opt};
use crate::exit::{Failure, Result};
use crate::service::install::{Manager, install, this_program, uninstall};

/// The command.
pub const COMMAND: Command = Command {
    name: "service",
    summary: "make it a service of this machine: a systemd unit or an init script",
    usage: &[
        "service install [--systemd|--init] [--root DIR] [--program PATH]",
        "service uninstall [--root DIR]",
        "service show [--systemd|--init] [--program PATH]",
    ],
    about: "\
Writes what the machine's service manager needs, where systemd is a unit (Type=notify, watchdog, no privileges but ports
below 1024), elsewhere an LSB init script; and /etc/tandem/environment, if there is none. Starts nothing.
",
    options: &[
        Opt {
            form: "install",
            text: "write it",
        },
        Opt {
            form: "uninstall",
            text: "remove it; /etc/tandem stays",
        },
        Opt {
            form: "show",
            text: "print the unit or the script",
        },
        Opt {
            form: "--systemd",
            text: "a unit, whatever this machine has",
        },
        Opt {
            form: "--init",
            text: "an init script, likewise",
        },
        Opt {
            form: "--root DIR",
            text: "below this directory instead of /",
        },
        Opt {
            form: "--program PATH",
            text: "the program that it starts, instead of this one",
        },
    ],
    notes: "",
    main,
};

fn main(mut args: lexopt::Parser) -> Result {
    let (mut word, mut manager, mut root, mut program) = (None, None, PathBuf::from("/"), None);
    while let Some(arg) = args.next()? {
        match arg {
            Long("systemd") => manager = Some(Manager::Systemd),
            Long("init") => manager = Some(Manager::Init),
            Long("root") => root = args.value()?.into(),
            Long("program") => program = Some(args.value()?.to_string_lossy().into_owned()),
            Value(value) if word.is_none() => word = Some(value.to_string_lossy().into_owned()),
            _ => return Err(arg.unexpected().into()),
        }
    }
    let manager = manager.unwrap_or_else(|| Manager::of(&root));
    let program = match program {
        Some(program) => program,
        None => this_program()?.to_string_lossy().into_owned(),
    };
    if program.contains(char::is_whitespace) {
        return Err(Failure::usage(format!(
            "neither a unit nor a script can start `{program}`: its path has a space"
        )));
    }
    match word.as_deref() {
        Some("install") => cli::say(&install(&root, manager, &program)?),
        Some("uninstall") => cli::say(&uninstall(&root)?),
        Some("show") => cli::say(&manager.text(&program)),
        _ => Err(Failure::usage(
            "`tandem service install`, `uninstall` or `show`",
        )),
    }
}
