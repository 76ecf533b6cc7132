//! Texts that HAProxy fills in for each request (`%[src]`, `%ci`), as templates of the cluster file.

use super::super::sources::Spot;
use super::acl::Refusal;

/// A text without variables, as a template: braces are doubled.
pub(crate) fn literal(text: &str) -> String {
    text.replace('{', "{{").replace('}', "}}")
}

/// The template for a log-format text.
pub(crate) fn template(text: &str, at: Spot) -> Result<String, Refusal> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(found) = rest.find('%') {
        out.push_str(&literal(&rest[..found]));
        rest = &rest[found + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            out.push('%');
            rest = after;
        } else if let Some(inner) = rest.strip_prefix('[') {
            let end = inner
                .find(']')
                .ok_or_else(|| Refusal::new(at, "a ] closes the expression"))?;
            out.push_str(&expression(&inner[..end], at)?);
            rest = &inner[end + 1..];
        } else {
            let end = rest
                .find(|c: char| !c.is_ascii_alphanumeric())
                .unwrap_or(rest.len());
            out.push_str(&variable(&rest[..end], at)?);
            rest = &rest[end..];
        }
    }
    out.push_str(&literal(rest));
    Ok(out)
}

fn variable(name: &str, at: Spot) -> Result<String, Refusal> {
    Ok(match name {
        "ci" => "{client}".into(),
        "HM" => "{method}".into(),
        "HP" => "{path}".into(),
        "HPO" => "{path}".into(),
        "HU" => "{uri}".into(),
        "ID" => "{request-id}".into(),
        _ => {
            return Err(Refusal::new(
                at,
                format!("'%{name}' cannot be filled in here"),
            ));
        }
    })
}

fn expression(text: &str, at: Spot) -> Result<String, Refusal> {
    let (fetch, rest) = match text.find([',', '(']) {
        Some(end) => text.split_at(end),
        None => (text, ""),
    };
    let (arg, converters) = match rest.strip_prefix('(').and_then(|rest| rest.split_once(')')) {
        Some((arg, converters)) => (arg.trim_matches(['\'', '"']), converters),
        None => ("", rest),
    };
    let (name, which) = arg.split_once(',').unwrap_or((arg, ""));
    let (name, which) = (name.trim(), which.trim());
    let refused = || Refusal::new(at, format!("'%[{text}]' cannot be filled in here"));
    let field = matches!(fetch, "hdr" | "req.hdr" | "req.fhdr");
    // There is one Host, and its case says nothing.
    let host = field && name.eq_ignore_ascii_case("host");
    if host
        && matches!(
            converters,
            ",field(1,:)" | ",host_only" | ",host_only,lower" | ",lower,host_only"
        )
    {
        return Ok("{host}".into());
    }
    if !(converters.is_empty() || host && converters == ",lower") {
        return Err(refused());
    }
    if field && !host && (!which.is_empty() || is_list(name)) {
        return Err(Refusal::new(
            at,
            format!(
                "'%[{text}]': one value of several is not picked out, only the first line of a field is filled in; the \
                 client's address, as `trust` of the listener has it, is %[src]"
            ),
        ));
    }
    Ok(match fetch {
        "src" => "{client}".into(),
        "path" | "pathq" if fetch == "path" => "{path}".into(),
        "pathq" | "url" | "capture.req.uri" => "{uri}".into(),
        "query" => "{query}".into(),
        "base" => "{header:Host}{path}".into(),
        "method" | "capture.req.method" => "{method}".into(),
        "unique-id" | "uuid" | "rand" if fetch != "rand" => "{request-id}".into(),
        "hdr" | "req.hdr" | "req.fhdr" if !name.is_empty() => format!("{{header:{name}}}"),
        "cook" | "req.cook" if !name.is_empty() => format!("{{cookie:{name}}}"),
        "str" => literal(arg),
        "int" | "bool" => literal(arg),
        _ => return Err(refused()),
    })
}

/// Fields that proxies add values to: which of them is taken decides who is believed.
fn is_list(name: &str) -> bool {
    ["x-forwarded-for", "forwarded", "via"]
        .iter()
        .any(|list| name.eq_ignore_ascii_case(list))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_filled_in_is_a_template() {
        let shown = |text| template(text, Spot::default()).ok();
        assert_eq!(
            shown("max-age=1; a{b}").as_deref(),
            Some("max-age=1; a{{b}}")
        );
        assert_eq!(
            shown("%[src]:%ci 100%%").as_deref(),
            Some("{client}:{client} 100%")
        );
        assert_eq!(
            shown("https://%[hdr(host)]%[path]").as_deref(),
            Some("https://{header:host}{path}")
        );
        assert_eq!(
            shown("%[hdr(Host),lower]").as_deref(),
            Some("{header:Host}")
        );
        for other in [
            "%[req.hdr(X-B,-1)]",
            "%[req.hdr(X-B),lower]",
            "%[req.hdr(X-Forwarded-For)]",
            "%[path,lower]",
            "%[req.cook(a),lower]",
        ] {
            assert_eq!(shown(other), None, "{other}");
        }
        assert_eq!(shown("%[ssl_c_s_dn]"), None);
        assert_eq!(shown("%Ts"), None);
    }
}
