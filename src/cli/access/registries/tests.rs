mod files;
mod places;

use std::fs;

use super::*;

/// A digest, for references that have one.
const DIGEST: &str = "sha256:418c30b6638cf7fbd7f8851059845330db9053d7b6b20a2b31259e37fe39a801";

/// A host with a user, in folders of their own.
struct Stage {
    folder: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder }
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    fn read_with(&self, variables: &[(&str, &Path)]) -> Result<Registries, String> {
        let home = self.folder.path().join("home");
        let variable = |name: &str| {
            let found = variables.iter().find(|(other, _)| *other == name);
            let value = found.map(|(_, value)| value.as_os_str());
            let value = value.or_else(|| (name == "HOME").then_some(home.as_os_str()));
            value.map(OsString::from)
        };
        Registries::read(&variable, self.folder.path()).map_err(|error| error.to_string())
    }

    #[track_caller]
    fn read(&self) -> Registries {
        self.read_with(&[]).unwrap()
    }
}

#[track_caller]
fn of(text: &str) -> Registries {
    let stage = Stage::new();
    stage.write("etc/containers/registries.conf", text);
    stage.read()
}

fn error(text: &str) -> String {
    let stage = Stage::new();
    stage.write("etc/containers/registries.conf", text);
    stage.read_with(&[]).unwrap_err()
}

fn reference(text: &str) -> Reference {
    text.replace("DIGEST", DIGEST).parse().unwrap()
}

/// Where `image` is read from, with a `!` where certificates are not checked; or the error.
#[track_caller]
fn places(registries: &Registries, image: &str) -> String {
    match registries.places(&reference(image)) {
        Ok(places) => places
            .iter()
            .map(|place| {
                let mark = match place.tls {
                    Some(Tls::Unverified) => "!",
                    Some(Tls::Verified) => "?",
                    None => "",
                };
                let shown = place.reference.to_string();
                format!("{mark}{}", shown.replace(DIGEST, "DIGEST"))
            })
            .collect::<Vec<_>>()
            .join(" "),
        Err(error) => error.to_string(),
    }
}
