//! Google Drive: a folder of archives in the account that signed in.
//!
//! | module | owns |
//! |---|---|
//! | [`auth`] | signing in, the file that keeps it, access tokens |
//! | `settings` | keys, environment, where the servers are |
//! | `client` | single calls, and what a refusal means |
//! | `folder` | which folder it is |
//! | `contents` | what is in it, by id |
//! | `upload` | one archive on its way |

pub mod auth;
mod client;
mod contents;
mod folder;
mod settings;
mod upload;

use std::{collections::HashSet, fmt::Write as _, ops::Range, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use percent_encoding::percent_decode_str;
use url::Url;

use self::{client::Api, contents::Contents, folder::Folder};
pub use settings::{Settings, TOKEN_FILE};

use crate::{
    context::{Context, Options, invalid},
    error::{Kind, Operation, StoreError},
    owner,
    scheme::Scheme,
    store::{Abilities, Entry, Expected, Placement, Session, Sink, Store, Upload},
};

/// Google Drive.
pub(crate) const SCHEME: Scheme = Scheme {
    names: &["gdrive"],
    example: "gdrive://Folder",
    service: "Google Drive",
    keys: settings::KEYS,
    connect: |url, options, context| Box::pin(connect(url, options, context)),
};

/// The folder of an address that names none.
const FOLDER: &str = "Haul";

/// Connects and asks what the destination can do.
async fn connect(url: &Url, options: &Options, context: &Context) -> Result<Arc<dyn Store>, StoreError> {
    let path = path_of(url)?;
    let label = label_of(&path);
    let settings = Settings::new(&label, options, context)?;
    let contents = Contents::new(Api::new(&label, &settings, context)?, Folder::new(path, &settings, context));
    // Shows at once whether the sign-in still works. The folder is made by the first archive.
    contents.folder.find(&contents.api, Operation::Connect).await?;
    Ok(Arc::new(Drive { contents: Arc::new(contents) }))
}

/// Whose Drive it is, and how much space is left there.
#[derive(Clone, Debug)]
pub struct Account {
    /// Address or name, if Google says it.
    pub name: Option<String>,
    /// Free bytes; `None` without a limit.
    pub free: Option<u64>,
}

/// Tries the sign-in that is kept.
pub async fn account(settings: &Settings, context: &Context) -> Result<Account, StoreError> {
    let about = Api::new("Google Drive", settings, context)?.about(Operation::Connect).await?;
    let free = about.free();
    Ok(Account { name: about.user.email_address.or(about.user.display_name), free })
}

/// The folder's path: what is the host in other addresses is its first step here, and keeps its case.
fn path_of(url: &Url) -> Result<Vec<String>, StoreError> {
    if !url.username().is_empty() || url.port().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err(invalid("gdrive://", "the address can only hold a folder")
            .advise("write gdrive://Folder, with %40 for @, %3A for :, %3F for ? and %23 for #"));
    }
    let steps = url.host_str().into_iter().chain(url.path().split('/')).filter(|step| !step.is_empty());
    let mut path = Vec::new();
    for step in steps {
        let name = percent_decode_str(step)
            .decode_utf8()
            .map_err(|_| invalid("gdrive://", "the folder's name is not UTF-8"))?;
        if name.contains('/') || name.chars().any(char::is_control) {
            return Err(invalid("gdrive://", format!("{name:?} is not a valid folder name")));
        }
        path.push(name.into_owned());
    }
    if path.is_empty() {
        path.push(FOLDER.to_owned());
    }
    Ok(path)
}

/// The address as it can be typed again, readable.
fn label_of(path: &[String]) -> String {
    let mut label = "gdrive:/".to_owned();
    for step in path {
        label.push('/');
        for c in step.chars() {
            if c.is_alphanumeric() || "-._~!$&'()*+,;=".contains(c) {
                label.push(c);
            } else {
                let _ = c.encode_utf8(&mut [0; 4]).bytes().try_for_each(|byte| write!(label, "%{byte:02X}"));
            }
        }
    }
    label
}

struct Drive {
    contents: Arc<Contents>,
}

impl Drive {
    fn api(&self) -> &Api {
        &self.contents.api
    }

    fn checked(&self, operation: Operation, name: &str) -> Result<(), StoreError> {
        let is_others = owner::is_temporary(name) && !owner::is_own(name);
        if name.is_empty() || name.contains('/') || name == "." || name == ".." || is_others {
            return Err(self.api().refuse(operation, Kind::Invalid, format!("{name:?} is not a valid archive name")));
        }
        Ok(())
    }
}

