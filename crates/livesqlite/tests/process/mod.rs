//! Another process, because SQLite's locks mean nothing inside one: the test program runs itself again with a role. A
//! role prints `@word …` on stdout, and continues when a line arrives on stdin.

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

const ROLE: &str = "LIVESQLITE_TEST_ROLE";
const DATABASE: &str = "LIVESQLITE_TEST_DATABASE";

/// A running role.
pub struct Other {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Other {
    /// Starts `role` on a database and waits until it is ready.
    pub fn start(role: &str, database: &Path) -> Self {
        let mut child = this_program()
            .args(["--exact", "another_process", "--nocapture"])
            .env(ROLE, role)
            .env(DATABASE, database)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let stdin = child.stdin.take();
        let mut other = Self { child, stdin, lines };
        assert_eq!(other.hear(), "ready");
        other
    }

    /// The next thing it says.
    pub fn hear(&mut self) -> String {
        loop {
            let line = self.lines.next().expect("the other process ended").unwrap();
            // The test harness prints on the same line.
            if let Some((_, answer)) = line.split_once('@') {
                return answer.to_owned();
            }
        }
    }

    /// Lets it go on, and returns what it says then.
    pub fn go_on(&mut self) -> String {
        writeln!(self.stdin.as_mut().unwrap()).unwrap();
        self.hear()
    }

    /// kill -9.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// This program, to be run again. Where it runs in an emulator, the kernel can't start it, and the emulator must be
/// named.
fn this_program() -> Command {
    let program = std::env::current_exe().unwrap();
    let Some(emulator) = std::env::var_os("HAUL_EMULATOR") else { return Command::new(program) };
    let mut command = Command::new(emulator);
    command.arg(program);
    command
}

/// The body of the test named `another_process`: plays the role asked for, if any.
pub fn play(act: impl FnOnce(&str, &Path)) {
    if let (Ok(role), Some(database)) = (std::env::var(ROLE), std::env::var_os(DATABASE)) {
        act(&role, Path::new(&database));
    }
}

/// In a role: sends a message to the test.
pub fn say(text: &str) {
    println!("@{text}");
    std::io::stdout().flush().unwrap();
}

/// In a role: waits for [`Other::go_on`].
pub fn wait() {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
}
