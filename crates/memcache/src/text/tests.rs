//! Requests and refusals, line by line. What memcached itself answers is compared in tandem-cache's tests, where
//! there is a store behind the loop.

use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits { max_value: 1000 };

/// What became of one line, in short.
fn outcome(input: &[u8]) -> (String, usize) {
    match parse(input, 0, LIMITS) {
        Parsed::More { need, .. } => ("more".into(), need),
        Parsed::Request {
            request,
            noreply,
            consumed,
        } => {
            let silent = if noreply { " silently" } else { "" };
            (format!("{}{silent}", brief(&request)), consumed)
        }
        Parsed::Refused(refusal) => {
            let silent = if refusal.noreply { " silently" } else { "" };
            (format!("{:?}{silent}", refusal.error), refusal.consumed)
        }
        Parsed::Close(error) => (format!("close {error:?}"), 0),
    }
}

fn brief(request: &Request<'_>) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match *request {
        Request::Retrieve {
            keys,
            exptime,
            versions,
        } => {
            let keys: Vec<_> = keys.iter().map(text).collect();
            format!("retrieve {keys:?} {exptime:?} {versions}")
        }
        Request::Store {
            mode,
            key,
            flags,
            exptime,
            value,
        } => format!("{mode:?} {} {flags} {exptime} {}", text(key), text(value)),
        Request::Delete { key } => format!("delete {}", text(key)),
        Request::Touch { key, exptime } => format!("touch {} {exptime}", text(key)),
        Request::Arithmetic { key, delta, down } => format!("{} {delta} {down}", text(key)),
        Request::FlushAll { exptime } => format!("flush {exptime}"),
        Request::Stats { argument } => format!("stats <{}>", text(argument)),
        Request::Version => "version".into(),
        Request::Verbosity(level) => format!("verbosity {level}"),
        Request::Quit => "quit".into(),
        Request::Meta(meta) => format!("{:?} {}", meta.verb, text(meta.key)),
        Request::MetaNoop => "mn".into(),
        Request::Shutdown { graceful } => format!("shutdown {graceful:?}"),
        Request::MemoryLimit { megabytes } => format!("limit {megabytes}"),
        Request::Admin(admin) => format!("{admin:?}"),
    }
}

