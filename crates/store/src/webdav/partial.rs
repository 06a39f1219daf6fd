//! Servers that accept a partial write of a file: how to find that out, and an upload that uses it, resumes after a
//! break and can be patched.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use http::{
    Method,
    header::{CONTENT_RANGE, CONTENT_TYPE, IF_MATCH},
};
use reqwest::Response;
use serde_json::json;

use super::client::Client;
use crate::{
    error::{Kind, Operation, StoreError},
    http as web, owner,
    parts::{Activity, Part, Segments},
    store::{Checked, Completed, Session, Upload},
};

/// How a piece of a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// `PUT` with `Content-Range` (Apache, lighttpd).
    ContentRange,
    /// `PATCH` with `X-Update-Range` (sabre/dav).
    UpdateRange,
}

/// Tries on a tiny file. Many servers accept such a request and replace the whole file with the piece, so that only
/// reading back shows it. `None`: neither way works, or nothing can be written at all.
pub(crate) async fn probe(client: &Client) -> Result<Option<Way>, StoreError> {
    let options = client
        .send(Operation::Connect, client.request(Method::OPTIONS, client.root().clone()), &Activity::default())
        .await?;
    let features: Vec<&str> = options.headers().get_all("DAV").iter().filter_map(|value| value.to_str().ok()).collect();
    let way = if features.iter().any(|list| list.contains("sabredav-partialupdate")) {
        Way::UpdateRange
    } else {
        Way::ContentRange
    };
    let mut found = try_out(client, &owner::temporary_name(), way).await;
    if found.as_ref().is_err_and(may_be_the_dot) {
        // Some proxies and servers refuse every name that begins with a dot.
        let without = try_out(client, owner::temporary_name().trim_start_matches('.'), way).await;
        if !without.as_ref().is_err_and(may_be_the_dot) {
            client.without_dots();
            found = without;
        }
    }
    match found {
        Ok(works) => Ok(works.then_some(way)),
        Err(error) if error.is_transient() => Err(error),
        Err(_) => Ok(None),
    }
}

fn may_be_the_dot(error: &StoreError) -> bool {
    !error.is_transient() && !error.is_full() && error.kind() != Some(Kind::Credentials)
}

async fn try_out(client: &Client, name: &str, way: Way) -> Result<bool, StoreError> {
    let found = change(client, name, way).await;
    // The next cleanup removes what stays.
    let _ = client.delete(client.child(name)).await;
    found
}

