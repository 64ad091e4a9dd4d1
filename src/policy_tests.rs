use proptest::prelude::*;

use super::*;

/// The scope and the first requirement that asks for something.
fn asked(policy: &str, image: &str) -> Option<(String, String)> {
    let policy = Policy::parse(policy.as_bytes()).unwrap();
    let (scope, list) = policy.requirements(&image.parse().unwrap());
    assert!(!list.is_empty());
    let found = list
        .iter()
        .find(|one| !matches!(one, Requirement::InsecureAcceptAnything))?;
    Some((scope, found.name().replace('`', "")))
}

const ANY: &str = r#"{"type":"insecureAcceptAnything"}"#;

#[test]
fn the_most_specific_scope_decides() {
    let policy = format!(
        r#"{{"default":[{ANY}],"transports":{{
            "docker-daemon":{{"":[{{"type":"reject"}}]}},
            "docker":{{
                "a.example.com":[{{"type":"signedBy","keyType":"GPGKeys","keyPath":"/x"}}],
                "a.example.com/free":[{ANY}],
                "a.example.com/free/not:1":[{{"type":"reject"}}],
                "*.wild.example":[{{"type":"sigstoreSigned","keyPath":"/k"}}]
            }}}}}}"#
    );
    let kind = |image: &str| asked(&policy, image);
    let of = |scope: &str, kind: &str| Some((scope.to_owned(), kind.to_owned()));
    assert_eq!(kind("nginx"), None);
    assert_eq!(kind("a.example.com/x:1"), of("a.example.com", "signedBy"));
    assert_eq!(kind("a.example.com/free/x:1"), None);
    assert_eq!(
        kind("a.example.com/free/not:1"),
        of("a.example.com/free/not:1", "reject")
    );
    assert_eq!(kind("a.example.com/free/not:2"), None);
    assert_eq!(
        kind("b.wild.example/x"),
        of("*.wild.example", "sigstoreSigned")
    );
    assert_eq!(
        kind("a.b.wild.example/x"),
        of("*.wild.example", "sigstoreSigned")
    );
    assert_eq!(
        kind("b.wild.example:5000/x"),
        of("*.wild.example", "sigstoreSigned")
    );
    let both = format!(
        "a.example.com/free/not:1@{}",
        crate::oci::Digest::sha256(b"x")
    );
    assert_eq!(kind(&both), of("a.example.com/free/not:1", "reject"));
    assert_eq!(kind("wild.example/x"), None);
    assert_eq!(kind("a.example.com:5000/x"), None);
}

#[test]
fn a_tag_does_not_excuse_a_digest() {
    let policy = format!(
        r#"{{"default":[{{"type":"reject"}}],"transports":{{"docker":{{"a.io/x:free":[{ANY}]}}}}}}"#
    );
    let policy = Policy::parse(policy.as_bytes()).unwrap();
    let scopes = |image: &str| {
        let image = image.parse().unwrap();
        let readings = policy.readings(&image).into_iter();
        readings.map(|(scope, _)| scope).collect::<Vec<_>>()
    };
    let digest = crate::oci::Digest::sha256(b"x");
    assert_eq!(scopes("a.io/x:free"), ["a.io/x:free"]);
    assert_eq!(scopes(&format!("a.io/x@{digest}")), ["default"]);
    assert_eq!(
        scopes(&format!("a.io/x:free@{digest}")),
        ["a.io/x:free", "default"]
    );
    assert_eq!(scopes(&format!("a.io/x:v@{digest}")), ["default"]);
}

