//! The proofs. `TANDEM_SIM_SEEDS` says how many seeds, `TANDEM_SIM_FROM` which is the first, `TANDEM_SIM_SEED` which
//! one alone.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::broken::{self, Broken};
use super::profile::{Mix, Profile};
use super::scenario::{self, Report};
use super::world::Random;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is no number")),
    )
}

/// A seed's report; a panic is one too.
fn attempt(seed: u64) -> Result<Report, String> {
    let command = format!(
        "TANDEM_SIM_SEED={seed} cargo test -p tandem-session --lib sim::tests::every_promise -- --nocapture"
    );
    match catch_unwind(AssertUnwindSafe(|| scenario::run(seed))) {
        Ok(report) if report.holds() => Ok(report),
        Ok(report) => Err(format!("{report}\nto see it again: {command}")),
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            let text = text.unwrap_or_default();
            Err(format!(
                "seed {seed}: a panic: {text}\nto see it again: {command}"
            ))
        }
    }
}

#[test]
fn every_promise_is_kept_under_every_seed() {
    if let Some(seed) = number("TANDEM_SIM_SEED") {
        match attempt(seed) {
            Ok(report) => println!("{report}"),
            Err(failure) => panic!("{failure}"),
        }
        return;
    }
    let count = number("TANDEM_SIM_SEEDS").unwrap_or(2_000);
    let first = number("TANDEM_SIM_FROM").unwrap_or(0);
    let next = AtomicU64::new(first);
    let (operations, unknown, faults) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count || failures.lock().unwrap().len() >= 5 {
                        return;
                    }
                    match attempt(seed) {
                        Ok(report) => {
                            operations
                                .fetch_add(report.verdict.operations as u64, Ordering::Relaxed);
                            unknown.fetch_add(report.verdict.unknown as u64, Ordering::Relaxed);
                            faults.fetch_add(report.faults.len() as u64, Ordering::Relaxed);
                        }
                        Err(failure) => failures.lock().unwrap().push(failure),
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    println!(
        "{count} seeds: {} operations, {} of unknown outcome, {} events of faults, {} seeds failed",
        operations.into_inner(),
        unknown.into_inner(),
        faults.into_inner(),
        failures.len()
    );
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

/// Runs seeds with a part broken until the checker finds it, at most so many; says how many it took.
fn found_within(
    broken: Broken,
    seeds: u64,
    profile: impl Fn(&mut Random) -> Profile,
    finds: impl Fn(&Report) -> bool,
) {
    broken::set(Some(broken));
    let mut found = None;
    for i in 0..seeds {
        let profile = profile(&mut Random::new(i));
        let report = catch_unwind(AssertUnwindSafe(|| scenario::run_as(i, profile)));
        // The checker or the audit must find it: that the run ends in another way does not count.
        if report.is_ok_and(|report| finds(&report)) {
            found = Some(i + 1);
            break;
        }
    }
    broken::set(None);
    let Some(count) = found else {
        panic!("{broken:?} was not found in {seeds} seeds");
    };
    println!("{broken:?} is found by seed {count} of at most {seeds}");
}

fn violates(report: &Report) -> bool {
    !report.verdict.violations.is_empty()
}

#[test]
fn the_checker_finds_an_operation_that_is_applied_twice() {
    found_within(Broken::NoOperationIds, 20, |r| Profile::of(3, r), violates);
}

#[test]
fn the_checker_finds_reads_without_lease_or_read_index() {
    found_within(
        Broken::ReadsWithoutLease,
        60,
        |r| Profile::of(4, r),
        violates,
    );
}

#[test]
fn the_checker_finds_an_acknowledgement_before_the_commit() {
    found_within(
        Broken::AcknowledgedBeforeCommit,
        60,
        |r| Profile::of(4, r),
        violates,
    );
}

#[test]
fn the_checker_finds_expiry_by_wall_clocks() {
    found_within(Broken::WallClockExpiry, 60, |r| Profile::of(2, r), violates);
}

#[test]
fn the_checker_finds_an_old_identity_after_a_lost_state() {
    found_within(
        Broken::OldIdentityAfterLostState,
        300,
        |r| Profile::of(8, r),
        violates,
    );
}

#[test]
fn the_checker_finds_a_snapshot_without_its_log() {
    found_within(
        Broken::SnapshotWithoutItsLog,
        100,
        |r| Profile::of(5, r),
        violates,
    );
}

#[test]
fn the_checker_finds_an_acknowledgement_before_the_disk_has_it() {
    found_within(
        Broken::AcknowledgedBeforeTheDisk,
        60,
        |r| Profile::of(10, r),
        violates,
    );
}

#[test]
fn the_checker_finds_a_snapshot_that_forgets_which_keys_are_guarded() {
    let guarded = |r: &mut Random| Profile {
        mix: Mix {
            guarded: 1,
            ..Mix::default()
        },
        ..Profile::of(5, r)
    };
    found_within(Broken::GuardsNotInSnapshots, 100, guarded, violates);
}

#[test]
fn the_checker_finds_a_change_that_did_not_compare() {
    found_within(Broken::NothingCompared, 20, |r| Profile::of(4, r), violates);
}

#[test]
fn the_audit_finds_a_stamp_by_a_leader_that_has_not_applied_what_was_before_it() {
    let finds = |report: &Report| report.problems.iter().any(|p| p.contains("clock went"));
    found_within(
        Broken::StampedBeforeTheTerm,
        300,
        |r| Profile::of(9, r),
        finds,
    );
}

#[test]
fn a_seed_replays_exactly() {
    for seed in 0..super::profile::PROFILES {
        let (one, two) = (scenario::run(seed), scenario::run(seed));
        assert_eq!(one.trace, two.trace, "seed {seed}");
        assert_eq!(one.to_string(), two.to_string());
    }
}
