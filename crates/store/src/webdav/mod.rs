//! WebDAV servers (RFC 4918), such as NAS boxes, Apache and many others. When Haul connects, it tries out what the
//! server accepts besides whole files.

mod client;
mod multistatus;
mod partial;
mod whole;

use std::{net::IpAddr, ops::Range, sync::Arc, time::SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use percent_encoding::percent_decode_str;
use url::Url;

pub(crate) use client::{Client, Login, below, folder_below};

use self::{
    partial::{PartialUpload, Way},
    whole::WholeUpload,
};
use crate::{
    context::{Context, Options, invalid},
    error::{Kind, Operation, StoreError},
    owner, redact,
    scheme::Scheme,
    store::{Abilities, CHECK_PATH, Entry, Expected, NO_FOLDER, Placement, Session, Sink, Store, Upload},
};

/// WebDAV, with TLS and without.
pub(crate) const SCHEME: Scheme = Scheme {
    names: &["webdavs", "webdav"],
    example: "webdavs://user@host/path",
    service: "WebDAV servers",
    keys: &["user", "password_file", "allow_http"],
    connect: |url, options, context| Box::pin(connect(url, options, context)),
};

const LOGIN_ADVICE: &str =
    "check user and password: password_file in haul.toml, or HAUL_WEBDAV_USER and HAUL_WEBDAV_PASSWORD";

/// Connects and asks what the destination can do.
async fn connect(url: &Url, options: &Options, context: &Context) -> Result<Arc<dyn Store>, StoreError> {
    let site = Site::of(url, options, context, "WEBDAV")?;
    let steps: Vec<&str> = site.steps.iter().map(String::as_str).collect();
    let root = folder_below(&site.host, &steps);
    let client = Arc::new(Client::new(site.label, root.clone(), site.login, LOGIN_ADVICE, context));
    enter(&client, root, context.only_looks).await?;
    let way = partial::probe(&client).await?;
    Ok(Arc::new(WebDav { client, way }))
}

/// Makes sure that the folder exists; creates it, unless the caller only reads.
pub(crate) async fn enter(client: &Client, folder: Url, only_looks: bool) -> Result<(), StoreError> {
    let found = client.describe(Operation::Connect, folder.clone(), "0").await?;
    match found.and_then(|resources| resources.into_iter().next()) {
        Some(resource) if resource.is_folder => Ok(()),
        Some(_) => Err(client.error(Operation::Connect, Kind::Invalid, "this is a file, not a folder")),
        None if only_looks => Err(client.error(Operation::Connect, Kind::NotFound, NO_FOLDER).advise(CHECK_PATH)),
        None => {
            client.make_own_folder(folder.clone()).await?;
            // What is no WebDAV at all may say that it can't do this as if the folder were there.
            match client.describe(Operation::Connect, folder, "0").await? {
                Some(_) => Ok(()),
                None => Err(client.error(
                    Operation::Connect,
                    Kind::NotFound,
                    "the folder does not exist and could not be created",
                )),
            }
        }
    }
}

/// What an address and its settings say about a server.
pub(crate) struct Site {
    /// The address without the user.
    pub(crate) label: String,
    /// Scheme, host and port.
    pub(crate) host: Url,
    /// The path's steps, decoded.
    pub(crate) steps: Vec<String>,
    pub(crate) login: Option<Login>,
}

impl Site {
    /// `kind` is the middle of the environment variables' names.
    pub(crate) fn of(url: &Url, options: &Options, context: &Context, kind: &str) -> Result<Self, StoreError> {
        let mut shown = url.clone();
        // Can't fail for an address with a host, and one without is refused below.
        let _ = shown.set_username("");
        let label = redact::url(&shown).trim_end_matches('/').to_owned();
        let is_secure = url.scheme().ends_with('s');
        let Some(name) = url.host_str().filter(|name| !name.is_empty()) else {
            return Err(invalid(&label, "the address names no host"));
        };
        if url.query().is_some() || url.fragment().is_some() {
            return Err(
                invalid(&label, "the address contains ? or #").advise("write %3F or %23 for these in a folder's name")
            );
        }
        let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
        let host = Url::parse(&format!("{}://{name}{port}/", if is_secure { "https" } else { "http" }))
            .map_err(|error| invalid(&label, format!("the address is not valid: {error}")))?;
        let steps = multistatus::steps(url.path()).ok_or_else(|| invalid(&label, "the path is not UTF-8"))?;
        if steps.iter().any(|step| step == "." || step == ".." || step.contains('/')) {
            return Err(invalid(&label, "the path contains . or .."));
        }
        let login = login(&label, url, options, context, kind)?;
        if login.is_some() && !is_secure && !is_own_machine(&host) && !options.flag(&label, "allow_http")? {
            return Err(invalid(&label, "the password would cross the network unencrypted").advise(format!(
                "use {}s:// instead, or set allow_http = true if you trust the network",
                url.scheme()
            )));
        }
        Ok(Self { label, host, steps, login })
    }
}

fn login(
    label: &str,
    url: &Url,
    options: &Options,
    context: &Context,
    kind: &str,
) -> Result<Option<Login>, StoreError> {
    let user = match url.username() {
        "" => options.get("user").map(str::to_owned).or_else(|| context.variable(&format!("HAUL_{kind}_USER"))),
        user => Some(percent_decode_str(user).decode_utf8_lossy().into_owned()),
    };
    let password = options.secret(label, "password", &format!("HAUL_{kind}_PASSWORD"), context)?;
    match (user, password) {
        (Some(user), Some(_)) if user.contains(':') => {
            Err(invalid(label, "the user name contains a colon, which can't be sent"))
        }
        (Some(user), Some(password)) => Ok(Some(Login { user, password })),
        (Some(_), None) => Err(invalid(label, "a user was given without a password")
            .advise(format!("set password_file in haul.toml, or HAUL_{kind}_PASSWORD"))),
        (None, Some(_)) => Err(invalid(label, "a password was given without a user")
            .advise(format!("write user@host in the address, set user in haul.toml, or set HAUL_{kind}_USER"))),
        (None, None) => Ok(None),
    }
}

fn is_own_machine(host: &Url) -> bool {
    match host.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => IpAddr::from(address).is_loopback(),
        Some(url::Host::Ipv6(address)) => IpAddr::from(address).is_loopback(),
        None => false,
    }
}

