//! Step 8b: a Flash video from the middle, for players that seek by asking for `?start=BYTES`.

/// What stands before a part, so that it is a video of its own: the head of a file with sound and picture, 9 bytes long,
/// and the size of the tag before the first, which is none (Video File Format Specification 10, annex E.2 and E.3).
pub(crate) const HEAD: &[u8; 13] = b"FLV\x01\x05\0\0\0\x09\0\0\0\0";

/// Where to begin: `start` in the query for a file named `.flv`. `None` is the whole file, as it is for what is no
/// number, 0, or lies behind the end.
pub(crate) fn start(path: &[u8], query: &[u8], size: u64) -> Option<u64> {
    if query.is_empty() || !is_flv(path) {
        return None;
    }
    let mut pairs = query.split(|&b| b == b'&');
    let value = pairs.find_map(|pair| pair.strip_prefix(b"start="))?;
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let start: u64 = std::str::from_utf8(value).ok()?.parse().ok()?;
    (0 < start && start < size).then_some(start)
}

fn is_flv(path: &[u8]) -> bool {
    let suffix = path.len().checked_sub(4).map(|at| &path[at..]);
    suffix.is_some_and(|suffix| suffix.eq_ignore_ascii_case(b".flv"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_video_begins_where_the_query_says() {
        let read = |path: &str, query: &str| start(path.as_bytes(), query.as_bytes(), 100);
        for (path, query, expected) in [
            ("/a.flv", "start=7", Some(7)),
            ("/A.FLV", "x=1&start=99&start=3", Some(99)),
            ("/a.flv", "", None),
            ("/a.flv", "start=0", None),
            ("/a.flv", "start=100", None),
            ("/a.flv", "start=-1", None),
            ("/a.flv", "start=+1", None),
            ("/a.flv", "start=", None),
            ("/a.flv", "start=99999999999999999999999", None),
            ("/a.flv", "restart=7", None),
            ("/a.mp4", "start=7", None),
            ("/flv", "start=7", None),
        ] {
            assert_eq!(read(path, query), expected, "{path}?{query}");
        }
    }
}
