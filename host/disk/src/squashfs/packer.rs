//! Compresses blocks on all cores and gives them back in order: the bytes are the same for any number of threads.

use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::Scope;

use zstd::bulk::Compressor;

/// A level that is slow enough to be worth it and quick enough to wait for.
const LEVEL: i32 = 9;
/// How many blocks each thread has before it.
const DEPTH: usize = 2;

/// A block that is compressed, or plain where that is smaller.
pub(super) struct PackedBlock {
    pub(super) bytes: Vec<u8>,
    pub(super) is_plain: bool,
}

struct Worker {
    blocks: SyncSender<Vec<u8>>,
    packed: Receiver<io::Result<PackedBlock>>,
}

/// Threads that compress blocks. What each block is for is kept beside it.
pub(super) struct Packer<T> {
    workers: Vec<Worker>,
    sent: usize,
    waiting: VecDeque<T>,
}

impl<T> Packer<T> {
    pub(super) fn new<'scope>(scope: &'scope Scope<'scope, '_>, threads: usize) -> io::Result<Self> {
        let workers = (0..threads.max(1)).map(|_| worker(scope)).collect::<io::Result<_>>()?;
        Ok(Self { workers, sent: 0, waiting: VecDeque::new() })
    }

    /// Has a block compressed; returns the oldest of those before it, where all threads have enough to do.
    pub(super) fn push(&mut self, purpose: T, block: Vec<u8>) -> io::Result<Option<(T, PackedBlock)>> {
        let done = if self.waiting.len() >= self.workers.len() * DEPTH { self.take()? } else { None };
        let worker = &self.workers[self.sent % self.workers.len()];
        worker.blocks.send(block).map_err(|_| dead())?;
        self.sent += 1;
        self.waiting.push_back(purpose);
        Ok(done)
    }

    /// Returns the oldest block; none where all have been returned.
    pub(super) fn take(&mut self) -> io::Result<Option<(T, PackedBlock)>> {
        let number = self.sent - self.waiting.len();
        let Some(purpose) = self.waiting.pop_front() else { return Ok(None) };
        let packed = self.workers[number % self.workers.len()].packed.recv().map_err(|_| dead())??;
        Ok(Some((purpose, packed)))
    }
}

fn worker<'scope>(scope: &'scope Scope<'scope, '_>) -> io::Result<Worker> {
    let (blocks, incoming) = sync_channel::<Vec<u8>>(DEPTH);
    let (done, packed) = sync_channel(DEPTH);
    let mut compressor = compressor()?;
    std::thread::Builder::new().name("squashfs".to_owned()).spawn_scoped(scope, move || {
        for block in incoming {
            if done.send(pack(&mut compressor, block)).is_err() {
                return;
            }
        }
    })?;
    Ok(Worker { blocks, packed })
}

pub(super) fn compressor() -> io::Result<Compressor<'static>> {
    Compressor::new(LEVEL)
}

/// Compresses one block.
pub(super) fn pack(compressor: &mut Compressor<'_>, block: Vec<u8>) -> io::Result<PackedBlock> {
    let packed = compressor.compress(&block)?;
    if packed.len() < block.len() {
        return Ok(PackedBlock { bytes: packed, is_plain: false });
    }
    Ok(PackedBlock { bytes: block, is_plain: true })
}

fn dead() -> io::Error {
    io::Error::other("a thread that compresses ended early")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_come_back_in_order_for_any_number_of_threads() {
        let packed = |threads: usize| {
            std::thread::scope(|scope| {
                let mut packer = Packer::new(scope, threads).unwrap();
                let mut found = Vec::new();
                for number in 0..50_u8 {
                    found.extend(packer.push(number, vec![number; 5000 - usize::from(number) * 90]).unwrap());
                }
                while let Some(block) = packer.take().unwrap() {
                    found.push(block);
                }
                found.into_iter().map(|(number, block)| (number, block.bytes)).collect::<Vec<_>>()
            })
        };
        let one = packed(1);
        assert_eq!(one.iter().map(|(number, _)| *number).collect::<Vec<_>>(), (0..50).collect::<Vec<_>>());
        assert_eq!(one, packed(3));
    }
}
