//! Texts with variables that each request fills in.

use std::fmt;
use std::ops::Range;

/// Text and variables: `https://{host}{uri}`. `{{` and `}}` are braces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template(Vec<Part>);

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part<V = Variable> {
    /// As it is written.
    Text(String),
    /// Filled in.
    Variable(V),
}

/// What a request can fill in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Variable {
    /// The host that the client asked for, without its port.
    Host,
    /// Path and query.
    Uri,
    /// The path, encoded.
    Path,
    /// The path in its normal form, decoded.
    NormalPath,
    /// The query without the question mark.
    Query,
    /// The query with its question mark; empty without one.
    QueryBehindMark,
    /// The first parameter of this name, as it came.
    Arg(String),
    /// `GET`, `POST`, ...
    Method,
    /// `https` or `http`, as the client came.
    Scheme,
    /// `HTTP/1.1`, ...
    Version,
    /// The listener's port.
    Port,
    /// The client's address.
    Client,
    /// The client's port.
    ClientPort,
    /// What is known of the client's certificate.
    ClientCert(ClientCertPart),
    /// The node that answers; known when its plan is made.
    Node,
    /// When the request came.
    Time,
    /// The same in seconds since 1970.
    Epoch,
    /// The user that `auth` let in.
    User,
    /// What tells this request from all others.
    RequestId,
    /// The first field of this name.
    Header(String),
    /// The cookie of this name.
    Cookie(String),
    /// The status of the answer that `authorize` had.
    Authorized,
    /// The field of this name in it.
    AuthorizedField(String),
    /// What a regular expression has found in its n-th parentheses.
    Capture(u8),
}

/// What a listener that asks clients for certificates knows of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertPart {
    /// Whether there is one: `SUCCESS` or `NONE`.
    Verified,
    /// Its subject, as RFC 4514 writes it.
    Subject,
    /// The common name in that.
    CommonName,
    /// SHA-256 of the certificate.
    Sha256,
    /// Its serial number.
    Serial,
}

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateError {
    /// Where in the text, in bytes.
    pub at: Range<usize>,
    /// What is wrong.
    pub what: String,
    /// The variable that there is not.
    pub unknown: Option<String>,
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for TemplateError {}

impl Variable {
    /// All variables: how each is written, and what it is.
    pub const ALL: &[(&str, &str)] = &[
        (
            "host",
            "the host that the client asked for, without its port",
        ),
        ("uri", "path and query"),
        ("path", "the path, percent-encoded"),
        (
            "normal-path",
            "the path in its normal form, as routes compare it: decoded, without dots and doubled slashes",
        ),
        ("query", "the query without the question mark"),
        (
            "?query",
            "the query with its question mark; empty without a query",
        ),
        (
            "arg:NAME",
            "the first parameter of the query of this name, as it came (not decoded); the name's case does not matter",
        ),
        ("method", "`GET`, `POST`, ..."),
        ("scheme", "`https` or `http`, as the client came"),
        ("version", "`HTTP/1.1`, `HTTP/2.0`, ..."),
        ("port", "the port of the listener that was asked"),
        ("client", "the client's address"),
        (
            "client-port",
            "the client's port; empty where a proxy states the client's address alone",
        ),
        (
            "client-cert",
            "`SUCCESS` when the client has proved by a certificate who it is, else `NONE`",
        ),
        (
            "client-cert-subject",
            "the subject of its certificate as RFC 4514 has it: `CN=ann,O=Example`; as those below, empty without a certificate",
        ),
        (
            "client-cert-cn",
            "the first common name of the subject: `ann`",
        ),
        (
            "client-cert-sha256",
            "SHA-256 of the certificate, 64 lower-case hexadecimal digits",
        ),
        (
            "client-cert-serial",
            "its serial number in upper-case hexadecimal digits, two for each byte: `0A3F`",
        ),
        ("node", "the name of the node that answers"),
        (
            "time",
            "when it is filled in, UTC: `2026-11-23T14:05:09.123Z`",
        ),
        (
            "epoch",
            "the same in seconds since 1970, with milliseconds: `1795442709.123`",
        ),
        ("user", "the user that `auth` let in; empty without `auth`"),
        (
            "request-id",
            "32 hexadecimal digits that tell this request from all others; of a node or a peer in `trust`, what its `X-Request-ID` says",
        ),
        ("header:NAME", "the first field of this name"),
        ("cookie:NAME", "the cookie of this name"),
        (
            "authorized",
            "the status of the answer by which `authorize` has decided; empty where nobody was asked",
        ),
        (
            "authorized:NAME",
            "the field of this name in that answer, `{authorized:X-User}`; several of them with commas between, but of `Set-Cookie` the first",
        ),
        (
            "1",
            "what the first parentheses of an expression have found, up to `{9}`: in `rewrite` and `replace` of theirs, in `respond.template` of that in `path`",
        ),
    ];

    /// Reads what stands between the braces.
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "host" => Self::Host,
            "uri" => Self::Uri,
            "path" => Self::Path,
            "normal-path" => Self::NormalPath,
            "query" => Self::Query,
            "?query" => Self::QueryBehindMark,
            "method" => Self::Method,
            "scheme" => Self::Scheme,
            "version" => Self::Version,
            "port" => Self::Port,
            "client" => Self::Client,
            "client-port" => Self::ClientPort,
            "client-cert" => Self::ClientCert(ClientCertPart::Verified),
            "client-cert-subject" => Self::ClientCert(ClientCertPart::Subject),
            "client-cert-cn" => Self::ClientCert(ClientCertPart::CommonName),
            "client-cert-sha256" => Self::ClientCert(ClientCertPart::Sha256),
            "client-cert-serial" => Self::ClientCert(ClientCertPart::Serial),
            "node" => Self::Node,
            "time" => Self::Time,
            "epoch" => Self::Epoch,
            "user" => Self::User,
            "request-id" => Self::RequestId,
            "authorized" => Self::Authorized,
            _ => match name.split_once(':') {
                Some(("header", field)) if is_token(field) => Self::Header(field.into()),
                Some(("cookie", cookie)) if is_token(cookie) => Self::Cookie(cookie.into()),
                Some(("authorized", field)) if is_token(field) => {
                    Self::AuthorizedField(field.into())
                }
                Some(("arg", arg)) if is_token(arg) && !arg.contains('&') => Self::Arg(arg.into()),
                Some(_) => return None,
                None => match name.as_bytes() {
                    [digit @ b'1'..=b'9'] => Self::Capture(digit - b'0'),
                    _ => return None,
                },
            },
        })
    }
}

