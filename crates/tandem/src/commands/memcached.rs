//! `tandem memcached`, or a link named `memcached`.
//!
//! 1. Read the command line; a daemon starts once more, detached.
//! 2. Bind, write the pid file, become the user.
//! 3. Serve until a signal or `shutdown` ends it; remove the pid file.

mod options;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use tandem_cache::server::Server;
use tandem_memcache::auth::{Method, Users};
use tandem_telemetry::Events;
use tandem_telemetry::event::Log;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::cli::{self, Command, Opt};
use crate::exit::{Failure, Result};
use crate::process::{self, PidFile, daemon};
use options::{Settings, Wanted};

/// sysexits.h, which memcached's exit codes are from: the command line is wrong.
const USAGE: u8 = 64;
/// sysexits.h: there is no such user.
const NO_USER: u8 = 67;
/// sysexits.h: the system refuses.
const OS: u8 = 71;

/// The command.
pub const COMMAND: Command = Command {
    name: "memcached",
    summary: "a memcached server",
    usage: &["memcached [OPTIONS]"],
    about: "\
A memcached server: text, meta and binary protocol. Options are memcached's own. A link to this program that is named
`memcached` is this command.
",
    options: &[
        Opt { form: "-p, --port NUM", text: "TCP port (11211); -1 is any free one, 0 none" },
        Opt { form: "-l, --listen ADDR[,ADDR]", text: "addresses to listen on, each with :PORT if another (all)" },
        Opt { form: "-s, --unix-socket PATH", text: "listen on this Unix socket instead of the network" },
        Opt { form: "-a, --unix-mask OCTAL", text: "permissions of the Unix socket (700)" },
        Opt { form: "-m, --memory-limit NUM", text: "memory for items in megabytes (64)" },
        Opt { form: "-M, --disable-evictions", text: "refuse when memory is full instead of dropping items" },
        Opt { form: "-I, --max-item-size NUM", text: "largest item: bytes, or with k or m (1m, at most 128m)" },
        Opt { form: "-c, --conn-limit NUM", text: "connections at most (1024)" },
        Opt { form: "-t, --threads NUM", text: "worker threads (4)" },
        Opt { form: "-b, --listen-backlog NUM", text: "connections that wait to be accepted (1024)" },
        Opt { form: "-o, --extended idle_timeout=SECONDS", text: "close connections that are silent for so long" },
        Opt { form: "-B, --protocol NAME", text: "auto, ascii or binary (auto)" },
        Opt { form: "-Y, --auth-file PATH", text: "let in only the users of this file, a line `name:password` each; read again at SIGHUP" },
        Opt { form: "-S, --enable-sasl", text: "let them in by SASL PLAIN, in the binary protocol" },
        Opt { form: "-A, --enable-shutdown", text: "obey the command `shutdown`" },
        Opt { form: "-F, --disable-flush-all", text: "refuse the command `flush_all`" },
        Opt { form: "-X, --disable-dumping", text: "refuse the command `lru_crawler metadump`" },
        Opt { form: "-d, --daemon", text: "run in the background; returns when it listens" },
        Opt { form: "-u, --user NAME", text: "become this user; needed when started by root" },
        Opt { form: "-P, --pidfile PATH", text: "write the process id there" },
        Opt { form: "-v, --verbose", text: "keep standard error as a daemon too, and list options without effect" },
        Opt { form: "-V, --version", text: "the version" },
        Opt { form: "-i, --license", text: "the licence" },
        Opt { form: "-h, --help", text: "this" },
    ],
    notes: "\
Accepted without effect: -C -k -L -N -r -R, and words of -o about slabs, lists and hashing: memory is not cut into slabs
here. -o lru_crawler and -o track_sizes, or with no_ before them, are obeyed as far as they show. -U other than 0 is
answered with a note: there is no UDP. Not here: -e, -Z.

SIGTERM, SIGINT and SIGUSR1 stop it.
",
    main,
};

fn main(args: lexopt::Parser) -> Result {
    let settings = match options::read(args).map_err(|error| coded(USAGE, error))? {
        Wanted::Serve(settings) => *settings,
        Wanted::Help => return cli::say(&COMMAND.help()),
        Wanted::Version => {
            return cli::say(&format!(
                "memcached {} (tandem {})\n",
                tandem_memcache::COMPATIBLE_VERSION,
                env!("CARGO_PKG_VERSION")
            ));
        }
        Wanted::License => return cli::say("MIT OR Apache-2.0\n"),
    };
    let by_root = rustix::process::geteuid().is_root();
    if by_root && settings.user.is_none() {
        let error = Failure::failed("can't run as root without the -u switch");
        return Err(coded(OS, error));
    }
    if settings.daemon && !daemon::is_child() {
        return daemon::start();
    }
    run(settings, by_root)
}

