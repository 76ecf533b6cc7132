//! `tandem start`, `stop` and the other verbs of a service.

use std::time::Duration;

use lexopt::Arg::Long;
use tandem_admin::operations::STOP;

use crate::cli::{Command, Opt};
use crate::exit::{Failure, Result};
use crate::service::settings::{FILE, Given, LOG, NODE, PID_FILE};
use crate::service::{self, Settings};

/// Where the verbs look, for each one's help.
const ABOUT_SETTINGS: &str = "\
The node is described by options, else by the environment, else by /etc/tandem: cluster.toml, and `environment` with
lines NAME=value (TANDEM_KEY, TANDEM_NODE, TANDEM_FILE, TANDEM_PID_FILE, TANDEM_LOG). TANDEM_ETC is another /etc/tandem.
Exit codes are the Linux Standard Base's: 0 done; 4 not allowed; 6 the configuration is missing or wrong; 7 it does not
run; 1 it did not work; 2 the command line is wrong.
";

const WITHIN: Opt = Opt {
    form: "--within SECONDS",
    text: "how long what is in flight may take to finish before it is cut (30); 0 cuts it at once",
};
const JSON: Opt = Opt {
    form: "--json",
    text: "for scripts: state, pid, uptime in seconds, files",
};

/// `tandem start`
pub const START: Command = Command {
    name: "start",
    summary: "start this machine's node in the background",
    usage: &["start [--file FILE] [--node NAME] [--pid-file FILE] [--log FILE]"],
    about: "\
Starts the node and returns when it serves. What does not start says why; one that runs already is no failure.
",
    options: &[FILE, NODE, PID_FILE, LOG],
    notes: ABOUT_SETTINGS,
    main: |args| verb(args, |settings, _| service::start(settings)),
};

/// `tandem stop`
pub const STOP_COMMAND: Command = Command {
    name: "stop",
    summary: "stop it: requests in flight finish",
    usage: &["stop [--within SECONDS] [--pid-file FILE]"],
    about: "\
Stops the node in order and returns when it has ended: doors are closed, requests in flight finish within --within, what
is left then is cut, and the node's log says how many; then its applications end, each within its stop-timeout. What an
upgrade left draining has the same time. A node that hangs beyond that is killed. One that does not run is no failure.
SIGTERM does the same with 30 s, whatever was given here; a second one ends it at once.
",
    options: &[WITHIN, PID_FILE],
    notes: ABOUT_SETTINGS,
    main: |args| verb(args, |settings, more| service::stop(settings, more.within)),
};

/// `tandem status`
pub const STATUS: Command = Command {
    name: "status",
    summary: "say whether it runs",
    usage: &["status [--json] [--pid-file FILE]"],
    about: "\
Exit code 0: it runs; 1: it was killed and left its pid file; 3: it does not run; 4: it cannot be known.
",
    options: &[JSON, PID_FILE],
    notes: ABOUT_SETTINGS,
    main: |args| verb(args, |settings, more| service::status(settings, more.json)),
};

/// `tandem restart`
pub const RESTART: Command = Command {
    name: "restart",
    summary: "stop and start it, if its configuration is good",
    usage: &[
        "restart [--within SECONDS] [--file FILE] [--node NAME] [--pid-file FILE] [--log FILE]",
    ],
    about: "\
Tests the configuration first: one that is wrong stops nothing. What does not run is started. It is stopped as by
`tandem stop`, and doors are closed from then until it serves again: `tandem upgrade` has no such gap.
",
    options: &[WITHIN, FILE, NODE, PID_FILE, LOG],
    notes: ABOUT_SETTINGS,
    main: |args| {
        verb(args, |settings, more| {
            service::restart(settings, more.within)
        })
    },
};

/// `tandem reload`
pub const RELOAD: Command = Command {
    name: "reload",
    summary: "have it read its file again, if that is good",
    usage: &["reload [--file FILE] [--node NAME] [--pid-file FILE]"],
    about: "\
Tests the configuration, then has the node take what is different in it. Connections, requests in flight and
applications that are still in the file are not touched. Returns when the file is in effect, and names what of it waits
for the next start; when the node cannot take it, since a port is taken or a directory missing, it says why, with exit
code 1, and everything stays as it was.
",
    options: &[FILE, NODE, PID_FILE],
    notes: ABOUT_SETTINGS,
    main: |args| verb(args, |settings, _| service::reload(settings)),
};

/// `tandem force-reload`
pub const FORCE_RELOAD: Command = Command {
    name: "force-reload",
    summary: "the same: nothing needs force",
    usage: &["force-reload [--file FILE] [--node NAME] [--pid-file FILE]"],
    about: RELOAD.about,
    options: RELOAD.options,
    notes: ABOUT_SETTINGS,
    main: RELOAD.main,
};

/// `tandem configtest`
pub const CONFIGTEST: Command = Command {
    name: "configtest",
    summary: "test its configuration",
    usage: &["configtest [--file FILE] [--node NAME]"],
    about: "\
Reports every mistake of the file that the node would read, with exit code 6, or which node this machine plays.
",
    options: &[FILE, NODE],
    notes: ABOUT_SETTINGS,
    main: |args| verb(args, |settings, _| service::configtest(settings)),
};

/// `tandem condrestart`
pub const CONDRESTART: Command = Command {
    name: "condrestart",
    summary: "restart it if it runs",
    usage: &[
        "condrestart [--within SECONDS] [--file FILE] [--node NAME] [--pid-file FILE] [--log FILE]",
    ],
    about: "\
As restart, but what does not run stays as it is, and that is no failure.
",
    options: RESTART.options,
    notes: ABOUT_SETTINGS,
    main: |args| {
        verb(args, |settings, more| {
            service::try_restart(settings, more.within)
        })
    },
};

/// `tandem try-restart`
pub const TRY_RESTART: Command = Command {
    name: "try-restart",
    summary: "the same",
    usage: &[
        "try-restart [--within SECONDS] [--file FILE] [--node NAME] [--pid-file FILE] [--log FILE]",
    ],
    about: CONDRESTART.about,
    options: RESTART.options,
    notes: ABOUT_SETTINGS,
    main: CONDRESTART.main,
};

/// What single verbs take besides.
struct More {
    within: Duration,
    json: bool,
}

fn verb(mut args: lexopt::Parser, act: fn(&Settings, &More) -> Result) -> Result {
    let mut given = Given::default();
    let mut more = More {
        within: STOP,
        json: false,
    };
    while let Some(arg) = args.next()? {
        let Long(name) = arg else {
            return Err(arg.unexpected().into());
        };
        let name = name.to_owned();
        match &name[..] {
            "json" => more.json = true,
            "within" => {
                let text = args.value()?.to_string_lossy().into_owned();
                let seconds = text
                    .parse::<u32>()
                    .map_err(|_| Failure::usage(format!("--within takes seconds, not `{text}`")))?;
                more.within = Duration::from_secs(seconds.into());
            }
            _ if given.take(&name, &mut args)? => {}
            _ => {
                return Err(Failure::usage(format!(
                    "there is no option `--{name}`; `tandem start --help` shows what there is"
                )));
            }
        }
    }
    act(&given.complete()?, &more)
}
