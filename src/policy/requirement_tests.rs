use super::super::Policy;
use super::*;

/// A `sigstoreSigned` with these fields, as the default of a policy.
fn signed(fields: &str) -> Result<Requirement, String> {
    let comma = if fields.is_empty() { "" } else { "," };
    let text = format!(r#"{{"default":[{{"type":"sigstoreSigned"{comma}{fields}}}]}}"#);
    let policy = Policy::parse(text.as_bytes()).map_err(|error| match error {
        super::super::Error::Form { reason, .. } => reason,
        super::super::Error::Json(error) => error.to_string(),
    })?;
    let (_, list) = policy.requirements(&"nginx".parse().unwrap());
    assert_eq!(list.len(), 1);
    Ok(list[0].clone())
}

fn with(keys: KeySource) -> Requirement {
    by(SignedBy::Keys { keys, logs: None })
}

fn by(by: SignedBy) -> Requirement {
    Requirement::SigstoreSigned(Box::new(SigstoreSigned {
        by,
        identity: SignedIdentity::MatchRepoDigestOrExact,
    }))
}

fn paths(paths: &[&str]) -> KeySource {
    KeySource::Paths(paths.iter().map(|path| (*path).to_owned()).collect())
}

const ONE_SOURCE: &str =
    "exactly one of keyPath, keyPaths, keyData, keyDatas, fulcio, and pki must be specified";

#[test]
fn keys_are_paths_or_data() {
    let data = |texts: &[&str]| {
        KeySource::Data(texts.iter().map(|text| text.as_bytes().to_vec()).collect())
    };
    for (fields, keys) in [
        (r#""keyPath":"/k""#, paths(&["/k"])),
        (
            r#""keyPaths":["/k","relative"]"#,
            paths(&["/k", "relative"]),
        ),
        (r#""keyPath":"/k","keyData":null"#, paths(&["/k"])),
        (r#""keyPath":"","keyData":"YQ==""#, data(&["a"])),
        (r#""keyDatas":["YQ==","Yg=="]"#, data(&["a", "b"])),
        // As Go's decoder has it.
        (r#""keyData":"Y\nQ==\r\n""#, data(&["a"])),
        (r#""keyData":"YR==""#, data(&["a"])),
        (r#""keyData":"""#, data(&[""])),
    ] {
        assert_eq!(signed(fields), Ok(with(keys)), "{fields}");
    }
}

#[test]
fn a_source_of_keys_that_is_not_one_is_refused() {
    for (fields, says) in [
        ("", ONE_SOURCE),
        (r#""keyPath":"""#, ONE_SOURCE),
        (r#""keyPath":null"#, ONE_SOURCE),
        (r#""keyData":null"#, ONE_SOURCE),
        (r#""keyPath":"/k","keyData":"""#, ONE_SOURCE),
        (r#""keyPath":"/k","keyPaths":["x"]"#, ONE_SOURCE),
        (r#""keyPaths":null"#, r#""keyPaths" contains no entries"#),
        (r#""keyPaths":[]"#, r#""keyPaths" contains no entries"#),
        (
            r#""keyPath":"/k","keyPaths":null"#,
            r#""keyPaths" contains no entries"#,
        ),
        (r#""keyDatas":[]"#, r#""keyDatas" contains no entries"#),
        (r#""keyPath":1"#, r#""keyPath" is no text"#),
        (r#""keyPaths":"x""#, r#""keyPaths" is no list"#),
        (r#""keyPaths":[1]"#, r#""keyPaths" is no text"#),
        (r#""keyPath":"/k","x":1"#, r#"Unknown key "x""#),
    ] {
        assert_eq!(signed(fields), Err(says.to_owned()), "{fields}");
    }
    for fields in [
        r#""keyData":"!!""#,
        r#""keyData":"YQ""#,
        r#""keyData":"Y Q==""#,
        r#""keyPath":"/k","rekorPublicKeyData":"!""#,
    ] {
        let error = signed(fields).unwrap_err();
        assert!(error.starts_with("illegal base64 data in "), "{error}");
    }
    let error = signed(r#""keyPath":"/k","keyPath":"/k""#).unwrap_err();
    assert!(error.starts_with(r#"Duplicate key "keyPath""#), "{error}");
}

#[test]
fn certificates_and_logs_say_who_may_sign() {
    let data = |text: &str| KeySource::Data(vec![text.as_bytes().to_vec()]);
    let fulcio = r#""fulcio":{"caPath":"x","oidcIssuer":"i","subjectEmail":"e"}"#;
    let fulcio_data = r#""fulcio":{"caData":"YQ==","oidcIssuer":"i","subjectEmail":"e"}"#;
    let of_fulcio = |authorities, logs| SignedBy::Fulcio {
        authorities,
        issuer: "i".to_owned(),
        email: "e".to_owned(),
        logs,
    };
    let logged = |logs| SignedBy::Keys {
        keys: paths(&["/k"]),
        logs: Some(logs),
    };
    for (fields, wanted) in [
        (
            format!(r#"{fulcio},"rekorPublicKeyPath":"r""#),
            of_fulcio(paths(&["x"]), paths(&["r"])),
        ),
        (
            format!(r#"{fulcio_data},"rekorPublicKeyData":"YQ==""#),
            of_fulcio(data("a"), data("a")),
        ),
        (
            r#""keyPath":"/k","rekorPublicKeyPath":"x""#.to_owned(),
            logged(paths(&["x"])),
        ),
        (
            r#""keyPath":"/k","rekorPublicKeyPaths":["x","y"]"#.to_owned(),
            logged(paths(&["x", "y"])),
        ),
        (
            r#""keyPath":"/k","rekorPublicKeyDatas":["YQ=="]"#.to_owned(),
            logged(data("a")),
        ),
        (
            r#""pki":{"caRootsPath":"x","caIntermediatesData":"YQ==","subjectHostname":"h"}"#
                .to_owned(),
            SignedBy::Pki {
                roots: paths(&["x"]),
                intermediates: Some(data("a")),
                email: None,
                host: Some("h".to_owned()),
            },
        ),
        (
            r#""pki":{"caRootsData":"YQ==","subjectEmail":"e","subjectHostname":""}"#.to_owned(),
            SignedBy::Pki {
                roots: data("a"),
                intermediates: None,
                email: Some("e".to_owned()),
                host: None,
            },
        ),
    ] {
        assert_eq!(signed(&fields), Ok(by(wanted)), "{fields}");
    }
}

#[test]
fn a_log_that_is_named_and_empty_is_refused_by_name_where_it_applies() {
    // Elsewhere nothing is asked for by it.
    let fields = r#""keyPath":"/k","rekorPublicKeyPath":"""#;
    let name = "`sigstoreSigned` with an empty `rekorPublicKeyPath`".to_owned();
    assert_eq!(signed(fields), Ok(Requirement::Unsupported(name)));
}

#[test]
fn certificates_and_logs_of_a_wrong_shape_are_load_errors() {
    let rekor = r#""rekorPublicKeyPath":"x""#;
    for (fields, says) in [
        (r#""fulcio":null"#.to_owned(), "JSON object expected"),
        (
            r#""fulcio":{}"#.to_owned(),
            "At least one of caPath and caData must be specified",
        ),
        (
            r#""fulcio":{"caPath":"x","caData":"YQ=="}"#.to_owned(),
            "caPath and caData cannot be used simultaneously",
        ),
        (
            r#""fulcio":{"caPath":"x","subjectEmail":"e"}"#.to_owned(),
            "oidcIssuer not specified",
        ),
        (
            r#""fulcio":{"caData":"","oidcIssuer":"i"}"#.to_owned(),
            "subjectEmail not specified",
        ),
        (
            r#""fulcio":{"caPath":"x","y":1}"#.to_owned(),
            r#"Unknown key "y""#,
        ),
        (
            r#""fulcio":{"caPath":"x","oidcIssuer":"i","subjectEmail":"e"}"#.to_owned(),
            "At least one of rekorPublickeyPath, rekorPublicKeyPaths, rekorPublickeyData and rekorPublicKeyDatas must be specified if fulcio is used",
        ),
        (
            r#""pki":{}"#.to_owned(),
            "At least one of caRootsPath and caRootsData must be specified",
        ),
        (
            r#""pki":{"caRootsPath":"x"}"#.to_owned(),
            "At least one of subjectEmail, subjectHostname must be specified",
        ),
        (
            r#""pki":{"caRootsPath":"x","caRootsData":"YQ=="}"#.to_owned(),
            "caRootsPath and caRootsData cannot be used simultaneously",
        ),
        (
            r#""pki":{"caRootsPath":"x","caIntermediatesPath":"x","caIntermediatesData":"YQ=="}"#
                .to_owned(),
            "caIntermediatesPath and caIntermediatesData cannot be used simultaneously",
        ),
        (
            format!(r#""pki":{{"caRootsPath":"x","subjectEmail":"e"}},{rekor}"#),
            "rekorPublickeyPath, rekorPublicKeyPaths, rekorPublickeyData and rekorPublicKeyDatas are not supported for pki",
        ),
        (
            r#""keyPath":"/k","rekorPublicKeyPaths":[]"#.to_owned(),
            r#""rekorPublickeyPaths" contains no entries"#,
        ),
        (
            r#""keyPath":"/k","rekorPublicKeyDatas":[]"#.to_owned(),
            r#""rekorPublickeyDatas" contains no entries"#,
        ),
        (
            format!(r#""keyPath":"/k",{rekor},"rekorPublicKeyData":"YQ==""#),
            "at most one of rekorPublickeyPath, rekorPublicKeyPaths, rekorPublickeyData and rekorPublicKeyDatas can be used simultaneously",
        ),
        (
            format!(
                r#""keyPath":"/k","fulcio":{{"caPath":"x","oidcIssuer":"i","subjectEmail":"e"}},{rekor}"#
            ),
            ONE_SOURCE,
        ),
    ] {
        assert_eq!(signed(&fields), Err(says.to_owned()), "{fields}");
    }
}

#[test]
fn every_signed_identity_is_read() {
    for (written, rule) in [
        (r#"{"type":"matchExact"}"#, "matchExact"),
        (
            r#"{"type":"matchRepoDigestOrExact"}"#,
            "matchRepoDigestOrExact",
        ),
        (r#"{"type":"matchRepository"}"#, "matchRepository"),
        (
            r#"{"type":"exactReference","dockerReference":"a.io/x:v"}"#,
            "exactReference:a.io/x:v",
        ),
        (
            r#"{"type":"exactRepository","dockerRepository":"a.io/x:ignored"}"#,
            "exactRepository:a.io/x:ignored",
        ),
        (
            r#"{"type":"remapIdentity","prefix":"a.io:5","signedPrefix":"b.io/x"}"#,
            "remapIdentity:a.io:5=b.io/x",
        ),
    ] {
        let Ok(Requirement::SigstoreSigned(found)) =
            signed(&format!(r#""keyPath":"/k","signedIdentity":{written}"#))
        else {
            panic!("{written} was refused");
        };
        assert_eq!(found.identity.to_string(), rule);
        assert_eq!(rule.parse(), Ok(found.identity));
    }
}

#[test]
fn a_signed_identity_of_a_wrong_shape_is_a_load_error() {
    for (written, says) in [
        ("null", r#"Unknown policy reference match type """#),
        ("{}", r#"Unknown policy reference match type """#),
        (r#""matchExact""#, "JSON object expected"),
        (
            r#"{"type":"x"}"#,
            r#"Unknown policy reference match type "x""#,
        ),
        // Ours, for flags alone.
        (
            r#"{"type":"digestOnly"}"#,
            r#"Unknown policy reference match type "digestOnly""#,
        ),
        (r#"{"type":"matchExact","x":1}"#, r#"Unknown key "x""#),
        (
            r#"{"type":"matchRepository","dockerReference":"a"}"#,
            r#"Unknown key "dockerReference""#,
        ),
        (
            r#"{"type":"exactReference"}"#,
            r#"Key "dockerReference" missing in a JSON object"#,
        ),
        (
            r#"{"type":"exactReference","dockerReference":"a.io/x"}"#,
            r#"dockerReference "a.io/x" contains neither a tag nor digest"#,
        ),
        (
            r#"{"type":"exactReference","dockerReference":null}"#,
            r#"Invalid format of dockerReference "": invalid reference format"#,
        ),
        (
            r#"{"type":"exactReference","dockerReference":"A"}"#,
            r#"Invalid format of dockerReference "A": invalid reference format: repository name must be lowercase"#,
        ),
        (
            r#"{"type":"exactRepository","dockerReference":"a"}"#,
            r#"Unknown key "dockerReference""#,
        ),
        (
            r#"{"type":"exactRepository","dockerRepository":"a//b"}"#,
            r#"Invalid format of dockerRepository "a//b": invalid reference format"#,
        ),
        (
            r#"{"type":"remapIdentity","prefix":"a.io"}"#,
            r#"Key "signedPrefix" missing in a JSON object"#,
        ),
        (
            r#"{"type":"remapIdentity","prefix":"a.io","signedPrefix":"a_b/c"}"#,
            r#"prefix "a_b/c" is not valid"#,
        ),
        (
            r#"{"type":"remapIdentity","prefix":"a.io/x:t","signedPrefix":"b"}"#,
            r#"prefix "a.io/x:t" is not valid"#,
        ),
    ] {
        let found = signed(&format!(r#""keyPath":"/k","signedIdentity":{written}"#));
        assert_eq!(found, Err(says.to_owned()), "{written}");
    }
}