impl fmt::Display for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "host",
            Self::Uri => "uri",
            Self::Path => "path",
            Self::NormalPath => "normal-path",
            Self::Query => "query",
            Self::QueryBehindMark => "?query",
            Self::Arg(name) => return write!(f, "arg:{name}"),
            Self::Method => "method",
            Self::Scheme => "scheme",
            Self::Version => "version",
            Self::Port => "port",
            Self::Client => "client",
            Self::ClientPort => "client-port",
            Self::ClientCert(ClientCertPart::Verified) => "client-cert",
            Self::ClientCert(ClientCertPart::Subject) => "client-cert-subject",
            Self::ClientCert(ClientCertPart::CommonName) => "client-cert-cn",
            Self::ClientCert(ClientCertPart::Sha256) => "client-cert-sha256",
            Self::ClientCert(ClientCertPart::Serial) => "client-cert-serial",
            Self::Node => "node",
            Self::Time => "time",
            Self::Epoch => "epoch",
            Self::User => "user",
            Self::RequestId => "request-id",
            Self::Header(name) => return write!(f, "header:{name}"),
            Self::Cookie(name) => return write!(f, "cookie:{name}"),
            Self::Authorized => "authorized",
            Self::AuthorizedField(name) => return write!(f, "authorized:{name}"),
            Self::Capture(number) => return write!(f, "{number}"),
        })
    }
}

/// A token (RFC 9110 section 5.6.2): the name of a field or of a cookie.
pub(crate) fn is_token(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// A brace that is not closed, a variable that there is not, a control character.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        parts(text, is_line, Variable::parse).map(Self)
    }

    /// Reads a template of several lines, with tabs if need be: for a content, where no line break can end a field.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn parse_lines(text: &str) -> Result<Self, TemplateError> {
        parts(text, is_in_lines, Variable::parse).map(Self)
    }

    /// Fills in what is known of the node before any request.
    pub(crate) fn on_node(&mut self, node: &str) {
        for part in &mut self.0 {
            if matches!(part, Part::Variable(Variable::Node)) {
                *part = Part::Text(node.into());
            }
        }
    }

    /// A template without variables.
    pub fn text(text: &str) -> Self {
        Self(vec![Part::Text(text.into())])
    }

    /// Its pieces, in order.
    pub fn parts(&self) -> &[Part] {
        &self.0
    }

    /// The variables in it.
    pub fn variables(&self) -> impl Iterator<Item = &Variable> {
        self.0.iter().filter_map(|part| match part {
            Part::Variable(variable) => Some(variable),
            Part::Text(_) => None,
        })
    }

    /// The highest number of a capture in it; 0 when there is none.
    pub fn captures(&self) -> u8 {
        let numbers = self.variables().map(|variable| match variable {
            Variable::Capture(number) => *number,
            _ => 0,
        });
        numbers.max().unwrap_or(0)
    }
}

