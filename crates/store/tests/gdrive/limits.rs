//! What Google refuses and why, what to do about it, and what must not be lost over it.

use std::{fs, sync::Arc};

use store::{
    Bridge, Checked, Kind, StoreError,
    outbound::{Network, Original, PushOptions, UploadMeter, push},
};
use testkit::drive::{Call, Fault, Ways};

use crate::{PART, Rig, archive, begin, completed, parts};

fn advice(error: &StoreError) -> String {
    let StoreError::Remote(error) = error else { panic!("{error}") };
    error.advice.clone().unwrap_or_default()
}

#[tokio::test]
async fn every_limit_is_distinguished_with_advice_that_helps() {
    let rig = Rig::new();
    let place = rig.place().await;
    let (passing, full) = (Kind::Transient { retry_after: None }, Kind::Full { missing: None });
    let cases = [
        ("rateLimitExceeded", passing, ""),
        ("userRateLimitExceeded", passing, ""),
        ("backendError", passing, ""),
        ("internalError", passing, ""),
        ("storageQuotaExceeded", full, "free some space in the account"),
        ("teamDriveFileLimitExceeded", full, "their number counts"),
        ("numChildrenInNonRootLimitExceeded", full, "another folder"),
        ("activeItemCreationLimitExceeded", full, "empty its trash"),
        ("uploadLimitExceeded", Kind::DailyLimit, "tomorrow"),
        ("dailyLimitExceeded", Kind::DailyLimit, "tomorrow"),
        ("downloadQuotaExceeded", Kind::DailyLimit, "tomorrow"),
        ("domainPolicy", Kind::Permission, "administrator"),
        ("accessNotConfigured", Kind::Permission, "enable the Google Drive API"),
    ];
    let bytes = archive(2 * PART);
    for (reason, kind, helps) in cases {
        let upload = begin(place.as_ref(), "a.tar").await;
        rig.drive.script(Call::Chunk, [Fault::forbidden(reason)]);
        let error = upload.put(&parts(&bytes, PART)[0]).await.unwrap_err();
        assert_eq!(error.kind(), Some(kind), "{reason}");
        assert!(advice(&error).contains(helps), "{reason}: {}", advice(&error));
        upload.abort().await.unwrap();
    }
    rig.is_clean();
}

#[test]
fn a_sign_in_that_ends_and_a_limit_of_the_day_keep_what_arrived() {
    for revoked in [true, false] {
        let rig = Rig::new();
        let bridge = Bridge::start().unwrap();
        let place = bridge.wait(rig.place());
        let bytes = archive(64 * PART);
        let file = rig.context.state.with_extension("tar");
        fs::write(&file, &bytes).unwrap();
        let send = || {
            let network = Network { bridge: &bridge, context: &rig.context };
            push(
                &PushOptions { archive: Original::File(&file), name: "a.tar", read_back: false },
                &(place.clone() as _),
                &network,
                &Arc::new(UploadMeter::new("there".to_owned())),
            )
        };
        // The second part meets it.
        if revoked {
            rig.drive.script(Call::Chunk, [Fault::KeepExactly(u64::MAX), Fault::Revoke]);
        } else {
            rig.drive.script(Call::Chunk, [Fault::KeepExactly(u64::MAX), Fault::forbidden("dailyLimitExceeded")]);
        }
        let error = send().unwrap_err();
        assert_eq!(error.kind(), Some(if revoked { Kind::Credentials } else { Kind::DailyLimit }), "{error}");
        assert!(error.may_continue_later());
        let before = rig.drive.received();
        assert!(before > 0 && rig.drive.open_sessions() == 1);
        // Somebody signs in again, or it is tomorrow: the same command goes on.
        if revoked {
            assert!(send().unwrap_err().may_continue_later());
            rig.sign_in_again();
        }
        let place = bridge.wait(rig.place());
        let network = Network { bridge: &bridge, context: &rig.context };
        let meter = Arc::new(UploadMeter::new("there".to_owned()));
        push(
            &PushOptions { archive: Original::File(&file), name: "a.tar", read_back: false },
            &(place.clone() as _),
            &network,
            &meter,
        )
        .unwrap();
        assert_eq!(rig.archives(), ["a.tar"]);
        assert!(rig.drive.received() <= bytes.len() as u64 + (8 << 20), "it began anew");
        rig.is_clean();
    }
}

