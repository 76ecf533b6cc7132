//! Fields whose value is a list: HAProxy's `hdr` compares each element that commas part, without the blanks around it
//! (a comma within quotes parts nothing), where `fhdr` compares the whole value. Patterns of routes compare the whole
//! value; these are expressions that find an element in it.

use super::patterns::{Match, checked};

/// A character of an element, or all of a text in quotes.
const PART: &str = r#"(?:[^",]|"(?:[^"\\]|\\.)*(?:"|$))"#;
/// What may stand behind an element.
const END: &str = r"[ \t]*(?:,|$)";

/// What stands before an element.
fn start() -> String {
    format!(r"^(?:{PART}*,)*[ \t]*")
}

/// The expression that finds an element which matches.
pub(crate) fn expression(how: Match, value: &str) -> Result<String, String> {
    if !matches!(how, Match::Regex | Match::Length) && value.contains([',', '"']) {
        return Err(format!(
            "'{value}': hdr() takes fields apart at commas, so that it never compares one; req.fhdr() compares whole values"
        ));
    }
    let quoted = regex::escape(value);
    let start = start();
    Ok(match how {
        Match::Exact => format!("{start}{quoted}{END}"),
        Match::Begins => format!("{start}{quoted}"),
        // Before a comma that parts elements there is no open quote, at the end of the field there may be one.
        Match::Ends => format!(r"(?:{quoted}[ \t]*$|{start}{PART}*{quoted}[ \t]*,)"),
        Match::Contains => quoted,
        Match::Dir => component(value, '/', "/", &start),
        Match::Domain => component(value, '.', "[./:]", &start),
        Match::Regex => within(value)?,
        Match::Length => {
            return Err(
                "the lengths of elements are not compared; req.fhdr() compares whole values".into(),
            );
        }
        Match::Found | Match::Number => String::new(),
    })
}

/// A part of an element between separators.
fn component(value: &str, trimmed: char, separator: &str, start: &str) -> String {
    let inner = regex::escape(value.trim_matches(trimmed));
    format!(
        r"(?:(?:{start}|{separator}){inner}(?:{separator}|[ \t]*$)|{start}(?:{PART}*{separator})?{inner}[ \t]*,)"
    )
}

/// An expression for one element, as one for the whole value: its ends are those of an element, and nothing in it finds a
/// comma. (Not one in quotes either, which parts nothing: no expression can count quotes and do all that it does besides.)
fn within(regex: &str) -> Result<String, String> {
    checked(regex)?;
    let refused = |what: &str| {
        Err(format!(
            "'{regex}': {what} is not translated for one element of a field; req.fhdr() compares whole values"
        ))
    };
    let mut out = String::new();
    let mut rest = regex;
    while let Some(c) = rest.chars().next() {
        let mut length = c.len_utf8();
        match c {
            '^' => out.extend(["(?:", &start(), ")"]),
            '$' => out.extend(["(?:", END, ")"]),
            '.' => out.push_str("[^,]"),
            '[' => {
                length = class(rest);
                out.extend(["[", &rest[..length], "&&[^,]]"]);
            }
            '\\' => {
                let escaped = rest[1..].chars().next().unwrap_or('\\');
                length = 1 + escaped.len_utf8();
                match escaped {
                    'S' | 'D' | 'W' => out.extend(["[", &rest[..length], "&&[^,]]"]),
                    'A' | 'z' | 'p' | 'P' | 'x' | 'u' | 'U' | 'Q' | ',' => {
                        return refused(&format!("\\{escaped}"));
                    }
                    _ => out.push_str(&rest[..length]),
                }
            }
            // How often, not a comma.
            '{' => {
                length = rest.find('}').map_or(1, |end| end + 1);
                out.push_str(&rest[..length]);
            }
            '(' if rest.starts_with("(?") => {
                let end = rest.find([':', ')', '>']).map_or(rest.len(), |end| end + 1);
                if rest[..end].contains(['x', 'm', 's', 'U', 'R']) && !rest.starts_with("(?P<") {
                    return refused(&rest[..end]);
                }
                length = end;
                out.push_str(&rest[..length]);
            }
            ',' => return refused("a comma"),
            c => out.push(c),
        }
        rest = &rest[length..];
    }
    // What was made must be an expression, too.
    checked(&out)?;
    Ok(out)
}

/// How long the class is that a text begins with, brackets and all.
fn class(text: &str) -> usize {
    let mut depth = 0;
    let mut first = false;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => {
                chars.next();
            }
            '[' => {
                depth += 1;
                first = true;
                continue;
            }
            // Behind the bracket it is itself, also behind the ^ there.
            '^' if first => continue,
            ']' if !first => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
        first = false;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finds(how: Match, value: &str, field: &str) -> bool {
        let expression = expression(how, value).unwrap();
        regex::Regex::new(&expression).unwrap().is_match(field)
    }

    #[test]
    fn each_element_of_a_field_is_compared() {
        for (how, value, field, holds) in [
            (Match::Exact, "banned", "user, banned", true),
            (Match::Exact, "banned", "banned", true),
            (Match::Exact, "banned", "user ,\tbanned ,x", true),
            (Match::Exact, "banned", "a, b,c,banned,d", true),
            (Match::Exact, "banned", "a, \"b,\",,c,banned", true),
            (Match::Exact, "banned", "unbanned", false),
            (Match::Exact, "banned", "banned x", false),
            (Match::Exact, "banned", "\"x, banned\"", false),
            (Match::Exact, "banned", "\"x\\\", banned, \"", false),
            (Match::Exact, "banned", "\"x\", banned", true),
            (Match::Exact, "a b", "x, a b", true),
            (Match::Begins, "ad", "user, admin", true),
            (Match::Begins, "ad", "user, bad", false),
            (Match::Ends, "in", "admin , user", true),
            (Match::Ends, "in", "inside, user", false),
            (Match::Ends, "in", "\"in, x\"", false),
            (Match::Contains, "dm", "user, admin", true),
            (Match::Dir, "img", "x, /a/img", true),
            (Match::Dir, "img", "img, x", true),
            (Match::Dir, "img", "x, /imgs", false),
            (Match::Domain, "example", "x, www.example.org", true),
            (Match::Ends, "in", "\",in", true),
            (Match::Dir, "img", "\"x/img, y\"", false),
            (Match::Dir, "img", "y/img , x", true),
            (Match::Regex, "^a.*b$", "a, b", false),
            (Match::Regex, "^a.*b$", "x, aab", true),
            (Match::Regex, "^a[^x]*b$", "a, b", false),
            (Match::Regex, "^(a|b)$", "x, b , y", true),
            (Match::Regex, "^a{1,2}$", "x, aa", true),
            (Match::Regex, r"^\S+$", "a b, c", true),
            (Match::Regex, r"^\d+\.[]x]$", "a, 12.]", true),
            (Match::Regex, "(?i)^ADMIN$", "user, admin", true),
            (Match::Regex, "bot|crawl", "Mozilla (like, bot)", true),
        ] {
            assert_eq!(
                finds(how, value, field),
                holds,
                "{how:?} {value} in {field}"
            );
        }
        for (how, value) in [
            (Match::Exact, "a,b"),
            (Match::Contains, "\"x"),
            (Match::Length, "3"),
            (Match::Regex, "a,b"),
            (Match::Regex, r"\x2c"),
            (Match::Regex, "(?s)^a.b"),
        ] {
            assert!(
                expression(how, value).unwrap_err().contains("req.fhdr()"),
                "{value}"
            );
        }
    }
}
