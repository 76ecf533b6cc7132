//! A cache behind the server loop, without sockets.

#![allow(dead_code, reason = "each test program uses a part")]

pub mod peer;

use std::sync::Arc;
use std::time::Duration;

use tandem_cache::{Cache, CacheKeyspace, CacheOptions, Clock};
use tandem_memcache::{MAX_VALUE, ServerContext, ServerOptions, ServerStats, serve_connection};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::time::timeout;

/// After this a test has failed: nothing here takes long.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// 2027-01-15, for every test.
pub fn unix_clock() -> u64 {
    1_800_000_000
}

/// A cache and its clock, which stands.
pub fn keyspace(options: CacheOptions) -> CacheKeyspace {
    CacheKeyspace::new(Arc::new(Cache::new(options)), Clock::standing(1_000_000))
}

/// A server's context with memcached's limits.
pub fn context() -> ServerContext {
    context_with(&[])
}

/// The same, with other lines of `stats settings`.
pub fn context_with(settings: &[(&str, &str)]) -> ServerContext {
    let own = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
    let stats = ServerStats::new(1, 100, unix_clock());
    let stats = stats.with_settings(settings.iter().map(own).collect());
    let mut options = ServerOptions::new("1.6.18", unix_clock);
    options.max_value = MAX_VALUE;
    ServerContext::new(options, Arc::new(stats), 0)
}

/// Sends `pieces` one after the other, each only when the one before was taken, then ends; returns all answers.
pub async fn talk(keyspace: &CacheKeyspace, cx: &ServerContext, pieces: &[&[u8]]) -> Vec<u8> {
    let (client, server) = duplex(64 * 1024);
    let (mut receive, mut send) = tokio::io::split(client);
    let writing = async {
        for piece in pieces {
            // The server may have closed: what it answered is what counts.
            if send.write_all(piece).await.is_err() {
                break;
            }
            // So that the server sees the piece by itself.
            tokio::task::yield_now().await;
        }
        let _ = send.shutdown().await;
    };
    let reading = async {
        let mut answers = Vec::new();
        receive.read_to_end(&mut answers).await.map(|_| answers)
    };
    let serving = serve_connection(server, keyspace, cx);
    let all = async { tokio::join!(serving, writing, reading) };
    let (_, (), answers) = timeout(DEADLINE, all).await.expect("the loop hangs");
    answers.expect("a duplex can be read to its end")
}
