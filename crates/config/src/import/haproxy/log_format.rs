//! `log-format`: the lines of the access log, where all that is in them is known to it.

use super::Translator;
use super::format::literal;
use super::proxy::Proxy;
use super::sections::name_of;
use super::variables::Vars;
use super::words::Line;

/// Options that say what a line has, too.
const FORMS: [&str; 3] = ["option httplog", "option httpslog", "option tcplog"];

impl Translator<'_> {
    /// The `format` of a listener's log, if its lines can be said.
    pub fn log_format(&mut self, proxy: &Proxy<'_>, logs: bool) -> Option<String> {
        let line = proxy.get("log-format")?;
        // A section's own word goes before that of its defaults.
        let mut settled = proxy.section.settled.iter().rev();
        let other = settled.find(|line| FORMS.contains(&name_of(line)));
        let other = other.filter(|line| line.word(0) != "no");
        let own = proxy.own("log-format").last();
        let other = other.filter(|other| own.is_none_or(|own| own.spot < other.spot));
        if let Some(other) = other {
            let what = format!("`{}` counts, which comes later", other.shown());
            self.verdicts.without(line.spot, what);
            return None;
        }
        if !logs {
            self.verdicts
                .without(line.spot, "nothing is logged without `log`");
            return None;
        }
        let expanded = self.vars.expand(line).map_err(|refusal| refusal.message);
        let format = expanded.and_then(|expanded| {
            let line = expanded.as_ref().unwrap_or(line);
            format_of(line, &captured(proxy, &self.vars))
        });
        match format {
            Ok((format, notes)) => {
                self.verdicts.translated(line.spot);
                for note in notes {
                    self.verdicts.note(line.spot, note);
                }
                Some(format)
            }
            Err(what) => {
                let what = format!("the access log is in combined form, since {what}");
                self.verdicts.without(line.spot, what);
                None
            }
        }
    }
}

/// What is captured of requests, in the order of its numbers; `None` is what is not known for all of them.
fn captured(proxy: &Proxy<'_>, vars: &Vars) -> Vec<Option<String>> {
    let section = proxy.section;
    let mut lines: Vec<&Line> = section.lines.iter().chain(&section.settled).collect();
    lines.sort_by_key(|line| line.spot);
    let captured = lines.iter().filter_map(|line| {
        let given = (line.word(0), line.word(1), line.word(2));
        match given {
            ("capture", "request", "header") => Some(Some(format!("hdr({})", line.word(3)))),
            ("declare", "capture", "request") => Some(None),
            ("http-request" | "tcp-request", ..) => {
                let at = line.words.iter().position(|word| word.text == "capture")?;
                // With `id` it has the number of another.
                let has = |name: &str| line.words.iter().any(|word| word.text == name);
                let sample = line.word(at + 1);
                let known = !has("if") && !has("unless") && vars.is_as_it_came(sample);
                has("len").then(|| known.then(|| sample.to_owned()))
            }
            _ => None,
        }
    });
    captured.collect()
}

/// The format, and what is worth knowing of it. The error says which variable there is not.
fn format_of(
    line: &Line,
    captured: &[Option<String>],
) -> Result<(String, Vec<&'static str>), String> {
    let words = line.from(1).iter().map(|word| word.text.as_str());
    let text = words.collect::<Vec<_>>().join(" ");
    let (mut out, mut notes) = (String::new(), Vec::new());
    let mut rest = text.as_str();
    while let Some(found) = rest.find('%') {
        out.push_str(&literal(&rest[..found]));
        rest = &rest[found + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            out.push('%');
            rest = after;
            continue;
        }
        let mut quoted = false;
        if let Some(flags) = rest.strip_prefix('{') {
            let (flags, after) = flags.split_once('}').ok_or("a } closes the flags")?;
            if flags != "+Q" {
                return Err(format!("'%{{{flags}}}' is not known to it"));
            }
            (quoted, rest) = (true, after);
        }
        let value = if let Some(inner) = rest.strip_prefix('[') {
            let (inner, after) = inner.split_once(']').ok_or("a ] closes the expression")?;
            rest = after;
            let number = inner
                .strip_prefix("capture.req.hdr(")
                .and_then(|n| n.strip_suffix(')'));
            let found = number.and_then(|n| captured.get(n.parse::<usize>().ok()?)?.as_deref());
            let inner = found.unwrap_or(inner);
            let note = "of a field with several values the first line is logged";
            if inner.contains("hdr(") && !notes.contains(&note) {
                notes.push(note);
            }
            sample(inner).ok_or_else(|| format!("'%[{inner}]' is not known to it"))?
        } else {
            let end = rest
                .find(|c: char| !c.is_ascii_alphabetic())
                .unwrap_or(rest.len());
            let name = &rest[..end];
            rest = &rest[end..];
            let (value, note) =
                variable(name).ok_or_else(|| format!("'%{name}' is not known to it"))?;
            if let Some(note) = note.filter(|note| !notes.contains(note)) {
                notes.push(note);
            }
            value.to_owned()
        };
        let quote = if quoted { "\"" } else { "" };
        out.extend([quote, &value, quote]);
    }
    out.push_str(&literal(rest));
    if out.chars().any(char::is_control) {
        return Err("a line has no control characters".into());
    }
    Ok((out, notes))
}

