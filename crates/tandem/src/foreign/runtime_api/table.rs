//! The table of commands: what can be ordered, by whom, and what does it. Help and the reference page come from it.

use std::fmt::Write as _;
use std::time::Duration;

use tandem_config::import::{Level, ProxyNames};

use super::session::Session;
use super::{Node, counts, info, servers, sockets, stat, state};
use crate::commands::haproxy::VERSION;

/// What a command comes to.
pub enum Outcome {
    /// This is said.
    Text(String),
    /// Servers are to be told something first.
    Orders(Vec<servers::ServerOrder>),
    /// The connection ends.
    Quit,
}

/// What does a command, with all of its words.
type Run = fn(&mut Session, &[&str]) -> Outcome;

/// A command.
pub struct Command {
    /// The words that it begins with.
    pub words: &'static [&'static str],
    /// As help shows it.
    pub usage: &'static str,
    /// What it does, as help says it.
    pub what: &'static str,
    /// Who may.
    pub level: Level,
    pub does: Does,
}

/// Whether a command does something.
pub enum Does {
    Run(Run),
    /// HAProxy has it; the words say what to do here. Help does not show it.
    Refused(&'static str),
}

const fn command(
    words: &'static [&'static str],
    usage: &'static str,
    what: &'static str,
    level: Level,
    run: Run,
) -> Command {
    Command {
        words,
        usage,
        what,
        level,
        does: Does::Run(run),
    }
}

const fn refused(words: &'static [&'static str], level: Level, why: &'static str) -> Command {
    Command {
        words,
        usage: "",
        what: "",
        level,
        does: Does::Refused(why),
    }
}

const CERTIFICATES: &str = "Certificates are read again by a reload (SIGHUP): exchange the file.\n";
const FILES: &str = "Maps and lists are read again by a reload (SIGHUP): change the file.\n";
const FRONTENDS: &str = "Listeners are the file's: take out the section, and reload (SIGHUP).\n";
const SERVERS: &str = "Servers are the file's: write it there, and reload (SIGHUP).\n";
const LIMITS: &str = "Limits are the file's: change it there, and reload (SIGHUP).\n";
const INSIDE: &str = "This is of HAProxy's own inside.\n";
const TABLES: &str = "Stick tables are not kept as such: limits are policies of routes, and stickiness is the backend's.\n";

