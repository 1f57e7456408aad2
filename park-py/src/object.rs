//! `ObjectRef`, and `put`, `get`, `wait` over it.

use std::cell::RefCell;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use park_core::{ErrorKind, Format, ObjectId, Spec};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyList, PyTuple, PyType};

use crate::buffer::{Buffer, Pinned};
use crate::decode::{self, decode};
use crate::encode::encode;
use crate::gate::{self, OrRaise, wait_for};
use crate::stream::StreamReader;
use crate::tensor_view::TensorView;

thread_local! {
    /// References met while pickling a value for the store; `None` outside of that.
    static NESTED: RefCell<Option<Vec<park_core::ObjectRef>>> = const { RefCell::new(None) };
}

/// The id of nothing, as of Ray's other ids: all ones.
const NIL: ObjectId = ObjectId {
    session: u64::MAX,
    index: u32::MAX,
    generation: u32::MAX,
};

/// Runs `pickle` and returns the references that it met.
pub(crate) fn collect_nested<T>(pickle: impl FnOnce() -> PyResult<T>) -> PyResult<(T, Vec<park_core::ObjectRef>)> {
    let outer = NESTED.with(|nested| nested.borrow_mut().replace(Vec::new()));
    let result = pickle();
    let met = NESTED
        .with(|nested| std::mem::replace(&mut *nested.borrow_mut(), outer))
        .unwrap_or_default();
    result.map(|value| (value, met))
}

/// A reference to an object in the store, which may not exist yet: `park.get` waits for it. The object lives as long as
/// references to it do, in any process. References travel inside values that are put, passed or returned.
///
/// One that is made of an id names the object only if that exists; else it is an id that compares and prints, and `get` raises.
#[pyclass(frozen, module = "park._park", weakref, generic)]
pub(crate) struct ObjectRef {
    named: Named,
}

/// What a reference names.
enum Named {
    Object(park_core::ObjectRef),
    /// No object of the session that was open when it was made.
    Nothing(ObjectId),
}

impl From<park_core::ObjectRef> for ObjectRef {
    fn from(inner: park_core::ObjectRef) -> Self {
        Self {
            named: Named::Object(inner),
        }
    }
}

impl ObjectRef {
    /// The object that it names.
    pub(crate) fn object(&self) -> park_core::Result<&park_core::ObjectRef> {
        match &self.named {
            Named::Object(inner) => Ok(inner),
            Named::Nothing(id) => Err(park_core::Error::new(
                ErrorKind::NotFound,
                format!("ObjectRef({id}) names no object: it was made of an id of which there was no object"),
            )),
        }
    }

    /// The id, of an object or of nothing.
    pub(crate) fn id(&self) -> ObjectId {
        match &self.named {
            Named::Object(inner) => inner.id(),
            Named::Nothing(id) => *id,
        }
    }

    fn of_id(py: Python<'_>, id: ObjectId) -> PyResult<Self> {
        match gate::store(py)?.resolve(id) {
            Ok(inner) => Ok(inner.into()),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ForeignSession) => {
                Ok(Self::nothing(id))
            }
            Err(error) => Err(gate::raise(py, &error)),
        }
    }

    fn nothing(id: ObjectId) -> Self {
        Self {
            named: Named::Nothing(id),
        }
    }

    /// The cycle collector is not told of it: it refers to no Python object, and ten thousand of them are often made at once.
    #[allow(
        unsafe_code,
        reason = "takes an object that refers to nothing off the cycle collector's list"
    )]
    pub(crate) fn wrap(py: Python<'_>, inner: park_core::ObjectRef) -> PyResult<Py<Self>> {
        let made = Py::new(py, Self::from(inner))?;
        // SAFETY: `made` is of a type with the collector's flag, and its deallocator allows for objects that are on no list.
        unsafe { pyo3::ffi::PyObject_GC_UnTrack(made.as_ptr().cast()) };
        Ok(made)
    }
}

/// What a pickled reference becomes: the reference with this id, if the object still exists in the current session.
#[pyfunction]
pub(crate) fn load_ref(py: Python<'_>, id: &[u8]) -> PyResult<Py<ObjectRef>> {
    let inner = gate::store(py)?.resolve(id_of(id)?).or_raise(py)?;
    ObjectRef::wrap(py, inner)
}

