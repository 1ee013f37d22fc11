//! The binary `watchfire`: parse the command line, install the TLS provider, run one command, turn its outcome into an exit code.

use std::process::ExitCode;

use clap::Parser;
use server::cli::{Cli, run};

fn main() -> ExitCode {
    let cli = Cli::parse();
    // Only fails when a provider is there already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match run(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("watchfire: {error:#}");
            ExitCode::from(1)
        }
    }
}
