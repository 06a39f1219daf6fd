//! One archive to several destinations: every placement, every way to fail, and nothing half-done.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::{os::unix::fs::FileExt, path::Path, sync::Arc, time::Duration};

use common::{Fault, HICCUP, Memory, context, parts};
use store::{
    Bridge, Cancellation, Checked, Context, Expected, Kind, PartRules, Placement, Sink, StoreError,
    outbound::{Network, Original, Outbound, Outcome, PushOptions, Target, UploadMeter, push},
};
use testkit::{noise::noise, wait};

const LATE: u64 = 5000;

struct Run {
    bridge: Bridge,
    context: Context,
    dir: tempfile::TempDir,
}

impl Run {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { bridge: Bridge::start().unwrap(), context: context(&dir.path().join("state")), dir }
    }

    fn place(store: &Memory) -> Target {
        Target::Remote { sink: Arc::new(store.clone()), name: "a.tar".into(), context: None }
    }

    fn file(&self) -> Target {
        Target::File(self.dir.path().join("a.tar"))
    }

    fn prepare(&self, targets: Vec<Target>, read_back: bool) -> Result<Outbound, StoreError> {
        Outbound::prepare(targets, Some(Network { bridge: &self.bridge, context: &self.context }), read_back)
    }

    /// Sends `whole` without having said how long it may become.
    fn send_unexpected(&self, memory: &Memory, whole: &[u8]) -> Vec<Outcome> {
        let mut outbound = self.prepare(vec![Self::place(memory)], false).unwrap();
        outbound.begin(Expected::default()).unwrap();
        let _ = whole.chunks(300_000).try_for_each(|chunk| outbound.append(chunk));
        outbound.finish()
    }

    /// Sends `whole`; with a late field unless a destination accepts none.
    fn send(&self, targets: Vec<Target>, whole: &[u8], read_back: bool) -> Vec<Outcome> {
        let mut outbound = self.prepare(targets, read_back).unwrap();
        let late = !outbound.needs_sizes();
        outbound.begin(Expected { about: Some(whole.len() as u64), ..Expected::default() }).unwrap();
        let mut first = whole[..LATE as usize + 10].to_vec();
        if late {
            first[LATE as usize..].fill(b'?');
        }
        if outbound.append(&first).is_ok() {
            if late {
                outbound.late(LATE, 10);
            }
            let _ = whole[first.len()..].chunks(300_000).try_for_each(|chunk| outbound.append(chunk));
            if late {
                outbound.patch(LATE, &whole[LATE as usize..LATE as usize + 10]);
            }
        }
        outbound.finish()
    }
}

#[test]
fn every_placement_gets_the_same_archive() {
    let whole = noise(11_000_000);
    for placement in [Placement::Random, parts(), Placement::Sequential] {
        let (run, memory) = (Run::new(), Memory::new(placement));
        let outcomes = run.send(vec![Run::place(&memory)], &whole, true);
        assert_eq!(outcomes[0].result.as_ref().unwrap().checked, Checked::ReadBack);
        assert!(memory.object("a.tar").unwrap() == whole, "{placement:?}");
        if placement == parts() {
            let puts = memory.world.lock().unwrap().puts.clone();
            let first = puts.iter().position(|index| *index == 0).unwrap();
            assert!(first > 0, "the part with the late field waits for it: {puts:?}");
        }
    }
}

#[test]
fn several_destinations_and_a_file_get_the_same_archive_at_once() {
    let whole = noise(9_000_000);
    let run = Run::new();
    let memories = [Placement::Random, parts(), Placement::Sequential].map(Memory::new);
    let mut targets: Vec<Target> = memories.iter().map(Run::place).collect();
    targets.push(run.file());
    let outcomes = run.send(targets, &whole, false);
    assert_eq!(outcomes.len(), 4);
    assert!(outcomes.iter().all(|outcome| outcome.result.is_ok()), "{outcomes:?}");
    assert!(std::fs::read(run.dir.path().join("a.tar")).unwrap() == whole);
    for memory in memories {
        assert!(memory.object("a.tar").unwrap() == whole);
    }
}

