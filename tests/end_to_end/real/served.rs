//! `consign serve` as others use it, and as source and destination of `consign mirror`.

use libtest_mimic::Trial;

use super::distribution::Distribution;
use super::images::Images;
use super::{crane_digest, crane_manifest, run, shown};
use crate::harness::{Tool, Tools, trial, with_tools};
use crate::program::{Running, Workplace, until};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        with_tools(
            "real::serve_keeps_what_crane_oras_and_skopeo_pushed",
            &[Tool::Crane, Tool::Oras, Tool::Skopeo, Tool::Python],
            kept,
        ),
        with_tools(
            "real::images_come_back_through_serve_as_they_were",
            &[Tool::Registry, Tool::Python],
            through,
        ),
        with_tools(
            "real::serve_gives_a_layout_of_others_and_takes_nothing",
            &[Tool::Crane, Tool::Python],
            read_only,
        ),
        trial("real::serve_in_memory_ends_when_it_is_asked_to", ends),
    ]
}

/// `consign serve` at work.
struct Served {
    host: String,
    running: Running,
}

impl Served {
    async fn start(place: &Workplace, arguments: &str) -> Self {
        let running = place.start(&format!("serve --listen 127.0.0.1:0 {arguments}"));
        let host = until("an address", || {
            let line = running.stdout();
            let url = line.strip_suffix('\n')?;
            Some(url.strip_prefix("http://").expect("a URL").to_owned())
        })
        .await;
        Self { host, running }
    }

    async fn end(self, signal: &str, code: i32) {
        self.running.signal(signal).await;
        self.running.end().await.with(code);
    }
}

async fn kept(tools: Tools) {
    let images = Images::make(&tools, "--set four --scale 0.02").await;
    let name = &images.images[0].name;
    let index = images.images[0].index;
    let place = Workplace::new();
    let served = Served::start(&place, "kept --writable").await;
    let host = served.host.clone();
    let layout = images.layout();
    let plain = "--insecure-policy --tmpdir .";
    let copy = "copy --all --preserve-digests --src-tls-verify=false --dest-tls-verify=false";
    let push = format!("{plain} {copy} oci:{layout}:{name} docker://{host}/by/skopeo:1");
    run(&tools, Tool::Skopeo, &push).await;
    run(
        &tools,
        Tool::Crane,
        &format!("copy {host}/by/skopeo:1 {host}/by/crane:1"),
    )
    .await;
    run(
        &tools,
        Tool::Crane,
        &format!("pull --format oci {host}/by/crane:1 pulled"),
    )
    .await;
    let child = run(
        &tools,
        Tool::Crane,
        &format!("push pulled {host}/by/crane:2 --index"),
    )
    .await;
    assert!(child.contains("@sha256:"), "{child}");
    std::fs::write(tools.folder().join("note.txt"), "a note").expect("it is written");
    run(
        &tools,
        Tool::Oras,
        &format!("push --plain-http {host}/by/oras:1 note.txt"),
    )
    .await;
    let attach = "attach --plain-http --artifact-type application/x.note";
    run(
        &tools,
        Tool::Oras,
        &format!("{attach} {host}/by/crane:1 note.txt"),
    )
    .await;
    let note = crane_manifest(&tools, &format!("{host}/by/oras:1")).await;
    served.end("TERM", 143).await;

    // Another process has all of it, and takes nothing more.
    let served = Served::start(&place, "kept").await;
    let host = served.host.clone();
    for repository in ["by/skopeo", "by/crane"] {
        let name = format!("{host}/{repository}:1");
        assert_eq!(crane_digest(&tools, &name).await, index);
        run(&tools, Tool::Crane, &format!("validate --remote {name}")).await;
    }
    assert_eq!(
        crane_manifest(&tools, &format!("{host}/by/oras:1")).await,
        note
    );
    let discover = format!("discover --plain-http --format json {host}/by/crane:1");
    let found = run(&tools, Tool::Oras, &discover).await;
    assert!(found.contains("application/x.note"), "{found}");
    let back = tools.folder().join("back");
    let pull = format!("pull --plain-http -o {} {host}/by/oras:1", shown(&back));
    run(&tools, Tool::Oras, &pull).await;
    let pulled = std::fs::read_to_string(back.join("note.txt"));
    assert_eq!(pulled.expect("it is there"), "a note");
    let inspect = format!("{plain} inspect --raw --tls-verify=false docker://{host}/by/skopeo:1");
    let raw = run(&tools, Tool::Skopeo, &inspect).await;
    assert_eq!(raw.into_bytes(), images.manifest(&index));
    let tagged = tools
        .command(Tool::Crane)
        .args(["tag", &format!("{host}/by/crane:1"), "new"])
        .output()
        .await;
    assert!(!tagged.expect("it runs").status.success());
    let tags = run(&tools, Tool::Crane, &format!("ls {host}/by/crane")).await;
    assert!(!tags.contains("new"), "{tags}");
    served.end("INT", 130).await;
}

