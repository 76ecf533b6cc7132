//! A keeper, a server and a parent, as processes that tests can kill.

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use tandem_app::{AppContext, AppHandle, Ports, STARTUP};
use tandem_model::{App, Check, Program, Secret, Spread};
use tandem_telemetry::{Telemetry, event::Log};

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    match args.next().as_ref().and_then(|word| word.to_str()) {
        Some(tandem_app::keeper::COMMAND) => tandem_app::keeper_main(args),
        Some("listen") => listen(),
        Some("parent") => parent(args.collect()),
        _ => ExitCode::from(2),
    }
}

/// Accepts connections where the environment says, and does nothing with them.
fn listen() -> ExitCode {
    let variable = |name| std::env::var(name).expect("Tandem sets it");
    let address = format!("{}:{}", variable("HOST"), variable("PORT"));
    let listener = std::net::TcpListener::bind(&address).expect("a free port");
    for connection in listener.incoming() {
        drop(connection);
    }
    ExitCode::SUCCESS
}

/// Runs a command as an application, says `up` when it accepts connections, and stays.
fn parent(command: Vec<OsString>) -> ExitCode {
    let command = command
        .into_iter()
        .map(|word| word.into_string().expect("UTF-8"))
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let app = App {
            name: "shop".into(),
            on: Vec::new(),
            port: None,
            program: Program::Run {
                command,
                dir: None,
                env: std::collections::BTreeMap::new(),
                user: None,
                instances: 1,
                stop_timeout: Duration::from_secs(1),
            },
            weight: std::collections::BTreeMap::new(),
            spread: Spread::default(),
            max_connections: None,
            check: Check::default(),
            send_proxy: None,
            fastcgi: None,
            timeouts: tandem_model::Timeouts::default(),
            rehearse: None,
        };
        let context = AppContext {
            node: "parent".into(),
            host: [127, 0, 0, 1].into(),
            sessions: None,
            session_key: None,
            user: None,
            // As `scene` sets it.
            secrets: vec![Secret::new("a secret of another name")],
            keeper: std::env::current_exe().expect("this binary"),
            dir: ".".into(),
            first_port: None,
            ports: Ports::default(),
            startup: STARTUP,
            telemetry: Telemetry::new("parent", 1, Log::Stderr),
        };
        let handle = AppHandle::start(&app, &context).expect("no user is given");
        let mut instances = handle.instances();
        let _ = instances.wait_for(|list| !list.is_empty()).await;
        println!("up");
        let _ = std::io::stdout().flush();
        std::future::pending::<()>().await;
    });
    ExitCode::SUCCESS
}
