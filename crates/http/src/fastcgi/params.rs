//! A request's parameters (RFC 3875 section 4.1), made of the head that a server of HTTP would get: so what the file says of
//! fields holds here, too.

use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;

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

/// Appends the beginning of a request: all but its body. `head` is what rewriting has made: lines that end with CRLF.
pub(crate) fn write(out: &mut Vec<u8>, head: &[u8], facts: &Facts<'_>) {
    records::begin(out);
    let mut params = Params::default();
    params.all(head, facts);
    for piece in params.0.chunks(MOST) {
        out.extend_from_slice(&records::record(Kind::Params, piece.len()));
        out.extend_from_slice(piece);
    }
    out.extend_from_slice(&records::record(Kind::Params, 0));
}

/// Names and values, each behind its length.
#[derive(Default)]
struct Params(Vec<u8>);

impl Params {
    fn put(&mut self, name: &[u8], value: &[u8]) {
        for length in [name.len(), value.len()] {
            match u8::try_from(length) {
                Ok(short @ 0..128) => self.0.push(short),
                _ => self
                    .0
                    .extend_from_slice(&(length as u32 | 1 << 31).to_be_bytes()),
            }
        }
        self.0.extend_from_slice(name);
        self.0.extend_from_slice(value);
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
        put("CONTENT_LENGTH", facts.length.to_string().as_bytes());
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
        write(&mut out, head.as_bytes(), &facts);
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
