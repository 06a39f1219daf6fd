//! A simulated Supervisor for benches, whose backups a command writes: `supervisor COMMAND ARG…`. The command finds in its
//! environment what it is to write (`NAME`, `SLUG`, `FILE`) and where: the network storage's `SERVER`, `PORT`, `SHARE`,
//! `USERNAME` and `PASSWD`. Prints its address and the app's token, and runs until standard input ends.

use std::{
    env,
    io::{self, Read, Write},
    process::Command,
    sync::Arc,
};

use testkit::supervisor::{Order, Supervisor, TOKEN, World};

fn main() -> io::Result<()> {
    let command: Vec<String> = env::args().skip(1).collect();
    let writing = move |order: &Order| {
        let [program, args @ ..] = &command[..] else { return Err("no command was given".to_owned()) };
        let mount = order.mount.clone().unwrap_or_default();
        let said = |key: &str| mount[key].as_str().map_or_else(|| mount[key].to_string(), str::to_owned);
        let mut writer = Command::new(program);
        writer.args(args).env("NAME", &order.name).env("SLUG", &order.slug).env("FILE", &order.filename);
        for key in ["server", "port", "share", "username"] {
            writer.env(key.to_uppercase(), said(key));
        }
        let output = writer.env("PASSWD", said("password")).output();
        let output = output.map_err(|error| format!("{program} does not start: {error}"))?;
        // Nobody asks how long it is.
        if output.status.success() { Ok(0) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
    };
    let supervisor = Supervisor::start(World { writing: Some(Arc::new(writing)), ..World::default() });
    let mut out = io::stdout();
    writeln!(out, "{} {TOKEN}", supervisor.url())?;
    out.flush()?;
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
