/*
 * park: a zero-copy object store, tasks and actors for the processes of one machine.
 *
 * Generated from park-c by `make header`: do not edit.
 *
 * Calls. A call that can fail returns a park_status, PARK_OK being 0, and takes a place for an error last. That place may be NULL;
 * else it becomes NULL on success, and an error to be freed with park_error_free() on failure. Inputs come first, then the places
 * for results, which are written on success only. There is no error per thread, and no partial success.
 *
 * Pointers. A pointer is to a live value of its type for as long as the call runs, or NULL. NULL and misaligned pointers are
 * PARK_INVALID_ARGUMENT unless a function says that NULL is fine. Text is UTF-8 and ends with a NUL. Nothing that is passed in is
 * kept, except `user_data` of callbacks. A handle is freed once, by the _free function of its type, and not used after that. A
 * handle that was closed, sealed, aborted or released but not freed yet is PARK_HANDLE_CLOSED.
 *
 * Threads. Each type is one of: shared (any thread, also at the same time), movable (any thread, one at a time), pinned (one
 * thread only). No handle may be freed while another call uses it.
 *
 * Timeouts are milliseconds: -1 is for ever, 0 only looks.
 *
 * Each function says of itself: Ownership, who frees what it takes and gives; Threads, the rule above under which it may be called;
 * Errors, the statuses of its own. Beside those, any call may end with PARK_INVALID_ARGUMENT, PARK_HANDLE_CLOSED, PARK_FORKED,
 * PARK_CORRUPT (another process of the session wrote into shared memory what must not be there) or PARK_INTERNAL.
 *
 * Structs that begin with struct_size: set it to the struct's sizeof, and the members you do not use to 0.
 *
 * In a child made by fork() every handle of its parent is PARK_FORKED; freeing one there does nothing to the session.
 */

#ifndef PARK_H
#define PARK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Length of an id as text, with the closing NUL.
#define PARK_OBJECT_ID_TEXT 33

// Most dimensions of a tensor.
#define PARK_TENSOR_MAX_NDIM 8

// Major version of the header.
#define PARK_VERSION_MAJOR 0

// Minor version of the header.
#define PARK_VERSION_MINOR 1

// Patch version of the header.
#define PARK_VERSION_PATCH 0

// Version of the binary interface of the header. It changes when a program compiled for the old one cannot run with the new one.
#define PARK_ABI_VERSION 1

// A caller of an actor. Calls through one handle run in their order, also when early ones wait for arguments; a clone is a
// caller of its own. Shared. Free it with park_actor_free(): the actor ends with its last handle, after what was asked is done.
typedef struct park_actor park_actor;

// A channel, seen by this process. It is an object of the store, and lives as long as handles or references to it do. Shared. Free it
// with park_channel_free().
typedef struct park_channel park_channel;

// A message of a channel: its bytes do not move or change until it is released. Shared. Free it with park_channel_message_free().
typedef struct park_channel_message park_channel_message;

// A reader of a channel. Movable. Free it with park_channel_reader_free().
typedef struct park_channel_reader park_channel_reader;

// The writer's end of a channel, of which there is one at a time. Movable. Free it with park_channel_writer_free().
typedef struct park_channel_writer park_channel_writer;

// An error: a status, and a message that names what was asked and what was found. Shared. Free it with park_error_free().
typedef struct park_error park_error;

// Memory for one object that is being written, until it is sealed or aborted. Movable. Free it with park_mutable_object_free().
typedef struct park_mutable_object park_mutable_object;

// A view of a sealed object, which it keeps alive: its bytes do not move or change while it exists. Shared. Free it with
// park_object_free().
typedef struct park_object park_object;

// Keeps one object alive, made already or promised. Shared. Free it with park_object_ref_free().
typedef struct park_object_ref park_object_ref;

// The duty to make one object, to which others hold references already. Shared. Free it with park_promise_free(): a promise that
// was not kept by then is raised as PARK_OBJECT_LOST in whoever reads the object, and so is that of a process that dies.
typedef struct park_promise park_promise;

// A session that this process opened or attached to. Shared. Free it with park_session_free(), which also closes it.
typedef struct park_session park_session;

// One call, as its callback sees it. Pinned, and borrowed: valid on the callback's thread until the callback returns.
typedef struct park_task_call park_task_call;

// How a call ended: PARK_OK, or the number of a kind of error. Numbers never change their meaning; new ones may be added.
typedef int32_t park_status;

// What an actor does when it is called: as park_task_function, but all calls are made by one thread, one after another, so
// `user_data` needs no lock. `method` is valid until it returns.
typedef park_status (*park_actor_function)(park_task_call *call, const char *method, void *user_data, park_error **err);

// Called once with a callback's `user_data`, when park needs it no longer, on any thread.
typedef void (*park_destructor)(void *user_data);

// How large a channel is. Set struct_size to sizeof(park_channel_options).
typedef struct {
  // sizeof(park_channel_options).
  size_t struct_size;
  // Messages that fit at once; 0 is 8.
  uint64_t slots;
  // Bytes of the longest message; for a tensor, of its elements.
  uint64_t slot_bytes;
  // Readers that are waited for from the first message on, at most 64. 0 is a broadcast to whoever is there.
  uint64_t readers;
} park_channel_options;

// What the bytes of an object mean.
typedef uint32_t park_format;

// The element type of a tensor: DLPack's type code times 256, plus the bits of one element.
typedef uint32_t park_dtype;

// The type that a tensor has in Python.
typedef uint32_t park_view;

// A tensor that can be read in place. Set struct_size to sizeof(park_tensor) before the call that fills it.
typedef struct {
  // sizeof(park_tensor).
  size_t struct_size;
  // Element type.
  park_dtype dtype;
  // PARK_VIEW_NUMPY, PARK_VIEW_TORCH or PARK_VIEW_PLAIN.
  park_view view;
  // Number of dimensions.
  size_t ndim;
  // Extents; 0 beyond `ndim`.
  int64_t shape[PARK_TENSOR_MAX_NDIM];
  // Distances between neighbours, in elements; 0 beyond `ndim`.
  int64_t strides[PARK_TENSOR_MAX_NDIM];
  // The elements, aligned to 64 bytes, or if they lie in a file (PARK_FORMAT_MAPPED) to the size of one. Read-only; valid while
  // the object's view is.
  const void *data;
  // Bytes of all elements.
  size_t nbytes;
} park_tensor;

