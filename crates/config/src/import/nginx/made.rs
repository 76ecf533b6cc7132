//! `map` and `geo`: variables that a file makes of others, as conditions on those.
//!
//! A route asks what a request has, not what a variable made of it; so `if ($made = x)` becomes the question whether an
//! entry holds whose value is `x`, and none that nginx would have taken before it. Where the variable is filled in there is a
//! route for each value ([`super::choices`]).

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::super::logic::{Either, Literal, Subject};
use super::super::report::Verdicts;
use super::super::sources::Spot;
use super::Door;
use super::chosen::{Chosen, Entry, many};
use super::condition::{self, Wanted};
use super::stream::Preread;
use super::tree::Directive;

/// Variables by their names.
#[derive(Default)]
pub(crate) struct Made(BTreeMap<String, Variable>);

struct Variable {
    spot: Spot,
    /// What it is made of, without the dollar.
    source: String,
    default: String,
    /// In the order in which nginx asks: the first that holds has the value.
    entries: Vec<(When, String)>,
    /// Why no condition can ask for it.
    wrong: Option<String>,
    is_asked: bool,
}

/// When an entry holds.
enum When {
    /// The text, without regard to case.
    Is(String),
    /// An expression, which is not asked about nothing at all.
    Matches {
        regex: String,
        fold: bool,
    },
    /// A mask of host names (`*.b.example`, `d.*`), without regard to case.
    Mask(String),
    From(IpNet),
}

/// What a mask matches, as an expression.
fn of_mask(mask: &str) -> String {
    match (mask.strip_prefix("*."), mask.strip_suffix(".*")) {
        (Some(rest), _) => format!(r"^.+\.{}$", regex::escape(rest)),
        (_, Some(rest)) => format!(r"^{}\..+$", regex::escape(rest)),
        _ => format!("^{}$", regex::escape(mask)),
    }
}

/// The name that a TLS client asks for, in a stream.
const NAME: &str = "ssl_preread_server_name";

type Note<'n> = &'n mut dyn FnMut(&'static str);

impl Made {
    /// The variables of the `http` block.
    pub fn read(list: &[Directive], verdicts: &mut Verdicts) -> Self {
        let mut made = Self::default();
        for directive in list {
            let variable = match directive.name.text.as_str() {
                "map" => map(directive, verdicts),
                "geo" => geo(directive, verdicts),
                _ => continue,
            };
            let name = directive.args.last().map_or("", |word| &word.text);
            match name.strip_prefix('$') {
                Some(name) => {
                    made.0.insert(name.to_owned(), variable);
                }
                None => verdicts.refuse(
                    directive.spot,
                    directive.spot,
                    format!("invalid variable name \"{name}\""),
                ),
            }
        }
        made
    }

    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// When a variable has a value for which something holds.
    pub fn condition(
        &mut self,
        name: &str,
        holds: &dyn Fn(&str) -> bool,
        door: &Door,
        note: Note<'_>,
    ) -> Result<Either, String> {
        self.within(name, holds, door, note, 0)
    }

    fn within(
        &mut self,
        name: &str,
        holds: &dyn Fn(&str) -> bool,
        door: &Door,
        note: Note<'_>,
        depth: usize,
    ) -> Result<Either, String> {
        if depth > 8 {
            return Err(format!("\"${name}\" is made of itself"));
        }
        if let Some(variable) = self.0.get_mut(name) {
            variable.is_asked = true;
        }
        let Some(variable) = self.0.get(name) else {
            return Err(format!("unknown \"{name}\" variable"));
        };
        if let Some(wrong) = &variable.wrong {
            return Err(format!(
                "a condition on \"${name}\" is not translated: {wrong}"
            ));
        }
        if self.has(&variable.source) {
            // What the other may be is known, and so is what becomes of it.
            let source = variable.source.clone();
            let outcomes: Vec<(String, bool)> = self.0[&source]
                .values()
                .map(|value| (value.to_owned(), holds(self.0[name].of(value))))
                .collect();
            let inner = |value: &str| outcomes.iter().any(|(known, held)| known == value && *held);
            return self.within(&source, &inner, door, note, depth + 1);
        }
        variable.chosen(door, note)?.when(holds)
    }

    /// The values of a variable and when it has them.
    pub fn chosen(&mut self, name: &str, door: &Door, note: Note<'_>) -> Result<Chosen, String> {
        let Some(variable) = self.0.get_mut(name) else {
            return Err(format!("unknown \"{name}\" variable"));
        };
        variable.is_asked = true;
        if let Some(wrong) = &variable.wrong {
            return Err(wrong.clone());
        }
        if !self.has(&self.0[name].source) {
            return self.0[name].chosen(door, note);
        }
        // By what the other one is.
        let default = self.0[name].default.clone();
        let mut values: Vec<String> = Vec::new();
        for (_, value) in &self.0[name].entries {
            if *value != default && !values.contains(value) {
                values.push(value.clone());
            }
        }
        let mut entries = Vec::new();
        for value in values {
            let when = self.condition(name, &|found| found == value, door, &mut *note)?;
            entries.push(Entry::new(when, value));
        }
        Ok(Chosen { entries, default })
    }

    /// Whether an expression is looked for to find out what a variable is.
    pub fn asks_expression(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|variable| {
            let mut entries = variable.entries.iter();
            entries.any(|(when, _)| matches!(when, When::Matches { .. }))
                || (variable.source != name && self.asks_expression(&variable.source))
        })
    }

    /// Says of variables that no condition asks for that nothing comes of them: whatever else names them is told there.
    /// `more` is what else is to be said of them.
    pub fn tell(&self, verdicts: &mut Verdicts, more: &str) {
        for (name, variable) in &self.0 {
            if variable.is_asked {
                verdicts.translated(variable.spot);
            } else {
                let message = format!("nothing asks for ${name}{more}");
                verdicts.without(variable.spot, message);
            }
        }
    }
}

