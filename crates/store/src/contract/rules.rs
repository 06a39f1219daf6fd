//! The rules themselves: each makes what it needs and checks it; the bench cleans up.

use std::collections::HashSet;

use bytes::Bytes;

use super::bench::{Bench, Fault, Started, broken, refused, shown};
use crate::{
    error::{Kind, StoreError},
    store::{Entry, Expected, Placement, Session},
};

type Verdict = Result<(), Fault>;

/// Endings of names as Home Assistant and its users make them.
const ODD_NAMES: &[&str] = &[
    "Automatic backup 2026.11.1",
    "Käse, Öl & süße Grüße",
    "a+b=c",
    "100% #1 50%25",
    "it's (mine) [old] ~x!@$^",
    "naïve–日本",
];

pub(super) async fn read_back(bench: &Bench<'_>) -> Verdict {
    let (name, bytes) = (bench.name("whole"), bench.bytes(2, 1));
    bench.upload(&name, &bytes).await?;
    if bench.store().is_err() {
        return Ok(());
    }
    bench.holds(&name, &bytes).await?;
    bench.delete_or_keep(name, bytes).await;
    Ok(())
}

pub(super) async fn single_byte(bench: &Bench<'_>) -> Verdict {
    bench.needs_deleting()?;
    let (name, bytes) = (bench.name("byte"), Bytes::from_static(b"x"));
    bench.upload(&name, &bytes).await?;
    if bench.store().is_ok() { bench.holds(&name, &bytes).await } else { Ok(()) }
}

pub(super) async fn hidden_until_commit(bench: &Bench<'_>) -> Verdict {
    bench.store()?;
    bench.needs_deleting()?;
    let (name, bytes) = (bench.name("hidden"), bench.bytes(2, 2));
    let started = bench.start(&name, &bytes).await?;
    for part in bench.parts(&bytes) {
        started.upload.put(&part).await?;
        bench.lacks(&name).await?;
    }
    bench.commit(&started, &bytes).await?;
    bench.holds(&name, &bytes).await
}

pub(super) async fn parts_twice(bench: &Bench<'_>) -> Verdict {
    bench.store()?;
    bench.needs_deleting()?;
    let (name, bytes) = (bench.name("twice"), bench.bytes(2, 3));
    let started = bench.start(&name, &bytes).await?;
    for part in bench.parts(&bytes) {
        started.upload.put(&part).await?;
        match started.upload.put(&part).await {
            Err(error) if bench.abilities.restarts && error.kind() == Some(Kind::Lost) => {
                return Err(Fault::NotApplicable("a broken upload starts over at this destination"));
            }
            other => other?,
        }
    }
    bench.commit(&started, &bytes).await?;
    bench.holds(&name, &bytes).await
}

pub(super) async fn any_order(bench: &Bench<'_>) -> Verdict {
    bench.store()?;
    bench.needs_deleting()?;
    if !matches!(bench.abilities.placement, Placement::Parts(_)) {
        return Err(Fault::NotApplicable("the destination takes bytes in order"));
    }
    let (name, bytes) = (bench.name("order"), bench.bytes(3, 4));
    let started = bench.start(&name, &bytes).await?;
    let mut parts = bench.parts(&bytes);
    // As it is with the part that holds a late size: it leaves when the whole length is known.
    parts[0].total = Some(bytes.len() as u64);
    for index in [2, 1, 0] {
        started.upload.put(&parts[index]).await?;
    }
    bench.commit(&started, &bytes).await?;
    bench.holds(&name, &bytes).await
}

pub(super) async fn overwritten(bench: &Bench<'_>) -> Verdict {
    bench.store()?;
    bench.needs_deleting()?;
    if bench.abilities.placement != Placement::Random {
        return Err(Fault::NotApplicable("nothing can be overwritten at this destination"));
    }
    let (name, bytes) = (bench.name("patched"), bench.bytes(3, 5));
    let started = bench.start(&name, &bytes).await?;
    bench.put_all(&started, &bytes).await?;
    let mut wanted = bytes.to_vec();
    let across = bench.part_size() as usize - 3;
    let end = wanted.len() - 2;
    for (offset, patch) in
        [(0, &b"first"[..]), (across, b"across two parts"), (end, b"zz"), (across, b"AGAIN"), (0, b"first")]
    {
        started.upload.patch(offset as u64, patch).await?;
        wanted[offset..offset + patch.len()].copy_from_slice(patch);
    }
    bench.commit(&started, &bytes).await?;
    bench.holds(&name, &wanted.into()).await
}

