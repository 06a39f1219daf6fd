//! The program: reads the command line, runs one command, and ends with its exit code and message.
//!
//! The engine knows what backups are; this crate holds arguments ([`args`]), passwords, progress, reports and the table
//! of failures ([`failure`]).

mod app;
mod args;
mod browse;
mod clock;
mod command;
mod config;
mod destination;
mod failure;
mod folder;
mod gentle;
mod hooks;
mod in_app;
mod init;
mod keys;
mod listening;
mod log_lines;
mod lookups;
mod migrate;
mod mounted;
mod notify;
mod output;
mod password;
mod printed;
mod progress;
mod rehearsal;
mod serve;
mod shrunk;
mod stored;
mod text;
mod units;

use std::{process::ExitCode, sync::Arc};

use clap::CommandFactory;
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ},
    iterator::Signals,
};
use store::Cancellation;

use crate::{
    args::{Cli, Command, DestinationCommand, NotifyCommand},
    config::Config,
    failure::{DONE, FAILED, Failure, INTERRUPTED},
};

fn main() -> ExitCode {
    // A file that may not grow any further (`ulimit -f`) fails with an error of its own; the signal would end the
    // program with everything half done.
    let _ = signal_hook::flag::register(SIGXFSZ, Arc::default());
    lookups::need_no_modules();
    let done = rehearsal::inside()
        .or_else(|| init::first_process().map(Ok))
        .unwrap_or_else(|| config::command_line().and_then(|(cli, config)| run(&cli.command, &config)));
    let code = done.unwrap_or_else(|failure| {
        output::failure(&failure);
        failure.code
    });
    ExitCode::from(code)
}

fn run(command: &Command, config: &Config) -> Result<u8, Failure> {
    clock::set(config.time_zone().cloned());
    destination::check_state_directory()?;
    match command {
        Command::Backup(args) => command::backup::run(args, config, &interruption()?),
        Command::Migrate(args) => command::migrate::run(args, &interruption()?),
        Command::Push(args) => command::push::run(args, config, &interruption()?),
        Command::Verify(args) => command::verify::run(args, config, &interruption()?),
        Command::Inspect(args) => command::inspect::run(args, config, &interruption()?),
        Command::Rehearse(args) => match command::jobs::rehearsed(args, config)? {
            Some(job) => command::jobs::rehearse(job, args, config, &interruption()?),
            None => command::rehearse::run(args, config, &interruption()?),
        },
        Command::Repair(args) => command::repair::run(args, config, &interruption()?),
        Command::Restore(args) => command::restore::run(args, config, &interruption()?),
        Command::List(args) => command::list::run(args, config, &interruption()?),
        Command::Ls(args) => command::ls::run(args, config, &interruption()?),
        Command::Cat(args) => command::cat::run(args, config, &interruption()?),
        Command::Diff(args) => command::diff::run(args, config, &interruption()?),
        Command::Get(args) => command::get::run(args, config, &interruption()?),
        Command::Rm(args) => command::rm::run(args, config, &interruption()?),
        Command::Prune(args) => command::prune::run(args, config, &interruption()?),
        Command::Pin(args) => command::pin::pin(args, config, &interruption()?),
        Command::Unpin(args) => command::pin::unpin(args, config, &interruption()?),
        Command::Serve(args) => serve::run(args, config.clone(), &interruption()?),
        Command::App(args) => {
            let leave = serve::Leave::default();
            serve::run_as_app(args, config.clone(), &leave, &interruption_unless(Some(leave.clone()))?)
        }
        Command::Run(args) => command::jobs::run(args, config, &interruption()?),
        Command::Status(args) => command::jobs::status(args, config),
        Command::Pause(args) => command::jobs::pause(args, config, true),
        Command::Resume(args) => command::jobs::pause(args, config, false),
        Command::Jobs(args) => command::jobs::jobs(args, config),
        Command::Notify(NotifyCommand::Check(args)) => command::notify::check(args, config, &interruption()?),
        Command::Destination(DestinationCommand::List { json }) => command::destination::list(config, *json),
        Command::Destination(DestinationCommand::Check(args)) => {
            command::destination::check(args, config, &interruption()?)
        }
        Command::Receive(args) => command::receive::run(args, config, &interruption()?),
        Command::Share(args) => command::share::run(args, config, &interruption()?),
        Command::Vault(command) => command::vault::run(command, config, &interruption()?),
        Command::Peers(args) => command::peers::run(args),
        Command::Auth(args) => command::auth::run(args, config, &interruption()?),
        Command::Demo(args) => command::demo::run(args, &interruption()?),
        Command::DemoRecorder { directory, interval_ms } => command::demo::record(directory, *interval_ms),
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "haul", &mut text);
            output::text_out(&String::from_utf8_lossy(&text))?;
            Ok(DONE)
        }
        Command::Man { directory } => {
            let written =
                std::fs::create_dir_all(directory).and_then(|()| clap_mangen::generate_to(Cli::command(), directory));
            written.map_err(|error| {
                let (directory, reason) =
                    (engine::shown(directory.as_os_str().as_encoded_bytes()), engine::plain_reason(&error));
                Failure::new(FAILED, format!("can't write manual pages to {directory}: {reason}"))
                    .hint("give a directory that you may write to")
                    .about(directory, reason)
            })?;
            Ok(DONE)
        }
    }
}

/// Ends the job at the first Ctrl-C, SIGTERM or SIGHUP: it then stops and tidies up. The second one ends the program at
/// once; the next run tidies up after it.
fn interruption() -> Result<Cancellation, Failure> {
    interruption_unless(None)
}

/// The same, unless the first SIGTERM may wait.
fn interruption_unless(mut leave: Option<serve::Leave>) -> Result<Cancellation, Failure> {
    const SIGNALS: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];
    let cannot = |error| Failure::new(FAILED, format!("can't watch for Ctrl-C: {error}"));
    let cancel = Cancellation::default();
    for signal in SIGNALS {
        let flag = cancel.flag();
        signal_hook::flag::register_conditional_shutdown(signal, i32::from(INTERRUPTED), Arc::clone(flag))
            .map_err(cannot)?;
        // Whoever is to be asked first decides for the flag too.
        if signal != SIGTERM || leave.is_none() {
            signal_hook::flag::register(signal, Arc::clone(flag)).map_err(cannot)?;
        }
    }
    let mut signals = Signals::new(SIGNALS).map_err(cannot)?;
    let canceller = cancel.clone();
    let watching = std::thread::Builder::new().name("haul-signals".to_owned()).spawn(move || {
        // A handler may set a flag and no more; the waits are woken from here.
        for signal in signals.forever() {
            let may_wait = if signal == SIGTERM { leave.take() } else { None };
            if may_wait.is_some_and(|leave| leave.waits()) {
                continue;
            }
            canceller.cancel();
            break;
        }
    });
    watching.map_err(cannot)?;
    if cancel.is_cancelled() {
        // The signal came before anybody watched.
        cancel.cancel();
    }
    output::heed(&cancel);
    Ok(cancel)
}
