//! A vault at a directory: what goes in comes out, little is added for little that changed, and what is needed stays.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use store::{Cancellation, Completed, Context, Expected, Part, Sink, Store, Tuning, local::Local, parts::Activity};
use vault::{Secret, Vault, VaultStore, check, prune};

const PAGE: usize = 4096;

/// Numbers that are the same every time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn below(&mut self, most: usize) -> usize {
        (self.next() % most as u64) as usize
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }
}

/// A home's files.
#[derive(Clone)]
struct Home {
    date: u32,
    files: Vec<(String, Vec<u8>)>,
}

impl Home {
    fn new(random: &mut Random, pages: usize) -> Self {
        let mut database = random.bytes(pages * PAGE);
        database[..18].copy_from_slice(b"SQLite format 3\0\x10\0");
        // Free pages.
        database[5 * PAGE..9 * PAGE].fill(0);
        let mut files = vec![
            (".storage/auth".to_owned(), random.bytes(700)),
            ("big.bin".to_owned(), random.bytes(5_000_000)),
            ("configuration.yaml".to_owned(), b"default_config:\n".to_vec()),
        ];
        files.extend((0..300).map(|number| {
            let length = random.below(3000);
            (format!("custom_components/thing/{number:03}.py"), random.bytes(length))
        }));
        files.push(("home-assistant_v2.db".to_owned(), database));
        files.push(("www/empty".to_owned(), Vec::new()));
        Self { date: 0, files }
    }

    fn database(&mut self) -> &mut Vec<u8> {
        &mut self.files.iter_mut().find(|(name, _)| name == "home-assistant_v2.db").unwrap().1
    }

    /// The archive, and the bytes that are put in afterwards.
    fn archive(&self) -> (Vec<u8>, Vec<(u64, Vec<u8>)>) {
        let mut inner = Vec::new();
        for (name, content) in &self.files {
            member(&mut inner, &format!("data/{name}"), content);
        }
        inner.resize((inner.len() + 1024).next_multiple_of(10240), 0);
        let json = format!("{{\"date\": \"{:08}\", \"extra\": {{\"instance_id\": \"abc\"}}}}", self.date);
        let mut outer = Vec::new();
        member(&mut outer, "./backup.json", json.as_bytes());
        let at = outer.len() as u64;
        outer.extend_from_slice(&header("homeassistant.tar", inner.len() as u64));
        let late = outer[at as usize..].to_vec();
        outer.extend_from_slice(&inner);
        member(&mut outer, "haul.index", format!("index {}", self.date).as_bytes());
        outer.resize((outer.len() + 1024).next_multiple_of(10240), 0);
        (outer, vec![(512, json.into_bytes()), (at, late)])
    }
}

fn header(name: &str, size: u64) -> [u8; 512] {
    let mut block = [0; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[100..107].copy_from_slice(b"0000644");
    block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
    block[156] = b'0';
    block[257..265].copy_from_slice(b"ustar\x0000");
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..154].copy_from_slice(format!("{sum:06o}").as_bytes());
    block[154] = 0;
    block
}

fn member(tar: &mut Vec<u8>, name: &str, content: &[u8]) {
    tar.extend_from_slice(&header(name, content.len() as u64));
    tar.extend_from_slice(content);
    tar.resize(tar.len().next_multiple_of(512), 0);
}

fn context(state: &Path) -> Context {
    context_of(state, Cancellation::default())
}

fn context_of(state: &Path, cancel: Cancellation) -> Context {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let tuning = Tuning { give_up_after: Duration::from_secs(1), ..Tuning::default() };
    Context::new(tuning, state.to_owned(), cancel).unwrap()
}

fn password(text: &str) -> Secret {
    Secret::Password(text.to_owned().into())
}

