//! A request's parameters (RFC 3875 section 4.1), made of the head that a server of HTTP would get: so what the file says of
//! fields holds here, too.

use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;

use tandem_model::Protocol;
use tandem_telemetry::decimal;

use super::Call;
use super::records::{self, Kind, MOST};

/// What a head does not say.
pub(crate) struct Facts<'a> {
    pub call: &'a Call,
    /// Path and query, as the client sent them or as `strip` has left them.
    pub uri: &'a [u8],
    /// `HTTP/1.1`, ...
    pub version: &'a str,
    /// Who the client is, and the port of its connection when it is the peer.
    pub client: SocketAddr,
    /// Where it came to.
    pub server: Option<SocketAddr>,
    pub secure: bool,
    /// The user that `auth` let in; else empty.
    pub user: &'a str,
    /// Bytes of the body.
    pub length: u64,
}

/// There is more than the protocol can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

/// Appends the beginning of a request: all but its body. `head` is what rewriting has made: lines that end with CRLF.
pub(crate) fn write(out: &mut Vec<u8>, head: &[u8], facts: &Facts<'_>) -> Result<(), TooLong> {
    let protocol = facts.call.program.protocol;
    let mut params = Params {
        protocol,
        bytes: Vec::new(),
        is_whole: true,
    };
    params.all(head, facts);
    let bytes = &params.bytes[..];
    match protocol {
        Protocol::FastCgi => {
            records::begin(out);
            for piece in bytes.chunks(MOST) {
                out.extend_from_slice(&records::record(Kind::Params, piece.len()));
                out.extend_from_slice(piece);
            }
            out.extend_from_slice(&records::record(Kind::Params, 0));
        }
        Protocol::Uwsgi { modifier } => {
            let length = u16::try_from(bytes.len()).ok().filter(|_| params.is_whole);
            let [low, high] = length.ok_or(TooLong)?.to_le_bytes();
            out.extend_from_slice(&[modifier, low, high, 0]);
            out.extend_from_slice(bytes);
        }
        Protocol::Scgi => {
            decimal::push(out, bytes.len() as u64);
            out.push(b':');
            out.extend_from_slice(bytes);
            out.push(b',');
        }
    }
    Ok(())
}

/// Names and values as a protocol has them.
struct Params {
    protocol: Protocol,
    bytes: Vec<u8>,
    /// None of them is too long.
    is_whole: bool,
}

impl Params {
    fn put(&mut self, name: &[u8], value: &[u8]) {
        match self.protocol {
            // Both behind their lengths.
            Protocol::FastCgi => {
                for length in [name.len(), value.len()] {
                    match u8::try_from(length) {
                        Ok(short @ 0..128) => self.bytes.push(short),
                        _ => {
                            let long = (length as u32 | 1 << 31).to_be_bytes();
                            self.bytes.extend_from_slice(&long);
                        }
                    }
                }
                self.bytes.extend_from_slice(name);
                self.bytes.extend_from_slice(value);
            }
            // Each behind its length.
            Protocol::Uwsgi { .. } => {
                for part in [name, value] {
                    let length = u16::try_from(part.len());
                    self.is_whole &= length.is_ok();
                    let length = length.unwrap_or_default();
                    self.bytes.extend_from_slice(&length.to_le_bytes());
                    self.bytes.extend_from_slice(part);
                }
            }
            // Each before a NUL.
            Protocol::Scgi => {
                for part in [name, value] {
                    self.bytes.extend(part.iter().filter(|&&b| b != 0));
                    self.bytes.push(0);
                }
            }
        }
    }

