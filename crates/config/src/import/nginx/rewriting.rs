//! `rewrite`: a new path, and the location that it leads to.
//!
//! nginx looks for a location anew, with the new path. A route is chosen by the path that was asked for; so what leads to a
//! location is said of that path, where it can be ([`Moved`]), and where it cannot the line is refused: a rule of who may
//! ask must not be passed by.

use super::super::document::{Route, Table, Value};
use super::super::logic::{Literal, Subject, guard};
use super::super::sources::Spot;
use super::Translator;
use super::conditional;
use super::content::{Here, whole};
use super::location::{self, Location, answer, redirect};
use super::moved::{self, Moved, MovedBy};
use super::scope::Scope;
use super::tree::Directive;
use super::variables::{self, Context, Piece};

/// What rewrites and answers without a handler.
const REWRITING: [&str; 5] = ["return", "rewrite", "if", "break", "set"];

const UNKNOWN: &str = "the location of the new path is not known before a request: let the expression end in `(.*)$` and \
                       the new path in `$1`, or say here what is done with it";

impl<'a> Translator<'a> {
    /// `return`, `rewrite`, `if`, `set` and `break`, in their order, with what goes with them; whether nothing comes after them.
    pub fn rewriting(
        &mut self,
        here: Here<'_, 'a>,
        list: &'a [Directive],
        routes: &mut Vec<Route>,
    ) -> bool {
        let of_rewriting = |directive: &&Directive| REWRITING.contains(&&*directive.name.text);
        let all: Vec<&'a Directive> = list.iter().filter(of_rewriting).collect();
        self.refer(here);
        self.followed(here, here.scope, &all, routes)
    }

