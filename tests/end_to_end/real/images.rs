//! Sets of multi-arch images, made by `scripts/gen_images.py`: the same bytes everywhere.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use consign::oci::Digest;
use serde_json::Value;

use super::distribution::Distribution;
use super::run;
use crate::harness::{Tool, Tools};

/// A set of images, as an OCI image layout.
#[derive(Debug)]
pub(crate) struct Images {
    layout: PathBuf,
    /// The images, in the order of the list.
    pub(crate) images: Vec<Generated>,
}

/// One image of a set.
#[derive(Debug)]
pub(crate) struct Generated {
    /// `REPOSITORY:TAG`.
    pub(crate) name: String,
    /// The index.
    pub(crate) index: Digest,
    /// The manifests that it names, each with its blobs.
    pub(crate) children: Vec<(Digest, Vec<String>)>,
}

impl Images {
    /// Makes a set; the arguments are those of the script, parted by blanks.
    pub(crate) async fn make(tools: &Tools, arguments: &str) -> Self {
        let layout = tools.folder().join("images");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/gen_images.py");
        let common = "--content synthetic --jobs 2 --out";
        let words = format!("{script} {common} {} {arguments}", layout.display());
        run(tools, Tool::Python, &words).await;
        let images = read(&layout);
        Self { layout, images }
    }

    /// Makes a set and pushes it.
    pub(crate) async fn pushed(tools: &Tools, arguments: &str, to: &Distribution) -> Self {
        let push = format!("{arguments} --push http://{}", to.host());
        let images = Self::make(tools, &push).await;
        to.forget().await;
        images
    }

    /// The folder of the layout.
    pub(crate) fn layout(&self) -> String {
        self.layout.display().to_string()
    }

    /// The images as a list.
    pub(crate) fn list(&self) -> String {
        fs::read_to_string(self.layout.join("list.txt")).expect("it reads")
    }

    /// The bytes of a manifest.
    pub(crate) fn manifest(&self, digest: &Digest) -> Vec<u8> {
        let path = self.layout.join("blobs/sha256").join(digest.hex());
        fs::read(path).expect("it reads")
    }

    /// The digests of all blobs that are no manifests.
    pub(crate) fn blobs(&self) -> BTreeSet<String> {
        let children = self.images.iter().flat_map(|image| &image.children);
        children.flat_map(|(_, blobs)| blobs.clone()).collect()
    }

    /// The digests of everything.
    pub(crate) fn everything(&self) -> BTreeSet<String> {
        let mut all = self.blobs();
        for image in &self.images {
            all.insert(image.index.to_string());
            all.extend(image.children.iter().map(|(digest, _)| digest.to_string()));
        }
        all
    }
}

fn read(layout: &std::path::Path) -> Vec<Generated> {
    let json = |path: PathBuf| -> Value {
        let bytes = fs::read(path).expect("it reads");
        serde_json::from_slice(&bytes).expect("it is JSON")
    };
    let blob = |digest: &Digest| json(layout.join("blobs/sha256").join(digest.hex()));
    let digest_of = |descriptor: &Value| -> Digest {
        let text = descriptor["digest"].as_str().expect("a digest");
        text.parse().expect("a digest")
    };
    let list = |value: &Value| value.as_array().expect("an array").clone();
    let index = json(layout.join("index.json"));
    let mut images = Vec::new();
    for entry in list(&index["manifests"]) {
        let name = &entry["annotations"]["org.opencontainers.image.ref.name"];
        let index = digest_of(&entry);
        let mut children = Vec::new();
        for child in list(&blob(&index)["manifests"]) {
            let digest = digest_of(&child);
            let manifest = blob(&digest);
            let mut blobs = vec![digest_of(&manifest["config"]).to_string()];
            for layer in list(&manifest["layers"]) {
                blobs.push(digest_of(&layer).to_string());
            }
            children.push((digest, blobs));
        }
        images.push(Generated {
            name: name.as_str().expect("a name").to_owned(),
            index,
            children,
        });
    }
    images
}
