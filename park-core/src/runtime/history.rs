//! Tasks that ended lately, for people who look; nothing decides by it. The oldest are forgotten.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::id::{ObjectId, ParticipantId};
use crate::ipc::message::Span;
use crate::proc::inbox::Failure;
use crate::sched::task::Task;

/// How many are remembered: as many as Ray lists.
const REMEMBERED: usize = 10_000;

/// One task that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedRow {
    /// What was its first result.
    pub id: ObjectId,
    /// Its name.
    pub name: String,
    /// The process that ran it last; 0 if none did.
    pub pid: u32,
    /// Its worker's entry in the session; 0 if it had none.
    pub participant: ParticipantId,
    /// Attempts that failed before.
    pub attempt: u32,
    /// It raised, or its worker died; not one that was cancelled while it ran and ended by that.
    pub failed: bool,
    /// When it ran; zeros if no worker said so.
    pub span: Span,
    /// What it raised, or what became of it.
    pub failure: Option<Failure>,
    /// First result of the task or call that submitted it.
    pub parent: Option<ObjectId>,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct History {
    rows: VecDeque<EndedRow>,
}

impl History {
    /// Remembers one, which `failed` for this reason if it is known.
    pub(super) fn add(
        &mut self,
        task: &Task,
        (participant, pid): (ParticipantId, u32),
        failed: Option<Option<Failure>>,
        span: Span,
    ) {
        let Some(id) = task.returns.first().copied() else {
            return;
        };
        if self.rows.len() == REMEMBERED {
            self.rows.pop_front();
        }
        self.rows.push_back(EndedRow {
            id,
            name: task.name.clone(),
            pid,
            participant,
            attempt: task.attempt,
            failed: failed.is_some(),
            span,
            failure: failed.flatten(),
            parent: task.parent,
        });
    }

    /// Oldest first.
    pub(super) fn rows(&self) -> Vec<EndedRow> {
        self.rows.iter().cloned().collect()
    }
}
