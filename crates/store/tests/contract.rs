//! The contract suite on a local directory, and on destinations that break one rule each: a suite that can't fail
//! proves nothing.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{fs, ops::Range, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use store::{
    Abilities, Checked, Completed, Entry, Expected, Part, Session, Sink, Store, StoreError, Upload,
    contract::{self, ContractOptions, Finding, Outcome},
    local::Local,
};

const QUICK: ContractOptions = ContractOptions { settle: Duration::ZERO, longest: Duration::from_mins(1) };

async fn findings(store: &dyn Store) -> Vec<Finding> {
    let mut told = 0;
    let findings = contract::check(store, &QUICK, &mut |_| told += 1).await.findings;
    assert_eq!(told, findings.len());
    findings
}

fn broken(findings: &[Finding]) -> Vec<String> {
    findings
        .iter()
        .filter(|finding| !finding.is_fine())
        .map(|finding| format!("{}: {:?}", finding.rule, finding.outcome))
        .collect()
}

fn files(directory: &std::path::Path) -> Vec<PathBuf> {
    fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[tokio::test]
async fn a_local_directory_keeps_the_contract_and_is_left_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("somebody's.tar"), "keep").unwrap();
    let store = Local::open(directory.path()).unwrap();
    let findings = findings(&store).await;
    assert_eq!(broken(&findings), Vec::<String>::new());
    assert!(findings.iter().filter(|finding| finding.outcome == Outcome::Kept).count() >= 16, "{findings:#?}");
    assert_eq!(files(directory.path()), [directory.path().join("somebody's.tar")]);
}

#[tokio::test]
async fn the_speed_of_a_destination_is_measured_and_nothing_stays() {
    let directory = tempfile::tempdir().unwrap();
    let store = Local::open(directory.path()).unwrap();
    let measured = contract::measure(&store, 3_000_001).await.unwrap();
    assert_eq!(measured.bytes, 3_000_001);
    assert!(measured.upload_seconds > 0.0 && measured.download_seconds.unwrap() > 0.0);
    assert_eq!(files(directory.path()), Vec::<PathBuf>::new());
}

#[derive(Clone, Copy, PartialEq)]
enum Vice {
    ShowsEarly,
    LosesAByte,
    DoublesRepeatedParts,
    Replaces,
    LeavesWhatWasGivenUp,
    AcceptsAnyLength,
    KeepsDeleted,
    IgnoresPatches,
    ListsUnfinished,
    ReadsOneByteFewer,
    TakesAbsentForDenied,
    FailsASecondCommit,
    ChangesNames,
    ListsTwice,
}

/// A local directory with one vice.
struct Wicked {
    inner: Local,
    vice: Vice,
}

struct WickedUpload {
    inner: Box<dyn Upload>,
    vice: Vice,
    path: PathBuf,
    // Bytes to add to what the caller says, where the vice changed the length.
    skew: std::sync::Mutex<i64>,
    shift: std::sync::Mutex<Option<u32>>,
    committed: std::sync::Mutex<bool>,
}

impl Wicked {
    fn renamed(&self, name: &str) -> String {
        if self.vice == Vice::ChangesNames { name.replace('+', " ") } else { name.to_owned() }
    }
}

#[async_trait]
impl Sink for Wicked {
    fn label(&self) -> String {
        self.inner.label()
    }
    fn abilities(&self) -> Abilities {
        self.inner.abilities()
    }
    async fn create(&self, name: &str, expected: Expected) -> Result<Box<dyn Upload>, StoreError> {
        let path = self.inner.directory().join(name);
        if self.vice == Vice::Replaces {
            let _ = fs::remove_file(&path);
        }
        let inner = self.inner.create(&self.renamed(name), expected).await?;
        if self.vice == Vice::ListsUnfinished {
            fs::write(path.with_extension("unfinished"), "").unwrap();
        }
        Ok(Box::new(WickedUpload {
            inner,
            vice: self.vice,
            path,
            skew: 0.into(),
            shift: None.into(),
            committed: false.into(),
        }))
    }
    fn store(self: Arc<Self>) -> Option<Arc<dyn Store>> {
        Some(self)
    }
}

