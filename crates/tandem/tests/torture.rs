//! The promises of the session tier, on real processes that die, stand still, forget and are cut off from one another,
//! checked operation by operation.

mod common;

use std::path::Path;
use std::time::Duration;

use common::namespaces::skip;
use common::{Dir, has};
use tandem_history::torture::{Failure, Mix, Plan, Report, Target, run};

fn tandem() -> std::path::PathBuf {
    env!("CARGO_BIN_EXE_tandem").into()
}

fn torture(
    target: Target,
    mix: Mix,
    seed: u64,
    seconds: u64,
    faults: usize,
) -> Result<Report, Failure> {
    let dir = Dir::new();
    let until_broken = target != Target::Memcached;
    let of_nodes = matches!(target, Target::Nodes(_));
    let report = run(&Plan {
        target,
        mix,
        dir: dir.path().into(),
        seed,
        length: Duration::from_secs(seconds),
        faults,
        clients: 12,
        until_broken,
    })?;
    if of_nodes {
        no_copies(dir.path());
    }
    Ok(report)
}

/// Whatever was killed, started, stopped and cut off, nobody took it for a second process of a node.
fn no_copies(dir: &Path) {
    let files = std::fs::read_dir(dir).expect("it is there");
    let files = files.map(|file| file.expect("a file").path());
    let logs = files.filter(|path| path.extension().is_some_and(|end| end == "log"));
    let mut leaders = 0;
    for path in logs {
        let log = std::fs::read_to_string(&path).expect("a log");
        assert!(!log.contains("runs twice"), "{}: {log}", path.display());
        leaders += log.matches(" leads (term ").count();
    }
    assert!(leaders > 0, "no log of a session node was found");
}

#[track_caller]
fn holds(report: &Report) {
    println!("{report}");
    assert!(report.holds(), "{report}");
    assert!(!report.faults.is_empty());
    assert!(
        report.verdict.operations > 1000,
        "too little was done to prove anything: {report}"
    );
}

/// Network namespaces take rights that not every user has; whoever has them is to have the test.
#[test]
fn a_minute_of_faults_and_cut_links_breaks_no_promise() {
    match torture(Target::Nodes(tandem()), Mix::All, 1, 60, usize::MAX) {
        Ok(report) => holds(&report),
        Err(why) => skip(&why),
    }
}

#[test]
fn four_faults_in_a_row_break_no_promise_of_a_rehearsal() {
    match torture(Target::Rehearsal(tandem()), Mix::All, 1, 12, 4) {
        Ok(report) => holds(&report),
        Err(why) => panic!("{why}"),
    }
}

/// That nothing is found in Tandem says something only if the same would be found where it is.
#[test]
fn the_same_faults_make_replicated_memcacheds_lose_sessions_and_the_checker_finds_them() {
    if !has("memcached", &["-V"]) || !has("php", &["-r", "new Memcached();"]) {
        return;
    }
    let run = |seconds, faults| torture(Target::Memcached, Mix::Sessions, 1, seconds, faults);
    match run(6, 0) {
        Ok(report) => assert!(report.holds(), "without a fault: {report}"),
        Err(why) => return skip(&why),
    }
    let report = run(25, usize::MAX).unwrap_or_else(|why| panic!("{why}"));
    println!("{report}");
    assert!(!report.verdict.violations.is_empty(), "{report}");
}
