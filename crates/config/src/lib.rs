//! Front ends: configuration languages into the model.
//!
//! [`load`] reads a cluster file. It is read by a table of keys walking the TOML tree, so that every mistake is told
//! at once, each with its place; the same table makes the [`reference()`] page. [`emit()`] writes a cluster back as a
//! file, and [`check_here`] looks at what a cluster expects of this machine. The binary alone uses this crate: nothing
//! else may know which language a cluster came from, and nothing here listens, runs or serves.

#![forbid(unsafe_code)]

mod check;
mod diagnostics;
mod duration;
mod emit;
mod expand;
mod here;
pub mod import;
mod keys;
mod kinds;
mod lower;
mod reader;
mod reference;
mod shown;
mod span;
mod suggest;
mod table;

use std::io::Read;
use std::path::{Path, PathBuf};

use tandem_model::{Cluster, Secret};
use toml::de::DeTable;

pub use diagnostics::{Diagnostic, Diagnostics, Place};
pub use duration::parse as duration;
pub use emit::emit;
pub use here::{Serving, check_here, nodes_here};
pub use reference::reference;

use crate::keys::file;
use crate::reader::Reader;

/// A cluster file is never longer than this, in bytes: what is longer is another file.
const LONGEST: u64 = 1 << 20;

/// A cluster file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The cluster it describes.
    pub cluster: Cluster,
    /// What is worth knowing about it: what the placement of the session tier means, and warnings.
    pub notes: Vec<String>,
    /// The directory of the file: where programs start that have no `dir`.
    pub base: PathBuf,
    /// It again, with marks in the place of what came from the environment, if anything did.
    marked: Option<Cluster>,
}

/// Reads the cluster file at `path`. `env` is the environment for `${VAR}`.
///
/// Errors: the file cannot be read, everything that is wrong in it, or that it describes nothing.
pub fn load(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, Diagnostics> {
    let name = path.display().to_string();
    let whole = |message: String, hint: Option<&str>| {
        Diagnostics::of_file(&name, message, hint.map(str::to_owned))
    };
    let absolute = std::path::absolute(path)
        .map_err(|error| whole(format!("cannot be read: {error}"), None))?;
    let mut bytes = Vec::new();
    std::fs::File::open(&absolute)
        .and_then(|file| file.take(LONGEST + 1).read_to_end(&mut bytes))
        .map_err(|error| {
            let hint = (error.kind() == std::io::ErrorKind::NotFound)
                .then_some("name the cluster file, or go to its directory");
            whole(format!("cannot be read: {error}"), hint)
        })?;
    if bytes.len() as u64 > LONGEST {
        return Err(whole(
            "is too long for a cluster file: 1 MiB at most".into(),
            None,
        ));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.split(|&b| b == b'\n').count();
        whole(format!("line {line} is not UTF-8 text"), None)
    })?;
    let base = absolute.parent().unwrap_or(Path::new("/"));
    let loaded = parse(&text, &name, base, env)?;
    let Cluster {
        listeners,
        services,
        sessions,
        ..
    } = &loaded.cluster;
    // A file that is being written just now, or was when the disk became full: it must not end what runs.
    if listeners.is_empty() && services.is_empty() && sessions.is_none() {
        return Err(whole(
            "describes nothing: neither a listener nor a site, an app, a backend or sessions"
                .into(),
            Some("is it being written just now, or was the disk full?"),
        ));
    }
    Ok(loaded)
}

/// Reads the text of a cluster file. `name` is its name in messages, `base` the directory that its paths are relative
/// to, and `env` the environment for `${VAR}`.
///
/// Errors: everything that is wrong in it.
pub fn parse(
    text: &str,
    name: &str,
    base: &Path,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Loaded, Diagnostics> {
    let (read, variables) = shown::recorded(env, |env| read(text, name, base, env));
    let cluster = read?;
    let marked = shown::marked(&variables, env, |env| self::read(text, name, base, env));
    Ok(Loaded {
        notes: check::notes(&cluster),
        cluster,
        base: base.to_path_buf(),
        marked,
    })
}

fn read(
    text: &str,
    name: &str,
    base: &Path,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Cluster, Diagnostics> {
    let (tree, errors) = DeTable::parse_recoverable(text);
    let mut reader = Reader::new(text, base, env);
    reader.syntax(errors);
    reader.has_nodes = tree.get_ref().contains_key("nodes");
    let mut draft = file::KEYS.read(&mut reader, 0..0, tree.get_ref()).draft;
    key_file(&mut draft, &mut reader);
    let cluster = lower::lower(&draft);
    // What could not be read may be just what the rest of the file refers to.
    let nodes_known = draft.nodes.is_some() || !reader.has_nodes;
    if !reader.is_broken() && nodes_known {
        check::check(&draft, &cluster, &mut reader);
    }
    let mistakes = reader.into_mistakes();
    if !mistakes.is_empty() {
        return Err(Diagnostics::place(name, text, mistakes));
    }
    Ok(cluster)
}

/// Reads the file that `[cluster] key-file` names.
fn key_file(draft: &mut file::Draft, reader: &mut Reader<'_>) {
    /// Keys are short; a longer file is another one.
    const LONGEST_KEY: u64 = 4096;
    let Some(section) = &mut draft.cluster else {
        return;
    };
    if section.has("key") && section.has("key-file") {
        reader.wrong(
            &section.place("key-file"),
            "`key` and `key-file`: one of them",
        );
        return;
    }
    let Some(path) = &section.draft.key_file else {
        return;
    };
    let mut text = String::new();
    let read = std::fs::File::open(&path.value)
        .and_then(|file| file.take(LONGEST_KEY + 1).read_to_string(&mut text));
    let shown = path.value.display();
    match read {
        Err(error) => reader.wrong(&path.span, format!("{shown} cannot be read: {error}")),
        Ok(_) if text.len() as u64 > LONGEST_KEY => {
            reader.wrong(&path.span, format!("{shown} is too long for a key"));
        }
        Ok(_) if text.trim().is_empty() => reader.wrong_hint(
            &path.span,
            format!("{shown} is empty"),
            Some("`tandem key` makes a key".into()),
        ),
        Ok(_) if !keys::cluster::is_key(text.trim()) => {
            reader.wrong(&path.span, keys::cluster::TOO_SHORT);
        }
        Ok(_) => section.draft.cluster.key = Some(Secret::new(text.trim())),
    }
}
