//! Streams: results that a task or call makes one after another, each readable before the next exists.
//!
//! A stream is a chain of *links*. A link is an ordinary promised object, kept with no payload and references inside:
//!
//! ```text
//! item, next link           an item
//! item, next link, ticket   an item of a stream with backpressure
//! (none)                    the end
//! an ERROR object           the work ended without telling: its process died, it was cancelled, it never began
//! ```
//! | question | answer |
//! |---|---|
//! | who promises the n-th link? | the first one: whoever submits the work, beside its result; each later one: the process that runs the work, right before it keeps the link before |
//! | how does a consumer wait for "item or end"? | for its current link, as for any object; producer and consumer meet in its state word, nobody else is on the path |
//! | who owns what? | a link owns its item, the next link and the ticket; the consumer has one reference to its current link; the producer one to its own, the *tail*. The work's message names the first link and owns nothing of the stream, so a consumer that moves on frees the links behind it, and one that goes frees everything unread |
//! | the producer dies | its tail, and no other link of the stream, is open and without a maker: the head raises it, or, if the work is repeated, hands it to the next attempt in place of the first link. That attempt makes the items before it again and drops them; how many, the tail's promise says |
//! | the consumer dies or loses interest | the tail's only reference is the producer's: `is_heard` says no. It goes on without storing anything |
//! | backpressure? | a ticket is an object that the producer promises with an item and the consumer keeps when it takes it; the producer waits for the oldest ticket while as many are out as there may be. An actor's streams may also share a budget (`stream_budget.rs`), which each asks before the generator runs on |
//!
//! Beside its stream the work has an ordinary first result, which says how it ended, and in whose slot it is claimed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::promise::Origin;
use super::slot::{Phase, Slot};
use super::{Format, Interrupt, ObjectRef, Spec, Store, StreamBudget, TICK, View, never};
use crate::error::{Error, Result, bail};
use crate::id::{ObjectId, ParticipantId};
use crate::sys::failpoint::fail_point;

/// How long a stream sleeps that waits for other streams' generators.
const MOMENT: Duration = Duration::from_millis(5);

/// What a consumer finds at its current link.
#[derive(Debug)]
pub enum Link {
    /// An item, which is sealed, and the link after it.
    Item {
        /// The item.
        item: ObjectRef,
        /// Where to look next.
        next: ObjectRef,
    },
    /// There are no more items.
    End,
    /// The work ended without saying so; its first result says why.
    Broken,
}

impl Store {
    /// The first link of the stream of the work with this first result; `producer` answers for it until the work begins.
    pub fn promise_stream(self: &Arc<Self>, producer: ParticipantId, first: ObjectId) -> Result<ObjectRef> {
        self.promise_link(producer, first, 0)
    }

    /// Takes what a sealed link holds, and tells the producer that the consumer has.
    pub fn take_link(self: &Arc<Self>, link: &ObjectRef) -> Result<Link> {
        if link.is_error() {
            return Ok(Link::Broken);
        }
        let mut held = link.open()?.nested()?.into_iter();
        let Some(item) = held.next() else { return Ok(Link::End) };
        let Some(next) = held.next() else {
            bail!(Corrupt, "link {link:?} of a stream has an item and no next link");
        };
        if let Some(ticket) = held.next()
            && let Some(kept) = self.fulfil(ticket.id(), Spec::raw(0), &mut never)?
        {
            kept.seal()?;
        }
        Ok(Link::Item { item, next })
    }

    /// Whether a link is still to be kept by whoever runs the work.
    pub(crate) fn is_open(&self, link: ObjectId) -> bool {
        self.checked_slot(link)
            .and_then(Slot::state)
            .is_ok_and(|seen| seen.generation == link.generation && seen.phase == Phase::Pending)
    }
}

