// An engine without a model: chat requests over the paged KV cache, in the way of a serving engine.
//
// Users share a few system prompts and come back with longer conversations, in bursts, so much of every prompt is cached. The "model"
// samples token 7 for everything. Prints its parameters, the hit rate, and what the steps cost. The same program stands in Rust
// (park-core/examples) and in Python (python/examples).
//
//   kv_engine [REQUESTS]        10000 unless said
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <park.hpp>
#include <vector>

namespace {

constexpr std::uint32_t users = 500, system_prompts = 8, burst = 200, blocks = 32768, block_size = 16, running = 256, step_tokens = 8192;

// What a user says in a turn of a conversation: the system prompt, what was said before, and something new.
std::vector<std::uint32_t> prompt_of(std::uint32_t user, std::uint32_t turn) {
  std::vector<std::uint32_t> tokens;
  for (std::uint32_t at = 0; at < 600; ++at) {
    tokens.push_back((user % system_prompts) * 1000 + at);
  }
  for (std::uint32_t at = 0; at < (turn + 1) * 80; ++at) {
    tokens.push_back(100000 + user * 10000 + at);
  }
  return tokens;
}

park::Result<void> run(std::uint32_t requests) {
  park::kv::SchedulerOptions options;
  options.cache.blocks = blocks;
  options.cache.block_size = block_size;
  options.running = running;
  options.step_tokens = step_tokens;
  options.chunk = 2048;
  auto opened = park::kv::Scheduler::open(options);
  if (!opened) {
    return opened.error();
  }
  auto scheduler = std::move(opened).value();

  // The arrays that kernels would read, made once for the largest step.
  std::vector<std::int64_t> slots(step_tokens);
  std::vector<std::int32_t> starts(running + 1), lengths(running);
  park::kv::Tables tables;
  tables.slot_mapping = slots;
  tables.cu_seqlens_q = starts;
  tables.seq_lens = lengths;

  std::printf("%u requests of %u users in bursts of %u, %u system prompts; %u blocks of %u tokens, %u requests and %u tokens a step\n",
              requests, users, burst, system_prompts, blocks, block_size, running, step_tokens);
  std::vector<double> steps;
  std::vector<std::uint32_t> sampled;
  std::uint32_t sent = 0;
  for (std::uint64_t finished = 0; finished < requests;) {
    if (steps.size() % 40 == 0) {
      for (std::uint32_t next = 0; next < burst && sent < requests; ++next, ++sent) {
        const auto tokens = prompt_of(sent % users, sent / users);
        park::kv::Prompt prompt;
        prompt.tokens = tokens;
        prompt.max_new = 32 + sent % 64;
        if (auto added = scheduler.add(prompt); !added) {
          return added.error();
        }
      }
    }
    const auto begun = std::chrono::steady_clock::now();
    auto plan = scheduler.step(tables);
    if (!plan) {
      return plan.error();
    }
    sampled.clear();
    for (const auto &work : plan->work) {
      sampled.insert(sampled.end(), work.samples, 7);
    }
    if (auto done = scheduler.commit(sampled); !done) {
      return done;
    }
    steps.push_back(std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begun).count());
    finished = scheduler.stats().value().finished;
  }
  if (auto sound = scheduler.audit(); !sound) {
    return sound;
  }
  const auto stats = scheduler.stats().value();
  const auto cache = scheduler.cache_stats().value();
  std::sort(steps.begin(), steps.end());
  std::printf("%llu requests in %llu steps, %llu tokens computed, %llu preemptions\n", static_cast<unsigned long long>(stats.finished),
              static_cast<unsigned long long>(stats.steps), static_cast<unsigned long long>(stats.tokens_computed),
              static_cast<unsigned long long>(stats.recomputed));
  std::printf("hit rate: %.1f %% of %llu prompt tokens\n", 100.0 * static_cast<double>(cache.tokens_hit) / static_cast<double>(cache.tokens_asked),
              static_cast<unsigned long long>(cache.tokens_asked));
  std::printf("a step, planned, its tables written, committed: p50 %.1f us, p99 %.1f us\n", steps[steps.size() / 2],
              steps[steps.size() * 99 / 100]);
  return {};
}

} // namespace

int main(int argc, char **argv) {
  const long requests = argc > 1 ? std::strtol(argv[1], nullptr, 10) : 10000;
  if (requests < 1) {
    std::fprintf(stderr, "usage: kv_engine [REQUESTS]\n");
    return 2;
  }
  const auto done = run(static_cast<std::uint32_t>(requests));
  if (!done) {
    std::fprintf(stderr, "%s\n", done.error().text().c_str());
    return 1;
  }
  return 0;
}