/// A variable of `log-format`, and what of it differs (section 8.2.4 of the manual).
fn variable(name: &str) -> Option<(&'static str, Option<&'static str>)> {
    const TIME: Option<&str> = Some("times are when the answer was over, in UTC");
    const BYTES: Option<&str> = Some("%B is the bytes of the body, without the head");
    const MILLIS: Option<&str> = Some("times have microseconds: `12.034`");
    Some(match name {
        "ci" => ("{client}", None),
        "cp" => ("{client-port}", None),
        "t" | "tr" | "T" | "trg" | "Tl" | "trl" => ("{clf-time}", TIME),
        "f" | "ft" => ("{listener}", None),
        "b" => ("{service}", None),
        "s" => ("{server}", None),
        "ST" => ("{status}", None),
        "B" => ("{bytes}", BYTES),
        "r" => ("{method} {uri} {version}", None),
        "HM" => ("{method}", None),
        "HU" => ("{uri}", None),
        "HV" => ("{version}", None),
        "Ta" | "Tt" => ("{total}", MILLIS),
        "Tr" => ("{first-byte}", MILLIS),
        "Tc" => ("{connect}", MILLIS),
        "Tw" => ("{queue}", MILLIS),
        "rc" => ("{retries}", None),
        "ID" => ("{request-id}", None),
        _ => return None,
    })
}

/// What is between `%[` and `]`.
fn sample(text: &str) -> Option<String> {
    let field = |name: &str| {
        let rest = text.strip_prefix(name)?.strip_suffix(')')?;
        let valid = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        (!rest.is_empty() && rest.chars().all(valid)).then(|| format!("{{header:{rest}}}"))
    };
    let fields = ["req.hdr(", "req.fhdr(", "hdr("];
    Some(match text {
        "src" => "{client}".into(),
        "src_port" => "{client-port}".into(),
        "method" | "capture.req.method" => "{method}".into(),
        "url" | "pathq" | "capture.req.uri" => "{uri}".into(),
        "unique-id" => "{request-id}".into(),
        "status" => "{status}".into(),
        "fe_name" => "{listener}".into(),
        "be_name" => "{service}".into(),
        _ => {
            let name = fields.iter().find_map(|name| field(name));
            let text = text
                .strip_prefix("str(")
                .and_then(|text| text.strip_suffix(')'));
            return name.or_else(|| text.map(literal));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::sources::Spot;
    use super::super::words::Word;
    use super::*;

    fn format(text: &str) -> Result<String, String> {
        let word = |text: &str| Word {
            text: text.into(),
            spot: Spot::default(),
        };
        let line = Line {
            words: vec![word("log-format"), word(text)],
            spot: Spot::default(),
        };
        let captured = [Some("req.hdr(X-B)".into()), None];
        format_of(&line, &captured).map(|(format, _)| format)
    }

    #[test]
    fn a_line_of_known_variables_is_a_format_and_any_other_is_named() {
        for (text, wanted) in [
            (
                "%ci:%cp [%tr] %ft %b/%s %Tw/%Tc/%Tr/%Ta %ST %B %{+Q}r",
                "{client}:{client-port} [{clf-time}] {listener} {service}/{server} {queue}/{connect}/{first-byte}/{total} {status} {bytes} \"{method} {uri} {version}\"",
            ),
            (
                "{%[req.hdr(User-Agent)]} 100%% %HM %HU %HV %rc",
                "{{{header:User-Agent}}} 100% {method} {uri} {version} {retries}",
            ),
            ("%[capture.req.hdr(0)]", "{header:X-B}"),
        ] {
            assert_eq!(format(text).as_deref(), Ok(wanted));
            let parsed = tandem_model::AccessTemplate::parse(wanted);
            assert!(parsed.is_ok(), "{wanted}");
        }
        for (text, named) in [
            ("%ci %hr", "'%hr'"),
            ("%tsc", "'%tsc'"),
            ("%[res.hdr(X)]", "'%[res.hdr(X)]'"),
            ("%{+X}o %ci", "'%{+X}'"),
            ("%[src", "a ] closes"),
            ("%[capture.req.hdr(1)]", "capture.req.hdr(1)"),
            ("%[capture.req.hdr(2)]", "capture.req.hdr(2)"),
        ] {
            let said = format(text).unwrap_err();
            assert!(said.contains(named), "{text}: {said}");
        }
    }
}
