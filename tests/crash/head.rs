//! The role of the process that opened the session, and what its end means for one that attached: nothing new is taken, what is
//! seen stays readable, and nothing is left, neither a process nor a file.

use std::io::{BufRead, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::Duration;

use park_core::sys::failpoint;
use park_core::{ErrorKind, ObjectRef, ParticipantId, Session};

use crate::check::{Books, at_rest, until};
use crate::child::{Child, PATIENCE};
use crate::operations::{Role, Stage, named};
use crate::scene::Scene;
use crate::scripts;
use crate::work::{pattern, submit_task};
use crate::{Fallible, Outcome};

/// In the process that is the head: opens a session, says where, and when told does a bit of everything.
pub(crate) fn main(folder: &str) -> Fallible {
    let mut scene = Scene::open_in(Path::new(folder))?;
    at_rest(&scene)?;
    let store = scene.session.store().clone();
    let seen = store.put(&pattern(1, 50_000))?;
    let open = store.promise(ParticipantId::DRIVER)?;
    scene.rest = Books::of(&scene.session);
    println!("head {} {} {}", scene.session.address(), seen.id(), open.id());
    std::io::stdout().flush()?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    match line.split_whitespace().collect::<Vec<_>>().as_slice() {
        ["kill", point] => failpoint::arm(point, 0),
        _ => drop(failpoint::trace()),
    }
    play(&mut scene)?;
    println!("passed {}", failpoint::trace().join(" "));
    Ok(())
}

/// A few cases in a row, each with what it leaves to the head to clear up.
fn play(scene: &mut Scene) -> Fallible {
    let deaths = [
        ("put", Role::Peer, Some(("object.create.placed", 0))),
        ("put", Role::Peer, Some(("reference.change.counted", 1))),
        ("free", Role::Peer, Some(("object.free.unnested", 0))),
        ("fulfil", Role::Peer, None),
        ("call", Role::Peer, Some(("ring.push.published", 0))),
        ("submit", Role::Peer, None),
        ("read", Role::Call, Some(("ring.finish.counted", 0))),
        ("create", Role::Task, Some(("object.create.described", 0))),
    ];
    for (name, role, arm) in deaths {
        scene.case(named(name)?, role, arm)?;
    }
    // More tasks than CPUs: they are sent ahead, and taken back as the first one blocks.
    let function = scene.function.id();
    let names = ["block", "nothing", "nothing"];
    let tasks = names.map(|name| submit_task(&scene.session, function, name, &[], 0));
    for task in tasks {
        scene.session.store().get(&task?, Some(PATIENCE))?;
    }
    let stage = Stage {
        session: scene.session.clone(),
        given: Vec::new().into(),
        function,
        tell: |_| {},
    };
    scripts::overflow(&stage)?;
    scripts::trim(&stage)?;
    drop(stage);
    scene.round()?;
    scene.session.close();
    Ok(())
}

/// In the tester: one head, killed at its first pass of a fail point or left to its end.
pub(crate) fn case(folder: &Path, point: Option<&str>) -> Fallible<Outcome> {
    let mut head = Child::start(&["role:head", &folder.to_string_lossy()])?;
    let told = head.expect("head")?;
    let [address, seen, open] = told.split_whitespace().collect::<Vec<_>>()[..] else {
        return Err(format!("a head said {told:?}").into());
    };
    let session = Session::attach(address)?;
    let zygote = session.head_stats(&mut park_core::store::never)?.zygote_pid;
    let store = session.store();
    let (seen, open) = (store.resolve(seen.parse()?)?, store.resolve(open.parse()?)?);
    head.say(&point.map_or_else(|| "watch".to_owned(), |point| format!("kill {point}")));
    let mut passed = Vec::new();
    while let Some(line) = head.hear()? {
        passed = line
            .strip_prefix("passed")
            .unwrap_or(&line)
            .split_whitespace()
            .map(str::to_owned)
            .collect();
    }
    let status = head.end()?;
    let outcome = match point {
        Some(_) if status.signal() == Some(9) => Outcome::Killed,
        _ if status.success() => Outcome::Passed(passed),
        _ => return Err(format!("the head ended with {status}").into()),
    };
    in_time("the attached process goes on", move || look(&session, &seen, &open))?;
    let zygote = zygote.to_string();
    until("no process of the session is left", || {
        Ok(!processes_of(address, &zygote))
    })?;
    match Session::attach(address) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(outcome),
        other => Err(format!("attaching to a dead session: {other:?}").into()),
    }
}

/// What one who attached finds once the head is gone.
fn look(session: &Session, seen: &ObjectRef, open: &ObjectRef) -> Fallible {
    // A put asks for the head's life once a tick of the system's clock.
    std::thread::sleep(Duration::from_millis(20));
    if seen.open()?.bytes() != pattern(1, 50_000) {
        return Err("what was seen has changed".into());
    }
    // Whether the head lives is asked once a tick, so the first puts may still be taken.
    until("a put is refused", || match session.store().put(&[1; 3000]) {
        Ok(_) => Ok(false),
        Err(error) if error.kind() == ErrorKind::SessionClosed => Ok(true),
        Err(error) => Err(error.into()),
    })?;
    match session.store().get(open, Some(PATIENCE)) {
        Err(error) if error.kind() == ErrorKind::SessionClosed => {}
        other => return Err(format!("a get gives {other:?}").into()),
    }
    Ok(())
}

/// Runs `look` on a thread of its own, which may hang; what it borrowed is dropped there too.
fn in_time(what: &str, look: impl FnOnce() -> Fallible + Send + 'static) -> Fallible {
    let (send, done) = std::sync::mpsc::channel();
    std::thread::Builder::new().name("look".into()).spawn(move || {
        // The other end waits, or has given up.
        let _ = send.send(look());
    })?;
    match done.recv_timeout(PATIENCE + Duration::from_secs(5)) {
        Ok(result) => result,
        Err(_) => Err(format!("waited in vain until {what}").into()),
    }
}

/// Whether any process was started for the session at `address`, whose zygote is `zygote`, and still runs.
fn processes_of(address: &str, zygote: &str) -> bool {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter(|entry| {
            entry
                .file_name()
                .to_string_lossy()
                .bytes()
                .all(|byte| byte.is_ascii_digit())
        })
        .any(|entry| {
            let line = std::fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
            let words: Vec<&str> = line.split('\0').collect();
            match words.as_slice() {
                [_, "role:zygote", ..] => entry.file_name().to_string_lossy() == zygote,
                [_, "role:worker", _, _, parent, ..] => *parent == zygote,
                [_, role, at, ..] => role.starts_with("role:") && *at == address,
                _ => false,
            }
        })
}

/// A session whose head is killed cannot remove what it has on disk. The next one that spills does.
pub(crate) fn sweep(folder: &Path) -> Fallible {
    let directories = || -> Fallible<usize> {
        let entries = std::fs::read_dir(folder)?.flatten();
        Ok(entries.filter(|entry| entry.path().is_dir()).count())
    };
    let left = directories()?;
    let scene = Scene::open_in(folder)?;
    let stage = Stage {
        session: scene.session.clone(),
        given: Vec::new().into(),
        function: scene.function.id(),
        tell: |_| {},
    };
    scripts::overflow(&stage)?;
    let now = directories()?;
    scene.session.close();
    let last = directories()?;
    if now != 1 || last != 0 {
        return Err(format!(
            "{left} directories were left by heads, {now} while the next session spills, {last} after it"
        )
        .into());
    }
    Ok(())
}