/// The id that these bytes are.
pub(crate) fn id_of(id: &[u8]) -> PyResult<ObjectId> {
    match <[u8; ObjectId::SIZE]>::try_from(id) {
        Ok(id) => Ok(ObjectId::from_bytes(id)),
        Err(_) => Err(PyValueError::new_err(format!(
            "an object id has {} bytes, got {}",
            ObjectId::SIZE,
            id.len()
        ))),
    }
}

#[pymethods]
impl ObjectRef {
    /// The reference with this id (16 bytes, from `binary()`). If there is no such object in the session, it names nothing.
    #[new]
    fn new(py: Python<'_>, id: &[u8]) -> PyResult<Self> {
        Self::of_id(py, id_of(id)?)
    }

    /// As the constructor.
    #[classmethod]
    fn from_binary(_cls: &Bound<'_, PyType>, py: Python<'_>, id_bytes: &[u8]) -> PyResult<Self> {
        Self::of_id(py, id_of(id_bytes)?)
    }

    /// As the constructor, of the digits that `hex()` gives.
    #[classmethod]
    fn from_hex(_cls: &Bound<'_, PyType>, hex_id: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = hex_id.py();
        let bytes = py
            .import("park.ids")?
            .call_method1("bytes_of_hex", (hex_id,))?
            .cast_into::<PyBytes>()?;
        Self::of_id(py, id_of(bytes.as_bytes())?)
    }

    /// The reference that names nothing: what a wait that was too short gives.
    #[classmethod]
    fn nil(_cls: &Bound<'_, PyType>) -> Self {
        Self::nothing(NIL)
    }

    /// A reference to nothing that is like no other.
    #[classmethod]
    fn from_random(_cls: &Bound<'_, PyType>, py: Python<'_>) -> PyResult<Self> {
        let bytes = py
            .import("os")?
            .call_method1("urandom", (ObjectId::SIZE,))?
            .cast_into::<PyBytes>()?;
        Ok(Self::nothing(id_of(bytes.as_bytes())?))
    }

    /// The id as 32 hexadecimal digits.
    fn hex(&self) -> String {
        self.id().to_string()
    }

