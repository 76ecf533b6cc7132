//! The same file goes to the real program and to Tandem, and a table of requests to both: status, fields that matter,
//! body and the server that was chosen agree.
//!
//! Each file of `tests/oracle` ends with its table: lines `#? [TIMES] METHOD TARGET [FIELD: VALUE]`. `@FRONT@`, `@B1@`
//! and the like are filled in. `#?body` compares the bodies of errors, too; `#?tls` asks over TLS, `#?tls:NAME` with that
//! client's certificate (`ann` and `odd` of the authority `ca.pem`, `forged` of another); `#?soon` asks again until
//! both agree, since the first checks of servers take their time. A `Content-Length: N` has so many bytes behind it, and
//! `Transfer-Encoding: chunked` has 3,000.

mod common;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::uwsgi::{self, Uwsgi};
use common::{has, send};

/// How long a program may take until it listens. Many start at once.
const PATIENCE: Duration = Duration::from_mins(1);

/// How long two programs may take until they agree where checks decide.
const SOON: Duration = Duration::from_secs(10);

fn oracle(program: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/oracle")
        .join(program)
}

/// A directory of this test, gone when it ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("tandem-oracle-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        let root = path.join("root");
        for (file, text) in [
            ("index.html", "the index\n"),
            ("a.txt", "a text of some length\n"),
            ("app.js", "var a = 1;\n"),
            ("unknown.zzz", "who knows\n"),
            ("notes.md", "# notes\n"),
            ("data.CSV", "a,b\n"),
            ("feed.xml", "<a/>\n"),
            ("404.html", "our own 404\n"),
            ("403.html", "our own 403\n"),
            ("50x.html", "our own 50x\n"),
            ("sub/index.html", "the index of sub\n"),
            ("sub/b.txt", "b\n"),
            ("nested/sub2/c.txt", "c\n"),
            ("img/x.gif", "GIF89a\n"),
            ("text/x", "text\n"),
            ("packed/p.js", "var plain = 1;\n"),
            ("v.flv", "FLV-0123456789-0123456789-0123456789\n"),
            // The password is "secret".
            ("users", "alice:$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/\n"),
            (
                "hosts.map",
                "# hosts\na.example b1\nB.example b2\n\nc.example\tb3\n",
            ),
            ("paths.map", "/img b2\n/img/big b3\n/api b1\n"),
            ("ends.map", ".php b1\n.php5 b2\n.a.php b3\n"),
            ("patterns.lst", "# a comment\n/alpha\n/Beta\n"),
            (
                "extra/one.conf",
                "location /extra { return 200 \"extra\"; }\n",
            ),
            (
                "503.http",
                "HTTP/1.0 503 Busy\r\nContent-Type: text/html\r\n\r\nour own 503\n",
            ),
            (
                "403.http",
                "HTTP/1.0 403 No\r\nContent-Type: text/html\r\n\r\nour own 403\n",
            ),
            (
                "404.http",
                "HTTP/1.0 404 No\r\nContent-Type: text/plain\r\n\r\nour own 404\n",
            ),
        ] {
            let path = root.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let both = common::certificate::localhost().0;
        // Each program takes what it wants of it.
        for name in ["cert.pem", "key.pem", "both.pem"] {
            std::fs::write(path.join(name), &both).unwrap();
        }
        for (name, text) in common::certificate::clients() {
            std::fs::write(path.join(format!("{name}.pem")), text).unwrap();
        }
        // Not readable by others otherwise, and nginx's worker is another user.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&path, open).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A server that says who it is and what it was asked.
fn server(name: &'static str) -> u16 {
    let listener = common::ports::listen();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer(name, stream));
        }
    });
    port
}

