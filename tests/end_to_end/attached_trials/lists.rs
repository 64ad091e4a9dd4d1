//! Lists of referrers, by the API and by the fallback tag.

use super::{
    Access, Error, ErrorKind, RawValue, TagKind, TestRegistry, Updated, artifact, attached, client,
    descriptor, digests, listed, old_registry, referrer, referrer_entry, sign, subject, when,
    with_referrers, write_as_other,
};

pub(super) async fn twice() {
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

pub(super) async fn api() {
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
    assert_eq!(found[0].descriptor.annotations.get("name"), Some("a"));
    assert!(attached.may_have_api(&subject.repository));

    // One that lists without saying so when it is pushed is asked.
    registry.rule(when("PUT", "*/manifests/*").drop_header("oci-subject"));
    let other = referrer(&attached, &subject, &image.descriptor(), "b").await;
    attached.add_referrer(&subject, &other, None).await.unwrap();
    let fallback = TagKind::Referrers.of(&subject.digest);
    assert_eq!(registry.tag("app", fallback.as_str()), None);
}

pub(super) async fn fallback() {
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

pub(super) async fn joined() {
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

pub(super) async fn errors() {
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

pub(super) async fn limits() {
    let registry = TestRegistry::start().await;
    let (image, subject) = subject(&registry).await;
    artifact(&registry, "app", "x/kind", Some(&image), "a").await;
    let path = format!("/v2/app/referrers/{}", subject.digest);
    let ask = async || {
        let client = client();
        let asked = client.referrers(&subject.repository, &subject.digest, Access::Pull);
        asked.await.unwrap_err().to_string()
    };
    let pages = (1..=500).map(|page| {
        let link = format!("<{path}?page={page}>; rel=\"next\"");
        registry.rule(
            when("GET", "*/referrers/*")
                .nth(page)
                .set_header("link", &link),
        )
    });
    let pages: Vec<_> = pages.collect();
    let error = ask().await;
    assert!(error.contains("500 pages"), "{error}");
    assert!(pages.iter().all(|page| page.hits() == 1));
    registry.clear_rules();

    let link = format!("<{path}?page=2>; rel=\"next\"");
    let again = registry.rule(when("GET", "*/referrers/*").set_header("link", &link));
    let error = ask().await;
    assert!(error.contains("leads back"), "{error}");
    assert_eq!(again.hits(), 2);
    registry.clear_rules();

    let entry = descriptor("a/b", b"x").to_string();
    let many = vec![&*entry; 5001].join(",");
    let page = format!(r#"{{"manifests":[{many}]}}"#);
    registry.rule(when("GET", "*/referrers/*").replace_body(page));
    registry.rule(
        when("GET", "*/referrers/*")
            .nth(1)
            .set_header("link", &link),
    );
    let error = ask().await;
    assert!(error.contains("10,000"), "{error}");
    registry.clear_rules();

    let wide = format!(r#"{{"manifests":[], "x": "{}"}}"#, "x".repeat(4 << 20));
    registry.rule(when("GET", "*/referrers/*").replace_body(wide));
    let error = ask().await;
    assert!(error.contains("4194304 bytes"), "{error}");
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
