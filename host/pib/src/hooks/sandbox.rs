//! The engine that hooks run on, set up so that the same input gives the same output.

use std::hash::{Hash as _, Hasher};
use std::num::NonZeroUsize;
use std::thread;
use std::time::Duration;

use pib_file::sealed::Sealed;
use pib_plan::hook::{Contract, Limits};
use pib_plan::id::{Digest, KeyHasher};
use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Engine, WasmBacktraceDetails};

use super::guest::Guest;
use super::v0_1;

/// How often calls look at the clock, and at whether they are still wanted.
const TICK: Duration = Duration::from_millis(20);
/// How many of a guest's calls a failure shows.
const MAX_FRAMES: usize = 24;
/// The stack that a thread that runs a guest needs beside the guest's own.
pub(super) const HOST_STACK: usize = 4 << 20;

/// An engine, and what components of each version of the interface are linked with.
pub(super) struct Sandbox {
    engine: Engine,
    v0_1: Linker<Guest>,
    /// Tells engines apart whose machine code differs: version of wasmtime, processor, settings.
    settings: Digest,
}

/// A component of one of the versions of the interface.
#[derive(Clone)]
pub(super) enum Linked {
    V0_1(v0_1::Linked),
}

impl Sandbox {
    pub(super) fn new(limits: &Limits) -> wasmtime::Result<Self> {
        let engine = Engine::new(&config(limits.stack.0))?;
        let mut hasher = Hashing(KeyHasher::new("pib hook code 1"));
        engine.precompile_compatibility_hash().hash(&mut hasher);
        let settings = hasher.0.finish();
        let v0_1 = v0_1::linker(&engine)?;
        tick(&engine)?;
        Ok(Self { engine, v0_1, settings })
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Returns the component, and whether it had been compiled before; `compile` makes its machine code.
    ///
    /// Nothing is returned where what `compile` made is not for this engine.
    pub(super) fn component<E>(
        &self,
        digest: Digest,
        cache: &Sealed,
        compile: impl FnOnce() -> Result<Vec<u8>, E>,
    ) -> Result<Option<(Component, bool)>, E> {
        let mut hasher = KeyHasher::new("pib hook component 1");
        hasher.field(digest.as_bytes()).field(self.settings.as_bytes());
        let name = format!("code-{}", hasher.finish().hex());
        if let Some(component) = cache.get(&name).and_then(|code| self.trusted(&code)) {
            return Ok(Some((component, true)));
        }
        let code = compile()?;
        let Some(component) = self.trusted(&code) else { return Ok(None) };
        cache.put(&name, &code);
        Ok(Some((component, false)))
    }

    /// Makes a component of machine code that this user's pib compiled.
    #[expect(unsafe_code, reason = "nothing but the seal can tell that it is what was compiled")]
    fn trusted(&self, code: &[u8]) -> Option<Component> {
        // SAFETY: `deserialize` asks for bytes that wasmtime's compiler made and that nobody changed since: it checks
        // version and settings, not the machine code. They come from two places. `compile` reads them from the pipe
        // of a process that it started itself, of this very program, once that has ended well; no third process has
        // an end of that pipe. `Sealed::get` gives only bytes whose keyed digest is right; the key is secret to this
        // user, only this file's `component` seals code, under a name that is derived from the component's digest and
        // this engine's settings. The bytes are a copy in this process's memory, so that they cannot change between
        // check and use, as those of a mapped file could.
        unsafe { Component::deserialize(&self.engine, code) }.ok()
    }

    /// Links a component with what its version of the interface offers.
    pub(super) fn link(&self, contract: &Contract, component: &Component) -> wasmtime::Result<Linked> {
        // The contract has been checked: there is a module for its version.
        match (contract.version.major, contract.version.minor) {
            (0, 1) => Ok(Linked::V0_1(v0_1::Linked::new(&self.v0_1, component)?)),
            _ => Err(wasmtime::Error::msg(format!("there is no host for {}", contract.world))),
        }
    }
}

/// Returns a component's machine code, for an engine whose guests have a stack of `stack` bytes.
///
/// This takes as much time and memory as the component wants: only [`super::compile`]'s child calls it.
pub(super) fn compiled(stack: u64, component: &[u8]) -> wasmtime::Result<Vec<u8>> {
    Engine::new(&config(stack))?.precompile_component(component)
}

/// The settings: whatever a guest could tell two machines or two runs apart by is off.
fn config(stack: u64) -> Config {
    let stack = usize::try_from(stack).unwrap_or(usize::MAX);
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .consume_fuel(true)
        .epoch_interruption(true)
        .max_wasm_stack(stack)
        // Nothing runs on such a stack here, but the engine wants it larger than the other.
        .async_stack_size(stack.saturating_add(HOST_STACK))
        .cranelift_nan_canonicalization(true)
        .wasm_relaxed_simd(false)
        .wasm_memory64(false)
        .concurrency_support(false)
        // Names are enough to find the place. Line tables are the guest's own data: reading them would be work that
        // no limit counts. Nor is what leads from machine code to offsets in the guest compiled, sealed and loaded.
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .generate_address_map(false)
        // For unwinders of other programs: wasmtime reads its own frames without it.
        .native_unwind_info(false)
        .wasm_backtrace_max_frames(NonZeroUsize::new(MAX_FRAMES));
    config
}

/// Lets calls look at the clock from time to time, for as long as the engine is there.
fn tick(engine: &Engine) -> wasmtime::Result<()> {
    let engine = engine.weak();
    let work = move || {
        while let Some(engine) = engine.upgrade() {
            engine.increment_epoch();
            drop(engine);
            thread::sleep(TICK);
        }
    };
    thread::Builder::new().name("hook-clock".to_owned()).spawn(work).map(drop).map_err(wasmtime::Error::from)
}

/// Hashes by what pib hashes everything by; wasmtime offers its settings as something to be hashed only.
struct Hashing(KeyHasher);

impl Hasher for Hashing {
    fn write(&mut self, bytes: &[u8]) {
        self.0.field(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}