pub(super) async fn given_up(bench: &Bench<'_>) -> Verdict {
    bench.needs_deleting()?;
    let (name, bytes) = (bench.name("given-up"), bench.bytes(2, 6));
    // Once before the first byte, once in the middle, once with everything there.
    for sent in 0..=2 {
        let started = bench.start(&name, &bytes).await?;
        for part in &bench.parts(&bytes)[..sent] {
            started.upload.put(part).await?;
        }
        started.upload.abort().await?;
        started.upload.abort().await?;
        started.end();
        if bench.store().is_ok() {
            bench.lacks(&name).await?;
            bench
                .list_becomes(|list| bench.unfinished(list, &[]).map(|left| format!("{left} was left behind")))
                .await?;
        }
    }
    Ok(())
}

pub(super) async fn taken_name(bench: &Bench<'_>) -> Verdict {
    bench.store()?;
    let (name, bytes) = bench.finished("taken", 1, 7).await?;
    let second = bench.start(&name, &bytes).await;
    refused("starting a second archive of the same name", second, |kind| kind == Kind::Exists)?;
    bench.holds(&name, &bytes).await
}

pub(super) async fn never_replaced(bench: &Bench<'_>) -> Verdict {
    bench.store()?;
    bench.needs_deleting()?;
    let (name, first, second) = (bench.name("kept"), bench.bytes(1, 8), bench.bytes(2, 9));
    let winner = bench.start(&name, &first).await?;
    let loser = bench.start(&name, &second).await;
    bench.put_all(&winner, &first).await?;
    bench.commit(&winner, &first).await?;
    let step = "giving a second archive the same name";
    match loser {
        Err(error) => refused::<()>(step, Err(error), |kind| kind == Kind::Exists)?,
        Ok(loser) => {
            refused(step, put_and_commit(bench, &loser, &second).await, |kind| kind == Kind::Exists)?;
            loser.upload.abort().await?;
            loser.end();
        }
    }
    bench.holds(&name, &first).await
}

async fn put_and_commit(bench: &Bench<'_>, started: &Started, bytes: &Bytes) -> Result<(), StoreError> {
    bench.put_all(started, bytes).await?;
    bench.commit(started, bytes).await
}

pub(super) async fn completed_twice(bench: &Bench<'_>) -> Verdict {
    bench.store()?;
    bench.needs_deleting()?;
    let (name, bytes) = (bench.name("again"), bench.bytes(1, 10));
    let started = bench.start(&name, &bytes).await?;
    bench.put_all(&started, &bytes).await?;
    bench.commit(&started, &bytes).await?;
    // As after an answer that was lost on its way.
    if let Err(error) = bench.commit(&started, &bytes).await {
        return broken(format!("the second time failed: {error}"));
    }
    bench.holds(&name, &bytes).await
}

pub(super) async fn wrong_length(bench: &Bench<'_>) -> Verdict {
    bench.store()?;
    bench.needs_deleting()?;
    let (name, bytes) = (bench.name("short"), bench.bytes(1, 11));
    let started = bench.start(&name, &bytes).await?;
    bench.put_all(&started, &bytes).await?;
    let mut completed = bench.completed(&bytes, 1);
    completed.length += 1;
    refused("completing it", started.upload.commit(&completed).await, |kind| kind == Kind::Mismatch)?;
    bench.lacks(&name).await
}

