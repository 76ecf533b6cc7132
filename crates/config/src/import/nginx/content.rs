//! What a location does: answers, rewriting, who may ask, and then files or an application.

use super::super::document::{Route, Table, Value};
use super::super::logic::{Literal, Subject, guard};
use super::super::sources::Spot;
use super::fastcgi::Family;
use super::location::{self, Kind, Location, answer, redirect};
use super::rewriting::own_host;
use super::scope::{Expires, Scope, YEAR};
use super::site::Files;
use super::tree::Directive;
use super::variables::Context;
use super::{Door, Server, Translator, choices, listener, proxied};

/// Where content is worked out.
#[derive(Clone, Copy)]
pub(crate) struct Here<'h, 'a> {
    pub server: &'h Server<'a>,
    pub door: &'h Door,
    pub scope: &'h Scope,
    pub location: Option<&'h Location<'a>>,
    pub list: &'a [Directive],
    pub spot: Spot,
    /// How many locations led here, one to the other.
    pub depth: usize,
    /// What is asked before it.
    pub before: &'h [Route],
    /// The expression that has found something in the path last.
    pub found: Option<Found<'h>>,
    /// It answers an error: its own have no pages then.
    pub is_error: bool,
}

/// An expression that the path fits.
#[derive(Clone, Copy)]
pub(crate) struct Found<'h> {
    regex: &'h str,
    /// Without regard to case.
    fold: bool,
}

impl<'h> Found<'h> {
    pub fn new(regex: &'h str, fold: bool) -> Self {
        Self { regex, fold }
    }

    /// That of a location.
    fn by(location: &'h Location<'_>) -> Option<Self> {
        match location.kind {
            Kind::Regex { fold } => Some(Self::new(&location.text, fold)),
            _ => None,
        }
    }

    /// As an expression that finds the whole path.
    pub fn whole(self) -> String {
        let flag = if self.fold { "(?i)" } else { "" };
        format!("{flag}{}", whole(self.regex))
    }
}

/// Locations that lead to one another, at most.
const DEEPEST: usize = 8;

impl<'h, 'a> Here<'h, 'a> {
    pub fn context(&self) -> Context<'h> {
        Context {
            server_name: self.server.names.first().map_or("", |(name, _)| name),
            port: self.door.port,
            tls: self.door.tls,
            ..Context::default()
        }
    }

    /// Of a text that is no part of a URL.
    pub fn plain(&self) -> Context<'h> {
        Context {
            plain: true,
            ..self.context()
        }
    }

    /// The values of the fields that it adds to answers.
    pub fn added(&self) -> Vec<String> {
        let fields = self.scope.add_headers.iter();
        fields.map(|field| field.value.clone()).collect()
    }

    /// The same in another location, whose settings are these.
    pub fn at(self, location: &'h Location<'a>, scope: &'h Scope) -> Self {
        Self {
            scope,
            location: Some(location),
            list: location.directive.inner(),
            spot: location.directive.spot,
            ..self
        }
    }

    pub fn find(&self, name: &str) -> Option<&'a Directive> {
        self.list.iter().find(|directive| directive.is(name))
    }
}

/// These routes, for what an application hands over.
fn internal(routes: Vec<Route>, spot: Spot) -> Option<Route> {
    let mut table = Table::default().with("internal", Value::plain("true"));
    match &routes[..] {
        [] => return None,
        [one] if !one.table.has("internal") => table.0.extend(one.table.0.iter().cloned()),
        _ => table.put("route", Value::Routes(routes)),
    }
    Some(answer(table, spot))
}

/// The locations of a block.
struct Within<'t, 'h, 'a> {
    translator: &'t mut Translator<'a>,
    around: Here<'h, 'a>,
}

impl<'a> location::Contents<'a> for Within<'_, '_, 'a> {
    fn content(&mut self, location: &Location<'a>, before: &[Route]) -> Vec<Route> {
        let scope = self.translator.inner_scope(self.around.scope, location);
        self.translator.content(Here {
            server: self.around.server,
            door: self.around.door,
            scope: &scope,
            location: Some(location),
            list: location.directive.inner(),
            spot: location.directive.spot,
            depth: self.around.depth,
            before,
            found: Found::by(location),
            is_error: false,
        })
    }

    fn slash(&mut self, location: &Location<'a>) -> Option<Route> {
        let mut list = location.directive.inner().iter();
        if !location.text.ends_with('/') || !list.any(Directive::passes_on) {
            return None;
        }
        let path = location.text.replace('{', "{{").replace('}', "}}");
        let to = format!("{}{path}", own_host(self.around.scope));
        let sent = answer(redirect(to, 301), location.directive.spot);
        let scope = self.translator.inner_scope(self.around.scope, location);
        let there = self.around.at(location, &scope);
        // What is worked out for each request is said where the location answers.
        if there.added().iter().any(|value| value.contains('$')) {
            return Some(sent);
        }
        self.translator.dressed(there, vec![sent]).pop()
    }
}

