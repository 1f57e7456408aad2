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

// Keys are written as numbers, their low 64 bits: what vLLM does unless told otherwise.
#define PARK_KV_HASHES_INT 0

// Keys are written as their 16 bytes, the highest first.
#define PARK_KV_HASHES_BYTES 1

// Buckets of a park_kv_histogram.
#define PARK_KV_BUCKETS 40

// Nothing that was computed is found again.
#define PARK_KV_NO_CACHING 1

// A found block's tokens are compared with those asked for. Costs 4 bytes a token.
#define PARK_KV_VERIFY 2

// The beginning of a cached block is used, by a copy. One full group only.
#define PARK_KV_PARTIAL 4

// Changes of what can be found are recorded, for park_kv_cache_take_events(). Costs 4 bytes a token.
#define PARK_KV_EVENTS 8

// Least recently used blocks are given up first.
#define PARK_KV_LRU 0

// Frequency decides among the least recently used.
#define PARK_KV_TINY_LFU 1

// Priority and time to live decide (park_kv_cache_retain()), then the least recent use.
#define PARK_KV_RETENTION 2

// xxh3-128 with a secret: the fastest, not a cryptographic hash.
#define PARK_KV_XXH3 0

// SHA-256, cut to 128 bits.
#define PARK_KV_SHA256 1

// BLAKE3 in keyed mode, cut to 128 bits.
#define PARK_KV_BLAKE3 2

// First come, first served.
#define PARK_KV_FCFS 0

// By priority, then first come.
#define PARK_KV_PRIORITY 1

// Whose prefix is cached farthest, then first come.
#define PARK_KV_LONGEST_PREFIX 2

// Tenants in turns of `quantum` tokens.
#define PARK_KV_FAIR 3

// When the weights change, the request goes on over the keys and values that the old ones made.
#define PARK_KV_FINISH 0

// When the weights change, the request ends.
#define PARK_KV_DROP 1

// When the weights change, the request starts again, with what was generated proposed to the new ones as drafts.
#define PARK_KV_DRAFT 2

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

// Which block holds which tokens' keys and values, who shares them, and what can be found again; it touches no memory. A
// sequence knows tokens, of which the first so many are computed. In a step, park_kv_cache_prefill() and park_kv_cache_decode()
// make room for what is computed next and write block tables; park_kv_cache_settle() ends the step. Where a call fails, nothing
// has changed. Movable. Free it with park_kv_cache_free().
typedef struct park_kv_cache park_kv_cache;

// Continuous batching over a paged KV cache: requests come, each park_kv_scheduler_step() makes a plan within a budget of
// tokens, and the engine answers with park_kv_scheduler_commit(), or, if it failed, with park_kv_scheduler_abandon(). It cannot
// deadlock: what can never fit is refused. Where a call fails, nothing has changed. Movable. Free it with
// park_kv_scheduler_free().
typedef struct park_kv_scheduler park_kv_scheduler;

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

// What a cache is made of. park_kv_cache_defaults() fills it in; a 0 afterwards means 0.
typedef struct {
  // sizeof(park_kv_cache_options).
  size_t struct_size;
  // Blocks of the pool; block 0 is the null block, which holds nothing. Default: 1024.
  uint32_t blocks;
  // Tokens of a block. Default: 16.
  uint32_t block_size;
  // For each group of layers the tokens of its sliding window, or 0 for full attention. NULL: one full group.
  const uint32_t *windows;
  // How many groups `windows` has.
  size_t num_windows;
  // 32 bytes that keys depend on: caches that are to find each other's blocks have the same. NULL: random ones.
  const uint8_t *secret;
  // PARK_KV_LRU, PARK_KV_TINY_LFU or PARK_KV_RETENTION.
  uint32_t eviction;
  // PARK_KV_XXH3, PARK_KV_SHA256 or PARK_KV_BLAKE3.
  uint32_t algorithm;
  // Any of PARK_KV_NO_CACHING, PARK_KV_VERIFY, PARK_KV_PARTIAL and PARK_KV_EVENTS.
  uint32_t flags;
  // 0.
  uint32_t reserved;
} park_kv_cache_options;

// Tokens that stand for something else: an image, a sound, embeddings.
typedef struct {
  // The position of its first token.
  uint32_t start;
  // How many tokens it takes.
  uint32_t length;
  // A digest of its content.
  uint8_t digest[32];
} park_kv_media;