// What tensor to make. Set struct_size to sizeof(park_tensor_spec).
typedef struct {
  // sizeof(park_tensor_spec).
  size_t struct_size;
  // Element type: one of PARK_INT8 ... PARK_FLOAT8_E8M0FNU.
  park_dtype dtype;
  // PARK_VIEW_NUMPY, PARK_VIEW_TORCH or PARK_VIEW_PLAIN.
  park_view view;
  // Number of dimensions, up to PARK_TENSOR_MAX_NDIM.
  size_t ndim;
  // `ndim` extents. May be NULL if there are none.
  const int64_t *shape;
  // `ndim` distances between neighbours, in elements, of a dense layout; NULL for row-major order.
  const int64_t *strides;
} park_tensor_spec;

// The name of one object, for ever. A value: it keeps nothing alive. Compare the bytes for equality.
typedef struct {
  // As every language of park writes it.
  uint8_t bytes[16];
} park_object_id;

// What object to make. Set struct_size to sizeof(park_object_spec), and what is not used to 0.
typedef struct {
  // sizeof(park_object_spec).
  size_t struct_size;
  // Payload bytes.
  size_t len;
  // `num_nested` objects that the new one keeps alive, for as long as it exists itself. May be NULL if there are none.
  const park_object_ref *const *nested;
  // Number of nested objects.
  size_t num_nested;
  // What the payload means: PARK_FORMAT_RAW, PARK_FORMAT_PICKLE5 or PARK_FORMAT_ARROW.
  park_format format;
  // 0.
  uint32_t reserved;
} park_object_spec;

// How to open a session. Set struct_size to sizeof(park_session_options); every member that is 0 has its default.
typedef struct {
  // sizeof(park_session_options).
  size_t struct_size;
  // Bytes of object memory. Default: 30 % of the memory that the machine or the container allows.
  uint64_t capacity;
  // How long a producer waits for room, in milliseconds. Default: 2000.
  uint64_t full_timeout_ms;
  // How many objects may exist at once. Default: 2097152.
  uint32_t max_objects;
  // Threads that run native tasks. Default: one a CPU.
  uint32_t native_threads;
  // 1: take the memory of the whole capacity now and keep it, PARK_STORE_FULL if the machine does not have it. Default: memory is
  // taken as it is needed, and given back when the store is idle.
  uint32_t reserve;
  // 1: as reserve, and fill in this process's page tables too, about a second for 4 GB. PARK_UNSUPPORTED before Linux 5.14.
  uint32_t prefault;
  // 1: ask for huge pages where the system allows them for shared memory.
  uint32_t huge_pages;
  // 1: keep objects in memory only. Default: those that do not fit go to disk.
  uint32_t no_spill;
  // Below which directory objects go to disk. Default: the system's directory for temporary files.
  const char *spill_directory;
  // Bytes that may be on disk at once. Default: 90 % of what is free there when the first object goes.
  uint64_t spill_limit;
} park_session_options;

// What a session is, which does not change. Set struct_size to sizeof(park_session_info) before the call.
typedef struct {
  // sizeof(park_session_info).
  size_t struct_size;
  // The tag that every object id of the session carries.
  uint64_t session;
  // Bytes of object memory.
  uint64_t capacity;
  // How many objects may exist at once.
  uint32_t max_objects;
  // This process's number in the session.
  uint32_t participant;
  // 1 in the process that opened the session, else 0.
  uint32_t is_head;
  // 1 if this process attached with park_session_attach_read_only(), else 0.
  uint32_t is_read_only;
} park_session_info;

// What a session's store holds. Set struct_size to sizeof(park_session_stats) before the call.
typedef struct {
  // sizeof(park_session_stats).
  size_t struct_size;
  // Bytes of object memory.
  uint64_t capacity;
  // Bytes in use.
  uint64_t used;
  // Objects that exist.
  uint64_t objects;
  // Payload bytes that any process copied into or out of the store.
  uint64_t bytes_copied;
  // Payload bytes that were handed out as views, without a copy.
  uint64_t bytes_shared;
  // The most bytes that were in use at once.
  uint64_t peak;
  // Objects that were promised or are being written.
  uint64_t promised;
  // Bytes of blocks that processes keep for their next objects, and give back when the store is full.
  uint64_t cached;
  // The largest object that could be stored now, in bytes.
  uint64_t largest_free;
  // Bytes of memory that the store takes from the system.
  uint64_t resident;
  // Bytes on disk.
  uint64_t spilled;
  // Objects that were written to disk so far.
  uint64_t objects_spilled;
  // Objects that were read back from disk so far.
  uint64_t objects_restored;
} park_session_stats;

// A native task: reads the arguments of `call`, writes its returns, and returns PARK_OK; or fails with another status and, if it
// can say why, an error in `*err`, which park frees. It runs on any thread of the pool, several calls at a time with the same
// `user_data`. No C++ exception may leave it.
typedef park_status (*park_task_function)(park_task_call *call, void *user_data, park_error **err);

// The call did what it says.
#define PARK_OK 0

// An argument is out of range, of the wrong shape, NULL or misaligned.
#define PARK_INVALID_ARGUMENT 1

// No object, actor or function has this name or id.
#define PARK_NOT_FOUND 2

// The deadline passed first.
#define PARK_TIMEOUT 3

// The store cannot hold the object.
#define PARK_STORE_FULL 4

// The object existed and its bytes are gone.
#define PARK_OBJECT_LOST 5

// The id belongs to another session.
#define PARK_FOREIGN_SESSION 6

// The session was shut down, or the process that opened it is gone.
#define PARK_SESSION_CLOSED 7

// The memory offered is not a park segment, is truncated, or has another version.
#define PARK_BAD_SEGMENT 8

