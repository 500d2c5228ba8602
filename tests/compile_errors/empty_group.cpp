// expected error: per_group<0>: a group needs at least one weight
#include <qlite/core/scheme.hpp>

#if defined(QLITE_TEST_MISTAKE)
qlite::scheme<qlite::int4, qlite::per_group<0>> scheme;
#else
qlite::scheme<qlite::int4, qlite::per_group<1>> scheme;
#endif
