//! What others are given of the instance, so that they trust it.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::Instance;
use super::authority::{By, certificate_pem};
use super::keys::{Public, base64};

/// Since when everything of the instance is good.
const START: &str = "2020-01-01T00:00:00Z";

/// The files of an instance.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    /// All of it, as Sigstore's own clients have it.
    pub(crate) trusted_root: PathBuf,
    /// The certificate of the root alone.
    pub(crate) root: PathBuf,
    /// The certificates of intermediate and root.
    pub(crate) chain: PathBuf,
    /// The key of the transparency log.
    pub(crate) rekor: PathBuf,
    /// The key of the certificate log.
    pub(crate) ctfe: PathBuf,
}

impl Files {
    /// By what cosign is told of them.
    pub(crate) fn variables(&self) -> [(&'static str, &Path); 3] {
        [
            ("SIGSTORE_ROOT_FILE", &self.chain),
            ("SIGSTORE_REKOR_PUBLIC_KEY", &self.rekor),
            ("SIGSTORE_CT_LOG_PUBLIC_KEY_FILE", &self.ctfe),
        ]
    }
}

impl Instance {
    /// What to trust: `application/vnd.dev.sigstore.trustedroot+json;version=0.1`.
    pub(crate) fn trusted_root(&self) -> Value {
        let raw = |der: &Vec<u8>| json!({ "rawBytes": base64(der) });
        let authority = |by: By| {
            let certificates: Vec<Value> = self.authority.chain(by).iter().map(raw).collect();
            json!({
                "subject": { "organization": "instance.test", "commonName": "instance root" },
                "uri": "https://fulcio.instance.test",
                "certChain": { "certificates": certificates },
                "validFor": { "start": START },
            })
        };
        let log = |name: &str, key: &Public| {
            json!({
                "baseUrl": format!("https://{name}.instance.test"),
                "hashAlgorithm": "SHA2_256",
                "publicKey": {
                    "rawBytes": base64(&key.der),
                    "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                    "validFor": { "start": START },
                },
                "logId": { "keyId": base64(key.id()) },
            })
        };
        json!({
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [log("rekor", &self.log.public())],
            "certificateAuthorities": [authority(By::Intermediate), authority(By::Expired)],
            "ctlogs": [log("ctfe", &self.promises.public())],
            "timestampAuthorities": [],
        })
    }

    /// Writes all of it into a folder.
    pub(crate) fn write(&self, folder: &Path) -> Files {
        let [intermediate, root] = self.authority.chain(By::Intermediate);
        let [intermediate, root] = [intermediate, root].map(|der| certificate_pem(&der));
        let file = |name: &str, text: String| {
            let path = folder.join(name);
            fs::write(&path, text).expect("it is written");
            path
        };
        Files {
            trusted_root: file("trusted_root.json", self.trusted_root().to_string()),
            chain: file("chain.pem", format!("{intermediate}{root}")),
            root: file("root.pem", root),
            rekor: file("rekor.pub", self.log.public().pem()),
            ctfe: file("ctfe.pub", self.promises.public().pem()),
        }
    }
}