// The peer runs as another user, or this process attached to look only.
#define PARK_PERMISSION_DENIED 9

// A signal arrived while the call was blocked.
#define PARK_INTERRUPTED 10

// The task failed.
#define PARK_TASK_FAILED 11

// The process that ran the task died.
#define PARK_WORKER_DIED 12

// The actor is dead and will not come back.
#define PARK_ACTOR_DIED 13

// The actor's process died during the call; the actor may come back.
#define PARK_ACTOR_UNAVAILABLE 14

// No node can ever satisfy the resources asked for.
#define PARK_UNSCHEDULABLE 15

// The handle was inherited through fork() and is not valid in the child.
#define PARK_FORKED 16

// A fixed-size table (objects, processes) has no free entry.
#define PARK_TABLE_FULL 17

// The operating system refused a call.
#define PARK_IO 18

// Shared memory holds a value that the protocol does not allow.
#define PARK_CORRUPT 19

// A defect in park; also a panic that was caught at the boundary to C.
#define PARK_INTERNAL 20

// The name is already taken.
#define PARK_ALREADY_EXISTS 21

// The object has another format than the call can read.
#define PARK_WRONG_FORMAT 22

// The handle was already sealed, aborted, released or closed.
#define PARK_HANDLE_CLOSED 23

// The operation is not offered here.
#define PARK_UNSUPPORTED 24

// The channel was closed, or whoever is at its other end is gone.
#define PARK_CHANNEL_CLOSED 25

// The work was cancelled.
#define PARK_CANCELLED 26

// As PARK_UNSCHEDULABLE, for an actor.
#define PARK_ACTOR_UNSCHEDULABLE 27

// The placement group that the task was to run in is gone.
#define PARK_GROUP_REMOVED 28

// The placement group that the actor was to live in is gone.
#define PARK_ACTOR_GROUP_REMOVED 29

// The user's bytes.
#define PARK_FORMAT_RAW 0

// A Python pickle with out-of-band buffers.
#define PARK_FORMAT_PICKLE5 1

// One dense tensor; park_tensor_read() reads it.
#define PARK_FORMAT_TENSOR 2

// An Arrow IPC stream.
#define PARK_FORMAT_ARROW 3

// One dense tensor whose elements lie in a file (safetensors, say): park_tensor_read() reads it, and the object's bytes are the
// elements. PARK_OBJECT_LOST if the file was changed since it was loaded. A file that is truncated while it is read ends the reader
// by SIGBUS.
#define PARK_FORMAT_MAPPED 7

// Signed integer of 8 bits.
#define PARK_INT8 8

// Signed integer of 16 bits.
#define PARK_INT16 16

// Signed integer of 32 bits.
#define PARK_INT32 32

// Signed integer of 64 bits.
#define PARK_INT64 64

// Unsigned integer of 8 bits.
#define PARK_UINT8 264

// Unsigned integer of 16 bits.
#define PARK_UINT16 272

// Unsigned integer of 32 bits.
#define PARK_UINT32 288

// Unsigned integer of 64 bits.
#define PARK_UINT64 320

// IEEE half precision.
#define PARK_FLOAT16 528

// IEEE single precision.
#define PARK_FLOAT32 544

// IEEE double precision.
#define PARK_FLOAT64 576

// The upper half of a single precision number.
#define PARK_BFLOAT16 1040

// Two single precision numbers.
#define PARK_COMPLEX64 1344

// Two double precision numbers.
#define PARK_COMPLEX128 1408

// One byte, 0 or 1.
#define PARK_BOOL 1544

// Eight bits: 3 of exponent, 4 of mantissa, with infinities.
#define PARK_FLOAT8_E3M4 1800

// Eight bits: 4 of exponent, 3 of mantissa, with infinities.
#define PARK_FLOAT8_E4M3 2056

// Eight bits: 4 of exponent (bias 11), 3 of mantissa, finite, no negative zero.
#define PARK_FLOAT8_E4M3B11FNUZ 2312

// Eight bits: 4 of exponent, 3 of mantissa, finite; the usual one for weights and activations.
#define PARK_FLOAT8_E4M3FN 2568

// Eight bits: 4 of exponent, 3 of mantissa, finite, no negative zero.
#define PARK_FLOAT8_E4M3FNUZ 2824

// Eight bits: 5 of exponent, 2 of mantissa, with infinities; the usual one for gradients.
#define PARK_FLOAT8_E5M2 3080

// Eight bits: 5 of exponent, 2 of mantissa, finite, no negative zero.
#define PARK_FLOAT8_E5M2FNUZ 3336

// Eight bits of exponent, a power of two: the scale of a block.
#define PARK_FLOAT8_E8M0FNU 3592

// numpy.ndarray.
#define PARK_VIEW_NUMPY 0

// torch.Tensor, on the CPU.
#define PARK_VIEW_TORCH 1

// park.store.TensorView: of neither library, for others to read through DLPack.
#define PARK_VIEW_PLAIN 2

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Starts an actor on a thread of its own. `name` is for messages. `user_data` is taken over whatever the status is: `destructor`,
// unless it is NULL, has been called when this fails, and else is called on the actor's thread as it ends.
// Ownership: `*out` is the caller's, for park_actor_free(); `name` is copied; `user_data` as above. Threads: shared. Errors:
// PARK_PERMISSION_DENIED, PARK_SESSION_CLOSED, PARK_IO.
park_status park_actor_spawn(const park_session *session,
                             const char *name,
                             park_actor_function function,
                             void *user_data,
                             park_destructor destructor,
                             park_actor **out,
                             park_error **err);

// Calls a method. Arguments and returns are those of park_task_submit().
// Ownership: each of `returns` is the caller's, for park_object_ref_free(); `args` stay the caller's, and their objects live until
// the call ends. Threads: shared. Errors: PARK_ACTOR_DIED, PARK_PERMISSION_DENIED, PARK_FOREIGN_SESSION, PARK_TABLE_FULL, PARK_SESSION_CLOSED.
park_status park_actor_call(const park_actor *actor,
                            const char *method,
                            const park_object_ref *const *args,
                            size_t num_args,
                            size_t num_returns,
                            park_object_ref **returns,
                            park_error **err);

