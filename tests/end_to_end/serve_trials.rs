//! Our registry under the clients that people have.

use consign::oci::Digest;
use consign::serve::{Access, Registry};
use libtest_mimic::Trial;

use crate::harness::{Tool, Tools, with_tools};
use crate::real::distribution::Distribution;
use crate::registry::{Contents, Image, Pushed, Settings, TestRegistry, artifact, index};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        with_tools(
            "serve::crane_pulls_pushes_and_copies",
            &[Tool::Crane],
            crane,
        ),
        with_tools("serve::skopeo_copies_whole_images", &[Tool::Skopeo], skopeo),
        with_tools("serve::oras_copies_and_discovers", &[Tool::Oras], oras),
        with_tools(
            "serve::distribution_gives_back_what_it_got",
            &[Tool::Crane, Tool::Registry],
            distribution,
        ),
    ]
}

/// An image for two platforms under `app:1`.
async fn image(registry: &TestRegistry) -> Pushed {
    let amd = Image::new(&["base", "amd"])
        .push(registry, "app", None)
        .await;
    let arm = Image::new(&["base", "arm"]).on("linux/arm64");
    let arm = arm.push(registry, "app", None).await;
    index(registry, "app", Some("1"), &[&amd, &arm]).await
}

async fn crane(tools: Tools) {
    let registry = TestRegistry::start().await;
    let all = image(&registry).await;
    let host = registry.host();
    let (source, copy) = (format!("{host}/app:1"), format!("{host}/copy/app:2"));
    let run = |arguments: Vec<String>| {
        let tools = tools.clone();
        async move { tools.run(Tool::Crane, arguments).await }
    };
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let digest = run(words(&format!("digest {source}"))).await;
    assert_eq!(digest.trim(), all.digest.to_string());
    run(words(&format!("copy {source} {copy}"))).await;
    let copied = Contents::of(&registry, "copy/app").await;
    assert_eq!(
        copied.manifests,
        Contents::of(&registry, "app").await.manifests
    );
    assert_eq!(copied.blobs, Contents::of(&registry, "app").await.blobs);
    // Within one registry it mounts.
    assert_eq!(registry.count("PATCH", "*"), 0, "{}", registry.log_text());

    run(words(&format!("pull --format oci {source} pulled"))).await;
    run(words(&format!("push pulled {host}/pushed:3 --index"))).await;
    assert!(registry.tag("pushed", "3").is_some());
    assert_eq!(Contents::of(&registry, "pushed").await.blobs, copied.blobs);
    run(words(&format!("validate --remote {source}"))).await;

    run(words(&format!("tag {copy} another"))).await;
    let tags = run(words(&format!("ls {host}/copy/app"))).await;
    assert_eq!(tags, "2\nanother\n");
    let catalog = run(words(&format!("catalog {host}"))).await;
    assert_eq!(catalog, "app\ncopy/app\npushed\n");
    run(words(&format!("delete {host}/copy/app@{}", all.digest))).await;
    let left = Contents::of(&registry, "copy/app").await;
    assert!(left.tags.is_empty());
}

async fn skopeo(tools: Tools) {
    let directory = tools.folder().join("registry");
    let open = async || {
        let registry = Registry::open(directory.clone(), Access::Writable).await;
        TestRegistry::over(registry.expect("it opens"), Settings::default()).await
    };
    let registry = open().await;
    let all = image(&registry).await;
    let host = registry.host();
    let layout = tools.folder().join("layout");
    let layout = format!("oci:{}:app", layout.display());
    let plain = ["--insecure-policy", "--tmpdir", "."];
    let copy = |from: String, to: String| {
        let options = [
            "--preserve-digests",
            "--all",
            "--src-tls-verify=false",
            "--dest-tls-verify=false",
        ];
        let words = plain.into_iter().chain(["copy"]).chain(options);
        let words: Vec<String> = words.map(str::to_owned).chain([from, to]).collect();
        let tools = tools.clone();
        async move { tools.run(Tool::Skopeo, words).await }
    };
    let to = |name: &str| format!("docker://{host}/{name}");
    copy(to("app:1"), layout.clone()).await;
    copy(layout, to("back:1")).await;
    copy(to("app:1"), to("copy/app:1")).await;
    let before = Contents::of(&registry, "app").await;
    for repository in ["back", "copy/app"] {
        assert_eq!(Contents::of(&registry, repository).await, before);
    }
    let tags = ["list-tags", "--tls-verify=false"].map(str::to_owned);
    let tags = tools
        .run(Tool::Skopeo, tags.into_iter().chain([to("app")]))
        .await;
    assert!(tags.contains("\"1\""), "{tags}");
    let inspect = ["inspect", "--raw", "--tls-verify=false"].map(str::to_owned);
    let raw = tools
        .run(Tool::Skopeo, inspect.into_iter().chain([to("app:1")]))
        .await;
    assert_eq!(Digest::sha256(raw.as_bytes()), all.digest);
    // After a restart, all of it is still there.
    registry.stop().await;
    let registry = open().await;
    assert_eq!(Contents::of(&registry, "back").await, before);
}

async fn oras(tools: Tools) {
    let registry = TestRegistry::start().await;
    let all = image(&registry).await;
    let kind = "application/x.signature";
    let signature = artifact(&registry, "app", kind, Some(&all), "signed").await;
    let host = registry.host();
    let run = |text: String| {
        let tools = tools.clone();
        let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
        async move { tools.run(Tool::Oras, words).await }
    };
    let found = run(format!("discover --plain-http --format json {host}/app:1")).await;
    assert!(found.contains(&signature.digest.to_string()), "{found}");
    run(format!(
        "cp -r --from-plain-http --to-plain-http {host}/app:1 {host}/copy/app:1"
    ))
    .await;
    let before = Contents::of(&registry, "app").await;
    assert_eq!(Contents::of(&registry, "copy/app").await, before);

    std::fs::write(tools.folder().join("note.txt"), "a note").unwrap();
    let attach = "attach --plain-http --artifact-type application/x.note";
    run(format!("{attach} {host}/copy/app:1 note.txt")).await;
    let found = run(format!(
        "discover --plain-http --format json {host}/copy/app:1"
    ))
    .await;
    assert!(found.contains("application/x.note"), "{found}");
    run(format!("push --plain-http {host}/notes:1 note.txt")).await;
    run(format!("pull --plain-http -o pulled {host}/notes:1")).await;
    let pulled = std::fs::read_to_string(tools.folder().join("pulled/note.txt"));
    assert_eq!(pulled.unwrap(), "a note");
}

async fn distribution(tools: Tools) {
    let registry = TestRegistry::start().await;
    let all = image(&registry).await;
    let other = Distribution::start(&tools, "distribution").await;
    let there = format!("{}/app:1", other.host());
    for (from, to) in [
        (format!("{}/app:1", registry.host()), there.clone()),
        (there, format!("{}/back:1", registry.host())),
    ] {
        tools.run(Tool::Crane, ["copy", &from, &to]).await;
    }
    assert_eq!(registry.tag("back", "1"), Some(all.digest));
    let before = Contents::of(&registry, "app").await;
    assert_eq!(Contents::of(&registry, "back").await, before);
}
