//! Opening, attaching and closing the process's session, and numbers about it.

use std::os::fd::{FromRawFd, OwnedFd};
use std::time::Duration;

use park_core::proc::zygote::{ReadyZygote, ZygoteCommand};
use park_core::runtime::{MemoryWatch, WorkerSetup, WorkerSource};
use park_core::{Config, Session};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::gate::{self, OrRaise, block, current, replace};
use crate::member;
use crate::placement::node;
use crate::worker::Host;

/// One whole unit of a resource in the core's exact arithmetic.
const UNIT: f64 = 10_000.0;

/// A resource amount in units of 1/10,000; amounts below that granularity are refused by the option checks.
pub(crate) fn amount(value: f64) -> PyResult<u64> {
    if !(0.0..=1e14).contains(&value) {
        return Err(PyValueError::new_err(format!(
            "a resource amount must be between 0 and 1e14, got {value}"
        )));
    }
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be in range just above"
    )]
    Ok((value * UNIT).round() as u64)
}

fn open(session: Session) -> PyResult<()> {
    if let Some(other) = replace(Some(session)) {
        let session = replace(Some(other));
        drop(session);
        return Err(PyRuntimeError::new_err(
            "a park session is already open in this process",
        ));
    }
    Ok(())
}

/// How the object store is to be made: a dict with all of these. See `park_core::Config`.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct StoreOptions {
    capacity: u64,
    reserve: bool,
    prefault: bool,
    huge_pages: bool,
    spill_directory: Option<std::path::PathBuf>,
    spill_limit: Option<u64>,
}

impl StoreOptions {
    fn config(self) -> Config {
        let mut config = Config::default()
            .capacity(self.capacity)
            .reserve(self.reserve)
            .prefault(self.prefault)
            .huge_pages(self.huge_pages);
        if let Some(path) = self.spill_directory {
            config = config.spill_directory(path);
        }
        if let Some(bytes) = self.spill_limit {
            config = config.spill_limit(bytes);
        }
        config
    }
}

/// Opens a session with worker processes and returns its address. `ready` is a zygote that waits to be used (park.nursery): the socket
/// to it, its process and a pidfd of that, which are this call's from now on; so is `output`, a socket for what workers print.
/// `memory` is how often the use of memory is looked at, in milliseconds (0: never), above which share of it a worker is ended, and how
/// often a task is repeated that was (-1: without end).
#[pyfunction]
#[allow(unsafe_code, reason = "takes over descriptors by number")]
#[allow(
    clippy::too_many_arguments,
    reason = "called from one place, python/park/session.py, by position"
)]
pub(crate) fn init(
    py: Python<'_>,
    argv: Vec<String>,
    env: std::collections::HashMap<String, String>,
    hello: String,
    node_name: String,
    labels: std::collections::HashMap<String, String>,
    resources: std::collections::HashMap<String, f64>,
    prestart: usize,
    store: StoreOptions,
    ready: Option<(i32, u32, i32)>,
    output: Option<i32>,
    memory: (u64, f64, i32),
) -> PyResult<String> {
    forget_fork();
    // SAFETY: session.py made this descriptor for this call to own.
    let output = output.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
    let ready = ready.map(|(socket, pid, pidfd)| ReadyZygote {
        // SAFETY: session.py detached both descriptors from the objects that owned them, for this call to own.
        socket: unsafe { OwnedFd::from_raw_fd(socket) },
        pid,
        // SAFETY: as above.
        pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) },
    });
    let config = store.config();
    let setup = WorkerSetup {
        source: WorkerSource::Processes(ZygoteCommand {
            argv,
            env: env.into_iter().collect(),
            hello,
            ready,
            output,
        }),
        node: node(node_name, labels, resources)?,
        prestart,
        memory: MemoryWatch {
            period: Duration::from_millis(memory.0),
            threshold: memory.1,
            retries: memory.2,
        },
        warn: |text| eprintln!("{text}"),
    };
    open_with(py, &config, setup)
}

