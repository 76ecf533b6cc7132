//! Conditions as alternatives of what must hold together, and from there to conditions of routes.
//!
//! A cluster file's route asks one list for each subject (host, path, a header); what does not fit into one level is
//! asked by nested routes.

use super::document::{Route, Table, Value};
use super::sources::Spot;
use crate::keys::conditions::{encoding, expression};

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    Host,
    Path,
    Method,
    Header(String),
    Query(String),
    Cookie(String),
    Source,
    Sni,
    /// The common name of the client's certificate.
    ClientCert,
    /// How often a client asks. No condition of routes does: rules that ask it become something else.
    Excess(Excess),
    /// The status of the answer. Likewise.
    Status,
    /// A field of the answer. Likewise.
    Answered(String),
    /// Whether the client is one of a list, by its password. Likewise.
    Users(String),
}

/// A client asked more often than this, in the time in which it is counted, or has more connections.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Excess {
    pub of: Measured,
    pub by: Counted,
    pub most: u32,
}

/// What is counted of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Measured {
    /// Requests in a time.
    Requests,
    /// Those that are answered with an error.
    Errors,
    /// Connections at once.
    Connections,
    /// Connections in a time.
    Connects,
}

/// Where it is counted how often a client asks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Counted {
    /// By a counter that another rule sets.
    Tracked(u8),
    /// By its address, in the table of this section or of the one named.
    Source(Option<String>),
}

/// One question: whether one of the patterns matches, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Literal {
    pub subject: Subject,
    pub patterns: Vec<String>,
    /// Without regard to case; paths only.
    pub fold: bool,
    pub not: bool,
}

/// What must hold together.
pub(crate) type Together = Vec<Literal>;

/// Alternatives: none never holds, an empty one always.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Either(pub Vec<Together>);

/// More alternatives than this are refused: no file that people write has so many.
const MOST: usize = 256;

/// There were too many alternatives.
#[derive(Debug)]
pub(crate) struct TooMany;

impl Either {
    pub fn always() -> Self {
        Self(vec![Vec::new()])
    }

    pub fn never() -> Self {
        Self(Vec::new())
    }

    pub fn of(literal: Literal) -> Self {
        Self(vec![vec![literal]])
    }

    pub fn constant(holds: bool) -> Self {
        if holds { Self::always() } else { Self::never() }
    }

    pub fn or(mut self, other: Self) -> Result<Self, TooMany> {
        for together in other.0 {
            self.push(together);
        }
        self.bounded()
    }

    pub fn and(self, other: &Self) -> Result<Self, TooMany> {
        let mut all = Self::never();
        for a in &self.0 {
            for b in &other.0 {
                if all.0.len() > MOST {
                    return Err(TooMany);
                }
                let mut together = a.clone();
                for literal in b {
                    if !together.contains(literal) {
                        together.push(literal.clone());
                    }
                }
                all.push(together);
            }
        }
        all.bounded()
    }

    pub fn negated(self) -> Result<Self, TooMany> {
        let mut all = Self::always();
        for together in self.0 {
            let mut any = Self::never();
            for mut literal in together {
                literal.not = !literal.not;
                any.push(vec![literal]);
            }
            all = all.and(&any)?;
        }
        Ok(all)
    }

    /// Adds an alternative; one that asks the same subject as the last becomes one list with it.
    fn push(&mut self, together: Together) {
        if let ([new], Some(last)) = (&together[..], self.0.last_mut())
            && let [old] = &mut last[..]
            && !old.not
            && !new.not
            && old.subject == new.subject
            && old.fold == new.fold
            && !old.patterns.iter().chain(&new.patterns).any(|p| p == "*")
        {
            for pattern in &new.patterns {
                if !old.patterns.contains(pattern) {
                    old.patterns.push(pattern.clone());
                }
            }
            return;
        }
        self.0.push(together);
    }

    fn bounded(self) -> Result<Self, TooMany> {
        if self.0.len() > MOST {
            Err(TooMany)
        } else {
            Ok(self)
        }
    }
}

/// The conditions of one route.
#[derive(Default)]
struct Level {
    asked: Vec<(Subject, Vec<String>)>,
    not: Vec<(Subject, Vec<String>)>,
    /// How paths are compared, once one is.
    fold: Option<bool>,
}

impl Level {
    /// Takes a question if it fits.
    fn take(&mut self, literal: &Literal) -> bool {
        if literal.subject == Subject::Path && self.fold.is_some_and(|fold| fold != literal.fold) {
            return false;
        }
        let list = if literal.not {
            &mut self.not
        } else {
            &mut self.asked
        };
        if let Some((_, patterns)) = list.iter_mut().find(|(s, _)| *s == literal.subject) {
            if !literal.not {
                return false;
            }
            // None of one and none of the other is none of both.
            if literal
                .patterns
                .iter()
                .chain(patterns.iter())
                .any(|p| p == "*")
            {
                return false;
            }
            patterns.extend(literal.patterns.iter().cloned());
        } else {
            list.push((literal.subject.clone(), literal.patterns.clone()));
        }
        if literal.subject == Subject::Path {
            self.fold = Some(literal.fold);
        }
        true
    }

