//! `if (...)`: conditions on the request.

use super::super::logic::{Either, Literal, Subject};
use super::super::sources::Spot;
use super::content::Here;
use super::tree::Directive;
use super::variables::field_name;
use super::{Door, Translator};

/// What an `if` asks.
pub(crate) struct Asked {
    /// Without the dollar.
    pub variable: String,
    pub wanted: Wanted,
    pub value: String,
    pub not: bool,
}

impl Asked {
    /// Whether it holds for a value.
    pub fn holds(&self, found: &str) -> bool {
        self.wanted.holds(&self.value, found) != self.not
    }
}

/// Reads the words between the parentheses.
pub(crate) fn read(directive: &Directive) -> Result<Asked, String> {
    let words: Vec<&str> = directive
        .args
        .iter()
        .map(|word| word.text.as_str())
        .collect();
    let text = words.join(" ");
    let inner = text
        .strip_prefix('(')
        .and_then(|rest| rest.strip_suffix(')'))
        .ok_or_else(|| format!("invalid condition \"{text}\""))?
        .trim();
    let mut parts = inner.splitn(3, ' ');
    let (subject, operator) = (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    );
    let value = parts
        .next()
        .unwrap_or_default()
        .trim()
        .trim_matches(['"', '\'']);
    let Some(variable) = subject.strip_prefix('$') else {
        return Err(format!(
            "\"if {text}\" is not translated: files are looked for by `try_files`"
        ));
    };
    let (wanted, not) = match operator {
        "" => (Wanted::Present, false),
        "=" => (Wanted::Equal, false),
        "!=" => (Wanted::Equal, true),
        "~" => (Wanted::Regex(false), false),
        "~*" => (Wanted::Regex(true), false),
        "!~" => (Wanted::Regex(false), true),
        "!~*" => (Wanted::Regex(true), true),
        other => return Err(format!("unexpected \"{other}\" in condition")),
    };
    if let Wanted::Regex(_) = wanted {
        super::super::haproxy::checked(value)?;
    }
    let variable = variable
        .strip_prefix('{')
        .and_then(|v| v.strip_suffix('}'))
        .unwrap_or(variable);
    Ok(Asked {
        variable: variable.to_owned(),
        wanted,
        value: value.to_owned(),
        not,
    })
}

impl<'a> Translator<'a> {
    /// When it holds. What the value has of variables that are set is filled in.
    pub fn condition(
        &mut self,
        here: Here<'_, 'a>,
        asked: &Asked,
        spot: Spot,
    ) -> Result<Either, String> {
        let name = asked.variable.as_str();
        let note = &mut |text| self.verdicts.note(spot, text);
        match self.given.get(name) {
            Some(chosen) => chosen.when(&|found| asked.holds(found)),
            None if self.made.has(name) => {
                let holds = |found: &str| asked.holds(found);
                self.made.condition(name, &holds, here.door, note)
            }
            None => {
                let Asked {
                    wanted, value, not, ..
                } = asked;
                self::asked(name, *wanted, value, *not, here.door, note)
            }
        }
    }
}

/// The expression that an `if` asks whether it fits: of which variable, and whether without regard to case.
pub(crate) fn asked_expression(directive: &Directive) -> Option<(&str, &str, bool)> {
    let mut words = directive.args.iter().map(|word| word.text.as_str());
    let variable = words.next()?.trim_start_matches('(').strip_prefix('$')?;
    let fold = match words.next()? {
        "~" => false,
        "~*" => true,
        _ => return None,
    };
    let regex = words.next()?;
    let is_last = directive.args.len() == 3;
    let regex = regex.strip_suffix(')').filter(|_| is_last).unwrap_or(regex);
    Some((variable, regex.trim_matches(['"', '\'']), fold))
}

