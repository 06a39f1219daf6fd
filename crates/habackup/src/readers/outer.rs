//! A file that is no archive at all, or whose outer tar is not as it should be.
//!
//! Core: `read_backup` opens the file with `tarfile.open(path, "r:")` and asks for the member `./backup.json`, for
//! which `tarfile` walks to the end. What that raises becomes HTTP 500, and a warning when the folder is listed. The
//! Supervisor does the same in `Backup.load`.

use super::facts::{Facts, Nature, OuterEnd};
use super::{Defect, Effect, Finding, Stage};
use crate::index::MEMBER as INDEX;
use crate::names::{MANIFEST, is_archive_name, leaves};
use crate::problem::shown;

const REFUSED: Effect = Effect::Refuses(Stage::List);
const NOT_FOUND: &str = "KeyError: \"filename './backup.json' not found\"";
const BROKE_OFF: &str =
    "a download or copy broke off, a disk was full, or an upload went through a proxy that limits its length";
const DOWNLOAD_AGAIN: &str = "fetch it again from where it was made; `haul repair` keeps the members that are whole";
const ANEW: &str = "`haul repair` writes it anew";
const REPACK: &str = "`haul repair` writes it anew under the names that readers know";

pub(super) fn find(facts: &Facts, found: &mut Vec<Finding>) {
    let first = found.len();
    nature(facts, found);
    if found.len() == first {
        names(facts, found);
        end(facts, found);
        members(facts, found);
    }
    let says = refusal(facts);
    if let (Some(says), Some(finding)) =
        (says, found.get_mut(first..).and_then(|found| found.iter_mut().find(|finding| stops(finding.defect))))
    {
        let reason = says.split_once(": ").map_or(says.as_str(), |(_, reason)| reason);
        *finding = finding
            .clone()
            .cores(&REFUSED, Some(&says))
            .supervisor(REFUSED, Some(&format!("Can't read backup tarfile …: {reason}")));
    }
}

/// What `read_backup` raises before it has seen the description.
fn refusal(facts: &Facts) -> Option<String> {
    match facts.outer.end {
        OuterEnd::Refused(text) => Some(format!("tarfile.ReadError: {text}")),
        _ if !facts.outer.members.iter().any(|member| member.name == MANIFEST) => Some(NOT_FOUND.to_owned()),
        _ => None,
    }
}

fn stops(defect: Defect) -> bool {
    matches!(
        defect,
        Defect::EmptyFile
            | Defect::ZerosOnly
            | Defect::ErrorPage
            | Defect::WrapperPacked
            | Defect::NotWrapped
            | Defect::NotHomeAssistant
            | Defect::OuterTruncated
            | Defect::OuterDamaged
            | Defect::ManifestMissing
            | Defect::ManifestName
    )
}

fn nature(facts: &Facts, found: &mut Vec<Finding>) {
    let finding = match &facts.nature {
        Nature::Tar => return,
        Nature::Empty => Finding::new(
            Defect::EmptyFile,
            "the file is empty",
            "an upload or download failed and reported success",
            "fetch it again; nothing of a backup is left in it",
        ),
        Nature::Zeros => Finding::new(
            Defect::ZerosOnly,
            "the file holds nothing but zeros",
            "a download reserved its room and never filled it, or a disk lost what was written last",
            "fetch it again; nothing of a backup is left in it",
        ),
        Nature::Packed(with) => Finding::new(
            Defect::WrapperPacked,
            format!("the whole backup is packed with {with}"),
            "it was packed for sending, or by a browser or storage that does so by itself; the outer archive must be a \
             plain tar",
            "unpack it once, or let `haul repair` do so",
        ),
        Nature::Piece(what) => Finding::new(
            Defect::NotWrapped,
            format!("this is {what}, and no backup around it"),
            "it was packed by hand or taken out of a backup; readers want a tar with backup.json beside the packed \
             configuration",
            if what.contains("tar") {
                "`haul repair` makes a backup of it"
            } else {
                "make a tar of the configuration that it belongs to; `haul repair` makes a backup of that"
            },
        ),
        Nature::Answer(kind, text) => Finding::new(
            Defect::ErrorPage,
            if text.is_empty() {
                format!("this is {kind}, saved as a backup")
            } else {
                format!("this is {kind}, saved as a backup: {}", shown(text))
            },
            "the server answered the download with an error or a page to log in, and it was saved in the backup's \
             place",
            "fetch it again, logged in",
        ),
        Nature::Other(what) => Finding::new(
            Defect::NotHomeAssistant,
            format!("this is {what}, not a backup of Home Assistant"),
            "another program made it",
            "unpack it with the program that made it, then make a backup of the configuration in it",
        ),
    };
    found.push(finding);
}

