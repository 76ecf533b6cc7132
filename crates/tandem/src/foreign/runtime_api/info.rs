//! `show info`: the process.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tandem_telemetry::ProcessStatus;
use tandem_telemetry::counters::Totals;

use super::fields::Field;
use super::output;
use super::session::Session;
use super::table::Outcome;
use crate::commands::haproxy::VERSION;
use crate::process;

/// What is said of the process; the numbers are the places that HAProxy has them at.
#[rustfmt::skip]
const FIELDS: &[(usize, Field)] = &[
    (0, ("Name", "POS", "str")),
    (1, ("Version", "POS", "str")),
    (3, ("Nbthread", "CGS", "u32")),
    (4, ("Nbproc", "CGS", "u32")),
    (5, ("Process_num", "KGP", "u32")),
    (6, ("Pid", "SGP", "u32")),
    (7, ("Uptime", "MDP", "str")),
    (8, ("Uptime_sec", "MDP", "u32")),
    (13, ("Ulimit-n", "CLP", "u32")),
    (14, ("Maxsock", "CLP", "u32")),
    (15, ("Maxconn", "CLP", "u32")),
    (16, ("Hard_maxconn", "CLP", "u32")),
    (17, ("CurrConns", "MGP", "u32")),
    (18, ("CumConns", "MCP", "u32")),
    (19, ("CumReq", "MCP", "u32")),
    (26, ("ConnRate", "MRP", "u32")),
    (27, ("ConnRateLimit", "CLP", "u32")),
    (28, ("MaxConnRate", "MMP", "u32")),
    (29, ("SessRate", "MRP", "u32")),
    (30, ("SessRateLimit", "CLP", "u32")),
    (31, ("MaxSessRate", "MRP", "u32")),
    (49, ("Idle_pct", "MaP", "u32")),
    (50, ("node", "COS", "str")),
    (52, ("Stopping", "MGP", "u32")),
    (55, ("Listeners", "MGP", "u32")),
    (61, ("TotalBytesOut", "MGP", "u64")),
    (66, ("Build info", "POS", "str")),
    (68, ("PoolAlloc_bytes", "MGP", "u64")),
    (70, ("Start_time_sec", "MDP", "u32")),
];

/// `show info [typed|json]`
pub fn show(session: &Session, words: &[&str]) -> Outcome {
    let Some(now) = Now::of(session) else {
        return Outcome::Text(String::new());
    };
    let values = FIELDS.iter();
    let values: Vec<_> = values
        .filter_map(|(place, field)| Some((*place, field, now.value(field.0)?)))
        .collect();
    if words.contains(&"json") {
        let all = values.iter();
        let all = all.map(|(place, field, value)| output::described(*place, field, value));
        return Outcome::Text(format!("{}\n", Value::Array(all.collect())));
    }
    let mut out = String::new();
    for (place, (name, tags, kind), value) in values {
        let _ = if words.contains(&"typed") {
            writeln!(out, "{place}.{name}.1:{tags}:{kind}:{value}")
        } else {
            writeln!(out, "{name}: {value}")
        };
    }
    Outcome::Text(out)
}

/// What the fields are made of.
struct Now {
    totals: Totals,
    process: ProcessStatus,
    listeners: usize,
    /// Seconds since the node started.
    up: u64,
    /// `maxconn` of `global`.
    most: Option<u64>,
    session_rate: u64,
    session_rate_most: u64,
    idle_percent: Option<u64>,
}

impl Now {
    fn of(session: &Session) -> Option<Self> {
        let node = session.runtime.node()?;
        let status = node.telemetry.registry.status();
        let watch = node.watch.borrow();
        Some(Self {
            totals: node.telemetry.counters.totals(),
            listeners: status.listeners.iter().map(|one| one.bind.len()).sum(),
            process: status.process,
            up: node.api.info().started.elapsed().as_secs(),
            most: session.runtime.commands().process_connections,
            session_rate: watch.node.session_rate,
            session_rate_most: watch.node.session_rate_most,
            idle_percent: watch.idle_percent,
        })
    }

    fn value(&self, name: &str) -> Option<String> {
        let up = self.up;
        let number = match name {
            "Name" => return Some("HAProxy".into()),
            "Version" | "Build info" => return Some(VERSION.into()),
            "Uptime" => {
                let (days, hours) = (up / 86_400, up / 3600 % 24);
                let (minutes, seconds) = (up / 60 % 60, up % 60);
                return Some(format!("{days}d {hours}h{minutes:02}m{seconds:02}s"));
            }
            "node" => {
                let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
                return Some(name.trim().to_owned());
            }
            "Nbthread" => self.process.workers.len() as u64,
            "Nbproc" | "Process_num" => 1,
            "Pid" => std::process::id().into(),
            "Uptime_sec" => up,
            "Ulimit-n" | "Maxsock" => self.process.descriptor_limit,
            "Maxconn" | "Hard_maxconn" => self.most.unwrap_or(self.process.descriptor_limit / 2),
            "CurrConns" => self.totals.open,
            "CumConns" => self.totals.accepted,
            "CumReq" => self.totals.requests,
            "ConnRate" | "SessRate" => self.session_rate,
            "MaxConnRate" | "MaxSessRate" => self.session_rate_most,
            // 0 is none.
            "ConnRateLimit" | "SessRateLimit" => 0,
            "Idle_pct" => self.idle_percent?,
            "Stopping" => process::is_stopping(std::process::id()).into(),
            "Listeners" => self.listeners as u64,
            "TotalBytesOut" => self.totals.bytes_out,
            "PoolAlloc_bytes" => self.process.resident_bytes,
            "Start_time_sec" => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
                now.as_secs().saturating_sub(up)
            }
            _ => return None,
        };
        Some(number.to_string())
    }
}
