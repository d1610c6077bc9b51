# The one table of instruction sets: compiler flags per name of runtime/core/cpu.h.
set(TALLY_ISA_FLAGS_avx2 -mavx2 -mfma -mbmi2)
set(TALLY_ISA_FLAGS_avxvnni -mavx2 -mfma -mbmi2 -mavxvnni)
set(TALLY_ISA_FLAGS_avx512
  -mavx2 -mfma -mbmi2 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vbmi -mavx512vnni -mprefer-vector-width=512)
set(TALLY_ISA_FLAGS_amx ${TALLY_ISA_FLAGS_avx512} -mamx-tile -mamx-int8)
set(TALLY_ISA_FLAGS_neon -march=armv8.2-a+dotprod)

if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$")
  set(TALLY_ISAS avx2 avxvnni avx512 amx)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$")
  set(TALLY_ISAS neon)
else()
  set(TALLY_ISAS "")
endif()

# tally_isa_sources(target isa file ...): adds the files, compiled for `isa`, when this architecture has it, and defines
# TALLY_HAVE_<ISA> for the whole target.
function(tally_isa_sources target isa)
  if(NOT isa IN_LIST TALLY_ISAS)
    return()
  endif()
  target_sources(${target} PRIVATE ${ARGN})
  set_source_files_properties(${ARGN} PROPERTIES COMPILE_OPTIONS "${TALLY_ISA_FLAGS_${isa}}")
  string(TOUPPER ${isa} upper)
  target_compile_definitions(${target} PRIVATE TALLY_HAVE_${upper})
endfunction()
