//! There is no way out of the root, and nothing in it that could hold us.

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use proptest::prelude::*;
use rustix::fs::{CWD, FileType, Mode};
use tandem_http::Moment;

use super::{Directory, ask, get, handler, on_every_kernel, site, telemetry, within};
use crate::SiteHandler;

const SECRET: &[u8] = b"nobody may read this";

/// A root with a secret beside it.
fn guarded() -> Directory {
    let directory = Directory::new();
    std::fs::write(directory.outside().join("secret.txt"), SECRET).unwrap();
    std::fs::create_dir(directory.outside().join("private")).unwrap();
    std::fs::write(directory.outside().join("private/index.html"), SECRET).unwrap();
    directory.write("sub/a.txt", "a");
    directory.write("index.html", "home");
    directory
}

#[tokio::test]
async fn no_spelling_of_a_path_leads_out() {
    let directory = guarded();
    let absolute = format!("/{}", directory.outside().join("secret.txt").display());
    for (kernel, handler) in on_every_kernel(&directory) {
        for path in [
            "/../secret.txt",
            "/sub/../../secret.txt",
            "/%2e%2e/secret.txt",
            "/%2e%2e%2fsecret.txt",
            "/..%2fsecret.txt",
            "/sub/%2e%2e/%2e%2e/secret.txt",
            "/%252e%252e/secret.txt",
            "/%252e%252e%252fsecret.txt",
            "/..%5csecret.txt",
            "/..\\secret.txt",
            "/sub\\..\\..\\secret.txt",
            "/....//secret.txt",
            "/..;/secret.txt",
            "/..%00/secret.txt",
            "/secret.txt%00.html",
            "/%c0%ae%c0%ae/secret.txt",
            "/%c0%ae%c0%ae%c0%afsecret.txt",
            "/%e0%80%ae%e0%80%ae/secret.txt",
            "/%uff0e%uff0e/secret.txt",
            "/sub/a.txt/../../../secret.txt",
            "/./../secret.txt",
            "/../root/../secret.txt",
            "//../secret.txt",
            "/..//secret.txt",
            "/../private/",
            "/%2e%2e/private",
            "/file:///etc/passwd",
            "/~/secret.txt",
            "/proc/self/root/etc/passwd",
            "http://www/../secret.txt",
            &absolute,
        ] {
            let got = ask(&handler, "GET", path.as_bytes(), &[], Moment::now()).await;
            assert!(
                matches!(got.status, 400 | 403 | 404),
                "{kernel:?} {path}: {}",
                got.status
            );
            assert!(got.body != SECRET, "{kernel:?} {path}");
        }
    }
}

#[tokio::test]
async fn a_link_that_leads_out_is_told_once_a_minute_with_the_number_of_the_others() {
    let directory = guarded();
    directory.link(directory.outside().join("secret.txt"), "link.txt");
    let telemetry = telemetry();
    let handler = SiteHandler::new(&site(directory.root()), 1, telemetry.clone()).unwrap();
    let begun = Moment::now();
    for second in [0, 1, 59, 60, 119, 121] {
        let now = begun + Duration::from_secs(second);
        let got = ask(&handler, "GET", b"/link.txt", &[], now).await;
        assert_eq!(got.status, 403);
        // What is not there, and what has no listing, is nobody's fault.
        ask(&handler, "GET", b"/none.txt", &[], now).await;
        ask(&handler, "GET", b"/sub/", &[], now).await;
    }
    let told = telemetry.events.last(9);
    let told: Vec<&str> = told.iter().map(|event| &*event.what).collect();
    assert_eq!(told.len(), 3, "{told:?}");
    let named = "root/link.txt\" is answered 403: a symbolic link on the way leads out of the root";
    assert!(told.iter().all(|told| told.contains(named)), "{told:?}");
    assert!(!told[0].contains("more"), "{told:?}");
    assert!(told[1].ends_with("(refusals since the last one that was told: 2 more)"));
    assert!(told[2].ends_with("(refusals since the last one that was told: 1 more)"));
}

#[tokio::test]
async fn links_may_lead_anywhere_below_the_root_and_nowhere_else() {
    let directory = guarded();
    directory.write("releases/5/page.txt", "five");
    directory.link("releases/5", "current");
    directory.link(directory.root().join("releases/5"), "absolute");
    directory.link("../sub/../current/page.txt", "sub/roundabout.txt");
    directory.link("../secret.txt", "up.txt");
    directory.link("../../secret.txt", "sub/up.txt");
    directory.link(directory.outside().join("secret.txt"), "absolute.txt");
    directory.link(directory.outside(), "out");
    directory.link(directory.root().join("../secret.txt"), "dotted.txt");
    directory.link("/etc", "etc");
    directory.link("/proc/self/root", "proc");
    directory.link("loop", "loop");
    directory.link("nowhere", "dangling");
    // Out and in again is out: what is outside is not even looked at.
    directory.link("../root/index.html", "through.html");
    for (kernel, handler) in on_every_kernel(&directory) {
        for path in [
            "/current/page.txt",
            "/absolute/page.txt",
            "/sub/roundabout.txt",
        ] {
            for _ in 0..2 {
                let got = get(&handler, path).await;
                assert_eq!(
                    (got.status, &got.body[..]),
                    (200, b"five".as_slice()),
                    "{kernel:?} {path}"
                );
            }
        }
        assert_eq!(
            get(&handler, "/current").await.field("Location"),
            Some("/current/")
        );
        for (path, status) in [
            ("/up.txt", 403),
            ("/sub/up.txt", 403),
            ("/absolute.txt", 403),
            ("/out/secret.txt", 403),
            ("/out", 403),
            ("/out/", 403),
            ("/out/private/", 403),
            ("/dotted.txt", 403),
            ("/etc/passwd", 403),
            ("/proc/etc/passwd", 403),
            ("/through.html", 403),
            ("/loop", 404),
            ("/dangling", 404),
        ] {
            let got = get(&handler, path).await;
            assert_eq!(got.status, status, "{kernel:?} {path}");
            assert!(got.body != SECRET, "{kernel:?} {path}");
        }
    }
}

