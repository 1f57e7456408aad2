//! What must be true after a death.

use std::time::{Duration, Instant};

use park_core::channel::Channel;
use park_core::store::never;
use park_core::{ErrorKind, ObjectRef, Session};

use crate::Fallible;
use crate::child::PATIENCE;
use crate::scene::Scene;
use crate::work::pattern;
use crate::worker;

/// What a session holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Books {
    objects: u64,
    promised: u64,
    used: u64,
}

impl Books {
    /// Of a scene between two cases: a function, a class and the handle of an actor, none of which needs memory of the arena.
    pub(crate) const AT_REST: Self = Self {
        objects: 3,
        promised: 0,
        used: 0,
    };

    pub(crate) fn of(session: &Session) -> Self {
        let stats = session.store().stats();
        Self {
            objects: stats.objects,
            promised: stats.promised,
            used: stats.used,
        }
    }
}

/// Looks again until `is_so`, which `what` says.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> Fallible<bool>) -> Fallible {
    let deadline = Instant::now() + PATIENCE;
    while !is_so()? {
        if Instant::now() > deadline {
            return Err(format!("waited in vain until {what}").into());
        }
        std::thread::sleep(Duration::from_micros(300));
    }
    Ok(())
}

/// Everything that was promised is there, or was raised for a reason that a death explains.
pub(crate) fn settled(session: &Session, awaited: &[ObjectRef]) -> Fallible {
    use ErrorKind::{ActorDied, ActorUnavailable, WorkerDied};
    for object in awaited {
        match session.store().get(object, Some(PATIENCE)) {
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ActorDied | ActorUnavailable | WorkerDied) => {}
            Err(error) => return Err(format!("a result is raised as {}: {error}", error.kind().name()).into()),
        }
    }
    Ok(())
}

/// Nothing is held but what is held between two cases.
pub(crate) fn at_rest(scene: &Scene) -> Fallible {
    let mut now = scene.rest;
    until("the memory is back", || {
        now = Books::of(&scene.session);
        Ok(now == scene.rest)
    })
    .map_err(|error| format!("{error}: {now:?} instead of {:?}", scene.rest).into())
}

/// The survivors go on, the memory is back, and the audit holds.
pub(crate) fn after(scene: &mut Scene) -> Fallible {
    scene.round()?;
    let back = at_rest(scene);
    let audit = scene.session.audit(Duration::from_secs(3));
    if !audit.complaints.is_empty() {
        return Err(format!("the audit complains: {}", audit.complaints.join("; ")).into());
    }
    back?;
    let odd = scene.file(worker::ODD);
    if let Ok(text) = std::fs::read_to_string(&odd) {
        std::fs::remove_file(odd)?;
        return Err(text.into());
    }
    Ok(())
}

/// Whether a process is stopped by a signal.
pub(crate) fn is_stopped(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')')
        .next()
        .is_some_and(|rest| rest.trim_start().starts_with('T'))
}

/// Whoever had the writer's end or a seat of a channel is gone: others take over, and messages pass, unless the channel was closed.
pub(crate) fn channel_goes_on(reference: &ObjectRef) -> Fallible {
    let channel = Channel::open(reference.clone())?;
    // The tester sees its child's end a moment before the head does, and until then the end of the channel is still taken.
    let mut writer = None;
    until("the writer's end is free", || match channel.writer() {
        Ok(free) => {
            writer = Some(free);
            Ok(true)
        }
        Err(error) if error.kind() == ErrorKind::ChannelClosed => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error.into()),
    })?;
    let Some(mut writer) = writer else {
        return Ok(());
    };
    let mut reader = channel.reader()?;
    for seed in 0..5 {
        writer.write(&pattern(seed, 100), Some(PATIENCE), &mut never)?;
        if reader.read(Some(PATIENCE), &mut never)?.bytes() != pattern(seed, 100) {
            return Err("another message arrived than was sent".into());
        }
    }
    Ok(())
}
