//! What two application servers on tower-sessions do with one session.

use std::sync::Arc;

use serde_json::json;
use tandem_tower_sessions::{ErrorKind, StoreError, TandemStore};
use time::{Duration, OffsetDateTime};
use tower_sessions::session::Error;
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

/// Two requests that have read a session and are slow: one changes it, one gives it another id.
pub struct Slow {
    changes: Session,
    moves: Session,
}

/// Stores a session, and has slow requests read it.
pub async fn begin_slowly(store: &Arc<TandemStore>, session: &mut Record, number: usize) -> Slow {
    store.create(session).await.expect("created");
    let request = || Session::new(Some(session.id), store.clone(), None);
    let (changes, moves) = (request(), request());
    let cart = changes.insert("cart", number).await;
    cart.expect("read and changed");
    let user = moves.get_value("user").await.expect("readable");
    assert_eq!(user, Some(json!("ann")), "it is there");
    Slow { changes, moves }
}

impl Slow {
    /// What they do after a logout comes to nothing, and they are told.
    pub async fn assert_too_late(&self) {
        assert_over(self.changes.save().await);
        assert_over(self.moves.cycle_id().await);
        // Also when the application takes no notice.
        assert_over(self.moves.save().await);
        assert_eq!(self.moves.id(), None, "a new session was made of it");
    }
}

fn assert_over(result: Result<(), Error>) {
    let error = result.expect_err("the session is over");
    let kind = match &error {
        Error::Store(error) => StoreError::of(error).map(|error| error.kind()),
        Error::SerdeJson(_) => None,
    };
    assert_eq!(kind, Some(ErrorKind::Over), "{error}");
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
