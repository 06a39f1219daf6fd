//! As the first process of a container.

use std::{
    fs,
    process::{Child, Command},
};

use testkit::wait;

use crate::home::{Home, TWO};

/// Makes the next program the first process of a place of its own, which ends with it.
const FIRST: &[&str] = &["unshare", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc", "--"];

/// Whether that is possible here; tells if not.
fn can() -> bool {
    let can = Command::new(FIRST[0]).args(&FIRST[1..]).arg("true").status().is_ok_and(|status| status.success());
    if !can {
        testkit::rig::tell("skipped: no namespaces can be made here");
    }
    can
}

/// Processes and whether they have ended, of which this one is the parent.
fn children(parent: u32) -> Vec<(u32, bool)> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let of = |process: fs::DirEntry| {
        let number = process.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(process.path().join("stat")).ok()?;
        // The name before it may hold anything.
        let mut fields = stat.rsplit_once(") ")?.1.split(' ');
        let (state, its_parent) = (fields.next()?, fields.next()?);
        (its_parent == parent.to_string()).then_some((number, state == "Z"))
    };
    processes.filter_map(of).collect()
}

fn first_process(unshare: &Child) -> u32 {
    let [(first, _)] = children(unshare.id())[..] else { panic!("one process") };
    first
}

#[test]
fn it_waits_for_orphans_and_ends_when_told_to() {
    if !can() {
        return;
    }
    let home = Home::new(TWO);
    // A hook that leaves a process behind, which then ends.
    home.configure(&format!("{TWO}before = \"sh -c 'echo $$ > {}' &\"\n", home.path("orphan").display()));
    let mut service = home.serve_in(FIRST, "none");
    home.settled(2);
    wait::until("the orphan has run", || home.path("orphan").exists());
    let first = first_process(&service.0);
    wait::until("nobody waits to be waited for", || children(first).iter().all(|(_, has_ended)| !has_ended));
    let told = Command::new("kill").args(["-TERM", &first.to_string()]).status().unwrap();
    assert!(told.success());
    assert_eq!(service.0.wait().unwrap().code(), Some(0), "{}", home.log());
    assert!(home.log().contains("stopping"), "{}", home.log());
}

#[test]
fn the_health_check_tells_only_whether_the_service_answers() {
    let home = Home::new(TWO);
    let (code, said) = home.haul(&["status", "--alive"]);
    assert!(code == 1 && said.contains("the service is not running"), "{said}");
    if can() {
        // Exit codes pass through.
        let (code, said) = home.haul_in(FIRST, &["status", "--alive"]);
        assert!(code == 1 && said.contains("the service is not running"), "{said}");
    }
    // However the backups are.
    fs::remove_dir(home.path("nas")).unwrap();
    fs::remove_dir(home.path("off")).unwrap();
    let _service = home.serve();
    assert_eq!(home.haul(&["status", "--alive"]), (0, "The service is running\n".to_owned()));
    // Also where there is no list of authorities, as in an empty container.
    let without = ["env", "SSL_CERT_FILE=/nowhere", "SSL_CERT_DIR=/nowhere"];
    assert_eq!(home.haul_in(&without, &["status", "--alive"]), (0, "The service is running\n".to_owned()));
}

#[test]
fn before_the_page_has_written_the_configuration_there_is_a_status() {
    let home = Home::new(TWO);
    fs::remove_file(home.path("haul.toml")).unwrap();
    for _service in [None, Some(home.serve())] {
        let (code, said) = home.haul(&["jobs"]);
        assert!(code == 0 && said.contains("There are no jobs"), "{said}");
        let (code, said) = home.haul(&["status"]);
        assert_eq!(code, 3, "{said}");
    }
    let (code, said) = home.haul(&["run", "home"]);
    assert!(code == 2 && said.contains("can't read the configuration file"), "{said}");
}
