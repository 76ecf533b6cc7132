//! `tandem log-level`

use lexopt::Arg::{Long, Value};
use tandem_telemetry::Severity;

use crate::cli::{self, Command, Opt};
use crate::exit::{Failure, Result};
use crate::operator::find::{ADMIN, NODE, Wanted};

/// The command.
pub const COMMAND: Command = Command {
    name: "log-level",
    summary: "change how much a node writes to its log, while it runs",
    usage: &["log-level debug|info|warning|error"],
    about: "\
Until the node ends or its file says otherwise.
",
    options: &[
        Opt {
            form: "LEVEL",
            text: "debug, info, warning or error: what is written is so severe or worse",
        },
        NODE,
        ADMIN,
    ],
    notes: "",
    main,
};

fn main(mut args: lexopt::Parser) -> Result {
    let (mut level, mut wanted) = (None, Wanted::default());
    while let Some(arg) = args.next()? {
        match arg {
            Value(value) if level.is_none() => level = Some(value.to_string_lossy().into_owned()),
            Long(name) => {
                let name = name.to_owned();
                wanted.take(&name, &mut args)?;
            }
            arg => return Err(arg.unexpected().into()),
        }
    }
    let level =
        level.ok_or_else(|| Failure::usage("which level? debug, info, warning or error"))?;
    let level = known_level(&level)?.name();
    let client = wanted.client()?;
    let body = client
        .post("/api/v1/node/log-level", &[("level", level)])?
        .good()?;
    cli::say(&format!("{}\n", body["done"].as_str().unwrap_or_default()))
}

/// The level of this name.
pub fn known_level(name: &str) -> Result<Severity> {
    Severity::parse(name).ok_or_else(|| {
        Failure::usage(format!(
            "`{name}` is no level: debug, info, warning or error"
        ))
    })
}
