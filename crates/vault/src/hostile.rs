//! Objects that somebody who has the password made, and whose parts contradict each other: nothing panics, nothing
//! takes more memory than what is asked for, and an error is all that comes of it.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test fails by panicking")]

use std::{fs, ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use store::{
    Cancellation, Completed, Context, Expected, Part as Bits, Sink, Store, Tuning, local::Local, parts::Activity,
};
use tokio::runtime::Runtime;

use crate::{
    VaultStore,
    base::Base,
    check, group,
    id::{Id, Kind},
    keys::{KEY_FILE, Secret},
    packer::HEADER,
    pages::{self, Hashes},
    prune,
    read::Reader,
    record::{self, Extent, GroupAt, Groups, Part, Piece, PieceList, Place, Run, RunAt, Snapshot},
    vault::Vault,
};

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 31
    }

    fn below(&mut self, most: u64) -> u64 {
        self.next() % most
    }

    /// Seldom what it should be.
    fn number(&mut self, right: u32) -> u32 {
        let odd = [0, 1, 511, 512, 4096, 65_535, 65_536, i32::MAX as u32, u32::MAX - 1, u32::MAX];
        match self.below(60) {
            0 => odd[self.below(odd.len() as u64) as usize],
            1 => self.below(40) as u32,
            _ => right,
        }
    }

    fn place(&mut self, right: Place) -> Place {
        Place { at: self.number(right.at), length: self.number(right.length), ..right }
    }

    /// Sometimes with a few other bytes.
    fn spoilt<T: serde::Serialize>(&mut self, record: &T) -> Vec<u8> {
        let mut bytes = record::encode(record);
        if self.below(8) == 0 {
            for _ in 0..=self.below(3) {
                let at = self.below(bytes.len() as u64) as usize;
                bytes[at] = if self.below(2) == 0 { 0xff } else { self.next() as u8 };
            }
        }
        bytes
    }
}

const PATH: &str = "homeassistant.tar/data/home-assistant_v2.db";

/// A pack and a snapshot, sealed as they should be; what they say is another matter.
fn objects(vault: &Vault, random: &mut Random) -> [(String, Vec<u8>); 2] {
    let (pack, id) = (vault.random_id().unwrap(), vault.random_id().unwrap());
    let (key, mut bytes) = (vault.master.object(Kind::Pack, pack), HEADER.to_vec());
    let mut add = |plain: &[u8]| {
        let at = bytes.len();
        key.seal(at as u64, &group::pack(plain, group::FAST), &mut bytes);
        Place { pack, at: at as u32, length: (bytes.len() - at) as u32 }
    };
    let content = add(&[7; 8 * 512]);
    let hashes = add(&[3; 16 * 140]);
    let groups = |random: &mut Random| Groups {
        packs: vec![pack, Id([9; 16])],
        groups: (0..3)
            .map(|_| {
                let place = random.place(content);
                GroupAt {
                    pack: if random.below(9) == 0 { random.number(1) } else { 0 },
                    at: place.at,
                    length: place.length,
                }
            })
            .collect(),
    };
    let mut parts = Vec::new();
    for _ in 0..=random.below(4) {
        parts.push(match random.below(5) {
            0 => Part::Inline(vec![1; random.below(700) as usize]),
            1 | 2 => {
                let pieces: Vec<Piece> = (0..random.below(6))
                    .map(|number| Piece {
                        length: random.number(512),
                        hash: [number as u8; 16],
                        group: random.number(number as u32 % 3),
                        at: random.number(512),
                    })
                    .collect();
                let length = pieces.iter().map(|piece| u64::from(piece.length)).sum();
                let list = PieceList { groups: groups(random), pieces };
                let list = add(&random.spoilt(&list));
                Part::Pieces {
                    length: if random.below(6) == 0 { random.next() } else { length },
                    list: random.place(list),
                }
            }
            _ => {
                let runs = (0..random.below(12))
                    .map(|_| {
                        let extents = (0..random.below(30)).map(|_| Extent {
                            gap: random.number(0),
                            count: random.number(7),
                            group: random.number(1),
                            first: random.number(1),
                        });
                        let extents = extents.collect();
                        let run = Run { groups: groups(random), extents };
                        let run = add(&random.spoilt(&run));
                        RunAt {
                            at: random.place(run),
                            pages: random.next() >> random.below(33),
                            hashes: vec![random.place(hashes)],
                            packs: vec![(pack, random.number(100))],
                        }
                    })
                    .collect();
                let pages = if random.below(4) == 0 { random.next() << random.below(31) } else { random.below(200) };
                Part::Database { path: PATH.to_owned(), page_size: random.number(512), pages, runs }
            }
        });
    }
    let names = ["", "..", "../one.tar", "a\0b"];
    let name = names.get(random.below(30) as usize).copied().unwrap_or("one.tar").to_owned();
    let snapshot = Snapshot {
        name,
        finished: if random.below(4) == 0 { i64::MIN } else { 5 },
        instance: None,
        packs: vec![(pack, 1)],
        parts,
    };
    let mut described = HEADER.to_vec();
    vault.master.object(Kind::Snapshot, id).seal(
        8,
        &group::pack(&random.spoilt(&snapshot), group::FAST),
        &mut described,
    );
    [(Kind::Pack.object(pack), bytes), (Kind::Snapshot.object(id), described)]
}

