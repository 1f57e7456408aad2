// park.hpp can be included twice, in two files of a program, and without exceptions (the build passes -fno-exceptions).
#include <park.hpp>
#include <park.hpp>

int other();

int main() {
  auto refused = park::Session::attach("nowhere");
  return refused || refused.error().status() != PARK_INVALID_ARGUMENT || other() != 0;
}
