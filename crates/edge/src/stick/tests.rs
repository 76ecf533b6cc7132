use std::net::IpAddr;
use std::sync::OnceLock;

use super::*;
use crate::balance::testing::servers;
use crate::testing::{with_request, with_request_from};

fn sticker(by: StickBy, secret: Option<&str>) -> Sticker {
    static TABLE: OnceLock<Arc<Table>> = OnceLock::new();
    let stick = Stick {
        by,
        gone: Gone::Rebalance,
    };
    let secret = secret.map(Secret::new);
    Sticker::new(&stick, &"shop".into(), false, secret.as_ref(), || {
        let made = || Arc::new(Table::new(Instant::now()));
        TABLE.get_or_init(made).clone()
    })
}

fn two() -> Arc<[Arc<Server>]> {
    servers(&[0, 0]).into()
}

fn cookie(change: impl FnOnce(&mut StickCookie)) -> StickBy {
    let mut cookie = StickCookie::default();
    change(&mut cookie);
    StickBy::Cookie(cookie)
}

/// Which server a request's client had.
fn found(sticker: &Sticker, servers: &Arc<[Arc<Server>]>, head: &str) -> Found {
    let head = format!("GET {head}\r\n\r\n");
    with_request(&head, |request| sticker.find(request, servers))
}

fn name(found: &Found) -> Option<&str> {
    found.server.as_ref().map(|server| &*server.key.name)
}

#[test]
fn a_cookie_is_set_when_it_is_needed_and_only_then() {
    let (sticker, all) = (sticker(cookie(|_| {}), None), two());
    let first = found(&sticker, &all, "/ HTTP/1.1\r\nHost: a");
    assert_eq!(name(&first), None);
    let edits = sticker.keep(&first, &all[1], &all).expect("it is set");
    assert_eq!(
        edits.set.as_deref(),
        Some(&b"Set-Cookie: tandem=s1; Path=/; HttpOnly; SameSite=Lax\r\n"[..])
    );
    assert_eq!(edits.hide, None);

    let back = found(
        &sticker,
        &all,
        "/ HTTP/1.1\r\nHost: a\r\nCookie: x=1; tandem=s1",
    );
    assert_eq!(name(&back), Some("s1"));
    let edits = sticker.keep(&back, &all[1], &all).expect("it is hidden");
    assert_eq!((edits.set, edits.hide.as_deref()), (None, Some("tandem")));
    let edits = sticker.keep(&back, &all[0], &all).expect("another server");
    assert!(
        edits
            .set
            .is_some_and(|line| line.starts_with(b"Set-Cookie: tandem=s0;"))
    );
}

#[test]
fn where_there_is_one_server_nothing_is_set() {
    let sticker = sticker(cookie(|_| {}), None);
    let one: Arc<[Arc<Server>]> = servers(&[0]).into();
    let first = found(&sticker, &one, "/ HTTP/1.1\r\nHost: a");
    assert_eq!(sticker.keep(&first, &one[0], &one), None);
    let old = found(&sticker, &one, "/ HTTP/1.1\r\nHost: a\r\nCookie: tandem=s7");
    let edits = sticker.keep(&old, &one[0], &one).expect("it is hidden");
    assert_eq!((edits.set, edits.hide.as_deref()), (None, Some("tandem")));
}

#[test]
fn a_cookies_attributes_are_as_the_file_says() {
    let by = cookie(|c| {
        *c = StickCookie {
            name: "SRV".into(),
            signed: false,
            path: "/shop".into(),
            domain: Some("a.example".into()),
            secure: Some(true),
            http_only: false,
            same_site: None,
            max_age: Some(Duration::from_hours(1)),
        }
    });
    let (sticker, all) = (sticker(by, None), two());
    let first = found(&sticker, &all, "/ HTTP/1.1\r\nHost: a");
    let edits = sticker.keep(&first, &all[0], &all).expect("it is set");
    assert_eq!(
        edits.set.as_deref(),
        Some(&b"Set-Cookie: SRV=s0; Path=/shop; Domain=a.example; Max-Age=3600; Secure\r\n"[..])
    );
}

