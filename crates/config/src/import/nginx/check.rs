//! Every directive is looked up in the table: whether there is one, whether it may stand there, how many arguments it
//! has, whether it has a block. What the table alone decides is decided here and taken out of the tree.

use super::super::directives::How;
use super::super::report::Verdicts;
use super::super::sources::Spot;
use super::table::{
    BLOCK_NAMES, EVENTS, FREE, HTTP, IF, IF_SERVER, LANGUAGE, LIMIT_EXCEPT, LOCATION, MAIN, SERVER,
    STREAM, STREAM_SERVER, UPSTREAM,
};
use super::tree::Directive;

/// Looks at directives at a place, and gives those that are to be translated.
pub(crate) fn check(
    list: Vec<Directive>,
    place: u16,
    verdicts: &mut Verdicts,
    seen: &mut Vec<(Spot, String)>,
) -> Vec<Directive> {
    let mut kept = Vec::new();
    for mut directive in list {
        seen.push((directive.spot, directive.shown()));
        if place == FREE {
            verdicts.translated(directive.spot);
            kept.push(directive);
            continue;
        }
        let Some(keep) = one(&directive, place, verdicts) else {
            // What is in a block that is refused, or has no effect, is not looked at.
            continue;
        };
        if let Some(block) = directive.block.take() {
            let inner = place_in(&directive.name.text, place);
            directive.block = Some(check(block, inner, verdicts, seen));
        }
        if keep {
            kept.push(directive);
        }
    }
    kept
}

/// The place that a block makes.
fn place_in(block: &str, outer: u16) -> u16 {
    match (block, outer) {
        ("events", _) => EVENTS,
        ("http", _) => HTTP,
        ("server", STREAM) => STREAM_SERVER,
        ("server", _) => SERVER,
        ("location", _) => LOCATION,
        ("upstream", _) => UPSTREAM,
        ("if", SERVER) => IF_SERVER,
        ("if", _) => IF,
        ("limit_except", _) => LIMIT_EXCEPT,
        ("stream", _) => STREAM,
        _ => FREE,
    }
}

/// Whether a directive is to be translated; `None` when there is no more to say about it.
fn one(directive: &Directive, place: u16, verdicts: &mut Verdicts) -> Option<bool> {
    let (spot, name) = (directive.spot, directive.name.text.as_str());
    let at = directive.name.spot;
    let Some(row) = LANGUAGE.find(name, place) else {
        let hint = LANGUAGE.suggest(name, place);
        verdicts.refuse_hint(spot, at, format!("unknown directive \"{name}\""), hint);
        return None;
    };
    if row.places & place == 0 {
        let belongs = Some(format!("it belongs into: {}", LANGUAGE.named(row.places)));
        verdicts.refuse_hint(
            spot,
            at,
            format!("\"{name}\" directive is not allowed here"),
            belongs,
        );
        return None;
    }
    let given = directive.args.len();
    let (least, most) = (usize::from(row.args.0), usize::from(row.args.1));
    if given < least || (most < usize::from(u8::MAX) && given > most) {
        verdicts.refuse(
            spot,
            directive.at(most),
            format!("invalid number of arguments in \"{name}\" directive"),
        );
        return None;
    }
    let is_block = BLOCK_NAMES.contains(&name) && !(name == "server" && place == UPSTREAM);
    if is_block && directive.block.is_none() {
        verdicts.refuse(
            spot,
            at,
            format!("directive \"{name}\" has no opening \"{{\""),
        );
        return None;
    }
    if !is_block && directive.block.is_some() {
        verdicts.refuse(
            spot,
            at,
            format!("directive \"{name}\" is not terminated by \";\""),
        );
        return None;
    }
    if (MAIN | EVENTS | HTTP) & place != 0 && matches!(name, "events" | "http" | "stream") {
        verdicts.translated(spot);
    }
    if name == "set" && directive.arg(1) == "$fastcgi_path_info" {
        // As Debian's snippet for PHP has it: for PATH_INFO, which programs get anyway.
        verdicts.translated(spot);
        return None;
    }
    match row.how {
        How::To(_) => Some(true),
        How::Without(why) => {
            verdicts.without(spot, format!("`{}`: {why}", directive.shown()));
            None
        }
        How::RefusedOn(_)
            if given > 0
                && directive
                    .args
                    .iter()
                    .all(|word| matches!(word.text.as_str(), "off" | "0")) =>
        {
            verdicts.without(spot, format!("`{}`: so it is", directive.shown()));
            None
        }
        How::Refused(why) | How::RefusedOn(why) => {
            verdicts.refuse(spot, at, format!("\"{name}\" is not translated: {why}"));
            None
        }
    }
}
