//! Values of a criterion as questions that routes can ask.

use std::path::Path;

use super::super::super::logic::{Either, Literal, Subject};
use super::super::super::sources::Spot;
use super::super::foresee::Text;
use super::super::patterns::{self, Match};
use super::super::words::Word;
use super::criterion::Fetch;
use super::{Connection, Refusal, literal};

/// The patterns of a file: one a line, `#` begins a comment line.
pub(super) fn from_file(word: &Word) -> Result<Vec<Word>, Refusal> {
    let text = std::fs::read_to_string(Path::new(&word.text)).map_err(|error| {
        Refusal::new(word.spot, format!("cannot read '{}': {error}", word.text))
    })?;
    let lines = text.lines().map(|line| line.trim_matches([' ', '\t']));
    Ok(lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| Word {
            text: line.to_owned(),
            spot: word.spot,
        })
        .collect())
}

/// Whatever it says, if it is there. Of a certificate that is a common name; a cookie without a value says nothing.
fn any(subject: Subject) -> Either {
    let pattern = match subject {
        Subject::ClientCert | Subject::Cookie(_) => "~.",
        _ => "*",
    };
    literal(subject, vec![pattern.into()])
}

pub(super) fn text_question(
    subject: Subject,
    fetch: &Fetch,
    values: &[Word],
    in_list: bool,
) -> Result<Either, Refusal> {
    if fetch.how == Match::Found {
        if matches!(subject, Subject::Path | Subject::Host | Subject::Method) {
            return Ok(Either::always());
        }
        return Ok(any(subject));
    }
    // Hosts and server names are compared without case here; only paths have a switch for it.
    let has_switch = subject == Subject::Path;
    let folded = matches!(subject, Subject::Host | Subject::Sni);
    let inline_fold = fetch.fold && !has_switch && !folded;
    let mut list = Vec::new();
    for value in values {
        // A path is compared decoded.
        let decoded = match subject {
            Subject::Path => decoded(&value.text, fetch.how == Match::Regex)
                .map_err(|message| Refusal::new(value.spot, message))?,
            _ => None,
        };
        let text = decoded.as_deref().unwrap_or(&value.text);
        let pattern = patterns::pattern(fetch.how, text, inline_fold, in_list)
            .map_err(|message| Refusal::new(value.spot, message))?;
        match pattern {
            Some(pattern) => list.push(pattern),
            // Everything matches that is there.
            None => match subject {
                Subject::Header(_)
                | Subject::Query(_)
                | Subject::Cookie(_)
                | Subject::ClientCert => return Ok(any(subject)),
                _ => return Ok(Either::always()),
            },
        }
    }
    if list.is_empty() {
        return Ok(Either::never());
    }
    Ok(Either::of(Literal {
        subject,
        patterns: list,
        fold: has_switch && fetch.fold,
        not: false,
    }))
}

