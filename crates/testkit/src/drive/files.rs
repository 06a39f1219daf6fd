//! Files and folders: metadata, search in pages, content, removal, free space.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use http::header;
use serde_json::{Value, json};

use super::{
    query,
    reply::{Asked, Reply, partial, refusal},
    script::Call,
    world::{FOLDER, Node, ROOT, World},
};

const USUAL: &str = "kind,id,name,mimeType";
const MOST_OF_A_PROPERTY: usize = 124;
const MOST_PROPERTIES: usize = 30;

pub(super) fn answer(world: &mut World, asked: &Asked) -> Reply {
    match asked.call {
        Call::About => about(world, asked),
        Call::List => list(world, asked),
        Call::Make => make(world, asked),
        _ if world.visible(asked.id()).is_none() => missing(asked.id()),
        Call::Get => {
            let node = world.nodes[asked.id()].clone();
            partial(asked, &world.described(&node), USUAL)
        }
        Call::Download
            if world.ways.abusive && asked.query.get("acknowledgeAbuse").map(String::as_str) != Some("true") =>
        {
            refusal(
                403,
                "cannotDownloadAbusiveFile",
                "This file has been identified as malware or spam and cannot be downloaded.",
            )
        }
        Call::Download => download(&world.nodes[asked.id()], asked.header("range")),
        Call::Update => update(world, asked),
        Call::Delete if world.ways.shared => {
            refusal(403, "insufficientFilePermissions", "The user does not have sufficient permissions for this file.")
        }
        _ => {
            world.remove(asked.id());
            Reply::new(204)
        }
    }
}

fn missing(id: &str) -> Reply {
    refusal(404, "notFound", &format!("File not found: {id}."))
}

fn about(world: &World, asked: &Asked) -> Reply {
    // The real one insists on it.
    if !asked.query.contains_key("fields") {
        return refusal(400, "required", "The 'fields' parameter is required for this method.");
    }
    let usage = world.usage().to_string();
    let mut quota = json!({ "usage": usage, "usageInDrive": usage, "usageInDriveTrash": "0" });
    if let Some(limit) = world.limit {
        quota["limit"] = limit.to_string().into();
    }
    if world.ways.limit_zero {
        quota["limit"] = "0".into();
    }
    partial(
        asked,
        &json!({ "user": { "displayName": "Haul Tester", "emailAddress": "tester@example.org" }, "storageQuota": quota }),
        "",
    )
}

fn list(world: &mut World, asked: &Asked) -> Reply {
    let invalid = || refusal(400, "invalid", "Invalid Value");
    let q = asked.query.get("q").cloned().unwrap_or_default();
    let Some(terms) = query::parse(&q) else { return invalid() };
    let Some(size) = asked
        .query
        .get("pageSize")
        .map_or(Some(100), |size| size.parse().ok())
        .filter(|size| (1..=1000).contains(size))
    else {
        return invalid();
    };
    if asked.query.get("orderBy").is_some_and(|order| order != "createdTime") {
        return invalid();
    }
    for term in &terms {
        if let query::Term::In(folder) = term
            && folder != ROOT
            && folder != "root"
            && world.visible(folder).is_none()
        {
            return refusal(404, "notFound", "File not found: .");
        }
    }
    let from = match asked.query.get("pageToken") {
        None => 0,
        Some(token) => match world.pages.get(token) {
            Some((of, from)) if *of == q => *from,
            _ => return invalid(),
        },
    };
    let mut found: Vec<&Node> =
        world.nodes.values().filter(|node| !node.foreign && terms.iter().all(|term| term.holds(world, node))).collect();
    found.sort_by_key(|node| node.created);
    if world.ways.reversed {
        found.reverse();
    }
    let end = (from + size.min(world.page_limit)).min(found.len());
    let more = end < found.len();
    let mut found: Vec<Node> = found[from.min(end)..end].iter().map(|node| (*node).clone()).collect();
    for node in &mut found {
        if let (true, false, Some(old)) = (world.ways.stale_listings, world.is_indexed(node), &node.indexed_name) {
            node.name.clone_from(old);
        }
    }
    world.searches += 1;
    let files: Vec<Value> = found.iter().map(|node| world.described(node)).collect();
    let mut page = json!({ "kind": "drive#fileList", "incompleteSearch": false, "files": files });
    if more {
        let token = world.next_secret("~!!~");
        page["nextPageToken"] = token.clone().into();
        world.pages.insert(token, (q, end));
    }
    partial(asked, &page, "kind,incompleteSearch,nextPageToken,files(kind,id,name,mimeType)")
}

