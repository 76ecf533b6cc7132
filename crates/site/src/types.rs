//! The media type of a file, from its name.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::media;

/// The types of one site: its own before the table.
pub(crate) struct Types {
    own: BTreeMap<String, String>,
    /// The table is not asked.
    only_own: bool,
    /// What is said of the text of the table.
    charset: String,
}

impl Types {
    /// Takes a site's own types, by suffix without the dot, `*` for every other; whether there are no others; and the
    /// charset that text of the table is said to be in. The suffix of a type that could not be sent as a field's value is
    /// the error.
    pub(crate) fn new(
        own: &BTreeMap<String, String>,
        only_own: bool,
        charset: Option<&str>,
    ) -> Result<Self, String> {
        let sendable = |kind: &str| {
            !kind.is_empty() && kind.bytes().all(|b| b == b' ' || b.is_ascii_graphic())
        };
        match own.iter().find(|(_, kind)| !sendable(kind)) {
            Some((suffix, _)) => Err(suffix.clone()),
            None => Ok(Self {
                own: own
                    .iter()
                    .map(|(suffix, kind)| {
                        let suffix = suffix.trim_start_matches('.').to_ascii_lowercase();
                        (suffix, kind.clone())
                    })
                    .collect(),
                only_own,
                charset: match charset.unwrap_or("utf-8") {
                    "" => String::new(),
                    charset => format!("; charset={charset}"),
                },
            }),
        }
    }

    /// The value of `Content-Type` for a file of this name. Suffixes are compared without case; a site's own may have
    /// several parts (`tar.gz`), and are sent as they are written.
    pub(crate) fn of(&self, name: &[u8]) -> Cow<'_, str> {
        let file = name.rsplit(|&b| b == b'/').next().unwrap_or_default();
        let file = String::from_utf8_lossy(file).to_ascii_lowercase();
        let mut rest = file.as_str();
        let mut kind = None;
        while let Some((_, suffix)) = rest.split_once('.') {
            if let Some(own) = self.own.get(suffix).filter(|_| suffix != "*") {
                return Cow::Borrowed(own);
            }
            kind = (!self.only_own).then(|| media::by_suffix(suffix)).flatten();
            rest = suffix;
        }
        match kind {
            Some(kind) if kind.starts_with("text/") => {
                Cow::Owned(format!("{kind}{}", self.charset))
            }
            Some(kind) => Cow::Borrowed(kind),
            None => Cow::Borrowed(self.own.get("*").map_or(media::DEFAULT, String::as_str)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let pair = |(suffix, kind): &(&str, &str)| ((*suffix).into(), (*kind).into());
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn the_last_suffix_decides_and_text_has_a_charset() {
        let types = Types::new(&BTreeMap::new(), false, None).unwrap();
        for (name, kind) in [
            ("index.html", "text/html; charset=utf-8"),
            ("a/b.c/STYLE.CSS", "text/css; charset=utf-8"),
            ("app.min.js", "text/javascript; charset=utf-8"),
            ("x.tar.gz", "application/gzip"),
            ("photo.jpeg", "image/jpeg"),
            ("data.json", "application/json"),
            ("README", "application/octet-stream"),
            ("dir.d/README", "application/octet-stream"),
            ("x.", "application/octet-stream"),
            (".htaccess", "application/octet-stream"),
        ] {
            assert_eq!(types.of(name.as_bytes()), kind, "{name}");
        }
        assert_eq!(types.of(b"\xff\xfe.png"), "image/png");
        assert_eq!(types.of(b"x.\xff"), "application/octet-stream");
    }

    #[test]
    fn a_sites_own_types_come_first() {
        let types = own(&[("TAR.gz", "application/x-tgz"), (".md", "text/html")]);
        let types = Types::new(&types, false, None).unwrap();
        assert_eq!(types.of(b"a.tar.gz"), "application/x-tgz");
        assert_eq!(types.of(b"b.gz"), "application/gzip");
        assert_eq!(types.of(b"c.md"), "text/html");
    }

    #[test]
    fn the_default_type_and_the_charset_are_the_sites() {
        let types = own(&[("*", "text/plain"), ("md", "text/markdown")]);
        let types = Types::new(&types, false, Some("koi8-r")).unwrap();
        assert_eq!(types.of(b"README"), "text/plain");
        assert_eq!(types.of(b"a.unknown"), "text/plain");
        assert_eq!(types.of(b"a.*"), "text/plain");
        assert_eq!(types.of(b"a.html"), "text/html; charset=koi8-r");
        assert_eq!(types.of(b"a.md"), "text/markdown");
        assert_eq!(types.of(b"a.png"), "image/png");
        let silent = Types::new(&BTreeMap::new(), false, Some("")).unwrap();
        assert_eq!(silent.of(b"a.html"), "text/html");
    }

    #[test]
    fn there_are_no_other_types_where_a_site_has_all_of_them() {
        let own_types = own(&[("html", "text/html"), ("*", "text/plain")]);
        let types = Types::new(&own_types, true, None).unwrap();
        for (name, kind) in [
            ("a.html", "text/html"),
            ("a.tar.html", "text/html"),
            ("a.css", "text/plain"),
            ("a.html.css", "text/plain"),
            ("README", "text/plain"),
        ] {
            assert_eq!(types.of(name.as_bytes()), kind, "{name}");
        }
        let none = Types::new(&BTreeMap::new(), true, None).unwrap();
        assert_eq!(none.of(b"a.html"), "application/octet-stream");
    }

    #[test]
    fn a_type_that_would_break_the_head_is_refused() {
        for kind in ["a/b\r\nSet-Cookie: x", "", "te\u{e9}t/x"] {
            assert_eq!(
                Types::new(&own(&[("x", kind)]), false, None).err(),
                Some("x".into())
            );
        }
    }
}