fn answer(name: &str, stream: TcpStream) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    if let Some(said) = reader
        .fill_buf()
        .ok()
        .and_then(|asked| program(name, asked))
    {
        let _ = stream.write_all(said);
        return;
    }
    loop {
        let Some((first, fields)) = head(&mut reader) else {
            return;
        };
        let length = fields
            .get("content-length")
            .and_then(|n| n.parse().ok())
            .unwrap_or(0);
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let mut words = first.split(' ');
        let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let from = stream.peer_addr().map(|peer| peer.ip().to_string());
        let from = from.unwrap_or_default();
        let mut said = format!("{name} {method} {target}\nfrom {from}\n");
        for (field, value) in &fields {
            let forwarded = field.starts_with("x-forwarded") && value != "told"
                || field == "x-real-ip" && value.is_empty();
            let shown =
                (field.starts_with("x-") && !forwarded) || field == "host" || field == "cookie";
            if shown {
                let _ = writeln!(said, "{field}: {value}");
            }
        }
        // What it is told to say.
        let mut more = String::new();
        for (asked, field) in [("x-location", "Location"), ("x-cookie", "Set-Cookie")] {
            if let Some(value) = fields.get(asked) {
                let _ = write!(more, "{field}: {value}\r\n");
            }
        }
        if let Some(path) = fields.get("x-accel") {
            let _ = write!(
                more,
                "X-Accel-Redirect: {path}\r\nContent-Disposition: attachment\r\nSet-Cookie: a=1\r\n"
            );
        }
        let sent = if method == "HEAD" { "" } else { &said };
        // Of all servers, or of this one.
        let own = format!("/status-{name}/");
        let status = ["/status/", &own]
            .iter()
            .find_map(|path| target.strip_prefix(path));
        let status = status.unwrap_or("200");
        let answer = format!(
            "HTTP/1.1 {status} So\r\nContent-Type: text/plain\r\nX-Server: {name}\r\nX-Remove: me\r\n{more}Content-Length: {}\r\n\r\n{sent}",
            said.len()
        );
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// What checks of other protocols are told: `b1` is no such program, `b2` lets them in, `b3` does not.
fn program(name: &str, asked: &[u8]) -> Option<&'static [u8]> {
    let [refused, taken]: [&[u8]; 2] = match asked.first()? {
        // PostgreSQL: an error; how the user is to prove itself.
        0 => [b"E\0\0\0\x05\0", b"R\0\0\0\x0c\0\0\0\x05abcd"],
        // LDAP: invalid credentials; success, with lengths of four bytes.
        0x30 => [
            b"0\x0c\x02\x01\x01a\x07\n\x01\x31\x04\0\x04\0",
            b"0\x84\0\0\0\x10\x02\x01\x01a\x84\0\0\0\x07\n\x01\0\x04\0\x04\0",
        ],
        // TLS: nothing of it; an alert, as of those who want another version.
        0x16 => [b"HTTP/1.0 400 So\r\n\r\n", b"\x15\x03\x01\0\x02\x02\x28"],
        _ => return None,
    };
    Some(match name {
        "b1" => b"",
        "b2" => taken,
        _ => refused,
    })
}

fn head(reader: &mut impl std::io::BufRead) -> Option<(String, BTreeMap<String, String>)> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
    let first = line.trim_end().to_owned();
    let mut fields: BTreeMap<String, String> = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
        let line = line.trim_end();
        if line.is_empty() {
            return Some((first, fields));
        }
        let (name, value) = line.split_once(':')?;
        let value = value.trim();
        fields
            .entry(name.to_ascii_lowercase())
            .and_modify(|old| *old = format!("{old} & {value}"))
            .or_insert_with(|| value.to_owned());
    }
}

/// A program that is ended with the test.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        // In order, so that a master ends its workers, too.
        send(self.0.id(), rustix::process::Signal::TERM);
        let begun = std::time::Instant::now();
        while matches!(self.0.try_wait(), Ok(None))
            && begun.elapsed() < std::time::Duration::from_secs(10)
        {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A file and its table.
struct Case {
    name: String,
    text: String,
    requests: Vec<Request>,
}

struct Request {
    times: usize,
    method: String,
    target: String,
    field: Option<String>,
    bodies: bool,
    tls: bool,
    /// The certificate that the client has.
    own: Option<String>,
    soon: bool,
}

fn cases(program: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = std::fs::read_dir(oracle(program))
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            let requests = text.lines().filter_map(request).collect();
            Case {
                name: path.file_stem().unwrap().to_string_lossy().into_owned(),
                text,
                requests,
            }
        })
        .collect();
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases
}