    fn all(&mut self, head: &[u8], facts: &Facts<'_>) {
        let own = &facts.call.program.params;
        let mut put = |name: &str, value: &[u8]| {
            if !own.contains_key(name) {
                self.put(name.as_bytes(), value);
            }
        };
        let mut lines = head.split(|&b| b == b'\n').map(<[u8]>::trim_ascii_end);
        let first = lines.next().unwrap_or_default();
        let mut words = first.split(|&b| b == b' ');
        let (method, target) = (
            words.next().unwrap_or_default(),
            words.next().unwrap_or_default(),
        );
        let query = memchr::memchr(b'?', target).map_or(&b""[..], |at| &target[at + 1..]);
        let Call { script, info, .. } = facts.call;
        // SCGI has these two first.
        put("CONTENT_LENGTH", facts.length.to_string().as_bytes());
        if facts.call.program.protocol == Protocol::Scgi {
            put("SCGI", b"1");
        }
        put("GATEWAY_INTERFACE", b"CGI/1.1");
        put("SERVER_SOFTWARE", b"tandem");
        put("SERVER_PROTOCOL", facts.version.as_bytes());
        put("REQUEST_METHOD", method);
        put("REQUEST_URI", facts.uri);
        put("QUERY_STRING", query);
        put("SCRIPT_NAME", script);
        put("DOCUMENT_URI", &[&script[..], info].concat());
        put("PATH_INFO", info);
        if let Some(file) = facts.call.file() {
            put("SCRIPT_FILENAME", file.as_os_str().as_bytes());
        }
        if let Some(root) = &facts.call.root {
            put("DOCUMENT_ROOT", root.as_os_str().as_bytes());
        }
        // PHP that is built to run as a CGI program by redirects alone wants to see one.
        put("REDIRECT_STATUS", b"200");
        let scheme = if facts.secure { "https" } else { "http" };
        put("REQUEST_SCHEME", scheme.as_bytes());
        if facts.secure {
            put("HTTPS", b"on");
        }
        let client = facts.client.ip().to_canonical().to_string();
        put("REMOTE_ADDR", client.as_bytes());
        if facts.client.port() != 0 {
            put("REMOTE_PORT", facts.client.port().to_string().as_bytes());
        }
        if !facts.user.is_empty() {
            put("REMOTE_USER", facts.user.as_bytes());
        }
        if let Some(server) = facts.server {
            let ip = server.ip().to_canonical().to_string();
            put("SERVER_ADDR", ip.as_bytes());
        }
        let mut fields = Fields::default();
        for line in lines.filter(|line| !line.is_empty()) {
            fields.add(line);
        }
        let host = fields.get(b"HTTP_HOST").unwrap_or_default();
        let (name, port) = name_and_port(host);
        put("SERVER_NAME", name);
        let usual: &[u8] = if facts.secure { b"443" } else { b"80" };
        put("SERVER_PORT", port.unwrap_or(usual));
        put(
            "CONTENT_TYPE",
            fields.get(b"CONTENT_TYPE").unwrap_or_default(),
        );
        for (name, value) in &fields.0 {
            if let Ok(name) = std::str::from_utf8(name)
                && name.starts_with("HTTP_")
            {
                put(name, value);
            }
        }
        for (name, value) in own {
            self.put(name.as_bytes(), value.as_bytes());
        }
    }
}

/// Fields under the names of parameters; those of one name are one.
#[derive(Default)]
struct Fields(Vec<(Vec<u8>, Vec<u8>)>);

impl Fields {
    fn get(&self, name: &[u8]) -> Option<&[u8]> {
        let mut all = self.0.iter();
        all.find(|(known, _)| known == name)
            .map(|(_, value)| &**value)
    }

