//! The binary `pib`.

use std::process::ExitCode;

fn main() -> ExitCode {
    // A stranger's hook is compiled by a child of pib, which is pib.
    pib::hooks::compiler(std::env::args_os()).unwrap_or_else(pib::cli::main)
}
