//! A week in an hour: the real service with its clock run fast, a real S3, SFTP and WebDAV server behind lines that
//! break, a disk that comes and goes, copies that rot, and the service killed again and again; nobody does anything by
//! hand. Run by `make week`; `HAUL_WEEK_MINUTES` says how long it may take.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "../serve/home.rs"]
#[allow(dead_code, reason = "it has more than this test needs")]
mod home;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use home::{Home, Service};
use testkit::{
    moto::Moto,
    proxy::{Answer, Death, Proxy, Rule},
    sshd::Sshd,
    wait,
    wsgidav::{self, Wsgidav},
};

/// Of Debian's package faketime.
fn faketime() -> String {
    format!("/usr/lib/{}-linux-gnu/faketime/libfaketimeMT.so.1", std::env::consts::ARCH)
}
const WEEK: u64 = 7 * 86_400;
/// How often the configuration has each copy read again, with what that may be late by.
const VERIFIED: u64 = (3 * 24 + 6) * 3600;
/// The service's timers know nothing of its fast clock; a change in the directory of its configuration wakes it.
const TICK: Duration = Duration::from_millis(100);
/// So much more memory at the end than on the first day is not flat, in KiB.
const GROWTH: u64 = 12 << 10;

/// Numbers that are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most
    }
}

/// The servers, each behind a line that breaks.
struct Lines {
    s3: Proxy,
    sftp: Proxy,
    webdav: Proxy,
}

impl Lines {
    fn all(&self) -> [&Proxy; 3] {
        [&self.s3, &self.sftp, &self.webdav]
    }
}

#[test]
#[ignore = "takes an hour: make week"]
fn a_week_passes_by_itself() {
    let minutes: u64 = std::env::var("HAUL_WEEK_MINUTES").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    let speed = WEEK / (minutes * 60);
    let servers = (Moto::start(&["week"]).unwrap().unwrap(), Sshd::start("").unwrap(), Wsgidav::start().unwrap());
    let (moto, ssh, dav) = &servers;
    let lines = Lines {
        s3: Proxy::http(moto.address()).unwrap(),
        sftp: Proxy::raw(([127, 0, 0, 1], ssh.port()).into()).unwrap(),
        webdav: Proxy::http(dav.authority().parse().unwrap()).unwrap(),
    };
    let home = Home::new("");
    fs::write(home.path("secret"), "key").unwrap();
    fs::write(home.path("dav"), wsgidav::PASSWORD).unwrap();
    fs::write(home.path("key"), "correct horse battery staple").unwrap();
    let known = ssh.known_host("ed25519").unwrap();
    let known = known.replace(&ssh.port().to_string(), &lines.sftp.address().port().to_string());
    fs::write(home.path("known_hosts"), known).unwrap();
    home.configure(&configuration(&lines, ssh));
    let rate = format!("FAKETIME=+0 x{speed}");
    let fast =
        ["env", &format!("LD_PRELOAD={}", faketime()), &rate, "FAKETIME_DONT_FAKE_MONOTONIC=1"].map(str::to_owned);
    let mut week = Week {
        home: &home,
        lines: &lines,
        fast,
        dice: Dice(0x5eed),
        begun: Instant::now(),
        rotten: BTreeMap::new(),
        seen: BTreeMap::new(),
    };
    week.pass(Duration::from_secs(minutes * 60));
}

fn configuration(lines: &Lines, ssh: &Sshd) -> String {
    format!(
        "[destinations.nas]\nurl = \"nas\"\n
[destinations.cloud]\nurl = \"s3://week/ha\"\nendpoint = \"{}\"\nallow_http = true\naccess_key_id = \"id\"
secret_access_key_file = \"secret\"\nregion = \"us-east-1\"\n
[destinations.cabin]\nurl = \"sftp://root@{}{}/week\"\nkey_file = \"{}\"\nknown_hosts = \"known_hosts\"\n
[destinations.dav]\nurl = \"webdav://{}@{}/week\"\nallow_http = true\npassword_file = \"dav\"\n
[jobs.home]\nsource = \"config\"\nschedule = \"every 2h\"\ndestinations = [\"nas\", \"cloud\", \"cabin\", \"dav\"]
password_file = \"key\"\nkeep = {{ last = 4, daily = 3 }}\nverify_every = \"3d\"\nrehearse = \"daily\"\n
[jobs.home.at.cloud]\nschedule = \"daily 04:45\"\nkeep = {{ daily = 7 }}\n",
        lines.s3.url(),
        lines.sftp.address(),
        ssh.root().display(),
        ssh.user_key().display(),
        wsgidav::USER,
        lines.webdav.address(),
    )
}

struct Week<'a> {
    home: &'a Home,
    lines: &'a Lines,
    fast: [String; 4],
    dice: Dice,
    begun: Instant,
    /// When bytes of an archive were changed, in real time since the beginning.
    rotten: BTreeMap<String, Duration>,
    /// The newest whole archive of the local disk at each look.
    seen: BTreeMap<String, u64>,
}

