//! The promises of the session tier, on real processes that die, stand still, forget and are cut off from one another,
//! checked operation by operation.

mod common;

use std::time::Duration;

use common::Dir;
use tandem_history::torture::{Failure, Mix, NoNetwork, Plan, Report, Target, run};

fn tandem() -> std::path::PathBuf {
    env!("CARGO_BIN_EXE_tandem").into()
}

fn torture(target: Target, seed: u64, seconds: u64, faults: usize) -> Result<Report, Failure> {
    let dir = Dir::new();
    run(&Plan {
        target,
        mix: Mix::All,
        dir: dir.path().into(),
        seed,
        length: Duration::from_secs(seconds),
        faults,
        clients: 12,
        until_broken: true,
    })
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
    match torture(Target::Nodes(tandem()), 1, 60, usize::MAX) {
        Ok(report) => holds(&report),
        Err(Failure::NoNetwork(why @ NoNetwork::NoRight(_))) => {
            println!("skipped, and only a rehearsal without cuts of links tortured: {why}");
        }
        Err(why) => panic!("{why}"),
    }
}

#[test]
fn four_faults_in_a_row_break_no_promise_of_a_rehearsal() {
    match torture(Target::Rehearsal(tandem()), 1, 12, 4) {
        Ok(report) => holds(&report),
        Err(why) => panic!("{why}"),
    }
}