fn request(line: &str) -> Option<Request> {
    let rest = line.strip_prefix("#?")?;
    let (bodies, rest) = given(rest, "body");
    let (tls, rest) = given(rest, "tls");
    let (own, rest) = match rest.strip_prefix(':').and_then(|rest| rest.split_once(' ')) {
        Some((own, rest)) => (Some(own.to_owned()), rest),
        None => (None, rest),
    };
    let (soon, rest) = given(rest, "soon");
    let mut words = rest.split_whitespace();
    let mut first = words.next()?;
    let mut times = 1;
    if let Ok(number) = first.parse() {
        times = number;
        first = words.next()?;
    }
    let target = words.next()?.to_owned();
    let field = words.collect::<Vec<_>>().join(" ");
    Some(Request {
        times,
        method: first.into(),
        target,
        field: (!field.is_empty()).then_some(field),
        bodies,
        tls,
        own,
        soon,
    })
}

/// Whether a line begins with this option, and what follows.
fn given<'l>(line: &'l str, option: &str) -> (bool, &'l str) {
    match line.strip_prefix(option) {
        Some(rest) => (true, rest),
        None => (false, line),
    }
}

/// A port that nobody here was given before: HAProxy shares a port with whoever has it, and nobody is told.
fn free_port() -> u16 {
    common::ports::free().port()
}

/// Writes the file for one of the two programs.
fn write(
    case: &Case,
    who: &str,
    scratch: &Path,
    ports: &[(&str, u16)],
    front: u16,
    ending: &str,
) -> PathBuf {
    let name = format!("{who}-{}", case.name);
    let mut text = case.text.clone();
    for (word, port) in ports {
        text = text.replace(word, &port.to_string());
    }
    text = text
        .replace("@FRONT@", &front.to_string())
        .replace("@INNER@", &free_port().to_string())
        .replace("@ROOT@", &scratch.join("root").display().to_string())
        .replace("@DIR@", &scratch.display().to_string())
        .replace("@NAME@", &name);
    let path = scratch.join(format!("{name}.{ending}"));
    std::fs::write(&path, text).unwrap();
    path
}

/// Starts one of the two programs on its file; where its front is.
fn launch(
    case: &Case,
    who: &str,
    scratch: &Path,
    ports: &[(&str, u16)],
    ending: &str,
    command: impl FnOnce(&Path) -> Command,
) -> (u16, Program) {
    let front = free_port();
    let path = write(case, who, scratch, ports, front, ending);
    let program = command(&path)
        .current_dir(scratch)
        .env("TMPDIR", scratch)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    (front, Program(program))
}

