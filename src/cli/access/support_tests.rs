//! What the tests of this room share.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use secrecy::ExposeSecret as _;

use crate::cli::Environment;
use crate::registry::Credential;

/// An environment in which `home` is all there is.
pub(super) fn environment(home: &Path) -> Environment {
    Environment {
        home: Some(home.into()),
        docker_config: None,
        registry_auth_file: None,
        // An empty folder, so that nobody's own `/run` takes part.
        runtime_dir: Some(home.join("run").into()),
        config_home: None,
        cache_home: None,
        uid: Some(1000),
        path: Some(home.join("bin").into()),
        cosign_password: None,
        identity_token: None,
        cosign_yes: None,
        cosign_repository: None,
        sigstore: crate::cli::trust::Variables::default(),
        temporary: home.into(),
        has_no_color: true,
        is_terminal: false,
    }
}

/// Writes a file, and the folders above it.
pub(super) fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// Makes a helper of this name in `home/bin`: a script for the shell.
pub(super) fn helper(home: &Path, name: &str, script: &str) {
    let folder = home.join("bin");
    std::fs::create_dir_all(&folder).unwrap();
    // Another process writes it: were it open for writing here, a child that another test forks just now
    // could hold it open, and the system would not run it.
    let mut writer = Command::new("sh")
        .args(["-c", "cat > \"$0\" && chmod 755 \"$0\""])
        .arg(folder.join(format!("docker-credential-{name}")))
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let text = format!("#!/bin/sh\n{script}\n");
    let mut input = writer.stdin.take().unwrap();
    input.write_all(text.as_bytes()).unwrap();
    drop(input);
    assert!(writer.wait().unwrap().success());
}

/// `user:password`, or the identity token.
pub(super) fn shown(credential: &Credential) -> String {
    match credential {
        Credential::Password { user, password } => format!("{user}:{}", password.expose_secret()),
        Credential::IdentityToken(token) => format!("token {}", token.expose_secret()),
    }
}
