//! Each rule, and each way in which it could lose something.

use std::collections::BTreeSet;

use engine::{
    inventory::{Called, Item},
    retention::{Origin, Rules},
};
use jiff::ToSpan;
use keeper::{
    facts::{Arrival, Copy},
    status::Ending,
    sync::{RESERVE, Waits, Why},
};
use store::machine::ArrivalNote;

use crate::scene::{SIZE, Scene, copy, day, keep_last, run, verdict};

fn days(from: i64, to: i64) -> Vec<Copy> {
    (from..=to).map(|number| copy(&format!("d{number:03}"), day(number))).collect()
}

fn changed(mut copy: Copy, change: impl FnOnce(&mut Item)) -> Copy {
    change(&mut copy.item);
    copy
}

fn damaged(copy: Copy) -> Copy {
    Copy { verified: Some(day(101)), verdict: Some(verdict(false)), ..copy }
}

fn verified(copy: Copy, number: i64) -> Copy {
    Copy { verified: Some(day(number)), verdict: Some(verdict(true)), ..copy }
}

#[test]
fn a_destination_that_was_away_for_a_week_catches_up_with_what_its_rules_want() {
    let scene = Scene::new().place("usb", keep_last(10), days(91, 100)).place("s3://nas", keep_last(3), days(90, 93));
    assert_eq!(
        scene.told(),
        [
            "d100.tar > nas from usb",
            "d099.tar > nas from usb",
            "d098.tar > nas from usb",
            // What is older than what it will hold goes once it does.
            "nas - d090.tar",
        ]
    );
    let later = Scene::new().place("usb", keep_last(10), days(91, 100)).place(
        "s3://nas",
        keep_last(3),
        [days(90, 93), days(98, 100)].concat(),
    );
    assert_eq!(later.told(), ["nas - d093.tar", "nas - d092.tar", "nas - d091.tar", "nas - d090.tar"]);
    let done = Scene::new().place("usb", keep_last(10), days(91, 100)).place("s3://nas", keep_last(3), days(98, 100));
    assert!(done.told().is_empty());
}

#[test]
fn without_rules_everything_is_wanted_and_nothing_removed() {
    let scene = Scene::new().place("usb", keep_last(2), days(99, 100)).place("nas", None, days(1, 98));
    assert_eq!(scene.told(), ["d100.tar > nas from usb", "d099.tar > nas from usb"]);
}

#[test]
fn the_nearest_and_last_verified_copy_is_read() {
    let scene = Scene::new()
        .place("s3://cloud", None, [verified(copy("d100", day(100)), 101)])
        .place("old", None, [verified(copy("d100", day(100)), 50)])
        .place("usb", None, [verified(copy("d100", day(100)), 60)])
        .place("s3://away", None, [copy("d100", day(100))])
        .place("nas", None, []);
    let mut scene = scene;
    scene.away("away");
    assert_eq!(scene.told(), ["d100.tar > nas from usb,old,cloud"]);
}

#[test]
fn a_destination_with_schedules_of_its_own_takes_the_first_archive_of_each_moment() {
    let hourly: Vec<Copy> = (0..48).map(|hour| copy(&format!("h{hour:02}"), day(99) + (hour).hours())).collect();
    let scene = |present: &[usize]| {
        let present: Vec<Copy> = present.iter().map(|at| hourly[*at].clone()).collect();
        Scene::new().place("usb", keep_last(48), hourly.clone()).place("s3://off", None, present)
    };
    let daily = scene(&[]).scheduled("off", "daily 04:45");
    assert_eq!(
        daily.told(),
        ["h29.tar > off from usb", "h05.tar > off from usb", "h00.tar > off from usb"],
        "the first of all, and the first after each 04:45"
    );
    assert!(scene(&[0, 5, 29]).scheduled("off", "daily 04:45").told().is_empty());
    let interval = scene(&[7]).scheduled("off", "every 12h");
    assert_eq!(
        interval.told(),
        ["h43.tar > off from usb", "h31.tar > off from usb", "h19.tar > off from usb", "h00.tar > off from usb"],
        "counted from what is there"
    );
}

