use proptest::prelude::*;

use super::*;
use crate::list::{Entry, parse};

fn entry(line: &str) -> Entry {
    let parsed = parse("images.txt", line.as_bytes()).unwrap();
    assert!(parsed.bad.is_empty(), "{line}: {:?}", parsed.bad);
    parsed.entries.into_iter().next().unwrap()
}

/// What is said of a line that is wrong.
fn said(line: &str) -> String {
    let parsed = parse("l", line.as_bytes()).unwrap();
    assert!(parsed.entries.is_empty(), "{line} was taken");
    parsed.bad[0].to_string()
}

#[test]
fn settings_stand_behind_the_names() {
    let key = |path: &str| Some(Verify::Key(path.to_owned()));
    let line =
        "a.io/b:1 platform=linux/arm64 verify=cosign\tcosign-public-key=keys/a.pub sign=none # x";
    let settings = entry(line).settings;
    assert_eq!(settings.verify, key("keys/a.pub"));
    assert_eq!(settings.sign, Some(Sign::None));
    assert_eq!(settings.platforms.unwrap().to_string(), "linux/arm64");
    let line =
        "a.io/b c.io/d 1 sign=cosign verify=cosign cosign-public-key=\"my \\\"keys\\\" #1\" # x";
    let mirrored = entry(line);
    assert_eq!(mirrored.settings.verify, key("my \"keys\" #1"));
    assert_eq!(mirrored.settings.sign, Some(Sign::Keyless));
    assert_eq!(
        mirrored.to_string(),
        "a.io/b:1 c.io/d 1 verify=cosign cosign-public-key=\"my \\\"keys\\\" #1\" sign=cosign"
    );
    let line = "a.io/b verify=cosign cosign-certificate-identity-regexp=^a=b$ \
                cosign-certificate-oidc-issuer=https://x";
    assert_eq!(
        entry(line).settings.verify,
        Some(Verify::Certificate(CertificateWords {
            identity: Words::Regexp("^a=b$".to_owned()),
            issuer: Words::Exact("https://x".to_owned()),
        }))
    );
    assert_eq!(entry("a verify=none").settings.verify, Some(Verify::None));
    assert!(entry("a.io/b:1").settings.is_open());
}

#[test]
fn what_would_be_ignored_is_an_error_with_its_place() {
    for (line, place, why) in [
        ("a verify=yes", "1:10", "`yes` is not known"),
        ("a verify=Cosign", "1:10", "not known"),
        ("a verify=notation", "1:10", "`notation` is not there yet"),
        ("a sign=notation", "1:8", "`notation` is not there yet"),
        ("a verify=", "1:10", "empty"),
        ("a verify=\" \"", "1:10", "empty"),
        ("a verify=none verify=none", "1:22", "twice"),
        ("a very=cosign", "1:3", "no setting `very`"),
        ("a cosign-public-key=k", "1:3", "without `verify` `cosign`"),
        (
            "a verify=none cosign-public-key=k",
            "1:15",
            "without `verify` `cosign`",
        ),
        (
            "a cosign-certificate-identity=k",
            "1:3",
            "without `verify` `cosign`",
        ),
        ("a cosign-private-key=k", "1:3", "without `sign` `cosign`"),
        (
            "a sign=none cosign-private-key=k",
            "1:13",
            "without `sign` `cosign`",
        ),
        (
            "a verify=cosign",
            "1:3",
            "needs `cosign-certificate-identity`",
        ),
        (
            "a verify=cosign cosign-certificate-identity=x",
            "1:3",
            "needs `cosign-certificate-oidc-issuer`",
        ),
        (
            "a verify=cosign cosign-certificate-identity=x cosign-certificate-identity-regexp=x",
            "1:47",
            "beside",
        ),
        (
            "a verify=cosign cosign-public-key=k cosign-certificate-oidc-issuer=x",
            "1:37",
            "beside `cosign-public-key`",
        ),
        (
            "a verify=cosign cosign-certificate-identity-regexp=( cosign-certificate-oidc-issuer=x",
            "1:52",
            "no regular expression: unclosed group",
        ),
        (
            "a verify=cosign cosign-public-key=awskms:///x",
            "1:35",
            "`awskms://…`",
        ),
        (
            "a sign=cosign cosign-private-key=k8s://a/b",
            "1:34",
            "`k8s://…`",
        ),
        (
            "a sign=cosign cosign-private-key=pkcs11:x",
            "1:34",
            "`pkcs11:…`",
        ),
        ("a platform=linux", "1:12", "os/arch"),
        ("a verify=\"none", "1:10", "JSON string"),
        ("a verify=\"none\"x", "1:10", "JSON string"),
        ("a verify=\"a\\nb\"", "1:10", "control character"),
        ("a verify=none b", "1:15", "only settings"),
        ("a b verify=none", "1:3", "two columns"),
        ("a=b verify=none", "1:1", "repository"),
    ] {
        let said = said(line);
        assert!(said.starts_with(&format!("l:{place}: ")), "{line}: {said}");
        assert!(said.contains(why), "{line}: {said}");
    }
}