/// A condition on one of nginx's own variables.
pub(crate) fn asked(
    variable: &str,
    matched: Wanted,
    value: &str,
    not: bool,
    door: &Door,
    note: &mut dyn FnMut(&'static str),
) -> Result<Either, String> {
    if let Some(preread) = door.stream
        && let Some(found) = super::stream::asked(variable, matched, value, preread, note)
    {
        return found;
    }
    let refused = || {
        let why = if variable.starts_with("ssl_client_") {
            ": of a certificate routes ask whether it is there, and for its common name (`client-cert`)"
        } else {
            ""
        };
        Err(format!(
            "a condition on \"${variable}\" is not translated{why}"
        ))
    };
    // What is known of the connection is decided now.
    let constant = match variable {
        "scheme" => Some(if door.tls { "https" } else { "http" }.to_owned()),
        "https" => Some(if door.tls { "on" } else { "" }.to_owned()),
        "server_port" => door.port.map(|port| port.to_string()),
        _ => None,
    };
    if let Some(constant) = constant {
        return Ok(Either::constant(matched.holds(value, &constant) != not));
    }
    if variable == "ssl_client_verify" {
        return Ok(verified(door, &|found| matched.holds(value, found) != not));
    }
    let literal = |subject: Subject, patterns: Vec<String>| {
        Ok(Either::of(Literal {
            subject,
            patterns,
            fold: false,
            not,
        }))
    };
    let pattern = || match matched {
        // Neither empty nor `0`.
        Wanted::Present => "~(?s)^(?:[^0].*|0.+)$".to_owned(),
        Wanted::Equal if value.contains('*') || value.starts_with('~') => {
            format!("~^{}$", regex::escape(value))
        }
        Wanted::Equal if value.is_empty() => "~^$".to_owned(),
        Wanted::Equal => value.to_owned(),
        Wanted::Regex(fold) => format!("~{}{value}", if fold { "(?i)" } else { "" }),
    };
    // What is not there is empty, for nginx.
    let optional = |subject: Subject| {
        let has_empty = match matched {
            Wanted::Present => false,
            Wanted::Equal => value.is_empty(),
            Wanted::Regex(_) => regex::Regex::new(value).is_ok_and(|regex| regex.is_match("")),
        };
        let question = |patterns, not| Literal {
            subject: subject.clone(),
            patterns,
            fold: false,
            not,
        };
        let mut either = Either::of(question(vec![pattern()], false));
        let many = |_| "this condition has too many alternatives".to_owned();
        if has_empty {
            let absent = Either::of(question(vec!["*".to_owned()], true));
            either = either.or(absent).map_err(many)?;
        }
        if not {
            either.negated().map_err(many)
        } else {
            Ok(either)
        }
    };
    match variable {
        "host" => literal(Subject::Host, vec![pattern()]),
        "uri" | "document_uri" => literal(Subject::Path, vec![pattern()]),
        "request_uri" => {
            // Of what a client sent the path alone is asked, in its normal form.
            let begins = value.strip_prefix('^').unwrap_or_default();
            let is_prefix = begins.starts_with('/')
                && begins
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "/_-".contains(c));
            match matched {
                Wanted::Regex(_) if is_prefix => {
                    note("the path is compared in its normal form");
                }
                Wanted::Equal if !value.contains('?') => {
                    note("the path is compared in its normal form, whatever the query is");
                }
                Wanted::Present => {}
                _ => {
                    return Err(format!(
                        "\"{value}\" may be found in the query, too: ask for $uri, which is the path, or for $arg_NAME"
                    ));
                }
            }
            literal(Subject::Path, vec![pattern()])
        }
        "request_method" => match matched {
            Wanted::Equal => literal(Subject::Method, vec![value.to_owned()]),
            Wanted::Regex(_) => {
                // An alternative of names: ^(GET|POST)$.
                let names = value.trim_start_matches('^').trim_end_matches('$');
                let names = names.trim_start_matches('(').trim_end_matches(')');
                if names.is_empty() || !names.chars().all(|c| c.is_ascii_alphabetic() || c == '|') {
                    return Err(format!("\"{value}\" is no list of methods"));
                }
                literal(
                    Subject::Method,
                    names.split('|').map(str::to_owned).collect(),
                )
            }
            Wanted::Present => refused(),
        },
        "remote_addr" => match (matched, super::super::haproxy::network(value)) {
            (Wanted::Equal, Some(network)) => literal(Subject::Source, vec![network]),
            _ => refused(),
        },
        _ => {
            if let Some(name) = variable.strip_prefix("http_") {
                optional(Subject::Header(field_name(name)))
            } else if let Some(name) = variable.strip_prefix("cookie_") {
                optional(Subject::Cookie(name.to_owned()))
            } else if let Some(name) = variable.strip_prefix("arg_") {
                note(
                    "of a parameter that comes several times all are compared, and nginx compares the first",
                );
                optional(Subject::Query(name.to_owned()))
            } else {
                refused()
            }
        }
    }
}

/// When what `$ssl_client_verify` has is one that holds. A certificate that does not verify ends the handshake.
fn verified(door: &Door, holds: &dyn Fn(&str) -> bool) -> Either {
    if !door.tls {
        return Either::constant(holds(""));
    }
    match (door.asks_clients && holds("SUCCESS"), holds("NONE")) {
        (true, true) => Either::always(),
        (false, true) if !door.asks_clients => Either::always(),
        (false, false) => Either::never(),
        (_, not) => Either::of(Literal {
            subject: Subject::ClientCert,
            patterns: vec!["*".to_owned()],
            fold: false,
            not,
        }),
    }
}

/// How a variable is compared.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Wanted {
    /// It is neither empty nor `0`.
    Present,
    Equal,
    /// With regard to case, or without.
    Regex(bool),
}

impl Wanted {
    /// Whether it holds for what is found.
    pub fn holds(self, value: &str, found: &str) -> bool {
        match self {
            Self::Present => !matches!(found, "" | "0"),
            Self::Equal => found == value,
            Self::Regex(fold) => regex::RegexBuilder::new(value)
                .case_insensitive(fold)
                .build()
                .is_ok_and(|regex| regex.is_match(found)),
        }
    }
}
