// Channels between processes: an echo in another process, a reader that is killed with a message in its hands, a writer that is killed.
// The program is its own other side: `channels ROLE SESSION IN OUT`.
#include <park.hpp>

#include <chrono>
#include <numeric>
#include <thread>

#include "../c/check.h"
#include "child.hpp"

using namespace std::chrono_literals;

static park::Channel open(park::Session &session, const std::string &hex) {
  return park::Channel::open(session.resolve(park::ObjectId::parse(hex).value()).value()).value();
}

static std::string id_of(const park::Channel &channel) { return channel.reference().value().id().value().hex(); }

static int other_side(const std::string &role, const std::string &address, const std::string &in, const std::string &out) {
  auto session = park::Session::attach(address).value();
  auto reader = open(session, in).reader().value();
  auto writer = open(session, out).writer().value();
  while (auto message = reader.read()) {
    auto tensor = message->tensor<double>().value();
    auto room = writer.begin_tensor<double>(tensor.shape()).value();
    for (std::size_t i = 0; i < room.size(); ++i) {
      room[i] = 2 * tensor.elements()[i];
    }
    if (role == "victim" && tensor.elements()[0] == 3) {
      // Dies as a reader that holds a message and a writer in the middle of one.
      std::printf("holding\n");
      std::fflush(stdout);
      std::this_thread::sleep_for(1h);
    }
    writer.publish().value();
  }
  return 0;
}

static void echo(park::Session &session, const std::string &self) {
  auto there = session.create_channel({8000, 2, 1}).value();
  auto back = session.create_channel({8000, 2, 1}).value();
  auto writer = there.writer().value();
  auto reader = back.reader().value();
  Child child({self, "echo", session.address(), id_of(there), id_of(back)});
  std::vector<double> values(1000);
  for (int round = 0; round < 2000; ++round) {
    std::iota(values.begin(), values.end(), round);
    writer.write_tensor<double>({10, 100}, {values.data(), values.size()}).value();
    auto message = reader.read(20s).value();
    auto tensor = message.tensor<double>().value();
    CHECK((tensor.shape() == park::Shape{10, 100}) && tensor(0, 0) == 2.0 * round && tensor(9, 99) == 2.0 * (round + 999));
    CHECK(round > 0 || message.tensor<float>().error().status() == PARK_WRONG_FORMAT);
  }
  writer.close().value();
  CHECK(writer.close().error().status() == PARK_HANDLE_CLOSED);
  CHECK(child.end() == 0);
  CHECK(reader.read().error().status() == PARK_CHANNEL_CLOSED);
}

static void killed(park::Session &session, const std::string &self) {
  auto there = session.create_channel({64, 2, 2}).value();
  auto back = session.create_channel({64, 4, 1}).value();
  auto writer = there.writer().value();
  auto mine = there.reader().value();
  auto reader = back.reader().value();
  Child child({self, "victim", session.address(), id_of(there), id_of(back)});
  const auto say = [&](double value) { return writer.write_tensor<double>({1}, {&value, 1}, 20s); };
  for (double value : {1.0, 2.0, 3.0}) {
    say(value).value();
    CHECK(mine.read().value().tensor<double>().value()(0) == value);
  }
  CHECK(child.line() == "holding\n");
  CHECK(child.end(SIGKILL) == 128 + SIGKILL);
  // Its seat holds nobody up, and its half message is not there.
  for (double value = 4; value < 20; ++value) {
    say(value).value();
    CHECK(mine.read().value().tensor<double>().value()(0) == value);
  }
  CHECK(reader.read().value().tensor<double>().value()(0) == 2.0);
  CHECK(reader.read().value().tensor<double>().value()(0) == 4.0);
  auto died = reader.read();
  CHECK(!died && died.error().status() == PARK_CHANNEL_CLOSED);
  // Another one goes on where it stopped.
  auto successor = back.writer().value();
  successor.write(park::bytes_of("after")).value();
  auto after = reader.read().value();
  CHECK(after.format().value() == PARK_FORMAT_RAW && after.bytes().value().size() == 5);
  after.release().value();
  CHECK(after.bytes().error().status() == PARK_HANDLE_CLOSED);
}

int main(int argc, char **argv) {
  if (argc == 5) {
    return other_side(argv[1], argv[2], argv[3], argv[4]);
  }
  park::Options options;
  options.capacity = 8u << 20;
  options.max_objects = 1024;
  auto session = park::Session::open(options).value();
  echo(session, argv[0]);
  killed(session, argv[0]);
  return finish("channels");
}
