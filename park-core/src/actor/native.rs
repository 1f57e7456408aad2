//! Native actors: a Rust, C or C++ value that lives on a thread of its own and is called through a mailbox.
//!
//! * Calls through one handle run in the order in which they were made, also when the arguments of an early one are not sealed
//!   yet. A clone of a handle is a caller of its own: its calls may pass those of another caller that wait for arguments, else a
//!   task that produces such an argument could never call the same actor.
//! * The value is touched by its thread only, so it needs no lock and no `Sync`.
//! * A panic ends the actor: that call and every later one fail with `ActorDied`. An error does not.
//! * The thread ends when the last handle is gone and what was asked before is done. A call that waits for arguments counts as
//!   asked: its wake-up holds a sender of the mailbox.

use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crossbeam::channel::{Receiver, Sender, unbounded};

use crate::error::{Error, ErrorKind, Result};
use crate::sched::native::{NativeCall, NativePool, Readiness, Returns, check_arguments, check_name, execute};
use crate::store::{ObjectRef, Store};
use crate::sync::atomic::{AtomicU64, Ordering};

/// What a native actor does when it is called.
pub trait NativeActor: Send {
    /// One call. The actor's thread makes all of them, one after another.
    fn call(&mut self, method: &str, call: &mut NativeCall<'_>) -> Result<()>;
}

struct Request {
    method: String,
    args: Vec<ObjectRef>,
    returns: Returns,
    /// Where to tell that the arguments are sealed; `None` if they were when the call was made. Keeps the actor's thread.
    notify: Option<Sender<Message>>,
}

enum Message {
    Call {
        caller: u64,
        request: Request,
    },
    /// The arguments of the caller's first waiting call are sealed, or are not awaited any longer.
    Ready {
        caller: u64,
        outcome: Result<()>,
    },
}

/// What every handle of one actor shares.
struct Shared {
    name: String,
    store: Arc<Store>,
    readiness: Arc<Readiness>,
    callers: AtomicU64,
}

/// Calls one native actor. A clone is a caller of its own; the actor ends when the last handle is dropped.
pub struct NativeActorHandle {
    shared: Arc<Shared>,
    caller: u64,
    mailbox: Sender<Message>,
}

impl Clone for NativeActorHandle {
    fn clone(&self) -> Self {
        let caller = self.shared.callers.fetch_add(1, Ordering::Relaxed);
        Self {
            shared: self.shared.clone(),
            caller,
            mailbox: self.mailbox.clone(),
        }
    }
}

impl fmt::Debug for NativeActorHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NativeActorHandle({}, caller {})", self.shared.name, self.caller)
    }
}

impl NativeActorHandle {
    /// Starts an actor on a thread of its own. The name is for messages; several actors may have the same.
    pub fn spawn(pool: &NativePool, name: &str, actor: Box<dyn NativeActor>) -> Result<Self> {
        pool.check_open()?;
        check_name("native actor", name)?;
        let (mailbox, inbox) = unbounded();
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            store: pool.store().clone(),
            readiness: pool.readiness().clone(),
            callers: AtomicU64::new(1),
        });
        let thread = Thread {
            shared: shared.clone(),
            actor: Some(actor),
            died: None,
            waiting: HashMap::new(),
        };
        // The system cuts a thread's name at 15 bytes; the start of the actor's name says most.
        std::thread::Builder::new()
            .name(format!("park-actor-{name}"))
            .spawn(move || thread.run(&inbox))?;
        Ok(Self {
            shared,
            caller: 0,
            mailbox,
        })
    }

    /// Calls a method, in this caller's order.
    pub fn call(&self, method: &str, args: &[ObjectRef], num_returns: usize) -> Result<Vec<ObjectRef>> {
        self.shared.store.check_open()?;
        check_name("method", method)?;
        let what = format!("method `{method}` of actor `{}`", self.shared.name);
        check_arguments(&self.shared.store, &what, args)?;
        let (references, returns) = Returns::promise(&self.shared.store, &what, num_returns)?;
        let notify = (!args.iter().all(ObjectRef::is_sealed)).then(|| self.mailbox.clone());
        let request = Request {
            method: method.to_owned(),
            args: args.to_vec(),
            returns,
            notify,
        };
        match self.mailbox.send(Message::Call {
            caller: self.caller,
            request,
        }) {
            Ok(()) => Ok(references),
            // The thread runs as long as a sender exists, and we are one.
            Err(_) => Err(Error::new(
                ErrorKind::Internal,
                format!("the thread of {what} has ended early"),
            )),
        }
    }

    /// The name it was started with.
    pub fn name(&self) -> &str {
        &self.shared.name
    }
}

/// The actor's own thread.
struct Thread {
    shared: Arc<Shared>,
    /// Gone once it has panicked.
    actor: Option<Box<dyn NativeActor>>,
    died: Option<Error>,
    /// Callers whose first call waits for its arguments: that call, and those made after it.
    waiting: HashMap<u64, VecDeque<Request>>,
}

impl Thread {
    fn run(mut self, inbox: &Receiver<Message>) {
        while let Ok(message) = inbox.recv() {
            match message {
                Message::Call { caller, request } => {
                    self.waiting.entry(caller).or_default().push_back(request);
                    if self.waiting.get(&caller).is_some_and(|queue| queue.len() == 1) {
                        self.advance(caller);
                    }
                }
                Message::Ready { caller, outcome } => self.awake(caller, outcome),
            }
        }
        self.end();
    }

    /// Runs the caller's calls up to the first that has to wait. No wake-up is under way for this caller.
    fn advance(&mut self, caller: u64) {
        while let Some(request) = self.waiting.get_mut(&caller).and_then(VecDeque::pop_front) {
            let Some(notify) = request
                .notify
                .as_ref()
                .filter(|_| !request.args.iter().all(ObjectRef::is_sealed))
            else {
                self.perform(request);
                continue;
            };
            let notify = notify.clone();
            let args = request.args.clone();
            if let Some(queue) = self.waiting.get_mut(&caller) {
                queue.push_front(request);
            }
            // The thread still runs when this is sent: the waiting request holds a sender.
            let then = move |outcome| drop(notify.send(Message::Ready { caller, outcome }));
            return self.shared.readiness.clone().when_ready(&args, Box::new(then));
        }
        self.waiting.remove(&caller);
    }

    fn awake(&mut self, caller: u64, outcome: Result<()>) {
        if let Some(request) = self.waiting.get_mut(&caller).and_then(VecDeque::pop_front) {
            match outcome {
                Ok(()) => self.perform(request),
                Err(error) => request.returns.fail(&error),
            }
        }
        self.advance(caller);
    }

    fn perform(&mut self, request: Request) {
        let Request {
            method, args, returns, ..
        } = request;
        let name = &self.shared.name;
        let Some(actor) = self.actor.as_mut() else {
            let gone = || Error::new(ErrorKind::ActorDied, format!("actor `{name}` is dead"));
            return returns.fail(&self.died.clone().unwrap_or_else(gone));
        };
        let died = |text: &str| {
            Error::new(
                ErrorKind::ActorDied,
                format!("actor `{name}` died: it panicked in method `{method}`: {text}"),
            )
        };
        // The first failure is what later callers are told, too.
        if let Err(text) = execute(&args, returns, |call| actor.call(&method, call), died) {
            self.died = Some(died(&text));
            self.end();
        }
    }

    /// Drops the value, whose destructor is its author's code and may panic.
    fn end(&mut self) {
        let actor = self.actor.take();
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(actor)));
        // The panic hook has reported it, and nobody waits for a destructor.
        drop::<Result<(), Box<dyn Any + Send>>>(dropped);
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
