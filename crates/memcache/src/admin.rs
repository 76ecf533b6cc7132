//! Commands about the server itself: `slabs`, `lru`, `lru_crawler`, `watch`.
//!
//! Most of them tune threads and lists of memcached that are not here. They are read as closely as memcached reads them
//! and answered in its words; what they set is shown by `stats settings`.

use crate::request::WireError;
use crate::text::{signed, unsigned};
use crate::watch;

/// Such a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admin<'a> {
    /// `slabs reassign`: the two classes.
    Reassign(i64, i64),
    /// `slabs automove`.
    Automove(&'a [u8]),
    /// `slabs automove ratio`.
    AutomoveRatio(&'a [u8]),
    /// `lru mode flat`, or `segmented`.
    Flat(bool),
    /// `lru tune`: percents and factors as they were written.
    Tune([&'a [u8]; 4]),
    /// `lru temp_ttl`.
    TemporaryTtl(i64),
    /// `lru_crawler enable`, or `disable`.
    Crawler(bool),
    /// `lru_crawler crawl`: which classes.
    Crawl(&'a [u8]),
    /// `lru_crawler sleep`: microseconds.
    CrawlerSleep(u64),
    /// `lru_crawler tocrawl`.
    CrawlerLimit(u64),
    /// `lru_crawler metadump`: which classes.
    Dump(&'a [u8]),
    /// `lru_crawler mgdump`: which classes.
    MetaDump(&'a [u8]),
    /// `watch`: a sum of the classes of [`crate::watch`].
    Watch(u8),
    /// `refresh_certs`.
    RefreshCertificates,
}

const BAD_FORMAT: WireError = WireError::Client("bad command line format");
const TOO_SLEEPY: WireError = WireError::Client("sleep must be one second or less");
const TOO_HOT: WireError = WireError::Line("ERROR hot and warm pcts must not exceed 80");
const NO_FACTOR: WireError = WireError::Line("ERROR hot/warm age factors must be greater than 0");

/// Reads such a command. `Some(Err)`: it is one, and wrong; `None`: it is none.
pub(crate) fn parse<'a>(
    command: &[u8],
    words: &[&'a [u8]],
) -> Option<Result<Admin<'a>, WireError>> {
    // The last word may say that no answer is wanted; it is none of the command's own.
    let bare = words
        .split_last()
        .filter(|(last, rest)| **last == b"noreply" && !rest.is_empty())
        .map_or(words, |(_, rest)| rest);
    Some(match command {
        b"slabs" => slabs(bare),
        b"lru" => lru(bare),
        b"lru_crawler" => crawler(words),
        b"watch" => classes(words).map(Admin::Watch),
        b"refresh_certs" => Ok(Admin::RefreshCertificates),
        _ => return None,
    })
}

fn slabs<'a>(words: &[&'a [u8]]) -> Result<Admin<'a>, WireError> {
    match *words {
        [b"reassign", from, to] => match (signed(from), signed(to)) {
            (Some(from), Some(to)) => Ok(Admin::Reassign(from, to)),
            _ => Err(BAD_FORMAT),
        },
        [b"automove", b"ratio", ratio] => match number(ratio) {
            Some(_) => Ok(Admin::AutomoveRatio(ratio)),
            None => Err(WireError::Unknown),
        },
        [b"automove", b"ratio"] => Err(WireError::Unknown),
        [b"automove", level] => match unsigned(level) {
            Some(0..=2) => Ok(Admin::Automove(level)),
            Some(_) => Err(WireError::Unknown),
            None => Err(BAD_FORMAT),
        },
        _ => Err(WireError::Unknown),
    }
}

fn lru<'a>(words: &[&'a [u8]]) -> Result<Admin<'a>, WireError> {
    match *words {
        [b"tune", hot, warm, hot_factor, warm_factor, ..] => {
            let percents = unsigned(hot).zip(unsigned(warm));
            let factors = number(hot_factor).zip(number(warm_factor));
            let (Some((hot_percent, warm_percent)), Some((one, other))) = (percents, factors)
            else {
                return Err(WireError::Unknown);
            };
            if hot_percent.saturating_add(warm_percent) > 80 {
                Err(TOO_HOT)
            } else if one <= 0.0 || other <= 0.0 {
                Err(NO_FACTOR)
            } else {
                Ok(Admin::Tune([hot, warm, hot_factor, warm_factor]))
            }
        }
        [b"mode", b"flat", ..] => Ok(Admin::Flat(true)),
        [b"mode", b"segmented", ..] => Ok(Admin::Flat(false)),
        [b"temp_ttl", ttl, ..] => match signed(ttl) {
            Some(ttl) => Ok(Admin::TemporaryTtl(ttl)),
            None => Err(WireError::Unknown),
        },
        _ => Err(WireError::Unknown),
    }
}

fn crawler<'a>(words: &[&'a [u8]]) -> Result<Admin<'a>, WireError> {
    match *words {
        [b"crawl", list] => Ok(Admin::Crawl(list)),
        [b"metadump", list] => Ok(Admin::Dump(list)),
        [b"mgdump", list] => Ok(Admin::MetaDump(list)),
        [b"tocrawl", limit] => match unsigned(limit).filter(|&limit| limit <= u32::MAX.into()) {
            Some(limit) => Ok(Admin::CrawlerLimit(limit)),
            None => Err(BAD_FORMAT),
        },
        [b"sleep", sleep] => match unsigned(sleep) {
            Some(sleep @ 0..=1_000_000) => Ok(Admin::CrawlerSleep(sleep)),
            Some(_) => Err(TOO_SLEEPY),
            None => Err(BAD_FORMAT),
        },
        [b"enable"] => Ok(Admin::Crawler(true)),
        [b"disable"] => Ok(Admin::Crawler(false)),
        _ => Err(WireError::Unknown),
    }
}

fn classes(words: &[&[u8]]) -> Result<u8, WireError> {
    if words.is_empty() {
        return Ok(watch::FETCHERS);
    }
    words.iter().try_fold(0, |sum, word| {
        Ok(sum
            | match *word {
                b"fetchers" => watch::FETCHERS,
                b"mutations" => watch::MUTATIONS,
                b"evictions" => watch::EVICTIONS,
                b"connevents" => watch::CONNECTIONS,
                b"deletions" => watch::DELETIONS,
                // There is no proxy, so nothing of this kind happens.
                b"proxyreqs" | b"proxyevents" | b"proxyuser" => 0,
                _ => return Err(WireError::Unknown),
            })
    })
}

/// A number with or without a fraction.
fn number(word: &[u8]) -> Option<f64> {
    let number: f64 = std::str::from_utf8(word).ok()?.parse().ok()?;
    number.is_finite().then_some(number)
}
