//! What the first pass learns from the content of a file as it passes.

use habackup::tar::{Entry, EntryKind};
use livesqlite::check::ImageChecker;
use serde_json::Value;

/// A file that says a version, or what an add-on is, is no longer.
const SMALL: u64 = 1 << 20;
/// What every `AppleDouble` file begins with.
const APPLE: [u8; 4] = [0, 5, 0x16, 7];

/// What is searched for in a file's content.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is looked for by itself")]
pub(super) struct Seen {
    started: bool,
    apple: Option<bool>,
    keep: bool,
    pub(super) start: Vec<u8>,
    is_addon: bool,
    database: bool,
    pages: Option<u64>,
    pub(super) has_log: bool,
    pub(super) checker: Option<ImageChecker>,
}

impl Seen {
    pub(super) fn of(entry: &Entry, path: &[u8], config: bool) -> Self {
        let base = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let is_file = entry.kind == EntryKind::File;
        let is_addon = !config && path == b"addon.json";
        Self {
            apple: (config && is_file && base.starts_with(b"._")).then_some(false),
            keep: is_file && entry.size <= SMALL && ((config && base == b".HA_VERSION") || is_addon),
            is_addon,
            database: config && is_file,
            ..Self::default()
        }
    }

    pub(super) fn take(&mut self, bytes: &[u8]) {
        if !std::mem::replace(&mut self.started, true) {
            if let Some(apple) = &mut self.apple {
                *apple = bytes.starts_with(&APPLE);
            }
            if self.database && livesqlite::is_database(bytes) {
                self.checker = Some(ImageChecker::new());
                self.pages = declared_size(bytes);
                self.has_log = bytes.get(18..20) == Some(&[2, 2]);
            }
        }
        if self.keep {
            self.start.extend_from_slice(bytes);
        }
        if let Some(checker) = &mut self.checker {
            checker.push(bytes);
        }
    }

    pub(super) fn is_apple(&self) -> bool {
        self.apple == Some(true)
    }

    pub(super) fn is_short(&self, size: u64) -> bool {
        self.pages.is_some_and(|declared| size < declared)
    }

    /// Name and version, from the file that Supervisor puts into every add-on's archive.
    pub(super) fn addon(&self) -> Option<(String, String)> {
        let value: Value = serde_json::from_slice(&self.start).ok().filter(|_| self.is_addon)?;
        let system = value.get("system")?;
        let text = |key: &str| system.get(key).and_then(Value::as_str).map(str::to_owned);
        Some((text("name")?, text("version")?))
    }
}

/// Bytes of a database by its header, where that is valid.
fn declared_size(header: &[u8]) -> Option<u64> {
    let word =
        |at: usize| header.get(at..at + 4).map(|bytes| u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
    let page = match header.get(16..18)? {
        [0, 1] => 65_536,
        [high, low] => u64::from(u16::from_be_bytes([*high, *low])),
        _ => return None,
    };
    (word(24)? == word(92)?).then_some(page * u64::from(word(28)?))
}
