//! Two client libraries for Rust, each with every operation it offers, against the server at the port that is given.

use std::collections::HashMap;

use async_memcached::{AsciiProtocol, MetaProtocol};
use memcache::exp::MetaClient;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port = std::env::args().nth(1).ok_or("which port?")?;
    // The binary protocol is this library's default.
    memcache_client(&memcache::connect(format!("memcache://127.0.0.1:{port}"))?)?;
    memcache_client(&memcache::connect(format!(
        "memcache://127.0.0.1:{port}?protocol=ascii"
    ))?)?;
    memcache_meta(&MetaClient::connect(format!("127.0.0.1:{port}"))?)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async_client(&port))?;
    println!("all operations of memcache and async-memcached");
    Ok(())
}

fn memcache_client(client: &memcache::Client) -> Result<(), memcache::MemcacheError> {
    assert!(client.version()?[0].1.starts_with("1.6."));
    client.flush()?;
    client.set("a", "one", 60)?;
    client.set("number", 5u64, 0)?;
    assert_eq!(client.get::<String>("a")?.as_deref(), Some("one"));
    assert_eq!(client.get::<String>("none")?, None);
    let many: HashMap<String, String> = client.gets(&["a", "number", "none"])?;
    assert_eq!(many.len(), 2);
    let (_, _, cas): (Vec<u8>, u32, Option<u64>) = client.get("a")?.expect("it was set");
    let many: HashMap<String, (Vec<u8>, u32, Option<u64>)> = client.gets(&["a"])?;
    let cas = many["a"].2.or(cas).expect("gets shows it");
    assert!(client.cas("a", "two", 60, cas)?);
    assert!(!client.cas("a", "three", 60, cas)?);
    // Whether the condition held it tells in one protocol only; that nothing was stored shows in both.
    let _ = client.add("a", "x", 60);
    assert_eq!(client.get::<String>("a")?.as_deref(), Some("two"));
    client.add("b", "x", 60)?;
    client.replace("b", "y", 60)?;
    let _ = client.replace("none", "y", 60);
    assert_eq!(client.get::<String>("none")?, None);
    client.append("b", "z")?;
    client.prepend("b", "x")?;
    assert_eq!(client.get::<String>("b")?.as_deref(), Some("xyz"));
    assert_eq!(client.increment("number", 10)?, 15);
    assert_eq!(client.decrement("number", 100)?, 0);
    assert!(client.touch("a", 100)? && !client.touch("none", 1)?);
    assert!(client.delete("a")? && !client.delete("a")?);
    let large = vec![7u8; 1_000_000];
    client.set("large", &large[..], 0)?;
    assert_eq!(client.get::<Vec<u8>>("large")?.as_deref(), Some(&large[..]));
    // It reads them in one protocol and shows none of them in the other.
    client.stats()?;
    client.flush_with_delay(1000)?;
    client.flush()?;
    assert_eq!(client.get::<String>("b")?, None);
    Ok(())
}

fn memcache_meta(client: &MetaClient) -> Result<(), Box<dyn std::error::Error>> {
    client.noop()?;
    let stored = client
        .set("m", "value")
        .ttl_raw(60)
        .client_flags(7)
        .return_cas()
        .send()?;
    println!("{stored:?}");
    println!("{:?}", client.get("m").send()?);
    println!("{:?}", client.get("m").touch_raw(90).no_lru_bump().send()?);
    println!("{:?}", client.get("m").without_value().send()?);
    println!("{:?}", client.get("leased").lease_ttl(30).send()?);
    println!(
        "{:?}",
        client.get("m").lease_ttl(30).refresh_before(120).send()?
    );
    println!("{:?}", client.get(b"\x00binary\xff").send()?);
    println!("{:?}", client.set(b"\x00binary\xff", "x").send()?);
    println!("{:?}", client.set("m", "x").add().send()?);
    println!("{:?}", client.set("m", "x").replace().send()?);
    println!("{:?}", client.set("m", "y").append().vivify_ttl(60).send()?);
    println!("{:?}", client.set("m", "w").prepend().send()?);
    println!("{:?}", client.set("m", "w").compare_cas(1).send()?);
    println!(
        "{:?}",
        client.set("m", "w").force_cas(77).return_cas().send()?
    );
    println!(
        "{:?}",
        client
            .increment("n")
            .initial(5, 60)
            .return_ttl()
            .return_cas()
            .send()?
    );
    println!("{:?}", client.increment("n").delta(10).send()?);
    println!("{:?}", client.decrement("n").delta(3).send()?);
    println!(
        "{:?}",
        client.delete("m").invalidate().stale_for_raw(30).send()?
    );
    println!("{:?}", client.get("m").send()?);
    println!("{:?}", client.delete("m").send()?);
    let debug = client.debug("n")?.ok_or("it was counted")?;
    assert!(debug.contains_key("size") && debug.contains_key("cls"));
    assert_eq!(client.debug("none")?, None);
    Ok(())
}

