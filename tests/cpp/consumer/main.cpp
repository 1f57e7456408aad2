// A task written as a lambda: run.sh builds it by CMake, and by pkg-config against the shared and the static library.
#include <iostream>
#include <park.hpp>

int main() {
  auto session = park::Session::open().value();
  session
      .register_task("shout",
                     [](park::Call &call) -> park::Result<void> {
                       auto bytes = call.arg(0).value().bytes().value();
                       std::string text(reinterpret_cast<const char *>(bytes.data()), bytes.size());
                       return call.put(0, park::bytes_of(text + "!"));
                     })
      .value();
  auto hello = session.put(park::bytes_of("hello")).value();
  auto shouted = session.submit("shout", {hello}).value()[0].get().value();
  auto bytes = shouted.bytes().value();
  std::cout << std::string_view(reinterpret_cast<const char *>(bytes.data()), bytes.size()) << "\n";
}
