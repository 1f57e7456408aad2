//! Channels: the native half of `park.channel`.
//!
//! Values go the same three ways as into objects (`encode`): bytes as they are, dense arrays and tensors with one copy, everything else
//! pickled with its buffers out of band. An end is for one thread at a time; a second one is told so rather than made to wait for a
//! lock that the first may hold for ever.
use std::sync::Arc;
use std::time::Duration;

use park_core::channel::{self, Channel, ChannelSpec, Kind, Message};
use park_core::{Error, ErrorKind, Format, View};
use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::buffer::{Buffer, Pinned};
use crate::decode::{self, Pin, arrow, tensor_view, unpickle};
use crate::encode::{Encoded, encode};
use crate::gate::{self, OrRaise};
use crate::object::{ObjectRef, timeout_of};
use crate::tensor_view::TensorView;

/// Makes a channel in the store of this process's session; returns its object.
#[pyfunction]
pub(crate) fn create_channel(py: Python<'_>, slots: u64, slot_bytes: u64, readers: u64) -> PyResult<Py<ObjectRef>> {
    let spec = ChannelSpec {
        slots,
        slot_bytes,
        readers,
    };
    let channel = Channel::create(&gate::store(py)?, spec).or_raise(py)?;
    ObjectRef::wrap(py, channel.reference().clone())
}

/// Raises what the two ends say to each other in the words that Ray has for it.
fn raise(py: Python<'_>, error: &Error) -> PyErr {
    let class = match error.kind() {
        ErrorKind::Timeout => "RayChannelTimeoutError",
        ErrorKind::AlreadyExists => "RayChannelError",
        _ => return gate::raise(py, error),
    };
    let made = py
        .import("park.exceptions")
        .and_then(|exceptions| exceptions.getattr(class)?.call1((error.message(),)));
    made.map_or_else(|broken| broken, PyErr::from_value)
}

fn busy() -> Error {
    Error::new(
        ErrorKind::InvalidArgument,
        "another thread is using this end of the channel",
    )
}

fn closed() -> Error {
    Error::new(ErrorKind::HandleClosed, "this end of the channel was closed")
}

/// Runs `call` on an end. In a task, what cannot be done at once gives the task's CPU to others while it waits.
fn wait<E: Send, T: Send>(
    py: Python<'_>,
    end: &Mutex<Option<E>>,
    timeout: Option<Duration>,
    call: impl Fn(&mut E, Option<Duration>, park_core::store::Interrupt<'_>) -> park_core::Result<T> + Sync,
) -> PyResult<T> {
    let run = |timeout, interrupt: park_core::store::Interrupt<'_>| {
        let mut end = end.try_lock().ok_or_else(busy)?;
        call(end.as_mut().ok_or_else(closed)?, timeout, interrupt)
    };
    let now = Some(Duration::ZERO);
    // Errors pass through `block` as values: it would raise them in the words of `get`.
    if gate::runs_task() && timeout != now {
        match gate::block(py, |interrupt| Ok(run(now, interrupt)))? {
            Err(error) if error.kind() == ErrorKind::Timeout => {}
            other => return other.map_err(|error| raise(py, &error)),
        }
        return gate::block_idle(py, |interrupt| Ok(run(timeout, interrupt)))?.map_err(|error| raise(py, &error));
    }
    gate::block(py, |interrupt| Ok(run(timeout, interrupt)))?.map_err(|error| raise(py, &error))
}

/// The writer's end of a channel. Use `park.channel`.
#[pyclass(frozen, module = "park._park")]
pub(crate) struct ChannelWriter {
    writer: Mutex<Option<channel::ChannelWriter>>,
}

#[pymethods]
impl ChannelWriter {
    /// Claims the writer's end of the channel that this object is.
    #[new]
    fn new(py: Python<'_>, channel: &ObjectRef) -> PyResult<Self> {
        let writer = channel
            .object()
            .and_then(|channel| Channel::open(channel.clone()))
            .and_then(|channel| channel.writer());
        Ok(Self {
            writer: Mutex::new(Some(writer.map_err(|error| raise(py, &error))?)),
        })
    }

