//! Reading what C passes: the witness that makes raw pointers readable, and every check that can be made on them.
//!
//! A `FromC` exists only while the guard runs the body of a C function. Its existence stands for the promise of the caller, that
//! non-NULL pointers point to what the signature says, for as long as the call runs; therefore its methods can be safe functions,
//! and what they return cannot outlive it. What a callee can check, they check: NULL, alignment, lengths, UTF-8, struct sizes.

use std::ffi::{CStr, c_char};
use std::marker::PhantomData;
use std::time::Duration;

use park_core::{Error, ErrorKind, Result};

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct FromC(());

/// A place of the caller's that a result is written to, on success only.
#[derive(Debug)]
pub(crate) struct Out<'a, T> {
    place: *mut T,
    call: PhantomData<&'a FromC>,
}

impl<T> Out<'_, T> {
    /// Writes the result. What the place held before is not looked at.
    pub(crate) fn set(self, value: T) {
        // SAFETY: not NULL and aligned (checked when this was made); writable while the call runs, as the witness vouches.
        unsafe { self.place.write(value) };
    }
}

impl<T> Out<'_, *mut T> {
    /// Writes a new handle.
    pub(crate) fn set_handle(self, value: T) {
        self.set(Box::into_raw(Box::new(value)));
    }
}

/// Structs that begin with `size_t struct_size`.
///
/// # Safety
/// The type is `repr(C)`, begins with a `usize` that holds the struct's size, and every bit pattern is a value of it.
pub(crate) unsafe trait Sized: Copy {
    /// What members that the caller does not know of are taken to be.
    fn defaults() -> Self;
}

/// Larger structs than this are not a newer version but garbage.
const MAX_STRUCT: usize = 4096;

pub(crate) fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidArgument, message)
}

fn check<T>(pointer: *const T, name: &str) -> Result<()> {
    if pointer.is_null() {
        return Err(invalid(format!("`{name}` is NULL")));
    }
    if !pointer.is_aligned() {
        return Err(invalid(format!(
            "`{name}` ({pointer:p}) is not aligned to {} bytes",
            align_of::<T>()
        )));
    }
    Ok(())
}

impl FromC {
    /// # Safety
    /// The pointers that will be read through this witness come from one C call and follow the rules at the head of `park.h`.
    pub(crate) unsafe fn new() -> Self {
        Self(())
    }

    /// What a pointer points to.
    pub(crate) fn borrow<T>(&self, pointer: *const T, name: &str) -> Result<&T> {
        check(pointer, name)?;
        // SAFETY: not NULL, aligned, and live while the call runs, as the witness vouches. Handles are only ever lent as `&`.
        Ok(unsafe { &*pointer })
    }

    /// A copy of a plain value.
    pub(crate) fn read<T: Copy>(&self, pointer: *const T, name: &str) -> Result<T> {
        self.borrow(pointer, name).copied()
    }

