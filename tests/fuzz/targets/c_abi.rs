//! Sequences of calls of `park.h`, each with arguments that a program gets wrong: NULL, misaligned and closed handles, lengths that
//! cannot be, offsets past the end, texts that are not UTF-8.
//!
//! What C cannot know, a fuzzer must not do: pointers are live values of their type, or NULL, or misaligned. After each sequence every
//! handle is freed, and the session must be empty: no call may keep or lose an object.
#![allow(
    clippy::multiple_unsafe_ops_per_block,
    reason = "one argument holds for all calls: how the pointers are made"
)]

use std::ffi::{CString, c_char, c_void};
use std::ptr::{null, null_mut};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use park_c::actor::*;
use park_c::error::*;
use park_c::mutable_object::*;
use park_c::object::*;
use park_c::object_id::*;
use park_c::object_ref::*;
use park_c::promise::*;
use park_c::session::*;
use park_c::task::*;
use park_c::task_call::*;
use park_c::tensor::*;

use super::input::Input;

struct Session(*mut park_session);
// SAFETY: the type is documented as shared.
unsafe impl Send for Session {}
// SAFETY: as above.
unsafe impl Sync for Session {}

static SESSION: LazyLock<Session> = LazyLock::new(|| {
    let options = park_session_options {
        struct_size: size_of::<park_session_options>(),
        capacity: 4 << 20,
        full_timeout_ms: 1,
        max_objects: 1024,
        native_threads: 1,
        reserve: 0,
        prefault: 0,
        huge_pages: 0,
        no_spill: 1,
        spill_directory: null(),
        spill_limit: 0,
    };
    let mut session = null_mut();
    // SAFETY: live values, and a place for the handle.
    let opened = unsafe { park_session_open(&options, &mut session, null_mut()) };
    assert_eq!(opened, PARK_OK);
    // SAFETY: as above; the function takes what it is given.
    let registered = unsafe { park_task_register(session, c"copy".as_ptr(), Some(copy), null_mut(), None, null_mut()) };
    assert_eq!(registered, PARK_OK);
    Session(session)
});

/// A task that returns its first argument's bytes in its first return, or fails.
unsafe extern "C" fn copy(call: *mut park_task_call, _: *mut c_void, err: *mut *mut park_error) -> park_status {
    let (mut object, mut data, mut len) = (null(), null(), 0);
    // SAFETY: the call is lent by park, and the places are local variables.
    unsafe {
        match park_task_call_arg(call, 0, &mut object, err) {
            PARK_OK => {}
            other => return other,
        }
        match park_object_data(object, &mut data, &mut len, err) {
            PARK_OK => park_task_call_put(call, 0, data, len, err),
            other => other,
        }
    }
}

unsafe extern "C" fn act(
    call: *mut park_task_call,
    _: *const c_char,
    data: *mut c_void,
    err: *mut *mut park_error,
) -> park_status {
    // SAFETY: as in `copy`.
    unsafe { copy(call, data, err) }
}

/// The handles of one sequence; a slot that is NULL holds none.
struct Handles {
    refs: [*mut park_object_ref; 4],
    objects: [*mut park_object; 4],
    writing: [*mut park_mutable_object; 4],
    promises: [*mut park_promise; 2],
    actors: [*mut park_actor; 1],
    errors: [*mut park_error; 2],
}

/// One of the handles, NULL, or a pointer that no handle can have.
fn any<T>(input: &mut Input<'_>, handles: &[*mut T]) -> *mut T {
    match input.byte() {
        0..=219 => handles[usize::from(input.byte()) % handles.len()],
        220..=239 => null_mut(),
        _ => std::ptr::without_provenance_mut(1),
    }
}

/// A place for a result. An empty slot of `handles`; or NULL, or one that is not aligned.
fn place<T>(input: &mut Input<'_>, handles: &mut [*mut T]) -> *mut *mut T {
    match (input.byte(), handles.iter_mut().find(|handle| handle.is_null())) {
        (0..=219, Some(empty)) => empty,
        (220..=239, _) => std::ptr::without_provenance_mut(1),
        _ => null_mut(),
    }
}

fn value<T>(input: &mut Input<'_>, value: &mut T) -> *mut T {
    match input.byte() {
        0..=229 => value,
        // What may lie anywhere cannot be misaligned.
        230..=242 => null_mut(),
        _ if align_of::<T>() == 1 => null_mut(),
        _ => std::ptr::without_provenance_mut(1),
    }
}

/// A text of any bytes.
fn text(input: &mut Input<'_>) -> CString {
    let len = usize::from(input.byte() % 64);
    let bytes: Vec<u8> = input.bytes(len).iter().copied().filter(|byte| *byte != 0).collect();
    CString::new(bytes).unwrap_or_default()
}

