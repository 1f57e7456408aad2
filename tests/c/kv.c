// The paged KV cache from C: what a step writes, what is shared, what is refused; and that refusing changes nothing.
#include "check.h"

#include <stdlib.h>

enum { BLOCK = 4, BLOCKS = 64 };

static park_kv_cache *open_cache(uint32_t blocks) {
  park_kv_cache_options options = {.struct_size = sizeof options};
  park_kv_cache *cache = NULL;
  CHECK_OK(park_kv_cache_defaults(&options, &err));
  CHECK(options.blocks == 1024 && options.block_size == 16);
  options.blocks = blocks;
  options.block_size = BLOCK;
  CHECK_OK(park_kv_cache_open(&options, &cache, &err));
  return cache;
}

static park_kv_scheduler *open_scheduler(uint32_t drafts) {
  park_kv_cache_options cache = {.struct_size = sizeof cache};
  park_kv_scheduler_options options = {.struct_size = sizeof options};
  park_kv_scheduler *scheduler = NULL;
  CHECK_OK(park_kv_cache_defaults(&cache, &err));
  CHECK_OK(park_kv_scheduler_defaults(&options, &err));
  CHECK(options.step_tokens == 8192 && options.running == 256 && options.chunk == 8192);
  cache.blocks = BLOCKS;
  cache.block_size = BLOCK;
  options.cache = &cache;
  options.chunk = 6;
  options.drafts = drafts;
  CHECK_OK(park_kv_scheduler_open(&options, &scheduler, &err));
  return scheduler;
}

static park_kv_prompt prompt_of(const uint32_t *tokens, size_t count) {
  return (park_kv_prompt){.struct_size = sizeof(park_kv_prompt), .tokens = tokens, .num_tokens = count, .max_new = 2};
}

static park_kv_changes changes_of(void) { return (park_kv_changes){.struct_size = sizeof(park_kv_changes)}; }

// A sequence of 0, 1, 2, ... all of which is computed.
static park_kv_sequence begun(park_kv_cache *cache, size_t count) {
  uint32_t tokens[64], found = 0, end = (uint32_t)count;
  for (uint32_t at = 0; at < 64; ++at) {
    tokens[at] = at;
  }
  park_kv_prompt prompt = prompt_of(tokens, count);
  park_kv_sequence sequence = 0;
  park_kv_changes changes = changes_of();
  CHECK_OK(park_kv_cache_add(cache, &prompt, &sequence, &err));
  CHECK_OK(park_kv_cache_attach(cache, sequence, UINT32_MAX, &found, &err));
  CHECK_OK(park_kv_cache_prefill(cache, &sequence, &end, 1, NULL, &changes, &err));
  CHECK_OK(park_kv_cache_settle(cache, &err));
  return sequence;
}

