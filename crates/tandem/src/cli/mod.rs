//! The command line: which commands there are, and how one is found.
//!
//! [`COMMANDS`] is the one table: `--help` ([`help`]), completions ([`completion`]) and man pages ([`man`]) are made
//! from it.

pub mod completion;
mod help;
pub mod man;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

use crate::commands::{
    check, completion as completion_command, config, demo, demo_app, doctor, events, haproxy,
    import, keeper, key, log_level, logs, maintenance, man as man_command, memcached, nginx, node,
    rehearse, run, server, service, sessions, upgrade, verbs,
};
use crate::exit::{Failure, Result};

/// One command.
pub struct Command {
    /// The word.
    pub name: &'static str,
    /// One line for the list; empty hides it.
    pub summary: &'static str,
    /// Its forms, each as written after `tandem `.
    pub usage: &'static [&'static str],
    /// What it does, in paragraphs.
    pub about: &'static str,
    /// Its options and words.
    pub options: &'static [Opt],
    /// What else is to be known: exit codes, signals.
    pub notes: &'static str,
    /// Does it, with the arguments after the word.
    pub main: fn(lexopt::Parser) -> Result,
}

/// An option or a word of a command.
pub struct Opt {
    /// As it is written: `-p, --port NUM`, `kill NAME`.
    pub form: &'static str,
    /// What it does.
    pub text: &'static str,
}

/// Every command, in the order of the list.
pub const COMMANDS: &[Command] = &[
    demo::COMMAND,
    run::COMMAND,
    rehearse::COMMAND,
    check::COMMAND,
    doctor::COMMAND,
    verbs::START,
    verbs::STOP_COMMAND,
    verbs::STATUS,
    verbs::RESTART,
    verbs::RELOAD,
    verbs::FORCE_RELOAD,
    verbs::CONFIGTEST,
    verbs::CONDRESTART,
    verbs::TRY_RESTART,
    upgrade::COMMAND,
    service::COMMAND,
    server::COMMAND,
    sessions::COMMAND,
    maintenance::COMMAND,
    events::COMMAND,
    logs::COMMAND,
    log_level::COMMAND,
    config::COMMAND,
    node::COMMAND,
    key::COMMAND,
    memcached::COMMAND,
    import::COMMAND,
    haproxy::COMMAND,
    nginx::COMMAND,
    completion_command::COMMAND,
    man_command::COMMAND,
    demo_app::COMMAND,
    keeper::COMMAND,
];

/// Commands that take the place of a program of the same name, which a link can have.
const LINKS: [&Command; 3] = [&memcached::COMMAND, &haproxy::COMMAND, &nginx::COMMAND];

/// Runs what the arguments say; nothing at all is the demo. Called by a link that has the name of another program it is
/// that command.
pub fn dispatch(name: &OsStr, args: Vec<OsString>) -> Result {
    let link = Path::new(name).file_name();
    if let Some(command) = LINKS
        .iter()
        .find(|command| link == Some(OsStr::new(command.name)))
    {
        return (command.main)(lexopt::Parser::from_args(args));
    }
    let Some(word) = args.first().and_then(|arg| arg.to_str()) else {
        return (demo::COMMAND.main)(lexopt::Parser::from_args(args));
    };
    match word {
        "-h" | "--help" | "help" => match args.get(1).and_then(|arg| arg.to_str()).and_then(find) {
            Some(command) => say(&command.help()),
            None => say(&help::overview(listed())),
        },
        "-V" | "--version" | "version" => say(&format!("tandem {}\n", env!("CARGO_PKG_VERSION"))),
        _ => {
            let Some(command) = find(word) else {
                return Err(Failure::usage(unknown(word)));
            };
            let rest = &args[1..];
            if rest
                .iter()
                .take_while(|arg| *arg != "--")
                .any(|arg| arg == "--help")
            {
                return say(&command.help());
            }
            (command.main)(lexopt::Parser::from_args(rest.to_vec()))
        }
    }
}

/// The commands that users are told of.
pub fn listed() -> impl Iterator<Item = &'static Command> + Clone {
    COMMANDS
        .iter()
        .filter(|command| !command.summary.is_empty())
}

fn find(word: &str) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.name == word)
}

/// Prints and succeeds. A closed pipe (`tandem --help | head -1`) is no failure.
pub fn say(text: &str) -> Result {
    use std::io::Write as _;
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    Ok(ExitCode::SUCCESS)
}

fn unknown(word: &str) -> String {
    let names = listed().map(|command| command.name);
    let near = names.clone().find(|name| {
        name.starts_with(word)
            || (word.len() > 2 && word.starts_with(name))
            || name.bytes().eq(word.bytes().rev())
    });
    match near {
        Some(name) => format!("there is no command `{word}`; did you mean `{name}`?"),
        None => format!(
            "there is no command `{word}`; there are {}",
            names.collect::<Vec<_>>().join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_explains_itself() {
        for command in COMMANDS {
            let help = command.help();
            let usage = format!("usage: tandem {}", command.name);
            assert!(help.starts_with(&usage), "{}", command.name);
            assert!(help.ends_with('\n'), "{}", command.name);
            for line in help.lines() {
                assert!(line.chars().count() <= 120, "{}: {line}", command.name);
            }
        }
    }

    #[test]
    fn an_unknown_word_is_answered_with_the_nearest_command() {
        assert!(unknown("rehears").contains("`rehearse`"));
        assert!(unknown("xyz").contains("demo, run"));
    }
}
