//! The session's table of keys and values: what its processes note for each other, by name, for as long as the session lasts.
//!
//! It lies in the head's memory. For a counter or a flag; a large value is better put into the store and its reference passed on.

use crate::ipc::message::PairsRequest;

use super::head::State;

impl State {
    /// Does what is asked. Returns values for `Get` (one or none) and `Put` (what the key had before), and keys for the others.
    pub(super) fn pairs(&mut self, request: PairsRequest) -> Vec<Vec<u8>> {
        match request {
            PairsRequest::Get { key } => self.pairs.get(&key).cloned().into_iter().collect(),
            PairsRequest::Put { key, value, overwrite } => {
                let before = self.pairs.get(&key).cloned();
                if overwrite || before.is_none() {
                    self.pairs.insert(key, value);
                }
                before.into_iter().collect()
            }
            PairsRequest::Remove { key } => self.pairs.remove_entry(&key).into_iter().map(|(key, _)| key).collect(),
            PairsRequest::Keys { prefix } => {
                let from = self.pairs.range(prefix.clone()..);
                let keys = from.map(|(key, _)| key).take_while(|key| key.starts_with(&prefix));
                keys.cloned().collect()
            }
        }
    }
}
