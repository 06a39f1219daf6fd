//! Removing packs that no backup needs.
//!
//! A pack goes in two steps, never in one: it is written down as doomed when no backup needs it, and deleted at least a
//! day later, by another cleanup, when a fresh look shows that still none does. While a backup is running nothing is
//! doomed and nothing deleted. A backup that is about to be committed looks for doomed and missing packs itself
//! ([`Vault::commit`]), so even one that slept for a week between two calls refers to nothing that is gone.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use store::StoreError;

use crate::{
    id::{Id, Kind},
    objects::{is_damaged, is_gone},
    record::DoomedPacks,
    vault::{Listing, Vault},
};

/// So long a pack stays doomed.
pub const GRACE: Duration = Duration::from_hours(24);
/// A backup that began before this was killed.
const ABANDONED: Duration = Duration::from_hours(7 * 24);

/// What a cleanup did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// Packs that were deleted, …
    pub removed: usize,
    /// … and their bytes.
    pub bytes: u64,
    /// Packs that no backup needs and that stay for now.
    pub doomed: usize,
    /// A backup is running, or was killed within the week: nothing was done.
    pub waits: bool,
}

/// Removes what was doomed before, and dooms what no backup needs now.
pub fn collect(vault: &Vault, grace: Duration) -> Result<Cleaned, StoreError> {
    let mut cleaned = Cleaned::default();
    let listing = vault.listing()?;
    for (id, entry) in listing.of(Kind::Writer) {
        if is_older(entry.modified, ABANDONED) {
            vault.objects.delete(&Kind::Writer.object(id))?;
        }
        cleaned.waits = true;
    }
    if cleaned.waits {
        return Ok(cleaned);
    }
    let needed = needed(vault, &listing)?;
    let (mut known, mut gone) = (BTreeSet::new(), BTreeSet::new());
    for (id, entry) in listing.of(Kind::Doomed) {
        let doomed = match vault.objects.record(&vault.master, Kind::Doomed, id, entry.size) {
            Ok(doomed) => doomed,
            // It goes like any other, and its packs are doomed anew.
            Err(error) if is_gone(&error) || is_damaged(&error) => DoomedPacks { packs: Vec::new() },
            Err(error) => return Err(error),
        };
        let due = is_older(entry.modified, grace);
        for pack in doomed.packs {
            let Some(found) = listing.found.get(&(Kind::Pack, pack)) else { continue };
            if needed.contains(&pack) || gone.contains(&pack) {
                continue;
            }
            if due {
                gone.insert(pack);
                vault.objects.delete(&Kind::Pack.object(pack))?;
                cleaned.removed += 1;
                cleaned.bytes += found.size;
            } else {
                known.insert(pack);
            }
        }
        if due {
            vault.objects.delete(&Kind::Doomed.object(id))?;
        }
    }
    let newly: Vec<Id> = listing
        .of(Kind::Pack)
        .map(|(id, _)| id)
        .filter(|id| !needed.contains(id) && !known.contains(id) && !gone.contains(id))
        .collect();
    if !newly.is_empty() {
        let id = vault.random_id()?;
        cleaned.doomed = newly.len();
        vault.objects.put_record(&vault.master, Kind::Doomed, id, &DoomedPacks { packs: newly })?;
    }
    cleaned.doomed += known.len();
    Ok(cleaned)
}

/// The packs that any backup needs. Of a backup that can't be read nobody knows, so nothing is removed then.
fn needed(vault: &Vault, listing: &Listing) -> Result<BTreeSet<Id>, StoreError> {
    let mut packs = BTreeSet::new();
    for (id, entry) in listing.of(Kind::Snapshot) {
        // Nothing may go when it is not known what one of them needs.
        packs.extend(vault.snapshot(id, entry.size)?.packs.iter().map(|(pack, _)| *pack));
    }
    Ok(packs)
}

/// What a destination does not date stays.
fn is_older(modified: Option<SystemTime>, than: Duration) -> bool {
    modified.and_then(|modified| modified.elapsed().ok()).is_some_and(|age| age >= than)
}