/// What may stand in one line.
pub(crate) fn is_line(c: char) -> bool {
    !c.is_control()
}

/// What may stand in several.
fn is_in_lines(c: char) -> bool {
    !c.is_control() || matches!(c, '\n' | '\r' | '\t')
}

/// Reads a text with variables, of which `variable` knows the names; `may_stand` which characters it may have.
pub(crate) fn parts<V>(
    text: &str,
    may_stand: fn(char) -> bool,
    variable: impl Fn(&str) -> Option<V>,
) -> Result<Vec<Part<V>>, TemplateError> {
    let error = |at: Range<usize>, what: &str| TemplateError {
        at,
        what: what.into(),
        unknown: None,
    };
    if let Some((at, c)) = text.char_indices().find(|(_, c)| !may_stand(*c)) {
        return Err(error(
            at..at + c.len_utf8(),
            "there is a control character in it",
        ));
    }
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let plain = rest.find(['{', '}']).unwrap_or(rest.len());
        literal.push_str(&rest[..plain]);
        at += plain;
        let rest = &rest[plain..];
        if let Some(brace) = ["{{", "}}"].into_iter().find(|two| rest.starts_with(two)) {
            literal.push_str(&brace[..1]);
            at += 2;
        } else if rest.starts_with('}') {
            return Err(error(
                at..at + 1,
                "this } closes nothing: write }} for a brace",
            ));
        } else if rest.starts_with('{') {
            let Some(end) = rest.find('}') else {
                return Err(error(
                    at..text.len(),
                    "this { is not closed: write {{ for a brace",
                ));
            };
            let name = &rest[1..end];
            let Some(variable) = variable(name) else {
                return Err(TemplateError {
                    at: at..at + end + 1,
                    what: format!(
                        "there is no variable {{{name}}}; write {{{{ and }}}} for braces"
                    ),
                    unknown: Some(name.into()),
                });
            };
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal)));
            }
            parts.push(Part::Variable(variable));
            at += end + 1;
        }
    }
    if !literal.is_empty() {
        parts.push(Part::Text(literal));
    }
    Ok(parts)
}

/// Writes a text with variables as it is read.
pub(crate) fn show<V: fmt::Display>(parts: &[Part<V>], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for part in parts {
        match part {
            Part::Text(text) => {
                f.write_str(&text.replace('{', "{{").replace('}', "}}"))?;
            }
            Part::Variable(variable) => write!(f, "{{{variable}}}")?,
        }
    }
    Ok(())
}

/// As it is written.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_read_as_they_are_shown() {
        for text in [
            "",
            "plain",
            "https://{host}{uri}",
            "{{\"a\":1}}",
            "{header:X-A}{cookie:b}{1}",
            "{arg:page}{?query}",
            "{{{host}}}",
        ] {
            let template = Template::parse(text).unwrap();
            assert_eq!(template.to_string(), text);
        }
        for (name, _) in Variable::ALL {
            let text = format!("{{{name}}}");
            assert_eq!(Template::parse(&text).unwrap().to_string(), text, "{name}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_where_it_is() {
        for (text, at, unknown) in [
            ("a{hots}b", 1..7, Some("hots")),
            ("a{host", 1..6, None),
            ("a}b", 1..2, None),
            ("a\r\nb", 1..2, None),
            ("{header:}", 0..9, Some("header:")),
            ("{arg:a&b}", 0..9, Some("arg:a&b")),
            ("{header:a b}", 0..12, Some("header:a b")),
            ("{0}", 0..3, Some("0")),
            ("{}", 0..2, Some("")),
        ] {
            let error = Template::parse(text).unwrap_err();
            assert_eq!(
                (error.at, error.unknown.as_deref()),
                (at, unknown),
                "{text}"
            );
        }
    }

    #[test]
    fn only_a_content_has_several_lines() {
        assert!(Template::parse("a\nb").is_err());
        let content = Template::parse_lines("a {host}\r\n\tb\n").unwrap();
        assert_eq!(content.to_string(), "a {host}\r\n\tb\n");
        for text in ["a\0b", "a\u{7f}", "a\u{1b}[0m"] {
            assert!(Template::parse_lines(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn captures_are_counted() {
        for (text, captures) in [("", 0), ("{host}", 0), ("{2}{1}", 2)] {
            assert_eq!(Template::parse(text).unwrap().captures(), captures);
        }
    }
}
