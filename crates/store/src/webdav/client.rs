//! WebDAV's verbs against one folder: addresses, the password, and what answers mean. Shared with `nextcloud`, which
//! uses several folders.

use std::{
    ops::Range,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderMap, Method, StatusCode,
    header::{CONTENT_RANGE, CONTENT_TYPE, RANGE, WWW_AUTHENTICATE},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{RequestBuilder, Response};
use url::Url;

use super::multistatus::{self, Resource};
use crate::{
    context::{Context, invalid},
    error::{Kind, Operation, StoreError},
    http as web, owner,
    parts::{Activity, Segments},
    secret::Secret,
    store::{Checked, Entry, Expected},
};

/// All that a step of a path may hold as it is (RFC 3986, "unreserved").
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// A listing of a hundred thousand archives.
const LARGEST_ANSWER: u64 = 64 << 20;
/// So many times the usual silence is allowed for a `MOVE`: some servers copy, and say nothing meanwhile.
const MOVE_PATIENCE: u32 = 10;
/// So many times the usual silence is allowed before the answer to an upload: some servers process the file first.
const ANSWER_PATIENCE: u32 = 5;
/// How fast such a server processes a file (about 4 minutes for each GB), and how long that may take at most.
const BYTES_PER_SECOND: u64 = 4_000_000;
const LONGEST_DIGESTING: Duration = Duration::from_hours(1);
const QUESTION: &str = r#"<?xml version="1.0" encoding="utf-8"?><D:propfind xmlns:D="DAV:"><D:prop><D:resourcetype/><D:getcontentlength/><D:getlastmodified/><D:quota-available-bytes/></D:prop></D:propfind>"#;

/// User and password.
#[derive(Clone)]
pub(crate) struct Login {
    pub(crate) user: String,
    pub(crate) password: Secret,
}

/// One folder of a server.
pub(crate) struct Client {
    label: String,
    http: reqwest::Client,
    root: Url,
    login: Option<Login>,
    stall: Duration,
    // What to do about a refused password.
    login_advice: &'static str,
    // Temporary names under which something may have begun whose answer was lost, and whether they may outlive this
    // process.
    unheard: Mutex<Vec<(bool, String)>>,
    // Those of them that were begun again: a late server may make them once more when they have got their final name.
    doubtful: Mutex<Vec<String>>,
    // Temporary names under which a server that answers late may still create a file that nobody wants any more.
    unwanted: Mutex<Vec<String>>,
    // The server refuses names that begin with a dot.
    is_dotless: AtomicBool,
    // The folder was not there, and was made.
    is_new: AtomicBool,
}

impl Drop for Client {
    /// What may be there all the same is nobody's.
    fn drop(&mut self) {
        let unheard = self.unheard.get_mut().unwrap_or_else(PoisonError::into_inner);
        let unwanted = self.unwanted.get_mut().unwrap_or_else(PoisonError::into_inner);
        for name in unheard.iter().map(|(_, name)| name).chain(&*unwanted).filter(|name| owner::is_own(name)) {
            owner::give_up(name);
        }
    }
}

impl Client {
    /// `root` ends with a slash.
    pub(crate) fn new(
        label: String,
        root: Url,
        login: Option<Login>,
        login_advice: &'static str,
        context: &Context,
    ) -> Self {
        Self {
            label,
            http: context.http.clone(),
            root,
            login,
            stall: context.tuning.stall,
            login_advice,
            unheard: Mutex::default(),
            doubtful: Mutex::default(),
            unwanted: Mutex::default(),
            is_dotless: AtomicBool::new(false),
            is_new: AtomicBool::new(false),
        }
    }

    /// A temporary name to begin something under; first those of [`Self::not_heard`], so that nothing is begun twice.
    pub(crate) fn beginning(&self, resumable: bool) -> String {
        let mut unheard = self.unheard.lock().unwrap_or_else(PoisonError::into_inner);
        match unheard.iter().position(|(kind, _)| *kind == resumable) {
            Some(index) => unheard.swap_remove(index).1,
            None => self.shown(if resumable { owner::lasting_name() } else { owner::temporary_name() }),
        }
    }

    /// It failed, and may be there all the same: the next try begins it again under the same name.
    pub(crate) fn not_heard(&self, resumable: bool, temporary: String) {
        self.doubtful.lock().unwrap_or_else(PoisonError::into_inner).push(temporary.clone());
        self.unheard.lock().unwrap_or_else(PoisonError::into_inner).push((resumable, temporary));
    }

    /// A temporary name as the server takes it.
    pub(crate) fn shown(&self, temporary: String) -> String {
        if self.is_dotless.load(Ordering::Relaxed) { temporary.trim_start_matches('.').to_owned() } else { temporary }
    }

    /// Takes note that names must not begin with a dot.
    pub(crate) fn without_dots(&self) {
        self.is_dotless.store(true, Ordering::Relaxed);
    }

    /// How long the server may take after the last byte of an upload: proxies hand on what they have taken, some
    /// servers compute checksums, some look for viruses.
    pub(crate) fn digesting(&self, length: u64) -> Duration {
        let each = Duration::from_secs(length / BYTES_PER_SECOND);
        self.stall * ANSWER_PATIENCE + each.min(LONGEST_DIGESTING)
    }

    /// What may yet appear under this name is removed later.
    pub(crate) fn unwanted(&self, temporary: &str) {
        self.unwanted.lock().unwrap_or_else(PoisonError::into_inner).push(temporary.to_owned());
    }

    /// Removes what has appeared since; looks again for the rest the next time.
    pub(crate) async fn clear(&self) {
        let names = std::mem::take(&mut *self.unwanted.lock().unwrap_or_else(PoisonError::into_inner));
        for name in names {
            if !matches!(self.delete(self.child(&name)).await, Ok(true)) {
                self.unwanted(&name);
            }
        }
    }

    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    /// The user who logs in; empty for nobody.
    pub(crate) fn user(&self) -> &str {
        self.login.as_ref().map_or("", |login| &login.user)
    }

    pub(crate) fn root(&self) -> &Url {
        &self.root
    }

    pub(crate) fn stall(&self) -> Duration {
        self.stall
    }

    /// The address of something directly in the folder; only for names that [`check_name`] took.
    pub(crate) fn child(&self, name: &str) -> Url {
        below(&self.root, &[name])
    }

    pub(crate) fn error(&self, operation: Operation, kind: Kind, reason: impl Into<String>) -> StoreError {
        StoreError::remote(&self.label, operation, kind, reason)
    }

    pub(crate) fn request(&self, method: Method, url: Url) -> RequestBuilder {
        let request = self.http.request(method, url);
        match &self.login {
            Some(login) => request.basic_auth(&login.user, Some(login.password.expose())),
            None => request,
        }
    }

    pub(crate) async fn send(
        &self,
        operation: Operation,
        request: RequestBuilder,
        activity: &Activity,
    ) -> Result<Response, StoreError> {
        web::send(&self.label, operation, request, activity, self.stall).await
    }

    async fn ask(&self, operation: Operation, request: RequestBuilder) -> Result<Response, StoreError> {
        self.send(operation, request, &Activity::default()).await
    }

    /// What a refusal means, with the server's text if it has any.
    pub(crate) async fn refusal(&self, operation: Operation, response: Response) -> StoreError {
        let (status, headers) = (response.status(), response.headers().clone());
        let wanted: Vec<_> =
            headers.get_all(WWW_AUTHENTICATE).iter().map(|scheme| scheme.as_bytes().to_ascii_lowercase()).collect();
        if status == StatusCode::UNAUTHORIZED
            && !wanted.is_empty()
            && !wanted.iter().any(|scheme| scheme.windows(5).any(|word| word == b"basic"))
        {
            let error =
                web::refused(&self.label, operation, status, &headers, "it does not accept Basic authentication");
            return error.advise("enable Basic authentication there, over https");
        }
        if is_xml(&headers) {
            let body = web::read_body(&self.label, operation, response, 64 << 10, self.stall).await.unwrap_or_default();
            let said = multistatus::message(&String::from_utf8_lossy(&body)).unwrap_or_default();
            return self.advised(status, web::refused(&self.label, operation, status, &headers, &said));
        }
        let error = web::refused_by(&self.label, operation, response, self.stall).await;
        self.advised(status, error)
    }

    fn advised(&self, status: StatusCode, error: StoreError) -> StoreError {
        match status.as_u16() {
            400 if self.label.starts_with("webdav") && self.root.path().contains("/remote.php/") => error.advise(
                "this looks like a Nextcloud or ownCloud, which refuses the names of unfinished files: \
                    use nextclouds://host/folder",
            ),
            401 => error.advise(self.login_advice),
            403 => error.advise("this user is not allowed to do that: give the user write access to this folder"),
            411 => error.advise("this server needs an archive's length in advance, and none was given"),
            413 => error.advise(
                "the server limits the size of an upload: raise that limit there (nginx: client_max_body_size)",
            ),
            300..=399 => error.advise(
                "the server redirects to another address: use that one, often with https (webdavs://, nextclouds://)",
            ),
            405 | 501 => error.advise("the server does not speak WebDAV at this address: check the path"),
            507 => error.advise("free some space there, or prune old backups"),
            _ => error,
        }
    }

    /// `PROPFIND`. `None`: nothing is there.
    pub(crate) async fn describe(
        &self,
        operation: Operation,
        url: Url,
        depth: &'static str,
    ) -> Result<Option<Vec<Resource>>, StoreError> {
        let request = self
            .request(verb(b"PROPFIND")?, url)
            .header("Depth", depth)
            .header(CONTENT_TYPE, "application/xml; charset=utf-8")
            .body(QUESTION);
        let response = self.ask(operation, request).await?;
        match response.status().as_u16() {
            207 => (),
            404 | 410 => return Ok(None),
            200..=299 => {
                return Err(self
                    .error(operation, Kind::Protocol, "its answer to a WebDAV request is not a WebDAV answer")
                    .advise("the server does not speak WebDAV at this address: check the path"));
            }
            _ => return Err(self.refusal(operation, response).await),
        }
        let body = web::read_body(&self.label, operation, response, LARGEST_ANSWER, self.stall).await?;
        let resources = multistatus::parse(&String::from_utf8_lossy(&body)).map_err(|flaw| {
            let kind = if flaw.may_pass { Kind::Transient { retry_after: None } } else { Kind::Protocol };
            self.error(operation, kind, flaw.reason)
        })?;
        Ok(Some(resources))
    }

    /// What is in the folder at `url`; nothing, when there is no such folder.
    pub(crate) async fn children(&self, operation: Operation, url: Url) -> Result<Option<Vec<Resource>>, StoreError> {
        let folder = multistatus::steps(url.path()).unwrap_or_default();
        let found = self.describe(operation, url, "1").await?;
        Ok(found.map(|resources| multistatus::children(resources, &folder)))
    }

    /// One file.
    pub(crate) async fn file(&self, operation: Operation, url: Url) -> Result<Option<Resource>, StoreError> {
        let found = self.describe(operation, url, "0").await?;
        Ok(found.and_then(|resources| resources.into_iter().next()).filter(|resource| !resource.is_folder))
    }

    /// Its size. A server that does not report one can't be used: nothing could be checked.
    pub(crate) async fn size(&self, operation: Operation, url: Url) -> Result<Option<u64>, StoreError> {
        let Some(file) = self.file(operation, url).await? else { return Ok(None) };
        file.size
            .map(Some)
            .ok_or_else(|| self.error(operation, Kind::Protocol, "it does not report the size of a file"))
    }

    /// [`crate::Store::list`]
    pub(crate) async fn list(&self) -> Result<Vec<Entry>, StoreError> {
        let found = self.children(Operation::List, self.root.clone()).await?;
        let found = found.ok_or_else(|| self.error(Operation::List, Kind::NotFound, "the folder does not exist"))?;
        let entries = found.into_iter().filter(|resource| !resource.is_folder && !owner::is_temporary(resource.name()));
        Ok(entries
            .map(|resource| Entry {
                name: resource.name().to_owned(),
                size: resource.size.unwrap_or(0),
                modified: resource.modified,
                link: false,
            })
            .collect())
    }

    /// [`crate::Store::entry`]
    pub(crate) async fn entry(&self, name: &str) -> Result<Option<Entry>, StoreError> {
        self.check_name(name)?;
        let Some(file) = self.file(Operation::List, self.child(name)).await? else { return Ok(None) };
        // A missing size is not 0.
        let size = file.size.ok_or_else(|| {
            self.error(
                Operation::List,
                Kind::Transient { retry_after: None },
                format!("it does not report the size of {name}"),
            )
        })?;
        Ok(Some(Entry { name: name.to_owned(), size, modified: file.modified, link: false }))
    }

    /// [`crate::Store::space`]
    pub(crate) async fn space(&self) -> Result<Option<u64>, StoreError> {
        let found = self.describe(Operation::Connect, self.root.clone(), "0").await?;
        Ok(found.and_then(|resources| resources.into_iter().next()).and_then(|folder| folder.free))
    }

    /// What [`crate::Store::create`] asks before it makes anything.
    pub(crate) async fn make_way(&self, name: &str, expected: Expected) -> Result<(), StoreError> {
        self.check_name(name)?;
        if self.describe(Operation::Create, self.child(name), "0").await?.is_some() {
            return Err(self.error(Operation::Create, Kind::Exists, format!("{name} exists already")));
        }
        let (Some(needed), Some(free)) = (expected.needs(), self.space().await?) else { return Ok(()) };
        if needed > free {
            let missing = needed - free;
            let reason = format!("it needs {needed} bytes, but only {free} are free");
            return Err(self
                .error(Operation::Create, Kind::Full { missing: Some(missing) }, reason)
                .advise("free some space there, or prune old backups"));
        }
        Ok(())
    }

    /// `GET` of a range, which is not empty. A server that gives everything is heard only as far as needed.
    pub(crate) async fn read(&self, url: Url, range: Range<u64>) -> Result<Bytes, StoreError> {
        let operation = Operation::Read;
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let request = self.request(Method::GET, url).header(RANGE, format!("bytes={}-{}", range.start, range.end - 1));
        let mut response = self.ask(operation, request).await?;
        let begins = match response.status().as_u16() {
            206 => first_byte(response.headers()).unwrap_or(range.start),
            200 => 0,
            416 => return Err(self.error(operation, Kind::Protocol, "the file is shorter than the server reported")),
            _ => return Err(self.refusal(operation, response).await),
        };
        let Some(mut skip) = range.start.checked_sub(begins) else {
            return Err(self.error(operation, Kind::Protocol, "it sent other bytes than requested"));
        };
        let length = (range.end - range.start) as usize;
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            let chunk = web::quiet(&self.label, operation, &Activity::default(), self.stall, response.chunk()).await?;
            let Some(chunk) = chunk.map_err(|error| web::broken(&self.label, operation, &error))? else {
                return Err(self.error(operation, Kind::Protocol, "the file is shorter than the server reported"));
            };
            let skipped = skip.min(chunk.len() as u64);
            skip -= skipped;
            let wanted = &chunk[skipped as usize..];
            bytes.extend_from_slice(&wanted[..wanted.len().min(length - bytes.len())]);
        }
        Ok(bytes.into())
    }

    /// `PUT` of a few bytes.
    pub(crate) async fn put(&self, operation: Operation, url: Url, bytes: Bytes) -> Result<(), StoreError> {
        let activity = Activity::default();
        let response = self
            .send(
                operation,
                web::with_body(self.request(Method::PUT, url), &Segments::from(bytes), &activity),
                &activity,
            )
            .await?;
        if response.status().is_success() { Ok(()) } else { Err(self.refusal(operation, response).await) }
    }

    /// `MKCOL`. One that is there already is fine.
    pub(crate) async fn make_folder(&self, operation: Operation, url: Url) -> Result<(), StoreError> {
        let response = self.ask(operation, self.request(verb(b"MKCOL")?, url)).await?;
        match response.status().as_u16() {
            200..=299 | 405 => Ok(()),
            409 => Err(self
                .error(operation, Kind::NotFound, "neither the folder nor its parent exists")
                .advise("check the path; Haul creates only its last component")),
            _ => Err(self.refusal(operation, response).await),
        }
    }

    /// Creates the folder itself; [`Self::notes`] then says so, because it may have been mistyped.
    pub(crate) async fn make_own_folder(&self, folder: Url) -> Result<(), StoreError> {
        self.make_folder(Operation::Connect, folder).await?;
        self.is_new.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// [`crate::Store::notes`]
    pub(crate) fn notes(&self) -> Vec<String> {
        self.is_new.load(Ordering::Relaxed).then(|| crate::store::made_folder(&self.label)).into_iter().collect()
    }

    /// `DELETE`. Nothing there is fine; says whether there was something.
    pub(crate) async fn delete(&self, url: Url) -> Result<bool, StoreError> {
        let response = self.ask(Operation::Delete, self.request(Method::DELETE, url)).await?;
        match response.status().as_u16() {
            207 => Err(self.error(Operation::Delete, Kind::Protocol, "part of it could not be removed")),
            200..=299 => Ok(true),
            404 | 410 => Ok(false),
            _ => Err(self.refusal(Operation::Delete, response).await),
        }
    }

    /// `MOVE`, never onto something. Gives the answer, whatever it is.
    pub(crate) async fn rename(
        &self,
        from: Url,
        destination: &str,
        headers: &[(&'static str, String)],
    ) -> Result<Response, StoreError> {
        let mut request =
            self.request(verb(b"MOVE")?, from).header("Destination", destination).header("Overwrite", "F");
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        web::send(&self.label, Operation::Publish, request, &Activity::default(), self.stall * MOVE_PATIENCE).await
    }

    /// Gives what arrived as `temporary` its final name, having compared its size. Asked again after a lost answer, it
    /// finds its work done.
    pub(crate) async fn publish(&self, temporary: &str, name: &str, length: u64) -> Result<Checked, StoreError> {
        let (from, to) = (self.child(temporary), self.child(name));
        let Some(arrived) = self.size(Operation::Check, from.clone()).await? else {
            return self.published(name, length).await;
        };
        if arrived != length {
            self.delete(from).await?;
            return Err(self.error(
                Operation::Check,
                Kind::Mismatch,
                format!("{arrived} bytes arrived instead of {length}"),
            ));
        }
        let mut response = self.rename(from.clone(), to.as_str(), &[]).await?;
        // A server behind a proxy may not recognise the address by which we know it, and calls it another host.
        if matches!(response.status().as_u16(), 400 | 502) {
            response = self.rename(from.clone(), to.path(), &[]).await?;
        }
        match response.status().as_u16() {
            207 => return Err(self.error(Operation::Publish, Kind::Protocol, "it could not rename the file")),
            200..=299 => (),
            // Either somebody else has the name, or an attempt whose answer was lost has it for us.
            404 | 409 | 412 if self.size(Operation::Publish, from.clone()).await?.is_none() => {
                return self.published(name, length).await;
            }
            412 => return Err(self.error(Operation::Publish, Kind::Exists, format!("{name} exists already"))),
            _ => return Err(self.refusal(Operation::Publish, response).await),
        }
        match self.compare(name, length).await {
            Err(error) if error.is_transient() => {
                self.refuse_cut(name, length).await?;
                Err(error)
            }
            Ok(checked) => {
                self.settle(temporary);
                self.clear().await;
                Ok(checked)
            }
            Err(error) => Err(error),
        }
    }

    /// What bore this name has its final one: whatever still appears under it is unwanted.
    fn settle(&self, temporary: &str) {
        let mut doubtful = self.doubtful.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = doubtful.iter().position(|name| name == temporary) {
            let name = doubtful.swap_remove(index);
            self.unwanted(&name);
        }
    }

    /// Some servers (WsgiDAV) cut the name of a `MOVE` at its first question mark. The copy that is then called
    /// otherwise was made just now, since nothing is overwritten.
    async fn refuse_cut(&self, name: &str, length: u64) -> Result<(), StoreError> {
        let Some((cut, _)) = name.split_once(['?', '#']).filter(|(cut, _)| !cut.is_empty()) else { return Ok(()) };
        if self.size(Operation::Publish, self.child(cut)).await? != Some(length) {
            return Ok(());
        }
        self.delete(self.child(cut)).await?;
        Err(self
            .error(Operation::Publish, Kind::Invalid, format!("the server shortens {name} to {cut}"))
            .advise("choose a name without ? and # for this server"))
    }

    async fn published(&self, name: &str, length: u64) -> Result<Checked, StoreError> {
        match self.size(Operation::Check, self.child(name)).await? {
            Some(size) if size == length => Ok(Checked::Size),
            _ => Err(self.error(Operation::Publish, Kind::Lost, "the data sent so far is gone")),
        }
    }

    /// The size of what just got its name; a file of another size goes away again.
    pub(crate) async fn compare(&self, name: &str, length: u64) -> Result<Checked, StoreError> {
        let size = self.size(Operation::Check, self.child(name)).await?;
        match size {
            Some(size) if size == length => Ok(Checked::Size),
            Some(size) => {
                self.delete(self.child(name)).await?;
                Err(self.error(Operation::Check, Kind::Mismatch, format!("{size} bytes arrived instead of {length}")))
            }
            // It was confirmed that the name is there: if it is not shown yet, ask again.
            None => Err(self.error(
                Operation::Check,
                Kind::Transient { retry_after: None },
                format!("{name} was renamed, but does not appear yet"),
            )),
        }
    }

    /// Names that stay inside the folder.
    pub(crate) fn check_name(&self, name: &str) -> Result<(), StoreError> {
        if name.is_empty()
            || name == "."
            || name == ".."
            || name.contains(['/', '\\'])
            || name.chars().any(char::is_control)
        {
            return Err(invalid(&self.label, format!("{name:?} is not a valid file name")));
        }
        Ok(())
    }
}

/// The address of something below a folder, every step escaped.
pub(crate) fn below(folder: &Url, steps: &[&str]) -> Url {
    let escaped: Vec<String> = steps.iter().map(|step| utf8_percent_encode(step, ESCAPED).to_string()).collect();
    let mut url = folder.clone();
    url.set_path(&format!("{}/{}", folder.path().trim_end_matches('/'), escaped.join("/")));
    url
}

/// The same with a slash at its end, as folders are addressed.
pub(crate) fn folder_below(folder: &Url, steps: &[&str]) -> Url {
    let mut url = below(folder, steps);
    url.set_path(&format!("{}/", url.path().trim_end_matches('/')));
    url
}

fn verb(name: &'static [u8]) -> Result<Method, StoreError> {
    Method::from_bytes(name).map_err(|_| invalid("webdav", "the request has no name"))
}

fn is_xml(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).is_some_and(|kind| kind.contains("/xml"))
}

/// `bytes 7-9/10`
fn first_byte(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_RANGE)?.to_str().ok()?.trim().strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}
