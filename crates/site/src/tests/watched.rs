//! Changes that the kernel tells of: no time passes for these requests, so nothing is looked at again by itself.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use tandem_http::Moment;
use tandem_model::Site;

use super::{Directory, Got, ask, handler, site, with_watches, within};
use crate::SiteHandler;
use crate::root::BELIEVED;

/// The answer at a moment that stays the same.
async fn at(handler: &SiteHandler, path: &str, now: Moment) -> Got {
    ask(handler, "GET", path.as_bytes(), &[], now).await
}

/// Waits for an answer that begins like this; the kernel tells of changes when it does. Time passes only while the file
/// is not watched: the kernel may be unable to say at once that no link leads there.
async fn becomes(handler: &SiteHandler, path: &str, now: Moment, status: u16, body: &str) {
    let cache = &handler.0.workers[0].cache;
    let name = path.trim_start_matches('/').as_bytes();
    let mut now = now;
    within(async {
        loop {
            let got = at(handler, path, now).await;
            if got.status == status && (status != 200 || got.body.starts_with(body.as_bytes())) {
                return;
            }
            if !cache.is_watched(name) {
                now = now + BELIEVED;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn every_way_to_change_a_file_is_told_of() {
    for size in [10, 40_000] {
        let directory = Directory::new();
        let text = |c: &str| c.repeat(size);
        directory.write("a/b/x.txt", text("1"));
        let handler = handler(&site(directory.root()));
        let now = Moment::now();
        let path = "/a/b/x.txt";
        becomes(&handler, path, now, 200, "1").await;
        directory.write("a/b/x.txt", text("2"));
        becomes(&handler, path, now, 200, "2").await;
        let root = directory.root();
        directory.write("a/b/new", text("3"));
        std::fs::rename(root.join("a/b/new"), root.join("a/b/x.txt")).unwrap();
        becomes(&handler, path, now, 200, "3").await;
        std::fs::remove_file(root.join("a/b/x.txt")).unwrap();
        becomes(&handler, path, now, 404, "").await;
        directory.write("a/b/x.txt", text("4"));
        becomes(&handler, path, now, 200, "4").await;
        // A directory above is exchanged.
        directory.write("c/b/x.txt", text("5"));
        std::fs::rename(root.join("a"), root.join("old")).unwrap();
        std::fs::rename(root.join("c"), root.join("a")).unwrap();
        becomes(&handler, path, now, 200, "5").await;
        becomes(&handler, "/old/b/x.txt", now, 200, "4").await;
        std::fs::remove_dir_all(root.join("a")).unwrap();
        becomes(&handler, path, now, 404, "").await;
        directory.write("a/b/x.txt", text("6"));
        becomes(&handler, path, now, 200, "6").await;
        directory.write("a/b/x.txt", text("7"));
        becomes(&handler, path, now, 200, "7").await;
    }
}

#[tokio::test]
async fn an_index_or_a_sibling_that_comes_is_told_of() {
    let directory = Directory::new();
    directory.write("d/index.htm", "second");
    directory.write("d/a.txt", "as it is");
    let handler = handler(&Site {
        precompressed: vec![tandem_model::Coding::Gzip],
        ..site(directory.root())
    });
    let now = Moment::now();
    becomes(&handler, "/d/", now, 200, "second").await;
    directory.write("d/index.html", "first");
    becomes(&handler, "/d/", now, 200, "first").await;
    let fields = [("Accept-Encoding", "gzip")];
    let coded = || ask(&handler, "GET", b"/d/a.txt", &fields, now);
    assert_eq!(coded().await.body, b"as it is");
    directory.write("d/a.txt.gz", "coded");
    within(async {
        while coded().await.body != b"coded" {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_not_touched_is_believed_for_longer_than_what_is_not_watched() {
    let directory = Directory::new();
    directory.write("a.txt", "plain");
    let kept = directory.write("data/b.txt", "linked");
    directory.link("data/b.txt", "link");
    directory.link("data", "dir");
    std::fs::hard_link(&kept, directory.outside().join("hard")).unwrap();
    let handler = handler(&site(directory.root()));
    let now = Moment::now();
    for path in ["/a.txt", "/data/b.txt", "/link", "/dir/b.txt"] {
        assert_eq!(at(&handler, path, now).await.status, 200, "{path}");
    }
    let cache = &handler.0.workers[0].cache;
    let later = now + Duration::from_secs(1);
    assert!(
        cache.fresh(b"a.txt", later).is_none(),
        "the root comes first"
    );
    cache.place(later);
    assert!(cache.fresh(b"a.txt", later).is_some());
    for name in ["data/b.txt", "link", "dir/b.txt"] {
        assert!(cache.fresh(name.as_bytes(), later).is_none(), "{name}");
    }
    // Changed by a name that nobody watches.
    std::fs::write(directory.outside().join("hard"), "by another name").unwrap();
    for path in ["/data/b.txt", "/link", "/dir/b.txt"] {
        assert_eq!(at(&handler, path, later).await.body, b"by another name");
    }
    let much_later = now + Duration::from_secs(11);
    cache.place(much_later);
    assert!(cache.fresh(b"a.txt", much_later).is_none());
}

#[tokio::test]
async fn directories_beyond_the_bound_are_looked_at_again_instead() {
    let directory = Directory::new();
    directory.write("1/a.txt", "one");
    directory.write("2/a.txt", "two");
    // The root, and one of its directories.
    let watches = crate::Watches::bounded(2);
    let handler = with_watches(&site(directory.root()), watches);
    let now = Moment::now();
    becomes(&handler, "/1/a.txt", now, 200, "one").await;
    assert_eq!(at(&handler, "/2/a.txt", now).await.body, b"two");
    let cache = &handler.0.workers[0].cache;
    assert!(!cache.is_watched(b"2/a.txt"));
    directory.write("2/a.txt", "changed");
    let later = now + BELIEVED;
    assert_eq!(at(&handler, "/2/a.txt", later).await.body, b"changed");
}

#[tokio::test]
async fn a_root_that_is_turned_is_believed_in_no_longer() {
    let directory = Directory::new();
    directory.write("1/a.txt", "one");
    directory.write("2/a.txt", "two");
    directory.link("1", "current");
    let handler = handler(&site(directory.root().join("current")));
    let now = Moment::now();
    assert_eq!(at(&handler, "/a.txt", now).await.body, b"one");
    directory.link("2", "next");
    let root = directory.root();
    std::fs::rename(root.join("next"), root.join("current")).unwrap();
    let later = now + Duration::from_millis(501);
    assert_eq!(at(&handler, "/a.txt", later).await.body, b"two");
    directory.write("2/a.txt", "three");
    becomes(&handler, "/a.txt", later, 200, "three").await;
}

#[tokio::test]
async fn when_the_kernel_has_lost_count_nothing_is_believed() {
    let directory = Directory::new();
    directory.write("a.txt", "a");
    let handler = handler(&site(directory.root()));
    let now = Moment::now();
    assert_eq!(at(&handler, "/a.txt", now).await.body, b"a");
    let cache = &handler.0.workers[0].cache;
    assert!(cache.fresh(b"a.txt", now).is_some());
    handler.0.watches.lose_count();
    assert!(cache.fresh(b"a.txt", now).is_none());
    assert_eq!(at(&handler, "/a.txt", now).await.body, b"a");
    assert!(cache.fresh(b"a.txt", now).is_some(), "and again it is");
}

#[tokio::test]
async fn a_directory_that_may_not_be_entered_any_more_is_closed_at_once() {
    let directory = Directory::new();
    directory.write("d/a.txt", "a");
    let handler = handler(&site(directory.root()));
    let now = Moment::now();
    assert_eq!(at(&handler, "/d/a.txt", now).await.body, b"a");
    let cache = &handler.0.workers[0].cache;
    let closed = std::fs::Permissions::from_mode(0o000);
    std::fs::set_permissions(directory.root().join("d"), closed).unwrap();
    // The tests may be run by root, for whom nothing is closed: that it is looked at again is what is promised.
    within(async {
        while cache.fresh(b"d/a.txt", now).is_some() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(directory.root().join("d"), open).unwrap();
}

#[tokio::test]
async fn the_thread_that_watches_ends_with_the_site() {
    let directory = Directory::new();
    directory.write("a.txt", "a");
    let handler = handler(&site(directory.root()));
    assert_eq!(at(&handler, "/a.txt", Moment::now()).await.body, b"a");
    let shared = handler.0.watches.held_by_the_thread();
    assert!(shared.upgrade().is_some());
    drop(handler);
    within(async {
        while shared.upgrade().is_some() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}
