//! From a text to the patterns that can match it, without asking each.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};

use tandem_model::Pattern;

/// A number of whom a pattern concerns, and whether that it was found says that the pattern matches: if not it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Candidate(u32);

impl Candidate {
    pub(super) fn new(number: u32, is_certain: bool) -> Self {
        Self(number << 1 | u32::from(!is_certain))
    }

    pub(super) fn number(self) -> u32 {
        self.0 >> 1
    }

    pub(super) fn is_certain(self) -> bool {
        self.0 & 1 == 0
    }
}

/// Candidates in ascending order. Most patterns concern one rule alone: that is kept here, and not elsewhere in memory,
/// where each look costs more than all that was done before.
enum Candidates {
    One([Candidate; 1]),
    More(Box<[Candidate]>),
}

impl Candidates {
    fn of(mut all: Vec<Candidate>) -> Self {
        all.sort_unstable();
        all.dedup();
        match all[..] {
            [one] => Self::One([one]),
            _ => Self::More(all.into()),
        }
    }
}

impl std::ops::Deref for Candidates {
    type Target = [Candidate];

    fn deref(&self) -> &[Candidate] {
        match self {
            Self::One(one) => one,
            Self::More(more) => more,
        }
    }
}

/// Numbers by pattern. Texts without a star are found by hash; beginnings and endings by one binary search each;
/// regular expressions always come up.
pub(super) struct Lookup {
    exact: HashMap<Box<[u8]>, Candidates, foldhash::fast::RandomState>,
    beginnings: Affixes,
    endings: Affixes,
    rest: Candidates,
}

impl Lookup {
    /// For numbered patterns; a number may have several. With `fold` all texts are in lower case. `is_all` says of a number
    /// that nothing but a pattern of these has to match.
    pub(super) fn new<'a>(
        entries: impl Iterator<Item = (u32, &'a Pattern)>,
        fold: bool,
        is_all: impl Fn(u32) -> bool,
    ) -> Self {
        let text = |text: &str| -> Box<[u8]> {
            if fold {
                text.to_ascii_lowercase().into_bytes().into()
            } else {
                text.as_bytes().into()
            }
        };
        let mut exact: BTreeMap<Box<[u8]>, Vec<Candidate>> = BTreeMap::new();
        let (mut beginnings, mut endings) = (BTreeMap::new(), BTreeMap::new());
        let mut rest = Vec::new();
        for (number, pattern) in entries {
            // One that is found by its beginning may have an ending as well.
            let is_whole = match pattern {
                Pattern::Exact(_) => true,
                Pattern::Star(prefix, suffix) => prefix.is_empty() || suffix.is_empty(),
                Pattern::Regex(_) => false,
            };
            match pattern {
                Pattern::Exact(whole) => exact.entry(text(whole)).or_default(),
                // Of both, the longer says more.
                Pattern::Star(prefix, suffix) if prefix.len() >= suffix.len() => {
                    beginnings.entry(text(prefix)).or_default()
                }
                Pattern::Star(_, suffix) => endings.entry(text(suffix)).or_default(),
                Pattern::Regex(_) => &mut rest,
            }
            .push(Candidate::new(number, is_whole && is_all(number)));
        }
        Self {
            exact: exact
                .into_iter()
                .map(|(text, candidates)| (text, Candidates::of(candidates)))
                .collect(),
            beginnings: Affixes::new(beginnings, false),
            endings: Affixes::new(endings, true),
            rest: Candidates::of(rest),
        }
    }

    /// Calls `visit` with lists of candidates, each in ascending order. Every number with a pattern that matches `text` is
    /// in one of them; so are some whose patterns do not.
    pub(super) fn candidates(&self, text: &[u8], mut visit: impl FnMut(&[Candidate])) {
        if let Some(candidates) = self.exact.get(text) {
            visit(candidates);
        }
        self.beginnings.of(text, &mut visit);
        self.endings.of(text, &mut visit);
        visit(&self.rest);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.exact.is_empty()
            && self.beginnings.entries.is_empty()
            && self.endings.entries.is_empty()
            && self.rest.is_empty()
    }
}

