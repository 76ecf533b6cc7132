use super::*;
use crate::sample::six;

#[test]
fn the_edge_reaches_services_on_their_nodes() {
    let plan = six().for_node("edge").unwrap();
    assert_eq!(plan.listeners.len(), 1);
    let listener = &plan.listeners[0];
    let Target::Pool(shop) = &plan.targets[listener.targets["shop"]] else {
        panic!("shop is not served here")
    };
    let places: Vec<_> = shop
        .members
        .iter()
        .map(|m| (m.name.as_str(), m.place.clone()))
        .collect();
    assert_eq!(
        places,
        [
            ("app1", Place::Node(Address::tcp("192.168.0.69", 80))),
            ("app2", Place::Node(Address::tcp("192.168.0.70", 80)))
        ]
    );
    let sessions = plan.sessions.unwrap();
    assert!(sessions.voter, "the edge holds the third copy");
    assert_eq!(sessions.agent, None);
}

#[test]
fn an_app_node_stands_before_its_own_instances_only() {
    let plan = six().for_node("app1").unwrap();
    let [door] = &plan.listeners[..] else {
        panic!("one door, for the edge")
    };
    assert!(door.internal);
    assert_eq!(door.bind, [Address::tcp("192.168.0.69", 80)]);
    let Target::Pool(pool) = &plan.targets[door.targets["shop"]] else {
        panic!("a pool")
    };
    assert!(pool.gateway);
    assert_eq!(
        pool.members[0].place,
        Place::Instances { app: "shop".into() }
    );
    assert_eq!(
        plan.sessions.unwrap().agent,
        Some(Address::tcp("127.0.0.1", 11211))
    );
}

#[test]
fn a_service_on_the_listeners_own_node_needs_no_hop() {
    let mut cluster = six();
    for service in &mut cluster.services {
        match service {
            Service::Site(site) => site.on = vec!["edge".into()],
            Service::App(app) => app.on = vec!["edge".into(), "app2".into()],
            Service::Backend(_) => {}
        }
    }
    let plan = cluster.for_node("edge").unwrap();
    assert_eq!(
        plan.listeners.len(),
        1,
        "nothing listens for services that only this node uses"
    );
    let targets = &plan.listeners[0].targets;
    assert!(matches!(&plan.targets[targets["www"]], Target::Site(_)));
    let Target::Pool(shop) = &plan.targets[targets["shop"]] else {
        panic!("a pool")
    };
    assert_eq!(
        shop.members[0].place,
        Place::Instances { app: "shop".into() }
    );
    assert_eq!(
        shop.members[1].place,
        Place::Node(Address::tcp("192.168.0.70", 80))
    );
}

#[test]
fn loopback_means_the_node_when_nodes_share_a_machine() {
    let mut cluster = six();
    for (i, node) in cluster.nodes.iter_mut().enumerate() {
        node.address = format!("127.84.1.{}", 10 + i);
    }
    let plan = cluster.for_node("app1").unwrap();
    assert_eq!(plan.local, "127.84.1.12");
    assert_eq!(plan.admin, Some(Address::tcp("127.84.1.12", 8404)));
    assert_eq!(
        plan.apps[0].program,
        Program::Proxy(Address::tcp("127.84.1.12", 8080))
    );
    assert_eq!(
        plan.sessions.unwrap().agent,
        Some(Address::tcp("127.84.1.12", 11211))
    );
}

#[test]
fn a_node_without_any_part_still_has_a_plan() {
    let mut cluster = six();
    cluster.sessions = None;
    let plan = cluster.for_node("cache1").unwrap();
    assert!(plan.listeners.is_empty() && plan.apps.is_empty() && plan.sessions.is_none());
    assert_eq!(cluster.for_node("nobody"), None);
}

#[test]
fn roles_are_told_in_the_words_of_the_file() {
    assert_eq!(six().roles("edge"), ["listener web", "sessions"]);
    assert_eq!(six().roles("app2"), ["app shop", "agent"]);
}
