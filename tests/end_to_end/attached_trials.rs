//! What is attached to manifests, through the library: found in all places, and written without loss.

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
    Client::new(settings).unwrap()
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

async fn writers() {
    let registry = old_registry().await;
    let (image, subject) = subject(&registry).await;
    let attached = attached(None);
    let names = names("w", 20);
    let tag = TagKind::Signature.of(&subject.digest);
    let writes = names.iter().map(async |name| {
        let edit = sign(name);
        let written = attached.update(&subject.repository, &tag, &edit).await;
        assert_eq!(written.unwrap(), Updated::Written);
    });
    join_all(writes).await;
    assert_eq!(signatures(&attached, &subject).await, all_of(&names));
    // Nobody had to write twice, and the config went once.
    assert_eq!(registry.count("PUT", "*.sig"), 20);
    assert_eq!(registry.count("PUT", "*/blobs/uploads/*"), 21);

    let of = image.descriptor();
    let adds = names.iter().map(async |name| {
        let manifest = referrer(&attached, &subject, &of, name).await;
        let added = attached.add_referrer(&subject, &manifest, None).await;
        added.unwrap();
        manifest.digest()
    });
    let added: BTreeSet<Digest> = join_all(adds).await.into_iter().collect();
    let found = digests(&listed(&attached, &subject).await);
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), added);
}

async fn programs() {
    let registry = old_registry().await;
    let (_, subject) = subject(&registry).await;
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("locks");
    let tag = TagKind::Signature.of(&subject.digest);
    let both = [attached(Some(&folder)), attached(Some(&folder))];
    let names = names("p", 20);
    let writes = names.iter().zip(both.iter().cycle());
    let writes = writes.map(async |(name, attached)| {
        let edit = sign(name);
        attached.update(&subject.repository, &tag, &edit).await
    });
    for written in join_all(writes).await {
        assert_eq!(written.unwrap(), Updated::Written);
    }
    assert_eq!(signatures(&both[0], &subject).await, all_of(&names));
    assert_eq!(registry.count("PUT", "*.sig"), 20, "somebody wrote twice");

    // While one program writes, the other does not even read.
    registry.clear_log();
    let stalled = registry.rule(when("PUT", "*.sig").stall());
    let (one, other) = (sign("one"), sign("other"));
    let first = both[0].update(&subject.repository, &tag, &one);
    let second = async {
        stalled.hit(1).await;
        let update = both[1].update(&subject.repository, &tag, &other);
        let mut update = Box::pin(update);
        let early = tokio::time::timeout(Duration::from_millis(100), &mut update).await;
        assert!(early.is_err());
        assert_eq!(registry.count("GET", "*.sig"), 1, "it did not wait");
        stalled.release();
        update.await
    };
    let (first, second) = tokio::join!(first, second);
    assert_eq!(first.unwrap(), Updated::Written);
    assert_eq!(second.unwrap(), Updated::Written);
    assert_eq!(signatures(&both[0], &subject).await.len(), 22);
}

async fn overwritten() {
    let registry = TestRegistry::start().await;
    let (_, subject) = subject(&registry).await;
    let attached = attached(None);
    let tag = TagKind::Signature.of(&subject.digest);
    let stalled = registry.rule(when("GET", "*.sig").nth(2).stall());
    let edit = sign("a");
    let other = async {
        // It read before there was anything, and writes before we read again.
        stalled.hit(1).await;
        write_as_other(&registry, &tag, &signed(None, "b")).await;
        stalled.release();
    };
    let (updated, ()) = tokio::join!(attached.update(&subject.repository, &tag, &edit), other);
    assert_eq!(updated.unwrap(), Updated::Written);
    let both = ["a".to_owned(), "b".to_owned()];
    assert_eq!(signatures(&attached, &subject).await, all_of(&both));
    assert_eq!(registry.count("PUT", "*.sig"), 2);
}

