//! `tandem haproxy` and `tandem nginx` as processes: pid files, signals, exit codes and messages as init scripts expect.

mod common;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A directory of a test; the process of its pid file ends with it.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("tandem-foreign-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    fn pid_file(&self) -> PathBuf {
        self.0.join("pid")
    }

    fn pid(&self) -> i32 {
        let text = std::fs::read_to_string(self.pid_file()).expect("a pid file");
        text.trim().parse().expect("a number")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let pid = std::fs::read_to_string(self.pid_file());
        if let Some(text) = pid.ok().filter(|text| !text.trim().is_empty()) {
            let _ = Command::new("kill").arg("-9").arg(text.trim()).status();
        }
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn tandem(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tandem"))
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn free_port() -> u16 {
    common::ports::free().port()
}

fn body(port: u16) -> String {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else {
        return "refused".into();
    };
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer.split("\r\n\r\n").nth(1).unwrap_or("").to_owned()
}

fn until(what: &str, held: impl Fn() -> bool) {
    let begun = Instant::now();
    while !held() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn runs(pid: i32) -> bool {
    // A zombie, whose parent has not asked for it, runs no more.
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn haproxy_runs_as_a_daemon_and_is_taken_over_from() {
    let place = Place::new("haproxy");
    let port = free_port();
    let text = |said: &str| {
        format!(
            "defaults\n mode http\nlisten l\n bind 127.0.0.1:{port}\n http-request return status 200 content-type text/plain string {said}\n"
        )
    };
    let file = place.write("h.cfg", &text("one"));
    let pid_file = place.pid_file().display().to_string();
    let checked = tandem(&["haproxy", "-c", "-f", &file]);
    assert!(checked.status.success());
    assert_eq!(
        String::from_utf8_lossy(&checked.stdout),
        "Configuration file is valid\n"
    );

    assert!(
        tandem(&["haproxy", "-D", "-f", &file, "-p", &pid_file])
            .status
            .success()
    );
    assert_eq!(body(port), "one", "it serves when the command returns");
    let first = place.pid();

    place.write("h.cfg", &text("two"));
    let old = first.to_string();
    let next = tandem(&["haproxy", "-D", "-f", &file, "-p", &pid_file, "-sf", &old]);
    assert!(next.status.success(), "{next:?}");
    assert_ne!(place.pid(), first);
    until("the old one ends", || !runs(first));
    assert_eq!(body(port), "two");

    place.write("h.cfg", &text("three"));
    let pid = place.pid().to_string();
    assert!(
        Command::new("kill")
            .args(["-HUP", &pid])
            .status()
            .unwrap()
            .success()
    );
    until("the file is read again", || body(port) == "three");
    assert!(
        Command::new("kill")
            .args(["-USR1", &pid])
            .status()
            .unwrap()
            .success()
    );
    until("it ends in order", || !place.pid_file().exists());
    assert_eq!(body(port), "refused");
}

#[test]
fn a_second_start_that_fails_leaves_the_pid_file_to_the_server_that_runs() {
    let place = Place::new("twice");
    let port = free_port();
    let file = place.write(
        "h.cfg",
        &format!("defaults\n mode http\nlisten l\n bind 127.0.0.1:{port}\n http-request return status 200 content-type text/plain string one\n"),
    );
    let pid_file = place.pid_file().display().to_string();
    let start = || tandem(&["haproxy", "-D", "-f", &file, "-p", &pid_file]);
    assert!(start().status.success());
    let first = place.pid();
    assert!(!start().status.success(), "its address is taken");
    assert_eq!(place.pid(), first);
    assert_eq!(body(port), "one");
    // And where there is none, none is left behind.
    let other = place.0.join("other-pid").display().to_string();
    let failed = tandem(&["haproxy", "-D", "-f", &file, "-p", &other]);
    assert!(!failed.status.success());
    assert!(!Path::new(&other).exists());
}

#[test]
fn haproxys_statistics_for_everybody_are_the_admin_pages_of_this_machine() {
    let place = Place::new("haproxy-stats");
    let (front, stats) = (free_port(), free_port());
    let file = place.write(
        "haproxy.cfg",
        &format!(
            "defaults\n mode http\n timeout connect 5s\n timeout client 5s\n timeout server 5s\nlisten stats\n bind *:{stats}\n stats enable\n stats uri /\nfrontend f\n bind 127.0.0.1:{front}\n http-request return status 200 string served\n"
        ),
    );
    let pid_file = place.pid_file().display().to_string();
    let start = |token: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tandem"));
        let args = ["haproxy", "-D", "-f", &file, "-p", &pid_file];
        let done = command.args(args).env("TANDEM_ADMIN_TOKEN", token);
        let done = done.stdin(Stdio::null()).output().unwrap();
        assert!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
    };
    let stop = || {
        let pid = place.pid();
        let _ = Command::new("kill").arg(pid.to_string()).status();
        until("it ends", || !runs(pid));
    };
    let listens = |address: &str| TcpStream::connect((address, stats)).is_ok();
    start("");
    assert_eq!(body(front), "served");
    assert!(body(stats).contains("<html"), "{}", body(stats));
    // All addresses of the loopback would be reached if it listened everywhere.
    assert!(!listens("127.0.0.2"));
    stop();
    start("a token that is long enough");
    assert!(listens("127.0.0.2"));
    assert!(!body(stats).contains("tandem_"), "{}", body(stats));
    stop();
}

#[test]
fn haproxy_says_what_is_wrong_in_its_own_words() {
    let place = Place::new("haproxy-wrong");
    let file = place.write("h.cfg", "listen l\n bnid 127.0.0.1:1\n");
    let said = tandem(&["haproxy", "-c", "-f", &file]);
    assert_eq!(said.status.code(), Some(1));
    let error = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(
        error.contains("[ALERT]")
            && error.contains(&format!("parsing [{file}:2] : unknown keyword 'bnid'")),
        "{error}"
    );
    assert!(error.contains("did you mean `bind`?"), "{error}");
}

#[test]
fn a_haproxy_cfg_without_a_listener_is_not_started() {
    let place = Place::new("haproxy-deaf");
    for text in [
        "",
        "defaults\n mode http\nbackend b\n server s 127.0.0.1:82\n",
    ] {
        let file = place.write("haproxy.cfg", text);
        for check in [&["-c"][..], &[]] {
            let done = tandem(&[&["haproxy", "-f", &file], check].concat());
            let said = String::from_utf8_lossy(&done.stderr).into_owned();
            assert_eq!(done.status.code(), Some(2), "{said}");
            assert!(said.contains("will not start (no listener)"), "{said}");
        }
    }
}

#[test]
fn nginx_is_tested_reloaded_and_stopped_by_its_own_command_line() {
    let place = Place::new("nginx");
    let port = free_port();
    let prefix = place.0.display().to_string();
    let text = |said: &str| {
        format!(
            "pid pid; error_log e.log; events {{}} http {{ access_log off; server {{ listen 127.0.0.1:{port}; return 200 {said}; }} }}"
        )
    };
    place.write("nginx.conf", &text("one"));
    let nginx = |args: &[&str]| {
        let mut all = vec!["nginx", "-p", &prefix, "-c", "nginx.conf"];
        all.extend(args);
        tandem(&all)
    };
    let tested = nginx(&["-t"]);
    let said = String::from_utf8_lossy(&tested.stderr).into_owned();
    assert!(
        tested.status.success()
            && said.contains("syntax is ok")
            && said.contains("test is successful"),
        "{said}"
    );
    assert_eq!(
        nginx(&["-s", "reload"]).status.code(),
        Some(1),
        "nothing runs yet"
    );

    assert!(nginx(&[]).status.success());
    assert_eq!(body(port), "one", "it serves when the command returns");
    place.write("nginx.conf", &text("two"));
    assert!(nginx(&["-s", "reload"]).status.success());
    until("the file is read again", || body(port) == "two");

    // As logrotate does it.
    let errors = Path::new(&prefix).join("e.log");
    std::fs::rename(&errors, errors.with_extension("1")).expect("it is rotated");
    assert!(nginx(&["-s", "reopen"]).status.success());
    until("the error log is opened anew", || {
        std::fs::read_to_string(&errors).is_ok_and(|text| text.contains("opened anew"))
    });

    place.write("broken.conf", "events {} http { serer { } }");
    let broken = tandem(&["nginx", "-t", "-p", &prefix, "-c", "broken.conf"]);
    let said = String::from_utf8_lossy(&broken.stderr).into_owned();
    assert_eq!(broken.status.code(), Some(1));
    assert!(
        said.contains("nginx: [emerg] unknown directive \"serer\" in "),
        "{said}"
    );

    assert!(nginx(&["-s", "quit"]).status.success());
    until("it ends in order", || !place.pid_file().exists());
}

#[test]
fn init_scripts_find_the_user_in_nginxs_arguments() {
    let said = tandem(&["nginx", "-V"]);
    let text = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(
        text.contains("configure arguments: ") && text.contains(" --user="),
        "{text}"
    );
}

#[test]
fn keys_of_root_are_read_by_a_server_that_becomes_another_user_and_when_it_reloads() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root becomes another user");
        return;
    }
    let place = Place::new("root-keys");
    let (port, other) = (free_port(), free_port());
    let [old, new] = [(); 2].map(|()| common::certificate::localhost().0);
    let at = place.0.display();
    let nginx = format!(
        "user nobody nogroup;\nerror_log {at}/error.log;\npid {at}/pid;\nevents {{}}\nhttp {{ access_log off; server {{ listen 127.0.0.1:{port} ssl;\n\
         ssl_certificate {at}/chain; ssl_certificate_key {at}/key; return 200 \"nginx\"; }} }}\n"
    );
    let haproxy = format!(
        "global\n user nobody\n group nogroup\ndefaults\n mode http\n timeout client 5s\n timeout server 5s\n timeout connect 5s\n\
         frontend f\n bind 127.0.0.1:{other} ssl crt {at}/both\n errorfile 503 {at}/503.http\n"
    );
    let page = "HTTP/1.0 503 Sorry\r\nContent-Type: text/plain\r\n\r\nhaproxy";
    let give = |pem: &str| {
        let key = pem.find("-----BEGIN PRIVATE").expect("a key");
        for (name, text) in [
            ("chain", &pem[..key]),
            ("key", &pem[key..]),
            ("both", pem),
            ("503.http", page),
        ] {
            let file = place.write(name, text);
            let own = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            std::fs::set_permissions(file, own).unwrap();
        }
    };
    let get = |port: u16, trusted: &str| {
        let asked = Command::new("curl")
            .args(["-s", "--cacert", trusted])
            .arg(format!("https://localhost:{port}/"))
            .args(["--resolve", &format!("localhost:{port}:127.0.0.1")])
            .output();
        String::from_utf8_lossy(&asked.expect("curl is there").stdout).into_owned()
    };
    let trusted = [("old", &old), ("new", &new)].map(|(name, text)| place.write(name, text));
    let own = |args: &[&str]| {
        give(&old);
        let started = tandem(args);
        assert!(started.status.success(), "{started:?}");
    };
    let renewed = |port: u16, body: &str| {
        assert_eq!(get(port, &trusted[0]), body);
        give(&new);
        let pid = place.pid();
        let _ = Command::new("kill")
            .args(["-HUP", &pid.to_string()])
            .status();
        until("the new key is in use", || get(port, &trusted[1]) == body);
        let log = std::fs::read_to_string(place.0.join("error.log")).unwrap_or_default();
        assert!(!log.contains("was changed"), "{log}");
        let _ = Command::new("kill").arg(pid.to_string()).status();
        until("it ends", || !runs(pid));
        let left = std::env::temp_dir().join(format!("tandem-{body}-{pid}"));
        assert!(!left.exists(), "{} is left behind", left.display());
    };
    own(&["nginx", "-c", &place.write("nginx.conf", &nginx)]);
    renewed(port, "nginx");
    let file = place.write("haproxy.cfg", &haproxy);
    let pid_file = place.pid_file().display().to_string();
    own(&["haproxy", "-f", &file, "-D", "-p", &pid_file]);
    renewed(other, "haproxy");
}

#[test]
fn a_test_of_the_file_finds_certificates_that_cannot_be_used() {
    let place = Place::new("unusable");
    let (one, other) = (
        common::certificate::localhost().0,
        common::certificate::localhost().0,
    );
    let parts = |pem: &str| {
        let key = pem.find("-----BEGIN PRIVATE").expect("a key");
        (pem[..key].to_owned(), pem[key..].to_owned())
    };
    let ((chain, own), (_, foreign)) = (parts(&one), parts(&other));
    let chain = place.write("site.pem", &chain);
    let at = place.0.display();
    let haproxy = place.write(
        "haproxy.cfg",
        &format!("defaults\n mode http\n timeout client 5s\n timeout server 5s\n timeout connect 5s\nfrontend f\n bind 127.0.0.1:{} ssl crt {chain}\n", free_port()),
    );
    let nginx = place.write(
        "nginx.conf",
        &format!("pid {at}/pid;\nevents {{}}\nhttp {{ server {{ listen 127.0.0.1:{} ssl; ssl_certificate {chain}; ssl_certificate_key {chain}.key; return 204; }} }}\n", free_port()),
    );
    // HAProxy takes a key from the file beside.
    for (key, is_right) in [(foreign, false), (own, true)] {
        place.write("site.pem.key", &key);
        for (args, said) in [
            (["haproxy", "-c", "-f", &haproxy], "Fatal errors found"),
            (["nginx", "-t", "-c", &nginx], "test failed"),
        ] {
            let tested = tandem(&args);
            let errors = String::from_utf8_lossy(&tested.stderr).into_owned();
            assert_eq!(tested.status.success(), is_right, "{args:?}: {errors}");
            let is_told = errors.contains("does not have its private key") && errors.contains(said);
            assert_eq!(is_told, !is_right, "{errors}");
        }
    }
}
