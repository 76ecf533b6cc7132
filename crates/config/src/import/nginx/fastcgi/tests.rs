use super::super::super::Verdict;
use super::super::tests::{are_noted, are_refused, direct, said};

const PARAMS: &str = "fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name; \
                      fastcgi_param QUERY_STRING $query_string; fastcgi_param HTTPS $https if_not_empty;";

fn server(lines: &str) -> String {
    format!("server {{ listen 81; root /srv; {lines} }}")
}

fn php(more: &str) -> String {
    format!("location ~ \\.php$ {{ {PARAMS} {more} fastcgi_pass unix:/run/php.sock; }}")
}

/// The parts of the file that was made which have these words.
#[track_caller]
fn has(lines: &str, words: &[&str]) {
    let made = direct(&server(lines));
    assert_eq!(
        said(&made, Verdict::Refused),
        Vec::<String>::new(),
        "{lines}"
    );
    let text = made.text;
    for word in words {
        assert!(text.contains(word), "{word} is not in\n{text}");
    }
}

#[test]
fn a_place_that_passes_to_php_is_a_backend_that_speaks_fastcgi() {
    has(
        &php(
            "fastcgi_param APP_ENV prod; fastcgi_read_timeout 7s; fastcgi_hide_header X-Powered-By;",
        ),
        &[
            "servers  = \"unix:/run/php.sock\"",
            "fastcgi  = { root = \"/srv\", params = { APP_ENV = \"prod\" } }",
            "first-byte = \"7s\"",
            "X-Powered-By",
        ],
    );
    // What is said of proxies is not of programs, and the other way round.
    has(
        &format!("proxy_read_timeout 3s; {}", php("")),
        &["fastcgi = { root = \"/srv\" }"],
    );
    has(
        "location /cgi/ { fastcgi_param SCRIPT_FILENAME /usr/lib$fastcgi_script_name; fastcgi_pass 127.0.0.1:9000; }",
        &["root = \"/usr/lib\", path-info = true, extension = \"*\""],
    );
    has(
        "location / { fastcgi_pass 127.0.0.1:9000; }",
        &["fastcgi = true"],
    );
    has(
        "location / { fastcgi_param SCRIPT_FILENAME $document_root/app.php; fastcgi_pass 127.0.0.1:9000; }",
        &["fastcgi = { root = \"/srv\", script = \"/app.php\" }"],
    );
}

#[test]
fn the_script_that_is_fallen_back_to_answers_alone() {
    // Else `/admin/x.php/` would be run by it, past a location that forbids `\.php$`.
    let files = "location / { try_files $uri $uri/ /index.php?$query_string; }";
    has(
        &format!("{files} {}", php("try_files $uri =404;")),
        &[
            "fastcgi = { root = \"/srv\", script = \"/index.php\" }",
            "missing = \"php-sock-2\"",
        ],
    );
    are_refused(&[(
        &server(&format!(
            "location / {{ try_files $uri /index.php?page=$uri; }} {}",
            php("")
        )),
        "scripts get the one that came",
    )]);
}

#[test]
fn the_index_of_a_directory_is_run_and_never_sent() {
    has(
        &format!("index index.php index.html; location / {{ }} {}", php("")),
        &[
            "{ path = \"*/\", not = { path = \"~\\\\.php/\" }, to = \"php-sock\", missing = \"www\" }",
        ],
    );
    for files in [
        format!("index index.php; location ~ ^/files/ {{ }} {}", php("")),
        format!(
            "index index.php; location / {{ location ~ \\.php$ {{ {PARAMS} fastcgi_pass 127.0.0.1:9000; }} }}"
        ),
        format!(
            "index index.php; location ~* ^/FILES/ {{ }} location / {{ {} }}",
            php("")
        ),
    ] {
        let made = direct(&server(&files));
        let text = made.text;
        assert!(
            !text.contains("index = \"index.php\"") && !text.contains("[\"index.php"),
            "{text}"
        );
    }
}

#[test]
fn scripts_of_a_location_within_are_run_and_never_sent() {
    let within = |more: &str| format!("location / {{ {more} {} }}", php(""));
    has(
        &format!("index index.php; {}", within("")),
        &["{ path = \"*/\", not = { path = \"~\\\\.php/\" }, to = \"php-sock\""],
    );
    let fallen = server(&within("try_files $uri $uri/ /index.php?$args;"));
    let text = direct(&fallen).text;
    assert!(
        !text.contains("fallback") && text.contains("script = \"/index.php\""),
        "{text}"
    );
}

