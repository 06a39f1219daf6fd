//! An archive whose sizes are known last, at destinations that need them first: Google Drive, and a real WebDAV server
//! that takes whole files only. Every step of it, and every way in which that can fail.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod common;

use std::{collections::BTreeMap, fs, net::SocketAddr, sync::Arc, time::Duration};

use common::Memory;
use store::{
    Address, Bridge, Cancellation, Checked, Context, Expected, Kind, LateSizes, Options, Placement, Secret, Store,
    StoreError, Tuning,
    gdrive::auth::{Client, Grant, TokenFile},
    outbound::{Arrived, Network, Outbound, Target},
};
use testkit::{
    drive::{CLIENT_ID, CLIENT_SECRET, Drive},
    noise::noise,
    proxy::{Answer, Death, Proxy, Rule},
    wait,
    wsgidav::{self, Wsgidav},
};

/// Small parts, so that there are several.
const PART: usize = 1 << 20;
/// What is known last: somewhere, across the boundary of two parts, and at the end.
const LATE: [(usize, usize); 3] = [(5000, 1536), (2 * PART - 700, 1536), (4 * PART, 136)];
const LENGTH: usize = 4 * PART + 300_000;
/// The requests that carry bytes the first time.
const FIRST_TIME: u32 = LENGTH.div_ceil(PART) as u32;

/// A step, and what breaks it.
type Breaks = (&'static str, Box<dyn Fn(&Place) -> Rule>);

enum Server {
    Drive(Drive),
    Dav(Wsgidav),
}

/// A destination that needs sizes first, behind a line that breaks on request.
struct Place {
    server: Server,
    line: Proxy,
    store: Arc<dyn Store>,
    bridge: Bridge,
    context: Context,
    _state: tempfile::TempDir,
}

impl Place {
    /// Those that there are here.
    fn all() -> Vec<Self> {
        let dav = Wsgidav::start().map(Server::Dav);
        std::iter::once(Server::Drive(Drive::start())).chain(dav).map(Self::at).collect()
    }

    fn at(server: Server) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (state, bridge) = (tempfile::tempdir().unwrap(), Bridge::start().unwrap());
        let tuning = Tuning {
            first_pause: Duration::from_millis(1),
            longest_pause: Duration::from_millis(20),
            first_contact: Duration::from_secs(10),
            give_up_after: Duration::from_secs(2),
            stall: Duration::from_secs(2),
            part_size: Some(PART as u64),
            ..Tuning::default()
        };
        let mut context = Context::new(tuning, state.path().to_owned(), Cancellation::default()).unwrap();
        context.environment = Arc::new(|name| match name {
            "HAUL_WEBDAV_USER" => Some(wsgidav::USER.to_owned()),
            "HAUL_WEBDAV_PASSWORD" => Some(wsgidav::PASSWORD.to_owned()),
            _ => None,
        });
        let line = Proxy::http(match &server {
            Server::Drive(drive) => drive.address(),
            Server::Dav(dav) => dav.authority().parse().unwrap(),
        });
        let line = line.unwrap();
        let (url, options) = match &server {
            Server::Drive(drive) => {
                let refresh_token = Secret::new(drive.sign_in());
                let client = Client { id: CLIENT_ID.to_owned(), secret: Secret::new(CLIENT_SECRET) };
                let grant = Grant { client, refresh_token, signed_in: None };
                TokenFile::new(&state.path().join("gdrive-token.json")).save(&grant).unwrap();
                ("gdrive://Backups".to_owned(), drive_options(line.address()))
            }
            Server::Dav(_) => (format!("webdav://{}/backups", line.address()), Options::default()),
        };
        let address = Address::parse(&url).unwrap();
        let store = bridge.wait(store::connect(&address, &options, &context)).unwrap();
        Self { server, line, store, bridge, context, _state: state }
    }

    fn is_drive(&self) -> bool {
        matches!(self.server, Server::Drive(_))
    }

    fn prepare(&self) -> Outbound {
        let target = Target::Remote { sink: Arc::clone(&self.store) as _, name: "a.tar".to_owned(), context: None };
        let network = Network { bridge: &self.bridge, context: &self.context };
        let mut outbound = Outbound::prepare(vec![target], Some(network), false).unwrap();
        outbound.sizes_come_last().unwrap();
        outbound.begin(Expected::default()).unwrap();
        outbound
    }

    fn send(&self, whole: &[u8]) -> Result<Arrived, StoreError> {
        let mut outbound = self.prepare();
        stream(&mut outbound, whole);
        outbound.finish().remove(0).result
    }

    /// Everything there is, unfinished things too, by name.
    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        match &self.server {
            Server::Drive(drive) => {
                let files = drive.files().into_iter().filter(|file| !file.is_folder);
                files.map(|file| (file.name, drive.content(&file.id).unwrap())).collect()
            }
            Server::Dav(dav) => {
                let read = fs::read_dir(dav.files().join("backups")).unwrap().map(Result::unwrap);
                read.filter_map(|file| {
                    // One that is just being removed.
                    Some((file.file_name().into_string().unwrap(), fs::read(file.path()).ok()?))
                })
                .collect()
            }
        }
    }

    fn open_sessions(&self) -> usize {
        match &self.server {
            Server::Drive(drive) => drive.open_sessions(),
            Server::Dav(_) => 0,
        }
    }

    fn is_empty(&self) -> bool {
        self.files().is_empty() && self.open_sessions() == 0
    }

    /// The archive, and nothing else.
    fn has_only(&self, whole: &[u8]) -> bool {
        let files = self.files();
        files.len() == 1 && files.get("a.tar").is_some_and(|bytes| bytes == whole) && self.open_sessions() == 0
    }
}