#[test]
fn a_slow_destination_beside_a_file_continues_from_the_file() {
    let whole = noise(40_000_000);
    for placement in [Placement::Random, parts(), Placement::Sequential] {
        let (run, memory) = (Run::new(), Memory::new(placement));
        memory.world.lock().unwrap().pause = Duration::from_millis(20);
        let outcomes = run.send(vec![run.file(), Run::place(&memory)], &whole, true);
        assert!(outcomes.iter().all(|outcome| outcome.result.is_ok()), "{outcomes:?}");
        assert!(memory.object("a.tar").unwrap() == whole, "{placement:?}");
    }
}

#[test]
fn what_a_slow_destination_begins_late_is_used_or_taken_back_and_never_begun_twice() {
    let whole = noise(5_000_000);
    for placement in [Placement::Random, parts()] {
        for is_finished in [true, false] {
            let (mut run, memory) = (Run::new(), Memory::new(placement));
            run.context.tuning.stall = Duration::from_millis(50);
            memory.world.lock().unwrap().silent = true;
            let mut outbound = run.prepare(vec![run.file(), Run::place(&memory)], false).unwrap();
            outbound.begin(Expected::default()).unwrap();
            assert_eq!(memory.world.lock().unwrap().waiting, 1, "it goes on waiting for its answer");
            outbound.append(&whole).unwrap();
            memory.world.lock().unwrap().silent = false;
            if is_finished {
                let outcomes = outbound.finish();
                assert!(outcomes.iter().all(|outcome| outcome.result.is_ok()), "{outcomes:?}");
                assert!(memory.object("a.tar").unwrap() == whole, "{placement:?}");
            } else {
                assert!(outbound.abort().is_empty());
            }
            let world = memory.world.lock().unwrap();
            assert!(world.next == 1 && world.unfinished.is_empty(), "{placement:?}");
            assert_eq!(world.objects.len(), usize::from(is_finished));
        }
    }
}

#[test]
fn hiccups_cost_a_part_and_no_more() {
    let whole = noise(30_000_000);
    for placement in [Placement::Random, parts(), Placement::Sequential] {
        let (run, memory) = (Run::new(), Memory::new(placement));
        memory.script([
            Some(HICCUP),
            None,
            Some(Fault::DoneButSilent),
            Some(HICCUP),
            Some(HICCUP),
            None,
            None,
            Some(Fault::DoneButSilent),
        ]);
        let outcomes = run.send(vec![Run::place(&memory)], &whole, false);
        assert!(outcomes[0].result.is_ok(), "{outcomes:?}");
        assert_eq!(outcomes[0].retries, 5);
        assert!(memory.object("a.tar").unwrap() == whole, "{placement:?}");
    }
}

#[test]
fn one_that_fails_for_good_does_not_disturb_the_other_and_leaves_nothing() {
    let whole = noise(20_000_000);
    let run = Run::new();
    let (good, bad) = (Memory::new(parts()), Memory::new(parts()));
    bad.script([None, None, Some(Fault::Fail(Kind::Full { missing: None }))]);
    let outcomes = run.send(vec![Run::place(&good), Run::place(&bad)], &whole, false);
    assert!(outcomes[0].result.is_ok());
    assert!(outcomes[1].result.as_ref().unwrap_err().is_full());
    assert!(good.object("a.tar").unwrap() == whole);
    let world = bad.world.lock().unwrap();
    assert!(world.objects.is_empty() && world.unfinished.is_empty());
}

#[test]
fn a_taken_name_is_refused_before_anything_is_sent() {
    let (run, memory) = (Run::new(), Memory::new(parts()));
    memory.world.lock().unwrap().objects.insert("a.tar".into(), b"old".to_vec());
    let error = run.prepare(vec![Run::place(&memory)], false).err().unwrap();
    assert_eq!(error.kind(), Some(Kind::Exists));
    assert_eq!(memory.object("a.tar").unwrap(), b"old");
}

#[test]
fn giving_up_leaves_nothing() {
    let (run, memory) = (Run::new(), Memory::new(parts()));
    let mut outbound = run.prepare(vec![Run::place(&memory), run.file()], false).unwrap();
    outbound.begin(Expected::default()).unwrap();
    outbound.append(&noise(10_000_000)).unwrap();
    run.context.cancel.cancel();
    assert!(outbound.abort().is_empty());
    assert!(memory.world.lock().unwrap().unfinished.is_empty());
    assert_eq!(std::fs::read_dir(run.dir.path()).unwrap().count(), 0);
}

