//! Faults 35 to 37: layouts that lie, bombs that nobody opens, and lists that are none.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use consign::oci::Digest;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::named::{OCI, OCI_INDEX};
use super::stage::Stage;
use crate::faults::{descriptor, noise};
use crate::harness::trial;
use crate::program::{Ended, Running, Workplace, until};
use crate::registry::{Contents, Image, TestRegistry};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "endure::fault_35_a_layout_that_lies_is_not_believed",
            layouts,
        ),
        trial("endure::fault_36_a_bomb_is_passed_on_unopened", bomb),
        trial(
            "endure::fault_37_a_list_that_is_none_is_refused_in_bounded_memory",
            lists,
        ),
    ]
}

/// What a list may take at most, in bytes: it is held as it is while it is read, and so are the lines of it
/// that may name images, up to the limit of either.
const LIST_MEMORY_MAX: u64 = 64 * 1024 * 1024;

/// A layout with an image, of which some parts are wrong.
struct Shelf {
    place: Workplace,
}

impl Shelf {
    /// A layout whose root index has these entries beside a good image `good:1`.
    fn with(entries: &[Value]) -> Self {
        let place = Workplace::new();
        let shelf = Self { place };
        let config = shelf.blob(b"{}");
        let layer = shelf.blob(b"layer");
        let document =
            json!({ "schemaVersion": 2, "mediaType": OCI, "config": config, "layers": [layer] });
        let mut good = shelf.blob(document.to_string().as_bytes());
        good["mediaType"] = json!(OCI);
        good["annotations"] = json!({ "org.opencontainers.image.ref.name": "good:1" });
        let mut all = vec![good];
        all.extend(entries.iter().cloned());
        let root = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": all });
        shelf.place.write("shelf/index.json", root.to_string());
        let marker = json!({ "imageLayoutVersion": "1.0.0" });
        shelf.place.write("shelf/oci-layout", marker.to_string());
        shelf
    }

    /// Where the blob of this digest is.
    fn path(digest: &Digest) -> String {
        format!("shelf/blobs/sha256/{}", digest.hex())
    }

    /// Puts a blob there; gives its descriptor.
    fn blob(&self, bytes: &[u8]) -> Value {
        self.place.write(&Self::path(&Digest::sha256(bytes)), bytes);
        descriptor("application/octet-stream", bytes)
    }

    /// Serves it and mirrors from it; gives how that ended, and the destination.
    async fn mirrored(&self) -> (Ended, TestRegistry) {
        let (running, host) = self.serve().await;
        let destination = TestRegistry::start().await;
        self.place.write("list.txt", format!("{host}/good:1\n"));
        let run_it = format!(
            "mirror -f list.txt -d {} --report report.json",
            destination.host()
        );
        let ended = self.place.run(&run_it).await;
        drop(running);
        (ended, destination)
    }

    async fn serve(&self) -> (Running, String) {
        let running = self.place.start("serve shelf --listen 127.0.0.1:0");
        let host = until("an address", || {
            let line = running.stdout();
            let url = line.strip_suffix('\n')?;
            Some(url.strip_prefix("http://").expect("a URL").to_owned())
        });
        let host = host.await;
        (running, host)
    }
}

async fn layouts() {
    // As it should be, for the rest to be compared with.
    let shelf = Shelf::with(&[]);
    let (ended, destination) = shelf.mirrored().await;
    ended.with(0);
    assert!(destination.tag("good", "1").is_some());
    // Bytes of another digest, links out of it, and links that lead nowhere.
    for wrong in ["other bytes", "short", "link out", "link nowhere", "folder"] {
        for part in [&b"layer"[..], b"{}"] {
            if part == b"{}" && wrong != "other bytes" {
                continue;
            }
            let shelf = Shelf::with(&[]);
            let digest = Digest::sha256(part);
            spoil(&shelf.place.path(&Shelf::path(&digest)), wrong, part);
            let (ended, destination) = shelf.mirrored().await;
            let ended = ended.failed();
            ended.saying(&["good:1", &digest.to_string()]);
            assert_eq!(destination.tag("good", "1"), None, "{wrong}");
            let there = Contents::of(&destination, "good").await;
            assert!(!there.blobs.contains_key(&digest), "{wrong}: {there:?}");
            assert!(there.manifests.is_empty(), "{wrong}");
        }
    }
    roots().await;
}

/// Makes something else of a blob.
fn spoil(path: &Path, wrong: &str, bytes: &[u8]) {
    fs::remove_file(path).expect("it is there");
    let secret = path.with_file_name("../../../secret");
    match wrong {
        "other bytes" => {
            let other: Vec<u8> = bytes.iter().map(|byte| byte ^ 1).collect();
            fs::write(path, other).expect("it is written");
        }
        "short" => fs::write(path, &bytes[1..]).expect("it is written"),
        // The very bytes, but not here.
        "link out" => {
            fs::write(&secret, bytes).expect("it is written");
            symlink("../../../secret", path).expect("a link");
        }
        "link nowhere" => symlink("/dev/zero", path).expect("a link"),
        _ => fs::create_dir(path).expect("a folder"),
    }
}

