//! The classic six machines by their own files: imported, checked, rehearsed, and killed one after the other.

mod common;

use std::fs;

use common::{Dir, Running, Visitor, get, output, stderr, tandem};
use serde_json::{Value, json};

const CLASSIC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/classic/");
const SESSION: &str = "/test/session";

/// Imports the three files into `cluster.toml`, which is checked, and returns what it says.
fn import(dir: &Dir) -> String {
    let file = dir.path().join("cluster.toml");
    let mut command = tandem();
    command.arg("import");
    command
        .args(["haproxy.cfg", "nginx.conf", "context.xml"].map(|name| format!("{CLASSIC}{name}")));
    let imported = command.arg("-o").arg(&file).output().expect("it runs");
    assert!(imported.status.success(), "{}", stderr(&imported));
    let key = output(&["key"]);
    let key = String::from_utf8_lossy(&key.stdout);
    let checked = tandem()
        .arg("check")
        .arg(&file)
        .env("TANDEM_KEY", key.trim())
        .output();
    let checked = checked.expect("it runs");
    assert!(checked.status.success(), "{}", stderr(&checked));
    fs::read_to_string(file).expect("it was written")
}

/// One visitor's session, which must stay what it is.
struct Scene {
    cluster: Running,
    visitor: Visitor,
    last: Value,
}

impl Scene {
    /// A reload: the same session, seen once more.
    fn reload(&mut self) {
        let page = self.visitor.get(SESSION).expect("it answers");
        assert_eq!(page.status, 200, "{page:?}");
        let now = page.json();
        for key in ["session_id", "created", "attributes"] {
            assert_eq!(now[key], self.last[key], "{key}");
        }
        assert!(
            now["visits"].as_u64() > self.last["visits"].as_u64(),
            "{now} after {}",
            self.last
        );
        self.last = now;
    }

    fn kills(&mut self, targets: &[&[&str]]) {
        for target in targets {
            let killed = self.cluster.node(&[&["kill"], *target].concat());
            assert!(killed.status.success(), "{}", stderr(&killed));
        }
        for _ in 0..6 {
            self.reload();
        }
        for target in targets.iter().filter(|target| target.len() == 1) {
            let started = self.cluster.node(&["start", target[0]]);
            assert!(started.status.success(), "{}", stderr(&started));
        }
        self.cluster.wait_until_well();
    }
}

#[test]
fn a_classic_set_ups_own_files_become_a_cluster_that_keeps_sessions_through_every_kill() {
    let dir = Dir::new();
    fs::create_dir(dir.path().join("www")).expect("room");
    dir.file("www/index.html", "a static page");
    // Another root and another port than those of the machines; nothing else.
    let www = dir.path().join("www");
    let text = import(&dir).replace("/srv/www", &www.to_string_lossy());
    let file = dir.file("cluster.toml", &text.replace("\":80\"", "\":18093\""));
    let cluster = Running::start(&["rehearse", &file]);
    cluster.wait_until_well();

    let front = cluster.address();
    let page = get(front, "/");
    assert_eq!((page.status, &*page.text()), (200, "a static page"));
    assert_eq!(get(front, "/images/absent.png").status, 404);

    let mut visitor = Visitor::new(front);
    let stored = visitor.post_json(SESSION, r#"{"key":"cart","value":["tea"]}"#);
    let last = stored.expect("it answers").json();
    assert_eq!(last["attributes"], json!({"cart": ["tea"]}));
    let mut scene = Scene {
        cluster,
        visitor,
        last,
    };
    for _ in 0..10 {
        let before = scene.last["served_by"].clone();
        scene.reload();
        assert_ne!(scene.last["served_by"], before, "exactly in turn");
    }
    for path in ["/test/", "/test/index.jsp", "/any/index.do"] {
        let page = scene.visitor.get(path).expect("it answers");
        let text = page.text();
        assert!(
            page.status != 502 && !text.contains("a static page"),
            "{path}: {text}"
        );
    }
    for targets in [
        &[&["app1", "--app"][..]][..],
        &[&["app2"]],
        &[&["cache1"]],
        &[&["app1"], &["cache2"]],
    ] {
        scene.kills(targets);
    }
}
