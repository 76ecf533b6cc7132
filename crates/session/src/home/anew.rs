//! An operator's decision that what another tier held is given up.
//!
//! Blank session nodes form no tier while what is stored may be elsewhere, at nodes that do not answer. Only an operator can
//! know that these are gone for good. The order is a file in the state directory of the node that forms the tier, which looks
//! for it while it waits. It concerns nobody who answers that it holds something, and is over when there is a tier.

use std::fs;
use std::io;
use std::path::Path;

/// The file whose presence is the order.
pub const ORDER: &str = "begin-anew";

/// Whether it was ordered.
pub fn is_ordered(directory: &Path) -> bool {
    directory.join(ORDER).exists()
}

/// It was carried out, or there is nothing to carry out: whether there was one.
pub fn is_over(directory: &Path) -> io::Result<bool> {
    match fs::remove_file(directory.join(ORDER)) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
