//! `proxy_cookie_flags`: what browsers are told of a server's cookies.

use super::super::document::{Table, Value};
use super::super::report::Verdicts;
use super::tree::Directive;

/// What is said of a flag.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Flag {
    /// With this value, if it has one.
    Is(&'static str),
    IsNot(&'static str),
}

/// `proxy_cookie_flags session secure samesite=lax`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flags {
    /// The cookie's name; all of them without one.
    name: Option<String>,
    flags: Vec<Flag>,
}

impl Flags {
    /// Reads the directive.
    pub fn read(directive: &Directive, verdicts: &mut Verdicts) -> Option<Self> {
        let spot = directive.spot;
        let name = match directive.arg(0) {
            "off" if directive.args.len() == 1 => {
                return Some(Self {
                    name: None,
                    flags: Vec::new(),
                });
            }
            "~" | "~*" | "~.*" => None,
            name if name.starts_with('~') || name.contains('$') => {
                let message = "flags are for a cookie by its name, or `~` for all of them";
                verdicts.refuse(spot, directive.at(0), message);
                return None;
            }
            name => Some(name.to_owned()),
        };
        let mut flags = Vec::new();
        for (at, word) in directive.args.iter().enumerate().skip(1) {
            flags.push(match word.text.as_str() {
                "secure" => Flag::Is("Secure"),
                "nosecure" => Flag::IsNot("Secure"),
                "httponly" => Flag::Is("HttpOnly"),
                "nohttponly" => Flag::IsNot("HttpOnly"),
                "samesite=strict" => Flag::Is("SameSite=Strict"),
                "samesite=lax" => Flag::Is("SameSite=Lax"),
                "samesite=none" => Flag::Is("SameSite=None"),
                "nosamesite" => Flag::IsNot("SameSite"),
                other => {
                    let message = format!("invalid parameter \"{other}\"");
                    verdicts.refuse(spot, directive.at(at), message);
                    return None;
                }
            });
        }
        Some(Self { name, flags })
    }
}

/// The changes of `Set-Cookie`, one after the other. The first directive of a name counts.
pub(crate) fn flagged(list: &[Flags]) -> Vec<Table> {
    let mut steps = Vec::new();
    for (at, Flags { name, flags }) in list.iter().enumerate() {
        let others = list[..at].iter();
        if others
            .clone()
            .any(|before| before.name.is_none() || before.name == *name)
        {
            continue;
        }
        let cookie = match name {
            Some(name) => format!("{}=", regex::escape(name)),
            None => String::new(),
        };
        for flag in flags {
            let mut rules = Table::default();
            // Those that a directive before this one is for stay as they are.
            for name in others.clone().filter_map(|before| before.name.as_ref()) {
                let theirs = format!("~^(?i)({}=.*)$", regex::escape(name));
                rules.put(&theirs, Value::text("{1}"));
            }
            let text = match flag {
                Flag::Is(text) | Flag::IsNot(text) => *text,
            };
            let attribute = text.split('=').next().unwrap_or(text);
            let there =
                format!(r"~^(?i)({cookie}[^;]*(?:;.*?)?);\s*{attribute}\s*(?:=[^;]*)?((?:;.*)?)$");
            match flag {
                Flag::Is(text) => {
                    rules.put(&there, Value::text(format!("{{1}}; {text}{{2}}")));
                    let all = format!("~^(?i)({cookie}.*)$");
                    rules.put(&all, Value::text(format!("{{1}}; {text}")));
                }
                Flag::IsNot(_) => rules.put(&there, Value::text("{1}{2}")),
            }
            steps.push(rules);
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::super::super::Verdict;
    use super::super::tests::{are_refused, direct, said};

    fn server(flags: &str) -> String {
        format!("server {{ listen 81; location / {{ proxy_pass http://127.0.0.1:82; {flags} }} }}")
    }

    #[test]
    fn flags_of_cookies_are_changes_of_their_field() {
        let made = direct(&server(
            "proxy_cookie_flags session_id secure samesite=lax;",
        ));
        assert_eq!(said(&made, Verdict::Refused), Vec::<String>::new());
        for words in [
            "(session_id=.*)$\" = \"{1}; Secure\"",
            "{1}; SameSite=Lax{2}",
        ] {
            assert!(made.text.contains(words), "{}", made.text);
        }
        assert!(
            !direct(&server("proxy_cookie_flags off;"))
                .text
                .contains("Set-Cookie")
        );
        are_refused(&[
            (&server("proxy_cookie_flags ~^a secure;"), "by its name"),
            (&server("proxy_cookie_flags a safe;"), "invalid parameter"),
        ]);
    }
}