/// Root indexes that name what no layout has, or that are not there.
async fn roots() {
    let named = |name: &str| {
        let mut entry = descriptor(OCI, b"x");
        entry["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
        entry
    };
    let with = |field: &str, value: Value| {
        let mut entry = named("bad:1");
        entry[field] = value;
        entry
    };
    // An entry that is none, or a name that no repository has, is nobody's; the rest is served.
    for entry in [
        with("digest", json!("sha256:../../../../etc/passwd")),
        with("digest", json!("../../oci-layout")),
        with("digest", json!("sha256:")),
        with("size", json!(-1)),
        with("size", json!(1e30)),
        json!({ "mediaType": OCI }),
        json!("nonsense"),
        named("../../etc:1"),
        named("/abs:1"),
        named("UPPER:1"),
        named("a/../b:1"),
        named("x\0y:1"),
    ] {
        let shelf = Shelf::with(std::slice::from_ref(&entry));
        let (ended, destination) = shelf.mirrored().await;
        ended.with(0);
        assert!(destination.tag("good", "1").is_some(), "{entry}");
        let (running, host) = shelf.serve().await;
        let asked = shelf.place.run(&format!("inspect {host}/bad:1")).await;
        asked.with(1).saying(&["404"]);
        drop(running);
    }
    for (file, text) in [
        ("index.json", None),
        ("oci-layout", None),
        ("index.json", Some("{")),
        ("index.json", Some("\u{feff}{}")),
        ("oci-layout", Some("{\"imageLayoutVersion\":\"9.9.9\"}")),
    ] {
        let shelf = Shelf::with(&[]);
        let path = shelf.place.path(&format!("shelf/{file}"));
        match text {
            Some(text) => fs::write(path, text).expect("it is written"),
            None => fs::remove_file(path).expect("it is there"),
        }
        let ended = shelf.place.run("serve shelf --listen 127.0.0.1:0").await;
        ended.with(2).saying(&["shelf"]);
    }
}

/// A gzip of zeros: `bytes` of it become 158 times as many (RFC 1951, 3.2.6: fixed codes).
fn gzip_of_zeros(bytes: usize) -> Vec<u8> {
    let mut file = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let (mut held, mut count) = (0_u32, 0);
    let mut put = |bits: &[u8], file: &mut Vec<u8>| {
        for bit in bits {
            held |= u32::from(*bit) << count;
            count += 1;
            if count == 8 {
                file.push(u8::try_from(held).expect("eight bits"));
                (held, count) = (0, 0);
            }
        }
    };
    // The last block, by fixed codes; a zero; then 258 times what stands one back, again and again.
    put(&[1, 1, 0], &mut file);
    put(&[0, 0, 1, 1, 0, 0, 0, 0], &mut file);
    while file.len() < bytes {
        put(&[1, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0], &mut file);
    }
    put(&[0; 16], &mut file);
    // Checksum and length, which nobody reaches.
    file.extend_from_slice(&[0; 8]);
    file
}

async fn bomb() {
    // 24 MiB that would be 3.7 GiB.
    let bomb = gzip_of_zeros(24 << 20);
    let stage = Stage::plain().await;
    let image = Image::of_blobs([bomb.clone()])
        .push(&stage.source, "app", Some("1"))
        .await;
    stage.mirrored_in_bounds(&["app:1"], "").await.with(0);
    let there = Contents::of(&stage.destination, "app").await;
    assert!(there.blobs[&image.blobs[1]] == bomb, "every byte as it was");
    stage.same("app").await;
    assert_eq!(stage.destination.tag("app", "1"), Some(image.digest));
}

async fn lists() {
    let registry = TestRegistry::start().await;
    Image::new(&["a"]).push(&registry, "app", Some("1")).await;
    let name = format!("{}/app:1", registry.host());
    let mut million = String::new();
    for n in 0..1_000_000 {
        writeln!(million, "team/app:v{n}").expect("a text takes it");
    }
    let long = "x".repeat(1 << 20);
    let mut binary = format!("{name}\n\n").into_bytes();
    binary.extend(noise(200_000, 1));
    let mut nul = format!("{name}\n{name}\0\n").into_bytes();
    nul.extend_from_slice(b"\n");
    let cases: [(&str, Vec<u8>, &[&str]); 6] = [
        (
            "a million lines",
            million.into_bytes(),
            &["list.txt:", "lines with images"],
        ),
        (
            "a long line",
            format!("{name}\n# x\n{long}\n{name}\n").into(),
            &["list.txt:3", "4096"],
        ),
        (
            "a long line at the end",
            format!("{name}\n{long}").into(),
            &["list.txt:2", "4096"],
        ),
        ("binary", binary, &["list.txt:3"]),
        ("a NUL", nul, &["list.txt:2"]),
        ("nothing but lines", vec![b'x'; 65 << 20], &["list.txt:1"]),
    ];
    for (what, bytes, words) in cases {
        let place = Workplace::new();
        place.write("list.txt", bytes);
        for command in ["mirror -d", "validate --key none.pub --registry"] {
            let running = place.start(&format!("{command} {} -f list.txt", registry.host()));
            let (ended, peak) = running.end_and_peak().await;
            assert!(peak < LIST_MEMORY_MAX, "{what}: {peak} bytes: {ended}");
            let ended = ended.with(2);
            assert!(
                ended.stderr.len() < 10_000,
                "{what}: {}",
                ended.stderr.len()
            );
            if command.starts_with("mirror") {
                ended.saying(words);
            }
        }
        assert!(registry.log().is_empty(), "{what}: {}", registry.log_text());
    }
    // A million lines of which one names an image are a list.
    let place = Workplace::new();
    let comments = "# nothing\n\n".repeat(500_000);
    place.write("list.txt", format!("{comments}{name}\n"));
    let destination = TestRegistry::start().await;
    let running = place.start(&format!("mirror -d {} -f list.txt", destination.host()));
    let (ended, peak) = running.end_and_peak().await;
    assert!(peak < LIST_MEMORY_MAX, "{peak} bytes");
    ended.with(0).saying(&["list.txt:1000001"]);
}
