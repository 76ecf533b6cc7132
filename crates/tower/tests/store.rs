//! The store against a real server.

mod common;

use std::net::SocketAddr;
use std::sync::Arc;

use common::Memcached;
use serde_json::{Value, json};
use tandem_tower_sessions::{ErrorKind, StoreError, TandemStore};
use time::{Duration, OffsetDateTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower_sessions::session::{Id, Record};
use tower_sessions::{Expiry, Session, SessionStore};

fn record() -> Record {
    let data = [("user".to_owned(), json!("ann"))].into();
    Record {
        id: Id::default(),
        data,
        expiry_date: OffsetDateTime::now_utc() + Duration::minutes(5),
    }
}

async fn stored(store: &TandemStore) -> Record {
    let mut record = record();
    store.create(&mut record).await.unwrap();
    record
}

async fn value(store: &TandemStore, id: Id, key: &str) -> Option<Value> {
    store.load(&id).await.unwrap()?.data.get(key).cloned()
}

/// The error of a request whose session was ended or moved meanwhile.
fn over(result: Result<(), tower_sessions::session::Error>) {
    let error = result.expect_err("nothing can have been stored");
    let tower_sessions::session::Error::Store(error) = &error else {
        panic!("{error}");
    };
    let kind = StoreError::of(error).map(|error| error.kind());
    assert_eq!(kind, Some(ErrorKind::Over), "{error}");
}

#[tokio::test]
async fn a_session_is_created_loaded_changed_and_deleted() {
    let memcached = Memcached::start();
    let store = memcached.store();
    let record = stored(&store).await;
    let mut loaded = store.load(&record.id).await.unwrap().expect("it is stored");
    assert_eq!(loaded.data["user"], json!("ann"));
    assert_eq!(
        loaded.expiry_date.unix_timestamp(),
        record.expiry_date.unix_timestamp()
    );
    loaded.data.insert("cart".into(), json!(["tea"]));
    loaded.data.remove("user");
    store.save(&loaded).await.unwrap();
    assert_eq!(value(&store, record.id, "cart").await, Some(json!(["tea"])));
    assert_eq!(value(&store, record.id, "user").await, None);
    store.delete(&record.id).await.unwrap();
    assert!(store.load(&record.id).await.unwrap().is_none());
}

#[tokio::test]
async fn an_id_that_is_taken_is_replaced() {
    let memcached = Memcached::start();
    let store = memcached.store();
    let first = stored(&store).await;
    let mut second = record();
    second.id = first.id;
    second.data.insert("user".into(), json!("bob"));
    store.create(&mut second).await.unwrap();
    assert_ne!(second.id, first.id);
    assert_eq!(value(&store, first.id, "user").await, Some(json!("ann")));
    assert_eq!(value(&store, second.id, "user").await, Some(json!("bob")));
}

#[tokio::test]
async fn sixteen_parallel_requests_each_keep_their_own_attribute() {
    let memcached = Memcached::start();
    let id = stored(&memcached.store()).await.id;
    let stores = [Arc::new(memcached.store()), Arc::new(memcached.store())];
    let barrier = Arc::new(tokio::sync::Barrier::new(16));
    let requests = (0..16usize).map(|i| {
        let (store, barrier) = (stores[i % 2].clone(), barrier.clone());
        tokio::spawn(async move {
            let session = Session::new(
                Some(id),
                store,
                Some(Expiry::OnInactivity(Duration::minutes(5))),
            );
            session.load().await.unwrap();
            barrier.wait().await;
            session.insert(&format!("key{i}"), i).await.unwrap();
            session.save().await.unwrap();
        })
    });
    for request in requests.collect::<Vec<_>>() {
        request.await.unwrap();
    }
    let all = memcached
        .store()
        .load(&id)
        .await
        .unwrap()
        .expect("it is there")
        .data;
    for i in 0..16 {
        assert_eq!(all.get(&format!("key{i}")), Some(&json!(i)), "{all:?}");
    }
    assert_eq!(all["user"], json!("ann"));
}

#[tokio::test]
async fn a_logout_is_not_undone_by_a_slower_request() {
    let memcached = Memcached::start();
    let store = Arc::new(memcached.store());
    for _ in 0..100 {
        let id = stored(&store).await.id;
        let slow = Session::new(Some(id), store.clone(), None);
        slow.load().await.unwrap();
        slow.insert("late", true).await.unwrap();
        let logout = Session::new(Some(id), store.clone(), None);
        logout.flush().await.unwrap();
        over(slow.save().await);
        assert!(store.load(&id).await.unwrap().is_none(), "logged in again");
    }
}

#[tokio::test]
async fn a_cleared_session_keeps_nothing() {
    let memcached = Memcached::start();
    let store = Arc::new(memcached.store());
    let id = stored(&store).await.id;
    let session = Session::new(Some(id), store.clone(), None);
    session.load().await.unwrap();
    session.clear().await;
    session.insert("fresh", 1).await.unwrap();
    session.save().await.unwrap();
    assert_eq!(value(&store, id, "user").await, None);
    assert_eq!(value(&store, id, "fresh").await, Some(json!(1)));
}

#[tokio::test]
async fn two_saves_of_one_request_are_both_kept() {
    let memcached = Memcached::start();
    let store = Arc::new(memcached.store());
    let session = Session::new(None, store.clone(), None);
    for i in 0..3 {
        session.insert(&format!("key{i}"), i).await.unwrap();
        session.save().await.unwrap();
    }
    let id = session.id().expect("it was created");
    for i in 0..3 {
        assert_eq!(value(&store, id, &format!("key{i}")).await, Some(json!(i)));
    }
}

#[tokio::test]
async fn touching_extends_a_life_and_says_when_there_is_none() {
    let memcached = Memcached::start();
    let store = memcached.store();
    let record = stored(&store).await;
    assert!(store.touch(&record).await.unwrap());
    store.delete(&record.id).await.unwrap();
    assert!(!store.touch(&record).await.unwrap());
}

/// A server that closes every connection after the given number of answers' bytes have been cut off.
async fn breaking(upstream: SocketAddr, breaks: u32) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for i in 0.. {
            let Ok((mut client, _)) = listener.accept().await else {
                return;
            };
            let Ok(mut server) = TcpStream::connect(upstream).await else {
                return;
            };
            if i >= breaks {
                tokio::spawn(async move {
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                });
                continue;
            }
            // The command is carried out, its answer is not delivered.
            let mut bytes = vec![0; 65_536];
            let n = client.read(&mut bytes).await.unwrap();
            server.write_all(&bytes[..n]).await.unwrap();
            let _ = server.read(&mut bytes).await;
        }
    });
    address
}

