// Does something undefined: UndefinedBehaviorSanitizer must end it there (tests/c/CMakeLists.txt).
#include <limits.h>
#include <stdio.h>

int main(int argc, char **argv) {
  (void)argv;
  int sum = INT_MAX - 1 + argc;
  sum += argc;
  printf("went on: %d\n", sum);
  return 0;
}
