//! What a cluster file means.

use std::path::{Path, PathBuf};

use tandem_config::{Loaded, load, parse};
use tandem_model::{
    Action, Address, Admin, Balance, Check, ClientCert, Content, LogTo, Pattern, Presence, Program,
    Secret, Service, Size, Template,
};

fn environment(name: &str) -> Option<String> {
    match name {
        "TANDEM_KEY" => Some("0123456789abcdef".into()),
        "ADDRESS" => Some("10.0.0.1".into()),
        _ => None,
    }
}

fn read(text: &str) -> Loaded {
    match parse(text, "test.toml", Path::new("/etc/tandem"), &environment) {
        Ok(loaded) => loaded,
        Err(wrong) => panic!("{wrong}"),
    }
}

/// What is said about a wrong file: each line and message.
fn said(text: &str) -> Vec<String> {
    match parse(text, "test.toml", Path::new("/etc/tandem"), &environment) {
        Ok(_) => Vec::new(),
        Err(wrong) => wrong
            .iter()
            .map(|d| {
                format!(
                    "{}: {}",
                    d.place.as_ref().map_or(0, |place| place.line),
                    d.message
                )
            })
            .collect(),
    }
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples")
}

#[test]
fn the_six_machines_load() {
    let loaded = load(&examples().join("six-machines.toml"), &environment).unwrap();
    let cluster = &loaded.cluster;
    assert_eq!(cluster.nodes.len(), 6);
    assert_eq!(cluster.nodes[5].name, "cache2", "in the order of the file");
    assert_eq!(
        cluster.key.as_ref().map(Secret::reveal),
        Some("0123456789abcdef")
    );
    let sessions = cluster.sessions.as_ref().unwrap();
    assert_eq!(sessions.third.as_deref(), Some("edge"));
    assert_eq!(sessions.agents, ["app1", "app2"]);
    assert_eq!(
        loaded.notes,
        ["sessions: 3 copies, on cache1, cache2, edge; the third voter is on edge: any 1 may die"]
    );
    let routes = &cluster.listeners[0].routes;
    assert_eq!(routes[0].missing, ["shop"]);
    assert_eq!(routes[0].line, routes[1].line - 1);
}

#[test]
fn one_machine_loads_and_needs_no_names_of_nodes() {
    let loaded = load(&examples().join("one-machine.toml"), &|_| None).unwrap();
    let cluster = &loaded.cluster;
    assert_eq!(cluster.nodes.len(), 1);
    assert_eq!(
        (
            cluster.nodes[0].name.as_str(),
            cluster.nodes[0].address.as_str()
        ),
        ("local", "127.0.0.1")
    );
    for service in &cluster.services {
        assert_eq!(service.on(), ["local"]);
    }
    assert_eq!(cluster.sessions.as_ref().unwrap().agents, ["local"]);
    assert!(loaded.base.is_absolute() && loaded.base.ends_with("examples"));
    let Some(Service::Site(site)) = cluster.service("www") else {
        panic!("a site")
    };
    assert_eq!(site.root, loaded.base.join("one-machine/www"));
    let Some(Service::App(app)) = cluster.service("shop") else {
        panic!("an app")
    };
    assert!(matches!(
        &app.program,
        Program::Run {
            instances: 2,
            dir: None,
            ..
        }
    ));
}

