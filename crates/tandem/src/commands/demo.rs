//! `tandem demo`

use std::path::Path;
use std::time::{Duration, Instant};

use lexopt::Arg::Long;
use tandem_model::{Cluster, Rehearsal, Service};

use super::rehearse::port_number;
use super::rehearsed_environment;
use crate::cli::{self, Command, Opt};
use crate::exit::{Failure, Result};
use crate::rehearsal::control::{Order, give};
use crate::rehearsal::play::{Piece, play};
use crate::rehearsal::state::{Kind, running};

/// The command.
pub const COMMAND: Command = Command {
    name: "demo",
    summary: "the classic six machines, rehearsed here; also what bare `tandem` does",
    usage: &["demo [--port PORT] [--admin PORT]", "demo --prove", "demo --stop"],
    about: "\
Runs six nodes on this machine: a load balancer, a static server, two application servers and two session nodes, with
a small application whose sessions survive the death of any of them. Prints where to look and what to kill.
",
    options: &[
        Opt { form: "--port PORT", text: "the front door, instead of 8080 or the next free port; an error when it is taken" },
        Opt { form: "--admin PORT", text: "the status page, instead of 8404 or the next free port" },
        Opt { form: "--prove", text: "play the scene without a browser: reload, kill everything in turn, reload; exit 0 or 1" },
        Opt { form: "--stop", text: "stop the demo that runs" },
    ],
    notes: "\
Without a terminal it prints one line when all nodes are well: ready http://127.0.0.1:8080/
Ctrl-C, SIGTERM and SIGHUP stop everything it started.
",
    main,
};

/// How long a demo may take to stop.
const STOPPED: Duration = Duration::from_secs(45);

fn main(mut args: lexopt::Parser) -> Result {
    let (mut port, mut admin, mut prove, mut stop) = (None, None, false, false);
    while let Some(arg) = args.next()? {
        match arg {
            Long("port") => port = Some(port_number(&mut args)?),
            Long("admin") => admin = Some(port_number(&mut args)?),
            Long("prove") => prove = true,
            Long("stop") => stop = true,
            _ => return Err(arg.unexpected().into()),
        }
    }
    let demo = running().into_iter().find(|state| state.kind == Kind::Demo);
    if stop {
        let Some(demo) = demo else {
            return Err(Failure::failed("no demo runs here"));
        };
        let answer = give(&demo, &Order::Stop)?;
        let begun = Instant::now();
        // Its socket is removed last.
        while demo.control().exists() && begun.elapsed() < STOPPED {
            std::thread::sleep(Duration::from_millis(50));
        }
        return if demo.control().exists() {
            Err(Failure::failed(format!(
                "the demo (pid {}) said `{}` but has not stopped",
                demo.pid, answer.said
            )))
        } else {
            cli::say(&format!("stopped the demo (pid {})\n", demo.pid))
        };
    }
    if let Some(demo) = demo.filter(|_| !prove) {
        let front = demo.front.unwrap_or_default();
        return Err(Failure::failed(format!(
            "a demo runs already (pid {}) at {front}; `tandem demo --stop` stops it",
            demo.pid
        )));
    }
    let kind = if prove { Kind::Proof } else { Kind::Demo };
    let loaded = tandem_config::parse(
        tandem_demo::CLUSTER,
        "the demo",
        Path::new("/"),
        &rehearsed_environment,
    );
    let cluster = loaded
        .map_err(|errors| Failure::failed(format!("the demo's own file is wrong:\n{errors}")))?
        .cluster;
    play(&Piece {
        kind,
        cluster,
        base: None,
        prepare: with_pages,
        port,
        admin,
    })
}

/// Writes the demo's static pages and lets the site serve them.
fn with_pages(cluster: &mut Cluster, dir: &Path) -> Result<()> {
    let root = dir.join("www");
    tandem_demo::write_www(&root).map_err(|error| {
        Failure::failed(format!(
            "cannot write the demo's pages to {}: {error}",
            root.display()
        ))
    })?;
    for service in &mut cluster.services {
        if let Service::Site(site) = service {
            site.rehearse = Some(Rehearsal::Root(root.clone()));
        }
    }
    Ok(())
}
