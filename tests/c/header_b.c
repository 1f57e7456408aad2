// The other file of header_a.c.
#include <park.h>

int other(void);
int other(void) { return park_status_name(PARK_OK)[0] != 'O'; }