// Another caller of the same actor.
// Ownership: `*out` is the caller's, for park_actor_free(). Threads: shared. Errors: none of its own.
park_status park_actor_clone(const park_actor *actor, park_actor **out, park_error **err);

// Frees a caller. NULL is fine.
// Ownership: takes the handle. Threads: movable. Errors: none.
void park_actor_free(park_actor *actor);

// Makes a channel in the session's store, whose memory it takes at once: (256 + slot_bytes) * slots and some. PARK_STORE_FULL if there is
// no room, PARK_INVALID_ARGUMENT for sizes that cannot be.
// Ownership: `*out` is the caller's, for park_channel_free(). Threads: shared. Errors: PARK_STORE_FULL, PARK_INVALID_ARGUMENT,
// PARK_SESSION_CLOSED.
park_status park_channel_create(const park_session *session,
                                const park_channel_options *options,
                                park_channel **out,
                                park_error **err);

// The channel that an object is, in any process of its session. PARK_WRONG_FORMAT if it is none.
// Ownership: `*out` is the caller's, for park_channel_free(); `ref` stays the caller's. Threads: shared. Errors: PARK_WRONG_FORMAT,
// PARK_SESSION_CLOSED.
park_status park_channel_open(const park_object_ref *object,
                              park_channel **out,
                              park_error **err);

// A reference to the channel's object, to pass to other processes. The caller frees it.
// Ownership: `*out` is the caller's, for park_object_ref_free(). Threads: shared. Errors: none of its own.
park_status park_channel_reference(const park_channel *channel, park_object_ref **out, park_error **err);

// Frees the handle. Writers, readers and messages of the channel stay valid. NULL is fine.
// Ownership: takes the handle. Threads: movable. Errors: none.
void park_channel_free(park_channel *channel);

// The bytes of the message, aligned to 64 bytes. Valid until the message is released or freed.
// Ownership: `*data` is the message's. Threads: shared. Errors: PARK_HANDLE_CLOSED.
park_status park_channel_message_data(const park_channel_message *message,
                                      const void **data,
                                      size_t *len,
                                      park_error **err);

// What the bytes mean: one of PARK_FORMAT_RAW ... PARK_FORMAT_ARROW.
// Ownership: takes and gives nothing. Threads: shared. Errors: PARK_HANDLE_CLOSED.
park_status park_channel_message_format(const park_channel_message *message, park_format *out, park_error **err);

// Describes the tensor that a message is, for reading in place until the message is released or freed. PARK_WRONG_FORMAT if it is none.
// Ownership: `out->data` is the message's. Threads: shared. Errors: PARK_WRONG_FORMAT, PARK_HANDLE_CLOSED.
park_status park_channel_message_tensor(const park_channel_message *message,
                                        park_tensor *out,
                                        park_error **err);

// Gives the slot back to the writer, once the messages read before it are released too. The handle stays to be freed, and is
// PARK_HANDLE_CLOSED.
// Ownership: takes the message's slot, not the handle. Threads: movable. Errors: PARK_HANDLE_CLOSED.
park_status park_channel_message_release(park_channel_message *message,
                                         park_error **err);

// Frees the handle, and releases the message unless that was done. NULL is fine.
// Ownership: takes the handle. Threads: movable. Errors: none.
void park_channel_message_free(park_channel_message *message);

// Takes a seat: one of those that were counted when the channel was made, and then the first message is the first that was ever
// written; else a further one, and then it is the next. PARK_TABLE_FULL if all 64 are taken.
// Ownership: `*out` is the caller's, for park_channel_reader_free(). Threads: shared. Errors: PARK_TABLE_FULL, PARK_CHANNEL_CLOSED.
park_status park_channel_reader_open(const park_channel *channel,
                                     park_channel_reader **out,
                                     park_error **err);

// Waits for the next message and gives it in place. Its slot is not written to again before the message is released or freed, so a
// reader that keeps messages holds the writer up; with all slots in its hands it gets PARK_INVALID_ARGUMENT. PARK_TIMEOUT if none comes in
// time; PARK_CHANNEL_CLOSED when none is left and none can come, because the writer closed the channel or died.
// Ownership: `*out` is the caller's, for park_channel_message_free(). Threads: movable. Errors: PARK_TIMEOUT, PARK_CHANNEL_CLOSED,
// PARK_INVALID_ARGUMENT.
park_status park_channel_reader_read(park_channel_reader *reader,
                                     int64_t timeout_ms,
                                     park_channel_message **out,
                                     park_error **err);

// Frees the handle, and gives the seat back once its messages are released too. NULL is fine.
// Ownership: takes the handle. Threads: movable. Errors: none.
void park_channel_reader_free(park_channel_reader *reader);

// Claims the writer's end. PARK_ALREADY_EXISTS while another writer lives, PARK_CHANNEL_CLOSED after one closed the channel. After one was
// killed, the new one goes on behind the last message that was published.
// Ownership: `*out` is the caller's, for park_channel_writer_free(). Threads: shared. Errors: PARK_ALREADY_EXISTS, PARK_CHANNEL_CLOSED.
park_status park_channel_writer_open(const park_channel *channel,
                                     park_channel_writer **out,
                                     park_error **err);

// Writes a copy of `len` bytes as the next message, once the slowest reader has given a slot back. PARK_TIMEOUT if none does in time,
// PARK_INVALID_ARGUMENT if the message is longer than a slot, PARK_CHANNEL_CLOSED if every reader has left.
// Ownership: copies `data`. Threads: movable. Errors: PARK_TIMEOUT, PARK_INVALID_ARGUMENT, PARK_CHANNEL_CLOSED, PARK_HANDLE_CLOSED.
park_status park_channel_writer_write(park_channel_writer *writer,
                                      const void *data,
                                      size_t len,
                                      int64_t timeout_ms,
                                      park_error **err);

