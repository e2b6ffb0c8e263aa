# The rules every target follows: warnings are errors, headers are found from src/, sources are all *.cpp of the folder.

# ccache makes the second build cheap; where it is missing nothing changes.
find_program(MYNA_CCACHE ccache)
if(MYNA_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${MYNA_CCACHE})
endif()

add_library(myna_options INTERFACE)
target_compile_options(myna_options INTERFACE
  -Wall -Wextra -Wpedantic -Werror -Wshadow -Wno-unused-parameter -Wno-gnu-anonymous-struct -Wno-nested-anon-types -Wno-missing-designated-field-initializers
  -fno-strict-aliasing -fno-plt
  $<IF:$<BOOL:$<TARGET_PROPERTY:MYNA_TRANSLATOR>>,-fstack-protector,-fstack-protector-strong>)
target_include_directories(myna_options INTERFACE ${PROJECT_SOURCE_DIR}/src ${PROJECT_BINARY_DIR}/generated)
if(MYNA_SANITIZE)
  target_compile_options(myna_options INTERFACE -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer)
  target_link_options(myna_options INTERFACE -fsanitize=address,undefined)
endif()
# Objects hold machine code and bitcode: myna-user is optimised across files, everything else is linked as always. The cache
# makes its second link short.
if(MYNA_LTO)
  set(lto -flto=thin -ffat-lto-objects)
  target_compile_options(myna_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:${lto}>)
  set(MYNA_LTO_LINK ${lto} -Wl,--fat-lto-objects -Wl,--thinlto-cache-dir=${CMAKE_BINARY_DIR}/lto-cache)
endif()
if(MYNA_FUZZ)
  target_compile_options(myna_options INTERFACE -fsanitize=fuzzer-no-link)
endif()

# myna_library(name [TRANSLATOR] [DEPS other_libs...]): a static library of all sources in the current folder.
# TRANSLATOR: what runs for each instruction that is translated. Its functions are checked for overrun stack buffers only
# where they have any; for every address taken of a local it costs the start of programs a twentieth.
function(myna_library name)
  cmake_parse_arguments(ARG "TRANSLATOR" "" "DEPS;SOURCES" ${ARGN})
  if(NOT ARG_SOURCES)
    file(GLOB ARG_SOURCES CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cpp ${CMAKE_CURRENT_SOURCE_DIR}/*.S)
  endif()
  if(NOT ARG_SOURCES)  # headers only
    add_library(${name} INTERFACE)
    target_link_libraries(${name} INTERFACE myna_options ${ARG_DEPS})
    return()
  endif()
  add_library(${name} STATIC ${ARG_SOURCES})
  set_target_properties(${name} PROPERTIES MYNA_TRANSLATOR ${ARG_TRANSLATOR})
  target_link_libraries(${name} PUBLIC myna_options ${ARG_DEPS})
endfunction()

# myna_test(name [DEPS libs...] [SOURCES files...]): a GoogleTest program, registered with CTest as one test.
function(myna_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "DEPS;SOURCES;LABELS" ${ARGN})
  if(NOT ARG_SOURCES)
    file(GLOB ARG_SOURCES CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cpp)
  endif()
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/tests)
  target_link_libraries(${name} PRIVATE myna_options ${ARG_DEPS} GTest::gtest GTest::gtest_main)
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT})
  if(ARG_LABELS)
    set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABELS}")
  endif()
endfunction()

# myna_fuzzer(name DEPS libs... SOURCES files... [NAMES names...]): with the fuzz preset a libFuzzer program, else the same
# function under replay.cpp, and a test fuzz.<name> that gives it inputs (make-corpus's, corpus/<name>) and changes of them.
# NAMES: the program is called by these names, and finds out by which; each has its test.
function(myna_fuzzer name)
  cmake_parse_arguments(ARG "" "" "DEPS;SOURCES;NAMES" ${ARGN})
  set(out ${CMAKE_BINARY_DIR}/fuzz)
  if(NOT MYNA_FUZZ)
    list(APPEND ARG_SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/replay.cpp)
  endif()
  add_executable(fuzz_${name} ${ARG_SOURCES})
  set_target_properties(fuzz_${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${out} OUTPUT_NAME ${name})
  target_link_libraries(fuzz_${name} PRIVATE myna_options ${ARG_DEPS} $<$<BOOL:${MYNA_FUZZ}>:-fsanitize=fuzzer>)
  file(MAKE_DIRECTORY ${out})
  foreach(called ${ARG_NAMES})
    file(CREATE_LINK ${name} ${out}/${called} SYMBOLIC)
  endforeach()
  if(MYNA_FUZZ)
    return()
  endif()
  if(NOT ARG_NAMES)
    set(ARG_NAMES ${name})
  endif()
  foreach(called ${ARG_NAMES})
    add_test(NAME fuzz.${called} COMMAND ${out}/${called} ${CMAKE_BINARY_DIR}/fuzz-corpus/${called} ${CMAKE_CURRENT_SOURCE_DIR}/corpus/${called})
    set_tests_properties(fuzz.${called} PROPERTIES TIMEOUT 300 SKIP_RETURN_CODE 77 LABELS fuzz WORKING_DIRECTORY ${out} FIXTURES_REQUIRED fuzz_corpus)
  endforeach()
endfunction()

# myna_decoder(target arch): generates decoder, disassembler and generator of src/guest/<arch>/insn.decode.
function(myna_decoder target)
  set(gen ${PROJECT_SOURCE_DIR}/scripts/decodegen.py)
  file(GLOB in CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/insn*.decode)
  get_filename_component(arch ${CMAKE_CURRENT_SOURCE_DIR} NAME)
  set(outdir ${PROJECT_BINARY_DIR}/generated/guest/${arch})
  file(MAKE_DIRECTORY ${outdir})
  add_custom_command(OUTPUT ${outdir}/decode.inc.h ${outdir}/decode.inc.cpp
    COMMAND python3 ${gen} ${in} --arch ${arch} --outdir ${outdir}
    DEPENDS ${gen} ${in} VERBATIM)
  add_custom_target(${target}_decode DEPENDS ${outdir}/decode.inc.h ${outdir}/decode.inc.cpp)
  target_sources(${target} PRIVATE ${outdir}/decode.inc.cpp)
  add_dependencies(${target} ${target}_decode)
endfunction()
