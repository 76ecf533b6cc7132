//! `fastcgi_pass`: the way to PHP, and which script it runs.
//!
//! nginx hands a program whatever the file lists; the cluster file's backends send what CGI has by themselves. So the
//! lines that say the usual are left out, a `SCRIPT_FILENAME` becomes the root of the scripts, and what is fixed is a
//! parameter.

mod settings;

use super::super::document::{Route, Table, Value};
use super::super::logic::{Literal, Subject, guard};
use super::super::sources::Spot;
use super::Translator;
use super::content::Here;
use super::location::{self, Kind, Location};
use super::moved;
use super::scope::{Alias, Field, Scope};
use super::tree::{Directive, Word};
use super::upstream::Target;
use super::{proxied, variables};
use crate::keys::fastcgi::EVERY;
pub(crate) use settings::{Family, Settings};

/// The settings of a place with what it says of such programs where it speaks of proxies.
fn as_proxied(scope: &Scope, said: &Settings) -> Scope {
    Scope {
        fastcgi: said.clone(),
        hidden_headers: said.hidden.clone(),
        intercept: said.intercept.clone(),
        connect_timeout: said.connect_timeout.clone(),
        read_timeout: said.read_timeout.clone(),
        next_upstream: said.next_upstream.clone(),
        tries: said.tries.clone(),
        proxy_headers: Vec::new(),
        redirects: Vec::new(),
        cookie_paths: Vec::new(),
        cookie_domains: Vec::new(),
        cookie_flags: Vec::new(),
        ..scope.clone()
    }
}

impl<'a> Translator<'a> {
    /// `fastcgi_pass`.
    pub fn called(&mut self, here: Here<'_, 'a>, directive: &Directive) -> Vec<Route> {
        let spot = directive.spot;
        self.verdicts.translated(spot);
        let scope = as_proxied(here.scope, &here.scope.fastcgi);
        let here = Here {
            scope: &scope,
            ..here
        };
        let front = self.own_try_files(here);
        let Some(scripts) = self.scripts(here, front, None, None) else {
            return Vec::new();
        };
        let Some(service) = self.program(here, directive, Family::FastCgi, scripts) else {
            return Vec::new();
        };
        let mut table = Table::default().with("to", Value::Text(service));
        self.said_fields(here, &mut table);
        self.passed(here, table, spot)
    }

    /// `uwsgi_pass` and `scgi_pass`: a program that answers every path itself.
    pub fn told(
        &mut self,
        here: Here<'_, 'a>,
        directive: &Directive,
        family: Family,
    ) -> Vec<Route> {
        let said = match family {
            Family::FastCgi => &here.scope.fastcgi,
            Family::Uwsgi => &here.scope.uwsgi,
            Family::Scgi => &here.scope.scgi,
        };
        let scope = as_proxied(here.scope, said);
        let here = Here {
            scope: &scope,
            ..here
        };
        let mut table = Table::default();
        if let Some(set) = said.modifier.as_ref().filter(|set| set.value != 0) {
            table.put("modifier", Value::plain(set.value));
        }
        let Some(table) = self.params(here, table) else {
            return Vec::new();
        };
        let Some(service) = self.program(here, directive, family, table) else {
            return Vec::new();
        };
        let mut table = Table::default().with("to", Value::Text(service));
        self.said_fields(here, &mut table);
        self.passed(here, table, directive.spot)
    }

    /// The backend of a program.
    fn program(
        &mut self,
        here: Here<'_, 'a>,
        directive: &Directive,
        family: Family,
        scripts: Table,
    ) -> Option<String> {
        self.verdicts.translated(directive.spot);
        let host = self.known(directive.arg(0));
        let host = host.strip_prefix("uwsgi://").unwrap_or(&host).to_owned();
        if host.starts_with("suwsgi://") {
            let message = "programs are not spoken to over TLS";
            self.verdicts
                .refuse(directive.spot, directive.at(0), message);
            return None;
        }
        if host.contains('$') {
            let message =
                format!("\"{host}\" is worked out for each request, which is not translated");
            self.verdicts
                .refuse(directive.spot, directive.at(0), message);
            return None;
        }
        let target = Target {
            tls: false,
            host,
            uri: None,
        };
        let program = Some((family, scripts));
        Some(self.backend(&target, here.scope, program, directive.spot))
    }

