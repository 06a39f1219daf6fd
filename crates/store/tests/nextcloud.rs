//! Nextcloud's chunked upload, against a fake that refuses what the real one refuses.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use store::{
    Address, Cancellation, Checked, Completed, Context, Expected, Kind, Options, Part, Placement, Segments, Session,
    Store, StoreError, Tuning,
    contract::{self, ContractOptions},
    parts::Activity,
    retry::RetryPolicy,
};
use testkit::nextcloud::{MAIL, Nextcloud, PASSWORD, Trouble, USER};

async fn connect(url: &str, user: &str, password: &str) -> Result<Arc<dyn Store>, StoreError> {
    connect_within(Tuning::default().stall, url, user, password).await
}

async fn connect_within(stall: Duration, url: &str, user: &str, password: &str) -> Result<Arc<dyn Store>, StoreError> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut context =
        Context::new(Tuning { stall, ..Tuning::default() }, "/nonexistent".into(), Cancellation::default()).unwrap();
    let (user, password) = (user.to_owned(), password.to_owned());
    context.environment = Arc::new(move |name| match name {
        "HAUL_NEXTCLOUD_USER" => Some(user.clone()).filter(|user| !user.is_empty()),
        "HAUL_NEXTCLOUD_PASSWORD" => Some(password.clone()).filter(|password| !password.is_empty()),
        _ => None,
    });
    store::connect(&Address::parse(url).unwrap(), &Options::new(BTreeMap::new()), &context).await
}

async fn fake(base: &str) -> (Nextcloud, Arc<dyn Store>) {
    let server = Nextcloud::start(base).await.unwrap();
    let store = connect(&format!("nextcloud://{}{base}/Backups", server.authority()), USER, PASSWORD).await.unwrap();
    (server, store)
}

fn path(name: &str) -> String {
    format!("/files/{USER}/Backups/{name}")
}

fn transfers(server: &Nextcloud) -> Vec<String> {
    let root = format!("/uploads/{USER}/");
    server.paths().into_iter().filter(|path| path.len() > root.len() && path.starts_with(&root)).collect()
}

const CHUNK: u64 = 5 << 20;

/// The first of two parts is as small as the server permits.
fn parts() -> [Part; 2] {
    let part = |index: u32, offset: u64, data: Bytes| {
        let last = index == 1;
        Part {
            index,
            offset,
            data: Segments::from(data),
            total: last.then_some(CHUNK + 3),
            last,
            activity: Activity::default(),
        }
    };
    [part(0, 0, vec![7; CHUNK as usize].into()), part(1, CHUNK, Bytes::from_static(b"end"))]
}

fn completed() -> Completed {
    Completed { length: CHUNK + 3, parts: 2, md5: None }
}

fn kind<T>(result: Result<T, StoreError>) -> Kind {
    result.err().expect("it should have failed").kind().expect("of a kind")
}

fn advice(error: &StoreError) -> String {
    match error {
        StoreError::Remote(error) => error.advice.clone().unwrap_or_default(),
        _ => String::new(),
    }
}

