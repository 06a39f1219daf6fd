//! The inner tar: where it ends too early, and members that no reader unpacks as they are.
//!
//! Core unpacks it with `tarfile` to a temporary directory (plain: `r:gz`, encrypted: `r|gz`), empties the
//! configuration, then copies `data/` over it (`_extract_backup` in `backup_restore.py`). The checksum of a gzip stream
//! comes after the end of the tar, where neither mode reads. Supervisor unpacks into the target itself, in the same two
//! modes (`Backup.restore_homeassistant`).

use super::facts::{Content, ContentEnd, Facts, Failing, GzipEnd, Inner, Shape};
use super::{Defect, Effect, Finding, Stage};
use crate::names::leaves;
use crate::problem::shown;
use crate::rules::TooLong;
use crate::securetar::SecureTarVersion;
use crate::tar::EntryKind;

const UNPACK: Effect = Effect::Refuses(Stage::Unpack);
const NAME_TOO_LONG: &str = "[Errno 36] File name too long";
const OUTSIDE: &str = "which is outside the destination";
const BROKE_OFF: &str = "its writer was stopped, or a copy was interrupted";
const FLIPPED: &str = "a bad disk or memory card";
const KEEP: &str = "fetch it again from its source; `haul repair` keeps every whole file";

pub(super) fn find(facts: &Facts, found: &mut Vec<Finding>) {
    let Some(main) = &facts.main else { return };
    let Some(content) = &main.content else { return };
    end(main, content, found);
    gzip(main, content, found);
    members(content, found);
}

/// A folder or an add-on, which Core does not touch.
pub(super) fn find_part(part: &Inner, found: &mut Vec<Finding>) {
    let Some(content) = &part.content else { return };
    let damaged = !matches!(content.end, ContentEnd::Clean | ContentEnd::Unmarked)
        || matches!(content.gzip, GzipEnd::Unequal | GzipEnd::Truncated | GzipEnd::Corrupt)
        || part.sealing.damage.is_some();
    if damaged {
        let finding = Finding::new(Defect::PartDamaged, "it is damaged or cut short", FLIPPED, KEEP).at(&part.name);
        found.push(finding.supervisor(Effect::Loses(format!("the damaged part of {}", shown(&part.name))), None));
    }
    // Such a folder is emptied before it is unpacked, and such an add-on is not restored.
    if content.escaping.iter().any(|path| !path.starts_with(b"/") && leaves(path)) {
        let finding = Finding::new(
            Defect::Escaping,
            "one of its members points outside it",
            "the archive tries to write elsewhere",
            "`haul repair` leaves it out",
        );
        found.push(finding.at(&part.name).supervisor(Effect::Loses(shown(&part.name)), Some(OUTSIDE)));
    }
}

fn position(main: &Inner, content: &Content) -> String {
    content.last.as_ref().map_or_else(|| main.name.clone(), |path| String::from_utf8_lossy(path).into_owned())
}

fn end(main: &Inner, content: &Content, found: &mut Vec<Finding>) {
    let first_header = content.entries == 0;
    let parallel = content.gzip == GzipEnd::SecondMember && main.is_sealed();
    match content.end {
        ContentEnd::Clean => {}
        // The finding about the gzip stream says so already.
        ContentEnd::Unmarked | ContentEnd::Failed(_) if parallel => {}
        ContentEnd::Unmarked => {
            let finding = Finding::new(
                Defect::InnerTruncated,
                "it has no end marker; files after this one may be missing",
                BROKE_OFF,
                KEEP,
            );
            let effect = Effect::Unnoticed("its last files may be missing".into());
            found.push(finding.at(position(main, content)).all(&effect, None));
        }
        ContentEnd::Silent(text) => {
            let finding = Finding::new(
                Defect::InnerDamaged,
                format!("the header after this file is damaged ({text}); readers take that for the end"),
                FLIPPED,
                KEEP,
            );
            found.push(
                finding.at(position(main, content)).all(&Effect::Loses("every file after the damage".into()), None),
            );
        }
        ContentEnd::Failed(failing) => {
            let (defect, why, says) = match failing {
                Failing::Read(text @ "unexpected end of data") => (Defect::InnerTruncated, BROKE_OFF, text),
                Failing::Read(text) => (Defect::InnerDamaged, FLIPPED, text),
                Failing::Eof => (
                    Defect::InnerTruncated,
                    BROKE_OFF,
                    "Compressed file ended before the end-of-stream marker was reached",
                ),
                Failing::Zlib if main.is_sealed() => (Defect::InnerDamaged, FLIPPED, "invalid compressed data"),
                Failing::Zlib => (Defect::InnerDamaged, FLIPPED, "Error -3 while decompressing data"),
                Failing::Tampered => (Defect::SecureTarDamaged, FLIPPED, "SecureTarReadError"),
            };
            let what = match failing {
                Failing::Tampered => "the encrypted data was changed inside or after this member",
                _ => "it breaks off inside or after this member",
            };
            // What is no `TarError` ends its job without a word of its own.
            let answer = if first_header && failing == Failing::Tampered {
                Some("Unexpected failure".to_owned())
            } else if first_header {
                Some("Invalid password for backup …".to_owned())
            } else {
                matches!(failing, Failing::Read(_)).then(|| format!("Can't read tarfile …: {says}"))
            };
            let effect = if first_header { Effect::Refuses(Stage::Password) } else { UNPACK };
            found.push(
                Finding::new(defect, what, why, KEEP)
                    .at(position(main, content))
                    .cores(&effect, Some(says))
                    .supervisor(effect.clone(), answer.as_deref()),
            );
        }
    }
}