// A prompt: its tokens, and what their keys and values depend on besides. Set struct_size to sizeof(park_kv_prompt).
typedef struct {
  // sizeof(park_kv_prompt).
  size_t struct_size;
  // The tokens, at least one.
  const uint32_t *tokens;
  // How many there are.
  size_t num_tokens;
  // A secret that divides the tenant's cache further. May be NULL if `salt_len` is 0.
  const uint8_t *salt;
  // Bytes of `salt`.
  size_t salt_len;
  // The adapter that the model runs with, and its version. May be NULL if `adapter_len` is 0.
  const uint8_t *adapter;
  // Bytes of `adapter`.
  size_t adapter_len;
  // Which tokens stand for something else, ordered by start. May be NULL if there are none.
  const park_kv_media *media;
  // How many of these there are.
  size_t num_media;
  // Whose prompt it is: 0, or what an ..._add_tenant() gave. Tenants share no blocks.
  uint32_t tenant;
  // For a scheduler: at most so many tokens are generated.
  uint32_t max_new;
  // For a scheduler with PARK_KV_PRIORITY: lower is sooner.
  int32_t priority;
  // For a scheduler: PARK_KV_FINISH, PARK_KV_DROP or PARK_KV_DRAFT.
  uint32_t on_epoch;
} park_kv_prompt;

// A sequence of a cache, or a request of a scheduler. Ids are never used twice; 0 is none.
typedef uint64_t park_kv_sequence;

// Arrays that a step writes to, for `n` sequences with `t` tokens to compute, whose keys and values lie in `p` blocks. Each may be NULL,
// and may be longer than it has to be: the rest is left as it is. They must not overlap. Set struct_size to sizeof(park_kv_tables) and
// what is not used to 0.
typedef struct {
  // sizeof(park_kv_tables).
  size_t struct_size;
  // The group of layers whose blocks are written.
  size_t group;
  // `[n][block_table_width]`: the blocks of each sequence, padded with block 0.
  int32_t *block_table;
  // Rows that `block_table` has room for.
  size_t block_table_rows;
  // Blocks of a row.
  size_t block_table_width;
  // `[t]`: the slot of each token, block * block_size + offset.
  int64_t *slot_mapping;
  // Numbers that `slot_mapping` has room for; so for the others.
  size_t slot_mapping_len;
  // `[n + 1]`: where the pages of each sequence begin in `indices`.
  int32_t *indptr;
  // See above.
  size_t indptr_len;
  // `[p]`: the blocks up to the end of what each sequence computes.
  int32_t *indices;
  // See above.
  size_t indices_len;
  // `[n]`: tokens of each sequence's last page.
  int32_t *last_page_len;
  // See above.
  size_t last_page_len_len;
  // `[n + 1]`: sums of the tokens to compute.
  int32_t *cu_seqlens_q;
  // See above.
  size_t cu_seqlens_q_len;
  // `[n + 1]`: sums of the tokens that are attended to.
  int32_t *cu_seqlens_k;
  // See above.
  size_t cu_seqlens_k_len;
  // `[n]`: tokens that each sequence attends to.
  int32_t *seq_lens;
  // See above.
  size_t seq_lens_len;
} park_kv_tables;

// A block's content is to be copied before anything of the step is computed.
typedef struct {
  // From this block,
  uint32_t from;
  // to this one.
  uint32_t to;
} park_kv_copy;

// A sequence has got a block.
typedef struct {
  // The sequence.
  park_kv_sequence sequence;
  // The group.
  uint32_t group;
  // Where in the sequence's table, counted in blocks.
  uint32_t position;
  // The block.
  uint32_t block;
  // 0.
  uint32_t reserved;
} park_kv_placed;

// What a call asks an engine to do to its memory. Set struct_size to sizeof(park_kv_changes) before the call. The lists are the cache's,
// valid until its next call.
typedef struct {
  // sizeof(park_kv_changes).
  size_t struct_size;
  // Contents to copy, all before the first token is written.
  const park_kv_copy *copies;
  // How many.
  size_t num_copies;
  // What block tables have got, for engines that keep tables of their own.
  const park_kv_placed *placed;
  // How many.
  size_t num_placed;
  // Tokens of the step: numbers that `slot_mapping` has got.
  size_t num_tokens;
  // Pages of the step: numbers that `indices` has got.
  size_t num_pages;
} park_kv_changes;

// One sequence. Set struct_size to sizeof(park_kv_sequence_info) before the call.
typedef struct {
  // sizeof(park_kv_sequence_info).
  size_t struct_size;
  // Tokens that it knows.
  uint32_t known;
  // Of those, how many are computed.
  uint32_t computed;
  // Blocks of its tables in each group, null blocks included.
  uint32_t positions;
  // Blocks that it holds in all groups.
  uint32_t blocks_held;
  // The weight version that it computes in.
  uint32_t epoch;
  // The tenant that it counts for.
  uint32_t tenant;
} park_kv_sequence_info;

// Numbers about a cache. Set struct_size to sizeof(park_kv_cache_stats) before the call.
typedef struct {
  // sizeof(park_kv_cache_stats).
  size_t struct_size;
  // Sequences that have begun and not ended.
  uint64_t sequences;
  // Blocks of the pool, the null block included.
  uint64_t blocks;
  // Blocks that nobody uses, cached ones among them.
  uint64_t free_blocks;
  // Blocks that can be found.
  uint64_t cached_blocks;
  // Blocks handed out since the cache was made.
  uint64_t allocated;
  // Of those, how many something could still have been found in.
  uint64_t evicted;
  // Tokens that were looked up when a prefix was attached.
  uint64_t tokens_asked;
  // Tokens of those that were cached.
  uint64_t tokens_hit;
  // The weight version whose blocks are found.
  uint64_t epoch;
} park_kv_cache_stats;

