//! Numbers of Python's: one that may be anything, or an array of them.
//!
//! Tokens, ids and counts come as arrays of int32, uint32, int64 or uint64, of any library, or as a list of ints where speed does not
//! matter. What does not fit is an error that names its place, and nothing has happened then.

use park_core::kv::SequenceId;
use pyo3::exceptions::PyOverflowError;
use pyo3::prelude::*;
use pyo3::types::PyInt;
use pyo3::{Borrowed, FromPyObject};

use super::buffers::{Kind, Lent};
use super::errors::{invalid, out_of_range};

/// An int of Python's. One beyond 64 bits is beyond everything that is asked for here: it is kept to be named.
#[derive(Debug)]
pub(super) struct Whole {
    number: i64,
    beyond: Option<Py<PyAny>>,
}

impl FromPyObject<'_, '_> for Whole {
    type Error = PyErr;

    #[cfg(feature = "stubs")]
    const INPUT_TYPE: pyo3::inspect::PyStaticExpr = <i64 as FromPyObject<'_, '_>>::INPUT_TYPE;

    fn extract(object: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        match object.extract::<i64>() {
            Ok(number) => Ok(Self::of(number)),
            Err(error) if error.is_instance_of::<PyOverflowError>(object.py()) => Ok(Self {
                number: if object.lt(0)? { i64::MIN } else { i64::MAX },
                beyond: Some(object.to_owned().unbind()),
            }),
            Err(error) => Err(error),
        }
    }
}

/// The types that a number is asked for as, and what they hold of Python's.
pub(super) trait Ranged: TryFrom<i64> {
    const RANGE: &str;
}

impl Ranged for u8 {
    const RANGE: &str = "from 0 to 255";
}

impl Ranged for u16 {
    const RANGE: &str = "from 0 to 65535";
}

impl Ranged for u32 {
    const RANGE: &str = "from 0 to 2^32 - 1";
}

impl Ranged for u64 {
    const RANGE: &str = "from 0 to 2^63 - 1";
}

impl Ranged for i32 {
    const RANGE: &str = "from -2^31 to 2^31 - 1";
}

impl Whole {
    pub(super) const fn of(number: i64) -> Self {
        Self { number, beyond: None }
    }

    /// The number as a `T`, which is what `name` may be.
    pub(super) fn to<T: Ranged>(&self, py: Python<'_>, name: &str) -> PyResult<T> {
        self.within()
            .ok_or_else(|| out_of_range(py, name, None, &self.value(py), T::RANGE))
    }

    /// The same of one of the numbers of an array.
    pub(super) fn of_array<T: Ranged>(&self, py: Python<'_>, name: &str, index: usize) -> PyResult<T> {
        self.within()
            .ok_or_else(|| out_of_range(py, name, Some(index), &self.value(py), T::RANGE))
    }

    fn within<T: Ranged>(&self) -> Option<T> {
        T::try_from(self.number).ok().filter(|_| self.beyond.is_none())
    }

    /// The number as it came.
    fn value<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        match &self.beyond {
            Some(value) => value.bind(py).clone(),
            None => PyInt::new(py, self.number).into_any(),
        }
    }

    /// The sequence of this id; one that no cache has if it is none.
    pub(super) fn id(&self) -> SequenceId {
        SequenceId::from_bits(self.number.cast_unsigned())
    }
}

/// An id as Python has it.
pub(super) fn id_number(id: SequenceId) -> i64 {
    id.to_bits().cast_signed()
}