fn gzip(main: &Inner, content: &Content, found: &mut Vec<Finding>) {
    let new = |defect, what: &str, why, repair| Finding::new(defect, what, why, repair).at(&main.name);
    match content.gzip {
        GzipEnd::SecondMember if main.is_sealed() => {
            let finding = new(
                Defect::GzipMembers,
                "it is compressed in several gzip members and encrypted",
                "a parallel compressor wrote it (`pigz`, `bgzip`, `cat a.gz b.gz`); in encrypted data, readers stop \
                 after the first member",
                "`haul repair` compresses it again as one member",
            );
            let (effect, says) = match content.end {
                ContentEnd::Failed(_) => (UNPACK, Some("unexpected end of data")),
                _ => (Effect::Loses(behind(content)), None),
            };
            found.push(finding.cores(&effect, says).supervisor(effect.clone(), None));
        }
        GzipEnd::SecondMember => found.push(new(
            Defect::GzipMembers,
            "it is compressed in several gzip members",
            "a parallel compressor wrote it; readers continue after the first member, but would not if it were \
             encrypted",
            "nothing to do, unless you want to encrypt it",
        )),
        GzipEnd::Unequal => {
            let finding = new(Defect::GzipChecksum, "the checksum of its content is wrong", FLIPPED, KEEP);
            found.push(finding.all(&Effect::Unnoticed("a file is damaged, and no reader says so".into()), None));
        }
        GzipEnd::Truncated | GzipEnd::Corrupt if matches!(content.end, ContentEnd::Clean) => {
            let finding = new(
                Defect::InnerTruncated,
                "its compressed data breaks off after the end of the tar in it",
                BROKE_OFF,
                "`haul repair` compresses it again",
            );
            found.push(finding);
        }
        // The first form keeps no length: what fills its last block stays there.
        GzipEnd::Garbage if main.shape == Shape::Encrypted(SecureTarVersion::V1) => {}
        GzipEnd::Garbage => {
            let finding = new(
                Defect::InnerTrailing,
                "other data follows its compressed data",
                "a script wrote to the same file twice",
                "`haul repair` leaves it out",
            );
            found.push(finding);
        }
        GzipEnd::None | GzipEnd::Sound | GzipEnd::Truncated | GzipEnd::Corrupt => {}
    }
}

/// The files that no reader comes to see.
fn behind(content: &Content) -> String {
    if content.behind.is_empty() {
        return "every file after the first gzip member".to_owned();
    }
    let names: Vec<String> = content.behind.iter().map(|path| shown(&String::from_utf8_lossy(path))).collect();
    let others = content.behind_count - names.len() as u64;
    let more = if others == 0 { String::new() } else { format!(" and {others} more") };
    format!("what follows the first gzip member: {}{more}", names.join(", "))
}