    /// `try_files` where scripts are run: `=404` is what happens anyway; returns the script that is fallen back to.
    fn own_try_files(&mut self, here: Here<'_, 'a>) -> Option<String> {
        let directive = here.find("try_files")?;
        self.verdicts.translated(directive.spot);
        let (last, before) = directive.args.split_last()?;
        let mut front = None;
        for word in before {
            match word.text.as_str() {
                // No directory is a script.
                "$uri" | "$document_uri" | "$fastcgi_script_name" | "$uri/" => {}
                text if text.starts_with('/') && text.contains(['?', '&']) => {
                    let message = format!("no file is called \"{text}\": it is not looked for");
                    self.verdicts.note(directive.spot, message);
                }
                text if text.starts_with('/') && !text.contains('$') && front.is_none() => {
                    front = Some(text.to_owned());
                }
                text => {
                    let message = format!("\"{text}\" is not translated: the script is looked for");
                    self.verdicts.refuse(directive.spot, word.spot, message);
                }
            }
        }
        match fixed(&last.text) {
            _ if front.is_some() && (last.text == "=404" || last.text.starts_with('/')) => front,
            _ if last.text == "=404" => None,
            Some(path) => {
                self.note_query(&last.text, path, directive.spot);
                Some(path.to_owned())
            }
            None => {
                let message = format!("\"{}\" is not translated as the last resort", last.text);
                self.verdicts.refuse(directive.spot, last.spot, message);
                None
            }
        }
    }

    /// A script that is fallen back to without a query gets the one that came all the same.
    pub fn note_query(&mut self, text: &str, path: &str, spot: Spot) {
        if text.contains("?q=") {
            let message = format!(
                "{path} gets the query that came, without `q`: the path is in REQUEST_URI, where WordPress, Drupal from 7 on and Roundcube look \
                 for it"
            );
            self.verdicts.note(spot, message);
        }
        if text == path {
            let message = format!(
                "{path} gets the query that came, as with `{path}?$args`; nginx gives it an empty one"
            );
            self.verdicts.note(spot, message);
        }
    }

    /// What the lines of a place say of scripts. `front` answers where there is none, `one` for all of them; `index` is that
    /// of directories.
    fn scripts(
        &mut self,
        here: Here<'_, 'a>,
        front: Option<String>,
        one: Option<String>,
        index: Option<&str>,
    ) -> Option<Table> {
        let said = &here.scope.fastcgi;
        let file = said.params.iter().rev();
        let file = file.clone().find(|param| param.name == "SCRIPT_FILENAME");
        let mut only = None;
        let mut root = None;
        if let Some(file) = file {
            match self.script_root(here, &self.known(&file.value)) {
                Some((directory, script)) => {
                    root = Some(directory);
                    only = script;
                }
                None => {
                    let why = match &here.scope.alias {
                        Some(_) => {
                            "beside an `alias` there is $request_filename, where the directory ends like the path of its location \
                             (`location /blog { alias /srv/blog; }`), and fixed paths"
                        }
                        None => "there are $document_root$fastcgi_script_name and fixed paths",
                    };
                    let message = format!("\"{}\" is not translated: {why}", file.value);
                    self.verdicts.refuse(file.spot, file.spot, message);
                    return None;
                }
            }
        }
        let mut table = Table::default();
        if let Some(root) = &root {
            table.put("root", Value::text(root));
            if said
                .params
                .iter()
                .any(|p| p.value.contains("$realpath_root"))
            {
                table.put("real-root", Value::plain(true));
            }
            if let Some(only) = only.or(one) {
                table.put("script", Value::text(only));
                return self.params(here, table);
            }
            if let Some(front) = front {
                table.put("front", Value::text(front));
            }
            let index = index.or(said.index.as_ref().map(|set| &*set.value));
            if let Some(index) = index.filter(|index| *index != "index.php" && !index.is_empty()) {
                table.put("index", Value::text(index));
            }
            let extension = self.extension(here)?;
            if runs_on(here) {
                table.put("path-info", Value::plain(true));
            }
            if extension != ".php" {
                let extension = if extension.is_empty() {
                    EVERY
                } else {
                    &extension
                };
                table.put("extension", Value::text(extension));
            }
        }
        self.params(here, table)
    }

