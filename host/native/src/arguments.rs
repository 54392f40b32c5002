//! Reads what a process passes to a call: its texts and lists.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use crate::sys::Memory;

/// The longest path that is looked at.
const MAX_PATH: usize = 4096;
/// How many arguments a call may have: as many as the kernel takes with a stack of the usual size.
const MAX_ARGUMENTS: usize = 1 << 18;

/// Reads a string of a process.
pub(crate) fn string(memory: &Memory, address: u64) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    let mut at = address;
    while text.len() < MAX_PATH {
        let piece = piece(memory, at)?;
        match piece.iter().position(|byte| *byte == 0) {
            Some(end) => {
                text.extend(&piece[..end]);
                return Some(text);
            }
            None => text.extend(&piece),
        }
        at += piece.len() as u64;
    }
    None
}

/// Reads the list of pointers to the arguments.
pub(crate) fn pointers(memory: &Memory, address: u64) -> Option<Vec<u64>> {
    let mut list = Vec::new();
    // No list is an empty one.
    if address == 0 {
        return Some(list);
    }
    // A pointer that lies across two pieces is nothing that a compiler makes.
    let mut at = address.is_multiple_of(8).then_some(address)?;
    while list.len() < MAX_ARGUMENTS {
        let piece = piece(memory, at)?;
        for pointer in piece.chunks_exact(8) {
            match u64::from_le_bytes(pointer.try_into().ok()?) {
                0 => return Some(list),
                pointer => list.push(pointer),
            }
        }
        at += piece.len() as u64;
    }
    None
}

/// Reads some bytes, a multiple of eight where the address is one; none of another page, which may not be there.
fn piece(memory: &Memory, address: u64) -> Option<Vec<u8>> {
    const PAGE: u64 = 4096;
    let mut piece = vec![0; 256.min(PAGE - address % PAGE) as usize];
    (memory.read(address, &mut piece) == piece.len()).then_some(piece)
}

/// Reads the first of the arguments; that is where options and scripts stand.
pub(crate) fn strings(memory: &Memory, arguments: &[u64], from: usize) -> Vec<OsString> {
    const LOOKED_AT: usize = 16;
    let words = arguments.iter().skip(from).take(LOOKED_AT);
    words.map_while(|address| string(memory, *address).map(OsString::from_vec)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_can_read_its_own_memory() {
        let (text, memory) = (c"some text", Memory::of(std::process::id().try_into().unwrap()));
        assert_eq!(string(&memory, text.as_ptr() as u64).unwrap(), b"some text");
        let list = [text.as_ptr() as u64, text.as_ptr() as u64, 0];
        assert_eq!(pointers(&memory, list.as_ptr() as u64).unwrap(), list[..2]);
        assert_eq!(strings(&memory, &list[..2], 1), ["some text"]);
        assert_eq!((string(&memory, 8), pointers(&memory, 0)), (None, Some(vec![])));
        assert_eq!(pointers(&memory, list.as_ptr() as u64 + 4), None);
    }
}
