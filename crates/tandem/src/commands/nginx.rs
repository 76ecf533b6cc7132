//! `tandem nginx`, or a link named `nginx`.
//!
//! 1. Read the command line, which is nginx's.
//! 2. Read and translate the file; tell what is wrong in nginx's words.
//! 3. Test only, signal the process that runs, or serve; as a daemon the program starts once more, detached.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rustix::process::Signal;
use tandem_config::import::{self, Input, Translation, Verdict};

use super::{certificates, environment};
use crate::cli::{self, Command, Opt};
use crate::exit::{FAILED, Failure, Result};
use crate::foreign::{self, Place, Running};
use crate::node::Signals;
use crate::process::daemon;

/// What relative paths are relative to.
const PREFIX: &str = "/usr/share/nginx";
/// The file that is read when none is named.
const FILE: &str = "/etc/nginx/nginx.conf";
/// Where the process's number is when the file does not say.
const PID_FILE: &str = "/run/nginx.pid";
/// Where access logs go when the file does not say.
const ACCESS_LOG: &str = "/var/log/nginx/access.log";
/// The log of a daemon, when the file does not say.
const ERROR_LOG: &str = "/var/log/nginx/error.log";

/// The command.
pub const COMMAND: Command = Command {
    name: "nginx",
    summary: "run or check a nginx.conf as it is",
    usage: &["nginx [-c FILE] [-p PREFIX] [-g DIRECTIVES] [-t | -T | -s SIGNAL] [-q] [-v | -V]"],
    about: "\
Reads a nginx.conf, translates it as `tandem import` does, and runs or tests the result. Options are nginx's own. A link
to this program that is named `nginx` is this command.
",
    options: &[
        Opt { form: "-c FILE", text: "read this file (/etc/nginx/nginx.conf)" },
        Opt { form: "-p PREFIX", text: "what relative paths are relative to (/usr/share/nginx)" },
        Opt { form: "-g DIRECTIVES", text: "directives that stand before the file" },
        Opt { form: "-e FILE", text: "the log, when the file does not say" },
        Opt { form: "-t", text: "test the file and end" },
        Opt { form: "-T", text: "test the file, print it and what it includes, and end" },
        Opt { form: "-s SIGNAL", text: "tell the process that runs: stop, quit, reload or reopen" },
        Opt { form: "-q", text: "say nothing but errors" },
        Opt { form: "-v", text: "the version" },
        Opt { form: "-V", text: "the version, and how it is configured" },
    ],
    notes: "\
SIGQUIT ends it in order, SIGTERM and SIGINT at once; SIGHUP reads the file again; SIGUSR1 opens the logs anew.
Exit codes are nginx's: 0, or 1 when something is wrong with the file.
",
    main,
};

#[derive(Default)]
struct Wanted {
    file: Option<String>,
    prefix: Option<String>,
    directives: Option<String>,
    log: Option<PathBuf>,
    test: bool,
    dump: bool,
    quiet: bool,
    signal: Option<String>,
    version: bool,
    more: bool,
    help: bool,
}

fn main(mut args: lexopt::Parser) -> Result {
    let words: Vec<OsString> = args
        .raw_args()
        .map(Iterator::collect)
        .map_err(|error| Failure::usage(error.to_string()))?;
    let wanted = match read(&words) {
        Ok(wanted) => wanted,
        Err(message) => {
            eprintln!("nginx: {message}");
            return Ok(ExitCode::from(FAILED));
        }
    };
    if wanted.help {
        return cli::say(&COMMAND.help());
    }
    if wanted.version {
        eprintln!(
            "nginx version: nginx/1.22.1 (nginx.conf as Tandem {} reads it)",
            env!("CARGO_PKG_VERSION")
        );
        if wanted.more {
            eprintln!(
                "TLS SNI support enabled\nconfigure arguments: {}",
                arguments()
            );
        }
        return Ok(ExitCode::SUCCESS);
    }
    run(&wanted)
}

/// What init scripts look for: the user, and directories to make.
fn arguments() -> String {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let has = |name: &str| {
        users
            .lines()
            .any(|line| line.starts_with(&format!("{name}:")))
    };
    let user = ["nginx", "www-data"]
        .into_iter()
        .find(|user| has(user))
        .unwrap_or("nginx");
    format!(
        "--prefix={PREFIX} --conf-path={FILE} --error-log-path={ERROR_LOG} --http-log-path={ACCESS_LOG} \
         --pid-path={PID_FILE} --lock-path=/var/lock/nginx.lock --user={user} --group={user} \
         --http-client-body-temp-path=/var/lib/nginx/body --http-proxy-temp-path=/var/lib/nginx/proxy \
         --with-http_ssl_module --with-http_v2_module --with-http_realip_module --with-http_flv_module \
         --with-http_stub_status_module --with-http_gzip_static_module --with-stream"
    )
}

