//! `try_files`: what is done where there is no file.

use super::super::document::{Route, Table, Value};
use super::super::logic::guard;
use super::super::sources::Spot;
use super::Translator;
use super::content::Here;
use super::fastcgi::{fixed, runs};
use super::location::{self, Kind, Location};
use super::site::Files;
use super::tree::Word;

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
        let mut found = false;
        for word in before {
            match word.text.as_str() {
                "$uri" | "$document_uri" => found = true,
                "$uri/" | "$document_uri/" => {}
                other => self.verdicts.refuse(
                    spot,
                    word.spot,
                    format!("\"{other}\" is not translated: $uri and $uri/ are looked for"),
                ),
            }
        }
        if !found && !before.is_empty() {
            self.verdicts
                .note(spot, "a file is looked for first, though $uri is not named");
        }
        files.flat = only_files(here);
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
            here.server
                .locations
                .iter()
                .find(|l| l.kind == Kind::Named && l.text == text)
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
            let inner = self.of_location(here, next);
            let service = match &inner[..] {
                [only] => match only.table.get("to") {
                    Some(Value::Text(service)) => Some(service.clone()),
                    _ => None,
                },
                _ => None,
            };
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
            files.fallback = Some(path.trim_start_matches('/').to_owned());
            return;
        }
        self.verdicts.refuse(
            spot,
            last.spot,
            format!("\"{text}\" is not translated as the last resort"),
        );
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
        if inner.len() != 1 {
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
        let scope = self.scope_of(here.server, next);
        let refuse = |translator: &mut Self, what: &str| {
            let message = format!(
                "the location that is fallen back to {what}: that cannot be said for it alone"
            );
            translator.verdicts.refuse(spot, spot, message);
        };
        if scope.add_headers != here.scope.add_headers {
            refuse(self, "has fields of answers of its own");
        }
        if scope.expires != here.scope.expires {
            refuse(self, "has an `expires` of its own");
        }
        // Whoever got here was asked for it before.
        let is_entered_alike = scope.realm == here.scope.realm
            && scope.users == here.scope.users
            && scope.rates == here.scope.rates
            && scope.at_once == here.scope.at_once;
        for (key, value) in inner.iter().flat_map(|route| &route.table.0) {
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

/// Whether a place has no directories: `try_files` looks for files alone.
pub(crate) fn only_files(here: Here<'_, '_>) -> bool {
    let directive = here.find("try_files");
    directive.is_some_and(|directive| {
        let before = directive
            .args
            .split_last()
            .map_or(&[][..], |(_, before)| before);
        !before.iter().any(|word| word.text.ends_with('/'))
    })
}
