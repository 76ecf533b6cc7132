//! Files that nginx looks for another location for: an index of a directory, and what `try_files` and `error_page` end in.
//!
//! A site finds both by itself, in the place that the path as it came is in. That is the same where the other location
//! says no more than where files are; what else it says is told, and what answers otherwise there is refused.

use super::super::sources::Spot;
use super::Translator;
use super::content::Here;
use super::fallback::only_files;
use super::fastcgi::{ScriptIndex, runs};
use super::location::{self, Kind, Location};
use super::scope::ErrorPage;
use super::tree::Directive;

/// What a location says of the files in it.
enum Says {
    /// Nothing that the place which leads to it does not.
    Nothing,
    /// How they are sent.
    Settings(String),
    /// That something else answers, or who may ask.
    Answers(String),
}

impl<'a> Translator<'a> {
    /// An index that belongs to another location.
    ///
    /// Returns the one that a script is.
    pub fn index_elsewhere(&mut self, here: Here<'_, 'a>) -> Option<ScriptIndex> {
        // Where no root is named nobody means files.
        here.scope.root.as_ref()?;
        if only_files(here) {
            return None;
        }
        let directory = match here.location {
            Some(location) => match location.kind {
                Kind::Prefix | Kind::Final => location.text.trim_end_matches('/'),
                Kind::Exact if location.text.ends_with('/') => location.text.trim_end_matches('/'),
                Kind::Exact | Kind::Regex { .. } | Kind::Named => return None,
            },
            // Of which nothing is left where a location has all paths.
            None if here.server.locations.iter().any(|l| l.text == "/") => return None,
            None => "",
        };
        let usual = ["index.html".to_owned()];
        let (names, spot) = match &here.scope.index {
            Some(set) => (&set.value[..], set.spot),
            None => (&usual[..], here.spot),
        };
        let script = self.script_index(here, directory);
        for name in names {
            let path = format!("{directory}/{name}");
            if location::choose(&here.server.locations, &path).is_some_and(|l| runs(l).is_some()) {
                continue;
            }
            self.goes_on(here, &path, "a directory whose index it is");
            let Some(next) = location::choose(&here.server.locations, &path) else {
                continue;
            };
            let shown = next.directive.shown();
            match says(here, next) {
                Says::Nothing => {}
                Says::Settings(what) => self.verdicts.note(
                    next.directive.spot,
                    format!("`{what}` holds for the file that is asked for by its name, not for a directory whose index it is"),
                ),
                // A file that nobody may see must not be the index of a directory.
                Says::Answers(what) => self.verdicts.refuse(
                    spot,
                    spot,
                    format!(
                        "an index `{name}` belongs to `{shown}`, whose `{what}` would not be asked here: leave it out of \
                         `index`, or let that location have paths that end in a slash, too"
                    ),
                ),
            }
        }
        script
    }

    /// What a place says of files holds for the one that it leads to, also where nginx has left the place by then.
    fn goes_on(&mut self, here: Here<'_, 'a>, path: &str, whom: &str) {
        let next = location::choose(&here.server.locations, path);
        let Some(location) = here
            .location
            .filter(|around| next.is_none_or(|next| !is_within(here, next, around)))
        else {
            return;
        };
        let said_there = |inner: &&Directive| {
            let there = next.map_or(&[][..], |next| next.directive.inner());
            there.iter().any(|there| there.shown() == inner.shown())
        };
        let own = location.directive.inner().iter();
        for inner in own.filter(|inner| is_setting(&inner.name.text) && !said_there(inner)) {
            self.verdicts.note(
                inner.spot,
                format!(
                    "`{}` holds for {path} as {whom}, too: in nginx that file is of another place",
                    inner.shown()
                ),
            );
        }
    }

