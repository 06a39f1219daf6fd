//! What was seen in an archive, as plain data. The code that fills it in decides nothing.

use serde_json::Value;

use super::{Asked, Reader};
use crate::rules::TooLong;
use crate::securetar::SecureTarVersion;
use crate::settings::{Damage, RECORDER};
use crate::tar::EntryKind;
use crate::version::HaVersion;

/// All of it.
#[derive(Debug, Default)]
pub struct Facts {
    /// Bytes of the file.
    pub length: u64,
    /// What the file is by its content.
    pub nature: Nature,
    /// Its outer tar.
    pub outer: Outer,
    /// The member that readers take for the description, or the nearest to it.
    pub description: Option<Description>,
    /// The inner archive with the configuration, under whatever name.
    pub main: Option<Inner>,
    /// The others: folders, add-ons, the Supervisor's own.
    pub parts: Vec<Inner>,
    /// Whether there was a password to try.
    pub password: bool,
    /// Which readers to check.
    pub asked: Asked,
}

impl Facts {
    /// The version of Home Assistant that made the archive: the one that readers go by, else the one that the
    /// configuration says.
    pub fn made_by(&self) -> Option<HaVersion> {
        let declared = self
            .description
            .as_ref()
            .and_then(|description| description.get("homeassistant")?.get("version")?.as_str()?.parse().ok());
        declared.or_else(|| self.main.as_ref()?.content.as_ref()?.version.as_deref()?.parse().ok())
    }

    /// The readers to check.
    pub fn readers(&self) -> Vec<Reader> {
        if self.asked == Asked::Able && self.is_for_supervisor() {
            return vec![Reader::Supervisor];
        }
        let made_by = self.made_by();
        Reader::ALL.into_iter().filter(|reader| reader.is_asked(&self.asked, made_by.as_ref())).collect()
    }

    /// A whole archive of folders and add-ons alone, in which there is nothing for Core.
    fn is_for_supervisor(&self) -> bool {
        let announces = |fields: &serde_json::Map<String, Value>| {
            fields.get("homeassistant").is_some_and(|section| !section.is_null())
        };
        let fields = self.description.as_ref().and_then(|description| description.value.as_ref().ok()?.as_object());
        self.main.is_none()
            && !self.parts.is_empty()
            && matches!(self.outer.end, OuterEnd::Clean | OuterEnd::Unmarked)
            && fields.is_some_and(|fields| !announces(fields))
    }

    /// The member that Supervisor opens to see whether the password is right: the first that is called like an archive.
    pub(super) fn probed(&self) -> Option<&Inner> {
        let compressed =
            self.description.as_ref().and_then(|description| description.get("compressed")).is_none_or(truthy);
        let ending = if compressed { ".tar.gz" } else { ".tar" };
        let first = self.outer.members.iter().find(|member| member.name.ends_with(ending))?;
        self.main.iter().chain(&self.parts).find(|inner| inner.name == first.name)
    }
}