fn names(facts: &Facts, found: &mut Vec<Finding>) {
    let members = &facts.outer.members;
    let count = members.iter().filter(|member| member.name == MANIFEST).count();
    if count > 1 {
        found.push(
            Finding::new(
                Defect::ManifestTwice,
                format!("there are {count} members of this name, and the last one counts"),
                "the archive was added to instead of written anew",
                REPACK,
            )
            .at(MANIFEST),
        );
    }
    let cut = matches!(facts.outer.end, OuterEnd::Refused(_));
    if count > 0 || cut {
        return;
    }
    let near = members.iter().find(|member| member.plain_name().rsplit('/').next() == Some("backup.json"));
    let finding = if let Some(near) = near {
        Finding::new(
            Defect::ManifestName,
            format!("the description is called '{}', and readers look for './backup.json'", shown(&near.name)),
            "it was packed anew by hand, for example with `tar cf backup.tar *`; readers compare the whole name",
            REPACK,
        )
        .at(&near.name)
    } else if let Some(old) = members.iter().find(|member| member.plain_name() == "snapshot.json") {
        Finding::new(
            Defect::OldSnapshot,
            "this is a snapshot of before 2021, described by snapshot.json",
            "Hass.io called its backups so; Core never read them, Supervisor still does",
            "`haul repair` writes it as a backup of today",
        )
        .at(&old.name)
        .cores(&REFUSED, Some(NOT_FOUND))
    } else {
        Finding::new(
            Defect::ManifestMissing,
            "there is no backup.json",
            "the archive is none of Home Assistant's, or it lost the member: readers take only what it describes",
            "`haul repair` writes one, by what is in the archive",
        )
    };
    found.push(finding);
}

fn end(facts: &Facts, found: &mut Vec<Finding>) {
    let last = facts.outer.members.last().map(|member| member.name.clone()).unwrap_or_default();
    match facts.outer.end {
        OuterEnd::Refused("unexpected end of data") => {
            let oversized = facts.outer.members.last().is_some_and(|member| member.size > facts.length);
            let why = if oversized {
                "its size does not fit into the header's field, or the file broke off on its way"
            } else {
                BROKE_OFF
            };
            found.push(
                Finding::new(Defect::OuterTruncated, "the file ends within this member", why, DOWNLOAD_AGAIN).at(last),
            );
        }
        OuterEnd::Refused("truncated header" | "empty header" | "empty file") => {
            found.push(Finding::new(
                Defect::OuterTruncated,
                "the file ends within a header",
                BROKE_OFF,
                DOWNLOAD_AGAIN,
            ));
        }
        OuterEnd::Refused(text) => found.push(Finding::new(
            Defect::OuterDamaged,
            format!("a header of the outer archive is damaged ({text})"),
            "a bad disk or memory card, or the bytes of something else in its place",
            DOWNLOAD_AGAIN,
        )),
        OuterEnd::Silent(text) => {
            let effect = Effect::Unnoticed("what stands behind that member is not there for it".to_owned());
            found.push(
                Finding::new(
                    Defect::OuterDamaged,
                    format!("behind this member no header follows ({text}); its size may be wrong"),
                    "a wrong size, a damaged header or a broken-off copy; readers take it for the end",
                    DOWNLOAD_AGAIN,
                )
                .at(last)
                .all(&effect, None),
            );
        }
        OuterEnd::Unmarked => {
            found.push(Finding::new(
                Defect::OuterEnd,
                "the archive has no end mark; something behind its last member may be missing",
                BROKE_OFF,
                ANEW,
            ));
        }
        OuterEnd::Clean if facts.outer.short => {
            found.push(Finding::new(Defect::OuterEnd, "zeros at the end of the archive are missing", BROKE_OFF, ANEW));
        }
        OuterEnd::Clean => {}
    }
    if let Some(reason) = &facts.outer.index {
        let what = format!("the index is damaged ({reason}); the archive itself does not need it");
        found.push(
            Finding::new(Defect::Index, what, "a bad disk or memory card; no reader but Haul looks at it", ANEW)
                .at(INDEX),
        );
    }
    if facts.outer.trailing {
        found.push(Finding::new(
            Defect::OuterTrailing,
            "something that is no zero stands behind the end of the archive",
            "the footer of a download page, or two files joined; readers stop before it",
            REPACK,
        ));
    }
}