#[test]
fn an_incomplete_archive_does_not_take_the_place_of_a_whole_one() {
    let incomplete = |name, at| changed(copy(name, at), |item| item.verdict = Called::Incomplete);
    let scene = Scene::new()
        .place("usb", keep_last(1), [incomplete("early", day(100) + 5.hours()), copy("later", day(100) + 6.hours())])
        .place("off", keep_last(1), [copy("before", day(99))])
        .scheduled("off", "daily 04:45");
    assert_eq!(scene.told(), ["later.tar > off from usb", "usb - early.tar"]);
    // With nothing whole, the newest incomplete one is better than nothing.
    let scene = Scene::new().place("usb", None, [incomplete("one", day(99)), incomplete("two", day(100))]).place(
        "off",
        keep_last(1),
        [],
    );
    assert_eq!(scene.told(), ["two.tar > off from usb"]);
}

#[test]
fn what_is_not_the_jobs_is_never_touched() {
    let others = || {
        let foreign = |change: fn(&mut Item)| changed(copy("x", day(1)), change);
        [
            foreign(|item| item.instance = Some("cabin".into())),
            foreign(|item| item.instance = None),
            foreign(|item| item.made_by = Origin::Other),
            foreign(|item| item.made_by = Origin::Unreadable),
            foreign(|item| item.made_by = Origin::Unknown),
            foreign(|item| item.link = true),
            foreign(|item| {
                let note = ArrivalNote { from: "cabin".to_owned(), key: "key".to_owned(), arrived: 1_767_225_600 };
                item.arrival = Some(Box::new(note));
            }),
        ]
        .into_iter()
        .enumerate()
        .map(|(number, copy)| changed(copy, |item| item.name = format!("x{number}.tar").into()))
    };
    let scene = Scene::new().place("usb", keep_last(1), others().chain(days(99, 100))).place(
        "nas",
        keep_last(1),
        others().chain(days(100, 100)),
    );
    assert_eq!(scene.told(), ["usb - d099.tar"]);
    // Without an id of the instance only what the job is known to have made.
    let nameless = |name, number| changed(copy(name, day(number)), |item| item.instance = None);
    let mut scene = Scene::new()
        .place("usb", keep_last(1), [nameless("mine", 98), nameless("mine2", 99), nameless("other", 100)])
        .place("nas", None, []);
    scene.job_facts().instance = None;
    assert!(scene.told().is_empty());
    let made = [nameless("mine", 98), nameless("mine2", 99)].map(|copy| copy.archive().unwrap());
    scene.job_facts().made.extend(made);
    assert_eq!(scene.told(), ["mine2.tar > nas from usb", "mine.tar > nas from usb"]);
}

#[test]
fn a_damaged_copy_is_replaced_from_a_sound_one_and_goes_after_that_was_read() {
    let sound = || days(100, 100);
    let bad = || damaged(copy("d100", day(100)));
    let scene = Scene::new().place("usb", None, sound()).place("nas", keep_last(3), [bad()]);
    assert_eq!(scene.told(), ["d100-d100.tar > nas from usb for d100.tar"]);
    let named = |name: &str, copy| changed(copy, |item| item.name = name.into());
    let sent =
        |copy| Scene::new().place("usb", None, sound()).place("nas", None, [bad(), named("d100-d100.tar", copy)]);
    assert!(sent(copy("d100", day(100))).told().is_empty(), "it was not read yet");
    assert!(sent(verified(copy("d100", day(100)), 100)).told().is_empty(), "it was read before the damage was found");
    assert_eq!(sent(verified(copy("d100", day(100)), 102)).told(), ["nas - d100.tar"]);
    let twice = sent(damaged(copy("d100", day(100))));
    assert_eq!(twice.plan().blocked[0].why, Why::DamagedAgain);
    assert_eq!(twice.told().len(), 1);
    // The name that it has elsewhere is the first one again.
    let again =
        Scene::new().place("usb", None, [named("d100-d100.tar", copy("d100", day(100)))]).place("nas", None, []);
    assert_eq!(again.told(), ["d100.tar > nas from usb"]);
    let half = changed(copy("d100", day(100)), |item| {
        item.size = SIZE / 2;
        item.verdict = Called::Unknown;
    });
    let scene = Scene::new().place("usb", None, sound()).place("nas", None, [half]);
    assert_eq!(scene.told(), ["d100-d100.tar > nas from usb for d100.tar"]);
}

