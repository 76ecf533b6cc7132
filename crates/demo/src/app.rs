//! The demo's application.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{Html, IntoResponse, Json, Response};
use axum::routing::get;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tandem_tower_sessions::TandemStore;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tower_sessions::cookie::SameSite;
use tower_sessions::{Expiry, Session, SessionManagerLayer};

use crate::page;

/// The session's key for the attributes: one object, which the store merges by its keys.
const ATTRIBUTES: &str = "attributes";
/// How long a session lives without a request.
const IDLE: time::Duration = time::Duration::minutes(30);

/// What the application shows of a session.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct View {
    pub served_by: String,
    pub session_id: String,
    pub created: String,
    pub visits: u64,
    pub attributes: BTreeMap<String, Value>,
}

/// An attribute to store.
#[derive(Deserialize)]
struct Attribute {
    key: String,
    value: Value,
}

/// The application, answering in the name of `served_by`, with its sessions in `store`.
pub fn router(served_by: &str, store: TandemStore) -> Router {
    let sessions = SessionManagerLayer::new(store)
        .with_name("JSESSIONID")
        .with_same_site(SameSite::Lax)
        .with_secure(false)
        .with_expiry(Expiry::OnInactivity(IDLE));
    Router::new()
        .route("/test", get(show))
        .route("/test/", get(show))
        .route("/test/session", get(show_json).post(store_attribute))
        .fallback(by_suffix)
        .layer(sessions)
        .route("/test/alive.txt", get(|| async { "alive\n" }))
        .with_state(Arc::from(served_by))
}

/// What goes on by itself.
type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Runs the application on `listener` until `stop` ends. Boxed, so that axum is compiled with this crate and not with the
/// one that awaits it.
pub fn serve(listener: tokio::net::TcpListener, stop: Boxed<()>) -> Boxed<std::io::Result<()>> {
    let app = router(&name(), TandemStore::from_env());
    Box::pin(async move {
        axum::serve(listener, app)
            .with_graceful_shutdown(stop)
            .await
    })
}

/// Whoever started this program may name it; alone it is `app`.
fn name() -> String {
    let node = std::env::var("TANDEM_NODE").unwrap_or_else(|_| "app".into());
    match std::env::var("TANDEM_INSTANCE") {
        Ok(instance) if instance != "0" => format!("{node}/{instance}"),
        _ => node,
    }
}

/// A failure of the session tier, told to the user instead of a page.
struct Failed(tower_sessions::session::Error);

impl From<tower_sessions::session::Error> for Failed {
    fn from(error: tower_sessions::session::Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("the session could not be read: {}\n", self.0),
        )
            .into_response()
    }
}

async fn show(State(served_by): State<Arc<str>>, session: Session) -> Result<Html<String>, Failed> {
    Ok(Html(page::html(&visit(&served_by, &session).await?)))
}

async fn show_json(
    State(served_by): State<Arc<str>>,
    session: Session,
) -> Result<Json<View>, Failed> {
    Ok(Json(visit(&served_by, &session).await?))
}

async fn store_attribute(
    State(served_by): State<Arc<str>>,
    session: Session,
    Json(attribute): Json<Attribute>,
) -> Result<Json<View>, Failed> {
    let mut attributes = attributes(&session).await?;
    attributes.insert(attribute.key, attribute.value);
    session.insert(ATTRIBUTES, attributes).await?;
    Ok(Json(visit(&served_by, &session).await?))
}

/// Pages of the classic application servers, wherever they are: `*.jsp` and `*.do`.
async fn by_suffix(state: State<Arc<str>>, session: Session, uri: Uri) -> Response {
    let suffix = uri.path().rsplit_once('.').map(|(_, suffix)| suffix);
    if matches!(suffix, Some("jsp" | "do")) {
        return show(state, session).await.into_response();
    }
    (StatusCode::NOT_FOUND, "the application has no such page\n").into_response()
}

/// Counts this request and says what the session holds.
async fn visit(served_by: &str, session: &Session) -> Result<View, tower_sessions::session::Error> {
    let created = match session.get::<String>("created").await? {
        Some(created) => created,
        None => {
            let now = OffsetDateTime::now_utc()
                .format(&Rfc3339)
                .unwrap_or_default();
            session.insert("created", &now).await?;
            now
        }
    };
    let visits = session.get::<u64>("visits").await?.unwrap_or(0) + 1;
    session.insert("visits", visits).await?;
    if session.id().is_none() {
        // A new session gets its id when it is first saved.
        session.save().await?;
    }
    Ok(View {
        served_by: served_by.to_owned(),
        session_id: session.id().map(|id| id.to_string()).unwrap_or_default(),
        created,
        visits,
        attributes: attributes(session).await?,
    })
}

async fn attributes(
    session: &Session,
) -> Result<BTreeMap<String, Value>, tower_sessions::session::Error> {
    Ok(session.get(ATTRIBUTES).await?.unwrap_or_default())
}
