//! Names for unfinished uploads, from which any later run can see whether their process is alive.
//!
//! `.haul-HOST-BOOT-PID-START-RANDOM.part`: a hash of the machine, a hash of its boot, the process and the moment it
//! started. On the same machine that settles the question; what another machine left is removed only when it is very
//! old. All destinations use these names, including local directories: one machine may reach the same folder as a mount
//! and another over SFTP.

use std::{
    collections::HashSet,
    fs,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use peer::disk::replace_private;
use sha2::{Digest, Sha256};

const PREFIX: &str = "haul-";
const SUFFIX: &str = ".part";
/// The beginning of the name of what `haul get` has fetched in part, and which the same command continues.
pub const FETCHED: &str = ".haul-get-";
/// Older than this, and no upload of another machine is still under way.
pub const STALE: Duration = Duration::from_hours(7 * 24);

/// A fresh name for something unfinished.
pub fn temporary_name() -> String {
    let mut random = [0; 4];
    // The destination refuses names that collide.
    let _ = getrandom::fill(&mut random);
    format!(".{PREFIX}{}-{:08x}{SUFFIX}", own_tag(), u32::from_le_bytes(random))
}

/// A name of [`temporary_name`] and those that follow it, for what consists of several: none of them is the same.
pub fn numbered(name: &str, number: u32) -> String {
    let fresh = || name.strip_suffix(SUFFIX)?.rsplit_once('-');
    let counted = fresh().and_then(|(before, random)| Some((before, u32::from_str_radix(random, 16).ok()?)));
    match counted {
        Some((before, random)) => format!("{before}-{:08x}{SUFFIX}", random.wrapping_add(number)),
        None => name.to_owned(),
    }
}

/// Whether it is a name of this process.
pub fn is_own(name: &str) -> bool {
    tag_of(name).and_then(|tag| tag.rsplit_once('-')).is_some_and(|(tag, _)| tag == own_tag())
}

/// What older ones left is old enough to be recognized by that.
const MOST_OWNERS: usize = 100;
/// Processes that had the state directory of this one before it: they are dead.
static EARLIER: Mutex<Option<HashSet<String>>> = Mutex::new(None);

/// Called by whoever has just locked a state directory. `file` in it names the processes that had it, one after the
/// other: what they left unfinished is abandoned, also where nothing else shows that they are dead, as in a container
/// that was started anew.
pub fn succeed(file: &Path) {
    let own = own_tag();
    let known = fs::read_to_string(file).unwrap_or_default();
    let mut owners: Vec<&str> = known.lines().filter(|owner| *owner != own).collect();
    owners.drain(..owners.len().saturating_sub(MOST_OWNERS - 1));
    EARLIER
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get_or_insert_default()
        .extend(owners.iter().map(|owner| (*owner).to_owned()));
    owners.push(&own);
    // If it can't be written, what is left goes later.
    let _ = replace_private(file, (owners.join("\n") + "\n").as_bytes());
}

/// Names of this process under which something may still lie.
static GIVEN_UP: Mutex<Option<HashSet<String>>> = Mutex::new(None);

fn given_up() -> MutexGuard<'static, Option<HashSet<String>>> {
    GIVEN_UP.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Nobody works on it any more, although this process lives: whoever finds it removes it.
pub fn give_up(name: &str) {
    given_up().get_or_insert_default().insert(name.trim_start_matches('.').to_owned());
}

/// Whether it was given up, and is not removed.
pub fn is_given_up(name: &str) -> bool {
    given_up().as_ref().is_some_and(|names| names.contains(name.trim_start_matches('.')))
}

/// What was given up is removed.
pub fn is_gone(name: &str) {
    given_up().get_or_insert_default().remove(name.trim_start_matches('.'));
}

/// A fresh name for something unfinished that another process may continue ([`crate::Expected::resumable`]): it counts
/// as abandoned by its age alone.
pub fn lasting_name() -> String {
    let mut random = [0; 8];
    // As above.
    let _ = getrandom::fill(&mut random);
    format!(".{PREFIX}kept-{:016x}{SUFFIX}", u64::from_le_bytes(random))
}

/// True for the names made here, and for the same without the dot, at destinations that accept none. Without it, the
/// name must be one that only Haul makes.
pub fn is_temporary(name: &str) -> bool {
    tag_of(name).is_some()
}

fn tag_of(name: &str) -> Option<&str> {
    let bare = name.strip_prefix('.').unwrap_or(name);
    let tag = bare.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    (bare.len() < name.len() || is_strict(tag)).then_some(tag)
}

/// `HOST-BOOT-PID-START-RANDOM`, or `kept-RANDOM`.
fn is_strict(tag: &str) -> bool {
    let is_hex = |text: &str, length: usize| text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match tag.split('-').collect::<Vec<_>>()[..] {
        [host, boot, process, started, random] => {
            is_hex(host, 8) && is_hex(boot, 8) && is_number(process) && is_number(started) && is_hex(random, 8)
        }
        ["kept", random] => is_hex(random, 16),
        _ => false,
    }
}

/// Whether nobody works on `name` any more. `age` is the time since its last change, if the destination reports it.
pub fn is_abandoned(name: &str, age: Option<Duration>) -> bool {
    if name.starts_with(FETCHED) {
        return age.is_some_and(|age| age > STALE);
    }
    let Some(tag) = tag_of(name) else { return false };
    let fields: Vec<&str> = tag.split('-').collect();
    let [host, boot, process, started, _] = fields[..] else { return age.is_some_and(|age| age > STALE) };
    let earlier = EARLIER.lock().unwrap_or_else(PoisonError::into_inner);
    if earlier.as_ref().is_some_and(|earlier| earlier.contains(&fields[..4].join("-"))) {
        return true;
    }
    if host != self::host() {
        return age.is_some_and(|age| age > STALE);
    }
    boot != self::boot() || start_of(process).as_deref() != Some(started) || is_given_up(name)
}

fn own_tag() -> String {
    let process = std::process::id().to_string();
    let started = start_of(&process).unwrap_or_else(|| "0".to_owned());
    format!("{}-{}-{process}-{started}", host(), boot())
}

/// Containers often have no machine's number, and the same name everywhere: there, what was before the last start
/// counts as another machine's.
fn host() -> String {
    let read = |path| fs::read(path).unwrap_or_default();
    let number = Some(read("/etc/machine-id"))
        .filter(|number| !number.trim_ascii().is_empty())
        .unwrap_or_else(|| read("/proc/sys/kernel/random/boot_id"));
    // A container's processes have numbers of their own: what another one made is judged like another machine's.
    let numbers = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    short_hash(&[number, read("/proc/sys/kernel/hostname"), numbers.into_os_string().into_encoded_bytes()].concat())
}

fn boot() -> String {
    short_hash(&fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default())
}

/// When a process started, in clock ticks since boot (field 22 of proc_pid_stat(5)). `None`: it does not exist, or is
/// dead and not yet reaped.
fn start_of(process: &str) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name in parentheses may hold spaces and parentheses.
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace();
    let is_dead = matches!(fields.next()?, "Z" | "X" | "x");
    fields.nth(18).filter(|_| !is_dead).map(str::to_owned)
}

