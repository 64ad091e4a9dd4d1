//! One writer of a tag at a time: in this process, and among the processes of this host.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};
use tokio::time::Instant;

use crate::folder::{self, stands_at};
use crate::oci::{Digest, Repository, Tag};

use super::{Error, held};

/// How long a lock of another process is waited for. A write takes seconds; who holds a lock for minutes
/// hangs.
const PATIENCE: Duration = Duration::from_mins(5);
/// How often a lock of another process is asked for at first, and at last.
const POLL_MIN: Duration = Duration::from_millis(5);
const POLL_MAX: Duration = Duration::from_millis(200);

/// How many files are looked at when a run begins, so that a folder of any size holds up none.
const SWEPT_MAX: usize = 1000;

/// What the name of a lock ends with, behind a SHA-256 in hex.
const SUFFIX: &str = ".lock";

type Place = (Repository, Tag);
type Places = Arc<Mutex<HashMap<Place, Arc<AsyncMutex<()>>>>>;

/// The locks of a run.
#[derive(Debug)]
pub(super) struct Locks {
    folder: Option<PathBuf>,
    is_checked: Mutex<bool>,
    /// Those that somebody holds or waits for.
    places: Places,
    patience: Duration,
}

/// A lock that is held; given back when dropped.
#[derive(Debug)]
pub struct Held {
    // Each kept for its Drop, in this order: the file first, so that a waiter of this process does not
    // have to poll for it.
    _file: Option<LockFile>,
    _guard: OwnedMutexGuard<()>,
    _seat: Seat,
}

/// A file that is locked; it goes when the lock does.
#[derive(Debug)]
struct LockFile {
    // Its Drop gives the lock back: after that of this, so that the file is taken away under it.
    file: File,
    path: PathBuf,
}

impl Drop for LockFile {
    fn drop(&mut self) {
        // Somebody may have taken it away by hand, and what stands there now is held by another.
        if !stands_at(&self.file, &self.path).unwrap_or(false) {
            return;
        }
        // What stays behind is empty, and is used again.
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "a lock stays behind");
        }
    }
}

/// Somebody who holds a place or waits for it; the last to leave takes it away.
#[derive(Debug)]
struct Seat {
    places: Places,
    place: Place,
    lock: Option<Arc<AsyncMutex<()>>>,
}

impl Seat {
    fn take(places: &Places, place: Place) -> (Self, Arc<AsyncMutex<()>>) {
        let lock = Arc::clone(held(places).entry(place.clone()).or_default());
        let seat = Self {
            places: Arc::clone(places),
            place,
            lock: Some(Arc::clone(&lock)),
        };
        (seat, lock)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut places = held(&self.places);
        self.lock = None;
        // Others get theirs under the same lock of the map, so nobody comes in between.
        let is_empty = |lock: &Arc<_>| Arc::strong_count(lock) == 1;
        if places.get(&self.place).is_some_and(is_empty) {
            places.remove(&self.place);
        }
    }
}

impl Locks {
    pub(super) fn new(folder: Option<PathBuf>) -> Self {
        Self {
            folder,
            is_checked: Mutex::new(false),
            places: Places::default(),
            patience: PATIENCE,
        }
    }

    /// Waits until nobody else writes `tag`.
    ///
    /// The lock is the system's (`flock`), so that it ends with the process however it ends; a file system that
    /// knows no locks is an error. Who holds it takes its file away before it gives it back; who has waited for
    /// that file sees that another stands under the name, or none, and begins anew.
    ///
    /// # Errors
    ///
    /// [`Error::Lock`] where the folder cannot be used, and where another process does not give the lock
    /// back for five minutes.
    ///
    /// # Cancel safety
    ///
    /// Dropping it, before or after, gives everything back. No thread of the runtime is blocked.
    pub(super) async fn hold(&self, repository: &Repository, tag: &Tag) -> Result<Held, Error> {
        let place = (repository.clone(), tag.clone());
        let (seat, lock) = Seat::take(&self.places, place);
        let guard = lock.lock_owned().await;
        let file = match &self.folder {
            None => None,
            Some(folder) => Some(self.hold_file(folder, repository, tag).await?),
        };
        Ok(Held {
            _file: file,
            _guard: guard,
            _seat: seat,
        })
    }

