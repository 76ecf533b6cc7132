//! Step 7: conditions (RFC 9110 section 13).

use std::borrow::Cow;

use tandem_http::Request;

use crate::date;

/// The fields of a request that make its answer conditional or partial. A field that came several times is one with
/// its values joined by commas (RFC 9110 section 5.2), which for other than lists of tags makes it unreadable, and so
/// ignored.
#[derive(Default)]
pub(crate) struct Conditions<'a> {
    if_match: Option<Cow<'a, [u8]>>,
    if_none_match: Option<Cow<'a, [u8]>>,
    if_modified_since: Option<Cow<'a, [u8]>>,
    if_unmodified_since: Option<Cow<'a, [u8]>>,
    if_range: Option<Cow<'a, [u8]>>,
    range: Option<Cow<'a, [u8]>>,
    accept_encoding: Option<Cow<'a, [u8]>>,
}

/// What a file is compared by.
#[derive(Clone, Copy)]
pub(crate) struct Validators<'a> {
    /// The entity tag, with its quotes, without `W/`.
    pub(crate) etag: &'a [u8],
    /// The tag is weak: the bytes of another time may be others.
    pub(crate) weak: bool,
    /// The last modification, in seconds since 1970.
    pub(crate) modified: i64,
}

/// What the conditions come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Answer as if there were none.
    Proceed,
    /// The client has it: 304.
    NotModified,
    /// 412.
    Failed,
}

impl<'a> Conditions<'a> {
    /// Picks them from a request in one pass.
    pub(crate) fn of(request: &Request<'a>) -> Self {
        let mut found = Self::default();
        if !request.head.has_conditions() {
            return found;
        }
        for (name, value) in request.fields() {
            // Most fields end at their length.
            let slot = match name.len() {
                5 if name.eq_ignore_ascii_case(b"range") => &mut found.range,
                8 if name.eq_ignore_ascii_case(b"if-match") => &mut found.if_match,
                8 if name.eq_ignore_ascii_case(b"if-range") => &mut found.if_range,
                13 if name.eq_ignore_ascii_case(b"if-none-match") => &mut found.if_none_match,
                15 if name.eq_ignore_ascii_case(b"accept-encoding") => &mut found.accept_encoding,
                17 if name.eq_ignore_ascii_case(b"if-modified-since") => {
                    &mut found.if_modified_since
                }
                19 if name.eq_ignore_ascii_case(b"if-unmodified-since") => {
                    &mut found.if_unmodified_since
                }
                _ => continue,
            };
            *slot = Some(match slot.take() {
                None => Cow::Borrowed(value),
                Some(before) => Cow::Owned([&before, b", ".as_slice(), value].concat()),
            });
        }
        found
    }

    /// The same, independent of the request's bytes.
    pub(crate) fn into_owned(self) -> Conditions<'static> {
        let own = |field: Option<Cow<'a, [u8]>>| field.map(|value| Cow::Owned(value.into_owned()));
        Conditions {
            if_match: own(self.if_match),
            if_none_match: own(self.if_none_match),
            if_modified_since: own(self.if_modified_since),
            if_unmodified_since: own(self.if_unmodified_since),
            if_range: own(self.if_range),
            range: own(self.range),
            accept_encoding: own(self.accept_encoding),
        }
    }

    /// The order is that of RFC 9110 section 13.2.2, for GET and HEAD.
    pub(crate) fn verdict(&self, file: Validators<'_>) -> Verdict {
        let date = |field: &Option<Cow<'a, [u8]>>| field.as_deref().and_then(date::parse);
        if let Some(tags) = &self.if_match {
            if !lists(tags, file, Comparison::Strong) {
                return Verdict::Failed;
            }
        } else if let Some(since) = date(&self.if_unmodified_since)
            && file.modified > since
        {
            return Verdict::Failed;
        }
        if let Some(tags) = &self.if_none_match {
            if lists(tags, file, Comparison::Weak) {
                return Verdict::NotModified;
            }
        } else if let Some(since) = date(&self.if_modified_since)
            && file.modified <= since
        {
            return Verdict::NotModified;
        }
        Verdict::Proceed
    }

    /// What the client says of codings.
    pub(crate) fn accept_encoding(&self) -> Option<&[u8]> {
        self.accept_encoding.as_deref()
    }

    /// The Range field, unless If-Range says that the client's part is of another version. `now` is in seconds since
    /// 1970.
    pub(crate) fn range(&self, file: Validators<'_>, now: impl FnOnce() -> i64) -> Option<&[u8]> {
        let range = self.range.as_deref()?;
        let current = match self.if_range.as_deref() {
            None => true,
            Some(tag) if tag.ends_with(b"\"") => !file.weak && tag == file.etag,
            // A date is a strong validator only when the file was left alone for a second after it (RFC 9110
            // section 8.8.2.2): another change within that second would not show.
            Some(date) => date::parse(date) == Some(file.modified) && file.modified < now(),
        };
        current.then_some(range)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Strong,
    Weak,
}

