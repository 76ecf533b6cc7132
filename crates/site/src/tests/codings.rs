//! Siblings and compression on the fly.

use std::io::Read as _;
use std::time::{Duration, SystemTime};

use tandem_http::Moment;
use tandem_model::{Coding, Site};

use super::{Directory, ask, get, get_if, handler, on_every_kernel, site};

const ANY: (&str, &str) = ("Accept-Encoding", "gzip, deflate, br, zstd");
const GZIP: (&str, &str) = ("Accept-Encoding", "gzip");

fn text() -> String {
    "All work and no play makes Jack a dull boy.\n".repeat(2_000)
}

fn inflated(bytes: &[u8]) -> String {
    let mut out = String::new();
    let mut reader = flate2::read::GzDecoder::new(bytes);
    reader.read_to_string(&mut out).unwrap();
    out
}

#[tokio::test]
async fn a_sibling_is_sent_to_those_who_take_it_and_the_file_to_others() {
    let directory = Directory::new();
    directory.write("a.css", "body {}");
    directory.write("a.css.gz", "zipped");
    directory.write("a.css.br", "brotli");
    directory.write("b.css", "p {}");
    for (kernel, mut handler) in on_every_kernel(&directory) {
        let shared = std::sync::Arc::get_mut(&mut handler.0).unwrap();
        shared.site.precompressed = vec![Coding::Brotli, Coding::Gzip];
        shared.offered = crate::coding::offered(&shared.site);
        for _ in 0..2 {
            for (accepts, coding, body) in [
                (ANY.1, Some("br"), "brotli"),
                ("gzip", Some("gzip"), "zipped"),
                ("br;q=0.5, gzip", Some("gzip"), "zipped"),
                ("gzip;q=0", None, "body {}"),
                ("zstd", None, "body {}"),
            ] {
                let got = get_if(&handler, "/a.css", &[("Accept-Encoding", accepts)]).await;
                assert_eq!(got.status, 200, "{kernel:?}");
                assert_eq!(
                    got.field("Content-Encoding"),
                    coding,
                    "{kernel:?} {accepts}"
                );
                assert_eq!(got.body, body.as_bytes(), "{kernel:?} {accepts}");
                assert_eq!(got.field("Vary"), Some("Accept-Encoding"));
                assert_eq!(got.field("Content-Type"), Some("text/css; charset=utf-8"));
            }
            let plain = get(&handler, "/a.css").await;
            assert_eq!(plain.field("Vary"), Some("Accept-Encoding"));
            let without = get_if(&handler, "/b.css", &[ANY]).await;
            assert_eq!(
                (without.field("Content-Encoding"), without.body.len()),
                (None, 4)
            );
        }
    }
}

#[tokio::test]
async fn representations_have_tags_of_their_own() {
    let directory = Directory::new();
    directory.write("a.css", "body {}");
    directory.write("a.css.gz", "zipped.");
    let handler = handler(&Site {
        precompressed: vec![Coding::Gzip],
        ..site(directory.root())
    });
    let plain = get(&handler, "/a.css").await;
    let coded = get_if(&handler, "/a.css", &[GZIP]).await;
    let tag = coded.field("ETag").unwrap();
    assert_ne!(plain.field("ETag"), Some(tag));
    // The client has the coded one.
    let same = get_if(&handler, "/a.css", &[GZIP, ("If-None-Match", tag)]).await;
    assert_eq!(
        (same.status, same.field("Vary")),
        (304, Some("Accept-Encoding"))
    );
    let other = get_if(&handler, "/a.css", &[("If-None-Match", tag)]).await;
    assert_eq!(
        (other.status, &other.body[..]),
        (200, b"body {}".as_slice())
    );
    // A part of it is a part of the coded bytes, and never joined to another's.
    let range = ("Range", "bytes=0-2");
    let part = get_if(&handler, "/a.css", &[GZIP, range, ("If-Range", tag)]).await;
    assert_eq!((part.status, &part.body[..]), (206, b"zip".as_slice()));
    assert_eq!(part.field("Content-Encoding"), Some("gzip"));
    let other = get_if(&handler, "/a.css", &[range, ("If-Range", tag)]).await;
    assert_eq!(
        (other.status, &other.body[..]),
        (200, b"body {}".as_slice())
    );
}

#[tokio::test]
async fn a_sibling_older_than_its_file_is_not_sent() {
    let directory = Directory::new();
    let sibling = directory.write("a.css.gz", "zipped");
    directory.write("a.css", "body {}");
    let then = SystemTime::now() - Duration::from_secs(100);
    let file = std::fs::File::options().write(true).open(sibling).unwrap();
    file.set_modified(then).unwrap();
    let handler = handler(&Site {
        precompressed: vec![Coding::Gzip],
        ..site(directory.root())
    });
    let got = get_if(&handler, "/a.css", &[GZIP]).await;
    assert_eq!((got.field("Content-Encoding"), got.body.len()), (None, 7));
}

