//! The clock: an object that was looked at since the hand last came by stays for one more round, any other may go.
//!
//! Exact recency would be a shared list that every `get` writes to. Here a `get` sets one flag in a word it reads anyway, if the flag is
//! not set yet; the hand clears it. A fresh object has it set. Within one pass of the hand all that may go are equally cold as far as
//! this can tell, and the largest goes first: fewer, longer writes, and better odds that the block freed is long enough.

use std::collections::HashSet;

/// What the hand sees of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// Nothing that could be spilled.
    Skip,
    /// Looked at since the hand last came by; the mark is cleared now.
    Warm,
    /// May go, and frees so many bytes.
    Cold(u64),
}

/// One that may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Victim {
    /// Its slot.
    pub(crate) index: u32,
    /// What that frees.
    pub(crate) bytes: u64,
}

/// The hand looks at this many slots before it offers what it found, so that "largest first" has some choice.
const WINDOW: u32 = 4096;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    hand: u32,
}

impl Clock {
    /// Victims worth at least `need` bytes, if that many can be had, largest first. `slots` were ever used; `look` says what is in one.
    pub(crate) fn choose(&mut self, slots: u32, need: u64, mut look: impl FnMut(u32) -> Look) -> Vec<Victim> {
        let (mut found, mut bytes, mut seen) = (Vec::new(), 0, 0_u64);
        let mut taken = HashSet::new();
        // Twice round at most: the second time everything that was warm is cold, unless somebody looked at it in between.
        while bytes < need && seen < 2 * u64::from(slots) {
            for _ in 0..WINDOW.min(slots) {
                if self.hand >= slots {
                    self.hand = 0;
                }
                let index = self.hand;
                self.hand += 1;
                seen += 1;
                if let Look::Cold(size) = look(index)
                    && taken.insert(index)
                {
                    found.push(Victim { index, bytes: size });
                    bytes += size;
                }
            }
        }
        found.sort_unstable_by_key(|victim| std::cmp::Reverse(victim.bytes));
        found
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// Slots as (size, looked at).
    fn choose(clock: &mut Clock, slots: &mut [(u64, bool)], need: u64) -> Vec<u32> {
        let count = u32::try_from(slots.len()).unwrap();
        let look = |index: u32| match &mut slots[index as usize] {
            (0, _) => Look::Skip,
            (_, warm @ true) => {
                *warm = false;
                Look::Warm
            }
            (size, false) => Look::Cold(*size),
        };
        clock
            .choose(count, need, look)
            .into_iter()
            .map(|victim| victim.index)
            .collect()
    }

    #[test]
    fn cold_before_warm_and_large_before_small() {
        let mut slots = [(10, false), (90, true), (0, false), (50, false), (20, true)];
        let mut clock = Clock::default();
        assert_eq!(choose(&mut clock, &mut slots, 60), [3, 0]);
        assert_eq!(
            choose(&mut clock, &mut slots, 150),
            [1, 3, 4, 0],
            "warm ones had their round"
        );
    }

    #[test]
    fn it_ends_when_there_is_not_enough_or_nothing() {
        let mut clock = Clock::default();
        assert_eq!(choose(&mut clock, &mut [], 1), []);
        assert_eq!(choose(&mut clock, &mut [(0, false); 3], 1), []);
        assert_eq!(choose(&mut clock, &mut [(5, true); 3], 1000).len(), 3);
    }

    #[test]
    fn the_hand_goes_on_where_it_was() {
        let mut slots = vec![(1, false); 10_000];
        let mut clock = Clock::default();
        let first = choose(&mut clock, &mut slots, 10);
        let second = choose(&mut clock, &mut slots, 10);
        assert!(first.iter().all(|index| !second.contains(index)));
    }
}
