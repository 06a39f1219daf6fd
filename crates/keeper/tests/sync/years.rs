//! Ten years in which everything goes wrong.

use engine::retention::Rules;
use jiff::ToSpan;
use proptest::prelude::*;

use crate::world::World;

/// Days of trouble before everything is back once.
const TROUBLE: usize = 25;

fn rules() -> impl Strategy<Value = Option<Rules>> {
    let rules = (1_u32..4, 0_u32..8, 0_u32..4, 0_u32..3, proptest::option::of(1_i64..6));
    rules.prop_map(|(last, daily, weekly, monthly, within)| {
        Some(Rules { last, daily, weekly, monthly, within: within.map(ToSpan::days), ..Rules::default() })
    })
}

fn live(world: &mut World, days: usize) {
    for number in 1..=days {
        world.scene.now += 24.hours();
        world.trouble();
        world.back_up();
        world.sync(1 + number % 2);
        if number % TROUBLE == 0 {
            world.settle();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_places_come_to_hold_what_their_rules_want_and_nothing_is_lost(
        seed in any::<u64>(),
        rules in [rules(), rules(), rules()],
        append_only in proptest::bool::weighted(0.2),
        capacity in proptest::option::weighted(0.3, 3_u64..30),
        schedule in proptest::sample::select(&["", "", "daily 04:45", "every 36h", "weekly"][..]),
    ) {
        let mut world = World::new(seed, &rules, append_only, capacity, schedule);
        live(&mut world, 200);
    }
}

#[test]
fn ten_years_of_trouble() {
    let off = Rules { daily: 7, weekly: 4, monthly: 6, ..Rules::default() };
    let rules = [
        Some(Rules { last: 3, daily: 3, ..Rules::default() }),
        Some(Rules { daily: 7, ..Rules::default() }),
        Some(off),
    ];
    let mut world = World::new(2026, &rules, false, Some(20), "daily 04:45");
    live(&mut world, 3650);
    for what in ["sent", "removed", "refused", "not removed", "kills"] {
        assert!(world.counts.get(what).is_some_and(|count| *count > 0), "{what}: {:?}", world.counts);
    }
}
