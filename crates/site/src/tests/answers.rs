//! What is answered to what.

use tandem_http::Moment;

use super::{Directory, ask, get, get_if, handler, on_every_kernel, site, telemetry};
use crate::SiteHandler;

#[tokio::test]
async fn a_file_is_sent_with_its_type_and_validators() {
    let directory = Directory::new();
    directory.write("a/style.css", "body {}");
    let handler = handler(&site(directory.root()));
    let got = get(&handler, "/a/style.css").await;
    assert_eq!((got.status, &got.body[..]), (200, b"body {}".as_slice()));
    assert_eq!(got.field("Content-Type"), Some("text/css; charset=utf-8"));
    assert_eq!(got.field("Accept-Ranges"), Some("bytes"));
    assert!(got.field("Last-Modified").unwrap().ends_with(" GMT"));
    let etag = got.field("ETag").unwrap();
    assert!(etag.starts_with('"') && etag.ends_with('"'));
    assert!(got.fields.ends_with("\r\n"));
}

#[tokio::test]
async fn small_files_come_from_memory_and_large_ones_from_the_file_on_every_kernel() {
    let directory = Directory::new();
    let large: Vec<u8> = (0..100_000u32).map(|i| (i % 251) as u8).collect();
    directory.write("small.txt", "small");
    directory.write("empty.txt", "");
    directory.write("large.bin", &large);
    for (kernel, handler) in on_every_kernel(&directory) {
        for round in 0..2 {
            let small = get(&handler, "/small.txt").await;
            assert_eq!(
                (small.status, &small.body[..], small.from_memory),
                (200, b"small".as_slice(), true)
            );
            let empty = get(&handler, "/empty.txt").await;
            assert_eq!((empty.status, empty.body.len()), (200, 0));
            let all = get(&handler, "/large.bin").await;
            assert_eq!((all.status, all.from_memory), (200, false));
            assert!(all.body == large);
            if round == 1 {
                assert!(
                    !small.later && !empty.later && !all.later,
                    "{kernel:?}: kept files answer at once"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_directory_shows_its_index_and_redirects_to_its_slash() {
    let directory = Directory::new();
    directory.write("index.html", "home");
    directory.write("docs/index.htm", "docs");
    directory.write("empty/x.txt", "x");
    directory.write("a b/index.html", "spaced");
    std::fs::create_dir(directory.root().join("odd")).unwrap();
    std::fs::create_dir(directory.root().join("odd/index.html")).unwrap();
    directory.write("odd/index.htm", "second");
    for (kernel, handler) in on_every_kernel(&directory) {
        for (path, status, body) in [
            ("/", 200, "home"),
            ("/docs/", 200, "docs"),
            ("/odd/", 200, "second"),
            ("/a%20b/", 200, "spaced"),
            ("/index.html/", 404, ""),
            ("/nothing/", 404, ""),
            ("/empty/", 403, ""),
        ] {
            let got = get(&handler, path).await;
            assert_eq!(got.status, status, "{kernel:?} {path}");
            if status == 200 {
                assert_eq!(got.body, body.as_bytes(), "{kernel:?} {path}");
                assert_eq!(got.field("Content-Type"), Some("text/html; charset=utf-8"));
            }
        }
        for (path, location) in [
            ("/docs", "/docs/"),
            ("/docs?a=1&b=%20", "/docs/?a=1&b=%20"),
            ("/a%20b", "/a%20b/"),
            ("//docs", "/docs/"),
            ("/x/../docs", "/docs/"),
        ] {
            let got = get(&handler, path).await;
            assert_eq!(
                (got.status, got.field("Location")),
                (301, Some(location)),
                "{kernel:?} {path}"
            );
        }
    }
}

#[tokio::test]
async fn only_reading_is_allowed() {
    let directory = Directory::new();
    directory.write("a.txt", "a");
    let handler = handler(&site(directory.root()));
    let now = Moment::now();
    for method in ["POST", "PUT", "DELETE", "PATCH", "TRACE", "get", "BREW"] {
        let got = ask(&handler, method, b"/a.txt", &[], now).await;
        assert_eq!(
            (got.status, got.field("Allow")),
            (405, Some("GET, HEAD, OPTIONS")),
            "{method}"
        );
    }
    for path in ["/a.txt", "*"] {
        let got = ask(&handler, "OPTIONS", path.as_bytes(), &[], now).await;
        assert_eq!(
            (got.status, got.field("Allow")),
            (204, Some("GET, HEAD, OPTIONS"))
        );
        assert!(got.body.is_empty());
    }
    let head = ask(&handler, "HEAD", b"/a.txt", &[("Range", "bytes=0-0")], now).await;
    assert_eq!(head.status, 200, "Range means nothing for HEAD");
}

#[tokio::test]
async fn clients_that_may_not_ask_are_refused() {
    let directory = Directory::new();
    directory.write("a.txt", "a");
    let mut site = site(directory.root());
    site.allow = vec!["127.0.0.0/8".parse().unwrap()];
    assert_eq!(get(&handler(&site), "/a.txt").await.status, 200);
    site.deny = vec!["127.0.0.1/32".parse().unwrap()];
    let got = get(&handler(&site), "/a.txt").await;
    assert_eq!(got.status, 403);
    assert!(String::from_utf8(got.body).unwrap().contains("Forbidden"));
}

#[tokio::test]
async fn a_client_that_has_the_file_is_told_so() {
    let directory = Directory::new();
    directory.write("a.txt", "a");
    let handler = handler(&site(directory.root()));
    let first = get(&handler, "/a.txt").await;
    let (etag, modified) = (
        first.field("ETag").unwrap(),
        first.field("Last-Modified").unwrap(),
    );
    for (fields, status) in [
        (&[("If-None-Match", etag)][..], 304),
        (&[("if-none-match", "\"x\""), ("If-None-Match", etag)], 304),
        (&[("If-None-Match", "\"x\"")], 200),
        (&[("If-Modified-Since", modified)], 304),
        (
            &[
                ("If-Modified-Since", modified),
                ("If-Modified-Since", modified),
            ],
            200,
        ),
        (
            &[("If-None-Match", "\"x\""), ("If-Modified-Since", modified)],
            200,
        ),
        (&[("If-Match", etag)], 200),
        (&[("If-Match", "\"x\"")], 412),
        (&[("If-Unmodified-Since", modified)], 200),
        (
            &[("If-Unmodified-Since", "Sun, 06 Nov 1994 08:49:37 GMT")],
            412,
        ),
        (&[("Range", "bytes=0-0"), ("If-None-Match", etag)], 304),
    ] {
        let got = get_if(&handler, "/a.txt", fields).await;
        assert_eq!(got.status, status, "{fields:?}");
        if status == 304 {
            assert!(got.body.is_empty());
            assert_eq!(
                (got.field("ETag"), got.field("Last-Modified")),
                (Some(etag), Some(modified))
            );
            assert_eq!(got.field("Content-Type"), None);
        }
    }
}

#[tokio::test]
async fn a_part_is_sent_from_memory_and_from_the_file() {
    let directory = Directory::new();
    for (name, size) in [("small.txt", 100usize), ("large.txt", 50_000)] {
        let content: Vec<u8> = (0..size).map(|i| b'a' + (i % 26) as u8).collect();
        directory.write(name, &content);
        let handler = handler(&site(directory.root()));
        let path = format!("/{name}");
        let etag = get(&handler, &path).await.field("ETag").unwrap().to_owned();
        for (range, from, to) in [
            ("bytes=10-19", 10, 19),
            ("bytes=90-", 90, size - 1),
            ("bytes=-5", size - 5, size - 1),
        ] {
            let got = get_if(&handler, &path, &[("Range", range)]).await;
            assert_eq!(got.status, 206, "{range}");
            assert_eq!(
                got.field("Content-Range"),
                Some(&*format!("bytes {from}-{to}/{size}"))
            );
            assert_eq!(got.body, &content[from..=to]);
            assert_eq!(got.field("ETag"), Some(&*etag));
        }
        let past = get_if(&handler, &path, &[("Range", "bytes=1000000-")]).await;
        assert_eq!(
            (past.status, past.field("Content-Range")),
            (416, Some(&*format!("bytes */{size}")))
        );
        let several = get_if(&handler, &path, &[("Range", "bytes=0-1,1-6")]).await;
        assert_eq!((several.status, several.body.len()), (200, size));
        let same = get_if(
            &handler,
            &path,
            &[("Range", "bytes=0-1"), ("If-Range", &etag)],
        )
        .await;
        assert_eq!(same.status, 206);
        let other = get_if(
            &handler,
            &path,
            &[("Range", "bytes=0-1"), ("If-Range", "\"old\"")],
        )
        .await;
        assert_eq!((other.status, other.body.len()), (200, size));
    }
}

#[test]
fn a_root_that_cannot_be_served_is_said_in_one_sentence() {
    let directory = Directory::new();
    let file = directory.write("file", "");
    for (root, expected) in [
        (
            directory.root().join("missing"),
            "does not exist: create it or correct `root`",
        ),
        (file, "is not a directory"),
    ] {
        let error = SiteHandler::new(&site(root), 1, telemetry())
            .err()
            .unwrap()
            .to_string();
        assert!(
            error.starts_with("site \"www\": its root /") && error.contains(expected),
            "{error}"
        );
    }
    let mut aliased = site(directory.root());
    let file = directory.root().join("file");
    aliased.aliases.insert("/icons".into(), file);
    let error = SiteHandler::new(&aliased, 1, telemetry()).err().unwrap();
    let error = error.to_string();
    assert!(
        error.contains("its alias \"/icons\", /") && error.ends_with("correct `aliases`"),
        "{error}"
    );
    let mut site = site(directory.root());
    site.types.insert("x".into(), "a\r\nb".into());
    let error = SiteHandler::new(&site, 1, telemetry())
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("the type of \"x\""), "{error}");
}
