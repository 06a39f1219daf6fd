//! The app as it is packed: with nothing but what its image has, the directories that Supervisor gives it, the rights that
//! Docker leaves it, and itself as the first process.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use testkit::{
    browser::Browser,
    supervisor::{Supervisor, TOKEN, World},
    wait,
};

use super::{
    frame::{self, PREFIX},
    home::{self, App, Home, archives, python, verdict},
};

const NAS: &str = "[destinations.nas]\nurl = \"/share/nas/ha\"\nmust_be_mounted = true\n";
const CONFIG: &str = "[destinations.nas]\nurl = \"/share/nas\"\nmust_be_mounted = true\n[jobs.all]\nsource = \"/homeassistant\"\n\
                      everything = true\ndestinations = [\"nas\"]\nschedule = \"daily 04:45\"\n";
/// What Docker leaves to root in a container.
const RIGHTS: &str = "-all,+chown,+dac_override,+fowner,+fsetid,+kill,+setgid,+setuid,+setpcap,+net_bind_service,\
                      +net_raw,+sys_chroot,+mknod,+audit_write,+setfcap";

fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Unpacks the image, and puts the program under test into it, with the libraries that the packed one does not need.
fn unpack(home: &Home) {
    let (root, packaging) = (home.path("root"), Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging"));
    fs::write(home.path("program"), "").unwrap();
    let mut pack = Command::new(packaging.join("app"));
    pack.arg("0.1.0").arg(home.path("out")).arg(format!("amd64={}", home.path("program").display()));
    run(&mut pack);
    run(Command::new("tar").arg("xf").arg(home.path("out/haul-0.1.0-app.tar.gz")).arg("-C").arg(home.path("out")));
    fs::create_dir(&root).unwrap();
    run(Command::new("tar").arg("xf").arg(home.path("out/haul/root-amd64.tar.gz")).arg("-C").arg(&root));
    let program = env!("CARGO_BIN_EXE_haul");
    fs::copy(program, root.join("usr/bin/haul")).unwrap();
    for library in run(Command::new("ldd").arg(program)).split_whitespace().filter(|word| word.starts_with('/')) {
        let to = root.join(&library[1..]);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(library, to).unwrap();
    }
}

fn start(home: &Home, supervisor: &Supervisor) -> App {
    let script = format!(
        "set -e; root={root}; given={given}
        mount --bind $given/config $root/homeassistant; mount -o remount,ro,bind $root/homeassistant
        mount --rbind $given/share $root/share; mount -t proc proc $root/proc; mount --rbind /dev $root/dev
        exec setpriv --bounding-set={RIGHTS} --no-new-privs chroot $root /usr/bin/haul app --supervisor {url} \
            --ingress 127.0.0.1:0 --from 127.0.0.1 --share 127.0.0.1:0 --host 127.0.0.1",
        root = home.path("root").display(),
        given = home.path("").display(),
        url = supervisor.url(),
    );
    let mut command = Command::new("/usr/bin/unshare");
    command
        .args(["--mount", "--propagation=slave", "--pid", "--fork", "--kill-child=SIGTERM", "/bin/sh", "-c", &script])
        .env_clear();
    command.env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin").stdin(Stdio::null());
    // What the image's description says, and what Supervisor adds.
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../app/haul/Dockerfile");
    let text = fs::read_to_string(file).unwrap();
    let settings = text.lines().find_map(|line| line.strip_prefix("ENV ")).unwrap();
    for (name, value) in
        settings.split(' ').filter_map(|setting| setting.split_once('=')).filter(|(name, _)| *name != "PATH")
    {
        command.env(name, value);
    }
    App::started(command.env("SUPERVISOR_TOKEN", TOKEN).env("TZ", "Europe/Berlin"))
}

/// `/share` of the machine, and network storage in it, which appears and goes in the app as it does on the machine.
struct Storage(PathBuf);

impl Storage {
    fn at(home: &Home) -> Self {
        let share = home.path("share");
        fs::create_dir_all(share.join("nas")).unwrap();
        run(Command::new("mount").arg("--bind").args([&share, &share]));
        run(Command::new("mount").arg("--make-shared").arg(&share));
        Self(share)
    }

    fn connect(&self) {
        run(Command::new("mount").args(["-t", "tmpfs", "-o", "size=200m", "tmpfs"]).arg(self.0.join("nas")));
    }

    fn disconnect(&self) {
        run(Command::new("umount").arg(self.0.join("nas")));
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["--lazy", "--recursive"]).arg(&self.0).status();
    }
}

