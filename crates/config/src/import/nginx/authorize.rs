//! `auth_request`: another request says whether one may pass, and what its answer says is passed on (`auth_request_set`).
//!
//! The path is asked of the routes of the listener, as nginx asks its locations. What a variable has of the answer is
//! filled in by `{authorized:NAME}`: nginx knows it once it was asked, which is after all that rewrites.

use std::collections::{BTreeMap, BTreeSet};

use super::super::document::{Route, Table, Value};
use super::super::report::Verdicts;
use super::chosen::Chosen;
use super::content::Here;
use super::location::{self, Kind, Location, answer};
use super::scope::{ErrorPage, Field, Scope};
use super::tree::Directive;
use super::{Server, Translator, variables};

/// Statuses that come of asking.
const DECIDED: [u16; 3] = [401, 403, 500];
/// What nginx does not let a condition see.
const NEVER: &str = "what `auth_request_set` sets is empty as long as conditions are asked: nginx asks who may pass after them";

/// What a file says of it.
#[derive(Default)]
pub(super) struct Asking {
    /// The paths that are asked for.
    paths: Vec<String>,
    /// Where refusals lead.
    pages: Vec<String>,
    /// The variables that answers set.
    names: BTreeSet<String>,
    /// What they have of them, wherever refusals of this server lead.
    known: BTreeMap<String, String>,
    /// Named places of this server that refusals lead to, and what variables have there.
    led_to: Vec<(String, BTreeMap<String, String>)>,
}

impl Asking {
    /// Looks at a whole file.
    pub fn of(tree: &[Directive]) -> Self {
        let mut asking = Self::default();
        asking.read(tree);
        asking
    }

    fn read(&mut self, list: &[Directive]) {
        for directive in list {
            match directive.name.text.as_str() {
                "auth_request" if directive.arg(0) == "off" => {}
                "auth_request" => self.paths.push(directive.arg(0).to_owned()),
                "auth_request_set" => {
                    let name = directive.arg(0).trim_start_matches('$');
                    self.names.insert(name.to_owned());
                }
                "error_page" => {
                    let mut codes = directive.args.iter();
                    let is_decided = |code: u16| DECIDED.contains(&code);
                    if codes.any(|word| word.text.parse().is_ok_and(is_decided)) {
                        let to = directive.args.last().map_or("", |word| &word.text);
                        self.pages.push(path_of(to).to_owned());
                    }
                }
                _ => {}
            }
            self.read(directive.inner());
        }
    }

    /// The variables that answers set.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.names.iter()
    }
}

/// The path of a target.
fn path_of(target: &str) -> &str {
    let end = target.find(['?', '$']).unwrap_or(target.len());
    &target[..end]
}

/// What is asked at a place, if anything is.
pub(super) fn asked(scope: &Scope) -> Option<&str> {
    let set = scope.authorize.as_ref()?;
    (set.value != "off").then_some(set.value.as_str())
}

/// What a variable has of the answer, in words that no file has: nginx works it out for the other request.
fn of_answer(value: &str) -> String {
    variables::replaced(value, &|name| {
        let field = ["upstream_http_", "sent_http_"];
        let field = field.iter().find_map(|family| name.strip_prefix(family));
        match (field, name) {
            (Some(field), _) => Some(format!("${}{field}", variables::OF_ANSWER)),
            (None, "upstream_status" | "status") => Some(format!("${}", variables::ANSWERED)),
            _ => None,
        }
    })
}