    /// Writes a value as the next message.
    fn write(&self, value: &Bound<'_, PyAny>, timeout: Option<f64>) -> PyResult<()> {
        let py = value.py();
        let timeout = timeout_of(timeout, "wait")?;
        if let Ok(bytes) = value.cast_exact::<PyBytes>() {
            let bytes = bytes.as_bytes();
            return wait(py, &self.writer, timeout, |writer, timeout, interrupt| {
                writer.write(bytes, timeout, interrupt)
            });
        }
        let encoded = encode(value)?;
        let kind = match &encoded {
            Encoded::Tensor { spec, .. } => Kind {
                format: Format::Tensor,
                view: spec.view,
            },
            Encoded::Arrow { .. } => Kind {
                format: Format::Arrow,
                view: View::Plain,
            },
            Encoded::Pickle { nested, .. } if nested.is_empty() => Kind {
                format: Format::Pickle5,
                view: View::Numpy,
            },
            Encoded::Pickle { nested, .. } => {
                let text = format!(
                    "a message of a channel cannot contain references, which nobody would count: {:?}",
                    nested.first()
                );
                let class = py
                    .import("park.exceptions")?
                    .getattr("OufOfBandObjectRefSerializationException")?;
                return Err(PyErr::from_value(class.call1((text,))?));
            }
        };
        let (header, copies, len) = encoded.layout(py);
        wait(py, &self.writer, timeout, |writer, timeout, interrupt| {
            let mut draft = writer.begin(kind, len as u64, timeout, interrupt)?;
            draft.write(0, &header)?;
            copies
                .iter()
                .try_for_each(|(at, elements)| elements.write(&mut draft, *at))?;
            draft.publish()
        })
    }

    /// No more messages will come.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        *self.writer.try_lock().ok_or_else(busy).or_raise(py)? = None;
        Ok(())
    }
}

/// A seat among the readers of a channel. Use `park.channel`.
#[pyclass(frozen, module = "park._park")]
pub(crate) struct ChannelReader {
    reader: Mutex<Option<channel::ChannelReader>>,
}

#[pymethods]
impl ChannelReader {
    /// Takes a seat at the channel that this object is.
    #[new]
    fn new(py: Python<'_>, channel: &ObjectRef) -> PyResult<Self> {
        let reader = channel
            .object()
            .and_then(|channel| Channel::open(channel.clone()))
            .and_then(|channel| channel.reader());
        Ok(Self {
            reader: Mutex::new(Some(reader.map_err(|error| raise(py, &error))?)),
        })
    }

    /// Waits for the next message.
    fn receive(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<ChannelMessage> {
        let timeout = timeout_of(timeout, "wait")?;
        let message = wait(py, &self.reader, timeout, |reader, timeout, interrupt| {
            reader.read(timeout, interrupt)
        })?;
        Ok(ChannelMessage {
            message: Mutex::new(Some(Arc::new(message))),
        })
    }

    /// Gives the seat back.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        *self.reader.try_lock().ok_or_else(busy).or_raise(py)? = None;
        Ok(())
    }
}

/// A message that lies in its slot. The slot is given back when this was released and every view of it is gone.
#[pyclass(frozen, module = "park._park")]
pub(crate) struct ChannelMessage {
    message: Mutex<Option<Arc<Message>>>,
}

impl ChannelMessage {
    fn message(&self, py: Python<'_>) -> PyResult<Arc<Message>> {
        let released = || Error::new(ErrorKind::HandleClosed, "the message was released");
        self.message.lock().clone().ok_or_else(released).or_raise(py)
    }
}

#[pymethods]
impl ChannelMessage {
    /// The value; arrays, tensors and large buffers in it are views of the slot, and keep it.
    fn view(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let message = self.message(py)?;
        match message.kind().format {
            Format::Tensor => {
                let (spec, elements) = message.tensor().or_raise(py)?;
                tensor_view(py, Pinned::Message(message.clone()), &spec, elements.len())
            }
            Format::Pickle5 => unpickle(py, message.bytes(), Some(Pin::Message(&message))),
            Format::Arrow => {
                let len = message.bytes().len();
                arrow(
                    py,
                    Py::new(py, Buffer::new(Pinned::Message(message), 0, len))?.into_any(),
                )
            }
            _ => Ok(PyBytes::new(py, message.bytes()).into_any().unbind()),
        }
    }

    /// The value, with nothing in it that lies in the slot.
    fn copy(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let message = self.message(py)?;
        match message.kind() {
            Kind {
                format: Format::Tensor,
                view,
            } => {
                let tensor = self.view(py)?;
                // Plain, or of a library that is not installed here: its copy is an object of its own.
                if tensor.bind(py).is_instance_of::<TensorView>() {
                    let copy = encode(tensor.bind(py))?.put(py, &gate::store(py)?)?;
                    return Ok(Py::new(py, decode::view(py, &copy)?)?.into_any());
                }
                match view {
                    View::Torch => tensor.call_method0(py, "clone"),
                    // "K": in the order in which the elements lie.
                    _ => tensor.call_method1(py, "copy", ("K",)),
                }
            }
            Kind {
                format: Format::Arrow, ..
            } => arrow(py, PyBytes::new(py, message.bytes()).into_any().unbind()),
            Kind {
                format: Format::Pickle5,
                ..
            } => unpickle(py, message.bytes(), None),
            _ => self.view(py),
        }
    }

    /// Gives the slot back, once views of it are gone too.
    fn release(&self) {
        let taken = self.message.lock().take();
        drop(taken);
    }
}