/// Opens a session whose workers are threads of this process and returns its address.
#[pyfunction]
pub(crate) fn init_threads(
    py: Python<'_>,
    node_name: String,
    labels: std::collections::HashMap<String, String>,
    resources: std::collections::HashMap<String, f64>,
    store: StoreOptions,
) -> PyResult<String> {
    forget_fork();
    let config = store.config();
    let setup = WorkerSetup {
        source: WorkerSource::Threads(Host::start()?),
        node: node(node_name, labels, resources)?,
        // A thread is there soon enough when it is asked for.
        prestart: 0,
        // Threads cannot be ended.
        memory: MemoryWatch::default(),
        warn: |text| eprintln!("{text}"),
    };
    open_with(py, &config, setup)
}

fn open_with(py: Python<'_>, config: &Config, setup: WorkerSetup) -> PyResult<String> {
    let session = py.detach(|| Session::open_with_workers(config, setup)).or_raise(py)?;
    let address = session.address().to_owned();
    open(session)?;
    Ok(address)
}

/// Joins the session at `address` from an unrelated process; `read_only` to look at objects and make none.
#[pyfunction]
pub(crate) fn attach(py: Python<'_>, address: &str, read_only: bool) -> PyResult<()> {
    forget_fork();
    let join = || {
        if read_only {
            Session::attach_read_only(address)
        } else {
            Session::attach(address)
        }
    };
    let session = py.detach(join).or_raise(py)?;
    open(session)
}

/// A child of `fork()` may open a session of its own; the inherited one is left to the parent.
fn forget_fork() {
    if current().is_some_and(|session| session.store().is_forked()) {
        drop(replace(None));
    }
}

/// Ends the process's session, if one is open.
#[pyfunction]
pub(crate) fn shutdown(py: Python<'_>) {
    if member::thread().is_some() {
        // The session is the driver's.
        return;
    }
    if let Some(session) = replace(None) {
        py.detach(|| {
            session.close();
            drop(session);
        });
    }
}

/// Whether a session is open in this process.
#[pyfunction]
pub(crate) fn is_initialized() -> bool {
    current().is_some_and(|session| session.store().check_open().is_ok())
}

/// "none", "head", "worker" or "peer".
#[pyfunction]
pub(crate) fn role() -> &'static str {
    match current() {
        None => "none",
        Some(session) if session.is_head() => "head",
        Some(session) if session.inbox().is_ok() => "worker",
        Some(_) => "peer",
    }
}

/// The session's tag; differs from session to session.
#[pyfunction]
pub(crate) fn session_id(py: Python<'_>) -> PyResult<u64> {
    Ok(gate::store(py)?.session())
}

/// What `attach` takes.
#[pyfunction]
pub(crate) fn session_address(py: Python<'_>) -> PyResult<String> {
    Ok(gate::session(py)?.address().to_owned())
}

/// Numbers about the object store, for the whole session.
#[pyfunction]
pub(crate) fn store_stats(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let stats = gate::store(py)?.stats();
    let dict = PyDict::new(py);
    for (name, value) in [
        ("capacity", stats.capacity),
        ("used", stats.used),
        ("cached", stats.cached),
        ("peak", stats.peak),
        ("largest_free", stats.largest_free),
        ("resident", stats.resident),
        ("objects", stats.objects),
        ("promised", stats.promised),
        ("spilled", stats.spilled),
        ("objects_spilled", stats.objects_spilled),
        ("objects_restored", stats.objects_restored),
        ("bytes_copied", stats.bytes_copied),
        ("bytes_shared", stats.bytes_shared),
    ] {
        dict.set_item(name, value)?;
    }
    Ok(dict)
}

/// Gives the memory of free parts of the store back to the system; returns how many bytes that were.
#[pyfunction]
pub(crate) fn trim(py: Python<'_>) -> PyResult<u64> {
    let store = gate::store(py)?;
    py.detach(|| store.trim()).or_raise(py)
}