#[test]
fn a_dropped_archive_is_never_published() {
    let (run, memory) = (Run::new(), Memory::new(Placement::Sequential));
    let mut outbound = run.prepare(vec![Run::place(&memory)], false).unwrap();
    outbound.begin(Expected::default()).unwrap();
    outbound.append(&noise(5_000_000)).unwrap();
    drop(outbound);
    wait::until("the upload is taken back", || memory.world.lock().unwrap().unfinished.is_empty());
    let world = memory.world.lock().unwrap();
    assert!(world.objects.is_empty() && world.unfinished.is_empty());
}

#[test]
fn a_copy_that_changed_on_the_way_is_found_by_reading_back_and_removed() {
    let whole = noise(6_000_000);
    let (run, memory) = (Run::new(), Memory::new(Placement::Random));
    memory.world.lock().unwrap().corrupt = true;
    let outcomes = run.send(vec![Run::place(&memory)], &whole, true);
    assert_eq!(outcomes[0].result.as_ref().unwrap_err().kind(), Some(Kind::Mismatch));
    assert!(memory.object("a.tar").is_none());
}

fn push_to(run: &Run, memory: &Memory, file: &Path) -> Result<u64, StoreError> {
    let sink: Arc<dyn Sink> = Arc::new(memory.clone());
    let meter = Arc::new(UploadMeter::new(sink.label()));
    let options = PushOptions { archive: Original::File(file), name: "a.tar", read_back: true };
    push(&options, &sink, &Network { bridge: &run.bridge, context: &run.context }, &meter).map(|arrived| arrived.length)
}

#[test]
fn an_interrupted_push_continues_where_the_destination_stands() {
    let whole = noise(20_000_000);
    for placement in [Placement::Random, parts(), Placement::Sequential] {
        let (mut run, memory) = (Run::new(), Memory::new(placement));
        let file = run.dir.path().join("source.tar");
        std::fs::write(&file, &whole).unwrap();
        run.context.tuning.give_up_after = Duration::from_millis(1);
        // However many tries a millisecond holds, none succeeds.
        memory.script([None; 3].into_iter().chain(std::iter::repeat_n(Some(HICCUP), 100)));
        assert!(push_to(&run, &memory, &file).unwrap_err().is_transient());
        let before = memory.world.lock().unwrap().puts.len();
        assert!((3..6).contains(&before), "{before}");
        memory.world.lock().unwrap().faults.clear();
        assert_eq!(push_to(&run, &memory, &file).unwrap(), whole.len() as u64);
        assert!(memory.object("a.tar").unwrap() == whole, "{placement:?}");
        let all = memory.world.lock().unwrap().puts.len();
        assert!(all <= 10 + 1, "{placement:?}: {all} parts were sent of 10");
        assert_eq!(std::fs::read_dir(run.dir.path().join("state")).unwrap().count(), 0, "the record is gone");
    }
}

#[test]
fn a_push_of_a_changed_archive_begins_anew() {
    let (mut run, memory) = (Run::new(), Memory::new(parts()));
    let file = run.dir.path().join("source.tar");
    std::fs::write(&file, noise(20_000_000)).unwrap();
    run.context.tuning.give_up_after = Duration::from_millis(1);
    memory.script([None; 2].into_iter().chain(std::iter::repeat_n(Some(HICCUP), 100)));
    push_to(&run, &memory, &file).unwrap_err();
    memory.world.lock().unwrap().faults.clear();
    let other: Vec<u8> = noise(20_000_001).into_iter().rev().collect();
    std::fs::write(&file, &other).unwrap();
    push_to(&run, &memory, &file).unwrap();
    assert!(memory.object("a.tar").unwrap() == other);
    assert!(memory.world.lock().unwrap().unfinished.is_empty());
}

#[test]
fn an_upload_the_other_side_lost_is_pushed_again_from_the_start() {
    let whole = noise(9_000_000);
    let (run, memory) = (Run::new(), Memory::new(Placement::Sequential));
    let file = run.dir.path().join("source.tar");
    std::fs::write(&file, &whole).unwrap();
    memory.script([None, None, Some(Fault::Fail(Kind::Lost))]);
    push_to(&run, &memory, &file).unwrap();
    assert!(memory.object("a.tar").unwrap() == whole);
    assert!(memory.world.lock().unwrap().unfinished.is_empty());
}

