//! Writes headers. It is called once per entry of a backup, so it formats only what it must: digits are written in
//! place.

use super::fields::{self, CHECKSUM, DEVICE, GID, LINK, MAGIC, MODE, MTIME, NAME, SIZE, TYPE, UID};
use super::{BLOCK, USTAR_SIZE_MAX, padding};

/// What a written entry is. A backup holds nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory; its name is written with a closing slash.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Symlink,
}

/// One entry to write. User and group names are left empty, so a reader never maps them to strangers.
#[derive(Clone, Copy, Debug)]
pub struct Header<'a> {
    /// The name inside the archive, any bytes but NUL; a directory's closing slash is added.
    pub path: &'a [u8],
    /// What it is.
    pub kind: Kind,
    /// Length of the body in bytes; written as 0 for anything but files.
    pub size: u64,
    /// Permission bits; only the lowest twelve are written.
    pub mode: u32,
    /// Modification time: seconds since 1970 (rounded down) and nanoseconds after them.
    pub mtime: (i64, u32),
    /// Target of a symbolic link, any bytes but NUL.
    pub link: &'a [u8],
    /// Numeric owner.
    pub uid: u64,
    /// Numeric group.
    pub gid: u64,
}

/// Digits that every u64 fits in.
const DIGITS: usize = 20;

/// Which PAX records a header gets, and what its own fields say beside them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// An entry of an inner archive: a record only where ustar alone would lose something.
    Entry,
    /// A member of the outer archive: always an `mtime` record of fixed width and never one for the size, so that
    /// neither the header's length nor its records depend on the size. Home Assistant Core copies the records when it
    /// changes a member's size, and a size among them would win over the new one.
    Member,
    /// A [`Form::Member`] of 8 GiB or more after Core rewrote it: Python puts such a size into a record and zero into
    /// the header.
    RewrittenMember,
    /// A member as Haul wrote it before: with a `size` record of fixed width. Still read, and checked.
    FormerMember,
}

impl Form {
    /// Byte for byte as Python's `tarfile` writes such a header, so that Core's copy of it is the same bytes.
    fn is_as_python(self) -> bool {
        matches!(self, Self::Member | Self::RewrittenMember)
    }
}

/// Appends the header block of `header` to `out`, after a PAX header where ustar alone would lose something.
pub fn encode(header: &Header<'_>, out: &mut Vec<u8>) {
    encode_as(header, Form::Entry, out);
}

/// As [`encode`], in a certain form.
pub(crate) fn encode_as(header: &Header<'_>, form: Form, out: &mut Vec<u8>) {
    let size = if header.kind == Kind::File { header.size } else { 0 };
    let start = out.len();
    out.resize(start + BLOCK, 0); // space for the PAX header, dropped again when no record was needed
    write_records(header, size, form, out);
    let records = out.len() - start - BLOCK;
    if records == 0 {
        out.truncate(start);
    } else {
        out.resize(out.len() + padding(records as u64), 0);
        let pax = pax_block(records as u64, form);
        out[start..start + BLOCK].copy_from_slice(&pax);
    }
    out.extend_from_slice(&entry_block(header, size, form));
}

fn write_records(header: &Header<'_>, size: u64, form: Form, out: &mut Vec<u8>) {
    let directory = header.kind == Kind::Directory && !header.path.ends_with(b"/");
    if header.path.len() + usize::from(directory) > NAME.len() || !header.path.is_ascii() {
        record(out, b"path", &[header.path, if directory { b"/" } else { b"" }]);
    }
    if header.kind == Kind::Symlink && (header.link.len() > LINK.len() || !header.link.is_ascii()) {
        record(out, b"linkpath", &[header.link]);
    }
    match form {
        Form::Entry if size > USTAR_SIZE_MAX => decimal_record(out, b"size", size),
        Form::FormerMember => record(out, b"size", &[&fixed_width(size)]),
        _ => {}
    }
    for (key, id) in [(b"uid", header.uid), (b"gid", header.gid)] {
        if id > 0o777_7777 {
            decimal_record(out, key, id);
        }
    }
    let (seconds, nanos) = header.mtime;
    let mut buffer = [0; 32];
    if form.is_as_python() {
        let from = time_text(seconds, nanos, Decimals::All, &mut buffer);
        record(out, b"mtime", &[&buffer[from..]]);
    } else if nanos != 0 || u64::try_from(seconds).map_or(true, |seconds| seconds > USTAR_SIZE_MAX) {
        let from = time_text(seconds, nanos, Decimals::Needed, &mut buffer);
        record(out, b"mtime", &[&buffer[from..]]);
    }
    if form == Form::RewrittenMember && size > USTAR_SIZE_MAX {
        decimal_record(out, b"size", size);
    }
}

