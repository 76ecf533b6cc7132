//! `try_files`: what is done where there is no file.

use super::super::document::{Route, Table, Value};
use super::super::logic::guard;
use super::super::sources::Spot;
use super::Translator;
use super::content::Here;
use super::fastcgi::{fixed, runs};
use super::idioms;
use super::location::{self, Kind, Location};
use super::moved::asks;
use super::proxied;
use super::scope::{Expires, Set};
use super::site::Files;
use super::tree::{Directive, Word};

impl<'a> Translator<'a> {
    /// `try_files $uri $uri/ /index.html`, `... @app`, `... =404`.
    pub fn try_files(
        &mut self,
        here: Here<'_, 'a>,
        files: &mut Files,
        table: &mut Table,
        routes: &mut Vec<Route>,
    ) {
        let Some(directive) = here.find("try_files") else {
            return;
        };
        let spot = directive.spot;
        self.verdicts.translated(spot);
        let Some((last, before)) = directive.args.split_last() else {
            return;
        };
        self.looked_for(here, before, files, spot);
        files.flat = only_files(here);
        let last = &self.led_on(here, last);
        let text = last.text.as_str();
        if let Some(code) = text.strip_prefix('=') {
            if code != "404" {
                self.verdicts
                    .refuse(spot, last.spot, "where there is no file the answer is 404");
            }
            return;
        }
        let path = text.split('?').next().unwrap_or(text);
        let path = path.split("$is_args").next().unwrap_or(path);
        if let Some(next) = location::choose(&here.server.locations, path)
            && runs(next).is_some()
        {
            return self.script_instead(here, (next, last), table, routes, spot);
        }
        if path.contains('$') {
            return self.verdicts.refuse(
                spot,
                last.spot,
                format!("\"{text}\" is worked out for each request, which is not translated"),
            );
        }
        let next = if text.starts_with('@') {
            location::named(&here.server.locations, text)
        } else {
            location::choose(&here.server.locations, path)
        };
        if text.starts_with('@') && next.is_none() {
            return self.verdicts.refuse(
                spot,
                last.spot,
                format!("could not find named location \"{text}\""),
            );
        }
        let proxied = next.filter(|next| next.passes_on());
        if let Some(next) = proxied {
            if !text.starts_with('@') {
                return self.verdicts.refuse(
                    spot,
                    last.spot,
                    format!(
                        "the application would be asked for the path that came, not for {text}: if it looks at that one \
                         itself, pass to it by a named location, `try_files $uri $uri/ @app`"
                    ),
                );
            }
            let inner = self.beyond(here, next);
            let is_alike = self.led_to(here, next).access == here.scope.access;
            let service = match inner.last().and_then(|route| route.table.get("to")) {
                Some(Value::Text(service)) => Some(service.clone()),
                _ => None,
            };
            let service = service.filter(|_| only_passes(&inner) && (inner.len() == 1 || is_alike));
            let Some(service) = service else {
                return self.verdicts.refuse(
                    spot,
                    last.spot,
                    "a location that does more than pass requests on cannot be fallen back to",
                );
            };
            return self.instead(here, (next, &inner), service, table, routes, spot);
        }
        if text.starts_with('/') {
            let other = next.map(|next| self.scope_of(here.server, next));
            let same = other.is_none_or(|other| self.root_of(&other) == self.root_of(here.scope));
            if !same {
                return self.verdicts.refuse(
                    spot,
                    last.spot,
                    "the file that is fallen back to has another root",
                );
            }
            if files.flat && path.ends_with('/') {
                return self.verdicts.refuse(
                    spot,
                    last.spot,
                    format!("{path} is a directory, and without $uri/ only files are looked for"),
                );
            }
            self.file_elsewhere(here, path, spot, last.spot);
            if before.iter().any(|word| word.text.ends_with('/')) {
                self.verdicts.note(
                    spot,
                    "a directory without an index is answered with the file that is fallen back to, and in nginx with 403",
                );
            }
            if let Some(first) = &files.fallback {
                let message = format!("there is one file that is fallen back to, /{first}");
                return self.verdicts.refuse(spot, last.spot, message);
            }
            files.fallback = Some(path.trim_start_matches('/').to_owned());
            return;
        }
        let mut inner = next.into_iter().flat_map(|next| next.directive.inner());
        let why = if inner.any(|inner| inner.is("rewrite")) {
            ": who answers where there is no file is asked for the path that came, and this makes others of it"
        } else {
            ": there are a file, =404, and a named location that passes on"
        };
        let message = format!("\"{text}\" is not translated as the last resort{why}");
        self.verdicts.refuse(spot, last.spot, message);
    }

