//! Each call by which a local file is created fails: the disk is full, broken, or can't do that at all. The calls fail
//! in their own process, by `strace`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::{fs, io::Write, path::Path};

use bytes::Bytes;
use store::{Completed, Expected, Part, Segments, Sink, StoreError, local::Local, parts::Activity};
use testkit::strace;

const CHILD: &str = "HAUL_LOCAL_FAULTS";
const PIECE: usize = 3 << 20;

fn whole() -> Vec<u8> {
    (0..3 * PIECE + 5).map(|at| (at * 7 + at / 251) as u8).collect()
}

/// Not a test: the process whose calls fail. Says in its exit code how it ended.
#[tokio::test]
#[ignore = "only as a child of another test"]
async fn child() {
    let Ok(task) = std::env::var(CHILD) else { return };
    let (directory, resumable) = task.split_once('|').unwrap();
    let sent = send(Path::new(directory), resumable == "true").await;
    if let Err(error) = &sent {
        let _ = writeln!(std::io::stderr(), "ended: {error}");
    }
    std::process::exit(if sent.is_ok() { 40 } else { 41 });
}

async fn send(directory: &Path, resumable: bool) -> Result<(), StoreError> {
    let (store, bytes) = (Local::open(directory)?, Bytes::from(whole()));
    let upload = store.create("a.tar", Expected { resumable, ..Expected::exactly(bytes.len() as u64) }).await?;
    let sent = async {
        for (index, at) in (0..bytes.len()).step_by(PIECE).enumerate() {
            let data = Segments::from(bytes.slice(at..bytes.len().min(at + PIECE)));
            let last = at + PIECE >= bytes.len();
            upload
                .put(&Part {
                    index: index as u32,
                    offset: at as u64,
                    data,
                    total: None,
                    last,
                    activity: Activity::default(),
                })
                .await?;
        }
        upload.patch(1, &bytes[1..4]).await?;
        upload.commit(&Completed { length: bytes.len() as u64, parts: 4, md5: None }).await
    };
    let sent = sent.await;
    if sent.is_err() {
        let _ = upload.abort().await;
    }
    sent.map(drop)
}

/// What came of it when these calls fail: `pwrite64:error=EIO:when=2`.
fn with_failing(calls: &[&str], directory: &Path, resumable: bool) -> bool {
    let mut command = strace::failing(calls, None, &std::env::current_exe().unwrap());
    command.args(["child", "--exact", "--ignored", "--nocapture", "--test-threads=1"]);
    let ended = command.env(CHILD, format!("{}|{resumable}", directory.display())).output().unwrap();
    match ended.status.code() {
        Some(40) => true,
        Some(41) => {
            let said = String::from_utf8_lossy(&ended.stderr).into_owned();
            assert!(said.contains("ended: could not ") || said.contains(" exists already"), "{calls:?}: {said}");
            false
        }
        other => panic!("{calls:?}: {other:?} {}", String::from_utf8_lossy(&ended.stderr)),
    }
}

#[test]
fn whatever_call_fails_an_archive_is_there_whole_or_not_at_all() {
    if !strace::can_trace() {
        return;
    }
    // The calls that fail, and whether the archive arrives all the same.
    let cases: &[(&[&str], bool)] = &[
        // Counted for each thread: for the one that tries out whether bytes can be changed there, and for the one that
        // writes.
        (&["pwrite64:error=ENOSPC:when=1"], false),
        (&["pwrite64:error=EIO:when=2+"], false),
        (&["pwrite64:error=EDQUOT:when=5"], false),
        (&["fsync:error=EINVAL"], true),
        (&["fsync:error=EOPNOTSUPP"], true),
        (&["fsync:error=ENOSYS"], true),
        (&["fdatasync:error=EINVAL"], true),
        (&["fsync:error=EIO"], false),
        (&["fsync:error=ENOSPC"], false),
        // The second is the directory's.
        (&["fsync:error=EIO:when=2"], true),
        (&["flock:error=ENOLCK"], true),
        (&["renameat2:error=EINVAL"], true),
        (&["renameat2:error=ENOSYS", "linkat:error=EPERM", "link:error=EPERM"], true),
        (&["renameat2:error=EACCES"], false),
        (&["renameat2:error=EINVAL", "linkat:error=EEXIST", "link:error=EEXIST"], false),
        // It has its name already; what is left of the other is the next run's.
        (&["renameat2:error=EINVAL", "unlink:error=EACCES", "unlinkat:error=EACCES"], true),
        (&["fadvise64:error=EINVAL"], true),
        (&["getdents64:error=EIO"], true),
    ];
    // On a disk, and on a file system in memory, which takes nothing past the cache.
    for base in [env!("CARGO_TARGET_TMPDIR"), "/dev/shm"] {
        for (calls, arrives) in cases {
            for resumable in [false, true] {
                let case = format!("{base} {calls:?} {resumable}");
                let Ok(dir) = tempfile::tempdir_in(base) else { continue };
                fs::write(dir.path().join("before.tar"), "before").unwrap();
                let arrived = with_failing(calls, dir.path(), resumable);
                // Written to be continued, it goes through the cache, in fewer calls.
                let may_differ = resumable && calls[0].starts_with("pwrite64");
                assert!(arrived == *arrives || may_differ, "{case}");
                let there = fs::read(dir.path().join("a.tar")).ok();
                assert!(if arrived { there.as_deref() == Some(&whole()[..]) } else { there.is_none() }, "{case}");
                assert_eq!(fs::read(dir.path().join("before.tar")).unwrap(), b"before", "{case}");
                let left: Vec<_> = fs::read_dir(dir.path())
                    .unwrap()
                    .map(|entry| entry.unwrap().file_name())
                    .filter(|name| name != "a.tar" && name != "before.tar")
                    .collect();
                let is_tidied = !calls.iter().any(|call| call.starts_with("unlink"));
                assert!(left.is_empty() || !is_tidied, "{case}: {left:?}");
                // What is left is gone after the next run, which has no such trouble.
                store::local::remove_leftovers(dir.path());
                assert!(resumable || fs::read_dir(dir.path()).unwrap().count() == 1 + usize::from(arrived), "{case}");
            }
        }
    }
}
