//! Sessions: what is kept, what is lost, what is said about it, and what stays behind.

use std::time::Duration;

use store::{Checked, Expected, Kind, Session, Upload};
use testkit::drive::{Call, Fault};

use crate::{PART, Rig, archive, begin, completed, parts};

fn passing(kind: Option<Kind>) -> Option<Duration> {
    match kind {
        Some(Kind::Transient { retry_after }) => retry_after,
        other => panic!("{other:?} does not pass"),
    }
}

#[tokio::test]
async fn fewer_bytes_kept_than_sent_are_followed_by_the_rest_in_the_same_put() {
    let rig = Rig::new();
    let place = rig.place().await;
    let bytes = archive(6 * PART);
    let upload = begin(place.as_ref(), "a.tar").await;
    rig.drive.script(Call::Chunk, [Fault::Keep(2 * PART as u64), Fault::Keep(PART as u64)]);
    let [first, last] = &parts(&bytes, 4 * PART)[..] else { panic!() };
    upload.put(first).await.unwrap();
    assert_eq!(rig.drive.count(Call::Chunk), 3);
    assert_eq!(rig.drive.count(Call::Status), 0);
    upload.put(last).await.unwrap();
    assert_eq!(upload.commit(&completed(&bytes)).await.unwrap(), Checked::Checksum);
    rig.is_clean();
}

#[tokio::test]
async fn a_chunk_of_which_nothing_is_kept_may_pass() {
    let rig = Rig::new();
    let place = rig.place().await;
    let bytes = archive(2 * PART);
    let upload = begin(place.as_ref(), "a.tar").await;
    rig.drive.script(Call::Chunk, [Fault::Keep(0)]);
    let part = &parts(&bytes, PART)[0];
    passing(upload.put(part).await.unwrap_err().kind());
    upload.put(part).await.unwrap();
}

#[tokio::test]
async fn a_part_that_is_no_multiple_is_refused_before_it_is_sent() {
    let rig = Rig::new();
    let place = rig.place().await;
    let upload = begin(place.as_ref(), "a.tar").await;
    let part = &parts(&archive(3000), 1000)[0];
    assert_eq!(upload.put(part).await.unwrap_err().kind(), Some(Kind::Invalid));
    assert_eq!(rig.drive.count(Call::Chunk), 0);
}

#[tokio::test]
async fn after_a_broken_connection_only_what_is_missing_is_sent_again() {
    let rig = Rig::new();
    let place = rig.place().await;
    let bytes = archive(4 * PART);
    rig.drive.script(Call::Chunk, [Fault::Cut(PART as u64 + 1000)]);
    rig.send(place.as_ref(), "a.tar", &bytes).await.unwrap();
    let ranges: Vec<String> = rig.drive.requests().into_iter().filter_map(|seen| seen.range).collect();
    assert_eq!(ranges, ["bytes 0-524287/*", "bytes */*", "bytes 262144-524287/*", "bytes 524288-1048575/1048576"]);
    rig.is_clean();
}

#[tokio::test]
async fn a_last_part_whose_answer_is_lost_is_not_sent_again() {
    let rig = Rig::new();
    let place = rig.place().await;
    let bytes = archive(3 * PART + 5);
    rig.drive.script(Call::Chunk, [Fault::Unanswered, Fault::Unanswered]);
    assert_eq!(rig.send(place.as_ref(), "a.tar", &bytes).await.unwrap(), Checked::Checksum);
    assert_eq!(rig.drive.received(), bytes.len() as u64);
    assert_eq!(rig.archives(), ["a.tar"]);
}

#[tokio::test]
async fn overload_passes_and_says_how_long_to_wait() {
    let rig = Rig::new();
    let place = rig.place().await;
    let bytes = archive(2 * PART);
    let upload = begin(place.as_ref(), "a.tar").await;
    let part = &parts(&bytes, PART)[0];
    for status in [429, 500, 502, 503, 504] {
        rig.drive.script(
            Call::Chunk,
            [Fault::status(status), Fault::Status { status, reason: "backendError", retry_after: Some(7) }],
        );
        assert_eq!(passing(upload.put(part).await.unwrap_err().kind()), None, "{status}");
        assert_eq!(passing(upload.put(part).await.unwrap_err().kind()), Some(Duration::from_secs(7)), "{status}");
    }
    for reason in ["rateLimitExceeded", "userRateLimitExceeded"] {
        rig.drive.script(Call::Chunk, [Fault::Status { status: 403, reason, retry_after: Some(3) }]);
        assert_eq!(passing(upload.put(part).await.unwrap_err().kind()), Some(Duration::from_secs(3)), "{reason}");
    }
    upload.put(part).await.unwrap();
}

#[tokio::test]
async fn whatever_breaks_the_archive_arrives() {
    let rig = Rig::new();
    let place = rig.place().await;
    let bytes = archive(8 * PART + 1);
    for call in [Call::Chunk, Call::Status, Call::Start, Call::List, Call::Get, Call::Update, Call::Token] {
        rig.drive.script(call, [Fault::status(503), Fault::Cut(10), Fault::Unanswered]);
    }
    rig.drive.script(Call::Chunk, [Fault::Keep(PART as u64), Fault::Expire, Fault::Cut(300_000)]);
    rig.drive.script(Call::Status, [Fault::Expire, Fault::status(500)]);
    rig.send(place.as_ref(), "a.tar", &bytes).await.unwrap();
    assert_eq!(rig.archives(), ["a.tar"]);
    assert!(rig.drive.received() < 14 * PART as u64);
}