async fn async_client(port: &str) -> Result<(), Box<dyn std::error::Error>> {
    let mut client = async_memcached::Client::new(format!("tcp://127.0.0.1:{port}")).await?;
    assert!(client.version().await?.contains("1.6."));
    client.flush_all().await?;
    client.set("a", "one", Some(60), Some(7)).await?;
    let value = client.get("a").await?.ok_or("it was set")?;
    assert_eq!(
        (value.data.as_deref(), value.flags),
        (Some(&b"one"[..]), Some(7))
    );
    assert!(client.get("none").await?.is_none());
    let stored = client
        .set_multi(&[("x", "1"), ("y", "2")], None, None)
        .await?;
    assert!(stored.len() == 2 && stored.values().all(Result::is_ok));
    assert_eq!(client.get_multi(["x", "y", "none"]).await?.len(), 2);
    assert!(client.add("a", "again", None, None).await.is_err());
    client.add("b", "new", None, None).await?;
    let added = client
        .add_multi(&[("b", "1"), ("c", "2")], None, None)
        .await?;
    assert!(added[&"b"].is_err() && added[&"c"].is_ok());
    client.set("n", 10u64, None, None).await?;
    assert_eq!(client.increment("n", 5).await?, 15);
    assert_eq!(client.decrement("n", 20).await?, 0);
    client.increment_no_reply("n", 3).await?;
    client.decrement_no_reply("n", 1).await?;
    assert_eq!(client.increment("n", 0).await?, 2);
    client.delete("b").await?;
    assert!(client.delete("b").await.is_err());
    client.delete_no_reply("c").await?;
    client.delete_multi_no_reply(&["x", "y"]).await?;
    for key in ["b", "c", "x", "y"] {
        assert!(client.get(key).await?.is_none());
    }

    let flags = |flags: &'static [&'static str]| Some(flags);
    client
        .meta_set(
            "m",
            "value",
            false,
            Some(b"77"),
            flags(&["k", "s", "c", "T60", "F3"]),
        )
        .await?;
    let got = client
        .meta_get(
            "m",
            false,
            Some(b"9"),
            flags(&["v", "h", "l", "t", "f", "s", "c", "k"]),
        )
        .await?;
    let got = got.ok_or("it was set")?;
    assert_eq!(got.data.as_deref(), Some(&b"value"[..]));
    assert_eq!(
        (got.flags, got.size, got.hit_before),
        (Some(3), Some(5), Some(false))
    );
    assert!(
        client
            .meta_get("none", true, None, flags(&["v"]))
            .await?
            .is_none()
    );
    client.meta_set("m2", "x", true, None, None).await?;
    assert_eq!(
        client
            .meta_get_multi(&["m", "m2", "none"], flags(&["v"]))
            .await?
            .len(),
        2
    );
    client
        .meta_set_multi(&[("m3", "1"), ("m4", "2")], None)
        .await?;
    let counted = client
        .meta_increment("mn", false, None, Some(2), flags(&["N60", "J40", "v"]))
        .await?;
    assert_eq!(
        counted.and_then(|value| value.data).as_deref(),
        Some(&b"40"[..])
    );
    let counted = client
        .meta_decrement("mn", false, None, Some(2), flags(&["v"]))
        .await?;
    assert_eq!(
        counted.and_then(|value| value.data).as_deref(),
        Some(&b"38"[..])
    );
    client
        .meta_delete("m", false, None, flags(&["I", "T30"]))
        .await?;
    let stale = client
        .meta_get("m", false, None, flags(&["v"]))
        .await?
        .ok_or("it is stale, not gone")?;
    assert_eq!(stale.is_stale, Some(true));
    client.meta_delete("m", true, None, None).await?;
    assert!(
        client
            .meta_get("m", false, None, flags(&["v"]))
            .await?
            .is_none()
    );

    let mut keys = 0;
    let mut dump = client.dump_keys().await?;
    while let Some(key) = dump.next().await {
        assert!(!key?.key.is_empty());
        keys += 1;
    }
    drop(dump);
    assert!(keys >= 4, "{keys} keys");
    assert!(client.stats().await?.contains_key("curr_items"));
    Ok(())
}
