//! A rehearsal: the same cluster, on loopback addresses of one machine.
//!
//! The rules are those of the rehearsal section of the documentation, in its order. A rehearsal is a cluster like
//! any other: what plays it does not know.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::{
    Access, Address, Admin, App, BackendServer, Check, Cluster, LogFormat, LogTo, Program,
    Rehearsal, Secret, Service, Spread, Timeouts,
};

/// The first of the ports that services get.
const FIRST_SERVICE_PORT: u16 = 20_001;

/// What a rehearsal cannot know by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// K of 127.84.K.0/24, held by this rehearsal alone.
    pub network: u8,
    /// Where state, logs and pid files go.
    pub dir: PathBuf,
    /// The nodes' key for this rehearsal.
    pub key: Secret,
    /// The command of the stand-in for applications that only have `proxy`.
    pub stand_in: Vec<String>,
    /// Ports of listeners that are to be replaced: from the file's (after 80 became 8080) to free ones.
    pub ports: BTreeMap<u16, u16>,
}

/// The rehearsed cluster, and who plays whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rehearsed {
    /// The cluster to run.
    pub cluster: Cluster,
    /// Names of services that a stand-in plays.
    pub stand_ins: Vec<String>,
    /// Where a browser finds the first listener, if there is one: a port of 127.0.0.1.
    pub front_door: Option<u16>,
}

/// The port a listener takes in a rehearsal, before any replacement.
pub fn front_port(port: u16) -> u16 {
    match port {
        80 => 8080,
        443 => 8443,
        other => other,
    }
}

/// Rehearses `cluster` on `stage`.
pub fn rehearse(cluster: &Cluster, stage: &Stage) -> Rehearsed {
    let mut out = cluster.clone();
    for (i, node) in out.nodes.iter_mut().enumerate() {
        node.address = format!("127.84.{}.{}", stage.network, 10 + i);
        node.workers = None;
    }
    out.key = Some(stage.key.clone());
    out.user = None;
    out.group = None;
    out.workers = Some(1);
    out.state = stage.dir.join("state");
    // Whoever plays the nodes keeps their standard error apart, below the directory.
    out.log = LogTo::Stderr;
    out.log_format = LogFormat::Text;
    // Nodes are asked how they are by their admin pages, which are at loopback addresses here.
    out.admin_token = None;
    let admin_port = match &out.admin {
        Admin::At(address) => address.port(),
        Admin::Off => Some(8404),
    };
    if let Some(port) = admin_port {
        out.admin = Admin::At(Address::tcp("127.0.0.1", port));
    }

    let mut stand_ins = Vec::new();
    let listener_nodes: Vec<String> = out.listeners.iter().flat_map(|l| l.on.clone()).collect();
    let mut port = FIRST_SERVICE_PORT;
    for service in &mut out.services {
        play(service, stage, &listener_nodes, &mut stand_ins);
        let taken = match service {
            Service::Site(site) => site.port.as_mut(),
            Service::App(app) => app.port.as_mut(),
            Service::Backend(_) => None,
        };
        if let Some(taken) = taken {
            *taken = port;
            port += 1;
        }
        if let Service::Site(site) = service {
            if !site.allow.is_empty() {
                site.allow.extend(loopbacks(stage.network));
            }
            if !site.access.is_empty() {
                let own = loopbacks(stage.network).into_iter().collect();
                site.access.insert(0, Access::Allow(own));
            }
        }
    }
    for listener in &mut out.listeners {
        if let Some(works) = &mut listener.maintenance {
            works.allow.extend(loopbacks(stage.network));
        }
    }
    let front_door = open_doors(&mut out, stage);
    Rehearsed {
        cluster: out,
        stand_ins,
        front_door,
    }
}

/// The rehearsal's own network and the front door's.
fn loopbacks(network: u8) -> [IpNet; 2] {
    let own = ipnet::Ipv4Net::new_assert([127, 84, network, 0].into(), 24);
    let front = ipnet::Ipv4Net::new_assert([127, 0, 0, 1].into(), 32);
    [IpNet::V4(own), IpNet::V4(front)]
}