/// A new file's metadata, for a folder as for an upload.
pub(super) fn node_of(world: &World, metadata: &Value) -> Result<Node, Reply> {
    let mut node = Node::file(SystemTime::now());
    if let Some(name) = metadata["name"].as_str() {
        name.clone_into(&mut node.name);
    }
    if let Some(mime) = metadata["mimeType"].as_str() {
        mime.clone_into(&mut node.mime);
    }
    if let Some(parents) = metadata["parents"].as_array() {
        if parents.len() != 1 {
            return Err(refusal(403, "multipleParentsNotAllowed", "A file has one parent"));
        }
        node.parents = parents
            .iter()
            .filter_map(Value::as_str)
            .map(|id| if id == "root" { ROOT } else { id }.to_owned())
            .collect();
    }
    for parent in node.parents.iter().filter(|parent| *parent != ROOT) {
        if !world.visible(parent).is_some_and(Node::is_folder) {
            return Err(missing(parent));
        }
    }
    change_properties(&mut node.properties, &metadata["appProperties"])?;
    Ok(node)
}

fn change_properties(properties: &mut BTreeMap<String, String>, changes: &Value) -> Result<(), Reply> {
    let Some(changes) = changes.as_object() else { return Ok(()) };
    for (key, value) in changes {
        match value.as_str() {
            Some(value) if key.len() + value.len() > MOST_OF_A_PROPERTY => {
                return Err(refusal(
                    400,
                    "propertyLengthExceeded",
                    "A property's key and value have at most 124 bytes",
                ));
            }
            Some(value) => drop(properties.insert(key.clone(), value.to_owned())),
            None => drop(properties.remove(key)),
        }
    }
    if properties.len() > MOST_PROPERTIES {
        return Err(refusal(400, "appPropertyLimitExceeded", "Too many properties"));
    }
    Ok(())
}

fn make(world: &mut World, asked: &Asked) -> Reply {
    let Some(metadata) = asked.json() else { return refusal(400, "parseError", "Parse Error") };
    let mut node = match node_of(world, &metadata) {
        Ok(node) => node,
        Err(refusal) => return refusal,
    };
    // Two made one after the other are never equally old.
    node.created += Duration::from_nanos(world.nodes.len() as u64);
    if node.mime != FOLDER {
        return refusal(400, "unsupported", "This fake makes folders only; files come by upload");
    }
    let id = world.insert(node);
    let made = world.nodes[&id].clone();
    partial(asked, &world.described(&made), USUAL)
}

fn update(world: &mut World, asked: &Asked) -> Reply {
    let Some(metadata) = asked.json() else { return refusal(400, "parseError", "Parse Error") };
    let Some(mut node) = world.nodes.get(asked.id()).cloned() else { return missing(asked.id()) };
    if let Some(name) = metadata["name"].as_str() {
        world.give_name(asked.id(), name);
        node = world.nodes[asked.id()].clone();
    }
    if let Some(trashed) = metadata["trashed"].as_bool() {
        node.trashed = trashed;
    }
    if let Err(refusal) = change_properties(&mut node.properties, &metadata["appProperties"]) {
        return refusal;
    }
    node.modified = SystemTime::now();
    let described = world.described(&node);
    world.nodes.insert(node.id.clone(), node);
    partial(asked, &described, USUAL)
}

fn download(node: &Node, range: Option<&str>) -> Reply {
    if node.is_folder() {
        return refusal(403, "fileNotDownloadable", "Only files with binary content can be downloaded.");
    }
    let size = node.data.len();
    let Some(range) = range else {
        return Reply::new(200).with(header::CONTENT_TYPE, node.mime.clone()).body(node.data.clone());
    };
    let bounds = range.strip_prefix("bytes=").and_then(|range| range.split_once('-')).and_then(|(from, last)| {
        let from: usize = from.parse().ok()?;
        let last: usize = if last.is_empty() { size.checked_sub(1)? } else { last.parse().ok()? };
        (from <= last && from < size).then_some((from, last.min(size - 1)))
    });
    let Some((from, last)) = bounds else {
        return refusal(416, "requestedRangeNotSatisfiable", "Request range not satisfiable")
            .with(header::CONTENT_RANGE, format!("bytes */{size}"));
    };
    Reply::new(206)
        .with(header::CONTENT_TYPE, node.mime.clone())
        .with(header::CONTENT_RANGE, format!("bytes {from}-{last}/{size}"))
        .body(node.data[from..=last].to_vec())
}
