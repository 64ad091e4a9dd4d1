use super::*;
use crate::oci::Digest;

/// The image's repository, at a registry with a port, and another.
const B: &str = "reg.example:5000/team/app";
const X: &str = "other.example/team/app";

/// The digest of the image.
fn digest() -> Digest {
    Digest::sha256(b"image")
}

/// A written name with `B`, `X`, `D` (the digest) and `@other` put in; bare words stay.
fn name(text: &str) -> String {
    let text = match (text.strip_prefix('B'), text.strip_prefix('X')) {
        (Some(rest), _) => format!("{B}{rest}"),
        (None, Some(rest)) => format!("{X}{rest}"),
        (None, None) => text.to_owned(),
    };
    text.replace("@D", &format!("@{}", digest()))
        .replace("@other", &format!("@{}", Digest::sha256(b"other")))
}

fn image(text: &str) -> Reference {
    name(text).parse().unwrap()
}

/// What of `signed` the rule accepts for the image.
fn accepted<'a>(rule: &SignedIdentity, of: &str, signed: &[&'a str]) -> Vec<&'a str> {
    signed
        .iter()
        .copied()
        .filter(|signed| rule.accepts(&image(of), &name(signed)))
        .collect()
}

fn remap(prefix: &str, signed_prefix: &str) -> SignedIdentity {
    SignedIdentity::remap_identity(prefix, signed_prefix).unwrap()
}

/// The columns of the table of containers/image's behaviour, and more of the other repository's.
const SIGNED: [&str; 12] = [
    "B", "B:v1", "B:other", "B@D", "B@other", "B:v1@D", "X", "X:v1", "X:other", "X@D", "X@other",
    "X:v1@D",
];

/// Each cell was seen with skopeo 1.22.
#[test]
fn the_truth_table_of_signed_identities_holds() {
    use SignedIdentity::{MatchExact, MatchRepoDigestOrExact, MatchRepository};
    let of_b = ["B", "B:v1", "B:other", "B@D", "B@other", "B:v1@D"];
    let named_b = ["B:v1", "B:other", "B@D", "B@other", "B:v1@D"];
    let of_x = ["X", "X:v1", "X:other", "X@D", "X@other", "X:v1@D"];
    let named_x = ["X:v1", "X:other", "X@D", "X@other", "X:v1@D"];
    let reference = |text: &str| SignedIdentity::exact_reference(&name(text)).unwrap();
    let registry = remap("reg.example:5000", "other.example");
    let namespace = remap("reg.example:5000/team", "other.example/team");
    let repository = remap(B, X);
    let mut cells = 0;
    let mut row = |rule: &SignedIdentity, of: &str, expected: &[&str]| {
        assert_eq!(accepted(rule, of, &SIGNED), expected, "{rule} of {of}");
        cells += SIGNED.len();
    };
    row(&MatchExact, "B:v1", &["B:v1"]);
    row(&MatchExact, "B@D", &["B@D"]);
    row(&MatchRepoDigestOrExact, "B:v1", &["B:v1"]);
    row(&MatchRepoDigestOrExact, "B@D", &named_b);
    for of in ["B", "B:v1", "B@D"] {
        row(&MatchRepository, of, &of_b);
        row(&reference("B:v1"), of, &["B:v1"]);
        row(&reference("X@D"), of, &["X@D"]);
        row(&reference("B:v1@D"), of, &["B:v1@D"]);
        row(&SignedIdentity::exact_repository(X).unwrap(), of, &of_x);
        row(&SignedIdentity::DigestOnly, of, &SIGNED);
    }
    for rule in [&registry, &namespace, &repository] {
        row(rule, "B:v1", &["X:v1"]);
        row(rule, "B@D", &named_x);
        row(rule, "B", &[]);
    }
    // What does not begin with the prefix stays as it is, whatever it looks like.
    for (prefix, other) in [
        ("reg.example", "other.example"),
        ("reg.example:5000/team/ap", "other.example/team/ap"),
        ("elsewhere.example", "other.example"),
        ("team", "other"),
    ] {
        row(&remap(prefix, other), "B:v1", &["B:v1"]);
        row(&remap(prefix, other), "B@D", &named_b);
    }
    assert_eq!(cells, SIGNED.len() * (4 + 18 + 9 + 8));
}