/// Bytes, and a length that is theirs or cannot be.
fn data<'a>(input: &mut Input<'a>) -> (*const c_void, usize) {
    let len = input.number();
    let count = usize::from(input.byte());
    let bytes = input.bytes(count);
    let honest = (bytes.as_ptr().cast(), bytes.len());
    match input.byte() {
        0..=229 => honest,
        230..=242 => (null(), len as usize),
        _ => (honest.0, (len | 1 << 63) as usize),
    }
}

fn object_spec(input: &mut Input<'_>, nested: *const *const park_object_ref, count: usize) -> park_object_spec {
    let odd = input.byte();
    park_object_spec {
        struct_size: if odd < 250 {
            size_of::<park_object_spec>()
        } else {
            input.number() as usize % 41
        },
        len: input.number() as usize,
        nested: if odd % 16 == 1 { null() } else { nested },
        num_nested: if odd % 16 == 2 {
            usize::MAX
        } else {
            usize::from(input.byte()) % (count + 1)
        },
        format: u32::from(input.byte() % 8),
        reserved: u32::from(odd % 32 == 3),
    }
}

pub(crate) fn target(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut handles = Handles {
        refs: [null_mut(); 4],
        objects: [null_mut(); 4],
        writing: [null_mut(); 4],
        promises: [null_mut(); 2],
        actors: [null_mut(); 1],
        errors: [null_mut(); 2],
    };
    for _ in 0..64 {
        if input.is_empty() {
            break;
        }
        // SAFETY: every pointer is live and of its type, NULL or misaligned, as the functions above make them.
        unsafe { step(&mut input, &mut handles) };
    }
    // SAFETY: each handle is freed once, and not used after.
    unsafe {
        handles.refs.iter().for_each(|handle| park_object_ref_free(*handle));
        handles.objects.iter().for_each(|handle| park_object_free(*handle));
        handles
            .writing
            .iter()
            .for_each(|handle| park_mutable_object_free(*handle));
        handles.promises.iter().for_each(|handle| park_promise_free(*handle));
        handles.actors.iter().for_each(|handle| park_actor_free(*handle));
        handles.errors.iter().for_each(|handle| park_error_free(*handle));
    }
    let patience = Instant::now() + Duration::from_secs(10);
    loop {
        let mut stats = park_session_stats {
            struct_size: size_of::<park_session_stats>(),
            ..Default::default()
        };
        // SAFETY: live values.
        let read = unsafe { park_session_read_stats(SESSION.0, &mut stats, null_mut()) };
        assert_eq!(read, PARK_OK);
        if (stats.objects, stats.used, stats.promised) == (0, 0, 0) {
            break;
        }
        // Tasks and actors that still run hold theirs.
        assert!(Instant::now() < patience, "left behind: {stats:?}");
        std::thread::yield_now();
    }
}

