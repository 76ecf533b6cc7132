//! nginx's variables, as those of the cluster file.

/// What begins a variable that is a field of the answer by which was decided who may pass; and its status. No file has them.
pub(super) const OF_ANSWER: &str = "authorized__http_";
pub(super) const ANSWERED: &str = "authorized__status";

/// A piece of a text with variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece<'t> {
    Text(&'t str),
    /// A variable's name, and how it is written.
    Name {
        name: &'t str,
        written: &'t str,
    },
}

impl<'t> Piece<'t> {
    pub fn name(&self) -> Option<&'t str> {
        match self {
            Self::Text(_) => None,
            Self::Name { name, .. } => Some(name),
        }
    }
}

/// The pieces of a text; in words why it has none.
pub(crate) fn pieces(text: &str) -> Result<Vec<Piece<'_>>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(found) = rest.find('$') {
        if found > 0 {
            pieces.push(Piece::Text(&rest[..found]));
        }
        let (written, name) = match rest[found + 1..].strip_prefix('{') {
            Some(inner) => {
                let end = inner.find('}');
                let end =
                    end.ok_or_else(|| format!("the closing bracket in \"{text}\" is missing"))?;
                (&rest[found..found + end + 3], &inner[..end])
            }
            None => {
                let end = found + 1 + name_end(&rest[found + 1..]);
                (&rest[found..end], &rest[found + 1..end])
            }
        };
        pieces.push(if name.is_empty() {
            Piece::Text(written)
        } else {
            Piece::Name { name, written }
        });
        rest = &rest[found + written.len()..];
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    Ok(pieces)
}

/// A text in which the variables that `value` knows are replaced.
pub(crate) fn replaced(text: &str, value: &dyn Fn(&str) -> Option<String>) -> String {
    let Ok(pieces) = pieces(text) else {
        return text.to_owned();
    };
    let mut out = String::new();
    for (at, piece) in pieces.iter().enumerate() {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Name { name, written } => match value(name) {
                None => out.push_str(written),
                Some(value) => {
                    out.push_str(&value);
                    // A name at its end must not go on with what follows.
                    if at + 1 < pieces.len()
                        && let Ok(inner) = self::pieces(&value)
                        && let Some(Piece::Name { name, written }) = inner.last()
                        && !written.ends_with('}')
                    {
                        out.truncate(out.len() - written.len());
                        out.extend(["${", name, "}"]);
                    }
                }
            },
        }
    }
    out
}

/// What nginx's own variables have behind `$upstream_`; others of that beginning are a file's (`$upstream_app`).
const OF_UPSTREAMS: [&str; 11] = [
    "addr",
    "bytes_received",
    "bytes_sent",
    "cache_status",
    "connect_time",
    "first_byte_time",
    "header_time",
    "queue_time",
    "response_length",
    "response_time",
    "status",
];

/// Whether nginx has a variable of this name by itself, as far as is known here.
pub(crate) fn is_built_in(name: &str) -> bool {
    let families = [
        "arg_",
        "http_",
        "cookie_",
        "sent_http_",
        "sent_trailer_",
        "upstream_http_",
        "upstream_cookie_",
        "upstream_trailer_",
        "ssl_",
    ];
    let of_upstreams = name.strip_prefix("upstream_");
    name == "is_args"
        || name == "limit_rate"
        || of_upstreams.is_some_and(|rest| OF_UPSTREAMS.contains(&rest))
        || families.iter().any(|family| name.starts_with(family))
        || variable(name, &Context::default()).is_some()
}

/// What a text with variables becomes: a template; or the variable that there is not.
pub(crate) fn template(text: &str, context: &Context<'_>) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(found) = rest.find('$') {
        out.push_str(&braces(&rest[..found]));
        rest = &rest[found + 1..];
        let (name, after) = if let Some(inner) = rest.strip_prefix('{') {
            let end = inner.find('}').ok_or_else(|| text.to_owned())?;
            (&inner[..end], &inner[end + 1..])
        } else {
            rest.split_at(name_end(rest))
        };
        // A question mark, if there is a query: known together with it.
        if name == "is_args" {
            let query = ["$args", "${args}", "$query_string", "${query_string}"];
            let after = query.iter().find_map(|query| {
                let rest = after.strip_prefix(query)?;
                (query.ends_with('}') || name_end(rest) == 0).then_some(rest)
            });
            rest = after.ok_or_else(|| "$is_args without $args behind it".to_owned())?;
            out.push_str("{?query}");
            continue;
        }
        if name.is_empty() {
            out.push('$');
            continue;
        }
        let filled = variable(name, context).ok_or_else(|| match name {
            "ssl_client_fingerprint" => {
                "$ssl_client_fingerprint (SHA-1; that of SHA-256 is {client-cert-sha256})".into()
            }
            _ => format!("${name}"),
        });
        out.push_str(&filled?);
        rest = after;
    }
    out.push_str(&braces(rest));
    Ok(out)
}

/// Where a text stands.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Context<'a> {
    /// The first server_name.
    pub server_name: &'a str,
    /// The port of the listener.
    pub port: Option<u16>,
    pub tls: bool,
    /// What `proxy_pass` names.
    pub proxy_host: &'a str,
    /// Parentheses of a regular expression can be filled in.
    pub captures: bool,
    /// It is no part of a URL: the path is filled in decoded, as nginx has it.
    pub plain: bool,
    /// The name of this machine, where the file is run on it.
    pub machine: Option<&'a str>,
}

