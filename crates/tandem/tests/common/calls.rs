//! The system calls that a process makes, counted by strace.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use super::{Dir, has, send, wait_until};

/// Whether strace is there, and may trace.
pub fn has_strace() -> bool {
    has("strace", &["-o", "/dev/null", "true"])
}

/// The system calls that a process makes while `work` goes on, by name.
pub fn calls(id: u32, work: impl FnOnce()) -> BTreeMap<String, usize> {
    let dir = Dir::new();
    let table = dir.path().join("strace");
    let mut strace = Command::new("strace")
        .args(["-f", "-c", "-U", "name,calls", "-o"])
        .arg(&table)
        .args(["-p", &id.to_string()])
        .stderr(Stdio::null())
        .spawn()
        .expect("strace starts");
    wait_until("every thread is traced", || {
        let tasks = std::fs::read_dir(format!("/proc/{id}/task")).expect("it runs");
        tasks.flatten().all(|task| {
            let status = std::fs::read_to_string(task.path().join("status"));
            !status.unwrap_or_default().contains("TracerPid:\t0\n")
        })
    });
    work();
    send(strace.id(), Signal::INT);
    strace.wait().expect("strace ends");
    let text = std::fs::read_to_string(table).expect("strace writes a table");
    let rows = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        Some((words.next()?.to_owned(), words.next()?.parse().ok()?))
    });
    rows.filter(|(name, _)| name != "total").collect()
}
