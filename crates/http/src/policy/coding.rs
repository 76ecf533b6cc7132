//! Which content codings a client would rather have than the content as it is (RFC 9110 section 12.5.3).

use tandem_model::Coding;

/// Codings in the order of preference; none means the content as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Preference([Option<Coding>; Coding::ALL.len()]);

impl Preference {
    /// The codings of `offered` that a client takes, by its weights and then in the order of `offered`.
    pub fn read(field: Option<&[u8]>, offered: &[Coding]) -> Self {
        let Some(field) = field else {
            return Self::default();
        };
        let mut weighed = [(0, None); Coding::ALL.len()];
        let as_it_is = weight(field, "identity", "identity").unwrap_or(0);
        for (slot, &coding) in weighed.iter_mut().zip(offered) {
            let old_name = match coding {
                // RFC 9110 section 8.4.1.3.
                Coding::Gzip => "x-gzip",
                other => other.name(),
            };
            let weight = weight(field, coding.name(), old_name)
                .or_else(|| weight(field, "*", "*"))
                .unwrap_or(0);
            if weight > 0 && weight >= as_it_is {
                *slot = (weight, Some(coding));
            }
        }
        // Stable, so that equal weights keep the order of `offered`.
        weighed.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
        Self(weighed.map(|(_, coding)| coding))
    }

    /// The preferred first.
    pub fn codings(self) -> impl Iterator<Item = Coding> {
        self.0.into_iter().flatten()
    }

    /// What tells it from every other; `None` for the content as it is.
    pub fn code(self) -> Option<u8> {
        let digit = |coding: Option<Coding>| coding.map_or(0, |coding| coding as u8 + 1);
        let code = self.0.iter().fold(0, |code, &at| code * 4 + digit(at));
        (code != 0).then_some(code)
    }
}

/// The weight of a name in a list, in thousandths. What is no weight is none.
fn weight(field: &[u8], name: &str, old_name: &str) -> Option<u32> {
    field.split(|&b| b == b',').find_map(|element| {
        let mut parts = element.split(|&b| b == b';').map(<[u8]>::trim_ascii);
        let found = parts.next()?;
        let named = |name: &str| found.eq_ignore_ascii_case(name.as_bytes());
        if !named(name) && !named(old_name) {
            return None;
        }
        Some(parts.next().map_or(1_000, thousandths))
    })
}

/// `q=0.5` (RFC 9110 section 12.4.2).
fn thousandths(weight: &[u8]) -> u32 {
    let [b'q' | b'Q', b'=', value @ ..] = weight else {
        return 0;
    };
    match value {
        [b'1', ..] => 1_000,
        [b'0', b'.', digits @ ..] if digits.iter().all(u8::is_ascii_digit) => {
            let digit = |at: usize| digits.get(at).map_or(0, |digit| u32::from(digit - b'0'));
            digit(0) * 100 + digit(1) * 10 + digit(2)
        }
        _ => 0,
    }
}

/// Whether this media type is text, under whatever name.
pub fn is_text(kind: &str) -> bool {
    let kind = kind.split(';').next().unwrap_or_default().trim_ascii_end();
    kind.starts_with("text/")
        || kind.ends_with("+xml")
        || kind.ends_with("+json")
        || matches!(
            kind,
            "application/javascript"
                | "application/json"
                | "application/manifest+json"
                | "application/wasm"
                | "application/xml"
                | "application/yaml"
                | "application/vnd.ms-fontobject"
                | "font/otf"
                | "font/ttf"
                | "image/bmp"
                | "image/x-icon"
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use Coding::{Brotli, Gzip, Zstd};
    use proptest::prelude::*;

    fn read(field: &str) -> Vec<Coding> {
        let preference = Preference::read(Some(field.as_bytes()), &Coding::ALL);
        assert_eq!(
            preference.code().is_none(),
            preference.codings().next().is_none()
        );
        preference.codings().collect()
    }

    #[test]
    fn weights_decide_and_then_our_own_order() {
        for (field, codings) in [
            ("gzip, deflate, br, zstd", &[Brotli, Zstd, Gzip][..]),
            ("gzip", &[Gzip]),
            ("x-gzip", &[Gzip]),
            ("GZIP;Q=1.000", &[Gzip]),
            ("gzip;q=1, br;q=0.9", &[Gzip, Brotli]),
            ("br;q=0, *", &[Zstd, Gzip]),
            ("*;q=0.1, gzip;q=0", &[Brotli, Zstd]),
            ("gzip;q=0.4, identity;q=0.5", &[]),
            ("gzip;q=0.5;x=y , ,", &[Gzip]),
            ("gzip;q=high", &[]),
            ("gzip;level=9", &[]),
            ("", &[]),
            ("identity", &[]),
            ("deflate", &[]),
        ] {
            assert_eq!(read(field), codings, "{field}");
        }
        assert_eq!(
            Preference::read(None, &Coding::ALL),
            Preference::default(),
            "who says nothing gets the content as it is"
        );
    }

    proptest! {
        #[test]
        fn any_field_is_read_without_a_panic(field in proptest::collection::vec(any::<u8>(), 0..60)) {
            let found = Preference::read(Some(&field), &[Gzip, Brotli]);
            prop_assert!(found.codings().all(|coding| coding != Zstd));
        }
    }
}
