//! The commands, one a file.

pub mod certificates;
pub mod check;
pub mod completion;
pub mod config;
pub mod demo;
pub mod demo_app;
pub mod doctor;
pub mod events;
pub mod haproxy;
pub mod import;
pub mod keeper;
pub mod key;
pub mod log_level;
pub mod logs;
pub mod maintenance;
pub mod man;
pub mod memcached;
pub mod nginx;
pub mod node;
pub mod rehearse;
pub mod run;
pub mod server;
pub mod service;
pub mod sessions;
pub mod upgrade;
pub mod verbs;

use std::ffi::OsString;
use std::path::PathBuf;

use tandem_model::Cluster;

use crate::exit::{Failure, Result};

/// Loads and checks a cluster file; `env` answers `${VAR}`.
pub fn load(
    path: &std::path::Path,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<tandem_config::Loaded> {
    tandem_config::load(path, env).map_err(|errors| Failure::usage(format!("\n{errors}")))
}

/// `${VAR}` from the process's environment.
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// As [`environment`], for a rehearsal, which replaces the key: a file whose key is a variable needs none.
pub fn rehearsed_environment(name: &str) -> Option<String> {
    environment(name).or_else(|| {
        name.ends_with("KEY")
            .then(|| "replaced-in-rehearsals".to_owned())
    })
}

/// The one file a command takes.
pub fn one_file(file: &mut Option<PathBuf>, value: OsString) -> Result<()> {
    match file.replace(value.into()) {
        None => Ok(()),
        Some(_) => Err(Failure::usage("one cluster file, please")),
    }
}

/// The file, or a sentence that asks for it.
pub fn needs_file(file: Option<PathBuf>, command: &str) -> Result<PathBuf> {
    file.ok_or_else(|| Failure::usage(format!("which file? `tandem {command} cluster.toml`")))
}

/// Names of the nodes, for messages.
pub fn node_names(cluster: &Cluster) -> String {
    cluster
        .nodes
        .iter()
        .map(|node| node.name.as_str())
        .collect::<Vec<_>>()
        .join(", ")
}