fn members(facts: &Facts, found: &mut Vec<Finding>) {
    let apple = |name: &str| name.rsplit('/').next().is_some_and(|base| base.starts_with("._"));
    if let Some(first) = facts.outer.members.iter().find(|member| apple(&member.name)) {
        let mut finding = Finding::new(
            Defect::AppleDouble,
            "macOS put files of its own into the archive",
            "it was packed anew with macOS' own tar (COPYFILE_DISABLE=1 keeps them out)",
            REPACK,
        )
        .at(&first.name);
        // A stream is decrypted by the first member that is called like an archive.
        if facts.outer.members.iter().any(|member| apple(&member.name) && member.name.contains(".tar")) {
            finding = finding.supervisor(Effect::Refuses(Stage::Password), Some("Invalid password for backup …"));
        }
        found.push(finding);
    }
    if let Some(first) = facts.outer.members.iter().find(|member| leaves(member.name.as_bytes())) {
        let finding = Finding::new(
            Defect::OuterEscaping,
            "its name leads out of the folder into which the archive is unpacked",
            "an archive that wants to write elsewhere; Core takes the members that it knows, Supervisor unpacks them \
             all (and passed over this one before 2026.02.3)",
            "`haul repair` leaves it out",
        );
        found.push(finding.at(&first.name).supervisor(
            Effect::Refuses(Stage::Unpack),
            Some("Can't read backup tarfile …: …, which is outside the destination"),
        ));
    }
    let copied = |member: &&super::OuterMember| {
        member.size_record && (member.name == MANIFEST || is_archive_name(member.name.as_bytes()))
    };
    if let Some(first) = facts
        .outer
        .members
        .iter()
        .find(copied)
        .filter(|_| facts.outer.members.iter().all(|member| member.sizes.is_none()))
    {
        // Each reader restores it; it is what else Home Assistant may do with it.
        found.push(
            Finding::new(
                Defect::SizeRecord,
                "Home Assistant destroys this archive if it changes its encryption: in a download with the password, \
                 or on the way to a place with another setting",
                "a second header says the size of this member, and Home Assistant keeps that when it writes the member \
                 with another size; it does so without an error",
                "`haul repair` writes it anew without that header",
            )
            .at(&first.name),
        );
    }
    for member in &facts.outer.members {
        if let Some((block, pax)) = member.sizes {
            found.push(
                Finding::new(
                    Defect::OuterSizes,
                    format!(
                        "its two headers disagree on its size: {block} and {pax} bytes, of which readers take the \
                        second"
                    ),
                    "Home Assistant changed the encryption of an archive that said its sizes twice, or the member is \
                     over 8 GiB and its writer had no room for that in the first header",
                    "`haul repair` tells the right one by what follows, and writes it once",
                )
                .at(&member.name),
            );
        }
    }
}
