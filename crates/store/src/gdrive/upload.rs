//! One upload: a resumable session that accepts bytes in order and always knows how many it has kept.
//!
//! The file that comes out of a session has a temporary name; it gets its own only after its size and checksum were
//! compared.

use std::{ops::Range, sync::Arc};

use async_trait::async_trait;
use data_encoding::HEXLOWER;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, LOCATION, RANGE};
use reqwest::Response;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use url::Url;

use super::{
    client::{Api, FREE_SPACE_ADVICE, File},
    contents::Contents,
    folder::{Found, MOST_OF_A_PROPERTY},
};
use crate::{
    error::{Kind, Operation, StoreError},
    http as web, owner,
    parts::{Activity, Part, Segments},
    secret::Secret,
    store::{Checked, Completed, Expected, Session, Upload},
};

/// Every chunk but the last is a multiple of this.
pub(super) const MULTIPLE: u64 = 256 << 10;
const NAME: &str = "haul_name";
/// How often to ask it for what it should know by now.
const LOOKS: u32 = 5;
const CONTENT: &str = "application/x-tar";

/// What another process needs to continue.
#[derive(Clone, Serialize, Deserialize)]
struct Kept {
    // Anybody who knows this may write into the session: a secret.
    session: String,
    folder: String,
    name: String,
    temporary: String,
    expected: Option<u64>,
    total: Option<u64>,
}

/// An upload under way.
pub(super) struct DriveUpload {
    contents: Arc<Contents>,
    session: Secret,
    folder: String,
    name: String,
    temporary: String,
    /// About how long it will be, to say how much space is missing.
    expected: Option<u64>,
    /// Its length as given to the session at its start.
    declared: Option<u64>,
    state: Mutex<State>,
    kept_before: u64,
}

#[derive(Default)]
struct State {
    // Bytes that the session has acknowledged.
    kept: u64,
    // Up to where this process has handed bytes over: more can't have been kept.
    offered: u64,
    total: Option<u64>,
    // The end of a part that waits for the next one, and its offset: the session kept an odd number of bytes, and
    // requires whole multiples after them too.
    held: Option<(u64, Segments)>,
    // Something was sent but not answered: ask what was kept.
    unsure: bool,
    // The file, once the session has become one.
    file: Option<String>,
    published: bool,
    // How often something was not to be seen that should be there.
    unseen: u32,
}

/// Starts a session. Nothing is to be seen in the folder before it has ended.
pub(super) async fn start(
    contents: &Arc<Contents>,
    folder: &Found,
    name: &str,
    expected: Expected,
) -> Result<DriveUpload, StoreError> {
    let api = &contents.api;
    // Missing space is only known for the account's own.
    let needed = expected.needs().filter(|_| !folder.is_shared);
    let operation = Operation::Create;
    let temporary = if expected.resumable { owner::lasting_name() } else { owner::temporary_name() };
    let mut properties = serde_json::Map::new();
    properties.insert("haul".to_owned(), "archive".into());
    if NAME.len() + name.len() <= MOST_OF_A_PROPERTY {
        properties.insert(NAME.to_owned(), name.into());
    }
    let metadata = serde_json::json!({ "name": temporary, "parents": [folder.id], "mimeType": CONTENT, "appProperties": properties });
    let url = format!("{}/files", api.upload_url());
    let answer = api.ask(operation, |http| {
        let asked = [("uploadType", "resumable"), ("supportsAllDrives", "true"), ("fields", "id,size,md5Checksum")];
        let request = http.post(&url).query(&asked).header("X-Upload-Content-Type", CONTENT).json(&metadata);
        if let Some(length) = expected.exact { request.header("X-Upload-Content-Length", length) } else { request }
    });
    let answer = answer.await?;
    match answer.status().as_u16() {
        200 | 201 => {}
        404 => return Err(api.refuse(operation, Kind::NotFound, "the folder has just disappeared")),
        _ => return Err(how_full(api, api.judge(operation, answer).await, needed).await),
    }
    let session = answer.headers().get(LOCATION).and_then(|location| location.to_str().ok()).unwrap_or_default();
    if !same_server(session, api.upload_url()) {
        return Err(api.refuse(operation, Kind::Protocol, "it asks to send the archive somewhere else"));
    }
    Ok(DriveUpload {
        contents: Arc::clone(contents),
        session: Secret::new(session),
        folder: folder.id.clone(),
        name: name.to_owned(),
        temporary,
        expected: needed,
        declared: expected.exact,
        state: Mutex::default(),
        kept_before: 0,
    })
}

