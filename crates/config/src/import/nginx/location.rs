//! `location`: which of them a path is for.
//!
//! nginx takes an exact one; else it remembers the longest prefix, takes it at once if it is `^~`, asks the regular
//! expressions in the order of the file, and takes the prefix if none matches. A list of routes takes the first that
//! matches, so the order is worked out here.

use super::super::document::{Route, Table, Value};
use super::super::logic::{Literal, Subject, guard};
use super::super::report::Verdicts;
use super::super::sources::Spot;
use super::look_ahead;
use super::tree::Directive;

/// How a location compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Exact,
    Prefix,
    /// `^~`: regular expressions are not asked.
    Final,
    Regex {
        fold: bool,
    },
    Named,
}

/// A location and those within it.
#[derive(Clone, Debug)]
pub(crate) struct Location<'a> {
    pub kind: Kind,
    pub text: String,
    pub directive: &'a Directive,
    pub children: Vec<Location<'a>>,
}

impl Location<'_> {
    /// Whether it is that one: a file that is included twice has two, and they stand at the same spot.
    pub fn is(&self, other: &Location<'_>) -> bool {
        std::ptr::eq(self.directive, other.directive)
    }
}

impl Location<'_> {
    /// Whether it hands what is asked for there to a program.
    pub fn passes_on(&self) -> bool {
        self.directive.inner().iter().any(Directive::passes_on)
    }
}

/// What has no file to find: all that does not read.
pub(crate) fn no_reads() -> Literal {
    Literal {
        subject: Subject::Method,
        patterns: vec!["GET".into(), "HEAD".into()],
        fold: false,
        not: true,
    }
}

/// The locations of a block.
pub(crate) fn read<'a>(list: &'a [Directive], verdicts: &mut Verdicts) -> Vec<Location<'a>> {
    let mut found: Vec<Location<'_>> = Vec::new();
    for directive in list.iter().filter(|directive| directive.is("location")) {
        let spot = directive.spot;
        let (modifier, text) = match directive.args.len() {
            1 => split(directive.arg(0)),
            _ => (directive.arg(0), directive.arg(1)),
        };
        let kind = match modifier {
            "=" => Kind::Exact,
            "^~" => Kind::Final,
            "~" => Kind::Regex { fold: false },
            "~*" => Kind::Regex { fold: true },
            "" if text.starts_with('@') => Kind::Named,
            "" => Kind::Prefix,
            other => {
                verdicts.refuse_hint(
                    spot,
                    directive.at(0),
                    format!("invalid location modifier \"{other}\""),
                    Some("there are = ~ ~* ^~".into()),
                );
                continue;
            }
        };
        let written = match kind {
            Kind::Regex { .. } => look_ahead::without(text),
            _ => None,
        };
        let text = written.as_deref().unwrap_or(text);
        if matches!(kind, Kind::Regex { .. })
            && let Err(message) = super::super::haproxy::checked(text)
        {
            verdicts.refuse(spot, directive.at(1), message);
            pass_by(directive, verdicts);
            continue;
        }
        let same = |other: &&Location<'_>| {
            other.text == text
                && !matches!(kind, Kind::Regex { .. })
                && (other.kind == kind
                    || matches!(
                        (other.kind, kind),
                        (Kind::Prefix, Kind::Final) | (Kind::Final, Kind::Prefix)
                    ))
        };
        if found.iter().find(same).is_some() {
            verdicts.refuse(
                spot,
                directive.at(0),
                format!("duplicate location \"{text}\""),
            );
            continue;
        }
        verdicts.translated(spot);
        found.push(Location {
            kind,
            text: text.to_owned(),
            directive,
            children: read(directive.inner(), verdicts),
        });
    }
    found
}

/// What stands in a location that is refused is not looked at.
fn pass_by(directive: &Directive, verdicts: &mut Verdicts) {
    for inner in directive.inner() {
        if !verdicts.has(inner.spot) {
            verdicts.without(inner.spot, "the location that it stands in is refused");
        }
        pass_by(inner, verdicts);
    }
}

/// `=/x` in one word.
fn split(word: &str) -> (&str, &str) {
    for modifier in ["^~", "~*", "=", "~"] {
        if let Some(rest) = word.strip_prefix(modifier) {
            return (modifier, rest);
        }
    }
    ("", word)
}

/// The named location (`@name`) of this name.
pub(crate) fn named<'l, 'a>(locations: &'l [Location<'a>], name: &str) -> Option<&'l Location<'a>> {
    let is_it = |l: &&Location<'_>| l.kind == Kind::Named && l.text == name;
    locations.iter().find(is_it)
}

/// The location for a path, of all that stand within one another.
pub(crate) fn choose<'l, 'a>(list: &'l [Location<'a>], path: &str) -> Option<&'l Location<'a>> {
    chosen(list, path, true)
}

/// The location for a path, of these alone.
pub(crate) fn choose_outer<'l, 'a>(
    list: &'l [Location<'a>],
    path: &str,
) -> Option<&'l Location<'a>> {
    chosen(list, path, false)
}

