// After fork() the child's handles refuse, with a clear error, and freeing them there does not disturb the parent.
#include "check.h"

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void) {
  park_session *session = open_small();
  park_object_ref *ref = NULL, *other = NULL;
  park_object *object = NULL, *again = NULL;
  const void *data = NULL;
  size_t len = 0;
  CHECK_OK(park_object_put(session, "parent", 6, &ref, &err));
  CHECK_OK(park_object_get(ref, 0, &object, &err));
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    checks_passed = checks_failed = 0;
    CHECK_STATUS(PARK_FORKED, park_object_put(session, "child", 5, &other, &err));
    CHECK_STATUS(PARK_FORKED, park_object_get(ref, 0, &again, &err));
    CHECK_STATUS(PARK_FORKED, park_object_data(object, &data, &len, &err));
    CHECK_STATUS(PARK_FORKED, park_task_submit(session, "none", NULL, 0, 0, NULL, &err));
    park_object_free(object);
    park_object_ref_free(ref);
    park_session_free(session);
    _exit(finish("fork (child)"));
  }
  int status = -1;
  CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
  CHECK_OK(park_object_data(object, &data, &len, &err));
  CHECK(len == 6 && memcmp(data, "parent", 6) == 0);
  CHECK_OK(park_object_put(session, "parent", 6, &other, &err));
  park_object_ref_free(other);
  park_object_free(object);
  park_object_ref_free(ref);
  CHECK(stats_of(session).objects == 0);
  park_session_free(session);
  return finish("fork");
}
