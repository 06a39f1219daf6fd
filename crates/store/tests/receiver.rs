//! What paired machines may do at a receiver, tested directly: each request, even a refused one, comes twice, too late
//! or with too little.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use common::{Fault, Memory, parts};
use peer::{Host, Peer, Refusal, RefusalKind, Reply, Request, Role};
use store::{
    Kind, Placement, Store,
    local::Local,
    machine::{ArrivalNote, EventKind, Receiver, ReceiverEvent, ReceiverOptions},
};
use testkit::{noise::noise, wait};

struct Rig {
    receiver: Receiver,
    told: Arc<Mutex<Vec<ReceiverEvent>>>,
    state: tempfile::TempDir,
}

impl Rig {
    fn new(store: Arc<dyn Store>, append_only: bool) -> Self {
        Self::with(store, append_only, tempfile::tempdir().unwrap())
    }

    /// What it noted is there from an earlier one.
    fn with(store: Arc<dyn Store>, append_only: bool, state: tempfile::TempDir) -> Self {
        let told = Arc::<Mutex<Vec<ReceiverEvent>>>::default();
        let log = Arc::clone(&told);
        let options = ReceiverOptions {
            builder: None,
            append_only,
            on_event: Arc::new(move |event| log.lock().unwrap().push(event)),
        };
        Self { receiver: Receiver::new(store, state.path(), options), told, state }
    }

    async fn ask(&self, whose: u8, request: Request) -> Result<Reply, Refusal> {
        self.send(whose, request, &[]).await
    }

    async fn send(&self, whose: u8, request: Request, body: &[u8]) -> Result<Reply, Refusal> {
        let fingerprint = serde_json::from_str(&format!("\"{}\"", format!("{whose:02x}").repeat(32))).unwrap();
        let peer = Peer {
            name: format!("machine {whose}"),
            fingerprint,
            role: Role::Sender,
            since: 0,
            last_seen: 0,
            address: None,
        };
        self.receiver.serve(&peer, request, Bytes::copy_from_slice(body)).await.map(|(reply, _)| reply)
    }

    async fn create(&self, whose: u8, name: &str) -> Result<Reply, Refusal> {
        let (upload, name) = (upload(name), name.to_owned());
        self.ask(whose, Request::Create { upload, name, about: None, exact: None, least: None, keep: false }).await
    }

    /// A piece of the first part, which ends the archive.
    async fn put(&self, whose: u8, name: &str, length: u64, at: u64, body: &[u8]) -> Result<Reply, Refusal> {
        let request =
            Request::Put { upload: upload(name), index: 0, offset: 0, length, at, total: Some(length), last: true };
        self.send(whose, request, body).await
    }

    async fn commit(&self, whose: u8, name: &str, length: u64) -> Result<Reply, Refusal> {
        self.ask(whose, Request::Commit { upload: upload(name), length, parts: 1, md5: None }).await
    }

    async fn whole(&self, whose: u8, name: &str, bytes: &[u8]) {
        let length = bytes.len() as u64;
        self.create(whose, name).await.unwrap();
        self.put(whose, name, length, 0, bytes).await.unwrap();
        assert!(matches!(self.commit(whose, name, length).await.unwrap(), Reply::Committed { .. }));
    }

    fn deeds(&self) -> Vec<(String, EventKind)> {
        self.told.lock().unwrap().drain(..).map(|event| (event.name, event.kind)).collect()
    }
}

fn upload(name: &str) -> String {
    format!(".haul-{name}.part")
}