impl Variable {
    fn values(&self) -> impl Iterator<Item = &str> {
        let entries = self.entries.iter().map(|(_, value)| value.as_str());
        entries.chain(std::iter::once(self.default.as_str()))
    }

    /// The value for a text.
    fn of(&self, text: &str) -> &str {
        let mut entries = self.entries.iter();
        let found = entries.find(|(when, _)| match when {
            When::Is(known) => known.eq_ignore_ascii_case(text),
            When::Matches { regex, fold } => {
                !text.is_empty() && Wanted::Regex(*fold).holds(regex, text)
            }
            When::Mask(mask) => Wanted::Regex(true).holds(&of_mask(mask), text),
            When::From(_) => false,
        });
        found.map_or(&self.default, |(_, value)| value)
    }

    fn chosen(&self, door: &Door, note: Note<'_>) -> Result<Chosen, String> {
        let mut entries = Vec::new();
        for (when, value) in &self.entries {
            let mut entry = Entry::new(self.asked(when, door, &mut *note)?, value.clone());
            let finds = ('1'..='9').any(|n| value.contains(&format!("${n}")));
            // What the entry has asked for.
            let names = [format!("${}", self.source), format!("${{{}}}", self.source)];
            if names.contains(value) {
                let fits_nothing = |regex: &str, fold| {
                    let wanted = Wanted::Regex(fold);
                    !wanted.holds(regex, "") && !wanted.holds(regex, "0")
                };
                entry.is_something = match when {
                    When::Is(text) => !matches!(text.as_str(), "" | "0"),
                    When::Matches { regex, fold } => fits_nothing(regex, *fold),
                    When::From(_) | When::Mask(_) => true,
                };
            }
            match when {
                When::Matches { regex, fold } if finds => {
                    if !matches!(self.source.as_str(), "uri" | "document_uri") {
                        return Err(format!(
                            "\"{value}\" has what an expression finds elsewhere than in $uri"
                        ));
                    }
                    entry.found = Some((regex.clone(), *fold));
                }
                _ if finds => return Err(format!("\"{value}\": no expression finds it")),
                _ => {}
            }
            entries.push(entry);
        }
        Ok(Chosen {
            entries,
            default: self.default.clone(),
        })
    }

