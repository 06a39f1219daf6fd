//! The fixed fields of a 512-byte header block: their offsets, how numbers are written and read, the checksum.

use std::ops::Range;

use super::BLOCK;

pub(super) const NAME: Range<usize> = 0..100;
pub(super) const MODE: Range<usize> = 100..108;
pub(super) const UID: Range<usize> = 108..116;
pub(super) const GID: Range<usize> = 116..124;
pub(super) const SIZE: Range<usize> = 124..136;
pub(super) const MTIME: Range<usize> = 136..148;
pub(super) const CHECKSUM: Range<usize> = 148..156;
pub(super) const TYPE: usize = 156;
pub(super) const LINK: Range<usize> = 157..257;
pub(super) const MAGIC: Range<usize> = 257..265;
/// Major and minor number.
pub(super) const DEVICE: Range<usize> = 329..345;
pub(super) const PREFIX: Range<usize> = 345..500;

/// Writes `value` as zero-padded octal digits and a closing NUL; false (and zeros) when it does not fit.
pub(super) fn write_octal(field: &mut [u8], value: u64) -> bool {
    let digits = field.len() - 1;
    let fits = digits >= 22 || value >> (3 * digits) == 0;
    let mut rest = if fits { value } else { 0 };
    for slot in field[..digits].iter_mut().rev() {
        *slot = b'0' + (rest & 7) as u8;
        rest >>= 3;
    }
    field[digits] = 0;
    fits
}

/// Writes `value` in GNU's base-256 form: the first bit set, then big-endian. The field is at least 12 bytes.
pub(super) fn write_base256(field: &mut [u8], value: u64) {
    field.fill(0);
    field[0] = 0x80;
    let start = field.len() - 8;
    field[start..].copy_from_slice(&value.to_be_bytes());
}

/// Reads an octal or base-256 number as Python's `tarfile` does: octal ends at the first NUL, spaces around it are
/// ignored, empty is 0.
pub(super) fn read_number(field: &[u8]) -> Option<i64> {
    if field[0] & 0x80 != 0 {
        return read_base256(field);
    }
    let end = field.iter().position(|&byte| byte == 0).unwrap_or(field.len());
    let digits = field[..end].trim_ascii();
    let mut value: i64 = 0;
    for &digit in digits {
        if !(b'0'..=b'7').contains(&digit) {
            return None;
        }
        value = value.checked_mul(8)?.checked_add(i64::from(digit - b'0'))?;
    }
    Some(value)
}

fn read_base256(field: &[u8]) -> Option<i64> {
    // Bit 7 marks the form, bit 6 is the sign of the two's complement number below it.
    let negative = field[0] & 0x40 != 0;
    let first = if negative { field[0] | 0x80 } else { field[0] & 0x7f };
    let mut value: i128 = if negative { -1 } else { 0 };
    for byte in std::iter::once(first).chain(field[1..].iter().copied()) {
        value = (value << 8) | i128::from(byte);
    }
    i64::try_from(value).ok()
}

/// Bytes up to the first NUL.
pub(super) fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|&byte| byte == 0).unwrap_or(field.len());
    &field[..end]
}

/// The unsigned sum of a header, its checksum field counted as spaces.
pub(super) fn checksum(block: &[u8; BLOCK]) -> u32 {
    let all: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    let own: u32 = block[CHECKSUM].iter().map(|&byte| u32::from(byte)).sum();
    all - own + 8 * u32::from(b' ')
}

/// Whether the stored checksum is right; some old writers summed signed bytes, and every reader accepts those.
pub(super) fn checksum_holds(block: &[u8; BLOCK]) -> bool {
    let Some(stored) = read_number(&block[CHECKSUM]) else {
        return false;
    };
    if stored == i64::from(checksum(block)) {
        return true;
    }
    let high_bytes = |bytes: &[u8]| bytes.iter().filter(|&&byte| byte >= 0x80).count() as i64;
    let signed = i64::from(checksum(block)) - 256 * (high_bytes(block) - high_bytes(&block[CHECKSUM]));
    stored == signed
}

/// Writes the checksum in its traditional form: six octal digits, NUL, space.
pub(super) fn seal(block: &mut [u8; BLOCK]) {
    let sum = checksum(block);
    let field = &mut block[CHECKSUM];
    write_octal(&mut field[..7], u64::from(sum));
    field[7] = b' ';
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn octal_that_does_not_fit_is_written_as_zero() {
        let mut field = [0; 8];
        assert!(write_octal(&mut field, 0o777_7777));
        assert_eq!(&field, b"7777777\0");
        assert!(!write_octal(&mut field, 0o1000_0000));
        assert_eq!(&field, b"0000000\0");
    }

    #[test]
    fn base256_goes_both_ways_and_knows_negative_numbers() {
        let mut field = [0; 12];
        write_base256(&mut field, 9 << 30);
        assert_eq!(read_number(&field), Some(9 << 30));
        assert_eq!(read_number(&[0xff; 12]), Some(-1));
        assert_eq!(read_number(&[0xff, 0xff, 0, 0, 0, 0, 0, 0]), Some(-(1 << 48)));
        let mut huge = [0xff; 12];
        huge[0] = 0x80;
        assert_eq!(read_number(&huge), None);
    }

    #[test]
    fn numbers_are_read_as_python_reads_them() {
        assert_eq!(read_number(b"   644 \0"), Some(0o644));
        assert_eq!(read_number(b"\0\0\0\0\0\0\0\0"), Some(0));
        assert_eq!(read_number(b"12345678"), None);
    }
}