/// nginx's own command line: single letters, that may stand together, with their argument behind or next.
fn read(words: &[OsString]) -> std::result::Result<Wanted, String> {
    let mut wanted = Wanted::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let word = word.to_string_lossy().into_owned();
        let Some(letters) = word.strip_prefix('-') else {
            return Err(format!("invalid option: \"{word}\""));
        };
        let mut at = 0;
        while let Some(letter) = letters[at..].chars().next() {
            at += letter.len_utf8();
            let rest = &letters[at..];
            let mut argument = |what: &str| {
                at = letters.len();
                if !rest.is_empty() {
                    return Ok(rest.to_owned());
                }
                words
                    .next()
                    .map(|word| word.to_string_lossy().into_owned())
                    .ok_or_else(|| format!("option \"-{letter}\" requires {what}"))
            };
            match letter {
                '?' | 'h' => wanted.help = true,
                'v' => wanted.version = true,
                'V' => (wanted.version, wanted.more) = (true, true),
                't' => wanted.test = true,
                'T' => (wanted.test, wanted.dump) = (true, true),
                'q' => wanted.quiet = true,
                'p' => wanted.prefix = Some(argument("directory name")?),
                'c' => wanted.file = Some(argument("file name")?),
                'e' => wanted.log = Some(argument("file name")?.into()),
                'g' => wanted.directives = Some(argument("parameter")?),
                's' => {
                    let signal = argument("parameter")?;
                    if !matches!(signal.as_str(), "stop" | "quit" | "reload" | "reopen") {
                        return Err(format!("invalid option: \"-s {signal}\""));
                    }
                    wanted.signal = Some(signal);
                }
                other => return Err(format!("invalid option: \"{other}\"")),
            }
        }
    }
    Ok(wanted)
}

/// Where the file is, and what relative paths are relative to.
struct Paths {
    file: PathBuf,
    prefix: String,
}

impl Paths {
    fn of(wanted: &Wanted) -> Self {
        let absolute = |path: &str| {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.into());
            path.display().to_string()
        };
        let prefix = wanted
            .prefix
            .as_deref()
            .map_or_else(|| PREFIX.to_owned(), absolute);
        let file = Path::new(&prefix).join(wanted.file.as_deref().unwrap_or(FILE));
        Self { file, prefix }
    }
}

fn run(wanted: &Wanted) -> Result {
    let paths = Paths::of(wanted);
    let place = Place::new("nginx")?;
    let translate = {
        let (file, prefix) = (paths.file.clone(), paths.prefix.clone());
        let (directives, beside) = (wanted.directives.clone(), place.path().to_owned());
        move || translate(&file, &prefix, directives.as_deref(), &beside)
    };
    let shown = paths.file.display();
    let translation = match translate() {
        Ok(translation) => translation,
        Err(failure) => {
            eprintln!("nginx: [emerg] {failure}");
            if wanted.test {
                eprintln!("nginx: configuration file {shown} test failed");
            }
            return Ok(ExitCode::from(FAILED));
        }
    };
    let pid_file = translation
        .process
        .pid_file
        .clone()
        .unwrap_or_else(|| PID_FILE.into());
    if let Some(signal) = &wanted.signal {
        // What could not be taken is told here, and not in the log alone; what is to be stopped is stopped.
        if signal == "reload" && !tell(&translation, wanted) {
            return Ok(ExitCode::from(FAILED));
        }
        return send(signal, &pid_file);
    }
    let right = daemon::is_child() || tell(&translation, wanted);
    if wanted.test {
        if !right {
            eprintln!("nginx: configuration file {shown} test failed");
            return Ok(ExitCode::from(FAILED));
        }
        if !wanted.quiet {
            eprintln!("nginx: the configuration file {shown} syntax is ok");
            eprintln!("nginx: configuration file {shown} test is successful");
        }
        if wanted.dump {
            for (name, text) in &translation.sources {
                cli::say(&format!("# configuration file {name}:\n{text}\n"))?;
            }
        }
        return Ok(ExitCode::SUCCESS);
    }
    if !right {
        return Ok(ExitCode::from(FAILED));
    }
    if translation.process.daemon && !daemon::is_child() {
        drop(place);
        return daemon::start();
    }
    let usual_log = || {
        wanted.log.clone().or_else(|| {
            let log = Path::new(ERROR_LOG);
            let there = log.parent().is_some_and(Path::is_dir);
            (daemon::is_child() && there).then(|| log.to_owned())
        })
    };
    let running = Running {
        signals: Signals::Nginx,
        daemon: daemon::is_child(),
        pid_file: Some(pid_file),
        log: translation.process.error_log.clone().or_else(usual_log),
        follows: Vec::new(),
        handed: std::collections::BTreeMap::new(),
    };
    foreign::serve(place, translation, running, Box::new(translate)).map_err(|failure| {
        eprintln!("nginx: [emerg] {}", failure.to_string().trim());
        Failure::failed(String::new())
    })
}

