#!/bin/bash
# git: a repository of 300 commits, clone, gc, fsck, rebase, grep
set -e
command -v git >/dev/null || exit 77
cd $(mktemp -d); export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
git init -q one; cd one
for i in $(seq 300); do printf 'commit refs/heads/main\ncommitter a <a@b> %d +0000\ndata 4\nc%03d\nM 644 inline f%d\ndata 9\nline %04d\n' $((1000000000+i)) $i $((i%40)) $i; done | git fast-import --quiet
git checkout -q main; test "$(git log --oneline | wc -l)" = 300
git clone -q . ../two; git clone -q --no-local . ../three; cd ../three
git gc -q --aggressive; git fsck --full
git checkout -q -b topic HEAD~5; echo x > new; git add new; git commit -qm new; git rebase -q main; test "$(git rev-list --count HEAD)" = 301
git grep -q 'line 0300'; git bundle create -q ../b main; git bundle verify -q ../b
