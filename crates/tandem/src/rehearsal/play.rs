//! A rehearsal from its claims to its end.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use tandem_admin::{Row, RowState};
use tandem_model::rehearse::{front_port, rehearse};
use tandem_model::{Admin, Cluster, Rehearsed, Secret, Stage};
use tokio::net::UnixListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::control::take_orders;
use super::stage::{Place, Port, claim_place, claim_port, write_private};
use super::state::{Kind, State};
use super::supervisor::Supervisor;
use super::watch::{Watched, all_up};
use super::{certificates, prove, sites, table};
use crate::commands::key;
use crate::exit::{FAILED, Failure, Result};

/// How long nodes may take until all are well.
const READY: Duration = Duration::from_mins(1);
/// After so long it is said which of them are not, and why.
const SOON: Duration = Duration::from_secs(5);
/// The port of the status page, unless it is taken.
const ADMIN: u16 = 8404;
/// Lines of a log that are shown when its node ended too early.
const TAIL: usize = 12;

/// What is to be played.
pub struct Piece {
    /// What for.
    pub kind: Kind,
    /// The cluster as written.
    pub cluster: Cluster,
    /// Where programs start that have no `dir`; `None` is the rehearsal's directory.
    pub base: Option<PathBuf>,
    /// Completes the cluster once the rehearsal's directory is known.
    pub prepare: fn(&mut Cluster, &Path) -> Result<()>,
    /// The front door's port, if it must be this one.
    pub port: Option<u16>,
    /// The status page's port, if it must be this one.
    pub admin: Option<u16>,
}

/// Whether a person looks at the output.
pub fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// The rehearsed cluster, and what was claimed for it.
pub struct Set {
    /// The cluster as it is played.
    pub rehearsed: Rehearsed,
    /// The rehearsal's directory and network.
    pub place: Place,
    /// The status page's port.
    pub admin: Port,
    /// What must be said first: which ports are others than asked for.
    pub notices: Vec<String>,
    _ports: Vec<Port>,
}

/// Claims what the piece needs and works out the rehearsed cluster. Nothing runs yet.
pub fn set(piece: &Piece) -> Result<Set> {
    let place = claim_place()?;
    let mut cluster = piece.cluster.clone();
    (piece.prepare)(&mut cluster, &place.dir)?;
    let mut notices = certificates::stand_in(&mut cluster, &place.dir)?;
    notices.extend(sites::stand_in(&mut cluster, &place.dir)?);
    let (mut ports, mut moved) = (Vec::new(), BTreeMap::new());
    let binds = cluster.listeners.iter().flat_map(|listener| &listener.bind);
    for (i, asked) in binds
        .filter_map(tandem_model::Address::port)
        .map(front_port)
        .enumerate()
    {
        if moved.contains_key(&asked) {
            continue;
        }
        let fixed = piece.port.filter(|_| i == 0);
        let port = claim_port(fixed.unwrap_or(asked), place.network, fixed.is_none())?;
        if fixed.is_none() && port.port != asked {
            notices.push(format!(
                "port {asked} is taken: the listener is at {} instead",
                port.port
            ));
        }
        moved.insert(asked, port.port);
        ports.push(port);
    }
    let admin = claim_port(
        piece.admin.unwrap_or(ADMIN),
        place.network,
        piece.admin.is_none(),
    )?;
    if piece.admin.is_none() && admin.port != ADMIN {
        notices.push(format!(
            "port {ADMIN} is taken: the status page is at {} instead",
            admin.port
        ));
    }
    let exe =
        std::env::current_exe().map_err(|error| Failure::failed(format!("where am I? {error}")))?;
    let stand_in = [
        &*exe.to_string_lossy(),
        "demo-app",
        "--host",
        "{host}",
        "--port",
        "{port}",
    ];
    let stage = Stage {
        network: place.network,
        dir: place.dir.clone(),
        key: Secret::new(key::random()?),
        stand_in: stand_in.map(str::to_owned).to_vec(),
        ports: moved,
    };
    let mut rehearsed = rehearse(&cluster, &stage);
    rehearsed
        .cluster
        .start_in(piece.base.as_deref().unwrap_or(&place.dir));
    Ok(Set {
        rehearsed,
        place,
        admin,
        notices,
        _ports: ports,
    })
}

