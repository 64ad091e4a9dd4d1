//! Two registries, a list between them, and what can be asked of all of it.

use std::collections::BTreeSet;
use std::fs;

use bytes::Bytes;
use consign::oci::{Digest, MediaType};
use fastrand::Rng;
use serde_json::{Value, json};

use super::{accounts_for_all, moment};
use crate::faults::{descriptor, put_blob};
use crate::program::{Ended, Workplace, auth_file};
use crate::registry::{
    Auth, Bearer, Chaos, Contents, Image, Pushed, Referrers, Settings, TestRegistry, artifact,
    index,
};
use crate::signatures::stand::{OURS, PASSPHRASE};

const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";

/// One run: what it read, and where it told what.
#[derive(Debug)]
pub(super) struct Run {
    list: String,
    failed: String,
    /// Whether it gets a second signal.
    pub(super) hurries: bool,
    pub(super) report: String,
    pub(super) lines: BTreeSet<String>,
}

/// All that a soak is about.
#[derive(Debug)]
pub(super) struct Stage {
    source: TestRegistry,
    destination: TestRegistry,
    pub(super) place: Workplace,
    lines: BTreeSet<String>,
    signs: bool,
}

impl Stage {
    /// Fills the source; what the registries can and whether images are signed follows from the seed.
    pub(super) async fn set(seed: u64, images: usize, rng: &mut Rng) -> Self {
        let referrers = |is_listed: bool| {
            if is_listed {
                Referrers::Listed
            } else {
                Referrers::Unknown
            }
        };
        let source = TestRegistry::with(Settings {
            referrers: referrers(rng.bool()),
            ..Settings::default()
        });
        let destination = TestRegistry::with(Settings {
            referrers: referrers(rng.bool()),
            auth: if seed.is_multiple_of(3) {
                Auth::Bearer(Bearer {
                    uses: Some(rng.usize(20..400)),
                    ..Bearer::default()
                })
            } else {
                Auth::None
            },
            ..Settings::default()
        });
        let stage = Self {
            source: source.await,
            destination: destination.await,
            place: Workplace::new(),
            lines: (0..images).map(line).collect(),
            signs: seed % 2 == 1,
        };
        for n in 0..images {
            stage.add(n, rng).await;
        }
        let list: Vec<String> = (0..images).map(line).collect();
        stage.place.write("list.txt", list.join("\n") + "\n");
        let known = auth_file(&[(&stage.destination.host(), "user", "password")]);
        stage.place.write("auth.json", known);
        stage.place.write("passphrase", PASSPHRASE);
        fs::create_dir(stage.place.path("tmp")).expect("a folder");
        stage
    }

    /// One image: of one platform or two, with layers of its own and shared ones, sometimes with a signature,
    /// sometimes with a document about it.
    async fn add(&self, n: usize, rng: &mut Rng) {
        let repository = repository(n);
        let (source, tag) = (&self.source, Some("1"));
        let layers = |rng: &mut Rng| {
            let mut layers: Vec<Vec<u8>> = vec![format!("shared {}", n / 10).into_bytes()];
            for _ in 0..rng.usize(0..3) {
                let mut layer = vec![0; rng.usize(0..20_000)];
                rng.fill(&mut layer);
                layers.push(layer);
            }
            layers
        };
        let image = if rng.u8(0..3) == 0 {
            let one = Image::of_blobs(layers(rng));
            let one = one.push(source, &repository, None).await;
            let other = Image::of_blobs(layers(rng)).on("linux/arm64");
            let other = other.push(source, &repository, None).await;
            index(source, &repository, tag, &[&one, &other]).await
        } else {
            let image = Image::of_blobs(layers(rng));
            image.push(source, &repository, tag).await
        };
        if rng.u8(0..3) == 0 {
            self.attach_signature(&repository, &image, n).await;
        }
        if rng.u8(0..4) == 0 && self.source.referrers() == Referrers::Listed {
            let text = format!("a document about {n}");
            artifact(source, &repository, "text/plain", Some(&image), &text).await;
        }
    }

