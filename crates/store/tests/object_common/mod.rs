//! What the tests of buckets share: options, a few parts, the contract.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use store::{
    Address, Cancellation, Completed, Context, Expected, Options, Part, Store, StoreError, Tuning, Upload,
    contract::{self, ContractOptions},
    parts::Activity,
};
use tempfile::TempDir;
use testkit::s3::{ACCESS_KEY, S3Server, SECRET_KEY};

/// Options and environment of a connection.
#[derive(Clone)]
pub struct Setup {
    options: BTreeMap<String, String>,
    environment: BTreeMap<String, String>,
    files: Arc<TempDir>,
}

impl Setup {
    pub fn empty() -> Self {
        Self { options: BTreeMap::new(), environment: BTreeMap::new(), files: Arc::new(tempfile::tempdir().unwrap()) }
    }

    pub fn s3(endpoint: &str) -> Self {
        Self::empty().with("endpoint", endpoint).with("access_key_id", ACCESS_KEY).with("secret", SECRET_KEY)
    }

    /// Sets an option; `secret` goes into a file.
    pub fn with(&self, key: &str, value: &str) -> Self {
        let mut changed = self.clone();
        if key == "secret" {
            changed.options.insert("secret_access_key_file".into(), changed.file(value, value));
        } else {
            changed.options.insert(key.into(), value.into());
        }
        changed
    }

    pub fn with_variable(&self, name: &str, value: &str) -> Self {
        let mut changed = self.clone();
        changed.environment.insert(name.into(), value.into());
        changed
    }

    pub fn without_keys(&self) -> Self {
        let mut changed = self.clone();
        changed.options.retain(|key, _| key == "endpoint");
        changed
    }

    pub fn with_profile(&self, name: &str) -> Self {
        let text = format!("[{name}]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n");
        let file = self.file("credentials", &text);
        self.without_keys().with_variable("AWS_SHARED_CREDENTIALS_FILE", &file).with_variable("AWS_PROFILE", name)
    }

    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.files.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }
}

pub async fn connect(setup: &Setup, address: &str) -> Result<Arc<dyn Store>, StoreError> {
    connect_with(setup, address, Duration::from_secs(30)).await
}

pub async fn connect_with(setup: &Setup, address: &str, stall: Duration) -> Result<Arc<dyn Store>, StoreError> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let tuning = Tuning { stall, ..Tuning::default() };
    let mut context = Context::new(tuning, "/nonexistent".into(), Cancellation::default()).unwrap();
    let variables = setup.environment.clone();
    context.environment = Arc::new(move |name| variables.get(name).cloned());
    store::connect(&Address::parse(address).unwrap(), &Options::new(setup.options.clone()), &context).await
}

/// The rules of the contract that the destination does not keep.
pub async fn broken(store: &dyn Store) -> Vec<String> {
    let options = ContractOptions { settle: Duration::ZERO, longest: Duration::from_mins(2) };
    let findings = contract::check(store, &options, &mut |_| {}).await.findings;
    findings
        .iter()
        .filter(|finding| !finding.is_fine())
        .map(|finding| format!("{}: {:?}", finding.rule, finding.outcome))
        .collect()
}

/// Parts of that many bytes, and all of them together.
pub fn small_parts(count: u32, size: usize) -> (Vec<Part>, Bytes) {
    let bytes: Bytes = (0..count as usize * size).map(|at| (at * 7 + at / 4099) as u8).collect::<Vec<_>>().into();
    let part = |index: u32| {
        let offset = index as usize * size;
        let data = bytes.slice(offset..offset + size);
        let last = index + 1 == count;
        Part {
            index,
            offset: offset as u64,
            data: data.into(),
            total: last.then_some(bytes.len() as u64),
            last,
            activity: Activity::default(),
        }
    };
    ((0..count).map(part).collect(), bytes.clone())
}

pub async fn put_all(upload: &dyn Upload, parts: &[Part]) {
    for part in parts {
        upload.put(part).await.unwrap();
    }
}

/// Puts a small archive there.
pub async fn upload(store: &dyn Store, name: &str) -> Bytes {
    let (parts, bytes) = small_parts(1, 1000);
    let upload = store.create(name, Expected::default()).await.unwrap();
    put_all(&*upload, &parts).await;
    upload.commit(&Completed { length: bytes.len() as u64, parts: 1, md5: None }).await.unwrap();
    bytes
}

/// As if a process that is gone had written a claim.
pub trait Claims {
    fn rename_claim(&self, bucket: &str, of: &str);
}

impl Claims for S3Server {
    fn rename_claim(&self, bucket: &str, of: &str) {
        let claims = self
            .keys(bucket)
            .into_iter()
            .filter(|key| store::owner::is_temporary(key.rsplit('/').next().unwrap_or_default()));
        let root = self.directory().join(bucket);
        for key in claims {
            let path = root.join(&key);
            if std::fs::read_to_string(&path).unwrap().contains(of) {
                std::fs::rename(
                    &path,
                    path.with_file_name(dead(Path::new(&key).file_name().unwrap().to_str().unwrap())),
                )
                .unwrap();
            }
        }
    }
}

/// The name with another process in it.
pub fn dead(name: &str) -> String {
    let fields: Vec<&str> = name.split('-').collect();
    format!("{}-{}-{}-{}-7-{}", fields[0], fields[1], fields[2], u32::MAX, fields[5])
}
