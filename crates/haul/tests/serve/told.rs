//! Who is told what: ntfy, webhooks, Home Assistant's services, pings, commands, mail; counters and the text file.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    sync::{Arc, Mutex},
    thread,
};

use serde_json::{Value, json};
use testkit::wait;

use crate::home::{Home, TWO};

/// A request that somebody sent.
#[derive(Clone, Debug)]
struct Request {
    line: String,
    headers: String,
    body: String,
}

impl Request {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }
}

/// Whoever is told: answers everything with this status.
struct Listener {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<Request>>>,
    status: Arc<Mutex<&'static str>>,
}

impl Listener {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (heard, status) = (Arc::<Mutex<Vec<Request>>>::default(), Arc::new(Mutex::new("200 OK")));
        let (hearing, answer) = (Arc::clone(&heard), Arc::clone(&status));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let Some(request) = read(&stream) else { continue };
                let answer = *answer.lock().unwrap();
                let _ = write!(&stream, "HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                hearing.lock().unwrap().push(request);
            }
        });
        Self { address, heard, status }
    }

    fn heard(&self) -> Vec<Request> {
        self.heard.lock().unwrap().clone()
    }

    fn answer(&self, status: &'static str) {
        *self.status.lock().unwrap() = status;
    }
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut headers = String::new();
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        if header.trim().is_empty() {
            break;
        }
        if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        headers.push_str(&header);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request { line: line.trim_end().to_owned(), headers, body: String::from_utf8(body).ok()? })
}

