//! Nextcloud and ownCloud, through their chunked upload (version 2). Everything but that upload is WebDAV, done by
//! `webdav`'s client.

mod upload;

use std::{ops::Range, sync::Arc, time::SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use http::Method;
use url::Url;

use self::upload::{ChunkedUpload, temporary_of};
use crate::{
    context::{Context, Options},
    error::{Kind, Operation, StoreError},
    http as web, owner,
    parts::Activity,
    scheme::Scheme,
    store::{Abilities, Entry, Expected, PartRules, Placement, Session, Sink, Store, Upload},
    webdav::{self, Client, Site, below, folder_below},
};

/// Nextcloud and ownCloud, with TLS and without.
pub(crate) const SCHEME: Scheme = Scheme {
    names: &["nextclouds", "nextcloud"],
    example: "nextclouds://user@host/path",
    service: "Nextcloud and ownCloud",
    keys: &["user", "password_file", "allow_http"],
    connect: |url, options, context| Box::pin(connect(url, options, context)),
};

const LOGIN_ADVICE: &str = "create an app password (Settings, Security) and give it as password_file in haul.toml, or \
    in HAUL_NEXTCLOUD_PASSWORD";
/// What a server says of itself.
const LARGEST_STATUS: u64 = 64 << 10;

/// Connects and asks what the destination can do.
async fn connect(url: &Url, options: &Options, context: &Context) -> Result<Arc<dyn Store>, StoreError> {
    let site = Site::of(url, options, context, "NEXTCLOUD")?;
    let Some(login) = site.login else {
        return Err(crate::context::invalid(&site.label, "no user and password were given").advise(LOGIN_ADVICE));
    };
    let asking = Client::new(site.label.clone(), site.host.clone(), None, LOGIN_ADVICE, context);
    let depth = find(&asking, &site.host, &site.steps).await?;
    let (base, steps): (Vec<&str>, Vec<&str>) = {
        let all: Vec<&str> = site.steps.iter().map(String::as_str).collect();
        (all[..depth].to_vec(), all[depth..].to_vec())
    };
    let dav = folder_below(&site.host, &[&base[..], &["remote.php", "dav"]].concat());
    let home = Client::new(
        site.label.clone(),
        folder_below(&dav, &["files", &login.user]),
        Some(login.clone()),
        LOGIN_ADVICE,
        context,
    );
    let user = account(&home, &folder_below(&site.host, &base)).await?;
    let uploads = folder_below(&dav, &["uploads", &user]);
    let root = folder_below(&dav, &[&["files", &user][..], &steps].concat());
    let client = Arc::new(Client::new(site.label, root.clone(), Some(login), LOGIN_ADVICE, context));
    webdav::enter(&client, root, context.only_looks).await?;
    Ok(Arc::new(Nextcloud { client, uploads }))
}

/// The account's own name, under which its files are found. It differs for users who log in by an e-mail address.
async fn account(home: &Client, base: &Url) -> Result<String, StoreError> {
    let login = home.user().to_owned();
    if home.describe(Operation::Connect, home.root().clone(), "0").await?.is_some() {
        return Ok(login);
    }
    let url = below(base, &["ocs", "v2.php", "cloud", "user"]);
    let request = home.request(Method::GET, url).query(&[("format", "json")]).header("OCS-APIRequest", "true");
    let response = home.send(Operation::Connect, request, &Activity::default()).await?;
    if !response.status().is_success() {
        return Err(home.refusal(Operation::Connect, response).await);
    }
    let body = web::read_body(home.label(), Operation::Connect, response, LARGEST_STATUS, home.stall()).await?;
    let answer: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let name = answer.pointer("/ocs/data/id").and_then(serde_json::Value::as_str);
    name.filter(|name| home.check_name(name).is_ok()).map(str::to_owned).ok_or_else(|| {
        home.error(Operation::Connect, Kind::NotFound, format!("there is no user {login} with files"))
            .advise("use the account name as user (Settings, Personal info)")
    })
}

/// How many components of the path lead to the server, and not into its files: as many as it takes until it reports its
/// status.
async fn find(client: &Client, host: &Url, steps: &[String]) -> Result<usize, StoreError> {
    let mut base: Vec<&str> = Vec::new();
    for depth in 0..=steps.len() {
        let url = below(host, &[&base[..], &["status.php"]].concat());
        let response = client.send(Operation::Connect, client.request(Method::GET, url), &Activity::default()).await?;
        match response.status().as_u16() {
            200 => {
                let body = web::read_body(client.label(), Operation::Connect, response, LARGEST_STATUS, client.stall())
                    .await?;
                let status: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
                if status.get("maintenance").and_then(serde_json::Value::as_bool) == Some(true) {
                    return Err(client.error(
                        Operation::Connect,
                        Kind::Transient { retry_after: None },
                        "it is in maintenance mode",
                    ));
                }
                if status.get("installed").is_some() {
                    return Ok(depth);
                }
            }
            429 | 500..=599 => return Err(client.refusal(Operation::Connect, response).await),
            _ => (),
        }
        base.extend(steps.get(depth).map(String::as_str));
    }
    Err(client
        .error(Operation::Connect, Kind::Protocol, "no Nextcloud or ownCloud answers there")
        .advise("check the address; for another kind of server, try webdavs://"))
}

struct Nextcloud {
    client: Arc<Client>,
    // `remote.php/dav/uploads/USER/`
    uploads: Url,
}

#[async_trait]
impl Sink for Nextcloud {
    fn label(&self) -> String {
        self.client.label().to_owned()
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            placement: Placement::Parts(PartRules {
                smallest: 5 << 20,
                largest: 5_000_000_000,
                most: 10_000,
                equal: false,
            }),
            multiple: 1,
            preferred: 8 << 20,
            concurrency: 2,
            needs_length: false,
            restarts: false,
            md5: false,
            resumable: true,
        }
    }

    async fn create(&self, name: &str, expected: Expected) -> Result<Box<dyn Upload>, StoreError> {
        self.client.make_way(name, expected).await?;
        Ok(Box::new(ChunkedUpload::create(Arc::clone(&self.client), &self.uploads, name, expected).await?))
    }

    fn notes(&self) -> Vec<String> {
        self.client.notes()
    }

    fn store(self: Arc<Self>) -> Option<Arc<dyn Store>> {
        Some(self)
    }
}

#[async_trait]
impl Store for Nextcloud {
    async fn resume(&self, session: &Session) -> Result<Option<Box<dyn Upload>>, StoreError> {
        let found = ChunkedUpload::resume(Arc::clone(&self.client), &self.uploads, session).await?;
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

    async fn remove_abandoned(&self) -> Result<u32, StoreError> {
        let mut removed = 0;
        // A user who never uploaded in chunks has no such folder.
        for found in self.client.children(Operation::List, self.uploads.clone()).await?.unwrap_or_default() {
            let age = found.modified.and_then(|modified| SystemTime::now().duration_since(modified).ok());
            if found.is_folder && owner::is_abandoned(&temporary_of(found.name()), age) {
                removed += u32::from(self.client.delete(folder_below(&self.uploads, &[found.name()])).await?);
            }
        }
        Ok(removed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nextcloud::upload::transfer_of;

    #[test]
    fn a_transfer_is_recognised_by_its_name() {
        for name in [owner::temporary_name(), owner::lasting_name()] {
            assert!(!transfer_of(&name).starts_with('.') && !transfer_of(&name).contains(".part"));
            assert_eq!(temporary_of(&transfer_of(&name)), name);
        }
    }
}
