// park.hpp: sessions, objects, tensors, tasks and actors as C++ sees them; results as values, exceptions as failures of a task.
#include <atomic>
#include <numeric>
#include <park.hpp>
#include <thread>

#include "../c/check.h"

static std::string text(const park::ObjectView &object) {
  auto bytes = object.bytes().value();
  return std::string(reinterpret_cast<const char *>(bytes.data()), bytes.size());
}

static park::Session open_session() {
  park::Options options;
  options.capacity = 8u << 20;
  options.max_objects = 4096;
  options.native_threads = 2;
  options.full_timeout = std::chrono::milliseconds(20);
  return park::Session::open(options).value();
}

static void objects(park::Session &session) {
  auto ref = session.put(park::bytes_of("hello")).value();
  CHECK(text(ref.get().value()) == "hello");
  CHECK(ref.is_ready().value());
  auto id = ref.id().value();
  CHECK(park::ObjectId::parse(id.hex()).value() == id && id.hex().size() == 32);
  CHECK(session.contains(id).value());
  auto same = session.resolve(id).value();
  auto clone = same.clone().value();
  CHECK(text(clone.get().value()) == "hello");

  // A view outlives every reference and handle.
  park::Object view = ref.get().value();
  { auto moved = std::move(ref); auto gone = std::move(same); auto also = std::move(clone); }
  CHECK(text(view) == "hello");

  auto writing = session.create(3).value();
  CHECK(writing.elements().value().size() == 3);
  writing.write(0, park::bytes_of("abc")).value();
  CHECK(writing.write(1, park::bytes_of("abc")).error().status() == PARK_INVALID_ARGUMENT);
  auto sealed = writing.seal().value();
  CHECK(writing.seal().error().status() == PARK_HANDLE_CLOSED);
  CHECK(writing.elements().error().status() == PARK_HANDLE_CLOSED);
  CHECK(text(sealed.get().value()) == "abc");

  auto wrong = park::ObjectId::parse("nonsense");
  CHECK(!wrong && wrong.error().status() == PARK_INVALID_ARGUMENT && wrong.error().text().find("nonsense") != std::string::npos);
  try {
    wrong.value();
    CHECK(!"value() of a failure returned");
  } catch (const park::Exception &e) {
    CHECK(e.error().status() == PARK_INVALID_ARGUMENT && std::string(e.what()).rfind("InvalidArgument: ", 0) == 0);
  }
  CHECK(session.create(std::size_t(1) << 30).error().status() == PARK_STORE_FULL);

  std::vector<park::ObjectRef> many;
  for (int i = 0; i < 4; ++i) {
    many.push_back(session.put(park::bytes_of("x")).value());
  }
  CHECK(park::wait(many, 4).value() == std::vector<bool>(4, true));
  CHECK(park::wait({many[0], many[1]}, 3).error().status() == PARK_INVALID_ARGUMENT);
}

static void promises(park::Session &session) {
  auto [ref, promise] = session.promise().value();
  CHECK(!ref.is_ready().value());
  auto inner = session.put(park::bytes_of("inner")).value();
  promise.create(5).value().abort().value();
  auto writing = promise.create(5, PARK_FORMAT_ARROW, {inner}).value();
  writing.write(0, park::bytes_of("outer")).value();
  writing.seal().value();
  CHECK(promise.put(park::bytes_of("again")).error().status() == PARK_ALREADY_EXISTS);
  { auto gone = std::move(inner); }
  auto object = ref.get().value();
  CHECK(object.format().value() == PARK_FORMAT_ARROW && text(object) == "outer");
  auto nested = object.nested().value();
  CHECK(nested.size() == 1 && text(nested[0].get().value()) == "inner");
  auto holder = session.create(0, PARK_FORMAT_RAW, nested).value().seal().value();
  CHECK(holder.get().value().nested().value().size() == 1);
  CHECK(session.create(0, PARK_FORMAT_TENSOR).error().status() == PARK_INVALID_ARGUMENT);

  auto failed = session.promise().value();
  failed.second.fail(PARK_UNSUPPORTED, "not today").value();
  auto error = failed.first.get();
  CHECK(!error && error.error().status() == PARK_UNSUPPORTED && error.error().message() == "not today" &&
        error.error().detail().empty() && !error.error().is_retryable());
  park::ObjectRef broken = [&] { return std::move(session.promise().value().first); }();
  CHECK(broken.get().error().status() == PARK_OBJECT_LOST);
}