fn passes(result: &Result<Reply, Refusal>) -> bool {
    matches!(result, Err(Refusal { kind: RefusalKind::Passing { .. }, .. }))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_keeps_what_it_has_lets_nobody_delete_replace_or_unpin() {
    let directory = tempfile::tempdir().unwrap();
    let rig = Rig::new(Arc::new(Local::open(directory.path()).unwrap()), true);
    let Reply::Abilities(abilities) = rig.ask(1, Request::Abilities).await.unwrap() else { panic!("no abilities") };
    assert!(abilities.append_only);
    let archive = noise(100_000);
    rig.whole(1, "a.tar", &archive).await;
    // The user's own, on the receiving machine.
    std::fs::write(directory.path().join("a.tar.pin"), "pinned").unwrap();
    rig.deeds();
    for name in ["a.tar", "a.tar.pin"] {
        // Its own sender, another machine, and both again.
        for whose in [1, 2, 1, 2] {
            let refusal = rig.ask(whose, Request::Delete { name: name.into() }).await.unwrap_err();
            assert_eq!(refusal.kind, RefusalKind::Permission);
            assert!(refusal.reason.contains("is append-only") && refusal.advice.unwrap().contains("--append-only"));
        }
    }
    assert_eq!(rig.create(2, "a.tar").await.unwrap_err().kind, RefusalKind::Exists, "nor is it replaced");
    // Every other word that could take something away.
    rig.ask(1, Request::Abort { upload: upload("a.tar") }).await.unwrap();
    rig.ask(1, Request::RemoveAbandoned).await.unwrap();
    let _ = rig.send(1, Request::Patch { upload: upload("a.tar"), offset: 0 }, b"other").await;
    let _ = rig.put(1, "a.tar", 200_000, 0, &noise(200_000)).await;
    let _ = rig.commit(1, "a.tar", 200_000).await;
    assert!(std::fs::read(directory.path().join("a.tar")).unwrap() == archive);
    assert_eq!(std::fs::read(directory.path().join("a.tar.pin")).unwrap(), b"pinned");
    assert!(rig.deeds().contains(&("a.tar".into(), EventKind::Kept)));
    // What has not arrived yet may be given up.
    rig.create(1, "b.tar").await.unwrap();
    rig.ask(1, Request::Abort { upload: upload("b.tar") }).await.unwrap();
    assert_eq!(names(directory.path()), ["a.tar", "a.tar.pin", "a.tar.via"]);
}

fn names(directory: &std::path::Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The note beside an archive.
async fn note(store: &Local, archive: &str) -> Option<ArrivalNote> {
    let entry = store.entry(&ArrivalNote::name(archive)).await.unwrap()?;
    Some(ArrivalNote::read(store, &entry).await.unwrap().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_keeps_what_it_has_takes_archives_alone() {
    let directory = tempfile::tempdir().unwrap();
    let rig = Rig::new(Arc::new(Local::open(directory.path()).unwrap()), true);
    let long = format!("{}.tar", "x".repeat(248));
    for name in ["a.tar.pin", "a.tar.via", "A.TAR.PIN", "a.tar.pin.", "a.tar.pin ", "a.txt", "a.TAR", "tar", &long] {
        let refusal = rig.create(1, name).await.unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::Permission, "{name}");
        assert!(refusal.advice.unwrap().contains("pin"), "{name}");
    }
    assert!(names(directory.path()).is_empty());
}

/// Each row is a second situation: who says what when, and whether the archive and its note are there afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn no_archive_of_a_paired_machine_is_without_a_note_of_its_arrival() {
    let directory = tempfile::tempdir().unwrap();
    let there = |name: &str| directory.path().join(name).exists();
    let local = || Local::open(directory.path()).unwrap();
    let rig = Rig::new(Arc::new(local()), true);
    let key = |whose: u8| format!("{whose:02x}").repeat(32);
    rig.whole(1, "a.tar", b"bytes").await;
    let first = note(&local(), "a.tar").await.unwrap();
    assert_eq!((first.from.as_str(), first.key.as_str()), ("machine 1", key(1).as_str()));
    // Completed twice, because an answer got lost.
    rig.commit(1, "a.tar", 5).await.unwrap();
    assert_eq!(note(&local(), "a.tar").await.unwrap(), first);
    // A wrong length: neither archive nor note.
    rig.create(1, "b.tar").await.unwrap();
    rig.put(1, "b.tar", 5, 0, b"bytes").await.unwrap();
    rig.commit(1, "b.tar", 7).await.unwrap_err();
    assert!(!there("b.tar") && !there("b.tar.via"));
    // The destination does not accept the note: then not the archive either, and later both.
    std::fs::create_dir(directory.path().join("c.tar.via")).unwrap();
    rig.create(1, "c.tar").await.unwrap();
    rig.put(1, "c.tar", 5, 0, b"bytes").await.unwrap();
    rig.commit(1, "c.tar", 5).await.unwrap_err();
    assert!(!there("c.tar"));
    std::fs::remove_dir(directory.path().join("c.tar.via")).unwrap();
    rig.commit(1, "c.tar", 5).await.unwrap();
    assert_eq!(note(&local(), "c.tar").await.unwrap().key, key(1));
    // A note of an attempt that failed: only now counts.
    let old = format!(r#"{{"from":"machine 1","key":"{}","arrived":7}}"#, key(1));
    std::fs::write(directory.path().join("d.tar.via"), &old).unwrap();
    rig.whole(1, "d.tar", b"bytes").await;
    assert!(note(&local(), "d.tar").await.unwrap().arrived > 7);
    // Another machine's note is not taken over.
    std::fs::write(directory.path().join("e.tar.via"), &old).unwrap();
    rig.create(2, "e.tar").await.unwrap();
    rig.put(2, "e.tar", 5, 0, b"bytes").await.unwrap();
    assert_eq!(rig.commit(2, "e.tar", 5).await.unwrap_err().kind, RefusalKind::Exists);
    assert!(!there("e.tar"));
    // An archive of the user's own that got the name meanwhile stays without one.
    rig.create(1, "f.tar").await.unwrap();
    rig.put(1, "f.tar", 5, 0, b"bytes").await.unwrap();
    std::fs::write(directory.path().join("f.tar"), "own").unwrap();
    assert_eq!(rig.commit(1, "f.tar", 5).await.unwrap_err().kind, RefusalKind::Exists);
    assert!(!there("f.tar.via") && std::fs::read(directory.path().join("f.tar")).unwrap() == b"own");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_is_reported_once() {
    let memory = Memory::new(parts());
    let rig = Rig::new(Arc::new(memory.clone()), false);
    rig.whole(1, "a.tar", b"bytes").await;
    rig.commit(1, "a.tar", 5).await.unwrap();
    assert_eq!(rig.deeds(), [("a.tar".into(), EventKind::Arrived(5))], "asked a second time, it arrived once");
    // A full disk is reported once, however often the sender tries; a broken connection is not reported.
    rig.create(1, "b.tar").await.unwrap();
    let full = Some(Fault::Fail(Kind::Full { missing: None }));
    memory.script([Some(common::HICCUP), full, full]);
    for _ in 0..3 {
        rig.put(1, "b.tar", 5, 0, b"bytes").await.unwrap_err();
    }
    let deeds = rig.deeds();
    assert!(matches!(&deeds[..], [(name, EventKind::Failed(_))] if name == "b.tar"), "{deeds:?}");
    for _ in 0..2 {
        rig.ask(2, Request::Delete { name: "a.tar".into() }).await.unwrap();
    }
    assert_eq!(rig.deeds(), [("a.tar".into(), EventKind::Deleted)]);
    rig.create(1, "x/../y").await.unwrap_err();
    assert_eq!(rig.deeds().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_uploads_together_have_one_memory() {
    const MIB: u64 = 1 << 20;
    let rig = Rig::new(Arc::new(Memory::new(parts())), false);
    for (whose, name, length) in [(1, "a", 100), (2, "b", 100), (3, "c", 56)] {
        rig.create(whose, name).await.unwrap();
        rig.put(whose, name, length * MIB, 0, b"begun").await.unwrap();
    }
    rig.create(1, "d").await.unwrap();
    assert!(passes(&rig.put(1, "d", 1, 0, b"x").await), "256 MiB are spoken for");
    assert!(passes(&rig.put(1, "d", 2 * MIB, 1, b"x").await), "what follows a refused piece is refused too");
    // A part that starts over takes no more than it had.
    rig.put(3, "c", 56 * MIB, 0, b"begun").await.unwrap();
    // Given up is given back.
    rig.ask(3, Request::Abort { upload: upload("c") }).await.unwrap();
    rig.put(1, "d", 1, 0, b"x").await.unwrap();
    rig.commit(1, "d", 1).await.unwrap();
    let too_large = rig.put(2, "b", 257 * MIB, 0, b"x").await.unwrap_err();
    assert_eq!(too_large.kind, RefusalKind::Invalid);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_has_so_many_uploads_and_no_more_however_fast_it_asks() {
    let memory = Memory::new(Placement::Random);
    memory.world.lock().unwrap().silent = true;
    let rig = Arc::new(Rig::new(Arc::new(memory.clone()), false));
    let asking: Vec<_> = (0..70)
        .map(|n| {
            let rig = Arc::clone(&rig);
            tokio::spawn(async move { rig.create(1, &format!("{n}.tar")).await })
        })
        .collect();
    wait::until_async("64 uploads wait", || memory.world.lock().unwrap().waiting >= 64).await;
    // One of them on a second connection, while the first still waits.
    for n in 0..70 {
        assert!(passes(&rig.create(1, &format!("{n}.tar")).await));
    }
    memory.world.lock().unwrap().silent = false;
    let mut begun = 0;
    for asked in asking {
        match asked.await.unwrap() {
            Ok(_) => begun += 1,
            Err(refusal) => assert!(matches!(refusal.kind, RefusalKind::Passing { .. }), "{refusal:?}"),
        }
    }
    assert!(begun <= 64, "{begun}");
    assert_eq!(memory.world.lock().unwrap().unfinished.len(), begun, "none was started that nobody knows");
    rig.create(2, "other.tar").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn pieces_that_come_twice_too_early_or_too_late_do_no_harm() {
    for placement in [Placement::Random, parts(), Placement::Sequential] {
        let memory = Memory::new(placement);
        let rig = Rig::new(Arc::new(memory.clone()), false);
        assert_eq!(rig.put(1, "a.tar", 6, 0, b"abcdef").await.unwrap(), Reply::Gone, "never begun");
        rig.create(1, "a.tar").await.unwrap();
        assert!(matches!(rig.create(1, "a.tar").await.unwrap(), Reply::Upload { kept } if kept.is_empty()));
        assert!(passes(&rig.put(1, "a.tar", 6, 3, b"def").await), "a gap");
        rig.put(1, "a.tar", 6, 0, b"abc").await.unwrap();
        // The part from its start once more, as on a new connection.
        rig.put(1, "a.tar", 6, 0, b"abc").await.unwrap();
        rig.put(1, "a.tar", 6, 3, b"def").await.unwrap();
        assert!(matches!(rig.commit(2, "a.tar", 6).await.unwrap(), Reply::Gone), "somebody else's");
        rig.commit(1, "a.tar", 6).await.unwrap();
        assert!(matches!(rig.commit(1, "a.tar", 6).await.unwrap(), Reply::Committed { .. }), "twice");
        assert_eq!(rig.commit(1, "a.tar", 5).await.unwrap_err().kind, RefusalKind::Mismatch);
        assert_eq!(memory.object("a.tar").unwrap(), b"abcdef", "{placement:?}");
        rig.ask(1, Request::Abort { upload: upload("a.tar") }).await.unwrap();
        rig.ask(1, Request::Abort { upload: upload("a.tar") }).await.unwrap();
        assert!(memory.object("a.tar").is_some(), "what has arrived is not given up");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_another_machine_put_under_the_name_is_never_taken_for_ones_own() {
    let directory = tempfile::tempdir().unwrap();
    let place = || Arc::new(Local::open(directory.path()).unwrap());
    let rig = Rig::new(place(), false);
    let (own, other) = (noise(100_000), vec![7; 100_000]);
    rig.create(1, "a.tar").await.unwrap();
    rig.put(1, "a.tar", 100_000, 0, &own).await.unwrap();
    let own_file = names(directory.path());
    rig.whole(2, "a.tar", &other).await;
    // It is as long as the own one, to the byte.
    let refusal = rig.commit(1, "a.tar", 100_000).await.unwrap_err();
    assert!(refusal.kind == RefusalKind::Exists && refusal.reason.contains("a.tar exists already"), "{refusal:?}");
    // Nor does a restarted receiver trust it, if nothing is left of its own.
    let Rig { receiver, state, .. } = rig;
    drop(receiver);
    for name in own_file {
        std::fs::remove_file(directory.path().join(name)).unwrap();
    }
    let rig = Rig::with(place(), false, state);
    assert_eq!(rig.commit(1, "a.tar", 100_000).await.unwrap(), Reply::Gone);
    // The other machine hears once more that it has arrived.
    assert!(matches!(rig.commit(2, "a.tar", 100_000).await.unwrap(), Reply::Committed { .. }));
    assert!(std::fs::read(directory.path().join("a.tar")).unwrap() == other);
}