/// A pattern without its percent-encoding, if it has any.
pub(super) fn decoded(text: &str, is_regex: bool) -> Result<Option<String>, &'static str> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    let mut encoded = false;
    while let Some((&first, after)) = rest.split_first() {
        let hex = |at: usize| Some(char::from(*after.get(at)?).to_digit(16)? as u8);
        match (first, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push(high << 4 | low);
                (encoded, rest) = (true, &after[2..]);
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    if !encoded {
        return Ok(None);
    }
    if is_regex {
        return Err("a path is compared decoded: write the characters that % stands for");
    }
    let text = String::from_utf8(bytes);
    text.map(Some)
        .map_err(|_| "a path is compared decoded, and this is no text then")
}

/// Host and path in one: `base_beg www.example.com/static`.
pub(super) fn base(fetch: &Fetch, values: &[Word], at: Spot) -> Result<Either, Refusal> {
    let mut all = Either::never();
    for value in values {
        let (host, path) = value
            .text
            .split_at(value.text.find('/').unwrap_or(value.text.len()));
        let path = match (fetch.how, path) {
            (Match::Exact | Match::Begins, path) if !host.is_empty() && !path.is_empty() => path,
            _ => {
                return Err(Refusal::new(
                    value.spot,
                    "only host and path together are translated: HOST/PATH",
                ));
            }
        };
        let host = text_question(
            Subject::Host,
            &Fetch {
                name: "hdr".into(),
                arg: None,
                how: Match::Exact,
                fold: true,
                counted: false,
                whole: true,
                case: None,
            },
            &[Word {
                text: host.into(),
                spot: value.spot,
            }],
            false,
        )?;
        let path = text_question(
            Subject::Path,
            fetch,
            &[Word {
                text: path.into(),
                spot: value.spot,
            }],
            false,
        )?;
        let both = host.and(&path).map_err(Refusal::too_many(at))?;
        all = all.or(both).map_err(Refusal::too_many(at))?;
    }
    Ok(all)
}

/// Lengths as regular expressions repeat them: `4`, `2:10`, `gt 5` are `4`, `2,10` and `6,`.
pub(super) fn lengths(values: &[Word]) -> Result<Vec<Word>, Refusal> {
    let mut list = Vec::new();
    let mut operator = "eq";
    for value in values {
        let wrong = || Refusal::new(value.spot, format!("'{}' is no length", value.text));
        let number = |text: &str| text.parse::<u32>().map_err(|_| wrong());
        let text = match value.text.as_str() {
            op @ ("eq" | "ge" | "gt" | "le" | "lt") => {
                operator = op;
                continue;
            }
            text => match text.split_once(':') {
                Some((low, "")) => format!("{},", number(low)?),
                Some(("", high)) => format!("0,{}", number(high)?),
                Some((low, high)) => format!("{},{}", number(low)?, number(high)?),
                None => match (operator, number(text)?) {
                    ("ge", n) => format!("{n},"),
                    ("gt", n) => format!("{},", n + 1),
                    ("le", n) => format!("0,{n}"),
                    ("lt", 0) => continue,
                    ("lt", n) => format!("0,{}", n - 1),
                    (_, n) => n.to_string(),
                },
            },
        };
        list.push(Word {
            text,
            spot: value.spot,
        });
    }
    Ok(list)
}

/// How often a field is there: 0, or at least once.
pub(super) fn counted(subject: Subject, values: &[Word], at: Spot) -> Result<Either, Refusal> {
    let there = any(subject);
    match (numbers(0, values, at)?, numbers(1, values, at)?) {
        (false, true) => Ok(there),
        (true, false) => there.negated().map_err(Refusal::too_many(at)),
        _ => Err(Refusal::new(
            at,
            "a count is translated when it asks for none, or for one at least",
        )),
    }
}

/// What is asked of a text or a number that is known: `str(a)`, `int(1)`, `bool(true)`.
pub(super) fn fixed(fetch: &Fetch, values: &[Word], at: Spot) -> Result<Either, Refusal> {
    let text = fetch.arg.as_deref().unwrap_or_default();
    let is_text = fetch.name == "str";
    let number = match text {
        "true" => Some(1),
        "false" | "" if !is_text => Some(0),
        text => text.parse().ok(),
    };
    let holds = match (fetch.how, number) {
        (Match::Found, _) => true,
        (Match::Number, Some(number)) if values.is_empty() => number != 0,
        (Match::Number, Some(number)) => numbers(number, values, at)?,
        (Match::Number, None) => {
            return Err(Refusal::new(at, format!("'{text}' is no number")));
        }
        (Match::Exact, Some(number)) if !is_text && values.is_empty() => number != 0,
        (Match::Exact, Some(number)) if !is_text => numbers(number, values, at)?,
        _ if fetch.name == "bool" => {
            return Err(Refusal::new(at, "true and false are no texts: -m bool"));
        }
        _ => {
            let said = Text::new(&super::super::format::literal(text));
            let mut any = false;
            for value in values {
                let pattern = patterns::pattern(fetch.how, &value.text, fetch.fold, false)
                    .map_err(|message| Refusal::new(value.spot, message))?;
                any |= pattern.is_none_or(|pattern| said.matches(&pattern, false) == Some(true));
            }
            any
        }
    };
    Ok(Either::constant(holds))
}

/// Whether a client has a certificate, as a number.
pub(super) fn used(connection: Connection, values: &[Word], at: Spot) -> Result<Either, Refusal> {
    let holds = |used: bool| match values {
        [] => Ok(used),
        values => numbers(u64::from(used), values, at),
    };
    let (with, without) = (holds(true)?, holds(false)?);
    if !connection.asks_clients || with == without {
        return Ok(Either::constant(without));
    }
    Ok(Either::of(Literal {
        subject: Subject::ClientCert,
        patterns: vec!["*".into()],
        fold: false,
        not: without,
    }))
}

pub(super) fn constant(value: bool, values: &[Word], at: Spot) -> Result<Either, Refusal> {
    if values.is_empty() {
        return Ok(Either::constant(value));
    }
    numbers(u64::from(value), values, at).map(Either::constant)
}

/// Whether a number is among those asked for: `80`, `80:90`, `gt 0`.
pub(super) fn numbers(number: u64, values: &[Word], at: Spot) -> Result<bool, Refusal> {
    let mut operator = "eq";
    let mut held = false;
    if values.is_empty() {
        return Err(Refusal::new(at, "a number is missing"));
    }
    for value in values {
        let wrong = |_| Refusal::new(value.spot, format!("'{}' is no number", value.text));
        match value.text.as_str() {
            op @ ("eq" | "ge" | "gt" | "le" | "lt") => operator = op,
            "true" => held |= number == 1,
            "false" => held |= number == 0,
            text => {
                if let Some((low, high)) = text.split_once(':') {
                    let low: u64 = if low.is_empty() {
                        0
                    } else {
                        low.parse().map_err(wrong)?
                    };
                    let high: u64 = if high.is_empty() {
                        u64::MAX
                    } else {
                        high.parse().map_err(wrong)?
                    };
                    held |= (low..=high).contains(&number);
                    continue;
                }
                let wanted: u64 = text.parse().map_err(wrong)?;
                held |= match operator {
                    "ge" => number >= wanted,
                    "gt" => number > wanted,
                    "le" => number <= wanted,
                    "lt" => number < wanted,
                    _ => number == wanted,
                };
            }
        }
    }
    Ok(held)
}

pub(super) fn networks(values: &[Word]) -> Result<Either, Refusal> {
    let mut list = Vec::new();
    for value in values {
        list.push(patterns::network(&value.text).ok_or_else(|| {
            Refusal::new(
                value.spot,
                format!("'{}' is no address or network", value.text),
            )
        })?);
    }
    if list.is_empty() {
        return Ok(Either::never());
    }
    Ok(literal(Subject::Source, list))
}
