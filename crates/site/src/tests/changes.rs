//! Files and directories that change while they are served.

use std::fs::File;
use std::time::{Duration, SystemTime};

use tandem_http::Moment;

use super::{Directory, Got, ask, get, on_every_kernel, site, telemetry};
use crate::SiteHandler;

/// The answer so long after now. Nothing sleeps: the time of a request is an argument.
async fn get_after(handler: &SiteHandler, path: &str, millis: u64) -> Got {
    let then = Moment::now() + Duration::from_millis(millis);
    ask(handler, "GET", path.as_bytes(), &[], then).await
}

/// Makes a file look as if it had been left alone for a while.
fn age(file: &std::path::Path, seconds: u64) {
    let then = SystemTime::now() - Duration::from_secs(seconds);
    File::options()
        .write(true)
        .open(file)
        .unwrap()
        .set_modified(then)
        .unwrap();
}

#[tokio::test]
async fn a_changed_file_is_noticed_within_a_second() {
    for size in [10, 40_000] {
        let directory = Directory::new();
        for (kernel, handler) in on_every_kernel(&directory) {
            let file = directory.write("a.txt", "1".repeat(size));
            age(&file, 100);
            let first = get_after(&handler, "/a.txt", 0).await;
            assert_eq!(first.body[0], b'1');
            // Replaced, as editors and deployments do.
            let fresh = directory.write("new.txt", "2".repeat(size));
            age(&fresh, 100);
            std::fs::rename(fresh, &file).unwrap();
            assert_eq!(
                get_after(&handler, "/a.txt", 1_000).await.body[0],
                b'2',
                "{kernel:?}"
            );
            // Written in place, with the old time.
            std::fs::write(&file, "3".repeat(size)).unwrap();
            age(&file, 100);
            let third = get_after(&handler, "/a.txt", 2_000).await;
            assert_eq!(third.body[0], b'3', "{kernel:?}");
            assert_ne!(third.field("ETag"), first.field("ETag"));
            std::fs::remove_file(&file).unwrap();
            assert_eq!(
                get_after(&handler, "/a.txt", 3_000).await.status,
                404,
                "{kernel:?}"
            );
            directory.write("a.txt", "4".repeat(size));
            assert_eq!(
                get_after(&handler, "/a.txt", 3_001).await.body[0],
                b'4',
                "{kernel:?}"
            );
        }
    }
}

#[tokio::test]
async fn an_index_that_comes_or_goes_is_noticed() {
    let directory = Directory::new();
    directory.write("index.htm", "second");
    for (_, handler) in on_every_kernel(&directory) {
        assert_eq!(get_after(&handler, "/", 0).await.body, b"second");
        directory.write("index.html", "first");
        assert_eq!(get_after(&handler, "/", 1_000).await.body, b"first");
        std::fs::remove_file(directory.root().join("index.html")).unwrap();
        assert_eq!(get_after(&handler, "/", 2_000).await.body, b"second");
    }
}

#[tokio::test]
async fn a_root_that_is_a_link_may_be_turned_to_another_release() {
    let directory = Directory::new();
    directory.write("1/a.txt", "one");
    directory.write("2/a.txt", "two");
    directory.link("1", "current");
    let handler =
        SiteHandler::new(&site(directory.root().join("current")), 1, telemetry()).unwrap();
    assert_eq!(get_after(&handler, "/a.txt", 0).await.body, b"one");
    directory.link("2", "next");
    let root = directory.root();
    std::fs::rename(root.join("next"), root.join("current")).unwrap();
    // The worst moment: the file was checked just before the directory was due.
    get_after(&handler, "/a.txt", 499).await;
    assert_eq!(get_after(&handler, "/a.txt", 1_000).await.body, b"two");
}

#[tokio::test]
async fn a_root_that_vanishes_is_an_error_until_it_is_back() {
    let directory = Directory::new();
    directory.write("a.txt", "a");
    let telemetry = telemetry();
    let handler = SiteHandler::new(&site(directory.root()), 1, telemetry.clone()).unwrap();
    let away = directory.outside().join("away");
    std::fs::rename(directory.root(), &away).unwrap();
    for _ in 0..3 {
        assert_eq!(get_after(&handler, "/a.txt", 1_000).await.status, 500);
    }
    std::fs::rename(&away, directory.root()).unwrap();
    assert_eq!(get_after(&handler, "/a.txt", 2_000).await.body, b"a");
    let said: Vec<String> = telemetry
        .events
        .last(9)
        .into_iter()
        .map(|event| event.what)
        .collect();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].contains("cannot be opened any more") && said[1].contains("readable again"));
}

#[tokio::test]
async fn a_file_that_shrinks_keeps_its_descriptor_and_length_until_noticed() {
    let directory = Directory::new();
    let file = directory.write("a.bin", vec![7; 50_000]);
    age(&file, 100);
    let handler = super::unwatched(&site(directory.root()));
    assert_eq!(get(&handler, "/a.bin").await.body.len(), 50_000);
    directory.write("a.bin", "short");
    let got = get_after(&handler, "/a.bin", 1_000).await;
    assert_eq!((got.status, &got.body[..]), (200, b"short".as_slice()));
}

#[tokio::test]
async fn memory_and_descriptors_stay_within_their_bounds() {
    let directory = Directory::new();
    let handler = super::handler(&site(directory.root()));
    let before = std::fs::read_dir("/proc/self/fd").unwrap().count();
    let large = directory.write("large-0", vec![1; 20_000]);
    for i in 1..1_500 {
        std::fs::hard_link(&large, directory.root().join(format!("large-{i}"))).unwrap();
    }
    for i in 0..1_500 {
        assert_eq!(get(&handler, &format!("/large-{i}")).await.status, 200);
    }
    let after = std::fs::read_dir("/proc/self/fd").unwrap().count();
    // Other tests run in this process too.
    assert!(after < before + 1_024 + 200, "{before} {after}");
    let small = directory.write("small-0", vec![1; 16_384]);
    for i in 1..3_000 {
        std::fs::hard_link(&small, directory.root().join(format!("small-{i}"))).unwrap();
    }
    for i in 0..3_000 {
        assert_eq!(get(&handler, &format!("/small-{i}")).await.status, 200);
    }
    assert!(handler.0.workers[0].cache.memory() <= 32 << 20);
    assert!(
        !get(&handler, "/small-2999").await.later,
        "the last is kept"
    );
}
