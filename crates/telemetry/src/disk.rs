//! Which errors are a disk's, and pass when somebody makes room or mends it.

use std::io::{self, ErrorKind};

/// `EIO`, which the standard library has no name for.
const INPUT_OUTPUT: i32 = 5;

/// Whether a disk takes (or gives) nothing: it is full, over a quota, read-only or broken. What was to be written there is
/// right, and may be tried again; a wrong path or a missing right is something else.
#[must_use]
pub fn is_of_disk(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::ReadOnlyFilesystem
    ) || error.raw_os_error() == Some(INPUT_OUTPUT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_takes_nothing_is_told_from_a_path_that_is_wrong() {
        let is = |errno| is_of_disk(&io::Error::from_raw_os_error(errno));
        // ENOSPC, EDQUOT, EROFS, EIO.
        assert!([28, 122, 30, 5].into_iter().all(is));
        // EPERM, ENOENT, EACCES, EEXIST, ENOTDIR, EBUSY.
        assert!(![1, 2, 13, 17, 20, 16].into_iter().any(is));
    }
}
