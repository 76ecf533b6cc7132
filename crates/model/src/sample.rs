//! The classic six machines, for tests.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::Limits;
use crate::cluster::CLUSTER_PORT;
use crate::{
    Action, Address, Admin, App, Check, Cluster, Conditions, Listener, LogFormat, LogLevel, LogTo,
    Mode, Node, Overrides, Pattern, Program, Route, Secret, Service, Sessions, Site, Size, Spread,
    Timeouts,
};

pub(crate) fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

pub(crate) fn route(path: &str, to: &str) -> Route {
    let path = if path.is_empty() {
        Vec::new()
    } else {
        vec![Pattern::parse(path).unwrap()]
    };
    let when = Conditions {
        path,
        ..Conditions::default()
    };
    Route {
        name: None,
        when,
        action: Action::To(to.into()),
        missing: Vec::new(),
        policies: crate::Policies::default(),
        log: true,
        over: Overrides::default(),
        line: 1,
    }
}

pub(crate) fn six() -> Cluster {
    let machines = [
        ("edge", 168),
        ("files", 68),
        ("app1", 69),
        ("app2", 70),
        ("cache1", 71),
        ("cache2", 101),
    ];
    Cluster {
        name: "six".into(),
        key: Some(Secret::new("k")),
        port: CLUSTER_PORT,
        state: PathBuf::from("/var/lib/tandem"),
        user: Some("www".into()),
        group: None,
        workers: None,
        admin: Admin::At(Address::tcp("127.0.0.1", 8404)),
        admin_token: None,
        log: LogTo::Stderr,
        log_format: LogFormat::Text,
        log_level: LogLevel::Info,
        access_format: crate::AccessFormat::Combined,
        nodes: machines
            .iter()
            .map(|(name, n)| Node {
                name: (*name).into(),
                address: format!("192.168.0.{n}"),
                workers: None,
            })
            .collect(),
        listeners: vec![Listener {
            name: "web".into(),
            on: strings(&["edge"]),
            bind: vec![Address::tcp("", 80)],
            mode: Mode::Http,
            tls: None,
            http2: None,
            limits: Limits::default(),
            proxy_protocol: false,
            trust: Vec::new(),
            routes: vec![route("/test*", "shop"), route("", "www")],
            errors: crate::Errors::new(),
            maintenance: None,
            timeouts: Timeouts::default(),
            log: Some("access.log".into()),
            log_format: None,
            request_id: true,
        }],
        services: vec![
            Service::Site(Site {
                name: "www".into(),
                on: strings(&["files"]),
                port: Some(80),
                root: PathBuf::from("/srv/www"),
                index: strings(&["index.html"]),
                allow: vec!["192.168.0.0/16".parse().unwrap()],
                ..Site::default()
            }),
            Service::App(App {
                name: "shop".into(),
                on: strings(&["app1", "app2"]),
                port: Some(80),
                program: Program::Proxy(Address::tcp("127.0.0.1", 8080)),
                weight: BTreeMap::new(),
                spread: Spread::default(),
                max_connections: None,
                check: Check::default(),
                send_proxy: None,
                fastcgi: None,
                timeouts: Timeouts::default(),
                rehearse: None,
            }),
        ],
        sessions: Some(Sessions {
            on: strings(&["cache1", "cache2"]),
            memory: Size::mib(128),
            agents: strings(&["app1", "app2"]),
            agent: Address::tcp("127.0.0.1", 11211),
            third: Some("edge".into()),
            durable: false,
            guard: None,
        }),
    }
}
