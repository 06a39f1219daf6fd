//! What other buckets do: keys that may not delete, Object Lock, versions, few parts, lagging lists, lost metadata,
//! pages of HTML. A real S3 server, and in front of it a proxy that answers some requests itself.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod object_common;

use std::{collections::BTreeSet, time::Duration};

use object_common::{Setup, broken, connect, connect_with, put_all, small_parts, upload};
use store::{
    Checked, Completed, Context, Expected, Kind, Placement, Store, StoreError, Tuning, Upload,
    contract::{self, ContractOptions, Outcome},
    retry::RetryPolicy,
};
use testkit::{
    proxy::{Answer, Head, Proxy, Rule},
    s3::S3Server,
};

const PLACE: &str = "s3://backups/home";

struct Bucket {
    server: S3Server,
    proxy: Proxy,
}

impl Bucket {
    fn new() -> Self {
        let server = S3Server::start(&["backups"]).unwrap();
        let proxy = Proxy::http(server.address()).unwrap();
        Self { server, proxy }
    }

    async fn store(&self) -> std::sync::Arc<dyn Store> {
        connect(&Setup::s3(&self.proxy.url()), PLACE).await.unwrap()
    }

    /// The bucket's keys, claims apart: `archives`, `claims`.
    fn keys(&self) -> (Vec<String>, usize) {
        let keys = self.server.keys("backups");
        let is_claim = |key: &&String| store::owner::is_temporary(key.rsplit('/').next().unwrap());
        let claims = keys.iter().filter(is_claim).count();
        (keys.iter().filter(|key| !is_claim(key)).cloned().collect(), claims)
    }

    fn count(&self, wants: impl Fn(&Head) -> bool) -> usize {
        self.proxy.requests().iter().filter(|seen| wants(&seen.head)).count()
    }
}

fn refusal(status: u16, code: &str, message: &str) -> Answer {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    );
    Answer::new(status).header("content-type", "application/xml").body(&body)
}

fn page() -> Answer {
    Answer::new(200)
        .header("content-type", "text/html")
        .body("<!DOCTYPE html>\n<html><title>Log in to the network</title></html>")
}

fn deletes(head: &Head) -> bool {
    head.method == "DELETE" && !head.target.contains("uploadId=")
}

fn completes(head: &Head) -> bool {
    head.method == "POST" && head.target.contains("uploadId=")
}

fn looks_at_archive(head: &Head) -> bool {
    head.method == "HEAD" && head.target.contains(".tar")
}