#[tokio::test]
async fn a_server_that_says_nothing_is_not_waited_for_for_ever() {
    let rig = Rig::new();
    let place = rig.place().await;
    let upload = begin(place.as_ref(), "a.tar").await;
    rig.drive.script(Call::Chunk, [Fault::Silent]);
    let bytes = archive(PART);
    let part = &parts(&bytes, PART)[0];
    passing(upload.put(part).await.unwrap_err().kind());
    upload.put(part).await.unwrap();
    upload.commit(&completed(&bytes)).await.unwrap();
}

#[tokio::test]
async fn a_session_that_vanished_is_lost() {
    let rig = Rig::new();
    let place = rig.place().await;
    for status in [404, 410] {
        let upload = begin(place.as_ref(), "a.tar").await;
        let bytes = archive(3 * PART);
        let parts = parts(&bytes, PART);
        upload.put(&parts[0]).await.unwrap();
        rig.drive.script(Call::Chunk, [Fault::Vanish(status)]);
        let error = upload.put(&parts[1]).await.unwrap_err();
        assert_eq!(error.kind(), Some(Kind::Lost), "{error}");
        rig.keeps_its_secrets(&error);
        upload.abort().await.unwrap();
    }
    rig.is_clean();
}

#[tokio::test]
async fn more_bytes_kept_than_were_sent_is_no_drive() {
    let rig = Rig::new();
    let place = rig.place().await;
    let upload = begin(place.as_ref(), "a.tar").await;
    rig.drive.script(Call::Chunk, [Fault::Boast(5 * PART as u64)]);
    let error = upload.put(&parts(&archive(2 * PART), PART)[0]).await.unwrap_err();
    assert_eq!(error.kind(), Some(Kind::Protocol));
}

#[tokio::test]
async fn bytes_that_were_kept_and_are_not_any_more_are_lost() {
    let rig = Rig::new();
    let place = rig.place().await;
    let upload = begin(place.as_ref(), "a.tar").await;
    let bytes = archive(6 * PART);
    let parts = parts(&bytes, 2 * PART);
    upload.put(&parts[0]).await.unwrap();
    rig.drive.script(Call::Chunk, [Fault::Boast(PART as u64)]);
    assert_eq!(upload.put(&parts[1]).await.unwrap_err().kind(), Some(Kind::Lost));
}

#[tokio::test]
async fn what_can_not_fit_is_not_begun() {
    let rig = Rig::new();
    let place = rig.place().await;
    rig.drive.set_quota(Some(10_000_000), 9_000_000);
    for expected in [
        Expected { least: Some(1_500_000), ..Expected::default() },
        Expected { exact: Some(1_500_000), ..Expected::default() },
    ] {
        let error = place.create("a.tar", expected).await.err().unwrap();
        assert_eq!(error.kind(), Some(Kind::Full { missing: Some(500_000) }));
        assert_eq!(
            error.to_string(),
            "could not create a file in gdrive://Backups: it needs 0.5 MB more than are free"
        );
    }
    assert_eq!(rig.drive.count(Call::Start), 0);
    assert_eq!(place.space().await.unwrap(), Some(1_000_000));
    rig.drive.set_quota(None, 9_000_000);
    place.create("a.tar", Expected { least: Some(u64::MAX), ..Expected::default() }).await.map(drop).unwrap();
    assert_eq!(place.space().await.unwrap(), None);
}

#[tokio::test]
async fn storage_that_fills_up_meanwhile_stops_at_once_and_says_how_much_is_missing() {
    let rig = Rig::new();
    let place = rig.place().await;
    let upload = place.create("a.tar", Expected { least: Some(4 * PART as u64), ..Expected::default() }).await.unwrap();
    rig.drive.set_quota(Some(PART as u64), 0);
    let error = upload.put(&parts(&archive(4 * PART), 2 * PART)[0]).await.unwrap_err();
    assert_eq!(error.kind(), Some(Kind::Full { missing: Some(3 * PART as u64) }));
    upload.abort().await.unwrap();
    rig.is_clean();
}

#[tokio::test]
async fn what_arrived_differently_is_removed() {
    let rig = Rig::new();
    let place = rig.place().await;
    rig.drive.script(Call::Chunk, [Fault::Corrupt]);
    let error = rig.send(place.as_ref(), "a.tar", &archive(3 * PART)).await.unwrap_err();
    assert_eq!(error.kind(), Some(Kind::Mismatch));
    assert_eq!(rig.archives(), Vec::<String>::new());
    rig.is_clean();
}

