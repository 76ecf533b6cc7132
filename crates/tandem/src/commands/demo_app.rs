//! `tandem demo-app`, the application of the demo and the stand-in of rehearsals.

use std::process::ExitCode;

use lexopt::Arg::Long;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::Command;
use crate::exit::{Failure, Result};

/// The command. It is not in the list: rehearsals start it.
pub const COMMAND: Command = Command {
    name: "demo-app",
    summary: "",
    usage: &["demo-app --host HOST --port PORT"],
    about: "\
The demo's application: an ordinary axum program whose sessions are in the memcached at TANDEM_SESSIONS.
",
    options: &[],
    notes: "",
    main,
};

fn main(mut args: lexopt::Parser) -> Result {
    let (mut host, mut port) = ("127.0.0.1".to_owned(), None);
    while let Some(arg) = args.next()? {
        match arg {
            Long("host") => host = args.value()?.to_string_lossy().into_owned(),
            Long("port") => port = Some(args.value()?.to_string_lossy().into_owned()),
            _ => return Err(arg.unexpected().into()),
        }
    }
    let port = port.ok_or_else(|| Failure::usage("which port? `tandem demo-app --port 8081`"))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| Failure::failed(format!("no runtime: {error}")))?;
    runtime.block_on(async {
        let address = format!("{host}:{port}");
        let listener = tokio::net::TcpListener::bind(&address)
            .await
            .map_err(|error| Failure::usage(format!("cannot listen on {address}: {error}")))?;
        let mut term =
            signal(SignalKind::terminate()).map_err(|error| Failure::failed(error.to_string()))?;
        let stop = Box::pin(async move {
            term.recv().await;
        });
        tandem_demo::serve(listener, stop)
            .await
            .map_err(|error| Failure::failed(error.to_string()))
    })?;
    Ok(ExitCode::SUCCESS)
}
