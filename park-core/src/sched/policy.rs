//! Which of the nodes that have room gets a piece of work.
//!
//! Nodes without GPUs come first for work that needs none, so that GPUs are not blocked by what could run elsewhere. Among them the
//! first that is less than half in use is filled up; beyond half, the one least in use is next. Spreading goes round.

/// From this share of use on, in units of 1/10,000, the next node is looked at.
const HALF: i64 = 5_000;

/// A node that has room for the work now.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// Which.
    pub node: usize,
    /// How much of it is in use, in units of 1/10,000.
    pub load: i64,
    /// Whether it has GPUs.
    pub gpus: bool,
}

/// The node that is filled up next.
pub fn pack(candidates: impl Iterator<Item = Candidate>, wants_gpu: bool) -> Option<usize> {
    let rank = |one: &Candidate| {
        let load = if one.load < HALF { 0 } else { one.load };
        (one.gpus && !wants_gpu, load, one.node)
    };
    candidates.min_by_key(rank).map(|one| one.node)
}

/// The node whose turn it is, or the next one with room. After it, the turn is the following node's.
pub fn spread(candidates: impl Iterator<Item = Candidate>, turn: usize) -> Option<usize> {
    candidates.map(|one| one.node).min_by_key(|node| (*node < turn, *node))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(loads: &[(i64, bool)]) -> impl Iterator<Item = Candidate> {
        loads
            .iter()
            .enumerate()
            .map(|(node, (load, gpus))| Candidate {
                node,
                load: *load,
                gpus: *gpus,
            })
            .collect::<Vec<_>>()
            .into_iter()
    }

    #[test]
    fn a_node_is_filled_to_one_half_before_the_next_is_used() {
        assert_eq!(pack(nodes(&[(4_999, false), (0, false)]), false), Some(0));
        assert_eq!(pack(nodes(&[(5_000, false), (0, false)]), false), Some(1));
        assert_eq!(pack(nodes(&[(7_500, false), (5_000, false)]), false), Some(1));
        assert_eq!(pack(nodes(&[]), false), None);
    }

    #[test]
    fn gpus_are_left_to_those_who_need_them() {
        assert_eq!(pack(nodes(&[(0, true), (9_000, false)]), false), Some(1));
        assert_eq!(pack(nodes(&[(0, true), (9_000, false)]), true), Some(0));
        assert_eq!(pack(nodes(&[(0, true)]), false), Some(0));
    }

    #[test]
    fn spreading_goes_round() {
        let mut turn = 0;
        let mut order = Vec::new();
        for _ in 0..5 {
            let chosen = spread(nodes(&[(0, false), (0, false), (9_000, false)]), turn).unwrap();
            turn = chosen + 1;
            order.push(chosen);
        }
        assert_eq!(order, [0, 1, 2, 0, 1]);
    }
}