#[test]
fn a_scope_holds_whatever_the_case_of_its_host() {
    let policy = format!(
        r#"{{"default":[{ANY}],"transports":{{"docker":{{
            "Reg.Example":[{{"type":"reject"}}],
            "*.Wild.example":[{{"type":"reject"}}],
            "A.io/x:V":[{{"type":"reject"}}],
            "b.io":[{ANY}],"B.io":[{{"type":"reject"}}]}}}}}}"#
    );
    for image in [
        "reg.example/x",
        "Reg.Example/x",
        "a.wild.example/x",
        "a.io/x:V",
        "b.io/x",
    ] {
        let found = asked(&policy, image).map(|(_, kind)| kind);
        assert_eq!(found.as_deref(), Some("reject"), "{image}");
    }
    assert_eq!(asked(&policy, "a.io/x:v"), None);
}

#[test]
fn what_is_no_policy_is_refused() {
    for bad in [
        "",
        "{}",
        r#"{"default":[]}"#,
        r#"{"default":[{}]}"#,
        r#"{"default":[{"type":"reject"}],"transport":{}}"#,
        r#"{"default":[{"type":"reject"}],"transports":{"docker":{"x":[]}}}"#,
        r#"{"default":[{"type":"reject"}],"default":[{"type":"insecureAcceptAnything"}]}"#,
        r#"{"default":[{"type":"reject"}],"transports":{"docker":{"x":[{"type":"reject"}],"x":[{"type":"insecureAcceptAnything"}]}}}"#,
        r#"{"default":[{"type":"reject","type":"insecureAcceptAnything"}]}"#,
    ] {
        assert!(Policy::parse(bad.as_bytes()).is_err(), "{bad}");
    }
    let policy = Policy::parse(br#"{"default":[{"type":"reject"}]}"#).unwrap();
    let (scope, list) = policy.requirements(&"nginx".parse().unwrap());
    assert_eq!(
        (scope.as_str(), list),
        ("default", &[Requirement::Reject][..])
    );
}

#[test]
fn load_errors_are_in_the_words_of_others_and_say_where() {
    let any = r#"{"default":[{"type":"insecureAcceptAnything"}]"#;
    for (policy, says) in [
        ("[]".to_owned(), "the policy: JSON object expected"),
        ("{}".to_owned(), "the policy: Default policy is missing"),
        (format!(r#"{any},"x":1}}"#), "the policy: Unknown key \"x\""),
        (
            r#"{"default":null}"#.to_owned(),
            "`default`: List of verification policy requirements must not be empty",
        ),
        (
            r#"{"default":{"type":"reject"}}"#.to_owned(),
            "`default`: \"requirements\" is no list",
        ),
        (
            r#"{"default":[{"Type":"reject"}]}"#.to_owned(),
            "`default`: Unknown policy requirement type \"\"",
        ),
        (
            format!(r#"{any},"transports":null}}"#),
            "`transports`: JSON object expected",
        ),
        (
            format!(r#"{any},"transports":{{"docker":null}}}}"#),
            "transport `docker`: JSON object expected",
        ),
        (
            format!(r#"{any},"transports":{{"other":{{"x":[]}}}}}}"#),
            "scope `x` of transport `other`: List of verification policy requirements must not be empty",
        ),
        (
            format!(
                r#"{any},"transports":{{"docker":{{"x\u001b":[{{"type":"reject","y":1}}]}}}}}}"#
            ),
            "scope `x\u{fffd}` of transport `docker`: Unknown key \"y\"",
        ),
    ] {
        let error = Policy::parse(policy.as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), says, "{policy}");
    }
    for (policy, key) in [
        (format!(r#"{any},"default":1}}"#), "default"),
        (
            format!(r#"{any},"transports":{{"a":{{}},"a":{{}}}}}}"#),
            "a",
        ),
        (
            r#"{"default":[{"type":"x","deep":[{"k":1,"k":2}]}]}"#.to_owned(),
            "k",
        ),
    ] {
        let Error::Json(error) = Policy::parse(policy.as_bytes()).unwrap_err() else {
            panic!("{policy}");
        };
        let says = format!("Duplicate key \"{key}\" at line 1");
        assert!(error.to_string().starts_with(&says), "{error}");
    }
    assert!(Policy::parse(format!("{any}}} x").as_bytes()).is_err());
    assert!(Policy::parse("[".repeat(100_000).as_bytes()).is_err());
}

#[test]
fn all_of_a_list_is_asked_for() {
    let policy = format!(
        r#"{{"default":[{ANY},{{"type":"sigstoreSigned","keyPath":"/k"}},{{"type":"odd","x":[1]}}]}}"#
    );
    let policy = Policy::parse(policy.as_bytes()).unwrap();
    let (scope, list) = policy.requirements(&"nginx".parse().unwrap());
    let names: Vec<String> = list.iter().map(Requirement::name).collect();
    assert_eq!(scope, "default");
    assert_eq!(
        names,
        ["`insecureAcceptAnything`", "`sigstoreSigned`", "`odd`"]
    );
    let unmet = Unmet {
        scope,
        requirement: names[2].clone(),
    };
    assert_eq!(
        unmet.to_string(),
        "the policy asks for `odd` in scope `default`, which is not there yet"
    );
}

#[test]
fn key_files_of_every_scope_are_known_once() {
    let signed = |fields: &str| format!(r#"[{{"type":"sigstoreSigned",{fields}}}]"#);
    let policy = format!(
        r#"{{"default":{},"transports":{{
            "docker":{{"a.io":{},"b.io":{},"c.io":[{ANY}]}},
            "dir":{{"":{}}}}}}}"#,
        signed(r#""keyPath":"/a""#),
        signed(r#""keyPaths":["/b","/a"]"#),
        signed(r#""keyData":"YQ==""#),
        signed(r#""keyPath":"/elsewhere""#),
    );
    let policy = Policy::parse(policy.as_bytes()).unwrap();
    assert_eq!(policy.paths().into_iter().collect::<Vec<_>>(), ["/a", "/b"]);
}

/// JSON that looks like a policy more often than not.
fn json() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        prop::sample::select(vec![
            "default",
            "transports",
            "docker",
            "",
            "type",
            "sigstoreSigned",
            "keyPath",
            "keyPaths",
            "keyData",
            "keyDatas",
            "fulcio",
            "pki",
            "rekorPublicKeyPath",
            "signedIdentity",
            "reject",
            "remapIdentity",
            "prefix",
            "signedPrefix",
            "exactReference",
            "dockerReference",
            "a.io/b:c",
            "YQ==",
            "caPath",
        ])
        .prop_map(str::to_owned),
        "[ -~]{0,6}",
    ]
    .prop_map(|text| serde_json::to_string(&text).unwrap());
    let leaf = prop_oneof![
        4 => word.clone(),
        1 => Just("null".to_owned()),
        1 => Just("1e9".to_owned()),
        1 => Just("true".to_owned()),
    ];
    leaf.prop_recursive(5, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4)
                .prop_map(|values| format!("[{}]", values.join(","))),
            prop::collection::vec((word.clone(), inner), 0..5).prop_map(|entries| {
                let entries: Vec<String> = entries
                    .iter()
                    .map(|(key, value)| format!("{key}:{value}"))
                    .collect();
                format!("{{{}}}", entries.join(","))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn any_json_is_a_policy_or_refused(a in json(), b in json()) {
        let image: Reference = "a.io/b:c".parse().unwrap();
        for text in [
            a.clone(),
            format!(r#"{{"default":{a}}}"#),
            format!(r#"{{"default":[{a},{b}]}}"#),
            format!(r#"{{"default":[{ANY}],"transports":{{"docker":{{"a.io":[{b}]}}}}}}"#),
            format!(r#"{{"default":[{{"type":"sigstoreSigned","keyPath":"x","signedIdentity":{a}}}]}}"#),
        ] {
            if let Ok(policy) = Policy::parse(text.as_bytes()) {
                prop_assert!(!policy.requirements(&image).1.is_empty());
            }
        }
    }
}