    /// With the parameters of a place that are not the usual ones.
    fn params(&mut self, here: Here<'_, 'a>, mut table: Table) -> Option<Table> {
        let mut params = Table::default();
        for param in &here.scope.fastcgi.params {
            let param = &Field {
                value: self.known(&param.value),
                ..param.clone()
            };
            if param.name == "SCRIPT_FILENAME" {
                continue;
            }
            if is_usual(param) {
                // The last one of a name counts.
                params.0.retain(|(name, _)| *name != param.name);
                continue;
            }
            if param.name == "SERVER_NAME" && param.value == "$server_name" {
                // Whatever name a client asks for: programs take this one for the site's own.
                let first = here.server.names.first().map_or("", |(name, _)| name);
                params.put("SERVER_NAME", Value::text(first));
            } else if param.value.contains('$')
                && param
                    .name
                    .contains(|c: char| c == '-' || c.is_ascii_lowercase())
            {
                let message = format!(
                    "no application looks for a parameter `{}`: fields of requests have names like HTTP_X_REAL_IP, and are there",
                    param.name
                );
                self.verdicts.note(param.spot, message);
            } else if param.value.contains('$') && self.as_field(here, param).is_some() {
                // A field of the request, as programs get them.
            } else if param.value.contains('$') {
                let message = format!(
                    "`{}` is worked out for each request: programs get what CGI has, and what is fixed",
                    param.name
                );
                self.verdicts.refuse(param.spot, param.spot, message);
            } else if param.always || !param.value.is_empty() {
                params.put(&param.name, Value::text(&param.value));
            }
        }
        if !params.is_empty() {
            table.put("params", Value::Table(params));
        }
        Some(table)
    }

    /// `fastcgi_param HTTP_X_REAL_IP $remote_addr`: programs get fields of a request by such names. The field and its value; no
    /// value where Tandem says it itself.
    fn as_field(&self, here: Here<'_, '_>, param: &Field) -> Option<(String, Option<String>)> {
        let name = param
            .name
            .strip_prefix("HTTP_")
            .filter(|name| !name.is_empty())?;
        let name = variables::field_name(&name.to_lowercase());
        let own = ["$remote_addr", "$proxy_add_x_forwarded_for"];
        if name == "X-Forwarded-For" {
            return own.contains(&param.value.as_str()).then_some((name, None));
        }
        if proxied::is_ours(&name) || matches!(&*name, "Host" | "Proxy") {
            return None;
        }
        let value = self
            .template(&self.known(&param.value), &here.plain())
            .ok()?;
        Some((name, Some(value)))
    }

    /// The fields of requests that a place says as parameters.
    fn said_fields(&self, here: Here<'_, '_>, table: &mut Table) {
        for param in &here.scope.fastcgi.params {
            if let Some((name, Some(value))) = self.as_field(here, param)
                && param.value.contains('$')
                && !is_usual(param)
            {
                let request = table.table("headers").table("request");
                request.table("set").put(&name, Value::Text(value));
            }
        }
    }

