//! The recipes of docs/sessions, as they are written there, with the real packages: a counter that never goes back while
//! machines take turns and one is killed, a logout that a slower request does not undo and a login right after it, and an
//! agent that cannot read a session, which logs nobody out.

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;

use common::{Dir, Running, Visitor, has, stderr, tandem, wait_until};

/// Node's packages and others that Debian does not have (`.ci/run` installs them).
fn clients() -> PathBuf {
    std::env::var_os("TANDEM_CLIENTS").map_or_else(PathBuf::new, PathBuf::from)
}

/// The first code block of a language in a page of docs/sessions.
fn block(page: &str, language: &str) -> String {
    nth_block(page, language, 0)
}

fn nth_block(page: &str, language: &str, n: usize) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../docs/sessions/{page}.md"));
    let text = std::fs::read_to_string(path).expect("the recipe");
    let fence = format!("```{language}\n");
    let rest = text
        .split(&fence)
        .nth(n + 1)
        .unwrap_or_else(|| panic!("{page}.md has {} blocks of {language}", n + 1));
    let (block, _) = rest.split_once("```").expect("a block ends");
    block.to_owned()
}

/// An application by a recipe: its files are in a directory.
struct Recipe {
    page: &'static str,
    run: Vec<String>,
    env: Vec<(&'static str, String)>,
}

/// Two machines of an application that has its sessions there, too.
fn cluster(recipe: &Recipe) -> String {
    let env: Vec<_> = recipe
        .env
        .iter()
        .map(|(name, value)| format!("{name} = {value:?}"))
        .collect();
    format!(
        r#"
[nodes]
edge = "10.0.0.1"
app1 = "10.0.0.2"
app2 = "10.0.0.3"

[cluster]
name = "{}"
key  = "${{TANDEM_KEY}}"

[listener.web]
on    = "edge"
bind  = ":80"
route = [{{ to = "app" }}]

[app.app]
on    = ["app1", "app2"]
port  = 80
run   = {:?}
env   = {{ {} }}

{}"#,
        recipe.page,
        recipe.run,
        env.join(", "),
        block(recipe.page, "toml")
    )
}

/// Plays the recipe: `/count` counts the session's visits, `/logout` ends it, `/slow` reads it, says so in a file, waits
/// for another and then changes it, `/who` says `nobody` when it is not there.
fn play(dir: &Dir, recipe: &Recipe, locks: bool) {
    let file = dir.file("cluster.toml", &cluster(recipe));
    let cluster = Running::start(&["rehearse", &file]);
    let front = cluster.address();
    let ask = |visitor: &mut Visitor, path: &str| {
        let page = visitor
            .get(path)
            .unwrap_or_else(|error| panic!("GET {path}: {error}"));
        assert_eq!(page.status, 200, "{path}: {}", page.text());
        page.text().trim().to_owned()
    };

    let mut visitor = Visitor::new(front);
    let mut nodes = Vec::new();
    let mut count = |visitor: &mut Visitor, expected: usize| {
        let text = ask(visitor, "/count");
        let (n, node) = text
            .split_once(' ')
            .unwrap_or_else(|| panic!("no count: {text}"));
        assert_eq!(n, expected.to_string(), "{text}");
        nodes.push(node.to_owned());
    };
    for n in 1..=6 {
        count(&mut visitor, n);
    }
    let killed = cluster.node(&["kill", "app1"]);
    assert!(killed.status.success(), "{}", stderr(&killed));
    for n in 7..=9 {
        count(&mut visitor, n);
    }
    let started = cluster.node(&["start", "app1"]);
    assert!(started.status.success(), "{}", stderr(&started));
    cluster.wait_until_well();
    for n in 10..=13 {
        count(&mut visitor, n);
    }
    for two in nodes[..6].windows(2) {
        assert_ne!(two[0], two[1], "not in turn: {nodes:?}");
    }
    assert_eq!(ask(&mut visitor, "/who"), "somebody");

    // A slow request is inside when another one logs out.
    let cookie = visitor.cookie.clone();
    if locks {
        ask(&mut visitor, "/logout");
    } else {
        let mut slow = Visitor::new(front);
        slow.cookie.clone_from(&cookie);
        let waiting = thread::spawn(move || slow.get("/slow").map(|page| page.status));
        wait_until("the slow request is inside", || {
            dir.path().join("entered").exists()
        });
        ask(&mut visitor, "/logout");
        dir.file("leave", "");
        waiting
            .join()
            .expect("no panic")
            .expect("an answer of any kind");
    }
    for _ in 0..4 {
        let mut late = Visitor::new(front);
        late.cookie.clone_from(&cookie);
        assert_eq!(ask(&mut late, "/who"), "nobody", "a logout was undone");
    }
    for n in 1..=4 {
        let text = ask(&mut visitor, "/count");
        assert!(text.starts_with(&format!("{n} ")), "after a logout: {text}");
    }
}

/// An agent, as far as a client sees it, that can be told to be without the session tier.
struct Agent {
    child: Child,
    address: SocketAddr,
    blind: Arc<AtomicBool>,
}

impl Agent {
    fn start() -> Self {
        let store = common::ports::free();
        let mut command = tandem();
        command.args([
            "memcached",
            "-l",
            "127.0.0.1",
            "-p",
            &store.port().to_string(),
        ]);
        if rustix::process::getuid().is_root() {
            command.args(["-u", "root"]);
        }
        let child = command.stdin(Stdio::null()).spawn().expect("the store");
        wait_until("the store serves", || TcpStream::connect(store).is_ok());
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let agent = Self {
            child,
            address: listener.local_addr().expect("an address"),
            blind: Arc::default(),
        };
        let blind = agent.blind.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                let (client, blind) = (client.expect("a client"), blind.clone());
                thread::spawn(move || serve(&client, store, &blind));
            }
        });
        agent
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Passes a client's commands on; one that cannot see the session tier answers for itself, in an agent's words.
fn serve(client: &TcpStream, store: SocketAddr, blind: &AtomicBool) -> Option<()> {
    let store = TcpStream::connect(store).ok()?;
    let mut answers = (store.try_clone().ok()?, client.try_clone().ok()?);
    thread::spawn(move || {
        let _ = std::io::copy(&mut answers.0, &mut answers.1);
        answers.1.shutdown(std::net::Shutdown::Both)
    });
    let (mut client, mut store) = (BufReader::new(client), &store);
    loop {
        if client.fill_buf().ok()?.first() == Some(&0x80) {
            // The binary protocol: a head of 24 bytes with the opcode and the length of what follows.
            let mut command = vec![0; 24];
            client.read_exact(&mut command).ok()?;
            let length = u32::from_be_bytes(command[8..12].try_into().ok()?);
            command.resize(24 + length as usize, 0);
            client.read_exact(&mut command[24..]).ok()?;
            if !blind.load(SeqCst) || [0x0a, 0x0b].contains(&command[1]) {
                store.write_all(&command).ok()?;
            } else {
                // Internal error, with the command's opaque and 5 bytes of text.
                let mut answer = [0; 24];
                answer[..2].copy_from_slice(&[0x81, command[1]]);
                answer[7] = 0x84;
                answer[11] = 5;
                answer[12..16].copy_from_slice(&command[12..16]);
                client.get_mut().write_all(&answer).ok()?;
                client.get_mut().write_all(b"blind").ok()?;
            }
            continue;
        }
        let mut command = Vec::new();
        if client.read_until(b'\n', &mut command).ok()? == 0 {
            store.shutdown(std::net::Shutdown::Both).ok()?;
            return None;
        }
        let line = String::from_utf8_lossy(&command).into_owned();
        let words: Vec<&str> = line.split_whitespace().collect();
        let reads = words[0].starts_with("get") || words[0].starts_with("gat");
        if ["set", "add", "replace", "cas"].contains(&words[0]) {
            let mut value = vec![0; words[4].parse::<usize>().ok()? + 2];
            client.read_exact(&mut value).ok()?;
            command.extend(value);
        }
        if !blind.load(SeqCst) || words[0] == "version" {
            store.write_all(&command).ok()?;
        } else if reads {
            let words = b"SERVER_ERROR cannot be read now: nobody leads the session tier\r\n";
            client.get_mut().write_all(words).ok()?;
        } else {
            let words = b"SERVER_ERROR not stored: nobody leads the session tier\r\n";
            client.get_mut().write_all(words).ok()?;
        }
    }
}