    /// A place for a result.
    pub(crate) fn out<T>(&self, place: *mut T, name: &str) -> Result<Out<'_, T>> {
        check(place, name)?;
        Ok(Out {
            place,
            call: PhantomData,
        })
    }

    /// An array of `len` elements; NULL if there are none.
    pub(crate) fn slice<T>(&self, pointer: *const T, len: usize, name: &str) -> Result<&[T]> {
        if len == 0 {
            return Ok(&[]);
        }
        check(pointer, name)?;
        if len
            .checked_mul(size_of::<T>())
            .is_none_or(|bytes| isize::try_from(bytes).is_err())
        {
            return Err(invalid(format!("`{name}` cannot have {len} elements")));
        }
        // SAFETY: as in `borrow`; the length fits into an address space (checked above).
        Ok(unsafe { std::slice::from_raw_parts(pointer, len) })
    }

    /// An array of `len` elements, to be written to; empty for NULL if there are none.
    ///
    /// # Safety
    /// Nobody else has a reference to any of them while the slice lives.
    #[allow(
        clippy::mut_from_ref,
        reason = "the witness stands for the caller's memory, of which this is a part by itself"
    )]
    pub(crate) unsafe fn slice_mut<T>(&self, place: *mut T, len: usize, name: &str) -> Result<&mut [T]> {
        let len = self.slice(place.cast_const(), len, name)?.len();
        if len == 0 {
            return Ok(&mut []);
        }
        // SAFETY: as in `slice`, and the caller's promise.
        Ok(unsafe { std::slice::from_raw_parts_mut(place, len) })
    }

    /// An array of `len` places for results.
    pub(crate) fn out_slice<T>(&self, place: *mut T, len: usize, name: &str) -> Result<Vec<Out<'_, T>>> {
        self.slice(place.cast_const(), len, name)?;
        Ok((0..len)
            .map(|at| Out {
                place: place.wrapping_add(at),
                call: PhantomData,
            })
            .collect())
    }

    /// An array of handles.
    pub(crate) fn handles<T>(&self, pointer: *const *const T, len: usize, name: &str) -> Result<Vec<&T>> {
        let pointers = self.slice(pointer, len, name)?;
        pointers
            .iter()
            .enumerate()
            .map(|(at, handle)| self.borrow(*handle, &format!("{name}[{at}]")))
            .collect()
    }

    /// A NUL-terminated UTF-8 string.
    pub(crate) fn text(&self, pointer: *const c_char, name: &str) -> Result<&str> {
        check(pointer, name)?;
        // SAFETY: not NULL, and NUL-terminated, as the witness vouches.
        let text = unsafe { CStr::from_ptr(pointer) };
        text.to_str()
            .map_err(|error| invalid(format!("`{name}` is not UTF-8: {error}")))
    }

    /// A struct that says its own size: members beyond it have their defaults; members that this library does not know must be 0.
    pub(crate) fn sized<T: Sized>(&self, pointer: *const T, name: &str) -> Result<T> {
        check(pointer, name)?;
        let size = self.struct_size(pointer.cast(), name)?;
        let bytes = self.slice(pointer.cast::<u8>(), size, name)?;
        if bytes
            .get(size_of::<T>()..)
            .is_some_and(|rest| rest.iter().any(|byte| *byte != 0))
        {
            let message = format!("`{name}` has members that this version of park does not know");
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let mut value = T::defaults();
        let known = bytes.len().min(size_of::<T>());
        // SAFETY: both ranges are `known` bytes long and apart; any bytes are a `T`, as its author promised.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), (&raw mut value).cast(), known) };
        Ok(value)
    }

    /// Fills a struct whose `struct_size` the caller has set; an older caller gets the members it knows.
    pub(crate) fn out_sized<T: Sized>(&self, place: *mut T, name: &str) -> Result<impl FnOnce(T) + use<'_, T>> {
        check(place, name)?;
        let size = self.struct_size(place.cast_const().cast(), name)?;
        let skip = size_of::<usize>();
        let known = size.min(size_of::<T>()) - skip;
        let target = place.cast::<u8>().wrapping_add(skip);
        Ok(move |value: T| {
            let source = (&raw const value).cast::<u8>().wrapping_add(skip);
            // SAFETY: `known` bytes lie inside both structs; the caller's `struct_size` member is left as it is.
            unsafe { std::ptr::copy_nonoverlapping(source, target, known) };
        })
    }

    fn struct_size(&self, pointer: *const usize, name: &str) -> Result<usize> {
        let size = self.read(pointer, name)?;
        if !(2 * size_of::<usize>()..=MAX_STRUCT).contains(&size) {
            return Err(invalid(format!(
                "`{name}->struct_size` is {size}: set it to the struct's sizeof"
            )));
        }
        Ok(size)
    }
}

/// Milliseconds of a C call: -1 is for ever, 0 does not wait.
pub(crate) fn timeout(milliseconds: i64) -> Result<Option<Duration>> {
    match u64::try_from(milliseconds) {
        Ok(milliseconds) => Ok(Some(Duration::from_millis(milliseconds))),
        Err(_) if milliseconds == -1 => Ok(None),
        Err(_) => Err(invalid(format!(
            "a timeout is -1, 0 or positive milliseconds, got {milliseconds}"
        ))),
    }
}
