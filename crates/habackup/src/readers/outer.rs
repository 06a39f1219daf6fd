//! A file that is not an archive at all, or whose outer tar is not as it should be.
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
const BROKE_OFF: &str = "a download or copy was interrupted, a disk was full, or a proxy limited the upload";
const DOWNLOAD_AGAIN: &str = "fetch it again from its source; `haul repair` keeps every whole member";
const ANEW: &str = "`haul repair` rewrites it";
const REPACK: &str = "`haul repair` rewrites it with the names that readers expect";

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
            "fetch it again; this file holds nothing of the backup",
        ),
        Nature::Zeros => Finding::new(
            Defect::ZerosOnly,
            "the file holds nothing but zeros",
            "a download reserved its space and never filled it, or a disk lost the last writes",
            "fetch it again; this file holds nothing of the backup",
        ),
        Nature::Packed(with) => Finding::new(
            Defect::WrapperPacked,
            format!("the whole backup is packed with {with}"),
            "somebody packed it for sending, or a browser or storage service did; the outer archive must be a plain \
             tar",
            "unpack it once, or let `haul repair` do it",
        ),
        Nature::Piece(what) => Finding::new(
            Defect::NotWrapped,
            format!("this is {what}, without a backup around it"),
            "it was packed by hand or taken out of a backup; readers need a tar that holds backup.json beside the \
             packed configuration",
            if what.contains("tar") {
                "`haul repair` turns it into a backup"
            } else {
                "make a tar of the configuration it belongs to; `haul repair` turns that into a backup"
            },
        ),
        Nature::Answer(kind, text) => Finding::new(
            Defect::ErrorPage,
            if text.is_empty() {
                format!("this is {kind}, saved as a backup")
            } else {
                format!("this is {kind}, saved as a backup: {}", shown(text))
            },
            "the server answered the download with an error or a login page, and that was saved instead of the backup",
            "log in and fetch it again",
        ),
        Nature::Other(what) => Finding::new(
            Defect::NotHomeAssistant,
            format!("this is {what}, not a Home Assistant backup"),
            "another program made it",
            "unpack it with that program, then back up the configuration in it",
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
                format!("{count} members have this name; readers use the last one"),
                "something was appended to the archive",
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
            format!("the description is called '{}', but readers look for './backup.json'", shown(&near.name)),
            "it was repacked by hand, for example with `tar cf backup.tar *`; readers compare the whole name",
            REPACK,
        )
        .at(&near.name)
    } else if let Some(old) = members.iter().find(|member| member.plain_name() == "snapshot.json") {
        Finding::new(
            Defect::OldSnapshot,
            "this is a snapshot from before 2021, described by snapshot.json",
            "Hass.io called its backups snapshots; Core never read them, Supervisor still does",
            "`haul repair` converts it to a current backup",
        )
        .at(&old.name)
        .cores(&REFUSED, Some(NOT_FOUND))
    } else {
        Finding::new(
            Defect::ManifestMissing,
            "there is no backup.json",
            "Home Assistant did not make this archive, or it lost that member; readers restore only what backup.json \
             describes",
            "`haul repair` writes one that fits the archive's contents",
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
                "its size does not fit into the header field, or a copy of the file was cut short"
            } else {
                BROKE_OFF
            };
            found.push(
                Finding::new(Defect::OuterTruncated, "the file ends inside this member", why, DOWNLOAD_AGAIN).at(last),
            );
        }
        OuterEnd::Refused("truncated header" | "empty header" | "empty file") => {
            found.push(Finding::new(
                Defect::OuterTruncated,
                "the file ends inside a header",
                BROKE_OFF,
                DOWNLOAD_AGAIN,
            ));
        }
        OuterEnd::Refused(text) => found.push(Finding::new(
            Defect::OuterDamaged,
            format!("a header of the outer archive is damaged ({text})"),
            "a bad disk or memory card, or other data was written there",
            DOWNLOAD_AGAIN,
        )),
        OuterEnd::Silent(text) => {
            let effect = Effect::Unnoticed("it sees nothing after that member".to_owned());
            found.push(
                Finding::new(
                    Defect::OuterDamaged,
                    format!("no valid header follows this member ({text}); its size may be wrong"),
                    "a wrong size, a damaged header or an interrupted copy; readers take this for the end",
                    DOWNLOAD_AGAIN,
                )
                .at(last)
                .all(&effect, None),
            );
        }
        OuterEnd::Unmarked => {
            found.push(Finding::new(
                Defect::OuterEnd,
                "the archive has no end marker; members after its last one may be missing",
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
        let what = format!("Haul's index is damaged ({reason}); the archive itself does not need it");
        found.push(
            Finding::new(Defect::Index, what, "a bad disk or memory card; only Haul reads the index", ANEW).at(INDEX),
        );
    }
    if facts.outer.trailing {
        found.push(Finding::new(
            Defect::OuterTrailing,
            "data follows the end of the archive",
            "the footer of a download page, or two joined files; readers stop before it",
            REPACK,
        ));
    }
}

fn members(facts: &Facts, found: &mut Vec<Finding>) {
    let apple = |name: &str| name.rsplit('/').next().is_some_and(|base| base.starts_with("._"));
    if let Some(first) = facts.outer.members.iter().find(|member| apple(&member.name)) {
        let mut finding = Finding::new(
            Defect::AppleDouble,
            "macOS added files of its own to the archive",
            "it was repacked with the tar of macOS (COPYFILE_DISABLE=1 keeps them out)",
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
            "its name points outside the folder where the archive is unpacked",
            "the archive tries to write elsewhere; Core unpacks only the members it knows, Supervisor unpacks all \
             (before 2026.02.3 it skipped this one)",
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
                "Home Assistant destroys this archive if it changes its encryption: when it decrypts a download, or \
                 copies the archive to a location with another setting",
                "a second header states the size of this member; when Home Assistant writes the member with another \
                 size, it keeps that header and reports no error",
                "`haul repair` rewrites it without that header",
            )
            .at(&first.name),
        );
    }
    for member in &facts.outer.members {
        if let Some((block, pax)) = member.sizes {
            found.push(
                Finding::new(
                    Defect::OuterSizes,
                    format!("its two headers give different sizes: {block} and {pax} bytes; readers use the second"),
                    "Home Assistant changed the encryption of an archive that states its sizes twice, or the member is \
                     over 8 GiB, which did not fit into the first header",
                    "`haul repair` finds the right size by what follows the member, and writes it once",
                )
                .at(&member.name),
            );
        }
    }
}