    /// Whether the page of an error would be asked of servers: then the usual one is shown. A script that answers who may not
    /// ask may let them in, or ask for a password: that is refused.
    pub fn page_is_passed_on(&mut self, here: Here<'_, 'a>, page: &ErrorPage) -> bool {
        let (path, spot) = (&page.to, page.spot);
        let next = location::choose(&here.server.locations, path);
        let Some(next) = next.filter(|next| next.passes_on()) else {
            return false;
        };
        let shown = next.directive.shown();
        let lets_in = runs(next).is_some() && page.statuses.iter().any(|s| matches!(s, 401 | 403));
        if lets_in || here.scope.intercept.as_ref().is_some_and(|set| set.value) {
            let message = format!(
                "{path} would be asked of the servers of `{shown}`: an error is answered with a file"
            );
            self.verdicts.refuse(spot, spot, message);
        } else {
            let message = format!(
                "{path} would be asked of the servers of `{shown}`: the usual page is shown"
            );
            self.verdicts.note(spot, message);
        }
        true
    }

    /// A file that is fallen back to, which belongs to another location.
    pub fn file_elsewhere(&mut self, here: Here<'_, 'a>, path: &str, directive: Spot, at: Spot) {
        self.goes_on(here, path, "what falls back to it");
        let Some(next) = location::choose(&here.server.locations, path) else {
            return;
        };
        let shown = next.directive.shown();
        match says(here, next) {
            Says::Nothing => {}
            Says::Settings(what) => self.verdicts.note(
                next.directive.spot,
                format!("`{what}` holds for the file that is asked for by its name, not where it is fallen back to"),
            ),
            Says::Answers(what) => self.verdicts.refuse(
                directive,
                at,
                format!("{path} belongs to `{shown}`, whose `{what}` would not be asked here"),
            ),
        }
    }
}

/// What says how files are sent.
fn is_setting(name: &str) -> bool {
    !LEADS.contains(&name) && !ANSWERS.contains(&name) && !is_of_requests(name)
}

/// What is said of what servers are asked, and clients may.
fn is_of_requests(name: &str) -> bool {
    let of = ["proxy_", "fastcgi_", "uwsgi_", "scgi_", "client_", "limit_"];
    of.iter().any(|of| name.starts_with(of)) && !ANSWERS.contains(&name)
}

/// Where files are is seen by who looks for them; what comes from within may come to an internal place.
const LEADS: [&str; 9] = [
    "break",
    "set",
    "root",
    "internal",
    "index",
    "access_log",
    "error_log",
    "try_files",
    "error_page",
];

const ANSWERS: [&str; 18] = [
    "return",
    "rewrite",
    "if",
    "allow",
    "deny",
    "auth_basic",
    "auth_basic_user_file",
    "auth_request",
    "satisfy",
    "limit_req",
    "limit_except",
    "proxy_pass",
    "fastcgi_pass",
    "uwsgi_pass",
    "scgi_pass",
    "alias",
    "stub_status",
    "location",
];

fn says(here: Here<'_, '_>, next: &Location<'_>) -> Says {
    if here.location.is_some_and(|around| has(next, around)) {
        return Says::Nothing;
    }
    let mut settings = None;
    for place in location::chain(&here.server.locations, next) {
        if here.location.is_some_and(|here| has(place, here)) {
            continue;
        }
        for inner in place.directive.inner() {
            match inner.name.text.as_str() {
                // Nobody is kept out.
                "allow" if inner.arg(0) == "all" => {}
                "auth_basic" | "auth_request" if inner.arg(0) == "off" => {}
                // It is for other paths, or the next one here.
                "location" if !place.is(next) => {}
                name if LEADS.contains(&name) => {}
                name if is_of_requests(name) => {}
                name if ANSWERS.contains(&name) => return Says::Answers(inner.shown()),
                _ => settings = settings.or_else(|| Some(inner.shown())),
            }
        }
    }
    settings.map_or(Says::Nothing, Says::Settings)
}

/// Whether what a place says holds for the next one, as that stands in it, or the other way round.
fn is_within(here: Here<'_, '_>, next: &Location<'_>, around: &Location<'_>) -> bool {
    let chain = location::chain(&here.server.locations, next);
    has(next, around) || chain.iter().any(|outer| outer.is(around))
}

/// Whether a location is that one, or has it within.
fn has(location: &Location<'_>, wanted: &Location<'_>) -> bool {
    location.is(wanted) || location.children.iter().any(|inner| has(inner, wanted))
}

