//! Whether the state directory can be written, and has room.

use std::path::Path;

use rustix::fs::{Access, access, statvfs};
use tandem_model::Size;

use super::Patient;
use crate::commands::doctor::finding::Findings;

/// With less than this logs and sessions soon cannot be written.
const LEAST: Size = Size::mib(100);
/// With less than this it is time to look.
const LITTLE: Size = Size::mib(1024);
/// The same as a share, in percent, of disks that are not large.
const SHARE: u64 = 5;
/// A voter's log and its snapshots may take so many times the memory of the sessions for a while.
const COPIES: u64 = 3;

pub fn look(patient: &Patient, findings: &mut Findings) {
    let state = &patient.plan.state;
    let Some(there) = state.ancestors().find(|dir| dir.exists()) else {
        findings.wrong(format!("There is no disk for {}.", state.display()));
        return;
    };
    let made = if there == state {
        "is there"
    } else {
        "will be made"
    };
    if let Err(error) = access(there, Access::WRITE_OK | Access::EXEC_OK) {
        findings.wrong(format!(
            "The state directory {} cannot be written ({} {error}): run as the node's user, or give it to that user.",
            state.display(),
            there.display()
        ));
        return;
    }
    room(
        patient,
        there,
        &format!("{} {made}", state.display()),
        findings,
    );
}

fn room(patient: &Patient, there: &Path, state: &str, findings: &mut Findings) {
    let disk = match statvfs(there) {
        Ok(disk) => disk,
        Err(error) => {
            findings.note(format!(
                "The disk of {state} does not say how full it is: {error}."
            ));
            return;
        }
    };
    let free = disk.f_bavail * disk.f_frsize;
    let percent = (disk.f_bavail * 100)
        .checked_div(disk.f_blocks)
        .unwrap_or(100);
    let sessions = patient.plan.sessions.as_ref();
    let kept = sessions
        .filter(|part| part.voter)
        .map_or(0, |part| part.memory.0);
    let has = format!(
        "The state directory {state}; its disk has {} free",
        rounded(free)
    );
    if free < LEAST.0 {
        findings.wrong(format!(
            "{has}: logs and sessions soon cannot be written; make room, or name a larger disk in [cluster] state."
        ));
    } else if free < COPIES * kept {
        findings.note(format!(
            "{has}, and sessions may take {} for a while: make room.",
            rounded(COPIES * kept)
        ));
    } else if free < LITTLE.0 && percent < SHARE {
        findings.note(format!("{has}, {percent} %: make room soon."));
    } else {
        findings.good(format!("{has}."));
    }
}

/// In whole units that people read.
fn rounded(bytes: u64) -> Size {
    let unit = if bytes >= 10 << 30 { 30 } else { 20 };
    Size(bytes >> unit << unit)
}
