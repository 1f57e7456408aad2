//! Several processes that create, write, seal and release 1 KB objects of one store at once: what its shared allocator bears.

use std::sync::Arc;
use std::time::Instant;

use park_bench::bytes::{pattern, stamped};
use park_bench::child::{Child, answer};
use park_bench::measure::{Case, Peer, Result};
use park_core::{Session, Store};

use super::put::once;

const LEN: usize = 1 << 10;
/// Objects a process creates in one sample.
const COUNT: u64 = 20_000;

pub(crate) fn rows(peer: &mut Peer, session: &Session) -> Result<()> {
    for processes in [1, 2, 4, 8] {
        peer.row(&format!("create 1 KB by {processes} at once"), || {
            crowd(session, processes)
        })?;
    }
    Ok(())
}

fn crowd(session: &Session, processes: u64) -> Result<Case<'_>> {
    let mut children = (0..processes)
        .map(|_| Child::start(&["crowd", session.address()]))
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

/// Creates `COUNT` objects each time it is told to, and says whether the last one holds what was written.
pub(crate) fn child(store: &Arc<Store>) -> Result<()> {
    let mut source = pattern(LEN);
    answer(|_| {
        let mut last = None;
        for number in 0..COUNT {
            last = Some(once(store, &mut source, number)?);
        }
        let last = last.ok_or("nothing was created")?;
        let right = store.get(&last, None)?.bytes() == stamped(LEN, COUNT - 1);
        Ok(if right { "right" } else { "wrong" }.to_owned())
    })
}
