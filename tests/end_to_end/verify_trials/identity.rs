//! Which identity is accepted, and what a rejection says would have been.

use consign::event::{Format, Verdict};
use consign::oci::Digest;
use consign::policy::SignedIdentity;
use consign::sigstore::COSIGN_SIGN_PREDICATE;
use consign::verify::{Compared, Subjects};
use libtest_mimic::Trial;

use super::{Court, FORMATS, accepted, nameless, rejected, statement};
use crate::harness::trial;
use crate::registry::{Image, Pushed, index};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "verify::identities_are_accepted_as_skopeo_does",
            truth_table,
        ),
        trial(
            "verify::children_are_compared_by_digest_and_roots_by_tag",
            children,
        ),
        trial("verify::a_rejection_names_what_would_be_accepted", hints),
        trial(
            "verify::a_signed_index_is_named_where_its_children_are_not",
            index_hint,
        ),
        trial(
            "verify::a_bundle_without_a_name_proves_the_digest_alone",
            without_name,
        ),
    ]
}

/// Each cell as skopeo 1.22 answered: the rule, what the image is named by, and for which of
/// `B, B:v1, B:other, B@D, B@other, B:v1@D, X, X:v1, X@D` in the payload it is accepted.
const TABLE: [(&str, &str, &str); 16] = [
    ("matchExact", "B:v1", "-Y-------"),
    ("matchExact", "B@D", "---Y-----"),
    ("matchRepoDigestOrExact", "B:v1", "-Y-------"),
    ("matchRepoDigestOrExact", "B@D", "-YYYYY---"),
    ("matchRepository", "B:v1", "YYYYYY---"),
    ("matchRepository", "B@D", "YYYYYY---"),
    ("exactReference:B:v1", "B:v1", "-Y-------"),
    ("exactReference:B:v1", "B@D", "-Y-------"),
    ("exactReference:X@D", "B:v1", "--------Y"),
    ("exactReference:X@D", "B@D", "--------Y"),
    ("exactRepository:X", "B:v1", "------YYY"),
    ("exactRepository:X", "B@D", "------YYY"),
    ("remapIdentity:B=X", "B:v1", "-------Y-"),
    ("remapIdentity:B=X", "B@D", "-------YY"),
    ("digestOnly", "B:v1", "YYYYYYYYY"),
    ("digestOnly", "B@D", "YYYYYYYYY"),
];

const NAMED: [&str; 9] = [
    "B", "B:v1", "B:other", "B@D", "B@other", "B:v1@D", "X", "X:v1", "X@D",
];

async fn truth_table() {
    for format in FORMATS {
        for (column, named) in NAMED.iter().enumerate() {
            let court = Court::open().await;
            let image = Image::new(&["a"]);
            let image = image.push(&court.registry, "app", Some("v1")).await;
            let spell = |text: &str| {
                let other = Digest::sha256(b"other").to_string();
                text.replace("@other", &format!("@{other}"))
                    .replace("@D", &format!("@{}", image.digest))
                    .replace('B', &court.name("app"))
                    .replace('X', &court.name("x/other"))
            };
            let signed = spell(named);
            let layer = court.sign(format, &signed, image.digest);
            court.attach(format, &image, &[layer]).await;
            for (rule, asked, cells) in TABLE {
                // A rule's own name has neither letter.
                let identity: SignedIdentity = spell(rule).parse().unwrap();
                for compared in [Compared::ByWhatItIs, Compared::AsAsked] {
                    let mut ask = court.ask("app");
                    ask.image = spell(asked);
                    ask.compared = compared;
                    ask.identity = identity.clone();
                    let checked = court.judge(&ask).await;
                    let cell = format!("{format:?} {rule} {asked} {named}: {checked:#?}");
                    if cells.chars().nth(column) == Some('Y') {
                        assert_eq!(checked.verdict, Verdict::Accepted, "{cell}");
                        let evidence = checked.evidence.unwrap();
                        assert_eq!(evidence.identity_proven, rule != "digestOnly");
                        assert_eq!(evidence.identity, Some(signed.clone()));
                    } else {
                        assert_eq!(checked.verdict, Verdict::Rejected, "{cell}");
                        rejected(&checked, &format!("Signature for identity \"{signed}\" is"));
                        assert!(checked.hint.is_some(), "{cell}");
                    }
                }
            }
        }
    }
}

async fn both(court: &Court) -> (Pushed, Pushed, Pushed) {
    let on = async |platform: &str| {
        let image = Image::new(&[platform]).on(platform);
        image.push(&court.registry, "app", None).await
    };
    let (amd, arm) = (on("linux/amd64").await, on("linux/arm64").await);
    let root = index(&court.registry, "app", Some("v1"), &[&amd, &arm]).await;
    (amd, arm, root)
}

