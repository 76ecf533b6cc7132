//! Fallbacks, aliases, expiry, parts, listings and the status page.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::time::Duration;

use tandem_http::Moment;
use tandem_model::Site;

use super::{Directory, ask, get, get_if, handler, site};

#[tokio::test]
async fn a_fallback_is_served_where_there_is_no_file() {
    let directory = Directory::new();
    directory.write("index.html", "app");
    directory.write("a.txt", "a");
    directory.write("sub/b.txt", "b");
    let handler = super::unwatched(&Site {
        fallback: Some("/index.html".into()),
        ..site(directory.root())
    });
    for (path, status, body) in [
        ("/", 200, "app"),
        ("/a.txt", 200, "a"),
        ("/users/7", 200, "app"),
        ("/users/8?x=y", 200, "app"),
        ("/sub/", 200, "app"),
    ] {
        let got = get(&handler, path).await;
        assert_eq!(
            (got.status, &got.body[..]),
            (status, body.as_bytes()),
            "{path}"
        );
    }
    assert_eq!(get(&handler, "/.git/config").await.status, 404);
    std::fs::remove_file(directory.root().join("index.html")).unwrap();
    let gone = handler.clone();
    let later = tandem_http::Moment::now() + Duration::from_secs(2);
    let got = super::ask(&gone, "GET", b"/users/9", &[], later).await;
    assert_eq!(got.status, 404, "a fallback that is not there is no loop");
}

#[tokio::test]
async fn a_name_that_is_no_file_is_looked_for_with_its_suffixes() {
    let directory = Directory::new();
    for name in [
        "index.html",
        "about.html",
        "docs.html",
        "docs/index.html",
        "docs/a.html",
        "team/index.html",
        "plain",
        "plain.html",
        "empty/x",
    ] {
        directory.write(name, name);
    }
    let pages = Site {
        suffixes: vec![".html".into(), "/index.html".into()],
        ..site(directory.root())
    };
    let with = handler(&pages);
    let files = handler(&Site {
        only_files: true,
        index: Vec::new(),
        ..pages.clone()
    });
    let asked = [
        ("/", "index.html", "index.html"),
        ("/about", "about.html", "about.html"),
        ("/about.html", "about.html", "about.html"),
        ("/docs", "docs.html", "docs.html"),
        ("/docs/", "docs/index.html", "docs/index.html"),
        ("/docs/a", "docs/a.html", "docs/a.html"),
        ("/team", "team/index.html", "team/index.html"),
        ("/plain", "plain", "plain"),
        ("/empty", "301", "404"),
        ("/empty/", "403", "404"),
        ("/about/", "404", "404"),
        ("/none", "404", "404"),
    ];
    // The second time from memory.
    for (path, all, only) in asked.iter().chain(&asked) {
        for (handler, wanted) in [(&with, all), (&files, only)] {
            let got = get(handler, path).await;
            let is_page = got.status == 200;
            let found = if is_page {
                String::from_utf8_lossy(&got.body).into_owned()
            } else {
                got.status.to_string()
            };
            assert_eq!(found, *wanted, "{path}");
            if is_page && path.len() > 1 && *path != "/plain" {
                assert_eq!(
                    got.field("Content-Type"),
                    Some("text/html; charset=utf-8"),
                    "{path}"
                );
            }
        }
    }
    // A file that comes goes before what was sent in its place.
    directory.write("about", "a file");
    let later = tandem_http::Moment::now() + Duration::from_secs(2);
    let got = ask(&with, "GET", b"/about", &[], later).await;
    assert_eq!(&got.body[..], b"a file");
}

