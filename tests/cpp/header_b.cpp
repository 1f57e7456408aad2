// The other file of header_a.cpp.
#include <park.hpp>

int other();
int other() { return park::ObjectId::parse("x") ? 1 : 0; }
