//! Commands about the server itself, from what they ask to their answer.

use std::io;

use tokio::io::AsyncWrite;

use super::{Exchange, gather_stats};
use crate::admin::Admin;
use crate::extended::Details;
use crate::keyspace::{Hit, Keyspace, Sink};
use crate::op::Reply;
use crate::request::WireError;
use crate::settings::yes;
use crate::text::{self, reply};

const BAD_CLASS: WireError = WireError::Line("BADCLASS invalid class id");

impl<S: AsyncWrite + Unpin, K: Keyspace + ?Sized> Exchange<'_, '_, S, K> {
    pub(super) async fn admin(&mut self, admin: Admin<'_>) -> io::Result<()> {
        let stats = &self.cx.stats;
        let count = stats.classes().count() as i64;
        let error = match admin {
            Admin::Reassign(from, to) => Some(if from == to {
                WireError::Line("SAME src and dst class are identical")
            } else if !(0..=count).contains(&from) || !(0..=count).contains(&to) {
                WireError::Line("BADCLASS invalid src or dst class id")
            } else {
                // There are no pages that belong to a class.
                WireError::Line("NOSPARE source class has no spare pages")
            }),
            Admin::Automove(level) => {
                self.show("slab_automove", level);
                None
            }
            Admin::AutomoveRatio(ratio) => {
                self.show("slab_automove_ratio", ratio);
                None
            }
            Admin::Flat(_) | Admin::TemporaryTtl(_)
                if !stats.settings.is_on("lru_maintainer_thread") =>
            {
                Some(WireError::Unknown)
            }
            Admin::Flat(flat) => {
                stats.settings.set("lru_segmented", yes(!flat));
                None
            }
            Admin::Tune(values) => {
                let names = [
                    "hot_lru_pct",
                    "warm_lru_pct",
                    "hot_max_factor",
                    "warm_max_factor",
                ];
                for (name, value) in names.into_iter().zip(values) {
                    self.show(name, value);
                }
                None
            }
            Admin::TemporaryTtl(ttl) => {
                stats.settings.set("temp_lru", yes(ttl >= 0));
                if ttl >= 0 {
                    stats.settings.set("temporary_ttl", ttl.to_string());
                }
                None
            }
            Admin::Crawler(on) => {
                let before = stats.settings.is_on("lru_crawler");
                stats.settings.set("lru_crawler", yes(on));
                (on && before)
                    .then_some(WireError::Line("ERROR failed to start lru crawler thread"))
            }
            Admin::CrawlerSleep(sleep) => {
                stats.settings.set("lru_crawler_sleep", sleep.to_string());
                None
            }
            Admin::CrawlerLimit(limit) => {
                stats.settings.set("lru_crawler_tocrawl", limit.to_string());
                None
            }
            Admin::Crawl(_) | Admin::Dump(_) | Admin::MetaDump(_)
                if !stats.settings.is_on("lru_crawler") =>
            {
                Some(WireError::Client("lru crawler disabled"))
            }
            Admin::Crawl(list) => match stats.classes().chosen(list) {
                None => Some(BAD_CLASS),
                Some(_) => {
                    self.keyspace.collect();
                    None
                }
            },
            Admin::Dump(_) | Admin::MetaDump(_) if !self.cx.options.dump => {
                Some(WireError::Line("ERROR metadump not allowed"))
            }
            Admin::Dump(list) => match stats.classes().chosen(list) {
                None => Some(BAD_CLASS),
                Some(chosen) => return self.dump(chosen).await,
            },
            Admin::MetaDump(list) => match stats.classes().chosen(list) {
                None => Some(BAD_CLASS),
                Some(chosen) => return self.meta_dump(chosen).await,
            },
            // The loop has seen to it before, or it is not allowed.
            Admin::Watch(_) => Some(WireError::Client("watch commands not allowed")),
            Admin::RefreshCertificates => Some(WireError::Line("Error TLS not enabled")),
        };
        match error {
            Some(error) => self.refuse(error),
            None => self.answer(&Reply::Ok),
        }
        Ok(())
    }

    fn show(&self, name: &str, value: &[u8]) {
        let value = String::from_utf8_lossy(value).into_owned();
        self.cx.stats.settings.set(name, value);
    }

