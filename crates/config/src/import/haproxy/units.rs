//! Times and sizes of haproxy.cfg (section 2.5 of the manual).

use std::time::Duration;

use crate::duration;

/// A time: a number and us, ms, s, m, h or d; without a unit milliseconds, or what `unit` says. What follows the unit is
/// not looked at, as in HAProxy 2.6 (`15min`).
pub(crate) fn time(text: &str, unit: u64) -> Option<Duration> {
    let (number, rest) = parts(text);
    let number: u64 = number.parse().ok()?;
    let micros = match unit_of(rest) {
        "us" => 1,
        "ms" => 1_000,
        "s" => 1_000_000,
        "m" => 60_000_000,
        "h" => 3_600_000_000,
        "d" => 86_400_000_000,
        _ if rest.is_empty() => unit,
        _ => return None,
    };
    number.checked_mul(micros).map(Duration::from_micros)
}

/// What is told of a time behind whose unit something follows.
pub(crate) fn surplus(text: &str) -> Option<String> {
    let (number, rest) = parts(text);
    let unit = unit_of(rest);
    (rest != unit).then(|| {
        format!(
            "`{text}` is {number}{unit}: the unit is `{unit}`, and HAProxy warns of what follows it"
        )
    })
}

fn parts(text: &str) -> (&str, &str) {
    let digits = text.find(|c: char| !c.is_ascii_digit());
    text.split_at(digits.unwrap_or(text.len()))
}

fn unit_of(rest: &str) -> &str {
    let length = if rest.starts_with("us") || rest.starts_with("ms") {
        2
    } else {
        usize::from(rest.starts_with(['s', 'm', 'h', 'd']))
    };
    &rest[..length]
}

/// Microseconds of a time without a unit, mostly.
pub(crate) const MILLISECONDS: u64 = 1_000;
/// And elsewhere.
pub(crate) const SECONDS: u64 = 1_000_000;

/// As the cluster file writes it: at least a millisecond, at most a year. `None` for 0, which is no limit.
pub(crate) fn shown(time: Duration) -> Option<String> {
    if time.is_zero() {
        return None;
    }
    let year = Duration::from_hours(366 * 24);
    Some(duration::show(time.clamp(Duration::from_millis(1), year)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_milliseconds_for_their_unit() {
        assert_eq!(time("5000", MILLISECONDS), Some(Duration::from_secs(5)));
        assert_eq!(time("1m", MILLISECONDS), Some(Duration::from_mins(1)));
        assert_eq!(time("30", SECONDS), Some(Duration::from_secs(30)));
        assert_eq!(time("5x", MILLISECONDS), None);
        assert_eq!(time("s", MILLISECONDS), None);
        assert_eq!(time("1.5s", MILLISECONDS), None);
        assert_eq!(shown(Duration::ZERO), None);
        assert_eq!(shown(Duration::from_micros(5)).as_deref(), Some("1ms"));
    }

    #[test]
    fn what_follows_a_unit_is_told_and_changes_nothing() {
        assert_eq!(time("15min", MILLISECONDS), Some(Duration::from_mins(15)));
        assert_eq!(time("5sec", MILLISECONDS), Some(Duration::from_secs(5)));
        assert_eq!(time("5msec", MILLISECONDS), Some(Duration::from_millis(5)));
        assert_eq!(surplus("5ms"), None);
        assert_eq!(surplus("5000"), None);
        assert!(surplus("15min").is_some_and(|told| told.starts_with("`15min` is 15m:")));
    }
}