    /// An image with a signature, mirrored by itself: a run that writes takes away what killed ones left.
    pub(super) async fn one_more(&self, n: usize, rng: &mut Rng) {
        self.add(n, rng).await;
        let (name, line) = (repository(n), line(n));
        let image = Image::of_blobs([line.clone()]);
        let image = image.push(&self.source, &name, Some("1")).await;
        self.attach_signature(&name, &image, n).await;
        self.place.write("one-more.txt", &line);
        let run = Run {
            lines: BTreeSet::from([line]),
            list: "one-more.txt".to_owned(),
            report: "report.json".to_owned(),
            hurries: false,
            failed: "failed.txt".to_owned(),
        };
        let ended = self.place.run(&self.arguments(&run, 1)).await.with(0);
        accounts_for_all(self, &ended, &run);
    }

    async fn attach_signature(&self, repository: &str, image: &Pushed, n: usize) {
        let payload = json!({
            "critical": {
                "identity": { "docker-reference": format!("elsewhere.example/{repository}") },
                "image": { "docker-manifest-digest": image.digest },
                "type": "cosign container image signature",
            },
            "optional": { "n": n },
        })
        .to_string();
        put_blob(&self.source, repository, payload.clone()).await;
        put_blob(&self.source, repository, "{}").await;
        let mut layer = descriptor(SIMPLE_SIGNING, payload.as_bytes());
        layer["annotations"] = json!({ SIGNATURE: "bm90IGEgc2lnbmF0dXJl" });
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MediaType::OciManifest,
            "config": descriptor(MediaType::OciConfig.as_str(), b"{}"),
            "layers": [layer],
        });
        let path = repository.parse().expect("a repository");
        let tag = signature_tag(&image.digest).parse().expect("a tag");
        let bytes = Bytes::from(manifest.to_string());
        let inner = self.source.inner();
        let put = inner.add_manifest(&path, Some(&tag), &MediaType::OciManifest, bytes);
        put.await.expect("memory takes it");
    }

    pub(super) fn chaos(&self, chaos: Option<Chaos>, seed: u64) {
        self.source.chaos(chaos.map(|chaos| (chaos, seed)));
        let other = seed.wrapping_add(1);
        self.destination.chaos(chaos.map(|chaos| (chaos, other)));
    }

    /// What a run is to read: all, or what an earlier one left.
    fn run(&self, beside: &str, rng: &mut Rng) -> Run {
        let failed = format!("failed{beside}.txt");
        let reads_failed = self.place.has(&failed) && rng.u8(0..3) != 0;
        let list = if reads_failed { &failed } else { "list.txt" };
        Run {
            lines: self.place.lines(list).into_iter().collect(),
            list: list.to_owned(),
            report: format!("report{beside}.json"),
            hurries: false,
            failed,
        }
    }

    fn arguments(&self, run: &Run, jobs: usize) -> String {
        let (source, destination) = (self.source.host(), self.destination.host());
        // What an earlier one told is not this one's.
        drop(fs::remove_file(self.place.path(&run.report)));
        let Run {
            list,
            failed,
            report,
            hurries: _,
            lines: _,
        } = run;
        let sign = if self.signs {
            format!("--sign-key {} --passphrase-file passphrase", OURS.private())
        } else {
            String::new()
        };
        format!(
            "mirror -f {list} -s {source} -d {destination} -j {jobs} --stall-timeout 1s --authfile auth.json \
             -o {failed} --report {report} {sign}"
        )
    }

    /// A run that gets a signal, or two.
    pub(super) async fn interrupted_run(&self, rng: &mut Rng) -> Vec<Ended> {
        let mut run = self.run("", rng);
        run.hurries = rng.u8(0..4) == 0;
        let arguments = self.arguments(&run, rng.usize(1..24));
        let running = self
            .place
            .start_with(&arguments, &[("TMPDIR", self.place.path("tmp"))]);
        tokio::time::sleep(moment(rng)).await;
        let signal = match rng.choice(["INT", "TERM", "KILL"]).expect("one of them") {
            // What a shell starts in the background does not hear it until it listens.
            "INT" if ignores_interrupts() => "TERM",
            signal => signal,
        };
        running.signal_if_there(signal).await;
        if run.hurries {
            running.signal_if_there("TERM").await;
        }
        let ended = running.end().await;
        accounts_for_all(self, &ended, &run);
        vec![ended]
    }

    /// A run that comes to its end; sometimes two of them at once.
    pub(super) async fn whole_run(&self, rng: &mut Rng) -> Vec<Ended> {
        let mut runs = vec![self.run("", rng)];
        if rng.u8(0..3) == 0 {
            runs.push(self.run("-beside", rng));
        }
        let more = [("TMPDIR", self.place.path("tmp"))];
        let arguments: Vec<String> = runs
            .iter()
            .map(|run| self.arguments(run, rng.usize(1..24)))
            .collect();
        let ends = arguments.iter().map(|run| self.place.run_with(run, &more));
        let ends = futures::future::join_all(ends).await;
        for (run, ended) in runs.iter().zip(&ends) {
            accounts_for_all(self, ended, run);
        }
        ends
    }

    /// All lines once more, with nothing in the way.
    pub(super) async fn last_run(&self) -> Ended {
        let run = Run {
            lines: self.lines.clone(),
            list: "list.txt".to_owned(),
            report: "report.json".to_owned(),
            hurries: false,
            failed: "failed.txt".to_owned(),
        };
        let ended = self.place.run(&self.arguments(&run, 8)).await;
        accounts_for_all(self, &ended, &run);
        ended
    }

    /// What the failed list of a run holds; nothing where there is none.
    pub(super) fn failed(&self, run: &Run) -> BTreeSet<String> {
        if self.place.has(&run.failed) {
            self.place.lines(&run.failed).into_iter().collect()
        } else {
            BTreeSet::new()
        }
    }

    /// Who is killed writes no report: what is not in the failed list must be at the destination. One that was
    /// killed before it wrote a list leaves that of the run before, of which the same is true.
    pub(super) fn killed_run_lost_nothing(&self, run: &Run) {
        if self.place.has(&run.failed) {
            for line in self.lines.difference(&self.failed(run)) {
                assert!(
                    self.is_tagged(line),
                    "`{line}` is neither left to do nor done"
                );
            }
        }
    }

    fn is_tagged(&self, line: &str) -> bool {
        let (name, tag) = line.split_once(':').expect("a tag");
        let there = self.destination.tag(name, tag);
        there.is_some() && there == self.source.tag(name, tag)
    }

    #[track_caller]
    pub(super) fn is_there(&self, line: &str) {
        assert!(self.is_tagged(line), "`{line}` ended well and is not there");
    }

    /// Whatever has a tag at the destination has all of its manifests and blobs.
    pub(super) async fn what_is_tagged_is_whole(&self) {
        for line in &self.lines {
            let (name, _) = line.split_once(':').expect("a tag");
            let contents = Contents::of(&self.destination, name).await;
            for (tag, digest) in &contents.tags {
                is_whole(&contents, digest, &format!("{name}:{tag}"));
            }
        }
    }

    /// The same tags, manifests and blobs, but for what was signed.
    pub(super) async fn both_hold_the_same(&self) {
        for line in &self.lines {
            let (name, tag) = line.split_once(':').expect("a tag");
            let source = Contents::of(&self.source, name).await;
            let destination = Contents::of(&self.destination, name).await;
            let image = source.tags[tag];
            let signature = signature_tag(&image);
            for (tag, digest) in &source.tags {
                if !self.signs || *tag != signature {
                    assert_eq!(destination.tags.get(tag), Some(digest), "{name}:{tag}");
                }
            }
            for (digest, blob) in &source.blobs {
                assert_eq!(destination.blobs.get(digest), Some(blob), "{name}@{digest}");
            }
            let brought = layers_of(&source, &signature);
            let there = layers_of(&destination, &signature);
            for layer in &brought {
                let same = there.iter().filter(|other| *other == layer).count();
                assert_eq!(same, 1, "{name}: {layer} in {there:?}");
            }
            let own = usize::from(self.signs);
            assert_eq!(there.len(), brought.len() + own, "{name}: {there:?}");
        }
    }

    pub(super) async fn nothing_is_left_to_write(&self) {
        self.destination.clear_log();
        self.last_run().await.with(0);
        let asks = |path: &str| path.contains("/blobs/uploads/") || path.contains("/token");
        let mut writes = self.destination.writes();
        writes.retain(|write| !asks(&write.path));
        assert!(writes.is_empty(), "{writes:?}");
    }

    /// Only what was asked for is left in the folder, and nothing in that for what is temporary.
    pub(super) fn no_file_is_left(&self) {
        let names = |folder| {
            let entries = fs::read_dir(folder).expect("a folder");
            let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
            let mut names: Vec<String> = entries.map(|entry| name(entry.expect("one"))).collect();
            names.sort();
            names
        };
        assert_eq!(names(self.place.path("tmp")), [""; 0]);
        let mut left = names(self.place.path(""));
        left.retain(|name| {
            !["report.json", "report-beside.json"].contains(&name.as_str())
                && !name.starts_with(".std")
        });
        // What a run left that went on beside another one, which has done it meanwhile.
        left.retain(|name| name != "failed-beside.txt");
        // Of locks the folder alone.
        if left.iter().any(|name| name == ".cache") {
            assert_eq!(names(self.place.path(".cache/consign/locks")), [""; 0]);
            left.retain(|name| name != ".cache");
        }
        assert_eq!(
            left,
            ["auth.json", "list.txt", "one-more.txt", "passphrase", "tmp"]
        );
    }
}

