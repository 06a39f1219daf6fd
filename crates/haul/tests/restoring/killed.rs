//! A restore that is killed before each of its system calls that changes a name or waits for the disk: what is under
//! which name then, and what the next one makes of it.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{Mounted, Place, write};

const CHANGING: [libc::c_long; 6] =
    [libc::SYS_renameat2, libc::SYS_renameat, libc::SYS_mkdirat, libc::SYS_unlinkat, libc::SYS_fsync, libc::SYS_syncfs];
/// Of `renameat2`.
const EXCHANGE: u32 = 2;

/// A filter that stops a process before each of `CHANGING`; without `exchange`, two names can't be exchanged.
fn filter(exchange: bool) -> Vec<libc::sock_filter> {
    let statement = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter { code: code as u16, jt, jf, k };
    let load = |offset: u32| statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset);
    let unless = |value: u32, skipped: u8| statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, skipped, value);
    let end = |action: u32| statement(libc::BPF_RET | libc::BPF_K, 0, 0, action);
    let mut program = vec![load(0)];
    if !exchange {
        let refused = end(libc::SECCOMP_RET_ERRNO | u32::try_from(libc::EINVAL).unwrap());
        // The fifth argument, of eight bytes each, behind the 16 that say which call it is and from where.
        program.extend([
            unless(u32::try_from(libc::SYS_renameat2).unwrap(), 3),
            load(16 + 4 * 8),
            unless(EXCHANGE, 1),
            refused,
            load(0),
        ]);
    }
    for number in CHANGING {
        program.extend([unless(u32::try_from(number).unwrap(), 1), end(libc::SECCOMP_RET_TRACE)]);
    }
    program.push(end(libc::SECCOMP_RET_ALLOW));
    program
}

/// Runs a command and kills it before the call of that number; its exit code when it came to its end without.
#[expect(unsafe_code, reason = "only the kernel can stop a program in the middle of a known call")]
#[expect(clippy::zombie_processes, reason = "it is waited for by its number, with its threads")]
fn killed_before(mut command: Command, number: usize, exchange: bool) -> Option<i32> {
    let mut program = filter(exchange);
    let traced = move || {
        let filter = libc::sock_fprog { len: u16::try_from(program.len()).unwrap_or(0), filter: program.as_mut_ptr() };
        // SAFETY: system calls that read `filter` and the program it points to, which live across them.
        let done = unsafe {
            libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) == 0
                && libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1_u64, 0_u64, 0_u64, 0_u64) == 0
                && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) == 0
        };
        if done { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    };
    // SAFETY: the closure allocates nothing and calls only the system.
    unsafe { command.pre_exec(traced) };
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let id = libc::pid_t::try_from(child.id()).unwrap();
    let (mut met, mut first) = (0, true);
    loop {
        let mut status = 0;
        // SAFETY: waits for a child of this thread and writes to `status`.
        let stopped = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL | libc::__WNOTHREAD) };
        assert!(stopped > 0, "{}", std::io::Error::last_os_error());
        if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
            if stopped == id {
                return libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status));
            }
            continue;
        }
        if std::mem::take(&mut first) {
            let options = libc::PTRACE_O_TRACESECCOMP | libc::PTRACE_O_TRACECLONE | libc::PTRACE_O_EXITKILL;
            // SAFETY: `stopped` is a stopped child of this thread.
            assert!(unsafe { libc::ptrace(libc::PTRACE_SETOPTIONS, stopped, 0, options) } == 0);
        }
        if status >> 16 == libc::PTRACE_EVENT_SECCOMP {
            met += 1;
            if met == number {
                child.kill().unwrap();
                continue;
            }
        }
        // What tracing itself sends is not for the program.
        let signal =
            if matches!(libc::WSTOPSIG(status), libc::SIGTRAP | libc::SIGSTOP) { 0 } else { libc::WSTOPSIG(status) };
        // SAFETY: as above; one that was killed meanwhile can't be continued, and need not.
        unsafe { libc::ptrace(libc::PTRACE_CONT, stopped, 0, signal) };
    }
}

/// Every file below a directory, with its text.
type Tree = BTreeMap<PathBuf, String>;

fn tree(top: &Path) -> Tree {
    let mut found = Tree::new();
    let mut waiting = vec![top.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                waiting.push(entry.path());
            } else {
                found.insert(
                    entry.path().strip_prefix(top).unwrap().to_owned(),
                    fs::read_to_string(entry.path()).unwrap_or_default(),
                );
            }
        }
    }
    found
}

/// The directories below `place` whose names begin like this.
fn named(place: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(place).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(prefix)).collect()
}

/// How a configuration is replaced, and where what goes aside is.
struct Case {
    label: &'static str,
    exchange: bool,
    mounted: bool,
    only: &'static [&'static str],
}

const CASES: [Case; 5] = [
    Case { label: "whole", exchange: true, mounted: false, only: &[] },
    Case {
        label: "whole, on a file system where names can't trade places",
        exchange: false,
        mounted: false,
        only: &[],
    },
    Case { label: "a mount point", exchange: true, mounted: true, only: &[] },
    Case { label: "parts", exchange: true, mounted: false, only: &["configuration.yaml", ".storage"] },
    Case { label: "parts of a mount point", exchange: true, mounted: true, only: &["configuration.yaml", ".storage"] },
];

