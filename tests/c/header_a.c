// The header can be included twice, first in a file, and in two files of a program.
#include <park.h>
#include <park.h>

int other(void);

int main(void) { return other() != 0 || park_abi_version() != PARK_ABI_VERSION; }