/// Puts listeners on their nodes' addresses and, first come first served, on 127.0.0.1.
fn open_doors(out: &mut Cluster, stage: &Stage) -> Option<u16> {
    let addresses: BTreeMap<String, String> = out
        .nodes
        .iter()
        .map(|node| (node.name.clone(), node.address.clone()))
        .collect();
    let mut doors = BTreeSet::new();
    let mut first = None;
    // A listener on several nodes has a bind of its own on each: one listener per node says so.
    let listeners = std::mem::take(&mut out.listeners);
    for listener in listeners {
        let several = listener.on.len() > 1;
        for node in &listener.on {
            let mut mine = listener.clone();
            mine.on = vec![node.clone()];
            // A browser states nothing.
            mine.proxy_protocol = false;
            if several {
                mine.name = format!("{}-{node}", listener.name);
            }
            mine.bind.clear();
            for bind in &listener.bind {
                let Some(port) = bind.port() else { continue };
                let port = front_port(port);
                let port = stage.ports.get(&port).copied().unwrap_or(port);
                let own = Address::tcp(addresses.get(node).cloned().unwrap_or_default(), port);
                if !mine.bind.contains(&own) {
                    mine.bind.push(own);
                }
                if doors.insert(port) {
                    mine.bind.push(Address::tcp("127.0.0.1", port));
                    first = first.or(Some(port));
                }
            }
            out.listeners.push(mine);
        }
    }
    first
}

/// Puts in a service's place what plays it.
fn play(
    service: &mut Service,
    stage: &Stage,
    listener_nodes: &[String],
    stand_ins: &mut Vec<String>,
) {
    let rehearsal = match service {
        Service::Site(site) => site.rehearse.take(),
        Service::App(app) => app.rehearse.take(),
        Service::Backend(backend) => {
            // It is an address of another machine.
            backend.source = None;
            backend.rehearse.take()
        }
    };
    match (rehearsal, &mut *service) {
        (None, Service::App(app)) => {
            if matches!(app.program, Program::Proxy(_)) {
                (app.send_proxy, app.fastcgi) = (None, None);
                app.program = run(stage.stand_in.clone());
                // The stand-in answers everything, but not with the application's own check page.
                if let Check::Http(_, timing) | Check::Tls(timing) | Check::Talk(_, timing) =
                    app.check
                {
                    app.check = Check::Tcp(timing);
                }
                stand_ins.push(app.name.clone());
            }
        }
        (None, _) => {}
        (Some(Rehearsal::Run(command)), Service::App(app)) => {
            (app.send_proxy, app.fastcgi) = (None, None);
            app.program = run(command);
        }
        (Some(Rehearsal::Proxy(address)), Service::App(app)) => {
            (app.send_proxy, app.fastcgi) = (None, None);
            app.program = Program::Proxy(address);
        }
        (Some(Rehearsal::Root(root)), Service::Site(site)) => site.root = root,
        (Some(Rehearsal::Proxy(address)), Service::Backend(backend)) => {
            let name = address.to_string();
            (backend.tls, backend.send_proxy, backend.fastcgi) = (None, None, None);
            backend.servers = vec![BackendServer {
                name,
                address,
                weight: 1,
                backup: false,
                max_connections: None,
                stick_id: None,
            }];
        }
        (Some(other), _) => {
            let on = if service.on().is_empty() {
                listener_nodes
            } else {
                service.on()
            };
            *service = stand_for(service, other, on.to_vec());
        }
    }
}

/// A program in the place of a site or a backend, or files in the place of an application.
fn stand_for(service: &Service, rehearsal: Rehearsal, on: Vec<String>) -> Service {
    let name = service.name().to_owned();
    let port = Some(service.port().unwrap_or(80));
    let program = match rehearsal {
        Rehearsal::Run(command) => run(command),
        Rehearsal::Proxy(address) => Program::Proxy(address),
        Rehearsal::Root(root) => {
            return Service::Site(crate::Site {
                name,
                on,
                port,
                root,
                index: vec!["index.html".into()],
                ..crate::Site::default()
            });
        }
    };
    Service::App(App {
        name,
        on,
        port,
        program,
        weight: BTreeMap::new(),
        spread: Spread::default(),
        max_connections: None,
        check: Check::default(),
        send_proxy: None,
        fastcgi: None,
        timeouts: Timeouts::default(),
        rehearse: None,
    })
}