#[test]
fn an_image_without_a_tag_is_latest() {
    for rule in [
        SignedIdentity::MatchExact,
        SignedIdentity::MatchRepoDigestOrExact,
    ] {
        assert_eq!(
            accepted(&rule, "B", &["B", "B:latest", "B:v1", "B@D"]),
            ["B:latest"]
        );
    }
}

#[test]
fn an_image_with_tag_and_digest_is_compared_by_its_digest() {
    for rule in [
        SignedIdentity::MatchExact,
        SignedIdentity::MatchRepoDigestOrExact,
        SignedIdentity::MatchRepository,
        remap(B, X),
    ] {
        assert_eq!(
            accepted(&rule, "B:v1@D", &SIGNED),
            accepted(&rule, "B@D", &SIGNED),
            "{rule}"
        );
    }
}

#[test]
fn what_names_nothing_is_accepted_by_the_digest_alone() {
    for signed in [
        "",
        " ",
        "@D",
        "B:",
        "B@sha256:abc",
        "docker://B:v1",
        "reg.example:5000/Team/app:v1",
        "B:v1\n",
        " B:v1",
        "B:v1 ",
        "\u{0}",
    ] {
        let signed = signed.replace('B', B);
        let everything = [
            SignedIdentity::MatchExact,
            SignedIdentity::MatchRepoDigestOrExact,
            SignedIdentity::MatchRepository,
            SignedIdentity::ExactReference(signed.clone()),
            SignedIdentity::ExactRepository(signed.clone()),
            remap(B, B),
        ];
        for of in ["B", "B:v1", "B@D"] {
            for rule in &everything {
                assert!(!rule.accepts(&image(of), &signed), "{rule} {signed:?}");
            }
            assert!(SignedIdentity::DigestOnly.accepts(&image(of), &signed));
        }
    }
}

#[test]
fn docker_hub_is_one_place_under_four_names() {
    let same = [
        "app:v1",
        "library/app:v1",
        "docker.io/app:v1",
        "docker.io/library/app:v1",
        "index.docker.io/app:v1",
        "index.docker.io/library/app:v1",
    ];
    let others = [
        "registry-1.docker.io/library/app:v1",
        "Docker.io/library/app:v1",
        "DOCKER.IO/app:v1",
        "team/app:v1",
        "app.example/app:v1",
    ];
    for of in same {
        for rule in [
            SignedIdentity::MatchExact,
            SignedIdentity::MatchRepoDigestOrExact,
            SignedIdentity::MatchRepository,
            SignedIdentity::exact_reference(of).unwrap(),
            SignedIdentity::exact_repository(of).unwrap(),
            remap("docker.io", "docker.io"),
        ] {
            assert_eq!(accepted(&rule, of, &same), same, "{rule}");
            assert!(accepted(&rule, of, &others).is_empty(), "{rule}");
        }
    }
}

#[test]
fn hosts_are_compared_as_they_are_written() {
    let rule = SignedIdentity::MatchRepository;
    assert_eq!(
        accepted(
            &rule,
            "reg.example/app:v1",
            &[
                "reg.example/app:v1",
                "REG.example/app:v1",
                "reg.example:443/app:v1"
            ]
        ),
        ["reg.example/app:v1"]
    );
    let own = "[::1]:5000/app:v1";
    assert_eq!(accepted(&SignedIdentity::MatchExact, own, &[own]), [own]);
}

