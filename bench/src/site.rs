//! A `site` against nginx, and a static request through the front door against HAProxy in front of nginx: CPU of the
//! servers per request.
//!
//! One worker on each side, access logs written (in batches), `open_file_cache` on. The same files, the same load.

use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::load::{self, Load};
use crate::process::{Server, cpu, free};
use crate::{calls, rounds, table};

const ROUNDS: usize = 7;
const SMALL_FILES: usize = 1_000;

/// A directory with all that is served, and the configurations.
struct Stage(PathBuf);

impl Stage {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("bench-site-{}", std::process::id()));
        let www = path.join("www");
        std::fs::create_dir_all(www.join("many")).expect("a directory for temporary files");
        let write = |name: &str, content: &[u8]| {
            std::fs::write(www.join(name), content).expect("room for files");
        };
        let bytes = |size: usize| -> Vec<u8> { (0..size).map(|i| (i * 7 % 251) as u8).collect() };
        for (name, size) in [
            ("1k.bin", 1 << 10),
            ("16k.bin", 16 << 10),
            ("100k.bin", 100 << 10),
            ("10m.bin", 10 << 20),
        ] {
            write(name, &bytes(size));
        }
        for number in 0..SMALL_FILES {
            write(&format!("many/{number}.html"), &bytes(500 + number));
        }
        write("100k.txt", text(100 << 10).as_bytes());
        write("pre.txt", text(100 << 10).as_bytes());
        let gzip = Command::new("gzip")
            .args(["-k", "-9"])
            .arg(www.join("pre.txt"))
            .status();
        assert!(gzip.is_ok_and(|status| status.success()), "gzip");
        let certificate = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt"])
            .args(["ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
            .args(["-subj", "/CN=localhost", "-keyout"])
            .arg(path.join("key.pem"))
            .arg("-out")
            .arg(path.join("cert.pem"))
            .output();
        assert!(
            certificate.is_ok_and(|done| done.status.success()),
            "openssl"
        );
        let read = |name: &str| std::fs::read(path.join(name)).expect("openssl wrote it");
        let both = [read("cert.pem"), read("key.pem")].concat();
        std::fs::write(path.join("both.pem"), both).expect("room for files");
        Self(path)
    }

    fn path(&self) -> &Path {
        &self.0
    }

    fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, content).expect("room for files");
        path
    }

    fn nginx(&self, http: SocketAddr, https: SocketAddr) -> Server {
        let dir = self.path().display();
        let conf = self.write(
            "nginx.conf",
            &format!(
                "daemon off; master_process off; worker_processes 1; pid {dir}/nginx.pid; error_log {dir}/nginx.err;
events {{ worker_connections 4096; }}
http {{
    include /etc/nginx/mime.types;
    access_log {dir}/nginx.log combined buffer=32k flush=1s;
    sendfile on; tcp_nopush on; keepalive_requests 1000000000;
    open_file_cache max=4000 inactive=60s; open_file_cache_valid 60s;
    client_body_temp_path {dir}/t1; proxy_temp_path {dir}/t2; fastcgi_temp_path {dir}/t3;
    uwsgi_temp_path {dir}/t4; scgi_temp_path {dir}/t5;
    gzip on; gzip_static on; gzip_types text/plain;
    ssl_certificate {dir}/cert.pem; ssl_certificate_key {dir}/key.pem;
    server {{ listen {http}; listen {https} ssl; root {dir}/www; }}
}}
"
            ),
        );
        let mut command = Command::new("nginx");
        command.arg("-c").arg(conf);
        Server::start(command, &[http, https])
    }

    fn haproxy(&self, front: SocketAddr, behind: SocketAddr, log: SocketAddr) -> Server {
        let conf = self.write(
            "haproxy.cfg",
            &format!(
                "global
    nbthread 1
    log {log} local0
defaults
    mode http
    log global
    option httplog
    timeout connect 5s
    timeout client 30s
    timeout server 30s
frontend web
    bind {front}
    use_backend www if {{ path_end .bin .txt .html }}
backend www
    server files {behind} check
"
            ),
        );
        let mut command = Command::new("haproxy");
        command.args(["-db", "-f"]).arg(conf);
        Server::start(command, &[front])
    }

    fn tandem(&self, program: &str, http: SocketAddr, https: SocketAddr) -> Server {
        let dir = self.path().display();
        let file = self.write(
            "one.toml",
            &format!(
                "[cluster]
workers = 1
state   = \"{dir}/state\"
admin   = \"unix:{dir}/admin\"

[listener.web]
bind  = \"{http}\"
log   = \"{dir}/tandem.log\"
route = {{ to = \"www\" }}

[listener.secure]
bind  = \"{https}\"
log   = \"{dir}/tandem.log\"
tls   = \"{dir}/both.pem\"
route = {{ to = \"www\" }}

[site.www]
root          = \"{dir}/www\"
precompressed = \"gzip\"
compress      = true
"
            ),
        );
        Server::start(run(program, &file, None), &[http, https])
    }

    /// The node `edge` with the listener, and the node `files` with the site.
    fn two_nodes(&self, program: &str, front: SocketAddr, behind: SocketAddr) -> [Server; 2] {
        let dir = self.path().display();
        let port = free("127.0.0.1").port();
        // The two differ in nothing but where the admin pages are: on one machine there is one 127.0.0.1.
        let file = |node: &str| {
            self.write(
                &format!("{node}.toml"),
                &format!(
                    "[nodes]
edge  = \"127.0.0.1\"
files = \"127.0.0.2\"

[cluster]
key     = \"a key for two nodes of a benchmark\"
workers = 1
port    = {port}
state   = \"{dir}/state-{node}\"
admin   = \"unix:{dir}/admin-{node}\"

[listener.web]
on    = \"edge\"
bind  = \"{front}\"
log   = \"{dir}/edge.log\"
route = [ {{ path = [\"*.bin\", \"*.txt\", \"*.html\"], to = \"www\" }} ]

[site.www]
on   = \"files\"
port = {}
root = \"{dir}/www\"
",
                    behind.port()
                ),
            )
        };
        let start = |node, at| Server::start(run(program, &file(node), Some(node)), &[at]);
        let files = start("files", behind);
        let edge = start("edge", front);
        [edge, files]
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn run(program: &str, file: &Path, node: Option<&str>) -> Command {
    let mut command = Command::new(program);
    command.arg("run").arg(file);
    if let Some(node) = node {
        command.args(["--node", node]);
    }
    command
}

/// Words that compress about as well as a page does.
fn text(size: usize) -> String {
    let words = [
        "the", "session", "listener", "of", "a", "site", "is", "kept", "in", "node", "and", "route",
    ];
    let (mut out, mut state) = (String::new(), 1u64);
    while out.len() < size {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        out.push_str(words[(state >> 33) as usize % words.len()]);
        out.push(if state >> 60 == 0 { '\n' } else { ' ' });
        if state >> 61 == 1 {
            out.push_str(&(state >> 40).to_string());
        }
    }
    out.truncate(size);
    out
}

/// Asks for many files in turn.
fn many() -> String {
    format!(
        "local n = 0\nrequest = function()\n n = (n + 1) % {SMALL_FILES}\n \
         return wrk.format('GET', '/many/' .. n .. '.html')\nend\n"
    )
}

struct Case<'a> {
    name: &'a str,
    path: &'a str,
    script: Option<&'a str>,
    fields: &'a [(&'a str, &'a str)],
    tls: bool,
    connections: usize,
}

const CASE: Case<'static> = Case {
    name: "",
    path: "",
    script: None,
    fields: &[],
    tls: false,
    connections: 32,
};

/// One side: its processes, and where it is asked.
#[derive(Clone)]
struct Side<'a> {
    servers: Vec<&'a Server>,
    http: SocketAddr,
    https: SocketAddr,
}

/// Nanoseconds of CPU per request, one number a side.
fn measure(case: &Case<'_>, sides: &mut [Side<'_>], rounds: usize) -> Vec<f64> {
    rounds::compare(sides, rounds, |side| {
        let url = if case.tls {
            format!("https://{}{}", side.https, case.path)
        } else {
            format!("http://{}{}", side.http, case.path)
        };
        let before = cpu(&side.servers);
        let answers = load::run(&Load {
            url,
            script: case.script,
            fields: case.fields,
            connections: case.connections,
            seconds: 1,
            tls: load::Tls::default(),
        });
        (cpu(&side.servers) - before) as f64 / answers as f64
    })
}

fn ratio(name: &str, numbers: &[f64], budget: Option<f64>) {
    let micros = |number: f64| format!("{:.1}", number / 1_000.0);
    let [theirs, ours] = numbers else {
        unreachable!("two sides")
    };
    table::row(&[
        name.to_owned(),
        micros(*theirs),
        micros(*ours),
        format!("{:.2}", ours / theirs),
        budget.map_or_else(String::new, |budget| format!("{budget:.2}")),
    ]);
}

/// Compares `tandem` (a path) with the nginx and the HAProxy of this machine. `only` names a part of the cases.
pub fn run_all(tandem: &str, only: Option<&str>) {
    let stage = Stage::new();
    let ports: Vec<SocketAddr> = (0..4).map(|_| free("127.0.0.1")).collect();
    let nginx = stage.nginx(ports[0], ports[1]);
    let site = stage.tandem(tandem, ports[2], ports[3]);
    let mut sides = [
        Side {
            servers: vec![&nginx],
            http: ports[0],
            https: ports[1],
        },
        Side {
            servers: vec![&site],
            http: ports[2],
            https: ports[3],
        },
    ];
    let is_wanted = |name: &str| only.is_none_or(|only| name.contains(only));
    let many = many();
    table::head(&["file", "nginx, us", "tandem, us", "ratio", "budget"]);
    let cases = [
        (
            Case {
                name: "1 KiB",
                path: "/1k.bin",
                ..CASE
            },
            Some(0.60),
        ),
        (
            Case {
                name: "16 KiB",
                path: "/16k.bin",
                ..CASE
            },
            None,
        ),
        (
            Case {
                name: "100 KiB",
                path: "/100k.bin",
                ..CASE
            },
            Some(0.95),
        ),
        (
            Case {
                name: "10 MiB",
                path: "/10m.bin",
                connections: 8,
                ..CASE
            },
            Some(0.95),
        ),
        (
            Case {
                name: "1,000 files of 0.5 to 1.5 KiB",
                path: "/",
                script: Some(&many),
                ..CASE
            },
            None,
        ),
        (
            Case {
                name: "gzip of a text of 100 KiB, on the fly",
                path: "/100k.txt",
                fields: &[("Accept-Encoding", "gzip")],
                ..CASE
            },
            Some(0.10),
        ),
        (
            Case {
                name: "the same, precompressed",
                path: "/pre.txt",
                fields: &[("Accept-Encoding", "gzip")],
                ..CASE
            },
            None,
        ),
        (
            Case {
                name: "range of 1,000 bytes of 100 KiB",
                path: "/100k.bin",
                fields: &[("Range", "bytes=50000-50999")],
                ..CASE
            },
            None,
        ),
        (
            Case {
                name: "1 KiB, TLS",
                path: "/1k.bin",
                tls: true,
                ..CASE
            },
            None,
        ),
        (
            Case {
                name: "100 KiB, TLS",
                path: "/100k.bin",
                tls: true,
                ..CASE
            },
            None,
        ),
    ];
    for (case, budget) in &cases {
        if is_wanted(case.name) {
            ratio(case.name, &measure(case, &mut sides, ROUNDS), *budget);
        }
    }
    if is_wanted("the kernel's part") {
        kernel(&mut sides);
    }
    if is_wanted("front door") {
        front_door(&stage, tandem, &nginx, ports[0], &site, ports[2]);
    }
    if is_wanted("system calls") {
        system_calls(&[("nginx", &nginx, ports[0]), ("tandem", &site, ports[2])]);
    }
}

/// What of a small answer is the kernel's: a server that does nothing else beside the two.
fn kernel(sides: &mut [Side<'_>]) {
    let at = free("127.0.0.1");
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.arg("bare").arg(at.to_string());
    let bare = Server::start(command, &[at]);
    let mut three: Vec<Side<'_>> = sides.to_vec();
    three.push(Side {
        servers: vec![&bare],
        http: at,
        https: at,
    });
    table::kernel_head("recv and send");
    let case = Case {
        path: "/1k.bin",
        ..CASE
    };
    let numbers = measure(&case, &mut three, ROUNDS);
    let [nginx, tandem, alone] = numbers[..] else {
        unreachable!("three sides")
    };
    table::kernel_row("32 connections", [nginx, tandem, alone]);
}

fn front_door(
    stage: &Stage,
    tandem: &str,
    nginx: &Server,
    behind: SocketAddr,
    site: &Server,
    one: SocketAddr,
) {
    // HAProxy logs to somebody who does not listen to it.
    let log = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let (classic, front, inner) = (free("127.0.0.1"), free("127.0.0.1"), free("127.0.0.2"));
    let log = log.local_addr().expect("it is bound");
    let haproxy = stage.haproxy(classic, behind, log);
    let [edge, files] = stage.two_nodes(tandem, front, inner);
    let side = |servers, http| Side {
        servers,
        http,
        https: http,
    };
    table::head(&[
        "through the front door",
        "HAProxy to nginx, us",
        "tandem, us",
        "ratio",
        "budget",
    ]);
    for (name, path) in [
        ("1 KiB", "/1k.bin"),
        ("16 KiB", "/16k.bin"),
        ("100 KiB", "/100k.bin"),
    ] {
        for (place, servers, at, budget) in [
            ("on the listener's node", vec![site], one, Some(0.20)),
            ("on another node", vec![&edge, &files], front, None),
        ] {
            let mut sides = [side(vec![&haproxy, nginx], classic), side(servers, at)];
            let case = Case { path, ..CASE };
            let budget = budget.filter(|_| name == "1 KiB");
            ratio(
                &format!("{name}, site {place}"),
                &measure(&case, &mut sides, ROUNDS),
                budget,
            );
        }
    }
}

fn system_calls(sides: &[(&str, &Server, SocketAddr)]) {
    table::head(&["1 KiB, 64 connections", "system calls a request", "which"]);
    for (name, server, http) in sides {
        let load = Load {
            url: format!("http://{http}/1k.bin"),
            script: None,
            fields: &[],
            connections: 64,
            seconds: 2,
            tls: load::Tls::default(),
        };
        let mut answers = 0;
        let counts = calls::during(server.id(), || answers = load::run(&load));
        let each = |count: u64| count as f64 / answers as f64;
        let mut which: Vec<_> = counts
            .iter()
            .filter(|(_, count)| each(**count) >= 0.005)
            .collect();
        which.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let which: Vec<_> = which
            .iter()
            .map(|(name, count)| format!("{name} {:.2}", each(**count)))
            .collect();
        table::row(&[
            (*name).to_owned(),
            format!("{:.2}", each(counts.values().sum())),
            which.join(", "),
        ]);
    }
}
