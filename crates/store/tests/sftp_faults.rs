//! Each request to an SFTP server is refused, is cut off, is carried out without an answer, comes late or is never
//! answered, once and twice in a row; and what happens if somebody else touches the files.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "common/sftp_server.rs"]
mod sftp_server;

use std::{fs, time::Duration};

use bytes::Bytes;
use sftp_server::{Asks, Call, Fault, PASSWORD, SftpServer};
use store::{
    Cancellation, Checked, Completed, Context, Expected, Kind, Part, Segments, Store, StoreError, Tuning, Upload,
    parts::Activity, retry::RetryPolicy,
};

const STALL: Duration = Duration::from_millis(400);
const WHOLE: &[u8] = b"abcdefghi";

fn context() -> Context {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let tuning = Tuning {
        stall: STALL,
        connect_timeout: Duration::from_secs(10),
        first_pause: Duration::from_millis(5),
        longest_pause: Duration::from_millis(50),
        give_up_after: Duration::from_secs(20),
        ..Tuning::default()
    };
    Context::new(tuning, "/nonexistent".into(), Cancellation::default()).unwrap()
}

fn parts() -> [Part; 3] {
    [0, 3, 6].map(|at| Part {
        index: at / 3,
        offset: at.into(),
        data: Segments::from(Bytes::from_static(&WHOLE[at as usize..][..3])),
        total: (at == 6).then_some(9),
        last: at == 6,
        activity: Activity::default(),
    })
}

fn completed() -> Completed {
    Completed { length: 9, parts: 3, md5: None }
}

/// A whole upload with its correction, as the callers do it: again and again while it may pass, and given up at the
/// end.
async fn send(store: &dyn Store, policy: &RetryPolicy, before_the_end: impl FnOnce()) -> Result<Checked, StoreError> {
    let upload = policy.retry(|| store.create("a.tar", Expected::exactly(9))).await?;
    let whole = completed();
    let sent = async {
        let mut first = parts()[0].clone();
        first.data = Segments::from(Bytes::from_static(b"abX"));
        policy.retry(|| upload.put(&first)).await?;
        for part in &parts()[1..] {
            policy.retry(|| upload.put(part)).await?;
        }
        policy.retry(|| upload.patch(2, b"c")).await?;
        before_the_end();
        policy.retry(|| upload.commit(&whole)).await
    };
    let sent = sent.await;
    if sent.is_err() {
        let _ = policy.retry(|| upload.abort()).await;
    }
    sent
}

async fn survives(call: Call, fault: Fault, times: usize) {
    let case = format!("{call:?} {fault:?} {times}");
    let Some(server) = SftpServer::start(Asks::Outright).await else { return };
    fs::write(server.root().join("before.tar"), "before").unwrap();
    let policy = RetryPolicy::new(&context());
    let store = policy.retry(|| server.connect(PASSWORD, context())).await.unwrap();
    let meet = || server.meet(call, std::iter::repeat_n(fault, times));
    // The free space is queried at the beginning, which may fail; the sync at the end matters.
    let is_late = call == Call::Extended;
    if !is_late {
        meet();
    }
    let sent = send(store.as_ref(), &policy, || {
        if is_late {
            meet();
        }
    })
    .await;
    let there = fs::read(server.root().join("a.tar")).ok();
    match &sent {
        Ok(_) => assert_eq!(there.as_deref(), Some(WHOLE), "{case}"),
        Err(error) => assert!(there.is_none(), "{case}: {error}: {there:?}"),
    }
    // What may pass has passed.
    let passes = !matches!(fault, Fault::Refused(_));
    assert!(sent.is_ok() || !passes, "{case}: {:?}", sent.err());
    assert_eq!(fs::read(server.root().join("before.tar")).unwrap(), b"before", "{case}");
    // A beginning of which nobody heard stays until this process has ended.
    let left: Vec<String> = server.names().into_iter().filter(|name| name.starts_with(".haul-")).collect();
    let unheard = call == Call::Open && matches!(fault, Fault::Unheard | Fault::Late(_)) || call == Call::Remove;
    assert!(left.is_empty() || unheard, "{case}: {left:?}");
    // And the destination is as good as before.
    server.calm();
    let names: Vec<String> = policy.retry(|| store.list()).await.unwrap().into_iter().map(|entry| entry.name).collect();
    assert_eq!(names.len(), 1 + usize::from(sent.is_ok()), "{case}");
    assert_eq!(policy.retry(|| store.read("before.tar", 0..6)).await.unwrap(), "before", "{case}");
}

