//! `rig`: servers and yardsticks for the benchmarks, on loopback alone.
//!
//! `cargo build --release --locked --bench rig` builds it. Each subcommand does one thing and has a module of
//! its own. A server prints one line, `listening on ADDRESS`, when it takes connections, and ends on SIGTERM
//! or SIGINT. It holds what it is given: nothing here is bounded for a place that others can reach.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for scripts, which read what it prints"
)]

mod body;
mod certificate;
mod files;
mod limit;
mod plot;
mod range;
mod registry;
mod relay;
mod tokens;
mod web;

use std::error::Error;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

/// Why a subcommand ended; it is printed and nothing else.
type Failure = Box<dyn Error + Send + Sync>;

/// Servers and yardsticks for the benchmarks of consign, on loopback alone.
#[derive(Debug, Parser)]
#[command(name = "rig")]
struct Arguments {
    /// What `cargo bench` gives to every program that it runs; there is nothing to do then.
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make an authority and a certificate for loopback, for tests only.
    Certificate(certificate::Options),
    /// Serve the files of a folder.
    Files(files::Options),
    /// Measure what cannot be avoided between two registries.
    Limit(limit::Options),
    /// Draw how cost grows.
    Plot(plot::Options),
    /// Serve a registry that costs next to nothing.
    Registry(registry::Options),
    /// Relay connections over a link that is as long and as narrow as it is told.
    Relay(relay::Options),
    /// Serve tokens for docker-registry.
    Tokens(tokens::Options),
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rig: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<(), Failure> {
    let Some(command) = arguments.command else {
        Arguments::command().print_help()?;
        return Ok(());
    };
    match command {
        Command::Certificate(options) => certificate::run(&options),
        Command::Files(options) => serve(files::run(options)),
        Command::Limit(options) => serve(limit::run(options)),
        Command::Plot(options) => plot::run(&options),
        Command::Registry(options) => serve(registry::run(options)),
        Command::Relay(options) => serve(relay::run(options)),
        Command::Tokens(options) => serve(tokens::run(options)),
    }
}

/// Runs a server on all cores.
fn serve(server: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(server);
    // Connections that clients hold open are nothing to wait for.
    runtime.shutdown_background();
    result
}