    /// The last resort, where a named location does nothing but lead on: `location @rewrite { rewrite ^ /index.php; }`.
    fn led_on(&mut self, here: Here<'_, 'a>, last: &Word) -> Word {
        let next = location::named(&here.server.locations, &last.text);
        let Some([rewrite]) = next.map(|next| next.directive.inner()) else {
            return last.clone();
        };
        match idioms::rewritten(rewrite) {
            Some(idioms::Last::Word(text)) => {
                self.verdicts.translated(rewrite.spot);
                Word {
                    text,
                    spot: last.spot,
                }
            }
            _ => last.clone(),
        }
    }

    /// What is filled in for who is asked where there is no file: `location @app { proxy_set_header X-Forwarded-Proto $by_map; }`.
    pub fn of_fallback(&mut self, here: Here<'_, 'a>) -> Vec<String> {
        let last = here
            .find("try_files")
            .and_then(|directive| directive.args.last());
        let next = last.and_then(|last| location::named(&here.server.locations, &last.text));
        let Some(next) = next.filter(|next| next.passes_on()) else {
            return Vec::new();
        };
        let fields = self.scope_of(here.server, next).proxy_headers;
        let fields = fields
            .into_iter()
            .filter(|field| !proxied::is_ours(&field.name));
        fields.map(|field| field.value).collect()
    }

    /// What is looked for before the last resort.
    fn looked_for(&mut self, here: Here<'_, 'a>, before: &[Word], files: &mut Files, spot: Spot) {
        let (mut file, mut directory) = (false, false);
        for word in before {
            let text = word.text.as_str();
            let behind = text
                .strip_prefix("$uri")
                .or(text.strip_prefix("$document_uri"));
            let refuse = |translator: &mut Self, why: &str| {
                let message = format!("\"{text}\" is not translated: {why}");
                translator.verdicts.refuse(spot, word.spot, message);
            };
            match behind {
                Some("") => {
                    file = true;
                    if files.suffixes.iter().any(|suffix| !suffix.contains('/')) {
                        let message =
                            "a file of the very name goes before those with more behind it";
                        self.verdicts.note(spot, message);
                    }
                }
                Some("/") => directory = true,
                Some(suffix) if suffix.starts_with(['.', '/']) && !suffix.contains('$') => {
                    let next = location::choose(&here.server.locations, &format!("/x{suffix}"));
                    let by_suffix = |next: &&Location<'_>| matches!(next.kind, Kind::Regex { .. });
                    if next.filter(by_suffix).is_some_and(Location::passes_on) {
                        refuse(self, "the program itself would be sent, and not run");
                        continue;
                    }
                    if directory {
                        let message = format!("`{text}` goes before a directory of the name");
                        self.verdicts.note(spot, message);
                    }
                    let suffix = suffix.to_owned();
                    if !files.suffixes.contains(&suffix) {
                        files.suffixes.push(suffix);
                    }
                }
                None if !text.starts_with(['/', '$']) || text.contains('?') => {
                    let message = format!("no file is called \"{text}\": it is not looked for");
                    self.verdicts.note(spot, message);
                }
                None if text.starts_with('/') && !text.contains('$') && !text.ends_with('/') => {
                    if !file && !directory {
                        refuse(
                            self,
                            "a file that takes a place over while it is there is not looked for with each request: exchange the file of \
                             the cluster and reload",
                        );
                    } else if files.fallback.is_some() {
                        refuse(self, "there is one file that is fallen back to");
                    } else {
                        self.file_elsewhere(here, text, spot, word.spot);
                        files.fallback = Some(text.trim_start_matches('/').to_owned());
                    }
                }
                _ => refuse(
                    self,
                    "$uri, $uri/, what has a fixed end behind it (`$uri.html`), and one file are looked for",
                ),
            }
        }
        if !file && !before.is_empty() {
            self.verdicts
                .note(spot, "a file is looked for first, though $uri is not named");
        }
    }