struct Place {
    dir: tempfile::TempDir,
    state: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), state: tempfile::tempdir().unwrap() }
    }

    fn store(&self) -> Arc<dyn Store> {
        Arc::new(Local::open(self.dir.path()).unwrap())
    }

    async fn init(&self) -> VaultStore {
        let (store, context) = (self.store(), context(self.state.path()));
        let vault = tokio::task::spawn_blocking(move || Vault::init(store, &context, &password("blue"), "test"));
        VaultStore::of(vault.await.unwrap().unwrap())
    }

    async fn open(&self) -> VaultStore {
        VaultStore::open(self.store(), &context(self.state.path()), password("blue")).await.unwrap()
    }

    fn objects(&self, kind: &str) -> Vec<(String, u64)> {
        let mut all: Vec<_> = fs::read_dir(self.dir.path())
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().len()))
            .filter(|(name, _)| name.starts_with(kind))
            .collect();
        all.sort();
        all
    }

    fn bytes(&self) -> u64 {
        self.objects("").iter().map(|(_, size)| size).sum()
    }
}

async fn back_up(vault: &VaultStore, name: &str, home: &Home, cut: usize) {
    let (archive, patches) = home.archive();
    let mut first = archive.clone();
    for (at, bytes) in &patches {
        // What is put in afterwards is something else before.
        let at = *at as usize;
        if bytes.len() == 512 {
            first[at..at + 512].copy_from_slice(&header("homeassistant.tar", 0));
        } else {
            first[at..at + bytes.len()].fill(b' ');
        }
    }
    let upload = vault.create(name, Expected::default()).await.unwrap();
    let mut offset = 0;
    for (index, bytes) in first.chunks(cut).enumerate() {
        let part = Part {
            index: index as u32,
            offset,
            data: Bytes::copy_from_slice(bytes).into(),
            total: None,
            last: false,
            activity: Activity::default(),
        };
        upload.put(&part).await.unwrap();
        offset += bytes.len() as u64;
    }
    for (at, bytes) in patches {
        upload.patch(at, &bytes).await.unwrap();
    }
    upload.commit(&Completed { length: archive.len() as u64, parts: 1, md5: None }).await.unwrap();
}

