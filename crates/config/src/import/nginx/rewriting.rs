//! `rewrite`: a new path, and the location that it leads to.
//!
//! nginx looks for a location anew, with the new path. A route is chosen by the path that was asked for; so what leads to a
//! location is said of that path, where it can be ([`Moved`]), and where it cannot the line is refused: a rule of who may
//! ask must not be passed by.

use super::super::document::{Route, Table, Value};
use super::super::logic::{Literal, Subject, guard};
use super::super::sources::Spot;
use super::Translator;
use super::content::{Here, whole};
use super::location::{self, Location, answer, redirect};
use super::moved::{self, Moved};
use super::tree::Directive;
use super::variables::{Context, template};

/// What rewrites and answers without a handler.
const REWRITING: [&str; 3] = ["return", "rewrite", "if"];

const UNKNOWN: &str = "the location of the new path is not known before a request: let the expression end in `(.*)$` and \
                       the new path in `$1`, or say here what is done with it";

impl<'a> Translator<'a> {
    /// `return`, `rewrite` and `if`, in their order, with what goes with them; whether nothing comes after them.
    pub fn rewriting(
        &mut self,
        here: Here<'_, 'a>,
        list: &[Directive],
        routes: &mut Vec<Route>,
    ) -> bool {
        let of_rewriting = |directive: &&Directive| REWRITING.contains(&&*directive.name.text);
        let all: Vec<&Directive> = list.iter().filter(of_rewriting).collect();
        for (at, directive) in all.iter().enumerate() {
            match directive.name.text.as_str() {
                "return" => {
                    self.verdicts.translated(directive.spot);
                    if let Some(table) = self.returned(here, directive) {
                        let returned = vec![answer(table, directive.spot)];
                        routes.extend(self.dressed(here, returned));
                    }
                    return true;
                }
                "rewrite" => self.rewrite(here, directive, &all[at + 1..], routes),
                _ => self.conditional(here, directive, routes),
            }
        }
        false
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
        let (regex, to, flag) = (directive.arg(0), directive.arg(1), directive.arg(2));
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
        let template = match template(to, &context) {
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
            let rest = if keeps_query { "{uri}" } else { "{path}" };
            let captures = (1..=9).any(|n| template.contains(&format!("{{{n}}}")));
            let (base, path) = split_url(&template);
            let base = if outside {
                base.to_owned()
            } else {
                "{scheme}://{header:Host}".into()
            };
            let mut table = Table::default();
            if captures || keeps_query {
                table.put("rewrite", rules(path));
                table.0.extend(redirect(format!("{base}{rest}"), status).0);
            } else {
                table = redirect(format!("{base}{path}"), status);
            }
            let redirected = self.dressed(here, vec![answer(table, spot)]);
            routes.extend(guard(&when, &redirected, spot));
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
        let inner = if flag == "break" && here.location.is_some() {
            self.handler(here)
        } else {
            let Some(inner) = self.found_anew(here, regex, to) else {
                return self.verdicts.refuse(spot, directive.at(1), UNKNOWN);
            };
            inner
        };
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
            if !table.has("respond") && !table.has("deny") {
                table.put("rewrite", rules(&template));
            }
            changed.push(route);
        }
        routes.extend(guard(&when, &changed, spot));
    }

    /// Whether a `rewrite` without a flag does what one with `last` does: nothing behind it looks at the new path.
    fn is_last(&mut self, directive: &Directive, to: &str, later: &[&Directive]) -> bool {
        let path = to.split('?').next().unwrap_or(to);
        for next in later {
            match next.name.text.as_str() {
                // Whatever the path is.
                "return" => return false,
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

    /// What is done where the new path leads to; `None` where that is not known before a request.
    fn found_anew(&mut self, here: Here<'_, 'a>, regex: &str, to: &str) -> Option<Vec<Route>> {
        let all = &here.server.locations;
        let path = to.split('?').next().unwrap_or(to);
        let Some((literal, _)) = path.split_once('$') else {
            return self.there(here, location::choose(all, path));
        };
        let found = match Moved::read(regex, path) {
            Some(moved) => moved.locations(all)?,
            None if all.iter().any(|l| moved::may_lead_to(l, literal)) => return None,
            None => return self.there(here, location::choose(all, literal)),
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
        (!tables.any(moved::looks_at_path)).then_some(routes)
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

/// `https://host/path` in two.
fn split_url(template: &str) -> (&str, &str) {
    let after = template.find("://").map_or(0, |at| at + 3);
    match template[after..].find('/') {
        Some(at) if after > 0 => template.split_at(after + at),
        _ if after > 0 => (template, "/"),
        _ => ("", template),
    }
}