    fn add(&mut self, line: &[u8]) {
        let Some(colon) = memchr::memchr(b':', line) else {
            return;
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        // `Proxy` would be HTTP_PROXY, which programs take for their own proxy. A name with `_` would be that of another
        // field with `-`. The rest is of the connection, or said otherwise.
        if is(b"proxy")
            || name.contains(&b'_')
            || is(b"content-length")
            || is(b"transfer-encoding")
            || is(b"connection")
            || is(b"te")
            || is(b"upgrade")
        {
            return;
        }
        let upper = name.iter().map(|b| match b {
            b'-' => b'_',
            b => b.to_ascii_uppercase(),
        });
        let upper: Vec<u8> = if is(b"content-type") {
            upper.collect()
        } else {
            b"HTTP_".iter().copied().chain(upper).collect()
        };
        match self.0.iter_mut().find(|(known, _)| *known == upper) {
            None => self.0.push((upper, value.into())),
            Some((name, before)) => {
                let between: &[u8] = if name == b"HTTP_COOKIE" { b"; " } else { b", " };
                before.extend_from_slice(between);
                before.extend_from_slice(value);
            }
        }
    }
}

/// The host's name, and its port if it says one.
fn name_and_port(host: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memrchr(b':', host) {
        Some(colon) if !host[colon..].contains(&b']') => (&host[..colon], Some(&host[colon + 1..])),
        _ => (host, None),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use tandem_model::FastCgi;

    use super::*;

    /// What a program makes of them.
    fn read(mut bytes: &[u8]) -> BTreeMap<String, String> {
        let mut stream = Vec::new();
        let mut begun = false;
        while !bytes.is_empty() {
            let [_, kind, _, _, c, d, ..] = *bytes else {
                panic!("a record has a header")
            };
            let length = usize::from(u16::from_be_bytes([c, d]));
            let content = &bytes[8..8 + length];
            match kind {
                1 => begun = content == [0, 1, 0, 0, 0, 0, 0, 0],
                4 => stream.extend_from_slice(content),
                other => panic!("record {other}"),
            }
            bytes = &bytes[8 + length..];
        }
        assert!(begun);
        let mut params = BTreeMap::new();
        let mut rest = &stream[..];
        while !rest.is_empty() {
            let mut length = || {
                let (length, used) = match rest[0] {
                    short @ 0..128 => (usize::from(short), 1),
                    _ => {
                        let four = rest[..4].try_into().unwrap();
                        ((u32::from_be_bytes(four) & !(1 << 31)) as usize, 4)
                    }
                };
                rest = &rest[used..];
                length
            };
            let (name, value) = (length(), length());
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            let before = params.insert(text(&rest[..name]), text(&rest[name..name + value]));
            assert_eq!(before, None, "each comes once");
            rest = &rest[name + value..];
        }
        params
    }

    fn made(head: &str, params: &[(&str, &str)]) -> BTreeMap<String, String> {
        let own = params.iter();
        let own = own.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let call = Call {
            program: Arc::new(FastCgi {
                root: Some("/srv/shop".into()),
                params: own.collect(),
                ..FastCgi::default()
            }),
            script: b"/a/x.php".into(),
            info: b"/more".into(),
            root: Some("/srv/shop".into()),
            is_there: true,
            uri: None,
        };
        let mut out = Vec::new();
        let facts = Facts {
            call: &call,
            uri: b"/came/x.php/more?q=%20",
            version: "HTTP/1.1",
            client: "10.0.0.9:1234".parse().unwrap(),
            server: Some("[::ffff:10.0.0.1]:8080".parse().unwrap()),
            secure: true,
            user: "ann",
            length: 17,
        };
        write(&mut out, head.as_bytes(), &facts).unwrap();
        read(&out)
    }

    #[test]
    fn parameters_are_those_that_cgi_has() {
        let params = made(
            "POST /a/x.php/more?q=%20 HTTP/1.1\r\nHost: shop.example:8443\r\nContent-Type: text/plain\r\nCookie: a=1\r\nX-A: 1\r\n\
             Cookie: b=2\r\nx-a: 2\r\nContent-Length: 17\r\nTE: trailers\r\nConnection: TE\r\n\r\n",
            &[],
        );
        let expected = [
            ("CONTENT_LENGTH", "17"),
            ("CONTENT_TYPE", "text/plain"),
            ("DOCUMENT_ROOT", "/srv/shop"),
            ("DOCUMENT_URI", "/a/x.php/more"),
            ("GATEWAY_INTERFACE", "CGI/1.1"),
            ("HTTPS", "on"),
            ("HTTP_COOKIE", "a=1; b=2"),
            ("HTTP_HOST", "shop.example:8443"),
            ("HTTP_X_A", "1, 2"),
            ("PATH_INFO", "/more"),
            ("QUERY_STRING", "q=%20"),
            ("REDIRECT_STATUS", "200"),
            ("REMOTE_ADDR", "10.0.0.9"),
            ("REMOTE_PORT", "1234"),
            ("REMOTE_USER", "ann"),
            ("REQUEST_METHOD", "POST"),
            ("REQUEST_SCHEME", "https"),
            ("REQUEST_URI", "/came/x.php/more?q=%20"),
            ("SCRIPT_FILENAME", "/srv/shop/a/x.php"),
            ("SCRIPT_NAME", "/a/x.php"),
            ("SERVER_ADDR", "10.0.0.1"),
            ("SERVER_NAME", "shop.example"),
            ("SERVER_PORT", "8443"),
            ("SERVER_PROTOCOL", "HTTP/1.1"),
            ("SERVER_SOFTWARE", "tandem"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(params, BTreeMap::from(expected));
    }

    #[test]
    fn no_field_of_a_client_is_taken_for_something_else() {
        let params = made(
            "GET / HTTP/1.1\r\nHost: a\r\nProxy: http://evil\r\nX_Forwarded_For: 6.6.6.6\r\nHTTPS: on\r\n\
             REMOTE-USER: root\r\nScript-Filename: /etc/passwd\r\n\r\n",
            &[],
        );
        assert!(!params.contains_key("HTTP_PROXY") && !params.contains_key("HTTP_X_FORWARDED_FOR"));
        assert_eq!(params["REMOTE_USER"], "ann");
        assert_eq!(params["SCRIPT_FILENAME"], "/srv/shop/a/x.php");
        assert_eq!(params["HTTP_REMOTE_USER"], "root");
    }

    /// A request in another protocol, for a program that answers every path.
    fn told(protocol: Protocol, head: &str) -> Result<Vec<u8>, TooLong> {
        let call = Call {
            program: Arc::new(FastCgi {
                protocol,
                params: [("APP_ENV".to_owned(), "test".to_owned())].into(),
                ..FastCgi::default()
            }),
            script: Vec::new(),
            info: b"/a b".into(),
            root: None,
            is_there: false,
            uri: None,
        };
        let mut out = Vec::new();
        let facts = Facts {
            call: &call,
            uri: b"/a%20b",
            version: "HTTP/1.1",
            client: "10.0.0.9:0".parse().unwrap(),
            server: None,
            secure: false,
            user: "",
            length: 3,
        };
        write(&mut out, head.as_bytes(), &facts)?;
        Ok(out)
    }

    #[test]
    fn uwsgi_has_names_and_values_behind_their_lengths_and_no_more_than_it_can_say() {
        let head = |length: usize| {
            let long = "x".repeat(length);
            format!("POST /a%20b HTTP/1.1\r\nHost: a\r\nX-Long: {long}\r\n\r\n")
        };
        let protocol = Protocol::Uwsgi { modifier: 5 };
        let told_of = |length| told(protocol, &head(length));
        let bytes = told_of(300).unwrap();
        let [5, low, high, 0, ref rest @ ..] = bytes[..] else {
            panic!("{bytes:?} has a header");
        };
        assert_eq!(rest.len(), usize::from(u16::from_le_bytes([low, high])));
        let (mut rest, mut params) = (rest, BTreeMap::new());
        while !rest.is_empty() {
            let mut part = || {
                let length = usize::from(u16::from_le_bytes([rest[0], rest[1]]));
                let (part, behind) = rest[2..].split_at(length);
                rest = behind;
                String::from_utf8(part.to_vec()).unwrap()
            };
            let (name, value) = (part(), part());
            assert_eq!(params.insert(name, value), None, "each comes once");
        }
        for (name, value) in [
            ("CONTENT_LENGTH", "3"),
            ("PATH_INFO", "/a b"),
            ("REQUEST_URI", "/a%20b"),
            ("SCRIPT_NAME", ""),
            ("APP_ENV", "test"),
            ("HTTP_X_LONG", &"x".repeat(300)),
        ] {
            assert_eq!(params[name], value, "{name}");
        }
        assert!(told_of(60_000).is_ok());
        assert_eq!(told_of(65_500), Err(TooLong));
        assert_eq!(told_of(70_000), Err(TooLong));
    }

    #[test]
    fn scgi_is_a_netstring_that_begins_with_the_length() {
        let head = "POST /a%20b HTTP/1.1\r\nHost: a\r\n\r\n";
        let bytes = told(Protocol::Scgi, head).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let (length, rest) = text.split_once(':').unwrap();
        let netstring = rest.strip_suffix(',').expect("its end");
        assert_eq!(netstring.len(), length.parse::<usize>().unwrap());
        assert!(
            netstring.starts_with("CONTENT_LENGTH\u{0}3\u{0}SCGI\u{0}1\u{0}"),
            "{netstring:?}"
        );
        assert!(
            netstring.contains("\u{0}PATH_INFO\u{0}/a b\u{0}"),
            "{netstring:?}"
        );
        assert_eq!(netstring.matches("CONTENT_LENGTH\u{0}").count(), 1);
    }

    #[test]
    fn long_values_and_many_are_whole_and_the_files_parameters_win() {
        let long = "x".repeat(70_000);
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\nX-Long: {long}\r\n\r\n");
        let params = made(
            &head,
            &[("SERVER_SOFTWARE", "other"), ("APP_ENV", "production")],
        );
        assert_eq!(params["HTTP_X_LONG"], long);
        assert_eq!(params["SERVER_SOFTWARE"], "other");
        assert_eq!(params["APP_ENV"], "production");
        assert_eq!(params["SERVER_PORT"], "443");
    }
}
