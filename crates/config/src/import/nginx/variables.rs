//! nginx's variables, as those of the cluster file.

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
            let end = if rest.starts_with(|c: char| c.is_ascii_digit()) {
                1
            } else {
                rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
                    .unwrap_or(rest.len())
            };
            (&rest[..end], &rest[end..])
        };
        if name.is_empty() {
            out.push('$');
            continue;
        }
        out.push_str(&variable(name, context).ok_or_else(|| format!("${name}"))?);
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
}

fn braces(text: &str) -> String {
    text.replace('{', "{{").replace('}', "}}")
}

fn variable(name: &str, context: &Context<'_>) -> Option<String> {
    Some(match name {
        "host" => "{host}".into(),
        "http_host" => "{header:Host}".into(),
        "server_name" | "hostname" => braces(context.server_name),
        "remote_addr" => "{client}".into(),
        "request_uri" => "{uri}".into(),
        "uri" | "document_uri" => "{path}".into(),
        "args" | "query_string" => "{query}".into(),
        "request_method" => "{method}".into(),
        "scheme" => "{scheme}".into(),
        "request_id" => "{request-id}".into(),
        "remote_user" => "{user}".into(),
        "https" => if context.tls { "on" } else { "" }.into(),
        "server_port" => context.port?.to_string(),
        "proxy_host" => braces(context.proxy_host),
        "nginx_version" => "1.22.1".into(),
        "content_type" => "{header:Content-Type}".into(),
        _ if name.len() == 1 && name.as_bytes()[0].is_ascii_digit() && context.captures => {
            format!("{{{name}}}")
        }
        _ => {
            if let Some(field) = name.strip_prefix("http_") {
                format!("{{header:{}}}", field_name(field))
            } else if let Some(cookie) = name.strip_prefix("cookie_") {
                format!("{{cookie:{cookie}}}")
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
        ] {
            assert_eq!(template(text, &context).as_deref(), Ok(wanted));
        }
        assert_eq!(
            template("$upstream_addr", &context),
            Err("$upstream_addr".into())
        );
    }
}