fn chosen<'l, 'a>(list: &'l [Location<'a>], path: &str, deep: bool) -> Option<&'l Location<'a>> {
    if let Some(exact) = list
        .iter()
        .find(|l| l.kind == Kind::Exact && l.text == path)
    {
        return Some(exact);
    }
    let prefix = list
        .iter()
        .filter(|l| matches!(l.kind, Kind::Prefix | Kind::Final) && path.starts_with(&l.text))
        .max_by_key(|l| l.text.len());
    // Those within are asked first, and only then the regular expressions beside it.
    let children = |location: &'l Location<'a>| {
        &location.children[..if deep { location.children.len() } else { 0 }]
    };
    let within = prefix.and_then(|prefix| chosen(children(prefix), path, deep));
    if let Some(found) = within.filter(|l| l.kind != Kind::Prefix) {
        return Some(found);
    }
    let prefix = within.or(prefix);
    if let Some(found) = prefix.filter(|found| found.kind == Kind::Final) {
        return Some(found);
    }
    let regex = list.iter().find(|l| match l.kind {
        Kind::Regex { fold } => regex::RegexBuilder::new(&l.text)
            .case_insensitive(fold)
            .build()
            .is_ok_and(|regex| regex.is_match(path)),
        _ => false,
    });
    regex
        .map(|found| chosen(children(found), path, deep).unwrap_or(found))
        .or(prefix)
}

/// The locations that one stands in, from the outermost, and itself.
pub(crate) fn chain<'l, 'a>(
    list: &'l [Location<'a>],
    wanted: &Location<'_>,
) -> Vec<&'l Location<'a>> {
    for location in list {
        if location.is(wanted) {
            return vec![location];
        }
        let inner = chain(&location.children, wanted);
        if !inner.is_empty() {
            return std::iter::once(location).chain(inner).collect();
        }
    }
    Vec::new()
}

/// What locations do.
pub(crate) trait Contents<'a> {
    /// What a location does with the paths that are its. `before` is asked before its own content: regular expressions
    /// around it, which go before prefixes also when these stand further in.
    fn content(&mut self, location: &Location<'a>, before: &[Route]) -> Vec<Route>;

    /// `/a` is sent to `/a/` when that is proxied.
    fn slash(&mut self, location: &Location<'a>) -> Option<Route>;
}

/// Puts locations in order. `before` is what goes before prefixes, of the blocks around these; `other` is what is done
/// where there is no location.
pub(crate) fn order<'a>(
    list: &[Location<'a>],
    contents: &mut dyn Contents<'a>,
    before: &[Route],
    other: Vec<Route>,
) -> Vec<Route> {
    let mut routes = Vec::new();
    let spot = |location: &Location<'_>| location.directive.spot;
    let has = |text: &str| list.iter().any(|l| l.kind == Kind::Exact && l.text == text);
    for location in list.iter().filter(|l| l.kind == Kind::Exact) {
        let inner = contents.content(location, &[]);
        routes.extend(guard(&vec![exact(&location.text)], &inner, spot(location)));
    }
    let mut prefixes: Vec<&Location<'a>> = list
        .iter()
        .filter(|l| matches!(l.kind, Kind::Prefix | Kind::Final))
        .collect();
    prefixes.sort_by_key(|l| std::cmp::Reverse(l.text.len()));
    for location in &prefixes {
        let short = location.text.trim_end_matches('/');
        if !short.is_empty() && short.len() < location.text.len() && !has(short) {
            let covered = prefixes.iter().any(|l| l.text == short);
            if let (false, Some(route)) = (covered, contents.slash(location)) {
                routes.extend(guard(&vec![exact(short)], &[route], spot(location)));
            }
        }
    }
    let mut regexes = Vec::new();
    for location in list {
        if let Kind::Regex { fold } = location.kind {
            let inner = contents.content(location, &[]);
            let flag = if fold { "(?i)" } else { "" };
            let literal = path(format!("~{flag}{}", location.text));
            regexes.extend(guard(&vec![literal], &inner, spot(location)));
        }
    }
    let sooner = regexes.len();
    regexes.extend(before.iter().cloned());
    // Those that go before the regular expressions, or have locations that do; and what is longer than one of them.
    let early = |l: &Location<'_>| {
        l.kind == Kind::Final && sooner > 0 || !l.children.is_empty() && !regexes.is_empty()
    };
    let is_early = |l: &&Location<'_>| {
        early(l)
            || prefixes
                .iter()
                .any(|p| early(p) && l.text.len() > p.text.len() && l.text.starts_with(&p.text))
    };
    let (first, last): (Vec<&Location<'a>>, Vec<&Location<'a>>) =
        prefixes.iter().copied().partition(is_early);
    for location in first {
        let asked = match location.kind {
            Kind::Final => before,
            _ => &regexes,
        };
        let inner = contents.content(location, asked);
        routes.extend(guard(&vec![prefix(&location.text)], &inner, spot(location)));
    }
    routes.extend(regexes);
    let mut all = false;
    for location in last {
        let inner = contents.content(location, &[]);
        if location.text == "/" {
            // Every path begins with a slash.
            routes.extend(inner);
            all = true;
        } else {
            routes.extend(guard(&vec![prefix(&location.text)], &inner, spot(location)));
        }
    }
    if !all {
        routes.extend(other);
    }
    routes
}

fn path(pattern: String) -> Literal {
    Literal {
        subject: Subject::Path,
        patterns: vec![pattern],
        fold: false,
        not: false,
    }
}

fn exact(text: &str) -> Literal {
    if text.contains('*') || text.starts_with('~') {
        path(format!("~^{}$", regex::escape(text)))
    } else {
        path(text.to_owned())
    }
}

fn prefix(text: &str) -> Literal {
    if text.contains('*') || text.starts_with('~') {
        path(format!("~^{}", regex::escape(text)))
    } else {
        path(format!("{text}*"))
    }
}

/// An answer for a spot.
pub(crate) fn answer(table: Table, spot: Spot) -> Route {
    Route { table, spot }
}

/// A redirect.
pub(crate) fn redirect(to: String, status: u16) -> Table {
    let value = if status == 302 {
        Value::Text(to)
    } else {
        Value::Table(
            Table::default()
                .with("to", Value::Text(to))
                .with("status", Value::plain(status)),
        )
    };
    Table::default().with("redirect", value)
}
