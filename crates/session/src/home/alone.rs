//! An operator's decision that the others' states are lost for good.
//!
//! When two of three voters have lost their state, what is left is on one that cannot outvote anybody: it refuses, for
//! the two may come back. Only an operator can know that they will not. The order is a file in the state directory of
//! the node that shall go on: at its next start everything in its log counts as committed, and it is the only voter, as
//! a new replica. The leader that it then is takes the others in as new ones.
//!
//! Each step leaves a state from which the order can be carried out again from its beginning.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use openraft::EntryPayload;
use openraft::entry::RaftEntry;

use crate::log::LogStore;
use crate::rt::Pace;
use crate::snapshot::{self, SnapshotFile};
use crate::state::State;
use crate::types::{Member, Membership, NodeId, SnapshotMeta, invalid};

/// The file whose presence is the order.
pub const ORDER: &str = "go-on-alone";

/// Whether it was ordered.
pub fn is_ordered(directory: &Path) -> bool {
    directory.join(ORDER).exists()
}

/// Makes the state in `directory` that of the only voter, `id`.
pub fn go_on(
    directory: &Path,
    id: NodeId,
    name: &str,
    durable: bool,
    log: &LogStore,
    found: Option<(SnapshotMeta, State, SnapshotFile)>,
) -> io::Result<(SnapshotMeta, State, SnapshotFile)> {
    let (mut meta, mut state) = match found {
        Some((meta, state, _)) => (meta, state),
        None => (SnapshotMeta::default(), State::default()),
    };
    let next = meta.last_log_id.map_or(0, |last| last.index() + 1);
    log.each_from(next, |entry| {
        let log_id = entry.log_id();
        match &entry.payload {
            EntryPayload::Blank => {}
            EntryPayload::Normal(batch) => {
                state.apply(log_id.index(), batch);
                state.take_gone();
            }
            EntryPayload::Membership(membership) => {
                meta.last_membership = Membership::new(Some(log_id), membership.clone());
            }
        }
        meta.last_log_id = Some(log_id);
    })?;
    let Some(last) = meta.last_log_id else {
        return Err(invalid(
            "nothing is stored here, so that there is nothing to go on with",
        ));
    };
    let mut known = meta.last_membership.nodes().map(|(_, member)| member);
    let own = known.find(|member| member.name == name).cloned();
    drop(known);
    let own = own.unwrap_or_else(|| Member {
        name: name.into(),
        // The file's word goes before it.
        address: String::new(),
    });
    let alone = openraft::Membership::new(vec![BTreeSet::from([id])], BTreeMap::from([(id, own)]))
        .map_err(io::Error::other)?;
    meta.last_membership = Membership::new(Some(last), alone);
    let file = snapshot::write(directory, &meta, state.view(), Pace::at_once())?;
    file.make_current(directory, durable)?;
    log.purge_to(last)?;
    Ok((meta, state, file))
}

/// It was carried out.
pub fn is_done(directory: &Path) -> io::Result<()> {
    fs::remove_file(directory.join(ORDER))
}