pub const COMMANDS: &[Command] = &[
    command(
        &["clear", "counters", "all"],
        "clear counters all",
        "clear all statistics counters",
        Level::Admin,
        |session, _| clear(session, true),
    ),
    command(
        &["clear", "counters"],
        "clear counters",
        "clear max statistics counters",
        Level::Operator,
        |session, _| clear(session, false),
    ),
    command(
        &["disable", "agent"],
        "disable agent <bk>/<srv>",
        "disable agent checks",
        Level::Admin,
        |session, words| servers::checks(session, words),
    ),
    command(
        &["disable", "health"],
        "disable health <bk>/<srv>",
        "disable health checks",
        Level::Admin,
        |session, words| servers::checks(session, words),
    ),
    command(
        &["disable", "server"],
        "disable server <bk>/<srv>",
        "disable a server for maintenance",
        Level::Admin,
        |session, words| servers::state(session, words.get(2), "maintenance"),
    ),
    command(
        &["enable", "agent"],
        "enable agent <bk>/<srv>",
        "enable agent checks",
        Level::Admin,
        |session, words| servers::checks(session, words),
    ),
    command(
        &["enable", "health"],
        "enable health <bk>/<srv>",
        "enable health checks",
        Level::Admin,
        |session, words| servers::checks(session, words),
    ),
    command(
        &["enable", "server"],
        "enable server <bk>/<srv>",
        "enable a disabled server",
        Level::Admin,
        |session, words| servers::state(session, words.get(2), "ready"),
    ),
    command(
        &["get", "weight"],
        "get weight <bk>/<srv>",
        "report a server's current weight",
        Level::User,
        |session, words| servers::get_weight(session, words.get(2)),
    ),
    command(
        &["operator"],
        "operator",
        "lower the level of the current CLI session to operator",
        Level::User,
        |session, _| lower(session, Level::Operator),
    ),
    command(
        &["set", "server"],
        "set server <bk>/<srv> [opts]",
        "change a server's state or weight",
        Level::Admin,
        |session, words| servers::set(session, &words[2..]),
    ),
    command(
        &["set", "timeout"],
        "set timeout [cli] <delay>",
        "change a timeout setting",
        Level::User,
        |session, words| set_timeout(session, &words[2..]),
    ),
    command(
        &["set", "weight"],
        "set weight <bk>/<srv> <weight>",
        "change a server's weight",
        Level::Admin,
        |session, words| servers::weight(session, words.get(2), words.get(3)),
    ),
    command(
        &["show", "backend"],
        "show backend",
        "list backends in the current running config",
        Level::User,
        |session, _| state::backends(session),
    ),
    command(
        &["show", "cli", "level"],
        "show cli level",
        "display the level of the current CLI session",
        Level::User,
        |session, _| said(format!("{}\n", session.level.name())),
    ),
    command(
        &["show", "cli", "sockets"],
        "show cli sockets",
        "dump list of cli sockets",
        Level::Operator,
        |session, _| cli_sockets(session),
    ),
    command(
        &["show", "errors"],
        "show errors [<px>]",
        "report last request and response errors for each proxy",
        Level::Operator,
        |_, _| said("Requests that are malformed are counted, not captured.\n"),
    ),
    command(
        &["show", "info"],
        "show info [json|typed]*",
        "report information about the running process",
        Level::User,
        |session, words| info::show(session, &words[2..]),
    ),
    command(
        &["show", "servers", "conn"],
        "show servers conn [<backend>]",
        "dump server connections status (all or for a single backend)",
        Level::User,
        |session, words| state::connections(session, words.get(3)),
    ),
    command(
        &["show", "servers", "state"],
        "show servers state [<backend>]",
        "dump volatile server information (all or for a single backend)",
        Level::User,
        |session, words| state::servers(session, words.get(3)),
    ),
    command(
        &["show", "sess"],
        "show sess",
        "report the list of current sessions",
        Level::Operator,
        |_, _| {
            said(
                "Sessions are not listed one by one: `show stat` and `show servers conn` say how many a server has.\n",
            )
        },
    ),
    command(
        &["show", "stat"],
        "show stat [{<iid>|<px>} <type> <sid>] [json|no-maint|typed|up]*",
        "report counters for each proxy and server",
        Level::User,
        |session, words| stat::show(session, &words[2..]),
    ),
    command(
        &["show", "table"],
        "show table [<table>]",
        "list the tables, of which there are none",
        Level::User,
        |session, words| table(session, words.get(2)),
    ),
    command(
        &["show", "version"],
        "show version",
        "show version of the current process",
        Level::User,
        |_, _| said(format!("{VERSION}\n")),
    ),
    command(
        &["shutdown", "sessions", "server"],
        "shutdown sessions server <bk>/<srv>",
        "cut off the connections of TCP mode and tunnels to a server",
        Level::Admin,
        |session, words| servers::shut_down(session, words.get(3)),
    ),
    command(
        &["user"],
        "user",
        "lower the level of the current CLI session to user",
        Level::User,
        |session, _| lower(session, Level::User),
    ),
    command(
        &["help"],
        "help [<command>]",
        "list matching or all commands",
        Level::User,
        |session, words| said(help(session.level, &words[1..])),
    ),
    command(
        &["prompt"],
        "prompt",
        "toggle interactive mode with prompt",
        Level::User,
        |session, _| {
            session.prompts = !session.prompts;
            said("")
        },
    ),
    command(&["quit"], "quit", "disconnect", Level::User, |_, _| {
        Outcome::Quit
    }),
    refused(&["abort", "ssl"], Level::Admin, CERTIFICATES),
    refused(&["add", "acl"], Level::Admin, FILES),
    refused(&["add", "map"], Level::Admin, FILES),
    refused(&["add", "server"], Level::Admin, SERVERS),
    refused(&["add", "ssl"], Level::Admin, CERTIFICATES),
    refused(&["clear", "acl"], Level::Admin, FILES),
    refused(&["clear", "map"], Level::Admin, FILES),
    refused(&["clear", "table"], Level::Admin, TABLES),
    refused(&["commit", "ssl"], Level::Admin, CERTIFICATES),
    refused(&["del", "acl"], Level::Admin, FILES),
    refused(&["del", "map"], Level::Admin, FILES),
    refused(&["del", "server"], Level::Admin, SERVERS),
    refused(&["del", "ssl"], Level::Admin, CERTIFICATES),
    refused(&["disable", "frontend"], Level::Admin, FRONTENDS),
    refused(&["enable", "frontend"], Level::Admin, FRONTENDS),
    refused(&["get", "acl"], Level::Admin, FILES),
    refused(&["get", "map"], Level::Admin, FILES),
    refused(&["new", "ssl"], Level::Admin, CERTIFICATES),
    refused(&["set", "map"], Level::Admin, FILES),
    refused(&["set", "maxconn"], Level::Admin, LIMITS),
    refused(&["set", "rate-limit"], Level::Admin, LIMITS),
    refused(&["set", "ssl"], Level::Admin, CERTIFICATES),
    refused(&["set", "table"], Level::Admin, TABLES),
    refused(&["show", "acl"], Level::Operator, FILES),
    refused(&["show", "activity"], Level::Operator, INSIDE),
    refused(
        &["show", "env"],
        Level::Operator,
        "The environment is not shown.\n",
    ),
    refused(&["show", "fd"], Level::Operator, INSIDE),
    refused(&["show", "map"], Level::Operator, FILES),
    refused(
        &["show", "peers"],
        Level::User,
        "There are no peers: sessions are kept by `[sessions]`.\n",
    ),
    refused(&["show", "pools"], Level::User, INSIDE),
    refused(
        &["show", "resolvers"],
        Level::User,
        "Names are looked up through the system's resolver.\n",
    ),
    refused(&["show", "ssl"], Level::Operator, CERTIFICATES),
    refused(
        &["show", "startup-logs"],
        Level::Operator,
        "What was said at the start is on standard error.\n",
    ),
    refused(&["show", "threads"], Level::Operator, INSIDE),
    refused(&["shutdown", "frontend"], Level::Admin, FRONTENDS),
    refused(
        &["shutdown", "session"],
        Level::Admin,
        "Sessions are not listed one by one, nor ended so.\n",
    ),
];

