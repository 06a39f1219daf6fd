//! `haul prune`: shows what the rules keep and remove, asks, and removes.

use std::sync::Arc;

use engine::{
    inventory::{Item, PIN},
    read::ArchiveSource,
    retention::{self, Decision, Reason, Rules},
    verdict::Verdict,
};
use serde::Serialize;
use store::{Cancellation, Store, inbound::RemoteFile, machine::ArrivalNote};

use super::{
    list::{self, Inventory},
    verify,
};
use crate::{
    args::PruneArgs,
    clock,
    config::Config,
    destination::{self, Destination, Far, Network},
    failure::{DONE, FAILED, Failure, INCOMPLETE, INTERRUPTED},
    keys, output,
    password::{self, Offered},
    text,
};

#[derive(Serialize)]
struct Document<'a> {
    destination: String,
    dry_run: bool,
    plan: &'a [Decision],
    removed: &'a [String],
    failed: &'a [Trouble],
}

#[derive(Serialize)]
struct Trouble {
    name: String,
    reason: String,
}

pub(crate) fn run(args: &PruneArgs, config: &Config, cancel: &Cancellation) -> Result<u8, Failure> {
    let counts = [args.keep_last, args.keep_daily, args.keep_weekly, args.keep_monthly, args.keep_yearly];
    let [last, daily, weekly, monthly, yearly] = counts.map(Option::unwrap_or_default);
    let rules =
        Rules { last, daily, weekly, monthly, yearly, within: args.keep_within, include_foreign: args.include_foreign };
    if rules.keep_nothing() {
        let why = if counts.iter().any(Option::is_some) {
            "the rules keep nothing: a rule of 0 has no effect"
        } else {
            "no rule was given"
        };
        return Err(
            Failure::usage(why).hint("give at least one, for example --keep-daily 7 --keep-weekly 4 --keep-monthly 12")
        );
    }
    if args.json && !args.yes && !args.dry_run {
        return Err(
            Failure::usage("with --json Haul can't ask").hint("use --yes to remove, or --dry-run to see the plan")
        );
    }
    let destination = destination::resolve(config, &args.destination)?;
    destination.require_whole()?;
    let network = Network::start(args.waiting.give_up_after, cancel)?.heeding(config);
    let store = network.connect_to_look(&destination)?;
    prune(args, &rules, &Reading { network: &network, destination: &destination, store: &store, args, config, cancel })
}

fn prune(args: &PruneArgs, rules: &Rules, at: &Reading<'_>) -> Result<u8, Failure> {
    let Reading { network, destination, store, cancel, .. } = *at;
    if store.append_only() {
        return Err(Failure::new(
            FAILED,
            format!("{} is append-only, so nothing can be pruned from this machine", store.label()),
        )
        .hint("`haul receive` runs with --append-only: prune on the receiving machine itself"));
    }
    let Inventory { items, twice, .. } = list::inventory(network, destination, store)?;
    if let Some(name) = twice.first() {
        // What a name refers to is uncertain then, and so is whether the list is complete.
        return Err(Failure::new(
            FAILED,
            format!("{} lists {} more than once; nothing was removed", store.label(), text::sanitize(name)),
        )
        .hint("try again in a few minutes; if that does not help, look at the destination with another program"));
    }
    let candidates: Vec<_> = items.iter().map(Item::candidate).collect();
    let now = clock::now();
    let plan = retention::plan(&candidates, rules, &now);
    let bare = retention::without_whole(&candidates, &plan, rules, &now);
    let mut going: Vec<&Item> =
        plan.iter().filter(|decision| decision.is_removed()).filter_map(|decision| item_of(&items, decision)).collect();
    if !args.json {
        show(&plan, &items, &going)?;
        let odd = plan.iter().filter(|decision| decision.keep.contains(&Reason::OddDate));
        let note = |decision: &Decision| {
            format!(
                "{} claims a date that does not fit its arrival, so prune ignores it: examine it, and remove it with \
                 `haul rm`",
                text::sanitize(&decision.name)
            )
        };
        output::notes("note", odd.map(note).collect::<Vec<_>>().into_iter());
    }
    let mut held = Vec::new();
    if !bare.is_empty() && !args.even_without_whole {
        let note = only_incomplete(&bare);
        let is_bare = |item: &&Item| bare.contains(&item.instance.as_deref());
        if args.dry_run {
            output::notes("note", [note].into_iter());
        } else if args.yes && !going.iter().all(is_bare) {
            let trouble = |item: &&Item| Trouble { name: item.name.to_string(), reason: note.clone() };
            held.extend(going.iter().filter(|item| is_bare(item)).map(trouble));
            going.retain(|item| !is_bare(item));
        } else if args.yes || !destination::confirm(&format!("{note}. Remove the others anyway?"), cancel)? {
            return Err(Failure::new(FAILED, format!("{note}; nothing was removed"))
                .hint("make a whole backup first, or use --even-without-whole to remove incomplete ones anyway"));
        }
    }
    if !args.yes && !args.dry_run && !going.is_empty() && !destination::confirm("Remove the marked archives?", cancel)?
    {
        return Err(Failure::new(FAILED, "nothing was removed"));
    }
    let planned = going.len();
    let (mut removed, mut failed) = (Vec::new(), Vec::new());
    if !args.dry_run && planned > 0 {
        still_there(network, destination, store, &plan, &items)?;
        if args.verify {
            failed = hold_back(&mut going, at, &plan, &items)?;
        }
        failed.extend(held);
        removed = remove(network, destination, store, &going, &mut failed)?;
    }
    let done = |failure: Failure| {
        if removed.is_empty() { failure } else { failure.hint(format!("removed before that: {}", removed.join(", "))) }
    };
    if args.json {
        output::json(&Document {
            destination: store.label(),
            dry_run: args.dry_run,
            plan: &plan,
            removed: &removed,
            failed: &failed,
        })
        .map_err(done)?;
    } else if !args.dry_run && planned > 0 {
        output::lines(&[format!(
            "Removed {} from {}",
            text::count(removed.len() as u64, "archive", "archives"),
            store.label()
        )])
        .map_err(done)?;
        output::notes("not removed", failed.iter().map(|trouble| format!("{}: {}", trouble.name, trouble.reason)));
    }
    if planned > 0 && !args.json {
        output::notes("note", network.bridge.wait(store.remarks()).into_iter());
    }
    Ok(if failed.is_empty() { DONE } else { INCOMPLETE })
}

