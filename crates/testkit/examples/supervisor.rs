//! A simulated Supervisor for benches, whose backups a command writes: `supervisor COMMAND ARG…`. The command finds the
//! order in the environment variable `ORDER`, as JSON with the mount and its credentials. Prints its address and the
//! app's token, and runs until standard input ends.

use std::{
    env,
    io::{self, Read, Write},
    process::Command,
    sync::Arc,
};

use serde_json::json;
use testkit::supervisor::{Order, Supervisor, TOKEN, World};

fn main() -> io::Result<()> {
    let command: Vec<String> = env::args().skip(1).collect();
    let writing = move |order: &Order| {
        let description = json!({ "name": order.name, "slug": order.slug, "filename": order.filename, "mount": order.mount,
            "password": order.password, "compressed": order.compressed });
        let [program, args @ ..] = &command[..] else { return Err("no command was given".to_owned()) };
        let output = Command::new(program).args(args).env("ORDER", description.to_string()).output();
        let output = output.map_err(|error| format!("{program} does not start: {error}"))?;
        let said = String::from_utf8_lossy(&output.stdout);
        match said.trim().parse() {
            Ok(length) if output.status.success() => Ok(length),
            _ => Err(format!("{said}{}", String::from_utf8_lossy(&output.stderr))),
        }
    };
    let supervisor = Supervisor::start(World { writing: Some(Arc::new(writing)), ..World::default() });
    let mut out = io::stdout();
    writeln!(out, "{} {TOKEN}", supervisor.url())?;
    out.flush()?;
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
