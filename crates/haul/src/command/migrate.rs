//! `haul migrate`.

use engine::{BackupReport, Status};
use homeassistant::{Restored, Secret, Tls};
use serde::Serialize;
use store::Cancellation;

use crate::{
    args::MigrateArgs,
    config::Config,
    destination::{self, Network},
    failure::{DONE, FAILED, Failure, INCOMPLETE},
    migrate::{Move, Sent, Wanted, messages},
    output, password, text,
};

const TOKEN: &str = "HAUL_TOKEN";

/// What a script reads.
#[derive(Serialize)]
struct Document<'a> {
    status: &'static str,
    from: From<'a>,
    to: To<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sent: Option<SentDocument<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    restored: Option<RestoredDocument<'a>>,
    notes: &'a [String],
}

#[derive(Serialize)]
struct From<'a> {
    #[serde(serialize_with = "engine::serialize_path")]
    config: &'a std::path::Path,
    version: &'a str,
    logins: &'a [String],
}

#[derive(Serialize)]
struct To<'a> {
    address: &'a str,
    version: Option<String>,
    installation: Option<&'a str>,
    agent: &'a str,
    fresh: bool,
}

#[derive(Serialize)]
struct SentDocument<'a> {
    backup_id: &'a str,
    sent_again: &'a [String],
    backup: &'a BackupReport,
}

#[derive(Serialize)]
struct RestoredDocument<'a> {
    address: &'a str,
    version: Option<&'a str>,
    seconds: f64,
}

pub(crate) fn run(args: &MigrateArgs, cancel: &Cancellation) -> Result<u8, Failure> {
    let wanted = Wanted {
        config: args.config_dir.clone(),
        to: args.to.clone(),
        password: password::secret_for_new_archive(&args.password, cancel)?,
        token: token(args, cancel)?,
        tls: Tls { insecure: args.insecure },
        exclude_database: args.exclude_database,
        exclude: args.exclude.clone(),
        stop: args.stop_command.clone(),
        start: args.start_command.clone(),
        progress: args.output.progress,
        watched: None,
        advice: &messages::COMMAND,
    };
    let network = Network::start(args.waiting.give_up_after, cancel)?.limited(args.limit.limit, &Config::default());
    let mut moving = Move::look(wanted, network, cancel)?;
    let mut notes = moving.source.notes.clone();
    notes.extend(moving.target.notes());
    if !args.output.json {
        output::lines(&messages::introduced(&moving.source, &moving.target))?;
        output::notes("note", std::mem::take(&mut notes).into_iter());
    }
    allowed(args, &moving, cancel)?;
    if args.dry_run {
        return print_report(args, "checked", &moving, None, None, &notes);
    }
    let sent = moving.send()?;
    if !args.output.json {
        print_sent(&sent, args.no_restore, moving.target.address())?;
    }
    notes.extend(sent.notes.iter().cloned());
    if args.no_restore {
        return print_report(args, "sent", &moving, Some(&sent), None, &notes);
    }
    let restored = moving.restore(&sent)?;
    print_report(args, "restored", &moving, Some(&sent), Some(&restored), &notes)
}

fn token(args: &MigrateArgs, cancel: &Cancellation) -> Result<Option<Secret>, Failure> {
    if let Some(path) = &args.token_file {
        let text = password::text(
            path,
            "token file",
            "give a file that holds a long-lived access token",
            homeassistant::LONGEST,
            cancel,
        )?;
        return Ok(Some(Secret::in_file(path, &text)?));
    }
    Ok(std::env::var(TOKEN)
        .ok()
        .map(|token| token.trim().to_owned())
        .filter(|token| !token.is_empty())
        .map(Secret::new))
}

/// Whether what is there may be replaced. A fresh one holds nothing.
fn allowed(args: &MigrateArgs, moving: &Move, cancel: &Cancellation) -> Result<(), Failure> {
    if moving.target.is_fresh() || args.no_restore {
        return Ok(());
    }
    moving.target.may_be_replaced(args.replace)?;
    if args.yes || args.dry_run {
        return Ok(());
    }
    if args.output.json {
        return Err(Failure::usage("with --json Haul can't ask")
            .hint("use --yes to replace it, or --dry-run to check without sending"));
    }
    let question =
        format!("Everything in {} will be replaced: users, devices, history. Continue?", moving.target.address());
    if destination::confirm(&question, cancel)? {
        Ok(())
    } else {
        Err(Failure::new(FAILED, "nothing was sent or replaced"))
    }
}

fn print_sent(sent: &Sent, is_all: bool, address: &str) -> Result<(), Failure> {
    let report = &sent.report;
    let lock = if report.archive.protected { ", encrypted" } else { "" };
    let mut lines = vec![format!(
        "Sent  {} ({}) as {}{lock} in {}, limited by {}",
        text::count(report.entries, "entry", "entries"),
        text::bytes(report.bytes_in),
        text::bytes(report.archive.size_bytes),
        text::duration(report.seconds),
        report.limited_by.as_str()
    )];
    if is_all {
        lines.push(format!(
            "The backup is on {address} as “{}”; nothing was restored: {}",
            text::sanitize(&report.archive.name),
            messages::BY_HAND
        ));
    }
    output::lines(&lines)?;
    output::notes("sent again", sent.breaks.clone().into_iter());
    if report.judgement.verdict != engine::verdict::Verdict::Whole {
        output::notes("note", [format!("the backup is {}", report.judgement.headline())].into_iter());
    }
    super::backup::faults(&report.skipped);
    output::notes("note", report.warnings.iter().chain(&sent.notes).cloned().collect::<Vec<_>>().into_iter());
    Ok(())
}

/// The end: the one line that everybody waits for, or the document.
fn print_report(
    args: &MigrateArgs,
    status: &'static str,
    moving: &Move,
    sent: Option<&Sent>,
    restored: Option<&Restored>,
    notes: &[String],
) -> Result<u8, Failure> {
    let (source, target) = (&moving.source, &moving.target);
    if args.output.json {
        let document = Document {
            status,
            from: From { config: &source.directory, version: source.version.as_str(), logins: &source.logins },
            to: To {
                address: target.address(),
                version: target.version().map(|version| version.to_string()),
                installation: target.installation(),
                agent: target.agent(),
                fresh: target.is_fresh(),
            },
            sent: sent.map(|sent| SentDocument {
                backup_id: &sent.backup_id,
                sent_again: &sent.breaks,
                backup: &sent.report,
            }),
            restored: restored.map(|restored| RestoredDocument {
                address: &restored.address,
                version: restored.version.as_deref(),
                seconds: restored.took.as_secs_f64(),
            }),
            notes,
        };
        output::json(&document)?;
    } else if args.dry_run {
        output::lines(&["All checks passed. Nothing was sent.".to_owned()])?;
    } else if let Some(restored) = restored {
        let log_in = format!("restored: {}", messages::log_in(source, restored));
        output::lines(&[messages::up_again(restored)])?;
        output::lines(&[log_in])?;
    }
    let is_whole = sent.is_none_or(|sent| sent.report.status == Status::Complete && sent.notes.is_empty());
    Ok(if is_whole { DONE } else { INCOMPLETE })
}
