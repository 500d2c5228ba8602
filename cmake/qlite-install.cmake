# What `cmake --install` lays down: the headers, the licence and a package config that find_package(qlite) reads.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(qlite_config_dir "${CMAKE_INSTALL_DATADIR}/cmake/qlite")

install(DIRECTORY include/qlite DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}"
        FILES_MATCHING PATTERN "*.hpp" PATTERN "*.cuh" PATTERN "*.inl")
install(FILES LICENSE DESTINATION "${CMAKE_INSTALL_DATADIR}/licenses/qlite")

install(TARGETS qlite EXPORT qlite INCLUDES DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
install(EXPORT qlite FILE qliteTargets.cmake NAMESPACE qlite:: DESTINATION "${qlite_config_dir}")

configure_package_config_file(cmake/qliteConfig.cmake.in "${PROJECT_BINARY_DIR}/qliteConfig.cmake"
                              INSTALL_DESTINATION "${qlite_config_dir}" NO_SET_AND_CHECK_MACRO)
# Before 1.0 a minor version may break the interface. No library is installed, so any architecture may use the files.
write_basic_package_version_file("${PROJECT_BINARY_DIR}/qliteConfigVersion.cmake"
                                 COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(FILES "${PROJECT_BINARY_DIR}/qliteConfig.cmake" "${PROJECT_BINARY_DIR}/qliteConfigVersion.cmake"
              cmake/qlite-dependencies.cmake
        DESTINATION "${qlite_config_dir}")
