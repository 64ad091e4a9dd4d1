//! Manifests of signatures with more or fewer layers: one layer for each signature (cosign's tag format).
//!
//! Layers that stay keep their bytes, and so do all fields of the manifest but `config` and `layers`.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::oci::{Descriptor, Digest, Error, Manifest, MediaType, Reason, with_layers};

/// The time that stands where there is none.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// A layer, and the bytes that it was read from.
#[derive(Debug, Clone)]
pub struct Layer<'a> {
    /// The view.
    pub descriptor: Descriptor,
    /// The bytes.
    pub raw: &'a RawValue,
}

/// The layers of an image manifest, each with its bytes.
///
/// # Errors
///
/// When `manifest` is no image manifest.
pub fn layers(manifest: &Manifest) -> Result<Vec<Layer<'_>>, Error> {
    #[derive(Deserialize)]
    struct Layers<'a> {
        #[serde(borrow, default)]
        layers: Option<Vec<&'a RawValue>>,
    }
    let fail = |reason| Error::new("image manifest", &manifest.digest().to_string(), reason);
    if !manifest.media_type().is_image() {
        return Err(fail(Reason::Grammar("it has no layers")));
    }
    let unread = |error: serde_json::Error| fail(Reason::Json(error.to_string()));
    let document: Layers<'_> = serde_json::from_slice(manifest.raw()).map_err(unread)?;
    let raw = document.layers.unwrap_or_default();
    raw.into_iter()
        .map(|raw| {
            let descriptor = serde_json::from_str(raw.get()).map_err(unread)?;
            Ok(Layer { descriptor, raw })
        })
        .collect()
}

/// `manifest` with those of its layers that `keep` keeps, and `more` at their end, each a descriptor as
/// JSON; and its new config, see [`config_of`].
///
/// # Errors
///
/// When `manifest` is no image manifest, or would become larger than one may be.
pub fn relayered(
    manifest: &Manifest,
    keep: &dyn Fn(&Descriptor) -> bool,
    more: &[String],
) -> Result<(Manifest, Bytes), Error> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Described<'a> {
        media_type: &'a str,
        size: usize,
        digest: Digest,
    }
    let old = layers(manifest)?;
    let kept = old.iter().map(|layer| &layer.descriptor);
    let kept = kept.filter(|layer| keep(layer)).map(|layer| layer.digest);
    let mut digests: Vec<Digest> = kept.collect();
    for text in more {
        let layer: Descriptor = serde_json::from_str(text)
            .map_err(|error| Error::new("layer", text, Reason::Json(error.to_string())))?;
        digests.push(layer.digest);
    }
    let config = config_of(&digests)?;
    let config_type = if *manifest.media_type() == MediaType::DockerManifest {
        MediaType::DockerConfig
    } else {
        MediaType::OciConfig
    };
    let described = json(&Described {
        media_type: config_type.as_str(),
        size: config.len(),
        digest: Digest::sha256(&config),
    })?;
    let manifest = with_layers(Some(manifest), &described, more, &|layer| keep(layer))?;
    Ok((manifest, config))
}

/// The config of a signature manifest as cosign 2.5 writes it: an image of these layers and nothing else.
/// Nobody reads it; registries that look into configs find one of the shape they know.
///
/// # Errors
///
/// None that is known: strings and lists always have a form in JSON.
pub fn config_of(diff_ids: &[Digest]) -> Result<Bytes, Error> {
    #[derive(Serialize)]
    struct Step {
        created: &'static str,
    }
    #[derive(Serialize)]
    struct Root<'a> {
        r#type: &'static str,
        diff_ids: &'a [Digest],
    }
    #[derive(Serialize)]
    struct Nothing {}
    #[derive(Serialize)]
    struct Document<'a> {
        architecture: &'static str,
        created: &'static str,
        history: Vec<Step>,
        os: &'static str,
        rootfs: Root<'a>,
        config: Nothing,
    }
    let document = json(&Document {
        architecture: "",
        created: NEVER,
        history: diff_ids.iter().map(|_| Step { created: NEVER }).collect(),
        os: "",
        rootfs: Root {
            r#type: "layers",
            diff_ids,
        },
        config: Nothing {},
    })?;
    Ok(Bytes::from(document))
}

fn json(value: &impl Serialize) -> Result<String, Error> {
    serde_json::to_string(value)
        .map_err(|error| Error::new("document", "", Reason::Json(error.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(of: &str, signature: &str) -> String {
        format!(
            r#"{{"mediaType":"a/b", "size":{},"digest":"{}","annotations":{{"s":"{signature}"}},"odd":1.0}}"#,
            of.len(),
            Digest::sha256(of.as_bytes())
        )
    }

    fn manifest(layers: &[String]) -> Manifest {
        let text = format!(
            r#"{{"schemaVersion":2,"odd":1.50,"config":{{"mediaType":"a/c","size":2,"digest":"{}"}}, "layers":[{}],"annotations":{{"b":"1"}}}}"#,
            Digest::sha256(b"{}"),
            layers.join(", ")
        );
        Manifest::parse(Bytes::from(text), &MediaType::OciManifest).unwrap()
    }

    #[test]
    fn layers_keep_their_bytes_and_the_config_lists_them() {
        let (one, two) = (
            manifest(&[layer("a", "1"), layer("b", "2")]),
            manifest(&[layer("c", "3")]),
        );
        let more = layers(&two).unwrap();
        let gone = Digest::sha256(b"b");
        for (all, digests) in [(true, &["a", "b", "c"][..]), (false, &["a", "c"])] {
            let keep = |layer: &Descriptor| all || layer.digest != gone;
            let more: Vec<String> = more.iter().map(|one| one.raw.get().to_owned()).collect();
            let (joined, config) = relayered(&one, &keep, &more).unwrap();
            let text = String::from_utf8(joined.raw().to_vec()).unwrap();
            let expected: Vec<String> = [layer("a", "1"), layer("b", "2"), layer("c", "3")]
                .into_iter()
                .filter(|text| all || !text.contains(&gone.to_string()))
                .collect();
            let expected = format!("\"layers\":[{}]", expected.join(","));
            assert!(text.contains(&expected), "{text}");
            assert!(text.starts_with(r#"{"schemaVersion":2,"odd":1.50,"config":{"#));
            assert!(text.ends_with(r#""annotations":{"b":"1"}}"#), "{text}");
            assert!(text.contains(&Digest::sha256(&config).to_string()));
            let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
            let digests: Vec<_> = digests
                .iter()
                .map(|of| Digest::sha256(of.as_bytes()))
                .collect();
            assert_eq!(config["history"].as_array().unwrap().len(), digests.len());
            assert_eq!(config["rootfs"]["diff_ids"], serde_json::json!(digests));
        }
    }

    #[test]
    fn an_index_has_no_layers() {
        let index = Manifest::parse(
            Bytes::from_static(br#"{"schemaVersion":2,"manifests":[]}"#),
            &MediaType::OciIndex,
        );
        assert!(layers(&index.unwrap()).is_err());
    }
}