/// For the requests that carry bytes of an archive, from the `n`th on.
fn sending(n: u32) -> Rule {
    let bytes = |range: &str| !range.starts_with("bytes */");
    Rule::when(move |head| head.method == "PUT" && head.header("content-range").is_none_or(bytes)).after(n)
}

fn drive_options(address: SocketAddr) -> Options {
    let all = [
        ("api_url", Drive::api_url(address)),
        ("upload_url", Drive::upload_url(address)),
        ("oauth_url", Drive::oauth_url(address)),
    ];
    Options::new(all.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

/// Sends an archive whose late bytes come last.
fn stream(outbound: &mut Outbound, whole: &[u8]) {
    let mut uncorrected = whole.to_vec();
    for (offset, length) in LATE {
        uncorrected[offset..offset + length].fill(b'?');
        outbound.late(offset as u64, length as u64);
    }
    let _ = uncorrected.chunks(300_000).try_for_each(|chunk| outbound.append(chunk));
    for (offset, length) in LATE {
        outbound.patch(offset as u64, &whole[offset..offset + length]);
    }
}

#[test]
fn it_arrives_whole_with_its_sizes_and_nothing_else_stays() {
    let whole = noise(LENGTH);
    for place in Place::all() {
        assert_eq!(LateSizes::at(&(Arc::clone(&place.store) as _)), LateSizes::Twice);
        let arrived = place.send(&whole).unwrap();
        assert_eq!(arrived.length, LENGTH as u64);
        assert_eq!(arrived.checked, if place.is_drive() { Checked::Checksum } else { Checked::Size });
        assert!(arrived.notes.is_empty(), "{:?}", arrived.notes);
        assert!(place.has_only(&whole), "{:?}", place.files().keys());
        let listed = place.bridge.wait(place.store.list()).unwrap();
        assert_eq!(listed.len(), 1, "{listed:?}");
        let count = place.line.requests().len();
        eprintln!("{}: {count} requests for {LENGTH} bytes", place.store.label());
    }
}

#[test]
fn a_line_that_breaks_at_any_step_costs_no_more_than_a_part_or_the_second_time() {
    let whole = noise(LENGTH);
    let renames = |head: &testkit::proxy::Head| matches!(head.method.as_str(), "PATCH" | "MOVE");
    let reads = |head: &testkit::proxy::Head| head.method == "GET" && head.header("range").is_some();
    let removes = |head: &testkit::proxy::Head| head.method == "DELETE";
    let steps: Vec<Breaks> = vec![
        ("the first part", Box::new(|_| sending(0).cut(Death::Reset))),
        ("a part the first time", Box::new(|_| sending(2).times(2))),
        ("the answer to one", Box::new(|_| sending(1).lose_answer(Death::Close))),
        ("the answer to the last", Box::new(|_| sending(FIRST_TIME - 1).lose_answer(Death::Reset))),
        ("the draft's name", Box::new(move |_| Rule::when(renames).lose_answer(Death::Reset))),
        ("reading it back", Box::new(move |_| Rule::when(reads).times(3).cut(Death::Reset))),
        ("the second time", Box::new(|_| sending(FIRST_TIME).cut(Death::Close))),
        ("its last answer", Box::new(|_| sending(FIRST_TIME).lose_answer(Death::Reset))),
        (
            "its name",
            Box::new(move |place| {
                let before = if place.is_drive() { 1 } else { FIRST_TIME };
                Rule::when(renames).after(before).lose_answer(Death::Reset)
            }),
        ),
        ("its removal", Box::new(move |_| Rule::when(removes).times(2))),
    ];
    for place in Place::all() {
        for (step, rule) in &steps {
            let (breaks, label) = (place.line.breaks(), place.store.label());
            place.line.rule(rule(&place));
            let sent = place.send(&whole);
            assert!(sent.is_ok(), "{label}, {step}: {sent:?}");
            assert!(place.has_only(&whole), "{label}, {step}: {:?}", place.files().keys());
            assert!(place.line.breaks() > breaks, "{label}, {step}: it never broke");
            place.line.calm();
            place.bridge.wait(place.store.delete("a.tar")).unwrap();
        }
    }
}

#[test]
fn what_can_not_pass_leaves_nothing_and_says_what_to_do() {
    let whole = noise(LENGTH);
    for place in Place::all() {
        let full = || {
            let reason = r#"{"error": {"errors": [{"reason": "storageQuotaExceeded"}], "code": 403}}"#;
            if place.is_drive() { Answer::new(403).body(reason) } else { Answer::new(507) }
        };
        for before in [1, FIRST_TIME] {
            place.line.rule(sending(before).always().answer(full()));
            let error = place.send(&whole).unwrap_err();
            assert!(error.is_full(), "{error}");
            let advice = error.advice().unwrap();
            assert!(advice.contains("twice its room"), "{advice}");
            assert!(place.is_empty(), "{:?}", place.files().keys());
            place.line.calm();
        }
        // Somebody else has taken the name meanwhile: nothing is replaced.
        let mut outbound = place.prepare();
        stream(&mut outbound, &whole);
        place.bridge.wait(store::small::put(&*place.store, "a.tar", "theirs".into())).unwrap();
        let error = outbound.finish().remove(0).result.unwrap_err();
        assert_eq!(error.kind(), Some(Kind::Exists), "{error}");
        assert!(place.has_only(b"theirs"));
    }
}

#[test]
fn a_destination_that_stays_away_is_given_up_and_what_is_left_goes_when_it_is_back() {
    let whole = noise(LENGTH);
    for place in Place::all() {
        let reads = |head: &testkit::proxy::Head| head.method == "GET" && head.header("range").is_some();
        let removes = |head: &testkit::proxy::Head| head.method == "DELETE";
        place.line.rule(Rule::when(move |head| reads(head) || removes(head)).always().cut(Death::Reset));
        let error = place.send(&whole).unwrap_err();
        assert!(error.is_transient() && error.to_string().contains("gave up"), "{error}");
        assert!(!place.files().is_empty() && !place.files().contains_key("a.tar"));
        assert!(place.bridge.wait(place.store.list()).unwrap().is_empty(), "no list shows it");
        // The process lives on; the next archive is preceded by a look at what is abandoned.
        place.line.calm();
        place.send(&whole).unwrap();
        assert_eq!(place.files().into_iter().collect::<Vec<_>>(), [("a.tar".to_owned(), whole.clone())]);
    }
}

#[test]
fn what_is_given_up_while_its_destination_is_away_goes_when_that_is_back() {
    let whole = noise(LENGTH);
    for place in Place::all() {
        let mut outbound = place.prepare();
        outbound.append(&whole[..4 * PART]).unwrap();
        wait::until("some of it is there", || place.open_sessions() == 1 || place.files().len() > 1);
        place.line.rule(Rule::when(|head| head.method == "DELETE").always().cut(Death::Reset));
        outbound.abort();
        assert!(place.is_drive() || place.files().len() > 1, "{:?}", place.files().keys());
        place.line.calm();
        place.send(&whole).unwrap();
        assert_eq!(place.files().into_iter().collect::<Vec<_>>(), [("a.tar".to_owned(), whole.clone())]);
    }
}

#[test]
fn an_end_at_any_time_leaves_nothing() {
    let whole = noise(LENGTH);
    for place in Place::all() {
        // Given up before its end.
        let mut outbound = place.prepare();
        outbound.append(&whole[..3 * PART]).unwrap();
        let is_there = || if place.is_drive() { place.open_sessions() == 1 } else { !place.files().is_empty() };
        wait::until("some of it is there", is_there);
        outbound.abort();
        assert!(place.is_empty(), "{:?}", place.files().keys());
    }
    for place in Place::all() {
        // Stopped while it is sent again.
        place.line.rule(sending(FIRST_TIME).ignore());
        let mut outbound = place.prepare();
        let meter = outbound.meters().remove(0);
        stream(&mut outbound, &whole);
        let ended = std::thread::scope(|scope| {
            let ending = scope.spawn(|| outbound.finish().remove(0).result);
            wait::until("it is sent again", || meter.again_of() == Some(LENGTH as u64) && place.line.breaks() > 0);
            place.context.cancel.cancel();
            ending.join().unwrap()
        });
        assert!(matches!(ended, Err(StoreError::Cancelled)), "{ended:?}");
        wait::until("nothing is left", || place.is_empty());
    }
}

#[test]
fn what_is_read_back_otherwise_than_it_was_sent_never_gets_the_archives_name() {
    let whole = noise(LENGTH);
    let (state, bridge) = (tempfile::tempdir().unwrap(), Bridge::start().unwrap());
    let context = common::context(state.path());
    for needs_length in [false, true] {
        let mut memory = Memory::new(Placement::Sequential);
        (memory.abilities.needs_length, memory.drafts) = (needs_length, true);
        memory.world.lock().unwrap().corrupt = true;
        let target = Target::Remote { sink: Arc::new(memory.clone()), name: "a.tar".to_owned(), context: None };
        let network = Network { bridge: &bridge, context: &context };
        let mut outbound = Outbound::prepare(vec![target], Some(network), false).unwrap();
        outbound.sizes_come_last().unwrap();
        outbound.begin(Expected::default()).unwrap();
        stream(&mut outbound, &whole);
        let error = outbound.finish().remove(0).result.unwrap_err();
        assert_eq!(error.kind(), Some(Kind::Mismatch), "{error}");
        let world = memory.world.lock().unwrap();
        assert!(world.objects.is_empty() && world.unfinished.is_empty());
    }
}

#[test]
fn one_that_can_not_be_sent_twice_has_failed_before_the_first_byte() {
    let (state, bridge) = (tempfile::tempdir().unwrap(), Bridge::start().unwrap());
    let context = common::context(state.path());
    let memory = Memory::new(Placement::Sequential);
    assert_eq!(LateSizes::at(&(Arc::new(memory.clone()) as _)), LateSizes::Never);
    let target = Target::Remote { sink: Arc::new(memory), name: "a.tar".to_owned(), context: None };
    let network = Network { bridge: &bridge, context: &context };
    let mut outbound = Outbound::prepare(vec![target], Some(network), false).unwrap();
    let error = outbound.sizes_come_last().unwrap_err();
    assert!(error.kind() == Some(Kind::Invalid) && error.to_string().contains("known last"), "{error}");
}
