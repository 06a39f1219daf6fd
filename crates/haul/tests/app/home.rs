//! A home with a configuration and destinations, the app in it, and what Supervisor writes.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Map, Value, json};
use store::{
    Secret,
    gdrive::auth::{Client, Grant, TokenFile},
};
use testkit::{
    drive::{CLIENT_ID, CLIENT_SECRET, Drive},
    supervisor::{
        Order, Restoration, Supervisor, TOKEN,
        writer::{spec, write},
    },
    wait,
};

/// A Python that has the library Supervisor writes with.
pub(crate) fn python() -> Option<String> {
    testkit::python::with_securetar("SecureTarArchive")
}

pub(crate) struct Home(tempfile::TempDir);

impl Home {
    pub(crate) fn new(configuration: &str) -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        sample::create(&home.path("config"), &sample::Options { database_bytes: 2 << 20, seed: 7 }).unwrap();
        // As beside a recorder that runs.
        fs::write(home.path("config/home-assistant_v2.db-wal"), "").unwrap();
        for directory in ["nas", "usb", "state"] {
            fs::create_dir(home.path(directory)).unwrap();
        }
        home.configure(configuration);
        home
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn configure(&self, text: &str) {
        fs::write(self.path("haul.toml"), text).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_haul"));
        command.args(args).current_dir(self.0.path()).env_clear().env("HOME", self.0.path());
        command.env("HAUL_STATE", self.path("state")).env("HAUL_CONFIG", self.path("haul.toml")).env("TZ", "UTC");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a command to its end: its exit code, and all that it said.
    pub(crate) fn haul(&self, args: &[&str]) -> (Option<i32>, String) {
        let output = self.command(args).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&said).into_owned())
    }

    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let output = self.command(args).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    }

    pub(crate) fn start(&self, supervisor: &Supervisor) -> App {
        self.start_with(supervisor, &[])
    }

    /// Somebody has signed in to it.
    pub(crate) fn signs_in(&self, drive: &Drive) {
        let client = Client { id: CLIENT_ID.to_owned(), secret: Secret::new(CLIENT_SECRET) };
        let grant = Grant { client, refresh_token: Secret::new(drive.sign_in()), signed_in: None };
        TokenFile::new(&self.path("state/gdrive-token.json")).save(&grant).unwrap();
    }

    pub(crate) fn start_with(&self, supervisor: &Supervisor, variables: &[(&str, String)]) -> App {
        self.start_as(supervisor, variables, &[])
    }

    pub(crate) fn start_as(&self, supervisor: &Supervisor, variables: &[(&str, String)], more: &[&str]) -> App {
        let url = supervisor.url();
        let mut args = vec!["app", "--supervisor", &url, "--ingress", "127.0.0.1:0", "--from", "127.0.0.1"];
        args.extend_from_slice(&["--share", "127.0.0.1:0", "--host", "127.0.0.1"]);
        args.extend_from_slice(more);
        let mut command = self.command(&args);
        App::started(command.env("SUPERVISOR_TOKEN", TOKEN).envs(variables.iter().map(|(name, value)| (name, value))))
    }
}

/// Where this Drive is.
pub(crate) fn drive_variables(drive: &Drive) -> Vec<(&'static str, String)> {
    vec![
        ("HAUL_GDRIVE_API_URL", Drive::api_url(drive.address())),
        ("HAUL_GDRIVE_UPLOAD_URL", Drive::upload_url(drive.address())),
        ("HAUL_GDRIVE_OAUTH_URL", Drive::oauth_url(drive.address())),
    ]
}

/// The app, as long as it runs.
pub(crate) struct App {
    child: Child,
    lines: BufReader<ChildStderr>,
    pub(crate) port: u16,
}