/// Beginnings (or endings) of texts, in order, each knowing the longest other that it begins with.
///
/// Let `q` be the last entry that is not after a text. An entry that the text begins with is not after the text, so
/// not after `q`; and what lies between such an entry and the text in this order begins with it too. So it is `q`
/// or one that `q` begins with: one search and the way up from `q` find them all.
struct Affixes {
    entries: Vec<Affix>,
    /// The [`head`] of each: a search looks at nothing else, most of the time, and these lie close together.
    heads: Box<[u128]>,
    /// They are endings: everything is compared from behind.
    backward: bool,
}

struct Affix {
    text: Box<[u8]>,
    /// The longest other entry that this one begins with.
    within: Option<u32>,
    candidates: Candidates,
}

/// So many are each asked sooner than searched.
const FEW: usize = 8;

impl Affix {
    /// Whether `text` begins (or ends) with it.
    fn is_in(&self, text: &[u8], backward: bool) -> bool {
        if backward {
            text.ends_with(&self.text)
        } else {
            text.starts_with(&self.text)
        }
    }
}

impl Affixes {
    fn new(texts: BTreeMap<Box<[u8]>, Vec<Candidate>>, backward: bool) -> Self {
        let mut entries: Vec<Affix> = texts
            .into_iter()
            .map(|(text, candidates)| Affix {
                text,
                within: None,
                candidates: Candidates::of(candidates),
            })
            .collect();
        entries.sort_by(|a, b| order(&a.text, &b.text, backward));
        // Those that the entry at hand may begin with, shortest first.
        let mut open: Vec<u32> = Vec::new();
        for i in 0..entries.len() {
            while let Some(&last) = open.last() {
                let last = &entries[last as usize].text;
                if common(last, &entries[i].text, backward) == last.len() {
                    break;
                }
                open.pop();
            }
            entries[i].within = open.last().copied();
            open.push(i as u32);
        }
        let heads = entries.iter().map(|entry| head(&entry.text, backward));
        Self {
            heads: heads.collect(),
            entries,
            backward,
        }
    }

    /// How many entries are not after `text`, whose head is `sought`.
    fn not_after(&self, text: &[u8], sought: u128) -> usize {
        let end = self.heads.partition_point(|head| *head <= sought);
        if end == 0 || self.heads[end - 1] != sought {
            return end;
        }
        let begin = self.heads[..end].partition_point(|head| *head < sought);
        let alike = &self.entries[begin..end];
        begin
            + alike.partition_point(|entry| {
                order(&entry.text, text, self.backward) != Ordering::Greater
            })
    }

    /// Visits the candidates of all entries that `text` begins (or ends) with.
    fn of(&self, text: &[u8], visit: &mut impl FnMut(&[Candidate])) {
        if self.entries.len() <= FEW {
            for entry in &self.entries {
                if entry.is_in(text, self.backward) {
                    visit(&entry.candidates);
                }
            }
            return;
        }
        let sought = head(text, self.backward);
        let Some(last) = self.not_after(text, sought).checked_sub(1) else {
            return;
        };
        let mut entry = &self.entries[last];
        // The heads were compared just now, the texts lie elsewhere.
        let alike = (self.heads[last] ^ sought).leading_zeros() as usize / 8;
        let shared = match alike {
            0..HEAD => alike.min(text.len()).min(entry.text.len()),
            _ => common(&entry.text, text, self.backward),
        };
        loop {
            if entry.text.len() <= shared {
                visit(&entry.candidates);
            }
            match entry.within {
                Some(within) => entry = &self.entries[within as usize],
                None => return,
            }
        }
    }
}

/// The bytes of a [`head`].
const HEAD: usize = 16;

/// The first (or last) bytes of a text as a number: of two texts whose numbers differ, the one with the smaller number is
/// before the other in [`order`].
fn head(text: &[u8], backward: bool) -> u128 {
    let mut bytes = [0; HEAD];
    let length = text.len().min(bytes.len());
    if backward {
        for (byte, from) in bytes.iter_mut().zip(text.iter().rev()) {
            *byte = *from;
        }
    } else {
        bytes[..length].copy_from_slice(&text[..length]);
    }
    u128::from_be_bytes(bytes)
}

