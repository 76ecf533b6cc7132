//! What `map`, `geo` and `set` in an `if` choose, filled in: a route for each value, in the order in which nginx chooses.

use super::super::document::{Route, Table, Value};
use super::super::logic::{Either, guard};
use super::super::sources::Spot;
use super::Translator;
use super::chosen::{Chosen, Entry, left, many};
use super::content::{Found, Here};
use super::variables::{self, Piece};

/// Routes that the values of variables make of one place, at most.
const MOST: usize = 64;

/// What is done at a place once its variables have values.
type Make<'m, 't, 'a> = &'m mut dyn FnMut(&mut Translator<'t>, Here<'_, 'a>) -> Vec<Route>;

impl<'a> Translator<'a> {
    /// What is done with these texts, for each value of the variables in them.
    pub fn each_value(
        &mut self,
        here: Here<'_, 'a>,
        spot: Spot,
        texts: &[String],
        make: Make<'_, 'a, 'a>,
    ) -> Vec<Route> {
        let names = self.unbound(texts);
        let Some(name) = names.first() else {
            return make(self, here);
        };
        if self.bound.contains_key(name) {
            let message = format!("\"${name}\" is made of itself");
            self.verdicts.refuse(spot, spot, message);
            return Vec::new();
        }
        if self.bound.is_empty() {
            self.cases = 0;
        }
        let chosen = match self.chosen(name, here, spot) {
            Ok(chosen) if names.len() == 1 && self.bound.is_empty() => chosen.merged(),
            Ok(chosen) => chosen,
            Err(message) => {
                let message = format!("${name} cannot be filled in here: {message}");
                self.verdicts.refuse(spot, spot, message);
                return Vec::new();
            }
        };
        let has_finds = |text: &String| {
            let pieces = variables::pieces(text).unwrap_or_default();
            let mut names = pieces.iter().filter_map(Piece::name);
            names.any(|name| name.starts_with(|c: char| c.is_ascii_digit()))
        };
        let clashes = self.made.asks_expression(name) && texts.iter().any(has_finds);
        if clashes {
            let message = format!("an expression of ${name} takes away what another one has found");
            self.verdicts.refuse(spot, spot, message);
            return Vec::new();
        }
        let (assumed, mut routes) = (self.assumed.len(), Vec::new());
        let mut is_all = false;
        for entry in &chosen.entries {
            let either = left(&entry.when, &self.assumed);
            for together in &either.0 {
                self.cases += 1;
                if self.cases > MOST {
                    let message = format!(
                        "the values of its variables would make more than {MOST} routes of this place"
                    );
                    self.verdicts.refuse(spot, spot, message);
                    return Vec::new();
                }
                let known = self.assumed.len();
                let holds = together.iter().map(|literal| (literal.clone(), true));
                self.assumed.extend(holds);
                let found = entry.found.as_ref();
                let found = found.map(|(regex, fold)| Found::new(regex, *fold));
                let here = Here {
                    found: found.or(here.found),
                    ..here
                };
                let inner = self.with_value(name, &entry.value, |translator| {
                    translator.each_value(here, spot, texts, make)
                });
                self.assumed.truncate(known);
                routes.extend(guard(together, &inner, spot));
                is_all |= together.is_empty();
            }
            if is_all {
                break;
            }
            let alone = either.0.iter().filter(|together| together.len() == 1);
            let not = alone.map(|together| (together[0].clone(), false));
            self.assumed.extend(not);
        }
        if !is_all {
            routes.extend(self.with_value(name, &chosen.default, |translator| {
                translator.each_value(here, spot, texts, make)
            }));
        }
        self.assumed.truncate(assumed);
        routes
    }

    /// With a variable that has a value.
    pub fn with_value<T>(
        &mut self,
        name: &str,
        value: &str,
        make: impl FnOnce(&mut Self) -> T,
    ) -> T {
        self.bound.insert(name.to_owned(), value.to_owned());
        let made = make(self);
        self.bound.remove(name);
        made
    }

    /// The variables in texts that have one of several values.
    fn unbound(&self, texts: &[String]) -> Vec<String> {
        let mut found = Vec::new();
        for text in texts {
            let text = self.known(text);
            for piece in variables::pieces(&text).unwrap_or_default() {
                if let Some(name) = piece.name()
                    && self.has_values(name)
                    && !found.iter().any(|known| known == name)
                {
                    found.push(name.to_owned());
                }
            }
        }
        found
    }

    /// Whether a variable is one that the file makes.
    pub fn has_values(&self, name: &str) -> bool {
        self.made.has(name) || self.given.get(name).is_some()
    }

    /// The values of a variable that the file makes.
    pub fn chosen(&mut self, name: &str, here: Here<'_, 'a>, spot: Spot) -> Result<Chosen, String> {
        match self.given.get(name) {
            Some(chosen) => Ok(chosen),
            None => {
                let note = &mut |text| self.verdicts.note(spot, text);
                self.made.chosen(name, here.door, note)
            }
        }
    }

    /// The values for which something holds, and when: one after the other. `holds` is told, too, of those that are neither
    /// empty nor `0` whatever they are.
    pub fn held(
        &mut self,
        name: &str,
        here: Here<'_, 'a>,
        spot: Spot,
        holds: &dyn Fn(&str, bool) -> Option<bool>,
    ) -> Result<Chosen, String> {
        let chosen = self.chosen(name, here, spot)?.merged();
        let mut held = Vec::new();
        let known = chosen.entries.iter().map(|entry| entry.is_something);
        for (value, is_something) in chosen.values().zip(known.chain([false])) {
            let held_by = holds(value, is_something);
            held.push(
                held_by.ok_or_else(|| format!("\"{value}\" is worked out for each request"))?,
            );
        }
        // What comes before one that does not hold is asked before it; what comes after it is not.
        let mut not = Either::always();
        let mut entries = Vec::new();
        let default = Entry::new(Either::always(), chosen.default);
        for (mut entry, held) in chosen.entries.into_iter().chain([default]).zip(held) {
            if held {
                entry.when = entry.when.and(&not).map_err(many)?;
                entries.push(entry);
            } else {
                let passed = entry.when.negated().map_err(many)?;
                not = not.and(&passed).map_err(many)?;
            }
        }
        Ok(Chosen {
            entries,
            default: String::new(),
        })
    }
}

/// One limit for all that a place does, of how often and how many at once, which its values must not multiply.
pub(crate) fn one_limit(mut routes: Vec<Route>, spot: Spot) -> Vec<Route> {
    // Some may ask as often as they like: what has the limit has it for itself.
    if !routes.iter().all(|route| is_limited(&route.table)) {
        return routes;
    }
    let mut limits = Table::default();
    taken_out(&mut routes, &mut limits);
    if limits.is_empty() {
        return routes;
    }
    let table = limits.with("route", Value::Routes(routes));
    vec![Route { table, spot }]
}

/// Whether what leads on has a limit.
fn is_limited(table: &Table) -> bool {
    match table.get("route") {
        Some(Value::Routes(inner)) => inner.iter().all(|route| is_limited(&route.table)),
        _ => !table.has("to") || table.has("rate") || table.has("limits"),
    }
}

fn taken_out(routes: &mut [Route], limits: &mut Table) {
    for Route { table, .. } in routes {
        if let Some(at) = table.0.iter().position(|(key, _)| key == "rate") {
            limits.put("rate", table.0.remove(at).1);
        }
        if let Some(Value::Table(own)) = table.get("limits").cloned() {
            let (most, others) = own.0.into_iter().partition(|(key, _)| key == "per-source");
            let (most, others) = (Table(most), Table(others));
            table.put("limits", Value::Table(others.clone()));
            table
                .0
                .retain(|(key, _)| key != "limits" || !others.is_empty());
            if !most.is_empty() {
                limits.put("limits", Value::Table(most));
            }
        }
        for (_, value) in &mut table.0 {
            if let Value::Routes(inner) = value {
                taken_out(inner, limits);
            }
        }
    }
}

/// A condition for each value.
pub(crate) fn cases(chosen: &Chosen) -> impl Iterator<Item = (&Either, &str, Option<Found<'_>>)> {
    chosen.entries.iter().map(|entry| {
        let found = entry.found.as_ref();
        let found = found.map(|(regex, fold)| Found::new(regex, *fold));
        (&entry.when, entry.value.as_str(), found)
    })
}
