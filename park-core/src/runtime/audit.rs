//! The audit of a whole session: the store's books, and the references that records in rings own.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::Session;
use crate::actor::call::{owned, parse};
use crate::id::ParticipantId;
use crate::ipc::message::{Envelope, decode};
use crate::ipc::parcel::unpack;
use crate::shm::participant;
use crate::store::{Audit, Store};
use crate::sync::atomic::Ordering;

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(5);

impl Session {
    /// Checks that everything in the session adds up: slots, references, ledgers, journals, rings, the free list and the arena.
    ///
    /// What others do meanwhile can look wrong for a moment, so complaints count only if none of the looks within `patience` was
    /// without any. Any process of the session may ask.
    pub fn audit(&self, patience: Duration) -> Audit {
        let deadline = Instant::now() + patience;
        loop {
            let store = self.store();
            let mut complaints = Vec::new();
            let carried = carried(store, &mut complaints);
            let mut audit = store.audit(&carried);
            audit.complaints.append(&mut complaints);
            if audit.complaints.is_empty() || Instant::now() >= deadline {
                return audit;
            }
            std::thread::sleep(PAUSE);
        }
    }
}

/// How many references to each slot the records in rings own.
fn carried(store: &std::sync::Arc<Store>, complaints: &mut Vec<String>) -> HashMap<u32, u64> {
    let mut carried: HashMap<u32, u64> = HashMap::new();
    for number in 0..store.participants_used() {
        let who = ParticipantId(number);
        if store.participant(who).state.load(Ordering::Acquire) != participant::LIVE {
            continue;
        }
        let records = match store.ring(who).unfinished() {
            Ok(records) => records,
            Err(error) => {
                complaints.push(format!("ring of {number}: {error}"));
                continue;
            }
        };
        for record in records {
            let names = if who == ParticipantId::HEAD {
                unpack(store, &record).and_then(|(bytes, parcel)| {
                    let (_, message) = decode::<Envelope>(&bytes)?;
                    Ok(parcel.map_or_else(|| message.holds(), |parcel| vec![parcel]))
                })
            } else {
                parse(store, &record).map(|(_, message, parcel)| owned(&message, parcel))
            };
            match names {
                Ok(names) => names.iter().for_each(|id| *carried.entry(id.index).or_default() += 1),
                Err(error) => complaints.push(format!("record in the ring of {number}: {error}")),
            }
        }
    }
    carried
}
