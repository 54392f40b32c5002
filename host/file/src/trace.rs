//! Tells of each file that is opened for reading, where somebody listens: what `--verbose` shows.

use std::path::Path;
use std::sync::OnceLock;

type Listener = Box<dyn Fn(&Path) + Send + Sync>;

/// There is one for the process, as there is one command line.
static LISTENER: OnceLock<Listener> = OnceLock::new();

/// Has `listener` told the path of each file that is opened for reading from now on. The first listener stays.
pub fn trace(listener: impl Fn(&Path) + Send + Sync + 'static) {
    let _ = LISTENER.set(Box::new(listener));
}

/// Tells the listener that a file was opened.
pub(crate) fn opened(path: &Path) {
    if let Some(listener) = LISTENER.get() {
        listener(path);
    }
}
