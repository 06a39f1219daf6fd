//! What a backup's page and the emergency kit say before somebody restores.

use http::StatusCode;
use keeper::status::Failure;
use web::{Trust, backend::Storage};

use crate::{
    FORM, Site,
    fake::{parts::Known, state::State},
    request,
};

fn failure() -> Failure {
    Failure { message: "nas does not answer".to_owned(), hint: Some("try again later".to_owned()), passes: true }
}

#[tokio::test]
async fn a_backup_says_what_is_in_it_as_soon_as_that_is_known() {
    let site = Site::new(State::good());
    let page = format!("/backups/{}", site.archive(0).id);
    let got = site.get(&page).await.text;
    for part in ["Version 2026.11.0", "App core_ssh, version 9.17.0", "1.2 MB", "<em>missing</em>", "Local apps"] {
        assert!(got.contains(part), "{part}: {got}");
    }
    *site.service.inside.lock().unwrap() = Known::NotYet;
    let got = site.get(&page).await;
    assert!(got.status == StatusCode::OK && got.text.contains("Haul is reading this"), "{}", got.text);
    *site.service.inside.lock().unwrap() = Known::Failed(failure());
    let got = site.get(&page).await;
    assert!(got.status == StatusCode::OK && got.text.contains("nas does not answer."), "{}", got.text);
}

#[tokio::test]
async fn network_storage_is_named_with_its_server_where_home_assistant_knows_it() {
    let site = Site::new(State::good());
    site.service.change(|state| state.status.destinations[0].address = "/share/nas/everything".to_owned());
    let page = site.send(request("GET", "/settings", &[], ""), Trust::Ingress).await;
    let csrf = format!("csrf={}", page.hidden("csrf"));
    let kit = async || {
        let asked = request("POST", "/settings/kit", &[("content-type", FORM)], &csrf);
        let kit = site.send(asked, Trust::Ingress).await.text;
        (kit, site.send(request("GET", "/recovery", &[], ""), Trust::Ingress).await.text)
    };
    let (said, page) = kit().await;
    assert!(
        !said.contains("is network storage") && !page.contains("is network storage"),
        "it is a folder like others: {said}"
    );
    let behind = "the Windows share backups of 192.168.1.9";
    let storage = |folder: &str| Storage { folder: folder.to_owned(), behind: behind.to_owned() };
    *site.service.storages.lock().unwrap() = Ok(vec![storage("/share/na"), storage("/media/nas")]);
    assert!(!kit().await.0.contains(behind), "that is another one");
    *site.service.storages.lock().unwrap() = Ok(vec![storage("/share/nas")]);
    let (said, page) = kit().await;
    let line = format!("/share/nas is network storage: {behind}.");
    assert!(said.contains(&line) && page.contains(&line), "{said}\n{page}");
    *site.service.storages.lock().unwrap() = Err(failure());
    let (said, page) = kit().await;
    assert!(said.contains("Write them down here") && page.contains("Write them down here"), "{said}\n{page}");
}
