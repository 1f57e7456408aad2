// The part of park.hpp about the paged KV cache: which block holds which tokens' keys and values, and what is computed next. Included by
// park.hpp; header only. See docs/KV.md for how an engine adopts it.
//
//   auto scheduler = park::kv::Scheduler::open({}).value();
//   scheduler.add({prompt, 256}).value();
//   auto plan = scheduler.step(tables).value();      // writes block tables into the caller's arrays
//   ...                                              // compute
//   scheduler.commit(sampled).value();
#ifndef PARK_KV_HPP
#define PARK_KV_HPP

#include "park_values.hpp"

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace park::kv {

// A sequence of a cache, or a request of a scheduler.
using Sequence = park_kv_sequence;

// What a cache is made of; see park_kv_cache_options.
struct CacheOptions {
  std::uint32_t blocks = 1024;
  std::uint32_t block_size = 16;
  std::vector<std::uint32_t> windows; // of each group of layers, 0 for full attention; empty is one full group
  std::optional<std::array<std::uint8_t, 32>> secret; // random if there is none
  std::uint32_t eviction = PARK_KV_LRU;
  std::uint32_t algorithm = PARK_KV_XXH3;
  std::uint32_t flags = 0;

  // Points into this.
  park_kv_cache_options raw() const {
    park_kv_cache_options raw{};
    raw.struct_size = sizeof raw;
    raw.blocks = blocks;
    raw.block_size = block_size;
    raw.windows = windows.empty() ? nullptr : windows.data();
    raw.num_windows = windows.size();
    raw.secret = secret ? secret->data() : nullptr;
    raw.eviction = eviction;
    raw.algorithm = algorithm;
    raw.flags = flags;
    return raw;
  }
};

// What a scheduler is made of; see park_kv_scheduler_options.
struct SchedulerOptions {
  CacheOptions cache;
  std::uint32_t step_tokens = 8192;
  std::uint32_t running = 256;
  std::uint32_t chunk = 8192;
  std::uint32_t policy = PARK_KV_FCFS;
  std::uint32_t quantum = 4096;
  std::uint32_t swap_slots = 0;
  std::uint32_t reserve_output = 0;
  std::uint32_t drafts = 0;
};

// What is asked of a model; see park_kv_prompt. What it points to is copied by the call.
struct Prompt {
  Span<const std::uint32_t> tokens;
  std::uint32_t max_new = 0; // for a scheduler
  std::uint32_t tenant = 0;
  std::string_view salt;
  std::string_view adapter;
  Span<const park_kv_media> media;
  std::int32_t priority = 0;
  std::uint32_t on_epoch = PARK_KV_FINISH;

  park_kv_prompt raw() const {
    park_kv_prompt raw{};
    raw.struct_size = sizeof raw;
    raw.tokens = tokens.data();
    raw.num_tokens = tokens.size();
    raw.salt = reinterpret_cast<const std::uint8_t *>(salt.data());
    raw.salt_len = salt.size();
    raw.adapter = reinterpret_cast<const std::uint8_t *>(adapter.data());
    raw.adapter_len = adapter.size();
    raw.media = media.data();
    raw.num_media = media.size();
    raw.tenant = tenant;
    raw.max_new = max_new;
    raw.priority = priority;
    raw.on_epoch = on_epoch;
    return raw;
  }
};

// Arrays of the caller's that a step writes its block tables to; see park_kv_tables. Those that are empty are left out.
struct Tables {
  std::size_t group = 0;
  Span<std::int32_t> block_table; // rows of `width` blocks
  std::size_t width = 0;
  Span<std::int64_t> slot_mapping;
  Span<std::int32_t> indptr;
  Span<std::int32_t> indices;
  Span<std::int32_t> last_page_len;
  Span<std::int32_t> cu_seqlens_q;
  Span<std::int32_t> cu_seqlens_k;
  Span<std::int32_t> seq_lens;

  park_kv_tables raw() const {
    park_kv_tables raw{};
    raw.struct_size = sizeof raw;
    raw.group = group;
    raw.block_table = block_table.data();
    raw.block_table_rows = width == 0 ? 0 : block_table.size() / width;
    raw.block_table_width = width;
    raw.slot_mapping = slot_mapping.data();
    raw.slot_mapping_len = slot_mapping.size();
    raw.indptr = indptr.data();
    raw.indptr_len = indptr.size();
    raw.indices = indices.data();
    raw.indices_len = indices.size();
    raw.last_page_len = last_page_len.data();
    raw.last_page_len_len = last_page_len.size();
    raw.cu_seqlens_q = cu_seqlens_q.data();
    raw.cu_seqlens_q_len = cu_seqlens_q.size();
    raw.cu_seqlens_k = cu_seqlens_k.data();
    raw.cu_seqlens_k_len = cu_seqlens_k.size();
    raw.seq_lens = seq_lens.data();
    raw.seq_lens_len = seq_lens.size();
    return raw;
  }
};

// What an engine is to do to its memory. The lists are the cache's, valid until its next call.
struct Changes {
  Span<const park_kv_copy> copies;
  Span<const park_kv_placed> placed;
  std::size_t tokens = 0;
  std::size_t pages = 0;
};

// What an engine does in one step: swap_out, copies, swap_in, work. The lists are the scheduler's, valid until its next call.
struct Plan {
  std::uint64_t number = 0;
  Span<const park_kv_work> work;
  std::size_t tokens = 0;
  std::size_t pages = 0;
  Span<const park_kv_copy> copies;
  Span<const park_kv_placed> placed;
  Span<const park_kv_swap> swap_out;
  Span<const park_kv_swap> swap_in;
  Span<const std::uint32_t> proposed;
  Span<const Sequence> admitted;
  Span<const Sequence> preempted;
  Span<const Sequence> swapped;
  Span<const Sequence> dropped;
};

// What a batch of events says of its publisher; see park_kv_publisher.
struct Publisher {
  double time = 0;              // seconds since 1970
  const char *medium = "GPU";   // where the blocks are: "GPU", "CPU" or "STORAGE"
  std::uint32_t rank = 0;       // among data parallel replicas; UINT32_MAX is none
  std::uint32_t hashes = PARK_KV_HASHES_INT;

  park_kv_publisher raw() const {
    park_kv_publisher raw{};
    raw.struct_size = sizeof raw;
    raw.time = time;
    raw.medium = medium;
    raw.rank = rank;
    raw.hashes = hashes;
    return raw;
  }
};

// One message in vLLM's wire format; empty of events it is one all the same. The bytes are the handle's, valid until its next call.
struct Events {
  Span<const std::uint8_t> bytes;
  std::size_t count = 0;
};

namespace detail {

using park::detail::call;
using park::detail::Handle;
using park::detail::make;

// Calls a function of park.h that writes one value.
template <class T, class F> Result<T> value(F &&function) {
  T out{};
  auto done = call([&](park_error **err) { return function(&out, err); });
  return done ? Result<T>(out) : Result<T>(done.error());
}

// Calls a function of park.h that fills a struct which says its size.
template <class T, class F> Result<T> filled(F &&function) {
  T out{};
  out.struct_size = sizeof out;
  auto done = call([&](park_error **err) { return function(&out, err); });
  return done ? Result<T>(out) : Result<T>(done.error());
}

template <class F> Result<Changes> changes(F &&function) {
  auto raw = filled<park_kv_changes>(function);
  if (!raw) {
    return raw.error();
  }
  return Changes{{raw->copies, raw->num_copies}, {raw->placed, raw->num_placed}, raw->num_tokens, raw->num_pages};
}

template <class F> Result<Plan> plan(F &&function) {
  auto raw = filled<park_kv_plan>(function);
  if (!raw) {
    return raw.error();
  }
  Plan plan;
  plan.number = raw->number;
  plan.work = {raw->work, raw->num_work};
  plan.tokens = raw->num_tokens;
  plan.pages = raw->num_pages;
  plan.copies = {raw->copies, raw->num_copies};
  plan.placed = {raw->placed, raw->num_placed};
  plan.swap_out = {raw->swap_out, raw->num_swap_out};
  plan.swap_in = {raw->swap_in, raw->num_swap_in};
  plan.proposed = {raw->proposed, raw->num_proposed};
  plan.admitted = {raw->admitted, raw->num_admitted};
  plan.preempted = {raw->preempted, raw->num_preempted};
  plan.swapped = {raw->swapped, raw->num_swapped};
  plan.dropped = {raw->dropped, raw->num_dropped};
  return plan;
}

template <class F> Result<Events> events(F &&function) {
  auto raw = filled<park_kv_events>(function);
  if (!raw) {
    return raw.error();
  }
  return Events{{raw->bytes, raw->num_bytes}, raw->num_events};
}

// Two lists that belong together must be as long.
inline Result<void> same(std::size_t sequences, std::size_t others) {
  if (sequences != others) {
    return Error(PARK_INVALID_ARGUMENT, std::to_string(sequences) + " sequences need as many numbers, and " +
                                            std::to_string(others) + " came");
  }
  return {};
}

} // namespace detail

// Sequences over a pool of blocks, for engines that schedule by themselves; see park_kv_cache.
class Cache {
public:
  explicit Cache(park_kv_cache *raw) : handle_(raw) {}

  static Result<Cache> open(const CacheOptions &options = {}) {
    const park_kv_cache_options raw = options.raw();
    return detail::make<Cache, park_kv_cache>(
        [&](park_kv_cache **out, park_error **err) { return park_kv_cache_open(&raw, out, err); });
  }

  // One more tenant, with room for `quota` blocks at a time.
  Result<std::uint32_t> add_tenant(std::uint32_t quota = UINT32_MAX) {
    return detail::value<std::uint32_t>([&](auto *out, park_error **err) { return park_kv_cache_add_tenant(handle_.get(), quota, out, err); });
  }

  // A new sequence that knows the prompt's tokens, of which nothing is computed.
  Result<Sequence> add(const Prompt &prompt) {
    const park_kv_prompt raw = prompt.raw();
    return detail::value<Sequence>(
        [&](Sequence *out, park_error **err) { return park_kv_cache_add(handle_.get(), &raw, out, err); });
  }

  // The sequence has got further tokens.
  Result<void> extend(Sequence sequence, Span<const std::uint32_t> tokens) {
    return detail::call([&](park_error **err) {
      return park_kv_cache_extend(handle_.get(), sequence, tokens.data(), tokens.size(), err);
    });
  }

  // A sequence that goes on from where this one is, with the same blocks.
  Result<Sequence> fork(Sequence sequence) {
    return detail::value<Sequence>([&](auto *out, park_error **err) { return park_kv_cache_fork(handle_.get(), sequence, out, err); });
  }
  // The sequence has ended; what was computed can still be found.
  Result<void> finish(Sequence sequence) {
    return detail::call([&](park_error **err) { return park_kv_cache_finish(handle_.get(), sequence, err); });
  }
  // The sequence keeps its tokens and loses its blocks: what preemption does.
  Result<void> detach(Sequence sequence) {
    return detail::call([&](park_error **err) { return park_kv_cache_detach(handle_.get(), sequence, err); });
  }
  // The sequence starts again in the present epoch.
  Result<void> renew(Sequence sequence) {
    return detail::call([&](park_error **err) { return park_kv_cache_renew(handle_.get(), sequence, err); });
  }
  // Gives back room for drafts that were not accepted.
  Result<void> trim(Sequence sequence) {
    return detail::call([&](park_error **err) { return park_kv_cache_trim(handle_.get(), sequence, err); });
  }

  // How many tokens of a sequence without blocks are cached.
  Result<std::uint32_t> lookup(Sequence sequence, std::uint32_t limit = UINT32_MAX) {
    return detail::value<std::uint32_t>([&](auto *out, park_error **err) { return park_kv_cache_lookup(handle_.get(), sequence, limit, out, err); });
  }
  // Gives a sequence its longest cached prefix; returns how many of its tokens are computed now.
  Result<std::uint32_t> attach(Sequence sequence, std::uint32_t limit = UINT32_MAX) {
    return detail::value<std::uint32_t>([&](auto *out, park_error **err) { return park_kv_cache_attach(handle_.get(), sequence, limit, out, err); });
  }

  // Computes the next tokens of each sequence, up to its first ends[i]. All or nothing.
  Result<Changes> prefill(Span<const Sequence> sequences, Span<const std::uint32_t> ends, const Tables &tables = {}) {
    if (auto same = detail::same(sequences.size(), ends.size()); !same) {
      return same.error();
    }
    const park_kv_tables raw = tables.raw();
    return detail::changes([&](park_kv_changes *out, park_error **err) {
      return park_kv_cache_prefill(handle_.get(), sequences.data(), ends.data(), sequences.size(), &raw, out, err);
    });
  }

  // Computes one more token of each sequence, the one that was sampled from its last. All or nothing.
  Result<Changes> decode(Span<const Sequence> sequences, Span<const std::uint32_t> tokens, const Tables &tables = {}) {
    if (auto same = detail::same(sequences.size(), tokens.size()); !same) {
      return same.error();
    }
    const park_kv_tables raw = tables.raw();
    return detail::changes([&](park_kv_changes *out, park_error **err) {
      return park_kv_cache_decode(handle_.get(), sequences.data(), tokens.data(), sequences.size(), &raw, out, err);
    });
  }

  // Writes the tables of tokens starts[i] to ends[i] of each sequence; without starts, of the first ones. Changes nothing.
  Result<void> fill(Span<const Sequence> sequences, Span<const std::uint32_t> ends, const Tables &tables,
                    Span<const std::uint32_t> starts = {}) {
    if (auto same = detail::same(sequences.size(), ends.size()); !same) {
      return same;
    }
    if (auto same = detail::same(sequences.size(), starts.data() ? starts.size() : ends.size()); !same) {
      return same;
    }
    const park_kv_tables raw = tables.raw();
    return detail::call([&](park_error **err) {
      return park_kv_cache_fill(handle_.get(), sequences.data(), starts.data(), ends.data(), sequences.size(), &raw, err);
    });
  }

  // The step is over: its copies are done, its tokens are computed.
  Result<void> settle() {
    return detail::call([&](park_error **err) { return park_kv_cache_settle(handle_.get(), err); });
  }

  // Makes room for the first `tokens` tokens of a sequence.
  Result<Changes> grow(Sequence sequence, std::uint32_t tokens) {
    return detail::changes([&](park_kv_changes *out, park_error **err) {
      return park_kv_cache_grow(handle_.get(), sequence, tokens, out, err);
    });
  }

  // The first `computed` tokens of a sequence are computed.
  Result<void> advance(Sequence sequence, std::uint32_t computed) {
    return detail::call([&](park_error **err) { return park_kv_cache_advance(handle_.get(), sequence, computed, err); });
  }
  // Work that was given out has failed: only the first `computed` tokens are computed.
  Result<void> rewind(Sequence sequence, std::uint32_t computed) {
    return detail::call([&](park_error **err) { return park_kv_cache_rewind(handle_.get(), sequence, computed, err); });
  }

  // The model has got new weights: from now on no look-up finds what was computed before.
  Result<void> set_epoch(std::uint32_t epoch) {
    return detail::call([&](park_error **err) { return park_kv_cache_set_epoch(handle_.get(), epoch, err); });
  }
  // Nothing can be found any more. False, and nothing happens, while a sequence has blocks.
  Result<bool> reset() {
    return detail::value<bool>([&](auto *out, park_error **err) { return park_kv_cache_reset(handle_.get(), out, err); });
  }
  // How long the computed blocks of a sequence are worth keeping after it; with PARK_KV_RETENTION.
  Result<void> retain(Sequence sequence, std::uint8_t priority, std::uint64_t until = 0) {
    return detail::call([&](park_error **err) { return park_kv_cache_retain(handle_.get(), sequence, priority, until, err); });
  }
  Result<void> set_time(std::uint64_t now) {
    return detail::call([&](park_error **err) { return park_kv_cache_set_time(handle_.get(), now, err); });
  }
  // Checks every invariant; PARK_CORRUPT with the first thing that does not add up.
  Result<void> audit() {
    return detail::call([&](park_error **err) { return park_kv_cache_audit(handle_.get(), err); });
  }
  Result<park_kv_sequence_info> sequence(Sequence sequence) {
    return detail::filled<park_kv_sequence_info>([&](auto *out, park_error **err) { return park_kv_cache_read_sequence(handle_.get(), sequence, out, err); });
  }
  // What happened to what can be found since the last call, with PARK_KV_EVENTS: one message, as vLLM's routers read it.
  Result<Events> take_events(const Publisher &publisher) {
    const park_kv_publisher raw = publisher.raw();
    return detail::events([&](auto *out, park_error **err) { return park_kv_cache_take_events(handle_.get(), &raw, out, err); });
  }
  // Each tenant, and how long blocks stay. The list is the cache's, valid until its next call.
  Result<park_kv_cache_metrics> metrics() {
    return detail::filled<park_kv_cache_metrics>([&](auto *out, park_error **err) { return park_kv_cache_read_metrics(handle_.get(), out, err); });
  }
  Result<park_kv_cache_stats> stats() {
    return detail::filled<park_kv_cache_stats>([&](auto *out, park_error **err) { return park_kv_cache_read_stats(handle_.get(), out, err); });
  }

private:
  detail::Handle<park_kv_cache, &park_kv_cache_free> handle_;
};

// Requests over a cache, for engines that only compute; see park_kv_scheduler.
class Scheduler {
public:
  explicit Scheduler(park_kv_scheduler *raw) : handle_(raw) {}

  static Result<Scheduler> open(const SchedulerOptions &options = {}) {
    const park_kv_cache_options cache = options.cache.raw();
    park_kv_scheduler_options raw{};
    raw.struct_size = sizeof raw;
    raw.cache = &cache;
    raw.step_tokens = options.step_tokens;
    raw.running = options.running;
    raw.chunk = options.chunk;
    raw.policy = options.policy;
    raw.quantum = options.quantum;
    raw.swap_slots = options.swap_slots;
    raw.reserve_output = options.reserve_output;
    raw.drafts = options.drafts;
    return detail::make<Scheduler, park_kv_scheduler>(
        [&](park_kv_scheduler **out, park_error **err) { return park_kv_scheduler_open(&raw, out, err); });
  }

  // One more tenant, with room for `quota` blocks at a time.
  Result<std::uint32_t> add_tenant(std::uint32_t quota = UINT32_MAX) {
    return detail::value<std::uint32_t>([&](auto *out, park_error **err) { return park_kv_scheduler_add_tenant(handle_.get(), quota, out, err); });
  }

  // A new request, which waits; PARK_UNSCHEDULABLE if it could never finish.
  Result<Sequence> add(const Prompt &prompt) {
    const park_kv_prompt raw = prompt.raw();
    return detail::value<Sequence>(
        [&](Sequence *out, park_error **err) { return park_kv_scheduler_add(handle_.get(), &raw, out, err); });
  }

  // One more request that goes on from where this one is.
  Result<Sequence> fork(Sequence sequence) {
    return detail::value<Sequence>([&](auto *out, park_error **err) { return park_kv_scheduler_fork(handle_.get(), sequence, out, err); });
  }
  // The request ends now.
  Result<void> abort(Sequence sequence) {
    return detail::call([&](park_error **err) { return park_kv_scheduler_abort(handle_.get(), sequence, err); });
  }

  // Makes the plan of the next step, and writes its tables.
  Result<Plan> step(const Tables &tables = {}) {
    const park_kv_tables raw = tables.raw();
    return detail::plan([&](park_kv_plan *out, park_error **err) {
      return park_kv_scheduler_step(handle_.get(), &raw, out, err);
    });
  }

  // Gives the plan in flight again, and writes its tables: larger ones, or those of another group.
  Result<Plan> fill(const Tables &tables) {
    const park_kv_tables raw = tables.raw();
    return detail::plan([&](park_kv_plan *out, park_error **err) {
      return park_kv_scheduler_fill(handle_.get(), &raw, out, err);
    });
  }

  // The plan in flight is done: one token for each work that samples, in order. `finished[i]`, unless 0, ends the request of the i-th work;
  // without it those that have said all they may end by themselves.
  Result<void> commit(Span<const std::uint32_t> tokens, Span<const std::uint8_t> finished = {}) {
    return detail::call([&](park_error **err) {
      return park_kv_scheduler_commit(handle_.get(), tokens.data(), tokens.size(), nullptr, finished.data(), finished.size(),
                                      err);
    });
  }

  // As above, with counts[i] tokens for the i-th work: accepted drafts, and one more.
  Result<void> commit(Span<const std::uint32_t> tokens, Span<const std::uint32_t> counts,
                      Span<const std::uint8_t> finished) {
    if (auto same = detail::same(counts.size(), finished.data() ? finished.size() : counts.size()); !same) {
      return same;
    }
    return detail::call([&](park_error **err) {
      return park_kv_scheduler_commit(handle_.get(), tokens.data(), tokens.size(), counts.data(), finished.data(),
                                      counts.size(), err);
    });
  }

  // The plan in flight failed: nothing of its work is computed.
  Result<void> abandon() {
    return detail::call([&](park_error **err) { return park_kv_scheduler_abandon(handle_.get(), err); });
  }

  // Steps make empty plans until resume(); requests keep their blocks.
  Result<void> pause() {
    return detail::call([&](park_error **err) { return park_kv_scheduler_pause(handle_.get(), err); });
  }
  Result<void> resume() {
    return detail::call([&](park_error **err) { return park_kv_scheduler_resume(handle_.get(), err); });
  }
  // Pauses and gives back every block.
  Result<void> sleep() {
    return detail::call([&](park_error **err) { return park_kv_scheduler_sleep(handle_.get(), err); });
  }

  // The model has got new weights: from now on no look-up finds what was computed before.
  Result<void> set_epoch(std::uint32_t epoch) {
    return detail::call([&](park_error **err) { return park_kv_scheduler_set_epoch(handle_.get(), epoch, err); });
  }
  // Nothing can be found any more. False, and nothing happens, while a sequence has blocks.
  Result<bool> reset() {
    return detail::value<bool>([&](auto *out, park_error **err) { return park_kv_scheduler_reset(handle_.get(), out, err); });
  }
  // How long the computed blocks of a sequence are worth keeping after it; with PARK_KV_RETENTION.
  Result<void> retain(Sequence sequence, std::uint8_t priority, std::uint64_t until = 0) {
    return detail::call([&](park_error **err) { return park_kv_scheduler_retain(handle_.get(), sequence, priority, until, err); });
  }
  Result<void> set_time(std::uint64_t now) {
    return detail::call([&](park_error **err) { return park_kv_scheduler_set_time(handle_.get(), now, err); });
  }
  // Checks every invariant; PARK_CORRUPT with the first thing that does not add up.
  Result<void> audit() {
    return detail::call([&](park_error **err) { return park_kv_scheduler_audit(handle_.get(), err); });
  }
  Result<park_kv_sequence_info> sequence(Sequence sequence) {
    return detail::filled<park_kv_sequence_info>([&](auto *out, park_error **err) { return park_kv_scheduler_read_sequence(handle_.get(), sequence, out, err); });
  }
  // What happened to what can be found since the last call, with PARK_KV_EVENTS: one message, as vLLM's routers read it.
  Result<Events> take_events(const Publisher &publisher) {
    const park_kv_publisher raw = publisher.raw();
    return detail::events([&](auto *out, park_error **err) { return park_kv_scheduler_take_events(handle_.get(), &raw, out, err); });
  }
  // Reservations, places in host memory, how long requests wait.
  Result<park_kv_scheduler_metrics> metrics() {
    return detail::filled<park_kv_scheduler_metrics>([&](auto *out, park_error **err) { return park_kv_scheduler_read_metrics(handle_.get(), out, err); });
  }
  // Each tenant, and how long blocks stay. The list is the scheduler's, valid until its next call.
  Result<park_kv_cache_metrics> cache_metrics() {
    return detail::filled<park_kv_cache_metrics>([&](auto *out, park_error **err) { return park_kv_scheduler_read_cache_metrics(handle_.get(), out, err); });
  }
  Result<park_kv_scheduler_stats> stats() {
    return detail::filled<park_kv_scheduler_stats>([&](auto *out, park_error **err) { return park_kv_scheduler_read_stats(handle_.get(), out, err); });
  }
  Result<park_kv_cache_stats> cache_stats() {
    return detail::filled<park_kv_cache_stats>([&](auto *out, park_error **err) { return park_kv_scheduler_read_cache_stats(handle_.get(), out, err); });
  }

private:
  detail::Handle<park_kv_scheduler, &park_kv_scheduler_free> handle_;
};

} // namespace park::kv

#endif // PARK_KV_HPP