    /// `try_files /dev/null @app`: nothing but a file that is not there is looked for, and so all goes to that place.
    pub fn straight(&mut self, here: Here<'_, 'a>) -> Option<Vec<Route>> {
        let directive = here.find("try_files")?;
        let (last, before) = directive.args.split_last()?;
        let root = self.root_of(here.scope);
        let is_nothing = |word: &Word| {
            let text = &word.text;
            text.starts_with('/')
                && !text.contains('$')
                && !std::path::Path::new(&format!("{root}{text}")).exists()
        };
        let next = location::named(&here.server.locations, &last.text)?;
        if before.is_empty() || here.scope.alias.is_some() || !before.iter().all(is_nothing) {
            return None;
        }
        let message = format!(
            "there is no {} below {root}: all requests go to `{}`, and it is not looked for again",
            before[0].text, last.text
        );
        self.verdicts.note(directive.spot, message);
        Some(self.beyond(here, next))
    }

    /// `/index.php?$query_string`: a script that answers where there is no file.
    fn script_instead(
        &mut self,
        here: Here<'_, 'a>,
        (next, last): (&Location<'a>, &Word),
        table: &mut Table,
        routes: &mut Vec<Route>,
        spot: Spot,
    ) {
        let Some(path) = fixed(&last.text) else {
            let message = format!(
                "\"{}\" has a query that is worked out for each request, which is not translated: scripts get the one that came",
                last.text
            );
            return self.verdicts.refuse(spot, last.spot, message);
        };
        self.note_query(&last.text, path, spot);
        let Some((service, inner)) = self.fallen_back_to(here, next, path) else {
            return;
        };
        let scope = self.led_to(here, next);
        if !only_passes(&inner) || inner.len() > 1 && scope.access != here.scope.access {
            let message = "a location that does more than run scripts cannot be fallen back to";
            return self.verdicts.refuse(spot, last.spot, message);
        }
        self.instead(here, (next, &inner), service, table, routes, spot);
    }

    /// Has a service asked where there is no file, and for what no file answers.
    fn instead(
        &mut self,
        here: Here<'_, 'a>,
        (next, inner): (&Location<'a>, &[Route]),
        service: String,
        table: &mut Table,
        routes: &mut Vec<Route>,
        spot: Spot,
    ) {
        self.verdicts.note(
            spot,
            "other methods than GET and HEAD go to the application, also where there is a file",
        );
        self.adopt(here, next, inner, table, spot);
        routes.extend(guard(&vec![location::no_reads()], inner, spot));
        table.put("missing", Value::Text(service));
    }

    /// What the application that is asked where there is no file gets and answers by the location that passes it on: it holds
    /// for the whole route, as files have nothing of it.
    pub fn adopt(
        &mut self,
        here: Here<'_, 'a>,
        next: &Location<'a>,
        inner: &[Route],
        table: &mut Table,
        spot: Spot,
    ) {
        let scope = self.led_to(here, next);
        let refuse = |translator: &mut Self, what: &str| {
            let message = format!(
                "the location that is fallen back to {what}: that cannot be said for it alone"
            );
            translator.verdicts.refuse(spot, spot, message);
        };
        if scope.add_headers != here.scope.add_headers {
            refuse(self, "has fields of answers of its own");
        }
        // That of files is the site's.
        let of_site = |set: &Set<Expires>| match set.value {
            Expires::Never => false,
            Expires::For(time) => !time.is_zero(),
            Expires::Off => true,
        };
        let is_off = |set: &Set<Expires>| set.value == Expires::Off;
        let is_site = !here.list.iter().any(Directive::passes_on);
        let apart = is_site
            && here.scope.expires.as_ref().is_none_or(of_site)
            && scope.expires.as_ref().is_none_or(is_off);
        if scope.expires != here.scope.expires && !apart {
            refuse(self, "has an `expires` of its own");
        }
        // Whoever got here was asked for it before.
        let is_entered_alike = scope.realm == here.scope.realm
            && scope.users == here.scope.users
            && scope.rates == here.scope.rates
            && scope.at_once == here.scope.at_once;
        // Whom it keeps out the place has kept out already.
        let passed = inner.iter().filter(|route| route.table.has("to"));
        for (key, value) in passed.flat_map(|route| &route.table.0) {
            match (key.as_str(), value) {
                // Files are asked for without a body.
                ("to" | "log", _) => {}
                ("limits", Value::Table(limits)) if !limits.has("per-source") => {}
                ("auth" | "rate" | "limits", _) if is_entered_alike => {}
                ("compress", _) => table.put(key, value.clone()),
                ("errors", Value::Table(pages)) => {
                    let errors = table.table("errors");
                    for (status, page) in &pages.0 {
                        // A file that is not there is not an error, and one that is forbidden is the site's.
                        if !matches!(status.as_str(), "403" | "404") && !errors.has(status) {
                            errors.put(status, page.clone());
                        }
                    }
                }
                ("headers", Value::Table(headers)) => {
                    if let Some(request) = headers.get("request") {
                        table.table("headers").put("request", request.clone());
                    }
                    let response = match headers.get("response") {
                        Some(Value::Table(response)) => &response.0[..],
                        _ => &[],
                    };
                    for (change, value) in response {
                        if matches!(change.as_str(), "remove" | "replace") {
                            let response = table.table("headers").table("response");
                            response.put(change, value.clone());
                        }
                    }
                }
                _ => refuse(self, "does more than pass requests on"),
            }
        }
    }
}

/// Whether one of these routes passes requests on, the last, and those before it keep clients out.
fn only_passes(routes: &[Route]) -> bool {
    let Some((last, before)) = routes.split_last() else {
        return false;
    };
    let keeps_out = |route: &Route| {
        let table = &route.table;
        let others = ["method", "path", "header", "host", "query", "cookie"];
        table.has("deny") && !asks(table, &others)
    };
    last.table.has("to") && before.iter().all(keeps_out)
}

/// Whether a place has no directories: `try_files` looks for files alone.
pub(crate) fn only_files(here: Here<'_, '_>) -> bool {
    let directive = here.find("try_files");
    directive.is_some_and(|directive| {
        let before = directive
            .args
            .split_last()
            .map_or(&[][..], |(_, before)| before);
        let is_directory = |word: &Word| matches!(&*word.text, "$uri/" | "$document_uri/");
        !before.iter().any(is_directory)
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::Verdict;
    use super::super::tests::{are_noted, are_refused, direct, said};

    const APP: &str = "location @app { proxy_pass http://127.0.0.1:82; }";

    fn server(files: &str) -> String {
        format!("server {{ listen 81; root /srv; location / {{ try_files {files}; }} {APP} }}")
    }

    fn made(files: &str) -> String {
        let made = direct(&server(files));
        assert_eq!(
            said(&made, Verdict::Refused),
            Vec::<String>::new(),
            "{files}"
        );
        made.text
    }

    #[test]
    fn what_has_a_fixed_end_behind_the_path_is_a_suffix_of_the_site() {
        let text = made("$uri $uri.html $uri/ =404");
        assert!(text.contains("suffixes   = \".html\""), "{text}");
        assert!(!text.contains("directories"), "{text}");
        let text = made("$uri/index.html $uri.html $uri @app");
        assert!(text.contains("[\"/index.html\", \".html\"]"), "{text}");
        assert!(text.contains("directories = false"), "{text}");
        assert!(text.contains("missing = \"127-0-0-1-82\""), "{text}");
        are_noted(&[
            (
                &server("$uri $uri/ $uri.html =404"),
                "goes before a directory",
            ),
            (&server("$uri.html $uri =404"), "of the very name"),
        ]);
        are_refused(&[(
            "server { listen 81; root /srv; location / { try_files $uri $uri.php =404; } location ~ \\.php$ { fastcgi_pass a:9; } }",
            "would be sent, and not run",
        )]);
    }

    #[test]
    fn one_file_may_come_before_the_last_resort() {
        let text = made("$uri $uri/ /index.html /index.php?$args =404");
        assert!(text.contains("fallback   = \"index.html\""), "{text}");
        let text = made("$uri /index.html @app");
        assert!(
            text.contains("fallback    = \"index.html\"") && text.contains("missing = "),
            "{text}"
        );
        are_noted(&[
            (&server("$uri uri/ @app"), "no file is called \"uri/\""),
            (
                &server("$uri /index.html /index.php?$args =404"),
                "no file is called",
            ),
        ]);
        are_refused(&[
            (&server("/maintenance.html $uri =404"), "while it is there"),
            (&server("$uri /a.html /b.html =404"), "there is one file"),
            (&server("$uri /a.html /b.html"), "there is one file"),
            (&server("$uri $uri$args =404"), "a fixed end behind it"),
        ]);
    }

    #[test]
    fn where_nothing_that_is_there_is_looked_for_all_goes_to_the_last_resort() {
        let text = made("/none.of.this @app");
        assert!(
            text.contains("{ to = \"127-0-0-1-82\"") && !text.contains("[site."),
            "{text}"
        );
        let there = direct(
            "server { listen 81; root /; location / { try_files /etc @app; } location @app { proxy_pass http://127.0.0.1:82; } }",
        );
        assert!(!said(&there, Verdict::Refused).is_empty());
    }

    #[test]
    fn how_long_files_may_be_kept_is_not_said_of_what_answers_where_there_is_none() {
        let text = |expires: &str| {
            let made = direct(&format!(
                "server {{ listen 81; root /srv; location / {{ expires {expires}; try_files $uri @app; }} {APP} }}"
            ));
            assert_eq!(
                said(&made, Verdict::Refused),
                Vec::<String>::new(),
                "{expires}"
            );
            made.text
        };
        for (expires, kept) in [("30d", "30d"), ("max", "366d")] {
            let text = text(expires);
            assert!(
                text.contains(&format!("expires     = {{ \"*\" = \"{kept}\" }}")),
                "{text}"
            );
            assert!(!text.contains("max-age"), "{text}");
        }
        are_refused(&[(
            "server { listen 81; root /srv; location / { expires epoch; try_files $uri @app; } location @app { proxy_pass http://127.0.0.1:82; } }",
            "has an `expires` of its own",
        )]);
    }

    #[test]
    fn a_named_location_that_only_leads_on_is_where_it_leads_to() {
        let text = |last: &str, named: &str| {
            let made = direct(&format!(
                "server {{ listen 81; root /srv; location / {{ try_files $uri {last}; }} {named} location ~ \\.php$ {{ fastcgi_param \
                 SCRIPT_FILENAME $document_root$fastcgi_script_name; fastcgi_pass unix:/run/php.sock; }} }}"
            ));
            assert_eq!(
                said(&made, Verdict::Refused),
                Vec::<String>::new(),
                "{named}"
            );
            made.text
        };
        assert_eq!(
            text("@rewrite", "location @rewrite { rewrite ^ /index.php; }"),
            text("/index.php?$args", "")
        );
    }

    #[test]
    fn what_a_map_makes_for_who_is_fallen_back_to_makes_a_route_for_each_value() {
        let made = direct(
            "map $http_x_forwarded_proto $proto { default $scheme; https https; } server { listen 81; root /srv; location / { \
             try_files $uri @app; } location @app { proxy_set_header X-Forwarded-Proto $proto; proxy_set_header Proxy-Connection x; \
             proxy_pass http://127.0.0.1:82; } }",
        );
        assert_eq!(said(&made, Verdict::Refused), Vec::<String>::new());
        let routes = made
            .text
            .lines()
            .filter(|line| line.contains("to = \"www\""));
        let routes: Vec<&str> = routes.collect();
        assert_eq!(routes.len(), 2, "{}", made.text);
        assert!(
            routes[0].contains("X-Forwarded-Proto = \"https\""),
            "{}",
            made.text
        );
        assert!(!made.text.contains("Proxy-Connection"), "{}", made.text);
    }
}