/// Where the name of a variable ends that a text begins with.
fn name_end(text: &str) -> usize {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return 1;
    }
    text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .unwrap_or(text.len())
}

fn braces(text: &str) -> String {
    text.replace('{', "{{").replace('}', "}}")
}

fn variable(name: &str, context: &Context<'_>) -> Option<String> {
    Some(match name {
        "host" => "{host}".into(),
        "http_host" => "{header:Host}".into(),
        "server_name" => braces(context.server_name),
        "hostname" => context.machine.map_or_else(|| "{node}".into(), braces),
        "remote_addr" => "{client}".into(),
        "remote_port" => "{client-port}".into(),
        "request_uri" => "{uri}".into(),
        "request" => "{method} {uri} {version}".into(),
        "server_protocol" => "{version}".into(),
        "time_iso8601" => "{time}".into(),
        "msec" => "{epoch}".into(),
        "uri" | "document_uri" if context.plain => "{normal-path}".into(),
        "uri" | "document_uri" => "{path}".into(),
        "args" | "query_string" => "{query}".into(),
        "request_method" => "{method}".into(),
        "scheme" => "{scheme}".into(),
        "request_id" => "{request-id}".into(),
        "remote_user" => "{user}".into(),
        "https" => if context.tls { "on" } else { "" }.into(),
        "server_port" => context
            .port
            .map_or_else(|| "{port}".into(), |port| port.to_string()),
        "ssl_client_verify" if !context.tls => String::new(),
        "ssl_client_verify" => "{client-cert}".into(),
        "ssl_client_s_dn" => "{client-cert-subject}".into(),
        "ssl_client_serial" => "{client-cert-serial}".into(),
        "proxy_host" => braces(context.proxy_host),
        "content_type" => "{header:Content-Type}".into(),
        "content_length" => "{header:Content-Length}".into(),
        _ if name.len() == 1 && name.as_bytes()[0].is_ascii_digit() && context.captures => {
            format!("{{{name}}}")
        }
        _ => {
            if name == ANSWERED {
                "{authorized}".into()
            } else if let Some(field) = name.strip_prefix(OF_ANSWER) {
                format!("{{authorized:{}}}", field_name(field))
            } else if let Some(field) = name.strip_prefix("http_") {
                format!("{{header:{}}}", field_name(field))
            } else if let Some(cookie) = name.strip_prefix("cookie_") {
                format!("{{cookie:{cookie}}}")
            } else if let Some(arg) = name.strip_prefix("arg_").filter(|arg| !arg.is_empty()) {
                format!("{{arg:{arg}}}")
            } else {
                return None;
            }
        }
    })
}

/// `user_agent` is `User-Agent`.
pub(crate) fn field_name(variable: &str) -> String {
    let word = |part: &str| {
        let mut chars = part.chars();
        chars.next().map_or(String::new(), |first| {
            first.to_ascii_uppercase().to_string() + chars.as_str()
        })
    };
    let parts: Vec<String> = variable.split('_').map(word).collect();
    parts.join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_replaced_and_do_not_run_into_what_follows() {
        let value = |name: &str| match name {
            "a" => Some("$host".to_owned()),
            "b" => Some("x".to_owned()),
            _ => None,
        };
        for (text, wanted) in [
            ("$a/$b", "${host}/x"),
            ("/$a", "/$host"),
            ("${a}y", "${host}y"),
            ("${b}y$c", "xy$c"),
            ("$a$b", "${host}x"),
            ("5$ $", "5$ $"),
        ] {
            assert_eq!(replaced(text, &value), wanted, "{text}");
        }
        assert!(pieces("${a").is_err());
    }

    #[test]
    fn variables_have_their_counterparts() {
        let context = Context {
            server_name: "a.example",
            port: Some(8080),
            captures: true,
            ..Context::default()
        };
        for (text, wanted) in [
            ("https://$host$request_uri", "https://{host}{uri}"),
            ("${scheme}://x/$1", "{scheme}://x/{1}"),
            ("$http_user_agent {}", "{header:User-Agent} {{}}"),
            ("$server_name:$server_port", "a.example:8080"),
            ("5$", "5$"),
            ("$uri$is_args$args-$arg_page", "{path}{?query}-{arg:page}"),
            ("${is_args}${query_string}x", "{?query}x"),
            ("$hostname:$remote_port", "{node}:{client-port}"),
        ] {
            assert_eq!(template(text, &context).as_deref(), Ok(wanted));
        }
        for unknown in [
            "$upstream_addr",
            "$nginx_version",
            "$arg_",
            "$binary_remote_addr",
        ] {
            assert_eq!(template(unknown, &context), Err(unknown.into()));
        }
        for text in ["$is_args", "/x${is_args}a=b", "$is_args$args_b"] {
            assert!(template(text, &context).is_err(), "{text}");
        }
        let plain = Context {
            plain: true,
            machine: Some("m{1}"),
            ..context
        };
        let filled = template("$uri $hostname", &plain);
        assert_eq!(filled.as_deref(), Ok("{normal-path} m{{1}}"));
    }
}