static void looking_only(park::Session &session) {
  auto looker = park::Session::attach_read_only(session.address()).value();
  const auto info = looker.info().value();
  CHECK(info.is_read_only == 1 && info.is_head == 0 && session.info().value().is_head == 1 && info.capacity == 8u << 20);
  auto ref = session.put(park::bytes_of(std::string(1000, 'x'))).value();
  auto view = looker.resolve(ref.id().value()).value().get().value();
  CHECK(text(view) == std::string(1000, 'x'));
  for (auto status : {looker.put(park::bytes_of("x")).error().status(), looker.promise().error().status(),
                      looker.create(100).error().status(), looker.create_tensor<float>({2}).error().status()}) {
    CHECK(status == PARK_PERMISSION_DENIED);
  }
}

static void tensors(park::Session &session) {
  auto writing = session.create_tensor<float>({2, 3}, PARK_VIEW_TORCH).value();
  auto room = writing.elements<float>().value();
  CHECK(room.size() == 6);
  std::iota(room.begin(), room.end(), 0.0f);
  auto object = writing.seal().value().get().value();
  auto tensor = object.tensor<float>().value();
  CHECK((tensor.shape() == park::Shape{2, 3}) && (tensor.strides() == park::Shape{3, 1}) && tensor.view() == PARK_VIEW_TORCH);
  CHECK(tensor(1, 2) == 5.0f && tensor.elements().size() == 6);
  CHECK(object.tensor<double>().error().status() == PARK_WRONG_FORMAT);
  CHECK(session.put(park::bytes_of("x")).value().get().value().tensor<float>().error().status() == PARK_WRONG_FORMAT);
  const std::vector<std::int32_t> values{1, 2, 3};
  auto put = session.put_tensor<std::int32_t>({3}, {values.data(), values.size()}).value().get().value();
  CHECK(put.tensor<std::int32_t>().value()(2) == 3);
  CHECK(session.put_tensor<std::int32_t>({4}, {values.data(), values.size()}).error().status() == PARK_INVALID_ARGUMENT);
  CHECK(session.create_tensor<float>({-1}).error().status() == PARK_INVALID_ARGUMENT);
  const std::vector<park::BFloat16> ones{{0x3f80}, {0x3f80}};
  auto narrow = session.put_tensor<park::BFloat16>({2}, {ones.data(), ones.size()}).value().get().value();
  CHECK(narrow.tensor<park::BFloat16>().value()(1) == ones[0] && sizeof(park::Float8E4M3FN) == 1);
  CHECK(narrow.tensor<park::Float16>().error().status() == PARK_WRONG_FORMAT);
}

static void tasks(park::Session &session) {
  std::atomic<int> calls{0};
  auto token = std::make_shared<int>(1);
  std::weak_ptr<int> alive = token;
  session
      .register_task("concatenate",
                     [&calls, token = std::move(token)](park::Call &call) -> park::Result<void> {
                       ++calls;
                       std::string all;
                       for (std::size_t i = 0; i < call.num_args(); ++i) {
                         all += text(call.arg(i).value());
                       }
                       return call.put(0, park::bytes_of(all));
                     })
      .value();
  auto taken = session.register_task("concatenate", [](park::Call &) { return park::Result<void>(); });
  CHECK(!taken && taken.error().status() == PARK_ALREADY_EXISTS);

  auto a = session.put(park::bytes_of("a")).value();
  auto b = session.put(park::bytes_of("b")).value();
  auto ab = std::move(session.submit("concatenate", {a, b}).value()[0]);
  auto abab = std::move(session.submit("concatenate", {ab, ab}).value()[0]);
  CHECK(text(abab.get().value()) == "abab" && calls == 2);

  session.register_task("throw", [](park::Call &) -> park::Result<void> { throw std::runtime_error("thrown"); }).value();
  session
      .register_task("half",
                     [](park::Call &call) -> park::Result<void> {
                       call.create(0, 2, PARK_FORMAT_PICKLE5).value().seal().value();
                       return call.fail(1, PARK_NOT_FOUND, "the other half");
                     })
      .value();
  auto halves = session.submit("half", {}, 2).value();
  CHECK(halves[0].get().value().format().value() == PARK_FORMAT_PICKLE5);
  CHECK(halves[1].get().error().message() == "the other half");

  session.register_task("throw int", [](park::Call &) -> park::Result<void> { throw 1; }).value();
  session.register_task("error", [](park::Call &call) -> park::Result<void> {
    auto missing = call.arg(9);
    return missing ? park::Result<void>() : missing.error();
  }).value();
  session.register_task("unwrap", [](park::Call &call) -> park::Result<void> {
    call.arg(9).value();
    return {};
  }).value();
  for (auto [name, part] : {std::pair("throw", "`throw` failed: thrown"), {"throw int", "not a std::exception"}, {"error", "number 9"},
                            {"unwrap", "InvalidArgument: "}}) {
    auto failed = std::move(session.submit(name).value()[0]).get();
    CHECK(!failed && failed.error().status() == PARK_TASK_FAILED);
    CHECK(failed || failed.error().message().find(part) != std::string::npos);
  }
  CHECK(session.submit("nobody").error().status() == PARK_NOT_FOUND);
  CHECK(!alive.expired());
}

