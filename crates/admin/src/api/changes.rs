//! Endpoints that change something. Each change is an audit event that says by whom.

use std::path::PathBuf;
use std::time::Duration;

use tandem_telemetry::{Control, ControlError, Severity};

use super::{Answer, Api, Call, Endpoint, Outcome};
use crate::operations::{Order, STOP};

/// How long a process drains whose place was taken, unless told otherwise, in seconds: long enough for what people watch
/// and upload, short enough that an old version is not there for ever.
const DRAIN: u32 = 300;
/// Where an upgrade is ordered.
pub(super) const UPGRADE: &str = "/api/v1/node/upgrade";

pub(super) static ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        changes: true,
        path: "/api/v1/servers/{service}/{server}",
        parameters: "`state=drain|maintenance|ready`, `weight=0..256`, `cut=true`, `kill=true`",
        what: "What a server of a service gets. `drain`: no new requests, those in flight finish, clients bound to it still come. `maintenance`: nothing, and no checks. `ready`: all again. `weight`: its share. `cut`: its connections of TCP mode, and tunnels, are cut off. `kill`: SIGKILL to the program behind it. A server given by a host name is one for each of its addresses (`{server}/{address}`); under its own name an order holds for all of them, and for those that are found later.",
        run: server,
    },
    Endpoint {
        changes: true,
        path: "/api/v1/listeners/{listener}",
        parameters: "`maintenance=true|false`",
        what: "Whether a listener shows its maintenance page.",
        run: listener,
    },
    Endpoint {
        changes: true,
        path: "/api/v1/node/reload",
        parameters: "",
        what: "Read the file again and take what is different. Answers when it is in effect, with what of it waits for the next start (`next_start`), or 409 with what is wrong, and then nothing was changed.",
        run: |api, call, _| api.audited(call, "reload", Order::Reload),
    },
    Endpoint {
        changes: true,
        path: "/api/v1/node/reopen-logs",
        parameters: "",
        what: "Open the logs anew, as after a rotation; SIGUSR1 does the same.",
        run: |api, call, _| api.audited(call, "reopen logs", Order::ReopenLogs),
    },
    Endpoint {
        changes: true,
        path: UPGRADE,
        parameters: "`binary=PATH`, `drain=SECONDS` (300)",
        what: "Let the program at PATH take the process's place, and drain so long. Answers when the new process serves, or 409 with why it does not, and then nothing was changed. By the socket in the state directory only: whoever may order this runs programs as the node's user.",
        run: upgrade,
    },
    Endpoint {
        changes: true,
        path: "/api/v1/node/stop",
        parameters: "`within=SECONDS` (30)",
        what: "End in order, as by SIGTERM: doors are closed, requests in flight finish within that time or are cut. Answers at once, with the process (`pid`) and how many seconds it takes at most (`ends_within`). By the socket in the state directory only.",
        run: stop,
    },
    Endpoint {
        changes: true,
        path: "/api/v1/node/log-level",
        parameters: "`level=debug|info|warning|error`",
        what: "The least severity that is written to the log, until the node ends.",
        run: log_level,
    },
];

impl Api {
    /// Has the node do something, and notes it.
    fn audited(&self, call: &Call, what: &str, order: Order) -> Outcome {
        self.audit(call, &format!("node: {what} ordered"));
        self.ordered(order)
    }

    /// Has the node do something.
    pub(super) fn ordered(&self, order: Order) -> Outcome {
        let pending = self.operations().order(order);
        Outcome::Later(Box::pin(async move {
            match pending.await {
                Ok(body) => Answer { status: 200, body },
                Err(refusal) => Answer::refused(refusal),
            }
        }))
    }
}

fn server(api: &Api, call: &Call, taken: &[&str]) -> Outcome {
    let name = taken.join("/");
    let registry = &api.telemetry().registry;
    let Some(control) = registry.find_control(&name) else {
        let mut answer = Answer::error(404, format!("there is no server `{name}` here"));
        answer.body["servers"] = registry.controls().into();
        return answer.into();
    };
    let wanted = call.parameters.iter();
    let wanted = wanted.map(|(parameter, value)| Change::read(parameter, value));
    let wanted: Vec<Change> = match wanted.collect() {
        Ok(wanted) => wanted,
        Err(why) => return Answer::error(400, why).into(),
    };
    if wanted.is_empty() {
        return Answer::error(400, "say what: state, weight, cut or kill").into();
    }
    let (mut done, mut failed) = (Vec::new(), None);
    for (change, (parameter, value)) in wanted.into_iter().zip(&call.parameters) {
        match change.carry_out(&*control) {
            Ok(()) => done.push(format!("{parameter} {value}")),
            Err(error) => {
                failed = Some((parameter, error));
                break;
            }
        }
    }
    let what = format!("server {name}: {}", done.join(", "));
    if !done.is_empty() {
        api.audit(call, &what);
    }
    match failed {
        None => Answer::done(what).into(),
        Some((_, error)) if done.is_empty() => refused(&name, error).into(),
        Some((parameter, error)) => {
            let why = format!("{name}: {parameter}: {error}; done: {}", done.join(", "));
            Answer::error(409, why).into()
        }
    }
}

