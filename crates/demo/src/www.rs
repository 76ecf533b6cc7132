//! The static pages, carried in the binary and written out for the `files` node to serve.

use std::io;
use std::path::Path;

/// Name and content of each file.
pub const WWW: &[(&str, &[u8])] = &[
    ("index.html", include_bytes!("../www/index.html")),
    (
        "stylesheets/demo.css",
        include_bytes!("../www/stylesheets/demo.css"),
    ),
    (
        "images/scene.svg",
        include_bytes!("../www/images/scene.svg"),
    ),
    ("favicon.ico", include_bytes!("../www/favicon.ico")),
];

/// Writes the pages below `root`, which is made if need be.
pub fn write_www(root: &Path) -> io::Result<()> {
    for (name, content) in WWW {
        let path = root.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(path, content)?;
    }
    Ok(())
}
