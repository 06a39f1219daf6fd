//! The Debian package, made of the program under test: what is in it, and what its scripts do when it comes and goes. The
//! app for Home Assistant OS: what Supervisor finds.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

const EPOCH: &str = "1795000000";
const UNITS: &str = "usr/lib/systemd/system";

fn packaging() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging")
}

fn is_here(command: &str) -> bool {
    Command::new(command).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// Everything that it prints.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {text}");
    text
}

/// Everything that a package consists of, laid out. What debuggers need of the program is not.
fn tree(at: &Path) {
    let program = at.with_extension("program");
    run(Command::new("strip").arg("-o").arg(&program).arg(env!("CARGO_BIN_EXE_haul")));
    run(Command::new(packaging().join("tree")).arg(program).arg(at).env("SOURCE_DATE_EPOCH", EPOCH));
}

/// The unit's settings, without comments.
fn settings(unit: &str) -> Vec<String> {
    let text = fs::read_to_string(packaging().join("systemd").join(unit)).unwrap();
    text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).map(str::to_owned).collect()
}

#[test]
fn the_package_brings_what_it_should_and_leaves_keys_behind() {
    if !is_root() || ["dpkg", "dpkg-deb"].iter().any(|command| !is_here(command)) {
        testkit::rig::tell("skipped: not root, or not on Debian");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    tree(&at("tree"));
    let build = |out: &str| {
        let architecture = run(Command::new("dpkg").arg("--print-architecture"));
        let mut command = Command::new(packaging().join("deb/build"));
        command.arg(at("tree")).args([architecture.trim(), "0.1.0"]).arg(at(out));
        run(command.env("SOURCE_DATE_EPOCH", EPOCH).env("HAUL_DEB_COMPRESSION", "none"));
        fs::read_dir(at(out)).unwrap().next().unwrap().unwrap().path()
    };
    let package = build("first");
    assert!(fs::read(&package).unwrap() == fs::read(build("second")).unwrap(), "not the same bytes");
    let field = |name: &str| run(Command::new("dpkg-deb").arg("--field").arg(&package).arg(name)).trim().to_owned();
    assert_eq!((field("Package"), field("Version")), ("haul".to_owned(), "0.1.0".to_owned()));
    // Not static, as this one is built: it says what it needs.
    assert!(field("Depends").starts_with("libc6 (>= 2."), "{}", field("Depends"));
    assert_eq!(field("Conffiles"), "");

    // A system of its own, which has nothing that could be started.
    let root = at("root");
    fs::create_dir_all(root.join("var/lib/dpkg")).unwrap();
    fs::write(root.join("var/lib/dpkg/status"), "").unwrap();
    let dpkg = |what: &str, of: &Path| {
        let mut command = Command::new("dpkg");
        command.arg("--root").arg(&root).args(["--force-script-chrootless", "--force-depends", what]).arg(of);
        run(command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"))
    };
    dpkg("--install", &package);
    for (path, mode) in [
        ("usr/bin/haul", 0o755),
        ("usr/lib/systemd/system/haul.service", 0o644),
        ("usr/lib/systemd/system/haul-run@.service", 0o644),
        ("usr/lib/systemd/system/haul-run@.timer", 0o644),
        ("usr/share/man/man1/haul.1.gz", 0o644),
        ("usr/share/man/man1/haul-serve.1.gz", 0o644),
        ("usr/share/bash-completion/completions/haul", 0o644),
        ("usr/share/zsh/vendor-completions/_haul", 0o644),
        ("usr/share/fish/vendor_completions.d/haul.fish", 0o644),
        ("usr/share/doc/haul/copyright", 0o644),
        ("usr/share/doc/haul/THIRD-PARTY.gz", 0o644),
        ("usr/share/doc/haul/JOBS.md", 0o644),
        ("usr/share/doc/haul/examples/haul.toml", 0o644),
    ] {
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        let found = fs::metadata(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!((found.permissions().mode() & 0o7777, found.uid(), found.gid()), (mode, 0, 0), "{path}");
    }
    assert!(!root.join("etc/haul").exists() && !root.join("var/lib/haul").exists(), "only the service makes them");
    let enabled = root.join("etc/systemd/system/multi-user.target.wants/haul.service");
    if is_here("deb-systemd-helper") || Path::new("/usr/bin/deb-systemd-helper").exists() {
        assert!(fs::symlink_metadata(&enabled).is_ok());
    }
    let checked = run(Command::new("dpkg").arg("--root").arg(&root).args(["--verify", "haul"]));
    assert_eq!(checked, "");
    run(Command::new(root.join("usr/bin/haul"))
        .args(["jobs", "--config"])
        .arg(root.join("usr/share/doc/haul/examples/haul.toml")));
    units_are_right(&root);

    for (path, text) in
        [("var/lib/haul/catalog.db", "what is known"), ("etc/haul/haul.toml", ""), ("etc/haul/secrets/home-key", "key")]
    {
        fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
        fs::write(root.join(path), text).unwrap();
    }
    dpkg("--remove", Path::new("haul"));
    assert!(!root.join("usr/bin/haul").exists() && root.join("var/lib/haul/catalog.db").exists());
    let said = dpkg("--purge", Path::new("haul"));
    assert!(!root.join("var/lib/haul").exists() && fs::symlink_metadata(&enabled).is_err());
    assert!(root.join("etc/haul/secrets/home-key").exists() && said.contains("/etc/haul stays"), "{said}");
    // Without settings nothing stays.
    dpkg("--install", &package);
    fs::remove_dir_all(root.join("etc/haul")).unwrap();
    fs::create_dir(root.join("etc/haul")).unwrap();
    dpkg("--purge", Path::new("haul"));
    assert!(!root.join("etc/haul").exists());
}

fn is_root() -> bool {
    run(Command::new("id").arg("-u")).trim() == "0"
}

/// systemd understands them; their programs are there.
fn units_are_right(root: &Path) {
    if !is_here("systemd-analyze") {
        testkit::rig::tell("skipped: systemd is not here to check its units");
        return;
    }
    let here = tempfile::tempdir().unwrap();
    for unit in ["haul.service", "haul-run@.service", "haul-run@.timer"] {
        let text = fs::read_to_string(root.join(UNITS).join(unit)).unwrap();
        let program = root.join("usr/bin/haul");
        fs::write(here.path().join(unit), text.replace("/usr/bin/haul", program.to_str().unwrap())).unwrap();
    }
    let said = run(Command::new("systemd-analyze")
        .args(["verify", "--man=no", "haul.service", "haul-run@home.service", "haul-run@home.timer"])
        .env("SYSTEMD_UNIT_PATH", format!("{}:", here.path().display()))
        .current_dir(here.path()));
    assert!(!said.contains("haul"), "{said}");
}

#[test]
fn both_services_may_do_the_same() {
    let of = |unit: &str| {
        let settings = settings(unit);
        let from = settings.iter().position(|line| line.starts_with("ReadWritePaths=")).expect("a place to begin");
        settings[from..].iter().take_while(|line| !line.starts_with('[')).cloned().collect::<Vec<_>>()
    };
    let service = of("haul.service");
    assert!(service.contains(&"ProtectSystem=strict".to_owned()) && service.len() > 15, "{service:?}");
    assert_eq!(service, of("haul-run@.service"));
    // And so does NixOS's, in its own words.
    let module = fs::read_to_string(packaging().join("../nix/module.nix")).unwrap();
    for setting in service.iter().skip(1) {
        let (key, value) = setting.split_once('=').unwrap();
        let line = module.lines().find(|line| line.trim_start().starts_with(&format!("{key} = ")));
        let words: Vec<&str> =
            line.unwrap_or_else(|| panic!("{key} is not in nix/module.nix")).split(['"', ' ', ';']).collect();
        for word in value.replace("yes", "true").split(' ') {
            assert!(words.contains(&word), "{setting}: {words:?}");
        }
    }
}

#[test]
fn the_app_is_packed_for_the_folder_of_local_apps_and_for_a_repository() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let program = at("program");
    fs::write(&program, "the program").unwrap();
    let is_imaged = is_root() && is_here("buildah");
    if !is_imaged {
        testkit::rig::tell("skipped: the image of the app; not root, or no buildah");
    }
    let pack = |out: &str, image: &str| {
        let mut command = Command::new(packaging().join("app"));
        command.arg("0.1.0").arg(at(out));
        for architecture in ["amd64", "arm64"] {
            command.arg(format!("{architecture}={}", program.display()));
        }
        run(command.env("SOURCE_DATE_EPOCH", EPOCH).env("HAUL_APP_IMAGE", image));
    };
    pack("first", "");
    pack("second", "registry.example.net/haul");
    let same = |name: &str| fs::read(at("first").join(name)).unwrap() == fs::read(at("second").join(name)).unwrap();
    assert!(same("haul-0.1.0-app.tar.gz"), "not the same bytes");
    assert!(!is_imaged || same("haul-0.1.0-app-oci.tar"), "not the same bytes");
    assert!(!at("first/haul-0.1.0-repository.tar.gz").exists());

    let listed = |archive: &str| {
        let listing = run(Command::new("tar").arg("tf").arg(at(archive)));
        listing.lines().filter(|line| !line.ends_with('/')).map(str::to_owned).collect::<Vec<_>>()
    };
    let common = ["CHANGELOG.md", "DOCS.md", "README.md", "apparmor.txt", "config.yaml", "icon.png", "logo.png"];
    let mut expected: Vec<String> = common.iter().map(|name| format!("haul/{name}")).collect();
    let mut repository = listed("second/haul-0.1.0-repository.tar.gz");
    repository.sort();
    assert_eq!(repository[..7], expected);
    assert_eq!(repository[7..], ["repository.yaml"]);
    expected.extend(["Dockerfile", "root-aarch64.tar.gz", "root-amd64.tar.gz"].map(|name| format!("haul/{name}")));
    let mut local = listed("first/haul-0.1.0-app.tar.gz");
    local.sort();
    expected.sort();
    assert_eq!(local, expected);

    for out in ["first/haul-0.1.0-app.tar.gz", "second/haul-0.1.0-repository.tar.gz"] {
        fs::create_dir_all(at("unpacked")).unwrap();
        run(Command::new("tar").arg("xf").arg(at(out)).arg("-C").arg(at("unpacked")));
        let config = fs::read_to_string(at("unpacked/haul/config.yaml")).unwrap();
        let image = config.lines().find(|line| line.starts_with("image:"));
        assert_eq!(image, out.contains("repository").then_some("image: registry.example.net/haul"));
    }
    // Also after a share that knows no modes.
    let modes = run(Command::new("tar").arg("tvf").arg(at("unpacked/haul/root-amd64.tar.gz")).arg("./usr/bin/haul"));
    assert!(modes.starts_with("-rwxr-xr-x 0/0"), "{modes}");
}

#[test]
fn the_apps_profile_is_one_that_apparmor_understands() {
    if !is_here("/usr/sbin/apparmor_parser") {
        testkit::rig::tell("skipped: apparmor_parser is not here");
        return;
    }
    let profile = fs::read_to_string(packaging().join("../app/haul/apparmor.txt")).unwrap();
    let here = tempfile::tempdir().unwrap();
    // Under the name that Supervisor gives it.
    let named = here.path().join("apparmor.txt");
    fs::write(&named, profile.replace("profile haul ", "profile a1b2c3d4_haul ")).unwrap();
    run(Command::new("/usr/sbin/apparmor_parser").args(["--skip-kernel-load", "--skip-cache"]).arg(named));
}
