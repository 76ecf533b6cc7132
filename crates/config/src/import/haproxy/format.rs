//! Texts that HAProxy fills in for each request (`%[src]`, `%ci`), as templates of the cluster file.

use super::super::sources::Spot;
use super::acl::Refusal;

/// What stands before an expression, and puts no quotes around its value (HAProxy 2.6).
const QUOTED: &str = "{+Q}[";

/// What is the same for all requests that come to a rule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known<'a> {
    /// They came over TLS.
    pub tls: bool,
    /// The name of the frontend, if the rule is one of its own.
    pub frontend: Option<&'a str>,
    /// That of the backend.
    pub backend: Option<&'a str>,
}

impl Known<'_> {
    /// A text with what is known put into it: `%[ssl_fc]`, `%[ssl_fc,iif(https,http)]`, `%f`, `%b`. `None`: there is
    /// nothing of it.
    pub fn put(self, text: &str) -> Option<String> {
        let mut out = String::new();
        let mut rest = text;
        let mut any = false;
        while let Some((before, after)) = rest.split_once('%') {
            out.push_str(before);
            let found = self.value(after);
            any |= found.is_some();
            match found {
                Some((value, after)) => {
                    out.push_str(&value.replace('%', "%%"));
                    rest = after;
                }
                None => {
                    // What is doubled stays so.
                    let length = usize::from(after.starts_with('%'));
                    out.push('%');
                    out.push_str(&after[..length]);
                    rest = &after[length..];
                }
            }
        }
        out.push_str(rest);
        any.then_some(out)
    }

    /// The value of what stands behind a %, and what follows it.
    fn value<'t>(&'t self, text: &'t str) -> Option<(&'t str, &'t str)> {
        let Some((fetch, rest)) = text.strip_prefix('[').and_then(|text| text.split_once(']'))
        else {
            let name = |letter| {
                text.strip_prefix(letter)
                    .filter(|rest: &&str| !rest.starts_with(|c: char| c.is_ascii_alphanumeric()))
            };
            let frontend = self.frontend.zip(name('f'));
            return frontend.or_else(|| self.backend.zip(name('b')));
        };
        let value = match fetch {
            "fe_name" => self.frontend?,
            "be_name" => self.backend?,
            "ssl_fc" => ["0", "1"][usize::from(self.tls)],
            fetch => {
                let choice = fetch.strip_prefix("ssl_fc,iif(")?.strip_suffix(')')?;
                let (with, without) = choice.split_once(',')?;
                if self.tls { with } else { without }.trim_matches(['\'', '"'])
            }
        };
        Some((value, rest))
    }
}

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
        } else if let Some(inner) = rest.strip_prefix(QUOTED).or(rest.strip_prefix('[')) {
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
        "cp" => "{client-port}".into(),
        "fp" => "{port}".into(),
        "HM" => "{method}".into(),
        "HP" => "{path}".into(),
        "HPO" => "{path}".into(),
        "HU" => "{uri}".into(),
        "ID" => "{request-id}".into(),
        "s" => {
            let message = "'%s': which server answers is known when it has; the access log says it";
            return Err(Refusal::new(at, message));
        }
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
    if let Some(filled) = certificate(fetch, arg, converters) {
        return filled
            .map(str::to_owned)
            .map_err(|why| Refusal::new(at, format!("'%[{text}]': {why}")));
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
        "src_port" => "{client-port}".into(),
        "dst_port" => "{port}".into(),
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

/// What is asked of the client's certificate; or why it is not known.
fn certificate(
    fetch: &str,
    arg: &str,
    converters: &str,
) -> Option<Result<&'static str, &'static str>> {
    let fetch = fetch.strip_prefix("ssl_c_")?;
    Some(match (fetch, arg, converters) {
        ("s_dn", name, "") if name.eq_ignore_ascii_case("cn") => Ok("{client-cert-cn}"),
        ("s_dn", ",0,rfc2253", "") => Ok("{client-cert-subject}"),
        ("s_dn", "", "") => Err("the subject is written as ssl_c_s_dn(,0,rfc2253) has it"),
        ("s_dn", ..) => {
            Err("of the subject CN is known alone, and all of it: ssl_c_s_dn(,0,rfc2253)")
        }
        ("serial", "", ",hex") => Ok("{client-cert-serial}"),
        ("der", "", ",sha2(256),hex,lower") => Ok("{client-cert-sha256}"),
        ("der" | "sha1", ..) => {
            Err("the fingerprint is SHA-256 in lower case: ssl_c_der,sha2(256),hex,lower")
        }
        ("verify", ..) => {
            Err("it is always 0: a certificate that does not verify ends the handshake")
        }
        ("used", ..) => Err("ask for it in a condition: if { ssl_c_used }"),
        _ => Err("of a client's certificate subject, serial number and SHA-256 are known"),
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
        for (text, wanted) in [
            ("%[ssl_c_s_dn(CN)]", "{client-cert-cn}"),
            ("%{+Q}[ssl_c_s_dn(cn)]", "{client-cert-cn}"),
            ("%[ssl_c_s_dn(,0,rfc2253)]", "{client-cert-subject}"),
            ("%[ssl_c_serial,hex]", "{client-cert-serial}"),
            ("%[ssl_c_der,sha2(256),hex,lower]", "{client-cert-sha256}"),
        ] {
            assert_eq!(shown(text).as_deref(), Some(wanted));
        }
        for (text, why) in [
            ("%[ssl_c_s_dn]", "rfc2253"),
            ("%[ssl_c_s_dn(O)]", "CN"),
            ("%[ssl_c_sha1,hex]", "SHA-256"),
            ("%[ssl_c_der,sha2(256),hex]", "SHA-256"),
            ("%[ssl_c_verify]", "always 0"),
            ("%[ssl_c_used]", "condition"),
            ("%[ssl_c_notafter]", "are known"),
        ] {
            let refusal = template(text, Spot::default()).unwrap_err();
            assert!(refusal.message.contains(why), "{text}: {}", refusal.message);
        }
        assert_eq!(shown("%Ts"), None);
        assert_eq!(
            shown("%[dst_port] %fp %[src_port] %cp").as_deref(),
            Some("{port} {port} {client-port} {client-port}")
        );
    }

    #[test]
    fn what_is_the_same_for_all_requests_is_put_in() {
        let known = Known {
            tls: true,
            frontend: Some("web"),
            backend: None,
        };
        let put = |text| known.put(text);
        assert_eq!(
            put("%[ssl_fc] %[ssl_fc,iif(https,http)] %f %[fe_name]").as_deref(),
            Some("1 https web web")
        );
        for other in [
            "%b",
            "%fp %fc",
            "%%f",
            "%[ssl_fc_sni]",
            "%[be_name]",
            "100%",
        ] {
            assert_eq!(put(other), None, "{other}");
        }
        let plain = Known {
            tls: false,
            frontend: None,
            backend: Some("b%1"),
        };
        assert_eq!(plain.put("%%f%[ssl_fc]%b").as_deref(), Some("%%f0b%%1"));
    }
}
