# What `cmake --install` lays down: programs, man pages, completions, and the names of other tools in a folder of their own.
#
#   bin/myna-user · share/man/man1/ · share/bash-completion/ · share/zsh/ · libexec/myna/compat/qemu-aarch64 …
#
# The compatibility names are links to the program, which looks at the name it was called by. The build tree has the
# same folder as bin/compat, so that a script can be tried with PATH=build/release/bin/compat:$PATH.
set(compat_names_myna-user qemu-aarch64 qemu-aarch64-static qemu-riscv64 qemu-riscv64-static)
set(compat_names_myna-img qemu-img)
set(compat_names_myna-nbd qemu-nbd)
set(compat_names_myna-io qemu-io)
set(compat_names_myna-storage-daemon qemu-storage-daemon)
set(compat_install_dir ${CMAKE_INSTALL_LIBEXECDIR}/myna/compat)
set(compat_build_dir ${CMAKE_RUNTIME_OUTPUT_DIRECTORY}/compat)

foreach(program myna-user myna-img myna-nbd myna-io myna-storage-daemon)
  if(NOT TARGET ${program})
    continue()
  endif()
  install(TARGETS ${program} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  install(FILES ${PROJECT_SOURCE_DIR}/man/${program}.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
  set(completions ${PROJECT_SOURCE_DIR}/completions)
  if(NOT EXISTS ${completions}/${program}.bash)  # programs that complete alike share one text
    set(compat ${compat_names_${program}})
    string(REPLACE - _ function ${program})
    set(completions ${PROJECT_BINARY_DIR}/completions)
    configure_file(${PROJECT_SOURCE_DIR}/completions/image-program.bash.in ${completions}/${program}.bash @ONLY)
    configure_file(${PROJECT_SOURCE_DIR}/completions/_image-program.in ${completions}/_${program} @ONLY)
  endif()
  install(FILES ${completions}/${program}.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME ${program})
  install(FILES ${completions}/_${program} DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)

  file(MAKE_DIRECTORY ${compat_build_dir})
  file(RELATIVE_PATH up /${compat_install_dir} /${CMAKE_INSTALL_BINDIR}/${program})
  foreach(name ${compat_names_${program}})
    file(CREATE_LINK ../${program} ${compat_build_dir}/${name} SYMBOLIC)
    install(CODE "
      set(folder \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/${compat_install_dir}\")
      file(MAKE_DIRECTORY \"\${folder}\")
      file(CREATE_LINK \"${up}\" \"\${folder}/${name}\" SYMBOLIC)
      message(STATUS \"Installing: \${folder}/${name} -> ${up}\")")
  endforeach()
endforeach()
