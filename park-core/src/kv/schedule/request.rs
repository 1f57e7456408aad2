//! A request, and what the scheduler keeps of it.

use crate::kv::key::Media;
use crate::kv::pool::TenantId;

/// What becomes of a request that has begun when the model gets new weights.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnEpoch {
    /// It goes on over the keys and values that the old weights made.
    #[default]
    Finish,
    /// It ends: [`Plan::dropped`](super::Plan::dropped) names it.
    Drop,
    /// It starts again, and what the old weights generated is proposed to the new ones as drafts, which they accept or not.
    Draft,
}

/// What is asked of a model.
#[derive(Clone, Copy, Debug, Default)]
pub struct Request<'a> {
    /// The prompt.
    pub tokens: &'a [u32],
    /// Which of its tokens stand for something else.
    pub media: &'a [Media],
    /// At most so many tokens are generated.
    pub max_new: u32,
    /// Whose request it is; tenants share no blocks.
    pub tenant: TenantId,
    /// Divides the tenant's cache further.
    pub salt: &'a [u8],
    /// The adapter that the model runs with.
    pub adapter: &'a [u8],
    /// Lower is sooner, as in vLLM; read by [`Policy::Priority`](super::Policy::Priority).
    pub priority: i32,
    /// What becomes of it when the weights change.
    pub on_epoch: OnEpoch,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    Waiting,
    Running,
}

/// A block of a request that waits in host memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Swapped {
    pub(super) group: u8,
    pub(super) position: u32,
    pub(super) slot: u32,
}

/// What the scheduler keeps of a request; the rest is in its sequence.
pub(super) struct Entry {
    pub(super) tenant: TenantId,
    pub(super) priority: i32,
    /// Requests are numbered as they come.
    pub(super) arrival: u64,
    pub(super) prompt: u32,
    /// Most tokens that it may ever know.
    pub(super) most: u32,
    pub(super) on_epoch: OnEpoch,
    pub(super) state: State,
    /// Which of its places in the queue is good: it may have left older ones behind.
    pub(super) ticket: u64,
    /// Blocks that are kept free for it.
    pub(super) reserved: u32,
    /// Its place in the plan in flight.
    pub(super) work: Option<usize>,
    /// Whether something of it was computed before.
    pub(super) begun: bool,
    /// Its blocks in host memory, and how many tokens they hold.
    pub(super) swapped: Vec<Swapped>,
    pub(super) swapped_tokens: u32,
    /// For [`OnEpoch::Draft`]: the prompt's last tokens, those after its last full block; what was generated since; and what older
    /// weights generated and new ones have not judged yet.
    pub(super) prompt_tail: Vec<u32>,
    pub(super) generated: Vec<u32>,
    pub(super) proposed: Vec<u32>,
    /// The step in which it began to wait.
    pub(super) since: u64,
    /// The same in the scheduler's time.
    pub(super) since_time: u64,
}

impl Entry {
    /// Who comes first: lower is sooner. `by_priority` is whether priorities count.
    pub(super) fn rank(&self, by_priority: bool) -> (i32, u64) {
        (if by_priority { self.priority } else { 0 }, self.arrival)
    }
}
