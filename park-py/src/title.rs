//! What a worker process shows as its command line: what it runs, or as what it waits. Only where workers are processes, and only for what
//! the main thread runs: lanes run many things at once.

use std::sync::OnceLock;

use park_core::ipc::ToWorker;
use park_core::sys::title::Title;
use pyo3::prelude::*;

static TITLE: OnceLock<Option<Title>> = OnceLock::new();
/// The class of the actor that the process is.
static CLASS: OnceLock<String> = OnceLock::new();

/// This process is a worker from now on, and waits for work.
pub(crate) fn take() {
    TITLE.get_or_init(Title::of_this_process);
    rest();
}

/// This process is an actor of this class from now on. Nothing in a process that is no worker.
#[pyfunction]
pub(crate) fn title_of_actor(class_name: String) {
    if TITLE.get().is_some() {
        // A process becomes an actor once.
        let _ = CLASS.set(class_name);
        rest();
    }
}

/// The main thread runs nothing.
pub(crate) fn rest() {
    show(&["ray::", CLASS.get().map_or("IDLE", String::as_str)]);
}

/// The main thread runs what this message asks for.
pub(crate) fn runs(message: &ToWorker) {
    match (message, CLASS.get()) {
        (ToWorker::Run { name, .. }, _) => show(&["ray::", name]),
        (ToWorker::Call { name, .. }, _) if !name.is_empty() => show(&["ray::", name]),
        (ToWorker::Call { method, .. }, Some(class)) => show(&["ray::", class, ".", method]),
        _ => {}
    }
}

fn show(parts: &[&str]) {
    if let Some(Some(title)) = TITLE.get() {
        title.set(parts);
    }
}
