//! `if`: what is done where its condition holds.

use super::super::document::Route;
use super::super::logic::guard;
use super::chosen::is_something;
use super::condition::{Asked, Wanted};
use super::content::{Found, Here};
use super::tree::Directive;
use super::{Translator, choices, variables};

/// Values for which an `if` does something, at most.
const MOST_VALUES: usize = 64;

impl<'a> Translator<'a> {
    /// `if (...) { return ...; }`
    pub fn conditional(
        &mut self,
        here: Here<'_, 'a>,
        directive: &'a Directive,
        routes: &mut Vec<Route>,
    ) {
        let spot = directive.spot;
        self.verdicts.translated(spot);
        let mut asked = match super::condition::read(directive) {
            Ok(asked) => asked,
            Err(message) => return self.verdicts.refuse(spot, directive.at(0), message),
        };
        if asked.wanted == Wanted::Equal {
            asked.value = self.known(&asked.value);
            let pieces = variables::pieces(&asked.value).unwrap_or_default();
            if pieces.iter().any(|piece| piece.name().is_some()) {
                let message = format!("\"{}\" is worked out for each request", asked.value);
                return self.verdicts.refuse(spot, spot, message);
            }
        }
        let name = asked.variable.clone();
        let is_filled_in = mentions(directive.inner(), &name) && self.has_values(&name);
        if is_filled_in && !directive.inner().iter().any(|d| d.is("set")) {
            return self.by_value(here, directive, &asked, routes);
        }
        let condition = match self.condition(here, &asked, spot) {
            Ok(condition) => condition,
            Err(message) => return self.verdicts.refuse(spot, directive.at(0), message),
        };
        let expression = super::condition::asked_expression(directive);
        let found = match &expression {
            // It finds nothing: what was found before stays.
            None => here.found,
            Some((variable, regex, fold)) if matches!(*variable, "uri" | "document_uri") => {
                Some(Found::new(regex, *fold))
            }
            Some(_) => None,
        };
        let before = self.given.clone();
        let (inner, ends) = self.block(Here { found, ..here }, directive);
        let within = std::mem::replace(&mut self.given, before);
        if !ends && directive.inner().iter().any(|d| d.is("set")) {
            if let Some(other) = directive.inner().iter().find(|d| !d.is("set")) {
                let message = "an `if` sets variables, or it does something";
                return self.verdicts.refuse(spot, other.spot, message);
            }
            if let Err(message) = self.given.merge(&within, &condition) {
                self.verdicts.refuse(spot, spot, message);
            }
            return;
        }
        for together in &condition.0 {
            routes.extend(guard(together, &inner, spot));
        }
    }

    /// `if ($made) { return 301 $made; }`: what is done for each value for which it is done.
    fn by_value(
        &mut self,
        here: Here<'_, 'a>,
        directive: &'a Directive,
        asked: &Asked,
        routes: &mut Vec<Route>,
    ) {
        let (spot, name) = (directive.spot, asked.variable.as_str());
        let holds = |value: &str, something: bool| match asked.wanted {
            Wanted::Present if something => Some(true),
            Wanted::Present => is_something(value),
            _ if value.contains('$') => None,
            _ => Some(asked.holds(value)),
        };
        let held = match self.held(name, here, spot, &holds) {
            Ok(held) => held,
            Err(message) => {
                let message = format!("a condition on \"${name}\" is not translated: {message}");
                return self.verdicts.refuse(spot, directive.at(0), message);
            }
        };
        if held.entries.len() > MOST_VALUES {
            let message = format!("${name} has more than {MOST_VALUES} values here");
            return self.verdicts.refuse(spot, spot, message);
        }
        for (when, value, found) in choices::cases(&held) {
            let here = Here { found, ..here };
            let (inner, _) =
                self.with_value(name, value, |translator| translator.block(here, directive));
            for together in &when.0 {
                routes.extend(guard(together, &inner, spot));
            }
        }
    }

    /// What is done within an `if`, and whether nothing comes after it.
    fn block(&mut self, here: Here<'_, 'a>, directive: &'a Directive) -> (Vec<Route>, bool) {
        let spot = directive.spot;
        let mut inner = Vec::new();
        let scope = here
            .scope
            .within(directive.inner(), &|_| String::new(), &mut self.verdicts);
        let within = Here {
            scope: &scope,
            list: directive.inner(),
            ..here
        };
        let ends = self.rewriting(within, directive.inner(), &mut inner);
        if !ends && within.find("proxy_pass").is_some() {
            inner.extend(self.handler(within));
        } else if !ends && let Some(last) = within.find("break") {
            if here.location.is_none() {
                self.verdicts.refuse(
                    spot,
                    last.spot,
                    "`break` here would have the locations asked, and nothing between: turn the condition round",
                );
                return (Vec::new(), ends);
            }
            // What the location does, without the rules that come after this one.
            let here = Here {
                scope: &scope,
                ..here
            };
            self.limit_except(here, &mut inner);
            inner.extend(self.handler(here));
        }
        if let Some(other) = directive.inner().iter().find(|d| {
            !matches!(
                d.name.text.as_str(),
                "return" | "rewrite" | "proxy_pass" | "break" | "set"
            )
        }) {
            self.verdicts.refuse(
                other.spot,
                other.spot,
                format!(
                    "\"{}\" in an if is not translated: `return`, `rewrite`, `set`, `break` and `proxy_pass` are",
                    other.name.text
                ),
            );
        }
        (inner, ends)
    }
}

/// Whether a variable is named in a block.
fn mentions(list: &[Directive], name: &str) -> bool {
    list.iter().any(|directive| {
        let mut words = directive.args.iter();
        let named = words.any(|word| {
            let pieces = variables::pieces(&word.text).unwrap_or_default();
            pieces.iter().any(|piece| piece.name() == Some(name))
        });
        named || mentions(directive.inner(), name)
    })
}
