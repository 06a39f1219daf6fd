//! Google Drive, against a fake that follows its protocol: the contract, and every rule of sessions, tokens, folders
//! and space.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod auth;
mod folder;
mod lag;
mod limits;
mod table;
mod upload;

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use md5::{Digest, Md5};
use store::{
    Address, Cancellation, Checked, Completed, Context, Expected, Options, Part, Secret, Store, StoreError, Tuning,
    Upload,
    contract::{self, ContractOptions},
    gdrive::auth::{Client, Grant, TokenFile},
    parts::Activity,
    retry::RetryPolicy,
};
use testkit::drive::{CLIENT_ID, CLIENT_SECRET, Drive};

/// The smallest part there is.
const PART: usize = 256 << 10;

/// A fake Drive, and somebody who has signed in to it.
struct Rig {
    drive: Drive,
    context: Context,
    options: Options,
    _state: tempfile::TempDir,
}

impl Rig {
    fn new() -> Self {
        let rig = Self::signed_out();
        rig.sign_in_again();
        rig
    }

    fn signed_out() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (drive, state) = (Drive::start(), tempfile::tempdir().unwrap());
        let tuning = Tuning {
            first_pause: Duration::from_millis(1),
            longest_pause: Duration::from_millis(10),
            first_contact: Duration::from_secs(20),
            give_up_after: Duration::from_secs(20),
            stall: Duration::from_millis(1500),
            ..Tuning::default()
        };
        let mut context = Context::new(tuning, state.path().join("state"), Cancellation::default()).unwrap();
        context.environment = Arc::new(|_| None);
        let options = options(drive.address(), &[]);
        Self { drive, context, options, _state: state }
    }

    async fn connect(&self, address: &str) -> Result<Arc<dyn Store>, StoreError> {
        store::connect(&Address::parse(address).unwrap(), &self.options, &self.context).await
    }

    async fn place(&self) -> Arc<dyn Store> {
        self.connect("gdrive://Backups").await.unwrap()
    }

    /// An upload as the driver makes it: passing errors are tried again.
    async fn send(&self, place: &dyn Store, name: &str, bytes: &Bytes) -> Result<Checked, StoreError> {
        let policy = RetryPolicy::new(&self.context);
        let upload = policy.retry(|| place.create(name, Expected::default())).await?;
        for part in parts(bytes, 2 * PART) {
            policy.retry(|| upload.put(&part)).await?;
        }
        let completed = completed(bytes);
        policy.retry(|| upload.commit(&completed)).await
    }

    /// Nothing half-done is left.
    fn is_clean(&self) {
        assert_eq!(self.drive.open_sessions(), 0);
        for file in self.drive.files() {
            assert!(!store::owner::is_temporary(&file.name), "{} was left behind", file.name);
        }
    }

    fn sign_in_again(&self) {
        let refresh_token = Secret::new(self.drive.sign_in());
        let client = Client { id: CLIENT_ID.to_owned(), secret: Secret::new(CLIENT_SECRET) };
        TokenFile::new(&self.context.state.join("gdrive-token.json"))
            .save(&Grant { client, refresh_token, signed_in: None })
            .unwrap();
    }

    /// As on another machine: only the sign-in is kept in the state directory.
    fn forget_folders(&self) {
        for file in std::fs::read_dir(&self.context.state).unwrap() {
            let file = file.unwrap();
            if file.file_name().to_str().unwrap().starts_with("gdrive-folder-") {
                std::fs::remove_file(file.path()).unwrap();
            }
        }
    }

    fn archives(&self) -> Vec<String> {
        self.drive.files().into_iter().filter(|file| !file.is_folder).map(|file| file.name).collect()
    }

    fn folders(&self) -> usize {
        self.drive.files().iter().filter(|file| file.is_folder).count()
    }

    /// No error may say what nobody may know.
    fn keeps_its_secrets(&self, error: &StoreError) {
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains(CLIENT_SECRET), "{shown}");
        for secret in self.drive.secrets() {
            assert!(!shown.contains(&secret), "{shown}");
        }
    }

    fn cancel(&self) {
        self.context.cancel.cancel();
    }
}

fn options(address: SocketAddr, more: &[(&str, &str)]) -> Options {
    let own = [
        ("api_url", Drive::api_url(address)),
        ("upload_url", Drive::upload_url(address)),
        ("oauth_url", Drive::oauth_url(address)),
    ];
    let mut all: BTreeMap<String, String> = own.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    all.extend(more.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    Options::new(all)
}

/// Bytes that are everywhere different.
fn archive(length: usize) -> Bytes {
    (0..length).map(|n| (n ^ (n >> 8) ^ (n >> 16)) as u8).collect::<Vec<u8>>().into()
}

fn parts(bytes: &Bytes, size: usize) -> Vec<Part> {
    let total = bytes.len();
    let count = total.div_ceil(size).max(1);
    let part = |index: usize| {
        let (from, to) = (index * size, ((index + 1) * size).min(total));
        let last = index + 1 == count;
        Part {
            index: index as u32,
            offset: from as u64,
            data: bytes.slice(from..to).into(),
            total: last.then_some(total as u64),
            last,
            activity: Activity::default(),
        }
    };
    (0..count).map(part).collect()
}

fn completed(bytes: &Bytes) -> Completed {
    Completed { length: bytes.len() as u64, parts: 1, md5: Some(Md5::digest(bytes).into()) }
}

async fn begin(place: &dyn Store, name: &str) -> Box<dyn Upload> {
    place.create(name, Expected::default()).await.unwrap()
}

#[tokio::test]
async fn a_drive_keeps_the_contract_and_is_left_as_it_was() {
    let rig = Rig::new();
    rig.drive.set_page_limit(2);
    let place = rig.place().await;
    let options = ContractOptions { settle: Duration::from_secs(2), longest: Duration::from_mins(1) };
    let findings = contract::check(place.as_ref(), &options, &mut |_| ()).await.findings;
    let broken: Vec<_> = findings.iter().filter(|finding| !finding.is_fine()).collect();
    assert!(broken.is_empty(), "{broken:#?}");
    assert_eq!(rig.archives(), Vec::<String>::new());
    rig.is_clean();
}

#[tokio::test]
async fn an_archive_arrives_whole_and_is_compared_by_its_checksum() {
    let rig = Rig::new();
    let place = rig.place().await;
    let bytes = archive(5 * PART + 77);
    assert_eq!(rig.send(place.as_ref(), "a b.tar", &bytes).await.unwrap(), Checked::Checksum);
    let files = rig.drive.files();
    let file = files.iter().find(|file| file.name == "a b.tar").unwrap();
    assert_eq!(rig.drive.content(&file.id).unwrap(), bytes);
    assert_eq!(file.properties["haul_name"], "a b.tar");
    assert_eq!(place.read("a b.tar", 3..PART as u64).await.unwrap(), bytes.slice(3..PART));
    rig.is_clean();
}

#[tokio::test]
async fn an_empty_archive_is_one_too() {
    let rig = Rig::new();
    let place = rig.place().await;
    rig.send(place.as_ref(), "empty.tar", &Bytes::new()).await.unwrap();
    assert_eq!(place.entry("empty.tar").await.unwrap().unwrap().size, 0);
}

#[tokio::test]
async fn long_names_do_not_break_the_limit_of_a_property() {
    let rig = Rig::new();
    let place = rig.place().await;
    let name = format!("{}.tar", "ü".repeat(80));
    rig.send(place.as_ref(), &name, &archive(10)).await.unwrap();
    assert_eq!(rig.archives(), [name]);
}