#[tokio::test]
async fn too_few_bytes_are_a_mismatch_too() {
    let rig = Rig::new();
    let place = rig.place().await;
    let bytes = archive(2 * PART);
    let upload = begin(place.as_ref(), "a.tar").await;
    upload.put(&parts(&bytes, PART)[0]).await.unwrap();
    assert_eq!(upload.commit(&completed(&bytes)).await.unwrap_err().kind(), Some(Kind::Mismatch));
    assert_eq!(rig.archives(), Vec::<String>::new());
    rig.is_clean();
}

#[tokio::test]
async fn completing_is_asked_again_after_every_answer_that_was_lost() {
    let rig = Rig::new();
    let place = rig.place().await;
    let bytes = archive(PART);
    let upload = begin(place.as_ref(), "a.tar").await;
    upload.put(&parts(&bytes, PART)[0]).await.unwrap();
    rig.drive.script(Call::Update, [Fault::Unanswered]);
    passing(upload.commit(&completed(&bytes)).await.unwrap_err().kind());
    assert_eq!(rig.archives(), ["a.tar"]);
    assert_eq!(upload.commit(&completed(&bytes)).await.unwrap(), Checked::Checksum);
    assert_eq!(upload.commit(&completed(&bytes)).await.unwrap(), Checked::Checksum);
    upload.abort().await.unwrap();
    assert_eq!(rig.archives(), ["a.tar"]);
}

#[tokio::test]
async fn who_gives_up_after_an_answer_that_was_lost_leaves_nothing() {
    let rig = Rig::new();
    let place = rig.place().await;
    let bytes = archive(PART);
    // The last part arrived, and nobody heard of it.
    let upload = begin(place.as_ref(), "a.tar").await;
    rig.drive.script(Call::Chunk, [Fault::Unanswered]);
    passing(upload.put(&parts(&bytes, PART)[0]).await.unwrap_err().kind());
    assert_eq!(rig.archives().len(), 1);
    upload.abort().await.unwrap();
    upload.abort().await.unwrap();
    assert_eq!(rig.archives(), Vec::<String>::new());
    // The name was given, and nobody heard of it.
    let upload = begin(place.as_ref(), "a.tar").await;
    upload.put(&parts(&bytes, PART)[0]).await.unwrap();
    rig.drive.script(Call::Update, [Fault::Unanswered]);
    passing(upload.commit(&completed(&bytes)).await.unwrap_err().kind());
    upload.abort().await.unwrap();
    assert_eq!(rig.archives(), Vec::<String>::new());
    rig.is_clean();
}

#[tokio::test]
async fn a_name_that_is_taken_meanwhile_is_not_given_twice() {
    let rig = Rig::new();
    let place = rig.place().await;
    let bytes = archive(PART);
    let late = begin(place.as_ref(), "a.tar").await;
    late.put(&parts(&bytes, PART)[0]).await.unwrap();
    rig.send(place.as_ref(), "a.tar", &archive(9)).await.unwrap();
    assert_eq!(late.commit(&completed(&bytes)).await.unwrap_err().kind(), Some(Kind::Exists));
    late.abort().await.unwrap();
    assert_eq!(rig.archives(), ["a.tar"]);
    assert_eq!(place.create("a.tar", Expected::default()).await.err().unwrap().kind(), Some(Kind::Exists));
    rig.is_clean();
}

fn remembered(upload: &dyn Upload) -> Session {
    let text = serde_json::to_string(&upload.session().unwrap()).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn another_process_continues_where_the_session_stands() {
    let rig = Rig::new();
    let bytes = archive(4 * PART);
    let parts = parts(&bytes, PART);
    let session = {
        let place = rig.place().await;
        let upload = place
            .create("a.tar", Expected { resumable: true, exact: Some(bytes.len() as u64), ..Expected::default() })
            .await
            .unwrap();
        upload.put(&parts[0]).await.unwrap();
        rig.drive.script(Call::Chunk, [Fault::Unanswered]);
        passing(upload.put(&parts[1]).await.unwrap_err().kind());
        remembered(upload.as_ref())
    };
    let place = rig.place().await;
    let upload = place.resume(&session).await.unwrap().unwrap();
    assert_eq!(upload.kept().as_slice(), std::slice::from_ref(&(0..2 * PART as u64)));
    for part in &parts[2..] {
        upload.put(part).await.unwrap();
    }
    // Killed between the last byte and the name: the next one finds the file, and sweeping has spared it.
    let session = remembered(upload.as_ref());
    drop(upload);
    assert_eq!(place.remove_abandoned().await.unwrap(), 0);
    for forgotten in [false, true] {
        if forgotten {
            rig.drive.forget_sessions();
        }
        let upload = place.resume(&session).await.unwrap().unwrap();
        assert_eq!(upload.kept().as_slice(), std::slice::from_ref(&(0..bytes.len() as u64)));
        if forgotten {
            assert_eq!(upload.commit(&completed(&bytes)).await.unwrap(), Checked::Checksum);
        }
    }
    assert_eq!(rig.archives(), ["a.tar"]);
    assert_eq!(rig.drive.received(), bytes.len() as u64);
    assert!(place.resume(&session).await.unwrap().is_none());
    assert!(place.resume(&Session(serde_json::json!({ "session": 5 }))).await.unwrap().is_none());
}