#[tokio::test]
async fn where_there_are_only_files_a_directory_is_nothing() {
    let directory = Directory::new();
    directory.write("index.html", "app");
    directory.write("a.txt", "a");
    directory.write("sub/index.html", "sub");
    directory.write("alias/x/y.txt", "y");
    let files = Site {
        only_files: true,
        listing: true,
        aliases: [("/other".into(), directory.root().join("alias"))].into(),
        ..site(directory.root())
    };
    let paths = [
        "/", "/sub", "/sub/", "/none", "/none/", "/a.txt/", "/other", "/other/", "/other/x",
    ];
    let alone = handler(&files);
    let app = handler(&Site {
        fallback: Some("index.html".into()),
        ..files.clone()
    });
    // The second time from memory.
    for path in paths.iter().chain(&paths) {
        let got = get(&alone, path).await;
        assert_eq!((got.status, got.field("Location")), (404, None), "{path}");
        let got = get(&app, path).await;
        assert_eq!((got.status, &got.body[..]), (200, &b"app"[..]), "{path}");
    }
    for handler in [&alone, &app] {
        for (path, body) in [
            ("/a.txt", "a"),
            ("/index.html", "app"),
            ("/sub/index.html", "sub"),
            ("/other/x/y.txt", "y"),
        ] {
            let got = get(handler, path).await;
            assert_eq!(
                (got.status, &got.body[..]),
                (200, body.as_bytes()),
                "{path}"
            );
        }
    }
}

#[tokio::test]
async fn an_alias_shows_another_directory_and_nothing_outside_it() {
    let directory = Directory::new();
    directory.write("a.txt", "mine");
    directory.write("icons/hidden-by-the-alias.txt", "x");
    let other = directory.outside().join("other");
    std::fs::create_dir_all(other.join("deep")).unwrap();
    std::fs::write(other.join("b.txt"), "theirs").unwrap();
    std::fs::write(other.join("index.html"), "their index").unwrap();
    std::fs::write(other.join("deep/c.txt"), "deep").unwrap();
    std::fs::write(directory.outside().join("secret"), "secret").unwrap();
    std::os::unix::fs::symlink("../secret", other.join("out")).unwrap();
    let handler = handler(&Site {
        aliases: [("/icons".into(), other)].into(),
        ..site(directory.root())
    });
    for (path, status, body) in [
        ("/a.txt", 200, "mine"),
        ("/icons/b.txt", 200, "theirs"),
        ("/icons/", 200, "their index"),
        ("/icons/deep/c.txt", 200, "deep"),
    ] {
        let got = get(&handler, path).await;
        assert_eq!(
            (got.status, &got.body[..]),
            (status, body.as_bytes()),
            "{path}"
        );
    }
    let got = get(&handler, "/icons").await;
    assert_eq!((got.status, got.field("Location")), (301, Some("/icons/")));
    assert_eq!(get(&handler, "/iconsb.txt").await.status, 404);
    assert_eq!(
        get(&handler, "/icons/hidden-by-the-alias.txt").await.status,
        404
    );
    assert_eq!(get(&handler, "/icons/out").await.status, 403);
    assert_ne!(get(&handler, "/icons/../../secret").await.status, 200);
}

#[tokio::test]
async fn files_say_how_long_they_may_be_kept() {
    let directory = Directory::new();
    directory.write("a.css", "body {}");
    directory.write("a.html", "html");
    let hour = Duration::from_hours(1);
    let handler = handler(&Site {
        expires: [("text/css".into(), hour), ("*".into(), Duration::ZERO)].into(),
        ..site(directory.root())
    });
    let css = get(&handler, "/a.css").await;
    assert_eq!(css.field("Cache-Control"), Some("max-age=3600"));
    let tag = css.field("ETag").unwrap();
    let same = get_if(&handler, "/a.css", &[("If-None-Match", tag)]).await;
    assert_eq!(
        (same.status, same.field("Cache-Control")),
        (304, Some("max-age=3600"))
    );
    let html = get(&handler, "/a.html").await;
    assert_eq!(html.field("Cache-Control"), Some("no-cache"));
}