#[cfg(test)]
mod tests {
    use super::super::super::Verdict;
    use super::super::tests::{are_noted, are_refused, direct, said};

    const APP: &str = "proxy_pass http://127.0.0.1:82;";

    fn server(lines: &str) -> String {
        format!("server {{ listen 81; root /srv; {lines} }}")
    }

    #[test]
    fn an_index_that_something_else_answers_for_is_refused() {
        are_refused(&[
            (
                &server(&format!(
                    "proxy_intercept_errors on; error_page 500 /500.html; location / {{ {APP} }}"
                )),
                "an error is answered with a file",
            ),
            (
                &server(&format!("index index.php; location ~ \\.php$ {{ {APP} }}")),
                "an index `index.php` belongs to `location ~ \\.php$`",
            ),
            (
                &server(&format!("location = / {{ }} location / {{ {APP} }}")),
                "whose `proxy_pass",
            ),
            (
                &server("location / { } location ~ \\.html$ { deny all; }"),
                "whose `deny all`",
            ),
            (
                &server(
                    "location / { try_files $uri /a.html; } location = /a.html { auth_basic x; }",
                ),
                "whose `auth_basic x`",
            ),
        ]);
        let page = "error_page 403 /403.html; deny 10.0.0.1; location = /403.html { allow all; auth_basic off; }";
        assert_eq!(
            said(&direct(&server(page)), Verdict::Refused),
            Vec::<String>::new()
        );
        are_noted(&[
            (
                &server(
                    "location / { add_header X-A b; try_files $uri /a.html; } location = /a.html { }",
                ),
                "`add_header X-A b` holds for /a.html as what falls back to it, too",
            ),
            (
                &server(&format!(
                    "error_page 403 /403.html; location /no {{ deny all; return 403; }} location / {{ {APP} }}"
                )),
                "the usual page is shown",
            ),
            (
                &server(&format!("error_page 502 /502.html; location / {{ {APP} }}")),
                "the usual page is shown",
            ),
            (
                &server("location / { } location ~ \\.html$ { expires 1h; }"),
                "not for a directory whose index it is",
            ),
            (
                &server(
                    "location / { try_files $uri $uri/ /a.html; } location = /a.html { add_header X-A b; }",
                ),
                "not where it is fallen back to",
            ),
        ]);
    }

    #[test]
    fn what_is_said_of_requests_is_not_of_the_page_of_an_error() {
        let made = direct(&server(&format!(
            "error_page 404 /404.html; location / {{ proxy_set_header X-A b; proxy_read_timeout 9s; client_max_body_size 1m; {APP} }}"
        )));
        let noted = said(&made, Verdict::Noted);
        assert!(
            !noted.iter().any(|note| note.contains("falls back")),
            "{noted:?}"
        );
    }

    #[test]
    fn the_query_that_is_said_twice_is_told_or_refused() {
        let server = |to: &str| {
            format!(
                "server {{ listen 81; rewrite ^/a$ {to} permanent; location / {{ return 404; }} }}"
            )
        };
        are_noted(&[(
            &server("$scheme://$host$request_uri/"),
            "here it is at the end alone",
        )]);
        are_refused(&[(&server("/b?to=$request_uri&c=d"), "write a `?` at the end")]);
    }

    #[test]
    fn what_is_fallen_back_to_is_asked_for_the_path_that_came_or_refused() {
        let server = |last: &str| {
            format!(
                "server {{ listen 81; root /srv; location / {{ try_files $uri $uri/ {last}; }} location = /index.php {{ {APP} }} location @app {{ rewrite ^ /index.php break; {APP} }} }}"
            )
        };
        are_refused(&[
            (&server("/index.php"), "by a named location"),
            (&server("/index.php?$args"), "by a named location"),
            (&server("/index.php?q=$uri&$args"), "by a named location"),
            (&server("/index.php$is_args$args"), "by a named location"),
            (&server("/$host.html"), "worked out for each request"),
            (&server("@app"), "does more than pass requests on"),
        ]);
        are_noted(&[(
            "server { listen 81; root /srv; location / { try_files $uri @app; } location @app { proxy_pass http://127.0.0.1:82; } }",
            "other methods than GET and HEAD",
        )]);
    }
}
