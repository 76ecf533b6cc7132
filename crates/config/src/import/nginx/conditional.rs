//! `if`: what is done where its condition holds.

use super::super::document::Route;
use super::super::logic::{Literal, Subject, guard};
use super::chosen::is_something;
use super::condition::{Asked, Wanted};
use super::content::{Found, Here};
use super::tree::Directive;
use super::{Translator, choices, variables};

/// Settings of an `if` behind that of another, at most: each has routes with and without the others.
const MOST_TOGETHER: usize = 4;

/// What an `if` does.
const RULES: [&str; 5] = ["return", "rewrite", "proxy_pass", "break", "set"];

/// What an `if` of a location says of answers.
const SETTINGS: [&str; 7] = [
    "root",
    "add_header",
    "expires",
    "access_log",
    "gzip",
    "charset",
    "error_page",
];

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
        if asked.holds("") {
            // As any other that is empty.
        } else if self.asks_too_early(&name, directive) {
            return;
        }
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
        let possible = condition.0.iter();
        for together in possible.filter(|together| !is_impossible(together, &self.assumed)) {
            routes.extend(guard(together, &inner, spot));
        }
    }

    /// `if ($request_method = OPTIONS) { add_header ...; }`: what the place does, with these settings. Rules that come after it are
    /// followed as well, and of several that hold the last one's settings count.
    pub fn with_settings(
        &mut self,
        around: Here<'_, 'a>,
        directive: &'a Directive,
        later: &[&'a Directive],
        routes: &mut Vec<Route>,
    ) {
        let spot = directive.spot;
        self.verdicts.translated(spot);
        if let Ok(asked) = super::condition::read(directive)
            && !asked.holds("")
            && self.asks_too_early(&asked.variable, directive)
        {
            return;
        }
        let condition = super::condition::read(directive).and_then(|mut asked| {
            asked.value = self.known(&asked.value);
            self.condition(around, &asked, spot)
        });
        let condition = match condition {
            Ok(condition) => condition,
            Err(message) => return self.verdicts.refuse(spot, directive.at(0), message),
        };
        let mut scope =
            around
                .scope
                .within(directive.inner(), &|_| String::new(), &mut self.verdicts);
        if directive.inner().iter().any(|inner| inner.is("root")) {
            scope.alias = None;
        }
        if later.iter().filter(|later| only_sets(later)).count() > MOST_TOGETHER {
            let message =
                "so many settings that may hold together are not translated: say them of a `map`";
            return self.verdicts.refuse(spot, spot, message);
        }
        for together in &condition.0 {
            if is_impossible(together, &self.assumed) {
                continue;
            }
            let (given, known) = (self.given.clone(), self.assumed.len());
            let holds = together.iter().map(|literal| (literal.clone(), true));
            self.assumed.extend(holds);
            let mut inner = Vec::new();
            if !self.followed(around, &scope, later, &mut inner) {
                let here = Here {
                    scope: &scope,
                    ..around
                };
                self.limit_except(here, &mut inner);
                inner.extend(self.handler(here));
            }
            self.given = given;
            self.assumed.truncate(known);
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
            let name = d.name.text.as_str();
            !RULES.contains(&name) && (here.location.is_none() || !SETTINGS.contains(&name))
        }) {
            self.verdicts.refuse(
                other.spot,
                other.spot,
                format!(
                    "\"{}\" in an if is not translated: `return`, `rewrite`, `set`, `break`, `proxy_pass` and how answers are sent are",
                    other.name.text
                ),
            );
        }
        (inner, ends)
    }
}

/// Whether an `if` says how answers are sent, and nothing else.
pub(crate) fn only_sets(directive: &Directive) -> bool {
    let mut inner = directive.inner().iter();
    !directive.inner().is_empty() && inner.all(|inner| SETTINGS.contains(&&*inner.name.text))
}

/// Whether a request with these methods cannot be one with those.
fn is_impossible(together: &[Literal], known: &[(Literal, bool)]) -> bool {
    let is_method = |literal: &&Literal| literal.subject == Subject::Method && !literal.not;
    together.iter().filter(is_method).any(|asked| {
        let known = known.iter().filter(|(_, holds)| *holds);
        known
            .map(|(literal, _)| literal)
            .filter(is_method)
            .any(|known| {
                !known
                    .patterns
                    .iter()
                    .any(|method| asked.patterns.contains(method))
            })
    })
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

#[cfg(test)]
mod tests {
    use super::super::super::Verdict;
    use super::super::tests::{are_refused, direct, said};

    #[test]
    fn settings_of_an_if_hold_for_what_the_place_answers() {
        let made = direct(
            "server { listen 81; location / { add_header X-A all; if ($request_method = OPTIONS) { add_header X-A options; return 204; } \
             if ($request_method = POST) { add_header X-A post always; } if ($request_method = GET) { add_header X-A get; } \
             proxy_pass http://127.0.0.1:82; proxy_set_header Host $http_host; } }",
        );
        assert_eq!(said(&made, Verdict::Refused), Vec::<String>::new());
        let routes: Vec<&str> = made
            .text
            .lines()
            .filter(|line| line.contains("X-A"))
            .collect();
        let wanted = [
            ("OPTIONS", "success = { add = { X-A = \"options\" }"),
            ("POST", "response = { add = { X-A = \"post\" }"),
            ("GET", "success = { add = { X-A = \"get\" }"),
            ("", "success = { add = { X-A = \"all\" }"),
        ];
        assert_eq!(routes.len(), wanted.len(), "{}", made.text);
        for (route, (method, field)) in routes.iter().zip(wanted) {
            assert!(
                route.contains(method) && route.contains(field),
                "{}",
                made.text
            );
        }
        are_refused(&[(
            "server { listen 81; location / { if ($http_x) { limit_rate 1k; } } }",
            "limit_rate",
        )]);
    }

    #[test]
    fn of_several_ifs_that_hold_the_last_one_says_how_answers_are_sent() {
        let made = direct(
            "server { listen 81; location / { if ($http_a) { add_header X-A a; } if ($http_b) { add_header X-B b; } return 204; } }",
        );
        assert_eq!(said(&made, Verdict::Refused), Vec::<String>::new());
        let text = made.text;
        let both = text.find("X-B = \"b\"").expect("both");
        let first = text.find("X-A = \"a\"").expect("the first alone");
        assert!(
            both < first && text.matches("X-B = \"b\"").count() == 2,
            "{text}"
        );
    }
}
