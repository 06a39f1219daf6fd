//! Buckets at two real S3 servers: the contract, and what a killed run, a lost answer or a wrong key does.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod object_common;

use object_common::{Claims, Setup, broken, connect, put_all, small_parts, upload};
use store::{Checked, Completed, Expected, Kind};
use testkit::{
    moto::Moto,
    proxy::{Answer, Head, Proxy, Rule},
    s3::S3Server,
};

fn on_s3s() -> (S3Server, Setup) {
    let server = S3Server::start(&["backups"]).unwrap();
    let setup = Setup::s3(&server.url());
    (server, setup)
}

fn on_moto() -> Option<(Moto, Setup)> {
    let server = Moto::start(&["backups"]).unwrap()?;
    let setup = Setup::s3(&server.url());
    Some((server, setup))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_s3_bucket_keeps_the_contract() {
    let (server, setup) = on_s3s();
    let store = connect(&setup, "s3://backups/home/assistant").await.unwrap();
    assert_eq!(broken(&*store).await, Vec::<String>::new());
    assert_eq!((server.unfinished(), server.keys("backups")), (0, Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_s3_server_keeps_the_contract() {
    let Some((server, setup)) = on_moto() else { return };
    let store = connect(&setup, "s3://backups").await.unwrap();
    assert_eq!(broken(&*store).await, Vec::<String>::new());
    assert_eq!(server.unfinished("backups").unwrap(), 0);
    assert!(!server.ask("GET", "/backups").unwrap().contains("<Key>"));
}

/// A default retention: what is there can be hidden and not removed, and every request must bear a checksum.
#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_with_object_lock_keeps_the_contract_and_its_versions() {
    let Some((server, _)) = on_moto() else { return };
    server.make_locked("locked").unwrap();
    let proxy = Proxy::http(server.address()).unwrap();
    let bare = |head: &Head| {
        let has_sum = head.header("content-md5").is_some()
            || head.headers.iter().any(|(name, _)| name.starts_with("x-amz-checksum-"));
        head.method == "PUT" && !has_sum
    };
    let refusal = "<Error><Code>InvalidRequest</Code><Message>Content-MD5 OR x-amz-checksum- HTTP header is \
        required</Message></Error>";
    proxy.rule(
        Rule::when(bare).always().answer(Answer::new(400).header("content-type", "application/xml").body(refusal)),
    );
    let store = connect(&Setup::s3(&proxy.url()), "s3://locked/home").await.unwrap();
    assert_eq!(broken(&*store).await, Vec::<String>::new());
    let remarks = store.remarks().await;
    assert!(remarks.iter().any(|remark| remark.contains("keeps versions")), "{remarks:?}");
    // Nothing is to be seen any more, and all of it is there.
    assert!(store.list().await.unwrap().is_empty());
    assert!(server.ask("GET", "/locked?versions").unwrap().contains("<Version>"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_part_may_come_last_and_all_parts_are_compared() {
    let (server, setup) = on_s3s();
    let store = connect(&setup, "s3://backups/a").await.unwrap();
    let (parts, bytes) = small_parts(3, 6 << 20);
    let upload = store.create("late.tar", Expected::default()).await.unwrap();
    for index in [2, 1, 0] {
        upload.put(&parts[index]).await.unwrap();
        assert_eq!(store.entry("late.tar").await.unwrap(), None);
    }
    let checked = upload.commit(&Completed { length: bytes.len() as u64, parts: 3, md5: None }).await.unwrap();
    assert_eq!(checked, Checked::PartChecksums);
    assert_eq!(store.read("late.tar", 0..bytes.len() as u64).await.unwrap(), bytes);
    assert_eq!(server.keys("backups"), ["a/late.tar"]);
}

/// Without encryption the signature is all that binds a part's bytes to the request; one hash of them has to do.
#[tokio::test(flavor = "multi_thread")]
async fn a_part_is_signed_by_the_checksum_that_names_it() {
    let (server, _) = on_s3s();
    let proxy = Proxy::http(server.address()).unwrap();
    let store = connect(&Setup::s3(&proxy.url()), "s3://backups/a b").await.unwrap();
    upload(&*store, "one+two.tar").await;
    let requests = proxy.requests();
    let puts: Vec<_> = requests.iter().filter(|seen| seen.head.target.contains("partNumber=")).collect();
    assert!(!puts.is_empty());
    for put in puts {
        assert!(put.head.header("content-md5").is_some());
        let signed = put.head.header("authorization").unwrap().split("SignedHeaders=").nth(1).unwrap();
        assert!(signed.starts_with("content-md5;host;"), "{signed}");
        assert_eq!(put.head.header("x-amz-content-sha256"), Some("UNSIGNED-PAYLOAD"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_keys_and_missing_buckets_are_distinguished() {
    let (_server, setup) = on_s3s();
    let refused = async |setup: &Setup, address: &str| connect(setup, address).await.err().unwrap();
    let error = refused(&setup.with("secret", "wrong"), "s3://backups").await;
    assert_eq!(error.kind(), Some(Kind::Credentials), "{error}");
    let error = refused(&setup, "s3://elsewhere").await;
    assert_eq!(error.kind(), Some(Kind::NotFound), "{error}");
    let error = refused(&setup.without_keys(), "s3://backups").await;
    assert_eq!(error.kind(), Some(Kind::Credentials), "{error}");
    assert_eq!(error.to_string(), "could not connect to s3://backups: no access key was found");
    let error = refused(&setup.with("endpoint", "http://192.0.2.1"), "s3://backups").await;
    assert_eq!(error.kind(), Some(Kind::Invalid), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_may_come_from_a_profile() {
    let (_server, setup) = on_s3s();
    let setup = setup.with_profile("nas");
    connect(&setup, "s3://backups").await.unwrap();
    let error = connect(&setup.with("profile", "other"), "s3://backups").await.err().unwrap();
    assert!(error.to_string().contains("there is no profile other"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_process_left_is_swept_and_what_lives_is_not() {
    let (server, setup) = on_s3s();
    let store = connect(&setup, "s3://backups/a").await.unwrap();
    let (parts, _) = small_parts(2, 6 << 20);
    let living = store.create("living.tar", Expected::default()).await.unwrap();
    let orphan = store.create("orphan.tar", Expected::default()).await.unwrap();
    living.put(&parts[0]).await.unwrap();
    orphan.put(&parts[0]).await.unwrap();
    let before = server.unfinished();
    // The claim says who: as if by a process that is gone.
    server.rename_claim("backups", "orphan.tar");
    assert_eq!(store.remove_abandoned().await.unwrap(), 1);
    assert!(server.unfinished() < before);
    assert_eq!(server.keys("backups").len(), 1);
    assert_eq!(store.remove_abandoned().await.unwrap(), 0);
    put_all(&*living, &parts).await;
    living.commit(&Completed { length: 12 << 20, parts: 2, md5: None }).await.unwrap();
    assert_eq!(server.unfinished(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_gone_is_lost() {
    let Some((server, setup)) = on_moto() else { return };
    let store = connect(&setup, "s3://backups").await.unwrap();
    let (parts, bytes) = small_parts(2, 5 << 20);
    let upload = store.create("gone.tar", Expected { resumable: true, ..Expected::default() }).await.unwrap();
    put_all(&*upload, &parts).await;
    let session = upload.session().unwrap();
    let id = session.0["upload_id"].as_str().unwrap().to_owned();
    server.ask("DELETE", &format!("/backups/gone.tar?uploadId={id}")).unwrap();
    let error = upload.commit(&Completed { length: bytes.len() as u64, parts: 2, md5: None }).await.unwrap_err();
    // This server answers 500 where the real one says NoSuchUpload.
    assert!(matches!(error.kind(), Some(Kind::Lost | Kind::Transient { .. })), "{error}");
    assert_eq!(store.list().await.unwrap(), []);
    assert!(store.resume(&session).await.unwrap().is_none());
    upload.abort().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_was_lost_finds_its_own_object() {
    let Some((server, setup)) = on_moto() else { return };
    let store = connect(&setup, "s3://backups").await.unwrap();
    let (parts, bytes) = small_parts(2, 5 << 20);
    let completed = Completed { length: bytes.len() as u64, parts: 2, md5: None };
    let first = store.create("twice.tar", Expected { resumable: true, ..Expected::default() }).await.unwrap();
    put_all(&*first, &parts).await;
    // A second handle on the same upload stands for the process that did not hear the answer.
    let second = store.resume(&first.session().unwrap()).await.unwrap().unwrap();
    assert_eq!(first.commit(&completed).await.unwrap(), Checked::PartChecksums);
    assert_eq!(second.commit(&completed).await.unwrap(), Checked::PartChecksums);
    assert_eq!(store.entry("twice.tar").await.unwrap().unwrap().size, bytes.len() as u64);
    assert_eq!(server.unfinished("backups").unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_below_the_smallest_size_are_refused_by_the_server_and_nothing_appears() {
    let Some((_server, setup)) = on_moto() else { return };
    let store = connect(&setup, "s3://backups").await.unwrap();
    let (parts, bytes) = small_parts(2, 1 << 20);
    let upload = store.create("small.tar", Expected::default()).await.unwrap();
    put_all(&*upload, &parts).await;
    let error = upload.commit(&Completed { length: bytes.len() as u64, parts: 2, md5: None }).await.unwrap_err();
    assert_eq!(error.kind(), Some(Kind::Protocol), "{error}");
    upload.abort().await.unwrap();
    assert_eq!(store.list().await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn others_objects_and_folders_are_left_alone() {
    let (server, setup) = on_s3s();
    let store = connect(&setup, "s3://backups/mine").await.unwrap();
    upload(&*store, "one.tar").await;
    let root = connect(&setup, "s3://backups").await.unwrap();
    assert_eq!(root.list().await.unwrap(), []);
    let names: Vec<String> = store.list().await.unwrap().into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, ["one.tar"]);
    store.delete("one.tar").await.unwrap();
    store.delete("one.tar").await.unwrap();
    assert_eq!(server.keys("backups"), Vec::<String>::new());
}
