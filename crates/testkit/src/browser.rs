//! A real browser: Debian's Chromium, driven by its chromedriver in the words of W3C WebDriver.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::{
    env, fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use tempfile::TempDir;

/// What `WebDriver` calls an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
/// No test waits longer for the page.
const BOUND: Duration = Duration::from_mins(1);
/// Between two looks at the page: each costs the browser something.
const STEP: Duration = Duration::from_millis(40);

/// The key that goes to what comes next.
pub const TAB: &str = "\u{E004}";
/// The key that presses what is focused.
pub const ENTER: &str = "\u{E007}";

/// A browser with one window. It ends when this is dropped.
pub struct Browser {
    driver: Child,
    port: u16,
    session: String,
    directory: TempDir,
}

/// A message that the browser wrote to its console.
#[derive(Debug)]
pub struct Message {
    /// `security`, `javascript`, `network` and others.
    pub source: String,
    /// What it says.
    pub text: String,
}

impl Browser {
    /// `None`: it is not installed; standard error says so.
    ///
    /// # Panics
    /// When it does not start, or is missing and `CI` is set.
    pub fn start() -> Option<Self> {
        let directory = TempDir::new().expect("a directory for the browser");
        // What it writes goes to its own directory; a home of somebody who runs the tests is none of its business.
        let driver = Command::new("chromedriver")
            .arg("--port=0")
            .env("HOME", directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let Ok(mut driver) = driver else { return crate::process::missing("chromedriver (package chromium-driver)") };
        let output = driver.stdout.take().expect("its output is a pipe");
        let port = BufReader::new(output).lines().map_while(Result::ok).find_map(|line| {
            let (_, port) = line.split_once("started successfully on port ")?;
            port.trim_end_matches('.').parse().ok()
        });
        let mut browser = Self { driver, port: port.expect("chromedriver listens"), session: String::new(), directory };
        fs::create_dir(browser.downloads()).expect("a directory for downloads");
        let arguments = [
            "--headless=new",
            // In a container root has no namespaces to put it into; it sees only our own pages.
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--no-proxy-server",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ];
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": {"args": arguments},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }}});
        match browser.ask("POST", "/session", &wanted) {
            Ok(made) => made["sessionId"].as_str().unwrap_or_default().clone_into(&mut browser.session),
            Err(why) if why.contains("cannot find Chrome binary") => return crate::process::missing("chromium"),
            Err(why) => panic!("the browser does not start: {why}"),
        }
        browser.cdp(
            "Browser.setDownloadBehavior",
            &json!({"behavior": "allow", "downloadPath": browser.downloads(), "eventsEnabled": false}),
        );
        Some(browser)
    }

    /// Where it puts what is downloaded.
    pub fn downloads(&self) -> PathBuf {
        self.directory.path().join("downloads")
    }

    /// What was downloaded under this name, once all of it is there.
    pub fn downloaded(&self, name: &str) -> Vec<u8> {
        self.found(&format!("{name} is downloaded"), || fs::read(self.downloads().join(name)).ok())
    }

    /// Opens an address, and waits until it is loaded.
    ///
    /// # Panics
    /// When nothing answers there.
    pub fn visit(&self, address: &str) {
        self.command("POST", "url", &json!({"url": address})).unwrap_or_else(|why| panic!("{address}: {why}"));
    }

    /// What a script says; `arguments` are in its own.
    ///
    /// # Panics
    /// When it throws.
    pub fn run(&self, script: &str, arguments: &[Value]) -> Value {
        self.tried(script, arguments).unwrap_or_else(|why| panic!("{script}: {why}"))
    }

    fn tried(&self, script: &str, arguments: &[Value]) -> Result<Value, String> {
        self.command("POST", "execute/sync", &json!({"script": script, "args": arguments}))
    }

    /// What a script passes to its last argument, a function.
    ///
    /// # Panics
    /// When it throws, or never does so.
    pub fn run_until_done(&self, script: &str, arguments: &[Value]) -> Value {
        let asked = json!({"script": script, "args": arguments});
        self.command("POST", "execute/async", &asked).unwrap_or_else(|why| panic!("a script: {why}"))
    }

    /// Waits until an expression is true. One that throws is not, for the page may be on its way to another.
    pub fn wait(&self, what: &str, expression: &str, arguments: &[Value]) {
        let script = format!("return !!({expression})");
        self.found(what, || (self.tried(&script, arguments) == Ok(Value::Bool(true))).then_some(()));
    }

    /// Waits until the page says something.
    pub fn says(&self, text: &str) {
        let expression = "document.querySelector('main').innerText.replace(/\\s+/g, ' ').includes(arguments[0])";
        self.wait(&format!("the page says {text:?}"), expression, &[text.into()]);
    }

    fn found<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let until = Instant::now() + BOUND;
        loop {
            if let Some(found) = look() {
                return found;
            }
            if Instant::now() > until {
                let page = self.tried("return location.href + '\\n' + document.body.innerText", &[]);
                panic!("waited in vain until {what}\n{}", page.unwrap_or_default().as_str().unwrap_or_default());
            }
            thread::sleep(STEP);
        }
    }

    /// Clicks what a CSS selector names first as a user does, once that can be seen and is not covered.
    pub fn click(&self, selector: &str) {
        self.do_with("click", selector, "", &json!({}));
    }

    /// Clicks the first of these elements that has this text.
    pub fn click_text(&self, selector: &str, text: &str) {
        let script = "return [...document.querySelectorAll(arguments[0])].find(
            (one) => one.textContent.trim().replace(/\\s+/g, ' ') === arguments[1])";
        self.found(&format!("{selector} that says {text:?} can be clicked"), || {
            let found = self.tried(script, &[selector.into(), text.into()]).ok()?;
            self.do_to(&found, "click", &json!({})).ok()
        });
    }

