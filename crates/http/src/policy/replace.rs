//! Values of fields that become others: `replace` of `headers`.

use std::sync::Arc;

use regex::bytes::Regex;
use tandem_model::{Part, Replaced, Substitution, Template, Variable};

use super::edits::{is_sound, same};
use super::expression::regex;
use super::values::{Ready, Values};

/// What becomes of the values of one field, compiled.
#[derive(Debug)]
pub(super) struct Replace {
    name: Box<str>,
    rules: Vec<(From, Vec<Piece>)>,
}

#[derive(Debug)]
enum From {
    /// A value that begins so: this beginning is replaced, and the rest stays.
    Prefix(Box<[u8]>),
    /// A value in which this finds something: all of it is replaced.
    Regex(Regex),
}

#[derive(Clone, Debug)]
enum Piece {
    Ready(Ready),
    Text(Vec<u8>),
    Capture(u8),
}

/// The same for one request, with its variables filled in.
#[derive(Clone, Debug)]
pub struct Replacing {
    rule: Arc<Replace>,
    /// For each rule.
    to: Vec<Vec<Piece>>,
}

impl Replace {
    pub(super) fn new(name: &str, rules: &[Substitution]) -> Result<Self, String> {
        let compiled = rules.iter().map(|rule| {
            let from = match &rule.from {
                Replaced::All => From::Prefix(Box::default()),
                Replaced::Prefix(text) => From::Prefix(text.as_bytes().into()),
                Replaced::Regex(text) => From::Regex(regex(text, false)?),
            };
            Ok::<_, String>((from, pieces(&rule.to)))
        });
        Ok(Self {
            name: name.into(),
            rules: compiled.collect::<Result<_, _>>()?,
        })
    }

    pub(super) fn filled(self: &Arc<Self>, values: &Values<'_>) -> Replacing {
        let fill = |piece: &Piece| match piece {
            Piece::Ready(ready) => {
                let mut text = Vec::new();
                ready.plain(values, &mut text);
                Piece::Text(text)
            }
            other => other.clone(),
        };
        let to = |(_, pieces): &(From, Vec<Piece>)| pieces.iter().map(fill).collect();
        Replacing {
            rule: self.clone(),
            to: self.rules.iter().map(to).collect(),
        }
    }
}

/// Text and variables, and between them what an expression has found.
fn pieces(template: &Template) -> Vec<Piece> {
    let piece = |part: &Part| match part {
        Part::Text(text) => Piece::Text(text.as_bytes().to_vec()),
        Part::Variable(Variable::Capture(number)) => Piece::Capture(*number),
        Part::Variable(_) => Piece::Ready(Ready::of(part.clone())),
    };
    template.parts().iter().map(piece).collect()
}

impl Replacing {
    /// Applies it to the lines that `out` holds from `from` on, each ended by CRLF. A value that would not be one stays as
    /// it is.
    pub(super) fn apply(&self, out: &mut Vec<u8>, from: usize) {
        let mut at = from;
        while at < out.len() {
            let end = memchr::memchr(b'\n', &out[at..]).map_or(out.len(), |n| at + n + 1);
            let line = &out[at..end];
            let colon = memchr::memchr(b':', line).unwrap_or(line.len());
            if !same(&line[..colon], self.rule.name.as_bytes()) {
                at = end;
                continue;
            }
            let begin = at + (colon + 1).min(line.len());
            let value = out[begin..end].trim_ascii().to_vec();
            at = match self.value(&value).filter(|new| is_sound(new)) {
                Some(new) => {
                    let line = [b" ", &new[..], b"\r\n"].concat();
                    let next = begin + line.len();
                    out.splice(begin..end, line);
                    next
                }
                None => end,
            };
        }
    }

    /// What a value becomes by the first rule that fits.
    fn value(&self, old: &[u8]) -> Option<Vec<u8>> {
        let mut rules = self.rule.rules.iter().zip(&self.to);
        rules.find_map(|((from, _), to)| match from {
            From::Prefix(prefix) => {
                let rest = old.strip_prefix(&**prefix)?;
                let mut new = joined(to, &|_| None);
                new.extend_from_slice(rest);
                Some(new)
            }
            From::Regex(expression) => {
                let found = expression.captures(old)?;
                let group = |number: u8| Some(found.get(usize::from(number))?.as_bytes());
                Some(joined(to, &group))
            }
        })
    }
}

fn joined<'f>(pieces: &[Piece], found: &dyn Fn(u8) -> Option<&'f [u8]>) -> Vec<u8> {
    let mut all = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Text(text) => all.extend_from_slice(text),
            Piece::Capture(number) => all.extend_from_slice(found(*number).unwrap_or_default()),
            // Filled in before.
            Piece::Ready(_) => {}
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{cx, with_request};

    fn replaced(name: &str, rules: &[(&str, &str)], head: &str) -> String {
        let rules: Vec<Substitution> = rules
            .iter()
            .map(|(from, to)| Substitution {
                from: match from.strip_prefix('~') {
                    Some(regex) => Replaced::Regex(regex.into()),
                    None => Replaced::Prefix((*from).into()),
                },
                to: Template::parse(to).unwrap(),
            })
            .collect();
        let rule = Arc::new(Replace::new(name, &rules).unwrap());
        let request = "GET /x HTTP/1.1\r\nHost: shop.example\r\n\r\n";
        let filled = with_request(request, |request| rule.filled(&Values::new(request, &cx())));
        let mut out = head.as_bytes().to_vec();
        filled.apply(&mut out, 2);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_beginning_of_a_value_is_replaced_by_the_first_rule_that_fits() {
        let rules = [
            ("http://127.0.0.1:81/two/", "/one/"),
            ("http://127.0.0.1:81/", "https://{host}/"),
        ];
        let head = "..Location: http://127.0.0.1:81/two/a\r\nA: http://127.0.0.1:81/\r\nlocation:http://127.0.0.1:81/b\r\n";
        assert_eq!(
            replaced("Location", &rules, head),
            "..Location: /one/a\r\nA: http://127.0.0.1:81/\r\nlocation: https://shop.example/b\r\n"
        );
        let other = "..Location: http://other/\r\n";
        assert_eq!(replaced("Location", &rules, other), other);
    }

    #[test]
    fn an_expression_replaces_the_whole_value() {
        let rules = [("~(?i)^(.*; *path=)/two/(.*)$", "{1}/one/{2}")];
        let head = "..Set-Cookie: a=1; Path=/two/x; Secure\r\nSet-Cookie: b=/two/\r\n";
        assert_eq!(
            replaced("set-cookie", &rules, head),
            "..Set-Cookie: a=1; Path=/one/x; Secure\r\nSet-Cookie: b=/two/\r\n"
        );
    }

    #[test]
    fn a_value_that_could_end_its_line_does_not_come_about() {
        let head = "..A: b\rc\r\n";
        assert_eq!(replaced("A", &[("~^(.*)$", "{1}!")], head), head);
        assert_eq!(replaced("A", &[("b", "")], "..A: b\r\n"), "..A: \r\n");
    }
}
