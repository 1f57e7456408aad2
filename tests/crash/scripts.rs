//! What the operations do, step by step: each a few lines over the public surface of a session.

use std::time::Duration;

use park_core::channel::{Channel, ChannelSpec};
use park_core::store::never;
use park_core::store::promise::Work;
use park_core::store::stream::{Link, StreamWriter};
use park_core::{Error, ErrorKind, ObjectId, ObjectRef, ParticipantId, Spec};

use crate::Fallible;
use crate::child::PATIENCE;
use crate::operations::Stage;
use crate::work::{call_actor, holding, pattern, submit_task};

/// Two objects that leave at once, one that leaves with the one that holds it, and one that stays with its other owner.
pub(crate) fn create(stage: &Stage) -> Fallible {
    let store = stage.session.store();
    for len in [10, 5000] {
        store.create(Spec::raw(len), &mut never)?.abort();
    }
    let inner = store.put(&pattern(1, 100))?;
    let spec = Spec {
        nested: &[inner.id(), inner.id()],
        ..Spec::raw(3000)
    };
    store.create(spec, &mut never)?.abort();
    Ok(())
}

pub(crate) fn put(stage: &Stage) -> Fallible {
    let store = stage.session.store();
    let (small, large) = (store.put(&pattern(1, 8))?, store.put(&pattern(2, 70_000))?);
    let outer = holding(store, 500, &[small.id(), large.id(), small.id()])?;
    drop((small, large));
    let outermost = holding(store, 10, &[outer.id()])?;
    drop(outer);
    drop(outermost);
    Ok(())
}

pub(crate) fn read(stage: &Stage) -> Fallible {
    let given = stage.given.take();
    for object in &given {
        let view = object.open()?;
        let again = view.clone();
        stage.session.store().resolve(object.id())?;
        if view.bytes() != again.bytes() {
            return Err("two views differ".into());
        }
    }
    Ok(())
}

/// Both ends of a stream with room for two items, of which the second is never taken.
pub(crate) fn stream(stage: &Stage) -> Fallible {
    let store = stage.session.store();
    let [result] = &store.promise_results(store.me(), Work::Call, 1)?[..] else {
        return Err("one result was asked for".into());
    };
    let mut link = store.promise_stream(store.me(), result.id())?;
    let mut writer = StreamWriter::new(store, store.me(), result.id(), link.id(), Some(2));
    for number in 0..2 {
        writer.push(&store.put(&pattern(number, 400))?)?;
    }
    if let Link::Item { next, .. } = store.take_link(&link)? {
        link = next;
    }
    writer.wait_for_room(&mut never)?;
    writer.end()?;
    drop(link);
    store.drop_hold(result.id());
    Ok(())
}

/// A call that is cancelled before it begins, and one that is while it runs in this process.
pub(crate) fn cancel(stage: &Stage) -> Fallible {
    let store = stage.session.store();
    for begins in [false, true] {
        let [result] = &store.promise_results(store.me(), Work::Call, 1)?[..] else {
            return Err("one result was asked for".into());
        };
        if begins {
            store.begin_call(result.id(), store.me());
        }
        stage.session.cancel(result.id(), None, false, false)?;
        if !store.is_cancelled(result.id()) || result.is_error() == begins {
            return Err("a call was not cancelled".into());
        }
        store.drop_hold(result.id());
    }
    Ok(())
}

pub(crate) fn free(stage: &Stage) -> Fallible {
    stage.given.take();
    Ok(())
}

/// Promises of this process to itself: one that it keeps, one that it breaks, one that it forgets.
pub(crate) fn promise(stage: &Stage) -> Fallible {
    let store = stage.session.store();
    let kept = store.promise(store.me())?;
    let inner = store.put(&pattern(3, 300))?;
    let spec = Spec {
        nested: &[inner.id()],
        ..Spec::raw(2000)
    };
    let object = store
        .fulfil(kept.id(), spec, &mut never)?
        .ok_or("somebody else kept the promise")?;
    object.seal()?;
    store.drop_hold(kept.id());
    let broken = store.promise(store.me())?;
    store
        .fulfil(broken.id(), Spec::raw(3000), &mut never)?
        .ok_or("somebody else kept the promise")?
        .abort();
    store.drop_hold(broken.id());
    let forgotten = store.promise(ParticipantId::HEAD)?;
    store.drop_hold(forgotten.id());
    Ok(())
}

