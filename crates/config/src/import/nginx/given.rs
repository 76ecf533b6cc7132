//! `set`: what variables are at a place, as far as that is known before a request.
//!
//! nginx carries rewrite directives out in their order, those of a location after those of its server, and a variable is what
//! it was set to last. Here it is followed in the same order: what is fixed is filled in, and what an `if` sets is one of
//! several values, by that condition.

use std::collections::{BTreeMap, BTreeSet};

use super::super::logic::Either;
use super::super::sources::Spot;
use super::Translator;
use super::chosen::{Chosen, Entry, many};
use super::content::Here;
use super::location::Location;
use super::referers;
use super::tree::Directive;
use super::variables::{self, Piece, is_built_in};

/// Values of one variable, at most.
const MOST: usize = 64;

/// Variables that are set.
#[derive(Clone, Debug, Default)]
pub(crate) struct Given {
    /// What they are here.
    pub here: BTreeMap<String, Chosen>,
    /// What they were when the server's own directives were done.
    of_server: BTreeMap<String, Chosen>,
    /// Those that the place itself has set, whatever the request is.
    own: BTreeSet<String>,
    /// The location this is.
    at: Option<Spot>,
    /// Those that are set somewhere in the file.
    names: BTreeSet<String>,
    /// Locations that set one, and may lead to others, where it stays set.
    carried: Vec<(String, Spot)>,
}

