use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::super::support::write;
use super::*;

fn namespace(text: &str) -> Namespace {
    text.parse().unwrap()
}

async fn put(path: &Path, name: &str, user: &str) -> Result<(), Error> {
    let password = SecretString::from("pass\"word");
    change(path, Format::Current, |entries| {
        entries.put(&namespace(name), user, &password)
    })
    .await
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[tokio::test]
async fn entries_do_not_print_their_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    put(&path, "h.example", "me").await.unwrap();
    let shown = change(&path, Format::Current, |entries| Ok(format!("{entries:?}")));
    let shown = shown.await.unwrap();
    assert!(shown.contains("h.example"), "{shown}");
    // me:pass"word
    assert!(!shown.contains("bWU6cGFzcyJ3b3Jk"), "{shown}");
}

#[tokio::test]
async fn a_new_file_and_its_folder_are_the_owners_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b/config.json");
    put(&path, "h.example:5000", "me").await.unwrap();
    assert_eq!([mode(&path), mode(path.parent().unwrap())], [0o600, 0o700]);
    // me:pass"word
    let text = "{\n\t\"auths\": {\n\t\t\"h.example:5000\": {\n\t\t\t\"auth\": \"bWU6cGFzcyJ3b3Jk\"\n\t\t}\n\t}\n}\n";
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    // Nothing is left beside it.
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
}

#[tokio::test]
async fn all_else_stays_as_it_is_and_where_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    let before = r#"{ "zzz": 1.50, "HttpHeaders": {"User-Agent" : "x"},
        "auths": { "b.example": {"auth":"YTpi","email":"é\u0041"}, "a.example": {"auth":"YTpi"} },
        "big": 123456789012345678901234567890, "credHelpers": {"c.example":"x"} }"#;
    write(&path, before);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    put(&path, "new.example/ns", "me").await.unwrap();
    let after = fs::read_to_string(&path).unwrap();
    let order = [
        "\"zzz\": 1.50,",
        "\"HttpHeaders\": {\"User-Agent\" : \"x\"}",
        "\"b.example\": {\"auth\":\"YTpi\",\"email\":\"é\\u0041\"}",
        "\"a.example\": ",
        "\"new.example/ns\": ",
        "\"big\": 123456789012345678901234567890",
        "\"credHelpers\": {\"c.example\":\"x\"}",
    ];
    let places: Vec<Option<usize>> = order.iter().map(|part| after.find(part)).collect();
    assert!(
        places.iter().all(Option::is_some) && places.is_sorted(),
        "{places:?} {after}"
    );
    assert_eq!(mode(&path), 0o600);
    // Out again, and nothing of it is left.
    let gone = change(&path, Format::Current, |entries| {
        Ok(entries.take(&namespace("new.example/ns")))
    });
    assert_eq!(gone.await.unwrap(), ["new.example/ns"]);
    assert_eq!(
        json(&path),
        serde_json::from_str::<serde_json::Value>(before).unwrap()
    );
}

#[tokio::test]
async fn an_entry_takes_the_place_of_all_that_mean_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    write(
        &path,
        r#"{"auths":{"docker.io":{"auth":"YTpi"},"https://index.docker.io/v1/":{},"registry-1.docker.io":{},
            "docker.io/ns":{"auth":"YTpi"},"H.example":{},"https://h.example/v2/":{},"h.example:443":{},"h.example/ns":{}}}"#,
    );
    put(&path, "docker.io", "me").await.unwrap();
    put(&path, "h.example", "me").await.unwrap();
    let document = json(&path);
    let keys: Vec<&String> = document["auths"].as_object().unwrap().keys().collect();
    let meant = [
        "docker.io/ns",
        "h.example",
        "h.example/ns",
        "h.example:443",
        "https://index.docker.io/v1/",
    ];
    assert_eq!(keys, meant);
    let all = change(&path, Format::Current, |entries| Ok(entries.take_all()));
    assert_eq!(all.await.unwrap().len(), 5);
    assert_eq!(json(&path), serde_json::json!({"auths": {}}));
}

#[tokio::test]
async fn links_are_followed_and_stay() {
    let folder = tempfile::tempdir().unwrap();
    let real = folder.path().join("real/config.json");
    let link = folder.path().join("link.json");
    let other = folder.path().join("other.json");
    symlink("real/config.json", &link).unwrap();
    symlink("link.json", &other).unwrap();
    for name in ["a.example", "b.example"] {
        put(&other, name, "me").await.unwrap();
    }
    assert!(link.is_symlink() && other.is_symlink() && !real.is_symlink());
    assert_eq!(json(&real)["auths"].as_object().unwrap().len(), 2);
    symlink("loop.json", folder.path().join("loop.json")).unwrap();
    let said = put(&folder.path().join("loop.json"), "a.example", "me").await;
    assert!(said.unwrap_err().to_string().contains("loop.json"));
}

#[tokio::test]
async fn writers_at_the_same_time_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    let work = (0..40).map(|n| {
        let path = path.clone();
        async move { put(&path, &format!("h{n}.example"), "me").await.unwrap() }
    });
    futures::future::join_all(work).await;
    assert_eq!(json(&path)["auths"].as_object().unwrap().len(), 40);
}

#[tokio::test]
async fn what_is_broken_is_not_replaced_and_what_is_empty_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    for broken in ["{", "[]", "{\"auths\": \"hunter2\"}", "hunter2"] {
        write(&path, broken);
        let said = put(&path, "h.example", "me").await.unwrap_err().to_string();
        assert!(
            said.contains("config.json") && !said.contains("hunter2"),
            "{said}"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), broken);
    }
    for empty in ["", "\n", "{}", "{\"auths\":null}"] {
        write(&path, empty);
        put(&path, "h.example", "me").await.unwrap();
        assert_eq!(
            json(&path)["auths"].as_object().unwrap().len(),
            1,
            "{empty}"
        );
    }
}

#[tokio::test]
async fn where_nothing_changes_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    let text = " {\"auths\":{\"a.example\":{}}}";
    write(&path, text);
    let gone = change(&path, Format::Current, |entries| {
        Ok(entries.take(&namespace("h.example")))
    });
    assert!(gone.await.unwrap().is_empty());
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}

#[tokio::test]
async fn the_old_format_is_changed_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(".dockercfg");
    write(
        &path,
        r#"{"https://h.example/v1/":{"auth":"YTpi"},"b.example":{"auth":"YTpi"}}"#,
    );
    let gone = change(&path, Format::Legacy, |entries| {
        Ok(entries.take(&namespace("h.example")))
    });
    assert_eq!(gone.await.unwrap(), ["https://h.example/v1/"]);
    assert_eq!(
        json(&path),
        serde_json::json!({"b.example": {"auth": "YTpi"}})
    );
}
