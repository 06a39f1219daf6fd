//! `haul destination list` and `haul destination check`.

use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use store::{
    Abilities, Address, Cancellation, Placement,
    contract::{self, ContractOptions, Finding, Measured, Outcome, Report},
};

use super::list::table;
use crate::{
    args::CheckArgs,
    config::Config,
    destination::{self, Network},
    failure::{DONE, FAILED, Failure, INTERRUPTED},
    output, text,
};

#[derive(Serialize)]
struct Named<'a> {
    name: &'a str,
    url: String,
}

pub(crate) fn list(config: &Config, json: bool) -> Result<u8, Failure> {
    let named: Vec<Named<'_>> =
        config.destinations().map(|(name, named)| Named { name, url: named.address.to_string() }).collect();
    if json {
        output::json(&named)?;
    } else if named.is_empty() {
        output::lines(&["haul.toml defines no destinations. To add one: [destinations.offsite], and below it url \
            = \"s3://bucket/backups\""
            .to_owned()])?;
    } else {
        output::lines(&table(
            &named.iter().map(|named| [named.name.to_owned(), named.url.clone()]).collect::<Vec<_>>(),
        ))?;
    }
    Ok(DONE)
}

#[derive(Serialize)]
struct Document<'a> {
    destination: String,
    placement: &'static str,
    resumable: bool,
    part_size: u64,
    parallel: usize,
    free_bytes: Option<u64>,
    append_only: bool,
    rules: &'a [Finding],
    speed: Option<Measured>,
    advice: &'a [String],
}

pub(crate) fn check(args: &CheckArgs, config: &Config, cancel: &Cancellation) -> Result<u8, Failure> {
    let destination = destination::resolve(config, &args.destination)?;
    destination.require_whole()?;
    if destination.address == Address::Stdout {
        return Err(Failure::usage("standard output can't be checked").hint("give a destination that keeps archives"));
    }
    let network = Network::start(args.waiting.give_up_after, cancel)?;
    let store = network.connect(&destination)?;
    if store.append_only() {
        return Err(Failure::new(
            FAILED,
            format!("{} is append-only, so Haul could not remove what a check writes there", store.label()),
        )
        .hint("check it while `haul receive` runs without --append-only"));
    }
    let abilities = store.abilities();
    let free = network.ask(&destination, || store.space())?;
    if !args.json {
        output::lines(&describe(&store.label(), &abilities, free))?;
    }
    let printed = Mutex::new(Ok(()));
    let mut show = |finding: &Finding| {
        if !args.json {
            let mut printed = printed.lock().unwrap_or_else(PoisonError::into_inner);
            if printed.is_ok() {
                *printed = output::lines(&[line(finding)]);
            }
        }
    };
    let policy = store::retry::RetryPolicy::new(&network.context_for(&destination));
    let report =
        network.bridge.wait(policy.unless_cancelled(contract::check(&*store, &ContractOptions::default(), &mut show)));
    if cancel.is_cancelled() {
        // The next backup removes what was cut off, but there need not be one soon.
        let _ = network.bridge.wait(store.remove_abandoned());
        return Err(Failure::new(INTERRUPTED, "interrupted")
            .hint("archives whose names begin with haul-check- may be left behind"));
    }
    let Report { findings, stays } = report?;
    printed.into_inner().unwrap_or_else(PoisonError::into_inner)?;
    let broken = findings.iter().filter(|finding| !finding.is_fine()).count();
    let mut advice = advice(&abilities, free, broken);
    if findings.iter().any(|finding| finding.outcome == Outcome::NotApplicable(contract::BUSY.to_owned())) {
        advice.push(
            "while a backup is being sent there, `haul list` and `haul prune` fail without changing anything: \
            run them at another time"
                .to_owned(),
        );
    }
    let speed = if let Some(stays) = &stays {
        advice.extend(append_only(stays, store.notes().is_empty()));
        None
    } else {
        let measured = network.bridge.wait(policy.unless_cancelled(contract::measure(&*store, args.measure)))?;
        advice.extend(measured.as_ref().err().map(|reason| format!("the speed could not be measured: {reason}")));
        measured.ok()
    };
    advice.extend(network.bridge.wait(policy.unless_cancelled(store.remarks()))?);
    if args.json {
        output::json(&Document {
            destination: store.label(),
            placement: word(abilities.placement),
            resumable: abilities.resumable,
            part_size: abilities.preferred,
            parallel: abilities.concurrency,
            free_bytes: free,
            append_only: stays.is_some(),
            rules: &findings,
            speed,
            advice: &advice,
        })?;
    } else {
        let mut lines = Vec::new();
        if let Some(speed) = speed {
            lines.push(pace(&speed));
        }
        lines.push(match broken {
            0 if stays.is_some() => {
                "Good, and append-only: backups work, and this account can't delete anything".to_owned()
            }
            0 => "Good: the destination keeps every rule that backups rely on".to_owned(),
            _ => format!("NOT good: {} broken", text::count(broken as u64, "rule is", "rules are")),
        });
        lines.extend(advice.iter().map(|text| format!("  {text}")));
        output::lines(&lines)?;
    }
    Ok(if broken == 0 { DONE } else { FAILED })
}

