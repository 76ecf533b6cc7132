//! Rules in the order in which HAProxy asks them, as routes.

use super::super::document::{Route, Table, Value};
use super::super::logic::{Either, Literal, Subject, guard};
use super::super::sources::Spot;
use super::Translator;
use super::acl::{self, Acls, Connection};
use super::changed::{Changed, Effect, Unforeseen};
use super::clients::asks_for_source;
use super::foresee;
use super::pages::PAGES;
use super::proxy::Proxy;
use super::rules::{self, Deed, Step};
use super::words::Line;

/// The turn of the last rules that `mode tcp` has.
const OF_CONTENTS: u8 = 2;

/// When HAProxy asks a directive that is a rule; `None`: it is none.
pub(crate) fn turn(line: &Line) -> Option<u8> {
    Some(match (line.word(0), line.word(1)) {
        ("tcp-request", "connection") => 0,
        ("tcp-request", "session") => 1,
        // Another word than these three is refused where the rule is read.
        ("tcp-request", _) => OF_CONTENTS,
        ("block" | "reqadd" | "reqdel" | "reqidel" | "rspadd" | "rspdel" | "rspidel", _) => 3,
        ("http-request" | "http-response" | "http-after-response", _) => 4,
        ("redirect", _) => 5,
        _ => return None,
    })
}

/// What is of HTTP, and what HAProxy warns of and passes over in a section with `mode tcp`.
pub(crate) fn is_of_http(line: &Line) -> bool {
    turn(line).is_some_and(|turn| turn > OF_CONTENTS)
        || PAGES.contains(&line.word(0))
        || matches!(
            line.word(0),
            "monitor-uri" | "unique-id-header" | "unique-id-format" | "compression" | "cookie"
        )
}

