//! What is sent to a destination.

use std::{cmp::Reverse, collections::BTreeMap};

use engine::retention::Origin;
use jiff::Timestamp;

use super::{
    Blocked, CopyTask, Plan, RESERVE, Source, Why,
    places::{Place, Places, is_bad},
    wanted::Wanted,
};
use crate::facts::Copy;

/// So many damaged copies of an archive, and it is not sent again.
const MOST_BAD: usize = 2;

pub(super) fn plan(places: &Places<'_>, at: usize, wanted: &Wanted, now: Timestamp, plan: &mut Plan) {
    let place = &places.all[at];
    if !place.is_current() {
        return;
    }
    let mut archives: Vec<&str> = wanted.wanted.iter().map(String::as_str).collect();
    archives.sort_by_key(|archive| Reverse((places.date(archive), *archive)));
    let mut names = Names::new(place);
    let mut left = place.facts.free.map(|free| free.saturating_sub(RESERVE));
    for archive in archives {
        let here = place.copies_of(archive);
        let best = places.best(archive, at);
        if here.iter().any(|copy| !is_bad(copy, best)) || place.facts.deleted.contains(archive) {
            continue;
        }
        let shown = here.first().copied().or(best).map_or(archive, |copy| &copy.item.name);
        let mut blocked = |why| {
            let destination = place.name().to_owned();
            plan.blocked.push(Blocked { destination, archive: archive.to_owned(), name: shown.to_owned(), why });
        };
        let Some(best) = best else {
            // An archive that does not say which it is, or one that is damaged everywhere.
            if !here.is_empty() {
                blocked(Why::NothingSound);
            }
            continue;
        };
        if here.iter().any(|copy| copy.item.pinned) {
            blocked(Why::Pinned);
            continue;
        }
        let from = sources(places, at, archive, best);
        if from.is_empty() {
            let away = places.elsewhere(archive, at).map(|(place, _)| place.name().to_owned());
            blocked(Why::SourcesAway(away.collect()));
            continue;
        }
        if here.len() >= MOST_BAD {
            blocked(Why::DamagedAgain);
            continue;
        }
        let size = best.item.size;
        let Some(name) = names.first_free(&from[0].name, best, now) else {
            blocked(Why::NameTaken);
            continue;
        };
        // It was put there, and the list does not show it yet.
        if place.facts.arrivals.contains_key(&name) {
            continue;
        }
        if left.is_some_and(|left| size > left) {
            blocked(Why::NoSpace { size, free: place.facts.free.unwrap_or(0) });
            return;
        }
        names.0.insert(name.to_lowercase(), None);
        left = left.map(|left| left - size);
        plan.copies.push(CopyTask {
            archive: archive.to_owned(),
            from,
            to: place.name().to_owned(),
            name,
            size,
            replaces: here.first().map(|copy| copy.item.name.to_string()),
        });
    }
}

/// Where it can be read now: copies as good as the best, local ones first, then those that were verified last.
fn sources(places: &Places<'_>, at: usize, archive: &str, best: &Copy) -> Vec<Source> {
    let as_good = |copy: &Copy| (copy.is_whole(), copy.item.size) == (best.is_whole(), best.item.size);
    let mut found: Vec<(&Place<'_>, &Copy)> =
        places.elsewhere(archive, at).filter(|(place, copy)| place.facts.away.is_none() && as_good(copy)).collect();
    found.sort_by_key(|(place, copy)| (!is_local(&place.facts.address), Reverse(copy.verified)));
    let source = |(place, copy): (&Place<'_>, &Copy)| Source {
        destination: place.name().to_owned(),
        name: copy.item.name.to_string(),
    };
    found.into_iter().map(source).collect()
}

/// Whether this may be an archive that is still being written, or was only read badly.
fn may_become_readable(taken: &Copy, now: Timestamp) -> bool {
    let is_strange = matches!(taken.item.made_by, Origin::Unknown | Origin::Unreadable);
    is_strange && taken.modified.is_none_or(|modified| now.duration_since(modified).as_secs() < 86_400)
}

/// Whether it is a directory of this machine.
fn is_local(address: &str) -> bool {
    !address.contains("://") || address.starts_with("file://")
}

/// The names at a destination. Some of them do not distinguish small and capital letters.
struct Names<'a>(BTreeMap<String, Option<&'a Copy>>);

impl<'a> Names<'a> {
    fn new(place: &Place<'a>) -> Self {
        Self(place.facts.copies.iter().map(|copy| (copy.item.name.to_lowercase(), Some(copy))).collect())
    }

    /// A free name for an archive: the one that it has elsewhere, or one with its slug if something readable has that.
    /// From whichever copy it is sent, these names are tried in the same order: an upload that a late list does not show
    /// is met under its name, and not made twice. `None`: what has the name can't be read, so it may be this archive;
    /// what has been like that for a day is none.
    fn first_free(&self, name: &str, copy: &Copy, now: Timestamp) -> Option<String> {
        let slug = copy.item.slug.iter().flat_map(|slug| slug.chars());
        let slug: String = slug.filter(char::is_ascii_alphanumeric).collect();
        let stem = name.strip_suffix(".tar").unwrap_or(name);
        let again = [format!("-{slug}"), format!("-{slug}-2")];
        let stem = again.iter().find_map(|again| stem.strip_suffix(again.as_str())).unwrap_or(stem);
        let names =
            std::iter::once(format!("{stem}.tar")).chain(again.iter().map(|again| format!("{stem}{again}.tar")));
        for name in names {
            match self.0.get(&name.to_lowercase()) {
                None => return Some(name),
                Some(Some(taken)) if may_become_readable(taken, now) => return None,
                Some(_) => {}
            }
        }
        None
    }
}