pub(crate) fn fulfil(stage: &Stage) -> Fallible {
    let given = stage.given.take();
    let inner = stage.session.store().put(&pattern(3, 300))?;
    for promised in &given {
        let spec = Spec {
            nested: &[inner.id()],
            ..Spec::raw(2000)
        };
        stage
            .session
            .store()
            .fulfil(promised.id(), spec, &mut never)?
            .ok_or("somebody else kept it")?
            .seal()?;
    }
    Ok(())
}

/// Begins to keep the promise, gives up, and ends: who waits is told by the end.
pub(crate) fn break_promise(stage: &Stage) -> Fallible {
    for promised in stage.given.take() {
        let object = stage
            .session
            .store()
            .fulfil(promised.id(), Spec::raw(2000), &mut never)?;
        object.ok_or("somebody else kept it")?.abort();
    }
    Ok(())
}

pub(crate) fn wait(stage: &Stage) -> Fallible {
    for promised in stage.given.take() {
        stage.session.store().get(&promised, Some(PATIENCE))?;
    }
    Ok(())
}

/// Splits blocks and joins them with both neighbours.
pub(crate) fn sizes(stage: &Stage) -> Fallible {
    let store = stage.session.store();
    let lens = [100, 5000, 200, 70_000, 1000, 300_000, 64, 9000];
    let mut held: Vec<Option<ObjectRef>> = Vec::new();
    for len in lens {
        held.push(Some(store.put(&pattern(4, len))?));
    }
    for at in [1, 3, 2, 6, 0, 5, 7, 4] {
        held[at] = None;
    }
    Ok(())
}

/// More slots than a process keeps for itself: it takes them from the table and gives them back.
pub(crate) fn table(stage: &Stage) -> Fallible {
    let store = stage.session.store();
    let held = (0..150)
        .map(|_| store.put(&pattern(5, 4)))
        .collect::<Result<Vec<_>, _>>()?;
    drop(held);
    Ok(())
}

pub(crate) fn ask(stage: &Stage) -> Fallible {
    if stage.session.find_actor("", "nobody", &mut never).is_ok() {
        return Err("there is no such actor".into());
    }
    stage.session.head_stats(&mut never)?;
    Ok(())
}

/// Waits like a task that lends its CPU meanwhile.
fn settle(stage: &Stage, result: &ObjectRef) -> Fallible {
    let is_worker = stage.session.inbox().is_ok();
    if is_worker {
        stage.session.set_blocked(true)?;
    }
    stage.session.store().get(result, Some(PATIENCE))?;
    if is_worker {
        stage.session.set_blocked(false)?;
    }
    Ok(())
}

/// Lends its CPU to others for a moment, for nothing, once they had time to come.
pub(crate) fn block(stage: &Stage) -> Fallible {
    std::thread::sleep(Duration::from_millis(20));
    stage.session.set_blocked(true)?;
    std::thread::sleep(Duration::from_millis(20));
    stage.session.set_blocked(false)?;
    Ok(())
}

pub(crate) fn submit(stage: &Stage) -> Fallible {
    let given: Vec<ObjectId> = stage.given.borrow().iter().map(ObjectRef::id).collect();
    let result = submit_task(&stage.session, stage.function, "nothing", &given, 0)?;
    stage.given.take();
    settle(stage, &result)
}

/// Messages that are too long for a ring.
pub(crate) fn parcel(stage: &Stage) -> Fallible {
    let given: Vec<ObjectId> = stage.given.borrow().iter().map(ObjectRef::id).collect();
    let result = submit_task(&stage.session, stage.function, "nothing", &given, 40_000)?;
    stage.given.take();
    settle(stage, &result)
}