async fn through(tools: Tools) {
    let source = Distribution::start(&tools, "source").await;
    let back = Distribution::start(&tools, "back").await;
    let set = "--set big --images 12 --group 4 --scale 0.0005 --shared 1 --unique 1";
    let images = Images::pushed(&tools, set, &source).await;
    let place = Workplace::new();
    place.write("list.txt", images.list());
    let shelf = Workplace::new();
    let served = Served::start(&shelf, "shelf --writable").await;
    let mirror =
        |from: &str, to: &str| format!("mirror -f list.txt -s {from} -d {to} --report report.json");
    let there = mirror(source.host(), &served.host);
    place.run(&there).await.with(0);
    assert_eq!(place.json("report.json")["summary"]["copied"], 12);
    place.run(&there).await.with(0);
    assert_eq!(place.json("report.json")["summary"]["up_to_date"], 12);
    // Killed, it has all that it said it had.
    served.running.signal("KILL").await;
    assert_eq!(served.running.end().await.code(), None);

    let served = Served::start(&shelf, "shelf").await;
    place.run(&mirror(&served.host, back.host())).await.with(0);
    assert_eq!(place.json("report.json")["summary"]["copied"], 12);
    assert_eq!(back.stored(), images.everything());
    assert_eq!(back.links(), source.links());
    place.run(&mirror(&served.host, back.host())).await.with(0);
    assert_eq!(place.json("report.json")["summary"]["up_to_date"], 12);
    served.end("TERM", 143).await;
}

async fn read_only(tools: Tools) {
    let images = Images::make(&tools, "--set tiny --images 6 --group 3 --scale 0.1").await;
    let place = Workplace::new();
    let served = Served::start(&place, &images.layout()).await;
    let other = Workplace::new();
    let target = Served::start(&other, "").await;
    let (from, to) = (&served.host, &target.host);
    place.write("list.txt", images.list());
    place
        .run(&format!("mirror -f list.txt -s {from} -d {to}"))
        .await
        .with(0);
    for image in &images.images {
        let name = format!("{to}/{}", image.name);
        assert_eq!(crane_digest(&tools, &name).await, image.index);
        run(&tools, Tool::Crane, &format!("validate --remote {name}")).await;
    }
    // The other way round, it is said what refuses.
    let name = &images.images[0].name;
    let refused = place.run(&format!("copy {to}/{name} {from}/new:1")).await;
    refused.with(1).saying(&["read-only", from]);
    assert_eq!(images.images.len(), 6);
    served.end("TERM", 143).await;
    target.end("INT", 130).await;
}

async fn ends() {
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let place = Workplace::new();
        Served::start(&place, "").await.end(signal, code).await;
    }
    // A directory that is not there is made only where it may be written.
    let place = Workplace::new();
    let ended = place.run("serve none --listen 127.0.0.1:0").await;
    ended.with(2).saying(&["none"]);
    assert!(!place.has("none"));
}
