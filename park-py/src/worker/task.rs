//! Tasks: the functions that this process has loaded, each once.

use std::collections::HashMap;
use std::sync::Arc;

use park_core::ipc::ToWorker;
use park_core::proc::inbox::Job;
use park_core::{ObjectId, Store};
use pyo3::prelude::*;

use super::job::{Outcome, keep, load, load_args};
use crate::work;

/// See the module's documentation. The main thread's own.
#[derive(Default)]
pub(super) struct Functions {
    loaded: HashMap<ObjectId, (Py<PyAny>, String)>,
}

impl Functions {
    /// Runs a task and seals what it returns.
    pub(super) fn run(&mut self, py: Python<'_>, store: &Arc<Store>, job: &Job) -> Outcome {
        let ToWorker::Run {
            function,
            args,
            returns,
            ..
        } = &job.message
        else {
            return Ok(());
        };
        let _now = work::begin(&job.message);
        if !self.loaded.contains_key(function) {
            let loaded = load(py, store, *function)?;
            let name = loaded
                .getattr("__qualname__")
                .and_then(|name| name.extract())
                .unwrap_or_else(|_| "task".to_owned());
            self.loaded.insert(*function, (loaded.unbind(), name));
        }
        let (args, kwargs) = load_args(py, store, args)?;
        let Some((function, _)) = self.loaded.get(function) else {
            return Ok(());
        };
        let function = function.bind(py);
        work::calls(function);
        let value = function.call(args, Some(&kwargs))?;
        keep(py, store, &value, returns)
    }

    /// Under which name an error of the task is told.
    pub(super) fn name(&self, job: &Job) -> &str {
        let ToWorker::Run { function, .. } = &job.message else {
            return "task";
        };
        self.loaded.get(function).map_or("task", |(_, name)| name.as_str())
    }
}