#[test]
fn every_command_is_read_as_memcached_reads_it() {
    for (line, expected) in [
        ("get a\r\n", r#"retrieve ["a"] None false"#),
        ("get a\n", r#"retrieve ["a"] None false"#),
        ("  get  a  b \r\n", r#"retrieve ["a", "b"] None false"#),
        ("gets a a\r\n", r#"retrieve ["a", "a"] None true"#),
        ("gets noreply\r\n", r#"retrieve ["noreply"] None true"#),
        ("gat 5 a b\r\n", r#"retrieve ["a", "b"] Some(5) false"#),
        ("gats -1 a\r\n", r#"retrieve ["a"] Some(-1) true"#),
        ("gat 0\r\n", "retrieve [] Some(0) false"),
        ("set k 1 2 3\r\nabc\r\n", "Set k 1 2 abc"),
        ("set k +1 -2 +03\r\nabc\r\n", "Set k 1 -2 abc"),
        ("set k 1 2 3 noreply\r\nabc\r\n", "Set k 1 2 abc silently"),
        ("set k 1 2 3 bogus\r\nabc\r\n", "Set k 1 2 abc"),
        ("set k 1 2 2\r\n\r\n\r\n", "Set k 1 2 \r\n"),
        ("set k 1 2 0\r\n\r\n", "Set k 1 2 "),
        ("add k 1 2 1\r\nx\r\n", "Add k 1 2 x"),
        ("replace k 1 2 1\r\nx\r\n", "Replace k 1 2 x"),
        ("append k 1 2 1\r\nx\r\n", "Append k 1 2 x"),
        ("prepend k 1 2 1\r\nx\r\n", "Prepend k 1 2 x"),
        ("cas k 1 2 1 99\r\nx\r\n", "Cas(99) k 1 2 x"),
        (
            "cas k 1 2 1 99 noreply\r\nx\r\n",
            "Cas(99) k 1 2 x silently",
        ),
        ("delete k\r\n", "delete k"),
        ("delete k 0\r\n", "delete k"),
        ("delete k noreply\r\n", "delete k silently"),
        ("delete k 0 noreply\r\n", "delete k silently"),
        ("delete noreply\r\n", "delete noreply"),
        ("incr k 5\r\n", "k 5 false"),
        (
            "decr k 18446744073709551615 noreply\r\n",
            "k 18446744073709551615 true silently",
        ),
        ("touch k 5\r\n", "touch k 5"),
        ("touch k -5 noreply\r\n", "touch k -5 silently"),
        ("flush_all\r\n", "flush 0"),
        ("flush_all noreply\r\n", "flush 0 silently"),
        ("flush_all 10 noreply\r\n", "flush 10 silently"),
        ("flush_all -1\r\n", "flush -1"),
        ("stats\r\n", "stats <>"),
        ("stats  detail  on\r\n", "stats <detail  on>"),
        ("version\r\n", "version"),
        ("version please\r\n", "version"),
        ("verbosity 1\r\n", "verbosity 1"),
        ("verbosity 1 noreply\r\n", "verbosity 1 silently"),
        ("quit\r\n", "quit"),
    ] {
        assert_eq!(
            outcome(line.as_bytes()),
            (expected.into(), line.len()),
            "{line:?}"
        );
    }
}

#[test]
fn a_bad_line_is_refused_with_memcacheds_words_and_the_next_one_is_read() {
    let long = "k".repeat(MAX_KEY + 1);
    let unknown = "Unknown";
    let format = r#"Client("bad command line format")"#;
    let exptime = r#"Client("invalid exptime argument")"#;
    let delta = r#"Client("invalid numeric delta argument")"#;
    let delete = r#"Client("bad command line format.  Usage: delete <key> [noreply]")"#;
    for (line, expected) in [
        (String::new(), unknown),
        ("  ".into(), unknown),
        ("\r".into(), unknown),
        ("GET a".into(), unknown),
        ("get".into(), unknown),
        ("get ".into(), unknown),
        ("getx a".into(), unknown),
        (format!("get {long}"), format),
        (format!("get a {long}"), format),
        ("get a\u{1}b".into(), format),
        ("get a\tb".into(), format),
        ("get a\0b".into(), format),
        ("gat".into(), unknown),
        ("gat abc k".into(), exptime),
        ("set".into(), unknown),
        ("set k 0 0".into(), unknown),
        ("set k 0 0 3 noreply extra".into(), unknown),
        ("set k -1 0 3".into(), format),
        ("set k 4294967296 0 3".into(), format),
        ("set k 0 abc 3".into(), format),
        ("set k 0 0 -1".into(), format),
        ("set k 0 0 2147483646".into(), format),
        ("set k 0 0 99999999999999999999".into(), format),
        (format!("set {long} 0 0 3"), format),
        ("cas k 0 0 3".into(), unknown),
        ("cas k 0 0 3 x".into(), format),
        ("cas k 0 0 3 -1".into(), format),
        (
            "cas k 0 0 3 noreply".into(),
            "Client(\"bad command line format\") silently",
        ),
        ("delete".into(), unknown),
        ("delete k 1".into(), delete),
        ("delete k 0 0".into(), delete),
        ("delete k 0 noreply x".into(), unknown),
        (format!("delete {long}"), format),
        ("incr k".into(), unknown),
        ("incr k abc".into(), delta),
        ("incr k -1".into(), delta),
        ("incr k 18446744073709551616".into(), delta),
        (
            "incr k abc noreply".into(),
            "Client(\"invalid numeric delta argument\") silently",
        ),
        (format!("incr {long} 1"), format),
        ("touch k".into(), unknown),
        ("touch k abc".into(), exptime),
        ("flush_all abc".into(), exptime),
        ("flush_all 1 2 3".into(), unknown),
        ("verbosity".into(), unknown),
        ("verbosity abc".into(), format),
        ("a b c d e f g h i j k l m n".into(), unknown),
    ] {
        let (got, consumed) = outcome(format!("{line}\r\nversion\r\n").as_bytes());
        assert_eq!(got, expected, "{line:?}");
        assert_eq!(consumed, line.len() + 2, "{line:?}");
    }
}

#[test]
fn a_value_without_its_line_end_is_refused_where_memcached_stops_reading() {
    let bad = (String::from(r#"Client("bad data chunk")"#), 18);
    assert_eq!(outcome(b"set k 0 0 3\r\nabcdef\r\n"), bad);
    assert_eq!(outcome(b"set k 0 0 3\r\nabc\rX"), bad);
}

#[test]
fn a_value_over_the_limit_is_refused_and_its_bytes_are_to_be_skipped() {
    let Parsed::Refused(refusal) = parse(b"set k 0 0 2147483645 noreply\r\n", 0, LIMITS) else {
        panic!("not refused");
    };
    assert_eq!(refusal.error, TOO_LARGE);
    assert_eq!(refusal.swallow, 2_147_483_647);
    assert_eq!(refusal.set_refused, Some(&b"k"[..]));
    assert!(refusal.noreply);
    let Parsed::Refused(refusal) = parse(b"add k 0 0 1001\r\n", 0, LIMITS) else {
        panic!("not refused");
    };
    assert_eq!(refusal.set_refused, None, "only a set replaces for sure");
}

#[test]
fn a_long_line_is_a_retrieval_or_the_end() {
    let closed = "close Some(Client(\"line too long\"))";
    let keys = "k ".repeat(20_000);
    assert_eq!(outcome(&vec![b'x'; MAX_LINE]).0, "more");
    assert_eq!(outcome(&vec![b'x'; MAX_LINE + 1]).0, closed);
    assert_eq!(outcome(format!("set {keys}").as_bytes()).0, closed);
    assert_eq!(outcome(format!("get {keys}").as_bytes()).0, "more");
    assert_eq!(outcome(format!("  gats 1 {keys}").as_bytes()).0, "more");
    assert!(
        outcome(format!("get {keys}\r\n").as_bytes())
            .0
            .starts_with("retrieve")
    );
    let endless = "k ".repeat(MAX_RETRIEVAL_LINE / 2);
    assert_eq!(outcome(format!("get {endless}").as_bytes()).0, closed);
    assert_eq!(outcome(" ".repeat(MAX_LINE + 1).as_bytes()).0, closed);
}

#[test]
fn a_browser_is_hung_up_on() {
    assert_eq!(outcome(b"GET / HTTP/1.1\r\nHost: x\r\n").0, "close None");
    assert_eq!(outcome(b"POST /?set HTTP/1.0\r\n").0, "close None");
}

proptest! {
    #[test]
    fn no_input_is_too_strange(input in proptest::collection::vec(any::<u8>(), 0..300)) {
        match parse(&input, 0, LIMITS) {
            Parsed::More { need, .. } => prop_assert!(need > input.len()),
            Parsed::Request { consumed, .. } => prop_assert!((1..=input.len()).contains(&consumed)),
            Parsed::Refused(refusal) => prop_assert!((1..=input.len()).contains(&refusal.consumed)),
            Parsed::Close(_) => {}
        }
    }

    #[test]
    fn words_in_any_order_are_read_without_harm(
        words in proptest::collection::vec("(get|set|cas|incr|delete|touch|gat|stats|noreply|k|0|3|-1|99999999999) ?", 0..9),
        end in "(\r\n|\n|\r|)(abc)?(\r\n)?",
    ) {
        let input = format!("{}{end}", words.concat());
        if let Parsed::Request { consumed, .. } = parse(input.as_bytes(), 0, LIMITS) {
            prop_assert!(consumed <= input.len());
        }
    }

    #[test]
    fn a_beginning_asks_for_no_more_than_is_needed(cut in 0usize..24) {
        let whole = b"set key 0 0 3\r\nabc\r\nget x\r\n";
        let request = &whole[..20];
        if cut < request.len() {
            let Parsed::More { need, .. } = parse(&whole[..cut], 0, LIMITS) else {
                return Err(TestCaseError::fail("complete too early"));
            };
            prop_assert!(need > cut && need <= request.len());
        }
    }
}