#[tokio::test]
async fn text_is_compressed_once_and_kept() {
    let directory = Directory::new();
    let file = directory.write("a.html", text());
    directory.write("a.png", text());
    directory.write("tiny.html", "tiny");
    let then = SystemTime::now() - Duration::from_secs(100);
    let opened = std::fs::File::options().write(true).open(&file).unwrap();
    opened.set_modified(then).unwrap();
    let handler = handler(&Site {
        compress: true,
        ..site(directory.root())
    });
    let first = get_if(&handler, "/a.html", &[GZIP]).await;
    assert!(first.later, "compressing is for another thread");
    assert_eq!(first.field("Content-Encoding"), Some("gzip"));
    assert_eq!(inflated(&first.body), text());
    let again = get_if(&handler, "/a.html", &[GZIP]).await;
    assert!(!again.later && again.from_memory && again.body == first.body);
    let brotli = get_if(&handler, "/a.html", &[ANY]).await;
    assert_eq!(brotli.field("Content-Encoding"), Some("br"));
    assert!(brotli.body.len() < text().len() / 4);
    let plain = get(&handler, "/a.html").await;
    assert_eq!(
        (plain.body.len(), plain.field("Vary")),
        (text().len(), Some("Accept-Encoding"))
    );
    for path in ["/a.png", "/tiny.html"] {
        let got = get_if(&handler, path, &[ANY]).await;
        assert_eq!(got.field("Content-Encoding"), None, "{path}");
    }
    assert_eq!(get(&handler, "/a.png").await.field("Vary"), None);
}

#[tokio::test]
async fn what_was_compressed_has_a_weak_tag_and_no_parts() {
    let directory = Directory::new();
    directory.write("a.html", text());
    let handler = handler(&Site {
        compress: true,
        ..site(directory.root())
    });
    let got = get_if(&handler, "/a.html", &[GZIP]).await;
    let tag = got.field("ETag").unwrap().to_owned();
    assert!(tag.starts_with("W/\""), "{tag}");
    assert_eq!(got.field("Accept-Ranges"), None);
    let part = get_if(&handler, "/a.html", &[GZIP, ("Range", "bytes=0-9")]).await;
    assert_eq!((part.status, part.body.len()), (200, got.body.len()));
    let plain = get_if(&handler, "/a.html", &[("Range", "bytes=0-9")]).await;
    assert_eq!(
        (plain.status, &plain.body[..]),
        (206, b"All work a".as_slice())
    );
    let same = get_if(&handler, "/a.html", &[GZIP, ("If-None-Match", &tag)]).await;
    assert_eq!(same.status, 304);
    let mine = get_if(&handler, "/a.html", &[GZIP, ("If-Match", &tag)]).await;
    assert_eq!(mine.status, 412, "a weak tag proves nothing");
}

#[tokio::test]
async fn a_changed_text_is_compressed_anew() {
    let directory = Directory::new();
    directory.write("a.html", text());
    let handler = super::unwatched(&Site {
        compress: true,
        ..site(directory.root())
    });
    let at = |millis| Moment::now() + Duration::from_millis(millis);
    let first = ask(&handler, "GET", b"/a.html", &[GZIP], at(0)).await;
    assert_eq!(inflated(&first.body), text());
    let other = text().replace("Jack", "Jill");
    directory.write("a.html", &other);
    let second = ask(&handler, "GET", b"/a.html", &[GZIP], at(1_000)).await;
    assert_eq!(inflated(&second.body), other);
}

#[tokio::test]
async fn text_that_does_not_shrink_is_sent_as_it_is_and_not_tried_again() {
    let directory = Directory::new();
    let mut seed = 1u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        // xorshift: noise that is the same each time.
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed as u8
    })
    .take(2_000)
    .collect();
    directory.write("a.txt", &noise);
    let handler = handler(&Site {
        compress: true,
        ..site(directory.root())
    });
    for later in [true, false] {
        let got = get_if(&handler, "/a.txt", &[GZIP]).await;
        assert_eq!((got.field("Content-Encoding"), got.later), (None, later));
        assert!(got.body == noise);
    }
}

#[tokio::test]
async fn what_one_worker_has_compressed_the_others_need_not() {
    // The tests' own text: old enough for its times to be believed.
    let sources = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let site = Site {
        compress: true,
        types: [("rs".into(), "text/plain".into())].into(),
        ..site(sources)
    };
    let handler = crate::SiteHandler::new(&site, 2, super::telemetry()).unwrap();
    let now = Moment::now();
    let on = |worker| {
        let cx = tandem_http::Cx::new(worker, now);
        super::ask_in(&handler, "GET", b"/media.rs", &[GZIP], cx)
    };
    let (first, second) = (on(0).await, on(1).await);
    assert_eq!(first.field("Content-Encoding"), Some("gzip"));
    assert_eq!(second.body, first.body);
    let preference = tandem_http::policy::coding::Preference::read(Some(b"gzip"), &[Coding::Gzip]);
    let key = crate::find::key(b"media.rs", preference);
    let kept = [0, 1].map(|worker: usize| handler.0.workers[worker].cache.known(&key).unwrap());
    assert!(kept.iter().all(|entry| entry.is_made()));
    assert!(
        !std::sync::Arc::ptr_eq(&kept[0], &kept[1]),
        "a copy of its own"
    );
}