async fn meanwhile() {
    let registry = TestRegistry::start().await;
    let (_, subject) = subject(&registry).await;
    let attached = attached(None);
    let tag = TagKind::Signature.of(&subject.digest);
    let stalled = registry.rule(when("PUT", "*/blobs/uploads/*").nth(2).stall());
    let edit = sign("a");
    let other = async {
        stalled.hit(1).await;
        write_as_other(&registry, &tag, &signed(None, "b")).await;
        stalled.release();
    };
    let (updated, ()) = tokio::join!(attached.update(&subject.repository, &tag, &edit), other);
    assert_eq!(updated.unwrap(), Updated::Written);
    let both = ["a".to_owned(), "b".to_owned()];
    assert_eq!(signatures(&attached, &subject).await, all_of(&both));
    assert_eq!(
        registry.count("PUT", "*.sig"),
        1,
        "the other's was replaced"
    );
}

async fn contended() {
    let registry = TestRegistry::start().await;
    let (_, subject) = subject(&registry).await;
    let attached = attached(None);
    let tag = TagKind::Signature.of(&subject.digest);
    write_as_other(&registry, &tag, &signed(None, "b")).await;
    // It says that it took what it did not.
    let swallowed = registry.rule(when("PUT", "*.sig").respond(201));
    let edit = sign("a");
    let updated = attached.update(&subject.repository, &tag, &edit).await;
    let error = updated.unwrap_err();
    assert!(matches!(error, Error::Contended(_)), "{error}");
    assert!(error.to_string().contains(tag.as_str()), "{error}");
    assert_eq!(swallowed.hits(), 5);
}

async fn lag() {
    let registry = TestRegistry::start().await;
    let (_, subject) = subject(&registry).await;
    let attached = attached(None);
    let tag = TagKind::Signature.of(&subject.digest);
    for nth in [2, 3] {
        registry.rule(when("GET", "*.sig").nth(nth).respond(404));
    }
    registry.rule(when("HEAD", "*.sig").from(2).respond(404));
    let edit = sign("a");
    let updated = attached.update(&subject.repository, &tag, &edit).await;
    assert_eq!(updated.unwrap(), Updated::Written);
    assert_eq!(registry.count("PUT", "*.sig"), 1);
    assert_eq!(registry.count("GET", "*.sig"), 4);
}

async fn stale() {
    let registry = TestRegistry::start().await;
    let (_, subject) = subject(&registry).await;
    let attached = attached(None);
    let tag = TagKind::Signature.of(&subject.digest);
    let update = async |name| {
        let edit = sign(name);
        let updated = attached.update(&subject.repository, &tag, &edit).await;
        assert_eq!(updated.unwrap(), Updated::Written);
    };
    update("a").await;
    // The second update is served what stood there before the first.
    registry.rule(when("GET", "*.sig").times(2).respond(404));
    registry.rule(when("HEAD", "*.sig").times(1).respond(404));
    update("b").await;
    let both = ["a".to_owned(), "b".to_owned()];
    assert_eq!(signatures(&attached, &subject).await, all_of(&both));
}

async fn twice() {
    let registry = TestRegistry::start().await;
    let (_, subject) = subject(&registry).await;
    let tag = TagKind::Signature.of(&subject.digest);
    let edit = sign("a");
    let first = attached(None);
    let updated = first.update(&subject.repository, &tag, &edit).await;
    assert_eq!(updated.unwrap(), Updated::Written);
    registry.clear_log();
    let second = attached(None);
    let updated = second.update(&subject.repository, &tag, &edit).await;
    assert_eq!(updated.unwrap(), Updated::AsItWas);
    assert_eq!(registry.log().len(), 1, "{}", registry.log_text());
}

async fn api() {
    let registry = TestRegistry::start().await;
    let (image, subject) = subject(&registry).await;
    let attached = attached(None);
    let manifest = referrer(&attached, &subject, &image.descriptor(), "a").await;
    registry.clear_log();
    let added = attached.add_referrer(&subject, &manifest, None).await;
    added.unwrap();
    // The registry says that it lists it: no more is asked, and no tag is written.
    assert_eq!(registry.log().len(), 1, "{}", registry.log_text());
    let found = listed(&attached, &subject).await;
    assert_eq!(digests(&found), [manifest.digest()]);
    assert_eq!(found[0].descriptor.annotations["name"], "a");
    assert!(attached.may_have_api(&subject.repository));

    // One that lists without saying so when it is pushed is asked.
    registry.rule(when("PUT", "*/manifests/*").drop_header("oci-subject"));
    let other = referrer(&attached, &subject, &image.descriptor(), "b").await;
    attached.add_referrer(&subject, &other, None).await.unwrap();
    let fallback = TagKind::Referrers.of(&subject.digest);
    assert_eq!(registry.tag("app", fallback.as_str()), None);
}