/// Finds a session that another process started; `None` when it is gone, or holds nothing that could be continued.
pub(super) async fn resume(contents: &Arc<Contents>, session: &Session) -> Result<Option<DriveUpload>, StoreError> {
    let api = &contents.api;
    let Ok(kept) = Kept::deserialize(&session.0) else { return Ok(None) };
    if !same_server(&kept.session, api.upload_url()) {
        return Ok(None);
    }
    let mut upload = DriveUpload {
        contents: Arc::clone(contents),
        session: Secret::new(kept.session),
        folder: kept.folder,
        name: kept.name,
        temporary: kept.temporary,
        expected: kept.expected,
        declared: kept.total,
        state: Mutex::default(),
        kept_before: 0,
    };
    let mut state = State { total: kept.total, offered: u64::MAX, unsure: true, ..State::default() };
    match upload.ask(&mut state, Operation::Connect).await {
        Err(error) if error.kind() == Some(Kind::Lost) => return Ok(None),
        other => other?,
    }
    if let Some(id) = &state.file {
        let Some(file) = api.file(Operation::Connect, id).await? else { return Ok(None) };
        // A session becomes a file with its last byte.
        state.kept = file.size.or(kept.total).unwrap_or(0);
    }
    state.offered = state.kept;
    upload.kept_before = state.kept;
    upload.state = Mutex::new(state);
    Ok(Some(upload))
}

/// The access token is sent wherever the session is, so that must be the server that issued the session.
fn same_server(session: &str, upload: &str) -> bool {
    let (Ok(session), Ok(upload)) = (Url::parse(session), Url::parse(upload)) else { return false };
    session.origin() == upload.origin() && session.origin().is_tuple()
}

/// Adds how much space is missing to a full destination's error.
async fn how_full(api: &Api, mut error: StoreError, expected: Option<u64>) -> StoreError {
    let Some(expected) = expected.filter(|_| error.is_full()) else { return error };
    if let (Ok(about), StoreError::Remote(remote)) = (api.about(Operation::Write).await, &mut error) {
        let missing = about.free().map(|free| expected.saturating_sub(free)).filter(|missing| *missing > 0);
        remote.kind = Kind::Full { missing };
    }
    error
}

/// Not enough space for the whole.
pub(super) fn full(api: &Api, missing: u64) -> StoreError {
    let reason = format!("it needs {:.1} MB more than are free", missing as f64 / 1e6);
    api.refuse(Operation::Create, Kind::Full { missing: Some(missing) }, reason).advise(FREE_SPACE_ADVICE)
}

/// `bytes=0-N` as N + 1, also without its unit; nothing at all is 0.
fn kept_of(answer: &Response) -> Option<u64> {
    let Some(range) = answer.headers().get(RANGE) else { return Some(0) };
    let range = range.to_str().ok()?.trim();
    let (from, last) = range.strip_prefix("bytes=").unwrap_or(range).split_once('-')?;
    (from == "0").then_some(())?;
    last.parse::<u64>().ok()?.checked_add(1)
}

impl DriveUpload {
    fn api(&self) -> &Api {
        &self.contents.api
    }

    fn refuse(&self, operation: Operation, kind: Kind, reason: impl Into<String>) -> StoreError {
        self.api().refuse(operation, kind, reason)
    }