fn order(a: &[u8], b: &[u8], backward: bool) -> Ordering {
    if backward {
        a.iter().rev().cmp(b.iter().rev())
    } else {
        a.cmp(b)
    }
}

/// How many bytes both begin (or end) with.
fn common(a: &[u8], b: &[u8], backward: bool) -> usize {
    let same = |(a, b): &(&u8, &u8)| a == b;
    if backward {
        let pairs = a.iter().rev().zip(b.iter().rev());
        pairs.take_while(same).count()
    } else {
        a.iter().zip(b).take_while(same).count()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn found(patterns: &[Pattern], text: &str) -> BTreeSet<u32> {
        let lookup = Lookup::new((0..).zip(patterns), false, |_| true);
        let mut found = BTreeSet::new();
        lookup.candidates(text.as_bytes(), |candidates| {
            assert!(candidates.is_sorted(), "{candidates:?}");
            for candidate in candidates {
                let number = candidate.number();
                if candidate.is_certain() {
                    let pattern = &patterns[number as usize];
                    assert!(
                        pattern.covers(&Pattern::Exact(text.into())),
                        "{pattern}: {text}"
                    );
                }
                found.insert(number);
            }
        });
        found
    }

    #[test]
    fn all_beginnings_and_endings_of_a_text_are_found() {
        let patterns: Vec<Pattern> = [
            "/a*",
            "/a/b*",
            "/a/c*",
            "*",
            "*.js",
            "*.min.js",
            "/a/b/x.min.js",
            "/b*",
        ]
        .map(|text| Pattern::parse(text).expect("a pattern"))
        .into();
        let expected: &[(&str, &[u32])] = &[
            ("/a/b/x.min.js", &[0, 1, 3, 4, 5, 6]),
            ("/a/bb", &[0, 1, 3]),
            ("/a/d", &[0, 3]),
            ("/a", &[0, 3]),
            ("/", &[3]),
            ("", &[3]),
            ("/c.js", &[3, 4]),
            ("/bz", &[3, 7]),
        ];
        for (text, numbers) in expected {
            assert_eq!(
                found(&patterns, text),
                numbers.iter().copied().collect(),
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn heads_are_in_the_order_of_their_texts(a in "[\u{0}ab]{0,20}", b in "[\u{0}ab]{0,20}", backward: bool) {
            let (a, b) = (a.as_bytes(), b.as_bytes());
            let heads = head(a, backward).cmp(&head(b, backward));
            prop_assert!(heads == Ordering::Equal || heads == order(a, b, backward));
        }

        #[test]
        fn long_texts_that_begin_alike_are_told_apart(
            tails in proptest::collection::btree_set("[ab]{0,4}", 1..3 * FEW),
            text in "[ab]{0,6}",
        ) {
            let common = "/a/path/longer/than/a/head/";
            let patterns: Vec<Pattern> = tails
                .iter()
                .filter_map(|tail| Pattern::parse(&format!("{common}{tail}*")).ok())
                .collect();
            let found = found(&patterns, &format!("{common}{text}"));
            for (number, tail) in (0..).zip(&tails) {
                prop_assert_eq!(found.contains(&number), text.starts_with(tail.as_str()), "{}", tail);
            }
        }

        #[test]
        fn no_match_is_missed(
            patterns in proptest::collection::vec("[ab/]{0,4}\\*?[ab/]{0,3}", 0..40),
            text in "[ab/]{0,8}",
        ) {
            let patterns: Vec<Pattern> = patterns.iter().filter_map(|text| Pattern::parse(text).ok()).collect();
            let found = found(&patterns, &text);
            for (number, pattern) in (0..).zip(&patterns) {
                if pattern.covers(&Pattern::Exact(text.clone())) {
                    prop_assert!(found.contains(&number), "{} matches {}", pattern, text);
                }
            }
        }
    }
}