async fn fallback() {
    let registry = old_registry().await;
    let (image, subject) = subject(&registry).await;
    let attached = attached(None);
    let first = referrer(&attached, &subject, &image.descriptor(), "a").await;
    attached.add_referrer(&subject, &first, None).await.unwrap();
    let second = referrer(&attached, &subject, &image.descriptor(), "b").await;
    // Its own entry says things that the manifest does not.
    let own = referrer_entry(&second).unwrap();
    let own = own.get().replacen('{', r#"{ "odd": [ 1.50 ],"#, 1);
    let own = RawValue::from_string(own).unwrap();
    let added = attached.add_referrer(&subject, &second, Some(&own)).await;
    added.unwrap();
    let found = listed(&attached, &subject).await;
    assert_eq!(digests(&found), [first.digest(), second.digest()]);
    assert_eq!(found[0].raw.get(), referrer_entry(&first).unwrap().get());
    assert_eq!(found[1].raw.get(), own.get());
    assert_eq!(
        found[0].descriptor.artifact_type.as_deref(),
        Some("application/x.kind")
    );
    // It said once that it has no API, which holds for the whole run.
    assert_eq!(registry.count("GET", "*/referrers/*"), 1);
    assert!(!attached.may_have_api(&subject.repository));
    // What is there already is not written again.
    registry.clear_log();
    attached.add_referrer(&subject, &first, None).await.unwrap();
    let tag = TagKind::Referrers.of(&subject.digest);
    let path = format!("*/manifests/{tag}");
    assert_eq!(registry.count("PUT", &path), 0, "{}", registry.log_text());
}

async fn joined() {
    let registry = TestRegistry::start().await;
    let (image, subject) = subject(&registry).await;
    let by_api = artifact(&registry, "app", "x/kind", Some(&image), "api").await;
    let by_tag = artifact(&registry, "app", "x/kind", None, "tag").await;
    let entry = |of: &crate::registry::Pushed| {
        let text = of.descriptor().to_string();
        let text = text.replacen('{', "{ \"odd\":1.50,\n", 1);
        RawValue::from_string(text).unwrap()
    };
    let entries = [entry(&by_api), entry(&by_tag)];
    let list = with_referrers(None, &[&entries[0], &entries[1]]).unwrap();
    let tag = TagKind::Referrers.of(&subject.digest);
    write_as_other(&registry, &tag, &list).await;
    let attached = attached(None);
    let found = listed(&attached, &subject).await;
    assert_eq!(digests(&found), [by_api.digest, by_tag.digest]);
    assert_eq!(found[1].raw.get(), entries[1].get());

    // What an API serves keeps its bytes too, whatever they say of a type.
    let odd = format!(
        r#"{{"schemaVersion":2, "manifests":[ {} ]}}"#,
        entries[1].get()
    );
    registry.rule(when("GET", "*/referrers/*").replace_body(odd));
    let none = attached.tags(&subject.repository).await.unwrap();
    assert!(none.may_have(TagKind::Referrers, &subject.digest));
    let found = listed(&attached, &subject).await;
    assert_eq!(found[0].raw.get(), entries[1].get());
    let filtered = registry.requests("GET", "*/referrers/*");
    assert!(filtered.iter().all(|request| request.query.is_empty()));
}

async fn errors() {
    let registry = TestRegistry::start().await;
    let (image, subject) = subject(&registry).await;
    artifact(&registry, "app", "x/kind", Some(&image), "a").await;
    let ask = async || {
        let attached = attached(None);
        let asked = attached.referrers(&subject, None, Access::Pull).await;
        assert!(attached.may_have_api(&subject.repository));
        asked
    };
    for status in [401, 403, 408, 418, 429, 500, 502, 503, 504] {
        registry.rule(when("GET", "*/referrers/*").respond(status));
        assert!(ask().await.is_err(), "{status}");
        registry.clear_rules();
        // The fallback tag is as good a place.
        registry.rule(when("GET", "*/manifests/sha256-*").respond(status));
        assert!(ask().await.is_err(), "{status}");
        registry.clear_rules();
    }
    for body in [
        "<html>please log in</html>",
        "{}",
        "",
        r#"{"manifests":[{}]}"#,
    ] {
        registry.rule(when("GET", "*/referrers/*").replace_body(body));
        let error = ask().await.unwrap_err();
        assert!(
            matches!(&error, Error::Registry(error) if matches!(error.kind, ErrorKind::Protocol(_))),
            "{body}: {error}"
        );
        registry.clear_rules();
    }
    registry.rule(when("GET", "*/referrers/*").hang_up());
    assert!(ask().await.is_err());
    registry.clear_rules();
    // A subject that is not known says nothing of the registry.
    let unknown = when("GET", "*/referrers/*").respond(404);
    registry.rule(unknown.error("MANIFEST_UNKNOWN"));
    assert!(ask().await.unwrap().is_empty());
    registry.clear_rules();
    assert_eq!(ask().await.unwrap().len(), 1);
}

async fn limits() {
    let registry = TestRegistry::start().await;
    let (image, subject) = subject(&registry).await;
    artifact(&registry, "app", "x/kind", Some(&image), "a").await;
    let path = format!("/v2/app/referrers/{}", subject.digest);
    let ask = async || {
        let client = client();
        let asked = client.referrers(&subject.repository, &subject.digest, Access::Pull);
        asked.await.unwrap_err().to_string()
    };
    let link = format!("<{path}?page=2>; rel=\"next\"");
    let again = registry.rule(when("GET", "*/referrers/*").set_header("link", &link));
    let error = ask().await;
    assert!(error.contains("500 pages"), "{error}");
    assert_eq!(again.hits(), 500);
    registry.clear_rules();

    let entry = descriptor("a/b", b"x").to_string();
    let many = vec![&*entry; 5001].join(",");
    let page = format!(r#"{{"manifests":[{many}]}}"#);
    registry.rule(when("GET", "*/referrers/*").replace_body(page));
    registry.rule(when("GET", "*/referrers/*").set_header("link", &link));
    let error = ask().await;
    assert!(error.contains("10,000"), "{error}");
    registry.clear_rules();

    let wide = format!(r#"{{"manifests":[], "x": "{}"}}"#, "x".repeat(4 << 20));
    registry.rule(when("GET", "*/referrers/*").replace_body(wide));
    let error = ask().await;
    assert!(error.contains("4 MiB"), "{error}");
    registry.clear_rules();

    let other = TestRegistry::start().await;
    let link = format!("<{}{path}>; rel=\"next\"", other.url());
    registry.rule(when("GET", "*/referrers/*").set_header("link", &link));
    let error = ask().await;
    assert!(error.contains("elsewhere"), "{error}");
    assert!(other.log().is_empty());
    registry.clear_rules();

    // A page that is gone is no end.
    let link = format!("<{path}?page=2>; rel=\"next\"");
    registry.rule(when("GET", "*/referrers/*").set_header("link", &link));
    registry.rule(when("GET", "*/referrers/*?page=2").respond(404));
    let error = ask().await;
    assert!(error.contains("404"), "{error}");
}

async fn image_there() {
    let registry = old_registry().await;
    let (image, subject) = subject(&registry).await;
    let tag = TagKind::Referrers.of(&subject.digest);
    let other = Image::new(&["b"])
        .push(&registry, "app", Some(tag.as_str()))
        .await;
    let attached = attached(None);
    assert!(listed(&attached, &subject).await.is_empty());
    let manifest = referrer(&attached, &subject, &image.descriptor(), "a").await;
    let added = attached.add_referrer(&subject, &manifest, None).await;
    let error = added.unwrap_err();
    assert!(matches!(error, Error::Document(_)), "{error}");
    assert!(error.to_string().contains(tag.as_str()), "{error}");
    attached
        .remove_referrers(&subject, &[manifest.digest()])
        .await
        .unwrap();
    assert_eq!(registry.tag("app", tag.as_str()), Some(other.digest));
}

async fn removed() {
    for registry in [old_registry().await, TestRegistry::start().await] {
        let (image, subject) = subject(&registry).await;
        let attached = attached(None);
        let mut added = Vec::new();
        for name in ["a", "b", "c"] {
            let manifest = referrer(&attached, &subject, &image.descriptor(), name).await;
            let done = attached.add_referrer(&subject, &manifest, None).await;
            done.unwrap();
            added.push(manifest.digest());
        }
        let remove = async |digests: &[Digest]| {
            attached.remove_referrers(&subject, digests).await.unwrap();
        };
        remove(&added[1..2]).await;
        let left = digests(&listed(&attached, &subject).await);
        let left: BTreeSet<_> = left.into_iter().collect();
        assert_eq!(left, BTreeSet::from([added[0], added[2]]));
        // What is gone already is no error.
        remove(&added).await;
        assert!(listed(&attached, &subject).await.is_empty());
        let tag = TagKind::Referrers.of(&subject.digest);
        assert_eq!(registry.tag("app", tag.as_str()), None);
        for digest in added {
            let identifier = Identifier::Digest(digest);
            let found = client()
                .resolve(&subject.repository, &identifier, Access::Pull)
                .await;
            assert_eq!(found.unwrap(), None);
        }
        // The image itself is untouched.
        assert_eq!(registry.tag("app", "1"), Some(subject.digest));
    }
}

async fn undeletable() {
    let registry = old_registry().await;
    let (image, subject) = subject(&registry).await;
    let attached = attached(None);
    let manifest = referrer(&attached, &subject, &image.descriptor(), "a").await;
    let done = attached.add_referrer(&subject, &manifest, None).await;
    done.unwrap();
    let off = when("DELETE", "*/manifests/*").respond(405);
    registry.rule(off.error("UNSUPPORTED"));
    let digests = [manifest.digest()];
    let removed = attached.remove_referrers(&subject, &digests).await;
    let error = removed.unwrap_err();
    assert!(
        matches!(&error, Error::Registry(error) if error.kind.is_unsupported()),
        "{error}"
    );
    assert!(error.to_string().contains("switched off"), "{error}");
    assert!(listed(&attached, &subject).await.is_empty());
    let tag = TagKind::Referrers.of(&subject.digest);
    assert!(registry.tag("app", tag.as_str()).is_some());
}

async fn scope() {
    let registry = TestRegistry::with(TestSettings {
        auth: Auth::Bearer(Bearer {
            credentials: None,
            ..Bearer::default()
        }),
        ..TestSettings::default()
    })
    .await;
    let (_, subject) = subject(&registry).await;
    let deleted = client()
        .delete_manifest(&subject.repository, &subject.digest)
        .await;
    deleted.unwrap();
    assert_eq!(registry.tag("app", "1"), None);
    let asked = registry.token_requests();
    let wanted = "repository:app:pull,push,delete";
    assert!(
        asked.iter().any(|request| request.scopes == [wanted]),
        "{asked:?}"
    );
}

async fn tags() {
    let registry = TestRegistry::start().await;
    let (_, subject) = subject(&registry).await;
    let digest = &subject.digest;
    let attached = attached(None);
    let repository = &subject.repository;
    let all = join_all((0..10).map(|_| attached.tags(repository))).await;
    let tags = all.into_iter().next().unwrap().unwrap();
    assert_eq!(registry.count("GET", "*/tags/list"), 1);
    assert!(!tags.may_have_any());
    assert!(!tags.may_have(TagKind::Signature, digest));
    let edit = sign("a");
    let tag = TagKind::Signature.of(digest);
    attached.update(repository, &tag, &edit).await.unwrap();
    // What this run wrote is known without asking again.
    assert!(tags.may_have(TagKind::Signature, digest));
    assert!(!tags.may_have(TagKind::Attestation, digest));
    assert!(tags.may_have_any());
    let again = self::attached(None);
    let tags = again.tags(repository).await.unwrap();
    assert!(tags.may_have(TagKind::Signature, digest));
    assert!(!tags.may_have(TagKind::Referrers, digest));
    // A fallback tag that is not there is not asked for.
    registry.clear_log();
    let found = again
        .referrers(&subject, Some(&tags), Access::Pull)
        .await
        .unwrap();
    assert!(found.is_empty());
    assert_eq!(registry.log().len(), 1, "{}", registry.log_text());
}

async fn unlisted() {
    let registry = TestRegistry::start().await;
    let (_, subject) = subject(&registry).await;
    let ask = async |attached: &Attached| attached.tags(&subject.repository).await;
    for status in [401, 403, 404, 405, 501] {
        registry.rule(when("GET", "*/tags/list").respond(status));
        let tags = ask(&attached(None)).await.unwrap();
        assert!(tags.may_have_any(), "{status}");
        assert!(tags.may_have(TagKind::Sbom, &subject.digest), "{status}");
        registry.clear_rules();
    }
    let attached = attached(None);
    for status in [429, 500, 503] {
        registry.rule(when("GET", "*/tags/list").respond(status));
        assert!(ask(&attached).await.is_err(), "{status}");
        registry.clear_rules();
    }
    // A list without an end says nothing; an error is not remembered.
    let link = "</v2/app/tags/list?last=1>; rel=\"next\"";
    let pages = registry.rule(when("GET", "*/tags/list").set_header("link", link));
    assert!(ask(&attached).await.unwrap().may_have_any());
    assert_eq!(pages.hits(), 50);
}

async fn untagged() {
    let registry = TestRegistry::start().await;
    let (_, subject) = subject(&registry).await;
    let attached = attached(None);
    let tag = TagKind::Signature.of(&subject.digest);
    let edit = sign("a");
    let update = attached.update(&subject.repository, &tag, &edit);
    update.await.unwrap();
    let remove = |standing: Option<&Manifest>| {
        Ok(standing.map(|_| Edit {
            blobs: Vec::new(),
            manifest: None,
        }))
    };
    for expected in [Updated::Written, Updated::AsItWas] {
        let removed = attached.update(&subject.repository, &tag, &remove).await;
        assert_eq!(removed.unwrap(), expected);
        assert_eq!(registry.tag("app", tag.as_str()), None);
    }
}

async fn real(tools: Tools) {
    let registry = Distribution::start(&tools, "registry").await;
    let repository = repository(registry.host());
    let folder = tools.folder().join("locks");
    let both = [attached(Some(&folder)), attached(Some(&folder))];
    // The subject need not be there: distribution does not look at it.
    let of = descriptor(MediaType::OciManifest.as_str(), b"subject");
    let subject = Pinned {
        repository,
        digest: Digest::sha256(b"subject"),
    };
    let foreign = referrer(&both[0], &subject, &of, "foreign").await;
    let identifier = Identifier::Digest(foreign.digest());
    let client = both[0].client();
    let pushed = client.push_manifest(&subject.repository, &identifier, &foreign);
    assert_eq!(pushed.await.unwrap().subject, None);
    let entry = referrer_entry(&foreign).unwrap();
    let odd = entry.get().replacen('{', r#"{ "odd":1.50, "#, 1);
    let odd = RawValue::from_string(odd).unwrap();
    let list = with_referrers(None, &[&odd]).unwrap();
    let tag = TagKind::Referrers.of(&subject.digest);
    let place = Identifier::Tag(tag.clone());
    let pushed = client.push_manifest(&subject.repository, &place, &list);
    pushed.await.unwrap();

    // Each program asks once whether there is an API, and remembers the answer.
    for attached in &both {
        let found = listed(attached, &subject).await;
        assert_eq!(digests(&found), [foreign.digest()]);
    }
    let names = names("d", 20);
    let adds = names.iter().zip(both.iter().cycle());
    let adds = adds.map(async |(name, attached)| {
        let manifest = referrer(attached, &subject, &of, name).await;
        let added = attached.add_referrer(&subject, &manifest, None).await;
        added.unwrap();
        manifest.digest()
    });
    let added = join_all(adds).await;
    let found = listed(&both[1], &subject).await;
    assert_eq!(found[0].raw.get(), odd.get());
    let own: BTreeSet<Digest> = digests(&found[1..]).into_iter().collect();
    assert_eq!(own, added.iter().copied().collect());
    assert_eq!(found.len(), 21);

    let log = registry.log().await;
    let asked = log.iter().filter(|access| access.parts().1 == "referrers");
    assert_eq!(asked.count(), 2, "once for each program");
    let written = log
        .iter()
        .filter(|access| access.method == "PUT" && access.parts().2 == tag.as_str());
    assert_eq!(written.count(), 21, "nobody wrote twice");

    both[0].remove_referrers(&subject, &added).await.unwrap();
    let left = digests(&listed(&both[0], &subject).await);
    assert_eq!(left, [foreign.digest()]);
    let others = [foreign.digest()];
    both[0].remove_referrers(&subject, &others).await.unwrap();
    let gone = both[1]
        .tagged(&subject, TagKind::Referrers, Access::Pull)
        .await;
    assert!(gone.unwrap().is_none());
}