#[test]
fn an_archive_far_beyond_what_was_expected_gets_through_in_larger_parts() {
    let whole = noise(31_500_000);
    let (run, mut memory) = (
        Run::new(),
        Memory::new(Placement::Parts(PartRules { smallest: 1 << 20, largest: 1 << 30, most: 20, equal: false })),
    );
    memory.abilities.preferred = 1 << 20;
    let mut outbound = run.prepare(vec![Run::place(&memory)], false).unwrap();
    outbound.begin(Expected::default()).unwrap();
    whole.chunks(300_000).try_for_each(|chunk| outbound.append(chunk)).unwrap();
    assert!(outbound.finish()[0].result.is_ok());
    assert!(memory.object("a.tar").unwrap() == whole);
}

#[test]
fn a_destination_that_does_not_begin_holds_up_no_file_and_gets_its_copy_from_it() {
    let whole = noise(5_000_000);
    let (run, memory) = (Run::new(), Memory::new(parts()));
    memory.world.lock().unwrap().silent = true;
    let mut outbound = run.prepare(vec![run.file(), Run::place(&memory)], false).unwrap();
    outbound.begin(Expected::default()).unwrap();
    outbound.append(&whole).unwrap();
    memory.world.lock().unwrap().silent = false;
    let outcomes = outbound.finish();
    assert!(outcomes.iter().all(|outcome| outcome.result.is_ok()), "{outcomes:?}");
    assert!(memory.object("a.tar").unwrap() == whole);
}

#[test]
fn only_the_copies_that_shall_be_are_read_back() {
    let whole = noise(5_000_000);
    let run = Run::new();
    let (thorough, quick) = (Memory::new(parts()), Memory::new(parts()));
    let targets = vec![(Run::place(&thorough), true), (Run::place(&quick), false), (run.file(), false)];
    let network = Network { bridge: &run.bridge, context: &run.context };
    let mut outbound = Outbound::prepare_each(targets, Some(network)).unwrap();
    outbound.begin(Expected::default()).unwrap();
    outbound.append(&whole).unwrap();
    let outcomes = outbound.finish();
    let checked: Vec<Checked> = outcomes.iter().map(|outcome| outcome.result.as_ref().unwrap().checked).collect();
    assert_eq!(checked.iter().filter(|checked| **checked == Checked::ReadBack).count(), 1, "{checked:?}");
    assert!(thorough.object("a.tar").unwrap() == whole && quick.object("a.tar").unwrap() == whole);
}

#[test]
fn an_archive_that_outgrows_equal_parts_is_refused_with_advice_and_nothing_stays() {
    let equal = Placement::Parts(PartRules { smallest: 1 << 20, largest: 5 << 30, most: 4, equal: true });
    let (mut run, memory) = (Run::new(), Memory::new(equal));
    run.context.tuning.part_size = Some(1 << 20);
    // Nobody expected anything, and it becomes five parts.
    let outcomes = run.send_unexpected(&memory, &noise(4_500_000));
    let error = outcomes.into_iter().next().unwrap().result.unwrap_err();
    assert!(error.to_string().contains("larger than"), "{error}");
    assert!(memory.object("a.tar").is_none() && memory.world.lock().unwrap().unfinished.is_empty());
    assert!(memory.world.lock().unwrap().puts.iter().all(|index| *index < 4));
    // Twice what was expected fits.
    let (run, memory) = (Run::new(), Memory::new(equal));
    let whole = noise(7_900_000);
    let mut outbound = run.prepare(vec![Run::place(&memory)], false).unwrap();
    outbound.begin(Expected { about: Some(4_000_000), ..Expected::default() }).unwrap();
    whole.chunks(300_000).for_each(|chunk| outbound.append(chunk).unwrap());
    assert!(outbound.finish()[0].result.is_ok());
    assert!(memory.object("a.tar").unwrap() == whole);
}

#[test]
fn whether_a_push_can_be_continued_is_known() {
    let mut run = Run::new();
    assert!(store::outbound::can_remember(&run.context));
    let file = run.dir.path().join("a file");
    std::fs::write(&file, "").unwrap();
    run.context.state = file.join("no directory");
    assert!(!store::outbound::can_remember(&run.context));
}

#[test]
fn a_copy_that_can_not_be_read_back_stays_and_that_is_reported() {
    let (mut run, memory) = (Run::new(), Memory::new(parts()));
    run.context.tuning.give_up_after = Duration::from_millis(20);
    memory.world.lock().unwrap().unreadable = true;
    let outcomes = run.send(vec![Run::place(&memory)], &noise(3_000_000), true);
    let arrived = outcomes[0].result.as_ref().unwrap();
    assert_eq!(arrived.checked, Checked::Size);
    assert!(arrived.uncompared.as_ref().unwrap().contains("could not read it back"), "{arrived:?}");
    assert!(memory.object("a.tar").is_some(), "nothing has said that it is wrong");
}

