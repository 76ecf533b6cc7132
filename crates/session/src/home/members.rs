//! Who voted beside this replica, as it last knew: what is left to it when its state is lost.
//!
//! One that lost its state has nothing else by which it could tell a cluster that is to be formed from one that is there
//! and that its file does not name any more.

use std::io;
use std::path::Path;

use crate::log::files;
use crate::types::Member;

pub const NAME: &str = "members";

/// Those that are on record. None when that cannot be read: it is no part of the state.
pub fn read(directory: &Path) -> Vec<Member> {
    let members = files::read(&directory.join(NAME));
    members.ok().flatten().unwrap_or_default()
}

/// Puts them on record. On the disk when this returns, `durable` or not: what it is for is a machine that was started anew.
pub fn write(directory: &Path, members: &[Member]) -> io::Result<()> {
    files::write(&directory.join(NAME), &members, true)
}