impl<'a> Translator<'a> {
    /// What is known of a server before its places are looked at.
    pub fn begin_asking(&mut self, server: &Server<'a>) {
        self.asking.led_to.clear();
        self.asking.known.clear();
        if self.asking.paths.is_empty() {
            return;
        }
        let mut known = BTreeMap::new();
        set_within(&server.scope, &mut known);
        let mut left: Vec<(Scope, &Location<'a>)> = Vec::new();
        let locations = server.locations.iter();
        left.extend(locations.map(|location| (server.scope.clone(), location)));
        while let Some((outer, location)) = left.pop() {
            let scope = self.inner_scope(&outer, location);
            set_within(&scope, &mut known);
            let children = location.children.iter();
            left.extend(children.map(|child| (scope.clone(), child)));
        }
        self.asking.known = known;
    }

    /// Whether a place is asked whether others may be let in, or answers those that are not.
    pub fn is_asked(&self, here: Here<'_, 'a>) -> bool {
        let (paths, pages) = (self.asking.paths.iter(), self.asking.pages.iter());
        self.is_at(here, paths.chain(pages))
    }

    /// Whether it is asked, and nothing but that.
    pub fn only_decides(&self, here: Here<'_, 'a>) -> bool {
        self.is_at(here, self.asking.paths.iter())
    }

    fn is_at<'p>(&self, here: Here<'_, 'a>, mut paths: impl Iterator<Item = &'p String>) -> bool {
        let Some(at) = here.location else {
            return false;
        };
        !self.asking.paths.is_empty()
            && paths.any(|path| {
                let chosen = location::choose(&here.server.locations, path);
                chosen.is_some_and(|chosen| chosen.is(at))
            })
    }

    /// Fills in what the variables have once it was asked; where it was not they are empty.
    pub fn fill_in_answer(&mut self, scope: &Scope) {
        if asked(scope).is_none() {
            return;
        }
        for set in &scope.answer_sets {
            let chosen = Chosen::fixed(&of_answer(&set.value));
            self.given.here.insert(set.name.clone(), chosen);
        }
    }

    /// The same where refusals lead: they keep what they have.
    pub fn keep_answer(&mut self, here: Here<'_, 'a>) {
        let is_named = |at: &Location<'_>| at.kind == Kind::Named;
        let is_led_to = here.is_error && here.location.is_some_and(is_named);
        if !is_led_to && !self.is_at(here, self.asking.pages.iter()) {
            return;
        }
        for (name, value) in self.asking.known.clone() {
            self.given.here.insert(name, Chosen::fixed(&value));
        }
    }

    /// Whether a condition asks for what no answer has said yet, so that it never holds.
    pub fn asks_too_early(&mut self, variable: &str, directive: &Directive) -> bool {
        let is_empty = || {
            let chosen = self.given.get(variable)?;
            Some(chosen.entries.is_empty() && chosen.default.is_empty())
        };
        if !self.asking.names.contains(variable) || is_empty() != Some(true) {
            return false;
        }
        for spot in directive
            .inner()
            .iter()
            .map(|inner| inner.spot)
            .chain([directive.spot])
        {
            self.verdicts.without(spot, NEVER);
        }
        true
    }

    /// `authorize` of the routes of a place.
    pub fn authorize(&mut self, scope: &Scope) -> Option<Value> {
        let path = asked(scope)?.to_owned();
        let spot = scope.authorize.as_ref()?.spot;
        if !path.starts_with('/') || path.contains(['?', '$', '{', '}']) {
            let message = "what is asked is the path of a location: /auth";
            self.verdicts.refuse(spot, spot, message);
            return None;
        }
        Some(Value::text(path))
    }