impl<'a> Translator<'a> {
    /// What a place does, whatever the path.
    pub fn content(&mut self, here: Here<'_, 'a>) -> Vec<Route> {
        if here.depth > DEEPEST {
            self.verdicts.refuse(
                here.spot,
                here.spot,
                "locations lead to one another in a circle",
            );
            return Vec::new();
        }
        let at = here.location.map(|l| l.directive.spot);
        self.elsewhere(at, |translator| translator.content_by(here))
    }

    fn content_by(&mut self, here: Here<'_, 'a>) -> Vec<Route> {
        self.keep_answer(here);
        let internal_at = here.find("internal").map(|directive| directive.spot);
        if let Some(spot) = internal_at {
            self.verdicts.translated(spot);
        }
        // What is led there from another place is within.
        if internal_at.is_some() && here.depth == 0 {
            let mut routes = Vec::new();
            if self.is_handed_to(here) {
                routes.extend(internal(self.within(here), here.spot));
            } else {
                let passes = here.list.iter().filter(|directive| directive.passes_on());
                self.internal.extend(passes.map(|directive| directive.spot));
            }
            let table = Table::default().with("respond", Value::plain(404));
            let mut outside = vec![answer(table, here.spot)];
            self.own_errors(here, &mut outside);
            routes.extend_from_slice(here.before);
            routes.extend(outside);
            return routes;
        }
        // Rules for clients keep out nobody who asks for them.
        if self.only_decides(here) && !here.scope.access.is_empty() && here.depth == 0 {
            let mut scope = here.scope.clone();
            scope.access.clear();
            let open = self.within(Here {
                scope: &scope,
                before: &[],
                ..here
            });
            let mut routes: Vec<Route> = internal(open, here.spot).into_iter().collect();
            routes.extend(self.within(here));
            return routes;
        }
        self.within(here)
    }

    /// Whether applications may hand requests over to an internal place.
    fn is_handed_to(&self, here: Here<'_, 'a>) -> bool {
        if self.is_asked(here) {
            return !here.is_error;
        }
        let led_to = |location: &Location<'_>| self.handing.leads_to(&location.text, here.list);
        !here.is_error && here.location.is_some_and(led_to)
    }

    /// What a place does for those who may come there.
    fn within(&mut self, here: Here<'_, 'a>) -> Vec<Route> {
        // Locations within are asked first: what is said here holds where there is none.
        if let Some(location) = here.location
            && !location.children.is_empty()
        {
            let own = self.own(here);
            return self.ordered(here, &location.children, own);
        }
        let own = self.own(here);
        [here.before, &own].concat()
    }

    /// What a place does, apart from the locations within.
    fn own(&mut self, here: Here<'_, 'a>) -> Vec<Route> {
        let mut routes = Vec::new();
        if self.rewriting(here, here.list, &mut routes) {
            return routes;
        }
        self.limit_except(here, &mut routes);
        routes.extend(self.handler(here));
        routes
    }

