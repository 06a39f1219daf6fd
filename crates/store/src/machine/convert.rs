//! Converts between the types of the store and those of the connection.

use std::time::{Duration, UNIX_EPOCH};

use data_encoding::HEXLOWER_PERMISSIVE;
use peer::{PeerError, Refusal, RefusalKind, message};

use crate::{
    error::{Kind, Operation, StoreError},
    store::{Abilities, Checked, Entry, PartRules, Placement},
};

/// Larger parts than a disk needs: over a connection each waits for its answer.
const PREFERRED: u64 = 8 << 20;

/// What to do where a receiver keeps what it has.
pub(super) const APPEND_ONLY: &str =
    "`haul receive` runs with --append-only: delete, pin, unpin or prune on the receiving machine itself";

pub(super) fn abilities(there: &message::Abilities) -> Abilities {
    let placement = match there.placement {
        message::Placement::Random => Placement::Random,
        message::Placement::Parts { smallest, largest, most, equal } => {
            Placement::Parts(PartRules { smallest, largest, most, equal })
        }
        message::Placement::Sequential => Placement::Sequential,
    };
    Abilities {
        placement,
        multiple: there.multiple.max(1),
        preferred: if placement == Placement::Random { there.preferred.max(PREFERRED) } else { there.preferred },
        concurrency: 1,
        needs_length: there.needs_length,
        restarts: there.restarts,
        md5: there.md5,
        resumable: there.resumable,
    }
}

pub(super) fn abilities_of(own: &Abilities) -> message::Abilities {
    let placement = match own.placement {
        Placement::Random => message::Placement::Random,
        Placement::Parts(PartRules { smallest, largest, most, equal }) => {
            message::Placement::Parts { smallest, largest, most, equal }
        }
        Placement::Sequential => message::Placement::Sequential,
    };
    message::Abilities {
        placement,
        multiple: own.multiple,
        preferred: own.preferred,
        needs_length: own.needs_length,
        restarts: own.restarts,
        md5: own.md5,
        resumable: own.resumable,
        makes: false,
        append_only: false,
    }
}

pub(super) fn entry(object: message::Object) -> Entry {
    let modified = object.modified.and_then(|millis| UNIX_EPOCH.checked_add(Duration::from_millis(millis)));
    Entry { name: object.name, size: object.size, modified, link: object.link }
}

pub(super) fn object(entry: Entry) -> message::Object {
    let modified =
        entry.modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).map(|since| since.as_millis() as u64);
    message::Object { name: entry.name, size: entry.size, modified, link: entry.link }
}

const CHECKED: [(Checked, &str); 4] = [
    (Checked::Size, "size"),
    (Checked::Checksum, "checksum"),
    (Checked::PartChecksums, "part-checksums"),
    (Checked::ReadBack, "read-back"),
];

pub(super) fn checked(word: &str) -> Option<Checked> {
    CHECKED.iter().find(|(_, known)| *known == word).map(|(checked, _)| *checked)
}

pub(super) fn checked_word(checked: Checked) -> &'static str {
    CHECKED.iter().find(|(known, _)| *known == checked).map_or("size", |(_, word)| word)
}

/// What a receiver's own trouble means for its sender.
pub(super) fn refusal(error: &StoreError) -> Refusal {
    let kind = match error.kind() {
        Some(Kind::Transient { retry_after }) => {
            RefusalKind::Passing { after: retry_after.map(|after| after.as_millis() as u64) }
        }
        Some(Kind::Lost) => RefusalKind::Lost,
        Some(Kind::Credentials) => RefusalKind::Credentials,
        // The protocol has no word of its own for it.
        Some(Kind::DailyLimit) => RefusalKind::Passing { after: None },
        Some(Kind::Permission) => RefusalKind::Permission,
        Some(Kind::Full { missing }) => RefusalKind::Full { missing },
        Some(Kind::NotFound) => RefusalKind::NotFound,
        Some(Kind::Exists) => RefusalKind::Exists,
        Some(Kind::Mismatch) => RefusalKind::Mismatch,
        Some(Kind::Protocol) | None => RefusalKind::Protocol,
        Some(Kind::Invalid) => RefusalKind::Invalid,
    };
    let advice = match error {
        StoreError::Remote(remote) => remote.advice.clone(),
        _ if error.kind().is_none() => Some("check the disk of the receiving machine".to_owned()),
        _ => None,
    };
    Refusal { kind, reason: error.to_string(), advice }
}

/// A failure of the connection, or of the other side, as an error of the store.
pub(super) fn failed(label: &str, name: &str, operation: Operation, error: &PeerError) -> StoreError {
    let reason = error.to_string();
    let as_remote = |kind| StoreError::remote(label, operation, kind, reason.clone());
    let (kind, advice) = match error {
        PeerError::Unreachable(_) | PeerError::Broken(_) => return as_remote(Kind::Transient { retry_after: None }),
        PeerError::NotPaired => (
            Kind::Credentials,
            format!(
                "it has forgotten this machine, or was reinstalled: run `haul peers forget '{name}'` on this machine, \
                 and try again with the code that `haul receive` shows there"
            ),
        ),
        PeerError::KeyChanged => (
            Kind::Credentials,
            format!(
                "if {name} was reinstalled, run `haul peers forget '{name}'` and pair again; if not, something \
                else answers in its place"
            ),
        ),
        PeerError::WrongCode => (
            Kind::Credentials,
            "type the code that `haul receive` shows there; it changes after five wrong tries".to_owned(),
        ),
        PeerError::NoPairing => (
            Kind::Credentials,
            "its code has been used or has expired: for a new one, press Enter in `haul receive` \
                there, or start it again"
                .to_owned(),
        ),
        PeerError::Protocol(_) => return as_remote(Kind::Protocol),
        PeerError::State { .. } => (Kind::Permission, "check the file's permissions and its disk".to_owned()),
        PeerError::Refused(refusal) => {
            let refused = as_remote(refused_kind(refusal.kind));
            return match &refusal.advice {
                Some(advice) => refused.advise(advice),
                None => refused,
            };
        }
    };
    as_remote(kind).advise(advice)
}

fn refused_kind(kind: RefusalKind) -> Kind {
    match kind {
        RefusalKind::Passing { after } => Kind::Transient { retry_after: after.map(Duration::from_millis) },
        RefusalKind::Lost => Kind::Lost,
        RefusalKind::Credentials => Kind::Credentials,
        RefusalKind::Permission => Kind::Permission,
        RefusalKind::Full { missing } => Kind::Full { missing },
        RefusalKind::NotFound => Kind::NotFound,
        RefusalKind::Exists => Kind::Exists,
        RefusalKind::Mismatch => Kind::Mismatch,
        RefusalKind::Protocol => Kind::Protocol,
        RefusalKind::Invalid => Kind::Invalid,
    }
}

/// An MD5 in hexadecimal.
pub(super) fn digest(text: &str) -> Option<[u8; 16]> {
    HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok()?.try_into().ok()
}
