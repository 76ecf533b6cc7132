//! `tandem doctor tomcat`: each thing that costs a day when it is wrong is named in a sentence, with the remedy.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};

use common::{Dir, stdout, tandem, wait_until};

/// A memcached of ours, for the round trip.
struct Store {
    child: Child,
    address: String,
}

impl Store {
    fn start() -> Self {
        let port = common::ports::free().port();
        let child = tandem()
            .args(["memcached", "-u", "root", "-l", "127.0.0.1", "-p"])
            .arg(port.to_string())
            .stderr(Stdio::null())
            .spawn()
            .expect("a memcached");
        let address = format!("127.0.0.1:{port}");
        wait_until("the memcached listens", || {
            std::net::TcpStream::connect(&address).is_ok()
        });
        Self { child, address }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An archive with one stored file.
fn archive(name: &str, content: &[u8]) -> Vec<u8> {
    let length = content.len() as u32;
    let mut local = [0u8; 30];
    local[26..28].copy_from_slice(&(name.len() as u16).to_le_bytes());
    let mut central = [0u8; 46];
    central[..4].copy_from_slice(b"PK\x01\x02");
    central[20..24].copy_from_slice(&length.to_le_bytes());
    central[28..30].copy_from_slice(&(name.len() as u16).to_le_bytes());
    let start = 30 + name.len() as u32 + length;
    let mut end = [0u8; 22];
    end[..4].copy_from_slice(b"PK\x05\x06");
    end[12..16].copy_from_slice(&(46 + name.len() as u32).to_le_bytes());
    end[16..20].copy_from_slice(&start.to_le_bytes());
    [
        &local[..],
        name.as_bytes(),
        content,
        &central,
        name.as_bytes(),
        &end,
    ]
    .concat()
}

/// A Tomcat as far as the doctor looks at it.
struct Tomcat(Dir);

impl Tomcat {
    fn new(version: &str, flavour: &str, manager: &str) -> Self {
        let tomcat = Self(Dir::new());
        tomcat.put("conf/server.xml", b"<Server/>");
        tomcat.put(
            "conf/context.xml",
            format!("<Context>{manager}</Context>").as_bytes(),
        );
        tomcat.put(
            "lib/catalina.jar",
            &archive(
                "org/apache/catalina/util/ServerInfo.properties",
                format!("server.number={version}\n").as_bytes(),
            ),
        );
        tomcat.manager("lib/tandem-tomcat.jar", flavour);
        tomcat
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, bytes).expect("a file");
    }

    fn manager(&self, name: &str, flavour: &str) {
        let class = format!("\u{1}{flavour}/servlet/ServletException\u{1}");
        self.put(
            name,
            &archive("io/tandem/tomcat/SessionValve.class", class.as_bytes()),
        );
    }

    fn path(&self) -> PathBuf {
        self.0.path().to_owned()
    }
}

fn doctor(base: &Path, more: &[&str]) -> (String, Option<i32>) {
    let output: Output = tandem()
        .args(["doctor", "tomcat"])
        .arg(base)
        .args(more)
        .env_remove("CATALINA_HOME")
        .env_remove("TANDEM_SESSIONS")
        .env_remove("TANDEM_SESSION_KEY")
        .output()
        .expect("the binary runs");
    (stdout(&output), output.status.code())
}

const MANAGER: &str =
    r#"<Manager className="io.tandem.tomcat.SessionManager" key="0123456789abcdef"/>"#;

#[test]
fn a_healthy_tomcat_has_nothing_wrong() {
    let store = Store::start();
    let tomcat = Tomcat::new("10.1.60.0", "jakarta", MANAGER);
    let (text, code) = doctor(&tomcat.path(), &["--agent", &store.address]);
    assert_eq!(code, Some(0), "{text}");
    for said in [
        "good   Tomcat 10.1.60.0 in ",
        "good   The session manager (jakarta) is ",
        "the session manager is in use, and its attributes are good.",
        "an item was stored, read and removed.",
        "is a memcached, and no agent of Tandem",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
}

#[test]
fn each_mistake_is_named_with_its_remedy() {
    let wrong = |tomcat: &Tomcat, said: &str| {
        let (text, code) = doctor(&tomcat.path(), &["--agent", "127.0.0.1:1"]);
        let found = text
            .lines()
            .any(|line| line.starts_with("WRONG") && line.contains(said));
        assert!(found, "{said}: {text}");
        assert_eq!(code, Some(1));
    };
    let tomcat = |manager: &str| Tomcat::new("10.1.60.0", "jakarta", manager);
    wrong(&tomcat(MANAGER), "No agent answers at 127.0.0.1:1");
    wrong(&tomcat(""), "No application uses the session manager");
    wrong(
        &tomcat(r#"<Manager className="de.javakaffee.web.msm.MemcachedBackupSessionManager"/>"#),
        "change className to \"io.tandem.tomcat.SessionManager\"",
    );
    wrong(
        &tomcat(r#"<Manager className="io.tandem.tomcat.SessionManager" sesions="a:1"/>"#),
        "did you mean sessions?",
    );
    wrong(
        &tomcat(r#"<Manager className="io.tandem.tomcat.SessionManager" lockingMode="some"/>"#),
        "write none, all, auto or uriPattern:REGEX",
    );
    wrong(&tomcat("<Manager"), "this is no XML");
    wrong(
        &Tomcat::new("9.0.117.0", "jakarta", MANAGER),
        "this Tomcat has javax.servlet: put tandem-tomcat-javax-*.jar in its place",
    );
    wrong(
        &Tomcat::new("8.5.100.0", "javax", MANAGER),
        "is too old: use 9, 10.1 or 11",
    );
    wrong(&Tomcat::new("10.0.27.0", "jakarta", MANAGER), "use 10.1");
    let missing = tomcat(MANAGER);
    fs::remove_file(missing.path().join("lib/tandem-tomcat.jar")).expect("it was there");
    wrong(&missing, "copy tandem-tomcat-jakarta-*.jar into ");
    let twice = tomcat(MANAGER);
    twice.manager("lib/another.jar", "jakarta");
    wrong(&twice, "is there 2 times");
    let inside = tomcat(MANAGER);
    inside.manager("webapps/shop/WEB-INF/lib/tandem-tomcat.jar", "jakarta");
    wrong(&inside, "is in an application");
    let elsewhere = Dir::new();
    let (text, code) = doctor(elsewhere.path(), &[]);
    assert!(text.contains("is no CATALINA_BASE"), "{text}");
    assert_eq!(code, Some(1));
}

#[test]
fn the_agent_is_looked_for_where_the_manager_would() {
    let store = Store::start();
    let nodes = format!(
        r#"<Manager className="io.tandem.tomcat.SessionManager" memcachedNodes="n1:{}"/>"#,
        store.address
    );
    let tomcat = Tomcat::new("11.0.24.0", "jakarta", &nodes);
    let (text, code) = doctor(&tomcat.path(), &[]);
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains(&format!("through {}", store.address)),
        "{text}"
    );
    assert!(
        text.contains("note   ") && text.contains("are not sealed"),
        "{text}"
    );
}

#[test]
fn a_doctor_without_a_file_says_how_to_name_one() {
    let etc = Dir::new();
    let output = tandem()
        .arg("doctor")
        .env("TANDEM_ETC", etc.path())
        .output()
        .expect("the binary runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(common::stderr(&output).contains("`tandem doctor cluster.toml`"));
}