pub(super) async fn wrong_checksum(bench: &Bench<'_>) -> Verdict {
    bench.store()?;
    bench.needs_deleting()?;
    if !bench.abilities.md5 {
        return Err(Fault::NotApplicable("the destination gives no checksum of the whole"));
    }
    let (name, bytes) = (bench.name("checksum"), bench.bytes(1, 12));
    let started = bench.start(&name, &bytes).await?;
    bench.put_all(&started, &bytes).await?;
    let mut completed = bench.completed(&bytes, 1);
    completed.md5 = completed.md5.map(|md5| md5.map(|byte| !byte));
    refused("completing it", started.upload.commit(&completed).await, |kind| kind == Kind::Mismatch)?;
    bench.lacks(&name).await
}

pub(super) async fn listed(bench: &Bench<'_>) -> Verdict {
    bench.store()?;
    let (done, small) = bench.finished("done", 1, 13).await?;
    if bench.needs_deleting().is_ok() {
        let (open, bytes) = (bench.name("open"), bench.bytes(2, 13));
        let started = bench.start(&open, &bytes).await?;
        started.upload.put(&bench.parts(&bytes)[0]).await?;
    }
    bench
        .list_becomes(|list| match list.iter().find(|entry| entry.name == done) {
            None => Some(format!("the list lacks {done}")),
            Some(entry) if entry.size != small.len() as u64 => {
                Some(format!("the list says that {done} has {} bytes instead of {}", entry.size, small.len()))
            }
            // Not even one that is not ours: whoever removes by a list must be able to trust it.
            Some(_) if doubled(list).is_some() => doubled(list).map(|name| format!("the list shows {name} twice")),
            Some(_) => {
                bench.unfinished(list, &[&done]).map(|name| format!("the list shows {name}, which is not finished"))
            }
        })
        .await
}

fn doubled(list: &[Entry]) -> Option<&str> {
    let mut seen = HashSet::new();
    list.iter().map(|entry| entry.name.as_str()).find(|name| !seen.insert(*name))
}

pub(super) async fn absent(bench: &Bench<'_>) -> Verdict {
    bench.store()?;
    let name = bench.name("absent");
    bench.lacks(&name).await?;
    unreadable(bench, &name).await
}

async fn unreadable(bench: &Bench<'_>, name: &str) -> Verdict {
    bench
        .becomes(|| async {
            refused("reading it", bench.store()?.read(name, 0..1).await, |kind| kind == Kind::NotFound)
        })
        .await
}

pub(super) async fn ranges(bench: &Bench<'_>) -> Verdict {
    bench.store()?;
    let (name, bytes) = bench.finished("ranges", 2, 14).await?;
    bench.holds(&name, &bytes).await?;
    let (size, middle) = (bytes.len() as u64, bench.part_size());
    for range in
        [0..1, 0..4096, middle - 3..middle + 3, middle / 2..middle / 2 + 1, size - 1..size, size - 4096..size, 0..size]
    {
        let found = bench.store()?.read(&name, range.clone()).await?;
        if found != bytes.slice(range.start as usize..range.end as usize) {
            let wanted = range.end - range.start;
            return broken(format!(
                "bytes {} to {} are wrong (received {} bytes, asked for {wanted})",
                range.start,
                range.end - 1,
                found.len()
            ));
        }
    }
    Ok(())
}

pub(super) async fn deleted(bench: &Bench<'_>) -> Verdict {
    bench.store()?;
    bench.needs_deleting()?;
    let (name, bytes) = (bench.name("deleted"), bench.bytes(1, 15));
    bench.upload(&name, &bytes).await?;
    bench.store()?.delete(&name).await?;
    bench.lacks(&name).await?;
    bench.store()?.delete(&name).await?;
    unreadable(bench, &name).await?;
    // The name is free again.
    let other = bench.bytes(1, 16);
    bench.upload(&name, &other).await?;
    bench.holds(&name, &other).await
}

pub(super) async fn odd_names(bench: &Bench<'_>) -> Verdict {
    bench.store()?;
    bench.needs_deleting()?;
    let bytes = Bytes::from_static(b"a name is only a name");
    for ending in ODD_NAMES {
        let name = bench.name(ending);
        bench.upload(&name, &bytes).await?;
        bench.holds(&name, &bytes).await?;
        bench
            .list_becomes(|list| if shown(list, &name) { None } else { Some(format!("the list lacks {name}")) })
            .await?;
        bench.store()?.delete(&name).await?;
        bench.lacks(&name).await?;
    }
    Ok(())
}