/// One process of the application, with an agent of its own.
struct Alone {
    child: Child,
    front: SocketAddr,
    agent: Agent,
}

impl Alone {
    fn start(dir: &Dir, recipe: &Recipe) -> Self {
        let agent = Agent::start();
        let front = common::ports::free();
        let child = Command::new(&recipe.run[0])
            .args(&recipe.run[1..])
            .current_dir(dir.path())
            .envs(recipe.env.iter().map(|(name, value)| (name, value)))
            .env("HOST", "127.0.0.1")
            .env("PORT", front.port().to_string())
            .env("TANDEM_NODE", "app1")
            .env("TANDEM_SESSIONS", agent.address.to_string())
            .stdin(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("the application");
        wait_until("the application serves", || {
            TcpStream::connect(front).is_ok()
        });
        Self {
            child,
            front,
            agent,
        }
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        // It may have processes of its own.
        let group = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _ = self.child.wait();
    }
}

/// A session that the agent cannot read: the client is answered `status`, keeps its cookie, and has its session again when
/// the agent is back.
fn logs_nobody_out(dir: &Dir, recipe: &Recipe, status: u16) {
    let app = Alone::start(dir, recipe);
    let mut visitor = Visitor::new(app.front);
    let counted = |visitor: &mut Visitor, n: usize| {
        let page = visitor.get("/count").expect("a page");
        assert_eq!(page.text(), format!("{n} app1"));
    };
    counted(&mut visitor, 1);
    counted(&mut visitor, 2);
    let cookie = visitor.cookie.clone();
    app.agent.blind.store(true, SeqCst);
    for path in [
        "/who", "/count", "/who", "/count", "/who", "/count", "/who", "/count",
    ] {
        let page = visitor.get(path).expect("a page");
        assert_eq!(page.status, status, "{path}: {}", page.text());
        assert_eq!(page.field("set-cookie"), None, "{path}: {}", page.head);
    }
    app.agent.blind.store(false, SeqCst);
    let who = |visitor: &mut Visitor| visitor.get("/who").expect("a page").text();
    wait_until("the session is back", || who(&mut visitor) == "somebody");
    counted(&mut visitor, 3);
    let new = |cookie: &Option<String>| cookie.clone().expect("a cookie");
    let id = |cookie: &Option<String>| new(cookie).split('.').next().map(str::to_owned);
    assert_eq!(id(&visitor.cookie), id(&cookie));
}

const PHP: &str = r#"
$steps = getenv("STEPS");
switch (parse_url($_SERVER["REQUEST_URI"], PHP_URL_PATH)) {
case "/count":
    $_SESSION["n"] = ($_SESSION["n"] ?? 0) + 1;
    session_write_close();
    echo $_SESSION["n"], " ", getenv("TANDEM_NODE");
    break;
case "/who":
    echo isset($_SESSION["n"]) ? "somebody" : "nobody";
    break;
case "/slow":
    touch("$steps/entered");
    while (!file_exists("$steps/leave")) { usleep(10000); clearstatcache(); }
    $_SESSION["late"] = 1;
    break;
case "/logout":
    session_destroy();
    echo "bye";
}
"#;

fn php(dir: &Dir, binary: bool, locks: bool) -> Option<Recipe> {
    if !has(
        "php",
        &["-r", "exit(extension_loaded('memcached') ? 0 : 1);"],
    ) {
        return None;
    }
    let mut ini = block("php", "ini");
    if !binary {
        let text = "memcached.sess_binary_protocol = Off";
        ini = ini.replace("memcached.sess_binary_protocol = On", text);
        assert!(ini.contains(text));
    }
    if !locks {
        ini = ini.replace(
            "memcached.sess_locking = On",
            "memcached.sess_locking = Off",
        );
    }
    dir.file("conf/recipe.ini", &ini);
    dir.file("app.php", &format!("<?php\n{}{PHP}", block("php", "php")));
    // Beside the system's directory, which loads the extension.
    let run = "PHP_INI_SCAN_DIR=:$STEPS/conf exec php -S $HOST:$PORT $STEPS/app.php";
    Some(Recipe {
        page: "php",
        run: vec!["sh".into(), "-c".into(), run.into()],
        env: vec![
            ("STEPS", dir.path().display().to_string()),
            ("PHP_CLI_SERVER_WORKERS", "4".into()),
        ],
    })
}

#[test]
fn php_with_the_binary_protocol_and_locks() {
    let dir = Dir::new();
    if let Some(recipe) = php(&dir, true, true) {
        play(&dir, &recipe, true);
    }
}

#[test]
fn php_with_the_text_protocol_and_without_locks() {
    let dir = Dir::new();
    if let Some(recipe) = php(&dir, false, false) {
        play(&dir, &recipe, false);
    }
}

#[test]
fn php_logs_nobody_out_that_it_cannot_read() {
    for binary in [false, true] {
        let dir = Dir::new();
        let Some(recipe) = php(&dir, binary, true) else {
            return;
        };
        logs_nobody_out(&dir, &recipe, 503);
    }
}

const DJANGO: &str = r#"
import os, sys, time
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIServer, make_server
import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path
import recipe

settings.configure(SECRET_KEY="the same on both", ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"],
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware"],
    **{name: getattr(recipe, name) for name in dir(recipe) if name.isupper()})
steps = os.environ["STEPS"]

def count(request):
    request.session["n"] = request.session.get("n", 0) + 1
    return HttpResponse("%d %s" % (request.session["n"], os.environ["TANDEM_NODE"]))

def who(request):
    return HttpResponse("somebody" if "n" in request.session else "nobody")

def slow(request):
    request.session["late"] = request.session["n"]
    open(steps + "/entered", "w").close()
    while not os.path.exists(steps + "/leave"):
        time.sleep(0.01)
    return HttpResponse("late")

def logout(request):
    request.session.flush()
    return HttpResponse("bye")

urlpatterns = [path(view.__name__, view) for view in (count, who, slow, logout)]

class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

if __name__ == "__main__":
    sys.modules["app"] = sys.modules["__main__"]
    make_server(os.environ["HOST"], int(os.environ["PORT"]), get_wsgi_application(), Server).serve_forever()
"#;

fn django(dir: &Dir, backend: &str, module: &str) -> Option<Recipe> {
    if !has(
        "/usr/bin/python3",
        &["-c", &format!("import django, {module}")],
    ) {
        return None;
    }
    let recipe = block("django", "python").replace("PyMemcacheCache", backend);
    dir.file("recipe.py", &recipe);
    dir.file("shop/__init__.py", "");
    dir.file("shop/sessions.py", &nth_block("django", "python", 1));
    dir.file("app.py", DJANGO);
    Some(Recipe {
        page: "django",
        run: vec!["/usr/bin/python3".into(), "app.py".into()],
        env: vec![("STEPS", dir.path().display().to_string())],
    })
}

#[test]
fn django_with_pymemcache() {
    let dir = Dir::new();
    if let Some(recipe) = django(&dir, "PyMemcacheCache", "pymemcache") {
        play(&dir, &recipe, false);
        logs_nobody_out(&dir, &recipe, 500);
    }
}

#[test]
fn django_with_pylibmc() {
    let dir = Dir::new();
    if let Some(recipe) = django(&dir, "PyLibMCCache", "pylibmc") {
        play(&dir, &recipe, false);
    }
}

const FLASK: &str = r#"
import os, time
from flask import Flask, session
from flask_session import Session

app = Flask(__name__)
app.config.from_pyfile("recipe.py")
Session(app)
steps = os.environ["STEPS"]

@app.route("/count")
def count():
    session["n"] = session.get("n", 0) + 1
    return "%d %s" % (session["n"], os.environ["TANDEM_NODE"])

@app.route("/who")
def who():
    return "somebody" if "n" in session else "nobody"

@app.route("/slow")
def slow():
    session["late"] = session["n"]
    open(steps + "/entered", "w").close()
    while not os.path.exists(steps + "/leave"):
        time.sleep(0.01)
    return "late"

@app.route("/logout")
def logout():
    session.clear()
    return "bye"

app.run(host=os.environ["HOST"], port=int(os.environ["PORT"]), threaded=True)
"#;

#[test]
fn flask_with_flask_session() {
    let python = clients().join("venv/bin/python3").display().to_string();
    if !has(&python, &["-c", "import flask_session, pymemcache"]) {
        return;
    }
    let dir = Dir::new();
    dir.file("recipe.py", &block("flask", "python"));
    dir.file("app.py", FLASK);
    let recipe = Recipe {
        page: "flask",
        run: vec![python, "app.py".into()],
        env: vec![("STEPS", dir.path().display().to_string())],
    };
    play(&dir, &recipe, false);
    logs_nobody_out(&dir, &recipe, 500);
}

const RACK: &str = r##"
run lambda { |env|
  session = env["rack.session"]
  steps = ENV["STEPS"]
  text = case env["PATH_INFO"]
  when "/count"
    session["n"] = (session["n"] || 0) + 1
    "#{session["n"]} #{ENV["TANDEM_NODE"]}"
  when "/who" then session["n"] ? "somebody" : "nobody"
  when "/slow"
    session["late"] = session["n"]
    File.write("#{steps}/entered", "")
    sleep 0.01 until File.exist?("#{steps}/leave")
    "late"
  when "/logout"
    session.destroy
    "bye"
  else ""
  end
  [200, { "Content-Type" => "text/plain" }, [text]]
}
"##;

#[test]
fn rack_with_dalli() {
    if !has(
        "/usr/bin/ruby",
        &[
            "-e",
            "require 'rack/session/dalli'; require 'rack/handler/webrick'",
        ],
    ) {
        return;
    }
    let dir = Dir::new();
    dir.file("config.ru", &(block("rack", "ruby") + RACK));
    let serve = "require 'rack'; app, = Rack::Builder.parse_file('config.ru'); \
                 Rack::Handler.get('webrick').run(app, Host: ENV['HOST'], Port: ENV['PORT'].to_i)";
    let recipe = Recipe {
        page: "rack",
        run: vec!["/usr/bin/ruby".into(), "-e".into(), serve.into()],
        env: vec![("STEPS", dir.path().display().to_string())],
    };
    play(&dir, &recipe, false);
    logs_nobody_out(&dir, &recipe, 500);
}

const EXPRESS: &str = r#"
const steps = process.env.STEPS;
const fs = require("fs");
app.get("/count", (q, r) => {
  q.session.n = (q.session.n || 0) + 1;
  r.send(`${q.session.n} ${process.env.TANDEM_NODE}`);
});
app.get("/who", (q, r) => r.send(q.session.n ? "somebody" : "nobody"));
app.get("/slow", (q, r) => {
  q.session.late = q.session.n;
  fs.writeFileSync(steps + "/entered", "");
  const wait = setInterval(() => {
    if (fs.existsSync(steps + "/leave")) {
      clearInterval(wait);
      r.send("late");
    }
  }, 10);
});
app.get("/logout", (q, r) => q.session.destroy(() => r.send("bye")));
app.listen(Number(process.env.PORT), process.env.HOST);
"#;

#[test]
fn express_with_connect_memcached() {
    let modules = clients().join("node_modules");
    let module = modules.join("connect-memcached");
    if !has(
        "node",
        &["-e", &format!("require({:?})", module.to_string_lossy())],
    ) {
        return;
    }
    let dir = Dir::new();
    let head = "const app = require(\"express\")();\n";
    dir.file(
        "app.js",
        &format!("{head}{}{EXPRESS}", block("express", "js")),
    );
    let recipe = Recipe {
        page: "express",
        run: vec!["node".into(), "app.js".into()],
        env: vec![
            ("STEPS", dir.path().display().to_string()),
            ("NODE_PATH", modules.display().to_string()),
        ],
    };
    play(&dir, &recipe, false);
    logs_nobody_out(&dir, &recipe, 500);
}
