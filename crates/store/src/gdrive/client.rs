//! Calls of Drive's HTTP interface (v3): each makes one attempt, with a fresh access token if the current one is
//! refused, and translates a refusal.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{
    HeaderMap, StatusCode,
    header::{CONTENT_RANGE, RANGE},
};
use reqwest::{Client, RequestBuilder, Response};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};

use super::{
    auth::{SIGN_IN_AGAIN, Tokens},
    settings::Settings,
};
use crate::{
    context::Context,
    error::{Kind, Operation, StoreError},
    http as web,
    parts::Activity,
};

/// The fields requested for every file.
const FIELDS: &str = "id,name,mimeType,size,md5Checksum,createdTime,modifiedTime,trashed,driveId,appProperties";
/// Entries per page; the most that Drive gives.
const PAGE: &str = "1000";
/// The maximum length of a listing's page.
const MOST: u64 = 8 << 20;
/// A destination with more pages than this answers in circles.
const MOST_PAGES: usize = 10_000;
/// How often a fresh token may be refused before signing in again is the only way.
const MOST_UNHEARD: u32 = 3;
/// The owner takes the risk of a file that Google flags.
const FLAGGED: &str = "cannotDownloadAbusiveFile";
/// Text of a refusal that is shown.
const SHOWN: usize = 200;

/// A file or folder, as Drive describes it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct File {
    pub(super) id: String,
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) mime_type: String,
    // Numbers are text here, and documents of Google's own have no size at all.
    #[serde(default, deserialize_with = "number")]
    pub(super) size: Option<u64>,
    #[serde(default)]
    pub(super) md5_checksum: Option<String>,
    #[serde(default)]
    created_time: Option<String>,
    #[serde(default)]
    modified_time: Option<String>,
    #[serde(default)]
    pub(super) trashed: bool,
    // Only for files in a shared drive.
    #[serde(default)]
    pub(super) drive_id: Option<String>,
    #[serde(default)]
    pub(super) app_properties: HashMap<String, String>,
}

impl File {
    /// Oldest first. Sorted by this here: Drive orders long lists as it likes.
    pub(super) fn order(&self) -> (Option<jiff::Timestamp>, String) {
        (self.created_time.as_ref().and_then(|text| text.parse().ok()), self.id.clone())
    }

    /// When it was last changed.
    pub(super) fn modified(&self) -> Option<SystemTime> {
        let text = self.modified_time.as_ref().or(self.created_time.as_ref())?;
        Some(text.parse::<jiff::Timestamp>().ok()?.into())
    }

    /// How long ago that was.
    pub(super) fn age(&self) -> Option<Duration> {
        Some(SystemTime::now().duration_since(self.modified()?).unwrap_or_default())
    }
}

