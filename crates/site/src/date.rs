//! Dates as HTTP writes them (RFC 9110 section 5.6.7), in whole seconds since 1970.

use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time};

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// `Sun, 06 Nov 1994 08:49:37 GMT`. A time beyond the year 9999 is shown as the beginning of 1970.
pub(crate) fn format(seconds: i64) -> String {
    let t = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    format!(
        "{}, {:02} {} {:04} {:02}:{:02}:{:02} GMT",
        DAYS[usize::from(t.weekday().number_days_from_monday())],
        t.day(),
        MONTHS[usize::from(u8::from(t.month())) - 1],
        t.year(),
        t.hour(),
        t.minute(),
        t.second()
    )
}

/// Reads the form above and the two obsolete ones: `Sunday, 06-Nov-94 08:49:37 GMT` and `Sun Nov  6 08:49:37 1994`.
/// `None` for everything else: the field is then to be ignored.
pub(crate) fn parse(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    if let Some((_, rest)) = text.split_once(", ") {
        let rest = rest.strip_suffix(" GMT")?;
        let (date, clock) = rest.rsplit_once(' ')?;
        if let Some((day, rest)) = date.split_once('-') {
            let (month, year) = rest.split_once('-')?;
            return seconds(full_year(number(year, 2)?), month, number(day, 2)?, clock);
        }
        let (day, rest) = date.split_once(' ')?;
        let (month, year) = rest.split_once(' ')?;
        return seconds(number(year, 4)?, month, number(day, 2)?, clock);
    }
    let mut words = text.split_ascii_whitespace().skip(1);
    let (month, day, clock, year) = (words.next()?, words.next()?, words.next()?, words.next()?);
    if words.next().is_some() {
        return None;
    }
    seconds(number(year, 4)?, month, number(day, day.len())?, clock)
}

/// A year of two digits that seems to be more than 50 years ahead is one of the past (RFC 9110 section 5.6.7).
fn full_year(two: u32) -> u32 {
    let now = OffsetDateTime::now_utc().year() as u32;
    let year = now - now % 100 + two;
    if year > now + 50 { year - 100 } else { year }
}

fn seconds(year: u32, month: &str, day: u32, clock: &str) -> Option<i64> {
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    let month = Month::try_from(month as u8).ok()?;
    let date = Date::from_calendar_date(year as i32, month, day as u8).ok()?;
    let (hour, rest) = clock.split_once(':')?;
    let (minute, second) = rest.split_once(':')?;
    // A leap second is the second before it.
    let second = number(second, 2)?.min(59);
    let time = Time::from_hms(
        number(hour, 2)? as u8,
        number(minute, 2)? as u8,
        second as u8,
    );
    Some(
        PrimitiveDateTime::new(date, time.ok()?)
            .assume_utc()
            .unix_timestamp(),
    )
}

/// Just so many digits, one to four.
fn number(text: &str, digits: usize) -> Option<u32> {
    if text.len() != digits || digits > 4 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The example of RFC 9110 section 5.6.7.
    const EXAMPLE: i64 = 784_111_777;

    #[test]
    fn the_three_forms_are_read_and_the_first_is_written() {
        assert_eq!(format(EXAMPLE), "Sun, 06 Nov 1994 08:49:37 GMT");
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(parse(text.as_bytes()), Some(EXAMPLE), "{text}");
        }
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in [
            "",
            "yesterday",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 31 Feb 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:49:37 GMT",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994 x",
            "Sun, 06 Nov 99999 08:49:37 GMT",
            "\u{1F600}, 06 Nov 1994 08:49:37 GMT GMT",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(seconds in 0i64..253_402_300_799) {
            prop_assert_eq!(parse(format(seconds).as_bytes()), Some(seconds));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(text in proptest::collection::vec(any::<u8>(), 0..40)) {
            parse(&text);
        }
    }
}