impl App {
    /// As soon as it shows its page.
    pub(crate) fn started(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap());
        let mut app = Self { child, lines, port: 0 };
        let line = app.says("Home Assistant shows its page, from port ");
        app.port = line.rsplit(' ').next().unwrap().parse().unwrap();
        app
    }

    /// Waits until its log has this.
    pub(crate) fn says(&mut self, what: &str) -> String {
        loop {
            let mut line = String::new();
            assert!(self.lines.read_line(&mut line).unwrap() > 0, "it ended without saying {what:?}");
            if line.contains(what) {
                return line.trim_end().to_owned();
            }
        }
    }

    /// Waits for a network storage, and gives it with its credentials.
    #[allow(clippy::unused_self, reason = "without the app there is none")]
    pub(crate) fn mount(&self, supervisor: &Supervisor, name: &str) -> Map<String, Value> {
        wait::found("the storage is there", || supervisor.change(|world| world.mount(name).cloned()))
    }

    /// Ends the process that was started, and waits until nobody writes to the log any more: its last lines.
    pub(crate) fn end(&mut self) -> String {
        self.child.kill().unwrap();
        let mut last = String::new();
        self.lines.read_to_string(&mut last).unwrap();
        last
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end: what else it said, if that was well.
    pub(crate) fn ends(&mut self) -> String {
        let mut last = String::new();
        self.lines.read_to_string(&mut last).unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}: {last}");
        last
    }

    /// Ctrl-C; it ends long before Supervisor's answer would be given up.
    pub(crate) fn interrupt(&mut self) {
        self.signal(Signal::INT);
        let since = Instant::now();
        wait::until("it ends", || self.child.try_wait().unwrap().is_some());
        assert!(since.elapsed() < Duration::from_secs(20), "it waited for Supervisor's answer");
    }

    /// The first line of the page's answer to a user.
    pub(crate) fn page(&self, user: &str, path: &str) -> String {
        self.answer(user, path).lines().next().unwrap_or_default().to_owned()
    }

    /// Sends a form, as the page's own forms are sent.
    pub(crate) fn post(&self, user: &str, path: &str, fields: &[(&str, &str)]) -> String {
        let page = self.answer(user, "/settings");
        let token = page.split("name=\"csrf\" value=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
        let mut body = url::form_urlencoded::Serializer::new(String::new());
        body.append_pair("csrf", token).extend_pairs(fields);
        let body = body.finish();
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nHost: homeassistant.local\r\nX-Ingress-Path: /api/hassio_ingress/x\r\n\
             X-Remote-User-Id: {user}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// All of it.
    pub(crate) fn answer(&self, user: &str, path: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let user = if user.is_empty() { String::new() } else { format!("X-Remote-User-Id: {user}\r\n") };
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: homeassistant.local\r\nX-Ingress-Path: /api/hassio_ingress/x\r\n{user}\
             Connection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for App {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Puts a file into a network storage, as the machine that has mounted it.
pub(crate) fn put(mount: &Map<String, Value>, file: &Path, name: &str) -> String {
    client(mount, &format!("put {} {name}", file.display()))
}

/// Has Samba's client do this there.
pub(crate) fn client(mount: &Map<String, Value>, does: &str) -> String {
    let text = |key: &str| mount[key].as_str().unwrap();
    let mut client = Command::new("smbclient");
    client.args([&format!("//{}/{}", text("server"), text("share")), "-p", &mount["port"].to_string(), "-m", "SMB3"]);
    client.args(["-c", does, "-U", text("username")]);
    let output = client.env("PASSWD", text("password")).output().unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// Has Supervisor write its backups where they are to go; `change`: what of them is otherwise.
pub(crate) fn writes(
    supervisor: &Supervisor,
    python: &str,
    home: &Home,
    change: impl Fn(&mut Value) + Send + Sync + 'static,
) {
    let made = made(python, home, change);
    let writing = move |order: &Order| {
        let file = made(order);
        let said = put(order.mount.as_ref().unwrap(), file.path(), &order.filename);
        if said.contains("NT_STATUS") { Err(said) } else { Ok(file.as_file().metadata().unwrap().len()) }
    };
    supervisor.change(|world| world.writing = Some(Arc::new(writing)));
}

/// Its disk fills up in the middle, and it removes what it has written.
pub(crate) fn writes_half(supervisor: &Supervisor, python: &str, home: &Home) {
    let made = made(python, home, |_| {});
    let writing = move |order: &Order| {
        let file = made(order);
        file.as_file().set_len(file.as_file().metadata().unwrap().len() / 2).unwrap();
        let does = format!("put {} {name}; del {name}", file.path().display(), name = order.filename);
        client(order.mount.as_ref().unwrap(), &does);
        Err("No space left on device".to_owned())
    };
    supervisor.change(|world| world.writing = Some(Arc::new(writing)));
}

/// It says that it has ended while the last bytes are still on their way, until it was asked for that twice.
pub(crate) fn writes_on(supervisor: &Arc<Supervisor>, python: &str, home: &Home) {
    let made = made(python, home, |_| {});
    let pipe = home.path("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let asked = Arc::downgrade(supervisor);
    let writing = move |order: &Order| {
        let bytes = fs::read(made(order).path()).unwrap();
        let (mount, name, from) = (order.mount.clone().unwrap(), order.filename.clone(), pipe.clone());
        let sending = std::thread::spawn(move || put(&mount, &from, &name));
        let mut into = fs::OpenOptions::new().write(true).open(&pipe).unwrap();
        let (first, rest) = bytes.split_at(bytes.len() / 2);
        into.write_all(first).unwrap();
        let (rest, asked) = (rest.to_vec(), asked.clone());
        std::thread::spawn(move || {
            let count = || {
                let asked = asked.upgrade().map(|supervisor| supervisor.asked()).unwrap_or_default();
                asked.iter().filter(|asked| asked.method == "GET" && asked.path.starts_with("/jobs/")).count()
            };
            let before = count();
            while count() < before + 2 {
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
            into.write_all(&rest).unwrap();
            drop(into);
            sending.join().unwrap()
        });
        Ok(bytes.len() as u64)
    };
    supervisor.change(|world| world.writing = Some(Arc::new(writing)));
}

/// A backup as it was ordered.
fn made(
    python: &str,
    home: &Home,
    change: impl Fn(&mut Value) + Send + Sync + 'static,
) -> impl Fn(&Order) -> tempfile::NamedTempFile + Send + Sync + 'static {
    let (python, config) = (python.to_owned(), home.path("config"));
    move |order: &Order| {
        let mut spec = spec(&order.name, json!({ "slug": order.slug, "compressed": order.compressed }));
        spec["password"] = json!(order.password);
        change(&mut spec);
        let file = tempfile::NamedTempFile::new().unwrap();
        write(&python, file.path(), &config, &spec);
        file
    }
}

/// Has Supervisor restore as it does: it unpacks a backup into a directory beside that, reads it back when it is told to
/// go on, and removes it.
pub(crate) fn unpacks(supervisor: &Supervisor, home: &Home, mount: &Map<String, Value>) {
    const SCRATCH: &str = "tmpab_cd123";
    let (there, back) = (home.path("unpacked"), home.path("back"));
    for directory in [&there, &back] {
        fs::create_dir(directory).unwrap();
    }
    let (nas, copy, to, of) = (home.path("nas"), home.path("copy.tar"), there.clone(), mount.clone());
    let is_well = |said: String| if said.contains("NT_STATUS") { Err(said) } else { Ok(()) };
    let unpacking = move |_: &Restoration| {
        is_well(client(&of, &format!("get {} {}", archives(&nas)[0], copy.display())))?;
        assert!(Command::new("tar").arg("-xf").arg(&copy).arg("-C").arg(&to).status().unwrap().success());
        let puts = names(&to).into_iter().map(|name| format!("put {} {name}", to.join(&name).display()));
        let does: Vec<String> = [format!("mkdir {SCRATCH}"), format!("cd {SCRATCH}")].into_iter().chain(puts).collect();
        is_well(client(&of, &does.join("; ")))
    };
    let of = mount.clone();
    let restoring = move |_: &Restoration| {
        let gets = names(&there).into_iter().map(|name| format!("get {name} {}", back.join(&name).display()));
        let does: Vec<String> = [format!("cd {SCRATCH}")].into_iter().chain(gets).collect();
        is_well(client(&of, &does.join("; ")))?;
        for name in names(&there) {
            if fs::read(there.join(&name)).unwrap() != fs::read(back.join(&name)).unwrap_or_default() {
                return Err(format!("{name} is not what was unpacked"));
            }
        }
        is_well(client(&of, &format!("cd {SCRATCH}; del *; cd ..; rmdir {SCRATCH}")))
    };
    supervisor.change(|world| {
        world.unpacking = Some(Arc::new(unpacking));
        world.restoring = Some(Arc::new(restoring));
    });
}

fn names(directory: &Path) -> Vec<String> {
    let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    let names: Vec<String> = names.collect();
    assert!(names.iter().any(|name| name == "backup.json"), "{names:?}");
    names
}

/// The archives in a directory.
pub(crate) fn archives(directory: &Path) -> Vec<String> {
    let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> =
        names.filter(|name| Path::new(name).extension().is_some_and(|kind| kind == "tar")).collect();
    names.sort();
    names
}

/// What `haul verify` says of an archive in a word.
pub(crate) fn verdict(home: &Home, archive: &Path) -> String {
    let mut args = vec!["verify", archive.to_str().unwrap(), "--json"];
    if home.path("key").exists() {
        args.extend_from_slice(&["--password-file", "key"]);
    }
    home.json(&args)["judgement"]["verdict"].as_str().unwrap_or_default().to_owned()
}
