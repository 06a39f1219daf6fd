//! Azure's containers, and Google's buckets as far as they speak like S3.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod object_common;

use object_common::{Setup, broken, connect, put_all, small_parts};
use store::{Checked, Completed, Expected, Kind};
use testkit::{
    azure::{ACCESS_KEY, ACCOUNT, Azure},
    s3::S3Server,
};

fn azure() -> (Azure, Setup) {
    let server = Azure::start(&["backups"]).unwrap();
    let setup = Setup::empty()
        .with("endpoint", &server.url())
        .with("account", ACCOUNT)
        .with_variable("AZURE_STORAGE_KEY", ACCESS_KEY);
    (server, setup)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_azure_container_keeps_the_contract() {
    let (server, setup) = azure();
    let store = connect(&setup, "azblob://backups/home").await.unwrap();
    assert_eq!(broken(&*store).await, Vec::<String>::new());
    assert_eq!(server.blobs("backups"), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_access_signature_is_enough() {
    let (server, setup) = azure();
    let file =
        setup.file("sas", "?sv=2023-11-03&ss=b&srt=sco&sp=rwdlac&se=2030-01-01T00%3A00%3A00Z&sig=abc%2Bdef%3D\n");
    let setup = Setup::empty().with("endpoint", &server.url()).with("account", ACCOUNT).with("sas_token_file", &file);
    let store = connect(&setup, "azblob://backups").await.unwrap();
    let (parts, bytes) = small_parts(2, 100_000);
    let upload = store.create("sas.tar", Expected::default()).await.unwrap();
    put_all(&*upload, &parts).await;
    let checked = upload.commit(&Completed { length: bytes.len() as u64, parts: 2, md5: None }).await.unwrap();
    assert_eq!(checked, Checked::PartChecksums);
    assert_eq!(server.blobs("backups"), ["sas.tar"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_the_service_forgot_are_lost() {
    let (server, setup) = azure();
    let store = connect(&setup, "azblob://backups").await.unwrap();
    let (parts, bytes) = small_parts(2, 100_000);
    let upload = store.create("old.tar", Expected { resumable: true, ..Expected::default() }).await.unwrap();
    put_all(&*upload, &parts).await;
    server.forget_blocks();
    assert!(store.resume(&upload.session().unwrap()).await.unwrap().is_none());
    let error = upload.commit(&Completed { length: bytes.len() as u64, parts: 2, md5: None }).await.unwrap_err();
    assert_eq!(error.kind(), Some(Kind::Lost), "{error}");
    upload.abort().await.unwrap();
    assert_eq!(server.blobs("backups"), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn azure_tells_missing_containers_and_keys_apart() {
    let (_server, setup) = azure();
    let error = connect(&setup, "azblob://elsewhere").await.err().unwrap();
    assert_eq!(error.kind(), Some(Kind::NotFound), "{error}");
    let error =
        connect(&setup.with_variable("AZURE_STORAGE_KEY", "not base64!"), "azblob://backups").await.err().unwrap();
    assert_eq!(error.kind(), Some(Kind::Credentials), "{error}");
    let error = connect(&setup.with("account", "somebodyelse"), "azblob://backups").await.err().unwrap();
    assert_eq!(error.kind(), Some(Kind::Credentials), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_google_bucket_keeps_the_contract_where_it_speaks_like_s3() {
    let server = S3Server::start_as_google(&["backups"]).unwrap();
    let file = Setup::empty();
    let key = file.file("key.json", r#"{"private_key":"","private_key_id":"","client_email":"","disable_oauth":true}"#);
    let store = connect(&file.with("endpoint", &server.url()).with("credentials_file", &key), "gs://backups/home")
        .await
        .unwrap();
    let broken = broken(&*store).await;
    assert_eq!(broken, Vec::<String>::new());
    assert_eq!((server.unfinished(), server.keys("backups")), (0, Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn google_without_credentials_says_what_to_do() {
    let error = connect(&Setup::empty(), "gs://backups").await.err().unwrap();
    assert_eq!(error.to_string(), "could not connect to gs://backups: no Google credentials were found");
    assert_eq!(error.kind(), Some(Kind::Credentials));
}