#[test]
fn every_channel_gets_a_test_message_and_no_secret_leaves_its_file() {
    let listener = Listener::start();
    let at = listener.address;
    let home = Home::new(&format!(
        "{TWO}
[notify.a-ntfy]
ntfy = \"http://{at}/topics/very-secret\"
token_file = \"token\"
[notify.b-hook]
webhook = \"http://{at}/hook?key=very-secret\"
[notify.c-ha]
home_assistant = \"http://{at}/sub\"
token_file = \"token\"
[notify.d-phone]
home_assistant = \"http://{at}\"
token_file = \"token\"
service = \"notify.mobile_app_phone\"
[notify.e-ping]
ping = \"http://{at}/ping/very-secret\"
[notify.f-command]
command = \"cat > said.json; printf %s \\\"$HAUL_TITLE\\\" > title\"
"
    ));
    fs::write(home.path("token"), "very-secret-token\n").unwrap();
    let (code, text) = home.haul(&["notify", "check"]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(text.matches("sent").count(), 6, "{text}");
    let heard = listener.heard();
    let lines: Vec<&str> = heard.iter().map(|request| request.line.as_str()).collect();
    assert_eq!(
        lines,
        [
            "POST /topics HTTP/1.1",
            "POST /hook?key=very-secret HTTP/1.1",
            "POST /sub/api/services/persistent_notification/create HTTP/1.1",
            "POST /api/services/notify/mobile_app_phone HTTP/1.1",
            "POST /ping/very-secret/log HTTP/1.1",
        ]
    );
    assert!(heard[0].headers.contains("authorization: Bearer very-secret-token"), "{}", heard[0].headers);
    assert!(!heard[1].headers.contains("authorization"));
    assert_eq!(heard[0].json()["topic"], "very-secret");
    assert_eq!(heard[1].json()["kind"], "test");
    assert_eq!(heard[2].json()["notification_id"], "haul_test");
    assert_eq!(heard[3].json()["data"]["tag"], "haul_test");
    let said: Value = serde_json::from_str(&fs::read_to_string(home.path("said.json")).unwrap()).unwrap();
    assert_eq!(said["message"], heard[1].json()["message"]);
    assert_eq!(fs::read_to_string(home.path("title")).unwrap(), "Haul: a test");
    // What goes wrong is said without the address.
    listener.answer("403 Forbidden");
    let (code, text) = home.haul(&["notify", "check", "b-hook"]);
    assert_eq!(code, 1);
    assert!(text.contains("127.0.0.1 answered 403 Forbidden") && text.contains("check the access token"), "{text}");
    let (code, text) = home.haul(&["notify", "check", "--json"]);
    assert_eq!(code, 1);
    assert!(!text.contains("very-secret"), "{text}");
    fs::remove_file(home.path("token")).unwrap();
    let (_, text) = home.haul(&["notify", "check", "a-ntfy"]);
    assert!(text.contains("token can't be read: no such file"), "{text}");
    let (code, text) = home.haul(&["notify", "check", "b-hok"]);
    assert_eq!((code, text.contains("there is no channel \"b-hok\"")), (2, true), "{text}");
}

#[test]
fn a_problem_is_told_once_and_its_end_too_and_nothing_is_lost_while_nobody_listens() {
    let listener = Listener::start();
    let at = listener.address;
    let home = Home::new(&format!(
        "{TWO}\n[notify.hook]\nwebhook = \"http://{at}/hook\"\non = \"backups\"\n[notify.ping]\nping = \
         \"http://{at}/ping\"\njobs = \"home\"\n"
    ));
    fs::rename(home.path("config/.HA_VERSION"), home.path("version")).unwrap();
    listener.answer("500 Internal Server Error");
    let service = home.serve();
    wait::until("a failure to tell is seen", || {
        home.status()["problems"].as_array().unwrap().iter().any(|problem| problem["kind"] == "notify-failed")
    });
    let said = || -> Vec<String> {
        let of = |request: &Request| {
            let json = request.json();
            match request.line.split(' ').nth(1).unwrap() {
                "/hook" => format!("{} {}", json["kind"].as_str().unwrap(), json["level"].as_str().unwrap()),
                path => path.to_owned(),
            }
        };
        listener.heard().iter().map(of).collect()
    };
    wait::until("the failed backup is pinged", || said().iter().any(|said| said == "/ping/fail"));
    assert!(said().contains(&"/ping/start".to_owned()));
    drop(service);
    // The next service finds that it was not told yet, and tells it although nothing new happened.
    listener.answer("200 OK");
    listener.heard.lock().unwrap().clear();
    let service = home.serve();
    let count = |what: &str| said().iter().filter(|said| *said == what).count();
    wait::until("it is told", || count("problem error") == 1);
    wait::until("it arrives", || {
        home.status()["problems"].as_array().unwrap().iter().all(|problem| problem["kind"] != "notify-failed")
    });
    fs::rename(home.path("version"), home.path("config/.HA_VERSION")).unwrap();
    assert!(home.ask("POST", "jobs/home/run").is_some());
    home.settled(2);
    wait::until("that it is over is told", || count("over ok") == 1 && count("backup ok") == 1);
    wait::until("success is pinged", || said().iter().any(|said| said == "/ping"));
    let hook = listener.heard().into_iter().filter(|request| request.line.contains("/hook"));
    let begun = hook.map(|request| request.json()).find(|json| json["kind"] == "problem").unwrap();
    assert_eq!((&begun["job"], &begun["problem"]["kind"]), (&"home".into(), &"backup-failed".into()), "{begun}");
    assert!(begun["message"].as_str().unwrap().contains(".HA_VERSION"), "{begun}");
    drop(service);
    let told = said().len();
    let again = home.serve();
    home.settled(2);
    assert_eq!(said().len(), told, "nothing is told twice: {:?}", said());
    drop(again);
}

#[test]
fn a_run_without_the_service_tells_and_pings_before_it_ends_and_writes_its_text_file() {
    let listener = Listener::start();
    let at = listener.address;
    let home = Home::new(&format!(
        "{TWO}\n[notify.hook]\nwebhook = \"http://{at}/hook\"\non = \"backups\"\n[notify.ping]\nping = \
         \"http://{at}/ping\"\n"
    ));
    let file = home.path("haul.prom");
    let (code, text) = home.haul(&["run", "home", "--textfile", file.to_str().unwrap()]);
    assert_eq!(code, 0, "{text}");
    let mut lines: Vec<String> = listener.heard().into_iter().map(|request| request.line).collect();
    lines.sort();
    assert_eq!(lines, ["POST /hook HTTP/1.1", "POST /ping HTTP/1.1", "POST /ping/start HTTP/1.1"]);
    let metrics = fs::read_to_string(&file).unwrap();
    assert!(metrics.contains("haul_tasks_total{kind=\"backup\",backup_job=\"home\",ending=\"done\"} 1\n"), "{metrics}");
    assert!(metrics.contains("haul_backup_newest_copies{backup_job=\"home\"} 2\n"), "{metrics}");
    let service = home.serve();
    let (code, text) = home.haul(&["status", "--textfile", file.to_str().unwrap()]);
    assert_eq!(code, 0, "{text}");
    assert!(fs::read_to_string(&file).unwrap().contains("haul_tasks_total"));
    // node_exporter is another user, and nobody else is to write it.
    for umask in ["000", "077"] {
        let through = format!("umask {umask}; exec \"$0\" \"$@\"");
        home.haul_in(&["sh", "-c", &through], &["status", "--textfile", file.to_str().unwrap()]);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644, "{umask}");
    }
    drop(service);
    let (code, text) = home.haul(&["status", "--textfile", home.path("none/haul.prom").to_str().unwrap()]);
    assert_eq!(code, 1);
    assert!(text.contains("none/haul.prom: no such") && text.contains("--textfile"), "{text}");
    let left: Vec<_> = fs::read_dir(home.path("")).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with(".haul.prom")), "{left:?}");
}