/// A digest that signatures may have and images may not.
#[test]
fn a_signed_digest_counts_as_one_whatever_it_is() {
    let signed = format!("{B}@sha384:{}", "a".repeat(96));
    assert!(SignedIdentity::MatchRepoDigestOrExact.accepts(&image("B@D"), &signed));
    assert!(SignedIdentity::MatchRepository.accepts(&image("B:v1"), &signed));
    assert!(!SignedIdentity::MatchRepoDigestOrExact.accepts(&image("B:v1"), &signed));
    assert!(!SignedIdentity::MatchExact.accepts(&image("B@D"), &signed));
}

/// Seen with skopeo 1.22, as the rest: what is put together must be written as Docker normalises it.
#[test]
fn a_remapped_name_is_in_full_or_accepts_nothing() {
    for (prefix, other, of, signed) in [
        (
            "docker.io",
            "a.example",
            "app:v1",
            "a.example/library/app:v1",
        ),
        (
            "docker.io/library",
            "a.example",
            "app:v1",
            "a.example/app:v1",
        ),
        (
            "docker.io/team",
            "a.example",
            "team/app:v1",
            "a.example/app:v1",
        ),
        (
            "reg.example/hub",
            "docker.io",
            "reg.example/hub/team/app:v1",
            "team/app:v1",
        ),
        (
            "reg.example",
            "docker.io/library",
            "reg.example/app:v1",
            "app:v1",
        ),
    ] {
        assert!(
            remap(prefix, other).accepts(&image(of), signed),
            "{prefix} {other}"
        );
        assert!(
            !remap(prefix, other).accepts(&image(of), of),
            "{prefix} {other}"
        );
    }
    for (prefix, other, of) in [
        ("docker.io", "index.docker.io", "app:v1"),
        ("docker.io", "index.docker.io", "team/app:v1"),
        ("docker.io/library", "docker.io", "app:v1"),
        ("docker.io/library", "short", "app:v1"),
        ("reg.example", "A", "reg.example/app:v1"),
    ] {
        for signed in [
            of,
            "docker.io/app:v1",
            "docker.io/team/app:v1",
            "short/app:v1",
            "docker.io/short/app:v1",
            "index.docker.io/team/app:v1",
            "A/app:v1",
        ] {
            assert!(
                !remap(prefix, other).accepts(&image(of), signed),
                "{other} {signed}"
            );
        }
    }
}

#[test]
fn rules_are_written_as_they_are_read() {
    for text in [
        "matchExact",
        "matchRepoDigestOrExact",
        "matchRepository",
        "digestOnly",
        "exactReference:reg.example:5000/app:v1",
        "exactRepository:reg.example:5000/app",
        "exactRepository:app:ignored",
        "remapIdentity:reg.example:5000=docker.io/library",
    ] {
        assert_eq!(text.parse::<SignedIdentity>().unwrap().to_string(), text);
    }
}

