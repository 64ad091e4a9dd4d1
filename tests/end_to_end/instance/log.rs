//! The transparency log: Rekor v1, whose entries carry a signed promise with a time, a proof of their
//! place in a tree (RFC 6962), and the tree's root as a signed note.

use serde_json::{Value, json};

use super::keys::{Key, Public, base64, decoded, hex, sha256};

/// The name in checkpoints.
const ORIGIN: &str = "rekor.instance.test";
/// How many entries older trees of the log had: an entry's number in the log is not that in its tree.
const OLDER: usize = 1000;

/// A node of a tree.
type Hash = [u8; 32];

/// What an entry is about, in the two kinds that are read.
#[derive(Debug, Clone)]
pub(super) enum Body {
    /// `hashedrekord` 0.0.1: a digest that was signed.
    Hashed([u8; 32]),
    /// `dsse` 0.0.1: the digests of the envelope and of its payload.
    Dsse([u8; 32], [u8; 32]),
}

impl Body {
    /// The entry as it is logged; who signed is a certificate or a key, in PEM.
    pub(super) fn write(&self, signature: &[u8], signer: &str) -> String {
        let hash = |hash: &[u8]| json!({ "algorithm": "sha256", "value": hex(hash) });
        let signer = base64(signer);
        let spec = match self {
            Self::Hashed(digest) => json!({
                "data": { "hash": hash(digest) },
                "signature": { "content": base64(signature), "publicKey": { "content": signer } },
            }),
            Self::Dsse(envelope, payload) => json!({
                "envelopeHash": hash(envelope),
                "payloadHash": hash(payload),
                "signatures": [{ "signature": base64(signature), "verifier": signer }],
            }),
        };
        json!({ "apiVersion": "0.0.1", "kind": self.kind(), "spec": spec }).to_string()
    }

    /// What its kind is called.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Hashed(_) => "hashedrekord",
            Self::Dsse(..) => "dsse",
        }
    }
}

/// A log.
#[derive(Debug)]
pub(super) struct Log {
    key: Key,
}

/// An entry with all that the log says of it.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Its kind.
    pub(super) kind: &'static str,
    /// What was logged.
    pub(super) body: String,
    /// When, in seconds since 1970.
    pub(super) moment: u64,
    /// The log.
    pub(super) log: Hash,
    /// Its number in the log.
    pub(super) number: usize,
    /// Its number in its tree.
    pub(super) place: usize,
    /// How many entries the tree has.
    pub(super) size: usize,
    /// The way from the entry to the root.
    pub(super) path: Vec<Hash>,
    /// The root.
    pub(super) root: Hash,
    /// The signed note about it.
    pub(super) checkpoint: String,
    /// The signed promise; an entry may have none.
    pub(super) promise: Option<Vec<u8>>,
}

impl Log {
    /// A new one.
    pub(super) fn new() -> Self {
        let key = Key::generate();
        Self { key }
    }

    /// Its key.
    pub(super) fn public(&self) -> Public {
        self.key.public()
    }

    /// Logs something between other things.
    pub(super) fn between(&self, body: String, kind: &'static str, moment: u64) -> Entry {
        let other = |number: u8| leaf(&[number]);
        let mut leaves = vec![other(0), other(1), other(2)];
        let place = leaves.len();
        leaves.push(leaf(body.as_bytes()));
        leaves.extend([other(3), other(4)]);
        self.entry((&leaves, place), body, kind, moment)
    }

    /// Logs something as the last in a tree.
    pub(super) fn append(
        &self,
        leaves: &mut Vec<Hash>,
        body: String,
        kind: &'static str,
        moment: u64,
    ) -> Entry {
        leaves.push(leaf(body.as_bytes()));
        self.entry((leaves, leaves.len() - 1), body, kind, moment)
    }

    fn entry(
        &self,
        (leaves, place): (&[Hash], usize),
        body: String,
        kind: &'static str,
        moment: u64,
    ) -> Entry {
        let root = root(leaves);
        let mut entry = Entry {
            kind,
            body,
            moment,
            log: self.public().id(),
            number: OLDER + place,
            place,
            size: leaves.len(),
            path: path(leaves, place),
            root,
            checkpoint: self.checkpoint(leaves.len(), &root),
            promise: None,
        };
        entry.promise = Some(self.key.sign(entry.promised().as_bytes()));
        entry
    }

