//! Names of other programs, as names of the cluster file: a-z, 0-9, `-` and `_`, one for each thing.

use std::collections::BTreeMap;

/// The names that were given.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    given: BTreeMap<String, String>,
}

/// Longer names are cut: a rehearsal and the cluster file have limits.
const LONGEST: usize = 24;

impl Names {
    /// The name for a thing, the same for the same thing. `thing` is what it is called there, `wanted` what it would
    /// best be called here.
    pub fn name(&mut self, thing: &str, wanted: &str) -> String {
        if let Some(name) = self.given.get(thing) {
            return name.clone();
        }
        let base = normal(wanted);
        let mut name = base.clone();
        let mut number = 1;
        while self.given.values().any(|given| *given == name) {
            number += 1;
            name = format!("{base}-{number}");
        }
        self.given.insert(thing.to_owned(), name.clone());
        name
    }

    /// The name that a thing has got.
    pub fn known(&self, thing: &str) -> Option<String> {
        self.given.get(thing).cloned()
    }

    /// The names of the things that are called so, and something more.
    pub fn known_under(&self, beginning: &str) -> Vec<String> {
        let all = self.given.iter();
        let under = all.filter(|(thing, _)| thing.starts_with(beginning));
        under.map(|(_, name)| name.clone()).collect()
    }
}

/// The nearest name that is one.
pub(crate) fn normal(wanted: &str) -> String {
    let mut name = String::new();
    for c in wanted.chars().flat_map(char::to_lowercase) {
        if c.is_ascii_lowercase() || c.is_ascii_digit() || (c == '_' && !name.is_empty()) {
            name.push(c);
        } else if !name.is_empty() && !name.ends_with('-') {
            name.push('-');
        }
        if name.len() == LONGEST {
            break;
        }
    }
    let name = name.trim_end_matches(['-', '_']);
    if name.is_empty() {
        "x".into()
    } else {
        name.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_well_and_stay_apart() {
        let mut names = Names::default();
        assert_eq!(names.name("be:App.One", "App.One"), "app-one");
        assert_eq!(names.name("be:app-one", "app-one"), "app-one-2");
        assert_eq!(names.name("be:App.One", "App.One"), "app-one");
        assert_eq!(normal("_~^www\\.x$"), "www-x");
        assert_eq!(normal(":::"), "x");
    }
}
