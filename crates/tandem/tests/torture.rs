//! The promises of the session tier, on real processes that die, stand still and forget, checked operation by operation.

mod common;

use std::time::Duration;

use common::Dir;
use tandem_history::torture::{Plan, run};

#[track_caller]
fn torture(seed: u64, seconds: u64, faults: usize) {
    let dir = Dir::new();
    let report = run(&Plan {
        tandem: env!("CARGO_BIN_EXE_tandem").into(),
        dir: dir.path().into(),
        seed,
        length: Duration::from_secs(seconds),
        faults,
        clients: 12,
    });
    let report = report.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    println!("{report}");
    assert!(report.holds(), "{report}");
    assert!(!report.faults.is_empty());
    assert!(
        report.verdict.operations > 1000,
        "too little was done to prove anything: {report}"
    );
}

#[test]
fn four_faults_in_a_row_break_no_promise() {
    torture(1, 12, 4);
}

/// `cargo test -p tandem --release --test torture -- --ignored --nocapture`; other seeds by `TORTURE_SEED`.
#[test]
#[ignore = "takes five minutes"]
fn five_minutes_of_faults_break_no_promise() {
    let seed = std::env::var("TORTURE_SEED").ok();
    torture(
        seed.and_then(|seed| seed.parse().ok()).unwrap_or(2),
        300,
        10_000,
    );
}