    /// The same of what comes behind an `if` that has settings, which hold for what answers: those of another `if` are the
    /// place's and its own.
    pub fn followed(
        &mut self,
        around: Here<'_, 'a>,
        scope: &Scope,
        all: &[&'a Directive],
        routes: &mut Vec<Route>,
    ) -> bool {
        let mut found = around.found;
        for (at, directive) in all.iter().enumerate() {
            let around = Here { found, ..around };
            let here = Here { scope, ..around };
            match directive.name.text.as_str() {
                "return" => {
                    self.verdicts.translated(directive.spot);
                    let mut texts = here.added();
                    texts.extend(directive.args.iter().map(|word| word.text.clone()));
                    let spot = directive.spot;
                    let returned = &mut |translator: &mut Self, here: Here<'_, 'a>| match translator
                        .returned(here, directive)
                    {
                        Some(table) => translator.dressed(here, vec![answer(table, spot)]),
                        None => Vec::new(),
                    };
                    routes.extend(self.each_value(here, spot, &texts, returned));
                    self.not_asked(&all[at + 1..], "return");
                    return true;
                }
                "break" => {
                    self.verdicts.translated(directive.spot);
                    self.not_asked(&all[at + 1..], "break");
                    return false;
                }
                "rewrite" => {
                    let (spot, later) = (directive.spot, &all[at + 1..]);
                    let texts = [directive.arg(1).to_owned()];
                    let rewritten = &mut |translator: &mut Self, here: Here<'_, 'a>| {
                        let mut routes = Vec::new();
                        translator.rewrite(here, directive, later, &mut routes);
                        routes
                    };
                    routes.extend(self.each_value(here, spot, &texts, rewritten));
                    found = None;
                }
                "set" => self.set(directive),
                _ => {
                    let passes = directive.inner().iter().any(|d| d.is("proxy_pass"));
                    let sets =
                        |d: &&Directive| d.is("set") || d.inner().iter().any(|d| d.is("set"));
                    if let Some(later) = all[at + 1..].iter().copied().find(sets).filter(|_| passes)
                    {
                        let message =
                            "what an `if` passes on before it gets this value, too: set it first";
                        self.verdicts.refuse(later.spot, later.spot, message);
                    }
                    if around.location.is_some() && conditional::only_sets(directive) {
                        self.with_settings(around, directive, &all[at + 1..], routes);
                    } else {
                        self.conditional(around, directive, routes);
                    }
                    // An expression that finds nothing takes away what another one has found.
                    if self.asks_expression(directive) {
                        found = None;
                    }
                }
            }
        }
        false
    }

    /// Whether an `if` looks for an expression, itself or by what its variable is made of.
    fn asks_expression(&self, directive: &Directive) -> bool {
        let operator = directive.args.get(1).map_or("", |word| &word.text);
        let variable = directive.arg(0).trim_start_matches("($");
        operator.contains('~') || self.made.asks_expression(variable.trim_end_matches(')'))
    }

    /// What comes after a `break` or a `return`.
    fn not_asked(&mut self, list: &[&Directive], end: &str) {
        for directive in list {
            let inner = directive.inner().iter().map(|inner| inner.spot);
            for spot in inner.chain([directive.spot]) {
                self.verdicts
                    .without(spot, format!("a `{end}` comes before it"));
            }
        }
    }

    /// `rewrite REGEX REPLACEMENT [FLAG]`; `later` comes after it where it has no flag.
    fn rewrite(
        &mut self,
        here: Here<'_, 'a>,
        directive: &Directive,
        later: &[&Directive],
        routes: &mut Vec<Route>,
    ) {
        let spot = directive.spot;
        let (regex, flag) = (directive.arg(0), directive.arg(2));
        let to = self.known(directive.arg(1));
        let to = to.as_str();
        let flag = match later.first() {
            Some(next) if flag.is_empty() && next.is("break") => "break",
            _ => flag,
        };
        self.verdicts.translated(spot);
        if let Err(message) = super::super::haproxy::checked(regex) {
            return self.verdicts.refuse(spot, directive.at(0), message);
        }
        let context = Context {
            captures: true,
            ..here.context()
        };
        let outside = ["http://", "https://", "$scheme"]
            .iter()
            .any(|start| to.starts_with(start));
        let when = vec![Literal {
            subject: Subject::Path,
            patterns: vec![format!("~{regex}")],
            fold: false,
            not: false,
        }];
        let keeps_query = !to.ends_with('?');
        let to = to.trim_end_matches('?');
        let template = match self.template(to, &context) {
            Ok(template) => template,
            Err(variable) => {
                return self.verdicts.refuse(
                    spot,
                    directive.at(1),
                    format!("{variable} cannot be filled in here"),
                );
            }
        };
        let rules = |to: &str| {
            Value::Table(Table::default().with(&format!("~{}", whole(regex)), Value::text(to)))
        };
        if outside || matches!(flag, "redirect" | "permanent") {
            let status = if flag == "permanent" { 301 } else { 302 };
            let to = if outside {
                template
            } else {
                format!("{}{template}", own_host(here.scope))
            };
            let sent = Redirect {
                to: &to,
                expression: &whole(regex),
                keeps_query,
                status,
            };
            if let Some(table) = self.redirected(&sent, directive) {
                let redirected = self.dressed(here, vec![answer(table, spot)]);
                routes.extend(guard(&when, &redirected, spot));
            }
            return;
        }
        if flag.is_empty() && !self.is_last(directive, to, later) {
            return;
        }
        if !keeps_query {
            self.verdicts.note(
                spot,
                "the query that a client sends stays: a `?` at the end drops it in redirects only",
            );
        }
        let drops_query = to.contains('?');
        let inner = if flag == "break" && here.location.is_some() {
            self.handler(here)
        } else {
            let Some(inner) = self.found_anew(here, regex, to) else {
                return self.verdicts.refuse(spot, directive.at(1), UNKNOWN);
            };
            inner
        };
        // Where the location is found anew conditions on the path are those of the path that came.
        let stays = flag == "break" && here.location.is_some();
        let asks_old = |route: &Route| {
            stays && moved::looks_at_path(&route.table)
                || drops_query && moved::asks(&route.table, &["query"])
        };
        if inner.iter().any(asks_old) {
            return self.verdicts.refuse(
                spot,
                directive.at(1),
                "what comes of it asks the path that came, and in nginx the new one",
            );
        }
        let mut changed = Vec::new();
        for mut route in inner {
            let table = &mut route.table;
            if moved::changes_path(table) {
                return self.verdicts.refuse(
                    spot,
                    directive.at(1),
                    "the new path leads to a location that changes it again: say here what it does",
                );
            }
            if let Some(variable) = moved::asks_old_path(table, drops_query) {
                return self.verdicts.refuse(
                    spot,
                    directive.at(1),
                    format!("what comes of it has {variable}, which would be that of the path that came, and in nginx is that of the new one: $request_uri is the one that came"),
                );
            }
            if !table.has("respond") && !table.has("deny") {
                table.put("rewrite", rules(&template));
            }
            changed.push(route);
        }
        routes.extend(guard(&when, &changed, spot));
    }

    /// The actions of a redirect.
    pub fn redirected(&mut self, sent: &Redirect<'_>, directive: &Directive) -> Option<Table> {
        let Redirect {
            to,
            expression,
            keeps_query,
            status,
        } = *sent;
        let spot = directive.spot;
        let has_captures = |text: &str| (1..=9).any(|n| text.contains(&format!("{{{n}}}")));
        let (mut base, mut path) = split_url(to);
        if let Some(at) = base.find("{1}").filter(|_| begins_the_path(expression))
            && !has_captures(&base[..at])
        {
            (base, path) = to.split_at(at);
        }
        if has_captures(base) {
            let message = "what an expression has found is filled in in paths, not in a host: let the path begin with a slash, as in \
                           `rewrite ^/(.*)/$ /$1 permanent`";
            self.verdicts.refuse(spot, spot, message);
            return None;
        }
        let is_fixed = !has_captures(path);
        let has_all = is_fixed && path.ends_with("{uri}");
        if has_all && keeps_query {
            self.verdicts.note(
                spot,
                "$request_uri has the query, which nginx says twice then: once here, as with a `?` at the end",
            );
        }
        if has_all || (is_fixed && !keeps_query) {
            return Some(redirect(to.to_owned(), status));
        }
        if is_fixed && path == "{path}" {
            return Some(redirect(format!("{base}{{uri}}"), status));
        }
        let (before, query) = path.split_once('?').unwrap_or((path, ""));
        if query.contains("{uri}") {
            let message = "$request_uri within a query is translated where the client's own does not follow it: write a `?` at the end";
            self.verdicts.refuse(spot, spot, message);
            return None;
        }
        // `$request_uri/`: the slash would come behind the query.
        let path = &if before.contains("{uri}") {
            self.verdicts.note(
                spot,
                "$request_uri has the query, before what follows it here and once more at the end in nginx: here it is at the end alone",
            );
            path.replace("{uri}", "{path}")
        } else {
            path.to_owned()
        };
        let has_query = path.contains('?');
        if has_query && !keeps_query {
            self.verdicts.note(
                spot,
                "the query that a client sends follows the new one: a `?` at the end drops it where there is no other",
            );
        }
        let path = if path.is_empty() { "/" } else { path.as_str() };
        let rules = Table::default().with(&format!("~{expression}"), Value::text(path));
        let rest = if keeps_query || has_query {
            "{uri}"
        } else {
            "{path}"
        };
        let mut table = Table::default().with("rewrite", Value::Table(rules));
        table.0.extend(redirect(format!("{base}{rest}"), status).0);
        Some(table)
    }

    /// Whether a `rewrite` without a flag does what one with `last` does: nothing behind it looks at the new path.
    fn is_last(&mut self, directive: &Directive, to: &str, later: &[&Directive]) -> bool {
        let path = to.split('?').next().unwrap_or(to);
        for next in later {
            match next.name.text.as_str() {
                // Whatever the path is.
                "return" if !self.says_path(next) => return false,
                "rewrite" if !path.contains('$') => {
                    let regex = regex::Regex::new(next.arg(0));
                    if regex.is_ok_and(|regex| !regex.is_match(path)) {
                        continue;
                    }
                }
                _ => {}
            }
            self.verdicts.refuse_hint(
                directive.spot,
                directive.spot,
                format!(
                    "what comes after it looks at the new path: the \"{}\" below",
                    next.name.text
                ),
                Some("name `last` or `break`, if it is to end here".into()),
            );
            return false;
        }
        true
    }

    /// Whether an answer has something of the path or the query in it.
    fn says_path(&self, directive: &Directive) -> bool {
        let names = ["uri", "document_uri", "args", "query_string", "is_args"];
        directive.args.iter().any(|word| {
            let text = self.known(&word.text);
            let pieces = variables::pieces(&text).unwrap_or_default();
            pieces.iter().filter_map(Piece::name).any(|name| {
                names.contains(&name) || name.starts_with("arg_") || self.has_values(name)
            })
        })
    }

    /// What is done where the new path leads to; `None` where that is not known before a request.
    fn found_anew(&mut self, here: Here<'_, 'a>, regex: &str, to: &str) -> Option<Vec<Route>> {
        let all = &here.server.locations;
        let path = to.split('?').next().unwrap_or(to);
        let Some((literal, _)) = path.split_once('$') else {
            return self.there(here, location::choose(all, path));
        };
        let by_expression = || MovedBy::read(regex, path)?.locations(all);
        let found = match Moved::read(regex, path) {
            Some(moved) => moved.locations(all)?,
            None if let Some(found) = by_expression() => found,
            None if all.iter().any(|l| moved::may_lead_to(l, literal)) => return None,
            None => return self.there(here, location::choose_outer(all, literal)),
        };
        let mut contents = Vec::new();
        for location in all {
            let spot = location.directive.spot;
            if !found.iter().any(|found| found.directive.spot == spot) {
                continue;
            }
            let mut inner = location.directive.inner().iter();
            let routes = if !is_at(here, location) && inner.any(|inner| inner.is("rewrite")) {
                // What it asks of the path it asks of the one that is new there.
                self.verdicts.note(
                    here.spot,
                    format!(
                        "where the new path leads to \"location {}\", which rewrites it again, the answer is 500",
                        location.text
                    ),
                );
                let table = Table::default().with("respond", Value::plain(500));
                vec![answer(table, spot)]
            } else {
                self.there(here, Some(location))?
            };
            contents.push((spot, routes));
        }
        let other = self.there(here, None)?;
        Some(location::order(&found, &mut Made(contents), &[], other))
    }

    /// What a location does for a path that was rewritten, or the server where there is none. `None` where it asks what the
    /// path is: it would be answered by the one that came.
    fn there(&mut self, here: Here<'_, 'a>, next: Option<&Location<'a>>) -> Option<Vec<Route>> {
        let routes = match next {
            Some(next) if is_at(here, next) => self.handler(here),
            Some(next) => self.of_location(here, next),
            None => self.of_server(here),
        };
        let mut tables = routes.iter().map(|route| &route.table);
        let asks = |table| moved::looks_at_path(table) || moved::asks_finds(table);
        (!tables.any(asks)).then_some(routes)
    }
}

/// What locations do with a path that was rewritten, by their spots.
struct Made(Vec<(Spot, Vec<Route>)>);

impl<'a> location::Contents<'a> for Made {
    fn content(&mut self, location: &Location<'a>, before: &[Route]) -> Vec<Route> {
        let spot = location.directive.spot;
        let made = self.0.iter().find(|(made, _)| *made == spot);
        let made = made.map_or(&[][..], |(_, routes)| routes);
        [before, made].concat()
    }

