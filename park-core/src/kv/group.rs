//! Groups: layers of a model that keep the same tokens, and so share one block table.

use super::key::Keyer;

/// Which tokens the layers of a group attend to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Group {
    /// All before the current one: their blocks are kept as long as the sequence.
    Full,
    /// The last so many, the current one included: blocks that fall out of the window are given back.
    Window(u32),
}

/// The groups of a cache, sorted by kind: tables of full groups are kept together, windows one by one.
pub(super) struct Groups {
    pub(super) kinds: Vec<Group>,
    /// Group numbers of the full groups, in order.
    pub(super) full: Vec<u8>,
    /// (group number, window) of the others, in order.
    pub(super) windows: Vec<(u8, u32)>,
}

impl Groups {
    pub(super) fn new(kinds: &[Group]) -> Self {
        let (mut full, mut windows) = (Vec::new(), Vec::new());
        for (number, kind) in (0..).zip(kinds) {
            match kind {
                Group::Full => full.push(number),
                Group::Window(tokens) => windows.push((number, *tokens)),
            }
        }
        Self {
            kinds: kinds.to_vec(),
            full,
            windows,
        }
    }

    /// The mask of each group in an epoch.
    pub(super) fn masks(&self, keyer: &Keyer, epoch: u32) -> Vec<u128> {
        (0..)
            .zip(&self.kinds)
            .map(|(group, _)| keyer.mask(epoch, group))
            .collect()
    }
}

/// How many of the first blocks a window of `window` tokens has left behind once `computed` tokens are there: the next token attends to
/// itself and to the `window - 1` before it.
pub(super) fn left_behind(window: u32, computed: u32, block_size: u32) -> u32 {
    (computed + 1).saturating_sub(window) / block_size
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_leaves_whole_blocks_behind() {
        // The example of vLLM's SlidingWindowManager: window 4, 7 computed, tokens 0 to 3 are skipped.
        assert_eq!(left_behind(4, 7, 1), 4);
        assert_eq!(left_behind(4, 7, 2), 2);
        assert_eq!(left_behind(4, 6, 2), 1);
        assert_eq!(left_behind(4, 2, 2), 0);
    }
}