fn run(command: Vec<String>) -> Program {
    Program::Run {
        command,
        dir: None,
        env: BTreeMap::new(),
        user: None,
        instances: 1,
        stop_timeout: Duration::from_secs(5),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::six;
    use crate::{Place, Target};

    fn stage() -> Stage {
        Stage {
            network: 3,
            dir: PathBuf::from("/tmp/r"),
            key: Secret::new("rehearsal"),
            stand_in: vec!["tandem".into(), "demo-app".into()],
            ports: BTreeMap::new(),
        }
    }

    #[test]
    fn every_node_gets_an_address_of_the_rehearsals_network() {
        let out = rehearse(&six(), &stage()).cluster;
        let addresses: Vec<_> = out.nodes.iter().map(|n| n.address.as_str()).collect();
        assert_eq!(addresses[0], "127.84.3.10");
        assert_eq!(addresses[5], "127.84.3.15");
        assert_eq!(
            out.for_node("app1").unwrap().outgoing,
            Some([127, 84, 3, 12].into())
        );
    }

    #[test]
    fn the_front_door_is_on_127_0_0_1_and_port_80_becomes_8080() {
        let out = rehearse(&six(), &stage());
        assert_eq!(out.front_door, Some(8080));
        let binds = &out.cluster.listeners[0].bind;
        assert_eq!(
            binds[..],
            [
                Address::tcp("127.84.3.10", 8080),
                Address::tcp("127.0.0.1", 8080)
            ]
        );
        let moved = Stage {
            ports: BTreeMap::from([(8080, 8081)]),
            ..stage()
        };
        assert_eq!(rehearse(&six(), &moved).front_door, Some(8081));
    }

    #[test]
    fn two_listeners_on_one_port_share_the_front_door_first_come_first_served() {
        let mut cluster = six();
        let mut second = cluster.listeners[0].clone();
        second.name = "web2".into();
        second.on = vec!["files".into()];
        cluster.listeners.push(second);
        let out = rehearse(&cluster, &stage()).cluster;
        assert_eq!(out.listeners[0].bind.len(), 2);
        assert_eq!(
            out.listeners[1].bind[..],
            [Address::tcp("127.84.3.11", 8080)]
        );
    }

    #[test]
    fn an_app_that_only_has_proxy_is_played_by_a_stand_in() {
        let out = rehearse(&six(), &stage());
        assert_eq!(out.stand_ins, ["shop"]);
        let Some(Service::App(app)) = out.cluster.service("shop") else {
            panic!("an app")
        };
        assert!(matches!(&app.program, Program::Run { command, .. } if command[1] == "demo-app"));
        assert_eq!(app.port, Some(20_002));
    }

    #[test]
    fn admin_pages_are_at_the_nodes_own_addresses_wherever_the_file_has_them() {
        let mut cluster = six();
        for host in ["", "0.0.0.0", "127.0.0.1"] {
            cluster.admin = Admin::At(Address::tcp(host, 9_404));
            cluster.admin_token = Some(Secret::new("t"));
            let out = rehearse(&cluster, &stage()).cluster;
            assert_eq!(out.admin, Admin::At(Address::tcp("127.0.0.1", 9_404)));
            assert_eq!(out.admin_token, None);
        }
    }

    #[test]
    fn what_rehearse_names_is_played_instead() {
        let mut cluster = six();
        for service in &mut cluster.services {
            match service {
                Service::App(app) => app.rehearse = Some(Rehearsal::Run(vec!["php".into()])),
                Service::Site(site) => site.rehearse = Some(Rehearsal::Root("/tmp/www".into())),
                Service::Backend(_) => {}
            }
        }
        let out = rehearse(&cluster, &stage());
        assert!(out.stand_ins.is_empty());
        let Some(Service::Site(site)) = out.cluster.service("www") else {
            panic!("a site")
        };
        assert_eq!(site.root, PathBuf::from("/tmp/www"));
        let Some(Service::App(app)) = out.cluster.service("shop") else {
            panic!("an app")
        };
        assert!(matches!(&app.program, Program::Run { command, .. } if command == &["php"]));
    }

    #[test]
    fn the_rehearsals_network_and_the_front_door_pass_every_allow() {
        let out = rehearse(&six(), &stage()).cluster;
        let Some(Service::Site(site)) = out.service("www") else {
            panic!("a site")
        };
        for client in ["127.84.3.10", "127.0.0.1", "192.168.3.4"] {
            let client: std::net::IpAddr = client.parse().unwrap();
            assert!(
                site.allow.iter().any(|net| net.contains(&client)),
                "{client}"
            );
        }
    }

    #[test]
    fn user_key_and_workers_are_the_rehearsals() {
        let out = rehearse(&six(), &stage()).cluster;
        assert_eq!((out.user.as_deref(), out.workers), (None, Some(1)));
        assert_eq!(out.key.as_ref().map(Secret::reveal), Some("rehearsal"));
        assert!(out.state.starts_with("/tmp/r"));
    }

    #[test]
    fn a_rehearsed_node_has_the_same_part_as_the_real_one() {
        let plan = rehearse(&six(), &stage()).cluster.for_node("edge").unwrap();
        let Target::Pool(shop) = &plan.targets[plan.listeners[0].targets["shop"]] else {
            panic!("a pool")
        };
        assert_eq!(
            shop.members[0].place,
            Place::Node(Address::tcp("127.84.3.12", 20_002))
        );
        assert_eq!(
            shop.members[0].from.map(crate::Outgoing::ip),
            Some([127, 84, 3, 10].into())
        );
    }
}