/// The time in the header block itself, rounded as Python rounds it where that counts.
#[expect(clippy::cast_possible_truncation, reason = "seconds that came as 64 bits, rounded")]
fn whole_seconds((seconds, nanos): (i64, u32), form: Form) -> u64 {
    let mut rounded = seconds;
    if form.is_as_python() {
        let mut buffer = [0; 32];
        let from = time_text(seconds, nanos, Decimals::All, &mut buffer);
        let exact = std::str::from_utf8(&buffer[from..]).ok().and_then(|text| text.parse::<f64>().ok());
        rounded = exact.map_or(seconds, |exact| exact.round_ties_even() as i64);
    }
    u64::try_from(rounded).unwrap_or(0)
}

fn entry_block(header: &Header<'_>, size: u64, form: Form) -> [u8; BLOCK] {
    let kind = match header.kind {
        Kind::File => b'0',
        Kind::Symlink => b'2',
        Kind::Directory => b'5',
    };
    let mut block = if form.is_as_python() { without_device(TEMPLATE) } else { TEMPLATE };
    block[TYPE] = kind;
    // The PAX record holds a name that is cut here in full; readers without PAX see its start.
    let length = header.path.len().min(NAME.len());
    block[..length].copy_from_slice(&header.path[..length]);
    if header.kind == Kind::Directory && length < NAME.len() && !header.path.ends_with(b"/") {
        block[length] = b'/';
    }
    if header.kind == Kind::Symlink {
        let length = header.link.len().min(LINK.len());
        block[LINK][..length].copy_from_slice(&header.link[..length]);
    }
    fields::write_octal(&mut block[MODE], u64::from(header.mode & 0o7777));
    fields::write_octal(&mut block[UID], header.uid);
    fields::write_octal(&mut block[GID], header.gid);
    fields::write_octal(&mut block[MTIME], whole_seconds(header.mtime, form));
    write_size(&mut block, if form == Form::RewrittenMember && size > USTAR_SIZE_MAX { 0 } else { size });
    fields::seal(&mut block);
    block
}

/// The header block before PAX records.
fn pax_block(size: u64, form: Form) -> [u8; BLOCK] {
    const NAME: &[u8] = b"././@PaxHeader";
    let mut block = if form.is_as_python() { without_device(TEMPLATE) } else { TEMPLATE };
    block[..NAME.len()].copy_from_slice(NAME);
    block[TYPE] = b'x';
    fields::write_octal(&mut block[MODE], if form.is_as_python() { 0 } else { 0o644 });
    write_size(&mut block, size);
    fields::seal(&mut block);
    block
}

/// Python leaves the device's number empty.
fn without_device(mut block: [u8; BLOCK]) -> [u8; BLOCK] {
    block[DEVICE].fill(0);
    block
}

fn write_size(block: &mut [u8; BLOCK], size: u64) {
    if !fields::write_octal(&mut block[SIZE], size) {
        // Read by Python, GNU tar, bsdtar and busybox alike; entries have a PAX record beside it.
        fields::write_base256(&mut block[SIZE], size);
    }
}

/// The part of a header block that [`patch_size`] changes.
pub(crate) const SIZE_TO_CHECKSUM: std::ops::Range<usize> = SIZE.start..CHECKSUM.end;

/// Puts `size` into a finished header block and corrects its checksum.
pub(crate) fn patch_size(block: &mut [u8; BLOCK], size: u64) {
    write_size(block, size);
    fields::seal(block);
}

const TEMPLATE: [u8; BLOCK] = {
    let mut block = [0; BLOCK];
    let mut i = 0;
    while i < 16 {
        let digit = if i % 8 < 7 { b'0' } else { 0 };
        block[UID.start + i] = digit; // owner and group
        block[DEVICE.start + i] = digit;
        i += 1;
    }
    let mut i = 0;
    while i < 12 {
        let digit = if i < 11 { b'0' } else { 0 };
        block[SIZE.start + i] = digit;
        block[MTIME.start + i] = digit;
        i += 1;
    }
    let magic = *b"ustar\x0000";
    let mut i = 0;
    while i < magic.len() {
        block[MAGIC.start + i] = magic[i];
        i += 1;
    }
    block
};

