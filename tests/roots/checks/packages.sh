#!/bin/bash
# dpkg --audit and apt-get check are clean; ldconfig 50 times
set -e
audit=$(dpkg --audit); [ -z "$audit" ] || { echo "$audit"; exit 1; }
apt-get -q check
for i in $(seq 50); do ldconfig; done
test "$(ldconfig -p | head -1 | cut -d' ' -f1)" -gt 20
