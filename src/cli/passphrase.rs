//! The passphrase of a private key: from a file, from the environment, or asked for.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _};
use std::path::Path;

use secrecy::ExposeSecret as _;
use secrecy::zeroize::Zeroizing;

use crate::limits::input::PASSPHRASE_FILE_BYTES_MAX;
use crate::sigstore::Passphrase;

use super::Environment;
use super::error::Error;

/// What a passphrase is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Prompt<'a> {
    /// To open the key in this file; once.
    Open(&'a Path),
    /// To seal a new key; twice.
    New,
}

/// The passphrase in `file`, else the one in `COSIGN_PASSWORD`, which may be empty, else what a person
/// types on the terminal, which does not show it.
///
/// Waits for the person without yielding, and ends with the process where that is interrupted: it is
/// called before signals are listened to.
///
/// # Errors
///
/// When the file cannot be read, or there is nobody to ask.
pub(super) fn passphrase(
    file: Option<&Path>,
    environment: &Environment,
    what: Prompt<'_>,
) -> Result<Passphrase, Error> {
    if let Some(path) = file {
        return read(path);
    }
    if let Some(text) = &environment.cosign_password {
        return Ok(Passphrase::new(text.expose_secret().to_owned()));
    }
    if !io::stdin().is_terminal() {
        let what = match what {
            Prompt::Open(path) => {
                format!("there is no passphrase for the key `{}`", path.display())
            }
            Prompt::New => "there is no passphrase for the new key".to_owned(),
        };
        return Err(Error::refused(&what).with_hint(
            "give `--passphrase-file FILE` or set COSIGN_PASSWORD; on a terminal it is asked for",
        ));
    }
    match what {
        Prompt::Open(path) => ask(&format!("Passphrase for `{}`: ", path.display())),
        Prompt::New => {
            let first = ask("Passphrase for the new key: ")?;
            if first == ask("The same again: ")? {
                Ok(first)
            } else {
                Err(Error::refused("the two passphrases differ"))
            }
        }
    }
}

fn ask(question: &str) -> Result<Passphrase, Error> {
    let question = crate::text::cleaned(question, 400);
    rpassword::prompt_password(question)
        .map(Passphrase::new)
        .map_err(|error| Error::usage("cannot ask for the passphrase", &error))
}

/// What is in the file, without one line end.
fn read(path: &Path) -> Result<Passphrase, Error> {
    let shown = path.display();
    let mut bytes = Zeroizing::new(Vec::new());
    File::open(path)
        .and_then(|file| {
            file.take(PASSPHRASE_FILE_BYTES_MAX + 1)
                .read_to_end(&mut bytes)
        })
        .map_err(|error| {
            Error::usage(
                &format!("cannot read the passphrase from `{shown}`"),
                &error,
            )
        })?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > PASSPHRASE_FILE_BYTES_MAX) {
        let what = format!(
            "`{shown}` has more than {PASSPHRASE_FILE_BYTES_MAX} bytes, which no passphrase has"
        );
        return Err(Error::refused(&what));
    }
    let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    Ok(Passphrase::from_bytes(line.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_end_is_cut_off_and_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("passphrase");
        for (text, meant) in [
            ("secret", "secret"),
            ("secret\n", "secret"),
            ("secret\r\n", "secret"),
            ("secret\n\n", "secret\n"),
            (" secret \n", " secret "),
            ("\n", ""),
            ("", ""),
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(
                read(&path).unwrap(),
                Passphrase::new(meant.to_owned()),
                "{text:?}"
            );
        }
        std::fs::write(&path, b"\xff\xfe\n").unwrap();
        assert_eq!(
            read(&path).unwrap(),
            Passphrase::from_bytes(vec![0xff, 0xfe])
        );
    }

    #[test]
    fn what_cannot_be_read_is_named_and_never_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("passphrase");
        let said = read(&path).unwrap_err().to_string();
        assert!(said.contains("passphrase`"), "{said}");
        let length = usize::try_from(PASSPHRASE_FILE_BYTES_MAX).unwrap();
        std::fs::write(&path, "s".repeat(length)).unwrap();
        assert!(read(&path).is_ok());
        std::fs::write(&path, "s".repeat(length + 1)).unwrap();
        let said = read(&path).unwrap_err().to_string();
        assert!(
            said.contains("more than 4096 bytes") && !said.contains("sss"),
            "{said}"
        );
    }
}
