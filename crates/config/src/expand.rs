//! `${VAR}` in texts: the environment at the time the file is loaded.

use std::ops::Range;

/// Why a text could not be expanded, and which part of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unexpanded {
    pub part: Range<usize>,
    pub message: String,
}

/// Puts in the variables. `$${` is a literal `${`; a `$` before anything else is itself.
pub(crate) fn expand(
    text: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<String, Vec<Unexpanded>> {
    let mut out = String::with_capacity(text.len());
    let mut wrong = Vec::new();
    let mut at = 0;
    while let Some(found) = text[at..].find("${") {
        let start = at + found;
        if text[at..start].ends_with('$') {
            out.push_str(&text[at..start]);
            out.push('{');
            at = start + 2;
            continue;
        }
        out.push_str(&text[at..start]);
        let Some(length) = text[start..].find('}') else {
            wrong.push(Unexpanded {
                part: start..text.len(),
                message: "`${` has no `}`; a literal `${` is written `$${`".into(),
            });
            at = text.len();
            break;
        };
        let end = start + length + 1;
        let name = &text[start + 2..end - 1];
        if !is_variable(name) {
            wrong.push(Unexpanded {
                part: start..end,
                message: "a variable is written `${NAME}`; a literal `${` is written `$${`".into(),
            });
        } else if let Some(value) = env(name) {
            out.push_str(&value);
        } else {
            wrong.push(Unexpanded {
                part: start..end,
                message: format!("the environment has no variable `{name}`"),
            });
        }
        at = end;
    }
    out.push_str(&text[at..]);
    if wrong.is_empty() {
        Ok(out)
    } else {
        Err(wrong)
    }
}

/// Writes a text so that expanding it gives it back.
pub(crate) fn escape(text: &str) -> String {
    text.replace("${", "$${")
}

fn is_variable(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn env(name: &str) -> Option<String> {
        (name == "KEY").then(|| "k${x}".into())
    }

    #[test]
    fn variables_are_put_in_once() {
        assert_eq!(expand("a${KEY}b", &env).unwrap(), "ak${x}b");
        assert_eq!(expand("$${KEY}", &env).unwrap(), "${KEY}");
        assert_eq!(expand("5$ $", &env).unwrap(), "5$ $");
    }

    #[test]
    fn every_wrong_variable_is_told_with_its_place() {
        let wrong = expand("${A}-${9}-${KEY}-${B", &env).unwrap_err();
        let parts: Vec<_> = wrong.iter().map(|w| w.part.clone()).collect();
        assert_eq!(parts, [0..4, 5..9, 17..20]);
        assert!(wrong[0].message.contains("`A`"));
    }

    proptest! {
        #[test]
        fn an_escaped_text_expands_to_itself(text in "[${}A-C]{0,12}") {
            prop_assert_eq!(expand(&escape(&text), &|_| None), Ok(text));
        }
    }
}
