#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, ops::Range, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use clap::Parser;
use store::{Abilities, Entry, Expected, Session, Sink, StoreError, Upload, local::Local};

use super::*;
use crate::args::{Cli, Command};

/// A directory that lists everything twice, like a destination whose pages overlap.
struct Twice(Local);

#[async_trait]
impl Sink for Twice {
    fn label(&self) -> String {
        self.0.label()
    }
    fn abilities(&self) -> Abilities {
        self.0.abilities()
    }
    async fn create(&self, name: &str, expected: Expected) -> Result<Box<dyn Upload>, StoreError> {
        self.0.create(name, expected).await
    }
    fn store(self: Arc<Self>) -> Option<Arc<dyn Store>> {
        Some(self)
    }
}

#[async_trait]
impl Store for Twice {
    async fn resume(&self, session: &Session) -> Result<Option<Box<dyn Upload>>, StoreError> {
        self.0.resume(session).await
    }
    async fn list(&self) -> Result<Vec<Entry>, StoreError> {
        let list = self.0.list().await?;
        Ok([list.clone(), list].concat())
    }
    async fn entry(&self, name: &str) -> Result<Option<Entry>, StoreError> {
        self.0.entry(name).await
    }
    async fn read(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.0.read(name, range).await
    }
    async fn delete(&self, _: &str) -> Result<(), StoreError> {
        unreachable!("nothing may be removed")
    }
    async fn space(&self) -> Result<Option<u64>, StoreError> {
        self.0.space().await
    }
    async fn remove_abandoned(&self) -> Result<u32, StoreError> {
        self.0.remove_abandoned().await
    }
}

#[test]
fn of_a_list_that_shows_a_name_twice_nothing_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["a.tar", "b.tar"] {
        fs::write(directory.path().join(name), "archive").unwrap();
    }
    let typed = directory.path().to_str().unwrap();
    let cli = Cli::try_parse_from(["haul", "prune", typed, "--keep-last", "1", "--yes"]).unwrap();
    let Command::Prune(args) = cli.command else { unreachable!() };
    let cancel = Cancellation::default();
    let destination = destination::resolve(&Config::default(), typed).unwrap();
    let network = Network::start(None, &cancel).unwrap();
    let store: Arc<dyn Store> = Arc::new(Twice(Local::open(directory.path()).unwrap()));
    let rules = Rules { last: 1, ..Rules::default() };
    let failure = prune(
        &args,
        &rules,
        &Reading {
            network: &network,
            destination: &destination,
            store: &store,
            args: &args,
            config: &Config::default(),
            cancel: &cancel,
        },
    )
    .unwrap_err();
    assert!(failure.message.contains("lists a.tar more than once; nothing was removed"), "{}", failure.message);
}