#[test]
fn a_script_that_only_a_fallback_or_an_index_leads_to_is_theirs() {
    let script = |more: &str| {
        format!(
            "location ~ ^/index\\.php(/|$) {{ {PARAMS} internal; fastcgi_pass 127.0.0.1:9000; }} {more}"
        )
    };
    has(
        &script("location / { try_files $uri /index.php$is_args$args; }"),
        &["script = \"/index.php\"", "missing = "],
    );
    let alone = direct(&server(&script("location / { try_files $uri =404; }")));
    assert_eq!(said(&alone, Verdict::Refused), Vec::<String>::new());
    let without = said(&alone, Verdict::Without).join("\n");
    assert!(
        without.contains("nothing that is translated leads there"),
        "{without}"
    );
}

#[test]
fn what_scripts_answer_errors_with_is_told_or_refused() {
    let page = |status: &str| {
        server(&format!(
            "error_page {status} /index.php; location / {{ }} {}",
            php("")
        ))
    };
    are_noted(&[
        (&page("404"), "the usual page is shown"),
        (&page("500 502"), "the usual page is shown"),
        (
            &server(&format!(
                "location / {{ try_files $uri /index.php; }} {}",
                php("")
            )),
            "nginx gives it an empty one",
        ),
    ]);
    are_refused(&[
        (&page("403"), "an error is answered with a file"),
        (&page("401 404"), "an error is answered with a file"),
        (
            &server(&format!(
                "index index.html /index.php$request_uri; location / {{ }} {}",
                "location ~ \\.php(?:$|/) { fastcgi_pass 127.0.0.1:9000; }"
            )),
            "answer for a directory without another index",
        ),
    ]);
}

#[test]
fn the_alias_of_a_location_around_is_where_scripts_are_or_refused() {
    let blog = |directory: &str, file: &str| {
        format!(
            "index index.php; location /blog {{ alias {directory}; location ~ \\.php$ {{ fastcgi_param SCRIPT_FILENAME {file}; \
             fastcgi_pass 127.0.0.1:9000; }} }}"
        )
    };
    has(
        &blog("/srv/blog", "$request_filename"),
        &["fastcgi = { root = \"/srv\" }"],
    );
    has(
        &blog("/blog", "$request_filename"),
        &["fastcgi = { root = \"/\" }"],
    );
    for (directory, file) in [
        ("/srv/other", "$request_filename"),
        ("/srv/blog", "$document_root$fastcgi_script_name"),
    ] {
        are_refused(&[(
            &server(&blog(directory, file)),
            "beside an `alias` there is $request_filename",
        )]);
    }
    // The directory holds for files within, too.
    has(
        "location /a { alias /usr/share; location ~ \\.css$ { expires 1h; } }",
        &["{ \"/a\" = \"/usr/share\" }"],
    );
    are_refused(&[(
        &server("location ~ ^/a/(.*) { alias /srv/$1; location ~ \\.css$ { expires 1h; } }"),
        "an expression's `alias` around it",
    )]);
}

#[test]
fn what_programs_do_not_get_as_nginx_gives_it_is_refused() {
    are_refused(&[
        (
            &server(
                "location / { fastcgi_param SCRIPT_FILENAME $foo/x.php; fastcgi_pass 127.0.0.1:9000; }",
            ),
            "is not translated: there are $document_root$fastcgi_script_name",
        ),
        (
            &server(&php("fastcgi_param ROLE $upstream_addr;")),
            "`ROLE` is worked out for each request",
        ),
        (
            &server("location / { fastcgi_pass $pool; }"),
            "worked out for each request",
        ),
        (
            &server(&php("fastcgi_split_path_info ^(.+)(/.*)$;")),
            "where a path is split",
        ),
        (
            &server("location / { fastcgi_pas a:1; }"),
            "unknown directive",
        ),
    ]);
    are_noted(&[(
        &server(&format!(
            "index index.html index.php; location / {{ }} {}",
            php("")
        )),
        "`index.php` goes before the files that are named before it",
    )]);
}

