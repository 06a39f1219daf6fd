//! A world in which places vanish, come back, fill up, lose, damage and cut what they hold, and list what was there
//! before; and a service in it that is killed between any two steps.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use engine::{
    inventory::Called,
    retention::{self, Candidate, Origin, Reason, Rules, Worth},
};
use jiff::{Timestamp, ToSpan};
use keeper::{
    facts::{Arrival, Copy},
    status::Ending,
    sync::{Plan, RESERVE, Why},
};

use crate::scene::{Scene, at, copy, day, run, verdict};

/// Bytes of a whole archive; the numbers of archives make them differ.
const SIZE: u64 = 1_000_000;
/// A list may show what was there so many lists ago.
const LATE: usize = 2;

/// Numbers that look random, the same for a seed.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, count: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % u64::try_from(count.max(1)).unwrap()).unwrap()
    }

    /// True once in so many throws.
    pub(crate) fn once_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn pick<T: Clone>(&mut self, all: impl Iterator<Item = T>) -> Option<T> {
        let all: Vec<T> = all.collect();
        if all.is_empty() { None } else { Some(all[self.below(all.len())].clone()) }
    }
}

/// What is really there.
#[derive(Clone, Debug)]
struct File {
    copy: Copy,
    /// Its bytes are not what they were, which only reading it shows.
    rotten: bool,
    /// It was cut, which looking at it shows.
    cut: bool,
}

impl File {
    fn is_sound(&self) -> bool {
        !self.rotten && !self.cut
    }
}

#[derive(Default)]
struct Place {
    files: BTreeMap<String, File>,
    capacity: Option<u64>,
    away_until: Option<Timestamp>,
    before: VecDeque<BTreeMap<String, File>>,
}

impl Place {
    fn free(&self) -> Option<u64> {
        let used = self.files.values().map(|file| file.copy.item.size).sum();
        self.capacity.map(|capacity| capacity.saturating_sub(used))
    }
}

pub(crate) struct World {
    pub(crate) scene: Scene,
    places: BTreeMap<String, Place>,
    dice: Dice,
    made: usize,
    stamp: i64,
    is_calm: bool,
    sent: BTreeSet<(String, String)>,
    pub(crate) counts: BTreeMap<&'static str, usize>,
}