    /// The directory of scripts by a `SCRIPT_FILENAME`, and the script if it is always the same.
    fn script_root(&self, here: Here<'_, 'a>, value: &str) -> Option<(String, Option<String>)> {
        let documents = || match &here.scope.alias {
            None => Some(self.root_of(here.scope)),
            // `location /blog { alias /srv/blog; }` is `root /srv`.
            Some(alias) => {
                let Alias { at, directory } = &alias.value;
                let root = directory.strip_suffix(at.as_deref()?)?;
                root.is_empty()
                    .then_some("/")
                    .or(Some(root))
                    .map(str::to_owned)
            }
        };
        if value == "$request_filename" {
            return Some((documents()?, None));
        }
        // nginx puts the whole path behind the directory of an alias, where hardly a script is.
        let documents = || here.scope.alias.is_none().then(documents).flatten();
        let (directory, rest) = ["$document_root", "$realpath_root"]
            .iter()
            .find_map(|known| Some((documents()?, value.strip_prefix(known)?)))
            .unwrap_or((String::new(), value));
        let rest_of = |rest: &str| rest.strip_suffix("$fastcgi_script_name").map(str::to_owned);
        match rest_of(rest) {
            Some(more) if !more.contains('$') => {
                let more = more.trim_end_matches('/');
                let root = format!("{directory}{more}");
                root.starts_with('/').then_some((root, None))
            }
            None if !rest.contains('$') && rest.starts_with('/') => {
                if directory.is_empty() {
                    let (directory, script) = rest.rsplit_once('/')?;
                    return Some((directory.to_owned(), Some(format!("/{script}"))));
                }
                Some((directory, Some(rest.to_owned())))
            }
            _ => None,
        }
    }

    /// How the names of a place's scripts end.
    fn extension(&mut self, here: Here<'_, 'a>) -> Option<String> {
        let named = |text: &str| {
            let from = text.find("\\.")? + 2;
            let rest = &text[from..];
            let end = rest
                .find(|c: char| !c.is_ascii_alphanumeric())
                .unwrap_or(rest.len());
            (end > 0).then(|| format!(".{}", &rest[..end]))
        };
        if let Some(split) = &here.scope.fastcgi.split {
            return match named(&split.value) {
                Some(extension) => Some(extension),
                None => {
                    let message = "where a path is split is told by the end of a script's name: ^(.+\\.php)(/.*)$";
                    self.verdicts.refuse(split.spot, split.spot, message);
                    None
                }
            };
        }
        Some(match here.location {
            // Every file of the place is one.
            Some(location) => match location.kind {
                Kind::Regex { .. } => named(&location.text).unwrap_or_default(),
                Kind::Named => ".php".to_owned(),
                _ => String::new(),
            },
            None => String::new(),
        })
    }

    /// `try_files $uri $uri/ /index.php?$query_string` where that script is run: the program that is asked where there is
    /// no file, and what its place does.
    pub fn fallen_back_to(
        &mut self,
        here: Here<'_, 'a>,
        next: &Location<'a>,
        path: &str,
    ) -> Option<(String, Vec<Route>)> {
        let scope = self.led_to(here, next);
        self.run_at(here.at(next, &scope), Some(path.to_owned()), None)
    }

    /// The program that a place runs scripts by, `one` or the `index` of a directory, and what else the place does with a
    /// request for it.
    fn run_at(
        &mut self,
        there: Here<'_, 'a>,
        one: Option<String>,
        index: Option<&str>,
    ) -> Option<(String, Vec<Route>)> {
        let directive = there.find("fastcgi_pass")?;
        let scope = as_proxied(there.scope, &there.scope.fastcgi);
        let there = Here {
            scope: &scope,
            ..there
        };
        let at = there.location.map(|location| location.directive.spot);
        self.elsewhere(at, |translator| {
            let mut routes = Vec::new();
            let ends = translator.rewriting(there, there.list, &mut routes);
            translator.limit_except(there, &mut routes);
            let scripts = translator.scripts(there, None, one, index)?;
            let service = translator.program(there, directive, Family::FastCgi, scripts)?;
            if ends || routes.iter().any(|route| moved::looks_at_path(&route.table)) {
                let message = "what is said here of the script's path would not be asked where the script is an index or is fallen back to";
                translator.verdicts.refuse(directive.spot, there.spot, message);
                return None;
            }
            let mut table = Table::default().with("to", Value::text(&service));
            translator.said_fields(there, &mut table);
            routes.extend(translator.passed(there, table, directive.spot));
            Some((service, routes))
        })
    }