#[tokio::test]
async fn a_change_whose_answer_was_lost_is_made_once() {
    let memcached = Memcached::start();
    let address = breaking(memcached.address, 1).await;
    let mut record = record();
    let id = record.id;
    TandemStore::new(address.to_string())
        .create(&mut record)
        .await
        .unwrap();
    assert_eq!(record.id, id, "its own item is not another's");

    let mut loaded = memcached.store().load(&id).await.unwrap().unwrap();
    loaded.data.insert("n".into(), json!(1));
    let address = breaking(memcached.address, 2).await;
    TandemStore::new(address.to_string())
        .save(&loaded)
        .await
        .unwrap();
    assert_eq!(value(&memcached.store(), id, "n").await, Some(json!(1)));
}

#[tokio::test]
async fn a_store_that_cannot_be_reached_is_an_error_and_no_absent_session() {
    let closed = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let store = TandemStore::new(closed.to_string());
    let error = store.load(&Id::default()).await.unwrap_err();
    let kind = StoreError::of(&error).map(|error| error.kind());
    assert_eq!(kind, Some(ErrorKind::Unreachable), "{error}");
    assert!(error.to_string().contains(&closed.to_string()), "{error}");
}

#[tokio::test]
async fn a_server_that_refuses_is_an_error_in_its_own_words() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut bytes = [0; 4096];
            while client.read(&mut bytes).await.is_ok_and(|n| n > 0) {
                client
                    .write_all(b"SERVER_ERROR not stored: no leader\r\n")
                    .await
                    .unwrap();
            }
        }
    });
    let store = TandemStore::new(address.to_string());
    let error = store.load(&Id::default()).await.unwrap_err();
    let kind = StoreError::of(&error).map(|error| error.kind());
    assert_eq!(kind, Some(ErrorKind::NotStored), "{error}");
    assert!(
        error.to_string().contains("not stored: no leader"),
        "{error}"
    );
    let touched = store.touch(&record()).await.unwrap_err();
    assert_eq!(touched.kind(), ErrorKind::NotStored);
}