    /// The id as 16 bytes.
    fn binary<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.id().to_bytes())
    }

    /// Whether it is `nil()`.
    fn is_nil(&self) -> bool {
        self.id() == NIL
    }

    /// Where its owner is reached: the session, which owns every object; empty if it names nothing.
    fn owner_address<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        if matches!(self.named, Named::Nothing(_)) {
            return Ok(PyBytes::new(py, &[]));
        }
        let address = crate::session::session_address(py)?;
        Ok(PyBytes::new(py, address.as_bytes()))
    }

    /// By which transport its tensors travel: None, for they lie in shared memory.
    fn tensor_transport(&self) -> Option<String> {
        None
    }

    /// How many bytes an id has.
    #[classmethod]
    fn size(_cls: &Bound<'_, PyType>) -> usize {
        ObjectId::SIZE
    }

    /// Where the task was submitted, which nobody writes down: as in Ray, unless that is asked for.
    fn call_site(&self) -> &'static str {
        ""
    }

    fn __repr__(&self) -> String {
        format!("ObjectRef({})", self.id())
    }

    /// The id of the task or call that is to make it; of one that is made, as if it were the first result of its maker.
    fn task_id<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        use park_core::store::promise::Origin;
        let origin = self.object().ok().and_then(|inner| inner.store().origin(inner.id()));
        let first = match origin {
            Some(Origin::Task { first, .. } | Origin::Call { first, .. } | Origin::Link { first, .. }) => first,
            None => self.id(),
        };
        py.import("park.util.state")?
            .call_method1("task_id", (PyBytes::new(py, &first.to_bytes()),))
    }

    /// The id of the session's one job.
    fn job_id<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        py.import("park.util.state")?.call_method0("job_id")
    }

    /// Waits for the value in a coroutine: `value = await ref`.
    fn __await__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Self::as_future(slf)?.call_method0(intern!(slf.py(), "__await__"))
    }

    /// An `asyncio.Future` of the value, of the event loop that runs in this thread.
    fn as_future<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        static AS_FUTURE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let make = AS_FUTURE.get_or_try_init(slf.py(), || {
            let module = slf.py().import("park.futures")?;
            module.getattr("as_future").map(Bound::unbind)
        })?;
        make.bind(slf.py()).call1((slf,))
    }

    /// A `concurrent.futures.Future` of the value.
    fn future<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.py()
            .import("park.futures")?
            .call_method1("concurrent_future", (slf,))
    }

    /// Calls `callback(value)`, or of an error `callback(exception)`, in a thread of park's own once the object is there.
    fn _on_completed(slf: &Bound<'_, Self>, callback: &Bound<'_, PyAny>) -> PyResult<()> {
        let module = slf.py().import("park.futures")?;
        module.call_method1("on_completed", (slf, callback)).map(drop)
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.id().hash(&mut hasher);
        hasher.finish()
    }

    fn __eq__(&self, other: &Self) -> bool {
        self.id() == other.id()
    }

    /// One more reference to the same object.
    fn __copy__(slf: &Bound<'_, Self>) -> PyResult<Py<Self>> {
        match &slf.get().named {
            Named::Object(inner) => Self::wrap(slf.py(), inner.clone()),
            Named::Nothing(_) => Ok(slf.clone().unbind()),
        }
    }

    /// The reference itself: programs make deep copies of what holds references, and what it names never changes.
    fn __deepcopy__(slf: Py<Self>, _memo: &Bound<'_, PyAny>) -> Py<Self> {
        slf
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, PyBytes>,))> {
        let py = slf.py();
        let met = NESTED.with(|nested| match &mut *nested.borrow_mut() {
            Some(nested) => {
                if let Named::Object(inner) = &slf.get().named {
                    nested.push(inner.clone());
                }
                true
            }
            None => false,
        });
        if matches!(slf.get().named, Named::Nothing(_)) {
            return Ok((slf.get_type().into_any(), (slf.get().binary(py),)));
        }
        if !met {
            let class = py
                .import("park.exceptions")?
                .getattr("OufOfBandObjectRefSerializationException")?;
            let text = format!(
                "{} can only be pickled by park itself: put it, pass it or return it",
                slf.get().__repr__()
            );
            return Err(PyErr::from_value(class.call1((text,))?));
        }
        static LOAD: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let load = LOAD.get_or_try_init(py, || {
            let module = py.import("park._park")?;
            module.getattr("load_ref").map(Bound::unbind)
        })?;
        Ok((load.bind(py).clone(), (slf.get().binary(py),)))
    }
}

/// Stores a value and returns a reference to it.
///
/// The elements of arrays and tensors are copied once. Dense layouts (C, Fortran, any order of the dimensions) come back as they
/// were; others (gaps, negative strides, broadcasts) are gathered into C order by that same copy.
#[pyfunction]
#[pyo3(signature = (value, *, _owner=None, _tensor_transport=None))]
pub(crate) fn put(
    value: &Bound<'_, PyAny>,
    _owner: Option<&Bound<'_, PyAny>>,
    _tensor_transport: Option<&Bound<'_, PyAny>>,
) -> PyResult<ObjectRef> {
    let py = value.py();
    if let Some(owner) = _owner {
        // Whoever it is, the object outlives it here.
        let handle = py.import("park.actor")?.getattr("ActorHandle")?;
        if !owner.is_instance(&handle)? {
            return Err(type_error("Expect an `ray.actor.ActorHandle`", owner));
        }
    }
    if let Some(transport) = _tensor_transport {
        // Tensors lie in shared memory in any case.
        py.import("park.options")?
            .call_method1("check_put_transport", (transport,))?;
    }
    if value.is_instance_of::<ObjectRef>() {
        return Err(PyTypeError::new_err(
            "Calling 'put' on an ray.ObjectRef is not allowed. If you really want to do this, you can wrap the ray.ObjectRef in a list and call 'put' on it.",
        ));
    }
    let store = gate::store(py)?;
    Ok(encode(value)?.put(py, &store)?.into())
}

