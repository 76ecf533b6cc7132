//! The corpora of the fuzz targets, replayed: what once was an interesting input stays without harm.

use std::fs;
use std::path::PathBuf;

#[path = "../../../fuzz/src/memcache.rs"]
mod harness;

fn replay(target: &str, run: fn(&[u8])) {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(target);
    let mut count = 0;
    for entry in fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display())) {
        let path = entry.unwrap().path();
        let input = fs::read(&path).unwrap();
        eprintln!("{}", path.display());
        run(&input);
        // Cut anywhere, too.
        for end in 0..input.len().min(200) {
            run(&input[..end]);
        }
        count += 1;
    }
    assert!(count > 10, "{} has {count} inputs", dir.display());
}

#[test]
fn the_text_parser_takes_its_corpus() {
    replay("memcache_text", harness::text);
}

#[test]
fn the_binary_parser_takes_its_corpus() {
    replay("memcache_binary", harness::binary);
}

#[test]
fn the_server_takes_its_corpus() {
    replay("memcache_server", harness::server);
}