    /// Asks the session what it has kept.
    async fn ask(&self, state: &mut State, operation: Operation) -> Result<(), StoreError> {
        let range = format!("bytes */{}", length_of(state.total.or(self.declared)));
        let answer = self.api().ask(operation, |http| {
            http.put(self.session.expose()).header(CONTENT_RANGE, &range).header(CONTENT_LENGTH, 0).body("")
        });
        let answer = answer.await?;
        self.take(state, operation, answer).await
    }

    /// Sends bytes that follow directly on what is kept.
    async fn offer(&self, state: &mut State, data: &Segments, activity: &Activity) -> Result<(), StoreError> {
        let last = state.kept + data.len() - 1;
        let range = format!("bytes {}-{last}/{}", state.kept, length_of(state.total.or(self.declared)));
        state.offered = state.offered.max(last + 1);
        // Also when this future is dropped half-way.
        state.unsure = true;
        let answer = self.api().send(Operation::Write, activity, |http| {
            web::with_body(http.put(self.session.expose()).header(CONTENT_RANGE, &range), data, activity)
        });
        let answer = answer.await?;
        if answer.status().as_u16() != 400 {
            return self.take(state, Operation::Write, answer).await;
        }
        // Bytes of a broken connection may arrive after the session was asked, and then these begin at the wrong
        // offset.
        let before = state.kept;
        let refusal = self.api().judge(Operation::Write, answer).await;
        self.ask(state, Operation::Write).await?;
        if state.kept > before || state.file.is_some() { Ok(()) } else { Err(refusal) }
    }

    /// What an answer of the session says about it.
    async fn take(&self, state: &mut State, operation: Operation, answer: Response) -> Result<(), StoreError> {
        match answer.status().as_u16() {
            308 => {
                let Some(kept) = kept_of(&answer) else {
                    return Err(self.refuse(operation, Kind::Protocol, "it does not say what it has stored"));
                };
                if kept > state.offered {
                    let reason = format!("it claims to have {kept} bytes, but {} were sent", state.offered);
                    return Err(self.refuse(operation, Kind::Protocol, reason));
                }
                if kept < state.kept {
                    return Err(self.refuse(
                        operation,
                        Kind::Lost,
                        format!("it has lost {} bytes that it had confirmed", state.kept - kept),
                    ));
                }
                state.kept = kept;
                state.unsure = false;
                Ok(())
            }
            200 | 201 => {
                let file: File = self.api().parsed(operation, answer).await?;
                state.kept = state.offered;
                state.file = Some(file.id);
                state.unsure = false;
                Ok(())
            }
            404 | 410 => {
                // A session that has become a file may be forgotten while the file is there.
                if let Some(file) = self.contents.in_folder(operation, &self.folder, &self.temporary).await? {
                    state.kept = state.offered;
                    state.file = Some(file.id);
                    state.unsure = false;
                    return Ok(());
                }
                let reason = "it no longer knows the upload in progress";
                // All bytes were sent: the file may be made and not be listed yet.
                if state.total.is_some_and(|total| state.offered == total) && state.is_to_be_asked_again() {
                    return Err(self.refuse(operation, Kind::Transient { retry_after: None }, reason));
                }
                Err(self.refuse(operation, Kind::Lost, reason))
            }
            _ => {
                Err(how_full(self.api(), self.api().judge(operation, answer).await, state.total.or(self.expected))
                    .await)
            }
        }
    }

    /// Brings the session to its end, when everything was put but the answer to the last part is missing.
    async fn finish(&self, state: &mut State, completed: &Completed) -> Result<Option<String>, StoreError> {
        if state.file.is_none() {
            if state.kept == completed.length || state.unsure {
                state.total = state.total.or(Some(completed.length));
                self.ask(state, Operation::Publish).await?;
            }
            if state.file.is_none() && state.kept == completed.length {
                return Err(self.refuse(
                    Operation::Publish,
                    Kind::Transient { retry_after: None },
                    "it has all the bytes, but has not created the file yet",
                ));
            }
        }
        Ok(state.file.clone())
    }

