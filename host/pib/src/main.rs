//! The binary `pib`.

use std::process::ExitCode;

fn main() -> ExitCode {
    // A stranger's hook is compiled by a child of pib, which is pib; what must end with pib is started by one.
    let arguments = std::env::args_os;
    pib::child::become_program(arguments())
        .or_else(|| pib::hooks::compiler(arguments()))
        .unwrap_or_else(pib::cli::main)
}
