//! Paths that are as if they began with something else: which location is theirs.

use super::super::document::{Table, Value};
use super::location::{Kind, Location};

/// `rewrite ^/from/(.*)$ /to/$1`: what begins with `from` is as if it began with `to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Moved {
    from: String,
    to: String,
}

impl Moved {
    /// Of an expression and the new path, if they are of that form.
    pub fn read(regex: &str, path: &str) -> Option<Self> {
        let regex = regex.strip_prefix('^')?;
        let regex = regex.strip_suffix('$').unwrap_or(regex);
        Some(Self {
            from: literal(regex.strip_suffix("(.*)")?)?,
            to: path
                .strip_suffix("$1")
                .filter(|to| !to.contains('$'))?
                .to_owned(),
        })
    }

    /// Locations of new paths, with what they are called by paths as they were; `None` where that cannot be said.
    pub fn locations<'a>(&self, all: &[Location<'a>]) -> Option<Vec<Location<'a>>> {
        let mut found = Vec::new();
        // Of those that all new paths begin with the longest one counts.
        let mut always: Option<&Location<'a>> = None;
        for location in all {
            let text = &location.text;
            let moved = match location.kind {
                Kind::Named => continue,
                Kind::Prefix | Kind::Final if self.to.starts_with(text) => {
                    if always.is_none_or(|longest| longest.text.len() < text.len()) {
                        always = Some(location);
                    }
                    continue;
                }
                Kind::Exact | Kind::Prefix | Kind::Final => match text.strip_prefix(&self.to) {
                    Some(rest) => format!("{}{rest}", self.from),
                    None => continue,
                },
                Kind::Regex { .. } if is_suffix(text) && self.to.ends_with('/') => {
                    format!("^{}.*{text}", regex::escape(&self.from))
                }
                Kind::Regex { .. } if !may_lead_to(location, &self.to) => continue,
                Kind::Regex { .. } => return None,
            };
            found.push(Location {
                text: moved,
                ..location.clone()
            });
        }
        found.extend(always.map(|location| Location {
            text: self.from.clone(),
            ..location.clone()
        }));
        Some(found)
    }
}

/// `rewrite ^/static/[0-9a-f]{8}/(.*)$ /$1`: the same of an expression that finds no more than what a path begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MovedBy {
    /// What the path begins with, as an expression without its `^`.
    from: String,
    to: String,
}

impl MovedBy {
    /// Of an expression and the new path, if they are of that form.
    pub fn read(regex: &str, path: &str) -> Option<Self> {
        let regex = regex.strip_prefix('^')?;
        let regex = regex.strip_suffix('$').unwrap_or(regex);
        let from = regex.strip_suffix("(.*)")?;
        // What may be empty, or as long as it likes, would take some of the new path.
        let is_bound = !from.contains(['(', ')', '|', '*', '+', '?', '.', '^', '$', ',']);
        let to = path
            .strip_suffix("$1")
            .filter(|to| to.ends_with('/') && !to.contains('$'))?;
        (is_bound && from.ends_with('/')).then(|| Self {
            from: from.to_owned(),
            to: to.to_owned(),
        })
    }

    /// Locations of new paths as expressions of paths as they were, in the order in which they are asked; `None` where that
    /// cannot be said.
    pub fn locations<'a>(&self, all: &[Location<'a>]) -> Option<Vec<Location<'a>>> {
        let Self { from, to } = self;
        let expression = |location: &Location<'a>, text: String| Location {
            kind: Kind::Regex { fold: false },
            text,
            ..location.clone()
        };
        let (mut exact, mut regexes, mut prefixes) = (Vec::new(), Vec::new(), Vec::new());
        let mut always: Option<&Location<'a>> = None;
        for location in all {
            let text = location.text.as_str();
            match location.kind {
                Kind::Prefix if to.starts_with(text) => {
                    if always.is_none_or(|longest| longest.text.len() < text.len()) {
                        always = Some(location);
                    }
                }
                Kind::Exact | Kind::Prefix => {
                    let Some(rest) = text.strip_prefix(to.as_str()) else {
                        continue;
                    };
                    let rest = regex::escape(rest);
                    if location.kind == Kind::Exact {
                        exact.push(expression(location, format!("^{from}{rest}$")));
                    } else {
                        prefixes.push((text.len(), expression(location, format!("^{from}{rest}"))));
                    }
                }
                Kind::Regex { fold: false } => {
                    let rest = text
                        .strip_prefix('^')
                        .and_then(|rest| rest.strip_prefix(to.as_str()));
                    let is_more = |rest: &str| rest.starts_with(['?', '*', '+', '{']);
                    match rest.filter(|rest| !rest.contains('|') && !is_more(rest)) {
                        Some(rest) => regexes.push(expression(location, format!("^{from}{rest}"))),
                        None if is_suffix(text) => {
                            regexes.push(expression(location, format!("^{from}.*{text}")));
                        }
                        None if may_lead_to(location, to) => return None,
                        None => {}
                    }
                }
                Kind::Named => {}
                // They go before expressions, others behind them.
                Kind::Final | Kind::Regex { fold: true } => return None,
            }
        }
        prefixes.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
        let prefixes = prefixes.into_iter().map(|(_, location)| location);
        let always = always.map(|location| expression(location, format!("^{from}")));
        Some(
            [exact, regexes]
                .concat()
                .into_iter()
                .chain(prefixes)
                .chain(always)
                .collect(),
        )
    }
}