    /// A signed note about a tree.
    pub(super) fn checkpoint(&self, size: usize, root: &Hash) -> String {
        let note = format!("{ORIGIN} - 57264\n{size}\n{}\n", base64(root));
        let mut signature = self.public().id()[..4].to_vec();
        signature.extend(self.key.sign(note.as_bytes()));
        format!("{note}\n\u{2014} {ORIGIN} {}\n", base64(signature))
    }
}

impl Entry {
    /// What the promise signs; with members in order and without blanks it is RFC 8785's form.
    fn promised(&self) -> String {
        json!({
            "body": base64(&self.body),
            "integratedTime": self.moment,
            "logID": hex(&self.log),
            "logIndex": self.number,
        })
        .to_string()
    }

    /// As a bundle has it; version 0.1 without the proof, as the first clients wrote it.
    pub(super) fn in_bundle(&self, has_proof: bool) -> Value {
        let mut entry = json!({
            "logIndex": self.number.to_string(),
            "logId": { "keyId": base64(self.log) },
            "kindVersion": { "kind": self.kind, "version": "0.0.1" },
            "integratedTime": self.moment.to_string(),
            "canonicalizedBody": base64(&self.body),
        });
        if let Some(promise) = &self.promise {
            entry["inclusionPromise"] = json!({ "signedEntryTimestamp": base64(promise) });
        }
        if has_proof {
            let path: Vec<String> = self.path.iter().map(base64).collect();
            entry["inclusionProof"] = json!({
                "logIndex": self.place.to_string(),
                "rootHash": base64(self.root),
                "treeSize": self.size.to_string(),
                "hashes": path,
                "checkpoint": { "envelope": self.checkpoint },
            });
        }
        entry
    }

    /// As the annotation of a signature under a tag has it.
    pub(super) fn in_annotation(&self) -> String {
        let mut annotation = json!({
            "Payload": {
                "body": base64(&self.body),
                "integratedTime": self.moment,
                "logID": hex(&self.log),
                "logIndex": self.number,
            },
        });
        if let Some(promise) = &self.promise {
            annotation["SignedEntryTimestamp"] = json!(base64(promise));
        }
        annotation.to_string()
    }

    /// As the log answers.
    pub(super) fn in_answer(&self) -> Value {
        let path: Vec<String> = self.path.iter().map(|hash| hex(hash)).collect();
        json!({
            "body": base64(&self.body),
            "integratedTime": self.moment,
            "logID": hex(&self.log),
            "logIndex": self.number,
            "verification": {
                "inclusionProof": {
                    "checkpoint": self.checkpoint,
                    "hashes": path,
                    "logIndex": self.place,
                    "rootHash": hex(&self.root),
                    "treeSize": self.size,
                },
                "signedEntryTimestamp": self.promise.as_ref().map(base64),
            },
        })
    }

    /// By what the log knows it: its tree, and its hash there.
    pub(super) fn uuid(&self) -> String {
        format!("{:016x}{}", 57264, hex(&leaf(self.body.as_bytes())))
    }
}

/// A line of a signed note with the hint of another key.
pub(super) fn with_hint(line: &str, log: &Hash) -> String {
    let (name, signature) = line.trim_end().rsplit_once(' ').expect("a signature");
    let mut signature = decoded(signature).expect("it is base64");
    signature[..4].copy_from_slice(&log[..4]);
    format!("{name} {}\n", base64(signature))
}

fn leaf(bytes: &[u8]) -> Hash {
    sha256(&[&[0], bytes].concat())
}

fn node(left: &Hash, right: &Hash) -> Hash {
    sha256(&[&[1], &left[..], &right[..]].concat())
}

/// How many leaves stand left of the root: RFC 6962 section 2.1.
const fn left(size: usize) -> usize {
    size.next_power_of_two() / 2
}

/// The root over at least one leaf.
pub(super) fn root(leaves: &[Hash]) -> Hash {
    if let [leaf] = leaves {
        return *leaf;
    }
    let (before, after) = leaves.split_at(left(leaves.len()));
    node(&root(before), &root(after))
}

fn path(leaves: &[Hash], place: usize) -> Vec<Hash> {
    if leaves.len() < 2 {
        return Vec::new();
    }
    let middle = left(leaves.len());
    let (before, after) = leaves.split_at(middle);
    let (mut way, other) = if place < middle {
        (path(before, place), root(after))
    } else {
        (path(after, place - middle), root(before))
    };
    way.push(other);
    way
}