async fn change(client: &Client, name: &str, way: Way) -> Result<bool, StoreError> {
    client.put(Operation::Connect, client.child(name), Bytes::from_static(b"ab")).await?;
    // First beyond the end, then inside: the latter must not cut the file.
    for (offset, piece, expected) in [(1, "cd", "acd"), (0, "e", "ecd")] {
        let response = write(
            client,
            name,
            way,
            offset,
            &Segments::from(Bytes::from_static(piece.as_bytes())),
            &Activity::default(),
        )
        .await?;
        // 201 would mean that a file was made, not changed.
        if !response.status().is_success() || response.status().as_u16() == 201 {
            return Ok(false);
        }
        if client.size(Operation::Connect, client.child(name)).await? != Some(3) {
            return Ok(false);
        }
        if &client.read(client.child(name), 0..3).await?[..] != expected.as_bytes() {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn write(
    client: &Client,
    name: &str,
    way: Way,
    offset: u64,
    data: &Segments,
    activity: &Activity,
) -> Result<Response, StoreError> {
    let last = offset + data.len() - 1;
    let url = client.child(name);
    let request = match way {
        Way::ContentRange => client.request(Method::PUT, url).header(CONTENT_RANGE, format!("bytes {offset}-{last}/*")),
        Way::UpdateRange => client
            .request(Method::PATCH, url)
            .header(CONTENT_TYPE, "application/x-sabredav-partialupdate")
            .header("X-Update-Range", format!("bytes={offset}-{last}")),
    };
    // A file that vanished must not come into being again with a hole at its beginning.
    client.send(Operation::Write, web::with_body(request.header(IF_MATCH, "*"), data, activity), activity).await
}

/// An upload that is written piece by piece.
pub(crate) struct PartialUpload {
    client: Arc<Client>,
    way: Way,
    name: String,
    temporary: String,
    resumable: bool,
    at_start: u64,
    // How many bytes are known to be there; `None` after a break, until the server is asked.
    arrived: Mutex<Option<u64>>,
}

impl PartialUpload {
    /// Makes the empty file.
    pub(crate) async fn create(client: Arc<Client>, way: Way, name: &str, resumable: bool) -> Result<Self, StoreError> {
        let temporary = client.beginning(resumable);
        if let Err(error) = client.put(Operation::Create, client.child(&temporary), Bytes::new()).await {
            client.not_heard(resumable, temporary);
            return Err(error);
        }
        Ok(Self { client, way, name: name.to_owned(), temporary, resumable, at_start: 0, arrived: Mutex::new(Some(0)) })
    }

    /// Finds it again; `None` when it is gone.
    pub(crate) async fn resume(client: Arc<Client>, way: Way, session: &Session) -> Result<Option<Self>, StoreError> {
        let text = |key: &str| session.0.get(key).and_then(|value| value.as_str()).map(str::to_owned);
        let (Some(name), Some(temporary)) = (text("name"), text("temporary")) else { return Ok(None) };
        if client.check_name(&name).is_err()
            || !owner::is_temporary(&temporary)
            || client.check_name(&temporary).is_err()
        {
            return Ok(None);
        }
        let Some(size) = client.size(Operation::Create, client.child(&temporary)).await? else { return Ok(None) };
        Ok(Some(Self {
            client,
            way,
            name,
            temporary,
            resumable: true,
            at_start: size,
            arrived: Mutex::new(Some(size)),
        }))
    }

    fn set(&self, arrived: Option<u64>) {
        *self.arrived.lock().unwrap_or_else(PoisonError::into_inner) = arrived;
    }

    fn lost(&self) -> StoreError {
        self.client.error(Operation::Write, Kind::Lost, "the data sent so far is gone")
    }

    async fn arrived(&self) -> Result<u64, StoreError> {
        let known = *self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known {
            return Ok(known);
        }
        self.client.size(Operation::Write, self.client.child(&self.temporary)).await?.ok_or_else(|| self.lost())
    }

    async fn write(&self, offset: u64, data: &Segments, activity: &Activity) -> Result<(), StoreError> {
        let response = write(&self.client, &self.temporary, self.way, offset, data, activity).await?;
        match response.status().as_u16() {
            // 201: the file had vanished, and was made again without its beginning.
            201 | 404 | 409 | 410 | 412 => Err(self.lost()),
            200..=299 => Ok(()),
            _ => Err(self.client.refusal(Operation::Write, response).await),
        }
    }
}

#[async_trait]
impl Upload for PartialUpload {
    async fn put(&self, part: &Part) -> Result<(), StoreError> {
        let arrived = self.arrived().await?;
        if arrived < part.offset {
            return Err(self.lost());
        }
        let rest = part.data.skip((arrived - part.offset).min(part.data.len()));
        if !rest.is_empty() {
            // Even if nobody waits for the answer any more.
            self.set(None);
            self.write(part.end() - rest.len(), &rest, &part.activity).await?;
        }
        self.set(Some(arrived.max(part.end())));
        Ok(())
    }

    async fn patch(&self, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.write(offset, &Segments::from(Bytes::copy_from_slice(bytes)), &Activity::default()).await
    }

    async fn commit(&self, completed: &Completed) -> Result<Checked, StoreError> {
        self.client.publish(&self.temporary, &self.name, completed.length).await
    }

    fn temporary(&self) -> Option<String> {
        Some(self.temporary.clone())
    }

    async fn abort(&self) -> Result<(), StoreError> {
        self.client.delete(self.client.child(&self.temporary)).await.map(|_| ())
    }

    fn session(&self) -> Option<Session> {
        self.resumable.then(|| Session(json!({ "name": self.name, "temporary": self.temporary })))
    }

    fn kept(&self) -> Vec<std::ops::Range<u64>> {
        std::iter::once(0..self.at_start).filter(|kept| !kept.is_empty()).collect()
    }
}