static void actors(park::Session &session) {
  auto actor = session
                   .spawn("sum",
                          [sum = 0.0](std::string_view method, park::Call &call) mutable -> park::Result<void> {
                            if (method == "add") {
                              for (double x : call.arg(0).value().tensor<double>().value().elements()) {
                                sum += x;
                              }
                              return {};
                            }
                            auto out = call.create_tensor<double>(0, {}).value();
                            out.elements<double>().value()[0] = sum;
                            out.seal().value();
                            return {};
                          })
                   .value();
  const std::vector<double> values{1, 2, 3.5};
  auto ref = session.put_tensor<double>({3}, {values.data(), values.size()}).value();
  for (int i = 0; i < 10; ++i) {
    CHECK(actor.call("add", {ref}, 0).value().empty());
  }
  auto sum = std::move(actor.call("read").value()[0]).get().value();
  CHECK(sum.tensor<double>().value()() == 65.0);
  auto other = actor.clone().value();
  auto bad = session.put(park::bytes_of("no tensor")).value();
  CHECK(std::move(other.call("add", {bad}).value()[0]).get().error().status() == PARK_TASK_FAILED);
}

// Closing wakes a task that is blocked on an object which somebody else is to make, and waits for it.
static void closing_wakes_tasks() {
  auto session = open_session();
  auto peer = park::Session::attach(session.address()).value();
  std::atomic<bool> may_end{false}, started{false};
  std::atomic<int> status{PARK_OK};
  peer.register_task("slow", [&](park::Call &call) -> park::Result<void> {
    while (!may_end) {
      std::this_thread::yield();
    }
    return call.put(0, park::bytes_of("late"));
  }).value();
  auto late = std::move(peer.submit("slow").value()[0]);
  auto here = session.resolve(late.id().value()).value();
  session.register_task("blocked", [&](park::Call &) -> park::Result<void> {
    started = true;
    auto never = here.get();
    status = never ? PARK_OK : never.error().status();
    return {};
  }).value();
  auto result = std::move(session.submit("blocked").value()[0]);
  while (!started) {
    std::this_thread::yield();
  }
  session.close().value();
  CHECK(status == PARK_SESSION_CLOSED);
  may_end = true;
}

int main() {
  closing_wakes_tasks();
  std::weak_ptr<int> captured;
  {
    auto session = open_session();
    objects(session);
    promises(session);
    looking_only(session);
    tensors(session);
    auto token = std::make_shared<int>(1);
    captured = token;
    session.register_task("holder", [token = std::move(token)](park::Call &) { return park::Result<void>(); }).value();
    tasks(session);
    actors(session);
    CHECK(session.stats().value().capacity == 8u << 20);
    auto peer = park::Session::attach(session.address()).value();
    auto ref = session.put(park::bytes_of("for the peer")).value();
    CHECK(text(peer.resolve(ref.id().value()).value().get().value()) == "for the peer");
    CHECK(!captured.expired());
    session.close().value();
    CHECK(session.close().error().status() == PARK_HANDLE_CLOSED);
    CHECK(session.put(park::bytes_of("x")).error().status() == PARK_HANDLE_CLOSED);
    CHECK(peer.put(park::bytes_of("x")).error().status() == PARK_SESSION_CLOSED);
  }
  CHECK(captured.expired()); // closing the session destroyed the task's function
  return finish("session");
}