fn run(mut settings: Settings, by_root: bool) -> Result {
    // Files are named from where the command was given.
    let pid_path = settings.pid_file.take().map(absolute);
    let auth_path = settings.auth_file.take().map(absolute);
    if let Some(socket) = &mut settings.server.unix {
        socket.path = absolute(std::mem::take(&mut socket.path));
    }
    if settings.daemon {
        let name = std::env::args_os()
            .next()
            .unwrap_or_else(|| OsString::from("memcached"));
        daemon::detach(&name)?;
    }
    let users = users(&settings, auth_path.as_deref()).map_err(|error| coded(USAGE, error))?;
    settings.server.users = users.clone().map(|users| {
        (
            if settings.sasl {
                Method::Sasl
            } else {
                Method::Ascii
            },
            users,
        )
    });
    let most = process::raise_descriptor_limit();
    if settings.server.max_connections as u64 > most {
        settings.notes.insert(
            0,
            format!(
                "-c {} is more than the {most} descriptors this process may have",
                settings.server.max_connections
            ),
        );
    }
    for note in &settings.notes {
        if settings.verbose > 0 || !note.ends_with("has no effect here") {
            eprintln!("memcached: {note}");
        }
    }
    let (stop, stopped) = watch::channel(false);
    let stop = Arc::new(stop);
    if settings.shutdown {
        let stop = stop.clone();
        settings.server.shutdown = Some(Arc::new(move |_graceful| {
            stop.send_replace(true);
        }));
    }
    settings.server.events = Some(Events::new("memcached", Log::Stderr));
    let (verbose, user) = (settings.verbose > 0, settings.user.take());
    let unix = settings
        .server
        .unix
        .as_ref()
        .map(|socket| socket.path.clone());
    let daemon = settings.daemon;
    let server = Server::bind(settings.server)
        .map_err(|error| coded(OS, Failure::usage(error.to_string())))?;
    let pid_file = pid_path.as_deref().map(PidFile::create).transpose();
    let pid_file = pid_file.map_err(|error| {
        let path = pid_path.unwrap_or_default();
        coded(
            OS,
            Failure::failed(format!("cannot write {}: {error}", path.display())),
        )
    })?;
    if let (true, Some(user)) = (by_root, &user) {
        become_user(user, unix.as_deref())?;
    }
    if daemon {
        daemon::ready(verbose)?;
    }
    let ended = serve(server, stop, stopped, users.zip(auth_path));
    drop(pid_file);
    ended
}

/// Only the exit code differs from other commands.
fn coded(code: u8, mut failure: Failure) -> Failure {
    failure.code = code;
    failure
}

fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

/// The users who are let in, from the file of -Y, or for -S the one that memcached's SASL reads.
fn users(settings: &Settings, file: Option<&Path>) -> Result<Option<Arc<Users>>> {
    let file = match (file, settings.sasl) {
        (Some(file), _) => file.to_owned(),
        (None, false) => return Ok(None),
        (None, true) => std::env::var_os("MEMCACHED_SASL_PWDB")
            .map(PathBuf::from)
            .ok_or_else(|| {
                Failure::usage(
                    "-S needs users: name a file of lines `name:password` by -Y, or in \
                     MEMCACHED_SASL_PWDB",
                )
            })?,
    };
    let text = std::fs::read(&file)
        .map_err(|error| Failure::usage(format!("cannot read {}: {error}", file.display())))?;
    let users = Users::parse(&text)
        .map_err(|error| Failure::usage(format!("{}: {error}", file.display())))?;
    Ok(Some(Arc::new(users)))
}

/// The socket goes along, so that it can be removed at the end.
fn become_user(user: &str, socket: Option<&Path>) -> Result<()> {
    let no_user = |error: String| {
        let text = format!("can't find the user {user} to switch to: {error}");
        coded(NO_USER, Failure::usage(text))
    };
    let ids =
        tandem_app::ids_to_become(Some(user), None).map_err(|error| no_user(error.to_string()))?;
    let Some(ids) = ids else { return Ok(()) };
    if let Some(socket) = socket {
        std::os::unix::fs::lchown(socket, Some(ids.uid), Some(ids.gid)).map_err(|error| {
            Failure::failed(format!(
                "cannot give {} to {user}: {error}",
                socket.display()
            ))
        })?;
    }
    process::become_ids(ids.uid, ids.gid, &ids.groups).map_err(|error| {
        coded(
            OS,
            Failure::failed(format!("cannot become {user}: {error}")),
        )
    })
}

/// Runs until a signal, or the command `shutdown`.
fn serve(
    server: Server,
    stop: Arc<watch::Sender<bool>>,
    stopped: watch::Receiver<bool>,
    users: Option<(Arc<Users>, PathBuf)>,
) -> Result {
    let failed = |error: std::io::Error| Failure::failed(error.to_string());
    let signals = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed)?;
    let caught = {
        let _inside = signals.enter();
        Caught::new().map_err(failed)?
    };
    process::give_back_when_it_is_over(|| true);
    std::thread::spawn(move || {
        signals.block_on(caught.until_the_end(users));
        stop.send_replace(true);
    });
    server.run(stopped).map_err(failed)?;
    Ok(ExitCode::SUCCESS)
}

/// The signals that memcached knows.
struct Caught {
    term: Signal,
    int: Signal,
    usr1: Signal,
    hup: Signal,
}

impl Caught {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            usr1: signal(SignalKind::user_defined1())?,
            hup: signal(SignalKind::hangup())?,
        })
    }

    /// Returns at one that ends the server. SIGHUP has the users read again, and else no effect.
    async fn until_the_end(mut self, users: Option<(Arc<Users>, PathBuf)>) {
        loop {
            tokio::select! {
                _ = self.term.recv() => return,
                _ = self.int.recv() => return,
                _ = self.usr1.recv() => return,
                _ = self.hup.recv() => {
                    if let Some((users, path)) = &users {
                        reload(users, path);
                    }
                }
            }
        }
    }
}

fn reload(users: &Users, path: &Path) {
    let read = std::fs::read(path).map_err(|error| error.to_string());
    let read = read.and_then(|text| users.replace(&text).map_err(|error| error.to_string()));
    if let Err(error) = read {
        eprintln!("memcached: {}: {error}; the users stay", path.display());
    }
}