// What a batch of events says of its publisher. Set struct_size to sizeof(park_kv_publisher).
typedef struct {
  // sizeof(park_kv_publisher).
  size_t struct_size;
  // Seconds since 1970.
  double time;
  // Where the blocks are, in vLLM's words: "GPU", "CPU" or "STORAGE". NULL: "GPU".
  const char *medium;
  // The publisher's place among its data parallel replicas; UINT32_MAX: it has none.
  uint32_t rank;
  // PARK_KV_HASHES_INT or PARK_KV_HASHES_BYTES.
  uint32_t hashes;
} park_kv_publisher;

// A batch of events. Set struct_size to sizeof(park_kv_events) before the call. The bytes are the handle's, valid until its next call.
typedef struct {
  // sizeof(park_kv_events).
  size_t struct_size;
  // One MessagePack message, `[time, events, rank]`, as vLLM 0.33 publishes it. There is one also without an event.
  const uint8_t *bytes;
  // How many.
  size_t num_bytes;
  // Events of the batch.
  size_t num_events;
} park_kv_events;

// What a tenant has, and what its look-ups came to.
typedef struct {
  // The tenant.
  uint32_t tenant;
  // Blocks that count for it now.
  uint32_t held;
  // How many it may hold.
  uint32_t limit;
  // 0.
  uint32_t reserved;
  // Tokens that were looked up when a prefix was attached.
  uint64_t tokens_asked;
  // Tokens of those that were cached.
  uint64_t tokens_hit;
} park_kv_tenant_metrics;

// How many values there were of each size: bucket 0 is for 0, bucket n for 2^(n - 1) to 2^n - 1, the last for all that are larger.
typedef struct {
  // How many values there were in each bucket, those of smaller ones not included.
  uint64_t buckets[PARK_KV_BUCKETS];
  // The sum of all values.
  uint64_t sum;
} park_kv_histogram;

// What a cache has counted beside its park_kv_cache_stats. Set struct_size to sizeof(park_kv_cache_metrics) before the call. The list is
// the handle's, valid until its next call.
typedef struct {
  // sizeof(park_kv_cache_metrics).
  size_t struct_size;
  // Each tenant, by number.
  const park_kv_tenant_metrics *tenants;
  // How many.
  size_t num_tenants;
  // Blocks that could be found from some time on.
  uint64_t registered;
  // Events that were dropped, as nobody took them in time.
  uint64_t lost_events;
  // How long blocks could be found before they were evicted, in the unit of ..._set_time(): of one block in 64.
  park_kv_histogram residency;
} park_kv_cache_metrics;

// What a scheduler is made of. park_kv_scheduler_defaults() fills it in; a 0 afterwards means 0.
typedef struct {
  // sizeof(park_kv_scheduler_options).
  size_t struct_size;
  // The cache below. NULL: one of the default.
  const park_kv_cache_options *cache;
  // Tokens that a step computes at most, drafts included. Default: 8192.
  uint32_t step_tokens;
  // Requests that run at a time at most. Default: 256.
  uint32_t running;
  // Tokens of one prompt that a step computes at most. Default: 8192.
  uint32_t chunk;
  // PARK_KV_FCFS, PARK_KV_PRIORITY, PARK_KV_LONGEST_PREFIX or PARK_KV_FAIR.
  uint32_t policy;
  // Tokens of a tenant's turn with PARK_KV_FAIR. Default: 4096.
  uint32_t quantum;
  // Places in host memory for blocks of preempted requests.
  uint32_t swap_slots;
  // Tokens past the prompt for which an admitted request has blocks reserved.
  uint32_t reserve_output;
  // Drafts for which a decode has room.
  uint32_t drafts;
} park_kv_scheduler_options;

// Tokens of one sequence to compute.
typedef struct {
  // The sequence.
  park_kv_sequence sequence;
  // The position of the first token.
  uint32_t start;
  // How many tokens, all known.
  uint32_t count;
  // Room for so many drafts after them.
  uint32_t drafts;
  // Of the drafts, those that the plan proposes begin here in `proposed`,
  uint32_t first_proposed;
  // and are so many.
  uint32_t num_proposed;
  // 1: a token is sampled after the last one. 0: more of the prompt follows in a later step.
  uint32_t samples;
} park_kv_work;

// A block that goes to host memory or comes back.
typedef struct {
  // The block.
  uint32_t block;
  // The place in host memory.
  uint32_t slot;
} park_kv_swap;

