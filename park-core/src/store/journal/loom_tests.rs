//! A process dies after any step of a change while another one changes the same count: afterwards the count and the second words agree.

use super::*;
use loom::sync::Arc;
use loom::thread;

const DEAD: ParticipantId = ParticipantId(1);
const OTHER: ParticipantId = ParticipantId(2);
const SLOT: u32 = 9;

struct World {
    count: AtomicU64,
    ledgers: [AtomicU64; 2],
    journals: [Journal; 2],
}

impl World {
    /// Both hold one reference.
    fn new() -> Self {
        Self {
            count: AtomicU64::new(2),
            ledgers: [AtomicU64::new(1), AtomicU64::new(1)],
            journals: [Journal::new(), Journal::new()],
        }
    }

    fn operation(&self, who: ParticipantId, change: i64) -> Operation<'_> {
        let at = who.index() - 1;
        let number = lane_of(SLOT);
        let lane = &self.journals[at].lanes[number];
        let count = Count {
            word: &self.count,
            slot: SLOT,
        };
        Operation::open(
            Owned { who, number, lane },
            count,
            SecondWord::Ledger(&self.ledgers[at]),
            change,
        )
    }

    /// Runs a change up to step `steps`: 1 opens, 2 counts, 3 enters, 4 closes.
    fn run(&self, who: ParticipantId, change: i64, steps: usize) {
        let lanes = |who: ParticipantId| self.journals.get(who.index().wrapping_sub(1));
        let operation = self.operation(who, change);
        if steps > 1 {
            operation.count(&lanes);
        }
        if steps > 2 {
            operation.enter();
        }
        if steps > 3 {
            operation.close();
        }
    }

    fn reap(&self) {
        let number = lane_of(SLOT);
        let lane = &self.journals[0].lanes[number];
        if let Some(operation) = lane.opened() {
            let count = Count {
                word: &self.count,
                slot: SLOT,
            };
            let owned = Owned {
                who: DEAD,
                number,
                lane,
            };
            finish_dead(owned, operation, count, SecondWord::Ledger(&self.ledgers[0]));
            lane.end(operation);
        }
        let sum: u32 = self
            .ledgers
            .iter()
            .map(|word| references(word.load(Ordering::Relaxed)))
            .sum();
        assert_eq!(u64::from(sum), self.count.load(Ordering::Relaxed) & u64::from(u32::MAX));
    }
}

/// The dead process makes one whole change first, so that its stamp is there to be mistaken, and then dies in the second.
fn model(change: i64, other: i64, steps: usize) {
    loom::model(move || {
        let world = Arc::new(World::new());
        let dead = {
            let world = world.clone();
            thread::spawn(move || {
                world.run(DEAD, 1, 4);
                world.run(DEAD, change, steps);
            })
        };
        world.run(OTHER, other, 4);
        dead.join().unwrap();
        world.reap();
    });
}

#[test]
fn loom_journal_take_dies_at_each_step() {
    (1..=4).for_each(|steps| model(1, 1, steps));
}

#[test]
fn loom_journal_give_dies_at_each_step() {
    (1..=4).for_each(|steps| model(-1, -1, steps));
}

/// The other process's change comes after the death too: it must have told the lane what it overwrote.
#[test]
fn loom_journal_two_changes_over_a_dead_stamp() {
    for steps in 1..=4 {
        loom::model(move || {
            let world = Arc::new(World::new());
            let dead = {
                let world = world.clone();
                thread::spawn(move || world.run(DEAD, -1, steps))
            };
            world.run(OTHER, 1, 4);
            world.run(OTHER, -1, 4);
            dead.join().unwrap();
            world.reap();
        });
    }
}
