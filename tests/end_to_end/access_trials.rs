//! Access. Credentials: where they are found, how they are kept, and that nobody reads them. Where images
//! are really read from, and the way there. Who is told what, and what becomes of a run where a registry
//! refuses.

mod attacker;
mod explain;
mod harbor;
mod login;
mod logout;
mod long;
mod lookup;
mod middle;
mod order;
mod projects;
mod proxies;
mod registries;
mod renewal;
mod runs;
mod secrets;
mod silence;
mod stage;
mod tls;

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use libtest_mimic::Trial;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::program::{Ended, Workplace};
use crate::registry::{Auth, Image, Logged, Settings, TestRegistry};

pub(crate) fn trials() -> Vec<Trial> {
    [
        order::trials(),
        login::trials(),
        logout::trials(),
        explain::trials(),
        renewal::trials(),
        registries::trials(),
        proxies::trials(),
        tls::trials(),
        long::trials(),
        projects::trials(),
        middle::trials(),
        lookup::trials(),
        attacker::trials(),
        silence::trials(),
        runs::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The user and the password that a test registry takes.
const USER: &str = "user";
const PASSWORD: &str = "hunter2:and more";

/// A registry with one image, `team/app:1`, that asks who it is by Basic.
async fn guarded() -> TestRegistry {
    guarded_by(Auth::Basic(USER, PASSWORD)).await
}

async fn guarded_by(auth: Auth) -> TestRegistry {
    let registry = TestRegistry::with(Settings {
        auth,
        ..Settings::default()
    })
    .await;
    let image = Image::new(&["one"]);
    image.push(&registry, "team/app", Some("1")).await;
    registry
}

/// User and password of a Basic `Authorization`.
fn basic(request: &Logged) -> Option<(String, String)> {
    crate::registry::basic(request.header(http::header::AUTHORIZATION))
}

/// The users that asked, each once, in order; nobody is not told.
fn users(registry: &TestRegistry) -> Vec<String> {
    let requests = registry.log();
    let mut users: Vec<String> = requests
        .iter()
        .filter_map(basic)
        .map(|(user, _)| user)
        .collect();
    users.retain(|user| !user.is_empty());
    users.dedup();
    users
}

/// The entry of somebody in a file of credentials.
fn entry(user: &str, password: &str) -> serde_json::Value {
    serde_json::json!({ "auth": STANDARD.encode(format!("{user}:{password}")) })
}

/// Nobody who reads what was printed learns the password, plain or encoded.
#[track_caller]
fn nothing_secret(ended: &Ended, user: &str, password: &str) {
    let said = format!("{}{}", ended.text(), ended.stderr);
    let secrets = [
        password.to_owned(),
        STANDARD.encode(password),
        STANDARD.encode(format!("{user}:{password}")),
    ];
    for secret in secrets {
        assert!(!said.contains(&secret), "{ended}");
    }
}

/// Makes a helper of this name, a script for the shell, in `bin` of the place.
async fn helper(place: &Workplace, name: &str, script: &str) {
    fs::create_dir_all(place.path("bin")).expect("the folder is made");
    // Another process writes it: were it open for writing here, a program that another trial starts just
    // now could hold it open, and the system would not run it.
    let mut writer = Command::new("sh")
        .args(["-c", "cat > \"$0\" && chmod 755 \"$0\""])
        .arg(place.path(&format!("bin/docker-credential-{name}")))
        .stdin(Stdio::piped())
        .spawn()
        .expect("there is a shell");
    let mut input = writer.stdin.take().expect("it reads");
    let text = format!("#!/bin/sh\n{script}\n");
    input
        .write_all(text.as_bytes())
        .await
        .expect("it is written");
    drop(input);
    assert!(writer.wait().await.expect("it ends").success());
}

/// `PATH` with `bin` of the place in front.
fn path(place: &Workplace) -> PathBuf {
    let mut folders = vec![place.path("bin")];
    folders.extend(std::env::split_paths(
        &std::env::var_os("PATH").unwrap_or_default(),
    ));
    std::env::join_paths(folders).expect("a path").into()
}

/// Runs the program with a password on its standard input.
async fn run_with_input(
    place: &Workplace,
    arguments: &str,
    input: &str,
    more: &[(&str, PathBuf)],
) -> Ended {
    let mut command = place.command(arguments);
    command.envs(more.iter().map(|(name, value)| (name, value)));
    place.run_command(command, arguments, input).await
}

/// An address where nobody listens.
async fn nobody() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a port");
    listener.local_addr().expect("an address").to_string()
}
