#!/bin/bash
# python3 -m test: the interpreter's own tests (MYNA_MODULES: which)
command -v python3 >/dev/null || exit 77
python3 -c 'import test.support' 2>/dev/null || exit 77
cd $(mktemp -d)
modules=${MYNA_MODULES:-$(sed 's/#.*//' "$(dirname "$0")/python-modules.txt")}
# Not every version has each of them.
modules=$(python3 -c 'import importlib.util, sys; print(*(m for m in sys.argv[1:] if importlib.util.find_spec("test." + m)))' $modules)
# The namespace has 65,536 users; test_posix gives files to ones far above them.
timeout 3000 python3 -m test -j2 --timeout 600 -w -i "*test_*chown" $modules