// As park_channel_writer_write(), for a tensor whose elements are `nbytes` long and laid out as `spec` says.
// Ownership: copies `data`. Threads: movable. Errors: PARK_TIMEOUT, PARK_INVALID_ARGUMENT, PARK_CHANNEL_CLOSED, PARK_HANDLE_CLOSED.
park_status park_channel_writer_write_tensor(park_channel_writer *writer,
                                             const park_tensor_spec *spec,
                                             const void *data,
                                             size_t nbytes,
                                             int64_t timeout_ms,
                                             park_error **err);

// Lends the next slot for a message of `len` bytes to be written in place: `*data` is 64-byte aligned, and valid until the message is
// published, another one is begun or written, or the writer is closed or freed. Errors as of park_channel_writer_write().
// Ownership: `*data` is the writer's, lent. Threads: movable. Errors: PARK_TIMEOUT, PARK_INVALID_ARGUMENT, PARK_CHANNEL_CLOSED,
// PARK_HANDLE_CLOSED.
park_status park_channel_writer_begin(park_channel_writer *writer,
                                      size_t len,
                                      int64_t timeout_ms,
                                      void **data,
                                      park_error **err);

// As park_channel_writer_begin(), for a tensor, whose elements `*data` has room for.
// Ownership: `*data` is the writer's, lent. Threads: movable. Errors: PARK_TIMEOUT, PARK_INVALID_ARGUMENT, PARK_CHANNEL_CLOSED,
// PARK_HANDLE_CLOSED.
park_status park_channel_writer_begin_tensor(park_channel_writer *writer,
                                             const park_tensor_spec *spec,
                                             int64_t timeout_ms,
                                             void **data,
                                             park_error **err);

// Makes the message that was begun visible to every reader. PARK_INVALID_ARGUMENT if none was.
// Ownership: takes back what begin lent. Threads: movable. Errors: PARK_INVALID_ARGUMENT, PARK_HANDLE_CLOSED.
park_status park_channel_writer_publish(park_channel_writer *writer, park_error **err);

// No more messages: readers get those that were published, then PARK_CHANNEL_CLOSED. Afterwards the handle is PARK_HANDLE_CLOSED, and only
// freed.
// Ownership: takes the channel's end, not the handle. Threads: movable. Errors: PARK_HANDLE_CLOSED.
park_status park_channel_writer_close(park_channel_writer *writer,
                                      park_error **err);

// Frees the handle, and closes the channel unless that was done. NULL is fine.
// Ownership: takes the handle. Threads: movable. Errors: none.
void park_channel_writer_free(park_channel_writer *writer);

// The name of a status, such as "Timeout"; "Unknown" for a number that this library does not know. Static: never freed.
// Ownership: the text is static and never freed. Threads: shared. Errors: none.
const char *park_status_name(park_status status);

// A new error, for callbacks that fail on their own account. A status that is unknown, or PARK_OK, becomes PARK_TASK_FAILED.
// The message is copied; NULL is an empty one, and one that is not UTF-8 is replaced by a note that says so.
// Ownership: the error is the caller's, for park_error_free(), or for park if a callback leaves it in `*err`. Threads: shared.
// Errors: none.
park_error *park_error_new(park_status status,
                           const char *message);

// The status of an error; PARK_OK for NULL.
// Ownership: takes and gives nothing. Threads: shared. Errors: none.
park_status park_error_status(const park_error *error);

// The message of an error, UTF-8, valid until the error is freed; an empty text for NULL.
// Ownership: the text belongs to the error. Threads: shared. Errors: none.
const char *park_error_message(const park_error *error);

// Bytes that only one language understands, such as the pickled exception of a Python task; none, and `*len` 0, if there are none
// and for NULL.
// Ownership: the bytes belong to the error and are valid until it is freed. Threads: shared. Errors: none of its own.
park_status park_error_detail(const park_error *error,
                              const void **data,
                              size_t *len,
                              park_error **err);

// Whether the same call can succeed later without a change by the caller. False for PARK_OK and for unknown numbers.
// Ownership: takes and gives nothing. Threads: shared. Errors: none.
bool park_status_is_retryable(park_status status);

// Frees an error. NULL is fine.
// Ownership: takes the handle. Threads: movable. Errors: none.
void park_error_free(park_error *error);

// Where to write, and how many bytes: the payload, or the elements of a tensor. Aligned to 64 bytes unless the object is smaller
// than that. Valid until the object is sealed, aborted or freed.
// Ownership: the memory stays the object's. Threads: movable. Errors: none of its own.
park_status park_mutable_object_data(const park_mutable_object *object,
                                     void **data,
                                     size_t *len,
                                     park_error **err);

// Copies `len` bytes to `offset`.
// Ownership: `data` is copied. Threads: movable. Errors: none of its own.
park_status park_mutable_object_write(park_mutable_object *object,
                                      size_t offset,
                                      const void *data,
                                      size_t len,
                                      park_error **err);

// The id that the object will have.
// Ownership: takes and gives nothing. Threads: movable. Errors: none of its own.
park_status park_mutable_object_id(const park_mutable_object *object, park_object_id *out, park_error **err);

// Makes the object immutable and visible to every process. `out` may be NULL for the return of a task, which its reader keeps
// alive. Afterwards the handle is PARK_HANDLE_CLOSED, and only freed.
// Ownership: `*out` is the caller's, for park_object_ref_free(). Threads: movable. Errors: none of its own.
park_status park_mutable_object_seal(park_mutable_object *object,
                                     park_object_ref **out,
                                     park_error **err);

// Gives the memory back: the object never existed. Afterwards the handle is PARK_HANDLE_CLOSED, and only freed.
// Ownership: takes and gives nothing. Threads: movable. Errors: none of its own.
park_status park_mutable_object_abort(park_mutable_object *object, park_error **err);

// Frees the handle, and aborts the object unless it was sealed. NULL is fine.
// Ownership: takes the handle. Threads: movable. Errors: none.
void park_mutable_object_free(park_mutable_object *object);