static void tables_of_a_step(void) {
  park_kv_cache *cache = open_cache(BLOCKS);
  park_kv_sequence sequences[2] = {begun(cache, 9), begun(cache, 4)};
  int32_t block_table[3 * 5], indptr[3], indices[8], last_page_len[2], q[3], k[3], seq_lens[2];
  int64_t slots[3] = {-1, -1, -1};
  for (int at = 0; at < 15; ++at) {
    block_table[at] = -1;
  }
  park_kv_tables tables = {
      .struct_size = sizeof tables, .block_table = block_table,     .block_table_rows = 3, .block_table_width = 5,
      .slot_mapping = slots,        .slot_mapping_len = 3,          .indptr = indptr,      .indptr_len = 3,
      .indices = indices,           .indices_len = 8,               .cu_seqlens_q = q,     .cu_seqlens_q_len = 3,
      .last_page_len = last_page_len, .last_page_len_len = 2,       .cu_seqlens_k = k,     .cu_seqlens_k_len = 3,
      .seq_lens = seq_lens,         .seq_lens_len = 2,
  };
  const uint32_t tokens[2] = {90, 91};
  park_kv_changes changes = changes_of();
  CHECK_OK(park_kv_cache_decode(cache, sequences, tokens, 2, &tables, &changes, &err));
  CHECK(changes.num_tokens == 2 && changes.num_pages == 5 && changes.num_copies == 0 && changes.copies == NULL);
  CHECK(changes.num_placed == 1 && changes.placed[0].sequence == sequences[1] && changes.placed[0].position == 1);
  CHECK(block_table[0] != block_table[5] && block_table[6] == (int32_t)changes.placed[0].block);
  CHECK(block_table[3] == 0 && block_table[4] == 0 && block_table[7] == 0 && block_table[10] == -1);
  CHECK(slots[0] == block_table[2] * BLOCK + 1 && slots[1] == block_table[6] * BLOCK && slots[2] == -1);
  CHECK(indptr[0] == 0 && indptr[1] == 3 && indptr[2] == 5 && memcmp(indices, block_table, 3 * sizeof *indices) == 0);
  CHECK(last_page_len[0] == 2 && last_page_len[1] == 1 && seq_lens[0] == 10 && seq_lens[1] == 5);
  CHECK(q[0] == 0 && q[1] == 1 && q[2] == 2 && k[0] == 0 && k[1] == 10 && k[2] == 15);
  CHECK_OK(park_kv_cache_settle(cache, &err));

  // The same tables again, without a step; then of the last two tokens.
  const uint32_t ends[2] = {10, 5}, starts[2] = {8, 3};
  int64_t again[15];
  tables.slot_mapping = again;
  tables.slot_mapping_len = 15;
  CHECK_OK(park_kv_cache_fill(cache, sequences, NULL, ends, 2, &tables, &err));
  CHECK(again[9] == slots[0] && again[14] == slots[1]);
  CHECK_OK(park_kv_cache_fill(cache, sequences, starts, ends, 2, &tables, &err));
  CHECK(again[1] == slots[0] && again[3] == slots[1]);

  // What is too small, what overlaps: refused, and nothing has changed.
  tables.slot_mapping_len = 1;
  slots[2] = again[0] = -7;
  CHECK_STATUS(PARK_INVALID_ARGUMENT, park_kv_cache_decode(cache, sequences, tokens, 2, &tables, &changes, &err));
  tables.slot_mapping_len = 15;
  tables.indices = indptr + 1;
  CHECK_STATUS(PARK_INVALID_ARGUMENT, park_kv_cache_decode(cache, sequences, tokens, 2, &tables, &changes, &err));
  tables.indices = indices;
  tables.block_table_rows = SIZE_MAX / 2;
  CHECK_STATUS(PARK_INVALID_ARGUMENT, park_kv_cache_decode(cache, sequences, tokens, 2, &tables, &changes, &err));
  tables.block_table_rows = 3;
  tables.group = 1;
  CHECK_STATUS(PARK_INVALID_ARGUMENT, park_kv_cache_decode(cache, sequences, tokens, 2, &tables, &changes, &err));
  park_kv_sequence_info info = {.struct_size = sizeof info};
  CHECK_OK(park_kv_cache_read_sequence(cache, sequences[0], &info, &err));
  CHECK(again[0] == -7 && info.known == 10 && info.computed == 10 && info.positions == 3 && info.blocks_held == 3);
  CHECK_OK(park_kv_cache_audit(cache, &err));
  park_kv_cache_free(cache);
}

