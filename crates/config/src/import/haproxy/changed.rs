//! What the rules before have made of a request.
//!
//! HAProxy's rules look at the request as those before have left it; conditions and variables of routes look at it as it
//! came. So what is known of the changes is kept, and each later condition is decided with it, or refused.

use std::collections::{BTreeMap, BTreeSet};

use super::super::document::{Table, Value};
use super::super::logic::{Either, Literal, Subject};
use super::super::sources::Spot;
use super::foresee::{self, Beginning, Text};

/// What a rule changes of what later rules may look at. Texts are templates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// The path is this.
    Path(String),
    /// The path is `to` where the expression finds it, all of it.
    Replace { regex: String, to: String },
    /// A field has this value and no other.
    Set(String, String),
    /// It has this value besides.
    Add(String, String),
    /// It is gone.
    Remove(String),
}

impl Effect {
    /// Whether it changes this field.
    pub fn is_of_field(&self, field: &str) -> bool {
        match self {
            Self::Set(name, _) | Self::Add(name, _) | Self::Remove(name) => {
                name.eq_ignore_ascii_case(field)
            }
            Self::Path(_) | Self::Replace { .. } => false,
        }
    }
}

/// A rule looks at what was changed, and what it would find cannot be told before there is a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unforeseen {
    /// What it looks at.
    pub what: String,
    /// The rule that changed it.
    pub by: Spot,
}

/// What is known of a request on its way through the rules.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changed {
    path: Option<NewPath>,
    /// By name in lower case.
    fields: BTreeMap<String, Field>,
    /// Fields of the answer that rules of the frontend change, in lower case.
    answered: BTreeSet<String>,
    /// The rules are those of a backend by now.
    in_backend: bool,
}

#[derive(Clone, Debug)]
struct NewPath {
    /// The expression whose finds are filled in.
    regex: Option<String>,
    to: String,
    by: Spot,
}

#[derive(Clone, Debug)]
struct Field {
    /// What rules have put in.
    values: Vec<String>,
    /// Whether what the client sent is there, too.
    came: bool,
    /// Whether the rule was asked under a condition, so that nothing is known.
    unsure: bool,
    by: Spot,
}

/// What is found when a question is asked.
enum Found {
    Holds(bool),
    /// The same as in the request as it came.
    AsItCame,
    /// What this finds in the request as it came.
    Instead(Vec<String>),
}

/// The names of fields that some changes have.
fn names_in(changes: &Value) -> Vec<String> {
    match changes {
        Value::List(values) | Value::Array(values) => values.iter().flat_map(names_in).collect(),
        Value::Table(table) => table
            .0
            .iter()
            .flat_map(|(how, value)| named(how, value))
            .collect(),
        _ => Vec::new(),
    }
}

fn named(how: &str, value: &Value) -> Vec<String> {
    match (how, value) {
        ("remove", Value::Text(name)) => vec![name.clone()],
        ("remove", Value::List(names)) => {
            let text = |name: &Value| match name {
                Value::Text(name) => Some(name.clone()),
                _ => None,
            };
            names.iter().filter_map(text).collect()
        }
        (_, Value::Table(fields)) => fields.0.iter().map(|(name, _)| name.clone()).collect(),
        _ => Vec::new(),
    }
}

impl Changed {
    /// Whether the path is no longer the one that came.
    /// What is known of it when it has come into a backend.
    pub fn in_a_backend(&self) -> Self {
        Self {
            in_backend: true,
            ..self.clone()
        }
    }

    /// Hears of a change of the answer's head. Gives a field that the frontend changes, too, when this is a backend's.
    pub fn answer(&mut self, change: &Table) -> Option<String> {
        let Some(Value::Table(headers)) = change.get("headers") else {
            return None;
        };
        let sides = headers.0.iter().filter(|(side, _)| side != "request");
        let mut names = sides.flat_map(|(_, changes)| names_in(changes));
        if self.in_backend {
            return names.find(|name| self.answered.contains(&name.to_ascii_lowercase()));
        }
        let names: Vec<String> = names.map(|name| name.to_ascii_lowercase()).collect();
        self.answered.extend(names);
        None
    }

    pub fn has_new_path(&self) -> bool {
        self.path.is_some()
    }

    /// Whether rules have changed a field.
    pub fn has_new_field(&self, name: &str) -> bool {
        self.fields.contains_key(&name.to_ascii_lowercase())
    }

    /// Takes a change of a field over. `unsure`: it happens to some requests only.
    pub fn field(&mut self, effect: &Effect, unsure: bool, by: Spot) {
        let (name, value, keeps) = match effect {
            Effect::Set(name, value) => (name, Some(value), false),
            Effect::Add(name, value) => (name, Some(value), true),
            Effect::Remove(name) => (name, None, false),
            Effect::Path(_) | Effect::Replace { .. } => return,
        };
        let field = self
            .fields
            .entry(name.to_ascii_lowercase())
            .or_insert(Field {
                values: Vec::new(),
                came: true,
                unsure: false,
                by,
            });
        if !keeps && !unsure {
            field.values.clear();
            (field.came, field.unsure) = (false, false);
        }
        field.values.extend(value.cloned());
        field.unsure |= unsure;
        field.by = by;
    }