    /// The program that runs the index of directories, for names of `index` that scripts have; and these names.
    pub fn script_index(&mut self, here: Here<'_, 'a>, directory: &str) -> Option<ScriptIndex> {
        let index = here.scope.index.as_ref()?;
        let mut found: Option<ScriptIndex> = None;
        for name in &index.value {
            let path = format!("{directory}/{name}");
            let Some(next) = location::choose(&here.server.locations, &path) else {
                continue;
            };
            if runs(next).is_none() {
                continue;
            }
            if let Some(found) = &mut found {
                let message = format!(
                    "of several scripts `{}` alone is the index of a directory",
                    found.names[0]
                );
                self.verdicts.note(index.spot, message);
                found.names.push(name.clone());
                continue;
            }
            let scope = self.scope_of(here.server, next);
            let alias = |scope: &Scope| scope.alias.as_ref().map(|set| set.value.clone());
            if self.root_of(&scope) != self.root_of(here.scope)
                || alias(&scope) != alias(here.scope)
            {
                // nginx would look for it here, and have it run there, where hardly one of that name is.
                let message = format!(
                    "`{name}` is run below another root by `{}`, and is no index where files are in {}",
                    next.directive.shown(),
                    alias(here.scope)
                        .map_or_else(|| self.root_of(here.scope), |alias| alias.directory)
                );
                self.verdicts.note(index.spot, message);
                continue;
            }
            if index.value.first() != Some(name) {
                let message = format!("`{name}` goes before the files that are named before it");
                self.verdicts.note(index.spot, message);
            }
            let values = |scope: &Scope| {
                let fields = scope.add_headers.iter();
                let fields =
                    fields.map(|field| (field.name.clone(), field.value.clone(), field.always));
                (
                    fields.collect::<Vec<_>>(),
                    scope.expires.as_ref().map(|set| set.value),
                )
            };
            if values(&scope) != values(here.scope) {
                let message = format!(
                    "a directory without `{name}` has the fields of answers of `{}`, too: one route is for both",
                    next.directive.shown()
                );
                self.verdicts.note(next.directive.spot, message);
            }
            let scope = self.led_to(here, next);
            let (_, routes) = self.run_at(here.at(next, &scope), None, Some(name))?;
            // `^/index\.php$` is no script of the directories below.
            let below = format!("{directory}/0/0/{name}");
            let is_below = location::choose(&here.server.locations, &below);
            let is_below = is_below.is_some_and(|below| below.is(next));
            found = Some(ScriptIndex {
                directories: if is_below {
                    "*/".into()
                } else {
                    format!("{directory}/")
                },
                routes,
                names: vec![name.clone()],
                spot: index.spot,
            });
        }
        found
    }
}

/// The index of directories that is a script.
pub(crate) struct ScriptIndex {
    /// The directories, as a pattern of paths.
    directories: String,
    /// What is done with a directory: the program that runs it is asked, and who may not ask is told so.
    pub routes: Vec<Route>,
    /// Names that no site may send.
    pub names: Vec<String>,
    pub spot: Spot,
}

impl ScriptIndex {
    /// The routes of directories, before those of files. `last` is the route to the files.
    pub fn before(self, last: &Table) -> Vec<Route> {
        let path = |pattern: String, not| Literal {
            subject: Subject::Path,
            patterns: vec![pattern],
            fold: false,
            not,
        };
        let name = &self.names[0];
        let extension = name.rfind('.').map_or("", |dot| &name[dot..]);
        let when = [
            path(self.directories.clone(), false),
            // What follows a script is its path, and not a directory.
            path(format!("~{}/", regex::escape(extension)), true),
        ];
        let front = last.get("missing").cloned();
        let files = last.get("to").cloned();
        // Behind the service, as one writes it.
        let missing = |others: Value| -> Vec<Route> {
            let mut routes = self.routes.clone();
            for route in &mut routes {
                if let Some(at) = route.table.0.iter().position(|(key, _)| key == "to") {
                    let missing = ("missing".to_owned(), others.clone());
                    route.table.0.insert(at + 1, missing);
                }
            }
            routes
        };
        let mut routes = Vec::new();
        if let Some(front) = &front {
            // What is not read has no files to find.
            let when = [&when[..], &[location::no_reads()]].concat();
            routes.extend(guard(&when, &missing(front.clone()), self.spot));
        }
        let others: Vec<Value> = files.into_iter().chain(front).collect();
        routes.extend(guard(
            &when.to_vec(),
            &missing(Value::List(others)),
            self.spot,
        ));
        routes
    }
}