    /// `error_page 401 = @login` where it is asked who may pass: what routes have there is the answer. Takes those statuses off.
    pub fn refused_to(
        &mut self,
        here: Here<'_, 'a>,
        page: &mut ErrorPage,
        upstream: bool,
        table: &mut Table,
    ) {
        if asked(here.scope).is_none() || is_file(here.server, page) {
            return;
        }
        let (decided, others) = page.statuses.iter().partition(|one| DECIDED.contains(one));
        page.statuses = others;
        let decided: Vec<u16> = decided;
        if decided.is_empty() {
            return;
        }
        self.verdicts.translated(page.spot);
        let to = self.known(&page.to);
        let key = if to.starts_with(['/', '@']) {
            "to"
        } else {
            "redirect"
        };
        let filled = match to.strip_prefix('@') {
            Some(_) if location::named(&here.server.locations, &to).is_none() => {
                let message = format!("could not find named location \"{to}\"");
                return self.verdicts.refuse(page.spot, page.spot, message);
            }
            // It keeps the path that was asked for.
            Some(_) => {
                let mut known = BTreeMap::new();
                set_within(here.scope, &mut known);
                let one = (to, known);
                let led_to = &mut self.asking.led_to;
                let at = led_to.iter().position(|known| *known == one);
                let at = at.unwrap_or_else(|| {
                    led_to.push(one.clone());
                    led_to.len() - 1
                });
                Ok(format!("{}{{uri}}", place(&one.0, at)))
            }
            None => self.template(&to, &here.context()),
        };
        let filled = match filled {
            Ok(filled) => filled,
            Err(variable) => {
                let message = format!("{variable} cannot be filled in here");
                return self.verdicts.refuse(page.spot, page.spot, message);
            }
        };
        for of in decided {
            let mut own = Table::default().with(key, Value::text(&filled));
            let status = match (key, page.status.as_deref()) {
                ("to", None) => Some(of),
                ("to", Some(status)) => status.parse().ok(),
                // Any other is 302.
                (_, status) => status
                    .and_then(|status| status.parse().ok())
                    .filter(|status| matches!(status, 301 | 303 | 307 | 308)),
            };
            if let Some(status) = status {
                own.put("status", Value::plain(status));
            }
            if upstream {
                own.put("upstream", Value::plain(true));
            }
            let errors = table.table("errors");
            // The first that names a status counts.
            if !errors.has(&of.to_string()) {
                errors.put(&of.to_string(), Value::Table(own));
            }
        }
    }

    /// The routes of named places that refusals of a server lead to.
    pub fn refusals(&mut self, here: Here<'_, 'a>) -> Vec<Route> {
        let all = std::mem::take(&mut self.asking.led_to);
        let mut routes = Vec::new();
        for (at, (name, known)) in all.into_iter().enumerate() {
            let place = place(&name, at);
            self.asking.known = known;
            let Some(next) = location::named(&here.server.locations, &name) else {
                continue;
            };
            let there = Here {
                is_error: true,
                ..here
            };
            let inner = self.of_location(there, next);
            let table = Table::default()
                .with("path", Value::text(format!("{place}/*")))
                .with("internal", Value::plain(true))
                .with("strip", Value::text(place))
                .with("route", Value::Routes(inner));
            routes.push(answer(table, next.directive.spot));
        }
        routes
    }
}

/// The path of a named place that refusals lead to, the so many-th.
fn place(name: &str, at: usize) -> String {
    format!("/{name}-{}", at + 1)
}

/// What variables have where it is asked.
fn set_within(scope: &Scope, known: &mut BTreeMap<String, String>) {
    if asked(scope).is_some() {
        for Field { name, value, .. } in &scope.answer_sets {
            known.insert(name.clone(), of_answer(value));
        }
    }
}

/// Whether an error is answered with a file that lies there, with its own status.
fn is_file(server: &Server<'_>, page: &ErrorPage) -> bool {
    if !page.to.starts_with('/') || page.to.contains(['$', '?']) || page.status.is_some() {
        return false;
    }
    let next = location::choose(&server.locations, &page.to);
    let answers = ["return", "rewrite", "if", "try_files", "stub_status"];
    next.is_none_or(|next| {
        let mut inner = next.directive.inner().iter();
        !next.passes_on() && !inner.any(|inner| answers.contains(&&*inner.name.text))
    })
}