// What an engine does in one step, in this order: swap_out, copies, swap_in, work. Set struct_size to sizeof(park_kv_plan) before the
// call. The lists are the scheduler's, valid until its next call.
typedef struct {
  // sizeof(park_kv_plan).
  size_t struct_size;
  // Plans are numbered from 1.
  uint64_t number;
  // What is computed.
  const park_kv_work *work;
  // How many sequences that are.
  size_t num_work;
  // Tokens of the step, room for drafts included: numbers that `slot_mapping` has got.
  size_t num_tokens;
  // Pages of the step: numbers that `indices` has got.
  size_t num_pages;
  // Contents to copy.
  const park_kv_copy *copies;
  // How many.
  size_t num_copies;
  // What block tables have got, for engines that keep tables of their own.
  const park_kv_placed *placed;
  // How many.
  size_t num_placed;
  // Blocks that go to host memory, before anything else.
  const park_kv_swap *swap_out;
  // How many.
  size_t num_swap_out;
  // Blocks that come back from host memory, after the copies.
  const park_kv_swap *swap_in;
  // How many.
  size_t num_swap_in;
  // Tokens that older weights generated, as drafts.
  const uint32_t *proposed;
  // How many.
  size_t num_proposed;
  // Requests that began, or began again, with this plan.
  const park_kv_sequence *admitted;
  // How many.
  size_t num_admitted;
  // Requests that lost their blocks and wait again, to be computed again.
  const park_kv_sequence *preempted;
  // How many.
  size_t num_preempted;
  // Requests whose blocks went to host memory and that wait again.
  const park_kv_sequence *swapped;
  // How many.
  size_t num_swapped;
  // Requests that ended because the weights changed.
  const park_kv_sequence *dropped;
  // How many.
  size_t num_dropped;
} park_kv_plan;

// What a scheduler has counted. Set struct_size to sizeof(park_kv_scheduler_stats) before the call.
typedef struct {
  // sizeof(park_kv_scheduler_stats).
  size_t struct_size;
  // Requests that run.
  uint64_t running;
  // Requests that wait.
  uint64_t waiting;
  // Plans that were made.
  uint64_t steps;
  // Tokens of committed work.
  uint64_t tokens_computed;
  // Admissions, those after a preemption included.
  uint64_t admitted;
  // Steps that admitted requests had waited, summed.
  uint64_t steps_waited;
  // Preemptions after which tokens are computed again.
  uint64_t recomputed;
  // Preemptions after which blocks come back from host memory.
  uint64_t swapped;
  // Requests that came to their end.
  uint64_t finished;
  // Requests that a new epoch ended.
  uint64_t dropped;
  // Drafts for which there was room.
  uint64_t drafts;
  // Drafts that were accepted.
  uint64_t drafts_accepted;
} park_kv_scheduler_stats;

// What a scheduler has counted beside its park_kv_scheduler_stats. Set struct_size to sizeof(park_kv_scheduler_metrics) before the call.
typedef struct {
  // sizeof(park_kv_scheduler_metrics).
  size_t struct_size;
  // Blocks that are free and kept for requests that run.
  uint64_t reserved_blocks;
  // Places in host memory.
  uint64_t swap_slots;
  // Those of them that are used.
  uint64_t swap_slots_used;
  // How long admitted requests had waited, in the unit of park_kv_scheduler_set_time(): once for each admission.
  park_kv_histogram queue_time;
  // The same in steps.
  park_kv_histogram queue_steps;
} park_kv_scheduler_metrics;

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

// The interpreter or the environment that the work asked for could not be started.
#define PARK_ENVIRONMENT_SETUP 30

// The process that ran the work was killed before the machine ran out of memory.
#define PARK_OUT_OF_MEMORY 31

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

// Makes a cache. NULL for `options` is the default; see park_kv_cache_defaults().
// Ownership: `*out` is the caller's, for park_kv_cache_free(). Threads: shared. Errors: PARK_INVALID_ARGUMENT for a pool without
// a block, a block without a token, no groups, a window smaller than a block; PARK_IO without randomness for a secret.
park_status park_kv_cache_open(const park_kv_cache_options *options,
                               park_kv_cache **out,
                               park_error **err);

// Frees a cache with all its sequences. NULL is fine.
// Ownership: takes the handle, and the lists that it lent. Threads: movable. Errors: none.
void park_kv_cache_free(park_kv_cache *cache);

// One more tenant, with room for `quota` blocks at a time; UINT32_MAX is no quota. Tenants share no blocks.
// Ownership: takes and gives nothing. Threads: movable. Errors: PARK_INVALID_ARGUMENT past 65536 tenants.
park_status park_kv_cache_add_tenant(park_kv_cache *cache, uint32_t quota, uint32_t *out, park_error **err);

// A new sequence that knows the prompt's tokens, of which nothing is computed.
// Ownership: the prompt is copied. Threads: movable. Errors: PARK_INVALID_ARGUMENT without a token, or for a tenant that is
// unknown.
park_status park_kv_cache_add(park_kv_cache *cache,
                              const park_kv_prompt *prompt,
                              park_kv_sequence *out,
                              park_error **err);

