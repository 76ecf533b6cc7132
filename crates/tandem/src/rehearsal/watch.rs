//! How the nodes are: each is asked by its admin port, the answers are kept for the pages and for whoever waits.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tandem_admin::{Row, RowState, Rows};
use tandem_telemetry::NodeStatus;
use tokio::sync::watch;

use super::browser::fetch;
use super::supervisor::{Node, Process, Supervisor};

/// Between two rounds of questions.
const EVERY: Duration = Duration::from_millis(200);
/// For one answer.
const LIMIT: Duration = Duration::from_secs(2);

/// What the last round of questions brought.
#[derive(Clone)]
pub struct Watched {
    rows: Arc<Mutex<Vec<Row>>>,
    rounds: watch::Sender<u64>,
}

impl Rows for Watched {
    fn rows(&self) -> Vec<Row> {
        self.rows
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Watched {
    /// Begins to watch the nodes, whose admin pages are at `port`. Needs a local runtime.
    pub fn begin(supervisor: Supervisor, port: u16) -> Self {
        let rows = supervisor
            .nodes()
            .iter()
            .map(|node| unanswered(node, "starting"))
            .collect();
        let watched = Self {
            rows: Arc::new(Mutex::new(rows)),
            rounds: watch::Sender::new(0),
        };
        let out = watched.clone();
        tokio::task::spawn_local(async move {
            loop {
                let asked = supervisor.nodes().iter().map(|node| ask(node, port));
                let rows = futures_util::future::join_all(asked).await;
                *out.rows.lock().unwrap_or_else(PoisonError::into_inner) = rows;
                out.rounds.send_modify(|round| *round += 1);
                tokio::time::sleep(EVERY).await;
            }
        });
        watched
    }

    /// The nodes as they are now: asked after this call began. A node that does not answer is waited for a little.
    pub async fn now(&self) -> Vec<Row> {
        let (Ok(rows) | Err(rows)) = self.wait(LIMIT + EVERY * 2, |_| true).await;
        rows
    }

    /// Waits until the rows are as wanted. `Err` has the last rows when that took too long.
    pub async fn wait(
        &self,
        limit: Duration,
        wanted: impl Fn(&[Row]) -> bool,
    ) -> Result<Vec<Row>, Vec<Row>> {
        let mut rounds = self.rounds.subscribe();
        let waiting = async {
            loop {
                // A round begun before now may show what was; the one after it does not.
                let seen = *rounds.borrow_and_update();
                let _ = rounds.wait_for(|round| *round >= seen + 2).await;
                let rows = self.rows();
                if wanted(&rows) {
                    return rows;
                }
            }
        };
        tokio::time::timeout(limit, waiting)
            .await
            .map_err(|_| self.rows())
    }
}

/// Whether every node is well.
pub fn all_up(rows: &[Row]) -> bool {
    rows.iter().all(|row| row.state == RowState::Up)
}

async fn ask(node: &Node, port: u16) -> Row {
    let pid = match node.process() {
        Process::Running(pid) => pid,
        Process::Gone(why) => {
            return Row {
                state: RowState::Down,
                ..unanswered(node, &why)
            };
        }
    };
    let running = |reason: &str| Row {
        pid: Some(pid),
        ..unanswered(node, reason)
    };
    let Ok(address) = format!("{}:{port}", node.address).parse::<SocketAddr>() else {
        return running("its address is no address");
    };
    let page = match fetch(address, "GET", "/api/v1/nodes", "", b"", LIMIT).await {
        Ok(page) => page,
        Err(error) => return running(&format!("no answer yet: {error}")),
    };
    match serde_json::from_slice::<Vec<Row>>(&page.body).map(|mut rows| rows.pop()) {
        Ok(Some(row)) => Row {
            roles: node.roles.clone(),
            ..row
        },
        _ => running("its answer is not understood"),
    }
}

fn unanswered(node: &Node, reason: &str) -> Row {
    Row {
        node: node.name.clone(),
        roles: node.roles.clone(),
        address: node.address.clone(),
        pid: None,
        app_pids: Vec::new(),
        state: RowState::Partly,
        reason: reason.into(),
        status: NodeStatus::default(),
        events: Vec::new(),
    }
}