#[tokio::test]
async fn several_parts_come_in_one_answer_from_memory_and_from_the_file() {
    let directory = Directory::new();
    for (name, size) in [("small.txt", 1_000), ("large.txt", 100_000)] {
        let content: Vec<u8> = (0..size).map(|i| b'a' + (i % 26) as u8).collect();
        directory.write(name, &content);
        let handler = handler(&site(directory.root()));
        let path = format!("/{name}");
        let got = get_if(&handler, &path, &[("Range", "bytes=2-3,26-28,-1")]).await;
        assert_eq!(got.status, 206);
        let kind = got.field("Content-Type").unwrap();
        let boundary = kind
            .strip_prefix("multipart/byteranges; boundary=")
            .unwrap();
        assert!(got.field("ETag").is_some());
        let last = char::from(content[size - 1]);
        let mut expected = String::new();
        for (range, part) in [
            ("2-3".to_owned(), "cd".to_owned()),
            ("26-28".to_owned(), "abc".to_owned()),
            (format!("{0}-{0}", size - 1), last.to_string()),
        ] {
            let _ = write!(
                expected,
                "\r\n--{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\n\
                 Content-Range: bytes {range}/{size}\r\n\r\n{part}"
            );
        }
        let _ = write!(expected, "\r\n--{boundary}--\r\n");
        assert_eq!(String::from_utf8(got.body).unwrap(), expected, "{name}");
        let overlap = get_if(&handler, &path, &[("Range", "bytes=0-,0-,0-,0-")]).await;
        assert_eq!((overlap.status, overlap.body.len()), (200, size));
    }
}

#[tokio::test]
async fn a_directory_is_listed_with_names_that_are_text() {
    let directory = Directory::new();
    let write = |name: &[u8], content: &str| {
        std::fs::write(directory.root().join(OsStr::from_bytes(name)), content).unwrap();
    };
    write(b"<script>alert(1)<\x7f.txt", "x");
    write(b"not\xffutf8", "x");
    write(b"javascript:alert(1)", "x");
    write(b"b & c.txt", "1234567890");
    write(b".hidden", "x");
    directory.write("sub/z.txt", "z");
    directory.link("../..", "out");
    directory.link("sub", "link");
    directory.link("nowhere", "broken");
    let handler = handler(&Site {
        listing: true,
        ..site(directory.root())
    });
    let got = get(&handler, "/").await;
    assert_eq!((got.status, got.later), (200, true));
    assert_eq!(got.field("Content-Type"), Some("text/html; charset=utf-8"));
    let page = String::from_utf8(got.body).unwrap();
    for there in [
        "href=\"./%3Cscript%3Ealert(1)%3C%7F.txt\">&lt;script&gt;alert(1)&lt;\u{fffd}.txt</a>",
        "href=\"./not%FFutf8\">not\u{fffd}utf8</a>",
        "href=\"./javascript:alert(1)\"",
        "href=\"./b%20%26%20c.txt\">b &amp; c.txt</a>",
        "href=\"./sub/\">sub/</a>",
        "href=\"./link/\">link/</a>",
        ">10 B</td>",
    ] {
        assert!(page.contains(there), "{there} in {page}");
    }
    for absent in ["<script", ".hidden", ">out", "broken", "../\""] {
        assert!(!page.contains(absent), "{absent} in {page}");
    }
    // What is listed can be asked for.
    assert_eq!(get(&handler, "/not%FFutf8").await.status, 200);
    let below = get(&handler, "/sub/").await;
    let page = String::from_utf8(below.body).unwrap();
    assert!(page.contains("href=\"../\"") && page.contains("<title>/sub/</title>"));
}

#[tokio::test]
async fn a_listing_is_sorted_as_it_is_asked_for() {
    let directory = Directory::new();
    directory.write("a", "333");
    directory.write("b", "1");
    directory.write("c", "22");
    directory.write("d/x", "");
    let handler = handler(&Site {
        listing: true,
        ..site(directory.root())
    });
    for (query, order) in [
        ("", ["d/", "a", "b", "c"]),
        ("?sort=name&order=desc", ["d/", "c", "b", "a"]),
        ("?sort=size", ["d/", "b", "c", "a"]),
        ("?sort=size&order=desc", ["d/", "a", "c", "b"]),
    ] {
        let got = get(&handler, &format!("/{query}")).await;
        let page = String::from_utf8(got.body).unwrap();
        let at = order.map(|name| page.find(&format!("href=\"./{name}\"")).unwrap());
        assert!(at.is_sorted(), "{query}: {page}");
    }
}

