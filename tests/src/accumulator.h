// An actor in C++, for the tests of the bridge.
#pragma once

#include <memory>

#include "park-c/src/cxx/actor.h"

namespace park_tests {

struct Flag;
std::unique_ptr<park::cxx::Actor> make_accumulator(const Flag &dropped);

} // namespace park_tests
