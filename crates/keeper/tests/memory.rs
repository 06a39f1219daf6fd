//! What the service holds of each copy that it knows: counted, byte by byte.

#![allow(clippy::unwrap_used, unsafe_code, reason = "a test fails by panicking; an allocator is unsafe by nature")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use engine::{
    inventory::{Called, Item},
    retention::{Origin, Rules},
};
use jiff::{Timestamp, ToSpan, Zoned, tz::TimeZone};
use keeper::{
    catalog::Catalog,
    job::{Hooks, Job, Making, Target},
    service::Service,
    settings::Settings,
    status::CopyVerdict,
    task::{Found, Location, Outcome, Task},
};

/// Counts what is in use.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator does it; only a number is kept beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        IN_USE.fetch_add(layout.size(), Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn item(number: i64, made: Timestamp) -> Item {
    Item {
        name: format!("Haul_backup_2026.11.0_{number:05}.tar").into(),
        size: 1_000_000,
        date: made,
        slug: Some(format!("{number:08x}").into()),
        title: Some("Haul backup 2026.11.0".into()),
        home_assistant: Some("2026.11.0".into()),
        made_by: Origin::Own,
        protected: true,
        pinned: false,
        instance: Some("43a3e453ca5e4ab35e4d8a03addfb7c3".into()),
        verdict: Called::Incomplete,
        missing: Some("the users or their passwords: nobody can log in".into()),
        essential: false,
        history: true,
        link: false,
        arrival: None,
        problem: None,
    }
}

fn settings(destinations: &[String]) -> Settings {
    let keep = Some(Rules { last: 100_000, ..Rules::default() });
    let target = |name: &String| Target {
        destination: name.clone(),
        keep,
        schedules: None,
        verify_every: None,
        limit: None,
        by_samples: false,
        hours: None,
    };
    let job = Job {
        name: "home".to_owned(),
        source: "/config".into(),
        schedules: Vec::new(),
        jitter: Duration::ZERO,
        paused: false,
        destinations: destinations.iter().map(target).collect(),
        making: Making::default(),
        hooks: Hooks::default(),
        rehearse: None,
        boot: None,
        overdue_after: Duration::from_hours(48),
        most_removals: 5,
    };
    Settings {
        jobs: vec![job],
        destinations: destinations.iter().map(|name| (name.clone(), format!("/{name}"))).collect(),
        instances: [("home".to_owned(), "43a3e453ca5e4ab35e4d8a03addfb7c3".to_owned())].into(),
        ..Settings::default()
    }
}

/// Everything that is due is done, until nothing is.
fn rest(service: &Service, now: &Zoned, archives: i64) {
    loop {
        let (started, _) = service.step(now);
        if started.is_empty() {
            return;
        }
        for started in started {
            let outcome = match &started.task {
                Task::Look { destination } => {
                    let made = |number: i64| now.timestamp() - (number + 1).hours();
                    let items = (0..archives).map(|number| (item(number, made(number)), Some(made(number)))).collect();
                    let address = format!("/{destination}");
                    Outcome::done("listed".to_owned(), Found::Listed { address, items, free: None, append_only: false })
                }
                Task::Verify { copy: Location { .. }, .. } => {
                    let sentence = "whole".to_owned().into();
                    let verdict = CopyVerdict { whole: true, damaged: false, sentence, samples: false };
                    Outcome::done("whole".to_owned(), Found::Verified(verdict))
                }
                other => panic!("{other:?}"),
            };
            service.finish(started.id, &outcome, now.timestamp());
        }
    }
}

#[test]
fn a_copy_that_is_known_costs_few_bytes_also_after_a_restart() {
    const ARCHIVES: i64 = 2000;
    let destinations: Vec<String> = (1..=5).map(|number| format!("d{number}")).collect();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("catalog.db");
    let now = "2026-11-02T12:00:00Z".parse::<Timestamp>().unwrap().to_zoned(TimeZone::UTC);
    let per_copy = |before: usize| IN_USE.load(Ordering::Relaxed).saturating_sub(before) / (ARCHIVES as usize * 5);
    let before = IN_USE.load(Ordering::Relaxed);
    let start = || {
        let (catalog, _) = Catalog::open(&path).unwrap();
        Service::new(catalog, settings(&destinations), "1", now.timestamp(), Box::new(|| ())).unwrap()
    };
    let service = start();
    rest(&service, &now, ARCHIVES);
    let looked = per_copy(before);
    drop(service);
    let service = start();
    rest(&service, &now, ARCHIVES);
    let loaded = per_copy(before);
    drop(service);
    // The archives' own names and slugs, and what is fixed: title, instance and version are held once.
    assert!(
        looked < 400 && loaded < 400,
        "{looked} bytes for a copy that was looked at, {loaded} for one from the catalog"
    );
}
