//! Gives way to everything else on the machine: `--gentle`, and a service that rests.

use std::ops::Range;

/// Lowest CPU priority, and the disk only when nobody else wants it. Threads started later inherit both. Best effort:
/// if the system refuses, only the priority suffers.
pub(crate) fn step_back() {
    let _ = rustix::process::nice(19);
    idle_disk_priority();
}

#[expect(unsafe_code, reason = "ioprio_set(2) has no safe wrapper in the crates at hand")]
fn idle_disk_priority() {
    const WHO_PROCESS: libc::c_int = 1;
    const THIS_ONE: libc::c_int = 0;
    const CLASS_IDLE: libc::c_int = 3 << 13;
    // SAFETY: three integers and no memory; a system without the call answers with an error.
    let _ = unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, THIS_ONE, CLASS_IDLE) };
}

/// Has all threads take their memory from one place. With a place for each, all of them keep what was needed for a
/// moment, and [`return_memory`] reaches only the first.
pub(crate) fn share_memory() {
    #[cfg(target_env = "gnu")]
    one_arena();
}

/// Gives memory that was needed for a moment back to the system: a service rests for hours.
pub(crate) fn return_memory() {
    #[cfg(target_env = "gnu")]
    trim();
    // What a backup needed of the program is not needed until the next one.
    for code in program_code(&std::fs::read_to_string("/proc/self/maps").unwrap_or_default()) {
        unmap_until_needed(code);
    }
}

/// Where the code of this program is, from the kernel's list of what is mapped: its first entry is of the program, and
/// nothing else has the same file. Read-only data is left out: among it are addresses that were filled in at the start.
fn program_code(maps: &str) -> Vec<Range<usize>> {
    let entries: Vec<Vec<&str>> = maps.lines().map(|line| line.split_ascii_whitespace().collect()).collect();
    let file = |entry: &Vec<&str>| Some((entry.get(3)?.to_string(), entry.get(4)?.to_string()));
    let Some(program) = entries.first().and_then(file).filter(|(_, inode)| inode != "0") else { return Vec::new() };
    let code = entries.iter().filter(|entry| entry.get(1) == Some(&"r-xp") && file(entry).as_ref() == Some(&program));
    let range = |entry: &Vec<&str>| {
        let (begins, ends) = entry.first()?.split_once('-')?;
        Some(usize::from_str_radix(begins, 16).ok()?..usize::from_str_radix(ends, 16).ok()?)
    };
    code.filter_map(range).collect()
}

#[expect(unsafe_code, reason = "madvise(2) has no safe wrapper")]
fn unmap_until_needed(code: Range<usize>) {
    // SAFETY: nobody can write to this mapping, so every page is as in the file, and comes back from there, or from the
    // page cache, when it is next touched. Most kernels let nobody write to the file of a program that runs (Linux 6.11
    // does), and whatever installs programs replaces them by a rename, which leaves this file as it is. A file that is
    // overwritten in place breaks the process with or without this: at any page that is not in memory yet.
    let _ = unsafe { libc::madvise(code.start as *mut libc::c_void, code.len(), libc::MADV_DONTNEED) };
}

#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "mallopt(3) has no safe wrapper")]
fn one_arena() {
    // SAFETY: it takes two integers, locks the allocator itself, and changes nothing that is in use.
    let _ = unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}

#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "malloc_trim(3) has no safe wrapper")]
fn trim() {
    // SAFETY: it takes an integer, locks the allocator itself, and touches no memory that is in use.
    let _ = unsafe { libc::malloc_trim(0) };
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn only_the_code_of_the_program_itself_is_given_back() {
        let maps = "\
55d000000000-55d000100000 r--p 00000000 fe:00 77 /usr/bin/haul
55d000100000-55d001700000 r-xp 00100000 fe:00 77 /usr/bin/haul
55d001700000-55d001900000 r--p 01700000 fe:00 77 /usr/bin/haul
55d001900000-55d001a00000 rw-p 01900000 fe:00 77 /usr/bin/haul
7f0000000000-7f0000100000 r-xp 00000000 fe:00 99 /lib/libc.so.6
7ffd00000000-7ffd00001000 r-xp 00000000 00:00 0 [vdso]
";
        let ends: Vec<_> = program_code(maps).into_iter().map(|code| (code.start, code.end)).collect();
        assert_eq!(ends, [(0x55d0_0010_0000, 0x55d0_0170_0000)]);
        assert!(program_code("").is_empty());
        // Nobody knows which of these is the program.
        assert!(program_code("1000-2000 r-xp 00000000 00:00 0\n2000-3000 r-xp 00000000 00:00 0\n").is_empty());
    }

    #[test]
    fn the_program_goes_on_with_what_it_gave_back() {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        assert!(!program_code(&maps).is_empty(), "{maps}");
        // Other tests run meanwhile.
        let mut tries = (0..20).map(|_| {
            let before = resident_code();
            return_memory();
            resident_code() < before
        });
        assert!(tries.any(|is_less| is_less));
        assert_eq!("it still works".to_uppercase(), "IT STILL WORKS");
    }

    /// Kilobytes of the program's code that are in memory.
    fn resident_code() -> u64 {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let (code, mut is_inside, mut all) =
            (program_code(&std::fs::read_to_string("/proc/self/maps").unwrap()), false, 0);
        for line in maps.lines() {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            if let Some((begins, _)) = words[0].split_once('-') {
                is_inside = code.iter().any(|code| usize::from_str_radix(begins, 16) == Ok(code.start));
            } else if is_inside && words[0] == "Rss:" {
                all += words[1].parse::<u64>().unwrap();
            }
        }
        all
    }
}