/// Appends `"LENGTH KEY=VALUE\n"`, where LENGTH counts itself.
fn record(out: &mut Vec<u8>, key: &[u8], value: &[&[u8]]) {
    let payload = key.len() + 3 + value.iter().map(|part| part.len()).sum::<usize>(); // space, '=', newline
    let mut length = payload + 1;
    while decimal_length(length as u64) + payload != length {
        length = decimal_length(length as u64) + payload;
    }
    push_decimal(out, length as u64);
    out.push(b' ');
    out.extend_from_slice(key);
    out.push(b'=');
    for part in value {
        out.extend_from_slice(part);
    }
    out.push(b'\n');
}

fn decimal_record(out: &mut Vec<u8>, key: &[u8], value: u64) {
    let digits = fixed_width(value);
    record(out, key, &[&digits[DIGITS - decimal_length(value)..]]);
}

fn decimal_length(value: u64) -> usize {
    value.checked_ilog10().map_or(1, |digits| digits as usize + 1)
}

fn push_decimal(out: &mut Vec<u8>, value: u64) {
    let digits = fixed_width(value);
    out.extend_from_slice(&digits[DIGITS - decimal_length(value)..]);
}

/// `value` in [`DIGITS`] decimal digits.
fn fixed_width(value: u64) -> [u8; DIGITS] {
    let mut digits = [b'0'; DIGITS];
    let mut rest = value;
    for slot in digits.iter_mut().rev() {
        *slot = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    digits
}

/// How many decimals a time is written with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Decimals {
    /// Nine.
    All,
    /// As few as say it.
    Needed,
}

/// Writes seconds to the end of `buffer`; returns where the text begins.
#[expect(clippy::cast_possible_truncation, reason = "a second count of 64 bits, and billionths of one")]
fn time_text(seconds: i64, nanos: u32, decimals: Decimals, buffer: &mut [u8; 32]) -> usize {
    let total = i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    let magnitude = total.unsigned_abs();
    let (mut whole, mut fraction) = ((magnitude / 1_000_000_000) as u64, (magnitude % 1_000_000_000) as u32);
    let mut at = buffer.len();
    let mut put = |byte: u8| {
        at -= 1;
        buffer[at] = byte;
        at
    };
    if fraction != 0 || decimals == Decimals::All {
        let mut count = 9;
        while decimals == Decimals::Needed && fraction.is_multiple_of(10) {
            fraction /= 10;
            count -= 1;
        }
        for _ in 0..count {
            put(b'0' + (fraction % 10) as u8);
            fraction /= 10;
        }
        put(b'.');
    }
    loop {
        let start = put(b'0' + (whole % 10) as u8);
        whole /= 10;
        if whole == 0 {
            return if total < 0 { put(b'-') } else { start };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(seconds: i64, nanos: u32) -> String {
        text(seconds, nanos, Decimals::Needed)
    }

    fn text(seconds: i64, nanos: u32, decimals: Decimals) -> String {
        let mut buffer = [0; 32];
        let from = time_text(seconds, nanos, decimals, &mut buffer);
        String::from_utf8_lossy(&buffer[from..]).into_owned()
    }

    #[test]
    fn times_carry_only_the_decimals_they_need() {
        assert_eq!(time(1_700_000_000, 0), "1700000000");
        assert_eq!(time(1_700_000_000, 120_000_000), "1700000000.12");
        assert_eq!(time(0, 1), "0.000000001");
        assert_eq!(time(-2, 500_000_000), "-1.5");
        assert_eq!(time(-1, 999_999_999), "-0.000000001");
        assert_eq!(time(i64::MIN, 0), "-9223372036854775808");
    }

    #[test]
    fn all_decimals_are_nine() {
        assert_eq!(text(1_700_000_000, 0, Decimals::All), "1700000000.000000000");
        assert_eq!(text(1_700_000_000, 120_000_000, Decimals::All), "1700000000.120000000");
        assert_eq!(text(-2, 500_000_000, Decimals::All), "-1.500000000");
    }

    #[test]
    fn a_record_counts_its_own_length() {
        for length in 0..300 {
            let mut out = Vec::new();
            record(&mut out, b"path", &[&vec![b'x'; length]]);
            let text = String::from_utf8_lossy(&out).into_owned();
            let counted: Option<usize> = text.split_once(' ').and_then(|(count, _)| count.parse().ok());
            assert_eq!(counted, Some(out.len()));
        }
    }

    #[test]
    fn a_plain_file_takes_one_block() {
        let mut out = Vec::new();
        let header = Header {
            path: b"data/.HA_VERSION",
            kind: Kind::File,
            size: 8,
            mode: 0o100_644,
            mtime: (1, 0),
            link: b"",
            uid: 0,
            gid: 0,
        };
        encode(&header, &mut out);
        assert_eq!(out.len(), BLOCK);
    }
}
