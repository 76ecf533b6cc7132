//! Orders to a running rehearsal, over a Unix socket in its directory: one JSON line each way.

use std::io::{BufRead, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use tandem_admin::{Row, Rows as _};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::sync::mpsc;

use super::state::State;
use super::supervisor::{Process, Supervisor, signal};
use super::watch::Watched;
use crate::exit::{Failure, Result};

/// The longest order, in bytes.
const MAX_ORDER: u64 = 4096;
/// For an order to arrive, and for its answer to be taken.
const PATIENCE: Duration = Duration::from_secs(5);
/// For an order to be carried out, as the one who gave it sees it.
const CARRIED_OUT: Duration = Duration::from_mins(1);

/// What can be ordered.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "lowercase")]
pub enum Order {
    /// How are the nodes?
    List,
    /// SIGKILL to a node, or to its applications only.
    Kill {
        /// Whom.
        node: String,
        /// Only its applications.
        app: bool,
    },
    /// Start a node that does not run.
    Start {
        /// Whom.
        node: String,
    },
    /// End the rehearsal.
    Stop,
}

/// What was done.
#[derive(Debug, Serialize, Deserialize)]
pub struct Answer {
    /// Whether the order was carried out.
    pub ok: bool,
    /// What was done, or why not.
    pub said: String,
    /// The nodes, when they were asked for.
    pub rows: Vec<Row>,
}

/// Kills a node's applications and says which processes these were.
pub fn kill_apps(watched: &Watched, name: &str) -> std::result::Result<Vec<u32>, String> {
    let row = watched
        .rows()
        .into_iter()
        .find(|row| row.node == name)
        .ok_or_else(|| format!("no node `{name}`"))?;
    if row.app_pids.is_empty() {
        return Err(format!("{name} runs no application"));
    }
    for &pid in &row.app_pids {
        signal(pid, Signal::KILL).map_err(|error| format!("cannot kill pid {pid}: {error}"))?;
    }
    Ok(row.app_pids)
}

/// As [`kill_apps`], for whoever may ask at any moment: by what the node says now, since a process of which it said so a
/// while ago may be gone, and its number another's.
async fn kill_apps_now(
    supervisor: &Supervisor,
    watched: &Watched,
    name: &str,
) -> std::result::Result<Vec<u32>, String> {
    let node = supervisor.node(name)?;
    watched.now().await;
    if let Process::Gone(_) = node.process() {
        return Err(format!("{name} does not run"));
    }
    kill_apps(watched, name)
}

/// Takes orders until the rehearsal ends; an order to stop goes to `stop`.
pub async fn take_orders(
    listener: UnixListener,
    supervisor: Supervisor,
    watched: Watched,
    stop: mpsc::Sender<()>,
) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let (supervisor, watched, stop) = (supervisor.clone(), watched.clone(), stop.clone());
        tokio::task::spawn_local(async move {
            let (reader, mut writer) = stream.into_split();
            let mut line = String::new();
            let mut reader = tokio::io::BufReader::new(reader.take(MAX_ORDER));
            match tokio::time::timeout(PATIENCE, reader.read_line(&mut line)).await {
                Ok(Ok(read)) if read > 0 => {}
                _ => return,
            }
            let answer = match serde_json::from_str(&line) {
                Ok(order) => carry_out(order, &supervisor, &watched, &stop).await,
                Err(error) => Answer {
                    ok: false,
                    said: format!("not an order: {error}"),
                    rows: Vec::new(),
                },
            };
            if let Ok(mut text) = serde_json::to_vec(&answer) {
                text.push(b'\n');
                let _ = tokio::time::timeout(PATIENCE, writer.write_all(&text)).await;
            }
        });
    }
}

async fn carry_out(
    order: Order,
    supervisor: &Supervisor,
    watched: &Watched,
    stop: &mpsc::Sender<()>,
) -> Answer {
    let mut rows = Vec::new();
    let done = match order {
        Order::List => {
            rows = watched.now().await;
            Ok(String::new())
        }
        Order::Kill { node, app: true } => {
            kill_apps_now(supervisor, watched, &node).await.map(|pids| {
                let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
                format!(
                    "killed the application of {node} (pid {}); Tandem starts it again",
                    pids.join(", ")
                )
            })
        }
        Order::Kill { node, app: false } => {
            let killed = supervisor.kill(&node).await;
            killed.map(|pid| {
                format!("killed {node} (pid {pid}); `tandem node start {node}` brings it back")
            })
        }
        Order::Start { node } => supervisor.start(&node).map(|()| format!("started {node}")),
        Order::Stop => {
            let _ = stop.send(()).await;
            Ok("stopping".into())
        }
    };
    match done {
        Ok(said) => Answer {
            ok: true,
            said,
            rows,
        },
        Err(said) => Answer {
            ok: false,
            said,
            rows,
        },
    }
}

/// Gives an order to a running rehearsal.
pub fn give(state: &State, order: &Order) -> Result<Answer> {
    let gone = |error: std::io::Error| {
        Failure::failed(format!(
            "the rehearsal of {} (pid {}) does not answer: {error}",
            state.cluster, state.pid
        ))
    };
    let mut stream = UnixStream::connect(state.control()).map_err(gone)?;
    stream.set_read_timeout(Some(CARRIED_OUT)).map_err(gone)?;
    let mut text =
        serde_json::to_string(order).map_err(|error| Failure::failed(error.to_string()))?;
    text.push('\n');
    stream.write_all(text.as_bytes()).map_err(gone)?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).map_err(gone)?;
    serde_json::from_str(&line)
        .map_err(|error| Failure::failed(format!("the rehearsal's answer is broken: {error}")))
}
