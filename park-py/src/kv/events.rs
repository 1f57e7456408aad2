//! What can be found from now on, as dicts and as one batch of vLLM's wire format.

use park_core::kv::{Event, Group, Hashes, Key, Wire};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use super::errors::invalid;

/// Events as dicts.
pub(super) fn rows<'py>(py: Python<'py>, events: Vec<Event>) -> PyResult<Vec<Bound<'py, PyDict>>> {
    events.into_iter().map(|event| row(py, event)).collect()
}

fn row<'py>(py: Python<'py>, event: Event) -> PyResult<Bound<'py, PyDict>> {
    let bytes = |key: Key| PyBytes::new(py, &key.raw().to_be_bytes());
    let row = PyDict::new(py);
    match event {
        Event::Stored {
            keys,
            parent,
            first,
            tokens,
            block_size,
            group,
            kind,
            origin,
        } => {
            let window = match kind {
                Group::Full => None,
                Group::Window(tokens) => Some(tokens),
            };
            let media = origin.media.iter();
            let media = media.map(|item| (item.start, item.length, PyBytes::new(py, &item.digest)));
            row.set_item("type", "stored")?;
            row.set_item("first", first)?;
            row.set_item("window", window)?;
            row.set_item("tenant", PyBytes::new(py, &origin.tenant))?;
            row.set_item("salt", PyBytes::new(py, &origin.salt))?;
            row.set_item("adapter", PyBytes::new(py, &origin.adapter))?;
            row.set_item("media", media.collect::<Vec<_>>())?;
            row.set_item("keys", keys.into_iter().map(bytes).collect::<Vec<_>>())?;
            row.set_item("parent", parent.map(bytes))?;
            row.set_item("tokens", tokens)?;
            row.set_item("block_size", block_size)?;
            row.set_item("group", group)?;
        }
        Event::Removed { key, group } => {
            row.set_item("type", "removed")?;
            row.set_item("key", bytes(key))?;
            row.set_item("group", group)?;
        }
        Event::Cleared => row.set_item("type", "cleared")?,
    }
    Ok(row)
}

/// A batch of the events that `take` takes, which it does once the other arguments are known to be good.
pub(super) fn batch<'py>(
    py: Python<'py>,
    time: f64,
    medium: &str,
    rank: Option<u32>,
    hashes: &str,
    take: impl FnOnce() -> Vec<Event>,
) -> PyResult<Bound<'py, PyBytes>> {
    let hashes = match hashes {
        "int" => Hashes::Int,
        "bytes" => Hashes::Bytes,
        other => {
            return Err(invalid(
                py,
                format!("hashes are written as 'int' or 'bytes', not '{other}'"),
            ));
        }
    };
    let wire = Wire { medium, rank, hashes };
    Ok(PyBytes::new(py, &wire.encode(time, &take())))
}