#[async_trait]
impl Sink for Drive {
    fn label(&self) -> String {
        self.api().destination().to_owned()
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            placement: Placement::Sequential,
            multiple: upload::MULTIPLE,
            preferred: 8 << 20,
            concurrency: 1,
            needs_length: false,
            restarts: false,
            md5: true,
            resumable: true,
        }
    }

    async fn create(&self, name: &str, expected: Expected) -> Result<Box<dyn Upload>, StoreError> {
        self.checked(Operation::Create, name)?;
        let (api, folder) = (self.api(), &self.contents.folder);
        let is_shared = folder.find(api, Operation::Create).await?.first().is_some_and(|found| found.is_shared);
        if let Some(needed) = expected.needs().filter(|_| !is_shared) {
            let free = api.about(Operation::Create).await?.free();
            if let Some(missing) = free.map(|free| needed.saturating_sub(free)).filter(|missing| *missing > 0) {
                return Err(upload::full(api, missing));
            }
        }
        let folder = folder.ensure(api).await?;
        if self.contents.look(Operation::Create, name).await?.is_some() {
            return Err(api.refuse(Operation::Create, Kind::Exists, format!("{name} exists already")));
        }
        Ok(Box::new(upload::start(&self.contents, &folder, name, expected).await?))
    }

    fn notes(&self) -> Vec<String> {
        let flagged =
            "Google flags archives here as harmful; Haul reads them anyway, because they belong to the account";
        self.contents.folder.notes().into_iter().chain(self.api().is_flagged().then(|| flagged.to_owned())).collect()
    }

    fn store(self: Arc<Self>) -> Option<Arc<dyn Store>> {
        Some(self)
    }
}

#[async_trait]
impl Store for Drive {
    async fn resume(&self, session: &Session) -> Result<Option<Box<dyn Upload>>, StoreError> {
        Ok(upload::resume(&self.contents, session).await?.map(|upload| Box::new(upload) as Box<dyn Upload>))
    }

    async fn list(&self) -> Result<Vec<Entry>, StoreError> {
        let (mut entries, mut names) = (Vec::new(), HashSet::new());
        for file in self.contents.all(Operation::List).await? {
            // Drive allows a name twice; the oldest is the one that reading gives.
            if !owner::is_temporary(&file.name) && names.insert(file.name.clone()) {
                let size = self.contents.size_of(Operation::List, &file).await?;
                self.contents.listed(&file);
                entries.push(Entry { size, modified: file.modified(), name: file.name, link: false });
            }
        }
        Ok(entries)
    }

    async fn entry(&self, name: &str) -> Result<Option<Entry>, StoreError> {
        self.checked(Operation::List, name)?;
        let Some(file) = self.contents.look(Operation::List, name).await? else { return Ok(None) };
        let size = self.contents.size_of(Operation::List, &file).await?;
        Ok(Some(Entry { size, modified: file.modified(), name: file.name, link: false }))
    }

    async fn read(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.checked(Operation::Read, name)?;
        let length = range.end.saturating_sub(range.start);
        if length == 0 {
            return Ok(Bytes::new());
        }
        if let Some(id) = self.contents.id_of(name)
            && let Some(bytes) = self.api().download(&id, range.start, length).await?
        {
            return Ok(bytes);
        }
        let gone = || self.api().refuse(Operation::Read, Kind::NotFound, format!("there is no {name}"));
        let file = self.contents.look(Operation::Read, name).await?.ok_or_else(gone)?;
        self.api().download(&file.id, range.start, length).await?.ok_or_else(gone)
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.checked(Operation::Delete, name)?;
        self.contents.remove(name).await
    }

    async fn space(&self) -> Result<Option<u64>, StoreError> {
        let operation = Operation::Connect;
        let is_shared =
            self.contents.folder.find(self.api(), operation).await?.first().is_some_and(|found| found.is_shared);
        if is_shared { Ok(None) } else { Ok(self.api().about(operation).await?.free()) }
    }

    fn draft_name(&self) -> Option<String> {
        Some(owner::temporary_name())
    }

    async fn remove_abandoned(&self) -> Result<u32, StoreError> {
        let mut removed = 0;
        for file in self.contents.all(Operation::List).await? {
            if !owner::is_abandoned(&file.name, file.age()) {
                continue;
            }
            // The listing may show an old name of an archive that has got its own since.
            let now = self.api().file(Operation::List, &file.id).await?;
            if now.is_some_and(|now| owner::is_abandoned(&now.name, now.age())) {
                self.contents.remove_id(&file.id).await?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::address::Address;

    fn path(text: &str) -> Result<Vec<String>, StoreError> {
        let Address::Remote(url) = Address::parse(text)? else { unreachable!("{text}") };
        path_of(&url)
    }

    #[test]
    fn a_folders_name_keeps_its_case_and_may_be_nested_and_encoded() {
        assert_eq!(path("gdrive://").unwrap(), ["Haul"]);
        assert_eq!(path("gdrive:///").unwrap(), ["Haul"]);
        assert_eq!(path("gdrive://MyBackups").unwrap(), ["MyBackups"]);
        assert_eq!(path("gdrive://My%20Home/Cabin%3F/").unwrap(), ["My Home", "Cabin?"]);
        assert_eq!(path("gdrive://Äpfel/Öl").unwrap(), ["Äpfel", "Öl"]);
        for wrong in ["gdrive://me@Folder", "gdrive://Folder:80", "gdrive://Folder?x", "gdrive://a%2Fb", "gdrive://%ff"]
        {
            assert_eq!(path(wrong).unwrap_err().kind(), Some(Kind::Invalid), "{wrong}");
        }
    }

    #[test]
    fn the_label_can_be_typed_again() {
        for text in ["gdrive://MyBackups", "gdrive://My%20Home/Cabin%3F", "gdrive://Äpfel/Öl%25"] {
            assert_eq!(label_of(&path(text).unwrap()), text);
        }
    }
}