/// Who holds the store's memory: by process, and the `most` largest objects.
#[pyfunction]
pub(crate) fn memory_report(py: Python<'_>, most: usize) -> PyResult<Bound<'_, PyDict>> {
    let store = gate::store(py)?;
    let report = py.detach(|| store.memory_report(most));
    let dict = PyDict::new(py);
    for (name, value) in [
        ("capacity", report.capacity),
        ("used", report.used),
        ("objects", report.objects),
        ("pinned", report.pinned),
        ("spilled", report.spilled),
        ("objects_spilled", report.spilled_objects),
        ("waiting", report.waiting as u64),
    ] {
        dict.set_item(name, value)?;
    }
    dict.set_item("trouble", report.trouble)?;
    let holders = report.holders.into_iter().map(|holder| {
        let row = PyDict::new(py);
        row.set_item("who", holder.party.name())?;
        row.set_item("pid", holder.pid)?;
        row.set_item("bytes", holder.bytes)?;
        row.set_item("objects", holder.objects)?;
        row.set_item("pinned", holder.pinned)?;
        row.set_item("spilled", holder.spilled)?;
        row.set_item("oldest_seconds", holder.oldest.as_secs())?;
        Ok(row)
    });
    dict.set_item("holders", holders.collect::<PyResult<Vec<_>>>()?)?;
    dict.set_item("largest", rows(py, report.largest)?)?;
    Ok(dict)
}

fn rows(py: Python<'_>, objects: Vec<park_core::store::ObjectRow>) -> PyResult<Vec<Bound<'_, PyDict>>> {
    let row = |object: park_core::store::ObjectRow| {
        let row = PyDict::new(py);
        row.set_item("id", object.id.to_string())?;
        row.set_item("bytes", object.bytes)?;
        row.set_item("phase", object.phase)?;
        row.set_item("references", object.refs)?;
        row.set_item("views", object.pins)?;
        row.set_item("age_seconds", object.age.as_secs())?;
        row.set_item("made_by", object.creator)?;
        Ok(row)
    };
    objects.into_iter().map(row).collect()
}

/// Every value of the store, and every promise of one: not the handles of actors, nor functions and classes.
#[pyfunction]
pub(crate) fn values(py: Python<'_>) -> PyResult<Vec<Bound<'_, PyDict>>> {
    let store = gate::store(py)?;
    rows(py, py.detach(|| store.values()))
}

/// An object's id, references of this process, those of messages under way, whether it is an actor's handle, whether it is still to be made.
type Counted<'py> = (Bound<'py, PyBytes>, u32, u32, bool, bool);

/// References to the objects that this process or a message refers to; in the head's process also for the tasks and actors it keeps.
#[pyfunction]
pub(crate) fn reference_counts(py: Python<'_>) -> PyResult<Vec<Counted<'_>>> {
    let store = gate::store(py)?;
    let rows = py.detach(|| store.reference_counts());
    let row = |row: park_core::store::CountRow| {
        let id = PyBytes::new(py, &row.id.to_bytes());
        (id, row.here, row.under_way, row.is_internal, row.is_promised)
    };
    Ok(rows.into_iter().map(row).collect())
}

/// Checks that slots, references, ledgers, journals, rings and the arena of the whole session add up. Returns what does not, after
/// looking again for `patience` seconds: what others do meanwhile can look wrong for a moment.
#[pyfunction]
pub(crate) fn audit(py: Python<'_>, patience: f64) -> PyResult<Vec<String>> {
    let session = gate::session(py)?;
    let patience = std::time::Duration::try_from_secs_f64(patience)
        .map_err(|_| PyValueError::new_err(format!("patience is a time in seconds, got {patience}")))?;
    Ok(py.detach(|| session.audit(patience)).complaints)
}

/// Numbers about scheduling.
#[pyfunction]
pub(crate) fn head_stats(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let session = gate::session(py)?;
    let stats = block(py, |interrupt| session.head_stats(interrupt))?;
    let dict = PyDict::new(py);
    dict.set_item("zygote_pid", stats.zygote_pid)?;
    dict.set_item("worker_pids", stats.worker_pids)?;
    dict.set_item("submitted", stats.submitted)?;
    dict.set_item("finished", stats.finished)?;
    dict.set_item("retried", stats.retried)?;
    dict.set_item("workers_died", stats.workers_died)?;
    dict.set_item("actors_restarted", stats.actors_restarted)?;
    dict.set_item("queued", stats.queued)?;
    dict.set_item("running", stats.running)?;
    dict.set_item("resources", stats.resources)?;
    Ok(dict)
}

/// Bytes of memory in use and bytes that there are: of the machine, or of the container that is nearer to its limit. None if the system
/// does not say.
#[pyfunction]
pub(crate) fn memory_use() -> Option<(u64, u64)> {
    let gauge = park_core::sys::cgroup::MemoryGauge::of_this_process();
    gauge.read().map(|memory| (memory.used, memory.total))
}
