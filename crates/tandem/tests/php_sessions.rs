//! An application whose session code nobody here wrote: PHP's own session handler, pointed at the agent, while
//! processes and nodes are killed.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;

use common::{Dir, PATIENCE, Running, Visitor, has, stderr, wait_until};

/// Sessions in use at the same time.
const SESSIONS: usize = 200;
/// Clients, each with its share of the sessions.
const CLIENTS: usize = 8;
/// Requests that must be answered during each fault.
const DURING: u64 = 150;

const PAGE: &str = r#"<?php
if (!session_start()) { http_response_code(500); exit("session_start failed"); }
$n = $_SESSION["n"] = ($_SESSION["n"] ?? 0) + 1;
if (!session_write_close()) { http_response_code(500); exit("session_write_close failed"); }
header("Content-Type: text/plain");
echo $n, " ", session_id(), " ", getenv("TANDEM_NODE");
"#;

const CLUSTER: &str = r#"
[nodes]
edge   = "10.0.0.1"
app1   = "10.0.0.2"
app2   = "10.0.0.3"
cache1 = "10.0.0.4"
cache2 = "10.0.0.5"

[cluster]
name = "php"
key  = "${TANDEM_KEY}"

[listener.web]
on    = "edge"
bind  = ":18080"
route = [{ to = "counter" }]

[app.counter]
on    = ["app1", "app2"]
port  = 80
run   = ["php", "-d", "session.save_handler=memcached", "-d", "session.save_path={sessions}",
         "-d", "memcached.sess_binary_protocol=Off", "-d", "memcached.sess_lock_expire=2",
         "-d", "memcached.sess_lock_retries=100", "-d", "memcached.sess_lock_wait_min=100",
         "-d", "memcached.sess_lock_wait_max=100", "-S", "{host}:{port}", "-t", "www"]
env   = { PHP_CLI_SERVER_WORKERS = "4" }

[sessions]
on     = ["cache1", "cache2"]
memory = "32 MiB"
"#;

/// What the clients have seen.
#[derive(Default)]
struct Seen {
    answered: AtomicU64,
    /// Answers that had begun when their server died: nobody may ask for them again.
    cut: AtomicU64,
    stop: AtomicBool,
}

/// Uses sessions in turn until told to stop. Panics at the first broken promise.
fn client(front: std::net::SocketAddr, seen: &Seen) {
    let mut sessions: Vec<(Visitor, u64, String)> = (0..SESSIONS / CLIENTS)
        .map(|_| (Visitor::new(front), 0, String::new()))
        .collect();
    while !seen.stop.load(SeqCst) {
        for (visitor, last, id) in &mut sessions {
            let page = match visitor.get("/counter.php") {
                Ok(page) => page,
                Err(error) if has_begun(&error) => {
                    seen.cut.fetch_add(1, SeqCst);
                    continue;
                }
                Err(error) => panic!("a GET failed: {error}"),
            };
            let text = page.text();
            assert_eq!(
                page.status, 200,
                "a GET was answered {}: {text}",
                page.status
            );
            let mut words = text.split(' ');
            let count: u64 = words
                .next()
                .and_then(|n| n.parse().ok())
                .unwrap_or_else(|| panic!("no count: {text}"));
            let now = words.next().unwrap_or_default();
            assert!(count > *last, "session {id} went from {last} to {count}");
            assert!(id.is_empty() || id == now, "session {id} became {now}");
            (*last, *id) = (count, now.to_owned());
            seen.answered.fetch_add(1, SeqCst);
            if seen.stop.load(SeqCst) {
                break;
            }
        }
    }
}

fn has_begun(error: &std::io::Error) -> bool {
    error
        .to_string()
        .starts_with("no whole answer: \"HTTP/1.1 200 ")
}

#[test]
fn php_sessions_survive_the_death_of_processes_and_nodes() {
    if !has(
        "php",
        &["-r", "exit(extension_loaded('memcached') ? 0 : 1);"],
    ) {
        return;
    }
    let dir = Dir::new();
    dir.file("www/counter.php", PAGE);
    let file = dir.file("cluster.toml", CLUSTER);
    let cluster = Running::start(&["rehearse", &file]);
    let seen = Arc::new(Seen::default());
    let front = cluster.address();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let seen = seen.clone();
            thread::spawn(move || {
                let stop = StopOnPanic(seen.clone());
                client(front, &seen);
                std::mem::forget(stop);
            })
        })
        .collect();
    let answered = || seen.answered.load(SeqCst);
    let progress = |what: &str| {
        let before = answered();
        wait_until(what, || {
            answered() >= before + DURING || seen.stop.load(SeqCst)
        });
        assert!(!seen.stop.load(SeqCst), "a client failed: {what}");
    };
    progress("all sessions begin");
    for (app, cache) in [("app1", "cache1"), ("app2", "cache2")] {
        // One fault at a time: what was brought back serves again.
        cluster.wait_until_well();
        let done = cluster.node(&["kill", app, "--app"]);
        assert!(done.status.success(), "{}", stderr(&done));
        progress("an application process was killed");
        for fault in [&[app][..], &[cache], &[app, cache]] {
            cluster.wait_until_well();
            for node in fault {
                let done = cluster.node(&["kill", node]);
                assert!(done.status.success(), "{}", stderr(&done));
            }
            progress(&format!("{} killed", fault.join(" and ")));
            for node in fault {
                let done = cluster.node(&["start", node]);
                assert!(done.status.success(), "{}", stderr(&done));
            }
            progress(&format!("{} brought back", fault.join(" and ")));
        }
    }
    cluster.wait_until_well();
    seen.stop.store(true, SeqCst);
    for client in clients {
        client.join().expect("no client saw a broken promise");
    }
    // PHP sends the answer and its end apart: a death may come between the two, with as many answers as there are clients.
    let cut = seen.cut.load(SeqCst);
    assert!(cut <= CLIENTS as u64, "{cut} answers were cut short");
    println!(
        "{} requests, none failed, {cut} cut short, no counter went back (patience {PATIENCE:?})",
        answered()
    );
}

/// Ends the test early when a client panics.
struct StopOnPanic(Arc<Seen>);

impl Drop for StopOnPanic {
    fn drop(&mut self) {
        self.0.stop.store(true, SeqCst);
    }
}