#[test]
fn a_push_cut_off_while_it_was_compared_is_compared_by_the_next() {
    let whole = noise(3_000_000);
    let (mut run, memory) = (Run::new(), Memory::new(parts()));
    let file = run.dir.path().join("source.tar");
    std::fs::write(&file, &whole).unwrap();
    run.context.tuning.give_up_after = Duration::from_millis(20);
    memory.world.lock().unwrap().unreadable = true;
    assert!(push_to(&run, &memory, &file).unwrap_err().is_transient());
    memory.world.lock().unwrap().unreadable = false;
    assert_eq!(push_to(&run, &memory, &file).unwrap(), whole.len() as u64);
    // What is there now is another's, whatever its size.
    assert_eq!(push_to(&run, &memory, &file).unwrap_err().kind(), Some(Kind::Exists));
}

#[test]
fn a_push_without_a_state_directory_leaves_nothing_that_nobody_finds_again() {
    let (mut run, memory) = (Run::new(), Memory::new(parts()));
    let file = run.dir.path().join("source.tar");
    std::fs::write(&file, noise(9_000_000)).unwrap();
    run.context.state = file.join("no directory");
    run.context.tuning.give_up_after = Duration::from_millis(1);
    memory.script([None; 2].into_iter().chain(std::iter::repeat_n(Some(HICCUP), 100)));
    assert!(push_to(&run, &memory, &file).unwrap_err().is_transient());
    assert!(memory.world.lock().unwrap().unfinished.is_empty());
    memory.world.lock().unwrap().faults.clear();
    push_to(&run, &memory, &file).unwrap();
}

#[test]
fn an_archive_that_changes_while_it_is_pushed_does_not_arrive() {
    let (run, memory) = (Run::new(), Memory::new(parts()));
    let file = run.dir.path().join("source.tar");
    std::fs::write(&file, noise(20_000_000)).unwrap();
    memory.world.lock().unwrap().pause = Duration::from_millis(100);
    std::thread::scope(|scope| {
        let pushing = scope.spawn(|| push_to(&run, &memory, &file));
        wait::until("a part is there", || !memory.world.lock().unwrap().puts.is_empty());
        // At the same time, the same archive can't be sent there once more.
        assert_eq!(push_to(&run, &memory, &file).unwrap_err().kind(), Some(Kind::Exists));
        std::fs::OpenOptions::new().write(true).open(&file).unwrap().write_all_at(b"other", 15_000_000).unwrap();
        assert_eq!(pushing.join().unwrap().unwrap_err().kind(), Some(Kind::Mismatch));
    });
    let world = memory.world.lock().unwrap();
    assert!(world.objects.is_empty() && world.unfinished.is_empty());
    assert_eq!(std::fs::read_dir(run.dir.path().join("state")).unwrap().count(), 0);
}

/// Sends `members` members of `length` bytes with two late fields each, as a repair does; gives the outcome, and what
/// should have arrived.
fn send_late_members(mut outbound: Outbound, members: usize, length: usize) -> (Vec<Outcome>, Vec<u8>) {
    let body = noise(length);
    let mut whole = Vec::new();
    outbound.begin(Expected { about: Some((members * length) as u64), ..Expected::default() }).unwrap();
    for n in 0..members {
        let (at, header) = (whole.len() as u64, vec![n as u8; 1536]);
        outbound.append(&header).unwrap();
        for (start, size) in [(600, 20), (1148, 32)] {
            outbound.late(at + start, size);
        }
        body.chunks(1 << 20).for_each(|chunk| outbound.append(chunk).unwrap());
        whole.extend_from_slice(&header);
        whole.extend_from_slice(&body);
        for (start, size) in [(600, 20), (1148, 32)] {
            let bytes = vec![b'0' + n as u8; size];
            outbound.patch(at + start, &bytes);
            whole[(at + start) as usize..][..size].copy_from_slice(&bytes);
        }
    }
    (outbound.finish(), whole)
}