#[test]
fn a_signed_cookie_of_anyone_else_means_nothing() {
    let all = two();
    let signed = |key| sticker(cookie(|c| c.signed = true), Some(key));
    let (mine, other) = (signed("key"), signed("other key"));
    let id = mine.id_of(&all[1], &all).expect("it is there");
    let head = format!("/ HTTP/1.1\r\nHost: a\r\nCookie: tandem={id}");
    assert_eq!(name(&found(&mine, &all, &head)), Some("s1"));
    assert_eq!(name(&found(&other, &all, &head)), None);
    for forged in ["s1", "s1.", "s1.00000000000000000000000000000000"] {
        let head = format!("/ HTTP/1.1\r\nHost: a\r\nCookie: tandem={forged}");
        assert_eq!(name(&found(&mine, &all, &head)), None, "{forged}");
    }
}

#[test]
fn a_tomcats_route_is_read_from_its_cookie_and_from_the_path() {
    let by = StickBy::JvmRoute {
        name: "JSESSIONID".into(),
    };
    let (sticker, all) = (sticker(by, None), two());
    for (head, expected) in [
        (
            "/ HTTP/1.1\r\nHost: a\r\nCookie: JSESSIONID=AB.C.s1",
            Some("s1"),
        ),
        ("/a;jsessionid=AB.s0?x HTTP/1.1\r\nHost: a", Some("s0")),
        (
            "/a;jsessionid=AB.s0 HTTP/1.1\r\nHost: a\r\nCookie: JSESSIONID=AB.s1",
            Some("s1"),
        ),
        (
            "/ HTTP/1.1\r\nHost: a\r\nCookie: JSESSIONID=old.gone; JSESSIONID=AB.s1",
            Some("s1"),
        ),
        (
            "/ HTTP/1.1\r\nHost: a\r\nCookie: JSESSIONID=AB.s1/2",
            Some("s1"),
        ),
        ("/ HTTP/1.1\r\nHost: a\r\nCookie: JSESSIONID=AB", None),
        ("/ HTTP/1.1\r\nHost: a\r\nCookie: JSESSIONID=AB.s11", None),
        ("/ HTTP/1.1\r\nHost: a", None),
    ] {
        let found = found(&sticker, &all, head);
        assert_eq!(name(&found), expected, "{head}");
        assert_eq!(
            sticker.keep(&found, &all[0], &all),
            None,
            "it is the application's"
        );
    }
    all[0].set_stick_id(Some("jvm-a"));
    let all: Arc<[Arc<Server>]> = all.iter().cloned().collect();
    let head = "/ HTTP/1.1\r\nHost: a\r\nCookie: JSESSIONID=AB.jvm-a";
    assert_eq!(name(&found(&sticker, &all, head)), Some("s0"));
}

#[test]
fn a_prefix_of_the_applications_own_cookie_says_the_server() {
    let by = StickBy::Prefix { name: "sid".into() };
    let (sticker, all) = (sticker(by, None), two());
    for (cookie, expected) in [("s1~abc", Some("s1")), ("s1", None), ("s9~abc", None)] {
        let head = format!("/ HTTP/1.1\r\nHost: a\r\nCookie: sid={cookie}");
        let found = found(&sticker, &all, &head);
        assert_eq!(name(&found), expected, "{cookie}");
        let edits = sticker
            .keep(&found, &all[0], &all)
            .expect("values are changed");
        let prefix = edits.prefix.expect("a prefix");
        assert_eq!((&*prefix.name, &*prefix.value), ("sid", "s0"));
    }
}

#[test]
fn a_clients_address_is_remembered() {
    let by = StickBy::Source {
        expires: Duration::from_mins(30),
    };
    let (sticker, all) = (sticker(by, None), two());
    for (i, server) in all.iter().enumerate() {
        let set = |n: u8, request: &Request<'_>| {
            let found = sticker.find(request, &all);
            assert!(found.server.is_none(), "{n} is new");
            sticker.keep(&found, server, &all)
        };
        let client = IpAddr::from([192, 0, 2, i as u8]);
        let edits = with_request_from("GET / HTTP/1.1\r\nHost: a\r\n\r\n", client, false, |r| {
            set(i as u8, r)
        });
        assert_eq!(edits, None);
        // Both have token 0 here; what counts is that it is found again.
        let found = with_request_from("GET / HTTP/1.1\r\nHost: a\r\n\r\n", client, false, |r| {
            sticker.find(r, &all)
        });
        assert!(found.server.is_some());
    }
}