fn holds(server: &Nextcloud, name: &str) {
    let file = server.file(&path(name)).expect("the file is there");
    assert!(file.len() as u64 == CHUNK + 3 && file.ends_with(b"end"));
    assert_eq!(transfers(server), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nextcloud_keeps_the_contract() {
    let (server, store) = fake("").await;
    assert!(matches!(store.abilities().placement, Placement::Parts(_)));
    let findings =
        contract::check(&*store, &ContractOptions::default(), &mut |finding| eprintln!("{finding:?}")).await.findings;
    let broken: Vec<_> = findings.into_iter().filter(|finding| !finding.is_fine()).collect();
    assert!(broken.is_empty(), "{broken:#?}");
    assert_eq!(transfers(&server), Vec::<String>::new());
    assert!(server.paths().iter().all(|path| !path.contains(".tar")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nextcloud_below_a_path_is_found() {
    let (server, store) = fake("/cloud/next").await;
    assert!(server.paths().contains(&path("")));
    let upload = store.create("a b.tar", Expected::default()).await.unwrap();
    let [first, second] = parts();
    upload.put(&second).await.unwrap();
    upload.put(&first).await.unwrap();
    assert!(server.file(&path("a b.tar")).is_none());
    assert_eq!(upload.commit(&completed()).await.unwrap(), Checked::Size);
    holds(&server, "a b.tar");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_logs_in_by_mail_finds_the_same_files() {
    let server = Nextcloud::start("/cloud").await.unwrap();
    server.place(&path(""), b"", Duration::ZERO);
    server.place(&path("a.tar"), b"x", Duration::ZERO);
    let store = connect(&format!("nextcloud://{}/cloud/Backups", server.authority()), MAIL, PASSWORD).await.unwrap();
    assert_eq!(store.list().await.unwrap()[0].name, "a.tar");
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_webdav_to_a_nextcloud_advises_the_better_address() {
    let server = Nextcloud::start("").await.unwrap();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut context = Context::new(Tuning::default(), "/nonexistent".into(), Cancellation::default()).unwrap();
    context.environment = Arc::new(|name| (name == "HAUL_WEBDAV_PASSWORD").then(|| PASSWORD.to_owned()));
    let url = format!("webdav://ha%20ul@{}/remote.php/dav/files/ha%20ul", server.authority());
    let store = store::connect(&Address::parse(&url).unwrap(), &Options::default(), &context).await.unwrap();
    assert!(!store.label().contains('@'), "{}", store.label());
    let upload = store.create("a.tar", Expected { exact: Some(CHUNK + 3), ..Expected::default() }).await.unwrap();
    let mut refused = upload.put(&parts()[0]).await;
    if refused.is_ok() {
        refused = upload.put(&parts()[1]).await;
    }
    assert!(advice(&refused.unwrap_err()).contains("nextclouds://"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_advises_an_app_password() {
    let server = Nextcloud::start("").await.unwrap();
    let url = format!("nextcloud://{}/Backups", server.authority());
    let refused = connect(&url, USER, "wrong").await.err().unwrap();
    assert_eq!(refused.kind(), Some(Kind::Credentials));
    assert!(advice(&refused).contains("app password"));
    assert_eq!(kind(connect(&url, "", "").await), Kind::Invalid);
    assert_eq!(kind(connect("nextcloud://192.0.2.1/Backups", USER, PASSWORD).await), Kind::Invalid);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_of_a_chunk_are_distinguished() {
    let (server, store) = fake("").await;
    let upload = store.create("a.tar", Expected::default()).await.unwrap();
    let passing = Kind::Transient { retry_after: None };
    for (status, expected) in [
        (423, passing),
        (429, passing),
        (500, passing),
        (503, passing),
        (507, Kind::Full { missing: None }),
        (403, Kind::Permission),
    ] {
        server.meet("PUT", Trouble::Before(status));
        assert_eq!(kind(upload.put(&parts()[0]).await), expected, "{status}");
    }
    server.lose(transfers(&server)[0].trim_end_matches('/'));
    assert_eq!(kind(upload.put(&parts()[0]).await), Kind::Lost);
    assert_eq!(kind(upload.commit(&completed()).await), Kind::Lost);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_account_is_noticed_before_and_under_way() {
    let (server, store) = fake("").await;
    server.set_quota(CHUNK + 2);
    let too_much = Expected { least: Some(CHUNK + 3), ..Expected::default() };
    assert_eq!(kind(store.create("a.tar", too_much).await), Kind::Full { missing: Some(1) });
    let upload = store.create("a.tar", Expected::default()).await.unwrap();
    upload.put(&parts()[0]).await.unwrap();
    let full = upload.put(&parts()[1]).await.unwrap_err();
    assert!(full.is_full() && full.to_string().contains("Insufficient space"), "{full}");
    upload.abort().await.unwrap();
    assert_eq!(transfers(&server), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_while_putting_together_does_no_harm() {
    for trouble in [
        Trouble::After(504),
        Trouble::After(423),
        Trouble::Before(423),
        Trouble::Before(502),
        Trouble::Later(Duration::from_millis(50)),
    ] {
        let server = Nextcloud::start("").await.unwrap();
        let store = connect_within(
            Duration::from_millis(200),
            &format!("nextcloud://{}/Backups", server.authority()),
            USER,
            PASSWORD,
        )
        .await
        .unwrap();
        let upload = store.create("a.tar", Expected::default()).await.unwrap();
        for part in &parts() {
            upload.put(part).await.unwrap();
        }
        server.meet("MOVE", trouble);
        assert!(upload.commit(&completed()).await.unwrap_err().is_transient(), "{trouble:?}");
        while let Err(error) = upload.commit(&completed()).await {
            assert!(error.is_transient(), "{trouble:?}: {error}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        holds(&server, "a.tar");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_taken_meanwhile_is_never_replaced() {
    let (server, store) = fake("").await;
    let upload = store.create("a.tar", Expected::default()).await.unwrap();
    for part in &parts() {
        upload.put(part).await.unwrap();
    }
    server.place(&path("a.tar"), &vec![0; CHUNK as usize + 3], Duration::ZERO);
    assert_eq!(kind(upload.commit(&completed()).await), Kind::Exists);
    upload.abort().await.unwrap();
    assert_eq!(server.file(&path("a.tar")).unwrap()[0], 0);
    assert_eq!(transfers(&server), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_that_vanished_is_a_mismatch() {
    let (server, store) = fake("").await;
    let upload = store.create("a.tar", Expected::default()).await.unwrap();
    for part in &parts() {
        upload.put(part).await.unwrap();
    }
    let chunk = transfers(&server).into_iter().find(|path| path.ends_with("/00002")).unwrap();
    server.lose(&chunk);
    let wrong = upload.commit(&completed()).await.unwrap_err();
    assert_eq!(wrong.kind(), Some(Kind::Mismatch));
    assert!(wrong.to_string().contains("do not sum up"), "{wrong}");
    assert!(server.file(&path("a.tar")).is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_process_continues_with_the_chunks_that_are_there() {
    let (server, store) = fake("").await;
    let expected = Expected { resumable: true, ..Expected::default() };
    let upload = store.create("a.tar", expected).await.unwrap();
    // The last is there, the first is not.
    upload.put(&parts()[1]).await.unwrap();
    let session: Session = serde_json::from_str(&serde_json::to_string(&upload.session().unwrap()).unwrap()).unwrap();
    drop(upload);
    assert_eq!(store.remove_abandoned().await.unwrap(), 0, "what may be continued is kept");
    let upload = store.resume(&session).await.unwrap().expect("it is still there");
    assert!(upload.kept().into_iter().eq(std::iter::once(CHUNK..CHUNK + 3)));
    upload.put(&parts()[0]).await.unwrap();
    upload.commit(&completed()).await.unwrap();
    holds(&server, "a.tar");
    assert!(store.resume(&session).await.unwrap().is_none());
    for forged in [r#"{"name":"../x","transfer":"haul-kept-1"}"#, r#"{"name":"a.tar","transfer":"../files"}"#, "7"] {
        assert!(store.resume(&serde_json::from_str(forged).unwrap()).await.unwrap().is_none(), "{forged}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn transfers_of_the_dead_are_removed_and_nothing_else() {
    let (server, store) = fake("").await;
    let week = Duration::from_hours(8 * 24);
    let folder = |name: &str| format!("/uploads/{USER}/{name}/");
    server.place(&folder("haul-00000000-00000000-1-1-00000000"), b"", week);
    server.place(&format!("{}00001", folder("haul-00000000-00000000-1-1-00000000")), b"x", week);
    server.place(&folder("haul-00000000-00000000-1-1-00000001"), b"", Duration::from_mins(1));
    server.place(&folder("web-file-upload-1"), b"", week);
    let _open = store.create("a.tar", Expected::default()).await.unwrap();
    assert_eq!(store.remove_abandoned().await.unwrap(), 1);
    assert_eq!(transfers(&server).len(), 3, "{:?}", transfers(&server));
}

#[tokio::test(flavor = "multi_thread")]
async fn while_it_may_be_assembling_it_is_only_asked() {
    // A proxy stops waiting; a second MOVE would start the work again.
    for status in [504, 502, 423] {
        let server = Nextcloud::start("").await.unwrap();
        let store = connect_within(
            Duration::from_millis(300),
            &format!("nextcloud://{}/Backups", server.authority()),
            USER,
            PASSWORD,
        )
        .await
        .unwrap();
        let upload = store.create("a.tar", Expected::default()).await.unwrap();
        for part in parts() {
            upload.put(&part).await.unwrap();
        }
        server.meet("MOVE", Trouble::Busy(Duration::from_millis(700), status));
        loop {
            match upload.commit(&completed()).await {
                Ok(checked) => break assert_eq!(checked, Checked::Size),
                Err(error) => assert!(error.is_transient(), "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(server.requests().iter().filter(|request| request.starts_with("MOVE")).count(), 1, "{status}");
        holds(&server, "a.tar");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_assembled_in_its_time_is_asked_for_again() {
    let server = Nextcloud::start("").await.unwrap();
    let store = connect_within(
        Duration::from_millis(100),
        &format!("nextcloud://{}/Backups", server.authority()),
        USER,
        PASSWORD,
    )
    .await
    .unwrap();
    let upload = store.create("a.tar", Expected::default()).await.unwrap();
    for part in parts() {
        upload.put(&part).await.unwrap();
    }
    // Nothing was done at all.
    server.meet("MOVE", Trouble::Before(504));
    while let Err(error) = upload.commit(&completed()).await {
        assert!(error.is_transient(), "{error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(server.requests().iter().filter(|request| request.starts_with("MOVE")).count(), 2);
    holds(&server, "a.tar");
}

/// Each request of an upload says no, comes to nothing, is done unheard, comes late or is cut short, once and twice in
/// a row. Whatever happens, the archive is there whole or not at all, what was there before stays, and no chunk is left
/// of one that arrived.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_goes_wrong_an_archive_is_there_whole_or_not_at_all() {
    let stall = Duration::from_millis(300);
    let troubles = [
        Trouble::Before(403),
        Trouble::Before(404),
        Trouble::Before(500),
        Trouble::After(504),
        Trouble::Slow(stall * 2),
        Trouble::CutList,
    ];
    let of_moves = [Trouble::Later(stall), Trouble::Busy(stall, 504), Trouble::Before(412)];
    for method in ["PROPFIND", "MKCOL", "PUT", "MOVE", "DELETE"] {
        let cases = troubles.iter().filter(|trouble| method == "PROPFIND" || !matches!(trouble, Trouble::CutList));
        for trouble in cases.chain(of_moves.iter().filter(|_| method == "MOVE")) {
            for times in 1..=2 {
                let case = format!("{method} {trouble:?} {times}");
                let server = Nextcloud::start("").await.unwrap();
                server.place(&path("before.tar"), b"before", Duration::ZERO);
                let store =
                    connect_within(stall, &format!("nextcloud://{}/Backups", server.authority()), USER, PASSWORD)
                        .await
                        .unwrap();
                (0..times).for_each(|_| server.meet(method, *trouble));
                let tuning = Tuning {
                    stall,
                    first_pause: Duration::from_millis(5),
                    give_up_after: Duration::from_secs(5),
                    ..Tuning::default()
                };
                let policy =
                    RetryPolicy::new(&Context::new(tuning, "/nonexistent".into(), Cancellation::default()).unwrap());
                let whole = completed();
                let ended = async {
                    let upload = policy.retry(|| store.create("a.tar", Expected::default())).await?;
                    let sent = async {
                        for part in parts() {
                            policy.retry(|| upload.put(&part)).await?;
                        }
                        policy.retry(|| upload.commit(&whole)).await
                    };
                    let sent = sent.await;
                    if sent.is_err() {
                        let _ = policy.retry(|| upload.abort()).await;
                    }
                    sent
                };
                let ended = ended.await;
                tokio::time::sleep(stall * 2).await;
                match &ended {
                    Ok(_) => {
                        let file = server.file(&path("a.tar")).expect("the file is there");
                        assert!(file.len() as u64 == CHUNK + 3 && file.ends_with(b"end"), "{case}");
                        // A folder that is made long after everybody has left stays, empty, until this process has
                        // ended.
                        let is_late = |left: &String| matches!(trouble, Trouble::Slow(_)) && left.ends_with('/');
                        assert!(transfers(&server).iter().all(is_late), "{case}: {:?}", transfers(&server));
                    }
                    Err(error) => assert!(
                        server.file(&path("a.tar")).is_none_or(|file| file.len() as u64 == CHUNK + 3),
                        "{case}: {error}"
                    ),
                }
                assert_eq!(server.file(&path("before.tar")).as_deref(), Some(&b"before"[..]), "{case}");
                // What may pass has passed.
                let passes = !matches!(trouble, Trouble::Before(403 | 404 | 412));
                assert!(ended.is_ok() || !passes, "{case}: {:?}", ended.err());
                // A trouble that was not met yet meets this.
                let Ok(listed) = policy.retry(|| store.list()).await else { continue };
                assert!(
                    listed.iter().any(|entry| entry.name == "before.tar")
                        && listed.len() == 1 + usize::from(server.file(&path("a.tar")).is_some()),
                    "{case}"
                );
            }
        }
    }
}