pub(crate) fn timeout_of(timeout: Option<f64>, what: &str) -> PyResult<Option<Duration>> {
    match timeout {
        None => Ok(None),
        Some(seconds) if seconds.is_nan() || (seconds < 0.0 && what == "wait") => Err(PyValueError::new_err(format!(
            "The 'timeout' argument must be nonnegative. Received {}",
            py_number(seconds)
        ))),
        // Ray reads a negative timeout of get as "for ever".
        Some(seconds) if seconds < 0.0 => Ok(None),
        Some(seconds) => Ok(Some(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))),
    }
}

/// -1.0 as Python users wrote it.
fn py_number(seconds: f64) -> String {
    format!("{seconds}")
}

fn type_error(what: &str, value: &Bound<'_, PyAny>) -> PyErr {
    PyTypeError::new_err(format!("{what}, got {}", value.get_type()))
}

/// Waits for objects and returns their values. A list of references gives a list of values.
///
/// Raises GetTimeoutError after `timeout` seconds, or the error of the first object that has one.
#[pyfunction]
#[pyo3(signature = (object_refs, *, timeout=None, _use_object_store=false))]
pub(crate) fn get(
    object_refs: &Bound<'_, PyAny>,
    timeout: Option<f64>,
    _use_object_store: bool,
) -> PyResult<Py<PyAny>> {
    let py = object_refs.py();
    let timeout = timeout_of(timeout, "get")?;
    let store = gate::store(py)?;
    gate::warn_of_blocking(py)?;
    if let Ok(single) = object_refs.cast::<ObjectRef>() {
        let object = single.get().object().or_raise(py)?;
        belongs(py, &store, object)?;
        let deadline = deadline(timeout);
        if !object.is_sealed() {
            require(py, &store, &[object], timeout)?;
        }
        gate::bring_in(py, object, left(deadline))?;
        return decode(py, object);
    }
    if object_refs.is_instance_of::<StreamReader>() {
        return Ok(object_refs.clone().unbind());
    }
    let Ok(list) = object_refs.cast::<PyList>() else {
        return Err(PyValueError::new_err(format!(
            "Invalid type of object refs, {}, is given. 'object_refs' must either be an ObjectRef or a list of ObjectRefs. ",
            object_refs.get_type()
        )));
    };
    let refs = refs_in(list, |item| {
        if item.is_instance_of::<StreamReader>() {
            return PyTypeError::new_err(format!(
                "Attempting to call `get` on the value {item}, which is not an ray.ObjectRef."
            ));
        }
        PyValueError::new_err(format!(
            "Invalid type of object refs, {}, is given. 'object_refs' must either be an ObjectRef or a list of ObjectRefs. ",
            item.get_type()
        ))
    })?;
    let inner = refs.iter().map(|object| object.get().object());
    let inner: Vec<&park_core::ObjectRef> = inner.collect::<park_core::Result<_>>().or_raise(py)?;
    inner.iter().try_for_each(|object| belongs(py, &store, object))?;
    let deadline = deadline(timeout);
    require(py, &store, &inner, timeout)?;
    let _turn = gate::gather(py, &store, &inner)?;
    let values = inner
        .iter()
        .map(|object| {
            gate::bring_in(py, object, left(deadline))?;
            decode(py, object)
        })
        .collect::<PyResult<Vec<_>>>()?;
    Ok(PyList::new(py, values)?.into_any().unbind())
}

/// Waits for a tensor and returns it as a `TensorView`, whichever library it was put by.
#[pyfunction]
#[pyo3(signature = (object_ref, *, timeout=None))]
pub(crate) fn view(object_ref: &Bound<'_, ObjectRef>, timeout: Option<f64>) -> PyResult<TensorView> {
    let py = object_ref.py();
    let timeout = timeout_of(timeout, "get")?;
    let store = gate::store(py)?;
    let object = object_ref.get().object().or_raise(py)?;
    belongs(py, &store, object)?;
    require(py, &store, &[object], timeout)?;
    decode::view(py, object)
}

