//! Durations as they are written: a whole number and a unit.

use std::time::Duration;

use tandem_model::units::split_unit;

/// Units and their milliseconds, largest first.
const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Longer is surely a slip, and stays far from where adding to a clock overflows.
const LONGEST: Duration = Duration::from_hours(366 * 24);

/// Reads `200ms`, `2s`, `1 m`, `1h`, `7d`.
pub fn parse(text: &str) -> Result<Duration, &'static str> {
    let duration = parse_or_none(text)?;
    if duration.is_zero() {
        return Err("a duration is longer than 0");
    }
    Ok(duration)
}

/// As [`parse`], where `0s` means something, too.
pub(crate) fn parse_or_none(text: &str) -> Result<Duration, &'static str> {
    let (number, unit) = split_unit(text);
    let number: u64 = number
        .parse()
        .map_err(|_| "a duration is a whole number and a unit, like \"2s\" or \"200ms\"")?;
    let unit = match unit {
        "" => return Err("a duration needs a unit: ms, s, m, h or d"),
        unit => UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .ok_or("the units of a duration are ms, s, m, h and d")?,
    };
    let duration = number
        .checked_mul(unit.1)
        .map(Duration::from_millis)
        .ok_or("this duration is too long")?;
    if duration > LONGEST {
        return Err("this duration is too long: a year at most");
    }
    Ok(duration)
}

/// Writes a duration with the largest unit that fits a whole number of times. Parts of a millisecond are dropped.
pub(crate) fn show(duration: Duration) -> String {
    let millis = duration.as_millis();
    UNITS
        .iter()
        .find(|(_, unit)| millis != 0 && millis.is_multiple_of(u128::from(*unit)))
        .map_or_else(
            || format!("{millis}ms"),
            |(name, unit)| format!("{}{name}", millis / u128::from(*unit)),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_they_are_shown() {
        for text in ["200ms", "2s", "90s", "1m", "1h", "7d", "1001ms"] {
            assert_eq!(show(parse(text).unwrap()), text);
        }
        assert_eq!(parse("2 s"), parse("2s"));
        assert_eq!(show(Duration::from_mins(1)), "1m");
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            "2",
            "s",
            "2 weeks",
            "1.5s",
            "-2s",
            "0s",
            "400d",
            "99999999999999999999h",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(parse_or_none("0s"), Ok(Duration::ZERO));
        assert_eq!(parse_or_none(&show(Duration::ZERO)), Ok(Duration::ZERO));
    }
}
