//! That the cluster goes on without this replica.
//!
//! A replica whose node the file does not name any more is part of the cluster until others have what it has. A node that is
//! started anew meanwhile must go on with it; one that was let go of must not, for what it has is old.

use std::fs;
use std::io;
use std::path::Path;

pub const NAME: &str = "let-go";

/// The leader says so.
pub fn mark(directory: &Path) -> io::Result<()> {
    fs::write(directory.join(NAME), "")
}

/// It is part of the cluster again.
pub fn unmark(directory: &Path) -> io::Result<()> {
    match fs::remove_file(directory.join(NAME)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Whether somebody said so.
pub fn is_marked(directory: &Path) -> bool {
    directory.join(NAME).exists()
}