#[test]
fn what_cannot_be_replaced_is_said() {
    let bad = || damaged(copy("d100", day(100)));
    let why = |scene: &Scene| scene.plan().blocked.into_iter().map(|blocked| blocked.why).collect::<Vec<_>>();
    let pinned = changed(bad(), |item| item.pinned = true);
    assert_eq!(why(&Scene::new().place("usb", None, days(100, 100)).place("nas", None, [pinned])), [Why::Pinned]);
    let everywhere = Scene::new().place("usb", None, [bad()]).place("nas", None, [bad()]);
    assert_eq!(why(&everywhere), [Why::NothingSound, Why::NothingSound]);
    let mut away = Scene::new().place("usb", None, days(100, 100)).place("nas", None, [bad()]);
    away.away("usb");
    assert_eq!(why(&away), [Why::SourcesAway(vec!["usb".to_owned()])]);
    let taken = changed(copy("zzz", day(1)), |item| {
        item.name = "D100.tar".into();
        item.made_by = Origin::Unreadable;
    });
    assert_eq!(why(&Scene::new().place("usb", None, days(100, 100)).place("nas", None, [taken])), [Why::NameTaken]);
    let other = changed(copy("zzz", day(99)), |item| item.name = "d100.tar".into());
    let scene = Scene::new().place("usb", None, days(100, 100)).place("nas", None, [other]);
    assert_eq!(scene.told(), ["d100-d100.tar > nas from usb", "d100-zzz.tar > usb from nas"]);
}

#[test]
fn a_copy_that_does_not_fit_blocks_the_older_ones() {
    let mut scene = Scene::new().place("usb", None, days(97, 100)).place("nas", None, []);
    scene.facts("nas").free = Some(RESERVE + 2 * SIZE);
    assert_eq!(
        scene.told(),
        [
            "d100.tar > nas from usb",
            "d099.tar > nas from usb",
            "nas ! d098.tar (1.0 MB) does not fit on nas, which has 514 MB free, and 512 MB stay free",
        ]
    );
}

#[test]
fn nothing_is_removed_while_it_may_be_wrong() {
    let scene = || Scene::new().place("usb", keep_last(2), days(97, 100));
    let told = |change: fn(&mut Scene)| {
        let mut scene = scene();
        change(&mut scene);
        (scene.plan().removals.get("usb").map_or(0, |removals| removals.due().len()), scene.told())
    };
    assert_eq!(told(|_| ()), (2, vec!["usb - d098.tar".to_owned(), "usb - d097.tar".to_owned()]));
    for (change, why) in [
        ((|scene| scene.facts("usb").append_only = true) as fn(&mut Scene), "nothing can be removed there"),
        (|scene| scene.facts("usb").stale = true, "it has to be listed first"),
        (|scene| scene.away("usb"), "it has to be listed first"),
        (|scene| scene.facts("usb").listed = Some(day(100)), "it has to be listed first"),
        (|scene| scene.job_facts().last = Some(run(Ending::Failed)), "the last backup failed"),
        (|scene| scene.job_facts().last = Some(run(Ending::Cancelled)), "the last backup failed"),
        (|scene| scene.facts("usb").copies.get_mut("d100.tar").unwrap().verified = None, "verified first"),
        (|scene| scene.job.most_removals = 1, "somebody has to agree"),
    ] {
        let (due, told) = told(change);
        assert_eq!((due, told.len()), (0, 2), "{told:?}");
        assert!(told[0].contains(why), "{told:?}: {why}");
    }
    assert_eq!(told(|scene| scene.job_facts().last = Some(run(Ending::Incomplete))).0, 2);
    let agreed = |scene: &mut Scene| {
        scene.job.most_removals = 1;
        let leaving = scene.plan().removals["usb"].leaving.iter().map(|removal| removal.name.clone()).collect();
        scene.facts("usb").agreed = leaving;
    };
    assert_eq!(told(agreed).0, 2);
    assert!(told(|scene| scene.job.paused = true).1.is_empty());
}

