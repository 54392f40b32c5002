//! Why an image could not be run.

use std::path::PathBuf;

/// Says why an image could not be run.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum EmulatorError {
    /// There is no QEMU.
    #[error("there is no program `{program}`, which runs the image")]
    #[diagnostic(code(pib::emulator::missing))]
    #[diagnostic(help("On Debian and Ubuntu: `sudo apt-get install {package}`."))]
    Missing {
        /// The program.
        program: &'static str,
        /// The package that has it.
        package: &'static str,
    },
    /// QEMU cannot be started.
    #[error("could not start `{program}`")]
    #[diagnostic(code(pib::emulator::start))]
    Start {
        /// The program.
        program: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// QEMU ended although nobody asked it to.
    #[error("`{program}` ended with {status}:\n{words}")]
    #[diagnostic(code(pib::emulator::ended))]
    #[diagnostic(help(
        "These are QEMU's own words. Where a port is taken, name another one; where memory is short, give the machine less \
         with --memory. A window (--graphic) needs a desktop, and on Debian and Ubuntu the package qemu-system-gui."
    ))]
    Ended {
        /// The program.
        program: &'static str,
        /// How it ended.
        status: String,
        /// The end of what it said.
        words: String,
    },
    /// The port for `--ssh` is taken.
    #[error("the port {port} of this machine is taken")]
    #[diagnostic(code(pib::emulator::port_taken))]
    #[diagnostic(help("Name another one with --ssh PORT; 0 lets the system choose a free one."))]
    PortTaken {
        /// The port.
        port: u16,
    },
    /// The image has nothing that QEMU could start.
    #[error("`{}` has no kernel that QEMU could start: {reason}", image.display())]
    #[diagnostic(code(pib::emulator::no_kernel))]
    #[diagnostic(help(
        "`pib inspect` says what is in the image, and what would keep a board from starting."
    ))]
    NoKernel {
        /// The image.
        image: PathBuf,
        /// What is missing.
        reason: String,
    },
    /// The system did not begin to run tests.
    #[error("no system was up in `{}` within {seconds} s; the console ends with:\n{console}", image.display())]
    #[diagnostic(code(pib::emulator::no_system))]
    #[diagnostic(help(
        "The whole console is kept where the line below says, if the image is a project's. A slow machine may need more \
         time: --timeout SECONDS."
    ))]
    NoSystem {
        /// The image.
        image: PathBuf,
        /// How long it had, in seconds.
        seconds: u64,
        /// The end of the console.
        console: String,
    },
    /// The connection to the agent broke.
    #[error("could not {action} the system under test")]
    #[diagnostic(code(pib::emulator::agent))]
    Agent {
        /// What was being done.
        action: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
}