fn word(placement: Placement) -> &'static str {
    match placement {
        Placement::Random => "random",
        Placement::Parts(_) => "parts",
        Placement::Sequential => "sequential",
    }
}

fn describe(label: &str, abilities: &Abilities, free: Option<u64>) -> Vec<String> {
    let how = match abilities.placement {
        Placement::Random => "takes bytes at any offset: a backup streams there in one pass".to_owned(),
        Placement::Parts(_) => {
            format!(
                "takes parts in any order ({} at a time, {} at once): a backup streams there in one pass",
                text::bytes(abilities.preferred),
                abilities.concurrency
            )
        }
        Placement::Sequential => {
            "takes bytes only in order: a compressed backup reads everything twice, the first time to measure; \
             --uncompressed reads it once"
                .to_owned()
        }
    };
    let again = match (abilities.restarts, abilities.resumable) {
        (true, _) => "a broken connection restarts the upload",
        (false, true) => "a broken connection costs one part; a later run can continue an interrupted push",
        (false, false) => "a broken connection costs one part; an interrupted push starts over",
    };
    let free_space = free.map_or_else(
        || "free space: not reported, or unlimited".to_owned(),
        |free| format!("free space: {}", text::bytes(free)),
    );
    let mut lines = vec![label.to_owned(), format!("  {how}"), format!("  {again}")];
    if abilities.needs_length {
        lines.push("  it needs an archive's length before the first byte".to_owned());
    }
    lines.push(format!("  {free_space}"));
    lines
}

fn line(finding: &Finding) -> String {
    match &finding.outcome {
        Outcome::Kept => format!("  ok      {}", finding.rule),
        Outcome::Broken(reason) => format!("  BROKEN  {}: {reason}", finding.rule),
        Outcome::NotApplicable(why) => format!("  -       {} ({why})", finding.rule),
    }
}

fn pace(speed: &Measured) -> String {
    let rate = |seconds: f64| format!("{}/s", text::bytes((speed.bytes as f64 / seconds.max(0.001)) as u64));
    let down = speed.download_seconds.map_or(String::new(), |seconds| format!(", down {}", rate(seconds)));
    format!("  speed   up {}{down} ({} each way)", rate(speed.upload_seconds), text::bytes(speed.bytes))
}

/// What the user can change.
fn advice(abilities: &Abilities, free: Option<u64>, broken: usize) -> Vec<String> {
    let mut advice = Vec::new();
    if broken > 0 {
        advice.push(
            "do not rely on this destination until you understand the broken rules: check the server's version, its \
             proxy and the account's rights"
                .to_owned(),
        );
    }
    if free.is_some_and(|free| free < 1 << 30) {
        advice.push("there is little free space: make some, or run `haul prune`".to_owned());
    }
    if abilities.restarts {
        advice.push(
            "if the server offers another protocol (SFTP, S3, Nextcloud's own address), prefer it: its uploads \
            survive a broken connection"
                .to_owned(),
        );
    } else if abilities.placement == Placement::Sequential {
        advice.push(
            "if the server offers another protocol (SFTP, S3), prefer it: its backups need no measuring".to_owned(),
        );
    }
    advice
}

/// What it means that nothing may be deleted. `untold`: the destination has not said so itself.
fn append_only(stays: &str, untold: bool) -> Vec<String> {
    let mut said = Vec::new();
    if untold {
        said.push(
            "somebody who takes over this machine can't delete the archives there, but neither can `haul prune` and \
             `haul rm`: let the destination itself or another account remove old ones"
                .to_owned(),
        );
    }
    said.push(format!(
        "{stays} is left there: delete it with an account that may. To leave nothing else behind, Haul \
        skipped some rules and the speed test"
    ));
    said
}