/// Does a command.
pub fn run(session: &mut Session, words: &[&str]) -> Outcome {
    let found = COMMANDS
        .iter()
        .find(|command| words.starts_with(command.words));
    let Some(command) = found else {
        return said(unknown(session.level, words));
    };
    if command.level > session.level {
        return said("Permission denied\n");
    }
    match command.does {
        Does::Run(run) => run(session, words),
        Does::Refused(why) => said(why),
    }
}

fn said(text: impl Into<String>) -> Outcome {
    Outcome::Text(text.into())
}

/// What is said of a word that is none.
fn unknown(level: Level, words: &[&str]) -> String {
    let near = similar(level, words);
    let (head, shown) = if near.is_empty() {
        let head = "Unknown command. Please enter one of the following commands only:\n";
        (head, open_to(level).collect())
    } else {
        let head = "Unknown command, but maybe one of the following ones is a better match:\n";
        (head, near)
    };
    listed(head, shown)
}

/// `help`
fn help(level: Level, words: &[&str]) -> String {
    let near = similar(level, words);
    let shown = if words.is_empty() || near.is_empty() {
        open_to(level).collect()
    } else {
        near
    };
    listed("The following commands are valid at this level:\n", shown)
}

fn listed(head: &str, mut shown: Vec<&Command>) -> String {
    // These three are always there.
    for command in COMMANDS {
        let always = matches!(command.words, ["help" | "prompt" | "quit"]);
        if always && !shown.iter().any(|one| one.words == command.words) {
            shown.push(command);
        }
    }
    let mut out = head.to_owned();
    for command in shown {
        let _ = writeln!(out, "  {:<40}: {}", command.usage, command.what);
    }
    out
}