/// The producing end of a stream, in the process that runs the work.
#[derive(Debug)]
pub struct StreamWriter {
    store: Arc<Store>,
    /// Who runs the work, and answers for its tail.
    producer: ParticipantId,
    first: ObjectId,
    /// The link to keep next; none if nobody listens any more.
    tail: Option<ObjectRef>,
    /// Items so far, those of earlier attempts included.
    position: u64,
    /// Items that are to be dropped because an earlier attempt stored them.
    skip: u64,
    /// How many items may wait for the consumer; no limit if `None`.
    limit: Option<usize>,
    /// What it shares with other streams of this process.
    budget: Option<Arc<StreamBudget>>,
    /// How many items it has reserved in the budget and not made.
    reserved: usize,
    /// Tickets of items that the consumer has not taken, oldest first.
    tickets: VecDeque<Arc<ObjectRef>>,
}

impl StreamWriter {
    /// The stream of the work with this first result that `producer` runs, from `link` on. Items that came before that one are to be made again and dropped.
    pub fn new(
        store: &Arc<Store>,
        producer: ParticipantId,
        first: ObjectId,
        link: ObjectId,
        limit: Option<usize>,
    ) -> Self {
        let skip = match store.origin(link) {
            Some(Origin::Link { first: whose, position }) if whose == first => position,
            _ => 0,
        };
        // One that is kept already belongs to an attempt that made everything.
        let tail = store.resolve(link).ok().filter(|link| !link.is_sealed());
        Self {
            store: store.clone(),
            producer,
            first,
            tail,
            position: 0,
            skip,
            limit,
            budget: None,
            reserved: 0,
            tickets: VecDeque::new(),
        }
    }

    /// The same, of which each item counts in this budget too.
    pub fn within(mut self, budget: Option<Arc<StreamBudget>>) -> Self {
        self.budget = budget;
        self
    }

    /// Whether the next item is to be stored: an earlier attempt has not done so, and somebody could take it. Otherwise it is counted
    /// as given.
    pub fn wants_item(&mut self) -> bool {
        if self.position < self.skip {
            self.position += 1;
            return false;
        }
        if !self.is_heard() {
            self.tail = None;
            self.tickets.clear();
        }
        self.tail.is_some()
    }

    /// Whether somebody else still has a reference to the tail.
    fn is_heard(&self) -> bool {
        self.tail
            .as_ref()
            .is_some_and(|tail| self.store.count(tail.id().index).get() > 1)
    }

    /// Gives a sealed item to the consumer.
    pub fn push(&mut self, item: &ObjectRef) -> Result<()> {
        let Some(tail) = self.tail.take() else { return Ok(()) };
        let next = self.store.promise_link(self.producer, self.first, self.position + 1)?;
        fail_point!("stream.promised");
        let mut held = vec![item.id(), next.id()];
        let mut ticket = None;
        if self.limit.is_some() || self.budget.is_some() {
            let promised = Arc::new(self.store.promise(self.store.me())?);
            self.store.drop_hold(promised.id());
            held.push(promised.id());
            ticket = Some(promised);
        }
        self.keep(&tail, &held)?;
        if let Some(ticket) = ticket {
            if let Some(budget) = &self.budget {
                budget.use_for(&ticket, self.reserved > 0);
                self.reserved = self.reserved.saturating_sub(1);
            }
            if self.limit.is_some() {
                self.tickets.push_back(ticket);
            }
        }
        fail_point!("stream.pushed");
        self.position += 1;
        self.tail = Some(next);
        Ok(())
    }

    /// Reserves for `items` more in the budget, if there is one and somebody listens. False if that may not be yet.
    pub fn try_reserve(&mut self, items: usize) -> bool {
        let Some(budget) = &self.budget else { return true };
        let more = items.saturating_sub(self.reserved);
        if more == 0 || !self.is_heard() {
            return true;
        }
        let admitted = budget.admit(more);
        if admitted {
            self.reserved += more;
        }
        admitted
    }

    /// As `try_reserve`, and waits until it may be.
    pub fn reserve(&mut self, items: usize, interrupt: Interrupt<'_>) -> Result<()> {
        while !self.try_reserve(items) {
            let tickets = self.budget_waits_for();
            let tickets: Vec<&ObjectRef> = tickets.iter().map(AsRef::as_ref).collect();
            if tickets.is_empty() {
                // All of it is reserved by streams whose generators run: those end, or make items.
                std::thread::sleep(MOMENT);
                interrupt()?;
            } else {
                self.store.wait_some(&tickets, 1, Some(TICK), interrupt)?;
            }
        }
        Ok(())
    }