/// What is wrong with an array.
enum Wrong {
    /// Its type, and what would be right.
    Type(&'static str),
    /// The number at this index.
    At(usize),
}

/// An array of numbers, or a list of ints.
fn read<T>(
    object: &Bound<'_, PyAny>,
    name: &str,
    range: &str,
    convert: impl Fn(&Lent) -> Result<Vec<T>, Wrong>,
    one: impl Fn(&Whole) -> Option<T>,
) -> PyResult<Vec<T>> {
    let py = object.py();
    if let Some(lent) = Lent::get(object, name, false)? {
        if lent.shape().len() != 1 {
            let shape = lent.shape();
            return Err(invalid(
                py,
                format!("`{name}` has the shape {shape:?}, and one dimension was expected"),
            ));
        }
        return convert(&lent).map_err(|wrong| match wrong {
            Wrong::Type(right) => invalid(
                py,
                format!("`{name}` is an array of {}, not of {right}", lent.kind().name()),
            ),
            Wrong::At(index) => match object.get_item(index) {
                Ok(value) => out_of_range(py, name, Some(index), &value, range),
                Err(error) => error,
            },
        });
    }
    let mut numbers = Vec::with_capacity(object.len().unwrap_or(0));
    for (index, item) in object.try_iter()?.enumerate() {
        let item = item?;
        match one(&item.extract()?) {
            Some(number) => numbers.push(number),
            None => return Err(out_of_range(py, name, Some(index), &item, range)),
        }
    }
    Ok(numbers)
}

/// Each element as a `u32`. Looked through before it is copied: both loops are then vectors.
fn narrow<S: Copy>(values: &[S], fits: impl Fn(S) -> bool, cut: impl Fn(S) -> u32) -> Result<Vec<u32>, Wrong> {
    if values.iter().fold(true, |all, value| all & fits(*value)) {
        return Ok(values.iter().map(|value| cut(*value)).collect());
    }
    let index = values.iter().position(|value| !fits(*value));
    Err(Wrong::At(index.unwrap_or_default()))
}

/// Numbers from 0 to 2^32 - 1: tokens, positions, counts.
pub(super) fn read_u32(object: &Bound<'_, PyAny>, name: &str) -> PyResult<Vec<u32>> {
    let convert = |lent: &Lent| match lent.kind() {
        Kind::U32 => Ok(lent.elements::<u32>().unwrap_or_default().to_vec()),
        Kind::I32 => narrow(lent.elements().unwrap_or_default(), |n: i32| n >= 0, i32::cast_unsigned),
        Kind::I64 => narrow(lent.elements().unwrap_or_default(), |n: i64| n >> 32 == 0, |n| n as u32),
        Kind::U64 => narrow(lent.elements().unwrap_or_default(), |n: u64| n >> 32 == 0, |n| n as u32),
        Kind::Flags => Err(Wrong::Type("int32, uint32, int64 or uint64")),
    };
    read(object, name, u32::RANGE, convert, Whole::within)
}

/// Ids of sequences, in 64 bits. A number that is none becomes an id that no cache has.
pub(super) fn read_ids(object: &Bound<'_, PyAny>, name: &str) -> PyResult<Vec<SequenceId>> {
    let convert = |lent: &Lent| match lent.kind() {
        Kind::I64 | Kind::U64 => {
            let numbers = lent.numbers_64().unwrap_or_default().iter();
            Ok(numbers.map(|number| SequenceId::from_bits(*number)).collect())
        }
        Kind::I32 | Kind::U32 | Kind::Flags => Err(Wrong::Type("int64, as ids have 64 bits")),
    };
    read(object, name, "of 64 bits", convert, |number| Some(number.id()))
}

/// Numbers in rows, as they are, cut to 64 bits; and the shape of the array, of one dimension or two. Whoever uses one checks it.
pub(super) fn read_rows(object: &Bound<'_, PyAny>, name: &str) -> PyResult<(Vec<i64>, Vec<usize>)> {
    let py = object.py();
    let Some(lent) = Lent::get(object, name, false)? else {
        let numbers: Vec<Whole> = object.extract()?;
        let shape = vec![numbers.len()];
        return Ok((numbers.into_iter().map(|number| number.number).collect(), shape));
    };
    if !(1..=2).contains(&lent.shape().len()) {
        let shape = lent.shape();
        return Err(invalid(
            py,
            format!("`{name}` has the shape {shape:?}, and one or two dimensions were expected"),
        ));
    }
    let numbers: Vec<i64> = match lent.kind() {
        Kind::I32 => widen(lent.elements::<i32>()),
        Kind::U32 => widen(lent.elements::<u32>()),
        Kind::I64 => widen(lent.elements::<i64>()),
        Kind::U64 => {
            let all = lent.elements::<u64>().unwrap_or_default().iter();
            all.map(|number| i64::try_from(*number).unwrap_or(i64::MAX)).collect()
        }
        Kind::Flags => {
            let text = format!("`{name}` is an array of bool or bytes, not of int32, uint32, int64 or uint64");
            return Err(invalid(py, text));
        }
    };
    Ok((numbers, lent.shape().to_vec()))
}

fn widen<T: Copy + Into<i64>>(numbers: Option<&[T]>) -> Vec<i64> {
    numbers
        .unwrap_or_default()
        .iter()
        .map(|number| (*number).into())
        .collect()
}

/// Flags: an array of `bool` or of bytes, or a list of what is true or false.
pub(super) fn read_flags(object: &Bound<'_, PyAny>, name: &str) -> PyResult<Vec<bool>> {
    if let Some(lent) = Lent::get(object, name, false)? {
        return match lent.elements::<u8>() {
            Some(flags) if lent.shape().len() == 1 => Ok(flags.iter().map(|flag| *flag != 0).collect()),
            _ => Err(invalid(
                object.py(),
                format!(
                    "`{name}` is an array of bool of one dimension, not of {} of shape {:?}",
                    lent.kind().name(),
                    lent.shape()
                ),
            )),
        };
    }
    object.try_iter()?.map(|item| item?.is_truthy()).collect()
}