impl Translator<'_> {
    pub fn acls(&mut self, proxy: &Proxy<'_>) -> Acls {
        acl::read(proxy.section, &self.vars, &mut self.verdicts)
    }

    /// The rules of a section, in the order in which they are asked.
    pub fn steps(&mut self, proxy: &Proxy<'_>, acls: &Acls, connection: Connection) -> Vec<Step> {
        let is_tcp = proxy.is_tcp();
        let lines = proxy.section.lines.iter();
        let lines = lines.filter(|line| !(is_tcp && is_of_http(line)));
        let mut rules: Vec<_> = lines.filter_map(|line| Some((turn(line)?, line))).collect();
        rules.sort_by_key(|(turn, _)| *turn);
        let mut steps = Vec::new();
        let mut asked = false;
        for (_, line) in rules {
            if (line.word(0), line.word(1)) == ("http-request", "set-src") {
                if let Err(refusal) = self.set_source(line, asked, proxy, acls, connection) {
                    refusal.tell(line.spot, &mut self.verdicts);
                }
                continue;
            }
            let Some(step) = rules::step(line, acls, connection, &mut self.verdicts) else {
                continue;
            };
            // What is always so here asks nothing.
            asked |= asks_for_source(&step) && step.deed != Deed::Change(Table::default());
            for step in self.limited(proxy, step, acls, connection) {
                for step in self.authenticated(proxy, step) {
                    steps.extend(self.answered(line, step));
                }
            }
        }
        steps
    }

    /// Goes on to a backend by its name in HAProxy.
    pub fn to(&mut self, name: &str, line: Spot, at: Spot) -> Deed {
        if name.contains("%[") {
            self.verdicts.refuse(
                line,
                at,
                "a backend is named, not worked out for each request",
            );
        } else if !self.is_backend(name) {
            let names: Vec<&str> = self.backend_names().collect();
            let hint = crate::suggest::did_you_mean(name, names.iter().copied());
            self.verdicts.refuse_hint(
                line,
                at,
                format!("unable to find required backend: '{name}'"),
                hint,
            );
        }
        Deed::To(name.to_owned())
    }

    /// Steps as routes. A change holds for what follows it; `now` is what those before have made of the request.
    pub fn build(
        &mut self,
        steps: &[Step],
        connection: Connection,
        now: &Changed,
        budget: &mut usize,
    ) -> Vec<Route> {
        let mut now = now.clone();
        let mut routes = Vec::new();
        for (at, step) in steps.iter().enumerate() {
            *budget = budget.saturating_sub(1 + step.when.0.len());
            if *budget == 0 {
                return routes;
            }
            let after = &steps[at + 1..];
            let when = match now.resolve(&step.when) {
                Ok(when) => when,
                Err(unforeseen) => {
                    self.unforeseen(step, &unforeseen);
                    continue;
                }
            };
            if when.0.is_empty() {
                continue;
            }
            let always = when == Either::always();
            let inner = match &step.deed {
                Deed::Answer(table) => {
                    let mut table = table.clone();
                    if let Err(unforeseen) = now.fill(&mut table) {
                        self.unforeseen(step, &unforeseen);
                        continue;
                    }
                    vec![Route {
                        table,
                        spot: step.spot,
                    }]
                }
                Deed::To(name) => self.way_into_backend(name, connection, &now, step.spot, budget),
                // Another deed by now; nobody comes in otherwise.
                Deed::Auth(_) => vec![Route {
                    table: rules::deny(403),
                    spot: step.spot,
                }],
                // Nothing is left out.
                Deed::Done if after.iter().all(|other| other.ruleset != step.ruleset) => continue,
                Deed::Done => {
                    // The rest of these rules is skipped, not what others do, nor where the request goes.
                    let others = after.iter().filter(|other| other.ruleset != step.ruleset);
                    let rest: Vec<Step> = others.cloned().collect();
                    self.build(&rest, connection, &now, budget)
                }
                Deed::Change(change) if change.is_empty() => {
                    for effect in &step.effects {
                        now.field(effect, !always, step.spot);
                    }
                    continue;
                }
                Deed::Change(change) => {
                    let changed = self.changed(step, change, &when, after, connection, &now);
                    let (when, change, mut then) = match changed {
                        Ok(Some(changed)) => changed,
                        Ok(None) => continue,
                        Err(unforeseen) => {
                            self.unforeseen(step, &unforeseen);
                            continue;
                        }
                    };
                    if let Some(name) = then.answer(&change) {
                        let what = format!(
                            "the frontend changes {name} of answers, too: in HAProxy that is done after this, and here before it"
                        );
                        self.verdicts.note(step.spot, what);
                    }
                    let rest = self.build(after, connection, &then, budget);
                    let inner = with(&change, rest, step.spot);
                    if !add(&mut routes, &when, &inner, step.spot) {
                        routes.extend(self.build(after, connection, &now, budget));
                    }
                    return routes;
                }
            };
            if add(&mut routes, &when, &inner, step.spot) {
                return routes;
            }
        }
        routes
    }

    /// When a change is made, what goes with the route, and what is known of the request behind it. `None`: it changes
    /// nothing.
    fn changed(
        &mut self,
        step: &Step,
        change: &Table,
        when: &Either,
        after: &[Step],
        connection: Connection,
        now: &Changed,
    ) -> Result<Option<(Either, Table, Changed)>, Unforeseen> {
        let (mut when, mut change, mut then) = (when.clone(), change.clone(), now.clone());
        now.fill(&mut change)?;
        for effect in &step.effects {
            then.field(effect, false, step.spot);
            if matches!(effect, Effect::Path(_) | Effect::Replace { .. }) {
                match then.rewrite(effect, step.spot)? {
                    Some(rewrite) => change.put("rewrite", rewrite),
                    None => return Ok(None),
                }
            }
            // Where later rules look at the path they are asked apart: where the expression finds it, and where not.
            if let Effect::Replace { regex, .. } = effect
                && !now.has_new_path()
                && self.look_at_path(after, connection)
            {
                let finds = Either::of(Literal {
                    subject: Subject::Path,
                    patterns: vec![format!("~{regex}")],
                    fold: false,
                    not: false,
                });
                match when.and(&finds) {
                    Ok(both) => when = both,
                    Err(_) => {
                        self.verdicts.refuse(
                            step.spot,
                            step.spot,
                            "this condition has too many alternatives",
                        );
                        return Ok(None);
                    }
                }
            }
        }
        Ok(Some((when, change, then)))
    }

    /// Whether some rules, or those of the backends that they lead to, look at the path or change it.
    fn look_at_path(&mut self, steps: &[Step], connection: Connection) -> bool {
        steps.iter().any(|step| {
            let asks =
                |literal: &Literal| matches!(literal.subject, Subject::Path | Subject::Query(_));
            step.when.0.iter().flatten().any(asks)
                || step.effects.iter().any(changes_or_reads_path)
                || match &step.deed {
                    Deed::To(name) => {
                        let steps = self.steps_of_backend(name, connection, step.spot);
                        self.look_at_path(&steps, connection)
                    }
                    Deed::Answer(table) | Deed::Change(table) => reads_path(table),
                    Deed::Done | Deed::Auth(_) => false,
                }
        })
    }

    /// A rule looks at what one before has changed, and it cannot be told what it would find.
    fn unforeseen(&mut self, step: &Step, Unforeseen { what, by }: &Unforeseen) {
        let line = self.sources.short(*by);
        let message = format!(
            "this looks at {what}, which {line} has changed before, and what it finds is known for each request only: \
             routes look at requests as they come; write this rule before that one, with what it is to find in the \
             request as it comes"
        );
        self.verdicts.refuse(step.spot, step.spot, message);
    }

    /// The way into a backend: its own rules, then its servers.
    fn way_into_backend(
        &mut self,
        name: &str,
        connection: Connection,
        now: &Changed,
        spot: Spot,
        budget: &mut usize,
    ) -> Vec<Route> {
        let steps = self.steps_of_backend(name, connection, spot);
        self.hashed_field(name, &steps, now);
        self.build(&steps, connection, &now.in_a_backend(), budget)
    }

    /// `balance hdr(NAME)` hashes the field as it came: a rule that changes it before would have no effect on that.
    fn hashed_field(&mut self, name: &str, steps: &[Step], now: &Changed) {
        let Some(section) = self.section_of_backend(name) else {
            return;
        };
        let proxy = Proxy::new(section, self.sections, self.used);
        let Some(line) = proxy.get("balance") else {
            return;
        };
        let field = line.word(1).rsplit_once("hdr(");
        let Some((_, field)) = field else { return };
        let field = field.split([')', ',']).next().unwrap_or_default();
        let here = steps.iter().flat_map(|step| &step.effects);
        if now.has_new_field(field) || here.into_iter().any(|effect| effect.is_of_field(field)) {
            self.verdicts.refuse(
                line.spot,
                line.at(1),
                format!(
                    "the field {field} is changed by a rule before, and it is hashed as it came"
                ),
            );
        }
    }

    /// The rules of a backend, and its servers.
    fn steps_of_backend(&mut self, name: &str, connection: Connection, spot: Spot) -> Vec<Step> {
        let Some(section) = self.section_of_backend(name) else {
            return Vec::new();
        };
        let proxy = Proxy::new(section, self.sections, self.used);
        let action = if self.has_servers(name) {
            let service = self.service(name);
            self.way_to_service(&proxy, service)
        } else {
            rules::nowhere(&proxy)
        };
        let last = Step::new(Either::always(), Deed::Answer(action), spot);
        // The rules of a listen section are asked once, as those of its front.
        if proxy.is_listen() {
            return vec![last];
        }
        let acls = self.acls(&proxy);
        let mut steps = self.policies(&proxy);
        steps.extend(self.steps(&proxy, &acls, connection));
        let fields = proxy.get("option forwardfor");
        let fields = fields.filter(|line| !self.has_front_with("option forwardfor", line));
        if fields.is_some() && !proxy.is_tcp() {
            steps.extend(Self::client_field(&proxy));
        }
        steps.extend(self.server_steps(&proxy, &acls, connection));
        steps.push(last);
        steps
    }

    /// The route to a service. `timeout tunnel` is how long a WebSocket there may be silent.
    fn way_to_service(&mut self, proxy: &Proxy<'_>, service: String) -> Table {
        let mut table = Table::default().with("to", Value::text(service));
        if let Some((line, at)) = proxy.argument("timeout tunnel")
            && let Some(time) = self.time(line, at)
        {
            table.table("timeouts").put("idle", Value::text(time));
        }
        table
    }

    /// `use-server NAME if ...`: a backend of this server alone.
    pub fn server_steps(
        &mut self,
        proxy: &Proxy<'_>,
        acls: &Acls,
        connection: Connection,
    ) -> Vec<Step> {
        let mut steps = Vec::new();
        for line in proxy.own("use-server") {
            let (words, condition) = rules::split(line.from(1));
            let name = words.first().map_or("", |word| word.text.as_str());
            match rules::when(condition, acls, connection, line.spot, &mut self.verdicts) {
                Ok(when) => {
                    self.verdicts.translated(line.spot);
                    let key = format!("{}/{name}", proxy.name());
                    let service = self
                        .services
                        .name(&key, &format!("{}-{name}", proxy.name()));
                    let table = self.way_to_service(proxy, service);
                    steps.push(Step::new(when, Deed::Answer(table), line.spot));
                }
                Err(refusal) => refusal.tell(line.spot, &mut self.verdicts),
            }
        }
        steps
    }
}

