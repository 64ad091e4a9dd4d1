//! The page for those who come from nerdctl: its commands do what it says.

use std::path::PathBuf;

use libtest_mimic::Trial;

use super::stage::{SIGNED, Sigstore, Stage, VERIFIED};
use crate::harness::trial;
use crate::instance::email_token;
use crate::program::Ended;
use crate::registry::Image;

pub(super) fn trials() -> Vec<Trial> {
    vec![trial(
        "compose::every_command_of_the_page_about_nerdctl_ends_well",
        commands,
    )]
}

const PAGE: &str = include_str!("../../../docs/FROM_NERDCTL.md");

/// The commands in the blocks of the page, in their order.
fn written() -> Vec<&'static str> {
    let mut is_inside = false;
    let mut commands = Vec::new();
    for line in PAGE.lines() {
        if line.starts_with("```") {
            is_inside = !is_inside;
        } else if is_inside && !line.starts_with('#') {
            let command = line.strip_prefix("consign ");
            commands.push(command.unwrap_or_else(|| panic!("{line} is no command")));
        }
    }
    commands
}

async fn commands() {
    let services = [
        ("web", format!("{VERIFIED}\n{SIGNED}")),
        ("db", String::new()),
    ];
    let stage = Stage::set(&services).await;
    let sigstore = Sigstore::beside(&stage).await;
    let image = Image::new(&["app"]);
    image.push(&stage.registry, "app", Some("1")).await;
    for half in ["pub", "key"] {
        let key = stage.place.read(&format!("keys/own.{half}"));
        stage.place.write(&format!("cosign.{half}"), key);
    }
    let env = stage.place.read(".env");
    stage.place.write("prod.env", env);
    let token = email_token("dev@example.com", "https://accounts.example.com");
    let token = [("SIGSTORE_ID_TOKEN", PathBuf::from(token))];
    let root = format!("--trusted-root {}", sigstore.files.trusted_root.display());
    // What nobody signed is not accepted, or the rest would show nothing.
    let run = async |command: &str| -> Ended {
        let command = command
            .replace("registry.example", &stage.registry.host())
            .replace("mirror.example", &stage.destination.host());
        stage.run(&command).await
    };
    for command in written().iter().filter(|one| one.starts_with("validate")) {
        run(command).await.with(3);
    }
    let all = written();
    assert!(all.len() > 12, "{all:?}");
    for command in all {
        let is_keyless = command.contains("--yes");
        if is_keyless {
            // With the public instance it would be asked on the network.
            let command = format!("{command} {}", sigstore.services());
            let command = command.replace("registry.example", &stage.registry.host());
            stage.run_with(&command, &token).await.with(0);
        } else if command.contains("--certificate-identity") {
            run(&format!("{command} {root}")).await.with(0);
        } else if command == "validate -f compose.yaml --key cosign.pub" {
            // One of them nobody has signed.
            run(command).await.with(3);
            run("sign -f compose.yaml --key cosign.key").await.with(0);
            run(command).await.with(0);
        } else {
            run(command).await.with(0);
        }
    }
    assert!(stage.arrived("web") && stage.arrived("db"));
    assert!(stage.destination.tag("app", "1").is_some());
}
