//! Regular expressions over what requests hold.

use regex::bytes::{Regex, RegexBuilder};

/// Compiles an expression. With `fold` it matches whatever the case.
///
/// A dot is any byte, so that no odd byte in a path slips past a rule. Expressions that name characters beyond ASCII
/// in a class cannot be read that way; in these a dot is any character.
///
/// # Errors
/// In words, when it is none.
pub fn regex(text: &str, fold: bool) -> Result<Regex, String> {
    let build = |unicode| {
        RegexBuilder::new(text)
            .unicode(unicode)
            .dot_matches_new_line(true)
            .case_insensitive(fold)
            .build()
    };
    build(false)
        .or_else(|_| build(true))
        .map_err(|error| format!("~{text} is no regular expression: {error}"))
}