/// What a file is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Nature {
    /// A tar, perhaps a damaged one.
    #[default]
    Tar,
    /// No bytes.
    Empty,
    /// Zeros only.
    Zeros,
    /// A whole backup packed once more: by what.
    Packed(&'static str),
    /// A configuration, or a piece of a backup, without what makes a backup of it: which.
    Piece(&'static str),
    /// A page or message of a web server: its kind and its beginning.
    Answer(&'static str, String),
    /// Something that another program made: what.
    Other(&'static str),
}

/// The outer tar as Python walks it.
#[derive(Debug, Default)]
pub struct Outer {
    /// Its members in their order.
    pub members: Vec<OuterMember>,
    /// How it ends.
    pub end: OuterEnd,
    /// Something other than zeros follows the end.
    pub trailing: bool,
    /// It is shorter than Haul wrote it: zeros at its end are missing.
    pub short: bool,
    /// What is wrong with Haul's index.
    pub index: Option<String>,
}

/// A member of the outer tar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OuterMember {
    /// Its name as written there.
    pub name: String,
    /// What it is.
    pub kind: EntryKind,
    /// Bytes.
    pub size: u64,
    /// The sizes of its two headers, where they disagree: header block, PAX record.
    pub sizes: Option<(u64, u64)>,
    /// Whether a PAX record says its size.
    pub size_record: bool,
    /// Whether macOS' own tar wrote it.
    pub libarchive: bool,
}

impl OuterMember {
    /// Its name without a leading `./`.
    pub fn plain_name(&self) -> &str {
        self.name.strip_prefix("./").unwrap_or(&self.name)
    }
}

/// How the outer tar ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OuterEnd {
    /// As it should.
    #[default]
    Clean,
    /// Behind a member, without an end marker.
    Unmarked,
    /// At something that Python takes for the end.
    Silent(&'static str),
    /// At something that makes Python raise `ReadError`.
    Refused(&'static str),
}

/// The description.
#[derive(Debug)]
pub struct Description {
    /// The member's name.
    pub name: String,
    /// What it says, or why it says nothing.
    pub value: Result<Value, JsonProblem>,
}

impl Description {
    /// Reads a description as Core's parser does.
    pub fn parse(name: impl Into<String>, bytes: &[u8]) -> Self {
        Self { name: name.into(), value: serde_json::from_slice(bytes).map_err(|error| JsonProblem::of(bytes, &error)) }
    }

    /// A field.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.value.as_ref().ok()?.get(key)
    }

    /// Whether it says that the backup is encrypted, as Python would judge it.
    pub fn protected(&self) -> bool {
        self.get("protected").is_some_and(truthy)
    }
}

/// What Python's `bool()` says.
pub(super) fn truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}

/// Why a text is not JSON, as Home Assistant's parser says it, as far as that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonProblem {
    /// What Core before 2026.3 says.
    pub text: String,
    /// What newer Core says, whose parser is newer.
    pub text_since_20263: String,
    /// Python's own `json` reads it, which Supervisor uses: UTF-16, or a byte order mark.
    pub only_for_core: bool,
}

impl JsonProblem {
    fn of(bytes: &[u8], error: &serde_json::Error) -> Self {
        let text = Self::text(bytes, error);
        let text_since_20263 = Self::newer_text(bytes, error, &text);
        Self { text, text_since_20263, only_for_core: python_reads(bytes) }
    }

    /// What orjson 3.11 says of what older ones say `text` of.
    fn newer_text(bytes: &[u8], error: &serde_json::Error, text: &str) -> String {
        let said = "unexpected character: ";
        if !text.starts_with(said) {
            return text.to_owned();
        }
        if bytes.starts_with(b"\xef\xbb\xbf") {
            return text.replace(said, "UTF-8 byte order mark (BOM) is not supported: ");
        }
        if error.to_string().starts_with("expected value") {
            return text.replace(said, "unexpected character, expected a JSON value: ");
        }
        text.to_owned()
    }

    fn text(bytes: &[u8], error: &serde_json::Error) -> String {
        const FIRST: &str = "line 1 column 1 (char 0)";
        if bytes.is_empty() {
            return format!("Input is a zero-length, empty document: {FIRST}");
        }
        let Ok(text) = std::str::from_utf8(bytes) else {
            return format!("str is not valid UTF-8: surrogates not allowed: {FIRST}");
        };
        let at: usize = text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum::<usize>()
            + error.column().saturating_sub(1);
        let position = format!("line {} column {} (char {at})", error.line(), error.column());
        match error.to_string() {
            said if said.starts_with("trailing comma") => {
                // The parsers point to the two ends of the space between the comma and the bracket.
                let comma = text[..at].rfind(',').unwrap_or(at);
                let column = error.column().saturating_sub(at - comma);
                format!("trailing comma is not allowed: line {} column {column} (char {comma})", error.line())
            }
            said if said.starts_with("EOF") => {
                // The position after the last character.
                let last = text.rsplit('\n').next().unwrap_or_default().chars().count();
                format!(
                    "unexpected end of data: line {} column {} (char {})",
                    text.split('\n').count(),
                    last + 1,
                    text.chars().count()
                )
            }
            _ => format!("unexpected character: {position}"),
        }
    }
}

