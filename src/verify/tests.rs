use super::*;

fn compared(image: &str, compared: Compared, identity: SignedIdentity, is_root: bool) -> String {
    let demand = Demand {
        signers: Arc::new(Signers::Keys(Vec::new())),
        identity,
        annotations: BTreeMap::new(),
        search: Search::Everywhere,
    };
    let image: Reference = image.parse().unwrap();
    let question = Question {
        image: &image,
        place: None,
        subjects: Subjects::All,
        selection: &PlatformSelection::all(),
        compared,
        demand: &demand,
    };
    let root = image.digest.unwrap_or_else(|| Digest::sha256(b"root"));
    let digest = if is_root {
        root
    } else {
        Digest::sha256(b"child")
    };
    let named = question.named(&digest, root).to_string();
    named
        .replace(&root.to_string(), "ROOT")
        .replace(&Digest::sha256(b"child").to_string(), "CHILD")
}

#[test]
fn a_manifest_is_compared_as_what_it_is() {
    let pinned = format!("h.example/a@{}", Digest::sha256(b"root"));
    let both = format!("h.example/a:v1@{}", Digest::sha256(b"root"));
    let cases = [
        ("h.example/a:v1", "h.example/a:v1", "h.example/a@CHILD"),
        ("h.example/a", "h.example/a:latest", "h.example/a@CHILD"),
        (pinned.as_str(), "h.example/a@ROOT", "h.example/a@CHILD"),
        (both.as_str(), "h.example/a@ROOT", "h.example/a@CHILD"),
    ];
    let usual = || SignedIdentity::MatchRepoDigestOrExact;
    for (image, root, child) in cases {
        assert_eq!(compared(image, Compared::ByWhatItIs, usual(), true), root);
        assert_eq!(compared(image, Compared::ByWhatItIs, usual(), false), child);
    }
    // matchExact compares children by the tag, where there is one.
    let exact = |image| {
        compared(
            image,
            Compared::ByWhatItIs,
            SignedIdentity::MatchExact,
            false,
        )
    };
    assert_eq!(exact("h.example/a:v1"), "h.example/a:v1");
    assert_eq!(exact(&both), "h.example/a@CHILD");
}

#[test]
fn podman_compares_every_manifest_by_the_name_that_was_asked_for() {
    let both = format!("h.example/a:v1@{}", Digest::sha256(b"root"));
    let usual = || SignedIdentity::MatchRepoDigestOrExact;
    for is_root in [true, false] {
        let asked = |image| compared(image, Compared::AsAsked, usual(), is_root);
        assert_eq!(asked("h.example/a:v1"), "h.example/a:v1");
        assert_eq!(asked("h.example/a"), "h.example/a:latest");
        assert_eq!(asked(&both), "h.example/a@ROOT");
    }
}
