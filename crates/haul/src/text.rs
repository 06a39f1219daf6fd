//! Numbers and names as a person reads them.

pub(crate) use engine::in_units as bytes;

/// Seconds as `4.2 s`, `3 min 10 s` or `1 h 45 min`.
pub(crate) fn duration(seconds: f64) -> String {
    if seconds < 9.95 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// `1 file`, `2 files`, `12,345 files`.
pub(crate) fn count(number: u64, singular: &str, plural: &str) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    format!("{out} {}", if number == 1 { singular } else { plural })
}

/// A name from elsewhere, without what would steer the terminal.
pub(crate) fn sanitize(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || engine::reorders(c) { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_do_not_steer_the_terminal() {
        assert_eq!(sanitize("a\x1b[2Jb\nc ü.tar"), "a\u{fffd}[2Jb\u{fffd}c ü.tar");
        assert_eq!(sanitize("gpj.\u{202e}exe"), "gpj.\u{fffd}exe");
    }

    #[test]
    fn bytes_have_at_most_three_digits_and_a_unit() {
        let cases = [
            (0, "0 B"),
            (999, "999 B"),
            (1500, "1.5 kB"),
            (999_499, "999 kB"),
            (999_600, "1.0 MB"),
            (25_300_000_000, "25.3 GB"),
            (1_104_000_000, "1.10 GB"),
        ];
        for (count, text) in cases {
            assert_eq!(bytes(count), text);
        }
    }

    #[test]
    fn durations_read_well() {
        let cases = [(0.25, "0.2 s"), (9.96, "10 s"), (190.2, "3 min 10 s"), (6300.0, "1 h 45 min")];
        for (seconds, text) in cases {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn counts_are_grouped() {
        assert_eq!(count(1, "file", "files"), "1 file");
        assert_eq!(count(1_234_567, "file", "files"), "1,234,567 files");
    }
}