// Stores a copy of `len` bytes. `data` may be NULL if `len` is 0.
// Ownership: `*out` is the caller's, for park_object_ref_free(). Threads: shared. Errors: PARK_STORE_FULL, PARK_TABLE_FULL,
// PARK_PERMISSION_DENIED, PARK_SESSION_CLOSED.
park_status park_object_put(const park_session *session,
                            const void *data,
                            size_t len,
                            park_object_ref **out,
                            park_error **err);

// Lends room for an object of `len` bytes: write it in place (park_mutable_object_data()), then seal it.
// Ownership: `*out` is the caller's, for park_mutable_object_free(). Threads: shared. Errors: PARK_STORE_FULL, PARK_TABLE_FULL,
// PARK_PERMISSION_DENIED, PARK_SESSION_CLOSED.
park_status park_object_create(const park_session *session,
                               size_t len,
                               park_mutable_object **out,
                               park_error **err);

// As park_object_create(), for an object of another format, or one that holds references: those stay alive as long as it does.
// Ownership: `*out` is the caller's, for park_mutable_object_free(); the references of `spec` stay the caller's. Threads: shared.
// Errors: PARK_STORE_FULL, PARK_TABLE_FULL, PARK_FOREIGN_SESSION, PARK_PERMISSION_DENIED, PARK_SESSION_CLOSED.
park_status park_object_create_with(const park_session *session,
                                    const park_object_spec *spec,
                                    park_mutable_object **out,
                                    park_error **err);

// Waits for an object and gives a view of it. A failed task's error comes back as the status and the error of this call.
// PARK_TIMEOUT if it is not there in time.
// Ownership: `*out` is the caller's, for park_object_free(); it needs the reference no longer. Threads: shared. Errors:
// PARK_TIMEOUT, PARK_SESSION_CLOSED, and whatever the object raises, such as PARK_TASK_FAILED or PARK_OBJECT_LOST.
park_status park_object_get(const park_object_ref *object,
                            int64_t timeout_ms,
                            park_object **out,
                            park_error **err);

// Waits until `need` of `count` objects of one session can be read, or time is up, which is no error: `*num_ready` says how many
// can. `ready`, if it is not NULL, has room for `count` values, and says which.
// Ownership: `objects` stay the caller's. Threads: shared. Errors: PARK_FOREIGN_SESSION, PARK_SESSION_CLOSED.
park_status park_object_wait(const park_object_ref *const *objects,
                             size_t count,
                             size_t need,
                             int64_t timeout_ms,
                             bool *ready,
                             size_t *num_ready,
                             park_error **err);

// Whether an object of this id can be read now.
// Ownership: takes and gives nothing. Threads: shared. Errors: none of its own.
park_status park_object_contains(const park_session *session, const park_object_id *id, bool *out, park_error **err);

// Address and length of the bytes, as they are stored. They are read-only, and valid until the view is released or freed.
// Ownership: the bytes stay the view's. Threads: shared. Errors: none of its own.
park_status park_object_data(const park_object *object,
                             const void **data,
                             size_t *len,
                             park_error **err);

// What the bytes mean.
// Ownership: takes and gives nothing. Threads: shared. Errors: none of its own.
park_status park_object_format(const park_object *object, park_format *out, park_error **err);

// A reference to the object that the view shows.
// Ownership: `*out` is the caller's, for park_object_ref_free(). Threads: shared. Errors: none of its own.
park_status park_object_reference(const park_object *object, park_object_ref **out, park_error **err);

// How many references the object holds.
// Ownership: takes and gives nothing. Threads: shared. Errors: none of its own.
park_status park_object_num_nested(const park_object *object, size_t *out, park_error **err);

// A reference that the object holds, by its place in the object's list.
// Ownership: `*out` is the caller's, for park_object_ref_free(). Threads: shared. Errors: PARK_SESSION_CLOSED.
park_status park_object_nested(const park_object *object, size_t index, park_object_ref **out, park_error **err);

// Gives the view back: its bytes must not be looked at any more. The handle stays to be freed, and is PARK_HANDLE_CLOSED.
// Ownership: takes and gives nothing. Threads: shared. Errors: none of its own.
park_status park_object_release(park_object *object,
                                park_error **err);

// Frees the handle, and gives the view back unless that was done. NULL is fine.
// Ownership: takes the handle. Threads: movable. Errors: none.
void park_object_free(park_object *object);

// Writes an id as 32 hexadecimal digits and a NUL. `text` has room for PARK_OBJECT_ID_TEXT bytes.
// Ownership: takes and gives nothing. Threads: shared. Errors: none of its own.
park_status park_object_id_format(const park_object_id *id, char *text, park_error **err);

// Reads an id from 32 hexadecimal digits.
// Ownership: takes and gives nothing. Threads: shared. Errors: none of its own.
park_status park_object_id_parse(const char *text, park_object_id *out, park_error **err);

// The id of the object.
// Ownership: takes and gives nothing. Threads: shared. Errors: none of its own.
park_status park_object_ref_id(const park_object_ref *object, park_object_id *out, park_error **err);

// A reference by id, for ids that came as text or bytes. PARK_NOT_FOUND unless something, anywhere, keeps the object alive.
// Ownership: `*out` is the caller's, for park_object_ref_free(). Threads: shared. Errors: PARK_NOT_FOUND, PARK_FOREIGN_SESSION,
// PARK_SESSION_CLOSED.
park_status park_object_ref_resolve(const park_session *session,
                                    const park_object_id *id,
                                    park_object_ref **out,
                                    park_error **err);

// One more reference to the same object.
// Ownership: `*out` is the caller's, for park_object_ref_free(). Threads: shared. Errors: none of its own.
park_status park_object_ref_clone(const park_object_ref *object, park_object_ref **out, park_error **err);

// Whether the object can be read now, without waiting. True also if reading it raises an error.
// Ownership: takes and gives nothing. Threads: shared. Errors: none of its own.
park_status park_object_ref_is_ready(const park_object_ref *object, bool *out, park_error **err);

