//! Files for a rehearsal: the real ones are often on other machines only.

use std::fs;
use std::path::Path;

use tandem_model::{Cluster, Service};

use crate::exit::{Failure, Result};

/// Puts a directory with one page where the root of a site is not here. Returns what is to be said of it.
pub fn stand_in(cluster: &mut Cluster, dir: &Path) -> Result<Vec<String>> {
    let mut notices = Vec::new();
    for service in &mut cluster.services {
        let Service::Site(site) = service else {
            continue;
        };
        if site.root.is_dir() {
            continue;
        }
        let root = dir.join(format!("site-{}", site.name));
        let index = site.index.first().map_or("index.html", String::as_str);
        let page = format!(
            "<!doctype html><title>{0}</title><p>This stands in for site {0}, whose files are on another machine.\n",
            site.name
        );
        let made = fs::create_dir_all(&root).and_then(|()| fs::write(root.join(index), page));
        made.map_err(|error| Failure::failed(format!("cannot make {}: {error}", root.display())))?;
        notices.push(format!(
            "site {}: a page stands in ({} is no directory here)",
            site.name,
            site.root.display()
        ));
        site.root = root;
    }
    Ok(notices)
}
