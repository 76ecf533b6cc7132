//! Step 4: which content codings this site can answer with.

use tandem_model::{Coding, Site};

/// The codings a site can answer with: those of its siblings in its order, then what it makes itself.
pub(crate) fn offered(site: &Site) -> Vec<Coding> {
    let made = Coding::ALL.into_iter().filter(|&coding| is_made(coding));
    let made = made.filter(|_| site.compress);
    let mut offered = Vec::new();
    for coding in site.precompressed.iter().copied().chain(made) {
        if !offered.contains(&coding) {
            offered.push(coding);
        }
    }
    offered
}

/// Whether files are compressed this way as they are asked for.
pub(crate) fn is_made(coding: Coding) -> bool {
    coding != Coding::Zstd
}