/// Plays a piece until a signal or an order ends it. Everything it started is stopped when it returns.
pub fn play(piece: &Piece) -> Result {
    let set = set(piece)?;
    for notice in &set.notices {
        eprintln!("{notice}");
    }
    let file = set.place.dir.join("cluster.toml");
    write_private(&file, &tandem_config::emit(&set.rehearsed.cluster))
        .map_err(|error| Failure::failed(format!("cannot write {}: {error}", file.display())))?;
    let runtime = tokio::runtime::LocalRuntime::new()
        .map_err(|error| Failure::failed(format!("cannot start a runtime: {error}")))?;
    let played = runtime.block_on(perform(piece, &set, &file));
    let _ = std::fs::remove_file(set.place.dir.join("control.sock"));
    played
}

async fn perform(piece: &Piece, set: &Set, file: &Path) -> Result {
    let io = |what: &'static str| {
        move |error: std::io::Error| Failure::failed(format!("{what}: {error}"))
    };
    let mut end = End::new().map_err(io("cannot listen for signals"))?;
    let cluster = &set.rehearsed.cluster;
    let supervisor =
        Supervisor::new(cluster, file, &set.place.dir).map_err(io("cannot start nodes"))?;
    let state = State {
        kind: piece.kind,
        pid: std::process::id(),
        cluster: cluster.name.clone(),
        network: set.place.network,
        dir: set.place.dir.clone(),
        front: set.rehearsed.front_door.map(|port| {
            let listener = set.rehearsed.cluster.listeners.first();
            let tls = listener.is_some_and(|listener| listener.tls.is_some());
            let scheme = if tls { "https" } else { "http" };
            format!("{scheme}://127.0.0.1:{port}/")
        }),
        admin: format!("http://127.0.0.1:{}/", set.admin.port),
    };
    let control = UnixListener::bind(state.control()).map_err(io("cannot take orders"))?;
    let watched = Watched::begin(supervisor.clone(), admin_port(cluster));
    let _pages = super::pages::serve(set.admin.port, &watched)?;
    let orders = take_orders(
        control,
        supervisor.clone(),
        watched.clone(),
        end.orders.clone(),
    );
    tokio::task::spawn_local(orders);

    // From here on nodes run: whatever happens, they are stopped before this returns.
    let started = supervisor.start_all().map_err(Failure::failed);
    let outcome = match started.and_then(|()| {
        let written = state.write();
        written.map_err(io("cannot write the state file"))
    }) {
        Ok(()) => {
            let told = Told {
                piece,
                set,
                state: &state,
            };
            tokio::select! {
                outcome = told.act(&supervisor, &watched) => outcome,
                () = end.wait() => Ok(ExitCode::SUCCESS),
            }
        }
        Err(failure) => Err(failure),
    };
    state.remove();
    tokio::select! {
        () = supervisor.stop_all() => {}
        // Asked again: at once.
        () = end.wait() => supervisor.kill_all().await,
    }
    outcome
}

fn admin_port(cluster: &Cluster) -> u16 {
    match &cluster.admin {
        Admin::At(address) => address.port().unwrap_or(ADMIN),
        Admin::Off => ADMIN,
    }
}

/// Signals and orders that end a rehearsal.
struct End {
    signals: Rc<RefCell<[Signal; 3]>>,
    orders: mpsc::Sender<()>,
    ordered: mpsc::Receiver<()>,
}

impl End {
    fn new() -> std::io::Result<Self> {
        let (orders, ordered) = mpsc::channel(1);
        let kinds = [
            SignalKind::interrupt(),
            SignalKind::terminate(),
            SignalKind::hangup(),
        ];
        let [interrupt, terminate, hangup] = kinds.map(signal);
        Ok(Self {
            signals: Rc::new(RefCell::new([interrupt?, terminate?, hangup?])),
            orders,
            ordered,
        })
    }

    #[expect(clippy::await_holding_refcell_ref, reason = "nobody else borrows it")]
    async fn wait(&mut self) {
        let signals = self.signals.clone();
        let [interrupt, terminate, hangup] = &mut *signals.borrow_mut();
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
            _ = self.ordered.recv() => {}
        }
    }
}

/// What the user is told, and the part that differs between a proof and a rehearsal.
struct Told<'a> {
    piece: &'a Piece,
    set: &'a Set,
    state: &'a State,
}

