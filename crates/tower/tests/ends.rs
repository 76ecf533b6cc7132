//! Logouts and new ids, while other requests work: here, and in other processes.

mod common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::Memcached;
use serde_json::{Value, json};
use tandem_tower_sessions::{ErrorKind, StoreError, TandemStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower_sessions::session::{Error, Id};
use tower_sessions::{Session, SessionStore};

fn over(result: Result<(), Error>) {
    let error = result.expect_err("the session is over");
    let Error::Store(error) = &error else {
        panic!("{error}");
    };
    let kind = StoreError::of(error).map(|error| error.kind());
    assert_eq!(kind, Some(ErrorKind::Over), "{error}");
}

/// Two processes: a store of its own each.
fn processes(memcached: &Memcached) -> [Arc<TandemStore>; 2] {
    [(); 2].map(|()| Arc::new(memcached.store()))
}

async fn logged_in(store: &Arc<TandemStore>) -> Id {
    let session = Session::new(None, store.clone(), None);
    session.insert("user", "ann").await.unwrap();
    session.save().await.unwrap();
    session.id().expect("it was created")
}

/// A request that has loaded the session.
async fn request(store: &Arc<TandemStore>, id: Id) -> Session {
    let session = Session::new(Some(id), store.clone(), None);
    session.load().await.unwrap();
    assert_eq!(user(&session).await, Some(json!("ann")));
    session
}

async fn user(session: &Session) -> Option<Value> {
    session.get_value("user").await.unwrap()
}

async fn value(store: &TandemStore, id: Id, key: &str) -> Option<Value> {
    store.load(&id).await.unwrap()?.data.get(key).cloned()
}

async fn logout(store: &Arc<TandemStore>, id: Id) {
    let session = Session::new(Some(id), store.clone(), None);
    session.flush().await.unwrap();
}

#[tokio::test]
async fn a_new_id_takes_what_the_session_holds_and_the_old_one_leads_nowhere() {
    let memcached = Memcached::start();
    let [store, other] = processes(&memcached);
    let id = logged_in(&store).await;
    let login = request(&store, id).await;
    login.cycle_id().await.unwrap();
    assert!(other.load(&id).await.unwrap().is_none());
    login.insert("role", "admin").await.unwrap();
    login.save().await.unwrap();
    let new = login.id().expect("a new one");
    assert_ne!(new, id);
    assert!(other.load(&id).await.unwrap().is_none());
    assert_eq!(value(&other, new, "user").await, Some(json!("ann")));
    assert_eq!(value(&other, new, "role").await, Some(json!("admin")));
    // The same request goes on, and changes the id once more.
    login.insert("more", 1).await.unwrap();
    login.save().await.unwrap();
    login.cycle_id().await.unwrap();
    login.save().await.unwrap();
    let last = login.id().expect("another new one");
    assert!(other.load(&new).await.unwrap().is_none());
    assert_eq!(value(&other, last, "user").await, Some(json!("ann")));
    assert_eq!(value(&other, last, "more").await, Some(json!(1)));
}

#[tokio::test]
async fn a_logout_is_not_undone_by_a_slower_request_that_changes_the_id() {
    let memcached = Memcached::start();
    let stores = processes(&memcached);
    for elsewhere in &stores {
        let id = logged_in(&stores[0]).await;
        let slow = request(&stores[0], id).await;
        logout(elsewhere, id).await;
        over(slow.cycle_id().await);
        // Also when the application takes no notice.
        slow.insert("late", true).await.unwrap();
        for _ in 0..2 {
            over(slow.save().await);
            assert_eq!(slow.id(), None, "no new session");
        }
    }
}

#[tokio::test]
async fn a_session_that_an_operator_killed_is_not_made_anew_either() {
    let memcached = Memcached::start();
    let store = Arc::new(memcached.store());
    let id = logged_in(&store).await;
    let slow = request(&store, id).await;
    let mut operator = TcpStream::connect(memcached.address).await.unwrap();
    let command = format!("delete tower.sess.{id}\r\n");
    operator.write_all(command.as_bytes()).await.unwrap();
    let mut answer = [0; 9];
    operator.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"DELETED\r\n");
    let _ = slow.cycle_id().await;
    over(slow.save().await);
    assert_eq!(slow.id(), None);
}

#[tokio::test]
async fn a_logout_while_the_id_changes_ends_the_session_at_each_step() {
    let memcached = Memcached::start();
    let [store, other] = processes(&memcached);
    // Between the two halves.
    let id = logged_in(&store).await;
    let login = request(&store, id).await;
    login.cycle_id().await.unwrap();
    logout(&other, id).await;
    over(login.save().await);
    assert_eq!(login.id(), None);
    // After both, by one who knows the old id only.
    let id = logged_in(&store).await;
    let late = request(&other, id).await;
    let login = request(&store, id).await;
    login.cycle_id().await.unwrap();
    login.save().await.unwrap();
    let new = login.id().expect("a new one");
    late.flush().await.unwrap();
    assert!(store.load(&new).await.unwrap().is_none());
    // And the request that goes on makes no other of it.
    login.cycle_id().await.unwrap();
    over(login.save().await);
    assert_eq!(login.id(), None);
    // After it went on to another id.
    let id = logged_in(&store).await;
    let login = request(&store, id).await;
    for _ in 0..2 {
        login.cycle_id().await.unwrap();
        login.save().await.unwrap();
    }
    let last = login.id().expect("a new one");
    logout(&other, id).await;
    assert!(store.load(&last).await.unwrap().is_none());
}