// Gives the reference back; the object goes when the last one does. The handle stays to be freed, and is PARK_HANDLE_CLOSED.
// Ownership: takes and gives nothing. Threads: shared. Errors: none of its own.
park_status park_object_ref_release(park_object_ref *object,
                                    park_error **err);

// Frees the handle, and gives the reference back unless that was done. NULL is fine.
// Ownership: takes the handle. Threads: movable. Errors: none.
void park_object_ref_free(park_object_ref *object);

// Promises an object: `*reference` is for its readers, who may wait for it, pass it to tasks and send its id elsewhere; `*promise`
// is for its maker.
// Ownership: both are the caller's, for park_promise_free() and park_object_ref_free(). Threads: shared.
// Errors: PARK_TABLE_FULL, PARK_PERMISSION_DENIED, PARK_SESSION_CLOSED.
park_status park_promise_make(const park_session *session,
                              park_promise **promise,
                              park_object_ref **reference,
                              park_error **err);

// Keeps the promise with a copy of `len` bytes. `data` may be NULL if `len` is 0.
// Ownership: takes and gives nothing. Threads: shared. Errors: PARK_ALREADY_EXISTS, PARK_STORE_FULL, PARK_SESSION_CLOSED.
park_status park_promise_put(const park_promise *promise,
                             const void *data,
                             size_t len,
                             park_error **err);

// Lends room for the promised object: write it in place, seal it, and free its handle. Aborted, it leaves the promise open.
// Ownership: `*out` is the caller's, for park_mutable_object_free(); the references of `spec` stay the caller's. Threads: shared.
// Errors: PARK_ALREADY_EXISTS, PARK_STORE_FULL, PARK_FOREIGN_SESSION, PARK_SESSION_CLOSED.
park_status park_promise_create(const park_promise *promise,
                                const park_object_spec *spec,
                                park_mutable_object **out,
                                park_error **err);

// Lends room for the promised object, a tensor: write its elements in place, seal it, and free its handle.
// Ownership: `*out` is the caller's, for park_mutable_object_free(). Threads: shared.
// Errors: PARK_ALREADY_EXISTS, PARK_STORE_FULL, PARK_SESSION_CLOSED.
park_status park_promise_create_tensor(const park_promise *promise,
                                       const park_tensor_spec *spec,
                                       park_mutable_object **out,
                                       park_error **err);

// Breaks the promise: whoever reads the object gets this error.
// Ownership: `error` stays the caller's; what it says is copied. Threads: shared. Errors: PARK_ALREADY_EXISTS, PARK_SESSION_CLOSED.
park_status park_promise_fail(const park_promise *promise,
                              const park_error *error,
                              park_error **err);

// Gives the promise up, unless it was kept. The handle stays to be freed, and is PARK_HANDLE_CLOSED.
// Ownership: takes and gives nothing. Threads: shared. Errors: none of its own.
park_status park_promise_release(park_promise *promise, park_error **err);

// Frees the handle, and gives the promise up unless it was kept or released. NULL is fine.
// Ownership: takes the handle. Threads: movable. Errors: none.
void park_promise_free(park_promise *promise);

// Opens a session of its own. `options` may be NULL.
// Ownership: `*out` is the caller's, for park_session_free(). Threads: shared. Errors: PARK_IO, PARK_STORE_FULL, PARK_UNSUPPORTED.
park_status park_session_open(const park_session_options *options,
                              park_session **out,
                              park_error **err);

// Joins the session at `address`: what park_session_address() gives, or Python's park.init().address_info["session"].
// Ownership: `*out` is the caller's, for park_session_free(). Threads: shared.
// Errors: PARK_NOT_FOUND, PARK_TIMEOUT, PARK_PERMISSION_DENIED, PARK_BAD_SEGMENT, PARK_TABLE_FULL, PARK_SESSION_CLOSED, PARK_IO.
park_status park_session_attach(const char *address,
                                park_session **out,
                                park_error **err);

// Joins the session at `address` to look only: objects can be found, awaited, read and released. Whatever would make one, run a
// task or call an actor is PARK_PERMISSION_DENIED, and object memory is mapped so that a stray write faults. This guards the
// session against mistakes of this process, not against malice: counts of references stay writable to it.
// Ownership: `*out` is the caller's, for park_session_free(). Threads: shared.
// Errors: PARK_NOT_FOUND, PARK_TIMEOUT, PARK_PERMISSION_DENIED, PARK_BAD_SEGMENT, PARK_TABLE_FULL, PARK_SESSION_CLOSED, PARK_IO.
park_status park_session_attach_read_only(const char *address,
                                          park_session **out,
                                          park_error **err);

// The text by which another process attaches. Valid until the handle is freed.
// Ownership: the text belongs to the handle. Threads: shared. Errors: none of its own.
park_status park_session_address(const park_session *session, const char **out, park_error **err);

// What the session is.
// Ownership: takes and gives nothing. Threads: shared. Errors: none of its own.
park_status park_session_read_info(const park_session *session, park_session_info *out, park_error **err);

// What the session's store holds now.
// Ownership: takes and gives nothing. Threads: shared. Errors: none of its own.
park_status park_session_read_stats(const park_session *session, park_session_stats *out, park_error **err);

// Gives the memory of free parts of the store back to the system, as the process that opened the session does by itself when the
// store is idle. `out_bytes`, which may be NULL, becomes how many bytes that were.
// Ownership: takes and gives nothing. Threads: shared. Errors: PARK_PERMISSION_DENIED, PARK_SESSION_CLOSED, PARK_IO.
park_status park_session_trim(const park_session *session,
                              uint64_t *out_bytes,
                              park_error **err);

// Closes the session in this process; for the process that opened it, for every process. Native tasks that have not begun fail,
// those that run are waited for. Objects that are open stay readable until they are freed, and so does whatever a held reference
// names in memory; what went to disk is gone with the session. A second close, and every other call with this handle, is
// PARK_HANDLE_CLOSED.
// Ownership: takes and gives nothing. Threads: shared. Errors: none of its own.
park_status park_session_close(park_session *session,
                               park_error **err);

