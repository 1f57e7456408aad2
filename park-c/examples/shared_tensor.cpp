// A C++ process shares tensors with a Python session, without a copy in either direction. See shared_tensor.c, which is the same
// program in C:
//
//   shared_tensor SESSION OBJECT
#include <cstdio>
#include <iostream>
#include <park.hpp>

static park::Result<void> share(const std::string &address, const std::string &hex) {
  auto session = park::Session::attach(address);
  if (!session) {
    return session.error();
  }
  auto id = park::ObjectId::parse(hex);
  auto object = id ? session->resolve(*id).value().get() : park::Result<park::Object>(id.error());
  if (!object) {
    return object.error();
  }
  auto tensor = object->tensor<double>();
  if (!tensor) {
    return tensor.error();
  }

  // The array, in the very memory that Python wrote it to; and room for ours, in the store.
  auto writing = session->create_tensor<float>(tensor->shape(), PARK_VIEW_TORCH).value();
  auto room = writing.elements<float>().value();
  double sum = 0;
  float *next = room.begin();
  for (double value : tensor->elements()) {
    sum += value;
    *next++ = static_cast<float>(2 * value);
  }
  auto made = writing.seal().value();
  std::printf("%s %.17g\n", made.id().value().hex().c_str(), sum);
  std::fflush(stdout);

  // Ours is the only reference until Python has one of its own, and says so.
  std::string line;
  std::getline(std::cin, line);
  return {};
}

int main(int argc, char **argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: shared_tensor SESSION OBJECT\n");
    return 2;
  }
  try {
    share(argv[1], argv[2]).value();
  } catch (const park::Exception &e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
  return 0;
}