/// Whether a path that begins with `literal`, and goes on nobody knows how, may be for this location though `literal` by
/// itself is not.
pub(crate) fn may_lead_to(location: &Location<'_>, literal: &str) -> bool {
    match location.kind {
        Kind::Named => false,
        Kind::Exact => location.text.starts_with(literal),
        Kind::Prefix | Kind::Final => {
            location.text.len() > literal.len() && location.text.starts_with(literal)
        }
        Kind::Regex { fold } => {
            let Some(text) = location.text.strip_prefix('^').filter(|_| !fold) else {
                return true;
            };
            if text.contains('|') {
                return true;
            }
            // What the expression begins with, up to what may be more than one character, or none.
            let plain = text
                .find(|c: char| !(c.is_ascii_alphanumeric() || "/_-".contains(c)))
                .map_or(text, |at| &text[..at.saturating_sub(1)]);
            plain.starts_with(literal) || literal.starts_with(plain)
        }
    }
}

/// What an expression without anything to choose from finds.
fn literal(regex: &str) -> Option<String> {
    let mut found = String::new();
    let mut chars = regex.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => found.push(chars.next().filter(char::is_ascii_punctuation)?),
            '.' | '*' | '+' | '?' | '(' | ')' | '[' | ']' | '{' | '}' | '|' | '^' | '$' => {
                return None;
            }
            c => found.push(c),
        }
    }
    Some(found)
}

/// `\.php$`, `\.(jpg|png)$`: the end of a path, of which no slash is a part.
fn is_suffix(regex: &str) -> bool {
    let Some(name) = regex
        .strip_prefix("\\.")
        .and_then(|rest| rest.strip_suffix('$'))
    else {
        return false;
    };
    let name = name
        .strip_prefix('(')
        .and_then(|n| n.strip_suffix(')'))
        .unwrap_or(name);
    let name = name.strip_prefix("?:").unwrap_or(name);
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '|')
}

/// Whether a route changes the path.
pub(crate) fn changes_path(table: &Table) -> bool {
    any(table, &|table| table.has("rewrite") || table.has("strip"))
}

/// Whether a route asks what the path is.
pub(crate) fn looks_at_path(table: &Table) -> bool {
    asks(table, &["path"])
}

/// Whether a route has one of these conditions.
pub(crate) fn asks(table: &Table, conditions: &[&str]) -> bool {
    any(table, &|table| {
        conditions.iter().any(|condition| {
            let in_not = matches!(table.get("not"), Some(Value::Table(not)) if not.has(condition));
            table.has(condition) || in_not
        })
    })
}

/// Whether what an expression has found is a part of the answer.
pub(crate) fn asks_finds(table: &Table) -> bool {
    any(table, &|table| {
        let finds = |text: &str| (1..=9).any(|n| text.contains(&format!("{{{n}}}")));
        contents(table).any(finds)
    })
}