impl Week<'_> {
    fn start(&mut self, passed: u64) -> Service {
        // Goes on where the killed one was.
        let rate = self.fast[2].split_once(" x").unwrap().1.to_owned();
        self.fast[2] = format!("FAKETIME=+{passed}s x{rate}");
        let fast: Vec<&str> = self.fast.iter().map(String::as_str).collect();
        self.home.serve_in(&fast, "none")
    }

    fn pass(&mut self, real: Duration) {
        let begun = Instant::now();
        let speed = WEEK / real.as_secs();
        let mut service = self.start(0);
        let (mut early, mut late) = (Vec::new(), Vec::new());
        let mut next_fault = Duration::from_secs(20);
        let (mut kills, mut faults) = (0, 0);
        while begun.elapsed() < real {
            std::thread::sleep(TICK);
            fs::write(self.home.path("tick"), "").unwrap();
            let passed = begun.elapsed();
            if passed < next_fault || passed + Duration::from_secs(30) > real {
                continue;
            }
            next_fault = passed + Duration::from_secs(3 + self.dice.below(10));
            let memory = resident(service.0.id());
            if passed < real / 7 {
                early.push(memory);
            } else {
                late.push(memory);
            }
            faults += 1;
            if self.fault() {
                kills += 1;
                drop(service);
                // What faketime adds to the real clock, less what passes by itself.
                service = self.start(begun.elapsed().as_secs() * speed.saturating_sub(1));
            }
            self.newest_stays();
        }
        for line in self.lines.all() {
            line.calm();
            line.up();
        }
        self.restore_disk();
        wait::until(
            format!("everything is in order after {faults} faults and {kills} kills\n{}", self.home.log()),
            || {
                fs::write(self.home.path("tick"), "").unwrap();
                std::thread::sleep(Duration::from_millis(50));
                let Some(status) = self.home.ask("GET", "status") else { return false };
                let job = &status["jobs"][0];
                status["level"] == "ok"
                    && job["copies_of_newest"].as_u64() >= Some(3)
                    && job["running"] == serde_json::json!([])
            },
        );
        let status = self.home.status();
        drop(service);
        let runs = status["jobs"][0]["last"]["id"].clone();
        // Nobody reads all copies all the time: what changed last may not have been seen yet.
        let unseen = self.begun.elapsed().saturating_sub(Duration::from_secs(VERIFIED / speed));
        for name in self.home.archives("nas").iter().filter(|name| is_archive(name)) {
            let (code, said) = self.home.haul(&["verify", &format!("nas/{name}"), "--password-file", "key"]);
            assert!(code == 0 || self.rotten.get(name).is_some_and(|when| *when > unseen), "{name}: {said}");
        }
        let middle = |all: &mut Vec<u64>| {
            all.sort_unstable();
            all.get(all.len() / 2).copied().unwrap_or(0)
        };
        let (early, late) = (middle(&mut early), middle(&mut late));
        let said = format!(
            "{faults} faults, {kills} kills, {runs} runs; memory {early} KiB on the first day, {late} KiB after it; {}\n",
            status["headline"]
        );
        let _ = std::io::Write::write_all(&mut std::io::stderr(), said.as_bytes());
        assert!(late < early + GROWTH, "{said}");
        let left: Vec<PathBuf> = fs::read_dir(self.home.path("nas"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.to_string_lossy().contains(".part"))
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }

    /// Lets something go wrong. Returns whether the service is to be killed.
    fn fault(&mut self) -> bool {
        let which = self.dice.below(3) as usize;
        let line = self.lines.all()[which];
        match self.dice.below(10) {
            0 => return true,
            1 | 2 => line.down_for(Duration::from_secs(2 + self.dice.below(20))),
            3 => line.sever(Death::Reset),
            4 => line.cut_at_random(self.dice.below(1 << 30) + 1, 2, 1 << 20),
            5 => line.silent_connections(1),
            6 if which != 1 => line.rule(Rule::when(|_| true).times(3).answer(Answer::new(503))),
            7 => self.rot(),
            8 => self.lose(),
            9 if self.home.path("nas").exists() => {
                // A disk that is unplugged leaves its mount point, or not even that.
                let _ = fs::rename(self.home.path("nas"), self.home.path("unplugged"));
            }
            _ => self.restore_disk(),
        }
        false
    }

    fn restore_disk(&self) {
        if self.home.path("unplugged").exists() {
            let _ = fs::remove_dir(self.home.path("nas"));
            let _ = fs::rename(self.home.path("unplugged"), self.home.path("nas"));
        }
    }

    fn archive(&mut self) -> Option<PathBuf> {
        let entries = fs::read_dir(self.home.path("nas")).ok()?;
        let mut all: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|ending| ending == "tar"))
            .collect();
        all.sort();
        // The newest stays as it is: whether that survives is what is looked at.
        all.pop();
        let at = self.dice.below(all.len().max(1) as u64) as usize;
        all.get(at).cloned()
    }

    /// Some bytes of an old local copy become others.
    fn rot(&mut self) {
        let Some(path) = self.archive() else { return };
        let Ok(mut bytes) = fs::read(&path) else { return };
        let middle = bytes.len() / 2;
        let end = (middle + 4096).min(bytes.len());
        bytes[middle..end].fill(0x55);
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        self.rotten.insert(name, self.begun.elapsed());
        let _ = fs::write(path, bytes);
    }

    /// An old local copy is gone.
    fn lose(&mut self) {
        if let Some(path) = self.archive() {
            let _ = fs::remove_file(path);
        }
    }

    /// The newest archive of the local disk never becomes an older one.
    fn newest_stays(&mut self) {
        let Ok(entries) = fs::read_dir(self.home.path("nas")) else { return };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let newest = names.filter(|name| is_archive(name)).max();
        if let Some(newest) = newest {
            let before = self.seen.keys().next_back().cloned().unwrap_or_default();
            assert!(newest >= before, "{before} was the newest, and now it is {newest}\n{}", self.home.log());
            *self.seen.entry(newest).or_default() += 1;
        }
    }
}

fn is_archive(name: &str) -> bool {
    !name.starts_with('.') && Path::new(name).extension().is_some_and(|ending| ending == "tar")
}

/// Memory that a process has in use, in KiB.
fn resident(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
