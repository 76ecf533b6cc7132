//! `tandem haproxy`, or a link named `haproxy`.
//!
//! 1. Read the command line, which is HAProxy's.
//! 2. Read and translate the files; tell what is wrong in HAProxy's words.
//! 3. Check only, or serve; as a daemon the program starts once more, detached.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tandem_config::import::{self, Input, Translation, Verdict};

use super::{certificates, environment};
use crate::cli::{self, Command, Opt};
use crate::exit::{FAILED, Failure, Result};
use crate::foreign::{self, Follow, Place, Running};
use crate::node::Signals;
use crate::process::daemon;

/// Where the access log goes of files that have a `log`: HAProxy would send it to syslog.
const ACCESS_LOG: &str = "/var/log/haproxy-access.log";

/// The version of HAProxy whose files and commands are understood.
pub const VERSION: &str = "2.6.0-tandem";

/// What is said last of files that cannot be run.
const FATAL: &str = "config : Fatal errors found in configuration.";

/// The command.
pub const COMMAND: Command = Command {
    name: "haproxy",
    summary: "run or check a haproxy.cfg as it is",
    usage: &["haproxy -f FILE [-c] [-D] [-p PIDFILE] [OPTIONS]"],
    about: "\
Reads a haproxy.cfg, translates it as `tandem import` does, and runs or checks the result. Options are HAProxy's own. A
link to this program that is named `haproxy` is this command.
",
    options: &[
        Opt { form: "-f FILE|DIR", text: "read this file, or the *.cfg of this directory; may be repeated, and files may follow --" },
        Opt { form: "-c", text: "check the files and end" },
        Opt { form: "-D", text: "run in the background; returns when it serves" },
        Opt { form: "-W, -Ws", text: "accepted: one process does the work, and tells systemd when it is ready" },
        Opt { form: "-db", text: "stay in the foreground, whatever the files say" },
        Opt { form: "-p FILE", text: "write the process's number there" },
        Opt { form: "-sf PID...", text: "take over from these processes, which may finish what is in flight" },
        Opt { form: "-st PID...", text: "take over from these processes, which end at once" },
        Opt { form: "-C DIR", text: "go to this directory first" },
        Opt { form: "-q", text: "say nothing but errors" },
        Opt { form: "-V", text: "say more" },
        Opt { form: "-v, -vv", text: "the version" },
    ],
    notes: "\
Accepted without effect: -d -dC -dD -de -dG -dI -dk -dK -dL -dM -dp -dr -dR -ds -dS -dt -dV -dW -dZ -L -m -n -N -S -x.

SIGUSR1 ends it in order, SIGTERM and SIGINT at once; SIGHUP and SIGUSR2 read the files again.
Exit codes are HAProxy's: 0, or 1 when something is wrong with the files.
",
    main,
};

#[derive(Default)]
struct Wanted {
    files: Vec<PathBuf>,
    check: bool,
    daemon: bool,
    foreground: bool,
    quiet: bool,
    pid_file: Option<PathBuf>,
    directory: Option<PathBuf>,
    follows: Vec<Follow>,
}

enum Asked {
    Run(Wanted),
    Version,
    More,
    Help,
}

fn main(mut args: lexopt::Parser) -> Result {
    let words: Vec<OsString> = args
        .raw_args()
        .map(Iterator::collect)
        .map_err(|error| Failure::usage(error.to_string()))?;
    match read(words)? {
        Asked::Help => cli::say(&COMMAND.help()),
        Asked::Version => cli::say(&version()),
        Asked::More => cli::say(&format!(
            "{}\nFeature list : +EPOLL +THREAD +GETADDRINFO -LUA -PROMEX -QUIC\n\n\
             Default settings :\n  bufsize = 16384, maxrewrite = 1024, maxpollevents = 200\n\n\
             Built without Lua, filters and stick tables: see docs/reference/haproxy.md\n",
            version()
        )),
        Asked::Run(wanted) => run(wanted),
    }
}

fn version() -> String {
    format!(
        "HAProxy version {VERSION}, haproxy.cfg as Tandem {} reads it\n",
        env!("CARGO_PKG_VERSION")
    )
}