#[test]
fn expressions_are_bounded_and_read_as_the_verifier_reads_them() {
    for (expression, why) in [
        // 4,000 services with such ones took 10 GB.
        ("(a{90}){300}", "exceeds size limit"),
        ("\\p{Greek}", "no regular expression"),
    ] {
        let line = format!(
            "a verify=cosign cosign-certificate-identity=x cosign-certificate-oidc-issuer-regexp={expression}"
        );
        let said = said(&line);
        assert!(said.starts_with("l:1:"), "{said}");
        assert!(said.contains(why), "{expression}: {said}");
    }
}

fn words() -> impl Strategy<Value = Words> {
    let regexp = prop::sample::select(vec!["^a b$", ".*", "\"x\"", "é|\u{3000}"]);
    prop_oneof![
        value().prop_map(Words::Exact),
        regexp.prop_map(|text| Words::Regexp(text.to_owned())),
    ]
}

/// A value that a setting may have.
fn value() -> impl Strategy<Value = String> {
    let no_name = |text: &String| check(Key::PublicKey, text).is_ok();
    any::<String>().prop_filter("no value", no_name)
}

pub(crate) fn settings() -> impl Strategy<Value = Settings> {
    let platforms =
        prop::sample::subsequence(vec!["linux/amd64", "linux/arm/v7", "windows/amd64"], 1..3)
            .prop_map(|list| {
                let list: Vec<Platform> = list.iter().map(|text| text.parse().unwrap()).collect();
                PlatformSelection::of_platforms(&list)
            });
    let verify = prop_oneof![
        Just(Verify::None),
        value().prop_map(Verify::Key),
        (words(), words()).prop_map(|(identity, issuer)| {
            Verify::Certificate(CertificateWords { identity, issuer })
        }),
    ];
    let sign = prop_oneof![
        Just(Sign::None),
        Just(Sign::Keyless),
        value().prop_map(Sign::Key)
    ];
    (
        prop::option::of(platforms),
        prop::option::of(verify),
        prop::option::of(sign),
    )
        .prop_map(|(platforms, verify, sign)| Settings {
            platforms,
            verify,
            sign,
        })
}

proptest! {
    #[test]
    fn settings_that_are_written_are_read_again(settings in settings()) {
        let line = format!("a.io/b:1{settings} # c");
        if line.len() <= crate::limits::input::LIST_LINE_BYTES_MAX {
            prop_assert_eq!(entry(&line).settings, settings);
        }
    }

    #[test]
    fn no_words_make_it_panic(words in "([ \t\"\\\\=#a,/:-]|verify|sign|cosign|none|platform|cosign-public-key){0,40}") {
        let line = format!("a.io/b:1 {words}");
        let parsed = parse("l", line.as_bytes()).unwrap();
        for entry in parsed.entries {
            let again = parse("l", entry.to_string().as_bytes()).unwrap();
            prop_assert_eq!(&again.entries[0].settings, &entry.settings);
        }
    }
}
