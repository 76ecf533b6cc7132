//! An operator's day, played through with real processes and clients that never pause: nothing that is done fails a
//! single request, and at its end the slow one is found.

mod common;

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Instant;

use common::node::{ask_admin, metric, whole_lines};
use common::origin::{Origin, fine};
use common::{Dir, certificate, get, request, runs, send, stderr, stdout, tandem, wait_until};
use rustix::process::Signal;
use serde_json::Value;

/// One application server: a process that answers with its version.
struct Server {
    name: &'static str,
    dir: Dir,
    address: SocketAddr,
    child: Option<Child>,
}

impl Server {
    fn start(name: &'static str, version: &str) -> Self {
        let mut server = Self {
            name,
            dir: Dir::new(),
            address: common::ports::free(),
            child: None,
        };
        server.run(version);
        server
    }

    fn run(&mut self, version: &str) {
        let text = format!(
            "[cluster]\nstate = \"state\"\nadmin = false\nworkers = 1\n[listener.app]\nbind = \"{}\"\nlog = false\n\
             route = {{ respond = {{ status = 200, body = \"{version} {}\" }} }}\n",
            self.address, self.name
        );
        let file = self.dir.file("app.toml", &text);
        let mut command = tandem();
        command.args(["run", &file]).stdin(Stdio::null());
        let child = command.stderr(Stdio::null()).spawn();
        self.child = Some(child.expect("the binary starts"));
        wait_until("the server serves", || {
            TcpStream::connect(self.address).is_ok()
        });
    }

    fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            send(child.id(), Signal::TERM);
            let _ = child.wait();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The operator's machine: its /etc/tandem, its node, and the commands that are given to it.
struct Machine {
    dir: Dir,
    web: SocketAddr,
    secure: SocketAddr,
}

impl Machine {
    fn configure(&self, servers: &[Server], report: &Origin, more: &str) {
        let servers: Vec<String> = servers
            .iter()
            .map(|s| format!("{{ address = \"{}\", name = \"{}\" }}", s.address, s.name))
            .collect();
        let text = format!(
            "[cluster]\nstate = \"{}\"\nadmin = false\nworkers = 2\naccess-format = \"json\"\n\
             [listener.web]\nbind = \"{}\"\nroute = [{more}\n  {{ path = \"/report/*\", to = \"report\", name = \"report\", strip = \"/report\" }},\n  \
             {{ to = \"shop\", name = \"shop\" }},\n]\n\
             [listener.secure]\nbind = \"{}\"\ntls = \"cert.pem\"\nroute = {{ to = \"shop\" }}\n\
             [backend.shop]\nservers = [{}]\ncheck = {{ every = \"200ms\", rise = 1 }}\n\
             [backend.report]\nservers = {{ address = \"{}\", name = \"r1\" }}\ncheck = false\n",
            self.dir.path().join("state").display(),
            self.web,
            self.secure,
            servers.join(", "),
            report.address
        );
        self.dir.file("etc/cluster.toml", &text);
    }

    fn command(&self, args: &[&str]) -> Output {
        let at = |name: &str| self.dir.path().join(name);
        tandem()
            .args(args)
            .stdin(Stdio::null())
            .env("TANDEM_ETC", at("etc"))
            .env("TANDEM_PID_FILE", at("run/tandem.pid"))
            .env("TANDEM_LOG", at("log"))
            .output()
            .expect("the binary runs")
    }

    /// What a command that must succeed says.
    fn done(&self, args: &[&str]) -> String {
        let done = self.command(args);
        assert!(done.status.success(), "{args:?}: {}", stderr(&done));
        stdout(&done)
    }

    fn metric(&self, series: &str) -> Option<f64> {
        let socket = self.dir.path().join("state/local/admin.sock");
        metric(&ask_admin(&socket, "GET /metrics").text(), series)
    }

    fn pid(&self) -> u32 {
        let status: Value = serde_json::from_str(&self.done(&["status", "--json"])).expect("JSON");
        status["pid"].as_u64().expect("it runs") as u32
    }