/// HAProxy's own command line: single letters, some of them in pairs, and lists of numbers.
fn read(words: Vec<OsString>) -> Result<Asked> {
    let mut wanted = Wanted::default();
    let mut words = words.into_iter().peekable();
    while let Some(word) = words.next() {
        let text = word.to_string_lossy().into_owned();
        let mut argument = || {
            words
                .next()
                .ok_or_else(|| usage(format!("an argument follows {text}")))
        };
        match text.as_str() {
            "-v" => return Ok(Asked::Version),
            "-vv" => return Ok(Asked::More),
            "-h" | "--help" => return Ok(Asked::Help),
            "-f" => wanted.files.push(argument()?.into()),
            "-c" => wanted.check = true,
            "-D" => wanted.daemon = true,
            "-db" => wanted.foreground = true,
            "-q" => wanted.quiet = true,
            "-p" => wanted.pid_file = Some(argument()?.into()),
            "-C" => wanted.directory = Some(argument()?.into()),
            "-L" | "-m" | "-n" | "-N" | "-S" | "-x" | "-cc" => {
                argument()?;
            }
            "-sf" | "-st" => {
                let in_order = text == "-sf";
                while let Some(pid) = words.peek().and_then(|word| word.to_str()?.parse().ok()) {
                    wanted.follows.push(Follow { pid, in_order });
                    words.next();
                }
            }
            "--" => wanted.files.extend(words.by_ref().map(PathBuf::from)),
            "-V" | "-W" | "-Ws" | "-d" => {}
            other if other.starts_with("-d") => {}
            other if other.starts_with('-') => {
                return Err(usage(format!("there is no option {other}")));
            }
            _ => wanted.files.push(word.into()),
        }
    }
    Ok(Asked::Run(wanted))
}

fn usage(message: String) -> Failure {
    let mut failure = Failure::usage(format!("{message}; `haproxy -h` shows what there is"));
    failure.code = FAILED;
    failure
}

fn alert(what: &str) {
    eprintln!("[ALERT]    ({}) : {what}", std::process::id());
}

fn run(wanted: Wanted) -> Result {
    if let Some(directory) = &wanted.directory {
        rustix::process::chdir(directory)
            .map_err(|error| usage(format!("cannot go to {}: {error}", directory.display())))?;
    }
    if wanted.files.is_empty() {
        return Err(usage("which file? haproxy -f FILE".into()));
    }
    if wanted.daemon && !wanted.check && !wanted.foreground && !daemon::is_child() {
        // What is wrong with the files is told before.
        let place = Place::new("haproxy")?;
        let translation = translate(&wanted.files, place.path())?;
        if tell(&translation, wanted.quiet) {
            return daemon::start();
        }
        return Ok(ExitCode::from(FAILED));
    }
    let place = Place::new("haproxy")?;
    let translation = translate(&wanted.files, place.path())?;
    if !daemon::is_child() && !tell(&translation, wanted.quiet) {
        return Ok(ExitCode::from(FAILED));
    }
    if wanted.check {
        // A start tries them by itself.
        let wrong = certificates::wrong_in(&translation);
        for why in &wrong {
            alert(&format!("config : {why}"));
        }
        if !wrong.is_empty() {
            alert(FATAL);
            return Ok(ExitCode::from(FAILED));
        }
        if !wanted.quiet {
            // No error: the directory may be made by whoever starts it (systemd's RuntimeDirectory).
            for why in foreign::wrong_with_sockets(&translation) {
                eprintln!("[WARNING]  ({}) : config : {why}", std::process::id());
            }
            cli::say("Configuration file is valid\n")?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let wants_daemon = wanted.daemon || (translation.process.daemon && !wanted.foreground);
    if wants_daemon && !wanted.foreground && !daemon::is_child() {
        drop(place);
        return daemon::start();
    }
    let running = Running {
        signals: Signals::Haproxy,
        daemon: daemon::is_child(),
        pid_file: wanted
            .pid_file
            .or_else(|| {
                translation
                    .process
                    .pid_file
                    .clone()
                    .filter(|_| wants_daemon)
            })
            .map(|path| std::path::absolute(&path).unwrap_or(path)),
        log: None,
        follows: wanted.follows,
        handed: foreign::handed_over().into_values().collect(),
    };
    let files = wanted.files;
    let directory = place.path().to_owned();
    let again = Box::new(move || translate(&files, &directory));
    foreign::serve(place, translation, running, again).map_err(|failure| {
        alert(failure.to_string().trim());
        let mut quiet = Failure::failed(String::new());
        quiet.code = FAILED;
        quiet
    })
}

/// Reads and translates the files.
fn translate(files: &[PathBuf], beside: &Path) -> Result<Translation> {
    let mut inputs = Vec::new();
    for file in files {
        for path in expand(file)? {
            let bytes = std::fs::read(&path).map_err(|error| {
                alert(&format!(
                    "config : Could not open configuration file {} : {error}",
                    path.display()
                ));
                usage(format!("cannot read {}", path.display()))
            })?;
            inputs.push(Input {
                name: path.display().to_string(),
                text: String::from_utf8_lossy(&bytes).into_owned(),
            });
        }
    }
    let here = std::env::current_dir().unwrap_or_default();
    let writable = rustix::process::geteuid().is_root() && Path::new("/var/log").is_dir();
    let sockets = foreign::handed_over()
        .into_iter()
        .map(|(number, (address, _))| (number, address.to_string()))
        .collect();
    let options = import::Options {
        direct: true,
        sockets,
        directory: here.display().to_string(),
        beside: beside.display().to_string(),
        access_log: if writable {
            ACCESS_LOG.into()
        } else {
            String::new()
        },
    };
    let translation = import::haproxy(&inputs, &options, &environment);
    let is_deaf = |loaded: &tandem_config::Loaded| loaded.cluster.listeners.is_empty();
    // HAProxy's own socket for commands is one, too, to HAProxy.
    let is_socket = |line: &str| line.trim_start().starts_with("stats socket");
    let has_socket = inputs.iter().any(|input| input.text.lines().any(is_socket));
    if !has_socket && translation.loaded.as_ref().is_some_and(is_deaf) {
        // A file that is being written, or was cut off by a full disk, ends nothing that runs.
        return Err(Failure::usage(
            "Configuration file has no error but will not start (no listener) => exit(2)."
                .to_owned(),
        ));
    }
    Ok(translation)
}

/// A file itself; of a directory the *.cfg, in order.
fn expand(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = std::fs::read_dir(path)
        .map_err(|error| usage(format!("cannot read {}: {error}", path.display())))?;
    let mut found: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.extension().is_some_and(|end| end == "cfg")
                && !path
                    .file_name()
                    .is_some_and(|name| name.to_string_lossy().starts_with('.'))
        })
        .collect();
    found.sort();
    Ok(found)
}

