//! That the instance is one: what it makes is taken by Sigstore's own verifier, cosign and skopeo, and
//! what is wrong with it is refused by those of them that look.

use consign::oci::Digest;
use libtest_mimic::Trial;
use serde_json::json;
use sigstore_trust_root::TrustedRoot;
use sigstore_types::{Artifact, ArtifactDigest, Bundle, DerPublicKey, Sha256Hash};
use sigstore_verify::{PublicKeyVerificationPolicy, VerificationPolicy, Verifier};

use super::keys::{base64, sha256};
use super::{Content, FORMS, Flaw, Form, ISSUER, Instance, JOB, Key, Signed, Signer};
use crate::harness::trial;

pub(super) fn trials() -> Vec<Trial> {
    vec![trial(
        "instance::sigstores_own_verifier_takes_what_is_good_and_refuses_each_flaw",
        by_the_crate,
    )]
}

const IMAGE: &[u8] = b"an image";

/// What the verifier says of a signature.
fn verdict(
    instance: &Instance,
    key: Option<&Key>,
    form: Form,
    signed: &Signed,
) -> Result<(), String> {
    let root = TrustedRoot::from_json(&instance.trusted_root().to_string());
    let verifier = Verifier::new(&root.expect("a root")).expect("a verifier");
    let (bundle, artifact) = match &signed.content {
        Content::Statement(_) => {
            let bytes = signed.layer(form).bytes;
            let text = String::from_utf8(bytes.to_vec()).expect("it is JSON");
            let digest = ArtifactDigest::sha256(Sha256Hash::new(sha256(IMAGE)));
            (text, Artifact::Digest(digest))
        }
        Content::Payload(text) => (in_memory(signed, text), Artifact::Blob(text.as_bytes())),
    };
    let bundle = Bundle::from_json(&bundle).map_err(|error| error.to_string())?;
    let result = match key {
        None => verifier.verify(artifact, &bundle, &VerificationPolicy::new(JOB, ISSUER)),
        Some(key) => {
            let key = DerPublicKey::from_pem(&key.public().pem()).expect("a key");
            verifier.verify(artifact, &bundle, &PublicKeyVerificationPolicy::new(key))
        }
    };
    result.map(drop).map_err(|error| error.to_string())
}

/// A layer with annotations as a bundle, which has the same parts.
fn in_memory(signed: &Signed, text: &str) -> String {
    let entries = signed.entries.iter();
    let entries: Vec<_> = entries.map(|entry| entry.in_bundle(false)).collect();
    let mut material = json!({ "tlogEntries": entries });
    match &signed.certificate {
        None => material["publicKey"] = json!({ "hint": signed.hint }),
        Some(der) => {
            let raw = json!({ "rawBytes": base64(der) });
            material["x509CertificateChain"] = json!({ "certificates": [raw] });
        }
    }
    let digest = base64(sha256(text.as_bytes()));
    json!({
        "mediaType": Form::Bundle01.media_type(),
        "verificationMaterial": material,
        "messageSignature": {
            "messageDigest": { "algorithm": "SHA2_256", "digest": digest },
            "signature": base64(&signed.signature),
        },
    })
    .to_string()
}

async fn by_the_crate() {
    let instance = Instance::new();
    let key = Key::generate();
    let digest = Digest::sha256(IMAGE);
    for form in FORMS {
        for signer in [Signer::Certificate, Signer::Key] {
            let sign = |flaw: Option<Flaw>| {
                let recipe = instance.recipe().flaw(flaw);
                let recipe = match signer {
                    Signer::Certificate => recipe,
                    Signer::Key => recipe.by_key(&key),
                };
                recipe.sign(form.content("instance.test/app", digest, &[]))
            };
            let key = (signer == Signer::Key).then_some(&key);
            let good = verdict(&instance, key, form, &sign(None));
            assert_eq!(good, Ok(()), "{form:?} {signer:?}");
            for flaw in Flaw::all(signer, form) {
                let said = verdict(&instance, key, form, &sign(Some(flaw)));
                let row = format!("{form:?} {signer:?} {flaw:?}: {said:?}");
                match (flaw.refusal(signer, form), said) {
                    (None, said) => assert_eq!(said, Ok(()), "{row}"),
                    (Some(words), Err(said)) => assert!(said.contains(words), "{row}"),
                    (Some(_), Ok(())) => panic!("{row}"),
                }
            }
        }
    }
}