    async fn hold_file(
        &self,
        folder: &Path,
        repository: &Repository,
        tag: &Tag,
    ) -> Result<LockFile, Error> {
        self.check(folder)?;
        let path = folder.join(name(repository, tag));
        let fail = |why: &dyn std::fmt::Display| {
            Error::Lock(format!(
                "`{repository}:{tag}` is not written without the lock `{}`: {why}",
                path.display()
            ))
        };
        let open = || opened(&path).map_err(|error| fail(&error));
        let mut file = open()?;
        let until = Instant::now() + self.patience;
        let mut pause = POLL_MIN;
        loop {
            match file.try_lock() {
                Ok(()) if stands_at(&file, &path).map_err(|error| fail(&error))? => {
                    return Ok(LockFile { file, path });
                }
                Ok(()) if Instant::now() < until => {
                    file = open()?;
                    pause = POLL_MIN;
                }
                Ok(()) => {
                    return Err(fail(
                        &"another file stands there than the one that is locked",
                    ));
                }
                Err(TryLockError::WouldBlock) if Instant::now() < until => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(fail(&"another process does not give it back"));
                }
                Err(TryLockError::Error(error)) => return Err(fail(&error)),
            }
            // Not all at the same time.
            tokio::time::sleep(pause.mul_f64(0.5 + 0.5 * fastrand::f64())).await;
            pause = (pause * 2).min(POLL_MAX);
        }
    }

    /// Makes the folder, and sees to it once that it is this user's own.
    fn check(&self, folder: &Path) -> Result<(), Error> {
        let mut is_checked = held(&self.is_checked);
        if !*is_checked {
            folder::prepare(folder).map_err(|error| {
                let folder = folder.display();
                Error::Lock(format!("the lock folder `{folder}` is not used: {error}"))
            })?;
            sweep(folder);
            *is_checked = true;
        }
        Ok(())
    }
}

/// Takes away what runs left that were killed: files that nobody holds. What cannot be taken away does no harm.
fn sweep(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.take(SWEPT_MAX).flatten() {
        // Whatever else somebody keeps there is left alone: looked at first, for to open a pipe takes its reader.
        let is_left = entry.file_name().to_str().is_some_and(is_name)
            && entry
                .metadata()
                .is_ok_and(|there| there.is_file() && there.len() == 0);
        let path = entry.path();
        if is_left
            && let Ok(file) = OpenOptions::new().write(true).open(&path)
            && file.try_lock().is_ok()
        {
            drop(LockFile { file, path });
        }
    }
}

/// What the file of a tag is called.
fn name(repository: &Repository, tag: &Tag) -> String {
    let digest = Digest::sha256(format!("{repository}:{tag}").as_bytes());
    format!("{}{SUFFIX}", digest.hex())
}

