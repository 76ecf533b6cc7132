//! `error_page`: files that are sent with an error, and who is asked where there is no file.

use super::super::document::{Route, Table, Value};
use super::super::logic::CONDITIONS;
use super::Translator;
use super::content::Here;
use super::idioms;
use super::location::{self, Kind};
use super::scope::ErrorPage;
use super::site::Files;

impl<'a> Translator<'a> {
    /// `error_page`: below the root of the site, or files of their own.
    pub fn error_pages(
        &mut self,
        here: Here<'_, 'a>,
        is_site: bool,
        files: &mut Files,
        table: &mut Table,
    ) {
        if here.is_error {
            return;
        }
        for mut page in here.scope.error_pages.clone() {
            self.verdicts.translated(page.spot);
            let intercepts = here.scope.intercept.as_ref().is_some_and(|set| set.value);
            self.refused_to(here, &mut page, !is_site && intercepts, table);
            if page.statuses.is_empty() {
                continue;
            }
            page.to = self.known(&page.to);
            self.page_of_place(here, &mut page);
            if page.to.contains('$') && !is_elsewhere(&page.to) {
                let message =
                    "what an error is answered with is named, not worked out for each request";
                self.verdicts.refuse(page.spot, page.spot, message);
                continue;
            }
            let only_404 = page.statuses == [404];
            // What the place answers itself, with `return` or `deny`, is looked at where it does.
            let mut statuses = page.statuses.iter();
            let by_files =
                |status: &u16| is_own(*status) && (is_site || !matches!(status, 403..=405));
            if (is_site || !intercepts) && !statuses.any(by_files) {
                continue;
            }
            if !page.to.starts_with(['/', '@']) {
                self.error_redirect(here, is_site, &page, table);
                continue;
            }
            self.keeps_status(&mut page);
            if page.to.starts_with('@') || page.status.is_some() {
                let named = here.server.locations.iter().find(|l| l.text == page.to);
                let next = named.or_else(|| location::choose(&here.server.locations, &page.to));
                // What answers errors does not answer its own.
                let is_here = here.location.is_some_and(|here| {
                    next.is_some_and(|next| next.directive.spot == here.directive.spot)
                });
                if is_here && next.is_some_and(|l| matches!(l.kind, Kind::Named | Kind::Exact)) {
                    continue;
                }
                let proxied =
                    next.filter(|l| l.directive.inner().iter().any(|d| d.is("proxy_pass")));
                if let (true, Some(next), true) = (only_404, next, page.to.starts_with('@')) {
                    let inner = self.of_location(
                        Here {
                            is_error: true,
                            ..here
                        },
                        next,
                    );
                    if let [only] = &inner[..]
                        && let Some(to) = only.table.get("to")
                    {
                        self.missing_status(&page, is_site);
                        self.adopt(here, next, &inner, table, page.spot);
                        table.put("missing", to.clone());
                        continue;
                    }
                }
                if only_404
                    && is_site
                    && matches!(page.status.as_deref(), Some("200" | ""))
                    && page.to.starts_with('/')
                    && proxied.is_none()
                {
                    self.file_elsewhere(here, &page.to, page.spot, page.spot);
                    files.fallback = Some(page.to.trim_start_matches('/').to_owned());
                    continue;
                }
                self.verdicts.refuse(
                    page.spot,
                    page.spot,
                    "an error is answered with a file, or, for 404, by another place",
                );
                continue;
            }
            if self.page_is_passed_on(here, &page) {
                continue;
            }
            self.file_elsewhere(here, &page.to, page.spot, page.spot);
            let theirs = self.page_root(here, &page.to);
            let same = theirs == self.root_of(here.scope) && files.root.is_none();
            let pages: Vec<u16> = page
                .statuses
                .iter()
                .copied()
                .filter(|status| *status >= 400)
                .collect();
            if pages.len() < page.statuses.len() {
                self.verdicts
                    .note(page.spot, "only errors, from 400 on, have pages");
            }
            for status in pages {
                if is_site && same {
                    // The first that names a status counts.
                    files
                        .errors
                        .entry(status)
                        .or_insert_with(|| page.to.trim_start_matches('/').to_owned());
                } else {
                    let has = table.get("errors").is_some_and(
                        |errors| matches!(errors, Value::Table(table) if table.has(&status.to_string())),
                    );
                    if !has {
                        let Some(file) = self.page_file(&theirs, &page) else {
                            continue;
                        };
                        let errors = table.table("errors");
                        let of_servers = here.scope.intercept.as_ref();
                        let page = if !is_site && of_servers.is_some_and(|set| set.value) {
                            let page = Table::default().with("file", Value::Text(file));
                            Value::Table(page.with("upstream", Value::plain(true)))
                        } else {
                            Value::Text(file)
                        };
                        errors.put(&status.to_string(), page);
                    }
                }
            }
        }
        if !is_site {
            servers_gone(table);
        }
    }

