//! `tandem config`

use std::fmt::Write as _;

use lexopt::Arg::{Long, Value};

use crate::cli::{self, Command, Opt};
use crate::exit::{Failure, Result};
use crate::operator::find::{ADMIN, NODE, Wanted};
use crate::operator::{each, next_start, refusal};

/// The command.
pub const COMMAND: Command = Command {
    name: "config",
    summary: "the configuration that is in effect; what is different in the file",
    usage: &["config show", "config diff"],
    about: "\
What the nodes run by, as checked and without secrets, and what a reload would change. `diff` exits with 0 when every
node runs by its file as it is, with 1 when not.
",
    options: &[
        Opt {
            form: "show",
            text: "the configuration in effect on the node that is asked, in the words of a cluster file",
        },
        Opt {
            form: "diff",
            text: "for each node the lines that a reload would take away (-) and add (+), what of the file waits for a start, or what is wrong with it",
        },
        NODE,
        ADMIN,
    ],
    notes: "",
    main,
};

fn main(mut args: lexopt::Parser) -> Result {
    let (mut word, mut wanted) = (None, Wanted::default());
    while let Some(arg) = args.next()? {
        match arg {
            Value(value) if word.is_none() => word = Some(value.to_string_lossy().into_owned()),
            Long(name) => {
                let name = name.to_owned();
                wanted.take(&name, &mut args)?;
            }
            arg => return Err(arg.unexpected().into()),
        }
    }
    match word.as_deref() {
        Some("show") => {
            let body = wanted.client()?.get("/api/v1/config", &[])?.good()?;
            cli::say(body["text"].as_str().unwrap_or_default())
        }
        Some("diff") => {
            let client = wanted.client()?;
            let body = client.get("/api/v1/config/diff", &[("nodes", "all")])?.body;
            let (mut text, mut same) = (String::new(), true);
            for (node, status, told) in each(&body) {
                same &= status == 200 && told["same"] == true;
                let _ = match status {
                    200 if told["same"] == true => writeln!(text, "{node}: as the file says"),
                    200 => {
                        let waits = indented(next_start(&told).lines());
                        write!(text, "{node}:\n{}{waits}", changes(&told["changes"]))
                    }
                    _ => writeln!(text, "{node}: {}", refusal(&told)),
                };
            }
            cli::say(&text)?;
            Ok(std::process::ExitCode::from(u8::from(!same)))
        }
        _ => Err(Failure::usage("`tandem config show` or `diff`")),
    }
}

fn changes(lines: &serde_json::Value) -> String {
    let lines = lines.as_array().into_iter().flatten();
    indented(lines.filter_map(|line| line.as_str()))
}

fn indented<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    lines.fold(String::new(), |out, line| out + "  " + line + "\n")
}
