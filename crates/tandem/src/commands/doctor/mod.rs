//! `tandem doctor`: looks at what is around Tandem, and says what is wrong with it and what to do.

mod agent;
mod finding;
mod tomcat;
mod xml;
mod zip;

use std::process::ExitCode;

use lexopt::Arg::Value;

use crate::cli::{self, Command, Opt};
use crate::exit::{FAILED, Failure, Result};
use finding::Findings;

/// The command.
pub const COMMAND: Command = Command {
    name: "doctor",
    summary: "say what is wrong around Tandem, and what to do about it",
    usage: &["doctor tomcat DIR [--home DIR] [--agent HOST:PORT]"],
    about: "\
`doctor tomcat DIR` looks at a Tomcat (DIR is its CATALINA_BASE): its version, the session manager's jar and whether it
is the one for this Tomcat, what context.xml says, and whether the agent answers and keeps what it is given. Each
finding is a sentence, with the remedy if something is wrong.
",
    options: &[
        Opt { form: "--home DIR", text: "CATALINA_HOME, if it is another directory and neither the environment nor DIR/bin says so" },
        Opt { form: "--agent HOST:PORT", text: "where the agent is, instead of what context.xml or TANDEM_SESSIONS say" },
    ],
    notes: "\
Nothing is changed; one item is stored in the session tier for a moment. Exit code 0 when all is well, 1 when something
is wrong.
",
    main,
};

fn main(mut args: lexopt::Parser) -> Result {
    let findings = match args.next()? {
        Some(Value(what)) if what == "tomcat" => tomcat::main(args)?,
        Some(Value(what)) => {
            return Err(Failure::usage(format!(
                "there is no doctor for `{}`; there is one for tomcat",
                what.to_string_lossy()
            )));
        }
        Some(arg) => return Err(arg.unexpected().into()),
        None => {
            return Err(Failure::usage(
                "a doctor for what? `tandem doctor tomcat DIR`",
            ));
        }
    };
    report(&findings)
}

fn report(findings: &Findings) -> Result {
    cli::say(&findings.to_string())?;
    Ok(if findings.all_is_well() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FAILED)
    })
}
