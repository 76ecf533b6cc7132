//! Servers whose nodes do not reach the sessions.

use tandem_model::Timing;

use super::*;
use crate::server::CUT_OFF;

const DECLINED: Failure = Failure {
    stage: Stage::Unsent,
    cause: Cause::CutOff,
    retryable: true,
    by_gateway: true,
};

/// Three nodes with an application, none of which is tried again.
fn nodes() -> Arc<Pool> {
    let node = |name: &str, port| Member {
        place: Place::Node(Address::tcp("127.0.0.1", port)),
        ..member(name, port)
    };
    let mut plan = plan(&[node("app1", 1), node("app2", 2), node("app3", 3)]);
    plan.check = Check::Tcp(Timing::default());
    plan.spread.retry.tries = 0;
    let pool = Pool::new(&plan, &Instances::new(), &telemetry());
    up(&pool);
    pool
}

fn server(pool: &Pool, name: &str) -> Arc<Server> {
    let servers = pool.servers();
    let mut named = servers.iter().filter(|s| *s.key.name == *name);
    named.next().expect("there is such a server").clone()
}

#[test]
fn a_node_that_declines_has_cost_no_retry_and_is_left_alone() {
    let pool = nodes();
    let mut attempts = attempts(&pool);
    let first = attempts.next(None).expect("all are up");
    assert!(first.elsewhere, "two others can serve it");
    let second = attempts.next(Some(&DECLINED)).expect("another is up");
    assert_ne!(second.name, first.name);
    attempts.done(&outcome(None));
    assert!(!requests(&pool, 6).contains(&first.name.to_string()));
    assert_eq!(server(&pool, &first.name).status().failures, 0);
    let told = format!("warning shop/{}: {CUT_OFF}", first.name);
    assert_eq!(last_events(&pool).last(), Some(&told));
}

#[test]
fn nobody_is_told_of_another_node_when_there_is_none() {
    let pool = nodes();
    let mut attempts = attempts(&pool);
    let mut told = Vec::new();
    let mut upstream = attempts.next(None);
    while let Some(this) = upstream {
        told.push(this.elsewhere);
        if !this.elsewhere {
            break;
        }
        upstream = attempts.next(Some(&DECLINED));
    }
    assert_eq!(told.last(), Some(&false), "it cannot be declined by all");
    attempts.done(&outcome(None));
    for name in ["app1", "app2", "app3"] {
        pool.note_cut_off(&server(&pool, name), true);
    }
    let mut served = requests(&pool, 3);
    served.sort();
    assert_eq!(served, ["app1", "app2", "app3"], "all are as good");
    assert!(!attempts_elsewhere(&pool));
}

fn attempts_elsewhere(pool: &Arc<Pool>) -> bool {
    let mut attempts = attempts(pool);
    attempts.next(None).expect("all can be used").elsewhere
}

#[test]
fn one_that_reaches_them_again_is_used_as_before() {
    let pool = nodes();
    pool.note_cut_off(&server(&pool, "app2"), true);
    assert_eq!(requests(&pool, 4).join(" ").matches("app2").count(), 0);
    assert!(server(&pool, "app2").status().reason.starts_with(CUT_OFF));
    pool.note_cut_off(&server(&pool, "app2"), false);
    assert_eq!(requests(&pool, 6).join(" ").matches("app2").count(), 2);
    assert_eq!(
        last_events(&pool).last().map(String::as_str),
        Some("info shop/app2: its node reaches the sessions again")
    );
}

#[test]
fn a_server_that_is_down_is_no_other_choice() {
    let pool = nodes();
    for name in ["app1", "app3"] {
        for _ in 0..Timing::default().fall {
            check(&pool, name, false);
        }
    }
    assert!(!attempts_elsewhere(&pool));
    pool.note_cut_off(&server(&pool, "app2"), true);
    assert_eq!(requests(&pool, 2), ["app2", "app2"]);
}

#[test]
fn instances_of_a_node_that_is_cut_off_come_after_other_nodes() {
    let (list, listed) = watch::channel(vec![instance("edge/0", 1)]);
    let own = Member {
        place: Place::Instances { app: "shop".into() },
        ..member("edge", 1)
    };
    let other = Member {
        place: Place::Node(Address::tcp("127.0.0.1", 9)),
        ..member("app2", 9)
    };
    let instances = Instances::from([("shop".to_owned(), listed)]);
    let pool = Pool::new(&plan(&[own, other]), &instances, &telemetry());
    up(&pool);
    pool.set_cut_off(true);
    assert_eq!(requests(&pool, 3), ["app2"; 3]);
    list.send_replace(vec![instance("edge/0", 1), instance("edge/1", 2)]);
    pool.reconcile();
    up(&pool);
    assert_eq!(requests(&pool, 3), ["app2"; 3], "a new one is no better");
    pool.set_cut_off(false);
    assert_eq!(requests(&pool, 6).join(" ").matches("edge").count(), 4);
}

fn instance(name: &str, port: u16) -> InstanceAddress {
    InstanceAddress {
        name: name.into(),
        endpoint: Endpoint::Tcp(SocketAddr::from(([127, 0, 0, 1], port))),
    }
}
