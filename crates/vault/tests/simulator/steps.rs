//! What machines do, and what goes wrong meanwhile.

use crate::{CALLS, DAY, HOUR, home::Random};

/// What may be wrong with the destination for a whole schedule. Stale lists and wrong clocks together are not: the day
/// between two cleanups is what stale lists are survived by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Weather {
    Fine,
    StaleLists,
    WrongClocks,
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    BackUp(usize),
    Collect,
    Delete,
    Read,
    Sleep(u64),
}

#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// Nothing gets through any more; this call did or did not.
    Dies(bool),
    /// This one call fails for good, and did or did not get through.
    Fails(bool),
    /// It seems to fail, and arrives later.
    Late,
    /// The answer is lost; the next attempt works.
    Lost,
    /// It arrives twice.
    Twice,
    /// The others do this first.
    Sleeps(Vec<Step>),
}

pub(crate) fn some_steps(random: &mut Random) -> Vec<Step> {
    // A whole life of cleanups: one takes the writer for dead, the next dooms, the last deletes.
    if random.one_in(3) {
        let mut steps = vec![Step::Sleep(8 * DAY), Step::Collect, Step::Collect, Step::Sleep(25 * HOUR), Step::Collect];
        for _ in 0..random.below(3) {
            steps.insert(random.below(steps.len()), Step::Delete);
        }
        steps.truncate(1 + random.below(steps.len()));
        return steps;
    }
    (0..=random.below(5)).map(|_| a_step(random)).collect()
}

pub(crate) fn a_step(random: &mut Random) -> Step {
    match random.below(12) {
        0..=4 => Step::BackUp(random.below(2)),
        5..=7 => Step::Collect,
        8 => Step::Delete,
        9 => Step::Read,
        10 => Step::Sleep(25 * HOUR),
        _ => Step::Sleep([60, HOUR, 8 * DAY][random.below(3)]),
    }
}

pub(crate) fn some_faults(random: &mut Random, weather: Weather) -> Vec<(usize, Fault)> {
    let mut faults = Vec::new();
    while random.below(5) < 3 && faults.len() < 4 {
        let fault = match random.below(9) {
            0 => Fault::Dies(true),
            1 => Fault::Dies(false),
            2 => Fault::Fails(random.one_in(2)),
            // What arrives a while after its writer has ended is survived by the day between two cleanups.
            3 if weather != Weather::WrongClocks => Fault::Late,
            4 => Fault::Lost,
            5 => Fault::Twice,
            _ => Fault::Sleeps(some_steps(random)),
        };
        faults.push((random.below(CALLS), fault));
    }
    faults
}
