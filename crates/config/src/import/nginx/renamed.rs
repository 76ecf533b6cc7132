//! What becomes of fields that servers send and that name their own addresses and paths: `proxy_redirect`,
//! `proxy_cookie_path`, `proxy_cookie_domain`.

use super::super::document::{Table, Value};
use super::super::report::Verdicts;
use super::super::sources::Spot;
use super::Translator;
use super::content::Here;
use super::cookies;
use super::location::Kind;
use super::tree::Directive;
use super::upstream::Target;
use super::variables::Context;

/// `proxy_redirect off`, `default`, `FROM TO`; `proxy_cookie_path FROM TO` and the like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Renaming {
    Off(Spot),
    Default(Spot),
    To {
        from: String,
        to: String,
        spot: Spot,
    },
}

impl Renaming {
    /// Reads a directive.
    pub fn read(directive: &Directive, verdicts: &mut Verdicts) -> Option<Self> {
        let spot = directive.spot;
        match (directive.arg(0), directive.args.len()) {
            ("off", 1) => Some(Self::Off(spot)),
            ("default", 1) if directive.is("proxy_redirect") => Some(Self::Default(spot)),
            (from, 2) => Some(Self::To {
                from: from.to_owned(),
                to: directive.arg(1).to_owned(),
                spot,
            }),
            (other, _) => {
                verdicts.refuse(
                    spot,
                    directive.at(0),
                    format!("invalid parameter \"{other}\""),
                );
                None
            }
        }
    }
}

impl<'a> Translator<'a> {
    /// Puts the changes on a route to a server.
    pub fn renamed(&mut self, here: Here<'_, 'a>, target: &Target, table: &mut Table) {
        let paths = self.cookies(here, &here.scope.cookie_paths, "path");
        let domains = self.cookies(here, &here.scope.cookie_domains, "domain");
        for (name, steps) in [
            ("Location", vec![self.locations(here, target)]),
            (
                "Set-Cookie",
                [
                    vec![paths, domains],
                    cookies::flagged(&here.scope.cookie_flags),
                ]
                .concat(),
            ),
        ] {
            let steps = steps.into_iter().filter(|rules| !rules.is_empty());
            let mut steps: Vec<Value> = steps.map(Value::Table).collect();
            let value = match steps.len() {
                0 => continue,
                1 => steps.remove(0),
                _ => Value::List(steps),
            };
            let response = table.table("headers").table("response");
            response.table("replace").put(name, value);
        }
    }

    fn locations(&mut self, here: Here<'_, 'a>, target: &Target) -> Table {
        let given = &here.scope.redirects;
        let mut rules = Table::default();
        // A server that is told another host than its own does not name its own,
        let mut hosts = (here.scope.proxy_headers.iter())
            .filter(|field| field.name.eq_ignore_ascii_case("host"));
        // nor does nginx know one that variables are filled in in.
        let varies = here
            .find("proxy_pass")
            .is_some_and(|d| d.arg(0).contains('$'));
        if given.is_empty() && !varies && hosts.all(|field| field.value == "$proxy_host") {
            rules.0.extend(usual(here, target));
        }
        for renaming in given {
            match renaming {
                Renaming::Off(_) => return Table::default(),
                Renaming::Default(_) => rules.0.extend(usual(here, target)),
                Renaming::To { from, to, spot } => {
                    let captures = from.starts_with('~');
                    let Some(to) = self.filled(here, to, captures, *spot) else {
                        continue;
                    };
                    let Some(from) = self.beginning(from, *spot) else {
                        continue;
                    };
                    rules.put(&from, Value::text(to));
                }
            }
        }
        rules
    }

    /// What is compared: a text at the beginning, or an expression.
    fn beginning(&mut self, from: &str, spot: Spot) -> Option<String> {
        let (fold, regex) = match (from.strip_prefix("~*"), from.strip_prefix('~')) {
            (Some(regex), _) => (true, regex),
            (None, Some(regex)) => (false, regex),
            (None, None) if from.contains('$') => {
                let message = "what is replaced is written out: variables are filled in in what takes its place";
                self.verdicts.refuse(spot, spot, message);
                return None;
            }
            (None, None) => return Some(from.to_owned()),
        };
        if let Err(message) = super::super::haproxy::checked(regex) {
            self.verdicts.refuse(spot, spot, message);
            return None;
        }
        Some(format!("~{}{regex}", if fold { "(?i)" } else { "" }))
    }

    fn filled(
        &mut self,
        here: Here<'_, 'a>,
        text: &str,
        captures: bool,
        spot: Spot,
    ) -> Option<String> {
        let context = Context {
            captures,
            ..here.context()
        };
        self.template(text, &context)
            .map_err(|variable| {
                let message = format!("{variable} cannot be filled in here");
                self.verdicts.refuse(spot, spot, message);
            })
            .ok()
    }

    /// Rules for an attribute of cookies: of paths the beginning is replaced, of domains all.
    fn cookies(&mut self, here: Here<'_, 'a>, list: &[Renaming], attribute: &str) -> Table {
        let mut rules = Table::default();
        for renaming in list {
            let (from, to, spot) = match renaming {
                Renaming::Off(_) | Renaming::Default(_) => return Table::default(),
                Renaming::To { from, to, spot } => (from, to, *spot),
            };
            if from.contains('$') || from.starts_with('~') {
                let message =
                    "the attribute of a cookie is replaced by its text, not by an expression";
                self.verdicts.refuse(spot, spot, message);
                continue;
            }
            let Some(to) = self.filled(here, to, false, spot) else {
                continue;
            };
            let (dot, from, rest) = if attribute == "domain" {
                let from = from.trim_start_matches('.');
                (r"\.?", from, r"(\s*(?:;.*)?)")
            } else {
                ("", from.as_str(), "(.*)")
            };
            let from = regex::escape(from);
            let regex = format!(r"~^(?i)([^;]*;(?:.*;)?\s*{attribute}\s*=\s*{dot}){from}{rest}$");
            rules.put(&regex, Value::text(format!("{{1}}{to}{{2}}")));
        }
        rules
    }
}

/// What nginx replaces by itself: the address that is passed to by the place that passes to it.
fn usual(here: Here<'_, '_>, target: &Target) -> Option<(String, Value)> {
    let scheme = if target.tls { "https" } else { "http" };
    let location = here
        .location
        .filter(|location| matches!(location.kind, Kind::Exact | Kind::Prefix | Kind::Final));
    let (uri, place) = match (&target.uri, location) {
        (Some(uri), Some(location)) => (uri.as_str(), location.text.as_str()),
        _ => ("/", "/"),
    };
    let place = place.replace('{', "{{").replace('}', "}}");
    let from = format!("{scheme}://{}{uri}", target.host);
    (!target.host.starts_with("unix:")).then(|| (from, Value::text(place)))
}