    fn asked(&self, when: &When, door: &Door, note: Note<'_>) -> Result<Either, String> {
        let mut ask =
            |wanted, value: &str| condition::asked(&self.source, wanted, value, false, door, note);
        match when {
            When::From(network) => Ok(Either::of(Literal {
                subject: Subject::Source,
                patterns: vec![network.to_string()],
                fold: false,
                not: false,
            })),
            When::Is(text) => match self.source.as_str() {
                "host" | NAME => ask(Wanted::Equal, &text.to_lowercase()),
                "request_method" => ask(Wanted::Equal, &text.to_uppercase()),
                "remote_addr" | "scheme" | "https" | "server_port" => ask(Wanted::Equal, text),
                _ if !text.contains(|c: char| c.is_ascii_alphabetic()) => ask(Wanted::Equal, text),
                _ => ask(Wanted::Regex(true), &format!("^{}$", regex::escape(text))),
            },
            When::Mask(mask) if self.source == NAME && door.stream == Some(Preread::On) => {
                Ok(Either::of(Literal {
                    subject: Subject::Sni,
                    patterns: vec![mask.clone()],
                    fold: false,
                    not: false,
                }))
            }
            When::Mask(mask) => ask(Wanted::Regex(true), &of_mask(mask)),
            When::Matches { regex, fold } => {
                super::super::haproxy::checked(regex)?;
                if self.source == NAME {
                    // It is not asked about nothing at all, and no name fits no pattern.
                    return if door.stream == Some(Preread::On) {
                        ask(Wanted::Regex(*fold), regex)
                    } else {
                        Ok(Either::never())
                    };
                }
                let found = ask(Wanted::Regex(*fold), regex)?;
                if !Wanted::Regex(*fold).holds(regex, "") {
                    return Ok(found);
                }
                let some = ask(Wanted::Equal, "")?.negated().map_err(many)?;
                found.and(&some).map_err(many)
            }
        }
    }
}

/// `map $source $made { ... }`.
fn map(directive: &Directive, verdicts: &mut Verdicts) -> Variable {
    let text = directive.arg(0);
    let source = text.strip_prefix('$').unwrap_or_default();
    let source = source
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'))
        .unwrap_or(source);
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let wrong = (source.is_empty() || !source.chars().all(is_name))
        .then(|| format!("it is made of \"{text}\", which is more than one variable"));
    // Of what comes after `hostnames`.
    let mut has_masks = false;
    let (mut exact, mut leading, mut trailing, mut regexes) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut known = BTreeSet::new();
    let mut default = String::new();
    for entry in directive.inner() {
        let name = entry.name.text.as_str();
        if entry.args.is_empty() && matches!(name, "hostnames" | "volatile") {
            has_masks |= name == "hostnames";
            continue;
        }
        let [value] = &entry.args[..] else {
            verdicts.refuse(
                entry.spot,
                entry.spot,
                "invalid number of the map parameters",
            );
            continue;
        };
        let value = value.text.clone();
        let name = match name {
            "default" => {
                default = value;
                continue;
            }
            // A backslash takes its meaning from a word.
            _ => name.strip_prefix('\\').unwrap_or(name),
        };
        if let Some(regex) = name.strip_prefix('~').filter(|_| entry.name.text == name) {
            let (regex, fold) = match regex.strip_prefix('*') {
                Some(regex) => (regex, true),
                None => (regex, false),
            };
            let regex = regex.to_owned();
            regexes.push((When::Matches { regex, fold }, value));
            continue;
        }
        let folded = name.to_lowercase();
        let read = Key::read(&folded, has_masks);
        let Some(key) = read else {
            let message = format!("invalid hostname or wildcard \"{name}\"");
            verdicts.refuse(entry.spot, entry.spot, message);
            continue;
        };
        let mut is_new = true;
        if let Some(text) = &key.exact {
            is_new &= known.insert(text.clone());
        }
        if let Some(text) = &key.mask {
            is_new &= known.insert(text.clone());
        }
        if !is_new {
            let message = format!("conflicting parameter \"{folded}\"");
            verdicts.refuse(entry.spot, entry.spot, message);
        }
        if let Some(mask) = key.mask {
            let masks = if mask.starts_with('*') {
                &mut leading
            } else {
                &mut trailing
            };
            masks.push((mask.len(), When::Mask(mask), value.clone()));
        }
        if let Some(text) = key.exact {
            exact.push((When::Is(text), value));
        }
    }
    let mut entries = exact;
    for mut masks in [leading, trailing] {
        masks.sort_by_key(|(length, ..)| std::cmp::Reverse(*length));
        entries.extend(masks.into_iter().map(|(_, when, value)| (when, value)));
    }
    entries.extend(regexes);
    Variable {
        spot: directive.spot,
        source: source.to_owned(),
        default,
        entries,
        wrong,
        is_asked: false,
    }
}