/// `json.loads` of bytes, as far as it takes more than UTF-8: `json.detect_encoding`.
fn python_reads(bytes: &[u8]) -> bool {
    let wide = |bytes: &[u8], big: bool| {
        let units: Vec<u16> = bytes
            .as_chunks::<2>()
            .0
            .iter()
            .map(|pair| if big { u16::from_be_bytes(*pair) } else { u16::from_le_bytes(*pair) })
            .collect();
        String::from_utf16(&units).is_ok_and(|text| serde_json::from_str::<Value>(&text).is_ok())
    };
    match bytes {
        [0xef, 0xbb, 0xbf, rest @ ..] => serde_json::from_slice::<Value>(rest).is_ok(),
        [0xff, 0xfe, rest @ ..] => wide(rest, false),
        [0xfe, 0xff, rest @ ..] => wide(rest, true),
        [0, _, ..] => wide(bytes, true),
        [_, 0, ..] => wide(bytes, false),
        _ => false,
    }
}

/// What a member holds, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Nothing.
    Empty,
    /// A gzip stream.
    Gzip,
    /// A tar.
    Tar,
    /// SecureTar by its magic, or by what the right password makes of it.
    Encrypted(SecureTarVersion),
    /// SecureTar of an unknown version.
    SealedUnknown,
    /// None of them.
    Unknown,
}

/// What is known of an encrypted member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sealing {
    /// Whether the password opens it; `None` without one.
    pub opens: Option<bool>,
    /// The plaintext's size according to the header, and the real one, where they differ.
    pub sizes: Option<(u64, u64)>,
    /// What the authentication, or the padding at its end, says is wrong.
    pub damage: Option<String>,
}

/// An inner archive.
#[derive(Debug)]
pub struct Inner {
    /// Its name in the outer tar.
    pub name: String,
    /// Bytes of the member.
    pub size: u64,
    /// What it holds.
    pub shape: Shape,
    /// Of an encrypted one.
    pub sealing: Sealing,
    /// What Python finds inside, if it can be opened at all.
    pub content: Option<Content>,
}

impl Inner {
    /// Whether it is encrypted.
    pub fn is_sealed(&self) -> bool {
        matches!(self.shape, Shape::Encrypted(_) | Shape::SealedUnknown)
    }
}

/// How a gzip stream ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GzipEnd {
    /// There is none, or it was not read to its end.
    #[default]
    None,
    /// As it should.
    Sound,
    /// Its checksum or length is wrong.
    Unequal,
    /// Another member follows.
    SecondMember,
    /// Something follows that is no zero.
    Garbage,
    /// It ends too early.
    Truncated,
    /// It makes no sense.
    Corrupt,
}

/// What went wrong in the middle of an inner tar, by what Python raises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failing {
    /// `tarfile.ReadError`, with its text.
    Read(&'static str),
    /// `EOFError`.
    Eof,
    /// `zlib.error`, in a header or a body.
    Zlib,
    /// What v3 does not authenticate.
    Tampered,
}

/// How an inner tar ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ContentEnd {
    /// As it should.
    #[default]
    Clean,
    /// Behind a member, without an end marker.
    Unmarked,
    /// At something that Python takes for the end.
    Silent(&'static str),
    /// At something that makes Python stop.
    Failed(Failing),
}

/// A member that is neither file, directory nor link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Special {
    /// Its path in the inner tar.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
}

/// Where a symbolic link of the configuration leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// It begins with `/`.
    Absolute,
    /// It does not.
    Relative,
}

/// In which mode a database was when it was copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Journal {
    /// With a write-ahead log: what was written last is in there.
    Wal,
    /// With any other journal.
    Other,
}

/// The recorder's database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database {
    /// Bytes.
    pub size: u64,
    /// Of these, bytes that are there.
    pub present: u64,
    /// Whether it begins as a database does.
    pub is_one: bool,
    /// Its journal.
    pub journal: Journal,
    /// Bytes of a page.
    pub page_size: u64,
    /// What is wrong with its pages.
    pub problems: Vec<String>,
}

