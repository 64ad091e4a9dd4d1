//! The built program, its registry and its clients, end to end.
//!
//! This binary has its own `main`, so that a test whose outside tool is absent is listed as ignored,
//! with the tool's name, instead of passing without having run. With `CONSIGN_REQUIRE_TOOLS=1` it
//! fails. See [`harness`].

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test ends where something is not as it should be"
)]

mod access_trials;
mod advisories;
mod attached_trials;
mod certificates;
mod closure_trials;
mod command_line_trials;
mod compose_trials;
mod cosign_flag_trials;
mod endure;
mod examples_trials;
mod faults;
mod generate_key_trials;
mod gitlab_trials;
mod harness;
mod instance;
mod keyless_sign_trials;
mod keyless_trials;
mod program;
mod real;
mod registry;
mod registry_trials;
mod relay;
mod serve_trials;
mod sign_trials;
mod signatures;
mod soak;
mod verify_trials;

use std::process::ExitCode;

use libtest_mimic::Arguments;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let trials = [
        registry_trials::trials(),
        access_trials::trials(),
        advisories::trials(),
        attached_trials::trials(),
        serve_trials::trials(),
        command_line_trials::trials(),
        closure_trials::trials(),
        compose_trials::trials(),
        cosign_flag_trials::trials(),
        endure::trials(),
        examples_trials::trials(),
        faults::trials(),
        generate_key_trials::trials(),
        gitlab_trials::trials(),
        instance::trials(),
        keyless_sign_trials::trials(),
        keyless_trials::trials(),
        sign_trials::trials(),
        signatures::trials(),
        soak::trials(),
        verify_trials::trials(),
        real::trials(),
    ];
    libtest_mimic::run(&arguments, trials.into_iter().flatten().collect()).exit_code()
}
