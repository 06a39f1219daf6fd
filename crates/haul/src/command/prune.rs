//! `haul prune`: shows what the rules keep and remove, asks, and removes.

use std::sync::{Arc, atomic::AtomicBool};

use engine::retention::{self, Decision, Rules};
use jiff::{Zoned, tz::TimeZone};
use serde::Serialize;
use store::Store;

use super::list::{self, Item};
use crate::{
    args::PruneArgs,
    config::Config,
    destination::{self, Destination, Network},
    failure::{DONE, FAILED, Failure, INCOMPLETE, INTERRUPTED},
    output, text,
};

#[derive(Serialize)]
struct Document<'a> {
    place: String,
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

pub(crate) fn run(args: &PruneArgs, config: &Config, cancel: &Arc<AtomicBool>) -> Result<u8, Failure> {
    let rules = Rules {
        last: args.keep_last,
        daily: args.keep_daily,
        weekly: args.keep_weekly,
        monthly: args.keep_monthly,
        yearly: args.keep_yearly,
        within: args.keep_within,
        include_foreign: args.include_foreign,
    };
    if rules.keep_nothing() {
        return Err(Failure::usage("no rule says what to keep").hint("give at least one, for example --keep-daily 7 --keep-weekly 4 --keep-monthly 12"));
    }
    if args.json && !args.yes && !args.dry_run {
        return Err(Failure::usage("--json leaves nobody to be asked").hint("say --yes to remove, or --dry-run to see the plan"));
    }
    let place = destination::resolve(config, &args.place)?;
    place.place()?;
    let network = Network::start(args.waiting.give_up_after, cancel)?.heeding(config);
    let store = network.connect_to_look(&place)?;
    let items = list::inventory(&network, &place, &store)?;
    let candidates: Vec<_> = items.iter().map(Item::candidate).collect();
    let now = Zoned::now();
    let plan = retention::plan(&candidates, &rules, &now);
    let bare = retention::without_whole(&candidates, &plan, &rules, &now);
    let going: Vec<&Item> =
        plan.iter().filter(|decision| decision.is_removed()).filter_map(|decision| items.iter().find(|item| item.name == decision.name)).collect();
    if !args.json {
        show(&plan, &items, &going)?;
    }
    if !bare.is_empty() && !args.even_without_whole {
        let told = only_incomplete(&bare);
        if args.dry_run {
            output::notes("note", [told].into_iter());
        } else if args.yes || !destination::confirm(&format!("{told}. Remove the others all the same?"))? {
            return Err(Failure::new(FAILED, format!("{told}; nothing was removed"))
                .hint("make a whole backup first, or say --even-without-whole to remove incomplete ones all the same"));
        }
    }
    if !args.yes && !args.dry_run && !going.is_empty() && !destination::confirm("Remove what is marked?")? {
        return Err(Failure::new(FAILED, "nothing was removed"));
    }
    let (removed, failed) = if args.dry_run || going.is_empty() {
        (Vec::new(), Vec::new())
    } else {
        still_there(&network, &place, &store, &plan, &items)?;
        remove(&network, &place, &store, &going)?
    };
    let done = |failure: Failure| if removed.is_empty() { failure } else { failure.hint(format!("removed before that: {}", removed.join(", "))) };
    if args.json {
        output::json(&Document { place: store.label(), dry_run: args.dry_run, plan: &plan, removed: &removed, failed: &failed }).map_err(done)?;
    } else if !args.dry_run && !going.is_empty() {
        output::lines(&[format!("Removed {} from {}", text::count(removed.len() as u64, "archive", "archives"), store.label())]).map_err(done)?;
        output::notes("not removed", failed.iter().map(|trouble| format!("{}: {}", trouble.name, trouble.reason)));
    }
    if !going.is_empty() && !args.json {
        output::notes("note", network.bridge.wait(store.remarks()).into_iter());
    }
    Ok(if failed.is_empty() { DONE } else { INCOMPLETE })
}

