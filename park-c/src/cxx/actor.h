// park::cxx::Actor: a C++ class whose objects are actors of a Rust program. See mod.rs; call.h has typed access to calls.
#pragma once

#include <exception>

#include "rust/cxx.h"

namespace park {
namespace cxx {

// What an actor sees of one call; defined by the bridge (park-c/src/cxx/bridge.rs.h).
struct Call;

// The base of a class that is called by method name. One thread makes all calls of an object, one after another, and destroys it;
// it is not the thread that made the object. An exception fails the call that it leaves, and no other.
class Actor {
public:
  virtual ~Actor() = default;
  virtual void call(rust::Str method, Call &call) = 0;

protected:
  Actor() = default;
  Actor(const Actor &) = default;
  Actor &operator=(const Actor &) = default;
};

} // namespace cxx
} // namespace park

namespace rust {
namespace behavior {

// How cxx turns what C++ throws into an error: everything, not only what derives from std::exception.
template <typename Try, typename Fail> static void trycatch(Try &&func, Fail &&fail) noexcept try {
  func();
} catch (const std::exception &e) {
  fail(e.what());
} catch (...) {
  fail("an exception that is not a std::exception");
}

} // namespace behavior
} // namespace rust