    /// What is sealed once the budget has more room.
    pub fn budget_waits_for(&self) -> Vec<Arc<ObjectRef>> {
        self.budget
            .as_ref()
            .map(|budget| budget.waits_for())
            .unwrap_or_default()
    }

    fn give_back(&mut self) {
        if let Some(budget) = &self.budget {
            budget.give_back(std::mem::take(&mut self.reserved));
        }
    }

    /// Waits until the consumer has taken enough for another item to be made. Returns at once without a limit, or if nobody listens.
    pub fn wait_for_room(&mut self, interrupt: Interrupt<'_>) -> Result<()> {
        while let Some(ticket) = self.full_until() {
            self.store.wait_some(&[&ticket], 1, Some(TICK), interrupt)?;
        }
        Ok(())
    }

    /// What is sealed once the consumer has taken enough for another item to be made; none if there is room, or nobody listens.
    pub fn full_until(&mut self) -> Option<Arc<ObjectRef>> {
        let limit = self.limit?;
        while self.tickets.front().is_some_and(|ticket| ticket.is_sealed()) {
            self.tickets.pop_front();
        }
        let oldest = self.tickets.front()?;
        (self.tickets.len() >= limit && self.is_heard()).then(|| oldest.clone())
    }

    /// Whether `wait_for_room` would wait.
    pub fn is_full(&self) -> bool {
        self.limit.is_some_and(|limit| self.tickets.len() >= limit)
    }

    /// There are no more items.
    pub fn end(&mut self) -> Result<()> {
        self.give_back();
        let Some(tail) = self.tail.take() else { return Ok(()) };
        self.keep(&tail, &[])
    }

    /// There will be no more items, because of this error.
    pub fn fail(&mut self, error: &Error) -> Result<()> {
        self.give_back();
        match self.tail.take() {
            Some(tail) => self.store.fail(tail.id(), error),
            None => Ok(()),
        }
    }

    /// How many items are missing that an earlier attempt made.
    pub fn missing(&self) -> u64 {
        self.skip.saturating_sub(self.position)
    }

    fn keep(&self, link: &ObjectRef, held: &[ObjectId]) -> Result<()> {
        let spec = Spec {
            len: 0,
            format: Format::Raw,
            view: View::Numpy,
            nested: held,
        };
        if let Some(kept) = self.store.fulfil(link.id(), spec, &mut never)? {
            kept.seal()?;
        }
        Ok(())
    }
}

