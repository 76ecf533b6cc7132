//! Files: what `root`, `alias`, `index` and their like make of a place.

use std::collections::BTreeMap;
use std::path::Path;

use super::super::document::{Section, Table, Value};
use super::super::names::normal;
use super::super::sources::Spot;
use super::location::{self, Kind, Location};
use super::scope::{Alias, Expires, Scope, YEAR};
use super::{Server, Site, Translator};
use crate::duration;

/// What a place says of files beside its settings.
#[derive(Clone, Debug, Default)]
pub(crate) struct Files {
    /// Directories are nothing.
    pub flat: bool,
    /// What is looked for behind a path that is no file.
    pub suffixes: Vec<String>,
    /// The file that is sent where there is none, below the root.
    pub fallback: Option<String>,
    /// The page of counters.
    pub status: Option<String>,
    /// What answers where there is no file is not to be kept as long as files are.
    pub falls_back: bool,
    /// Pages for errors, below the root.
    pub errors: BTreeMap<u16, String>,
    /// A regular expression whose files are elsewhere: the directory.
    pub root: Option<String>,
}

impl Translator<'_> {
    /// The site for a place, by its name; `None` where its directory is not there, and the file is to be run at once.
    pub fn site(
        &mut self,
        scope: &Scope,
        location: Option<&Location<'_>>,
        server: &Server<'_>,
        files: Files,
        spot: Spot,
    ) -> Option<String> {
        let mut table = Table::default();
        let usual = self.path("html");
        let root = scope.root.as_ref().map(|set| self.path(&set.value));
        let mut alias = None;
        if let Some(location) = location
            && let Some(set) = &scope.alias
            && files.root.is_none()
        {
            self.verdicts.translated(set.spot);
            let Alias { at, directory } = &set.value;
            match at {
                Some(at) => alias = Some((at.clone(), directory.clone())),
                None => {
                    let message = format!(
                        "the files of `{}` are those of an expression's `alias` around it, which is not translated: give it one of \
                         its own, or a `root`",
                        location.directive.shown()
                    );
                    self.verdicts.refuse(set.spot, spot, message);
                }
            }
        }
        let root = match (&files.root, root, &alias) {
            (Some(root), ..) => root.clone(),
            (None, Some(root), _) => root,
            (None, None, Some((_, directory))) => directory.clone(),
            (None, None, None) => usual,
        };
        let directory = alias.as_ref().map_or(&root, |(_, directory)| directory);
        let mut root = root.clone();
        if is_missing(directory) {
            let said = scope.root.as_ref().map_or(spot, |set| set.spot);
            let said = if alias.is_some() { spot } else { said };
            if !self.options.direct {
                if Path::new(directory).is_absolute() {
                    let message =
                        format!("{directory} is not here: where it is not either, no site starts");
                    self.verdicts.note(said, message);
                }
            } else if files.status.is_none() {
                let message = format!(
                    "{directory} is not here: requests are answered 404 until a reload finds it"
                );
                self.verdicts.note(said, message);
                return None;
            } else if location.is_some_and(|l| l.kind == Kind::Exact) {
                // Nothing but the page of counters is asked for.
                "/".clone_into(&mut root);
            } else {
                let message = "the page of counters has one path: `location = /...`, or a `root` that is there";
                self.verdicts.refuse(spot, spot, message);
            }
        } else if alias.is_some() && is_missing(&root) {
            // All paths are below the other one.
            root.clone_from(directory);
        }
        table.put("root", Value::text(trimmed(&root)));
        if let Some((at, directory)) = alias {
            let at = at.trim_end_matches('/');
            let at = if at.is_empty() { "/" } else { at };
            let aliases = Table::default().with(at, Value::text(trimmed(&directory)));
            table.put("aliases", Value::Table(aliases));
        }
        if files.flat {
            table.put("directories", Value::plain(false));
        } else if let Some(index) = &scope.index {
            let names: Vec<&String> = index
                .value
                .iter()
                .filter(|name| !name.contains('$'))
                .collect();
            let elsewhere = |name: &&String| name.starts_with('/');
            for name in index.value.iter().filter(elsewhere) {
                let path = name.split('$').next().unwrap_or(name);
                let next = location::choose(&server.locations, path);
                if let Some(next) = next.filter(|next| next.passes_on()) {
                    let message = format!(
                        "\"{name}\" has `{}` answer for a directory without another index, and that would be 403 here: leave it out, \
                         and say in `try_files` who answers where there is no file",
                        next.directive.shown()
                    );
                    self.verdicts.refuse(index.spot, index.spot, message);
                }
            }
            if names.len() < index.value.len() || names.iter().any(|name| name.starts_with('/')) {
                self.verdicts.note(
                    index.spot,
                    "names with variables, and paths, are left out of the index",
                );
            }
            let (scripts, names): (Vec<&String>, Vec<&String>) = names
                .into_iter()
                .filter(|name| !name.starts_with('/'))
                .partition(|name| is_passed_on(&server.locations, name));
            let is_run = location.is_none_or(|l| !matches!(l.kind, Kind::Regex { .. }));
            if let (false, Some(name)) = (is_run, scripts.first()) {
                let message = format!(
                    "`{name}` is not sent as the index of a directory here: it belongs to another location"
                );
                self.verdicts.note(index.spot, message);
            }
            let names: Vec<String> = names.into_iter().cloned().collect();
            if names != ["index.html"] {
                table.put("index", Value::texts(names));
            }
        }
        if !files.suffixes.is_empty() {
            table.put("suffixes", Value::texts(files.suffixes));
        }
        if let Some(fallback) = files.fallback {
            table.put("fallback", Value::text(fallback));
        }
        if !files.flat && scope.autoindex.as_ref().is_some_and(|set| set.value) {
            table.put("listing", Value::plain(true));
        }
        self.types(scope, server.directive.spot, &mut table);
        if let Some(set) = &scope.expires {
            let time = match set.value {
                // Said by the route.
                Expires::Off | Expires::Never => None,
                Expires::For(time) if time > YEAR && files.falls_back => {
                    let message = "files may be kept for 366 days: only so is it not said of what answers where there is none";
                    self.verdicts.note(set.spot, message);
                    Some(duration::show(YEAR))
                }
                Expires::For(time) if time.is_zero() || time > YEAR => None,
                Expires::For(time) => Some(duration::show(time)),
            };
            if let Some(time) = time {
                let expires = Table::default().with("*", Value::Text(time));
                table.put("expires", Value::Table(expires));
            }
        }
        if scope.gzip_static.as_ref().is_some_and(|set| set.value) {
            table.put("precompressed", Value::text("gzip"));
        }
        if scope.gzip.as_ref().is_some_and(|set| set.value) {
            table.put("compress", Value::plain(true));
        }
        if let Some(status) = files.status {
            table.put("status", Value::Text(status));
        }
        access(scope, &mut table);
        if !files.errors.is_empty() {
            let mut errors = Table::default();
            for (status, file) in &files.errors {
                errors.put(&status.to_string(), Value::text(file));
            }
            table.put("errors", Value::Table(errors));
        }
        if self.options.direct {
            // nginx hides no names.
            table.put("hidden", Value::plain(true));
        }
        if let Some(same) = self.sites.iter().find(|site| site.table == table) {
            return Some(same.name.clone());
        }
        // The first is what a server is about; others are for single locations.
        let host = server.names.iter().map(|(name, _)| name.as_str());
        let host = host.into_iter().find(|name| {
            !name.is_empty() && *name != "_" && !name.starts_with('~') && *name != "localhost"
        });
        let base = host.map_or("www", |host| {
            host.trim_start_matches("www.")
                .split('.')
                .next()
                .unwrap_or("www")
        });
        let own = location.filter(|l| l.text != "/" && !matches!(l.kind, Kind::Regex { .. }));
        let wanted = match own {
            Some(location) => format!("{base}-{}", normal(&location.text)),
            None => base.to_owned(),
        };
        let name = self
            .services
            .name(&format!("site/{}", self.sites.len()), &wanted);
        let mut section = Section::named("site", &name, Some(spot));
        section.comment = location.map_or_else(|| "server".to_owned(), |l| l.directive.shown());
        section.table = table.clone();
        self.sites.push(Site {
            name: name.clone(),
            table,
            section,
        });
        Some(name)
    }

    /// A path of the file, which is relative to the prefix.
    pub fn path(&self, path: &str) -> String {
        if path.starts_with('/') || self.prefix.is_empty() {
            path.to_owned()
        } else {
            format!("{}/{path}", self.prefix.trim_end_matches('/'))
        }
    }
}

