//! What two application servers on tower-sessions do with one session.

use std::sync::Arc;

use serde_json::json;
use tandem_tower_sessions::TandemStore;
use time::{Duration, OffsetDateTime};
use tower_sessions::session::{Id, Record};
use tower_sessions::{Expiry, Session, SessionStore};

/// Requests of one session at once.
const REQUESTS: usize = 16;

/// A session that is still to be stored.
pub fn record() -> Record {
    Record {
        id: Id::default(),
        data: [("user".to_owned(), json!("ann"))].into(),
        expiry_date: OffsetDateTime::now_utc() + Duration::minutes(5),
    }
}

/// Stores a session, and has a slow request read it and change it. What that request will save.
pub async fn begin_slowly(store: &TandemStore, session: &mut Record, number: usize) -> Record {
    store.create(session).await.expect("created");
    let found = store.load(&session.id).await.expect("readable");
    let mut slow = found.expect("it is there");
    slow.data.insert("cart".into(), json!(number));
    slow
}

/// Sixteen requests at once through both servers, each of which sets an attribute of its own.
pub async fn set_sixteen_attributes(stores: &[Arc<TandemStore>; 2], id: Id) {
    let requests = (0..REQUESTS).map(|i| {
        let store = stores[i % 2].clone();
        async move {
            let expiry = Expiry::OnInactivity(Duration::minutes(5));
            let session = Session::new(Some(id), store, Some(expiry));
            let name = format!("attribute{i}");
            session.insert(&name, i).await.expect("inserted");
            session.save().await.expect("saved");
        }
    });
    futures_util::future::join_all(requests).await;
}

/// All of them are there.
pub async fn assert_sixteen_attributes(store: &TandemStore, id: Id, round: usize) {
    let found = store.load(&id).await.expect("readable");
    let data = found.expect("it is there").data;
    for i in 0..REQUESTS {
        let name = format!("attribute{i}");
        assert_eq!(data.get(&name), Some(&json!(i)), "round {round}");
    }
}
