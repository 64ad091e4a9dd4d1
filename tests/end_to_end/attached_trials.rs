//! What is attached to manifests, through the library: found in all places, and written without loss.

mod lists;
mod rest;
mod writers;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use consign::attached::{Attached, Edit, Error, Referrer, TagKind, Updated};
use consign::oci::{self, Digest, Identifier, Manifest, MediaType, Pinned, Repository, Tag, View};
use consign::oci::{referrer_entry, with_layers, with_referrers};
use consign::registry::{Access, Client, ErrorKind, Retry, Settings};
use futures::future::join_all;
use libtest_mimic::Trial;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::harness::{Tool, Tools, trial, with_tools};
use crate::real::distribution::Distribution;
use crate::registry::{
    Auth, Bearer, Image, Referrers, Settings as TestSettings, TestRegistry, artifact, when,
};

use lists::{api, errors, fallback, joined, limits, twice};
use rest::{image_there, real, removed, scope, tags, undeletable, unlisted, untagged};
use writers::{contended, lag, meanwhile, overwritten, programs, stale, writers};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("attached::writers_of_one_tag_lose_nothing", writers),
        trial("attached::writers_of_two_programs_lose_nothing", programs),
        trial("attached::what_others_overwrite_is_repaired", overwritten),
        trial(
            "attached::what_comes_while_blobs_are_pushed_is_kept",
            meanwhile,
        ),
        trial("attached::who_is_always_overwritten_gives_up", contended),
        trial("attached::a_replica_that_lags_is_not_written_again", lag),
        trial("attached::a_late_state_is_not_built_upon", stale),
        trial("attached::a_second_update_writes_nothing", twice),
        trial("attached::the_api_lists_what_is_pushed", api),
        trial("attached::without_the_api_the_fallback_tag_lists", fallback),
        trial("attached::both_places_are_joined_byte_for_byte", joined),
        trial("attached::what_cannot_be_asked_is_an_error", errors),
        trial("attached::lists_without_an_end_meet_a_limit", limits),
        trial(
            "attached::an_image_under_the_fallback_tag_is_left_alone",
            image_there,
        ),
        trial(
            "attached::referrers_are_removed_with_their_entries",
            removed,
        ),
        trial(
            "attached::where_nothing_is_deleted_the_list_is_emptied",
            undeletable,
        ),
        trial("attached::deleting_asks_for_the_right_to_delete", scope),
        trial("attached::tags_are_listed_once_and_only_those", tags),
        trial("attached::an_unlisted_tag_may_be_there", unlisted),
        trial("attached::tags_are_removed_by_what_they_name", untagged),
        with_tools(
            "attached::distribution_keeps_all_referrers",
            &[Tool::Registry],
            real,
        ),
    ]
}

/// A client that tries again at once.
fn client() -> Client {
    let retry = Retry {
        attempts: 4,
        pause: Duration::from_millis(4),
        pause_max: Duration::from_millis(20),
    };
    let settings = Settings {
        retry,
        ..Settings::default()
    };
    Client::new(settings)
}

fn attached(locks: Option<&Path>) -> Attached {
    Attached::new(client(), locks.map(PathBuf::from))
}

fn repository(host: &str) -> Repository {
    let reference: oci::Reference = format!("{host}/app").parse().unwrap();
    reference.repository
}

async fn old_registry() -> TestRegistry {
    TestRegistry::with(TestSettings {
        referrers: Referrers::Unknown,
        ..TestSettings::default()
    })
    .await
}

/// An image in `app`, and its place.
async fn subject(registry: &TestRegistry) -> (crate::registry::Pushed, Pinned) {
    let image = Image::new(&["a"]).push(registry, "app", Some("1")).await;
    let pinned = Pinned {
        repository: repository(&registry.host()),
        digest: image.digest,
    };
    (image, pinned)
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": Digest::sha256(bytes), "size": bytes.len() })
}

fn payload(name: &str) -> Bytes {
    Bytes::from(format!("signed by {name}"))
}

fn layers(manifest: Option<&Manifest>) -> BTreeSet<Digest> {
    match manifest.map(Manifest::view) {
        Some(View::Image(image)) => image.layers.iter().map(|layer| layer.digest).collect(),
        Some(View::Index(_)) | None => BTreeSet::new(),
    }
}

/// Adds the signature of `name`, as one layer.
fn sign(
    name: &str,
) -> impl Fn(Option<&Manifest>) -> Result<Option<Edit>, oci::Error> + Send + Sync {
    let payload = payload(name);
    move |standing| {
        let digest = Digest::sha256(&payload);
        if layers(standing).contains(&digest) {
            return Ok(None);
        }
        let config = Bytes::from_static(b"{}");
        let add = [descriptor("application/x.signature", &payload).to_string()];
        let config_text = descriptor("application/x.config", &config).to_string();
        let manifest = with_layers(standing, &config_text, &add, &|_| true)?;
        Ok(Some(Edit {
            blobs: vec![(Digest::sha256(&config), config), (digest, payload.clone())],
            manifest: Some(manifest),
        }))
    }
}

/// The manifest that [`sign`] makes of `standing`.
fn signed(standing: Option<&Manifest>, name: &str) -> Manifest {
    let edit = sign(name)(standing).unwrap();
    edit.unwrap().manifest.unwrap()
}

/// Puts what somebody else wrote under a tag, without a request.
async fn write_as_other(registry: &TestRegistry, tag: &Tag, manifest: &Manifest) {
    let path = "app".parse().unwrap();
    for name in ["a", "b", "c"] {
        let blob = registry.inner().add_blob(&path, payload(name));
        blob.await.unwrap();
    }
    let empty = Bytes::from_static(b"{}");
    registry.inner().add_blob(&path, empty).await.unwrap();
    let bytes = manifest.raw().clone();
    let media_type = manifest.media_type();
    let added = registry
        .inner()
        .add_manifest(&path, Some(tag), media_type, bytes);
    added.await.unwrap();
}

fn all_of(names: &[String]) -> BTreeSet<Digest> {
    let payloads = names.iter().map(|name| payload(name));
    payloads.map(|payload| Digest::sha256(&payload)).collect()
}

async fn signatures(attached: &Attached, subject: &Pinned) -> BTreeSet<Digest> {
    let found = attached
        .tagged(subject, TagKind::Signature, Access::Pull)
        .await;
    layers(found.unwrap().as_ref())
}

/// An artifact that refers to `subject`, with its blobs pushed.
async fn referrer(attached: &Attached, subject: &Pinned, of: &Value, name: &str) -> Manifest {
    let empty = Bytes::from_static(b"{}");
    let payload = payload(name);
    for bytes in [&empty, &payload] {
        let pushed = attached.push_blob(&subject.repository, bytes.clone()).await;
        assert_eq!(pushed.unwrap().digest, Digest::sha256(bytes));
    }
    let document = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OciManifest,
        "artifactType": "application/x.kind",
        "config": descriptor("application/vnd.oci.empty.v1+json", &empty),
        "layers": [descriptor("application/octet-stream", &payload)],
        "annotations": { "name": name },
        "subject": of,
    });
    Manifest::parse(Bytes::from(document.to_string()), &MediaType::OciManifest).unwrap()
}

fn digests(referrers: &[Referrer]) -> Vec<Digest> {
    let referrers = referrers.iter();
    referrers.map(|one| one.descriptor.digest).collect()
}

async fn listed(attached: &Attached, subject: &Pinned) -> Vec<Referrer> {
    let referrers = attached.referrers(subject, None, Access::Pull).await;
    referrers.unwrap()
}

fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|one| format!("{prefix}{one}")).collect()
}