#[tokio::test]
async fn the_status_page_is_at_its_path_only() {
    let directory = Directory::new();
    let handler = handler(&Site {
        status: Some("/nginx_status".into()),
        ..site(directory.root())
    });
    let got = get(&handler, "/nginx_status").await;
    assert_eq!(
        (got.status, got.field("Content-Type")),
        (200, Some("text/plain"))
    );
    assert!(
        got.body
            .starts_with(b"Active connections: 0 \nserver accepts handled requests\n")
    );
    assert_eq!(get(&handler, "/nginx_status/").await.status, 404);
}

#[tokio::test]
async fn a_video_is_sent_from_the_middle_with_a_head_of_its_own() {
    let directory = Directory::new();
    for (name, size) in [("small.flv", 1_000usize), ("large.flv", 100_000)] {
        let content: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
        directory.write(name, &content);
        let handler = handler(&site(directory.root()));
        let got = get(&handler, &format!("/{name}?start=500")).await;
        assert_eq!(
            (got.status, got.field("Content-Type")),
            (200, Some("video/x-flv"))
        );
        assert_eq!(got.body[..13], *b"FLV\x01\x05\0\0\0\x09\0\0\0\0");
        assert!(got.body[13..] == content[500..], "{name}");
        assert_eq!(got.field("Accept-Ranges"), None);
        assert!(got.field("ETag").is_some());
        let path = format!("/{name}?start=500");
        let ranged = get_if(&handler, &path, &[("Range", "bytes=0-1")]).await;
        assert_eq!(ranged.body.len(), 13 + size - 500);
        for query in ["", "?start=0", "?start=x", "?start=1000000"] {
            let whole = get(&handler, &format!("/{name}{query}")).await;
            assert!(whole.body == content, "{name}{query}");
        }
    }
}

#[tokio::test]
async fn an_error_has_the_page_of_the_site() {
    let directory = Directory::new();
    directory.write("404.html", "<h1>ours</h1>");
    directory.write("errors/405.txt", "not so");
    directory.write("large.html", "x".repeat(100_000));
    directory.write("a.txt", "a");
    let handler = handler(&Site {
        errors: [
            (404, "/404.html".into()),
            (403, "missing.html".into()),
            (405, "errors/405.txt".into()),
            (416, "large.html".into()),
        ]
        .into(),
        ..site(directory.root())
    });
    for _ in 0..2 {
        let got = get(&handler, "/nothing").await;
        assert_eq!(
            (got.status, &got.body[..]),
            (404, b"<h1>ours</h1>".as_slice())
        );
        assert_eq!(got.field("Content-Type"), Some("text/html; charset=utf-8"));
        assert_eq!(
            (got.field("ETag"), got.field("Last-Modified")),
            (None, None)
        );
        let got = get(&handler, "/.hidden").await;
        assert_eq!(
            (got.status, &got.body[..]),
            (404, b"<h1>ours</h1>".as_slice())
        );
        let got = ask(&handler, "POST", b"/a.txt", &[], Moment::now()).await;
        assert_eq!((got.status, &got.body[..]), (405, b"not so".as_slice()));
        assert_eq!(got.field("Content-Type"), Some("text/plain; charset=utf-8"));
        assert_eq!(got.field("Allow"), Some("GET, HEAD, OPTIONS"));
        let got = get_if(&handler, "/a.txt", &[("Range", "bytes=9-")]).await;
        assert_eq!((got.status, got.body.len()), (416, 100_000));
        assert_eq!(got.field("Content-Range"), Some("bytes */1"));
        let got = get(&handler, "/errors/").await;
        assert_eq!(got.status, 403);
        let page = String::from_utf8(got.body).unwrap();
        assert!(
            page.contains("<h1>Forbidden</h1>"),
            "ours when there is none: {page}"
        );
    }
    // The page itself is a file like others.
    assert_eq!(get(&handler, "/404.html").await.status, 200);
}