    /// How the file differs from what was sent, and by what they were compared. A missing size is no difference: the
    /// session has accepted all the bytes.
    fn compared(file: &File, completed: &Completed) -> Result<Checked, String> {
        if let Some(arrived) = file.size.filter(|arrived| *arrived != completed.length) {
            return Err(format!("{arrived} bytes arrived instead of {}", completed.length));
        }
        let (Some(sent), Some(arrived)) = (completed.md5, &file.md5_checksum) else { return Ok(Checked::Size) };
        if HEXLOWER.encode(&sent).eq_ignore_ascii_case(arrived) {
            Ok(Checked::Checksum)
        } else {
            Err("its MD5 differs from that of the data sent".to_owned())
        }
    }

    /// Removes the session and the file that may have come out of it.
    async fn remove(&self, state: &mut State, operation: Operation) -> Result<(), StoreError> {
        if state.file.is_none() && state.unsure {
            match self.ask(state, operation).await {
                // What it has kept is no concern any more.
                Err(error) if error.is_transient() || matches!(error, StoreError::Cancelled) => return Err(error),
                _ => {}
            }
        }
        if let Some(id) = &state.file {
            return self.api().delete(operation, id).await;
        }
        let answer = self.api().ask(operation, |http| http.delete(self.session.expose())).await?;
        match answer.status().as_u16() {
            // 499 is how Drive confirms that an upload was cancelled.
            200 | 204 | 499 | 404 | 410 => Ok(()),
            _ => Err(self.api().judge(operation, answer).await),
        }
    }
}

impl State {
    /// A part with what the one before it left over.
    fn with_held(&self, part: &Part) -> (u64, Segments) {
        match &self.held {
            Some((begins, held)) if begins + held.len() == part.offset => {
                let mut data = held.clone();
                part.data.pieces().iter().for_each(|piece| data.push(piece.clone()));
                (*begins, data)
            }
            _ => (part.offset, part.data.clone()),
        }
    }

    /// Whether something that should be there may still be coming.
    fn is_to_be_asked_again(&mut self) -> bool {
        self.unseen += 1;
        self.unseen <= LOOKS
    }
}

fn length_of(total: Option<u64>) -> String {
    total.map_or_else(|| "*".to_owned(), |total| total.to_string())
}

#[async_trait]
impl Upload for DriveUpload {
    async fn put(&self, part: &Part) -> Result<(), StoreError> {
        let operation = Operation::Write;
        let mut state = self.state.lock().await;
        let state = &mut *state;
        state.total = part.total.or(state.total);
        if !part.last && !part.end().is_multiple_of(MULTIPLE) {
            return Err(self.refuse(
                operation,
                Kind::Invalid,
                format!("a part ends at {}, which is not a multiple of {MULTIPLE}", part.end()),
            ));
        }
        if state.unsure {
            self.ask(state, operation).await?;
        }
        loop {
            if state.file.is_some() {
                if part.end() > state.kept {
                    return Err(self.refuse(
                        operation,
                        Kind::Protocol,
                        "it considers the archive complete, but it is not",
                    ));
                }
                return Ok(());
            }
            let before = state.kept;
            let (begins, data) = state.with_held(part);
            if before < begins {
                return Err(self.refuse(
                    operation,
                    Kind::Lost,
                    format!("it has only {before} of the {begins} bytes sent so far"),
                ));
            }
            if before >= part.end() {
                if part.last {
                    // All is there but the word that it is all.
                    self.ask(state, operation).await?;
                    if state.file.is_none() {
                        return Err(self.refuse(
                            operation,
                            Kind::Transient { retry_after: None },
                            "it has all the bytes, but has not created the file yet",
                        ));
                    }
                }
                return Ok(());
            }
            let rest = data.skip(before - begins);
            let now = if part.last { rest.len() } else { rest.len() / MULTIPLE * MULTIPLE };
            if now == 0 {
                state.held = Some((before, rest));
                return Ok(());
            }
            self.offer(state, &rest.take(now), &part.activity).await?;
            if state.file.is_none() && state.kept == before {
                return Err(self.refuse(
                    operation,
                    Kind::Transient { retry_after: None },
                    "it stored nothing of what was sent",
                ));
            }
        }
    }