    /// Types into a field instead of what is in it.
    pub fn fill(&self, selector: &str, text: &str) {
        self.do_with("clear", selector, "", &json!({}));
        self.do_with("value", selector, text, &json!({"text": text}));
    }

    /// The page may just be putting another element in its place: then it is done to that one.
    fn do_with(&self, what: &str, selector: &str, text: &str, body: &Value) {
        let wanted = json!({"using": "css selector", "value": selector});
        self.found(&format!("{what} {text} is possible at {selector}"), || {
            let found = self.command("POST", "element", &wanted).ok()?;
            self.do_to(&found, what, body).ok()
        });
    }

    fn do_to(&self, element: &Value, what: &str, body: &Value) -> Result<(), String> {
        let id = element[ELEMENT].as_str().ok_or("no element")?;
        // A user scrolls as well; below a bar that stays, the driver takes it for visible.
        self.tried("arguments[0].scrollIntoView({block: 'center'})", std::slice::from_ref(element))?;
        self.command("POST", &format!("element/{id}/{what}"), body).map(drop)
    }

    /// Presses keys, wherever the focus is.
    ///
    /// # Panics
    /// When the browser refuses.
    pub fn press(&self, keys: &str) {
        let presses = keys.chars().flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({"type": kind, "value": key})));
        let presses: Vec<Value> = presses.collect();
        let actions = json!({"actions": [{"type": "key", "id": "keyboard", "actions": presses}]});
        self.command("POST", "actions", &actions).unwrap_or_else(|why| panic!("a key: {why}"));
    }

    /// A screen so wide, light or dark.
    pub fn screen(&self, width: u32, is_dark: bool) {
        let is_phone = width < 600;
        let size = json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": is_phone});
        self.cdp("Emulation.setDeviceMetricsOverride", &size);
        let scheme = if is_dark { "dark" } else { "light" };
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.cdp("Emulation.setEmulatedMedia", &features);
    }

    /// A picture of the whole page.
    ///
    /// # Panics
    /// When it can't be taken or written.
    pub fn picture(&self, to: &Path) {
        let wanted = json!({"format": "png", "captureBeyondViewport": true, "fromSurface": true});
        let taken = self.cdp("Page.captureScreenshot", &wanted);
        let bytes = BASE64_STANDARD.decode(taken["data"].as_str().unwrap_or_default()).expect("a picture");
        fs::write(to, bytes).expect("the picture is written");
    }

    /// The addresses that were asked for since the last time.
    pub fn requests(&self) -> Vec<String> {
        let messages = self.log("performance").into_iter().filter_map(|entry| {
            let message: Value = serde_json::from_str(entry["message"].as_str()?).ok()?;
            let message = &message["message"];
            let is_request = message["method"] == "Network.requestWillBeSent";
            let address = message["params"]["request"]["url"].as_str().map(str::to_owned);
            address.filter(|_| is_request)
        });
        messages.collect()
    }

    /// What was written to the console since the last time.
    pub fn console(&self) -> Vec<Message> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        self.log("browser")
            .iter()
            .map(|entry| Message { source: text(&entry["source"]), text: text(&entry["message"]) })
            .collect()
    }

    fn log(&self, kind: &str) -> Vec<Value> {
        let log = self.command("POST", "se/log", &json!({"type": kind})).expect("the browser's log");
        log.as_array().cloned().unwrap_or_default()
    }

    fn cdp(&self, command: &str, parameters: &Value) -> Value {
        let asked = json!({"cmd": command, "params": parameters});
        self.command("POST", "goog/cdp/execute", &asked).unwrap_or_else(|why| panic!("{command}: {why}"))
    }

    fn command(&self, method: &str, what: &str, body: &Value) -> Result<Value, String> {
        self.ask(method, &format!("/session/{}/{what}", self.session), body)
    }

    /// What the driver answers: a value, or why not.
    fn ask(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let answer = exchange(self.port, method, path, &body.to_string()).map_err(|error| error.to_string())?;
        let mut answer: Value = serde_json::from_slice(&answer).map_err(|error| error.to_string())?;
        let value = answer["value"].take();
        match value["error"].as_str() {
            Some(error) if value["message"].is_string() => {
                let message = value["message"].as_str().unwrap_or_default();
                Err(format!("{error}: {}", message.lines().next().unwrap_or_default()))
            }
            _ => Ok(value),
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver ends the browser; it would leave it behind if it were killed before.
        let _ = self.ask("DELETE", &format!("/session/{}", self.session), &json!({}));
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// One request to the driver on a connection of its own, and the answer's body.
fn exchange(port: u16, method: &str, path: &str, body: &str) -> io::Result<Vec<u8>> {
    let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    let length = body.len();
    write!(
        connection,
        "{method} {path} HTTP/1.1\r\nHost: localhost:{port}\r\nContent-Type: application/json\r\nContent-Length: \
         {length}\r\nConnection: close\r\n\r\n{body}"
    )?;
    let mut answer = BufReader::new(connection);
    let mut length = 0;
    loop {
        let mut line = String::new();
        answer.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
    }
    let mut body = vec![0; length];
    answer.read_exact(&mut body)?;
    Ok(body)
}

/// axe-core's program text, which a Python package brings along. `None`: it is not installed; standard error says so.
pub fn axe() -> Option<String> {
    let python = env::var("HAUL_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let script = "import axe_playwright_python as axe; print(axe.__path__[0])";
    let found = Command::new(python).args(["-c", script]).stderr(Stdio::null()).output().ok();
    let found = found.filter(|output| output.status.success());
    let Some(directory) = found.and_then(|output| String::from_utf8(output.stdout).ok()) else {
        return crate::process::missing("axe-core (HAUL_PYTHON names a Python that has axe-playwright-python)");
    };
    fs::read_to_string(Path::new(directory.trim()).join("axe.min.js")).ok()
}
