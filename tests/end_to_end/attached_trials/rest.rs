//! Removal, tags, rights, and a real registry.

use super::{
    Access, Attached, Auth, BTreeSet, Bearer, Digest, Distribution, Edit, Error, Identifier, Image,
    Manifest, MediaType, Pinned, RawValue, TagKind, TestRegistry, TestSettings, Tools, Updated,
    attached, client, descriptor, digests, join_all, listed, names, old_registry, referrer,
    referrer_entry, repository, sign, subject, when, with_referrers,
};

pub(super) async fn image_there() {
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

pub(super) async fn removed() {
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

pub(super) async fn undeletable() {
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

pub(super) async fn scope() {
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

pub(super) async fn tags() {
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

pub(super) async fn unlisted() {
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
    for last in 1..=60 {
        let link = format!("</v2/app/tags/list?last={last}>; rel=\"next\"");
        registry.rule(
            when("GET", "*/tags/list")
                .nth(last)
                .set_header("link", &link),
        );
    }
    registry.clear_log();
    assert!(ask(&attached).await.unwrap().may_have_any());
    assert_eq!(registry.count("GET", "*/tags/list"), 50);
}

pub(super) async fn untagged() {
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

pub(super) async fn real(tools: Tools) {
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
