//! Knowing the servers before the first request: what a process that takes another's place does while that one serves.

use std::time::Duration;

use tandem_telemetry::{Health, Telemetry};
use tokio::time::{sleep, timeout};

/// Servers that are not known by then are found out by requests.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often is looked whether all are known.
const LOOK: Duration = Duration::from_millis(20);

/// Waits until each server has been checked once.
pub async fn up(telemetry: &Telemetry) {
    let checked = async {
        while unknown(telemetry) {
            sleep(LOOK).await;
        }
    };
    let _ = timeout(PATIENCE, checked).await;
}

fn unknown(telemetry: &Telemetry) -> bool {
    let status = telemetry.registry.status();
    let mut servers = status.services.iter().flat_map(|service| &service.servers);
    servers.any(|server| server.health == Health::Starting)
}