/// Whether this process was started so that it does not hear SIGINT, and with it all that it starts.
fn ignores_interrupts() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // Signal 2 is the second bit.
    ignored.is_some_and(|mask| mask & 2 != 0)
}

fn repository(n: usize) -> String {
    format!("team/app{n}")
}

fn line(n: usize) -> String {
    format!("{}:1", repository(n))
}

fn signature_tag(digest: &Digest) -> String {
    format!("{}.sig", digest.to_string().replace(':', "-"))
}

/// The layers of what stands under a tag; none where nothing does.
fn layers_of(contents: &Contents, tag: &str) -> Vec<Value> {
    let Some(digest) = contents.tags.get(tag) else {
        return Vec::new();
    };
    let document: Value = serde_json::from_slice(&contents.manifests[digest].1).expect("JSON");
    document["layers"].as_array().expect("layers").clone()
}

#[track_caller]
fn is_whole(contents: &Contents, digest: &Digest, name: &str) {
    let Some((_, bytes)) = contents.manifests.get(digest) else {
        panic!("{name} has no manifest {digest}");
    };
    assert_eq!(Digest::sha256(bytes), *digest, "{name}");
    let document: Value = serde_json::from_slice(bytes).expect("JSON");
    let of = |field: &str| document[field].as_array().cloned().unwrap_or_default();
    let digest = |value: &Value| -> Digest {
        let text = value["digest"].as_str().expect("a digest");
        text.parse().expect("a digest")
    };
    for child in of("manifests") {
        is_whole(contents, &digest(&child), name);
    }
    let mut blobs = of("layers");
    blobs.extend(document.get("config").cloned());
    for blob in blobs {
        let digest = digest(&blob);
        let bytes = contents.blobs.get(&digest);
        let bytes = bytes.unwrap_or_else(|| panic!("{name} has no blob {digest}"));
        assert_eq!(Digest::sha256(bytes), digest, "{name}");
    }
}
