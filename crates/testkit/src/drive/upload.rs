//! Resumable uploads: a session keeps bytes in order, and becomes a file with its last byte.

use std::{num::ParseIntError, time::SystemTime};

use http::header;

use super::{
    MULTIPLE, files, query,
    reply::{Asked, Reply, refusal},
    script::{Call, Fault},
    world::{Session, World},
};

pub(super) fn answer(world: &mut World, asked: &Asked, fault: Option<&Fault>) -> Reply {
    if asked.call == Call::Start {
        return start(world, asked);
    }
    let id = asked.query.get("upload_id").cloned().unwrap_or_default();
    if let Some(Fault::Vanish(status)) = fault {
        world.sessions.remove(&id);
        return refusal(*status, "notFound", "Not Found");
    }
    // Taken out while it is worked on, and put back unless it ends.
    let Some(mut session) = world.sessions.remove(&id) else {
        return refusal(404, "notFound", &format!("Not Found: {id}"));
    };
    let reply = match asked.call {
        Call::Cancel if session.finished.is_none() => return Reply::new(499),
        Call::Cancel => refusal(404, "notFound", "Not Found"),
        Call::Status => status(world, &mut session, asked),
        _ => chunk(world, &mut session, asked, fault),
    };
    world.sessions.insert(id, session);
    match fault {
        Some(Fault::Boast(kept)) if reply.status == 308 => {
            Reply::new(308).with(header::RANGE, format!("bytes=0-{}", kept - 1))
        }
        _ => reply,
    }
}

fn start(world: &mut World, asked: &Asked) -> Reply {
    if asked.query.get("uploadType").map(String::as_str) != Some("resumable") {
        return refusal(400, "badRequest", "Only resumable uploads are known here");
    }
    let Some(metadata) = asked.json() else { return refusal(400, "parseError", "Parse Error") };
    let mut node = match files::node_of(world, &metadata) {
        Ok(node) => node,
        Err(refusal) => return refusal,
    };
    if let Some(kind) = asked.header("x-upload-content-type") {
        kind.clone_into(&mut node.mime);
    }
    let total = match asked.header("x-upload-content-length").map(str::parse) {
        Some(Ok(total)) => Some(total),
        Some(Err(_)) => return refusal(400, "badRequest", "Invalid X-Upload-Content-Length"),
        None => None,
    };
    if total.zip(world.free()).is_some_and(|(total, free)| total > free) {
        return full();
    }
    let id = world.next_secret("ABgVH8");
    let session = Session { node, fields: asked.query.get("fields").cloned(), total, data: Vec::new(), finished: None };
    world.sessions.insert(id.clone(), session);
    let host = asked.header("host").unwrap_or_default();
    Reply::new(200).with(header::LOCATION, format!("http://{host}{}?uploadType=resumable&upload_id={id}", asked.path))
}

fn full() -> Reply {
    refusal(403, "storageQuotaExceeded", "The user's Drive storage quota has been exceeded.")
}

fn status(world: &mut World, session: &mut Session, asked: &Asked) -> Reply {
    if !asked.body.is_empty() {
        return refusal(400, "badRequest", "A question has no body");
    }
    let range = asked.header("content-range").and_then(|range| range.strip_prefix("bytes */")).unwrap_or_default();
    let Ok(total) = total_of(range) else { return refusal(400, "badRequest", "Invalid Content-Range") };
    if session.finished.is_some() {
        return finished(world, session);
    }
    if let Err(refusal) = agree(session, total) {
        return refusal;
    }
    if session.total == Some(session.data.len() as u64) {
        return finish(world, session);
    }
    standing(session, world.ways.bare_range)
}

fn chunk(world: &mut World, session: &mut Session, asked: &Asked, fault: Option<&Fault>) -> Reply {
    let bad = |message: &str| refusal(400, "badRequest", message);
    let Some((from, last, total)) = asked.header("content-range").and_then(parse) else {
        return bad("Invalid Content-Range");
    };
    if session.finished.is_some() {
        return bad("The upload has ended");
    }
    if let Err(refusal) = agree(session, total) {
        return refusal;
    }
    let length = last + 1 - from;
    if session.total.is_some_and(|total| last >= total) {
        return bad("More bytes than there are");
    }
    if from != session.data.len() as u64 {
        return bad("The chunk does not begin where the last one ended");
    }
    if asked.whole && length != asked.body.len() as u64 {
        return bad("The chunk is not as long as its Content-Range");
    }
    if !length.is_multiple_of(MULTIPLE) && session.total != Some(last + 1) {
        return bad("The chunk is no multiple of 256 KiB");
    }
    if world.free().is_some_and(|free| last + 1 > free) {
        return full();
    }
    let arrived = asked.body.len() as u64;
    let kept = match fault {
        Some(Fault::Keep(most)) => (*most).min(arrived) / MULTIPLE * MULTIPLE,
        Some(Fault::KeepExactly(most)) => (*most).min(arrived),
        _ if !asked.whole => arrived / MULTIPLE * MULTIPLE,
        _ => arrived,
    };
    session.data.extend_from_slice(&asked.body[..kept as usize]);
    if let (Some(Fault::Corrupt), Some(byte)) = (fault, session.data.last_mut()) {
        *byte ^= 1;
    }
    if session.total == Some(session.data.len() as u64) {
        finish(world, session)
    } else {
        standing(session, world.ways.bare_range)
    }
}

fn standing(session: &Session, bare: bool) -> Reply {
    match session.data.len() {
        0 => Reply::new(308),
        kept => Reply::new(308).with(header::RANGE, format!("{}0-{}", if bare { "" } else { "bytes=" }, kept - 1)),
    }
}

fn finish(world: &mut World, session: &mut Session) -> Reply {
    let mut node = session.node.clone();
    node.data = std::mem::take(&mut session.data);
    (node.created, node.modified) = (SystemTime::now(), SystemTime::now());
    session.finished = Some(world.insert(node));
    finished(world, session)
}

fn finished(world: &mut World, session: &Session) -> Reply {
    let Some(node) = session.finished.as_ref().and_then(|id| world.nodes.get(id)).cloned() else {
        return refusal(404, "notFound", "Not Found");
    };
    let fields = session.fields.as_deref().unwrap_or("kind,id,name,mimeType");
    match query::selected(&world.described(&node), fields) {
        Some(selected) => Reply::json(200, &selected),
        None => refusal(400, "invalidParameter", "Invalid field selection"),
    }
}

/// The length must be the same in every request.
fn agree(session: &mut Session, total: Option<u64>) -> Result<(), Reply> {
    match (session.total, total) {
        (Some(known), Some(given)) if known != given => {
            Err(refusal(400, "badRequest", "The length is not the one given before"))
        }
        (known, given) => {
            session.total = known.or(given);
            Ok(())
        }
    }
}

fn parse(range: &str) -> Option<(u64, u64, Option<u64>)> {
    let (bytes, total) = range.strip_prefix("bytes ")?.split_once('/')?;
    let (from, last) = bytes.split_once('-')?;
    let (from, last) = (from.parse().ok()?, last.parse().ok()?);
    (from <= last).then_some((from, last, total_of(total).ok()?))
}

/// `*` is a length that is not known yet.
fn total_of(text: &str) -> Result<Option<u64>, ParseIntError> {
    if text == "*" { Ok(None) } else { text.parse().map(Some) }
}
