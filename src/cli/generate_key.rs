//! `generate-key`: a new pair of keys, in files as cosign has them.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::sigstore::PrivateKey;

use super::Environment;
use super::error::Error;
use super::passphrase::{Prompt, passphrase};

/// A passphrase of fewer bytes is said to be short.
const PASSPHRASE_BYTES_FEW: usize = 5;

/// Who may read the private key: its owner.
const PRIVATE_MODE: u32 = 0o600;
/// Who may read the public one: everybody, as far as the umask lets them.
const PUBLIC_MODE: u32 = 0o644;

/// `consign generate-key`.
#[derive(Debug, Args)]
pub(super) struct GenerateKeyArgs {
    /// Write PREFIX.key, the encrypted private key, and PREFIX.pub, the public one
    #[arg(short, long, value_name = "PREFIX", default_value = "sigstore")]
    pub(super) prefix: OsString,
    /// Take the passphrase from this file; else it is `COSIGN_PASSWORD`, else it is asked for
    #[arg(long, value_name = "FILE", alias = "sigstore-passphrase-file")]
    pub(super) passphrase_file: Option<PathBuf>,
    /// Replace files that are there; a key that is replaced is lost
    #[arg(short = 'y', long = "auto-yes", aliases = ["yes", "force"])]
    pub(super) overwrite: bool,
}

/// `consign generate-key`: P-256, the only kind that every version of every tool reads alike.
pub(super) fn generate_key(args: &GenerateKeyArgs, environment: &Environment) -> Result<u8, Error> {
    let pair = Pair::new(&args.prefix)?;
    // Before anybody types a passphrase.
    pair.check(args.overwrite)?;
    let file = args.passphrase_file.as_deref();
    let passphrase = passphrase(file, environment, Prompt::New)?;
    let failed = |error| Error::usage("cannot make a key", &error).with_code(1);
    let key = PrivateKey::generate().map_err(failed)?;
    let sealed = key.seal(&passphrase).map_err(failed)?;
    pair.write(&sealed, &key.public().to_pem(), args.overwrite)?;
    let mut stderr = io::stderr().lock();
    if passphrase.bytes() < PASSPHRASE_BYTES_FEW {
        let short = "warning: the passphrase has fewer than 5 bytes; who has the file can find it";
        drop(writeln!(stderr, "{short}"));
    }
    let (private, public) = (pair.private.display(), pair.public.display());
    drop(writeln!(
        stderr,
        "wrote the private key `{private}` and the public key `{public}`"
    ));
    Ok(0)
}

/// The two files.
#[derive(Debug)]
struct Pair {
    private: PathBuf,
    public: PathBuf,
}

impl Pair {
    fn new(prefix: &OsString) -> Result<Self, Error> {
        if Path::new(prefix).file_name().is_none() || prefix.as_encoded_bytes().ends_with(b"/") {
            let shown = Path::new(prefix).display();
            let what = format!("`{shown}` is no beginning of a file name");
            return Err(Error::refused(&what).with_hint("`--prefix keys/site` is one"));
        }
        let with = |ending| {
            let mut path = prefix.clone();
            path.push(ending);
            PathBuf::from(path)
        };
        Ok(Self {
            private: with(".key"),
            public: with(".pub"),
        })
    }

    /// Whether the files may be made. Without leave to replace, none of them may be there, not even as
    /// a link to nowhere; with it, they must be files.
    fn check(&self, overwrite: bool) -> Result<(), Error> {
        for path in [&self.private, &self.public] {
            match fs::symlink_metadata(path) {
                Ok(found) if overwrite && found.is_file() => {}
                Ok(_) if overwrite => {
                    let what = format!("`{}` is not a file", path.display());
                    return Err(Error::refused(&what));
                }
                Ok(_) => return Err(exists(path)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(unwritten(path, &error)),
            }
        }
        Ok(())
    }

    /// Writes both files or none: each beside its place first, then put there. The public key goes
    /// first, so that no private key ever stands alone.
    fn write(&self, private: &str, public: &str, overwrite: bool) -> Result<(), Error> {
        let private = Beside::write(&self.private, private, PRIVATE_MODE)?;
        let public = Beside::write(&self.public, public, PUBLIC_MODE)?;
        public.put(overwrite)?;
        private.put(overwrite).inspect_err(|_| {
            // It was made just now; one that was replaced cannot be brought back, and is not removed.
            if !overwrite {
                drop(fs::remove_file(&self.public));
            }
        })
    }
}

/// A file beside the place that it is to have, which ends with this unless it was put there.
struct Beside<'a> {
    beside: PathBuf,
    place: &'a Path,
}