async fn children() {
    let court = Court::open().await;
    let (amd, arm, root) = both(&court).await;
    // Signed under another tag: good for a child, whose digest is compared, and not for the root.
    for image in [&amd, &arm, &root] {
        let layer = court.sign(Format::Tag, &court.name("app:v2"), image.digest);
        court.attach(Format::Tag, image, &[layer]).await;
    }
    let mut ask = court.ask("app:v1");
    let verdicts = async |ask: &super::Ask| -> Vec<Verdict> {
        let validation = court.validate(ask).await.unwrap();
        validation
            .checked
            .iter()
            .map(|checked| checked.verdict)
            .collect()
    };
    let (yes, no) = (Verdict::Accepted, Verdict::Rejected);
    assert_eq!(verdicts(&ask).await, [yes, yes]);
    ask.subjects = Subjects::All;
    assert_eq!(verdicts(&ask).await, [no, yes, yes]);
    ask.compared = Compared::AsAsked;
    assert_eq!(verdicts(&ask).await, [no, no, no]);
    ask.compared = Compared::ByWhatItIs;
    ask.identity = SignedIdentity::MatchExact;
    assert_eq!(verdicts(&ask).await, [no, no, no]);
    ask.image = court.name("app:v2");
    court.validate(&ask).await.unwrap_err();
    // Named by a digest, with a tag or without one, nothing is said of tags.
    for name in [
        format!("app@{}", root.digest),
        format!("app:v1@{}", root.digest),
    ] {
        let mut ask = court.ask(&name);
        ask.subjects = Subjects::All;
        assert_eq!(verdicts(&ask).await, [yes, yes, yes]);
    }
}

async fn hints() {
    for format in FORMATS {
        let court = Court::open().await;
        let image = Image::new(&["a"])
            .push(&court.registry, "app", Some("1"))
            .await;
        let old = "old.example/team/app";
        let layer = court.sign(format, &format!("{old}:1"), image.digest);
        court.attach(format, &image, &[layer]).await;
        let checked = court.judge(&court.ask("app:1")).await;
        rejected(
            &checked,
            &format!("Signature for identity \"{old}:1\" is not accepted"),
        );
        let hint = checked.hint.unwrap();
        assert!(
            hint.contains(&format!("valid and names `{old}:1`")),
            "{hint}"
        );
        assert!(
            hint.contains(&format!("`--exact-repository {old}`")),
            "{hint}"
        );
        // What it says is true.
        let mut ask = court.ask("app:1");
        ask.identity = SignedIdentity::ExactRepository(old.to_owned());
        accepted(&court.judge(&ask).await);
    }
}

async fn index_hint() {
    let court = Court::open().await;
    let (.., root) = both(&court).await;
    let hints = async || -> Vec<Option<String>> {
        let validation = court.validate(&court.ask("app:v1")).await.unwrap();
        for checked in &validation.checked {
            rejected(checked, "no signature exists");
        }
        validation
            .checked
            .into_iter()
            .map(|checked| checked.hint)
            .collect()
    };
    assert_eq!(hints().await, [None, None]);
    // As cosign signs: the index alone, and a name without a tag.
    let bare = court.name("app");
    let layer = court.sign(Format::Tag, &bare, root.digest);
    court.attach(Format::Tag, &root, &[layer]).await;
    let expected = format!(
        "this key's signature is valid for the index and names `{bare}` without a tag: see \
         --subjects index, --signed-identity matchRepository"
    );
    assert_eq!(hints().await, [Some(expected.clone()), Some(expected)]);
    let mut ask = court.ask("app:v1");
    ask.subjects = Subjects::Index;
    ask.identity = SignedIdentity::MatchRepository;
    accepted(&court.judge(&ask).await);
    // As we sign, and the index alone.
    let layer = court.sign(Format::Tag, &court.name("app:v1"), root.digest);
    court.attach(Format::Tag, &root, &[layer]).await;
    let hint = hints().await[0].clone().unwrap();
    assert!(hint.contains("--subjects index"), "{hint}");
}

async fn without_name() {
    let court = Court::open().await;
    let image = Image::new(&["a"])
        .push(&court.registry, "app", Some("1"))
        .await;
    let layer = statement(&court.key, &nameless(image.digest, COSIGN_SIGN_PREDICATE));
    court.attach(Format::Bundle, &image, &[layer]).await;
    let name = court.name("app");
    for rule in [
        "matchExact".to_owned(),
        "matchRepoDigestOrExact".to_owned(),
        "matchRepository".to_owned(),
        format!("exactReference:{name}:1"),
        format!("exactRepository:{name}"),
        format!("remapIdentity:{name}={name}"),
    ] {
        let mut ask = court.ask("app:1");
        ask.identity = rule.parse().unwrap();
        let checked = court.judge(&ask).await;
        rejected(
            &checked,
            "the bundle names no repository; --signed-identity digestOnly accepts it",
        );
        assert!(
            checked
                .hint
                .unwrap()
                .contains("--signed-identity digestOnly")
        );
    }
    let mut ask = court.ask("app:1");
    ask.identity = SignedIdentity::DigestOnly;
    let checked = court.judge(&ask).await;
    accepted(&checked);
    let evidence = checked.evidence.unwrap();
    assert!(!evidence.identity_proven);
    assert_eq!(evidence.identity, None);
}
