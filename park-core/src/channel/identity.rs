//! Who sits at an end of a channel, as one word: `pid:32 | participant + 2`. 0 and 1 are words for nobody (`cursors`).
//!
//! A participant number alone would not do: the head gives it to a new process soon after the old one's holdings were given back, and
//! who waits may look only after that.

use crate::error::{Result, bail};
use crate::id::ParticipantId;
use crate::shm::layout::MAX_PARTICIPANTS;
use crate::shm::participant::LIVE;
use crate::store::Store;
use crate::sync::atomic::Ordering;

const FIRST: u64 = 2;

fn word_of(store: &Store, participant: ParticipantId) -> u64 {
    let pid = store.participant(participant).pid.load(Ordering::Relaxed);
    u64::from(pid) << 32 | (u64::from(participant.0) + FIRST)
}

/// The word of this process.
pub(super) fn me(store: &Store) -> Result<u64> {
    store.check_open()?;
    let word = word_of(store, store.me());
    if pid_of(word) == 0 {
        bail!(Internal, "participant {} has no process id", store.me().0);
    }
    Ok(word)
}

/// The process behind a word, for people.
pub(super) fn pid_of(word: u64) -> u64 {
    word >> 32
}

/// Whether the process behind a word has ended. A word that no process can have written counts as gone.
pub(super) fn is_gone(store: &Store) -> impl Fn(u64) -> bool + '_ {
    |word| {
        let participant = (word & 0xffff_ffff)
            .checked_sub(FIRST)
            .filter(|number| *number < u64::from(MAX_PARTICIPANTS))
            .and_then(|number| u16::try_from(number).ok())
            .map(ParticipantId);
        participant.is_none_or(|participant| {
            store.participant(participant).state.load(Ordering::Acquire) != LIVE || word_of(store, participant) != word
        })
    }
}
