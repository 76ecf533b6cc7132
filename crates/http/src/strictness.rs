//! What a request must not be: the rules that a head or a body is refused for, in one table.
//!
//! Two parsers must never read a message differently: what one of them could take for something else is refused here,
//! though a tolerant reader might know what was meant. The parser names the rule, the answer's status and words are
//! the table's, and so is the reference page.

use std::fmt::Write as _;

/// One rule.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// The status that the request is answered with, before the connection is closed.
    pub status: u16,
    /// What the client is told.
    pub words: &'static str,
    /// What is refused, for the reference page.
    pub refused: &'static str,
    /// Where the rule comes from.
    pub source: &'static str,
}

macro_rules! rules {
    ($($(#[$meta:meta])* $name:ident: $status:literal, $words:literal, $refused:literal, $source:literal;)*) => {
        $($(#[$meta])* pub const $name: &Rule = &Rule {
            status: $status,
            words: $words,
            refused: $refused,
            source: $source,
        };)*

        /// All of them, in the order of a message.
        pub const RULES: &[&Rule] = &[$($name),*];
    };
}

rules! {
    /// The first line is none of HTTP's.
    NOT_HTTP: 400, "this is not HTTP",
        "What does not begin with a method, or has no HTTP version", "RFC 9112 section 3";
    /// An empty line comes first.
    EMPTY_LINE: 400, "there is an empty line before the request",
        "More than one empty line before a request", "RFC 9112 section 2.2";
    /// The request line is not three words with one space between.
    REQUEST_LINE: 400, "the request line is malformed",
        "A request line that is not a method, a target and a version with one space between", "RFC 9112 section 3";
    /// A version that is not spoken.
    VERSION: 505, "only HTTP/1.0 and HTTP/1.1 are spoken here",
        "Any version but HTTP/1.0 and HTTP/1.1 in a request line", "RFC 9110 section 15.6.6";
    /// CONNECT.
    CONNECT: 501, "this is no forward proxy",
        "CONNECT", "RFC 9110 section 9.3.6";
    /// LF without CR, or CR without LF.
    LINE_END: 400, "a line does not end with CR and LF",
        "A bare LF or CR at the end of a line", "RFC 9112 section 2.2";
    /// A character that may not stand in a target.
    TARGET_BYTE: 400, "the target has a character that must be percent-encoded",
        "Spaces, control bytes, `#` and bytes beyond ASCII in a target", "RFC 3986 section 2";
    /// An absolute target without a host.
    AUTHORITY: 400, "the target's authority is no host",
        "An absolute target whose authority is empty, has a user name or is no host", "RFC 9110 section 4.2.4";
    /// Neither a path nor an address.
    NO_PATH: 400, "the target is no path",
        "A target that is neither a path nor an http address; `*` but with OPTIONS", "RFC 9112 section 3.2";
    /// More `..` than segments.
    CLIMBS: 400, "the path climbs above the root",
        "`..` above the root, encoded or not", "RFC 3986 section 5.2.4";
    /// `..;x`.
    DOTS_PARAMETER: 400, "the path has a dot segment with a parameter",
        "`.` and `..` with a parameter (`..;x`) in a path, encoded or not: some servers go up there", "RFC 3986 section 3.3";
    /// `%00`.
    PATH_NUL: 400, "the path has an encoded NUL",
        "`%00` in a path", "RFC 3986 section 7.3";
    /// `%` without two digits.
    ESCAPE: 400, "the path has an incomplete escape",
        "`%` without two hexadecimal digits in a path", "RFC 3986 section 2.1";
    /// A longer target than the listener takes.
    TARGET_TOO_LONG: 414, "the target of this request is too long",
        "A target longer than `limits.uri`", "RFC 9110 section 15.5.15";
    /// A larger head than the listener takes.
    HEAD_TOO_LARGE: 431, "the head of this request is too large",
        "A head larger than `limits.head`, or of more fields than `limits.fields`", "RFC 6585 section 5";
    /// A line that goes on the one before.
    FOLDED: 400, "a field is folded over several lines",
        "A field that goes on in the next line (obs-fold), and a first field that begins with a space",
        "RFC 9112 section 5.2";
    /// `Name : value`.
    SPACE_BEFORE_COLON: 400, "there is a space before a field's colon",
        "Whitespace between a field's name and its colon", "RFC 9112 section 5.1";
    /// A name that is no token.
    FIELD_NAME: 400, "a field's name is malformed",
        "A line without a colon, and a field whose name is empty or no token", "RFC 9110 section 5.1";
    /// NUL, or another control byte.
    FIELD_VALUE: 400, "a field's value has a control byte",
        "NUL and control bytes, but for the tab, in a field's value", "RFC 9110 section 5.5";
    /// No Host field in HTTP/1.1.
    NO_HOST: 400, "there is no Host field",
        "HTTP/1.1 without a Host field", "RFC 9112 section 3.2";
    /// Two Host fields.
    TWO_HOSTS: 400, "there are two Host fields",
        "More than one Host field", "RFC 9112 section 3.2";
    /// A Host field that names none.
    HOST: 400, "the Host field is no host",
        "A Host field that is no host with perhaps a port", "RFC 9112 section 3.2";
    /// A Content-Length that is not digits alone.
    LENGTH: 400, "Content-Length is no number",
        "A Content-Length that is not one decimal number (a list, a sign, 2^64 and more)", "RFC 9110 section 8.6";
    /// Two Content-Length fields.
    TWO_LENGTHS: 400, "there are two Content-Length fields",
        "More than one Content-Length field, also when they agree", "RFC 9112 section 6.3";
    /// Two ways to tell the end.
    LENGTH_AND_CODING: 400, "there are both Content-Length and Transfer-Encoding",
        "Content-Length together with Transfer-Encoding", "RFC 9112 section 6.3";
    /// Transfer-Encoding before HTTP/1.1.
    CODING_IN_1_0: 400, "HTTP/1.0 has no Transfer-Encoding",
        "Transfer-Encoding in HTTP/1.0", "RFC 9112 section 6.1";
    /// Another coding than chunked.
    CODING: 501, "chunked is the only transfer coding",
        "Any transfer coding but `chunked` alone, and once", "RFC 9112 section 6.1";
    /// Chunks that are not as they should be.
    CHUNKS: 400, "the body's chunks are malformed",
        "Chunks whose size is no hexadecimal number, that are not as long as they say, or whose lines do not end with CR and LF",
        "RFC 9112 section 7.1";
    /// A request of HTTP/2 without a path.
    NO_PSEUDO_PATH: 400, "there is no :path",
        "HTTP/2: a request without `:path`", "RFC 9113 section 8.3.1";
    /// Two hosts of a request of HTTP/2.
    AUTHORITY_AND_HOST: 400, ":authority and the Host field differ",
        "HTTP/2: a Host field that is not the `:authority`", "RFC 9113 section 8.3.1";
    /// Fields of connections in HTTP/2.
    OF_CONNECTIONS: 400, "a field belongs to HTTP/1 only",
        "HTTP/2: Connection, Transfer-Encoding and Upgrade", "RFC 9113 section 8.2.2";
}

/// `docs/reference/strictness.md`
pub fn reference() -> String {
    let mut out = String::from(
        "# What a request must not be\n\n\
         <!-- Made from the table of rules (crates/http/src/strictness.rs): change it there. -->\n\n\
         A request that another program could read differently is refused, not mended: it is answered with the status\n\
         below, and the connection is closed. The answer's text says which rule was broken. Answers of servers are held\n\
         to the same rules for fields, lengths and chunks; one that breaks them is answered 502.\n\n\
         What breaks the rules of HTTP/2 itself is not answered: its stream is reset (PROTOCOL_ERROR), or, where the bytes of a\n\
         field are none, with a capital letter in its name for example, the connection ends (GOAWAY). A fragment (`#`) in\n\
         `:path` is left out there, and pseudo-fields among trailers are dropped.\n\n\
         | refused | status | the client is told | |\n|---|---|---|---|\n",
    );
    for rule in RULES {
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} |",
            rule.refused, rule.status, rule.words, rule.source
        );
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_reference_is_made_from_the_table() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../docs/reference/strictness.md"
        );
        let text = super::reference();
        if std::env::var_os("TANDEM_WRITE_REFERENCE").is_some() {
            std::fs::write(path, &text).unwrap();
        }
        assert_eq!(
            std::fs::read_to_string(path).unwrap_or_default(),
            text,
            "write it anew: TANDEM_WRITE_REFERENCE=1 cargo test -p tandem-http --lib the_reference"
        );
    }
}