impl World {
    pub(crate) fn new(
        seed: u64,
        rules: &[Option<Rules>; 3],
        append_only: bool,
        capacity: Option<u64>,
        schedule: &str,
    ) -> Self {
        let [usb, nas, off] = *rules;
        let mut scene = Scene::new().place("usb", usb, []).place("s3://nas", nas, []).place("s3://off", off, []);
        if !schedule.is_empty() {
            scene = scene.scheduled("off", schedule);
        }
        scene.facts("off").append_only = append_only;
        scene.now = day(0);
        let mut places: BTreeMap<String, Place> =
            ["usb", "nas", "off"].map(|name| (name.to_owned(), Place::default())).into();
        places.get_mut("nas").unwrap().capacity = capacity.map(|archives| RESERVE + archives * SIZE);
        let counts = BTreeMap::new();
        let (dice, sent) = (Dice(seed), BTreeSet::new());
        Self { scene, places, dice, made: 0, stamp: 0, is_calm: false, sent, counts }
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn names(&self) -> Vec<String> {
        self.places.keys().cloned().collect()
    }

    fn is_away(&self, place: &str) -> bool {
        self.places[place].away_until.is_some()
    }

    fn put(&mut self, place: &str, mut file: File) {
        self.stamp += 1;
        file.copy.modified = Some(Timestamp::from_second(self.stamp).unwrap());
        file.copy.item.pinned = false;
        let name = file.copy.item.name.to_string();
        self.places.get_mut(place).unwrap().files.insert(name.clone(), file);
        let (now, is_noted) = (self.scene.now, self.dice.once_in(2));
        let facts = self.scene.facts(place);
        facts.stale = true;
        // Not if the service was killed before.
        if is_noted {
            facts.arrivals.insert(name, Arrival { at: now, compared: false, job: Some("home".to_owned()) });
        }
    }

    /// A backup to every destination that can take it; killed, it reaches some.
    pub(crate) fn back_up(&mut self) {
        self.scene.now += 1.minutes();
        let now = self.scene.now;
        self.made += 1;
        let mut copy = copy(&format!("a{}", self.made), now);
        copy.item.size = SIZE - u64::try_from(self.made % 7).unwrap();
        copy.arrived = Some(now);
        if !self.is_calm && self.dice.once_in(12) {
            copy.item.verdict = Called::Incomplete;
        }
        let mut arrived = 0;
        for place in self.names() {
            let target = self.scene.job.target(&place).unwrap();
            let started = &self.scene.known.jobs["home"].started;
            let last = started.get(&place).copied();
            let is_due = target.schedules.as_ref().is_none_or(|schedules| {
                let after = |last| schedules.iter().filter_map(|one| one.after(last, at(now).time_zone())).min();
                last.is_none_or(|last| after(last).is_some_and(|next| next <= now))
            });
            let fits = self.places[&place].free().is_none_or(|free| free >= copy.item.size + RESERVE);
            let is_taken = self.places[&place].files.contains_key(&*copy.item.name);
            if !is_due || self.is_away(&place) || !fits || is_taken || (!self.is_calm && self.dice.once_in(9)) {
                continue;
            }
            self.scene.job_facts().started.insert(place.clone(), now);
            self.put(&place, File { copy: copy.clone(), rotten: false, cut: false });
            arrived += 1;
        }
        let ending = if arrived == 0 { Ending::Failed } else { Ending::Done };
        self.scene.job_facts().last = Some(keeper::status::RunStatus { started: now, ..run(ending) });
        self.scene.now += 1.minutes();
    }

    /// What goes wrong on a day.
    pub(crate) fn trouble(&mut self) {
        let now = self.scene.now;
        for name in self.names() {
            let dice = &mut self.dice;
            let place = self.places.get_mut(&name).unwrap();
            if place.away_until.is_some_and(|until| until <= now) {
                place.away_until = None;
            }
            if dice.once_in(20) {
                place.away_until = Some(now + (24 * i64::try_from(1 + dice.below(10)).unwrap()).hours());
            }
            let own = |place: &Place| {
                let own = place.files.iter().filter(|(_, file)| file.copy.item.made_by == Origin::Own);
                own.map(|(name, _)| name.clone()).collect::<Vec<_>>()
            };
            if let Some(lost) = dice.pick(own(place).into_iter()).filter(|_| dice.once_in(30)) {
                place.files.remove(&lost);
            }
            if let Some(file) = dice.pick(own(place).into_iter()).filter(|_| dice.once_in(30)) {
                place.files.get_mut(&file).unwrap().rotten = true;
            }
            if let Some(file) = dice.pick(own(place).into_iter()).filter(|_| dice.once_in(40)) {
                self.stamp += 1;
                let file = place.files.get_mut(&file).unwrap();
                file.cut = true;
                file.copy.item.verdict = Called::Damaged;
                file.copy.item.size /= 2;
                file.copy.modified = Some(Timestamp::from_second(self.stamp).unwrap());
            }
            if let Some(file) = dice.pick(own(place).into_iter()).filter(|_| dice.once_in(50)) {
                let item = &mut place.files.get_mut(&file).unwrap().copy.item;
                item.pinned = !item.pinned;
            }
            if dice.once_in(400) {
                place.files.retain(|_, file| file.copy.item.made_by != Origin::Own);
            }
            if dice.once_in(300) {
                let name = format!("a{}.tar", self.made + dice.below(4));
                let made_by = if dice.once_in(2) { Origin::Other } else { Origin::Unreadable };
                let mut copy = copy("stranger", now);
                copy.item = engine::inventory::Item { name: name.as_str().into(), made_by, ..copy.item };
                place.files.entry(name).or_insert(File { copy, rotten: false, cut: false });
            }
        }
    }

    /// The service begins anew: it trusts no list.
    fn restart(&mut self) {
        self.count("kills");
        for name in self.names() {
            self.scene.facts(&name).stale = true;
        }
    }

    /// Lists what is not up to date, and reads what has arrived or was not read for long.
    fn look(&mut self) {
        for name in self.names() {
            if self.is_away(&name) {
                self.scene.away(&name);
                continue;
            }
            let is_late = !self.is_calm && self.dice.once_in(10);
            let place = self.places.get_mut(&name).unwrap();
            let facts = self.scene.known.destinations.get_mut(&name).unwrap();
            facts.away = None;
            if facts.stale {
                place.before.push_back(place.files.clone());
                if place.before.len() > LATE + 1 {
                    place.before.pop_front();
                }
                let shown = if is_late { &place.before[self.dice.below(place.before.len())] } else { &place.files };
                let known = std::mem::take(&mut facts.copies);
                let read = |(name, file): (&String, &File)| {
                    let before = known.get(name).filter(|before| before.modified == file.copy.modified);
                    let mut copy = before.cloned().unwrap_or_else(|| file.copy.clone());
                    copy.item.pinned = file.copy.item.pinned;
                    copy.item.name = name.as_str().into();
                    copy
                };
                facts.copies = shown.iter().map(read).collect();
                let (now, listed) = (self.scene.now, &facts.copies);
                facts.arrivals.retain(|name, arrival| !listed.contains(name) && now < arrival.at + 24.hours());
                facts.free = place.free();
                (facts.listed, facts.stale) = (Some(self.scene.now), false);
            }
        }
        self.verify(false);
    }

    /// Reads every copy that has arrived or was not read for long, or all.
    fn verify(&mut self, all: bool) {
        for name in self.names().into_iter().filter(|name| !self.is_away(name)).collect::<Vec<_>>() {
            let files = &self.places[&name].files;
            let facts = self.scene.known.destinations.get_mut(&name).unwrap();
            let mut is_stale = false;
            for copy in &mut facts.copies {
                let is_old = copy.verified.is_none_or(|verified| verified < self.scene.now - (30 * 24).hours());
                if copy.item.made_by != Origin::Own || copy.is_damaged() || !(all || is_old || copy.arrived.is_some()) {
                    continue;
                }
                self.scene.now += 1.seconds();
                match files.get(copy.item.name.as_str()).filter(|file| file.copy.modified == copy.modified) {
                    None => is_stale = true,
                    Some(file) => {
                        let mut found = verdict(file.is_sound());
                        found.whole &= copy.item.verdict == Called::Whole;
                        copy.verdict = Some(found);
                        copy.verified = Some(self.scene.now);
                        copy.arrived = None;
                    }
                }
            }
            facts.stale |= is_stale;
        }
    }

    /// Plans and acts until nothing is left to do, or the service is killed.
    pub(crate) fn sync(&mut self, most: usize) -> Option<Plan> {
        for _ in 0..most {
            self.scene.now += 1.minutes();
            self.look();
            let plan = self.scene.plan();
            self.check(&plan);
            let is_idle = plan.copies.is_empty() && plan.removals.values().all(|removals| removals.due().is_empty());
            let is_current = self.scene.known.destinations.values().all(|facts| !facts.stale || facts.away.is_some());
            if is_idle && is_current {
                return Some(plan);
            }
            if !self.act(&plan) {
                self.restart();
                return None;
            }
        }
        None
    }

    /// False: killed.
    fn act(&mut self, plan: &Plan) -> bool {
        for task in &plan.copies {
            if !self.is_calm && self.dice.once_in(40) {
                return false;
            }
            let read = task.from.iter().find_map(|source| {
                let place = &self.places[&source.destination];
                place.files.get(&source.name).filter(|file| place.away_until.is_none() && !file.cut).cloned()
            });
            let place = &self.places[&task.to];
            self.scene.known.destinations.get_mut(&task.to).unwrap().stale = true;
            let Some(mut file) = read else {
                task.from.iter().for_each(|source| self.scene.facts(&source.destination).stale = true);
                continue;
            };
            // An upload never replaces.
            if place.files.contains_key(&task.name) || place.free().is_some_and(|free| free < file.copy.item.size) {
                self.count("refused");
                assert!(!self.is_calm, "{} has {} already", task.to, task.name);
                continue;
            }
            file.copy.item.name = task.name.as_str().into();
            file.copy.arrived = Some(self.scene.now);
            self.put(&task.to, file);
            self.count("sent");
            let is_new = self.sent.insert((task.to.clone(), task.archive.clone()));
            assert!(is_new || !self.is_calm, "{} was sent to {} again", task.archive, task.to);
            if !self.is_calm && self.dice.once_in(2) {
                return true;
            }
        }
        for (name, removals) in &plan.removals {
            for removal in removals.due() {
                if !self.is_calm && self.dice.once_in(40) {
                    return false;
                }
                self.scene.facts(name).stale = true;
                let files = &self.places[name].files;
                if files.get(&removal.instead).is_none_or(|file| file.copy.item.size != removal.instead_size) {
                    self.count("not removed");
                    continue;
                }
                self.remove(name, &removal.name);
            }
        }
        true
    }

    fn remove(&mut self, place: &str, name: &str) {
        let newest = self.newest_whole(place);
        let Some(file) = self.places.get_mut(place).unwrap().files.remove(name) else { return };
        assert_eq!(newest, self.newest_whole(place), "{name} was removed from {place}");
        assert_eq!(file.copy.item.made_by, Origin::Own, "{name}");
        self.count("removed");
        let archive = file.copy.archive().unwrap();
        assert!(
            !self.is_calm || !file.is_sound() || !self.sent.contains(&(place.to_owned(), archive.clone())),
            "{archive} was sent to {place} and removed again"
        );
    }

    /// The newest whole archive of a place, which never goes, so that of all places does not either. That one rots
    /// nobody knows before it is read.
    fn newest_whole(&self, place: &str) -> Option<Timestamp> {
        let is_known = |file: &File| {
            let known = self.scene.known.destinations[place].copies.get(&file.copy.item.name);
            known.is_some_and(|known| known.modified == file.copy.modified && known.is_damaged())
        };
        let whole = self.places[place].files.values().filter(|file| {
            let item = &file.copy.item;
            item.made_by == Origin::Own && item.verdict == Called::Whole && !file.cut && !is_known(file)
        });
        whole.map(|file| file.copy.item.date).max()
    }

    /// What is true of each plan.
    fn check(&self, plan: &Plan) {
        let mut names = BTreeSet::new();
        for task in &plan.copies {
            let facts = &self.scene.known.destinations[&task.to];
            assert!(names.insert((&task.to, &task.name)) && !facts.copies.contains(&task.name), "{task:?}");
            assert!(!task.from.is_empty() && task.from.iter().all(|source| source.destination != task.to), "{task:?}");
            assert!(facts.away.is_none() && !facts.stale);
        }
        for (name, removals) in &plan.removals {
            let facts = &self.scene.known.destinations[name];
            assert!(removals.due().is_empty() || (facts.away.is_none() && !facts.stale && !facts.append_only));
            for removal in &removals.leaving {
                assert!(!facts.copies.get(&removal.name).unwrap().item.pinned, "{removal:?} is pinned");
            }
        }
    }

    /// Everything is back and nothing goes wrong any more: every place comes to hold what its rules want, and that is
    /// all.
    pub(crate) fn settle(&mut self) {
        self.is_calm = true;
        let most_removals = std::mem::replace(&mut self.scene.job.most_removals, usize::MAX);
        self.scene.now += 25.hours();
        for name in self.names() {
            let place = self.places.get_mut(&name).unwrap();
            place.away_until = None;
            let facts = self.scene.facts(&name);
            (facts.stale, facts.away) = (true, None);
        }
        self.back_up();
        self.look();
        self.verify(true);
        self.sent.clear();
        let plan = self.sync(30).expect("it comes to an end");
        let again = self.scene.plan();
        assert!(again.copies.is_empty());
        for name in self.names() {
            self.check_settled(&name, &plan);
        }
        self.is_calm = false;
        self.scene.job.most_removals = most_removals;
    }

    fn check_settled(&self, name: &str, plan: &Plan) {
        let own = |place: &Place| -> Vec<File> {
            place.files.values().filter(|file| file.copy.item.made_by == Origin::Own).cloned().collect()
        };
        let held: Vec<String> = own(&self.places[name])
            .iter()
            .filter(|file| file.is_sound())
            .map(|file| file.copy.archive().unwrap())
            .collect();
        let distinct: BTreeSet<&String> = held.iter().collect();
        assert_eq!(distinct.len(), held.len(), "nothing is twice at {name}");
        let target = self.scene.job.target(name).unwrap();
        let blocked = || plan.blocked.iter().filter(|blocked| blocked.destination == name);
        if target.schedules.is_some() || blocked().any(|blocked| matches!(blocked.why, Why::NoSpace { .. })) {
            return;
        }
        // A pin protects an archive at its place, also when the copy that bears it is damaged and another is not.
        let pinned: BTreeSet<String> = own(&self.places[name])
            .iter()
            .filter(|file| file.copy.item.pinned)
            .map(|file| file.copy.archive().unwrap())
            .collect();
        let mut union: BTreeMap<String, Candidate> = BTreeMap::new();
        for files in self.places.values() {
            for file in own(files).into_iter().filter(File::is_sound) {
                let archive = file.copy.archive().unwrap();
                union.entry(archive.clone()).or_insert_with(|| Candidate {
                    pinned: pinned.contains(&archive),
                    name: archive,
                    content: None,
                    ..file.copy.candidate()
                });
            }
        }
        let candidates: Vec<Candidate> = union.into_values().collect();
        // Whether it is there on account of a rule, or only because it is pinned there.
        let wanted: BTreeMap<String, bool> = match target.keep {
            None => candidates.iter().map(|candidate| (candidate.name.clone(), true)).collect(),
            Some(rules) => retention::plan(&candidates, &rules, &at(self.scene.now))
                .into_iter()
                .filter(|decision| !decision.is_removed())
                .map(|decision| (decision.name, decision.keep.iter().any(|reason| *reason != Reason::Pinned)))
                .collect(),
        };
        let missing: Vec<&String> = wanted
            .iter()
            .filter(|(_, by_rule)| **by_rule)
            .map(|(archive, _)| archive)
            .filter(|archive| !distinct.contains(archive) && blocked().all(|blocked| blocked.archive != **archive))
            .collect();
        assert!(missing.is_empty(), "{name} lacks {missing:?}");
        // Older ones stand in for what can't be had.
        if !self.scene.known.destinations[name].append_only && blocked().next().is_none() {
            // An incomplete one stays while the whole one of its day is only elsewhere.
            let is_whole = |archive: &String| {
                candidates.iter().any(|candidate| candidate.name == *archive && candidate.worth == Worth::Whole)
            };
            let more: Vec<&&String> =
                distinct.iter().filter(|archive| !wanted.contains_key(**archive) && is_whole(archive)).collect();
            assert!(more.is_empty(), "{name} has {more:?} too much: {:#?}", plan.removals[name]);
        }
    }
}
