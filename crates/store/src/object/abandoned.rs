//! Removes what killed runs left: uploads whose claim belongs to a dead process, and those that lost even their claim.

use std::{
    collections::BTreeSet,
    path::Path as FilePath,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use object_store::path::Path;

use super::{bucket::Bucket, claim::Claim, multipart::Pending};
use crate::{
    error::{Kind, Operation, StoreError},
    owner,
};

/// A claim with when it was written, by the store's clock, or tried, by ours.
type Dated = (Claim, SystemTime);

/// Ends what is abandoned, and says how many uploads or claims that were.
pub(super) async fn remove(bucket: &Bucket) -> Result<u32, StoreError> {
    let (mut dead, mut alive) = (Vec::new(), Vec::new());
    for (name, meta) in bucket.objects(Operation::List).await? {
        if !owner::is_temporary(&name) {
            continue;
        }
        let written = SystemTime::from(meta.last_modified);
        let age = SystemTime::now().duration_since(written).ok();
        let Some(claim) = Claim::read(bucket, &name, meta.size).await? else {
            if owner::is_abandoned(&name, age) && age.is_some_and(|age| age > owner::STALE) {
                bucket.remove(&name).await?;
            }
            continue;
        };
        if owner::is_abandoned(&name, age) { dead.push((claim, written)) } else { alive.push((claim, written)) }
    }
    let mut count = 0;
    for claim in &dead {
        end(bucket, claim, &alive).await?;
        count += 1;
    }
    Ok(count + end_the_forgotten(bucket, &dead, &alive).await?)
}

/// Claims of uploads that may or may not have begun, each with the time of the attempt, by our clock. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Unsettled(Arc<Mutex<Vec<Dated>>>);

impl Unsettled {
    /// Remembers a claim whose upload may have been begun without our knowing.
    pub(super) fn leave(&self, claim: Claim, tried: SystemTime) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((claim, tried));
    }

    /// Removes what lost answers left, as far as possible; the next cleanup removes the rest.
    pub(super) async fn settle(&self, bucket: &Bucket) {
        let claims = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        if !claims.is_empty() && settle(bucket, &claims).await.is_err() {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(claims);
        }
    }
}

/// By so much the clocks of two machines may differ that still understand each other's signatures.
const SKEW: Duration = Duration::from_mins(15);

/// Ends uploads of this process that may have begun without our knowing. `claims`: each with when it was tried.
async fn settle(bucket: &Bucket, claims: &[(Claim, SystemTime)]) -> Result<(), StoreError> {
    let mut claimed = BTreeSet::new();
    for (name, meta) in bucket.objects(Operation::List).await? {
        if owner::is_temporary(&name) && !claims.iter().any(|(claim, _)| claim.name == name) {
            claimed.extend(Claim::read(bucket, &name, meta.size).await?.and_then(|claim| claim.upload_id));
        }
    }
    for (claim, tried) in claims {
        let Ok(key) = Path::parse(&claim.key) else { continue };
        match &claim.upload_id {
            Some(id) => {
                bucket.multipart.cancel(&key, id).await?;
                claim.remove(bucket).await?;
            }
            None => {
                for pending in known_pending(bucket, &claim.key).await? {
                    let is_recent = pending.begun.is_none_or(|begun| begun + SKEW >= *tried);
                    if pending.key == claim.key && is_recent && !claimed.contains(&pending.id) {
                        bucket.multipart.cancel(&key, &pending.id).await?;
                    }
                }
            }
        }
    }
    Ok(())
}

async fn end(bucket: &Bucket, (claim, written): &Dated, alive: &[Dated]) -> Result<(), StoreError> {
    let Ok(key) = Path::parse(&claim.key) else { return claim.remove(bucket).await };
    // A claim is trusted only for keys of this destination.
    let is_ours = bucket.key(key.filename().unwrap_or_default(), Operation::Delete).is_ok_and(|own| own == key);
    if is_ours {
        let claimed: BTreeSet<&str> = alive.iter().filter_map(|(claim, _)| claim.upload_id.as_deref()).collect();
        match &claim.upload_id {
            Some(id) if claimed.contains(&**id) => {}
            Some(id) => bucket.multipart.cancel(&key, id).await?,
            // It ended between the claim and the answer to its upload's begin.
            None if alive.iter().any(|(other, _)| other.key == claim.key && other.upload_id.is_none()) => {}
            None => {
                for pending in known_pending(bucket, key.as_ref()).await? {
                    let is_later = pending.begun.is_none_or(|begun| begun + Duration::from_secs(1) >= *written);
                    if pending.key == key.as_ref() && is_later && !claimed.contains(&*pending.id) {
                        bucket.multipart.cancel(&key, &pending.id).await?;
                    }
                }
            }
        }
    }
    claim.remove(bucket).await
}

/// Uploads of archives that have no claim and are too old for anybody to be at work.
async fn end_the_forgotten(bucket: &Bucket, dead: &[Dated], alive: &[Dated]) -> Result<u32, StoreError> {
    let claimed: BTreeSet<&str> =
        dead.iter().chain(alive).filter_map(|(claim, _)| claim.upload_id.as_deref()).collect();
    let prefix = if bucket.prefix.is_empty() { String::new() } else { format!("{}/", bucket.prefix) };
    let mut count = 0;
    for pending in known_pending(bucket, &prefix).await? {
        let age = pending.begun.and_then(|begun| SystemTime::now().duration_since(begun).ok());
        let is_archive = FilePath::new(&pending.key).extension().is_some_and(|extension| extension == "tar");
        if is_archive && age.is_some_and(|age| age > owner::STALE) && !claimed.contains(&*pending.id) {
            let Ok(key) = Path::parse(&pending.key) else { continue };
            bucket.multipart.cancel(&key, &pending.id).await?;
            count += 1;
        }
    }
    Ok(count)
}

/// Nothing if a store can't say, or may not tell us.
async fn known_pending(bucket: &Bucket, prefix: &str) -> Result<Vec<Pending>, StoreError> {
    match bucket.multipart.pending(prefix).await {
        Err(error)
            if matches!(error.kind(), Some(Kind::Protocol | Kind::Permission | Kind::NotFound | Kind::Invalid)) =>
        {
            Ok(Vec::new())
        }
        found => found,
    }
}