// The sequence has got further tokens.
// Ownership: the tokens are copied. Threads: movable. Errors: PARK_NOT_FOUND for a sequence that has ended.
park_status park_kv_cache_extend(park_kv_cache *cache,
                                 park_kv_sequence sequence,
                                 const uint32_t *tokens,
                                 size_t num_tokens,
                                 park_error **err);

// A sequence that goes on from where this one is, with the same blocks. Constant time.
// Ownership: takes and gives nothing. Threads: movable. Errors: PARK_NOT_FOUND for a sequence that has ended.
park_status park_kv_cache_fork(park_kv_cache *cache,
                               park_kv_sequence sequence,
                               park_kv_sequence *out,
                               park_error **err);

// The sequence has ended: its blocks are free unless others use them, and what was computed can still be found.
// Ownership: takes and gives nothing. Threads: movable. Errors: PARK_NOT_FOUND for a sequence that has ended.
park_status park_kv_cache_finish(park_kv_cache *cache, park_kv_sequence sequence, park_error **err);

// The sequence keeps its tokens and loses its blocks, as if nothing had been computed: what preemption does.
// Ownership: takes and gives nothing. Threads: movable. Errors: PARK_NOT_FOUND for a sequence that has ended.
park_status park_kv_cache_detach(park_kv_cache *cache, park_kv_sequence sequence, park_error **err);

// The sequence starts again in the present epoch: its tokens are known, and nothing of them is computed.
// Ownership: takes and gives nothing. Threads: movable. Errors: PARK_NOT_FOUND for a sequence that has ended.
park_status park_kv_cache_renew(park_kv_cache *cache, park_kv_sequence sequence, park_error **err);

// Gives back blocks past those that known tokens need: room for drafts that were not accepted.
// Ownership: takes and gives nothing. Threads: movable. Errors: PARK_NOT_FOUND for a sequence that has ended.
park_status park_kv_cache_trim(park_kv_cache *cache, park_kv_sequence sequence, park_error **err);

// How many tokens of a sequence without blocks are cached: at most `limit`, and short of its last one, which has to be computed.
// Ownership: takes and gives nothing. Threads: movable. Errors: PARK_NOT_FOUND for a sequence that has ended;
// PARK_INVALID_ARGUMENT for one that has blocks.
park_status park_kv_cache_lookup(park_kv_cache *cache,
                                 park_kv_sequence sequence,
                                 uint32_t limit,
                                 uint32_t *out,
                                 park_error **err);

// Gives a sequence without blocks its longest cached prefix, as park_kv_cache_lookup() finds it: so many tokens are computed
// now.
// Ownership: takes and gives nothing. Threads: movable. Errors: PARK_NOT_FOUND for a sequence that has ended;
// PARK_INVALID_ARGUMENT for one that has blocks; PARK_STORE_FULL if the tenant's quota has no room.
park_status park_kv_cache_attach(park_kv_cache *cache,
                                 park_kv_sequence sequence,
                                 uint32_t limit,
                                 uint32_t *out,
                                 park_error **err);

// Computes the next tokens of each sequence, up to its first `ends[i]`, all of which it knows: makes room, writes the tables,
// and lets others find what is computed. NULL for `tables` is none.
// Ownership: the lists of `*out` are the cache's, valid until its next call. Threads: movable. Errors: PARK_STORE_FULL if the
// pool or a tenant is short of blocks; PARK_NOT_FOUND for a sequence that has ended; PARK_INVALID_ARGUMENT for what does not
// fit.
park_status park_kv_cache_prefill(park_kv_cache *cache,
                                  const park_kv_sequence *sequences,
                                  const uint32_t *ends,
                                  size_t count,
                                  const park_kv_tables *tables,
                                  park_kv_changes *out,
                                  park_error **err);

// Computes one more token of each sequence, the one that was sampled from its last: as park_kv_cache_extend() by that token, and
// park_kv_cache_prefill() to the end. One call for all sequences that decode.
// Ownership: the lists of `*out` are the cache's, valid until its next call. Threads: movable. Errors: PARK_STORE_FULL if the
// pool or a tenant is short of blocks; PARK_NOT_FOUND for a sequence that has ended; PARK_INVALID_ARGUMENT for what does not
// fit.
park_status park_kv_cache_decode(park_kv_cache *cache,
                                 const park_kv_sequence *sequences,
                                 const uint32_t *tokens,
                                 size_t count,
                                 const park_kv_tables *tables,
                                 park_kv_changes *out,
                                 park_error **err);

// Writes the tables of tokens `starts[i]` to `ends[i]` of each sequence, all of which have room, and changes nothing. NULL for
// `starts` is the first tokens.
// Ownership: takes and gives nothing. Threads: movable. Errors: PARK_NOT_FOUND for a sequence that has ended;
// PARK_INVALID_ARGUMENT for what does not fit.
park_status park_kv_cache_fill(park_kv_cache *cache,
                               const park_kv_sequence *sequences,
                               const uint32_t *starts,
                               const uint32_t *ends,
                               size_t count,
                               const park_kv_tables *tables,
                               park_error **err);