fn translate(
    file: &Path,
    prefix: &str,
    directives: Option<&str>,
    beside: &Path,
) -> Result<Translation> {
    let shown = file.display();
    let bytes = std::fs::read(file).map_err(|error| {
        let reason = match error.kind() {
            std::io::ErrorKind::NotFound => "2: No such file or directory".to_owned(),
            std::io::ErrorKind::PermissionDenied => "13: Permission denied".to_owned(),
            _ => error.to_string(),
        };
        Failure::failed(format!("open() \"{shown}\" failed ({reason})"))
    })?;
    let input = Input {
        name: shown.to_string(),
        text: String::from_utf8_lossy(&bytes).into_owned(),
    };
    let writable = Path::new(ACCESS_LOG).parent().is_some_and(Path::is_dir)
        && rustix::process::geteuid().is_root();
    let options = import::Options {
        direct: true,
        sockets: std::collections::BTreeMap::new(),
        directory: prefix.to_owned(),
        beside: beside.display().to_string(),
        access_log: if writable {
            ACCESS_LOG.into()
        } else {
            String::new()
        },
    };
    Ok(import::nginx(&input, directives, &options, &environment))
}

/// Tells what is wrong, as nginx does; whether nothing is.
fn tell(translation: &Translation, wanted: &Wanted) -> bool {
    let report = &translation.report;
    let mut right = true;
    for diagnostic in report.refused() {
        right = false;
        let line = diagnostic.place.as_ref().map_or(0, |place| place.line);
        let hint = diagnostic
            .hint
            .as_ref()
            .map_or(String::new(), |hint| format!("; {hint}"));
        eprintln!(
            "nginx: [emerg] {} in {}:{line}{hint}",
            diagnostic.message, diagnostic.file
        );
    }
    // A start tries them by itself.
    if right && (wanted.test || wanted.signal.is_some()) {
        for why in certificates::wrong_in(translation) {
            right = false;
            eprintln!("nginx: [emerg] {why}");
        }
    }
    if right && wanted.test && !wanted.quiet {
        let without = report.of(Verdict::Without).count();
        let noted = report.of(Verdict::Noted).count();
        if without + noted > 0 {
            eprintln!(
                "nginx: [notice] {without} directives have no effect here, and {noted} are worth a look; `tandem import` lists them"
            );
        }
    }
    right
}

/// `-s SIGNAL`.
fn send(signal: &str, pid_file: &Path) -> Result {
    let shown = pid_file.display();
    let text = match std::fs::read_to_string(pid_file) {
        Ok(text) => text,
        Err(error) => {
            let reason = if error.kind() == std::io::ErrorKind::NotFound {
                "2: No such file or directory".to_owned()
            } else {
                error.to_string()
            };
            eprintln!("nginx: [error] open() \"{shown}\" failed ({reason})");
            return Ok(ExitCode::from(FAILED));
        }
    };
    let Ok(pid) = text.trim().parse::<i32>() else {
        eprintln!(
            "nginx: [error] invalid PID number \"{}\" in \"{shown}\"",
            text.trim()
        );
        return Ok(ExitCode::from(FAILED));
    };
    let (name, number) = match signal {
        "stop" => (Signal::TERM, 15),
        "quit" => (Signal::QUIT, 3),
        "reload" => (Signal::HUP, 1),
        _ => (Signal::USR1, 10),
    };
    if foreign::signal(pid, name) {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("nginx: [alert] kill({pid}, {number}) failed (3: No such process)");
    Ok(ExitCode::from(FAILED))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn the_command_line_is_nginxs() {
        let wanted = read(&words("-tq -p/srv/x -c nginx.conf -e stderr")).unwrap();
        assert!(wanted.test && wanted.quiet);
        assert_eq!(wanted.prefix.as_deref(), Some("/srv/x"));
        let paths = Paths::of(&wanted);
        assert_eq!(paths.file, Path::new("/srv/x/nginx.conf"));
        assert_eq!(
            read(&words("-s reload")).unwrap().signal.as_deref(),
            Some("reload")
        );
        for wrong in ["-s x", "-y", "file", "-c"] {
            assert!(read(&words(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn init_scripts_find_the_user_and_the_directories() {
        let arguments = arguments();
        assert!(arguments.contains(" --user="));
        assert!(arguments.contains("-temp-path=/"));
    }
}
