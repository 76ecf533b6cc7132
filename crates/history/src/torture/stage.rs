//! What is under torture: nodes that can be killed, forgotten and cut off, and doors for clients.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::client::Door;
use super::network::Network;

/// The longest a start, a recovery or a stop may take.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// How a node is.
pub struct Row {
    pub name: String,
    pub pid: Option<u32>,
    pub up: bool,
    /// It leads, and every voter is well as far as it knows; or it does not lead and follows.
    pub well: bool,
    pub leads: bool,
    /// Clients are here, and no data.
    pub is_agent: bool,
}

impl Row {
    /// Its name, as faults are told.
    pub fn called(&self) -> String {
        if self.leads {
            format!("{}, which leads,", self.name)
        } else {
            self.name.clone()
        }
    }
}

/// A cluster of processes of this test's own. All of it ends when it is dropped.
pub trait Stage: Sync {
    /// Every node.
    fn rows(&self) -> Result<Vec<Row>, String>;
    /// SIGKILL.
    fn kill(&self, node: &str) -> Result<(), String>;
    /// Starts a node whose process is gone.
    fn start(&self, node: &str) -> Result<(), String>;
    /// Removes what a node that does not run has kept of the sessions.
    fn forget(&self, node: &str) -> Result<(), String>;
    /// Where clients go in, one after the other in turn.
    fn doors(&self) -> Vec<Door>;
    /// The network between the nodes, when it can be cut.
    fn network(&self) -> Option<&Network>;
    /// How many lead when it is whole.
    fn leaders(&self) -> usize;

    /// Waits until every node is up, one leads, and all voters are with it.
    fn until_whole(&self) -> Result<(), String> {
        let begun = Instant::now();
        loop {
            let rows = self.rows()?;
            let leaders = rows.iter().filter(|row| row.leads).count();
            let well = |row: &Row| row.up && row.well;
            if leaders == self.leaders() && rows.iter().all(well) {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                let ill = rows.iter().filter(|row| !well(row));
                let ill: Vec<_> = ill.map(|row| row.name.as_str()).collect();
                return Err(format!(
                    "not whole after {PATIENCE:?}: {leaders} leaders, not well: {ill:?}"
                ));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// A node of Tandem by its answer to `GET /api/v1/nodes`, or by what a rehearsal says of it.
pub fn row(row: &Value) -> Row {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let sessions = &row["status"]["sessions"];
    let leads = sessions["role"] == "leader";
    let voters = sessions["voters"].as_array();
    let all_up = voters.is_some_and(|voters| {
        voters.len() == 3 && voters.iter().all(|voter| voter["health"] == "up")
    });
    Row {
        name: text(&row["node"]),
        pid: row["pid"].as_u64().map(|pid| pid as u32),
        up: row["state"] == "up",
        leads,
        well: !leads || all_up,
        is_agent: text(&row["node"]).starts_with("app"),
    }
}
