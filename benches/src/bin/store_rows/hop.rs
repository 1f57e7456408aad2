//! Handing 64 bytes to another process and back: over a pipe, over two channels, and by objects that one side seals while the other
//! waits for them.

use std::sync::Arc;
use std::time::Instant;

use park_bench::bytes::stamped;
use park_bench::child::{Child, answer};
use park_bench::measure::{Case, Peer, Result};
use park_core::channel::{Channel, ChannelSpec};
use park_core::store::never;
use park_core::{ObjectId, ObjectRef, ParticipantId, Session, Spec, Store};

pub(crate) const MESSAGE: usize = 64;
/// Round trips a sample; each is two hops.
const TRIPS: u64 = 500;

pub(crate) fn rows(peer: &mut Peer, session: &Session) -> Result<()> {
    peer.row("hop over a pipe", pipe)?;
    peer.row("hop over a park channel", || channels(session))?;
    peer.row("hop over park objects", || objects(session))
}

fn pipe<'a>() -> Result<Case<'a>> {
    let mut child = Child::start(&["pipe"])?;
    Ok(Case::reported(2.0 * TRIPS as f64, move || {
        let messages: Vec<Vec<u8>> = (0..TRIPS).map(|number| stamped(MESSAGE, number)).collect();
        let mut replies = vec![vec![0; MESSAGE]; messages.len()];
        let begin = Instant::now();
        for (message, reply) in messages.iter().zip(&mut replies) {
            child.send(message)?;
            child.receive(reply)?;
        }
        let seconds = begin.elapsed().as_secs_f64();
        Ok((replies == messages).then_some(seconds))
    }))
}

fn channels(session: &Session) -> Result<Case<'_>> {
    let spec = ChannelSpec {
        slots: 4,
        slot_bytes: MESSAGE as u64,
        readers: 1,
    };
    let (there, back) = (
        Channel::create(session.store(), spec)?,
        Channel::create(session.store(), spec)?,
    );
    let ids = [&there, &back].map(|channel| channel.reference().id().to_string());
    let (mut out, mut into) = (there.writer()?, back.reader()?);
    let mut child = Child::start(&["channel", session.address(), &ids[0], &ids[1]])?;
    Ok(Case::reported(2.0 * TRIPS as f64, move || {
        let messages: Vec<Vec<u8>> = (0..TRIPS).map(|number| stamped(MESSAGE, number)).collect();
        let mut replies = vec![vec![0; MESSAGE]; messages.len()];
        child.tell("go")?;
        let begin = Instant::now();
        for (message, reply) in messages.iter().zip(&mut replies) {
            out.write(message, None, &mut never)?;
            reply.copy_from_slice(into.read(None, &mut never)?.bytes());
        }
        let seconds = begin.elapsed().as_secs_f64();
        Ok((child.hear()? == "done" && replies == messages).then_some(seconds))
    }))
}

/// Told to go, it sends each message of `there` back.
pub(crate) fn channel_child(store: &Arc<Store>, there: &str, back: &str) -> Result<()> {
    let open = |id: &str| -> Result<Channel> { Ok(Channel::open(store.resolve(id.parse()?)?)?) };
    let (mut into, mut out) = (open(there)?.reader()?, open(back)?.writer()?);
    answer(|_| {
        for _ in 0..TRIPS {
            let message = into.read(None, &mut never)?;
            out.write(message.bytes(), None, &mut never)?;
        }
        Ok("done".to_owned())
    })
}

/// The objects of all trips are promised beforehand, and both sides hold references to them: what is timed is writing, sealing,
/// waking and reading.
fn objects(session: &Session) -> Result<Case<'_>> {
    let store = session.store();
    let mut child = Child::start(&["hop", session.address()])?;
    let other = ParticipantId(child.ask("who")?.parse()?);
    Ok(Case::reported(2.0 * TRIPS as f64, move || {
        let promise = |producer| {
            (0..TRIPS)
                .map(|_| store.promise(producer))
                .collect::<park_core::Result<Vec<_>>>()
        };
        let (there, back) = (promise(store.me())?, promise(other)?);
        let ids: Vec<String> = there
            .iter()
            .chain(&back)
            .map(|object| object.id().to_string())
            .collect();
        if child.ask(&ids.join(" "))? != "holding" {
            return Err("the child does not hold the objects".into());
        }
        child.tell("go")?;
        let begin = Instant::now();
        for (number, (request, reply)) in (0..).zip(there.iter().zip(&back)) {
            fulfil(store, request.id(), &stamped(MESSAGE, number))?;
            store.get(reply, None)?;
        }
        let seconds = begin.elapsed().as_secs_f64();
        let mut right = child.hear()? == "done";
        for (number, object) in (0..).zip(&back) {
            right &= store.get(object, None)?.bytes() == stamped(MESSAGE, number);
        }
        // A promise owns a hold for the message that would have carried it to its producer; here there was none.
        for object in there.iter().chain(&back) {
            store.drop_hold(object.id());
        }
        Ok(right.then_some(seconds))
    }))
}

fn fulfil(store: &Arc<Store>, id: ObjectId, bytes: &[u8]) -> Result<()> {
    let spec = Spec::raw(bytes.len() as u64);
    let mut object = store
        .fulfil(id, spec, &mut never)?
        .ok_or("somebody else fulfilled the promise")?;
    object.write(0, bytes)?;
    object.seal()?;
    Ok(())
}

/// Told the ids of all requests and then of all replies, it takes references; told to go, it answers each request with its own bytes.
pub(crate) fn child(store: &Arc<Store>) -> Result<()> {
    let mut held: Vec<ObjectRef> = Vec::new();
    answer(|line| match line {
        "who" => Ok(store.me().0.to_string()),
        "go" => {
            let (there, back) = held.split_at(held.len() / 2);
            for (request, reply) in there.iter().zip(back) {
                let object = store.get(request, None)?;
                fulfil(store, reply.id(), object.bytes())?;
            }
            held.clear();
            Ok("done".to_owned())
        }
        ids => {
            for id in ids.split(' ') {
                held.push(store.resolve(id.parse()?)?);
            }
            Ok("holding".to_owned())
        }
    })
}