#[test]
fn a_wrong_channel_names_its_line() {
    let home = Home::new(TWO);
    for (channel, says) in [
        ("on = \"errors\"", "[notify.x] does not say how it is reached"),
        ("ntfy = \"https://a/b\"\nwebhook = \"https://a/b\"", "has ntfy and webhook; a channel has one of them"),
        ("ntfy = \"https://ntfy.example.net\"", "the address names no topic"),
        ("ntfy = \"ftp://a/b\"", "an address begins with https:// or http://"),
        ("webhook = \"https://me:pw@a/b\"", "a password does not belong into an address"),
        ("webhook = \"https://a/b\"\nsmtp = \"smtp://a\"", "smtp does not belong to a channel with webhook"),
        ("webhook = \"https://a/b\"\non = \"weekly\"", "\"weekly\" is not one of nothing, errors, problems"),
        ("webhook = \"https://a/b\"\njobs = [\"hom\"]", "there is no job \"hom\"; did you mean \"home\"?"),
        ("home_assistant = \"http://a:8123\"", "has no token_file"),
        ("home_assistant = \"http://a\"\ntoken_file = \"t\"\nservice = \"phone\"", "is no service of Home Assistant"),
        ("email = \"me\"\nsmtp = \"smtp://a\"", "email: \"me\" is no e-mail address"),
        ("email = \"me@example.net\"", "has no smtp"),
        ("email = \"me@example.net\"\nsmtp = \"smtp://me@a\"", "smtp with a user needs password_file"),
        ("pin = \"https://a/b\"", "did you mean \"ping\"?"),
    ] {
        home.configure(&format!("{TWO}[notify.x]\n{channel}\n"));
        let (code, text) = home.haul(&["status"]);
        assert_eq!(code, 2, "{channel}: {text}");
        assert!(text.contains(says) && text.contains("haul.toml, line "), "{channel}: {text}");
        assert!(!text.contains(":pw@"), "{text}");
    }
}

#[test]
fn mail_arrives_at_a_real_server() {
    let Some(mut server) = smtp() else { return };
    let home = Home::new(&format!(
        "{TWO}\n[notify.mail]\nemail = [\"Me <me@example.net>\", \"you@example.net\"]\nfrom = \"haul@example.net\"\n\
         smtp = \"smtp://127.0.0.1:{}\"\n",
        server.port
    ));
    let (code, text) = home.haul(&["notify", "check"]);
    assert_eq!(code, 0, "{text}");
    let mut output = String::new();
    let _ = server.process.kill();
    server.process.stdout.take().unwrap().read_to_string(&mut output).unwrap();
    for part in
        ["Subject: Haul: a test", "From: haul@example.net", "you@example.net", "messages of this channel arrive"]
    {
        assert!(output.contains(part), "{part}: {output}");
    }
    let (code, text) = home.haul(&["notify", "check"]);
    assert_eq!(code, 1);
    assert!(text.contains("mail through 127.0.0.1 can't be sent: connection refused"), "{text}");
}

struct Smtp {
    port: u16,
    process: std::process::Child,
}