/// A backup with a database of that path.
fn archive() -> Vec<u8> {
    let mut database = vec![5; 160 * 512];
    database[..18].copy_from_slice(b"SQLite format 3\0\x02\0");
    let mut inner = Vec::new();
    member(&mut inner, "data/home-assistant_v2.db", &database);
    let mut outer = Vec::new();
    member(&mut outer, "homeassistant.tar", &inner);
    outer
}

fn member(tar: &mut Vec<u8>, name: &str, content: &[u8]) {
    let mut block = [0; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
    block[156] = b'0';
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..154].copy_from_slice(format!("{sum:06o}").as_bytes());
    block[154] = 0;
    tar.extend_from_slice(&block);
    tar.extend_from_slice(content);
}

async fn back_up(vault: Vault) -> Result<Bytes, store::StoreError> {
    let (store, archive) = (VaultStore::of(vault), archive());
    let upload = store.create("two.tar", Expected::default()).await?;
    let length = archive.len() as u64;
    let data = Bytes::from(archive).into();
    let part = Bits { index: 0, offset: 0, data, total: None, last: true, activity: Activity::default() };
    upload.put(&part).await?;
    upload.commit(&Completed { length, parts: 1, md5: None }).await?;
    store.read("two.tar", 0..length).await
}

fn try_all(vault: &Vault, runtime: &Runtime, random: &mut Random) -> [usize; 3] {
    let (objects, master) = (&vault.objects, &vault.master);
    let mut worked = [0; 3];
    for (id, snapshot) in vault.snapshots().unwrap() {
        assert!(!snapshot.name.contains(['/', '\0']) && !["", ".."].contains(&snapshot.name.as_str()));
        let reader = Reader::new(objects.clone(), master.clone(), Arc::clone(&snapshot));
        let length = snapshot.length();
        for _ in 0..20 {
            let from = match random.below(3) {
                0 => length.saturating_sub(random.below(5000)),
                1 => random.below(5000).min(length),
                _ => random.below(length.max(1)),
            };
            let to = from.saturating_add(random.below(5000)).min(length);
            worked[0] += usize::from(reader.read(from..to).is_ok_and(|bytes| bytes.len() as u64 == to - from));
        }
        assert!(reader.read(length..u64::MAX).is_err() && reader.read(Range { start: 5, end: 4 }).is_err());
        worked[1] += usize::from(Base::load(objects, master, id, &snapshot).is_ok());
        for part in &snapshot.parts {
            let Part::Database { pages, runs, .. } = part else { continue };
            let _ = pages::map(objects, master, runs);
            if let Ok(mut hashes) = Hashes::of(objects.clone(), master.clone(), runs, *pages) {
                for page in (0..60).chain([*pages, u64::MAX]) {
                    let _ = hashes.at(page);
                }
            }
        }
    }
    for every_byte in [false, true] {
        assert!(check::check(vault, every_byte).is_ok());
    }
    let _ = prune::collect(vault, Duration::ZERO);
    // The next backup has this one for a base, and is sound whatever that one is.
    if let Ok(read) = runtime.block_on(back_up(vault.clone())) {
        assert!(read == archive());
        worked[2] += 1;
    }
    worked
}

#[test]
fn what_contradicts_itself_is_an_error_and_no_more() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let _inside = runtime.enter();
    let (dir, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let tuning = Tuning { give_up_after: Duration::ZERO, ..Tuning::default() };
    let context = Context::new(tuning, state.path().to_owned(), Cancellation::default()).unwrap();
    let secret = Secret::KeyFile([7; KEY_FILE].into());
    let store = || -> Arc<dyn Store> { Arc::new(Local::open(dir.path()).unwrap()) };
    Vault::init(store(), &context, &secret, "").unwrap();
    let cases = std::env::var("HAUL_CASES").map_or(150, |value| value.parse().unwrap());
    let mut all = [0; 3];
    for seed in 0..cases {
        let mut random = Random(seed);
        let vault = Vault::open(store(), &context, &secret).unwrap();
        for (name, bytes) in objects(&vault, &mut random) {
            fs::write(dir.path().join(name), bytes).unwrap();
        }
        let tried = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| try_all(&vault, &runtime, &mut random)));
        let Ok(worked) = tried else { panic!("case {seed}") };
        all.iter_mut().zip(worked).for_each(|(all, more)| *all += more);
        for entry in fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap()) {
            if !entry.file_name().to_str().unwrap().starts_with("key-") {
                fs::remove_file(entry.path()).unwrap();
            }
        }
    }
    assert!(all[0] as u64 > cases && all[2] as u64 > cases / 2, "{all:?}");
}