/// Commits as the callers do: again and again while it may pass.
async fn commit(upload: &dyn Upload, completed: &Completed) -> Result<Checked, StoreError> {
    let tuning =
        Tuning { first_pause: Duration::from_millis(5), longest_pause: Duration::from_millis(20), ..Tuning::default() };
    let context = Context::new(tuning, "/nonexistent".into(), store::Cancellation::default()).unwrap();
    RetryPolicy::new(&context).retry(|| upload.commit(completed)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_put_bears_a_checksum() {
    let bucket = Bucket::new();
    // As buckets with Object Lock answer.
    let bare = |head: &Head| head.method == "PUT" && head.header("content-md5").is_none();
    bucket.proxy.rule(Rule::when(bare).always().answer(refusal(
        400,
        "InvalidRequest",
        "Content-MD5 OR x-amz-checksum- HTTP header is required",
    )));
    let store = bucket.store().await;
    upload(&*store, "locked.tar").await;
    assert_eq!(bucket.keys(), (vec!["home/locked.tar".to_owned()], 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_is_written_once() {
    let bucket = Bucket::new();
    upload(&*bucket.store().await, "one.tar").await;
    let is_claim = |head: &Head| head.target.contains(".part");
    assert_eq!(bucket.count(|head| is_claim(head) && head.method == "PUT"), 1);
    assert_eq!(bucket.count(|head| is_claim(head) && head.method == "DELETE"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_may_not_delete_stores_archives_all_the_same() {
    let bucket = Bucket::new();
    bucket.proxy.rule(Rule::when(deletes).always().answer(refusal(403, "AccessDenied", "Access Denied")));
    let store = bucket.store().await;
    assert_eq!(store.notes(), Vec::<String>::new());
    upload(&*store, "first.tar").await;
    assert!(store.notes()[0].contains("may not delete"), "{:?}", store.notes());
    // From here on it is known, and no more claims are made.
    upload(&*store, "second.tar").await;
    let (archives, claims) = bucket.keys();
    assert_eq!((archives.len(), claims), (2, 1));
    let names: BTreeSet<String> = store.list().await.unwrap().into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, ["first.tar", "second.tar"].map(str::to_owned).into(), "what stays is not shown");
    // An upload without a claim goes on as well.
    let (parts, bytes) = small_parts(2, 5 << 20);
    let begun = store.create("third.tar", Expected { resumable: true, ..Expected::default() }).await.unwrap();
    begun.put(&parts[0]).await.unwrap();
    let resumed = store.resume(&begun.session().unwrap()).await.unwrap().unwrap();
    put_all(&*resumed, &parts).await;
    resumed.commit(&Completed { length: bytes.len() as u64, parts: 2, md5: None }).await.unwrap();
    assert_eq!(bucket.keys().1, 1);
    // Whoever asks to remove something learns that it can't be removed.
    assert_eq!(store.delete("first.tar").await.unwrap_err().kind(), Some(Kind::Permission));
}

/// The suite learns it at the first archive, and leaves that one only.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_may_not_delete_keeps_the_contract_and_one_archive_stays() {
    let bucket = Bucket::new();
    bucket.proxy.rule(Rule::when(|head| head.method == "DELETE").always().answer(refusal(
        403,
        "AccessDenied",
        "Access Denied",
    )));
    let store = bucket.store().await;
    let report = contract::check(
        &*store,
        &ContractOptions { settle: Duration::ZERO, ..ContractOptions::default() },
        &mut |_| {},
    )
    .await;
    let broken: Vec<_> = report.findings.iter().filter(|finding| !finding.is_fine()).collect();
    assert!(broken.is_empty(), "{broken:#?}");
    let kept = report.findings.iter().filter(|finding| finding.outcome == Outcome::Kept).count();
    assert!(kept >= 5, "{report:#?}");
    let (archives, claims) = bucket.keys();
    assert_eq!(archives, [format!("home/{}", report.stays.unwrap())]);
    assert!(claims <= 1);
    assert!(store.append_only());
}

/// The body ends early although all of it came, as from a server that could not go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_cut_is_no_list() {
    let bucket = Bucket::new();
    let store = bucket.store().await;
    upload(&*store, "one.tar").await;
    upload(&*store, "two.tar").await;
    let item = "<Contents><Key>home/one.tar</Key><LastModified>2026-11-01T00:00:00.000Z</LastModified><ETag>&quot;a&quot;</ETag><Size>1</Size></Contents>";
    let whole =
        format!("<?xml version=\"1.0\"?><ListBucketResult><Name>backups</Name><IsTruncated>false</IsTruncated>{item}");
    for body in ["", "<?xml version=\"1.0\"?>", &whole, &format!("{whole}<Contents><Key>home/tw")] {
        let cut = Answer::new(200).header("content-type", "application/xml").body(body);
        bucket
            .proxy
            .rule(Rule::when(|head| head.method == "GET" && head.target.contains("list-type")).times(2).answer(cut));
        assert!(store.list().await.is_err(), "{body}");
        assert!(store.remove_abandoned().await.is_err(), "{body}");
    }
    assert_eq!(store.list().await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_keeps_versions_is_reported() {
    let bucket = Bucket::new();
    let store = bucket.store().await;
    let asks = |head: &Head| head.target.contains("versioning");
    let status = "<VersioningConfiguration \
        xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Status>Enabled</Status></VersioningConfiguration>";
    bucket.proxy.rule(Rule::when(asks).answer(Answer::new(200).header("content-type", "application/xml").body(status)));
    let remarks = store.remarks().await;
    assert!(remarks.len() == 1 && remarks[0].contains("NoncurrentVersionExpiration"), "{remarks:?}");
    // Says no, does not know, breaks: then there is nothing to tell.
    for answer in [refusal(403, "AccessDenied", ""), refusal(501, "NotImplemented", ""), page(), Answer::new(503)] {
        bucket.proxy.rule(Rule::when(asks).answer(answer));
        assert_eq!(store.remarks().await, Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_few_parts_is_recognised() {
    let bucket = Bucket::new();
    let most = async |setup: &Setup| match connect(setup, PLACE).await.unwrap().abilities().placement {
        Placement::Parts(rules) => rules.most,
        other => panic!("{other:?}"),
    };
    assert_eq!(most(&Setup::s3(&bucket.proxy.url())).await, 10_000);
    assert_eq!(most(&Setup::s3(&bucket.proxy.url()).with("max_parts", "1000")).await, 1000);
    let error = connect(&Setup::s3(&bucket.proxy.url()).with("max_parts", "many"), PLACE).await.err().unwrap();
    assert_eq!(error.kind(), Some(Kind::Invalid), "{error}");
    // One that is not known for it says so at the first part that is too many.
    let store = bucket.store().await;
    let upload = store.create("large.tar", Expected::default()).await.unwrap();
    let many = refusal(400, "InvalidArgument", "Part number must be an integer between 1 and 1000, inclusive");
    bucket.proxy.rule(Rule::when(|head| head.target.contains("partNumber=")).answer(many));
    let StoreError::Remote(error) = upload.put(&small_parts(1, 1000).0[0]).await.unwrap_err() else { panic!() };
    assert_eq!(error.kind, Kind::Protocol);
    assert!(error.advice.as_ref().unwrap().contains("max_parts = 1000"), "{error:?}");
}

/// What answers is not S3: each request in turn is answered by a page.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_html_is_never_taken_for_an_answer() {
    let bucket = Bucket::new();
    let setup = Setup::s3(&bucket.proxy.url());
    bucket.proxy.rule(Rule::when(|_| true).answer(page()));
    let error = connect(&setup, PLACE).await.err().unwrap();
    assert_eq!(error.kind(), Some(Kind::Protocol));
    assert_eq!(error.to_string(), format!("could not connect to {PLACE}: what answers there is not S3"));
    let store = bucket.store().await;
    upload(&*store, "there.tar").await;
    let answered = |rule: Rule| bucket.proxy.rule(rule.answer(page()));
    answered(Rule::when(|_| true));
    assert_eq!(store.list().await.unwrap_err().kind(), Some(Kind::Protocol));
    answered(Rule::when(|_| true));
    assert_eq!(store.entry("there.tar").await.unwrap_err().kind(), Some(Kind::Protocol));
    answered(Rule::when(|_| true));
    assert!(store.read("there.tar", 0..10).await.is_err());
    answered(Rule::when(|_| true));
    assert!(store.delete("there.tar").await.is_err());
    answered(Rule::when(|_| true));
    assert!(store.create("new.tar", Expected::default()).await.is_err());
    assert_eq!(bucket.keys().0, ["home/there.tar"]);
}

/// The store has put the archive together and said so, and does not show it yet.
#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_is_shown_late_is_looked_for_and_not_sent_again() {
    for lag in [1, 4, u32::MAX] {
        let bucket = Bucket::new();
        let store = bucket.store().await;
        let (parts, bytes) = small_parts(2, 5 << 20);
        let upload = store.create("late.tar", Expected::default()).await.unwrap();
        put_all(&*upload, &parts).await;
        // The look before the archive is put together finds nothing anyway.
        bucket.proxy.rule(Rule::when(looks_at_archive).times(lag).answer(Answer::new(404)));
        let checked = commit(&*upload, &Completed { length: bytes.len() as u64, parts: 2, md5: None }).await.unwrap();
        assert_eq!(checked, Checked::PartChecksums, "after {lag} looks");
        assert_eq!((bucket.count(completes), bucket.count(|head| head.target.contains("partNumber="))), (1, 2));
        assert_eq!(bucket.keys(), (vec!["home/late.tar".to_owned()], 0));
    }
}

/// The answer to the last request was lost, and the store shows the archive only later: its upload is gone, and that is
/// no reason to send it again.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_and_a_late_look_do_not_send_an_archive_twice() {
    let bucket = Bucket::new();
    let store = bucket.store().await;
    let (parts, bytes) = small_parts(2, 5 << 20);
    let upload = store.create("late.tar", Expected::default()).await.unwrap();
    put_all(&*upload, &parts).await;
    bucket.proxy.rule(Rule::when(completes).lose_answer(testkit::proxy::Death::Reset));
    bucket.proxy.rule(Rule::when(completes).always().answer(refusal(
        404,
        "NoSuchUpload",
        "The specified upload does not exist.",
    )));
    bucket.proxy.rule(Rule::when(looks_at_archive).times(4).answer(Answer::new(404)));
    let checked = commit(&*upload, &Completed { length: bytes.len() as u64, parts: 2, md5: None }).await.unwrap();
    assert_eq!(checked, Checked::PartChecksums);
    assert_eq!(bucket.count(|head| head.target.contains("partNumber=")), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_loses_metadata_keeps_the_archive() {
    let bucket = Bucket::new();
    let store = bucket.store().await;
    let (parts, bytes) = small_parts(1, 1000);
    let upload = store.create("bare.tar", Expected::default()).await.unwrap();
    put_all(&*upload, &parts).await;
    let bare = Answer::new(200)
        .body(&"x".repeat(1000))
        .header("etag", "\"opaque\"")
        .header("last-modified", "Wed, 21 Oct 2015 07:28:00 GMT");
    bucket.proxy.rule(Rule::when(looks_at_archive).after(1).always().answer(bare));
    assert!(upload.commit(&Completed { length: bytes.len() as u64, parts: 1, md5: None }).await.is_ok());
    assert_eq!(bucket.keys(), (vec!["home/bare.tar".to_owned()], 0));
}

/// Each request that an upload makes × what may come back: it ends well or with a reason, and leaves nothing that the
/// next run does not know.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_request_fails_nothing_is_left_under_the_name() {
    type Wants = fn(&Head) -> bool;
    let requests: &[(&str, Wants)] = &[
        ("look", looks_at_archive),
        ("begin", |head| head.method == "POST" && head.target.contains("uploads")),
        ("claim", |head| head.method == "PUT" && head.target.contains(".part")),
        ("part", |head| head.target.contains("partNumber=")),
        ("complete", completes),
    ];
    let answers = || {
        [
            Answer::new(403),
            refusal(500, "InternalError", ""),
            refusal(403, "AccessDenied", "storage cap exceeded"),
            page(),
            Answer::new(200).body("cut"),
        ]
    };
    for (name, wants) in requests {
        for answer in answers() {
            let bucket = Bucket::new();
            let store = connect_with(&Setup::s3(&bucket.proxy.url()), PLACE, Duration::from_secs(5)).await.unwrap();
            bucket.proxy.rule(Rule::when(*wants).always().answer(answer.clone()));
            let (parts, bytes) = small_parts(1, 1000);
            let outcome = async {
                let upload = store.create("x.tar", Expected::default()).await?;
                let sent = async {
                    upload.put(&parts[0]).await?;
                    upload.commit(&Completed { length: bytes.len() as u64, parts: 1, md5: None }).await
                };
                let sent = sent.await;
                if sent.is_err() {
                    let _ = upload.abort().await;
                }
                sent
            };
            let outcome = outcome.await;
            let (archives, _) = bucket.keys();
            assert!(outcome.is_err() || archives == ["home/x.tar"], "{name} {answer:?}: {outcome:?}");
            assert!(outcome.is_ok() || archives.is_empty(), "{name} {answer:?}: {archives:?}");
        }
    }
}

#[test]
fn a_cap_that_is_used_up_is_distinguished_from_missing_rights() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let bucket = Bucket::new();
        let store = bucket.store().await;
        let begins = |head: &Head| head.method == "POST" && head.target.contains("uploads");
        let cap = "Cannot upload files, storage cap exceeded. See the Caps &amp; Alerts page to increase your cap.";
        bucket.proxy.rule(Rule::when(begins).answer(refusal(403, "AccessDenied", cap)));
        let Some(StoreError::Remote(error)) = store.create("x.tar", Expected::default()).await.err() else { panic!() };
        assert!(
            matches!(error.kind, Kind::Full { .. }) && error.advice.as_ref().unwrap().contains("Caps & Alerts"),
            "{error:?}"
        );
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_behind_the_proxy_keeps_the_contract() {
    let bucket = Bucket::new();
    assert_eq!(broken(&*bucket.store().await).await, Vec::<String>::new());
}