// The step is over: its copies are done, its tokens are computed.
// Ownership: takes and gives nothing. Threads: movable. Errors: none of its own.
park_status park_kv_cache_settle(park_kv_cache *cache, park_error **err);

// Makes room for the first `tokens` tokens of a sequence, known or to come.
// Ownership: the lists of `*out` are the cache's, valid until its next call. Threads: movable. Errors: PARK_STORE_FULL if the
// pool or the tenant is short of blocks; PARK_NOT_FOUND for a sequence that has ended; PARK_INVALID_ARGUMENT for fewer tokens
// than are computed.
park_status park_kv_cache_grow(park_kv_cache *cache,
                               park_kv_sequence sequence,
                               uint32_t tokens,
                               park_kv_changes *out,
                               park_error **err);

// The first `computed` tokens of a sequence are computed, or will be by work that is given out: they can be found from now on.
// Ownership: takes and gives nothing. Threads: movable. Errors: PARK_NOT_FOUND for a sequence that has ended;
// PARK_INVALID_ARGUMENT for fewer than before, or more than there is room for.
park_status park_kv_cache_advance(park_kv_cache *cache,
                                  park_kv_sequence sequence,
                                  uint32_t computed,
                                  park_error **err);

// Work that was given out has failed: only the first `computed` tokens are computed, and the others can no longer be found.
// Ownership: takes and gives nothing. Threads: movable. Errors: PARK_NOT_FOUND for a sequence that has ended;
// PARK_INVALID_ARGUMENT for more than are computed, or fewer than a fork shares.
park_status park_kv_cache_rewind(park_kv_cache *cache,
                                 park_kv_sequence sequence,
                                 uint32_t computed,
                                 park_error **err);

// The model has got new weights: from now on no look-up finds what was computed before. Constant time.
// Ownership: takes and gives nothing. Threads: movable. Errors: PARK_INVALID_ARGUMENT unless the epoch is later than the present
// one: that would be an update that nobody noticed.
park_status park_kv_cache_set_epoch(park_kv_cache *cache,
                                    uint32_t epoch,
                                    park_error **err);

// Nothing can be found any more. False, and nothing happens, while a sequence has blocks.
// Ownership: takes and gives nothing. Threads: movable. Errors: none of its own.
park_status park_kv_cache_reset(park_kv_cache *cache, bool *out, park_error **err);

// From now on, this is how long the computed blocks of a sequence are worth keeping after it: those of a lower priority go
// first, until the time is `until` (0: for ever). With PARK_KV_RETENTION.
// Ownership: takes and gives nothing. Threads: movable. Errors: PARK_NOT_FOUND for a sequence that has ended.
park_status park_kv_cache_retain(park_kv_cache *cache,
                                 park_kv_sequence sequence,
                                 uint8_t priority,
                                 uint64_t until,
                                 park_error **err);

// The time, by which retention ends. Time that goes back changes nothing.
// Ownership: takes and gives nothing. Threads: movable. Errors: none of its own.
park_status park_kv_cache_set_time(park_kv_cache *cache, uint64_t now, park_error **err);

// Checks every invariant. Linear in blocks and sequences.
// Ownership: takes and gives nothing. Threads: movable. Errors: PARK_CORRUPT with the first thing that does not add up.
park_status park_kv_cache_audit(park_kv_cache *cache, park_error **err);

// What there is to know about one sequence.
// Ownership: takes and gives nothing. Threads: movable. Errors: PARK_NOT_FOUND for a sequence that has ended.
park_status park_kv_cache_read_sequence(park_kv_cache *cache,
                                        park_kv_sequence sequence,
                                        park_kv_sequence_info *out,
                                        park_error **err);

// Numbers about the cache.
// Ownership: takes and gives nothing. Threads: movable. Errors: none of its own.
park_status park_kv_cache_read_stats(park_kv_cache *cache, park_kv_cache_stats *out, park_error **err);

// What happened to what can be found since the last call, with PARK_KV_EVENTS: one message in vLLM 0.33's wire format, as its routers
// read it. Where the call fails the events are still there.
// Ownership: the bytes of `*out` are the cache's, valid until its next call. Threads: movable. Errors: PARK_INVALID_ARGUMENT for
// a medium that is no UTF-8, and for hashes that are none.
park_status park_kv_cache_take_events(park_kv_cache *cache,
                                      const park_kv_publisher *publisher,
                                      park_kv_events *out,
                                      park_error **err);

// What the cache has counted beside its numbers: each tenant, how long blocks stay.
// Ownership: the list of `*out` is the cache's, valid until its next call. Threads: movable. Errors: none of its own.
park_status park_kv_cache_read_metrics(park_kv_cache *cache, park_kv_cache_metrics *out, park_error **err);

