// Uses a reference after it was freed, which is wrong. Only the sanitized build runs this: its test passes if the mistake, which
// is made inside libpark, is reported there.
#include "check.h"

int main(void) {
  park_session *session = open_small();
  park_object_ref *ref = NULL;
  bool ready = false;
  CHECK_OK(park_object_put(session, "gone", 4, &ref, &err));
  park_object_ref_free(ref);
  (void)park_object_ref_is_ready(ref, &ready, NULL);
  return finish("freed");
}
