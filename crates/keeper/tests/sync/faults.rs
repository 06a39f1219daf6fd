//! Each fault at each step of bringing one destination to what its rules want: it always comes to the same end.

use std::collections::{BTreeMap, BTreeSet};

use engine::inventory::Called;
use jiff::ToSpan;
use keeper::{facts::Copy, sync::Why};

use crate::scene::{Scene, copy, day, keep_last, verdict};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// Killed before the step.
    KilledBefore,
    /// Killed after it, before anything was noted.
    KilledAfter,
    /// The destination says no.
    Refused,
    /// What is sent arrives damaged, which shows when it is read.
    Damaged,
    /// It arrives cut, which shows when it is listed.
    Cut,
    /// The next list shows what was there before.
    LateList,
    /// The destination is away when it is asked next.
    Away,
    /// What is read vanished; for a removal, the copy on account of which it goes.
    Vanished,
}

const FAULTS: [Fault; 8] = [
    Fault::KilledBefore,
    Fault::KilledAfter,
    Fault::Refused,
    Fault::Damaged,
    Fault::Cut,
    Fault::LateList,
    Fault::Away,
    Fault::Vanished,
];
/// More are not needed without a fault.
const STEPS: usize = 5;

type Files = BTreeMap<String, Copy>;

/// What is really there: a copy whose verdict is bad is damaged, whether anybody knows that or not.
struct Table {
    scene: Scene,
    truth: BTreeMap<String, Files>,
    late: Option<Files>,
    away: bool,
}

impl Table {
    /// `nas` lacks the newest archive, holds a damaged one, and two that it wants no longer.
    fn new() -> Self {
        let days = |from, to| (from..=to).map(|number| copy(&format!("d{number:03}"), day(number)));
        let damaged = Copy { verdict: Some(verdict(false)), verified: Some(day(101)), ..copy("d098", day(98)) };
        let nas = days(95, 96).chain(days(99, 99)).chain([damaged]);
        let scene = Scene::new().place("usb", keep_last(10), days(91, 100)).place("s3://nas", keep_last(3), nas);
        let named = |copy: &Copy| (copy.item.name.to_string(), copy.clone());
        let held = |name: &str| (name.to_owned(), scene.known.destinations[name].copies.iter().map(named).collect());
        Self { truth: ["usb", "nas"].map(held).into(), scene, late: None, away: false }
    }

    fn look(&mut self) {
        for (name, files) in &self.truth {
            let facts = self.scene.known.destinations.get_mut(name).unwrap();
            facts.away = None;
            let shown = if name == "nas" { self.late.take().unwrap_or_else(|| files.clone()) } else { files.clone() };
            let known = std::mem::take(&mut facts.copies);
            let read = |(name, file): (String, Copy)| {
                let before = known.get(&name).filter(|before| before.item.size == file.item.size).cloned();
                before.unwrap_or(Copy { verdict: None, verified: None, ..file })
            };
            facts.copies = shown.into_iter().map(read).collect();
            facts.stale = false;
            for copy in &mut facts.copies {
                if let Some(file) = files.get(copy.item.name.as_str()).filter(|_| copy.arrived.is_some()) {
                    self.scene.now += 1.minutes();
                    copy.verdict = Some(file.verdict.clone().unwrap_or_else(|| verdict(true)));
                    (copy.verified, copy.arrived) = (Some(self.scene.now), None);
                }
            }
        }
        if std::mem::take(&mut self.away) {
            self.scene.away("nas");
        }
        for facts in self.scene.known.destinations.values_mut() {
            facts.listed = Some(self.scene.now);
        }
    }