#[test]
fn what_is_no_rule_is_refused_with_a_reason() {
    for (text, says) in [
        (
            "matchexact",
            "`matchexact` is no signed identity: there are matchExact, matchRepoDigestOrExact, matchRepository, exactReference:REFERENCE, exactRepository:REPOSITORY, remapIdentity:PREFIX=SIGNED_PREFIX and digestOnly",
        ),
        ("matchExact:x", "`matchExact` stands alone, without a `:`"),
        ("digestOnly:", "`digestOnly` stands alone, without a `:`"),
        ("exactReference", "it is written `exactReference:REFERENCE`"),
        (
            "exactReference:app",
            r#"dockerReference "app" contains neither a tag nor digest"#,
        ),
        (
            "exactReference:",
            r#"Invalid format of dockerReference "": invalid reference format"#,
        ),
        (
            "exactRepository",
            "it is written `exactRepository:REPOSITORY`",
        ),
        (
            "exactRepository:App",
            r#"Invalid format of dockerRepository "App": invalid reference format: repository name must be lowercase"#,
        ),
        (
            "remapIdentity:a.io",
            "it is written `remapIdentity:PREFIX=SIGNED_PREFIX`",
        ),
        ("remapIdentity:a.io=", r#"prefix "" is not valid"#),
        ("remapIdentity:a.io/=b.io", r#"prefix "a.io/" is not valid"#),
    ] {
        let error = text.parse::<SignedIdentity>().unwrap_err();
        assert_eq!(error.to_string(), says);
    }
    for unknown in ["", "matchExactly", "matchRepositoryx", "signed"] {
        assert!(matches!(
            unknown.parse::<SignedIdentity>(),
            Err(IdentityError::Unknown(_))
        ));
    }
}

#[test]
fn alternatives_are_what_would_have_accepted() {
    use SignedIdentity::{MatchExact, MatchRepoDigestOrExact};
    let alternatives = |rule: &SignedIdentity, of: &str, signed: &str| {
        let flags = rule.alternatives(&image(of), &name(signed));
        let flags: Vec<String> = flags
            .iter()
            .map(|flag| flag.replace(B, "B").replace(X, "X"))
            .collect();
        flags.join(" | ")
    };
    // Cosign's own signatures name a repository alone.
    assert_eq!(
        alternatives(&MatchRepoDigestOrExact, "B:v1", "B"),
        "--signed-identity matchRepository"
    );
    assert_eq!(
        alternatives(&MatchRepoDigestOrExact, "B:v1", "B:other"),
        "--signed-identity matchRepository | --signed-identity exactReference:B:other"
    );
    assert_eq!(
        alternatives(&MatchExact, "B@D", "B:v1"),
        "--signed-identity matchRepoDigestOrExact | --signed-identity matchRepository | --signed-identity exactReference:B:v1"
    );
    // Mirrored from elsewhere.
    assert_eq!(
        alternatives(&MatchRepoDigestOrExact, "B:v1", "X:v1"),
        "--exact-repository X | --signed-identity remapIdentity:reg.example:5000=other.example | --signed-identity exactReference:X:v1"
    );
    assert_eq!(
        alternatives(&MatchRepoDigestOrExact, "B:v1", "X:other"),
        "--exact-repository X | --signed-identity exactReference:X:other"
    );
    assert_eq!(
        alternatives(&MatchRepoDigestOrExact, "B:v1", "X"),
        "--exact-repository X"
    );
    assert_eq!(
        alternatives(&MatchRepoDigestOrExact, "reg.example/hub/app:1", "app:1"),
        "--exact-repository docker.io/library/app | --signed-identity remapIdentity:reg.example/hub=docker.io/library | --signed-identity exactReference:docker.io/library/app:1"
    );
    let elsewhere = SignedIdentity::exact_repository(X).unwrap();
    assert_eq!(
        alternatives(&elsewhere, "B:v1", "B:v1"),
        "--signed-identity matchRepoDigestOrExact | --signed-identity matchRepository | --signed-identity exactReference:B:v1"
    );
    for nothing in ["", "B:", "No Name"] {
        assert_eq!(
            alternatives(&MatchRepoDigestOrExact, "B:v1", nothing),
            "--signed-identity digestOnly"
        );
    }
    assert_eq!(alternatives(&MatchExact, "B:v1", "B:v1"), "");
    assert_eq!(alternatives(&SignedIdentity::DigestOnly, "B:v1", ""), "");
}

#[test]
fn every_alternative_can_be_typed_and_accepts() {
    let others = [
        "app",
        "docker.io/team/app:v1",
        "reg.example:5000/app:v1",
        "x.example/y/z",
    ];
    for of in ["B", "B:v1", "B@D", "B:v1@D", "app:v1", "team/app@D"] {
        for signed in SIGNED.iter().chain(&others).chain(&["", "B:"]) {
            let signed = name(signed);
            let rule = SignedIdentity::MatchExact;
            for flag in rule.alternatives(&image(of), &signed) {
                let (flag, value) = flag.split_once(' ').unwrap();
                let other = match flag {
                    "--exact-repository" => SignedIdentity::exact_repository(value),
                    "--signed-identity" => value.parse(),
                    _ => panic!("{flag}"),
                };
                assert!(
                    other.unwrap().accepts(&image(of), &signed),
                    "{of} {value} {signed}"
                );
            }
        }
    }
}
