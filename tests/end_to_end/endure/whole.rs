//! That nothing half was ever to be seen: by the log of a registry, for every moment of it.

use std::collections::BTreeSet;

use http::Method;
use serde_json::Value;
use url::form_urlencoded;

use crate::registry::{Contents, Logged, TestRegistry};

/// What a manifest says that it consists of.
fn parts(document: &[u8]) -> Vec<String> {
    let document: Value = serde_json::from_slice(document).expect("a manifest is JSON");
    let list = |name: &str| document[name].as_array().cloned().unwrap_or_default();
    let mut parts = vec![document["config"].clone()];
    parts.extend(list("layers"));
    parts.extend(list("manifests"));
    let digest = |part: &Value| part["digest"].as_str().map(str::to_owned);
    parts.iter().filter_map(digest).collect()
}

/// The digest that a request brought into its repository, if it was to bring one.
fn brought(request: &Logged) -> Option<String> {
    let parameter = match request.method {
        Method::PUT if request.path.contains("/blobs/uploads/") => "digest",
        Method::POST if request.path.contains("/blobs/uploads/") => "mount",
        _ => return None,
    };
    form_urlencoded::parse(request.query.as_bytes())
        .find(|(name, _)| name == parameter)
        .map(|(_, digest)| digest.into_owned())
}

/// Checks for all that was written to a repository since its log began that each manifest, by its tag or by
/// its digest, was sent after the registry had said of all its parts that they are there. So whatever could
/// be seen at any moment was whole, also at the one when somebody was killed.
///
/// Returns how many manifests were written.
pub(super) async fn always_whole(registry: &TestRegistry, repository: &str) -> usize {
    let written = written_whole(registry, repository).await;
    written.unwrap_or_else(|early| panic!("{early}\n{}", registry.log_text()))
}

/// The same, or what was written before one of its parts.
pub(super) async fn written_whole(
    registry: &TestRegistry,
    repository: &str,
) -> Result<usize, String> {
    let contents = Contents::of(registry, repository).await;
    let log = registry.log();
    let start = format!("/v2/{repository}/");
    let own = || log.iter().filter(|line| line.path.starts_with(&start));
    // What was there when `moment` came: by what was answered until then.
    let there = |moment: u64| -> BTreeSet<String> {
        let answered = own().filter(|line| line.answered.is_some_and(|at| at < moment));
        let mut there = BTreeSet::new();
        for line in answered {
            match line.status {
                Some(201) if line.path.contains("/manifests/") => {
                    there.extend(digest_of(line, &contents));
                }
                Some(201) => there.extend(brought(line)),
                // A HEAD says so too.
                Some(200 | 307) if line.method == Method::HEAD => {
                    there.extend(line.path.rsplit('/').next().map(str::to_owned));
                }
                _ => {}
            }
        }
        there
    };
    let is_write = |line: &&Logged| line.method == Method::PUT && line.path.contains("/manifests/");
    let mut count = 0;
    for line in own().filter(is_write) {
        let Some(digest) = digest_of(line, &contents) else {
            continue;
        };
        let digest = digest.parse().expect("a digest");
        // What was on its way when somebody was killed may have come to nothing.
        let Some((_, bytes)) = contents.manifests.get(&digest) else {
            assert_ne!(line.status, Some(201), "{line}");
            continue;
        };
        let there = there(line.number);
        for part in parts(bytes) {
            if !there.contains(&part) {
                return Err(format!("{line}: {part} was not there"));
            }
        }
        count += 1;
    }
    Ok(count)
}

/// The digest of the manifest that a request wrote, by its first bytes.
fn digest_of(line: &Logged, contents: &Contents) -> Option<String> {
    let name = line.path.rsplit('/').next()?;
    if name.starts_with("sha256:") {
        return Some(name.to_owned());
    }
    let mut manifests = contents.manifests.iter();
    let fits = |bytes: &[u8]| {
        let length = u64::try_from(bytes.len()).expect("it is small");
        length == line.received && bytes.starts_with(&line.body)
    };
    let found = manifests.find(|(_, (_, bytes))| fits(bytes));
    found.map(|(digest, _)| digest.to_string())
}