/// What an entry of a `map` is looked up by.
struct Key {
    exact: Option<String>,
    mask: Option<String>,
}

impl Key {
    /// `None` for a mask that there is not. Without `has_masks` all are texts.
    fn read(text: &str, has_masks: bool) -> Option<Self> {
        let (mut exact, mut mask) = (None, None);
        let stars = text.matches('*').count();
        if !has_masks {
            exact = Some(text.to_owned());
        } else if stars > 1 || text.contains("..") {
            return None;
        } else if let Some(rest) = text.strip_prefix('.').filter(|rest| !rest.is_empty()) {
            exact = Some(rest.to_owned());
            mask = Some(format!("*.{rest}"));
        } else if text.len() > 2 && (text.starts_with("*.") || text.ends_with(".*")) {
            mask = Some(text.to_owned());
        } else if stars > 0 {
            return None;
        } else {
            exact = Some(text.to_owned());
        }
        Some(Self { exact, mask })
    }
}

/// `geo [$address] $made { ... }`.
fn geo(directive: &Directive, verdicts: &mut Verdicts) -> Variable {
    let mut wrong = None;
    if directive.args.len() > 1 && directive.arg(0) != "$remote_addr" {
        wrong = Some(format!(
            "it is made of {}, and the client's address is what is asked",
            directive.arg(0)
        ));
    }
    let mut networks: Vec<(IpNet, String)> = Vec::new();
    let mut default = String::new();
    for entry in directive.inner() {
        let name = entry.name.text.as_str();
        match (name, &entry.args[..]) {
            ("ranges", []) => wrong = Some("networks are asked, not ranges of addresses".into()),
            ("proxy" | "proxy_recursive", _) => {
                wrong = Some(format!(
                    "`{name}` is said to the listener: `set_real_ip_from` with `real_ip_header X-Forwarded-For`"
                ));
            }
            // The same as all networks.
            ("default", [value]) => {
                networks.retain(|(network, _)| network.prefix_len() > 0);
                default.clone_from(&value.text);
            }
            ("delete", [network]) => {
                if let Some(network) = network_of(&network.text) {
                    networks.retain(|(known, _)| *known != network);
                }
            }
            (_, [value]) => match network_of(name) {
                Some(network) => {
                    networks.retain(|(known, _)| *known != network);
                    networks.push((network, value.text.clone()));
                }
                None if wrong.is_some() => {}
                None => {
                    verdicts.refuse(
                        entry.spot,
                        entry.spot,
                        format!("invalid network \"{name}\""),
                    );
                }
            },
            _ => verdicts.refuse(
                entry.spot,
                entry.spot,
                "invalid number of the geo parameters",
            ),
        }
    }
    networks.sort_by_key(|(network, _)| std::cmp::Reverse(network.prefix_len()));
    let entries = networks
        .into_iter()
        .map(|(network, value)| (When::From(network), value));
    Variable {
        spot: directive.spot,
        source: "remote_addr".into(),
        default,
        entries: entries.collect(),
        wrong,
        is_asked: false,
    }
}

fn network_of(text: &str) -> Option<IpNet> {
    let network = super::super::haproxy::network(text)?;
    let parsed = network.parse::<IpNet>().ok();
    let parsed = parsed.or_else(|| network.parse::<std::net::IpAddr>().ok().map(IpNet::from));
    parsed.map(|network| network.trunc())
}

#[cfg(test)]
mod tests {
    use super::super::super::Verdict;
    use super::super::tests::{are_refused, direct, said};

    #[test]
    fn a_variable_that_nothing_asks_for_has_no_effect() {
        let made = direct(
            "map $http_upgrade $connection_upgrade { default upgrade; '' close; } \
             server { listen 81; location / { proxy_pass http://127.0.0.1:82; \
             proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade; } }",
        );
        assert!(said(&made, Verdict::Refused).is_empty());
        let without = said(&made, Verdict::Without);
        assert!(
            without
                .iter()
                .any(|text| text.contains("$connection_upgrade")),
            "{without:?}"
        );
    }