impl Given {
    /// Before the directives of a server.
    pub fn begin(&mut self, locations: &[Location<'_>], has_error_pages: bool) {
        self.here.clear();
        self.of_server.clear();
        self.own.clear();
        self.at = None;
        self.carried.clear();
        carried(locations, has_error_pages, &mut self.carried);
    }

    /// After them.
    pub fn end_of_server(&mut self) {
        self.of_server = self.here.clone();
        self.own.clear();
    }

    /// Within a location, or where the server has none; what is to be put back after it.
    pub fn enter(&mut self, location: Option<Spot>) -> Self {
        let before = self.clone();
        self.here = self.of_server.clone();
        self.own.clear();
        self.at = location;
        before
    }

    /// These are set somewhere, too.
    pub fn name(&mut self, names: impl Iterator<Item = String>) {
        self.names.extend(names);
    }

    /// The names of all that a file sets.
    pub fn name_all(&mut self, tree: &[Directive]) {
        // Where no referers are named none is wrong.
        self.names.insert(referers::INVALID.to_owned());
        for directive in tree {
            if directive.is("set") {
                self.names
                    .insert(directive.arg(0).trim_start_matches('$').to_owned());
            }
            self.name_all(directive.inner());
        }
    }

    /// What a variable is; `None` where it is none of these, or where that is not known.
    pub fn get(&self, name: &str) -> Option<Chosen> {
        let elsewhere = |(carried, at): &(String, Spot)| carried == name && Some(*at) != self.at;
        if !self.own.contains(name) && self.carried.iter().any(elsewhere) {
            return None;
        }
        match self.here.get(name) {
            Some(chosen) => Some(chosen.clone()),
            // What nothing has set is empty.
            None if self.names.contains(name) => Some(Chosen::fixed("")),
            None => None,
        }
    }

    /// What an `if` has set holds where it does; else what was before.
    pub fn merge(&mut self, inner: &Self, when: &Either) -> Result<(), String> {
        for (name, within) in &inner.here {
            let before = self.here.get(name).cloned();
            let before = before.unwrap_or_else(|| Chosen::fixed(""));
            if before == *within {
                continue;
            }
            let mut entries = Vec::new();
            let always = Entry::new(Either::always(), within.default.clone());
            for entry in within.entries.iter().chain([&always]) {
                let when = when.clone().and(&entry.when).map_err(many)?;
                entries.push(Entry::new(when, entry.value.clone()));
            }
            entries.extend(before.entries);
            if entries.len() > MOST {
                return Err(format!("${name} has too many values: {MOST} at most"));
            }
            let default = before.default;
            self.here.insert(name.clone(), Chosen { entries, default });
        }
        Ok(())
    }
}

/// Variables that locations set which may lead to others: within nginx's request they stay what they are.
fn carried(list: &[Location<'_>], has_error_pages: bool, found: &mut Vec<(String, Spot)>) {
    for location in list {
        let all = location.directive.inner();
        let leads = |name: &str| has(all, name);
        let stays = leads("proxy_pass") || all.iter().any(|d| d.is("return"));
        let may_lead = has_error_pages
            || !stays
            || ["rewrite", "try_files", "error_page", "index"]
                .into_iter()
                .any(leads);
        if may_lead {
            let mut names = Vec::new();
            sets(all, &mut names);
            found.extend(
                names
                    .into_iter()
                    .map(|name| (name, location.directive.spot)),
            );
        }
        carried(&location.children, has_error_pages, found);
    }
}

/// Whether a directive stands in a list, or in an `if` of it.
fn has(list: &[Directive], name: &str) -> bool {
    list.iter()
        .any(|d| d.is(name) || d.is("if") && has(d.inner(), name))
}

fn sets(list: &[Directive], names: &mut Vec<String>) {
    for directive in list {
        if directive.is("set") {
            names.push(directive.arg(0).trim_start_matches('$').to_owned());
        } else if directive.is("if") {
            sets(directive.inner(), names);
        }
    }
}

impl Translator<'_> {
    /// What `valid_referers` says here.
    pub fn refer(&mut self, here: Here<'_, '_>) {
        let Some(set) = &here.scope.referers else {
            return;
        };
        match referers::invalid(&set.value, here) {
            Ok(chosen) => {
                self.given.here.insert(referers::INVALID.to_owned(), chosen);
            }
            Err(message) => self.verdicts.refuse(set.spot, set.spot, message),
        }
    }

    /// What is done at another place: what is set here is not set there.
    pub fn elsewhere<T>(&mut self, at: Option<Spot>, make: impl FnOnce(&mut Self) -> T) -> T {
        let given = self.given.enter(at);
        let bound = self.bound.clone();
        let made = &self.made;
        self.bound.retain(|name, _| made.has(name));
        let done = make(self);
        (self.given, self.bound) = (given, bound);
        done
    }

    /// `set $name value;`
    pub fn set(&mut self, directive: &Directive) {
        let spot = directive.spot;
        self.verdicts.translated(spot);
        let name = directive.arg(0);
        let Some(name) = name.strip_prefix('$').filter(|name| !name.is_empty()) else {
            let message = format!("invalid variable name \"{name}\"");
            return self.verdicts.refuse(spot, directive.at(0), message);
        };
        if is_built_in(name) || self.made.has(name) {
            let message = format!("${name} is what it is: set another variable");
            return self.verdicts.refuse(spot, directive.at(0), message);
        }
        match self.values_of(directive.arg(1)) {
            Ok(chosen) => {
                self.bound.remove(name);
                self.given.own.insert(name.to_owned());
                self.given.here.insert(name.to_owned(), chosen);
            }
            Err(message) => self.verdicts.refuse(spot, directive.at(1), message),
        }
    }

    /// What a text is, by what is set here.
    fn values_of(&self, text: &str) -> Result<Chosen, String> {
        let text = self.known(text);
        let pieces = variables::pieces(&text)?;
        let mut names = pieces.iter().filter_map(Piece::name);
        if names
            .clone()
            .any(|name| name.starts_with(|c: char| c.is_ascii_digit()))
        {
            return Err("what an expression has found is not kept in a variable".into());
        }
        let several = names.find(|name| {
            let chosen = self.given.get(name);
            chosen.is_some_and(|chosen| !chosen.entries.is_empty())
        });
        let Some(name) = several else {
            return Ok(Chosen::fixed(&text));
        };
        let of = self.given.get(name).unwrap_or_else(|| Chosen::fixed(""));
        let mut all = Vec::new();
        let always = Entry::new(Either::always(), of.default.clone());
        for entry in of.entries.iter().chain([&always]) {
            let filled =
                variables::replaced(&text, &|found| (found == name).then(|| entry.value.clone()));
            let within = self.values_of(&filled)?;
            let rest = Entry::new(Either::always(), within.default);
            for inner in within.entries.into_iter().chain([rest]) {
                let when = entry.when.clone().and(&inner.when).map_err(many)?;
                all.push(Entry::new(when, inner.value));
            }
            if all.len() > MOST {
                return Err(format!("it has too many values: {MOST} at most"));
            }
        }
        let default = all.pop().map(|last| last.value).unwrap_or_default();
        Ok(Chosen {
            entries: all,
            default,
        })
    }

    /// A text with all that is fixed here filled in.
    pub fn known(&self, text: &str) -> String {
        let value = |name: &str| {
            if let Some(value) = self.bound.get(name) {
                return Some(value.clone());
            }
            let chosen = self.given.get(name)?;
            chosen.entries.is_empty().then_some(chosen.default)
        };
        let mut text = text.to_owned();
        // A value of a `map` may have variables of its own.
        for _ in 0..8 {
            let filled = variables::replaced(&text, &value);
            if filled == text {
                break;
            }
            text = filled;
        }
        text
    }
}

/// Directives that have the value of a variable in them as it is in the end, and are read before it is followed.
const READ_EARLY: [&str; 10] = [
    "root",
    "alias",
    "try_files",
    "access_log",
    "auth_basic",
    "auth_basic_user_file",
    "proxy_redirect",
    "proxy_cookie_path",
    "proxy_cookie_domain",
    "error_page",
];

/// Fills in variables that a server sets once and for all, in what is read before others are followed.
pub(crate) fn fill(tree: &mut [Directive]) {
    for http in tree.iter_mut().filter(|d| d.is("http")) {
        let servers = http.block.iter_mut().flatten().filter(|d| d.is("server"));
        for server in servers {
            let list = server.block.as_deref_mut().unwrap_or_default();
            let mut names = Vec::new();
            all_sets(list, &mut names);
            let mut fixed: BTreeMap<String, String> = BTreeMap::new();
            for directive in list.iter().filter(|d| d.is("set")) {
                let name = directive.arg(0).trim_start_matches('$');
                let value = variables::replaced(directive.arg(1), &|name| fixed.get(name).cloned());
                if names.iter().filter(|other| *other == name).count() == 1 && !value.contains('$')
                {
                    fixed.insert(name.to_owned(), value);
                }
            }
            if !fixed.is_empty() {
                fill_in(list, &fixed);
            }
        }
    }
}

fn all_sets(list: &[Directive], names: &mut Vec<String>) {
    for directive in list {
        if directive.is("set") {
            names.push(directive.arg(0).trim_start_matches('$').to_owned());
        }
        all_sets(directive.inner(), names);
    }
}

fn fill_in(list: &mut [Directive], fixed: &BTreeMap<String, String>) {
    for directive in list {
        if READ_EARLY.contains(&&*directive.name.text) {
            for word in &mut directive.args {
                word.text = variables::replaced(&word.text, &|name| fixed.get(name).cloned());
            }
        }
        fill_in(directive.block.as_deref_mut().unwrap_or_default(), fixed);
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::Verdict;
    use super::super::tests::{are_refused, imported, said};

    #[test]
    fn what_is_not_known_of_a_variable_is_refused() {
        let server = |lines: &str| format!("server {{ listen 81; root /srv; {lines} }}");
        let api = "proxy_pass http://127.0.0.1:82;";
        are_refused(&[
            (&server("set x 1;"), "invalid variable name"),
            (&server("set $args a=b;"), "$args is what it is"),
            (&server("set $http_x a;"), "$http_x is what it is"),
            (
                &server("location ~ ^/(a) { set $x $1; return 200 $x; }"),
                "is not kept in a variable",
            ),
            (
                &server("if ($uri ~ ^/(a)) { set $x $1; } return 200 $x;"),
                "is not kept in a variable",
            ),
            (&server("set $x $nobody; return 200 $x;"), "$nobody cannot"),
            (
                &server("set $x $host; if ($x = a) { return 403; }"),
                "\"$host\" is worked out for each request",
            ),
            (
                &server("if ($arg_a = $arg_b) { return 403; }"),
                "worked out for each request",
            ),
            // Set, and passed on by way of another location.
            (
                &server(&format!(
                    "location /a {{ set $x 1; rewrite ^ /b last; }} location /b {{ proxy_set_header X-A $x; {api} }}"
                )),
                "$x cannot",
            ),
            (
                &server(&format!(
                    "location / {{ set $x 1; try_files $uri @b; }} location @b {{ proxy_set_header X-A $x; {api} }}"
                )),
                "$x cannot",
            ),
            (
                &server(
                    "if ($arg_a) { set $x 1; rewrite ^ /y last; } location /y { return 200 $x; }",
                ),
                "sets variables, or it does something",
            ),
            (
                &server(&format!(
                    "location / {{ if ($arg_a) {{ {api} }} set $x 1; proxy_set_header X-A $x; {api} }}"
                )),
                "set it first",
            ),
        ]);
    }

    #[test]
    fn what_a_server_sets_once_is_its_root_too() {
        let made = imported("server { listen 81; set $base /srv; set $at $base/www; root $at/a; }");
        assert_eq!(said(&made, Verdict::Refused), [""; 0]);
        assert!(made.text.contains("\"/srv/www/a\""), "{}", made.text);
        are_refused(&[(
            "server { listen 81; set $base /srv; root $base; location /a { set $base /b; } }",
            "not worked out for each request",
        )]);
    }
}
