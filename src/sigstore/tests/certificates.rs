//! Words that identities must fit, and trusted roots; what certificates prove is tried end to end, where an
//! authority is.

use crate::limits::signature::TRUSTED_ROOT_BYTES_MAX;
use crate::sigstore::{Pieces, Pki, Subject, TrustRoot, Words};

#[test]
fn regular_expressions_fit_anywhere_as_cosigns_do() {
    for (pattern, text, fits) in [
        ("example", "dev@example.com", true),
        ("^dev@example\\.com$", "dev@example.com", true),
        ("^example", "dev@example.com", false),
        ("(?i)EXAMPLE", "dev@example.com", true),
        ("dev@example.com", "dev@exampleXcom", true),
        (".", "", false),
        // RE2's classes are ASCII: a digit of another script is none.
        ("^build-\\d+$", "build-42", true),
        ("^build-\\d+$", "build-٤٢", false),
        ("^\\w+$", "größe", false),
        ("größe", "die größe", true),
    ] {
        let words = Words::regexp(pattern).unwrap();
        assert_eq!(words.fit(text), fits, "{pattern} on {text}");
    }
    for wrong in [
        "",
        "(",
        "a{99999}{99999}",
        "(a{90}){300}",
        "(?=ahead)",
        "\\p{Greek",
    ] {
        assert!(Words::regexp(wrong).is_err(), "{wrong}");
    }
    // Whatever fits into a line of a list, written out, is not too much.
    let longest = ["https://ci.example/apps/web"; 142].join("|");
    let longest = Words::regexp(&longest).unwrap();
    assert!(longest.fit("https://ci.example/apps/web"));
}

#[test]
fn exact_words_fit_themselves_alone() {
    let words = Words::exact("dev@example.com").unwrap();
    assert!(words.fit("dev@example.com"));
    for other in ["dev@example.co", "Dev@example.com", " dev@example.com", ""] {
        assert!(!words.fit(other), "{other}");
    }
    assert!(Words::exact("").is_err());
}

#[test]
fn exact_words_that_look_like_a_pattern_say_that_they_are_none() {
    for (text, looks) in [
        ("^https://gitlab.example/", true),
        (".*@example.com", true),
        ("dev@example.com$", true),
        (
            "https://gitlab.example/a/b//.gitlab-ci.yml@refs/heads/main",
            false,
        ),
        ("dev+ci@example.com", false),
    ] {
        let said = Words::exact(text).unwrap().to_string();
        assert_eq!(said.contains("-regexp"), looks, "{said}");
    }
}

#[test]
fn the_root_that_is_built_in_can_be_used() {
    let root = TrustRoot::built_in().unwrap();
    assert!(root.has_authorities());
    assert!(root.name().contains("2026"), "{}", root.name());
}

#[test]
fn what_is_no_trusted_root_is_refused() {
    let empty = r#"{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}"#;
    assert!(
        !TrustRoot::parse(empty.as_bytes())
            .unwrap()
            .has_authorities()
    );
    for (text, says) in [
        ("", "EOF"),
        ("{}", "mediaType"),
        (
            r#"{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json"}"#,
            "is no trusted root",
        ),
        (
            r#"{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1",
                "certificateAuthorities":[{"uri":"","certChain":{"certificates":[]}}]}"#,
            "empty",
        ),
        (
            r#"{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1",
                "certificateAuthorities":[{"uri":"","certChain":{"certificates":[{"rawBytes":"AAAA"}]}}]}"#,
            "certificate",
        ),
    ] {
        let said = TrustRoot::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(said.contains(says), "{said}");
    }
    let large = vec![b' '; usize::try_from(TRUSTED_ROOT_BYTES_MAX).unwrap() + 1];
    let said = TrustRoot::parse(&large).unwrap_err().to_string();
    assert!(said.contains("1 MiB"), "{said}");
    assert!(TrustRoot::parse(&[0xff, 0xfe]).is_err());
}

#[test]
fn what_is_no_certificate_is_not_repeated() {
    let long = "MHcC".repeat(1000);
    for pem in [
        format!("-----BEGIN CERTIFICATE---{long}---"),
        format!("-----BEGIN {long}-----\nAAAA\n"),
        format!("-----BEGIN CERTIFICATE-----\n{long}*\n-----END CERTIFICATE-----\n"),
    ] {
        let said = Pki::new(pem.as_bytes(), None, Subject::default()).unwrap_err();
        assert!(said.len() < 200 && !said.contains("77, 72"), "{said}");
    }
}

#[test]
fn pieces_without_certificates_are_refused() {
    let pieces = |pem: &str| Pieces {
        authorities: vec![pem.as_bytes().to_vec()],
        ..Pieces::default()
    };
    for pem in [
        "",
        "no PEM",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
    ] {
        assert!(TrustRoot::assemble(&pieces(pem)).is_err(), "{pem}");
        assert!(Pki::new(pem.as_bytes(), None, Subject::default()).is_err());
    }
    assert!(
        !TrustRoot::assemble(&Pieces::default())
            .unwrap()
            .has_authorities()
    );
}
