//! An axum application with its sessions in the session tier:
//!
//!     cargo run -p tandem-tower-sessions --example counter
//!
//! It listens on `HOST:PORT` (127.0.0.1:3000 unless set) and finds the agent in `TANDEM_SESSIONS`, which Tandem sets for
//! programs that it runs (`run = ["counter"]` in a cluster file); else at 127.0.0.1:11211, where `tandem memcached` will do.

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use tandem_tower_sessions::{ErrorKind, StoreError, TandemStore};
use tower_sessions::session::Error;
use tower_sessions::{Expiry, Session, SessionManagerLayer, cookie::time::Duration};

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let sessions = SessionManagerLayer::new(TandemStore::from_env())
        .with_expiry(Expiry::OnInactivity(Duration::minutes(30)))
        // Behind TLS leave this out.
        .with_secure(false);
    let app = Router::new()
        .route("/", get(count))
        .route("/login", get(login))
        .route("/logout", get(logout))
        .layer(sessions);
    let variable = |name, default: &str| std::env::var(name).unwrap_or_else(|_| default.into());
    let address = format!(
        "{}:{}",
        variable("HOST", "127.0.0.1"),
        variable("PORT", "3000")
    );
    let listener = tokio::net::TcpListener::bind(&address).await?;
    println!("http://{}/", listener.local_addr()?);
    axum::serve(listener, app).await
}

async fn count(session: Session) -> Result<String, (StatusCode, String)> {
    let visits = session
        .get::<u64>("visits")
        .await
        .map_err(failed)?
        .unwrap_or(0)
        + 1;
    session.insert("visits", visits).await.map_err(failed)?;
    let id = session
        .id()
        .map_or_else(|| "new".into(), |id| id.to_string());
    Ok(format!("{visits} {id}\n"))
}

async fn login(session: Session) -> Result<&'static str, (StatusCode, String)> {
    // A new id, so that one that somebody knew before is worth nothing.
    session.cycle_id().await.map_err(failed)?;
    session.insert("user", "ann").await.map_err(failed)?;
    Ok("welcome\n")
}

async fn logout(session: Session) -> Result<&'static str, (StatusCode, String)> {
    session.flush().await.map_err(failed)?;
    Ok("bye\n")
}

/// 409 when the session was ended meanwhile, 503 when the session tier cannot do it now, 500 for all else.
fn failed(error: Error) -> (StatusCode, String) {
    let kind = match &error {
        Error::Store(error) => StoreError::of(error).map(|error| error.kind()),
        Error::SerdeJson(_) => None,
    };
    let status = match kind {
        Some(ErrorKind::Over) => StatusCode::CONFLICT,
        Some(_) => StatusCode::SERVICE_UNAVAILABLE,
        None => StatusCode::INTERNAL_SERVER_ERROR,
    };
    (status, format!("{error}\n"))
}