#[tokio::test]
async fn of_two_requests_that_change_the_id_at_once_one_wins() {
    let memcached = Memcached::start();
    let stores = processes(&memcached);
    for second in &stores {
        let id = logged_in(&stores[0]).await;
        let (a, b) = (request(&stores[0], id).await, request(second, id).await);
        a.cycle_id().await.unwrap();
        over(b.cycle_id().await);
        a.save().await.unwrap();
        over(b.save().await);
        assert_eq!(b.id(), None, "it does not learn the id of the other");
        let new = a.id().expect("a new one");
        assert_eq!(value(second, new, "user").await, Some(json!("ann")));
    }
    // All at once.
    for _ in 0..20 {
        let id = logged_in(&stores[0]).await;
        let mut loaded = Vec::new();
        for i in 0..8 {
            loaded.push(request(&stores[i % 2], id).await);
        }
        let begin = |session: Session| {
            tokio::spawn(async move {
                session.cycle_id().await?;
                session.save().await
            })
        };
        let all: Vec<_> = loaded.into_iter().map(begin).collect();
        let mut won = 0;
        for one in all {
            won += usize::from(one.await.unwrap().is_ok());
        }
        assert_eq!(won, 1);
    }
}

#[tokio::test]
async fn a_slow_change_is_in_the_session_under_its_new_id_or_its_request_is_told() {
    let memcached = Memcached::start();
    let [store, other] = processes(&memcached);
    let id = logged_in(&store).await;
    let (before, after) = (request(&other, id).await, request(&other, id).await);
    let reader = request(&other, id).await;
    let login = request(&store, id).await;
    login.cycle_id().await.unwrap();
    before.insert("before", 1).await.unwrap();
    before.save().await.unwrap();
    login.insert("role", "admin").await.unwrap();
    login.save().await.unwrap();
    let new = login.id().expect("a new one");
    after.insert("after", 1).await.unwrap();
    over(after.save().await);
    // One that changed nothing would set the old cookie again.
    over(reader.save().await);
    assert_eq!(value(&other, new, "before").await, Some(json!(1)));
    assert_eq!(value(&other, new, "role").await, Some(json!("admin")));
    assert_eq!(value(&other, new, "after").await, None);
    // What the winner does later keeps what the other changed.
    login.insert("more", 1).await.unwrap();
    login.save().await.unwrap();
    assert_eq!(value(&other, new, "before").await, Some(json!(1)));
    assert_eq!(value(&other, new, "more").await, Some(json!(1)));
}

#[tokio::test]
async fn a_change_of_the_id_that_is_not_finished_leaves_no_session() {
    let memcached = Memcached::start();
    let store = Arc::new(memcached.store());
    let id = logged_in(&store).await;
    let login = request(&store, id).await;
    login.cycle_id().await.unwrap();
    login.flush().await.unwrap();
    assert!(store.load(&id).await.unwrap().is_none());
    let record = request(&store, logged_in(&store).await).await;
    record.cycle_id().await.unwrap();
    record.clear().await;
    record.insert("fresh", 1).await.unwrap();
    record.save().await.unwrap();
    let new = record.id().expect("a new session");
    assert_eq!(value(&store, new, "user").await, None);
    assert_eq!(value(&store, new, "fresh").await, Some(json!(1)));
}

#[tokio::test]
async fn clearing_a_session_that_is_over_is_no_error() {
    let memcached = Memcached::start();
    let store = Arc::new(memcached.store());
    let id = logged_in(&store).await;
    let session = Session::new(Some(id), store.clone(), None);
    logout(&store, id).await;
    session.clear().await;
    session.save().await.unwrap();
    assert!(store.load(&id).await.unwrap().is_none());
    logout(&store, id).await;
    logout(&store, Id::default()).await;
}

/// A way to the server on which the answer to one command is lost, counted from 0; and how many commands there were.
async fn losing(upstream: SocketAddr, lost: usize) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let commands = Arc::new(AtomicUsize::new(0));
    let counted = commands.clone();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let commands = counted.clone();
            tokio::spawn(async move {
                let mut server = TcpStream::connect(upstream).await.unwrap();
                let mut bytes = vec![0; 65_536];
                loop {
                    let n = client.read(&mut bytes).await.unwrap_or(0);
                    if n == 0 || server.write_all(&bytes[..n]).await.is_err() {
                        return;
                    }
                    let n = server.read(&mut bytes).await.unwrap_or(0);
                    if commands.fetch_add(1, Ordering::Relaxed) == lost
                        || client.write_all(&bytes[..n]).await.is_err()
                    {
                        return;
                    }
                }
            });
        }
    });
    (address, commands)
}

#[tokio::test]
async fn a_lost_answer_at_any_step_changes_nothing() {
    let memcached = Memcached::start();
    let direct = Arc::new(memcached.store());
    for logs_out in [false, true] {
        let mut lost = 0;
        loop {
            let id = logged_in(&direct).await;
            let (address, commands) = losing(memcached.address, lost).await;
            let store = Arc::new(TandemStore::new(address.to_string()));
            let session = request(&store, id).await;
            if logs_out {
                session.flush().await.unwrap();
            } else {
                session.cycle_id().await.unwrap();
                session.save().await.unwrap();
                let new = session.id().expect("a new one");
                assert_eq!(value(&direct, new, "user").await, Some(json!("ann")));
            }
            assert!(direct.load(&id).await.unwrap().is_none(), "answer {lost}");
            if commands.load(Ordering::Relaxed) <= lost {
                break;
            }
            lost += 1;
        }
        assert!(lost > 2, "it was lost at {lost} steps");
    }
}
