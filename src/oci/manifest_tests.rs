use super::*;

fn descriptor(media_type: &str, of: &str) -> String {
    format!(
        r#"{{"mediaType":"{media_type}","digest":"{}","size":{}}}"#,
        Digest::sha256(of.as_bytes()),
        of.len()
    )
}

fn parse(text: &str, content_type: &str) -> Result<Manifest, Error> {
    Manifest::parse(
        Bytes::from(text.to_owned()),
        &MediaType::parse(content_type),
    )
}

const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn image() -> String {
    format!(
        r#"{{"schemaVersion":2,"config":{},"layers":[{}],"odd":[1.50,{{"x":null}}]}}"#,
        descriptor("application/vnd.oci.image.config.v1+json", "config"),
        descriptor("application/x", "layer"),
    )
}

#[test]
fn the_bytes_stay_and_the_view_is_beside_them() {
    let text = image();
    let manifest = parse(&text, OCI).unwrap();
    assert_eq!(manifest.raw(), &Bytes::from(text.clone()));
    assert_eq!(manifest.digest(), Digest::sha256(text.as_bytes()));
    let View::Image(view) = manifest.view() else {
        panic!("an image")
    };
    assert_eq!(view.blobs().count(), 2);
    assert!(manifest.clone().named(Digest::sha256(b"other")).is_none());
}

