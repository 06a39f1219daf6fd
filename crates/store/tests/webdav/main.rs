//! WebDAV: real servers of both kinds keep the contract, and what servers get wrong is recognised.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod line;

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{Arc, Mutex, atomic::AtomicBool},
    time::Duration,
};

use bytes::Bytes;
use store::{
    Address, Bridge, Cancellation, Checked, Completed, Context, Expected, Kind, Options, Part, Placement, Segments,
    Store, StoreError, Tuning, Upload,
    contract::{self, ContractOptions},
    outbound::{Network, Original, PushOptions, UploadMeter, push},
    parts::Activity,
    retry::Pause,
};
use testkit::{
    apache::{self, Apache},
    nextcloud::{self, Nextcloud, Pieces, Trouble},
    wsgidav::{self, Wsgidav},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

async fn connect(
    url: &str,
    user: &str,
    password: &str,
    options: &[(&str, &str)],
) -> Result<Arc<dyn Store>, StoreError> {
    connect_within(Duration::from_secs(20), url, user, password, options).await
}

async fn connect_within(
    stall: Duration,
    url: &str,
    user: &str,
    password: &str,
    options: &[(&str, &str)],
) -> Result<Arc<dyn Store>, StoreError> {
    let options: BTreeMap<String, String> =
        options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let tuning = Tuning { stall, first_pause: Duration::from_millis(5), ..Tuning::default() };
    store::connect(
        &Address::parse(url).unwrap(),
        &Options::new(options),
        &context(tuning, "/nonexistent".as_ref(), user, password),
    )
    .await
}

fn context(tuning: Tuning, state: &Path, user: &str, password: &str) -> Context {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut context = Context::new(tuning, state.to_owned(), Cancellation::default()).unwrap();
    let (user, password) = (user.to_owned(), password.to_owned());
    context.environment = Arc::new(move |name| match name {
        "HAUL_WEBDAV_USER" => Some(user.clone()).filter(|user| !user.is_empty()),
        "HAUL_WEBDAV_PASSWORD" => Some(password.clone()).filter(|password| !password.is_empty()),
        _ => None,
    });
    context
}

/// The fake, seen as an ordinary server.
async fn plain(pieces: Pieces) -> (Nextcloud, Arc<dyn Store>) {
    let server = Nextcloud::plain(pieces).await.unwrap();
    let store = connect(&url(&server), nextcloud::USER, nextcloud::PASSWORD, &[]).await.unwrap();
    (server, store)
}

fn url(server: &Nextcloud) -> String {
    format!("webdav://{}/remote.php/dav/files/ha%20ul", server.authority())
}

fn path(name: &str) -> String {
    format!("/files/{}/{name}", nextcloud::USER)
}

async fn keeps_the_contract(store: &dyn Store) {
    let mut broken = Vec::new();
    for finding in
        contract::check(store, &ContractOptions::default(), &mut |finding| eprintln!("{finding:?}")).await.findings
    {
        if !finding.is_fine() {
            broken.push(finding);
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
    let measured = contract::measure(store, 20 << 20).await.unwrap();
    eprintln!("{measured:?}");
}

fn part(index: u32, offset: u64, data: &'static [u8], last: bool) -> Part {
    let total = last.then_some(offset + data.len() as u64);
    Part { index, offset, data: Segments::from(Bytes::from_static(data)), total, last, activity: Activity::default() }
}

fn completed(length: u64) -> Completed {
    Completed { length, parts: 1, md5: None }
}

fn exactly(length: u64) -> Expected {
    Expected::exactly(length)
}

async fn sent(store: &dyn Store, name: &str, data: &'static [u8]) -> Box<dyn Upload> {
    let upload = store.create(name, exactly(data.len() as u64)).await.unwrap();
    upload.put(&part(0, 0, data, true)).await.unwrap();
    upload
}

fn kind<T>(result: Result<T, StoreError>) -> Kind {
    result.err().expect("it should have failed").kind().expect("of a kind")
}

#[tokio::test(flavor = "multi_thread")]
async fn wsgidav_keeps_the_contract() {
    let Some(server) = Wsgidav::start() else { return };
    let url = format!("webdav://{}/My%20Backups", server.authority());
    let store = connect(&url, wsgidav::USER, wsgidav::PASSWORD, &[]).await.unwrap();
    assert_eq!(store.abilities().placement, Placement::Sequential);
    assert!(store.abilities().needs_length && store.abilities().restarts);
    keeps_the_contract(&*store).await;
    let left: Vec<_> = fs::read_dir(server.files().join("My Backups")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn apache_keeps_the_contract() {
    let Some(server) = Apache::start() else { return };
    let url = format!("webdav://{}/dav/backups/", server.authority());
    let store = connect(&url, apache::USER, apache::PASSWORD, &[]).await.unwrap();
    assert_eq!(store.abilities().placement, Placement::Random);
    assert!(store.abilities().resumable);
    keeps_the_contract(&*store).await;
    let left: Vec<_> = fs::read_dir(server.files().join("backups")).unwrap().collect();
    assert!(left.iter().all(|entry| entry.as_ref().unwrap().file_name() == ".DAV"), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_takes_pieces_by_patch_keeps_the_contract() {
    let (_server, store) = plain(Pieces::Patched).await;
    assert_eq!(store.abilities().placement, Placement::Random);
    keeps_the_contract(&*store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_takes_is_found_by_trying() {
    for (pieces, expected) in [
        (Pieces::Honoured, Placement::Random),
        (Pieces::Patched, Placement::Random),
        (Pieces::TakenForTheWhole, Placement::Sequential),
        (Pieces::Refused, Placement::Sequential),
    ] {
        let (server, store) = plain(pieces).await;
        assert_eq!(store.abilities().placement, expected, "{pieces:?}");
        assert_eq!(server.paths().iter().filter(|path| path.contains(".haul-")).count(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_passwords_and_missing_folders_say_what_to_do() {
    let server = Nextcloud::plain(Pieces::Refused).await.unwrap();
    let advice = |error: &StoreError| match error {
        StoreError::Remote(error) => error.advice.clone().unwrap_or_default(),
        _ => String::new(),
    };
    let wrong = connect(&url(&server), nextcloud::USER, "wrong", &[]).await.err().unwrap();
    assert_eq!(wrong.kind(), Some(Kind::Credentials));
    assert!(advice(&wrong).contains("HAUL_WEBDAV_PASSWORD"), "{wrong}");
    let deep =
        connect(&format!("{}/a/b", url(&server)), nextcloud::USER, nextcloud::PASSWORD, &[]).await.err().unwrap();
    assert_eq!(deep.kind(), Some(Kind::NotFound));
    let looking = Context {
        only_looks: true,
        ..context(Tuning::default(), "/nonexistent".as_ref(), nextcloud::USER, nextcloud::PASSWORD)
    };
    let a = Address::parse(&format!("{}/a", url(&server))).unwrap();
    let looked = store::connect(&a, &Options::default(), &looking).await.err().unwrap();
    assert_eq!(
        (looked.kind(), looked.to_string().ends_with("/a: the folder does not exist")),
        (Some(Kind::NotFound), true),
        "{looked}"
    );
    assert!(!server.paths().contains(&path("a/")), "whoever looks makes nothing");
    let made = connect(&format!("{}/a", url(&server)), nextcloud::USER, nextcloud::PASSWORD, &[]).await.unwrap();
    assert!(server.paths().contains(&path("a/")));
    assert_eq!(made.notes(), [format!("{} did not exist; Haul created the folder", made.label())]);
    assert!(store::connect(&a, &Options::default(), &looking).await.unwrap().notes().is_empty());
    let half = connect(&url(&server), nextcloud::USER, "", &[]).await.err().unwrap();
    assert_eq!(half.kind(), Some(Kind::Invalid));
    server.place(&path("file"), b"x", Duration::ZERO);
    assert_eq!(
        kind(connect(&format!("{}/file", url(&server)), nextcloud::USER, nextcloud::PASSWORD, &[]).await),
        Kind::Invalid
    );
    let elsewhere =
        connect(&format!("webdav://{}/", server.authority()), nextcloud::USER, nextcloud::PASSWORD, &[]).await;
    assert_eq!(kind(elsewhere), Kind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_password_goes_readable_over_the_network_unasked() {
    // 192.0.2.0/24 is nowhere: nothing may be sent at all.
    let refused = connect("webdav://192.0.2.1/dav", "me", "hunter2", &[]).await.err().unwrap();
    assert_eq!(refused.kind(), Some(Kind::Invalid));
    assert!(refused.to_string().contains("unencrypted"), "{refused}");
    assert!(!format!("{refused:?}").contains("hunter2"));
    assert_eq!(kind(connect("webdav://192.0.2.1/dav", "me", "hunter2", &[("allow_http", "yes")]).await), Kind::Invalid);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_ignores_ranges_is_read_all_the_same() {
    let (server, store) = plain(Pieces::Refused).await;
    server.ignore_ranges();
    server.place(&path("a.tar"), b"0123456789", Duration::ZERO);
    assert_eq!(&store.read("a.tar", 3..7).await.unwrap()[..], b"3456");
    assert_eq!(&store.read("a.tar", 0..10).await.unwrap()[..], b"0123456789");
    assert_eq!(kind(store.read("a.tar", 5..11).await), Kind::Protocol);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_distinguished() {
    let (server, store) = plain(Pieces::Honoured).await;
    for (status, expected) in [
        (403, Kind::Permission),
        (507, Kind::Full { missing: None }),
        (413, Kind::Full { missing: None }),
        (423, Kind::Transient { retry_after: None }),
        (503, Kind::Transient { retry_after: None }),
        (401, Kind::Credentials),
        (412, Kind::Lost),
        (301, Kind::Protocol),
    ] {
        let upload = store.create("a.tar", exactly(3)).await.unwrap();
        server.meet("PUT", Trouble::Before(status));
        assert_eq!(kind(upload.put(&part(0, 0, b"abc", true)).await), expected, "{status}");
        upload.abort().await.unwrap();
    }
    server.set_quota(10);
    assert_eq!(store.space().await.unwrap(), Some(10));
    assert_eq!(kind(store.create("a.tar", exactly(11)).await), Kind::Full { missing: Some(1) });
    assert!(server.paths().iter().all(|path| !path.contains(".haul-")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_break_costs_only_what_had_not_arrived() {
    let (server, store) = plain(Pieces::Honoured).await;
    let upload = store.create("a.tar", exactly(6)).await.unwrap();
    upload.put(&part(0, 0, b"abc", false)).await.unwrap();
    server.meet("PUT", Trouble::After(502));
    assert!(upload.put(&part(1, 3, b"def", true)).await.unwrap_err().is_transient());
    let before = server.requests().len();
    upload.put(&part(1, 3, b"def", true)).await.unwrap();
    assert!(
        server.requests()[before..].iter().all(|request| request.starts_with("PROPFIND")),
        "everything had arrived"
    );
    assert_eq!(upload.commit(&completed(6)).await.unwrap(), Checked::Size);
    assert_eq!(&server.file(&path("a.tar")).unwrap()[..], b"abcdef");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_vanished_under_way_is_lost_and_not_made_again_with_a_hole() {
    let (server, store) = plain(Pieces::Honoured).await;
    let upload = store.create("a.tar", exactly(6)).await.unwrap();
    upload.put(&part(0, 0, b"abc", false)).await.unwrap();
    let unfinished = server.paths().into_iter().find(|path| path.contains(".haul-")).unwrap();
    server.lose(&unfinished);
    assert_eq!(kind(upload.put(&part(1, 3, b"def", true)).await), Kind::Lost);
    assert_eq!(kind(upload.commit(&completed(6)).await), Kind::Lost);
    assert!(server.file(&unfinished).is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_to_the_renaming_does_no_harm() {
    for pieces in [Pieces::Honoured, Pieces::Refused] {
        let (server, store) = plain(pieces).await;
        let upload = sent(&*store, "a.tar", b"abc").await;
        server.meet("MOVE", Trouble::After(504));
        assert!(upload.commit(&completed(3)).await.unwrap_err().is_transient());
        assert_eq!(upload.commit(&completed(3)).await.unwrap(), Checked::Size);
        assert_eq!(&server.file(&path("a.tar")).unwrap()[..], b"abc");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_taken_meanwhile_is_never_replaced() {
    let (server, store) = plain(Pieces::Honoured).await;
    let upload = sent(&*store, "a.tar", b"abc").await;
    // The same size, so that only its existence shows.
    server.place(&path("a.tar"), b"old", Duration::ZERO);
    assert_eq!(kind(upload.commit(&completed(3)).await), Kind::Exists);
    assert_eq!(kind(store.create("a.tar", exactly(1)).await), Kind::Exists);
    assert_eq!(&server.file(&path("a.tar")).unwrap()[..], b"old");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_request_that_breaks_off_begins_anew() {
    let (server, store) = plain(Pieces::Refused).await;
    let upload = store.create("a.tar", exactly(6)).await.unwrap();
    server.meet("PUT", Trouble::Before(503));
    upload.put(&part(0, 0, b"abc", false)).await.unwrap();
    assert_eq!(kind(upload.put(&part(1, 3, b"def", true)).await), Kind::Lost);
    assert_eq!(kind(upload.put(&part(1, 3, b"def", true)).await), Kind::Lost);
    assert_eq!(kind(upload.commit(&completed(6)).await), Kind::Lost);
    upload.abort().await.unwrap();
    // Quota is no break: nothing would be better the next time.
    let upload = store.create("a.tar", exactly(3)).await.unwrap();
    server.meet("PUT", Trouble::Before(507));
    assert_eq!(kind(upload.put(&part(0, 0, b"abc", true)).await), Kind::Full { missing: None });
    upload.abort().await.unwrap();
    // Without a length it goes in chunks.
    let upload = store.create("a.tar", Expected::default()).await.unwrap();
    upload.put(&part(0, 0, b"abc", true)).await.unwrap();
    upload.commit(&completed(3)).await.unwrap();
    assert_eq!(&server.file(&path("a.tar")).unwrap()[..], b"abc");
    // And a server that can't take that says so.
    let upload = store.create("b.tar", Expected::default()).await.unwrap();
    server.meet("PUT", Trouble::Before(411));
    let StoreError::Remote(error) = upload.put(&part(0, 0, b"abc", true)).await.unwrap_err() else { panic!() };
    assert!(error.reason.contains("411") && error.advice.unwrap().contains("length"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_given_up_is_never_taken_for_the_whole() {
    let Some(server) = Wsgidav::start() else { return };
    let store =
        connect(&format!("webdav://{}/", server.authority()), wsgidav::USER, wsgidav::PASSWORD, &[]).await.unwrap();
    for exact in [Some(6), None] {
        let upload = store.create("a.tar", Expected { exact, ..Expected::default() }).await.unwrap();
        upload.put(&part(0, 0, b"abc", false)).await.unwrap();
        upload.abort().await.unwrap();
        let left: Vec<_> = fs::read_dir(server.files()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(left.is_empty(), "{left:?}\n{}", server.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn leftovers_of_the_dead_are_removed_and_nothing_else() {
    let (server, store) = plain(Pieces::Honoured).await;
    let week = Duration::from_hours(8 * 24);
    let foreign = ".haul-00000000-00000000-1-1-00000000.part";
    server.place(&path(foreign), b"x", week);
    server.place(&path(".haul-00000000-00000000-1-1-00000001.part"), b"x", Duration::from_mins(1));
    server.place(&path("old.tar"), b"x", week);
    let _open = store.create("a.tar", exactly(3)).await.unwrap();
    assert_eq!(store.remove_abandoned().await.unwrap(), 1);
    assert!(server.file(&path(foreign)).is_none());
    assert_eq!(server.paths().iter().filter(|path| path.contains(".haul-")).count(), 2);
    assert_eq!(store.list().await.unwrap().into_iter().map(|entry| entry.name).collect::<Vec<_>>(), ["old.tar"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_cut_short_is_never_taken_for_a_whole_one() {
    let (server, store) = plain(Pieces::Refused).await;
    for name in ["a.tar", "b.tar"] {
        server.place(&path(name), b"12", Duration::ZERO);
    }
    server.meet("PROPFIND", Trouble::CutList);
    let error = store.list().await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    server.meet("PROPFIND", Trouble::CutList);
    assert!(store.remove_abandoned().await.unwrap_err().is_transient());
    assert_eq!(store.list().await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_answers_late_is_waited_for_and_then_asked_what_it_has() {
    let stall = Duration::from_millis(200);
    let server = Nextcloud::plain(Pieces::Refused).await.unwrap();
    let store = connect_within(stall, &url(&server), nextcloud::USER, nextcloud::PASSWORD, &[]).await.unwrap();
    // Longer than the silence that ends other requests.
    server.meet("PUT", Trouble::Slow(stall * 3));
    assert_eq!(sent(&*store, "late.tar", b"late").await.commit(&completed(4)).await.unwrap(), Checked::Size);
    // Done, and a proxy that did not wait says so.
    for status in [504, 502, 408] {
        server.meet("PUT", Trouble::After(status));
        let name = format!("{status}.tar");
        assert_eq!(sent(&*store, &name, b"late").await.commit(&completed(4)).await.unwrap(), Checked::Size);
    }
    // Longer than anybody waits: started over, and what appears afterwards is removed.
    server.meet("PUT", Trouble::Slow(stall * 20));
    let upload = store.create("too-late.tar", exactly(4)).await.unwrap();
    assert_eq!(kind(upload.put(&part(0, 0, b"late", true)).await), Kind::Lost);
    upload.abort().await.unwrap();
    tokio::time::sleep(stall * 15).await;
    assert_eq!(sent(&*store, "too-late.tar", b"late").await.commit(&completed(4)).await.unwrap(), Checked::Size);
    assert!(server.paths().iter().all(|path| !path.contains(".part")), "{:?}", server.paths());
}

#[tokio::test(flavor = "multi_thread")]
async fn where_names_with_a_dot_are_refused_unfinished_ones_have_none() {
    for pieces in [Pieces::Refused, Pieces::Patched] {
        let server = Nextcloud::plain(pieces).await.unwrap();
        server.refuse_dots();
        let store = connect(&url(&server), nextcloud::USER, nextcloud::PASSWORD, &[]).await.unwrap();
        let upload = sent(&*store, "a.tar", b"bytes").await;
        assert!(
            server.paths().iter().any(|path| path.contains("/haul-") && path.contains(".part")),
            "{:?}",
            server.paths()
        );
        assert!(store.list().await.unwrap().is_empty());
        assert_eq!(store.remove_abandoned().await.unwrap(), 0);
        assert_eq!(upload.commit(&completed(5)).await.unwrap(), Checked::Size);
        let dead =
            store::owner::temporary_name().replace(&format!("-{}-", std::process::id()), &format!("-{}-", u32::MAX));
        server.place(&path(dead.trim_start_matches('.')), b"x", Duration::ZERO);
        server.place(&path("haul-notes.part"), b"x", Duration::from_hours(1000));
        assert_eq!(store.remove_abandoned().await.unwrap(), 1);
        assert_eq!(store.list().await.unwrap().len(), 2, "what only looks like ours stays");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_was_given_and_is_not_seen_yet_is_not_removed() {
    let (server, store) = plain(Pieces::Refused).await;
    let upload = sent(&*store, "a.tar", b"bytes").await;
    server.meet("PROPFIND", Trouble::Pass);
    server.meet("PROPFIND", Trouble::Before(404));
    let error = upload.commit(&completed(5)).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert_eq!(upload.commit(&completed(5)).await.unwrap(), Checked::Size);
    assert_eq!(server.file(&path("a.tar")).unwrap(), "bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_the_server_cuts_is_refused_and_leaves_nothing() {
    let Some(server) = Wsgidav::start() else { return };
    let store =
        connect(&format!("webdav://{}/", server.authority()), wsgidav::USER, wsgidav::PASSWORD, &[]).await.unwrap();
    let upload = sent(&*store, "what? now.tar", b"bytes").await;
    let error = upload.commit(&completed(5)).await.unwrap_err();
    assert_eq!(error.kind(), Some(Kind::Invalid), "{error}");
    upload.abort().await.unwrap();
    assert_eq!(fs::read_dir(server.files()).unwrap().count(), 0);
}

/// A server that has accepted everything and processes it before it answers: progress says what it waits for.
#[test]
fn a_late_answer_is_waited_for_and_shown() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime.block_on(Nextcloud::plain(Pieces::Refused)).unwrap();
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("a.tar"), b"bytes").unwrap();
    let context = context(Tuning::default(), directory.path(), nextcloud::USER, nextcloud::PASSWORD);
    let bridge = Bridge::start().unwrap();
    let store =
        bridge.wait(store::connect(&Address::parse(&url(&server)).unwrap(), &Options::default(), &context)).unwrap();
    server.meet("PUT", Trouble::Slow(Duration::from_millis(700)));
    let meter = Arc::new(UploadMeter::new(store.label()));
    let seen = std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let mut seen = false;
            while !meter.has_ended() {
                seen |= meter.waiting().is_some_and(|waiting| waiting.what == Pause::Answer);
                std::thread::sleep(Duration::from_millis(5));
            }
            seen
        });
        let options =
            PushOptions { archive: Original::File(&directory.path().join("a.tar")), name: "a.tar", read_back: false };
        push(&options, &(store.clone() as _), &Network { bridge: &bridge, context: &context }, &meter).unwrap();
        watching.join().unwrap()
    });
    assert!(seen, "nothing was said of the wait");
    assert!(meter.waiting().is_none(), "the wait is over");
}

/// Each request of an upload is refused, fails, is carried out without an answer, comes late or is cut short, once and
/// twice in a row. Whatever happens, the archive is there whole or not at all, existing files stay, and after the next
/// cleanup nothing else is left.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_goes_wrong_nothing_half_done_is_left() {
    let stall = Duration::from_millis(150);
    for pieces in [Pieces::Honoured, Pieces::Refused] {
        for method in ["PROPFIND", "PUT", "MOVE", "DELETE"] {
            for trouble in [
                Trouble::Before(403),
                Trouble::Before(404),
                Trouble::Before(500),
                Trouble::After(504),
                Trouble::Slow(stall * 2),
                Trouble::CutList,
            ] {
                if matches!(trouble, Trouble::CutList) && method != "PROPFIND" {
                    continue;
                }
                for times in 1..=2 {
                    let case = format!("{pieces:?} {method} {trouble:?} {times}");
                    let server = Nextcloud::plain(pieces).await.unwrap();
                    server.place(&path("before.tar"), b"before", Duration::ZERO);
                    let store =
                        connect_within(stall, &url(&server), nextcloud::USER, nextcloud::PASSWORD, &[]).await.unwrap();
                    (0..times).for_each(|_| server.meet(method, trouble));
                    let tuning = Tuning {
                        stall,
                        first_pause: Duration::from_millis(5),
                        give_up_after: Duration::from_secs(3),
                        ..Tuning::default()
                    };
                    let policy = store::retry::RetryPolicy::new(&context(tuning, "/nonexistent".as_ref(), "", ""));
                    let ended = async {
                        let upload = policy.retry(|| store.create("a.tar", exactly(6))).await?;
                        let mut ended = Ok(());
                        for part in [part(0, 0, b"abc", false), part(1, 3, b"def", true)] {
                            if ended.is_ok() {
                                ended = policy.retry(|| upload.put(&part)).await;
                            }
                        }
                        if ended.is_ok() {
                            let whole = completed(6);
                            ended = policy.retry(|| upload.commit(&whole)).await.map(drop);
                        }
                        if ended.is_err() {
                            let _ = policy.retry(|| upload.abort()).await;
                        }
                        ended
                    };
                    let ended = ended.await;
                    let there = server.file(&path("a.tar"));
                    match &ended {
                        Ok(()) => assert_eq!(there.as_deref(), Some(&b"abcdef"[..]), "{case}"),
                        Err(error) => assert!(
                            there.is_none_or(|bytes| bytes == "abcdef") && !error.to_string().is_empty(),
                            "{case}: {error}"
                        ),
                    }
                    tokio::time::sleep(stall * 2).await;
                    let _ = policy.retry(|| store.remove_abandoned()).await;
                    assert_eq!(server.file(&path("before.tar")).as_deref(), Some(&b"before"[..]), "{case}");
                    let living = server.paths().into_iter().filter(|path| path.contains("haul-")).count();
                    assert!(living == 0 || ended.is_err(), "{case}: {:?}", server.paths());
                }
            }
        }
    }
}
