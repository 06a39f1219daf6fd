//! The state: files and folders, open uploads, tokens and codes, free space, and what arrived.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use data_encoding::HEXLOWER;
use md5::{Digest, Md5};
use serde_json::{Value, json};

use super::script::{Call, Fault};

pub(super) const FOLDER: &str = "application/vnd.google-apps.folder";
pub(super) const ROOT: &str = "0AHaulRoot";

/// A file or folder as a test sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Whether it is a folder.
    pub is_folder: bool,
    /// Its size in bytes.
    pub size: u64,
    /// MD5 of its bytes, in hex.
    pub md5: String,
    /// The folders it is in.
    pub parents: Vec<String>,
    /// Whether it, or a folder it is in, is in the trash.
    pub trashed: bool,
    /// Its properties.
    pub properties: BTreeMap<String, String>,
    /// When it was made.
    pub created: SystemTime,
}

/// A request that came in.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The request.
    pub call: Call,
    /// Method and path, without the query.
    pub line: String,
    /// `Content-Range` as it came.
    pub range: Option<String>,
    /// Bytes of its body that arrived.
    pub bytes: u64,
    /// What was answered; 0: nothing.
    pub status: u16,
}

#[derive(Clone)]
pub(super) struct Node {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) mime: String,
    pub(super) parents: Vec<String>,
    pub(super) trashed: bool,
    pub(super) properties: BTreeMap<String, String>,
    pub(super) data: Vec<u8>,
    pub(super) md5: String,
    pub(super) created: SystemTime,
    pub(super) modified: SystemTime,
    pub(super) foreign: bool,
    // Which page of a search is the first that knows this file by its name and properties.
    pub(super) indexed: u64,
    // Before that, searches know it by this name; `None`: not at all.
    pub(super) indexed_name: Option<String>,
}

impl Node {
    pub(super) fn file(at: SystemTime) -> Self {
        Self {
            id: String::new(),
            name: "Untitled".to_owned(),
            mime: "application/octet-stream".to_owned(),
            parents: vec![ROOT.to_owned()],
            trashed: false,
            properties: BTreeMap::new(),
            data: Vec::new(),
            md5: String::new(),
            created: at,
            modified: at,
            foreign: false,
            indexed: 0,
            indexed_name: None,
        }
    }

    pub(super) fn is_folder(&self) -> bool {
        self.mime == FOLDER
    }
}

pub(super) struct Session {
    pub(super) node: Node,
    pub(super) fields: Option<String>,
    pub(super) total: Option<u64>,
    pub(super) data: Vec<u8>,
    pub(super) finished: Option<String>,
}

pub(super) struct Code {
    pub(super) typed: String,
    pub(super) approved: Option<bool>,
    pub(super) expired: bool,
    pub(super) asked: Instant,
}

/// Ways of the real one that a program for backups must bear.
#[expect(clippy::struct_excessive_bools, reason = "each is a way of its own")]
#[derive(Clone, Debug, Default)]
pub struct Ways {
    /// A file is found by its name or its properties only after so many more pages of searches; what is in a folder is
    /// known at once.
    pub lag: u64,
    /// What a folder lists bears its old name just as long.
    pub stale_listings: bool,
    /// So many more descriptions of a file lack its size.
    pub no_size: u64,
    /// So many more descriptions of a file lack its MD5.
    pub no_md5: u64,
    /// Files count as malware: only clients that accept the risk (`acknowledgeAbuse`) get them.
    pub abusive: bool,
    /// Searches return the newest first, whatever order the request names.
    pub reversed: bool,
    /// The account reports the limit "0".
    pub limit_zero: bool,
    /// Everything is in a shared drive, whose members may move files to the trash but not delete them.
    pub shared: bool,
    /// The `Range` of an upload has no unit.
    pub bare_range: bool,
}

pub(super) struct World {
    pub(super) nodes: BTreeMap<String, Node>,
    pub(super) sessions: HashMap<String, Session>,
    pub(super) codes: HashMap<String, Code>,
    pub(super) refresh: Vec<String>,
    pub(super) access: HashMap<String, Instant>,
    pub(super) pages: HashMap<String, (String, usize)>,
    pub(super) token_life: Duration,
    pub(super) limit: Option<u64>,
    pub(super) used: u64,
    pub(super) page_limit: usize,
    pub(super) ways: Ways,
    // Pages of searches that were answered.
    pub(super) searches: u64,
    pub(super) script: HashMap<Call, VecDeque<Fault>>,
    pub(super) seen: Vec<Seen>,
    pub(super) secrets: Vec<String>,
    count: u64,
}

impl Default for World {
    fn default() -> Self {
        Self {
            nodes: BTreeMap::new(),
            sessions: HashMap::new(),
            codes: HashMap::new(),
            refresh: Vec::new(),
            access: HashMap::new(),
            pages: HashMap::new(),
            token_life: Duration::from_secs(3599),
            limit: Some(15 << 30),
            used: 0,
            page_limit: 1000,
            ways: Ways::default(),
            searches: 0,
            script: HashMap::new(),
            seen: Vec::new(),
            secrets: Vec::new(),
            count: 0,
        }
    }
}

