//! SFTP against a real OpenSSH server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use store::{
    Address, Cancellation, Completed, Context, Expected, HostKey, Kind, Options, Part, Segments, Store, StoreError,
    Tuning, Upload,
    contract::{self, ContractOptions},
    parts::Activity,
};
use testkit::sshd::{self, Sshd};
use testkit::wait;

/// A server and a home directory that knows it.
struct Place {
    server: Sshd,
    home: tempfile::TempDir,
    options: BTreeMap<String, String>,
    environment: BTreeMap<String, String>,
    tuning: Tuning,
    only_looks: bool,
}

impl Place {
    fn new(settings: &str) -> Option<Self> {
        if !sshd::is_installed() {
            assert!(std::env::var("CI").is_err(), "openssh-server is needed");
            eprintln!("skipped: openssh-server is not installed");
            return None;
        }
        let server = Sshd::start(settings).unwrap();
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join(".ssh")).unwrap();
        let tuning =
            Tuning { connect_timeout: Duration::from_secs(20), stall: Duration::from_secs(20), ..Tuning::default() };
        let key = server.user_key().display().to_string();
        let place = Self {
            home,
            options: BTreeMap::from([("key_file".to_owned(), key)]),
            environment: BTreeMap::new(),
            tuning,
            only_looks: false,
            server,
        };
        place.know("ed25519");
        Some(place)
    }

    fn known_hosts(&self) -> PathBuf {
        self.home.path().join(".ssh/known_hosts")
    }

    fn know(&self, kind: &str) {
        fs::write(self.known_hosts(), self.server.known_host(kind).unwrap()).unwrap();
    }

    async fn connect_to(&self, path: &str) -> Result<Arc<dyn Store>, StoreError> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut context = Context::new(self.tuning.clone(), "/nonexistent".into(), Cancellation::default()).unwrap();
        let mut environment = self.environment.clone();
        environment.insert("HOME".to_owned(), self.home.path().display().to_string());
        context.environment = Arc::new(move |name| environment.get(name).cloned());
        context.only_looks = self.only_looks;
        let user = String::from_utf8(Command::new("id").arg("-un").output().unwrap().stdout).unwrap();
        let address = format!("sftp://{}@127.0.0.1:{}{path}", user.trim(), self.server.port());
        store::connect(&Address::parse(&address).unwrap(), &Options::new(self.options.clone()), &context).await
    }

    async fn connect(&self) -> Result<Arc<dyn Store>, StoreError> {
        self.connect_to(&self.server.root().display().to_string()).await
    }

    fn files(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.server.root())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn refused(result: Result<Arc<dyn Store>, StoreError>, kind: Kind, words: &str) -> String {
    let error = result.map(|_| ()).expect_err("was let in");
    assert_eq!(error.kind(), Some(kind), "{error}");
    assert!(error.to_string().contains(words), "{error}");
    let StoreError::Remote(error) = error else { panic!("{error}") };
    error.advice.unwrap_or_default()
}

fn parts(bytes: &Bytes, size: usize) -> Vec<Part> {
    let count = bytes.len().div_ceil(size);
    let part = |index: usize| Part {
        index: index as u32,
        offset: (index * size) as u64,
        data: Segments::from(bytes.slice(index * size..bytes.len().min((index + 1) * size))),
        total: Some(bytes.len() as u64),
        last: index + 1 == count,
        activity: Activity::default(),
    };
    (0..count).map(part).collect()
}

fn completed(bytes: &Bytes) -> Completed {
    Completed { length: bytes.len() as u64, parts: 1, md5: None }
}

fn sample(length: usize) -> Bytes {
    (0..length).map(|at| (at * 7 + at / 251) as u8).collect()
}

