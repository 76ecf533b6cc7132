//! Wrong files, and what is said about them: `tests/wrong/NAME.toml` and `NAME.txt`.
//!
//! `TANDEM_WRITE_GOLDEN=1 cargo test -p tandem-config` writes what is said now: look at it before it is kept.

use std::path::{Path, PathBuf};

fn environment(name: &str) -> Option<String> {
    (name == "TANDEM_KEY").then(|| "0123456789abcdef0123456789abcdef".into())
}

fn wrong_files() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wrong");
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .collect();
    files.sort();
    files
}

#[test]
fn every_mistake_is_said_at_once_with_its_place() {
    let mut different = Vec::new();
    for path in wrong_files() {
        let name = path.file_name().unwrap().to_str().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let said = match tandem_config::parse(&text, name, Path::new("/etc/tandem"), &environment) {
            Ok(_) => panic!("{name} is not wrong"),
            Err(diagnostics) => {
                assert!(diagnostics.len() > 0);
                format!("{diagnostics}\n")
            }
        };
        let golden = path.with_extension("txt");
        if std::env::var_os("TANDEM_WRITE_GOLDEN").is_some() {
            std::fs::write(&golden, &said).unwrap();
        }
        if std::fs::read_to_string(&golden).unwrap_or_default() != said {
            different.push(said);
        }
    }
    assert!(
        different.is_empty(),
        "said otherwise than expected:\n{}",
        different.join("\n")
    );
}
