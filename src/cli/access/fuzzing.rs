//! What has to hold whatever stands in files of credentials and in `registries.conf`.
#![expect(clippy::expect_used, reason = "a broken promise is a finding")]

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::authfile::{AuthFile, Format};
use super::given::CredsFile;
use super::registries;
use crate::oci::{Digest, Namespace, Reference};

/// A secret that is shorter than this, in bytes, may be a word of a message; a fuzzer finds those.
const SECRET_BYTES_MIN: usize = 16;

/// No secret in a file is shown by what was read, nor by an error.
pub(crate) fn auth_file(bytes: &[u8]) {
    let secrets = secrets(bytes);
    for format in [Format::Current, Format::Legacy] {
        match AuthFile::parse(Path::new("f"), format, bytes) {
            Err(error) => check_hidden(&secrets, &format!("{error} {error:?}")),
            Ok(file) => {
                check_hidden(&secrets, &format!("{file:?}"));
                for asked in ["h.example", "h.example/ns/app", "docker.io/library/a"] {
                    let asked: Namespace = asked.parse().expect("a namespace");
                    check_hidden(&secrets, &format!("{:?}", file.look(&asked)));
                }
            }
        }
    }
}

fn check_hidden(secrets: &[String], shown: &str) {
    let told = secrets.iter().find(|secret| shown.contains(*secret));
    assert!(told.is_none(), "`{told:?}` is shown: {shown}");
}

/// The secrets of a file, as far as they stand there once: what stands elsewhere too may be shown.
fn secrets(bytes: &[u8]) -> Vec<String> {
    let Ok(document) = serde_json::from_slice::<Value>(bytes) else {
        return Vec::new();
    };
    let text = String::from_utf8_lossy(bytes);
    let entries = document.get("auths").and_then(Value::as_object);
    let entries = entries.into_iter().flat_map(serde_json::Map::values);
    let fields = ["auth", "identitytoken", "registrytoken", "password"];
    let found = entries.flat_map(|entry| fields.map(|field| entry.get(field)));
    let found = found.flatten().filter_map(Value::as_str);
    let secrets = found.filter(|secret| is_secret(secret, &text));
    secrets.map(str::to_owned).collect()
}

/// Whether `secret` is nothing else by chance, and stands in `text` once.
fn is_secret(secret: &str, text: &str) -> bool {
    secret.len() >= SECRET_BYTES_MIN
        && secret
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b))
        && text.matches(secret).take(2).count() == 1
}

/// No password of a file of `--creds-file` is shown.
pub(crate) fn creds_file(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let password = |line: &str| {
        let mut words = line.trim_matches(['\r', ' ', '\t']).splitn(3, [' ', '\t']);
        let password = words.nth(2)?.trim_matches([' ', '\t']).to_owned();
        is_secret(&password, &text).then_some(password)
    };
    let secrets: Vec<String> = text.split('\n').filter_map(password).collect();
    let shown = match CredsFile::parse("f".to_owned(), bytes) {
        Ok(file) => format!("{file:?}"),
        Err(error) => format!("{error} {error:?}"),
    };
    check_hidden(&secrets, &shown);
}

/// Wherever an image is read from, it is by the digest or the tag that was asked for.
pub(crate) fn registries_conf(bytes: &[u8]) {
    let file: Arc<Path> = Arc::from(Path::new("x.conf"));
    let Ok(registries) = registries::parsed(&file, bytes) else {
        return;
    };
    for name in [
        "a.b/c:1",
        "r.example:5000/a/b/c:v1",
        "docker.io/library/a:1",
    ] {
        let by_tag: Reference = name.parse().expect("a name");
        let by_digest = Reference {
            tag: None,
            digest: Some(Digest::sha256(b"")),
            ..by_tag.clone()
        };
        for image in [by_tag, by_digest] {
            for place in registries.places(&image).into_iter().flatten() {
                assert_eq!(place.reference.digest, image.digest);
                assert_eq!(place.reference.tag, image.tag);
            }
        }
    }
}
