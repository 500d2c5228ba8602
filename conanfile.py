"""Conan 2 recipe: the headers and the package config that `cmake --install` lays down."""

import os
import re

from conan import ConanFile
from conan.tools.cmake import CMake, CMakeDeps, CMakeToolchain, cmake_layout
from conan.tools.files import load


class QliteConan(ConanFile):
    name = "qlite"
    license = "MIT"
    description = "INT8 and INT4 quantization and matrix products, header-only"
    topics = ("quantization", "int8", "int4", "gemm", "simd", "header-only")
    package_type = "header-library"
    settings = "os", "arch", "compiler", "build_type"
    exports_sources = "CMakeLists.txt", "LICENSE", "cmake/*", "include/*"
    no_copy_source = True

    def set_version(self):
        header = load(self, os.path.join(self.recipe_folder, "include", "qlite", "version.hpp"))
        self.version = ".".join(re.findall(r"#define QLITE_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)", header))

    def requirements(self):
        self.requires("xsimd/[>=8.1]", transitive_headers=True)

    def layout(self):
        cmake_layout(self)

    def generate(self):
        CMakeDeps(self).generate()
        toolchain = CMakeToolchain(self)
        for part in ("TESTS", "BENCHMARKS", "EXAMPLES"):
            toolchain.cache_variables[f"QLITE_BUILD_{part}"] = False
        toolchain.generate()

    def package(self):
        cmake = CMake(self)
        cmake.configure()
        cmake.install()

    def package_id(self):
        self.info.clear()  # the same headers for every compiler and architecture

    def package_info(self):
        self.cpp_info.bindirs = []
        self.cpp_info.libdirs = []
        # Consumers read qlite's own package config, so that every way to get qlite gives the same targets.
        self.cpp_info.set_property("cmake_find_mode", "none")
        self.cpp_info.builddirs = [os.path.join("share", "cmake", "qlite")]
