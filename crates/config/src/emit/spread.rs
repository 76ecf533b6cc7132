//! How requests are spread, as text.

use tandem_model::{Backups, Gone, Queue, Retry, Spread, Stick, StickBy, StickCookie};

use super::text::{Pairs, list, quoted};
use crate::duration;
use crate::keys::spread;

/// Puts what differs from the default.
pub(crate) fn put(pairs: &mut Pairs, mine: &Spread) {
    let usual = Spread::default();
    pairs.put_unless("balance", &mine.balance, &usual.balance, |balance| {
        quoted(&spread::show(balance))
    });
    pairs.put_unless("slow-start", &mine.slow_start, &usual.slow_start, |slow| {
        quoted(&duration::show(*slow))
    });
    pairs.put_unless("backups", &mine.backups, &usual.backups, |backups| {
        quoted(match backups {
            Backups::First => "first",
            Backups::All => "all",
        })
    });
    pairs.put_unless("cut", &mine.cut, &usual.cut, |cut| {
        let words = [(cut.down, "down"), (cut.backups, "backups")].into_iter();
        let words = words.filter(|(wanted, _)| *wanted);
        list(words.map(|(_, word)| quoted(word)))
    });
    pairs.put_unless("retry", &mine.retry, &usual.retry, retry);
    if let Some(mine) = &mine.stick {
        pairs.put("stick", stick(mine));
    }
    pairs.put_unless("queue", &mine.queue, &usual.queue, queue);
}

pub(crate) fn retry(mine: &Retry) -> String {
    let usual = Retry::default();
    let mut table = Pairs::default();
    table.put("tries", mine.tries.to_string());
    if let Some(timeout) = mine.timeout {
        table.put("timeout", quoted(&duration::show(timeout)));
    }
    if let Some(budget) = mine.budget {
        table.put("budget", quoted(&format!("{budget}%")));
    }
    table.put_unless("on", &mine.on, &usual.on, |on| {
        list(on.iter().map(ToString::to_string))
    });
    if table.len() == 1 {
        mine.tries.to_string()
    } else {
        table.inline()
    }
}

fn queue(mine: &Queue) -> String {
    let usual = Queue::default();
    let mut table = Pairs::default();
    table.put_unless("max", &mine.max, &usual.max, ToString::to_string);
    table.put_unless("timeout", &mine.timeout, &usual.timeout, |timeout| {
        quoted(&duration::show(*timeout))
    });
    table.inline()
}

pub(crate) fn stick(mine: &Stick) -> String {
    let mut table = Pairs::default();
    match &mine.by {
        StickBy::Cookie(cookie) => {
            table.put("by", quoted("cookie"));
            put_cookie(&mut table, cookie);
        }
        StickBy::Prefix { name } => {
            table.put("by", quoted("prefix"));
            table.put("name", quoted(name));
        }
        StickBy::JvmRoute { name } => {
            table.put("by", quoted("jvm-route"));
            table.put("name", quoted(name));
        }
        StickBy::Source { expires } => {
            table.put("by", quoted("source"));
            table.put("expires", quoted(&duration::show(*expires)));
        }
    }
    table.put_unless("gone", &mine.gone, &Gone::Rebalance, |_| quoted("fail"));
    table.inline()
}

fn put_cookie(table: &mut Pairs, mine: &StickCookie) {
    let usual = StickCookie::default();
    table.put_unless("name", &mine.name, &usual.name, |name| quoted(name));
    table.put_unless("signed", &mine.signed, &usual.signed, ToString::to_string);
    table.put_unless("path", &mine.path, &usual.path, |path| quoted(path));
    if let Some(domain) = &mine.domain {
        table.put("domain", quoted(domain));
    }
    if let Some(secure) = mine.secure {
        table.put("secure", secure.to_string());
    }
    table.put_unless(
        "http-only",
        &mine.http_only,
        &usual.http_only,
        ToString::to_string,
    );
    table.put_unless("same-site", &mine.same_site, &usual.same_site, |same| {
        same.map_or_else(
            || "false".into(),
            |same| quoted(&same.name().to_lowercase()),
        )
    });
    if let Some(age) = mine.max_age {
        table.put("max-age", quoted(&duration::show(age)));
    }
}
