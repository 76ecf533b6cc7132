//! The example as its reader would run it: two processes of it, one session tier, no stickiness.

mod common;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use common::Memcached;

/// The example's program, which `cargo test` builds beside this one.
fn program() -> PathBuf {
    let own = std::env::current_exe().expect("this program has a path");
    let target = own
        .ancestors()
        .nth(2)
        .expect("it is in target/PROFILE/deps");
    let program = target.join("examples/counter");
    assert!(
        program.exists(),
        "{} is missing: `cargo test` without a target builds it",
        program.display()
    );
    program
}

/// One process of it.
struct App {
    child: Child,
    address: String,
}

impl App {
    fn start(tier: &Memcached) -> Self {
        let mut child = Command::new(program())
            .env("HOST", "127.0.0.1")
            .env("PORT", "0")
            .env("TANDEM_SESSIONS", tier.address.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the example starts");
        let mut line = String::new();
        let out = child.stdout.take().expect("it is piped");
        BufReader::new(out)
            .read_line(&mut line)
            .expect("it says where it listens");
        let address = line
            .trim()
            .trim_start_matches("http://")
            .trim_end_matches('/');
        Self {
            address: address.to_owned(),
            child,
        }
    }

    /// One request of a browser that has this cookie, which an answer may replace. Returns status and text.
    fn get(&self, path: &str, cookie: &mut String) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a whole head");
        for line in head.lines() {
            let field = line.split_once(": ");
            if let Some((name, value)) = field
                && name.eq_ignore_ascii_case("set-cookie")
            {
                value
                    .split(';')
                    .next()
                    .unwrap_or_default()
                    .clone_into(cookie);
            }
        }
        let status = head.split(' ').nth(1).expect("a status");
        (status.parse().expect("a number"), body.to_owned())
    }
}

impl Drop for App {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `visits id` as the page has it.
fn parts(page: &(u16, String)) -> (u64, String) {
    assert_eq!(page.0, 200, "{}", page.1);
    let (visits, id) = page.1.trim().split_once(' ').expect("two words");
    (visits.parse().expect("a number"), id.to_owned())
}

#[test]
fn two_processes_of_the_example_share_a_session_and_a_logout_ends_it_in_both() {
    let tier = Memcached::start();
    let apps = [App::start(&tier), App::start(&tier)];
    let mut cookie = String::new();
    assert_eq!(parts(&apps[0].get("/", &mut cookie)), (1, "new".into()));
    let (visits, id) = parts(&apps[1].get("/", &mut cookie));
    assert_eq!(visits, 2);
    assert_eq!(parts(&apps[0].get("/", &mut cookie)), (3, id.clone()));

    let before = cookie.clone();
    assert_eq!(apps[1].get("/login", &mut cookie).0, 200);
    assert_ne!(cookie, before, "a login changes the id");
    let (visits, new) = parts(&apps[0].get("/", &mut cookie));
    assert_eq!(visits, 4, "and keeps what the session holds");
    assert_ne!(new, id);

    let ended = cookie.clone();
    assert_eq!(apps[0].get("/logout", &mut cookie).0, 200);
    for app in &apps {
        assert_eq!(
            parts(&app.get("/", &mut ended.clone())).0,
            1,
            "the session is gone"
        );
    }

    assert_eq!(parts(&apps[0].get("/", &mut cookie)).0, 1);
    drop(tier);
    let (status, text) = apps[0].get("/", &mut cookie);
    assert_eq!(status, 503, "without the tier it says so: {text}");
}