/// Refuses references of an earlier session: their objects may be readable still, but their tasks are gone.
pub(crate) fn belongs(py: Python<'_>, store: &Arc<park_core::Store>, object: &park_core::ObjectRef) -> PyResult<()> {
    if Arc::ptr_eq(store, object.store()) {
        return Ok(());
    }
    let text = format!(
        "object {} belongs to another session than the one that is open, {:016x}",
        object.id(),
        store.session()
    );
    Err(gate::raise(py, &park_core::Error::new(ErrorKind::ForeignSession, text)))
}

fn deadline(timeout: Option<Duration>) -> Option<Instant> {
    timeout.and_then(|timeout| Instant::now().checked_add(timeout))
}

fn left(deadline: Option<Instant>) -> Option<Duration> {
    deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
}

/// Waits for all of them. An error that is there already is raised without waiting for the rest.
fn require(
    py: Python<'_>,
    store: &Arc<park_core::Store>,
    refs: &[&park_core::ObjectRef],
    timeout: Option<Duration>,
) -> PyResult<()> {
    let deadline = deadline(timeout);
    let mut need = 1;
    while !refs.is_empty() {
        let ready = wait_for(py, store, refs, need, left(deadline))?;
        for object in refs.iter().filter(|object| object.is_error()) {
            object.open().or_raise(py)?;
        }
        if ready >= refs.len() {
            return Ok(());
        }
        if ready < need {
            let text = format!(
                "Get timed out: some object(s) not ready ({ready} of {} were after {:?}).",
                refs.len(),
                timeout.unwrap_or_default()
            );
            return Err(gate::raise(py, &park_core::Error::new(ErrorKind::Timeout, text)));
        }
        // Looking at each new arrival would be quadratic in the list; twice as many each time is not.
        need = (ready * 2).clamp(ready + 1, refs.len());
    }
    Ok(())
}

fn refs_in<'py>(
    list: &Bound<'py, PyList>,
    wrong: impl Fn(&Bound<'py, PyAny>) -> PyErr,
) -> PyResult<Vec<Bound<'py, ObjectRef>>> {
    let mut refs = Vec::with_capacity(list.len());
    for item in list {
        match item.cast_into::<ObjectRef>() {
            Ok(object) => refs.push(object),
            Err(error) => return Err(wrong(&error.into_inner())),
        }
    }
    Ok(refs)
}

/// What `wait` waits for: an object, or the next item of a stream.
enum Awaited<'py> {
    Object(Bound<'py, ObjectRef>),
    Link(park_core::ObjectRef),
}

impl<'py> Awaited<'py> {
    fn new(item: &Bound<'py, PyAny>) -> Option<Self> {
        if let Ok(object) = item.cast::<ObjectRef>() {
            return Some(Self::Object(object.clone()));
        }
        let reader = item.cast::<StreamReader>().ok()?;
        Some(Self::Link(reader.get().link()))
    }

    fn object(&self) -> park_core::Result<&park_core::ObjectRef> {
        match self {
            Self::Object(object) => object.get().object(),
            Self::Link(link) => Ok(link),
        }
    }
}

