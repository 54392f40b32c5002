//! What belongs to one call of a hook: what it may still use, what it has said, what it was refused.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pib_plan::hook::Limits;
use wasmtime::{ResourceLimiter, Store, StoreContextMut, Trap, UpdateDeadline};

use super::{Files, Level, excerpt};

/// What a call of the host costs a guest, in fuel, beside the bytes that it hands over.
const CALL_FUEL: u64 = 1_000;
/// How many lines of the log are shown with a failure.
const LAST_WORDS: usize = 10;
/// The longest line of the log.
const MAX_LINE: usize = 2_000;

/// The state of one call; its store holds it.
pub(super) struct Guest {
    limits: Arc<Limits>,
    files: Arc<dyn Files>,
    stop: Arc<AtomicBool>,
    started: Instant,
    /// The bytes and elements that its memories and tables have together.
    memory: usize,
    elements: usize,
    refused: Option<Refused>,
    read: u64,
    log: Vec<(Level, String)>,
    logged: u64,
    dropped: u64,
}

/// What a guest asked for and did not get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    Memory,
    Elements,
}

impl Refused {
    /// Returns the limit's name in the config file.
    pub(super) fn limit(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Elements => "table-elements",
        }
    }

    /// Returns how much there would have been.
    pub(super) fn describe(self, limits: &Limits) -> String {
        match self {
            Self::Memory => format!("its {} of memory", limits.memory),
            Self::Elements => format!("its {} table elements", limits.table_elements),
        }
    }
}

impl fmt::Debug for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guest")
            .field("memory", &self.memory)
            .field("refused", &self.refused)
            .finish_non_exhaustive()
    }
}

impl Guest {
    pub(super) fn new(limits: &Arc<Limits>, files: &Arc<dyn Files>, stop: &Arc<AtomicBool>) -> Self {
        Self {
            limits: Arc::clone(limits),
            files: Arc::clone(files),
            stop: Arc::clone(stop),
            started: Instant::now(),
            memory: 0,
            elements: 0,
            refused: None,
            read: 0,
            log: Vec::new(),
            logged: 0,
            dropped: 0,
        }
    }

    /// Puts the call's limits in force.
    pub(super) fn arm(store: &mut Store<Self>) -> wasmtime::Result<()> {
        let limits = Arc::clone(&store.data().limits);
        store.limiter(|guest| guest);
        store.set_fuel(limits.fuel)?;
        store.set_hostcall_fuel(usize::try_from(limits.output.0).unwrap_or(usize::MAX));
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|store| {
            let guest = store.data();
            match guest.is_stopped() || guest.is_late() {
                true => Ok(UpdateDeadline::Interrupt),
                false => Ok(UpdateDeadline::Continue(1)),
            }
        });
        Ok(())
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Returns whether whoever asked has gone away.
    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Returns whether the call has taken all of its time.
    pub(super) fn is_late(&self) -> bool {
        self.started.elapsed() > Duration::from_secs(self.limits.seconds)
    }

    /// Returns the first thing that was asked for in vain.
    pub(super) fn refused(&self) -> Option<Refused> {
        self.refused
    }

    /// Takes the log; its last line says how much was left out.
    pub(super) fn take_log(&mut self) -> Vec<(Level, String)> {
        let mut log = std::mem::take(&mut self.log);
        if self.dropped > 0 {
            log.push((Level::Warn, format!("({} more lines are not shown)", self.dropped)));
        }
        log
    }

    /// Returns the last lines of the log.
    pub(super) fn last_words(&self) -> Vec<String> {
        let from = self.log.len().saturating_sub(LAST_WORDS);
        self.log.iter().skip(from).map(|(_, line)| line.clone()).collect()
    }

    /// Returns how many bytes the log has room for.
    pub(super) fn log_room(&self) -> usize {
        match self.log.len() < self.limits.log_lines as usize {
            true => usize::try_from(self.limits.log.0.saturating_sub(self.logged)).unwrap_or(usize::MAX),
            false => 0,
        }
    }

    /// Adds what a guest wants to say to the log; nothing where there is no room for it.
    pub(super) fn say(&mut self, level: Level, message: Option<&str>) {
        let Some(message) = message else {
            self.dropped += 1;
            return;
        };
        for line in message.lines() {
            if self.log_room() < line.len() {
                self.dropped += 1;
                continue;
            }
            self.logged += line.len() as u64;
            self.log.push((level, excerpt::line(line, MAX_LINE)));
        }
    }

    /// Returns a file, as far as the guest may read more.
    pub(super) fn read(&mut self, path: &str) -> Result<Vec<u8>, String> {
        let room = self.limits.read.0.saturating_sub(self.read);
        let bytes = self.files.read(path, room)?;
        self.read += bytes.len() as u64;
        Ok(bytes)
    }

    fn grow(&mut self, refused: Refused, current: usize, desired: usize) -> bool {
        let (used, most) = match refused {
            Refused::Memory => (&mut self.memory, self.limits.memory.0),
            Refused::Elements => (&mut self.elements, self.limits.table_elements),
        };
        let together = used.saturating_add(desired.saturating_sub(current));
        if together as u64 > most {
            self.refused.get_or_insert(refused);
            return false;
        }
        *used = together;
        true
    }
}

impl ResourceLimiter for Guest {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.grow(Refused::Memory, current, desired))
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.grow(Refused::Elements, current, desired))
    }

    fn instances(&self) -> usize {
        self.limits.instances as usize
    }

    fn tables(&self) -> usize {
        self.limits.tables as usize
    }

    fn memories(&self) -> usize {
        self.limits.memories as usize
    }
}

/// Takes fuel for a call of the host: work that is done here counts as the guest's own.
pub(super) fn charge(store: &mut StoreContextMut<'_, Guest>, bytes: usize) -> wasmtime::Result<()> {
    match store.get_fuel()?.checked_sub(CALL_FUEL.saturating_add(bytes as u64)) {
        Some(rest) => store.set_fuel(rest),
        None => Err(Trap::OutOfFuel.into()),
    }
}
