//! Tasks: the functions that this process has loaded, each once, and how often it may run them.

use std::collections::HashMap;
use std::sync::Arc;

use park_core::ipc::ToWorker;
use park_core::proc::inbox::Job;
use park_core::{ObjectId, Store};
use pyo3::intern;
use pyo3::prelude::*;

use super::job::{Outcome, keep, load, load_args, results};
use crate::cancel::interruptible;
use crate::work;

/// See the module's documentation. The main thread's own.
#[derive(Default)]
pub(super) struct Functions {
    loaded: HashMap<ObjectId, Function>,
    /// A function was run as often as one process may.
    pub(super) worn_out: bool,
}

struct Function {
    code: Py<PyAny>,
    name: String,
    /// How often it may still be run here.
    left: Option<u32>,
}

impl Function {
    fn load(py: Python<'_>, store: &Arc<Store>, id: ObjectId) -> PyResult<Self> {
        let code = load(py, store, id)?;
        let name = code
            .getattr("__qualname__")
            .and_then(|name| name.extract())
            .unwrap_or_else(|_| "task".to_owned());
        let left = match code.getattr(intern!(py, "__park_max_calls__")) {
            Ok(most) => Some(most.extract()?),
            Err(_) => None,
        };
        Ok(Self {
            code: code.unbind(),
            name,
            left,
        })
    }
}

impl Functions {
    /// Runs a task and seals what it returns.
    pub(super) fn run(&mut self, py: Python<'_>, store: &Arc<Store>, job: &Job) -> Outcome {
        let ToWorker::Run { function: id, args, .. } = &job.message else {
            return Ok(());
        };
        let _now = work::begin(&job.message, true);
        if !self.loaded.contains_key(id) {
            self.loaded.insert(*id, Function::load(py, store, *id)?);
        }
        let (Some(function), Some(first)) = (self.loaded.get_mut(id), results(job).0.first()) else {
            return Ok(());
        };
        if let Some(left) = &mut function.left {
            *left = left.saturating_sub(1);
            self.worn_out = *left == 0;
        }
        let (args, kwargs) = load_args(py, store, args)?;
        let code = function.code.bind(py);
        work::calls(code);
        let value = interruptible(store, *first, || code.call(args, Some(&kwargs)))?;
        keep(py, store, &value, &function.name, results(job), None)
    }

    /// Under which name an error of the task is told.
    pub(super) fn name(&self, job: &Job) -> &str {
        let ToWorker::Run { function, .. } = &job.message else {
            return "task";
        };
        self.loaded
            .get(function)
            .map_or("task", |function| function.name.as_str())
    }
}