impl World {
    pub(super) fn next(&mut self, prefix: &str) -> String {
        self.count += 1;
        format!("{prefix}{:08}", self.count)
    }

    /// A token or id that must stay secret: as long as a real one, so that a short part of it is not mistaken for text.
    pub(super) fn next_secret(&mut self, prefix: &str) -> String {
        self.count += 1;
        let digest = Md5::digest(self.count.to_le_bytes());
        let secret = format!("{prefix}{}", HEXLOWER.encode(&digest));
        self.secrets.push(secret.clone());
        secret
    }

    pub(super) fn new_refresh_token(&mut self) -> String {
        let token = self.next_secret("1//0");
        self.refresh.push(token.clone());
        token
    }

    pub(super) fn decide(&mut self, user_code: &str, approve: bool) {
        if let Some(code) = self.codes.values_mut().find(|code| code.typed == user_code) {
            code.approved = Some(approve);
        }
    }

    pub(super) fn insert(&mut self, mut node: Node) -> String {
        node.id = self.next("1file");
        node.md5 = HEXLOWER.encode(&Md5::digest(&node.data));
        node.indexed = self.searches + self.ways.lag;
        let id = node.id.clone();
        self.nodes.insert(id.clone(), node);
        id
    }

    pub(super) fn remove(&mut self, id: &str) {
        self.nodes.remove(id);
        let inside: Vec<String> = self
            .nodes
            .values()
            .filter(|node| node.parents.iter().any(|parent| parent == id))
            .map(|node| node.id.clone())
            .collect();
        for id in inside {
            self.remove(&id);
        }
    }

    /// What this program may see.
    pub(super) fn visible(&self, id: &str) -> Option<&Node> {
        self.nodes.get(id).filter(|node| !node.foreign)
    }

    pub(super) fn is_trashed(&self, node: &Node) -> bool {
        node.trashed
            || node.parents.iter().any(|parent| self.nodes.get(parent).is_some_and(|parent| self.is_trashed(parent)))
    }

    /// Free space; `None` is unlimited.
    pub(super) fn free(&self) -> Option<u64> {
        Some(self.limit?.saturating_sub(self.usage()))
    }

    pub(super) fn usage(&self) -> u64 {
        self.used + self.nodes.values().map(|node| node.data.len() as u64).sum::<u64>()
    }

    pub(super) fn shown(&self, node: &Node) -> Stored {
        Stored {
            id: node.id.clone(),
            name: node.name.clone(),
            is_folder: node.is_folder(),
            size: node.data.len() as u64,
            md5: node.md5.clone(),
            parents: node.parents.clone(),
            trashed: self.is_trashed(node),
            properties: node.properties.clone(),
            created: node.created,
        }
    }

    pub(super) fn give_name(&mut self, id: &str, name: &str) {
        let (searches, lag) = (self.searches, self.ways.lag);
        let Some(node) = self.nodes.get_mut(id) else { return };
        if node.indexed_name.is_none() {
            node.indexed_name = Some(node.name.clone());
        }
        node.indexed = searches + lag;
        name.clone_into(&mut node.name);
    }

    /// Whether searches know it as it is.
    pub(super) fn is_indexed(&self, node: &Node) -> bool {
        node.indexed <= self.searches
    }

    pub(super) fn described(&mut self, node: &Node) -> Value {
        let mut json = json!({
            "kind": "drive#file",
            "id": node.id,
            "name": node.name,
            "mimeType": node.mime,
            "parents": node.parents,
            "trashed": self.is_trashed(node),
            "explicitlyTrashed": node.trashed,
            "appProperties": node.properties,
            "createdTime": rfc3339(node.created),
            "modifiedTime": rfc3339(node.modified),
        });
        if self.ways.shared {
            json["driveId"] = "0AHaulSharedDrive".into();
        }
        if !node.is_folder() {
            if !spent(&mut self.ways.no_size) {
                json["size"] = node.data.len().to_string().into();
            }
            if !spent(&mut self.ways.no_md5) {
                json["md5Checksum"] = node.md5.clone().into();
            }
        }
        json
    }
}

/// One of a number of times that something is to happen.
fn spent(left: &mut u64) -> bool {
    let spent = *left > 0;
    *left = left.saturating_sub(1);
    spent
}

/// As Drive writes times. The calendar is H. Hinnant's `civil_from_days`.
fn rfc3339(at: SystemTime) -> String {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = ((since.as_secs() / 86_400) as i64, since.as_secs() % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let millis = since.subsec_millis();
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{millis:03}Z",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_drive_writes_them() {
        assert_eq!(rfc3339(UNIX_EPOCH), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_millis(951_782_400_123)), "2000-02-29T00:00:00.123Z");
    }
}
