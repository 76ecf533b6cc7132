//! Small files that are sent as they were when the configuration was read.

use std::path::Path;

use bytes::Bytes;

use crate::handler::PLAIN_FIELD;

/// The largest page, in bytes: pages are kept in memory.
const LARGEST: u64 = 4 << 20;

/// A page and its type.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    pub content: Bytes,
    pub kind: &'static str,
}

impl Page {
    /// Reads a file.
    ///
    /// # Errors
    /// In words: it cannot be read, or is too large.
    pub fn read(path: &Path) -> Result<Self, String> {
        let cannot = |why: String| format!("cannot read {}: {why}", path.display());
        let metadata = std::fs::metadata(path).map_err(|error| cannot(error.to_string()))?;
        if !metadata.is_file() {
            return Err(cannot("it is no file".into()));
        }
        if metadata.len() > LARGEST {
            return Err(cannot(format!("it is larger than {} MiB", LARGEST >> 20)));
        }
        let content = std::fs::read(path).map_err(|error| cannot(error.to_string()))?;
        Ok(Self {
            content: content.into(),
            kind: kind(path),
        })
    }

    /// The field that says its type.
    pub fn field(&self) -> Bytes {
        if self.kind == PLAIN {
            // Thousands of routes share it.
            Bytes::from_static(PLAIN_FIELD)
        } else {
            format!("Content-Type: {}\r\n", self.kind).into()
        }
    }
}

/// The type of plain text.
pub(super) const PLAIN: &str = "text/plain; charset=utf-8";

/// The type by the suffix, of what pages are made of.
fn kind(path: &Path) -> &'static str {
    let suffix = path.extension().and_then(|suffix| suffix.to_str());
    match suffix.unwrap_or_default().to_ascii_lowercase().as_str() {
        "html" | "htm" => "text/html; charset=utf-8",
        "txt" | "" => PLAIN,
        "json" => "application/json",
        "xml" => "application/xml",
        "css" => "text/css; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "ico" => "image/x-icon",
        "webp" => "image/webp",
        "pdf" => "application/pdf",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_what_its_file_says() {
        let page = Page::read(Path::new(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/Cargo.toml"
        )));
        assert_eq!(page.unwrap().kind, "application/octet-stream");
        for path in ["/no/such/file", "/"] {
            let error = Page::read(Path::new(path)).unwrap_err();
            assert!(
                error.starts_with(&format!("cannot read {path}: ")),
                "{error}"
            );
        }
        assert_eq!(kind(Path::new("a/b.HTML")), "text/html; charset=utf-8");
        assert_eq!(kind(Path::new("a.b/c")), "text/plain; charset=utf-8");
    }
}