/// Whose Drive it is, and how full.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct About {
    #[serde(default)]
    pub(super) user: User,
    #[serde(default)]
    storage_quota: Quota,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct User {
    #[serde(default)]
    pub(super) email_address: Option<String>,
    #[serde(default)]
    pub(super) display_name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Quota {
    // Absent or 0: without limit.
    #[serde(default, deserialize_with = "number")]
    limit: Option<u64>,
    #[serde(default, deserialize_with = "number")]
    usage: Option<u64>,
}

impl About {
    /// Free space; `None` without a limit.
    pub(super) fn free(&self) -> Option<u64> {
        let limit = self.storage_quota.limit.filter(|limit| *limit > 0)?;
        Some(limit.saturating_sub(self.storage_quota.usage.unwrap_or(0)))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    #[serde(default)]
    next_page_token: Option<String>,
    // Not everything was searched, so something may be missing.
    #[serde(default)]
    incomplete_search: bool,
    #[serde(default)]
    files: Vec<File>,
}

/// What was answered instead.
struct Refusal {
    status: StatusCode,
    headers: HeaderMap,
    details: Details,
}

#[derive(Default, Deserialize)]
struct Complaint {
    #[serde(default)]
    error: Details,
}

#[derive(Default, Deserialize)]
struct Details {
    #[serde(default)]
    message: String,
    #[serde(default)]
    errors: Vec<Reason>,
}

#[derive(Default, Deserialize)]
struct Reason {
    #[serde(default)]
    reason: String,
}

fn number<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Number {
        Text(String),
        Plain(u64),
    }
    Ok(match Option::<Number>::deserialize(from)? {
        Some(Number::Text(text)) => text.parse().ok(),
        Some(Number::Plain(number)) => Some(number),
        None => None,
    })
}

/// Text in a search query.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// The calls, for one destination.
pub(super) struct Api {
    destination: String,
    pub(super) context: Context,
    files: String,
    upload: String,
    tokens: Tokens,
    // Refusals of tokens that were just given, one after the other.
    unheard: AtomicU32,
    // Whether a download had to accept a flagged file.
    flagged: AtomicBool,
}

impl Api {
    pub(super) fn new(destination: &str, settings: &Settings, context: &Context) -> Result<Self, StoreError> {
        Ok(Self {
            destination: destination.to_owned(),
            context: context.clone(),
            files: settings.api_url.clone(),
            upload: settings.upload_url.clone(),
            tokens: Tokens::new(destination, settings, context)?,
            unheard: AtomicU32::new(0),
            flagged: AtomicBool::new(false),
        })
    }

    pub(super) fn destination(&self) -> &str {
        &self.destination
    }

    /// Where resumable uploads begin.
    pub(super) fn upload_url(&self) -> &str {
        &self.upload
    }

    /// An error at this destination.
    pub(super) fn refuse(&self, operation: Operation, kind: Kind, reason: impl Into<String>) -> StoreError {
        StoreError::remote(&self.destination, operation, kind, reason)
    }

    /// Whether a download had to accept that Google flags the file.
    pub(super) fn is_flagged(&self) -> bool {
        self.flagged.load(Ordering::Relaxed)
    }

    /// Sends a request with an access token. A refused token is replaced once; a fresh one that is refused may be taken
    /// a little later, but not for ever. Every other answer is the caller's to judge.
    pub(super) async fn send(
        &self,
        operation: Operation,
        activity: &Activity,
        request: impl Fn(&Client) -> RequestBuilder,
    ) -> Result<Response, StoreError> {
        let stall = self.context.tuning.stall;
        let mut refused = None;
        for _ in 0..2 {
            let token = self.tokens.access(&self.destination, operation, refused.as_ref()).await?;
            let request = request(&self.context.http).bearer_auth(token.expose());
            let answer = web::send(&self.destination, operation, request, activity, stall).await?;
            if answer.status() != StatusCode::UNAUTHORIZED {
                self.unheard.store(0, Ordering::Relaxed);
                return Ok(answer);
            }
            refused = Some(token);
        }
        let reason = "a fresh access token was refused";
        if self.unheard.fetch_add(1, Ordering::Relaxed) < MOST_UNHEARD {
            return Err(self.refuse(operation, Kind::Transient { retry_after: None }, reason));
        }
        Err(self.refuse(operation, Kind::Credentials, reason).advise(SIGN_IN_AGAIN))
    }

    /// As [`Self::send`], for requests without a body worth watching.
    pub(super) async fn ask(
        &self,
        operation: Operation,
        request: impl Fn(&Client) -> RequestBuilder,
    ) -> Result<Response, StoreError> {
        self.send(operation, &Activity::default(), request).await
    }

    /// As [`Self::ask`], for calls that succeed or fail; `None` when the object is not there.
    async fn call<T: DeserializeOwned>(
        &self,
        operation: Operation,
        request: impl Fn(&Client) -> RequestBuilder,
    ) -> Result<Option<T>, StoreError> {
        let answer = self.ask(operation, request).await?;
        match answer.status().as_u16() {
            200 | 201 => self.parsed(operation, answer).await.map(Some),
            404 => Ok(None),
            _ => Err(self.judge(operation, answer).await),
        }
    }

    /// An answer's JSON.
    pub(super) async fn parsed<T: DeserializeOwned>(
        &self,
        operation: Operation,
        answer: Response,
    ) -> Result<T, StoreError> {
        let body = web::read_body(&self.destination, operation, answer, MOST, self.context.tuning.stall).await?;
        serde_json::from_slice(&body)
            .map_err(|_| self.refuse(operation, Kind::Protocol, "its answer is not a valid Google Drive answer"))
    }

    /// What a refusal means.
    pub(super) async fn judge(&self, operation: Operation, answer: Response) -> StoreError {
        self.judged(operation, &self.heard(answer, operation).await)
    }

    async fn heard(&self, answer: Response, operation: Operation) -> Refusal {
        let (status, headers) = (answer.status(), answer.headers().clone());
        // A body that breaks says nothing; the status does.
        let body = web::read_body(&self.destination, operation, answer, MOST, self.context.tuning.stall)
            .await
            .unwrap_or_default();
        Refusal { status, headers, details: serde_json::from_slice::<Complaint>(&body).unwrap_or_default().error }
    }

    fn judged(&self, operation: Operation, refusal: &Refusal) -> StoreError {
        let Refusal { status, headers, details } = refusal;
        if *status == StatusCode::FORBIDDEN
            && let Some((kind, reason, advice)) = details.errors.iter().find_map(|error| meaning(&error.reason))
        {
            let kind = if let Kind::Transient { .. } = kind {
                Kind::Transient { retry_after: web::retry_after(headers) }
            } else {
                kind
            };
            let error = self.refuse(operation, kind, reason);
            return if advice.is_empty() { error } else { error.advise(advice) };
        }
        web::refused(&self.destination, operation, *status, headers, &presentable(&details.message))
    }

    pub(super) async fn about(&self, operation: Operation) -> Result<About, StoreError> {
        let url = format!("{}/about", self.files);
        let fields = "user(displayName,emailAddress),storageQuota";
        self.call(operation, |http| http.get(&url).query(&[("fields", fields)]))
            .await?
            .ok_or_else(|| self.not_drive(operation))
    }

    /// All files that a query finds, oldest first.
    pub(super) async fn search(&self, operation: Operation, query: &str) -> Result<Vec<File>, StoreError> {
        let url = format!("{}/files", self.files);
        let fields = format!("nextPageToken,incompleteSearch,files({FIELDS})");
        let asked = [
            ("q", query),
            ("fields", &fields),
            ("pageSize", PAGE),
            ("supportsAllDrives", "true"),
            ("includeItemsFromAllDrives", "true"),
        ];
        let mut files = Vec::new();
        let mut next: Option<String> = None;
        for _ in 0..MOST_PAGES {
            let page = self.call::<Page>(operation, |http| {
                let request = http.get(&url).query(&asked);
                if let Some(token) = &next { request.query(&[("pageToken", token)]) } else { request }
            });
            // The folder in the request is gone.
            let Some(page) = page.await? else { return Ok(Vec::new()) };
            if page.incomplete_search {
                return Err(self.refuse(
                    operation,
                    Kind::Transient { retry_after: None },
                    "its search was incomplete, so the list may lack archives",
                ));
            }
            files.extend(page.files);
            next = page.next_page_token.filter(|token| !token.is_empty());
            if next.is_none() {
                files.sort_by_cached_key(File::order);
                return Ok(files);
            }
        }
        Err(self.refuse(operation, Kind::Protocol, "its list does not end"))
    }

    /// One file or folder; `None` if there is none that Haul may see.
    pub(super) async fn file(&self, operation: Operation, id: &str) -> Result<Option<File>, StoreError> {
        let url = self.file_url(id);
        self.call(operation, |http| http.get(&url).query(&[("fields", FIELDS), ("supportsAllDrives", "true")])).await
    }

    /// Makes a file without content, which is what a folder is.
    pub(super) async fn make(&self, metadata: &serde_json::Value) -> Result<File, StoreError> {
        let url = format!("{}/files", self.files);
        let made = self.call(Operation::Create, |http| {
            http.post(&url).query(&[("fields", FIELDS), ("supportsAllDrives", "true")]).json(metadata)
        });
        made.await?.ok_or_else(|| self.refuse(Operation::Create, Kind::NotFound, "the folder above it is gone"))
    }

    /// Changes what is known about a file; `None` when it is gone.
    pub(super) async fn update(
        &self,
        operation: Operation,
        id: &str,
        metadata: &serde_json::Value,
    ) -> Result<Option<File>, StoreError> {
        let url = self.file_url(id);
        self.call(operation, |http| {
            http.patch(&url).query(&[("fields", FIELDS), ("supportsAllDrives", "true")]).json(metadata)
        })
        .await
    }

    /// Removes a file for good, past the trash; one that is gone is fine. In a shared drive only its managers may do
    /// that: there it goes to the trash.
    pub(super) async fn delete(&self, operation: Operation, id: &str) -> Result<(), StoreError> {
        let url = self.file_url(id);
        let answer = self.ask(operation, |http| http.delete(&url).query(&[("supportsAllDrives", "true")])).await?;
        match answer.status().as_u16() {
            200 | 204 | 404 => return Ok(()),
            _ => (),
        }
        let refusal = self.judge(operation, answer).await;
        if refusal.kind() != Some(Kind::Permission) {
            return Err(refusal);
        }
        match self.update(operation, id, &serde_json::json!({ "trashed": true })).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_transient() => Err(error),
            Err(_) => Err(refusal),
        }
    }

    /// Bytes of a file; `None` if it is gone. A file that Google flags as harmful is downloaded anyway: it is the
    /// user's own.
    pub(super) async fn download(&self, id: &str, from: u64, length: u64) -> Result<Option<Bytes>, StoreError> {
        let operation = Operation::Read;
        let last = from + length - 1;
        let mut answer = self.ask_for_bytes(id, from, last).await?;
        if answer.status() == StatusCode::FORBIDDEN {
            let refusal = self.heard(answer, operation).await;
            if self.is_flagged() || !refusal.details.errors.iter().any(|error| error.reason == FLAGGED) {
                return Err(self.judged(operation, &refusal));
            }
            self.flagged.store(true, Ordering::Relaxed);
            answer = self.ask_for_bytes(id, from, last).await?;
        }
        match answer.status().as_u16() {
            206 => {}
            404 => return Ok(None),
            200 | 416 => {
                return Err(self.refuse(operation, Kind::Protocol, "it does not return the range that was requested"));
            }
            _ => return Err(self.judge(operation, answer).await),
        }
        let range = answer.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok()).unwrap_or_default();
        if !range.starts_with(&format!("bytes {from}-{last}/")) {
            return Err(self.refuse(operation, Kind::Protocol, "it returned another range than was requested"));
        }
        let bytes = web::read_body(&self.destination, operation, answer, length, self.context.tuning.stall).await?;
        if bytes.len() as u64 != length {
            return Err(self.refuse(operation, Kind::Transient { retry_after: None }, "the answer broke off"));
        }
        Ok(Some(bytes))
    }

    async fn ask_for_bytes(&self, id: &str, from: u64, last: u64) -> Result<Response, StoreError> {
        let (url, is_flagged) = (self.file_url(id), self.is_flagged());
        let asked = |http: &Client| {
            let request = http
                .get(&url)
                .query(&[("alt", "media"), ("supportsAllDrives", "true")])
                .header(RANGE, format!("bytes={from}-{last}"));
            if is_flagged { request.query(&[("acknowledgeAbuse", "true")]) } else { request }
        };
        self.ask(Operation::Read, asked).await
    }

    fn file_url(&self, id: &str) -> String {
        // Ids are letters, digits, - and _; whatever else a server sends must not lead elsewhere.
        let id = percent_encoding::utf8_percent_encode(id, &NOT_IN_AN_ID);
        format!("{}/files/{id}", self.files)
    }

    fn not_drive(&self, operation: Operation) -> StoreError {
        self.refuse(operation, Kind::Protocol, "there is no Google Drive at this address")
    }
}

