//! Services over TLS: the token goes to nobody who does not prove who they are.

use std::path::PathBuf;
use std::sync::Arc;

use libtest_mimic::Trial;

use super::Stage;
use crate::harness::trial;
use crate::instance::{Instance, Server, job_token};
use crate::registry::Transport;

pub(super) fn trials() -> Vec<Trial> {
    vec![trial("keyless_sign::services_prove_who_they_are", proven)]
}

async fn proven() {
    let mut stage = Stage::set().await;
    let instance = Arc::new(Instance::new());
    stage.files = instance.write(&stage.place.path(""));
    stage.server = Server::over(instance, Transport::Tls).await;
    stage
        .place
        .write("ca.pem", stage.server.registry().certificate());
    let (_, image) = stage.image("app").await;
    stage.registry.clear_log();
    // What is said of registries is said of registries.
    for more in ["", "--tls-verify=false"] {
        let ended = stage.sign(&format!("{more} {image}")).await.failed();
        ended.saying(&["Fulcio", "authority that is not trusted here"]);
    }
    assert!(
        stage.server.registry().log().is_empty(),
        "no token was sent"
    );
    stage.nothing_was_pushed();
    let words = format!("sign {} -y --ca-file ca.pem {image}", stage.services());
    let token = [("SIGSTORE_ID_TOKEN", PathBuf::from(job_token()))];
    stage.place.run_with(&words, &token).await.with(0);
}