/// Whether files of this name are handed to a program, in some directory: then none of them may be sent as it is.
fn is_passed_on(locations: &[Location<'_>], name: &str) -> bool {
    locations.iter().any(|location| {
        let is_meant = match location.kind {
            Kind::Regex { fold } => regex::RegexBuilder::new(&location.text)
                .case_insensitive(fold)
                .build()
                .is_ok_and(|regex| regex.is_match(&format!("/{name}"))),
            Kind::Exact => location.text.rsplit('/').next() == Some(name),
            Kind::Prefix | Kind::Final | Kind::Named => false,
        };
        is_meant && location.passes_on() || is_passed_on(&location.children, name)
    })
}

/// Whether there is no such directory.
fn is_missing(directory: &str) -> bool {
    match std::fs::metadata(directory) {
        Ok(found) => !found.is_dir(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

/// Without the slash at its end.
fn trimmed(path: &str) -> &str {
    let short = path.trim_end_matches('/');
    if short.is_empty() { "/" } else { short }
}

/// `allow` and `deny`, in the simplest form that says the same.
fn access(scope: &Scope, table: &mut Table) {
    let rules = &scope.access;
    let Some((last, before)) = rules.split_last() else {
        return;
    };
    let list = |allow: bool| {
        let found = rules
            .iter()
            .filter(|rule| rule.allow == allow && rule.network != "all");
        Value::texts(found.map(|rule| rule.network.clone()))
    };
    if last.network == "all"
        && !last.allow
        && !before.is_empty()
        && before
            .iter()
            .all(|rule| rule.allow && rule.network != "all")
    {
        table.put("allow", list(true));
    } else if rules
        .iter()
        .all(|rule| !rule.allow && rule.network != "all")
        || (last.network == "all"
            && last.allow
            && before
                .iter()
                .all(|rule| !rule.allow && rule.network != "all"))
    {
        if !before.is_empty() || last.network != "all" {
            table.put("deny", list(false));
        }
    } else {
        let rules = rules.iter().map(|rule| {
            let key = if rule.allow { "allow" } else { "deny" };
            Value::Table(Table::default().with(key, Value::text(&rule.network)))
        });
        table.put("access", Value::Array(rules.collect()));
    }
}