/// Tells what is wrong, as HAProxy does; whether nothing is.
fn tell(translation: &Translation, quiet: bool) -> bool {
    let report = &translation.report;
    let mut files = Vec::new();
    for diagnostic in report.refused() {
        let line = diagnostic
            .place
            .as_ref()
            .map_or(String::new(), |place| format!(":{}", place.line));
        let hint = diagnostic
            .hint
            .as_ref()
            .map_or(String::new(), |hint| format!("; {hint}"));
        alert(&format!(
            "config : parsing [{}{line}] : {}{hint}",
            diagnostic.file, diagnostic.message
        ));
        if !files.contains(&diagnostic.file) {
            files.push(diagnostic.file.clone());
        }
    }
    if !files.is_empty() {
        for file in &files {
            alert(&format!(
                "config : Error(s) found in configuration file : {file}"
            ));
        }
        alert(FATAL);
        return false;
    }
    if !quiet {
        let pid = std::process::id();
        for diagnostic in report.of(Verdict::Noted) {
            let line = diagnostic.place.as_ref().map_or(0, |place| place.line);
            eprintln!(
                "[NOTICE]   ({pid}) : config : [{}:{line}] : {}",
                diagnostic.file, diagnostic.message
            );
        }
        let without = report.of(Verdict::Without).count();
        if without > 0 {
            eprintln!(
                "[NOTICE]   ({pid}) : config : {without} directives have no effect here; `tandem import` lists them"
            );
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_haproxys() {
        let words = "-W -f a.cfg -f b -D -p /run/x.pid -sf 12 34 -q -- c.cfg";
        let words = words.split(' ').map(OsString::from).collect();
        let Asked::Run(wanted) = read(words).unwrap() else {
            panic!("to be run")
        };
        assert_eq!(wanted.files.len(), 3);
        assert!(wanted.daemon && wanted.quiet && !wanted.check);
        assert_eq!(wanted.follows.len(), 2);
        assert!(read(vec!["-y".into()]).is_err());
    }
}