const OLD: [(&str, &str); 6] = [
    (".storage/auth", "old"),
    (".storage/core.config_entries", "old"),
    ("configuration.yaml", "old"),
    ("home-assistant_v2.db", "old"),
    ("home-assistant_v2.db-wal", "old"),
    ("mine", "old"),
];

struct Scene {
    place: Place,
    mount: Option<Mounted>,
}

impl Case {
    fn scene(&self, archive: &Path) -> Scene {
        let place = Place::new();
        fs::copy(archive, place.path("a.tar")).unwrap();
        let target = place.path("new");
        fs::create_dir(&target).unwrap();
        let mount = self.mounted.then(|| Mounted::new(&target));
        fs::create_dir(target.join(".storage")).unwrap();
        for (name, text) in OLD {
            write(&target.join(name), text);
        }
        Scene { place, mount }
    }

    fn command(&self, scene: &Scene) -> Command {
        let mut args = vec!["restore", "a.tar", "--into", "new", "--replace"];
        args.extend(self.only.iter().flat_map(|pattern| ["--only", pattern]));
        scene.place.command(&args)
    }

    /// Where staging directories and what goes aside are.
    fn beside(&self, scene: &Scene) -> PathBuf {
        if self.mounted { scene.place.path("new") } else { scene.place.dir.path().to_owned() }
    }

    fn kept(&self, scene: &Scene) -> Vec<Tree> {
        named(&self.beside(scene), if self.mounted { "before-restore-" } else { "new.before-restore-" })
            .iter()
            .map(|path| tree(path))
            .collect()
    }

    /// The configuration at the target, without what lies beside it.
    fn now(scene: &Scene) -> Tree {
        let all = tree(&scene.place.path("new"));
        all.into_iter()
            .filter(|(path, _)| !path.to_str().unwrap().starts_with("before-restore-") && !path.starts_with(".haul-"))
            .collect()
    }

    /// What must be aside when all is done.
    fn aside(&self) -> Tree {
        let wanted = |name: &str| self.only.is_empty() || self.only.iter().any(|only| name.starts_with(only));
        OLD.iter()
            .filter(|(name, _)| wanted(name))
            .map(|(name, text)| (PathBuf::from(name), (*text).to_owned()))
            .collect()
    }
}

#[test]
fn a_restore_killed_at_any_step_loses_nothing_and_the_next_one_puts_it_right() {
    let source = Place::new();
    assert_eq!(source.haul(&["backup", "config", "--to", "a.tar"]).0, 0);
    let archive = source.path("a.tar");
    for case in CASES.iter().filter(|case| !case.mounted || rustix::process::geteuid().is_root()) {
        // What a restore that nobody disturbs makes.
        let scene = case.scene(&archive);
        let restored = case.command(&scene).output().unwrap();
        assert!(restored.status.success(), "{}: {}", case.label, String::from_utf8_lossy(&restored.stderr));
        let (new, aside) = (Case::now(&scene), case.aside());
        assert_eq!(case.kept(&scene), std::slice::from_ref(&aside), "{}", case.label);
        drop(scene);
        let mut put_back = 0;
        for number in 1.. {
            let label = format!("{}, killed before step {number}", case.label);
            let scene = case.scene(&archive);
            let ended = killed_before(case.command(&scene), number, case.exchange);
            if ended.is_some() {
                assert_eq!(ended, Some(0), "{label}");
                assert!(number > 10, "{label}: too few steps were seen");
                break;
            }
            let was = Case::now(&scene);
            let old: Tree = OLD.iter().map(|(name, text)| (PathBuf::from(name), (*text).to_owned())).collect();
            // All of the old is somewhere under a name of the user's.
            let somewhere = |(path, text): (&PathBuf, &String)| {
                was.get(path) == Some(text) || case.kept(&scene).iter().any(|kept| kept.get(path) == Some(text))
            };
            assert!(old.iter().all(somewhere), "{label}: {was:?} {:?}", case.kept(&scene));
            if case.only.is_empty() && !case.mounted {
                assert!(was == old || was == new || (was.is_empty() && !case.exchange), "{label}: {was:?}");
            }

            // And the next one, killed as well where there is something to put right, and the one after that.
            let stages = named(&case.beside(&scene), ".haul-restore-");
            if stages.iter().any(|stage| stage.join("intent").exists()) {
                put_back += 1;
                killed_before(case.command(&scene), put_back, case.exchange);
            }
            let said = case.command(&scene).output().unwrap();
            assert!(said.status.success(), "{label}: {}", String::from_utf8_lossy(&said.stderr));
            assert_eq!(Case::now(&scene), new, "{label}");
            let kept = case.kept(&scene);
            assert_eq!(kept.iter().filter(|kept| **kept == aside).count(), 1, "{label}: {kept:?}");
            // Anything else that is kept once stood at the target.
            let others: Vec<&Tree> = kept.iter().filter(|kept| **kept != aside).collect();
            assert!(
                others.iter().all(|kept| kept.iter().all(|(path, text)| new.get(path) == Some(text))),
                "{label}: {kept:?}"
            );
            assert!(others.is_empty() || was != old, "{label}: what never stood there is not kept: {kept:?}");
            assert_eq!(named(&case.beside(&scene), ".haul-"), [] as [PathBuf; 0], "{label}");
            drop(scene.mount);
        }
        assert!(put_back > 3, "{}: {put_back}", case.label);
    }
}
