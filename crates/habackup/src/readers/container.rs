//! Which member holds the configuration, how it is encrypted and compressed, and whether a reader can open it.
//!
//! Core, before a restore: `validate_password` looks for `homeassistant.tar`, then `homeassistant.tar.gz`, opens it
//! with the password if the description says `protected`, else without, and reads the first header. Whatever fails
//! there is "incorrect_password" to the browser.

use serde_json::Value;

use super::facts::{Facts, Inner, OuterEnd, Shape};
use super::{Defect, Effect, Finding, Reader, Stage};
use crate::problem::shown;
use crate::securetar::SecureTarVersion;

const PASSWORD: Effect = Effect::Refuses(Stage::Password);
const UNPACK: Effect = Effect::Refuses(Stage::Unpack);
const INCORRECT: &str = "incorrect_password";
const OTHERWISE: &str = "backup.json was edited, or somebody put parts of several backups together";
const NOT_GIVEN: &str = "nobody can restore it without its password, and Haul did not check what is inside";
const GIVE_IT: &str = "use --password-file; Home Assistant calls the password the encryption key of the emergency kit";
const ANOTHER_PASSWORD: &str =
    "the password is another instance's or an earlier one, or the beginning of the member is damaged";
const EMERGENCY_KIT: &str = "find the emergency kit from when the backup was made; nothing else opens it";
const REWRITE: &str = "`haul repair` makes the member, its name and backup.json agree";

pub(super) fn find(facts: &Facts, found: &mut Vec<Finding>) {
    match &facts.main {
        None => missing(facts, found),
        Some(main) => configuration(facts, main, found),
    }
    probed(facts, found);
    parts(facts, found);
}

/// Supervisor tries the password on one member, whatever that holds, and restores nothing if that fails
/// (`Backup.validate_backup`).
fn probed(facts: &Facts, found: &mut Vec<Finding>) {
    let Some(probed) = facts.probed() else { return };
    let is_main = |main: &Inner| std::ptr::eq(main, probed);
    let Some(defect) = shut(facts, probed)
        .filter(|defect| facts.main.as_ref().is_none_or(|main| !is_main(main) && shut(facts, main) != Some(*defect)))
    else {
        return;
    };
    let (what, why, repair) = match defect {
        Defect::EncryptedNotProtected => ("it is encrypted, but backup.json says that it is not", OTHERWISE, REWRITE),
        Defect::ProtectedButPlain => ("backup.json says that it is encrypted, but it is not", OTHERWISE, REWRITE),
        Defect::PasswordNotGiven => (NOT_GIVEN, "it is encrypted", GIVE_IT),
        _ => ("the password does not open it", ANOTHER_PASSWORD, EMERGENCY_KIT),
    };
    let finding = Finding::new(defect, what, why, repair).at(&probed.name);
    found.push(finding.supervisor(PASSWORD, Some("Invalid password for backup …")));
}

/// Why a reader that goes by the description does not get into a member, as far as that has to do with its password.
fn shut(facts: &Facts, inner: &Inner) -> Option<Defect> {
    let protected = facts.description.as_ref().is_some_and(super::facts::Description::protected);
    match (inner.is_sealed(), protected) {
        (true, false) => Some(Defect::EncryptedNotProtected),
        (true, true) if !facts.password => Some(Defect::PasswordNotGiven),
        (true, true) if inner.sealing.opens == Some(false) => Some(Defect::WrongPassword),
        (false, true) if facts.password && matches!(inner.shape, Shape::Gzip | Shape::Tar) => {
            Some(Defect::ProtectedButPlain)
        }
        _ => None,
    }
}

fn missing(facts: &Facts, found: &mut Vec<Finding>) {
    let announced = facts
        .description
        .as_ref()
        .and_then(|description| description.get("homeassistant"))
        .is_some_and(|section| !section.is_null());
    let (what, why, repair) = if facts.outer.end != OuterEnd::Clean && facts.outer.end != OuterEnd::Unmarked {
        (
            "the configuration archive is not in the part that is left",
            "the file was cut short or damaged before that archive",
            "fetch it again from its source",
        )
    } else if announced {
        (
            "the configuration archive is missing",
            "the file was cut after backup.json, or somebody removed the member",
            "use another copy; this one holds nothing of the configuration",
        )
    } else {
        (
            "it holds no Home Assistant configuration",
            "the backup was made of folders or add-ons only; only Supervisor can restore it",
            "nothing is wrong: restore it on Home Assistant OS",
        )
    };
    let mut finding = Finding::new(Defect::InnerMissing, what, why, repair).at("homeassistant.tar.gz");
    // Even if Core is not checked, somebody may look for a configuration in it.
    if facts.readers() != [Reader::Supervisor] || announced {
        finding = finding.cores(&PASSWORD, Some("No homeassistant.tar or homeassistant.tar.gz found"));
    }
    found.push(if announced { finding.supervisor(UNPACK, None) } else { finding });
}

