//! Text for people: names of any bytes, sizes in units, errors of the operating system.

use std::{
    io,
    path::{Path, PathBuf},
};

use habackup::rules::PATH_MAX;
use store::without_number;

/// How much is shown of a name that no system can have.
const CUT: usize = 200;

/// A path of any bytes in printable form: control characters and what is not UTF-8 become `\xNN`, so that a name can't
/// write to the terminal. One that is longer than any path can be is cut.
pub fn shown(path: &[u8]) -> String {
    if path.len() <= PATH_MAX {
        return printable(path);
    }
    let end = (0..=CUT).rev().find(|end| path[*end] & 0xc0 != 0x80).unwrap_or(CUT);
    format!("{}… ({} bytes)", printable(&path[..end]), path.len())
}

fn printable(path: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(path.len());
    for chunk in path.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_control() || reorders(character) {
                let mut bytes = [0; 4];
                for byte in character.encode_utf8(&mut bytes).bytes() {
                    let _ = write!(text, "\\x{byte:02x}");
                }
            } else {
                text.push(character);
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// Bytes in decimal units, as disks and clouds count them.
pub fn in_units(count: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if count < 1000 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let decimals = usize::from(value < 9.95) + usize::from(value < 99.5 && unit > 1);
    format!("{value:.decimals$} {}", UNITS[unit])
}

/// Invisible characters that change how the ones around them are shown.
pub fn reorders(character: char) -> bool {
    matches!(character, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Paths in JSON: any bytes, printable.
pub fn serialize_path<S: serde::Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&shown(path.as_os_str().as_encoded_bytes()))
}

#[expect(clippy::ref_option, reason = "serde hands over a reference to the field")]
pub(crate) fn serialize_optional_path<S: serde::Serializer>(
    path: &Option<PathBuf>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match path {
        Some(path) => serialize_path(path, serializer),
        None => serializer.serialize_none(),
    }
}

/// What the operating system says, without the number of the error.
pub fn plain(error: &io::Error) -> String {
    shown(without_number(&error.to_string()).as_bytes()).to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_reads_backwards_is_distinguished() {
        assert_eq!(shown("a\u{202e}txt.exe".as_bytes()), "a\\xe2\\x80\\xaetxt.exe");
    }

    #[test]
    fn a_name_that_no_system_can_have_is_cut() {
        let longest = "é".repeat(PATH_MAX / 2);
        assert_eq!(shown(longest.as_bytes()), longest);
        assert_eq!(shown(format!("a{longest}é").as_bytes()), format!("a{}… (4097 bytes)", "é".repeat(99)));
        assert_eq!(shown(&[0x80; 5000]), format!("{}… (5000 bytes)", "\\x80".repeat(200)));
    }

    #[test]
    fn a_name_of_any_bytes_is_printable() {
        assert_eq!(shown(b"caf\xc3\xa9/\x1b[31m\xff.txt"), "café/\\x1b[31m\\xff.txt");
    }
}