fn wait(front: u16, program: &mut Program, what: &str) {
    let begun = Instant::now();
    while TcpStream::connect(("127.0.0.1", front)).is_err() {
        if let Some(status) = program.0.try_wait().unwrap() {
            let mut said = String::new();
            let _ = program
                .0
                .stderr
                .as_mut()
                .map(|pipe| pipe.read_to_string(&mut said));
            panic!("{what} ended: {status}: {said}");
        }
        assert!(begun.elapsed() < PATIENCE, "{what} does not listen");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// All that comes until the end of the connection.
fn plainly(front: u16, asked: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(("127.0.0.1", front)).unwrap();
    let limit = Some(Duration::from_secs(20));
    stream.set_read_timeout(limit).unwrap();
    stream.write_all(asked.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // Whoever resets the connection has said what it wanted.
    let _ = stream.read_to_end(&mut answer);
    answer
}

/// The same by OpenSSL's client, which trusts anybody here.
fn over_tls(front: u16, asked: &str, own: Option<&Path>) -> Vec<u8> {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-quiet", "-servername", "front.example"]);
    command.args(["-connect", &format!("127.0.0.1:{front}")]);
    if let Some(own) = own {
        command.arg("-cert").arg(own).arg("-key").arg(own);
    }
    let mut client = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl starts");
    let mut to = client.stdin.take().expect("it is piped");
    to.write_all(asked.as_bytes()).unwrap();
    let answer = client.wait_with_output().unwrap().stdout;
    drop(to);
    answer
}

/// Asks, and gives what matters of the answer in one text.
fn ask(front: u16, request: &Request, scratch: &Path) -> String {
    let field = request.field.as_deref().unwrap_or("");
    let host = if field.to_ascii_lowercase().starts_with("host:") {
        String::new()
    } else {
        "Host: front.example\r\n".into()
    };
    let line = if field.is_empty() {
        String::new()
    } else {
        format!("{field}\r\n")
    };
    let length = field.strip_prefix("Content-Length: ");
    let (delimited, sent) = match (length.and_then(|n| n.parse().ok()), field) {
        (Some(length), _) => ("", "x".repeat(length)),
        (None, "Transfer-Encoding: chunked") => {
            let chunk = format!("{:x}\r\n{}\r\n", 1500, "x".repeat(1500));
            ("", format!("{chunk}{chunk}0\r\n\r\n"))
        }
        (None, _) if request.method == "POST" => ("Content-Length: 0\r\n", String::new()),
        (None, _) => ("", String::new()),
    };
    let asked = format!(
        "{} {} HTTP/1.1\r\n{host}{line}{delimited}Connection: close\r\n\r\n{sent}",
        request.method, request.target
    );
    let answer = if request.tls {
        let own = request.own.as_ref();
        let own = own.map(|own| scratch.join(format!("{own}.pem")));
        over_tls(front, &asked, own.as_deref())
    } else {
        plainly(front, &asked)
    };
    let mut reader = &answer[..];
    let Some((first, fields)) = head(&mut reader) else {
        return "no answer".into();
    };
    let status = first.split(' ').nth(1).unwrap_or("").to_owned();
    let mut said = format!("{status}\n");
    let good = status.starts_with('2');
    let mut body = Vec::new();
    let _ = reader.read_to_end(&mut body);
    let body = String::from_utf8_lossy(&body).replace(&front.to_string(), "FRONT");
    // Pages of the programs themselves differ, and so do numbers.
    let own = body.contains("<h1>Index of")
        || body.contains("<title>")
        || body.starts_with("Active connections");
    for name in [
        "location",
        "content-type",
        "cache-control",
        "content-encoding",
        "content-range",
        "content-disposition",
        "set-cookie",
        "x-level",
        "x-more",
        "x-frame-options",
        "x-from",
        "x-remove",
        "x-server",
    ] {
        if own && name == "cache-control" {
            continue;
        }
        if let Some(value) = fields
            .get(name)
            .filter(|_| good || name == "location" || name.starts_with("x-f"))
        {
            let value = value.replace(&front.to_string(), "FRONT");
            // Relative references are the same as absolute ones to the host, and beside the path, that was asked.
            let beside = request.target.split('?').next().unwrap_or("");
            let beside = beside.rsplit_once('/').map_or("", |(beside, _)| beside);
            let value = match value.strip_prefix("./") {
                Some(rest) => format!("{beside}/{rest}"),
                None => value.replacen("http://front.example", "", 1),
            };
            let value = value.replace(":FRONT", "");
            let value = if own {
                value.replace("; charset=utf-8", "")
            } else {
                value
            };
            let _ = writeln!(said, "{name}: {value}");
        }
    }
    if (good && !own || request.bodies) && request.method != "HEAD" {
        said.push_str(&unchunked(&fields, &body));
    }
    if own && body.starts_with("Active connections") {
        said.push_str(
            &body
                .chars()
                .filter(|c| !c.is_ascii_digit())
                .collect::<String>(),
        );
    }
    said
}

fn unchunked(fields: &BTreeMap<String, String>, body: &str) -> String {
    if fields.get("transfer-encoding").is_none() {
        return body.to_owned();
    }
    let mut out = String::new();
    let mut rest = body;
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap_or(0);
        if size == 0 {
            break;
        }
        out.push_str(&after[..size]);
        rest = &after[size + 2..];
    }
    out
}

/// Runs every case through both and compares.
fn compare(
    program: &str,
    ending: &str,
    real: impl Fn(&Path) -> Command,
    ours: impl Fn(&Path) -> Command,
) {
    let scratch = Scratch::new(program);
    let dead = free_port();
    let programs = uwsgi::is_here().then(|| Uwsgi::start(&scratch.0));
    let of_programs = |port: fn(&Uwsgi) -> u16| programs.as_ref().map_or(dead, port);
    let ports = [
        ("@UWSGI@", of_programs(|one| one.port)),
        ("@SCGI@", of_programs(|one| one.scgi)),
        ("@B1@", server("b1")),
        ("@B2@", server("b2")),
        ("@B3@", server("b3")),
        ("@B4@", server("b4")),
        ("@DEAD@", dead),
    ];
    let only = std::env::var("ORACLE").ok();
    let cases: Vec<Case> = cases(program)
        .into_iter()
        .filter(|case| only.as_ref().is_none_or(|only| *only == case.name))
        .filter(|case| programs.is_some() || !case.text.contains("@UWSGI@"))
        .collect();
    let start = |case: &Case, who: &str, command: &dyn Fn(&Path) -> Command| {
        launch(case, who, &scratch.0, &ports, ending, command)
    };
    let mut running: Vec<_> = cases
        .iter()
        .map(|case| (start(case, "real", &real), start(case, "tandem", &ours)))
        .collect();
    let mut wrong = Vec::new();
    for (case, ((real_front, real), (our_front, ours))) in cases.iter().zip(&mut running) {
        wait(*real_front, real, &format!("{program} with {}", case.name));
        wait(*our_front, ours, &format!("tandem with {}", case.name));
        for request in &case.requests {
            // Taken in turn, the order may begin anywhere: what counts is how often.
            let all = |front: u16| {
                let mut answers: Vec<String> = (0..request.times)
                    .map(|_| ask(front, request, &scratch.0))
                    .collect();
                answers.sort();
                answers
            };
            let (mut theirs, mut mine) = (all(*real_front), all(*our_front));
            let begun = Instant::now();
            while request.soon && theirs != mine && begun.elapsed() < SOON {
                std::thread::sleep(Duration::from_millis(50));
                (theirs, mine) = (all(*real_front), all(*our_front));
            }
            if theirs != mine {
                let Request {
                    method,
                    target,
                    field,
                    ..
                } = request;
                wrong.push(format!(
                    "{}: {method} {target} {}\n--- {program}\n{}--- tandem\n{}",
                    case.name,
                    field.as_deref().unwrap_or(""),
                    theirs.join(""),
                    mine.join("")
                ));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} answers differ\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

fn tandem() -> Command {
    Command::new(env!("CARGO_BIN_EXE_tandem"))
}

#[test]
fn a_haproxy_cfg_does_the_same_in_haproxy_and_in_tandem() {
    if !has("haproxy", &["-v"]) {
        return;
    }
    compare(
        "haproxy",
        "cfg",
        |path| {
            let mut command = Command::new("haproxy");
            command.arg("-db").arg("-q").arg("-f").arg(path);
            command
        },
        |path| {
            let mut command = tandem();
            command.args(["haproxy", "-db", "-q", "-f"]).arg(path);
            command
        },
    );
}

#[test]
fn the_page_of_503_is_shown_where_haproxy_shows_it() {
    if !has("haproxy", &["-v"]) {
        return;
    }
    let scratch = Scratch::new("haproxy-sorry");
    let text = "defaults\n mode http\n retries 0\n timeout connect 1s\n timeout client 5s\n timeout server 5s\n\
                frontend f\n bind 127.0.0.1:@FRONT@\n errorfile 503 @ROOT@/503.http\n default_backend b\n\
                backend b\n server s 127.0.0.1:@DEAD@\n";
    let case = Case {
        name: "sorry".into(),
        text: text.into(),
        requests: Vec::new(),
    };
    let ports = [("@DEAD@", free_port())];
    let request = Request {
        bodies: true,
        ..request("#? GET /").unwrap()
    };
    let page = |who: &str, mut command: Command, options: &[&str]| {
        let (front, mut program) = launch(&case, who, &scratch.0, &ports, "cfg", |path| {
            command.args(options).arg(path);
            command
        });
        wait(front, &mut program, who);
        // Without the status: of a server that is not checked it is 502 here.
        let said = ask(front, &request, &scratch.0);
        said.split_once('\n').unwrap_or_default().1.to_owned()
    };
    let theirs = page("real", Command::new("haproxy"), &["-db", "-q", "-f"]);
    let ours = page("tandem", tandem(), &["haproxy", "-db", "-q", "-f"]);
    assert_eq!(theirs, "our own 503\n");
    assert_eq!(ours, theirs);
}

/// Lines of a log that begin with this, once there are so many.
fn lines_with(mark: &str, count: usize, read: impl Fn() -> String) -> Vec<String> {
    let begun = Instant::now();
    loop {
        let text = read();
        let lines = text.lines().filter(|line| line.starts_with(mark));
        let mut lines: Vec<String> = lines.map(str::to_owned).collect();
        if lines.len() >= count || begun.elapsed() > SOON {
            lines.sort();
            return lines;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_log_format_makes_the_same_lines() {
    if !has("haproxy", &["-v"]) {
        return;
    }
    let scratch = Scratch::new("haproxy-lines");
    let mark = format!("mark-{}-{}", std::process::id(), free_port());
    let text = format!(
        "defaults\n mode http\n log stdout format raw local0\n option dontlognull\n timeout connect 1s\n timeout client 5s\n timeout server 5s\n\
         frontend main\n bind 127.0.0.1:@FRONT@\n\
         http-request set-var(txn.a) req.hdr(X-A)\n\
         http-request capture method len 8\n capture request header Host len 40\n\
         log-format \"{mark} %ci %ft %b/%s %ST %rc %HM %HU %HV %[var(txn.a)] %[capture.req.hdr(1)] %{{+Q}}r 100%%\"\n\
         default_backend b\nbackend b\n server s 127.0.0.1:@B1@\n"
    );
    let case = Case {
        name: "lines".into(),
        text,
        requests: Vec::new(),
    };
    let ports = [("@B1@", server("b1"))];
    let requests = ["#? GET /a?b=c X-A: some", "#? POST /status/404 X-A: other"].map(request);
    let log = |who: &str| scratch.0.join(format!("{who}.log"));
    let run = |who: &str, options: &[&str], mut command: Command| {
        let (front, mut program) = launch(&case, who, &scratch.0, &ports, "cfg", |path| {
            command.args(options).arg(path);
            command
        });
        wait(front, &mut program, who);
        for request in requests.iter().flatten() {
            ask(front, request, &scratch.0);
        }
        program
    };
    // What it writes to its standard output goes to a file of the test's.
    let mut haproxy = Command::new("sh");
    let script = format!("exec haproxy -db -f \"$0\" > {}", log("real").display());
    haproxy.args(["-c", &script]);
    let _real = run("real", &[], haproxy);
    let _ours = run("tandem", &["haproxy", "-db", "-q", "-f"], tandem());
    let read = |path: PathBuf| move || std::fs::read_to_string(&path).unwrap_or_default();
    let theirs = lines_with(&mark, 2, read(log("real")));
    let written = Path::new("/var/log/haproxy-access.log");
    if !written.exists() {
        // Who is not root has it elsewhere.
        return;
    }
    let ours = lines_with(&mark, 2, read(written.into()));
    assert_eq!(theirs.len(), 2, "{theirs:?}");
    assert_eq!(ours, theirs);
}

#[test]
fn a_nginx_conf_does_the_same_in_nginx_and_in_tandem() {
    if !has("nginx", &["-v"]) {
        return;
    }
    compare(
        "nginx",
        "conf",
        |path| {
            let mut command = Command::new("nginx");
            command.arg("-c").arg(path).args(["-e", "stderr"]);
            command
        },
        |path| {
            let mut command = tandem();
            command.args(["nginx", "-c"]).arg(path);
            command
        },
    );
}

/// Whether a program takes a file.
fn takes(mut command: Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap()
        .success()
}

#[test]
fn what_haproxy_refuses_is_refused() {
    if !has("haproxy", &["-v"]) {
        return;
    }
    let scratch = Scratch::new("haproxy-refusals");
    let base = "defaults\n mode http\n timeout connect 1s\n timeout client 1s\n timeout server 1s\nlisten z\n bind 127.0.0.1:80\n";
    for (number, (lines, taken)) in [
        ("frontend f\n bind 127.0.0.1:81\n default_backend b\nbackend b\n server s 127.0.0.1:82\n", true),
        ("frontend f\n bind 127.0.0.1:81\n default_backend nobody\n", false),
        ("frontend f\n bnid 127.0.0.1:81\n", false),
        ("frontend f\n bind 127.0.0.1\n", false),
        ("frontend f\n bind 127.0.0.1:81\n use_backend b if nobody\nbackend b\n server s 127.0.0.1:82\n", false),
        ("frontend f\n bind 127.0.0.1:81\n acl a path_bge /x\n", false),
        ("frontend f\n bind 127.0.0.1:81\n acl a path_reg (\n", false),
        ("frontend f\n bind 127.0.0.1:81\n acl a src banana\n", false),
        ("backend b\n server s 127.0.0.1:82 wieght 3\n", false),
        ("backend b\n server s 127.0.0.1:82 weight 300\n", false),
        ("backend b\n server s 127.0.0.1:x\n", false),
        ("backend b\n balance roundrobbin\n server s 127.0.0.1:82\n", false),
        ("backend b\n mode htp\n", false),
        ("backend b\n timeout conect 3s\n", false),
        ("backend b\n timeout connect 3x\n", false),
        ("backend b\n option httpchck\n", false),
        ("backend b\n cookie SRV inesrt\n", false),
        ("backend b\n http-request dney\n", false),
        ("backend b\n http-request redirect location /x code 200\n", false),
        ("frontend f\n bind 127.0.0.1:81\n acl x path \"/open\n", false),
        ("globl\n daemon\n", false),
        ("global\n daemno\n", false),
        ("backend b\n retries\n", false),
        ("backend b\n server s 127.0.0.1:82 check inter 2000 rise 2 fall 3\n", true),
    ]
    .into_iter()
    .enumerate()
    {
        let path = scratch.0.join(format!("{number}.cfg"));
        std::fs::write(&path, format!("{base}{lines}")).unwrap();
        let mut real = Command::new("haproxy");
        real.args(["-c", "-q", "-f"]).arg(&path);
        let mut ours = tandem();
        ours.args(["haproxy", "-c", "-q", "-f"]).arg(&path);
        assert_eq!(takes(real), taken, "haproxy: {lines}");
        assert_eq!(takes(ours), taken, "tandem: {lines}");
    }
}

#[test]
fn what_nginx_refuses_is_refused() {
    if !has("nginx", &["-v"]) {
        return;
    }
    let scratch = Scratch::new("nginx-refusals");
    let server = |inner: &str| {
        format!("events {{}} http {{ access_log off; server {{ listen 127.0.0.1:81; {inner} }} }}")
    };
    for (number, (text, taken)) in [
        (server("location / { return 200 x; }"), true),
        (server("loaction / { }"), false),
        (server("root /a; proxy_pass http://127.0.0.1:1;"), false),
        (server("location / { proxy_pass 127.0.0.1:1; }"), false),
        (server("location / { return; }"), false),
        (server("location / { return abc; }"), false),
        (server("location ~ ( { }"), false),
        (server("location / { } location / { }"), false),
        (server("location ~ x { proxy_pass http://127.0.0.1:1/uri; }"), false),
        (server("location / { expires 5x; }"), false),
        (server("location / { autoindex yes; }"), false),
        (server("allow banana;"), false),
        (server("error_page 200 /x;"), false),
        (server("listen 127.0.0.1:99999;"), false),
        (server("listen 127.0.0.1:82 defualt_server;"), false),
        (server("keepalive_timeout x;"), false),
        (server("try_files $uri @nobody;"), true),
        (server("include none.conf;"), false),
        ("http { }".to_owned(), false),
        ("events { } http { server { listen 127.0.0.1:81 } }".to_owned(), false),
        ("events { } http { server { listen 127.0.0.1:81; }".to_owned(), false),
        ("events { } http { upstream u { } server { listen 127.0.0.1:81; location / { proxy_pass http://u; } } }".to_owned(), false),
        ("events { } http { listen 81; }".to_owned(), false),
        ("worker_processes many; events { }".to_owned(), false),
    ]
    .into_iter()
    .enumerate()
    {
        let path = scratch.0.join(format!("{number}.conf"));
        let head = format!("pid {}/t.pid; error_log stderr; ", scratch.0.display());
        std::fs::write(&path, format!("{head}{text}")).unwrap();
        let mut real = Command::new("nginx");
        real.args(["-t", "-q", "-c"]).arg(&path);
        let mut ours = tandem();
        ours.args(["nginx", "-t", "-q", "-c"]).arg(&path);
        assert_eq!(takes(real), taken, "nginx: {text}");
        // A fallback that leads nowhere is found at the first request there, and at once here.
        let ours_takes = takes(ours);
        assert!(ours_takes == taken || text.contains("@nobody"), "tandem: {text}");
    }
}

/// nginx takes these; what they do there cannot be said in a cluster file, and is not done in some other way.
#[test]
fn what_would_do_something_else_is_refused_with_the_reason() {
    let scratch = Scratch::new("nginx-otherwise");
    let admin = "location /admin { return 403; } location / { proxy_pass http://127.0.0.1:82; }";
    for (number, (lines, words)) in [
        // The location of the new path is not known.
        (
            "rewrite ^/(..)/(.*)$ /$2?lang=$1 last;",
            "location of the new path",
        ),
        (
            "location ~ ^/x { return 403; } rewrite ^/v1/(.*)$ /$1 last;",
            "location of the new path",
        ),
        (
            "location /app/ { location /app/private/ { return 403; } proxy_pass http://127.0.0.1:83; } rewrite ^/p/(.*)$ /app/$1 last;",
            "location of the new path",
        ),
        // What looks at the new path.
        (
            "rewrite ^/v1/(.*)$ /$1; if ($uri ~ ^/admin) { return 403; }",
            "looks at the new path",
        ),
        (
            "rewrite ^/v1/(.*)$ /$1; rewrite ^/admin /x last;",
            "looks at the new path",
        ),
        ("rewrite ^/a$ /b; rewrite ^/b$ /c;", "looks at the new path"),
        // A path that is changed twice.
        (
            "location /p/ { proxy_pass http://127.0.0.1:83/q/; } rewrite ^/v1/(.*)$ /$1;",
            "changes it again",
        ),
        // What servers get.
        (
            "proxy_pass_request_headers off;",
            "servers get what clients send",
        ),
        (
            "proxy_pass_request_body off;",
            "servers get what clients send",
        ),
        ("proxy_set_body x;", "bodies that clients send"),
        // Who may lead to a place within.
        (
            "location /vault/ { internal; } proxy_ignore_headers Expires X-Accel-Redirect;",
            "where no location is `internal`",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let path = scratch.0.join(format!("{number}.conf"));
        let text = format!(
            "pid {}/t.pid; error_log stderr; events {{}} http {{ access_log off; server {{ listen 127.0.0.1:81; {lines} {admin} }} }}",
            scratch.0.display()
        );
        std::fs::write(&path, &text).unwrap();
        if has("nginx", &["-v"]) {
            let mut real = Command::new("nginx");
            real.args(["-t", "-q", "-c"]).arg(&path);
            assert!(takes(real), "nginx: {lines}");
        }
        let done = tandem()
            .args(["nginx", "-t", "-c"])
            .arg(&path)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(
            !done.status.success() && said.contains(words),
            "{lines}: {said}"
        );
    }
}

#[test]
fn the_files_that_debian_ships_are_taken() {
    if has("haproxy", &["-v"]) {
        let mut ours = tandem();
        ours.args(["haproxy", "-c", "-f", "/etc/haproxy/haproxy.cfg"]);
        assert!(takes(ours));
    }
    if has("nginx", &["-v"]) {
        let mut ours = tandem();
        ours.args(["nginx", "-t"]);
        assert!(takes(ours));
    }
}

#[test]
fn the_page_of_502_is_shown_where_no_server_is_left() {
    if !has("nginx", &["-v"]) {
        return;
    }
    let scratch = Scratch::new("nginx-gone");
    let text = "daemon off; pid @DIR@/@NAME@.pid; error_log @DIR@/@NAME@.err; events { }\n\
                http { access_log off; upstream u { server 127.0.0.1:@DEAD@; server 127.0.0.1:@GONE@; }\n\
                server { listen 127.0.0.1:@FRONT@; root @ROOT@; error_page 502 /50x.html; location = /50x.html { }\n\
                location / { proxy_pass http://u; } } }\n";
    let case = Case {
        name: "gone".into(),
        text: text.into(),
        requests: Vec::new(),
    };
    let ports = [("@DEAD@", free_port()), ("@GONE@", free_port())];
    let request = Request {
        bodies: true,
        ..request("#? GET /").unwrap()
    };
    let page = |who: &str, mut command: Command, options: &[&str]| {
        let (front, mut program) = launch(&case, who, &scratch.0, &ports, "conf", |path| {
            command.args(options).arg(path);
            command
        });
        wait(front, &mut program, who);
        // Of several, since the first ones try the servers; without the status, which is 503 here.
        let said = (0..8)
            .map(|_| ask(front, &request, &scratch.0))
            .collect::<Vec<_>>();
        let mut pages = said
            .iter()
            .map(|said| said.split_once('\n').unwrap_or_default().1);
        assert!(pages.all(|page| page == "our own 50x\n"), "{who}: {said:?}");
    };
    page("real", Command::new("nginx"), &["-e", "stderr", "-c"]);
    page("tandem", tandem(), &["nginx", "-c"]);
}
