//! A uWSGI of a test's own, with an application in Python, at sockets of its protocol and of SCGI.

use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;

use super::{has, ports, send, wait_until};

/// Says what it was told, and answers with the status that a path names.
const APPLICATION: &str = r#"
def application(environ, start_response):
    path = environ["PATH_INFO"]
    status = "200 OK"
    if path.startswith("/status/"):
        status = path[8:] + " So"
    body = environ["wsgi.input"].read()
    told = ("REQUEST_METHOD", "PATH_INFO", "QUERY_STRING", "REQUEST_URI", "CONTENT_TYPE", "REMOTE_ADDR",
            "SERVER_PROTOCOL", "SERVER_NAME", "HTTP_COOKIE", "HTTP_X_A", "HTTP_X_REAL_IP", "APP_ENV", "REMOTE_USER", "HTTP_PROXY")
    lines = ["%s=%s\n" % (name, environ[name]) for name in told if environ.get(name)]
    lines.append("scheme %s\n%d bytes\n" % (environ["wsgi.url_scheme"], len(body)))
    text = "".join(lines).encode()
    fields = [("Content-Type", "text/plain"), ("X-Server", "uwsgi")]
    if path == "/large":
        text = b"x" * 1000000
    if path == "/sized" or path == "/large":
        fields.append(("Content-Length", str(len(text))))
    if path == "/cookies":
        fields += [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]
    if path == "/moved":
        status = "302 Found"
        fields.append(("Location", "/there"))
    if path == "/given":
        fields.append(("X-Accel-Redirect", "/vault/a.txt"))
    start_response(status, fields)
    if environ["REQUEST_METHOD"] == "HEAD":
        return []
    if path == "/fails":
        raise Exception("of the test")
    return [text[:5], text[5:]]
"#;

/// Whether there is one.
pub fn is_here() -> bool {
    has("uwsgi", &["--version"])
}

/// One that runs.
pub struct Uwsgi {
    child: Child,
    /// Where it speaks its own protocol.
    pub port: u16,
    /// The same at a Unix socket.
    pub socket: PathBuf,
    /// Where it speaks SCGI.
    pub scgi: u16,
}

impl Uwsgi {
    /// Starts one whose files are in a directory.
    pub fn start(dir: &std::path::Path) -> Self {
        let [port, scgi] = ports::several();
        let application = dir.join("application.py");
        std::fs::write(&application, APPLICATION).expect("a file");
        let socket = dir.join("uwsgi.sock");
        let child = Command::new("uwsgi")
            .args(["--plugin", "python3", "--master", "--die-on-term"])
            .args(["--processes", "2", "--buffer-size", "32768"])
            .args(["--socket", &format!("127.0.0.1:{port}")])
            .arg("--socket")
            .arg(&socket)
            .args(["--chmod-socket=666", "--scgi-socket"])
            .arg(format!("127.0.0.1:{scgi}"))
            .arg("--wsgi-file")
            .arg(&application)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("uWSGI starts");
        let uwsgi = Self {
            child,
            port,
            socket,
            scgi,
        };
        for port in [uwsgi.port, uwsgi.scgi] {
            wait_until("uWSGI listens", || {
                TcpStream::connect(("127.0.0.1", port)).is_ok()
            });
        }
        uwsgi
    }
}

impl Drop for Uwsgi {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            send(self.child.id(), Signal::TERM);
            let _ = self.child.wait();
        }
    }
}