    /// Both parts of the access log that was rotated.
    fn records(&self) -> Vec<Value> {
        let dir = self.dir.path().join("state/local");
        let parts = ["access.log.1", "access.log"].map(|name| whole_lines(&dir.join(name)));
        let lines = parts.iter().flat_map(|part| part.lines());
        lines
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
            .collect()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.command(&["stop"]);
    }
}

/// Clients that ask without pause, each request on a connection of its own, until they are told to stop.
struct Load {
    end: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    fn start(at: SocketAddr) -> Self {
        let (end, asked) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let clients = (0..3).map(|_| {
            let (end, asked) = (end.clone(), asked.clone());
            std::thread::spawn(move || {
                let mut failed = Vec::new();
                while !end.load(Relaxed) {
                    asked.fetch_add(1, Relaxed);
                    match request(at, "GET", "/", "", b"") {
                        Ok(page) if page.status == 200 => {}
                        Ok(page) => failed.push(format!("{} {}", page.status, page.text())),
                        Err(error) => failed.push(error.to_string()),
                    }
                }
                failed
            })
        });
        Self {
            clients: clients.collect(),
            end,
            asked,
        }
    }

    /// Waits until so many more requests were made: what was done before is behind them.
    fn goes_on(&self) {
        let before = self.asked.load(Relaxed);
        wait_until("the load goes on", || {
            self.asked.load(Relaxed) > before + 50
        });
    }

