//! Several writers of one tag: nobody loses anything.

use super::{
    BTreeSet, Digest, Duration, Error, TagKind, TestRegistry, Updated, all_of, attached, digests,
    join_all, listed, names, old_registry, referrer, sign, signatures, signed, subject, when,
    write_as_other,
};

pub(super) async fn writers() {
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

pub(super) async fn programs() {
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

pub(super) async fn overwritten() {
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

pub(super) async fn meanwhile() {
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

pub(super) async fn contended() {
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

pub(super) async fn lag() {
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

pub(super) async fn stale() {
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
