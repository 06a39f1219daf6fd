//! Parses PAX records: `"LENGTH KEY=VALUE\n"` lists that override fields of the next header. The reader combines them.

/// What the records of one extended header say, as far as a backup's reader cares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Overrides {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) mtime: Option<(i64, u32)>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) sparse: bool,
}

/// Parses the body of an extended header. The reason of a failure is a sentence fragment.
pub(super) fn parse(mut body: &[u8]) -> Result<Overrides, &'static str> {
    let mut overrides = Overrides::default();
    // Some writers pad the record list itself with NULs.
    while !body.is_empty() && body[0] != 0 {
        let (record, rest) = split_record(body)?;
        body = rest;
        let equals = record.iter().position(|&byte| byte == b'=').ok_or("a record without '='")?;
        apply(&mut overrides, &record[..equals], &record[equals + 1..])?;
    }
    if body.iter().any(|&byte| byte != 0) {
        return Err("bytes after its last record");
    }
    Ok(overrides)
}

/// Splits off the first record, without its length and newline.
fn split_record(body: &[u8]) -> Result<(&[u8], &[u8]), &'static str> {
    const BAD: &str = "a record with a wrong length";
    let space = body.iter().take(21).position(|&byte| byte == b' ').ok_or(BAD)?;
    let length = decimal(&body[..space]).and_then(|length| usize::try_from(length).ok()).ok_or(BAD)?;
    if length < space + 2 || length > body.len() || body[length - 1] != b'\n' {
        return Err(BAD);
    }
    Ok((&body[space + 1..length - 1], &body[length..]))
}

fn apply(overrides: &mut Overrides, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
    match key {
        // The sparse name is the real one; `path` is then a made-up one.
        b"path" if overrides.sparse && overrides.path.is_some() => {}
        b"path" | b"GNU.sparse.name" => overrides.path = name(value)?,
        b"linkpath" => overrides.link = name(value)?,
        b"size" => overrides.size = Some(decimal(value).ok_or("a size that is not a number")?),
        b"uid" => overrides.uid = Some(decimal(value).ok_or("an owner that is not a number")?),
        b"gid" => overrides.gid = Some(decimal(value).ok_or("a group that is not a number")?),
        b"mtime" => overrides.mtime = Some(time(value).ok_or("a time that is not a number")?),
        _ => {}
    }
    if key.starts_with(b"GNU.sparse.") {
        overrides.sparse = true;
    }
    Ok(())
}

/// An empty value takes an override back, says POSIX.
fn name(value: &[u8]) -> Result<Option<Vec<u8>>, &'static str> {
    if value.contains(&0) {
        return Err("a name with a zero byte in it");
    }
    Ok((!value.is_empty()).then(|| value.to_vec()))
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    digits.iter().try_fold(0_u64, |value, digit| value.checked_mul(10)?.checked_add(u64::from(digit - b'0')))
}

/// `[-]SECONDS[.FRACTION]`, rounded down to nanoseconds; also the exponents that Python's `str(float)` makes of tiny
/// times.
#[expect(clippy::cast_possible_truncation, reason = "compared with 9.0e18, and billionths of a second")]
fn time(text: &[u8]) -> Option<(i64, u32)> {
    if text.iter().any(|byte| matches!(byte, b'e' | b'E')) {
        let value: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
        let whole = value.floor();
        return (whole.abs() < 9.0e18).then_some((whole as i64, ((value - whole) * 1e9) as u32));
    }
    let (negative, magnitude) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let point = magnitude.iter().position(|&byte| byte == b'.').unwrap_or(magnitude.len());
    let fraction = magnitude.get(point + 1..).unwrap_or(b"");
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let whole = if point == 0 && !fraction.is_empty() { 0 } else { decimal(&magnitude[..point])? };
    let mut nanos: u32 = 0;
    for digit in 0..9 {
        nanos = nanos * 10 + fraction.get(digit).map_or(0, |digit| u32::from(digit - b'0'));
    }
    if !negative {
        return Some((i64::try_from(whole).ok()?, nanos));
    }
    let below = fraction.iter().skip(9).any(|&digit| digit != b'0');
    let nanoseconds = -(i128::from(whole) * 1_000_000_000 + i128::from(nanos)) - i128::from(below);
    let seconds = i64::try_from(nanoseconds.div_euclid(1_000_000_000)).ok()?;
    Some((seconds, nanoseconds.rem_euclid(1_000_000_000) as u32))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn times_are_read_to_the_nanosecond() {
        assert_eq!(time(b"1700000000.123456789"), Some((1_700_000_000, 123_456_789)));
        assert_eq!(time(b"-1.5"), Some((-2, 500_000_000)));
        assert_eq!(time(b"-0.0000000001"), Some((-1, 999_999_999)));
        assert_eq!(time(b"-9223372036854775808"), Some((i64::MIN, 0)));
        assert_eq!(time(b".5"), Some((0, 500_000_000)));
        assert_eq!(time(b"5."), Some((5, 0)));
        assert_eq!(time(b"1e-05"), Some((0, 10_000)));
        for bad in [&b""[..], b".", b"-", b"nan", b"inf", b"1e400", b"1.2.3", b"+1", b" 1", b"99999999999999999999"] {
            assert_eq!(time(bad), None, "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn records_with_a_wrong_length_are_refused() {
        for bad in [
            &b"12 path=abc"[..],
            b"13 path=abc\n",
            b"0 \n",
            b"x path=a\n",
            b"999999999999999999999 a=b\n",
            b"7 path\n",
            b"3 \n",
            b"\0\0x",
        ] {
            assert!(parse(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
        assert_eq!(parse(b"12 path=abc\n\0\0").unwrap().path.as_deref(), Some(&b"abc"[..]));
    }

    #[test]
    fn sizes_with_leading_zeros_are_numbers() {
        assert_eq!(parse(b"29 size=00000000000000012345\n").unwrap().size, Some(12_345));
    }

    #[test]
    fn a_sparse_name_wins_over_the_made_up_path() {
        for body in [&b"24 GNU.sparse.name=real\n10 path=x\n"[..], b"10 path=x\n24 GNU.sparse.name=real\n"] {
            let overrides = parse(body).unwrap_or_else(|reason| panic!("{reason}"));
            assert_eq!(overrides.path.as_deref(), Some(&b"real"[..]));
        }
    }
}