    /// How many requests there were, and what was wrong with those that failed.
    fn stop(self) -> (u64, Vec<String>) {
        self.end.store(true, Relaxed);
        let clients = self.clients.into_iter();
        let failed = clients.flat_map(|client| client.join().expect("no client panics"));
        let failed = failed.collect();
        (self.asked.load(Relaxed), failed)
    }
}

/// Whether the listener shows this certificate: a client that trusts no other can speak to it.
fn shows(at: SocketAddr, certificate: &[u8]) -> bool {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(rustls::pki_types::CertificateDer::from(
            certificate.to_vec(),
        ))
        .expect("a root");
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "localhost".try_into().expect("a name");
    let tls = rustls::ClientConnection::new(Arc::new(config), name).expect("a client");
    let stream = TcpStream::connect(at).expect("the listener");
    let mut stream = rustls::StreamOwned::new(tls, stream);
    let ask = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mut answer = String::new();
    std::io::Write::write_all(&mut stream, ask).is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.starts_with("HTTP/1.1 200 ")
}

#[test]
fn a_whole_day_of_operating_fails_no_request_and_the_slow_one_is_found() {
    let mut servers = [Server::start("a", "v1"), Server::start("b", "v1")];
    let report = Origin::http("r1", fine);
    let machine = Machine {
        dir: Dir::new(),
        web: common::ports::free(),
        secure: common::ports::free(),
    };
    let (old, old_root) = certificate::localhost();
    machine.dir.file("etc/cert.pem", &old);
    machine.configure(&servers, &report, "");
    machine.done(&["start"]);
    assert!(get(machine.web, "/").text().starts_with("v1 "));
    let load = Load::start(machine.web);
    load.goes_on();

    // A new version of the application: one server after the other is drained, exchanged, and made ready.
    for server in &mut servers {
        let name = format!("shop/{}", server.name);
        let labels = format!("{{service=\"shop\",server=\"{}\"", server.name);
        machine.done(&["server", "drain", &name]);
        wait_until("it has nothing to do", || {
            machine.metric(&format!("tandem_server_in_flight{labels}}}")) == Some(0.0)
        });
        let sent = machine.metric(&format!("tandem_server_requests_total{labels}}}"));
        load.goes_on();
        let still = machine.metric(&format!("tandem_server_requests_total{labels}}}"));
        assert_eq!(sent, still, "{name} was drained");
        server.stop();
        server.run("v2");
        machine.done(&["server", "ready", &name]);
        wait_until("it is up", || {
            machine.metric(&format!("tandem_server_health{labels},health=\"up\"}}")) == Some(1.0)
        });
        load.goes_on();
    }
    for _ in 0..4 {
        assert!(get(machine.web, "/").text().starts_with("v2 "));
    }

    // A route more, taken by a reload.
    let more = "\n  { path = \"/new\", respond = 204 },";
    machine.configure(&servers, &report, more);
    let different = stdout(&machine.command(&["config", "diff"]));
    assert!(different.contains("/new"), "{different}");
    machine.done(&["reload"]);
    // A signal has told it; it does it when it comes to it.
    wait_until("the new route is taken", || {
        get(machine.web, "/new").status == 204
    });
    load.goes_on();

    // A slip: it is refused with its reason, and what was there goes on; by signal too.
    machine.configure(
        &servers,
        &report,
        "\n  { pth = \"/newer\", respond = 204 },",
    );
    let refused = machine.command(&["reload"]);
    assert_eq!(refused.status.code(), Some(6));
    assert!(
        stderr(&refused).contains("did you mean `path`"),
        "{}",
        stderr(&refused)
    );
    send(machine.pid(), Signal::HUP);
    wait_until("the log says why", || {
        let log = std::fs::read_to_string(machine.dir.path().join("log")).unwrap_or_default();
        log.contains("not reloaded, everything stays as it was")
            && log.contains("did you mean `path`")
    });
    assert_eq!(get(machine.web, "/new").status, 204);
    load.goes_on();
    machine.configure(&servers, &report, more);

    // Logs are rotated, and a certificate is renewed.
    let log = machine.dir.path().join("state/local/access.log");
    std::fs::rename(&log, log.with_extension("log.1")).expect("it is there");
    send(machine.pid(), Signal::USR1);
    wait_until("the new log is written", || {
        std::fs::metadata(&log).is_ok_and(|file| file.len() > 0)
    });
    let (new, new_root) = certificate::localhost();
    assert!(shows(machine.secure, &old_root) && !shows(machine.secure, &new_root));
    machine.dir.file("etc/cert.pem", &new);
    machine.done(&["reload"]);
    wait_until("the new certificate is shown", || {
        shows(machine.secure, &new_root)
    });
    assert!(!shows(machine.secure, &old_root));
    load.goes_on();

    // A new binary takes the node's place.
    let before = machine.pid();
    machine.done(&["upgrade"]);
    assert_ne!(machine.pid(), before);
    load.goes_on();
    wait_until("the old process has ended", || !runs(before));
    assert_eq!(get(machine.web, "/new").status, 204);

    // A server is taken out, and who did it is on record.
    machine.done(&["server", "maintenance", "shop/b"]);
    let health = "tandem_server_health{service=\"shop\",server=\"b\",health=\"maintenance\"}";
    assert_eq!(machine.metric(health), Some(1.0));
    for _ in 0..4 {
        assert_eq!(get(machine.web, "/").text(), "v2 a");
    }
    let audit = machine.done(&["events", "--subject", "audit"]);
    assert!(
        audit.contains("server shop/b: state maintenance"),
        "{audit}"
    );
    load.goes_on();

    // Somebody complains that a page was slow.
    let web = machine.web;
    let slow = std::thread::spawn(move || get(web, "/report/hold?year=2026").status);
    wait_until("the server has it", || !report.heads().is_empty());
    let begun = Instant::now();
    load.goes_on();
    let held = begun.elapsed().as_secs_f64();
    report.release();
    assert_eq!(slow.join().expect("no panic"), 200);
    find_the_slow_one(&machine, &report, held);

    let (asked, failed) = load.stop();
    assert!(
        failed.is_empty(),
        "{} of {asked}: {:?}",
        failed.len(),
        &failed[..failed.len().min(5)]
    );
    machine.done(&["stop"]);
    let mut logged = machine.records();
    logged.retain(|record| record["listener"] == "web" && record["uri"] == "/");
    let bad = logged.iter().find(|record| record["status"] != 200);
    assert!(bad.is_none(), "{bad:?}");
    let logged = logged.len() as u64;
    assert!(logged >= asked, "{logged} of {asked} are in the log");
}

/// What an operator does: which route is slow, whether it is the queue or a server, and which request it was. `held` is
/// what the server took at least, in seconds.
fn find_the_slow_one(machine: &Machine, report: &Origin, held: f64) {
    let route = "tandem_route_duration_seconds_sum{listener=\"web\",route=\"report\"}";
    wait_until("it is counted", || machine.metric(route) >= Some(held));
    let queue = "tandem_service_queue_seconds_count{service=\"report\"}";
    assert_eq!(
        machine.metric(queue),
        Some(0.0),
        "it did not wait for a server"
    );
    let server = "tandem_server_first_byte_seconds_sum{service=\"report\",server=\"r1\"}";
    assert!(machine.metric(server) >= Some(held), "its server was late");

    let of_route = || {
        let mut records = machine.records();
        records.retain(|record| record["route"] == "report");
        records
    };
    wait_until("it is logged", || !of_route().is_empty());
    let slow = &of_route()[0];
    let ms = |name: &str| slow[name].as_f64().expect("a number");
    assert_eq!(slow["uri"], "/report/hold?year=2026");
    assert_eq!(
        (&slow["service"], &slow["server"]),
        (&"report".into(), &"r1".into())
    );
    assert_eq!((ms("queue_ms"), &slow["ended"]), (0.0, &"-".into()));
    assert!(
        ms("first_byte_ms") >= held * 1_000.0 && ms("total_ms") >= ms("first_byte_ms"),
        "{slow}"
    );
    let id = slow["request_id"].as_str().expect("an id");
    assert!(
        report.heads()[0].contains(&format!("\r\nX-Request-Id: {id}\r\n")),
        "the server can look it up: {:?}",
        report.heads()
    );
}