async fn export(vault: &VaultStore, name: &str, step: u64) -> Vec<u8> {
    let size = vault.entry(name).await.unwrap().unwrap().size;
    let mut all = Vec::new();
    let mut at = 0;
    while at < size {
        let end = (at + step).min(size);
        all.extend_from_slice(&vault.read(name, at..end).await.unwrap());
        at = end;
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_in_comes_out() {
    let (place, mut random) = (Place::new(), Random(1));
    let home = Home::new(&mut random, 3000);
    let vault = place.init().await;
    back_up(&vault, "one.tar", &home, 1 << 20).await;
    let wanted = home.archive().0;
    let vault = place.open().await;
    assert!(export(&vault, "one.tar", 4 << 20).await == wanted);
    for _ in 0..200 {
        let from = random.below(wanted.len());
        let to = from + random.below((wanted.len() - from).min(300_000));
        let got = vault.read("one.tar", from as u64..to as u64).await.unwrap();
        assert!(got == wanted[from..to], "{from}..{to}");
    }
    let listed = vault.list().await.unwrap();
    assert_eq!((listed.len(), listed[0].size), (1, wanted.len() as u64));
    assert!(place.objects("writer").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_did_not_change_costs_nothing() {
    let (place, mut random) = (Place::new(), Random(2));
    let mut home = Home::new(&mut random, 3000);
    let vault = place.init().await;
    back_up(&vault, "one.tar", &home, 999_999).await;
    let before = place.bytes();
    home.date += 1;
    // Another cut of the parts is no other backup.
    back_up(&vault, "two.tar", &home, 77_777).await;
    let unchanged = place.bytes() - before;
    assert!(unchanged < 8 << 10, "{unchanged} bytes for nothing");
    let before = place.bytes();
    for _ in 0..30 {
        let page = 10 + random.below(2900);
        let new = random.bytes(PAGE);
        home.database()[page * PAGE..(page + 1) * PAGE].copy_from_slice(&new);
    }
    home.files.insert(40, ("custom_components/thing/new.py".to_owned(), random.bytes(900)));
    back_up(&place.open().await, "three.tar", &home, 1 << 20).await;
    let changed = place.bytes() - before;
    assert!(changed < 31 * PAGE as u64 + (24 << 10), "{changed} bytes for 30 pages");
    assert!(export(&place.open().await, "three.tar", 1 << 20).await == home.archive().0);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_moment_comes_out_after_many_changes_and_cleanups() {
    let (place, mut random) = (Place::new(), Random(3));
    let mut home = Home::new(&mut random, 2000);
    let vault = place.init().await;
    let mut moments = Vec::new();
    for number in 0..24 {
        let name = format!("{number:02}.tar");
        back_up(&vault, &name, &home, 1 << 20).await;
        moments.push((name, home.archive().0));
        home.date += 1;
        for _ in 0..random.below(120) {
            let page = 1 + random.below(home.database().len() / PAGE - 1);
            let new = if random.below(9) == 0 { vec![0; PAGE] } else { random.bytes(PAGE) };
            home.database()[page * PAGE..(page + 1) * PAGE].copy_from_slice(&new);
        }
        let grown = match random.below(4) {
            0 => home.database().len() - random.below(300) * PAGE,
            1 => home.database().len() + random.below(300) * PAGE,
            _ => home.database().len(),
        };
        let more = random.bytes(grown);
        let database = home.database();
        let length = database.len();
        database.resize(grown, 0);
        if grown > length {
            database[length..].copy_from_slice(&more[length..]);
        }
        if number % 5 == 4 {
            let (gone, _) = moments.remove(random.below(moments.len()));
            vault.delete(&gone).await.unwrap();
            let inner = vault.vault().clone();
            tokio::task::spawn_blocking(move || {
                prune::collect(&inner, Duration::ZERO).unwrap();
                prune::collect(&inner, Duration::ZERO).unwrap()
            })
            .await
            .unwrap();
        }
    }
    let vault = place.open().await;
    for (name, wanted) in &moments {
        assert!(export(&vault, name, 3 << 20).await == *wanted, "{name}");
    }
    let inner = vault.vault().clone();
    let report = tokio::task::spawn_blocking(move || check::check(&inner, true).unwrap()).await.unwrap();
    assert_eq!((report.backups, report.problems), (moments.len(), Vec::new()));
    // With all backups gone, nothing but the key stays.
    for (name, _) in &moments {
        vault.delete(name).await.unwrap();
    }
    let inner = vault.vault().clone();
    tokio::task::spawn_blocking(move || {
        prune::collect(&inner, Duration::ZERO).unwrap();
        prune::collect(&inner, Duration::ZERO).unwrap();
    })
    .await
    .unwrap();
    assert_eq!(place.objects("").len(), 1, "{:?}", place.objects(""));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_given_up_backup_leaves_nothing() {
    let (place, mut random) = (Place::new(), Random(4));
    let home = Home::new(&mut random, 6000);
    let vault = place.init().await;
    let (archive, _) = home.archive();
    let upload = vault.create("one.tar", Expected::default()).await.unwrap();
    let part = Part {
        index: 0,
        offset: 0,
        data: Bytes::from(archive[..archive.len() - 5000].to_vec()).into(),
        total: None,
        last: false,
        activity: Activity::default(),
    };
    upload.put(&part).await.unwrap();
    upload.abort().await.unwrap();
    assert_eq!(place.objects("").len(), 1, "{:?}", place.objects(""));
    assert_eq!(vault.list().await.unwrap().len(), 0);
    // What is no archive is kept as well.
    back_up(&vault, "two.tar", &Home { date: 1, files: Vec::new() }, 100).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_needs_its_password_and_a_folder_of_its_own() {
    let place = Place::new();
    let opened = VaultStore::open(place.store(), &context(place.state.path()), password("blue")).await;
    let error = opened.err().unwrap();
    assert!(error.to_string().contains("there is no vault"), "{error}");
    fs::write(place.dir.path().join("holiday.jpg"), "x").unwrap();
    let (store, inside) = (place.store(), context(place.state.path()));
    let refused = tokio::task::spawn_blocking(move || Vault::init(store, &inside, &password("blue"), "").err());
    let error = refused.await.unwrap().unwrap();
    assert!(error.to_string().contains("the folder is not empty: there is holiday.jpg"), "{error}");
    fs::remove_file(place.dir.path().join("holiday.jpg")).unwrap();
    place.init().await;
    let opened = VaultStore::open(place.store(), &context(place.state.path()), password("red")).await;
    let error = opened.err().unwrap();
    assert!(error.to_string().contains("password is wrong"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_byte_is_found_and_named() {
    let (place, mut random) = (Place::new(), Random(5));
    let mut home = Home::new(&mut random, 400);
    let vault = place.init().await;
    back_up(&vault, "one.tar", &home, 1 << 20).await;
    home.date += 1;
    let new = random.bytes(PAGE);
    home.database()[20 * PAGE..21 * PAGE].copy_from_slice(&new);
    back_up(&vault, "two.tar", &home, 1 << 20).await;
    let mut objects = place.objects("pack");
    objects.extend(place.objects("snapshot"));
    for (name, size) in objects {
        let path = place.dir.path().join(&name);
        let whole = fs::read(&path).unwrap();
        for at in [8, size / 2, size - 1] {
            let mut changed = whole.clone();
            changed[at as usize] ^= 1;
            fs::write(&path, &changed).unwrap();
            let vault = place.open().await;
            let inner = vault.vault().clone();
            let report = tokio::task::spawn_blocking(move || check::check(&inner, true).unwrap()).await.unwrap();
            assert!(!report.problems.is_empty(), "{name} at {at}");
        }
        fs::write(&path, &whole).unwrap();
        fs::rename(&path, place.dir.path().join("away")).unwrap();
        let vault = place.open().await;
        let inner = vault.vault().clone();
        let report = tokio::task::spawn_blocking(move || check::check(&inner, false).unwrap()).await.unwrap();
        assert!(name.starts_with("snapshot") || !report.problems.is_empty(), "{name} is missing");
        fs::rename(place.dir.path().join("away"), &path).unwrap();
    }
}

/// The first bytes of a backup, large enough that packs are under way.
fn beginning(home: &Home) -> Part {
    let (archive, _) = home.archive();
    Part {
        index: 0,
        offset: 0,
        data: Bytes::from(archive[..archive.len() - 5000].to_vec()).into(),
        total: None,
        last: false,
        activity: Activity::default(),
    }
}

/// Waits for what happens by itself.
async fn until(what: impl Fn() -> bool) {
    while !what() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_backup_leaves_nothing() {
    let (place, cancel, mut random) = (Place::new(), Cancellation::default(), Random(6));
    let home = Home::new(&mut random, 6000);
    place.init().await;
    let context = context_of(place.state.path(), cancel.clone());
    let vault = VaultStore::open(place.store(), &context, password("blue")).await.unwrap();
    let upload = vault.create("one.tar", Expected::default()).await.unwrap();
    upload.put(&beginning(&home)).await.unwrap();
    until(|| !place.objects("pack").is_empty()).await;
    cancel.cancel();
    upload.abort().await.unwrap();
    assert_eq!(place.objects("").len(), 1, "{:?}", place.objects(""));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_dropped_leaves_nothing() {
    let (place, mut random) = (Place::new(), Random(7));
    let home = Home::new(&mut random, 6000);
    let vault = place.init().await;
    let upload = vault.create("one.tar", Expected::default()).await.unwrap();
    upload.put(&beginning(&home)).await.unwrap();
    until(|| !place.objects("pack").is_empty()).await;
    drop(upload);
    until(|| place.objects("").len() == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_are_cut_off_can_be_made_again() {
    let (place, mut random) = (Place::new(), Random(8));
    let home = Home::new(&mut random, 1000);
    let vault = place.init().await;
    let (archive, _) = home.archive();
    let upload = vault.create("one.tar", Expected::default()).await.unwrap();
    let mut data = store::Segments::new();
    archive.chunks(10_000).for_each(|piece| data.push(Bytes::copy_from_slice(piece)));
    let part = Part { index: 0, offset: 0, data, total: None, last: true, activity: Activity::default() };
    // A future that is polled once and dropped.
    for _ in 0..40 {
        let _ = tokio::time::timeout(Duration::ZERO, upload.put(&part)).await;
    }
    upload.put(&part).await.unwrap();
    let all = Completed { length: archive.len() as u64, parts: 1, md5: None };
    for _ in 0..3 {
        let _ = tokio::time::timeout(Duration::ZERO, upload.commit(&all)).await;
    }
    upload.commit(&all).await.unwrap();
    upload.commit(&all).await.unwrap();
    // What is there stays there.
    upload.abort().await.unwrap();
    assert!(export(&place.open().await, "one.tar", 1 << 20).await == archive);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_says_why_it_failed_as_often_as_it_is_asked() {
    let place = Place::new();
    let vault = place.init().await;
    let upload = vault.create("one.tar", Expected::default()).await.unwrap();
    let all = Completed { length: 77, parts: 1, md5: None };
    for _ in 0..2 {
        let error = upload.commit(&all).await.unwrap_err();
        assert!(error.to_string().contains("0 bytes came instead of 77"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_costs_no_more_than_itself() {
    let (place, mut random) = (Place::new(), Random(9));
    let mut home = Home::new(&mut random, 400);
    let vault = place.init().await;
    back_up(&vault, "one.tar", &home, 1 << 20).await;
    let one = home.archive().0;
    let first = place.objects("snapshot").remove(0).0;
    home.date += 1;
    back_up(&vault, "two.tar", &home, 1 << 20).await;
    let second = place.objects("snapshot").into_iter().find(|(name, _)| *name != first).unwrap().0;
    fs::write(place.dir.path().join(&second), b"HaulVlt\x01 no seal of this vault").unwrap();
    fs::write(place.dir.path().join(format!("doomed-{}", "a5".repeat(16))), b"HaulVlt\x01 neither").unwrap();
    let vault = place.open().await;
    let names: Vec<String> = vault.list().await.unwrap().into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, ["one.tar"]);
    assert!(vault.notes().iter().any(|note| note.contains(&second)), "{:?}", vault.notes());
    assert!(export(&vault, "one.tar", 1 << 20).await == one);
    // Nobody knows what the damaged one needs: nothing is removed.
    let refused = vault.work(|vault| prune::collect(vault, Duration::ZERO)).await.unwrap_err();
    assert!(refused.to_string().contains(&second), "{refused}");
    home.date += 1;
    back_up(&vault, "three.tar", &home, 1 << 20).await;
    assert!(export(&place.open().await, "three.tar", 1 << 20).await == home.archive().0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_whole_again_after_packs_were_lost_or_damaged() {
    let (place, mut random) = (Place::new(), Random(10));
    let mut home = Home::new(&mut random, 400);
    let vault = place.init().await;
    back_up(&vault, "one.tar", &home, 1 << 20).await;
    let (pack, _) = place.objects("pack").remove(0);
    let whole = fs::read(place.dir.path().join(&pack)).unwrap();
    // The lists and the hashes of pages lie at the end.
    let mut damaged = whole.clone();
    let from = whole.len() - 40_000;
    damaged[from..].fill(0);
    fs::write(place.dir.path().join(&pack), damaged).unwrap();
    home.date += 1;
    let new = random.bytes(PAGE);
    home.database()[20 * PAGE..21 * PAGE].copy_from_slice(&new);
    back_up(&place.open().await, "two.tar", &home, 1 << 20).await;
    assert!(export(&place.open().await, "two.tar", 1 << 20).await == home.archive().0, "after damage");
    for (pack, _) in place.objects("pack") {
        fs::remove_file(place.dir.path().join(&pack)).unwrap();
    }
    home.date += 1;
    back_up(&place.open().await, "three.tar", &home, 1 << 20).await;
    assert!(export(&place.open().await, "three.tar", 1 << 20).await == home.archive().0, "after a loss");
}