fn members(content: &Content, found: &mut Vec<Finding>) {
    for (path, link, known) in &content.hard_links {
        let target = shown(&String::from_utf8_lossy(link));
        if *known {
            let what = format!("it is a hard link to {target}");
            let why = "the backup was packed by hand; under AppArmor, Core may not create hard links";
            found.push(Finding::new(Defect::HardLink, what, why, "`haul repair` stores both as files").at(path));
        } else {
            let finding = Finding::new(
                Defect::HardLinkToNothing,
                format!("it is a hard link to {target}, which is missing"),
                "somebody chose the files by hand",
                "`haul repair` leaves it out",
            );
            found.push(
                finding
                    .at(path)
                    .cores(&UNPACK, Some(&format!("linkname '{target}' not found")))
                    .supervisor(UNPACK, None),
            );
        }
    }
    if content.data_is_link {
        let finding = Finding::new(
            Defect::DataLink,
            "'data' is a symbolic link",
            "the archive tries to write elsewhere",
            "`haul repair` turns it into a directory",
        );
        found.push(finding.at("data").cores(&UNPACK, Some("[Errno 17] File exists")).supervisor(UNPACK, None));
    } else if !content.data && content.entries == 0 && matches!(content.end, ContentEnd::Clean | ContentEnd::Unmarked) {
        let finding = Finding::new(
            Defect::NoData,
            "it contains nothing",
            "the wrong folder was backed up, or nothing was mounted there",
            "nothing can replace it; take it from another backup",
        );
        let emptied = Effect::Loses("everything: it empties the configuration".into());
        found.push(
            finding.cores(&Effect::FailsAfterWipe, Some("Backup file … does not exist")).supervisor(emptied, None),
        );
    } else if !content.data && content.entries > 0 {
        let finding = Finding::new(
            Defect::NoData,
            "the configuration is not below 'data/'",
            "it was packed by hand from inside the configuration; Core copies only what is below 'data', Supervisor \
             accepts it as it is",
            "`haul repair` puts it there",
        );
        found.push(finding.cores(&Effect::FailsAfterWipe, Some("Backup file … does not exist")));
    }
    for special in &content.specials {
        let below_data = special.path.starts_with(b"data/");
        match special.kind {
            EntryKind::Fifo if below_data => {
                let finding = Finding::new(
                    Defect::Fifo,
                    "it is a named pipe",
                    "a program left it in the configuration",
                    "`haul repair` leaves it out",
                )
                .at(&special.path);
                let finding = finding.cores(&Effect::FailsAfterWipe, Some("is a named pipe"));
                found.push(
                    finding.supervisor(Effect::FailsAfterWipe, Some("Can't restore origin data: … is a named pipe")),
                );
            }
            _ => {
                let finding = Finding::new(
                    Defect::Device,
                    "it is a device",
                    "a program left it in the configuration",
                    "`haul repair` leaves it out",
                )
                .at(&special.path);
                found.push(
                    finding
                        .all(&Effect::Changes("a device becomes a file with what could be read from it".into()), None),
                );
            }
        }
    }
    for path in &content.escaping {
        let what = if path.starts_with(b"/") || leaves(path) {
            "it points outside the archive"
        } else {
            "its name leads up and back down"
        };
        let finding =
            Finding::new(Defect::Escaping, what, "the archive tries to write elsewhere", "`haul repair` leaves it out")
                .at(path);
        let left_out = Effect::Changes("a member that points outside the archive is left out".into());
        let finding = finding.old_core(left_out.clone(), None);
        // The `tar` filter takes leading slashes off, and refuses the others. Supervisor has it since 2026.02.3.
        found.push(if path.starts_with(b"/") {
            finding.new_core(left_out.clone(), None).supervisor(left_out, None)
        } else if !leaves(path) {
            finding
        } else {
            finding.new_core(UNPACK, Some(OUTSIDE)).supervisor(UNPACK, Some(OUTSIDE))
        });
    }
    if let Some(path) = content.through_links.first() {
        let finding = Finding::new(
            Defect::EscapingLink,
            "it is below a symbolic link that points outside the archive",
            "the archive tries to write elsewhere; old readers follow the link, newer ones refuse it (Supervisor since \
             2026.02.3)",
            "do not restore it unless you know where it came from; `haul repair` turns the link into a folder",
        );
        let written = Effect::Loses("the file of that name outside the configuration: it is overwritten".into());
        found.push(
            finding.at(path).old_core(written, None).new_core(UNPACK, Some(OUTSIDE)).supervisor(UNPACK, Some(OUTSIDE)),
        );
    }
    if let Some(path) = content.repeated.first() {
        let finding = Finding::new(
            Defect::MemberTwice,
            "the archive holds it more than once; readers use the last one",
            "something was appended to the archive",
            "`haul repair` keeps the last one",
        )
        .at(path);
        found.push(
            finding.all(&Effect::Unnoticed("the earlier content of a file that the archive holds twice".into()), None),
        );
    }
    for kind in [TooLong::Name, TooLong::Target] {
        let Some((path, _)) = content.too_long.iter().find(|(_, too_long)| *too_long == kind) else { continue };
        let why = "the archive was made to do harm, or it is damaged";
        let finding =
            Finding::new(Defect::NameTooLong, format!("it has {kind}"), why, "`haul repair` leaves it out").at(path);
        found.push(match kind {
            TooLong::Name => finding.all(&UNPACK, Some(NAME_TOO_LONG)),
            // `tarfile` passes over a link that it can't make.
            TooLong::Target => {
                finding.all(&Effect::Changes("a symbolic link whose target is too long is left out".into()), None)
            }
        });
    }
    if let Some(path) = content.not_utf8.first() {
        let finding = Finding::new(
            Defect::NameEncoding,
            "its name is not UTF-8",
            "it comes from an old disk or another system",
            "rename it before the next backup",
        );
        found.push(finding.at(path));
    }
    if let Some(path) = content.sizes_disagree.first() {
        let finding = Finding::new(
            Defect::InnerSizes,
            "its two headers give different sizes; readers use the second",
            "one of them was changed",
            KEEP,
        )
        .at(path);
        found.push(finding);
    }
}