    /// Takes a change of the path over, and gives the `rewrite` that makes it of the path that came. `None`: it stays
    /// what the rules before have made of it.
    pub fn rewrite(&mut self, effect: &Effect, by: Spot) -> Result<Option<Value>, Unforeseen> {
        let unforeseen = |old: &NewPath| Unforeseen {
            what: "the path".into(),
            by: old.by,
        };
        let (regex, to) = match (effect, &self.path) {
            (Effect::Path(to), None) => (None, self.filled(to, true)?),
            (Effect::Path(to), Some(old)) => {
                let to = self.filled(to, true)?;
                if foresee::reads(&to, "path") {
                    (old.regex.clone(), foresee::put(&to, "path", &old.to))
                } else {
                    (None, to)
                }
            }
            (Effect::Replace { regex, to }, None) => (Some(regex.clone()), self.filled(to, true)?),
            (Effect::Replace { regex, to }, Some(old)) => {
                let to_old = foresee::before_query(&old.to);
                let path = Text::new(to_old);
                if path.fixed().is_none() && Beginning::new(old.regex.as_deref(), to_old).is_none()
                {
                    return Err(unforeseen(old));
                }
                match path.matches(&format!("~{regex}"), false) {
                    Some(false) => return Ok(None),
                    Some(true) => {
                        let path = path.fixed().ok_or_else(|| unforeseen(old))?;
                        let to = self.filled(to, true)?;
                        if foresee::reads(&to, "path") {
                            return Err(unforeseen(old));
                        }
                        (None, foresee::put_finds(&to, regex, path))
                    }
                    None => return Err(unforeseen(old)),
                }
            }
            _ => return Ok(None),
        };
        let value = match &regex {
            None => Value::text(&to),
            Some(regex) => {
                Value::Table(Table::default().with(&format!("~{regex}"), Value::text(&to)))
            }
        };
        self.path = Some(NewPath { regex, to, by });
        Ok(Some(value))
    }

    /// A condition on the request as it is now, as one on the request as it came.
    pub fn resolve(&self, when: &Either) -> Result<Either, Unforeseen> {
        let mut all = Either::never();
        for together in &when.0 {
            let mut rest = Vec::new();
            let mut unforeseen = None;
            let mut never = false;
            for literal in together {
                match self.ask(literal) {
                    Ok(Found::Holds(true)) => {}
                    Ok(Found::Holds(false)) => never = true,
                    Ok(Found::AsItCame) => rest.push(literal.clone()),
                    Ok(Found::Instead(patterns)) => rest.push(Literal {
                        patterns,
                        ..literal.clone()
                    }),
                    Err(found) => unforeseen = Some(found),
                }
            }
            match unforeseen {
                _ if never => {}
                Some(unforeseen) => return Err(unforeseen),
                None if rest.is_empty() => return Ok(Either::always()),
                None => all.0.push(rest),
            }
        }
        Ok(all)
    }

    fn ask(&self, literal: &Literal) -> Result<Found, Unforeseen> {
        let found = match &literal.subject {
            Subject::Path => self.ask_path(literal)?,
            Subject::Query(_) => match &self.path {
                Some(new) if new.to.contains('?') => {
                    return Err(Unforeseen {
                        what: "the query".into(),
                        by: new.by,
                    });
                }
                _ => Found::AsItCame,
            },
            Subject::Header(name) => self.ask_field(name, literal)?,
            Subject::Host => self.ask_host(literal)?,
            Subject::Cookie(_) => match self.fields.get("cookie") {
                None => Found::AsItCame,
                Some(field) if field.is_gone() => Found::Holds(false),
                Some(field) => return Err(field.unforeseen("Cookie")),
            },
            Subject::Method
            | Subject::Source
            | Subject::Sni
            | Subject::ClientCert
            | Subject::Excess(_)
            | Subject::Status
            | Subject::Answered(_)
            | Subject::Users(_) => Found::AsItCame,
        };
        Ok(match found {
            Found::Holds(holds) => Found::Holds(holds != literal.not),
            found => found,
        })
    }

    fn ask_path(&self, literal: &Literal) -> Result<Found, Unforeseen> {
        let Some(new) = &self.path else {
            return Ok(Found::AsItCame);
        };
        let unforeseen = || Unforeseen {
            what: "the path".into(),
            by: new.by,
        };
        let to = foresee::before_query(&new.to);
        let path = Text::new(to);
        let beginning = Beginning::new(new.regex.as_deref(), to);
        if path.fixed().is_none() && beginning.is_none() {
            return Err(unforeseen());
        }
        if let Some(holds) = path.matches_one(&literal.patterns, literal.fold) {
            return Ok(Found::Holds(holds));
        }
        // The others are never found.
        let open = literal
            .patterns
            .iter()
            .filter(|pattern| path.matches(pattern, literal.fold).is_none());
        let before = open.map(|pattern| beginning.as_ref()?.as_it_came(pattern));
        let before: Option<Vec<String>> = before.collect();
        before.map(Found::Instead).ok_or_else(unforeseen)
    }