/// Whatever happens, the archive is there whole or not at all, what was there before stays, and nothing half-done is
/// left.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whatever_request_fails_an_archive_is_there_whole_or_not_at_all() {
    let calls = [Call::Open, Call::Close, Call::Write, Call::Lstat, Call::Fstat, Call::Rename, Call::Extended];
    // Failure, permission denied, no such file, bad message, not supported.
    let refusals = [4, 3, 2, 5, 8].map(Fault::Refused);
    let others = [Fault::Unheard, Fault::Cut, Fault::Silent, Fault::Late(STALL * 2)];
    for call in calls {
        let cases = refusals
            .iter()
            .chain(&others)
            .flat_map(|fault| (1..=2).map(move |times| tokio::spawn(survives(call, *fault, times))));
        for case in cases.collect::<Vec<_>>() {
            case.await.unwrap();
        }
    }
}

/// Reading: the list, a look, the bytes, deleting, sweeping. A refusal is one; a list is never taken for whole when it
/// broke off.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whatever_request_fails_what_lies_there_is_neither_missed_nor_removed() {
    let Some(server) = SftpServer::start(Asks::Outright).await else { return };
    for name in ["a.tar", "b.tar"] {
        fs::write(server.root().join(name), "bytes").unwrap();
    }
    let policy = RetryPolicy::new(&context());
    let store = policy.retry(|| server.connect(PASSWORD, context())).await.unwrap();
    for fault in
        [Fault::Refused(4), Fault::Refused(3), Fault::Unheard, Fault::Cut, Fault::Silent, Fault::Late(STALL * 2)]
    {
        let passes = !matches!(fault, Fault::Refused(_));
        for call in [Call::Opendir, Call::Readdir] {
            server.meet(call, [fault]);
            let listed = policy.retry(|| store.list()).await;
            assert!(listed.as_ref().map_or(!passes, |list| list.len() == 2), "{call:?} {fault:?}: {listed:?}");
            server.meet(call, [fault]);
            assert_eq!(store.remove_abandoned().await.unwrap_or_default(), 0, "{call:?} {fault:?}");
        }
        server.meet(Call::Lstat, [fault]);
        let found = policy.retry(|| store.entry("a.tar")).await;
        assert!(found.as_ref().map_or(!passes, Option::is_some), "{fault:?}: {found:?}");
        for call in [Call::Open, Call::Read] {
            server.meet(call, [fault]);
            let read = policy.retry(|| store.read("a.tar", 0..5)).await;
            assert!(read.as_ref().map_or(!passes, |bytes| bytes == "bytes"), "{call:?} {fault:?}: {read:?}");
        }
        assert_eq!((server.names().len(), server.unmet()), (2, 0), "{fault:?}");
        server.meet(Call::Remove, [fault]);
        let removed = policy.retry(|| store.delete("b.tar")).await;
        assert_eq!(removed.is_ok(), passes, "{fault:?}: {removed:?}");
        assert_eq!(server.root().join("b.tar").exists(), !passes, "{fault:?}");
        fs::write(server.root().join("b.tar"), "bytes").unwrap();
    }
}

/// What an upload finds that somebody else has touched in the middle.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_elses_hand_is_noticed() {
    type Touch = fn(&std::path::Path, &std::path::Path);
    let touches: [(&str, Touch, Kind); 4] = [
        ("takes the name", |_, to| fs::write(to, "theirs").unwrap(), Kind::Exists),
        ("removes it", |from, _| fs::remove_file(from).unwrap(), Kind::Lost),
        ("cuts it", |from, _| fs::File::options().write(true).open(from).unwrap().set_len(4).unwrap(), Kind::Mismatch),
        (
            "adds to it",
            |from, _| fs::File::options().write(true).open(from).unwrap().set_len(20).unwrap(),
            Kind::Mismatch,
        ),
    ];
    for (what, touch, kind) in touches {
        let Some(server) = SftpServer::start(Asks::Outright).await else { return };
        let policy = RetryPolicy::new(&context());
        let store = policy.retry(|| server.connect(PASSWORD, context())).await.unwrap();
        let upload: Box<dyn Upload> = store.create("a.tar", Expected::exactly(9)).await.unwrap();
        for part in parts() {
            upload.put(&part).await.unwrap();
        }
        let (from, to) = (server.root().join(&server.names()[0]), server.root().join("a.tar"));
        touch(&from, &to);
        let whole = completed();
        let error = policy.retry(|| upload.commit(&whole)).await.expect_err(what);
        assert_eq!(error.kind(), Some(kind), "{what}: {error}");
        upload.abort().await.unwrap();
        let expected: &[&str] = if kind == Kind::Exists { &["a.tar"] } else { &[] };
        assert_eq!(server.names(), expected, "{what}");
        assert!(kind != Kind::Exists || fs::read(&to).unwrap() == b"theirs", "{what}");
    }
}