impl Drop for StreamWriter {
    fn drop(&mut self) {
        self.give_back();
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::id::ParticipantId;
    use crate::store::promise::Work;

    struct Scene {
        store: Arc<Store>,
        first: ObjectRef,
        link: Option<ObjectRef>,
    }

    /// Work with a stream, as submitted: its message's hold is given back, as if it had ended.
    fn scene() -> Scene {
        let store = Arc::new(Store::open(&Config::default().capacity(1 << 20), 4).unwrap());
        let results = store.promise_results(ParticipantId::HEAD, Work::Task, 1).unwrap();
        let first = results.into_iter().next().unwrap();
        store.drop_hold(first.id());
        let link = store.promise_stream(ParticipantId::HEAD, first.id()).unwrap();
        Scene {
            store,
            first,
            link: Some(link),
        }
    }

    impl Scene {
        fn writer(&self, limit: Option<usize>) -> StreamWriter {
            let link = self.link.as_ref().unwrap();
            StreamWriter::new(&self.store, self.store.me(), self.first.id(), link.id(), limit)
        }

        fn push(&self, writer: &mut StreamWriter, byte: u8) {
            if writer.wants_item() {
                writer.push(&self.store.put(&[byte]).unwrap()).unwrap();
            }
        }

        fn take(&mut self) -> Option<u8> {
            match self.store.take_link(self.link.as_ref().unwrap()).unwrap() {
                Link::Item { item, next } => {
                    self.link = Some(next);
                    Some(item.open().unwrap().bytes()[0])
                }
                Link::End => None,
                Link::Broken => panic!("broken"),
            }
        }
    }

    #[test]
    fn items_come_in_order_and_leave_nothing() {
        let mut scene = scene();
        let mut writer = scene.writer(None);
        (0..5).for_each(|byte| scene.push(&mut writer, byte));
        assert_eq!(
            (0..5).map(|_| scene.take()).collect::<Vec<_>>(),
            (0..5).map(Some).collect::<Vec<_>>()
        );
        assert!(!scene.link.as_ref().unwrap().is_sealed());
        writer.end().unwrap();
        assert_eq!((scene.take(), scene.take()), (None, None), "the end stays the end");
        scene.link = None;
        drop(writer);
        assert_eq!(scene.store.stats().objects, 0, "the first result is not made yet");
    }

    #[test]
    fn a_consumer_that_goes_frees_what_it_did_not_read_and_the_producer_notices() {
        let mut scene = scene();
        let mut writer = scene.writer(Some(2));
        (0..2).for_each(|byte| scene.push(&mut writer, byte));
        assert!(writer.is_full());
        scene.link = None;
        writer.wait_for_room(&mut never).unwrap();
        assert!(!writer.wants_item());
        writer.end().unwrap();
        assert_eq!(scene.store.stats().objects, 0);
    }

    #[test]
    fn a_producer_waits_until_the_consumer_has_taken() {
        let mut scene = scene();
        let mut writer = scene.writer(Some(1));
        scene.push(&mut writer, 1);
        let mut looks = 0;
        let waited = writer.wait_for_room(&mut || {
            looks += 1;
            if looks < 3 {
                Ok(())
            } else {
                bail!(Interrupted, "enough")
            }
        });
        assert!(waited.is_err() && writer.is_full());
        assert_eq!(scene.take(), Some(1));
        writer.wait_for_room(&mut never).unwrap();
        assert!(!writer.is_full());
    }

    #[test]
    fn streams_of_one_budget_count_together_until_their_items_are_taken() {
        let budget = Arc::new(StreamBudget::new(3));
        let (left, mut right) = (scene(), scene());
        let mut writers = [
            left.writer(None).within(Some(budget.clone())),
            right.writer(None).within(Some(budget.clone())),
        ];
        assert!(writers[0].try_reserve(1) && writers[0].try_reserve(1), "reserved once");
        left.push(&mut writers[0], 1);
        assert!(writers[1].try_reserve(2), "two at a time may go to the limit");
        right.push(&mut writers[1], 2);
        right.push(&mut writers[1], 3);
        assert!(!writers[0].try_reserve(1) && !writers[1].try_reserve(1));
        writers[1].end().unwrap();
        assert!(!writers[0].try_reserve(1), "a stream that has ended still has items");
        assert_eq!(right.take(), Some(2));
        assert!(writers[0].try_reserve(1));
        writers[0].end().unwrap();
        let mut other = left.writer(None).within(Some(budget.clone()));
        assert!(
            other.tail.is_none() && other.try_reserve(1),
            "nobody listens: nothing to reserve for"
        );
        assert!(budget.admit(1), "what was reserved came back");
        budget.give_back(1);
        right.link = None;
        assert_eq!(
            budget.waits_for().len(),
            1,
            "what nobody can take any more does not count"
        );
    }

    #[test]
    fn a_repeated_attempt_goes_on_where_the_last_one_died() {
        let mut scene = scene();
        let first = scene.first.id();
        let mut writer = scene.writer(None);
        (0..3).for_each(|byte| scene.push(&mut writer, byte));
        assert_eq!(
            scene.take(),
            Some(0),
            "the first link is gone by the time of the second attempt"
        );
        let tail = writer.tail.as_ref().unwrap().id();
        assert_eq!(scene.store.origin(tail), Some(Origin::Link { first, position: 3 }));
        // Held by the link before it only, as after a death.
        drop(writer);
        let mut again = StreamWriter::new(&scene.store, scene.store.me(), first, tail, None);
        (0..5).for_each(|byte| scene.push(&mut again, byte));
        again.end().unwrap();
        assert_eq!(again.missing(), 0);
        let rest: Vec<_> = std::iter::from_fn(|| scene.take()).collect();
        assert_eq!(rest, [1, 2, 3, 4]);
    }
}