/// What a reason of a refusal means, and what to do about it; `None` for those that say no more than the status.
fn meaning(reason: &str) -> Option<(Kind, &'static str, &'static str)> {
    let (transient, full) = (Kind::Transient { retry_after: None }, Kind::Full { missing: None });
    Some(match reason {
        "rateLimitExceeded" | "userRateLimitExceeded" | "sharingRateLimitExceeded" => {
            (transient, "it asks for fewer requests per second", "")
        }
        "backendError" | "internalError" | "transientError" => (transient, "it reports an internal error", ""),
        "storageQuotaExceeded" | "quotaExceeded" => (full, "its storage is full", FREE_SPACE_ADVICE),
        "teamDriveFileLimitExceeded" => (
            full,
            "the shared drive has reached its limit of files",
            "remove files from it (their number counts, not their size), or choose another destination",
        ),
        "numChildrenInNonRootLimitExceeded" => {
            (full, "the folder has reached its limit of files", "remove files from it, or choose another folder")
        }
        "activeItemCreationLimitExceeded" => {
            (full, "the account has reached its limit of files", "remove files from it, and empty its trash")
        }
        "uploadLimitExceeded" | "dailyLimitExceeded" | "dailyLimitExceededUnreg" => {
            (Kind::DailyLimit, "the account has reached its daily upload limit", "try again tomorrow")
        }
        "downloadQuotaExceeded" => {
            (Kind::DailyLimit, "the file has reached its daily download limit", "try again tomorrow")
        }
        "domainPolicy" => (
            Kind::Permission,
            "the account's administrator does not allow it",
            "ask the administrator, or sign in with another account",
        ),
        "accessNotConfigured" => (
            Kind::Permission,
            "the Google Drive API is not enabled",
            "enable the Google Drive API at console.cloud.google.com, in the project that the client id belongs to",
        ),
        FLAGGED => (
            Kind::Permission,
            "Google flags the file as harmful and lets only its owner download it",
            "sign in as the file's owner, or fetch it with the browser",
        ),
        _ => return None,
    })
}

