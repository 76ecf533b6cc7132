use super::*;
use crate::strictness;
use proptest::prelude::*;

fn parse(text: &[u8]) -> Result<Option<Head>, HeadError> {
    let mut head = Head::default();
    head.parse(text).map(|complete| complete.then_some(head))
}

fn good(text: &str) -> Head {
    parse(text.as_bytes()).unwrap().unwrap()
}

#[test]
fn a_head_is_read_as_offsets() {
    let text = "POST /a%20b?c=d HTTP/1.1\r\nHost: a.example:81\r\nContent-Length: 5\r\nX:  y \r\n\r\nhello";
    let head = good(text);
    let bytes = text.as_bytes();
    assert_eq!(head.length(), text.len() - 5);
    assert_eq!(head.method(bytes), b"POST");
    assert_eq!(head.target(bytes), b"/a%20b?c=d");
    assert_eq!(head.path(bytes), b"/a b");
    assert_eq!(head.host(bytes), b"a.example:81");
    assert_eq!(head.body(), BodyLength::Known(5));
    assert!(head.keep_alive());
    assert_eq!(head.fields(bytes).last(), Some((&b"X"[..], &b"y"[..])));
}

#[test]
fn an_absolute_target_wins_over_the_host_field() {
    for (target, origin, path, host) in [
        ("http://b.example:8080/x?y", "/x?y", "/x", "b.example:8080"),
        ("HTTPS://b.example", "/", "/", "b.example"),
        ("http://b.example?x=/y", "/?x=/y", "/", "b.example"),
        ("http://[::1]:80/", "/", "/", "[::1]:80"),
    ] {
        let text = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        let head = good(&text);
        assert_eq!(head.target(text.as_bytes()), origin.as_bytes());
        assert_eq!(head.path(text.as_bytes()), path.as_bytes());
        assert_eq!(head.host(text.as_bytes()), host.as_bytes());
    }
}

#[test]
fn options_of_an_authority_alone_are_those_of_the_server() {
    let text = "OPTIONS http://b.example HTTP/1.1\r\nHost: a\r\n\r\n";
    let head = good(text);
    assert_eq!(head.target(text.as_bytes()), b"*");
    assert_eq!(head.path(text.as_bytes()), b"*");
    for target in ["?x", "*"] {
        let text = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(parse(text.as_bytes()).unwrap_err().status(), 400);
    }
}

#[test]
fn connections_are_kept_as_the_rfc_says() {
    for (version, connection, kept) in [
        (1, "", true),
        (1, "Connection: close\r\n", false),
        (1, "Connection: x, Close\r\n", false),
        (0, "", false),
        (0, "Connection: keep-alive\r\n", true),
        (0, "Connection: keep-alive, close\r\n", false),
    ] {
        let head = good(&format!(
            "GET / HTTP/1.{version}\r\nHost: a\r\n{connection}\r\n"
        ));
        assert_eq!(head.keep_alive(), kept, "{version} {connection}");
    }
}

