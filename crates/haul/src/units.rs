//! Times, sizes and rates as people write them: on the command line, in the environment and in the configuration file.

use std::{num::NonZeroUsize, time::Duration};

use jiff::{Span, SpanRelativeTo};

/// A stretch of time: `90s`, `6h`, `2d12h`; a day has 24 hours.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let span = span(text)?;
    let exact =
        span.to_duration(SpanRelativeTo::days_are_24_hours()).ok().and_then(|exact| Duration::try_from(exact).ok());
    exact
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| format!("{text:?} is not an exact length of time: write it like 90s, 45m, 6h or 2d12h"))
}

/// A stretch of the calendar: as [`duration`], with weeks, months (`3mo`) and years.
pub(crate) fn span(text: &str) -> Result<Span, String> {
    match text.parse::<Span>() {
        Ok(span) if span.is_positive() => Ok(span),
        Ok(_) => Err(format!("{text:?} is no time at all: write more than zero, like 90s, 45m, 6h or 2d12h")),
        Err(_) => Err(format!("{text:?} is not a length of time: write it like 90s, 45m, 6h, 2d12h, 8w or 1y6mo")),
    }
}

/// Bytes a second: `2MB/s`, `500kB/s`; the `/s` may be left out.
pub(crate) fn rate(text: &str) -> Result<u64, String> {
    let wrong = || {
        format!(
            "{text:?} is not a speed: write it like 500kB/s or 2MB/s; the least is {}kB/s",
            store::limit::SLOWEST / 1000
        )
    };
    let amount = text.trim();
    let amount = ["/s", "ps"].iter().find_map(|unit| amount.strip_suffix(unit)).unwrap_or(amount);
    size(amount.trim()).ok().filter(|rate| *rate >= store::limit::SLOWEST).ok_or_else(wrong)
}

/// A number of cores to use.
pub(crate) fn cores(text: &str) -> Result<NonZeroUsize, String> {
    text.parse().map_err(|_| "write a whole number, 1 or more".to_owned())
}

/// A number of bytes: `8388608`, `8MiB`, `8M`, `10MB`.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let wrong = || format!("invalid size {text:?}: write it like 8MiB or 64MB");
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "kb" => 1000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        _ => return Err(wrong()),
    };
    number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor)).filter(|size| *size > 0).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn stretches_of_time_are_understood() {
        for (text, seconds) in [("90s", 90), ("6h", 21_600), ("2d12h", 216_000), ("45 minutes", 2700)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)));
        }
        for text in ["", "6", "later", "3mo"] {
            assert!(duration(text).unwrap_err().contains("length of time"), "{text}");
        }
        for text in ["0s", "-6h"] {
            assert!(duration(text).unwrap_err().contains("more than zero"), "{text}");
        }
        assert!(span("1y6mo").is_ok());
    }

    #[test]
    fn rates_are_understood() {
        for (text, bytes) in
            [("2MB/s", 2_000_000), ("500kB/s", 500_000), ("500 kB/s", 500_000), ("1MiB", 1 << 20), ("64000", 64_000)]
        {
            assert_eq!(rate(text), Ok(bytes), "{text}");
        }
        for text in ["", "0", "fast", "10B/s", "2MB/h"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_understood() {
        for (text, bytes) in [("8388608", 8 << 20), ("8MiB", 8 << 20), ("64MB", 64_000_000), ("1 G", 1 << 30)] {
            assert_eq!(size(text), Ok(bytes));
        }
        for text in ["", "0", "MiB", "8X", "99999999999G"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