    /// Locations of a block in their order, and what is done beside them.
    pub fn ordered(
        &mut self,
        around: Here<'_, 'a>,
        list: &[Location<'a>],
        other: Vec<Route>,
    ) -> Vec<Route> {
        let mut contents = Within {
            translator: self,
            around,
        };
        location::order(list, &mut contents, around.before, other)
    }

    /// The content of another location, as from here: nobody was asked yet who he is.
    pub fn of_location(&mut self, here: Here<'_, 'a>, next: &Location<'a>) -> Vec<Route> {
        let scope = self.scope_of(here.server, next);
        self.content_of(here, next, &scope)
    }

    /// The same for clients who were let in here.
    pub fn beyond(&mut self, here: Here<'_, 'a>, next: &Location<'a>) -> Vec<Route> {
        let scope = self.led_to(here, next);
        self.content_of(here, next, &scope)
    }

    fn content_of(&mut self, here: Here<'_, 'a>, next: &Location<'a>, scope: &Scope) -> Vec<Route> {
        self.content(Here {
            scope,
            location: Some(next),
            list: next.directive.inner(),
            spot: next.directive.spot,
            depth: here.depth + 1,
            before: &[],
            found: Found::by(next),
            ..here
        })
    }

    /// What the server does where there is no location.
    pub fn of_server(&mut self, here: Here<'_, 'a>) -> Vec<Route> {
        let here = Here {
            scope: &here.server.scope,
            location: None,
            list: here.server.directive.inner(),
            spot: here.server.directive.spot,
            depth: here.depth + 1,
            found: None,
            ..here
        };
        self.elsewhere(None, |translator| translator.handler(here))
    }

    /// `limit_except GET { deny all; }`
    pub fn limit_except(&mut self, here: Here<'_, 'a>, routes: &mut Vec<Route>) {
        let Some(directive) = here.find("limit_except") else {
            return;
        };
        let spot = directive.spot;
        self.verdicts.translated(spot);
        let mut methods: Vec<String> = directive
            .args
            .iter()
            .map(|word| word.text.clone())
            .collect();
        if methods.iter().any(|method| method == "GET") {
            methods.push("HEAD".into());
        }
        let other = Literal {
            subject: Subject::Method,
            patterns: methods,
            fold: false,
            not: true,
        };
        let scope = here
            .scope
            .within(directive.inner(), &|_| String::new(), &mut self.verdicts);
        let inner = directive.inner();
        let only_denies = inner.iter().all(|inner| inner.is("deny"));
        if !only_denies {
            // What the place does, for whom is said here.
            let answered = self.handler(Here {
                scope: &scope,
                ..here
            });
            routes.extend(guard(&vec![other], &answered, spot));
            return;
        }
        for rule in &scope.access {
            let mut when = vec![other.clone()];
            if rule.network != "all" {
                when.push(Literal {
                    subject: Subject::Source,
                    patterns: vec![rule.network.clone()],
                    fold: false,
                    not: false,
                });
            }
            let table = Table::default().with("deny", Value::plain(true));
            routes.extend(guard(&when, &[answer(table, rule.spot)], spot));
        }
    }

    /// What gives the answer, for each value of what is filled in in it.
    pub fn handler(&mut self, here: Here<'_, 'a>) -> Vec<Route> {
        if let Some(routes) = self.let_in(here) {
            return routes;
        }
        self.fill_in_answer(here.scope);
        let mut texts = here.added();
        texts.extend(Self::counted_by(here.scope));
        let pass = here.find("proxy_pass");
        if let Some(directive) = pass {
            texts.push(directive.arg(0).to_owned());
            let fields = here.scope.proxy_headers.iter();
            let fields = fields.filter(|field| !proxied::is_ours(&field.name));
            texts.extend(fields.map(|field| field.value.clone()));
        }
        texts.extend(self.of_fallback(here));
        let spot = pass.map_or(here.spot, |directive| directive.spot);
        let mut calls = 0;
        let made = &mut |translator: &mut Self, here: Here<'_, 'a>| {
            calls += 1;
            translator.handled(here)
        };
        let routes = self.each_value(here, spot, &texts, made);
        if calls > 1 {
            choices::one_limit(routes, spot)
        } else {
            routes
        }
    }

    /// What gives the answer: an application, counters or files.
    fn handled(&mut self, here: Here<'_, 'a>) -> Vec<Route> {
        if let Some(directive) = here.find("proxy_pass") {
            return self.proxied(here, directive);
        }
        if let Some(directive) = here.find("fastcgi_pass") {
            return self.called(here, directive);
        }
        for family in [Family::Uwsgi, Family::Scgi] {
            if let Some(directive) = here.find(family.pass()) {
                return self.told(here, directive, family);
            }
        }
        if let Some(routes) = self.straight(here) {
            return routes;
        }
        let mut files = Files::default();
        if let Some(directive) = here.find("flv") {
            self.verdicts.translated(directive.spot);
        }
        if let (Some(directive), Some(location)) = (here.find("stub_status"), here.location) {
            self.verdicts.translated(directive.spot);
            if matches!(location.kind, Kind::Regex { .. } | Kind::Named) {
                self.verdicts.refuse(
                    directive.spot,
                    directive.spot,
                    "the page of counters has one path",
                );
            }
            files.status = Some(location.text.clone());
        }
        let mut table = Table::default();
        let mut routes = Vec::new();
        let script_index = self.index_elsewhere(here);
        self.captured_alias(here, &mut files, &mut table);
        self.try_files(here, &mut files, &mut table, &mut routes);
        self.error_pages(here, true, &mut files, &mut table);
        files.falls_back = table.has("missing");
        let site = self.site(here.scope, here.location, here.server, files, here.spot);
        let mut last = match (site, table.get("missing").cloned()) {
            (Some(site), _) => Table::default().with("to", Value::text(site)),
            // What is asked where there is no file.
            (None, Some(other)) => {
                table.0.retain(|(key, _)| key != "missing");
                Table::default().with("to", other)
            }
            (None, None) => {
                let none = answer(
                    Table::default().with("respond", Value::plain(404)),
                    here.spot,
                );
                routes.extend(self.dressed(here, vec![none]));
                return routes;
            }
        };
        last.0.extend(table.0);
        if let Some(index) = script_index {
            // They go before what is said of other methods.
            routes.splice(..0, index.before(&last));
        }
        // The others have what goes with their own place.
        routes.extend(self.dressed(here, vec![answer(last, here.spot)]));
        routes
    }

    /// `alias` whose directory has what an expression found: the path is rewritten to it.
    fn captured_alias(&mut self, here: Here<'_, 'a>, files: &mut Files, table: &mut Table) {
        let Some(location) = here.location else {
            return;
        };
        let Some(directive) = location.directive.inner().iter().find(|d| d.is("alias")) else {
            return;
        };
        let path = directive.arg(0);
        match location.kind {
            Kind::Regex { fold } => {
                self.verdicts.translated(directive.spot);
                let (root, rest) = match path.find('$') {
                    Some(at) => {
                        let slash = path[..at].rfind('/').map_or(0, |slash| slash + 1);
                        path.split_at(slash)
                    }
                    None => match path.rfind('/') {
                        Some(slash) => path.split_at(slash + 1),
                        None => ("", path),
                    },
                };
                let context = Context {
                    captures: true,
                    ..here.context()
                };
                match self.template(rest, &context) {
                    Ok(to) => {
                        let flag = if fold { "(?i)" } else { "" };
                        let rules = Table::default().with(
                            &format!("~{flag}{}", whole(&location.text)),
                            Value::text(format!("/{to}")),
                        );
                        table.put("rewrite", Value::Table(rules));
                        files.root = Some(self.path(root));
                    }
                    Err(variable) => self.verdicts.refuse(
                        directive.spot,
                        directive.at(0),
                        format!("{variable} cannot be filled in here"),
                    ),
                }
            }
            kind if !path.ends_with('/')
                && !path.contains('$')
                && (kind == Kind::Exact || std::path::Path::new(path).is_file()) =>
            {
                // One file.
                self.verdicts.translated(directive.spot);
                let (root, file) = path.rsplit_once('/').unwrap_or(("", path));
                table.put("rewrite", Value::text(format!("/{file}")));
                files.root = Some(self.path(root));
            }
            _ if path.contains('$') => self.verdicts.refuse(
                directive.spot,
                directive.at(0),
                "a directory with variables is not translated",
            ),
            _ => {}
        }
    }

    pub fn root_of(&self, scope: &Scope) -> String {
        self.path(scope.root.as_ref().map_or("html", |set| &set.value))
    }

    /// What goes with all routes of a place: fields of answers, no log.
    pub fn dressed(&mut self, here: Here<'_, 'a>, mut routes: Vec<Route>) -> Vec<Route> {
        self.own_errors(here, &mut routes);
        self.entry(here.scope, &mut routes);
        let mut add: Vec<(&str, String, Value)> = Vec::new();
        let mut says_path = false;
        for field in &here.scope.add_headers {
            if field.value.is_empty() {
                continue;
            }
            if field.value == "$upstream_cache_status" {
                let message = "there is no such field: answers are not cached";
                self.verdicts.note(field.spot, message);
                continue;
            }
            if matches!(
                &*field.name.to_ascii_lowercase(),
                "content-length" | "connection" | "keep-alive" | "transfer-encoding" | "date"
            ) {
                let message = "it is said as it is for each answer, and once";
                self.verdicts.note(field.spot, message);
                continue;
            }
            match self.template(&field.value, &here.plain()) {
                Ok(value) => {
                    says_path |= value.contains("{normal-path}");
                    let which = if field.always { "response" } else { "success" };
                    add.push((which, field.name.clone(), Value::Text(value)));
                }
                Err(variable) => self.verdicts.refuse(
                    field.spot,
                    field.spot,
                    format!("{variable} cannot be filled in here"),
                ),
            }
        }
        let mut hide: Vec<String> = here
            .scope
            .hidden_headers
            .iter()
            .map(|set| set.value.clone())
            .collect();
        let quiet = here
            .scope
            .access_log
            .as_ref()
            .is_some_and(|set| set.value == "off");
        let server_quiet = here
            .server
            .scope
            .access_log
            .as_ref()
            .is_some_and(|set| set.value == "off");
        let limits = listener::route_limits(here.scope, here.door);
        for route in &mut routes {
            let is_denied =
                matches!(route.table.get("deny"), Some(Value::Plain(text)) if text == "true");
            if !["to", "respond", "redirect"]
                .iter()
                .any(|key| route.table.has(key))
                && !is_denied
            {
                continue;
            }
            let proxied = matches!(route.table.get("to"), Some(Value::Text(name)) if self.backends.iter().any(|b| b.name == *name));
            if let Some(limits) = &limits {
                let table = route.table.table("limits");
                table.0.extend(limits.0.iter().cloned());
            }
            let mut fields = add.clone();
            let is_error = is_denied || answers_error(&route.table);
            fields.retain(|(which, ..)| !is_error || *which == "response");
            let leads = route.table.has("to");
            if says_path && leads && !proxied {
                self.verdicts.note(
                    here.spot,
                    "$uri in `add_header` is the path that was asked for, also where nginx has gone on to an index or another file by then",
                );
            }
            if let Some(set) = here.scope.expires.as_ref().filter(|_| leads) {
                let falls_back = route.table.has("missing");
                let value = match set.value {
                    // The site says it of its files.
                    Expires::For(time) if !proxied && falls_back && !time.is_zero() => None,
                    Expires::Never => Some("no-cache".to_owned()),
                    Expires::For(time) if time.is_zero() => Some("max-age=0".to_owned()),
                    Expires::For(time) if proxied || time > YEAR => {
                        Some(format!("max-age={}", time.as_secs()))
                    }
                    Expires::For(_) | Expires::Off => None,
                };
                let name = "Cache-Control".to_owned();
                match value {
                    // What a server says of it is replaced.
                    Some(value) if proxied => {
                        let success = route.table.table("headers").table("success");
                        success.put("remove", Value::texts(["Expires"]));
                        success.table("set").put(&name, Value::Text(value));
                    }
                    value => {
                        fields.extend(value.map(|value| ("success", name, Value::Text(value))));
                    }
                }
            }
            if !fields.is_empty() {
                for (which, name, value) in fields {
                    let add = route.table.table("headers").table(which).table("add");
                    match add.0.iter_mut().find(|(known, _)| *known == name) {
                        Some((_, Value::List(list))) => list.push(value),
                        Some((_, old)) => *old = Value::List(vec![old.clone(), value]),
                        None => add.0.push((name, value)),
                    }
                }
            }
            if proxied && !hide.is_empty() {
                let names = std::mem::take(&mut hide);
                route
                    .table
                    .table("headers")
                    .table("response")
                    .put("remove", Value::texts(names.clone()));
                hide = names;
            }
            if quiet && !server_quiet {
                route.table.put("log", Value::plain(false));
            }
        }
        routes
    }
}

/// Whether a route answers with the status of an error and nothing else.
fn answers_error(table: &Table) -> bool {
    let status = match table.get("respond") {
        Some(Value::Plain(status)) => status.parse::<u16>().ok(),
        _ => None,
    };
    status.is_some_and(|status| status >= 400)
}

/// An expression that finds the whole path, as nginx replaces all of it.
pub(crate) fn whole(regex: &str) -> String {
    let (head, tail) = (regex.starts_with('^'), regex.ends_with('$'));
    let greedy = regex.ends_with("(.*)") || regex.ends_with(".*");
    if head && (tail || greedy) && !regex.contains('|') {
        regex.to_owned()
    } else {
        format!("^.*?(?:{regex}).*$")
    }
}