// Fills in the options of a cache, whose struct_size is set.
// Ownership: takes and gives nothing. Threads: shared. Errors: none of its own.
park_status park_kv_cache_defaults(park_kv_cache_options *out, park_error **err);

// Fills in the options of a scheduler, whose struct_size is set.
// Ownership: takes and gives nothing. Threads: shared. Errors: none of its own.
park_status park_kv_scheduler_defaults(park_kv_scheduler_options *out, park_error **err);

// Makes a scheduler without requests. NULL for `options` is the default; see park_kv_scheduler_defaults().
// Ownership: `*out` is the caller's, for park_kv_scheduler_free(). Threads: shared. Errors: PARK_INVALID_ARGUMENT for a budget,
// a chunk or a number of requests of 0, and for what park_kv_cache_open() refuses; PARK_IO without randomness for a secret.
park_status park_kv_scheduler_open(const park_kv_scheduler_options *options,
                                   park_kv_scheduler **out,
                                   park_error **err);

// Frees a scheduler with all its requests. NULL is fine.
// Ownership: takes the handle, and the lists that it lent. Threads: movable. Errors: none.
void park_kv_scheduler_free(park_kv_scheduler *scheduler);

// One more tenant, with room for `quota` blocks at a time; UINT32_MAX is no quota. Tenants share no blocks.
// Ownership: takes and gives nothing. Threads: movable. Errors: PARK_INVALID_ARGUMENT past 65536 tenants.
park_status park_kv_scheduler_add_tenant(park_kv_scheduler *scheduler, uint32_t quota, uint32_t *out, park_error **err);

// A new request, which waits. It ends after `prompt->max_new` tokens at the latest.
// Ownership: the prompt is copied. Threads: movable. Errors: PARK_UNSCHEDULABLE if it could not finish with the whole pool, or
// its tenant's quota, to itself; PARK_INVALID_ARGUMENT without a token, without one to generate, or for a tenant that is
// unknown.
park_status park_kv_scheduler_add(park_kv_scheduler *scheduler,
                                  const park_kv_prompt *prompt,
                                  park_kv_sequence *out,
                                  park_error **err);

// One more request that goes on from where this one is: another sample, another branch of a search.
// Ownership: takes and gives nothing. Threads: movable. Errors: PARK_NOT_FOUND for a sequence that has ended;
// PARK_INVALID_ARGUMENT while a plan is in flight.
park_status park_kv_scheduler_fork(park_kv_scheduler *scheduler,
                                   park_kv_sequence sequence,
                                   park_kv_sequence *out,
                                   park_error **err);

// The request ends now. What it computed can still be found.
// Ownership: takes and gives nothing. Threads: movable. Errors: PARK_NOT_FOUND for a sequence that has ended;
// PARK_INVALID_ARGUMENT while a plan is in flight.
park_status park_kv_scheduler_abort(park_kv_scheduler *scheduler, park_kv_sequence sequence, park_error **err);

// Makes the plan of the next step, and writes its tables; NULL for `tables` is none. It is empty if there is nothing to do, or
// the scheduler is paused. If a table is too small, the plan is in flight, and park_kv_scheduler_fill() gives it and writes it
// to larger ones.
// Ownership: the lists of `*out` are the scheduler's, valid until its next call. Threads: movable. Errors: PARK_INVALID_ARGUMENT
// while the last plan is in flight, and for a table that is too small.
park_status park_kv_scheduler_step(park_kv_scheduler *scheduler,
                                   const park_kv_tables *tables,
                                   park_kv_plan *out,
                                   park_error **err);

// Gives the plan in flight again, and writes its tables; those of another group, say.
// Ownership: the lists of `*out` are the scheduler's, valid until its next call. Threads: movable. Errors: PARK_INVALID_ARGUMENT
// for a table that is too small; PARK_NOT_FOUND once the plan is committed and a sequence of it has ended.
park_status park_kv_scheduler_fill(park_kv_scheduler *scheduler,
                                   const park_kv_tables *tables,
                                   park_kv_plan *out,
                                   park_error **err);

// The plan in flight is done. `counts[i]` says how many tokens were sampled for its i-th work: accepted drafts in order, and one
// more; NULL for `counts` is one for each work that samples. `tokens` has them one work after the other. `finished[i]`, unless
// 0, ends the request; NULL is none. Those that have said all they may end by themselves.
// Ownership: the tokens are copied. Threads: movable. Errors: PARK_INVALID_ARGUMENT if that does not fit the plan, which is then
// still in flight.
park_status park_kv_scheduler_commit(park_kv_scheduler *scheduler,
                                     const uint32_t *tokens,
                                     size_t num_tokens,
                                     const uint32_t *counts,
                                     const uint8_t *finished,
                                     size_t count,
                                     park_error **err);

