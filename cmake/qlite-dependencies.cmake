# Finds the libraries that qlite's targets link. The build includes this file, and so does the installed package
# config that lies beside its copy, so that both see the same targets.
#
# Each macro leaves its reason in qlite_dependency_error (empty on success) and lets the caller decide whether that is
# fatal: a package config must not be.

# Defines the imported target `xsimd` (that name in every version), 8.1 or newer.
#
# Found unversioned, then compared: xsimd's own version file refuses any other major version, ranges included.
macro(qlite_find_xsimd)
  set(qlite_dependency_error "")
  if(NOT TARGET xsimd)
    find_package(xsimd CONFIG QUIET)
    if(NOT TARGET xsimd)
      set(qlite_dependency_error
          "qlite needs xsimd 8.1 or newer, and no xsimdConfig.cmake was found. Install it (Debian: libxsimd-dev), or set xsimd_DIR or CMAKE_PREFIX_PATH.")
    elseif(xsimd_VERSION VERSION_LESS 8.1)
      set(qlite_dependency_error "qlite needs xsimd 8.1 or newer; ${xsimd_DIR} holds xsimd ${xsimd_VERSION}.")
    endif()
  endif()
  if(TARGET xsimd AND NOT TARGET xtl)
    # Debian 12 built xsimd 8.1 against xtl and names it in the target, but its package neither needs nor brings xtl.
    # qlite uses no xtl type: where there is none, an empty target stands in, or the linker would look for -lxtl.
    get_target_property(qlite_xsimd_libraries xsimd INTERFACE_LINK_LIBRARIES)
    if("xtl" IN_LIST qlite_xsimd_libraries)
      find_package(xtl CONFIG QUIET)
      if(NOT TARGET xtl)
        add_library(xtl INTERFACE IMPORTED)
      endif()
    endif()
    unset(qlite_xsimd_libraries)
  endif()
endmacro()

# Defines the imported target `Eigen3::Eigen`, 3.4 or newer.
macro(qlite_find_eigen)
  set(qlite_dependency_error "")
  if(NOT TARGET Eigen3::Eigen)
    find_package(Eigen3 CONFIG QUIET)
    if(NOT TARGET Eigen3::Eigen)
      set(qlite_dependency_error
          "qlite::eigen needs Eigen 3.4 or newer, and no Eigen3Config.cmake was found. Install it (Debian: libeigen3-dev), or set Eigen3_DIR or CMAKE_PREFIX_PATH.")
    elseif(Eigen3_VERSION VERSION_LESS 3.4)
      set(qlite_dependency_error "qlite::eigen needs Eigen 3.4 or newer; ${Eigen3_DIR} holds Eigen ${Eigen3_VERSION}.")
    endif()
  endif()
endmacro()
