//! The recipes of docs/sessions, as they are written there, with the real packages: a counter that never goes back while
//! machines take turns and one is killed, and a logout that a slower request does not undo.

mod common;

use std::path::{Path, PathBuf};
use std::thread;

use common::{Dir, Running, Visitor, has, stderr, wait_until};

/// Node's packages and others that Debian does not have (`.ci/run` installs them).
fn clients() -> PathBuf {
    std::env::var_os("TANDEM_CLIENTS").map_or_else(PathBuf::new, PathBuf::from)
}

/// The code block of a language in a page of docs/sessions.
fn block(page: &str, language: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../docs/sessions/{page}.md"));
    let text = std::fs::read_to_string(path).expect("the recipe");
    let fence = format!("```{language}\n");
    let (_, rest) = text
        .split_once(&fence)
        .unwrap_or_else(|| panic!("{page}.md has a {language} block"));
    let (block, _) = rest.split_once("```").expect("a block ends");
    block.to_owned()
}

/// Two machines of an application that has its sessions there, too.
fn cluster(page: &str, run: &str, env: &str) -> String {
    format!(
        r#"
[nodes]
edge = "10.0.0.1"
app1 = "10.0.0.2"
app2 = "10.0.0.3"

[cluster]
name = "{page}"
key  = "${{TANDEM_KEY}}"

[listener.web]
on    = "edge"
bind  = ":80"
route = [{{ to = "app" }}]

[app.app]
on    = ["app1", "app2"]
port  = 80
run   = {run}
env   = {{ {env} }}

{}"#,
        block(page, "toml")
    )
}

/// Plays the recipe: `/count` counts the session's visits, `/logout` ends it, `/slow` reads it, says so in a file, waits
/// for another and then changes it, `/who` says `nobody` when it is not there.
fn play(dir: &Dir, file: &str, locks: bool) {
    let cluster = Running::start(&["rehearse", file]);
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
}

const PHP: &str = r#"<?php
session_start();
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

fn php(binary: bool, locks: bool) {
    if !has(
        "php",
        &["-r", "exit(extension_loaded('memcached') ? 0 : 1);"],
    ) {
        return;
    }
    let dir = Dir::new();
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
    dir.file("app.php", PHP);
    // Beside the system's directory, which loads the extension.
    let run = r#"["sh", "-c", "PHP_INI_SCAN_DIR=:$STEPS/conf exec php -S $HOST:$PORT app.php"]"#;
    let env = format!(
        "STEPS = \"{}\", PHP_CLI_SERVER_WORKERS = \"4\"",
        dir.path().display()
    );
    let file = dir.file("cluster.toml", &cluster("php", run, &env));
    play(&dir, &file, locks);
}

#[test]
fn php_with_the_binary_protocol_and_locks() {
    php(true, true);
}

#[test]
fn php_with_the_text_protocol_and_without_locks() {
    php(false, false);
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

fn django(backend: &str, module: &str) {
    if !has(
        "/usr/bin/python3",
        &["-c", &format!("import django, {module}")],
    ) {
        return;
    }
    let dir = Dir::new();
    let recipe = block("django", "python").replace("PyMemcacheCache", backend);
    dir.file("recipe.py", &recipe);
    dir.file("app.py", DJANGO);
    let env = format!("STEPS = \"{}\"", dir.path().display());
    let run = r#"["/usr/bin/python3", "app.py"]"#;
    let file = dir.file("cluster.toml", &cluster("django", run, &env));
    play(&dir, &file, false);
}

#[test]
fn django_with_pymemcache() {
    django("PyMemcacheCache", "pymemcache");
}

#[test]
fn django_with_pylibmc() {
    django("PyLibMCCache", "pylibmc");
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
    let env = format!("STEPS = \"{}\"", dir.path().display());
    let serve = "require 'rack'; app, = Rack::Builder.parse_file('config.ru'); \
                 Rack::Handler.get('webrick').run(app, Host: ENV['HOST'], Port: ENV['PORT'].to_i)";
    let run = format!("[\"/usr/bin/ruby\", \"-e\", \"{serve}\"]");
    let file = dir.file("cluster.toml", &cluster("rack", &run, &env));
    play(&dir, &file, false);
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
    let env = format!(
        "STEPS = \"{}\", NODE_PATH = \"{}\"",
        dir.path().display(),
        modules.display()
    );
    let file = dir.file(
        "cluster.toml",
        &cluster("express", r#"["node", "app.js"]"#, &env),
    );
    play(&dir, &file, false);
}
