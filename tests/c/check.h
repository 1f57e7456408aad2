// What the C and C++ tests are made of: checks that say where they failed, and a closing line.
#ifndef PARK_TESTS_CHECK_H
#define PARK_TESTS_CHECK_H

#include <park.h>
#include <stdio.h>
#include <string.h>

static int checks_passed, checks_failed;

#define CHECK(condition)                                                                                               \
  do {                                                                                                                 \
    if (condition) {                                                                                                   \
      ++checks_passed;                                                                                                 \
    } else {                                                                                                           \
      ++checks_failed;                                                                                                 \
      fprintf(stderr, "%s:%d: CHECK(%s) failed\n", __FILE__, __LINE__, #condition);                                    \
    }                                                                                                                  \
  } while (0)

// A call that must end with this status, and whose error, if it has one, must be of that status and say something.
#define CHECK_STATUS(expected, call)                                                                                   \
  do {                                                                                                                 \
    park_error *err = NULL;                                                                                            \
    park_status status = (call);                                                                                       \
    if (status != (expected)) {                                                                                        \
      ++checks_failed;                                                                                                 \
      fprintf(stderr, "%s:%d: %s\n  is %s (%s), expected %s\n", __FILE__, __LINE__, #call, park_status_name(status),    \
              park_error_message(err), park_status_name(expected));                                                    \
    } else if ((err != NULL) != (status != PARK_OK) || park_error_status(err) != status ||                             \
               (err != NULL && park_error_message(err)[0] == '\0')) {                                                  \
      ++checks_failed;                                                                                                 \
      fprintf(stderr, "%s:%d: %s: status and error differ\n", __FILE__, __LINE__, #call);                              \
    } else {                                                                                                           \
      ++checks_passed;                                                                                                 \
    }                                                                                                                  \
    park_error_free(err);                                                                                              \
  } while (0)

#define CHECK_OK(call) CHECK_STATUS(PARK_OK, call)

// A small session, for tests that are not about its size.
static inline park_session *open_small(void) {
  park_session_options options;
  park_session *session = NULL;
  memset(&options, 0, sizeof options);
  options.struct_size = sizeof options;
  options.capacity = 8u << 20;
  options.full_timeout_ms = 20;
  options.max_objects = 4096;
  options.native_threads = 2;
  CHECK_OK(park_session_open(&options, &session, &err));
  return session;
}

// Objects and bytes that are in use in a session.
static inline park_session_stats stats_of(const park_session *session) {
  park_session_stats stats;
  memset(&stats, 0, sizeof stats);
  stats.struct_size = sizeof stats;
  CHECK_OK(park_session_read_stats(session, &stats, &err));
  return stats;
}

static inline int finish(const char *name) {
  fprintf(stderr, "%s: %d checks passed, %d failed\n", name, checks_passed, checks_failed);
  return checks_failed != 0 || checks_passed == 0;
}

#endif