// Closes the session, unless that was done, and frees the handle. NULL is fine. Not from inside a native task of this session.
// Ownership: takes the handle. Threads: movable. Errors: none.
void park_session_free(park_session *session);

// Gives a native task a name; PARK_ALREADY_EXISTS if it is taken. `user_data` is taken over whatever the status is: `destructor`,
// unless it is NULL, has been called when this fails, and else is called when the session closes.
// Ownership: `name` is copied; `user_data` as above. Threads: shared. Errors: PARK_ALREADY_EXISTS, PARK_SESSION_CLOSED, PARK_IO.
park_status park_task_register(const park_session *session,
                               const char *name,
                               park_task_function function,
                               void *user_data,
                               park_destructor destructor,
                               park_error **err);

// Calls a native task, once its arguments are there, on a thread of the pool. Writes a reference for each of the `num_returns`
// values that it will return, to be awaited, passed on as arguments, or freed at once. PARK_NOT_FOUND if there is no such task.
// Ownership: each of `returns` is the caller's, for park_object_ref_free(); `args` stay the caller's, and their objects live until
// the task ends. Threads: shared. Errors: PARK_NOT_FOUND, PARK_FOREIGN_SESSION, PARK_TABLE_FULL, PARK_PERMISSION_DENIED,
// PARK_SESSION_CLOSED.
park_status park_task_submit(const park_session *session,
                             const char *name,
                             const park_object_ref *const *args,
                             size_t num_args,
                             size_t num_returns,
                             park_object_ref **returns,
                             park_error **err);

// How many arguments there are.
// Ownership: takes and gives nothing. Threads: pinned. Errors: none of its own.
park_status park_task_call_num_args(const park_task_call *call, size_t *out, park_error **err);

// How many values the callback has to return.
// Ownership: takes and gives nothing. Threads: pinned. Errors: none of its own.
park_status park_task_call_num_returns(const park_task_call *call, size_t *out, park_error **err);

// An argument, borrowed until the callback returns: not to be released or freed. It is there: an argument that failed fails the
// call before the callback hears of it.
// Ownership: `*out` belongs to the call. Threads: pinned. Errors: none of its own.
park_status park_task_call_arg(const park_task_call *call,
                               size_t index,
                               const park_object **out,
                               park_error **err);

// A return is a copy of `len` bytes.
// Ownership: `data` is copied. Threads: pinned. Errors: PARK_ALREADY_EXISTS, PARK_STORE_FULL, PARK_SESSION_CLOSED.
park_status park_task_call_put(park_task_call *call, size_t index, const void *data, size_t len, park_error **err);

// Lends room for a return of `len` bytes: write it in place, seal it, and free its handle.
// Ownership: `*out` is the caller's, for park_mutable_object_free(). Threads: pinned. Errors: PARK_ALREADY_EXISTS,
// PARK_STORE_FULL, PARK_SESSION_CLOSED.
park_status park_task_call_create(park_task_call *call,
                                  size_t index,
                                  size_t len,
                                  park_mutable_object **out,
                                  park_error **err);

// As park_task_call_create(), for a return of another format, or one that holds references.
// Ownership: `*out` is the caller's, for park_mutable_object_free(); the references of `spec` stay the caller's. Threads: pinned.
// Errors: PARK_ALREADY_EXISTS, PARK_STORE_FULL, PARK_FOREIGN_SESSION, PARK_SESSION_CLOSED.
park_status park_task_call_create_with(park_task_call *call,
                                       size_t index,
                                       const park_object_spec *spec,
                                       park_mutable_object **out,
                                       park_error **err);

// One return raises an error in whoever reads it; the others are not touched, and the callback may end well.
// Ownership: `error` stays the caller's; what it says is copied. Threads: pinned. Errors: PARK_ALREADY_EXISTS, PARK_SESSION_CLOSED.
park_status park_task_call_fail(park_task_call *call,
                                size_t index,
                                const park_error *error,
                                park_error **err);

// Lends room for a return that is a tensor: write its elements in place, seal it, and free its handle.
// Ownership: `*out` is the caller's, for park_mutable_object_free(). Threads: pinned. Errors: PARK_ALREADY_EXISTS,
// PARK_STORE_FULL, PARK_SESSION_CLOSED.
park_status park_task_call_create_tensor(park_task_call *call,
                                         size_t index,
                                         const park_tensor_spec *spec,
                                         park_mutable_object **out,
                                         park_error **err);

// Lends room for a tensor: write its elements in place (park_mutable_object_data()), then seal it.
// Ownership: `*out` is the caller's, for park_mutable_object_free(); `spec` is copied. Threads: shared. Errors: PARK_STORE_FULL,
// PARK_TABLE_FULL, PARK_PERMISSION_DENIED, PARK_SESSION_CLOSED.
park_status park_tensor_create(const park_session *session,
                               const park_tensor_spec *spec,
                               park_mutable_object **out,
                               park_error **err);

// Stores a copy of a tensor's elements, which are `nbytes` long and laid out as `spec` says.
// Ownership: `*out` is the caller's, for park_object_ref_free(); `spec` and `data` are copied. Threads: shared. Errors:
// PARK_STORE_FULL, PARK_TABLE_FULL, PARK_PERMISSION_DENIED, PARK_SESSION_CLOSED.
park_status park_tensor_put(const park_session *session,
                            const park_tensor_spec *spec,
                            const void *data,
                            size_t nbytes,
                            park_object_ref **out,
                            park_error **err);

// Describes the tensor that an object is, for reading in place. PARK_WRONG_FORMAT if it is none.
// Ownership: `out->data` stays the object's. Threads: shared. Errors: PARK_WRONG_FORMAT.
park_status park_tensor_read(const park_object *object, park_tensor *out, park_error **err);

// The PARK_ABI_VERSION of the library that is loaded. Compare it with the header's before the first other call.
// Ownership: takes and gives nothing. Threads: shared. Errors: none.
uint32_t park_abi_version(void);

// The version of the library that is loaded, such as "0.1.0". Static: never freed.
// Ownership: the text is static and never freed. Threads: shared. Errors: none.
const char *park_version(void);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* PARK_H */