async fn put_patiently(upload: &dyn Upload, part: &Part) -> u32 {
    let mut tries = 1;
    loop {
        match upload.put(part).await {
            Ok(()) => return tries,
            Err(error) if error.is_transient() && tries < 20 => tries += 1,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_server_keeps_the_contract() {
    let Some(place) = Place::new("") else { return };
    let store = place.connect().await.unwrap();
    let quick = ContractOptions { settle: Duration::ZERO, longest: Duration::from_mins(2) };
    let findings = contract::check(store.as_ref(), &quick, &mut |_| {}).await.findings;
    let broken: Vec<_> = findings.iter().filter(|finding| !finding.is_fine()).collect();
    assert!(broken.is_empty(), "{broken:#?}");
    assert_eq!(place.files(), Vec::<String>::new());
    let measured = contract::measure(store.as_ref(), 16 << 20).await.unwrap();
    let rate = |seconds: f64| (measured.bytes >> 20) as f64 / seconds;
    eprintln!(
        "up {:.0} MiB/s, down {:.0} MiB/s",
        rate(measured.upload_seconds),
        rate(measured.download_seconds.unwrap())
    );
}

#[tokio::test]
async fn an_unknown_host_is_refused_with_its_fingerprint_and_how_to_trust_it() {
    let Some(mut place) = Place::new("") else { return };
    fs::remove_file(place.known_hosts()).unwrap();
    let advice = refused(place.connect().await, Kind::Protocol, "not known yet");
    let command = format!("ssh-keyscan -p {} -t ed25519 127.0.0.1 >> ~/.ssh/known_hosts", place.server.port());
    assert!(advice.contains(&command) && !advice.contains("mkdir"), "{advice}");
    fs::remove_dir(place.home.path().join(".ssh")).unwrap();
    let advice = refused(place.connect().await, Kind::Protocol, "not known yet");
    assert!(advice.contains(&format!("mkdir -p ~/.ssh && {command}")), "{advice}");
    fs::create_dir(place.home.path().join(".ssh")).unwrap();

    let lines =
        Command::new("ssh-keygen").arg("-lf").arg(place.server.path("host_ed25519.pub")).output().unwrap().stdout;
    let fingerprint = String::from_utf8(lines).unwrap().split(' ').nth(1).unwrap().to_owned();
    assert_eq!(host_key(place.connect().await), Some(HostKey::Unknown(fingerprint.clone())));
    refused(place.connect().await, Kind::Protocol, &fingerprint);

    place.options.insert("host_key".to_owned(), fingerprint);
    place.connect().await.unwrap();
    place.options.insert("host_key".to_owned(), "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".to_owned());
    refused(place.connect().await, Kind::Protocol, "NOT THE CONFIGURED ONE");
    assert_eq!(host_key(place.connect().await), Some(HostKey::Wrong));
    place.options.insert("host_key".to_owned(), "MD5:00".to_owned());
    refused(place.connect().await, Kind::Invalid, "SHA256:");
}

#[tokio::test]
async fn a_changed_host_key_is_refused_loudly() {
    let Some(mut place) = Place::new("") else { return };
    place.connect().await.unwrap();
    place.server.change_host_keys().unwrap();
    let advice = refused(place.connect().await, Kind::Protocol, "HAS CHANGED");
    assert!(advice.contains("ssh-keygen -R"), "{advice}");
    assert_eq!(host_key(place.connect().await), Some(HostKey::Wrong), "it can't be accepted unseen");
}

fn host_key<T>(connected: Result<T, StoreError>) -> Option<HostKey> {
    match connected {
        Err(StoreError::Remote(error)) => error.host_key,
        _ => None,
    }
}

#[tokio::test]
async fn a_host_known_by_another_kind_of_key_or_a_hashed_name_is_known() {
    let Some(place) = Place::new("") else { return };
    // The server would rather show its other key.
    place.know("ecdsa");
    place.connect().await.unwrap();
    place.know("ed25519");
    assert!(
        Command::new("ssh-keygen")
            .args(["-q", "-H", "-f"])
            .arg(place.known_hosts())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap()
            .success()
    );
    let hashed = fs::read_to_string(place.known_hosts()).unwrap();
    assert!(hashed.starts_with("|1|"), "{hashed}");
    place.connect().await.unwrap();
    let revoked = format!("@revoked {}", place.server.known_host("ed25519").unwrap());
    fs::write(place.known_hosts(), format!("{hashed}{revoked}")).unwrap();
    refused(place.connect().await, Kind::Protocol, "revoked");
}

#[tokio::test]
async fn a_wrong_key_is_reported_and_not_tried_for_ever() {
    let Some(mut place) = Place::new("") else { return };
    let stranger = place.home.path().join("stranger");
    sshd::make_key(&stranger, "ed25519", "").unwrap();
    place.options.insert("key_file".to_owned(), stranger.display().to_string());
    refused(place.connect().await, Kind::Credentials, "stranger");
    place.options.insert("key_file".to_owned(), "/nonexistent/key".to_owned());
    refused(place.connect().await, Kind::Invalid, "/nonexistent/key can't be read");
    place.options.clear();
    refused(place.connect().await, Kind::Credentials, "there is no key");
}

#[tokio::test]
async fn a_server_that_hangs_up_after_wrong_keys_is_not_a_broken_line() {
    let Some(mut place) = Place::new("MaxAuthTries 1") else { return };
    let stranger = place.home.path().join("stranger");
    sshd::make_key(&stranger, "ed25519", "").unwrap();
    place.options.insert("key_file".to_owned(), stranger.display().to_string());
    let error = place.connect().await.map(|_| ()).expect_err("was let in");
    assert_eq!(error.kind(), Some(Kind::Credentials), "{error}");
}

#[tokio::test]
async fn the_usual_keys_and_encrypted_ones_are_found() {
    let Some(mut place) = Place::new("") else { return };
    place.options.clear();
    let usual = place.home.path().join(".ssh/id_ed25519");
    fs::copy(place.server.user_key(), &usual).unwrap();
    place.connect().await.unwrap();

    let secret = place.home.path().join("locked");
    sshd::make_key(&secret, "ecdsa", "open sesame").unwrap();
    place.server.let_in(&secret.with_extension("pub")).unwrap();
    place.options.insert("key_file".to_owned(), "~/locked".to_owned());
    let advice = refused(place.connect().await, Kind::Invalid, "is encrypted");
    assert!(advice.contains("passphrase_file"), "{advice}");
    place.environment.insert("HAUL_SFTP_PASSPHRASE".to_owned(), "wrong".to_owned());
    refused(place.connect().await, Kind::Invalid, "the passphrase is wrong");
    place.environment.insert("HAUL_SFTP_PASSPHRASE".to_owned(), "open sesame".to_owned());
    place.connect().await.unwrap();
}

#[tokio::test]
async fn an_rsa_key_is_good_enough() {
    let Some(mut place) = Place::new("") else { return };
    let key = place.home.path().join("rsa");
    sshd::make_key(&key, "rsa", "").unwrap();
    place.server.let_in(&key.with_extension("pub")).unwrap();
    place.options.insert("key_file".to_owned(), key.display().to_string());
    place.connect().await.unwrap();
}

/// An agent that ends with the test.
struct Agent(std::process::Child);

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn the_agent_lends_its_keys() {
    let Some(mut place) = Place::new("") else { return };
    let socket = place.home.path().join("agent");
    let Ok(child) = Command::new("ssh-agent").arg("-D").arg("-a").arg(&socket).stdout(Stdio::null()).spawn() else {
        eprintln!("skipped: ssh-agent is not installed");
        return;
    };
    let _agent = Agent(child);
    wait::until_async("the agent listens", || socket.exists()).await;
    let added =
        Command::new("ssh-add").arg("-q").arg(place.server.user_key()).env("SSH_AUTH_SOCK", &socket).status().unwrap();
    assert!(added.success());
    place.options.clear();
    place.environment.insert("SSH_AUTH_SOCK".to_owned(), socket.display().to_string());
    place.connect().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_connection_costs_one_part_and_the_file_goes_on() {
    let Some(place) = Place::new("") else { return };
    let store = place.connect().await.unwrap();
    let bytes = sample(24 << 20);
    let upload: Arc<dyn Upload> = store.create("a.tar", Expected::default()).await.unwrap().into();
    let mut tries = 0;
    for part in parts(&bytes, 4 << 20) {
        if part.index == 2 {
            assert!(place.server.kill_sessions().unwrap() > 0);
        }
        if part.index == 4 {
            // In the middle of it.
            let (upload, part) = (Arc::clone(&upload), part.clone());
            let task = tokio::spawn(async move { put_patiently(upload.as_ref(), &part).await });
            tokio::time::sleep(Duration::from_millis(3)).await;
            place.server.kill_sessions().unwrap();
            tries += task.await.unwrap();
            continue;
        }
        tries += put_patiently(upload.as_ref(), &part).await;
    }
    assert!((6..=9).contains(&tries), "{tries}");
    place.server.kill_sessions().unwrap();
    let committed = loop {
        match upload.commit(&completed(&bytes)).await {
            Err(error) if error.is_transient() => {}
            other => break other,
        }
    };
    committed.unwrap();
    assert_eq!(place.files(), ["a.tar"]);
    assert!(fs::read(place.server.root().join("a.tar")).unwrap() == bytes);
    assert_eq!(fs::metadata(place.server.root().join("a.tar")).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_says_nothing_counts_as_broken() {
    let Some(mut place) = Place::new("") else { return };
    place.tuning.stall = Duration::from_millis(700);
    let store = place.connect().await.unwrap();
    place.server.signal_sessions("STOP").unwrap();
    let error = store.list().await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    // A new connection is served by new processes.
    assert_eq!(store.list().await.unwrap(), []);
    place.server.signal_sessions("CONT").unwrap();
}

#[tokio::test]
async fn an_answer_lost_after_the_rename_is_no_failure() {
    let Some(place) = Place::new("") else { return };
    let store = place.connect().await.unwrap();
    let bytes = sample(1000);
    let upload = store.create("a.tar", Expected::default()).await.unwrap();
    upload.put(&parts(&bytes, 1000)[0]).await.unwrap();
    let hidden = place.files();
    // Somebody else's file of the same size must not be taken for ours.
    fs::rename(place.server.root().join(&hidden[0]), place.server.root().join("a.tar")).unwrap();
    place.server.kill_sessions().unwrap();
    let error = loop {
        match upload.commit(&completed(&bytes)).await {
            Err(error) if error.is_transient() => {}
            other => break other.unwrap_err(),
        }
    };
    assert_eq!(error.kind(), Some(Kind::Exists), "{error}");
    upload.abort().await.unwrap();
    assert_eq!(place.files(), ["a.tar"]);
}

#[tokio::test]
async fn an_unfinished_file_that_vanished_is_lost() {
    let Some(place) = Place::new("") else { return };
    let store = place.connect().await.unwrap();
    let bytes = sample(2000);
    let upload = store.create("a.tar", Expected::default()).await.unwrap();
    let parts = parts(&bytes, 1000);
    upload.put(&parts[0]).await.unwrap();
    fs::remove_file(place.server.root().join(&place.files()[0])).unwrap();
    place.server.kill_sessions().unwrap();
    let error = loop {
        match upload.put(&parts[1]).await {
            Err(error) if error.is_transient() => {}
            other => break other.unwrap_err(),
        }
    };
    assert_eq!(error.kind(), Some(Kind::Lost), "{error}");
}

#[tokio::test]
async fn the_last_step_of_the_path_is_made_and_no_more() {
    let Some(place) = Place::new("") else { return };
    let below = place.server.root().join("new");
    let store = place.connect_to(&below.display().to_string()).await.unwrap();
    assert_eq!(store.list().await.unwrap(), []);
    assert_eq!(store.remove_abandoned().await.unwrap(), 0);
    assert!(!below.exists());
    let bytes = sample(10);
    let upload = store.create("a.tar", Expected::default()).await.unwrap();
    upload.put(&parts(&bytes, 10)[0]).await.unwrap();
    upload.commit(&completed(&bytes)).await.unwrap();
    assert_eq!(fs::metadata(&below).unwrap().permissions().mode() & 0o777, 0o700);
    let deep = place.server.root().join("x/y").display().to_string();
    refused(place.connect_to(&deep).await, Kind::NotFound, "neither");
    let file = below.join("a.tar").display().to_string();
    refused(place.connect_to(&file).await, Kind::NotFound, "is not a directory");
}

#[tokio::test]
async fn a_link_is_shown_as_one_and_one_that_leads_nowhere_not_at_all() {
    let Some(place) = Place::new("") else { return };
    let root = place.server.root();
    fs::write(root.join("a.tar"), "archive").unwrap();
    std::os::unix::fs::symlink("a.tar", root.join("latest.tar")).unwrap();
    std::os::unix::fs::symlink("b.tar", root.join("gone.tar")).unwrap();
    let store = place.connect().await.unwrap();
    let mut listed: Vec<_> =
        store.list().await.unwrap().into_iter().map(|entry| (entry.name, entry.size, entry.link)).collect();
    listed.sort();
    assert_eq!(listed, [("a.tar".to_owned(), 7, false), ("latest.tar".to_owned(), 7, true)]);
    assert!(
        store.entry("latest.tar").await.unwrap().unwrap().link && !store.entry("a.tar").await.unwrap().unwrap().link
    );
    assert_eq!(store.entry("gone.tar").await.unwrap(), None);
    store.delete("latest.tar").await.unwrap();
    assert_eq!(place.files(), ["a.tar", "gone.tar"]);
}

#[tokio::test]
async fn only_what_dead_processes_left_is_swept() {
    let Some(place) = Place::new("") else { return };
    let store = place.connect().await.unwrap();
    let upload = store.create("a.tar", Expected::default()).await.unwrap();
    let living = place.files()[0].clone();
    let mut fields: Vec<&str> = living.split('-').collect();
    fields[3] = "4294967295";
    let dead = fields.join("-");
    fs::write(place.server.root().join(&dead), "rest").unwrap();
    fs::write(place.server.root().join("b.tar"), "archive").unwrap();
    assert_eq!(store.remove_abandoned().await.unwrap(), 1);
    assert_eq!(place.files(), [living, "b.tar".to_owned()]);
    assert_eq!(store.list().await.unwrap().len(), 1);
    upload.abort().await.unwrap();
    assert_eq!(place.files(), ["b.tar"]);
}

/// A small file system that ends with the test.
struct Small(PathBuf);

impl Small {
    fn mount(at: &Path) -> Option<Self> {
        fs::create_dir(at).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"])
            .arg(at)
            .stderr(Stdio::null())
            .status();
        mounted.is_ok_and(|status| status.success()).then(|| Self(at.to_owned()))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test]
async fn a_full_disk_is_reported_before_or_while_writing() {
    let Some(place) = Place::new("") else { return };
    let Some(small) = Small::mount(&place.server.root().join("small")) else {
        eprintln!("skipped: no file system can be mounted here");
        return;
    };
    let store = place.connect_to(&small.0.display().to_string()).await.unwrap();
    let bytes = sample(6 << 20);
    let error = store.create("a.tar", Expected { exact: Some(6 << 20), ..Expected::default() }).await.err().unwrap();
    assert!(matches!(error.kind(), Some(Kind::Full { missing: Some(missing) }) if missing >= 2 << 20), "{error}");
    let upload = store.create("a.tar", Expected::default()).await.unwrap();
    let error = upload.put(&parts(&bytes, 6 << 20)[0]).await.unwrap_err();
    assert!(matches!(error.kind(), Some(Kind::Full { .. })), "{error}");
    upload.abort().await.unwrap();
    assert_eq!(fs::read_dir(&small.0).unwrap().count(), 0);
}

/// Bytes where the protocol should begin: a start-up file that greets.
#[tokio::test(flavor = "multi_thread")]
async fn text_before_the_protocol_is_shown() {
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("noisy");
    fs::write(&script, "#!/bin/sh\necho 'Welcome to the NAS'\nsleep 5\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let Some(place) = Place::new(&format!("ForceCommand {}\n", script.display())) else { return };
    let StoreError::Remote(error) = place.connect().await.err().unwrap() else { panic!() };
    assert_eq!(error.kind, Kind::Protocol);
    assert!(error.reason.contains("\"Welcome to the NAS\" where SFTP should begin"), "{error:?}");
    assert!(error.advice.as_ref().unwrap().contains(".bashrc"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_old_algorithms_only_is_recognised_by_its_list() {
    let Some(place) = Place::new("Ciphers 3des-cbc\n") else { return };
    let StoreError::Remote(error) = place.connect().await.err().unwrap() else { panic!() };
    assert_eq!(error.kind, Kind::Protocol);
    assert!(error.reason.contains("no safe cipher: it has 3des-cbc"), "{error:?}");
    assert!(error.advice.as_ref().unwrap().contains("update the server's SSH"), "{error:?}");
}

/// Accounts of many providers may write in their home directory and nowhere else.
#[tokio::test(flavor = "multi_thread")]
async fn where_a_path_does_not_work_the_home_directory_is_named() {
    let Some(place) = Place::new("") else { return };
    let StoreError::Remote(error) = place.connect_to("/no/such/backups").await.err().unwrap() else { panic!() };
    assert_eq!(error.kind, Kind::NotFound);
    let advice = error.advice.as_ref().unwrap();
    assert!(advice.contains("/~/no/such/backups") && advice.contains("home directory is"), "{error:?}");
    // Nobody may write there.
    let Some(place) = Place::new("ForceCommand internal-sftp -R\n") else { return };
    let store = place.connect().await.unwrap();
    let Some(StoreError::Remote(error)) = store.create("x.tar", Expected::default()).await.err() else { panic!() };
    assert_eq!(error.kind, Kind::Permission);
    assert!(error.advice.as_ref().unwrap().contains("home directory is"), "{error:?}");
}

/// Writes overtake each other, so a file that is long enough may still have holes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_process_continues_behind_what_was_acknowledged_not_behind_the_last_byte() {
    let Some(place) = Place::new("") else { return };
    let store = place.connect().await.unwrap();
    let whole = sample(40 << 20);
    let parts = parts(&whole, 8 << 20);
    let upload =
        store.create("a.tar", Expected { resumable: true, ..Expected::exactly(whole.len() as u64) }).await.unwrap();
    for part in &parts[..3] {
        upload.put(part).await.unwrap();
    }
    let session = upload.session().unwrap();
    drop(upload);
    // The end of the fourth part came, its beginning did not.
    let unfinished = place.server.root().join(place.files().first().unwrap());
    fs::OpenOptions::new().write(true).open(&unfinished).unwrap().set_len(32 << 20).unwrap();

    let store = place.connect().await.unwrap();
    let upload = store.resume(&session).await.unwrap().unwrap();
    let kept: u64 = upload.kept().iter().map(|range| range.end - range.start).sum();
    assert_eq!(kept, 16 << 20, "in steps of 16 MiB");
    for part in parts.iter().filter(|part| part.end() > kept) {
        upload.put(part).await.unwrap();
    }
    upload.commit(&completed(&whole)).await.unwrap();
    assert!(fs::read(place.server.root().join("a.tar")).unwrap() == whole[..]);
}

#[tokio::test]
async fn a_directory_that_is_not_there_is_made_by_an_upload_alone() {
    let Some(mut place) = Place::new("") else { return };
    let path = place.server.root().join("mistyped").display().to_string();
    place.only_looks = true;
    refused(place.connect_to(&path).await, Kind::NotFound, "the folder does not exist");
    place.only_looks = false;
    let store = place.connect_to(&path).await.unwrap();
    assert!(store.notes().is_empty() && !Path::new(&path).exists());
    store.create("a.tar", Expected::default()).await.unwrap().abort().await.unwrap();
    assert_eq!(store.notes(), [format!("{} did not exist; Haul created the folder", store.label())]);
    place.only_looks = true;
    assert!(place.connect_to(&path).await.unwrap().notes().is_empty());
}
