//! Several processes that lend, write, send, receive and give back 1 KB samples at once, each with a publisher of its own.

use std::time::Instant;

use crate::bytes::{pattern, stamped};
use crate::child::{Child, answer};
use crate::measure::{Case, Peer, Result};
use crate::put::Pair;

const LEN: usize = 1 << 10;
/// Samples a process sends in one sample of the row.
const COUNT: u64 = 20_000;

pub(crate) fn rows(peer: &mut Peer) -> Result<()> {
    for processes in [1, 2, 4, 8] {
        peer.row(&format!("create 1 KB by {processes} at once"), || crowd(processes))?;
    }
    Ok(())
}

fn crowd<'a>(processes: u64) -> Result<Case<'a>> {
    let mut children = (0..processes)
        .map(|_| Child::start(&["crowd"]))
        .collect::<Result<Vec<_>>>()?;
    Ok(Case::reported((processes * COUNT) as f64, move || {
        let begin = Instant::now();
        children.iter_mut().try_for_each(|child| child.tell("go"))?;
        let mut right = true;
        for child in &mut children {
            right &= child.hear()? == "right";
        }
        Ok(right.then_some(begin.elapsed().as_secs_f64()))
    }))
}

/// Passes `COUNT` samples each time it is told to, and says whether the last one holds what was written.
pub(crate) fn child() -> Result<()> {
    let pair = Pair::new(LEN)?;
    let mut source = pattern(LEN);
    answer(|_| {
        let last = pair.cycle(&mut source, 0, COUNT)?;
        let right = last.payload() == stamped(LEN, COUNT - 1);
        Ok(if right { "right" } else { "wrong" }.to_owned())
    })
}
