/// @file
/// The version of the library. CMake, the Conan recipe and the tests read these three lines; nothing repeats them.
#pragma once

/// Changes with incompatible interfaces; before 1.0 the minor version does.
#define QLITE_VERSION_MAJOR 0
/// Changes with additions.
#define QLITE_VERSION_MINOR 1
/// Changes with corrections.
#define QLITE_VERSION_PATCH 0