/// # Safety
/// The handles are live or NULL.
unsafe fn step(input: &mut Input<'_>, h: &mut Handles) {
    let session = match input.byte() {
        0..=239 => SESSION.0,
        240..=247 => null_mut(),
        _ => std::ptr::without_provenance_mut(1),
    };
    let which = input.byte() % 38;
    let refs: Vec<*const park_object_ref> = h.refs.iter().filter(|r| !r.is_null()).map(|r| r.cast_const()).collect();
    let mut err: *mut park_error = null_mut();
    let e: *mut *mut park_error = value(input, &mut err);
    let (mut id, mut flag, mut len, mut pointer) = (park_object_id { bytes: [0; 16] }, false, 0usize, null::<c_void>());
    let mut ready = [false; 4];
    // SAFETY: as this function's caller promises; places are local variables, or what `place` and `value` give.
    unsafe {
        match which {
            0..=2 => {
                let (data, len) = data(input);
                park_object_put(session, data, len, place(input, &mut h.refs), e)
            }
            3 | 4 => park_object_create(session, input.number() as usize, place(input, &mut h.writing), e),
            5 | 6 => {
                let mut spec = object_spec(input, refs.as_ptr(), refs.len());
                park_object_create_with(session, value(input, &mut spec), place(input, &mut h.writing), e)
            }
            7 | 8 => {
                let timeout = [0, 1, -2, i64::MIN][usize::from(input.byte() % 4)];
                park_object_get(any(input, &h.refs), timeout, place(input, &mut h.objects), e)
            }
            9 => {
                let count = if input.byte() < 240 { refs.len() } else { usize::MAX };
                let ready = if input.byte() < 128 {
                    ready.as_mut_ptr()
                } else {
                    null_mut()
                };
                park_object_wait(
                    refs.as_ptr(),
                    count,
                    input.number() as usize,
                    0,
                    ready,
                    value(input, &mut len),
                    e,
                )
            }
            10 => park_object_data(
                any(input, &h.objects),
                value(input, &mut pointer),
                value(input, &mut len),
                e,
            ),
            11 => park_object_reference(any(input, &h.objects), place(input, &mut h.refs), e),
            12 => park_object_nested(
                any(input, &h.objects),
                input.number() as usize,
                place(input, &mut h.refs),
                e,
            ),
            13 => park_object_num_nested(any(input, &h.objects), value(input, &mut len), e),
            14 => park_object_release(any(input, &h.objects), e),
            15 => park_object_ref_release(any(input, &h.refs), e),
            16 => park_object_ref_clone(any(input, &h.refs), place(input, &mut h.refs), e),
            17 => park_object_ref_is_ready(any(input, &h.refs), value(input, &mut flag), e),
            18 => {
                let mut text = [0 as c_char; PARK_OBJECT_ID_TEXT];
                park_object_ref_id(any(input, &h.refs), value(input, &mut id), e);
                park_object_contains(session, &id, value(input, &mut flag), null_mut());
                park_object_id_format(&id, text.as_mut_ptr(), null_mut());
                park_object_ref_resolve(session, &id, place(input, &mut h.refs), null_mut())
            }
            19 => {
                id.bytes
                    .copy_from_slice(&[input.word().to_le_bytes(), input.word().to_le_bytes()].concat());
                park_object_ref_resolve(session, value(input, &mut id), place(input, &mut h.refs), e)
            }
            20 => park_object_id_parse(text(input).as_ptr(), value(input, &mut id), e),
            21 | 22 => {
                let (data, len) = data(input);
                park_mutable_object_write(any(input, &h.writing), input.number() as usize, data, len, e)
            }
            23 => park_mutable_object_seal(any(input, &h.writing), place(input, &mut h.refs), e),
            24 => park_mutable_object_abort(any(input, &h.writing), e),
            25 => {
                let mut room: *mut c_void = null_mut();
                let writing = any(input, &h.writing);
                if park_mutable_object_data(writing, value(input, &mut room), value(input, &mut len), e) == PARK_OK
                    && len > 0
                {
                    room.cast::<u8>().write(1);
                    room.cast::<u8>().add(len - 1).write(2);
                }
                PARK_OK
            }
            26 | 27 => {
                let shape: Vec<i64> = (0..9).map(|_| input.number() as i64).collect();
                let strides: Vec<i64> = (0..9).map(|_| input.number() as i64).collect();
                let mut spec = park_tensor_spec {
                    struct_size: size_of::<park_tensor_spec>(),
                    dtype: input.number() as u32,
                    view: u32::from(input.byte() % 3),
                    ndim: if input.byte() < 250 {
                        usize::from(input.byte() % 10)
                    } else {
                        usize::MAX
                    },
                    shape: shape.as_ptr(),
                    strides: if input.byte() < 128 { null() } else { strides.as_ptr() },
                };
                if spec.ndim > 9 {
                    spec.shape = null();
                }
                park_tensor_create(session, value(input, &mut spec), place(input, &mut h.writing), e)
            }
            28 => {
                let mut tensor = std::mem::zeroed::<park_tensor>();
                tensor.struct_size = if input.byte() < 250 {
                    size_of::<park_tensor>()
                } else {
                    input.number() as usize % 169
                };
                park_tensor_read(any(input, &h.objects), value(input, &mut tensor), e)
            }
            29 => park_promise_make(session, place(input, &mut h.promises), place(input, &mut h.refs), e),
            30 => {
                let (data, len) = data(input);
                park_promise_put(any(input, &h.promises), data, len, e)
            }
            31 => {
                let mut spec = object_spec(input, refs.as_ptr(), refs.len());
                park_promise_create(
                    any(input, &h.promises),
                    value(input, &mut spec),
                    place(input, &mut h.writing),
                    e,
                )
            }
            32 => park_promise_fail(any(input, &h.promises), any(input, &h.errors), e),
            33 => park_promise_release(any(input, &h.promises), e),
            34 => {
                if let Some(empty) = h.errors.iter_mut().find(|error| error.is_null()) {
                    *empty = park_error_new(input.number() as i32, text(input).as_ptr());
                }
                let error = any(input, &h.errors);
                park_error_message(error);
                park_error_detail(error, value(input, &mut pointer), value(input, &mut len), e)
            }
            35 | 36 => {
                let name = if input.byte() < 200 {
                    c"copy".to_owned()
                } else {
                    text(input)
                };
                let count = usize::from(input.byte() % 2);
                park_task_submit(
                    session,
                    name.as_ptr(),
                    refs.as_ptr(),
                    refs.len(),
                    count,
                    place(input, &mut h.refs),
                    e,
                )
            }
            _ if h.actors[0].is_null() => {
                let act: park_actor_function = if input.byte() < 240 { Some(act) } else { None };
                park_actor_spawn(
                    session,
                    text(input).as_ptr(),
                    act,
                    null_mut(),
                    None,
                    place(input, &mut h.actors),
                    e,
                )
            }
            _ => {
                let count = usize::from(input.byte() % 2);
                let returns = place(input, &mut h.refs);
                park_actor_call(
                    any(input, &h.actors),
                    text(input).as_ptr(),
                    refs.as_ptr(),
                    refs.len(),
                    count,
                    returns,
                    e,
                )
            }
        };
        park_error_free(err);
    }
}