pub(super) async fn cleanup_spares(bench: &Bench<'_>) -> Verdict {
    bench.store()?;
    bench.needs_deleting()?;
    let (done, open, bytes) = (bench.name("finished"), bench.name("under-way"), bench.bytes(2, 17));
    let small = bench.bytes(1, 18);
    bench.upload(&done, &small).await?;
    let started = bench.start(&open, &bytes).await?;
    for part in bench.parts(&bytes) {
        bench.remove_abandoned().await?;
        started.upload.put(&part).await?;
    }
    bench.remove_abandoned().await?;
    bench.commit(&started, &bytes).await?;
    bench.holds(&open, &bytes).await?;
    bench.holds(&done, &small).await
}

pub(super) async fn cleanup_spares_others(bench: &Bench<'_>) -> Verdict {
    bench.store()?;
    bench.needs_deleting()?;
    let (name, bytes) = (bench.name_of_another_machine(), bench.bytes(1, 20));
    if bench.upload(&name, &bytes).await.is_err() {
        return Err(Fault::NotApplicable("the destination does not allow the names of unfinished uploads"));
    }
    if bench.store()?.entry(&name).await?.is_none() {
        return Err(Fault::NotApplicable("the destination does not show unfinished uploads"));
    }
    bench.remove_abandoned().await?;
    if bench.store()?.entry(&name).await?.is_some() {
        Ok(())
    } else {
        broken("what another machine had under way was removed")
    }
}

pub(super) async fn resumed(bench: &Bench<'_>) -> Verdict {
    bench.store()?;
    bench.needs_deleting()?;
    if !bench.abilities.resumable {
        return Err(Fault::NotApplicable("an interrupted upload starts over at this destination"));
    }
    let (name, bytes) = (bench.name("resumed"), bench.bytes(3, 19));
    let expected = Expected { resumable: true, ..bench.expected(&bytes, true) };
    let parts = bench.parts(&bytes);
    let started = bench.start_as(&name, expected).await?;
    for part in &parts[..2] {
        started.upload.put(part).await?;
    }
    let session = through_a_file(&started)?;
    bench.forget(started);

    let Some(upload) = bench.store()?.resume(&session).await? else { return broken("what was interrupted is gone") };
    let kept = upload.kept();
    let started = bench.keep(upload);
    let sent = parts[1].end();
    if kept.iter().any(|range| range.start >= range.end || range.end > sent)
        || kept.windows(2).any(|pair| pair[0].end > pair[1].start)
    {
        return broken(format!("it says that it has {kept:?}, but was sent {sent} bytes"));
    }
    let is_kept = |offset: u64, end: u64| {
        // Adjacent ranges may be reported as one range or as several.
        kept.iter().fold(offset, |at, range| if range.start <= at { at.max(range.end) } else { at }) >= end
    };
    for part in parts.iter().filter(|part| !is_kept(part.offset, part.end())) {
        started.upload.put(part).await?;
    }
    bench.commit(&started, &bytes).await?;
    bench.holds(&name, &bytes).await?;

    let other = bench.name("gone");
    let started = bench.start_as(&other, expected).await?;
    started.upload.put(&parts[0]).await?;
    let session = through_a_file(&started)?;
    started.upload.abort().await?;
    started.end();
    match bench.store()?.resume(&session).await? {
        None => Ok(()),
        Some(upload) => {
            bench.keep(upload);
            broken("an upload that was given up could still be continued")
        }
    }
}

/// The session as another process would find it.
fn through_a_file(started: &Started) -> Result<Session, Fault> {
    let Some(session) = started.upload.session() else { return broken("it does not say how to continue") };
    let text = serde_json::to_string(&session).map_err(|error| Fault::Broken(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| Fault::Broken(error.to_string()))
}

pub(super) async fn free_space(bench: &Bench<'_>) -> Verdict {
    match bench.store()?.space().await? {
        Some(_) => Ok(()),
        None => Err(Fault::NotApplicable("the destination does not say, or has no limit")),
    }
}