#[test]
fn any_number_of_late_members_arrives_in_bounded_memory() {
    let equal = Placement::Parts(PartRules { smallest: 1 << 20, largest: 5 << 30, most: 10_000, equal: true });
    for (placement, part_size) in [(parts(), (1 << 20) + 300_000), (equal, 1 << 20), (Placement::Random, 2 << 20)] {
        for (members, length) in [(0, 0), (9, 1_600_000), (20, 70_000)] {
            let (mut run, memory) = (Run::new(), Memory::new(placement));
            run.context.tuning.part_size = Some(part_size);
            let outbound = run.prepare(vec![Run::place(&memory), run.file()], true).unwrap();
            let (outcomes, whole) = send_late_members(outbound, members, length);
            for outcome in outcomes {
                assert_eq!(outcome.result.unwrap().checked, Checked::ReadBack, "{placement:?}, {members} of {length}");
            }
            assert!(memory.object("a.tar").unwrap() == whole, "{placement:?}, {members} of {length}");
            // Without a local copy a destination has no way out: what it holds back must be sent in time.
            let (mut run, memory) = (Run::new(), Memory::new(placement));
            run.context.tuning.part_size = Some(part_size);
            let outbound = run.prepare(vec![Run::place(&memory)], false).unwrap();
            let (outcomes, whole) = send_late_members(outbound, members, length);
            outcomes[0].result.as_ref().unwrap();
            assert!(memory.object("a.tar").unwrap() == whole, "{placement:?}, {members} of {length}, alone");
        }
    }
}

#[test]
fn whoever_waits_for_a_destination_hears_that_the_user_stops() {
    let (run, memory) = (Run::new(), Memory::new(parts()));
    let stuck = memory.stuck();
    let mut outbound = run.prepare(vec![Run::place(&memory)], false).unwrap();
    outbound.begin(Expected::default()).unwrap();
    let segment = noise(1 << 20);
    let stopping = run.context.cancel.clone();
    std::thread::spawn(move || {
        stuck.recv().unwrap();
        stopping.cancel();
    });
    // The destination accepts nothing, so this waits; and ends.
    while outbound.append(&segment).is_ok() {}
    let outcomes = outbound.finish();
    assert!(
        matches!(outcomes[0].result, Err(StoreError::Cancelled)),
        "what lacks bytes is never published: {outcomes:?}"
    );
    let world = memory.world.lock().unwrap();
    assert!(world.objects.is_empty() && world.unfinished.is_empty());
}

#[test]
fn a_push_that_is_stopped_while_it_waits_is_not_published_and_continues_later() {
    let (mut run, memory) = (Run::new(), Memory::new(Placement::Sequential));
    let (file, whole) = (run.dir.path().join("source.tar"), noise(30_000_000));
    std::fs::write(&file, &whole).unwrap();
    let stuck = memory.stuck();
    std::thread::scope(|scope| {
        let pushing = scope.spawn(|| push_to(&run, &memory, &file));
        stuck.recv().unwrap();
        run.context.cancel.cancel();
        assert!(matches!(pushing.join().unwrap(), Err(StoreError::Cancelled)));
    });
    assert!(memory.object("a.tar").is_none());
    memory.world.lock().unwrap().pause = Duration::ZERO;
    run.context.cancel = Cancellation::default();
    push_to(&run, &memory, &file).unwrap();
    assert!(memory.object("a.tar").unwrap() == whole);
}

#[test]
fn an_upload_lost_beside_a_local_copy_begins_anew_from_that() {
    let whole = noise(9_000_000);
    for placement in [Placement::Random, parts(), Placement::Sequential] {
        let (run, memory) = (Run::new(), Memory::new(placement));
        memory.script([None, Some(Fault::Fail(Kind::Lost)), None, None, None, Some(Fault::Fail(Kind::Lost))]);
        let outcomes = run.send(vec![run.file(), Run::place(&memory)], &whole, true);
        assert!(outcomes.iter().all(|outcome| outcome.result.is_ok()), "{placement:?}: {outcomes:?}");
        assert!(
            memory.object("a.tar").unwrap() == whole && memory.world.lock().unwrap().unfinished.is_empty(),
            "{placement:?}"
        );
        // Without one nobody has what is lost.
        let (run, memory) = (Run::new(), Memory::new(placement));
        memory.script([None, Some(Fault::Fail(Kind::Lost))]);
        let outcomes = run.send(vec![Run::place(&memory)], &whole, true);
        assert_eq!(outcomes[0].result.as_ref().unwrap_err().kind(), Some(Kind::Lost));
    }
}
