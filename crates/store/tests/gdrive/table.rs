//! Each call of an upload is refused, is cut, is carried out without an answer or is never answered, once and twice in
//! a row.

use testkit::drive::{Call, Fault};

use crate::{PART, Rig, archive};

/// Whatever happens, the archive is there whole and once, or not at all; what was there before stays; and there is one
/// folder.
#[tokio::test]
async fn whatever_goes_wrong_an_archive_is_there_whole_or_not_at_all() {
    let bytes = archive(3 * PART + 1);
    let faults = [
        Fault::status(500),
        Fault::Status { status: 404, reason: "notFound", retry_after: None },
        Fault::forbidden("insufficientFilePermissions"),
        Fault::forbidden("backendError"),
        Fault::Cut(100),
        Fault::Unanswered,
        Fault::Silent,
        Fault::Incomplete,
    ];
    let calls = [
        Call::Token,
        Call::About,
        Call::List,
        Call::Get,
        Call::Make,
        Call::Update,
        Call::Start,
        Call::Chunk,
        Call::Status,
    ];
    for call in calls {
        for fault in &faults {
            for times in 1..=2 {
                // Google has no such reasons for tokens, and only searches look somewhere.
                let is_idle = matches!(fault, Fault::Incomplete) && call != Call::List;
                if is_idle || call == Call::Token && matches!(fault, Fault::Status { status: 403, .. }) {
                    continue;
                }
                let case = format!("{call:?} {fault:?} {times}");
                let rig = Rig::new();
                let place = rig.place().await;
                if call != Call::Make {
                    rig.send(place.as_ref(), "before.tar", &archive(9)).await.unwrap();
                }
                rig.drive.expire_tokens();
                rig.drive.script(call, std::iter::repeat_n(fault.clone(), times));
                if call == Call::Status {
                    rig.drive.script(Call::Chunk, [Fault::Cut(1000)]);
                }
                let ended = rig.send(place.as_ref(), "a.tar", &bytes).await;
                let mut files = rig.drive.files();
                files.retain(|file| file.name == "a.tar");
                match &ended {
                    Ok(_) => assert_eq!(rig.drive.content(&files[0].id).unwrap(), bytes, "{case}"),
                    Err(error) => rig.keeps_its_secrets(error),
                }
                assert!(files.len() == usize::from(ended.is_ok()), "{case}: {:?}", rig.archives());
                assert!(call == Call::Make || rig.archives().contains(&"before.tar".to_owned()), "{case}");
                assert!(rig.folders() <= 1, "{case}");
                // What may pass has passed.
                let passes = !matches!(
                    fault,
                    Fault::Status { status: 403 | 404, reason: "notFound" | "insufficientFilePermissions", .. }
                );
                assert!(ended.is_ok() || !passes, "{case}: {:?}", ended.err());
            }
        }
    }
}