/// The directive by which a place runs scripts.
pub(crate) fn runs<'l>(location: &'l Location<'_>) -> Option<&'l Directive> {
    let mut inner = location.directive.inner().iter();
    inner.find(|directive| directive.is("fastcgi_pass"))
}

/// A path that is known, with the query that came: `/index.php?$args`.
pub(crate) fn fixed(text: &str) -> Option<&str> {
    let path = [
        "?q=$uri&$args",
        "?q=$uri&$query_string",
        "?q=$uri",
        "?q=$request_uri",
        "?$query_string",
        "?$args",
        "$is_args$args",
        "$is_args$query_string",
    ]
    .iter()
    .find_map(|query| text.strip_suffix(query))
    .unwrap_or(text);
    (path.starts_with('/') && !path.contains(['$', '?'])).then_some(path)
}

/// Whether a path may go on behind a script: where it is split, and where PHP would do that by itself.
fn runs_on(here: Here<'_, '_>) -> bool {
    let ends_with_script = |location: &Location<'_>| match location.kind {
        Kind::Regex { .. } => location.text.ends_with('$') && !location.text.contains('/'),
        _ => false,
    };
    // A file of the whole path is looked for, which none with more behind it is.
    let words = here
        .find("try_files")
        .map_or(&[][..], |directive| &directive.args);
    let is_whole = |word: &Word| matches!(&*word.text, "$uri" | "$document_uri");
    if words.iter().any(is_whole) {
        return false;
    }
    here.scope.fastcgi.split.is_some() || !here.location.is_some_and(ends_with_script)
}

/// Whether a parameter says what programs get anyway.
fn is_usual(param: &Field) -> bool {
    let value = param.value.as_str();
    match param.name.as_str() {
        "QUERY_STRING" => matches!(value, "$query_string" | "$args"),
        "REQUEST_METHOD" => value == "$request_method",
        "CONTENT_TYPE" => matches!(value, "$content_type" | "$http_content_type"),
        "CONTENT_LENGTH" => matches!(value, "$content_length" | "$http_content_length"),
        "SCRIPT_NAME" => matches!(value, "$fastcgi_script_name" | "$uri"),
        "REQUEST_URI" => value == "$request_uri",
        "DOCUMENT_URI" => matches!(value, "$document_uri" | "$uri"),
        "DOCUMENT_ROOT" => matches!(value, "$document_root" | "$realpath_root"),
        "SERVER_PROTOCOL" => value == "$server_protocol",
        "REQUEST_SCHEME" => value == "$scheme",
        "HTTPS" => value == "$https",
        "GATEWAY_INTERFACE" => value == "CGI/1.1",
        "SERVER_SOFTWARE" => value.starts_with("nginx"),
        "REMOTE_ADDR" => value == "$remote_addr",
        "REMOTE_PORT" => value == "$remote_port",
        "REMOTE_USER" => value == "$remote_user",
        "SERVER_ADDR" => value == "$server_addr",
        "SERVER_PORT" => value == "$server_port",
        "SERVER_NAME" => matches!(value, "$host" | "$http_host"),
        "REDIRECT_STATUS" => value == "200",
        "PATH_INFO" => matches!(
            value,
            "$fastcgi_path_info" | "$path_info" | "$fastcgi_script_name" | "$document_uri" | "$uri"
        ),
        // uWSGI's own name for what the others are told as HTTPS.
        "UWSGI_SCHEME" => value == "$scheme",
        "SCGI" => value == "1",
        "PATH_TRANSLATED" => true,
        // Fields never become it.
        "HTTP_PROXY" => value.is_empty(),
        "HTTP_HOST" => matches!(value, "$http_host" | "$host"),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