/// Whether a list of entity tags names that of `file` (RFC 9110 section 8.8.3.2). What follows the first thing that is
/// no tag is not looked at.
fn lists(tags: &[u8], file: Validators<'_>, comparison: Comparison) -> bool {
    if tags == b"*" {
        return true;
    }
    let mut rest = tags;
    loop {
        while let [b' ' | b'\t' | b',', after @ ..] = rest {
            rest = after;
        }
        let weak = rest.strip_prefix(b"W/");
        let tag = weak.unwrap_or(rest);
        let Some(end) = tag
            .strip_prefix(b"\"")
            .and_then(|inner| inner.iter().position(|&b| b == b'"'))
        else {
            return false;
        };
        let (tag, after) = tag.split_at(end + 2);
        let both_strong = weak.is_none() && !file.weak;
        if tag == file.etag && (both_strong || comparison == Comparison::Weak) {
            return true;
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// 06 Nov 1994 08:49:37.
    const FILE: Validators<'static> = Validators {
        etag: b"\"abc-1\"",
        weak: false,
        modified: 784_111_777,
    };
    const SAME: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    fn conditions(fields: &[(&str, &'static str)]) -> Conditions<'static> {
        let mut found = Conditions::default();
        for (name, value) in fields {
            let slot = match *name {
                "match" => &mut found.if_match,
                "none" => &mut found.if_none_match,
                "since" => &mut found.if_modified_since,
                "unless" => &mut found.if_unmodified_since,
                "if-range" => &mut found.if_range,
                _ => &mut found.range,
            };
            *slot = Some(Cow::Borrowed(value.as_bytes()));
        }
        found
    }

    #[test]
    fn each_condition_means_what_the_rfc_says() {
        use Verdict::{Failed, NotModified, Proceed};
        for (fields, expected) in [
            (&[][..], Proceed),
            (&[("match", "\"abc-1\"")], Proceed),
            (&[("match", "*")], Proceed),
            (&[("match", "\"x\", \"abc-1\"")], Proceed),
            (&[("match", "\"x\"")], Failed),
            (&[("match", "W/\"abc-1\"")], Failed),
            (&[("match", "abc-1")], Failed),
            (&[("unless", SAME)], Proceed),
            (&[("unless", AFTER)], Proceed),
            (&[("unless", BEFORE)], Failed),
            (&[("unless", "yesterday")], Proceed),
            (&[("none", "\"abc-1\"")], NotModified),
            (&[("none", "W/\"abc-1\"")], NotModified),
            (&[("none", "*")], NotModified),
            (&[("none", "\"x,y\" , ,W/\"z\",\"abc-1\"")], NotModified),
            (&[("none", "\"x\"")], Proceed),
            (&[("none", "\"x")], Proceed),
            (&[("since", SAME)], NotModified),
            (&[("since", AFTER)], NotModified),
            (&[("since", BEFORE)], Proceed),
            (&[("since", "0")], Proceed),
            // Tags are believed before dates.
            (&[("match", "\"abc-1\""), ("unless", BEFORE)], Proceed),
            (&[("none", "\"x\""), ("since", AFTER)], Proceed),
            (&[("none", "\"abc-1\""), ("since", BEFORE)], NotModified),
            // What must hold comes before what spares the body.
            (&[("match", "\"x\""), ("none", "\"abc-1\"")], Failed),
            (&[("unless", BEFORE), ("since", SAME)], Failed),
            (
                &[("match", "\"abc-1\""), ("none", "\"abc-1\"")],
                NotModified,
            ),
        ] {
            assert_eq!(conditions(fields).verdict(FILE), expected, "{fields:?}");
        }
    }

    #[test]
    fn a_range_holds_only_for_the_version_the_client_has() {
        let later = || FILE.modified + 10;
        for (if_range, holds) in [
            ("\"abc-1\"", true),
            ("W/\"abc-1\"", false),
            ("\"x\"", false),
            (SAME, true),
            (BEFORE, false),
            (AFTER, false),
            ("nonsense", false),
        ] {
            let fields = conditions(&[("range", "bytes=0-1"), ("if-range", if_range)]);
            assert_eq!(fields.range(FILE, later).is_some(), holds, "{if_range}");
        }
        assert!(
            conditions(&[("range", "bytes=0-1")])
                .range(FILE, later)
                .is_some()
        );
        let just_now = || FILE.modified;
        let fields = conditions(&[("range", "bytes=0-1"), ("if-range", SAME)]);
        assert!(fields.range(FILE, just_now).is_none());
    }

    #[test]
    fn a_weak_tag_spares_a_body_and_proves_nothing() {
        let file = Validators { weak: true, ..FILE };
        let verdict = |fields| conditions(fields).verdict(file);
        assert_eq!(verdict(&[("none", "W/\"abc-1\"")]), Verdict::NotModified);
        assert_eq!(verdict(&[("match", "\"abc-1\"")]), Verdict::Failed);
        let fields = conditions(&[("range", "bytes=0-1"), ("if-range", "\"abc-1\"")]);
        assert!(fields.range(file, || 0).is_none());
    }

    proptest! {
        #[test]
        fn any_list_of_tags_is_read_to_its_end(tags in "[\"W/*, a]{0,40}") {
            lists(tags.as_bytes(), FILE, Comparison::Weak);
        }
    }
}