    /// `error_page 403 https://login.example/`, with `=301` by that status.
    fn error_redirect(
        &mut self,
        here: Here<'_, 'a>,
        is_site: bool,
        page: &ErrorPage,
        table: &mut Table,
    ) {
        let early = |status: &u16| matches!(status, 400 | 408 | 414 | 431 | 494..=497);
        if page.statuses.iter().any(early) {
            let message = "what cannot be read as a request, and who fails the handshake, is answered before its place is known, \
                           with no page of a place";
            self.verdicts.note(page.spot, message);
        }
        let to = match self.template(&page.to, &here.context()) {
            Ok(to) => to,
            Err(variable) => {
                let message = format!("{variable} cannot be filled in here");
                return self.verdicts.refuse(page.spot, page.spot, message);
            }
        };
        let status = page.status.as_deref().filter(|status| {
            // Any other is 302.
            ["301", "303", "307", "308"].contains(status)
        });
        let intercepts = here.scope.intercept.as_ref().is_some_and(|set| set.value);
        for of in page.statuses.iter().filter(|status| **status >= 400) {
            let mut own = Table::default().with("redirect", Value::text(&to));
            if let Some(status) = status {
                own.put("status", Value::Plain(status.to_owned()));
            }
            if !is_site && intercepts {
                own.put("upstream", Value::plain(true));
            }
            let errors = table.table("errors");
            // The first that names a status counts.
            if !errors.has(&of.to_string()) {
                errors.put(&of.to_string(), Value::Table(own));
            }
        }
    }

    /// What differs where somebody else is asked for what is not there.
    fn missing_status(&mut self, page: &ErrorPage, is_site: bool) {
        if page.status.as_deref() != Some("") {
            let message = format!(
                "the answer has the status of {}, as with `error_page 404 = {}`",
                page.to, page.to
            );
            self.verdicts.note(page.spot, message);
        }
        if !is_site {
            let message = "only a 404 to GET and HEAD is answered by the other place";
            self.verdicts.note(page.spot, message);
        }
    }

    /// `error_page 418 = @other` where the place itself answers so: what is done there. Whether it is that.
    fn other_place(
        &mut self,
        here: Here<'_, 'a>,
        page: &ErrorPage,
        status: u16,
        route: &mut Route,
    ) -> bool {
        let Some(next) = location::named(&here.server.locations, &page.to) else {
            return false;
        };
        let mut inner = self.of_location(
            Here {
                is_error: true,
                ..here
            },
            next,
        );
        let status = match page.status.as_deref() {
            Some("") => None,
            Some(other) => other.parse().ok(),
            None => Some(status),
        };
        if let Some(status) = status
            && !inner
                .iter_mut()
                .all(|route| has_status(&mut route.table, status))
        {
            let message = format!(
                "the status would be that of {}: write `= {}`",
                page.to, page.to
            );
            self.verdicts.refuse(page.spot, page.spot, message);
            return true;
        }
        let table = &mut route.table;
        table
            .0
            .retain(|(key, _)| CONDITIONS.contains(&key.as_str()));
        // What goes with this place does not go with that one.
        table.put("route", Value::Routes(inner));
        true
    }

    /// Pages of the errors that routes answer with themselves: `return 404`, `deny all`.
    pub fn own_errors(&mut self, here: Here<'_, 'a>, routes: &mut [Route]) {
        if here.is_error {
            return;
        }
        for route in routes {
            let status = match (route.table.get("respond"), route.table.get("deny")) {
                (Some(Value::Plain(status)), _) => status.parse().unwrap_or(0),
                (None, Some(Value::Plain(_))) => 403,
                _ => continue,
            };
            let mut pages = here.scope.error_pages.iter();
            let page = pages.find(|page| status >= 400 && page.statuses.contains(&status));
            let Some(page) = page.filter(|_| !route.table.has("errors")) else {
                continue;
            };
            self.verdicts.translated(page.spot);
            let mut page = page.clone();
            self.page_of_place(here, &mut page);
            self.keeps_status(&mut page);
            let page = &page;
            if page.to.starts_with('@') && self.other_place(here, page, status, route) {
                continue;
            }
            if !page.to.starts_with(['/', '@', '$']) || is_elsewhere(&page.to) {
                self.error_redirect(here, false, page, &mut route.table);
                continue;
            }
            if page.status.is_some() || !page.to.starts_with('/') || page.to.contains('$') {
                self.verdicts.refuse(
                    page.spot,
                    page.spot,
                    "an error that is answered here has a file, and no other place",
                );
                continue;
            }
            let page = page.clone();
            if self.page_is_passed_on(here, &page) {
                continue;
            }
            self.file_elsewhere(here, &page.to, page.spot, page.spot);
            let root = self.page_root(here, &page.to);
            let Some(file) = self.page_file(&root, &page) else {
                continue;
            };
            let errors = route.table.table("errors");
            errors.put(&status.to_string(), Value::Text(file));
        }
    }