struct WebDav {
    client: Arc<Client>,
    way: Option<Way>,
}

#[async_trait]
impl Sink for WebDav {
    fn label(&self) -> String {
        self.client.label().to_owned()
    }

    fn abilities(&self) -> Abilities {
        let is_partial = self.way.is_some();
        Abilities {
            placement: if is_partial { Placement::Random } else { Placement::Sequential },
            multiple: 1,
            preferred: if is_partial { 8 << 20 } else { 1 << 20 },
            concurrency: 1,
            needs_length: !is_partial,
            restarts: !is_partial,
            md5: false,
            resumable: is_partial,
        }
    }

    async fn create(&self, name: &str, expected: Expected) -> Result<Box<dyn Upload>, StoreError> {
        self.client.make_way(name, expected).await?;
        let Some(way) = self.way else {
            return Ok(Box::new(WholeUpload::new(Arc::clone(&self.client), name, expected.exact)));
        };
        Ok(Box::new(PartialUpload::create(Arc::clone(&self.client), way, name, expected.resumable).await?))
    }

    fn notes(&self) -> Vec<String> {
        self.client.notes()
    }

    fn store(self: Arc<Self>) -> Option<Arc<dyn Store>> {
        Some(self)
    }
}

#[async_trait]
impl Store for WebDav {
    async fn resume(&self, session: &Session) -> Result<Option<Box<dyn Upload>>, StoreError> {
        let Some(way) = self.way else { return Ok(None) };
        let found = PartialUpload::resume(Arc::clone(&self.client), way, session).await?;
        Ok(found.map(|upload| Box::new(upload) as Box<dyn Upload>))
    }

    async fn list(&self) -> Result<Vec<Entry>, StoreError> {
        self.client.list().await
    }

    async fn entry(&self, name: &str) -> Result<Option<Entry>, StoreError> {
        self.client.entry(name).await
    }

    async fn read(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.client.check_name(name)?;
        self.client.read(self.client.child(name), range).await
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.client.check_name(name)?;
        self.client.delete(self.client.child(name)).await.map(|_| ())
    }

    async fn space(&self) -> Result<Option<u64>, StoreError> {
        self.client.space().await
    }

    fn draft_name(&self) -> Option<String> {
        Some(self.client.shown(owner::temporary_name()))
    }

    async fn remove_abandoned(&self) -> Result<u32, StoreError> {
        self.client.clear().await;
        let mut removed = 0;
        for found in self.client.children(Operation::List, self.client.root().clone()).await?.unwrap_or_default() {
            let age = found.modified.and_then(|modified| SystemTime::now().duration_since(modified).ok());
            if !found.is_folder && owner::is_abandoned(found.name(), age) {
                removed += u32::from(self.client.delete(self.client.child(found.name())).await?);
            }
        }
        Ok(removed)
    }
}
