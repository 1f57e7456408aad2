#include "park-tests/src/accumulator.h"

#include <numeric>
#include <string>
#include <vector>

#include "park-c/src/cxx/call.h"
#include "park-tests/src/cxx.rs.h"

namespace park_tests {
namespace {

// Adds up tensors of doubles, element by element.
class Accumulator : public park::cxx::Actor {
public:
  explicit Accumulator(const Flag &dropped) : dropped_(dropped) {}
  ~Accumulator() override { dropped_.raise(); }

  void call(rust::Str method, park::cxx::Call &call) override {
    if (method == "add") {
      add(park::cxx::tensor<double>(call, 0));
    } else if (method == "total") {
      park::cxx::put_tensor(call, 0, {sums_.size()}, sums_, true);
    } else if (method == "address") {
      // Where the first argument lies, so that the caller can see that it is not a copy.
      auto address = reinterpret_cast<std::uintptr_t>(call.arg(0).data());
      call.put(0, rust::Slice<const std::uint8_t>(reinterpret_cast<const std::uint8_t *>(&address), sizeof address));
    } else if (method == "throw int") {
      throw 42;
    } else if (method == "misuse") {
      call.put(99, rust::Slice<const std::uint8_t>());
    } else {
      throw std::invalid_argument("no method " + std::string(method));
    }
  }

private:
  void add(rust::Slice<const double> values) {
    if (!sums_.empty() && sums_.size() != values.size()) {
      throw std::length_error("expected " + std::to_string(sums_.size()) + " values, got " +
                              std::to_string(values.size()));
    }
    sums_.resize(values.size());
    for (std::size_t i = 0; i < values.size(); ++i) {
      sums_[i] += values[i];
    }
  }

  const Flag &dropped_;
  std::vector<double> sums_;
};

} // namespace

std::unique_ptr<park::cxx::Actor> make_accumulator(const Flag &dropped) {
  return std::make_unique<Accumulator>(dropped);
}

} // namespace park_tests
