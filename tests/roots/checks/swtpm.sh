#!/bin/bash
# swtpm under its seccomp filter (action kill), used by tpm2-tools; swtpm_setup makes its certificates
set -e
command -v swtpm >/dev/null && command -v tpm2_getrandom >/dev/null || exit 77
d=$(mktemp -d)
swtpm_setup --tpm2 --tpmstate $d --create-ek-cert --lock-nvram
swtpm socket --tpm2 --tpmstate dir=$d --ctrl type=unixio,path=$d/s.ctrl --server type=unixio,path=$d/s --flags startup-clear --seccomp action=kill & pid=$!
for i in $(seq 100); do [ -S $d/s.ctrl ] && break; sleep 0.1; done
export TPM2TOOLS_TCTI=swtpm:path=$d/s
test "$(tpm2_getrandom --hex 8 | wc -c)" = 16
tpm2_createprimary -C o -c $d/primary | grep -q 'value: sha256'
tpm2_flushcontext -t; tpm2_create -C $d/primary -u $d/pub -r $d/priv -i - <<< secret > /dev/null
tpm2_flushcontext -t; tpm2_load -C $d/primary -u $d/pub -r $d/priv -c $d/key > /dev/null
tpm2_flushcontext -t; test "$(tpm2_unseal -c $d/key)" = secret
tpm2_pcrextend 16:sha256=$(printf '%064d' 1); tpm2_pcrread sha256:16 | grep -q 0x
kill $pid; wait $pid