/// `auth_request_set $user $upstream_http_x_user;`
pub(super) fn read_set(directive: &Directive, verdicts: &mut Verdicts) -> Option<Field> {
    let spot = directive.spot;
    let name = directive.arg(0).strip_prefix('$');
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        let message = format!("invalid variable name \"{}\"", directive.arg(0));
        verdicts.refuse(spot, directive.at(0), message);
        return None;
    };
    if variables::is_built_in(name) {
        let message = format!("${name} is what it is: set another variable");
        verdicts.refuse(spot, directive.at(0), message);
        return None;
    }
    Some(Field {
        name: name.to_owned(),
        value: directive.arg(1).to_owned(),
        always: true,
        spot,
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::Verdict;
    use super::super::tests::{are_refused, direct, said};

    fn server(lines: &str) -> String {
        format!(
            "server {{ listen 81; location = /auth {{ internal; proxy_pass http://127.0.0.1:83; proxy_pass_request_body off; }} \
             {lines} }}"
        )
    }

    const APP: &str = "proxy_pass http://127.0.0.1:82;";

    /// The lines with routes to the application.
    fn routes(lines: &str) -> String {
        let made = direct(&server(lines));
        assert_eq!(said(&made, Verdict::Refused), [""; 0], "{lines}");
        let text = made.text.lines();
        let routes = text.filter(|line| line.contains("127-0-0-1-82\""));
        routes.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn who_is_asked_is_said_of_the_routes_that_lead_on_and_of_no_other() {
        let made = routes(&format!(
            "auth_request /auth; location / {{ {APP} }} location /open {{ auth_request off; {APP} }}"
        ));
        let (open, asked) = made.split_once('\n').expect("two routes");
        assert!(
            open.contains("/open") && !open.contains("authorize"),
            "{made}"
        );
        assert!(asked.contains("authorize = \"/auth\""), "{made}");
        let made = routes(&format!(
            "location / {{ auth_request /auth; try_files /none @app; }} location @app {{ {APP} }}"
        ));
        assert!(made.contains("authorize = \"/auth\""), "{made}");
    }

    #[test]
    fn what_an_answer_says_is_filled_in_where_it_was_asked_and_nowhere_else() {
        let sets = "auth_request_set $user $upstream_http_x_user; auth_request_set $both \"$upstream_status $host\";";
        let fields = "proxy_set_header X-User $user; proxy_set_header X-Both $both;";
        let made = routes(&format!(
            "location / {{ auth_request /auth; {sets} {fields} {APP} }}"
        ));
        assert!(made.contains("X-User = \"{authorized:X-User}\""), "{made}");
        assert!(made.contains("X-Both = \"{authorized} {host}\""), "{made}");
        for lines in [
            format!(
                "location / {{ {sets} {fields} {APP} }} location /z {{ auth_request /auth; {APP} }}"
            ),
            format!(
                "location / {{ auth_request /auth; {fields} {APP} }} location /x {{ {sets} {APP} }}"
            ),
        ] {
            let made = routes(&lines);
            assert!(!made.contains("{authorized:"), "{made}");
        }
    }

    #[test]
    fn a_condition_on_what_an_answer_says_never_holds() {
        let made = direct(&server(&format!(
            "location / {{ auth_request /auth; auth_request_set $c $upstream_http_set_cookie; if ($c ~ \"(; .*)\") {{ set $d \"x$1\"; }} \
             if ($c) {{ add_header A $c; }} if ($c = \"\") {{ add_header B 1; }} {APP} }}"
        )));
        assert_eq!(said(&made, Verdict::Refused), [""; 0]);
        assert!(said(&made, Verdict::Without)[0].contains("asks who may pass after them"));
        assert!(made.text.contains("add = { B = \"1\" }"), "{}", made.text);
        assert!(!made.text.contains("add = { A ="), "{}", made.text);
    }

    #[test]
    fn what_is_not_translated_is_refused() {
        let place = |lines: &str| {
            server(&format!(
                "location / {{ auth_request /auth; {lines} {APP} }}"
            ))
        };
        are_refused(&[
            (
                &place("auth_request /auth?a=b;").replacen("auth_request /auth; ", "", 1),
                "the path of a location",
            ),
            (
                &place("auth_request_set user $upstream_http_x;"),
                "invalid variable name",
            ),
            (
                &place("auth_request_set $host $upstream_http_x;"),
                "$host is what it is",
            ),
            (
                &place("auth_request_set $c $upstream_cookie_a; add_header C $c;"),
                "$upstream_cookie_a cannot",
            ),
            (
                &place("error_page 401 = @none;"),
                "could not find named location",
            ),
            (
                &place("satisfy any; auth_basic x; auth_basic_user_file /f;"),
                "not either of them",
            ),
            (
                &place("proxy_pass_request_body off;"),
                "what clients send, bodies too",
            ),
            (
                &place("proxy_pass_request_headers off;"),
                "name what they must not get",
            ),
            (
                &server(&format!(
                    "location / {{ auth_request /auth; try_files /none @app; }} location @app {{ auth_request /other; {APP} }}"
                )),
                "which it leads to",
            ),
        ]);
    }
}