#[test]
fn values_are_read_as_they_are_meant() {
    let loaded = read(
        r#"
        [cluster]
        admin = false
        log = "logs/{node}.log"
        state = "/s"

        [listener.web]
        bind = [":80", "[::1]:81", "unix:web.sock"]
        trust = "10.0.0.1"
        log = false
        timeouts = { idle = "90s" }
        route = [
          { host = "*.example", cookie = { canary = "*" }, header = { X-A = ["1", "2*"] }, to = "old" },
          { path = "~^/x\\d$", not = { method = ["POST", "PUT"] }, redirect = { to = "/y", status = 301 } },
          { path = "/g*", log = false, route = [{ method = "GET", respond = 204 }, { deny = true }] },
          { respond = { status = 503, body = "a $${b}" } },
        ]

        [backend.old]
        servers = ["${ADDRESS}:80", { address = "b:81", name = "b", weight = 0, backup = true }]
        check = { every = "100ms" }

        [sessions]
        memory = "1 GiB"
        guard = { keys = "memc.sess.*", for = "30s" }
        "#,
    );
    let cluster = &loaded.cluster;
    assert_eq!(cluster.admin, Admin::Off);
    assert_eq!(
        cluster.log,
        LogTo::File("/etc/tandem/logs/{node}.log".into())
    );
    assert_eq!(cluster.state, PathBuf::from("/s"));
    let listener = &cluster.listeners[0];
    assert_eq!(
        listener.bind,
        [
            Address::tcp("", 80),
            Address::tcp("::1", 81),
            Address::Unix("/etc/tandem/web.sock".into())
        ]
    );
    assert_eq!(listener.trust[0].to_string(), "10.0.0.1/32");
    assert_eq!(listener.log, None);
    assert_eq!(listener.timeouts.idle.as_secs(), 90);
    let [first, second, third, fourth] = &listener.routes[..] else {
        panic!("four routes")
    };
    assert_eq!(first.when.cookie["canary"], Presence::Present);
    assert_eq!(
        first.when.header["X-A"],
        Presence::OneOf(vec![
            Pattern::parse("1").unwrap(),
            Pattern::parse("2*").unwrap()
        ])
    );
    assert_eq!(second.when.not.as_ref().unwrap().method, ["POST", "PUT"]);
    assert_eq!(
        second.action,
        Action::Redirect {
            to: Template::text("/y"),
            status: 301
        }
    );
    let Action::Routes(nested) = &third.action else {
        panic!("a group")
    };
    assert_eq!(
        nested[0].action,
        Action::Respond {
            status: 204,
            body: Content::Text(String::new()),
            headers: std::collections::BTreeMap::new(),
        }
    );
    assert!(
        nested.iter().all(|route| !route.log),
        "what holds for the group holds for its routes"
    );
    assert_eq!(
        fourth.action,
        Action::Respond {
            status: 503,
            body: Content::Text("a ${b}".into()),
            headers: std::collections::BTreeMap::new(),
        }
    );
    let Some(Service::Backend(old)) = cluster.service("old") else {
        panic!("a backend")
    };
    assert_eq!(old.servers[0].name, "10.0.0.1:80");
    assert_eq!((old.servers[1].weight, old.servers[1].backup), (0, true));
    let Check::Tcp(timing) = &old.check else {
        panic!("no path, so a connection")
    };
    assert_eq!(
        (timing.fast.as_millis(), timing.timeout.as_millis()),
        (100, 100)
    );
    assert_eq!(cluster.sessions.as_ref().unwrap().memory, Size(1 << 30));
}

#[test]
fn services_keep_the_order_of_the_file() {
    let loaded = read(
        "[app.z]\nrun = \"z\"\n[site.m]\nroot = \"m\"\n[backend.b]\nservers = \"b:1\"\n[app.a]\nrun = \"a\"\n",
    );
    let names: Vec<&str> = loaded.cluster.services.iter().map(Service::name).collect();
    assert_eq!(names, ["z", "m", "b", "a"]);
}

#[test]
fn a_file_that_cannot_be_read_is_said_so() {
    let wrong = load(Path::new("/no/such/cluster.toml"), &environment).unwrap_err();
    assert!(
        wrong
            .to_string()
            .starts_with("/no/such/cluster.toml: cannot be read:"),
        "{wrong}"
    );
    let wrong = load(Path::new("/"), &environment).unwrap_err();
    assert_eq!(wrong.len(), 1);
}