/// What Python finds in an inner archive. Paths are those of the inner tar.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is one thing that was met or not")]
pub struct Content {
    /// Whether it is compressed.
    pub compressed: bool,
    /// How the tar ends.
    pub end: ContentEnd,
    /// How the gzip stream ends.
    pub gzip: GzipEnd,
    /// The last member before the end.
    pub last: Option<Vec<u8>>,
    /// Members.
    pub entries: u64,
    /// Of these, the directory that all the others lie in.
    pub tops: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// There is `data` or something below it.
    pub data: bool,
    /// Members below `data`.
    pub below_data: u64,
    /// Members that lie elsewhere.
    pub beside_data: u64,
    /// `data` itself is a symbolic link.
    pub data_is_link: bool,
    /// Something of `.storage`.
    pub storage: bool,
    /// Size of `.storage/auth`.
    pub auth: Option<u64>,
    /// `.storage/auth_provider.homeassistant`.
    pub auth_provider: bool,
    /// `.storage/onboarding`.
    pub onboarding: bool,
    /// `.storage/core.config_entries`.
    pub config_entries: bool,
    /// Settings files whose bytes Home Assistant can't read: path in the inner tar, and what is wrong.
    pub damaged_settings: Vec<(Vec<u8>, Damage)>,
    /// What `.HA_VERSION` says.
    pub version: Option<String>,
    /// `configuration.yaml`, and whether it is a link.
    pub configuration: Option<Option<Link>>,
    /// `.HA_RESTORE`.
    pub pending_restore: bool,
    /// The recorder's database.
    pub database: Option<Database>,
    /// Size of its log.
    pub log: Option<u64>,
    /// Other databases that are damaged.
    pub damaged_databases: Vec<Vec<u8>>,
    /// FIFOs, devices and unknown kinds.
    pub specials: Vec<Special>,
    /// Hard links: path, and whether what they link to came before.
    pub hard_links: Vec<(Vec<u8>, Vec<u8>, bool)>,
    /// Paths that lead out: absolute or with `..`.
    pub escaping: Vec<Vec<u8>>,
    /// Members below a symbolic link, with that link's target outside.
    pub through_links: Vec<Vec<u8>>,
    /// Symbolic links of the configuration.
    pub links: Vec<(Vec<u8>, Link)>,
    /// Entries called `backups` below the first level, or inside the one there.
    pub in_backups: Vec<Vec<u8>>,
    /// `AppleDouble` files.
    pub apple: Vec<Vec<u8>>,
    /// Some members after the first gzip member of an encrypted archive, not counting directories, and how many there
    /// are.
    pub behind: Vec<Vec<u8>>,
    /// All of them.
    pub behind_count: u64,
    /// Names that are there more than once.
    pub repeated: Vec<Vec<u8>>,
    /// Members whose names, or what they link to, are longer than Linux allows.
    pub too_long: Vec<(Vec<u8>, TooLong)>,
    /// Names that are not UTF-8.
    pub not_utf8: Vec<Vec<u8>>,
    /// Members whose two headers disagree on their size.
    pub sizes_disagree: Vec<Vec<u8>>,
}

impl Content {
    /// Notes a member of the configuration by its path below `data` (`data` itself is the empty path), its size, and
    /// where it leads if it is a symbolic link.
    pub fn note(&mut self, below: &[u8], size: u64, link: Option<Link>) {
        self.data = true;
        if below.is_empty() {
            return;
        }
        self.below_data += 1;
        self.storage |= below == b".storage" || below.starts_with(b".storage/");
        match below {
            b".storage/auth" => self.auth = Some(size),
            b".storage/auth_provider.homeassistant" => self.auth_provider = true,
            b".storage/onboarding" => self.onboarding = true,
            b".storage/core.config_entries" => self.config_entries = true,
            b"configuration.yaml" => self.configuration = Some(link),
            b".HA_RESTORE" => self.pending_restore = true,
            _ if below.strip_suffix(b"-wal") == Some(RECORDER) => self.log = Some(size),
            _ => {}
        }
    }
}
