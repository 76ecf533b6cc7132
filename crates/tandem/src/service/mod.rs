//! A node as a service of its machine: LSB's verbs, a unit for systemd, an init script.
//!
//! The verbs work without systemd, on what is written in `/etc/tandem` and in the environment: [`settings`] finds the
//! node, [`start`](mod@start) and [`stop`](mod@stop) act on its process, [`install`] writes what the machine's own
//! manager needs.

pub mod exit_codes;
pub mod install;
mod plan;
pub mod settings;
pub mod start;
pub mod status;
pub mod stop;
pub mod unit;

pub use settings::Settings;

use std::process::ExitCode;
use std::time::Duration;

use crate::cli;
use crate::exit::{Failure, Result};
use crate::node::OWN_SOCKET;
use crate::operator::{Client, next_start};
use crate::process::Holder;

/// `start`: success also when it runs already; one that is about to end is waited for.
pub fn start(settings: &Settings) -> Result {
    if let Holder::Runs(pid) = settings.holder()?
        && !stop::ends(settings, pid)?
    {
        return cli::say(&format!("tandem runs already (pid {pid})\n"));
    }
    let plan = plan::checked(settings)?;
    let pid = start::start(settings, &plan)?;
    cli::say(&format!("started tandem (pid {pid})\n"))
}

/// `stop`: success also when it does not run.
pub fn stop(settings: &Settings, within: Duration) -> Result {
    match stop::stop(settings, within)? {
        Some(pid) => cli::say(&format!("stopped tandem (pid {pid})\n")),
        None => cli::say(&format!("{}\n", settings.not_running())),
    }
}

/// `restart`: a configuration that is wrong stops nothing.
pub fn restart(settings: &Settings, within: Duration) -> Result {
    plan::checked(settings)?;
    stop::stop(settings, within)?;
    start(settings)
}

/// `condrestart` and `try-restart`: restart what runs; success when nothing does.
pub fn try_restart(settings: &Settings, within: Duration) -> Result {
    match settings.holder()? {
        Holder::Runs(_) => restart(settings, within),
        Holder::Nobody | Holder::Gone => cli::say(&format!("{}\n", settings.not_running())),
    }
}

/// `reload` and `force-reload`: a configuration that is wrong changes nothing.
pub fn reload(settings: &Settings) -> Result {
    let Holder::Runs(pid) = settings.holder()? else {
        return Err(exit_codes::not_running(settings.not_running()));
    };
    let plan = plan::checked(settings)?;
    let socket = plan.state.join(OWN_SOCKET);
    let node = Client::at(&socket);
    if node.reach().is_ok() {
        // It says what became of it: there is more that can be wrong than a file tells.
        let body = node.post("/api/v1/node/reload", &[])?.good()?;
        let waits = next_start(&body);
        return cli::say(&format!("tandem (pid {pid}) has taken its file\n{waits}"));
    }
    stop::signal(pid, rustix::process::Signal::HUP)?;
    cli::say(&format!(
        "tandem (pid {pid}) reads its file again; its log says whether it took it, as it does not answer at {}\n",
        socket.display()
    ))
}

/// `configtest`: says what is wrong, or that nothing is.
pub fn configtest(settings: &Settings) -> Result {
    let plan = plan::checked(settings)?;
    cli::say(&format!(
        "{}: good; this machine plays {}\n",
        settings.file.display(),
        plan.node
    ))
}

/// `status`: LSB's exit codes, and a sentence or JSON.
pub fn status(settings: &Settings, json: bool) -> Result {
    let status = status::Status::of(settings);
    let text = if json {
        let text = serde_json::to_string_pretty(&status);
        text.map_err(|error| Failure::failed(error.to_string()))? + "\n"
    } else {
        format!("{status}\n")
    };
    cli::say(&text)?;
    Ok(ExitCode::from(status.code()))
}