static void sequences(void) {
  park_kv_cache *cache = open_cache(BLOCKS);
  park_kv_sequence first = begun(cache, 10), fork = 0, second = begun(cache, 10);
  park_kv_cache_stats stats = {.struct_size = sizeof stats};
  CHECK_OK(park_kv_cache_read_stats(cache, &stats, &err));
  CHECK(stats.sequences == 2 && stats.blocks == BLOCKS && stats.tokens_hit == 8 && stats.free_blocks == BLOCKS - 1 - 4);
  CHECK_OK(park_kv_cache_fork(cache, first, &fork, &err));
  const uint32_t token = 5;
  park_kv_changes changes = changes_of();
  CHECK_OK(park_kv_cache_decode(cache, &fork, &token, 1, NULL, &changes, &err));
  CHECK(changes.num_copies == 1 && changes.copies[0].to == changes.placed[0].block && changes.placed[0].position == 2);
  CHECK_OK(park_kv_cache_settle(cache, &err));
  CHECK_OK(park_kv_cache_rewind(cache, fork, 10, &err));
  CHECK_OK(park_kv_cache_grow(cache, fork, 20, &changes, &err));
  CHECK_OK(park_kv_cache_advance(cache, fork, 11, &err));
  CHECK_OK(park_kv_cache_trim(cache, fork, &err));
  CHECK_OK(park_kv_cache_extend(cache, fork, &token, 1, &err));
  CHECK_OK(park_kv_cache_retain(cache, fork, 3, 0, &err));
  CHECK_OK(park_kv_cache_set_time(cache, 9, &err));
  CHECK_OK(park_kv_cache_detach(cache, second, &err));
  uint32_t found = 0;
  CHECK_OK(park_kv_cache_lookup(cache, second, UINT32_MAX, &found, &err));
  CHECK(found == 8);
  CHECK_OK(park_kv_cache_set_epoch(cache, 1, &err));
  CHECK_OK(park_kv_cache_renew(cache, second, &err));
  CHECK_OK(park_kv_cache_lookup(cache, second, UINT32_MAX, &found, &err));
  CHECK(found == 0);
  bool done = true;
  CHECK_OK(park_kv_cache_reset(cache, &done, &err));
  CHECK(!done);
  CHECK_OK(park_kv_cache_finish(cache, first, &err));
  CHECK_OK(park_kv_cache_finish(cache, second, &err));
  CHECK_OK(park_kv_cache_finish(cache, fork, &err));
  CHECK_OK(park_kv_cache_reset(cache, &done, &err));
  CHECK(done);
  CHECK_OK(park_kv_cache_audit(cache, &err));
  park_kv_cache_free(cache);
}

static void refused(void) {
  park_kv_cache *cache = open_cache(6), *other = NULL;
  park_kv_sequence first = begun(cache, 8), twice[2] = {first, first}, out = 77;
  const uint32_t tokens[9] = {0}, nine = 9, zero = 0;
  park_kv_changes changes = changes_of();
  // Ids that are none, one that has ended, one of another cache.
  const park_kv_sequence none[] = {0, 1, first + 1, first ^ (UINT64_C(1) << 32), UINT64_MAX};
  for (size_t at = 0; at < sizeof none / sizeof *none; ++at) {
    CHECK_STATUS(PARK_NOT_FOUND, park_kv_cache_finish(cache, none[at], &err));
    CHECK_STATUS(PARK_NOT_FOUND, park_kv_cache_fork(cache, none[at], &out, &err));
    CHECK_STATUS(PARK_NOT_FOUND, park_kv_cache_decode(cache, &none[at], tokens, 1, NULL, &changes, &err));
  }
  CHECK_STATUS(PARK_INVALID_ARGUMENT, park_kv_cache_decode(cache, twice, tokens, 2, NULL, &changes, &err));
  CHECK_STATUS(PARK_INVALID_ARGUMENT, park_kv_cache_prefill(cache, &first, &nine, 1, NULL, &changes, &err));
  CHECK_STATUS(PARK_INVALID_ARGUMENT, park_kv_cache_prefill(cache, &first, &zero, 1, NULL, &changes, &err));
  CHECK_STATUS(PARK_INVALID_ARGUMENT, park_kv_cache_decode(cache, &first, tokens, SIZE_MAX / 4, NULL, &changes, &err));
  CHECK_STATUS(PARK_INVALID_ARGUMENT, park_kv_cache_set_epoch(cache, 0, &err));
  CHECK_STATUS(PARK_STORE_FULL, park_kv_cache_grow(cache, first, 24, &changes, &err));
  park_kv_prompt prompt = prompt_of(tokens, 0);
  CHECK_STATUS(PARK_INVALID_ARGUMENT, park_kv_cache_add(cache, &prompt, &out, &err));
  prompt = prompt_of(tokens, 9);
  prompt.tenant = 3;
  CHECK_STATUS(PARK_INVALID_ARGUMENT, park_kv_cache_add(cache, &prompt, &out, &err));
  prompt.tenant = UINT32_MAX;
  CHECK_STATUS(PARK_INVALID_ARGUMENT, park_kv_cache_add(cache, &prompt, &out, &err));
  prompt.tenant = 0;
  prompt.on_epoch = 3;
  CHECK_STATUS(PARK_INVALID_ARGUMENT, park_kv_cache_add(cache, &prompt, &out, &err));
  prompt.struct_size = 0;
  CHECK_STATUS(PARK_INVALID_ARGUMENT, park_kv_cache_add(cache, &prompt, &out, &err));
  uint32_t tenant = 0;
  CHECK_OK(park_kv_cache_add_tenant(cache, 0, &tenant, &err));
  prompt = prompt_of(tokens, 9);
  prompt.tenant = tenant;
  prompt.salt = (const uint8_t *)"salt";
  prompt.salt_len = 4;
  CHECK_OK(park_kv_cache_add(cache, &prompt, &out, &err));
  CHECK_STATUS(PARK_STORE_FULL, park_kv_cache_prefill(cache, &out, &nine, 1, NULL, &changes, &err));
  CHECK_OK(park_kv_cache_audit(cache, &err));
  CHECK_OK(park_kv_cache_finish(cache, first, &err));
  CHECK_STATUS(PARK_NOT_FOUND, park_kv_cache_finish(cache, first, &err));
  CHECK_OK(park_kv_cache_audit(cache, &err));
  park_kv_cache_free(cache);

  // What nothing can be made of.
  park_kv_cache_options options = {.struct_size = sizeof options};
  const uint32_t windows[2] = {0, 3};
  CHECK_STATUS(PARK_INVALID_ARGUMENT, park_kv_cache_open(&options, &other, &err)); // a pool of 0 blocks
  CHECK_OK(park_kv_cache_defaults(&options, &err));
  options.windows = windows;
  options.num_windows = 2;
  CHECK_STATUS(PARK_INVALID_ARGUMENT, park_kv_cache_open(&options, &other, &err)); // a window smaller than a block
  options.num_windows = 0;
  CHECK_STATUS(PARK_INVALID_ARGUMENT, park_kv_cache_open(&options, &other, &err)); // no groups
  CHECK_OK(park_kv_cache_defaults(&options, &err));
  for (int field = 0; field < 4; ++field) {
    park_kv_cache_options bad = options;
    *(field == 0 ? &bad.eviction : field == 1 ? &bad.algorithm : field == 2 ? &bad.flags : &bad.reserved) = 16;
    CHECK_STATUS(PARK_INVALID_ARGUMENT, park_kv_cache_open(&bad, &other, &err));
  }
  CHECK(other == NULL);
}