fn open_to(level: Level) -> impl Iterator<Item = &'static Command> {
    let commands = COMMANDS.iter();
    commands.filter(move |command| command.level <= level && !command.usage.is_empty())
}

/// Those that begin as the words do, as far as they agree.
fn similar(level: Level, words: &[&str]) -> Vec<&'static Command> {
    let agree = |command: &Command| {
        let pairs = command.words.iter().zip(words);
        pairs
            .take_while(|(known, given)| known.starts_with(**given))
            .count()
    };
    let most = open_to(level).map(agree).max().unwrap_or(0);
    let near = open_to(level).filter(|command| most > 0 && agree(command) == most);
    near.collect()
}

fn lower(session: &mut Session, level: Level) -> Outcome {
    if session.level < level {
        return said("Permission denied\n");
    }
    session.level = level;
    said("")
}

fn clear(session: &Session, all: bool) -> Outcome {
    if let Some(Node {
        telemetry, watch, ..
    }) = session.runtime.node()
    {
        let commands = session.runtime.commands();
        let seen = counts::all(&commands, &telemetry);
        watch.borrow_mut().clear(&seen, all);
    }
    said("")
}

/// `set timeout cli SECONDS`
fn set_timeout(session: &mut Session, words: &[&str]) -> Outcome {
    if words.first() != Some(&"cli") {
        return said("'set timeout' only supports 'cli'.\n");
    }
    let Some(text) = words.get(1) else {
        return said("Expects an integer value.\n");
    };
    let digits = text.find(|c: char| !c.is_ascii_digit());
    let (number, unit) = text.split_at(digits.unwrap_or(text.len()));
    let millis = match unit {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => 0,
    };
    // A day is long enough for whoever sits there.
    let time = number.parse::<u64>().ok();
    let time = time.and_then(|number| number.checked_mul(millis));
    match time.filter(|time| (1..=86_400_000).contains(time)) {
        Some(time) => {
            session.timeout = Duration::from_millis(time);
            said("")
        }
        None => said("Invalid timeout value.\n"),
    }
}

fn table(session: &Session, name: Option<&&str>) -> Outcome {
    let Some(name) = name else { return said("") };
    let commands = session.runtime.commands();
    let is = |proxy: &ProxyNames| proxy.name == *name;
    said(if commands.proxies.iter().any(is) {
        TABLES
    } else {
        "No such table\n"
    })
}

fn cli_sockets(session: &Session) -> Outcome {
    let mut out = String::from("# socket lvl processes\n");
    for socket in &session.runtime.commands().sockets {
        let at = sockets::shown(&socket.place);
        let kind = if at.starts_with('/') { "unix@" } else { "" };
        let _ = writeln!(out, "{kind}{at} {} all", socket.level.name());
    }
    said(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_longer_command_comes_before_one_that_it_begins_with() {
        for (at, command) in COMMANDS.iter().enumerate() {
            let hidden = COMMANDS[..at]
                .iter()
                .find(|before| command.words.starts_with(before.words));
            assert!(hidden.is_none(), "{:?}", command.words);
        }
    }

    #[test]
    fn what_is_near_is_shown_to_those_who_may() {
        let text = unknown(Level::Admin, &["show", "servers"]);
        assert!(text.starts_with("Unknown command, but maybe"), "{text}");
        assert_eq!(text.lines().count(), 1 + 2 + 3);
        assert!(unknown(Level::Admin, &["bogus"]).contains("disable server"));
        assert!(!unknown(Level::User, &["bogus"]).contains("disable server"));
        let shown = help(Level::User, &["show", "st"]);
        assert!(
            shown.contains("show stat") && !shown.contains("show info"),
            "{shown}"
        );
    }
}
