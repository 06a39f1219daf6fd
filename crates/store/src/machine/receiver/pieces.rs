//! The bytes of an upload as they arrive: stored at once, or collected into their part.

use std::sync::Arc;

use bytes::Bytes;
use peer::{Peer, Refusal, RefusalKind};
use tokio::sync::OwnedSemaphorePermit;

use super::{
    Done, GRAIN, Inner, MEMORY, STUCK, done, refused,
    slot::{Collected, Slot, State},
};
use crate::{
    machine::piece::{Stretch, gap},
    store::Placement,
};

impl Inner {
    pub(super) async fn put(&self, slot: &Slot, stretch: Stretch, body: Bytes, peer: &Peer) -> Done {
        let mut state = slot.state.lock().await;
        let put = if slot.build.is_some() || self.store.abilities().placement == Placement::Random {
            store_piece(&mut state, &stretch, body).await
        } else {
            self.collect(&mut state, &stretch, body).await
        };
        self.reported(put, &mut state, peer)
    }

    /// Memory for a part. If there is none, parts that have stopped coming give theirs back.
    fn memory_for(&self, length: u64) -> Result<OwnedSemaphorePermit, Refusal> {
        let grains = length.div_ceil(GRAIN) as u32;
        let take = || Arc::clone(&self.memory).try_acquire_many_owned(grains).ok();
        let free = || {
            for slot in self.uploads().values().filter(|slot| slot.idle() > STUCK) {
                if let Ok(mut state) = slot.state.try_lock() {
                    state.collected = Collected::default();
                }
            }
        };
        take()
            .or_else(|| {
                free();
                take()
            })
            .ok_or_else(|| {
                Refusal::new(
                    RefusalKind::Passing { after: None },
                    "the receiver's memory is full with parts of other uploads",
                )
            })
    }

    /// Where parts count as a whole: gathers the pieces, and hands the part over with the last of them.
    async fn collect(&self, state: &mut State, stretch: &Stretch, body: Bytes) -> Done {
        if stretch.length > MEMORY {
            return Err(Refusal::invalid(format!(
                "a part of more than {} MiB is larger than the receiver can hold",
                MEMORY / GRAIN
            )));
        }
        if stretch.at == 0 {
            state.collected = Collected::default();
            state.collected.memory = Some(self.memory_for(stretch.length)?);
        }
        let there = state.collected.data.len();
        if state.collected.memory.is_none() || stretch.at != there || stretch.at + body.len() as u64 > stretch.length {
            return Err(gap());
        }
        state.collected.data.push(body);
        if state.collected.data.len() < stretch.length {
            return Ok(done());
        }
        // The memory is free again when the destination has the part, or has refused it.
        let Collected { data, memory: _memory } = std::mem::take(&mut state.collected);
        let part = stretch.part(stretch.offset, data);
        state.upload.put(&part).await.map_err(|error| refused(&error))?;
        let range = (part.offset, part.end());
        if matches!(self.store.abilities().placement, Placement::Parts(_)) {
            if !state.kept.contains(&range) {
                state.kept.push(range);
                state.kept.sort_unstable();
            }
        } else {
            state.kept = vec![(0, range.1)];
        }
        let session = state.upload.session();
        if session.as_ref().map(|session| &session.0) != state.record.session.as_ref().map(|session| &session.0) {
            state.record.session = session;
            self.note(&state.record);
        }
        Ok(done())
    }
}

/// Where each piece may be placed by itself.
async fn store_piece(state: &mut State, stretch: &Stretch, body: Bytes) -> Done {
    let there = state.kept.last().map_or(0, |(_, end)| *end);
    let Some(from) = stretch.offset.checked_add(stretch.at).filter(|from| *from <= there) else { return Err(gap()) };
    let known = there - from;
    if known >= body.len() as u64 {
        return Ok(done());
    }
    let fresh = body.slice(known as usize..);
    let end = there + fresh.len() as u64;
    state.upload.put(&stretch.part(there, fresh.into())).await.map_err(|error| refused(&error))?;
    state.kept = vec![(0, end)];
    Ok(done())
}
