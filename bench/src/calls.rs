//! System calls of a process, counted by `strace`.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::Duration;

/// The system calls that all threads of process `id` make while `work` goes on, by name.
pub fn during(id: u32, work: impl FnOnce()) -> BTreeMap<String, u64> {
    let path = std::env::temp_dir().join(format!("bench-{}.strace", std::process::id()));
    let mut strace = Command::new("strace")
        .args(["-f", "-c", "-U", "name,calls", "-o"])
        .arg(&path)
        .args(["-p", &id.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("strace cannot be started: {error}"));
    // It holds the process when every thread of it says so.
    while !is_traced(id) {
        std::thread::sleep(Duration::from_millis(10));
    }
    work();
    let stopped = Command::new("kill")
        .args(["-INT", &strace.id().to_string()])
        .status();
    assert!(
        stopped.is_ok_and(|status| status.success()),
        "strace ended by itself"
    );
    strace.wait().expect("it was started");
    let text = std::fs::read_to_string(&path).expect("strace writes its table");
    let _ = std::fs::remove_file(&path);
    let counts = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let (name, calls) = (words.next()?, words.next()?);
        Some((name.to_owned(), calls.parse().ok()?)).filter(|(name, _)| name != "total")
    });
    counts.collect()
}

fn is_traced(id: u32) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{id}/task")).expect("it runs");
    tasks.flatten().all(|task| {
        let status = std::fs::read_to_string(task.path().join("status")).unwrap_or_default();
        !status.contains("TracerPid:\t0\n")
    })
}