#[test]
fn the_media_type_is_the_documents_then_the_servers_then_the_shapes() {
    let own = image().replace(
        "\"schemaVersion\":2",
        &format!("\"schemaVersion\":2,\"mediaType\":\"{OCI}\""),
    );
    assert_eq!(
        parse(&own, "application/json").unwrap().media_type(),
        &MediaType::OciManifest
    );
    assert_eq!(
        parse(&image(), "").unwrap().media_type(),
        &MediaType::OciManifest
    );
    assert_eq!(
        parse(r#"{"manifests":[]}"#, "").unwrap().media_type(),
        &MediaType::OciIndex
    );
    assert!(matches!(
        parse(&own, INDEX).unwrap_err().reason,
        Reason::MediaTypes { .. }
    ));
}

#[test]
fn ambiguous_and_foreign_documents_are_refused() {
    let both = image().replace("\"odd\"", "\"manifests\":[],\"odd\"");
    assert!(parse(&both, OCI).is_err());
    assert!(parse(&both, "application/vnd.example+json").is_err());
    assert!(parse(&image(), INDEX).is_err());
    assert!(parse(r#"{"manifests":[]}"#, OCI).is_err());
    assert!(parse(r#"{"schemaVersion":2}"#, "application/vnd.example+json").is_err());
    assert!(parse(r#"{"manifests":[],"manifests":[]}"#, INDEX).is_err());
    assert!(parse(r#"{"manifests":[],"Manifests":[]}"#, INDEX).is_err());
    for text in [
        "",
        "[]",
        "null",
        "\u{feff}{}",
        "<html>login</html>",
        "{\"manifests\":[",
        "{\"manifests\":[{}]}",
    ] {
        assert!(parse(text, INDEX).is_err(), "{text}");
    }
    for (count, is_good) in [(OBJECT_FIELDS_MAX - 1, true), (OBJECT_FIELDS_MAX, false)] {
        let fields: Vec<String> = (0..count).map(|n| format!(",\"x{n}\":0")).collect();
        let fields = fields.concat();
        let read = parse(&format!("{{\"manifests\":[]{fields}}}"), INDEX);
        assert_eq!(read.is_ok(), is_good, "{count}");
        if let Err(error) = read {
            assert!(error.to_string().contains("more than 1000"), "{error}");
        }
    }
    let deep = format!(
        "{{\"manifests\":[],\"x\":{}{}}}",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    drop(parse(&deep, INDEX));
    let large = format!(
        "{{\"manifests\":[],\"x\":\"{}\"}}",
        "a".repeat(MANIFEST_BYTES_MAX)
    );
    assert!(matches!(
        parse(&large, INDEX).unwrap_err().reason,
        Reason::TooLong(_)
    ));
}

#[test]
fn schema_1_is_called_by_its_name() {
    for (text, content_type) in [
        (r#"{"schemaVersion":1,"fsLayers":[]}"#, "application/json"),
        (
            r#"{"schemaVersion":1,"fsLayers":[]}"#,
            "application/vnd.docker.distribution.manifest.v1+prettyjws",
        ),
        (
            r#"{"schemaVersion":1,"config":"odd"}"#,
            "application/vnd.docker.distribution.manifest.v1+json",
        ),
    ] {
        assert_eq!(
            parse(text, content_type).unwrap_err().reason,
            Reason::Schema1
        );
    }
}

#[test]
fn artifacts_of_unknown_types_are_read_by_their_shape() {
    let old = format!(
        r#"{{"mediaType":"application/vnd.oci.artifact.manifest.v1+json","artifactType":"x/y","blobs":[{}]}}"#,
        descriptor("a/b", "blob")
    );
    let manifest = parse(&old, "application/vnd.oci.artifact.manifest.v1+json").unwrap();
    let View::Image(view) = manifest.view() else {
        panic!("an image")
    };
    assert_eq!(view.layers.len(), 1);
    assert_eq!(view.artifact_type.as_deref(), Some("x/y"));
}

#[test]
fn what_a_document_says_of_itself_is_fit_to_print() {
    let long = "x".repeat(5000);
    for said in [
        format!(r#"{{"mediaType":"\u007f\u001b[31m{long}","manifests":[]}}"#),
        format!(r#"{{"\u0007{long}":1,"\u0007{long}":2}}"#),
        format!(r#"{{"config":"\u007f{long}"}}"#),
    ] {
        let error = parse(&said, INDEX).unwrap_err().to_string();
        assert!(!error.contains(char::is_control), "{error:?}");
        assert!(error.chars().count() < 600, "{error}");
    }
}

#[test]
fn what_readers_that_fold_case_would_see_otherwise_is_refused() {
    let entry = |fields: &str| format!(r#"{{"manifests":[{{{fields}}}]}}"#);
    let good = descriptor(OCI, "good");
    let good = good.trim_start_matches('{').trim_end_matches('}');
    let evil = Digest::sha256(b"evil");
    assert!(parse(&entry(good), INDEX).is_ok());
    for bad in [
        format!(r#"{good},"Digest":"{evil}""#),
        format!(r#"{good},"dige\u017ft":"{evil}""#),
        format!(r#"{good},"digeſt":"{evil}""#),
        format!(r#"{good},"MediaType":"{INDEX}""#),
        format!(r#"{good},"Platform":{{"os":"linux","architecture":"amd64"}}"#),
        format!(
            r#"{good},"platform":{{"os":"linux","architecture":"s390x","Architecture":"amd64"}}"#
        ),
        format!(r#"{good},"platform":{{"OS":"linux","architecture":"amd64"}}"#),
    ] {
        assert!(parse(&entry(&bad), INDEX).is_err(), "{bad}");
    }
    let list = format!(r#"{{"manifests":[{{{good}}}],"manifeſts":[]}}"#);
    assert!(parse(&list, INDEX).is_err());
    let layer = image().replace(
        "\"layers\":[{",
        &format!("\"layers\":[{{\"DIGEST\":\"{evil}\","),
    );
    assert!(parse(&layer, OCI).is_err());
    // Names that nobody folds, and fields that nobody knows.
    for fine in [
        format!(r#"{good},"annotations":{{"Digest":"x","digest":"y"}}"#),
        format!(r#"{good},"odd":{{"a":1,"A":2}}"#),
        format!(r#"{good},"platform":null"#),
    ] {
        assert!(parse(&entry(&fine), INDEX).is_ok(), "{fine}");
    }
}
