//! The house stands as ARCHITECTURE.md says: arrows between crates run downwards only.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Crates that a crate may depend on, besides those of other people. A line is one crate; the order is top down.
const MAY_USE: &[(&str, &[&str])] = &[
    ("tandem", &["*"]),
    ("tandem-demo", &["tandem-tower-sessions"]),
    ("tandem-tower-sessions", &[]),
    ("tandem-config", &["tandem-model"]),
    ("tandem-admin", ROLE),
    ("tandem-edge", ROLE),
    ("tandem-site", ROLE),
    ("tandem-app", ROLE),
    ("tandem-session", ROLE),
    (
        "tandem-cache",
        &[
            "tandem-memcache",
            "tandem-net",
            "tandem-telemetry",
            "tandem-model",
        ],
    ),
    (
        "tandem-memcache",
        &["tandem-net", "tandem-telemetry", "tandem-model"],
    ),
    (
        "tandem-http",
        &["tandem-net", "tandem-telemetry", "tandem-model"],
    ),
    ("tandem-net", &["tandem-telemetry", "tandem-model"]),
    ("tandem-telemetry", &["tandem-model"]),
    ("tandem-model", &[]),
    // For tests and benchmarks only: it looks at the tier from outside.
    ("tandem-history", &[]),
    ("bench", &["tandem-history"]),
];

/// What a role may use: no other role.
const ROLE: &[&str] = &[
    "tandem-http",
    "tandem-memcache",
    "tandem-cache",
    "tandem-net",
    "tandem-telemetry",
    "tandem-model",
];

fn workspace() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version=1", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs: it runs this test");
    let metadata: Value =
        serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let packages = metadata["packages"].as_array().expect("a list of packages");
    packages
        .iter()
        .map(|package| {
            let ours = package["dependencies"]
                .as_array()
                .expect("a list of dependencies")
                .iter()
                .filter(|dependency| {
                    // Tests may look at anything.
                    dependency["kind"].as_str() != Some("dev")
                });
            let names = ours.filter_map(|dependency| dependency["name"].as_str());
            let names = names
                .filter(|name| name.starts_with("tandem"))
                .map(str::to_owned)
                .collect();
            (package["name"].as_str().expect("a name").to_owned(), names)
        })
        .collect()
}

#[test]
fn arrows_between_crates_run_downwards_only() {
    let rules: BTreeMap<_, _> = MAY_USE.iter().copied().collect();
    let mut wrong = Vec::new();
    for (package, uses) in workspace() {
        let Some(allowed) = rules.get(package.as_str()) else {
            wrong.push(format!("{package} has no place in the house"));
            continue;
        };
        for used in uses {
            if !allowed.contains(&"*") && !allowed.contains(&used.as_str()) {
                wrong.push(format!("{package} uses {used}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn unsafe_code_is_in_the_named_sys_modules_only() {
    for package in workspace().keys() {
        let name = package.strip_prefix("tandem-").unwrap_or(package);
        let place = match name {
            "bench" => "../bench",
            "tower-sessions" => "tower",
            other => other,
        };
        let dir = format!("{}/../{place}", env!("CARGO_MANIFEST_DIR"));
        let root = ["lib.rs", "main.rs"]
            .iter()
            .find_map(|file| std::fs::read_to_string(format!("{dir}/src/{file}")).ok());
        let root = root.unwrap_or_else(|| panic!("{package} is not in {dir}"));
        assert!(
            root.starts_with("//! "),
            "{package} does not say what it is for"
        );
        let forbids = root.contains("#![forbid(unsafe_code)]");
        let denies = root.contains("#![deny(unsafe_code)]") && root.contains("\nmod sys;\n");
        assert!(
            forbids || denies,
            "{package} allows unsafe code outside a `sys` module"
        );
        let lifts: Vec<_> = sources(dir.as_ref())
            .into_iter()
            .filter(|path| lifts_the_ban(path))
            .collect();
        assert!(
            lifts.iter().all(|path| path.ends_with("src/sys.rs")),
            "{lifts:?}"
        );
    }
}

fn lifts_the_ban(path: &Path) -> bool {
    std::fs::read_to_string(path).is_ok_and(|text| {
        text.contains("allow(unsafe_code)") || text.contains("expect(unsafe_code")
    })
}

fn sources(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir.join("src"))
        .expect("a crate has sources")
        .flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.is_file())
        .collect()
}