#[test]
fn nothing_goes_that_is_not_older_than_the_newest_whole_copy_there() {
    // The two newest are damaged: the one before them is the newest whole, and stays with all that is newer.
    let copies = || days(97, 98).into_iter().chain(days(99, 100).into_iter().map(damaged));
    let scene = Scene::new().place("usb", keep_last(1), copies());
    assert_eq!(scene.told(), ["usb - d097.tar"]);
    assert_eq!(scene.plan().removals["usb"].leaving[0].instead, "d098.tar");
    // Nor incomplete ones, of which the rules want fewer.
    let hours = (1..4).map(|hour| copy(&format!("i{hour}"), day(100) + hour.hours()));
    let newer = hours.map(|copy| changed(copy, |item| item.verdict = Called::Incomplete));
    let scene =
        Scene::new().place("usb", Rules { daily: 1, ..Rules::default() }, days(97, 98).into_iter().chain(newer));
    assert_eq!(scene.told(), ["usb - d097.tar"]);
    // Nothing whole at all: nothing goes.
    let incomplete = days(97, 100).into_iter().map(|copy| changed(copy, |item| item.verdict = Called::Incomplete));
    assert!(Scene::new().place("usb", keep_last(1), incomplete).told().is_empty());
    // Its maker said nothing and nobody has read it.
    let unknown = || days(97, 100).into_iter().map(|copy| changed(copy, |item| item.verdict = Called::Unknown));
    assert!(Scene::new().place("usb", keep_last(1), unknown()).told().is_empty());
    let read = Scene::new().place("usb", keep_last(1), unknown().map(|copy| verified(copy, 101)));
    assert_eq!(read.told().len(), 3);
}

#[test]
fn a_pinned_copy_stays_where_it_is_and_is_not_sent_because_of_that() {
    let pinned = changed(copy("d001", day(1)), |item| item.pinned = true);
    let scene = Scene::new().place("usb", keep_last(1), days(100, 100).into_iter().chain([pinned])).place(
        "nas",
        keep_last(1),
        days(100, 100),
    );
    assert!(scene.told().is_empty());
}

#[test]
fn what_is_about_to_be_sent_from_somewhere_stays_there_until_it_was() {
    let monthly = Rules { monthly: 3, ..Rules::default() };
    let months = || [copy("jan", day(30)), copy("feb", day(58)), copy("mar", day(89)), copy("apr", day(100))];
    let scene = Scene::new().place("usb", keep_last(1), months()).place("nas", monthly, []);
    assert_eq!(
        scene.told(),
        ["apr.tar > nas from usb", "mar.tar > nas from usb", "feb.tar > nas from usb", "usb - jan.tar"]
    );
    let sent = Scene::new().place("usb", keep_last(1), months()).place("nas", monthly, months().into_iter().skip(1));
    assert_eq!(sent.told(), ["usb - mar.tar", "usb - feb.tar", "usb - jan.tar"]);
}

#[test]
fn an_incomplete_archive_is_not_removed_and_sent_again_while_an_older_whole_one_is_missing() {
    let daily = Rules { daily: 5, ..Rules::default() };
    let incomplete = || changed(copy("middle", day(98)), |item| item.verdict = Called::Incomplete);
    let scene = Scene::new().place("usb", None, [copy("old", day(97)), incomplete(), copy("new", day(99))]).place(
        "nas",
        daily,
        [incomplete(), copy("new", day(99))],
    );
    assert_eq!(scene.told(), ["old.tar > nas from usb"]);
}

#[test]
fn a_destination_that_was_never_listed_or_is_not_up_to_date_is_listed_first() {
    let mut scene = Scene::new().place("usb", None, days(100, 100)).place("nas", None, []);
    scene.facts("nas").stale = true;
    assert!(scene.told().is_empty());
    scene.facts("nas").stale = false;
    scene.facts("nas").listed = None;
    assert!(scene.told().is_empty());
}

#[test]
fn what_arrived_and_is_not_listed_yet_is_not_sent_again() {
    let mut scene = Scene::new().place("usb", None, days(99, 100)).place("nas", None, []);
    let arrival = Arrival { at: day(101), compared: false, job: Some("home".to_owned()) };
    scene.facts("nas").arrivals.insert("d100.tar".to_owned(), arrival);
    assert_eq!(scene.told(), ["d099.tar > nas from usb"]);
}

