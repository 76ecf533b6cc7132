//! memcached's protocols: the parsers by themselves, and the server loop over a cache.
//!
//! The promise: whatever the bytes are, nothing panics, and every step makes headway or says how many bytes it waits for.

use std::sync::Arc;

use tandem_cache::{Cache, CacheKeyspace, CacheOptions, Clock};
use tandem_memcache::{
    Limits, ServerContext, ServerOptions, ServerStats, binary, request, serve_connection, text,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

const LIMITS: Limits = Limits { max_value: 4096 };

/// The text protocol, meta commands included.
pub fn text(mut input: &[u8]) {
    let mut scanned = 0;
    loop {
        let consumed = match text::parse(input, scanned, LIMITS) {
            request::Parsed::Request { consumed, .. } => consumed,
            request::Parsed::Refused(refusal) => {
                let swallow = usize::try_from(refusal.swallow).expect("no more than a length says");
                refusal.consumed + swallow.min(input.len() - refusal.consumed)
            }
            request::Parsed::Close(_) => return,
            request::Parsed::More {
                need,
                scanned: known,
            } => {
                assert!(need > input.len(), "it waits for what is there");
                assert!(known <= input.len());
                if scanned == known || known == 0 {
                    return;
                }
                scanned = known;
                continue;
            }
        };
        assert!((1..=input.len()).contains(&consumed), "no headway");
        input = &input[consumed..];
        scanned = 0;
    }
}

/// The binary protocol.
pub fn binary(mut input: &[u8]) {
    let sasl = input.first().is_some_and(|first| first & 1 == 1);
    input = input.get(1..).unwrap_or_default();
    loop {
        let consumed = match binary::parse(input, LIMITS, sasl) {
            binary::Parsed::Request { consumed, .. } => consumed,
            binary::Parsed::Refused {
                consumed, swallow, ..
            } => {
                let swallow = usize::try_from(swallow).expect("no more than 32 bits");
                consumed + swallow.min(input.len() - consumed)
            }
            binary::Parsed::Close(_) => return,
            binary::Parsed::More { need } => {
                assert!(need > input.len(), "it waits for what is there");
                return;
            }
        };
        assert!((1..=input.len()).contains(&consumed), "no headway");
        input = &input[consumed..];
    }
}

/// A whole conversation with a small cache.
pub fn server(input: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime");
    let cache = Cache::new(CacheOptions {
        memory: 64 * 1024,
        max_item: 8 * 1024,
        ..CacheOptions::default()
    });
    let keyspace = CacheKeyspace::new(Arc::new(cache), Clock::standing(1_000_000));
    let mut options = ServerOptions::new("1.6.38", || 1_800_000_000);
    options.max_value = 8 * 1024;
    // A connection that watches has no end of its own.
    options.watch = false;
    let stats = Arc::new(ServerStats::new(1, 10, 0));
    let cx = ServerContext::new(options, stats, 0);
    let (client, server) = duplex(1 << 16);
    let (mut receive, mut send) = tokio::io::split(client);
    runtime.block_on(async {
        let writing = async {
            let _ = send.write_all(input).await;
            let _ = send.shutdown().await;
        };
        let reading = async {
            let mut answers = Vec::new();
            let _ = receive.read_to_end(&mut answers).await;
        };
        let _ = tokio::join!(serve_connection(server, &keyspace, &cx), writing, reading);
    });
}
