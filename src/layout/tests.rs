use std::collections::BTreeSet;

use futures::TryStreamExt as _;
use tokio::task::JoinSet;

use super::*;
use crate::oci::{Algorithm, Digester, MediaType};

fn entry(repository: &str, tag: Option<&str>, of: &[u8]) -> Entry {
    Entry {
        repository: repository.parse().unwrap(),
        tag: tag.map(|tag| tag.parse().unwrap()),
        media_type: MediaType::OciManifest,
        digest: Digest::sha256(of),
        size: u64::try_from(of.len()).unwrap(),
    }
}

async fn read(layout: &Layout, digest: &Digest, range: std::ops::Range<u64>) -> Vec<u8> {
    let blob = layout.blob(digest).await.unwrap().unwrap();
    let parts: Vec<Bytes> = blob.stream(range).try_collect().await.unwrap();
    assert!(parts.iter().all(|part| part.len() <= 256 * 1024));
    parts.concat()
}

fn large() -> Bytes {
    let mut bytes = vec![0; 3_000_001];
    fastrand::Rng::with_seed(7).fill(&mut bytes);
    Bytes::from(bytes)
}

fn files(directory: &Path) -> BTreeSet<String> {
    fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[tokio::test]
async fn blobs_come_back_whole_and_in_part() {
    let directory = tempfile::tempdir().unwrap();
    for layout in [
        Layout::in_memory(),
        Layout::create(directory.path()).await.unwrap(),
    ] {
        let bytes = large();
        let digest = Digest::sha256(&bytes);
        assert_eq!(layout.size(&digest).await.unwrap(), None);
        let mut writer = layout.writer().unwrap();
        for piece in bytes.chunks(70_001) {
            writer.write(Bytes::copy_from_slice(piece)).await.unwrap();
        }
        assert!(layout.blob(&digest).await.unwrap().is_none());
        assert_eq!(writer.commit(&digest).await.unwrap(), 3_000_001);
        assert_eq!(layout.size(&digest).await.unwrap(), Some(3_000_001));
        assert_eq!(read(&layout, &digest, 0..u64::MAX).await, bytes);
        assert_eq!(read(&layout, &digest, 5..600_000).await, bytes[5..600_000]);
        assert!(read(&layout, &digest, 9..9).await.is_empty());
        layout.remove_blob(&digest).unwrap();
        layout.remove_blob(&digest).unwrap();
        assert_eq!(layout.size(&digest).await.unwrap(), None);
    }
}

#[tokio::test]
async fn empty_blobs_and_other_algorithms_are_fine() {
    let directory = tempfile::tempdir().unwrap();
    for layout in [
        Layout::in_memory(),
        Layout::create(directory.path()).await.unwrap(),
    ] {
        let empty = Digest::sha256(b"");
        layout.put_blob(&empty, Bytes::new()).await.unwrap();
        assert_eq!(layout.size(&empty).await.unwrap(), Some(0));
        let bytes = large();
        let mut digester = Digester::new(Algorithm::Sha512);
        digester.update(&bytes);
        let long = digester.finish();
        layout.put_blob(&long, bytes.clone()).await.unwrap();
        assert_eq!(read(&layout, &long, 0..u64::MAX).await, bytes);
    }
}

#[tokio::test]
async fn wrong_and_unfinished_blobs_leave_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::create(directory.path()).await.unwrap();
    let digest = Digest::sha256(b"right");
    let wrong = layout.put_blob(&digest, Bytes::from_static(b"wrong")).await;
    assert!(wrong.unwrap_err().is_digest_mismatch());
    let mut writer = layout.writer().unwrap();
    writer.write(large()).await.unwrap();
    writer.write(large()).await.unwrap();
    assert_eq!(files(&directory.path().join(".uploads")).len(), 2);
    let written = writer.commit(&digest).await;
    assert!(written.unwrap_err().is_digest_mismatch());
    // What a kill leaves, the next process clears.
    fs::write(directory.path().join(".uploads/17"), "part").unwrap();
    drop(layout);
    Layout::create(directory.path()).await.unwrap();
    let left = files(&directory.path().join(".uploads"));
    assert_eq!(left, BTreeSet::from(["lock".to_owned()]));
    assert!(files(&directory.path().join("blobs/sha256")).is_empty());
}

#[tokio::test]
async fn everything_is_still_there_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("new/layout");
    let layout = Layout::create(&path).await.unwrap();
    layout.put(entry("a/b", Some("1"), b"x")).await.unwrap();
    layout.put(entry("a/b", None, b"y")).await.unwrap();
    let before = layout.entries();
    drop(layout);
    for layout in [
        Layout::open(&path).await.unwrap(),
        Layout::create(&path).await.unwrap(),
    ] {
        assert_eq!(layout.entries(), before);
        let repository = "a/b".parse().unwrap();
        assert_eq!(layout.tags(&repository).unwrap().len(), 1);
    }
    let json = fs::read_to_string(path.join("index.json")).unwrap();
    assert!(json.contains("\"a/b:1\""), "{json}");
}

