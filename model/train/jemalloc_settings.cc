// synthvol-train's memory comes from jemalloc. Every iteration allocates the same large tensors and
// oneDNN scratch anew: the C library either gives them back to the system, and each comes again
// page by page, or keeps half a gigabyte in pieces that do not fit the next phase. jemalloc keeps
// what was freed and joins it, in large pages. Figures: docs/performance.md, "Training".
//
// Settings as jemalloc(3) describes them under "TUNING"; the environment variable MALLOC_CONF
// overrides each.
extern "C" {

// One arena: backward runs on threads of its own and takes over what forward freed. Nothing is
// given back to the system for its age. Large blocks live where the small ones do, so that they are
// kept as well.
// NOLINTNEXTLINE(readability-identifier-naming, cppcoreguidelines-avoid-non-const-global-variables)
const char* malloc_conf = "narenas:1,dirty_decay_ms:-1,thp:always,oversize_threshold:0";
}