/// What may become of a server.
enum Change {
    Drain,
    Maintenance,
    Ready,
    Weight(u16),
    Cut,
    Kill,
}

impl Change {
    fn read(parameter: &str, value: &str) -> Result<Self, String> {
        Ok(match (parameter, value) {
            ("state", "drain") => Self::Drain,
            ("state", "maintenance") => Self::Maintenance,
            ("state", "ready") => Self::Ready,
            ("cut", "true") => Self::Cut,
            ("kill", "true") => Self::Kill,
            ("weight", text) => match text.parse() {
                Ok(weight) if weight <= 256 => Self::Weight(weight),
                _ => return Err(format!("`{text}` is no weight: a number from 0 to 256")),
            },
            _ => return Err(format!("`{parameter}={value}` says nothing to a server")),
        })
    }

    fn carry_out(self, control: &dyn Control) -> Result<(), ControlError> {
        match self {
            Self::Drain => control.drain(),
            Self::Maintenance => control.maintenance(),
            Self::Ready => control.ready(),
            Self::Weight(weight) => control.weight(weight),
            Self::Cut => control.cut(),
            Self::Kill => control.kill(),
        }
    }
}

fn listener(api: &Api, call: &Call, taken: &[&str]) -> Outcome {
    let name = format!("listener/{}", taken[0]);
    let Some(control) = api.telemetry().registry.find_control(&name) else {
        let why = format!("there is no listener `{}` here", taken[0]);
        return Answer::error(404, why).into();
    };
    let result = match call.parameter("maintenance") {
        Some("true") => control.maintenance(),
        Some("false") => control.ready(),
        _ => return Answer::error(400, "say maintenance=true or maintenance=false").into(),
    };
    if let Err(error) = result {
        return refused(&name, error).into();
    }
    let on = call.parameter("maintenance") == Some("true");
    let what = format!(
        "listener {}: maintenance {}",
        taken[0],
        if on { "on" } else { "off" }
    );
    api.audit(call, &what);
    Answer::done(what).into()
}

fn refused(name: &str, error: ControlError) -> Answer {
    Answer::error(409, format!("{name}: {error}"))
}

fn upgrade(api: &Api, call: &Call, _: &[&str]) -> Outcome {
    if !call.by_owner {
        let why = "only by the socket admin.sock in the node's state directory: it runs a program as the node's user";
        return Answer::error(403, why).into();
    }
    let binary = PathBuf::from(call.parameter("binary").unwrap_or_default());
    if !binary.is_absolute() {
        return Answer::error(400, "say which: binary=/the/whole/path").into();
    }
    let seconds = match call.parameter("drain").map(str::parse) {
        None => DRAIN,
        Some(Ok(seconds)) => seconds,
        Some(Err(_)) => return Answer::error(400, "drain is a number of seconds").into(),
    };
    let what = format!("upgrade to {}", binary.display());
    let drain = Duration::from_secs(seconds.into());
    api.audited(call, &what, Order::Upgrade { binary, drain })
}

fn stop(api: &Api, call: &Call, _: &[&str]) -> Outcome {
    if !call.by_owner {
        let why = "only by the socket admin.sock in the node's state directory";
        return Answer::error(403, why).into();
    }
    let within = match call.parameter("within").map(str::parse) {
        None => STOP,
        Some(Ok(seconds)) => Duration::from_secs(u32::into(seconds)),
        Some(Err(_)) => return Answer::error(400, "within is a number of seconds").into(),
    };
    api.audited(call, "stop", Order::Stop { within })
}

fn log_level(api: &Api, call: &Call, _: &[&str]) -> Outcome {
    let given = call.parameter("level").unwrap_or_default();
    let Some(level) = Severity::parse(given) else {
        let why = format!("`{given}` is no level: debug, info, warning or error");
        return Answer::error(400, why).into();
    };
    api.audit(call, &format!("node: log level {level}"));
    api.telemetry().events.set_level(level);
    Answer::done(format!("the log has what is {level} or worse")).into()
}