fn configuration(facts: &Facts, main: &Inner, found: &mut Vec<Finding>) {
    let new = |defect, what: &str, why, repair| Finding::new(defect, what, why, repair).at(&main.name);
    if main.name.starts_with("./") {
        let why = "it was repacked with `tar cf backup.tar .`; Core compares the whole name, Supervisor accepts both";
        let finding = new(Defect::InnerName, "its name must not begin with './'", why, REWRITE);
        found.push(finding.cores(&PASSWORD, Some("No homeassistant.tar or homeassistant.tar.gz found")));
    }
    let protected = facts.description.as_ref().is_some_and(super::facts::Description::protected);
    if main.shape == Shape::Empty || (main.size == 0) {
        let why = "its writer stopped before it filled in the size";
        found.push(
            new(Defect::InnerEmpty, "it is empty", why, "`haul repair` looks for its content after the header")
                .locked(),
        );
        return;
    }
    match (main.shape, protected) {
        (Shape::Gzip | Shape::Tar, true) => {
            let why = "backup.json was edited or comes from another backup; readers try to decrypt the member";
            let finding =
                new(Defect::ProtectedButPlain, "backup.json says that it is encrypted, but it is not", why, REWRITE);
            // A user who has a password gives it when asked.
            found.push(if facts.password {
                finding.locked()
            } else {
                finding.all(
                    &Effect::Changes("it asks for a password and accepts none; it restores only without one".into()),
                    None,
                )
            });
        }
        (Shape::Encrypted(_) | Shape::SealedUnknown, false) => {
            let why = "backup.json was edited or comes from another backup, so readers ask for no password";
            found.push(
                new(
                    Defect::EncryptedNotProtected,
                    "it is encrypted, but backup.json says that it is not",
                    why,
                    REWRITE,
                )
                .locked(),
            );
        }
        (Shape::Unknown, _) => {
            let finding = new(
                Defect::InnerUnknown,
                "it is neither a tar, nor compressed, nor encrypted",
                "its bytes were damaged or replaced",
                "use another copy; this one cannot be read",
            );
            found.push(finding.locked());
        }
        _ => {}
    }
    if main.is_sealed() {
        sealed(facts, main, found);
    }
    named(main, found);
}

fn sealed(facts: &Facts, main: &Inner, found: &mut Vec<Finding>) {
    let new = |defect, what: String, why, repair| Finding::new(defect, what, why, repair).at(&main.name);
    match main.shape {
        Shape::Encrypted(SecureTarVersion::V3) => {
            let finding = new(
                Defect::SecureTarVersion,
                "it is encrypted with SecureTar 3".into(),
                "Home Assistant 2026.3 and newer write it; older versions take it for SecureTar 1",
                "update the target first, or let `haul repair` encrypt it with SecureTar 2",
            );
            found.push(finding.old_core(PASSWORD, Some(INCORRECT)));
        }
        Shape::SealedUnknown => {
            let finding = new(
                Defect::SecureTarVersion,
                "it is encrypted with a SecureTar newer than 3".into(),
                "a newer Home Assistant made it",
                "use a newer Haul",
            );
            found.push(finding.locked());
        }
        Shape::Encrypted(SecureTarVersion::V1) => found.push(new(
            Defect::SecureTarOld,
            "it is encrypted with SecureTar 1".into(),
            "Home Assistant OS wrote it until 2023; it can be restored, but not downloaded decrypted (\"Unsupported \
             securetar version.\")",
            "`haul repair` encrypts it again",
        )),
        _ => {}
    }
    match main.sealing.opens {
        None if !facts.password => {
            let finding = new(Defect::PasswordNotGiven, NOT_GIVEN.into(), "it is encrypted", GIVE_IT);
            found.push(finding.locked());
        }
        Some(false) => {
            let finding =
                new(Defect::WrongPassword, "the password does not open it".into(), ANOTHER_PASSWORD, EMERGENCY_KIT);
            found.push(finding.locked());
        }
        _ => {}
    }
    if let Some((declared, actual)) = main.sealing.sizes {
        let finding = new(
            Defect::SecureTarSize,
            format!("its encryption header declares {declared} bytes, but it has {actual}"),
            "its writer stopped before it filled in the size; a restore does not use it, a decrypted download fails",
            "`haul repair` rewrites the header",
        );
        // What v3 declares is where its last message must be, which is checked before anything is read.
        let finding = if main.shape == Shape::Encrypted(SecureTarVersion::V3) {
            finding.new_core(PASSWORD, Some(INCORRECT)).supervisor(PASSWORD, Some("Invalid password for backup …"))
        } else {
            finding
        };
        found.push(finding);
    }
    if let Some(damage) = &main.sealing.damage {
        let mut finding = new(
            Defect::SecureTarDamaged,
            damage.clone(),
            "a bad disk or memory card, or an interrupted copy",
            "fetch it again from its source",
        );
        finding = if main.shape == Shape::Encrypted(SecureTarVersion::V3) {
            finding.new_core(UNPACK, Some("SecureTarReadError")).supervisor(UNPACK, None)
        } else {
            finding.all(
                &Effect::Unnoticed("bytes near the end of the encrypted data may be missing or wrong".into()),
                None,
            )
        };
        found.push(finding);
    }
}