pub(crate) fn call(stage: &Stage) -> Fallible {
    let argument = stage.session.store().put(&pattern(6, 4000))?;
    let actor = stage.given.take().pop().ok_or("no actor was given")?;
    let result = call_actor(&stage.session, actor.id(), "nothing", &[argument.id(), argument.id()])?;
    drop(argument);
    settle(stage, &result)
}

/// Calls of an actor to itself, that come and end while the one that makes them goes on: its record is carried along the ring.
pub(crate) fn carry(stage: &Stage) -> Fallible {
    let inbox = stage.session.inbox()?;
    let me = inbox.actor().ok_or("only an actor can call itself")?;
    let text = format!("{:100}", "nothing");
    // Half of the ring, and some more.
    for _ in 0..1000 {
        let result = call_actor(&stage.session, me, &text, &[])?;
        let job = inbox.next(&mut never)?.ok_or("nobody stops the inbox")?;
        stage
            .session
            .store()
            .fail(result.id(), &Error::new(ErrorKind::TaskFailed, "done"))?;
        inbox.finish(&job)?;
    }
    Ok(())
}

/// As `call`, of an actor without a process: the call waits in the caller's outbox, and the tester knows its result meanwhile.
pub(crate) fn call_late(stage: &Stage) -> Fallible {
    let argument = stage.session.store().put(&pattern(6, 4000))?;
    let actor = stage.given.take().pop().ok_or("no actor was given")?;
    let result = call_actor(&stage.session, actor.id(), "nothing", &[argument.id()])?;
    (stage.tell)(result.id());
    drop(argument);
    // Until the tester knows, so that what follows comes after.
    std::thread::sleep(Duration::from_millis(1));
    settle(stage, &result)
}

/// Gives the memory of free blocks back to the system, this process's own warm ones too, and takes fresh memory again.
pub(crate) fn trim(stage: &Stage) -> Fallible {
    let store = stage.session.store();
    for len in [3000, 70_000, 300_000] {
        store.put(&pattern(4, len))?;
    }
    store.trim()?;
    store.create(Spec::raw(3 << 20), &mut never)?.abort();
    Ok(())
}

/// More objects than memory: some go to disk while this process waits in line for room, come back as it looks at them, and leave.
pub(crate) fn overflow(stage: &Stage) -> Fallible {
    let store = stage.session.store();
    let mut held = Vec::new();
    for seed in 0..4 {
        let mut object = store.create(Spec::raw(5 << 19), &mut never)?;
        object.write(0, &pattern(seed, 1000))?;
        held.push(object.seal()?);
    }
    for (seed, object) in (0..).zip(&held) {
        if store.get(object, Some(PATIENCE))?.bytes()[..1000] != pattern(seed, 1000) {
            return Err("an object came back from disk with other bytes".into());
        }
    }
    Ok(())
}

/// Messages through a channel of this process's own, and through the tester's, which goes on with it afterwards.
pub(crate) fn channel(stage: &Stage) -> Fallible {
    let spec = ChannelSpec {
        slots: 2,
        slot_bytes: 1000,
        readers: 1,
    };
    let given = stage.given.take().pop().ok_or("no channel was given")?;
    for channel in [Channel::create(stage.session.store(), spec)?, Channel::open(given)?] {
        // The first seat is kept for this reader; the second is anybody's.
        let (mut reader, late) = (channel.reader()?, channel.reader()?);
        drop(late);
        let mut writer = channel.writer()?;
        for seed in 0..5 {
            writer.write(&pattern(seed, 500), Some(PATIENCE), &mut never)?;
            if reader.read(Some(PATIENCE), &mut never)?.bytes() != pattern(seed, 500) {
                return Err("another message arrived than was sent".into());
            }
        }
        writer.close();
        match reader.read(Some(PATIENCE), &mut never) {
            Err(error) if error.kind() == ErrorKind::ChannelClosed => {}
            other => return Err(format!("a closed channel gives {other:?}").into()),
        }
    }
    Ok(())
}
