//! A build so small that it takes a moment, and that is made just as real ones are: what an engine says of itself is no proof
//! that pib can build with it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use pib_plan::assemble::{BuildPlan, ContextFile, FileSource, PlannedStage};
use pib_plan::build_stage;
use pib_plan::id::{Arch, CLEANUP, Digest, INIT, StageName};
use pib_plan::record::Ingredients;

use crate::engine::{BuildRequest, Engine};
use crate::pipeline::labels::LABEL;
use crate::project::Error;
use pib_event::Silent;

/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// Where the stages put their files.
const FILE: &str = "trial";

/// Has the engine build two stages, named as those of every build are: files are sent to it, and taken from one stage into
/// the next; with `run` a program of the architecture runs. Nothing of it stays but what the engine's cache keeps.
///
/// # Errors
/// What the engine said; or that it took too long.
pub(super) async fn build(engine: &Engine, arch: Arch, run: bool) -> Result<(), Error> {
    let plan = plan(arch, run)?;
    let tag = format!("pib-doctor:{}", &plan.key.hex()[..16]);
    let mut request = BuildRequest::new(&plan, &tag);
    request.labels = BTreeMap::from([(LABEL.to_owned(), "doctor".to_owned())]);
    let built = tokio::time::timeout(PATIENCE, engine.build(&request, &Silent)).await;
    // Also where it failed at the very end.
    let removed = engine.remove_image(&tag).await;
    match built {
        Ok(built) => {
            built?;
            removed?;
            Ok(())
        }
        Err(_) => Err(Error::Stage {
            message: format!("it did not end within {} seconds", PATIENCE.as_secs()),
            help: Some(
                "See the engine's log, and whether its machine has room and time to spare.".to_owned(),
            ),
        }),
    }
}

fn plan(arch: Arch, run: bool) -> Result<BuildPlan, Error> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    // What no build had before: nothing of this comes from the engine's cache.
    let nonce = format!("{:x}.{:x}", now.as_nanos(), std::process::id());
    let key = Digest::of(nonce.as_bytes());
    let mut files = vec![file("note", nonce.into_bytes())];
    let mut dockerfile = String::new();
    let mut stages = Vec::new();
    let mut from = "scratch".to_owned();
    for name in [INIT, CLEANUP] {
        let name: StageName = name.parse().map_err(|error| Error::usage(format!("{error}"), ""))?;
        let target = build_stage::name(&name);
        let _ = writeln!(dockerfile, "FROM {from} AS {target}");
        if stages.is_empty() {
            let _ = writeln!(dockerfile, "COPY {FILE}/ /{FILE}/");
            if run {
                let _ = writeln!(dockerfile, "RUN [\"/{FILE}/true\"]");
            }
        } else {
            let _ = writeln!(dockerfile, "COPY --from={from} /{FILE}/note /{FILE}/copy");
        }
        let version = semver::Version::new(0, 0, 0);
        let ingredients = Ingredients::default();
        from.clone_from(&target);
        stages.push(PlannedStage { name, version, target, key, form: key, ingredients, unpinned: vec![] });
    }
    if run {
        files.push(ContextFile { mode: pib_plan::mode::Mode::PROGRAM, ..file("true", program(arch)) });
    }
    Ok(BuildPlan {
        dockerfile,
        context: files,
        stages,
        steps: vec![],
        secrets: vec![],
        merged: vec![],
        base: key,
        key,
        arch,
    })
}

fn file(name: &str, bytes: Vec<u8>) -> ContextFile {
    ContextFile {
        path: format!("{FILE}/{name}"),
        digest: Digest::of(&bytes),
        size: bytes.len() as u64,
        source: FileSource::Bytes(bytes.into()),
        mode: pib_plan::mode::Mode::FILE,
    }
}

/// Returns the smallest program of an architecture: it ends at once, and well.
fn program(arch: Arch) -> Vec<u8> {
    // exit(0), by the number that each kernel's interface has for it.
    let code: [u32; 3] = match arch {
        Arch::Arm64 => [0xd280_0000, 0xd280_0ba8, 0xd400_0001],
        Arch::Armv6 | Arch::Armv7 => [0xe3a0_0000, 0xe3a0_7001, 0xef00_0000],
    };
    let code: Vec<u8> = code.iter().flat_map(|word| word.to_le_bytes()).collect();
    match arch {
        Arch::Arm64 => elf64(&code),
        Arch::Armv6 | Arch::Armv7 => elf32(&code),
    }
}

/// Where the program is loaded.
const ADDRESS: u32 = 0x1_0000;

fn elf64(code: &[u8]) -> Vec<u8> {
    const HEAD: u64 = 64 + 56;
    let address = u64::from(ADDRESS);
    let size = HEAD + code.len() as u64;
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let half =
        |file: &mut Vec<u8>, values: &[u16]| values.iter().for_each(|value| file.extend(value.to_le_bytes()));
    let word =
        |file: &mut Vec<u8>, values: &[u32]| values.iter().for_each(|value| file.extend(value.to_le_bytes()));
    let long =
        |file: &mut Vec<u8>, values: &[u64]| values.iter().for_each(|value| file.extend(value.to_le_bytes()));
    // An executable for AArch64, whose program header follows the file's.
    half(&mut file, &[2, 183]);
    word(&mut file, &[1]);
    long(&mut file, &[address + HEAD, 64, 0]);
    word(&mut file, &[0]);
    half(&mut file, &[64, 56, 1, 64, 0, 0]);
    // One segment: all of the file, to be read and executed.
    word(&mut file, &[1, 5]);
    long(&mut file, &[0, address, address, size, size, 0x1_0000]);
    file.extend_from_slice(code);
    file
}

fn elf32(code: &[u8]) -> Vec<u8> {
    const HEAD: u32 = 52 + 32;
    let size = HEAD + u32::try_from(code.len()).unwrap_or(0);
    let mut file = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let half =
        |file: &mut Vec<u8>, values: &[u16]| values.iter().for_each(|value| file.extend(value.to_le_bytes()));
    let word =
        |file: &mut Vec<u8>, values: &[u32]| values.iter().for_each(|value| file.extend(value.to_le_bytes()));
    // An executable for ARM with the EABI of version 5, whose program header follows the file's.
    half(&mut file, &[2, 40]);
    word(&mut file, &[1, ADDRESS + HEAD, 52, 0, 0x0500_0000]);
    half(&mut file, &[52, 32, 1, 40, 0, 0]);
    // One segment: all of the file, to be read and executed.
    word(&mut file, &[1, 0, ADDRESS, ADDRESS, size, size, 5, 0x1_0000]);
    file.extend_from_slice(code);
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stages_have_the_names_of_every_build_and_each_program_is_one() {
        for arch in [Arch::Arm64, Arch::Armv7, Arch::Armv6] {
            let plan = plan(arch, true).unwrap();
            assert!(
                plan.dockerfile.contains("AS pib_init\n") && plan.dockerfile.contains("AS pib_cleanup\n")
            );
            assert!(
                plan.dockerfile.contains("COPY --from=pib_init /trial/note /trial/copy\n"),
                "{}",
                plan.dockerfile
            );
            let bytes = program(arch);
            use object::Object as _;
            let found = object::File::parse(&*bytes).unwrap();
            let wanted =
                if arch == Arch::Arm64 { object::Architecture::Aarch64 } else { object::Architecture::Arm };
            assert_eq!((found.architecture(), found.entry() as usize), (wanted, 0x1_0000 + bytes.len() - 12));
        }
    }
}