    fn ask_field(&self, name: &str, literal: &Literal) -> Result<Found, Unforeseen> {
        let Some(field) = self.fields.get(&name.to_ascii_lowercase()) else {
            return Ok(Found::AsItCame);
        };
        if field.unsure {
            return Err(field.unforeseen(name));
        }
        let found = field
            .values
            .iter()
            .map(|value| Text::new(value).matches_one(&literal.patterns, literal.fold));
        let found: Vec<_> = found.collect();
        if found.contains(&Some(true)) {
            Ok(Found::Holds(true))
        } else if found.contains(&None) {
            Err(field.unforeseen(name))
        } else if field.came {
            Ok(Found::AsItCame)
        } else {
            Ok(Found::Holds(false))
        }
    }

    fn ask_host(&self, literal: &Literal) -> Result<Found, Unforeseen> {
        let Some(field) = self.fields.get("host") else {
            return Ok(Found::AsItCame);
        };
        let host = field.fixed().ok_or_else(|| field.unforeseen("Host"))?;
        let host =
            Text::new(&foresee::literal(without_port(&host))).matches_one(&literal.patterns, true);
        host.map(Found::Holds)
            .ok_or_else(|| field.unforeseen("Host"))
    }

    /// The texts of a route that are filled in for each request, so that they mean the request as it is now.
    pub fn fill(&self, table: &mut Table) -> Result<(), Unforeseen> {
        for (key, value) in &mut table.0 {
            match key.as_str() {
                // These see the new path, though nothing else that is new.
                "redirect" => self.fill_value(value, true)?,
                "headers" => self.fill_value(value, false)?,
                "respond" => {
                    let Value::Table(respond) = value else {
                        continue;
                    };
                    for (key, value) in &mut respond.0 {
                        match key.as_str() {
                            "headers" => self.fill_value(value, false)?,
                            "template" => self.fill_value(value, true)?,
                            _ => {}
                        }
                    }
                }
                // What an expression finds in the path as it came.
                "route" => {
                    if let Some(new) = &self.path {
                        return Err(Unforeseen {
                            what: "the path".into(),
                            by: new.by,
                        });
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn fill_value(&self, value: &mut Value, sees_path: bool) -> Result<(), Unforeseen> {
        match value {
            Value::Text(text) => *text = self.filled(text, sees_path)?,
            Value::List(values) | Value::Array(values) => {
                for value in values {
                    self.fill_value(value, sees_path)?;
                }
            }
            Value::Table(table) => {
                for (_, value) in &mut table.0 {
                    self.fill_value(value, sees_path)?;
                }
            }
            Value::Plain(_) | Value::Routes(_) => {}
        }
        Ok(())
    }

    fn filled(&self, template: &str, sees_path: bool) -> Result<String, Unforeseen> {
        foresee::filled(template, |variable| {
            let (kind, name) = variable.split_once(':').unwrap_or((variable, ""));
            match kind {
                "path" | "uri" | "query" if !sees_path => {
                    let Some(new) = &self.path else {
                        return Ok(None);
                    };
                    let path = Text::new(&new.to);
                    match (kind, path.fixed()) {
                        ("path", Some(path)) if !path.contains('?') => Ok(Some(new.to.clone())),
                        ("query", _) if !new.to.contains('?') => Ok(None),
                        _ => Err(Unforeseen {
                            what: "the path".into(),
                            by: new.by,
                        }),
                    }
                }
                "host" => self.field_text("host", |text| {
                    let host = Text::new(text);
                    Some(foresee::literal(without_port(host.fixed()?)))
                }),
                "header" => self.field_text(name, |text| Some(text.to_owned())),
                "cookie" => self.field_text("cookie", |_| None),
                _ => Ok(None),
            }
        })
    }

    /// What stands in a field, as a template; `None` if that is what came.
    fn field_text(
        &self,
        name: &str,
        make: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<String>, Unforeseen> {
        let Some(field) = self.fields.get(&name.to_ascii_lowercase()) else {
            return Ok(None);
        };
        let text = match &field.values[..] {
            _ if field.unsure || field.came => None,
            [] => Some(String::new()),
            [only] => make(only),
            _ => None,
        };
        text.map(Some).ok_or_else(|| field.unforeseen(name))
    }
}

impl Field {
    fn is_gone(&self) -> bool {
        self.values.is_empty() && !self.came && !self.unsure
    }

    /// The one value, if it is known.
    fn fixed(&self) -> Option<String> {
        match &self.values[..] {
            [only] if !self.came && !self.unsure => Text::new(only).fixed().map(str::to_owned),
            _ => None,
        }
    }

    fn unforeseen(&self, name: &str) -> Unforeseen {
        Unforeseen {
            what: format!("the field {name}"),
            by: self.by,
        }
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}