#[tokio::test]
async fn what_is_no_regular_file_is_not_there_and_holds_nobody() {
    let directory = guarded();
    let root = directory.root();
    rustix::fs::mknodat(
        CWD,
        root.join("fifo"),
        FileType::Fifo,
        Mode::RUSR | Mode::WUSR,
        0,
    )
    .unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
    let device = rustix::fs::makedev(1, 5);
    let mode = Mode::RUSR | Mode::WUSR;
    let devices = rustix::fs::mknodat(
        CWD,
        root.join("zero"),
        FileType::CharacterDevice,
        mode,
        device,
    );
    if devices.is_err() {
        eprintln!("skipped: devices can be made by root only");
    }
    for (kernel, handler) in on_every_kernel(&directory) {
        for path in ["/fifo", "/socket", "/zero", "/fifo/", "/fifo/x"] {
            // A file system may not allow devices to be opened at all.
            let got = within(get(&handler, path)).await;
            assert!(
                matches!(got.status, 403 | 404),
                "{kernel:?} {path}: {}",
                got.status
            );
        }
    }
}

#[tokio::test]
async fn hidden_names_are_not_there_unless_they_are_shown() {
    let directory = guarded();
    directory.write(".htpasswd", "secret");
    directory.write(".git/config", "secret");
    directory.write(".well-known/security.txt", "mail us");
    let mut site = site(directory.root());
    let hiding = handler(&site);
    for path in [
        "/.htpasswd",
        "/.git/config",
        "/.git",
        "/.git/",
        "/%2egit/config",
        "/sub/../.git/config",
    ] {
        assert_eq!(get(&hiding, path).await.status, 404, "{path}");
    }
    assert_eq!(
        get(&hiding, "/.well-known/security.txt").await.body,
        b"mail us"
    );
    site.hidden = true;
    assert_eq!(get(&handler(&site), "/.git/config").await.body, b"secret");
}

#[tokio::test]
async fn names_that_are_not_utf8_are_names() {
    let directory = guarded();
    let name = directory
        .root()
        .join(std::ffi::OsStr::from_bytes(b"caf\xe9.txt"));
    std::fs::write(name, "latin").unwrap();
    for (_, handler) in on_every_kernel(&directory) {
        assert_eq!(get(&handler, "/caf%E9.txt").await.body, b"latin");
        assert_eq!(get(&handler, "/caf%C3%A9.txt").await.status, 404);
    }
}

#[tokio::test]
async fn names_too_long_for_a_file_are_not_there() {
    let directory = guarded();
    for (_, handler) in on_every_kernel(&directory) {
        for path in [
            format!("/{}", "a".repeat(300)),
            format!("/{}", "a/".repeat(2_000)),
            "/sub/a.txt/b".into(),
        ] {
            assert_eq!(get(&handler, &path).await.status, 404);
        }
    }
}

#[tokio::test]
async fn what_may_not_be_read_is_forbidden() {
    if rustix::process::geteuid().is_root() {
        eprintln!("skipped: root may read everything");
        return;
    }
    let directory = guarded();
    let closed = directory.write("closed.txt", "x");
    directory.write("entered/index.html", "in");
    let mode =
        |path, bits| std::fs::set_permissions(path, PermissionsExt::from_mode(bits)).unwrap();
    mode(closed, 0o000);
    mode(directory.root().join("entered"), 0o111);
    mode(directory.root().join("sub"), 0o000);
    for (kernel, handler) in on_every_kernel(&directory) {
        assert_eq!(get(&handler, "/closed.txt").await.status, 403, "{kernel:?}");
        assert_eq!(get(&handler, "/sub/a.txt").await.status, 403, "{kernel:?}");
        assert_eq!(get(&handler, "/entered").await.status, 301, "{kernel:?}");
        assert_eq!(get(&handler, "/entered/").await.body, b"in", "{kernel:?}");
    }
    mode(directory.root().join("sub"), 0o755);
}

/// Pieces that paths of attacks are made of.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("/".to_owned()),
        Just("..".to_owned()),
        Just("../".to_owned()),
        Just("%2e%2e%2f".to_owned()),
        Just("%2e".to_owned()),
        Just("%2F".to_owned()),
        Just("%5c".to_owned()),
        Just("\\".to_owned()),
        Just("%00".to_owned()),
        Just("%25".to_owned()),
        Just("sub".to_owned()),
        Just("out".to_owned()),
        Just("link".to_owned()),
        Just("root".to_owned()),
        Just("secret.txt".to_owned()),
        Just("private".to_owned()),
        Just("tmp".to_owned()),
        Just(".".to_owned()),
        "[!-~]{1,3}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_path_at_all_leads_out_of_the_root(pieces in proptest::collection::vec(piece(), 0..12)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let directory = guarded();
        directory.link("..", "out");
        directory.link("../../..", "sub/link");
        let path = format!("/{}", pieces.concat());
        for (_, handler) in on_every_kernel(&directory) {
            let got = runtime.block_on(ask(&handler, "GET", path.as_bytes(), &[], Moment::now()));
            prop_assert!(got.body != SECRET, "{}", path);
            prop_assert!(matches!(got.status, 200 | 204 | 301 | 400 | 403 | 404), "{} {}", path, got.status);
        }
    }
}
