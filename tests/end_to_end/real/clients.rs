//! What others push, and how others see what arrived.

use consign::oci::Digest;
use libtest_mimic::Trial;
use serde_json::Value;

use super::distribution::Distribution;
use super::images::Images;
use super::{crane_digest, crane_manifest, run, shown};
use crate::harness::{Tool, Tools, with_tools};
use crate::program::Workplace;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        with_tools(
            "real::oras_and_skopeo_read_the_same_bytes_on_both_sides",
            &[Tool::Registry, Tool::Python, Tool::Oras, Tool::Skopeo],
            same_bytes,
        ),
        with_tools(
            "real::docker_schema_2_images_of_skopeo_keep_their_digests",
            &[Tool::Registry, Tool::Python, Tool::Crane, Tool::Skopeo],
            schema_2,
        ),
        with_tools(
            "real::images_that_crane_pushed_keep_their_digests",
            &[Tool::Registry, Tool::Python, Tool::Crane],
            crane_pushed,
        ),
        with_tools(
            "real::an_artifact_of_an_unknown_type_arrives_bit_for_bit",
            &[Tool::Registry, Tool::Crane, Tool::Oras],
            artifact,
        ),
    ]
}

/// Mirrors these lines and expects all of them to be copied.
async fn mirror(lines: &str, source: &Distribution, destination: &Distribution) {
    let place = Workplace::new();
    place.write("list.txt", lines);
    let (from, to) = (source.host(), destination.host());
    let run_it = format!("mirror -f list.txt -s {from} -d {to} --report report.json");
    place.run(&run_it).await.with(0);
    let copied = &place.json("report.json")["summary"]["copied"];
    assert_eq!(*copied, lines.lines().count());
}

async fn same_bytes(tools: Tools) {
    let source = Distribution::start(&tools, "source").await;
    let destination = Distribution::start(&tools, "destination").await;
    let images = Images::pushed(&tools, "--set tiny --images 2 --scale 0.1", &source).await;
    mirror(&images.list(), &source, &destination).await;
    for image in &images.images {
        let expected = images.manifest(&image.index);
        for host in [source.host(), destination.host()] {
            let name = format!("{host}/{}", image.name);
            let fetch = format!("manifest fetch --plain-http {name}");
            let bytes = run(&tools, Tool::Oras, &fetch).await.into_bytes();
            assert_eq!(bytes, expected, "{name}");
            let inspect = format!("--tmpdir . inspect --raw --tls-verify=false docker://{name}");
            let bytes = run(&tools, Tool::Skopeo, &inspect).await.into_bytes();
            assert_eq!(bytes, expected, "{name}");
        }
    }
}

async fn schema_2(tools: Tools) {
    const LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    let source = Distribution::start(&tools, "source").await;
    let destination = Distribution::start(&tools, "destination").await;
    let images = Images::make(&tools, "--set tiny --images 1 --scale 0.1").await;
    let layout = images.layout();
    let name = &images.images[0].name;
    for (which, to) in [("--all", "docker/many:1"), ("", "docker/one:1")] {
        let host = source.host();
        let copy = format!(
            "--insecure-policy --tmpdir . --override-arch arm64 --override-os linux copy {which} \
             --format v2s2 --dest-tls-verify=false oci:{layout}:{name} docker://{host}/{to}"
        );
        run(&tools, Tool::Skopeo, &copy).await;
    }
    mirror("docker/many:1\ndocker/one:1\n", &source, &destination).await;
    for (name, media_type) in [("docker/many:1", LIST), ("docker/one:1", MANIFEST)] {
        let before = crane_manifest(&tools, &format!("{}/{name}", source.host())).await;
        let after = format!("{}/{name}", destination.host());
        assert_eq!(crane_manifest(&tools, &after).await, before);
        assert_eq!(crane_digest(&tools, &after).await, Digest::sha256(&before));
        let manifest: Value = serde_json::from_slice(&before).expect("JSON");
        assert_eq!(manifest["mediaType"], media_type);
        run(&tools, Tool::Crane, &format!("validate --remote {after}")).await;
    }
    assert_eq!(destination.stored(), source.stored());
    assert_eq!(destination.links(), source.links());
}

async fn crane_pushed(tools: Tools) {
    let source = Distribution::start(&tools, "source").await;
    let destination = Distribution::start(&tools, "destination").await;
    let images = Images::pushed(&tools, "--set four --scale 0.02", &source).await;
    let host = source.host();
    let name = &images.images[0].name;
    run(
        &tools,
        Tool::Crane,
        &format!("pull --format oci {host}/{name} pulled"),
    )
    .await;
    let push = format!("push pulled {host}/by/crane:1 --index");
    run(&tools, Tool::Crane, &push).await;
    // One platform of it, with a layer more, under another tag.
    let layer = images.images[0].children[0].1[1].replace("sha256:", "blobs/sha256/");
    let append = format!(
        "append --platform linux/amd64 -b {host}/{name} -f {}/{layer} -t {host}/by/crane:2",
        images.layout()
    );
    run(&tools, Tool::Crane, &append).await;
    mirror("by/crane:1\nby/crane:2\n", &source, &destination).await;
    for tag in ["1", "2"] {
        let before = crane_manifest(&tools, &format!("{host}/by/crane:{tag}")).await;
        let after = format!("{}/by/crane:{tag}", destination.host());
        assert_eq!(crane_manifest(&tools, &after).await, before);
        run(&tools, Tool::Crane, &format!("validate --remote {after}")).await;
    }
}

async fn artifact(tools: Tools) {
    let source = Distribution::start(&tools, "source").await;
    let destination = Distribution::start(&tools, "destination").await;
    let folder = tools.folder();
    std::fs::write(folder.join("chart.tgz"), "not really a chart").expect("it is written");
    std::fs::write(folder.join("values.json"), "{\"replicas\": 3}").expect("it is written");
    std::fs::write(folder.join("config.json"), "{\"a\":1}").expect("it is written");
    let host = source.host();
    let push = format!(
        "push --plain-http --artifact-type application/vnd.example.thing.v1 \
         --config config.json:application/vnd.example.config.v1+json \
         --annotation org.example.note=kept {host}/charts/thing:1.2 \
         chart.tgz:application/vnd.example.chart.v1 values.json"
    );
    run(&tools, Tool::Oras, &push).await;
    // Without a config of its own: the empty one.
    let push = format!(
        "push --plain-http --artifact-type application/vnd.example.thing.v1 \
         {host}/charts/thing:bare values.json"
    );
    run(&tools, Tool::Oras, &push).await;
    mirror(
        "charts/thing:1.2\ncharts/thing:bare\n",
        &source,
        &destination,
    )
    .await;
    assert_eq!(destination.stored(), source.stored());
    assert_eq!(destination.links(), source.links());
    for tag in ["1.2", "bare"] {
        let before = crane_digest(&tools, &format!("{host}/charts/thing:{tag}")).await;
        let after = format!("{}/charts/thing:{tag}", destination.host());
        assert_eq!(crane_digest(&tools, &after).await, before);
    }
    let pulled = folder.join("pulled");
    let pull = format!(
        "pull --plain-http -o {} {}/charts/thing:1.2",
        shown(&pulled),
        destination.host()
    );
    run(&tools, Tool::Oras, &pull).await;
    let chart = std::fs::read_to_string(pulled.join("chart.tgz"));
    assert_eq!(chart.expect("it is there"), "not really a chart");
}