#[test]
fn the_index_of_a_directory_has_what_goes_with_its_script_and_asks_who_asks() {
    let index = |lines: &str, more: &str| {
        format!("index index.php; {lines} location / {{ }} {}", php(more))
    };
    let directories = |lines: &str, more: &str| {
        let made = direct(&server(&index(lines, more)));
        assert_eq!(said(&made, Verdict::Refused), Vec::<String>::new());
        let mut lines = made.text.lines();
        let line = lines.find(|line| line.contains("path = \"*/\""));
        line.unwrap_or_default().to_owned()
    };
    let line = directories(
        "add_header X-Frame-Options DENY; gzip on; auth_basic x; auth_basic_user_file /f;",
        "fastcgi_hide_header X-Powered-By;",
    );
    for word in [
        "X-Frame-Options",
        "remove = \"X-Powered-By\"",
        "auth = {",
        "compress",
    ] {
        assert!(line.contains(word), "{word} is not in {line}");
    }
    let line = directories("deny 10.0.0.1;", "");
    assert!(
        line.contains("deny = true") || line.contains("route = ["),
        "{line}"
    );
    // Of two places that ask, both must let a client in.
    let password = "auth_basic x; auth_basic_user_file /f;";
    for (here, there) in [(password, ""), ("", password)] {
        let made = direct(&server(&format!(
            "index index.php; location / {{ {here} }} {}",
            php(there)
        )));
        let mut lines = made.text.lines();
        let line = lines
            .find(|line| line.contains("path = \"*/\""))
            .unwrap_or_default();
        assert!(line.contains("auth = {"), "{}", made.text);
    }
    are_refused(&[
        (
            &server(&format!(
                "index index.php; location / {{ {password} }} {}",
                php("auth_basic y; auth_basic_user_file /g;")
            )),
            "which it leads to: say it once",
        ),
        (
            &server(&format!(
                "index index.php; location / {{ allow 10.0.0.1; deny all; }} {}",
                php("allow 10.0.0.2; deny all;")
            )),
            "which it leads to: say it once",
        ),
        (
            &server(&index("", "if ($uri ~ ^/a) { return 403; }")),
            "of the script's path",
        ),
    ]);
    let line = directories("", "if ($http_x_bad) { return 403; }");
    assert!(line.contains("route = ["), "{line}");
}

#[test]
fn programs_are_told_the_name_of_the_site_and_not_what_a_client_asks_for() {
    let named = "fastcgi_param SERVER_NAME $server_name;";
    has(
        &format!("server_name shop.example; {}", php(named)),
        &["SERVER_NAME = \"shop.example\""],
    );
    has(&php(named), &["SERVER_NAME = \"\""]);
    has(
        &format!(
            "server_name shop.example; {}",
            php("fastcgi_param SERVER_NAME $host;")
        ),
        &["fastcgi = { root = \"/srv\" }"],
    );
}

#[test]
fn whom_a_server_keeps_out_is_kept_out_where_a_script_is_fallen_back_to() {
    has(
        &format!(
            "deny 10.0.0.1; location / {{ try_files $uri $uri/ /index.php?$args; }} {}",
            php("")
        ),
        &[
            "missing = \"php-sock-2\"",
            "{ source = \"10.0.0.1\", deny = true }",
        ],
    );
}

#[test]
fn a_script_that_finds_the_path_by_itself_needs_no_parameter_for_it() {
    let files = |last: &str| format!("location / {{ try_files $uri $uri/ {last}; }} {}", php(""));
    has(
        &files("/index.php?q=$uri&$args"),
        &["missing = \"php-sock-2\""],
    );
    are_noted(&[(
        &server(&files("/index.php?q=$uri&$args")),
        "the path is in REQUEST_URI",
    )]);
    are_refused(&[(
        &server(&files("/index.php?_url=$uri&$args")),
        "scripts get the one that came",
    )]);
    has(
        &php("try_files $uri /index.php =404;"),
        &["front = \"/index.php\""],
    );
    has(
        &php("try_files $uri $uri/ /index.php?$args;"),
        &["front = \"/index.php\""],
    );
}

#[test]
fn a_parameter_that_is_a_field_is_set_as_one() {
    has(
        &php(
            "fastcgi_param HTTP_X_REAL_IP $remote_addr; fastcgi_param HTTP_X_FORWARDED_FOR $proxy_add_x_forwarded_for;",
        ),
        &["set = { X-Real-Ip = \"{client}\" }"],
    );
    are_refused(&[(
        &server(&php("fastcgi_param X_REAL_IP $remote_addr;")),
        "is worked out for each request",
    )]);
}

#[test]
fn a_script_of_another_root_is_no_index_and_nothing_is_sent_in_its_place() {
    let files = format!(
        "index index.php index.html; location /challenge/ {{ root /tmp; }} {}",
        php("")
    );
    has(
        &files,
        &["{ path = \"/challenge/*\", to = \"www-challenge\" }"],
    );
    assert!(!direct(&server(&files)).text.contains("\"index.php\""));
    are_noted(&[(&server(&files), "below another root")]);
}