    fn slash(&mut self, _: &Location<'a>) -> Option<Route> {
        None
    }
}

/// Whether this is the location that `here` is in.
fn is_at(here: Here<'_, '_>, location: &Location<'_>) -> bool {
    let spot = location.directive.spot;
    here.location
        .is_some_and(|here| here.directive.spot == spot)
}

/// A redirect.
pub(crate) struct Redirect<'t> {
    /// The URL as a template, or the path.
    pub to: &'t str,
    /// What finds the whole path, for what is filled in of it.
    pub expression: &'t str,
    /// The client's query follows.
    pub keeps_query: bool,
    pub status: u16,
}

/// What a redirect to a path begins with.
pub(crate) fn own_host(scope: &Scope) -> &'static str {
    let relative = scope.absolute_redirect.as_ref();
    if relative.is_some_and(|set| !set.value) {
        ""
    } else {
        "{scheme}://{header:Host}"
    }
}

/// Whether what the first group of an expression finds begins as the path does, with a slash: `^(.+)/$`, `^(/blog/.*)$`.
fn begins_the_path(expression: &str) -> bool {
    let Some(rest) = expression.strip_prefix("^(") else {
        return false;
    };
    // It might find nothing.
    if [")?", ")*", "){", "|"]
        .iter()
        .any(|maybe| rest.contains(maybe))
    {
        return false;
    }
    let may_be_nothing = |rest: &str| rest.starts_with(['?', '*', '{']);
    ["/", ".+"].iter().any(|start| {
        let rest = rest.strip_prefix(start);
        rest.is_some_and(|rest| *start != "/" || !may_be_nothing(rest))
    })
}