fn short_hash(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    let number = digest[..4].iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
    format!("{number:08x}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn what_this_process_makes_is_in_use() {
        let name = temporary_name();
        assert!(is_temporary(&name), "{name}");
        assert!(!is_abandoned(&name, Some(2 * STALE)));
    }

    #[test]
    fn those_that_follow_a_name_are_names_of_this_process_and_one_that_is_given_up_is_abandoned() {
        let names: Vec<String> = (0..3).map(|number| numbered(".haul-1-2-3-4-fffffffe.part", number)).collect();
        assert_eq!(names, ["fffffffe", "ffffffff", "00000000"].map(|random| format!(".haul-1-2-3-4-{random}.part")));
        assert!(!is_own(&names[0]));
        let (first, next) = (temporary_name(), |name: &str| numbered(name, 1));
        let (next, without) = (next(&first), next(first.trim_start_matches('.')));
        assert!(is_own(&next) && is_temporary(&without) && !is_abandoned(&next, None));
        give_up(&next);
        assert!(is_abandoned(&next, None) && is_abandoned(&without, None) && !is_abandoned(&first, None));
        is_gone(&without);
        assert!(!is_abandoned(&next, None));
    }

    #[test]
    fn what_a_dead_process_of_this_machine_left_is_abandoned_at_once() {
        let fields = temporary_name();
        let parts: Vec<&str> = fields.split('-').collect();
        let dead = format!("{}-{}-{}-{}-7-{}", parts[0], parts[1], parts[2], u32::MAX, parts[5]);
        assert!(is_abandoned(&dead, None));
        let other_boot = format!("{}-{}-00000000-{}-{}-{}", parts[0], parts[1], parts[3], parts[4], parts[5]);
        assert!(is_abandoned(&other_boot, None));
    }

    #[test]
    fn whoever_was_killed_is_dead_also_before_somebody_has_taken_notice() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let process = child.id().to_string();
        let started = start_of(&process).unwrap();
        let own = temporary_name();
        let fields: Vec<&str> = own.split('-').collect();
        let name = format!("{}-{}-{}-{process}-{started}-{}", fields[0], fields[1], fields[2], fields[5]);
        assert!(!is_abandoned(&name, None));
        child.kill().unwrap();
        // It stays in the table of processes until it is waited for.
        while !is_abandoned(&name, None) {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert!(is_abandoned(&name, None));
    }

    #[test]
    fn what_may_be_continued_is_kept_until_it_is_old() {
        let name = lasting_name();
        assert!(is_temporary(&name), "{name}");
        assert!(!is_abandoned(&name, Some(Duration::from_hours(1))));
        assert!(is_abandoned(&name, Some(2 * STALE)));
    }

    #[test]
    fn without_its_dot_only_a_name_of_ours_is_one() {
        for name in [temporary_name(), lasting_name()] {
            assert!(is_temporary(name.trim_start_matches('.')), "{name}");
        }
        for name in ["haul-notes.part", "haul-a-b-c-d-e.part", "haul-kept-1.part", "haul.part", "haul-.part"] {
            assert!(!is_temporary(name) && !is_abandoned(name, Some(2 * STALE)), "{name}");
        }
        let dead = format!("haul-{}", &temporary_name()[6..])
            .replace(&format!("-{}-", std::process::id()), &format!("-{}-", u32::MAX));
        assert!(is_abandoned(&dead, None));
    }

    #[test]
    fn what_another_machine_left_must_be_old() {
        let name = ".haul-00000000-00000000-1-1-00000000.part";
        assert!(!is_abandoned(name, None));
        assert!(!is_abandoned(name, Some(Duration::from_hours(1))));
        assert!(is_abandoned(name, Some(2 * STALE)));
        assert!(!is_abandoned("backup.tar", Some(2 * STALE)));
    }

    #[test]
    fn what_an_earlier_owner_of_the_state_directory_left_is_abandoned_wherever_it_ran() {
        let state = tempfile::tempdir().unwrap();
        let before = (1..=150).map(|process| format!("0000000{}-00000000-{process}-1\n", process % 10));
        let file = state.path().join("owners");
        fs::write(&file, before.collect::<String>()).unwrap();
        let left = |process: u32| format!(".haul-0000000{}-00000000-{process}-1-00000000.part", process % 10);
        assert!(!is_abandoned(&left(149), None));
        for _ in 0..2 {
            succeed(&file);
            assert!(is_abandoned(&left(149), None) && !is_abandoned(&left(7), None));
            assert!(!is_abandoned(&temporary_name(), None), "it is the owner now");
            let owners = fs::read_to_string(&file).unwrap();
            assert!(owners.lines().count() == MOST_OWNERS && owners.ends_with(&format!("{}\n", own_tag())));
        }
    }

    #[test]
    fn what_was_fetched_in_part_is_kept_until_it_is_old() {
        assert!(!is_abandoned(".haul-get-01234567-89abcdef", Some(Duration::from_hours(1))));
        assert!(is_abandoned(".haul-get-01234567-89abcdef", Some(2 * STALE)));
    }
}