pub(super) const FREE_SPACE_ADVICE: &str =
    "free some space in the account (Gmail and Photos share it, and the trash counts), or choose another destination";
const NOT_IN_AN_ID: percent_encoding::AsciiSet = percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'_');

/// A server's text as it may be shown: short, and without anything that could be a token or an upload's id.
fn presentable(message: &str) -> String {
    const LONGEST_WORD: usize = 30;
    let terms = message.split_whitespace().map(|word| if word.len() > LONGEST_WORD { "…" } else { word });
    terms.collect::<Vec<_>>().join(" ").chars().filter(|c| !c.is_control()).take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn quotes_and_backslashes_stay_inside_a_query() {
        assert_eq!(quoted(r"it's a \ here"), r"'it\'s a \\ here'");
    }

    #[test]
    fn a_refusal_does_not_repeat_a_token() {
        assert_eq!(presentable("bad token ya29.a0AfB_byDxK3n2mQ9v7sT1uW5xYz here"), "bad token … here");
    }

    #[test]
    fn sizes_are_text_or_numbers() {
        let file: File = serde_json::from_str(r#"{"id":"a","size":"12345678901"}"#).unwrap();
        assert_eq!(file.size, Some(12_345_678_901));
        let file: File = serde_json::from_str(r#"{"id":"a","size":7}"#).unwrap();
        assert_eq!(file.size, Some(7));
        assert_eq!(serde_json::from_str::<File>(r#"{"id":"a"}"#).unwrap().size, None);
    }

    #[test]
    fn without_a_limit_free_space_is_not_known() {
        let about: About = serde_json::from_str(r#"{"storageQuota":{"usage":"5"}}"#).unwrap();
        assert_eq!(about.free(), None);
        let about: About = serde_json::from_str(r#"{"storageQuota":{"usage":"5","limit":"3"}}"#).unwrap();
        assert_eq!(about.free(), Some(0));
    }
}