/// What is left of those instances.
fn only_incomplete(bare: &[Option<&str>]) -> String {
    let named: Vec<String> = bare.iter().flatten().map(|id| list::short(Some(id))).collect();
    let of = if named.is_empty() { String::new() } else { format!(" of the instance {}", named.join(" and ")) };
    format!("no archive{of} here is whole: only incomplete or damaged ones would be left")
}

fn show(plan: &[Decision], items: &[Item], going: &[&Item]) -> Result<(), Failure> {
    let zone = TimeZone::system();
    let several = list::are_several(items);
    let mut rows = vec![["", "DATE", "SIZE", if several { "INSTANCE" } else { "" }, "NAME", "WHY"].map(str::to_owned)];
    for decision in plan {
        let item = items.iter().find(|item| item.name == decision.name);
        let size = item.map_or(0, |item| item.size);
        let instance = if several { list::short(item.and_then(|item| item.instance.as_deref())) } else { String::new() };
        let why: Vec<String> = decision.keep.iter().map(ToString::to_string).collect();
        let what = if decision.is_removed() { "REMOVE" } else { "keep" };
        rows.push([what.to_owned(), list::moment(decision.when, &zone), text::bytes(size), instance, decision.name.clone(), why.join(", ")]);
    }
    let mut lines = if plan.is_empty() { Vec::new() } else { list::table(&rows) };
    let freed: u64 = going.iter().map(|item| item.size).sum();
    lines.push(if going.is_empty() {
        format!("Nothing to remove: {} stay", text::count(plan.len() as u64, "archive", "archives"))
    } else {
        let kept = plan.len() - going.len();
        format!("{} to remove ({}), {kept} to keep", text::count(going.len() as u64, "archive", "archives"), text::bytes(freed))
    });
    output::lines(&lines)
}

/// What stays is why the others may go; so it is looked at itself, and not in a list that may show what is gone.
fn still_there(network: &Network, place: &Destination, store: &Arc<dyn Store>, plan: &[Decision], items: &[Item]) -> Result<(), Failure> {
    for item in plan.iter().filter(|decision| !decision.is_removed()).filter_map(|decision| items.iter().find(|item| item.name == decision.name)) {
        if network.ask(place, || store.entry(&item.name))?.is_none_or(|now| now.size != item.size) {
            let message = format!("{} is in the list of {}, but it is not there as it is listed; nothing was removed", item.name, store.label());
            return Err(Failure::new(FAILED, message).hint("the place's list is not up to date: try again in a few minutes"));
        }
    }
    Ok(())
}

/// One that can't be removed does not keep the others from it.
fn remove(network: &Network, place: &Destination, store: &Arc<dyn Store>, going: &[&Item]) -> Result<(Vec<String>, Vec<Trouble>), Failure> {
    let (mut removed, mut failed) = (Vec::new(), Vec::new());
    for item in going {
        match remove_one(network, place, store, item) {
            Ok(None) => removed.push(item.name.clone()),
            Ok(Some(reason)) => failed.push(Trouble { name: item.name.clone(), reason }),
            Err(failure) if failure.code == INTERRUPTED => {
                let count = text::count(removed.len() as u64, "archive was", "archives were");
                return Err(Failure::new(INTERRUPTED, format!("interrupted; {count} removed")));
            }
            Err(failure) => failed.push(Trouble { name: item.name.clone(), reason: failure.message }),
        }
    }
    Ok((removed, failed))
}

/// The plan may be old by the time somebody has answered: what is no longer what it was stays.
fn remove_one(network: &Network, place: &Destination, store: &Arc<dyn Store>, item: &Item) -> Result<Option<String>, Failure> {
    let pin = format!("{}{}", item.name, list::PIN);
    if network.ask(place, || store.entry(&pin))?.is_some() {
        return Ok(Some("it was pinned meanwhile".to_owned()));
    }
    match network.ask(place, || store.entry(&item.name))? {
        Some(now) if now.size != item.size => Ok(Some("it was replaced meanwhile".to_owned())),
        _ => network.ask(place, || store.delete(&item.name)).map(|()| None),
    }
}
