//! Signing in, tokens, and what is never shown.

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use store::{
    Kind, Options,
    gdrive::{
        self, Settings,
        auth::{Answer, SignIn, TokenFile},
    },
};
use testkit::drive::{CLIENT_ID, CLIENT_SECRET, Call, Fault};

use crate::{PART, Rig, archive, begin, completed, options, parts};

impl Rig {
    fn settings(&self, more: &[(&str, &str)]) -> Settings {
        Settings::new("Google Drive", &options(self.drive.address(), more), &self.context).unwrap()
    }

    fn secret_file(&self, secret: &str) -> String {
        let path = self.context.state.with_extension("secret");
        fs::write(&path, format!("{secret}\n")).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn own_client(&self) -> Settings {
        self.settings(&[("client_id", CLIENT_ID), ("client_secret_file", &self.secret_file(CLIENT_SECRET))])
    }
}

/// Longer than the fake wants between two questions.
async fn politely() {
    tokio::time::sleep(Duration::from_millis(1050)).await;
}

const AGAIN: &str = "sign in again on Haul's page, under Settings > Locations, or with `haul auth gdrive`";

#[tokio::test]
async fn a_device_is_signed_in_and_needs_nothing_again() {
    let rig = Rig::signed_out();
    let settings = rig.own_client();
    let sign_in = SignIn::new(&settings, &rig.context).unwrap();
    let code = sign_in.start().await.unwrap();
    assert_eq!(code.verification_url, "https://www.google.com/device");
    assert!(matches!(sign_in.poll(&code).await.unwrap(), Answer::SlowDown));
    politely().await;
    assert!(matches!(sign_in.poll(&code).await.unwrap(), Answer::Pending));
    rig.drive.approve(&code.user_code);
    let grant = sign_in.wait(&code).await.unwrap();
    let file = TokenFile::new(&settings.token_file);
    file.save(&grant).unwrap();
    file.save(&grant).unwrap();
    assert_eq!(fs::metadata(&settings.token_file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(&rig.context.state).unwrap().count(), 1);

    let account = gdrive::account(&rig.settings(&[]), &rig.context).await.unwrap();
    assert_eq!((account.name.as_deref(), account.free), (Some("tester@example.org"), Some(15 << 30)));
    let written = fs::metadata(&settings.token_file).unwrap().modified().unwrap();
    rig.send(rig.place().await.as_ref(), "a.tar", &archive(9)).await.unwrap();
    assert_eq!(fs::metadata(&settings.token_file).unwrap().modified().unwrap(), written);

    // Signing in again needs no client either.
    SignIn::new(&rig.settings(&[]), &rig.context).unwrap().start().await.unwrap();
    gdrive::auth::revoke(&settings, &rig.context, &file.load().unwrap().unwrap()).await.unwrap();
    assert_eq!((file.remove().unwrap(), file.remove().unwrap()), (true, false));
    assert_eq!(rig.connect("gdrive://").await.err().unwrap().kind(), Some(Kind::Credentials));
}

#[tokio::test]
async fn a_refusal_a_dead_code_and_ctrl_c_end_the_waiting() {
    let rig = Rig::signed_out();
    let sign_in = SignIn::new(&rig.own_client(), &rig.context).unwrap();
    let code = sign_in.start().await.unwrap();
    rig.drive.deny(&code.user_code);
    assert_eq!(sign_in.wait(&code).await.unwrap_err().kind(), Some(Kind::Permission));
    let code = sign_in.start().await.unwrap();
    rig.drive.expire_codes();
    let error = sign_in.wait(&code).await.unwrap_err();
    assert_eq!(error.to_string(), "could not connect to Google Drive: nobody typed the code in time");
    let mut code = sign_in.start().await.unwrap();
    // Stopped while nothing else would come for an hour.
    code.interval = Duration::from_hours(1);
    let (waited, ()) = tokio::join!(sign_in.wait(&code), async { rig.cancel() });
    assert!(matches!(waited, Err(store::StoreError::Cancelled)));
}

#[tokio::test]
async fn waiting_survives_an_overloaded_server() {
    let rig = Rig::signed_out();
    let sign_in = SignIn::new(&rig.own_client(), &rig.context).unwrap();
    let code = sign_in.start().await.unwrap();
    rig.drive.approve(&code.user_code);
    rig.drive.script(Call::Token, [Fault::status(503)]);
    sign_in.wait(&code).await.unwrap();
}

#[tokio::test]
async fn who_has_no_client_learns_how_to_make_one() {
    let rig = Rig::signed_out();
    let error = SignIn::new(&rig.settings(&[]), &rig.context).err().unwrap();
    let store::StoreError::Remote(error) = error else { panic!() };
    assert!(error.advice.unwrap().contains("console.cloud.google.com"));
    let store::StoreError::Remote(error) = rig.connect("gdrive://").await.err().unwrap() else { panic!() };
    assert_eq!(error.kind, Kind::Credentials);
    assert!(error.advice.unwrap().starts_with("sign in on Haul's page"));
}

#[tokio::test]
async fn a_wrong_client_is_reported_at_once() {
    let rig = Rig::signed_out();
    let wrong = rig.settings(&[("client_id", "nobody"), ("client_secret_file", &rig.secret_file(CLIENT_SECRET))]);
    let error = SignIn::new(&wrong, &rig.context).unwrap().start().await.unwrap_err();
    assert_eq!(error.kind(), Some(Kind::Credentials));
    let wrong = rig.settings(&[("client_id", CLIENT_ID), ("client_secret_file", &rig.secret_file("not it"))]);
    let sign_in = SignIn::new(&wrong, &rig.context).unwrap();
    let code = sign_in.start().await.unwrap();
    let error = sign_in.wait(&code).await.unwrap_err();
    assert_eq!(error.kind(), Some(Kind::Credentials));
    rig.keeps_its_secrets(&error);
}

#[tokio::test]
async fn a_token_that_expires_on_the_way_is_replaced_once() {
    let rig = Rig::new();
    let place = rig.place().await;
    let bytes = archive(4 * PART);
    let upload = begin(place.as_ref(), "a.tar").await;
    rig.drive.script(Call::Chunk, [Fault::Expire]);
    for part in parts(&bytes, 2 * PART) {
        upload.put(&part).await.unwrap();
        rig.drive.expire_tokens();
    }
    upload.commit(&completed(&bytes)).await.unwrap();

    // A fresh one that is refused as well may be taken a little later; not for ever.
    rig.drive.script(Call::Get, (0..8).map(|_| Fault::Expire));
    for _ in 0..3 {
        assert!(place.list().await.unwrap_err().is_transient());
    }
    let error = place.list().await.unwrap_err();
    assert_eq!(error.kind(), Some(Kind::Credentials));
    rig.keeps_its_secrets(&error);
    rig.is_clean();
}

#[tokio::test]
async fn a_token_about_to_expire_is_replaced_beforehand() {
    let rig = Rig::new();
    rig.drive.set_token_life(Duration::from_secs(30));
    let place = rig.place().await;
    rig.send(place.as_ref(), "a.tar", &archive(9)).await.unwrap();
    assert!(rig.drive.requests().iter().all(|seen| seen.status != 401));
    assert!(rig.drive.count(Call::Token) > 3);
}

#[tokio::test]
async fn a_sign_in_that_was_taken_back_stops_at_once() {
    let rig = Rig::new();
    let place = rig.place().await;
    rig.drive.revoke();
    let store::StoreError::Remote(error) = place.list().await.unwrap_err() else { panic!() };
    assert_eq!(error.kind, Kind::Credentials);
    assert_eq!(error.to_string(), "could not list gdrive://Backups: the sign-in has expired or was revoked");
    assert_eq!(error.advice.unwrap(), AGAIN);
}

#[tokio::test]
async fn tokens_are_only_sent_encrypted_or_to_this_machine() {
    let rig = Rig::new();
    for address in ["http://drive.example.org/v3", "http://192.0.2.7/", "ftp://localhost/", "nonsense"] {
        let options = Options::new([("api_url".to_owned(), address.to_owned())].into());
        assert_eq!(
            Settings::new("there", &options, &rig.context).unwrap_err().kind(),
            Some(Kind::Invalid),
            "{address}"
        );
    }
}

#[tokio::test]
async fn no_error_shows_a_secret() {
    let rig = Rig::new();
    let place = rig.place().await;
    let bytes = archive(2 * PART);
    for fault in [
        Fault::status(400),
        Fault::status(500),
        Fault::forbidden("accessNotConfigured"),
        Fault::Cut(5),
        Fault::Vanish(404),
    ] {
        let upload = begin(place.as_ref(), "a.tar").await;
        rig.drive.script(Call::Chunk, [fault]);
        rig.keeps_its_secrets(&upload.put(&parts(&bytes, PART)[0]).await.unwrap_err());
        assert_eq!(rig.drive.faults_left(), 0);
        upload.abort().await.unwrap();
        // The fake's answer to this names the session.
        rig.keeps_its_secrets(&upload.put(&parts(&bytes, PART)[0]).await.unwrap_err());
    }
    rig.is_clean();
}

#[tokio::test]
async fn a_sign_in_that_ends_within_a_week_is_reported_to_be_one_of_a_project_in_testing() {
    for (days, says) in [(7, "publish it"), (30, "sign in again")] {
        let rig = Rig::new();
        let place = rig.place().await;
        let file = TokenFile::new(&rig.context.state.join("gdrive-token.json"));
        let mut grant = file.load().unwrap().unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        grant.signed_in = Some(now - days * 86_400);
        file.save(&grant).unwrap();
        drop(place);
        rig.drive.revoke();
        let store::StoreError::Remote(error) = rig.connect("gdrive://Backups").await.err().unwrap() else { panic!() };
        assert_eq!(error.kind, Kind::Credentials);
        let advice = error.advice.unwrap();
        assert!(advice.contains(says) && advice.ends_with(AGAIN), "{advice}");
        assert_eq!(advice.contains("testing"), days < 8);
    }
}