/// Waits until `num_returns` of the objects are ready, at most `timeout` seconds.
///
/// Returns a list of those that are ready (at most `num_returns`) and a list of the others, both in the order given.
#[pyfunction]
#[pyo3(signature = (object_refs, *, num_returns=1, timeout=None, fetch_local=true))]
pub(crate) fn wait<'py>(
    object_refs: &Bound<'py, PyAny>,
    num_returns: i64,
    timeout: Option<f64>,
    fetch_local: bool,
) -> PyResult<Bound<'py, PyTuple>> {
    let py = object_refs.py();
    // Every object is local: there is nothing to fetch either way.
    let _ = fetch_local;
    let store = gate::store(py)?;
    if object_refs.is_instance_of::<ObjectRef>() {
        return Err(PyTypeError::new_err(
            "wait() expected a list of ray.ObjectRef or ObjectRefGenerator, got a single ray.ObjectRef",
        ));
    }
    let Ok(list) = object_refs.cast::<PyList>() else {
        return Err(type_error(
            "wait() expected a list of ray.ObjectRef or ObjectRefGenerator",
            object_refs,
        ));
    };
    let timeout = timeout_of(timeout, "wait")?;
    let mut awaited: Vec<Awaited<'_>> = Vec::with_capacity(list.len());
    for item in list {
        awaited.push(Awaited::new(&item).ok_or_else(|| {
            PyTypeError::new_err(format!(
                "wait() expected a list of ray.ObjectRef or ObjectRefGenerator, got list containing {}",
                item.get_type()
            ))
        })?);
    }
    let inner = awaited.iter().map(Awaited::object);
    let inner: Vec<&park_core::ObjectRef> = inner.collect::<park_core::Result<_>>().or_raise(py)?;
    inner.iter().try_for_each(|object| belongs(py, &store, object))?;
    if has_duplicates(&inner) {
        return Err(PyValueError::new_err("Wait requires a list of unique ray_waitables."));
    }
    if awaited.is_empty() {
        return PyTuple::new(py, [PyList::empty(py), PyList::empty(py)]);
    }
    let Some(need) = usize::try_from(num_returns).ok().filter(|need| *need > 0) else {
        return Err(PyValueError::new_err(format!(
            "Invalid number of objects to return {num_returns}."
        )));
    };
    if need > awaited.len() {
        return Err(PyValueError::new_err(
            "num_returns cannot be greater than the number of ray_waitables provided to ray.wait.",
        ));
    }
    wait_for(py, &store, &inner, need, timeout)?;
    let (mut ready, mut rest) = (Vec::with_capacity(need), Vec::new());
    for (item, one) in list.iter().zip(&inner) {
        if ready.len() < need && one.is_sealed() {
            ready.push(item);
        } else {
            rest.push(item);
        }
    }
    PyTuple::new(py, [PyList::new(py, ready)?, PyList::new(py, rest)?])
}

/// Whether two references of one session name one object. Results of tasks submitted in a row mostly lie in a row, and sort in one
/// pass.
fn has_duplicates(refs: &[&park_core::ObjectRef]) -> bool {
    let place = |id: ObjectId| u64::from(id.index) << 32 | u64::from(id.generation);
    let mut ids: Vec<u64> = refs.iter().map(|object| place(object.id())).collect();
    ids.sort_unstable();
    ids.windows(2).any(|pair| pair[0] == pair[1])
}

/// Whether this thread pickles a value for the session: what refers to an object then takes a reference along.
#[pyfunction]
pub(crate) fn pickles_for_session() -> bool {
    NESTED.with_borrow(Option::is_some)
}

/// Stores the bytes that `pickled()` returns: a function or class. References that it contains live as long as the object.
#[pyfunction]
pub(crate) fn export(pickled: &Bound<'_, PyAny>) -> PyResult<ObjectRef> {
    let py = pickled.py();
    let store = gate::store(py)?;
    let (bytes, nested) = collect_nested(|| pickled.call0())?;
    let bytes = bytes.cast_into::<PyBytes>()?;
    let nested: Vec<ObjectId> = nested.iter().map(park_core::ObjectRef::id).collect();
    let spec = Spec {
        nested: &nested,
        format: Format::Code,
        ..Spec::raw(bytes.as_bytes().len() as u64)
    };
    let mut object = gate::block(py, |interrupt| store.create(spec, interrupt))?;
    object.write(0, bytes.as_bytes()).or_raise(py)?;
    Ok(object.seal().or_raise(py)?.into())
}

/// The raw bytes that `export` stored.
#[pyfunction]
pub(crate) fn fetch<'py>(py: Python<'py>, object: &ObjectRef) -> PyResult<Bound<'py, PyBytes>> {
    let object = object.object().or_raise(py)?;
    gate::bring_in(py, object, None)?;
    let opened = object.open().or_raise(py)?;
    Ok(PyBytes::new(py, opened.bytes()))
}

/// The bytes of an object as they are stored, without a copy.
#[pyfunction]
pub(crate) fn fetch_view(py: Python<'_>, object: &ObjectRef) -> PyResult<Buffer> {
    let opened = object.object().and_then(park_core::ObjectRef::open).or_raise(py)?;
    let len = opened.bytes().len();
    Ok(Buffer::new(Pinned::Object(opened), 0, len))
}