// The plan in flight failed: nothing of its work is computed. Whoever it admitted waits again.
// Ownership: takes and gives nothing. Threads: movable. Errors: PARK_INVALID_ARGUMENT without a plan in flight.
park_status park_kv_scheduler_abandon(park_kv_scheduler *scheduler, park_error **err);

// Steps make empty plans until park_kv_scheduler_resume(); requests keep their blocks.
// Ownership: takes and gives nothing. Threads: movable. Errors: none of its own.
park_status park_kv_scheduler_pause(park_kv_scheduler *scheduler, park_error **err);

// Steps make plans again.
// Ownership: takes and gives nothing. Threads: movable. Errors: none of its own.
park_status park_kv_scheduler_resume(park_kv_scheduler *scheduler, park_error **err);

// Pauses and gives back every block, so that the engine can release its memory: what ran waits again, nothing is found any more.
// Ownership: takes and gives nothing. Threads: movable. Errors: PARK_INVALID_ARGUMENT while a plan is in flight.
park_status park_kv_scheduler_sleep(park_kv_scheduler *scheduler,
                                    park_error **err);

// The model has got new weights: from now on no look-up finds what was computed before. Constant time.
// Ownership: takes and gives nothing. Threads: movable. Errors: PARK_INVALID_ARGUMENT unless the epoch is later than the present
// one: that would be an update that nobody noticed, and while a plan is in flight.
park_status park_kv_scheduler_set_epoch(park_kv_scheduler *scheduler,
                                        uint32_t epoch,
                                        park_error **err);

// Nothing can be found any more. False, and nothing happens, while a sequence has blocks.
// Ownership: takes and gives nothing. Threads: movable. Errors: none of its own.
park_status park_kv_scheduler_reset(park_kv_scheduler *scheduler, bool *out, park_error **err);

// From now on, this is how long the computed blocks of a sequence are worth keeping after it: those of a lower priority go
// first, until the time is `until` (0: for ever). With PARK_KV_RETENTION.
// Ownership: takes and gives nothing. Threads: movable. Errors: PARK_NOT_FOUND for a sequence that has ended.
park_status park_kv_scheduler_retain(park_kv_scheduler *scheduler,
                                     park_kv_sequence sequence,
                                     uint8_t priority,
                                     uint64_t until,
                                     park_error **err);

// The time, by which retention ends. Time that goes back changes nothing.
// Ownership: takes and gives nothing. Threads: movable. Errors: none of its own.
park_status park_kv_scheduler_set_time(park_kv_scheduler *scheduler, uint64_t now, park_error **err);

// Checks every invariant. Linear in blocks and sequences.
// Ownership: takes and gives nothing. Threads: movable. Errors: PARK_CORRUPT with the first thing that does not add up.
park_status park_kv_scheduler_audit(park_kv_scheduler *scheduler, park_error **err);

// What there is to know about one sequence.
// Ownership: takes and gives nothing. Threads: movable. Errors: PARK_NOT_FOUND for a sequence that has ended.
park_status park_kv_scheduler_read_sequence(park_kv_scheduler *scheduler,
                                            park_kv_sequence sequence,
                                            park_kv_sequence_info *out,
                                            park_error **err);

// Numbers about the cache below.
// Ownership: takes and gives nothing. Threads: movable. Errors: none of its own.
park_status park_kv_scheduler_read_cache_stats(park_kv_scheduler *scheduler,
                                               park_kv_cache_stats *out,
                                               park_error **err);

// Numbers about the scheduler.
// Ownership: takes and gives nothing. Threads: movable. Errors: none of its own.
park_status park_kv_scheduler_read_stats(park_kv_scheduler *scheduler, park_kv_scheduler_stats *out, park_error **err);

// What happened to what can be found since the last call, with PARK_KV_EVENTS: one message in vLLM 0.33's wire format, as its routers
// read it. Where the call fails the events are still there.
// Ownership: the bytes of `*out` are the scheduler's, valid until its next call. Threads: movable. Errors: PARK_INVALID_ARGUMENT for
// a medium that is no UTF-8, and for hashes that are none.
park_status park_kv_scheduler_take_events(park_kv_scheduler *scheduler,
                                          const park_kv_publisher *publisher,
                                          park_kv_events *out,
                                          park_error **err);

// What the cache below has counted beside its numbers: each tenant, how long blocks stay.
// Ownership: the list of `*out` is the scheduler's, valid until its next call. Threads: movable. Errors: none of its own.
park_status park_kv_scheduler_read_cache_metrics(park_kv_scheduler *scheduler,
                                                 park_kv_cache_metrics *out,
                                                 park_error **err);

// What the scheduler has counted beside its numbers: reservations, places in host memory, how long requests wait.
// Ownership: takes and gives nothing. Threads: movable. Errors: none of its own.
park_status park_kv_scheduler_read_metrics(park_kv_scheduler *scheduler,
                                           park_kv_scheduler_metrics *out,
                                           park_error **err);

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