impl<'a> Beside<'a> {
    fn write(place: &'a Path, text: &str, mode: u32) -> Result<Self, Error> {
        let mut name = OsString::from(".");
        name.push(place.file_name().unwrap_or_default());
        name.push(format!(".{:016x}", fastrand::u64(..)));
        let this = Self {
            beside: place.with_file_name(name),
            place,
        };
        let mut options = OpenOptions::new();
        let options = options.write(true).create_new(true).mode(mode);
        options
            .open(&this.beside)
            .and_then(|mut file| {
                file.write_all(text.as_bytes())?;
                // A key that a loss of power empties may be the one that something was signed with.
                file.sync_all()
            })
            .map_err(|error| unwritten(place, &error))?;
        Ok(this)
    }

    /// Gives it its name. Without leave to replace, the name is taken by an empty file first, which
    /// fails where somebody took it since it was looked at; hard links would do both at once, but the
    /// sticks that keys are carried on often have none.
    fn put(&self, overwrite: bool) -> Result<(), Error> {
        if !overwrite {
            let mut options = OpenOptions::new();
            let taken = options.write(true).create_new(true).open(self.place);
            taken.map_err(|error| {
                if error.kind() == io::ErrorKind::AlreadyExists {
                    exists(self.place)
                } else {
                    unwritten(self.place, &error)
                }
            })?;
        }
        fs::rename(&self.beside, self.place).map_err(|error| {
            if !overwrite {
                drop(fs::remove_file(self.place));
            }
            unwritten(self.place, &error)
        })
    }
}

impl Drop for Beside<'_> {
    fn drop(&mut self) {
        // It is not there after a rename; and what cannot be removed is encrypted, or public.
        drop(fs::remove_file(&self.beside));
    }
}

fn exists(path: &Path) -> Error {
    Error::refused(&format!("`{}` is there already", path.display()))
        .with_hint("`--prefix` names other files, `--auto-yes` replaces these")
}

fn unwritten(path: &Path, error: &io::Error) -> Error {
    Error::usage(&format!("cannot write `{}`", path.display()), error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(folder: &Path) -> Pair {
        Pair::new(&folder.join("site").into_os_string()).unwrap()
    }

    fn files(folder: &Path) -> Vec<(String, String)> {
        let mut files: Vec<(String, String)> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| {
                let name = entry.file_name().into_string().unwrap();
                (name, fs::read_to_string(entry.path()).unwrap_or_default())
            })
            .collect();
        files.sort();
        files
    }

    fn named(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn both_files_are_written_and_nothing_stays_beside_them() {
        let folder = tempfile::tempdir().unwrap();
        let pair = pair(folder.path());
        pair.check(false).unwrap();
        pair.write("private", "public", false).unwrap();
        let written = named(&[("site.key", "private"), ("site.pub", "public")]);
        assert_eq!(files(folder.path()), written);
        pair.check(true).unwrap();
        pair.write("more", "other", true).unwrap();
        let replaced = named(&[("site.key", "more"), ("site.pub", "other")]);
        assert_eq!(files(folder.path()), replaced);
    }

    /// Whoever is faster than the writing wins, and a half of ours is not left.
    #[test]
    fn a_name_that_is_taken_meanwhile_is_not_replaced() {
        for taken in ["site.key", "site.pub"] {
            let folder = tempfile::tempdir().unwrap();
            let pair = pair(folder.path());
            pair.check(false).unwrap();
            fs::write(folder.path().join(taken), "theirs").unwrap();
            let said = pair.write("private", "public", false).unwrap_err();
            assert!(said.to_string().contains(taken), "{said}");
            assert_eq!(files(folder.path()), named(&[(taken, "theirs")]));
        }
    }

    #[test]
    fn what_is_there_is_named_before_anything_is_done() {
        for taken in ["site.key", "site.pub"] {
            let folder = tempfile::tempdir().unwrap();
            let pair = pair(folder.path());
            let at = folder.path().join(taken);
            std::os::unix::fs::symlink("nowhere", &at).unwrap();
            let said = pair.check(false).unwrap_err().to_string();
            assert!(
                said.contains(taken) && said.contains("--auto-yes"),
                "{said}"
            );
            let said = pair.check(true).unwrap_err().to_string();
            assert!(said.contains("is not a file"), "{said}");
            fs::remove_file(&at).unwrap();
            fs::create_dir(&at).unwrap();
            assert!(pair.check(true).is_err());
        }
    }

    #[test]
    fn a_prefix_is_the_beginning_of_a_file_name() {
        for bad in ["", "/", "keys/", "..", "a/.."] {
            assert!(Pair::new(&bad.into()).is_err(), "{bad:?}");
        }
        let pair = Pair::new(&"keys/site.v1".into()).unwrap();
        assert_eq!(pair.private, Path::new("keys/site.v1.key"));
        assert_eq!(pair.public, Path::new("keys/site.v1.pub"));
    }
}