    async fn patch(&self, _: u64, _: &[u8]) -> Result<(), StoreError> {
        Err(self.refuse(Operation::Write, Kind::Invalid, "bytes already sent can't be changed"))
    }

    async fn commit(&self, completed: &Completed) -> Result<Checked, StoreError> {
        let mut state = self.state.lock().await;
        let state = &mut *state;
        let Some(id) = self.finish(state, completed).await? else {
            let reason = format!("{} bytes arrived instead of {}", state.kept, completed.length);
            self.remove(state, Operation::Check).await?;
            return Err(self.refuse(Operation::Check, Kind::Mismatch, reason));
        };
        let Some(file) = self.api().file(Operation::Check, &id).await?.filter(|file| !file.trashed) else {
            let kind = if state.is_to_be_asked_again() { Kind::Transient { retry_after: None } } else { Kind::Lost };
            return Err(self.refuse(Operation::Check, kind, "the uploaded file is not there"));
        };
        if (file.size.is_none() || file.md5_checksum.is_none()) && state.is_to_be_asked_again() {
            return Err(self.refuse(
                Operation::Check,
                Kind::Transient { retry_after: None },
                "it does not report the file's size and checksum yet",
            ));
        }
        let checked = match Self::compared(&file, completed) {
            Ok(checked) => checked,
            Err(reason) => {
                self.api().delete(Operation::Check, &id).await?;
                return Err(self.refuse(Operation::Check, Kind::Mismatch, reason));
            }
        };
        // An earlier try may have got this far and not heard of it.
        if file.name != self.name {
            if self.contents.is_taken(Operation::Publish, &self.name, &id).await? {
                return Err(self.refuse(Operation::Publish, Kind::Exists, format!("{} exists already", self.name)));
            }
            let renamed = self.api().update(Operation::Publish, &id, &serde_json::json!({ "name": self.name })).await?;
            if renamed.is_none_or(|file| file.name != self.name) {
                return Err(self.refuse(Operation::Publish, Kind::Lost, "the file was removed before it got its name"));
            }
        }
        state.published = true;
        self.contents.published(&self.name, &id, completed.length);
        Ok(checked)
    }

    fn temporary(&self) -> Option<String> {
        Some(self.temporary.clone())
    }

    async fn abort(&self) -> Result<(), StoreError> {
        let mut state = self.state.lock().await;
        if state.published {
            return Ok(());
        }
        self.remove(&mut state, Operation::Delete).await
    }

    fn session(&self) -> Option<Session> {
        let kept = Kept {
            session: self.session.expose().to_owned(),
            folder: self.folder.clone(),
            name: self.name.clone(),
            temporary: self.temporary.clone(),
            expected: self.expected,
            total: self.declared,
        };
        serde_json::to_value(kept).ok().map(Session)
    }

    fn kept(&self) -> Vec<Range<u64>> {
        // One range, or none.
        (self.kept_before > 0).then_some(0..self.kept_before).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_elsewhere_gets_no_token() {
        let own = "https://www.googleapis.com/upload/drive/v3";
        assert!(same_server("https://www.googleapis.com/upload/drive/v3/files?upload_id=x", own));
        for other in [
            "https://evil.example/upload",
            "http://www.googleapis.com/upload",
            "https://www.googleapis.com:8443/",
            "",
            "file:///etc",
        ] {
            assert!(!same_server(other, own), "{other}");
        }
    }
}
