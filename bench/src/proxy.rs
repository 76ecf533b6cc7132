//! Tandem as a proxy against HAProxy and nginx: CPU of the proxy per request, requests per second, memory of idle
//! connections, latency at a fixed rate.
//!
//! One worker on each side, the same routes, checks where there are any, access logs on, the same light origin (an
//! nginx of its own, whose CPU is nobody's). All three speak TLS 1.2 and 1.3: nginx 1.22 would stop at 1.2, and resumed
//! sessions of the two cost so differently that they are asked for apart.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::Command;
use std::time::Instant;

use crate::load::{self, Load, Tls};
use crate::process::{Server, free};
use crate::stage::{Dir, bytes};
use crate::{ab, h2load, rounds, table};

const ROUNDS: usize = 7;
const IDLE: usize = 9_000;

/// One proxy, and where it is asked.
struct Proxy {
    name: &'static str,
    server: Server,
    http: SocketAddr,
    https: SocketAddr,
}

fn origin(dir: &Dir) -> (Server, SocketAddr) {
    let at = free("127.0.0.1");
    for (name, size) in [("1k", 1 << 10), ("100k", 100 << 10), ("10m", 10 << 20)] {
        dir.write(&format!("www/app/{name}"), bytes(size));
    }
    let path = dir.path().display();
    let conf = dir.write(
        "origin.conf",
        format!(
            "daemon off; master_process off; worker_processes 1; pid {path}/origin.pid; error_log {path}/origin.err;
events {{ worker_connections 20000; }}
http {{
    access_log off; sendfile on; keepalive_requests 1000000000; keepalive_timeout 600s;
    open_file_cache max=100 inactive=600s; open_file_cache_valid 600s;
    client_body_temp_path {path}/o1; proxy_temp_path {path}/o2; fastcgi_temp_path {path}/o3;
    uwsgi_temp_path {path}/o4; scgi_temp_path {path}/o5;
    server {{ listen {at}; root {path}/www; }}
}}
"
        ),
    );
    let mut command = Command::new("nginx");
    command.arg("-c").arg(conf);
    (Server::start(command, &[at]), at)
}

fn haproxy(dir: &Dir, origin: SocketAddr, log: SocketAddr) -> Proxy {
    let (http, https) = (free("127.0.0.1"), free("127.0.0.1"));
    let path = dir.path().display();
    let conf = dir.write(
        "haproxy.cfg",
        format!(
            "global
    nbthread 1
    maxconn 9600
    log {log} local0
defaults
    mode http
    log global
    option httplog
    option forwardfor
    retries 2
    timeout connect 5s
    timeout client 600s
    timeout server 600s
    timeout http-keep-alive 600s
frontend web
    bind {http}
    bind {https} ssl crt {path}/both.pem alpn h2,http/1.1
    acl static path_beg /static /images
    acl app path_beg /app
    acl jsp path_end .jsp .do
    use_backend static if static
    use_backend app if app or jsp
    default_backend static
backend static
    server s1 {origin} check
backend app
    balance roundrobin
    option httpchk GET /app/1k
    server a1 {origin} check inter 2s
    server a2 {origin} check inter 2s
"
        ),
    );
    let mut command = Command::new("haproxy");
    command.args(["-db", "-f"]).arg(conf);
    Proxy {
        name: "HAProxy",
        server: Server::start(command, &[http, https]),
        http,
        https,
    }
}

