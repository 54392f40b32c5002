//! Containers that are there only for a while, and are removed whatever happens.

use std::collections::HashMap;
use std::time::Duration;

use bollard::query_parameters::RemoveContainerOptions;

use super::client::Client;
use super::owner::{self, OWNER};

/// The label of containers that are there only for a while, such as the time of an export.
pub const TEMPORARY: &str = "dev.pib.temporary";
/// How long the removal of an abandoned container may take.
const REMOVAL: Duration = Duration::from_secs(5);
/// How long to wait before a removal is tried again.
const MOMENT: Duration = Duration::from_millis(100);

/// Returns the labels of a container that is there only for a while.
pub(super) fn temporary(tag: &str) -> HashMap<String, String> {
    let owner = (OWNER.to_owned(), owner::this_process());
    HashMap::from([(TEMPORARY.to_owned(), tag.to_owned()), owner])
}

/// A container that is removed with its owner, also when the export is abandoned.
pub(super) struct TemporaryContainer {
    client: Client,
    id: Option<String>,
    /// Whether the engine has said that it is there.
    there: bool,
}

impl TemporaryContainer {
    pub(super) fn new(client: &Client, id: &str) -> Self {
        Self { client: client.clone(), id: Some(id.to_owned()), there: true }
    }

    /// A container that is about to be asked for by `name`: dropped before the engine has answered, it is removed too.
    pub(super) fn asked_for(client: &Client, name: &str) -> Self {
        Self { client: client.clone(), id: Some(name.to_owned()), there: false }
    }

    /// Takes what the engine has answered: whether it has made the container.
    pub(super) fn answered(&mut self, made: bool) {
        self.there = made;
        if !made {
            self.id = None;
        }
    }

    pub(super) async fn remove(&mut self) {
        if let Some(id) = self.id.clone() {
            remove_container(&self.client, &id).await;
            // Only now: dropped in the middle of the removal, it is tried once more.
            self.id = None;
        }
    }
}

impl Drop for TemporaryContainer {
    fn drop(&mut self) {
        let Some(id) = self.id.take() else { return };
        let (client, there) = (self.client.clone(), self.there);
        // On a thread of its own, and waited for: the program may be about to end, and its runtime with it.
        let removing = std::thread::spawn(move || {
            if let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() {
                let removal = async {
                    // What was asked for a moment ago may not be there yet.
                    while !remove_container(&client, &id).await && !there {
                        tokio::time::sleep(MOMENT).await;
                    }
                };
                _ = runtime.block_on(async { tokio::time::timeout(REMOVAL, removal).await });
            }
        });
        _ = removing.join();
    }
}

/// Removes a container, and returns whether it did; what it fails to remove has a label by which it can be found.
pub(super) async fn remove_container(client: &Client, id: &str) -> bool {
    let options = RemoveContainerOptions { force: true, v: true, ..Default::default() };
    client.quick().remove_container(id, Some(options)).await.is_ok()
}
