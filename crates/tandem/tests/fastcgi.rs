//! Programs that speak FastCGI, from outside: PHP-FPM as servers, and `php-cgi` as an application.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;

use common::fpm::{self, Fpm};
use common::node::Node;
use common::{Dir, PATIENCE, get, has, raw, request, send, wait_until};
use rustix::process::Signal;

const SHOW: &str = r#"<?php
$all = $_SERVER;
ksort($all);
header("Content-Type: application/json");
echo json_encode(["server" => $all, "get" => $_GET, "post" => $_POST, "length" => strlen(file_get_contents("php://input"))]);
"#;

/// Files of a small shop, below `www`.
fn shop(dir: &Dir) {
    dir.file("www/show.php", SHOW);
    dir.file("www/style.css", "body {}\n");
    dir.file(
        "www/index.php",
        "<?php echo 'front ', $_SERVER['REQUEST_URI'], ' ', $_SERVER['SCRIPT_NAME'];",
    );
    dir.file("www/admin/index.php", "<?php echo 'admin';");
    dir.file(
        "www/status.php",
        "<?php http_response_code(410); header('X-A: 1'); echo 'gone';",
    );
    dir.file(
        "www/mark.php",
        "<?php touch('marked'); echo strlen(file_get_contents('php://input'));",
    );
    dir.file("www/echo.php", "<?php readfile('php://input');");
    dir.file("www/there.php", "<?php header('Location: /here');");
    dir.file(
        "www/large.php",
        "<?php for ($i = 0; $i < 500; $i++) echo str_repeat(chr(65 + $i % 26), 10000);",
    );
    dir.file(
        "www/complain.php",
        "<?php error_log('this is wrong'); echo 'fine';",
    );
    dir.file("www/slow.php", "<?php echo str_repeat('x', 70000); flush(); if (ob_get_level()) ob_flush(); usleep(20000000); echo 'end';");
    dir.file("www/sleep.php", "<?php for ($i = 0; $i < 2000 && !file_exists('gate'); $i++) { usleep(10000); clearstatcache(); } echo 'done';");
    dir.file("www/pid.php", "<?php echo getmypid();");
    // The page of the test's own directory would answer for the front.
    let _ = std::fs::remove_file(dir.path().join("www/index.html"));
}

/// A node before one PHP-FPM.
fn node(keys: &str, processes: u32) -> (Node, Fpm) {
    let mut fpm = None;
    let text = format!(
        "[listener.web]\nbind = \"127.0.0.1:{{a}}\"\nroute = [\n\
         {{ path = [\"~\\\\.php(/|$)\", \"*/\"], to = \"php\" }},\n\
         {{ method = [\"GET\", \"HEAD\"], to = \"www\", missing = \"php\" }},\n{{ to = \"php\" }} ]\n\
         [site.www]\nroot = \"www\"\n\
         [backend.php]\nservers = [\"unix:{{dir}}/php.sock\"]\nfastcgi = {{ root = \"{{dir}}/www\", {keys} }}\n"
    );
    let node = Node::start_with(&text, |dir| {
        shop(dir);
        fpm = Some(Fpm::start(dir, "php", processes));
    });
    // The node's own page is written after what a test prepares.
    let _ = std::fs::remove_file(node.dir.path().join("www/index.html"));
    (node, fpm.expect("it was started"))
}