/// There is one directory to back up, so its field is hidden, and comes first in its card.
fn the_set_up_is_in_its_cards(app: &App) {
    let Some(browser) = Browser::start() else { return };
    browser.screen(390, false);
    browser.visit(&format!("{}{PREFIX}/setup", frame::address(app)));
    let beside = "return [...document.querySelectorAll('.card label *')].filter((one) => one.checkVisibility()
        && one.getBoundingClientRect().right > one.closest('.card').getBoundingClientRect().right)
        .map((one) => one.textContent)";
    assert_eq!(browser.run(beside, &[]), serde_json::json!([]));
    assert_eq!(browser.run("return document.querySelector('input[name=source]').type", &[]), "hidden");
}

#[test]
fn network_storage_that_is_not_connected_gets_nothing_and_is_tried_again() {
    if run(Command::new("id").arg("-u")).trim() != "0" || !cfg!(target_arch = "x86_64") {
        testkit::rig::tell("skipped: not root, or not on x86_64");
        return;
    }
    let supervisor = Supervisor::start(World::default());
    let home = Home::new("");
    let storage = Storage::at(&home);
    unpack(&home);
    let job = "[jobs.quick]\nsource = \"/homeassistant\"\ndestinations = [\"nas\"]\nschedule = \"daily\"\n";
    fs::write(home.path("root/data/haul.toml"), format!("{NAS}{job}")).unwrap();
    // Its folder is missing, as everything in it is: it is away, and nobody is to make it.
    let app = start(&home, &supervisor);
    let says = |words: &str| wait::until(words, || app.answer("0aa1", "/").contains(words));
    says("The network storage behind /share/nas is not connected");
    says("Storage in Home Assistant; Haul tries again");
    let page = app.answer("0aa1", "/");
    assert!(!page.contains("mkdir") && !page.contains("does not try again"), "{page}");
    // Nor does what somebody made on the machine's own disk get a backup, also of Home Assistant's own.
    let ha = home.path("share/nas/ha");
    fs::create_dir(&ha).unwrap();
    app.post("0aa1", "/jobs/quick/run", &[]);
    let mount = app.mount(&supervisor, "haul_nas");
    let said = home::put(&mount, &home.path("config/configuration.yaml"), "own.tar");
    assert!(said.contains("NT_STATUS"), "{said}");
    assert!(archives(&ha).is_empty());
    let form = [
        ("kind", "local"),
        ("local.path", "/share/nas/other/new"),
        ("local.new_folder", "true"),
        ("local.must_be_mounted", "true"),
        ("do", "try"),
    ];
    let answer = app.post("0aa1", "/settings/location", &form);
    assert!(answer.contains("the network storage behind /share/nas is not connected"), "{answer}");

    fs::remove_dir(&ha).unwrap();
    storage.connect();
    fs::create_dir(&ha).unwrap();
    app.post("0aa1", "/jobs/quick/run", &[]);
    wait::until("the backup is there", || !archives(&ha).is_empty());
    storage.disconnect();
    assert!(!ha.exists());
}

#[test]
fn it_runs_with_what_its_image_has_and_backs_up_everything() {
    let Some(python) = python() else { return };
    if run(Command::new("id").arg("-u")).trim() != "0" || !cfg!(target_arch = "x86_64") {
        testkit::rig::tell("skipped: not root, or not on x86_64");
        return;
    }
    let supervisor = Supervisor::start(World::default());
    let home = Home::new("");
    unpack(&home);
    let storage = Storage::at(&home);
    storage.connect();
    // As Home Assistant keeps its secrets.
    fs::set_permissions(home.path("config/.storage/auth"), fs::Permissions::from_mode(0o600)).unwrap();
    home::writes(&supervisor, &python, &home, |_| {});

    // The first start finds nothing in its directory.
    let mut app = start(&home, &supervisor);
    assert!(app.page("0aa1", "/").contains("303"), "{}: the way to the set-up", app.page("0aa1", "/"));
    the_set_up_is_in_its_cards(&app);
    assert!(app.page("", "/healthz").contains("200"));
    assert!(app.end().ends_with("stopping\n"));

    fs::write(home.path("root/data/haul.toml"), CONFIG).unwrap();
    let mut app = start(&home, &supervisor);
    app.mount(&supervisor, "haul_nas");
    let names = wait::found("the backup is there", || {
        Some(archives(&home.path("share/nas"))).filter(|names| !names.is_empty())
    });
    let archive = home.path("share/nas").join(&names[0]);
    assert_eq!(verdict(&home, &archive), "whole");
    assert!(app.end().contains("stopping"));
    // What an app's own backup leaves out is called so.
    for name in ["catalog.db", "share"] {
        assert!(home.path("root/data/state").join(name).exists(), "{name}");
    }
}