/// Adds routes under each of the alternatives of a condition; whether nothing comes after them.
fn add(routes: &mut Vec<Route>, when: &Either, inner: &[Route], spot: Spot) -> bool {
    when.0.iter().any(|together| {
        routes.extend(guard(together, inner, spot));
        together.is_empty()
    })
}

/// Whether what a rule puts in is made of the path, or is the path.
fn changes_or_reads_path(effect: &Effect) -> bool {
    match effect {
        Effect::Path(_) | Effect::Replace { .. } => true,
        Effect::Set(_, value) | Effect::Add(_, value) => is_of_path(value),
        Effect::Remove(_) => false,
    }
}

/// Whether something is filled in that is made of the path; redirects see the new one.
fn reads_path(table: &Table) -> bool {
    fn reads(value: &Value) -> bool {
        match value {
            Value::Text(text) => is_of_path(text),
            Value::List(values) | Value::Array(values) => values.iter().any(reads),
            Value::Table(table) => table.0.iter().any(|(_, value)| reads(value)),
            Value::Plain(_) | Value::Routes(_) => false,
        }
    }
    let looks = |(key, value): &(String, Value)| {
        matches!(key.as_str(), "headers" | "respond") && reads(value)
    };
    table.0.iter().any(looks)
}

fn is_of_path(template: &str) -> bool {
    ["path", "uri", "query"]
        .iter()
        .any(|variable| foresee::reads(template, variable))
}

/// Puts what goes with routes around them: into the only one, or into a group.
fn with(change: &Table, routes: Vec<Route>, spot: Spot) -> Vec<Route> {
    if let [only] = &routes[..]
        && !change.0.iter().any(|(key, _)| only.table.has(key))
        && !only.table.has("deny")
        && !only.table.has("respond")
    {
        let mut table = only.table.clone();
        table.0.extend(change.0.iter().cloned());
        return vec![Route {
            table,
            spot: only.spot,
        }];
    }
    let mut table = change.clone();
    table.put("route", Value::Routes(routes));
    vec![Route { table, spot }]
}