#[test]
fn php_gets_a_request_as_a_web_server_gives_it() {
    if !fpm::is_here() {
        return;
    }
    let (node, _fpm) = node(
        "path-info = true, params = { APP_ENV = \"test\", SERVER_SOFTWARE = \"mine\" }",
        2,
    );
    let page = request(
        node.address(),
        "GET",
        "/show.php/more/%61?q=1&r=%20",
        "Cookie: a=1\r\nX-Mine: yes\r\nProxy: http://evil\r\nX_Mine: no\r\nX-Forwarded-For: 6.6.6.6\r\n",
        b"",
    );
    let shown = page.expect("an answer").json();
    let server = &shown["server"];
    let root = node.dir.path().join("www").to_string_lossy().into_owned();
    for (name, value) in [
        ("REQUEST_METHOD", "GET"),
        ("REQUEST_URI", "/show.php/more/%61?q=1&r=%20"),
        ("SCRIPT_NAME", "/show.php"),
        ("PATH_INFO", "/more/a"),
        ("QUERY_STRING", "q=1&r=%20"),
        ("SCRIPT_FILENAME", &format!("{root}/show.php")),
        ("DOCUMENT_ROOT", &root),
        ("HTTP_HOST", "test.example"),
        ("HTTP_COOKIE", "a=1"),
        ("HTTP_X_MINE", "yes"),
        ("HTTP_X_FORWARDED_FOR", "127.0.0.1"),
        ("REMOTE_ADDR", "127.0.0.1"),
        ("SERVER_NAME", "test.example"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("SERVER_SOFTWARE", "mine"),
        ("APP_ENV", "test"),
    ] {
        assert_eq!(server[name], value, "{name} of {server}");
    }
    for name in ["HTTP_PROXY", "HTTPS", "REMOTE_USER"] {
        assert!(server.get(name).is_none(), "{name} of {server}");
    }
    assert_eq!(shown["get"]["r"], " ");
    // What PHP sees of the request's id is what the log has.
    let id = server["HTTP_X_REQUEST_ID"].as_str().expect("an id");
    wait_until("the log has it", || node.access_log().contains(id));
}

#[test]
fn bodies_reach_php_whole_whatever_their_framing() {
    if !fpm::is_here() {
        return;
    }
    let (node, _fpm) = node("", 2);
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let page =
        request(node.address(), "POST", "/show.php", form, b"a=1&b=%C3%BC").expect("an answer");
    let shown = page.json();
    assert_eq!(
        (&shown["post"]["a"], &shown["post"]["b"]),
        (&"1".into(), &"ü".into())
    );
    assert_eq!(shown["server"]["CONTENT_LENGTH"], "12");
    // Longer than a record, and than what is kept for another try.
    let large: Vec<u8> = (0..3_000_000u32).map(|i| ((i * 7) >> 3) as u8).collect();
    let page = request(node.address(), "PUT", "/echo.php", "", &large).expect("an answer");
    assert!(page.body == large, "{} bytes came back", page.body.len());
    let small = b"POST /show.php HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n";
    let answer = raw(node.address(), small).expect("an answer");
    let shown = common::parse(&answer).expect("a whole answer").json();
    assert_eq!(
        (&shown["length"], &shown["server"]["CONTENT_LENGTH"]),
        (&11.into(), &"11".into())
    );
    // However long it is: it is held until its length is known.
    let chunks: Vec<u8> = large
        .chunks(100_000)
        .flat_map(|chunk| [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat())
        .collect();
    let head = "POST /echo.php HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    let whole = [head.as_bytes(), &chunks, b"0\r\n\r\n"].concat();
    let answer = raw(node.address(), &whole).expect("an answer");
    let page = common::parse(&answer).expect("a whole answer");
    assert!(page.body == large, "{} bytes came back", page.body.len());
}

#[test]
fn php_is_not_asked_before_a_body_is_whole_and_not_at_all_when_a_client_leaves() {
    if !fpm::is_here() {
        return;
    }
    // One process: a client that takes its time would keep all others waiting.
    let (node, _fpm) = node("", 1);
    let marked = node.dir.path().join("www/marked");
    for length in [1_000, 1_000_000] {
        let mut slow = TcpStream::connect(node.address()).expect("a connection");
        let head =
            format!("POST /mark.php HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
        slow.write_all(head.as_bytes()).expect("a head");
        slow.write_all(&vec![b'x'; length / 2])
            .expect("half a body");
        assert_eq!(get(node.address(), "/pid.php").status, 200);
        drop(slow);
        wait_until("the log has that it left", || {
            node.access_log().contains("client-left/request")
        });
        assert_eq!(get(node.address(), "/pid.php").status, 200);
        assert!(!marked.exists(), "it ran with half of {length} bytes");
    }
    let whole = request(
        node.address(),
        "POST",
        "/mark.php",
        "",
        &vec![b'x'; 1_000_000],
    );
    assert_eq!(whole.expect("an answer").text(), "1000000");
    assert!(marked.exists());
}

#[test]
fn answers_of_php_come_whole_with_their_status() {
    if !fpm::is_here() {
        return;
    }
    let (node, _fpm) = node("", 2);
    let large = get(node.address(), "/large.php");
    assert_eq!(large.body.len(), 5_000_000);
    let right = large.body.chunks(10_000).enumerate();
    for (i, part) in right {
        assert!(part.iter().all(|&b| usize::from(b) == 65 + i % 26), "{i}");
    }
    let gone = get(node.address(), "/status.php");
    assert_eq!(
        (gone.status, gone.field("X-A"), &*gone.text()),
        (410, Some("1"), "gone")
    );
    let there = get(node.address(), "/there.php");
    assert_eq!(
        (there.status, there.field("Location")),
        (302, Some("/here"))
    );
    let head = request(node.address(), "HEAD", "/large.php", "", b"").expect("an answer");
    assert_eq!((head.status, head.body.len()), (200, 0));
    // HTTP/1.0 has no chunks: the end of the connection is the end.
    let old = raw(node.address(), b"GET /large.php HTTP/1.0\r\n\r\n").expect("an answer");
    assert!(old.len() > 5_000_000);
    assert_eq!(get(node.address(), "/complain.php").text(), "fine");
    wait_until("the complaint is in the log", || {
        node.log().contains("this is wrong")
    });
}

#[test]
fn files_are_the_sites_scripts_are_phps_and_the_front_answers_the_rest() {
    if !fpm::is_here() {
        return;
    }
    let (node, _fpm) = node("front = \"/index.php\"", 2);
    let text = |path: &str| get(node.address(), path).text();
    assert_eq!(text("/style.css"), "body {}\n");
    assert_eq!(text("/"), "front / /index.php");
    assert_eq!(text("/cart/7?x=1"), "front /cart/7?x=1 /index.php");
    assert_eq!(text("/none.php"), "front /none.php /index.php");
    assert_eq!(text("/admin/"), "admin");
    assert_eq!(
        get(node.address(), "/admin").field("Location"),
        Some("/admin/")
    );
    let post = request(node.address(), "POST", "/cart", "", b"a=1").expect("an answer");
    assert_eq!(post.text(), "front /cart /index.php");
    // The source of a script is never sent, however its path is written.
    for path in [
        "/index.php",
        "/index%2ephp",
        "/index.php/",
        "//index.php",
        "/admin/../index.php",
        "/INDEX.PHP",
        "/index.php%00",
        "/index.php%20",
    ] {
        let page = get(node.address(), path);
        assert!(!page.text().contains("<?php"), "{path}: {}", page.text());
    }
}

#[test]
fn without_a_front_what_is_not_there_is_not_found_and_php_is_not_asked() {
    if !fpm::is_here() {
        return;
    }
    let (node, fpm) = node("", 1);
    assert_eq!(get(node.address(), "/").text(), "front / /index.php");
    fpm.kill();
    for path in ["/none.php", "/none", "/style.css/x.php"] {
        assert_eq!(get(node.address(), path).status, 404, "{path}");
    }
    let down = get(node.address(), "/show.php").status;
    assert!((502..504).contains(&down), "{down}");
}

#[test]
fn an_answer_that_breaks_off_is_not_taken_for_a_whole_one() {
    if !fpm::is_here() {
        return;
    }
    let (node, fpm) = node("", 1);
    let mut stream = TcpStream::connect(node.address()).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
    stream
        .write_all(b"GET /slow.php HTTP/1.1\r\nHost: a\r\n\r\n")
        .expect("a request");
    let mut begun = [0; 1000];
    stream.read_exact(&mut begun).expect("the answer begins");
    for process in fpm.processes() {
        send(process, Signal::KILL);
    }
    let mut rest = Vec::new();
    let ended = stream.read_to_end(&mut rest);
    let whole = [&begun[..], &rest].concat();
    assert!(
        ended.is_err() || !whole.ends_with(b"\r\n0\r\n\r\n"),
        "a client can tell"
    );
    wait_until("the log says who ended it", || {
        node.access_log().contains("server-failed/body")
    });
}

#[test]
fn a_get_is_asked_again_where_another_php_is_and_a_post_is_not() {
    if !fpm::is_here() {
        return;
    }
    let mut fpms = Vec::new();
    let text = "[listener.web]\nbind = \"127.0.0.1:{a}\"\nroute = { to = \"php\" }\n\
                [backend.php]\nservers = [\"unix:{dir}/one.sock\", \"unix:{dir}/two.sock\"]\n\
                fastcgi = { root = \"{dir}/www\" }\nbalance = \"first\"\n";
    let node = Node::start_with(text, |dir| {
        shop(dir);
        fpms.push(Fpm::start(dir, "one", 2));
        fpms.push(Fpm::start(dir, "two", 2));
    });
    let address = node.address();
    let busy = |server: &str| {
        let series =
            |line: &str| line.starts_with("tandem_server_in_flight") && line.contains(server);
        let text = node.admin("GET /metrics").text();
        text.lines()
            .any(|line| series(line) && line.ends_with(" 1"))
    };
    for (method, status) in [("POST", 502), ("GET", 200)] {
        let asked = std::thread::spawn(move || {
            request(address, method, "/sleep.php", "", b"").map(|page| page.status)
        });
        wait_until("the first has it", || busy("one.sock"));
        for process in fpms[0].processes() {
            send(process, Signal::KILL);
        }
        if status == 200 {
            wait_until("the second has it", || busy("two.sock"));
            node.dir.file("www/gate", "");
        }
        let answered = asked.join().expect("no panic").expect("an answer");
        assert_eq!(answered, status, "{method}");
        wait_until("PHP-FPM has new processes", || {
            fpms.iter().all(|fpm| fpm.processes().len() == 2)
        });
    }
    // One that is gone is no failure as long as another is there.
    fpms.remove(0).kill();
    for _ in 0..20 {
        assert_eq!(get(address, "/pid.php").status, 200);
    }
}

#[test]
fn an_application_may_be_a_program_that_speaks_fastcgi() {
    if !has("php-cgi", &["-v"]) {
        return;
    }
    let node = Node::start_with(
        "[listener.web]\nbind = \"127.0.0.1:{a}\"\nroute = { to = \"shop\" }\n\
         [app.shop]\nrun = [\"php-cgi\", \"-b\", \"{host}:{port}\"]\nenv = { PHP_FCGI_CHILDREN = \"2\" }\n\
         fastcgi = { root = \"{dir}/www\", front = \"/index.php\" }\n",
        shop,
    );
    wait_until("the program answers", || {
        get(node.address(), "/a").text() == "front /a /index.php"
    });
}

/// What a usual shop's nginx.conf says, in a place of its own.
const NGINX: &str = r"
daemon off; master_process off; worker_processes 1; pid {dir}/{name}.pid; error_log {dir}/{name}.errors;
events { worker_connections 64; }
http {
  access_log off; client_body_temp_path {dir}/t1; proxy_temp_path {dir}/t2; fastcgi_temp_path {dir}/t3;
  uwsgi_temp_path {dir}/t4; scgi_temp_path {dir}/t5;
  server {
    listen {address}; server_name shop.example; root {dir}/www; index index.php index.html;
    location / { try_files $uri $uri/ /index.php?$query_string; }
    location ~ \.php$ {
      fastcgi_split_path_info ^(.+?\.php)(/.*)$;
      try_files $fastcgi_script_name =404;
      set $path_info $fastcgi_path_info;
      fastcgi_param PATH_INFO $path_info;
      fastcgi_index index.php;
      fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;
      fastcgi_param QUERY_STRING $query_string;
      fastcgi_param REQUEST_METHOD $request_method;
      fastcgi_param CONTENT_TYPE $content_type;
      fastcgi_param CONTENT_LENGTH $content_length;
      fastcgi_param SCRIPT_NAME $fastcgi_script_name;
      fastcgi_param REQUEST_URI $request_uri;
      fastcgi_param DOCUMENT_ROOT $document_root;
      fastcgi_param HTTPS $https if_not_empty;
      fastcgi_param REMOTE_ADDR $remote_addr;
      fastcgi_param APP_ENV production;
      fastcgi_pass unix:{dir}/php.sock;
    }
    location ~ ^/admin/secret { deny all; }
    location ~ /\.(?!well-known).* { deny all; }
    location /blog {
      alias {dir}/www/blog; try_files $uri $uri/ =404;
      location ~ \.php$ {
        fastcgi_param SCRIPT_FILENAME $request_filename; fastcgi_param REQUEST_METHOD $request_method; fastcgi_param SCRIPT_NAME $fastcgi_script_name;
        fastcgi_param QUERY_STRING $query_string; fastcgi_param REQUEST_URI $request_uri; fastcgi_pass unix:{dir}/php.sock;
      }
    }
    location /within/ {
      location ~ \.php$ {
        fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name; fastcgi_param REQUEST_METHOD $request_method;
        fastcgi_param QUERY_STRING $query_string; fastcgi_pass unix:{dir}/php.sock;
      }
    }
    location /cgi/ {
      fastcgi_param SCRIPT_FILENAME {dir}/www/one.php; fastcgi_param REQUEST_METHOD $request_method;
      fastcgi_param QUERY_STRING $query_string; fastcgi_pass unix:{dir}/php.sock;
    }
  }
}";

/// A program that ends with the test.
struct Peer(std::process::Child);

impl Drop for Peer {
    fn drop(&mut self) {
        send(self.0.id(), Signal::TERM);
        let _ = self.0.wait();
    }
}

#[test]
fn nginx_conf_for_php_means_the_same_here() {
    if !fpm::is_here() || !has("nginx", &["-v"]) {
        return;
    }
    let dir = Dir::new();
    shop(&dir);
    dir.file("www/one.php", "<?php echo 'one ', $_GET['a'] ?? '';");
    dir.file("www/static/index.html", "static");
    dir.file("www/both/index.html", "html");
    dir.file("www/both/index.php", "<?php echo 'script';");
    dir.file("www/empty/file", "");
    let said = "<?php echo $_SERVER['SCRIPT_NAME'], ' ', $_SERVER['SCRIPT_FILENAME'], ' ', $_GET['a'] ?? '';";
    dir.file("www/blog/index.php", said);
    dir.file("www/within/index.php", "<?php echo 'within';");
    dir.file("www/blog/a.txt", "a");
    dir.file("www/blog/sub/index.php", "<?php echo 'sub';");
    let _fpm = Fpm::start(&dir, "php", 3);
    means_the_same(&dir, NGINX, "");
    // A program that has nothing says so itself.
    dir.file(
        "www/lost/index.php",
        "<?php http_response_code(404); echo 'lost';",
    );
    dir.file(
        "www/named.php",
        "<?php echo $_SERVER['SERVER_NAME'], ' ', $_SERVER['HTTP_X_ROOT'];",
    );
    dir.file("users", "alice:$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/\n");
    means_the_same(&dir, SITE, "/named.php");
    let closed = "auth_basic staff; auth_basic_user_file {dir}/users;";
    means_the_same(&dir, &SITE.replace("#auth", closed), "");
    means_the_same(&dir, &SITE.replace("#auth", "deny 127.0.0.1;"), "");
    // Directories are asked of the front, too.
    means_the_same(&dir, &NGINX.replace(" $uri/ ", " "), "");
}

/// A site as people have it.
const SITE: &str = "daemon off; master_process off; worker_processes 1; pid {dir}/{name}.pid; error_log {dir}/{name}.log;
events { worker_connections 64; }
http {
    access_log off; client_body_temp_path {dir}/t1; proxy_temp_path {dir}/t2; fastcgi_temp_path {dir}/t3;
    uwsgi_temp_path {dir}/t4; scgi_temp_path {dir}/t5;
    server {
        listen {address};
        server_name one.example;
        root {dir}/www;
        index index.php index.html;
        add_header X-Frame-Options DENY always;
        #auth
        location / { try_files $uri $uri/ /index.php?q=$uri&$args; }
        location ~ \\.php$ {
            try_files $uri =404;
            fastcgi_pass unix:{dir}/php.sock;
            include /etc/nginx/fastcgi_params;
            fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;
            fastcgi_param HTTP_X_ROOT $remote_addr;
            fastcgi_hide_header X-Powered-By;
        }
    }
}
";

/// Asks nginx and Tandem with the same file the same things.
fn means_the_same(dir: &Dir, text: &str, more: &str) {
    let path = dir.path().to_string_lossy().into_owned();
    let ports = common::ports::several::<2>();
    let peers = [("nginx", ports[0]), ("tandem", ports[1])].map(|(name, port)| {
        let text = text
            .replace("{dir}", &path)
            .replace("{name}", name)
            .replace("{address}", &format!("127.0.0.1:{port}"));
        let file = dir.file(&format!("{name}.conf"), &text);
        let mut command = match name {
            "nginx" => std::process::Command::new("nginx"),
            _ => {
                let mut command = common::tandem();
                command.arg("nginx");
                command
            }
        };
        let child = command
            .args(["-c", &file])
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn();
        let peer = Peer(child.expect("it starts"));
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
        wait_until("it listens", || TcpStream::connect(address).is_ok());
        (peer, address)
    });
    for path in ["/", "/style.css", "/cart", "/admin/", "/none.php"] {
        let head = format!("HEAD {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let [nginx, tandem] = [&peers[0], &peers[1]].map(|peer| {
            let answer = raw(peer.1, head.as_bytes()).expect("an answer");
            assert!(answer.ends_with(b"\r\n\r\n"), "no body: {path}");
            String::from_utf8_lossy(&answer[..12]).into_owned()
        });
        assert_eq!(nginx, tandem, "HEAD {path}");
    }
    let asked = |address, method: &str, path: &str| {
        let page = request(address, method, path, "", b"").expect("an answer");
        let text = page.text();
        // Pages of errors are each one's own.
        let text = if page.status < 400 && !text.contains("<html") && !text.contains("<!doctype") {
            text
        } else {
            String::new()
        };
        let to = page.field("Location").unwrap_or_default();
        let to = to.rsplit_once("test.example").map_or(to, |(_, path)| path);
        let to = to.trim_start_matches(|c: char| c == ':' || c.is_ascii_digit());
        let fields = ["X-Frame-Options", "X-Powered-By"];
        let fields = fields.map(|name| page.field(name).map(str::to_owned));
        (page.status, to.to_owned(), text, fields)
    };
    for (method, paths) in [
        ("GET", more),
        (
            "GET",
            "/ /lost/ /lost/index.php /style.css /cart/7?x=1 /admin /admin/ /admin/index.php /admin/index.php/x /admin/secret/x.php /static/ /both/ \
             /empty/ /empty /none.php /none/ /status.php /there.php /index.php/foo /index.php/ /style.css/x.php \
             /blog/ /blog/?a=7 /blog/index.php?a=7 /blog /blog/a.txt /blog/sub/ /blog/sub /blog/none.php \
             /.git/config /.well-known/x /.well-known/.git /.well /. /within/ /within/index.php /within /index%2ephp /INDEX.PHP //index.php /admin/../index.php /cgi/any/thing?a=7 /cgi/",
        ),
        (
            "POST",
            "/ /cart/7 /admin/ /admin/index.php /none.php /none/ /cgi/x",
        ),
    ] {
        for path in paths.split_whitespace() {
            let [nginx, tandem] = [&peers[0], &peers[1]].map(|peer| asked(peer.1, method, path));
            assert_eq!(nginx, tandem, "{method} {path}");
        }
    }
}