    fn table(self) -> Table {
        let mut table = conditions(self.asked);
        if self.fold == Some(true) {
            table.put("ignore-case", Value::plain(true));
        }
        if !self.not.is_empty() {
            table.put("not", Value::Table(conditions(self.not)));
        }
        table
    }
}

fn conditions(asked: Vec<(Subject, Vec<String>)>) -> Table {
    let mut table = Table::default();
    for (subject, patterns) in asked {
        let value = Value::texts(patterns.iter().cloned());
        match subject {
            Subject::Host => table.put("host", value),
            Subject::Path => table.put("path", Value::texts(patterns.into_iter().map(path))),
            Subject::Method => table.put("method", value),
            Subject::Source => table.put("source", value),
            Subject::Sni => table.put("sni", value),
            Subject::ClientCert => table.put("client-cert", value),
            // Refused before; a file with it would not be taken.
            Subject::Excess(excess) => table.put("excess", Value::plain(excess.most)),
            Subject::Users(list) => table.put("users", Value::text(list)),
            Subject::Status => table.put("status", value),
            Subject::Answered(name) => table.table("answered").put(&name, value),
            Subject::Header(name) => table.table("header").put(&name, value),
            Subject::Query(name) => table.table("query").put(&name, value),
            Subject::Cookie(name) => table.table("cookie").put(&name, value),
        }
    }
    table
}

/// A pattern for paths. What looks like an encoding or a query is what the decoded path has in it, and that an expression says.
fn path(pattern: String) -> String {
    let is_odd = pattern.contains('?') || encoding(&pattern).is_some();
    if is_odd && !pattern.starts_with('~') {
        return expression(&pattern);
    }
    pattern
}

/// Puts conditions around what is to be done: one route, or nested ones.
pub(crate) fn guard(together: &Together, inner: &[Route], spot: Spot) -> Vec<Route> {
    let mut levels: Vec<Level> = Vec::new();
    for literal in together {
        if !levels.iter_mut().any(|level| level.take(literal)) {
            let mut level = Level::default();
            level.take(literal);
            levels.push(level);
        }
    }
    let mut routes = inner.to_vec();
    for level in levels.into_iter().rev() {
        routes = vec![around(level.table(), routes, spot)];
    }
    routes
}

/// One route with these conditions. A single route inside that has none of its own takes them over.
fn around(mut table: Table, inner: Vec<Route>, spot: Spot) -> Route {
    match &inner[..] {
        [only] if !has_conditions(&only.table) => {
            table.0.extend(only.table.0.iter().cloned());
            Route { table, spot }
        }
        _ => Route {
            table: table.with("route", Value::Routes(inner)),
            spot,
        },
    }
}

/// The keys that are conditions.
pub(crate) const CONDITIONS: [&str; 11] = [
    "host",
    "path",
    "method",
    "header",
    "query",
    "cookie",
    "source",
    "sni",
    "client-cert",
    "ignore-case",
    "not",
];

/// Whether a route has conditions of its own.
pub(crate) fn has_conditions(table: &Table) -> bool {
    CONDITIONS.iter().any(|key| table.has(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(pattern: &str) -> Either {
        Either::of(Literal {
            subject: Subject::Path,
            patterns: vec![pattern.into()],
            fold: false,
            not: false,
        })
    }

    #[test]
    fn alternatives_on_one_subject_become_one_list() {
        let either = path("/a*").or(path("*.js")).unwrap();
        assert_eq!(either.0.len(), 1);
        assert_eq!(either.0[0][0].patterns, ["/a*", "*.js"]);
    }

    #[test]
    fn a_negation_of_alternatives_asks_for_none_of_them() {
        let host = Either::of(Literal {
            subject: Subject::Host,
            patterns: vec!["h".into()],
            fold: false,
            not: false,
        });
        let none = path("/a*").or(host).unwrap().negated().unwrap();
        assert_eq!(none.0.len(), 1);
        assert!(none.0[0].iter().all(|literal| literal.not));
        assert!(none.negated().unwrap().0.len() == 2);
        assert_eq!(Either::never().negated().unwrap(), Either::always());
    }

    #[test]
    fn two_paths_that_must_both_match_are_nested() {
        let both = path("/a*").and(&path("*.js")).unwrap();
        let action = Route {
            table: Table::default().with("to", Value::text("x")),
            spot: Spot::default(),
        };
        let routes = guard(&both.0[0], &[action], Spot::default());
        assert_eq!(routes.len(), 1);
        assert!(routes[0].table.has("path") && routes[0].table.has("route"));
    }
}