#[tokio::test]
async fn an_archive_that_google_flags_is_read_and_that_is_reported() {
    let rig = Rig::new();
    let place = rig.place().await;
    let bytes = archive(PART);
    rig.send(place.as_ref(), "a.tar", &bytes).await.unwrap();
    rig.drive.behave(Ways { abusive: true, ..Ways::default() });
    for range in [0..10, 5..PART as u64] {
        assert_eq!(
            place.read("a.tar", range.clone()).await.unwrap(),
            bytes.slice(range.start as usize..range.end as usize)
        );
    }
    assert!(place.notes().iter().any(|note| note.contains("flags")), "{:?}", place.notes());
    // Only its owner may take the risk.
    rig.drive.script(Call::Download, [Fault::forbidden("cannotDownloadAbusiveFile")]);
    let error = place.read("a.tar", 0..1).await.unwrap_err();
    assert_eq!(error.kind(), Some(Kind::Permission));
    assert!(advice(&error).contains("owner"));
}

#[tokio::test]
async fn a_limit_of_0_is_none() {
    let rig = Rig::new();
    rig.drive.behave(Ways { limit_zero: true, ..Ways::default() });
    let place = rig.place().await;
    assert_eq!(place.space().await.unwrap(), None);
    rig.send(place.as_ref(), "a.tar", &archive(PART)).await.unwrap();
}

#[tokio::test]
async fn in_a_shared_drive_the_accounts_own_space_does_not_count_and_what_is_removed_goes_to_the_trash() {
    let rig = Rig::new();
    rig.send(rig.place().await.as_ref(), "a.tar", &archive(PART)).await.unwrap();
    rig.drive.behave(Ways { shared: true, ..Ways::default() });
    let place = rig.place().await;
    assert_eq!(place.space().await.unwrap(), None);
    rig.drive.set_quota(Some(10), 10);
    let refused = place.create("b.tar", store::Expected::exactly(5)).await.err();
    assert_eq!(
        refused.and_then(|error| error.kind()),
        Some(Kind::Full { missing: None }),
        "what the drive itself says counts"
    );
    assert_eq!(rig.drive.count(Call::About), 0, "nobody asks for room that does not count");
    place.delete("a.tar").await.unwrap();
    assert!(rig.drive.files().into_iter().find(|file| file.name == "a.tar").unwrap().trashed);
    assert!(place.list().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_kept_count_may_be_odd_and_lack_its_unit() {
    let rig = Rig::new();
    rig.drive.behave(Ways { bare_range: true, ..Ways::default() });
    let place = rig.place().await;
    let bytes = archive(6 * PART + 77);
    for (keeps, size) in [(vec![43], 2), (vec![PART as u64 + 43, 7], 2), (vec![43, 43, 43], 1), (vec![0, 1], 4)] {
        let upload = begin(place.as_ref(), "a.tar").await;
        rig.drive.script(Call::Chunk, keeps.into_iter().map(Fault::KeepExactly));
        for part in parts(&bytes, size * PART) {
            while let Err(error) = upload.put(&part).await {
                assert!(error.is_transient(), "{error}");
            }
        }
        assert_eq!(upload.commit(&completed(&bytes)).await.unwrap(), Checked::Checksum);
        place.delete("a.tar").await.unwrap();
    }
    rig.is_clean();
}

#[tokio::test]
async fn a_file_whose_session_is_forgotten_and_that_is_not_listed_yet_is_waited_for() {
    let rig = Rig::new();
    let place = rig.place().await;
    let bytes = archive(2 * PART);
    let upload = begin(place.as_ref(), "a.tar").await;
    rig.drive.script(Call::Chunk, [Fault::Unanswered]);
    let part = &parts(&bytes, 2 * PART)[0];
    assert!(upload.put(part).await.unwrap_err().is_transient());
    rig.drive.forget_sessions();
    rig.drive.script(Call::List, [Fault::Empty]);
    assert!(upload.put(part).await.unwrap_err().is_transient());
    upload.put(part).await.unwrap();
    assert_eq!(upload.commit(&completed(&bytes)).await.unwrap(), Checked::Checksum);
    assert_eq!(rig.drive.received(), bytes.len() as u64);
    rig.is_clean();
}
