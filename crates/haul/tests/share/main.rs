//! `haul share` beside real clients: Samba's smbclient, and a kernel's.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod linux;

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use testkit::{
    moto::Moto,
    noise::noise,
    proxy::{Proxy, Rule},
    wait,
    wsgidav::{self, Wsgidav},
};

const PASSWORD: &str = "correct horse battery";

fn haul(home: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_haul"));
    command.args(args).current_dir(home).env_clear().env("HOME", home).env("XDG_STATE_HOME", home.join("state"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A home with an archive that Haul made, and destinations.
fn home(destinations: &str) -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let path = home.path();
    fs::create_dir_all(path.join("config/.storage")).unwrap();
    fs::write(path.join("config/.HA_VERSION"), "2026.11.0").unwrap();
    fs::write(path.join("config/large.bin"), vec![7; 3 << 20]).unwrap();
    fs::create_dir(path.join("nas")).unwrap();
    fs::write(path.join("haul.toml"), destinations).unwrap();
    fs::write(path.join("password"), PASSWORD).unwrap();
    let made = haul(path, &["backup", "config", "--to", "a.tar", "--uncompressed"]).output().unwrap();
    assert!(path.join("a.tar").exists(), "{}", String::from_utf8_lossy(&made.stderr));
    home
}

struct Sharing {
    child: Child,
    lines: BufReader<ChildStdout>,
    port: String,
}

impl Sharing {
    fn start(home: &Path, more: &[&str]) -> Self {
        Self::listening("127.0.0.1:0", home, more)
    }

    fn listening(on: &str, home: &Path, more: &[&str]) -> Self {
        let mut args = vec!["--config", "haul.toml", "share", "--user", "ha", "--password-file", "password"];
        args.extend_from_slice(&["--listen", on]);
        args.extend_from_slice(more);
        let mut child = haul(home, &args).stderr(Stdio::inherit()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut first = String::new();
        lines.read_line(&mut first).unwrap();
        let port = first.trim().rsplit(' ').next().unwrap().to_owned();
        let mut sharing = Self { child, lines, port };
        while !sharing.line().starts_with("Only this machine can reach it") {}
        sharing
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn end(&mut self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        wait::until("it ends", || self.child.try_wait().unwrap().is_some());
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.lines.read_line(&mut line).unwrap() > 0, "it has ended");
        line.trim_end().to_owned()
    }

    fn client(&self, share: &str, password: &str, command: &str) -> Command {
        let mut client = Command::new("smbclient");
        client.args([&format!("//127.0.0.1/{share}"), "-p", &self.port, "-m", "SMB3", "-c", command]);
        // Never in arguments.
        client.args(["-U", "ha"]).env("USER", "ha").env("PASSWD", password);
        client
    }

    /// What smbclient says to a command.
    fn smb(&self, home: &Path, share: &str, password: &str, command: &str) -> String {
        let output = self.client(share, password, command).current_dir(home).output().unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }

    fn does(&self, home: &Path, command: &str) -> String {
        self.smb(home, "nas", PASSWORD, command)
    }
}

impl Drop for Sharing {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What is in a directory, unfinished archives too.
fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn an_archive_goes_in_and_comes_out_and_nothing_else_does() {
    let home = home("[destinations.nas]\nurl = \"nas\"\n");
    let path = home.path();
    let mut sharing = Sharing::start(path, &["nas"]);
    let said = sharing.does(path, "put a.tar; get a.tar back.tar; ls");
    assert!(fs::read(path.join("back.tar")).unwrap() == fs::read(path.join("a.tar")).unwrap(), "{said}");
    assert!(fs::read(path.join("nas/a.tar")).unwrap() == fs::read(path.join("a.tar")).unwrap());
    assert!(sharing.line().starts_with("Received a.tar ("));
    // It is an archive like any other.
    let verdict = |archive| haul(path, &["--config", "haul.toml", "verify", archive]).output().unwrap().status.code();
    assert_eq!(verdict("nas/a.tar"), verdict("a.tar"));

    // What is there is never changed, neither is anything else made.
    for (command, answer) in [
        ("put password a.tar", "ACCESS_DENIED"),
        ("put a.tar other.txt", "NAME_INVALID"),
        ("put a.tar .hidden.tar", "NAME_INVALID"),
        ("mkdir folder", "ACCESS_DENIED"),
        ("rename a.tar b.tar", "ACCESS_DENIED"),
        ("get folder/a.tar x", "PATH_NOT_FOUND"),
        ("get missing.tar x", "NAME_NOT_FOUND"),
    ] {
        let said = sharing.does(path, command);
        assert!(said.contains(answer), "{command}: {said}");
    }
    assert_eq!(names(&path.join("nas")), ["a.tar"]);

    let said = sharing.does(path, "del a.tar; ls");
    assert!(!said.contains("a.tar"), "{said}");
    assert_eq!(sharing.line(), "Deleted a.tar");
    assert!(names(&path.join("nas")).is_empty());
}

#[test]
fn a_restore_unpacks_beside_the_archives_and_nothing_of_it_is_written() {
    let home = home("[destinations.nas]\nurl = \"nas\"\n");
    let path = home.path();
    let mut sharing = Sharing::start(path, &["nas"]);
    // Larger than what is kept in memory, so that nothing can be there that is no reference.
    let large = noise(24 << 20);
    let member = path.join("homeassistant.tar.gz");
    fs::write(&member, &large).unwrap();
    fs::write(path.join("backup.json"), r#"{"slug": "abc"}"#).unwrap();
    let tar = |args: &[&str]| assert!(Command::new("tar").args(args).current_dir(path).status().unwrap().success());
    // A name of more than 100 bytes has a header of its own before the member.
    tar(&["-cf", "nas/a.tar", "--format=pax", "./backup.json", "homeassistant.tar.gz"]);
    let archive = fs::read(path.join("nas/a.tar")).unwrap();
    let at = archive.windows(64).position(|bytes| *bytes == large[..64]).unwrap();
    assert_eq!(at % 512, 0);

    // What Supervisor does: a directory, its members, read back, and away with it.
    let said = sharing.does(
        path,
        "get a.tar read.tar; mkdir tmpab_cd123; put homeassistant.tar.gz tmpab_cd123\\homeassistant.tar.gz",
    );
    assert!(said.contains("NT_STATUS_DISK_FULL"), "what was read long ago is not remembered: {said}");
    let said = sharing.does(path, "ls *.tar");
    assert!(said.contains("a.tar") && !said.contains("tmpab_cd123"), "{said}");
    let told = sharing.line();
    assert!(
        told.starts_with("Could not receive tmpab_cd123/homeassistant.tar.gz: it is in no archive of this folder")
            && told.contains("`haul push`"),
        "{told}"
    );
    let said = sharing.does(path, "rmdir tmpab_cd123");
    assert!(said.contains("NOT_EMPTY"), "{said}");
    sharing.does(path, "del tmpab_cd123\\homeassistant.tar.gz; rmdir tmpab_cd123");

    // Bytes that were read a moment ago. smbclient copies within the share by reading and writing.
    fs::write(path.join("last"), &archive[archive.len() - (3 << 20)..]).unwrap();
    let said = sharing.does(
        path,
        "get a.tar read.tar; mkdir tmpab_cd123; put last tmpab_cd123\\last; get tmpab_cd123\\last back; \
         ls tmpab_cd123\\*; rename tmpab_cd123\\last other.txt; del tmpab_cd123\\last; rmdir tmpab_cd123; ls",
    );
    assert!(fs::read(path.join("back")).unwrap() == archive[archive.len() - (3 << 20)..], "{said}");
    assert!(said.contains("3145728") && said.contains("NAME_INVALID"), "{said}");
    assert!(!said.ends_with("tmpab_cd123"), "{said}");
    // The destination has what it had.
    assert_eq!(names(&path.join("nas")), ["a.tar"]);
    let said = sharing.does(path, "ls");
    assert!(!said.contains("tmpab_cd123"), "{said}");

    // No other directories, none in one, and no more files than there is memory for.
    for (command, answer) in [
        ("mkdir tmpab_cd1234", "ACCESS_DENIED"),
        ("mkdir tmpab_cd123; mkdir tmpab_cd123\\deeper", "ACCESS_DENIED"),
        ("put password tmpmissing0\\x", "PATH_NOT_FOUND"),
        ("mkdir tmpab_cd123", "COLLISION"),
        ("get tmpab_cd123\\missing x", "NAME_NOT_FOUND"),
        ("del tmpab_cd123\\missing", "NO_SUCH_FILE"),
        ("rename a.tar tmpab_cd123\\a.tar", "ACCESS_DENIED"),
    ] {
        let said = sharing.does(path, command);
        assert!(said.contains(answer), "{command}: {said}");
    }
    assert_eq!(names(&path.join("nas")), ["a.tar"]);
}

#[test]
fn an_upload_that_fits_into_memory_arrives_under_the_name_that_it_is_given_at_its_end() {
    let home = home("[destinations.nas]\nurl = \"nas\"\n");
    let path = home.path();
    let mut sharing = Sharing::start(path, &["nas"]);
    let said = sharing.does(
        path,
        "mkdir tmpab_cd123; put a.tar tmpab_cd123\\upload.tar; rename tmpab_cd123\\upload.tar b.tar; \
         get b.tar back.tar; rmdir tmpab_cd123; ls",
    );
    assert!(sharing.line().starts_with("Received b.tar ("), "{said}");
    assert!(fs::read(path.join("back.tar")).unwrap() == fs::read(path.join("a.tar")).unwrap(), "{said}");
    assert!(!said.contains("NT_STATUS"), "{said}");
    // An archive that is there stays, and what is none comes nowhere.
    let said = sharing.does(
        path,
        "mkdir tmpab_cd123; put a.tar tmpab_cd123\\upload.tar; rename tmpab_cd123\\upload.tar b.tar; \
         put password tmpab_cd123\\text; rename tmpab_cd123\\text c.tar",
    );
    assert!(said.contains("COLLISION") && said.contains("ACCESS_DENIED"), "{said}");
    assert!(sharing.line().starts_with("Could not receive c.tar: "));
    assert_eq!(names(&path.join("nas")), ["b.tar"]);
}

#[test]
fn what_is_not_complete_is_not_kept() {
    let home = home("[destinations.nas]\nurl = \"nas\"\n");
    let path = home.path();
    let whole = fs::read(path.join("a.tar")).unwrap();
    fs::write(path.join("cut.tar"), &whole[..whole.len() - 11_000]).unwrap();
    fs::write(path.join("text.tar"), "no archive").unwrap();
    fs::write(path.join("noise.tar"), vec![b'x'; 100_000]).unwrap();
    let mut sharing = Sharing::start(path, &["nas"]);
    // The program that writes hears of it at once where bytes can't be those of a backup, else when it closes the file.
    let said = sharing.does(path, "put noise.tar");
    assert!(said.contains("ACCESS_DENIED"), "{said}");
    assert_eq!(
        sharing.line(),
        "Could not receive noise.tar: byte 0 should begin a member of a Home Assistant backup, and does not"
    );
    for name in ["cut.tar", "text.tar"] {
        // A program that fails removes what it had begun, as Supervisor does.
        sharing.does(path, &format!("put {name}; del {name}"));
        let said = sharing.line();
        assert!(said.starts_with(&format!("Could not receive {name}: ")), "{said}");
    }
    wait::until("nothing is left", || names(&path.join("nas")).is_empty());
    sharing.does(path, "put a.tar");
    assert!(sharing.line().starts_with("Received a.tar ("));
}

#[test]
fn only_the_user_comes_in_and_nothing_is_removed_where_that_is_not_allowed() {
    let home = home("[destinations.nas]\nurl = \"nas\"\n[destinations.other]\nurl = \"other\"\n");
    let path = home.path();
    let mut sharing = Sharing::start(path, &["nas", "--append-only"]);
    for (share, password, answer) in
        [("nas", "wrong", "LOGON_FAILURE"), ("nas", "", "LOGON_FAILURE"), ("other", PASSWORD, "BAD_NETWORK_NAME")]
    {
        let said = sharing.smb(path, share, password, "ls");
        assert!(said.contains(answer), "{share}: {said}");
    }
    sharing.does(path, "put a.tar");
    assert!(sharing.line().starts_with("Received a.tar ("));
    sharing.does(path, "del a.tar");
    assert_eq!(sharing.line(), "Kept a.tar; a client asked to delete it");
    assert_eq!(names(&path.join("nas")), ["a.tar"]);

    sharing.end(Signal::INT);
}

#[test]
fn what_is_no_backup_is_called_so_also_when_haul_share_ends() {
    let home = home("[destinations.nas]\nurl = \"nas\"\n");
    let path = home.path();
    let mut sharing = Sharing::start(path, &["nas"]);
    fs::write(path.join("garbage"), "garbage\n").unwrap();
    sharing.does(path, "put garbage g.tar");
    kill_process(Pid::from_child(&sharing.child), Signal::INT).unwrap();
    assert_eq!(sharing.line(), "Could not receive g.tar: it ends at byte 8 and is not complete");
    assert!(names(&path.join("nas")).is_empty());
}

#[test]
fn ctrl_c_in_the_middle_of_a_backup_leaves_nothing_behind() {
    let home = home("[destinations.nas]\nurl = \"nas\"\n");
    let path = home.path();
    let mut sharing = Sharing::start(path, &["nas"]);
    assert!(Command::new("mkfifo").arg(path.join("pipe")).status().unwrap().success());
    let mut client = sharing.client("nas", PASSWORD, "put pipe a.tar").current_dir(path).spawn().unwrap();
    // The program that writes has not written everything yet.
    let mut pipe = fs::OpenOptions::new().write(true).open(path.join("pipe")).unwrap();
    std::io::Write::write_all(&mut pipe, &fs::read(path.join("a.tar")).unwrap()[..2 << 20]).unwrap();
    wait::until("it arrives", || !names(&path.join("nas")).is_empty());
    sharing.end(Signal::INT);
    assert!(names(&path.join("nas")).is_empty());
    assert_eq!(sharing.line(), "Could not receive a.tar: haul share was ended");
    let _ = client.kill();
    let _ = client.wait();
}

#[test]
fn a_destination_that_fails_is_told_with_its_reason_and_the_next_backup_is_not_held_up() {
    let home = home("[destinations.nas]\nurl = \"nas\"\n");
    let path = home.path();
    let mut sharing = Sharing::start(path, &["nas"]);
    // It goes away after it was listed: before that, nothing can be opened.
    sharing.does(path, "ls");
    fs::rename(path.join("nas"), path.join("gone")).unwrap();
    let said = sharing.does(path, "put a.tar");
    assert!(said.contains("NT_STATUS_"), "{said}");
    let said = sharing.line();
    assert!(said.starts_with("Could not receive a.tar: ") && said.contains("nas"), "{said}");
    fs::rename(path.join("gone"), path.join("nas")).unwrap();
    sharing.does(path, "put a.tar");
    assert!(sharing.line().starts_with("Received a.tar ("));
    assert_eq!(names(&path.join("nas")), ["a.tar"]);
}

#[test]
fn only_addresses_that_are_allowed_may_connect() {
    let home = home("[destinations.nas]\nurl = \"nas\"\n");
    let path = home.path();
    let mut sharing = Sharing::start(path, &["nas", "--allow", "127.0.0.1", "--allow", "192.168.1.9"]);
    let said = sharing.does(path, "put a.tar; get a.tar back.tar");
    assert!(sharing.line().starts_with("Received a.tar ("), "{said}");
    assert!(fs::read(path.join("back.tar")).unwrap() == fs::read(path.join("a.tar")).unwrap(), "{said}");
    drop(sharing);
    let sharing = Sharing::start(path, &["nas", "--allow", "192.168.1.9"]);
    let said = sharing.does(path, "ls");
    assert!(!said.contains("a.tar") && said.contains("NT_STATUS_"), "{said}");
}

#[test]
fn mistakes_are_told_before_anything_starts() {
    let home = home("[destinations.nas]\nurl = \"nas\"\n");
    let path = home.path();
    let share = |more: &[&str]| {
        let args = [&["--config", "haul.toml", "share", "--user", "ha"], more].concat();
        let output = haul(path, &args).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = share(&["nas", "--password-file", "missing"]);
    assert!(code == Some(2) && said.contains("the password file missing can't be read"), "{said}");
    let (code, said) = share(&["nas", "--password-file", "password", "--listen", "nonsense"]);
    assert!(code == Some(2) && said.contains("\"nonsense\" is not an address"), "{said}");
    let (code, said) = share(&["nas", "nas", "--password-file", "password"]);
    assert!(code == Some(2) && said.contains("\"nas\" is given twice"), "{said}");
    let (code, said) = share(&["nas", "--password-file", "password", "--allow", "somebody"]);
    assert!(code == Some(2) && said.contains("--allow"), "{said}");
    let (code, said) = share(&["./config", "--password-file", "password"]);
    assert!(code == Some(2) && said.contains("is not a destination of haul.toml"), "{said}");
}

#[test]
fn a_bucket_is_a_folder_as_well() {
    let Some(moto) = Moto::start(&["bucket"]).unwrap() else { return };
    let home = home(&format!(
        "[destinations.nas]\nurl = \"s3://bucket/home\"\nendpoint = \"{}\"\naccess_key_id = \"key\"\n\
         secret_access_key_file = \"secret\"\nallow_http = true\n",
        moto.url()
    ));
    let path = home.path();
    fs::write(path.join("secret"), "secret").unwrap();
    let mut sharing = Sharing::start(path, &["nas"]);
    let said = sharing.does(path, "put a.tar; get a.tar back.tar; ls");
    assert!(sharing.line().starts_with("Received a.tar ("), "{said}");
    assert!(fs::read(path.join("back.tar")).unwrap() == fs::read(path.join("a.tar")).unwrap(), "{said}");
    // Half of one leaves nothing behind.
    let whole = fs::read(path.join("a.tar")).unwrap();
    fs::write(path.join("cut.tar"), &whole[..whole.len() / 2]).unwrap();
    sharing.does(path, "put cut.tar; del cut.tar");
    assert!(sharing.line().starts_with("Could not receive cut.tar: "));
    wait::until("no upload is left", || moto.unfinished("bucket").unwrap() == 0);
}

#[test]
fn a_server_that_takes_whole_files_only_is_a_folder_as_well_and_a_kill_leaves_nothing_for_long() {
    let Some(server) = Wsgidav::start() else { return };
    let line = Proxy::http(server.authority().parse().unwrap()).unwrap();
    let home = home(&format!(
        "[destinations.nas]\nurl = \"webdav://{}@{}/backups\"\npassword_file = \"dav\"\nallow_http = true\n\
         part_size = \"1MiB\"\n",
        wsgidav::USER,
        line.address()
    ));
    let path = home.path();
    fs::write(path.join("dav"), wsgidav::PASSWORD).unwrap();
    let there = || names(&server.files().join("backups"));
    let sharing = Sharing::start(path, &["nas"]);
    // Killed while it is sent again.
    line.rule(Rule::when(|head| head.method == "GET" && head.header("range").is_some()).always().ignore());
    let mut client = sharing.client("nas", PASSWORD, "put a.tar").current_dir(path).spawn().unwrap();
    wait::until("it is read back", || line.breaks() > 0);
    drop(sharing);
    client.wait().unwrap();
    assert!(there().len() > 2 && there().iter().all(|name| name.starts_with(".haul-")), "{:?}", there());
    line.calm();

    let mut sharing = Sharing::start(path, &["nas"]);
    let said = sharing.does(path, "put a.tar; get a.tar back.tar; ls");
    assert!(sharing.line().starts_with("Received a.tar ("), "{said}");
    assert!(fs::read(path.join("back.tar")).unwrap() == fs::read(path.join("a.tar")).unwrap(), "{said}");
    assert_eq!(there(), ["a.tar"]);
}

#[test]
fn a_destination_that_is_away_shows_what_it_had_and_what_clients_look_at_is_asked_for_once() {
    let Some(moto) = Moto::start(&["bucket"]).unwrap() else { return };
    let proxy = Proxy::http(moto.address()).unwrap();
    let home = home(&format!(
        "[destinations.nas]\nurl = \"s3://bucket/home\"\nendpoint = \"{}\"\naccess_key_id = \"key\"\n\
         secret_access_key_file = \"secret\"\nallow_http = true\n",
        proxy.url()
    ));
    let path = home.path();
    fs::write(path.join("secret"), "secret").unwrap();
    let archive = fs::read(path.join("a.tar")).unwrap();
    let mut sharing = Sharing::start(path, &["nas"]);
    sharing.does(path, "put a.tar");
    assert!(sharing.line().starts_with("Received a.tar ("));

    // A client that looks at the end of an archive, as smbclient does when it goes on with a copy.
    let look = |sharing: &Sharing| {
        fs::write(path.join("copy"), &archive[..archive.len() - 100_000]).unwrap();
        let said = sharing.does(path, "reget a.tar copy");
        assert!(fs::read(path.join("copy")).unwrap() == archive, "{said}");
    };
    let reads = || {
        proxy.requests().iter().filter(|seen| seen.head.method == "GET" && seen.head.target.contains("a.tar")).count()
    };
    let before = reads();
    look(&sharing);
    assert_eq!(reads(), before + 1);
    look(&sharing);
    assert_eq!(reads(), before + 1);
    drop(sharing);

    proxy.down();
    let sharing = Sharing::start(path, &["nas"]);
    let said = sharing.does(path, "ls");
    assert!(said.contains("a.tar") && said.contains(&archive.len().to_string()), "{said}");
    look(&sharing);
    let said = sharing.does(path, "get a.tar back.tar");
    assert!(said.contains("NT_STATUS_"), "{said}");

    proxy.up();
    wait::until("it is back", || {
        sharing.does(path, "get a.tar back.tar");
        fs::read(path.join("back.tar")).is_ok_and(|back| back == archive)
    });
    // What is gone is forgotten.
    let kept = path.join("state/haul/share/nas");
    assert!(names(&kept).len() > 1, "{:?}", names(&kept));
    sharing.does(path, "del a.tar");
    wait::until("it is forgotten", || !sharing.does(path, "ls").contains("a.tar") && names(&kept) == ["list"]);
}