#[test]
fn an_archive_dated_ahead_of_the_clock_is_kept_and_not_sent() {
    let scene = Scene::new().place("usb", keep_last(1), days(99, 100).into_iter().chain(days(200, 200))).place(
        "nas",
        keep_last(1),
        days(100, 100),
    );
    assert_eq!(scene.told(), ["usb - d099.tar"]);
}

#[test]
fn nothing_goes_on_account_of_a_newest_copy_that_nobody_read() {
    // Found there, as after a catalog was lost: it has not arrived, and was never read.
    let mut scene = Scene::new().place("usb", keep_last(1), days(98, 100));
    scene.facts("usb").copies.get_mut("d100.tar").unwrap().verified = None;
    let plan = scene.plan();
    assert_eq!(plan.removals["usb"].waits, Some(Waits::NotRead));
    scene.facts("usb").copies.get_mut("d100.tar").unwrap().verified = Some(day(100));
    assert_eq!(scene.plan().removals["usb"].due().len(), 2);
}

#[test]
fn what_another_destination_wants_and_lacked_stays_while_that_is_listed_or_away_for_days() {
    let scene = || {
        let mut scene = Scene::new().place("usb", keep_last(1), days(98, 100)).place("nas", keep_last(3), days(98, 98));
        scene.facts("nas").stale = true;
        scene
    };
    let left =
        |scene: &mut Scene| scene.plan().removals["usb"].leaving.iter().map(|it| it.name.clone()).collect::<Vec<_>>();
    assert_eq!(left(&mut scene()), ["d098.tar"], "d099 is only here, and nas wants it");
    let away = |days: i64| {
        let mut scene = scene();
        let since = scene.now - (24 * days).hours();
        scene.away("nas");
        scene.facts("nas").away.as_mut().unwrap().0 = since;
        scene
    };
    assert_eq!(left(&mut away(7)), ["d098.tar"]);
    assert_eq!(left(&mut away(9)), ["d099.tar", "d098.tar"], "it gets what there is when it comes back");
}

#[test]
fn consent_is_to_what_was_seen_and_a_damaged_last_copy_stays_for_a_month() {
    let mut scene = Scene::new().place("usb", keep_last(1), days(91, 100));
    scene.job.most_removals = 5;
    let leaving: BTreeSet<String> = scene.plan().removals["usb"].leaving.iter().map(|it| it.name.clone()).collect();
    scene.facts("usb").agreed = leaving.iter().skip(1).cloned().collect();
    assert_eq!(scene.plan().removals["usb"].waits, Some(Waits::Consent), "one of them was not among what was agreed");
    scene.facts("usb").agreed = leaving;
    assert_eq!(scene.plan().removals["usb"].waits, None);
    let bad = scene.facts("usb").copies.get_mut("d095.tar").unwrap();
    *bad = damaged(bad.clone());
    let is_leaving =
        |scene: &mut Scene| scene.plan().removals["usb"].leaving.iter().any(|removal| removal.name == "d095.tar");
    assert!(!is_leaving(&mut scene));
    scene.now += (24 * 40).hours();
    assert!(is_leaving(&mut scene));
}

#[test]
fn what_somebody_deleted_is_not_sent_again_and_what_was_removed_is_not_removed_twice() {
    let mut scene = Scene::new().place("usb", None, days(99, 100)).place("nas", None, days(100, 100));
    assert_eq!(scene.told(), ["d099.tar > nas from usb"]);
    let archive = scene.known.destinations["usb"].copies.get("d099.tar").unwrap().archive().unwrap();
    scene.facts("nas").deleted.insert(archive);
    assert_eq!(scene.told(), [""; 0]);
    let mut late = Scene::new().place("usb", keep_last(1), days(98, 100));
    late.facts("usb").removed.insert("d098.tar".to_owned(), day(100));
    let leaving: Vec<String> = late.plan().removals["usb"].leaving.iter().map(|removal| removal.name.clone()).collect();
    assert_eq!(leaving, ["d099.tar"], "a late list still shows the other");
}
