//! `MappedFile`: a file of tensors in memory, and objects that are parts of it.
#![allow(unsafe_code, reason = "maps a file, on the promise that its docstring asks for")]

use std::path::PathBuf;
use std::sync::Arc;

use park_core::store::{self, never};
use park_core::{DType, TensorSpec, View};
use pyo3::exceptions::PyEOFError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::gate::{self, OrRaise};
use crate::object::ObjectRef;

/// A file mapped by the current session's store, read-only.
#[pyclass(frozen, module = "park._park")]
pub(crate) struct MappedFile {
    store: Arc<park_core::Store>,
    inner: Arc<store::MappedFile>,
}

/// Maps a file. As long as objects of its parts exist, in any process, nobody may truncate or rewrite it; to rename another file
/// over it, or to remove it, is fine for those who have it mapped already.
#[pyfunction]
pub(crate) fn map_file(py: Python<'_>, path: PathBuf) -> PyResult<MappedFile> {
    let store = gate::store(py)?;
    // SAFETY: the docstring, which `park.store.load_safetensors` repeats, hands the promise on to who names the file.
    let inner = unsafe { store.map_file(&path) }.or_raise(py)?;
    Ok(MappedFile { store, inner })
}

#[pymethods]
impl MappedFile {
    fn __len__(&self) -> usize {
        self.inner.bytes().len()
    }

    /// A copy of `size` bytes at `offset`; EOFError if the file is shorter.
    fn read<'py>(&self, py: Python<'py>, offset: usize, size: usize) -> PyResult<Bound<'py, PyBytes>> {
        let bytes = self.inner.bytes();
        match offset.checked_add(size).and_then(|end| bytes.get(offset..end)) {
            Some(range) => Ok(PyBytes::new(py, range)),
            None => Err(PyEOFError::new_err(format!(
                "{} has {} bytes, asked for {size} at {offset}",
                self.inner.path().display(),
                bytes.len()
            ))),
        }
    }

    /// A tensor object whose elements lie at `offset`, in C order. They stay in the file, unless they are not aligned to their size,
    /// which no processor likes: such elements are copied into the store.
    fn put(&self, py: Python<'_>, offset: u64, dtype: &str, shape: Vec<u64>, view: u8) -> PyResult<ObjectRef> {
        let dtype = DType::from_name(dtype).or_raise(py)?;
        let spec = TensorSpec::contiguous(dtype, &shape, View::from_number(view)).or_raise(py)?;
        let inner = if offset.is_multiple_of(dtype.alignment()) {
            self.store.put_mapped(&self.inner, offset, &spec).or_raise(py)?
        } else {
            self.copy(offset, &spec).or_raise(py)?
        };
        Ok(inner.into())
    }
}

impl MappedFile {
    fn copy(&self, offset: u64, spec: &TensorSpec) -> park_core::Result<park_core::ObjectRef> {
        let range = usize::try_from(offset).ok().and_then(|start| {
            let end = start.checked_add(usize::try_from(spec.nbytes()).ok()?)?;
            self.inner.bytes().get(start..end)
        });
        let Some(elements) = range else {
            let text = format!("{} bytes at {offset} are not inside the file", spec.nbytes());
            return Err(park_core::Error::new(park_core::ErrorKind::InvalidArgument, text));
        };
        let mut object = self.store.create_tensor(spec, &mut never)?;
        object.write(object.len() - spec.nbytes(), elements)?;
        object.seal()
    }
}