/// What is left of those instances.
fn only_incomplete(bare: &[Option<&str>]) -> String {
    let named: Vec<String> = bare.iter().flatten().map(|id| list::short(Some(id))).collect();
    let of = if named.is_empty() { String::new() } else { format!(" of the instance {}", named.join(" and ")) };
    format!("no archive{of} is whole: only incomplete or damaged ones would be left")
}

fn show(plan: &[Decision], items: &[Item], going: &[&Item]) -> Result<(), Failure> {
    let zone = clock::zone();
    let several = list::are_several(items);
    let mut rows = vec![["", "DATE", "SIZE", if several { "INSTANCE" } else { "" }, "NAME", "WHY"].map(str::to_owned)];
    for decision in plan {
        let item = item_of(items, decision);
        let size = item.map_or(0, |item| item.size);
        let instance =
            if several { list::short(item.and_then(|item| item.instance.as_deref())) } else { String::new() };
        let why: Vec<String> = decision.keep.iter().map(|reason| why(reason, item)).collect();
        let what = if decision.is_removed() { "REMOVE" } else { "keep" };
        rows.push([
            what.to_owned(),
            list::moment(decision.when, &zone),
            text::bytes(size),
            instance,
            decision.name.clone(),
            why.join(", "),
        ]);
    }
    let mut lines = if plan.is_empty() { Vec::new() } else { list::table(&rows) };
    let freed: u64 = going.iter().map(|item| item.size).sum();
    lines.push(if going.is_empty() {
        format!("Nothing to remove: {}", text::count(plan.len() as u64, "archive stays", "archives stay"))
    } else {
        let kept = plan.len() - going.len();
        format!(
            "{} to remove ({}), {kept} to keep",
            text::count(going.len() as u64, "archive", "archives"),
            text::bytes(freed)
        )
    });
    output::lines(&lines)
}

fn item_of<'i>(items: &'i [Item], decision: &Decision) -> Option<&'i Item> {
    items.iter().find(|item| item.name == decision.name)
}

/// Why an archive stays. That it is whole is its maker's word, if there is one.
fn why(reason: &Reason, item: Option<&Item>) -> String {
    match reason {
        Reason::Newest if item.is_some_and(Item::is_called_whole) => "newest whole (as its maker said)".to_owned(),
        Reason::Newest => "newest (not known to be whole)".to_owned(),
        reason => reason.to_string(),
    }
}

/// The destination, and what reading an archive there needs.
struct Reading<'a> {
    network: &'a Network,
    destination: &'a Destination,
    store: &'a Arc<dyn Store>,
    args: &'a PruneArgs,
    config: &'a Config,
    cancel: &'a Cancellation,
}