impl Drop for Smtp {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn smtp() -> Option<Smtp> {
    let python = std::env::var("HAUL_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let process = std::process::Command::new(&python)
        .args(["-u", "-m", "aiosmtpd", "-n", "-l", &format!("127.0.0.1:{port}")])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .ok()?;
    let mut server = Smtp { port, process };
    loop {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Some(server);
        }
        if server.process.try_wait().unwrap().is_some() {
            assert!(std::env::var("CI").is_err(), "aiosmtpd is missing: set HAUL_PYTHON to a Python that has it");
            let _ = writeln!(std::io::stderr(), "skipped: aiosmtpd is missing");
            return None;
        }
        thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn who_is_told_is_set_and_tried_on_the_page_and_secrets_stay_where_they_are() {
    let (listener, other) = (Listener::start(), Listener::start());
    let home =
        Home::new(&format!("# mine\n{TWO}\n[notify.old] # by hand\nwebhook = \"http://{}/old\"\n", other.address));
    let _service = home.serve();
    let topic = |at: SocketAddr| format!("http://{at}/my-topic");
    let configuration = || fs::read_to_string(home.path("haul.toml")).unwrap();
    let secret = home.path("secrets/notify-phone-token");
    let mut wanted = json!({
        "kind": "ntfy", "fields": { "ntfy": topic(listener.address), "token": "very-secret" }, "jobs": ["home"],
    });
    // Trying sends a real message, and keeps nothing.
    let (code, tried) = home.send("POST", "channels/phone/try", &wanted);
    assert_eq!(code, 200, "{tried}");
    let heard = listener.heard();
    assert!(heard.len() == 1 && heard[0].headers.contains("Bearer very-secret"), "{heard:?}");
    assert_eq!(heard[0].json()["topic"], "my-topic");
    assert!(!secret.exists() && !configuration().contains("my-topic"));
    let held = fs::read_dir(home.path("state")).unwrap().flatten();
    assert!(held.map(|entry| entry.file_name()).all(|name| !name.to_string_lossy().starts_with("trying-")));

    let (code, answer) = home.send("PUT", "channels/phone", &wanted);
    assert_eq!(code, 204, "{answer}");
    let text = configuration();
    for line in ["# mine", "[notify.old] # by hand", "token_file = \"secrets/notify-phone-token\"", "jobs = \"home\""] {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert_eq!(fs::read_to_string(&secret).unwrap(), "very-secret");
    assert_eq!(fs::metadata(&secret).unwrap().permissions().mode() & 0o777, 0o600);
    for path in ["/api/v1/settings", "/settings/channels/phone", "/settings"] {
        assert!(!home.text("GET", path).unwrap().contains("very-secret"), "{path}");
    }

    // The token stays, and goes to nobody else unless somebody types it again.
    wanted["fields"] = json!({ "ntfy": topic(listener.address) });
    assert_eq!(home.send("POST", "channels/phone/try", &wanted).0, 200);
    assert!(listener.heard()[1].headers.contains("Bearer very-secret"));
    wanted["fields"] = json!({ "ntfy": topic(other.address) });
    let (code, answer) = home.send("POST", "channels/phone/try", &wanted);
    assert_eq!((code, &answer["field"]), (422, &json!("token")), "{answer}");
    assert_eq!(home.send("PUT", "channels/phone", &wanted).0, 422);
    assert!(other.heard().is_empty(), "nobody called there");
    wanted["fields"]["token"] = json!("another");
    assert_eq!(home.send("PUT", "channels/phone", &wanted).0, 204);
    let files = || fs::read_dir(home.path("secrets")).unwrap().count();
    assert_eq!(files(), 1, "the one before is gone");

    // What is refused is said beside its field, all of it at once.
    listener.answer("403 Forbidden");
    let refused = json!({ "kind": "ntfy", "fields": { "ntfy": topic(listener.address), "token": "x" } });
    let (code, answer) = home.send("POST", "channels/new/try", &refused);
    assert_eq!((code, &answer["field"]), (422, &json!("token")), "{answer}");
    assert!(answer["error"].as_str().unwrap().contains("answered 403"), "{answer}");
    let wrong = json!({ "kind": "home_assistant", "fields": { "service": "phone" }, "on": "never", "jobs": ["gone"] });
    let (code, answer) = home.send("PUT", "channels/new", &wrong);
    let others = answer["others"].as_array().unwrap().iter().map(|other| other["field"].as_str().unwrap().to_owned());
    let fields: Vec<String> = [answer["field"].as_str().unwrap().to_owned()].into_iter().chain(others).collect();
    assert_eq!(
        (code, fields),
        (422, ["home_assistant", "token", "on", "service", "jobs"].map(str::to_owned).to_vec()),
        "{answer}"
    );

    let (code, answer) = home.send("DELETE", "channels/phone", &Value::Null);
    assert_eq!((code, files()), (204, 0), "{answer}");
    assert!(!configuration().contains("notify.phone") && configuration().contains("[notify.old] # by hand"));
    assert!(!home.log().contains("very-secret"));
}