impl Told<'_> {
    async fn act(&self, supervisor: &Supervisor, watched: &Watched) -> Result {
        if is_terminal() && self.piece.kind != Kind::Proof {
            println!(
                "{}: starting {} nodes",
                self.state.cluster,
                supervisor.nodes().len()
            );
        }
        let settled =
            |rows: &[Row]| all_up(rows) || rows.iter().any(|row| row.state == RowState::Down);
        let mut waited = watched.wait(SOON, settled).await;
        if let Err(rows) = &waited {
            eprint!("{}", not_yet(supervisor, rows));
            waited = watched.wait(READY.saturating_sub(SOON), settled).await;
        }
        let rows = match waited {
            Ok(rows) if all_up(&rows) => rows,
            Ok(rows) | Err(rows) => return Err(not_ready(supervisor, &rows)),
        };
        if self.piece.kind == Kind::Proof {
            let front = self
                .set
                .rehearsed
                .front_door
                .ok_or_else(|| Failure::failed("there is no front door"))?;
            let front = SocketAddr::from((Ipv4Addr::LOCALHOST, front));
            let proven = prove::prove(front, supervisor, watched).await;
            return match proven {
                Ok(()) => Ok(ExitCode::SUCCESS),
                Err(error) => {
                    println!("FAILED  {error}");
                    print!(
                        "{}",
                        table::render(&tandem_admin::Rows::rows(watched), false)
                    );
                    Ok(ExitCode::from(FAILED))
                }
            };
        }
        self.ready(&rows);
        std::future::pending().await
    }

    fn ready(&self, rows: &[Row]) {
        let State {
            front, admin, dir, ..
        } = self.state;
        let mut out = String::new();
        if is_terminal() {
            out.push('\n');
            out.push_str(&table::render(rows, true));
            for name in &self.set.rehearsed.stand_ins {
                let _ = write!(
                    out,
                    "\n{name} is played by a stand-in: the demo application"
                );
            }
            let front = front.as_deref().unwrap_or("none: the file has no listener");
            let _ = write!(
                out,
                "\nfront door   {front}\nstatus page  {admin}\nlogs         {}/*.log\n",
                dir.display()
            );
            out.push_str(&try_next(rows));
        } else {
            out = format!("ready {}\n", front.as_deref().unwrap_or(admin));
        }
        let mut stdout = std::io::stdout().lock();
        let _ = stdout
            .write_all(out.as_bytes())
            .and_then(|()| stdout.flush());
    }
}

/// What is still waited for, and where more is said of it.
fn not_yet(supervisor: &Supervisor, rows: &[Row]) -> String {
    let mut text = String::new();
    for row in rows.iter().filter(|row| row.state != RowState::Up) {
        let why = match row.reason.as_str() {
            "" => "it does not say why",
            reason => reason,
        };
        let log = supervisor.log(&row.node);
        let _ = writeln!(
            text,
            "{} is not ready yet: {why} (its log: {})",
            row.node,
            log.display()
        );
    }
    text
}

/// What is wrong, with the end of the log of each node that is not well: what its applications print is there, too.
fn not_ready(supervisor: &Supervisor, rows: &[Row]) -> Failure {
    let mut text = String::from("not every node became ready\n");
    text.push_str(&table::render(rows, false));
    for row in rows.iter().filter(|row| row.state != RowState::Up) {
        let log: PathBuf = supervisor.log(&row.node);
        let _ = write!(text, "\nthe end of {}:\n", log.display());
        let lines = std::fs::read_to_string(&log).unwrap_or_default();
        let lines: Vec<&str> = lines.lines().collect();
        for line in &lines[lines.len().saturating_sub(TAIL)..] {
            let _ = writeln!(text, "  {line}");
        }
    }
    Failure::failed(text)
}

/// What a reader may try next, with the names of the nodes at hand.
fn try_next(rows: &[Row]) -> String {
    let mut text = String::from(
        "\nReload the front door again and again. Then, from another terminal:\n  tandem node list\n",
    );
    let mut add = |command: String, what: &str| {
        let _ = writeln!(text, "  {command:<31} {what}");
    };
    let app = rows.iter().find(|row| !row.app_pids.is_empty());
    if let Some(app) = app {
        add(
            format!("tandem node kill {} --app", app.node),
            "an application",
        );
    }
    let plays_alone = |role: &str| rows.iter().find(|row| row.roles == [role]);
    let killed = app.or(rows.last());
    for (row, what) in [
        (killed, "a whole node"),
        (plays_alone("sessions"), "a session node"),
    ] {
        if let Some(row) = row {
            add(format!("tandem node kill {}", row.node), what);
        }
    }
    if let Some(row) = killed {
        add(format!("tandem node start {}", row.node), "and back");
    }
    text.push_str("Ctrl-C stops everything.\n");
    text
}
