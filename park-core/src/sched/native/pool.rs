//! `NativePool`: named functions, and the threads that run them.
//!
//! A submitted call goes into the shared queue; a thread takes a small batch into its own deque, from which the others steal. A
//! thread that took more than it can run at once wakes another, because between the shared queue and the deque a call is in
//! neither, so a thread that looked just then may have gone to sleep. A call whose arguments are missing waits in `ready`.
//!
//! A function may submit further calls. It should take what it needs as arguments rather than block on their results: each
//! blocked function occupies a thread, and when all are blocked on calls that have not begun, nothing moves.
//!
//! Shutdown, in this order: `closing` is set; every call that has not begun is dropped, which fails its returns with
//! `SessionClosed` and so releases functions blocked on them; threads finish what they run, and are joined; the functions are
//! dropped. A submission that races with it looks at `closing` after it has queued its call and empties the queue itself. Close
//! the store first if functions may be blocked in it on objects that come from elsewhere.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam::deque::{Injector, Steal, Stealer, Worker};
use parking_lot::{Mutex, RwLock};

use super::call::{NativeCall, Returns, check_arguments, execute};
use super::idle::Idle;
use super::ready::Readiness;
use crate::error::{Error, ErrorKind, Result, bail};
use crate::store::{ObjectRef, Store};
use crate::sync::atomic::{AtomicBool, Ordering, fence};

/// Longest name of a function or an actor, in bytes.
pub(crate) const MAX_NAME: usize = 255;

type Function = Arc<dyn Fn(&mut NativeCall<'_>) -> Result<()> + Send + Sync>;

struct Task {
    function: Function,
    args: Vec<ObjectRef>,
    returns: Returns,
}

impl Task {
    fn run(self) {
        let Self {
            function,
            args,
            returns,
        } = self;
        let what = returns.what().to_owned();
        let panicked = |text: &str| Error::new(ErrorKind::TaskFailed, format!("{what} panicked: {text}"));
        // The panic's text went into the returns; the thread goes on.
        let _ = execute(&args, returns, |call| function(call), panicked);
    }
}

struct Shared {
    store: Arc<Store>,
    functions: RwLock<HashMap<String, Function>>,
    queue: Injector<Task>,
    stealers: Vec<Stealer<Task>>,
    idle: Idle,
    readiness: Arc<Readiness>,
    closing: AtomicBool,
}

/// See the module's documentation.
pub struct NativePool {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl fmt::Debug for NativePool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NativePool")
            .field("threads", &self.shared.stealers.len())
            .finish_non_exhaustive()
    }
}

impl NativePool {
    /// Starts a pool of `threads` threads over a store.
    pub fn start(store: &Arc<Store>, threads: usize) -> Result<Self> {
        store.check_open()?;
        let locals: Vec<Worker<Task>> = (0..threads.max(1)).map(|_| Worker::new_fifo()).collect();
        let shared = Arc::new(Shared {
            store: store.clone(),
            functions: RwLock::default(),
            queue: Injector::new(),
            stealers: locals.iter().map(Worker::stealer).collect(),
            idle: Idle::new(),
            readiness: Readiness::new(store),
            closing: AtomicBool::new(false),
        });
        // Dropped on an early return, which ends the threads that were started.
        let pool = Self {
            shared,
            threads: Mutex::default(),
        };
        for (index, local) in locals.into_iter().enumerate() {
            let shared = pool.shared.clone();
            let builder = std::thread::Builder::new().name(format!("park-native-{index}"));
            pool.threads
                .lock()
                .push(builder.spawn(move || shared.work(&local, index))?);
        }
        Ok(pool)
    }