#[test]
fn a_key_file_is_read_beside_the_cluster_file() {
    let dir = std::env::temp_dir().join(format!("tandem-config-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let file = dir.join("cluster.toml");
    std::fs::write(dir.join("key"), "  the key of the cluster\n").unwrap();
    let listens = "\n[listener.web]\nbind = \":80\"\nroute = { respond = 204 }\n";
    std::fs::write(&file, format!("cluster.key-file = \"key\"{listens}")).unwrap();
    let loaded = load(&file, &environment).unwrap();
    assert_eq!(
        loaded.cluster.key.as_ref().map(Secret::reveal),
        Some("the key of the cluster")
    );
    for (text, message) in [
        ("cluster.key-file = \"none\"", "none cannot be read"),
        (
            "cluster = { key-file = \"key\", key = \"a key as well\" }",
            "one of them",
        ),
    ] {
        std::fs::write(&file, text).unwrap();
        let wrong = load(&file, &environment).unwrap_err();
        assert!(wrong.to_string().contains(message), "{wrong}");
    }
    std::fs::write(&file, b"# \n\xff").unwrap();
    assert!(
        load(&file, &environment)
            .unwrap_err()
            .to_string()
            .contains("line 2 is not UTF-8")
    );
    std::fs::remove_dir_all(&dir).unwrap();
}

/// Two machines with a listener on the first.
fn two(rest: &str) -> String {
    format!(
        "nodes = {{ a = \"10.0.0.1\", b = \"10.0.0.2\" }}\ncluster.key = \"0123456789abcdef\"\n{rest}"
    )
}

#[test]
fn a_port_is_wanted_once_on_a_machine() {
    for (rest, message) in [
        // Wildcards are in the way of addresses, and of one another.
        (
            "listener.l = { on = \"a\", bind = [\":80\", \"10.0.0.1:80\"], route = { deny = true } }",
            Some("3: port 80 of node `a` is wanted twice: by listener `l`"),
        ),
        (
            "listener.l = { on = \"a\", bind = [\"0.0.0.0:80\", \"[::]:80\"], route = { deny = true } }",
            Some("3: port 80 of node `a` is wanted twice: by listener `l`"),
        ),
        (
            "listener.l = { on = \"a\", bind = [\"0.0.0.0:80\", \"[::1]:80\"], route = { deny = true } }",
            None,
        ),
        (
            "listener.l = { on = \"a\", bind = [\"127.0.0.1:80\", \"10.0.0.1:80\"], route = { deny = true } }",
            None,
        ),
        (
            "listener.l = { on = \"a\", bind = [\":80\", \":81\", \":0\", \"127.0.0.1:0\"], route = { deny = true } }",
            None,
        ),
        // What listens by default counts.
        (
            "listener.l = { on = \"a\", bind = \":8404\", route = { deny = true } }",
            Some(
                "3: port 8404 of node `a` is wanted twice: by `admin` of [cluster] and by listener `l`",
            ),
        ),
        (
            "listener.l = { on = \"a\", bind = \":7411\", route = { deny = true } }",
            Some(
                "3: port 7411 of node `a` is wanted twice: by the port of [cluster] and by listener `l`",
            ),
        ),
        (
            "listener.l = { on = \"a\", bind = \"localhost:11211\", route = { deny = true } }\nsessions = { on = \"b\", agents = \"a\" }",
            Some(
                "3: port 11211 of node `a` is wanted twice: by `agent` of [sessions] and by listener `l`",
            ),
        ),
        // The door of a service listens only when another node reaches it.
        (
            "listener.l = { on = \"a\", bind = \":80\", route = { to = \"w\" } }\nsite.w = { on = [\"a\", \"b\"], port = 80, root = \"w\" }",
            None,
        ),
        (
            "listener.l = { on = [\"a\", \"b\"], bind = \":80\", route = { to = \"w\" } }\nsite.w = { on = \"b\", port = 80, root = \"w\" }",
            Some("4: port 80 of node `b` is wanted twice: by listener `l` and by site `w`"),
        ),
        // An application that would be called where Tandem listens.
        (
            "listener.l = { on = \"a\", bind = \":80\", route = { to = \"w\" } }\napp.w = { on = \"a\", proxy = \"127.0.0.1:80\" }",
            Some("4: `w` is expected on port 80 of node `a`, which listener `l` takes itself"),
        ),
        (
            "listener.l = { on = \"a\", bind = \":80\", route = { to = \"w\" } }\napp.w = { on = \"a\", proxy = \"10.0.0.9:80\" }",
            None,
        ),
    ] {
        let said = said(&two(rest));
        assert_eq!(said, message.into_iter().collect::<Vec<_>>(), "{rest}");
    }
}

#[test]
fn a_service_that_another_node_reaches_needs_a_port() {
    let listener = "listener.l = { on = \"a\", bind = \":80\", route = { to = \"w\" } }";
    for (service, needs) in [
        ("site.w = { on = \"b\", root = \"w\" }", true),
        ("site.w = { on = \"b\", port = 80, root = \"w\" }", false),
        ("site.w = { on = [\"a\", \"b\"], root = \"w\" }", false),
        ("app.w = { on = \"a\", run = \"w\" }", false),
        ("app.w = { on = [\"a\", \"b\"], run = \"w\" }", true),
    ] {
        let said = said(&two(&format!("{listener}\n{service}")));
        assert_eq!(
            said.iter().any(|s| s.contains("needs a `port`")),
            needs,
            "{service}: {said:?}"
        );
    }
}

#[test]
fn a_client_may_have_a_certificate_where_the_file_says_so() {
    let file = |tls: &str| {
        format!(
            "[listener.l]\nbind = \":443\"\ntls = {{ certs = \"a.pem\", client-ca = \"ca.pem\"{tls} }}\nroute = [\n\
             {{ path = \"/admin/*\", client-cert = \"*\", to = \"b\" }},\n\
             {{ path = \"/ops/*\", client-cert = [\"ann\", \"*.ops\"], to = \"b\" }},\n\
             {{ not = {{ client-cert = \"bob\" }}, to = \"b\" }},\n]\n\
             [backend.b]\nservers = \"10.0.0.1:80\"\n"
        )
    };
    for (tls, expected) in [
        ("", ClientCert::Required),
        (", client-cert = \"required\"", ClientCert::Required),
        (", client-cert = \"optional\"", ClientCert::Optional),
    ] {
        let cluster = read(&file(tls)).cluster;
        let listener = &cluster.listeners[0];
        assert_eq!(listener.tls.as_ref().unwrap().client_cert, expected);
        let names = ["ann", "*.ops"].map(|name| Pattern::parse(name).unwrap());
        let [admin, ops, rest] = &listener.routes[..] else {
            panic!("{:?}", listener.routes);
        };
        assert_eq!(admin.when.client_cert, Some(Presence::Present));
        assert_eq!(ops.when.client_cert, Some(Presence::OneOf(names.to_vec())));
        let bob = Presence::OneOf(vec![Pattern::parse("bob").unwrap()]);
        let not = rest.when.not.as_ref().unwrap();
        assert_eq!(not.client_cert, Some(bob));
    }
}

#[test]
fn a_route_that_never_matches_is_an_error() {
    for (routes, never) in [
        ("{ to = \"w\" }, { path = \"/a\", deny = true }", true),
        (
            "{ path = \"/a*\", to = \"w\" }, { path = [\"/a/b\", \"/a*.js\"], deny = true }",
            true,
        ),
        (
            "{ path = \"/a*\", to = \"w\" }, { path = [\"/a/b\", \"/b\"], deny = true }",
            false,
        ),
        (
            "{ path = \"/a*\", to = \"w\" }, { path = \"/b\", to = \"w\" }, { path = [\"/a/b\", \"/b\"], deny = true }",
            true,
        ),
        (
            "{ path = \"/a*\", not = { method = \"GET\" }, to = \"w\" }, { path = \"/a\", deny = true }",
            false,
        ),
        (
            "{ path = \"/a*\", to = \"w\" }, { path = \"/a\", not = { method = \"GET\" }, deny = true }",
            true,
        ),
        (
            "{ method = \"GET\", to = \"w\" }, { path = \"/a\", deny = true }",
            false,
        ),
        (
            "{ method = [\"GET\", \"PUT\"], to = \"w\" }, { path = \"/a\", method = \"PUT\", deny = true }",
            true,
        ),
        (
            "{ host = \"A.example\", to = \"w\" }, { host = \"a.EXAMPLE\", deny = true }",
            true,
        ),
        (
            "{ path = \"/A\", ignore-case = true, to = \"w\" }, { path = \"/a\", deny = true }",
            true,
        ),
        (
            "{ path = \"/a\", to = \"w\" }, { path = \"/a\", ignore-case = true, deny = true }",
            false,
        ),
        (
            "{ source = \"10.0.0.0/8\", to = \"w\" }, { source = \"10.1.0.0/16\", deny = true }",
            true,
        ),
        (
            "{ source = \"10.1.0.0/16\", to = \"w\" }, { source = \"10.0.0.0/8\", deny = true }",
            false,
        ),
        (
            "{ header = { X-A = \"*\" }, to = \"w\" }, { header = { x-a = \"1\" }, deny = true }",
            true,
        ),
        (
            "{ cookie = { a = \"1\" }, to = \"w\" }, { cookie = { a = \"*\" }, deny = true }",
            false,
        ),
        (
            "{ cookie = { a = \"1\" }, to = \"w\" }, { cookie = { A = \"1\" }, deny = true }",
            false,
        ),
        (
            "{ path = \"/a*\", route = [{ method = \"GET\", to = \"w\" }] }, { path = \"/a\", deny = true }",
            false,
        ),
        (
            "{ path = \"/a*\", route = [{ to = \"w\" }] }, { path = \"/a\", deny = true }",
            true,
        ),
        (
            "{ path = \"/a*\", to = \"w\" }, { path = \"/a/*\", route = [{ method = \"GET\", deny = true }] }",
            true,
        ),
        (
            "{ path = \"/a\", to = \"w\" }, { path = \"/a*\", deny = true }",
            false,
        ),
        (
            "{ path = \"~^/a\", to = \"w\" }, { path = \"/a\", deny = true }",
            false,
        ),
        (
            "{ path = \"~^/a\", to = \"w\" }, { path = \"~^/a\", deny = true }",
            true,
        ),
    ] {
        let text = format!(
            "site.w.root = \"w\"\nlistener.l.bind = \":80\"\nlistener.l.route = [{routes}]"
        );
        let expected: &[&str] = if never {
            &["3: this route never matches"]
        } else {
            &[]
        };
        assert_eq!(said(&text), expected, "{routes}");
    }
}

#[test]
fn the_third_copy_goes_with_two() {
    let three = "nodes = { a = \"10.0.0.1\", b = \"10.0.0.2\", c = \"10.0.0.3\", d = \"10.0.0.4\" }\ncluster.key = \"0123456789abcdef\"\n";
    for (sessions, message) in [
        ("on = [\"a\", \"b\"], third = \"c\"", None),
        (
            "on = [\"a\", \"b\"], third = \"b\"",
            Some("3: `b` holds a copy already"),
        ),
        (
            "on = [\"a\", \"b\"], third = \"x\"",
            Some("3: there is no node `x`"),
        ),
        (
            "on = \"a\", third = \"c\"",
            Some("3: `third` goes with two nodes in `on`, not with 1"),
        ),
        (
            "on = [\"a\", \"b\", \"c\"], third = \"d\"",
            Some("3: `third` goes with two nodes in `on`, not with 3"),
        ),
    ] {
        let said = said(&format!("{three}sessions = {{ {sessions} }}"));
        assert_eq!(said, message.into_iter().collect::<Vec<_>>(), "{sessions}");
    }
}

#[test]
fn a_listener_that_leads_to_itself_is_told_of() {
    for (bind, server, told) in [
        ("127.0.0.1:8080", "127.0.0.1:8080", true),
        (":8080", "localhost:8080", true),
        (":8080", "10.0.0.1:8080", true),
        (":8080", "10.0.0.9:8080", false),
        ("10.0.0.1:8080", "127.0.0.1:8080", false),
        (":8080", "127.0.0.1:8081", false),
    ] {
        let notes = read(&format!(
            r#"
            nodes = {{ a = "10.0.0.1" }}
            listener.web = {{ on = "a", bind = "{bind}", route = {{ to = "s" }} }}
            backend.s = {{ servers = "{server}" }}
            "#
        ))
        .notes;
        let about = notes
            .iter()
            .any(|note| note.contains("is listener `web`, which leads to it"));
        assert_eq!(about, told, "{bind}, {server}: {notes:?}");
    }
}

#[test]
fn advice_is_no_error() {
    let notes = read(
        r#"
        nodes = { a = "10.0.0.1", b = "10.0.0.2", c = "10.0.0.3", d = "10.0.0.4" }
        cluster.key = "not so long"
        sessions = { on = ["a", "b", "c", "d"] }
        site.w = { on = "a", root = "w" }
        app.p = { on = "a", run = ["p", "{prot}", "{port}"] }
        "#,
    )
    .notes;
    for part in [
        "4 copies bear no more deaths than 3",
        "no listener",
        "site `w`: no route leads to it",
        "`{prot}` in `run` is not filled in; did you mean `{port}`?",
        "the key is short",
    ] {
        assert!(
            notes.iter().any(|note| note.contains(part)),
            "{part}: {notes:?}"
        );
    }
}

#[test]
fn an_agent_that_others_reach_is_told_of() {
    let about = |sessions: &str| {
        let loaded = read(&format!(
            "[sessions]\n{sessions}\n[app.shop]\nproxy = \"127.0.0.1:9\""
        ));
        let mut notes = loaded.notes.into_iter();
        notes.find(|note| note.contains("reads and writes all sessions"))
    };
    for local in [
        "",
        "agent = \"127.0.0.1:7\"",
        "agent = \"[::1]:7\"",
        "agent = \"localhost:7\"",
    ] {
        assert_eq!(about(local), None, "{local}");
    }
    for open in ["0.0.0.0:7", "[::]:7", "10.0.0.1:7", "cache.internal:7"] {
        let note = about(&format!("agent = \"{open}\""));
        assert!(note.is_some_and(|note| note.contains(open)), "{open}");
    }
}

#[test]
fn several_nodes_need_a_key() {
    let nodes = "nodes = { a = \"10.0.0.1\", b = \"10.0.0.2\" }";
    assert_eq!(
        said(nodes),
        ["1: several nodes need a key, which they prove to one another"]
    );
    // A key that could not be read is not missing too.
    let unset = format!("{nodes}\ncluster.key = \"${{UNSET}}\"");
    assert_eq!(said(&unset), ["2: the environment has no variable `UNSET`"]);
    assert!(said("nodes.a = \"10.0.0.1\"").is_empty());
}

#[test]
fn the_lines_of_an_error_are_those_of_the_file_whatever_ends_them() {
    assert_eq!(
        said("# one\r\n# two\r\nclust.port = 1\r\n"),
        ["3: unknown key `clust`"]
    );
}

#[test]
fn balance_is_written_as_one_text() {
    let with = |balance: &str| {
        let text = format!("[backend.b]\nservers = \"10.0.0.1:80\"\nbalance = \"{balance}\"\n");
        parse(&text, "f", Path::new("/"), &|_| None)
    };
    for (text, expected) in [
        ("round-robin", Balance::RoundRobin),
        ("least-connections", Balance::LeastConnections),
        ("uri", Balance::Uri),
        ("header:X-User", Balance::Header("X-User".into())),
        ("cookie:id", Balance::Cookie("id".into())),
    ] {
        let loaded = with(text).unwrap_or_else(|wrong| panic!("{wrong}"));
        let Some(Service::Backend(backend)) = loaded.cluster.service("b") else {
            panic!("there is a backend");
        };
        assert_eq!(backend.spread.balance, expected);
    }
    for (text, hint) in [
        ("leastconn", "write \"least-connections\""),
        ("hdr(X-User)", "write \"header:NAME\""),
        ("ip_hash", "write \"source\""),
        ("roundrobin", "did you mean `round-robin`?"),
        ("header:a b", "`balance` is"),
        ("cookie:", "`balance` is"),
    ] {
        let wrong = with(text).expect_err(text).to_string();
        assert!(wrong.contains(hint), "{text}: {wrong}");
    }
}

#[test]
fn a_program_is_spoken_to_in_one_protocol() {
    let wrong = |lines: &str| {
        let text = format!(
            "[listener.web]\nbind = \":80\"\nroute = {{ to = \"shop\" }}\n[backend.shop]\nservers = \"10.0.0.1:80\"\n{lines}"
        );
        said(&text)
    };
    for fine in [
        "uwsgi = true",
        "scgi = true",
        "uwsgi = { modifier = 14, params = { APP_ENV = \"x\" } }",
    ] {
        assert_eq!(wrong(fine), [""; 0], "{fine}");
    }
    for (lines, message) in [
        (
            "uwsgi = true\nfastcgi = true",
            "one protocol is spoken there",
        ),
        ("scgi = true\nuwsgi = {}", "one protocol is spoken there"),
        (
            "uwsgi = true\ncheck = { path = \"/\" }",
            "`uwsgi` is spoken there",
        ),
        ("scgi = true\nsend-proxy = \"v1\"", "knows no PROXY header"),
        (
            "uwsgi = { params = { \"X-A\" = \"b\" } }",
            "a parameter `X-A`",
        ),
        ("uwsgi = { root = \"/srv\" }", "unknown key `root`"),
        ("uwsgi = { modifier = 256 }", "from 0 to 255"),
        ("uwsgi = 1", "true or a table"),
    ] {
        let wrong = wrong(lines);
        assert!(
            wrong.iter().any(|said| said.contains(message)),
            "{lines}: {wrong:?}"
        );
    }
}