/// A variable of the path, or of the query where that changes, in what a route sends or says: there it is that of the path
/// that came.
pub(crate) fn asks_old_path(table: &Table, has_query: bool) -> Option<&'static str> {
    let names = [
        ("{normal-path}", "$uri"),
        ("{query}", "$args"),
        ("{?query}", "$args"),
        ("{arg:", "$arg_NAME"),
    ];
    let names = if has_query { &names[..] } else { &names[..1] };
    let has = |name: &str| {
        any(table, &|table| {
            let headers = table
                .get("headers")
                .is_some_and(|value| has_text(value, name));
            headers || contents(table).any(|text| text.contains(name))
        })
    };
    names
        .iter()
        .find_map(|(name, shown)| has(name).then_some(*shown))
}

/// The content that a route answers with, if that is filled in.
fn contents(table: &Table) -> impl Iterator<Item = &str> {
    let respond = match table.get("respond") {
        Some(Value::Table(respond)) => respond.get("template"),
        _ => None,
    };
    respond.into_iter().filter_map(|value| match value {
        Value::Text(text) => Some(text.as_str()),
        _ => None,
    })
}

/// Whether a text within has this in it.
fn has_text(value: &Value, wanted: &str) -> bool {
    match value {
        Value::Text(text) => text.contains(wanted),
        Value::Plain(_) => false,
        Value::List(list) | Value::Array(list) => list.iter().any(|one| has_text(one, wanted)),
        Value::Table(table) => table.0.iter().any(|(_, one)| has_text(one, wanted)),
        Value::Routes(routes) => (routes.iter())
            .flat_map(|route| &route.table.0)
            .any(|(_, one)| has_text(one, wanted)),
    }
}

/// Whether it holds for a route, or for one of those within.
fn any(table: &Table, holds: &dyn Fn(&Table) -> bool) -> bool {
    holds(table)
        || matches!(table.get("route"), Some(Value::Routes(routes)) if routes.iter().any(|route| any(&route.table, holds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stays_the_same_at_its_end_is_moved() {
        let moved = |regex, path| Moved::read(regex, path).map(|moved| (moved.from, moved.to));
        let both = |from: &str, to: &str| Some((from.to_owned(), to.to_owned()));
        assert_eq!(moved("^/v1/(.*)$", "/$1"), both("/v1/", "/"));
        assert_eq!(moved("^/v1(.*)", "/x/$1"), both("/v1", "/x/"));
        assert_eq!(moved(r"^/a\.b/(.*)$", "/$1"), both("/a.b/", "/"));
        for (regex, path) in [
            ("/v1/(.*)$", "/$1"),
            ("^/v1/(.*)/x$", "/$1"),
            ("^/v1/(.+)$", "/$1"),
            ("^/(..)/(.*)$", "/$2"),
            ("^/v./(.*)$", "/$1"),
            ("^/v1/(.*)$", "/$1/x"),
            ("^/v1/(.*)$", "/$host/$1"),
            (r"^/\d/(.*)$", "/$1"),
        ] {
            assert_eq!(moved(regex, path), None, "{regex} {path}");
        }
    }

    #[test]
    fn what_an_expression_of_one_length_finds_is_moved() {
        let moved = |regex, path| MovedBy::read(regex, path).map(|moved| (moved.from, moved.to));
        let jenkins = ("/static/[0-9a-fA-F]{8}\\/".to_owned(), "/".to_owned());
        assert_eq!(
            moved(r"^/static/[0-9a-fA-F]{8}\/(.*)", "/$1"),
            Some(jenkins)
        );
        for (regex, path) in [
            ("^/v[0-9]+/(.*)$", "/$1"),
            ("^/v[0-9]{1,}/(.*)$", "/$1"),
            ("^/v./(.*)$", "/$1"),
            ("^/(a|b)/(.*)$", "/$2"),
            ("^/v[0-9]/(.*)$", "/x$1"),
            ("^/v[0-9](.*)$", "/$1"),
            ("/v[0-9]/(.*)$", "/$1"),
        ] {
            assert_eq!(moved(regex, path), None, "{regex} {path}");
        }
    }

    #[test]
    fn only_the_end_of_a_name_is_a_suffix() {
        for suffix in [r"\.php$", r"\.(jpg|png)$", r"\.(?:a|b)$"] {
            assert!(is_suffix(suffix), "{suffix}");
        }
        for other in [
            r"\.php",
            r"x\.php$",
            r"\.(jpg|p.g)$",
            r"\./x$",
            r"\.$",
            "^/a$",
        ] {
            assert!(!is_suffix(other), "{other}");
        }
    }
}