/// Reads the newest whole archive of each instance that loses archives. If it is not what its maker said, all of that
/// instance stays.
fn hold_back(
    going: &mut Vec<&Item>,
    reading: &Reading<'_>,
    plan: &[Decision],
    items: &[Item],
) -> Result<Vec<Trouble>, Failure> {
    let mut failed = Vec::new();
    for newest in plan
        .iter()
        .filter(|decision| decision.keep.contains(&Reason::Newest))
        .filter_map(|decision| item_of(items, decision))
    {
        if !going.iter().any(|item| item.is_beside(newest)) {
            continue;
        }
        if let Some(problem) = reading.problem(newest)? {
            let reason = format!("{}, the newest that stays, {problem}", text::sanitize(&newest.name));
            let trouble = |item: &&Item| Trouble { name: item.name.to_string(), reason: reason.clone() };
            failed.extend(going.iter().filter(|item| item.is_beside(newest)).map(trouble));
            going.retain(|item| !item.is_beside(newest));
        }
    }
    Ok(failed)
}

impl Reading<'_> {
    fn offered(&self) -> Result<Offered, Failure> {
        let given = password::given(&self.args.password, self.cancel)?;
        Ok(Offered::new(given, keys::files_at(self.config, &self.destination.address)))
    }

    /// What is wrong with an archive, reading it to its end.
    fn problem(&self, item: &Item) -> Result<Option<String>, Failure> {
        let network = self.network;
        let file = RemoteFile::open(
            &network.bridge,
            &network.context_for(self.destination),
            Arc::clone(self.store),
            &item.name,
        )?;
        let source = ArchiveSource::Remote(Arc::new(Far(file)));
        match verify::quietly(&source, &self.offered()?, self.cancel) {
            Ok(judgement) if judgement.verdict == Verdict::Whole => Ok(None),
            Ok(judgement) => Ok(Some(format!("is not whole: {}", text::sanitize(&judgement.headline())))),
            Err(failure) if failure.code == INTERRUPTED => Err(failure),
            Err(failure) => Ok(Some(format!("could not be verified: {}", failure.message))),
        }
    }
}

/// Archives that stay are the reason why others may go; so they are checked themselves, not in a list that may show
/// removed ones.
fn still_there(
    network: &Network,
    destination: &Destination,
    store: &Arc<dyn Store>,
    plan: &[Decision],
    items: &[Item],
) -> Result<(), Failure> {
    for item in plan.iter().filter(|decision| !decision.is_removed()).filter_map(|decision| item_of(items, decision)) {
        if network
            .ask(destination, || store.entry(&item.name))?
            .is_none_or(|now| now.size != item.size || now.link != item.link)
        {
            let message = format!(
                "{} is listed at {}, but is missing there or differs from the list; nothing was removed",
                item.name,
                store.label()
            );
            return Err(Failure::new(FAILED, message)
                .hint("the destination's list is not up to date: try again in a few minutes"));
        }
    }
    Ok(())
}

/// One that can't be removed does not keep the others from it.
fn remove(
    network: &Network,
    destination: &Destination,
    store: &Arc<dyn Store>,
    going: &[&Item],
    failed: &mut Vec<Trouble>,
) -> Result<Vec<String>, Failure> {
    let mut removed = Vec::new();
    for item in going {
        match remove_one(network, destination, store, item) {
            Ok(None) => removed.push(item.name.to_string()),
            Ok(Some(reason)) => failed.push(Trouble { name: item.name.to_string(), reason }),
            Err(failure) if failure.code == INTERRUPTED => {
                let count = text::count(removed.len() as u64, "archive was", "archives were");
                return Err(Failure::new(INTERRUPTED, format!("interrupted; {count} removed")));
            }
            Err(failure) => failed.push(Trouble { name: item.name.to_string(), reason: failure.message }),
        }
    }
    Ok(removed)
}

/// The plan may be old by the time somebody has answered: what is no longer what it was stays.
fn remove_one(
    network: &Network,
    destination: &Destination,
    store: &Arc<dyn Store>,
    item: &Item,
) -> Result<Option<String>, Failure> {
    let pin = format!("{}{}", item.name, PIN);
    if network.ask(destination, || store.entry(&pin))?.is_some() {
        return Ok(Some("it was pinned meanwhile".to_owned()));
    }
    match network.ask(destination, || store.entry(&item.name))? {
        Some(now) if now.size != item.size || now.link != item.link => Ok(Some("it was replaced meanwhile".to_owned())),
        _ => {
            network.ask(destination, || store.delete(&item.name))?;
            if item.arrival.is_some() {
                let note = ArrivalNote::name(&item.name);
                network.ask(destination, || store.delete(&note))?;
            }
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests;