static void requests(void) {
  park_kv_scheduler *scheduler = open_scheduler(2);
  const uint32_t tokens[9] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
  park_kv_prompt prompt = prompt_of(tokens, 9);
  park_kv_sequence request = 0, fork = 0;
  park_kv_plan plan = {.struct_size = sizeof plan};
  prompt.max_new = 6;
  CHECK_OK(park_kv_scheduler_add(scheduler, &prompt, &request, &err));
  int64_t slots[16];
  park_kv_tables tables = {.struct_size = sizeof tables, .slot_mapping = slots, .slot_mapping_len = 16};
  CHECK_OK(park_kv_scheduler_step(scheduler, &tables, &plan, &err));
  CHECK(plan.number == 1 && plan.num_work == 1 && plan.num_tokens == 6 && plan.num_admitted == 1);
  CHECK(plan.work[0].sequence == request && plan.work[0].count == 6 && !plan.work[0].samples);
  CHECK(slots[4] - slots[3] == (int64_t)(plan.placed[1].block - plan.placed[0].block) * BLOCK - 3);
  CHECK_STATUS(PARK_INVALID_ARGUMENT, park_kv_scheduler_step(scheduler, NULL, &plan, &err));
  CHECK_STATUS(PARK_INVALID_ARGUMENT, park_kv_scheduler_commit(scheduler, tokens, 1, NULL, NULL, 0, &err));
  CHECK_STATUS(PARK_INVALID_ARGUMENT, park_kv_scheduler_fork(scheduler, request, &fork, &err));
  CHECK_OK(park_kv_scheduler_commit(scheduler, NULL, 0, NULL, NULL, 0, &err));

  // The prompt's rest, room for two drafts, one of which is accepted. A table that is too small leaves the plan in flight.
  tables.slot_mapping_len = 4;
  CHECK_STATUS(PARK_INVALID_ARGUMENT, park_kv_scheduler_step(scheduler, &tables, &plan, &err));
  tables.slot_mapping_len = 16;
  CHECK_OK(park_kv_scheduler_fill(scheduler, &tables, &plan, &err));
  CHECK(plan.number == 2 && plan.work[0].start == 6 && plan.work[0].count == 3 && plan.work[0].drafts == 2);
  uint32_t counts[2] = {4, 1};
  uint8_t finished[2] = {0, 1};
  CHECK_STATUS(PARK_INVALID_ARGUMENT, park_kv_scheduler_commit(scheduler, tokens, 4, counts, NULL, 1, &err));
  CHECK_STATUS(PARK_INVALID_ARGUMENT, park_kv_scheduler_commit(scheduler, tokens, 3, counts, NULL, 1, &err));
  counts[0] = 2;
  CHECK_OK(park_kv_scheduler_commit(scheduler, tokens, 2, counts, NULL, 1, &err));
  park_kv_sequence_info info = {.struct_size = sizeof info};
  CHECK_OK(park_kv_scheduler_read_sequence(scheduler, request, &info, &err));
  CHECK(info.known == 11 && info.computed == 10);

  CHECK_OK(park_kv_scheduler_fork(scheduler, request, &fork, &err));
  CHECK_OK(park_kv_scheduler_step(scheduler, NULL, &plan, &err));
  CHECK(plan.num_work == 2 && plan.num_copies > 0);
  CHECK_OK(park_kv_scheduler_abandon(scheduler, &err));
  CHECK_STATUS(PARK_INVALID_ARGUMENT, park_kv_scheduler_abandon(scheduler, &err));
  CHECK_OK(park_kv_scheduler_step(scheduler, NULL, &plan, &err));
  counts[0] = 1;
  CHECK_OK(park_kv_scheduler_commit(scheduler, tokens, 2, counts, finished, 2, &err));
  CHECK_OK(park_kv_scheduler_retain(scheduler, request, 1, 0, &err));
  CHECK_OK(park_kv_scheduler_set_time(scheduler, 1, &err));
  CHECK_OK(park_kv_scheduler_set_epoch(scheduler, 7, &err));
  CHECK_STATUS(PARK_INVALID_ARGUMENT, park_kv_scheduler_set_epoch(scheduler, 7, &err));
  CHECK_OK(park_kv_scheduler_pause(scheduler, &err));
  CHECK_OK(park_kv_scheduler_step(scheduler, NULL, &plan, &err));
  CHECK(plan.num_work == 0 && plan.work == NULL);
  CHECK_OK(park_kv_scheduler_commit(scheduler, NULL, 0, NULL, NULL, 0, &err));
  CHECK_OK(park_kv_scheduler_sleep(scheduler, &err));
  CHECK_OK(park_kv_scheduler_resume(scheduler, &err));
  CHECK_OK(park_kv_scheduler_audit(scheduler, &err));
  CHECK_OK(park_kv_scheduler_abort(scheduler, request, &err));
  CHECK_STATUS(PARK_NOT_FOUND, park_kv_scheduler_abort(scheduler, request, &err));
  CHECK_STATUS(PARK_NOT_FOUND, park_kv_scheduler_abort(scheduler, fork, &err));

  // What can never fit is refused at the door.
  prompt.max_new = (BLOCKS - 1) * BLOCK - 9 + 2;
  CHECK_STATUS(PARK_UNSCHEDULABLE, park_kv_scheduler_add(scheduler, &prompt, &request, &err));
  prompt.max_new -= 1; // nothing is computed of the last token
  CHECK_OK(park_kv_scheduler_add(scheduler, &prompt, &request, &err));
  CHECK_OK(park_kv_scheduler_abort(scheduler, request, &err));
  prompt.max_new = 0;
  CHECK_STATUS(PARK_INVALID_ARGUMENT, park_kv_scheduler_add(scheduler, &prompt, &request, &err));
  uint32_t tenant = 0;
  CHECK_OK(park_kv_scheduler_add_tenant(scheduler, 2, &tenant, &err));
  prompt.max_new = 1;
  prompt.tenant = tenant;
  CHECK_STATUS(PARK_UNSCHEDULABLE, park_kv_scheduler_add(scheduler, &prompt, &request, &err));
  bool done = false;
  CHECK_OK(park_kv_scheduler_reset(scheduler, &done, &err));
  park_kv_scheduler_stats stats = {.struct_size = sizeof stats};
  park_kv_cache_stats cache = {.struct_size = sizeof cache};
  CHECK_OK(park_kv_scheduler_read_stats(scheduler, &stats, &err));
  CHECK_OK(park_kv_scheduler_read_cache_stats(scheduler, &cache, &err));
  CHECK(done && stats.running == 0 && stats.waiting == 0 && stats.finished == 1 && stats.drafts_accepted == 1);
  CHECK(cache.free_blocks == BLOCKS - 1 && cache.cached_blocks == 0 && cache.epoch == 7);
  CHECK_OK(park_kv_scheduler_audit(scheduler, &err));
  park_kv_scheduler_free(scheduler);

  park_kv_scheduler_options options = {.struct_size = sizeof options};
  scheduler = NULL;
  CHECK_STATUS(PARK_INVALID_ARGUMENT, park_kv_scheduler_open(&options, &scheduler, &err)); // a budget of 0
  CHECK_OK(park_kv_scheduler_defaults(&options, &err));
  options.policy = 4;
  CHECK_STATUS(PARK_INVALID_ARGUMENT, park_kv_scheduler_open(&options, &scheduler, &err));
  options.policy = PARK_KV_FAIR;
  options.quantum = 0;
  CHECK_STATUS(PARK_INVALID_ARGUMENT, park_kv_scheduler_open(&options, &scheduler, &err)); // turns of 0 tokens
  CHECK(scheduler == NULL);
}