/// `https://host/path` in two; the path may be a variable.
fn split_url(template: &str) -> (&str, &str) {
    let after = match template.find("://") {
        Some(at) => at + 3,
        None => return ("", template),
    };
    let rest = &template[after..];
    let starts = ["/", "?", "{uri}", "{path}"].map(|start| rest.find(start));
    match starts.into_iter().flatten().min() {
        Some(at) => template.split_at(after + at),
        None => (template, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_that_begins_the_path_begins_with_a_slash() {
        for expression in ["^(.+)/+$", "^(/.*)/$", "^(/a/\\d+)$"] {
            assert!(begins_the_path(expression), "{expression}");
        }
        for expression in [
            "^(.*)/$",
            "^/(.*)$",
            "(.+)",
            "^(/?a)$",
            "^(/*)",
            "^(/a|b)$",
            "^(.+)?/$",
            "^.*?(?:(.+))",
        ] {
            assert!(!begins_the_path(expression), "{expression}");
        }
    }

    #[test]
    fn a_url_has_a_host_and_a_path() {
        for (url, parts) in [
            ("https://h/a/b", ("https://h", "/a/b")),
            ("https://h{uri}", ("https://h", "{uri}")),
            (
                "{scheme}://{header:Host}{path}",
                ("{scheme}://{header:Host}", "{path}"),
            ),
            ("https://h", ("https://h", "")),
            ("https://h?a=/", ("https://h", "?a=/")),
            ("/a/b", ("", "/a/b")),
        ] {
            assert_eq!(split_url(url), parts);
        }
    }
}
