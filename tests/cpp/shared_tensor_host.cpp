// Plays the Python side of the shared_tensor examples: shared_tensor_host PROGRAM. What Python checks, this checks; and that the
// program read the array without a copy.
#include <cmath>
#include <park.hpp>

#include "../c/check.h"
#include "child.hpp"

int main(int argc, char **argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: shared_tensor_host PROGRAM\n");
    return 2;
  }
  park::Options options;
  options.capacity = 16u << 20;
  options.max_objects = 4096;
  auto session = park::Session::open(options).value();
  std::vector<double> values(12000);
  double sum = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    sum += values[i] = 0.5 * static_cast<double>(i);
  }
  auto array = session.put_tensor<double>({3, 4000}, {values.data(), values.size()}).value();
  const auto before = session.stats().value();

  Child peer({argv[1], session.address(), array.id().value().hex()});
  const std::string line = peer.line();
  const std::size_t space = line.find(' ');
  CHECK(space == 32);
  if (space == 32) {
    CHECK(std::stod(line.substr(space)) == sum);
    auto theirs = session.resolve(park::ObjectId::parse(line.substr(0, space)).value()).value();
    peer.say("thank you\n");
    CHECK(peer.end() == 0);
    // The program has gone; its tensor has not.
    auto object = theirs.get().value();
    auto tensor = object.tensor<float>().value();
    CHECK((tensor.shape() == park::Shape{3, 4000}) && tensor.view() == PARK_VIEW_TORCH);
    CHECK(tensor(1, 0) == 4000.0f && tensor(2, 3999) == 11999.0f);
    const auto after = session.stats().value();
    // Its own tensor may have been written by copies; the array, which is twice as large, was not read by one.
    CHECK(after.bytes_copied - before.bytes_copied < values.size() * sizeof(double));
    CHECK(after.bytes_shared - before.bytes_shared >= values.size() * sizeof(double));
  }
  CHECK(session.stats().value().objects == 1);
  return finish("shared_tensor");
}