    /// Gives a function a name. A name can be given once.
    pub fn register<F>(&self, name: &str, function: F) -> Result<()>
    where
        F: Fn(&mut NativeCall<'_>) -> Result<()> + Send + Sync + 'static,
    {
        self.check_open()?;
        check_name("native task", name)?;
        match self.shared.functions.write().entry(name.to_owned()) {
            Entry::Occupied(_) => bail!(AlreadyExists, "a native task called `{name}` is registered already"),
            Entry::Vacant(entry) => entry.insert(Arc::new(function)),
        };
        Ok(())
    }

    /// Calls a function, once its arguments are sealed, on one of the pool's threads. The returns can be awaited, passed on or
    /// dropped at once; an argument that is an error makes all of them that error.
    pub fn submit(&self, name: &str, args: &[ObjectRef], num_returns: usize) -> Result<Vec<ObjectRef>> {
        self.check_open()?;
        let Some(function) = self.shared.functions.read().get(name).cloned() else {
            bail!(NotFound, "no native task called `{name}` is registered");
        };
        let what = format!("task `{name}`");
        check_arguments(&self.shared.store, &what, args)?;
        let (references, returns) = Returns::promise(&self.shared.store, &what, num_returns)?;
        let task = Task {
            function,
            args: args.to_vec(),
            returns,
        };
        let shared = self.shared.clone();
        self.shared.readiness.when_ready(
            args,
            Box::new(move |ready| match ready {
                Ok(()) => shared.push(task),
                Err(error) => task.returns.fail(&error),
            }),
        );
        Ok(references)
    }

    /// How many threads run functions.
    pub fn threads(&self) -> usize {
        self.shared.stealers.len()
    }

    /// What waits for objects on behalf of this process, for actors to use too.
    pub(crate) fn readiness(&self) -> &Arc<Readiness> {
        &self.shared.readiness
    }

    /// The store it works over.
    pub fn store(&self) -> &Arc<Store> {
        &self.shared.store
    }

    pub(crate) fn check_open(&self) -> Result<()> {
        self.shared.store.check_open()?;
        if self.shared.closing.load(Ordering::Relaxed) {
            bail!(SessionClosed, "the native pool of this session was shut down");
        }
        Ok(())
    }

    /// Ends the pool; see the module's documentation for the order. May be called from one of its own functions, which then
    /// finishes after the call. Later calls do nothing.
    pub fn shutdown(&self) {
        let shared = &self.shared;
        // In a forked child the threads do not exist, and the locks may be held by threads that do not exist either.
        if shared.store.is_forked() || shared.closing.swap(true, Ordering::AcqRel) {
            return;
        }
        fence(Ordering::SeqCst);
        shared.idle.wake_all();
        shared.readiness.close();
        shared.drop_queued();
        let threads = std::mem::take(&mut *self.threads.lock());
        for thread in threads {
            if thread.thread().id() != std::thread::current().id() {
                // Functions' panics are caught; what is left was reported by the panic hook.
                let _ = thread.join();
            }
        }
        // Outside the lock: dropping a function runs its owner's code, which may come back here.
        let functions = std::mem::take(&mut *shared.functions.write());
        drop(functions);
    }
}

impl Drop for NativePool {
    fn drop(&mut self) {
        self.shutdown();
    }
}

impl Shared {
    fn push(&self, task: Task) {
        self.queue.push(task);
        fence(Ordering::SeqCst);
        if self.closing.load(Ordering::Acquire) {
            self.drop_queued();
        } else {
            self.idle.wake_one();
        }
    }

    fn work(&self, local: &Worker<Task>, index: usize) {
        while !self.closing.load(Ordering::Acquire) {
            match self.find(local, index) {
                // Taken, but not begun, before the pool closed: dropping it fails it.
                Some(task) if self.closing.load(Ordering::Acquire) => drop(task),
                Some(task) => {
                    if !local.is_empty() {
                        self.idle.wake_one();
                    }
                    task.run();
                }
                None => self
                    .idle
                    .sleep_unless(|| self.closing.load(Ordering::Acquire) || self.has_work()),
            }
        }
        while local.pop().is_some() {}
    }

    fn find(&self, local: &Worker<Task>, index: usize) -> Option<Task> {
        if let Some(task) = local.pop() {
            return Some(task);
        }
        loop {
            let others = self
                .stealers
                .iter()
                .cycle()
                .skip(index + 1)
                .take(self.stealers.len() - 1);
            let stolen: Steal<Task> = std::iter::once(self.queue.steal_batch_and_pop(local))
                .chain(others.map(Stealer::steal))
                .collect();
            match stolen {
                Steal::Success(task) => return Some(task),
                Steal::Empty => return None,
                Steal::Retry => {}
            }
        }
    }

    fn has_work(&self) -> bool {
        !self.queue.is_empty() || self.stealers.iter().any(|stealer| !stealer.is_empty())
    }

    /// Drops every call that has not begun, also those in the deques of threads that are busy now.
    fn drop_queued(&self) {
        loop {
            let deques = self.stealers.iter().map(Stealer::steal);
            match std::iter::once(self.queue.steal())
                .chain(deques)
                .collect::<Steal<Task>>()
            {
                Steal::Success(task) => drop(task),
                Steal::Empty => return,
                Steal::Retry => {}
            }
        }
    }
}

/// Names of functions, actors and methods: 1 to 255 bytes without NUL.
pub(crate) fn check_name(what: &str, name: &str) -> Result<()> {
    if name.is_empty() || name.len() > MAX_NAME || name.contains('\0') {
        bail!(
            InvalidArgument,
            "the name of a {what} has 1 to {MAX_NAME} bytes and no NUL, got {} bytes",
            name.len()
        );
    }
    Ok(())
}