#[async_trait]
impl Store for Wicked {
    async fn resume(&self, session: &Session) -> Result<Option<Box<dyn Upload>>, StoreError> {
        self.inner.resume(session).await
    }
    async fn list(&self) -> Result<Vec<Entry>, StoreError> {
        let mut list = self.inner.list().await?;
        if self.vice == Vice::ListsTwice {
            list.extend(list.clone());
        }
        Ok(list)
    }
    async fn entry(&self, name: &str) -> Result<Option<Entry>, StoreError> {
        self.inner.entry(name).await
    }
    async fn read(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let bytes = self.inner.read(name, range.clone()).await;
        match self.vice {
            Vice::ReadsOneByteFewer if range.start > 0 => bytes.map(|bytes| bytes.slice(1..)),
            Vice::TakesAbsentForDenied => bytes.map_err(|_| {
                StoreError::remote("there", store::Operation::Read, store::Kind::Permission, "permission denied")
            }),
            _ => bytes,
        }
    }
    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        let _ = fs::remove_file(self.inner.directory().join(name).with_extension("unfinished"));
        if self.vice == Vice::KeepsDeleted { Ok(()) } else { self.inner.delete(&self.renamed(name)).await }
    }
    async fn space(&self) -> Result<Option<u64>, StoreError> {
        self.inner.space().await
    }
    async fn remove_abandoned(&self) -> Result<u32, StoreError> {
        self.inner.remove_abandoned().await
    }
}

#[async_trait]
impl Upload for WickedUpload {
    async fn put(&self, part: &Part) -> Result<(), StoreError> {
        let mut part = part.clone();
        part.offset = part.offset.checked_add_signed(*self.skew.lock().unwrap()).unwrap();
        match self.vice {
            Vice::ShowsEarly => fs::write(&self.path, "").unwrap(),
            Vice::LosesAByte if part.last && part.data.len() > 1 => {
                part.data = part.data.take(part.data.len() - 1);
                *self.skew.lock().unwrap() -= 1;
            }
            Vice::DoublesRepeatedParts => {
                let repeated = self.shift.lock().unwrap().replace(part.index) == Some(part.index);
                if repeated {
                    let length = part.data.len();
                    part.offset += length;
                    *self.skew.lock().unwrap() += length as i64;
                }
            }
            _ => {}
        }
        self.inner.put(&part).await
    }
    async fn patch(&self, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        if self.vice == Vice::IgnoresPatches { Ok(()) } else { self.inner.patch(offset, bytes).await }
    }
    async fn commit(&self, completed: &Completed) -> Result<Checked, StoreError> {
        let mut completed = completed.clone();
        completed.length = completed.length.checked_add_signed(*self.skew.lock().unwrap()).unwrap();
        if matches!(self.vice, Vice::ShowsEarly | Vice::Replaces)
            && !std::mem::replace(&mut *self.committed.lock().unwrap(), true)
        {
            let _ = fs::remove_file(&self.path);
        }
        if self.vice == Vice::FailsASecondCommit && std::mem::replace(&mut *self.committed.lock().unwrap(), true) {
            return Err(StoreError::Exists(self.path.clone()));
        }
        let done = self.inner.commit(&completed).await;
        if self.vice == Vice::AcceptsAnyLength && done.is_err() {
            return Ok(Checked::Size);
        }
        done
    }
    async fn abort(&self) -> Result<(), StoreError> {
        if self.vice == Vice::LeavesWhatWasGivenUp {
            fs::write(&self.path, "rest").unwrap();
        }
        self.inner.abort().await
    }
}

#[tokio::test]
async fn each_vice_is_found_by_its_rule() {
    let cases = [
        (Vice::ShowsEarly, "nothing is visible under the final name before the end"),
        (Vice::LosesAByte, "what was written is read back byte for byte"),
        (Vice::DoublesRepeatedParts, "parts that are sent twice are stored once"),
        (Vice::Replaces, "a finished archive is never replaced"),
        (Vice::Replaces, "a name that already exists is refused"),
        (Vice::LeavesWhatWasGivenUp, "an aborted upload leaves nothing, and may be aborted twice"),
        (Vice::AcceptsAnyLength, "an archive of the wrong length is refused"),
        (Vice::KeepsDeleted, "a deleted archive is gone, and may be deleted twice"),
        (Vice::IgnoresPatches, "overwritten bytes have their new value"),
        (Vice::ListsUnfinished, "the list shows what is finished and hides what is not"),
        (Vice::ListsTwice, "the list shows what is finished and hides what is not"),
        (Vice::ReadsOneByteFewer, "any range can be read"),
        (Vice::TakesAbsentForDenied, "a missing name is not mistaken for an existing one"),
        (Vice::FailsASecondCommit, "completing twice does no harm"),
        (Vice::ChangesNames, "names with spaces, umlauts and symbols stay as they are"),
    ];
    for (vice, rule) in cases {
        let directory = tempfile::tempdir().unwrap();
        let store = Wicked { inner: Local::open(directory.path()).unwrap(), vice };
        let findings = findings(&store).await;
        let finding = findings.iter().find(|finding| finding.rule == rule).expect(rule);
        assert!(!finding.is_fine(), "not found: {rule}");
        if !matches!(vice, Vice::KeepsDeleted | Vice::LeavesWhatWasGivenUp) {
            assert_eq!(files(directory.path()), Vec::<PathBuf>::new(), "left behind: {rule}");
        }
    }
}