    #[test]
    fn values_make_routes_up_to_a_bound_and_count_a_client_once() {
        let map = |count: usize| {
            let entries: Vec<String> = (0..count).map(|n| format!("{n} v{n};")).collect();
            format!("map $arg_n $m {{ {} }}", entries.join(" "))
        };
        let fills = |count| format!("{} server {{ listen 81; return 200 $m; }}", map(count));
        assert_eq!(said(&direct(&fills(64)), Verdict::Refused), [""; 0]);
        are_refused(&[(&fills(65), "more than 64 routes")]);
        let made = direct(&format!(
            "{} limit_req_zone $binary_remote_addr zone=z:1m rate=1r/s; server {{ listen 81; location / \
             {{ limit_req zone=z; proxy_set_header X-M $m; proxy_pass http://127.0.0.1:82; }} }}",
            map(3)
        ));
        assert_eq!(made.text.matches("rate = ").count(), 1, "{}", made.text);
        assert_eq!(made.text.matches("X-M = ").count(), 4, "{}", made.text);
    }

    #[test]
    fn two_variables_of_one_thing_ask_for_it_once() {
        let made = direct(
            "map $host $a { a.test 1; b.test 2; } map $host $b { a.test x; default y; } \
             server { listen 81; location / { return 200 \"$a $b\"; } }",
        );
        assert_eq!(said(&made, Verdict::Refused), [""; 0]);
        assert!(made.loaded.is_some());
        for body in ["\"1 x\"", "\"2 y\"", "\" y\""] {
            assert_eq!(made.text.matches(body).count(), 1, "{}", made.text);
        }
    }

    #[test]
    fn a_variable_that_cannot_be_asked_for_is_refused_where_it_is_used() {
        let fills = |made: &str| format!("{made} server {{ listen 81; return 200 $m; }}");
        let asks = |made: &str| {
            format!(
                "{made} server {{ listen 81; location / {{ if ($m) {{ return 403; }} return 404; }} }}"
            )
        };
        are_refused(&[
            (&asks("map $host$uri $m { a 1; }"), "more than one variable"),
            (
                &asks("map $uri $m { /a $host; }"),
                "worked out for each request",
            ),
            (&asks("map $geoip_city $m { a 1; }"), "$geoip_city"),
            (&asks("map $uri $m { ~(?=a) 1; }"), "look"),
            (
                &asks("geo $m { ranges; 10.0.0.1-10.0.0.9 1; }"),
                "not ranges",
            ),
            (
                &asks("geo $http_x $m { 10.0.0.1 1; }"),
                "the client's address",
            ),
            (&asks("geo $m { proxy 10.0.0.1; }"), "said to the listener"),
            (&asks("geo $m { banana 1; }"), "invalid network"),
            (&asks("map $uri $m { a 1 2; }"), "invalid number"),
            (
                &fills("map $ssl_cipher $m { a 1; }"),
                "$m cannot be filled in here: a condition on \"$ssl_cipher\"",
            ),
            (
                &fills("map $http_x $m { ~(a) $1; }"),
                "elsewhere than in $uri",
            ),
            (&fills("map $uri $m { /a $1; }"), "no expression finds it"),
            (&fills("map $uri $m { /a $n; }"), "$n cannot be filled in"),
            (
                &fills("map $arg_a $m { default $n; } map $arg_b $n { default $m; }"),
                "is made of itself",
            ),
            (
                "map $http_x $m { ~a* $http_x; } server { listen 81; if ($m) { return 200 $m; } return 204; }",
                "worked out for each request",
            ),
            (
                "map $http_x $m { ~a $http_x; } server { listen 81; if ($m = a) { return 200 $m; } return 204; }",
                "worked out for each request",
            ),
            (
                "map $uri $m { ~a 1; } server { listen 81; location ~ ^/(x) { return 200 $1$m; } }",
                "takes away what another one has found",
            ),
            (
                "map $arg_p $p { 1 h/x; } server { listen 81; location / { proxy_pass http://$p; } }",
                "takes the place of path and query",
            ),
        ]);
    }
}
