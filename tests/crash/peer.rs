//! The role of a process that attached by itself: one that performs an operation and dies in it, and one that lives through all.
//!
//! ```text
//! peer -> tester   me N             its participant number
//! tester -> peer   given IDS        what it works on; the peer takes references
//! peer -> tester   held
//! tester -> peer   act              here it is armed
//! peer -> tester   told ID          a result that others wait for
//!                  passed NAMES     all went well
//! ```

use std::io::{BufRead, Write};
use std::sync::Arc;

use park_core::sys::failpoint;
use park_core::{ObjectId, ObjectRef, Session, Store};

use crate::Fallible;
use crate::operations::{Stage, named};
use crate::work::{call_actor, holding, pattern};

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // Nobody listens any more: the tester has seen enough.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn hear(word: &str) -> Fallible<String> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    let rest = line.trim_end().strip_prefix(word);
    Ok(rest
        .ok_or_else(|| format!("expected {word:?}, heard {line:?}"))?
        .trim()
        .to_owned())
}

/// `ADDRESS OPERATION FUNCTION kill|stop|watch POINT PASSES`.
pub(crate) fn main(arguments: &[&str], read_only: bool) -> Fallible {
    let [address, operation, function, how, point, passes] = arguments else {
        return Err("a peer gets six arguments".into());
    };
    let operation = named(operation)?;
    let session = if read_only {
        Session::attach_read_only(address)?
    } else {
        Session::attach(address)?
    };
    say(&format!("me {}", session.store().me().0));
    let ids = hear("given")?;
    let given = ids
        .split_whitespace()
        .map(|id| Ok(session.store().resolve(id.parse()?)?))
        .collect::<Fallible<Vec<ObjectRef>>>()?;
    say("held");
    hear("act")?;
    let stage = Stage {
        session,
        given: given.into(),
        function: function.parse()?,
        tell: |id| say(&format!("told {id}")),
    };
    match *how {
        "kill" => failpoint::arm(point, passes.parse()?),
        "stop" => failpoint::stop_at(point, passes.parse()?),
        _ => drop(failpoint::trace()),
    }
    (operation.act)(&stage)?;
    say(&format!("passed {}", failpoint::trace().join(" ")));
    Ok(())
}

/// Attaches, and does a round of everything for each line it hears.
pub(crate) fn survive(address: &str) -> Fallible {
    let session = Session::attach(address)?;
    say("ready");
    for line in std::io::stdin().lock().lines() {
        match line?.split_once(' ') {
            Some(("round", actor)) => match round(&session, actor.parse()?) {
                Ok(()) => say("ok"),
                Err(error) => say(&format!("failed: {error}")),
            },
            _ => return Ok(()),
        }
    }
    Ok(())
}

/// What every process of a session can do at any time.
pub(crate) fn round(session: &Session, actor: ObjectId) -> Fallible {
    let store: &Arc<Store> = session.store();
    let (small, large) = (store.put(&pattern(9, 20))?, store.put(&pattern(8, 100_000))?);
    let both = holding(store, 1000, &[small.id(), large.id()])?;
    let id = large.id();
    drop((small, large));
    if store.resolve(id)?.open()?.bytes() != pattern(8, 100_000) || both.open()?.bytes() != pattern(7, 1000) {
        return Err("an object has other bytes than were put".into());
    }
    let result = call_actor(session, actor, "nothing", &[both.id()])?;
    drop(both);
    store.get(&result, Some(crate::child::PATIENCE))?;
    Ok(())
}