#[test]
fn an_upgrade_is_one_to_a_protocol_that_is_not_http() {
    for (fields, expected) in [
        ("Connection: Upgrade\r\nUpgrade: websocket\r\n", true),
        ("Upgrade: websocket\r\n", false),
        ("Connection: Upgrade\r\n", false),
        (
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n",
            false,
        ),
        ("Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n", false),
        (
            "Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n",
            false,
        ),
        (
            "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 3\r\n",
            false,
        ),
    ] {
        let head = good(&format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
        assert_eq!(head.upgrade(), expected, "{fields}");
    }
}

/// A part of the strictness list. `H` stands for a good Host line.
const REFUSED: &[(&str, &Rule)] = &[
    (
        "GET / HTTP/1.1\r\nHContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        strictness::LENGTH_AND_CODING,
    ),
    (
        "GET / HTTP/1.1\r\nHContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        strictness::TWO_LENGTHS,
    ),
    (
        "GET / HTTP/1.1\r\nHContent-Length: 1, 1\r\n\r\n",
        strictness::LENGTH,
    ),
    (
        "GET / HTTP/1.1\r\nHContent-Length: +1\r\n\r\n",
        strictness::LENGTH,
    ),
    (
        "GET / HTTP/1.1\r\nHContent-Length: -1\r\n\r\n",
        strictness::LENGTH,
    ),
    (
        "GET / HTTP/1.1\r\nHContent-Length: 0x1\r\n\r\n",
        strictness::LENGTH,
    ),
    (
        "GET / HTTP/1.1\r\nHContent-Length:\r\n\r\n",
        strictness::LENGTH,
    ),
    (
        "GET / HTTP/1.1\r\nHContent-Length: 99999999999999999999\r\n\r\n",
        strictness::LENGTH,
    ),
    (
        "GET / HTTP/1.1\r\nHTransfer-Encoding: gzip, chunked\r\n\r\n",
        strictness::CODING,
    ),
    (
        "GET / HTTP/1.1\r\nHTransfer-Encoding: chunked, gzip\r\n\r\n",
        strictness::CODING,
    ),
    (
        "GET / HTTP/1.1\r\nHTransfer-Encoding: chunked, chunked\r\n\r\n",
        strictness::CODING,
    ),
    (
        "GET / HTTP/1.1\r\nHTransfer-Encoding: identity\r\n\r\n",
        strictness::CODING,
    ),
    (
        "GET / HTTP/1.1\r\nHTransfer-Encoding: \"chunked\"\r\n\r\n",
        strictness::CODING,
    ),
    (
        "GET / HTTP/1.1\r\nHTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        strictness::CODING,
    ),
    (
        "GET / HTTP/1.1\r\nHTransfer-Encoding:\r\n\r\n",
        strictness::CODING,
    ),
    (
        "GET / HTTP/1.1\r\nHTransfer-Encoding: \x0bchunked\r\n\r\n",
        strictness::FIELD_VALUE,
    ),
    (
        "GET / HTTP/1.1\r\nHTransfer-Encoding : chunked\r\n\r\n",
        strictness::SPACE_BEFORE_COLON,
    ),
    (
        "GET / HTTP/1.1\r\nHX: a\r\n folded\r\n\r\n",
        strictness::FOLDED,
    ),
    ("GET / HTTP/1.1\r\n H\r\n\r\n", strictness::FOLDED),
    (
        "GET / HTTP/1.1\r\nHX: a\nY: b\r\n\r\n",
        strictness::LINE_END,
    ),
    ("GET / HTTP/1.1\nH\r\n", strictness::LINE_END),
    ("GET / HTTP/1.1\r\nHX: a\r\n\n", strictness::LINE_END),
    (
        "GET / HTTP/1.1\r\nHX: a\rY: b\r\n\r\n",
        strictness::FIELD_VALUE,
    ),
    (
        "GET / HTTP/1.1\r\nHX: a\0b\r\n\r\n",
        strictness::FIELD_VALUE,
    ),
    (
        "GET / HTTP/1.1\r\nHX: a\x01b\r\n\r\n",
        strictness::FIELD_VALUE,
    ),
    (
        "GET / HTTP/1.1\r\nHX: a\x7fb\r\n\r\n",
        strictness::FIELD_VALUE,
    ),
    (
        "GET / HTTP/1.1\r\nHX\x00Y: a\r\n\r\n",
        strictness::FIELD_NAME,
    ),
    (
        "GET / HTTP/1.1\r\nH: nameless\r\n\r\n",
        strictness::FIELD_NAME,
    ),
    (
        "GET / HTTP/1.1\r\nHno colon\r\n\r\n",
        strictness::FIELD_NAME,
    ),
    ("GET / HTTP/1.1\r\nHX Y: a\r\n\r\n", strictness::FIELD_NAME),
    ("GET / HTTP/1.1\r\n\r\n", strictness::NO_HOST),
    ("GET / HTTP/1.1\r\nHHost: b\r\n\r\n", strictness::TWO_HOSTS),
    ("GET / HTTP/1.1\r\nHHost: a\r\n\r\n", strictness::TWO_HOSTS),
    ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", strictness::HOST),
    ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", strictness::HOST),
    ("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", strictness::HOST),
    ("GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", strictness::HOST),
    ("GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", strictness::HOST),
    ("GET / HTTP/1.1\r\nHost: a:1:2\r\n\r\n", strictness::HOST),
    ("GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", strictness::HOST),
    ("GET / HTTP/1.1\r\nHost: a%zz\r\n\r\n", strictness::HOST),
    ("GET / HTTP/1.1\r\nHost: a%4\r\n\r\n", strictness::HOST),
    ("GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", strictness::HOST),
    ("GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n", strictness::HOST),
    ("GET / HTTP/1.1\r\nHost: a\u{e9}\r\n\r\n", strictness::HOST),
    (
        "GET / HTTP/1.0\r\nHTransfer-Encoding: chunked\r\n\r\n",
        strictness::CODING_IN_1_0,
    ),
    ("GET  / HTTP/1.1\r\nH\r\n", strictness::REQUEST_LINE),
    ("GET /  HTTP/1.1\r\nH\r\n", strictness::REQUEST_LINE),
    ("GET\t/ HTTP/1.1\r\nH\r\n", strictness::REQUEST_LINE),
    ("GET / HTTP/1.1 \r\nH\r\n", strictness::REQUEST_LINE),
    ("GET /\r\nH\r\n", strictness::REQUEST_LINE),
    ("GET\r\n\r\n", strictness::REQUEST_LINE),
    ("GE(T / HTTP/1.1\r\nH\r\n", strictness::REQUEST_LINE),
    ("GET a HTTP/1.1\r\nH\r\n", strictness::NO_PATH),
    ("GET * HTTP/1.1\r\nH\r\n", strictness::NO_PATH),
    ("GET ftp://a/ HTTP/1.1\r\nH\r\n", strictness::NO_PATH),
    ("GET http:///a HTTP/1.1\r\nH\r\n", strictness::AUTHORITY),
    ("GET http://u@a/ HTTP/1.1\r\nH\r\n", strictness::AUTHORITY),
    ("GET /a#b HTTP/1.1\r\nH\r\n", strictness::TARGET_BYTE),
    ("GET /\u{e9} HTTP/1.1\r\nH\r\n", strictness::TARGET_BYTE),
    ("GET /a\0 HTTP/1.1\r\nH\r\n", strictness::REQUEST_LINE),
    ("GET /../a HTTP/1.1\r\nH\r\n", strictness::CLIMBS),
    (
        "GET /a/..;x/b HTTP/1.1\r\nH\r\n",
        strictness::DOTS_PARAMETER,
    ),
    (
        "GET /a/%2E%3b HTTP/1.1\r\nH\r\n",
        strictness::DOTS_PARAMETER,
    ),
    ("GET /a%00 HTTP/1.1\r\nH\r\n", strictness::PATH_NUL),
    ("GET /a%2 HTTP/1.1\r\nH\r\n", strictness::ESCAPE),
    ("GET / HTTP/2.0\r\nH\r\n", strictness::VERSION),
    ("PRI * HTTP/2.0\r\n\r\n", strictness::VERSION),
    ("GET / HTTP/1.2\r\nH\r\n", strictness::VERSION),
    ("GET / http/1.1\r\nH\r\n", strictness::NOT_HTTP),
    ("GET / FTP/1.1\r\nH\r\n", strictness::NOT_HTTP),
    ("CONNECT a:443 HTTP/1.1\r\nH\r\n", strictness::CONNECT),
    ("\r\nGET / HTTP/1.1\r\nH\r\n", strictness::EMPTY_LINE),
    (" GET / HTTP/1.1\r\nH\r\n", strictness::NOT_HTTP),
    ("\x16\x03\x01", strictness::NOT_HTTP),
];

#[test]
fn what_two_parsers_could_read_differently_is_refused() {
    let mut wrong = Vec::new();
    for (text, rule) in REFUSED {
        let text = text.replacen(
            "\nH",
            "\nHost: a\r\n",
            usize::from(!text.contains("\nHost")),
        );
        let broken = parse(text.as_bytes()).map_err(|HeadError(rule)| rule);
        if broken.as_ref().err() != Some(rule) {
            wrong.push((text, rule.words, broken.map_err(|rule| rule.words)));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_rule_of_heads_has_its_example() {
    // Of bodies, and of what has no such form in HTTP/1.
    let elsewhere = [
        strictness::CHUNKS,
        strictness::NO_PSEUDO_PATH,
        strictness::AUTHORITY_AND_HOST,
        strictness::OF_CONNECTIONS,
        // Under this name in the tests of limits.
        strictness::HEAD_TOO_LARGE,
        strictness::TARGET_TOO_LONG,
    ];
    for rule in strictness::RULES {
        let here = REFUSED.iter().any(|(_, broken)| broken == rule);
        assert!(here != elsewhere.contains(rule), "{rule:?}");
    }
}

#[test]
fn heads_over_a_limit_are_refused_with_its_status() {
    let target = format!(
        "GET /{} HTTP/1.1\r\nHost: a\r\n\r\n",
        "a".repeat(MAX_TARGET)
    );
    let endless = format!("GET /{}", "a".repeat(MAX_TARGET + 100));
    let field = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
        "a".repeat(MAX_HEAD)
    );
    let fields = format!(
        "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
        "X: y\r\n".repeat(MAX_FIELDS)
    );
    for (text, status) in [(target, 414), (endless, 414), (field, 431), (fields, 431)] {
        assert_eq!(parse(text.as_bytes()).unwrap_err().status(), status);
    }
    let most = format!(
        "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
        "X: y\r\n".repeat(MAX_FIELDS - 1)
    );
    assert!(parse(most.as_bytes()).unwrap().is_some());
}

proptest! {
    #[test]
    fn no_input_makes_it_panic_and_no_cut_changes_what_it_says(
        text in "(GET|P) [/a%.*?]{0,9} HTTP/1.[01]\r\n(Host: [a:\\[\\]]{0,3}\r\n)?([TXC][a:\t -]{0,9}\r?\n){0,3}\r?\n?",
        cut in 0usize..80,
    ) {
        let bytes = text.as_bytes();
        let whole = parse(bytes);
        if let Err(error) = parse(&bytes[..cut.min(bytes.len())]) {
            // A head that is refused early is refused when it is complete, too.
            prop_assert_eq!(Err(error.status()), whole.map(|_| ()).map_err(HeadError::status));
        }
    }

    #[test]
    fn what_is_read_another_parser_reads_alike(
        text in "(GET|P'~) [/a%.*?~]{0,9} HTTP/1.[01]\r\n(Host: ?[a:]{0,3}\r\n)?([TXC][a:\t\x0b\u{e9} -]{0,9}\r\n){0,4}\r\n",
    ) {
        let bytes = text.as_bytes();
        if let Ok(Some(head)) = parse(bytes) {
            let mut slots = [httparse::EMPTY_HEADER; 8];
            let mut other = httparse::Request::new(&mut slots);
            prop_assert_eq!(other.parse(bytes), Ok(httparse::Status::Complete(head.length())));
            prop_assert_eq!(other.method.map(str::as_bytes), Some(head.method(bytes)));
            prop_assert_eq!(other.path.map(str::as_bytes), Some(head.target(bytes)));
            prop_assert_eq!(other.version, Some(head.minor()));
            let fields: Vec<_> = other.headers.iter().map(|field| (field.name.as_bytes(), field.value)).collect();
            prop_assert_eq!(head.fields(bytes).collect::<Vec<_>>(), fields);
        }
    }

    #[test]
    fn a_head_is_read_alike_whatever_was_read_before(
        lines in proptest::collection::vec(
            "(GET|OPTIONS|P) (/[a%.?]{0,4}|[*]|http://[b:]{0,2}/?) HTTP/1.[01]\r\n", 1..4
        ),
        fields in proptest::collection::vec(
            "(Host: [a:]{0,2}\r\n)?(Content-Length: [0-9]\r\n|Transfer-Encoding: chunked\r\n|Upgrade: x\r\n)?\
             (Connection: (close|upgrade|x-y)\r\n)?(X-Y:[ a\t]{0,3}\r?\n)?\r\n", 1..3
        ),
        order in proptest::collection::vec((any::<usize>(), any::<usize>(), 0usize..60, any::<bool>()), 1..12),
    ) {
        let mut used = Head::default();
        for (line, field, cut, http2) in order {
            let text = format!("{}{}rest", lines[line % lines.len()], fields[field % fields.len()]);
            // Mostly a whole one.
            let bytes = text.as_bytes();
            let bytes = if cut < 10 { &bytes[..bytes.len().min(cut * 5)] } else { bytes };
            let mut fresh = Head::default();
            // What was cut may be whole without its last bytes only, or with them only.
            let mut is_read = true;
            if http2 {
                let head = &bytes[..bytes.len().saturating_sub(4)];
                let limits = HeadLimits::default();
                let read = fresh.read_http2(head, &limits);
                is_read = read.is_ok();
                prop_assert_eq!(used.read_http2(head, &limits), read);
            } else {
                prop_assert_eq!(used.parse(bytes), fresh.parse(bytes));
            }
            if is_read && fresh.parse(bytes) == Ok(true) {
                let (mut a, mut b) = (used.clone(), fresh.clone());
                (a.http2, b.http2) = (false, false);
                prop_assert_eq!(format!("{a:?}"), format!("{b:?}"));
            }
        }
    }
}