#[test]
fn a_script_that_is_named_is_the_index_of_its_own_directory_alone() {
    // Else what somebody put into another one would be run.
    let one = format!(
        "index index.php; location / {{ }} location ~ ^/index\\.php(/|$) {{ {PARAMS} fastcgi_pass unix:/run/php.sock; }}"
    );
    has(
        &one,
        &["{ path = \"/\", not = { path = \"~\\\\.php/\" }, to = \"php-sock\""],
    );
    let exact = format!(
        "index index.php; location / {{ }} location = /index.php {{ {PARAMS} fastcgi_pass unix:/run/php.sock; }}"
    );
    has(&exact, &["{ path = \"/\", "]);
}

#[test]
fn of_several_parameters_of_a_name_the_last_one_counts() {
    let named = "server_name shop.example;";
    let usual = "fastcgi_param SERVER_NAME $server_name;";
    let of_host = "fastcgi_param SERVER_NAME $host;";
    has(
        &format!("{named} {}", php(&format!("{of_host} {usual}"))),
        &["SERVER_NAME = \"shop.example\""],
    );
    let made = direct(&server(&format!(
        "{named} {}",
        php(&format!("{usual} {of_host}"))
    )));
    assert!(!made.text.contains("SERVER_NAME"), "{}", made.text);
}

#[test]
fn a_script_that_is_asked_for_by_an_if_is_looked_for_anyway() {
    for name in ["$document_root$fastcgi_script_name", "$request_filename"] {
        let made = |more: &str| direct(&server(&php(more)));
        let asked = made(&format!("if (!-f {name}) {{ return 404; }}"));
        assert_eq!(
            said(&asked, Verdict::Refused),
            Vec::<String>::new(),
            "{name}"
        );
        assert_eq!(asked.text, made("").text, "{name}");
    }
}

#[test]
fn nothing_follows_a_script_where_the_whole_path_is_looked_for() {
    let made = |files: &str| {
        let location = format!(
            "location ~ \\.php(/|$) {{ {PARAMS} {files} fastcgi_split_path_info ^(.+\\.php)(/.*)$; fastcgi_pass unix:/run/php.sock; }}"
        );
        direct(&server(&location)).text
    };
    assert!(!made("try_files $uri =404;").contains("path-info"));
    for files in ["try_files $fastcgi_script_name =404;", ""] {
        assert!(made(files).contains("path-info = true"), "{files}");
    }
}

#[test]
fn programs_that_speak_uwsgi_or_scgi_are_backends_of_their_own() {
    let made = direct(
        "upstream django { server 127.0.0.1:83; server 127.0.0.1:84; } server { listen 81; server_name a.example; \
         location / { uwsgi_pass django; uwsgi_param QUERY_STRING $query_string; uwsgi_param PATH_INFO $document_uri; \
         uwsgi_param SERVER_NAME $server_name; uwsgi_param UWSGI_SCRIPT shop; uwsgi_param X-Real-IP $remote_addr; \
         uwsgi_param HTTP_X_REAL_IP $remote_addr; uwsgi_modifier1 5; uwsgi_read_timeout 300; uwsgi_hide_header X-A; } \
         location /s/ { scgi_pass unix:/run/s.sock; scgi_param SCGI 1; } location /u/ { uwsgi_pass uwsgi://unix:/run/u.sock; } }",
    );
    assert_eq!(said(&made, Verdict::Refused), [""; 0]);
    let text: Vec<&str> = made.text.split_whitespace().collect();
    let text = text.join(" ");
    for wanted in [
        "] uwsgi = { modifier = 5, params = { SERVER_NAME = \"a.example\", UWSGI_SCRIPT = \"shop\" } }",
        "first-byte = \"5m\"",
        "servers = \"unix:/run/s.sock\" check = false scgi = true",
        "servers = \"unix:/run/u.sock\" check = false uwsgi = true",
        "set = { X-Real-Ip = \"{client}\" }",
        "remove = \"X-A\"",
    ] {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
    are_refused(&[
        (
            "server { listen 81; location / { uwsgi_pass a:1; uwsgi_param A $host; } }",
            "`A` is worked out for each request",
        ),
        (
            "server { listen 81; location / { uwsgi_pass suwsgi://a:1; } }",
            "not spoken to over TLS",
        ),
        (
            "server { listen 81; location / { uwsgi_pass $up; } }",
            "worked out for each request",
        ),
        (
            "server { listen 81; location / { scgi_pass a:1; scgi_pass_request_body off; } }",
            "what clients send",
        ),
        (
            "server { listen 81; location / { uwsgi_pass a:1; uwsgi_modifier1 500; } }",
            "up to 255",
        ),
    ]);
}