// A message of no event but this: an array of three, the time, an array of `count` events, ..., the rank.
static void check_message(const park_kv_events *events, double time, size_t count, uint8_t rank) {
  uint64_t bits = 0;
  memcpy(&bits, &time, sizeof bits);
  CHECK(events->num_events == count && events->num_bytes > 11);
  CHECK(events->bytes[0] == 0x93 && events->bytes[1] == 0xcb && events->bytes[10] == 0x90 + count);
  for (int at = 0; at < 8; ++at) {
    CHECK(events->bytes[2 + at] == (uint8_t)(bits >> (56 - 8 * at)));
  }
  CHECK(events->bytes[events->num_bytes - 1] == rank);
}

static bool has(const park_kv_events *events, const char *word) {
  for (size_t at = 0; at + strlen(word) <= events->num_bytes; ++at) {
    if (memcmp(events->bytes + at, word, strlen(word)) == 0) {
      return true;
    }
  }
  return false;
}

static void events_and_metrics(void) {
  park_kv_cache_options options = {.struct_size = sizeof options};
  park_kv_cache *cache = NULL;
  CHECK_OK(park_kv_cache_defaults(&options, &err));
  options.blocks = 8;
  options.block_size = BLOCK;
  options.flags = PARK_KV_EVENTS;
  CHECK_OK(park_kv_cache_open(&options, &cache, &err));
  uint32_t tenant = 0;
  CHECK_OK(park_kv_cache_add_tenant(cache, 5, &tenant, &err));
  const park_kv_sequence sequence = begun(cache, 9);
  park_kv_publisher publisher = {.struct_size = sizeof publisher, .time = 1.5, .rank = 3};
  park_kv_events events = {.struct_size = sizeof events};
  // What is refused leaves the events where they are.
  publisher.hashes = 2;
  CHECK_STATUS(PARK_INVALID_ARGUMENT, park_kv_cache_take_events(cache, &publisher, &events, &err));
  publisher.hashes = PARK_KV_HASHES_INT;
  publisher.medium = "\xff";
  CHECK_STATUS(PARK_INVALID_ARGUMENT, park_kv_cache_take_events(cache, &publisher, &events, &err));
  publisher.medium = NULL;
  CHECK(events.bytes == NULL);
  CHECK_OK(park_kv_cache_take_events(cache, &publisher, &events, &err));
  check_message(&events, 1.5, 1, 3);
  CHECK(has(&events, "BlockStored") && has(&events, "full_attention") && has(&events, "\xa3GPU"));
  publisher.rank = UINT32_MAX;
  CHECK_OK(park_kv_cache_take_events(cache, &publisher, &events, &err));
  check_message(&events, 1.5, 0, 0xc0); // MessagePack's nil
  CHECK_OK(park_kv_cache_set_epoch(cache, 1, &err));
  publisher.medium = "CPU";
  publisher.hashes = PARK_KV_HASHES_BYTES;
  CHECK_OK(park_kv_cache_take_events(cache, &publisher, &events, &err));
  check_message(&events, 1.5, 1, 0xc0);
  static const char cleared[] = "\x81\xa4type\xb0" "AllBlocksCleared\xc0";
  CHECK(events.num_bytes == 11 + sizeof cleared - 1 && memcmp(events.bytes + 11, cleared, sizeof cleared - 1) == 0);

  park_kv_cache_metrics metrics = {.struct_size = sizeof metrics};
  CHECK_OK(park_kv_cache_read_metrics(cache, &metrics, &err));
  CHECK(metrics.num_tenants == 2 && metrics.tenants[0].tenant == 0 && metrics.tenants[0].held == 3);
  CHECK(metrics.tenants[0].tokens_asked == 9 && metrics.tenants[0].tokens_hit == 0 && metrics.tenants[0].limit == 7);
  CHECK(metrics.tenants[1].tenant == tenant && metrics.tenants[1].limit == 5 && metrics.tenants[1].held == 0);
  CHECK(metrics.registered == 2 && metrics.lost_events == 0 && metrics.residency.sum == 0);
  CHECK_OK(park_kv_cache_finish(cache, sequence, &err));
  CHECK_OK(park_kv_cache_audit(cache, &err));
  park_kv_cache_free(cache);

  // A scheduler has the same, and how long its requests waited.
  park_kv_scheduler_options above = {.struct_size = sizeof above};
  park_kv_scheduler *scheduler = NULL;
  CHECK_OK(park_kv_scheduler_defaults(&above, &err));
  above.cache = &options;
  above.running = 1;
  above.swap_slots = 6;
  above.reserve_output = 4;
  CHECK_OK(park_kv_scheduler_open(&above, &scheduler, &err));
  const uint32_t tokens[9] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
  park_kv_prompt prompt = prompt_of(tokens, 9);
  park_kv_sequence first = 0, second = 0;
  park_kv_plan plan = {.struct_size = sizeof plan};
  prompt.max_new = 5;
  CHECK_OK(park_kv_scheduler_add(scheduler, &prompt, &first, &err));
  CHECK_OK(park_kv_scheduler_add(scheduler, &prompt, &second, &err));
  CHECK_OK(park_kv_scheduler_step(scheduler, NULL, &plan, &err));
  park_kv_scheduler_metrics waits = {.struct_size = sizeof waits};
  CHECK_OK(park_kv_scheduler_read_metrics(scheduler, &waits, &err));
  CHECK(waits.reserved_blocks == 1 && waits.swap_slots == 6 && waits.swap_slots_used == 0);
  CHECK(waits.queue_steps.buckets[1] == 1 && waits.queue_steps.sum == 1); // the first step is the one after it came
  const uint8_t finished = 1;
  CHECK_OK(park_kv_scheduler_commit(scheduler, tokens, 1, NULL, &finished, 1, &err));
  CHECK_OK(park_kv_scheduler_set_time(scheduler, 100, &err));
  CHECK_OK(park_kv_scheduler_step(scheduler, NULL, &plan, &err));
  CHECK_OK(park_kv_scheduler_read_metrics(scheduler, &waits, &err));
  CHECK(waits.queue_steps.sum == 3 && waits.queue_time.sum == 100 && waits.queue_time.buckets[7] == 1);
  CHECK_OK(park_kv_scheduler_read_cache_metrics(scheduler, &metrics, &err));
  CHECK(metrics.num_tenants == 1 && metrics.tenants[0].tokens_hit == 8 && metrics.tenants[0].tokens_asked == 18);
  CHECK_OK(park_kv_scheduler_take_events(scheduler, &publisher, &events, &err));
  CHECK(events.num_events == 1 && has(&events, "BlockStored") && has(&events, "\xa3" "CPU"));
  CHECK_OK(park_kv_scheduler_abandon(scheduler, &err));
  CHECK_OK(park_kv_scheduler_audit(scheduler, &err));
  park_kv_scheduler_free(scheduler);
}

int main(void) {
  tables_of_a_step();
  events_and_metrics();
  sequences();
  refused();
  requests();
  return finish("kv");
}