    /// `error_page 403 =404 /404.html`: the page of a file, with the status of the error.
    fn keeps_status(&mut self, page: &mut ErrorPage) {
        let status = page
            .status
            .as_deref()
            .and_then(|status| status.parse::<u16>().ok());
        if let Some(status) = status.filter(|status| *status >= 400 && page.to.starts_with('/')) {
            let message =
                format!("a page does not change the status: it stays, and is not {status}");
            self.verdicts.note(page.spot, message);
            page.status = None;
        }
    }

    /// `error_page 503 @maintenance` where that place has nothing but a file, `rewrite ^ /maintenance.html break`: that file.
    fn page_of_place(&mut self, here: Here<'_, 'a>, page: &mut ErrorPage) {
        let Some(next) = location::named(&here.server.locations, &page.to) else {
            return;
        };
        let [rewrite] = next.directive.inner() else {
            return;
        };
        // With `=` the status would be that of the file.
        if let Some(path) = idioms::one_file(rewrite).filter(|_| page.status.is_none()) {
            self.verdicts.translated(rewrite.spot);
            path.clone_into(&mut page.to);
        }
    }

    /// The file of a page; `None` where it is not there, and the file is to be run at once.
    fn page_file(&mut self, root: &str, page: &ErrorPage) -> Option<String> {
        let file = format!("{}{}", root.trim_end_matches('/'), page.to);
        let is_missing = self.options.direct && std::path::Path::new(&file).metadata().is_err();
        if is_missing {
            let message = format!(
                "{file} is not here: the usual page is shown until a reload finds it, and the status stays"
            );
            self.verdicts.note(page.spot, message);
        }
        (!is_missing).then_some(file)
    }

    /// The root of the place where the page of an error is.
    fn page_root(&mut self, here: Here<'_, 'a>, page: &str) -> String {
        let scope = match location::choose(&here.server.locations, page) {
            Some(next) => self.scope_of(here.server, next),
            None => here.server.scope.clone(),
        };
        self.root_of(&scope)
    }
}

/// Whether an error leads to another server.
fn is_elsewhere(to: &str) -> bool {
    ["http://", "https://", "$scheme://"]
        .iter()
        .any(|begin| to.starts_with(begin))
}

/// Gives what answers by itself another status; `false` where somebody else answers.
fn has_status(table: &mut Table, status: u16) -> bool {
    for (key, value) in &mut table.0 {
        match (key.as_str(), value) {
            ("respond", Value::Table(respond)) => respond.put("status", Value::plain(status)),
            ("respond", plain) => *plain = Value::plain(status),
            ("route", Value::Routes(inner)) => {
                let mut inner = inner.iter_mut();
                if !inner.all(|route| has_status(&mut route.table, status)) {
                    return false;
                }
            }
            ("to" | "redirect" | "deny", _) => return false,
            _ => {}
        }
    }
    true
}

/// Whether files, or servers that fail, can be answered with this status by nginx itself.
fn is_own(status: u16) -> bool {
    matches!(
        status,
        400 | 401 | 403..=405 | 408 | 411..=414 | 416 | 421 | 429 | 431 | 494..=497 | 500..=507
    )
}

/// Where no server can be used the answer is 503, and nginx's is 502: its page is shown.
fn servers_gone(table: &mut Table) {
    let Some(Value::Table(errors)) = table.get("errors") else {
        return;
    };
    let page = match errors.get("502") {
        Some(Value::Table(page)) => page.get("file").cloned().or_else(|| {
            let own = page.0.iter().filter(|(key, _)| key != "upstream");
            Some(Value::Table(Table(own.cloned().collect())))
        }),
        page => page.cloned(),
    };
    if let (Some(page), false) = (page, errors.has("503")) {
        table.table("errors").put("503", page);
    }
}
