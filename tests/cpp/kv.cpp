// The paged KV cache from C++: an engine that schedules by itself, and one that only computes; each reads back what it wrote.
#include <park.hpp>

#include <map>
#include <random>
#include <vector>

#include "../c/check.h"

using park::kv::Sequence;
using Tokens = std::vector<std::uint32_t>;

namespace {

constexpr std::uint32_t block = 4;

park::kv::CacheOptions small() {
  park::kv::CacheOptions options;
  options.blocks = 40;
  options.block_size = block;
  return options;
}

park::kv::Prompt prompt_of(const Tokens &tokens) {
  park::kv::Prompt prompt;
  prompt.tokens = tokens;
  return prompt;
}

void a_cache_by_hand() {
  auto cache = park::kv::Cache::open(small()).value();
  const Tokens tokens{1, 2, 3, 4, 5, 6, 7, 8, 9};
  std::vector<Sequence> sequences{cache.add(prompt_of(tokens)).value()};
  const Tokens ends{9}, sampled{10};
  cache.prefill(sequences, ends).value();
  cache.settle().value();
  sequences.push_back(cache.add(prompt_of(tokens)).value());
  CHECK(cache.lookup(sequences[1]).value() == 8 && cache.attach(sequences[1]).value() == 8);
  sequences.pop_back();

  std::vector<std::int64_t> slots(4, -1);
  park::kv::Tables tables;
  tables.slot_mapping = slots;
  auto changes = cache.decode(sequences, sampled, tables).value();
  CHECK(changes.tokens == 1 && changes.pages == 3 && changes.copies.empty() && slots[0] % block == 1 && slots[1] == -1);
  const Sequence fork = cache.fork(sequences[0]).value();
  sequences.push_back(fork);
  auto refused = cache.decode(sequences, sampled, tables);
  CHECK(!refused && refused.error().status() == PARK_INVALID_ARGUMENT);
  const Tokens two{11, 12};
  changes = cache.decode(sequences, two, tables).value();
  CHECK(changes.copies.size() == 2 && slots[0] != slots[1] && slots[0] % block == 2);
  const Tokens now{11, 11};
  std::vector<std::int32_t> lengths(2);
  tables.slot_mapping = {};
  tables.seq_lens = lengths;
  cache.fill(sequences, now, tables).value();
  CHECK(lengths[0] == 11 && lengths[1] == 11);
  CHECK(cache.sequence(fork).value().computed == 11 && cache.stats().value().tokens_hit == 8);
  CHECK(!cache.reset().value());
  CHECK(cache.set_epoch(0).error().status() == PARK_INVALID_ARGUMENT);
  cache.finish(fork).value();
  CHECK(cache.finish(fork).error().status() == PARK_NOT_FOUND);
  cache.audit().value();

  auto options = small();
  options.windows = {0, 3};
  CHECK(park::kv::Cache::open(options).error().status() == PARK_INVALID_ARGUMENT);
}

void what_can_be_found_and_what_was_counted() {
  auto options = small();
  options.flags = PARK_KV_EVENTS;
  auto cache = park::kv::Cache::open(options).value();
  const Tokens tokens{1, 2, 3, 4, 5}, ends{5};
  const std::vector<Sequence> sequences{cache.add(prompt_of(tokens)).value()};
  cache.prefill(sequences, ends).value();
  cache.settle().value();
  park::kv::Publisher publisher;
  publisher.time = 2;
  publisher.hashes = 7;
  CHECK(cache.take_events(publisher).error().status() == PARK_INVALID_ARGUMENT);
  publisher.hashes = PARK_KV_HASHES_BYTES;
  auto events = cache.take_events(publisher).value();
  CHECK(events.count == 1 && events.bytes[0] == 0x93 && events.bytes[10] == 0x91 && events.bytes[events.bytes.size() - 1] == 0);
  events = cache.take_events(publisher).value();
  CHECK(events.count == 0 && events.bytes.size() == 12);
  const auto metrics = cache.metrics().value();
  CHECK(metrics.num_tenants == 1 && metrics.tenants[0].held == 2 && metrics.registered == 1);

  park::kv::SchedulerOptions above;
  above.cache = options;
  auto scheduler = park::kv::Scheduler::open(above).value();
  auto request = prompt_of(tokens);
  request.max_new = 1;
  scheduler.add(request).value();
  scheduler.step().value();
  CHECK(scheduler.metrics().value().queue_steps.sum == 1 && scheduler.cache_metrics().value().tenants[0].tokens_asked == 5);
  CHECK(scheduler.take_events(publisher).value().count == 1);
}

// What a request has said, and what an engine wrote to its memory for it.
void an_engine_that_only_computes() {
  park::kv::SchedulerOptions options;
  options.cache = small();
  options.chunk = 7;
  options.running = 5;
  auto scheduler = park::kv::Scheduler::open(options).value();
  std::mt19937 dice(5);
  auto below = [&](std::uint32_t most) { return static_cast<std::uint32_t>(dice() % most); };
  std::vector<std::uint32_t> memory(40 * block, UINT32_MAX);
  std::vector<std::int64_t> slots(64);
  std::vector<std::int32_t> rows(5 * 20), indptr(6), indices(128), last(5), q(6), k(6), lengths(5);
  park::kv::Tables tables;
  tables.block_table = rows;
  tables.width = 20;
  tables.slot_mapping = slots;
  tables.indptr = indptr;
  tables.indices = indices;
  tables.last_page_len = last;
  tables.cu_seqlens_q = q;
  tables.cu_seqlens_k = k;
  tables.seq_lens = lengths;
  std::map<Sequence, Tokens> texts;
  int told = 0;
  while (told < 80 || !texts.empty()) {
    if (told < 80 && texts.size() < 9) {
      Tokens prompt(1 + below(30));
      for (auto &token : prompt) {
        token = below(2);
      }
      auto request = prompt_of(prompt);
      request.max_new = 1 + below(12);
      texts[scheduler.add(request).value()] = prompt;
      ++told;
    }
    auto plan = scheduler.step(tables).value();
    for (const auto &copy : plan.copies) {
      std::copy_n(memory.begin() + copy.from * block, block, memory.begin() + copy.to * block);
    }
    std::size_t at = 0;
    for (const auto &work : plan.work) {
      for (std::uint32_t token = 0; token < work.count; ++token) {
        memory[static_cast<std::size_t>(slots[at++])] = texts[work.sequence][work.start + token];
      }
    }
    CHECK(at == plan.tokens && q[plan.work.size()] == static_cast<std::int32_t>(at));
    Tokens sampled;
    std::vector<Sequence> ran;
    bool right = true;
    for (std::size_t nth = 0; nth < plan.work.size(); ++nth) {
      const auto &work = plan.work[nth];
      const auto &text = texts[work.sequence];
      const std::uint32_t end = work.start + work.count;
      for (std::uint32_t token = 0; token < end; ++token) {
        const auto page = static_cast<std::size_t>(indices[static_cast<std::size_t>(indptr[nth]) + token / block]);
        right &= memory[page * block + token % block] == text[token];
        right &= static_cast<std::size_t>(rows[nth * 20 + token / block]) == page;
      }
      right &= lengths[nth] == static_cast<std::int32_t>(end) && last[nth] == static_cast<std::int32_t>((end - 1) % block + 1);
      ran.push_back(work.sequence);
      if (work.samples) {
        sampled.push_back(below(2));
        texts[work.sequence].push_back(sampled.back());
      }
    }
    CHECK(right);
    scheduler.commit(sampled).value();
    for (Sequence sequence : ran) {
      if (!scheduler.sequence(sequence)) {
        texts.erase(sequence);
      }
    }
    scheduler.audit().value();
  }
  const auto stats = scheduler.stats().value();
  CHECK(stats.finished == 80 && stats.running == 0 && scheduler.cache_stats().value().tokens_hit > 0);

  Tokens endless(200);
  auto request = prompt_of(endless);
  request.max_new = 1;
  CHECK(scheduler.add(request).error().status() == PARK_UNSCHEDULABLE);
  CHECK(scheduler.abandon().error().status() == PARK_INVALID_ARGUMENT);
  options.policy = PARK_KV_FAIR;
  options.quantum = 0;
  CHECK(park::kv::Scheduler::open(options).error().status() == PARK_INVALID_ARGUMENT);
}

} // namespace

int main() {
  a_cache_by_hand();
  what_can_be_found_and_what_was_counted();
  an_engine_that_only_computes();
  return finish("kv");
}
