//! The binary `pib`.

use std::process::ExitCode;

fn main() -> ExitCode {
    pib::cli::main()
}