/// `tarfile` decides by the name whether to inflate.
fn named(main: &Inner, found: &mut Vec<Finding>) {
    let compressed = match (main.shape, &main.content) {
        (Shape::Gzip, _) => true,
        (Shape::Tar, _) => false,
        (Shape::Encrypted(_), Some(content)) => content.compressed,
        _ => return,
    };
    if compressed != main.name.as_bytes().ends_with(b".gz") {
        let what = if compressed {
            "it is compressed, but its name says that it is not"
        } else {
            "it is not compressed, but its name says that it is"
        };
        let finding = Finding::new(Defect::InnerNotAsNamed, what, "it was renamed by hand", REWRITE).at(&main.name);
        found.push(finding.locked());
    }
}

/// Core restores none of them, but reads them when it decrypts a backup for a download.
fn parts(facts: &Facts, found: &mut Vec<Finding>) {
    let Some(description) = &facts.description else { return };
    let list = |key: &str| description.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    // With what Supervisor says where one of them is missing.
    let folders = list("folders");
    let folders = folders.iter().filter_map(Value::as_str).filter(|name| *name != "homeassistant");
    let mut announced: Vec<(String, String)> =
        folders.map(|name| (name.replace('/', "_"), format!("Can't find restore folder {}", shown(name)))).collect();
    let addons = list("addons");
    let addons = addons.iter().filter_map(|addon| addon.get("slug")?.as_str());
    announced.extend(addons.map(|slug| (slug.to_owned(), format!("Can't find backup {}", shown(slug)))));
    let base = |part: &Inner| part.name.trim_end_matches(".gz").trim_end_matches(".tar").to_owned();
    for (name, says) in &announced {
        if !facts.parts.iter().any(|part| base(part) == *name) {
            let finding = Finding::new(
                Defect::PartMissing,
                format!("{} lists it, but it is missing", description.name.trim_start_matches("./")),
                "a member was removed, or never written",
                "take it from another backup",
            );
            found.push(finding.at(format!("{name}.tar.gz")).supervisor(Effect::Loses(shown(name)), Some(says)));
        }
    }
    let sealed = facts.main.as_ref().map(Inner::is_sealed);
    for part in &facts.parts {
        let name = base(part);
        if !announced.iter().any(|(known, _)| *known == name) && name != "supervisor" {
            let finding =
                Finding::new(Defect::PartUnknown, "backup.json does not list it", "backup.json was edited", REWRITE)
                    .at(&part.name);
            found.push(finding.supervisor(Effect::Loses(shown(&name)), None));
        }
        let differs = part.shape != Shape::Empty && sealed.is_some_and(|sealed| sealed != part.is_sealed());
        if differs
            || (sealed == Some(true)
                && part.sealing.opens == Some(false)
                && facts.main.as_ref().is_some_and(|main| main.sealing.opens == Some(true)))
        {
            let finding = if sealed == Some(false) && differs {
                Finding::new(
                    Defect::PartEncryption,
                    "it is still encrypted, but the configuration is not",
                    "Home Assistant leaves addons_local.tar.gz and supervisor.tar.gz encrypted when it decrypts a \
                     download; it restores the configuration anyway",
                    "`haul repair` decrypts it if you give its password, and leaves it out otherwise",
                )
            } else {
                Finding::new(
                    Defect::PartEncryption,
                    if differs {
                        "it is not encrypted, but the configuration is"
                    } else {
                        "the configuration's password does not open it"
                    },
                    "somebody put parts of several backups together; a decrypted download fails (\"Unsupported \
                     securetar version.\" or \"The inner tar is not gzip or tar, wrong key?\")",
                    if differs {
                        "`haul repair` encrypts it like the configuration"
                    } else {
                        "`haul repair` leaves out whatever the password does not open"
                    },
                )
            };
            found.push(finding.at(&part.name).supervisor(Effect::Loses(shown(&name)), None));
        }
        if name == "supervisor" && part.is_sealed() && sealed != Some(false) {
            let finding = Finding::new(
                Defect::SupervisorConfig,
                "Supervisor 2026.03.3 to 2026.08 does not restore it",
                "these versions cannot read it while it is encrypted; 2026.09 and newer restore it, older ones do not \
                 know it",
                "update Supervisor before the restore, or remove the encryption with `haul repair --decrypt`",
            );
            let effect =
                Effect::Changes("only Supervisor 2026.09 and newer restore network storage and registries".into());
            found.push(finding.at(&part.name).supervisor(
                effect,
                Some("Failed to read supervisor config from backup: seeking backwards is not allowed"),
            ));
        }
        super::inner::find_part(part, found);
    }
}
