//! `tandem maintenance`

use lexopt::Arg::{Long, Value};

use crate::cli::{self, Command, Opt};
use crate::exit::{Failure, Result};
use crate::operator::change_everywhere;
use crate::operator::find::{ADMIN, NODE, Wanted};

/// The command.
pub const COMMAND: Command = Command {
    name: "maintenance",
    summary: "show a listener's maintenance page, or no longer",
    usage: &["maintenance LISTENER on|off"],
    about: "\
On every node of the file that has the listener: its `maintenance` page with 503 and Retry-After to everyone but the
addresses that it allows. What was ordered holds until it is ordered otherwise.
",
    options: &[
        Opt {
            form: "LISTENER on",
            text: "show the page",
        },
        Opt {
            form: "LISTENER off",
            text: "serve again",
        },
        NODE,
        ADMIN,
    ],
    notes: "",
    main,
};

fn main(mut args: lexopt::Parser) -> Result {
    let (mut words, mut wanted) = (Vec::new(), Wanted::default());
    while let Some(arg) = args.next()? {
        match arg {
            Value(word) => words.push(word.to_string_lossy().into_owned()),
            Long(name) => {
                let name = name.to_owned();
                wanted.take(&name, &mut args)?;
            }
            arg @ lexopt::Arg::Short(_) => return Err(arg.unexpected().into()),
        }
    }
    let on = match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [_, "on"] => "true",
        [_, "off"] => "false",
        _ => return Err(Failure::usage("`tandem maintenance LISTENER on` or `off`")),
    };
    let path = format!("/api/v1/listeners/{}", words[0]);
    let done = change_everywhere(&wanted.client()?, &path, &[("maintenance", on)])?;
    cli::say(&done)
}