    /// `lru_crawler metadump`: all items of the chosen classes, a part at a time.
    async fn dump(&mut self, chosen: u64) -> io::Result<()> {
        let unix_now = (self.cx.options.unix_clock)();
        let classes = self.cx.stats.classes();
        let mut part = Some(0);
        while let Some(number) = part {
            let mut lines = reply::Dump::new(self.output.bytes(), unix_now, classes, chosen);
            part = self.keyspace.dump(number, &mut lines);
            if self.output.is_full() {
                self.output.flush(self.stream).await?;
            }
        }
        self.answer(&Reply::End);
        Ok(())
    }

    /// `lru_crawler mgdump`: their keys, as `mg` commands that ask for them.
    async fn meta_dump(&mut self, chosen: u64) -> io::Result<()> {
        let classes = self.cx.stats.classes();
        let mut part = Some(0);
        while let Some(number) = part {
            let mut keys = MetaKeys {
                out: self.output.bytes(),
                of: |size| chosen >> classes.of(size) & 1 == 1,
            };
            part = self.keyspace.dump(number, &mut keys);
            if self.output.is_full() {
                self.output.flush(self.stream).await?;
            }
        }
        self.output.bytes().extend_from_slice(b"EN\r\n");
        Ok(())
    }

    pub(super) async fn stats(&mut self, argument: &[u8]) {
        let stats = &self.cx.stats;
        let mut words = argument
            .split(|&b| b == b' ')
            .filter(|word| !word.is_empty());
        let word = words.next().unwrap_or_default();
        match word {
            b"cachedump" => {
                let rest: Vec<_> = words.collect();
                return self.cachedump(&rest);
            }
            b"detail" => {
                match words.next() {
                    Some(b"on") => stats.set_detail(true),
                    Some(b"off") => stats.set_detail(false),
                    Some(b"dump") => return stats.prefixes.dump(self.output.bytes()),
                    _ => {
                        return self.refuse(WireError::Client("usage: stats detail on|off|dump"));
                    }
                }
                return self.answer(&Reply::Ok);
            }
            b"sizes_enable" | b"sizes_disable" => {
                let on = word == b"sizes_enable";
                stats.settings.set("track_sizes", yes(on));
                let status = if on { "enabled" } else { "disabled" };
                let line = format!("STAT sizes_status {status}\r\n");
                return self.output.bytes().extend_from_slice(line.as_bytes());
            }
            _ => {}
        }
        match gather_stats(self.keyspace, self.cx, self.number, argument).await {
            None => self.refuse(WireError::Unknown),
            Some(Reply::Ok) if word == b"reset" => {
                self.output.bytes().extend_from_slice(b"RESET\r\n");
            }
            Some(reply) => self.answer(&reply),
        }
    }

    /// `stats cachedump CLASS LIMIT`: some items of a class.
    fn cachedump(&mut self, words: &[&[u8]]) {
        let refuse = |words| WireError::Client(words);
        if !self.cx.options.dump {
            return self.refuse(refuse("stats cachedump not allowed"));
        }
        let [class, limit, ..] = words else {
            return self.refuse(refuse("bad command line"));
        };
        let numbers = text::unsigned(class).zip(text::unsigned(limit));
        let Some((class, limit)) = numbers else {
            return self.refuse(refuse("bad command line format"));
        };
        if class > 63 {
            return self.refuse(refuse("Illegal slab id"));
        }
        let unix_now = (self.cx.options.unix_clock)();
        let classes = self.cx.stats.classes();
        let out = self.output.bytes();
        let mut items = reply::CacheDump::new(out, unix_now, limit, classes, class as usize);
        let mut part = Some(0);
        while let Some(number) = part.filter(|_| !items.is_full()) {
            part = self.keyspace.dump(number, &mut items);
        }
        self.answer(&Reply::End);
    }
}

/// Writes items as `mg` commands.
struct MetaKeys<'o, F> {
    out: &'o mut Vec<u8>,
    /// Whether items of so many bytes are wanted.
    of: F,
}

impl<F: Fn(usize) -> bool> Sink for MetaKeys<'_, F> {
    fn hit(&mut self, hit: Hit<'_>) {
        if !(self.of)(crate::item_size(hit.key.len(), hit.flags, hit.value.len())) {
            return;
        }
        self.out.extend_from_slice(b"mg ");
        if text::is_key(hit.key) {
            self.out.extend_from_slice(hit.key);
            self.out.extend_from_slice(b"\r\n");
        } else {
            crate::meta::base64::encode(self.out, hit.key);
            self.out.extend_from_slice(b" b\r\n");
        }
    }

    fn detailed(&mut self, hit: Hit<'_>, _: Details) {
        self.hit(hit);
    }
}