    /// Does the first thing that is to be done. False: nothing is.
    fn step(&mut self, fault: Option<Fault>) -> bool {
        self.look();
        let plan = self.scene.plan();
        let removal = plan.removals["nas"].due().first();
        assert!(plan.removals["usb"].leaving.is_empty());
        if plan.copies.is_empty() && removal.is_none() {
            return false;
        }
        let before = self.truth["nas"].clone();
        let vanishes = |place: &str, name: &str, truth: &mut BTreeMap<String, Files>| {
            if fault == Some(Fault::Vanished) {
                truth.get_mut(place).unwrap().remove(name);
            }
        };
        let is_done = !matches!(fault, Some(Fault::KilledBefore | Fault::Refused));
        if let Some(task) = plan.copies.first() {
            vanishes("usb", &task.from[0].name, &mut self.truth);
            let source = self.truth["usb"].get(&task.from[0].name).cloned().filter(|_| is_done);
            if let Some(mut file) = source.filter(|_| !before.contains_key(&task.name)) {
                file.item.name = task.name.as_str().into();
                file.arrived = Some(self.scene.now);
                match fault {
                    Some(Fault::Damaged) => file.verdict = Some(verdict(false)),
                    Some(Fault::Cut) => {
                        file.item.size /= 2;
                        file.item.verdict = Called::Damaged;
                    }
                    _ => {}
                }
                self.truth.get_mut("nas").unwrap().insert(task.name.clone(), file);
            }
        } else if let Some(removal) = removal {
            vanishes("nas", &removal.instead, &mut self.truth);
            let files = self.truth.get_mut("nas").unwrap();
            if is_done && files.contains_key(&removal.instead) {
                files.remove(&removal.name);
            }
        }
        self.late = Some(before).filter(|_| fault == Some(Fault::LateList));
        self.away = fault == Some(Fault::Away);
        let is_killed = matches!(fault, Some(Fault::KilledBefore | Fault::KilledAfter));
        for (name, facts) in &mut self.scene.known.destinations {
            facts.stale |= is_killed || name == "nas";
        }
        true
    }

    /// The sound archives at a place, by name.
    fn sound(&self, place: &str) -> Vec<String> {
        let is_sound = |copy: &&Copy| copy.verdict.as_ref().is_none_or(|verdict| verdict.whole) && copy.is_whole();
        let slugs = self.truth[place].values().filter(is_sound).map(|copy| copy.item.slug.as_deref().unwrap());
        let mut slugs: Vec<String> = slugs.map(str::to_owned).collect();
        slugs.sort();
        slugs
    }
}

#[test]
fn each_fault_at_each_step_ends_as_if_it_had_not_been() {
    for at in 0..STEPS {
        for fault in FAULTS {
            let mut table = Table::new();
            let mut steps = 0;
            // A destination that is away has nothing to do until it is back.
            while table.step((steps == at).then_some(fault)) || table.scene.known.destinations["nas"].away.is_some() {
                steps += 1;
                assert!(steps < 20, "{fault:?} at step {at} never ends");
            }
            let found = table.sound("nas");
            let mut union: BTreeSet<String> = table.sound("usb").into_iter().collect();
            union.extend(found.iter().cloned());
            // What is sound nowhere stays for a while: it may be all that is left.
            let is_hopeless = |copy: &&Copy| !union.contains(copy.item.slug.as_deref().unwrap());
            let hopeless = table.truth["nas"].values().filter(is_hopeless).count();
            let mut wanted: Vec<String> = union.into_iter().rev().take(3).collect();
            wanted.reverse();
            let blocked: Vec<Why> = table.scene.plan().blocked.into_iter().map(|blocked| blocked.why).collect();
            if blocked == [Why::DamagedAgain] {
                // Sent in place of a damaged one, and damaged again: older ones are kept instead.
                assert!(matches!(fault, Fault::Damaged | Fault::Cut), "{fault:?} at step {at}");
                wanted.retain(|slug| slug != "d098");
                assert!(wanted.iter().all(|slug| found.contains(slug)), "{fault:?} at step {at}: {found:?}");
                continue;
            }
            assert_eq!((found, blocked), (wanted, vec![]), "{fault:?} at step {at}");
            let held = table.truth["nas"].len() - hopeless;
            assert_eq!(held, 3, "{fault:?} at step {at}: nothing bad is left");
        }
    }
}

#[test]
fn without_a_fault_it_takes_these_steps() {
    let mut table = Table::new();
    let steps = (0..20).take_while(|_| table.step(None)).count();
    assert_eq!((steps, table.sound("nas")), (STEPS, ["d098", "d099", "d100"].map(str::to_owned).to_vec()));
}