#[tokio::test]
async fn reading_never_writes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    assert!(matches!(
        Layout::open(path).await.unwrap_err().kind,
        Kind::NotALayout
    ));
    fs::write(path.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    fs::write(path.join("index.json"), r#"{"schemaVersion":2}"#).unwrap();
    let layout = Layout::open(path).await.unwrap();
    assert!(matches!(layout.writer().unwrap_err().kind, Kind::ReadOnly));
    for error in [
        layout.put(entry("a", Some("1"), b"x")).await.unwrap_err(),
        layout.remove_blob(&Digest::sha256(b"x")).unwrap_err(),
    ] {
        assert!(matches!(error.kind, Kind::ReadOnly));
    }
    let all = BTreeSet::from(["oci-layout".to_owned(), "index.json".to_owned()]);
    assert_eq!(files(path), all);
}

#[tokio::test]
async fn one_process_at_a_time_writes() {
    let directory = tempfile::tempdir().unwrap();
    let first = Layout::create(directory.path()).await.unwrap();
    let second = Layout::create(directory.path()).await.unwrap_err();
    assert!(matches!(second.kind, Kind::InUse));
    Layout::open(directory.path()).await.unwrap();
    drop(first);
    Layout::create(directory.path()).await.unwrap();
}

#[tokio::test]
async fn other_directories_and_versions_are_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    fs::write(path.join("notes.txt"), "mine").unwrap();
    let error = Layout::create(path).await.unwrap_err();
    assert!(matches!(error.kind, Kind::NotEmpty));
    fs::write(path.join("oci-layout"), r#"{"imageLayoutVersion":"2.0.0"}"#).unwrap();
    for result in [Layout::create(path).await, Layout::open(path).await] {
        assert!(matches!(result.unwrap_err().kind, Kind::Version(_)));
    }
    assert_eq!(files(path).len(), 2);
}

#[tokio::test]
async fn changes_that_come_together_are_written_together_and_all_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::create(directory.path()).await.unwrap();
    let mut tasks = JoinSet::new();
    for number in 0..200 {
        let layout = layout.clone();
        let path = directory.path().to_owned();
        tasks.spawn(async move {
            let tag = format!("v{number}");
            layout.put(entry("a", Some(&tag), b"x")).await.unwrap();
            let seen = Layout::open(path).await.unwrap();
            let repository = "a".parse().unwrap();
            assert!(seen.find(&repository, &tag.parse().unwrap()).is_some());
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    // Each write takes one temporary name.
    let Store::Directory(files) = &layout.store else {
        panic!("a directory is one");
    };
    let name = files.temporary().path().file_name().unwrap().to_owned();
    let writes: u32 = name.to_str().unwrap().parse().unwrap();
    assert!(writes < 200, "{writes} writes");
}

#[cfg(unix)]
#[tokio::test]
async fn a_link_out_of_the_layout_is_no_blob() {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::create(directory.path()).await.unwrap();
    let digest = Digest::sha256(b"x");
    let outside = directory.path().join("oci-layout");
    let Store::Directory(files) = &layout.store else {
        panic!("a directory is one");
    };
    std::os::unix::fs::symlink(outside, files.blob(&digest)).unwrap();
    assert!(layout.blob(&digest).await.unwrap().is_none());
    assert_eq!(layout.size(&digest).await.unwrap(), None);
}

#[tokio::test]
async fn a_damaged_document_is_not_given_out() {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::create(directory.path()).await.unwrap();
    let digest = Digest::sha256(b"right");
    layout
        .put_blob(&digest, Bytes::from_static(b"right"))
        .await
        .unwrap();
    let path = directory.path().join("blobs/sha256").join(digest.hex());
    fs::write(path, "wrong").unwrap();
    let error = layout.bytes(&digest, 100).await.unwrap_err();
    assert!(error.is_digest_mismatch());
    let error = layout.bytes(&digest, 4).await.unwrap_err();
    assert!(matches!(error.kind, Kind::TooLarge(4)));
}

#[tokio::test]
async fn nothing_is_removed_or_truncated_through_a_link() {
    let folder = tempfile::tempdir().unwrap();
    let layout = folder.path().join("layout");
    drop(Layout::create(&layout).await.unwrap());
    let precious = folder.path().join("precious");
    fs::create_dir(&precious).unwrap();
    for name in ["1", "lock"] {
        fs::write(precious.join(name), "mine").unwrap();
    }
    let lock = layout.join(".uploads/lock");
    fs::remove_file(&lock).unwrap();
    std::os::unix::fs::symlink(precious.join("lock"), &lock).unwrap();
    assert!(Layout::create(&layout).await.is_err());
    fs::remove_dir_all(layout.join(".uploads")).unwrap();
    std::os::unix::fs::symlink(&precious, layout.join(".uploads")).unwrap();
    assert!(Layout::create(&layout).await.is_err());
    for name in ["1", "lock"] {
        let text = fs::read_to_string(precious.join(name));
        assert_eq!(text.unwrap(), "mine", "{name}");
    }
}