/// Whether a file may be one of ours.
fn is_name(name: &str) -> bool {
    name.strip_suffix(SUFFIX).is_some_and(|digits| {
        digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

fn opened(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    fn place() -> Place {
        let repository = "r.example/a".parse::<crate::oci::Reference>().unwrap();
        (repository.repository, Tag::latest())
    }

    fn locks(folder: Option<&Path>) -> Locks {
        Locks::new(folder.map(Path::to_owned))
    }

    #[tokio::test]
    async fn one_holds_and_the_others_wait_and_nothing_stays_behind() {
        let locks = locks(None);
        let (repository, tag) = place();
        let first = locks.hold(&repository, &tag).await.unwrap();
        let mut second = Box::pin(locks.hold(&repository, &tag));
        let mut third = Box::pin(locks.hold(&repository, &tag));
        assert!(futures::poll!(&mut second).is_pending());
        assert!(futures::poll!(&mut third).is_pending());
        // Another tag is another lock.
        let other = "other".parse().unwrap();
        drop(locks.hold(&repository, &other).await.unwrap());
        drop(second);
        drop(first);
        drop(third.await.unwrap());
        assert!(held(&locks.places).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_lock_of_another_process_is_waited_for_but_not_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("locks");
        let (mine, other) = (locks(Some(&folder)), locks(Some(&folder)));
        let (repository, tag) = place();
        let held = mine.hold(&repository, &tag).await.unwrap();
        let refused = other.hold(&repository, &tag).await.unwrap_err().to_string();
        assert!(refused.contains(".lock"), "{refused}");
        assert!(refused.contains("r.example/a:latest"), "{refused}");
        let mut waiting = Box::pin(other.hold(&repository, &tag));
        assert!(futures::poll!(&mut waiting).is_pending());
        drop(held);
        let held = waiting.await.unwrap();
        drop(held);
        let files: Vec<_> = fs::read_dir(&folder).unwrap().collect();
        assert!(files.is_empty(), "{files:?}");
        assert_eq!(folder.metadata().unwrap().mode() & 0o777, 0o700);
        drop(mine.hold(&repository, &tag).await.unwrap());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn files_that_come_and_go_are_never_held_twice() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("locks");
        let writing = Arc::new(AtomicBool::new(false));
        let mut writers = tokio::task::JoinSet::new();
        for _ in 0..6 {
            // Each as if it were a process of its own.
            let mine = locks(Some(&folder));
            let writing = Arc::clone(&writing);
            writers.spawn(async move {
                let (repository, tag) = place();
                for _ in 0..40 {
                    let held = mine.hold(&repository, &tag).await.unwrap();
                    assert!(!writing.swap(true, Ordering::SeqCst), "two at once");
                    tokio::task::yield_now().await;
                    assert!(writing.swap(false, Ordering::SeqCst));
                    drop(held);
                }
            });
        }
        while let Some(ended) = writers.join_next().await {
            ended.unwrap();
        }
        assert!(fs::read_dir(&folder).unwrap().next().is_none());
    }

    #[tokio::test]
    async fn what_killed_runs_left_is_taken_away() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("locks");
        let (repository, tag) = place();
        let mine = locks(Some(&folder));
        let held = mine.hold(&repository, &tag).await.unwrap();
        let left = folder.join(name(&repository, &"left".parse().unwrap()));
        fs::write(&left, "").unwrap();
        // None of these was left by a run.
        let full = name(&repository, &"full".parse().unwrap());
        let linked = name(&repository, &"linked".parse().unwrap());
        fs::write(folder.join(&full), "text").unwrap();
        fs::write(folder.join("Cargo.lock"), "").unwrap();
        fs::write(folder.join("else.txt"), "").unwrap();
        symlink(folder.join("else.txt"), folder.join(&linked)).unwrap();
        let other = "other".parse().unwrap();
        drop(
            locks(Some(&folder))
                .hold(&repository, &other)
                .await
                .unwrap(),
        );
        assert!(!left.exists());
        for other in [&*full, "Cargo.lock", "else.txt", &*linked] {
            assert!(folder.join(other).exists(), "{other}");
        }
        // What is held stays.
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 5);
        drop(held);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 4);
    }

    // In real time: a process that another test starts has the lock too until it runs its program.
    #[tokio::test]
    async fn a_link_in_place_of_a_lock_is_refused_and_not_asked_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("locks");
        let mine = Locks {
            patience: Duration::from_millis(500),
            ..locks(Some(&folder))
        };
        let (repository, tag) = place();
        drop(mine.hold(&repository, &tag).await.unwrap());
        let target = folder.join("target");
        symlink(&target, folder.join(name(&repository, &tag))).unwrap();
        let refused = mine.hold(&repository, &tag).await.unwrap_err().to_string();
        assert!(refused.contains("another file"), "{refused}");
    }

    #[tokio::test]
    async fn a_file_that_was_taken_away_by_hand_is_not_taken_from_the_next_one() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("locks");
        let (mine, other) = (locks(Some(&folder)), locks(Some(&folder)));
        let (repository, tag) = place();
        let first = mine.hold(&repository, &tag).await.unwrap();
        let file = folder.join(name(&repository, &tag));
        fs::remove_file(&file).unwrap();
        let second = other.hold(&repository, &tag).await.unwrap();
        drop(first);
        assert!(file.exists(), "the lock of another is gone");
        drop(second);
        assert!(!file.exists());
    }

    #[tokio::test]
    async fn a_dropped_writer_gives_its_lock_back() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("locks");
        let (mine, other) = (locks(Some(&folder)), locks(Some(&folder)));
        let (repository, tag) = place();
        let mut writer = Box::pin(async {
            let _held = mine.hold(&repository, &tag).await.unwrap();
            std::future::pending::<()>().await;
        });
        assert!(futures::poll!(&mut writer).is_pending());
        let mut waiting = Box::pin(other.hold(&repository, &tag));
        assert!(futures::poll!(&mut waiting).is_pending());
        drop(writer);
        drop(waiting.await.unwrap());
    }

    #[tokio::test]
    async fn a_folder_that_is_not_ones_own_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (repository, tag) = place();
        let real = folder.path().join("real");
        fs::create_dir(&real).unwrap();
        let link = folder.path().join("link");
        symlink(&real, &link).unwrap();
        let open = folder.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        for bad in [&link, &open, &file] {
            let refused = locks(Some(bad)).hold(&repository, &tag).await;
            assert!(matches!(refused, Err(Error::Lock(_))), "{refused:?}");
        }
        assert!(fs::read_dir(&open).unwrap().next().is_none());
        // A folder of root's is somebody else's for all but root, who may change whose it is.
        if std::os::unix::fs::chown(&real, Some(65534), None).is_ok() {
            let refused = locks(Some(&real)).hold(&repository, &tag).await;
            let refused = refused.unwrap_err().to_string();
            assert!(refused.contains("somebody else"), "{refused}");
        }
    }
}