fn nginx(dir: &Dir, origin: SocketAddr) -> Proxy {
    let (http, https) = (free("127.0.0.1"), free("127.0.0.1"));
    let path = dir.path().display();
    let conf = dir.write(
        "nginx.conf",
        format!(
            "daemon off; master_process off; worker_processes 1; pid {path}/nginx.pid; error_log {path}/nginx.err;
worker_rlimit_nofile 20000;
events {{ worker_connections 19000; }}
http {{
    access_log {path}/nginx.log combined buffer=32k flush=1s;
    keepalive_requests 1000000000; keepalive_timeout 600s;
    client_body_temp_path {path}/t1; proxy_temp_path {path}/t2; fastcgi_temp_path {path}/t3;
    uwsgi_temp_path {path}/t4; scgi_temp_path {path}/t5;
    ssl_certificate {path}/cert.pem; ssl_certificate_key {path}/key.pem; ssl_protocols TLSv1.2 TLSv1.3;
    ssl_session_cache shared:tls:10m;
    upstream app {{ server {origin}; server {origin}; keepalive 300; keepalive_requests 1000000000; }}
    upstream static {{ server {origin}; keepalive 300; }}
    server {{
        listen {http} backlog=4096; listen {https} ssl http2 backlog=4096;
        proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $host;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto $scheme;
        location /static {{ proxy_pass http://static; }}
        location /images {{ proxy_pass http://static; }}
        location /app {{ proxy_pass http://app; }}
        location ~ \\.(jsp|do)$ {{ proxy_pass http://app; }}
        location / {{ proxy_pass http://static; }}
    }}
}}
"
        ),
    );
    let mut command = Command::new("nginx");
    command.arg("-c").arg(conf);
    Proxy {
        name: "nginx",
        server: Server::start(command, &[http, https]),
        http,
        https,
    }
}

fn tandem(dir: &Dir, program: &str, origin: SocketAddr) -> Proxy {
    let (http, https) = (free("127.0.0.1"), free("127.0.0.1"));
    let path = dir.path().display();
    let listener = |name: &str, bind: SocketAddr, tls: &str| {
        format!(
            "[listener.{name}]
bind  = \"{bind}\"
log   = \"{path}/tandem.log\"
{tls}
timeouts = {{ idle = \"600s\" }}
route = [
  {{ path = [\"/static*\", \"/images*\"], to = \"static\" }},
  {{ path = [\"/app*\", \"*.jsp\", \"*.do\"], to = \"app\" }},
  {{ to = \"static\" }},
]
"
        )
    };
    let file = dir.write(
        "tandem.toml",
        format!(
            "[cluster]
workers = 1
state   = \"{path}/state\"
admin   = \"unix:{path}/admin\"

{}
{}
[backend.static]
servers = \"{origin}\"

[backend.app]
servers = [{{ address = \"{origin}\", name = \"a1\" }}, {{ address = \"{origin}\", name = \"a2\" }}]
check   = {{ path = \"/app/1k\", every = \"2s\" }}
",
            listener("web", http, ""),
            listener("secure", https, &format!("tls = \"{path}/both.pem\"")),
        ),
    );
    let mut command = Command::new(program);
    command.arg("run").arg(file);
    Proxy {
        name: "tandem",
        server: Server::start(command, &[http, https]),
        http,
        https,
    }
}

/// How a case asks.
enum How {
    /// By wrk, over so many connections.
    Wrk { connections: usize, close: bool },
    /// By wrk, a resumed TLS session each.
    Resumed(Tls),
    /// By ab, a full TLS handshake each.
    Full(&'static str),
    /// By h2load over HTTP/2.
    Http2,
}

struct Case {
    name: &'static str,
    path: &'static str,
    tls: bool,
    how: How,
    /// Against the better of the two others.
    budget: Option<f64>,
}

const CASES: [Case; 12] = [
    case(
        "1 KiB, 32 connections",
        "/app/1k",
        false,
        32,
        false,
        Some(0.87),
    ),
    case(
        "1 KiB, 256 connections",
        "/app/1k",
        false,
        256,
        false,
        Some(0.87),
    ),
    case(
        "1 KiB, a new connection each",
        "/app/1k",
        false,
        16,
        true,
        None,
    ),
    case("100 KiB", "/app/100k", false, 32, false, None),
    case("10 MiB", "/app/10m", false, 8, false, None),
    case("1 KiB, TLS", "/app/1k", true, 32, false, None),
    case("100 KiB, TLS", "/app/100k", true, 32, false, None),
    tls("1 KiB, a full TLS 1.3 handshake each", How::Full("TLS1.3")),
    tls("1 KiB, a full TLS 1.2 handshake each", How::Full("TLS1.2")),
    tls(
        "1 KiB, a resumed TLS 1.3 session each",
        How::Resumed(Tls::V13),
    ),
    tls(
        "1 KiB, a resumed TLS 1.2 session each",
        How::Resumed(Tls::V12),
    ),
    Case {
        name: "1 KiB, HTTP/2, 8 connections of 16 streams",
        path: "/app/1k",
        tls: true,
        how: How::Http2,
        budget: None,
    },
];

const fn case(
    name: &'static str,
    path: &'static str,
    tls: bool,
    connections: usize,
    close: bool,
    budget: Option<f64>,
) -> Case {
    Case {
        name,
        path,
        tls,
        how: How::Wrk { connections, close },
        budget,
    }
}

const fn tls(name: &'static str, how: How) -> Case {
    Case {
        name,
        path: "/app/1k",
        tls: true,
        how,
        budget: Some(1.0),
    }
}

impl Proxy {
    fn url(&self, case: &Case) -> String {
        if case.tls {
            format!("https://{}{}", self.https, case.path)
        } else {
            format!("http://{}{}", self.http, case.path)
        }
    }

    /// Nanoseconds of CPU per request, and requests per second.
    fn measure(&self, case: &Case) -> (f64, f64) {
        let (before, begun) = (self.server.cpu(), Instant::now());
        let url = self.url(case);
        let wrk = |url, connections, close, tls| {
            load::run(&Load {
                url,
                script: None,
                fields: if close {
                    &[("Connection", "close")]
                } else {
                    &[]
                },
                connections,
                seconds: 1,
                tls,
            })
        };
        let answers = match case.how {
            How::Wrk { connections, close } => wrk(url, connections, close, Tls::V13),
            How::Resumed(tls) => wrk(url, 16, true, tls),
            How::Full(protocol) => ab::handshakes(&url, protocol, 16, 2_000),
            How::Http2 => h2load::http2(&url, 8, 16, 1),
        };
        let seconds = begun.elapsed().as_secs_f64();
        (
            (self.server.cpu() - before) as f64 / answers as f64,
            answers as f64 / seconds,
        )
    }
}

/// Compares `program` with the HAProxy and the nginx of this machine. `only` names a part of the cases.
pub fn run(program: &str, only: Option<&str>) {
    let is_wanted = |name: &str| only.is_none_or(|only| name.contains(only));
    let dir = Dir::new("proxy");
    dir.certificate();
    let (_origin, at) = origin(&dir);
    // HAProxy logs to somebody who does not listen to it.
    let log = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let log = log.local_addr().expect("it is bound");
    let mut proxies = [
        haproxy(&dir, at, log),
        nginx(&dir, at),
        tandem(&dir, program, at),
    ];

    table::head(&[
        "request",
        "HAProxy, us",
        "nginx, us",
        "tandem, us",
        "to HAProxy",
        "to nginx",
        "budget",
        "requests/s: HAProxy, nginx, tandem",
    ]);
    for case in CASES.iter().filter(|case| is_wanted(case.name)) {
        let mut rates = vec![Vec::new(); proxies.len()];
        let mut at = 0;
        let cpu = rounds::compare(&mut proxies, ROUNDS, |proxy| {
            let (cpu, rate) = proxy.measure(case);
            rates[at % 3].push(rate);
            at += 1;
            cpu
        });
        let rates: Vec<String> = rates
            .into_iter()
            .map(|rates| format!("{:.0}", rounds::median(rates)))
            .collect();
        let micros = |number: f64| format!("{:.1}", number / 1_000.0);
        table::row(&[
            case.name.to_owned(),
            micros(cpu[0]),
            micros(cpu[1]),
            micros(cpu[2]),
            format!("{:.2}", cpu[2] / cpu[0]),
            format!("{:.2}", cpu[2] / cpu[1]),
            case.budget
                .map_or_else(String::new, |budget| format!("{budget:.2}")),
            rates.join(", "),
        ]);
    }
    if is_wanted("kernel") {
        kernel(&mut proxies, at);
    }
    if is_wanted("latency") {
        latency(&proxies);
    }
    if is_wanted("idle") {
        idle(&proxies);
    }
}

/// What is the kernel's of a small answer that is passed on.
fn kernel(proxies: &mut [Proxy; 3], origin: SocketAddr) {
    let at = free("127.0.0.1");
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["relay", &at.to_string(), &origin.to_string()]);
    let bare = Proxy {
        name: "four calls alone",
        server: Server::start(command, &[at]),
        http: at,
        https: at,
    };
    table::kernel_head("four calls");
    let [_, nginx, tandem] = proxies;
    let mut sides = [nginx, tandem, &mut { bare }];
    for case in &CASES[..2] {
        let cpu = rounds::compare(&mut sides, ROUNDS, |proxy| proxy.measure(case).0);
        table::kernel_row(case.name, [cpu[0], cpu[1], cpu[2]]);
    }
}

/// At a rate that each of them can keep, the time of a request.
fn latency(proxies: &[Proxy]) {
    table::head(&[
        "1 KiB at 4,000 requests/s over 32 connections, median of 5 runs",
        "p50, us",
        "p99, us",
        "p99.9, us",
    ]);
    let mut times = vec![Vec::new(); proxies.len()];
    for _ in 0..rounds::asked(5) {
        for (proxy, times) in proxies.iter().zip(&mut times) {
            let url = format!("http://{}/app/1k", proxy.http);
            times.push(h2load::at_rate(&url, 32, 125, 3));
        }
    }
    for (proxy, times) in proxies.iter().zip(times) {
        let of = |which: usize| {
            let numbers = times.iter().map(|time| time[which] as f64).collect();
            format!("{:.0}", rounds::median(numbers))
        };
        table::row(&[proxy.name.to_owned(), of(0), of(1), of(2)]);
    }
}

/// Connections that have asked once and stay.
fn idle(proxies: &[Proxy]) {
    table::head(&["9,000 idle connections", "resident bytes a connection"]);
    for proxy in proxies {
        let before = proxy.server.resident();
        let held: Vec<TcpStream> = (0..IDLE).map(|_| asked_once(proxy.http)).collect();
        let grown = proxy.server.resident().saturating_sub(before);
        table::row(&[
            proxy.name.to_owned(),
            (grown / held.len() as u64).to_string(),
        ]);
    }
}

fn asked_once(at: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(at).expect("the proxy takes it");
    let asked = stream.write_all(b"GET /app/1k HTTP/1.1\r\nHost: localhost\r\n\r\n");
    asked.expect("it is open");
    let mut answer = [0; 4096];
    let mut got = 0;
    while got < 1024 + 100 {
        got += stream.read(&mut answer).expect("an answer");
    }
    stream
}
